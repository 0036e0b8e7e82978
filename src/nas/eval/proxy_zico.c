/* ZiCo (Li et al., ICLR 2023, arXiv:2301.11300): sum over layers of log(sum over weights of mean|g| / deviation(g)),
 * g the loss' gradients on several batches, over the weights whose gradient varies; the deviation's divisor is the
 * number of batches. */
#include <math.h>

#include "nas/eval/proxy.h"

static cel_status zico(const cel_probe *p, double *out) {
    int n = p->conf->n_batches;
    bool any = false;
    *out = 0;
    for (int i = 0; i < p->n_layers; i++) {
        const cel_probe_layer *l = &p->layer[i];
        double sum = 0;
        for (size_t k = l->offset; k < l->offset + l->count; k++) {
            double mean = 0, size = 0, squares = 0;
            for (int b = 0; b < n; b++) {
                mean += (double)p->gradient[b][k] / n;
                size += fabs((double)p->gradient[b][k]) / n;
            }
            for (int b = 0; b < n; b++) squares += (p->gradient[b][k] - mean) * (p->gradient[b][k] - mean);
            if (squares > 0) sum += size / sqrt(squares / n);
        }
        if (sum > 0) *out += log(sum);
        any = any || sum > 0;
    }
    if (!any) *out = NAN;
    return CEL_OK;
}

const cel_proxy cel_proxy_zico = {.name = "zico",
                                  .title = "ZiCo: mean over deviation of the gradients",
                                  .paper = "arXiv:2301.11300",
                                  .higher_is_better = true,
                                  .reads = CEL_READ_IMAGES | CEL_READ_GRADIENT | CEL_READ_BATCHES,
                                  .score = zico};
