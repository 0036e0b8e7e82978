/* Building graphs: errors and their scopes, names, gates, what a gradient adds, gradients of gradients. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "engine/exec/exec.h"
#include "engine/nn/nn.h"
#include "support/test.h"

static cel_val image(cel_graph *g, int n, int c, int h, int w) {
    return cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, c, h, w));
}

static const cel_conv2d_attr same = {1, 1, 1, 1};

static void first_error_with_its_scope(void **state) {
    (void)state;
    cel_graph *g;
    test_ok(cel_graph_create(&g));
    cel_val x = image(g, 2, 4, 8, 8);
    cel_graph_push(g, "cell%d", 3);
    cel_graph_push(g, "edge2<-0");
    cel_val wrong = cel_conv2d(g, x, cel_graph_param(g, "weight", CEL_SHAPE(4, 5, 3, 3), CEL_INIT_UNIFORM), same);
    assert_int_equal(wrong, CEL_NONE);
    cel_graph_pop(g);
    cel_graph_pop(g);
    /* NONE runs through everything behind it, and a second error does not cover the first. */
    assert_int_equal(cel_relu(g, wrong), CEL_NONE);
    assert_int_equal(cel_concat(g, (cel_val[]){wrong, x}, 2), CEL_NONE);
    assert_int_equal(cel_nn_linear(g, "classifier", cel_global_pool(g, wrong), 10, true), CEL_NONE);
    assert_int_equal(cel_softmax_cross_entropy(g, wrong, x, 0).loss, CEL_NONE);
    cel_val dx = 0;
    test_fails(cel_graph_grad(g, wrong, &x, 1, &dx), CEL_SHAPE, "cell3.edge2<-0: conv2d: the weight takes 5 channels");
    test_fails(cel_graph_seal(g), CEL_SHAPE, "cell3.edge2<-0: conv2d: the weight takes 5 channels a group, x has 4");
    cel_graph_destroy(g);
}

/* Each builds something wrong in a fresh graph; the message must hold the text. */
typedef struct wrong_build {
    void (*build)(cel_graph *g);
    const char *text;
} wrong_build;

