/* Elementwise operations: constant, relu, add, scale. One pass over spans of the values' memory, BATCH and DENSE
 * alike. */
#include "engine/backend/cpu/kernels.h"
#include "engine/op/attr.h"

void CEL_ISA_FN(cel_cpu_constant)(const cel_kernel_args *a) { cel_op_constant.ref(a); }

typedef struct {
    const float *x[64]; /* an add of more runs in several passes */
    float *y;
    float factor;
    int n;
    size_t floats;
} span_args;

static void run(const cel_kernel_args *a, span_args *s, cel_task_fn *task) {
    s->y = a->out[0].data;
    s->floats = cel_floats(a->out[0].layout, a->out[0].shape);
    if (s->y) cel_pool_run(a->pool, cel_span_count(s->floats), task, s);
}

static void relu_task(void *ctx, int task, int worker) {
    (void)worker;
    const span_args *s = ctx;
    size_t end = cel_span_end(s->floats, task);
    for (size_t i = (size_t)task * CEL_SPAN; i < end; i += CEL_VL)
        cel_put(s->y, i, end, cel_relu_v(cel_get(s->x[0], i, end)));
}

void CEL_ISA_FN(cel_cpu_relu)(const cel_kernel_args *a) { run(a, &(span_args){.x = {a->in[0].data}}, relu_task); }

static void relu_grad_task(void *ctx, int task, int worker) {
    (void)worker;
    const span_args *s = ctx;
    size_t end = cel_span_end(s->floats, task);
    for (size_t i = (size_t)task * CEL_SPAN; i < end; i += CEL_VL)
        cel_put(s->y, i, end, cel_where_positive(cel_get(s->x[1], i, end), cel_get(s->x[0], i, end)));
}

void CEL_ISA_FN(cel_cpu_relu_grad)(const cel_kernel_args *a) {
    run(a, &(span_args){.x = {a->in[0].data, a->in[1].data}}, relu_grad_task);
}

static void scale_task(void *ctx, int task, int worker) {
    (void)worker;
    const span_args *s = ctx;
    size_t end = cel_span_end(s->floats, task);
    for (size_t i = (size_t)task * CEL_SPAN; i < end; i += CEL_VL)
        cel_put(s->y, i, end, cel_get(s->x[0], i, end) * s->factor);
}

void CEL_ISA_FN(cel_cpu_scale)(const cel_kernel_args *a) {
    const cel_scale_attr *attr = a->op->attr;
    run(a, &(span_args){.x = {a->in[0].data}, .factor = attr->factor}, scale_task);
}

static void add_task(void *ctx, int task, int worker) {
    (void)worker;
    const span_args *s = ctx;
    size_t end = cel_span_end(s->floats, task);
    const float *x0 = s->x[0], *x1 = s->x[1], *x2 = s->x[2];
    size_t i = (size_t)task * CEL_SPAN;
    switch (s->n) { /* the common numbers without the loop over inputs */
    case 2:
        for (; i < end; i += CEL_VL) cel_put(s->y, i, end, cel_get(x0, i, end) + cel_get(x1, i, end));
        return;
    case 3:
        for (; i < end; i += CEL_VL)
            cel_put(s->y, i, end, cel_get(x0, i, end) + cel_get(x1, i, end) + cel_get(x2, i, end));
        return;
    default:
        for (; i < end; i += CEL_VL) {
            cel_vf sum = {0};
            for (int k = 0; k < s->n; k++) sum += cel_get(s->x[k], i, end);
            cel_put(s->y, i, end, sum);
        }
    }
}

void CEL_ISA_FN(cel_cpu_add)(const cel_kernel_args *a) {
    span_args s = {.n = 0};
    bool more = false;
    for (int i = 0; i < a->n_in; i++) {
        if (!a->in[i].active) continue;
        s.x[s.n++] = a->in[i].data;
        if (s.n < (int)CEL_COUNT(s.x)) continue;
        run(a, &s, add_task);
        s.x[0] = s.y; /* the sum so far */
        s.n = 1;
        more = true;
    }
    if (!more || s.n > 1) run(a, &s, add_task);
}
