/* Softmax of a row, and a simplex row restricted to a mask; values and derivatives.
 *
 * Rows have n >= 1 entries; every output may be the same array as any input. "vjp" turns the gradient by the output
 * into the gradient by the input, "jvp" a change of the input into that of the output. */
#ifndef CEL_MATH_SOFTMAX_H
#define CEL_MATH_SOFTMAX_H
#include <stdbool.h>

/* ln sum exp(a_i). */
double cel_log_sum_exp(const double *a, int n);
void cel_softmax(const double *alpha, int n, double *w);
/* w is the softmax itself, dw the gradient by it. The Jacobian is symmetric: this is its product with a tangent, too. */
void cel_softmax_vjp(const double *w, int n, const double *dw, double *dalpha);
void cel_log_softmax(const double *alpha, int n, double *log_w);
void cel_log_softmax_vjp(const double *log_w, int n, const double *dlog_w, double *dalpha);
/* The first of the largest entries. */
int cel_argmax(const double *a, int n);

/* A simplex row whose masked-out entries become 0 and whose others are scaled to the sum 1. The row comes as
 * logarithms (an entry may have underflowed as a number); at least one kept entry must be finite. mask NULL keeps
 * all. */
void cel_simplex_mask(const double *log_x, const bool *mask, int n, double *w);
/* Gradient by the entries of log_x, from w = the masked row; always finite, sums to 0, is 0 where masked out. The
 * gradient by x_i itself is dlog_x_i / x_i. */
void cel_simplex_mask_vjp(const double *w, int n, const double *dw, double *dlog_x);
#endif
