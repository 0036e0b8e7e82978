/* Layers of search spaces: parameter names and shapes; the mixed cell, fused and plain, is one function on every
 * backend. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "engine/exec/exec.h"
#include "engine/nn/nn.h"
#include "support/test.h"

static const char *const op_name[] = {"none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"};
static const cel_mix_kind kinds[] = {CEL_MIX_NONE, CEL_MIX_SKIP, CEL_MIX_CONV1, CEL_MIX_CONV3, CEL_MIX_POOL};
enum { ROWS = 6, COLS = 5, GATES = ROWS * COLS };

typedef struct setup {
    int n, c, h, w, k;
    bool straight_through;
    uint32_t live; /* bit row * 5 + column */
} setup;

/* Two cells on one set of edge weights, with the gradient of everything. */
typedef struct built {
    cel_graph *g;
    cel_exec *e;
    cel_val x, weights, dy, y, d[128];
    int program;
} built;

static void build(built *b, const setup *s, bool fused, const cel_backend *backend, cel_pool *pool, cel_mode mode) {
    cel_mixed_cell_attr attr = {.n_nodes = 4,
                                .k = s->k,
                                .n_cols = COLS,
                                .straight_through = s->straight_through,
                                .bn = {.eps = 1e-5f, .momentum = 0.1f}};
    cel_val wrt[128], targets[129];
    *b = (built){0};
    for (int i = 0; i < COLS; i++) attr.kind[i] = kinds[i];
    for (int i = 0; i < GATES; i++) attr.live[i / COLS][i % COLS] = s->live >> i & 1;
    test_ok(cel_graph_create(&b->g));
    cel_graph *g = b->g;
    b->x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(s->n, s->c, s->h, s->w));
    b->weights = cel_graph_input(g, "weights", CEL_F32, CEL_DENSE, CEL_SHAPE(ROWS, COLS));
    b->dy = cel_graph_input(g, "dy", CEL_F32, CEL_BATCH, CEL_SHAPE(s->n, s->c, s->h, s->w));
    b->y = b->x;
    for (int i = 0; i < 2; i++) {
        cel_graph_push(g, "cell%d", i);
        b->y = cel_nn_mixed_cell(g, b->y, b->weights, &attr, op_name, fused);
        cel_graph_pop(g);
    }
    int n = 0;
    wrt[n++] = b->x;
    wrt[n++] = b->weights;
    for (int v = 0; v < g->n_values; v++)
        if (g->value[v].role == CEL_PARAM) wrt[n++] = v;
    test_ok(cel_graph_grad_from(g, b->y, b->dy, wrt, n, b->d));
    test_ok(cel_graph_seal(g));
    targets[0] = b->y;
    for (int i = 0; i < n; i++) targets[1 + i] = b->d[i];
    test_ok(cel_exec_create(g, backend, pool, &b->e));
    test_ok(cel_exec_add_program(b->e, mode, targets, 1 + n, &b->program));
    test_ok(cel_exec_prepare(b->e, 3));
    assert_int_equal(g->n_gates, GATES);
}

static void destroy(built *b) {
    cel_exec_destroy(b->e);
    cel_graph_destroy(b->g);
}

static void run(built *b, const setup *s, uint64_t seed, const uint8_t *gates) {
    size_t n = (size_t)(s->n * s->c * s->h * s->w);
    float *x = cel_alloc(n, sizeof *x), weights[GATES];
    cel_rng rng = cel_rng_at(seed, "cell", 0, 0);
    for (size_t i = 0; i < n; i++) x[i] = (float)cel_rng_normal(&rng);
    cel_exec_write(b->e, b->x, x);
    for (size_t i = 0; i < n; i++) x[i] = (float)cel_rng_normal(&rng);
    cel_exec_write(b->e, b->dy, x);
    /* straight-through weights of candidates that are off are zero */
    for (int i = 0; i < GATES; i++)
        weights[i] = s->straight_through && !gates[i] ? 0 : (float)(0.1 + cel_rng_uniform(&rng));
    cel_exec_write(b->e, b->weights, weights);
    cel_exec_set_gates(b->e, gates, GATES);
    cel_exec_run(b->e, b->program);
    cel_free(x);
}

