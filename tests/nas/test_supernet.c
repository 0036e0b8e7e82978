/* The supernet's steps where a network is needed to judge them: second order against differences of the unrolled loss itself, single
 * level against the two half-steps, evaluation of one architecture, and what a step of BaLeNAS needs beside DARTS'. */
#include "base/conf/opt.h"
#include "engine/nn/nn.h"
#include "nas/search/supernet.h"
#include "support/test.h"

enum { MOST = 30, MOST_EDGES = 6, BATCH = 16, SIDE = 8, CLASSES = 4, PIXELS = BATCH * 3 * SIDE * SIDE };

/* ---- a space without ReLU: its gradient can be differentiated, NAS-Bench-201's jumps ---- */

enum { NODES = 3, OPS = 3, CHANNELS = 8 };
static const char *const op_names[OPS] = {"skip", "conv", "pool"};
static const cel_choice smooth_edges[] = {{"1<-0", 0, OPS, 0, 0, 1, op_names},
                                          {"2<-0", OPS, OPS, 0, 0, 2, op_names},
                                          {"2<-1", 2 * OPS, OPS, 0, 1, 2, op_names}};
static const cel_choices smooth_all = {smooth_edges, 3, 3 * OPS};
static const cel_choices *smooth_choices(void) { return &smooth_all; }

static cel_val smooth_edge(cel_graph *g, const cel_supernet_form *form, cel_val weights, cel_val x, int row) {
    cel_val part = form->k > 1 ? cel_slice(g, x, 0, CHANNELS / form->k) : x, out[OPS];
    cel_weighted_sum_attr attr = {.n = 0};
    for (int o = 0; o < OPS; o++) {
        if (form->live && !form->live[row * OPS + o]) continue;
        int before = cel_graph_gate(g, row * OPS + o);
        cel_graph_push(g, "edge%d.%s", row, op_names[o]);
        cel_val y = o == 0   ? cel_scale(g, part, 1)
                    : o == 1 ? cel_nn_conv_bn(g, part, CHANNELS / form->k, 3, 1, 1, CEL_NN_NORM(false))
                             : cel_avg_pool(g, part, (cel_pool2d_attr){.kernel = 3, .stride = 1, .pad = 1});
        cel_graph_pop(g);
        cel_graph_gate(g, before);
        attr.row[attr.n] = row;
        attr.col[attr.n] = o;
        out[attr.n++] = y;
    }
    cel_val y = cel_weighted_sum(g, weights, out, attr);
    if (form->k == 1) return y;
    cel_val rest = cel_slice(g, x, CHANNELS / form->k, CHANNELS - CHANNELS / form->k);
    return cel_channel_shuffle(g, cel_concat(g, (cel_val[]){y, rest}, 2), form->k);
}

static cel_status smooth_net(cel_graph *g, const void *conf, const cel_net_shape *shape, const cel_supernet_form *form,
                             cel_net *net) {
    (void)conf;
    *net = (cel_net){.n_groups = 1};
    net->x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(shape->batch, 3, SIDE, SIDE));
    net->labels = cel_graph_input(g, "labels", CEL_I32, CEL_BATCH, CEL_SHAPE(shape->batch));
    cel_graph_gate(g, cel_graph_gate(g, 3 * OPS - 1));
    cel_val w = cel_graph_input(g, "edge_weights", CEL_F32, CEL_DENSE, CEL_SHAPE(3, OPS)), node[NODES];
    net->group[0].weights = w;
    net->group[0].n = 3 * OPS;
    node[0] = cel_nn_conv_bn(g, net->x, CHANNELS, 3, 1, 1, CEL_NN_NORM(true));
    node[1] = smooth_edge(g, form, w, node[0], 0);
    node[2] = cel_add(g, (cel_val[]){smooth_edge(g, form, w, node[0], 1), smooth_edge(g, form, w, node[1], 2)}, 2);
    net->features = cel_global_pool(g, cel_nn_batch_norm(g, "last", node[2], CEL_NN_NORM(true)));
    net->logits = cel_nn_linear(g, "classifier", net->features, CLASSES, true);
    cel_cross_entropy out = cel_softmax_cross_entropy(g, net->logits, net->labels, 0);
    net->loss = out.loss;
    net->correct = out.correct;
    return CEL_OK;
}

static const cel_space smooth = {.name = "smooth", .choices = smooth_choices, .supernet = smooth_net};

