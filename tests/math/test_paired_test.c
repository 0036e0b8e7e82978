/* Student's t against closed forms and printed tables; the tests against enumeration, printed critical values and worked
 * examples. */
#include "math/paired_test.h"

#include "math/rank_stats.h"
#include "math/student.h"
#include "support/test.h"

static void student_closed_forms(void **state) {
    (void)state;
    const double pi = 3.14159265358979323846;
    static const double at[] = {-40, -3, -1, -0.2, 0, 0.01, 0.7, 2.5, 10, 1e4};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        double t = at[i], s3 = t / sqrt(3);
        test_close(cel_student_cdf(t, 1), 0.5 + atan(t) / pi, 1e-11, 1e-13, "Cauchy");
        test_close(cel_student_cdf(t, 2), 0.5 + t / (2 * sqrt(2 + t * t)), 1e-11, 1e-13, "two degrees");
        test_close(cel_student_cdf(t, 3), 0.5 + (s3 / (1 + t * t / 3) + atan(s3)) / pi, 1e-11, 1e-13, "three degrees");
        test_close(cel_student_cdf(t, 1e7), cel_normal_cdf(t), 1e-4, 1e-7, "many degrees");
    }
    assert_true(cel_student_cdf(INFINITY, 4) == 1 && cel_student_cdf(-INFINITY, 4) == 0);
}

static void student_printed_table(void **state) {
    (void)state;
    static const struct {
        double df, p, t;
    } row[] = {{1, 0.975, 12.7062}, {2, 0.975, 4.30265}, {3, 0.975, 3.18245},  {4, 0.975, 2.77645},
               {5, 0.975, 2.57058}, {9, 0.975, 2.26216}, {30, 0.975, 2.04227}, {4, 0.995, 4.60409},
               {9, 0.95, 1.83311},  {7, 0.9995, 5.40788}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        test_close(cel_student_quantile(row[i].p, row[i].df), row[i].t, 0, 6e-6 * row[i].t, "quantile");
        test_close(cel_student_quantile(1 - row[i].p, row[i].df), -row[i].t, 0, 6e-6 * row[i].t, "lower quantile");
    }
    assert_true(cel_student_quantile(0.5, 3) == 0);
    for (double df = 1; df < 200; df *= 2.7)
        for (double p = 0.001; p < 1; p += 0.083)
            test_close(cel_student_cdf(cel_student_quantile(p, df), df), p, 1e-10, 0, "there and back");
}

/* Two normals: the range is |X - Y|, a normal of variance 2 folded. */
static void range_of_normals(void **state) {
    (void)state;
    for (double q = 0.1; q < 8; q += 0.7)
        test_close(cel_normal_range_cdf(q, 2), erf(q / 2), 1e-11, 1e-12, "range of two");
    /* Demsar's Table 5a: q_0.05 / sqrt(2) for 2 .. 10 classifiers. */
    static const double q05[] = {1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164};
    for (int k = 2; k <= 10; k++)
        test_close(cel_normal_range_quantile(0.95, k) / sqrt(2), q05[k - 2], 0, 1.01e-3,
                   "Nemenyi's table, cut to three digits");
    /* His example: four classifiers on 14 data sets, CD = 2.569 sqrt(4 * 5 / (6 * 14)) = 1.25. */
    test_close(cel_critical_difference(4, 14, 0.05), 1.25, 0, 6e-3, "critical difference");
}

static void t_test(void **state) {
    (void)state;
    /* Student's own sleep data (1908): ten patients, two drugs: t = -4.0621, p = 0.002833. */
    const double x[] = {0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0},
                 y[] = {1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4};
    double t, p;
    test_ok(cel_paired_t(x, y, 10, &t, &p));
    test_close(t, -4.0621, 0, 5e-5, "t of the sleep data");
    test_close(p, 0.002833, 0, 5e-7, "p of the sleep data");
    test_ok(cel_paired_t(x, x, 10, &t, &p));
    assert_true(t == 0 && p == 1);
    const double one[] = {1, 2, 3}, two[] = {2, 3, 4};
    test_ok(cel_paired_t(one, two, 3, &t, &p));
    assert_true(isnan(p));
    test_ok(cel_paired_t(one, two, 1, &t, &p));
    assert_true(isnan(p));
    /* mean 2, deviation 1: 4.30265 / sqrt(3) */
    test_close(cel_mean_interval(one, 3, 0.95), 2.48414, 0, 1e-5, "interval of 1 2 3");
    assert_true(isnan(cel_mean_interval(one, 1, 0.95)));
}

