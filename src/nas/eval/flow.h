/* The linear network behind synflow: every weight and bias replaced by its absolute value, no batch norm, an image of
 * ones. Then nothing is negative, ReLU does nothing, and the output R is a sum over paths. */
#ifndef CEL_NAS_FLOW_H
#define CEL_NAS_FLOW_H
#include "nas/eval/level.h"
#include "nas/eval/probe.h"

/* *r: the sum of all outputs; *score: sum over the weights of convolutions and linear layers of |w dR/dw|.
 * CEL_UNSUPPORTED for an operation that has no place in such a network, CEL_DIVERGED when R is beyond a double. */
cel_status cel_flow_run(const cel_probe *probe, double *r, double *score);

/* A convolution over planes that lie padded, rows `pitch` apart: y[o][p] = sum_{i,t} w[o/4][i][t][o%4] x[i][p +
 * shift[t]], for p < n_pixels. Reads up to CEL_FLOW_TILE floats beyond. */
enum { CEL_FLOW_OUT = 4, CEL_FLOW_TILE = 40 };
typedef struct cel_flow_conv_args {
    const double *x, *w;
    double *y;
    size_t x_plane, y_plane; /* doubles between channels; y_plane at least n_pixels rounded up to tiles */
    size_t n_pixels;
    int in, out, taps; /* out: rounded up to CEL_FLOW_OUT */
    const int *shift;
} cel_flow_conv_args;
typedef void cel_flow_conv_fn(const cel_flow_conv_args *a);
cel_flow_conv_fn cel_flow_conv_base, cel_flow_conv_avx2, cel_flow_conv_avx512;
#endif
