/* max_pool, avg_pool, global_pool and their gradients. max_pool pads with -inf and gives its gradient to the first
 * maximum in row-major order of the window; avg_pool divides by the number of cells inside the image; global_pool is
 * the mean over h and w. */
#include <math.h>

#include "engine/op/check.h"

static cel_status y_shape(cel_shape x, const cel_pool2d_attr *a, cel_shape *y) {
    if (a->kernel < 1 || a->stride < 1 || a->pad < 0 || a->kernel > 1 << 15 || a->stride > 1 << 15)
        return CEL_FAIL(CEL_SHAPE, "kernel %d, stride %d, pad %d: expected at least 1, 1, 0", a->kernel, a->stride,
                        a->pad);
    if (a->pad > a->kernel / 2) /* else a window might lie outside the image */
        return CEL_FAIL(CEL_SHAPE, "pad %d is more than half of the kernel %d", a->pad, a->kernel);
    int64_t h = (int64_t)x.dim[2] + 2 * a->pad - a->kernel, w = (int64_t)x.dim[3] + 2 * a->pad - a->kernel;
    if (h < 0 || w < 0)
        return CEL_FAIL(CEL_SHAPE, "a window of %d with pad %d does not fit into %dx%d pixels", a->kernel, a->pad,
                        x.dim[2], x.dim[3]);
    *y = CEL_SHAPE(x.dim[0], x.dim[1], (int)(h / a->stride + 1), (int)(w / a->stride + 1));
    return CEL_OK;
}

static cel_status infer_pool(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                             int *n_out) {
    const cel_value *x;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(cel_check_image(g, in, 0, "x", &x));
    out->layout = CEL_BATCH;
    return y_shape(x->shape, attr, &out->shape);
}

static cel_status infer_max_grad(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                                 int *n_out) {
    const cel_value *x;
    cel_shape y;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 2));
    CEL_TRY(cel_check_image(g, in, 1, "x", &x));
    CEL_TRY(y_shape(x->shape, attr, &y));
    CEL_TRY(cel_check_shape(g, in, 0, "dy", CEL_BATCH, y));
    out->layout = CEL_BATCH;
    out->shape = x->shape;
    return CEL_OK;
}

static cel_status infer_avg_grad(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                                 int *n_out) {
    const cel_avg_pool_grad_attr *a = attr;
    const cel_value *dy;
    cel_shape y;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(cel_check_image(g, in, 0, "dy", &dy));
    cel_shape x = CEL_SHAPE(dy->shape.dim[0], dy->shape.dim[1], a->h, a->w);
    CEL_TRY(y_shape(x, &a->pool, &y));
    CEL_TRY(cel_check_shape(g, in, 0, "dy", CEL_BATCH, y));
    out->layout = CEL_BATCH;
    out->shape = x;
    return CEL_OK;
}

static cel_status infer_global(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                               int *n_out) {
    const cel_value *x;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(cel_check_image(g, in, 0, "x", &x));
    out->layout = CEL_BATCH;
    out->shape = CEL_SHAPE(x->shape.dim[0], x->shape.dim[1]);
    return CEL_OK;
}

static cel_status infer_global_grad(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                                    int *n_out) {
    const cel_global_pool_grad_attr *a = attr;
    const cel_value *dy;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 1, 1));
    CEL_TRY(cel_check_input(g, in, 0, "dy", &dy));
    if (dy->shape.rank != 2 || dy->layout != CEL_BATCH) return CEL_FAIL(CEL_SHAPE, "dy: expected [n,c] over images");
    out->layout = CEL_BATCH;
    out->shape = CEL_SHAPE(dy->shape.dim[0], dy->shape.dim[1], a->h, a->w);
    return CEL_OK;
}

static cel_status grad_max(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    if (need[0] && dout[0] != CEL_NONE)
        din[0] =
            cel_op_emit(g, &cel_op_max_pool_grad, (cel_val[]){dout[0], o.in[0]}, 2, o.attr, sizeof(cel_pool2d_attr));
    return CEL_OK;
}

