/* relu: max(x, 0) and its gradient, which is 0 at 0; it reads y, so that y may take x's memory. NaN stays NaN. */
#include "engine/op/check.h"

static cel_status infer(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out) {
    const cel_value *x;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(cel_check_input(g, in, 0, "x", &x));
    out->layout = x->layout;
    out->shape = x->shape;
    return CEL_OK;
}

static cel_status infer_grad(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                             int *n_out) {
    const cel_value *dy;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 2));
    CEL_TRY(cel_check_input(g, in, 0, "dy", &dy));
    CEL_TRY(cel_check_shape(g, in, 1, "y", dy->layout, dy->shape));
    out->layout = dy->layout;
    out->shape = dy->shape;
    return CEL_OK;
}

static cel_status grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    if (need[0] && dout[0] != CEL_NONE)
        din[0] = cel_op_emit(g, &cel_op_relu_grad, (cel_val[]){dout[0], o.out[0]}, 2, NULL, 0);
    return CEL_OK;
}

static cel_status grad_grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    if (need[0] && dout[0] != CEL_NONE)
        din[0] = cel_op_emit(g, &cel_op_relu_grad, (cel_val[]){dout[0], o.in[1]}, 2, NULL, 0);
    return CEL_OK;
}

static void ref(const cel_kernel_args *a) {
    const float *x = a->in[0].data;
    float *y = a->out[0].data;
    size_t n = cel_shape_count(a->in[0].shape);
    for (size_t i = 0; i < n; i++) y[i] = x[i] <= 0 ? 0 : x[i];
}

static void ref_grad(const cel_kernel_args *a) {
    const float *dy = a->in[0].data, *y = a->in[1].data;
    float *dx = a->out[0].data;
    size_t n = cel_shape_count(a->in[0].shape);
    for (size_t i = 0; i < n; i++) dx[i] = y[i] > 0 ? dy[i] : 0;
}

cel_val cel_relu(cel_graph *g, cel_val x) { return cel_op_emit(g, &cel_op_relu, &x, 1, NULL, 0); }

static cel_val image(cel_graph *g) {
    return cel_relu(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(3, 5, 4, 7)));
}
static cel_val vectors(cel_graph *g) {
    return cel_relu(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(18, 3)));
}
static const cel_op_case cases[] = {{"image", image}, {"vectors", vectors}, {0}};

const cel_op_def cel_op_relu = {
    .name = "relu", .n_out = 1, .infer = infer, .grad = grad, .ref = ref, .in_place = true, .cases = cases};
const cel_op_def cel_op_relu_grad = {
    .name = "relu_grad", .n_out = 1, .infer = infer_grad, .grad = grad_grad, .ref = ref_grad, .in_place = true};
