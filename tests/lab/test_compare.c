/* Comparisons: tiny searches on real images, cut, gone on with and side by side; the record of ends; statistics against
 * what is computed here; every form well-formed; and what is refused. */
#define _GNU_SOURCE
#include "cellar/compare.h"

#include <jansson.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"
#include "lab/compare.h"
#include "math/paired_test.h"
#include "math/rank_stats.h"
#include "support/test.h"

static char *dir, *whole; /* whole: a comparison that was never disturbed */

static int setup(void **state) {
    (void)state;
    dir = test_temp_dir();
    return 0;
}
static int teardown(void **state) {
    (void)state;
    cel_free(whole);
    test_temp_dir_remove(dir);
    return 0;
}

/* ---- helpers ---- */

#define DATASETS                                                                                                       \
    "datasets:\n"                                                                                                      \
    "  - {name: small, settings: {data: {source: cifar10-mini, limit: 96}}}\n"
#define COMMON                                                                                                         \
    "common:\n"                                                                                                        \
    "  space: {c: 4, n: 1}\n"                                                                                          \
    "  train: {batch: 16}\n"                                                                                           \
    "  search: {stages: [{k: 1, epochs: 2}], sampled: 5}\n"
#define TRIAL                                                                                                          \
    "title: a <trial> & 100 % of_it\n"                                                                                 \
    "seeds: 2\n" DATASETS COMMON "methods:\n"                                                                          \
    "  - {name: drnas, label: \"DrNAS | <1> & 2_3\", settings: {search: {method: drnas}},\n"                           \
    "     expect: {dataset: cifar10, test: 94.36, source: \"a table & more\"}}\n"                                      \
    "  - {name: random, settings: {search: {method: random}}}\n"                                                       \
    "  - {name: evolution, searcher: rea, budget: 50, settings: {population: 5}}\n"

static char *write_file(const char *name, const char *text) {
    char *path = cel_path_join(dir, name);
    test_ok(cel_file_write_atomic(path, text, strlen(text)));
    return path;
}

static cel_comparison *open_text(const char *text) {
    char *path = write_file("it.yaml", text);
    cel_comparison *c;
    test_ok(cel_comparison_open(path, NULL, 0, &c));
    cel_free(path);
    return c;
}

static char *read_file(const char *base, const char *name) {
    char *path = cel_path_join(base, name), *text;
    size_t n;
    test_ok(cel_file_read(path, 64 << 20, &text, &n));
    cel_free(path);
    return text;
}

/* Counts what happens, and stops after so many steps. */
typedef struct watch {
    int steps, stop_after, ended, most_running;
} watch;

static bool on_progress(void *ctx, double done, int running, const char *method) {
    watch *w = ctx;
    assert_true(done >= 0 && done <= 1 && *method);
    if (running > w->most_running) w->most_running = running;
    return ++w->steps == w->stop_after;
}

static void on_ended(void *ctx, const cel_comparison_search *s) {
    watch *w = ctx;
    w->ended++;
    assert_true(s->done <= s->n && (s->genotype || s->failure));
}

static cel_status search(const cel_comparison *c, const char *to, bool resume, int jobs, watch *w) {
    const cel_comparison_options options = {
        .dir = to, .resume = resume, .jobs = jobs, .threads = 1, .ctx = w, .progress = on_progress, .ended = on_ended};
    return cel_comparison_search_all(c, &options);
}

/* Every search but for its time, from the JSON form. */
static json_t *searches_of(const cel_comparison *c, const char *of) {
    char *text;
    json_error_t error;
    test_ok(cel_comparison_text(c, of, CEL_COMPARISON_JSON, &text));
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error), *searches = json_object_get(root, "searches");
    if (!root) fail_msg("results.json: %s", error.text);
    json_incref(searches);
    for (size_t i = 0; i < json_array_size(searches); i++) json_object_del(json_array_get(searches, i), "seconds");
    json_decref(root);
    cel_free(text);
    return searches;
}

static void same_searches(const cel_comparison *c, const char *a, const char *b) {
    json_t *x = searches_of(c, a), *y = searches_of(c, b);
    assert_true(json_array_size(x) > 0);
    assert_true(json_equal(x, y));
    json_decref(x);
    json_decref(y);
}

static void same_bytes(const char *a, const char *b, const char *name) {
    char *x = read_file(a, name), *y = read_file(b, name);
    assert_string_equal(x, y);
    cel_free(x);
    cel_free(y);
}

