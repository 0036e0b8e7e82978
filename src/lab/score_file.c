/* Files of scores; see score_file.h. */
#include "lab/score_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cellar/text.h"

typedef struct {
    const char *at, *end;
    int number;
} reader;

/* The next line that has an end; false when there is none. */
static bool next_line(reader *r, const char **line, size_t *n) {
    const char *stop = r->at < r->end ? memchr(r->at, '\n', (size_t)(r->end - r->at)) : NULL;
    if (!stop) return false;
    *line = r->at;
    *n = (size_t)(stop - r->at);
    r->at = stop + 1;
    r->number++;
    return true;
}

static const char *bare(const char *line, size_t n, char out[128]) {
    while (n && (*line == '#' || *line == ' ')) line++, n--;
    snprintf(out, 128, "%.*s", (int)(n < 120 ? n : 120), line);
    return out;
}

static cel_status check_head(const char *name, reader *r, const char *head) {
    reader want = {head, head + strlen(head), 0};
    const char *line, *found;
    size_t n, n_found;
    while (next_line(&want, &line, &n)) {
        char a[128], b[128];
        bool whole = next_line(r, &found, &n_found);
        if (whole && n == n_found && !memcmp(line, found, n)) continue;
        if (!whole) {
            found = r->at;
            n_found = (size_t)(r->end - r->at);
            if (n_found <= n && !memcmp(line, found, n_found)) return CEL_OK; /* cut short while it was begun */
            r->number++;
        }
        return CEL_FAIL(
            CEL_CONFIG,
            "%s:%d: the scores in it were made with \"%s\", this is \"%s\": go on with the same settings, or "
            "name another file",
            name, r->number, bare(found, n_found, b), bare(line, n, a));
    }
    return CEL_OK;
}

static cel_status parse_row(const char *name, int number, char *row, int want, int n_columns, double *values) {
    cel_genotype g;
    int64_t index;
    int found;
    char *field[64 + 2];
    int n = 0;
    for (char *at = row; n < (int)CEL_COUNT(field); n++) {
        field[n] = at;
        at = strchr(at, ',');
        if (!at) {
            n++;
            break;
        }
        *at++ = 0;
    }
    if (n != n_columns + 2)
        return CEL_FAIL(CEL_FORMAT, "%s:%d: %d fields, expected %d", name, number, n, n_columns + 2);
    if (!cel_text_to_int(field[0], &index) || index != want)
        return CEL_FAIL(CEL_FORMAT, "%s:%d: cell \"%.20s\", expected %d", name, number, field[0], want);
    cel_status status = cel_genotype_parse(field[1], &g);
    if (status == CEL_OK) status = cel_nb201_index(&g, &found);
    if (status != CEL_OK) return cel_status_prefix(status, "%s:%d", name, number);
    if (found != want)
        return CEL_FAIL(CEL_FORMAT, "%s:%d: the architecture is %d, expected %d", name, number, found, want);
    for (int c = 0; c < n_columns; c++) {
        values[c] = NAN;
        if (*field[c + 2] && !cel_text_to_real(field[c + 2], &values[c]))
            return CEL_FAIL(CEL_FORMAT, "%s:%d: field %d: expected a number or nothing, found \"%.40s\"", name, number,
                            c + 3, field[c + 2]);
    }
    return CEL_OK;
}

cel_status cel_score_file_parse(const char *name, const char *text, size_t n, const char *head, const int *index,
                                int n_cells, int n_columns, double *values, int *n_done) {
    reader r = {text, text + n, 0};
    const char *line;
    size_t length;
    *n_done = 0;
    CEL_TRY(check_head(name, &r, head));
    while (next_line(&r, &line, &length)) {
        if (*n_done == n_cells) return CEL_FAIL(CEL_FORMAT, "%s:%d: more than %d cells", name, r.number, n_cells);
        char *row = cel_strndup(line, length);
        if (!row) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", name);
        cel_status status =
            parse_row(name, r.number, row, index[*n_done], n_columns, values + (size_t)*n_done * (size_t)n_columns);
        cel_free(row);
        CEL_TRY(status);
        ++*n_done;
    }
    return CEL_OK;
}

cel_status cel_score_file_line(int index, const cel_genotype *g, const double *values, int n_columns, char **out) {
    char text[CEL_GENOTYPE_TEXT + 32 + 64 * (CEL_REAL_TEXT + 1)], arch[CEL_GENOTYPE_TEXT];
    cel_genotype_format(g, arch);
    size_t used = (size_t)snprintf(text, sizeof text, "%d,%s", index, arch);
    for (int c = 0; c < n_columns; c++) {
        char number[CEL_REAL_TEXT] = "";
        if (!isnan(values[c])) cel_text_from_real(values[c], number);
        used += (size_t)snprintf(text + used, sizeof text - used, ",%s", number);
    }
    *out = cel_strdup(text);
    return *out ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory: a line of scores");
}
