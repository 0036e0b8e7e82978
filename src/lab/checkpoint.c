#define _POSIX_C_SOURCE 200809L
#include "lab/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sha256.h"
#include "lab/safetensors.h"

static const char FORMAT[] = "cellar checkpoint";
enum { MAX_JSON = 1 << 20, MAX_GENERATIONS = 64, DUMP = JSON_COMPACT | JSON_SORT_KEYS };
static const size_t MAX_ARRAYS_BYTES = (size_t)8 << 30;

static void hash(const void *bytes, size_t n, char hex[65]) {
    cel_sha256 sha;
    cel_sha256_init(&sha);
    cel_sha256_add(&sha, bytes, n);
    cel_sha256_hex(&sha, hex);
}

/* The checksum of the JSON without its member "checksum". */
static cel_status sum_of(const json_t *meta, char hex[65]) {
    json_t *copy = json_copy((json_t *)(uintptr_t)meta);
    if (copy) json_object_del(copy, "checksum");
    char *text = copy ? json_dumps(copy, DUMP) : NULL;
    json_decref(copy);
    if (!text) return CEL_FAIL(CEL_NOMEM, "out of memory");
    hash(text, strlen(text), hex);
    free(text);
    return CEL_OK;
}

/* Generations in a directory, newest first. */
typedef struct {
    int64_t serial[MAX_GENERATIONS];
    int n;
} generations;

