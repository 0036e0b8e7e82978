/* What methods are composed of: regularisers and edge normalisation against differences, Adam's clipping, temperatures against the
 * papers' formulas, and BaLeNAS' update against the golden one. */
#include "base/conf/opt.h"
#include "math/softmax.h"
#include "math/special.h"
#include "nas/search/part_logits.h"
#include "nas/search/part_regulariser.h"
#include "support/golden_net.h"
#include "support/test.h"
#include "train/optim.h"

enum { ROWS = 3, COLS = 4, N = ROWS * COLS };
static const char *const names[COLS] = {"a", "b", "c", "d"};
static const cel_choice rows[ROWS] = {
    {"1<-0", 0, COLS, 0, 0, 1, names}, {"2<-0", COLS, COLS, 0, 0, 2, names}, {"2<-1", 2 * COLS, COLS, 0, 1, 2, names}};
static const cel_choices choices = {rows, ROWS, N};
static const double start[N] = {0.5, -0.7, 0.1, 1.5, -0.2, 0.3, 0.9, -1.1, 0.4, 2.4, -0.4, 0.2};

static cel_policy *open_policy(const cel_method *method, const cel_choices *of, const char *yaml) {
    cel_policy *policy;
    test_ok(cel_policy_create(method, of, golden_settings(method->opts, method->conf_size + 1, yaml), 5, &policy));
    return policy;
}

static void close_policy(cel_policy *policy) {
    void *conf = (void *)policy->conf;
    cel_policy_destroy(policy);
    cel_free(conf);
}

static double *tensor_of(cel_policy *policy, const char *name) {
    cel_state state = {0};
    test_ok(cel_policy_save(policy, &state));
    assert_non_null(cel_state_find(&state, name));
    double *data = cel_state_find(&state, name)->data;
    cel_state_fini(&state);
    return data;
}

/* ---- regularisers ---- */

static const double sigma[N] = {0.5, 1, 1.5, 2, 0.1, 0.7, 1.1, 1, 1, 3, 0.2, 0.9};

static double value_of(int kind, const cel_policy *policy, const double *x, double scale, double *grad) {
    switch (kind) {
    case 0:
        return cel_part_log_sum_exp(policy, x, scale, grad);
    case 1:
        return cel_part_kl_uniform(policy, x, scale, grad);
    case 2:
        return cel_part_kl_dirichlet(policy, x, scale, grad);
    default:
        return cel_part_kl_gaussian(policy, x, sigma, 2, scale, grad);
    }
}

static void regularisers(void **state) {
    (void)state;
    cel_policy *policy = open_policy(&cel_method_darts, &choices, "{}");
    for (int masked = 0; masked < 2; masked++) {
        if (masked) policy->live[1] = policy->live[2] = policy->live[11] = 0;
        for (int kind = 0; kind < 4; kind++) {
            double x[N], grad[N];
            const double h = 1e-3;
            for (int i = 0; i < N; i++) {
                x[i] = policy->live[i] ? start[i] : 0;
                grad[i] = 7;
            }
            value_of(kind, policy, x, 0.5, grad);
            for (int i = 0; i < N; i++) {
                double f[4], at = x[i];
                for (int j = 0; j < 4; j++) {
                    x[i] = at + h * (double[]){-2, -1, 1, 2}[j];
                    f[j] = value_of(kind, policy, x, 0, NULL);
                }
                x[i] = at;
                double numeric = policy->live[i] ? (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h) : 0;
                test_close(grad[i], 7 + 0.5 * numeric, 0, 1e-9, "gradient of a regulariser");
            }
        }
        double zero[N] = {0};
        test_close(cel_part_kl_uniform(policy, zero, 0, NULL), 0, 0, 1e-15, "uniform");
        test_close(cel_part_kl_dirichlet(policy, zero, 0, NULL), 0, 0, 1e-14, "Dir(1)");
        test_close(cel_part_log_sum_exp(policy, zero, 0, NULL), masked ? (log(2) + log(4) + log(3)) / 3 : log(4), 1e-15,
                   0, "ln n");
    }
    close_policy(policy);
}

/* beta-DARTS' weight rises with the epoch; its pull is the softmax' share. */
static void beta_darts(void **state) {
    (void)state;
    static const cel_method *const methods[] = {&cel_method_darts, &cel_method_drnas, &cel_method_balenas};
    static const char *const tensors[] = {"policy.alpha", "policy.eta", "policy.mu"};
    for (int m = 0; m < 3; m++) {
        cel_policy *policy =
            open_policy(methods[m], &choices, m ? "{beta_scale: 50}" : "{beta_scale: 50, weight_decay: 0}");
        double *x = tensor_of(policy, tensors[m]), zero[N] = {0}, before = policy->method->penalty(policy), sum = 0;
        memcpy(x, start, sizeof start);
        cel_at at = {.phase = CEL_PHASE_ARCH, .epoch = 30, .n_epochs = 100};
        policy->method->step(policy, &at, zero, zero);
        for (int r = 0; r < ROWS; r++) sum += cel_log_sum_exp(x + r * COLS, COLS) / ROWS;
        double kl = m == 2 ? before : 0; /* BaLeNAS' divergence stays, but for what mu has moved */
        test_close(cel_policy_penalty(policy), 50 * 0.3 * sum + kl, 1e-3, 0, "penalty");
        for (int i = 0; i < N; i++) assert_true(x[i] < start[i]); /* the softmax is positive: all fall */
        close_policy(policy);
    }
}

