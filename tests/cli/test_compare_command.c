/* The program's compare, run as a user runs it. */
#include <jansson.h>

#include "base/file.h"
#include "base/mem.h"
#include "support/program.h"
#include "support/test.h"

static const char *const cellar = CEL_BUILD_DIR "/cellar";
static char *dir, *file, *run;

static int setup(void **state) {
    static const char text[] = "title: searchers\n"
                               "seeds: 7\n"
                               "datasets: [{name: cifar100, settings: {data: {source: cifar100}}}]\n"
                               "methods:\n"
                               "  - {name: random, searcher: random_search, budget: 30}\n"
                               "  - {name: rea, searcher: rea, budget: 300}\n";
    (void)state;
    dir = test_temp_dir();
    file = cel_path_join(dir, "it.yaml");
    run = cel_path_join(dir, "run");
    test_ok(cel_file_write_atomic(file, text, sizeof text - 1));
    return 0;
}
static int teardown(void **state) {
    (void)state;
    cel_free(file);
    cel_free(run);
    test_temp_dir_remove(dir);
    return 0;
}

static int call(const char *const *argv, char **out, char **err) { return test_program(argv, out, err); }
#define compare(out, err, ...) call((const char *const[]){cellar, "compare", __VA_ARGS__, NULL}, out, err)

static void prints_and_writes(void **state) {
    (void)state;
    static const char *const files[] = {"results.txt",  "results.md",  "results.tex",    "results.csv",
                                        "results.json", "report.html", "comparison.yaml"};
    char *out, *err;
    assert_int_equal(compare(&out, &err, file, "--run", run), 0);
    assert_non_null(strstr(out, "random"));
    assert_non_null(strstr(out, "against random, paired by seed"));
    assert_non_null(strstr(err, "report.html"));
    assert_null(strchr(out, '\033'));
    cel_free(out);
    cel_free(err);
    for (size_t i = 0; i < CEL_COUNT(files); i++) {
        char *path = cel_path_join(run, files[i]);
        assert_true(cel_path_exists(path));
        cel_free(path);
    }
    /* --report searches nothing; --json is JSON alone. */
    json_error_t error;
    assert_int_equal(compare(&out, &err, file, "--run", run, "--report", "--json", "--quiet"), 0);
    assert_string_equal(err, "");
    json_t *root = json_loads(out, 0, &error);
    assert_non_null(root);
    assert_int_equal(json_integer_value(json_object_get(root, "ended")), 14);
    json_t *second = json_array_get(json_object_get(root, "methods"), 1);
    json_t *tests = json_object_get(second, "against_reference");
    assert_true(json_is_number(json_object_get(tests, "signed_rank_holm")));
    json_decref(root);
    cel_free(out);
    cel_free(err);
    assert_int_equal(compare(&out, NULL, file, "--run", run, "--report", "--form", "csv", "--quiet"), 0);
    assert_int_equal(strncmp(out, "method,dataset,images,seed,", 27), 0);
    cel_free(out);
}

static void refuses(void **state) {
    (void)state;
    const struct {
        const char *argv[8];
        cel_status status;
        const char *part;
    } bad[] = {{{file, "--run", run}, CEL_CONFIG, "holds a comparison already"},
               {{file, "--run", run, "--resume", "--set", "seeds=8"}, CEL_CONFIG, "found \"seeds: 8\""},
               {{file, "--run", run, "--form", "mrkdown"}, CEL_USAGE, "did you mean \"markdown\""},
               {{file, "--run", dir}, CEL_CONFIG, "expected an empty or new directory"},
               {{file, "--run", run, "--jobs", "0"}, CEL_USAGE, "jobs"},
               {{"no-such-one"}, CEL_NOTFOUND, "no comparison is called"},
               {{file, "--set", "methods.1.searcher=rae"}, CEL_CONFIG, "did you mean \"rea\""}};
    for (size_t i = 0; i < CEL_COUNT(bad); i++) {
        const char *argv[11] = {cellar, "compare"};
        for (size_t k = 0; k < 8 && bad[i].argv[k]; k++) argv[2 + k] = bad[i].argv[k];
        char *out, *err;
        int code = call(argv, &out, &err);
        if (code != cel_status_exit_code(bad[i].status) || !strstr(err, bad[i].part))
            fail_msg("%zu: want exit code %d with \"%s\", got %d: %s", i, cel_status_exit_code(bad[i].status),
                     bad[i].part, code, err);
        assert_string_equal(out, "");
        cel_free(out);
        cel_free(err);
    }
}

static void lists(void **state) {
    (void)state;
    char *out;
    assert_int_equal(call((const char *const[]){cellar, "list", "comparisons", "--json", NULL}, &out, NULL), 0);
    json_error_t error;
    json_t *list = json_loads(out, 0, &error);
    assert_true(json_array_size(list) >= 2);
    json_decref(list);
    cel_free(out);
    assert_int_equal(call((const char *const[]){cellar, "list", "searchers", "--settings", NULL}, &out, NULL), 0);
    assert_non_null(strstr(out, "population: 10"));
    cel_free(out);
    /* Comparisons lie beside the recipes, and are none. */
    assert_int_equal(call((const char *const[]){cellar, "list", "recipes", NULL}, &out, NULL), 0);
    assert_null(strstr(out, "compare-"));
    cel_free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(prints_and_writes), cmocka_unit_test(refuses),
                                       cmocka_unit_test(lists)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
