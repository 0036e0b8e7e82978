/* Proxies against a benchmark table: a sample of cells, their scores in a file that an interrupted run goes on from,
 * and rank correlations. */
#include "cellar/correlate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/backend/cpu/cpu.h"
#include "lab/lines.h"
#include "lab/score_file.h"
#include "math/rank_stats.h"

enum { MOST_SETS = 80, MOST_BYTES = 256 << 20, AT_ONCE = 32 };

typedef struct {
    const cel_correlate_options *o;
    cel_table *table;
    cel_scorer *scorer;
    int metric, n_cells, n_columns, n_base, n_done;
    int *index;
    cel_genotype *cells;
    double *values; /* n_cells x n_columns */
    char *head;
    cel_lines file;
    double seconds;
} job;

/* ---- the sample ---- */

static int ascending(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static cel_status choose_cells(job *j) {
    int all = cel_table_count(j->table), n = j->o->sample ? j->o->sample : all;
    if (n > all || n < 0)
        return CEL_FAIL(CEL_CONFIG, "correlate: a sample of %d cells, the table has %d", j->o->sample, all);
    int32_t *order;
    CEL_ALLOC(order, (size_t)all);
    for (int i = 0; i < all; i++) order[i] = i;
    cel_rng rng = cel_rng_at((uint64_t)j->o->sample_seed, "correlate.sample", 0, 0);
    if (n < all) cel_rng_shuffle(&rng, order, (size_t)all);
    j->n_cells = n;
    j->index = cel_alloc((size_t)n, sizeof *j->index);
    j->cells = cel_alloc((size_t)n, sizeof *j->cells);
    for (int i = 0; j->index && i < n; i++) j->index[i] = order[i];
    cel_free(order);
    if (!j->index || !j->cells) return CEL_FAIL(CEL_NOMEM, "out of memory: %d cells", n);
    qsort(j->index, (size_t)n, sizeof *j->index, ascending);
    for (int i = 0; i < n; i++) cel_table_genotype(j->table, j->index[i], &j->cells[i]);
    return CEL_OK;
}

/* ---- the scorer ---- */

static bool listed(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += n)
        if ((at == list || at[-1] == ',') && (at[n] == ',' || !at[n])) return true;
    return false;
}

/* The data set's size and classes, for proxies that look at no image. */
static cel_status open_scorer(job *j) {
    const cel_correlate_options *o = j->o;
    const char *dataset = cel_table_dataset_of(o->dataset), *sets[MOST_SETS];
    char text[4][1200], proxies[512];
    int n = 0;
    cel_nb201_net net;
    snprintf(text[0], sizeof text[0], "data.source=\"%.200s\"", o->dataset);
    sets[n++] = text[0];
    if (o->path) {
        if (strlen(o->path) > 1000 || strpbrk(o->path, "\"\\"))
            return CEL_FAIL(CEL_CONFIG, "correlate: a path of that form is not understood: %.80s", o->path);
        snprintf(text[1], sizeof text[1], "data.path=\"%s\"", o->path);
        sets[n++] = text[1];
    }
    if (dataset && cel_nb201_net_find(dataset, &net) == CEL_OK) {
        snprintf(text[2], sizeof text[2], "score.image=%d", net.image);
        snprintf(text[3], sizeof text[3], "score.classes=%d", net.classes);
        sets[n++] = text[2];
        sets[n++] = text[3];
    }
    if (n + o->n_sets > MOST_SETS) return CEL_FAIL(CEL_CONFIG, "correlate: more than %d settings", MOST_SETS - n);
    for (int i = 0; i < o->n_sets; i++) {
        if (!strncmp(o->sets[i], "data.", 5) || !strncmp(o->sets[i], "data=", 5))
            return CEL_FAIL(CEL_CONFIG,
                            "correlate: --set %.80s: the data set of the images has to be the table's, %.40s: give "
                            "--dataset and --path instead",
                            o->sets[i], o->dataset);
        sets[n++] = o->sets[i];
    }
    if (strlen(o->proxies) > 400) return CEL_FAIL(CEL_CONFIG, "correlate: more proxies than there are");
    snprintf(proxies, sizeof proxies, "%s%s%s", o->proxies, listed(o->proxies, "params") ? "" : ",params",
             listed(o->proxies, "flops") ? "" : ",flops");
    CEL_TRY(cel_scorer_create(&(cel_scorer_options){proxies, sets, n, o->threads}, &j->scorer));
    j->n_columns = cel_scorer_columns(j->scorer);
    for (int c = 0; c < j->n_columns; c++) j->n_base += !cel_scorer_column(j->scorer, c).of[0];
    CEL_ALLOC(j->values, (size_t)j->n_cells * (size_t)j->n_columns);
    return CEL_OK;
}

