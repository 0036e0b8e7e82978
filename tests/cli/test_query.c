/* The program's query and derive, run as a user runs them. */
#include "base/file.h"
#include "base/mem.h"
#include "cellar/arch.h"
#include "support/program.h"
#include "support/test.h"

#define DRNAS "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"

static double number(const json_t *json, const char *key) {
    assert_true(json_is_number(json_object_get(json, key)));
    return json_number_value(json_object_get(json, key));
}

static void one_architecture(void **state) {
    (void)state;
    char *by_text = test_run("query", DRNAS), *by_index = test_run("query", "9930"),
         *by_hash = test_run("query", "4b0d1c9a8f89c63d");
    assert_string_equal(by_text, by_index);
    assert_string_equal(by_text, by_hash);
    static const char *const parts[] = {DRNAS,      "CIFAR-10 test after 200 epochs",
                                        "94.363",   "73.513",
                                        "46.344",   "1.289 M",
                                        "184.73 M", "Raspberry Pi 4",
                                        "80.400"};
    for (size_t i = 0; i < CEL_COUNT(parts); i++)
        if (!strstr(by_text, parts[i])) fail_msg("%s: missing in\n%s", parts[i], by_text);
    assert_null(strchr(by_text, '\033')); /* not a terminal */
    cel_free(by_text);
    cel_free(by_index);
    cel_free(by_hash);
}

static void json_has_every_number(void **state) {
    (void)state;
    json_t *all = test_parsed(test_run("query", "--json", DRNAS)), *one = json_array_get(all, 0);
    assert_int_equal(json_array_size(all), 1);
    assert_string_equal(json_string_value(json_object_get(one, "architecture")), DRNAS);
    assert_true(number(one, "index") == 9930);
    const json_t *accuracy = json_object_get(one, "accuracy"), *c100 = json_object_get(accuracy, "cifar100_test_200");
    assert_int_equal(json_object_size(accuracy), 9);
    assert_true(number(c100, "rank") == 1 && number(c100, "regret") == 0 && number(c100, "percentile") == 100);
    assert_true(number(c100, "epochs") == 200);
    test_csv *csv = test_csv_open("../data/nb201/nasbench201.csv");
    assert_true(number(c100, "value") == test_csv_number(csv, 9930, "cifar100_test_200"));
    assert_true(number(json_object_get(one, "params"), "imagenet16") ==
                test_csv_number(csv, 9930, "params_imagenet16"));
    assert_true(number(json_object_get(one, "flops"), "cifar10") == test_csv_number(csv, 9930, "flops_cifar10"));
    test_csv_close(csv);
    assert_int_equal(json_object_size(json_object_get(one, "latency_ms")), 27);
    json_decref(all);
    all = test_parsed(test_run("query", "0", "1", "--json", "--latency", "pixel3"));
    assert_int_equal(json_array_size(all), 2);
    assert_int_equal(json_object_size(json_object_get(json_array_get(all, 1), "latency_ms")), 1);
    json_decref(all);
}

static int index_at(const json_t *all, size_t i) { return (int)number(json_array_get(all, i), "index"); }

static void top_and_where(void **state) {
    (void)state;
    json_t *all = test_parsed(test_run("query", "--top", "3", "--json"));
    assert_int_equal(json_array_size(all), 3);
    assert_int_equal(index_at(all, 0), 6111);
    assert_int_equal(index_at(all, 1), 13714);
    assert_int_equal(index_at(all, 2), 9930);
    json_decref(all);
    all = test_parsed(test_run("query", "--top", "1", "--by", "imagenet16 test 200", "--json"));
    assert_int_equal(index_at(all, 0), 857);
    json_decref(all);
    all = test_parsed(test_run("query", "--where", "rank(cifar100_test_200) <= 2", "--json", "--quiet"));
    assert_int_equal(json_array_size(all), 2);
    json_decref(all);
    all = test_parsed(test_run("query", "5", "9930", "7", "5", "--by", "cifar10_test_200", "--json"));
    assert_int_equal(json_array_size(all), 4);
    assert_int_equal(index_at(all, 0), 9930);
    json_decref(all);
    all = test_parsed(test_run("query", "--where", "params < 1", "--json"));
    assert_int_equal(json_array_size(all), 0);
    json_decref(all);
    char *text = test_run("query", "--where", "cifar10_test_200 > 90", "--by", "latency_pixel3"), *line = text;
    int lines = 0;
    for (; *line; line++) lines += *line == '\n';
    assert_int_equal(lines, 21); /* a heading and the best twenty */
    assert_non_null(strstr(text, "latency_pixel3"));
    cel_free(text);
}

static void files(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *path = cel_path_join(dir, "genotypes.jsonl");
    const char *lines = "{\"epoch\": 0, \"genotype\": \"" DRNAS "\"}\n"
                        "{\"epoch\": 1, \"genotype\": \"|none~0|+|none~0|none~1|+|none~0|none~1|none~2|\"}\n";
    test_ok(cel_file_write_atomic(path, lines, strlen(lines)));
    json_t *all = test_parsed(test_run("query", path, "--json"));
    assert_int_equal(json_array_size(all), 2);
    assert_int_equal(index_at(all, 0), 9930);
    json_decref(all);
    test_ok(cel_file_write_atomic(path, "|none~0|\n", 9));
    test_refused(CEL_FORMAT, "genotypes.jsonl, line 1: genotype, character 9", "query", path);
    cel_free(path);
    test_temp_dir_remove(dir);
}

