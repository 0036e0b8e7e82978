/* Programs, memory plan, gates, poison, first values, profile; on every backend where it matters. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "engine/exec/exec.h"
#include "engine/exec/plan.h"
#include "engine/nn/nn.h"
#include "support/test.h"

static void no_overlap(const cel_exec_buffer *b, int n) {
    for (int i = 0; i < n; i++) {
        assert_int_equal(b[i].offset % 64, 0);
        for (int j = 0; j < i; j++) {
            bool together = b[i].first <= b[j].last && b[j].first <= b[i].last;
            bool apart = b[i].offset + b[i].bytes <= b[j].offset || b[j].offset + b[j].bytes <= b[i].offset;
            assert_true(!together || apart);
        }
    }
}

/* The most bytes alive at once: no plan can do with less. */
static size_t peak(const cel_exec_buffer *b, int n, int steps) {
    size_t most = 0;
    for (int t = 0; t <= steps; t++) {
        size_t sum = 0;
        for (int i = 0; i < n; i++)
            if (b[i].first <= t && t <= b[i].last) sum += b[i].bytes;
        if (sum > most) most = sum;
    }
    return most;
}

static void random_plans(void **state) {
    (void)state;
    double excess = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        cel_rng rng = cel_rng_at(seed, "plan", 0, 0);
        enum { N = 120, STEPS = 60 };
        cel_exec_buffer b[N];
        size_t total;
        for (int i = 0; i < N; i++) {
            b[i].first = (int)cel_rng_below(&rng, STEPS);
            b[i].last = b[i].first + (int)cel_rng_below(&rng, seed % 2 ? 8 : STEPS);
            b[i].bytes = 64 * (1 + cel_rng_below(&rng, seed % 3 ? 20 : 1000));
            if (b[i].last > STEPS) b[i].last = STEPS;
        }
        test_ok(cel_plan_pack(b, N, &total));
        no_overlap(b, N);
        for (int i = 0; i < N; i++) assert_true(b[i].offset + b[i].bytes <= total);
        excess += (double)total / (double)peak(b, N, STEPS) - 1;
    }
    assert_true(excess / 60 < 0.15);
    size_t total = 1;
    test_ok(cel_plan_pack(NULL, 0, &total));
    assert_int_equal(total, 0);
}

/* A random network of images of one shape: every value is made of earlier ones, some under gates, joined by sums. */
typedef struct net {
    cel_graph *g;
    cel_val x, dy, y, grads[64], param[64];
    int n_params;
} net;

static void random_net(net *r, uint64_t seed) {
    enum { LAYERS = 24 };
    cel_rng rng = cel_rng_at(seed, "net", 0, 0);
    *r = (net){0};
    test_ok(cel_graph_create(&r->g));
    cel_graph *g = r->g;
    cel_shape shape = CEL_SHAPE(3, 4, 5, 6);
    cel_val v[LAYERS + 1] = {r->x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, shape)};
    r->dy = cel_graph_input(g, "dy", CEL_F32, CEL_BATCH, shape);
    for (int i = 1; i <= LAYERS; i++) {
        cel_val a = v[i - 1], b = v[cel_rng_below(&rng, (uint32_t)i)], in[3];
        int gate = (int)cel_rng_below(&rng, 12) - 6;
        cel_graph_push(g, "layer%d", i);
        in[0] = a;
        cel_graph_gate(g, gate < 0 ? -1 : gate);
        switch (cel_rng_below(&rng, 5)) {
        case 0:
            in[1] = cel_nn_relu_conv_bn(g, b, 4, 3, 1, 1, CEL_NN_NORM(i % 2));
            break;
        case 1:
            in[1] = cel_relu(g, cel_scale(g, b, 0.7f));
            break;
        case 2:
            in[1] = cel_avg_pool(g, b, (cel_pool2d_attr){3, 1, 1});
            break;
        case 3:
            in[1] = cel_channel_shuffle(g, cel_relu(g, b), 2);
            break;
        default:
            in[1] = cel_dropout(g, b, 0.2f);
        }
        in[2] = cel_scale(g, in[1], 0.5f);
        cel_graph_gate(g, -1);
        v[i] = cel_scale(g, cel_add(g, in, 3), 0.6f);
        cel_graph_pop(g);
    }
    r->y = v[LAYERS];
    for (int k = 0; k < g->n_values; k++)
        if (g->value[k].role == CEL_PARAM) r->param[r->n_params++] = k;
    r->param[r->n_params] = r->x;
    test_ok(cel_graph_grad_from(g, r->y, r->dy, r->param, r->n_params + 1, r->grads));
    test_ok(cel_graph_seal(g));
}

