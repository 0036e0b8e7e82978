/* GDAS: its gradient against the golden files, the draw, the temperature, one step of Adam written out, and what it refuses. */
#include "base/conf/conf.h"
#include "math/softmax.h"
#include "nas/space/space.h"
#include "support/golden.h"
#include "support/policy_rig.h"

enum { N = 30, OPS = 5 };

static cel_policy *gdas(const char *yaml) {
    return test_policy_open(&cel_method_gdas, cel_space_nb201.choices(), yaml, 3);
}

/* From alpha and noise to the drawn operations, and from the network's gradient by them to alpha's. */
static void matches_golden(const char *path) {
    test_golden *golden = test_golden_open(path);
    char yaml[64];
    snprintf(yaml, sizeof yaml, "{tau: %s, tau_min: %s}", test_golden_meta(golden, "tau"),
             test_golden_meta(golden, "tau"));
    cel_policy *policy = gdas(yaml);
    double weights[N], grad[N], norm = 0;
    uint8_t gates[N];
    memcpy(test_policy_tensor(policy, "alpha"), test_golden_get(golden, "in.alpha")->data, sizeof weights);
    cel_at at = {.n_epochs = 1, .replay = test_golden_get(golden, "in.gumbel")->data};
    cel_policy_sample(policy, &at, weights, gates);
    const test_tensor *index = test_golden_get(golden, "out.index"), *want = test_golden_get(golden, "grad_in.alpha");
    for (int i = 0; i < N; i++) {
        int drawn = i % OPS == (int)index->data[i / OPS];
        assert_true(weights[i] == drawn && gates[i] == drawn);
        norm += want->data[i] * want->data[i];
    }
    cel_feedback feedback = {.dweights = test_golden_get(golden, "grad_in.hard_weights")->data};
    cel_policy_gradient(policy, &at, &feedback, grad);
    test_golden_close_to(want, grad, 1e-6, 1e-6 * sqrt(norm));
    test_policy_close(policy);
    test_golden_close(golden);
}

static void golden(void **state) {
    (void)state;
    matches_golden(test_path("golden/nb201_gdas_c4_tau1.safetensors"));
    matches_golden(test_path("golden/nb201_gdas_c4_tau10.safetensors"));
}

/* The frequencies of the drawn operations are softmax(alpha), whatever the temperature: chi-square, 4 degrees of freedom, 18.5 is
 * exceeded with probability 1e-3. */
static void draws_follow_softmax(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    cel_policy *policy = gdas("{tau: 10, tau_min: 0.1}");
    double *alpha = test_policy_tensor(policy, "alpha"), count[N] = {0}, p[N], weights[N];
    uint8_t gates[N];
    for (int i = 0; i < N; i++) alpha[i] = sin(1 + 2.3 * i);
    policy->live[7] = 0;
    policy->method->mean(policy, p);
    for (int d = 0; d < DRAWS; d++) {
        cel_at at = {.phase = CEL_PHASE_WEIGHT, .epoch = d % 9, .n_epochs = 9, .step = d};
        cel_policy_sample(policy, &at, weights, gates);
        for (int i = 0; i < N; i++) count[i] += weights[i];
    }
    assert_true(p[7] == 0 && count[7] == 0);
    for (int row = 0; row < N; row += OPS) {
        double chi = 0, sum = 0;
        for (int i = row; i < row + OPS; i++) {
            sum += count[i];
            if (p[i] > 0) chi += (count[i] - DRAWS * p[i]) * (count[i] - DRAWS * p[i]) / (DRAWS * p[i]);
        }
        assert_true(sum == DRAWS);
        if (chi > 18.5) fail_msg("row %d: chi-square %g", row / OPS, chi);
    }
    test_policy_close(policy);
}

/* tau_e = 10 - 9.9 e / (E - 1): the gradient of a draw is that of its soft row at this temperature. */
static void temperature_falls(void **state) {
    (void)state;
    cel_policy *policy = gdas("{}");
    double noise[N], dweights[N], weights[N], grad[N];
    uint8_t gates[N];
    const double *alpha = test_policy_tensor(policy, "alpha");
    for (int i = 0; i < N; i++) {
        noise[i] = sin(3.7 * i);
        dweights[i] = cos(2.1 * i);
    }
    for (int epoch = 0; epoch < 5; epoch++) {
        double tau = 10 - 9.9 * epoch / 4;
        cel_at at = {.epoch = epoch, .n_epochs = 5, .replay = noise};
        cel_feedback feedback = {.dweights = dweights};
        cel_policy_sample(policy, &at, weights, gates);
        cel_policy_gradient(policy, &at, &feedback, grad);
        for (int row = 0; row < N; row += OPS) {
            double logit[OPS], p[OPS], value = 0;
            for (int i = 0; i < OPS; i++) logit[i] = (alpha[row + i] + noise[row + i]) / tau;
            cel_softmax(logit, OPS, p);
            for (int i = 0; i < OPS; i++) value += p[i] * dweights[row + i];
            for (int i = 0; i < OPS; i++)
                test_close(grad[row + i], p[i] * (dweights[row + i] - value) / tau, 1e-9, 1e-12, "gradient");
        }
    }
    test_policy_close(policy);
}

/* The first step of Adam moves by lr g / (|g| + eps), with g the gradient and the decay. */
static void first_step(void **state) {
    (void)state;
    cel_policy *policy = gdas("{lr: 0.01, weight_decay: 0.5}");
    double *alpha = test_policy_tensor(policy, "alpha"), before[N], grad[N];
    for (int i = 0; i < N; i++) grad[i] = sin(1.0 + i) / 10;
    memcpy(before, alpha, sizeof before);
    cel_at at = {.n_epochs = 1};
    policy->method->step(policy, &at, grad, grad);
    for (int i = 0; i < N; i++) {
        double g = grad[i] + 0.5 * before[i];
        test_close(alpha[i], before[i] - 0.01 * g / (fabs(g) + 1e-8), 1e-12, 1e-15, "alpha");
    }
    test_policy_close(policy);
}

static void refuses(const char *yaml, const char *part) {
    cel_conf *conf;
    void *settings = cel_alloc(1, cel_method_gdas.conf_size);
    cel_section section = {"method", cel_method_gdas.opts, settings};
    test_ok(cel_conf_parse("recipe", yaml, strlen(yaml), &conf));
    test_fails(cel_conf_read(conf, &section, 1), CEL_CONFIG, part);
    cel_conf_destroy(conf);
    cel_free(settings);
}

static void bad_settings(void **state) {
    (void)state;
    refuses("method: {tau: 0}", "method.tau");
    refuses("method: {tau: -1}", "method.tau");
    refuses("method: {tau_min: 0}", "method.tau_min");
    refuses("method: {tau: .nan}", "method.tau");
    refuses("method: {tua: 1}", "tau");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden), cmocka_unit_test(draws_follow_softmax),
                                       cmocka_unit_test(temperature_falls), cmocka_unit_test(first_step),
                                       cmocka_unit_test(bad_settings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
