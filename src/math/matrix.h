/* Small dense symmetric matrices, row-major doubles. */
#ifndef CEL_MATH_MATRIX_H
#define CEL_MATH_MATRIX_H
#include "cellar/status.h"

/* gram[i][j] = sum_k rows[i][k] rows[j][k], n x n. */
void cel_matrix_gram(const float *rows, int n, size_t length, double *gram);
/* The eigenvalues of the symmetric n x n matrix a, ascending, into a[0 .. n-1]; the rest of a is lost. CEL_DIVERGED
 * when an element is not finite. */
cel_status cel_matrix_eigenvalues(double *a, int n);
/* log |det a| of the n x n matrix a, which is lost; -INFINITY when it is singular. */
double cel_matrix_log_abs_det(double *a, int n);
#endif
