/* Linear layers. Forward and data gradient are one loop: y[o] = sum over i of matrix(i, o) x[i] for the 16 images of
 * a group. The weight gradient turns x into plain rows first, so that it too is vector arithmetic without sums across
 * lanes; images are added in order. */
#include "engine/backend/cpu/kernels.h"

enum { ROWS = CEL_VL == 16 ? 8 : 4 }; /* outputs computed side by side */

typedef struct {
    const float *x, *w, *bias;
    float *y;
    int n_in, n_out, blocks;
    size_t in_stride, out_stride; /* of w */
} linear_args;

static void linear_task(void *ctx, int task, int worker) {
    (void)worker;
    const linear_args *s = ctx;
    int g = task / s->blocks, first = task % s->blocks * ROWS, rows = s->n_out - first < ROWS ? s->n_out - first : ROWS;
    const float *x = s->x + (size_t)g * (size_t)s->n_in * CEL_LANES;
    float *y = s->y + ((size_t)g * (size_t)s->n_out + (size_t)first) * CEL_LANES;
    const float *w[ROWS]; /* rows that are not there repeat the last */
    cel_vf sum[ROWS][CEL_PARTS];
    for (int r = 0; r < ROWS; r++) {
        int o = first + (r < rows ? r : rows - 1);
        w[r] = s->w + (size_t)o * s->out_stride;
        for (int v = 0; v < CEL_PARTS; v++) sum[r][v] = cel_splat(s->bias ? s->bias[o] : 0);
    }
    for (int i = 0; i < s->n_in; i++)
        for (int v = 0; v < CEL_PARTS; v++) {
            cel_vf here = cel_load(x + (size_t)i * CEL_LANES + (size_t)v * CEL_VL);
            for (int r = 0; r < ROWS; r++) sum[r][v] += here * w[r][(size_t)i * s->in_stride];
        }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < CEL_PARTS; v++) cel_store(y + (size_t)r * CEL_LANES + (size_t)v * CEL_VL, sum[r][v]);
}

static void run(const cel_kernel_args *a, linear_args *s) {
    if (!a->out[0].data) return;
    s->x = a->in[0].data;
    s->w = a->in[1].data;
    s->y = a->out[0].data;
    s->n_in = a->in[0].shape.dim[1];
    s->n_out = a->out[0].shape.dim[1];
    s->blocks = (s->n_out + ROWS - 1) / ROWS;
    cel_pool_run(a->pool, cel_cpu_groups(a->in[0].shape.dim[0]) * s->blocks, linear_task, s);
}

void CEL_ISA_FN(cel_cpu_linear)(const cel_kernel_args *a) {
    run(a, &(linear_args){.bias = a->n_in > 2 ? a->in[2].data : NULL,
                          .in_stride = 1,
                          .out_stride = (size_t)a->in[0].shape.dim[1]});
}

void CEL_ISA_FN(cel_cpu_linear_dx)(const cel_kernel_args *a) {
    run(a, &(linear_args){.in_stride = (size_t)a->out[0].shape.dim[1], .out_stride = 1});
}

typedef struct {
    const float *x, *dy;
    float *plain, *dw, *db; /* plain: [n][row] */
    int n, n_in, n_out;
    size_t row;
} dw_args;

static size_t row_of(int n_in) { return ((size_t)n_in + CEL_LANES - 1) / CEL_LANES * CEL_LANES; }

static void plain_task(void *ctx, int g, int worker) {
    (void)worker;
    const dw_args *s = ctx;
    int lanes = s->n - g * CEL_LANES < CEL_LANES ? s->n - g * CEL_LANES : CEL_LANES;
    const float *x = s->x + (size_t)g * (size_t)s->n_in * CEL_LANES;
    float *to = s->plain + (size_t)g * CEL_LANES * s->row;
    for (int l = 0; l < lanes; l++, to += s->row) {
        for (int i = 0; i < s->n_in; i++) to[i] = x[(size_t)i * CEL_LANES + (size_t)l];
        for (size_t i = (size_t)s->n_in; i < s->row; i++) to[i] = 0;
    }
}

static void dw_task(void *ctx, int task, int worker) {
    (void)worker;
    const dw_args *s = ctx;
    int first = task * ROWS, rows = s->n_out - first < ROWS ? s->n_out - first : ROWS;
    for (size_t i = 0; s->dw && i < s->row; i += CEL_LANES) {
        cel_vf sum[ROWS][CEL_PARTS] = {{{0}}};
        for (int image = 0; image < s->n; image++) {
            size_t at = ((size_t)(image / CEL_LANES) * (size_t)s->n_out + (size_t)first) * CEL_LANES;
            const float *dy = s->dy + at + image % CEL_LANES, *x = s->plain + (size_t)image * s->row + i;
            for (int r = 0; r < ROWS; r++) {
                float d = dy[(size_t)(r < rows ? r : 0) * CEL_LANES];
                for (int v = 0; v < CEL_PARTS; v++) sum[r][v] += cel_load(x + v * CEL_VL) * d;
            }
        }
        size_t count = (size_t)s->n_in - i < CEL_LANES ? (size_t)s->n_in - i : CEL_LANES;
        for (int r = 0; r < rows; r++)
            memcpy(s->dw + (size_t)(first + r) * (size_t)s->n_in + i, sum[r], count * sizeof(float));
    }
    for (int o = first; s->db && o < first + rows; o++) {
        double sum = 0;
        for (int image = 0; image < s->n; image++)
            sum += s->dy[((size_t)(image / CEL_LANES) * (size_t)s->n_out + (size_t)o) * CEL_LANES + image % CEL_LANES];
        s->db[o] = (float)sum;
    }
}

size_t CEL_ISA_FN(cel_cpu_linear_dw_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    (void)n_threads;
    cel_shape x = g->value[op->in[0]].shape;
    return (size_t)x.dim[0] * row_of(x.dim[1]) * sizeof(float);
}

void CEL_ISA_FN(cel_cpu_linear_dw)(const cel_kernel_args *a) {
    dw_args s = {.x = a->in[0].data, .dy = a->in[1].data, .plain = a->work, .dw = a->out[0].data, .db = a->out[1].data};
    s.n = a->in[0].shape.dim[0];
    s.n_in = a->in[0].shape.dim[1];
    s.n_out = a->in[1].shape.dim[1];
    s.row = row_of(s.n_in);
    if (s.dw) cel_pool_run(a->pool, cel_cpu_groups(s.n), plain_task, &s);
    cel_pool_run(a->pool, (s.n_out + ROWS - 1) / ROWS, dw_task, &s);
}
