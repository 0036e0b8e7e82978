/* Dirichlet: golden values and gradients, derivative checks, draws against their distribution, the ends of the
 * range. */
#include "math/dirichlet.h"

#include "math/beta.h"
#include "math/softmax.h"
#include "math/special.h"
#include "math/variate.h"
#include "support/test.h"

enum { MAX = 16 };

/* The rows [first, end) of one case in a file with one line per coordinate. */
static int case_end(const test_csv *csv, int first) {
    int end = first + 1;
    const char *name = test_csv_text(csv, first, "case");
    while (end < csv->n_rows && !strcmp(test_csv_text(csv, end, "case"), name)) end++;
    assert_true(end - first <= MAX);
    return end;
}

static void column(const test_csv *csv, int first, int n, const char *name, double *out) {
    for (int i = 0; i < n; i++) out[i] = test_csv_number(csv, first + i, name);
}

static void pathwise_matches_golden(void **state) {
    (void)state;
    test_csv *csv = test_csv_open("golden/dirichlet_grad.csv");
    for (int r = 0, end; r < csv->n_rows; r = end) {
        end = case_end(csv, r);
        int n = end - r;
        double conc[MAX], x[MAX], log_x[MAX], dx[MAX], dlog_x[MAX], want[MAX], got[MAX], dxda[MAX], ratio[MAX], pt[MAX];
        column(csv, r, n, "concentration", conc);
        column(csv, r, n, "x", x);
        column(csv, r, n, "upstream", dx);
        column(csv, r, n, "exact_grad_in", want);
        column(csv, r, n, "exact_dxda", dxda);
        column(csv, r, n, "exact_dirichlet_grad", ratio);
        column(csv, r, n, "pt_grad_in", pt);
        cel_dirichlet_pathwise(conc, x, n, dx, got);
        for (int i = 0; i < n; i++) {
            double others = 0;
            for (int k = 0; k < n; k++) others += k == i ? 0 : conc[k];
            test_close(cel_beta_dxda(conc[i], others, x[i], 1 - x[i]), dxda[i], 1e-12, 0, "exact_dxda");
            test_close(cel_beta_dxda(conc[i], others, x[i], 1 - x[i]) / (1 - x[i]), ratio[i], 1e-12, 0,
                       "exact_dirichlet_grad");
            test_close(got[i], want[i], 1e-10, 0, "exact_grad_in");
            test_close(got[i], pt[i], 2e-3, 0, "pt_grad_in");
            log_x[i] = log(x[i]);
            dlog_x[i] = x[i] * dx[i];
        }
        /* in logs 1 - x is that of the others, which the rounding of the row moves by 1e-16 */
        cel_dirichlet_pathwise_log(conc, log_x, n, dlog_x, got);
        for (int i = 0; i < n; i++) test_close(got[i], want[i], 1e-9, 0, "exact_grad_in from logarithms");
    }
    test_csv_close(csv);
}

static void coordinates_match_golden(void **state) {
    (void)state;
    test_csv *csv = test_csv_open("golden/dirichlet_coord.csv");
    for (int r = 0, end; r < csv->n_rows; r = end) {
        end = case_end(csv, r);
        int n = end - r;
        double conc[MAX], log_x[MAX], got[MAX];
        column(csv, r, n, "concentration", conc);
        column(csv, r, n, "x", log_x);
        for (int i = 0; i < n; i++) log_x[i] = log(log_x[i]);
        cel_dirichlet_mean(conc, n, got);
        for (int i = 0; i < n; i++) test_close(got[i], test_csv_number(csv, r + i, "mean"), 1e-14, 0, "mean");
        cel_dirichlet_variance(conc, n, got);
        for (int i = 0; i < n; i++) test_close(got[i], test_csv_number(csv, r + i, "variance"), 1e-14, 0, "variance");
        assert_int_equal(cel_dirichlet_mode(conc, n, got), *test_csv_text(csv, r, "mode") != 0);
        for (int i = 0; i < n && *test_csv_text(csv, r, "mode"); i++)
            test_close(got[i], test_csv_number(csv, r + i, "mode"), 1e-12, 0, "mode");
        cel_dirichlet_kl_to_ones(conc, n, got);
        for (int i = 0; i < n; i++) test_close(got[i], test_csv_number(csv, r + i, "kl_grad"), 1e-12, 2e-15, "kl_grad");
        cel_dirichlet_entropy(conc, n, got);
        for (int i = 0; i < n; i++)
            test_close(got[i], test_csv_number(csv, r + i, "entropy_grad"), 1e-12, 2e-15, "entropy_grad");
        cel_dirichlet_log_prob_grad(conc, log_x, n, got);
        for (int i = 0; i < n; i++)
            test_close(got[i], test_csv_number(csv, r + i, "dlogprob_dconcentration"), 1e-13, 1e-14, "dlogprob");
    }
    test_csv_close(csv);
}

