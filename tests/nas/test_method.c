/* The contract of every registered method, on a toy space without a network: it finds the best operation of each choice, what it
 * reports is a distribution, it goes on from a saved state to the same bytes, and it survives a lack of memory. Then DrNAS' own
 * promises: its gradient against differences of the reparameterised loss, its regularisers, pruning. */
#include "base/conf/opt.h"
#include "math/dirichlet.h"
#include "math/special.h"
#include "nas/search/policy.h"
#include "support/test.h"

enum { ROWS = 3, COLS = 4, N = ROWS * COLS };
static const char *const names[COLS] = {"a", "b", "c", "d"};
static const cel_choice rows[ROWS] = {
    {"1<-0", 0, COLS, 0, 0, 1, names}, {"2<-0", COLS, COLS, 0, 0, 2, names}, {"2<-1", 2 * COLS, COLS, 0, 1, 2, names}};
static const cel_choices choices = {rows, ROWS, N};
/* The toy loss is sum cost * weight: the cheapest of each row is best (columns 2, 0, 3). */
static const double cost[N] = {0.3, 0.2, -0.5, 0.1, -0.6, 0.3, 0.2, 0.4, 0.1, 0.2, 0.3, -0.4};
static const int best[ROWS] = {2, 0, 3};

static void *default_conf(const cel_method *method) {
    void *conf = cel_alloc(1, method->conf_size + 1);
    assert_non_null(conf);
    if (method->opts) cel_opt_defaults(method->opts, conf);
    return conf;
}

/* Where an option of the method lies in its conf; NULL if it has none of that name. */
static void *option(const cel_method *method, void *conf, const char *name) {
    for (const cel_opt *o = method->opts; o && o->kind != CEL_OPT_END; o++)
        if (!strcmp(o->name, name)) return (char *)conf + o->offset;
    return NULL;
}

static double toy_loss(const double *weights) {
    double loss = 0;
    for (int i = 0; i < N; i++) loss += cost[i] * weights[i];
    return loss;
}

/* One architecture half-step on the toy. */
static void toy_step(cel_policy *policy, int64_t step) {
    double weights[N], grad[N], grad_mean[N] = {0}, grad2[N] = {0};
    uint8_t gates[N];
    cel_at at = {.phase = CEL_PHASE_ARCH, .n_epochs = 1, .step = step};
    int draws = cel_policy_draws(policy);
    assert_int_equal(policy->n_params, N);
    for (at.draw = 0; at.draw < draws; at.draw++) {
        cel_policy_sample(policy, &at, weights, gates);
        cel_feedback feedback = {.dweights = cost, .loss = toy_loss(weights)};
        cel_policy_gradient(policy, &at, &feedback, grad);
        for (int i = 0; i < N; i++) {
            grad_mean[i] += grad[i] / draws;
            grad2[i] += grad[i] * grad[i] / draws;
        }
    }
    policy->method->step(policy, &at, grad_mean, grad2);
}

/* Passes first .. end-1 of an epoch of a method that learns from rewards; a cell's accuracy falls with its toy loss. */
static void toy_passes(cel_policy *policy, int epoch, int first, int end) {
    double weights[N];
    uint8_t gates[N];
    cel_at at = {.phase = CEL_PHASE_REWARD, .epoch = epoch, .n_epochs = 100};
    for (at.step = first; at.step < end; at.step++) {
        cel_policy_sample(policy, &at, weights, gates);
        cel_feedback feedback = {.loss = 3 + toy_loss(weights), .accuracy = (1.5 - toy_loss(weights)) / 4};
        assert_true(feedback.accuracy > 0 && feedback.accuracy < 1);
        policy->method->reward(policy, &at, &feedback);
    }
}

static void toy_epoch(cel_policy *policy, int epoch) {
    cel_at at = {.epoch = epoch, .n_epochs = 100};
    toy_passes(policy, epoch, 0, cel_policy_rollouts(policy));
    if (policy->method->epoch) policy->method->epoch(policy, &at);
}

