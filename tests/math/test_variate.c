/* Gamma and beta draws against their distribution functions, for shapes from 1e-3 to 1e4 on fixed seeds. */
#include "math/variate.h"

#include "math/beta.h"
#include "math/special.h"
#include "support/test.h"

enum { DRAWS = 4000 };
static double p[DRAWS];

/* P(shape, e^log_x): the series, or Legendre's continued fraction for the complement. */
static double gamma_cdf(double shape, double log_x) {
    double x = exp(log_x), front = exp(shape * log_x - x - cel_lgamma(shape + 1));
    if (x < shape + 1) {
        double term = 1, sum = 1;
        for (double k = shape + 1; term > 1e-17 * sum; k++) sum += term *= x / k;
        return front * sum;
    }
    double b = x + 1 - shape, c = 1e300, d = 1 / b, h = d;
    for (int i = 1; i < 10000; i++) {
        double an = -i * (i - shape);
        b += 2;
        d = 1 / (an * d + b);
        c = b + an / c;
        h *= d * c;
        if (fabs(d * c - 1) < 1e-15) break;
    }
    return 1 - front * shape * h;
}

static int by_value(const void *a, const void *b) {
    double u = *(const double *)a, v = *(const double *)b;
    return (u > v) - (u < v);
}

/* sqrt(n) D > 1.95 has probability 1e-3. */
static void assert_uniform(const char *what, double a, double b) {
    double worst = 0;
    qsort(p, DRAWS, sizeof *p, by_value);
    for (int i = 0; i < DRAWS; i++) worst = fmax(worst, fmax((i + 1.0) / DRAWS - p[i], p[i] - (double)i / DRAWS));
    if (worst * sqrt(DRAWS) > 1.95) fail_msg("%s(%g, %g): sqrt(n) D = %g", what, a, b, worst * sqrt(DRAWS));
}

static void gamma_draws(void **state) {
    (void)state;
    const double shapes[] = {1e-3, 0.03, 0.5, 0.999, 1, 1.7, 9, 250, 1e4};
    test_close(gamma_cdf(1, log(2)), -expm1(-2), 1e-14, 0, "exponential, continued fraction");
    test_close(gamma_cdf(1, log(0.3)), -expm1(-0.3), 1e-14, 0, "exponential, series");
    test_close(gamma_cdf(0.5, log(0.7)), erf(sqrt(0.7)), 1e-14, 0, "half");
    for (int s = 0; s < 9; s++) {
        cel_rng rng = cel_rng_at(19, "gamma", (uint64_t)s, 0);
        for (int i = 0; i < DRAWS; i++) p[i] = gamma_cdf(shapes[s], cel_gamma_sample_log(&rng, shapes[s]));
        assert_uniform("gamma", shapes[s], 0);
    }
}

static void beta_draws(void **state) {
    (void)state;
    const double shapes[] = {1e-3, 0.2, 1, 8, 1e4};
    for (int a = 0; a < 5; a++)
        for (int b = 0; b < 5; b++) {
            cel_rng rng = cel_rng_at(23, "beta", (uint64_t)a, (uint64_t)b);
            for (int i = 0; i < DRAWS; i++) {
                double log_x, log_xc;
                cel_beta_sample_log(&rng, shapes[a], shapes[b], &log_x, &log_xc);
                assert_true(isfinite(log_x) && isfinite(log_xc));
                assert_true(fabs(exp(log_x) + exp(log_xc) - 1) < 4e-16);
                p[i] = cel_beta_cdf_log(shapes[a], shapes[b], log_x, log_xc);
            }
            assert_uniform("beta", shapes[a], shapes[b]);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gamma_draws), cmocka_unit_test(beta_draws)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
