/* From a choice matrix to a genotype: softmax over what is still alive, pruning (DrNAS, arXiv:2006.10355, sec. 3.3: keep
 * the strongest operations of each edge), and discretisation (DARTS, arXiv:1806.09055, sec. 2.4: two edges a node, each
 * with its strongest operation). Differs from DARTS in that all ties go to the first candidate, whatever the rounding of
 * a sort. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cellar/arch.h"
#include "cellar/text.h"

static cel_status check_rows(const double *m, const uint8_t *live, int rows, int cols) {
    for (int r = 0; r < rows; r++) {
        int n = 0;
        for (int c = 0; c < cols; c++) {
            if (live && !live[r * cols + c]) continue;
            n++;
            if (!isfinite(m[r * cols + c]))
                return CEL_FAIL(CEL_DIVERGED, "choice matrix: row %d, column %d is %g: expected a finite number", r, c,
                                m[r * cols + c]);
        }
        if (!n) return CEL_FAIL(CEL_CONFIG, "choice matrix: row %d has no live operation, expected at least one", r);
    }
    return CEL_OK;
}

/* The column of a row's largest live entry. */
static int strongest(const double *row, const uint8_t *live, int cols) {
    int best = -1;
    for (int c = 0; c < cols; c++)
        if ((!live || live[c]) && (best < 0 || row[c] > row[best])) best = c;
    return best;
}

cel_status cel_choice_softmax(const double *alpha, const uint8_t *live, int rows, int cols, double *weights) {
    CEL_TRY(check_rows(alpha, live, rows, cols));
    for (int r = 0; r < rows; r++) {
        const double *a = alpha + r * cols;
        const uint8_t *on = live ? live + r * cols : NULL;
        double *w = weights + r * cols, top = a[strongest(a, on, cols)], sum = 0;
        for (int c = 0; c < cols; c++) sum += w[c] = !on || on[c] ? exp(a[c] - top) : 0;
        for (int c = 0; c < cols; c++) w[c] /= sum;
    }
    return CEL_OK;
}

cel_status cel_choice_prune(int rows, int cols, int keep, double *alpha, uint8_t *live) {
    CEL_TRY(check_rows(alpha, live, rows, cols));
    if (keep < 1) return CEL_FAIL(CEL_CONFIG, "prune: keep %d operations an edge, expected 1 .. %d", keep, cols);
    for (int r = 0; r < rows; r++) {
        uint8_t *on = live + r * cols;
        int n = 0;
        for (int c = 0; c < cols; c++) n += on[c] != 0;
        /* Dropping the weakest again and again leaves, of equals, the first. */
        for (; n > keep; n--) {
            int weakest = -1;
            for (int c = 0; c < cols; c++)
                if (on[c] && (weakest < 0 || alpha[r * cols + c] <= alpha[r * cols + weakest])) weakest = c;
            on[weakest] = 0;
        }
        for (int c = 0; c < cols; c++)
            if (!on[c]) alpha[r * cols + c] = 0;
    }
    return CEL_OK;
}

cel_status cel_genotype_derive(cel_arch_space space, const double *weights, const uint8_t *live, cel_genotype *out) {
    if ((unsigned)space >= CEL_ARCH_SPACE_COUNT) return CEL_FAIL(CEL_CONFIG, "derive: unknown space %d", (int)space);
    const cel_topology *t = cel_topology_get(space);
    CEL_TRY(check_rows(weights, live, t->n_cells * t->n_edges, t->n_ops));
    cel_genotype g = {.space = space};
    for (int cell = 0; cell < t->n_cells; cell++)
        for (int first = 0, next; first < t->n_edges; first = next) {
            bool taken[CEL_GENOTYPE_EDGES] = {false};
            for (next = first; next < t->n_edges && t->edges[next].to == t->edges[first].to;) next++;
            int degree = t->keep ? t->keep : next - first;
            for (int k = 0; k < degree; k++) {
                int best = -1, best_op = 0;
                double best_weight = 0;
                for (int e = first; e < next; e++) {
                    int row = (cell * t->n_edges + e) * t->n_ops;
                    int op = strongest(weights + row, live ? live + row : NULL, t->n_ops);
                    if (taken[e] || (best >= 0 && (!t->keep || weights[row + op] <= best_weight))) continue;
                    best = e, best_op = op, best_weight = weights[row + op];
                }
                taken[best] = true;
                g.edge[g.n++] =
                    (struct cel_genotype_edge){(uint8_t)cell, t->edges[best].from, t->edges[best].to, (uint8_t)best_op};
            }
        }
    *out = g;
    return CEL_OK;
}

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