static int newest_first(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* "000000001234.json" -> 1234; -1 for any other name. */
static int64_t serial_of(const char *name) {
    int64_t serial = 0;
    for (int i = 0; i < 12; i++) {
        if (name[i] < '0' || name[i] > '9') return -1;
        serial = serial * 10 + (name[i] - '0');
    }
    return strcmp(name + 12, ".json") ? -1 : serial;
}

static cel_status list(const char *dir, generations *out) {
    out->n = 0;
    DIR *d = opendir(dir);
    if (!d && errno == ENOENT) return CEL_OK;
    if (!d) return CEL_FAIL(CEL_IO, "%s: cannot list it: %s", dir, strerror(errno));
    for (struct dirent *e; (e = readdir(d));) {
        int64_t serial = serial_of(e->d_name);
        if (serial < 0) continue;
        if (out->n == MAX_GENERATIONS) {
            closedir(d);
            return CEL_FAIL(CEL_FORMAT, "%s: more than %d generations; expected two", dir, MAX_GENERATIONS);
        }
        out->serial[out->n++] = serial;
    }
    closedir(d);
    qsort(out->serial, (size_t)out->n, sizeof out->serial[0], newest_first);
    return CEL_OK;
}

static char *json_path(const char *dir, int64_t serial) {
    return cel_asprintf("%s/%012lld.json", dir, (long long)serial);
}

/* The metadata of a generation, its own checksum and version checked; caller decrefs. */
static cel_status parse_meta(const char *origin, const char *text, size_t n, json_t **out) {
    json_error_t error;
    json_t *meta = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (!meta) return CEL_FAIL(CEL_FORMAT, "%s: not a checkpoint: %s, at byte %d", origin, error.text, error.position);
    const char *format = json_string_value(json_object_get(meta, "format"));
    json_t *version = json_object_get(meta, "version");
    cel_status status = CEL_OK;
    char want[65] = "";
    const char *sum = json_string_value(json_object_get(meta, "checksum"));
    if (!format || strcmp(format, FORMAT) || !json_is_integer(version))
        status = CEL_FAIL(CEL_FORMAT, "%s: JSON, but not of a checkpoint of cellar", origin);
    else if (json_integer_value(version) != CEL_CHECKPOINT_VERSION)
        status = CEL_FAIL(CEL_VERSION,
                          "%s: checkpoint format %lld; this cellar (%s) reads format %d: go on with the cellar "
                          "that wrote it, or start a new run",
                          origin, (long long)json_integer_value(version), CEL_VERSION_TEXT, CEL_CHECKPOINT_VERSION);
    else
        status = sum_of(meta, want);
    if (status == CEL_OK && (!sum || strcmp(sum, want)))
        status =
            CEL_FAIL(CEL_FORMAT, "%s: damaged: expected checksum %s, found %.64s", origin, want, sum ? sum : "none");
    if (status != CEL_OK) {
        json_decref(meta);
        return status;
    }
    *out = meta;
    return CEL_OK;
}

cel_status cel_checkpoint_check_json(const char *origin, const char *text, size_t n) {
    json_t *meta;
    CEL_TRY(parse_meta(origin, text, n, &meta));
    json_decref(meta);
    return CEL_OK;
}

static cel_status read_meta(const char *dir, int64_t serial, json_t **out) {
    char *path = json_path(dir, serial), *text = NULL;
    size_t n;
    if (!path) return CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_status status = cel_file_read(path, MAX_JSON, &text, &n);
    if (status == CEL_OK) status = parse_meta(path, text, n, out);
    cel_free(text);
    cel_free(path);
    return status;
}

static const char *arrays_file(const json_t *meta) {
    const char *name = json_string_value(json_object_get(json_object_get(meta, "arrays"), "file"));
    return name && !strchr(name, '/') ? name : NULL;
}

/* A generation that stays: its serial and its arrays' file. */
typedef struct {
    int64_t serial;
    bool epoch_end;
    char arrays[128];
} kept;

/* *good is false for a damaged generation; any other trouble is a failure. */
static cel_status look_at(const char *dir, int64_t serial, kept *out, bool *good) {
    json_t *meta = NULL;
    cel_status status = read_meta(dir, serial, &meta);
    *good = false;
    if (status == CEL_FORMAT || status == CEL_VERSION || status == CEL_NOTFOUND) return CEL_OK;
    CEL_TRY(status);
    const char *arrays = arrays_file(meta);
    out->serial = serial;
    out->epoch_end = json_is_true(json_object_get(meta, "epoch_end"));
    snprintf(out->arrays, sizeof out->arrays, "%s", arrays ? arrays : "");
    *good = arrays != NULL;
    json_decref(meta);
    return CEL_OK;
}

/* The newest and, before it, the newest at an epoch's end, else the newest at all. */
static cel_status choose_kept(const char *dir, int64_t newest, kept *out, int *n) {
    generations g;
    bool good;
    *n = 1;
    CEL_TRY(list(dir, &g));
    CEL_TRY(look_at(dir, newest, &out[0], &good));
    if (!good) return CEL_FAIL(CEL_FORMAT, "%s: generation %lld is damaged", dir, (long long)newest);
    for (int i = 0; i < g.n; i++) {
        kept other;
        if (g.serial[i] >= newest) continue;
        CEL_TRY(look_at(dir, g.serial[i], &other, &good));
        if (!good || (*n == 2 && !other.epoch_end)) continue;
        out[1] = other;
        *n = 2;
        if (other.epoch_end) break;
    }
    return CEL_OK;
}

static bool is_kept(const char *name, const kept *keep, int n) {
    for (int i = 0; i < n; i++)
        if (serial_of(name) == keep[i].serial || !strcmp(name, keep[i].arrays)) return true;
    return false;
}

/* Removes what belongs to no kept generation. Leftovers cost space only, so a failure is no failure of the save: when in doubt,
 * everything stays. */
static void sweep(const char *dir, int64_t newest) {
    kept keep[2];
    int n;
    DIR *d = choose_kept(dir, newest, keep, &n) == CEL_OK ? opendir(dir) : NULL;
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.' || is_kept(e->d_name, keep, n)) continue;
        if (!strstr(e->d_name, ".json") && !strstr(e->d_name, ".safetensors")) continue;
        char *path = cel_path_join(dir, e->d_name);
        if (path) unlink(path);
        cel_free(path);
    }
    closedir(d);
}

static json_t *build_meta(int64_t serial, bool epoch_end, const cel_count *counts, int n_counts, const char *file,
                          size_t bytes, const char *sha256) {
    json_t *list_of = json_object();
    for (int i = 0; i < n_counts; i++) json_object_set_new(list_of, counts[i].name, json_integer(counts[i].n));
    return json_pack("{s:s, s:i, s:s, s:I, s:b, s:o, s:{s:s, s:I, s:s}}", "format", FORMAT, "version",
                     CEL_CHECKPOINT_VERSION, "cellar", CEL_VERSION_TEXT, "serial", (json_int_t)serial, "epoch_end",
                     (int)epoch_end, "counts", list_of, "arrays", "file", file, "bytes", (json_int_t)bytes, "sha256",
                     sha256);
}

