/* Whole runs on computed images: recipes, the run directory's files, interruption by signal-like stops and by SIGKILL, other
 * numbers of threads, and every refusal. */
#define _GNU_SOURCE
#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/file.h"
#include "base/mem.h"
#include "cellar/run.h"
#include "support/test.h"

static const char TINY[] = "title: tiny\n"
                           "search:\n"
                           "  seed: 3\n"
                           "  sampled: 10\n"
                           "  checkpoint_s: 0.001\n"
                           "  stages:\n"
                           "    - {k: 2, ops: 5, epochs: 2, warmup: 1}\n"
                           "    - {k: 1, ops: 2, epochs: 2}\n"
                           "space: {c: 4, n: 1}\n"
                           "method: {lr: 0.05}\n"
                           "train: {batch: 8}\n"
                           "data: {source: synthetic, limit: 80}\n";

static char *write_recipe(const char *dir) {
    char *path = cel_path_join(dir, "tiny.yaml");
    test_ok(cel_file_write_atomic(path, TINY, strlen(TINY)));
    return path;
}

typedef struct {
    int64_t stop_at; /* asks to stop at this step of the call; 0: never */
    int64_t steps;
    int epochs, begun_after, ends;
    cel_search_epoch found;
} watcher;

static void on_begin(void *ctx, const cel_search_info *info, const cel_dataset_info *data) {
    ((watcher *)ctx)->begun_after = info->epochs_done;
    assert_string_equal(data->name, "synthetic");
}
static bool on_step(void *ctx, const cel_search_progress *p) {
    watcher *w = ctx;
    assert_true(p->done >= 0 && p->done <= 1);
    return ++w->steps == w->stop_at;
}
static void on_epoch(void *ctx, const cel_search_epoch *e) {
    ((watcher *)ctx)->epochs++;
    assert_int_equal(e->n_epochs, 4);
}

static void on_end(void *ctx, const cel_search_epoch *found) {
    ((watcher *)ctx)->ends++;
    ((watcher *)ctx)->found = *found;
}

static cel_status run(const char *recipe_path, const char *dir, bool resume, int threads, watcher *w) {
    cel_recipe *recipe;
    cel_genotype found;
    CEL_TRY(cel_recipe_open(recipe_path, NULL, 0, &recipe));
    cel_run_options options = {.dir = dir,
                               .resume = resume,
                               .threads = threads,
                               .command = "cellar search tiny.yaml",
                               .ctx = w,
                               .begin = on_begin,
                               .step = on_step,
                               .epoch = on_epoch,
                               .end = on_end};
    cel_status status = cel_run_search(recipe, &options, &found);
    cel_recipe_destroy(recipe);
    return status;
}

static char *read_in(const char *dir, const char *name, size_t *n) {
    char *path = cel_path_join(dir, name), *data;
    test_ok(cel_file_read(path, 16 << 20, &data, n));
    cel_free(path);
    return data;
}

static void same_bytes(const char *a, const char *b, const char *name) {
    size_t n, m;
    char *x = read_in(a, name, &n), *y = read_in(b, name, &m);
    if (n != m || memcmp(x, y, n)) fail_msg("%s differs between %s and %s", name, a, b);
    cel_free(x);
    cel_free(y);
}

/* The same file names with the same bytes in both directories. */
static void same_directories(const char *a, const char *b) {
    DIR *d = opendir(a), *e = opendir(b);
    int n = 0, m = 0;
    assert_true(d && e);
    for (struct dirent *f; (f = readdir(d));)
        if (f->d_name[0] != '.') {
            same_bytes(a, b, f->d_name);
            n++;
        }
    for (struct dirent *f; (f = readdir(e));) m += f->d_name[0] != '.';
    closedir(d);
    closedir(e);
    assert_int_equal(n, m);
    assert_int_equal(n, 4);
}

/* metrics.jsonl without the fields that may differ. */
static json_t *metrics_of(const char *dir) {
    size_t n;
    char *text = read_in(dir, "metrics.jsonl", &n);
    json_t *all = json_array();
    for (char *line = text, *end; *line; line = end + 1) {
        assert_non_null(end = strchr(line, '\n'));
        json_t *o = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(o);
        const char *free_to_differ[] = {"seconds", "images_per_s", "rss_mb", "peak_mb"};
        for (int i = 0; i < 4; i++) assert_int_equal(json_object_del(o, free_to_differ[i]), 0);
        json_array_append_new(all, o);
    }
    cel_free(text);
    return all;
}