enum { IMAGE = 3 * 4 * 5 * 6 };

/* Runs the net with some gates off; y, dx and all parameter gradients as doubles summed up, for comparison. */
static void run_net(const net *r, const cel_backend *backend, const char *poison, uint64_t seed, float *y, float *dx,
                    double *grads, double *states) {
    cel_exec *e;
    int program;
    float data[IMAGE];
    uint8_t gates[6] = {1, 0, 1, 1, 0, 1};
    cel_val targets[66];
    int n = 0;
    targets[n++] = r->y;
    for (int i = 0; i <= r->n_params; i++) targets[n++] = r->grads[i];
    setenv("CELLAR_POISON", poison, 1);
    test_ok(cel_exec_create(r->g, backend, NULL, &e));
    test_ok(cel_exec_add_program(e, CEL_MODE_TRAIN, targets, n, &program));
    test_ok(cel_exec_prepare(e, seed));
    setenv("CELLAR_POISON", "1", 1);
    int n_buffers;
    const cel_exec_buffer *buffers = cel_exec_buffers(e, program, &n_buffers);
    no_overlap(buffers, n_buffers);
    cel_rng rng = cel_rng_at(seed, "data", 0, 0);
    for (int i = 0; i < IMAGE; i++) data[i] = (float)cel_rng_normal(&rng);
    cel_exec_write(e, r->x, data);
    for (int i = 0; i < IMAGE; i++) data[i] = (float)cel_rng_normal(&rng);
    cel_exec_write(e, r->dy, data);
    cel_exec_set_gates(e, gates, r->g->n_gates);
    cel_exec_set_step(e, 3, 4);
    cel_exec_run(e, program);
    uint64_t before = cel_mem_count();
    cel_exec_run(e, program);
    assert_true(cel_mem_count() == before); /* running allocates nothing */
    cel_exec_read(e, r->y, y);
    memset(dx, 0, IMAGE * sizeof *dx);
    if (r->grads[r->n_params] != CEL_NONE) cel_exec_read(e, r->grads[r->n_params], dx);
    int n_slots;
    size_t size;
    const float *grad = cel_exec_grads(e, &size), *stat;
    const cel_slot *slot = cel_exec_param_slots(e, &n_slots);
    *grads = *states = 0;
    for (int i = 0; i < n_slots; i++) {
        assert_int_equal(slot[i].offset % 16, 0);
        for (size_t k = 0; size && k < slot[i].count; k++) {
            *grads += fabs((double)grad[slot[i].offset + k]);
            if (slot[i].gate >= 0 && !gates[slot[i].gate]) assert_true(grad[slot[i].offset + k] == 0);
        }
    }
    slot = cel_exec_state_slots(e, &n_slots);
    stat = cel_exec_states(e, &size);
    for (int i = 0; i < n_slots; i++) {
        bool on = slot[i].gate < 0 || gates[slot[i].gate];
        bool mean = strstr(slot[i].name, "running_mean");
        for (size_t k = 0; k < slot[i].count; k++) {
            float s = stat[slot[i].offset + k];
            *states += (double)s;
            if (!on) assert_true(s == (mean ? 0 : 1)); /* statistics under a gate that is off stay */
        }
    }
    cel_exec_destroy(e);
}

/* Random graphs: nobody reads memory before it is written or after its life (poison would make NaN), and poison changes
 * no bit. */