static cel_status write_meta(const char *dir, int64_t serial, json_t *meta) {
    char sum[65];
    CEL_TRY(sum_of(meta, sum));
    json_object_set_new(meta, "checksum", json_string(sum));
    char *text = json_dumps(meta, JSON_INDENT(2) | JSON_SORT_KEYS), *path = json_path(dir, serial);
    cel_status status =
        text && path ? cel_file_write_atomic(path, text, strlen(text)) : CEL_FAIL(CEL_NOMEM, "out of memory");
    free(text);
    cel_free(path);
    return status;
}

cel_status cel_checkpoint_save(const char *dir, int64_t serial, bool epoch_end, const cel_count *counts, int n_counts,
                               cel_state *state) {
    if (serial < 0 || serial > 999999999999) return CEL_FAIL(CEL_INTERNAL, "checkpoint %lld", (long long)serial);
    CEL_TRY(cel_dir_make(dir));
    cel_state_sort(state);
    char *bytes = NULL, *name = NULL, *path = NULL, sha[65];
    size_t n = 0;
    json_t *meta = NULL;
    cel_status status;
    const char *label[] = {"format", FORMAT};
    CEL_TRY_GOTO(status, out, cel_safetensors_encode(state, label, 1, &bytes, &n));
    hash(bytes, n, sha);
    name = cel_asprintf("%012lld-%.8s.safetensors", (long long)serial, sha);
    path = name ? cel_path_join(dir, name) : NULL;
    meta = name ? build_meta(serial, epoch_end, counts, n_counts, name, n, sha) : NULL;
    if (!path || !meta) {
        status = CEL_FAIL(CEL_NOMEM, "out of memory");
        goto out;
    }
    CEL_TRY_GOTO(status, out, cel_file_write_atomic(path, bytes, n));
    CEL_TRY_GOTO(status, out, write_meta(dir, serial, meta));
    sweep(dir, serial);
out:
    json_decref(meta);
    cel_free(path);
    cel_free(name);
    cel_free(bytes);
    return status == CEL_OK ? status : cel_status_prefix(status, "checkpoint");
}

struct cel_checkpoint {
    json_t *meta;
    char *bytes;
    cel_safetensors *arrays;
    int64_t serial;
};

static cel_status open_arrays(const char *dir, cel_checkpoint *c) {
    const json_t *said = json_object_get(c->meta, "arrays");
    const char *file = arrays_file(c->meta), *sha = json_string_value(json_object_get(said, "sha256"));
    json_int_t bytes = json_integer_value(json_object_get(said, "bytes"));
    if (!file || !sha) return CEL_FAIL(CEL_FORMAT, "%s/%012lld.json: names no arrays", dir, (long long)c->serial);
    char *path = cel_path_join(dir, file), found[65];
    size_t n = 0;
    cel_status status =
        path ? cel_file_read(path, MAX_ARRAYS_BYTES, &c->bytes, &n) : CEL_FAIL(CEL_NOMEM, "out of memory");
    if (status == CEL_OK && n != (size_t)bytes)
        status = CEL_FAIL(CEL_FORMAT, "%s: damaged: expected %lld bytes, found %zu", path, (long long)bytes, n);
    if (status == CEL_OK) {
        hash(c->bytes, n, found);
        if (strcmp(found, sha))
            status = CEL_FAIL(CEL_FORMAT, "%s: damaged: expected SHA-256 %.64s, found %s", path, sha, found);
    }
    if (status == CEL_OK) status = cel_safetensors_parse(path, c->bytes, n, &c->arrays);
    cel_free(path);
    return status;
}

