/* NASWOT: how many different linear regions a batch falls into (Mellor et al., "Neural architecture search without
 * training", ICML 2021, arXiv:2006.04647): log |det K|, K_ij = the number of ReLU units in which images i and j
 * agree, every ReLU of the network counted, those of dead branches too. The authors' code runs a backward pass to
 * leave out ReLUs that nothing reaches; NASLib does not, nor does this. */
#include <math.h>

#include "base/mem.h"
#include "math/matrix.h"
#include "nas/eval/agree.h"
#include "nas/eval/proxy.h"

static cel_status naswot(const cel_probe *p, double *out) {
    int n = p->conf->shape.batch;
    double *kernel;
    CEL_ALLOC(kernel, (size_t)n * (size_t)n);
    for (int i = 0; i < p->n_codes; i++) {
        const cel_probe_code *c = &p->code[i];
        CEL_EVAL_KERNEL(cel_agreement)(c->bits, n, c->words, c->units, c->times, kernel);
    }
    *out = cel_matrix_log_abs_det(kernel, n);
    if (!isfinite(*out)) *out = NAN;
    cel_free(kernel);
    return CEL_OK;
}

const cel_proxy cel_proxy_naswot = {.name = "naswot",
                                    .title = "NASWOT: different regions of a batch",
                                    .paper = "arXiv:2006.04647",
                                    .higher_is_better = true,
                                    .reads = CEL_READ_IMAGES | CEL_READ_CODES,
                                    .score = naswot};
