/* Gamma and beta draws in log space: no shape > 0 gives NaN, and a draw that a double cannot hold keeps its
 * logarithm. */
#ifndef CEL_MATH_VARIATE_H
#define CEL_MATH_VARIATE_H
#include "base/rng.h"

/* ln of a Gamma(shape, scale 1) draw; shapes below 1e-100 count as 1e-100. Takes a varying number of words. */
double cel_gamma_sample_log(cel_rng *rng, double shape);
/* A Beta(a, b) draw x, as ln x and ln(1 - x). */
void cel_beta_sample_log(cel_rng *rng, double a, double b, double *log_x, double *log_xc);
#endif