static cel_status open_generation(const char *dir, int64_t serial, cel_checkpoint **out) {
    cel_checkpoint *c;
    CEL_ALLOC(c, 1);
    c->serial = serial;
    cel_status status = read_meta(dir, serial, &c->meta);
    if (status == CEL_OK && json_integer_value(json_object_get(c->meta, "serial")) != serial)
        status = CEL_FAIL(CEL_FORMAT, "%s/%012lld.json: renamed: it is generation %lld", dir, (long long)serial,
                          (long long)json_integer_value(json_object_get(c->meta, "serial")));
    if (status == CEL_OK) status = open_arrays(dir, c);
    if (status == CEL_NOTFOUND) /* the directory names this generation, so a file of it is lost */
        status = CEL_FAIL(CEL_FORMAT, "damaged: %s", cel_status_message());
    if (status != CEL_OK) {
        cel_checkpoint_destroy(c);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = c;
    return CEL_OK;
}

cel_status cel_checkpoint_open(const char *dir, cel_checkpoint **out) {
    generations g;
    CEL_TRY(list(dir, &g));
    if (!g.n)
        return CEL_FAIL(CEL_NOTFOUND,
                        "%s: no checkpoint in it; the run was stopped before its first one, so start it anew", dir);
    char *why = NULL;
    for (int i = 0; i < g.n; i++) {
        cel_status status = open_generation(dir, g.serial[i], out);
        if (status == CEL_OK) {
            if (why) cel_log(CEL_LOG_WARN, "%s; going on from the older checkpoint %lld", why, (long long)g.serial[i]);
            cel_free(why);
            return CEL_OK;
        }
        if (status != CEL_FORMAT) { /* not damaged: another cellar, or another moment, can read it */
            cel_free(why);
            return cel_status_pass(status, __FILE__, __LINE__);
        }
        if (!why) why = cel_strdup(cel_status_message());
    }
    cel_status status =
        CEL_FAIL(CEL_FORMAT, "%s; no older checkpoint is good either", why ? why : "the newest checkpoint is damaged");
    cel_free(why);
    return status;
}

void cel_checkpoint_destroy(cel_checkpoint *c) {
    if (!c) return;
    json_decref(c->meta);
    cel_safetensors_destroy(c->arrays);
    cel_free(c->bytes);
    cel_free(c);
}

void cel_checkpoint_tidy(const char *dir, const cel_checkpoint *newest) { sweep(dir, newest->serial); }

int64_t cel_checkpoint_serial(const cel_checkpoint *c) { return c->serial; }

int64_t cel_checkpoint_count(const cel_checkpoint *c, const char *name) {
    const json_t *n = json_object_get(json_object_get(c->meta, "counts"), name);
    return json_is_integer(n) && json_integer_value(n) >= 0 ? json_integer_value(n) : -1;
}

static bool same_shape(const cel_state_item *a, const cel_state_item *b) {
    return a->type == b->type && a->rank == b->rank && !memcmp(a->dims, b->dims, (size_t)a->rank * sizeof a->dims[0]);
}

static void shape_text(const cel_state_item *item, char *out, size_t n) {
    snprintf(out, n, "%s [", cel_state_type_name(item->type));
    for (int i = 0; i < item->rank; i++) {
        size_t used = strlen(out);
        snprintf(out + used, n - used, "%s%lld", i ? ", " : "", (long long)item->dims[i]);
    }
    size_t used = strlen(out);
    snprintf(out + used, n - used, "]");
}

cel_status cel_checkpoint_fill(const cel_checkpoint *c, const cel_state *state, bool whole) {
    const cel_state *have = cel_safetensors_items(c->arrays);
    for (int i = 0; i < state->n; i++) {
        const cel_state_item *want = &state->items[i], *found = cel_state_find(have, want->name);
        char a[200], b[200] = "nothing";
        if (found && same_shape(want, found)) continue;
        shape_text(want, a, sizeof a);
        if (found) shape_text(found, b, sizeof b);
        return CEL_FAIL(CEL_FORMAT, "checkpoint %lld: %s: expected %s, found %s; was the recipe changed?",
                        (long long)c->serial, want->name, a, b);
    }
    for (int i = 0; whole && i < have->n; i++)
        if (!cel_state_find(state, have->items[i].name))
            return CEL_FAIL(CEL_FORMAT,
                            "checkpoint %lld: holds \"%.80s\", which this run has not; was the recipe changed?",
                            (long long)c->serial, have->items[i].name);
    for (int i = 0; i < state->n; i++)
        if (state->items[i].bytes)
            memcpy(state->items[i].data, cel_state_find(have, state->items[i].name)->data, state->items[i].bytes);
    return CEL_OK;
}
