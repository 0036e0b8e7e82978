/* linear: y = x w^T + b for x [n,f], w [o,f], b [o] or none, and its gradients; each one's gradient is made of the
 * others. */
#include "engine/op/check.h"

static cel_status check_rows(const cel_graph *g, const cel_val *in, int i, const char *name, const cel_value **out) {
    CEL_TRY(cel_check_input(g, in, i, name, out));
    if ((*out)->layout != CEL_BATCH || (*out)->shape.rank != 2)
        return CEL_FAIL(CEL_SHAPE, "%s: expected [n,f] over images, found rank %d", name, (*out)->shape.rank);
    return CEL_OK;
}

static cel_status check_weight(const cel_graph *g, const cel_val *in, int i, const cel_value **out) {
    CEL_TRY(cel_check_input(g, in, i, "the weight", out));
    if ((*out)->layout != CEL_DENSE || (*out)->shape.rank != 2)
        return CEL_FAIL(CEL_SHAPE, "the weight: expected [out, in], found rank %d", (*out)->shape.rank);
    return CEL_OK;
}

static cel_status infer(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out) {
    const cel_value *x, *w;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 3, 3));
    CEL_TRY(check_rows(g, in, 0, "x", &x));
    CEL_TRY(check_weight(g, in, 1, &w));
    if (w->shape.dim[1] != x->shape.dim[1])
        return CEL_FAIL(CEL_SHAPE, "the weight takes %d features, x has %d", w->shape.dim[1], x->shape.dim[1]);
    if (in[2] != CEL_NONE) CEL_TRY(cel_check_shape(g, in, 2, "the bias", CEL_DENSE, CEL_SHAPE(w->shape.dim[0])));
    out->layout = CEL_BATCH;
    out->shape = CEL_SHAPE(x->shape.dim[0], w->shape.dim[0]);
    return CEL_OK;
}

static cel_status infer_dx(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                           int *n_out) {
    const cel_value *dy, *w;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 2));
    CEL_TRY(check_rows(g, in, 0, "dy", &dy));
    CEL_TRY(check_weight(g, in, 1, &w));
    if (w->shape.dim[0] != dy->shape.dim[1])
        return CEL_FAIL(CEL_SHAPE, "the weight gives %d features, dy has %d", w->shape.dim[0], dy->shape.dim[1]);
    out->layout = CEL_BATCH;
    out->shape = CEL_SHAPE(dy->shape.dim[0], w->shape.dim[1]);
    return CEL_OK;
}

static cel_status infer_dw(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                           int *n_out) {
    const cel_value *x, *dy;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 2));
    CEL_TRY(check_rows(g, in, 0, "x", &x));
    CEL_TRY(check_rows(g, in, 1, "dy", &dy));
    if (x->shape.dim[0] != dy->shape.dim[0])
        return CEL_FAIL(CEL_SHAPE, "x has %d images, dy has %d", x->shape.dim[0], dy->shape.dim[0]);
    out[0].layout = out[1].layout = CEL_DENSE;
    out[0].shape = CEL_SHAPE(dy->shape.dim[1], x->shape.dim[1]);
    out[1].shape = CEL_SHAPE(dy->shape.dim[1]);
    return CEL_OK;
}

static cel_val emit_dx(cel_graph *g, cel_val dy, cel_val w) {
    return cel_op_emit(g, &cel_op_linear_dx, (cel_val[]){dy, w}, 2, NULL, 0);
}

static cel_status grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    if (dout[0] == CEL_NONE) return CEL_OK;
    if (need[0]) din[0] = emit_dx(g, dout[0], o.in[1]);
    if (need[1] || need[2]) {
        int index = cel_graph_add(g, &cel_op_linear_dw, (cel_val[]){o.in[0], dout[0]}, 2, NULL, 0);
        if (index >= 0 && need[1]) din[1] = g->op[index].out[0];
        if (index >= 0 && need[2]) din[2] = g->op[index].out[1];
    }
    return CEL_OK;
}

static cel_status grad_dx(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    if (dout[0] == CEL_NONE) return CEL_OK;
    if (need[0]) din[0] = cel_linear(g, dout[0], o.in[1], CEL_NONE);
    if (need[1]) din[1] = cel_op_emit(g, &cel_op_linear_dw, (cel_val[]){dout[0], o.in[0]}, 2, NULL, 0);
    return CEL_OK;
}

static cel_status grad_dw(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    cel_val dw = dout[0];
    if (dw == CEL_NONE && dout[1] == CEL_NONE) return CEL_OK;
    if (dw == CEL_NONE) dw = cel_op_constant_emit(g, 0, cel_graph_shape(g, o.out[0]));
    if (need[0]) din[0] = emit_dx(g, o.in[1], dw);
    if (need[1]) din[1] = cel_linear(g, o.in[0], dw, dout[1]);
    return CEL_OK;
}

