#include "support/fake_run.h"

#include <jansson.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"

enum { ROWS = CEL_NB201_EDGES, COLS = CEL_NB201_OPS, DRAWN = 100 };
static const char *const datasets[] = {"cifar10", "cifar100", "imagenet16"};

void fake_file_write(const char *dir, const char *name, const char *text) {
    char *path = cel_path_join(dir, name);
    test_ok(cel_file_write_atomic(path, text, strlen(text)));
    cel_free(path);
}

char *fake_file_read(const char *dir, const char *name) {
    char *path = cel_path_join(dir, name), *text;
    size_t n;
    test_ok(cel_file_read(path, 64 << 20, &text, &n));
    cel_free(path);
    return text;
}

/* Concentrations that start at 1 and part: each entry drifts at a speed of its own, with a little noise. */
static void concentrations(const fake_run *run, int epoch, double *out, uint8_t *live) {
    int stage = epoch * run->n_stages / run->n_epochs;
    for (int row = 0; row < ROWS; row++) {
        for (int col = 0; col < COLS; col++) {
            cel_rng drift = cel_rng_at(11, "drift", (uint64_t)row, (uint64_t)col);
            cel_rng noise = cel_rng_at(11, "noise", (uint64_t)epoch, (uint64_t)(row * COLS + col));
            double speed = cel_rng_normal(&drift) * 0.5 + (col == CEL_NB201_CONV_3X3 ? 0.9 : 0) -
                           (col == CEL_NB201_NONE ? 0.7 : 0);
            double eta = speed * epoch / run->n_epochs * 1.4 + 0.02 * cel_rng_normal(&noise);
            out[row * COLS + col] = eta < 0 ? exp(eta) : eta + 1;
            live[row * COLS + col] = 1;
        }
    }
    if (!stage) return;
    double first[ROWS * COLS];
    uint8_t all[ROWS * COLS];
    concentrations(run, (run->n_epochs + run->n_stages - 1) / run->n_stages - 1, first, all);
    test_ok(cel_choice_prune(ROWS, COLS, 3, first, live));
    for (int i = 0; i < ROWS * COLS; i++) out[i] = live[i] ? out[i] : 0;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static json_t *drawn(const fake_run *run, int epoch, const double *concentration, const uint8_t *live) {
    double found[DRAWN], weights[ROWS * COLS], sum = 0;
    cel_rng rng = cel_rng_at(12, "drawn", (uint64_t)epoch, 0);
    int metric, index;
    test_ok(cel_table_find_metric(run->table, "cifar10_test_200", &metric));
    for (int d = 0; d < DRAWN; d++) {
        cel_genotype g;
        for (int i = 0; i < ROWS * COLS; i++)
            weights[i] = pow(concentration[i], 3) * -log(cel_rng_uniform(&rng)) * (double)live[i];
        test_ok(cel_genotype_derive(CEL_ARCH_NB201, weights, live, &g));
        test_ok(cel_table_find(run->table, &g, &index));
        found[d] = cel_table_value(run->table, metric, index);
        sum += found[d];
    }
    qsort(found, DRAWN, sizeof *found, by_size);
    return json_pack("{s:i, s:s, s:f, s:f, s:f, s:f, s:f}", "n", DRAWN, "dataset", "cifar10", "min", found[0], "max",
                     found[DRAWN - 1], "mean", sum / DRAWN, "q25", found[DRAWN / 4], "q75", found[3 * DRAWN / 4]);
}

static json_t *rows_of(const double *values, const uint8_t *live) {
    json_t *rows = json_array();
    for (int row = 0; row < ROWS; row++) {
        json_t *list = json_array();
        for (int i = row * COLS; i < (row + 1) * COLS; i++)
            json_array_append_new(list, values ? json_real(values[i]) : json_integer(live[i]));
        json_array_append_new(rows, list);
    }
    return rows;
}

static double mean_entropy(const double *concentration) {
    double entropy = 0;
    for (int row = 0; row < ROWS; row++) {
        double sum = 0;
        for (int col = 0; col < COLS; col++) sum += concentration[row * COLS + col];
        for (int col = 0; col < COLS; col++) {
            double p = concentration[row * COLS + col] / sum;
            if (p > 0) entropy -= p * log(p) / ROWS;
        }
    }
    return entropy;
}

static json_t *epoch_metrics(const fake_run *run, int e, cel_genotype *g) {
    double concentration[ROWS * COLS], t = (double)e / run->n_epochs;
    uint8_t live[ROWS * COLS];
    int stage = e * run->n_stages / run->n_epochs,
        in_stage = e - (stage * run->n_epochs + run->n_stages - 1) / run->n_stages;
    concentrations(run, e, concentration, live);
    test_ok(cel_genotype_derive(CEL_ARCH_NB201, concentration, live, g));
    char text[CEL_GENOTYPE_TEXT];
    cel_genotype_format(g, text);
    json_t *m = json_pack("{s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:b, s:f, s:f, s:s, s:f, s:f, s:f, s:f}", "epoch",
                          e, "stage", stage, "k", stage ? 2 : 4, "ops_kept", stage ? 3 : 5, "train_loss",
                          0.75 + 1.6 * exp(-3 * t) + (stage ? 0.08 : 0), "train_acc", 76 - 58 * exp(-3 * t), "lr",
                          0.001 + 0.012 * (1 + cos(3.14159265 * t)), "arch_lr", 0.003, "arch_active", in_stage >= 2,
                          "grad_norm", 1.1 + 2 * exp(-4 * t), "entropy", mean_entropy(concentration), "genotype", text,
                          "seconds", 4.1 - 0.9 * stage + 0.2 * sin(e), "images_per_s", 2400. + 700 * stage, "rss_mb",
                          180. + 25 * stage, "peak_mb", 190. + 30 * stage);
    if (!run->no_valid) {
        json_object_set_new(m, "valid_loss", json_real(0.95 + 1.4 * exp(-2.6 * t)));
        json_object_set_new(m, "valid_acc", json_real(70 - 53 * exp(-2.6 * t)));
    }
    json_object_set_new(m, "concentration", rows_of(concentration, NULL));
    json_object_set_new(m, "live", rows_of(NULL, live));
    if (!run->table) return m;
    json_t *table = json_object();
    for (int d = 0; d < 3; d++) {
        int metric, index;
        test_ok(cel_table_find_accuracy(run->table, datasets[d], "test", 200, &metric));
        test_ok(cel_table_find(run->table, g, &index));
        json_object_set_new(table, datasets[d],
                            json_pack("{s:f, s:i}", "test", cel_table_value(run->table, metric, index), "rank",
                                      cel_table_rank(run->table, metric, index)));
    }
    json_object_set_new(m, "table", table);
    json_object_set_new(m, "sampled", drawn(run, e, concentration, live));
    return m;
}

static void write_lines(const fake_run *run, const char *dir) {
    char *metrics = cel_strdup(""), *genotypes = cel_strdup("");
    for (int e = 0; e < run->n_done; e++) {
        cel_genotype g;
        cel_nb201_net net;
        cel_arch_cost cost;
        json_t *m = epoch_metrics(run, e, &g);
        test_ok(cel_nb201_net_find("cifar10", &net));
        test_ok(cel_nb201_cost(&g, &net, &cost));
        json_t *line = json_pack("{s:i, s:O, s:O, s:s, s:I, s:I}", "epoch", e, "stage", json_object_get(m, "stage"),
                                 "genotype", json_object_get(m, "genotype"), "hash", "0", "params",
                                 (json_int_t)cost.params, "flops", (json_int_t)cost.flops);
        char *a = json_dumps(m, JSON_COMPACT), *b = json_dumps(line, JSON_COMPACT);
        char *more = cel_asprintf("%s%s\n", metrics, a), *cells = cel_asprintf("%s%s\n", genotypes, b);
        cel_free(metrics);
        cel_free(genotypes);
        metrics = more;
        genotypes = cells;
        free(a);
        free(b);
        json_decref(m);
        json_decref(line);
    }
    fake_file_write(dir, "metrics.jsonl", metrics);
    fake_file_write(dir, "genotypes.jsonl", genotypes);
    cel_free(metrics);
    cel_free(genotypes);
}

static void write_manifest(const fake_run *run, const char *dir) {
    json_t *m = json_pack(
        "{s:s, s:{s:s, s:s}, s:s, s:s, s:s, s:i, s:i, s:s, s:s, s:{s:s, s:{s:i, s:i}, s:s}, s:s, s:[], s:f, s:f, s:s, "
        "s:{s:i, s:i, s:f}}",
        "cellar", "0.1.0", "build", "compiler", "12.2.0", "flags", "-O3 -DNDEBUG", "cpu", "Some CPU @ 2.10GHz", "isa",
        "avx512", "backend", "cpu", "threads", 2, "seed", 1, "method", "drnas", "space", "nb201", "dataset", "name",
        run->source ? run->source : "cifar10-mini", "images", "weights", 2500, "architecture", 2500, "sha256",
        "5f1d6f0f3ab1a3c8b1d0a6b49d4f0d5cc0f4c5e3f0f0e3a9d8f6d27d6a1c2b30", "started", "2026-01-31T12:00:00Z",
        "resumed", "seconds_total", 80.25, "peak_mb", 221.5, "command",
        run->command ? run->command : "cellar search demo --run runs/demo", "plan", "params", 316274, "flops_step",
        1234567890, "memory_mb", 96.5);
    json_object_set_new(m, "finished",
                        run->n_done == run->n_epochs ? json_string("2026-01-31T12:01:20Z") : json_null());
    char *text = json_dumps(m, JSON_INDENT(2));
    fake_file_write(dir, "manifest.json", text);
    free(text);
    json_decref(m);
}

/* As YAML: a JSON string is one. */
static char *quoted(const char *text) {
    json_t *json = json_string(text);
    char *out = json_dumps(json, JSON_ENCODE_ANY);
    json_decref(json);
    return out;
}

static void write_recipe(const fake_run *run, const char *dir) {
    char *stages = cel_strdup("");
    for (int s = 0; s < run->n_stages; s++) {
        int from = (s * run->n_epochs + run->n_stages - 1) / run->n_stages;
        int to = ((s + 1) * run->n_epochs + run->n_stages - 1) / run->n_stages;
        char *more = cel_asprintf("%s    - {k: %d, ops: %d, epochs: %d, warmup: %d}\n", stages, s ? 2 : 4, s ? 3 : 5,
                                  to - from, to - from > 3 ? 2 : 0);
        cel_free(stages);
        stages = more;
    }
    char *title = quoted(run->title ? run->title : "DrNAS on NAS-Bench-201, a made-up run");
    char *note = quoted(run->note ? run->note : "");
    char *text = cel_asprintf("title: %s\nnote: %s\nsearch:\n  method: drnas\n  space: nb201\n  seed: 1\n  stages:\n%s"
                              "space:\n  c: 16\n  n: 1\ndata:\n  source: cifar10-mini\nexpect:\n  dataset: cifar10\n"
                              "  test: 94.36\n  source: \"DrNAS, ICLR 2021, Table 4\"\n",
                              title, note, stages);
    fake_file_write(dir, "recipe.yaml", text);
    cel_free(text);
    cel_free(stages);
    free(title);
    free(note);
}

void fake_run_write(const fake_run *run, const char *dir) {
    write_recipe(run, dir);
    write_manifest(run, dir);
    write_lines(run, dir);
}
