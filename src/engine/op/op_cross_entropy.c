/* softmax_cross_entropy: mean over the batch of -sum_c t_c log p_c, p = softmax(logits), t = (1 - s) onehot(label) + s
 * / c (label smoothing, Szegedy et al. 2016), and its gradient  dlogits = dloss (p - t) / n + p (dp - sum p dp). */
#include <math.h>

#include "engine/op/check.h"

static cel_status check_logits(const cel_graph *g, const cel_val *in, const char *name, cel_shape *shape) {
    const cel_value *x;
    CEL_TRY(cel_check_input(g, in, 0, name, &x));
    if (x->layout != CEL_BATCH || x->shape.rank != 2)
        return CEL_FAIL(CEL_SHAPE, "%s: expected [n,c] over images, found rank %d", name, x->shape.rank);
    if (in[1] == CEL_NONE) return CEL_FAIL(CEL_SHAPE, "the labels are missing");
    const cel_value *labels = &g->value[in[1]];
    if (labels->dtype != CEL_I32 || labels->layout != CEL_BATCH || labels->shape.rank != 1 ||
        labels->shape.dim[0] != x->shape.dim[0])
        return CEL_FAIL(CEL_SHAPE, "the labels: expected %d integers over images", x->shape.dim[0]);
    *shape = x->shape;
    return CEL_OK;
}

static cel_status infer(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out) {
    const cel_cross_entropy_attr *a = attr;
    cel_shape x;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 2));
    CEL_TRY(check_logits(g, in, "the logits", &x));
    if (!(a->smoothing >= 0 && a->smoothing <= 1))
        return CEL_FAIL(CEL_SHAPE, "label smoothing %g: expected 0 .. 1", (double)a->smoothing);
    out[0].layout = out[2].layout = CEL_DENSE;
    out[0].shape = out[2].shape = CEL_SCALAR;
    out[1].layout = CEL_BATCH;
    out[1].shape = x;
    return CEL_OK;
}

static cel_status infer_grad(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                             int *n_out) {
    cel_shape x;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 4, 4));
    CEL_TRY(check_logits(g, in, "the probabilities", &x));
    if (in[2] != CEL_NONE) CEL_TRY(cel_check_shape(g, in, 2, "dloss", CEL_DENSE, CEL_SCALAR));
    if (in[3] != CEL_NONE) CEL_TRY(cel_check_shape(g, in, 3, "dprobs", CEL_BATCH, x));
    out->layout = CEL_BATCH;
    out->shape = x;
    return CEL_OK;
}

static cel_status grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op]; /* the number of hits is constant almost everywhere: no gradient */
    if (need[0] && (dout[0] != CEL_NONE || dout[1] != CEL_NONE))
        din[0] = cel_op_emit(g, &cel_op_softmax_cross_entropy_grad, (cel_val[]){o.out[1], o.in[1], dout[0], dout[1]}, 4,
                             o.attr, sizeof(cel_cross_entropy_attr));
    return CEL_OK;
}

/* Only where dlogits = dloss (p - t) / n with a number for dloss, which a loss' own gradient has: then d/dp is that number / n. */
static cel_status grad_grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    if (dout[0] == CEL_NONE || !need[0]) return CEL_OK;
    const cel_op *from = o.in[2] != CEL_NONE && g->value[o.in[2]].op >= 0 ? &g->op[g->value[o.in[2]].op] : NULL;
    if (o.in[3] != CEL_NONE || !from || from->def != &cel_op_constant)
        return CEL_FAIL(CEL_UNSUPPORTED, "only the gradient of the loss itself can be differentiated again");
    float dloss = ((const cel_constant_attr *)from->attr)->value;
    din[0] = cel_scale(g, dout[0], dloss / (float)cel_graph_shape(g, o.in[0]).dim[0]);
    return CEL_OK;
}