static void wrong_questions(void **state) {
    (void)state;
    test_refused(CEL_USAGE, "nothing asked", "query");
    test_refused(CEL_NOTFOUND, "is no architecture", "query", "nonsense");
    test_refused(CEL_NOTFOUND, "indices are 0 .. 15624", "query", "15625");
    test_refused(CEL_NOTFOUND, "has the hash", "query", "0123456789abcdef");
    test_refused(CEL_FORMAT, "did you mean skip_connect?", "query", "|skip_conect~0|");
    test_refused(
        CEL_UNSUPPORTED, "the table holds NAS-Bench-201", "query",
        "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 0), ('dil_conv_5x5', 2), "
        "('max_pool_3x3', 1), ('avg_pool_3x3', 3), ('sep_conv_5x5', 4), ('dil_conv_3x3', 0)], "
        "normal_concat=range(2, 6), reduce=[('max_pool_3x3', 1), ('max_pool_3x3', 0), ('sep_conv_5x5', 2), "
        "('skip_connect', 0), ('dil_conv_3x3', 3), ('sep_conv_3x3', 1), ('avg_pool_3x3', 0), ('dil_conv_5x5', 4)], "
        "reduce_concat=range(2, 6))");
    test_refused(CEL_NOTFOUND, "no accuracy of cifar10 on valid after 200 epochs", "query", "5", "--by",
                 "cifar10_valid_200");
    test_refused(CEL_CONFIG, "did you mean params?", "query", "--where", "parms < 3");
    test_refused(CEL_NOTFOUND, "did you mean pixel3?", "query", "5", "--latency", "pixel33");
    test_refused(CEL_USAGE, "--top", "query", "--top", "0");
    test_refused(CEL_USAGE, "did you mean \"--where\"?", "query", "--wher", "x");
    test_refused(CEL_NOTFOUND, "benchmark table", "query", "5", "--table", "absent.table");
}

static void derive(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *path = cel_path_join(dir, "m.csv"), *svg = cel_path_join(dir, "m.svg"), *text;
    const char *matrix = "0,0,0,1,0\n0,0,0,1,0\n0,0,0,1,0\n0,1,0,0,0\n0,0,0,1,0\n0,0,0,1,0\n";
    size_t n;
    test_ok(cel_file_write_atomic(path, matrix, strlen(matrix)));
    text = test_run("derive", path, "--svg", svg);
    assert_string_equal(text, DRNAS "\n");
    cel_free(text);
    test_ok(cel_file_read(svg, 1 << 20, &text, &n));
    assert_true(!strncmp(text, "<svg ", 5) && strstr(text, "</svg>"));
    cel_free(text);
    json_t *json = test_parsed(test_run("derive", path, "--json"));
    assert_true(number(json, "index") == 9930);
    json_decref(json);
    test_refused(CEL_IO, "found a device or pipe", "derive", path, "--svg", "/dev/full");
    test_ok(cel_file_write_atomic(path, "1 2 3\n", 6));
    test_refused(CEL_FORMAT, "fit no space", "derive", path);
    test_refused(CEL_NOTFOUND, "genotypes.jsonl", "derive", dir);
    test_refused(CEL_NOTFOUND, "metrics.jsonl", "derive", dir, "--alpha");
    test_refused(CEL_USAGE, "derive", "derive");
    cel_free(path);
    cel_free(svg);
    test_temp_dir_remove(dir);
}

/* Of a run, the recorded cell, which need not be the largest numbers' (here: those of DrNAS). */
static void derive_of_a_run(void **state) {
    (void)state;
    static const char numbers[] = "{\"epoch\":0,\"concentration\":[[0,0,0,1,0],[0,0,0,1,0],[0,0,0,1,0],[0,1,0,0,0],"
                                  "[0,0,0,1,0],[0,0,0,1,0]]}\n";
#define FIRST "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
#define SECOND "|skip_connect~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    static const char cells[] =
        "{\"epoch\":0,\"genotype\":\"" FIRST "\"}\n{\"epoch\":1,\"genotype\":\"" SECOND "\"}\n{\"epoch\":2,\"geno";
    char *dir = test_temp_dir(), *metrics = cel_path_join(dir, "metrics.jsonl"), *text;
    char *path = cel_path_join(dir, "genotypes.jsonl");
    test_ok(cel_file_write_atomic(metrics, numbers, strlen(numbers)));
    test_ok(cel_file_write_atomic(path, cells, strlen(cells)));
    text = test_run("derive", dir); /* the torn line does not count */
    assert_string_equal(text, SECOND "\n");
    cel_free(text);
    text = test_run("derive", dir, "--epoch", "0");
    assert_string_equal(text, FIRST "\n");
    cel_free(text);
    test_refused(CEL_NOTFOUND, "no epoch 2", "derive", dir, "--epoch", "2");
    test_ok(cel_file_write_atomic(path, "{}\n", 3));
    test_refused(CEL_FORMAT, "an epoch", "derive", dir);
    test_ok(cel_file_write_atomic(path, "", 0));
    test_refused(CEL_NOTFOUND, "no epoch is finished", "derive", dir);
    cel_free(path);
    cel_free(metrics);
    test_temp_dir_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_architecture), cmocka_unit_test(json_has_every_number),
        cmocka_unit_test(top_and_where),    cmocka_unit_test(files),
        cmocka_unit_test(wrong_questions),  cmocka_unit_test(derive),
        cmocka_unit_test(derive_of_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
