/* Softmax, Gaussian, Gumbel, straight-through and masked rows: golden values, derivative checks, extremes,
 * distributions. */
#include "math/dirichlet.h"
#include "math/gaussian.h"
#include "math/gumbel.h"
#include "math/softmax.h"
#include "support/golden.h"

enum { MAX = 14 * 7 };
static const char *const groups[] = {"nb201_init", "nb201", "darts"};

typedef struct {
    test_golden *golden;
    const char *name;
    int rows, n;
    const double *alpha, *cotangent, *tangent;
    double got[MAX], other[MAX];
} group;

static const test_tensor *want(const group *g, const char *name) {
    return test_golden_get(g->golden, "%s.%s", g->name, name);
}

static const double *data(const group *g, const char *name) { return want(g, name)->data; }

static void for_groups(void (*check)(group *)) {
    for (int i = 0; i < 3; i++) {
        group g = {.golden = test_golden_open(test_path("golden/reparam.safetensors")), .name = groups[i]};
        const test_tensor *alpha = want(&g, "alpha");
        g.rows = alpha->shape[0], g.n = alpha->shape[1], g.alpha = alpha->data;
        assert_true(alpha->n <= MAX);
        g.cotangent = data(&g, "cotangent");
        g.tangent = data(&g, "tangent");
        check(&g);
        test_golden_close(g.golden);
    }
}

static void check_softmax(group *g) {
    for (int r = 0; r < g->rows * g->n; r += g->n) cel_softmax(g->alpha + r, g->n, g->got + r);
    test_golden_close_to(want(g, "softmax.value"), g->got, 1e-14, 0);
    for (int r = 0; r < g->rows * g->n; r += g->n) cel_softmax_vjp(g->got + r, g->n, g->cotangent + r, g->other + r);
    test_golden_close_to(want(g, "softmax.vjp"), g->other, 1e-13, 1e-16);
}

static void check_gaussian(group *g) {
    const double *log_sigma = data(g, "gaussian.logsigma"), *eps = data(g, "gaussian.eps");
    double dmu[MAX], dlog_sigma[MAX], dsigma[MAX];
    for (int r = 0; r < g->rows * g->n; r += g->n) {
        cel_gaussian_softmax(g->alpha + r, log_sigma + r, eps + r, g->n, g->got + r);
        cel_gaussian_softmax_vjp(g->got + r, log_sigma + r, eps + r, g->n, g->cotangent + r, dmu + r, dlog_sigma + r);
    }
    for (int i = 0; i < g->rows * g->n; i++) dsigma[i] = dlog_sigma[i] / exp(log_sigma[i]);
    test_golden_close_to(want(g, "gaussian.value"), g->got, 1e-14, 0);
    test_golden_close_to(want(g, "gaussian.grad_mu"), dmu, 1e-13, 1e-16);
    test_golden_close_to(want(g, "gaussian.grad_logsigma"), dlog_sigma, 1e-13, 1e-16);
    test_golden_close_to(want(g, "gaussian.grad_sigma"), dsigma, 1e-13, 1e-16);
    double kl = 0;
    for (int r = 0; r < g->rows * g->n; r += g->n)
        kl += cel_gaussian_kl(g->alpha + r, log_sigma + r, g->n, 1, dmu + r, dlog_sigma + r);
    test_golden_close_to(want(g, "gaussian.kl"), &kl, 1e-14, 0);
    test_golden_close_to(want(g, "gaussian.kl_grad_mu"), dmu, 1e-14, 0);
    test_golden_close_to(want(g, "gaussian.kl_grad_logsigma"), dlog_sigma, 1e-14, 1e-15);
}

