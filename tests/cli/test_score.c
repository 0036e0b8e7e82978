/* The program's score and correlate, run as a user runs them. */
#include "base/file.h"
#include "base/mem.h"
#include "support/program.h"
#include "support/test.h"

static void scores(void **state) {
    (void)state;
    json_t *json = test_parsed(test_run("score", "9930", "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", "--proxy",
                                        "synflow,params,naswot", "--set", "space.c=4", "--set", "space.n=1", "--set",
                                        "score.batch=16", "--json", "--quiet"));
    assert_int_equal(json_array_size(json), 2);
    json_t *best = json_array_get(json, 0), *nowhere = json_array_get(json, 1);
    assert_true(json_is_true(json_object_get(best, "connected")) &&
                json_is_false(json_object_get(nowhere, "connected")));
    best = json_object_get(best, "scores");
    nowhere = json_object_get(nowhere, "scores");
    assert_true(json_number_value(json_object_get(best, "synflow")) > 0);
    assert_true(json_number_value(json_object_get(best, "naswot")) > 0);
    assert_true(json_is_null(json_object_get(nowhere, "synflow")));
    assert_true(json_number_value(json_object_get(nowhere, "params")) > 0);
    json_decref(json);
    char *text = test_run("score", "5", "--proxy", "params", "--quiet");
    assert_non_null(strstr(text, "372346"));
    cel_free(text);
    text = test_run("score", "--settings");
    assert_non_null(strstr(text, "regions_samples"));
    cel_free(text);
    text = test_run("list", "proxies");
    assert_non_null(strstr(text, "synflow"));
    cel_free(text);
}

static void correlations(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *file = cel_path_join(dir, "scores.csv");
    char *once = test_run("correlate", "--dataset", "imagenet16", "--proxy", "synflow", "--sample", "20", "--out", file,
                          "--set", "space.c=2", "--set", "space.n=1", "--json", "--quiet");
    char *again = test_run("correlate", "--dataset", "imagenet16", "--proxy", "synflow", "--sample", "20", "--out",
                           file, "--set", "space.c=2", "--set", "space.n=1", "--json", "--quiet", "--threads", "1");
    assert_string_equal(once, again);
    cel_free(again);
    json_t *json = test_parsed(once);
    assert_int_equal(json_integer_value(json_object_get(json, "cells")), 20);
    assert_string_equal(json_string_value(json_object_get(json, "metric")), "imagenet16_test_200");
    json_t *list = json_object_get(json, "proxies");
    assert_int_equal(json_array_size(list), 3); /* params and flops come by themselves */
    json_decref(json);
    test_refused(CEL_CONFIG, "classes", "correlate", "--dataset", "cifar10", "--proxy", "synflow", "--sample", "20",
                 "--out", file, "--set", "space.c=2", "--set", "space.n=1", "--set", "score.classes=11", "--set",
                 "score.image=16");
    cel_free(file);
    test_temp_dir_remove(dir);
}

static void wrong_use(void **state) {
    (void)state;
    test_refused(CEL_USAGE, "name an architecture", "score");
    test_refused(CEL_CONFIG, "did you mean \"naswot\"", "score", "5", "--proxy", "nasvot");
    test_refused(CEL_USAGE, "expected 0 to 15624", "score", "15625");
    test_refused(CEL_CONFIG, "score.batch", "score", "5", "--set", "score.batch=x");
    test_refused(CEL_USAGE, "--sample", "correlate", "--sample", "1");
    test_refused(CEL_USAGE, "--top", "correlate", "--top", "0");
    test_refused(CEL_CONFIG, "did you mean", "correlate", "--dataset", "cifar-10", "--proxy", "naswot", "--metric",
                 "cifar10_test_200", "--sample", "2");
    test_refused(CEL_NOTFOUND, "nosuch", "score", "nosuch.txt");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(scores), cmocka_unit_test(correlations),
                                       cmocka_unit_test(wrong_use)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
