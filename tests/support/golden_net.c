/* nb201_super_*, nb201_gdas_*, nb201_wider_*, nb201_discrete_*: whole networks, on every backend, cells fused and plain. */
#include "support/golden_net.h"

#include "base/conf/conf.h"
#include "engine/exec/inference.h"
#include "math/gumbel.h"
#include "math/softmax.h"
#include "nas/search/supernet.h"

enum { ENTRIES = 30, ROWS = 6, COLS = 5 };
static const double OUTPUT = 1e-5, GRADIENT = 2e-4, GRADIENT_OF_ALL = 2e-6, STATISTICS = 1e-5;

const char *golden_only_backend;
static int nudge;

/* Moved by at most `nudge` roundings up or down, by a fixed draw. */
static float nudged(float x, cel_rng *rng) {
    int way = (int)cel_rng_below(rng, 2 * (uint32_t)nudge + 1) - nudge;
    for (; way > 0; way--) x = nextafterf(x, HUGE_VALF);
    for (; way < 0; way++) x = nextafterf(x, -HUGE_VALF);
    return x;
}

double golden_without_kinks(double (*run)(const test_golden *, const cel_backend *, bool), const test_golden *golden,
                            const cel_backend *backend, bool fused) {
    double error = HUGE_VAL;
    for (nudge = 0; nudge <= GOLDEN_NUDGES; nudge++) {
        error = run(golden, backend, fused);
        if (error <= 1) break;
    }
    if (nudge && error <= 1)
        print_error("%s, %s cells: within the tolerance at nudge %d: a ReLU's input is within rounding of 0\n",
                    backend->name, fused ? "fused" : "plain", nudge);
    nudge = 0;
    return error;
}

bool golden_backend_wanted(const cel_backend *backend) {
    if (golden_only_backend) return !strcmp(backend->name, golden_only_backend);
    return !backend->unavailable || !backend->unavailable();
}

void *golden_settings(const cel_opt *opts, size_t size, const char *yaml) {
    void *settings = cel_alloc(1, size);
    cel_conf *conf;
    cel_section section = {"", opts, settings};
    assert_non_null(settings);
    test_ok(cel_conf_parse("golden", yaml, strlen(yaml), &conf));
    test_ok(cel_conf_read(conf, &section, 1));
    cel_conf_destroy(conf);
    return settings;
}

double golden_meta_number(const test_golden *golden, const char *key) {
    const char *text = test_golden_meta(golden, key);
    if (!text) fail_msg("no %s in the metadata", key);
    return strtod(text, NULL);
}

cel_net_shape golden_shape(const test_golden *golden, const test_tensor *x) {
    const char *classes = test_golden_meta(golden, "classes");
    int at = x->rank - 4; /* before it: steps */
    return (cel_net_shape){x->shape[at], x->shape[at + 1], x->shape[at + 2], x->shape[at + 3],
                           classes ? (int)strtol(classes, NULL, 10) : 10};
}

void golden_write(cel_exec *e, cel_val v, const test_tensor *t) {
    float *plain = cel_alloc(t->n, sizeof *plain);
    assert_non_null(plain);
    for (size_t i = 0; i < t->n; i++) plain[i] = (float)t->data[i];
    cel_exec_write(e, v, plain);
    cel_free(plain);
}

static void write_labels(cel_exec *e, cel_val v, const test_tensor *t) {
    int32_t *plain = cel_alloc(t->n, sizeof *plain);
    assert_non_null(plain);
    for (size_t i = 0; i < t->n; i++) plain[i] = (int32_t)t->data[i];
    cel_exec_write(e, v, plain);
    cel_free(plain);
}

void golden_nudge(cel_exec *e) {
    int n;
    size_t size;
    const cel_slot *slots = cel_exec_param_slots(e, &n);
    float *params = cel_exec_params(e, &size);
    for (int i = 0; i < n && nudge; i++) {
        cel_rng rng = cel_rng_at((uint64_t)nudge, slots[i].name, 0, 0);
        for (size_t k = 0; k < slots[i].count; k++) {
            float *x = params + slots[i].offset + k;
            *x = nudged(*x, &rng);
        }
    }
}

