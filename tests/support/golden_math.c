/* dirichlet_*, beta_pathwise*, special_functions, elu_concentration, reparam, cutout, ops. */
#include "base/mem.h"
#include "data/augment.h"
#include "math/beta.h"
#include "math/dirichlet.h"
#include "math/gaussian.h"
#include "math/gumbel.h"
#include "math/softmax.h"
#include "math/special.h"
#include "support/golden_net.h"
#include "support/golden_ops.h"

enum { MOST = 1024 };
/* Values that the reference gives exact to double, computed here in double. */
static const double EXACT = 1e-12, NEAR_ZERO = 1e-13;

static int case_end(const test_csv *csv, int first) {
    int end = first + 1;
    while (end < csv->n_rows && !strcmp(test_csv_text(csv, end, "case"), test_csv_text(csv, first, "case"))) end++;
    assert_true(end - first >= 2 && end - first <= MOST);
    return end;
}

static void column(const test_csv *csv, int first, int n, const char *name, double *out) {
    for (int i = 0; i < n; i++) out[i] = test_csv_number(csv, first + i, name);
}

/* The largest error of a column. */
static double against(const test_csv *csv, int first, int n, const char *name, const double *got, double relative,
                      double absolute) {
    double worst = 0;
    for (int i = 0; i < n; i++)
        worst = golden_max(worst, golden_error(got[i], test_csv_number(csv, first + i, name), relative, absolute));
    return worst;
}

double golden_dirichlet_grad(const char *path) {
    test_csv *csv = test_csv_open(path);
    double conc[MOST], x[MOST], upstream[MOST], got[MOST], ratio[MOST], dxda[MOST], worst = 0;
    for (int first = 0, n; first < csv->n_rows; first += n) {
        n = case_end(csv, first) - first;
        column(csv, first, n, "concentration", conc);
        column(csv, first, n, "x", x);
        column(csv, first, n, "upstream", upstream);
        double total = 0;
        for (int i = 0; i < n; i++) total += conc[i];
        for (int i = 0; i < n; i++) {
            dxda[i] = cel_beta_dxda(conc[i], total - conc[i], x[i], 1 - x[i]);
            ratio[i] = dxda[i] / (1 - x[i]);
        }
        cel_dirichlet_pathwise(conc, x, n, upstream, got);
        worst = golden_max(worst, against(csv, first, n, "exact_dxda", dxda, 1e-8, 0));
        worst = golden_max(worst, against(csv, first, n, "exact_dirichlet_grad", ratio, 1e-8, 0));
        worst = golden_max(worst, against(csv, first, n, "exact_grad_in", got, 1e-8, 1e-300));
        worst = golden_max(worst, against(csv, first, n, "pt_grad_in", got, 2e-3, 1e-300));
    }
    test_csv_close(csv);
    return worst;
}

double golden_dirichlet_coord(const char *path) {
    test_csv *csv = test_csv_open(path);
    double conc[MOST], x[MOST], got[MOST], worst = 0;
    for (int first = 0, n; first < csv->n_rows; first += n) {
        n = case_end(csv, first) - first;
        column(csv, first, n, "concentration", conc);
        column(csv, first, n, "x", x);
        cel_dirichlet_mean(conc, n, got);
        worst = golden_max(worst, against(csv, first, n, "mean", got, EXACT, 0));
        cel_dirichlet_variance(conc, n, got);
        worst = golden_max(worst, against(csv, first, n, "variance", got, EXACT, 0));
        bool has_mode = *test_csv_text(csv, first, "mode") != 0;
        assert_int_equal(cel_dirichlet_mode(conc, n, got), has_mode);
        if (has_mode) worst = golden_max(worst, against(csv, first, n, "mode", got, EXACT, NEAR_ZERO));
        cel_dirichlet_kl_to_ones(conc, n, got);
        worst = golden_max(worst, against(csv, first, n, "kl_grad", got, EXACT, NEAR_ZERO));
        cel_dirichlet_entropy(conc, n, got);
        worst = golden_max(worst, against(csv, first, n, "entropy_grad", got, EXACT, NEAR_ZERO));
        for (int i = 0; i < n; i++) x[i] = log(x[i]);
        cel_dirichlet_log_prob_grad(conc, x, n, got);
        worst = golden_max(worst, against(csv, first, n, "dlogprob_dconcentration", got, EXACT, NEAR_ZERO));
    }
    test_csv_close(csv);
    return worst;
}

