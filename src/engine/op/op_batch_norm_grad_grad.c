/* batch_norm_grad_grad: what a second derivative sends back through batch_norm_grad's dx. With a = d loss / d dx,
 * xhat = (x - mean) rstd, and over the m = n h w elements of a channel P(v) = v - mean(v) - xhat mean(v xhat), so
 * that dx = gamma rstd P(dy):
 *   ddy    = gamma rstd P(a)
 *   dx2    = -gamma rstd^2 (xhat S / m + mean(dy xhat) P(a) + mean(a xhat) P(dy)),  S = sum(a P(dy))
 *   dgamma = rstd S
 * where mean and rstd are themselves functions of x. In evaluation mode without use_batch they are constants, P is
 * the identity and dx2 is 0. */
#include "engine/op/check.h"

static cel_status infer(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out) {
    const cel_value *x;
    (void)attr, (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 6, 6));
    CEL_TRY(cel_check_input(g, in, 2, "x", &x));
    if (x->layout != CEL_BATCH || (x->shape.rank != 4 && x->shape.rank != 2))
        return CEL_FAIL(CEL_SHAPE, "x: expected [n,c,h,w] or [n,c] over images, found rank %d", x->shape.rank);
    cel_shape c = CEL_SHAPE(x->shape.dim[1]);
    CEL_TRY(cel_check_shape(g, in, 0, "the gradient of dx", CEL_BATCH, x->shape));
    CEL_TRY(cel_check_shape(g, in, 1, "dy", CEL_BATCH, x->shape));
    if (in[3] != CEL_NONE) CEL_TRY(cel_check_shape(g, in, 3, "gamma", CEL_DENSE, c));
    CEL_TRY(cel_check_shape(g, in, 4, "mean", CEL_DENSE, c));
    CEL_TRY(cel_check_shape(g, in, 5, "rstd", CEL_DENSE, c));
    out[0].layout = out[1].layout = CEL_BATCH;
    out[0].shape = out[1].shape = x->shape;
    out[2].layout = CEL_DENSE;
    out[2].shape = c;
    return CEL_OK;
}

static void ref(const cel_kernel_args *k) {
    const cel_batch_norm_attr *attr = k->op->attr;
    cel_dims d = cel_dims_of(k->in[2].shape);
    const float *a = k->in[0].data, *dy = k->in[1].data, *x = k->in[2].data, *gamma = k->in[3].data;
    const float *mean = k->in[4].data, *rstd = k->in[5].data;
    float *ddy = k->out[0].data, *dx2 = k->out[1].data, *dgamma = k->out[2].data;
    bool batch = k->mode == CEL_MODE_TRAIN || attr->use_batch;
    size_t plane = (size_t)d.h * (size_t)d.w;
    double m = (double)d.n * (double)plane;
    for (int c = 0; c < d.c; c++) {
        double sum_a = 0, sum_d = 0, sum_ax = 0, sum_dx = 0, sum_ad = 0, r = rstd[c];
        double scale = (gamma ? gamma[c] : 1.0) * r;
        for (int n = 0; n < d.n; n++) {
            for (size_t i = 0; i < plane; i++) {
                size_t at = cel_at(d, n, c, 0, 0) + i;
                double xhat = ((double)x[at] - mean[c]) * r;
                sum_a += a[at];
                sum_d += dy[at];
                sum_ax += a[at] * xhat;
                sum_dx += dy[at] * xhat;
                sum_ad += (double)a[at] * dy[at];
            }
        }
        double s = batch ? sum_ad - sum_a * sum_d / m - sum_ax * sum_dx / m : sum_ad;
        if (dgamma) dgamma[c] = (float)(r * s);
        for (int n = 0; n < d.n; n++) {
            for (size_t i = 0; i < plane; i++) {
                size_t at = cel_at(d, n, c, 0, 0) + i;
                double xhat = ((double)x[at] - mean[c]) * r;
                double pa = batch ? a[at] - sum_a / m - xhat * sum_ax / m : a[at];
                double pd = dy[at] - sum_d / m - xhat * sum_dx / m;
                if (ddy) ddy[at] = (float)(scale * pa);
                if (dx2) dx2[at] = batch ? (float)(-scale * r * (xhat * s + sum_dx * pa + sum_ax * pd) / m) : 0;
            }
        }
    }
}

const cel_op_def cel_op_batch_norm_grad_grad = {.name = "batch_norm_grad_grad", .n_out = 3, .infer = infer, .ref = ref};
