/* The report: what the page says of finished, unfinished, empty and table-less runs; hostile texts; malformed and missing files;
 * ticks and numbers; failing allocations. */
#define _GNU_SOURCE
#include "support/fake_run.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cellar/report.h"
#include "lab/report/chart.h"

static cel_table *table;

static int setup(void **state) {
    (void)state;
    test_ok(cel_table_open(NULL, &table));
    return 0;
}
static int teardown(void **state) {
    (void)state;
    cel_table_close(table);
    return 0;
}

static char *report_of(const char *dir) {
    test_ok(cel_report_write(dir, NULL));
    return fake_file_read(dir, "report.html");
}

static int count(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) n++;
    return n;
}

static void has(const char *page, const char *part) {
    if (!strstr(page, part)) fail_msg("the page lacks \"%s\"", part);
}
static void lacks(const char *page, const char *part) {
    if (strstr(page, part)) fail_msg("the page has \"%s\"", part);
}

/* No element that loads or runs anything, and every tag that opens closes. */
static void stands_alone(const char *page) {
    static const char *const loads[] = {
        "<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import", "javascript:"};
    static const char *const pairs[] = {"section", "figure", "svg",  "table", "tr",   "td", "th", "div",  "details",
                                        "dl",      "dd",     "text", "ul",    "main", "p",  "h2", "code", "pre"};
    for (size_t i = 0; i < CEL_COUNT(loads); i++) lacks(page, loads[i]);
    for (size_t i = 0; i < CEL_COUNT(pairs); i++) {
        char open[16], attr[16], close[16];
        snprintf(open, sizeof open, "<%s>", pairs[i]);
        snprintf(attr, sizeof attr, "<%s ", pairs[i]);
        snprintf(close, sizeof close, "</%s>", pairs[i]);
        if (count(page, open) + count(page, attr) != count(page, close)) fail_msg("<%s> is not closed", pairs[i]);
    }
    lacks(page, "nan");
    lacks(page, "inf ");
}

/* Every number of the verdict, computed here from the table. */
static void tells_the_verdict(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    fake_run_write(&(fake_run){.table = table, .n_epochs = 20, .n_stages = 2, .n_done = 20, .note = "a note"}, dir);
    char *page = report_of(dir), *cells = fake_file_read(dir, "genotypes.jsonl"), part[256];
    stands_alone(page);
    cel_genotype *list;
    size_t n;
    char *path = cel_path_join(dir, "genotypes.jsonl");
    test_ok(cel_genotype_list_read(path, &list, &n));
    assert_int_equal(n, 20);
    for (int d = 0; d < 3; d++) {
        static const char *const names[] = {"cifar10", "cifar100", "imagenet16"};
        int metric, index, worse = 0;
        test_ok(cel_table_find_accuracy(table, names[d], "test", 200, &metric));
        test_ok(cel_table_find(table, &list[19], &index));
        double test = cel_table_value(table, metric, index), best = 0, sum = 0;
        for (int i = 0; i < CEL_NB201_COUNT; i++) {
            double v = cel_table_value(table, metric, i);
            worse += v < test;
            best = v > best ? v : best;
            sum += v;
        }
        char rank[16];
        int r = cel_table_rank(table, metric, index);
        snprintf(rank, sizeof rank, r < 1000 ? "%.0d%d" : "%d,%03d", r / 1000, r % 1000);
        snprintf(part, sizeof part,
                 "<td>%.2f&nbsp;%%</td><td>%s</td><td>%.2f&nbsp;%%</td><td>%.2f&nbsp;%%</td><td>%.2f</"
                 "td><td>%.2f&nbsp;%%</td>",
                 test, rank, floor(1e4 * worse / CEL_NB201_COUNT) / 100, best, best - test, sum / CEL_NB201_COUNT);
        has(page, part);
        if (d) continue;
        snprintf(part, sizeof part,
                 "Better than %.2f&nbsp;%% of all 15,625 cells on <span class=\"nw\">CIFAR-10</span>; %.2f points "
                 "below the optimum of 94.37",
                 floor(1e4 * worse / CEL_NB201_COUNT) / 100, best - test);
        has(page, part);
    }
    char text[CEL_GENOTYPE_TEXT];
    cel_genotype_format(&list[19], text);
    has(page, text);
    has(page, "<td>94.36&nbsp;%</td></tr>");
    has(page, "Published: DrNAS, ICLR 2021, Table 4");
    has(page, "a note");
    has(page, "cellar search demo --run runs/demo");
    has(page, "5f1d6f0f3ab1a3c8b1d0a6b49d4f0d5cc0f4c5e3f0f0e3a9d8f6d27d6a1c2b30");
    has(page, "stage 2: K = 2, 3 ops");
    has(page, "rested in epochs 0 to 1, 10 to 11.");
    has(page, "1 min 20 s");
    lacks(page, "not finished");
    assert_int_equal(count(page, "class=\"chart small\""), 6);
    cel_free(list);
    cel_free(path);
    cel_free(cells);
    cel_free(page);
    test_temp_dir_remove(dir);
}