/* Rows are cases of dirichlet_coord.csv, which must lie beside it. */
double golden_dirichlet_stats(const char *path) {
    char *beside = golden_sibling(path, "dirichlet_coord.csv");
    if (!beside) fail_msg("%s: needs dirichlet_coord.csv beside it", path);
    test_csv *stats = test_csv_open(path), *csv = test_csv_open(beside);
    double conc[MOST], x[MOST], worst = 0;
    int row = 0;
    for (int first = 0, n; first < csv->n_rows; first += n, row++) {
        n = case_end(csv, first) - first;
        assert_true(row < stats->n_rows);
        assert_string_equal(test_csv_text(stats, row, "case"), test_csv_text(csv, first, "case"));
        column(csv, first, n, "concentration", conc);
        column(csv, first, n, "x", x);
        double got = cel_dirichlet_log_prob(conc, x, n);
        worst = golden_max(worst, against(stats, row, 1, "logprob", &got, EXACT, NEAR_ZERO));
        got = cel_dirichlet_entropy(conc, n, NULL);
        worst = golden_max(worst, against(stats, row, 1, "entropy", &got, EXACT, NEAR_ZERO));
        got = cel_dirichlet_kl_to_ones(conc, n, NULL);
        worst = golden_max(worst, against(stats, row, 1, "kl_to_ones", &got, 1e-9, NEAR_ZERO));
        got = cel_dirichlet_log_normalizer(conc, n);
        worst = golden_max(worst, against(stats, row, 1, "log_normalizer", &got, EXACT, NEAR_ZERO));
    }
    assert_int_equal(row, stats->n_rows);
    test_csv_close(stats);
    test_csv_close(csv);
    cel_free(beside);
    return worst;
}

double golden_beta_pathwise(const char *path) {
    test_csv *csv = test_csv_open(path);
    double worst = 0;
    for (int r = 0; r < csv->n_rows; r++) {
        double x = test_csv_number(csv, r, "x");
        double got = cel_beta_dxda(test_csv_number(csv, r, "a"), test_csv_number(csv, r, "b"), x, 1 - x);
        worst = golden_max(worst, against(csv, r, 1, "exact_dxda", &got, 1e-7, 0));
    }
    test_csv_close(csv);
    return worst;
}

double golden_special_functions(const char *path) {
    test_csv *csv = test_csv_open(path);
    double worst = 0;
    for (int r = 0; r < csv->n_rows; r++) {
        double x = test_csv_number(csv, r, "x"), l = cel_lgamma(x), d = cel_digamma(x), t = cel_trigamma(x);
        worst = golden_max(worst, against(csv, r, 1, "lgamma", &l, EXACT, NEAR_ZERO));
        worst = golden_max(worst, against(csv, r, 1, "digamma", &d, EXACT, NEAR_ZERO));
        worst = golden_max(worst, against(csv, r, 1, "trigamma", &t, EXACT, 0));
    }
    test_csv_close(csv);
    return worst;
}

double golden_elu_concentration(const char *path) {
    test_csv *csv = test_csv_open(path);
    double worst = 0;
    for (int r = 0; r < csv->n_rows; r++) {
        double alpha = test_csv_number(csv, r, "alpha");
        double conc = cel_elu_concentration(alpha), slope = cel_elu_concentration_slope(alpha);
        worst = golden_max(worst, against(csv, r, 1, "concentration", &conc, EXACT, 0));
        worst = golden_max(worst, against(csv, r, 1, "dconcentration_dalpha", &slope, EXACT, 0));
    }
    test_csv_close(csv);
    return worst;
}

