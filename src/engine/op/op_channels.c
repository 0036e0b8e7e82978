/* Operations that move values and compute nothing: concat, slice and channel_shuffle over channels, crop over pixels,
 * and the gradients slice_grad and crop_grad, which put dy into a field of zeros. concat, slice, slice_grad and shuffle
 * take [n,c] too. */
#include <string.h>

#include "engine/op/check.h"

static cel_status check_channels(const cel_graph *g, const cel_val *in, int i, const char *name,
                                 const cel_value **out) {
    CEL_TRY(cel_check_input(g, in, i, name, out));
    if ((*out)->layout != CEL_BATCH || (*out)->shape.rank < 2)
        return CEL_FAIL(CEL_SHAPE, "%s: expected [n,c,h,w] or [n,c] over images, found rank %d", name,
                        (*out)->shape.rank);
    return CEL_OK;
}

static cel_status infer_concat(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                               int *n_out) {
    const cel_value *x;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1 << 16));
    CEL_TRY(check_channels(g, in, 0, "the first part", &x));
    out->layout = CEL_BATCH;
    out->shape = x->shape;
    for (int i = 1; i < n_in; i++) {
        CEL_TRY(check_channels(g, in, i, "a part", &x));
        cel_shape want = out->shape;
        want.dim[1] = x->shape.dim[1]; /* only the channels may differ */
        CEL_TRY(cel_check_shape(g, in, i, "a part", CEL_BATCH, want));
        out->shape.dim[1] += x->shape.dim[1];
    }
    return CEL_OK;
}

static cel_status infer_slice(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                              int *n_out) {
    const cel_slice_attr *a = attr;
    const cel_value *x;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(check_channels(g, in, 0, "x", &x));
    if (a->first < 0 || a->count < 1 || a->count > x->shape.dim[1] || a->first > x->shape.dim[1] - a->count)
        return CEL_FAIL(CEL_SHAPE, "%d channels from %d on, x has %d", a->count, a->first, x->shape.dim[1]);
    out->layout = CEL_BATCH;
    out->shape = x->shape;
    out->shape.dim[1] = a->count;
    return CEL_OK;
}

static cel_status infer_slice_grad(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                                   int *n_out) {
    const cel_slice_grad_attr *a = attr;
    const cel_value *dy;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(check_channels(g, in, 0, "dy", &dy));
    if (a->first < 0 || a->first > a->channels - dy->shape.dim[1])
        return CEL_FAIL(CEL_SHAPE, "%d channels at %d do not fit into %d", dy->shape.dim[1], a->first, a->channels);
    out->layout = CEL_BATCH;
    out->shape = dy->shape;
    out->shape.dim[1] = a->channels;
    return CEL_OK;
}

static cel_status infer_crop(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                             int *n_out) {
    const cel_crop_attr *a = attr;
    const cel_value *x;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(cel_check_image(g, in, 0, "x", &x));
    if (a->top < 0 || a->left < 0 || a->top >= x->shape.dim[2] || a->left >= x->shape.dim[3])
        return CEL_FAIL(CEL_SHAPE, "from row %d and column %d on nothing is left of %dx%d pixels", a->top, a->left,
                        x->shape.dim[2], x->shape.dim[3]);
    out->layout = CEL_BATCH;
    out->shape = CEL_SHAPE(x->shape.dim[0], x->shape.dim[1], x->shape.dim[2] - a->top, x->shape.dim[3] - a->left);
    return CEL_OK;
}

static cel_status infer_crop_grad(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                                  int *n_out) {
    const cel_crop_attr *a = attr;
    const cel_value *dy;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(cel_check_image(g, in, 0, "dy", &dy));
    out->layout = CEL_BATCH;
    out->shape = CEL_SHAPE(dy->shape.dim[0], dy->shape.dim[1], dy->shape.dim[2] + a->top, dy->shape.dim[3] + a->left);
    return CEL_OK;
}

static cel_status infer_shuffle(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                                int *n_out) {
    const cel_shuffle_attr *a = attr;
    const cel_value *x;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(check_channels(g, in, 0, "x", &x));
    if (a->groups < 1 || x->shape.dim[1] % a->groups)
        return CEL_FAIL(CEL_SHAPE, "%d channels cannot be cut into %d groups", x->shape.dim[1], a->groups);
    out->layout = CEL_BATCH;
    out->shape = x->shape;
    return CEL_OK;
}

static cel_status grad_concat(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    int first = 0;
    for (int i = 0; i < o.n_in && dout[0] != CEL_NONE; i++) {
        int count = cel_graph_shape(g, o.in[i]).dim[1];
        if (need[i]) din[i] = cel_slice(g, dout[0], first, count);
        first += count;
    }
    return CEL_OK;
}

