/* Max, average and global pooling and their gradients. Average pooling of 3x3 at stride 1, an operation of every
 * search space, keeps column sums in registers: three loads a pixel instead of nine. */
#include "engine/backend/cpu/kernels.h"
#include "engine/op/attr.h"

typedef struct {
    const cel_kernel_args *a;
    cel_cpu_dims big, small; /* the image and what it is pooled to */
    cel_blocks blocks;
    cel_pool2d_attr pool;
} pool_args;

static void run(const cel_kernel_args *a, cel_shape big, cel_shape small, cel_pool2d_attr pool, cel_task_fn *task) {
    if (!a->out[0].data) return;
    pool_args s = {a, cel_cpu_dims_of(big), cel_cpu_dims_of(small), {0}, pool};
    s.blocks = cel_blocks_of(s.big.groups, s.big.c, s.big.plane);
    cel_pool_run(a->pool, s.blocks.tasks, task, &s);
}

static size_t plane_at(const cel_cpu_dims *d, int g, int c) { return (size_t)g * d->group + (size_t)c * d->plane; }

/* Part of a window of pooled pixel `o` that lies inside an image of `size`. */
typedef struct {
    int first, last; /* exclusive */
} range;
static range window(int o, const cel_pool2d_attr *p, int size) {
    int first = o * p->stride - p->pad, last = first + p->kernel;
    return (range){first < 0 ? 0 : first, last > size ? size : last};
}
/* The windows of pooling as constants where they usually are, so that the compiler unrolls them. */
#define FOR_SIZE(fn, h, w, ...)                                                                                        \
    do {                                                                                                               \
        if ((h) == 3 && (w) == 3)                                                                                      \
            fn(__VA_ARGS__, 3, 3);                                                                                     \
        else if ((h) == 2 && (w) == 2)                                                                                 \
            fn(__VA_ARGS__, 2, 2);                                                                                     \
        else                                                                                                           \
            fn(__VA_ARGS__, h, w);                                                                                     \
    } while (0)
#define INLINE static inline __attribute__((always_inline))

INLINE void max_window(const float *x, size_t row, float *y, int h, int w) {
    for (int v = 0; v < CEL_PARTS; v++) {
        cel_vf best = cel_splat(-INFINITY);
        for (int r = 0; r < h; r++)
            for (int q = 0; q < w; q++) {
                cel_vf here = cel_load(x + (size_t)r * row + (size_t)(q * CEL_LANES + v * CEL_VL));
                best = cel_max_v(here, best);
            }
        cel_store(y + v * CEL_VL, best);
    }
}

static void max_task(void *ctx, int task, int worker) {
    (void)worker;
    const pool_args *s = ctx;
    cel_block b = cel_block_of(&s->blocks, task);
    size_t row = (size_t)s->big.w * CEL_LANES;
    for (int c = b.first; c < b.last; c++) {
        const float *x = (const float *)s->a->in[0].data + plane_at(&s->big, b.g, c);
        float *y = (float *)s->a->out[0].data + plane_at(&s->small, b.g, c);
        for (int i = 0; i < s->small.h; i++) {
            range rows = window(i, &s->pool, s->big.h);
            for (int j = 0; j < s->small.w; j++, y += CEL_LANES) {
                range cols = window(j, &s->pool, s->big.w);
                const float *from = x + (size_t)rows.first * row + (size_t)cols.first * CEL_LANES;
                FOR_SIZE(max_window, rows.last - rows.first, cols.last - cols.first, from, row, y);
            }
        }
    }
}

void CEL_ISA_FN(cel_cpu_max_pool)(const cel_kernel_args *a) {
    run(a, a->in[0].shape, a->out[0].shape, *(const cel_pool2d_attr *)a->op->attr, max_task);
}