/* ---- a method that does what the test says ---- */

static double given[MOST], seen[MOST];
static uint8_t alive[MOST];

static cel_status probe_init(cel_policy *policy) {
    memcpy(policy->live, alive, (size_t)policy->n_params);
    return CEL_OK;
}
static void probe_sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates) {
    (void)at;
    for (int i = 0; i < policy->n_params; i++) {
        weights[i] = alive[i] ? given[i] : 0;
        if (weights[i] == 0) gates[i] = 0;
    }
}
static void probe_gradient(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad) {
    (void)at;
    memcpy(grad, feedback->dweights, (size_t)policy->n_params * sizeof *grad);
}
static void probe_step(cel_policy *policy, const cel_at *at, const double *grad, const double *grad2) {
    (void)at, (void)grad2;
    memcpy(seen, grad, (size_t)policy->n_params * sizeof *grad);
}
static void probe_mean(const cel_policy *policy, double *mean) {
    memcpy(mean, given, (size_t)policy->n_params * sizeof *mean);
}
static const cel_method probe = {.name = "probe",
                                 .init = probe_init,
                                 .sample = probe_sample,
                                 .gradient = probe_gradient,
                                 .step = probe_step,
                                 .mean = probe_mean};

/* ---- a small supernet with batches ---- */

typedef struct rig {
    const cel_space *space;
    int n;
    void *space_conf;
    cel_pool *pool;
    cel_policy *policy;
    cel_supernet *net;
    float images[2][PIXELS];
    int32_t labels[2][BATCH];
    float *params, *states;
    size_t n_params, n_states;
} rig;

static const cel_at arch_at = {.phase = CEL_PHASE_ARCH, .n_epochs = 1};

static void start_weights(rig *r) {
    cel_rng rng = cel_rng_at(4, "momentum", 0, 0);
    for (size_t i = 0; i < r->net->n_floats; i++) r->net->momentum[i] = (float)(0.05 * cel_rng_normal(&rng));
}

static void open_rig(rig *r, const cel_space *space, const char *backend, int k, bool fused) {
    *r = (rig){.space = space, .n = space->choices()->n_entries};
    r->space_conf = cel_alloc(1, cel_space_nb201.conf_size);
    cel_opt_defaults(cel_space_nb201.opts, r->space_conf);
    for (const cel_opt *o = cel_space_nb201.opts; o->kind != CEL_OPT_END; o++) {
        if (!strcmp(o->name, "c")) memcpy((char *)r->space_conf + o->offset, &(int){4}, sizeof(int));
        if (!strcmp(o->name, "n")) memcpy((char *)r->space_conf + o->offset, &(int){1}, sizeof(int));
    }
    test_ok(cel_pool_create(2, &r->pool));
    test_ok(cel_policy_create(&probe, space->choices(), NULL, 1, &r->policy));
    cel_supernet_conf conf = {.space = space,
                              .space_conf = r->space_conf,
                              .shape = {BATCH, 3, SIDE, SIDE, CLASSES},
                              .form = {.k = k, .fused = fused, .live = r->policy->live},
                              .backend = cel_backend_find(backend),
                              .pool = r->pool,
                              .seed = 3,
                              .single_level = true,
                              .second_order = true};
    test_ok(cel_supernet_create(&conf, MOST + MOST_EDGES, &r->net));
    start_weights(r);
    r->params = cel_exec_params(r->net->exec, &r->n_params);
    r->states = cel_exec_states(r->net->exec, &r->n_states);
    cel_rng rng = cel_rng_at(7, "images", 0, 0);
    for (int b = 0; b < 2; b++) {
        for (int i = 0; i < PIXELS; i++) r->images[b][i] = (float)cel_rng_normal(&rng);
        for (int i = 0; i < BATCH; i++) r->labels[b][i] = (int32_t)cel_rng_below(&rng, CLASSES);
    }
}

static void close_rig(rig *r) {
    cel_supernet_destroy(r->net);
    cel_policy_destroy(r->policy);
    cel_pool_destroy(r->pool);
    cel_free(r->space_conf);
}

static float *copy_of(const float *x, size_t n) {
    float *y = cel_alloc(n, sizeof *y);
    assert_non_null(y);
    memcpy(y, x, n * sizeof *y);
    return y;
}

/* ---- second order ---- */