static cel_status grad_avg(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    cel_dims x = cel_dims_of(cel_graph_shape(g, o.in[0]));
    cel_avg_pool_grad_attr attr = {*(const cel_pool2d_attr *)o.attr, x.h, x.w};
    if (need[0] && dout[0] != CEL_NONE) din[0] = cel_op_emit(g, &cel_op_avg_pool_grad, &dout[0], 1, &attr, sizeof attr);
    return CEL_OK;
}

static cel_status grad_avg_grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_avg_pool_grad_attr attr = *(const cel_avg_pool_grad_attr *)g->op[op].attr;
    if (need[0] && dout[0] != CEL_NONE) din[0] = cel_avg_pool(g, dout[0], attr.pool);
    return CEL_OK;
}

static cel_status grad_global(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    cel_dims x = cel_dims_of(cel_graph_shape(g, g->op[op].in[0]));
    cel_global_pool_grad_attr attr = {x.h, x.w};
    if (need[0] && dout[0] != CEL_NONE)
        din[0] = cel_op_emit(g, &cel_op_global_pool_grad, &dout[0], 1, &attr, sizeof attr);
    return CEL_OK;
}

static cel_status grad_global_grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    (void)op;
    if (need[0] && dout[0] != CEL_NONE) din[0] = cel_global_pool(g, dout[0]);
    return CEL_OK;
}

/* The part of output (i, j)'s window inside the image. */
typedef struct window {
    int y0, y1, x0, x1;
} window;

static window window_of(const cel_pool2d_attr *a, cel_dims x, int i, int j) {
    window v = {i * a->stride - a->pad, 0, j * a->stride - a->pad, 0};
    v.y1 = v.y0 + a->kernel < x.h ? v.y0 + a->kernel : x.h;
    v.x1 = v.x0 + a->kernel < x.w ? v.x0 + a->kernel : x.w;
    if (v.y0 < 0) v.y0 = 0;
    if (v.x0 < 0) v.x0 = 0;
    return v;
}

/* Index of the first maximum of the window in its plane; a NaN wins, so that it is seen. */
static size_t first_maximum(const float *plane, cel_dims x, window v) {
    size_t best = (size_t)v.y0 * (size_t)x.w + (size_t)v.x0;
    for (int r = v.y0; r < v.y1; r++) {
        for (int s = v.x0; s < v.x1; s++) {
            size_t at = (size_t)r * (size_t)x.w + (size_t)s;
            if (plane[at] > plane[best] || (isnan(plane[at]) && !isnan(plane[best]))) best = at;
        }
    }
    return best;
}

static void ref_max(const cel_kernel_args *a) {
    cel_dims x = cel_dims_of(a->in[0].shape), y = cel_dims_of(a->out[0].shape);
    const float *in = a->in[0].data;
    float *out = a->out[0].data;
    for (int p = 0; p < y.n * y.c; p++)
        for (int i = 0; i < y.h; i++)
            for (int j = 0; j < y.w; j++) {
                const float *plane = in + cel_at(x, 0, p, 0, 0);
                out[cel_at(y, 0, p, i, j)] = plane[first_maximum(plane, x, window_of(a->op->attr, x, i, j))];
            }
}

static void ref_max_grad(const cel_kernel_args *a) {
    cel_dims x = cel_dims_of(a->out[0].shape), y = cel_dims_of(a->in[0].shape);
    const float *dy = a->in[0].data, *in = a->in[1].data;
    float *dx = a->out[0].data;
    double *sum = a->work; /* one plane of dx */
    size_t size = (size_t)x.h * (size_t)x.w;
    for (int p = 0; p < y.n * y.c; p++) {
        const float *plane = in + cel_at(x, 0, p, 0, 0);
        for (size_t i = 0; i < size; i++) sum[i] = 0;
        for (int i = 0; i < y.h; i++)
            for (int j = 0; j < y.w; j++)
                sum[first_maximum(plane, x, window_of(a->op->attr, x, i, j))] += dy[cel_at(y, 0, p, i, j)];
        for (size_t i = 0; i < size; i++) dx[cel_at(x, 0, p, 0, 0) + i] = (float)sum[i];
    }
}

