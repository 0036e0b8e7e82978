/* channel_dot: y[i][c] = sum over the pixels of x[i][c] z[i][c], for x and z of one shape, [n,c,h,w] or [n,c]. */
#include "engine/op/check.h"

static cel_status infer(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out) {
    const cel_value *x;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 2));
    CEL_TRY(cel_check_input(g, in, 0, "x", &x));
    if (x->layout != CEL_BATCH || (x->shape.rank != 4 && x->shape.rank != 2))
        return CEL_FAIL(CEL_SHAPE, "x: expected [n,c,h,w] or [n,c] over images, found rank %d", x->shape.rank);
    CEL_TRY(cel_check_shape(g, in, 1, "z", CEL_BATCH, x->shape));
    out->layout = CEL_BATCH;
    out->shape = CEL_SHAPE(x->shape.dim[0], x->shape.dim[1]);
    return CEL_OK;
}

static void ref(const cel_kernel_args *a) {
    cel_dims d = cel_dims_of(a->in[0].shape);
    const float *x = a->in[0].data, *z = a->in[1].data;
    float *y = a->out[0].data;
    size_t plane = (size_t)d.h * (size_t)d.w;
    for (size_t i = 0; i < (size_t)d.n * (size_t)d.c; i++) {
        double sum = 0;
        for (size_t p = i * plane; p < (i + 1) * plane; p++) sum += (double)x[p] * z[p];
        y[i] = (float)sum;
    }
}

cel_val cel_channel_dot(cel_graph *g, cel_val x, cel_val z) {
    return cel_op_emit(g, &cel_op_channel_dot, (cel_val[]){x, z}, 2, NULL, 0);
}

static cel_val sample(cel_graph *g, cel_shape shape) {
    return cel_channel_dot(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, shape),
                           cel_graph_input(g, "z", CEL_F32, CEL_BATCH, shape));
}
static cel_val image(cel_graph *g) { return sample(g, CEL_SHAPE(3, 5, 4, 7)); }
static cel_val batch(cel_graph *g) { return sample(g, CEL_SHAPE(19, 6, 4, 8)); }
static cel_val vectors(cel_graph *g) { return sample(g, CEL_SHAPE(18, 3)); }
static const cel_op_case cases[] = {{"image", image}, {"batch", batch}, {"vectors", vectors}, {0}};

const cel_op_def cel_op_channel_dot = {.name = "channel_dot", .n_out = 1, .infer = infer, .ref = ref, .cases = cases};
