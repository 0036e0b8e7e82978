/* Conditions over the rows of a benchmark table: a recursive-descent parser into a small tree that is walked row by row.
 * A condition can only read columns; its length, depth and size are bounded. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cellar/table.h"
#include "cellar/text.h"

enum { TEXT_MAX = 4096, NODES_MAX = 512, DEPTH_MAX = 64, DERIVED_MAX = 32, WORD_MAX = 64 };

typedef enum node_kind {
    NUMBER,
    METRIC,
    DERIVED,
    INDEX,
    NEGATE,
    ADD,
    SUBTRACT,
    MULTIPLY,
    DIVIDE,
    LESS,
    LESS_EQUAL,
    GREATER,
    GREATER_EQUAL,
    EQUAL,
    NOT_EQUAL,
    AND,
    OR,
    NOT
} node_kind;

/* Comparisons and what joins them are truths, the rest are numbers: the two never mix. */
static bool is_truth(node_kind kind) { return kind >= LESS; }

typedef struct node {
    node_kind kind;
    int left, right; /* nodes; the metric of METRIC, the list of DERIVED */
    double number;
} node;

struct cel_where {
    const cel_table *table;
    int n_nodes, n_derived, root;
    node node[NODES_MAX];
    double *derived[DERIVED_MAX]; /* a value for each row: rank(..), count(..) */
};

typedef struct parser {
    cel_where *w;
    const char *text, *at;
    int depth;
} parser;

static void blanks(parser *p) {
    while (*p->at && strchr(" \t\r\n", *p->at)) p->at++;
}

static size_t word_length(const char *at) {
    size_t n = 0;
    while (isalnum((unsigned char)at[n]) || at[n] == '_') n++;
    return n;
}

/* `at` for a message: its word, its first character, or the end. */
static const char *found(const char *at, char out[WORD_MAX]) {
    size_t n = word_length(at);
    if (!*at) return "the end";
    if (!n) n = 1;
    if (n > WORD_MAX - 4) n = WORD_MAX - 4;
    snprintf(out, WORD_MAX, "\"%.*s\"", (int)n, at);
    if (!isprint((unsigned char)*at)) snprintf(out, WORD_MAX, "byte 0x%02x", (unsigned char)*at);
    return out;
}

static cel_status expected(const parser *p, const char *at, const char *what) {
    char shown[WORD_MAX];
    return CEL_FAIL(CEL_CONFIG, "condition, character %zu: expected %s, found %s", (size_t)(at - p->text) + 1, what,
                    found(at, shown));
}

static cel_status add(parser *p, node_kind kind, int left, int right, double number, int *out) {
    if (p->w->n_nodes == NODES_MAX)
        return CEL_FAIL(CEL_CONFIG, "condition, character %zu: longer than %d numbers, names and signs",
                        (size_t)(p->at - p->text) + 1, NODES_MAX);
    p->w->node[p->w->n_nodes] = (node){kind, left, right, number};
    *out = p->w->n_nodes++;
    return CEL_OK;
}

static bool take(parser *p, const char *sign) {
    blanks(p);
    size_t n = strlen(sign);
    if (strncmp(p->at, sign, n)) return false;
    if (isalpha((unsigned char)*sign) && word_length(p->at) != n) return false;
    p->at += n;
    return true;
}

static cel_status want_kind(parser *p, int at_node, const char *at, bool truth) {
    if (is_truth(p->w->node[at_node].kind) == truth) return CEL_OK;
    return CEL_FAIL(CEL_CONFIG, "condition, character %zu: expected a %s", (size_t)(at - p->text) + 1,
                    truth ? "comparison such as params < 0.5M, found a mere number"
                          : "number, found a comparison; join comparisons by and");
}

static cel_status parse_or(parser *p, int *out);
static cel_status parse_sum(parser *p, int *out);

