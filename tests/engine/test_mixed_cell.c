/* The cpu backend's mixed cell where its 3x3 convolutions go through Winograd's filtering: every CPU level agrees with `ref`, bytes do
 * not depend on the number of threads, and bfloat16 is near single precision where it runs, by dot products and by the matrix unit, and
 * refused where it does not. */
#include "support/test.h"

#include <math.h>

#include "engine/backend/cpu/cpu.h"
#include "engine/exec/exec.h"
#include "engine/nn/nn.h"
#include "engine/op/mixed_cell.h"
#include "support/op_runner.h"

typedef struct {
    const char *name;
    int n, c, h, w, k;
    int gates_off; /* the first gates that are off */
    int path;      /* candidates that alone are on, by edge, as decimal digits; 0: all */
} shape;
/* One image too many for a group, half a batch of a third, several bands of rows, partial channels; channels that are one tile of the matrix
 * unit, several, and none. */
static const shape shapes[] = {{"17 x 16 x 8 x 8", 17, 16, 8, 8, 1, 0, 0},
                               {"40 x 8 x 14 x 4, gates off", 40, 8, 14, 4, 1, 7, 0},
                               {"16 x 32 x 4 x 12, K = 2", 16, 32, 4, 12, 2, 0, 0},
                               {"23 x 16 x 18 x 20, gates off", 23, 16, 18, 20, 1, 7, 0},
                               {"17 x 16 x 12 x 8", 17, 16, 12, 8, 1, 0, 0},
                               {"17 x 16 x 12 x 8, 3x3 only", 17, 16, 12, 8, 1, 0, 333333},
                               {"17 x 16 x 12 x 8, 1x1 only", 17, 16, 12, 8, 1, 0, 222222},
                               {"17 x 16 x 12 x 8, a path", 17, 16, 12, 8, 1, 0, 314231},
                               {"20 x 32 x 12 x 32", 20, 32, 12, 32, 1, 0, 0},
                               {"3 x 48 x 10 x 4, K = 1", 3, 48, 10, 4, 1, 3, 0},
                               {"16 x 128 x 8 x 8, K = 2", 16, 128, 8, 8, 2, 0, 0}};
enum { REF_SHAPES = 8 }; /* the first are small enough for `ref` */
static const char *const bf16_levels[] = {"avx512", "amx"};

typedef struct {
    cel_graph *g;
    cel_val y, grads[32];
    int n_grads;
} net;

static net build_as(const shape *s, bool bf16, bool straight) {
    static const char *const names[] = {"none", "skip", "conv1", "conv3", "pool"};
    net t = {0};
    cel_mixed_cell_attr attr = {.n_nodes = 4,
                                .k = s->k,
                                .n_cols = 5,
                                .kind = {CEL_MIX_NONE, CEL_MIX_SKIP, CEL_MIX_CONV1, CEL_MIX_CONV3, CEL_MIX_POOL},
                                .straight_through = straight,
                                .bf16 = bf16,
                                .bn = {.eps = 1e-5f, .momentum = 0.1f}};
    memset(attr.live, 1, sizeof attr.live);
    test_ok(cel_graph_create(&t.g));
    cel_val x = cel_graph_input(t.g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(s->n, s->c, s->h, s->w));
    cel_val weights = cel_graph_input(t.g, "weights", CEL_F32, CEL_DENSE, CEL_SHAPE(6, 5));
    t.y = cel_nn_mixed_cell(t.g, x, weights, &attr, names, true);
    cel_val wrt[32];
    for (int v = 0; v < t.g->n_values; v++)
        if (t.g->value[v].role == CEL_INPUT || t.g->value[v].role == CEL_PARAM) wrt[t.n_grads++] = v;
    cel_val dy = cel_graph_input(t.g, "dy", CEL_F32, CEL_BATCH, cel_graph_shape(t.g, t.y));
    test_ok(cel_graph_grad_from(t.g, t.y, dy, wrt, t.n_grads, t.grads));
    test_ok(cel_graph_seal(t.g));
    return t;
}
static net build(const shape *s, bool bf16) { return build_as(s, bf16, false); }

