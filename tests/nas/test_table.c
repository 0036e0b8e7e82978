/* The benchmark table that ships: every number of its sources, ranks against brute force, names that must not be
 * confused, damaged files, failing allocations. */
#include "support/test.h"

#include "base/datadir.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cellar/table.h"
#include "nas/eval/table_file.h"

static cel_table *table;
static test_csv *bench, *latency;

static int setup(void **state) {
    (void)state;
    test_ok(cel_table_open(NULL, &table));
    bench = test_csv_open("../data/nb201/nasbench201.csv");
    latency = test_csv_open("../data/nb201/latency.csv");
    return 0;
}
static int teardown(void **state) {
    (void)state;
    cel_table_close(table);
    test_csv_close(bench);
    test_csv_close(latency);
    return 0;
}

static int metric(const char *name) {
    int m = -1;
    test_ok(cel_table_find_metric(table, name, &m));
    return m;
}

/* Every numeric column of both sources is in the table under its name, each number exactly. */
static void holds_its_sources(void **state) {
    (void)state;
    assert_int_equal(cel_table_count(table), CEL_NB201_COUNT);
    int columns = 0;
    for (int file = 0; file < 2; file++) {
        test_csv *csv = file ? latency : bench;
        for (int c = 0; c < csv->n_cols; c++) {
            const char *column = csv->cell[c];
            char name[64];
            if (!strcmp(column, "index") || !strcmp(column, "arch") || !strcmp(column, "ops")) continue;
            snprintf(name, sizeof name, "%s%s", file ? "latency_" : "", column);
            int m = metric(strcmp(column, "unique_id") ? name : "class");
            for (int i = 0; i < CEL_NB201_COUNT; i++)
                assert_true(cel_table_value(table, m, i) == strtod(csv->cell[(i + 1) * csv->n_cols + c], NULL));
            columns++;
        }
    }
    assert_int_equal(columns, cel_table_n_metrics(table));
}

static void finds_rows(void **state) {
    (void)state;
    int index;
    cel_genotype g, back;
    test_ok(cel_genotype_parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|"
                               "nor_conv_3x3~2|",
                               &g));
    test_ok(cel_table_find(table, &g, &index));
    assert_int_equal(index, 9930);
    cel_table_genotype(table, index, &back);
    assert_true(cel_genotype_equal(&g, &back));
    assert_int_equal(cel_table_hash(table, index), cel_genotype_hash(&g));
    int class = metric("class"), same = 0;
    for (int i = cel_table_find_hash(table, cel_table_hash(table, 13714), 0); i >= 0;
         i = cel_table_find_hash(table, cel_table_hash(table, 13714), i + 1), same++)
        assert_true(cel_table_value(table, class, i) == cel_table_value(table, class, 13714));
    int want = 0;
    for (int i = 0; i < CEL_NB201_COUNT; i++)
        want += cel_table_value(table, class, i) == cel_table_value(table, class, 13714);
    assert_int_equal(same, want);
    assert_int_equal(cel_table_find_hash(table, 12345, 0), -1);
    cel_genotype darts = {.space = CEL_ARCH_DARTS};
    test_fails(cel_table_find(table, &darts, &index), CEL_UNSUPPORTED, "the table holds NAS-Bench-201");
}

static void published_numbers(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int best;
        double value, drnas; /* of the cell 9930 */
    } want[] = {{"cifar10_test_200", 6111, 94.37, 94.36},
                {"cifar100_test_200", 9930, 73.51, 73.51},
                {"imagenet16_test_200", 857, 47.31, 46.34}};
    for (size_t i = 0; i < CEL_COUNT(want); i++) {
        int m = metric(want[i].name);
        assert_int_equal(cel_table_best(table, m), want[i].best);
        test_close(cel_table_value(table, m, want[i].best), want[i].value, 0, 0.005, want[i].name);
        test_close(cel_table_value(table, m, 9930), want[i].drnas, 0, 0.005, want[i].name);
        assert_int_equal(cel_table_rank(table, m, want[i].best), 1);
        assert_true(cel_table_percentile(table, m, want[i].best) == 100);
        assert_true(cel_table_regret(table, m, want[i].best) == 0);
    }
    /* 6111 and 13714 compute the same and share the first rank; the next one is third. */
    int m = metric("cifar10_test_200");
    assert_int_equal(cel_table_rank(table, m, 13714), 1);
    int order[CEL_NB201_COUNT];
    test_ok(cel_table_sort(table, m, order));
    assert_int_equal(order[0], 6111);
    assert_int_equal(order[1], 13714);
    assert_int_equal(cel_table_rank(table, m, order[2]), 3);
}