void golden_write_slots(cel_exec *e, const cel_slot *slots, int n, const test_golden *golden, const char *prefix) {
    for (int i = 0; i < n; i++) {
        const test_tensor *t = test_golden_get(golden, "%s.%s", prefix, slots[i].name);
        assert_int_equal(t->n, slots[i].count);
        golden_write(e, slots[i].value, t);
    }
}

static double compare_floats(const float *got, const test_tensor *want, double relative, double absolute) {
    double *values = cel_alloc(want->n, sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < want->n; i++) values[i] = got[i];
    double error = golden_norm_error(values, want->data, want->n, relative, absolute);
    cel_free(values);
    return error;
}

double golden_compare_slots(const cel_slot *slots, int n, const float *block, const test_golden *golden,
                            const char *prefix, double relative, double absolute) {
    double worst = 0;
    for (int i = 0; i < n; i++) {
        const test_tensor *want = test_golden_get(golden, "%s.%s", prefix, slots[i].name);
        assert_int_equal(want->n, slots[i].count);
        worst = golden_max(worst, compare_floats(block + slots[i].offset, want, relative, absolute));
    }
    return worst;
}

static double compare_value(cel_exec *e, cel_val v, const test_tensor *want, double relative, double absolute) {
    float *got = cel_alloc(want->n, sizeof *got);
    assert_non_null(got);
    cel_exec_read(e, v, got);
    double error = compare_floats(got, want, relative, absolute);
    cel_free(got);
    return error;
}

double golden_total_norm(const test_golden *golden, const char *prefix) {
    double squares = 0;
    for (int i = 0; i < golden->n_tensors; i++) {
        const test_tensor *t = &golden->tensors[i];
        if (strncmp(t->name, prefix, strlen(prefix))) continue;
        for (size_t k = 0; k < t->n; k++) squares += t->data[k] * t->data[k];
    }
    return sqrt(squares);
}

/* ---- a network of a file ---- */

typedef struct rig {
    cel_graph *graph;
    cel_exec *exec;
    cel_net net;
    cel_val dweights;
    int train, eval;
} rig;

static void rig_open(rig *r, const cel_backend *backend) {
    cel_graph *g = r->graph;
    int n = 0;
    cel_val *wrt = cel_alloc((size_t)g->n_values + 1, sizeof *wrt),
            *targets = cel_alloc((size_t)g->n_values + 8, sizeof *targets);
    assert_true(wrt && targets);
    for (int v = 0; v < g->n_values; v++)
        if (g->value[v].role == CEL_PARAM) wrt[n++] = v;
    if (r->net.n_groups) wrt[n++] = r->net.group[0].weights;
    test_ok(cel_graph_grad(g, r->net.loss, wrt, n, targets));
    test_ok(cel_graph_seal(g));
    r->dweights = r->net.n_groups ? targets[n - 1] : CEL_NONE;
    targets[n++] = r->net.loss;
    targets[n++] = r->net.logits;
    targets[n++] = r->net.features;
    test_ok(cel_exec_create(g, backend, NULL, &r->exec));
    test_ok(cel_exec_add_program(r->exec, CEL_MODE_TRAIN, targets, n, &r->train));
    test_ok(cel_exec_add_program(r->exec, CEL_MODE_EVAL, &r->net.logits, 1, &r->eval));
    test_ok(cel_exec_prepare(r->exec, 1));
    cel_free(wrt);
    cel_free(targets);
}

static void rig_close(rig *r) {
    cel_exec_destroy(r->exec);
    cel_graph_destroy(r->graph);
}

static void rig_write(rig *r, const test_golden *golden, const char *params, const char *states) {
    int n;
    const cel_slot *slots = cel_exec_param_slots(r->exec, &n);
    golden_write_slots(r->exec, slots, n, golden, params);
    golden_nudge(r->exec);
    slots = cel_exec_state_slots(r->exec, &n);
    golden_write_slots(r->exec, slots, n, golden, states);
    golden_write(r->exec, r->net.x, test_golden_get(golden, "in.x"));
    write_labels(r->exec, r->net.labels, test_golden_get(golden, "in.y"));
}