static void rows_match_golden(void **state) {
    (void)state;
    test_csv *csv = test_csv_open("golden/dirichlet_coord.csv"), *stats = test_csv_open("golden/dirichlet_stats.csv");
    int row = 0;
    for (int r = 0, end; r < csv->n_rows; r = end, row++) {
        end = case_end(csv, r);
        int n = end - r;
        double conc[MAX], x[MAX];
        assert_string_equal(test_csv_text(stats, row, "case"), test_csv_text(csv, r, "case"));
        column(csv, r, n, "concentration", conc);
        column(csv, r, n, "x", x);
        test_close(cel_dirichlet_log_prob(conc, x, n), test_csv_number(stats, row, "logprob"), 1e-13, 1e-14, "logprob");
        test_close(cel_dirichlet_entropy(conc, n, NULL), test_csv_number(stats, row, "entropy"), 1e-13, 1e-14,
                   "entropy");
        test_close(cel_dirichlet_kl_to_ones(conc, n, NULL), test_csv_number(stats, row, "kl_to_ones"), 1e-9, 0, "KL");
        test_close(cel_dirichlet_log_normalizer(conc, n), test_csv_number(stats, row, "log_normalizer"), 1e-13, 1e-14,
                   "log_normalizer");
    }
    assert_int_equal(row, stats->n_rows);
    test_csv_close(csv);
    test_csv_close(stats);
}

/* The estimate of d E[phi(x)] / d conc by pathwise gradients agrees with the exact one, for phi(x) = sum c_i x_i^2. */
static void pathwise_is_unbiased(void **state) {
    (void)state;
    enum { N = 4, DRAWS = 4000 };
    const double conc[][N] = {{1, 1, 1, 1}, {0.05, 0.2, 0.7, 0.1}, {30, 2, 0.5, 9}, {1e4, 5e3, 1e-3, 2e3}};
    const double c[N] = {1, -0.5, 2, 0.25};
    for (int row = 0; row < 4; row++) {
        cel_rng rng = cel_rng_at(3, "unbiased", (uint64_t)row, 0);
        double sum[N] = {0}, square[N] = {0}, total = 0;
        for (int i = 0; i < N; i++) total += conc[row][i];
        for (int draw = 0; draw < DRAWS; draw++) {
            double log_x[N], dlog_x[N], got[N];
            cel_dirichlet_sample_log(&rng, conc[row], N, log_x);
            for (int i = 0; i < N; i++) dlog_x[i] = 2 * c[i] * exp(2 * log_x[i]);
            cel_dirichlet_pathwise_log(conc[row], log_x, N, dlog_x, got);
            for (int i = 0; i < N; i++) sum[i] += got[i], square[i] += got[i] * got[i];
        }
        for (int j = 0; j < N; j++) { /* E[x_i^2] = a_i (a_i + 1) / (A (A + 1)) */
            double want = c[j] * (2 * conc[row][j] + 1) / (total * (total + 1)), mean = sum[j] / DRAWS;
            for (int i = 0; i < N; i++)
                want -= c[i] * conc[row][i] * (conc[row][i] + 1) * (2 * total + 1) / pow(total * (total + 1), 2);
            double error = sqrt((square[j] / DRAWS - mean * mean) / DRAWS);
            test_close(mean, want, 0, 4.5 * error + 1e-15, "expected gradient");
            assert_true(error > 0);
        }
    }
}

