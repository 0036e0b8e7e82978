/* dropout (Srivastava et al. 2014), scale_samples and drop_mask, which together are drop-path (Larsson et al. 2017: one
 * draw a sample), and their gradients. A gradient draws the same numbers again instead of keeping a mask. */
#include <string.h>

#include "engine/op/check.h"

/* How many random operations of this scope came before. */
static int nth_of(const cel_graph *g) {
    int n = 0;
    for (int i = 0; i < g->n_ops; i++)
        if (g->op[i].def == &cel_op_dropout || g->op[i].def == &cel_op_drop_mask)
            n += !strcmp(g->op[i].scope, g->scope);
    return n;
}

static cel_status infer_dropout(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                                int *n_out) {
    const cel_dropout_attr *a = attr;
    const cel_value *x;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(cel_check_input(g, in, 0, "x", &x));
    if (x->layout != CEL_BATCH) return CEL_FAIL(CEL_SHAPE, "x: expected a value that runs over images");
    if (!(a->p >= 0 && a->p < 1)) return CEL_FAIL(CEL_SHAPE, "probability %g: expected 0 <= p < 1", (double)a->p);
    out->layout = CEL_BATCH;
    out->shape = x->shape;
    return CEL_OK;
}

static cel_status infer_scale_samples(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                                      int *n_out) {
    const cel_value *x;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 2));
    CEL_TRY(cel_check_input(g, in, 0, "x", &x));
    if (x->layout != CEL_BATCH) return CEL_FAIL(CEL_SHAPE, "x: expected a value that runs over images");
    CEL_TRY(cel_check_shape(g, in, 1, "the factors", CEL_BATCH, CEL_SHAPE(x->shape.dim[0])));
    out->layout = CEL_BATCH;
    out->shape = x->shape;
    return CEL_OK;
}

static cel_status infer_dm(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                           int *n_out) {
    const cel_value *x;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 2));
    CEL_TRY(cel_check_input(g, in, 1, "x", &x));
    CEL_TRY(cel_check_shape(g, in, 0, "dy", CEL_BATCH, x->shape));
    out->layout = CEL_BATCH;
    out->shape = CEL_SHAPE(x->shape.dim[0]);
    return CEL_OK;
}

static cel_status infer_mask(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                             int *n_out) {
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(cel_check_shape(g, in, 0, "the rate", CEL_DENSE, CEL_SCALAR));
    out->layout = CEL_BATCH;
    out->shape = CEL_SHAPE(((const cel_drop_mask_attr *)attr)->n);
    return CEL_OK;
}

static cel_status grad_dropout(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    if (need[0] && dout[0] != CEL_NONE)
        din[0] = cel_op_emit(g, &cel_op_dropout_grad, &dout[0], 1, g->op[op].attr, sizeof(cel_dropout_attr));
    return CEL_OK;
}

static cel_val emit_dm(cel_graph *g, cel_val dy, cel_val x) {
    return cel_op_emit(g, &cel_op_scale_samples_dm, (cel_val[]){dy, x}, 2, NULL, 0);
}

static cel_status grad_scale_samples(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    if (dout[0] == CEL_NONE) return CEL_OK;
    if (need[0]) din[0] = cel_scale_samples(g, dout[0], o.in[1]);
    if (need[1]) din[1] = emit_dm(g, dout[0], o.in[0]);
    return CEL_OK;
}

static cel_status grad_dm(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    for (int i = 0; i < 2 && dout[0] != CEL_NONE; i++)
        if (need[i]) din[i] = cel_scale_samples(g, o.in[1 - i], dout[0]);
    return CEL_OK;
}

static void ref_dropout(const cel_kernel_args *a) {
    const cel_dropout_attr *attr = a->op->attr;
    int n = a->in[0].shape.dim[0];
    size_t size = cel_shape_count(a->in[0].shape) / (size_t)n;
    bool drop = a->mode == CEL_MODE_TRAIN && attr->p > 0;
    float keep = 1 / (1 - attr->p);
    for (int i = 0; i < n; i++) {
        const float *x = (const float *)a->in[0].data + (size_t)i * size;
        float *y = (float *)a->out[0].data + (size_t)i * size;
        cel_rng rng = cel_op_stream(a, attr->nth, i);
        for (size_t e = 0; e < size; e++)
            y[e] = !drop ? x[e] : cel_rng_uniform(&rng) < (double)attr->p ? 0 : x[e] * keep;
    }
}

static void ref_scale_samples(const cel_kernel_args *a) {
    int n = a->in[0].shape.dim[0];
    size_t size = cel_shape_count(a->in[0].shape) / (size_t)n;
    const float *m = a->in[1].data;
    for (int i = 0; i < n; i++)
        for (size_t e = (size_t)i * size; e < (size_t)(i + 1) * size; e++)
            ((float *)a->out[0].data)[e] = ((const float *)a->in[0].data)[e] * m[i];
}