static void ranks_equal_brute_force(void **state) {
    (void)state;
    static const char *const names[] = {"cifar10_test_200", "imagenet16_valid_12", "params_cifar10", "latency_raspi4"};
    static int order[CEL_NB201_COUNT], place[CEL_NB201_COUNT];
    for (size_t k = 0; k < CEL_COUNT(names); k++) {
        int m = metric(names[k]);
        bool higher = cel_table_metric(table, m)->higher_is_better;
        test_ok(cel_table_sort(table, m, order));
        for (int i = 0; i < CEL_NB201_COUNT; i++) place[order[i]] = i;
        for (int i = 0; i < CEL_NB201_COUNT; i += 17) {
            double v = cel_table_value(table, m, i);
            int better = 0, equal_before = 0;
            double best = v;
            for (int j = 0; j < CEL_NB201_COUNT; j++) {
                double w = cel_table_value(table, m, j);
                better += higher ? w > v : w < v;
                equal_before += w == v && j < i;
                if (higher ? w > best : w < best) best = w;
            }
            assert_int_equal(cel_table_rank(table, m, i), better + 1);
            assert_int_equal(place[i], better + equal_before);
            test_close(cel_table_percentile(table, m, i),
                       100.0 * (CEL_NB201_COUNT - better - 1) / (CEL_NB201_COUNT - 1), 1e-15, 0, "percentile");
            assert_true(cel_table_regret(table, m, i) == fabs(best - v));
        }
    }
    int m = metric("cifar10_test_200");
    double sum = 0;
    for (int i = 0; i < CEL_NB201_COUNT; i++) sum += test_csv_number(bench, i, "cifar10_test_200");
    test_close(cel_table_mean(table, m), sum / CEL_NB201_COUNT, 1e-12, 0, "mean");
}

static void metrics_say_what_they_are(void **state) {
    (void)state;
    const cel_metric *m = cel_table_metric(table, metric("cifar10_test_200"));
    assert_string_equal(m->dataset, "cifar10");
    assert_string_equal(m->split, "test");
    assert_int_equal(m->epochs, 200);
    assert_string_equal(m->trained_on, "train+valid");
    assert_int_equal(m->seeds_min, 1);
    assert_int_equal(m->seeds_max, 3);
    m = cel_table_metric(table, metric("cifar10_valid_12"));
    assert_string_equal(m->dataset, "cifar10-valid");
    assert_string_equal(m->trained_on, "train");
    assert_int_equal(m->seeds_min, 2);
    m = cel_table_metric(table, metric("latency_1080ti_32"));
    assert_string_equal(m->device, "1080ti_32");
    assert_string_equal(m->unit, "ms");
    assert_false(m->higher_is_better);
    assert_int_equal(metric("cifar10 test 200"), metric("cifar10_test_200"));
    assert_int_equal(metric(" ImageNet16-120/valid, 12"), metric("imagenet16_valid_12"));
    assert_int_equal(metric("cifar10-valid valid 12"), metric("cifar10_valid_12"));
    assert_int_equal(metric("CIFAR100_TEST_12"), metric("cifar100_test_12"));
}

static void what_is_not_there_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *name, *message;
    } bad[] = {
        {"cifar10 valid 200", "cifar10-valid valid 12"},
        {"cifar10 valid 12", "called cifar10-valid"},
        {"cifar10-valid test 200", "of this data set it has cifar10-valid valid 12"},
        {"cifar100 valid 200", "of this data set it has cifar100 test 200, cifar100 valid 12, cifar100 test 12"},
        {"cifar100 test 100", "no accuracy of cifar100 on test after 100 epochs"},
        {"imagenet test 200", "no data set \"imagenet\"; it has cifar10 test 200"},
        {"cifar10 test", "no metric \"cifar10 test\""},
        {"cifar10 test 200 x", "no metric"},
        {"cifar10 test 99999999999999999999", "no metric"},
        {"cifar10 test -200", "no metric"},
        {"cifar10_valid_200",
         "no accuracy of cifar10 on valid after 200 epochs; of this data set it has cifar10 test 200"},
        {"cifar10_test_20", "no accuracy of cifar10 on test after 20 epochs"},
        {"params_cifar1", "did you mean params_cifar10?"},
        {"", "no metric \"\""},
    };
    int m;
    for (size_t i = 0; i < CEL_COUNT(bad); i++)
        test_fails(cel_table_find_metric(table, bad[i].name, &m), CEL_NOTFOUND, bad[i].message);
    test_fails(cel_table_find_latency(table, "pixel33", &m), CEL_NOTFOUND, "did you mean pixel3?");
    test_ok(cel_table_find_latency(table, "Pixel3", &m));
    assert_int_equal(m, metric("latency_pixel3"));
}

