/* A run: the driver of a search (nas/search) with the run directory as its observer. */
#include "cellar/run.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/backend/cpu/cpu.h"
#include "lab/recipe.h"
#include "lab/report/history.h"
#include "lab/rundir.h"
#include "nas/search/select.h"

typedef struct {
    const cel_run_options *options;
    cel_rundir *dir;
} observer;

/* ---- records ---- */

/* Every number must be one: JSON knows neither NaN nor infinity, and a field that is silently missing would mislead. */
static void put_real(json_t *object, const char *key, double value, const char **bad) {
    if (json_object_set_new(object, key, json_real(value)) != 0 && !*bad) *bad = key;
}

static json_t *table_of(const cel_search_epoch *e, const char **bad) {
    json_t *table = json_object();
    for (int i = 0; i < e->n_tables; i++) {
        json_t *entry = json_object();
        put_real(entry, "test", e->table[i].test, bad);
        json_object_set_new(entry, "rank", json_integer(e->table[i].rank));
        json_object_set_new(table, e->table[i].dataset, entry);
    }
    return table;
}

static json_t *sampled_of(const cel_search_epoch *e, const char **bad) {
    json_t *s = json_pack("{s:i, s:s}", "n", e->sampled.n, "dataset", e->sampled.dataset);
    put_real(s, "min", e->sampled.min, bad);
    put_real(s, "max", e->sampled.max, bad);
    put_real(s, "mean", e->sampled.mean, bad);
    put_real(s, "q25", e->sampled.q25, bad);
    put_real(s, "q75", e->sampled.q75, bad);
    return s;
}

/* A row for each choice: of its concentrations, or of what is live. */
static json_t *rows_of(const cel_search_epoch *e, bool live, const char **bad) {
    json_t *rows = json_array();
    for (int c = 0; c < e->choices->n; c++) {
        const cel_choice *choice = &e->choices->choice[c];
        json_t *row = json_array();
        for (int i = choice->first; i < choice->first + choice->n; i++)
            if (json_array_append_new(row, live ? json_integer(e->live[i]) : json_real(e->concentration[i])) != 0)
                *bad = "concentration";
        json_array_append_new(rows, row);
    }
    return rows;
}

static void put_cost_fields(json_t *m, const cel_search_epoch *e, const char **bad) {
    double seconds = e->seconds > 0 ? e->seconds : 1e-9;
    put_real(m, "seconds", e->seconds, bad);
    put_real(m, "images_per_s", (double)e->images / seconds, bad);
    put_real(m, "rss_mb", (double)cel_mem_rss_bytes() / 1e6, bad);
    put_real(m, "peak_mb", (double)cel_mem_peak_bytes() / 1e6, bad);
}

static json_t *metrics_of(const cel_search_epoch *e, const char **bad) {
    json_t *m =
        json_pack("{s:i, s:i, s:i, s:i}", "epoch", e->epoch, "stage", e->stage, "k", e->k, "ops_kept", e->ops_kept);
    put_real(m, "train_loss", e->train_loss, bad);
    put_real(m, "train_acc", e->train_acc, bad);
    if (e->has_valid) {
        put_real(m, "valid_loss", e->valid_loss, bad);
        put_real(m, "valid_acc", e->valid_acc, bad);
    }
    put_real(m, "lr", e->lr, bad);
    put_real(m, "arch_lr", e->arch_lr, bad);
    json_object_set_new(m, "arch_active", json_boolean(e->arch_active));
    put_real(m, "grad_norm", e->grad_norm, bad);
    put_real(m, "entropy", e->entropy, bad);
    json_object_set_new(m, "genotype", json_string(e->text));
    json_object_set_new(m, "skips", json_integer(e->watch.skips));
    if (e->watch.looked) put_real(m, "eigenvalue", e->watch.eigenvalue, bad);
    if (e->watch.warning) json_object_set_new(m, "warning", json_string(e->watch.warning));
    if (e->n_tables) json_object_set_new(m, "table", table_of(e, bad));
    if (e->sampled.n) json_object_set_new(m, "sampled", sampled_of(e, bad));
    json_object_set_new(m, "concentration", rows_of(e, false, bad));
    json_object_set_new(m, "live", rows_of(e, true, bad));
    put_cost_fields(m, e, bad);
    return m;
}

