/* Reverse accumulation: the gradient as operations of the same graph.
 *
 * Walks the operations backwards from what is differentiated, once each; what reaches a value from its readers is summed by cel_add, which
 * leaves out contributions under gates that are off. */
#include <assert.h>

#include "engine/op/check.h"

typedef struct contribution {
    cel_val value;
    int next; /* index of the one before, -1: none */
} contribution;

typedef struct reverse {
    cel_graph *g;
    int n_values; /* those that existed when the walk began */
    bool *needed; /* depends on a wrt */
    int *head;    /* last contribution to each value */
    contribution *list;
    int n, room;
    cel_val *join; /* scratch of gather */
    int join_room;
} reverse;

static bool push(reverse *r, cel_val to, cel_val value) {
    if (r->n == r->room) {
        int room = r->room ? 2 * r->room : 256;
        contribution *grown = cel_realloc(r->list, (size_t)r->room, (size_t)room, sizeof *grown);
        if (!grown) return false;
        r->list = grown;
        r->room = room;
    }
    r->list[r->n] = (contribution){value, r->head[to]};
    r->head[to] = r->n++;
    return true;
}

static cel_val sum_under(cel_graph *g, int gate, const char *scope, const cel_val *x, int n) {
    const char *scope_before = g->scope;
    int gate_before = g->gate;
    g->scope = scope;
    g->gate = gate;
    cel_val sum = cel_add(g, x, n);
    g->scope = scope_before;
    g->gate = gate_before;
    return sum;
}

/* The whole gradient of v, one value that is active whenever v is; CEL_NONE if nothing reached it. */
static cel_status gather(reverse *r, cel_val v, cel_val *out) {
    cel_graph *g = r->g;
    int n = 0;
    for (int i = r->head[v]; i >= 0; i = r->list[i].next) n++;
    *out = CEL_NONE;
    if (!n) return CEL_OK;
    const cel_value *value = &g->value[v];
    int gate = value->role == CEL_INPUT ? -1 : value->gate;
    cel_val only = r->list[r->head[v]].value;
    int its_gate = g->value[only].gate;
    if (n == 1 && (its_gate < 0 || its_gate == gate)) {
        *out = only;
        return CEL_OK;
    }
    if (n > r->join_room) {
        cel_val *grown = cel_realloc(r->join, (size_t)r->join_room, (size_t)n, sizeof *grown);
        if (!grown) return CEL_FAIL(CEL_NOMEM, "out of memory: the sum of %d gradients", n);
        r->join = grown;
        r->join_room = n;
    }
    int at = n;
    for (int i = r->head[v]; i >= 0; i = r->list[i].next) r->join[--at] = r->list[i].value;
    *out = sum_under(g, gate, value->op >= 0 ? g->op[value->op].scope : g->scope, r->join, n);
    if (*out == CEL_NONE) return CEL_OK; /* the graph holds the error */
    r->list[r->head[v]] = (contribution){*out, -1};
    return CEL_OK;
}

static cel_status step_back(reverse *r, int index) {
    cel_graph *g = r->g;
    const cel_op op = g->op[index]; /* a copy: the array moves when operations are added */
    cel_val dout[CEL_GRAPH_MAX_OUT], *din;
    bool any = false, wanted = false, *need;
    for (int i = 0; i < op.n_out; i++) any |= r->head[op.out[i]] >= 0;
    for (int i = 0; i < op.n_in; i++) wanted |= op.in[i] != CEL_NONE && r->needed[op.in[i]];
    if (!any || !wanted) return CEL_OK;
    for (int i = 0; i < op.n_out; i++) CEL_TRY(gather(r, op.out[i], &dout[i]));
    if (g->status != CEL_OK) return CEL_OK;
    if (!op.def->grad) {
        g->scope = op.scope;
        cel_graph_error(g, CEL_UNSUPPORTED, "%s has no gradient", op.def->name);
        return CEL_OK;
    }
    CEL_ALLOC(din, (size_t)op.n_in);
    need = cel_alloc((size_t)op.n_in, sizeof *need);
    cel_status status = CEL_OK;
    if (!need) CEL_TRY_GOTO(status, end, CEL_FAIL(CEL_NOMEM, "out of memory: the gradient of %s", op.def->name));
    for (int i = 0; i < op.n_in; i++) {
        din[i] = CEL_NONE;
        need[i] = op.in[i] != CEL_NONE && r->needed[op.in[i]];
    }
    g->scope = op.scope;
    g->gate = op.gate;
    CEL_TRY_GOTO(status, end, op.def->grad(g, index, dout, need, din));
    for (int i = 0; i < op.n_in && g->status == CEL_OK; i++) {
        if (din[i] == CEL_NONE || !need[i]) continue;
        assert(cel_shape_equal(g->value[din[i]].shape, g->value[op.in[i]].shape));
        if (!push(r, op.in[i], din[i]))
            CEL_TRY_GOTO(status, end, CEL_FAIL(CEL_NOMEM, "out of memory: the gradient of %s", op.def->name));
    }
end:
    cel_free(need);
    cel_free(din);
    return status;
}

/* A parameter's gradient gets a value of its own, for it lives in the executor's gradient block. */
static cel_val own_gradient(cel_graph *g, cel_val param, cel_val grad) {
    const cel_value *v = &g->value[grad];
    if (v->role != CEL_TEMP || (v->grad_of != CEL_NONE && v->grad_of != param)) {
        grad = sum_under(g, g->value[param].gate, g->scope, &grad, 1);
        if (grad == CEL_NONE) return CEL_NONE;
    }
    g->value[grad].grad_of = param;
    return grad;
}

