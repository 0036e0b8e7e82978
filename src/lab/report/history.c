#include "lab/report/history.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "cellar/run.h"
#include "cellar/table.h"

enum { MAX_RECIPE = 1 << 20, MAX_MANIFEST = 1 << 20, MAX_LINES = 512 << 20, MAX_EPOCHS = 100000 };
static const double ANY = 1e15; /* nothing that a run counts or measures is larger */

const char *const cel_history_dataset[] = {"cifar10", "cifar100", "imagenet16"};
const char *const cel_history_dataset_label[] = {"CIFAR-10", "CIFAR-100", "ImageNet16-120"};

/* An object being read. The first thing that is wrong is told with its place; then reading goes on and counts no more. */
typedef struct {
    cel_arena *arena;
    cel_status *status;
    const char *place; /* "runs/a/metrics.jsonl:3" */
    const json_t *object;
} reader;

static const char *kind_of(const json_t *value) {
    static const char *const kinds[] = {"an object", "a list", "a text", "a whole number",
                                        "a number",  "true",   "false",  "null"};
    return value ? kinds[json_typeof(value)] : "nothing";
}

static void wrong(const reader *r, const char *key, const char *expected, const json_t *found) {
    if (*r->status != CEL_OK) return;
    *r->status = CEL_FAIL(CEL_FORMAT, "%s: %s: expected %s, found %s", r->place, key, expected, kind_of(found));
}

static void no_memory(const reader *r) {
    if (*r->status == CEL_OK) *r->status = CEL_FAIL(CEL_NOMEM, "%s: out of memory", r->place);
}

static double real_of(const reader *r, const char *key, const json_t *value, double low, double high) {
    double v = json_number_value(value);
    if (!json_is_number(value)) wrong(r, key, "a number", value);
    if (*r->status == CEL_OK && !(v >= low && v <= high))
        *r->status =
            CEL_FAIL(CEL_FORMAT, "%s: %s: expected a number from %g to %g, found %g", r->place, key, low, high, v);
    return *r->status == CEL_OK ? v : low;
}

static double real(const reader *r, const char *key, double low, double high) {
    return real_of(r, key, json_object_get(r->object, key), low, high);
}

static double real_or_nan(const reader *r, const char *key, double low, double high) {
    return json_object_get(r->object, key) ? real(r, key, low, high) : NAN;
}

static int whole(const reader *r, const char *key, int low, int high) {
    const json_t *value = json_object_get(r->object, key);
    if (!json_is_integer(value)) wrong(r, key, "a whole number", value);
    return (int)real_of(r, key, value, low, high);
}

static bool truth(const reader *r, const char *key) {
    const json_t *value = json_object_get(r->object, key);
    if (!json_is_boolean(value)) wrong(r, key, "true or false", value);
    return json_is_true(value);
}

static const char *text_of(const reader *r, const char *key) {
    const json_t *value = json_object_get(r->object, key);
    if (!json_is_string(value)) wrong(r, key, "a text", value);
    const char *copy = json_is_string(value) ? cel_arena_strdup(r->arena, json_string_value(value)) : "";
    if (!copy) no_memory(r);
    return copy ? copy : "";
}

/* The object `key` inside. */
static reader into(const reader *r, const char *key) {
    const json_t *value = json_object_get(r->object, key);
    if (!json_is_object(value)) wrong(r, key, "an object", value);
    const char *place = cel_arena_printf(r->arena, "%s: %s", r->place, key);
    if (!place) no_memory(r);
    return (reader){r->arena, r->status, place ? place : r->place, json_is_object(value) ? value : NULL};
}

static int dataset_named(const char *name) {
    for (int i = 0; i < CEL_HISTORY_DATASETS; i++)
        if (!strcmp(name, cel_history_dataset[i])) return i;
    return -1;
}

static cel_status parse(const char *place, const char *bytes, size_t n, json_t **out) {
    json_error_t error;
    *out = json_loadb(bytes, n, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(*out)) return CEL_OK;
    bool other = *out != NULL;
    json_decref(*out);
    *out = NULL;
    if (other) return CEL_FAIL(CEL_FORMAT, "%s: expected a JSON object, found another value", place);
    return CEL_FAIL(CEL_FORMAT, "%s: not JSON at column %d: %s", place, error.column, error.text);
}

