/* The cpu backend kernel by kernel: every CPU level agrees with `ref` in every value of a graph and its gradient, the
 * bytes do not depend on the number of threads, and the lanes of images that do not exist hold finite numbers, zero in
 * gradients. */
#define _POSIX_C_SOURCE 200809L
#include "support/test.h"

#include "engine/backend/cpu/cpu.h"
#include "engine/op/check.h"
#include "support/op_runner.h"

enum { CLASSES = 10 };

typedef struct {
    const char *name;
    cel_val (*build)(cel_graph *g, int n);
    int gates_off; /* the first gates that are off */
    cel_mode mode;
} layer;

static cel_val image(cel_graph *g, const char *name, int n, int c, int h, int w) {
    return cel_graph_input(g, name, CEL_F32, CEL_BATCH, CEL_SHAPE(n, c, h, w));
}

static cel_val norm(cel_graph *g, cel_val x, bool affine, bool use_batch) {
    int c = cel_graph_shape(g, x).dim[1];
    cel_val gamma = CEL_NONE, beta = CEL_NONE;
    if (affine) {
        gamma = cel_graph_param(g, "gamma", CEL_SHAPE(c), CEL_INIT_ONE);
        beta = cel_graph_param(g, "beta", CEL_SHAPE(c), CEL_INIT_ZERO);
    }
    return cel_batch_norm(g, x, gamma, beta, cel_graph_state(g, "mean", CEL_SHAPE(c), CEL_INIT_ZERO),
                          cel_graph_state(g, "var", CEL_SHAPE(c), CEL_INIT_ONE),
                          (cel_batch_norm_attr){1e-5f, 0.1f, use_batch});
}

