/* A static computation graph: values (tensors) with ids, operations that make values from values, and the gradient as
 * more operations of the same graph.
 *
 *   cel_graph *g;  CEL_TRY(cel_graph_create(&g));
 *   cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(64, 3, 32, 32));
 *   cel_val w = cel_graph_param(g, "weight", CEL_SHAPE(16, 3, 3, 3), CEL_INIT_KAIMING);
 *   cel_val y = cel_relu(g, cel_conv2d(g, x, w, (cel_conv2d_attr){.stride = 1, .pad = 1, .dilation = 1, .groups = 1}));
 *   ...
 *   CEL_TRY(cel_graph_grad(g, loss, &w, 1, &dw));
 *   CEL_TRY(cel_graph_seal(g));
 *
 * Builders return a value id; a wrong one returns CEL_NONE, CEL_NONE propagates, and cel_graph_seal reports the first
 * error with its scope. So a network reads as one line a layer. Ids never change; values and operations live as long as
 * the graph and nobody frees one. A sealed graph is read-only and may be shared by threads. */
#ifndef CELLAR_GRAPH_H
#define CELLAR_GRAPH_H
#include "cellar/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cel_graph cel_graph;
typedef int32_t cel_val;
#define CEL_NONE ((cel_val)-1)

/* CEL_BF16: only what an operation keeps for its gradient in less room; never an input, a parameter or a result. */
typedef enum cel_dtype { CEL_F32, CEL_I32, CEL_BF16 } cel_dtype;
/* CEL_BATCH: the first dimension runs over images, rank 1 [n], 2 [n,c] or 4 [n,c,h,w]; a backend may lay it out in
 * memory as it likes. CEL_DENSE: any rank 0..4, plain C order everywhere (weights, per-channel vectors, edge weights,
 * scalars). CEL_FILTER: the [out,c,kh,kw] weights of a convolution for inference, laid out as a backend likes. */
typedef enum cel_layout { CEL_DENSE, CEL_BATCH, CEL_FILTER } cel_layout;
/* Who fills a value: the caller each step (INPUT), the optimiser (PARAM), operations in place (STATE: running
 * statistics), the operation that makes it (TEMP). */
typedef enum cel_role { CEL_INPUT, CEL_PARAM, CEL_STATE, CEL_TEMP } cel_role;

typedef struct cel_shape {
    int rank, dim[4];
} cel_shape;
#define CEL_SHAPE(...) ((cel_shape){(int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), {__VA_ARGS__}})
#define CEL_SCALAR ((cel_shape){0, {0}})
size_t cel_shape_count(cel_shape shape); /* 1 for a scalar */
bool cel_shape_equal(cel_shape a, cel_shape b);

/* How a parameter or state starts: zeros, ones, or PyTorch's defaults for convolution and linear layers
 * (uniform +-1/sqrt(fan_in)), their bias (the same bound, with the fan_in of the nearest parameter of rank 2 or
 * more declared before it), or He et al. 2015 normal (fan_out, gain sqrt 2). Drawn from cel_rng_at(seed, parameter name, 0, 0), so one
 * parameter's start does not depend on what else is in the graph. */
typedef enum cel_init { CEL_INIT_ZERO, CEL_INIT_ONE, CEL_INIT_UNIFORM, CEL_INIT_BIAS, CEL_INIT_KAIMING } cel_init;

cel_status cel_graph_create(cel_graph **out);
void cel_graph_destroy(cel_graph *g);

/* Scopes name what is built inside them: "cell0" / "edge1<-0" / "nor_conv_3x3" / "conv" and leaf "weight" give the
 * parameter "cell0.edge1<-0.nor_conv_3x3.conv.weight". */
