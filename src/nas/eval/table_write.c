/* Makes the file of a benchmark table from text: columns.csv says what each column is and in which CSV file it stands. */
#include <math.h>
#include <string.h>
#include <zlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "cellar/text.h"
#include "nas/eval/table_file.h"

enum { CSV_MAX_BYTES = 64 << 20 };

/* A CSV file without quotes: a header row, then rows of as many fields. */
typedef struct csv {
    char *path, *text, **cell; /* (1 + n_rows) * n_cols, header first */
    int n_rows, n_cols;
} csv;

static void csv_close(csv *f) {
    cel_free(f->path);
    cel_free(f->text);
    cel_free(f->cell);
    *f = (csv){0};
}

static cel_status csv_split(csv *f, size_t bytes) {
    size_t lines = 0;
    f->n_cols = 1;
    for (const char *p = f->text; *p && *p != '\n'; p++) f->n_cols += *p == ',';
    for (size_t i = 0; i < bytes; i++) lines += f->text[i] == '\n';
    if (strlen(f->text) != bytes || !bytes || f->text[bytes - 1] != '\n' || strchr(f->text, '"'))
        return CEL_FAIL(CEL_FORMAT, "%s: expected lines of fields without quotes, each ended by a newline", f->path);
    CEL_ALLOC(f->cell, lines * (size_t)f->n_cols);
    char *p = f->text;
    for (size_t line = 0; line < lines; line++)
        for (int c = 0; c < f->n_cols; c++) {
            size_t n = strcspn(p, ",\n");
            if ((p[n] == '\n') != (c == f->n_cols - 1))
                return CEL_FAIL(CEL_FORMAT, "%s, line %zu: expected %d fields as in the header", f->path, line + 1,
                                f->n_cols);
            f->cell[line * (size_t)f->n_cols + (size_t)c] = p;
            p[n] = 0;
            p += n + 1;
        }
    f->n_rows = (int)lines - 1;
    return CEL_OK;
}

static cel_status csv_open(const char *dir, const char *name, csv *f) {
    size_t bytes;
    f->path = cel_path_join(dir, name);
    if (!f->path) return CEL_FAIL(CEL_NOMEM, "out of memory: a path");
    CEL_TRY(cel_file_read(f->path, CSV_MAX_BYTES, &f->text, &bytes));
    return csv_split(f, bytes);
}

static cel_status csv_column(const csv *f, const char *name, int *out) {
    for (int c = 0; c < f->n_cols; c++)
        if (!strcmp(f->cell[c], name)) {
            *out = c;
            return CEL_OK;
        }
    return CEL_FAIL(CEL_FORMAT, "%s: no column \"%s\"", f->path, name);
}

static const char *csv_text(const csv *f, int row, int col) { return f->cell[(row + 1) * f->n_cols + col]; }

static cel_status csv_number(const csv *f, int row, int col, double *out) {
    if (cel_text_to_real(csv_text(f, row, col), out)) return CEL_OK;
    return CEL_FAIL(CEL_FORMAT, "%s, line %d, column %s: expected a number, found \"%.40s\"", f->path, row + 2,
                    f->cell[col], csv_text(f, row, col));
}

/* The field of columns.csv in `row` under `name`, copied with its end. */
static cel_status describe_text(const csv *f, int row, const char *name, char *out, size_t size) {
    int col;
    CEL_TRY(csv_column(f, name, &col));
    const char *text = csv_text(f, row, col);
    if (strlen(text) >= size)
        return CEL_FAIL(CEL_FORMAT, "%s, line %d: %s is longer than %zu characters", f->path, row + 2, name, size - 1);
    memcpy(out, text, strlen(text) + 1);
    return CEL_OK;
}

static cel_status describe_int(const csv *f, int row, const char *name, int32_t *out) {
    int col;
    double value;
    CEL_TRY(csv_column(f, name, &col));
    CEL_TRY(csv_number(f, row, col, &value));
    *out = (int32_t)value;
    return CEL_OK;
}

static cel_status describe_word(const csv *f, int row, const char *name, const char *const *words, int n,
                                int32_t *out) {
    char text[24];
    CEL_TRY(describe_text(f, row, name, text, sizeof text));
    for (*out = 0; *out < n; ++*out)
        if (!strcmp(text, words[*out])) return CEL_OK;
    return CEL_FAIL(CEL_FORMAT, "%s, line %d: unknown %s \"%s\"", f->path, row + 2, name, text);
}