static cel_val norm_plain(cel_graph *g, int n) { return norm(g, image(g, "x", n, 3, 7, 5), false, false); }
static cel_val norm_affine(cel_graph *g, int n) { return norm(g, image(g, "x", n, 16, 8, 8), true, false); }
static cel_val norm_large(cel_graph *g, int n) { return norm(g, image(g, "x", n, 2, 33, 47), true, false); }
static cel_val norm_batch(cel_graph *g, int n) { return norm(g, image(g, "x", n, 4, 4, 4), true, true); }
static cel_val norm_vector(cel_graph *g, int n) {
    return norm(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, 37)), true, false);
}
static cel_val relu(cel_graph *g, int n) { return cel_relu(g, image(g, "x", n, 5, 9, 7)); }
static cel_val max3(cel_graph *g, int n) {
    return cel_max_pool(g, image(g, "x", n, 4, 8, 8), (cel_pool2d_attr){3, 1, 1});
}
static cel_val max2(cel_graph *g, int n) {
    return cel_max_pool(g, image(g, "x", n, 3, 9, 7), (cel_pool2d_attr){2, 2, 0});
}
static cel_val max_ties(cel_graph *g, int n) {
    return cel_max_pool(g, cel_relu(g, image(g, "x", n, 3, 9, 7)), (cel_pool2d_attr){3, 2, 1});
}
static cel_val avg3(cel_graph *g, int n) {
    return cel_avg_pool(g, image(g, "x", n, 16, 8, 8), (cel_pool2d_attr){3, 1, 1});
}
static cel_val avg3_thin(cel_graph *g, int n) {
    return cel_avg_pool(g, image(g, "x", n, 2, 1, 5), (cel_pool2d_attr){3, 1, 1});
}
static cel_val avg3_tall(cel_graph *g, int n) {
    return cel_avg_pool(g, image(g, "x", n, 2, 6, 1), (cel_pool2d_attr){3, 1, 1});
}
static cel_val avg_half(cel_graph *g, int n) {
    return cel_avg_pool(g, image(g, "x", n, 3, 9, 7), (cel_pool2d_attr){3, 2, 1});
}
static cel_val avg2(cel_graph *g, int n) {
    return cel_avg_pool(g, image(g, "x", n, 3, 8, 6), (cel_pool2d_attr){2, 2, 0});
}
static cel_val avg5(cel_graph *g, int n) {
    return cel_avg_pool(g, image(g, "x", n, 3, 8, 8), (cel_pool2d_attr){5, 3, 0});
}
static cel_val global(cel_graph *g, int n) { return cel_global_pool(g, image(g, "x", n, 9, 5, 7)); }
static cel_val linear(cel_graph *g, int n) {
    return cel_linear(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, 37)),
                      cel_graph_param(g, "weight", CEL_SHAPE(11, 37), CEL_INIT_UNIFORM),
                      cel_graph_param(g, "bias", CEL_SHAPE(11), CEL_INIT_BIAS));
}
static cel_val linear_no_bias(cel_graph *g, int n) {
    return cel_linear(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, 16)),
                      cel_graph_param(g, "weight", CEL_SHAPE(16, 16), CEL_INIT_UNIFORM), CEL_NONE);
}
static cel_val scale(cel_graph *g, int n) { return cel_scale(g, image(g, "x", n, 5, 9, 7), -1.75f); }
static cel_val sum_of(cel_graph *g, int n, int terms) {
    cel_val x[8];
    for (int i = 0; i < terms; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        cel_val in = image(g, name, n, 5, 9, 7);
        cel_graph_gate(g, i);
        x[i] = cel_scale(g, in, 1.5f);
    }
    cel_graph_gate(g, -1);
    return cel_add(g, x, terms);
}
static cel_val add2(cel_graph *g, int n) { return sum_of(g, n, 2); }
static cel_val add3(cel_graph *g, int n) { return sum_of(g, n, 3); }
static cel_val add7(cel_graph *g, int n) { return sum_of(g, n, 7); }
static cel_val concat(cel_graph *g, int n) {
    return cel_concat(g, (cel_val[]){image(g, "a", n, 3, 9, 7), image(g, "b", n, 1, 9, 7), image(g, "c", n, 14, 9, 7)},
                      3);
}
static cel_val slice(cel_graph *g, int n) { return cel_slice(g, image(g, "x", n, 16, 8, 8), 4, 7); }
static cel_val crop(cel_graph *g, int n) { return cel_crop(g, image(g, "x", n, 3, 9, 7), 1, 2); }
static cel_val shuffle(cel_graph *g, int n) { return cel_channel_shuffle(g, image(g, "x", n, 24, 5, 3), 4); }
static cel_val mixed(cel_graph *g, int n, bool straight_through) {
    cel_val x[4], weights = cel_graph_input(g, "weights", CEL_F32, CEL_DENSE, CEL_SHAPE(3, 5));
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        cel_val in = image(g, name, n, 5, 9, 7);
        cel_graph_gate(g, i);
        x[i] = cel_scale(g, in, 0.75f);
    }
    cel_graph_gate(g, -1);
    return cel_weighted_sum(g, weights, x, (cel_weighted_sum_attr){4, {1, 1, 2, 2}, {0, 3, 4, 1}, straight_through});
}
static cel_val mixed_soft(cel_graph *g, int n) { return mixed(g, n, false); }
static cel_val mixed_hard(cel_graph *g, int n) { return mixed(g, n, true); }
static cel_val dropout(cel_graph *g, int n) { return cel_dropout(g, image(g, "x", n, 5, 3, 3), 0.3f); }
static cel_val dropout_vector(cel_graph *g, int n) {
    return cel_dropout(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, 1001)), 0.5f);
}
static cel_val drop_path(cel_graph *g, int n) {
    cel_val rate = cel_op_constant_emit(g, 0.3f, CEL_SCALAR);
    return cel_scale_samples(g, image(g, "x", n, 20, 9, 9), cel_drop_mask(g, rate, n));
}
static cel_val scale_samples(cel_graph *g, int n) {
    return cel_scale_samples(g, image(g, "x", n, 20, 9, 9), cel_graph_input(g, "m", CEL_F32, CEL_BATCH, CEL_SHAPE(n)));
}
static cel_val entropy(cel_graph *g, int n, float smoothing) {
    return cel_softmax_cross_entropy(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, CLASSES)),
                                     cel_graph_input(g, "labels", CEL_I32, CEL_BATCH, CEL_SHAPE(n)), smoothing)
        .loss;
}
static cel_val entropy_plain(cel_graph *g, int n) { return entropy(g, n, 0); }
static cel_val entropy_smooth(cel_graph *g, int n) { return entropy(g, n, 0.1f); }
static cel_val probabilities(cel_graph *g, int n) {
    return cel_softmax_cross_entropy(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, CLASSES)),
                                     cel_graph_input(g, "labels", CEL_I32, CEL_BATCH, CEL_SHAPE(n)), 0)
        .probs;
}

