/* The largest eigenvalue of a Hessian, of functions whose Hessian is known. */
#include "math/curvature.h"

#include "math/softmax.h"
#include "support/test.h"

enum { N = 5 };

/* f = x' H x / 2 + sum cubic x_i^3: Q diag(e) Q' with Q a reflection, so the eigenvalues are e where x = 0. */
typedef struct known {
    double h[N][N], cubic;
    int calls, fail_at;
} known;

static known of_eigenvalues(const double e[N]) {
    known f = {.cubic = 0};
    double u[N] = {0.3, -0.5, 0.4, 0.6, 0}, norm = 0;
    for (int i = 0; i < N; i++) norm += u[i] * u[i];
    u[4] = sqrt(1 - norm);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            for (int k = 0; k < N; k++) f.h[i][j] += ((i == k) - 2 * u[i] * u[k]) * e[k] * ((j == k) - 2 * u[j] * u[k]);
    return f;
}

static cel_status gradient(void *ctx, const double *x, double *g) {
    known *f = ctx;
    if (++f->calls == f->fail_at) return CEL_FAIL(CEL_IO, "the gradient's own");
    for (int i = 0; i < N; i++) {
        g[i] = 3 * f->cubic * x[i] * x[i];
        for (int j = 0; j < N; j++) g[i] += f->h[i][j] * x[j];
    }
    return CEL_OK;
}

static double top(known *f, double x[N], int iterations) {
    double work[4 * N], eigenvalue, before[N];
    cel_curvature c = {N, 1e-2, iterations, 1e-12, work};
    memcpy(before, x, sizeof before);
    test_ok(cel_curvature_top(&c, x, gradient, f, cel_rng_at(1, "test", 0, 0), &eigenvalue));
    assert_memory_equal(x, before, sizeof before);
    return eigenvalue;
}

static void known_hessians(void **state) {
    (void)state;
    static const double eigenvalues[][N] = {
        {3, 1, 0.5, 0.1, -1}, {1, 0.5, -4, 0, -2}, {-1, -2, -0.5, -3, -4}, {0.7, 0.7, 0.7, 0.7, 0.7}};
    static const double largest[] = {3, 1, -0.5, 0.7};
    for (int k = 0; k < 4; k++) {
        known f = of_eigenvalues(eigenvalues[k]);
        double x[N] = {0.4, -0.2, 1, 0.3, -2};
        test_close(top(&f, x, 2000), largest[k], 1e-6, 0, "largest eigenvalue");
    }
    known flat = {.cubic = 0};
    double x[N] = {1};
    test_close(top(&flat, x, 100), 0, 0, 1e-300, "a flat function");
}

/* The third derivative falls out of the central difference: at x the Hessian of the cubic part is 6 cubic x. */
static void away_from_the_middle(void **state) {
    (void)state;
    static const double zero[N];
    known f = of_eigenvalues(zero);
    f.cubic = 0.5;
    double x[N] = {1, 2, -3, 0.5, 0};
    test_close(top(&f, x, 5000), 6, 1e-6, 0, "largest eigenvalue");
}

/* More iterations than needed are not made; the same start gives the same bits. */
static void stops_early(void **state) {
    (void)state;
    static const double apart[N] = {10, 0.1, 0.1, -0.1, 0};
    known f = of_eigenvalues(apart), g = f;
    double x[N] = {0};
    double a = top(&f, x, 1000), b = top(&g, x, 1000);
    assert_true(a == b && f.calls == g.calls && f.calls < 40);
}

/* Softmax of one row: f = <c, softmax(a)> has the Hessian of which DARTS' collapse is told; against differences of f. */
static cel_status softmax_gradient(void *ctx, const double *a, double *g) {
    double w[3];
    cel_softmax(a, 3, w);
    cel_softmax_vjp(w, 3, ctx, g);
    return CEL_OK;
}

static void softmax_row(void **state) {
    (void)state;
    double c[3] = {1, -2, 0.5}, a[3] = {0.2, -0.1, 0.4}, work[12], got, want = -HUGE_VAL;
    cel_curvature conf = {3, 1e-4, 5000, 1e-13, work};
    test_ok(cel_curvature_top(&conf, a, softmax_gradient, c, cel_rng_at(1, "test", 0, 0), &got));
    /* H = sum_o c_o w_o ((e_o - w)(e_o - w)' - diag(w) + w w'): its largest value over a grid of directions of the sphere */
    double w[3], h[3][3] = {{0}};
    cel_softmax(a, 3, w);
    for (int o = 0; o < 3; o++)
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                h[i][j] += c[o] * w[o] * (((o == i) - w[i]) * ((o == j) - w[j]) - (i == j) * w[i] + w[i] * w[j]);
    for (int p = 0; p < 2000; p++)
        for (int q = 0; q < 1000; q++) {
            double phi = p * 3.141592653589793 / 2000, z = q / 1000.0, r = sqrt(1 - z * z), value = 0;
            double v[2][3] = {{r * cos(phi), r * sin(phi), z}, {r * cos(phi), r * sin(phi), -z}};
            for (int s = 0; s < 2; s++, value = 0) {
                for (int i = 0; i < 3; i++)
                    for (int j = 0; j < 3; j++) value += v[s][i] * h[i][j] * v[s][j];
                want = fmax(want, value);
            }
        }
    test_close(got, want, 1e-5, 0, "largest eigenvalue");
}

static void failures(void **state) {
    (void)state;
    static const double e[N] = {1, 2, 3, 4, 5};
    known f = of_eigenvalues(e);
    double x[N] = {0}, work[4 * N], eigenvalue;
    cel_curvature c = {N, 1e-2, 10, 1e-6, work};
    f.fail_at = 4;
    test_fails(cel_curvature_top(&c, x, gradient, &f, cel_rng_at(1, "test", 0, 0), &eigenvalue), CEL_IO, "own");
    f = of_eigenvalues(e);
    f.h[2][2] = INFINITY;
    test_fails(cel_curvature_top(&c, x, gradient, &f, cel_rng_at(1, "test", 0, 0), &eigenvalue), CEL_DIVERGED,
               "element 2");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_hessians), cmocka_unit_test(away_from_the_middle),
                                       cmocka_unit_test(stops_early), cmocka_unit_test(softmax_row),
                                       cmocka_unit_test(failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