static void *space_settings(const test_golden *golden) {
    char yaml[128];
    snprintf(yaml, sizeof yaml, "{c: %.0f, n: %.0f}", golden_meta_number(golden, "C"), golden_meta_number(golden, "N"));
    return golden_settings(cel_space_nb201.opts, cel_space_nb201.conf_size, yaml);
}

static void rig_supernet(rig *r, const test_golden *golden, const cel_backend *backend, const cel_supernet_form *form) {
    void *settings = space_settings(golden);
    cel_net_shape shape = golden_shape(golden, test_golden_get(golden, "in.x"));
    *r = (rig){.graph = NULL};
    test_ok(cel_graph_create(&r->graph));
    test_ok(cel_space_nb201.supernet(r->graph, settings, &shape, form, &r->net));
    rig_open(r, backend);
    cel_free(settings);
}

/* An entry of weight 0 is off. */
static void rig_weights(rig *r, const double *weights) {
    float plain[ENTRIES];
    uint8_t gates[ENTRIES];
    for (int i = 0; i < ENTRIES; i++) {
        plain[i] = (float)weights[i];
        gates[i] = plain[i] != 0;
    }
    cel_exec_write(r->exec, r->net.group[0].weights, plain);
    cel_exec_set_gates(r->exec, gates, ENTRIES);
}

/* Parameters and statistics that the file has and the graph has not must be those of operations that did not run. */
static double unbuilt(const test_golden *golden, const rig *r) {
    double worst = 0;
    for (int i = 0; i < golden->n_tensors; i++) {
        const test_tensor *t = &golden->tensors[i];
        const test_tensor *before = NULL;
        if (!strncmp(t->name, "bn1.", 4)) {
            if (cel_graph_find(r->graph, t->name + 4) != CEL_NONE) continue;
            before = test_golden_get(golden, "bn0.%s", t->name + 4);
        } else if (strncmp(t->name, "grad.", 5) || cel_graph_find(r->graph, t->name + 5) != CEL_NONE) {
            continue;
        }
        for (size_t k = 0; k < t->n; k++)
            if (t->data[k] != (before ? before->data[k] : 0)) worst = HUGE_VAL;
    }
    return worst;
}

/* Logits, loss, gradients of the parameters and statistics after the training program ran. */
static double rig_compare(rig *r, const test_golden *golden) {
    int n;
    size_t size;
    double all = golden_total_norm(golden, "grad.");
    double worst = compare_value(r->exec, r->net.logits, test_golden_get(golden, "out.logits"), OUTPUT, 0);
    worst = golden_max(worst, compare_value(r->exec, r->net.loss, test_golden_get(golden, "out.loss"), OUTPUT, 0));
    const test_tensor *features = test_golden_find(golden, "out.features");
    if (features) worst = golden_max(worst, compare_value(r->exec, r->net.features, features, OUTPUT, 0));
    const cel_slot *slots = cel_exec_param_slots(r->exec, &n);
    const float *grads = cel_exec_grads(r->exec, &size);
    worst = golden_max(worst, golden_compare_slots(slots, n, grads, golden, "grad", GRADIENT, GRADIENT_OF_ALL * all));
    slots = cel_exec_state_slots(r->exec, &n);
    worst = golden_max(worst, golden_compare_slots(slots, n, cel_exec_states(r->exec, &size), golden, "bn1", STATISTICS,
                                                   1e-3 * STATISTICS * golden_total_norm(golden, "bn1.")));
    return golden_max(worst, unbuilt(golden, r));
}

static void rig_dweights(rig *r, double dweights[ENTRIES]) {
    float got[ENTRIES];
    cel_exec_read(r->exec, r->dweights, got);
    for (int i = 0; i < ENTRIES; i++) dweights[i] = got[i];
}

static double compare_dweights(const double *got, const test_golden *golden, const char *name) {
    const test_tensor *want = test_golden_get(golden, "%s", name);
    assert_int_equal(want->n, ENTRIES);
    return golden_norm_error(got, want->data, ENTRIES, GRADIENT, GRADIENT_OF_ALL * golden_total_norm(golden, "grad."));
}