/* ---- manifest.json ---- */

static void read_manifest(const reader *r, cel_manifest *m) {
    reader build = into(r, "build"), dataset = into(r, "dataset"), images = into(&dataset, "images"),
           plan = into(r, "plan");
    const json_t *seed = json_object_get(r->object, "seed"), *resumed = json_object_get(r->object, "resumed");
    *m = (cel_manifest){.version = text_of(r, "cellar"),
                        .compiler = text_of(&build, "compiler"),
                        .flags = text_of(&build, "flags"),
                        .cpu = text_of(r, "cpu"),
                        .isa = text_of(r, "isa"),
                        .backend = text_of(r, "backend"),
                        .method = text_of(r, "method"),
                        .space = text_of(r, "space"),
                        .command = text_of(r, "command"),
                        .dataset = text_of(&dataset, "name"),
                        .sha256 = text_of(&dataset, "sha256"),
                        .started = text_of(r, "started"),
                        .threads = real(r, "threads", 1, 1e6),
                        .images = {real(&images, "weights", 0, ANY), real(&images, "architecture", 0, ANY)},
                        .resumed = (double)json_array_size(resumed),
                        .seed = json_integer_value(seed),
                        .seconds_total = real(r, "seconds_total", 0, ANY),
                        .peak_mb = real(r, "peak_mb", 0, ANY),
                        .plan_params = real(&plan, "params", 0, ANY),
                        .plan_flops = real(&plan, "flops_step", 0, 1e18),
                        .plan_mb = real(&plan, "memory_mb", 0, ANY)};
    if (!json_is_integer(seed)) wrong(r, "seed", "a whole number", seed);
    if (!json_is_array(resumed)) wrong(r, "resumed", "a list", resumed);
    if (!json_is_null(json_object_get(r->object, "finished"))) m->finished = text_of(r, "finished");
}

cel_status cel_history_manifest(cel_history *h, const char *name, const char *bytes, size_t n) {
    json_t *json;
    cel_status status = CEL_OK;
    CEL_TRY(parse(name, bytes, n, &json));
    read_manifest(&(reader){&h->arena, &status, name, json}, &h->manifest);
    json_decref(json);
    CEL_TRY(status);
    status = cel_topology_find(h->manifest.space, &h->space);
    if (status != CEL_OK) return cel_status_prefix(status, "%s: space", name);
    h->topology = cel_topology_get(h->space);
    h->rows = h->topology->n_cells * h->topology->n_edges;
    h->cols = h->topology->n_ops;
    const char *dataset = cel_table_dataset_of(h->manifest.dataset);
    h->dataset = dataset ? dataset_named(dataset) : -1;
    return CEL_OK;
}

/* ---- metrics.jsonl ---- */

/* The numbers of a choice matrix, a list for each choice. `out` has rows x cols. */
static void read_matrix(const reader *r, const char *key, const cel_history *h, double high, double *out) {
    const json_t *rows = json_object_get(r->object, key);
    if (json_array_size(rows) != (size_t)h->rows) {
        wrong(r, key, "a list for each edge", rows);
        return;
    }
    for (int i = 0; i < h->rows; i++) {
        const json_t *row = json_array_get(rows, (size_t)i);
        if (json_array_size(row) != (size_t)h->cols) wrong(r, key, "a number for each operation", row);
        for (int c = 0; c < h->cols; c++)
            out[i * h->cols + c] = real_of(r, key, json_array_get(row, (size_t)c), 0, high);
    }
}

static void read_choices(const reader *r, const cel_history *h, cel_record *out) {
    size_t n = (size_t)(h->rows * h->cols);
    double *values = cel_arena_alloc(r->arena, 2 * n, sizeof *values);
    uint8_t *live = cel_arena_alloc(r->arena, n, 1);
    if (!values || !live) {
        no_memory(r);
        return;
    }
    read_matrix(r, "concentration", h, 1e12, values);
    read_matrix(r, "live", h, 1, values + n);
    for (size_t i = 0; i < n; i++) live[i] = values[n + i] != 0;
    out->concentration = values;
    out->live = live;
}