static void same_runs(const char *a, const char *b) {
    char *x = cel_path_join(a, "checkpoint"), *y = cel_path_join(b, "checkpoint");
    same_directories(x, y);
    same_bytes(a, b, "genotypes.jsonl");
    same_bytes(a, b, "recipe.yaml");
    json_t *p = metrics_of(a), *q = metrics_of(b);
    assert_int_equal(json_array_size(p), 4);
    char *s = json_dumps(p, JSON_SORT_KEYS), *t = json_dumps(q, JSON_SORT_KEYS);
    assert_string_equal(s, t);
    free(s), free(t);
    json_decref(p), json_decref(q);
    cel_free(x), cel_free(y);
}

/* One undisturbed run for all tests to compare with. */
static char *top, *tiny, *calm;
static int make_calm(void **state) {
    (void)state;
    top = test_temp_dir();
    tiny = write_recipe(top);
    calm = cel_path_join(top, "calm");
    watcher w = {0};
    test_ok(run(tiny, calm, false, 2, &w));
    assert_int_equal(w.epochs, 4);
    assert_int_equal(w.steps, 20);
    return 0;
}
static int remove_calm(void **state) {
    (void)state;
    cel_free(tiny);
    cel_free(calm);
    test_temp_dir_remove(top);
    return 0;
}

static void the_records_are_complete(void **state) {
    (void)state;
    const char *fields[] = {
        "epoch",     "stage",   "k",        "ops_kept", "train_loss", "train_acc",     "lr",  "arch_lr", "arch_active",
        "grad_norm", "entropy", "genotype", "table",    "sampled",    "concentration", "live"};
    json_t *metrics = metrics_of(calm);
    for (size_t e = 0; e < 4; e++) {
        json_t *o = json_array_get(metrics, e);
        for (size_t i = 0; i < CEL_COUNT(fields); i++)
            if (!json_object_get(o, fields[i])) fail_msg("metrics.jsonl has no %s", fields[i]);
        assert_int_equal(json_integer_value(json_object_get(o, "epoch")), e);
        assert_int_equal(json_integer_value(json_object_get(o, "k")), e < 2 ? 2 : 1);
        assert_int_equal(json_is_true(json_object_get(o, "arch_active")), e != 0);
        assert_int_equal(json_object_get(o, "valid_loss") != NULL, e != 0);
        assert_int_equal(json_array_size(json_object_get(o, "concentration")), 6);
        json_t *live = json_array_get(json_object_get(o, "live"), 0);
        int n = 0;
        for (size_t i = 0; i < 5; i++) n += (int)json_integer_value(json_array_get(live, i));
        assert_int_equal(n, e < 2 ? 5 : 2);
        double test =
            json_number_value(json_object_get(json_object_get(json_object_get(o, "table"), "cifar100"), "test"));
        assert_true(test > 0 && test < 74);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "sampled"), "n")), 10);
    }
    json_decref(metrics);
    size_t n;
    char *text = read_in(calm, "manifest.json", &n);
    json_t *m = json_loads(text, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(m, "method")), "drnas");
    assert_int_equal(json_integer_value(json_object_get(m, "threads")), 2);
    assert_true(json_is_string(json_object_get(m, "finished")));
    assert_true(json_integer_value(json_object_get(json_object_get(m, "plan"), "params")) > 100);
    json_t *dataset = json_object_get(m, "dataset"), *images = json_object_get(dataset, "images");
    assert_int_equal(strlen(json_string_value(json_object_get(dataset, "sha256"))), 64);
    assert_int_equal(json_integer_value(json_object_get(images, "weights")), 40); /* of the 80 that the limit leaves */
    assert_int_equal(json_integer_value(json_object_get(images, "architecture")), 40);
    json_decref(m);
    cel_free(text);
    text = read_in(calm, "recipe.yaml", &n); /* the stored recipe is one that runs, and the same */
    char *stored = cel_path_join(calm, "recipe.yaml"), *again;
    cel_recipe *recipe;
    test_ok(cel_recipe_open(stored, NULL, 0, &recipe));
    test_ok(cel_recipe_text(recipe, CEL_RECIPE_YAML, &again));
    assert_string_equal(text, again);
    cel_recipe_destroy(recipe);
    cel_free(text), cel_free(stored), cel_free(again);
}

