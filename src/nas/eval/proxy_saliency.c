/* What the loss' gradient on one batch says of the weights (Abdelfattah et al., "Zero-cost proxies for lightweight
 * NAS", ICLR 2021, arXiv:2101.08134, section 3), with g = dL/dW and sums over the weights of convolutions and linear
 * layers:
 *   grad_norm = sum over layers of |g|_2
 *   snip      = sum |W g|                                       (Lee et al., arXiv:1810.02340)
 *   grasp     = sum -W (H g), H the Hessian                     (Wang et al., arXiv:2002.07376; temperature 1)
 *   fisher    = sum over layers and output channels of 1/2 mean over images of (sum over pixels of y dL/dy)^2,
 *               times the weights of a channel  (Theis et al., arXiv:1801.05787; Turner et al., arXiv:1906.04113)
 * The sign of grasp is the authors' of the benchmark: more is better. Their code splits the batch for memory; here it
 * is one. */
#include <math.h>

#include "nas/eval/proxy.h"

static cel_status grad_norm(const cel_probe *p, double *out) {
    *out = 0;
    for (int i = 0; i < p->n_layers; i++) {
        const cel_probe_layer *l = &p->layer[i];
        const float *g = p->gradient[0] + l->offset;
        double squares = 0;
        for (size_t k = 0; k < l->count; k++) squares += (double)g[k] * g[k];
        *out += sqrt(squares);
    }
    return CEL_OK;
}

static cel_status snip(const cel_probe *p, double *out) {
    *out = 0;
    for (int i = 0; i < p->n_layers; i++) {
        const cel_probe_layer *l = &p->layer[i];
        const float *g = p->gradient[0] + l->offset, *w = p->weights + l->offset;
        for (size_t k = 0; k < l->count; k++) *out += fabs((double)w[k] * g[k]);
    }
    return CEL_OK;
}

static cel_status grasp(const cel_probe *p, double *out) {
    *out = 0;
    for (int i = 0; i < p->n_layers; i++) {
        const cel_probe_layer *l = &p->layer[i];
        const float *hg = p->hessian + l->offset, *w = p->weights + l->offset;
        for (size_t k = 0; k < l->count; k++) *out -= (double)w[k] * hg[k];
    }
    return CEL_OK;
}

static cel_status fisher(const cel_probe *p, double *out) {
    int n = p->conf->shape.batch;
    *out = 0;
    for (int i = 0; i < p->n_layers; i++) {
        const cel_probe_layer *l = &p->layer[i];
        double squares = 0;
        for (size_t k = 0; k < (size_t)n * (size_t)l->channels; k++) squares += (double)l->dots[k] * l->dots[k];
        *out += 0.5 * squares / n * ((double)l->count / l->channels);
    }
    return CEL_OK;
}

const cel_proxy cel_proxy_grad_norm = {.name = "grad_norm",
                                       .title = "norm of the loss' gradient",
                                       .paper = "arXiv:2101.08134",
                                       .higher_is_better = true,
                                       .reads = CEL_READ_IMAGES | CEL_READ_GRADIENT,
                                       .score = grad_norm};
const cel_proxy cel_proxy_snip = {.name = "snip",
                                  .title = "SNIP: weights times their gradient",
                                  .paper = "arXiv:1810.02340",
                                  .higher_is_better = true,
                                  .reads = CEL_READ_IMAGES | CEL_READ_GRADIENT,
                                  .score = snip};
const cel_proxy cel_proxy_grasp = {.name = "grasp",
                                   .title = "GraSP: weights times the Hessian times the gradient",
                                   .paper = "arXiv:2002.07376",
                                   .higher_is_better = true,
                                   .reads = CEL_READ_IMAGES | CEL_READ_HESSIAN,
                                   .score = grasp};
const cel_proxy cel_proxy_fisher = {.name = "fisher",
                                    .title = "Fisher information of the channels",
                                    .paper = "arXiv:1906.04113",
                                    .higher_is_better = true,
                                    .reads = CEL_READ_IMAGES | CEL_READ_FISHER,
                                    .score = fisher};
