/* Sample cases of operations; see op_run.h. */
#include "support/op_run.h"

#include "base/mem.h"
#include "support/test.h"

bool op_sample_next(int *op, int *which, op_sample *out) {
    while (cel_ops[*op] && (!cel_ops[*op]->cases || !cel_ops[*op]->cases[*which].build)) {
        ++*op;
        *which = 0;
    }
    if (!cel_ops[*op]) return false;
    *out =
        (op_sample){.def = cel_ops[*op], .op_case = &cel_ops[*op]->cases[*which], .differentiable = cel_ops[*op]->grad};
    ++*which;
    test_ok(cel_graph_create(&out->g));
    out->y = out->op_case->build(out->g);
    assert_true(out->y != CEL_NONE);
    const cel_value y = out->g->value[out->y];
    for (int v = 0; v < out->g->n_values; v++) {
        const cel_value *value = &out->g->value[v];
        if (value->dtype != CEL_F32 || (value->role != CEL_INPUT && value->role != CEL_PARAM)) continue;
        assert_true(out->n_wrt < OP_RUN_MOST);
        out->grad[out->n_wrt] = CEL_NONE;
        /* a rate is not something to differentiate by */
        if (strcmp(value->name, "rate")) out->wrt[out->n_wrt++] = v;
    }
    out->cotangent = cel_graph_input(out->g, "cotangent", CEL_F32, y.layout, y.shape);
    if (out->differentiable)
        test_ok(cel_graph_grad_from(out->g, out->y, out->cotangent, out->wrt, out->n_wrt, out->grad));
    test_ok(cel_graph_seal(out->g));
    return true;
}

void op_sample_fini(op_sample *s) { cel_graph_destroy(s->g); }

void op_run_init(op_run *r, const op_sample *s, const cel_backend *backend, cel_pool *pool, cel_mode mode) {
    *r = (op_run){.sample = s};
    cel_val targets[1 + OP_RUN_MOST] = {s->y};
    for (int i = 0; i < s->n_wrt; i++) targets[1 + i] = s->grad[i];
    test_ok(cel_exec_create(s->g, backend, pool, &r->e));
    test_ok(cel_exec_add_program(r->e, mode, targets, 1, &r->forward));
    test_ok(cel_exec_add_program(r->e, mode, targets, 1 + s->n_wrt, &r->both));
    test_ok(cel_exec_prepare(r->e, 1));
    cel_exec_set_step(r->e, 5, 7);
}

void op_run_fini(op_run *r) { cel_exec_destroy(r->e); }

static void fill(op_run *r, uint64_t seed, bool states_only) {
    const cel_graph *g = r->sample->g;
    for (int v = 0; v < g->n_values; v++) {
        const cel_value *value = &g->value[v];
        if (value->role == CEL_TEMP || (states_only && value->role != CEL_STATE)) continue;
        size_t n = cel_shape_count(value->shape);
        cel_rng rng = cel_rng_at(seed, "op_run", (uint64_t)v, 0);
        int32_t *order = cel_alloc(n, sizeof *order);
        float *x = cel_alloc(n, sizeof *x);
        double width = n < 60 ? 1.5 : 0.025 * (double)n;
        for (size_t i = 0; i < n; i++) order[i] = (int32_t)i;
        cel_rng_shuffle(&rng, order, n);
        for (size_t i = 0; i < n; i++) {
            double spread = (order[i] + 0.5) / (double)n; /* 0 .. 1 */
            x[i] = (float)(value->role == CEL_STATE           ? 0.5 + spread
                           : n == 1 && value->shape.rank == 0 ? 0.1 + 0.8 * cel_rng_uniform(&rng)
                                                              : width * (2 * spread - 1));
            order[i] %= 3;
        }
        cel_exec_write(r->e, v, value->dtype == CEL_I32 ? (void *)order : (void *)x);
        cel_free(order);
        cel_free(x);
    }
}

void op_run_fill(op_run *r, uint64_t seed) { fill(r, seed, false); }
void op_run_fill_states(op_run *r, uint64_t seed) { fill(r, seed, true); }

float *op_run_read(op_run *r, cel_val v) {
    float *x = cel_alloc(cel_shape_count(cel_graph_shape(r->sample->g, v)), sizeof *x);
    assert_non_null(x);
    cel_exec_read(r->e, v, x);
    return x;
}

double op_distance(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum);
}

double op_norm(const float *a, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * a[i];
    return sqrt(sum);
}
