/* ENAS: the controller's gradient against differences of the log probability of a draw, its distribution, the baseline and a step written
 * out, and that it learns, goes on to the same bytes, and leaves out what was pruned. */
#include "support/policy_rig.h"

enum { ROWS = 3, COLS = 4, N = ROWS * COLS };
static const char tiny[] = "{hidden: 5, layers: 2, init_scale: 0.8, steps: 2, samples: 3, lr: 0.1, eps: 0.001}";
static const int best[ROWS] = {2, 0, 3};

static cel_policy *enas(const char *yaml) { return test_policy_open(&cel_method_enas, &test_choices, yaml, 3); }

/* The controller's most probable path and its log probability. */
static double greedy(cel_policy *policy, double *path) {
    double p[N], sum = 0;
    policy->method->scores(policy, p);
    for (int r = 0; r < N; r += COLS) {
        int at = r;
        for (int i = r; i < r + COLS; i++) {
            if (p[i] > p[at]) at = i;
            path[i] = 0;
        }
        path[at] = 1;
        sum += log(p[at]);
    }
    return sum;
}

/* Rewards a path so that the controller adds minus the gradient of its log probability, and makes no step. */
static void reward_path(cel_policy *policy, const double *path, double accuracy) {
    double weights[N];
    uint8_t gates[N];
    cel_at at = {.phase = CEL_PHASE_REWARD, .n_epochs = 1, .replay = path};
    cel_feedback feedback = {.accuracy = accuracy};
    cel_policy_sample(policy, &at, weights, gates);
    for (int i = 0; i < N; i++) assert_true(weights[i] == path[i] && gates[i] == (path[i] > 0));
    policy->method->reward(policy, &at, &feedback);
}

static void gradient_matches_differences(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        cel_policy *policy =
            test_policy_open(&cel_method_enas, &test_choices,
                             "{hidden: 5, init_scale: 0.8, samples: 10, decay: 1, entropy_weight: 0}", seed);
        double *params = test_policy_tensor(policy, "params"), path[N], moved[N];
        const double *sum = test_policy_tensor(policy, "sum"), h = 1e-3;
        if (seed == 3) policy->live[1] = policy->live[4] = policy->live[10] = 0;
        test_policy_tensor(policy, "baseline.previous")[0] = 0;
        greedy(policy, path);
        reward_path(policy, path, 1);
        int used = 0;
        for (int i = 0; i < policy->n_params; i++) {
            const double start = params[i];
            double f[4];
            for (int k = 0; k < 4; k++) {
                params[i] = start + (k < 2 ? k - 2 : k - 1) * h;
                f[k] = greedy(policy, moved);
                assert_memory_equal(moved, path, sizeof path);
            }
            params[i] = start;
            test_close(-sum[i], (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h), 1e-7, 1e-10, "gradient");
            used += sum[i] != 0;
        }
        assert_true(used > policy->n_params / 2);
        test_policy_close(policy);
    }
}

/* What it draws has the probabilities that it says: the frequency of each operation in 20,000 draws against its mean. */
static void draws_follow_their_probabilities(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    cel_policy *policy = enas(tiny);
    double first[N], mean[N], drawn[N], count[N] = {0}, sums[N] = {0}, weights[N];
    uint8_t gates[N];
    policy->live[6] = 0;
    policy->method->scores(policy, first);
    policy->method->mean(policy, mean);
    cel_rng rng = cel_rng_at(5, "test", 0, 0);
    for (int d = 0; d < DRAWS; d++) {
        cel_at at = {.phase = CEL_PHASE_WEIGHT, .n_epochs = 1, .step = d};
        policy->method->draw(policy, &rng, drawn);
        cel_policy_sample(policy, &at, weights, gates);
        for (int i = 0; i < N; i++) {
            count[i] += drawn[i];
            sums[i] += weights[i];
        }
    }
    for (int i = 0; i < N; i++) {
        double spread = 4.5 * sqrt(0.25 / DRAWS);
        if (i < COLS) test_close(count[i] / DRAWS, first[i], 0, spread, "a draw of the first choice");
        if (i < COLS) test_close(mean[i], first[i], 1e-12, 0, "the first choice depends on none");
        test_close(count[i] / DRAWS, sums[i] / DRAWS, 0, 1.5 * spread, "draw and sample");
        test_close(mean[i], sums[i] / DRAWS, 0, spread + 0.05, "mean");
    }
    assert_true(mean[6] == 0 && count[6] == 0 && sums[6] == 0);
    test_policy_close(policy);
}

/* prev - (1 - decay) (prev - R), R with the entropy; prev is the last epoch's mean, at first the accuracy. */
static void baseline(void **state) {
    (void)state;
    cel_policy *policy = enas("{hidden: 5, samples: 100, decay: 0.9, entropy_weight: 0.01}");
    double path[N], p[N], entropy = 0, *seen = test_policy_tensor(policy, "baseline.sum");
    const double *sum = test_policy_tensor(policy, "sum");
    cel_at at = {.n_epochs = 2};
    greedy(policy, path);
    policy->method->scores(policy, p);
    for (int i = 0; i < N; i++) entropy -= p[i] * log(p[i]);
    reward_path(policy, path, 0.25);
    double scale = sum[policy->n_params - 1] / (0.01 * entropy); /* the first time only the entropy counts */
    test_close(seen[0], 0.25, 1e-14, 0, "baseline");
    reward_path(policy, path, 0.75);
    test_close(seen[0], 1, 1e-14, 0, "sum of the baselines");
    policy->method->epoch(policy, &at);
    assert_true(seen[0] == 0);
    test_close(test_policy_tensor(policy, "baseline.previous")[0], 0.5, 1e-14, 0, "mean of the epoch");
    double before = sum[policy->n_params - 1], value = 0.9 + 0.01 * entropy, base = 0.5 - 0.1 * (0.5 - value);
    reward_path(policy, path, 0.9);
    test_close(seen[0], base, 1e-14, 0, "baseline");
    test_close(sum[policy->n_params - 1] - before, scale * (value - base), 1e-10, 0, "the advantage's part");
    test_policy_close(policy);
}

