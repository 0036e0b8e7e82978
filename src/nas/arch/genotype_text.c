/* The texts of genotypes: NAS-Bench-201's |op~0|+... and Python's Genotype(...) of the DARTS family. */
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cellar/arch.h"
#include "cellar/text.h"

typedef struct cursor {
    const char *text, *at;
} cursor;

enum { SHOWN = 24, NAME_MAX_LENGTH = 40 };

/* What stands at the cursor, fit for a message. */
static const char *found(const char *at, size_t n, char out[SHOWN + 8]) {
    if (!*at) return "the end of the text";
    size_t i = 0;
    out[i++] = '"';
    for (; i <= SHOWN && i <= n && at[i - 1]; i++) {
        unsigned char c = (unsigned char)at[i - 1];
        out[i] = isprint(c) ? (char)c : '?';
    }
    out[i++] = '"';
    out[i] = 0;
    return out;
}

static cel_status expected(const cursor *c, const char *what) {
    char shown[SHOWN + 8];
    return CEL_FAIL(CEL_FORMAT, "genotype, character %zu: expected %s, found %s", (size_t)(c->at - c->text) + 1, what,
                    found(c->at, SHOWN, shown));
}

static cel_status literal(cursor *c, const char *word) {
    size_t n = strlen(word);
    if (strncmp(c->at, word, n)) {
        char what[SHOWN + 8];
        return expected(c, found(word, SHOWN, what));
    }
    c->at += n;
    return CEL_OK;
}