static char *shipped_bytes(size_t *n) {
    char *path, *data;
    test_ok(cel_data_find("nb201/nb201.table", &path));
    test_ok(cel_file_read(path, 64 << 20, &data, n));
    cel_free(path);
    return data;
}

static void damaged_tables(void **state) {
    (void)state;
    size_t n;
    char *data = shipped_bytes(&n);
    cel_table *t = NULL;
    cel_table_header *h = (cel_table_header *)data, good = *h;
    test_ok(cel_table_from_memory(data, n, &t));
    cel_table_close(t);
    for (size_t cut = 0; cut < sizeof *h + 2 * sizeof(cel_table_column); cut += 7)
        test_fails(cel_table_from_memory(data, cut, &t), CEL_FORMAT, "");
    test_fails(cel_table_from_memory(data, n - 1, &t), CEL_FORMAT, "truncated");
    data[n / 2] ^= 1;
    test_fails(cel_table_from_memory(data, n, &t), CEL_FORMAT, "checksum");
    data[n / 2] ^= 1;
    h->magic[0] = 'X';
    test_fails(cel_table_from_memory(data, n, &t), CEL_FORMAT, "not a table");
    *h = good, h->byte_order = 0x04030201;
    test_fails(cel_table_from_memory(data, n, &t), CEL_FORMAT, "byte order");
    *h = good, h->version = 2;
    test_fails(cel_table_from_memory(data, n, &t), CEL_VERSION, "version 2");
    *h = good, memset(h->space, 'x', sizeof h->space);
    test_fails(cel_table_from_memory(data, n, &t), CEL_FORMAT, "no end");
    *h = good, memcpy(h->space, "nb301", 6);
    test_fails(cel_table_from_memory(data, n, &t), CEL_NOTFOUND, "nb201");
    *h = good, memcpy(h->space, "darts", 6);
    test_fails(cel_table_from_memory(data, n, &t), CEL_FORMAT, "expected nb201");
    *h = good, h->n_columns = UINT32_MAX;
    test_fails(cel_table_from_memory(data, n, &t), CEL_FORMAT, "columns");
    *h = good, h->n_rows = 3;
    test_fails(cel_table_from_memory(data, n, &t), CEL_FORMAT, "3 rows");
    *h = good;
    cel_free(data);
    char *dir = test_temp_dir(), *path = cel_path_join(dir, "t.table");
    test_fails(cel_table_open(path, &t), CEL_NOTFOUND, "t.table");
    test_ok(cel_file_write_atomic(path, "short", 5));
    test_fails(cel_table_open(path, &t), CEL_FORMAT, "t.table");
    test_fails(cel_table_open(dir, &t), CEL_FORMAT, "no file");
    cel_free(path);
    test_temp_dir_remove(dir);
}

/* A table made of sources in which one thing is wrong. */
static void write_source(const char *dir, const char *name, const char *from, const char *find, const char *replace) {
    char *text, *path = cel_path_join(dir, name);
    size_t n;
    test_ok(cel_file_read(test_path(from), 64 << 20, &text, &n));
    char *at = find ? strstr(text, find) : NULL;
    if (find) {
        assert_non_null(at);
        assert_int_equal(strlen(find), strlen(replace));
        memcpy(at, replace, strlen(replace));
    }
    test_ok(cel_file_write_atomic(path, text, n));
    cel_free(text);
    cel_free(path);
}