static void random_graphs(void **state) {
    (void)state;
    for (const cel_backend *const *b = cel_backends; *b; b++) {
        if ((*b)->unavailable()) {
            print_message("skipped: %s: %s\n", (*b)->name, (*b)->unavailable());
            continue;
        }
        double with_grads = 0;
        for (uint64_t seed = 0; seed < 12; seed++) {
            net r;
            float y[2][IMAGE], dx[2][IMAGE];
            double grads[2], states[2];
            random_net(&r, seed);
            for (int i = 0; i < 2; i++) run_net(&r, *b, i ? "1" : "0", seed, y[i], dx[i], &grads[i], &states[i]);
            for (int i = 0; i < IMAGE; i++) assert_true(isfinite(y[1][i]) && isfinite(dx[1][i]));
            assert_memory_equal(y[0], y[1], sizeof y[0]);
            assert_memory_equal(dx[0], dx[1], sizeof dx[0]);
            assert_true(isfinite(grads[1]) && grads[0] == grads[1] && states[0] == states[1]);
            with_grads += grads[0];
            cel_graph_destroy(r.g);
        }
        assert_true(with_grads > 0);
    }
}

/* A small net with loss: two convolutions mixed by an edge weight. */
typedef struct small {
    cel_graph *g;
    cel_val x, labels, edge, w[2], loss, hits, grads[3];
} small;

static void small_net(small *s) {
    test_ok(cel_graph_create(&s->g));
    cel_graph *g = s->g;
    s->x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(4, 3, 6, 6));
    s->labels = cel_graph_input(g, "labels", CEL_I32, CEL_BATCH, CEL_SHAPE(4));
    s->edge = cel_graph_input(g, "edge", CEL_F32, CEL_DENSE, CEL_SHAPE(1, 2));
    cel_val y[2];
    for (int i = 0; i < 2; i++) {
        cel_graph_push(g, "op%d", i);
        cel_graph_gate(g, i);
        y[i] = cel_nn_relu_conv_bn(g, s->x, 5, 3, 1, 1, CEL_NN_NORM(false));
        cel_graph_gate(g, -1);
        cel_graph_pop(g);
    }
    cel_val mixed = cel_weighted_sum(g, s->edge, y, (cel_weighted_sum_attr){2, {0, 0}, {0, 1}, false});
    cel_cross_entropy ce = cel_softmax_cross_entropy(
        g, cel_nn_linear(g, "classifier", cel_global_pool(g, mixed), 3, true), s->labels, 0.1f);
    s->loss = ce.loss;
    s->hits = ce.correct;
    s->w[0] = cel_graph_find(g, "op0.conv.weight");
    s->w[1] = cel_graph_find(g, "op1.conv.weight");
    test_ok(cel_graph_grad(g, s->loss, (cel_val[]){s->w[0], s->w[1], s->edge}, 3, s->grads));
    test_ok(cel_graph_seal(g));
}

static void small_inputs(cel_exec *e, const small *s) {
    float x[4 * 3 * 6 * 6];
    cel_rng rng = cel_rng_at(1, "small", 0, 0);
    for (size_t i = 0; i < CEL_COUNT(x); i++) x[i] = (float)cel_rng_normal(&rng);
    cel_exec_write(e, s->x, x);
    cel_exec_write(e, s->labels, (int32_t[]){0, 2, 1, 2});
    cel_exec_write(e, s->edge, (float[]){0.3f, 0.7f});
}

