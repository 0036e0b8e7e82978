/* Inference: its kernels compute what the reference computes over every sample case and CPU level, on any number of
 * threads; a folded network gives what the network gives in evaluation; what cannot be folded is refused by name. */
#define _GNU_SOURCE
#include "engine/exec/inference.h"

#include "base/mem.h"
#include "engine/backend/cpu/cpu.h"
#include "support/op_run.h"
#include "support/test.h"

static const char *const levels[] = {"base", "avx2", "avx512"};

static float *forward(const op_sample *s, const cel_backend *backend, cel_pool *pool) {
    op_run r = {.sample = s};
    test_ok(cel_exec_create(s->g, backend, pool, &r.e));
    test_ok(cel_exec_add_program(r.e, CEL_MODE_EVAL, &s->y, 1, &r.forward));
    test_ok(cel_exec_prepare(r.e, 1));
    op_run_fill(&r, 11);
    cel_exec_run(r.e, r.forward);
    float *y = op_run_read(&r, s->y);
    op_run_fini(&r);
    return y;
}

/* Whether all that the case needs has kernels here, and is for evaluation. */
static bool supported(const op_sample *s, const cel_backend *backend) {
    for (int i = 0; i < s->g->n_ops; i++) {
        const cel_op *op = &s->g->op[i];
        if (!op->gradient && (!backend->kernel(op->def) || op->gate >= 0)) return false;
        if (op->def == &cel_op_batch_norm && ((const cel_batch_norm_attr *)op->attr)->use_batch) return false;
        if (!op->gradient && s->g->value[op->out[0]].layout != CEL_BATCH) return false;
    }
    return true;
}

static void kernels_agree_with_ref(void **state) {
    (void)state;
    const char *before = cel_cpu_isa_active()->name;
    const cel_backend *backend = cel_backend_cpu.inference;
    cel_pool *pool[2];
    int checked = 0;
    assert_non_null(backend);
    for (int i = 0; i < 2; i++) test_ok(cel_pool_create(i ? 3 : 1, &pool[i]));
    for (size_t k = 0; k < CEL_COUNT(levels); k++) {
        cel_status status = cel_cpu_isa_force(levels[k]);
        if (status == CEL_UNSUPPORTED) continue;
        test_ok(status);
        op_sample s;
        for (int op = 0, which = 0; op_sample_next(&op, &which, &s); op_sample_fini(&s)) {
            if (!supported(&s, backend)) continue;
            size_t n = cel_shape_count(cel_graph_shape(s.g, s.y));
            float *want = forward(&s, &cel_backend_ref, NULL), *got[2];
            for (int i = 0; i < 2; i++) got[i] = forward(&s, backend, pool[i]);
            double off = op_distance(got[0], want, n), size = op_norm(want, n);
            if (!(off <= 2e-6 * size + 1e-6))
                fail_msg("%s: %s/%s: off by %.3g of %.3g", levels[k], s.def->name, s.op_case->name, off, size);
            if (memcmp(got[0], got[1], n * sizeof(float)))
                fail_msg("%s: %s/%s: threads change it", levels[k], s.def->name, s.op_case->name);
            for (int i = 0; i < 2; i++) cel_free(got[i]);
            cel_free(want);
            checked++;
        }
    }
    test_ok(cel_cpu_isa_force(before));
    for (int i = 0; i < 2; i++) cel_pool_destroy(pool[i]);
    assert_true(checked >= 40);
}

/* ---- networks ---- */

static cel_val norm(cel_graph *g, const char *name, cel_val x, bool affine, bool use_batch) {
    cel_shape c = CEL_SHAPE(cel_graph_shape(g, x).dim[1]);
    cel_graph_push(g, "%s", name);
    cel_val gamma = affine ? cel_graph_param(g, "weight", c, CEL_INIT_ONE) : CEL_NONE;
    cel_val beta = affine ? cel_graph_param(g, "bias", c, CEL_INIT_ZERO) : CEL_NONE;
    cel_val mean = cel_graph_state(g, "mean", c, CEL_INIT_ZERO), var = cel_graph_state(g, "var", c, CEL_INIT_ONE);
    cel_val y = cel_batch_norm(g, x, gamma, beta, mean, var,
                               (cel_batch_norm_attr){.eps = 1e-5f, .momentum = 0.1f, .use_batch = use_batch});
    cel_graph_pop(g);
    return y;
}