static void stops_and_goes_on_to_the_same_bytes(void **state) {
    (void)state;
    char *dir = cel_path_join(top, "stopped");
    const int64_t stops[] = {1, 3, 1, 4, 1, 5, 1, 0};
    int64_t done = 0;
    for (size_t i = 0; i < CEL_COUNT(stops); i++) {
        watcher w = {.stop_at = stops[i]};
        cel_status status = run(tiny, dir, i > 0, (int)(i % 3) + 1, &w);
        assert_int_equal(w.begun_after, done / 5);
        done += w.steps;
        if (stops[i])
            test_fails(status, CEL_INTERRUPTED, "go on with --resume");
        else
            test_ok(status);
    }
    assert_int_equal(done, 20);
    same_runs(calm, dir);
    watcher w = {0};
    size_t n, m;
    char *before = read_in(dir, "manifest.json", &n), *cells = read_in(dir, "genotypes.jsonl", &m), hash[40];
    test_ok(run(tiny, dir, true, 1, &w)); /* a complete run: nothing more happens, and it tells what it had found */
    assert_int_equal(w.steps, 0);
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.found.n_tables, 3);
    snprintf(hash, sizeof hash, "\"hash\":\"%016llx\"", (unsigned long long)w.found.hash);
    cells[m - 1] = 0;
    assert_non_null(strstr(strrchr(cells, '\n'), hash));
    assert_non_null(strstr(strrchr(cells, '\n'), w.found.text));
    char *after = read_in(dir, "manifest.json", &m);
    assert_string_equal(before, after);
    cel_free(before), cel_free(after), cel_free(cells);
    same_runs(calm, dir);
    cel_free(dir);
}

/* A child that is killed after `us` microseconds; true if it came to its end before. */
static bool run_and_kill(const char *dir, int threads, unsigned us) {
    pid_t child = fork();
    if (child == 0) {
        watcher w = {0};
        _exit(run(tiny, dir, true, threads, &w) == CEL_OK ? 0 : 1);
    }
    int how = 0;
    struct timespec nap = {us / 1000000, (long)(us % 1000000) * 1000};
    nanosleep(&nap, NULL);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &how, 0), child);
    if (WIFSIGNALED(how)) return false;
    assert_int_equal(WEXITSTATUS(how), 0);
    return true;
}

static void killed_at_any_moment_it_ends_the_same(void **state) {
    (void)state;
    char *dir = cel_path_join(top, "killed");
    unsigned us = 20000;
    bool done = false;
    for (int i = 0; i < 60 && !done; i++, us += us / 8 + 3001) done = run_and_kill(dir, i % 3 + 1, us);
    watcher w = {0};
    test_ok(run(tiny, dir, true, 2, &w));
    same_runs(calm, dir);
    cel_free(dir);
}

static void refusals(void **state) {
    (void)state;
    char *dir = cel_path_join(top, "refused");
    watcher w = {.stop_at = 7};
    test_fails(run(tiny, calm, false, 1, &w), CEL_CONFIG, "holds a run already");
    const char *changed[] = {"search.seed=4"};
    cel_recipe *recipe;
    test_ok(cel_recipe_open(tiny, changed, 1, &recipe));
    cel_run_options options = {.dir = calm, .resume = true};
    test_fails(cel_run_search(recipe, &options, NULL), CEL_CONFIG, "expected \"  seed: 3\", found \"  seed: 4\"");
    cel_recipe_destroy(recipe);

    const struct {
        const char *set, *said;
        cel_status code;
    } wrong[] = {
        {"space.c=6", "", CEL_OK},
        {"space.c=5", "take k = ", CEL_CONFIG},
        {"search.method=drnsa", "did you mean \"drnas\"", CEL_CONFIG},
        {"search.space=nb202", "nb201", CEL_CONFIG},
        {"train.lr=-1", "train.lr: expected a number from 0 to", CEL_CONFIG},
        {"train.bacth=8", "did you mean \"train.batch\"", CEL_CONFIG},
        {"search.stages=[]", "search.stages", CEL_CONFIG},
    };
    for (size_t i = 0; i < CEL_COUNT(wrong); i++) {
        cel_status status = cel_recipe_open(tiny, &wrong[i].set, 1, &recipe);
        if (wrong[i].code == CEL_OK) {
            test_ok(status);
            cel_recipe_destroy(recipe);
        } else {
            test_fails(status, wrong[i].code, wrong[i].said);
        }
    }
    const char *lost[] = {"data.source=cifar10", "data.path=/nonexistent"};
    test_ok(cel_recipe_open(tiny, lost, 2, &recipe));
    options = (cel_run_options){.dir = dir};
    test_fails(cel_run_search(recipe, &options, NULL), CEL_NOTFOUND, "/nonexistent");
    assert_false(cel_path_exists(dir)); /* a run that cannot start leaves nothing behind */
    cel_recipe_destroy(recipe);
    cel_free(dir);
}