/* ---- searches ---- */

static void runs_and_records(void **state) {
    (void)state;
    cel_comparison *c = open_text(TRIAL);
    cel_comparison_info info = cel_comparison_get_info(c);
    assert_string_equal(info.name, "it");
    assert_int_equal(info.n_searches, 6);
    whole = cel_path_join(dir, "whole");
    watch w = {0};
    test_ok(search(c, whole, false, 1, &w));
    assert_int_equal(w.ended, 4); /* searchers are no runs */
    char *lines = read_file(whole, "results.jsonl");
    int n = 0;
    for (char *p = lines; *p; p++) n += *p == '\n';
    assert_int_equal(n, 4);
    cel_free(lines);
    /* Each is an ordinary run of its recipe. */
    char *run = cel_path_join(whole, "runs/drnas/small/seed-2");
    cel_history h;
    test_ok(cel_history_read(run, &h));
    assert_true(h.n == 2 && h.manifest.finished && h.manifest.seed == 2);
    assert_string_equal(h.manifest.method, "drnas");
    cel_history_fini(&h);
    cel_free(run);
    /* A second time it is refused; going on with it repeats nothing. */
    test_fails(search(c, whole, false, 1, &w), CEL_CONFIG, "holds a comparison already");
    w = (watch){0};
    test_ok(search(c, whole, true, 1, &w));
    assert_true(w.ended == 0 && w.steps == 0);
    cel_comparison_destroy(c);
}

static void resumes(void **state) {
    (void)state;
    cel_comparison *c = open_text(TRIAL);
    char *cut = cel_path_join(dir, "cut");
    watch w = {.stop_after = 2};
    test_fails(search(c, cut, false, 1, &w), CEL_INTERRUPTED, "after 0 of 4 searches");
    w = (watch){.stop_after = 9}; /* in the second search */
    test_fails(search(c, cut, true, 1, &w), CEL_INTERRUPTED, "after 1 of 4 searches");
    assert_int_equal(w.ended, 1);
    /* What has ended so far can be looked at. */
    char *text;
    test_ok(cel_comparison_text(c, cut, CEL_COMPARISON_TEXT, &text));
    assert_non_null(strstr(text, "Not finished: 3 of 6"));
    assert_non_null(strstr(text, "1 of 2"));
    cel_free(text);
    /* A kill tears the last line. */
    char *results = cel_path_join(cut, "results.jsonl");
    FILE *f = fopen(results, "a");
    fputs("{\"method\":\"ran", f);
    fclose(f);
    w = (watch){0};
    test_ok(search(c, cut, true, 1, &w));
    assert_int_equal(w.ended, 3);
    same_searches(c, whole, cut);
    char *a = cel_path_join(whole, "runs/drnas/small/seed-1"), *b = cel_path_join(cut, "runs/drnas/small/seed-1");
    same_bytes(a, b, "genotypes.jsonl");
    same_bytes(a, b, "recipe.yaml");
    cel_free(a);
    cel_free(b);
    cel_free(results);
    cel_free(cut);
    cel_comparison_destroy(c);
}

static void side_by_side(void **state) {
    (void)state;
    cel_comparison *c = open_text(TRIAL);
    char *both = cel_path_join(dir, "both");
    watch w = {0};
    test_ok(search(c, both, false, 3, &w));
    assert_true(w.most_running > 1 && w.most_running <= 3);
    same_searches(c, whole, both);
    cel_free(both);
    cel_comparison_destroy(c);
}

/* One whose numbers diverge has failed, once and for all; the others go on. One that its watch stops has the cell of
 * then. */
