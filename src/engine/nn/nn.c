/* Layers; see nn.h. */
#include "engine/nn/nn.h"

cel_val cel_nn_conv(cel_graph *g, const char *name, cel_val x, int out, int kernel, cel_conv2d_attr attr) {
    int c = cel_graph_shape(g, x).dim[1],
        groups = attr.groups > 0 ? attr.groups : 1; /* conv2d reports a wrong number */
    cel_graph_push(g, "%s", name);
    cel_val w = cel_graph_param(g, "weight", CEL_SHAPE(out, c / groups, kernel, kernel), CEL_INIT_UNIFORM);
    cel_val y = cel_conv2d(g, x, w, attr);
    cel_graph_pop(g);
    return y;
}

cel_val cel_nn_batch_norm(cel_graph *g, const char *name, cel_val x, cel_nn_norm norm) {
    cel_shape c = CEL_SHAPE(cel_graph_shape(g, x).dim[1]);
    cel_graph_push(g, "%s", name);
    cel_val gamma = norm.affine ? cel_graph_param(g, "weight", c, CEL_INIT_ONE) : CEL_NONE;
    cel_val beta = norm.affine ? cel_graph_param(g, "bias", c, CEL_INIT_ZERO) : CEL_NONE;
    cel_val mean = cel_graph_state(g, "running_mean", c, CEL_INIT_ZERO);
    cel_val var = cel_graph_state(g, "running_var", c, CEL_INIT_ONE);
    cel_val y = cel_batch_norm(g, x, gamma, beta, mean, var, norm.attr);
    cel_graph_pop(g);
    return y;
}

cel_val cel_nn_linear(cel_graph *g, const char *name, cel_val x, int out, bool bias) {
    cel_graph_push(g, "%s", name);
    cel_val w = cel_graph_param(g, "weight", CEL_SHAPE(out, cel_graph_shape(g, x).dim[1]), CEL_INIT_UNIFORM);
    cel_val b = bias ? cel_graph_param(g, "bias", CEL_SHAPE(out), CEL_INIT_BIAS) : CEL_NONE;
    cel_val y = cel_linear(g, x, w, b);
    cel_graph_pop(g);
    return y;
}

cel_val cel_nn_conv_bn(cel_graph *g, cel_val x, int out, int kernel, int stride, int pad, cel_nn_norm norm) {
    cel_conv2d_attr conv = {.stride = stride, .pad = pad, .dilation = 1, .groups = 1};
    return cel_nn_batch_norm(g, "bn", cel_nn_conv(g, "conv", x, out, kernel, conv), norm);
}

cel_val cel_nn_relu_conv_bn(cel_graph *g, cel_val x, int out, int kernel, int stride, int pad, cel_nn_norm norm) {
    return cel_nn_conv_bn(g, cel_relu(g, x), out, kernel, stride, pad, norm);
}

cel_val cel_nn_factorized_reduce(cel_graph *g, cel_val x, int out, cel_nn_norm norm) {
    cel_conv2d_attr half = {.stride = 2, .pad = 0, .dilation = 1, .groups = 1};
    cel_val r = cel_relu(g, x), part[2];
    part[0] = cel_nn_conv(g, "conv1", r, out / 2, 1, half);
    part[1] = cel_nn_conv(g, "conv2", cel_crop(g, r, 1, 1), out - out / 2, 1, half);
    return cel_nn_batch_norm(g, "bn", cel_concat(g, part, 2), norm);
}

static cel_val depthwise(cel_graph *g, const char *name, cel_val x, int kernel, int stride, int dilation) {
    int c = cel_graph_shape(g, x).dim[1];
    return cel_nn_conv(g, name, x, c, kernel, (cel_conv2d_attr){stride, dilation * (kernel - 1) / 2, dilation, c});
}

static cel_val pointwise(cel_graph *g, const char *name, cel_val x, int out) {
    return cel_nn_conv(g, name, x, out, 1, (cel_conv2d_attr){.stride = 1, .pad = 0, .dilation = 1, .groups = 1});
}

cel_val cel_nn_sep_conv(cel_graph *g, cel_val x, int out, int kernel, int stride, cel_nn_norm norm) {
    int c = cel_graph_shape(g, x).dim[1];
    x = depthwise(g, "dw1", cel_relu(g, x), kernel, stride, 1);
    x = cel_nn_batch_norm(g, "bn1", pointwise(g, "pw1", x, c), norm);
    x = depthwise(g, "dw2", cel_relu(g, x), kernel, 1, 1);
    return cel_nn_batch_norm(g, "bn2", pointwise(g, "pw2", x, out), norm);
}

cel_val cel_nn_dil_conv(cel_graph *g, cel_val x, int out, int kernel, int stride, cel_nn_norm norm) {
    x = depthwise(g, "dw", cel_relu(g, x), kernel, stride, 2);
    return cel_nn_batch_norm(g, "bn", pointwise(g, "pw", x, out), norm);
}
