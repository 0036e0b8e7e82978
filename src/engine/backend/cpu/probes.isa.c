/* What proxies need beside the usual layers: a bias of channels, signs as codes, products summed over a channel, and
 * the second derivative of batch norm. */
#include "engine/backend/cpu/kernels.h"
#include "engine/op/attr.h"

typedef double vd __attribute__((vector_size(CEL_VL * 8)));

/* ---- sign_code: 24 elements of a lane become one number ---- */

enum { WORDS = 128 }; /* of a task */

typedef struct {
    const float *x;
    float *y;
    size_t units, words, tasks; /* of a group */
} code_args;

static void code_task(void *ctx, int task, int worker) {
    (void)worker;
    const code_args *s = ctx;
    size_t g = (size_t)task / s->tasks, first = (size_t)task % s->tasks * WORDS;
    size_t last = first + WORDS < s->words ? first + WORDS : s->words;
    const float *x = s->x + g * s->units * CEL_LANES;
    float *y = s->y + g * s->words * CEL_LANES;
    for (size_t w = first; w < last; w++) {
        size_t u = w * CEL_SIGN_CODE_BITS, end = u + CEL_SIGN_CODE_BITS < s->units ? u + CEL_SIGN_CODE_BITS : s->units;
        cel_vf code[CEL_PARTS] = {{0}};
        for (float bit = 1; u < end; u++, bit *= 2)
            for (int v = 0; v < CEL_PARTS; v++)
                code[v] += cel_masked(cel_splat(bit), cel_load(x + u * CEL_LANES + (size_t)v * CEL_VL) > 0);
        for (int v = 0; v < CEL_PARTS; v++) cel_store(y + w * CEL_LANES + (size_t)v * CEL_VL, code[v]);
    }
}

void CEL_ISA_FN(cel_cpu_sign_code)(const cel_kernel_args *a) {
    if (!a->out[0].data) return;
    cel_cpu_dims d = cel_cpu_dims_of(a->in[0].shape);
    code_args s = {a->in[0].data, a->out[0].data, d.group / CEL_LANES, (size_t)a->out[0].shape.dim[1], 0};
    s.tasks = (s.words + WORDS - 1) / WORDS;
    cel_pool_run(a->pool, d.groups * (int)s.tasks, code_task, &s);
}

/* ---- channel_dot ---- */

typedef struct {
    const cel_kernel_args *a;
    cel_cpu_dims d;
    cel_blocks blocks;
} dot_args;

static void dot_task(void *ctx, int task, int worker) {
    (void)worker;
    const dot_args *s = ctx;
    cel_block b = cel_block_of(&s->blocks, task);
    const float *x = s->a->in[0].data, *z = s->a->in[1].data;
    float *y = s->a->out[0].data;
    for (int c = b.first; c < b.last; c++) {
        size_t start = (size_t)b.g * s->d.group + (size_t)c * s->d.plane;
        for (size_t v = 0; v < CEL_PARTS; v++) {
            vd sum = {0};
            for (size_t i = start + v * CEL_VL; i < start + s->d.plane; i += CEL_LANES)
                sum += __builtin_convertvector(cel_load(x + i), vd) * __builtin_convertvector(cel_load(z + i), vd);
            cel_store(y + ((size_t)b.g * (size_t)s->d.c + (size_t)c) * CEL_LANES + v * CEL_VL,
                      __builtin_convertvector(sum, cel_vf));
        }
    }
}

void CEL_ISA_FN(cel_cpu_channel_dot)(const cel_kernel_args *a) {
    if (!a->out[0].data) return;
    dot_args s = {.a = a, .d = cel_cpu_dims_of(a->in[0].shape)};
    s.blocks = cel_blocks_of(s.d.groups, s.d.c, s.d.plane);
    cel_pool_run(a->pool, s.blocks.tasks, dot_task, &s);
}

/* ---- channel_bias ---- */

static void bias_task(void *ctx, int task, int worker) {
    (void)worker;
    const dot_args *s = ctx;
    cel_block b = cel_block_of(&s->blocks, task);
    const float *x = s->a->in[0].data, *bias = s->a->in[1].data;
    float *y = s->a->out[0].data;
    for (int c = b.first; c < b.last; c++) {
        size_t start = (size_t)b.g * s->d.group + (size_t)c * s->d.plane;
        for (size_t i = start; i < start + s->d.plane; i += CEL_VL) cel_store(y + i, cel_load(x + i) + bias[c]);
    }
}

void CEL_ISA_FN(cel_cpu_channel_bias)(const cel_kernel_args *a) {
    if (!a->out[0].data) return;
    dot_args s = {.a = a, .d = cel_cpu_dims_of(a->in[0].shape)};
    s.blocks = cel_blocks_of(s.d.groups, s.d.c, s.d.plane);
    cel_pool_run(a->pool, s.blocks.tasks, bias_task, &s);
}

/* dy is zero in the lanes that do not exist. */
static void bias_grad_task(void *ctx, int c, int worker) {
    (void)worker;
    const dot_args *s = ctx;
    const float *dy = s->a->in[0].data;
    double total = 0;
    for (int g = 0; g < s->d.groups; g++) {
        vd sum = {0};
        size_t start = (size_t)g * s->d.group + (size_t)c * s->d.plane;
        for (size_t i = start; i < start + s->d.plane; i += CEL_VL)
            sum += __builtin_convertvector(cel_load(dy + i), vd);
        for (int l = 0; l < CEL_VL; l++) total += sum[l];
    }
    ((float *)s->a->out[0].data)[c] = (float)total;
}

