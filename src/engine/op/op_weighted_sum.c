/* weighted_sum: candidates times their weights, y = sum over active i of weights[row[i]][col[i]] x[i], and its
 * gradients. straight_through (GDAS, Dong and Yang 2019): the weights of inactive candidates are added as scalars; they
 * are zero in value, and so get the gradient sum(dy). A candidate of no value (`none`) must be listed, as a gated zero,
 * for its weight to be told apart. */
#include "engine/op/check.h"

enum { MOST = CEL_COUNT(((cel_weighted_sum_attr *)0)->row) };

static cel_status check_weights(const cel_graph *g, const cel_val *in, int i, cel_shape *shape) {
    const cel_value *w;
    CEL_TRY(cel_check_input(g, in, i, "weights", &w));
    if (w->layout != CEL_DENSE || w->shape.rank != 2)
        return CEL_FAIL(CEL_SHAPE, "weights: expected a matrix that does not run over images, found rank %d",
                        w->shape.rank);
    *shape = w->shape;
    return CEL_OK;
}

static cel_status check_entry(int row, int col, cel_shape weights) {
    if (row < 0 || col < 0 || row >= weights.dim[0] || col >= weights.dim[1])
        return CEL_FAIL(CEL_SHAPE, "row %d, column %d lie outside the weights %dx%d", row, col, weights.dim[0],
                        weights.dim[1]);
    return CEL_OK;
}

static cel_status check_candidates(const cel_graph *g, const cel_val *x, int n_x, const cel_weighted_sum_attr *a,
                                   cel_shape weights, const cel_value **first) {
    if (a->n < 1 || a->n > MOST || n_x != a->n)
        return CEL_FAIL(CEL_SHAPE, "%d candidates for %d entries, expected as many, 1 .. %d", n_x, a->n, MOST);
    CEL_TRY(cel_check_input(g, x, 0, "the first candidate", first));
    for (int i = 0; i < a->n; i++) {
        CEL_TRY(check_entry(a->row[i], a->col[i], weights));
        CEL_TRY(cel_check_shape(g, x, i, "a candidate", CEL_BATCH, (*first)->shape));
    }
    return CEL_OK;
}

static cel_status infer(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out) {
    cel_shape weights;
    const cel_value *x;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 1 + MOST));
    CEL_TRY(check_weights(g, in, 0, &weights));
    CEL_TRY(check_candidates(g, in + 1, n_in - 1, attr, weights, &x));
    out->layout = CEL_BATCH;
    out->shape = x->shape;
    return CEL_OK;
}

static cel_status infer_dx(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                           int *n_out) {
    const cel_weighted_sum_dx_attr *a = attr;
    cel_shape weights;
    const cel_value *dy;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 2));
    CEL_TRY(check_weights(g, in, 0, &weights));
    CEL_TRY(check_entry(a->row, a->col, weights));
    CEL_TRY(cel_check_input(g, in, 1, "dy", &dy));
    out->layout = dy->layout;
    out->shape = dy->shape;
    return CEL_OK;
}

static cel_status infer_dw(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                           int *n_out) {
    const cel_weighted_sum_dw_attr *a = attr;
    cel_shape weights = CEL_SHAPE(a->rows, a->cols);
    const cel_value *x;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 1 + MOST));
    CEL_TRY(check_candidates(g, in + 1, n_in - 1, &a->sum, weights, &x));
    CEL_TRY(cel_check_shape(g, in, 0, "dy", CEL_BATCH, x->shape));
    out->layout = CEL_DENSE;
    out->shape = weights;
    return CEL_OK;
}

/* Under the candidate's gate, so that a candidate that is off costs nothing. */
static cel_val emit_dx(cel_graph *g, cel_val weights, cel_val dy, cel_val x, int row, int col) {
    const cel_value *v = &g->value[x];
    int gate = v->role == CEL_TEMP ? cel_graph_gate(g, v->gate) : g->gate;
    cel_val dx = cel_op_emit(g, &cel_op_weighted_sum_dx, (cel_val[]){weights, dy}, 2,
                             &(cel_weighted_sum_dx_attr){row, col}, sizeof(cel_weighted_sum_dx_attr));
    cel_graph_gate(g, gate);
    return dx;
}

static cel_val emit_dw(cel_graph *g, cel_val dy, const cel_val *x, const cel_weighted_sum_attr *sum,
                       cel_shape weights) {
    cel_val in[1 + MOST] = {dy};
    cel_weighted_sum_dw_attr attr = {*sum, weights.dim[0], weights.dim[1]};
    for (int i = 0; i < sum->n; i++) in[1 + i] = x[i];
    return cel_op_emit(g, &cel_op_weighted_sum_dw, in, 1 + sum->n, &attr, sizeof attr);
}

static cel_status grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    const cel_weighted_sum_attr *a = o.attr;
    if (dout[0] == CEL_NONE) return CEL_OK;
    if (need[0]) din[0] = emit_dw(g, dout[0], o.in + 1, a, cel_graph_shape(g, o.in[0]));
    for (int i = 0; i < a->n; i++)
        if (need[1 + i]) din[1 + i] = emit_dx(g, o.in[0], dout[0], o.in[1 + i], a->row[i], a->col[i]);
    return CEL_OK;
}