/* ---- Adam ---- */

static void clips(void **state) {
    (void)state;
    cel_policy *policy =
        open_policy(&cel_method_darts, &choices, "{clip: 0.5, lr: 0.1, weight_decay: 0.2, beta1: 0.3}");
    double *alpha = tensor_of(policy, "policy.alpha"), x[N], m[N] = {0}, v[N] = {0}, grad[N], norm = 0;
    memcpy(alpha, start, sizeof start);
    memcpy(x, start, sizeof start);
    policy->live[3] = 0;
    for (int t = 1; t <= 3; t++) {
        double scaled[N];
        for (int i = 0; i < N; i++) grad[i] = i == 3 ? 0 : start[(i + t) % N];
        norm = 0;
        for (int i = 0; i < N; i++) norm += grad[i] * grad[i];
        for (int i = 0; i < N; i++) scaled[i] = grad[i] * cel_clip_factor(sqrt(norm), 0.5);
        cel_adam adam = {.beta1 = 0.3, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.2};
        cel_adam_step(&adam, 0.1, t, N, policy->live, x, scaled, m, v);
        cel_at at = {.phase = CEL_PHASE_ARCH, .n_epochs = 1, .step = t};
        policy->method->step(policy, &at, grad, grad);
        assert_memory_equal(alpha, x, sizeof x);
        assert_true(alpha[3] == start[3]);
    }
    close_policy(policy);
}

/* ---- edge normalisation ---- */

static double quadratic(const double *w, double *dw) {
    double loss = 0;
    for (int i = 0; i < N; i++) {
        loss += start[i] * w[i] + (1 + i % 3) * w[i] * w[i];
        if (dw) dw[i] = start[i] + 2 * (1 + i % 3) * w[i];
    }
    return loss;
}

static double loss_at(cel_policy *policy, double *dw) {
    double weights[N];
    uint8_t gates[N];
    cel_at at = {.phase = CEL_PHASE_ARCH, .n_epochs = 1};
    cel_policy_sample(policy, &at, weights, gates);
    return quadratic(weights, dw);
}

static void edges(void **state) {
    (void)state;
    static const cel_method *const methods[] = {&cel_method_darts, &cel_method_pcdarts, &cel_method_snas,
                                                &cel_method_balenas};
    static const char *const tensors[] = {"policy.alpha", "policy.alpha", "policy.alpha", "policy.mu"};
    for (int m = 0; m < 4; m++) {
        cel_policy *policy = open_policy(methods[m], &choices, "{}");
        assert_int_equal(cel_policy_n_grad(policy), N);
        test_ok(cel_policy_normalise_edges(policy, &(cel_edge_conf){0.01, 0.1}));
        assert_int_equal(cel_policy_n_grad(policy), N + ROWS);
        double *x[2] = {tensor_of(policy, tensors[m]), tensor_of(policy, "policy.edges.beta")};
        double share[ROWS], dw[N], grad[N + ROWS], grad2[N + ROWS], mean[N], own[N];
        memcpy(x[0], start, sizeof start);
        memcpy(x[1], (double[]){3, 0.5, -0.2}, ROWS * sizeof(double));
        cel_policy_shares(policy, share);
        assert_true(share[0] == 1); /* node 1 has one edge */
        test_close(share[1], 1 / (1 + exp(-0.7)), 1e-14, 0, "share");
        test_close(share[1] + share[2], 1, 1e-15, 0, "shares into node 2");
        cel_policy_mean(policy, mean);
        policy->method->mean(policy, own);
        for (int i = 0; i < N; i++) test_close(mean[i], own[i] * share[i / COLS], 1e-15, 0, "mean weight");
        loss_at(policy, dw);
        cel_at at = {.phase = CEL_PHASE_ARCH, .n_epochs = 1};
        cel_policy_gradient(policy, &at, &(cel_feedback){.dweights = dw}, grad);
        const double h = 1e-3;
        for (int i = 0; i < N + ROWS; i++) {
            double *at_i = i < N ? &x[0][i] : &x[1][i - N], was = *at_i, f[4];
            for (int j = 0; j < 4; j++) {
                *at_i = was + h * (double[]){-2, -1, 1, 2}[j];
                f[j] = loss_at(policy, NULL);
            }
            *at_i = was;
            test_close(grad[i], (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h), 1e-7, 1e-9, "gradient with shares");
        }
        for (int i = 0; i < N + ROWS; i++) grad2[i] = grad[i] * grad[i];
        double beta[ROWS], moment[ROWS] = {0}, square[ROWS] = {0};
        memcpy(beta, x[1], sizeof beta);
        cel_adam adam = {.beta1 = 0.5, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1};
        cel_adam_step(&adam, 0.01, 1, ROWS, NULL, beta, grad + N, moment, square);
        cel_policy_step(policy, &at, grad, grad2);
        assert_memory_equal(beta, x[1], sizeof beta);
        assert_true(x[0][0] != start[0]);
        close_policy(policy);
    }
}

