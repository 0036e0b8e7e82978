/* A benchmark table at run time: mapped, checked once, then only read. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/datadir.h"
#include "base/mem.h"
#include "cellar/text.h"
#include "nas/eval/table_file.h"

struct cel_table {
    cel_arch_space space;
    int n_rows, n_metrics;
    cel_metric *metric;
    const double *value; /* metric by metric */
    const uint64_t *hash;
    void *map;
    size_t map_bytes;
};

static bool text_ends(const char *text, size_t size) { return memchr(text, 0, size) != NULL; }

static cel_status read_column(const cel_table_column *c, int at, cel_metric *m) {
    if (!text_ends(c->name, sizeof c->name) || !text_ends(c->label, sizeof c->label) ||
        !text_ends(c->dataset, sizeof c->dataset) || !text_ends(c->split, sizeof c->split) ||
        !text_ends(c->trained_on, sizeof c->trained_on) || !text_ends(c->unit, sizeof c->unit) ||
        !text_ends(c->device, sizeof c->device) || !*c->name)
        return CEL_FAIL(CEL_FORMAT, "column %d: a text without end or a missing name", at);
    if (c->kind < 0 || c->kind >= CEL_METRIC_KINDS)
        return CEL_FAIL(CEL_FORMAT, "column %s: kind %d, expected 0 .. %d", c->name, c->kind, CEL_METRIC_KINDS - 1);
    *m = (cel_metric){.name = c->name,
                      .label = c->label,
                      .kind = (cel_metric_kind)c->kind,
                      .dataset = c->dataset,
                      .split = c->split,
                      .epochs = c->epochs,
                      .trained_on = c->trained_on,
                      .seeds_min = c->seeds_min,
                      .seeds_max = c->seeds_max,
                      .unit = c->unit,
                      .higher_is_better = c->higher_is_better != 0,
                      .device = c->device};
    return CEL_OK;
}

static cel_status check_header(const cel_table_header *h, size_t n, cel_table *t) {
    if (n < sizeof *h || memcmp(h->magic, CEL_TABLE_MAGIC, sizeof h->magic))
        return CEL_FAIL(CEL_FORMAT, "not a table of cellar: expected \"" CEL_TABLE_MAGIC "\" at its start");
    if (h->byte_order != CEL_TABLE_BYTE_ORDER)
        return CEL_FAIL(CEL_FORMAT, "a table written on a machine of the other byte order; build it on this machine");
    if (h->version != CEL_TABLE_VERSION)
        return CEL_FAIL(CEL_VERSION, "a table of version %u, this program reads version %d; build it anew", h->version,
                        CEL_TABLE_VERSION);
    if (!text_ends(h->space, sizeof h->space)) return CEL_FAIL(CEL_FORMAT, "the name of the space has no end");
    CEL_TRY(cel_topology_find(h->space, &t->space));
    if (t->space != CEL_ARCH_NB201 || h->n_rows != CEL_NB201_COUNT)
        return CEL_FAIL(CEL_FORMAT, "space %s with %u rows, expected nb201 with %d", h->space, h->n_rows,
                        CEL_NB201_COUNT);
    if (h->n_columns < 1 || h->n_columns > CEL_TABLE_COLUMNS_MAX)
        return CEL_FAIL(CEL_FORMAT, "%u columns, expected 1 .. %d", h->n_columns, CEL_TABLE_COLUMNS_MAX);
    size_t want = sizeof *h + h->n_columns * (sizeof(cel_table_column) + h->n_rows * sizeof(double)) +
                  h->n_rows * sizeof(uint64_t);
    if (n != want) return CEL_FAIL(CEL_FORMAT, "%zu bytes, expected %zu: truncated or not all of it a table", n, want);
    uint32_t sum = (uint32_t)crc32_z(0, (const Bytef *)(h + 1), n - sizeof *h);
    if (sum != h->checksum)
        return CEL_FAIL(CEL_FORMAT, "checksum %08x, expected %08x: the table is damaged; build it anew", sum,
                        h->checksum);
    t->n_rows = (int)h->n_rows;
    t->n_metrics = (int)h->n_columns;
    return CEL_OK;
}

static cel_status read_table(const void *data, size_t n, cel_table *t) {
    const cel_table_header *h = data;
    CEL_TRY(check_header(h, n, t));
    const cel_table_column *columns = (const void *)(h + 1);
    size_t cells = (size_t)t->n_metrics * (size_t)t->n_rows;
    t->value = (const void *)(columns + t->n_metrics);
    t->hash = (const void *)(t->value + cells);
    for (size_t i = 0; i < cells; i++)
        if (!isfinite(t->value[i]))
            return CEL_FAIL(CEL_FORMAT, "column %zu, row %zu is not finite", i / (size_t)t->n_rows,
                            i % (size_t)t->n_rows);
    CEL_ALLOC(t->metric, (size_t)t->n_metrics);
    for (int m = 0; m < t->n_metrics; m++) {
        CEL_TRY(read_column(&columns[m], m, &t->metric[m]));
        for (int other = 0; other < m; other++)
            if (!strcmp(t->metric[m].name, t->metric[other].name))
                return CEL_FAIL(CEL_FORMAT, "two columns are named %s", t->metric[m].name);
    }
    return CEL_OK;
}

