/* conv2d_folded: what a convolution and the layers around it are in inference, in one pass:
 *   y = conv2d(x, w) + b + sum of the terms,  relu = max(y, 0)
 * w and b are those of a convolution with the batch norm behind it folded in (engine/exec/inference.h); the terms are
 * the other edges of its node. An output that nobody reads is not made. */
#include "engine/op/check.h"

static cel_status infer(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out) {
    const cel_value *x, *w;
    cel_shape y;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 3, 1 << 20));
    CEL_TRY(cel_check_image(g, in, 0, "x", &x));
    CEL_TRY(cel_check_input(g, in, 1, "the weight", &w));
    CEL_TRY(cel_check_shape(g, in, 1, "the weight", CEL_FILTER, w->shape));
    CEL_TRY(cel_conv2d_shape(x->shape, w->shape, attr, &y));
    CEL_TRY(cel_check_shape(g, in, 2, "the bias", CEL_DENSE, CEL_SHAPE(y.dim[1])));
    for (int i = 3; i < n_in; i++) CEL_TRY(cel_check_shape(g, in, i, "a term", CEL_BATCH, y));
    out[0].layout = out[1].layout = CEL_BATCH;
    out[0].shape = out[1].shape = y;
    return CEL_OK;
}

static void ref(const cel_kernel_args *args) {
    cel_tensor y = args->out[0].data ? args->out[0] : args->out[1];
    cel_kernel_args convolution = *args;
    convolution.out = &y;
    cel_op_conv2d.ref(&convolution);
    cel_dims d = cel_dims_of(y.shape);
    const float *bias = args->in[2].data;
    float *sum = y.data, *relu = args->out[1].data;
    size_t plane = (size_t)d.h * (size_t)d.w, count = cel_shape_count(y.shape);
    for (size_t i = 0; i < count; i++) {
        double s = (double)sum[i] + bias[i / plane % (size_t)d.c];
        for (int k = 3; k < args->n_in; k++) s += ((const float *)args->in[k].data)[i];
        sum[i] = (float)s;
        if (relu) relu[i] = s <= 0 ? 0 : (float)s;
    }
}

static size_t work_bytes(const cel_graph *g, const cel_op *op) { return cel_op_conv2d.ref_work_bytes(g, op); }

static double flops(const cel_graph *g, const cel_op *op, const uint8_t *active) {
    return cel_op_conv2d.flops(g, op, active);
}

cel_folded cel_conv2d_folded(cel_graph *g, cel_val x, cel_val w, cel_val b, const cel_val *terms, int n_terms,
                             cel_conv2d_attr attr) {
    cel_val in[3 + CEL_FOLDED_MAX_TERMS] = {x, w, b};
    if (n_terms > CEL_FOLDED_MAX_TERMS) {
        cel_graph_error(g, CEL_SHAPE, "conv2d_folded: %d terms, at most %d", n_terms, CEL_FOLDED_MAX_TERMS);
        return (cel_folded){CEL_NONE, CEL_NONE};
    }
    for (int i = 0; i < n_terms; i++) in[3 + i] = terms[i];
    int op = cel_graph_add(g, &cel_op_conv2d_folded, in, 3 + n_terms, &attr, sizeof attr);
    return op < 0 ? (cel_folded){CEL_NONE, CEL_NONE} : (cel_folded){g->op[op].out[0], g->op[op].out[1]};
}

cel_val cel_graph_filter(cel_graph *g, const char *leaf, cel_shape shape) {
    return cel_graph_new_value(
        g,
        &(cel_value){.role = CEL_PARAM, .dtype = CEL_F32, .layout = CEL_FILTER, .shape = shape, .init = CEL_INIT_ZERO},
        leaf);
}

