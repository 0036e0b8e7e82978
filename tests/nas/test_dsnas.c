/* DSNAS: its gradient against the mean over all paths, one step written out, and edges that are fixed early. */
#include "math/softmax.h"
#include "support/policy_rig.h"

enum { ROWS = 3, COLS = 4, N = ROWS * COLS };

static cel_policy *dsnas(const char *yaml) { return test_policy_open(&cel_method_dsnas, &test_choices, yaml, 3); }

/* A loss that is not linear in the drawn path: costs of the operations and of each pair. */
static double loss_of(const int *path) {
    double cost = 0;
    for (int r = 0; r < ROWS; r++) cost += sin(1.3 * (r * COLS + path[r]));
    return cost + 0.3 * cos(path[0] + 2.0 * path[1]) - 0.2 * cos(3.0 * path[1] * path[2]);
}

/* One draw: grad = R (onehot - softmax) with R the loss' derivative by the weight of the operation that ran. */
static void follows_the_formula(void **state) {
    (void)state;
    cel_policy *policy = dsnas("{}");
    double *alpha = test_policy_tensor(policy, "alpha"), weights[N], grad[N], dweights[N] = {0}, mean = 0;
    uint8_t gates[N];
    for (int i = 0; i < N; i++) mean += alpha[i] / N;
    test_close(mean, 1, 0, 0.02, "where log alpha starts");
    for (int i = 0; i < N; i++) alpha[i] = sin(1.0 + i);
    for (int s = 0; s < 20; s++) {
        cel_at at = {.n_epochs = 1, .step = s};
        cel_policy_sample(policy, &at, weights, gates);
        int on = 0;
        for (int i = 0; i < N; i++) {
            assert_true(weights[i] == gates[i]);
            on += gates[i];
            dweights[i] = gates[i] ? cos(1.0 + i) : 0;
        }
        assert_int_equal(on, ROWS);
        cel_feedback feedback = {.dweights = dweights};
        cel_policy_gradient(policy, &at, &feedback, grad);
        for (int r = 0; r < N; r += COLS) {
            double p[COLS], reward = 0;
            cel_softmax(alpha + r, COLS, p);
            for (int i = 0; i < COLS; i++) reward += dweights[r + i];
            for (int i = 0; i < COLS; i++)
                test_close(grad[r + i], reward * (weights[r + i] - p[i]), 1e-13, 1e-15, "gradient");
        }
    }
    test_policy_close(policy);
}

/* With the loss itself as every choice's reward, the gradient's exact mean over all paths is the derivative of the mean loss. */
static void is_a_score_function(void **state) {
    (void)state;
    cel_policy *policy = dsnas("{}");
    double *alpha = test_policy_tensor(policy, "alpha"), sum[N] = {0};
    for (int i = 0; i < N; i++) alpha[i] = 0.7 * sin(2.0 * i);
    for (int code = 0; code < COLS * COLS * COLS; code++) {
        int path[ROWS] = {code % COLS, code / COLS % COLS, code / COLS / COLS};
        double drawn[N] = {0}, weights[N], grad[N], p[N], probability = 1, dweights[N] = {0};
        uint8_t gates[N];
        policy->method->mean(policy, p);
        for (int r = 0; r < ROWS; r++) {
            drawn[r * COLS + path[r]] = 1;
            dweights[r * COLS + path[r]] = loss_of(path);
            probability *= p[r * COLS + path[r]];
        }
        cel_at at = {.n_epochs = 1, .replay = drawn};
        cel_feedback feedback = {.dweights = dweights};
        cel_policy_sample(policy, &at, weights, gates);
        assert_memory_equal(weights, drawn, sizeof drawn);
        cel_policy_gradient(policy, &at, &feedback, grad);
        for (int i = 0; i < N; i++) sum[i] += probability * grad[i];
    }
    for (int i = 0; i < N; i++) {
        const double h = 1e-4, start = alpha[i];
        double mean_loss[2] = {0};
        for (int side = 0; side < 2; side++) {
            double p[N];
            alpha[i] = start + (side ? h : -h);
            policy->method->mean(policy, p);
            for (int code = 0; code < COLS * COLS * COLS; code++) {
                int path[ROWS] = {code % COLS, code / COLS % COLS, code / COLS / COLS};
                mean_loss[side] += loss_of(path) * p[path[0]] * p[COLS + path[1]] * p[2 * COLS + path[2]];
            }
        }
        alpha[i] = start;
        test_close(sum[i], (mean_loss[1] - mean_loss[0]) / (2 * h), 1e-6, 1e-9, "mean gradient");
    }
    test_policy_close(policy);
}