static void failures_are_told(void **state) {
    (void)state;
    cel_comparison *c = open_text("seeds: 1\n" DATASETS COMMON "methods:\n"
                                  "  - {name: wild, settings: {search: {method: drnas, stages: [{k: 1, epochs: 20}]},\n"
                                  "     train: {lr: 100, lr_min: 100, clip: 0, weight_decay: 10}}}\n"
                                  "  - {name: random, settings: {search: {method: random}}}\n"
                                  "  - {name: watched, settings: {search: {method: darts},\n"
                                  "     watch: {interval: 1, action: stop, min_entropy: 5}}}\n");
    char *to = cel_path_join(dir, "failed"), *text;
    watch w = {0};
    test_ok(search(c, to, false, 1, &w));
    assert_int_equal(w.ended, 3);
    test_ok(cel_comparison_text(c, to, CEL_COMPARISON_TEXT, &text));
    assert_non_null(strstr(text, "0 of 1, 1 failed"));
    cel_free(text);
    json_t *searches = searches_of(c, to);
    assert_string_equal(json_string_value(json_object_get(json_array_get(searches, 0), "status")), "failed");
    assert_string_equal(json_string_value(json_object_get(json_array_get(searches, 1), "status")), "found");
    assert_string_equal(json_string_value(json_object_get(json_array_get(searches, 2), "status")), "found");
    json_decref(searches);
    test_ok(cel_comparison_write(c, to));
    w = (watch){0};
    test_ok(search(c, to, true, 1, &w));
    assert_int_equal(w.ended, 0);
    cel_free(to);
    cel_comparison_destroy(c);
}

/* A kill between the checkpoint of a search that its watch stopped and the line that says that it has ended: the search
 * is not gone on with, and the line comes out as it was. */
static void a_stop_outlives_a_kill(void **state) {
    (void)state;
    cel_comparison *c =
        open_text("seeds: 1\n" DATASETS COMMON "methods:\n"
                  "  - {name: watched, settings: {search: {method: darts, stages: [{k: 1, epochs: 3}]},\n"
                  "     watch: {interval: 1, action: stop, min_entropy: 5}}}\n"
                  "  - {name: random, settings: {search: {method: random}}}\n");
    char *to = cel_path_join(dir, "stopped"), *ends = cel_path_join(to, "results.jsonl"),
         *run = cel_compare_run_dir(c, to, 0, 0, c->conf.first_seed);
    watch w = {0};
    test_ok(search(c, to, false, 1, &w));
    assert_int_equal(w.ended, 2);
    json_t *want = searches_of(c, to);
    char *metrics = read_file(run, "metrics.jsonl");
    test_ok(cel_file_write_atomic(ends, "", 0));
    w = (watch){0};
    test_ok(search(c, to, true, 1, &w));
    assert_int_equal(w.ended, 2);
    char *again = read_file(run, "metrics.jsonl");
    assert_string_equal(again, metrics);
    json_t *got = searches_of(c, to);
    assert_true(json_equal(got, want));
    json_decref(want);
    json_decref(got);
    cel_free(again);
    cel_free(metrics);
    cel_free(run);
    cel_free(ends);
    cel_free(to);
    cel_comparison_destroy(c);
}

/* So has one that ends, once begun, without a cell within its limit; a limit that nothing meets is told, not recorded. */
static void failures_of_a_limit(void **state) {
    (void)state;
    static const char methods[] =
        "seeds: 1\n" DATASETS COMMON "methods:\n"
        "  - {name: limited, settings: {search: {method: darts, max_params: 4894}, select: {by: one_shot, "
        "samples: 1}}}\n"
        "  - {name: random, settings: {search: {method: random}}}\n";
    cel_comparison *c = open_text(methods);
    char *to = cel_path_join(dir, "limited");
    watch w = {0};
    test_ok(search(c, to, false, 1, &w));
    assert_int_equal(w.ended, 2);
    json_t *searches = searches_of(c, to);
    assert_string_equal(json_string_value(json_object_get(json_array_get(searches, 0), "status")), "failed");
    assert_string_equal(json_string_value(json_object_get(json_array_get(searches, 1), "status")), "found");
    json_decref(searches);
    char *lines = read_file(to, "results.jsonl");
    assert_non_null(strstr(lines, "within search.max_params"));
    cel_free(lines);
    cel_free(to);
    cel_comparison_destroy(c);
    c = open_text("seeds: 1\n" DATASETS COMMON "methods:\n"
                  "  - {name: limited, settings: {search: {method: darts, max_params: 10}}}\n");
    to = cel_path_join(dir, "refused");
    w = (watch){0};
    test_fails(search(c, to, false, 1, &w), CEL_CONFIG, "raise search.max_params");
    assert_int_equal(w.ended, 0);
    cel_free(to);
    cel_comparison_destroy(c);
}