static op_runner *prepare(const shape *s, const net *t, const cel_backend *backend, cel_pool *pool, cel_mode mode) {
    op_runner *r;
    test_ok(op_runner_create(t->g, backend, pool, &r));
    test_ok(op_runner_fill(r, 5, 10));
    r->mode = mode;
    for (int i = 0; i < s->gates_off; i++) r->gates[i] = 0;
    for (int row = 0, path = s->path; path; row++, path /= 10)
        for (int col = 0; col < 5; col++) r->gates[row * 5 + col] = col == path % 10;
    return r;
}

static op_runner *run_in(const shape *s, const net *t, const cel_backend *backend, cel_pool *pool, cel_mode mode) {
    op_runner *r = prepare(s, t, backend, pool, mode);
    op_runner_run(r);
    return r;
}

static op_runner *run(const shape *s, const net *t, const cel_backend *backend, cel_pool *pool) {
    return run_in(s, t, backend, pool, CEL_MODE_TRAIN);
}

/* |a - b| / |b| of one value. */
static double distance(const op_runner *a, const op_runner *b, cel_val v) {
    const cel_value *value = &a->g->value[v];
    size_t n = cel_shape_count(value->shape);
    float *x = test_calloc(n, sizeof *x), *y = test_calloc(n, sizeof *y);
    a->backend->unpack(value, a->data[v], x, NULL);
    b->backend->unpack(value, b->data[v], y, NULL);
    double apart = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        apart += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        size += (double)y[i] * (double)y[i];
    }
    test_free(x);
    test_free(y);
    return size > 0 ? sqrt(apart / size) : sqrt(apart);
}

static void check_near(const shape *s, const char *what, const op_runner *got, const op_runner *want, cel_val v,
                       double tolerance) {
    double d = op_runner_active(want, v) ? distance(got, want, v) : 0;
    if (!(d <= tolerance)) fail_msg("%s, %s: value %d is off by %.3g", s->name, what, v, d);
}

static void test_levels_agree_with_ref(void **state) {
    (void)state;
    static const char *const levels[] = {"base", "avx2", "avx512"};
    const char *before = cel_cpu_isa_active()->name;
    cel_pool *pool;
    test_ok(cel_pool_create(2, &pool));
    for (size_t i = 0; i < REF_SHAPES; i++) {
        net t = build(&shapes[i], false);
        op_runner *want = run(&shapes[i], &t, &cel_backend_ref, pool);
        for (size_t k = 0; k < CEL_COUNT(levels); k++) {
            cel_status status = cel_cpu_isa_force(levels[k]);
            if (status == CEL_UNSUPPORTED) continue;
            test_ok(status);
            op_runner *got = run(&shapes[i], &t, &cel_backend_cpu, pool);
            check_near(&shapes[i], levels[k], got, want, t.y, 1e-5);
            for (int v = 0; v < t.n_grads; v++) check_near(&shapes[i], levels[k], got, want, t.grads[v], 1e-5);
            op_runner_destroy(got);
        }
        op_runner_destroy(want);
        cel_graph_destroy(t.g);
    }
    test_ok(cel_cpu_isa_force(before));
    cel_pool_destroy(pool);
}

/* Validation: evaluation mode, and no gradient follows. */
static op_runner *run_forward(const shape *s, const net *t, const cel_backend *backend, cel_pool *pool) {
    op_runner *r = prepare(s, t, backend, pool, CEL_MODE_EVAL);
    r->first_only = true;
    for (int i = 0; i <= t->g->value[t->y].op; i++) op_runner_run_op(r, i);
    return r;
}

static void test_validation_agrees_with_ref(void **state) {
    (void)state;
    static const char *const levels[] = {"base", "avx2", "avx512"};
    const char *before = cel_cpu_isa_active()->name;
    cel_pool *pool[2];
    for (int k = 0; k < 2; k++) test_ok(cel_pool_create(1 + 2 * k, &pool[k]));
    for (size_t i = 0; i < REF_SHAPES; i++) {
        net t = build_as(&shapes[i], false, i % 2); /* off: its weight is added */
        op_runner *want = run_forward(&shapes[i], &t, &cel_backend_ref, pool[0]);
        for (size_t k = 0; k < CEL_COUNT(levels); k++) {
            cel_status status = cel_cpu_isa_force(levels[k]);
            if (status == CEL_UNSUPPORTED) continue;
            test_ok(status);
            op_runner *got[2];
            for (int p = 0; p < 2; p++) got[p] = run_forward(&shapes[i], &t, &cel_backend_cpu, pool[p]);
            check_near(&shapes[i], levels[k], got[0], want, t.y, 2e-6);
            if (memcmp(got[0]->data[t.y], got[1]->data[t.y], got[0]->bytes[t.y]) != 0)
                fail_msg("%s, %s: three threads give other bytes than one", shapes[i].name, levels[k]);
            for (int p = 0; p < 2; p++) op_runner_destroy(got[p]);
        }
        op_runner_destroy(want);
        cel_graph_destroy(t.g);
    }
    test_ok(cel_cpu_isa_force(before));
    for (int k = 0; k < 2; k++) cel_pool_destroy(pool[k]);
}

