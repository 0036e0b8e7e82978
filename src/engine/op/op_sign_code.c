/* sign_code: which elements of an image are positive, 24 to a number: y[i][j] = sum_k 2^k [x_i[24 j + k] > 0] over
 * the image's elements in plain order; a last number that they do not fill is short. All numbers are exact in float.
 * For what counts or compares the linear regions of a network (NASWOT, Mellor et al. 2021; Xiong et al. 2020). */
#include "engine/op/check.h"

static cel_status infer(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out) {
    const cel_value *x;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(cel_check_input(g, in, 0, "x", &x));
    if (x->layout != CEL_BATCH) return CEL_FAIL(CEL_SHAPE, "x: expected a value that runs over images");
    size_t units = cel_shape_count(x->shape) / (size_t)x->shape.dim[0];
    out->layout = CEL_BATCH;
    out->shape = CEL_SHAPE(x->shape.dim[0], (int)((units + CEL_SIGN_CODE_BITS - 1) / CEL_SIGN_CODE_BITS));
    return CEL_OK;
}

static void ref(const cel_kernel_args *a) {
    size_t n = (size_t)a->in[0].shape.dim[0], units = cel_shape_count(a->in[0].shape) / n;
    size_t words = (size_t)a->out[0].shape.dim[1];
    const float *x = a->in[0].data;
    float *y = a->out[0].data;
    for (size_t i = 0; i < n * words; i++) y[i] = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t u = 0; u < units; u++)
            if (x[i * units + u] > 0) y[i * words + u / CEL_SIGN_CODE_BITS] += (float)(1 << u % CEL_SIGN_CODE_BITS);
}

cel_val cel_sign_code(cel_graph *g, cel_val x) { return cel_op_emit(g, &cel_op_sign_code, &x, 1, NULL, 0); }

static cel_val image(cel_graph *g) {
    return cel_sign_code(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(3, 5, 4, 7)));
}
static cel_val batch(cel_graph *g) {
    return cel_sign_code(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(19, 6, 4, 8)));
}
static cel_val vectors(cel_graph *g) {
    return cel_sign_code(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(18, 3)));
}
static cel_val large(cel_graph *g) {
    return cel_sign_code(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(33, 16, 32, 32)));
}
static const cel_op_case cases[] = {{"image", image}, {"batch", batch}, {"vectors", vectors}, {"large", large}, {0}};

const cel_op_def cel_op_sign_code = {.name = "sign_code", .n_out = 1, .infer = infer, .ref = ref, .cases = cases};