static void read_table(const reader *r, cel_record *out) {
    out->has_table = json_object_get(r->object, "table") != NULL;
    if (!out->has_table) return;
    reader table = into(r, "table");
    for (int i = 0; i < CEL_HISTORY_DATASETS; i++) {
        reader entry = into(&table, cel_history_dataset[i]);
        out->test[i] = real(&entry, "test", 0, 100);
        out->rank[i] = whole(&entry, "rank", 1, 1 << 30);
    }
}

static void read_sampled(const reader *r, cel_record *out) {
    out->has_sampled = json_object_get(r->object, "sampled") != NULL;
    if (!out->has_sampled) return;
    reader s = into(r, "sampled");
    const char *name = text_of(&s, "dataset");
    out->sampled.n = whole(&s, "n", 1, 1 << 30);
    out->sampled.dataset = dataset_named(name);
    out->sampled.min = real(&s, "min", 0, 100);
    out->sampled.q25 = real(&s, "q25", 0, 100);
    out->sampled.mean = real(&s, "mean", 0, 100);
    out->sampled.q75 = real(&s, "q75", 0, 100);
    out->sampled.max = real(&s, "max", 0, 100);
    if (*s.status == CEL_OK && out->sampled.dataset < 0)
        *s.status = CEL_FAIL(CEL_FORMAT, "%s: dataset: expected cifar10, cifar100 or imagenet16, found \"%.40s\"",
                             s.place, name);
}

static void read_genotype(const reader *r, const cel_history *h, cel_record *out) {
    out->text = text_of(r, "genotype");
    if (*r->status != CEL_OK) return;
    *r->status = cel_genotype_parse(out->text, &out->genotype);
    if (*r->status != CEL_OK) cel_status_prefix(*r->status, "%s: genotype", r->place);
    if (*r->status == CEL_OK && out->genotype.space != h->space)
        *r->status = CEL_FAIL(CEL_FORMAT, "%s: genotype: expected one of %s, found one of %s", r->place,
                              h->topology->label, cel_topology_get(out->genotype.space)->label);
}

static void read_record(const reader *r, const cel_history *h, cel_record *out) {
    *out = (cel_record){.epoch = whole(r, "epoch", h->n, h->n),
                        .stage = whole(r, "stage", h->n ? h->record[h->n - 1].stage : 0, MAX_EPOCHS),
                        .k = whole(r, "k", 1, 1 << 20),
                        .ops_kept = whole(r, "ops_kept", 1, h->cols),
                        .arch_active = truth(r, "arch_active"),
                        .train_loss = real(r, "train_loss", -ANY, ANY),
                        .train_acc = real(r, "train_acc", 0, 100),
                        .valid_loss = real_or_nan(r, "valid_loss", -ANY, ANY),
                        .valid_acc = real_or_nan(r, "valid_acc", 0, 100),
                        .lr = real(r, "lr", 0, ANY),
                        .arch_lr = real(r, "arch_lr", 0, ANY),
                        .grad_norm = real(r, "grad_norm", 0, ANY),
                        .entropy = real(r, "entropy", -1e-9, 100),
                        .skips = real_or_nan(r, "skips", 0, 100),
                        .eigenvalue = real_or_nan(r, "eigenvalue", -ANY, ANY),
                        .warning = json_object_get(r->object, "warning") ? text_of(r, "warning") : NULL,
                        .seconds = real(r, "seconds", 0, ANY),
                        .images_per_s = real(r, "images_per_s", 0, 1e18),
                        .rss_mb = real(r, "rss_mb", 0, ANY),
                        .peak_mb = real(r, "peak_mb", 0, ANY),
                        .params = NAN,
                        .flops = NAN};
    read_table(r, out);
    read_sampled(r, out);
    read_genotype(r, h, out);
    read_choices(r, h, out);
}

/* ---- lines ---- */

typedef cel_status line_fn(cel_history *h, const char *place, const json_t *line);