static cel_val conv(cel_graph *g, int n, int c, int out, int kernel, cel_conv2d_attr attr) {
    return cel_conv2d(g, image(g, "x", n, c, 9, 7),
                      cel_graph_param(g, "weight", CEL_SHAPE(out, c / attr.groups, kernel, kernel), CEL_INIT_KAIMING),
                      attr);
}
static cel_val conv3(cel_graph *g, int n) { return conv(g, n, 4, 8, 3, (cel_conv2d_attr){1, 1, 1, 1}); }
static cel_val conv1_half(cel_graph *g, int n) { return conv(g, n, 5, 3, 1, (cel_conv2d_attr){2, 0, 1, 1}); }
static cel_val depthwise(cel_graph *g, int n) { return conv(g, n, 6, 6, 5, (cel_conv2d_attr){1, 4, 2, 6}); }
/* Strips of whole tiles and a last one of pairs, with outputs left over; outputs left over beside pairs of pixels; wide tiles. */
static cel_val conv1_strips(cel_graph *g, int n) {
    return cel_conv2d(g, image(g, "x", n, 24, 7, 7),
                      cel_graph_param(g, "weight", CEL_SHAPE(10, 24, 1, 1), CEL_INIT_KAIMING),
                      (cel_conv2d_attr){1, 0, 1, 1});
}
static cel_val conv3_groups(cel_graph *g, int n) { return conv(g, n, 4, 12, 3, (cel_conv2d_attr){1, 1, 1, 2}); }
static cel_val depthwise_wide(cel_graph *g, int n) {
    return cel_conv2d(g, image(g, "x", n, 3, 4, 12),
                      cel_graph_param(g, "weight", CEL_SHAPE(3, 1, 3, 3), CEL_INIT_KAIMING),
                      (cel_conv2d_attr){1, 1, 1, 3});
}

/* Winograd's filtering: whole and half blocks of tiles, one band and several, paddings beside one. */
static cel_val conv_even(cel_graph *g, int n, int c, int out, int h, int w, int pad) {
    return cel_conv2d(g, image(g, "x", n, c, h, w),
                      cel_graph_param(g, "weight", CEL_SHAPE(out, c, 3, 3), CEL_INIT_KAIMING),
                      (cel_conv2d_attr){1, pad, 1, 1});
}
static cel_val conv3_even(cel_graph *g, int n) { return conv_even(g, n, 8, 12, 6, 10, 1); }
static cel_val conv3_wide(cel_graph *g, int n) { return conv_even(g, n, 16, 20, 6, 32, 1); }
static cel_val conv3_bands(cel_graph *g, int n) { return conv_even(g, n, 20, 16, 14, 6, 1); }
static cel_val conv3_valid(cel_graph *g, int n) { return conv_even(g, n, 16, 16, 4, 8, 0); }
static cel_val conv3_padded(cel_graph *g, int n) { return conv_even(g, n, 16, 16, 4, 6, 3); }
static cel_val conv3_large(cel_graph *g, int n) { return conv_even(g, n, 16, 16, 2, 40, 1); }