static bool has_bf16(void) {
    net t = build(&shapes[0], true);
    bool has = cel_backend_cpu.refuses(t.g, &t.g->op[t.g->value[t.y].op]) == NULL;
    cel_graph_destroy(t.g);
    return has;
}

/* Uses the level, if the machine has it and it computes in bfloat16. */
static bool take_bf16_level(const char *name) {
    cel_status status = cel_cpu_isa_force(name);
    if (status != CEL_UNSUPPORTED) test_ok(status);
    return status == CEL_OK && has_bf16();
}

static void check_threads(const shape *s, const char *what, bool bf16) {
    static const int threads[] = {1, 2, 8};
    net t = build(s, bf16);
    op_runner *first = NULL;
    for (size_t k = 0; k < CEL_COUNT(threads); k++) {
        cel_pool *pool;
        test_ok(cel_pool_create(threads[k], &pool));
        op_runner *r = run(s, &t, &cel_backend_cpu, pool);
        for (cel_val v = 0; first && v < t.g->n_values; v++)
            if (op_runner_active(r, v) && memcmp(first->data[v], r->data[v], r->bytes[v]) != 0)
                fail_msg("%s, %s: value %d differs between 1 and %d threads", s->name, what, v, threads[k]);
        if (!first) first = r;
        if (first != r) op_runner_destroy(r);
        cel_pool_destroy(pool);
    }
    op_runner_destroy(first);
    cel_graph_destroy(t.g);
}

static void test_threads_do_not_matter(void **state) {
    (void)state;
    const char *before = cel_cpu_isa_active()->name;
    for (size_t i = 0; i < CEL_COUNT(shapes); i++) check_threads(&shapes[i], "single precision", false);
    for (size_t k = 0; k < CEL_COUNT(bf16_levels); k++)
        for (size_t i = 0; i < CEL_COUNT(shapes) && take_bf16_level(bf16_levels[k]); i++)
            check_threads(&shapes[i], bf16_levels[k], true);
    test_ok(cel_cpu_isa_force(before));
}

/* The gradients in single precision of what a pass in bfloat16 left: else those ReLUs would be measured whose input, near zero, has another
 * sign. */
static op_runner *gradients_of(const shape *s, const net *exact, const net *t, const op_runner *forward,
                               cel_pool *pool) {
    op_runner *r = prepare(s, exact, &cel_backend_cpu, pool, forward->mode);
    for (cel_val v = 0; v < t->g->n_values; v++) {
        if (exact->g->value[v].dtype == t->g->value[v].dtype) {
            memcpy(r->data[v], forward->data[v], forward->bytes[v]);
            continue;
        }
        const uint16_t *half = forward->data[v];
        for (size_t i = 0; i < forward->bytes[v] / sizeof *half; i++) {
            uint32_t wide = (uint32_t)half[i] << 16;
            memcpy((char *)r->data[v] + sizeof wide * i, &wide, sizeof wide);
        }
    }
    for (int i = 0; i < exact->g->n_ops; i++)
        if (exact->g->op[i].def == &cel_op_mixed_cell_grad) op_runner_run_op(r, i);
    return r;
}