static void tells_what_is_missing(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *page;
    fake_run_write(&(fake_run){.table = table, .n_epochs = 20, .n_stages = 2, .n_done = 7}, dir);
    page = report_of(dir);
    stands_alone(page);
    has(page, "not finished: 7 of 20 epochs");
    has(page, "Better than");
    cel_free(page);
    fake_run_write(&(fake_run){.n_epochs = 20, .n_stages = 1, .n_done = 20, .no_valid = true}, dir);
    page = report_of(dir);
    stands_alone(page);
    has(page, "Without accuracies of a benchmark table");
    has(page, "Better than"); /* the table that ships knows the cell all the same */
    cel_free(page);
    fake_run_write(&(fake_run){.table = table, .n_epochs = 5, .n_stages = 1, .n_done = 1}, dir);
    page = report_of(dir);
    stands_alone(page);
    has(page, "1 of 5 epochs");
    cel_free(page);
    fake_run_write(&(fake_run){.table = table, .n_epochs = 5, .n_stages = 1}, dir);
    page = report_of(dir);
    stands_alone(page);
    has(page, "No epoch is finished yet");
    lacks(page, "Better than");
    cel_free(page);
    test_temp_dir_remove(dir);
}

/* The table knows the cell, but not on such images. */
static void images_of_another_kind_get_no_verdict(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    fake_run_write(&(fake_run){.table = table, .n_epochs = 5, .n_stages = 1, .n_done = 5, .source = "synthetic"}, dir);
    char *page = report_of(dir);
    stands_alone(page);
    has(page, "no accuracy of a benchmark table was measured on images of synthetic.");
    has(page, "Without accuracies of a benchmark table");
    has(page, "<tr><td>4</td><td>1</td><td>–</td><td>–</td>");
    lacks(page, "Better than");
    lacks(page, "(searched)");
    cel_free(page);
    test_temp_dir_remove(dir);
}

