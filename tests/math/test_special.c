/* Gamma family against values exact to double, identities where the direct form cancels, the ELU concentration. */
#include "math/special.h"
#include "support/test.h"

static void gamma_family_matches_golden(void **state) {
    (void)state;
    test_csv *csv = test_csv_open("golden/special_functions.csv");
    for (int r = 0; r < csv->n_rows; r++) {
        double x = test_csv_number(csv, r, "x");
        test_close(cel_lgamma(x), test_csv_number(csv, r, "lgamma"), 4e-15, 1e-15, "lgamma");
        test_close(cel_digamma(x), test_csv_number(csv, r, "digamma"), 4e-15, 2e-15, "digamma");
        test_close(cel_trigamma(x), test_csv_number(csv, r, "trigamma"), 4e-15, 0, "trigamma");
    }
    test_csv_close(csv);
}

static void digamma_diff_keeps_its_digits(void **state) {
    (void)state;
    const double at[] = {1e-3, 0.3, 1, 9.99, 10, 77, 1e4};
    for (int i = 0; i < 7; i++) {
        for (int j = 0; j < 7; j++) /* where nothing cancels it is the plain difference */
            if (at[j] >= at[i])
                test_close(cel_digamma_diff(at[i], at[j]), cel_digamma(at[i] + at[j]) - cel_digamma(at[i]), 1e-14, 0,
                           "difference");
        /* where all would cancel it is d psi'(a) up to d^2 */
        test_close(cel_digamma_diff(at[i], 1e-12 * at[i]), 1e-12 * at[i] * cel_trigamma(at[i]), 4e-12, 0, "small step");
        test_close(cel_digamma_diff(at[i], 1), 1 / at[i], 1e-14, 0, "psi(a + 1) - psi(a) = 1 / a");
        assert_true(cel_digamma_diff(at[i], 0) == 0);
    }
}

static void lbeta_keeps_its_digits(void **state) {
    (void)state;
    /* B(a, 1) = 1/a, B(a, 2) = 1/(a(a+1)), B(a, a) by duplication, rows by peeling off one entry after another */
    const double at[] = {1e-3, 0.4, 1, 5, 12, 300, 1e4};
    for (int i = 0; i < 7; i++) {
        double a = at[i];
        test_close(cel_lbeta(a, 1), -log(a), 1e-14, 1e-14, "B(a, 1)");
        test_close(cel_lbeta(2, a), -log(a) - log1p(a), 1e-14, 1e-14, "B(2, a)");
        test_close(cel_lbeta(a, a), (1 - 2 * a) * log(2) + cel_lbeta(a, 0.5), 1e-14, 1e-14, "B(a, a)");
        for (int j = 0; j < 7; j++) {
            const double row[] = {a, at[j], 3.5};
            test_close(cel_lbeta_row(row, 3), cel_lbeta(a, at[j]) + cel_lbeta(a + at[j], 3.5), 1e-13, 1e-13, "row");
        }
    }
}

static void trigamma_moment_has_one_value(void **state) {
    (void)state;
    for (int base = 1; base <= 8; base += 7) /* the quadrature and the closed form meet at |d| = 1/2 */
        for (double d = -0.5; d <= 0.5; d += 0.125) {
            double closed = d * cel_digamma(base + d) - cel_lgamma(base + d) + cel_lgamma(base);
            test_close(cel_trigamma_moment(base, base + d, d), closed, 1e-13, 4e-15, "moment");
        }
    test_close(cel_trigamma_moment(5, 5 + 1e-9, 1e-9), 0.5e-18 * cel_trigamma(5), 1e-8, 0, "tiny step");
}

static void elu_concentration_matches_golden(void **state) {
    (void)state;
    test_csv *csv = test_csv_open("golden/elu_concentration.csv");
    for (int r = 0; r < csv->n_rows; r++) {
        double alpha = test_csv_number(csv, r, "alpha");
        test_close(cel_elu_concentration(alpha), test_csv_number(csv, r, "concentration"), 4e-16, 0, "concentration");
        test_close(cel_elu_concentration_slope(alpha), test_csv_number(csv, r, "dconcentration_dalpha"), 4e-16, 0,
                   "slope");
    }
    test_csv_close(csv);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gamma_family_matches_golden),      cmocka_unit_test(digamma_diff_keeps_its_digits),
        cmocka_unit_test(lbeta_keeps_its_digits),           cmocka_unit_test(trigamma_moment_has_one_value),
        cmocka_unit_test(elu_concentration_matches_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
