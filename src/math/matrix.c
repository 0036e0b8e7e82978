/* Eigenvalues by Jacobi's rotations (Golub and Van Loan, Matrix Computations, section 8.5), the determinant by
 * elimination with row pivots. */
#include "math/matrix.h"

#include <math.h>
#include <stdlib.h>

void cel_matrix_gram(const float *rows, int n, size_t length, double *gram) {
    enum { BLOCK = 2048 }; /* of two rows that stay in the cache */
    for (int i = 0; i < n * n; i++) gram[i] = 0;
    for (size_t first = 0; first < length; first += BLOCK) {
        size_t last = first + BLOCK < length ? first + BLOCK : length;
        for (int i = 0; i < n; i++)
            for (int j = 0; j <= i; j++) {
                const float *x = rows + (size_t)i * length, *y = rows + (size_t)j * length;
                double sum[8] = {0};
                size_t k = first;
                for (; k + 8 <= last; k += 8)
                    for (size_t l = 0; l < 8; l++) sum[l] += (double)x[k + l] * y[k + l];
                for (; k < last; k++) sum[0] += (double)x[k] * y[k];
                gram[i * n + j] += ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
            }
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) gram[j * n + i] = gram[i * n + j];
}

/* Makes a[p][q] zero. */
static void rotate(double *a, int n, int p, int q) {
    double apq = a[p * n + q];
    if (apq == 0) return;
    double theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
    double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + hypot(theta, 1)), c = 1 / hypot(t, 1), s = t * c;
    for (int k = 0; k < n; k++) {
        double x = a[k * n + p], y = a[k * n + q];
        a[k * n + p] = c * x - s * y;
        a[k * n + q] = s * x + c * y;
    }
    for (int k = 0; k < n; k++) {
        double x = a[p * n + k], y = a[q * n + k];
        a[p * n + k] = c * x - s * y;
        a[q * n + k] = s * x + c * y;
    }
    a[p * n + q] = a[q * n + p] = 0;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

cel_status cel_matrix_eigenvalues(double *a, int n) {
    enum { MOST_SWEEPS = 60 };
    for (int i = 0; i < n * n; i++)
        if (!isfinite(a[i]))
            return CEL_FAIL(CEL_DIVERGED, "eigenvalues: element (%d, %d) of the matrix is %g, expected a finite number",
                            i / n, i % n, a[i]);
    for (int sweep = 0; sweep < MOST_SWEEPS; sweep++) {
        double off = 0, all = 0;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                all += a[i * n + j] * a[i * n + j];
                if (i != j) off += a[i * n + j] * a[i * n + j];
            }
        if (off <= 1e-32 * all) break;
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++) rotate(a, n, p, q);
    }
    for (int i = 0; i < n; i++) a[i] = a[i * n + i];
    qsort(a, (size_t)n, sizeof *a, ascending);
    return CEL_OK;
}

double cel_matrix_log_abs_det(double *a, int n) {
    double log_det = 0;
    for (int k = 0; k < n; k++) {
        int pivot = k;
        for (int i = k + 1; i < n; i++)
            if (fabs(a[i * n + k]) > fabs(a[pivot * n + k])) pivot = i;
        double top = a[pivot * n + k];
        if (top == 0) return -INFINITY;
        for (int j = k; j < n && pivot != k; j++) {
            double swap = a[k * n + j];
            a[k * n + j] = a[pivot * n + j];
            a[pivot * n + j] = swap;
        }
        log_det += log(fabs(top));
        for (int i = k + 1; i < n; i++) {
            double factor = a[i * n + k] / top;
            for (int j = k; j < n; j++) a[i * n + j] -= factor * a[k * n + j];
        }
    }
    return log_det;
}