cel_status cel_table_from_memory(const void *data, size_t n, cel_table **out) {
    cel_table *t;
    CEL_ALLOC(t, 1);
    cel_status status = read_table(data, n, t);
    if (status != CEL_OK) {
        cel_table_close(t);
        return status;
    }
    *out = t;
    return CEL_OK;
}

static cel_status map_file(const char *path, void **map, size_t *bytes) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return CEL_FAIL(errno == ENOENT ? CEL_NOTFOUND : CEL_IO, "cannot open: %m");
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(cel_table_header)) {
        close(fd);
        return CEL_FAIL(CEL_FORMAT, "not a table of cellar: no file, or too short for one");
    }
    *bytes = (size_t)st.st_size;
    *map = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (*map == MAP_FAILED) return CEL_FAIL(CEL_IO, "cannot map: %m");
    return CEL_OK;
}

static cel_status open_path(const char *path, cel_table **out) {
    void *map;
    size_t bytes;
    CEL_TRY(map_file(path, &map, &bytes));
    cel_status status = cel_table_from_memory(map, bytes, out);
    if (status != CEL_OK) {
        munmap(map, bytes);
        return status;
    }
    (*out)->map = map;
    (*out)->map_bytes = bytes;
    return CEL_OK;
}

cel_status cel_table_open(const char *path, cel_table **out) {
    char *shipped = NULL;
    if (!path) CEL_TRY(cel_data_find("nb201/nb201.table", &shipped));
    cel_status status = open_path(path ? path : shipped, out);
    if (status != CEL_OK) cel_status_prefix(status, "benchmark table %s", path ? path : shipped);
    cel_free(shipped);
    return status;
}

void cel_table_close(cel_table *table) {
    if (!table) return;
    if (table->map) munmap(table->map, table->map_bytes);
    cel_free(table->metric);
    cel_free(table);
}

int cel_table_count(const cel_table *table) { return table->n_rows; }
int cel_table_n_metrics(const cel_table *table) { return table->n_metrics; }
const cel_metric *cel_table_metric(const cel_table *table, int metric) { return &table->metric[metric]; }

/* --- metrics by name --- */

static const char *dataset_key(const char *name) {
    return !strcasecmp(name, "imagenet16-120") || !strcasecmp(name, "imagenet16_120") ? "imagenet16" : name;
}

/* "cifar10 test 200, cifar10 test 12" of one data set, or of all. */
static void list_accuracies(const cel_table *t, const char *dataset, char *list, size_t size) {
    size_t n = 0;
    *list = 0;
    for (int i = 0; i < t->n_metrics && n < size; i++) {
        const cel_metric *m = &t->metric[i];
        if (m->kind != CEL_METRIC_ACCURACY || (dataset && strcasecmp(m->dataset, dataset))) continue;
        n += (size_t)snprintf(list + n, size - n, "%s%s %s %d", n ? ", " : "", m->dataset, m->split, m->epochs);
    }
}

const char *cel_table_dataset_of(const char *source) {
    static const char *const datasets[] = {"cifar100", "cifar10", "imagenet16"}; /* the longer name first */
    for (size_t i = 0; i < CEL_COUNT(datasets); i++)
        if (!strncmp(source, datasets[i], strlen(datasets[i]))) return datasets[i];
    return NULL;
}

cel_status cel_table_find_accuracy(const cel_table *table, const char *dataset, const char *split, int epochs,
                                   int *metric) {
    const char *key = dataset_key(dataset);
    char list[1024];
    for (int i = 0; i < table->n_metrics; i++) {
        const cel_metric *m = &table->metric[i];
        if (m->kind != CEL_METRIC_ACCURACY || strcasecmp(m->dataset, key) || strcasecmp(m->split, split) ||
            m->epochs != epochs)
            continue;
        *metric = i;
        return CEL_OK;
    }
    list_accuracies(table, key, list, sizeof list);
    if (!*list) {
        list_accuracies(table, NULL, list, sizeof list);
        return CEL_FAIL(CEL_NOTFOUND, "the table has no data set \"%.40s\"; it has %s", dataset, list);
    }
    bool only_train = !strcasecmp(key, "cifar10") && !strcasecmp(split, "valid");
    return CEL_FAIL(CEL_NOTFOUND,
                    "the table has no accuracy of %.40s on %.40s after %d epochs; of this data set it has %s%s",
                    dataset, split, epochs, list,
                    only_train ? "; a CIFAR-10 network that leaves valid out is called cifar10-valid (cifar10-valid "
                                 "valid 12)"
                               : "");
}

