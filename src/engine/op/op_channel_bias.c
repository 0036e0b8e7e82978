/* channel_bias: y = x + b[c] over [n,c,h,w] or [n,c], and its gradient db = the sum of dy over images and pixels. */
#include "engine/op/check.h"

static cel_status check_x(const cel_graph *g, const cel_val *in, const char *name, cel_shape *shape) {
    const cel_value *x;
    CEL_TRY(cel_check_input(g, in, 0, name, &x));
    if (x->layout != CEL_BATCH || (x->shape.rank != 4 && x->shape.rank != 2))
        return CEL_FAIL(CEL_SHAPE, "%s: expected [n,c,h,w] or [n,c] over images, found rank %d", name, x->shape.rank);
    *shape = x->shape;
    return CEL_OK;
}

static cel_status infer(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out) {
    cel_shape x;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 2));
    CEL_TRY(check_x(g, in, "x", &x));
    CEL_TRY(cel_check_shape(g, in, 1, "the bias", CEL_DENSE, CEL_SHAPE(x.dim[1])));
    out->layout = CEL_BATCH;
    out->shape = x;
    return CEL_OK;
}

static cel_status infer_grad(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                             int *n_out) {
    cel_shape dy;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(check_x(g, in, "dy", &dy));
    out->layout = CEL_DENSE;
    out->shape = CEL_SHAPE(dy.dim[1]);
    return CEL_OK;
}

static cel_status grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    (void)op;
    if (dout[0] == CEL_NONE) return CEL_OK;
    if (need[0]) din[0] = dout[0];
    if (need[1]) din[1] = cel_op_emit(g, &cel_op_channel_bias_grad, dout, 1, NULL, 0);
    return CEL_OK;
}

static void ref(const cel_kernel_args *a) {
    cel_dims d = cel_dims_of(a->in[0].shape);
    const float *x = a->in[0].data, *b = a->in[1].data;
    float *y = a->out[0].data;
    size_t plane = (size_t)d.h * (size_t)d.w;
    for (size_t i = 0; i < (size_t)d.n * (size_t)d.c * plane; i++) y[i] = x[i] + b[i / plane % (size_t)d.c];
}

static void ref_grad(const cel_kernel_args *a) {
    cel_dims d = cel_dims_of(a->in[0].shape);
    const float *dy = a->in[0].data;
    float *db = a->out[0].data;
    size_t plane = (size_t)d.h * (size_t)d.w;
    for (size_t c = 0; c < (size_t)d.c; c++) {
        double sum = 0;
        for (size_t n = 0; n < (size_t)d.n; n++)
            for (size_t i = 0; i < plane; i++) sum += dy[(n * (size_t)d.c + c) * plane + i];
        db[c] = (float)sum;
    }
}

cel_val cel_channel_bias(cel_graph *g, cel_val x, cel_val b) {
    return cel_op_emit(g, &cel_op_channel_bias, (cel_val[]){x, b}, 2, NULL, 0);
}

static cel_val sample(cel_graph *g, cel_shape shape) {
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, shape);
    return cel_channel_bias(g, x, cel_graph_param(g, "bias", CEL_SHAPE(shape.dim[1]), CEL_INIT_ZERO));
}
static cel_val image(cel_graph *g) { return sample(g, CEL_SHAPE(3, 5, 4, 7)); }
static cel_val batch(cel_graph *g) { return sample(g, CEL_SHAPE(19, 6, 4, 8)); }
static cel_val vectors(cel_graph *g) { return sample(g, CEL_SHAPE(18, 3)); }
static const cel_op_case cases[] = {{"image", image}, {"batch", batch}, {"vectors", vectors}, {0}};

const cel_op_def cel_op_channel_bias = {
    .name = "channel_bias", .n_out = 1, .infer = infer, .grad = grad, .ref = ref, .in_place = true, .cases = cases};
const cel_op_def cel_op_channel_bias_grad = {
    .name = "channel_bias_grad", .n_out = 1, .infer = infer_grad, .ref = ref_grad};