/* ---- temperatures ---- */

/* Of the draw that a method makes with noise `given` in the first entry only. */
static double temperature(cel_policy *policy, int epoch, int n_epochs) {
    double weights[N], noise[N] = {0};
    uint8_t gates[N];
    cel_at at = {.phase = CEL_PHASE_ARCH, .epoch = epoch, .n_epochs = n_epochs, .replay = noise};
    noise[0] = 0.25;
    memset(tensor_of(policy, "policy.alpha"), 0, N * sizeof(double));
    cel_policy_sample(policy, &at, weights, gates);
    return 0.25 / (log(weights[0]) - log(weights[1]));
}

static void temperatures(void **state) {
    (void)state;
    cel_policy *paper = open_policy(&cel_method_snas, &choices, "{tau_epochs: 150}");
    cel_policy *drnas = open_policy(&cel_method_snas, &choices, "{tau: 10, tau_min: 1}");
    for (int e = 0; e < 160; e += 13) {
        double want = e < 150 ? (1 - e / 150.0) * (1 - 0.03) + 0.03 : 0.03;
        test_close(temperature(paper, e, 150), want, 1e-9, 0, "SNAS' temperature");
    }
    test_close(temperature(drnas, 0, 100), 10, 1e-9, 0, "first");
    test_close(temperature(drnas, 99, 100), 1, 1e-9, 0, "last");
    test_close(temperature(drnas, 33, 100), 10 - 9 * 33 / 99.0, 1e-9, 0, "between");
    /* where it underflows, an operation is off and has no gradient */
    cel_policy *cold = open_policy(&cel_method_snas, &choices, "{tau: 0.00001, tau_min: 0.00001}");
    double weights[N], grad[N], dw[N];
    uint8_t gates[N];
    cel_at at = {.phase = CEL_PHASE_ARCH, .n_epochs = 1};
    cel_policy_sample(cold, &at, weights, gates);
    for (int r = 0; r < ROWS; r++) {
        int on = 0;
        for (int i = r * COLS; i < (r + 1) * COLS; i++) {
            on += gates[i];
            dw[i] = 1;
            assert_true(gates[i] == (weights[i] != 0));
        }
        assert_int_equal(on, 1);
    }
    cel_policy_gradient(cold, &at, &(cel_feedback){.dweights = dw}, grad);
    for (int i = 0; i < N; i++) assert_true(isfinite(grad[i]));
    close_policy(paper);
    close_policy(drnas);
    close_policy(cold);
}

/* ---- BaLeNAS ---- */

enum { DRAWS = 8, MOST = 32 };
static int numbers(const char *text, double *out) {
    int n = 0;
    char *end;
    for (const char *p = text; *p && n < DRAWS; n++) {
        out[n] = strtod(p, &end);
        assert_true(end != p);
        p = *end ? end + 1 : end;
    }
    return n;
}

