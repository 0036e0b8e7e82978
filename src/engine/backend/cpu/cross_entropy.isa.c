/* Softmax cross-entropy with label smoothing (Szegedy et al. 2016, section 7) and its gradient, 16 images at a time.
 * The loss and the hits of a group are summed over the images that exist, then over groups, in order. */
#include "engine/backend/cpu/kernels.h"
#include "engine/op/attr.h"

typedef struct {
    const cel_kernel_args *a;
    int n, c;
    float smoothing;
    double *loss, *correct; /* by group */
} loss_args;

static int images(int n, int g) { return n - g * CEL_LANES < CEL_LANES ? n - g * CEL_LANES : CEL_LANES; }

static void loss_task(void *ctx, int g, int worker) {
    (void)worker;
    const loss_args *s = ctx;
    size_t start = (size_t)g * (size_t)s->c * CEL_LANES;
    const float *x = (const float *)s->a->in[0].data + start;
    const int32_t *label = (const int32_t *)s->a->in[1].data + g * CEL_LANES;
    float *probs = s->a->out[1].data;
    float most[CEL_LANES];
    int32_t argmax[CEL_LANES] = {0};
    double sum[CEL_LANES] = {0}, logits[CEL_LANES] = {0};
    memcpy(most, x, sizeof most);
    for (int k = 1; k < s->c; k++)
        for (int l = 0; l < CEL_LANES; l++)
            if (x[k * CEL_LANES + l] > most[l]) {
                most[l] = x[k * CEL_LANES + l];
                argmax[l] = k;
            }
    for (int k = 0; k < s->c; k++)
        for (int l = 0; l < CEL_LANES; l++) {
            float e = expf(x[k * CEL_LANES + l] - most[l]);
            sum[l] += e;
            logits[l] += x[k * CEL_LANES + l] - most[l];
            if (probs) probs[start + (size_t)(k * CEL_LANES + l)] = e;
        }
    for (int k = 0; probs && k < s->c; k++)
        for (int l = 0; l < CEL_LANES; l++) probs[start + (size_t)(k * CEL_LANES + l)] /= (float)sum[l];
    double loss = 0, correct = 0;
    for (int l = 0; l < images(s->n, g); l++) {
        double right = NAN; /* a label that is no class */
        if (label[l] >= 0 && label[l] < s->c) right = x[label[l] * CEL_LANES + l] - most[l];
        loss += log(sum[l]) - (1 - (double)s->smoothing) * right - (double)s->smoothing / s->c * logits[l];
        correct += argmax[l] == label[l];
    }
    s->loss[g] = loss;
    s->correct[g] = correct;
}

size_t CEL_ISA_FN(cel_cpu_softmax_cross_entropy_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    (void)n_threads;
    return (size_t)cel_cpu_groups(g->value[op->in[0]].shape.dim[0]) * 2 * sizeof(double);
}

void CEL_ISA_FN(cel_cpu_softmax_cross_entropy)(const cel_kernel_args *a) {
    const cel_cross_entropy_attr *attr = a->op->attr;
    loss_args s = {a, a->in[0].shape.dim[0], a->in[0].shape.dim[1], attr->smoothing, a->work, NULL};
    int groups = cel_cpu_groups(s.n);
    s.correct = s.loss + groups;
    cel_pool_run(a->pool, groups, loss_task, &s);
    double loss = 0, correct = 0;
    for (int g = 0; g < groups; g++) {
        loss += s.loss[g];
        correct += s.correct[g];
    }
    if (a->out[0].data) *(float *)a->out[0].data = (float)(loss / s.n);
    if (a->out[2].data) *(float *)a->out[2].data = (float)correct;
}

static void grad_task(void *ctx, int g, int worker) {
    (void)worker;
    const loss_args *s = ctx;
    size_t start = (size_t)g * (size_t)s->c * CEL_LANES;
    const float *p = (const float *)s->a->in[0].data + start;
    const int32_t *label = (const int32_t *)s->a->in[1].data + g * CEL_LANES;
    const float *dloss = s->a->in[2].data, *dprobs = s->a->in[3].data;
    float *dx = (float *)s->a->out[0].data + start;
    int lanes = images(s->n, g);
    float scale = dloss ? *dloss / (float)s->n : 0, uniform = s->smoothing / (float)s->c, dot[CEL_LANES] = {0};
    if (dprobs) dprobs += start;
    for (int k = 0; dprobs && k < s->c; k++)
        for (int l = 0; l < CEL_LANES; l++) dot[l] += p[k * CEL_LANES + l] * dprobs[k * CEL_LANES + l];
    for (int k = 0; k < s->c; k++)
        for (int l = 0; l < CEL_LANES; l++) {
            int i = k * CEL_LANES + l;
            float target = uniform + (label[l] == k ? 1 - s->smoothing : 0);
            float d = scale * (p[i] - target) + (dprobs ? p[i] * (dprobs[i] - dot[l]) : 0);
            dx[i] = l < lanes ? d : 0;
        }
}

void CEL_ISA_FN(cel_cpu_softmax_cross_entropy_grad)(const cel_kernel_args *a) {
    if (!a->out[0].data) return;
    const cel_cross_entropy_attr *attr = a->op->attr;
    loss_args s = {a, a->in[0].shape.dim[0], a->in[0].shape.dim[1], attr->smoothing, NULL, NULL};
    cel_pool_run(a->pool, cel_cpu_groups(s.n), grad_task, &s);
}
