/* add: the sum of the active inputs, zero when none is; and scale: a value times a constant. Both for any layout and
 * rank. */
#include <string.h>

#include "engine/op/check.h"

static cel_status infer_add(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                            int *n_out) {
    const cel_value *x;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1 << 20));
    CEL_TRY(cel_check_input(g, in, 0, "the first term", &x));
    for (int i = 1; i < n_in; i++) CEL_TRY(cel_check_shape(g, in, i, "a term", x->layout, x->shape));
    out->layout = x->layout;
    out->shape = x->shape;
    return CEL_OK;
}

static cel_status infer_scale(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                              int *n_out) {
    const cel_value *x;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(cel_check_input(g, in, 0, "x", &x));
    out->layout = x->layout;
    out->shape = x->shape;
    return CEL_OK;
}

static cel_status grad_add(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    for (int i = 0; i < g->op[op].n_in; i++)
        if (need[i]) din[i] = dout[0];
    return CEL_OK;
}

static cel_status grad_scale(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_scale_attr attr = *(const cel_scale_attr *)g->op[op].attr;
    if (need[0] && dout[0] != CEL_NONE) din[0] = cel_scale(g, dout[0], attr.factor);
    return CEL_OK;
}

static void ref_add(const cel_kernel_args *a) {
    size_t count = cel_shape_count(a->out[0].shape);
    float *y = a->out[0].data;
    for (size_t i = 0; i < count; i++) {
        double sum = 0;
        for (int k = 0; k < a->n_in; k++)
            if (a->in[k].active) sum += ((const float *)a->in[k].data)[i];
        y[i] = (float)sum;
    }
}

static void ref_scale(const cel_kernel_args *a) {
    const cel_scale_attr *attr = a->op->attr;
    const float *x = a->in[0].data;
    float *y = a->out[0].data;
    size_t count = cel_shape_count(a->out[0].shape);
    for (size_t i = 0; i < count; i++) y[i] = x[i] * attr->factor;
}

cel_val cel_add(cel_graph *g, const cel_val *x, int n) { return cel_op_emit(g, &cel_op_add, x, n, NULL, 0); }

cel_val cel_scale(cel_graph *g, cel_val x, float factor) {
    return cel_op_emit(g, &cel_op_scale, &x, 1, &(cel_scale_attr){factor}, sizeof(cel_scale_attr));
}

static cel_val add_three(cel_graph *g) {
    cel_shape s = CEL_SHAPE(3, 2, 5, 3);
    return cel_add(g,
                   (cel_val[]){cel_graph_input(g, "a", CEL_F32, CEL_BATCH, s),
                               cel_graph_input(g, "b", CEL_F32, CEL_BATCH, s),
                               cel_graph_input(g, "c", CEL_F32, CEL_BATCH, s)},
                   3);
}
static cel_val add_twice(cel_graph *g) {
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(17, 3));
    return cel_add(g, (cel_val[]){x, x}, 2);
}
static cel_val add_dense(cel_graph *g) {
    cel_shape s = CEL_SHAPE(6, 5);
    return cel_add(g, (cel_val[]){cel_graph_param(g, "a", s, CEL_INIT_ONE), cel_graph_param(g, "b", s, CEL_INIT_ONE)},
                   2);
}
static cel_val add_gated(cel_graph *g) { /* one term under a gate (on, unless a test switches it off) */
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(5, 2, 3, 3));
    int gate = cel_graph_gate(g, 0);
    cel_val gated = cel_scale(g, x, 3);
    cel_graph_gate(g, gate);
    return cel_add(g, (cel_val[]){x, gated}, 2);
}
static const cel_op_case add_cases[] = {
    {"three", add_three}, {"twice", add_twice}, {"dense", add_dense}, {"gated", add_gated}, {0}};
static cel_val scale_image(cel_graph *g) {
    return cel_scale(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(3, 2, 3, 5)), -1.75f);
}
static cel_val scale_scalar(cel_graph *g) {
    return cel_scale(g, cel_graph_param(g, "x", CEL_SCALAR, CEL_INIT_ONE), 0.4f);
}
static const cel_op_case scale_cases[] = {{"image", scale_image}, {"scalar", scale_scalar}, {0}};

const cel_op_def cel_op_add = {.name = "add",
                               .n_out = 1,
                               .infer = infer_add,
                               .grad = grad_add,
                               .ref = ref_add,
                               .gated_inputs = true,
                               .in_place = true,
                               .cases = add_cases};
const cel_op_def cel_op_scale = {.name = "scale",
                                 .n_out = 1,
                                 .infer = infer_scale,
                                 .grad = grad_scale,
                                 .ref = ref_scale,
                                 .in_place = true,
                                 .cases = scale_cases};