static cel_status walk(reverse *r, const cel_val *y, const cel_val *dy, int n_y, const cel_val *wrt, int n,
                       cel_val *grads) {
    cel_graph *g = r->g;
    CEL_ALLOC(r->needed, (size_t)r->n_values);
    CEL_ALLOC(r->head, (size_t)r->n_values);
    for (int v = 0; v < r->n_values; v++) r->head[v] = -1;
    for (int i = 0; i < n; i++) r->needed[wrt[i]] = true;
    int last = -1;
    for (int k = 0; k < n_y; k++)
        if (g->value[y[k]].op > last) last = g->value[y[k]].op;
    for (int i = 0; i <= last; i++) {
        bool needed = false;
        for (int k = 0; k < g->op[i].n_in; k++) needed |= g->op[i].in[k] != CEL_NONE && r->needed[g->op[i].in[k]];
        for (int k = 0; k < g->op[i].n_out; k++) r->needed[g->op[i].out[k]] |= needed;
    }
    for (int k = 0; k < n_y; k++)
        if (!push(r, y[k], dy[k])) return CEL_FAIL(CEL_NOMEM, "out of memory: a gradient");
    for (int i = last; i >= 0 && g->status == CEL_OK; i--) CEL_TRY(step_back(r, i));
    for (int i = 0; i < n && g->status == CEL_OK; i++) {
        CEL_TRY(gather(r, wrt[i], &grads[i]));
        if (grads[i] != CEL_NONE && g->value[wrt[i]].role == CEL_PARAM) grads[i] = own_gradient(g, wrt[i], grads[i]);
    }
    return CEL_OK;
}

/* Checks what a caller can get wrong, then walks; errors stay in the graph too, so that sealing it fails. */
static cel_status gradient(cel_graph *g, const cel_val *y, const cel_val *dy, int n_y, const cel_val *wrt, int n,
                           cel_val *grads) {
    for (int i = 0; i < n; i++) grads[i] = CEL_NONE;
    for (int i = 0; i < n && g->status == CEL_OK; i++)
        if (wrt[i] < 0 || wrt[i] >= g->n_values)
            cel_graph_error(g, CEL_SHAPE, "gradient: value %d of what it is taken for is no value of this graph", i);
    if (g->status != CEL_OK) return CEL_FAIL(g->status, "%s", g->error);
    reverse r = {.g = g, .n_values = g->n_values};
    const char *scope = g->scope;
    int gate = g->gate;
    g->in_gradient = true;
    cel_status status = walk(&r, y, dy, n_y, wrt, n, grads);
    g->in_gradient = false;
    g->scope = scope;
    g->gate = gate;
    cel_free(r.needed);
    cel_free(r.head);
    cel_free(r.list);
    cel_free(r.join);
    if (status != CEL_OK) {
        cel_graph_error(g, status, "%s", cel_status_message());
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    if (g->status != CEL_OK) return CEL_FAIL(g->status, "%s", g->error);
    return CEL_OK;
}

static void check_upstream(cel_graph *g, cel_val y, cel_val dy) {
    if (g->status == CEL_OK && (y < 0 || y >= g->n_values || dy < 0 || dy >= g->n_values))
        cel_graph_error(g, CEL_SHAPE, "gradient: y or dy is no value of this graph");
    if (g->status == CEL_OK && (!cel_shape_equal(g->value[y].shape, g->value[dy].shape) ||
                                g->value[y].layout != g->value[dy].layout || g->value[dy].dtype != CEL_F32))
        cel_graph_error(g, CEL_SHAPE, "gradient: dy must hold floats in the shape and layout of y");
    /* Backends pad batches; only inputs and gradients are zero there, and sums over the batch rely on it. */
    if (g->status == CEL_OK && g->value[dy].layout == CEL_BATCH && g->value[dy].role != CEL_INPUT &&
        !(g->value[dy].op >= 0 && g->op[g->value[dy].op].gradient))
        cel_graph_error(g, CEL_SHAPE, "gradient: dy must be an input or come out of an earlier gradient");
}

cel_status cel_graph_grad_from_all(cel_graph *g, const cel_val *y, const cel_val *dy, int n_y, const cel_val *wrt,
                                   int n, cel_val *grads) {
    assert(!g->sealed);
    for (int k = 0; k < n_y; k++) check_upstream(g, y[k], dy[k]);
    return gradient(g, y, dy, n_y, wrt, n, grads);
}

cel_status cel_graph_grad_from(cel_graph *g, cel_val y, cel_val dy, const cel_val *wrt, int n, cel_val *grads) {
    return cel_graph_grad_from_all(g, &y, &dy, 1, wrt, n, grads);
}

cel_status cel_graph_grad(cel_graph *g, cel_val loss, const cel_val *wrt, int n, cel_val *grads) {
    assert(!g->sealed);
    if (g->status == CEL_OK && (loss < 0 || loss >= g->n_values))
        cel_graph_error(g, CEL_SHAPE, "gradient: the loss is no value of this graph");
    if (g->status == CEL_OK && (g->value[loss].shape.rank != 0 || g->value[loss].dtype != CEL_F32))
        cel_graph_error(g, CEL_SHAPE, "gradient: the loss has rank %d, expected a scalar", g->value[loss].shape.rank);
    if (g->status != CEL_OK) return CEL_FAIL(g->status, "%s", g->error);
    bool inside = g->in_gradient;
    int gate = cel_graph_gate(g, g->value[loss].gate);
    g->in_gradient = true;
    cel_val one = cel_op_constant_emit(g, 1, CEL_SCALAR);
    g->in_gradient = inside;
    cel_graph_gate(g, gate);
    if (one == CEL_NONE) return CEL_FAIL(g->status, "%s", g->error);
    return gradient(g, &loss, &one, 1, wrt, n, grads);
}