/* An architecture half-step and a weight half-step are two programs of one graph: same numbers, less work each. */
static void programs_share(void **state) {
    (void)state;
    small s;
    cel_exec *e;
    int arch, weight;
    small_net(&s);
    test_ok(cel_exec_create(s.g, &cel_backend_ref, NULL, &e));
    test_ok(cel_exec_add_program(e, CEL_MODE_TRAIN, (cel_val[]){s.loss, s.grads[2]}, 2, &arch));
    cel_exec_memory plan[3];
    test_ok(cel_exec_plan(e, &plan[0]));
    assert_int_equal(plan[0].grad_bytes, 0); /* no parameter's gradient is a target so far */
    test_ok(cel_exec_add_program(e, CEL_MODE_TRAIN, (cel_val[]){s.loss, CEL_NONE, s.grads[0], s.grads[1], s.hits}, 5,
                                 &weight));
    test_ok(cel_exec_plan(e, &plan[1]));
    test_ok(cel_exec_prepare(e, 5));
    test_ok(cel_exec_plan(e, &plan[2]));
    assert_memory_equal(&plan[1], &plan[2], sizeof plan[1]);
    assert_true(plan[1].temp_bytes >= plan[0].temp_bytes && plan[1].grad_bytes == plan[1].param_bytes);
    size_t n, bytes;
    cel_exec_params(e, &n);
    assert_int_equal(n * sizeof(float), plan[1].param_bytes);
    cel_exec_states(e, &n);
    assert_int_equal(n * sizeof(float), plan[1].state_bytes);
    small_inputs(e, &s);
    cel_exec_run(e, arch);
    float loss = cel_exec_scalar(e, s.loss), d_edge[2], dw[5 * 3 * 9];
    cel_exec_read(e, s.grads[2], d_edge);
    const float *grads = cel_exec_grads(e, &bytes);
    for (size_t i = 0; i < bytes; i++) assert_true(grads[i] == 0); /* the arch program leaves them alone */
    cel_exec_run(e, weight);
    assert_true(cel_exec_scalar(e, s.loss) == loss);
    assert_true(cel_exec_scalar(e, s.hits) >= 0 && cel_exec_scalar(e, s.hits) <= 4);
    cel_exec_read(e, s.grads[0], dw);
    int n_slots;
    const cel_slot *slot = cel_exec_param_slots(e, &n_slots);
    assert_int_equal(slot[0].value, s.w[0]);
    assert_memory_equal(dw, grads + slot[0].offset, sizeof dw);

    /* The derivative by an edge weight, as a difference. */
    for (int i = 0; i < 2; i++) {
        float w[2] = {0.3f, 0.7f};
        double f[2];
        for (int k = 0; k < 2; k++) {
            w[i] += k ? -2e-2f : 1e-2f;
            cel_exec_write(e, s.edge, w);
            cel_exec_run(e, arch);
            f[k] = (double)cel_exec_scalar(e, s.loss);
        }
        test_close(d_edge[i], (f[0] - f[1]) / 2e-2, 5e-3, 1e-5, "d loss / d edge");
    }
    cel_exec_destroy(e);
    cel_graph_destroy(s.g);
}

static void gates(void **state) {
    (void)state;
    for (const cel_backend *const *b = cel_backends; *b; b++) {
        small s;
        cel_exec *e;
        int program;
        if ((*b)->unavailable()) continue;
        small_net(&s);
        test_ok(cel_exec_create(s.g, *b, NULL, &e));
        test_ok(cel_exec_add_program(e, CEL_MODE_TRAIN, (cel_val[]){s.loss, s.grads[0], s.grads[1], s.grads[2]}, 4,
                                     &program));
        test_ok(cel_exec_prepare(e, 5));
        small_inputs(e, &s);
        cel_exec_run(e, program);
        float d_edge[2], dw[2][5 * 3 * 9], both = cel_exec_scalar(e, s.loss), var[5], var_after[5];
        cel_exec_set_gates(e, (uint8_t[]){1, 0}, 2);
        cel_exec_write(e, s.edge, (float[]){1, 0.7f});
        cel_val stat = cel_graph_find(s.g, "op1.bn.running_var");
        cel_exec_read(e, stat, var);
        cel_exec_run(e, program);
        cel_exec_read(e, stat, var_after);
        assert_memory_equal(var, var_after, sizeof var);
        assert_true(cel_exec_scalar(e, s.loss) != both);
        cel_exec_read(e, s.grads[2], d_edge);
        assert_true(d_edge[0] != 0 && d_edge[1] == 0);
        for (int i = 0; i < 2; i++) cel_exec_read(e, s.grads[i], dw[i]);
        double size = 0;
        for (size_t i = 0; i < CEL_COUNT(dw[0]); i++) {
            size += fabs((double)dw[0][i]);
            assert_true(dw[1][i] == 0);
        }
        assert_true(size > 0);
        /* All off: the loss of zero logits but for the bias; nothing is NaN. */
        cel_exec_set_gates(e, (uint8_t[]){0, 0}, 2);
        cel_exec_run(e, program);
        assert_true(isfinite(cel_exec_scalar(e, s.loss)));
        cel_exec_read(e, s.grads[2], d_edge);
        assert_true(d_edge[0] == 0 && d_edge[1] == 0);
        /* FLOPs by gate: each convolution is counted only when it runs. */
        double all = cel_graph_flops(s.g, NULL), one = cel_graph_flops(s.g, (uint8_t[]){1, 0});
        assert_true(all - one == 2.0 * (4 * 36) * 5 * 27);
        cel_exec_destroy(e);
        cel_graph_destroy(s.g);
    }
}