static cel_status describe(const csv *f, int row, cel_table_column *c) {
    static const char *const kinds[CEL_METRIC_KINDS] = {[CEL_METRIC_ACCURACY] = "accuracy",
                                                        [CEL_METRIC_PARAMS] = "params",
                                                        [CEL_METRIC_FLOPS] = "flops",
                                                        [CEL_METRIC_LATENCY] = "latency",
                                                        [CEL_METRIC_CLASS] = "class"};
    static const char *const better[] = {"lower", "higher"};
    CEL_TRY(describe_text(f, row, "name", c->name, sizeof c->name));
    CEL_TRY(describe_text(f, row, "label", c->label, sizeof c->label));
    CEL_TRY(describe_text(f, row, "dataset", c->dataset, sizeof c->dataset));
    CEL_TRY(describe_text(f, row, "split", c->split, sizeof c->split));
    CEL_TRY(describe_text(f, row, "trained_on", c->trained_on, sizeof c->trained_on));
    CEL_TRY(describe_text(f, row, "unit", c->unit, sizeof c->unit));
    CEL_TRY(describe_text(f, row, "device", c->device, sizeof c->device));
    CEL_TRY(describe_int(f, row, "epochs", &c->epochs));
    CEL_TRY(describe_int(f, row, "seeds_min", &c->seeds_min));
    CEL_TRY(describe_int(f, row, "seeds_max", &c->seeds_max));
    CEL_TRY(describe_word(f, row, "kind", kinds, CEL_METRIC_KINDS, &c->kind));
    return describe_word(f, row, "better", better, 2, &c->higher_is_better);
}

/* Row k of each file is architecture k; where a file tells more of it, that must be what the library computes. */
static cel_status check_rows(const csv *f) {
    int index_col, arch_col, ops_col;
    if (f->n_rows != CEL_NB201_COUNT)
        return CEL_FAIL(CEL_FORMAT, "%s: %d rows, expected %d", f->path, f->n_rows, CEL_NB201_COUNT);
    CEL_TRY(csv_column(f, "index", &index_col));
    bool described = csv_column(f, "arch", &arch_col) == CEL_OK && csv_column(f, "ops", &ops_col) == CEL_OK;
    for (int row = 0; row < f->n_rows; row++) {
        int64_t index;
        cel_genotype g;
        char text[CEL_GENOTYPE_TEXT], digits[CEL_NB201_EDGES + 1] = "";
        if (!cel_text_to_int(csv_text(f, row, index_col), &index) || index != row)
            return CEL_FAIL(CEL_FORMAT, "%s, line %d: index \"%.20s\", expected %d", f->path, row + 2,
                            csv_text(f, row, index_col), row);
        if (!described) continue;
        CEL_TRY(cel_nb201_from_index(row, &g));
        cel_genotype_format(&g, text);
        for (int e = 0; e < CEL_NB201_EDGES; e++) digits[e] = (char)('0' + g.edge[e].op);
        if (strcmp(text, csv_text(f, row, arch_col)) || strcmp(digits, csv_text(f, row, ops_col)))
            return CEL_FAIL(CEL_FORMAT, "%s, line %d: \"%.140s\" (%.10s), expected \"%s\" (%s)", f->path, row + 2,
                            csv_text(f, row, arch_col), csv_text(f, row, ops_col), text, digits);
    }
    return CEL_OK;
}