static const layer layers[] = {
    {"conv 3, even", conv3_even, 0, CEL_MODE_TRAIN},
    {"conv 3, wide", conv3_wide, 0, CEL_MODE_TRAIN},
    {"conv 3, many bands", conv3_bands, 0, CEL_MODE_TRAIN},
    {"conv 3, not padded", conv3_valid, 0, CEL_MODE_TRAIN},
    {"conv 3, padded by 3", conv3_padded, 0, CEL_MODE_TRAIN},
    {"conv 3, large", conv3_large, 0, CEL_MODE_TRAIN},
    {"conv 3", conv3, 0, CEL_MODE_TRAIN},
    {"conv 1/2", conv1_half, 0, CEL_MODE_TRAIN},
    {"depthwise dilated 5", depthwise, 0, CEL_MODE_TRAIN},
    {"conv 1, strips", conv1_strips, 0, CEL_MODE_TRAIN},
    {"conv 3, groups", conv3_groups, 0, CEL_MODE_TRAIN},
    {"depthwise 3, wide", depthwise_wide, 0, CEL_MODE_TRAIN},
    {"norm", norm_plain, 0, CEL_MODE_TRAIN},
    {"norm affine", norm_affine, 0, CEL_MODE_TRAIN},
    {"norm large", norm_large, 0, CEL_MODE_TRAIN},
    {"norm vector", norm_vector, 0, CEL_MODE_TRAIN},
    {"norm evaluation", norm_affine, 0, CEL_MODE_EVAL},
    {"norm batch in evaluation", norm_batch, 0, CEL_MODE_EVAL},
    {"relu", relu, 0, CEL_MODE_TRAIN},
    {"max pool 3", max3, 0, CEL_MODE_TRAIN},
    {"max pool 2/2", max2, 0, CEL_MODE_TRAIN},
    {"max pool 3/2 with ties", max_ties, 0, CEL_MODE_TRAIN},
    {"avg pool 3", avg3, 0, CEL_MODE_TRAIN},
    {"avg pool 3, one row", avg3_thin, 0, CEL_MODE_TRAIN},
    {"avg pool 3, one column", avg3_tall, 0, CEL_MODE_TRAIN},
    {"avg pool 3/2", avg_half, 0, CEL_MODE_TRAIN},
    {"avg pool 2/2", avg2, 0, CEL_MODE_TRAIN},
    {"avg pool 5/3", avg5, 0, CEL_MODE_TRAIN},
    {"global pool", global, 0, CEL_MODE_TRAIN},
    {"linear", linear, 0, CEL_MODE_TRAIN},
    {"linear without bias", linear_no_bias, 0, CEL_MODE_TRAIN},
    {"scale", scale, 0, CEL_MODE_TRAIN},
    {"add 2", add2, 0, CEL_MODE_TRAIN},
    {"add 3", add3, 0, CEL_MODE_TRAIN},
    {"add 7", add7, 0, CEL_MODE_TRAIN},
    {"add 7, 4 off", add7, 4, CEL_MODE_TRAIN},
    {"add 7, 6 off", add7, 6, CEL_MODE_TRAIN},
    {"add 3, all off", add3, 3, CEL_MODE_TRAIN},
    {"concat", concat, 0, CEL_MODE_TRAIN},
    {"slice", slice, 0, CEL_MODE_TRAIN},
    {"crop", crop, 0, CEL_MODE_TRAIN},
    {"shuffle", shuffle, 0, CEL_MODE_TRAIN},
    {"mixed", mixed_soft, 0, CEL_MODE_TRAIN},
    {"mixed, 2 off", mixed_soft, 2, CEL_MODE_TRAIN},
    {"mixed, all off", mixed_soft, 4, CEL_MODE_TRAIN},
    {"mixed straight-through, 3 off", mixed_hard, 3, CEL_MODE_TRAIN},
    {"dropout", dropout, 0, CEL_MODE_TRAIN},
    {"dropout vector", dropout_vector, 0, CEL_MODE_TRAIN},
    {"dropout in evaluation", dropout, 0, CEL_MODE_EVAL},
    {"drop path", drop_path, 0, CEL_MODE_TRAIN},
    {"drop path in evaluation", drop_path, 0, CEL_MODE_EVAL},
    {"scale samples", scale_samples, 0, CEL_MODE_TRAIN},
    {"cross entropy", entropy_plain, 0, CEL_MODE_TRAIN},
    {"cross entropy, smooth", entropy_smooth, 0, CEL_MODE_TRAIN},
    {"probabilities", probabilities, 0, CEL_MODE_TRAIN},
};

static const int batches[] = {5, 33, 64};

/* The layer's graph with the gradients of all it can be differentiated by; *y is its output. */
static cel_graph *graph_of(const layer *l, int n, cel_val *y) {
    cel_graph *g;
    test_ok(cel_graph_create(&g));
    *y = l->build(g, n);
    assert_int_not_equal(*y, CEL_NONE);
    cel_val wrt[32], grads[32];
    int count = 0;
    for (int v = 0; v < g->n_values; v++)
        if ((g->value[v].role == CEL_INPUT || g->value[v].role == CEL_PARAM) && g->value[v].dtype == CEL_F32)
            wrt[count++] = v;
    cel_shape shape = cel_graph_shape(g, *y);
    cel_val dy = cel_graph_input(g, "dy", CEL_F32, g->value[*y].layout, shape);
    test_ok(cel_graph_grad_from(g, *y, dy, wrt, count, grads));
    test_ok(cel_graph_seal(g));
    return g;
}