/* A name of [A-Za-z0-9_]; all operations of the space are listed when it is none of them. */
static cel_status op_name(cursor *c, const cel_topology *t, uint8_t *op) {
    char name[NAME_MAX_LENGTH], list[160];
    size_t n = 0, length = 0;
    while (isalnum((unsigned char)c->at[n]) || c->at[n] == '_') n++;
    for (int i = 0; i < t->n_ops; i++) {
        if (strlen(t->op_names[i]) == n && !memcmp(t->op_names[i], c->at, n)) {
            *op = (uint8_t)i;
            c->at += n;
            return CEL_OK;
        }
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%s", i ? ", " : "", t->op_names[i]);
    }
    char shown[SHOWN + 8];
    snprintf(name, sizeof name, "%.*s", n < sizeof name ? (int)n : 0, c->at);
    const char *near = cel_text_nearest(name, t->op_names, (size_t)t->n_ops);
    return CEL_FAIL(CEL_FORMAT, "genotype, character %zu: expected an operation of %s (%s), found %s%s%s%s",
                    (size_t)(c->at - c->text) + 1, t->label, list, found(c->at, n ? n : SHOWN, shown),
                    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static cel_status parse_nb201(cursor *c, cel_genotype *out) {
    const cel_topology *t = cel_topology_get(CEL_ARCH_NB201);
    cel_genotype g = {.space = CEL_ARCH_NB201};
    for (uint8_t to = 1; to < t->n_nodes; to++) {
        CEL_TRY(literal(c, to > 1 ? "+|" : "|"));
        for (uint8_t from = 0; from < to; from++) {
            uint8_t op;
            char input[] = {'~', (char)('0' + from), '|', 0};
            CEL_TRY(op_name(c, t, &op));
            CEL_TRY(literal(c, input));
            g.edge[g.n++] = (struct cel_genotype_edge){0, from, to, op};
        }
    }
    if (*c->at) return expected(c, "the end of the text");
    *out = g;
    return CEL_OK;
}

static void blanks(cursor *c) {
    while (*c->at && strchr(" \t\r\n", *c->at)) c->at++;
}

/* A token of Python, blanks around it allowed. */
static cel_status token(cursor *c, const char *word) {
    blanks(c);
    CEL_TRY(literal(c, word));
    blanks(c);
    return CEL_OK;
}

static cel_status darts_edge(cursor *c, const cel_topology *t, struct cel_genotype_edge *e) {
    CEL_TRY(token(c, "("));
    char quote[] = {*c->at == '"' ? '"' : '\'', 0};
    CEL_TRY(literal(c, quote));
    CEL_TRY(op_name(c, t, &e->op));
    CEL_TRY(literal(c, quote));
    CEL_TRY(token(c, ","));
    char what[64];
    snprintf(what, sizeof what, "an input of node %d (0 .. %d)", e->to, e->to - 1);
    if (*c->at < '0' || *c->at >= '0' + e->to || isdigit((unsigned char)c->at[1])) return expected(c, what);
    e->from = (uint8_t)(*c->at++ - '0');
    return token(c, ")");
}

static cel_status darts_concat(cursor *c, const char *name, const cel_topology *t) {
    CEL_TRY(token(c, name));
    CEL_TRY(token(c, "="));
    bool range = *c->at == 'r', list = *c->at == '[';
    CEL_TRY(token(c, range ? "range" : "["));
    if (range) CEL_TRY(token(c, "("));
    for (int node = t->n_inputs; node <= t->n_nodes; node += range ? t->n_nodes - t->n_inputs : 1) {
        if (node == t->n_nodes && list) break;
        char number[] = {(char)('0' + node), 0};
        if (node > t->n_inputs) CEL_TRY(token(c, ","));
        CEL_TRY(token(c, number));
    }
    return token(c, range ? ")" : "]");
}

static cel_status parse_darts(cursor *c, cel_genotype *out) {
    const cel_topology *t = cel_topology_get(CEL_ARCH_DARTS);
    cel_genotype g = {.space = CEL_ARCH_DARTS};
    CEL_TRY(token(c, "Genotype"));
    CEL_TRY(token(c, "("));
    for (uint8_t cell = 0; cell < t->n_cells; cell++) {
        char concat[16];
        snprintf(concat, sizeof concat, "%s_concat", t->cell_names[cell]);
        if (cell) CEL_TRY(token(c, ","));
        CEL_TRY(token(c, t->cell_names[cell]));
        CEL_TRY(token(c, "="));
        CEL_TRY(token(c, "["));
        for (uint8_t node = (uint8_t)t->n_inputs; node < t->n_nodes; node++)
            for (int k = 0; k < t->keep; k++) {
                struct cel_genotype_edge e = {.cell = cell, .to = node};
                if (node > t->n_inputs || k) CEL_TRY(token(c, ","));
                const char *start = c->at;
                CEL_TRY(darts_edge(c, t, &e));
                if (k && e.from == g.edge[g.n - 1].from)
                    return CEL_FAIL(
                        CEL_FORMAT,
                        "genotype, character %zu: node %d of the %s cell takes input %d twice: expected two "
                        "different inputs",
                        (size_t)(start - c->text) + 1, node, t->cell_names[cell], e.from);
                g.edge[g.n++] = e;
            }
        CEL_TRY(token(c, "]"));
        CEL_TRY(token(c, ","));
        CEL_TRY(darts_concat(c, concat, t));
    }
    CEL_TRY(token(c, ")"));
    if (*c->at) return expected(c, "the end of the text");
    *out = g;
    return CEL_OK;
}

cel_status cel_genotype_parse(const char *text, cel_genotype *out) {
    cursor c = {text, text};
    if (*text == '|') return parse_nb201(&c, out);
    blanks(&c);
    if (*c.at == 'G') return parse_darts(&c, out);
    c.at = text;
    return expected(&c, "an architecture: |op~0|+|op~0|op~1|+|op~0|op~1|op~2| of NAS-Bench-201, or Genotype(...) of "
                        "DARTS");
}

void cel_genotype_format(const cel_genotype *g, char text[CEL_GENOTYPE_TEXT]) {
    const cel_topology *t = cel_topology_get(g->space);
    size_t n = 0;
#define PUT(...)                                                                                                       \
    do {                                                                                                               \
        n += (size_t)snprintf(text + n, CEL_GENOTYPE_TEXT - n, __VA_ARGS__);                                           \
        assert(n < CEL_GENOTYPE_TEXT);                                                                                 \
    } while (0)
    if (g->space == CEL_ARCH_NB201) {
        for (int e = 0; e < g->n; e++)
            PUT("%s%s~%d|", g->edge[e].from ? "" : e ? "+|" : "|", t->op_names[g->edge[e].op], g->edge[e].from);
        return;
    }
    PUT("Genotype(");
    for (int cell = 0, e = 0; cell < t->n_cells; cell++) {
        PUT("%s%s=[", cell ? ", " : "", t->cell_names[cell]);
        for (int first = e; e < g->n && g->edge[e].cell == cell; e++)
            PUT("%s('%s', %d)", e > first ? ", " : "", t->op_names[g->edge[e].op], g->edge[e].from);
        PUT("], %s_concat=range(%d, %d)", t->cell_names[cell], t->n_inputs, t->n_nodes);
    }
    PUT(")");
#undef PUT
}