/* Who sees the whole table finds the same cell with every seed: that is no interval of no width. */
static void one_cell_has_no_interval(void **state) {
    (void)state;
    cel_comparison *c = open_text("seeds: 3\ndatasets:\n  - {name: cifar10}\nmethods:\n"
                                  "  - {name: all, searcher: random_search, budget: 15625}\n"
                                  "  - {name: some, searcher: random_search, budget: 20}\n");
    char *to = cel_path_join(dir, "one-cell"), *text;
    watch w = {0};
    cel_result r;
    test_ok(search(c, to, false, 1, &w));
    test_ok(cel_result_read(c, to, &r));
    assert_true(r.summary[0][0].n == 3 && r.summary[0][0].cells == 1 && r.summary[0][0].deviation[0] == 0);
    assert_true(isnan(r.summary[0][0].interval[0]));
    assert_true(r.summary[1][0].cells > 1 && r.summary[1][0].interval[0] > 0);
    cel_result_fini(&r);
    test_ok(cel_comparison_text(c, to, CEL_COMPARISON_TEXT, &text));
    assert_non_null(strstr(text, "One cell: where all searches of a method found the same one"));
    cel_free(text);
    cel_free(to);
    cel_comparison_destroy(c);
    c = open_text(TRIAL);
    test_ok(cel_comparison_text(c, whole, CEL_COMPARISON_TEXT, &text));
    assert_null(strstr(text, "One cell:"));
    cel_free(text);
    cel_comparison_destroy(c);
}

static void refuses_what_changed(void **state) {
    (void)state;
    watch w = {0};
    char *text;
    cel_comparison *c = open_text("title: a <trial> & 100 % of_it\nseeds: 2\n" DATASETS COMMON "methods:\n"
                                  "  - {name: drnas, label: \"DrNAS | <1> & 2_3\", settings: {search: {method: drnas}, "
                                  "train: {lr: 0.05}},\n"
                                  "     expect: {dataset: cifar10, test: 94.36, source: \"a table & more\"}}\n"
                                  "  - {name: random, settings: {search: {method: random}}}\n"
                                  "  - {name: evolution, searcher: rea, budget: 50, settings: {population: 5}}\n");
    test_fails(search(c, whole, true, 1, &w), CEL_CONFIG, "recipes/drnas.small.yaml");
    test_fails(search(c, whole, true, 1, &w), CEL_CONFIG, "train: expected \"  lr: 0.025\", found \"  lr: 0.05\"");
    test_fails(cel_comparison_text(c, whole, CEL_COMPARISON_TEXT, &text), CEL_CONFIG, "lr: 0.05");
    cel_comparison_destroy(c);
    c = open_text("title: a <trial> & 100 % of_it\nseeds: 2\n" DATASETS COMMON "methods:\n"
                  "  - {name: drnas, label: \"DrNAS | <1> & 2_3\", settings: {search: {method: drnas}}}\n"
                  "  - {name: random, settings: {search: {method: random}}}\n"
                  "  - {name: evolution, searcher: rea, budget: 50, settings: {population: 7}}\n");
    test_fails(search(c, whole, true, 1, &w), CEL_CONFIG, "expected \"population=5\", found \"population=7\"");
    cel_comparison_destroy(c);
    char *path = write_file("it.yaml", TRIAL);
    test_ok(cel_comparison_open(path, (const char *const[]){"seeds=3"}, 1, &c));
    test_fails(search(c, whole, true, 1, &w), CEL_CONFIG, "expected \"seeds: 2\", found \"seeds: 3\"");
    cel_comparison_destroy(c);
    assert_int_equal(w.ended, 0);
    c = open_text(TRIAL);
    test_fails(search(c, dir, false, 1, &w), CEL_CONFIG, "expected an empty or new directory");
    test_fails(cel_comparison_text(c, dir, CEL_COMPARISON_TEXT, &text), CEL_NOTFOUND,
               "expected a comparison's directory");
    cel_comparison_destroy(c);
    cel_free(path);
}

/* ---- forms ---- */

static int count(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) n++;
    return n;
}

