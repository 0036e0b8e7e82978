/* conv2d and its gradients: any kernel, stride, padding, dilation and number of groups. A task is a group of 16 images; the padded
 * input, or a strip of it, is the worker's scratch. Dense 3x3 kernels of enough channels go through Winograd's filtering. */
#include "engine/backend/cpu/conv3x3.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/op/attr.h"

typedef struct {
    cel_cpu_dims x, y;
    int kh, kw, stride, pad, dilation, n_groups, gi, go; /* gi, go: channels of one convolution group */
    int tap_floats;                                      /* kh * kw */
} geometry;

static geometry geometry_of(cel_shape x, cel_shape w, cel_shape y, const cel_conv2d_attr *a) {
    geometry q = {cel_cpu_dims_of(x),
                  cel_cpu_dims_of(y),
                  w.dim[2],
                  w.dim[3],
                  a->stride,
                  a->pad,
                  a->dilation,
                  a->groups,
                  x.dim[1] / a->groups,
                  w.dim[0] / a->groups,
                  w.dim[2] * w.dim[3]};
    return q;
}

/* 0 where the input can be read as it is. */
static size_t padded_floats(const geometry *q) {
    if (!q->pad) return 0;
    return (size_t)q->x.c * (size_t)(q->x.h + 2 * q->pad) * (size_t)(q->x.w + 2 * q->pad) * CEL_LANES;
}

/* Outputs and inputs are the same pixels, in the same order. */
static bool is_pointwise(const geometry *q) {
    return q->tap_floats == 1 && q->stride == 1 && !q->pad && q->n_groups == 1;
}

/* A plain 3x3 convolution, whatever its padding. */
static bool is_dense_3x3(const geometry *q) {
    return q->kh == 3 && q->kw == 3 && q->stride == 1 && q->dilation == 1 && q->n_groups == 1;
}

/* The transformed weights of a job, filled by tasks of CEL_TILE_Q output channels. */
typedef struct {
    int tile;
    const cel_conv_job *job;
    const float *w;
    float *u;
} transform;

static void transform_task(void *ctx, int block, int worker) {
    const transform *t = ctx;
    (void)worker;
    cel_conv3x3_weights(t->tile, t->job, t->w, block * CEL_TILE_Q, t->u);
}

static void transform_weights(cel_pool *pool, int tile, const cel_conv_job *job, const float *w, float *u) {
    transform t = {tile, job, w, u};
    cel_pool_run(pool, job->n_co / CEL_TILE_Q, transform_task, &t);
}

/* A group's images with their border of zeros. */
static const float *padded_input(const geometry *q, const float *x, int group, float *scratch) {
    x += (size_t)group * q->x.group;
    if (!q->pad) return x;
    cel_pad_planes(x, (ptrdiff_t)q->x.plane, q->x.c, q->x.h, q->x.w, q->pad, q->pad, q->pad, q->pad, scratch);
    return scratch;
}

/* ---- Forward ---- */

typedef struct {
    geometry q;
    cel_conv_job job;
    const float *x, *w;
    float *y, *u; /* u: transformed weights; NULL: direct */
    float *scratch;
    size_t scratch_floats; /* a worker */
    cel_tap tap[CEL_CONV2D_MAX_TAPS];
} forward;

static int forward_tile(const geometry *q) {
    return is_dense_3x3(q) ? cel_conv3x3_tile(q->gi, q->go, q->y.h, q->y.w) : 0;
}

static void forward_task(void *ctx, int group, int worker) {
    const forward *f = ctx;
    const geometry *q = &f->q;
    float *scratch = f->scratch + (size_t)worker * f->scratch_floats, *y = f->y + (size_t)group * q->y.group;
    const float *x = padded_input(q, f->x, group, scratch);
    if (f->u) {
        cel_conv3x3_run(forward_tile(q), &f->job, x, &(cel_wino_out){f->u, y}, 1, scratch + padded_floats(q));
        return;
    }
    if (is_pointwise(q)) {
        cel_pointwise_run(&f->job, x, f->w, y, scratch);
        return;
    }
    for (int k = 0; k < q->n_groups; k++)
        cel_conv_run(&f->job, x + k * q->gi * f->job.x_ci, f->w + (ptrdiff_t)k * q->go * q->gi * q->tap_floats,
                     y + (size_t)(k * q->go) * q->y.plane);
}

static void forward_taps(const geometry *q, cel_tap *tap) {
    int wp = q->x.w + 2 * q->pad;
    for (int t = 0; t < q->tap_floats; t++)
        tap[t] = (cel_tap){((ptrdiff_t)(t / q->kw * q->dilation) * wp + t % q->kw * q->dilation) * CEL_LANES, t};
}

