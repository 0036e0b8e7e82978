/* Gamma: Marsaglia & Tsang 2000, "A simple method for generating gamma variables"; a shape below 1 is drawn as
 * Gamma(shape + 1) * U^(1/shape), whose logarithm never underflows. Beta: two gammas, Devroye 1986, IX.4. */
#include "math/variate.h"

#include <math.h>

double cel_gamma_sample_log(cel_rng *rng, double shape) {
    double boost = 0;
    shape = fmax(shape, 1e-100);
    if (shape < 1) {
        boost = log(cel_rng_uniform(rng)) / shape;
        shape += 1;
    }
    const double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double z = cel_rng_normal(rng), u = cel_rng_uniform(rng), root = 1 + c * z;
        if (root <= 0) continue;
        double cube = root * root * root, log_cube = 3 * log1p(c * z);
        if (log(u) < 0.5 * z * z + d * (1 - cube + log_cube)) return boost + log(d) + log_cube;
    }
}

void cel_beta_sample_log(cel_rng *rng, double a, double b, double *log_x, double *log_xc) {
    double p = cel_gamma_sample_log(rng, a), q = cel_gamma_sample_log(rng, b);
    double log_small = -fabs(p - q), log_sum = log1p(exp(log_small)); /* relative to the larger gamma */
    *log_x = (p < q ? log_small : 0) - log_sum;
    *log_xc = (p < q ? 0 : log_small) - log_sum;
}
