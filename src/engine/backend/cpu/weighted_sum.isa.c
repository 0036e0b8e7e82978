/* The mixed operation's sum and its gradients; inactive candidates are left out, not multiplied by zero. */
#include "engine/backend/cpu/kernels.h"
#include "engine/op/attr.h"

typedef struct {
    const float *x[16], *dy;
    float weight[16], bias;
    float *y;
    double *partial; /* [task][n + 1]: sums of dy x[i], then of dy */
    int n;
    bool dy_sum;
    size_t floats;
} sum_args;

static void sum_task(void *ctx, int task, int worker) {
    (void)worker;
    const sum_args *s = ctx;
    size_t end = cel_span_end(s->floats, task);
    for (size_t i = (size_t)task * CEL_SPAN; i < end; i += CEL_LANES) {
        cel_vf sum[CEL_PARTS];
        for (int v = 0; v < CEL_PARTS; v++) sum[v] = cel_splat(s->bias);
        for (int k = 0; k < s->n; k++)
            for (int v = 0; v < CEL_PARTS; v++) sum[v] += s->weight[k] * cel_load(s->x[k] + i + v * CEL_VL);
        for (int v = 0; v < CEL_PARTS; v++) cel_store(s->y + i + v * CEL_VL, sum[v]);
    }
}

void CEL_ISA_FN(cel_cpu_weighted_sum)(const cel_kernel_args *a) {
    if (!a->out[0].data) return;
    const cel_weighted_sum_attr *attr = a->op->attr;
    const float *weights = a->in[0].data;
    int cols = a->in[0].shape.dim[1];
    sum_args s = {.y = a->out[0].data, .floats = cel_floats(CEL_BATCH, a->out[0].shape)};
    double bias = 0;
    for (int i = 0; i < attr->n; i++) {
        float weight = weights[attr->row[i] * cols + attr->col[i]];
        if (a->in[1 + i].active) {
            s.x[s.n] = a->in[1 + i].data;
            s.weight[s.n++] = weight;
        } else if (attr->straight_through) {
            bias += weight;
        }
    }
    s.bias = (float)bias;
    cel_pool_run(a->pool, cel_span_count(s.floats), sum_task, &s);
}

void CEL_ISA_FN(cel_cpu_weighted_sum_dx)(const cel_kernel_args *a) {
    if (!a->out[0].data) return;
    const cel_weighted_sum_dx_attr *attr = a->op->attr;
    const float *weights = a->in[0].data;
    sum_args s = {.x = {a->in[1].data}, .n = 1, .y = a->out[0].data, .floats = cel_floats(CEL_BATCH, a->out[0].shape)};
    s.weight[0] = weights[attr->row * a->in[0].shape.dim[1] + attr->col];
    cel_pool_run(a->pool, cel_span_count(s.floats), sum_task, &s);
}

/* Sums of dy x[k]: a span of dy is read from memory for the first candidate and from the cache for the others. */
static void dot_task(void *ctx, int task, int worker) {
    (void)worker;
    const sum_args *s = ctx;
    size_t first = (size_t)task * CEL_SPAN, end = cel_span_end(s->floats, task);
    double *out = s->partial + (size_t)task * (size_t)(s->n + 1);
    for (int k = 0; k < s->n + (s->dy_sum ? 1 : 0); k++) {
        cel_vf sum[4] = {{0}};
        size_t i = first;
        if (k < s->n) {
            const float *x = s->x[k];
            for (; i + 4 * CEL_VL <= end; i += 4 * CEL_VL)
                for (int v = 0; v < 4; v++) sum[v] += cel_load(s->dy + i + v * CEL_VL) * cel_load(x + i + v * CEL_VL);
            for (; i < end; i += CEL_VL) sum[0] += cel_load(s->dy + i) * cel_load(x + i);
        } else {
            for (; i < end; i += CEL_VL) sum[0] += cel_load(s->dy + i);
        }
        out[k] = cel_lane_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
}

size_t CEL_ISA_FN(cel_cpu_weighted_sum_dw_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    (void)n_threads;
    size_t floats = cel_floats(CEL_BATCH, g->value[op->in[0]].shape);
    return (size_t)cel_span_count(floats) * (size_t)op->n_in * sizeof(double);
}

void CEL_ISA_FN(cel_cpu_weighted_sum_dw)(const cel_kernel_args *a) {
    float *dw = a->out[0].data;
    if (!dw) return;
    const cel_weighted_sum_dw_attr *attr = a->op->attr;
    sum_args s = {.dy = a->in[0].data, .partial = a->work, .floats = cel_floats(CEL_BATCH, a->in[0].shape)};
    for (int i = 0; i < attr->sum.n; i++) {
        if (a->in[1 + i].active)
            s.x[s.n++] = a->in[1 + i].data;
        else
            s.dy_sum |= attr->sum.straight_through;
    }
    int tasks = cel_span_count(s.floats);
    cel_pool_run(a->pool, tasks, dot_task, &s);

    double total[17] = {0};
    for (int t = 0; t < tasks; t++)
        for (int k = 0; k < s.n + (s.dy_sum ? 1 : 0); k++) total[k] += s.partial[t * (s.n + 1) + k];
    memset(dw, 0, (size_t)attr->rows * (size_t)attr->cols * sizeof *dw);
    for (int i = 0, k = 0; i < attr->sum.n; i++) {
        float *entry = &dw[attr->sum.row[i] * attr->cols + attr->sum.col[i]];
        if (a->in[1 + i].active)
            *entry += (float)total[k++];
        else if (attr->sum.straight_through)
            *entry += (float)total[s.n];
    }
}