static void too_small(cel_graph *g) {
    cel_conv2d(g, image(g, 1, 1, 2, 2), cel_graph_param(g, "w", CEL_SHAPE(1, 1, 3, 3), CEL_INIT_ONE),
               (cel_conv2d_attr){1, 0, 1, 1});
}
static void groups(cel_graph *g) {
    cel_conv2d(g, image(g, 1, 4, 8, 8), cel_graph_param(g, "w", CEL_SHAPE(4, 1, 3, 3), CEL_INIT_ONE),
               (cel_conv2d_attr){1, 1, 1, 3});
}
static void stride(cel_graph *g) {
    cel_conv2d(g, image(g, 1, 4, 8, 8), cel_graph_param(g, "w", CEL_SHAPE(4, 4, 3, 3), CEL_INIT_ONE),
               (cel_conv2d_attr){0, 1, 1, 1});
}
static void pool_pad(cel_graph *g) { cel_max_pool(g, image(g, 1, 1, 8, 8), (cel_pool2d_attr){3, 1, 2}); }
static void slice(cel_graph *g) { cel_slice(g, image(g, 1, 4, 2, 2), 3, 2); }
static void crop(cel_graph *g) { cel_crop(g, image(g, 1, 1, 2, 2), 2, 0); }
static void shuffle(cel_graph *g) { cel_channel_shuffle(g, image(g, 1, 5, 2, 2), 2); }
static void concat(cel_graph *g) {
    cel_val x = image(g, 1, 5, 2, 2), y = cel_graph_input(g, "y", CEL_F32, CEL_BATCH, CEL_SHAPE(1, 5, 2, 3));
    cel_concat(g, (cel_val[]){x, y}, 2);
}
static void add_shapes(cel_graph *g) {
    cel_val x = image(g, 1, 5, 2, 2), y = cel_graph_param(g, "y", CEL_SHAPE(1, 5, 2, 2), CEL_INIT_ONE);
    cel_add(g, (cel_val[]){x, y}, 2);
}
static void missing(cel_graph *g) { cel_relu(g, cel_graph_find(g, "no such value")); }
static void foreign(cel_graph *g) { cel_relu(g, 77); }
static void integers(cel_graph *g) { cel_relu(g, cel_graph_input(g, "l", CEL_I32, CEL_BATCH, CEL_SHAPE(4))); }
static void labels(cel_graph *g) {
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(4, 3));
    cel_softmax_cross_entropy(g, x, cel_graph_input(g, "l", CEL_I32, CEL_BATCH, CEL_SHAPE(5)), 0);
}
static void no_dimension(cel_graph *g) { cel_graph_param(g, "w", CEL_SHAPE(3, 0), CEL_INIT_ONE); }
static void huge(cel_graph *g) { cel_graph_param(g, "w", CEL_SHAPE(1 << 30, 1 << 30, 1 << 30), CEL_INIT_ONE); }
static void rank(cel_graph *g) { cel_graph_param(g, "w", (cel_shape){5, {1, 1, 1, 1}}, CEL_INIT_ONE); }
static void rank_3(cel_graph *g) { cel_graph_input(g, "w", CEL_F32, CEL_BATCH, CEL_SHAPE(1, 2, 3)); }
static void unnamed(cel_graph *g) { cel_graph_param(g, "", CEL_SHAPE(1), CEL_INIT_ONE); }
static void twice(cel_graph *g) {
    cel_graph_param(g, "w", CEL_SHAPE(1), CEL_INIT_ONE);
    cel_graph_param(g, "w", CEL_SHAPE(2), CEL_INIT_ONE);
}
static void not_popped(cel_graph *g) { cel_graph_push(g, "cell"); }
static void deep(cel_graph *g) {
    for (int i = 0; i < 40; i++) cel_graph_push(g, "s");
    for (int i = 0; i < 40; i++) cel_graph_pop(g);
}
static void gate(cel_graph *g) { cel_graph_gate(g, -2); }
static void leak(cel_graph *g) { /* a gated value read by an operation that cannot leave it out */
    cel_val x = image(g, 1, 1, 2, 2);
    int before = cel_graph_gate(g, 4);
    x = cel_relu(g, x);
    cel_graph_gate(g, before);
    cel_relu(g, x);
}
static void affine_half(cel_graph *g) {
    cel_val s = cel_graph_state(g, "m", CEL_SHAPE(1), CEL_INIT_ONE),
            t = cel_graph_state(g, "v", CEL_SHAPE(1), CEL_INIT_ONE);
    cel_batch_norm(g, image(g, 1, 1, 2, 2), cel_graph_param(g, "w", CEL_SHAPE(1), CEL_INIT_ONE), CEL_NONE, s, t,
                   (cel_batch_norm_attr){1e-5f, 0.1f, false});
}
static void running(cel_graph *g) {
    cel_val p = cel_graph_param(g, "m", CEL_SHAPE(1), CEL_INIT_ONE);
    cel_batch_norm(g, image(g, 1, 1, 2, 2), CEL_NONE, CEL_NONE, p, p, (cel_batch_norm_attr){1e-5f, 0.1f, false});
}
static void probability(cel_graph *g) { cel_dropout(g, image(g, 1, 1, 2, 2), 1); }
static void entry(cel_graph *g) {
    cel_val x = image(g, 1, 1, 2, 2), w = cel_graph_param(g, "w", CEL_SHAPE(2, 2), CEL_INIT_ONE);
    cel_weighted_sum(g, w, &x, (cel_weighted_sum_attr){1, {2}, {0}, false});
}
static void candidates(cel_graph *g) {
    cel_val x = image(g, 1, 1, 2, 2), w = cel_graph_param(g, "w", CEL_SHAPE(2, 2), CEL_INIT_ONE);
    cel_weighted_sum(g, w, &x, (cel_weighted_sum_attr){.n = 17});
}
static void channels_by_k(cel_graph *g) {
    const char *const names[] = {"skip"};
    cel_mixed_cell_attr a = {.n_nodes = 2, .k = 4, .n_cols = 1, .kind = {CEL_MIX_SKIP}, .live = {{1}}};
    cel_nn_mixed_cell(g, image(g, 1, 6, 2, 2), cel_graph_param(g, "w", CEL_SHAPE(1, 1), CEL_INIT_ONE), &a, names, true);
}

