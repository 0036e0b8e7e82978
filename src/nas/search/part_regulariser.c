/* Regularisers of the distributions; see part_regulariser.h. */
#include "nas/search/part_regulariser.h"

#include <math.h>

#include "math/dirichlet.h"
#include "math/gaussian.h"
#include "math/softmax.h"
#include "math/special.h"

enum { MOST = CEL_MAX_CANDIDATES };

/* The live entries of a choice, packed: their number, their places in `at`. */
static int pack(const cel_policy *policy, const cel_choice *choice, const double *x, double *row, int *at) {
    int n = 0;
    for (int i = choice->first; i < choice->first + choice->n; i++) {
        if (!policy->live[i]) continue;
        row[n] = x[i];
        at[n++] = i;
    }
    return n;
}

double cel_part_log_sum_exp(const cel_policy *policy, const double *alpha, double scale, double *grad) {
    const int n_choices = policy->choices->n;
    double sum = 0;
    for (int c = 0; c < n_choices; c++) {
        double row[MOST], p[MOST];
        int at[MOST], n = pack(policy, &policy->choices->choice[c], alpha, row, at);
        sum += cel_log_sum_exp(row, n) / n_choices;
        cel_softmax(row, n, p);
        for (int i = 0; grad && i < n; i++) grad[at[i]] += scale * p[i] / n_choices;
    }
    return sum;
}

double cel_part_kl_uniform(const cel_policy *policy, const double *alpha, double scale, double *grad) {
    double sum = 0;
    for (int c = 0; c < policy->choices->n; c++) {
        double row[MOST], log_p[MOST], divergence = 0;
        int at[MOST], n = pack(policy, &policy->choices->choice[c], alpha, row, at);
        cel_log_softmax(row, n, log_p);
        for (int i = 0; i < n; i++) divergence += exp(log_p[i]) * (log_p[i] + log((double)n));
        for (int i = 0; grad && i < n; i++)
            grad[at[i]] += scale * exp(log_p[i]) * (log_p[i] + log((double)n) - divergence);
        sum += divergence;
    }
    return sum;
}

double cel_part_kl_dirichlet(const cel_policy *policy, const double *eta, double scale, double *grad) {
    double sum = 0;
    for (int c = 0; c < policy->choices->n; c++) {
        int first = policy->choices->choice[c].first, n = policy->choices->choice[c].n;
        double conc[MOST], dconc[MOST];
        for (int i = 0; i < n; i++) conc[i] = cel_elu_concentration(eta[first + i]);
        sum += cel_dirichlet_kl_to_ones(conc, n, dconc);
        for (int i = 0; grad && i < n; i++)
            if (policy->live[first + i])
                grad[first + i] += scale * dconc[i] * cel_elu_concentration_slope(eta[first + i]);
    }
    return sum;
}

double cel_part_kl_gaussian(const cel_policy *policy, const double *mu, const double *sigma, double precision,
                            double scale, double *grad) {
    double sum = 0;
    for (int i = 0; i < policy->choices->n_entries; i++) {
        if (!policy->live[i]) continue;
        double log_sigma = log(sigma[i]), dmu, dlog_sigma;
        sum += cel_gaussian_kl(&mu[i], &log_sigma, 1, precision, &dmu, &dlog_sigma);
        if (grad) grad[i] += scale * dmu;
    }
    return sum;
}

double cel_part_ramp(const cel_at *at) { return (double)at->epoch / at->n_epochs; }