/* One choice with a candidate a parameter; draws by the file's noise, and the file's gradients. */
static void balenas_golden(void **state) {
    (void)state;
    test_csv *csv = test_csv_open("golden/optim_vadam.csv");
    int cases = 0;
    for (int first = 0, end; first < csv->n_rows; first = end, cases++) {
        const char *name = test_csv_text(csv, first, "case");
        for (end = first; end < csv->n_rows && !strcmp(test_csv_text(csv, end, "case"), name);) end++;
        int n = 0;
        while (test_csv_number(csv, first + n, "step") == 0) n++;
        assert_true(n >= 2 && n <= MOST);
        static const char *const labels[MOST];
        const cel_choice row = {"row", 0, n, 0, 0, 1, labels};
        const cel_choices one = {&row, 1, n};
        char yaml[256];
        snprintf(yaml, sizeof yaml, "{lr: %s, n_data: %s, prior_prec: %s, prec_init: %s, beta1: %s, beta2: %s}",
                 test_csv_text(csv, first, "lr"), test_csv_text(csv, first, "train_set_size"),
                 test_csv_text(csv, first, "prior_prec"), test_csv_text(csv, first, "prec_init"),
                 test_csv_text(csv, first, "beta1"), test_csv_text(csv, first, "beta2"));
        cel_policy *policy = open_policy(&cel_method_balenas, &one, yaml);
        double *mu = tensor_of(policy, "policy.mu"), *s = tensor_of(policy, "policy.vadam.s");
        for (int i = 0; i < n; i++) mu[i] = test_csv_number(csv, first + i, "mu");
        for (int at_row = first + n; at_row + n <= end; at_row += n) {
            double eps[MOST][DRAWS], alpha[MOST][DRAWS], g[MOST][DRAWS], mean[MOST] = {0}, mean2[MOST] = {0};
            int draws = 0;
            for (int i = 0; i < n; i++) {
                draws = numbers(test_csv_text(csv, at_row + i, "eps"), eps[i]);
                numbers(test_csv_text(csv, at_row + i, "alpha"), alpha[i]);
                numbers(test_csv_text(csv, at_row + i, "grad"), g[i]);
            }
            cel_at at = {.phase = CEL_PHASE_ARCH, .n_epochs = 1};
            for (at.draw = 0; at.draw < draws; at.draw++) {
                double noise[MOST], want[MOST], weights[MOST];
                uint8_t gates[MOST];
                for (int i = 0; i < n; i++) {
                    noise[i] = eps[i][at.draw];
                    want[i] = alpha[i][at.draw];
                    mean[i] += g[i][at.draw] / draws;
                    mean2[i] += g[i][at.draw] * g[i][at.draw] / draws;
                }
                at.replay = noise;
                cel_policy_sample(policy, &at, weights, gates);
                cel_softmax(want, n, want);
                for (int i = 0; i < n; i++) test_close(weights[i], want[i], 1e-12, 0, "softmax of the draw");
            }
            policy->method->step(policy, &at, mean, mean2);
            for (int i = 0; i < n; i++) {
                test_close(mu[i], test_csv_number(csv, at_row + i, "mu"), 1e-12, 1e-16, "mu");
                test_close(s[i], test_csv_number(csv, at_row + i, "s"), 1e-12, 1e-24, "s");
            }
        }
        close_policy(policy);
    }
    assert_true(cases >= 3);
    test_csv_close(csv);
}

/* What the settings mean: the images, the temperature, the draw of a weight step, the divergence from the prior. */
static void balenas_settings(void **state) {
    (void)state;
    cel_policy *policy =
        open_policy(&cel_method_balenas, &choices, "{prec_init: 4, prior_prec: 2, temper: 5, init_scale: 0}");
    cel_policy *sampled = open_policy(&cel_method_balenas, &choices, "{weight_draw: true}");
    double weights[N], noise[N], ones[N], kl = 0;
    uint8_t gates[N];
    for (int i = 0; i < N; i++) noise[i] = start[i];
    for (int i = 0; i < N; i++) ones[i] = 0.01;
    cel_at at = {.phase = CEL_PHASE_ARCH, .n_epochs = 1, .replay = noise};
    cel_policy_sample(policy, &at, weights, gates);
    test_close(log(weights[0] / weights[1]), (start[0] - start[1]) / 2, 1e-12, 0, "sigma is 1/sqrt(prec_init)");
    policy->n_images = 500;
    policy->method->step(policy, &at, ones, ones);
    /* s = 0.999 (4 - 2) / 100 + 0.001 * 0.01, of 500 / 5 images */
    const double s = 0.999 * 0.02 + 0.001 * 0.01;
    test_close(tensor_of(policy, "policy.vadam.s")[0], s, 1e-12, 0, "s");
    for (int i = 0; i < N; i++) {
        double mu = tensor_of(policy, "policy.mu")[i], variance = 1 / (100 * s + 2);
        kl += 0.5 * (2 * (variance + mu * mu) - 1 - log(2 * variance));
    }
    test_close(cel_policy_penalty(policy), kl / 100, 1e-12, 0, "divergence an image");
    at.phase = CEL_PHASE_WEIGHT;
    cel_policy_sample(policy, &at, weights, gates);
    double mean[N];
    cel_policy_mean(policy, mean);
    assert_memory_equal(mean, weights, sizeof mean);
    cel_policy_sample(sampled, &at, weights, gates);
    assert_true(fabs(log(weights[0] / weights[1]) - (start[0] - start[1])) < 0.05); /* mu is 1e-3 */
    close_policy(policy);
    close_policy(sampled);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(regularisers),    cmocka_unit_test(beta_darts),
                                       cmocka_unit_test(clips),           cmocka_unit_test(edges),
                                       cmocka_unit_test(temperatures),    cmocka_unit_test(balenas_golden),
                                       cmocka_unit_test(balenas_settings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