static void check_gumbel(group *g) {
    static const char *const taus[] = {"10", "1", "0.1"};
    const double *noise = data(g, "gumbel.noise");
    for (int t = 0; t < 3; t++) {
        double tau = strtod(taus[t], NULL), vjp[MAX], jvp[MAX], hard[MAX], soft[MAX], hard_vjp[MAX], index[MAX];
        for (int row = 0; row < g->rows; row++) {
            int r = row * g->n;
            cel_gumbel_softmax(g->alpha + r, noise + r, g->n, tau, g->got + r);
            cel_gumbel_softmax_vjp(g->got + r, g->n, tau, g->cotangent + r, vjp + r);
            cel_gumbel_softmax_jvp(g->got + r, g->n, tau, g->tangent + r, jvp + r);
            index[row] = cel_gumbel_hard(g->alpha + r, noise + r, g->n, tau, hard + r, soft + r);
            cel_gumbel_softmax_vjp(soft + r, g->n, tau, g->cotangent + r, hard_vjp + r);
        }
        /* a logit of size 10 / tau carries a rounding of its own: 1e-14 absolute at tau = 0.1 */
#define GUMBEL(what, values, absolute)                                                                                 \
    test_golden_close_to(test_golden_get(g->golden, "%s.gumbel.tau%s." what, g->name, taus[t]), values, 1e-12, absolute)
        GUMBEL("value", g->got, 0);
        GUMBEL("vjp", vjp, 1e-14);
        GUMBEL("jvp", jvp, 1e-14);
        GUMBEL("st.index", index, 0);
        GUMBEL("st.hard", hard, 4e-16); /* the reference is onehot - p + p */
        GUMBEL("st.vjp", hard_vjp, 1e-14);
    }
}

static void check_mask(group *g) {
    const double *sample = data(g, "mask.sample"), *mask = data(g, "mask.mask");
    double vjp[MAX];
    for (int r = 0; r < g->rows * g->n; r += g->n) {
        bool keep[MAX];
        double log_x[MAX];
        for (int i = 0; i < g->n; i++) keep[i] = mask[r + i] != 0, log_x[i] = log(sample[r + i]);
        cel_simplex_mask(log_x, keep, g->n, g->got + r);
        cel_simplex_mask_vjp(g->got + r, g->n, g->cotangent + r, vjp + r);
        for (int i = 0; i < g->n; i++) vjp[r + i] /= sample[r + i];
    }
    test_golden_close_to(want(g, "mask.value"), g->got, 1e-13, 0);
    test_golden_close_to(want(g, "mask.vjp"), vjp, 1e-12, 1e-15);
}

static void softmax_matches_golden(void **state) { (void)state, for_groups(check_softmax); }
static void gaussian_matches_golden(void **state) { (void)state, for_groups(check_gaussian); }
static void gumbel_matches_golden(void **state) { (void)state, for_groups(check_gumbel); }
static void mask_matches_golden(void **state) { (void)state, for_groups(check_mask); }

static double dot(const double *a, const double *b, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* Each vjp against four-point differences of <c, value>. */
static void vjps_match_differences(void **state) {
    (void)state;
    enum { N = 5 };
    const double c[N] = {0.7, -1.3, 2, 0.1, -0.4}, precision = 2.5;
    const bool mask[N] = {true, false, true, true, false};
    cel_rng rng = cel_rng_at(1, "differences", 0, 0);
    for (int round = 0; round < 20; round++) {
        double alpha[N], spread[N], eps[N], w[N], g[5][N], kl_mu[N], kl_spread[N];
        for (int i = 0; i < N; i++) alpha[i] = 2 * cel_rng_normal(&rng), spread[i] = 0.5 * cel_rng_normal(&rng);
        cel_gaussian_noise(&rng, N, eps);
        cel_gaussian_softmax(alpha, spread, eps, N, w);
        cel_gaussian_softmax_vjp(w, spread, eps, N, c, g[0], g[1]);
        cel_log_softmax(alpha, N, w);
        cel_log_softmax_vjp(w, N, c, g[2]);
        cel_simplex_mask(alpha, mask, N, w);
        cel_simplex_mask_vjp(w, N, c, g[3]);
        cel_categorical_log_prob(alpha, N, 2, g[4]);
        cel_gaussian_kl(alpha, spread, N, precision, kl_mu, kl_spread);
        for (int j = 0; j < N; j++) {
            const double h = 1e-3, a = alpha[j], s = spread[j];
            double f[7][4];
            for (int k = 0; k < 4; k++) {
                double step = (k < 2 ? k - 2 : k - 1) * h;
                alpha[j] = a + step;
                cel_gaussian_softmax(alpha, spread, eps, N, w), f[0][k] = dot(c, w, N);
                cel_log_softmax(alpha, N, w), f[2][k] = dot(c, w, N);
                cel_simplex_mask(alpha, mask, N, w), f[3][k] = dot(c, w, N);
                f[4][k] = cel_categorical_log_prob(alpha, N, 2, NULL);
                f[5][k] = cel_gaussian_kl(alpha, spread, N, precision, NULL, NULL);
                alpha[j] = a;
                spread[j] = s + step;
                cel_gaussian_softmax(alpha, spread, eps, N, w), f[1][k] = dot(c, w, N);
                f[6][k] = cel_gaussian_kl(alpha, spread, N, precision, NULL, NULL);
                spread[j] = s;
            }
            const double got[7] = {g[0][j], g[1][j], g[2][j], g[3][j], g[4][j], kl_mu[j], kl_spread[j]};
            for (int what = 0; what < 7; what++) {
                double *v = f[what], slope = (v[0] - 8 * v[1] + 8 * v[2] - v[3]) / (12 * h);
                test_close(got[what], slope, 1e-8, 2e-10, "gradient");
            }
        }
    }
}

static void assert_simplex(const double *w, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        assert_true(w[i] >= 0 && w[i] <= 1);
        sum += w[i];
    }
    assert_true(fabs(sum - 1) < 1e-14);
}