/* Every assignment of signs to these differences' ranks. */
static double enumerated_p(const double *x, const double *y, size_t n) {
    double d[16], size[16], rank[16], seen = 0;
    size_t used = 0, low = 0, high = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i]) d[used++] = x[i] - y[i];
    for (size_t i = 0; i < used; i++) size[i] = fabs(d[i]);
    test_ok(cel_stats_ranks(size, used, rank));
    for (size_t i = 0; i < used; i++) seen += d[i] > 0 ? rank[i] : 0;
    for (size_t signs = 0; signs < (size_t)1 << used; signs++) {
        double w = 0;
        for (size_t i = 0; i < used; i++) w += signs >> i & 1 ? rank[i] : 0;
        low += w <= seen + 1e-9;
        high += w >= seen - 1e-9;
    }
    return fmin(1, 2 * (double)(low < high ? low : high) / (double)((size_t)1 << used));
}

static void signed_rank(void **state) {
    (void)state;
    const double zero[64] = {0};
    double x[64];
    cel_signed_rank r;
    /* All of one sign: 2 / 2^n. */
    for (size_t n = 1; n <= 20; n++) {
        x[n - 1] = (double)n;
        test_ok(cel_signed_rank_test(x, zero, n, &r));
        assert_true(r.exact && r.n == n);
        test_close(r.p, fmin(1, ldexp(1, 1 - (int)n)), 1e-14, 0, "all positive");
        test_close(cel_signed_rank_smallest(n), ldexp(1, 1 - (int)n), 0, 0, "smallest");
    }
    /* Printed: n = 10, W = 8 has the two-sided p 50 / 1024, W = 9 66 / 1024. */
    for (int i = 0; i < 10; i++) x[i] = i + 1;
    x[7] = -8;
    test_ok(cel_signed_rank_test(zero, x, 10, &r));
    test_close(r.p, 50.0 / 1024, 1e-13, 0, "n = 10, W = 8");
    assert_true(r.w_plus == 8);
    x[0] = -1;
    test_ok(cel_signed_rank_test(x, zero, 10, &r));
    test_close(r.p, 66.0 / 1024, 1e-13, 0, "n = 10, W = 9");
    /* Ties and zeros. */
    const double a[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8}, b[] = {2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 5, 9};
    test_ok(cel_signed_rank_test(a, b, 12, &r));
    assert_int_equal(r.n, 11);
    test_close(r.p, enumerated_p(a, b, 12), 1e-12, 0, "ties by enumeration");
    test_ok(cel_signed_rank_test(a, a, 12, &r));
    assert_true(r.n == 0 && r.p == 1);
    /* Beyond 50 the normal distribution takes over where the exact one ends. */
    double many[60];
    for (int i = 0; i < 60; i++) many[i] = (i % 3 ? 1 : -1) * (i + 1.0);
    cel_signed_rank exact, normal;
    test_ok(cel_signed_rank_test(many, zero, 50, &exact));
    test_ok(cel_signed_rank_test(many, zero, 51, &normal));
    assert_true(exact.exact && !normal.exact);
    /* By hand: of 51 ranks the sum of those not = 1 mod 3, against mean 663 and variance 51 * 52 * 103 / 24. */
    test_close(normal.w_plus, 1326 - 17 * (1 + 49) / 2.0, 1e-12, 0, "W of 51");
    double z = (fabs(normal.w_plus - 663) - 0.5) / sqrt(51.0 * 52 * 103 / 24);
    test_close(normal.p, erfc(z / sqrt(2)), 1e-10, 0, "normal p");
}

static void holm(void **state) {
    (void)state;
    double p[] = {0.01, 0.04, 0.03, 0.005}, out[4];
    test_ok(cel_holm(p, 4, out));
    const double want[] = {0.03, 0.06, 0.06, 0.02};
    for (int i = 0; i < 4; i++) test_close(out[i], want[i], 1e-14, 0, "Holm");
    const double gap[] = {0.01, NAN, 0.6};
    test_ok(cel_holm(gap, 3, out));
    test_close(out[0], 0.02, 1e-14, 0, "two tests");
    assert_true(isnan(out[1]));
    test_close(out[2], 0.6, 1e-14, 0, "the larger");
    const double large[] = {0.6, 0.9};
    test_ok(cel_holm(large, 2, out));
    assert_true(out[0] == 1 && out[1] == 1);
}

static void ranks(void **state) {
    (void)state;
    const double values[] = {90, 80, 70, 90, 90, 60, 50, 70, 60};
    double mean[3];
    test_ok(cel_average_ranks(values, 3, 3, mean));
    test_close(mean[0], (1 + 1.5 + 3) / 3, 1e-14, 0, "first");
    test_close(mean[1], (2 + 1.5 + 1) / 3, 1e-14, 0, "second");
    test_close(mean[2], (3 + 3 + 2) / 3.0, 1e-14, 0, "third");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(student_closed_forms),
        cmocka_unit_test(student_printed_table),
        cmocka_unit_test(range_of_normals),
        cmocka_unit_test(t_test),
        cmocka_unit_test(signed_rank),
        cmocka_unit_test(holm),
        cmocka_unit_test(ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