double golden_cutout(const char *path) {
    static const char *const edges[] = {"y1", "y2_exclusive", "x1", "x2_exclusive"};
    static const char *const inputs[] = {"height", "width", "length", "cy", "cx"};
    test_csv *csv = test_csv_open(path);
    double worst = 0;
    for (int r = 0; r < csv->n_rows; r++) {
        int in[5], box[4];
        for (int i = 0; i < 5; i++) in[i] = (int)test_csv_number(csv, r, inputs[i]);
        cel_augment_box(in[0], in[1], in[2], in[3], in[4], box);
        for (int i = 0; i < 4; i++)
            if (box[i] != (int)test_csv_number(csv, r, edges[i])) worst = HUGE_VAL;
    }
    test_csv_close(csv);
    return worst;
}

/* ---- reparameterised rows: every group with an "alpha" ---- */

typedef struct group {
    const test_golden *golden;
    char name[64];
    int rows, n;
    const double *alpha, *cotangent, *tangent;
    double worst;
} group;

static const double *data_of(const group *g, const char *name) {
    return test_golden_get(g->golden, "%s.%s", g->name, name)->data;
}

static void same(group *g, const char *name, const double *got, double relative, double absolute) {
    const test_tensor *want = test_golden_get(g->golden, "%s.%s", g->name, name);
    for (size_t i = 0; i < want->n; i++)
        g->worst = golden_max(g->worst, golden_error(got[i], want->data[i], relative, absolute));
}

static void check_softmax(group *g) {
    double value[MOST], vjp[MOST];
    for (int r = 0; r < g->rows * g->n; r += g->n) {
        cel_softmax(g->alpha + r, g->n, value + r);
        cel_softmax_vjp(value + r, g->n, g->cotangent + r, vjp + r);
    }
    same(g, "softmax.value", value, EXACT, 0);
    same(g, "softmax.vjp", vjp, EXACT, NEAR_ZERO);
}

static void check_gaussian(group *g) {
    const double *log_sigma = data_of(g, "gaussian.logsigma"), *eps = data_of(g, "gaussian.eps");
    double value[MOST], dmu[MOST], dlog_sigma[MOST], dsigma[MOST], kl = 0;
    for (int r = 0; r < g->rows * g->n; r += g->n) {
        cel_gaussian_softmax(g->alpha + r, log_sigma + r, eps + r, g->n, value + r);
        cel_gaussian_softmax_vjp(value + r, log_sigma + r, eps + r, g->n, g->cotangent + r, dmu + r, dlog_sigma + r);
    }
    for (int i = 0; i < g->rows * g->n; i++) dsigma[i] = dlog_sigma[i] / exp(log_sigma[i]);
    same(g, "gaussian.value", value, EXACT, 0);
    same(g, "gaussian.grad_mu", dmu, EXACT, NEAR_ZERO);
    same(g, "gaussian.grad_logsigma", dlog_sigma, EXACT, NEAR_ZERO);
    same(g, "gaussian.grad_sigma", dsigma, EXACT, NEAR_ZERO);
    for (int r = 0; r < g->rows * g->n; r += g->n)
        kl += cel_gaussian_kl(g->alpha + r, log_sigma + r, g->n, 1, dmu + r, dlog_sigma + r);
    same(g, "gaussian.kl", &kl, EXACT, 0);
    same(g, "gaussian.kl_grad_mu", dmu, EXACT, NEAR_ZERO);
    same(g, "gaussian.kl_grad_logsigma", dlog_sigma, EXACT, NEAR_ZERO);
}

