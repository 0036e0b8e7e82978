/* Maddison, Mnih & Teh 2017 (arXiv:1611.00712); Jang, Gu & Poole 2017 (arXiv:1611.01144), straight-through
 * section 2.2. GDAS (arXiv:1910.04465) and SNAS (arXiv:1812.09926) draw their operations so.
 *
 * One-hot is written as such: the authors' onehot - p + p leaves rounding noise in the entries that are 0. */
#include "math/gumbel.h"

#include <math.h>

#include "math/softmax.h"

void cel_gumbel_noise(cel_rng *rng, int n, double *noise) {
    for (int i = 0; i < n; i++) noise[i] = -log(-log(cel_rng_uniform(rng)));
}

static void scaled_softmax(double *logit, int n, double tau) {
    double top = logit[cel_argmax(logit, n)]; /* subtracted before the division, which could overflow */
    for (int i = 0; i < n; i++) logit[i] = (logit[i] - top) / tau;
    cel_softmax(logit, n, logit);
}

void cel_gumbel_softmax(const double *alpha, const double *noise, int n, double tau, double *w) {
    for (int i = 0; i < n; i++) w[i] = alpha[i] + noise[i];
    scaled_softmax(w, n, tau);
}

void cel_gumbel_softmax_vjp(const double *w, int n, double tau, const double *dw, double *dalpha) {
    cel_softmax_vjp(w, n, dw, dalpha);
    for (int i = 0; i < n; i++) dalpha[i] /= tau;
}

void cel_gumbel_softmax_jvp(const double *w, int n, double tau, const double *alpha_dot, double *w_dot) {
    cel_gumbel_softmax_vjp(w, n, tau, alpha_dot, w_dot);
}

int cel_gumbel_hard(const double *alpha, const double *noise, int n, double tau, double *hard, double *soft) {
    double norm = cel_log_sum_exp(alpha, n);
    for (int i = 0; i < n; i++) soft[i] = alpha[i] - norm + noise[i];
    int index = cel_argmax(soft, n);
    scaled_softmax(soft, n, tau);
    for (int i = 0; i < n; i++) hard[i] = i == index;
    return index;
}

int cel_categorical_sample(cel_rng *rng, const double *alpha, int n) {
    double norm = cel_log_sum_exp(alpha, n), u = cel_rng_uniform(rng);
    int last = 0;
    for (int i = 0; i < n; i++) {
        double p = exp(alpha[i] - norm);
        if (p > 0) last = i; /* rounding may leave u above the whole sum: then the last possible entry */
        if (u < p) return i;
        u -= p;
    }
    return last;
}

double cel_categorical_log_prob(const double *alpha, int n, int index, double *dalpha) {
    double norm = cel_log_sum_exp(alpha, n);
    if (dalpha)
        for (int i = 0; i < n; i++) dalpha[i] = (i == index) - exp(alpha[i] - norm);
    return alpha[index] - norm;
}
