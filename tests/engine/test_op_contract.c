/* The contract of every operation, over its own sample cases: the gradient that cel_graph_grad builds is the slope of
 * the reference, and every backend computes what the reference computes: outputs, gradients, statistics, with gates on
 * and off. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "support/op_run.h"
#include "support/test.h"

static const cel_mode modes[] = {CEL_MODE_TRAIN, CEL_MODE_EVAL};

static double loss(op_run *r, const float *cotangent) {
    op_run_fill_states(r, 3);
    cel_exec_run(r->e, r->forward);
    float *y = op_run_read(r, r->sample->y);
    double sum = 0;
    size_t n = cel_shape_count(cel_graph_shape(r->sample->g, r->sample->y));
    for (size_t i = 0; i < n; i++) sum += (double)y[i] * cotangent[i];
    cel_free(y);
    return sum;
}

/* 4-point difference of the loss by element i of v, which holds x. */
static double slope(op_run *r, cel_val v, float *x, size_t i, double h, const float *cotangent) {
    double at = x[i], f[4];
    for (int k = 0; k < 4; k++) {
        x[i] = (float)(at + h * (double[]){-2, -1, 1, 2}[k]);
        cel_exec_write(r->e, v, x);
        f[k] = loss(r, cotangent);
    }
    x[i] = (float)at;
    cel_exec_write(r->e, v, x);
    return (8 * (f[2] - f[1]) - (f[3] - f[0])) / (12 * h);
}

/* What float32 outputs leave uncertain in the loss. */
static double rounding(op_run *r, const float *cotangent) {
    size_t n = cel_shape_count(cel_graph_shape(r->sample->g, r->sample->y));
    cel_exec_run(r->e, r->forward);
    float *y = op_run_read(r, r->sample->y);
    for (size_t i = 0; i < n; i++) y[i] *= cotangent[i];
    double size = op_norm(y, n);
    cel_free(y);
    return 6e-8 * size;
}

/* Up to 40 elements of each gradient against differences with steps of 0.01 and 0.005. Where the two disagree there is
 * a kink of ReLU or of a maximum between the points, and the element is left out; that may happen to a third of them at
 * most. Tolerance: 3e-3 of the element and of the gradient's root mean square, and four times what rounding the outputs
 * to float32 may do. */
static void check_slopes(op_run *r) {
    const op_sample *s = r->sample;
    op_run_fill(r, 3);
    float *cotangent = op_run_read(r, s->cotangent);
    double noise = rounding(r, cotangent) / 0.005;
    for (int k = 0; k < s->n_wrt; k++) {
        size_t n = cel_shape_count(cel_graph_shape(s->g, s->wrt[k])), step = n / 40 + 1;
        float *x = op_run_read(r, s->wrt[k]), *grad = cel_alloc(n, sizeof *grad);
        op_run_fill_states(r, 3);
        cel_exec_run(r->e, r->both);
        if (s->grad[k] != CEL_NONE) cel_exec_read(r->e, s->grad[k], grad);
        double rms = op_norm(grad, n) / sqrt((double)n), tolerance = 3e-3 * rms + 4 * noise;
        int used = 0, kinks = 0;
        for (size_t i = 0; i < n; i += step) {
            double wide = slope(r, s->wrt[k], x, i, 0.01, cotangent);
            double narrow = slope(r, s->wrt[k], x, i, 0.005, cotangent);
            if (fabs(wide - narrow) > tolerance) {
                kinks++;
                continue;
            }
            used++;
            char what[200];
            snprintf(what, sizeof what, "%s/%s: d/d %s[%zu]", s->def->name, s->op_case->name,
                     cel_graph_name(s->g, s->wrt[k]), i);
            test_close(grad[i], narrow, 3e-3, tolerance, what);
        }
        if (kinks > (used + kinks + 2) / 3) fail_msg("%s/%s: %d kinks", s->def->name, s->op_case->name, kinks);
        cel_free(x);
        cel_free(grad);
    }
    cel_free(cotangent);
}

/* Large cases are there for the backends' vectors; a difference of theirs costs too much, and crosses too many
 * kinks. */
static bool small(const op_sample *s) {
    for (int k = 0; k < s->n_wrt; k++)
        if (cel_shape_count(cel_graph_shape(s->g, s->wrt[k])) > 2000) return false;
    return s->differentiable;
}

static void gradients(void **state) {
    (void)state;
    op_sample s;
    int checked = 0;
    for (int op = 0, which = 0; op_sample_next(&op, &which, &s); op_sample_fini(&s)) {
        for (size_t m = 0; small(&s) && m < CEL_COUNT(modes); m++, checked++) {
            op_run r;
            op_run_init(&r, &s, &cel_backend_ref, NULL, modes[m]);
            check_slopes(&r);
            op_run_fini(&r);
        }
    }
    assert_true(checked > 100);
}

static void compare(op_run *got, op_run *want, cel_val v, double relative, double floor, const char *what) {
    if (v == CEL_NONE) return;
    size_t n = cel_shape_count(cel_graph_shape(want->sample->g, v));
    float *a = op_run_read(got, v), *b = op_run_read(want, v);
    double off = op_distance(a, b, n), size = op_norm(b, n);
    if (!(off <= relative * size + floor))
        fail_msg("%s/%s: %s of %s: off by %.3g of %.3g", want->sample->def->name, want->sample->op_case->name, what,
                 cel_graph_name(want->sample->g, v), off, size);
    cel_free(a);
    cel_free(b);
}

