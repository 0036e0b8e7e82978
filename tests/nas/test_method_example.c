/* The example of docs/add-method.md, as the build extracts it from there: it compiles, keeps the contract on a toy, and searches. */
#include "cellar/search.h"
#include "nas/search/settings.h"
#include "support/test.h"

extern const cel_method cel_method_softmax;

static void finds_the_best(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "c"};
    static const cel_choice rows[] = {{"1<-0", 0, 3, 0, 0, 1, names}, {"2<-0", 3, 3, 0, 0, 2, names}};
    static const cel_choices choices = {rows, 2, 6};
    static const double cost[] = {0.2, -0.3, 0.1, 0.3, 0.2, 0.1};
    double conf = 0.1, weights[6], grad[6], mean[6];
    uint8_t gates[6];
    cel_policy *policy;
    test_ok(cel_policy_create(&cel_method_softmax, &choices, &conf, 1, &policy));
    for (int s = 0; s < 500; s++) {
        cel_at at = {.phase = CEL_PHASE_ARCH, .n_epochs = 1, .step = s};
        cel_policy_sample(policy, &at, weights, gates);
        cel_policy_gradient(policy, &at, &(cel_feedback){.dweights = cost}, grad);
        policy->method->step(policy, &at, grad, grad);
    }
    policy->method->mean(policy, mean);
    assert_true(mean[1] > 0.9 && mean[5] > 0.5);
    test_close(mean[0] + mean[1] + mean[2], 1, 1e-12, 0, "sum");
    cel_policy_destroy(policy);
}

static void searches(void **state) {
    (void)state;
    static const char text[] =
        "search: {stages: [{k: 1, epochs: 2}]}\nspace: {c: 4, n: 1}\ntrain: {batch: 8}\ndata: {pad: 1}\n";
    cel_synthetic what = {
        .seed = 3, .n_train = 56, .n_test = 8, .n_classes = 4, .channels = 3, .height = 8, .width = 8};
    double conf = 0.1;
    cel_conf *tree;
    cel_settings settings;
    cel_dataset *data;
    cel_search *search;
    cel_genotype found;
    test_ok(cel_conf_parse("recipe", text, sizeof text - 1, &tree));
    test_ok(cel_settings_init(&settings, tree, NULL, 0));
    void *of_drnas = settings.method_conf;
    settings.method = &cel_method_softmax;
    settings.method_conf = &conf;
    test_ok(cel_dataset_synthetic(&what, &data));
    test_ok(cel_search_create(&settings, data, NULL, 1, &search));
    test_ok(cel_search_run(search, &(cel_search_observer){.ctx = NULL}));
    test_ok(cel_search_genotype(search, &found));
    test_ok(cel_genotype_check(&found));
    cel_search_destroy(search);
    settings.search.stages[0].ops = 3;
    test_fails(cel_settings_check(&settings, NULL), CEL_CONFIG, "softmax cannot prune");
    cel_dataset_destroy(data);
    settings.method_conf = of_drnas;
    cel_settings_fini(&settings);
    cel_conf_destroy(tree);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_the_best), cmocka_unit_test(searches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