static void extremes_stay_on_the_simplex(void **state) {
    (void)state;
    const double huge[4] = {1e308, -1e308, 1e308, 0}, zero[4] = {0}, deep[4] = {-1e101, -0.0, -5e100, -5e100};
    const bool keep[4] = {true, false, true, true}, one[4] = {true, false, false, false};
    double w[4], soft[4], dw[4] = {1, 2, 3, 4}, out[4];
    cel_softmax(huge, 4, w);
    assert_simplex(w, 4);
    assert_true(w[0] == 0.5 && w[2] == 0.5);
    cel_gumbel_softmax(dw, zero, 4, 1e-300, w);
    assert_simplex(w, 4);
    assert_true(w[3] == 1);
    cel_gumbel_softmax(dw, zero, 4, 1e300, w);
    test_close(w[0], 0.25, 1e-15, 0, "an infinite temperature");
    assert_int_equal(cel_gumbel_hard(huge, zero, 4, 1e-8, w, soft), 0);
    assert_true(w[0] == 1 && w[1] == 0 && w[2] == 0 && w[3] == 0);
    assert_simplex(soft, 4);
    cel_simplex_mask(deep, keep, 4, w); /* everything kept has underflowed */
    assert_simplex(w, 4);
    assert_true(w[1] == 0 && w[2] == 0.5 && w[3] == 0.5);
    cel_simplex_mask_vjp(w, 4, dw, out);
    test_close(out[3], 0.25, 1e-15, 0, "vjp by ln x");
    assert_true(out[1] == 0);
    cel_simplex_mask(deep, one, 4, w);
    assert_true(w[0] == 1);
    assert_true(cel_gaussian_kl((double[]){0}, (double[]){0}, 1, 1, NULL, NULL) == 0);
    test_close(cel_gaussian_kl((double[]){0}, (double[]){1e-9}, 1, 1, NULL, NULL), 1e-18, 1e-8, 0, "KL near the prior");
    for (uint64_t i = 0; i < 20; i++) {
        cel_rng rng = cel_rng_at(i, "gumbel", 0, 0);
        cel_gumbel_noise(&rng, 4, w);
        for (int k = 0; k < 4; k++) assert_true(isfinite(w[k]));
    }
}