static void ref_dm(const cel_kernel_args *a) {
    int n = a->in[0].shape.dim[0];
    size_t size = cel_shape_count(a->in[0].shape) / (size_t)n;
    const float *dy = a->in[0].data, *x = a->in[1].data;
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (size_t e = (size_t)i * size; e < (size_t)(i + 1) * size; e++) sum += (double)dy[e] * x[e];
        ((float *)a->out[0].data)[i] = (float)sum;
    }
}

static void ref_mask(const cel_kernel_args *a) {
    const cel_drop_mask_attr *attr = a->op->attr;
    float rate = *(const float *)a->in[0].data, *m = a->out[0].data;
    for (int i = 0; i < attr->n; i++) {
        cel_rng rng = cel_op_stream(a, attr->nth, i);
        m[i] = a->mode != CEL_MODE_TRAIN ? 1 : cel_rng_uniform(&rng) < (double)rate ? 0 : 1 / (1 - rate);
    }
}

cel_val cel_dropout(cel_graph *g, cel_val x, float p) {
    return cel_op_emit(g, &cel_op_dropout, &x, 1, &(cel_dropout_attr){p, nth_of(g)}, sizeof(cel_dropout_attr));
}

cel_val cel_scale_samples(cel_graph *g, cel_val x, cel_val m) {
    return cel_op_emit(g, &cel_op_scale_samples, (cel_val[]){x, m}, 2, NULL, 0);
}

cel_val cel_drop_mask(cel_graph *g, cel_val rate, int n) {
    return cel_op_emit(g, &cel_op_drop_mask, &rate, 1, &(cel_drop_mask_attr){n, nth_of(g)}, sizeof(cel_drop_mask_attr));
}

static cel_val images(cel_graph *g, const char *name, cel_shape shape) {
    return cel_graph_input(g, name, CEL_F32, CEL_BATCH, shape);
}
static cel_val rate(cel_graph *g) { return cel_graph_input(g, "rate", CEL_F32, CEL_DENSE, CEL_SCALAR); }
static cel_val dropout_image(cel_graph *g) { return cel_dropout(g, images(g, "x", CEL_SHAPE(3, 4, 5, 3)), 0.3f); }
static cel_val dropout_vectors(cel_graph *g) { return cel_dropout(g, images(g, "x", CEL_SHAPE(18, 7)), 0.5f); }
static cel_val dropout_none(cel_graph *g) { return cel_dropout(g, images(g, "x", CEL_SHAPE(2, 3)), 0); }
static const cel_op_case dropout_cases[] = {
    {"image", dropout_image}, {"vectors", dropout_vectors}, {"none", dropout_none}, {0}};
static cel_val samples_image(cel_graph *g) {
    return cel_scale_samples(g, images(g, "x", CEL_SHAPE(5, 2, 3, 4)), images(g, "m", CEL_SHAPE(5)));
}
static cel_val samples_batch(cel_graph *g) {
    return cel_scale_samples(g, images(g, "x", CEL_SHAPE(19, 3)), images(g, "m", CEL_SHAPE(19)));
}
static cel_val drop_path(cel_graph *g) {
    return cel_scale_samples(g, images(g, "x", CEL_SHAPE(6, 2, 3, 3)), cel_drop_mask(g, rate(g), 6));
}
static const cel_op_case samples_cases[] = {
    {"image", samples_image}, {"batch", samples_batch}, {"drop_path", drop_path}, {0}};
static cel_val mask_odd(cel_graph *g) { return cel_drop_mask(g, rate(g), 37); }
static const cel_op_case mask_cases[] = {{"odd", mask_odd}, {0}};

const cel_op_def cel_op_dropout = {.name = "dropout",
                                   .n_out = 1,
                                   .infer = infer_dropout,
                                   .grad = grad_dropout,
                                   .ref = ref_dropout,
                                   .in_place = true,
                                   .cases = dropout_cases};
const cel_op_def cel_op_dropout_grad = {.name = "dropout_grad",
                                        .n_out = 1,
                                        .infer = infer_dropout,
                                        .grad = grad_dropout,
                                        .ref = ref_dropout,
                                        .in_place = true};
const cel_op_def cel_op_scale_samples = {.name = "scale_samples",
                                         .n_out = 1,
                                         .infer = infer_scale_samples,
                                         .grad = grad_scale_samples,
                                         .ref = ref_scale_samples,
                                         .in_place = true,
                                         .cases = samples_cases};
const cel_op_def cel_op_scale_samples_dm = {
    .name = "scale_samples_dm", .n_out = 1, .infer = infer_dm, .grad = grad_dm, .ref = ref_dm};
const cel_op_def cel_op_drop_mask = {
    .name = "drop_mask", .n_out = 1, .infer = infer_mask, .ref = ref_mask, .cases = mask_cases};
