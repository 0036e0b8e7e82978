/* Student's t, the normal distribution, and the range of normal numbers: what intervals and tests go by.
 *
 * Pure and thread-safe. Distribution functions are good to 1e-12, quantiles to 1e-10 relative. */
#ifndef CEL_MATH_STUDENT_H
#define CEL_MATH_STUDENT_H

double cel_normal_cdf(double z);
/* P(T <= t) for df > 0 degrees of freedom; t may be infinite. */
double cel_student_cdf(double t, double df);
/* P(|T| >= |t|). */
double cel_student_two_sided(double t, double df);
/* The t with P(T <= t) = p, 0 < p < 1. */
double cel_student_quantile(double p, double df);
/* P(largest - smallest <= q) of k >= 2 independent standard normal numbers: the studentised range with infinitely many
 * degrees of freedom; and its quantile, 0 < p < 1. */
double cel_normal_range_cdf(double q, int k);
double cel_normal_range_quantile(double p, int k);
#endif
