/* A network made ready to be asked: evaluation mode, no gradients, one image after another.
 *
 * What the output needs is copied into a graph of its own in which batch norms are folded into the convolutions before them,
 *   w' = w gamma rstd,  b' = beta - mean gamma rstd,  rstd = 1 / sqrt(var + eps)
 * and a convolution, the sum it flows into and the ReLU behind that sum are one pass (conv2d_folded). The graph takes one
 * image: so all its values stay in a core's cache, any number of images can be asked, and threads take whole images. Where
 * there are fewer images than threads, they share each image. The backend's layout for inference is used (backend.h).
 * Equal to the network's evaluation mode up to rounding; the same bytes on any number of threads and images at once. */
#ifndef CEL_ENGINE_INFERENCE_H
#define CEL_ENGINE_INFERENCE_H
#include "engine/exec/exec.h"

typedef struct cel_inference cel_inference;

/* x: the graph's input, [n,c,h,w]; y: a value [n,k] or [n,c,h,w] that depends on images by x alone. The n of the graph does
 * not matter. g, sealed, and pool are borrowed and must outlive the result. CEL_UNSUPPORTED, with the operation's scope and
 * name: batch norm with the batch's statistics, gates, an operation without a kernel for inference. */
cel_status cel_inference_create(const cel_graph *g, cel_val x, cel_val y, const cel_backend *backend, cel_pool *pool,
                                cel_inference **out);
void cel_inference_destroy(cel_inference *f);
/* Takes the parameters and statistics that e, a prepared executor of the same graph, holds now. Wanted once before the
 * first run, and again when e was trained on. */
cel_status cel_inference_load(cel_inference *f, cel_exec *e);
/* y of n images, both in plain C order. One caller at a time; allocates nothing. */
void cel_inference_run(cel_inference *f, const float *x, int n, float *y);
/* What it holds, all threads together. */
size_t cel_inference_bytes(const cel_inference *f);
/* The executor whose threads share an image, and its program: for profiles. */
cel_exec *cel_inference_exec(cel_inference *f, int *program);
#endif
