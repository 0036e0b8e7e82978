/* Eigenvalues and determinants against matrices whose own are known. */
#include "support/test.h"

#include "base/rng.h"
#include "math/matrix.h"

enum { MOST = 24 };

/* Q diag(values) Q^T for a product Q of random reflections. */
static void with_eigenvalues(const double *values, int n, double *a) {
    double q[MOST * MOST] = {0};
    cel_rng rng = cel_rng_at(5, "matrix", (uint64_t)n, 0);
    for (int i = 0; i < n; i++) q[i * n + i] = 1;
    for (int k = 0; k < n; k++) {
        double v[MOST], norm = 0;
        for (int i = 0; i < n; i++) {
            v[i] = cel_rng_normal(&rng);
            norm += v[i] * v[i];
        }
        for (int i = 0; i < n; i++) {
            double dot = 0;
            for (int j = 0; j < n; j++) dot += q[i * n + j] * v[j];
            for (int j = 0; j < n; j++) q[i * n + j] -= 2 * dot * v[j] / norm;
        }
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            a[i * n + j] = 0;
            for (int k = 0; k < n; k++) a[i * n + j] += q[i * n + k] * values[k] * q[j * n + k];
        }
}

static void eigenvalues_are_found(void **state) {
    (void)state;
    for (int n = 1; n <= MOST; n++) {
        double values[MOST], a[MOST * MOST], logs = 0;
        for (int i = 0; i < n; i++) values[i] = pow(10, -6 + 9.0 * i / n) * (i % 5 == 3 ? -1 : 1);
        for (int i = 0; i < n; i++)
            for (int j = i + 1; j < n; j++)
                if (values[j] < values[i]) {
                    double swap = values[i];
                    values[i] = values[j];
                    values[j] = swap;
                }
        for (int i = 0; i < n; i++) logs += log(fabs(values[i]));
        with_eigenvalues(values, n, a);
        double copy[MOST * MOST];
        memcpy(copy, a, sizeof copy);
        test_ok(cel_matrix_eigenvalues(a, n));
        for (int i = 0; i < n; i++) test_close(a[i], values[i], 1e-9, 1e-11, "eigenvalue");
        test_close(cel_matrix_log_abs_det(copy, n), logs, 1e-8, 1e-6, "log |det|");
    }
}

static void singular_and_broken(void **state) {
    (void)state;
    double a[] = {1, 2, 2, 4}, b[] = {1, NAN, NAN, 1}, c[] = {0, 3, 2, 0};
    assert_true(cel_matrix_log_abs_det(a, 2) < -30);
    test_close(cel_matrix_log_abs_det(c, 2), log(6), 1e-14, 0, "pivoted");
    double zero[] = {0, 0, 0, 0};
    assert_true(isinf(cel_matrix_log_abs_det(zero, 2)));
    test_fails(cel_matrix_eigenvalues(b, 2), CEL_DIVERGED, "element (0, 1)");
}

static void gram_is_the_products(void **state) {
    (void)state;
    enum { N = 5, LENGTH = 5003 };
    float *rows = test_calloc(N * LENGTH, sizeof *rows);
    double gram[N * N];
    cel_rng rng = cel_rng_at(6, "gram", 0, 0);
    for (int i = 0; i < N * LENGTH; i++) rows[i] = (float)cel_rng_normal(&rng);
    cel_matrix_gram(rows, N, LENGTH, gram);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < LENGTH; k++) sum += (double)rows[i * LENGTH + k] * rows[j * LENGTH + k];
            test_close(gram[i * N + j], sum, 1e-12, 1e-9, "product");
        }
    test_free(rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(eigenvalues_are_found), cmocka_unit_test(singular_and_broken),
                                       cmocka_unit_test(gram_is_the_products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
