/* Moments, quantiles, ranks and rank correlations: worked examples, brute force, failing allocations. */
#include "math/rank_stats.h"

#include "base/mem.h"
#include "base/rng.h"
#include "support/test.h"

static void moments_and_quantiles(void **state) {
    (void)state;
    const double x[] = {2, 4, 4, 4, 5, 5, 7, 9}, shifted[] = {1e9 + 1, 1e9 + 2, 1e9 + 3, 1e9 + 4};
    double q;
    test_close(cel_stats_mean(x, 8), 5, 0, 0, "mean");
    test_close(cel_stats_deviation(x, 8), sqrt(32.0 / 7), 1e-15, 0, "deviation");
    test_close(cel_stats_deviation(shifted, 4), sqrt(5.0 / 3), 1e-15, 0, "deviation far from 0");
    assert_true(cel_stats_deviation(x, 1) == 0);
    const double ask[] = {0, 0.25, 0.5, 0.9, 1}, answer[] = {2, 4, 4.5, 7.6, 9};
    for (int i = 0; i < 5; i++) {
        test_ok(cel_stats_quantile(x, 8, ask[i], &q));
        test_close(q, answer[i], 1e-15, 0, "quantile");
    }
    test_ok(cel_stats_quantile(x, 1, 0.3, &q));
    assert_true(q == 2);
}

static void ranks_share_ties(void **state) {
    (void)state;
    const double x[] = {10, -1, 3, 3, 3, 10}, want[] = {5.5, 1, 3, 3, 3, 5.5};
    double ranks[6];
    test_ok(cel_stats_ranks(x, 6, ranks));
    for (int i = 0; i < 6; i++) assert_true(ranks[i] == want[i]);
}

static void correlations_of_worked_examples(void **state) {
    (void)state;
    double r, up[] = {1, 2, 3, 4, 5}, swap[] = {2, 1, 4, 3, 5}, down[] = {9, 7, 5, 3, 1}, flat[] = {4, 4, 4, 4, 4};
    test_ok(cel_stats_spearman(up, swap, 5, &r));
    test_close(r, 0.8, 1e-15, 0, "rho"); /* 1 - 6 * 4 / (5 * 24) */
    test_ok(cel_stats_kendall(up, swap, 5, &r));
    test_close(r, 0.6, 1e-15, 0, "tau"); /* 8 concordant, 2 discordant */
    test_ok(cel_stats_spearman(up, down, 5, &r));
    assert_true(r == -1);
    test_ok(cel_stats_kendall(up, down, 5, &r));
    assert_true(r == -1);
    test_ok(cel_stats_kendall(up, flat, 5, &r));
    assert_true(r == 0);
    test_ok(cel_stats_spearman(flat, up, 5, &r));
    assert_true(r == 0);
    test_ok(cel_stats_kendall(up, up, 1, &r));
    assert_true(r == 0);
}

/* Tau-b and rho by their definitions, on lists with many ties, of all lengths around the merge sort's halving. */
static void correlations_match_brute_force(void **state) {
    (void)state;
    enum { MAX = 70 };
    cel_rng rng = cel_rng_at(29, "ties", 0, 0);
    for (int n = 2; n <= MAX; n++) {
        double x[MAX], y[MAX], rank_x[MAX], rank_y[MAX], agree = 0, free_x = 0, free_y = 0, got;
        for (int i = 0; i < n; i++) {
            x[i] = cel_rng_below(&rng, n % 3 ? 7 : 1000);
            y[i] = x[i] / 2 + cel_rng_below(&rng, n % 3 ? 4 : 500);
        }
        for (int i = 0; i < n; i++) {
            rank_x[i] = rank_y[i] = 0.5;
            for (int j = 0; j < n; j++) {
                rank_x[i] += (x[j] < x[i]) + 0.5 * (x[j] == x[i]);
                rank_y[i] += (y[j] < y[i]) + 0.5 * (y[j] == y[i]);
            }
            for (int j = 0; j < i; j++) {
                int a = (x[i] > x[j]) - (x[i] < x[j]), b = (y[i] > y[j]) - (y[i] < y[j]);
                agree += a * b, free_x += a * a, free_y += b * b;
            }
        }
        test_ok(cel_stats_kendall(x, y, (size_t)n, &got));
        test_close(got, free_x > 0 && free_y > 0 ? agree / sqrt(free_x * free_y) : 0, 1e-14, 1e-15, "tau-b");
        test_ok(cel_stats_spearman(x, y, (size_t)n, &got));
        test_close(got, cel_stats_pearson(rank_x, rank_y, (size_t)n), 1e-14, 1e-15, "rho");
    }
}

static void allocation_failures_are_reported(void **state) {
    (void)state;
    const double x[] = {1, 3, 2}, y[] = {2, 1, 3};
    double r, ranks[3];
    for (uint64_t nth = 1; nth <= 3; nth++) {
        cel_mem_fail_at(nth);
        test_fails(cel_stats_spearman(x, y, 3, &r), CEL_NOMEM, "out of memory");
    }
    for (uint64_t nth = 1; nth <= 2; nth++) {
        cel_mem_fail_at(nth);
        test_fails(cel_stats_kendall(x, y, 3, &r), CEL_NOMEM, "out of memory");
    }
    cel_mem_fail_at(1);
    test_fails(cel_stats_quantile(x, 3, 0.5, &r), CEL_NOMEM, "out of memory");
    cel_mem_fail_at(1);
    test_fails(cel_stats_ranks(x, 3, ranks), CEL_NOMEM, "out of memory");
    cel_mem_fail_at(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_and_quantiles),
        cmocka_unit_test(ranks_share_ties),
        cmocka_unit_test(correlations_of_worked_examples),
        cmocka_unit_test(correlations_match_brute_force),
        cmocka_unit_test(allocation_failures_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