/* Adds dy where the first maximum of the window is. */
INLINE void max_grad_window(const float *x, size_t row, const float *dy, float *dx, int h, int w) {
    for (int v = 0; v < CEL_PARTS; v++) {
        cel_vf best = cel_splat(-INFINITY), d = cel_load(dy + v * CEL_VL);
        for (int r = 0; r < h; r++)
            for (int q = 0; q < w; q++)
                best = cel_max_v(cel_load(x + (size_t)r * row + (size_t)(q * CEL_LANES + v * CEL_VL)), best);
        cel_vi open = ~(cel_vi){0}; /* lanes whose maximum has not been met yet */
        for (int r = 0; r < h; r++)
            for (int q = 0; q < w; q++) {
                size_t at = (size_t)r * row + (size_t)(q * CEL_LANES + v * CEL_VL);
                cel_vi here = (cel_load(x + at) == best) & open;
                open &= ~here;
                cel_store(dx + at, cel_load(dx + at) + cel_masked(d, here));
            }
    }
}

static void max_grad_task(void *ctx, int task, int worker) {
    (void)worker;
    const pool_args *s = ctx;
    cel_block b = cel_block_of(&s->blocks, task);
    size_t row = (size_t)s->big.w * CEL_LANES;
    for (int c = b.first; c < b.last; c++) {
        const float *dy = (const float *)s->a->in[0].data + plane_at(&s->small, b.g, c);
        const float *x = (const float *)s->a->in[1].data + plane_at(&s->big, b.g, c);
        float *dx = (float *)s->a->out[0].data + plane_at(&s->big, b.g, c);
        memset(dx, 0, s->big.plane * sizeof *dx);
        for (int i = 0; i < s->small.h; i++) {
            range rows = window(i, &s->pool, s->big.h);
            for (int j = 0; j < s->small.w; j++, dy += CEL_LANES) {
                range cols = window(j, &s->pool, s->big.w);
                size_t at = (size_t)rows.first * row + (size_t)cols.first * CEL_LANES;
                FOR_SIZE(max_grad_window, rows.last - rows.first, cols.last - cols.first, x + at, row, dy, dx + at);
            }
        }
    }
}

void CEL_ISA_FN(cel_cpu_max_pool_grad)(const cel_kernel_args *a) {
    run(a, a->out[0].shape, a->in[0].shape, *(const cel_pool2d_attr *)a->op->attr, max_grad_task);
}

static bool is_box3(const cel_pool2d_attr *p) { return p->kernel == 3 && p->stride == 1 && p->pad == 1; }

/* Pixels along one side that the window of 3 around pixel i covers, inverted. */
static float share(int i, int size) { return 1.0f / (float)(3 - (i == 0) - (i == size - 1)); }

/* One row of a 3x3 box sum: of the rows up, at, down (NULL outside the image), each weighted; `before` weights the
 * pixels that are summed by their own window (the gradient), `after` the sums (the pooling). */
INLINE void box_row(const float *up, const float *at, const float *down, const float weight[3], int w, bool before,
                    float after, float *y) {
    float inner = 1.0f / 3, edge = share(0, w);
    cel_vf left[CEL_PARTS], here[CEL_PARTS], right[CEL_PARTS];
    for (int v = 0; v < CEL_PARTS; v++) left[v] = here[v] = (cel_vf){0};
    for (int j = -1; j < w; j++) {
        float column = !before ? 1 : j == -1 || j == w - 2 ? edge : inner;
        for (int v = 0; v < CEL_PARTS; v++) {
            right[v] = (cel_vf){0};
            if (j + 1 < w) {
                size_t i = (size_t)(j + 1) * CEL_LANES + (size_t)v * CEL_VL;
                right[v] = cel_load(at + i) * weight[1];
                if (up) right[v] += cel_load(up + i) * weight[0];
                if (down) right[v] += cel_load(down + i) * weight[2];
                right[v] *= column;
            }
        }
        if (j >= 0) {
            float factor = before ? 1 : after * (j == 0 || j == w - 1 ? edge : inner);
            for (int v = 0; v < CEL_PARTS; v++)
                cel_store(y + (size_t)j * CEL_LANES + (size_t)v * CEL_VL, (left[v] + here[v] + right[v]) * factor);
        }
        for (int v = 0; v < CEL_PARTS; v++) {
            left[v] = here[v];
            here[v] = right[v];
        }
    }
}

