/* jacob_cov: how different the network is around different images (Mellor et al., "Neural architecture search without
 * training", first version, arXiv:2006.04647v1): with v the eigenvalues of the correlations between the images' d(sum
 * of logits)/dx, -sum(log(v + k) + 1/(v + k)), k = 1e-5. */
#include <math.h>

#include "base/mem.h"
#include "math/matrix.h"
#include "math/rank_stats.h"
#include "nas/eval/proxy.h"

/* rows become their deviations from the mean over their norm; false if one is constant. */
static bool standardise(float *rows, int n, size_t length) {
    for (int i = 0; i < n; i++) {
        float *x = rows + (size_t)i * length;
        double mean = 0, squares = 0;
        for (size_t k = 0; k < length; k++) mean += x[k];
        mean /= (double)length;
        for (size_t k = 0; k < length; k++) squares += (x[k] - mean) * (x[k] - mean);
        if (!(squares > 0)) return false;
        double factor = 1 / sqrt(squares);
        for (size_t k = 0; k < length; k++) x[k] = (float)((x[k] - mean) * factor);
    }
    return true;
}

static cel_status jacob_cov(const cel_probe *p, double *out) {
    const cel_net_shape *s = &p->conf->shape;
    size_t n = (size_t)s->batch, length = (size_t)s->channels * (size_t)s->height * (size_t)s->width;
    double *gram;
    float *rows;
    *out = NAN;
    CEL_ALLOC(gram, n * n);
    rows = cel_alloc(n * length, sizeof *rows);
    cel_status status = rows ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory: jacob_cov");
    for (size_t i = 0; i < n * length && rows; i++) rows[i] = p->dinput[i];
    if (status == CEL_OK && standardise(rows, s->batch, length)) {
        cel_matrix_gram(rows, s->batch, length, gram);
        status = cel_matrix_eigenvalues(gram, s->batch);
        *out = 0;
        for (size_t i = 0; i < n && status == CEL_OK; i++) *out -= log(gram[i] + 1e-5) + 1 / (gram[i] + 1e-5);
    }
    cel_free(rows);
    cel_free(gram);
    return status;
}

const cel_proxy cel_proxy_jacob_cov = {.name = "jacob_cov",
                                       .title = "correlation of the images' Jacobians",
                                       .paper = "arXiv:2006.04647",
                                       .higher_is_better = true,
                                       .reads = CEL_READ_IMAGES | CEL_READ_INPUT_GRADIENT,
                                       .score = jacob_cov};