cel_status cel_table_find_latency(const cel_table *table, const char *device, int *metric) {
    const char *names[CEL_TABLE_COLUMNS_MAX] = {NULL};
    char list[1024] = "";
    size_t n = 0;
    for (int i = 0; i < table->n_metrics; i++) {
        const cel_metric *m = &table->metric[i];
        if (m->kind != CEL_METRIC_LATENCY) continue;
        if (!strcasecmp(m->device, device)) {
            *metric = i;
            return CEL_OK;
        }
        names[i] = m->device;
        if (n < sizeof list) n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n ? ", " : "", m->device);
    }
    const char *near = cel_text_nearest(device, names, (size_t)table->n_metrics);
    return CEL_FAIL(CEL_NOTFOUND, "the table has no latency of device \"%.40s\"%s%s%s; it has %s", device,
                    near ? " (did you mean " : "", near ? near : "", near ? "?)" : "", list);
}

static bool three_words(const char *text, char word[3][32]) {
    static const char apart[] = " \t,/_";
    for (int i = 0; i < 3; i++) {
        text += strspn(text, apart);
        size_t n = strcspn(text, apart);
        if (!n || n >= sizeof word[i]) return false;
        memcpy(word[i], text, n);
        word[i][n] = 0;
        text += n;
    }
    return !text[strspn(text, apart)];
}

cel_status cel_table_find_metric(const cel_table *table, const char *name, int *metric) {
    const char *names[CEL_TABLE_COLUMNS_MAX];
    for (int i = 0; i < table->n_metrics; i++) {
        names[i] = table->metric[i].name;
        if (strcmp(names[i], name)) continue;
        *metric = i;
        return CEL_OK;
    }
    char word[3][32];
    int64_t epochs;
    if (three_words(name, word) && cel_text_to_int(word[2], &epochs) && epochs >= 0 && epochs <= INT32_MAX)
        return cel_table_find_accuracy(table, word[0], word[1], (int)epochs, metric);
    const char *near = cel_text_nearest(name, names, (size_t)table->n_metrics);
    char list[1024];
    list_accuracies(table, NULL, list, sizeof list);
    return CEL_FAIL(CEL_NOTFOUND,
                    "the table has no metric \"%.60s\"%s%s%s; it has %s (written cifar10_test_200 and so on), params_, "
                    "flops_ of cifar10, cifar100 and imagenet16, and latency_ of devices",
                    name, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "", list);
}

/* --- rows --- */

cel_status cel_table_find(const cel_table *table, const cel_genotype *g, int *index) {
    if (g->space != table->space)
        return CEL_FAIL(CEL_UNSUPPORTED, "the table holds %s, not the %s space", cel_topology_get(table->space)->label,
                        cel_topology_get(g->space)->label);
    return cel_nb201_index(g, index);
}

int cel_table_find_hash(const cel_table *table, uint64_t hash, int from) {
    for (int i = from; i < table->n_rows; i++)
        if (table->hash[i] == hash) return i;
    return -1;
}

uint64_t cel_table_hash(const cel_table *table, int index) { return table->hash[index]; }

void cel_table_genotype(const cel_table *table, int index, cel_genotype *out) {
    (void)table;
    cel_nb201_from_index(index, out);
}

static const double *column(const cel_table *t, int metric) { return t->value + (size_t)metric * (size_t)t->n_rows; }

double cel_table_value(const cel_table *table, int metric, int index) { return column(table, metric)[index]; }

int cel_table_rank(const cel_table *table, int metric, int index) {
    const double *v = column(table, metric), own = v[index];
    int better = 0;
    if (table->metric[metric].higher_is_better)
        for (int i = 0; i < table->n_rows; i++) better += v[i] > own;
    else
        for (int i = 0; i < table->n_rows; i++) better += v[i] < own;
    return better + 1;
}

double cel_table_percentile(const cel_table *table, int metric, int index) {
    return 100.0 * (table->n_rows - cel_table_rank(table, metric, index)) / (table->n_rows - 1);
}

int cel_table_best(const cel_table *table, int metric) {
    const double *v = column(table, metric);
    bool higher = table->metric[metric].higher_is_better;
    int best = 0;
    for (int i = 1; i < table->n_rows; i++)
        if (higher ? v[i] > v[best] : v[i] < v[best]) best = i;
    return best;
}

double cel_table_regret(const cel_table *table, int metric, int index) {
    const double *v = column(table, metric);
    return fabs(v[cel_table_best(table, metric)] - v[index]);
}

double cel_table_mean(const cel_table *table, int metric) {
    const double *v = column(table, metric);
    double sum = 0;
    for (int i = 0; i < table->n_rows; i++) sum += v[i];
    return sum / table->n_rows;
}

typedef struct sort_key {
    double value; /* smaller is better */
    int index;
} sort_key;

static int by_value(const void *a, const void *b) {
    const sort_key *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

cel_status cel_table_sort(const cel_table *table, int metric, int *order) {
    const double *v = column(table, metric);
    sort_key *keys;
    CEL_ALLOC(keys, (size_t)table->n_rows);
    for (int i = 0; i < table->n_rows; i++)
        keys[i] = (sort_key){table->metric[metric].higher_is_better ? -v[i] : v[i], i};
    qsort(keys, (size_t)table->n_rows, sizeof *keys, by_value);
    for (int i = 0; i < table->n_rows; i++) order[i] = keys[i].index;
    cel_free(keys);
    return CEL_OK;
}
