/* Choice matrices as text: plain numbers, JSON, and the lines of a run's metrics.jsonl. */
#include <jansson.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cellar/arch.h"
#include "cellar/text.h"

enum { ENTRIES_MAX = 4096 };

/* A matrix while it is read: `rows` are only counted to check that they are equally long. */
typedef struct reader {
    double value[ENTRIES_MAX];
    int n, rows, cols;
} reader;

static cel_status reader_add(reader *m, double value) {
    if (m->n == ENTRIES_MAX) return CEL_FAIL(CEL_FORMAT, "choice matrix: more than %d numbers", ENTRIES_MAX);
    m->value[m->n++] = value;
    return CEL_OK;
}

static cel_status reader_end_row(reader *m, int length) {
    if (!m->rows++) m->cols = length;
    if (length != m->cols)
        return CEL_FAIL(CEL_FORMAT, "choice matrix: row %d has %d numbers, expected %d as in the first row", m->rows,
                        length, m->cols);
    return CEL_OK;
}

static cel_status read_plain(const char *text, reader *m) {
    for (int line = 1; *text; line++) {
        size_t end = strcspn(text, "\n");
        int length = 0;
        for (size_t at = 0; at < end && text[at] != '#';) {
            size_t n = strcspn(text + at, " \t\r,;#\n");
            if (n) {
                char word[64] = "";
                double value;
                if (n < sizeof word) memcpy(word, text + at, n);
                if (!cel_text_to_real(word, &value))
                    return CEL_FAIL(CEL_FORMAT,
                                    "choice matrix, line %d, character %zu: expected a number, found \"%.*s\"", line,
                                    at + 1, n < 24 ? (int)n : 24, text + at);
                CEL_TRY(reader_add(m, value));
                length++;
            }
            at += n;
            at += at < end && text[at] != '#';
        }
        if (length) CEL_TRY(reader_end_row(m, length));
        text += end + (text[end] == '\n');
    }
    return CEL_OK;
}

static cel_status read_json(const json_t *array, const char *name, reader *m) {
    const json_t *row, *item;
    size_t r, c;
    if (!json_is_array(array))
        return CEL_FAIL(CEL_FORMAT, "choice matrix: \"%s\" is missing or no array: expected one of rows of numbers",
                        name);
    json_array_foreach(array, r, row) {
        if (!json_is_array(row)) return CEL_FAIL(CEL_FORMAT, "choice matrix: \"%s\", row %zu is no array", name, r + 1);
        json_array_foreach(row, c, item) {
            if (!json_is_number(item))
                return CEL_FAIL(CEL_FORMAT, "choice matrix: \"%s\", row %zu, entry %zu is no number", name, r + 1,
                                c + 1);
            CEL_TRY(reader_add(m, json_number_value(item)));
        }
        CEL_TRY(reader_end_row(m, (int)json_array_size(row)));
    }
    return CEL_OK;
}

static cel_status read_text(const char *text, reader *m, reader *live) {
    size_t start = strspn(text, " \t\r\n");
    if (text[start] != '[' && text[start] != '{') return read_plain(text, m);
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!json)
        return CEL_FAIL(CEL_FORMAT, "choice matrix: line %d, column %d: %s", error.line, error.column, error.text);
    cel_status status = CEL_OK;
    if (json_is_object(json)) {
        CEL_TRY_GOTO(status, done, read_json(json_object_get(json, "concentration"), "concentration", m));
        if (json_object_get(json, "live"))
            CEL_TRY_GOTO(status, done, read_json(json_object_get(json, "live"), "live", live));
    } else {
        CEL_TRY_GOTO(status, done, read_json(json, "matrix", m));
    }
done:
    json_decref(json);
    return status;
}