/* Runs `one` for every backend, with fused and with plain cells. */
static double everywhere(const char *path, double (*one)(const test_golden *, const cel_backend *, bool fused)) {
    test_golden *golden = test_golden_open(path);
    double worst = 0;
    for (int b = 0; cel_backends[b]; b++)
        for (int fused = 0; fused < 2 && golden_backend_wanted(cel_backends[b]); fused++)
            worst = golden_max(worst, golden_without_kinks(one, golden, cel_backends[b], fused));
    test_golden_close(golden);
    return worst;
}

static double super(const test_golden *golden, const cel_backend *backend, bool fused) {
    double dweights[ENTRIES];
    rig r;
    rig_supernet(&r, golden, backend, &(cel_supernet_form){.k = (int)golden_meta_number(golden, "k"), .fused = fused});
    rig_write(&r, golden, "param", "bn0");
    rig_weights(&r, test_golden_get(golden, "in.edge_weights")->data);
    cel_exec_run(r.exec, r.train);
    double worst = rig_compare(&r, golden);
    rig_dweights(&r, dweights);
    worst = golden_max(worst, compare_dweights(dweights, golden, "grad_in.edge_weights"));
    rig_close(&r);
    return worst;
}

double golden_nb201_super(const char *path) { return everywhere(path, super); }

/* Masked operations left out of the graph, and built but switched off. */
static double masked(const test_golden *golden, const cel_backend *backend, bool fused) {
    const test_tensor *sample = test_golden_get(golden, "in.sample"), *mask = test_golden_get(golden, "in.mask");
    double weights[ENTRIES], dweights[ENTRIES], dsample[ENTRIES], log_sample[ENTRIES], worst = 0;
    uint8_t live[ENTRIES];
    bool keep[ENTRIES];
    for (int i = 0; i < ENTRIES; i++) {
        keep[i] = mask->data[i] != 0;
        live[i] = keep[i];
        log_sample[i] = log(sample->data[i]);
    }
    for (int row = 0; row < ROWS; row++)
        cel_simplex_mask(log_sample + row * COLS, keep + row * COLS, COLS, weights + row * COLS);
    worst = golden_norm_error(weights, test_golden_get(golden, "out.edge_weights")->data, ENTRIES, 1e-6, 0);
    for (int left_out = 0; left_out < 2; left_out++) {
        rig r;
        cel_supernet_form form = {
            .k = (int)golden_meta_number(golden, "k"), .fused = fused, .live = left_out ? live : NULL};
        rig_supernet(&r, golden, backend, &form);
        rig_write(&r, golden, "param", "bn0");
        rig_weights(&r, weights);
        cel_exec_run(r.exec, r.train);
        worst = golden_max(worst, rig_compare(&r, golden));
        rig_dweights(&r, dweights);
        worst = golden_max(worst, compare_dweights(dweights, golden, "grad_in.edge_weights"));
        for (int row = 0; row < ROWS; row++)
            cel_simplex_mask_vjp(weights + row * COLS, COLS, dweights + row * COLS, dsample + row * COLS);
        for (int i = 0; i < ENTRIES; i++) dsample[i] /= sample->data[i];
        worst = golden_max(worst, compare_dweights(dsample, golden, "grad_in.sample"));
        rig_close(&r);
    }
    return worst;
}

double golden_nb201_masked(const char *path) { return everywhere(path, masked); }

static double gdas(const test_golden *golden, const cel_backend *backend, bool fused) {
    const double *alpha = test_golden_get(golden, "in.alpha")->data,
                 *noise = test_golden_get(golden, "in.gumbel")->data;
    const test_tensor *index = test_golden_get(golden, "out.index");
    double hard[ENTRIES], soft[ENTRIES], dweights[ENTRIES], dalpha[ENTRIES], tau = golden_meta_number(golden, "tau");
    rig r;
    for (int row = 0; row < ROWS; row++)
        assert_int_equal(
            cel_gumbel_hard(alpha + row * COLS, noise + row * COLS, COLS, tau, hard + row * COLS, soft + row * COLS),
            index->data[row]);
    rig_supernet(&r, golden, backend, &(cel_supernet_form){.k = 1, .fused = fused, .straight_through = true});
    rig_write(&r, golden, "param", "bn0");
    rig_weights(&r, hard);
    cel_exec_run(r.exec, r.train);
    double worst = rig_compare(&r, golden);
    rig_dweights(&r, dweights);
    worst = golden_max(worst, compare_dweights(dweights, golden, "grad_in.hard_weights"));
    for (int row = 0; row < ROWS; row++)
        cel_gumbel_softmax_vjp(soft + row * COLS, COLS, tau, dweights + row * COLS, dalpha + row * COLS);
    worst = golden_max(worst, compare_dweights(dalpha, golden, "grad_in.alpha"));
    rig_close(&r);
    return worst;
}