static double spread(const float *x, size_t n, double *largest) {
    double sum = 0;
    *largest = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i] * x[i];
        if (fabs((double)x[i]) > *largest) *largest = fabs((double)x[i]);
    }
    return sqrt(sum / (double)n);
}

static void first_values(void **state) {
    (void)state;
    float kept[64 * 32 * 9];
    for (int round = 0; round < 2; round++) { /* a parameter starts the same whatever else is in the graph */
        cel_graph *g;
        cel_exec *e;
        double largest;
        test_ok(cel_graph_create(&g));
        if (round) cel_graph_param(g, "other", CEL_SHAPE(100), CEL_INIT_ONE);
        cel_val he = cel_graph_param(g, "he", CEL_SHAPE(64, 32, 3, 3), CEL_INIT_KAIMING);
        cel_val uniform = cel_graph_param(g, "uniform", CEL_SHAPE(45, 400), CEL_INIT_UNIFORM);
        cel_val bias = cel_graph_param(g, "bias", CEL_SHAPE(500), CEL_INIT_BIAS);
        cel_val zero = cel_graph_state(g, "zero", CEL_SHAPE(3), CEL_INIT_ZERO);
        cel_val one = cel_graph_state(g, "one", CEL_SHAPE(3), CEL_INIT_ONE);
        test_ok(cel_graph_seal(g));
        test_ok(cel_exec_create(g, &cel_backend_ref, NULL, &e));
        test_ok(cel_exec_prepare(e, 77));
        float x[64 * 32 * 9];
        cel_exec_read(e, he, x);
        if (!round) memcpy(kept, x, sizeof x);
        assert_memory_equal(kept, x, sizeof x);
        test_close(spread(x, CEL_COUNT(x), &largest), sqrt(2.0 / (64 * 9)), 0.02, 0, "He deviation");
        cel_exec_read(e, uniform, x);
        test_close(spread(x, 45 * 400, &largest), 0.05 / sqrt(3), 0.02, 0, "uniform deviation");
        assert_true(largest <= 0.05 && largest > 0.049);
        cel_exec_read(e, bias, x);
        test_close(spread(x, 500, &largest), 0.05 / sqrt(3), 0.1, 0, "bias deviation");
        assert_true(largest <= 0.05 && largest > 0.048);
        cel_exec_read(e, zero, x);
        assert_true(x[0] == 0 && x[2] == 0);
        cel_exec_read(e, one, x);
        assert_true(x[0] == 1 && x[2] == 1);
        test_fails(cel_exec_prepare(e, 1), CEL_INTERNAL, "before");
        cel_exec_destroy(e);
        cel_graph_destroy(g);
    }
    cel_graph *g;
    cel_exec *e;
    test_ok(cel_graph_create(&g));
    cel_graph_param(g, "lone", CEL_SHAPE(5), CEL_INIT_BIAS);
    test_ok(cel_graph_seal(g));
    test_ok(cel_exec_create(g, &cel_backend_ref, NULL, &e));
    test_fails(cel_exec_prepare(e, 1), CEL_SHAPE, "lone: no weight");
    cel_exec_destroy(e);
    cel_graph_destroy(g);
}

static const cel_kernel *no_kernel(const cel_op_def *def) {
    return def == &cel_op_linear ? NULL : cel_backend_ref.kernel(def);
}
static const char *not_here(void) { return "no such device"; }