static void wrong_sources_make_no_table(void **state) {
    (void)state;
    static const struct {
        const char *file, *find, *replace, *message;
    } bad[] = {
        {"nasbench201.csv", "\n7,", "\n8,", "index \"8\", expected 7"},
        {"nasbench201.csv", "|nor_conv_1x1~0|skip_connect~1|+", "|nor_conv_3x3~0|skip_connect~1|+", "line 2"},
        {"nasbench201.csv", ",421211,", ",421212,", "expected \"|avg_pool_3x3~0|"},
        {"nasbench201.csv", ",129306,", ",129307,", "params_cifar10 of architecture 0 is 129307, computed 129306"},
        {"nasbench201.csv", ",15647370,", ",15647371,", "flops_cifar10 of architecture 0"},
        {"nasbench201.csv", ",421211,0,", ",421211,1,", "class of architecture 0 is 1, computed 0"},
        {"nasbench201.csv", ",63.36399998046875,", ",63.3639999804687x,",
         "line 2, column cifar10_valid_12: expected a number"},
        {"nasbench201.csv", ",69.55,", ";69.55,", "line 2: expected 19 fields"},
        {"nasbench201.csv", ",69.55,", ",69\"55,", "without quotes"},
        {"nasbench201.csv", "cifar100_test_12", "cifar101_test_12", "no column \"cifar100_test_12\""},
        {"columns.csv", "accuracy", "akkuracy", "unknown kind \"akkuracy\""},
        {"columns.csv", "higher", "hiyher", "unknown better \"hiyher\""},
        {"columns.csv", "latency.csv", "latency.txt", "latency.txt"},
    };
    char *dir = test_temp_dir(), *out = cel_path_join(dir, "out.table");
    static const char *const files[] = {"columns.csv", "nasbench201.csv", "latency.csv"};
    char from[64];
    for (size_t i = 0; i < CEL_COUNT(bad); i++) {
        for (size_t f = 0; f < CEL_COUNT(files); f++) {
            bool wrong = !strcmp(files[f], bad[i].file);
            if (i && !wrong && strcmp(files[f], bad[i - 1].file)) continue;
            snprintf(from, sizeof from, "../data/nb201/%s", files[f]);
            write_source(dir, files[f], from, wrong ? bad[i].find : NULL, bad[i].replace);
        }
        cel_status status = cel_table_write(dir, out);
        assert_int_not_equal(status, CEL_OK);
        if (!strstr(cel_status_message(), bad[i].message))
            fail_msg("case %zu: want \"%s\", got \"%s\"", i, bad[i].message, cel_status_message());
        assert_false(cel_path_exists(out));
    }
    cel_free(out);
    test_temp_dir_remove(dir);
}

static void failing_allocations(void **state) {
    (void)state;
    static int order[CEL_NB201_COUNT];
    int succeeded = 0;
    for (uint64_t at = 1; at < 40 && !succeeded; at++) {
        cel_table *t = NULL;
        cel_where *w = NULL;
        cel_mem_fail_at(at);
        cel_status status = cel_table_open(NULL, &t);
        if (status == CEL_OK) status = cel_table_sort(t, 0, order);
        if (status == CEL_OK) status = cel_where_parse(t, "rank(cifar10_test_200) < 10 and count(none) = 0", &w);
        cel_mem_fail_at(0);
        succeeded = status == CEL_OK;
        if (!succeeded) assert_int_equal(status, CEL_NOMEM);
        cel_where_destroy(w);
        cel_table_close(t);
    }
    assert_true(succeeded);
}

static int matches(const char *text) {
    cel_where *w;
    int n = 0;
    test_ok(cel_where_parse(table, text, &w));
    for (int i = 0; i < CEL_NB201_COUNT; i++) n += cel_where_test(w, i);
    cel_where_destroy(w);
    return n;
}

static void conditions_select_rows(void **state) {
    (void)state;
    int both = 0, either = 0, none_free = 0;
    for (int i = 0; i < CEL_NB201_COUNT; i++) {
        bool small = test_csv_number(bench, i, "params_cifar10") < 0.5e6;
        bool good = test_csv_number(bench, i, "cifar10_test_200") > 93;
        both += small && good;
        either += !small || good;
        none_free += !strchr(test_csv_text(bench, i, "ops"), '0');
    }
    assert_int_equal(matches("params<0.5M and cifar10_test_200>93"), both);
    assert_int_equal(matches("params < 500k && cifar10_test_200 > 93%"), both);
    assert_int_equal(matches("params_cifar10 < 5e5 and (cifar10_test_200 - 90) * 2 > 6"), both);
    assert_int_equal(matches("not (params < 0.5M) or cifar10_test_200 > 93"), either);
    assert_int_equal(matches("not(params<0.5M and cifar10_test_200<=93)"),
                     matches("params >= 0.5M or cifar10_test_200 > 93"));
    assert_int_equal(matches("count(none) = 0"), none_free);
    assert_int_equal(matches("rank(cifar10_test_200) == 1"), 2);
    assert_int_equal(matches("regret(cifar10_test_200) = 0"), 2);
    assert_int_equal(matches("percentile(cifar10_test_200) = 100"), 2);
    assert_int_equal(matches("index = 9930"), 1);
    assert_int_equal(matches("index != 9930"), CEL_NB201_COUNT - 1);
    assert_int_equal(matches("-index < -15000"), 624);
    assert_int_equal(matches("1 < 2"), CEL_NB201_COUNT);
    assert_int_equal(matches("2 - 1 - 1 = 0 and 8 / 2 / 2 = 2 and 2 + 3 * 4 = 14"), CEL_NB201_COUNT);
    assert_int_equal(matches("1 < 2 or 1 < 2 and 2 < 1"), CEL_NB201_COUNT); /* and binds closer */
    assert_int_equal(matches("latency_raspi4 < 30ms") > 0, 1);
}