/* Puts `x` into the lanes of images that do not exist. */
static void fill_tail(const op_runner *r, cel_val v, float x) {
    const cel_value *value = &r->g->value[v];
    int lanes = value->shape.dim[0] % CEL_LANES;
    if (value->layout == CEL_DENSE || value->dtype != CEL_F32 || !lanes) return;
    cel_cpu_dims d = cel_cpu_dims_of(value->shape);
    float *last = (float *)r->data[v] + (size_t)(d.groups - 1) * d.group;
    for (size_t i = 0; i < d.group; i++)
        if ((int)(i % CEL_LANES) >= lanes) last[i] = x;
}

static op_runner *run(const layer *l, const cel_graph *g, const cel_backend *backend, cel_pool *pool) {
    op_runner *r;
    test_ok(op_runner_create(g, backend, pool, &r));
    r->mode = l->mode;
    test_ok(op_runner_fill(r, 3, CLASSES));
    for (int i = 0; i < l->gates_off; i++) r->gates[i] = 0;
    for (cel_val v = 0; backend == &cel_backend_cpu && v < g->n_values; v++)
        if (g->value[v].role == CEL_INPUT && strcmp(g->value[v].name, "dy") != 0) fill_tail(r, v, 3.25f);
    op_runner_run(r);
    return r;
}

static void check_lanes(const layer *l, const op_runner *r) {
    for (cel_val v = 0; v < r->g->n_values; v++) {
        const cel_value *value = &r->g->value[v];
        int lanes = value->shape.rank ? value->shape.dim[0] % CEL_LANES : 0;
        if (value->layout == CEL_DENSE || value->role != CEL_TEMP || !lanes || !op_runner_active(r, v)) continue;
        cel_cpu_dims d = cel_cpu_dims_of(value->shape);
        const cel_op *op = &r->g->op[value->op];
        const float *last = (const float *)r->data[v] + (size_t)(d.groups - 1) * d.group;
        for (size_t i = 0; i < d.group; i++) {
            if ((int)(i % CEL_LANES) < lanes) continue;
            if (op->gradient ? last[i] != 0 : !isfinite(last[i]))
                fail_msg("%s: %s: lane %zu of element %zu holds %g", l->name, op->def->name, i % CEL_LANES,
                         i / CEL_LANES, (double)last[i]);
        }
    }
}

/* Every active value of the graph agrees: to 2e-6 of its size and of the value's largest element, and 5e-7 for means
 * that are near zero beside the numbers they are means of. */
static void check_values(const layer *l, int n, const char *isa, op_runner *got, op_runner *want) {
    for (cel_val v = 0; v < got->g->n_values; v++) {
        const cel_value *value = &got->g->value[v];
        if (!op_runner_active(got, v) || value->dtype != CEL_F32) continue;
        size_t count = cel_shape_count(value->shape);
        float *a = test_calloc(count, sizeof *a), *b = test_calloc(count, sizeof *b);
        got->backend->unpack(value, got->data[v], a, NULL);
        want->backend->unpack(value, want->data[v], b, NULL);
        double most = 0;
        for (size_t i = 0; i < count; i++) most = fmax(most, fabs((double)b[i]));
        for (size_t i = 0; i < count; i++) {
            double error = fabs((double)a[i] - (double)b[i]);
            if (!(error <= 2e-6 * (most + fabs((double)b[i])) + 5e-7))
                fail_msg("%s, batch %d, %s: value %d (%s) element %zu: %.9g, ref %.9g", l->name, n, isa, v,
                         value->op >= 0 ? got->g->op[value->op].def->name : value->name, i, (double)a[i], (double)b[i]);
        }
        test_free(a);
        test_free(b);
    }
}

static const char *const levels[] = {"base", "avx2", "avx512", "amx"};

static void test_levels_agree_with_ref(void **state) {
    (void)state;
    const char *before = cel_cpu_isa_active()->name;
    cel_pool *pool;
    test_ok(cel_pool_create(2, &pool));
    for (size_t i = 0; i < CEL_COUNT(layers); i++)
        for (size_t b = 0; b < CEL_COUNT(batches); b++) {
            cel_val y;
            cel_graph *g = graph_of(&layers[i], batches[b], &y);
            op_runner *want = run(&layers[i], g, &cel_backend_ref, pool);
            for (size_t k = 0; k < CEL_COUNT(levels); k++) {
                cel_status status = cel_cpu_isa_force(levels[k]);
                if (status == CEL_UNSUPPORTED) continue;
                test_ok(status);
                op_runner *got = run(&layers[i], g, &cel_backend_cpu, pool);
                check_values(&layers[i], batches[b], levels[k], got, want);
                check_lanes(&layers[i], got);
                op_runner_destroy(got);
            }
            op_runner_destroy(want);
            cel_graph_destroy(g);
        }
    test_ok(cel_cpu_isa_force(before));
    cel_pool_destroy(pool);
}