static cel_status grad_slice(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    cel_slice_grad_attr attr = {((const cel_slice_attr *)o.attr)->first, cel_graph_shape(g, o.in[0]).dim[1]};
    if (need[0] && dout[0] != CEL_NONE) din[0] = cel_op_emit(g, &cel_op_slice_grad, &dout[0], 1, &attr, sizeof attr);
    return CEL_OK;
}

static cel_status grad_slice_grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    int count = cel_graph_shape(g, o.in[0]).dim[1];
    if (need[0] && dout[0] != CEL_NONE)
        din[0] = cel_slice(g, dout[0], ((const cel_slice_grad_attr *)o.attr)->first, count);
    return CEL_OK;
}

static cel_status grad_crop(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    if (need[0] && dout[0] != CEL_NONE)
        din[0] = cel_op_emit(g, &cel_op_crop_grad, &dout[0], 1, o.attr, sizeof(cel_crop_attr));
    return CEL_OK;
}

static cel_status grad_crop_grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_crop_attr attr = *(const cel_crop_attr *)g->op[op].attr;
    if (need[0] && dout[0] != CEL_NONE) din[0] = cel_crop(g, dout[0], attr.top, attr.left);
    return CEL_OK;
}

static cel_status grad_shuffle(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    int channels = cel_graph_shape(g, o.in[0]).dim[1], groups = ((const cel_shuffle_attr *)o.attr)->groups;
    if (need[0] && dout[0] != CEL_NONE) din[0] = cel_channel_shuffle(g, dout[0], channels / groups);
    return CEL_OK;
}

static void ref_concat(const cel_kernel_args *a) {
    cel_dims y = cel_dims_of(a->out[0].shape);
    float *out = a->out[0].data;
    int first = 0;
    for (int k = 0; k < a->n_in; k++) {
        cel_dims x = cel_dims_of(a->in[k].shape);
        size_t block = (size_t)x.c * (size_t)x.h * (size_t)x.w;
        for (int n = 0; n < y.n; n++)
            memcpy(out + cel_at(y, n, first, 0, 0), (const float *)a->in[k].data + (size_t)n * block,
                   block * sizeof(float));
        first += x.c;
    }
}

static void ref_slice(const cel_kernel_args *a) {
    const cel_slice_attr *attr = a->op->attr;
    cel_dims x = cel_dims_of(a->in[0].shape), y = cel_dims_of(a->out[0].shape);
    size_t block = (size_t)y.c * (size_t)y.h * (size_t)y.w;
    for (int n = 0; n < y.n; n++)
        memcpy((float *)a->out[0].data + (size_t)n * block,
               (const float *)a->in[0].data + cel_at(x, n, attr->first, 0, 0), block * sizeof(float));
}

static void ref_slice_grad(const cel_kernel_args *a) {
    const cel_slice_grad_attr *attr = a->op->attr;
    cel_dims dy = cel_dims_of(a->in[0].shape), dx = cel_dims_of(a->out[0].shape);
    size_t block = (size_t)dy.c * (size_t)dy.h * (size_t)dy.w;
    memset(a->out[0].data, 0, cel_shape_count(a->out[0].shape) * sizeof(float));
    for (int n = 0; n < dy.n; n++)
        memcpy((float *)a->out[0].data + cel_at(dx, n, attr->first, 0, 0),
               (const float *)a->in[0].data + (size_t)n * block, block * sizeof(float));
}

static void ref_crop(const cel_kernel_args *a) {
    const cel_crop_attr *attr = a->op->attr;
    cel_dims x = cel_dims_of(a->in[0].shape), y = cel_dims_of(a->out[0].shape);
    for (int p = 0; p < y.n * y.c; p++)
        for (int i = 0; i < y.h; i++)
            memcpy((float *)a->out[0].data + cel_at(y, 0, p, i, 0),
                   (const float *)a->in[0].data + cel_at(x, 0, p, i + attr->top, attr->left),
                   (size_t)y.w * sizeof(float));
}

static void ref_crop_grad(const cel_kernel_args *a) {
    const cel_crop_attr *attr = a->op->attr;
    cel_dims dy = cel_dims_of(a->in[0].shape), dx = cel_dims_of(a->out[0].shape);
    memset(a->out[0].data, 0, cel_shape_count(a->out[0].shape) * sizeof(float));
    for (int p = 0; p < dy.n * dy.c; p++)
        for (int i = 0; i < dy.h; i++)
            memcpy((float *)a->out[0].data + cel_at(dx, 0, p, i + attr->top, attr->left),
                   (const float *)a->in[0].data + cel_at(dy, 0, p, i, 0), (size_t)dy.w * sizeof(float));
}

