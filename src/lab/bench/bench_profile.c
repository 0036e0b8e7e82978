/* Where the time of steps goes: the profile of each part of a step, added up by shape, operation and stage, as a tree. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/backend/cpu/roof.h"
#include "lab/bench/bench.h"

enum { PARTS = 4, WHOLE = -1, SHAPE = 24 };

static const struct {
    const char *name;
    bool near;
} stages[] = {
#define X(name, text, near) {text, near},
    CEL_STAGES(X)
#undef X
};

/* The sums of one operation at one shape in one part, or of one of its stages. */
typedef struct leaf {
    int part, stage; /* WHOLE: the operation itself */
    char shape[SHAPE];
    const char *op;
    double calls, seconds, flops, bytes, staged_s;
} leaf;

typedef struct collector {
    cel_bench_listener listener;
    int threads, n_parts, n, room;
    const char *part[PARTS];
    double part_s[PARTS];
    leaf *leaf;
    cel_status status;
} collector;

static leaf *leaf_of(collector *c, int part, const char *shape, const char *op, int stage) {
    for (int i = 0; i < c->n; i++) {
        leaf *l = &c->leaf[i];
        if (l->part == part && l->stage == stage && !strcmp(l->shape, shape) && !strcmp(l->op, op)) return l;
    }
    if (c->n == c->room) {
        leaf *grown = cel_realloc(c->leaf, (size_t)c->room, (size_t)c->room + 256, sizeof *grown);
        if (!grown) return NULL;
        c->leaf = grown;
        c->room += 256;
    }
    leaf *l = &c->leaf[c->n++];
    *l = (leaf){.part = part, .stage = stage, .op = op};
    snprintf(l->shape, sizeof l->shape, "%s", shape);
    return l;
}

/* Channels x height x width of the images that an operation reads or else makes. */
static void shape_of(const cel_graph *g, const cel_op *op, char out[SHAPE]) {
    for (int k = 0; k < op->n_in + op->n_out; k++) {
        cel_val v = k < op->n_in ? op->in[k] : op->out[k - op->n_in];
        if (v == CEL_NONE || g->value[v].layout != CEL_BATCH || g->value[v].shape.rank != 4) continue;
        const int *d = g->value[v].shape.dim;
        snprintf(out, SHAPE, "%d x %d x %d", d[1], d[2], d[3]);
        return;
    }
    snprintf(out, SHAPE, "classifier");
}

static int part_of(collector *c, const char *name) {
    for (int i = 0; i < c->n_parts; i++)
        if (!strcmp(c->part[i], name)) return i;
    if (c->n_parts == PARTS) return PARTS - 1;
    c->part[c->n_parts] = name;
    return c->n_parts++;
}

static bool add(collector *c, int part, const cel_graph *g, const cel_profile_row *row) {
    char shape[SHAPE];
    double staged = 0;
    shape_of(g, row->op, shape);
    for (int s = 0; s < CEL_STAGE_COUNT; s++) {
        const cel_stage_time *t = &row->stage[s];
        if (t->seconds <= 0) continue;
        leaf *l = leaf_of(c, part, shape, row->op->def->name, s);
        if (!l) return false;
        l->calls += (double)row->calls;
        l->seconds += t->seconds / c->threads;
        l->flops += t->flops;
        l->bytes += t->bytes;
        staged += t->seconds / c->threads;
    }
    leaf *l = leaf_of(c, part, shape, row->op->def->name, WHOLE);
    if (!l) return false;
    l->calls += (double)row->calls;
    l->seconds += row->seconds;
    l->flops += row->flops;
    l->bytes += row->bytes;
    l->staged_s += staged;
    return true;
}

static void hear(cel_bench_listener *listener, const char *name, cel_exec *exec, double seconds) {
    collector *c = (collector *)listener;
    int n, part = part_of(c, name);
    const cel_profile_row *rows = cel_exec_profile_rows(exec, &n);
    c->part_s[part] += seconds;
    for (int i = 0; i < n && c->status == CEL_OK; i++)
        if (rows[i].calls && !add(c, part, cel_exec_graph(exec), &rows[i]))
            c->status = CEL_FAIL(CEL_NOMEM, "out of memory: a profile");
}

/* ---- the tree ---- */

typedef struct tree {
    cel_bench_node *node;
    int n, steps;
    const cel_roof *roof;
    double peak;
} tree;

/* Adds a node; its numbers are added to those of the nodes around it. */
static cel_bench_node *grow(tree *t, int depth, const char *label) {
    cel_bench_node *node = &t->node[t->n++];
    *node = (cel_bench_node){.depth = depth};
    snprintf(node->label, sizeof node->label, "%s", label);
    return node;
}

/* The bytes of an operation come from where something of their size fits, those of a stage from the caches of the core or from those that
 * the cores share. */
static double bandwidth(const cel_roof *roof, const leaf *l, double calls) {
    if (l->stage == WHOLE) return cel_roof_bandwidth(roof, l->bytes / calls);
    return roof->size[stages[l->stage].near ? 0 : 1].bytes_per_s;
}

