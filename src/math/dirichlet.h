/* The Dirichlet distribution over a row of n >= 2 concentrations, all at least 1e-150 (draws and the pathwise gradient
 * take smaller ones, also 0, as 1e-100); checked from 1e-3 to 1e4. All is pure, thread-safe, and never gives NaN.
 *
 * A draw lives on the simplex, but with small concentrations most of it is too small for a double: the functions named
 * _log take and give ln x, which always fits, and are the ones to train with. */
#ifndef CEL_MATH_DIRICHLET_H
#define CEL_MATH_DIRICHLET_H
#include <stdbool.h>

#include "base/rng.h"

/* The logarithms of a draw: finite also where the draw itself underflows; their exponentials sum to 1 up to rounding. */
void cel_dirichlet_sample_log(cel_rng *rng, const double *conc, int n, double *log_x);

/* Pathwise (implicit reparameterisation) gradient: from the gradient dx by a draw to that by the concentrations. x
 * is taken as given: 1 - x_i is what it says, also where the row does not sum to 1 exactly. */
void cel_dirichlet_pathwise(const double *conc, const double *x, int n, const double *dx, double *dconc);
/* The same from ln x (finite) and the gradient by ln x (as cel_simplex_mask_vjp gives it; dlog_x_i = x_i dx_i). */
void cel_dirichlet_pathwise_log(const double *conc, const double *log_x, int n, const double *dlog_x, double *dconc);

/* Log-density at x with respect to the first n - 1 coordinates. An entry x = 0 gives +-infinity, by its
 * concentration. */
double cel_dirichlet_log_prob(const double *conc, const double *x, int n);
double cel_dirichlet_log_prob_log(const double *conc, const double *log_x, int n);
/* Its gradient by the concentrations: psi(sum) - psi(conc_i) + ln x_i. */
void cel_dirichlet_log_prob_grad(const double *conc, const double *log_x, int n, double *dconc);

/* lgamma(sum conc) - sum lgamma(conc). */
double cel_dirichlet_log_normalizer(const double *conc, int n);
/* Entropy, and KL(Dir(conc) to Dir(1)) = -entropy - lgamma(n); gradients unless NULL. */
double cel_dirichlet_entropy(const double *conc, int n, double *dconc);
double cel_dirichlet_kl_to_ones(const double *conc, int n, double *dconc);

void cel_dirichlet_mean(const double *conc, int n, double *mean);
void cel_dirichlet_variance(const double *conc, int n, double *variance);
/* (conc - 1) / (sum - n); false, with mode untouched, unless all concentrations are above 1. */
bool cel_dirichlet_mode(const double *conc, int n, double *mode);
#endif