static int by_value(const void *a, const void *b) {
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

static void assert_uniform(double *p, int n, const char *what) {
    double worst = 0;
    qsort(p, (size_t)n, sizeof *p, by_value);
    for (int i = 0; i < n; i++) worst = fmax(worst, fmax((i + 1.0) / n - p[i], p[i] - (double)i / n));
    if (worst * sqrt(n) > 1.95) fail_msg("%s: sqrt(n) D = %g", what, worst * sqrt(n)); /* probability 1e-3 */
}

static void noise_follows_its_distribution(void **state) {
    (void)state;
    enum { DRAWS = 5000 };
    static double x[DRAWS];
    cel_rng rng = cel_rng_at(11, "noise", 0, 0);
    cel_gumbel_noise(&rng, DRAWS, x);
    for (int i = 0; i < DRAWS; i++) x[i] = exp(-exp(-x[i]));
    assert_uniform(x, DRAWS, "Gumbel");
    cel_gaussian_noise(&rng, DRAWS, x);
    for (int i = 0; i < DRAWS; i++) x[i] = 0.5 * erfc(-x[i] / sqrt(2));
    assert_uniform(x, DRAWS, "normal");
}

/* The largest of alpha + Gumbel, and the categorical draw, both have probabilities softmax(alpha): chi-square, 4
 * degrees of freedom, 18.5 is exceeded with probability 1e-3. */
static void choices_follow_softmax(void **state) {
    (void)state;
    enum { N = 5, DRAWS = 20000 };
    const double alpha[N] = {0.3, -1, 1.2, 0, -2};
    double p[N], noise[N], hard[N], soft[N], count[2][N] = {{0}};
    cel_softmax(alpha, N, p);
    cel_rng rng = cel_rng_at(13, "choices", 0, 0);
    for (int d = 0; d < DRAWS; d++) {
        cel_gumbel_noise(&rng, N, noise);
        count[0][cel_gumbel_hard(alpha, noise, N, 1, hard, soft)]++;
        count[1][cel_categorical_sample(&rng, alpha, N)]++;
    }
    for (int k = 0; k < 2; k++) {
        double chi = 0;
        for (int i = 0; i < N; i++) chi += (count[k][i] - DRAWS * p[i]) * (count[k][i] - DRAWS * p[i]) / (DRAWS * p[i]);
        if (chi > 18.5) fail_msg("%s: chi-square %g", k ? "categorical" : "Gumbel", chi);
    }
    const double impossible[3] = {-INFINITY, 0, -INFINITY};
    for (int d = 0; d < 100; d++) assert_int_equal(cel_categorical_sample(&rng, impossible, 3), 1);
}

/* A masked and renormalised Dirichlet row is a Dirichlet row over what is kept: the whole chain of gradients, draw
 * by draw, averages to the derivative of its mean. */
static void masked_chain_is_unbiased(void **state) {
    (void)state;
    enum { N = 5, DRAWS = 4000 };
    const double conc[N] = {0.05, 1.5, 0.3, 4, 0.02}, c[N] = {1, 0, -2, 0.5, 0};
    const bool mask[N] = {true, false, true, true, false};
    double kept = 0, value = 0, sum[N] = {0}, square[N] = {0};
    cel_rng rng = cel_rng_at(17, "masked", 0, 0);
    for (int i = 0; i < N; i++) kept += mask[i] ? conc[i] : 0, value += mask[i] ? c[i] * conc[i] : 0;
    for (int d = 0; d < DRAWS; d++) {
        double log_x[N], w[N], dlog_x[N], dconc[N];
        cel_dirichlet_sample_log(&rng, conc, N, log_x);
        cel_simplex_mask(log_x, mask, N, w);
        cel_simplex_mask_vjp(w, N, c, dlog_x);
        cel_dirichlet_pathwise_log(conc, log_x, N, dlog_x, dconc);
        for (int i = 0; i < N; i++) sum[i] += dconc[i], square[i] += dconc[i] * dconc[i];
    }
    for (int i = 0; i < N; i++) {
        double exact = mask[i] ? (c[i] - value / kept) / kept : 0, mean = sum[i] / DRAWS;
        test_close(mean, exact, 0, 4.5 * sqrt((square[i] / DRAWS - mean * mean) / DRAWS) + 1e-12, "mean gradient");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_matches_golden),         cmocka_unit_test(gaussian_matches_golden),
        cmocka_unit_test(gumbel_matches_golden),          cmocka_unit_test(mask_matches_golden),
        cmocka_unit_test(vjps_match_differences),         cmocka_unit_test(extremes_stay_on_the_simplex),
        cmocka_unit_test(noise_follows_its_distribution), cmocka_unit_test(choices_follow_softmax),
        cmocka_unit_test(masked_chain_is_unbiased),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
