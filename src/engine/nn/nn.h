/* Layers that search spaces are built of: each declares its parameters in the present scope, under PyTorch's module
 * names, and returns the value of its last operation. Errors stay in the graph, as with every builder. Parameters start
 * with PyTorch's defaults. */
#ifndef CEL_ENGINE_NN_H
#define CEL_ENGINE_NN_H
#include "cellar/graph.h"

/* How the batch norms of a network are: affine adds weight (ones) and bias (zeros). */
typedef struct cel_nn_norm {
    cel_batch_norm_attr attr;
    bool affine;
} cel_nn_norm;

/* The usual: eps 1e-5, momentum 0.1. */
#define CEL_NN_NORM(is_affine) ((cel_nn_norm){{.eps = 1e-5f, .momentum = 0.1f}, (is_affine)})

/* NAME.weight: [out, c/groups, kernel, kernel]. */
cel_val cel_nn_conv(cel_graph *g, const char *name, cel_val x, int out, int kernel, cel_conv2d_attr attr);
/* NAME.weight, .bias (affine), .running_mean, .running_var: [c]. */
cel_val cel_nn_batch_norm(cel_graph *g, const char *name, cel_val x, cel_nn_norm norm);
/* NAME.weight [out, c], NAME.bias [out] if there is a bias. */
cel_val cel_nn_linear(cel_graph *g, const char *name, cel_val x, int out, bool bias);

/* conv, bn; dilation 1, groups 1. */
cel_val cel_nn_conv_bn(cel_graph *g, cel_val x, int out, int kernel, int stride, int pad, cel_nn_norm norm);
cel_val cel_nn_relu_conv_bn(cel_graph *g, cel_val x, int out, int kernel, int stride, int pad, cel_nn_norm norm);
/* r = ReLU(x); cat(conv1(r), conv2(r[:,:,1:,1:])), 1x1 of stride 2 with out/2 and out - out/2 channels; bn. h and w
 * even. */
cel_val cel_nn_factorized_reduce(cel_graph *g, cel_val x, int out, cel_nn_norm norm);
/* ReLU dw1 pw1 bn1 ReLU dw2 pw2 bn2: depthwise of the given kernel (odd, same size at stride 1), the stride in dw1
 * only. */
cel_val cel_nn_sep_conv(cel_graph *g, cel_val x, int out, int kernel, int stride, cel_nn_norm norm);
/* ReLU dw pw bn: depthwise with dilation 2 (same size at stride 1). */
cel_val cel_nn_dil_conv(cel_graph *g, cel_val x, int out, int kernel, int stride, cel_nn_norm norm);

/* A cell of mixed edges (cel_mixed_cell says what it computes). op_name: n_cols names; each live convolution declares,
 * in row-major order of (row, column), "edge{i}<-{j}.{name}.conv.weight" and ".bn.running_mean", ".bn.running_var",
 * under gate row * n_cols + column. fused: one operation; else some hundred plain ones with the same parameters and the
 * same results, which can be differentiated twice where batch norm can. Must not be called under a gate. */
cel_val cel_nn_mixed_cell(cel_graph *g, cel_val x, cel_val weights, const cel_mixed_cell_attr *attr,
                          const char *const *op_name, bool fused);
#endif