static size_t forward_scratch(const geometry *q) {
    if (is_pointwise(q)) return cel_pointwise_floats(q->gi);
    return padded_floats(q) + cel_conv3x3_scratch_floats(forward_tile(q), q->gi, q->go);
}

size_t CEL_ISA_FN(cel_cpu_conv2d_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    geometry q =
        geometry_of(g->value[op->in[0]].shape, g->value[op->in[1]].shape, g->value[op->out[0]].shape, op->attr);
    return sizeof(float) *
           (forward_scratch(&q) * (size_t)n_threads + cel_conv3x3_weight_floats(forward_tile(&q), q.gi, q.go));
}

void CEL_ISA_FN(cel_cpu_conv2d)(const cel_kernel_args *a) {
    forward f = {.q = geometry_of(a->in[0].shape, a->in[1].shape, a->out[0].shape, a->op->attr),
                 .x = a->in[0].data,
                 .w = a->in[1].data,
                 .y = a->out[0].data,
                 .scratch = a->work};
    const geometry *q = &f.q;
    ptrdiff_t row = (ptrdiff_t)(q->x.w + 2 * q->pad) * CEL_LANES;
    f.scratch_floats = forward_scratch(q);
    forward_taps(q, f.tap);
    f.job = (cel_conv_job){.n_ci = q->gi,
                           .n_co = q->go,
                           .n_taps = q->tap_floats,
                           .rows = q->y.h,
                           .cols = q->y.w,
                           .tap = f.tap,
                           .x_ci = (q->x.h + 2 * q->pad) * row,
                           .x_row = q->stride * row,
                           .x_px = (ptrdiff_t)q->stride * CEL_LANES,
                           .w_co = (ptrdiff_t)q->gi * q->tap_floats,
                           .w_ci = q->tap_floats,
                           .o_co = (ptrdiff_t)q->y.plane,
                           .o_row = (ptrdiff_t)q->y.w * CEL_LANES,
                           .o_px = CEL_LANES};
    if (forward_tile(q)) {
        f.u = f.scratch + f.scratch_floats * (size_t)cel_pool_threads(a->pool);
        transform_weights(a->pool, forward_tile(q), &f.job, f.w, f.u);
    }
    cel_pool_run(a->pool, q->x.groups, forward_task, &f);
}

/* ---- Data gradient: inputs (dy, w), output dx ---- */

/* The rows (or columns) of x that share a phase of the stride read dy at row r + offset for each tap k that fits. */
static int phase_offset(const geometry *q, int phase, int k, int *offset) {
    int at = phase + q->pad - k * q->dilation;
    if (at % q->stride) return 0;
    *offset = at / q->stride;
    return 1;
}

typedef struct {
    int before, after; /* halo of dy that some tap reads */
} halo;

static halo halo_of(const geometry *q, int kernel, int size, int out_size) {
    halo h = {0, 0};
    for (int phase = 0; phase < q->stride && phase < size; phase++)
        for (int k = 0; k < kernel; k++) {
            int offset, last = (size - 1 - phase) / q->stride;
            if (!phase_offset(q, phase, k, &offset)) continue;
            if (-offset > h.before) h.before = -offset;
            if (last + offset - (out_size - 1) > h.after) h.after = last + offset - (out_size - 1);
        }
    return h;
}

typedef struct {
    geometry q;
    halo v, u; /* vertical, horizontal */
    const float *dy, *w;
    float *dx, *transformed; /* weights; NULL: direct */
    float *scratch;
    size_t scratch_floats;
} backward;

static size_t halo_floats(const geometry *q, halo v, halo u) {
    return (size_t)q->y.c * (size_t)(q->y.h + v.before + v.after) * (size_t)(q->y.w + u.before + u.after) * CEL_LANES;
}

static int backward_tile(const geometry *q) {
    return is_dense_3x3(q) ? cel_conv3x3_tile(q->go, q->gi, q->x.h, q->x.w) : 0;
}

