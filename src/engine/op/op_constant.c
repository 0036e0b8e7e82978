/* constant: a DENSE value that is the same everywhere; seeds a gradient. */
#include "engine/op/check.h"

static cel_status infer(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out) {
    (void)g, (void)in, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 0, 0));
    out->layout = CEL_DENSE;
    out->shape = ((const cel_constant_attr *)attr)->shape;
    return CEL_OK;
}

static void ref(const cel_kernel_args *a) {
    const cel_constant_attr *attr = a->op->attr;
    float *y = a->out[0].data;
    size_t n = cel_shape_count(a->out[0].shape);
    for (size_t i = 0; i < n; i++) y[i] = attr->value;
}

cel_val cel_op_constant_emit(cel_graph *g, float value, cel_shape shape) {
    return cel_op_emit(g, &cel_op_constant, NULL, 0, &(cel_constant_attr){value, shape}, sizeof(cel_constant_attr));
}

const cel_op_def cel_op_constant = {.name = "constant", .n_out = 1, .infer = infer, .ref = ref};