static void refusals(void **state) {
    (void)state;
    small s;
    cel_exec *e;
    int program;
    small_net(&s);
    cel_backend partial = cel_backend_ref, absent = cel_backend_ref;
    partial.name = "partial";
    partial.kernel = no_kernel;
    absent.name = "absent";
    absent.unavailable = not_here;
    test_fails(cel_exec_create(s.g, &absent, NULL, &e), CEL_UNSUPPORTED, "absent: no such device");
    test_ok(cel_exec_create(s.g, &partial, NULL, &e));
    test_fails(cel_exec_add_program(e, CEL_MODE_TRAIN, &s.loss, 1, &program), CEL_UNSUPPORTED,
               "classifier: backend partial has no kernel for linear");
    test_ok(cel_exec_prepare(e, 1));
    test_fails(cel_exec_add_program(e, CEL_MODE_TRAIN, &s.x, 1, &program), CEL_INTERNAL, "after");
    cel_exec_destroy(e);
    cel_graph_destroy(s.g);

    cel_graph *g; /* two gradients of one parameter in one program have one place */
    cel_val grads[2];
    test_ok(cel_graph_create(&g));
    cel_val p = cel_graph_param(g, "p", CEL_SCALAR, CEL_INIT_ONE);
    for (int i = 0; i < 2; i++) test_ok(cel_graph_grad(g, cel_scale(g, p, 2.0f + (float)i), &p, 1, &grads[i]));
    test_ok(cel_graph_seal(g));
    test_ok(cel_exec_create(g, &cel_backend_ref, NULL, &e));
    test_fails(cel_exec_add_program(e, CEL_MODE_TRAIN, grads, 2, &program), CEL_UNSUPPORTED, "gradients of p");
    for (int i = 0; i < 2; i++) test_ok(cel_exec_add_program(e, CEL_MODE_TRAIN, &grads[i], 1, &program));
    test_ok(cel_exec_prepare(e, 1));
    for (int i = 0; i < 2; i++) {
        cel_exec_run(e, i);
        assert_true(cel_exec_scalar(e, grads[i]) == 2 + (float)i);
    }
    cel_exec_destroy(e);
    cel_graph_destroy(g);
    assert_ptr_equal(cel_backend_find("ref"), &cel_backend_ref);
    assert_null(cel_backend_find("abacus"));
}

static void profile(void **state) {
    (void)state;
    small s;
    cel_exec *e;
    int program, n;
    small_net(&s);
    test_ok(cel_exec_create(s.g, &cel_backend_ref, NULL, &e));
    test_ok(cel_exec_add_program(e, CEL_MODE_TRAIN, &s.loss, 1, &program));
    test_ok(cel_exec_prepare(e, 1));
    small_inputs(e, &s);
    cel_exec_run(e, program); /* not counted */
    cel_exec_profile(e, true);
    cel_exec_run(e, program);
    cel_exec_set_gates(e, (uint8_t[]){0, 1}, 2);
    cel_exec_run(e, program);
    cel_exec_profile(e, false);
    cel_exec_run(e, program);
    const cel_profile_row *row = cel_exec_profile_rows(e, &n);
    double flops = 0;
    int convs = 0;
    for (int i = 0; i < n; i++) {
        flops += row[i].flops;
        if (strcmp(row[i].op->def->name, "conv2d")) continue;
        assert_int_equal(row[i].calls, strcmp(row[i].op->scope, "op0.conv") ? 2 : 1);
        assert_true(row[i].seconds > 0 && row[i].bytes == row[i].calls * 4.0 * (4 * 3 * 36 + 5 * 27 + 4 * 5 * 36));
        convs++;
    }
    assert_int_equal(convs, 2);
    assert_true(flops == cel_graph_flops(s.g, NULL) + cel_graph_flops(s.g, (uint8_t[]){0, 1}));
    cel_exec_destroy(e);
    cel_graph_destroy(s.g);
}