/* The data gradient of the pixels of one phase of the stride: a convolution of dy with the taps that reach them. */
static cel_conv_job phase_job(const backward *b, int pv, int pu, cel_tap tap[CEL_CONV2D_MAX_TAPS]) {
    const geometry *q = &b->q;
    ptrdiff_t wp = (q->y.w + b->u.before + b->u.after) * CEL_LANES, plane = wp * (q->y.h + b->v.before + b->v.after);
    int n_taps = 0, ov, ou;
    for (int kh = 0; kh < q->kh; kh++)
        for (int kw = 0; kw < q->kw; kw++)
            if (phase_offset(q, pv, kh, &ov) && phase_offset(q, pu, kw, &ou))
                tap[n_taps++] = (cel_tap){(ov + b->v.before) * wp + (ou + b->u.before) * CEL_LANES, kh * q->kw + kw};
    return (cel_conv_job){.n_ci = q->go,
                          .n_co = q->gi,
                          .n_taps = n_taps,
                          .rows = (q->x.h - pv + q->stride - 1) / q->stride,
                          .cols = (q->x.w - pu + q->stride - 1) / q->stride,
                          .tap = tap,
                          .x_ci = plane,
                          .x_row = wp,
                          .x_px = CEL_LANES,
                          .w_co = q->tap_floats,
                          .w_ci = (ptrdiff_t)q->gi * q->tap_floats,
                          .o_co = (ptrdiff_t)q->x.plane,
                          .o_row = (ptrdiff_t)q->stride * q->x.w * CEL_LANES,
                          .o_px = (ptrdiff_t)q->stride * CEL_LANES};
}

static void backward_task(void *ctx, int group, int worker) {
    const backward *b = ctx;
    const geometry *q = &b->q;
    float *padded = b->scratch + (size_t)worker * b->scratch_floats, *dx = b->dx + (size_t)group * q->x.group;
    const float *dy = b->dy + (size_t)group * q->y.group;
    cel_tap tap[CEL_CONV2D_MAX_TAPS];
    if (is_pointwise(q)) {
        cel_conv_job job = phase_job(b, 0, 0, tap);
        cel_pointwise_run(&job, dy, b->w, dx, padded);
        return;
    }
    cel_pad_planes(dy, (ptrdiff_t)q->y.plane, q->y.c, q->y.h, q->y.w, b->v.before, b->v.after, b->u.before, b->u.after,
                   padded);
    if (b->transformed) {
        cel_conv_job job = phase_job(b, 0, 0, tap);
        cel_conv3x3_run(backward_tile(q), &job, padded, &(cel_wino_out){b->transformed, dx}, 1,
                        padded + halo_floats(q, b->v, b->u));
        return;
    }
    for (int pv = 0; pv < q->stride && pv < q->x.h; pv++)
        for (int pu = 0; pu < q->stride && pu < q->x.w; pu++) {
            cel_conv_job job = phase_job(b, pv, pu, tap);
            for (int k = 0; k < q->n_groups; k++)
                cel_conv_run(&job, padded + k * q->go * job.x_ci, b->w + (ptrdiff_t)k * q->go * q->gi * q->tap_floats,
                             dx + (size_t)(k * q->gi) * q->x.plane + ((ptrdiff_t)pv * q->x.w + pu) * CEL_LANES);
        }
}

static size_t backward_scratch(const geometry *q, halo v, halo u) {
    if (is_pointwise(q)) return cel_pointwise_floats(q->go);
    return halo_floats(q, v, u) + cel_conv3x3_scratch_floats(backward_tile(q), q->go, q->gi);
}

size_t CEL_ISA_FN(cel_cpu_conv2d_dx_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    geometry q = geometry_of(g->value[op->out[0]].shape, g->value[op->in[1]].shape, g->value[op->in[0]].shape,
                             &((const cel_conv2d_grad_attr *)op->attr)->conv);
    return sizeof(float) *
           ((size_t)n_threads * backward_scratch(&q, halo_of(&q, q.kh, q.x.h, q.y.h), halo_of(&q, q.kw, q.x.w, q.y.w)) +
            cel_conv3x3_weight_floats(backward_tile(&q), q.go, q.gi));
}

void CEL_ISA_FN(cel_cpu_conv2d_dx)(const cel_kernel_args *a) {
    backward b = {.q = geometry_of(a->out[0].shape, a->in[1].shape, a->in[0].shape,
                                   &((const cel_conv2d_grad_attr *)a->op->attr)->conv),
                  .dy = a->in[0].data,
                  .w = a->in[1].data,
                  .dx = a->out[0].data,
                  .scratch = a->work};
    b.v = halo_of(&b.q, b.q.kh, b.q.x.h, b.q.y.h);
    b.u = halo_of(&b.q, b.q.kw, b.q.x.w, b.q.y.w);
    b.scratch_floats = backward_scratch(&b.q, b.v, b.u);
    if (backward_tile(&b.q)) {
        cel_tap tap[CEL_CONV2D_MAX_TAPS];
        cel_conv_job job = phase_job(&b, 0, 0, tap);
        b.transformed = b.scratch + b.scratch_floats * (size_t)cel_pool_threads(a->pool);
        transform_weights(a->pool, backward_tile(&b.q), &job, b.w, b.transformed);
    }
    cel_pool_run(a->pool, b.q.x.groups, backward_task, &b);
}