/* The space whose matrix has this many entries, in its own rows or all in one. */
static cel_status find_space(const reader *m, cel_arch_space *out) {
    for (int s = 0; s < CEL_ARCH_SPACE_COUNT; s++) {
        const cel_topology *t = cel_topology_get((cel_arch_space)s);
        if (m->n != t->n_cells * t->n_edges * t->n_ops || (m->rows > 1 && m->cols != t->n_ops)) continue;
        *out = (cel_arch_space)s;
        return CEL_OK;
    }
    return CEL_FAIL(CEL_FORMAT,
                    "choice matrix: %d rows of %d numbers (%d in all) fit no space: NAS-Bench-201 has 6 x 5, DARTS "
                    "28 x 7 (14 rows of the normal cell, then 14 of the reduction cell)",
                    m->rows, m->cols, m->n);
}

cel_status cel_choice_parse(const char *text, cel_arch_space *space, double **matrix, uint8_t **live) {
    reader *m = cel_alloc(2, sizeof *m), *mask = m + 1;
    if (!m) return CEL_FAIL(CEL_NOMEM, "out of memory: a choice matrix");
    cel_status status;
    *matrix = NULL;
    *live = NULL;
    CEL_TRY_GOTO(status, done, read_text(text, m, mask));
    CEL_TRY_GOTO(status, done, find_space(m, space));
    if (mask->n && (mask->n != m->n || mask->cols != m->cols)) {
        status =
            CEL_FAIL(CEL_FORMAT, "choice matrix: \"live\" has %d entries, expected %d as in the matrix", mask->n, m->n);
        goto done;
    }
    *matrix = cel_alloc((size_t)m->n, sizeof **matrix);
    *live = cel_alloc((size_t)m->n, sizeof **live);
    if (!*matrix || !*live) {
        status = CEL_FAIL(CEL_NOMEM, "out of memory: a choice matrix of %d entries", m->n);
        goto done;
    }
    memcpy(*matrix, m->value, (size_t)m->n * sizeof **matrix);
    for (int i = 0; i < m->n; i++) (*live)[i] = !mask->n || mask->value[i] != 0;
done:
    if (status != CEL_OK) {
        cel_free(*matrix);
        cel_free(*live);
        *matrix = NULL;
        *live = NULL;
    }
    cel_free(m);
    return status;
}

/* The line of an epoch, its newline cut off; lines without newline are torn and do not count. */
static cel_status find_epoch(char *text, int epoch, char **out) {
    char *found = NULL;
    for (char *end; (end = strchr(text, '\n')); text = end + 1) {
        *end = 0;
        if (epoch < 0) {
            found = text;
            continue;
        }
        json_t *json = json_loads(text, 0, NULL);
        const json_t *number = json_object_get(json, "epoch");
        if (json_is_integer(number) && json_integer_value(number) == epoch) found = text;
        json_decref(json);
    }
    if (!found && epoch < 0) return CEL_FAIL(CEL_FORMAT, "no epoch is finished");
    if (!found) return CEL_FAIL(CEL_NOTFOUND, "no epoch %d", epoch);
    *out = found;
    return CEL_OK;
}

enum { MATRIX_MAX_BYTES = 1 << 20, METRICS_MAX_BYTES = 1 << 28 };

cel_status cel_choice_read(const char *path, int epoch, cel_arch_space *space, double **matrix, uint8_t **live) {
    bool run = cel_path_is_dir(path);
    char *file = run ? cel_path_join(path, "metrics.jsonl") : cel_strdup(path), *text = NULL, *from;
    size_t bytes;
    cel_status status;
    if (!file) return CEL_FAIL(CEL_NOMEM, "out of memory: a path");
    CEL_TRY_GOTO(status, done, cel_file_read(file, run ? METRICS_MAX_BYTES : MATRIX_MAX_BYTES, &text, &bytes));
    from = text;
    if (strlen(text) != bytes)
        status = CEL_FAIL(CEL_FORMAT, "zero byte at offset %zu: not text", strlen(text));
    else if (run)
        status = find_epoch(text, epoch, &from);
    if (status == CEL_OK) status = cel_choice_parse(from, space, matrix, live);
    if (status != CEL_OK) cel_status_prefix(status, "%s", file);
done:
    cel_free(file);
    cel_free(text);
    return status;
}
