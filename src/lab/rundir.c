#define _POSIX_C_SOURCE 200809L
#include "lab/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "lab/events.h"
#include "lab/lines.h"
#include "lab/stored.h"

enum { MAX_MANIFEST = 1 << 20, MAX_SCALARS = 256 };

struct cel_rundir {
    char *path;
    int lock;
    cel_lines metrics, genotypes;
    cel_events events;
    cel_checkpoint *checkpoint;
    json_t *manifest;
    double opened_s, spent_s; /* spent: by the earlier parts of the run */
};

static char *inside(const cel_rundir *run, const char *name) { return cel_path_join(run->path, name); }

/* Does the directory hold anything but what a kill at the very start leaves? */
static cel_status is_empty(const char *path, bool *empty) {
    DIR *d = opendir(path);
    if (!d) return CEL_FAIL(CEL_IO, "%s: cannot list it: %s", path, strerror(errno));
    *empty = true;
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && strcmp(e->d_name, "lock") &&
            strcmp(e->d_name, "recipe.yaml.tmp"))
            *empty = false;
    closedir(d);
    return CEL_OK;
}

/* Decides between a new run and going on, and stores a new run's recipe. */
static cel_status begin_or_go_on(cel_rundir *run, bool resume, const char *recipe) {
    char *file = inside(run, "recipe.yaml");
    if (!file) return CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_status status = CEL_OK;
    bool empty = false;
    if (cel_path_exists(file)) {
        status = resume ? cel_stored_same(file, recipe, run->path, "run")
                        : CEL_FAIL(CEL_CONFIG,
                                   "%s: holds a run already; --resume goes on with it, or choose another directory",
                                   run->path);
    } else {
        status = is_empty(run->path, &empty);
        if (status == CEL_OK && !empty)
            status = CEL_FAIL(CEL_CONFIG, "%s: expected an empty or new directory, found other files in it", run->path);
        if (status == CEL_OK && resume) cel_log(CEL_LOG_INFO, "%s: no run in it yet; starting one", run->path);
        if (status == CEL_OK) status = cel_file_write_atomic(file, recipe, strlen(recipe));
    }
    cel_free(file);
    return status;
}

/* Without a checkpoint a run starts anew, which cuts its records away. A kill before the first checkpoint leaves one
 * epoch of them at most; more of them belong to a run whose checkpoints somebody removed. */
static cel_status check_nothing_is_lost(const cel_rundir *run) {
    char *path = inside(run, "metrics.jsonl");
    int64_t epochs = 0;
    cel_status status = path ? cel_lines_count(path, &epochs) : CEL_FAIL(CEL_NOMEM, "out of memory");
    if (status == CEL_OK && epochs > 1)
        status = CEL_FAIL(CEL_FORMAT,
                          "%s: holds %lld epochs, but no checkpoint is beside them, so the run cannot go on: put its "
                          "checkpoint directory back, or choose another directory",
                          path, (long long)epochs);
    cel_free(path);
    return status;
}

static cel_status open_checkpoint(cel_rundir *run, const char *dir) {
    cel_status status = cel_checkpoint_open(dir, &run->checkpoint);
    if (status == CEL_NOTFOUND) return check_nothing_is_lost(run);
    CEL_TRY(status);
    cel_checkpoint_tidy(dir, run->checkpoint);
    return CEL_OK;
}

static int64_t known(const cel_rundir *run, const char *name) {
    return run->checkpoint ? cel_checkpoint_count(run->checkpoint, name) : 0;
}

static cel_status open_lines(cel_rundir *run, cel_lines *lines, const char *file, const char *count) {
    char *path = inside(run, file);
    if (!path) return CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_status status = cel_lines_open(lines, path, known(run, count));
    cel_free(path);
    return status;
}

static cel_status open_files(cel_rundir *run) {
    char *dir = inside(run, "checkpoint");
    if (!dir) return CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_status status = open_checkpoint(run, dir);
    cel_free(dir);
    CEL_TRY(status);
    if (known(run, "metrics") < 0 || known(run, "genotypes") < 0 || known(run, "events") < 0)
        return CEL_FAIL(CEL_FORMAT, "%s/checkpoint: a checkpoint without the counts of a run", run->path);
    CEL_TRY(open_lines(run, &run->metrics, "metrics.jsonl", "metrics"));
    CEL_TRY(open_lines(run, &run->genotypes, "genotypes.jsonl", "genotypes"));
    return cel_events_open(&run->events, run->path, known(run, "events"));
}

static cel_status open_locked(cel_rundir *run, bool resume, const char *recipe) {
    CEL_TRY(begin_or_go_on(run, resume, recipe));
    CEL_TRY(open_files(run));
    return CEL_OK;
}