/* ---- Weight gradient: inputs (x, dy), output dw; each group of images fills a part, the parts are added in order ---- */

typedef struct {
    geometry q;
    const float *x, *dy;
    float *part, *scratch, *dw;
    size_t scratch_floats, n_weights;
    cel_tap tap[CEL_CONV2D_MAX_TAPS];
} weight_grad;

static bool weight_wino(const geometry *q) { return is_dense_3x3(q) && cel_wino_dw_pays(q->gi, q->go, q->y.h, q->y.w); }
static size_t weight_scratch(const geometry *q) {
    return padded_floats(q) + (weight_wino(q) ? cel_wino_dw_scratch_floats(q->gi, q->go) : 0);
}

static void weight_task(void *ctx, int group, int worker) {
    const weight_grad *f = ctx;
    const geometry *q = &f->q;
    const float *x = padded_input(q, f->x, group, f->scratch + (size_t)worker * f->scratch_floats);
    ptrdiff_t row = (ptrdiff_t)(q->x.w + 2 * q->pad) * CEL_LANES, plane = (q->x.h + 2 * q->pad) * row;
    cel_dw_job job = {q->gi,
                      q->go,
                      q->tap_floats,
                      q->y.h,
                      q->y.w,
                      f->tap,
                      plane,
                      q->stride * row,
                      (ptrdiff_t)q->stride * CEL_LANES,
                      (ptrdiff_t)q->y.plane,
                      (ptrdiff_t)q->y.w * CEL_LANES,
                      (ptrdiff_t)q->gi * q->tap_floats,
                      q->tap_floats};
    const float *dy = f->dy + (size_t)group * q->y.group;
    float *part = f->part + (size_t)group * f->n_weights;
    if (weight_wino(q)) {
        cel_wino_dw_run(&job, x, dy, part, f->scratch + (size_t)worker * f->scratch_floats + padded_floats(q));
        return;
    }
    for (int k = 0; k < q->n_groups; k++)
        cel_dw_run(&job, x + k * q->gi * plane, dy + (size_t)(k * q->go) * q->y.plane,
                   part + (size_t)k * (size_t)q->go * (size_t)q->gi * (size_t)q->tap_floats);
}

static void weight_sum_task(void *ctx, int block, int worker) {
    (void)worker;
    const weight_grad *f = ctx;
    size_t first = (size_t)block * 4096, last = first + 4096 < f->n_weights ? first + 4096 : f->n_weights;
    for (size_t i = first; i < last; i++) {
        float sum = f->part[i];
        for (int g = 1; g < f->q.x.groups; g++) sum += f->part[(size_t)g * f->n_weights + i];
        f->dw[i] = sum;
    }
}

size_t CEL_ISA_FN(cel_cpu_conv2d_dw_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    geometry q = geometry_of(g->value[op->in[0]].shape, g->value[op->out[0]].shape, g->value[op->in[1]].shape,
                             &((const cel_conv2d_grad_attr *)op->attr)->conv);
    size_t parts = (size_t)q.x.groups * cel_shape_count(g->value[op->out[0]].shape);
    return sizeof(float) * (weight_scratch(&q) * (size_t)n_threads + parts);
}

void CEL_ISA_FN(cel_cpu_conv2d_dw)(const cel_kernel_args *a) {
    weight_grad f = {.q = geometry_of(a->in[0].shape, a->out[0].shape, a->in[1].shape,
                                      &((const cel_conv2d_grad_attr *)a->op->attr)->conv),
                     .x = a->in[0].data,
                     .dy = a->in[1].data,
                     .dw = a->out[0].data,
                     .scratch = a->work};
    f.scratch_floats = weight_scratch(&f.q);
    f.n_weights = cel_shape_count(a->out[0].shape);
    f.part = f.scratch + f.scratch_floats * (size_t)cel_pool_threads(a->pool);
    forward_taps(&f.q, f.tap);
    cel_pool_run(a->pool, f.q.x.groups, weight_task, &f);
    cel_pool_run(a->pool, (int)((f.n_weights + 4095) / 4096), weight_sum_task, &f);
}