static void ref_shuffle(const cel_kernel_args *a) {
    int groups = ((const cel_shuffle_attr *)a->op->attr)->groups;
    cel_dims d = cel_dims_of(a->in[0].shape);
    size_t plane = (size_t)d.h * (size_t)d.w;
    int per_group = d.c / groups;
    for (int n = 0; n < d.n; n++)
        for (int c = 0; c < d.c; c++)
            memcpy((float *)a->out[0].data + cel_at(d, n, c % per_group * groups + c / per_group, 0, 0),
                   (const float *)a->in[0].data + cel_at(d, n, c, 0, 0), plane * sizeof(float));
}

cel_val cel_concat(cel_graph *g, const cel_val *x, int n) { return cel_op_emit(g, &cel_op_concat, x, n, NULL, 0); }

cel_val cel_slice(cel_graph *g, cel_val x, int first, int count) {
    return cel_op_emit(g, &cel_op_slice, &x, 1, &(cel_slice_attr){first, count}, sizeof(cel_slice_attr));
}

cel_val cel_crop(cel_graph *g, cel_val x, int top, int left) {
    return cel_op_emit(g, &cel_op_crop, &x, 1, &(cel_crop_attr){top, left}, sizeof(cel_crop_attr));
}

cel_val cel_channel_shuffle(cel_graph *g, cel_val x, int groups) {
    return cel_op_emit(g, &cel_op_channel_shuffle, &x, 1, &(cel_shuffle_attr){groups}, sizeof(cel_shuffle_attr));
}

static cel_val input(cel_graph *g, const char *name, cel_shape shape) {
    return cel_graph_input(g, name, CEL_F32, CEL_BATCH, shape);
}
static cel_val concat_three(cel_graph *g) {
    return cel_concat(g,
                      (cel_val[]){input(g, "a", CEL_SHAPE(3, 2, 5, 4)), input(g, "b", CEL_SHAPE(3, 1, 5, 4)),
                                  input(g, "c", CEL_SHAPE(3, 4, 5, 4))},
                      3);
}
static cel_val concat_vectors(cel_graph *g) {
    return cel_concat(g, (cel_val[]){input(g, "a", CEL_SHAPE(17, 2)), input(g, "b", CEL_SHAPE(17, 3))}, 2);
}
static const cel_op_case concat_cases[] = {{"three", concat_three}, {"vectors", concat_vectors}, {0}};
static cel_val slice_first(cel_graph *g) { return cel_slice(g, input(g, "x", CEL_SHAPE(3, 8, 3, 5)), 0, 2); }
static cel_val slice_rest(cel_graph *g) { return cel_slice(g, input(g, "x", CEL_SHAPE(3, 8, 3, 5)), 2, 6); }
static const cel_op_case slice_cases[] = {{"first", slice_first}, {"rest", slice_rest}, {0}};
static cel_val crop_one(cel_graph *g) { return cel_crop(g, input(g, "x", CEL_SHAPE(2, 3, 6, 5)), 1, 1); }
static cel_val crop_left(cel_graph *g) { return cel_crop(g, input(g, "x", CEL_SHAPE(17, 2, 3, 4)), 0, 2); }
static const cel_op_case crop_cases[] = {{"one", crop_one}, {"left", crop_left}, {0}};
static cel_val shuffle_2(cel_graph *g) { return cel_channel_shuffle(g, input(g, "x", CEL_SHAPE(2, 8, 3, 3)), 2); }
static cel_val shuffle_4(cel_graph *g) { return cel_channel_shuffle(g, input(g, "x", CEL_SHAPE(3, 8, 2, 5)), 4); }
static cel_val shuffle_3(cel_graph *g) { return cel_channel_shuffle(g, input(g, "x", CEL_SHAPE(17, 6, 1, 2)), 3); }
static const cel_op_case shuffle_cases[] = {{"2", shuffle_2}, {"4", shuffle_4}, {"3", shuffle_3}, {0}};

const cel_op_def cel_op_concat = {
    .name = "concat", .n_out = 1, .infer = infer_concat, .grad = grad_concat, .ref = ref_concat, .cases = concat_cases};
const cel_op_def cel_op_slice = {
    .name = "slice", .n_out = 1, .infer = infer_slice, .grad = grad_slice, .ref = ref_slice, .cases = slice_cases};
const cel_op_def cel_op_slice_grad = {
    .name = "slice_grad", .n_out = 1, .infer = infer_slice_grad, .grad = grad_slice_grad, .ref = ref_slice_grad};
const cel_op_def cel_op_crop = {
    .name = "crop", .n_out = 1, .infer = infer_crop, .grad = grad_crop, .ref = ref_crop, .cases = crop_cases};
const cel_op_def cel_op_crop_grad = {
    .name = "crop_grad", .n_out = 1, .infer = infer_crop_grad, .grad = grad_crop_grad, .ref = ref_crop_grad};
const cel_op_def cel_op_channel_shuffle = {.name = "channel_shuffle",
                                           .n_out = 1,
                                           .infer = infer_shuffle,
                                           .grad = grad_shuffle,
                                           .ref = ref_shuffle,
                                           .cases = shuffle_cases};