static void test_bf16_is_near(void **state) {
    (void)state;
    static const cel_mode modes[] = {CEL_MODE_TRAIN, CEL_MODE_EVAL};
    const char *before = cel_cpu_isa_active()->name;
    int checked = 0;
    cel_pool *pool;
    test_ok(cel_pool_create(2, &pool));
    for (size_t i = 0; i < CEL_COUNT(shapes); i++)
        for (size_t m = 0; m < CEL_COUNT(modes); m++) {
            net exact = build(&shapes[i], false), t = build(&shapes[i], true);
            op_runner *want = run_in(&shapes[i], &exact, &cel_backend_cpu, pool, modes[m]);
            for (size_t k = 0; k < CEL_COUNT(bf16_levels); k++) {
                if (!take_bf16_level(bf16_levels[k])) continue;
                op_runner *got = run_in(&shapes[i], &t, &cel_backend_cpu, pool, modes[m]);
                op_runner *back = gradients_of(&shapes[i], &exact, &t, got, pool);
                if (shapes[i].path != 222222 || !strcmp(bf16_levels[k], "amx"))
                    assert_true(distance(got, want, t.y) > 1e-5); /* it is another precision */
                check_near(&shapes[i], bf16_levels[k], got, want, t.y, 0.007);
                for (int v = 0; v < t.n_grads; v++)
                    check_near(&shapes[i], bf16_levels[k], got, back, t.grads[v], 0.015);
                op_runner_destroy(back);
                op_runner_destroy(got);
                checked++;
            }
            op_runner_destroy(want);
            cel_graph_destroy(exact.g);
            cel_graph_destroy(t.g);
        }
    test_ok(cel_cpu_isa_force(before));
    cel_pool_destroy(pool);
    if (!checked) skip();
}

/* Manifests name the level avx512 for runs in single precision on either. */
static void test_amx_is_avx512_in_single_precision(void **state) {
    (void)state;
    const char *before = cel_cpu_isa_active()->name;
    if (cel_cpu_isa_force("amx") == CEL_UNSUPPORTED) skip();
    for (size_t i = 0; i < CEL_COUNT(shapes); i++) {
        net t = build(&shapes[i], false);
        op_runner *r[2];
        for (int k = 0; k < 2; k++) {
            test_ok(cel_cpu_isa_force(bf16_levels[k]));
            r[k] = run(&shapes[i], &t, &cel_backend_cpu, NULL);
        }
        for (cel_val v = 0; v < t.g->n_values; v++)
            if (op_runner_active(r[0], v) && memcmp(r[0]->data[v], r[1]->data[v], r[0]->bytes[v]) != 0)
                fail_msg("%s: value %d differs between avx512 and amx", shapes[i].name, v);
        op_runner_destroy(r[0]);
        op_runner_destroy(r[1]);
        cel_graph_destroy(t.g);
    }
    test_ok(cel_cpu_isa_force(before));
}

static void refused(const shape *s, const cel_backend *backend, const char *why) {
    net t = build(s, true);
    cel_pool *pool;
    cel_exec *exec;
    int program;
    test_ok(cel_pool_create(1, &pool));
    test_ok(cel_exec_create(t.g, backend, pool, &exec));
    test_fails(cel_exec_add_program(exec, CEL_MODE_TRAIN, &t.y, 1, &program), CEL_UNSUPPORTED, why);
    cel_exec_destroy(exec);
    cel_pool_destroy(pool);
    cel_graph_destroy(t.g);
}

static void test_bf16_refused(void **state) {
    (void)state;
    static const shape few = {"", 16, 4, 8, 8, 1, 0, 0}, odd = {"", 16, 8, 7, 8, 1, 0, 0},
                       thin = {"", 16, 8, 8, 6, 1, 0, 0}, wide = {"", 16, 8, 2, 36, 1, 0, 0};
    refused(&shapes[0], &cel_backend_ref, "single precision");
    if (!has_bf16()) {
        refused(&shapes[0], &cel_backend_cpu, "AVX512-BF16");
        return;
    }
    refused(&few, &cel_backend_cpu, "8 channels");
    refused(&odd, &cel_backend_cpu, "even height");
    refused(&thin, &cel_backend_cpu, "widths");
    refused(&wide, &cel_backend_cpu, "32 pixels");
    const char *before = cel_cpu_isa_active()->name;
    test_ok(cel_cpu_isa_force("base"));
    refused(&shapes[0], &cel_backend_cpu, "AVX512-BF16");
    test_ok(cel_cpu_isa_force(before));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_levels_agree_with_ref),
                                       cmocka_unit_test(test_validation_agrees_with_ref),
                                       cmocka_unit_test(test_threads_do_not_matter),
                                       cmocka_unit_test(test_bf16_is_near),
                                       cmocka_unit_test(test_amx_is_avx512_in_single_precision),
                                       cmocka_unit_test(test_bf16_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