static void html_is_whole(const char *page) {
    static const char *const loads[] = {"<script", "<link", "<img", "src=", "href=", "url(", "@import"};
    static const char *const pairs[] = {"section", "figure",  "svg",  "table",   "tr",    "td",   "th",
                                        "div",     "details", "text", "ul",      "li",    "p",    "h2",
                                        "h3",      "b",       "ul",   "caption", "thead", "tbody"};
    for (size_t i = 0; i < CEL_COUNT(loads); i++)
        if (strstr(page, loads[i])) fail_msg("the page has \"%s\"", loads[i]);
    for (size_t i = 0; i < CEL_COUNT(pairs); i++) {
        char open[16], attr[16], close[16];
        snprintf(open, sizeof open, "<%s>", pairs[i]);
        snprintf(attr, sizeof attr, "<%s ", pairs[i]);
        snprintf(close, sizeof close, "</%s>", pairs[i]);
        if (count(page, open) + count(page, attr) != count(page, close)) fail_msg("<%s> is not closed", pairs[i]);
    }
    assert_null(strstr(page, "nan"));
    assert_null(strstr(page, "<trial>"));
    assert_non_null(strstr(page, "a &lt;trial&gt; &amp; 100 % of_it"));
    assert_int_equal(count(page, "role=\"img\""), count(page, "<title>") - 1);
}

static void latex_is_whole(const char *text) {
    int open = 0, columns = 0, seen = 0;
    for (const char *p = text; *p; p++) {
        bool escaped = p > text && p[-1] == '\\';
        if (!escaped && *p == '{') open++;
        if (!escaped && *p == '}') assert_true(--open >= 0);
    }
    assert_int_equal(open, 0);
    assert_int_equal(count(text, "\\begin{"), count(text, "\\end{"));
    for (const char *p = text; (p = strstr(p, "\\begin{tabular}{"));) {
        p += strlen("\\begin{tabular}{");
        columns = (int)strcspn(p, "}");
        const char *end = strstr(p, "\\bottomrule");
        for (const char *line = strchr(p, '\n') + 1; line < end; line = strchr(line, '\n') + 1) {
            if (!strncmp(line, "\\toprule", 8) || !strncmp(line, "\\midrule", 8)) continue;
            int cells = 1;
            for (const char *q = line; *q != '\n'; q++) cells += *q == '&' && q[-1] != '\\';
            assert_int_equal(cells, columns);
            seen++;
        }
    }
    assert_true(seen > 10);
    assert_null(strstr(text, "±"));
    assert_non_null(strstr(text, "DrNAS \\textbar{} $<$1$>$ \\& 2\\_3"));
}

static void markdown_is_whole(const char *text) {
    int columns = 0, rows = 0;
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
        if (*line != '|') {
            columns = 0;
            continue;
        }
        int bars = 0;
        for (const char *q = line; *q != '\n'; q++) bars += *q == '|' && (q == line || q[-1] != '\\');
        if (columns) assert_int_equal(bars, columns);
        columns = bars;
        rows++;
    }
    assert_true(rows > 10);
}

static void csv_is_whole(const char *text, int searches) {
    int rows = 0, columns = 0;
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1, rows++) {
        int commas = 0;
        bool quoted = false;
        for (const char *q = line; *q != '\n'; q++) {
            if (*q == '"') quoted = !quoted;
            commas += *q == ',' && !quoted;
        }
        assert_false(quoted);
        if (rows) assert_int_equal(commas, columns);
        columns = commas;
    }
    assert_int_equal(rows, searches + 1);
}

static void forms_are_well_formed(void **state) {
    (void)state;
    cel_comparison *c = open_text(TRIAL);
    test_ok(cel_comparison_write(c, whole));
    char *text[CEL_COMPARISON_FORMS];
    for (int f = 0; f < CEL_COMPARISON_FORMS; f++) {
        char *printed;
        text[f] = read_file(whole, cel_comparison_form_file(f));
        assert_true(strlen(text[f]) > 300);
        assert_non_null(cel_comparison_form_name(f));
        test_ok(cel_comparison_text(c, whole, (cel_comparison_form)f, &printed));
        cel_free(printed);
    }
    assert_null(cel_comparison_form_name(CEL_COMPARISON_FORMS));
    assert_null(cel_comparison_form_file(-1));
    html_is_whole(text[CEL_COMPARISON_HTML]);
    latex_is_whole(text[CEL_COMPARISON_LATEX]);
    markdown_is_whole(text[CEL_COMPARISON_MARKDOWN]);
    csv_is_whole(text[CEL_COMPARISON_CSV], 6);
    /* The text says what a reader must know. */
    const char *t = text[CEL_COMPARISON_TEXT];
    assert_non_null(strstr(t, "not in table"));
    assert_non_null(strstr(t, "training variance, is not in the table"));
    assert_non_null(strstr(t, "Too few seeds for tests: 2 pairs at most"));
    assert_non_null(strstr(t, "too few"));
    assert_non_null(strstr(t, "optimum"));
    assert_non_null(strstr(t, "94.37"));
    assert_non_null(strstr(t, "all skip connections"));
    assert_non_null(strstr(t, "54.30"));
    assert_non_null(strstr(t, "Published, DrNAS | <1> & 2_3: a table & more."));
    /* The JSON says the same, without p-values. */
    json_error_t error;
    json_t *root = json_loads(text[CEL_COMPARISON_JSON], JSON_REJECT_DUPLICATES, &error);
    assert_non_null(root);
    json_t *second = json_array_get(json_object_get(root, "methods"), 1);
    json_t *tests = json_object_get(second, "against_reference");
    assert_true(json_is_true(json_object_get(tests, "too_few")));
    assert_true(json_is_null(json_object_get(tests, "paired_t_p")));
    assert_true(json_is_null(json_object_get(tests, "signed_rank_holm")));
    json_decref(root);
    for (int f = 0; f < CEL_COMPARISON_FORMS; f++) cel_free(text[f]);
    cel_comparison_destroy(c);
}