static void hostile_conditions(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "character 1: expected a metric, a number or \"(\", found the end"},
        {"params", "expected a comparison"},
        {"params <", "character 9: expected a metric"},
        {"params < 0.5Q", "character 13: expected a unit"},
        {"params < 1..2", "expected a number"},
        {"parms < 1", "did you mean params?"},
        {"cifar10_tst_200 > 93", "did you mean cifar10_test_200?"},
        {"cifar10_valid_200 > 93", "expected a metric of the table"},
        {"1 < params < 2", "join comparisons by and"},
        {"params < 1 params", "expected and, or, a comparison or the end, found \"params\""},
        {"params and flops", "found a mere number"},
        {"not params", "found a mere number"},
        {"(params < 1", "expected \")\", found the end"},
        {"params < 1)", "found \")\""},
        {"(params < 1) + 2 = 3", "found a comparison"},
        {"count(conv) = 1", "expected an operation"},
        {"count(nor_conv_3x4) = 1", "did you mean nor_conv_3x3?"},
        {"system(ls) = 1", "one of rank()"},
        {"rank(rank(params)) = 1", "expected a metric"},
        {"params < 1; drop table x", "found \";\""},
        {"params < 1 -- comment", "expected a metric"},
        {"' or 1=1", "found \"'\""},
        {"params < \x01", "byte 0x01"},
        {"params < \xc3\xa9", "byte 0xc3"},
        {"params < 1e400", "expected a number"},
        {"params < %s%n", "found \"%\""},
        {"-(1 < 2) = 0", "found a comparison"},
    };
    cel_where *w = NULL;
    for (size_t i = 0; i < CEL_COUNT(bad); i++)
        test_fails(cel_where_parse(table, bad[i].text, &w), CEL_CONFIG, bad[i].message);
    static char text[20000];
    memset(text, '(', 5000);
    test_fails(cel_where_parse(table, text, &w), CEL_CONFIG, "5000 characters, expected at most 4096");
    text[4000] = 0;
    test_fails(cel_where_parse(table, text, &w), CEL_CONFIG, "nested deeper than 64");
    memset(text, '-', 4000);
    test_fails(cel_where_parse(table, text, &w), CEL_CONFIG, "nested deeper than 64");
    *text = 0;
    for (int i = 0; i < 900; i++) memcpy(text + 4 * i, "not ", 5);
    test_fails(cel_where_parse(table, text, &w), CEL_CONFIG, "nested deeper than 64");
    *text = 0;
    for (int i = 0; i < 600; i++) memcpy(text + 2 * i, "1+", 3);
    test_fails(cel_where_parse(table, text, &w), CEL_CONFIG, "longer than 512");
    *text = 0;
    for (int i = 0; i < 40; i++) strncat(text, "count(none)+", sizeof text - strlen(text) - 1);
    test_fails(cel_where_parse(table, text, &w), CEL_CONFIG, "more than 32 functions");
    assert_null(w);
    cel_rng rng = cel_rng_at(3, "test-where", 0, 0);
    static const char *const words[] = {"params", "<",  "0.5M",   "and",  "or", "not",   "(",  ")",     "rank(",
                                        "flops",  "+",  "-",      "*",    "/",  "=",     "!=", "index", "1",
                                        "%",      "e5", "count(", "none", ">=", "class", "k",  "\xff",  "."};
    for (int i = 0; i < 3000; i++) {
        *text = 0;
        for (uint32_t n = cel_rng_below(&rng, 14); n > 0; n--) {
            strncat(text, words[cel_rng_below(&rng, CEL_COUNT(words))], 16);
            if (cel_rng_below(&rng, 3)) strncat(text, " ", 2);
        }
        if (cel_where_parse(table, text, &w) != CEL_OK) continue;
        for (int k = 0; k < CEL_NB201_COUNT; k += 5000) cel_where_test(w, k);
        cel_where_destroy(w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_its_sources),
        cmocka_unit_test(finds_rows),
        cmocka_unit_test(published_numbers),
        cmocka_unit_test(ranks_equal_brute_force),
        cmocka_unit_test(metrics_say_what_they_are),
        cmocka_unit_test(what_is_not_there_is_refused),
        cmocka_unit_test(damaged_tables),
        cmocka_unit_test(wrong_sources_make_no_table),
        cmocka_unit_test(failing_allocations),
        cmocka_unit_test(conditions_select_rows),
        cmocka_unit_test(hostile_conditions),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