static int chosen(const double *values, int row) {
    int at = 0;
    for (int i = 1; i < COLS; i++)
        if (values[row * COLS + i] > values[row * COLS + at]) at = i;
    return at;
}

/* What cells of the distribution cost on the mean. */
static double mean_cost(const cel_policy *policy) {
    enum { DRAWS = 1000 };
    cel_rng rng = cel_rng_at(1, "test.draws", 0, 0);
    double sum = 0;
    for (int d = 0; d < DRAWS; d++) {
        double values[N];
        policy->method->draw(policy, &rng, values);
        for (int r = 0; r < ROWS; r++) sum += cost[r * COLS + chosen(values, r)] / DRAWS;
    }
    return sum;
}

/* A method that follows a gradient finds the best operation of each choice; one that follows rewards, which may settle on a good
 * cell that is not the best, comes at least half of the way (at four times its rate: passes are what costs time here). */
static void finds_the_best(void **state) {
    (void)state;
    for (int m = 0; cel_methods[m]; m++) {
        const cel_method *method = cel_methods[m];
        void *conf = default_conf(method);
        double *lr = option(method, conf, "lr");
        cel_policy *policy;
        if (method->reward && lr) *lr *= 4;
        test_ok(cel_policy_create(method, &choices, conf, 7, &policy));
        double scores[N], before[N], cost_before = mean_cost(policy);
        cel_policy_scores(policy, before);
        assert_true(!method->gradient == !method->step && !method->reward == !method->rollouts);
        for (int s = 0; method->gradient && s < 500; s++) toy_step(policy, s);
        for (int e = 0; method->reward && e < 16; e++) toy_epoch(policy, e);
        cel_policy_scores(policy, scores);
        const double least = -0.5 - 0.6 - 0.4;
        if (method->reward) assert_true(mean_cost(policy) < (cost_before + least) / 2);
        for (int r = 0; r < ROWS && !method->reward; r++) {
            if (method->gradient) {
                assert_int_equal(chosen(scores, r), best[r]);
            } else {
                assert_int_equal(chosen(scores, r), chosen(before, r));
            }
        }
        cel_policy_destroy(policy);
        cel_free(conf);
    }
}

static void is_a_distribution(void **state) {
    (void)state;
    for (int m = 0; cel_methods[m]; m++) {
        void *conf = default_conf(cel_methods[m]);
        cel_policy *policy;
        test_ok(cel_policy_create(cel_methods[m], &choices, conf, 3, &policy));
        int keeps[] = {COLS, 2, 1};
        for (int k = 0; k < 3; k++) {
            if (k && !policy->method->prune) break;
            if (k) test_ok(policy->method->prune(policy, keeps[k]));
            double mean[N], report[N], draw[N], weights[N];
            uint8_t gates[N];
            cel_rng rng = cel_rng_at(1, "test", 0, 0);
            policy->method->mean(policy, mean);
            cel_policy_report(policy, report);
            policy->method->draw(policy, &rng, draw);
            cel_at at = {.phase = CEL_PHASE_WEIGHT, .n_epochs = 1};
            cel_policy_sample(policy, &at, weights, gates);
            for (int r = 0; r < ROWS; r++) {
                double sum = 0, drawn = 0;
                int live = 0, on = 0;
                for (int i = r * COLS; i < (r + 1) * COLS; i++) {
                    sum += mean[i];
                    drawn += weights[i];
                    live += policy->live[i];
                    on += gates[i];
                    assert_true(isfinite(draw[i]) && isfinite(report[i]) && weights[i] >= 0);
                    if (!policy->live[i]) assert_true(mean[i] == 0 && report[i] == 0 && weights[i] == 0 && !gates[i]);
                    if (policy->live[i]) assert_true(mean[i] > 0 && report[i] > 0);
                    if (!gates[i]) assert_true(weights[i] == 0);
                }
                assert_int_equal(live, keeps[k]);
                assert_true(on >= 1 && on <= live);
                test_close(sum, 1, 1e-12, 0, "sum of the mean");
                test_close(drawn, 1, 1e-12, 0, "sum of a draw");
            }
            double most = log((double)keeps[k]);
            assert_true(cel_policy_entropy(policy) >= 0 && cel_policy_entropy(policy) <= most + 1e-12);
        }
        cel_policy_destroy(policy);
        cel_free(conf);
    }
}