/* |a - b| <= relative |b| + floor, as L2 norms. Returns |b|. */
static double close_enough(const float *a, const float *b, size_t n, double relative, double floor, const char *what) {
    double off = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        off += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    if (!(sqrt(off) <= relative * sqrt(size) + floor)) fail_msg("%s: off by %.3g of %.3g", what, sqrt(off), sqrt(size));
    return sqrt(size);
}

static float *read_value(built *b, cel_val v, size_t n) {
    float *x = cel_alloc(n, sizeof *x);
    assert_non_null(x);
    if (v != CEL_NONE) cel_exec_read(b->e, v, x);
    return x;
}

/* Two values of the shape of `like`; CEL_NONE, a gradient that cannot be, is zeros. */
static double compare(built *got, built *want, cel_val like, cel_val a, cel_val b, double relative, double floor,
                      const char *what) {
    size_t n = cel_shape_count(cel_graph_shape(want->g, like));
    float *x = read_value(got, a, n), *y = read_value(want, b, n);
    double size = close_enough(x, y, n, relative, floor, what);
    cel_free(x);
    cel_free(y);
    return size;
}

static void same_blocks(built *got, built *want, double floor) {
    int n_got, n_want;
    size_t size, other;
    const cel_slot *a = cel_exec_param_slots(got->e, &n_got), *b = cel_exec_param_slots(want->e, &n_want);
    assert_int_equal(n_got, n_want);
    for (int i = 0; i < n_want; i++) {
        assert_string_equal(a[i].name, b[i].name);
        assert_true(a[i].offset == b[i].offset && a[i].gate == b[i].gate && cel_shape_equal(a[i].shape, b[i].shape));
    }
    const float *p = cel_exec_params(got->e, &size), *q = cel_exec_params(want->e, &other);
    assert_true(size == other);
    assert_memory_equal(p, q, size * sizeof *p); /* the same first values */
    p = cel_exec_grads(got->e, &size);
    q = cel_exec_grads(want->e, &other);
    assert_true(size == other);
    for (int i = 0; i < n_want && size; i++)
        close_enough(p + b[i].offset, q + b[i].offset, b[i].count, 2e-4, floor, b[i].name);
    a = cel_exec_state_slots(got->e, &n_got);
    b = cel_exec_state_slots(want->e, &n_want);
    assert_int_equal(n_got, n_want);
    p = cel_exec_states(got->e, &size);
    q = cel_exec_states(want->e, &other);
    for (int i = 0; i < n_want; i++) {
        assert_string_equal(a[i].name, b[i].name);
        assert_true(a[i].gate == b[i].gate);
        close_enough(p + a[i].offset, q + b[i].offset, b[i].count, 2e-5, 1e-6, b[i].name);
    }
}

static const setup setups[] = {
    {3, 4, 5, 4, 1, false, (1u << GATES) - 1},  {5, 8, 4, 5, 2, false, (1u << GATES) - 1},
    {2, 8, 3, 3, 4, false, (1u << GATES) - 1},  {3, 4, 4, 4, 1, true, (1u << GATES) - 1},
    {17, 6, 4, 3, 3, false, (1u << GATES) - 1}, {4, 6, 5, 5, 2, false, 0x2d6b35b6u & ((1u << GATES) - 1)},
    {4, 4, 4, 4, 1, false, 0x18c00421u},        {3, 4, 4, 4, 2, false, 0}};