/* Calls fn for each whole line. */
static cel_status each_line(cel_history *h, const char *name, const char *bytes, size_t n, line_fn *fn) {
    const char *end;
    for (int line = 1; n && (end = memchr(bytes, '\n', n)); line++) {
        json_t *json;
        const char *place = cel_arena_printf(&h->arena, "%s:%d", name, line);
        if (!place) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", name);
        CEL_TRY(parse(place, bytes, (size_t)(end - bytes), &json));
        cel_status status = fn(h, place, json);
        json_decref(json);
        CEL_TRY(status);
        n -= (size_t)(end + 1 - bytes);
        bytes = end + 1;
    }
    return CEL_OK;
}

static cel_status add_record(cel_history *h, const char *place, const json_t *line) {
    cel_status status = CEL_OK;
    if (h->n == h->n_epochs)
        return CEL_FAIL(CEL_FORMAT, "%s: expected at most the recipe's %d epochs, found more", place, h->n_epochs);
    read_record(&(reader){&h->arena, &status, place, line}, h, &h->record[h->n]);
    CEL_TRY(status);
    h->n++;
    return CEL_OK;
}

cel_status cel_history_metrics(cel_history *h, const char *name, const char *bytes, size_t n) {
    size_t lines = 0;
    for (size_t i = 0; i < n; i++) lines += bytes[i] == '\n';
    h->n = 0;
    h->record = cel_arena_alloc(&h->arena, lines + 1, sizeof *h->record);
    if (!h->record) return CEL_FAIL(CEL_NOMEM, "%s: out of memory for %zu epochs", name, lines);
    CEL_TRY(each_line(h, name, bytes, n, add_record));
    return CEL_OK;
}

static cel_status add_cost(cel_history *h, const char *place, const json_t *line) {
    cel_status status = CEL_OK;
    reader r = {&h->arena, &status, place, line};
    int epoch = whole(&r, "epoch", 0, MAX_EPOCHS);
    double params = real(&r, "params", 0, ANY), flops = real(&r, "flops", 0, 1e18);
    const char *genotype = text_of(&r, "genotype");
    CEL_TRY(status);
    if (epoch == h->n) return CEL_OK; /* its metrics are the torn line */
    if (epoch > h->n || strcmp(h->record[epoch].text, genotype))
        return CEL_FAIL(CEL_FORMAT, "%s: expected the genotypes of metrics.jsonl, found epoch %d: %.200s", place, epoch,
                        genotype);
    h->record[epoch].params = params;
    h->record[epoch].flops = flops;
    return CEL_OK;
}

cel_status cel_history_genotypes(cel_history *h, const char *name, const char *bytes, size_t n) {
    CEL_TRY(each_line(h, name, bytes, n, add_cost));
    for (int i = 0; i + 1 < h->n; i++)
        if (isnan(h->record[i].params))
            return CEL_FAIL(CEL_FORMAT, "%s: expected a line for each epoch, found none for epoch %d", name, i);
    return CEL_OK;
}

/* ---- selection.json ---- */

static void read_candidate(const reader *r, cel_selected *s, int i, const json_t *value) {
    const char *key;
    json_t *score;
    int k = 0;
    reader c = {r->arena, r->status, r->place, json_is_object(value) ? value : NULL};
    if (!c.object) wrong(r, "candidates", "objects", value);
    json_t *scores = json_object_get(c.object, "scores");
    if (!json_is_object(scores)) wrong(&c, "scores", "an object", scores);
    if (*r->status != CEL_OK) return;
    s->candidate[i].text = text_of(&c, "genotype");
    s->candidate[i].times = whole(&c, "times", 1, 1 << 30);
    s->candidate[i].rank = whole(&c, "rank", 1, 1 << 30);
    json_object_foreach(scores, key, score) {
        if (k == CEL_HISTORY_PARTS) break;
        if (!i) {
            s->part[k] = cel_arena_strdup(r->arena, key);
            if (!s->part[k]) no_memory(r);
            s->n_parts = k + 1;
        }
        if (k < s->n_parts) s->candidate[i].part[k] = json_is_null(score) ? NAN : real_of(&c, key, score, -ANY, ANY);
        k++;
    }
    for (; k < s->n_parts; k++) s->candidate[i].part[k] = NAN;
}

