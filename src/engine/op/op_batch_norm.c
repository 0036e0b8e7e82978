/* batch_norm (Ioffe and Szegedy 2015) and its gradient, over [n,c,h,w] or [n,c].
 *   y = (x - mean) rstd gamma + beta,  rstd = 1 / sqrt(var + eps)
 * with the batch's mean and biased variance in training (or with use_batch), the running ones in evaluation. The
 * running variance takes the unbiased one, m/(m-1), where m = n h w (m = 1: the biased one, which is 0). The variance
 * is summed around the mean in a second pass, so a large mean costs no digits. */
#include <math.h>

#include "engine/op/check.h"

static cel_status check_x(const cel_graph *g, const cel_val *in, int i, const char *name, cel_shape *shape) {
    const cel_value *x;
    CEL_TRY(cel_check_input(g, in, i, name, &x));
    if (x->layout != CEL_BATCH || (x->shape.rank != 4 && x->shape.rank != 2))
        return CEL_FAIL(CEL_SHAPE, "%s: expected [n,c,h,w] or [n,c] over images, found rank %d", name, x->shape.rank);
    *shape = x->shape;
    return CEL_OK;
}

static cel_status infer(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out) {
    const cel_batch_norm_attr *a = attr;
    const char *const name[] = {"x", "gamma", "beta", "the running mean", "the running variance"};
    cel_shape x;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 5, 5));
    CEL_TRY(check_x(g, in, 0, "x", &x));
    if ((in[1] == CEL_NONE) != (in[2] == CEL_NONE))
        return CEL_FAIL(CEL_SHAPE, "gamma and beta come together or not at all");
    for (int i = 1; i < 5; i++)
        if (i > 2 || in[i] != CEL_NONE) CEL_TRY(cel_check_shape(g, in, i, name[i], CEL_DENSE, CEL_SHAPE(x.dim[1])));
    for (int i = 3; i < 5; i++)
        if (g->value[in[i]].role != CEL_STATE) return CEL_FAIL(CEL_SHAPE, "%s is no state", name[i]);
    if (!(a->eps > 0) || !(a->momentum >= 0 && a->momentum <= 1))
        return CEL_FAIL(CEL_SHAPE, "eps %g, momentum %g: expected eps > 0 and momentum in 0 .. 1", (double)a->eps,
                        (double)a->momentum);
    out[0].layout = CEL_BATCH;
    out[0].shape = x;
    out[1].layout = out[2].layout = CEL_DENSE;
    out[1].shape = out[2].shape = CEL_SHAPE(x.dim[1]);
    return CEL_OK;
}

static cel_status infer_grad(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                             int *n_out) {
    cel_shape x;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 5, 5));
    CEL_TRY(check_x(g, in, 1, "x", &x));
    CEL_TRY(cel_check_shape(g, in, 0, "dy", CEL_BATCH, x));
    if (in[2] != CEL_NONE) CEL_TRY(cel_check_shape(g, in, 2, "gamma", CEL_DENSE, CEL_SHAPE(x.dim[1])));
    CEL_TRY(cel_check_shape(g, in, 3, "mean", CEL_DENSE, CEL_SHAPE(x.dim[1])));
    CEL_TRY(cel_check_shape(g, in, 4, "rstd", CEL_DENSE, CEL_SHAPE(x.dim[1])));
    out[0].layout = CEL_BATCH;
    out[0].shape = x;
    out[1].layout = out[2].layout = CEL_DENSE;
    out[1].shape = out[2].shape = CEL_SHAPE(x.dim[1]);
    return CEL_OK;
}

