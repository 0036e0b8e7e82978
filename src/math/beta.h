/* The Beta(a, b) distribution: distribution function, its derivative by a, and the pathwise derivative of a draw.
 *
 * A point is given by x and xc = 1 - x, both >= 0: near an end of the interval one of the two carries the digits.
 * Valid for a and b in 1e-100 .. 1e8; checked to 1e-11 relative from 1e-3 to 1e4, for any point including 0, 1 and
 * underflowing x. */
#ifndef CEL_MATH_BETA_H
#define CEL_MATH_BETA_H

/* I_x(a, b), the probability of a draw below x. */
double cel_beta_cdf(double a, double b, double x, double xc);
/* The same from ln x and ln(1 - x), for points that no double holds. */
double cel_beta_cdf_log(double a, double b, double log_x, double log_xc);
/* dI_x(a, b)/da; never positive. */
double cel_beta_cdf_da(double a, double b, double x, double xc);
/* dx/da at fixed probability, -(dI_x/da) / pdf: how a draw moves with a (implicit reparameterisation). Never
 * negative. */
double cel_beta_dxda(double a, double b, double x, double xc);
/* The same over x * (1 - x), from ln x and ln(1 - x): stays finite and positive when x or 1 - x underflows. This is
 * d logit(x) / da. */
double cel_beta_logit_da(double a, double b, double log_x, double log_xc);
#endif