static void fused_is_plain(void **state) {
    (void)state;
    cel_pool *pool;
    test_ok(cel_pool_create(2, &pool));
    int compared = 0;
    for (const cel_backend *const *backend = cel_backends; *backend; backend++) {
        if ((*backend)->unavailable()) {
            print_message("skipped: %s: %s\n", (*backend)->name, (*backend)->unavailable());
            continue;
        }
        for (size_t i = 0; i < CEL_COUNT(setups) * 2; i++) {
            const setup *s = &setups[i / 2];
            cel_mode mode = i % 2 ? CEL_MODE_EVAL : CEL_MODE_TRAIN;
            for (int fused = 0; fused < 2; fused++) {
                if (!fused && *backend == &cel_backend_ref) continue; /* that is what the others are compared with */
                built got, want;
                build(&got, s, fused, *backend, pool, mode);
                build(&want, s, false, &cel_backend_ref, NULL, mode);
                for (uint64_t round = 0; round < 4; round++) {
                    uint8_t gates[GATES];
                    cel_rng rng = cel_rng_at(round, "gates", i, 0);
                    for (int row = 0; row < ROWS; row++) {
                        int one = (int)cel_rng_below(&rng, COLS);
                        for (int col = 0; col < COLS; col++) /* all, one a row (GDAS), by chance, none */
                            gates[row * COLS + col] = round == 0   ? 1
                                                      : round == 1 ? col == one
                                                      : round == 2 ? cel_rng_below(&rng, 2) == 1
                                                                   : 0;
                    }
                    run(&got, s, round, gates);
                    run(&want, s, round, gates);
                    compare(&got, &want, want.y, got.y, want.y, 2e-5, 1e-6, "y");
                    double all = 1 + compare(&got, &want, want.dy, got.dy, want.dy, 0, 0, "dy");
                    compare(&got, &want, want.x, got.d[0], want.d[0], 2e-4, 4e-6 * all, "dx");
                    compare(&got, &want, want.weights, got.d[1], want.d[1], 2e-4, 4e-6 * all, "dweights");
                    same_blocks(&got, &want, 4e-6 * all);
                    compared++;
                }
                destroy(&got);
                destroy(&want);
            }
        }
    }
    assert_true(compared > 0);
    cel_pool_destroy(pool);
}

static void mixed_cell_names(void **state) {
    (void)state;
    built b;
    int n;
    build(&b, &setups[0], true, &cel_backend_ref, NULL, CEL_MODE_TRAIN);
    const cel_slot *slot = cel_exec_param_slots(b.e, &n);
    assert_int_equal(n, 24);
    assert_string_equal(slot[0].name, "cell0.edge1<-0.nor_conv_1x1.conv.weight");
    assert_string_equal(slot[1].name, "cell0.edge1<-0.nor_conv_3x3.conv.weight");
    assert_string_equal(slot[2].name, "cell0.edge2<-0.nor_conv_1x1.conv.weight");
    assert_string_equal(slot[23].name, "cell1.edge3<-2.nor_conv_3x3.conv.weight");
    assert_true(cel_shape_equal(slot[23].shape, CEL_SHAPE(4, 4, 3, 3)) && slot[23].gate == 28);
    slot = cel_exec_state_slots(b.e, &n);
    assert_int_equal(n, 48);
    assert_string_equal(slot[0].name, "cell0.edge1<-0.nor_conv_1x1.bn.running_mean");
    assert_string_equal(slot[1].name, "cell0.edge1<-0.nor_conv_1x1.bn.running_var");
    destroy(&b);
}

static void has(const cel_graph *g, const char *name, cel_shape shape) {
    cel_val v = cel_graph_find(g, name);
    if (v == CEL_NONE) fail_msg("no value named %s", name);
    assert_true(cel_shape_equal(cel_graph_shape(g, v), shape));
}

