/* The directory of a comparison, and its searches, one after another or side by side.
 *
 * A comparison exists when its comparison.yaml does, which is written after the recipes it stands for. A line of
 * results.jsonl says that a search has ended, so a finished one is never run again and an interrupted one goes on from
 * its own checkpoint. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/pool.h"
#include "lab/compare.h"
#include "lab/lines.h"
#include "lab/stored.h"

enum { MAX_RESULTS = 64 << 20, MAX_JOBS = 256 };

/* ---- what the directory was begun with ---- */

static char *recipe_file(const cel_comparison *c, const char *dir, int m, int d) {
    return cel_asprintf("%s/recipes/%s.%s.yaml", dir, c->conf.methods[m].name, c->conf.datasets[d].name);
}

static cel_status each_recipe(const cel_comparison *c, const char *dir, bool write) {
    cel_status status = CEL_OK;
    for (int m = 0; m < c->conf.n_methods && status == CEL_OK; m++)
        for (int d = 0; d < c->conf.n_datasets && status == CEL_OK; d++) {
            char *file = recipe_file(c, dir, m, d);
            const char *text = c->plan[m][d].settings;
            if (!file)
                status = CEL_FAIL(CEL_NOMEM, "out of memory");
            else if (write)
                status = cel_file_write_atomic(file, text, strlen(text));
            else
                status = cel_stored_same(file, text, file, "comparison");
            cel_free(file);
        }
    return status;
}

cel_status cel_compare_check_dir(const cel_comparison *c, const char *dir) {
    char *file = cel_path_join(dir, "comparison.yaml");
    if (!file) return CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_status status = cel_path_exists(file)
                            ? cel_stored_same(file, c->settings, dir, "comparison")
                            : CEL_FAIL(CEL_NOTFOUND, "%s: expected a comparison's directory, found none", dir);
    cel_free(file);
    CEL_TRY(status);
    return each_recipe(c, dir, false);
}

/* Does the directory hold anything but what a kill at the very start leaves? */
static cel_status is_empty(const char *dir, bool *empty) {
    static const char *const early[] = {".", "..", "lock", "recipes", "comparison.yaml.tmp"};
    DIR *d = opendir(dir);
    if (!d) return CEL_FAIL(CEL_IO, "%s: cannot list it: %s", dir, strerror(errno));
    *empty = true;
    for (struct dirent *e; (e = readdir(d));) {
        bool known = false;
        for (size_t i = 0; i < CEL_COUNT(early); i++) known = known || !strcmp(e->d_name, early[i]);
        *empty = *empty && known;
    }
    closedir(d);
    return CEL_OK;
}

static cel_status begin(const cel_comparison *c, const char *dir, const char *file) {
    bool empty;
    CEL_TRY(is_empty(dir, &empty));
    if (!empty) return CEL_FAIL(CEL_CONFIG, "%s: expected an empty or new directory, found other files in it", dir);
    char *recipes = cel_path_join(dir, "recipes");
    cel_status status = recipes ? cel_dir_make(recipes) : CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_free(recipes);
    CEL_TRY(status);
    CEL_TRY(each_recipe(c, dir, true));
    return cel_file_write_atomic(file, c->settings, strlen(c->settings));
}

static cel_status begin_or_go_on(const cel_comparison *c, const char *dir, bool resume) {
    char *file = cel_path_join(dir, "comparison.yaml");
    if (!file) return CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_status status = CEL_OK;
    if (!cel_path_exists(file))
        status = begin(c, dir, file);
    else if (resume)
        status = cel_compare_check_dir(c, dir);
    else
        status = CEL_FAIL(CEL_CONFIG,
                          "%s: holds a comparison already; --resume goes on with it, or choose another directory", dir);
    cel_free(file);
    return status;
}

/* ---- results.jsonl ---- */

static const char *text_in(const json_t *line, const char *key) {
    return json_string_value(json_object_get(line, key));
}

