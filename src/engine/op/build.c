/* The registry of operations, and how one is added to a graph. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "engine/op/check.h"

#define CEL_OP(name) &cel_op_##name,
const cel_op_def *const cel_ops[] = {
#include "engine/op/ops.def"
    NULL};
#undef CEL_OP

static bool inputs_exist(cel_graph *g, const cel_op_def *def, const cel_val *in, int n_in) {
    for (int i = 0; i < n_in; i++) {
        if (in[i] == CEL_NONE) continue; /* optional ones may be missing: infer knows */
        if (in[i] < 0 || in[i] >= g->n_values) {
            cel_graph_error(g, CEL_SHAPE, "%s: input %d is no value of this graph: %d", def->name, i, in[i]);
            return false;
        }
        const cel_value *v = &g->value[in[i]];
        if (v->role == CEL_TEMP && v->gate >= 0 && v->gate != g->gate && !def->gated_inputs) {
            cel_graph_error(g, CEL_SHAPE,
                            "%s: input %d is made under gate %d, but this is built under gate %d (-1: none): only sums "
                            "can leave a gate, join it with cel_add or cel_weighted_sum",
                            def->name, i, v->gate, g->gate);
            return false;
        }
    }
    return true;
}

static int new_op(cel_graph *g, const cel_op_def *def, const cel_val *in, int n_in, int n_out, const void *attr,
                  size_t attr_bytes) {
    if (g->n_ops == g->op_room) {
        int room = g->op_room ? 2 * g->op_room : 256;
        cel_op *grown = cel_realloc(g->op, (size_t)g->op_room, (size_t)room, sizeof *grown);
        if (!grown) return -1;
        g->op = grown;
        g->op_room = room;
    }
    cel_op *op = &g->op[g->n_ops];
    cel_val *ids = cel_arena_alloc(&g->arena, (size_t)(n_in + n_out), sizeof *ids);
    void *copy = attr_bytes ? cel_arena_alloc(&g->arena, attr_bytes, 1) : NULL;
    if (!ids || (attr_bytes && !copy)) return -1;
    if (copy) memcpy(copy, attr, attr_bytes);
    if (n_in) memcpy(ids, in, (size_t)n_in * sizeof *ids);
    *op = (cel_op){.def = def,
                   .scope = g->scope,
                   .attr = copy,
                   .n_in = n_in,
                   .n_out = n_out,
                   .in = ids,
                   .out = ids + n_in,
                   .gate = g->gate,
                   .gradient = g->in_gradient};
    return g->n_ops++;
}

int cel_graph_add(cel_graph *g, const cel_op_def *def, const cel_val *in, int n_in, const void *attr,
                  size_t attr_bytes) {
    assert(!g->sealed);
    if (g->status != CEL_OK || !inputs_exist(g, def, in, n_in)) return -1;
    cel_value out[CEL_GRAPH_MAX_OUT] = {0};
    int n_out = def->n_out;
    cel_status status = def->infer(g, in, n_in, attr, out, &n_out);
    if (status != CEL_OK) {
        cel_graph_error(g, status, "%s: %s", def->name, cel_status_message());
        return -1;
    }
    int index = new_op(g, def, in, n_in, n_out, attr, attr_bytes);
    if (index < 0) {
        cel_graph_error(g, CEL_NOMEM, "out of memory: operation %s", def->name);
        return -1;
    }
    for (int i = 0; i < n_out; i++) {
        out[i].role = CEL_TEMP;
        cel_val v = cel_graph_new_value(g, &out[i], NULL);
        if (v == CEL_NONE) return -1;
        g->value[v].op = index;
        g->value[v].out = i;
        g->op[index].out[i] = v;
    }
    return index;
}

cel_val cel_op_emit(cel_graph *g, const cel_op_def *def, const cel_val *in, int n_in, const void *attr,
                    size_t attr_bytes) {
    int index = cel_graph_add(g, def, in, n_in, attr, attr_bytes);
    return index < 0 ? CEL_NONE : g->op[index].out[0];
}

static const char *text(cel_shape s, char *buffer, size_t size) {
    size_t n = 0;
    if (!s.rank) return "a scalar";
    for (int i = 0; i < s.rank && n < size; i++)
        n += (size_t)snprintf(buffer + n, size - n, "%s%d", i ? "x" : "", s.dim[i]);
    return buffer;
}

cel_status cel_check_inputs(int n_in, int least, int most) {
    if (n_in < least || n_in > most) return CEL_FAIL(CEL_SHAPE, "%d inputs, expected %d .. %d", n_in, least, most);
    return CEL_OK;
}

cel_status cel_check_input(const cel_graph *g, const cel_val *in, int i, const char *name, const cel_value **out) {
    if (in[i] == CEL_NONE) return CEL_FAIL(CEL_SHAPE, "%s is missing", name);
    *out = &g->value[in[i]];
    if ((*out)->dtype != CEL_F32) return CEL_FAIL(CEL_SHAPE, "%s holds integers, expected floats", name);
    return CEL_OK;
}

cel_status cel_check_image(const cel_graph *g, const cel_val *in, int i, const char *name, const cel_value **out) {
    CEL_TRY(cel_check_input(g, in, i, name, out));
    if ((*out)->layout == CEL_BATCH && (*out)->shape.rank == 4) return CEL_OK;
    char found[64];
    return CEL_FAIL(CEL_SHAPE, "%s: expected images [n,c,h,w], found %s%s", name,
                    text((*out)->shape, found, sizeof found),
                    (*out)->layout == CEL_BATCH ? "" : " that does not run over images");
}

cel_status cel_check_shape(const cel_graph *g, const cel_val *in, int i, const char *name, cel_layout layout,
                           cel_shape shape) {
    const cel_value *v;
    CEL_TRY(cel_check_input(g, in, i, name, &v));
    char found[64], want[64];
    if (!cel_shape_equal(v->shape, shape))
        return CEL_FAIL(CEL_SHAPE, "%s: expected %s, found %s", name, text(shape, want, sizeof want),
                        text(v->shape, found, sizeof found));
    if (v->layout != layout)
        return CEL_FAIL(CEL_SHAPE, "%s: %s", name,
                        layout == CEL_BATCH ? "expected a value that runs over images"
                                            : "expected a value that does not run over images");
    return CEL_OK;
}

cel_dims cel_dims_of(cel_shape s) {
    return (cel_dims){s.rank > 0 ? s.dim[0] : 1, s.rank > 1 ? s.dim[1] : 1, s.rank > 2 ? s.dim[2] : 1,
                      s.rank > 3 ? s.dim[3] : 1};
}

double cel_graph_flops(const cel_graph *g, const uint8_t *active) {
    double sum = 0;
    for (int i = 0; i < g->n_ops; i++) {
        const cel_op *op = &g->op[i];
        if (op->gradient || !op->def->flops || (active && op->gate >= 0 && !active[op->gate])) continue;
        sum += op->def->flops(g, op, active);
    }
    return sum;
}