/* ---- statistics ---- */

enum { SEEDS = 8 };

/* Searchers take no time, so many seeds of them do; their numbers are computed here anew. */
static void statistics_are_right(void **state) {
    (void)state;
    cel_comparison *c = open_text("seeds: 8\nfirst_seed: 5\nreference: random\n"
                                  "datasets:\n"
                                  "  - {name: cifar10, settings: {data: {source: cifar10}}}\n"
                                  "  - {name: cifar100, settings: {data: {source: cifar100}}}\n"
                                  "methods:\n"
                                  "  - {name: random, searcher: random_search, budget: 20}\n"
                                  "  - {name: evolution, searcher: rea, budget: 200}\n"
                                  "  - {name: climb, searcher: local_search, budget: 20, settings: {move: first}}\n");
    char *to = cel_path_join(dir, "searchers");
    watch w = {0};
    cel_result r;
    cel_table *table;
    test_ok(search(c, to, false, 1, &w));
    test_ok(cel_result_read(c, to, &r));
    test_ok(cel_table_open(NULL, &table));
    double test[3][2][SEEDS], t_p[4], rank_p[4], holm[4], average[3] = {0};
    static const char *const sets[] = {"cifar10", "cifar100"}, *const names[] = {"random_search", "rea",
                                                                                 "local_search"};
    static const int budgets[] = {20, 200, 20};
    for (int d = 0; d < 2; d++) {
        int metric;
        test_ok(cel_table_find_accuracy(table, sets[d], "test", 200, &metric));
        for (int m = 0; m < 3; m++) {
            for (int s = 0; s < SEEDS; s++) {
                const cel_searcher_run run = {.searcher = names[m],
                                              .dataset = sets[d],
                                              .budget = budgets[m],
                                              .seed = (uint64_t)(5 + s),
                                              .set = (const char *const[]){"move=first"},
                                              .n_set = m == 2};
                cel_searcher_found found;
                test_ok(cel_searcher_search(table, &run, &found));
                test[m][d][s] = cel_table_value(table, metric, found.best);
                cel_searcher_found_fini(&found);
            }
            const cel_summary *got = &r.summary[m][d];
            test_close(got->mean[d], cel_stats_mean(test[m][d], SEEDS), 1e-12, 0, "mean");
            test_close(got->deviation[d], cel_stats_deviation(test[m][d], SEEDS), 1e-12, 1e-12, "deviation");
            test_close(got->interval[d], 2.36462 * got->deviation[d] / sqrt(SEEDS), 1e-5, 0, "t interval, 7 degrees");
            test_close(got->regret, cel_table_value(table, metric, cel_table_best(table, metric)) - got->mean[d], 1e-9,
                       0, "regret");
            assert_int_equal(got->n, SEEDS);
            if (!m) continue;
            cel_signed_rank rank;
            double t;
            test_ok(cel_paired_t(test[m][d], test[0][d], SEEDS, &t, &t_p[2 * (m - 1) + d]));
            test_ok(cel_signed_rank_test(test[m][d], test[0][d], SEEDS, &rank));
            rank_p[2 * (m - 1) + d] = rank.p;
            test_close(got->t_p, t_p[2 * (m - 1) + d], 1e-12, 0, "t");
            test_close(got->rank_p, rank.p, 1e-12, 0, "signed rank");
        }
        double block[SEEDS * 3];
        for (int s = 0; s < SEEDS; s++)
            for (int m = 0; m < 3; m++) block[3 * s + m] = test[m][d][s];
        test_ok(cel_average_ranks(block, SEEDS, 3, average));
        for (int m = 0; m < 3; m++) test_close(r.summary[m][d].rank, average[m], 1e-12, 0, "rank");
        assert_int_equal(r.rank_blocks[d], SEEDS);
        test_close(r.critical[d], cel_critical_difference(3, SEEDS, 0.05), 1e-12, 0, "critical difference");
    }
    test_ok(cel_holm(t_p, 4, holm));
    for (int m = 1; m < 3; m++)
        for (int d = 0; d < 2; d++) test_close(r.summary[m][d].t_holm, holm[2 * (m - 1) + d], 1e-12, 0, "Holm of t");
    test_ok(cel_holm(rank_p, 4, holm));
    for (int m = 1; m < 3; m++)
        for (int d = 0; d < 2; d++)
            test_close(r.summary[m][d].rank_holm, holm[2 * (m - 1) + d], 1e-12, 0, "Holm of ranks");
    assert_true(isnan(r.summary[0][0].t_p));
    /* Baselines, by the figures that are published: optimum, all skip connections, all 3x3. */
    test_close(r.baseline[0][CEL_BASELINE_OPTIMUM].test[0], 94.37, 0, 5e-3, "optimum");
    test_close(r.baseline[1][CEL_BASELINE_OPTIMUM].test[1], 73.51, 0, 5e-3, "optimum of CIFAR-100");
    test_close(r.baseline[0][CEL_BASELINE_SKIP].test[0], 54.30, 0, 5e-3, "all skip");
    test_close(r.baseline[0][CEL_BASELINE_SKIP].test[1], 15.61, 0, 5e-3, "all skip");
    test_close(r.baseline[0][CEL_BASELINE_PARAMS].test[0], 93.76, 0, 5e-3, "all 3x3");
    test_close(r.baseline[0][CEL_BASELINE_PARAMS].test[1], 71.11, 0, 5e-3, "all 3x3");
    cel_result_fini(&r);
    char *text;
    test_ok(cel_comparison_text(c, to, CEL_COMPARISON_TEXT, &text));
    assert_null(strstr(text, "Too few seeds"));
    assert_non_null(strstr(text, "critical difference after Nemenyi"));
    cel_free(text);
    cel_table_close(table);
    cel_free(to);
    cel_comparison_destroy(c);
}