static cel_status number(parser *p, int *out) {
    static const struct {
        const char *suffix;
        double factor;
    } units[] = {{"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"ms", 1}, {"", 1}};
    char digits[WORD_MAX];
    size_t n = 0;
    double value;
    while (isdigit((unsigned char)p->at[n]) || p->at[n] == '.' ||
           ((p->at[n] == 'e' || p->at[n] == 'E') &&
            (isdigit((unsigned char)p->at[n + 1]) ||
             ((p->at[n + 1] == '-' || p->at[n + 1] == '+') && isdigit((unsigned char)p->at[n + 2])))) ||
           (n && (p->at[n] == '-' || p->at[n] == '+') && (p->at[n - 1] == 'e' || p->at[n - 1] == 'E')))
        n++;
    snprintf(digits, sizeof digits, "%.*s", n < sizeof digits ? (int)n : 0, p->at);
    if (!cel_text_to_real(digits, &value)) return expected(p, p->at, "a number");
    p->at += n;
    size_t length = word_length(p->at);
    if (*p->at == '%') {
        p->at++;
        return add(p, NUMBER, 0, 0, value, out);
    }
    for (size_t i = 0; i < CEL_COUNT(units); i++)
        if (strlen(units[i].suffix) == length && !strncmp(units[i].suffix, p->at, length)) {
            p->at += length;
            return add(p, NUMBER, 0, 0, value * units[i].factor, out);
        }
    return expected(p, p->at, "a unit (k, M, G, % or ms)");
}

static cel_status word(parser *p, const char *what, char out[WORD_MAX]) {
    blanks(p);
    size_t n = word_length(p->at);
    if (!n || n >= WORD_MAX) return expected(p, p->at, what);
    memcpy(out, p->at, n);
    out[n] = 0;
    p->at += n;
    return CEL_OK;
}

static cel_status metric(parser *p, const char *name, const char *at, int *out) {
    const cel_table *t = p->w->table;
    const char *names[1024 + 3];
    size_t n = 0;
    if (!strcmp(name, "params") || !strcmp(name, "flops")) {
        char full[WORD_MAX];
        snprintf(full, sizeof full, "%s_cifar10", name);
        return cel_table_find_metric(t, full, out);
    }
    for (int i = 0; i < cel_table_n_metrics(t); i++) {
        names[n++] = cel_table_metric(t, i)->name;
        if (strcmp(names[i], name)) continue;
        *out = i;
        return CEL_OK;
    }
    names[n++] = "params", names[n++] = "flops", names[n++] = "index";
    const char *near = cel_text_nearest(name, names, n);
    char shown[WORD_MAX];
    return CEL_FAIL(CEL_CONFIG,
                    "condition, character %zu: expected a metric of the table (cifar10_test_200, params, flops, "
                    "latency_pixel3, ...), found %s%s%s%s",
                    (size_t)(at - p->text) + 1, found(at, shown), near ? "; did you mean " : "", near ? near : "",
                    near ? "?" : "");
}

static cel_status fill_ranks(const cel_table *t, int m, bool percentile, double *value) {
    int n = cel_table_count(t), *order;
    CEL_ALLOC(order, (size_t)n);
    cel_status status = cel_table_sort(t, m, order);
    for (int i = 0, rank = 1; status == CEL_OK && i < n; i++) {
        if (i && cel_table_value(t, m, order[i]) != cel_table_value(t, m, order[i - 1])) rank = i + 1;
        value[order[i]] = percentile ? 100.0 * (n - rank) / (n - 1) : rank;
    }
    cel_free(order);
    return status;
}

static cel_status fill_counts(parser *p, const char *op, const char *at, double *value) {
    const cel_table *t = p->w->table;
    const cel_topology *space = cel_topology_get(CEL_ARCH_NB201);
    int column = 0;
    while (column < space->n_ops && strcmp(space->op_names[column], op)) column++;
    if (column == space->n_ops) {
        const char *near = cel_text_nearest(op, space->op_names, (size_t)space->n_ops);
        return CEL_FAIL(CEL_CONFIG, "condition, character %zu: expected an operation, found \"%s\"%s%s%s",
                        (size_t)(at - p->text) + 1, op, near ? "; did you mean " : "", near ? near : "",
                        near ? "?" : "");
    }
    for (int i = 0; i < cel_table_count(t); i++) {
        cel_genotype g;
        cel_table_genotype(t, i, &g);
        for (int e = 0; e < g.n; e++) value[i] += g.edge[e].op == column;
    }
    return CEL_OK;
}

/* name(argument), the name already read. */
static cel_status function(parser *p, const char *name, const char *at, int *out) {
    static const char *const names[] = {"rank", "percentile", "regret", "count"};
    cel_where *w = p->w;
    char argument[WORD_MAX];
    int m = 0;
    size_t which = 0;
    while (which < CEL_COUNT(names) && strcmp(names[which], name)) which++;
    if (which == CEL_COUNT(names)) return expected(p, at, "one of rank(), percentile(), regret(), count()");
    if (w->n_derived == DERIVED_MAX)
        return CEL_FAIL(CEL_CONFIG, "condition, character %zu: more than %d functions", (size_t)(at - p->text) + 1,
                        DERIVED_MAX);
    blanks(p);
    const char *inside = p->at;
    CEL_TRY(word(p, which == 3 ? "an operation" : "a metric", argument));
    if (which < 3) CEL_TRY(metric(p, argument, inside, &m));
    if (!take(p, ")")) return expected(p, p->at, "\")\"");
    double *value;
    CEL_ALLOC(value, (size_t)cel_table_count(w->table));
    w->derived[w->n_derived++] = value;
    if (which == 3) CEL_TRY(fill_counts(p, argument, inside, value));
    if (which < 2) CEL_TRY(fill_ranks(w->table, m, which == 1, value));
    double best = cel_table_value(w->table, m, cel_table_best(w->table, m));
    for (int i = 0; which == 2 && i < cel_table_count(w->table); i++) {
        double d = best - cel_table_value(w->table, m, i);
        value[i] = d < 0 ? -d : d;
    }
    return add(p, DERIVED, w->n_derived - 1, 0, 0, out);
}

static cel_status primary(parser *p, int *out) {
    blanks(p);
    const char *at = p->at;
    if (p->depth == DEPTH_MAX)
        return CEL_FAIL(CEL_CONFIG, "condition, character %zu: nested deeper than %d", (size_t)(at - p->text) + 1,
                        DEPTH_MAX);
    p->depth++;
    if (take(p, "(")) {
        CEL_TRY(parse_or(p, out));
        if (!take(p, ")")) return expected(p, p->at, "\")\"");
    } else if (take(p, "-")) {
        int operand;
        blanks(p);
        const char *start = p->at;
        CEL_TRY(primary(p, &operand));
        CEL_TRY(want_kind(p, operand, start, false));
        CEL_TRY(add(p, NEGATE, operand, 0, 0, out));
    } else if (isdigit((unsigned char)*at) || *at == '.') {
        CEL_TRY(number(p, out));
    } else {
        char name[WORD_MAX];
        CEL_TRY(word(p, "a metric, a number or \"(\"", name));
        if (take(p, "(")) {
            CEL_TRY(function(p, name, at, out));
        } else if (!strcmp(name, "index")) {
            CEL_TRY(add(p, INDEX, 0, 0, 0, out));
        } else {
            int m;
            CEL_TRY(metric(p, name, at, &m));
            CEL_TRY(add(p, METRIC, m, 0, 0, out));
        }
    }
    p->depth--;
    return CEL_OK;
}

typedef cel_status parse_fn(parser *p, int *out);
typedef struct sign {
    const char *text;
    node_kind kind;
} sign;

/* operand (sign operand)*, of numbers or of truths. */
static cel_status chain(parser *p, parse_fn *operand, const sign *signs, int n, bool truth, int *out) {
    blanks(p);
    const char *start = p->at;
    CEL_TRY(operand(p, out));
    for (;;) {
        int i = 0, right;
        while (i < n && !take(p, signs[i].text)) i++;
        if (i == n) return CEL_OK;
        CEL_TRY(want_kind(p, *out, start, truth));
        blanks(p);
        start = p->at;
        CEL_TRY(operand(p, &right));
        CEL_TRY(want_kind(p, right, start, truth));
        CEL_TRY(add(p, signs[i].kind, *out, right, 0, out));
    }
}

static cel_status parse_product(parser *p, int *out) {
    static const sign signs[] = {{"*", MULTIPLY}, {"/", DIVIDE}};
    return chain(p, primary, signs, 2, false, out);
}

static cel_status parse_sum(parser *p, int *out) {
    static const sign signs[] = {{"+", ADD}, {"-", SUBTRACT}};
    return chain(p, parse_product, signs, 2, false, out);
}

static cel_status parse_comparison(parser *p, int *out) {
    static const sign signs[] = {{"<=", LESS_EQUAL}, {">=", GREATER_EQUAL}, {"!=", NOT_EQUAL}, {"==", EQUAL},
                                 {"<", LESS},        {">", GREATER},        {"=", EQUAL}};
    return chain(p, parse_sum, signs, (int)CEL_COUNT(signs), false, out);
}

static cel_status parse_not(parser *p, int *out) {
    blanks(p);
    if (!take(p, "not")) return parse_comparison(p, out);
    int operand;
    blanks(p);
    const char *start = p->at;
    if (p->depth == DEPTH_MAX)
        return CEL_FAIL(CEL_CONFIG, "condition, character %zu: nested deeper than %d", (size_t)(start - p->text) + 1,
                        DEPTH_MAX);
    p->depth++;
    CEL_TRY(parse_not(p, &operand));
    p->depth--;
    CEL_TRY(want_kind(p, operand, start, true));
    return add(p, NOT, operand, 0, 0, out);
}

static cel_status parse_and(parser *p, int *out) {
    static const sign signs[] = {{"and", AND}, {"&&", AND}};
    return chain(p, parse_not, signs, 2, true, out);
}

static cel_status parse_or(parser *p, int *out) {
    static const sign signs[] = {{"or", OR}, {"||", OR}};
    return chain(p, parse_and, signs, 2, true, out);
}

static cel_status parse(parser *p) {
    if (strlen(p->text) > TEXT_MAX)
        return CEL_FAIL(CEL_CONFIG, "condition: %zu characters, expected at most %d", strlen(p->text), TEXT_MAX);
    CEL_TRY(parse_or(p, &p->w->root));
    blanks(p);
    if (*p->at) return expected(p, p->at, "and, or, a comparison or the end");
    return want_kind(p, p->w->root, p->text, true);
}

cel_status cel_where_parse(const cel_table *table, const char *text, cel_where **out) {
    cel_where *w;
    CEL_ALLOC(w, 1);
    w->table = table;
    parser p = {w, text, text, 0};
    cel_status status = parse(&p);
    if (status != CEL_OK) {
        cel_where_destroy(w);
        return status;
    }
    *out = w;
    return CEL_OK;
}

static double value_of(const cel_where *w, int at, int row) {
    const node *n = &w->node[at];
    if (n->kind == NUMBER) return n->number;
    if (n->kind == METRIC) return cel_table_value(w->table, n->left, row);
    if (n->kind == DERIVED) return w->derived[n->left][row];
    if (n->kind == INDEX) return row;
    double a = value_of(w, n->left, row);
    if (n->kind == NEGATE) return -a;
    if (n->kind == NOT) return !(a != 0);
    if (n->kind == AND && a == 0) return 0;
    if (n->kind == OR && a != 0) return 1;
    double b = value_of(w, n->right, row);
    switch (n->kind) {
    case ADD:
        return a + b;
    case SUBTRACT:
        return a - b;
    case MULTIPLY:
        return a * b;
    case DIVIDE:
        return a / b;
    case LESS:
        return a < b;
    case LESS_EQUAL:
        return a <= b;
    case GREATER:
        return a > b;
    case GREATER_EQUAL:
        return a >= b;
    case EQUAL:
        return a == b;
    case NOT_EQUAL:
        return a != b;
    default:
        return b != 0;
    }
}

bool cel_where_test(const cel_where *where, int index) { return value_of(where, where->root, index) != 0; }

void cel_where_destroy(cel_where *where) {
    if (!where) return;
    for (int i = 0; i < where->n_derived; i++) cel_free(where->derived[i]);
    cel_free(where);
}