double golden_nb201_gdas(const char *path) { return everywhere(path, gdas); }

/* ---- widening ---- */

static void given_draw(void *ctx, const char *layer, bool in, int have, int32_t *index, int n) {
    const test_tensor *t = test_golden_get(ctx, "index.%s.%s.conv.weight", in ? "in" : "out", layer);
    (void)have;
    assert_int_equal(t->n, n);
    for (int i = 0; i < n; i++) index[i] = (int32_t)t->data[i];
}

static double wider(const test_golden *golden, const cel_backend *backend, bool fused) {
    void *settings = space_settings(golden);
    cel_supernet *net[2];
    cel_net_shape shape = golden_shape(golden, test_golden_get(golden, "in.x"));
    cel_supernet_conf conf = {
        .space = &cel_space_nb201, .space_conf = settings, .shape = shape, .backend = backend, .seed = 1};
    conf.form.fused = fused;
    conf.form.k = (int)golden_meta_number(golden, "k_before");
    test_ok(cel_supernet_create(&conf, ENTRIES, &net[0]));
    conf.form.k = (int)golden_meta_number(golden, "k_after");
    test_ok(cel_supernet_create(&conf, ENTRIES, &net[1]));
    int n;
    size_t size;
    const cel_slot *slots = cel_exec_param_slots(net[0]->exec, &n);
    golden_write_slots(net[0]->exec, slots, n, golden, "before.param");
    for (int i = 0; i < n; i++) {
        const test_tensor *t = test_golden_get(golden, "before.momentum.%s", slots[i].name);
        for (size_t k = 0; k < t->n; k++) net[0]->momentum[slots[i].offset + k] = (float)t->data[k];
    }
    slots = cel_exec_state_slots(net[0]->exec, &n);
    golden_write_slots(net[0]->exec, slots, n, golden, "before.bn");
    test_golden copy = *golden;
    cel_luggage *luggage;
    test_ok(cel_supernet_pack(net[0], &luggage));
    test_ok(cel_supernet_carry(luggage, net[1], given_draw, &copy));
    cel_luggage_destroy(luggage);
    slots = cel_exec_param_slots(net[1]->exec, &n);
    double worst =
        golden_compare_slots(slots, n, cel_exec_params(net[1]->exec, &size), golden, "after.param", 0, 1e-30);
    worst = golden_max(worst, golden_compare_slots(slots, n, net[1]->momentum, golden, "after.momentum", 0, 1e-30));
    slots = cel_exec_state_slots(net[1]->exec, &n);
    worst = golden_max(
        worst, golden_compare_slots(slots, n, cel_exec_states(net[1]->exec, &size), golden, "after.bn", 0, 1e-30));
    cel_supernet_destroy(net[0]);
    cel_supernet_destroy(net[1]);
    cel_free(settings);
    rig r;
    rig_supernet(&r, golden, backend, &conf.form);
    rig_write(&r, golden, "after.param", "after.bn");
    rig_weights(&r, test_golden_get(golden, "in.edge_weights")->data);
    cel_exec_run(r.exec, r.train);
    worst = golden_max(worst, compare_value(r.exec, r.net.logits, test_golden_get(golden, "out.logits"), OUTPUT, 0));
    worst = golden_max(worst, compare_value(r.exec, r.net.loss, test_golden_get(golden, "out.loss"), OUTPUT, 0));
    rig_close(&r);
    return worst;
}

double golden_nb201_wider(const char *path) { return everywhere(path, wider); }

/* ---- discrete networks ---- */