static void wrong_builds(void **state) {
    (void)state;
    static const wrong_build builds[] = {{too_small, "does not fit into 2x2 pixels"},
                                         {groups, "cannot be cut into 3 groups"},
                                         {stride, "stride 0"},
                                         {pool_pad, "more than half of the kernel"},
                                         {slice, "2 channels from 3 on, x has 4"},
                                         {crop, "nothing is left"},
                                         {shuffle, "5 channels cannot be cut into 2 groups"},
                                         {concat, "expected 1x5x2x2, found 1x5x2x3"},
                                         {add_shapes, "runs over images"},
                                         {missing, "x is missing"},
                                         {foreign, "no value of this graph"},
                                         {integers, "holds integers"},
                                         {labels, "expected 4 integers"},
                                         {no_dimension, "dimension 1 is 0"},
                                         {huge, "2^40"},
                                         {rank, "rank 5"},
                                         {rank_3, "rank 1, 2 or 4"},
                                         {unnamed, "needs a name"},
                                         {twice, "two values are named w"},
                                         {not_popped, "never popped"},
                                         {deep, "nested deeper"},
                                         {gate, "gate -2"},
                                         {leak, "made under gate 4"},
                                         {affine_half, "come together"},
                                         {running, "is no state"},
                                         {probability, "0 <= p < 1"},
                                         {entry, "row 2, column 0 lie outside the weights 2x2"},
                                         {candidates, "17 candidates"},
                                         {channels_by_k, "channels divisible by k"}};
    for (size_t i = 0; i < CEL_COUNT(builds); i++) {
        cel_graph *g;
        test_ok(cel_graph_create(&g));
        builds[i].build(g);
        cel_status status = cel_graph_seal(g);
        if (status != CEL_SHAPE && status != CEL_INTERNAL) print_error("wanted: %s\n", builds[i].text);
        test_fails(status, status == CEL_INTERNAL ? CEL_INTERNAL : CEL_SHAPE, builds[i].text);
        cel_graph_destroy(g);
    }
}

static void names(void **state) {
    (void)state;
    cel_graph *g;
    test_ok(cel_graph_create(&g));
    cel_val x = image(g, 2, 3, 8, 8);
    cel_graph_push(g, "cell%d", 0);
    cel_graph_push(g, "edge%d<-%d", 1, 0);
    cel_graph_push(g, "nor_conv_3x3");
    cel_nn_relu_conv_bn(g, x, 5, 3, 2, 1, CEL_NN_NORM(true));
    cel_graph_pop(g);
    cel_graph_pop(g);
    cel_graph_pop(g);
    cel_val y = cel_nn_linear(g, "classifier", cel_global_pool(g, x), 10, true);
    test_ok(cel_graph_seal(g));
    const char *const want[] = {"x",
                                "cell0.edge1<-0.nor_conv_3x3.conv.weight",
                                "cell0.edge1<-0.nor_conv_3x3.bn.weight",
                                "cell0.edge1<-0.nor_conv_3x3.bn.bias",
                                "cell0.edge1<-0.nor_conv_3x3.bn.running_mean",
                                "cell0.edge1<-0.nor_conv_3x3.bn.running_var",
                                "classifier.weight",
                                "classifier.bias"};
    for (size_t i = 0; i < CEL_COUNT(want); i++) {
        cel_val v = cel_graph_find(g, want[i]);
        assert_true(v != CEL_NONE);
        assert_string_equal(cel_graph_name(g, v), want[i]);
    }
    assert_int_equal(cel_graph_find(g, ""), CEL_NONE);
    assert_string_equal(cel_graph_name(g, y), "");
    assert_true(cel_shape_equal(cel_graph_shape(g, y), CEL_SHAPE(2, 10)));
    /* 2 x (images x pixels x out x c k k), and the classifier's */
    assert_true(cel_graph_flops(g, NULL) == 2.0 * (2 * 4 * 4 * 5 * 3 * 9) + 2.0 * (2 * 10 * 3));
    cel_graph_destroy(g);
}

static int count(const cel_graph *g, const cel_op_def *def) {
    int n = 0;
    for (int i = 0; i < g->n_ops; i++) n += g->op[i].def == def;
    return n;
}