/* 2e-5 of the norm for outputs and statistics, 1e-4 for gradients, and 2e-6 of the cotangent and all gradients
 * together: batch norm makes some of them zero in exact arithmetic, and then only rounding is left. */
static void check_backend(op_run *got, op_run *want, const uint8_t *gates) {
    const op_sample *s = want->sample;
    op_run *both[] = {got, want};
    for (int i = 0; i < 2; i++) {
        op_run_fill(both[i], 11);
        cel_exec_set_gates(both[i]->e, gates, s->g->n_gates);
        cel_exec_run(both[i]->e, both[i]->both);
    }
    compare(got, want, s->y, 2e-5, 0, "y");
    float *cotangent = op_run_read(want, s->cotangent);
    double all = op_norm(cotangent, cel_shape_count(cel_graph_shape(s->g, s->cotangent)));
    cel_free(cotangent);
    for (int k = 0; k < s->n_wrt; k++) {
        if (s->grad[k] == CEL_NONE) continue;
        float *x = op_run_read(want, s->grad[k]);
        all = hypot(all, op_norm(x, cel_shape_count(cel_graph_shape(s->g, s->grad[k]))));
        cel_free(x);
    }
    for (int k = 0; k < s->n_wrt; k++) compare(got, want, s->grad[k], 1e-4, 2e-6 * all, "gradient");
    for (int v = 0; v < s->g->n_values; v++)
        if (s->g->value[v].role == CEL_STATE) compare(got, want, v, 2e-5, 0, "state");
}

static void backends(void **state) {
    (void)state;
    cel_pool *pool;
    test_ok(cel_pool_create(2, &pool));
    for (const cel_backend *const *b = cel_backends; *b; b++) {
        op_sample s;
        const char *reason = (*b)->unavailable();
        if (reason || *b == &cel_backend_ref) {
            if (reason) print_message("skipped: %s: %s\n", (*b)->name, reason);
            continue;
        }
        for (int op = 0, which = 0; op_sample_next(&op, &which, &s); op_sample_fini(&s)) {
            if (s.def->inference && !(*b)->kernel(s.def)) continue; /* test_inference has its backends */
            for (size_t m = 0; m < CEL_COUNT(modes); m++) {
                op_run got, want;
                op_run_init(&got, &s, *b, pool, modes[m]);
                op_run_init(&want, &s, &cel_backend_ref, NULL, modes[m]);
                int n = s.g->n_gates;
                uint8_t *gates = cel_alloc((size_t)n, 1);
                /* all on; all off; each one off and on alone when there are few, halves by chance when many */
                for (int p = 0; p < (n ? n < 8 ? 2 + 2 * n : 6 : 1); p++) {
                    cel_rng rng = cel_rng_at(17, s.def->name, (uint64_t)p, 0);
                    for (int i = 0; i < n; i++)
                        gates[i] = p == 0   ? 1
                                   : p == 1 ? 0
                                   : n < 8  ? ((p - 2) / 2 == i) == p % 2
                                            : cel_rng_below(&rng, 2) == 1;
                    check_backend(&got, &want, gates);
                }
                cel_free(gates);
                op_run_fini(&got);
                op_run_fini(&want);
            }
        }
    }
    cel_pool_destroy(pool);
}

/* Every operation that is not a gradient has cases, and none of them fails on a graph that lacks memory somewhere. */
static void out_of_memory(void **state) {
    (void)state;
    for (int op = 0; cel_ops[op]; op++) {
        const cel_op_case *c = cel_ops[op]->cases;
        for (uint64_t n = 1; c && c->build && n < 200; n++) {
            cel_graph *g;
            test_ok(cel_graph_create(&g));
            cel_mem_fail_at(n);
            cel_val y = c->build(g), wrt = 0, dy = CEL_NONE;
            if (y != CEL_NONE && cel_ops[op]->grad) {
                cel_val cotangent = cel_graph_input(g, "cotangent", CEL_F32, g->value[y].layout, cel_graph_shape(g, y));
                if (cotangent != CEL_NONE) cel_graph_grad_from(g, y, cotangent, &wrt, 1, &dy);
            }
            cel_status status = cel_graph_seal(g);
            cel_exec *e = NULL;
            int program;
            if (status == CEL_OK) status = cel_exec_create(g, &cel_backend_ref, NULL, &e);
            if (status == CEL_OK) status = cel_exec_add_program(e, CEL_MODE_TRAIN, &y, 1, &program);
            if (status == CEL_OK) status = cel_exec_prepare(e, 1);
            cel_mem_fail_at(0);
            cel_exec_destroy(e);
            cel_graph_destroy(g);
            if (status == CEL_OK) break; /* everything had its memory */
            assert_int_equal(status, CEL_NOMEM);
        }
    }
}

int main(void) {
    setenv("CELLAR_POISON", "1", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients), cmocka_unit_test(backends),
                                       cmocka_unit_test(out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
