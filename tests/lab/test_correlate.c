/* Proxies against the table: interrupted and gone on from to the same bytes, refused when something changed, and right. */
#include "cellar/correlate.h"

#include "base/file.h"
#include "base/mem.h"
#include "lab/score_file.h"
#include "support/test.h"

static const char *const sets[] = {"space.c=4", "space.n=1", "score.batch=16"};

static cel_correlate_options options(const char *file, int sample) {
    return (cel_correlate_options){.dataset = "cifar10-mini",
                                   .proxies = "naswot,synflow,vote",
                                   .sets = sets,
                                   .n_sets = 3,
                                   .sample = sample,
                                   .sample_seed = 3,
                                   .top_percent = 10,
                                   .file = file,
                                   .threads = 2};
}

static bool stop_soon(void *ctx, int done, int n) {
    (void)ctx, (void)n;
    return done >= 32;
}

static char *content(const char *path, size_t *n) {
    char *text;
    test_ok(cel_file_read(path, 1 << 20, &text, n));
    return text;
}

static void goes_on_to_the_same_bytes(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *whole = cel_path_join(dir, "whole.csv"), *parts = cel_path_join(dir, "parts.csv");
    cel_correlations a, b;
    cel_correlate_options o = options(whole, 70);
    test_ok(cel_correlate(&o, &a));
    assert_int_equal(a.n_scored, 70);
    o.file = parts;
    o.progress = stop_soon;
    o.threads = 1;
    test_fails(cel_correlate(&o, &b), CEL_INTERRUPTED, "goes on from there");
    size_t n, n_want;
    char *text = content(parts, &n), *want = content(whole, &n_want);
    assert_true(n < n_want);
    assert_memory_equal(text, want, n);
    /* A kill tears the last line. */
    test_ok(cel_file_write_atomic(parts, text, n - 5));
    cel_free(text);
    o.progress = NULL;
    o.threads = 3;
    test_ok(cel_correlate(&o, &b));
    assert_int_equal(b.n_scored, 70 - 31);
    text = content(parts, &n);
    assert_int_equal(n, n_want);
    assert_memory_equal(text, want, n);
    for (int i = 0; i < a.n; i++) {
        assert_true(a.list[i].spearman == b.list[i].spearman && a.list[i].kendall == b.list[i].kendall);
        assert_true(a.list[i].low <= a.list[i].spearman && a.list[i].spearman <= a.list[i].high);
    }
    test_ok(cel_correlate(&o, &b));
    assert_int_equal(b.n_scored, 0);
    /* Cut inside the head: begun again. */
    test_ok(cel_file_write_atomic(parts, text, 40));
    test_ok(cel_correlate(&o, &b));
    assert_int_equal(b.n_scored, 70);
    cel_free(text);
    cel_free(want);
    cel_free(whole);
    cel_free(parts);
    test_temp_dir_remove(dir);
}

