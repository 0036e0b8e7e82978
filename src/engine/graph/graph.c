/* Values, scopes, gates and builder errors of a graph. Operations are added in engine/op/build.c, gradients in
 * engine/op/grad.c. */
#include "engine/graph/graph.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t cel_shape_count(cel_shape shape) {
    size_t n = 1;
    for (int i = 0; i < shape.rank; i++) n *= (size_t)shape.dim[i];
    return n;
}

bool cel_shape_equal(cel_shape a, cel_shape b) {
    if (a.rank != b.rank) return false;
    for (int i = 0; i < a.rank; i++)
        if (a.dim[i] != b.dim[i]) return false;
    return true;
}

cel_status cel_graph_create(cel_graph **out) {
    cel_graph *g;
    CEL_ALLOC(g, 1);
    g->scope = "";
    g->gate = -1;
    *out = g;
    return CEL_OK;
}

void cel_graph_destroy(cel_graph *g) {
    if (!g) return;
    cel_free(g->value);
    cel_free(g->op);
    cel_arena_fini(&g->arena);
    cel_free(g);
}

cel_val cel_graph_error(cel_graph *g, cel_status status, const char *fmt, ...) {
    if (g->status != CEL_OK) return CEL_NONE;
    g->status = status;
    int n = *g->scope ? snprintf(g->error, sizeof g->error, "%s: ", g->scope) : 0;
    if (n < 0 || (size_t)n >= sizeof g->error) return CEL_NONE;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(g->error + n, sizeof g->error - (size_t)n, fmt, ap);
    va_end(ap);
    return CEL_NONE;
}