/* The mean of `samples` gradients, clipped, through Adam: its first step is lr g / (|g| + eps). */
static void one_step(void **state) {
    (void)state;
    static const char *const yaml[2] = {
        "{hidden: 5, init_scale: 0.8, samples: 100, clip: 0.05, lr: 0.01, eps: 0.002, decay: 1, entropy_weight: 0}",
        "{hidden: 5, init_scale: 0.8, samples: 2, clip: 0.05, lr: 0.01, eps: 0.002, decay: 1, entropy_weight: 0}"};
    cel_policy *adds = enas(yaml[0]), *moves = enas(yaml[1]);
    double path[2][N] = {{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1}, {0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0}}, norm = 0;
    for (int d = 0; d < 2; d++) {
        if (!d)
            test_policy_tensor(adds, "baseline.previous")[0] = test_policy_tensor(moves, "baseline.previous")[0] = 0.3;
        reward_path(adds, path[d], 0.4 + 0.5 * d);
        reward_path(moves, path[d], 0.4 + 0.5 * d);
    }
    const double *sum = test_policy_tensor(adds, "sum"), *before = test_policy_tensor(adds, "params");
    const double *after = test_policy_tensor(moves, "params");
    for (int i = 0; i < adds->n_params; i++) norm += sum[i] * sum[i] / 4;
    norm = sqrt(norm);
    assert_true(norm > 0.05);
    for (int i = 0; i < adds->n_params; i++) {
        double g = sum[i] / 2 * 0.05 / (norm + 1e-6);
        test_close(after[i], before[i] - 0.01 * g / (fabs(g) + 0.002), 1e-10, 1e-13, "a parameter");
        assert_true(test_policy_tensor(moves, "sum")[i] == 0);
    }
    test_policy_close(adds);
    test_policy_close(moves);
}

/* An epoch on the toy: reward 1/2, and 1/6 for each right operation. */
static void toy_epoch(cel_policy *policy, int epoch, int from) {
    double weights[N];
    uint8_t gates[N];
    cel_at at = {.phase = CEL_PHASE_REWARD, .epoch = epoch, .n_epochs = 100};
    for (at.step = from; at.step < cel_policy_rollouts(policy); at.step++) {
        cel_feedback feedback = {.accuracy = 0.5};
        cel_policy_sample(policy, &at, weights, gates);
        for (int i = 0; i < N; i++) feedback.accuracy += (i % COLS == best[i / COLS]) * weights[i] / 6;
        policy->method->reward(policy, &at, &feedback);
    }
    policy->method->epoch(policy, &at);
}

static void learns(void **state) {
    (void)state;
    cel_policy *policy = enas("{hidden: 16, lr: 0.01, steps: 20, decay: 0.5}");
    double path[N], mean[N];
    double before = cel_policy_entropy(policy);
    assert_int_equal(cel_policy_rollouts(policy), 400);
    for (int e = 0; e < 60; e++) toy_epoch(policy, e, 0);
    greedy(policy, path);
    policy->method->mean(policy, mean);
    for (int r = 0; r < ROWS; r++) assert_true(path[r * COLS + best[r]] == 1 && mean[r * COLS + best[r]] > 0.9);
    assert_true(cel_policy_entropy(policy) < 0.8 * before);
    test_policy_close(policy);
}

/* In the middle of an epoch, in the middle of a step. */
static void resumes(void **state) {
    (void)state;
    cel_policy *a = enas(tiny), *b = test_policy_open(&cel_method_enas, &test_choices, tiny, 99);
    assert_int_equal(cel_policy_rollouts(a), 6);
    toy_epoch(a, 0, 0);
    cel_at at = {.phase = CEL_PHASE_REWARD, .epoch = 1, .n_epochs = 100};
    for (; at.step < 4; at.step++) {
        double weights[N];
        uint8_t gates[N];
        cel_feedback feedback = {.accuracy = 0.25};
        cel_policy_sample(a, &at, weights, gates);
        a->method->reward(a, &at, &feedback);
    }
    assert_false(test_policy_same(a, b));
    test_policy_copy(a, b);
    b->seed = a->seed;
    for (int e = 1; e < 4; e++) {
        toy_epoch(a, e, e == 1 ? 4 : 0);
        toy_epoch(b, e, e == 1 ? 4 : 0);
    }
    assert_true(test_policy_same(a, b));
    test_policy_close(a);
    test_policy_close(b);
}

static void prunes(void **state) {
    (void)state;
    cel_policy *policy = enas(tiny);
    double before[N], after[N], path[N];
    policy->method->scores(policy, before);
    test_ok(policy->method->prune(policy, 2));
    for (int r = 0; r < N; r += COLS) {
        int live = 0;
        for (int i = r; i < r + COLS; i++) live += policy->live[i];
        assert_int_equal(live, 2);
    }
    policy->method->scores(policy, after);
    greedy(policy, path);
    for (int i = 0; i < N; i++)
        if (!policy->live[i]) assert_true(after[i] == 0);
    toy_epoch(policy, 0, 0);
    test_policy_close(policy);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradient_matches_differences),
                                       cmocka_unit_test(draws_follow_their_probabilities),
                                       cmocka_unit_test(baseline),
                                       cmocka_unit_test(one_step),
                                       cmocka_unit_test(learns),
                                       cmocka_unit_test(resumes),
                                       cmocka_unit_test(prunes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