static void ref_avg(const cel_kernel_args *a) {
    cel_dims x = cel_dims_of(a->in[0].shape), y = cel_dims_of(a->out[0].shape);
    const float *in = a->in[0].data;
    float *out = a->out[0].data;
    for (int p = 0; p < y.n * y.c; p++)
        for (int i = 0; i < y.h; i++)
            for (int j = 0; j < y.w; j++) {
                window v = window_of(a->op->attr, x, i, j);
                double sum = 0;
                for (int r = v.y0; r < v.y1; r++)
                    for (int s = v.x0; s < v.x1; s++) sum += in[cel_at(x, 0, p, r, s)];
                out[cel_at(y, 0, p, i, j)] = (float)(sum / ((v.y1 - v.y0) * (v.x1 - v.x0)));
            }
}

static void ref_avg_grad(const cel_kernel_args *a) {
    const cel_avg_pool_grad_attr *attr = a->op->attr;
    cel_dims x = cel_dims_of(a->out[0].shape), y = cel_dims_of(a->in[0].shape);
    const float *dy = a->in[0].data;
    float *dx = a->out[0].data;
    double *sum = a->work; /* one plane of dx */
    size_t size = (size_t)x.h * (size_t)x.w;
    for (int p = 0; p < y.n * y.c; p++) {
        for (size_t i = 0; i < size; i++) sum[i] = 0;
        for (int i = 0; i < y.h; i++)
            for (int j = 0; j < y.w; j++) {
                window v = window_of(&attr->pool, x, i, j);
                double share = dy[cel_at(y, 0, p, i, j)] / (double)((v.y1 - v.y0) * (v.x1 - v.x0));
                for (int r = v.y0; r < v.y1; r++)
                    for (int s = v.x0; s < v.x1; s++) sum[r * x.w + s] += share;
            }
        for (size_t i = 0; i < size; i++) dx[cel_at(x, 0, p, 0, 0) + i] = (float)sum[i];
    }
}

static void ref_global(const cel_kernel_args *a) {
    cel_dims x = cel_dims_of(a->in[0].shape);
    const float *in = a->in[0].data;
    float *out = a->out[0].data;
    size_t size = (size_t)x.h * (size_t)x.w;
    for (int p = 0; p < x.n * x.c; p++) {
        double sum = 0;
        for (size_t i = 0; i < size; i++) sum += in[cel_at(x, 0, p, 0, 0) + i];
        out[p] = (float)(sum / (double)size);
    }
}

static void ref_global_grad(const cel_kernel_args *a) {
    cel_dims x = cel_dims_of(a->out[0].shape);
    const float *dy = a->in[0].data;
    float *dx = a->out[0].data;
    size_t size = (size_t)x.h * (size_t)x.w;
    for (int p = 0; p < x.n * x.c; p++)
        for (size_t i = 0; i < size; i++) dx[cel_at(x, 0, p, 0, 0) + i] = (float)(dy[p] / (double)size);
}

static size_t plane_work(const cel_graph *g, const cel_op *op) {
    cel_dims d = cel_dims_of(cel_graph_shape(g, op->out[0]));
    return (size_t)d.h * (size_t)d.w * sizeof(double);
}

cel_val cel_max_pool(cel_graph *g, cel_val x, cel_pool2d_attr attr) {
    return cel_op_emit(g, &cel_op_max_pool, &x, 1, &attr, sizeof attr);
}

cel_val cel_avg_pool(cel_graph *g, cel_val x, cel_pool2d_attr attr) {
    return cel_op_emit(g, &cel_op_avg_pool, &x, 1, &attr, sizeof attr);
}

cel_val cel_global_pool(cel_graph *g, cel_val x) { return cel_op_emit(g, &cel_op_global_pool, &x, 1, NULL, 0); }