static void ref(const cel_kernel_args *a) {
    double s = (double)((const cel_cross_entropy_attr *)a->op->attr)->smoothing, loss = 0;
    int n = a->in[0].shape.dim[0], c = a->in[0].shape.dim[1], correct = 0;
    const int32_t *labels = a->in[1].data;
    float *probs = a->out[1].data;
    for (int i = 0; i < n; i++) {
        const float *x = (const float *)a->in[0].data + (size_t)i * (size_t)c;
        int best = 0;
        for (int j = 1; j < c; j++)
            if (x[j] > x[best]) best = j;
        double sum = 0, mean = 0;
        for (int j = 0; j < c; j++) {
            sum += exp((double)x[j] - x[best]);
            mean += (double)x[j] / c;
        }
        double log_sum = x[best] + log(sum);
        for (int j = 0; j < c && probs; j++) probs[(size_t)i * (size_t)c + (size_t)j] = (float)exp(x[j] - log_sum);
        bool known = labels[i] >= 0 && labels[i] < c;
        double target = known ? (double)x[labels[i]] : NAN;
        loss += log_sum - (1 - s) * target - s * mean;
        correct += labels[i] == best;
    }
    if (a->out[0].data) *(float *)a->out[0].data = (float)(loss / n);
    if (a->out[2].data) *(float *)a->out[2].data = (float)correct;
}

static void ref_grad(const cel_kernel_args *a) {
    double s = (double)((const cel_cross_entropy_attr *)a->op->attr)->smoothing;
    int n = a->in[0].shape.dim[0], c = a->in[0].shape.dim[1];
    const int32_t *labels = a->in[1].data;
    double dloss = a->in[2].data ? (double)*(const float *)a->in[2].data : 0;
    for (int i = 0; i < n; i++) {
        const float *p = (const float *)a->in[0].data + (size_t)i * (size_t)c;
        const float *dp = a->in[3].data ? (const float *)a->in[3].data + (size_t)i * (size_t)c : NULL;
        float *dx = (float *)a->out[0].data + (size_t)i * (size_t)c;
        double inner = 0;
        for (int j = 0; j < c && dp; j++) inner += (double)p[j] * dp[j];
        for (int j = 0; j < c; j++) {
            double target = (j == labels[i] ? 1 - s : 0) + s / c;
            dx[j] = (float)(dloss * (p[j] - target) / n + (dp ? p[j] * (dp[j] - inner) : 0));
        }
    }
}

cel_cross_entropy cel_softmax_cross_entropy(cel_graph *g, cel_val logits, cel_val labels, float smoothing) {
    int index = cel_graph_add(g, &cel_op_softmax_cross_entropy, (cel_val[]){logits, labels}, 2,
                              &(cel_cross_entropy_attr){smoothing}, sizeof(cel_cross_entropy_attr));
    if (index < 0) return (cel_cross_entropy){CEL_NONE, CEL_NONE, CEL_NONE};
    const cel_val *out = g->op[index].out;
    return (cel_cross_entropy){out[0], out[1], out[2]};
}

static cel_cross_entropy sample(cel_graph *g, int n, int c, float smoothing) {
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, c));
    return cel_softmax_cross_entropy(g, x, cel_graph_input(g, "labels", CEL_I32, CEL_BATCH, CEL_SHAPE(n)), smoothing);
}
static cel_val loss(cel_graph *g) { return sample(g, 5, 10, 0).loss; }
static cel_val loss_smooth(cel_graph *g) { return sample(g, 19, 7, 0.1f).loss; }
static cel_val probs(cel_graph *g) { return sample(g, 4, 5, 0).probs; }
static cel_val hits(cel_graph *g) { return sample(g, 33, 3, 0).correct; }
static const cel_op_case cases[] = {
    {"loss", loss}, {"loss_smooth", loss_smooth}, {"probs", probs}, {"hits", hits}, {0}};

const cel_op_def cel_op_softmax_cross_entropy = {
    .name = "softmax_cross_entropy", .n_out = 3, .infer = infer, .grad = grad, .ref = ref, .cases = cases};
const cel_op_def cel_op_softmax_cross_entropy_grad = {
    .name = "softmax_cross_entropy_grad", .n_out = 1, .infer = infer_grad, .grad = grad_grad, .ref = ref_grad};