static void test_threads_do_not_matter(void **state) {
    (void)state;
    static const int threads[] = {1, 2, 3, 8};
    cel_pool *pool[CEL_COUNT(threads)];
    for (size_t t = 0; t < CEL_COUNT(threads); t++) test_ok(cel_pool_create(threads[t], &pool[t]));
    for (size_t i = 0; i < CEL_COUNT(layers); i++)
        for (size_t b = 0; b < CEL_COUNT(batches); b++) {
            cel_val y;
            cel_graph *g = graph_of(&layers[i], batches[b], &y);
            op_runner *first = run(&layers[i], g, &cel_backend_cpu, pool[0]);
            for (size_t t = 1; t < CEL_COUNT(threads); t++) {
                op_runner *again = run(&layers[i], g, &cel_backend_cpu, pool[t]);
                for (cel_val v = 0; v < g->n_values; v++)
                    if (memcmp(first->data[v], again->data[v], first->bytes[v]) != 0)
                        fail_msg("%s, batch %d: value %d (%s) differs between 1 and %d threads", layers[i].name,
                                 batches[b], v,
                                 g->value[v].op >= 0 ? g->op[g->value[v].op].def->name : g->value[v].name, threads[t]);
                op_runner_destroy(again);
            }
            op_runner_destroy(first);
            cel_graph_destroy(g);
        }
    for (size_t t = 0; t < CEL_COUNT(threads); t++) cel_pool_destroy(pool[t]);
}

static void test_pack_round_trip(void **state) {
    (void)state;
    static const int shapes[][4] = {{1, 1, 1, 1}, {5, 3, 7, 5}, {16, 2, 4, 4}, {33, 3, 32, 32}, {64, 1, 1, 7}};
    for (size_t s = 0; s < CEL_COUNT(shapes); s++) {
        const int *d = shapes[s];
        cel_value v = {.dtype = CEL_F32, .layout = CEL_BATCH, .shape = CEL_SHAPE(d[0], d[1], d[2], d[3])};
        size_t count = cel_shape_count(v.shape), bytes = cel_backend_cpu.bytes(&v), pixels = count / (size_t)d[0];
        float *plain = test_calloc(count, sizeof *plain), *back = test_calloc(count, sizeof *back);
        float *data = cel_block_alloc(bytes);
        assert_non_null(data);
        memset(data, 0xff, bytes);
        for (size_t i = 0; i < count; i++) plain[i] = (float)i + 0.5f;
        cel_backend_cpu.pack(&v, plain, data, NULL);
        for (size_t i = 0; i < bytes / sizeof *data; i++) {
            size_t image = i / (pixels * CEL_LANES) * CEL_LANES + i % CEL_LANES, pixel = i / CEL_LANES % pixels;
            float want = image < (size_t)d[0] ? plain[image * pixels + pixel] : 0;
            assert_float_equal(data[i], want, 0);
        }
        cel_backend_cpu.unpack(&v, data, back, NULL);
        assert_memory_equal(plain, back, count * sizeof *plain);
        test_free(plain);
        test_free(back);
        cel_block_free(data, bytes);
    }
}

static void test_unknown_level(void **state) {
    (void)state;
    const char *before = cel_cpu_isa_active()->name;
    test_fails(cel_cpu_isa_force("avx1024"), CEL_CONFIG, "expected base, avx2, avx512 or amx");
    assert_string_equal(cel_cpu_isa_active()->name, before);
    const char *wish = getenv("CELLAR_ISA");
    char *kept = wish ? cel_strdup(wish) : NULL;
    setenv("CELLAR_ISA", "avx1024", 1);
    assert_non_null(cel_backend_cpu.unavailable());
    setenv("CELLAR_ISA", "base", 1);
    assert_null(cel_backend_cpu.unavailable());
    if (kept)
        setenv("CELLAR_ISA", kept, 1);
    else
        unsetenv("CELLAR_ISA");
    cel_free(kept);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack_round_trip),
        cmocka_unit_test(test_levels_agree_with_ref),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_unknown_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