static cel_status read_end(const cel_comparison *c, const char *place, const json_t *line, cel_arena *arena,
                           cel_compare_end *out) {
    const char *method = text_in(line, "method"), *dataset = text_in(line, "dataset"),
               *genotype = text_in(line, "genotype"), *failure = text_in(line, "failure");
    const json_t *seed = json_object_get(line, "seed"), *seconds = json_object_get(line, "seconds");
    *out = (cel_compare_end){.method = -1, .dataset = -1};
    for (int m = 0; method && m < c->conf.n_methods; m++)
        if (!strcmp(method, c->conf.methods[m].name)) out->method = m;
    for (int d = 0; dataset && d < c->conf.n_datasets; d++)
        if (!strcmp(dataset, c->conf.datasets[d].name)) out->dataset = d;
    if (out->method < 0 || out->dataset < 0 || *c->conf.methods[out->method].searcher)
        return CEL_FAIL(CEL_FORMAT, "%s: method, dataset: expected those of the comparison, found \"%.60s\", \"%.60s\"",
                        place, method ? method : "", dataset ? dataset : "");
    json_int_t number = json_integer_value(seed) - c->conf.first_seed;
    if (!json_is_integer(seed) || number < 0 || number >= c->conf.seeds)
        return CEL_FAIL(CEL_FORMAT, "%s: seed: expected %lld to %lld", place, (long long)c->conf.first_seed,
                        (long long)(c->conf.first_seed + c->conf.seeds - 1));
    out->seed = (int)number;
    out->seconds = json_number_value(seconds);
    if (!json_is_number(seconds) || !(out->seconds >= 0 && out->seconds < 1e12))
        return CEL_FAIL(CEL_FORMAT, "%s: seconds: expected a number from 0", place);
    if (!genotype == !failure) return CEL_FAIL(CEL_FORMAT, "%s: expected either a genotype or a failure", place);
    const char *kept = cel_arena_strdup(arena, genotype ? genotype : failure);
    if (!kept) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", place);
    *(genotype ? &out->genotype : &out->failure) = kept;
    return CEL_OK;
}

static cel_status add_end(const cel_comparison *c, const char *name, const char *bytes, size_t n, cel_arena *arena,
                          cel_compare_end *ends, int at) {
    char place[300];
    json_error_t error;
    snprintf(place, sizeof place, "%.250s:%d", name, at + 1);
    json_t *line = json_loadb(bytes, n, JSON_REJECT_DUPLICATES, &error);
    cel_status status = json_is_object(line)
                            ? read_end(c, place, line, arena, &ends[at])
                            : CEL_FAIL(CEL_FORMAT, "%s: expected a JSON object: %s", place, error.text);
    json_decref(line);
    CEL_TRY(status);
    for (int i = 0; i < at; i++)
        if (ends[i].method == ends[at].method && ends[i].dataset == ends[at].dataset && ends[i].seed == ends[at].seed)
            return CEL_FAIL(CEL_FORMAT, "%s: the same search as in line %d", place, i + 1);
    return CEL_OK;
}

cel_status cel_compare_ends(const cel_comparison *c, const char *name, const char *text, size_t n, cel_arena *arena,
                            cel_compare_end **ends, int *n_lines) {
    size_t lines = 0;
    for (size_t i = 0; i < n; i++) lines += text[i] == '\n';
    *n_lines = 0;
    if (lines > (size_t)c->conf.n_methods * (size_t)c->conf.n_datasets * (size_t)c->conf.seeds)
        return CEL_FAIL(CEL_FORMAT, "%s: expected at most a line for each search, found %zu", name, lines);
    *ends = cel_arena_alloc(arena, lines + 1, sizeof **ends);
    if (!*ends) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", name);
    for (const char *end; n && (end = memchr(text, '\n', n));) {
        CEL_TRY(add_end(c, name, text, (size_t)(end - text), arena, *ends, *n_lines));
        ++*n_lines;
        n -= (size_t)(end + 1 - text);
        text = end + 1;
    }
    return CEL_OK;
}

cel_status cel_compare_ends_read(const cel_comparison *c, const char *dir, cel_arena *arena, cel_compare_end **ends,
                                 int *n_lines) {
    char *file = cel_path_join(dir, "results.jsonl"), *text = NULL;
    size_t n = 0;
    if (!file) return CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_status status = cel_path_exists(file) ? cel_file_read(file, MAX_RESULTS, &text, &n) : CEL_OK;
    if (status == CEL_OK) status = cel_compare_ends(c, file, text ? text : "", n, arena, ends, n_lines);
    cel_free(text);
    cel_free(file);
    return status;
}