static cel_status find_metric(job *j) {
    if (j->o->metric) return cel_table_find_metric(j->table, j->o->metric, &j->metric);
    const char *dataset = cel_table_dataset_of(j->o->dataset);
    if (!dataset)
        return CEL_FAIL(CEL_CONFIG,
                        "correlate: the table has no accuracies of %s: name a metric of the table, as in "
                        "cifar10_test_200",
                        j->o->dataset);
    return cel_table_find_accuracy(j->table, dataset, "test", 200, &j->metric);
}

/* ---- the file ---- */

/* Every setting as a line of its own, so that one that differs can be named. */
static cel_status make_head(job *j) {
    char *settings, sha[80] = "";
    size_t used = 0, room;
    CEL_TRY(cel_scorer_settings(j->scorer, false, &settings));
    const char *images = cel_scorer_images(j->scorer);
    if (images) snprintf(sha, sizeof sha, "# images: %.64s\n", images);
    room = 2 * strlen(settings) + 4096;
    j->head = cel_alloc(room, 1);
    if (!j->head) {
        cel_free(settings);
        return CEL_FAIL(CEL_NOMEM, "out of memory: a file of scores");
    }
    used =
        (size_t)snprintf(j->head, room, "# cellar: scores of cells\n# sample: %d\n# sample_seed: %lld\n# cpu: %s\n%s",
                         j->n_cells, (long long)j->o->sample_seed, cel_cpu_isa_of(false), sha);
    for (const char *at = settings; *at;) {
        size_t n = strcspn(at, "\n");
        used += (size_t)snprintf(j->head + used, room - used, "# %.*s\n", (int)n, at);
        at += n + (at[n] == '\n');
    }
    used += (size_t)snprintf(j->head + used, room - used, "index,architecture");
    for (int c = 0; c < j->n_columns; c++) {
        cel_proxy_info proxy = cel_scorer_column(j->scorer, c);
        if (!proxy.of[0]) used += (size_t)snprintf(j->head + used, room - used, ",%s", proxy.name);
    }
    snprintf(j->head + used, room - used, "\n");
    cel_free(settings);
    return CEL_OK;
}