/* w' of the formula from the present weights and the gradient block, where a weight runs, in plain loops. */
static void look_ahead(rig *r, const double *weights, const cel_sgd *sgd, double xi, const float *momentum) {
    size_t size;
    int n_slots;
    const float *grads = cel_exec_grads(r->net->exec, &size);
    const cel_slot *slots = cel_exec_param_slots(r->net->exec, &n_slots);
    for (int s = 0; s < n_slots; s++) {
        if (slots[s].gate >= 0 && weights[slots[s].gate] == 0) continue;
        for (size_t i = slots[s].offset; i < slots[s].offset + slots[s].count; i++)
            r->params[i] = (float)(r->params[i] - xi * ((double)sgd->momentum * momentum[i] + grads[i] +
                                                        sgd->weight_decay * r->params[i]));
    }
}

/* The gradient by the weights on a batch, in the gradient block: a weight step of length 0. */
static double gradient_block(rig *r, const double *weights, int batch) {
    cel_at at = {.phase = CEL_PHASE_WEIGHT, .n_epochs = 1};
    cel_half_step out;
    memcpy(given, weights, sizeof given);
    float *momentum = copy_of(r->net->momentum, r->net->n_floats);
    test_ok(cel_supernet_weight_step(r->net, r->policy, &at, &(cel_sgd){.lr = 0}, 0, r->images[batch], r->labels[batch],
                                     &out));
    memcpy(r->net->momentum, momentum, r->net->n_floats * sizeof *momentum);
    cel_free(momentum);
    return out.loss;
}

/* The loss on the second batch after a step of the weights on the first, both at `weights`. */
static double unrolled_loss(rig *r, const double *weights, const cel_sgd *sgd, double xi) {
    float *params = copy_of(r->params, r->n_params), *states = copy_of(r->states, r->n_states);
    double dweights[MOST];
    cel_half_step out;
    gradient_block(r, weights, 0);
    look_ahead(r, weights, sgd, xi, r->net->momentum);
    test_ok(cel_supernet_weights_gradient(r->net, weights, &arch_at, r->images[1], r->labels[1], dweights, &out));
    memcpy(r->params, params, r->n_params * sizeof *params);
    memcpy(r->states, states, r->n_states * sizeof *states);
    cel_free(params);
    cel_free(states);
    return out.loss;
}

static double distance(const double *a, const double *b, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sqrt(sum);
}

typedef struct form {
    const char *backend;
    int k;
    bool fused, masked, one_off;
} form;

static void open_form(rig *r, const cel_space *space, const form *f, double *weights) {
    int n = space->choices()->n_entries;
    for (int i = 0; i < n; i++) alive[i] = !f->masked || (i != 1 && i != 3 && i != 13);
    open_rig(r, space, f->backend, f->k, f->fused);
    cel_rng rng = cel_rng_at(5, "weights", 0, 0);
    for (int i = 0; i < n; i++) weights[i] = alive[i] ? 0.1 + 0.4 * cel_rng_uniform(&rng) : 0;
    if (f->one_off) weights[4] = 0; /* live, but not in this draw */
}

static const cel_sgd sgd = {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01};

/* The step, and that it leaves no trace and allocates nothing. */
static double unrolled_step(rig *r, const double *weights, double xi, double *grad) {
    float *params = copy_of(r->params, r->n_params), *states = copy_of(r->states, r->n_states);
    float *momentum = copy_of(r->net->momentum, r->net->n_floats);
    cel_half_step out;
    cel_supernet_batch train = {r->images[0], r->labels[0]}, valid = {r->images[1], r->labels[1]};
    memcpy(given, weights, sizeof given);
    uint64_t allocations = cel_mem_count();
    test_ok(cel_supernet_unrolled_step(r->net, r->policy, &arch_at, &sgd, xi, &train, &valid, &out));
    assert_int_equal(cel_mem_count(), allocations);
    assert_memory_equal(params, r->params, r->n_params * sizeof *params);
    assert_memory_equal(states, r->states, r->n_states * sizeof *states);
    assert_memory_equal(momentum, r->net->momentum, r->net->n_floats * sizeof *momentum);
    memcpy(grad, seen, (size_t)r->n * sizeof *grad);
    for (int i = 0; i < r->n; i++)
        if (weights[i] == 0) assert_true(grad[i] == 0);
    cel_free(params);
    cel_free(states);
    cel_free(momentum);
    return out.loss;
}