static cel_val conv(cel_graph *g, const char *name, cel_val x, int out, int kernel, int stride) {
    int c = cel_graph_shape(g, x).dim[1];
    cel_val w = cel_graph_param(g, name, CEL_SHAPE(out, c, kernel, kernel), CEL_INIT_UNIFORM);
    return cel_conv2d(g, x, w, (cel_conv2d_attr){.stride = stride, .pad = kernel / 2, .dilation = 1, .groups = 1});
}

typedef cel_val body_fn(cel_graph *g, cel_val x);

/* A bit of everything: sums of folded and other terms, a sum of one, ReLUs of sums and of pools, a convolution read twice, a norm
 * that nothing comes before. */
static cel_val medley(cel_graph *g, cel_val x) {
    cel_val a = norm(g, "n1", conv(g, "c1", x, 19, 3, 1), true, false);
    cel_val pool = cel_avg_pool(g, a, (cel_pool2d_attr){.kernel = 3, .stride = 1, .pad = 1});
    cel_val again = cel_avg_pool(g, a, (cel_pool2d_attr){.kernel = 3, .stride = 1, .pad = 1});
    cel_val b = norm(g, "n2", conv(g, "c2", cel_relu(g, a), 19, 3, 1), false, false);
    cel_val c = norm(g, "n3", conv(g, "c3", cel_relu(g, a), 19, 1, 1), true, false);
    cel_val sum = cel_add(g, (cel_val[]){b, pool, c, again}, 4);
    cel_val twice = conv(g, "c4", cel_relu(g, sum), 19, 3, 1);
    cel_val d = cel_add(g, (cel_val[]){twice, norm(g, "n4", twice, true, false), sum}, 3);
    cel_val one = conv(g, "c5", cel_relu(g, d), 35, 3, 2);
    d = cel_add(g, &one, 1);
    d = cel_add(g, (cel_val[]){d, d}, 2);
    return cel_relu(g, norm(g, "n5", cel_scale(g, d, 0.5f), true, false));
}

/* As DARTS' cells are: depthwise and pointwise convolutions, drop-path, a factorised reduction, a concatenation, dropout. */
static cel_val separable(cel_graph *g, cel_val x) {
    cel_val a = norm(g, "n1", conv(g, "c1", x, 20, 3, 1), true, false), r = cel_relu(g, a), w[2], half[2];
    w[0] = cel_graph_param(g, "d1", CEL_SHAPE(20, 1, 5, 5), CEL_INIT_UNIFORM);
    w[1] = cel_graph_param(g, "d2", CEL_SHAPE(20, 1, 3, 3), CEL_INIT_UNIFORM);
    cel_val b = cel_conv2d(g, r, w[0], (cel_conv2d_attr){.stride = 1, .pad = 2, .dilation = 1, .groups = 20});
    b = norm(g, "n2", conv(g, "c2", b, 20, 1, 1), false, false);
    cel_val c = norm(g, "n3", cel_conv2d(g, r, w[1], (cel_conv2d_attr){1, 2, 2, 20}), true, false);
    cel_val rate = cel_graph_input(g, "rate", CEL_F32, CEL_DENSE, CEL_SCALAR);
    c = cel_scale_samples(g, c, cel_drop_mask(g, rate, cel_graph_shape(g, x).dim[0]));
    cel_val sum = cel_add(g, (cel_val[]){b, c, cel_max_pool(g, a, (cel_pool2d_attr){3, 1, 1})}, 3);
    cel_val joined = cel_relu(g, cel_concat(g, (cel_val[]){a, sum, x}, 3)), inside = cel_crop(g, joined, 1, 1);
    half[0] = conv(g, "f1", joined, 7, 1, 2);
    half[1] = conv(g, "f2", cel_crop(g, cel_concat(g, (cel_val[]){inside, inside}, 2), 0, 0), 9, 1, 2);
    half[1] = cel_crop(g, half[1], 0, 0);
    half[0] = cel_crop(g, half[0], 0, cel_graph_shape(g, half[0]).dim[3] - cel_graph_shape(g, half[1]).dim[3]);
    return cel_dropout(g, norm(g, "n4", cel_concat(g, half, 2), true, false), 0.3f);
}