static void measure_leaf(const tree *t, const leaf *l, cel_bench_node *node) {
    double steps = t->steps;
    node->calls = l->calls / steps;
    node->ms = 1e3 * l->seconds / steps;
    node->flops = l->flops / steps;
    node->bytes = l->bytes / steps;
    double compute = node->flops / t->peak, move = node->bytes / bandwidth(t->roof, l, l->calls > 0 ? l->calls : 1);
    node->roof_ms = 1e3 * (compute > move ? compute : move);
}

static void add_to(cel_bench_node *sum, const cel_bench_node *of) {
    sum->ms += of->ms;
    sum->flops += of->flops;
    sum->bytes += of->bytes;
    sum->roof_ms += of->roof_ms;
}

static int by_seconds(const void *a, const void *b) {
    double x = ((const leaf *)a)->seconds, y = ((const leaf *)b)->seconds;
    return (x < y) - (x > y);
}

/* An operation and its stages; what the stages leave over is the waiting of threads for each other and serial work between. */
static void grow_operation(tree *t, const collector *c, const leaf *op) {
    cel_bench_node *node = grow(t, 3, op->op);
    measure_leaf(t, op, node);
    if (op->staged_s <= 0) return;
    for (int i = 0; i < c->n; i++) {
        const leaf *l = &c->leaf[i];
        if (l->stage == WHOLE || l->part != op->part || strcmp(l->shape, op->shape) || strcmp(l->op, op->op)) continue;
        measure_leaf(t, l, grow(t, 4, stages[l->stage].name));
    }
    grow(t, 4, "waiting, and between stages")->ms = node->ms - 1e3 * op->staged_s / t->steps;
}

/* The operations of one shape, once the largest of it is met: the leaves are sorted. */
static void grow_shape(tree *t, const collector *c, const leaf *first) {
    cel_bench_node *node = grow(t, 2, first->shape);
    for (int i = 0; i < c->n; i++) {
        const leaf *l = &c->leaf[i];
        if (l->stage != WHOLE || l->part != first->part || strcmp(l->shape, first->shape)) continue;
        const cel_bench_node *op = &t->node[t->n];
        grow_operation(t, c, l);
        add_to(node, op);
    }
}

static void grow_part(tree *t, const collector *c, int part) {
    cel_bench_node *node = grow(t, 1, c->part[part]);
    for (int i = 0; i < c->n; i++) {
        const leaf *l = &c->leaf[i];
        bool met = l->stage != WHOLE || l->part != part;
        for (int k = 0; k < i && !met; k++)
            met = c->leaf[k].stage == WHOLE && c->leaf[k].part == part && !strcmp(c->leaf[k].shape, l->shape);
        if (met) continue;
        const cel_bench_node *shape = &t->node[t->n];
        grow_shape(t, c, l);
        add_to(node, shape);
    }
    double all = 1e3 * c->part_s[part] / t->steps;
    grow(t, 2, "outside kernels")->ms = all - node->ms;
    node->ms = all;
}

static cel_status grow_tree(collector *c, const cel_bench *bench, int steps, const cel_roof *roof,
                            cel_bench_node **nodes, int *n) {
    tree t = {.steps = steps, .roof = roof, .peak = roof->flops};
    cel_bench_facts facts;
    cel_bench_get_facts(bench, &facts);
    if (facts.bf16) t.peak = roof->bf16_flops;
    /* A shape and a remainder for each leaf at most, and what stands above. */
    CEL_ALLOC(t.node, 3 * (size_t)c->n + 2 * PARTS + 1);
    qsort(c->leaf, (size_t)c->n, sizeof *c->leaf, by_seconds);
    cel_bench_node *root = grow(&t, 0, bench->setup->shown.name);
    root->calls = 1;
    for (int part = 0; part < c->n_parts; part++) {
        const cel_bench_node *node = &t.node[t.n];
        grow_part(&t, c, part);
        add_to(root, node);
    }
    *nodes = t.node;
    *n = t.n;
    return CEL_OK;
}

cel_status cel_bench_profile(cel_bench *b, int steps, cel_bench_node **nodes, int *n) {
    cel_exec *exec = cel_bench_exec(b);
    if (!exec) return CEL_FAIL(CEL_UNSUPPORTED, "bench %s: there are no kernels to profile", b->setup->shown.name);
    if (steps < 1) return CEL_FAIL(CEL_CONFIG, "bench: steps: expected at least 1, found %d", steps);
    collector c = {.listener = {hear}, .threads = cel_pool_threads(b->pool)};
    cel_roof roof;
    cel_status status = CEL_OK;
    b->listener = &c.listener;
    for (int i = 0; i < steps && status == CEL_OK; i++) {
        double ms;
        status = cel_bench_step(b, &ms);
        if (status == CEL_OK) status = c.status;
    }
    b->listener = NULL;
    cel_exec_profile(exec, false);
    if (status == CEL_OK) status = cel_roof_measure(b->pool, &roof);
    if (status == CEL_OK) status = grow_tree(&c, b, steps, &roof, nodes, n);
    cel_free(c.leaf);
    return status == CEL_OK ? CEL_OK : cel_status_pass(status, __FILE__, __LINE__);
}