static const form forms[] = {{"ref", 1, false, false, false},
                             {"ref", 2, false, true, false},
                             {"ref", 4, false, true, true},
                             {"cpu", 1, false, false, true},
                             {"cpu", 2, false, true, true}};

/* Four-point differences of the unrolled loss. */
static void second_order(void **state) {
    (void)state;
    static const double zero[MOST] = {0};
    for (size_t v = 0; v < sizeof forms / sizeof *forms; v++) {
        rig r;
        double weights[MOST] = {0}, numeric[MOST] = {0}, first[MOST], second[MOST];
        const double xi = 0.2, h = 0.02;
        open_form(&r, &smooth, &forms[v], weights);
        for (int i = 0; i < r.n; i++) {
            if (weights[i] == 0) continue;
            double moved[MOST], f[4];
            for (int j = 0; j < 4; j++) {
                memcpy(moved, weights, sizeof moved);
                moved[i] += h * (double[]){-2, -1, 1, 2}[j];
                f[j] = unrolled_loss(&r, moved, &sgd, xi);
            }
            numeric[i] = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
        }
        test_close(unrolled_step(&r, weights, xi, second), unrolled_loss(&r, weights, &sgd, xi), 1e-5, 0, "loss");
        unrolled_step(&r, weights, 0, first);
        double size = distance(numeric, zero, r.n);
        print_message("%s k=%d: |g| %.4f, off by %.3f%%; first order by %.0f%%\n", forms[v].backend, forms[v].k, size,
                      100 * distance(second, numeric, r.n) / size, 100 * distance(first, numeric, r.n) / size);
        assert_true(distance(second, numeric, r.n) < 1e-3 * size);
        assert_true(distance(first, numeric, r.n) > 0.02 * size);
        close_rig(&r);
    }
}

/* Where ReLU makes differences of the loss jump, NAS-Bench-201 fused and plain: the formula's passes one by one. */
static void second_order_nb201(void **state) {
    (void)state;
    static const double zero[MOST] = {0};
    static const form nets[] = {
        {"ref", 2, false, true, true}, {"ref", 4, true, false, false}, {"cpu", 2, true, true, true}};
    for (size_t v = 0; v < sizeof nets / sizeof *nets; v++) {
        rig r;
        double weights[MOST], got[MOST], want[MOST], side[2][MOST], norm = 0;
        const double xi = 0.05;
        size_t size;
        int n_slots;
        cel_half_step out;
        open_form(&r, &cel_space_nb201, &nets[v], weights);
        unrolled_step(&r, weights, xi, got);
        const float *grads = cel_exec_grads(r.net->exec, &size);
        const cel_slot *slots = cel_exec_param_slots(r.net->exec, &n_slots);
        float *params = copy_of(r.params, r.n_params);
        gradient_block(&r, weights, 0);
        look_ahead(&r, weights, &sgd, xi, r.net->momentum);
        gradient_block(&r, weights, 1);
        test_ok(cel_supernet_weights_gradient(r.net, weights, &arch_at, r.images[1], r.labels[1], want, &out));
        float *direction = copy_of(grads, r.n_params);
        for (int i = 0; i < n_slots; i++)
            for (size_t j = slots[i].offset; j < slots[i].offset + slots[i].count; j++) {
                if (slots[i].gate >= 0 && weights[slots[i].gate] == 0) assert_true(direction[j] == 0);
                norm += (double)direction[j] * direction[j];
            }
        double reach = 0.01 / sqrt(norm);
        for (int d = 0; d < 2; d++) {
            for (size_t j = 0; j < r.n_params; j++)
                r.params[j] = params[j] + (float)(d ? -reach : reach) * direction[j];
            test_ok(cel_supernet_weights_gradient(r.net, weights, &arch_at, r.images[0], r.labels[0], side[d], &out));
        }
        for (int i = 0; i < r.n; i++) want[i] -= xi * (side[0][i] - side[1][i]) / (2 * reach);
        print_message("%s k=%d: |g| %.4f, off by %.4f%%\n", nets[v].backend, nets[v].k, distance(want, zero, r.n),
                      100 * distance(want, got, r.n) / distance(want, zero, r.n));
        assert_true(distance(want, got, r.n) < 1e-3 * distance(want, zero, r.n));
        cel_free(params);
        cel_free(direction);
        close_rig(&r);
    }
}