static void darts_layers(void **state) {
    (void)state;
    cel_graph *g;
    test_ok(cel_graph_create(&g));
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(2, 6, 8, 10));
    cel_graph_push(g, "reduce");
    cel_val y = cel_nn_factorized_reduce(g, x, 9, CEL_NN_NORM(true));
    cel_graph_pop(g);
    assert_true(cel_shape_equal(cel_graph_shape(g, y), CEL_SHAPE(2, 9, 4, 5)));
    has(g, "reduce.conv1.weight", CEL_SHAPE(4, 6, 1, 1));
    has(g, "reduce.conv2.weight", CEL_SHAPE(5, 6, 1, 1));
    has(g, "reduce.bn.bias", CEL_SHAPE(9));
    for (int kernel = 3; kernel <= 7; kernel += 2) {
        for (int stride = 1; stride <= 2; stride++) {
            cel_shape want = CEL_SHAPE(2, 4, 8 / stride, 10 / stride);
            cel_graph_push(g, "sep%d_%d", kernel, stride);
            y = cel_nn_sep_conv(g, x, 4, kernel, stride, CEL_NN_NORM(false));
            cel_graph_pop(g);
            assert_true(cel_shape_equal(cel_graph_shape(g, y), want));
            cel_graph_push(g, "dil%d_%d", kernel, stride);
            y = cel_nn_dil_conv(g, x, 4, kernel, stride, CEL_NN_NORM(false));
            cel_graph_pop(g);
            assert_true(cel_shape_equal(cel_graph_shape(g, y), want));
        }
    }
    test_ok(cel_graph_seal(g));
    has(g, "sep5_2.dw1.weight", CEL_SHAPE(6, 1, 5, 5));
    has(g, "sep5_2.pw1.weight", CEL_SHAPE(6, 6, 1, 1));
    has(g, "sep5_2.bn1.running_mean", CEL_SHAPE(6));
    has(g, "sep5_2.dw2.weight", CEL_SHAPE(6, 1, 5, 5));
    has(g, "sep5_2.pw2.weight", CEL_SHAPE(4, 6, 1, 1));
    has(g, "sep5_2.bn2.running_var", CEL_SHAPE(4));
    has(g, "dil3_1.dw.weight", CEL_SHAPE(6, 1, 3, 3));
    has(g, "dil3_1.pw.weight", CEL_SHAPE(4, 6, 1, 1));
    assert_int_equal(cel_graph_find(g, "dil3_1.bn.weight"), CEL_NONE); /* not affine */
    cel_graph_destroy(g);
}

/* More convolutions than a fused cell takes. */
static void large_cell(void **state) {
    (void)state;
    static const char *const names[CEL_MIX_MAX_COLS] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    cel_mixed_cell_attr attr = {.n_nodes = CEL_MIX_MAX_NODES, .k = 1, .n_cols = CEL_MIX_MAX_COLS, .bn = {1e-5f, 0.1f}};
    for (int col = 0; col < CEL_MIX_MAX_COLS; col++) attr.kind[col] = col % 2 ? CEL_MIX_CONV1 : CEL_MIX_CONV3;
    memset(attr.live, 1, sizeof attr.live);
    for (int fused = 0; fused < 2; fused++) {
        cel_graph *g;
        test_ok(cel_graph_create(&g));
        cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(1, 2, 3, 3));
        cel_val weights =
            cel_graph_input(g, "weights", CEL_F32, CEL_DENSE, CEL_SHAPE(CEL_MIX_MAX_ROWS, CEL_MIX_MAX_COLS));
        cel_nn_mixed_cell(g, x, weights, &attr, names, fused);
        if (fused) {
            test_fails(cel_graph_seal(g), CEL_SHAPE, "at most 28 in a fused cell; build it plain");
        } else {
            test_ok(cel_graph_seal(g));
            has(g, "edge1<-0.a.conv.weight", CEL_SHAPE(2, 2, 3, 3));
            has(g, "edge5<-4.h.bn.running_var", CEL_SHAPE(2));
        }
        cel_graph_destroy(g);
    }
}

int main(void) {
    setenv("CELLAR_POISON", "1", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(mixed_cell_names), cmocka_unit_test(darts_layers),
                                       cmocka_unit_test(large_cell), cmocka_unit_test(fused_is_plain)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
