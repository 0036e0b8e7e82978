#include "support/op_runner.h"

#include <math.h>
#include <string.h>

static size_t round_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

cel_status op_runner_create(const cel_graph *g, const cel_backend *backend, cel_pool *pool, op_runner **out) {
    op_runner *r;
    CEL_ALLOC(r, 1);
    *r = (op_runner){.g = g, .backend = backend, .pool = pool};
    r->data = cel_alloc((size_t)g->n_values, sizeof *r->data);
    r->bytes = cel_alloc((size_t)g->n_values, sizeof *r->bytes);
    r->gates = cel_alloc((size_t)g->n_gates + 1, 1);
    bool ok = r->data && r->bytes && r->gates;
    for (int v = 0; ok && v < g->n_values; v++) {
        r->bytes[v] = backend->bytes(&g->value[v]);
        r->data[v] = cel_block_alloc(round_up(r->bytes[v]));
        ok = r->data[v] != NULL;
    }
    for (int i = 0; ok && i < g->n_ops; i++) {
        const cel_kernel *k = backend->kernel(g->op[i].def);
        if (!k) {
            op_runner_destroy(r);
            return CEL_FAIL(CEL_UNSUPPORTED, "backend %s: no kernel for %s", backend->name, g->op[i].def->name);
        }
        size_t need = k->work_bytes ? k->work_bytes(g, &g->op[i], cel_pool_threads(pool)) : 0;
        if (need > r->work_bytes) r->work_bytes = need;
        int tensors = g->op[i].n_in + g->op[i].n_out;
        if (tensors > r->tensor_room) r->tensor_room = tensors;
    }
    if (ok) ok = (r->tensor = cel_alloc((size_t)r->tensor_room + 1, sizeof *r->tensor)) != NULL;
    if (ok && r->work_bytes) ok = (r->work = cel_block_alloc(round_up(r->work_bytes))) != NULL;
    if (!ok) {
        op_runner_destroy(r);
        return CEL_FAIL(CEL_NOMEM, "out of memory for the values of a graph");
    }
    memset(r->gates, 1, (size_t)g->n_gates + 1);
    *out = r;
    return CEL_OK;
}

void op_runner_destroy(op_runner *r) {
    if (!r) return;
    for (int v = 0; r->data && r->bytes && v < r->g->n_values; v++)
        if (r->data[v]) cel_block_free(r->data[v], round_up(r->bytes[v]));
    if (r->work) cel_block_free(r->work, round_up(r->work_bytes));
    cel_free(r->data);
    cel_free(r->bytes);
    cel_free(r->gates);
    cel_free(r->tensor);
    cel_free(r);
}

cel_status op_runner_fill(op_runner *r, uint64_t seed, int classes) {
    for (int v = 0; v < r->g->n_values; v++) {
        const cel_value *value = &r->g->value[v];
        memset(r->data[v], 0xff, round_up(r->bytes[v])); /* all bits set: a NaN */
        if (value->role == CEL_TEMP) continue;
        size_t n = cel_shape_count(value->shape);
        float *plain;
        CEL_ALLOC(plain, n);
        cel_rng rng = cel_rng_at(seed, "op_runner", (uint64_t)v, 0);
        for (size_t i = 0; i < n; i++) {
            int32_t label = (int32_t)cel_rng_below(&rng, (uint32_t)classes);
            float x = (float)cel_rng_normal(&rng);
            if (value->role == CEL_STATE && value->init == CEL_INIT_ONE) x = fabsf(x) + 0.5f;
            memcpy(&plain[i], value->dtype == CEL_I32 ? (const void *)&label : (const void *)&x, sizeof x);
        }
        r->backend->pack(value, plain, r->data[v], r->pool);
        cel_free(plain);
    }
    if (r->work) memset(r->work, 0xff, r->work_bytes);
    return CEL_OK;
}

static bool on(const op_runner *r, int gate) { return gate < 0 || r->gates[gate]; }
bool op_runner_active(const op_runner *r, cel_val v) { return on(r, r->g->value[v].gate); }

static cel_tensor tensor_of(const op_runner *r, cel_val v) {
    if (v == CEL_NONE) return (cel_tensor){0};
    const cel_value *value = &r->g->value[v];
    return (cel_tensor){r->data[v], value->shape, value->dtype, value->layout, op_runner_active(r, v), true};
}

void op_runner_run_op(op_runner *r, int index) {
    const cel_op *op = &r->g->op[index];
    if (!on(r, op->gate)) return;
    cel_tensor *in = r->tensor, *out = r->tensor + op->n_in;
    for (int i = 0; i < op->n_in; i++) in[i] = tensor_of(r, op->in[i]);
    for (int i = 0; i < op->n_out; i++) {
        out[i] = tensor_of(r, op->out[i]);
        out[i].wanted = !i || !r->first_only;
    }
    r->backend->kernel(op->def)->run(&(cel_kernel_args){.op = op,
                                                        .in = in,
                                                        .out = out,
                                                        .n_in = op->n_in,
                                                        .n_out = op->n_out,
                                                        .gates = r->gates,
                                                        .mode = r->mode,
                                                        .seed = 11,
                                                        .step = 5,
                                                        .pool = r->pool,
                                                        .work = r->work});
}

void op_runner_run(op_runner *r) {
    for (int i = 0; i < r->g->n_ops; i++) op_runner_run_op(r, i);
}