static json_t *genotype_of(const cel_search_epoch *e) {
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)e->hash);
    json_t *g = json_pack("{s:i, s:i, s:s, s:s, s:I, s:I}", "epoch", e->epoch, "stage", e->stage, "genotype", e->text,
                          "hash", hash, "params", (json_int_t)e->cost.params, "flops", (json_int_t)e->cost.flops);
    if (e->index >= 0) json_object_set_new(g, "index", json_integer(e->index));
    return g;
}

static cel_status write_epoch(cel_rundir *dir, const cel_search_epoch *e) {
    const char *bad = NULL;
    json_t *metrics = metrics_of(e, &bad), *genotype = genotype_of(e);
    char *line = json_dumps(metrics, JSON_COMPACT | JSON_REAL_PRECISION(17)),
         *cell = json_dumps(genotype, JSON_COMPACT);
    cel_status status;
    if (bad)
        status =
            CEL_FAIL(CEL_DIVERGED, "epoch %d: %s is not a finite number; the last checkpoint stays", e->epoch, bad);
    else if (!line || !cell)
        status = CEL_FAIL(CEL_NOMEM, "out of memory: the record of epoch %d", e->epoch);
    else
        status = cel_rundir_epoch(dir, e->epoch, line, cell);
    free(line);
    free(cell);
    json_decref(metrics);
    json_decref(genotype);
    return status;
}

/* ---- the observer ---- */

/* A step's work in forward passes: two of them, two gradients by the activations, one by the weights. */
enum { STEP_PER_FORWARD = 5 };

static bool on_step(void *ctx, const cel_search_progress *progress) {
    const cel_run_options *o = ((observer *)ctx)->options;
    return o->step && o->step(o->ctx, progress);
}

static cel_status on_epoch(void *ctx, const cel_search_epoch *epoch) {
    observer *o = ctx;
    CEL_TRY(write_epoch(o->dir, epoch));
    if (epoch->watch.warning) cel_log(CEL_LOG_WARN, "epoch %d: %s", epoch->epoch, epoch->watch.warning);
    if (o->options->epoch) o->options->epoch(o->options->ctx, epoch);
    return CEL_OK;
}

static json_t *candidate_of(const cel_selection *s, const cel_candidate *c) {
    char text[CEL_GENOTYPE_TEXT];
    cel_genotype_format(&c->genotype, text);
    json_t *scores = json_object(),
           *out = json_pack("{s:s, s:i, s:i}", "genotype", text, "times", c->times, "rank", c->rank);
    json_object_set_new(out, "score", isfinite(c->score) ? json_real(c->score) : json_null());
    for (int k = 0; k < s->n_parts; k++)
        json_object_set_new(scores, s->part[k], isfinite(c->part[k]) ? json_real(c->part[k]) : json_null());
    json_object_set_new(out, "scores", scores);
    return out;
}