/* A mean of ten thousand and a deviation of one: naive sums of squares would lose everything. */
static void large_means(void **state) {
    (void)state;
    for (const cel_backend *const *b = cel_backends; *b; b++) {
        enum { N = 20, C = 3, PIXELS = 35, ALL = N * C * PIXELS };
        cel_graph *g;
        cel_exec *e;
        int program;
        if ((*b)->unavailable()) continue;
        test_ok(cel_graph_create(&g));
        cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(N, C, 5, 7));
        cel_val y = cel_nn_batch_norm(g, "bn", x, CEL_NN_NORM(false));
        test_ok(cel_graph_seal(g));
        test_ok(cel_exec_create(g, *b, NULL, &e));
        test_ok(cel_exec_add_program(e, CEL_MODE_TRAIN, &y, 1, &program));
        test_ok(cel_exec_prepare(e, 1));
        float data[ALL], got[ALL], var[C];
        cel_rng rng = cel_rng_at(4, "large", 0, 0);
        for (int i = 0; i < ALL; i++) data[i] = (float)(1e4 + cel_rng_normal(&rng));
        cel_exec_write(e, x, data);
        cel_exec_run(e, program);
        cel_exec_read(e, y, got);
        cel_exec_read(e, cel_graph_find(g, "bn.running_var"), var);
        for (int c = 0; c < C; c++) {
            double mean = 0, square = 0;
            for (int n = 0; n < N; n++)
                for (int i = 0; i < PIXELS; i++) mean += (double)data[(n * C + c) * PIXELS + i] / (N * PIXELS);
            for (int n = 0; n < N; n++)
                for (int i = 0; i < PIXELS; i++) square += pow((double)data[(n * C + c) * PIXELS + i] - mean, 2);
            test_close(var[c], 0.9 + 0.1 * square / (N * PIXELS - 1), 1e-5, 0, "running variance");
            double rstd = 1 / sqrt(square / (N * PIXELS) + 1e-5);
            /* a float32 mean of 1e4 is known to 5e-4 */
            for (int n = 0; n < N; n++)
                test_close(got[(n * C + c) * PIXELS], ((double)data[(n * C + c) * PIXELS] - mean) * rstd, 1e-4, 1e-3,
                           "y");
        }
        cel_exec_destroy(e);
        cel_graph_destroy(g);
    }
}

/* Dropout: about the right share, the same for the same step, another for another, independent in two layers of one
 * scope. */
static void random_layers(void **state) {
    (void)state;
    enum { N = 40, F = 500, ALL = N * F };
    cel_graph *g;
    cel_exec *e;
    int train, eval;
    test_ok(cel_graph_create(&g));
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(N, F)), y[2];
    for (int i = 0; i < 2; i++) y[i] = cel_dropout(g, x, 0.25f);
    test_ok(cel_graph_seal(g));
    test_ok(cel_exec_create(g, &cel_backend_ref, NULL, &e));
    test_ok(cel_exec_add_program(e, CEL_MODE_TRAIN, y, 2, &train));
    test_ok(cel_exec_add_program(e, CEL_MODE_EVAL, y, 2, &eval));
    test_ok(cel_exec_prepare(e, 1));
    static float one[ALL], a[ALL], b[ALL], again[ALL], later[ALL];
    for (int i = 0; i < ALL; i++) one[i] = 1;
    cel_exec_write(e, x, one);
    cel_exec_set_step(e, 8, 1);
    cel_exec_run(e, train);
    cel_exec_read(e, y[0], a);
    cel_exec_read(e, y[1], b);
    cel_exec_set_step(e, 8, 2);
    cel_exec_run(e, train);
    cel_exec_read(e, y[0], later);
    cel_exec_set_step(e, 8, 1);
    cel_exec_run(e, train);
    cel_exec_read(e, y[0], again);
    assert_memory_equal(a, again, sizeof a);
    int kept = 0, with_b = 0, with_later = 0;
    for (int i = 0; i < ALL; i++) {
        assert_true(a[i] == 0 || fabsf(a[i] - 1 / 0.75f) < 1e-6f);
        kept += a[i] != 0;
        with_b += (a[i] != 0) == (b[i] != 0);
        with_later += (a[i] != 0) == (later[i] != 0);
    }
    /* five standard deviations */
    assert_true(abs(kept - 3 * ALL / 4) < 5 * sqrt(ALL * 0.75 * 0.25));
    double agree = 0.75 * 0.75 + 0.25 * 0.25, deviation = sqrt(ALL * agree * (1 - agree));
    assert_true(fabs(with_b - ALL * agree) < 5 * deviation && fabs(with_later - ALL * agree) < 5 * deviation);
    cel_exec_run(e, eval);
    cel_exec_read(e, y[1], b);
    assert_memory_equal(one, b, sizeof one);
    cel_exec_destroy(e);
    cel_graph_destroy(g);
}

int main(void) {
    setenv("CELLAR_POISON", "1", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_plans), cmocka_unit_test(random_graphs), cmocka_unit_test(programs_share),
        cmocka_unit_test(gates),        cmocka_unit_test(first_values),  cmocka_unit_test(refusals),
        cmocka_unit_test(profile),      cmocka_unit_test(large_means),   cmocka_unit_test(random_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