/* ---- bad input ---- */

static void refused(const char *text, cel_status code, const char *part) {
    char *path = write_file("bad.yaml", text);
    cel_comparison *c;
    test_fails(cel_comparison_open(path, NULL, 0, &c), code, part);
    cel_free(path);
}

#define ONE "methods: [{name: a, settings: {search: {method: random}}}]\n"

static void bad_comparisons(void **state) {
    (void)state;
    refused("seeds: 0\n" DATASETS ONE, CEL_CONFIG, "seeds");
    refused("sedes: 3\n" DATASETS ONE, CEL_CONFIG, "did you mean \"seeds\"");
    refused(DATASETS, CEL_CONFIG, "at least one entry below methods");
    refused(ONE, CEL_CONFIG, "one below datasets");
    refused("reference: b\n" DATASETS ONE, CEL_CONFIG, "no method is called \"b\"");
    refused(DATASETS "methods: [{name: a, settings: {search: {method: nothing}}}]\n", CEL_CONFIG,
            "there is no \"nothing\"");
    refused(DATASETS "methods: [{name: a}]\n", CEL_CONFIG, "neither a recipe nor settings");
    refused(DATASETS "methods: [{name: a/b, searcher: rea}]\n", CEL_CONFIG, "letters, digits");
    refused(DATASETS "methods: [{name: .., searcher: rea}]\n", CEL_CONFIG, "letters, digits");
    refused(DATASETS "methods: [{name: a, searcher: rea}, {name: a, searcher: rea}]\n", CEL_CONFIG, "there twice");
    refused(DATASETS "methods: [{name: a, searcher: rea, recipe: demo}]\n", CEL_CONFIG, "give only one of them");
    refused(DATASETS "methods: [{name: a, searcher: reo}]\n", CEL_CONFIG, "did you mean \"rea\"");
    refused(DATASETS "methods: [{name: a, recipe: dmeo}]\n", CEL_NOTFOUND, "did you mean \"demo\"");
    refused(DATASETS "methods: [{name: a, recipe: no/such.yaml}]\n", CEL_NOTFOUND, "no/such.yaml");
    refused(DATASETS "methods: [{name: a, settings: [1, 2]}]\n", CEL_CONFIG,
            "expected a section of settings, found a list");
    refused(DATASETS "methods: [{name: a, settings: {search: {method: random}, trian: {lr: 1}}}]\n", CEL_CONFIG,
            "bad.yaml:3");
    refused(DATASETS COMMON "methods: [{name: a, settings: {search: {method: random}, data: {source: cifar100}}}]\n",
            CEL_CONFIG, "only a data set says which");
    refused("datasets: [{name: s, settings: {data: {source: synthetic}}}]\n" ONE, CEL_CONFIG, "nothing to compare by");
    refused("common: 3\n" DATASETS ONE, CEL_CONFIG, "expected a section of settings");
    cel_comparison *c;
    test_fails(cel_comparison_open("compare-nothing", NULL, 0, &c), CEL_NOTFOUND, "no comparison is called");
    test_fails(cel_comparison_open("demo", NULL, 0, &c), CEL_NOTFOUND, "no comparison is called");
    /* What only the table knows is told before anything runs. */
    watch w = {0};
    char *to = cel_path_join(dir, "never");
    c = open_text(DATASETS "methods: [{name: a, searcher: rea, budget: 20000}]\n");
    test_fails(search(c, to, false, 1, &w), CEL_CONFIG, "a budget of 20000 queries; expected 1 to 15625");
    cel_comparison_destroy(c);
    c = open_text(DATASETS "methods: [{name: a, searcher: rea, settings: {poplation: 5}}]\n");
    test_fails(search(c, to, false, 1, &w), CEL_CONFIG, "did you mean \"population\"");
    cel_comparison_destroy(c);
    assert_false(cel_path_exists(to));
    cel_free(to);
}