static cel_status on_select(void *ctx, const struct cel_selection *s, const cel_search_epoch *found) {
    observer *o = ctx;
    const char *bad = NULL;
    json_t *list = json_array(), *out = genotype_of(found);
    json_object_set_new(out, "samples", json_integer(s->samples));
    if (found->n_tables) json_object_set_new(out, "table", table_of(found, &bad));
    for (int i = 0; i < s->n; i++) json_array_append_new(list, candidate_of(s, &s->candidate[i]));
    json_object_set_new(out, "candidates", list);
    json_object_del(out, "epoch");
    json_object_del(out, "stage");
    char *text = json_dumps(out, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    cel_status status = text ? cel_rundir_write(o->dir, "selection.json", text)
                             : CEL_FAIL(CEL_NOMEM, "out of memory: the record of the selection");
    free(text);
    json_decref(out);
    return status;
}

static cel_status on_save(void *ctx, int64_t serial, bool epoch_end, struct cel_state *state) {
    observer *o = ctx;
    CEL_TRY(cel_rundir_save(o->dir, serial, epoch_end, state));
    return epoch_end ? cel_rundir_spent(o->dir, false) : CEL_OK;
}

static cel_status fill(void *ctx, const struct cel_state *state, bool whole) {
    return cel_checkpoint_fill(ctx, state, whole);
}

static cel_status write_manifest(const observer *o, const cel_recipe *recipe, const cel_search_info *info,
                                 const cel_dataset_info *data) {
    bool bf16 = recipe->settings.search.precision == CEL_PRECISION_BF16;
    const cel_run_facts facts = {.backend = info->backend,
                                 .isa = !strcmp(info->backend, "cpu") ? cel_cpu_isa_of(bf16) : "C",
                                 .method = info->method,
                                 .space = info->space,
                                 .command = o->options->command ? o->options->command : "",
                                 .threads = info->threads,
                                 .seed = recipe->settings.search.seed,
                                 .dataset = data->name,
                                 .dataset_sha256 = data->sha256,
                                 .images = {info->n_images[0], info->n_images[1]},
                                 .params = info->params,
                                 .step_flops = STEP_PER_FORWARD * (int64_t)info->flops_forward,
                                 .memory_bytes = (int64_t)info->memory_bytes};
    return cel_rundir_manifest(o->dir, &facts);
}

static cel_status search_on(observer *o, cel_search *search) {
    const cel_search_observer watch = {
        .ctx = o, .step = on_step, .epoch = on_epoch, .select = on_select, .save = on_save};
    cel_status status = cel_search_run(search, &watch);
    if (status == CEL_INTERRUPTED || status == CEL_COLLAPSED) { /* the reason for stopping stays the message */
        char *why = cel_strdup(cel_status_message());
        if (cel_rundir_spent(o->dir, false) != CEL_OK) cel_log(CEL_LOG_WARN, "%s", cel_status_message());
        status = cel_status_fail(status, __FILE__, __LINE__, "%s", why ? why : cel_status_text(status));
        cel_free(why);
    }
    CEL_TRY(status);
    return cel_rundir_spent(o->dir, true);
}

/* Did the watch stop the run where it is now? Its last record says so; what a kill left beyond the checkpoint has been
 * cut off. */
static cel_status stopped_before(const cel_run_options *options, const cel_recipe *recipe,
                                 const cel_search_info *info) {
    cel_history history;
    if (!options->stay_stopped || recipe->settings.watch.action != CEL_WATCH_STOP || !info->epochs_done ||
        info->epochs_done == info->n_epochs)
        return CEL_OK;
    CEL_TRY(cel_history_read(options->dir, &history));
    const char *warning = history.n ? history.record[history.n - 1].warning : NULL;
    cel_status status = CEL_OK;
    if (warning)
        status =
            CEL_FAIL(CEL_COLLAPSED, "the watch stopped the search after epoch %d: %s", info->epochs_done - 1, warning);
    cel_history_fini(&history);
    return status;
}

static cel_status run_in(observer *o, const cel_recipe *recipe, cel_search *search, const cel_dataset *data) {
    const cel_run_options *options = o->options;
    const cel_checkpoint *checkpoint = cel_rundir_checkpoint(o->dir);
    cel_search_info info;
    cel_search_epoch found;
    cel_dataset_info images = cel_dataset_get_info(data);
    if (checkpoint) CEL_TRY(cel_search_restore(search, fill, (void *)(uintptr_t)checkpoint));
    CEL_TRY(cel_search_get_info(search, &info));
    /* The record of a complete run is complete too. */
    bool complete = info.epochs_done == info.n_epochs && cel_rundir_finished(o->dir);
    if (!complete) CEL_TRY(write_manifest(o, recipe, &info, &images));
    cel_rundir_forget(o->dir);
    if (options->begin) options->begin(options->ctx, &info, &images);
    cel_status status = stopped_before(options, recipe, &info);
    if (status == CEL_OK && !complete) status = search_on(o, search);
    if (!options->end || (status != CEL_OK && status != CEL_COLLAPSED)) return status;
    CEL_TRY(cel_search_found(search, &found));
    options->end(options->ctx, &found);
    return status;
}

static cel_status open_table(const cel_recipe *recipe, cel_table **out) {
    *out = NULL;
    if (recipe->settings.space->arch != CEL_ARCH_NB201) return CEL_OK;
    cel_status status = cel_table_open(NULL, out);
    if (status != CEL_NOTFOUND) return status;
    cel_log(CEL_LOG_WARN, "%s; the search goes without the table's accuracies", cel_status_message());
    return CEL_OK;
}

cel_status cel_run_search(const cel_recipe *recipe, const cel_run_options *options, cel_genotype *found) {
    observer o = {.options = options};
    cel_dataset *data = NULL;
    cel_table *table = NULL;
    cel_search *search = NULL;
    char *text = NULL;
    cel_status status;
    const cel_data_conf *source = &recipe->settings.data;
    CEL_TRY_GOTO(status, out, cel_recipe_text(recipe, CEL_RECIPE_YAML, &text));
    CEL_TRY_GOTO(status, out, cel_dataset_open(source->source, *source->path ? source->path : NULL, &data));
    CEL_TRY_GOTO(status, out, open_table(recipe, &table));
    CEL_TRY_GOTO(status, out, cel_search_create(&recipe->settings, data, table, options->threads, &search));
    CEL_TRY_GOTO(status, out, cel_rundir_open(options->dir, options->resume, text, &o.dir));
    CEL_TRY_GOTO(status, out, run_in(&o, recipe, search, data));
    if (found) CEL_TRY_GOTO(status, out, cel_search_genotype(search, found));
out:
    cel_search_destroy(search);
    cel_rundir_close(o.dir);
    cel_table_close(table);
    cel_dataset_destroy(data);
    cel_free(text);
    return status;
}

/* The last whole line, or that of an epoch; a line without its line feed is what a kill left. */
static cel_status recorded_in(const char *text, size_t n, int epoch, cel_genotype *out) {
    json_t *line = NULL;
    bool found = false;
    for (const char *end; n && !found && (end = memchr(text, '\n', n));) {
        size_t length = (size_t)(end - text);
        bool last = length + 1 == n || !memchr(end + 1, '\n', n - length - 1);
        if (epoch >= 0 || last) {
            json_decref(line);
            line = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
            const json_t *number = json_object_get(line, "epoch");
            if (!json_is_integer(number)) {
                json_decref(line);
                return CEL_FAIL(CEL_FORMAT, "expected objects with an epoch, found another line");
            }
            found = epoch < 0 || json_integer_value(number) == epoch;
        }
        text = end + 1;
        n -= length + 1;
    }
    const char *cell = found ? json_string_value(json_object_get(line, "genotype")) : NULL;
    cel_status status;
    if (!found)
        status =
            epoch < 0 ? CEL_FAIL(CEL_NOTFOUND, "no epoch is finished") : CEL_FAIL(CEL_NOTFOUND, "no epoch %d", epoch);
    else
        status =
            cell ? cel_genotype_parse(cell, out) : CEL_FAIL(CEL_FORMAT, "expected an epoch's genotype, found none");
    json_decref(line);
    return status;
}

cel_status cel_run_recorded(const char *dir, int epoch, cel_genotype *out) {
    enum { MOST = 256 << 20 };
    char *path = cel_path_join(dir, "genotypes.jsonl"), *text = NULL;
    size_t n;
    if (!path) return CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_status status = cel_file_read(path, MOST, &text, &n);
    if (status == CEL_OK) {
        status = recorded_in(text, n, epoch, out);
        if (status != CEL_OK) cel_status_prefix(status, "%s", path);
    }
    cel_free(text);
    cel_free(path);
    return status;
}

cel_status cel_run_selected(const char *dir, cel_genotype *out) {
    enum { MOST = 64 << 20 };
    char *path = cel_path_join(dir, "selection.json"), *text = NULL;
    size_t n;
    json_t *json = NULL;
    cel_status status;
    if (!path) return CEL_FAIL(CEL_NOMEM, "out of memory");
    CEL_TRY_GOTO(status, out, cel_file_read(path, MOST, &text, &n));
    json = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    const char *cell = json_string_value(json_object_get(json, "genotype"));
    status = cell ? cel_genotype_parse(cell, out)
                  : CEL_FAIL(CEL_FORMAT, "%s: expected an object with a genotype, found another text", path);
    if (status != CEL_OK && cell) cel_status_prefix(status, "%s", path);
out:
    json_decref(json);
    cel_free(text);
    cel_free(path);
    return status;
}