static void a_change_is_refused(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *file = cel_path_join(dir, "scores.csv");
    cel_correlations r;
    cel_correlate_options o = options(file, 5);
    test_ok(cel_correlate(&o, &r));
    const char *const other[] = {"space.c=4", "space.n=1", "score.batch=17"};
    o.sets = other;
    test_fails(cel_correlate(&o, &r), CEL_CONFIG, "made with \"batch: 16\", this is \"batch: 17\"");
    o = options(file, 6);
    test_fails(cel_correlate(&o, &r), CEL_CONFIG, "\"sample: 5\"");
    o = options(file, 5);
    o.sample_seed = 4;
    test_fails(cel_correlate(&o, &r), CEL_CONFIG, "sample_seed");
    o = options(file, 5);
    o.proxies = "synflow";
    test_fails(cel_correlate(&o, &r), CEL_CONFIG, "images");
    /* Other images than those whose accuracies the table has, or than those of the file's cells. */
    static const char *const sources[] = {"data.source=synthetic", "data={source: synthetic}", "data.path=elsewhere"};
    for (size_t i = 0; i < CEL_COUNT(sources); i++) {
        const char *const mixed[] = {"space.c=4", "space.n=1", sources[i]};
        o = options(file, 5);
        o.sets = mixed;
        test_fails(cel_correlate(&o, &r), CEL_CONFIG, "has to be the table's, cifar10-mini");
    }
    o = options(file, 5);
    o.dataset = "synthetic";
    o.metric = "cifar10_test_200";
    test_fails(cel_correlate(&o, &r), CEL_CONFIG, "images");
    o.proxies = "synflow";
    char *other_file = cel_path_join(dir, "synflow.csv");
    o.file = other_file;
    test_ok(cel_correlate(&o, &r));
    o.dataset = "cifar10";
    test_fails(cel_correlate(&o, &r), CEL_CONFIG,
               "made with \"source: \"synthetic\"\", this is \"source: \"cifar10\"\"");
    cel_free(other_file);
    o = options(file, 20000);
    test_fails(cel_correlate(&o, &r), CEL_CONFIG, "the table has 15625");
    o = options(file, 5);
    o.dataset = "synthetic";
    test_fails(cel_correlate(&o, &r), CEL_CONFIG, "name a metric");
    /* A file of something else, without a line feed, is none that was cut short. */
    o = options(file, 5);
    test_ok(cel_file_write_atomic(file, "notes", 5));
    test_fails(cel_correlate(&o, &r), CEL_CONFIG, "scores.csv:1: the scores in it were made with \"notes\"");
    cel_free(file);
    test_temp_dir_remove(dir);
}

/* params against the table's own params column: all correlations are 1, and every one of the best is found. */
static void a_proxy_against_itself(void **state) {
    (void)state;
    cel_correlations r;
    cel_correlate_options o = {.dataset = "cifar10",
                               .proxies = "params",
                               .metric = "params_cifar10",
                               .sample = 300,
                               .top_percent = 10,
                               .threads = 1};
    test_ok(cel_correlate(&o, &r));
    assert_int_equal(r.n, 2);
    assert_string_equal(r.list[0].proxy.name, "params");
    test_close(fabs(r.list[0].spearman), 1, 1e-12, 0, "Spearman");
    test_close(fabs(r.list[0].kendall), 1, 1e-12, 0, "Kendall");
    assert_string_equal(r.list[1].proxy.name, "flops");
    assert_true(fabs(r.list[1].spearman) > 0.95);
}

static void files_of_scores(void **state) {
    (void)state;
    static const char head[] = "# a\nindex,architecture,x\n";
    static const char cell[] = "0,|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|"
                               "skip_connect~2|";
    const struct {
        const char *row, *part;
        cel_status status;
        int done;
    } cases[] = {{",1.5\n", NULL, CEL_OK, 1},
                 {",\n", NULL, CEL_OK, 1},
                 {",1.5", NULL, CEL_OK, 0},
                 {",1.5,2\n", "4 fields, expected 3", CEL_FORMAT, 0},
                 {",nan\n", "found \"nan\"", CEL_FORMAT, 0},
                 {"x,1\n", "f.csv:3", CEL_FORMAT, 0},
                 {",1e999\n", "found", CEL_FORMAT, 0}};
    const int index[] = {0};
    for (size_t i = 0; i < CEL_COUNT(cases); i++) {
        char text[300];
        double value = 0;
        int done = 0;
        snprintf(text, sizeof text, "%s%s%s", head, cell, cases[i].row);
        cel_status status = cel_score_file_parse("f.csv", text, strlen(text), head, index, 1, 1, &value, &done);
        if (status != cases[i].status) fail_msg("case %zu: %s", i, cel_status_message());
        if (cases[i].part && !strstr(cel_status_message(), cases[i].part))
            fail_msg("case %zu: %s", i, cel_status_message());
        if (status == CEL_OK) assert_int_equal(done, cases[i].done);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(goes_on_to_the_same_bytes),
                                       cmocka_unit_test(a_change_is_refused), cmocka_unit_test(a_proxy_against_itself),
                                       cmocka_unit_test(files_of_scores)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
