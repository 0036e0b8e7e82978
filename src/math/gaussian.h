/* Softmax of a Gaussian: w = softmax(mu + sigma * eps), sigma = exp(log_sigma), eps ~ N(0, 1) entry by entry. */
#ifndef CEL_MATH_GAUSSIAN_H
#define CEL_MATH_GAUSSIAN_H
#include "base/rng.h"

void cel_gaussian_noise(cel_rng *rng, int n, double *eps);
/* w may be any of the inputs. */
void cel_gaussian_softmax(const double *mu, const double *log_sigma, const double *eps, int n, double *w);
/* From the row w and the gradient by it: gradients by mu and by ln sigma. That by sigma is dlog_sigma / sigma. */
void cel_gaussian_softmax_vjp(const double *w, const double *log_sigma, const double *eps, int n, const double *dw,
                              double *dmu, double *dlog_sigma);
/* Sum over the row of KL(N(mu, sigma^2) to N(0, 1/precision)); the gradients are written unless NULL. */
double cel_gaussian_kl(const double *mu, const double *log_sigma, int n, double precision, double *dmu,
                       double *dlog_sigma);
#endif