static cel_val images(cel_graph *g, int n, int c, int h, int w) {
    return cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, c, h, w));
}
static const cel_pool2d_attr same = {3, 1, 1}, half = {3, 2, 1}, two = {2, 2, 0}, five = {5, 3, 0}, wide = {5, 1, 2};
static cel_val max_same(cel_graph *g) { return cel_max_pool(g, images(g, 2, 3, 7, 8), same); }
static cel_val max_half(cel_graph *g) { return cel_max_pool(g, images(g, 2, 3, 7, 8), half); }
static cel_val max_half_even(cel_graph *g) { return cel_max_pool(g, images(g, 17, 2, 6, 4), half); }
static cel_val max_two(cel_graph *g) { return cel_max_pool(g, images(g, 3, 2, 7, 6), two); }
static cel_val max_one(cel_graph *g) { return cel_max_pool(g, images(g, 2, 2, 1, 1), same); }
static const cel_op_case max_cases[] = {{"same", max_same}, {"half", max_half}, {"half_even", max_half_even},
                                        {"two", max_two},   {"one", max_one},   {0}};
static cel_val avg_same(cel_graph *g) { return cel_avg_pool(g, images(g, 2, 3, 7, 8), same); }
static cel_val avg_half(cel_graph *g) { return cel_avg_pool(g, images(g, 2, 3, 7, 8), half); }
static cel_val avg_half_even(cel_graph *g) { return cel_avg_pool(g, images(g, 17, 2, 6, 4), half); }
static cel_val avg_two(cel_graph *g) { return cel_avg_pool(g, images(g, 3, 2, 7, 6), two); }
static cel_val avg_one(cel_graph *g) { return cel_avg_pool(g, images(g, 2, 2, 1, 1), same); }
static cel_val avg_five(cel_graph *g) { return cel_avg_pool(g, images(g, 2, 2, 8, 9), five); }
static cel_val avg_wide(cel_graph *g) { return cel_avg_pool(g, images(g, 2, 2, 4, 6), wide); }
static const cel_op_case avg_cases[] = {
    {"same", avg_same}, {"half", avg_half}, {"half_even", avg_half_even}, {"two", avg_two},
    {"one", avg_one},   {"five", avg_five}, {"wide", avg_wide},           {0}};
static cel_val global_odd(cel_graph *g) { return cel_global_pool(g, images(g, 3, 5, 3, 7)); }
static cel_val global_pixel(cel_graph *g) { return cel_global_pool(g, images(g, 18, 2, 1, 1)); }
static const cel_op_case global_cases[] = {{"odd", global_odd}, {"pixel", global_pixel}, {0}};

const cel_op_def cel_op_max_pool = {
    .name = "max_pool", .n_out = 1, .infer = infer_pool, .grad = grad_max, .ref = ref_max, .cases = max_cases};
const cel_op_def cel_op_max_pool_grad = {
    .name = "max_pool_grad", .n_out = 1, .infer = infer_max_grad, .ref = ref_max_grad, .ref_work_bytes = plane_work};
const cel_op_def cel_op_avg_pool = {
    .name = "avg_pool", .n_out = 1, .infer = infer_pool, .grad = grad_avg, .ref = ref_avg, .cases = avg_cases};
const cel_op_def cel_op_avg_pool_grad = {.name = "avg_pool_grad",
                                         .n_out = 1,
                                         .infer = infer_avg_grad,
                                         .grad = grad_avg_grad,
                                         .ref = ref_avg_grad,
                                         .ref_work_bytes = plane_work};
const cel_op_def cel_op_global_pool = {.name = "global_pool",
                                       .n_out = 1,
                                       .infer = infer_global,
                                       .grad = grad_global,
                                       .ref = ref_global,
                                       .cases = global_cases};
const cel_op_def cel_op_global_pool_grad = {.name = "global_pool_grad",
                                            .n_out = 1,
                                            .infer = infer_global_grad,
                                            .grad = grad_global_grad,
                                            .ref = ref_global_grad};