/* `tau` as in the names ("0.1"). */
static void check_gumbel(group *g, const char *tau_text) {
    const double *noise = data_of(g, "gumbel.noise"), tau = strtod(tau_text, NULL);
    double value[MOST], vjp[MOST], jvp[MOST], hard[MOST], soft[MOST], hard_vjp[MOST], index[MOST];
    for (int row = 0, r = 0; row < g->rows; row++, r += g->n) {
        cel_gumbel_softmax(g->alpha + r, noise + r, g->n, tau, value + r);
        cel_gumbel_softmax_vjp(value + r, g->n, tau, g->cotangent + r, vjp + r);
        cel_gumbel_softmax_jvp(value + r, g->n, tau, g->tangent + r, jvp + r);
        index[row] = cel_gumbel_hard(g->alpha + r, noise + r, g->n, tau, hard + r, soft + r);
        cel_gumbel_softmax_vjp(soft + r, g->n, tau, g->cotangent + r, hard_vjp + r);
    }
    const struct {
        const char *name;
        const double *got;
    } all[] = {{"value", value},    {"vjp", vjp},      {"jvp", jvp},
               {"st.index", index}, {"st.hard", hard}, {"st.vjp", hard_vjp}};
    for (size_t i = 0; i < CEL_COUNT(all); i++) {
        char name[96];
        snprintf(name, sizeof name, "gumbel.tau%s.%s", tau_text, all[i].name);
        /* a logit of size 1/tau carries a rounding of that size */
        same(g, name, all[i].got, EXACT + 1e-14 / tau, NEAR_ZERO / fmin(tau, 1));
    }
}

static void check_all_gumbels(group *g) {
    char before[96];
    int skip = snprintf(before, sizeof before, "%s.gumbel.tau", g->name);
    for (int i = 0; i < g->golden->n_tensors; i++) {
        const char *name = g->golden->tensors[i].name, *end = strstr(name, ".value");
        char tau[32];
        if (strncmp(name, before, (size_t)skip) || !end || end[6]) continue;
        snprintf(tau, sizeof tau, "%.*s", (int)(end - name) - skip, name + skip);
        check_gumbel(g, tau);
    }
}

static void check_mask(group *g) {
    const double *sample = data_of(g, "mask.sample"), *mask = data_of(g, "mask.mask");
    double value[MOST], vjp[MOST];
    for (int r = 0; r < g->rows * g->n; r += g->n) {
        bool keep[MOST];
        double log_x[MOST];
        for (int i = 0; i < g->n; i++) {
            keep[i] = mask[r + i] != 0;
            log_x[i] = log(sample[r + i]);
        }
        cel_simplex_mask(log_x, keep, g->n, value + r);
        cel_simplex_mask_vjp(value + r, g->n, g->cotangent + r, vjp + r);
        for (int i = 0; i < g->n; i++) vjp[r + i] /= sample[r + i];
    }
    same(g, "mask.value", value, EXACT, 0);
    same(g, "mask.vjp", vjp, EXACT, NEAR_ZERO);
}

double golden_reparam(const char *path) {
    test_golden *golden = test_golden_open(path);
    double worst = 0;
    int n_groups = 0;
    for (int i = 0; i < golden->n_tensors; i++) {
        const test_tensor *alpha = &golden->tensors[i];
        const char *end = strstr(alpha->name, ".alpha");
        group g = {.golden = golden, .alpha = alpha->data};
        if (!end || end[6]) continue;
        assert_true(alpha->rank == 2 && alpha->n <= MOST);
        snprintf(g.name, sizeof g.name, "%.*s", (int)(end - alpha->name), alpha->name);
        g.rows = alpha->shape[0];
        g.n = alpha->shape[1];
        g.cotangent = data_of(&g, "cotangent");
        g.tangent = data_of(&g, "tangent");
        check_softmax(&g);
        check_gaussian(&g);
        check_all_gumbels(&g);
        check_mask(&g);
        worst = golden_max(worst, g.worst);
        n_groups++;
    }
    assert_true(n_groups > 0);
    test_golden_close(golden);
    return worst;
}

/* ops.csv and ops.safetensors go together: either name checks both. */
double golden_ops(const char *path) {
    const char *slash = strrchr(path, '/');
    char *dir = slash ? cel_strndup(path, (size_t)(slash - path)) : cel_strdup(".");
    double worst = 0;
    assert_non_null(dir);
    for (int b = 0; cel_backends[b]; b++) {
        double error = 0;
        if (!golden_backend_wanted(cel_backends[b])) continue;
        int failed = golden_ops_run(dir, cel_backends[b], &error);
        worst = golden_max(worst, failed && error <= 1 ? HUGE_VAL : error);
    }
    cel_free(dir);
    return worst;
}