/* The first step of Adam, then: an edge is fixed when its best is more probable than the next by method.fix, and not before. */
static void fixes_edges(void **state) {
    (void)state;
    cel_policy *policy = dsnas("{lr: 0.001, fix: 0.3}");
    double *alpha = test_policy_tensor(policy, "alpha"), before[N], grad[N], p[N];
    cel_at at = {.n_epochs = 1};
    for (int i = 0; i < N; i++) {
        alpha[i] = 0.1 * (i % COLS);
        grad[i] = sin(1.0 + i);
    }
    memcpy(before, alpha, sizeof before);
    policy->method->step(policy, &at, grad, grad);
    for (int i = 0; i < N; i++) {
        test_close(alpha[i], before[i] - 0.001 * grad[i] / (fabs(grad[i]) + 1e-8), 1e-12, 0, "log alpha");
        assert_true(policy->live[i]);
    }
    /* two operations e^x and 1, two of no weight: the difference is tanh(x / 2), 0.3 at x = 0.6190392 */
    static const double close_to[2] = {0.6180, 0.6200};
    for (int i = 0; i < N; i++) grad[i] = 0;
    for (int fixed = 0; fixed < 2; fixed++) {
        double *m = test_policy_tensor(policy, "adam.m");
        memset(m, 0, N * sizeof *m);
        for (int i = 0; i < COLS; i++) alpha[COLS + i] = i == 2 ? close_to[fixed] : i == 1 ? 0 : -50;
        policy->method->step(policy, &at, grad, grad);
        for (int i = 0; i < N; i++) assert_int_equal(policy->live[i], !fixed || i / COLS != 1 || i == COLS + 2);
    }
    /* and stays: alone in draws, without a gradient, unmoved */
    double kept = alpha[COLS + 2], weights[N], dweights[N];
    uint8_t gates[N];
    for (int i = 0; i < N; i++) dweights[i] = 1;
    for (int s = 0; s < 50; s++) {
        cel_at now = {.n_epochs = 1, .step = s};
        cel_feedback feedback = {.dweights = dweights};
        cel_policy_sample(policy, &now, weights, gates);
        assert_true(weights[COLS + 2] == 1);
        cel_policy_gradient(policy, &now, &feedback, grad);
        for (int i = COLS; i < 2 * COLS; i++) assert_true(grad[i] == 0);
        policy->method->step(policy, &now, grad, grad);
        policy->method->mean(policy, p);
        assert_true(p[COLS + 2] == 1);
    }
    assert_true(alpha[COLS + 2] == kept);
    test_policy_close(policy);
}

static void never_fixes(void **state) {
    (void)state;
    cel_policy *policy = dsnas("{fix: 0}");
    double *alpha = test_policy_tensor(policy, "alpha"), grad[N] = {0};
    cel_at at = {.n_epochs = 1};
    alpha[1] = 100;
    policy->method->step(policy, &at, grad, grad);
    for (int i = 0; i < N; i++) assert_true(policy->live[i]);
    test_policy_close(policy);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(follows_the_formula), cmocka_unit_test(is_a_score_function),
                                       cmocka_unit_test(fixes_edges), cmocka_unit_test(never_fixes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