static char *end_line(const cel_comparison *c, const cel_compare_end *end) {
    json_t *line = json_pack("{s:s, s:s, s:I, s:f}", "method", c->conf.methods[end->method].name, "dataset",
                             c->conf.datasets[end->dataset].name, "seed", (json_int_t)(c->conf.first_seed + end->seed),
                             "seconds", end->seconds);
    const char *key = end->genotype ? "genotype" : "failure", *text = end->genotype ? end->genotype : end->failure;
    bool good = line && json_object_set_new(line, key, json_string(text)) == 0;
    char *out = good ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    return out;
}

/* ---- the searches ---- */

typedef struct job {
    int method, dataset, seed;
    double done;
} job;

/* Everything that the workers share; `lock` guards what changes. */
typedef struct crew {
    const cel_comparison *c;
    const cel_comparison_options *options;
    pthread_mutex_t lock;
    cel_lines results;
    job *job;
    int n_jobs, next, running, n_all, n_ended, threads;
    bool stop;
    cel_status status; /* the first failure, and its message */
    char *message;
} crew;

/* One search of a worker. */
typedef struct errand {
    crew *crew;
    job *job;
    bool begun; /* its recipe and its images are good, and its directory is this run's */
    char genotype[CEL_GENOTYPE_TEXT];
    double test;
} errand;

static void on_begin(void *ctx, const cel_search_info *info, const cel_dataset_info *data) {
    errand *e = ctx;
    (void)info;
    (void)data;
    e->begun = true;
}

/* Would the search fail like this each time? A recipe that is refused before its search begins is no failed search. */
static bool has_failed(const errand *e, cel_status status) {
    return status == CEL_DIVERGED || (e->begun && (status == CEL_CONFIG || status == CEL_UNSUPPORTED));
}

static bool on_step(void *ctx, const cel_search_progress *p) {
    errand *e = ctx;
    crew *w = e->crew;
    const cel_comparison_options *o = w->options;
    pthread_mutex_lock(&w->lock);
    e->job->done = p->done;
    double done = w->n_all - w->n_jobs;
    for (int i = 0; i < w->n_jobs; i++) done += w->job[i].done;
    if (o->progress && o->progress(o->ctx, done / w->n_all, w->running, cel_compare_label(w->c, e->job->method)))
        w->stop = true;
    bool stop = w->stop;
    pthread_mutex_unlock(&w->lock);
    return stop;
}

static void on_end(void *ctx, const cel_search_epoch *found) {
    errand *e = ctx;
    const char *worth = cel_history_dataset[e->crew->c->worth[e->job->dataset]];
    memcpy(e->genotype, found->text, sizeof e->genotype);
    e->test = NAN;
    for (int i = 0; i < found->n_tables; i++)
        if (!strcmp(found->table[i].dataset, worth)) e->test = found->table[i].test;
}

/* The run's own account of its time, over all its parts. */
static cel_status time_of_run(const char *dir, double *seconds) {
    cel_history history;
    CEL_TRY(cel_history_read(dir, &history));
    *seconds = history.manifest.seconds_total;
    cel_history_fini(&history);
    return CEL_OK;
}