static cel_status grad_dx(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    const cel_weighted_sum_dx_attr *a = o.attr;
    if (dout[0] == CEL_NONE) return CEL_OK;
    cel_weighted_sum_attr one = {.n = 1, .row = {a->row}, .col = {a->col}};
    if (need[0]) din[0] = emit_dw(g, dout[0], &o.in[1], &one, cel_graph_shape(g, o.in[0]));
    if (need[1]) din[1] = emit_dx(g, o.in[0], dout[0], o.in[1], a->row, a->col);
    return CEL_OK;
}

static cel_status grad_dw(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    const cel_weighted_sum_attr *a = &((const cel_weighted_sum_dw_attr *)o.attr)->sum;
    if (dout[0] == CEL_NONE) return CEL_OK;
    if (need[0]) din[0] = cel_weighted_sum(g, dout[0], o.in + 1, *a);
    for (int i = 0; i < a->n; i++)
        if (need[1 + i]) din[1 + i] = emit_dx(g, dout[0], o.in[0], o.in[1 + i], a->row[i], a->col[i]);
    return CEL_OK;
}

static void ref(const cel_kernel_args *a) {
    const cel_weighted_sum_attr *attr = a->op->attr;
    const float *weights = a->in[0].data;
    int cols = a->in[0].shape.dim[1];
    float *y = a->out[0].data;
    size_t count = cel_shape_count(a->out[0].shape);
    double scalar = 0;
    for (int k = 0; k < attr->n && attr->straight_through; k++)
        if (!a->in[1 + k].active) scalar += weights[attr->row[k] * cols + attr->col[k]];
    for (size_t i = 0; i < count; i++) {
        double sum = scalar;
        for (int k = 0; k < attr->n; k++)
            if (a->in[1 + k].active)
                sum += (double)weights[attr->row[k] * cols + attr->col[k]] * ((const float *)a->in[1 + k].data)[i];
        y[i] = (float)sum;
    }
}

static void ref_dx(const cel_kernel_args *a) {
    const cel_weighted_sum_dx_attr *attr = a->op->attr;
    float weight = ((const float *)a->in[0].data)[attr->row * a->in[0].shape.dim[1] + attr->col];
    const float *dy = a->in[1].data;
    float *dx = a->out[0].data;
    size_t count = cel_shape_count(a->out[0].shape);
    for (size_t i = 0; i < count; i++) dx[i] = weight * dy[i];
}

static void ref_dw(const cel_kernel_args *a) {
    const cel_weighted_sum_dw_attr *attr = a->op->attr;
    const float *dy = a->in[0].data;
    float *dw = a->out[0].data;
    size_t count = cel_shape_count(a->in[0].shape);
    for (int i = 0; i < attr->rows * attr->cols; i++) dw[i] = 0;
    for (int k = 0; k < attr->sum.n; k++) {
        const float *x = a->in[1 + k].active ? a->in[1 + k].data : NULL;
        if (!x && !attr->sum.straight_through) continue;
        double sum = 0;
        for (size_t i = 0; i < count; i++) sum += x ? (double)dy[i] * x[i] : dy[i];
        dw[attr->sum.row[k] * attr->cols + attr->sum.col[k]] += (float)sum;
    }
}

cel_val cel_weighted_sum(cel_graph *g, cel_val weights, const cel_val *x, cel_weighted_sum_attr attr) {
    cel_val in[1 + MOST] = {weights};
    if (attr.n < 1 || attr.n > MOST)
        return cel_graph_error(g, CEL_SHAPE, "weighted_sum: %d candidates, expected 1 .. %d", attr.n, MOST);
    for (int i = 0; i < attr.n; i++) in[1 + i] = x[i];
    return cel_op_emit(g, &cel_op_weighted_sum, in, 1 + attr.n, &attr, sizeof attr);
}

/* Three candidates, each under a gate of its own (on, unless a test switches it off). */
static cel_val sample(cel_graph *g, cel_shape shape, bool straight_through) {
    cel_val weights = cel_graph_input(g, "weights", CEL_F32, CEL_DENSE, CEL_SHAPE(2, 3)), x[3];
    cel_val in = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, shape);
    for (int i = 0; i < 3; i++) {
        int gate = cel_graph_gate(g, i);
        x[i] = cel_scale(g, in, (float)(i + 1));
        cel_graph_gate(g, gate);
    }
    return cel_weighted_sum(g, weights, x,
                            (cel_weighted_sum_attr){3, {1, 1, 0}, {0, 2, 1}, .straight_through = straight_through});
}
static cel_val image(cel_graph *g) { return sample(g, CEL_SHAPE(3, 2, 5, 3), false); }
static cel_val batch(cel_graph *g) { return sample(g, CEL_SHAPE(18, 3, 2, 2), false); }
static cel_val through(cel_graph *g) { return sample(g, CEL_SHAPE(5, 2, 3, 3), true); }
static const cel_op_case cases[] = {{"image", image}, {"batch", batch}, {"straight_through", through}, {0}};

const cel_op_def cel_op_weighted_sum = {
    .name = "weighted_sum", .n_out = 1, .infer = infer, .grad = grad, .ref = ref, .gated_inputs = true, .cases = cases};
const cel_op_def cel_op_weighted_sum_dx = {
    .name = "weighted_sum_dx", .n_out = 1, .infer = infer_dx, .grad = grad_dx, .ref = ref_dx};
const cel_op_def cel_op_weighted_sum_dw = {
    .name = "weighted_sum_dw", .n_out = 1, .infer = infer_dw, .grad = grad_dw, .ref = ref_dw, .gated_inputs = true};