void cel_graph_push(cel_graph *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cel_graph_pop(cel_graph *g);
/* Operations built from here on belong to gate `gate` (>= 0; -1: always on) until the call is repeated; returns the
 * gate before. An executor skips the operations of a gate that is off: their values are inactive, sums leave them out,
 * their parameters' gradients are zero and their running statistics stay. Gradient operations inherit their operation's
 * gate. */
int cel_graph_gate(cel_graph *g, int gate);

cel_val cel_graph_input(cel_graph *g, const char *name, cel_dtype dtype, cel_layout layout, cel_shape shape);
cel_val cel_graph_param(cel_graph *g, const char *leaf, cel_shape shape, cel_init init);
cel_val cel_graph_state(cel_graph *g, const char *leaf, cel_shape shape, cel_init init);
/* Full name of a value ("" for most temporaries); find by full name, CEL_NONE when there is none. */
const char *cel_graph_name(const cel_graph *g, cel_val v);
cel_val cel_graph_find(const cel_graph *g, const char *name);
cel_shape cel_graph_shape(const cel_graph *g, cel_val v);

/* Adds the operations that compute d loss / d wrt[i] into grads[i]; `loss` is a scalar. Only what these gradients need
 * is added. A value that the loss does not depend on gives CEL_NONE. */
cel_status cel_graph_grad(cel_graph *g, cel_val loss, const cel_val *wrt, int n, cel_val *grads);
/* The same from a given d loss / d y of y's shape and layout: an input, or what an earlier gradient gave. */
cel_status cel_graph_grad_from(cel_graph *g, cel_val y, cel_val dy, const cel_val *wrt, int n, cel_val *grads);
/* The same for several y together: the gradient of sum_k <y[k], dy[k]>. With y[k] the gradients of a loss and dy[k] a vector it is the
 * loss' Hessian times that vector. */
cel_status cel_graph_grad_from_all(cel_graph *g, const cel_val *y, const cel_val *dy, int n_y, const cel_val *wrt,
                                   int n, cel_val *grads);
/* Checks the graph and freezes it; the first builder error comes out here. */
cel_status cel_graph_seal(cel_graph *g);

/* Multiply-adds of the whole graph's convolutions and linear layers, forward, of the whole batch, times two; by gate if
 * `active` (one byte a gate) is given. */
double cel_graph_flops(const cel_graph *g, const uint8_t *active);

/* ---- Operations. x: [n,c,h,w] BATCH float unless said otherwise. ---- */

typedef struct cel_conv2d_attr {
    int stride, pad, dilation, groups; /* square, the same in both directions */
} cel_conv2d_attr;
/* Cross-correlation; w [out, c/groups, kh, kw]; no bias. */
cel_val cel_conv2d(cel_graph *g, cel_val x, cel_val w, cel_conv2d_attr attr);

typedef struct cel_batch_norm_attr {
    float eps, momentum; /* 1e-5, 0.1: running <- (1 - momentum) running + momentum new, new variance unbiased */
    bool use_batch;      /* batch statistics in evaluation mode too */
} cel_batch_norm_attr;
/* Training mode normalises with the biased batch variance and updates the running [c] states; evaluation mode
 * normalises with the states. gamma, beta [c] or both CEL_NONE. x may be [n,c] too. */
cel_val cel_batch_norm(cel_graph *g, cel_val x, cel_val gamma, cel_val beta, cel_val running_mean, cel_val running_var,
                       cel_batch_norm_attr attr);
cel_val cel_relu(cel_graph *g, cel_val x);

typedef struct cel_pool2d_attr {
    int kernel, stride, pad;
} cel_pool2d_attr;
cel_val cel_max_pool(cel_graph *g, cel_val x, cel_pool2d_attr attr); /* pads with -inf; dy to the first maximum */
cel_val cel_avg_pool(cel_graph *g, cel_val x, cel_pool2d_attr attr); /* divisor: cells inside the image */
cel_val cel_global_pool(cel_graph *g, cel_val x);                    /* mean over h, w: [n,c] */
cel_val cel_linear(cel_graph *g, cel_val x, cel_val w, cel_val b);   /* x [n,f], w [o,f], b [o] or CEL_NONE: [n,o] */

cel_val cel_add(cel_graph *g, const cel_val *x, int n); /* sum of the active ones; zero when none is */
cel_val cel_scale(cel_graph *g, cel_val x, float factor);
cel_val cel_concat(cel_graph *g, const cel_val *x, int n);        /* along channels */
cel_val cel_slice(cel_graph *g, cel_val x, int first, int count); /* channels first .. first+count-1 */
cel_val cel_crop(cel_graph *g, cel_val x, int top, int left);     /* x[:, :, top:, left:] */
/* view(n, groups, c/groups, h, w).transpose(1, 2): channel a*(c/groups)+b moves to b*groups+a. */
cel_val cel_channel_shuffle(cel_graph *g, cel_val x, int groups);

/* sum_i weights[row[i]][col[i]] * x[i] over the active x; weights [rows, cols] DENSE. With `straight_through` the
 * weights of the inactive x are added as scalars (the caller gives them the value zero), which gives them the gradient
 * sum(dy): GDAS. A candidate without a value (`none`) must be listed for that too, as a gated zero. */
typedef struct cel_weighted_sum_attr {
    int n, row[16], col[16];
    bool straight_through;
} cel_weighted_sum_attr;
cel_val cel_weighted_sum(cel_graph *g, cel_val weights, const cel_val *x, cel_weighted_sum_attr attr);

/* Training: each element is zero with probability p, else times 1/(1-p); evaluation: x. Drawn from the executor's
 * stream. */
cel_val cel_dropout(cel_graph *g, cel_val x, float p);
/* y[i] = x[i] * m[i] for sample i; m [n] BATCH. */
cel_val cel_scale_samples(cel_graph *g, cel_val x, cel_val m);
/* Training: m[i] = 0 with probability rate, else 1/(1-rate); evaluation: 1. rate: DENSE scalar input, so a schedule can
 * move it. Drop-path is cel_scale_samples(x, cel_drop_mask(...)). */
cel_val cel_drop_mask(cel_graph *g, cel_val rate, int n);

typedef struct cel_cross_entropy {
    cel_val loss, probs, correct; /* DENSE scalar (mean); [n,c]; DENSE scalar: number of argmax hits (first maximum) */
} cel_cross_entropy;
/* logits [n,c], labels [n] I32 BATCH in 0..c-1 (another label makes the loss NaN); smoothing s: target
 * (1-s) onehot + s/c. */
cel_cross_entropy cel_softmax_cross_entropy(cel_graph *g, cel_val logits, cel_val labels, float smoothing);

/* x + b[c]; x [n,c,h,w] or [n,c], b [c]: the bias of a convolution. */
cel_val cel_channel_bias(cel_graph *g, cel_val x, cel_val b);
/* Signs as exact numbers, 24 elements of an image each: y[i][j] = sum_k 2^k [x_i[24 j + k] > 0]. Has no gradient. */
cel_val cel_sign_code(cel_graph *g, cel_val x);
/* x and z of one shape, [n,c,h,w] or [n,c]: their product summed over h, w: [n,c]. Has no gradient. */
cel_val cel_channel_dot(cel_graph *g, cel_val x, cel_val z);

/* A cell of mixed edges in one operation: what the engine's fast path runs instead of some hundred small ones.
 * Node 0 is x [n,c,h,w]; node j = sum over i < j of edge(i,j); the output is the last node. An edge is
 *   m = sum over columns o of weights[row][o] * op_o(x_i[:, :c/k]),   row = j(j-1)/2 + i,
 *   edge = k == 1 ? m : channel_shuffle(concat(m, x_i[:, c/k:]), k)
 * with op_o: NONE 0, SKIP the identity, CONV a ReLU-convolution-batch norm without affine (stride 1, same size, kernel
 * 1 or 3), POOL the average over 3x3 inside the image. Edges (row r, column o) that are not in `live` do not exist;
 * those whose gate r*n_cols+o is off are skipped. Equal to the plain graph that cel_nn_mixed_cell(plain) builds; `ref`
 * runs it in plain C. */
typedef enum cel_mix_kind { CEL_MIX_NONE, CEL_MIX_SKIP, CEL_MIX_CONV1, CEL_MIX_CONV3, CEL_MIX_POOL } cel_mix_kind;
enum { CEL_MIX_MAX_NODES = 6, CEL_MIX_MAX_ROWS = 15, CEL_MIX_MAX_COLS = 8 };
typedef struct cel_mixed_cell_attr {
    int n_nodes, k, n_cols;
    cel_mix_kind kind[CEL_MIX_MAX_COLS];
    uint8_t live[CEL_MIX_MAX_ROWS][CEL_MIX_MAX_COLS];
    bool straight_through; /* as in cel_weighted_sum */
    bool bf16; /* products of 3x3 convolutions and their outputs in bfloat16: not on every backend and machine */
    cel_batch_norm_attr bn;
} cel_mixed_cell_attr;
/* conv_w: [c/k, c/k, kernel, kernel] of each live convolution, in row-major order of (row, column); stats: its running
 * mean and variance, two values each. Both arrays are copied. */
cel_val cel_mixed_cell(cel_graph *g, cel_val x, cel_val weights, const cel_val *conv_w, const cel_val *stats,
                       const cel_mixed_cell_attr *attr);

#ifdef __cplusplus
}
#endif
#endif