/* Only what the wanted gradients need is added. */
static void gradient_is_lean(void **state) {
    (void)state;
    cel_graph *g;
    test_ok(cel_graph_create(&g));
    cel_val x = image(g, 2, 3, 8, 8), w[2], edge, grads[3], lonely;
    cel_val labels_in = cel_graph_input(g, "labels", CEL_I32, CEL_BATCH, CEL_SHAPE(2));
    edge = cel_graph_input(g, "edge", CEL_F32, CEL_DENSE, CEL_SHAPE(1, 1));
    w[0] = cel_graph_param(g, "w0", CEL_SHAPE(3, 3, 3, 3), CEL_INIT_UNIFORM);
    w[1] = cel_graph_param(g, "w1", CEL_SHAPE(3, 3, 3, 3), CEL_INIT_UNIFORM);
    lonely = cel_graph_param(g, "lonely", CEL_SHAPE(3), CEL_INIT_ZERO);
    cel_val y = cel_conv2d(g, x, w[0], same);
    y = cel_weighted_sum(g, edge, &y, (cel_weighted_sum_attr){1, {0}, {0}, false});
    y = cel_conv2d(g, y, w[1], same);
    cel_val loss = cel_softmax_cross_entropy(g, cel_global_pool(g, y), labels_in, 0).loss;
    int before = g->n_ops;
    test_ok(cel_graph_grad(g, loss, (cel_val[]){edge, lonely}, 2, grads));
    assert_int_equal(grads[1], CEL_NONE); /* the loss does not depend on it */
    assert_int_equal(count(g, &cel_op_conv2d_dw), 0);
    assert_int_equal(count(g, &cel_op_conv2d_dx), 1);
    assert_int_equal(g->n_ops - before, 5); /* one, cross entropy, pool, conv2d_dx, weighted_sum_dw */
    assert_int_equal(g->value[grads[0]].grad_of, CEL_NONE);
    test_ok(cel_graph_grad(g, loss, (cel_val[]){w[0], w[1], x}, 3, grads));
    assert_int_equal(count(g, &cel_op_conv2d_dw), 2);
    assert_int_equal(count(g, &cel_op_conv2d_dx), 1 + 2);
    assert_int_equal(g->value[grads[0]].grad_of, w[0]);
    assert_int_equal(g->value[grads[1]].grad_of, w[1]);
    for (int i = before; i < g->n_ops; i++) assert_true(g->op[i].gradient);
    test_ok(cel_graph_seal(g));
    cel_graph_destroy(g);
}

/* A sum's terms have one gradient; two parameters still get two places. */
static void shared_gradient(void **state) {
    (void)state;
    cel_graph *g;
    cel_exec *e;
    int program;
    test_ok(cel_graph_create(&g));
    cel_val p[2] = {cel_graph_param(g, "a", CEL_SCALAR, CEL_INIT_ONE),
                    cel_graph_param(g, "b", CEL_SCALAR, CEL_INIT_ONE)};
    cel_val grads[2], loss = cel_scale(g, cel_add(g, p, 2), 3);
    test_ok(cel_graph_grad(g, loss, p, 2, grads));
    test_ok(cel_graph_seal(g));
    assert_int_equal(g->value[grads[0]].grad_of, p[0]);
    assert_int_equal(g->value[grads[1]].grad_of, p[1]);
    test_ok(cel_exec_create(g, &cel_backend_ref, NULL, &e));
    test_ok(cel_exec_add_program(e, CEL_MODE_TRAIN, grads, 2, &program));
    test_ok(cel_exec_prepare(e, 1));
    cel_exec_run(e, program);
    size_t n;
    float *grad = cel_exec_grads(e, &n);
    assert_int_equal(n, 32);
    assert_true(grad[0] == 3 && grad[16] == 3);
    cel_exec_destroy(e);
    cel_graph_destroy(g);
}

static void not_differentiable(void **state) {
    (void)state;
    cel_graph *g;
    test_ok(cel_graph_create(&g));
    cel_val rate = cel_graph_input(g, "rate", CEL_F32, CEL_DENSE, CEL_SCALAR), d;
    cel_graph_push(g, "cell1");
    cel_val m = cel_drop_mask(g, rate, 4);
    cel_graph_pop(g);
    cel_val dm = cel_graph_input(g, "dm", CEL_F32, CEL_BATCH, CEL_SHAPE(4));
    test_fails(cel_graph_grad_from(g, m, dm, &rate, 1, &d), CEL_UNSUPPORTED, "cell1: drop_mask has no gradient");
    test_fails(cel_graph_seal(g), CEL_UNSUPPORTED, "drop_mask");
    cel_graph_destroy(g);
}

/* grad of grad: h = d/dp <dL/dp, v> by cel_graph_grad against the difference (dL/dp(p + t v) - dL/dp(p - t v)) / 2t,
 * over a network of all operations that can be differentiated twice. L is sum(y c) and y is quadratic or more in the
 * parameters. */