static cel_status search_in(errand *e, const char *dir, const cel_recipe *recipe) {
    const crew *w = e->crew;
    char *begun = cel_path_join(dir, "recipe.yaml");
    if (!begun) return CEL_FAIL(CEL_NOMEM, "out of memory");
    bool plain = strspn(dir, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./") == strlen(dir);
    char *command = plain ? cel_asprintf("cellar search %s --run DIR", begun) : NULL;
    const cel_run_options options = {.dir = dir,
                                     .resume = cel_path_exists(begun),
                                     .stay_stopped = true,
                                     .threads = w->threads,
                                     .command = command,
                                     .ctx = e,
                                     .begin = on_begin,
                                     .step = on_step,
                                     .end = on_end};
    cel_status status = cel_run_search(recipe, &options, NULL);
    cel_free(command);
    cel_free(begun);
    return status;
}

/* Writes down that the search has ended. */
static cel_status record(errand *e, const char *failure, double seconds) {
    crew *w = e->crew;
    const job *j = e->job;
    const cel_compare_end end = {
        j->method, j->dataset, j->seed, failure ? NULL : e->genotype, failure, isfinite(seconds) ? seconds : 0};
    char *line = end_line(w->c, &end);
    if (!line) return CEL_FAIL(CEL_NOMEM, "out of memory: a result");
    pthread_mutex_lock(&w->lock);
    e->job->done = 1;
    cel_status status = cel_lines_append(&w->results, line);
    if (status == CEL_OK) status = cel_lines_sync(&w->results);
    w->n_ended += status == CEL_OK;
    const cel_comparison_search search = {.method = cel_compare_label(w->c, j->method),
                                          .dataset = w->c->conf.datasets[j->dataset].name,
                                          .seed = w->c->conf.first_seed + j->seed,
                                          .done = w->n_ended,
                                          .n = w->n_all,
                                          .genotype = end.genotype,
                                          .failure = failure,
                                          .test = failure ? NAN : e->test,
                                          .seconds = seconds};
    if (status == CEL_OK && w->options->ended) w->options->ended(w->options->ctx, &search);
    pthread_mutex_unlock(&w->lock);
    free(line);
    return status;
}

static cel_status run_errand(errand *e) {
    const crew *w = e->crew;
    const job *j = e->job;
    cel_recipe *recipe;
    double seconds = 0;
    int64_t seed = w->c->conf.first_seed + j->seed;
    CEL_TRY(cel_compare_recipe(w->c, j->method, j->dataset, seed, &recipe));
    char *dir = cel_compare_run_dir(w->c, w->options->dir, j->method, j->dataset, seed), *why = NULL;
    cel_status status = dir ? search_in(e, dir, recipe) : CEL_FAIL(CEL_NOMEM, "out of memory");
    if (status == CEL_COLLAPSED) status = CEL_OK; /* stopped by its watch: what it told is its cell */
    if (has_failed(e, status)) {
        why = cel_strdup(cel_status_message());
        status = why ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory");
        if (time_of_run(dir, &seconds) != CEL_OK) seconds = 0; /* before its first epoch there is no account */
    } else if (status == CEL_OK) {
        status = time_of_run(dir, &seconds);
    }
    if (status == CEL_OK) status = record(e, why, seconds);
    cel_free(why);
    cel_free(dir);
    cel_recipe_destroy(recipe);
    return status;
}

static void *work(void *ctx) {
    crew *w = ctx;
    for (;;) {
        pthread_mutex_lock(&w->lock);
        bool more = !w->stop && w->next < w->n_jobs;
        errand e = {.crew = w, .job = more ? &w->job[w->next++] : NULL};
        w->running += more;
        pthread_mutex_unlock(&w->lock);
        if (!more) return NULL;
        cel_status status = run_errand(&e);
        pthread_mutex_lock(&w->lock);
        w->running--;
        /* The others stop because of a failure, which is then what there is to tell. */
        if (status != CEL_OK && (w->status == CEL_OK || w->status == CEL_INTERRUPTED)) {
            const cel_compare_method *m = &w->c->conf.methods[e.job->method];
            cel_free(w->message);
            w->message = cel_asprintf("%s on %s, seed %lld: %s", m->name, w->c->conf.datasets[e.job->dataset].name,
                                      (long long)(w->c->conf.first_seed + e.job->seed), cel_status_message());
            w->status = status;
        }
        if (status != CEL_OK) w->stop = true;
        pthread_mutex_unlock(&w->lock);
    }
}

/* Every search that has not ended, seed by seed, so that a comparison cut short is an even one. */
static cel_status list_jobs(crew *w, const cel_compare_end *ends, int n_ends) {
    const cel_compare_conf *conf = &w->c->conf;
    CEL_ALLOC(w->job, (size_t)(conf->seeds * conf->n_datasets * conf->n_methods));
    for (int s = 0; s < conf->seeds; s++)
        for (int d = 0; d < conf->n_datasets; d++)
            for (int m = 0; m < conf->n_methods; m++) {
                bool ended = false;
                if (*conf->methods[m].searcher) continue;
                w->n_all++;
                for (int i = 0; i < n_ends; i++)
                    ended = ended || (ends[i].method == m && ends[i].dataset == d && ends[i].seed == s);
                if (!ended) w->job[w->n_jobs++] = (job){m, d, s, 0};
            }
    w->n_ended = w->n_all - w->n_jobs;
    return CEL_OK;
}

static cel_status run_jobs(crew *w, int n_workers) {
    pthread_t worker[MAX_JOBS];
    int n = 0;
    if (n_workers > w->n_jobs) n_workers = w->n_jobs;
    while (n < n_workers - 1 && pthread_create(&worker[n], NULL, work, w) == 0) n++;
    work(w); /* so one is there in any case */
    for (int i = 0; i < n; i++) pthread_join(worker[i], NULL);
    if (w->status == CEL_INTERRUPTED)
        return CEL_FAIL(CEL_INTERRUPTED, "interrupted after %d of %d searches; everything is kept, --resume goes on",
                        w->n_ended, w->n_all);
    if (w->status != CEL_OK) return CEL_FAIL(w->status, "%s", w->message ? w->message : "out of memory");
    return CEL_OK;
}

/* Searchers are run for the result each time; here, before all else, so that a wrong setting is told now. */
static cel_status try_searchers(const cel_comparison *c) {
    cel_table *table;
    CEL_TRY(cel_table_open(NULL, &table));
    cel_status status = CEL_OK;
    for (int m = 0; m < c->conf.n_methods && status == CEL_OK; m++)
        for (int d = 0; d < c->conf.n_datasets && status == CEL_OK && *c->conf.methods[m].searcher; d++) {
            cel_searcher_found found;
            status = cel_compare_searcher(c, m, d, c->conf.first_seed, table, &found);
            if (status == CEL_OK)
                cel_searcher_found_fini(&found);
            else
                cel_status_prefix(status, "%s: method %s", c->path, c->conf.methods[m].name);
        }
    cel_table_close(table);
    return status;
}

static cel_status threads_each(const cel_comparison_options *o, int n_workers, int *out) {
    cel_pool *pool;
    *out = o->threads;
    if (o->threads || n_workers == 1) return CEL_OK;
    CEL_TRY(cel_pool_create(0, &pool));
    *out = cel_pool_threads(pool) / n_workers > 1 ? cel_pool_threads(pool) / n_workers : 1;
    cel_pool_destroy(pool);
    return CEL_OK;
}

static cel_status search_locked(const cel_comparison *c, const cel_comparison_options *o) {
    crew w = {.c = c, .options = o, .lock = PTHREAD_MUTEX_INITIALIZER, .results = {.fd = -1}};
    cel_arena arena = {0};
    cel_compare_end *ends;
    int n_ends, n_workers = o->jobs < 1 ? 1 : o->jobs > MAX_JOBS ? MAX_JOBS : o->jobs;
    cel_status status;
    char *file = cel_path_join(o->dir, "results.jsonl");
    CEL_TRY_GOTO(status, out, file ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory"));
    CEL_TRY_GOTO(status, out, begin_or_go_on(c, o->dir, o->resume));
    CEL_TRY_GOTO(status, out, cel_compare_ends_read(c, o->dir, &arena, &ends, &n_ends));
    CEL_TRY_GOTO(status, out, list_jobs(&w, ends, n_ends));
    CEL_TRY_GOTO(status, out, threads_each(o, n_workers, &w.threads));
    CEL_TRY_GOTO(status, out, cel_lines_open(&w.results, file, n_ends));
    CEL_TRY_GOTO(status, out, run_jobs(&w, n_workers));
out:
    cel_lines_close(&w.results);
    cel_arena_fini(&arena);
    cel_free(w.job);
    cel_free(w.message);
    cel_free(file);
    pthread_mutex_destroy(&w.lock);
    return status;
}

cel_status cel_comparison_search_all(const cel_comparison *c, const cel_comparison_options *o) {
    int lock = -1;
    CEL_TRY(try_searchers(c));
    CEL_TRY(cel_dir_make(o->dir));
    char *file = cel_path_join(o->dir, "lock");
    bool had_lock = file && cel_path_exists(file);
    cel_status status = file ? cel_file_lock(file, &lock) : CEL_FAIL(CEL_NOMEM, "out of memory");
    if (status == CEL_OK) status = search_locked(c, o);
    /* A directory that is none of a comparison is left as it was. */
    if (status == CEL_CONFIG && !had_lock && lock >= 0) unlink(file);
    if (lock >= 0) close(lock);
    cel_free(file);
    return status == CEL_OK ? CEL_OK : cel_status_pass(status, __FILE__, __LINE__);
}
