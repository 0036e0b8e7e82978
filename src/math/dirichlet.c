/* Dirichlet distribution, the one DrNAS learns (Chen et al. 2021, arXiv:2006.10355).
 *
 * Draws are normalised gammas in log space. The pathwise gradient is that of the stick that splits one coordinate from
 * the rest, x_j ~ Beta(a_j, A - a_j), the others scaled to fit (Jankowiak & Obermeyer 2018, arXiv:1806.01851):
 *
 *     dx_i/da_j = D_j (delta_ij - x_i) / (1 - x_j),   D_j = dx_j/da_j of that Beta.
 *
 * The authors' code relies on PyTorch's approximation of D_j (relative error up to 8e-4); here it is
 * exact to rounding. */
#include "math/dirichlet.h"

#include <math.h>

#include "math/beta.h"
#include "math/softmax.h"
#include "math/special.h"
#include "math/variate.h"

static double floored(double conc) { return fmax(conc, 1e-100); }

/* The sum of all but one: the whole sum minus that one would lose the digits of small neighbours. */
static double sum_others(const double *conc, int n, int skip) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        if (i != skip) sum += floored(conc[i]);
    return sum;
}

static double sum_all(const double *conc, int n) { return sum_others(conc, n, -1); }

/* sum conc - n, from the small differences. */
static double sum_above_one(const double *conc, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += conc[i] - 1;
    return sum;
}

void cel_dirichlet_sample_log(cel_rng *rng, const double *conc, int n, double *log_x) {
    for (int i = 0; i < n; i++) log_x[i] = cel_gamma_sample_log(rng, conc[i]);
    cel_log_softmax(log_x, n, log_x);
}

/* Neumaier's compensated sum of 1 - x_0 - x_1 - ..: what the row lacks to 1, exact to its last digit. */
static double lack(const double *x, int n) {
    double sum = 1, rest = 0;
    for (int i = 0; i < n; i++) {
        double next = sum - x[i];
        rest += fabs(sum) >= fabs(x[i]) ? (sum - next) - x[i] : (-x[i] - next) + sum;
        sum = next;
    }
    return sum + rest;
}

/* With R_j = D_j / (x_j (1 - x_j)) the gradient is R_j x_j (dx_j - sum x_i dx_i), in which nothing is divided by 1 -
 * x_j. */
void cel_dirichlet_pathwise(const double *conc, const double *x, int n, const double *dx, double *dconc) {
    double missing = lack(x, n);
    for (int j = 0; j < n; j++) {
        double pull = missing * dx[j]; /* dx_j - sum x_i dx_i */
        for (int i = 0; i < n; i++) pull += x[i] * (dx[j] - dx[i]);
        double log_x = x[j] < 0.5 ? log(x[j]) : log1p(x[j] - 1), log_xc = log1p(-x[j]);
        dconc[j] =
            x[j] > 0 ? cel_beta_logit_da(floored(conc[j]), sum_others(conc, n, j), log_x, log_xc) * x[j] * pull : 0;
    }
}

void cel_dirichlet_pathwise_log(const double *conc, const double *log_x, int n, const double *dlog_x, double *dconc) {
    for (int j = 0; j < n; j++) {
        double x = exp(log_x[j]), top = -INFINITY, rest = 0, sum = 0;
        for (int i = 0; i < n; i++)
            if (i != j) top = fmax(top, log_x[i]);
        for (int i = 0; i < n; i++)
            if (i != j) {
                rest += exp(log_x[i] - top);
                sum += dlog_x[i];
            }
        /* ln(1 - x_j): of the others when they are the smaller part, and x_j then follows from them */
        double log_rest = x < 0.5 ? log1p(-x) : top + log(rest), log_self = x < 0.5 ? log_x[j] : log1p(-exp(log_rest));
        double pull = dlog_x[j] * exp(log_rest) - x * sum; /* dlog_x_j - x_j * sum of all dlog_x */
        dconc[j] = cel_beta_logit_da(floored(conc[j]), sum_others(conc, n, j), log_self, log_rest) * pull;
    }
}

double cel_dirichlet_log_normalizer(const double *conc, int n) { return -cel_lbeta_row(conc, n); }

double cel_dirichlet_log_prob_log(const double *conc, const double *log_x, int n) {
    double sum = cel_dirichlet_log_normalizer(conc, n);
    for (int i = 0; i < n; i++)
        if (conc[i] != 1) sum += (conc[i] - 1) * log_x[i];
    return sum;
}

double cel_dirichlet_log_prob(const double *conc, const double *x, int n) {
    double sum = cel_dirichlet_log_normalizer(conc, n);
    for (int i = 0; i < n; i++)
        if (conc[i] != 1) sum += (conc[i] - 1) * log(x[i]);
    return sum;
}

void cel_dirichlet_log_prob_grad(const double *conc, const double *log_x, int n, double *dconc) {
    for (int i = 0; i < n; i++) dconc[i] = cel_digamma_diff(conc[i], sum_others(conc, n, i)) + log_x[i];
}

/* KL = sum over entries of M(1, conc - 1), minus M(n, sum - n), with M(c, d) the integral of s psi'(c + s) from 0 to
 * d: the textbook form with the lgammas expanded around the all-ones row, where it would be a difference of large
 * numbers. */
double cel_dirichlet_kl_to_ones(const double *conc, int n, double *dconc) {
    double above = sum_above_one(conc, n), total = sum_all(conc, n), shared = above * cel_trigamma(total);
    double kl = -cel_trigamma_moment(n, total, above);
    for (int i = 0; i < n; i++) {
        kl += cel_trigamma_moment(1, conc[i], conc[i] - 1);
        if (dconc) dconc[i] = (conc[i] - 1) * cel_trigamma(conc[i]) - shared;
    }
    return kl;
}

double cel_dirichlet_entropy(const double *conc, int n, double *dconc) {
    double entropy = cel_lbeta_row(conc, n), shared = sum_above_one(conc, n) * cel_trigamma(sum_all(conc, n));
    for (int i = 0; i < n; i++) {
        entropy += (conc[i] - 1) * cel_digamma_diff(conc[i], sum_others(conc, n, i));
        if (dconc) dconc[i] = shared - (conc[i] - 1) * cel_trigamma(conc[i]);
    }
    return entropy;
}

void cel_dirichlet_mean(const double *conc, int n, double *mean) {
    double total = sum_all(conc, n);
    for (int i = 0; i < n; i++) mean[i] = conc[i] / total;
}

void cel_dirichlet_variance(const double *conc, int n, double *variance) {
    double total = sum_all(conc, n);
    for (int i = 0; i < n; i++) variance[i] = conc[i] / total * (sum_others(conc, n, i) / total) / (total + 1);
}

bool cel_dirichlet_mode(const double *conc, int n, double *mode) {
    for (int i = 0; i < n; i++)
        if (!(conc[i] > 1)) return false;
    double above = sum_above_one(conc, n);
    for (int i = 0; i < n; i++) mode[i] = (conc[i] - 1) / above;
    return true;
}