/* y + 2 relu(y), so that both outputs are looked at. */
static cel_val sample(cel_graph *g, int n, int c, int h, int w, int o, int kernel, cel_conv2d_attr attr, int n_terms) {
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, c, h, w)), term[4];
    cel_val weight = cel_graph_filter(g, "w", CEL_SHAPE(o, c / attr.groups, kernel, kernel));
    cel_val bias = cel_graph_param(g, "b", CEL_SHAPE(o), CEL_INIT_ZERO);
    cel_folded first = cel_conv2d_folded(g, x, weight, bias, NULL, 0, attr);
    for (int i = 0; i < n_terms; i++) term[i] = i % 2 ? first.relu : first.y;
    cel_folded y = cel_conv2d_folded(g, x, weight, bias, term, n_terms, attr);
    return cel_add(g, (cel_val[]){y.y, y.relu, y.relu}, 3);
}
#define PLAIN(stride, pad) ((cel_conv2d_attr){stride, pad, 1, 1})
static cel_val k1(cel_graph *g) { return sample(g, 2, 5, 4, 7, 3, 1, PLAIN(1, 0), 0); }
static cel_val k1_wide(cel_graph *g) { return sample(g, 1, 40, 9, 19, 50, 1, PLAIN(1, 0), 1); }
static cel_val k1_s2(cel_graph *g) { return sample(g, 2, 17, 7, 8, 33, 1, PLAIN(2, 0), 0); }
static cel_val k3(cel_graph *g) { return sample(g, 3, 16, 8, 32, 16, 3, PLAIN(1, 1), 2); }
static cel_val k3_odd(cel_graph *g) { return sample(g, 1, 19, 11, 13, 35, 3, PLAIN(1, 1), 3); }
static cel_val k3_even(cel_graph *g) { return sample(g, 1, 19, 10, 14, 35, 3, PLAIN(1, 1), 2); }
static cel_val k3_wide(cel_graph *g) { return sample(g, 2, 32, 8, 8, 64, 3, PLAIN(1, 1), 1); }
static cel_val k3_one(cel_graph *g) { return sample(g, 1, 1, 1, 1, 1, 3, PLAIN(1, 1), 0); }
static cel_val k3_s2(cel_graph *g) { return sample(g, 2, 16, 16, 16, 32, 3, PLAIN(2, 1), 1); }
static cel_val k3_s2_odd(cel_graph *g) { return sample(g, 2, 3, 9, 7, 18, 3, PLAIN(2, 1), 0); }
static cel_val k3_valid(cel_graph *g) { return sample(g, 1, 4, 6, 5, 4, 3, PLAIN(1, 0), 0); }
static cel_val k5(cel_graph *g) { return sample(g, 1, 4, 9, 8, 4, 5, PLAIN(1, 2), 1); }
static cel_val k3_dilated(cel_graph *g) { return sample(g, 1, 17, 8, 9, 4, 3, (cel_conv2d_attr){1, 2, 2, 1}, 0); }
static cel_val depth3(cel_graph *g) { return sample(g, 2, 19, 8, 9, 19, 3, (cel_conv2d_attr){1, 1, 1, 19}, 1); }
static cel_val depth3_s2(cel_graph *g) { return sample(g, 1, 33, 9, 8, 33, 3, (cel_conv2d_attr){2, 1, 1, 33}, 0); }
static cel_val depth5_dilated(cel_graph *g) {
    return sample(g, 1, 16, 8, 12, 16, 5, (cel_conv2d_attr){1, 4, 2, 16}, 0);
}
static const cel_op_case cases[] = {{"k1", k1},
                                    {"k1_wide", k1_wide},
                                    {"k1_s2", k1_s2},
                                    {"k3", k3},
                                    {"k3_odd", k3_odd},
                                    {"k3_even", k3_even},
                                    {"k3_wide", k3_wide},
                                    {"k3_one", k3_one},
                                    {"k3_s2", k3_s2},
                                    {"k3_s2_odd", k3_s2_odd},
                                    {"k3_valid", k3_valid},
                                    {"k5", k5},
                                    {"k3_dilated", k3_dilated},
                                    {"depth3", depth3},
                                    {"depth3_s2", depth3_s2},
                                    {"depth5_dilated", depth5_dilated},
                                    {0}};

const cel_op_def cel_op_conv2d_folded = {.name = "conv2d_folded",
                                         .n_out = 2,
                                         .infer = infer,
                                         .ref = ref,
                                         .ref_work_bytes = work_bytes,
                                         .flops = flops,
                                         .inference = true,
                                         .cases = cases};