static void second_gradient(void **state) {
    (void)state;
    enum { P = 4 };
    cel_graph *g;
    test_ok(cel_graph_create(&g));
    cel_val x = image(g, 2, 4, 6, 5), p[P], v[P], dp[P], h[P], part[P];
    const cel_shape shapes[P] = {CEL_SHAPE(4, 4, 3, 3), CEL_SHAPE(2, 2), CEL_SHAPE(8, 2, 1, 1), CEL_SHAPE(3, 8)};
    char name[P][4] = {"p0", "p1", "p2", "p3"}, v_name[P][4] = {"v0", "v1", "v2", "v3"};
    for (int i = 0; i < P; i++) {
        p[i] = cel_graph_param(g, name[i], shapes[i], CEL_INIT_UNIFORM);
        v[i] = cel_graph_input(g, v_name[i], CEL_F32, CEL_DENSE, shapes[i]);
    }
    cel_val y = cel_conv2d(g, cel_relu(g, x), p[0], same);
    cel_val candidates_in[2] = {cel_avg_pool(g, y, (cel_pool2d_attr){3, 1, 1}), cel_scale(g, y, 0.5f)};
    y = cel_weighted_sum(g, p[1], candidates_in, (cel_weighted_sum_attr){2, {0, 1}, {1, 1}, false});
    y = cel_channel_shuffle(g, cel_concat(g, (cel_val[]){cel_slice(g, y, 0, 1), cel_slice(g, y, 1, 3)}, 2), 2);
    y = cel_conv2d(g, cel_relu(g, cel_crop(g, y, 1, 1)), p[2], (cel_conv2d_attr){2, 0, 1, 2});
    y = cel_add(g, (cel_val[]){y, y}, 2);
    y = cel_linear(g, cel_dropout(g, cel_global_pool(g, y), 0.3f), p[3], CEL_NONE);
    cel_val c = cel_graph_input(g, "c", CEL_F32, CEL_BATCH, CEL_SHAPE(2, 3));
    test_ok(cel_graph_grad_from(g, y, c, p, P, dp));
    /* h = sum over i of d/dp <dp_i, v_i>: each grad_from gives one term of every h */
    cel_val terms[P][P];
    for (int i = 0; i < P; i++) test_ok(cel_graph_grad_from(g, dp[i], v[i], p, P, terms[i]));
    for (int k = 0; k < P; k++) {
        int n = 0;
        for (int i = 0; i < P; i++)
            if (terms[i][k] != CEL_NONE) part[n++] = terms[i][k];
        h[k] = n ? cel_add(g, part, n) : CEL_NONE;
    }
    test_ok(cel_graph_seal(g));

    cel_exec *e;
    int first, second;
    test_ok(cel_exec_create(g, &cel_backend_ref, NULL, &e));
    test_ok(cel_exec_add_program(e, CEL_MODE_TRAIN, dp, P, &first));
    test_ok(cel_exec_add_program(e, CEL_MODE_TRAIN, h, P, &second));
    test_ok(cel_exec_prepare(e, 9));
    float data[2 * 4 * 6 * 5], start[P][144], direction[P][144], got[P][144], up[144], down[144];
    cel_rng rng = cel_rng_at(2, "second", 0, 0);
    for (size_t i = 0; i < CEL_COUNT(data); i++) data[i] = (float)cel_rng_normal(&rng);
    cel_exec_write(e, x, data);
    cel_exec_write(e, c, data + 7);
    for (int k = 0; k < P; k++) {
        for (size_t i = 0; i < cel_shape_count(shapes[k]); i++) direction[k][i] = (float)cel_rng_normal(&rng);
        cel_exec_read(e, p[k], start[k]);
        cel_exec_write(e, v[k], direction[k]);
    }
    cel_exec_run(e, second);
    for (int k = 0; k < P; k++) cel_exec_read(e, h[k], got[k]);
    for (int k = 0; k < P; k++) {
        size_t n = cel_shape_count(shapes[k]);
        double t = 1e-3, scale = 0;
        float moved[144], want[144] = {0};
        for (int sign = -1; sign <= 1; sign += 2) {
            for (int q = 0; q < P; q++) {
                for (size_t i = 0; i < cel_shape_count(shapes[q]); i++)
                    moved[i] = (float)(start[q][i] + sign * t * direction[q][i]);
                cel_exec_write(e, p[q], moved);
            }
            cel_exec_run(e, first);
            cel_exec_read(e, dp[k], sign > 0 ? up : down);
        }
        for (size_t i = 0; i < n; i++) {
            want[i] = (float)(((double)up[i] - down[i]) / (2 * t));
            scale += (double)want[i] * want[i];
        }
        scale = sqrt(scale / (double)n);
        assert_true(scale > 0);
        for (size_t i = 0; i < n; i++) test_close(got[k][i], want[i], 5e-3, 5e-3 * scale, name[k]);
    }
    cel_exec_destroy(e);
    cel_graph_destroy(g);
}

int main(void) {
    setenv("CELLAR_POISON", "1", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_with_its_scope),
        cmocka_unit_test(wrong_builds),
        cmocka_unit_test(names),
        cmocka_unit_test(gradient_is_lean),
        cmocka_unit_test(shared_gradient),
        cmocka_unit_test(not_differentiable),
        cmocka_unit_test(second_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