cel_status cel_history_selection(cel_history *h, const char *name, const char *bytes, size_t n) {
    json_t *json, *list;
    cel_status status = CEL_OK;
    if (!h->n) return CEL_FAIL(CEL_FORMAT, "%s: a cell is selected, but no epoch is recorded", name);
    CEL_TRY(parse(name, bytes, n, &json));
    reader r = {&h->arena, &status, name, json};
    h->found = h->record[h->n - 1];
    read_genotype(&r, h, &h->found);
    read_table(&r, &h->found);
    h->found.params = real(&r, "params", 0, ANY);
    h->found.flops = real(&r, "flops", 0, 1e18);
    h->selection.samples = whole(&r, "samples", 1, 1 << 30);
    list = json_object_get(json, "candidates");
    if (!json_array_size(list)) wrong(&r, "candidates", "a list", list);
    h->selection.n = (int)json_array_size(list);
    for (int i = 0; i < h->selection.n && i < CEL_HISTORY_CANDIDATES && status == CEL_OK; i++) {
        read_candidate(&r, &h->selection, i, json_array_get(list, (size_t)i));
        h->selection.n_shown = i + 1;
    }
    json_decref(json);
    h->has_selection = status == CEL_OK;
    return status;
}

/* ---- the directory ---- */

static cel_status read_recipe(cel_history *h, const char *name, const char *bytes, size_t n) {
    cel_recipe *recipe;
    cel_status status = cel_recipe_open(name, NULL, 0, &recipe);
    if (status != CEL_OK) return strstr(cel_status_message(), name) ? status : cel_status_prefix(status, "%s", name);
    cel_recipe_info info = cel_recipe_get_info(recipe);
    h->recipe = cel_arena_printf(&h->arena, "%.*s", (int)n, bytes);
    h->title = cel_arena_strdup(&h->arena, info.title);
    h->note = cel_arena_strdup(&h->arena, info.note);
    h->expect_dataset = cel_arena_strdup(&h->arena, info.expect_dataset);
    h->expect_source = cel_arena_strdup(&h->arena, info.expect_source);
    h->expect_test = info.expect_test;
    h->n_epochs = info.n_epochs;
    cel_recipe_destroy(recipe);
    if (!h->recipe || !h->title || !h->note || !h->expect_dataset || !h->expect_source)
        return CEL_FAIL(CEL_NOMEM, "%s: out of memory", name);
    return CEL_OK;
}

typedef cel_status part_fn(cel_history *h, const char *name, const char *bytes, size_t n);

static cel_status read_part(cel_history *h, const char *run_dir, const char *file, size_t max_bytes, part_fn *fn) {
    size_t n = 0;
    char *bytes = NULL, *path = cel_path_join(run_dir, file);
    cel_status status = path ? cel_file_read(path, max_bytes, &bytes, &n) : CEL_FAIL(CEL_NOMEM, "out of memory");
    if (status == CEL_OK) status = fn(h, path, bytes, n);
    cel_free(bytes);
    cel_free(path);
    return status;
}

cel_status cel_history_read(const char *run_dir, cel_history *out) {
    static const struct {
        const char *file;
        size_t max_bytes;
        part_fn *fn;
    } parts[] = {{"recipe.yaml", MAX_RECIPE, read_recipe},
                 {"manifest.json", MAX_MANIFEST, cel_history_manifest},
                 {"metrics.jsonl", MAX_LINES, cel_history_metrics},
                 {"genotypes.jsonl", MAX_LINES, cel_history_genotypes},
                 {"selection.json", MAX_LINES, cel_history_selection}};
    *out = (cel_history){0};
    if (!cel_path_is_dir(run_dir))
        return CEL_FAIL(CEL_NOTFOUND, "%s: expected a run directory, found %s", run_dir,
                        cel_path_exists(run_dir) ? "a file" : "nothing");
    for (size_t i = 0; i < CEL_COUNT(parts); i++) {
        cel_status status = read_part(out, run_dir, parts[i].file, parts[i].max_bytes, parts[i].fn);
        if (status == CEL_NOTFOUND && parts[i].fn == cel_history_selection) status = CEL_OK;
        if (status == CEL_OK) continue;
        cel_history_fini(out);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    return CEL_OK;
}

void cel_history_fini(cel_history *history) {
    cel_arena_fini(&history->arena);
    *history = (cel_history){0};
}
