/* Whole search steps, fused cells and all, on each CPU level: the same bytes on any number of threads, and gradients that agree with
 * `ref`. Sixteen channels and more, so that every kind of convolution the engine has takes part. */
#include "support/test.h"

#include "base/mem.h"
#include "engine/backend/cpu/cpu.h"
#include "nas/search/settings.h"
#include "nas/search/supernet.h"

enum { CHANNELS = 3, SIDE = 8, CLASSES = 10, MOST_BATCH = 64 };
static const char *const levels[] = {"base", "avx2", "avx512"};

typedef struct setting {
    const char *recipe;
    int k, batch;
} setting;
static const setting settings[] = {
    {"{search: {stages: [{k: 1}]}, space: {c: 16, n: 1}}", 1, 20},
    {"{search: {stages: [{k: 2}]}, space: {c: 32, n: 1}}", 2, 9},
    {"{search: {stages: [{k: 4}]}, space: {c: 16, n: 1}}", 4, 64},
    {"{search: {method: gdas, stages: [{k: 1}]}, space: {c: 16, n: 1}}", 1, 33},
};

/* What two steps leave behind. */
typedef struct trail {
    float *params, *states, *momentum, *first; /* first: the gradients of the first weight half-step */
    size_t n_params, n_states;
    double loss[2], *arch;
    int n_arch;
} trail;

static float *copy(const float *from, size_t n) {
    float *to = test_calloc(n, sizeof *to);
    memcpy(to, from, n * sizeof *to);
    return to;
}

static trail take_steps(const setting *s, const cel_backend *backend, int threads, uint64_t seed) {
    static float images[MOST_BATCH * CHANNELS * SIDE * SIDE];
    static int32_t labels[MOST_BATCH];
    static const cel_sgd sgd = {.lr = 0.025, .momentum = 0.9, .weight_decay = 3e-4};
    cel_rng rng = cel_rng_at(seed, "images", 0, 0);
    for (size_t i = 0; i < CEL_COUNT(images); i++) images[i] = (float)cel_rng_normal(&rng);
    for (int i = 0; i < MOST_BATCH; i++) labels[i] = (int32_t)cel_rng_below(&rng, CLASSES);
    cel_conf *tree;
    cel_settings conf;
    cel_policy *policy;
    cel_supernet *net;
    cel_pool *pool;
    cel_half_step half;
    size_t n;
    test_ok(cel_pool_create(threads, &pool));
    test_ok(cel_conf_parse("test", s->recipe, strlen(s->recipe), &tree));
    test_ok(cel_settings_init(&conf, tree, NULL, 0));
    test_ok(cel_policy_create(conf.method, conf.space->choices(), conf.method_conf, 3, &policy));
    cel_supernet_conf of = {.space = conf.space,
                            .space_conf = conf.space_conf,
                            .shape = {s->batch, CHANNELS, SIDE, SIDE, CLASSES},
                            .form = {.k = s->k, .fused = true, .straight_through = conf.method->straight_through},
                            .backend = backend,
                            .pool = pool,
                            .seed = 7};
    test_ok(cel_supernet_create(&of, cel_policy_n_grad(policy), &net));
    trail t = {.n_arch = cel_policy_n_grad(policy)};
    for (int step = 0; step < 2; step++) {
        cel_at at = {.phase = CEL_PHASE_ARCH, .n_epochs = 1, .step = step};
        test_ok(cel_supernet_arch_step(net, policy, &at, images, labels, &half));
        if (!step) {
            t.arch = test_calloc((size_t)t.n_arch, sizeof *t.arch);
            memcpy(t.arch, net->mean, (size_t)t.n_arch * sizeof *t.arch);
        }
        at.phase = CEL_PHASE_WEIGHT;
        test_ok(cel_supernet_weight_step(net, policy, &at, &sgd, 5, images, labels, &half));
        if (!step) t.first = copy(cel_exec_grads(net->exec, &n), net->n_floats);
        t.loss[step] = half.loss;
    }
    const float *params = cel_exec_params(net->exec, &t.n_params);
    t.params = copy(params, t.n_params);
    const float *states = cel_exec_states(net->exec, &t.n_states);
    t.states = copy(states, t.n_states);
    t.momentum = copy(net->momentum, t.n_params);
    cel_supernet_destroy(net);
    cel_policy_destroy(policy);
    cel_settings_fini(&conf);
    cel_conf_destroy(tree);
    cel_pool_destroy(pool);
    return t;
}