static int count_lines(const char *text) {
    int n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

/* Columns of the file are those that are not made of others. */
static void spread(const job *j, const double *base, double *all) {
    for (int c = 0, b = 0; c < j->n_columns; c++) all[c] = cel_scorer_column(j->scorer, c).of[0] ? NAN : base[b++];
}
static void collect(const job *j, const double *all, double *base) {
    for (int c = 0, b = 0; c < j->n_columns; c++)
        if (!cel_scorer_column(j->scorer, c).of[0]) base[b++] = all[c];
}

static cel_status write_head(job *j) {
    CEL_TRY(cel_lines_open(&j->file, j->o->file, 0));
    for (char *line = j->head; *line;) {
        char *end = strchr(line, '\n');
        *end = 0;
        cel_status status = cel_lines_append(&j->file, line);
        *end = '\n';
        CEL_TRY(status);
        line = end + 1;
    }
    return cel_lines_sync(&j->file);
}

static cel_status open_file(job *j) {
    char *text;
    size_t n;
    double *base;
    CEL_TRY(make_head(j));
    if (!j->o->file) return CEL_OK;
    if (!cel_path_exists(j->o->file)) return write_head(j);
    CEL_TRY(cel_file_read(j->o->file, MOST_BYTES, &text, &n));
    base = cel_alloc((size_t)j->n_cells * (size_t)j->n_base, sizeof *base);
    cel_status status =
        base ? cel_score_file_parse(j->o->file, text, n, j->head, j->index, j->n_cells, j->n_base, base, &j->n_done)
             : CEL_FAIL(CEL_NOMEM, "%s: out of memory", j->o->file);
    cel_free(text);
    for (int i = 0; i < j->n_done && status == CEL_OK; i++)
        spread(j, base + (size_t)i * (size_t)j->n_base, j->values + (size_t)i * (size_t)j->n_columns);
    cel_free(base);
    CEL_TRY(status);
    int64_t lines;
    CEL_TRY(cel_lines_count(j->o->file, &lines));
    if (lines < count_lines(j->head)) return write_head(j);
    return cel_lines_open(&j->file, j->o->file, count_lines(j->head) + j->n_done);
}

/* ---- scoring ---- */

static cel_status write_some(job *j, int from, int n) {
    double base[CEL_CORRELATIONS];
    if (j->file.fd < 0) return CEL_OK;
    for (int i = from; i < from + n; i++) {
        char *line;
        collect(j, j->values + (size_t)i * (size_t)j->n_columns, base);
        CEL_TRY(cel_score_file_line(j->index[i], &j->cells[i], base, j->n_base, &line));
        cel_status status = cel_lines_append(&j->file, line);
        cel_free(line);
        CEL_TRY(status);
    }
    return CEL_OK;
}

static cel_status score(job *j) {
    double start = cel_clock_s();
    while (j->n_done < j->n_cells) {
        int n = j->n_cells - j->n_done < AT_ONCE ? j->n_cells - j->n_done : AT_ONCE;
        CEL_TRY(cel_scorer_run(j->scorer, j->cells + j->n_done, n, j->values + (size_t)j->n_done * (size_t)j->n_columns,
                               NULL, NULL));
        CEL_TRY(write_some(j, j->n_done, n));
        j->n_done += n;
        j->seconds = cel_clock_s() - start;
        if (j->o->progress && j->o->progress(j->o->ctx, j->n_done, j->n_cells) && j->n_done < j->n_cells)
            return CEL_FAIL(CEL_INTERRUPTED, "interrupted after %d of %d cells%s", j->n_done, j->n_cells,
                            j->o->file ? "; the same command goes on from there" : "");
    }
    if (j->file.fd >= 0) CEL_TRY(cel_lines_sync(&j->file));
    return cel_scorer_combine(j->scorer, j->n_cells, j->values);
}

/* ---- correlations ---- */

typedef struct {
    double value;
    int cell;
} ranked;

static int descending(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    return x->cell - y->cell;
}

/* Share of the first k of x that are among the first k of y; equals in the order of the cells. */
static cel_status overlap(const double *x, const double *y, int n, int k, double *out, int *first) {
    ranked *list;
    CEL_ALLOC(list, 2 * (size_t)n);
    ranked *other = list + n;
    int both = 0;
    for (int i = 0; i < n; i++) {
        list[i] = (ranked){x[i], i};
        other[i] = (ranked){y[i], i};
    }
    qsort(list, (size_t)n, sizeof *list, descending);
    qsort(other, (size_t)n, sizeof *other, descending);
    for (int i = 0; i < k; i++)
        for (int l = 0; l < k; l++) both += list[i].cell == other[l].cell;
    *out = (double)both / k;
    *first = list[0].cell;
    cel_free(list);
    return CEL_OK;
}

static cel_status correlate(const job *j, int column, double *x, const double *y, cel_correlation *out) {
    int n = j->n_cells, k = (int)((double)n * j->o->top_percent / 100), first = 0;
    double sign = cel_scorer_column(j->scorer, column).higher_is_better ? 1 : -1;
    *out = (cel_correlation){.proxy = cel_scorer_column(j->scorer, column)};
    for (int i = 0; i < n; i++) {
        double value = j->values[(size_t)i * (size_t)j->n_columns + (size_t)column];
        out->undefined += isnan(value);
        x[i] = isnan(value) ? -HUGE_VAL : sign * value;
    }
    CEL_TRY(cel_stats_spearman(x, y, (size_t)n, &out->spearman));
    CEL_TRY(cel_stats_kendall(x, y, (size_t)n, &out->kendall));
    CEL_TRY(overlap(x, y, n, k > 0 ? k : 1, &out->top, &first));
    out->best = y[first];
    out->low = out->high = out->spearman;
    if (n > 3 && fabs(out->spearman) < 1) {
        double z = atanh(out->spearman), r = out->spearman, half = 1.959963984540054 * sqrt((1 + r * r / 2) / (n - 3));
        out->low = tanh(z - half);
        out->high = tanh(z + half);
    }
    return CEL_OK;
}

static cel_status correlate_all(const job *j, cel_correlations *out) {
    double *x;
    const cel_metric *metric = cel_table_metric(j->table, j->metric);
    CEL_ALLOC(x, 2 * (size_t)j->n_cells);
    double *y = x + j->n_cells, sign = metric->higher_is_better ? 1 : -1;
    snprintf(out->metric, sizeof out->metric, "%s", metric->name);
    out->n_cells = j->n_cells;
    out->seconds = j->seconds;
    out->n = j->n_columns;
    out->optimum = -HUGE_VAL;
    for (int i = 0; i < j->n_cells; i++) {
        y[i] = sign * cel_table_value(j->table, j->metric, j->index[i]);
        if (y[i] > out->optimum) out->optimum = y[i];
    }
    cel_status status = CEL_OK;
    for (int c = 0; c < j->n_columns && status == CEL_OK; c++) {
        status = correlate(j, c, x, y, &out->list[c]);
        out->list[c].best *= sign;
    }
    out->optimum *= sign;
    cel_free(x);
    return status;
}

static cel_status run(job *j, cel_correlations *out) {
    CEL_TRY(cel_table_open(NULL, &j->table));
    CEL_TRY(find_metric(j));
    CEL_TRY(choose_cells(j));
    CEL_TRY(open_scorer(j));
    CEL_TRY(open_file(j));
    int before = j->n_done;
    CEL_TRY(score(j));
    out->n_scored = j->n_cells - before;
    return correlate_all(j, out);
}

cel_status cel_correlate(const cel_correlate_options *options, cel_correlations *out) {
    job j = {.o = options, .file = {.fd = -1}};
    *out = (cel_correlations){0};
    cel_status status = run(&j, out);
    cel_lines_close(&j.file);
    cel_scorer_destroy(j.scorer);
    cel_table_close(j.table);
    cel_free(j.index);
    cel_free(j.cells);
    cel_free(j.values);
    cel_free(j.head);
    return status;
}
_Static_assert((int)CEL_CORRELATIONS >= 32, "a correlation for each column of a scorer");