static cel_status grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    if (dout[1] != CEL_NONE || dout[2] != CEL_NONE)
        return CEL_FAIL(CEL_UNSUPPORTED, "a gradient cannot flow through batch norm's saved statistics");
    if (need[3] || need[4]) return CEL_FAIL(CEL_UNSUPPORTED, "batch norm has no gradient of its running statistics");
    if (dout[0] == CEL_NONE) return CEL_OK;
    int index = cel_graph_add(g, &cel_op_batch_norm_grad, (cel_val[]){dout[0], o.in[0], o.in[1], o.out[1], o.out[2]}, 5,
                              o.attr, sizeof(cel_batch_norm_attr));
    for (int i = 0; i < 3 && index >= 0; i++)
        if (need[i]) din[i] = g->op[index].out[i];
    return CEL_OK;
}

/* Of dx alone. mean and rstd stand for what batch_norm makes of x, so theirs is part of x's. */
static cel_status grad_grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    if (dout[1] != CEL_NONE || dout[2] != CEL_NONE)
        return CEL_FAIL(CEL_UNSUPPORTED, "the gradients of gamma and beta cannot be differentiated again");
    if (dout[0] == CEL_NONE) return CEL_OK;
    int index = cel_graph_add(g, &cel_op_batch_norm_grad_grad,
                              (cel_val[]){dout[0], o.in[0], o.in[1], o.in[2], o.in[3], o.in[4]}, 6, o.attr,
                              sizeof(cel_batch_norm_attr));
    for (int i = 0; i < 3 && index >= 0; i++)
        if (need[i]) din[i] = g->op[index].out[i];
    return CEL_OK;
}

static bool by_batch(const cel_kernel_args *a) {
    return a->mode == CEL_MODE_TRAIN || ((const cel_batch_norm_attr *)a->op->attr)->use_batch;
}

static void ref(const cel_kernel_args *a) {
    const cel_batch_norm_attr *attr = a->op->attr;
    cel_dims d = cel_dims_of(a->in[0].shape);
    const float *x = a->in[0].data, *gamma = a->in[1].data, *beta = a->in[2].data;
    float *run_mean = a->in[3].data, *run_var = a->in[4].data;
    float *y = a->out[0].data, *mean_out = a->out[1].data, *rstd_out = a->out[2].data;
    size_t plane = (size_t)d.h * (size_t)d.w;
    double m = (double)d.n * (double)plane;
    for (int c = 0; c < d.c; c++) {
        double mean = run_mean[c], var = run_var[c];
        if (by_batch(a)) {
            mean = var = 0;
            for (int n = 0; n < d.n; n++)
                for (size_t i = 0; i < plane; i++) mean += x[cel_at(d, n, c, 0, 0) + i];
            mean /= m;
            for (int n = 0; n < d.n; n++) {
                for (size_t i = 0; i < plane; i++) {
                    double from = x[cel_at(d, n, c, 0, 0) + i] - mean;
                    var += from * from;
                }
            }
            double unbiased = m > 1 ? var / (m - 1) : 0;
            var /= m;
            if (a->mode == CEL_MODE_TRAIN) {
                double new = attr->momentum;
                run_mean[c] = (float)((1 - new) * run_mean[c] + new *mean);
                run_var[c] = (float)((1 - new) * run_var[c] + new *unbiased);
            }
        }
        double rstd = 1 / sqrt(var + attr->eps), scale = gamma ? gamma[c] : 1, shift = beta ? beta[c] : 0;
        if (mean_out) mean_out[c] = (float)mean;
        if (rstd_out) rstd_out[c] = (float)rstd;
        if (!y) continue;
        for (int n = 0; n < d.n; n++) {
            for (size_t i = 0; i < plane; i++) {
                size_t at = cel_at(d, n, c, 0, 0) + i;
                y[at] = (float)((x[at] - mean) * rstd * scale + shift);
            }
        }
    }
}

/* With xhat = (x - mean) rstd:  dgamma = sum dy xhat, dbeta = sum dy,
 * dx = gamma rstd (dy - [dbeta + xhat dgamma] / m); the bracket only when mean and rstd came from the batch. */