INLINE void box_task(void *ctx, int task, int worker, bool gradient) {
    (void)worker;
    const pool_args *s = ctx;
    cel_block b = cel_block_of(&s->blocks, task);
    int h = s->big.h, w = s->big.w;
    size_t row = (size_t)w * CEL_LANES;
    for (int c = b.first; c < b.last; c++) {
        const float *x = (const float *)s->a->in[0].data + plane_at(&s->big, b.g, c);
        float *y = (float *)s->a->out[0].data + plane_at(&s->big, b.g, c);
        for (int i = 0; i < h; i++, x += row, y += row) {
            float weight[3] = {1, 1, 1};
            if (gradient)
                for (int k = 0; k < 3; k++) weight[k] = share(i + k - 1, h);
            box_row(i > 0 ? x - row : NULL, x, i + 1 < h ? x + row : NULL, weight, w, gradient, share(i, h), y);
        }
    }
}

static void box_pool_task(void *ctx, int task, int worker) { box_task(ctx, task, worker, false); }
static void box_grad_task(void *ctx, int task, int worker) { box_task(ctx, task, worker, true); }

INLINE void avg_window(const float *x, size_t row, float *y, int h, int w) {
    float share_of = 1.0f / (float)(h * w);
    for (int v = 0; v < CEL_PARTS; v++) {
        cel_vf sum = {0};
        for (int r = 0; r < h; r++)
            for (int q = 0; q < w; q++) sum += cel_load(x + (size_t)r * row + (size_t)(q * CEL_LANES + v * CEL_VL));
        cel_store(y + v * CEL_VL, sum * share_of);
    }
}

static void avg_task(void *ctx, int task, int worker) {
    (void)worker;
    const pool_args *s = ctx;
    cel_block b = cel_block_of(&s->blocks, task);
    size_t row = (size_t)s->big.w * CEL_LANES;
    for (int c = b.first; c < b.last; c++) {
        const float *x = (const float *)s->a->in[0].data + plane_at(&s->big, b.g, c);
        float *y = (float *)s->a->out[0].data + plane_at(&s->small, b.g, c);
        for (int i = 0; i < s->small.h; i++) {
            range rows = window(i, &s->pool, s->big.h);
            for (int j = 0; j < s->small.w; j++, y += CEL_LANES) {
                range cols = window(j, &s->pool, s->big.w);
                const float *from = x + (size_t)rows.first * row + (size_t)cols.first * CEL_LANES;
                FOR_SIZE(avg_window, rows.last - rows.first, cols.last - cols.first, from, row, y);
            }
        }
    }
}

void CEL_ISA_FN(cel_cpu_avg_pool)(const cel_kernel_args *a) {
    const cel_pool2d_attr *pool = a->op->attr;
    run(a, a->in[0].shape, a->out[0].shape, *pool, is_box3(pool) ? box_pool_task : avg_task);
}

INLINE void avg_grad_window(const float *dy, size_t row, float *dx, int h, int w) {
    float share_of = 1.0f / (float)(h * w);
    for (int v = 0; v < CEL_PARTS; v++) {
        cel_vf d = cel_load(dy + v * CEL_VL) * share_of;
        for (int r = 0; r < h; r++)
            for (int q = 0; q < w; q++) {
                float *to = dx + (size_t)r * row + (size_t)(q * CEL_LANES + v * CEL_VL);
                cel_store(to, cel_load(to) + d);
            }
    }
}