static void forget(trail *t) {
    test_free(t->params), test_free(t->states), test_free(t->momentum), test_free(t->first), test_free(t->arch);
}

static void same(const char *what, const setting *s, const char *level, int threads, const void *a, const void *b,
                 size_t n) {
    if (memcmp(a, b, n)) fail_msg("%s: %s: %s differ between 1 and %d threads", level, s->recipe, what, threads);
}

static double distance(const float *a, const float *b, size_t n) {
    double off = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        off += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)b[i] * b[i];
    }
    return sqrt(off / all);
}

static double distance_of_arch(const trail *a, const trail *b) {
    double off = 0, all = 0;
    for (int i = 0; i < a->n_arch; i++) {
        off += (a->arch[i] - b->arch[i]) * (a->arch[i] - b->arch[i]);
        all += b->arch[i] * b->arch[i];
    }
    return sqrt(off / all);
}

/* A ReLU's input within rounding of zero may fall on either side, which moves gradients by up to a percent, with some images and not with
 * others: right is who agrees on one of a few sets. */
enum { SETS = 4 };
static trail reference[CEL_COUNT(settings)][SETS]; /* what `ref` leaves, made when it is asked for */

static void agrees_with_ref(const setting *s, const char *level) {
    double off = 0, arch = 0;
    for (int set = 0; set < SETS; set++) {
        trail *want = &reference[s - settings][set], got = take_steps(s, &cel_backend_cpu, 2, 1 + (uint64_t)set);
        if (!want->params) *want = take_steps(s, &cel_backend_ref, 2, 1 + (uint64_t)set);
        off = distance(got.first, want->first, got.n_params);
        arch = distance_of_arch(&got, want);
        assert_true(fabs(got.loss[0] - want->loss[0]) < 1e-5 * want->loss[0]);
        forget(&got);
        if (off < 1e-5 && arch < 1e-5) return;
    }
    fail_msg("%s: %s: the weights' gradient is off by %.2g, the architecture's by %.2g", level, s->recipe, off, arch);
}

static void same_on_any_number_of_threads(const setting *s, const char *level) {
    static const int threads[] = {2, 8};
    trail one = take_steps(s, &cel_backend_cpu, 1, 1);
    for (size_t t = 0; t < CEL_COUNT(threads); t++) {
        trail more = take_steps(s, &cel_backend_cpu, threads[t], 1);
        same("losses", s, level, threads[t], one.loss, more.loss, sizeof one.loss);
        same("weights", s, level, threads[t], one.params, more.params, one.n_params * sizeof(float));
        same("statistics", s, level, threads[t], one.states, more.states, one.n_states * sizeof(float));
        same("momenta", s, level, threads[t], one.momentum, more.momentum, one.n_params * sizeof(float));
        same("gradients", s, level, threads[t], one.first, more.first, one.n_params * sizeof(float));
        same("architecture gradients", s, level, threads[t], one.arch, more.arch,
             (size_t)one.n_arch * sizeof *one.arch);
        forget(&more);
    }
    forget(&one);
}

static void each_level(void (*check)(const setting *s, const char *level)) {
    const char *before = cel_cpu_isa_active()->name;
    for (size_t k = 0; k < CEL_COUNT(levels); k++) {
        cel_status status = cel_cpu_isa_force(levels[k]);
        if (status == CEL_UNSUPPORTED) {
            print_message("skipped: %s\n", cel_status_message());
            continue;
        }
        test_ok(status);
        for (size_t i = 0; i < CEL_COUNT(settings); i++) check(&settings[i], levels[k]);
    }
    test_ok(cel_cpu_isa_force(before));
}

static void every_level_agrees_with_ref(void **state) {
    (void)state;
    each_level(agrees_with_ref);
    for (size_t i = 0; i < CEL_COUNT(settings); i++)
        for (int set = 0; set < SETS; set++) forget(&reference[i][set]);
}

static void threads_do_not_matter(void **state) {
    (void)state;
    each_level(same_on_any_number_of_threads);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_level_agrees_with_ref),
                                       cmocka_unit_test(threads_do_not_matter)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
