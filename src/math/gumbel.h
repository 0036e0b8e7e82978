/* Gumbel softmax (the Concrete distribution), its hard straight-through form, and plain categorical draws.
 *
 * Rows have n >= 1 entries; outputs may be inputs. */
#ifndef CEL_MATH_GUMBEL_H
#define CEL_MATH_GUMBEL_H
#include "base/rng.h"

/* Standard Gumbel noise, -ln(-ln U); always finite. */
void cel_gumbel_noise(cel_rng *rng, int n, double *noise);
/* w = softmax((alpha + noise) / tau), tau > 0. The temperature may be as small as one likes: w ends as one-hot. */
void cel_gumbel_softmax(const double *alpha, const double *noise, int n, double tau, double *w);
void cel_gumbel_softmax_vjp(const double *w, int n, double tau, const double *dw, double *dalpha);
void cel_gumbel_softmax_jvp(const double *w, int n, double tau, const double *alpha_dot, double *w_dot);

/* Straight-through: the forward value is the one-hot row `hard` of the largest log_softmax(alpha) + noise, whose
 * index is returned; `soft` gets softmax((log_softmax(alpha) + noise) / tau). The backward pass treats hard as soft:
 * cel_gumbel_softmax_vjp(soft, ...) is the gradient by alpha. */
int cel_gumbel_hard(const double *alpha, const double *noise, int n, double tau, double *hard, double *soft);

/* An index with probabilities softmax(alpha); one uniform number. */
int cel_categorical_sample(cel_rng *rng, const double *alpha, int n);
/* ln p(index), and its gradient by alpha (the score function) unless NULL. dalpha must not be alpha. */
double cel_categorical_log_prob(const double *alpha, int n, int index, double *dalpha);
#endif