static int by_value(const void *a, const void *b) {
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

/* Kolmogorov-Smirnov of a coordinate against its Beta marginal; sqrt(n) D > 1.95 has probability 1e-3. In logarithms
 * there are no ties, although half of the first row's draws are too small for a double. */
static void draws_follow_their_marginals(void **state) {
    (void)state;
    enum { DRAWS = 4000, N = 5 };
    const double conc[][N] = {
        {1e-3, 1e-3, 1e-3, 1e-3, 1e-3}, {0.02, 0.3, 0.07, 1, 0.5}, {1, 1, 1, 1, 1}, {5, 0.6, 12, 80, 2},
        {1e4, 1e4, 1e4, 1e4, 1e4},      {1e4, 1e-3, 1, 30, 1e3}};
    static double p[DRAWS];
    for (int row = 0; row < 6; row++)
        for (int i = 0; i < N; i += 2) {
            cel_rng rng = cel_rng_at(7, "marginals", (uint64_t)row, (uint64_t)i);
            double others = 0, worst = 0;
            for (int k = 0; k < N; k++) others += k == i ? 0 : conc[row][k];
            for (int d = 0; d < DRAWS; d++) {
                double log_x[N], rest[N - 1], sum = 0;
                int n_rest = 0;
                cel_dirichlet_sample_log(&rng, conc[row], N, log_x);
                for (int k = 0; k < N; k++) {
                    sum += exp(log_x[k]);
                    if (k != i) rest[n_rest++] = log_x[k];
                }
                assert_true(fabs(sum - 1) < 1e-14);
                double log_xc = cel_log_sum_exp(rest, n_rest), log_xi = log_xc < -1 ? log1p(-exp(log_xc)) : log_x[i];
                p[d] = cel_beta_cdf_log(conc[row][i], others, log_xi, log_xc);
                assert_true(p[d] >= 0 && p[d] <= 1);
            }
            qsort(p, DRAWS, sizeof *p, by_value);
            for (int d = 0; d < DRAWS; d++)
                worst = fmax(worst, fmax((d + 1.0) / DRAWS - p[d], p[d] - (double)d / DRAWS));
            if (worst * sqrt(DRAWS) > 1.95)
                fail_msg("row %d coordinate %d: sqrt(n) D = %g", row, i, worst * sqrt(DRAWS));
        }
}

static void tiny_concentrations_give_one_hot(void **state) {
    (void)state;
    const double tiny[] = {1e-3, 1e-6, 1e-20, 1e-100, 0};
    for (int t = 0; t < 5; t++) {
        cel_rng rng = cel_rng_at(9, "tiny", (uint64_t)t, 0);
        int hits[3] = {0}, near = 0;
        for (int d = 0; d < 1000; d++) {
            const double conc[3] = {tiny[t], 2 * tiny[t], tiny[t]}, g[3] = {0.3, -2, 5};
            double log_x[3], x[3], dconc[3], dlog_x[3], sum = 0;
            cel_dirichlet_sample_log(&rng, conc, 3, log_x);
            for (int i = 0; i < 3; i++) {
                x[i] = exp(log_x[i]);
                sum += x[i];
                dlog_x[i] = x[i] * g[i];
                assert_true(log_x[i] <= 0 && isfinite(log_x[i]));
            }
            assert_true(fabs(sum - 1) < 1e-15);
            hits[cel_argmax(x, 3)]++;
            near += x[cel_argmax(x, 3)] > 1 - 1e-9;
            cel_dirichlet_pathwise_log(conc, log_x, 3, dlog_x, dconc);
            for (int i = 0; i < 3; i++) assert_true(isfinite(dconc[i]));
            cel_dirichlet_pathwise(conc, x, 3, g, dconc);
            for (int i = 0; i < 3; i++) assert_true(isfinite(dconc[i]));
        }
        assert_true(near > 930 && (t == 0 || near >= 997));
        if (tiny[t] > 0) /* which one: in proportion to the concentrations */
            test_close(hits[1], 500, 0, 4.5 * sqrt(250), "share of the double concentration");
    }
}

/* Gradients of the plain functions against differences, over rows from 1e-3 to 1e4. */
static void gradients_match_differences(void **state) {
    (void)state;
    cel_rng rng = cel_rng_at(5, "rows", 0, 0);
    for (int round = 0; round < 60; round++) {
        double conc[5], log_x[5], x[5], kl[5], entropy[5], prob[5];
        for (int i = 0; i < 5; i++) conc[i] = exp(log(1e-3) + cel_rng_uniform(&rng) * log(1e7));
        cel_dirichlet_sample_log(&rng, conc, 5, log_x);
        for (int i = 0; i < 5; i++) x[i] = exp(log_x[i]);
        double kl_value = cel_dirichlet_kl_to_ones(conc, 5, kl),
               entropy_value = cel_dirichlet_entropy(conc, 5, entropy);
        cel_dirichlet_log_prob_grad(conc, log_x, 5, prob);
        test_close(kl_value, -entropy_value - log(24), 1e-12, 1e-11, "KL to the uniform row is the negative entropy");
        assert_true(kl_value > 0);
        if (x[0] > 0 && x[1] > 0 && x[2] > 0 && x[3] > 0 && x[4] > 0)
            test_close(cel_dirichlet_log_prob(conc, x, 5), cel_dirichlet_log_prob_log(conc, log_x, 5), 1e-12, 1e-10,
                       "two forms");
        for (int j = 0; j < 5; j++) {
            double a = conc[j], h = 1e-3 * a, f[3][4];
            for (int k = 0; k < 4; k++) {
                conc[j] = a + (k < 2 ? k - 2 : k - 1) * h;
                f[0][k] = cel_dirichlet_kl_to_ones(conc, 5, NULL);
                f[1][k] = cel_dirichlet_entropy(conc, 5, NULL);
                f[2][k] = cel_dirichlet_log_prob_log(conc, log_x, 5);
            }
            conc[j] = a;
            for (int what = 0; what < 3; what++) {
                double *v = f[what], slope = (v[0] - 8 * v[1] + 8 * v[2] - v[3]) / (12 * h);
                double noise = 1e-14 * fabs(v[0]) / h + 1e-12 * fabs(log_x[j]);
                test_close((what == 0   ? kl
                            : what == 1 ? entropy
                                        : prob)[j],
                           slope, 1e-7, noise + 1e-11 / h, "gradient");
            }
        }
    }
}

static void edges_of_the_simplex(void **state) {
    (void)state;
    const double conc[] = {1, 2, 0.5}, at[][3] = {{0, 0.5, 0.5}, {0.5, 0, 0.5}, {0.5, 0.5, 0}}, ones[] = {1, 1, 1};
    assert_true(isfinite(cel_dirichlet_log_prob(conc, at[0], 3)));
    assert_true(cel_dirichlet_log_prob(conc, at[1], 3) == -INFINITY);
    assert_true(cel_dirichlet_log_prob(conc, at[2], 3) == INFINITY);
    test_close(cel_dirichlet_log_prob(ones, at[0], 3), log(2), 1e-15, 0, "uniform density is (n - 1)!");
    assert_true(fabs(cel_dirichlet_kl_to_ones(ones, 3, NULL)) < 1e-15);
    double one_hot[] = {1, 0, 0}, g[] = {1, 2, 3}, dconc[3];
    cel_dirichlet_pathwise(conc, one_hot, 3, g, dconc);
    for (int i = 0; i < 3; i++) assert_true(dconc[i] == 0);
    assert_false(cel_dirichlet_mode(conc, 3, dconc));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pathwise_matches_golden),
        cmocka_unit_test(coordinates_match_golden),
        cmocka_unit_test(rows_match_golden),
        cmocka_unit_test(pathwise_is_unbiased),
        cmocka_unit_test(draws_follow_their_marginals),
        cmocka_unit_test(tiny_concentrations_give_one_hot),
        cmocka_unit_test(gradients_match_differences),
        cmocka_unit_test(edges_of_the_simplex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
