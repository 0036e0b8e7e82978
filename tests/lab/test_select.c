/* Selection among drawn cells: draws, ranks, refusals; and whole runs that end in one, interrupted and gone on from to the same bytes. */
#define _GNU_SOURCE
#include <jansson.h>

#include "base/file.h"
#include "base/mem.h"
#include "cellar/run.h"
#include "nas/search/select.h"
#include "nas/space/space.h"
#include "support/test.h"

/* ---- draws and ranks ---- */

typedef struct {
    cel_policy *policy;
    void *conf;
} rig;

static void rig_open(rig *r) {
    r->conf = cel_alloc(1, cel_method_drnas.conf_size);
    cel_opt_defaults(cel_method_drnas.opts, r->conf);
    test_ok(cel_policy_create(&cel_method_drnas, cel_space_nb201.choices(), r->conf, 1, &r->policy));
}
static void rig_close(rig *r) {
    cel_policy_destroy(r->policy);
    cel_free(r->conf);
}

static cel_select_conf conf_of(const char *by, int samples) {
    cel_select_conf conf;
    cel_opt_defaults(cel_select_opts, &conf);
    conf.by = by;
    conf.samples = samples;
    return conf;
}

static void draws_are_kept_once(void **state) {
    (void)state;
    rig r;
    cel_selection a, b;
    rig_open(&r);
    for (int e = 0; e < r.policy->choices->n_entries; e++) r.policy->live[e] = e % 5 == 1 || e % 5 == 3; /* 64 cells */
    cel_select_conf conf = conf_of("synflow", 200);
    test_ok(cel_select_draw(&conf, r.policy, &cel_space_nb201, 5, &a));
    int times = 0;
    for (int i = 0; i < a.n; i++) {
        times += a.candidate[i].times;
        for (int k = 0; k < i; k++)
            assert_false(cel_genotype_equal(&a.candidate[i].genotype, &a.candidate[k].genotype));
        for (int e = 0; e < 6; e++)
            assert_true(a.candidate[i].genotype.edge[e].op == 1 || a.candidate[i].genotype.edge[e].op == 3);
    }
    assert_int_equal(times, 200);
    assert_true(a.n > 40 && a.n <= 64);
    test_ok(cel_select_draw(&conf, r.policy, &cel_space_nb201, 5, &b));
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.candidate, b.candidate, (size_t)a.n * sizeof *a.candidate);
    cel_selection_fini(&b);
    conf.seed = 6; /* its own seed goes before the search's */
    test_ok(cel_select_draw(&conf, r.policy, &cel_space_nb201, 5, &b));
    assert_true(a.n != b.n || memcmp(a.candidate, b.candidate, (size_t)a.n * sizeof *a.candidate));
    cel_selection_fini(&a);
    cel_selection_fini(&b);
    rig_close(&r);
}

static cel_status count_convolutions(void *ctx, const cel_genotype *cells, int n, double *scores) {
    (void)ctx;
    for (int i = 0; i < n; i++) {
        scores[i] = 0;
        for (int e = 0; e < cells[i].n; e++) scores[i] += cells[i].edge[e].op == CEL_NB201_CONV_3X3;
        if (cells[i].edge[0].op == CEL_NB201_NONE) scores[i] = NAN;
    }
    return CEL_OK;
}

static void the_best_come_first(void **state) {
    (void)state;
    rig r;
    cel_selection s;
    rig_open(&r);
    cel_select_conf conf = conf_of("one_shot", 150);
    test_ok(cel_select_draw(&conf, r.policy, &cel_space_nb201, 5, &s));
    test_ok(cel_select_score(&s, "convolutions", -1, count_convolutions, NULL));
    test_ok(cel_select_rank(&conf, &s));
    for (int i = 1; i < s.n; i++) {
        const cel_candidate *x = &s.candidate[i - 1], *y = &s.candidate[i];
        assert_true(!isnan(x->score) && x->score >= y->score && x->rank <= y->rank);
        assert_int_equal(x->score == y->score, x->rank == y->rank);
        if (isnan(y->part[0])) assert_true(isinf(y->score));
    }
    /* Finalists are judged anew among themselves. */
    cel_genotype third = s.candidate[2].genotype;
    test_ok(cel_select_score(&s, "again", 3, count_convolutions, NULL));
    test_ok(cel_select_rank(&conf, &s));
    assert_true(isnan(s.candidate[3].part[1]) && !isnan(s.candidate[2].part[1]));
    assert_true(cel_genotype_equal(&s.candidate[2].genotype, &third));
    cel_selection_fini(&s);
    rig_close(&r);
}