static cel_val only_convolution(cel_graph *g, cel_val x) { return conv(g, "c", x, 3, 3, 1); }
static cel_val nothing_folded(cel_graph *g, cel_val x) { return cel_relu(g, norm(g, "n", x, true, false)); }

typedef struct network {
    cel_graph *g;
    cel_exec *e;
    cel_val x, y;
    int n, program;
} network;

static void network_init(network *net, body_fn *body, int n, bool classify) {
    *net = (network){.n = n};
    test_ok(cel_graph_create(&net->g));
    net->x = cel_graph_input(net->g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, 3, 10, 9));
    net->y = body(net->g, net->x);
    if (classify) {
        net->y = cel_global_pool(net->g, net->y);
        cel_val w =
            cel_graph_param(net->g, "w", CEL_SHAPE(11, cel_graph_shape(net->g, net->y).dim[1]), CEL_INIT_UNIFORM);
        net->y = cel_linear(net->g, net->y, w, cel_graph_param(net->g, "b", CEL_SHAPE(11), CEL_INIT_ONE));
    }
    test_ok(cel_graph_seal(net->g));
    test_ok(cel_exec_create(net->g, &cel_backend_ref, NULL, &net->e));
    test_ok(cel_exec_add_program(net->e, CEL_MODE_EVAL, &net->y, 1, &net->program));
    test_ok(cel_exec_prepare(net->e, 5));
}

/* Norms and statistics away from their first values. */
static void network_fill(network *net, uint64_t seed) {
    for (int v = 0; v < net->g->n_values; v++) {
        const cel_value *value = &net->g->value[v];
        if (value->role == CEL_TEMP || value->role == CEL_INPUT || value->shape.rank != 1) continue;
        size_t count = cel_shape_count(value->shape);
        float *x = cel_alloc(count, sizeof *x);
        cel_rng rng = cel_rng_at(seed, "numbers", (uint64_t)v, 0);
        for (size_t i = 0; i < count; i++)
            x[i] = (float)(value->init == CEL_INIT_ONE ? 0.5 + cel_rng_uniform(&rng) : 0.3 * cel_rng_normal(&rng));
        cel_exec_write(net->e, v, x);
        cel_free(x);
    }
}

static void network_fini(network *net) {
    cel_exec_destroy(net->e);
    cel_graph_destroy(net->g);
}

static void check_network(body_fn *body, bool classify) {
    enum { N = 5 };
    network net;
    network_init(&net, body, N, classify);
    size_t pixels = cel_shape_count(cel_graph_shape(net.g, net.x)),
           count = cel_shape_count(cel_graph_shape(net.g, net.y));
    float *x = cel_alloc(pixels, sizeof *x), *want = cel_alloc(count, sizeof *want);
    cel_rng rng = cel_rng_at(3, "images", 0, 0);
    for (size_t i = 0; i < pixels; i++) x[i] = (float)cel_rng_normal(&rng);
    static const cel_backend *const backends[] = {&cel_backend_ref, &cel_backend_cpu};
    for (size_t b = 0; b < CEL_COUNT(backends); b++) {
        float *first = NULL;
        for (int t = 0; t < 3; t++) {
            cel_pool *pool;
            cel_inference *f;
            test_ok(cel_pool_create((int[]){1, 2, 8}[t], &pool));
            test_ok(cel_inference_create(net.g, net.x, net.y, backends[b], pool, &f));
            assert_true(cel_inference_bytes(f) > 0);
            for (uint64_t seed = 1; seed <= 2; seed++) { /* the second time the network has learnt something */
                network_fill(&net, seed);
                test_ok(cel_inference_load(f, net.e));
                cel_exec_write(net.e, net.x, x);
                cel_exec_run(net.e, net.program);
                cel_exec_read(net.e, net.y, want);
                float *got = cel_alloc(count, sizeof *got), *single = cel_alloc(count, sizeof *single);
                uint64_t allocations = cel_mem_count();
                cel_inference_run(f, x, N, got);
                for (int i = 0; i < N; i++)
                    cel_inference_run(f, x + (size_t)i * pixels / N, 1, single + (size_t)i * count / N);
                assert_int_equal(cel_mem_count(), allocations);
                double off = op_distance(got, want, count), size = op_norm(want, count);
                if (!(off <= 3e-6 * size)) fail_msg("%s: off by %.3g of %.3g", backends[b]->name, off, size);
                assert_memory_equal(got, single, count * sizeof *got);
                cel_free(single);
                if (seed == 2 && first) assert_memory_equal(first, got, count * sizeof *got);
                if (seed == 2 && !first)
                    first = got;
                else
                    cel_free(got);
            }
            cel_inference_destroy(f);
            cel_pool_destroy(pool);
        }
        cel_free(first);
    }
    cel_free(x);
    cel_free(want);
    network_fini(&net);
}