void cel_graph_push(cel_graph *g, const char *fmt, ...) {
    assert(!g->sealed);
    char part[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(part, sizeof part, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof part) cel_graph_error(g, CEL_SHAPE, "a scope's name is longer than 255 bytes");
    int depth = g->depth++;
    if (depth >= CEL_GRAPH_MAX_DEPTH) { /* depth goes on counting, so that every pop finds its push */
        cel_graph_error(g, CEL_SHAPE, "scopes are nested deeper than %d", CEL_GRAPH_MAX_DEPTH);
        return;
    }
    g->outer[depth] = g->scope;
    char *scope = *g->scope ? cel_arena_printf(&g->arena, "%s.%s", g->scope, part) : cel_arena_strdup(&g->arena, part);
    if (scope)
        g->scope = scope;
    else
        cel_graph_error(g, CEL_NOMEM, "out of memory: scope %s", part);
}

void cel_graph_pop(cel_graph *g) {
    assert(!g->sealed && g->depth > 0);
    if (--g->depth < CEL_GRAPH_MAX_DEPTH) g->scope = g->outer[g->depth];
}

int cel_graph_gate(cel_graph *g, int gate) {
    assert(!g->sealed);
    int before = g->gate;
    if (gate < -1 || gate >= CEL_GRAPH_MAX_GATES) {
        cel_graph_error(g, CEL_SHAPE, "gate %d: expected -1 .. %d", gate, CEL_GRAPH_MAX_GATES - 1);
        return before;
    }
    g->gate = gate;
    if (gate >= g->n_gates) g->n_gates = gate + 1;
    return before;
}

static bool shape_ok(cel_graph *g, cel_shape s, const char *leaf) {
    const int64_t most = (int64_t)1 << 40;
    int64_t count = 1;
    if (s.rank < 0 || s.rank > 4) {
        cel_graph_error(g, CEL_SHAPE, "%s: rank %d, expected 0 .. 4", leaf, s.rank);
        return false;
    }
    for (int i = 0; i < s.rank; i++) {
        if (s.dim[i] < 1 || (count *= s.dim[i]) > most) {
            cel_graph_error(g, CEL_SHAPE,
                            "%s: dimension %d is %d: expected at least 1, and at most 2^40 elements together", leaf, i,
                            s.dim[i]);
            return false;
        }
    }
    return true;
}

cel_val cel_graph_new_value(cel_graph *g, const cel_value *v, const char *leaf) {
    assert(!g->sealed);
    if (g->status != CEL_OK || !shape_ok(g, v->shape, leaf ? leaf : "result")) return CEL_NONE;
    if (v->layout == CEL_BATCH && (v->shape.rank < 1 || v->shape.rank == 3))
        return cel_graph_error(g, CEL_SHAPE, "%s: a value that runs over images has rank 1, 2 or 4, found %d",
                               leaf ? leaf : "result", v->shape.rank);
    if (g->n_values == g->value_room) {
        int room = g->value_room ? 2 * g->value_room : 256;
        cel_value *grown = cel_realloc(g->value, (size_t)g->value_room, (size_t)room, sizeof *grown);
        if (!grown) return cel_graph_error(g, CEL_NOMEM, "out of memory: %d values", room);
        g->value = grown;
        g->value_room = room;
    }
    const char *name = "";
    if (leaf && *leaf) {
        name = *g->scope ? cel_arena_printf(&g->arena, "%s.%s", g->scope, leaf) : cel_arena_strdup(&g->arena, leaf);
        if (!name) return cel_graph_error(g, CEL_NOMEM, "out of memory: the name of %s", leaf);
    }
    cel_value *new = &g->value[g->n_values];
    *new = *v;
    new->name = name;
    new->grad_of = CEL_NONE;
    new->op = new->out = -1;
    new->gate = g->gate;
    return g->n_values++;
}

static cel_val declare(cel_graph *g, cel_role role, cel_dtype dtype, cel_layout layout, cel_shape shape, cel_init init,
                       const char *leaf) {
    if (!leaf || !*leaf) return cel_graph_error(g, CEL_SHAPE, "an input, parameter or state needs a name");
    return cel_graph_new_value(
        g, &(cel_value){.role = role, .dtype = dtype, .layout = layout, .shape = shape, .init = init}, leaf);
}

cel_val cel_graph_input(cel_graph *g, const char *name, cel_dtype dtype, cel_layout layout, cel_shape shape) {
    return declare(g, CEL_INPUT, dtype, layout, shape, CEL_INIT_ZERO, name);
}

cel_val cel_graph_param(cel_graph *g, const char *leaf, cel_shape shape, cel_init init) {
    return declare(g, CEL_PARAM, CEL_F32, CEL_DENSE, shape, init, leaf);
}

cel_val cel_graph_state(cel_graph *g, const char *leaf, cel_shape shape, cel_init init) {
    return declare(g, CEL_STATE, CEL_F32, CEL_DENSE, shape, init, leaf);
}

const char *cel_graph_name(const cel_graph *g, cel_val v) { return v >= 0 && v < g->n_values ? g->value[v].name : ""; }

cel_val cel_graph_find(const cel_graph *g, const char *name) {
    if (!*name) return CEL_NONE;
    for (int v = 0; v < g->n_values; v++)
        if (!strcmp(g->value[v].name, name)) return v;
    return CEL_NONE;
}

cel_shape cel_graph_shape(const cel_graph *g, cel_val v) {
    return v >= 0 && v < g->n_values ? g->value[v].shape : CEL_SCALAR;
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

cel_status cel_graph_seal(cel_graph *g) {
    if (g->status == CEL_OK && g->depth) cel_graph_error(g, CEL_INTERNAL, "the scope was never popped");
    if (g->status != CEL_OK) return CEL_FAIL(g->status, "%s", g->error);
    const char **names;
    CEL_ALLOC(names, (size_t)g->n_values);
    int n = 0;
    for (int v = 0; v < g->n_values; v++)
        if (*g->value[v].name) names[n++] = g->value[v].name;
    qsort(names, (size_t)n, sizeof *names, by_name);
    for (int i = 1; i < n; i++)
        if (!strcmp(names[i - 1], names[i]))
            cel_graph_error(g, CEL_SHAPE, "two values are named %s: build them in different scopes", names[i]);
    cel_free(names);
    if (g->status != CEL_OK) return CEL_FAIL(g->status, "%s", g->error);
    g->sealed = true;
    return CEL_OK;
}