/* 10 steps, saved, 10 more; and 10 more from what was saved. */
static void resumes(void **state) {
    (void)state;
    for (int m = 0; cel_methods[m]; m++) {
        void *conf = default_conf(cel_methods[m]);
        cel_policy *a, *b;
        test_ok(cel_policy_create(cel_methods[m], &choices, conf, 11, &a));
        test_ok(cel_policy_create(cel_methods[m], &choices, conf, 12, &b));
        cel_state from = {0}, to = {0};
        test_ok(cel_policy_save(a, &from));
        test_ok(cel_policy_save(b, &to));
        b->seed = a->seed;
        for (int s = 0; a->method->gradient && s < 10; s++) toy_step(a, s);
        if (a->method->reward) toy_passes(a, 0, 0, 7);
        if (a->method->prune) test_ok(a->method->prune(a, 3));
        for (int i = 0; i < from.n; i++) {
            const cel_state_item *item = cel_state_find(&to, from.items[i].name);
            assert_non_null(item);
            memcpy(item->data, from.items[i].data, item->bytes);
        }
        for (int s = 10; a->method->gradient && s < 20; s++) {
            toy_step(a, s);
            toy_step(b, s);
        }
        if (a->method->reward) {
            int n = cel_policy_rollouts(a);
            toy_passes(a, 0, 7, n);
            toy_passes(b, 0, 7, n);
            toy_epoch(a, 1);
            toy_epoch(b, 1);
        }
        for (int i = 0; i < from.n; i++)
            assert_memory_equal(cel_state_find(&to, from.items[i].name)->data, from.items[i].data, from.items[i].bytes);
        cel_state_fini(&from);
        cel_state_fini(&to);
        cel_policy_destroy(a);
        cel_policy_destroy(b);
        cel_free(conf);
    }
}

static void memory(void **state) {
    (void)state;
    for (int m = 0; cel_methods[m]; m++) {
        void *conf = default_conf(cel_methods[m]);
        cel_policy *policy = NULL;
        for (uint64_t n = 1;; n++) {
            cel_mem_fail_at(n);
            cel_status status = cel_policy_create(cel_methods[m], &choices, conf, 3, &policy);
            cel_mem_fail_at(0);
            if (status == CEL_OK) break;
            assert_int_equal(status, CEL_NOMEM);
        }
        cel_policy_destroy(policy);
        cel_free(conf);
    }
}

static void unknown(void **state) {
    (void)state;
    const cel_method *method;
    test_ok(cel_method_find("drnas", &method));
    assert_ptr_equal(method, &cel_method_drnas);
    test_fails(cel_method_find("drnsa", &method), CEL_CONFIG, "did you mean \"drnas\"");
    test_fails(cel_method_find("", &method), CEL_CONFIG, "there is no");
}

/* ---- DrNAS ---- */

static cel_policy *drnas(void *conf) {
    cel_policy *policy;
    test_ok(cel_policy_create(&cel_method_drnas, &choices, conf, 5, &policy));
    return policy;
}

static double *tensor_of(cel_policy *policy, const char *name) {
    cel_state state = {0};
    test_ok(cel_policy_save(policy, &state));
    double *data = cel_state_find(&state, name)->data;
    cel_state_fini(&state);
    return data;
}

