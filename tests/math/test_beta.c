/* Beta distribution function and the pathwise derivative: golden rows over the whole range, identities, the ends. */
#include "math/beta.h"

#include "math/special.h"
#include "math/variate.h"
#include "support/test.h"

static void compare(const char *file) {
    test_csv *csv = test_csv_open(file);
    for (int r = 0; r < csv->n_rows; r++) {
        double a = test_csv_number(csv, r, "a"), b = test_csv_number(csv, r, "b"), x = test_csv_number(csv, r, "x");
        test_close(cel_beta_dxda(a, b, x, 1 - x), test_csv_number(csv, r, "exact_dxda"), 2e-13, 0, "dx/da");
    }
    test_csv_close(csv);
}

static void pathwise_matches_golden(void **state) {
    (void)state;
    compare("golden/beta_pathwise_wide.csv");
    compare("golden/beta_pathwise_corners.csv");
}

static void cdf_has_its_closed_forms(void **state) {
    (void)state;
    for (double x = 0.01; x < 1; x += 0.07)
        for (double s = 1e-3; s < 2e4; s *= 10) {
            double power = exp(s * log(x)); /* I_x(s, 1) = x^s, I_x(1, s) = 1 - (1 - x)^s, dI_x(s, 1)/ds = x^s ln x */
            test_close(cel_beta_cdf(s, 1, x, 1 - x), power, 1e-12, 1e-15, "I_x(s, 1)");
            test_close(cel_beta_cdf(1, s, x, 1 - x), -expm1(s * log1p(-x)), 1e-12, 1e-15, "I_x(1, s)");
            test_close(cel_beta_cdf_da(s, 1, x, 1 - x), power * log(x), 1e-11, 0, "dI/da");
            test_close(cel_beta_dxda(s, 1, x, 1 - x), -x * log(x) / s, 1e-12, 0, "dx/da for b = 1");
            test_close(cel_beta_cdf(s, 2 * s, x, 1 - x) + cel_beta_cdf(2 * s, s, 1 - x, x), 1, 1e-13, 0, "mirror");
            test_close(cel_beta_cdf(s, s, 0.5, 0.5), 0.5, 1e-11, 0, "median");
        }
    for (double x = 0.05; x < 1; x += 0.05) /* arcsine law */
        test_close(cel_beta_cdf(0.5, 0.5, x, 1 - x), 2 / acos(-1) * asin(sqrt(x)), 1e-13, 0, "I_x(1/2, 1/2)");
}

static void derivative_is_that_of_the_cdf(void **state) {
    (void)state;
    const double shapes[][2] = {{0.02, 3}, {0.7, 0.4}, {2, 5}, {40, 0.3}, {300, 200}};
    for (int i = 0; i < 5; i++)
        for (double x = 0.05; x < 1; x += 0.09) {
            double a = shapes[i][0], b = shapes[i][1], h = 1e-3 * a, f[4], slope;
            for (int k = 0; k < 4; k++) f[k] = cel_beta_cdf(a + (k < 2 ? k - 2 : k - 1) * h, b, x, 1 - x);
            slope = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
            test_close(cel_beta_cdf_da(a, b, x, 1 - x), slope, 1e-6, 1e-11 / a, "dI/da");
        }
}

/* At x -> 0 the integrals are elementary: d logit(x)/da = (E[ln t] - ln x)/a + 1/a^2, also where x underflows. */
static void ends_stay_exact(void **state) {
    (void)state;
    const double shapes[] = {1e-3, 0.05, 1, 30, 1e4};
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++) {
            double a = shapes[i], b = shapes[j], mean = -cel_digamma_diff(a, b), log_x = mean - 900;
            test_close(cel_beta_logit_da(a, b, log_x, -exp(log_x)), 900 / a + 1 / (a * a), 1e-13, 0, "deep tail");
            assert_true(cel_beta_dxda(a, b, 0, 1) == 0 && cel_beta_dxda(a, b, 1, 0) == 0);
            assert_true(cel_beta_cdf(a, b, 0, 1) == 0 && cel_beta_cdf(a, b, 1, 0) == 1);
            double tiny = cel_beta_dxda(a, b, 5e-324, 1), near_one = cel_beta_dxda(a, b, 1 - 0x1p-53, 0x1p-53);
            assert_true(isfinite(tiny) && tiny >= 0);
            assert_true(isfinite(near_one) && near_one > 0);
            /* towards x = 1 the limit is (digamma difference) / b */
            double limit = cel_beta_logit_da(a, b, -1e-300 / 3, log(1e-300 / 3));
            test_close(limit, -mean / b, 1e-12, 0, "upper end");
        }
    assert_true(isfinite(cel_beta_logit_da(1e-100, 1, -1e50, 0)));
    assert_true(isfinite(cel_beta_logit_da(1e-100, 1e-100, -1e99, -1e-300)));
}

/* The gradient is positive and smooth in x over the switch between the two integrals. */
static void sides_meet(void **state) {
    (void)state;
    cel_rng rng = cel_rng_at(1, "sides", 0, 0);
    for (int i = 0; i < 2000; i++) {
        double a = exp(log(1e-3) + cel_rng_uniform(&rng) * log(1e7)),
               b = exp(log(1e-3) + cel_rng_uniform(&rng) * log(1e7));
        double log_x = -cel_digamma_diff(a, b), log_xc = log(-expm1(log_x)), value[2];
        for (int k = 0; k < 2; k++) value[k] = cel_beta_logit_da(a, b, log_x * (1 + (k ? 4e-16 : -4e-16)), log_xc);
        test_close(value[0], value[1], 1e-11, 0, "sides of the mean");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pathwise_matches_golden),
        cmocka_unit_test(cdf_has_its_closed_forms),
        cmocka_unit_test(derivative_is_that_of_the_cdf),
        cmocka_unit_test(ends_stay_exact),
        cmocka_unit_test(sides_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
