/* Random paths: no node is cut off, all others are equally likely, the mean is exact, and what has no path is refused. */
#include "math/softmax.h"
#include "nas/space/space.h"
#include "support/policy_rig.h"

enum { N = 30, OPS = 5, DRAWS = 20000 };

/* Of NAS-Bench-201: the nodes take 5, 25 and 125 paths, but one of each. */
static void every_node_is_reached(void **state) {
    (void)state;
    const cel_choices *choices = cel_space_nb201.choices();
    cel_policy *policy = test_policy_open(&cel_method_random, choices, "{}", 3);
    double mean[N], count[2][N] = {{0}}, weights[N], drawn[N];
    uint8_t gates[N];
    cel_rng rng = cel_rng_at(1, "test", 0, 0);
    policy->method->mean(policy, mean);
    for (int d = 0; d < DRAWS; d++) {
        cel_at at = {.phase = CEL_PHASE_WEIGHT, .n_epochs = 1, .step = d};
        bool reached[2][4] = {{0}};
        cel_policy_sample(policy, &at, weights, gates);
        policy->method->draw(policy, &rng, drawn);
        for (int c = 0; c < choices->n; c++) {
            int first = choices->choice[c].first;
            int op[2] = {cel_argmax(weights + first, OPS), cel_argmax(drawn + first, OPS)};
            for (int k = 0; k < 2; k++) {
                count[k][first + op[k]]++;
                reached[k][choices->choice[c].to] |= op[k] != CEL_NB201_NONE;
            }
            for (int i = 0; i < OPS; i++)
                assert_true(weights[first + i] == (i == op[0]) && gates[first + i] == (i == op[0]));
        }
        for (int k = 0; k < 2; k++) assert_true(reached[k][1] && reached[k][2] && reached[k][3]);
    }
    /* by counting: into node 3 lead three edges; of 125 paths one is left out, 24 with `none` on a given edge remain */
    test_close(mean[0], 0, 0, 1e-15, "none on the only edge into node 1");
    test_close(mean[1], 1.0 / 4, 1e-14, 0, "the others");
    test_close(mean[5], 4.0 / 24, 1e-14, 0, "none into node 2");
    test_close(mean[6], 5.0 / 24, 1e-14, 0, "another into node 2");
    test_close(mean[15], 24.0 / 124, 1e-14, 0, "none into node 3");
    test_close(mean[16], 25.0 / 124, 1e-14, 0, "another into node 3");
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 2; k++)
            test_close(count[k][i] / DRAWS, mean[i], 0, 4.5 * sqrt(mean[i] * (1 - mean[i]) / DRAWS), "frequency");
    test_policy_close(policy);
}

/* Without `none` every path is as good as another. */
static void uniform(void **state) {
    (void)state;
    cel_policy *policy = test_policy_open(&cel_method_random, &test_choices, "{}", 3);
    double mean[12];
    policy->method->mean(policy, mean);
    for (int i = 0; i < 12; i++) test_close(mean[i], 0.25, 1e-15, 0, "mean");
    test_policy_close(policy);
}

static void no_path(void **state) {
    (void)state;
    static const char *const names[2] = {"none", "none"};
    static const cel_choice one = {"1<-0", 0, 1, 0, 0, 1, names};
    static const cel_choices choices = {&one, 1, 1};
    cel_policy *policy;
    test_fails(cel_policy_create(&cel_method_random, &choices, NULL, 1, &policy), CEL_CONFIG, "nothing but none");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_node_is_reached), cmocka_unit_test(uniform),
                                       cmocka_unit_test(no_path)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