/* Mean over many draws of the pathwise gradient = gradient of the exact mean E[sum cost * theta] = sum cost * beta / B. */
static void gradient_is_right(void **state) {
    (void)state;
    void *conf = default_conf(&cel_method_drnas);
    cel_policy *policy = drnas(conf);
    double *eta = tensor_of(policy, "policy.eta"), mean[N] = {0};
    static const double start[N] = {0.5, -0.7, 0.1, 1.5, -0.2, 0.3, 0.9, -1.1, 0, 0.4, -0.4, 0.2};
    memcpy(eta, start, sizeof start);
    enum { DRAWS = 20000 };
    for (int d = 0; d < DRAWS; d++) {
        double weights[N], grad[N];
        uint8_t gates[N];
        cel_at at = {.phase = CEL_PHASE_ARCH, .n_epochs = 1, .step = d};
        cel_policy_sample(policy, &at, weights, gates);
        cel_feedback feedback = {.dweights = cost};
        cel_policy_gradient(policy, &at, &feedback, grad);
        for (int i = 0; i < N; i++) mean[i] += grad[i] / DRAWS;
    }
    for (int r = 0; r < ROWS; r++) {
        double total = 0, value = 0;
        for (int i = r * COLS; i < (r + 1) * COLS; i++) total += cel_elu_concentration(eta[i]);
        for (int i = r * COLS; i < (r + 1) * COLS; i++) value += cost[i] * cel_elu_concentration(eta[i]) / total;
        for (int i = r * COLS; i < (r + 1) * COLS; i++)
            test_close(mean[i], cel_elu_concentration_slope(eta[i]) * (cost[i] - value) / total, 0.02, 2e-3,
                       "mean of the pathwise gradient");
    }
    cel_policy_destroy(policy);
    cel_free(conf);
}

/* Without a loss L2 pulls eta to 0 and KL the concentrations to 1; the penalty is the divergence. */
static void regularisers(void **state) {
    (void)state;
    for (int reg = 0; reg < 3; reg++) {
        void *conf = default_conf(&cel_method_drnas);
        *(int *)option(&cel_method_drnas, conf, "reg") = reg;
        *(double *)option(&cel_method_drnas, conf, "lr") = 0.01;
        cel_policy *policy = drnas(conf);
        double *eta = tensor_of(policy, "policy.eta"), zero[N] = {0}, want = 0;
        for (int i = 0; i < N; i++) eta[i] = 0.5 - 0.08 * i;
        double before[N];
        memcpy(before, eta, sizeof before);
        for (int r = 0; r < ROWS; r++) {
            double conc[COLS];
            for (int i = 0; i < COLS; i++) conc[i] = cel_elu_concentration(eta[r * COLS + i]);
            want += 1e-3 * cel_dirichlet_kl_to_ones(conc, COLS, NULL);
        }
        test_close(cel_policy_penalty(policy), reg == 1 ? want : 0, 1e-12, 0, "penalty");
        cel_at at = {.phase = CEL_PHASE_ARCH, .n_epochs = 1};
        for (int s = 0; s < 500; s++) policy->method->step(policy, &at, zero, zero);
        for (int i = 0; i < N; i++) test_close(eta[i], reg == 2 ? before[i] : 0, 0, reg == 2 ? 0 : 0.02, "eta");
        cel_policy_destroy(policy);
        cel_free(conf);
    }
}

/* Pruned entries stay at rest and out of every later step. */
static void pruning(void **state) {
    (void)state;
    void *conf = default_conf(&cel_method_drnas);
    cel_policy *policy = drnas(conf);
    double *eta = tensor_of(policy, "policy.eta");
    for (int s = 0; s < 50; s++) toy_step(policy, s);
    double before[N];
    memcpy(before, eta, sizeof before);
    test_ok(policy->method->prune(policy, 2));
    for (int s = 50; s < 60; s++) toy_step(policy, s);
    for (int r = 0; r < ROWS; r++) {
        assert_true(policy->live[r * COLS + chosen(before, r)]);
        for (int i = r * COLS; i < (r + 1) * COLS; i++) {
            if (policy->live[i]) {
                assert_true(eta[i] != before[i]);
            } else {
                assert_true(eta[i] == 0);
            }
        }
    }
    cel_policy_destroy(policy);
    cel_free(conf);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_the_best), cmocka_unit_test(is_a_distribution),
                                       cmocka_unit_test(resumes),        cmocka_unit_test(memory),
                                       cmocka_unit_test(unknown),        cmocka_unit_test(gradient_is_right),
                                       cmocka_unit_test(regularisers),   cmocka_unit_test(pruning)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