/* One pass gives what the two half-steps give on that batch: the same gradient, the same move of the weights. */
static void single_level(void **state) {
    (void)state;
    for (size_t v = 0; v < sizeof forms / sizeof *forms; v++) {
        rig one, two;
        double weights[MOST], arch[MOST];
        cel_half_step a, b;
        cel_at at = {.phase = CEL_PHASE_WEIGHT, .n_epochs = 1};
        open_form(&one, &cel_space_nb201, &forms[v], weights);
        open_form(&two, &cel_space_nb201, &forms[v], weights);
        memcpy(given, weights, sizeof given);
        float *states = copy_of(one.states, one.n_states);
        test_ok(cel_supernet_arch_step(one.net, one.policy, &arch_at, one.images[0], one.labels[0], &a));
        memcpy(arch, seen, sizeof arch);
        memcpy(one.states, states, one.n_states * sizeof *states);
        test_ok(cel_supernet_weight_step(one.net, one.policy, &at, &sgd, 0.5, one.images[0], one.labels[0], &a));
        test_ok(cel_supernet_single_step(two.net, two.policy, &arch_at, &sgd, 0.5, two.images[0], two.labels[0], &b));
        assert_true(a.loss == b.loss && a.correct == b.correct && a.norm == b.norm && a.norm > 0.5);
        assert_memory_equal(one.params, two.params, one.n_params * sizeof *one.params);
        assert_memory_equal(one.net->momentum, two.net->momentum, one.n_params * sizeof *one.params);
        assert_memory_equal(one.states, two.states, one.n_states * sizeof *one.states);
        for (int i = 0; i < one.n; i++) test_close(seen[i], arch[i], 1e-6, 1e-9, "the architecture's gradient");
        cel_free(states);
        close_rig(&one);
        close_rig(&two);
    }
}

/* A loss that is no number moves nothing. */
static void single_level_diverges(void **state) {
    (void)state;
    rig r;
    double weights[MOST];
    cel_half_step out;
    open_form(&r, &cel_space_nb201, &forms[0], weights);
    memcpy(given, weights, sizeof given);
    r.images[0][5] = NAN;
    float *params = copy_of(r.params, r.n_params);
    seen[0] = 1234;
    test_fails(cel_supernet_single_step(r.net, r.policy, &arch_at, &sgd, 0, r.images[0], r.labels[0], &out),
               CEL_DIVERGED, "epoch 0");
    assert_memory_equal(params, r.params, r.n_params * sizeof *params);
    assert_true(seen[0] == 1234);
    cel_free(params);
    close_rig(&r);
}

/* One architecture by its weights: what the network with only these operations says; nothing moves. */
static void evaluates(void **state) {
    (void)state;
    for (int v = 0; v < 2; v++) {
        rig all, only;
        double weights[MOST], path[MOST] = {0};
        cel_half_step a, b;
        static const int op[MOST_EDGES] = {3, 0, 4, 1, 2, 3};
        cel_at at = {.phase = CEL_PHASE_VALID, .n_epochs = 1};
        form f = {v ? "cpu" : "ref", 2, v == 1, false, false};
        for (int e = 0; e < MOST_EDGES; e++) path[e * 5 + op[e]] = 1;
        open_form(&all, &cel_space_nb201, &f, weights);
        float *params = copy_of(all.params, all.n_params), *states = copy_of(all.states, all.n_states);
        for (int i = 0; i < MOST; i++) alive[i] = path[i] > 0;
        open_rig(&only, &cel_space_nb201, f.backend, f.k, f.fused);
        test_ok(cel_supernet_evaluate(all.net, path, &at, all.images[0], all.labels[0], &a));
        test_ok(cel_supernet_evaluate(only.net, path, &at, only.images[0], only.labels[0], &b));
        test_close(a.loss, b.loss, 1e-6, 0, "loss of a path");
        assert_true(a.correct == b.correct);
        assert_memory_equal(params, all.params, all.n_params * sizeof *params);
        assert_memory_equal(states, all.states, all.n_states * sizeof *states);
        cel_free(params);
        cel_free(states);
        close_rig(&all);
        close_rig(&only);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(second_order), cmocka_unit_test(second_order_nb201),
                                       cmocka_unit_test(single_level), cmocka_unit_test(single_level_diverges),
                                       cmocka_unit_test(evaluates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