static void what_cannot_be(void **state) {
    (void)state;
    const cel_choices *choices = cel_space_nb201.choices();
    cel_select_conf conf = conf_of("mean", 100000);
    test_ok(cel_select_check(&conf, choices, 5));
    conf = conf_of("one_shot", 15626);
    test_fails(cel_select_check(&conf, choices, 5), CEL_CONFIG, "only 15625 cells");
    conf.samples = 15625;
    test_ok(cel_select_check(&conf, choices, 5));
    test_fails(cel_select_check(&conf, choices, 3), CEL_CONFIG, "only 729 cells");
    conf.finalists = 3;
    test_ok(cel_select_check(&conf, choices, 5));
    conf.by = "synflow";
    test_fails(cel_select_check(&conf, choices, 5), CEL_CONFIG, "select.finalists: 3, but");
    conf.by = "mean";
    test_fails(cel_select_check(&conf, choices, 5), CEL_CONFIG, "select.finalists: 3, but");
    conf = conf_of("sinflow", 10);
    test_fails(cel_select_check(&conf, choices, 5), CEL_CONFIG, "did you mean \"synflow\"");
    conf = conf_of("synflow,,naswot", 10);
    test_fails(cel_select_check(&conf, choices, 5), CEL_CONFIG, "there is no \"\"");
}

/* ---- whole runs ---- */

static const char TINY[] = "search: {seed: 3, sampled: 0, checkpoint_s: 0.001, stages: [{k: 2, epochs: 2}]}\n"
                           "space: {c: 4, n: 1}\n"
                           "method: {lr: 0.05}\n"
                           "train: {batch: 8}\n"
                           "data: {source: synthetic, limit: 80}\n";

typedef struct {
    int64_t stop_at, steps;
    cel_search_epoch found;
} watcher;

static bool on_step(void *ctx, const cel_search_progress *p) {
    watcher *w = ctx;
    (void)p;
    return ++w->steps == w->stop_at;
}
static void on_end(void *ctx, const cel_search_epoch *found) { ((watcher *)ctx)->found = *found; }

static cel_status run(const char *file, const char *dir, const char *const *sets, int n_sets, bool resume, int threads,
                      watcher *w) {
    cel_recipe *recipe;
    CEL_TRY(cel_recipe_open(file, sets, n_sets, &recipe));
    cel_run_options options = {
        .dir = dir, .resume = resume, .threads = threads, .ctx = w, .step = on_step, .end = on_end};
    cel_status status = cel_run_search(recipe, &options, NULL);
    cel_recipe_destroy(recipe);
    return status;
}

static char *read_in(const char *dir, const char *name, size_t *n) {
    char *path = cel_path_join(dir, name), *data;
    test_ok(cel_file_read(path, 16 << 20, &data, n));
    cel_free(path);
    return data;
}

static void check_record(const char *text, size_t n, const cel_search_epoch *found) {
    json_t *json = json_loadb(text, n, 0, NULL);
    assert_non_null(json);
    json_t *list = json_object_get(json, "candidates"), *first = json_array_get(list, 0);
    assert_string_equal(json_string_value(json_object_get(json, "genotype")), found->text);
    assert_string_equal(json_string_value(json_object_get(first, "genotype")), found->text);
    assert_int_equal(json_integer_value(json_object_get(first, "rank")), 1);
    int64_t times = 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        times += json_integer_value(json_object_get(json_array_get(list, i), "times"));
    assert_int_equal(times, 12);
    json_decref(json);
}

static void a_run_selects(void **state) {
    (void)state;
    static const char *const by[][2] = {{"select.by=naswot,synflow", "select.combine=vote"},
                                        {"select.by=one_shot", "select.finalists=3"}};
    char *dir = test_temp_dir(), *file = cel_path_join(dir, "tiny.yaml");
    test_ok(cel_file_write_atomic(file, TINY, strlen(TINY)));
    for (int b = 0; b < 2; b++) {
        const char *sets[] = {by[b][0], by[b][1], "select.samples=12", "select.batch=16"};
        char *whole = cel_path_join(dir, b ? "whole1" : "whole0"), *parts = cel_path_join(dir, b ? "parts1" : "parts0");
        watcher w = {0}, v = {.stop_at = 11}, again = {0};
        test_ok(run(file, whole, sets, 4, false, 1, &w));
        test_fails(run(file, parts, sets, 4, false, 2, &v), CEL_INTERRUPTED, "interrupted"); /* after the last epoch */
        test_ok(run(file, parts, sets, 4, true, 3, &again));
        size_t n, m;
        char *x = read_in(whole, "selection.json", &n), *y = read_in(parts, "selection.json", &m);
        assert_int_equal(n, m);
        assert_memory_equal(x, y, n);
        check_record(x, n, &w.found);
        assert_string_equal(w.found.text, again.found.text);
        again = (watcher){0};
        test_ok(run(file, parts, sets, 4, true, 1, &again)); /* told again */
        assert_string_equal(w.found.text, again.found.text);
        cel_free(x);
        cel_free(y);
        cel_free(whole);
        cel_free(parts);
    }
    cel_free(file);
    test_temp_dir_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(draws_are_kept_once), cmocka_unit_test(the_best_come_first),
                                       cmocka_unit_test(what_cannot_be), cmocka_unit_test(a_run_selects)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