/* A branch that nothing comes out of is not run here, so its statistics stay; PyTorch moves them, to no effect. */
static bool leads_to_output(const cel_genotype *genotype, int node) {
    if (node == 3) return true;
    for (int i = 0; i < genotype->n; i++)
        if (genotype->edge[i].from == node && genotype->edge[i].op != CEL_NB201_NONE &&
            leads_to_output(genotype, genotype->edge[i].to))
            return true;
    return false;
}

static double discrete_statistics(rig *r, const test_golden *golden, const cel_genotype *genotype) {
    int n;
    size_t size;
    double worst = 0;
    const cel_slot *slots = cel_exec_state_slots(r->exec, &n);
    const float *states = cel_exec_states(r->exec, &size);
    for (int i = 0; i < n; i++) {
        int to;
        const char *edge = strstr(slots[i].name, ".edge");
        if (edge && sscanf(edge, ".edge%d", &to) == 1 && !leads_to_output(genotype, to)) continue;
        worst = golden_max(worst, golden_compare_slots(&slots[i], 1, states, golden, "bn1", STATISTICS,
                                                       1e-3 * STATISTICS * golden_total_norm(golden, "bn1.")));
    }
    return worst;
}

/* The same network made ready for inference. */
static double folded_logits(rig *r, const test_golden *golden, const cel_backend *backend) {
    const test_tensor *x = test_golden_get(golden, "in.x"), *want = test_golden_get(golden, "out.eval_logits");
    cel_inference *f;
    float *images = test_calloc(x->n, sizeof *images), *logits = test_calloc(want->n, sizeof *logits);
    for (size_t i = 0; i < x->n; i++) images[i] = (float)x->data[i];
    test_ok(cel_inference_create(r->graph, r->net.x, r->net.logits, backend, NULL, &f));
    test_ok(cel_inference_load(f, r->exec));
    cel_inference_run(f, images, cel_graph_shape(r->graph, r->net.x).dim[0], logits);
    double error = compare_floats(logits, want, OUTPUT, 0);
    cel_inference_destroy(f);
    test_free(images);
    test_free(logits);
    return error;
}

static double discrete(const test_golden *golden, const cel_backend *backend, bool fused) {
    double worst = 0, all = golden_total_norm(golden, "grad.");
    const char *arch = test_golden_meta(golden, "arch");
    cel_genotype genotype;
    if (fused) return 0; /* there are no search cells */
    assert_non_null(arch);
    test_ok(cel_genotype_parse(arch, &genotype));
    void *settings = space_settings(golden);
    cel_net_shape shape = golden_shape(golden, test_golden_get(golden, "in.x"));
    rig r = {.graph = NULL};
    int n;
    size_t size;
    test_ok(cel_graph_create(&r.graph));
    test_ok(cel_space_nb201.discrete(r.graph, settings, &shape, &genotype, &r.net));
    rig_open(&r, backend);
    rig_write(&r, golden, "param", "bn0");
    cel_exec_run(r.exec, r.eval);
    worst =
        golden_max(worst, compare_value(r.exec, r.net.logits, test_golden_get(golden, "out.eval_logits"), OUTPUT, 0));
    worst = golden_max(worst, folded_logits(&r, golden, backend));
    cel_exec_run(r.exec, r.train);
    worst = golden_max(worst, compare_value(r.exec, r.net.logits, test_golden_get(golden, "out.logits"), OUTPUT, 0));
    worst = golden_max(worst, compare_value(r.exec, r.net.loss, test_golden_get(golden, "out.loss"), OUTPUT, 0));
    worst =
        golden_max(worst, compare_value(r.exec, r.net.features, test_golden_get(golden, "out.features"), OUTPUT, 0));
    const cel_slot *slots = cel_exec_param_slots(r.exec, &n);
    worst = golden_max(worst, golden_compare_slots(slots, n, cel_exec_grads(r.exec, &size), golden, "grad", GRADIENT,
                                                   GRADIENT_OF_ALL * all));
    worst = golden_max(worst, discrete_statistics(&r, golden, &genotype));
    rig_close(&r);
    cel_free(settings);
    return worst;
}

double golden_nb201_discrete(const char *path) { return everywhere(path, discrete); }