void CEL_ISA_FN(cel_cpu_channel_bias_grad)(const cel_kernel_args *a) {
    if (!a->out[0].data) return;
    dot_args s = {.a = a, .d = cel_cpu_dims_of(a->in[0].shape)};
    cel_pool_run(a->pool, s.d.c, bias_grad_task, &s);
}

/* ---- batch_norm_grad_grad: op_batch_norm_grad_grad.c has the formulas ---- */

enum { CHUNK = 64 }; /* pixels summed in float */

typedef struct {
    const cel_kernel_args *a;
    cel_cpu_dims d;
    bool batch;
} norm_args;

typedef struct {
    double a, d, ax, dx, ad;
} norm_sums;

static norm_sums sums_of(const norm_args *s, int c, float mean) {
    const float *a = s->a->in[0].data, *dy = s->a->in[1].data, *x = s->a->in[2].data;
    norm_sums t = {0};
    for (int g = 0; g < s->d.groups; g++) {
        cel_vi mask[CEL_PARTS];
        for (int v = 0; v < CEL_PARTS; v++) mask[v] = cel_cpu_lane_mask(s->d.n, g, v * CEL_VL);
        size_t at = (size_t)g * s->d.group + (size_t)c * s->d.plane, end = at + s->d.plane;
        while (at < end) {
            size_t stop = at + CHUNK * CEL_LANES < end ? at + CHUNK * CEL_LANES : end;
            cel_vf sum[5] = {{0}};
            for (; at < stop; at += CEL_LANES)
                for (int v = 0; v < CEL_PARTS; v++) {
                    size_t i = at + (size_t)v * CEL_VL;
                    cel_vf av = cel_masked(cel_load(a + i), mask[v]), dv = cel_masked(cel_load(dy + i), mask[v]);
                    cel_vf from = cel_load(x + i) - mean;
                    sum[0] += av;
                    sum[1] += dv;
                    sum[2] += av * from;
                    sum[3] += dv * from;
                    sum[4] += av * dv;
                }
            t.a += cel_lane_sum(sum[0]);
            t.d += cel_lane_sum(sum[1]);
            t.ax += cel_lane_sum(sum[2]);
            t.dx += cel_lane_sum(sum[3]);
            t.ad += cel_lane_sum(sum[4]);
        }
    }
    return t;
}

/* out = masked(A a + D dy + X (x - mean) + O). */
static void combine(const norm_args *s, int c, float mean, double fa, double fd, double fx, double fo, float *out) {
    const float *a = s->a->in[0].data, *dy = s->a->in[1].data, *x = s->a->in[2].data;
    cel_vf va = cel_splat((float)fa), vdy = cel_splat((float)fd), vx = cel_splat((float)fx), vo = cel_splat((float)fo);
    for (int g = 0; g < s->d.groups; g++) {
        size_t start = (size_t)g * s->d.group + (size_t)c * s->d.plane;
        for (int v = 0; v < CEL_PARTS; v++) {
            cel_vi mask = cel_cpu_lane_mask(s->d.n, g, v * CEL_VL);
            for (size_t i = start + (size_t)v * CEL_VL; i < start + s->d.plane; i += CEL_LANES)
                cel_store(out + i,
                          cel_masked(cel_load(a + i) * va + cel_load(dy + i) * vdy + (cel_load(x + i) - mean) * vx + vo,
                                     mask));
        }
    }
}

static void norm_task(void *ctx, int c, int worker) {
    (void)worker;
    const norm_args *s = ctx;
    const cel_kernel_args *k = s->a;
    const float *gamma = k->in[3].data, *mean = k->in[4].data, *rstd = k->in[5].data;
    float *ddy = k->out[0].data, *dx2 = k->out[1].data, *dgamma = k->out[2].data;
    double r = rstd[c], m = (double)s->d.n * s->d.h * s->d.w, scale = r * (gamma ? gamma[c] : 1);
    norm_sums t = sums_of(s, c, mean[c]);
    t.ax *= r; /* from x - mean to xhat */
    t.dx *= r;
    double sum = s->batch ? t.ad - t.a * t.d / m - t.ax * t.dx / m : t.ad;
    if (dgamma) dgamma[c] = (float)(r * sum);
    if (ddy && s->batch) combine(s, c, mean[c], scale, 0, -scale * r * t.ax / m, -scale * t.a / m, ddy);
    if (ddy && !s->batch) combine(s, c, mean[c], scale, 0, 0, 0, ddy);
    double f = s->batch ? -scale * r / m : 0;
    if (dx2)
        combine(s, c, mean[c], f * t.dx, f * t.ax, f * r * (sum - 2 * t.ax * t.dx / m),
                -f * (t.dx * t.a + t.ax * t.d) / m, dx2);
}

void CEL_ISA_FN(cel_cpu_batch_norm_grad_grad)(const cel_kernel_args *a) {
    const cel_batch_norm_attr *attr = a->op->attr;
    norm_args s = {a, cel_cpu_dims_of(a->in[2].shape), a->mode == CEL_MODE_TRAIN || attr->use_batch};
    cel_pool_run(a->pool, s.d.c, norm_task, &s);
}