cel_status cel_rundir_open(const char *path, bool resume, const char *recipe, cel_rundir **out) {
    CEL_TRY(cel_dir_make(path));
    cel_rundir *run;
    CEL_ALLOC(run, 1);
    run->lock = run->metrics.fd = run->genotypes.fd = run->events.fd = -1;
    run->opened_s = cel_clock_s();
    run->path = cel_strdup(path);
    char *lock = cel_path_join(path, "lock");
    bool had_lock = lock && cel_path_exists(lock);
    cel_status status = run->path && lock ? cel_file_lock(lock, &run->lock) : CEL_FAIL(CEL_NOMEM, "out of memory");
    if (status == CEL_OK) status = open_locked(run, resume, recipe);
    /* A directory that is none of a run is left as it was. */
    if (status != CEL_OK && !had_lock && run->lock >= 0) unlink(lock);
    cel_free(lock);
    if (status != CEL_OK) {
        cel_rundir_close(run);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = run;
    return CEL_OK;
}

void cel_rundir_close(cel_rundir *run) {
    if (!run) return;
    cel_lines_close(&run->metrics);
    cel_lines_close(&run->genotypes);
    cel_events_close(&run->events);
    cel_checkpoint_destroy(run->checkpoint);
    json_decref(run->manifest);
    if (run->lock >= 0) close(run->lock);
    cel_free(run->path);
    cel_free(run);
}

const cel_checkpoint *cel_rundir_checkpoint(const cel_rundir *run) { return run->checkpoint; }

void cel_rundir_forget(cel_rundir *run) {
    cel_checkpoint_destroy(run->checkpoint);
    run->checkpoint = NULL;
}

/* ---- the manifest ---- */

static void now_text(char out[32]) {
    time_t t = time(NULL);
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void cpu_name(char *out, size_t n) {
    char line[256];
    snprintf(out, n, "unknown");
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        snprintf(out, n, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f) fclose(f);
}

static cel_status write_manifest(cel_rundir *run) {
    char *path = inside(run, "manifest.json"), *text = json_dumps(run->manifest, JSON_INDENT(2));
    cel_status status =
        path && text ? cel_file_write_atomic(path, text, strlen(text)) : CEL_FAIL(CEL_NOMEM, "out of memory: manifest");
    free(text);
    cel_free(path);
    return status;
}

/* The run's earlier manifest, or NULL: it is a record, so a lost one is no reason not to go on. */
static json_t *earlier_manifest(const cel_rundir *run) {
    char *path = inside(run, "manifest.json"), *text = NULL;
    size_t n;
    json_t *old = NULL;
    if (path && cel_path_exists(path) && cel_file_read(path, MAX_MANIFEST, &text, &n) == CEL_OK)
        old = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    cel_free(text);
    cel_free(path);
    if (json_is_object(old)) return old;
    json_decref(old);
    return NULL;
}

static json_t *describe(const cel_run_facts *f) {
    char cpu[256];
    cpu_name(cpu, sizeof cpu);
    return json_pack(
        "{s:s, s:{s:s, s:s}, s:s, s:s, s:s, s:i, s:I, s:s, s:s, s:{s:s, s:{s:I, s:I}, s:s}, s:s, s:{s:I, s:I, s:f}}",
        "cellar", CEL_VERSION_TEXT, "build", "compiler", __VERSION__, "flags", CEL_BUILD_FLAGS, "cpu", cpu, "isa",
        f->isa, "backend", f->backend, "threads", f->threads, "seed", (json_int_t)f->seed, "method", f->method, "space",
        f->space, "dataset", "name", f->dataset, "images", "weights", (json_int_t)f->images[0], "architecture",
        (json_int_t)f->images[1], "sha256", f->dataset_sha256, "command", f->command, "plan", "params",
        (json_int_t)f->params, "flops_step", (json_int_t)f->step_flops, "memory_mb", (double)f->memory_bytes / 1e6);
}

static const char *text_in(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* Equal numbers need equal images, backend and instruction set. The recipe cannot vouch for them. */
static cel_status same_ground(const cel_rundir *run, const json_t *old, const cel_run_facts *now) {
    const char *sha256 = text_in(json_object_get(old, "dataset"), "sha256"), *isa = text_in(old, "isa"),
               *backend = text_in(old, "backend");
    if (*sha256 && strcmp(sha256, now->dataset_sha256))
        return CEL_FAIL(CEL_CONFIG,
                        "%s/manifest.json: the run began on other images of %s: expected SHA-256 %.64s, found %.64s: "
                        "give it those images again, or choose another directory",
                        run->path, now->dataset, sha256, now->dataset_sha256);
    if ((*isa && strcmp(isa, now->isa)) || (*backend && strcmp(backend, now->backend)))
        cel_log(CEL_LOG_WARN,
                "%s: the run began on backend %.40s with instruction set %.40s and goes on with %s and %s: its last "
                "digits will differ from those of an undisturbed run",
                run->path, backend, isa, now->backend, now->isa);
    return CEL_OK;
}

cel_status cel_rundir_manifest(cel_rundir *run, const cel_run_facts *facts) {
    char now[32];
    now_text(now);
    json_t *old = run->checkpoint ? earlier_manifest(run) : NULL;
    cel_status status = same_ground(run, old, facts);
    if (status != CEL_OK) {
        json_decref(old);
        return status;
    }
    json_decref(run->manifest);
    run->manifest = describe(facts);
    if (!run->manifest) {
        json_decref(old);
        return CEL_FAIL(CEL_NOMEM, "out of memory, or a text that is not UTF-8, in the manifest");
    }
    json_t *started = json_object_get(old, "started"), *resumed = json_object_get(old, "resumed"),
           *plan = json_object_get(old, "plan");
    if (json_is_object(plan)) json_object_set(run->manifest, "plan", plan); /* it is that of the start */
    json_object_set_new(run->manifest, "started", json_is_string(started) ? json_incref(started) : json_string(now));
    resumed = json_is_array(resumed) ? json_incref(resumed) : json_array();
    if (run->checkpoint) json_array_append_new(resumed, json_string(now));
    json_object_set_new(run->manifest, "resumed", resumed);
    json_object_set_new(run->manifest, "finished", json_null());
    run->spent_s = json_number_value(json_object_get(old, "seconds_total"));
    double peak = json_number_value(json_object_get(old, "peak_mb"));
    json_object_set_new(run->manifest, "seconds_total", json_real(run->spent_s));
    json_object_set_new(run->manifest, "peak_mb", json_real(peak));
    json_decref(old);
    return write_manifest(run);
}

bool cel_rundir_finished(const cel_rundir *run) {
    json_t *old = run->checkpoint ? earlier_manifest(run) : NULL;
    bool finished = json_is_string(json_object_get(old, "finished"));
    json_decref(old);
    return finished;
}

cel_status cel_rundir_write(cel_rundir *run, const char *name, const char *text) {
    char *path = inside(run, name);
    cel_status status =
        path ? cel_file_write_atomic(path, text, strlen(text)) : CEL_FAIL(CEL_NOMEM, "out of memory: %s", name);
    cel_free(path);
    return status;
}

cel_status cel_rundir_spent(cel_rundir *run, bool finished) {
    if (!run->manifest) return CEL_FAIL(CEL_INTERNAL, "%s: no manifest to write to", run->path);
    double here = (double)cel_mem_peak_bytes() / 1e6;
    double before = json_number_value(json_object_get(run->manifest, "peak_mb"));
    json_object_set_new(run->manifest, "seconds_total", json_real(run->spent_s + cel_clock_s() - run->opened_s));
    json_object_set_new(run->manifest, "peak_mb", json_real(here > before ? here : before));
    char now[32];
    now_text(now);
    if (finished) json_object_set_new(run->manifest, "finished", json_string(now));
    return write_manifest(run);
}

/* ---- epochs ---- */

typedef struct {
    cel_arena names;
    cel_scalar scalar[MAX_SCALARS];
    int n;
} scalars;

static cel_status collect(scalars *out, const char *prefix, json_t *object) {
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        char *tag = cel_arena_printf(&out->names, "%s%s%s", prefix, *prefix ? "/" : "", key);
        if (!tag) return CEL_FAIL(CEL_NOMEM, "out of memory");
        if (json_is_object(value)) CEL_TRY(collect(out, tag, value));
        if (json_is_number(value) && out->n < MAX_SCALARS)
            out->scalar[out->n++] = (cel_scalar){tag, json_number_value(value)};
    }
    return CEL_OK;
}

static cel_status append_event(cel_rundir *run, int64_t epoch, json_t *metrics) {
    scalars *found;
    CEL_ALLOC(found, 1);
    cel_status status = collect(found, "", metrics);
    if (status == CEL_OK) status = cel_events_append(&run->events, epoch, found->scalar, found->n);
    cel_arena_fini(&found->names);
    cel_free(found);
    return status;
}

static cel_status check_object(const char *what, const char *text, json_t **out) {
    json_error_t error;
    *out = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(*out)) return CEL_OK;
    json_decref(*out);
    *out = NULL;
    return CEL_FAIL(CEL_INTERNAL, "%s: not a JSON object: %s", what, error.text);
}

cel_status cel_rundir_epoch(cel_rundir *run, int64_t epoch, const char *metrics, const char *genotype) {
    json_t *values = NULL, *cell = NULL;
    cel_status status = check_object("metrics", metrics, &values);
    if (status == CEL_OK) status = check_object("genotype", genotype, &cell);
    if (status == CEL_OK) status = cel_lines_append(&run->metrics, metrics);
    if (status == CEL_OK) status = cel_lines_append(&run->genotypes, genotype);
    if (status == CEL_OK) status = append_event(run, epoch, values);
    json_decref(values);
    json_decref(cell);
    return status;
}

cel_status cel_rundir_save(cel_rundir *run, int64_t serial, bool epoch_end, cel_state *state) {
    CEL_TRY(cel_lines_sync(&run->metrics));
    CEL_TRY(cel_lines_sync(&run->genotypes));
    CEL_TRY(cel_events_sync(&run->events));
    const cel_count counts[] = {
        {"metrics", run->metrics.n}, {"genotypes", run->genotypes.n}, {"events", run->events.n}};
    char *dir = inside(run, "checkpoint");
    if (!dir) return CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_status status = cel_checkpoint_save(dir, serial, epoch_end, counts, (int)CEL_COUNT(counts), state);
    cel_free(dir);
    return status;
}