static void ref(const cel_kernel_args *a) {
    int n = a->in[0].shape.dim[0], f = a->in[0].shape.dim[1], o = a->out[0].shape.dim[1];
    const float *x = a->in[0].data, *w = a->in[1].data, *b = a->in[2].data;
    float *y = a->out[0].data;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < o; j++) {
            double sum = b ? b[j] : 0;
            for (int k = 0; k < f; k++) sum += (double)x[(size_t)i * f + k] * w[(size_t)j * f + k];
            y[(size_t)i * o + j] = (float)sum;
        }
    }
}

static void ref_dx(const cel_kernel_args *a) {
    int n = a->in[0].shape.dim[0], o = a->in[0].shape.dim[1], f = a->in[1].shape.dim[1];
    const float *dy = a->in[0].data, *w = a->in[1].data;
    float *dx = a->out[0].data;
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < f; k++) {
            double sum = 0;
            for (int j = 0; j < o; j++) sum += (double)dy[(size_t)i * o + j] * w[(size_t)j * f + k];
            dx[(size_t)i * f + k] = (float)sum;
        }
    }
}

static void ref_dw(const cel_kernel_args *a) {
    int n = a->in[0].shape.dim[0], f = a->in[0].shape.dim[1], o = a->in[1].shape.dim[1];
    const float *x = a->in[0].data, *dy = a->in[1].data;
    float *dw = a->out[0].data, *db = a->out[1].data;
    for (int j = 0; j < o; j++) {
        double bias = 0;
        for (int i = 0; i < n; i++) bias += dy[(size_t)i * o + j];
        if (db) db[j] = (float)bias;
        for (int k = 0; k < f && dw; k++) {
            double sum = 0;
            for (int i = 0; i < n; i++) sum += (double)dy[(size_t)i * o + j] * x[(size_t)i * f + k];
            dw[(size_t)j * f + k] = (float)sum;
        }
    }
}

static double flops(const cel_graph *g, const cel_op *op, const uint8_t *active) {
    (void)active;
    return 2.0 * (double)cel_shape_count(cel_graph_shape(g, op->out[0])) * cel_graph_shape(g, op->in[1]).dim[1];
}

static double flops_dx(const cel_graph *g, const cel_op *op, const uint8_t *active) {
    (void)active;
    return 2.0 * (double)cel_shape_count(cel_graph_shape(g, op->out[0])) * cel_graph_shape(g, op->in[1]).dim[0];
}

static double flops_dw(const cel_graph *g, const cel_op *op, const uint8_t *active) {
    (void)active;
    return 2.0 * (double)cel_shape_count(cel_graph_shape(g, op->out[0])) * cel_graph_shape(g, op->in[0]).dim[0];
}

cel_val cel_linear(cel_graph *g, cel_val x, cel_val w, cel_val b) {
    return cel_op_emit(g, &cel_op_linear, (cel_val[]){x, w, b}, 3, NULL, 0);
}

static cel_val sample(cel_graph *g, int n, int f, int o, bool bias) {
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, f));
    cel_val w = cel_graph_param(g, "w", CEL_SHAPE(o, f), CEL_INIT_UNIFORM);
    return cel_linear(g, x, w, bias ? cel_graph_param(g, "b", CEL_SHAPE(o), CEL_INIT_BIAS) : CEL_NONE);
}
static cel_val odd(cel_graph *g) { return sample(g, 5, 7, 3, true); }
static cel_val no_bias(cel_graph *g) { return sample(g, 4, 6, 5, false); }
static cel_val batch(cel_graph *g) { return sample(g, 33, 9, 10, true); }
static cel_val one(cel_graph *g) { return sample(g, 1, 1, 1, true); }
static const cel_op_case cases[] = {{"odd", odd}, {"no_bias", no_bias}, {"batch", batch}, {"one", one}, {0}};

const cel_op_def cel_op_linear = {
    .name = "linear", .n_out = 1, .infer = infer, .grad = grad, .ref = ref, .flops = flops, .cases = cases};
const cel_op_def cel_op_linear_dx = {
    .name = "linear_dx", .n_out = 1, .infer = infer_dx, .grad = grad_dx, .ref = ref_dx, .flops = flops_dx};
const cel_op_def cel_op_linear_dw = {
    .name = "linear_dw", .n_out = 2, .infer = infer_dw, .grad = grad_dw, .ref = ref_dw, .flops = flops_dw};