/* Params, FLOPs and classes are computed anew; a class is the number of its hash in the order of first appearance. */
static cel_status check_column(const cel_table_column *c, const double *value, const uint64_t *hash) {
    cel_nb201_net net = {0};
    bool params = c->kind == CEL_METRIC_PARAMS, flops = c->kind == CEL_METRIC_FLOPS;
    if (params || flops) CEL_TRY(cel_nb201_net_find(c->dataset, &net));
    int classes = 0, *first;
    CEL_ALLOC(first, CEL_NB201_COUNT);
    cel_status status = CEL_OK;
    for (int row = 0; row < CEL_NB201_COUNT && status == CEL_OK; row++) {
        cel_genotype g;
        cel_arch_cost cost = {0, 0};
        double want = value[row];
        if (params || flops) {
            status = cel_nb201_from_index(row, &g);
            if (status == CEL_OK) status = cel_nb201_cost(&g, &net, &cost);
            want = (double)(params ? cost.params : cost.flops);
        } else if (c->kind == CEL_METRIC_CLASS) {
            int k = 0;
            while (k < classes && hash[first[k]] != hash[row]) k++;
            if (k == classes) first[classes++] = row;
            want = k;
        }
        if (status == CEL_OK && value[row] != want)
            status =
                CEL_FAIL(CEL_FORMAT, "%s of architecture %d is %.17g, computed %.17g", c->name, row, value[row], want);
    }
    cel_free(first);
    return status;
}

static cel_status fill(const char *dir, const csv *columns, cel_table_column *record, double *value, uint64_t *hash) {
    csv data = {0};
    char file[64], open_file[64] = "", source[64];
    cel_status status = CEL_OK;
    for (int row = 0; row < CEL_NB201_COUNT; row++) {
        cel_genotype g;
        CEL_TRY(cel_nb201_from_index(row, &g));
        hash[row] = cel_genotype_hash(&g);
    }
    for (int c = 0; c < columns->n_rows; c++, value += CEL_NB201_COUNT) {
        int col;
        CEL_TRY_GOTO(status, done, describe(columns, c, &record[c]));
        CEL_TRY_GOTO(status, done, describe_text(columns, c, "file", file, sizeof file));
        CEL_TRY_GOTO(status, done, describe_text(columns, c, "column", source, sizeof source));
        if (strcmp(file, open_file)) {
            csv_close(&data);
            CEL_TRY_GOTO(status, done, csv_open(dir, file, &data));
            CEL_TRY_GOTO(status, done, check_rows(&data));
            memcpy(open_file, file, sizeof file);
        }
        CEL_TRY_GOTO(status, done, csv_column(&data, source, &col));
        for (int row = 0; row < CEL_NB201_COUNT; row++)
            CEL_TRY_GOTO(status, done, csv_number(&data, row, col, &value[row]));
        status = check_column(&record[c], value, hash);
        if (status != CEL_OK) {
            cel_status_prefix(status, "%s", data.path);
            goto done;
        }
    }
done:
    csv_close(&data);
    return status;
}

cel_status cel_table_write(const char *dir, const char *path) {
    csv columns = {0};
    char *block = NULL;
    cel_status status;
    CEL_TRY_GOTO(status, done, csv_open(dir, "columns.csv", &columns));
    if (columns.n_rows < 1 || columns.n_rows > CEL_TABLE_COLUMNS_MAX) {
        status = CEL_FAIL(CEL_FORMAT, "%s: %d columns, expected 1 .. %d", columns.path, columns.n_rows,
                          CEL_TABLE_COLUMNS_MAX);
        goto done;
    }
    size_t n = (size_t)columns.n_rows;
    size_t bytes = sizeof(cel_table_header) + n * (sizeof(cel_table_column) + CEL_NB201_COUNT * sizeof(double)) +
                   CEL_NB201_COUNT * sizeof(uint64_t);
    block = cel_alloc(bytes, 1);
    if (!block) {
        status = CEL_FAIL(CEL_NOMEM, "out of memory: a table of %zu bytes", bytes);
        goto done;
    }
    cel_table_header *h = (void *)block;
    cel_table_column *record = (void *)(h + 1);
    double *value = (void *)(record + n);
    CEL_TRY_GOTO(status, done, fill(dir, &columns, record, value, (uint64_t *)(value + n * CEL_NB201_COUNT)));
    *h = (cel_table_header){.byte_order = CEL_TABLE_BYTE_ORDER,
                            .version = CEL_TABLE_VERSION,
                            .space = "nb201",
                            .n_rows = CEL_NB201_COUNT,
                            .n_columns = (uint32_t)n};
    memcpy(h->magic, CEL_TABLE_MAGIC, sizeof h->magic);
    h->checksum = (uint32_t)crc32_z(0, (const Bytef *)(h + 1), bytes - sizeof *h);
    status = cel_file_write_atomic(path, block, bytes);
done:
    cel_free(block);
    csv_close(&columns);
    return status;
}