static void ref_grad(const cel_kernel_args *a) {
    cel_dims d = cel_dims_of(a->in[1].shape);
    const float *dy = a->in[0].data, *x = a->in[1].data, *gamma = a->in[2].data;
    const float *mean = a->in[3].data, *rstd = a->in[4].data;
    float *dx = a->out[0].data, *dgamma = a->out[1].data, *dbeta = a->out[2].data;
    size_t plane = (size_t)d.h * (size_t)d.w;
    double m = (double)d.n * (double)plane;
    for (int c = 0; c < d.c; c++) {
        double sum = 0, sum_xhat = 0;
        for (int n = 0; n < d.n; n++) {
            for (size_t i = 0; i < plane; i++) {
                size_t at = cel_at(d, n, c, 0, 0) + i;
                sum += dy[at];
                sum_xhat += dy[at] * ((double)x[at] - mean[c]) * rstd[c];
            }
        }
        if (dgamma) dgamma[c] = (float)sum_xhat;
        if (dbeta) dbeta[c] = (float)sum;
        if (!dx) continue;
        double scale = (gamma ? gamma[c] : 1.0) * rstd[c];
        if (!by_batch(a)) sum = sum_xhat = 0;
        for (int n = 0; n < d.n; n++) {
            for (size_t i = 0; i < plane; i++) {
                size_t at = cel_at(d, n, c, 0, 0) + i;
                double xhat = ((double)x[at] - mean[c]) * rstd[c];
                dx[at] = (float)(scale * (dy[at] - (sum + xhat * sum_xhat) / m));
            }
        }
    }
}

cel_val cel_batch_norm(cel_graph *g, cel_val x, cel_val gamma, cel_val beta, cel_val running_mean, cel_val running_var,
                       cel_batch_norm_attr attr) {
    return cel_op_emit(g, &cel_op_batch_norm, (cel_val[]){x, gamma, beta, running_mean, running_var}, 5, &attr,
                       sizeof attr);
}

static cel_val sample(cel_graph *g, cel_shape shape, bool affine, bool use_batch) {
    cel_shape c = CEL_SHAPE(shape.dim[1]);
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, shape);
    cel_val gamma = affine ? cel_graph_param(g, "weight", c, CEL_INIT_ONE) : CEL_NONE;
    cel_val beta = affine ? cel_graph_param(g, "bias", c, CEL_INIT_ZERO) : CEL_NONE;
    cel_val mean = cel_graph_state(g, "running_mean", c, CEL_INIT_ZERO);
    cel_val var = cel_graph_state(g, "running_var", c, CEL_INIT_ONE);
    return cel_batch_norm(g, x, gamma, beta, mean, var, (cel_batch_norm_attr){1e-5f, 0.1f, use_batch});
}
static cel_val plain(cel_graph *g) { return sample(g, CEL_SHAPE(4, 3, 5, 7), false, false); }
static cel_val affine(cel_graph *g) { return sample(g, CEL_SHAPE(3, 4, 6, 5), true, false); }
static cel_val batch(cel_graph *g) { return sample(g, CEL_SHAPE(19, 2, 3, 2), true, false); }
static cel_val pixel(cel_graph *g) { return sample(g, CEL_SHAPE(5, 6, 1, 1), false, false); }
static cel_val vectors(cel_graph *g) { return sample(g, CEL_SHAPE(6, 5), true, false); }
static cel_val always_batch(cel_graph *g) { return sample(g, CEL_SHAPE(4, 2, 3, 3), true, true); }
static const cel_op_case cases[] = {{"plain", plain},
                                    {"affine", affine},
                                    {"batch", batch},
                                    {"pixel", pixel},
                                    {"vectors", vectors},
                                    {"always_batch", always_batch},
                                    {0}};

const cel_op_def cel_op_batch_norm = {
    .name = "batch_norm", .n_out = 3, .infer = infer, .grad = grad, .ref = ref, .cases = cases};
const cel_op_def cel_op_batch_norm_grad = {
    .name = "batch_norm_grad", .n_out = 3, .infer = infer_grad, .grad = grad_grad, .ref = ref_grad};