static void folded_networks(void **state) {
    (void)state;
    check_network(medley, true);
    check_network(medley, false);
    check_network(separable, true);
    check_network(only_convolution, false);
    check_network(nothing_folded, true);
}

static cel_val batch_statistics(cel_graph *g, cel_val x) {
    cel_graph_push(g, "deep");
    cel_val y = norm(g, "n", conv(g, "c", x, 4, 3, 1), true, true);
    cel_graph_pop(g);
    return y;
}
static cel_val gated(cel_graph *g, cel_val x) {
    int before = cel_graph_gate(g, 0);
    cel_val y = conv(g, "c", x, 3, 3, 1);
    cel_graph_gate(g, before);
    return cel_add(g, (cel_val[]){x, y}, 2);
}
static cel_val another_input(cel_graph *g, cel_val x) {
    return cel_scale_samples(g, x, cel_graph_input(g, "m", CEL_F32, CEL_BATCH, CEL_SHAPE(2)));
}
static cel_val grouped(cel_graph *g, cel_val x) {
    cel_val y = conv(g, "c", x, 4, 1, 1), w = cel_graph_param(g, "w", CEL_SHAPE(4, 2, 1, 1), CEL_INIT_UNIFORM);
    return cel_conv2d(g, y, w, (cel_conv2d_attr){.stride = 1, .pad = 0, .dilation = 1, .groups = 2});
}

static void refuses(void **state) {
    (void)state;
    static const struct {
        body_fn *body;
        const char *why;
    } cases[] = {{batch_statistics, "batch's statistics"},
                 {gated, "under a gate"},
                 {another_input, "beside the images"},
                 {grouped, "no kernel for conv2d"}};
    for (size_t i = 0; i < CEL_COUNT(cases); i++) {
        network net;
        cel_inference *f;
        network_init(&net, cases[i].body, 2, false);
        test_fails(cel_inference_create(net.g, net.x, net.y, &cel_backend_cpu, NULL, &f), CEL_UNSUPPORTED,
                   cases[i].why);
        network_fini(&net);
    }
}

static void out_of_memory(void **state) {
    (void)state;
    network net;
    network_init(&net, medley, 1, true);
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        cel_inference *f = NULL;
        cel_mem_fail_at(n);
        cel_status status = cel_inference_create(net.g, net.x, net.y, &cel_backend_cpu, NULL, &f);
        if (status == CEL_OK) status = cel_inference_load(f, net.e);
        cel_mem_fail_at(0);
        cel_inference_destroy(f);
        done = status == CEL_OK;
        assert_true(done || status == CEL_NOMEM);
        assert_true(n < 2000);
    }
    network_fini(&net);
}

int main(void) {
    setenv("CELLAR_POISON", "1", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(kernels_agree_with_ref), cmocka_unit_test(folded_networks),
                                       cmocka_unit_test(refuses), cmocka_unit_test(out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