static void diverged_numbers_stop_the_run(void **state) {
    (void)state;
    char *dir = cel_path_join(top, "diverged");
    const char *sets[] = {"train.lr=100", "train.clip=0", "train.weight_decay=10"};
    cel_recipe *recipe;
    test_ok(cel_recipe_open(tiny, sets, 3, &recipe));
    cel_run_options options = {.dir = dir, .threads = 1};
    test_fails(cel_run_search(recipe, &options, NULL), CEL_DIVERGED, "epoch");
    cel_recipe_destroy(recipe);
    cel_free(dir);
}

/* The collapse watch stops the run: record and checkpoint are there, its cell is told, and --resume goes on to the end. */
static void a_collapse_stops_the_run(void **state) {
    (void)state;
    char *dir = cel_path_join(top, "collapsed");
    const char *sets[] = {"watch={interval: 2, min_entropy: 10, action: stop, iterations: 1}",
                          "search.stages.0.warmup=0"};
    cel_recipe *recipe;
    test_ok(cel_recipe_open(tiny, sets, 2, &recipe));
    watcher w = {.ends = 0};
    cel_run_options options = {.dir = dir, .threads = 1, .ctx = &w, .epoch = on_epoch, .end = on_end};
    test_fails(cel_run_search(recipe, &options, NULL), CEL_COLLAPSED, "collapsing in epoch 1");
    assert_true(w.epochs == 2 && w.ends == 1 && *w.found.text);
    size_t n;
    char *metrics = read_in(dir, "metrics.jsonl", &n);
    assert_non_null(strstr(metrics, "\"eigenvalue\":"));
    assert_non_null(strstr(metrics, "\"warning\":\"the entropy is"));
    assert_non_null(strstr(metrics, "\"skips\":"));
    cel_free(metrics);
    options.resume = true;
    test_ok(cel_run_search(recipe, &options, NULL));
    assert_true(w.epochs == 4 && w.ends == 2);
    cel_recipe_destroy(recipe);
    cel_free(dir);
}

static cel_status check_one(void *ctx, const char *name, const char *path) {
    cel_recipe *recipe;
    (void)name;
    ++*(int *)ctx;
    CEL_TRY(cel_recipe_open(path, NULL, 0, &recipe));
    cel_recipe_info info = cel_recipe_get_info(recipe);
    assert_true(*info.title && *info.expect_source && *info.expect_dataset);
    assert_true(info.expect_test > 40 || info.expect_test == 0); /* 0: none is published */
    cel_recipe_destroy(recipe);
    return CEL_OK;
}

static void every_shipped_recipe_is_right(void **state) {
    (void)state;
    int n = 0;
    test_ok(cel_recipe_each(check_one, &n));
    assert_true(n >= 7);
    cel_recipe *recipe;
    test_ok(cel_recipe_open("drnas-progressive-nb201-cifar100", NULL, 0, &recipe));
    cel_recipe_info info = cel_recipe_get_info(recipe);
    assert_int_equal(info.n_epochs, 100);
    assert_true(info.expect_test == 73.51);
    cel_recipe_destroy(recipe);
    test_fails(cel_recipe_open("dmo", NULL, 0, &recipe), CEL_NOTFOUND, "did you mean \"demo\"?");
    test_fails(cel_recipe_open("", NULL, 0, &recipe), CEL_NOTFOUND, "no recipe is called");
    test_fails(cel_recipe_open("nowhere/x.yaml", NULL, 0, &recipe), CEL_NOTFOUND, "nowhere/x.yaml");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_records_are_complete),
        cmocka_unit_test(stops_and_goes_on_to_the_same_bytes),
        cmocka_unit_test(killed_at_any_moment_it_ends_the_same),
        cmocka_unit_test(refusals),
        cmocka_unit_test(diverged_numbers_stop_the_run),
        cmocka_unit_test(a_collapse_stops_the_run),
        cmocka_unit_test(every_shipped_recipe_is_right),
    };
    return cmocka_run_group_tests(tests, make_calm, remove_calm);
}
