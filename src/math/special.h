/* The gamma family in double precision, for positive real arguments, and the ELU concentration.
 *
 * All functions are pure and thread-safe. Unless said otherwise the relative error is a few 1e-15, absolute near a
 * zero. */
#ifndef CEL_MATH_SPECIAL_H
#define CEL_MATH_SPECIAL_H

double cel_lgamma(double x);
double cel_digamma(double x);
double cel_trigamma(double x);
/* psi(a + d) - psi(a) for a > 0, d >= 0, with small relative error also where the two nearly agree. */
double cel_digamma_diff(double a, double d);
/* ln of the multivariate beta function, sum lgamma(a_i) - lgamma(sum a_i), without the cancellation of large
 * arguments. */
double cel_lbeta_row(const double *a, int n);
double cel_lbeta(double a, double b);
/* Integral of s * trigamma(base + s) over s = 0 .. d, for base >= 1 and end = base + d > 0: a term of the Dirichlet's
 * divergence. d and end are both given, since either may carry digits that the other has lost. */
double cel_trigamma_moment(double base, double end, double d);

/* ELU(alpha) + 1: exp(alpha) below 0, alpha + 1 from 0 on; and its derivative, 1 at and above 0. */
double cel_elu_concentration(double alpha);
double cel_elu_concentration_slope(double alpha);
#endif