static void bad_records(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"{\n", "r:1: expected a JSON object"},
        {"[]\n", "expected a JSON object"},
        {"{\"method\":\"x\"}\n", "expected those of the comparison"},
        {"{\"method\":\"evolution\",\"dataset\":\"small\"}\n", "expected those of the comparison"},
        {"{\"method\":\"drnas\",\"dataset\":\"small\",\"seed\":3}\n", "seed: expected 1 to 2"},
        {"{\"method\":\"drnas\",\"dataset\":\"small\",\"seed\":1,\"seconds\":-1}\n", "seconds"},
        {"{\"method\":\"drnas\",\"dataset\":\"small\",\"seed\":1,\"seconds\":1}\n", "either a genotype or a failure"},
        {"{\"method\":\"drnas\",\"dataset\":\"small\",\"seed\":1,\"seconds\":1,\"failure\":\"\"}\n"
         "{\"method\":\"drnas\",\"dataset\":\"small\",\"seed\":1,\"seconds\":1,\"failure\":\"\"}\n",
         "r:2: the same search as in line 1"},
        {"\n\n\n\n\n\n\n", "at most a line for each search"}};
    cel_comparison *c = open_text(TRIAL);
    cel_compare_end *ends;
    int n;
    for (size_t i = 0; i < CEL_COUNT(bad); i++) {
        cel_arena arena = {0};
        test_fails(cel_compare_ends(c, "r", bad[i].text, strlen(bad[i].text), &arena, &ends, &n), CEL_FORMAT,
                   bad[i].part);
        cel_arena_fini(&arena);
    }
    cel_comparison_destroy(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_and_records),
        cmocka_unit_test(resumes),
        cmocka_unit_test(side_by_side),
        cmocka_unit_test(failures_are_told),
        cmocka_unit_test(a_stop_outlives_a_kill),
        cmocka_unit_test(failures_of_a_limit),
        cmocka_unit_test(one_cell_has_no_interval),
        cmocka_unit_test(refuses_what_changed),
        cmocka_unit_test(forms_are_well_formed),
        cmocka_unit_test(statistics_are_right),
        cmocka_unit_test(bad_comparisons),
        cmocka_unit_test(bad_records),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