/* A link stays one, and what is no file is left alone. */
static void replaces_only_files(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *out = cel_path_join(dir, "out.html"), *link = cel_path_join(dir, "link.html"),
         *nowhere = cel_path_join(dir, "nowhere.html"), *pipe = cel_path_join(dir, "pipe");
    struct stat st;
    fake_run_write(&(fake_run){.table = table, .n_epochs = 3, .n_stages = 1, .n_done = 3}, dir);
    fake_file_write(dir, "out.html", "old");
    assert_int_equal(symlink("out.html", link), 0);
    test_ok(cel_report_write(dir, link));
    char *page = fake_file_read(dir, "out.html");
    has(page, "</html>");
    assert_true(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
    assert_true(lstat(out, &st) == 0 && S_ISREG(st.st_mode));
    assert_int_equal(symlink("absent.html", nowhere), 0);
    assert_int_equal(mkfifo(pipe, 0666), 0);
    test_fails(cel_report_write(dir, nowhere), CEL_IO, "found a link to no file");
    test_fails(cel_report_write(dir, pipe), CEL_IO, "found a device or pipe");
    test_fails(cel_report_write(dir, dir), CEL_IO, "found a directory");
    assert_true(lstat(pipe, &st) == 0 && S_ISFIFO(st.st_mode));
    cel_free(page), cel_free(out), cel_free(link), cel_free(nowhere), cel_free(pipe);
    test_temp_dir_remove(dir);
}

/* Long runs are thinned, and say so. */
static void thins_long_runs(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    fake_run_write(&(fake_run){.n_epochs = 900, .n_stages = 1, .n_done = 900}, dir);
    char *page = report_of(dir);
    stands_alone(page);
    has(page, "show one epoch in 3");
    has(page, "<tr><td>899</td><td>1</td>");
    lacks(page, "<tr><td>2</td><td>1</td>");
    cel_free(page);
    test_temp_dir_remove(dir);
}

static void escapes_hostile_texts(void **state) {
    (void)state;
    static const char evil[] = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;";
    char *dir = test_temp_dir();
    fake_run_write(&(fake_run){.table = table,
                               .n_epochs = 6,
                               .n_stages = 2,
                               .n_done = 6,
                               .title = evil,
                               .note = evil,
                               .command = evil,
                               .source = evil},
                   dir);
    char *page = report_of(dir);
    lacks(page, "<script");
    lacks(page, "<img");
    lacks(page, "\"'>");
    /* Page title, heading, note, command, images (thrice), and the recipe's title and note. */
    assert_int_equal(count(page, "&lt;script&gt;alert(1)&lt;/script&gt;"), 9);
    cel_free(page);
    test_temp_dir_remove(dir);
}

static void expect_failure(const char *dir, cel_status code, const char *part) {
    char *out = cel_asprintf("%s/out.html", dir);
    test_fails(cel_report_write(dir, out), code, part);
    assert_false(cel_path_exists(out));
    cel_free(out);
}

/* Replaces the first `old` of a file, tells what the report says, and puts the file back. */
static void damaged(const char *dir, const char *file, const char *old, const char *new, cel_status code,
                    const char *part) {
    char *text = fake_file_read(dir, file), *at = strstr(text, old);
    assert_non_null(at);
    char *changed = cel_asprintf("%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
    fake_file_write(dir, file, changed);
    expect_failure(dir, code, part);
    fake_file_write(dir, file, text);
    cel_free(changed);
    cel_free(text);
}

static void refuses_damaged_runs(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    expect_failure(dir, CEL_NOTFOUND, "recipe.yaml");
    fake_run_write(&(fake_run){.table = table, .n_epochs = 6, .n_stages = 2, .n_done = 6}, dir);
    damaged(dir, "recipe.yaml", "method: drnas", "method: drnaz", CEL_CONFIG, "recipe.yaml");
    damaged(dir, "recipe.yaml", "epochs: 3", "epochs: 2", CEL_FORMAT,
            "metrics.jsonl:6: expected at most the recipe's 5 epochs");
    damaged(dir, "manifest.json", "{", "[", CEL_FORMAT, "manifest.json: not JSON");
    damaged(dir, "manifest.json", "\"threads\": 2", "\"threads\": \"2\"", CEL_FORMAT,
            "threads: expected a number, found a text");
    damaged(dir, "manifest.json", "\"sha256\"", "\"sha512\"", CEL_FORMAT,
            "dataset: sha256: expected a text, found nothing");
    damaged(dir, "manifest.json", "nb201", "nb999", CEL_NOTFOUND, "space");
    damaged(dir, "metrics.jsonl", "\n", "\nnot json\n", CEL_FORMAT, "metrics.jsonl:2: not JSON");
    damaged(dir, "metrics.jsonl", "\n", "\n[1]\n", CEL_FORMAT, "metrics.jsonl:2: expected a JSON object");
    damaged(dir, "metrics.jsonl", "\n", "", CEL_FORMAT, "metrics.jsonl:1: not JSON");
    damaged(dir, "metrics.jsonl", "\"epoch\":1", "\"epoch\":2", CEL_FORMAT,
            "metrics.jsonl:2: epoch: expected a number from 1 to 1");
    damaged(dir, "metrics.jsonl", "\"train_loss\":", "\"train_lost\":", CEL_FORMAT,
            ":1: train_loss: expected a number, found nothing");
    damaged(dir, "metrics.jsonl", "\"train_acc\":", "\"train_acc\":1e3,\"other\":", CEL_FORMAT,
            "train_acc: expected a number from 0 to 100");
    damaged(dir, "metrics.jsonl", "|nor", "|nur", CEL_FORMAT, "metrics.jsonl:1: genotype");
    damaged(dir, "metrics.jsonl", "[[", "[[1.0,", CEL_FORMAT, "concentration: expected a number for each operation");
    damaged(dir, "metrics.jsonl", "\"live\":[[1", "\"live\":[[7", CEL_FORMAT, "live: expected a number from 0 to 1");
    damaged(dir, "metrics.jsonl", "\"dataset\":\"cifar10\"", "\"dataset\":\"mnist\"", CEL_FORMAT, "sampled: dataset");
    damaged(dir, "metrics.jsonl", "\"cifar100\":", "\"cifar99\":", CEL_FORMAT, "table: cifar100: expected an object");
    damaged(dir, "metrics.jsonl", "\"seconds\":", "\"seconds\":1e999,\"x\":", CEL_FORMAT, "metrics.jsonl:1: not JSON");
    damaged(dir, "genotypes.jsonl", "\"params\":", "\"params\":-", CEL_FORMAT, "genotypes.jsonl:1: params");
    damaged(dir, "genotypes.jsonl", "|nor_conv_3x3~0|+|", "|none~0|+|", CEL_FORMAT,
            "expected the genotypes of metrics.jsonl");
    char *all = fake_file_read(dir, "genotypes.jsonl");
    fake_file_write(dir, "genotypes.jsonl", "");
    expect_failure(dir, CEL_FORMAT, "expected a line for each epoch, found none for epoch 0");
    fake_file_write(dir, "genotypes.jsonl", all);
    cel_free(all);
    static const char *const files[] = {"genotypes.jsonl", "metrics.jsonl", "manifest.json", "recipe.yaml"};
    for (size_t i = 0; i < CEL_COUNT(files); i++) {
        char *path = cel_path_join(dir, files[i]);
        assert_int_equal(unlink(path), 0);
        expect_failure(dir, CEL_NOTFOUND, files[i]);
        cel_free(path);
    }
    test_temp_dir_remove(dir);
}

/* A killed process leaves a last line without its end; that is no damage. */
/* The collapse watch has a section of its own when it looked at something. */
static void shows_the_collapse_watch(void **state) {
    (void)state;
    static const char mark[] = "\"grad_norm\":";
    char *dir = test_temp_dir();
    fake_run_write(&(fake_run){.n_epochs = 6, .n_stages = 1, .n_done = 4}, dir);
    char *page = report_of(dir), *text = fake_file_read(dir, "metrics.jsonl");
    lacks(page, "The collapse watch");
    cel_free(page);
    char *at = strstr(text, mark);
    char *watched =
        cel_asprintf("%.*s\"skips\":3,\"eigenvalue\":0.25,\"warning\":\"<3 skips>\",%s", (int)(at - text), text, at);
    fake_file_write(dir, "metrics.jsonl", watched);
    page = report_of(dir);
    stands_alone(page);
    has(page, "The collapse watch warned in 1 of 4 epochs");
    has(page, "&lt;3 skips&gt;");
    has(page, "Hessian’s largest eigenvalue");
    cel_free(page);
    cel_free(watched);
    cel_free(text);
    test_temp_dir_remove(dir);
}

static void passes_over_a_torn_line(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    fake_run_write(&(fake_run){.table = table, .n_epochs = 6, .n_stages = 2, .n_done = 4}, dir);
    char *text = fake_file_read(dir, "metrics.jsonl");
    char *torn = cel_asprintf("%s%.60s", text, text), *page;
    fake_file_write(dir, "metrics.jsonl", torn);
    page = report_of(dir);
    has(page, "4 of 6 epochs");
    cel_free(page);
    torn[strlen(text) - 5] = 0; /* now the fourth line is torn; its genotype is there */
    fake_file_write(dir, "metrics.jsonl", torn);
    page = report_of(dir);
    has(page, "3 of 6 epochs");
    cel_free(page);
    cel_free(torn);
    cel_free(text);
    test_temp_dir_remove(dir);
}

static void fails_where_it_cannot_write(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    fake_run_write(&(fake_run){.table = table, .n_epochs = 3, .n_stages = 1, .n_done = 3}, dir);
    char *out = cel_asprintf("%s/no/such/dir.html", dir), *file = cel_path_join(dir, "recipe.yaml");
    test_fails(cel_report_write(dir, out), CEL_NOTFOUND, "no/such");
    test_fails(cel_report_write(file, NULL), CEL_NOTFOUND, "expected a run directory, found a file");
    cel_free(out);
    cel_free(file);
    test_temp_dir_remove(dir);
}

/* One allocation fails, each of the first and then ever fewer of them: a clear status, no leak, and a whole page or none. */
static void survives_failing_allocations(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *out = cel_asprintf("%s/out.html", dir);
    fake_run_write(&(fake_run){.table = table, .n_epochs = 3, .n_stages = 2, .n_done = 3}, dir);
    for (uint64_t n = 1, failed = 1; failed; n += 1 + n / 40) {
        cel_mem_fail_at(n);
        cel_status status = cel_report_write(dir, out);
        failed = status != CEL_OK;
        cel_mem_fail_at(0);
        if (failed) assert_int_equal(status, CEL_NOMEM);
        if (!cel_path_exists(out)) {
            assert_true(failed);
            continue;
        }
        char *page = fake_file_read(dir, "out.html");
        assert_non_null(strstr(page, "</html>\n"));
        cel_free(page);
        assert_int_equal(unlink(out), 0);
    }
    cel_free(out);
    test_temp_dir_remove(dir);
}

static void places_round_ticks(void **state) {
    (void)state;
    static const struct {
        double low, high;
        int most;
        bool whole;
        double first, step;
        int n, digits;
    } cases[] = {{0, 10, 6, false, 0, 2, 6, 0},
                 {0.001, 0.025, 6, false, 0.005, 0.005, 5, 3},
                 {1, 3, 10, true, 1, 1, 3, 0},
                 {1, 100, 8, true, 20, 20, 5, 0},
                 {-1.5, 1.5, 4, false, -1, 1, 3, 0},
                 {1e6, 3e6, 5, false, 1e6, 5e5, 5, 0},
                 {0.97, 1.03, 4, false, 0.98, 0.02, 3, 2}};
    for (size_t c = 0; c < CEL_COUNT(cases); c++) {
        double ticks[CEL_TICKS];
        int digits, n = cel_chart_ticks(cases[c].low, cases[c].high, cases[c].most, cases[c].whole, ticks, &digits);
        assert_int_equal(n, cases[c].n);
        assert_int_equal(digits, cases[c].digits);
        for (int i = 0; i < n; i++) test_close(ticks[i], cases[c].first + i * cases[c].step, 1e-12, 1e-12, "tick");
    }
    double ticks[CEL_TICKS];
    int digits;
    assert_int_equal(cel_chart_ticks(5, 5, 6, false, ticks, &digits), 1);
    assert_true(cel_chart_ticks(0, 1e300, 1000, false, ticks, &digits) <= CEL_TICKS);
}

static void writes_numbers_for_people(void **state) {
    (void)state;
    cel_page p = {0};
    assert_string_equal(cel_page_real(&p, -1.005, 1), "−1.0");
    assert_string_equal(cel_page_real(&p, -0.001, 2), "0.00");
    assert_string_equal(cel_page_real(&p, 94.366, 2), "94.37");
    assert_string_equal(cel_page_real(&p, NAN, 2), "–");
    assert_string_equal(cel_page_real(&p, 1e300, 0) + 300, "0");
    assert_string_equal(cel_page_coord(&p, -12.5), "-12.5");
    assert_string_equal(cel_page_coord(&p, 3.999), "4");
    assert_string_equal(cel_page_coord(&p, 0.25), "0.25");
    assert_string_equal(cel_page_count(&p, 15625), "15,625");
    assert_string_equal(cel_page_count(&p, -1000007), "−1,000,007");
    assert_string_equal(cel_page_amount(&p, 153273610), "153 M");
    assert_string_equal(cel_page_amount(&p, 1073466), "1.07 M");
    assert_string_equal(cel_page_amount(&p, 999.9), "1.00 k");
    assert_string_equal(cel_page_amount(&p, 42), "42");
    assert_string_equal(cel_page_duration(&p, 4.123), "4.12 s");
    assert_string_equal(cel_page_duration(&p, 59.99), "1 min 00 s");
    assert_string_equal(cel_page_duration(&p, 3725), "1 h 02 min");
    assert_string_equal(cel_page_escape(&p, "<a b='\"&\x01\n"), "&lt;a b=&#39;&quot;&amp;\xEF\xBF\xBD\n");
    test_ok(cel_page_check(&p));
    cel_page_fini(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tells_the_verdict),
                                       cmocka_unit_test(tells_what_is_missing),
                                       cmocka_unit_test(images_of_another_kind_get_no_verdict),
                                       cmocka_unit_test(replaces_only_files),
                                       cmocka_unit_test(thins_long_runs),
                                       cmocka_unit_test(escapes_hostile_texts),
                                       cmocka_unit_test(refuses_damaged_runs),
                                       cmocka_unit_test(shows_the_collapse_watch),
                                       cmocka_unit_test(passes_over_a_torn_line),
                                       cmocka_unit_test(fails_where_it_cannot_write),
                                       cmocka_unit_test(survives_failing_allocations),
                                       cmocka_unit_test(places_round_ticks),
                                       cmocka_unit_test(writes_numbers_for_people)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
