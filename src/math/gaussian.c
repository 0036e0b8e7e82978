/* Reparameterised Gaussian over architecture weights: the distribution of BaLeNAS, whose prior N(0, 1/precision) is
 * that of Vadam (Khan et al. 2018, arXiv:1806.04854). */
#include "math/gaussian.h"

#include <math.h>

#include "math/softmax.h"

void cel_gaussian_noise(cel_rng *rng, int n, double *eps) {
    for (int i = 0; i < n; i++) eps[i] = cel_rng_normal(rng);
}

void cel_gaussian_softmax(const double *mu, const double *log_sigma, const double *eps, int n, double *w) {
    for (int i = 0; i < n; i++) w[i] = mu[i] + exp(log_sigma[i]) * eps[i];
    cel_softmax(w, n, w);
}

void cel_gaussian_softmax_vjp(const double *w, const double *log_sigma, const double *eps, int n, const double *dw,
                              double *dmu, double *dlog_sigma) {
    cel_softmax_vjp(w, n, dw, dmu);
    for (int i = 0; i < n; i++) dlog_sigma[i] = dmu[i] * eps[i] * exp(log_sigma[i]);
}

/* exp(u) - 1 - u, which near 0 is much smaller than its parts. */
static double expm1_rest(double u) {
    if (fabs(u) > 0.5) return expm1(u) - u;
    double term = u * u / 2, sum = 0;
    for (int k = 3; fabs(term) > 1e-18 * fabs(sum); k++) {
        sum += term;
        term *= u / k;
    }
    return sum;
}

double cel_gaussian_kl(const double *mu, const double *log_sigma, int n, double precision, double *dmu,
                       double *dlog_sigma) {
    double sum = 0, log_precision = log(precision);
    for (int i = 0; i < n; i++) {
        double u = 2 * log_sigma[i] + log_precision; /* ln(precision * sigma^2) */
        sum += 0.5 * (precision * mu[i] * mu[i] + expm1_rest(u));
        if (dmu) dmu[i] = precision * mu[i];
        if (dlog_sigma) dlog_sigma[i] = expm1(u);
    }
    return sum;
}