static void avg_grad_task(void *ctx, int task, int worker) {
    (void)worker;
    const pool_args *s = ctx;
    cel_block b = cel_block_of(&s->blocks, task);
    size_t row = (size_t)s->big.w * CEL_LANES;
    for (int c = b.first; c < b.last; c++) {
        const float *dy = (const float *)s->a->in[0].data + plane_at(&s->small, b.g, c);
        float *dx = (float *)s->a->out[0].data + plane_at(&s->big, b.g, c);
        memset(dx, 0, s->big.plane * sizeof *dx);
        for (int i = 0; i < s->small.h; i++) {
            range rows = window(i, &s->pool, s->big.h);
            for (int j = 0; j < s->small.w; j++, dy += CEL_LANES) {
                range cols = window(j, &s->pool, s->big.w);
                float *to = dx + (size_t)rows.first * row + (size_t)cols.first * CEL_LANES;
                FOR_SIZE(avg_grad_window, rows.last - rows.first, cols.last - cols.first, dy, row, to);
            }
        }
    }
}

void CEL_ISA_FN(cel_cpu_avg_pool_grad)(const cel_kernel_args *a) {
    const cel_avg_pool_grad_attr *attr = a->op->attr;
    run(a, a->out[0].shape, a->in[0].shape, attr->pool, is_box3(&attr->pool) ? box_grad_task : avg_grad_task);
}

static void global_task(void *ctx, int task, int worker) {
    (void)worker;
    const pool_args *s = ctx;
    cel_block b = cel_block_of(&s->blocks, task);
    size_t vectors = s->big.plane / CEL_VL;
    float share_of = 1.0f / (float)(s->big.plane / CEL_LANES);
    for (int c = b.first; c < b.last; c++) {
        const float *x = (const float *)s->a->in[0].data + plane_at(&s->big, b.g, c);
        float *y = (float *)s->a->out[0].data + plane_at(&s->small, b.g, c);
        cel_vf sum[4] = {{0}};
        size_t i = 0;
        for (; i + 4 <= vectors; i += 4)
            for (int k = 0; k < 4; k++) sum[k] += cel_load(x + (i + (size_t)k) * CEL_VL);
        for (int k = 0; k < 4; k++)
            if (i + (size_t)k < vectors) sum[k] += cel_load(x + (i + (size_t)k) * CEL_VL);
        for (int v = 0; v < CEL_PARTS; v++) {
            cel_vf total = sum[v];
            for (int k = v + CEL_PARTS; k < 4; k += CEL_PARTS) total += sum[k];
            cel_store(y + v * CEL_VL, total * share_of);
        }
    }
}

void CEL_ISA_FN(cel_cpu_global_pool)(const cel_kernel_args *a) {
    run(a, a->in[0].shape, a->out[0].shape, (cel_pool2d_attr){0}, global_task);
}

static void global_grad_task(void *ctx, int task, int worker) {
    (void)worker;
    const pool_args *s = ctx;
    cel_block b = cel_block_of(&s->blocks, task);
    float share_of = 1.0f / (float)(s->big.plane / CEL_LANES);
    for (int c = b.first; c < b.last; c++) {
        const float *dy = (const float *)s->a->in[0].data + plane_at(&s->small, b.g, c);
        float *dx = (float *)s->a->out[0].data + plane_at(&s->big, b.g, c);
        cel_vf each[CEL_PARTS];
        for (int v = 0; v < CEL_PARTS; v++) each[v] = cel_load(dy + v * CEL_VL) * share_of;
        for (size_t i = 0; i < s->big.plane; i += CEL_LANES)
            for (int v = 0; v < CEL_PARTS; v++) cel_store(dx + i + (size_t)v * CEL_VL, each[v]);
    }
}

void CEL_ISA_FN(cel_cpu_global_pool_grad)(const cel_kernel_args *a) {
    run(a, a->out[0].shape, a->in[0].shape, (cel_pool2d_attr){0}, global_grad_task);
}
