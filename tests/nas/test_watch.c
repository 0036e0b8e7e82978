/* The collapse watch: the eigenvalue against the whole Hessian of a small network, that looking leaves no trace, and its judgement. */
#include "nas/search/watch.h"

#include "math/matrix.h"
#include "math/softmax.h"
#include "support/policy_rig.h"

enum { N = 30, OPS = 5, BATCH = 8, SIDE = 8, MOST = 32 };

typedef struct rig {
    cel_pool *pool;
    void *space;
    cel_supernet *net;
    cel_policy *policy;
    float images[BATCH * 3 * SIDE * SIDE];
    int32_t labels[BATCH];
} rig;

static void open_rig(rig *r, const char *backend, const cel_method *method, const char *yaml) {
    cel_rng rng = cel_rng_at(4, "test", 0, 0);
    test_ok(cel_pool_create(1, &r->pool));
    r->space = cel_alloc(1, cel_space_nb201.conf_size);
    cel_opt_defaults(cel_space_nb201.opts, r->space);
    for (const cel_opt *o = cel_space_nb201.opts; o->kind != CEL_OPT_END; o++)
        if (!strcmp(o->name, "n") || !strcmp(o->name, "c"))
            memcpy((char *)r->space + o->offset, &(int){o->name[0] == 'n' ? 1 : 4}, sizeof(int));
    r->policy = test_policy_open(method, cel_space_nb201.choices(), yaml, 5);
    cel_supernet_conf conf = {.space = &cel_space_nb201,
                              .space_conf = r->space,
                              .shape = {BATCH, 3, SIDE, SIDE, 4},
                              .form = {.k = 1, .fused = true, .straight_through = method->straight_through},
                              .backend = cel_backend_find(backend),
                              .pool = r->pool,
                              .seed = 9};
    test_ok(cel_supernet_create(&conf, cel_policy_n_grad(r->policy), &r->net));
    for (int i = 0; i < BATCH * 3 * SIDE * SIDE; i++) r->images[i] = (float)cel_rng_normal(&rng);
    for (int i = 0; i < BATCH; i++) r->labels[i] = i % 4;
}

static void close_rig(rig *r) {
    cel_supernet_destroy(r->net);
    test_policy_close(r->policy);
    cel_pool_destroy(r->pool);
    cel_free(r->space);
}

/* So small that no ReLU of the small network turns, so that there is one Hessian to find. */
static const double STEP = 1e-4;

/* The gradient of the loss by the logits of each row. */
static void gradient_by_logits(rig *r, const double *logits, double *g) {
    double weights[N];
    cel_at at = {.phase = CEL_PHASE_VALID, .n_epochs = 1};
    cel_half_step half;
    for (int row = 0; row < N; row += OPS) cel_softmax(logits + row, OPS, weights + row);
    test_ok(cel_supernet_weights_gradient(r->net, weights, &at, r->images, r->labels, g, &half));
    for (int row = 0; row < N; row += OPS) cel_softmax_vjp(weights + row, OPS, g + row, g + row);
}

static double from_whole_hessian(rig *r) {
    double mean[N], hessian[N * N], up[N], down[N];
    r->policy->method->mean(r->policy, mean);
    for (int i = 0; i < N; i++) mean[i] = log(mean[i]);
    for (int i = 0; i < N; i++) {
        double at = mean[i];
        mean[i] = at + STEP;
        gradient_by_logits(r, mean, up);
        mean[i] = at - STEP;
        gradient_by_logits(r, mean, down);
        mean[i] = at;
        for (int j = 0; j < N; j++) hessian[i * N + j] = (up[j] - down[j]) / (2 * STEP);
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < i; j++)
            hessian[i * N + j] = hessian[j * N + i] = (hessian[i * N + j] + hessian[j * N + i]) / 2;
    test_ok(cel_matrix_eigenvalues(hessian, N));
    return hessian[N - 1];
}

static double look(rig *r, int iterations) {
    cel_watch_conf conf = {.iterations = iterations, .step = STEP};
    double eigenvalue;
    test_ok(
        cel_watch_eigenvalue(&conf, r->net, r->policy, r->images, r->labels, cel_rng_at(1, "look", 0, 0), &eigenvalue));
    return eigenvalue;
}

static void eigenvalue_is_right(void **state) {
    (void)state;
    static const char *const backends[] = {"cpu"};
    static const cel_method *const methods[] = {&cel_method_drnas, &cel_method_gdas};
    for (int b = 0; b < 1; b++)
        for (int m = 0; m < 2; m++) {
            rig r;
            open_rig(&r, backends[b], methods[m], "{init_scale: 1}");
            double got = look(&r, 60), want = from_whole_hessian(&r);
            assert_true(want > 1e-3);
            test_close(got, want, 0.03, 0, "largest eigenvalue");
            close_rig(&r);
        }
}

/* Weights, running statistics, momentum and distribution are the same bytes before and after; a second look sees the same. */
static void leaves_no_trace(void **state) {
    (void)state;
    rig r;
    open_rig(&r, "cpu", &cel_method_drnas, "{}");
    cel_state now = {0};
    test_ok(cel_supernet_save(r.net, &now));
    test_ok(cel_policy_save(r.policy, &now));
    void **before = cel_alloc((size_t)now.n, sizeof *before);
    for (int i = 0; i < now.n; i++) {
        before[i] = cel_alloc(now.items[i].bytes + 1, 1);
        memcpy(before[i], now.items[i].data, now.items[i].bytes);
    }
    double first = look(&r, 20);
    for (int i = 0; i < now.n; i++) assert_memory_equal(before[i], now.items[i].data, now.items[i].bytes);
    assert_true(look(&r, 20) == first && first >= 0);
    for (int i = 0; i < now.n; i++) cel_free(before[i]);
    cel_free(before);
    cel_state_fini(&now);
    close_rig(&r);
}

static void counts_skips(void **state) {
    (void)state;
    cel_genotype g;
    test_ok(cel_genotype_parse(
        "|skip_connect~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|avg_pool_3x3~1|skip_connect~2|", &g));
    assert_int_equal(cel_watch_skips(&g), 3);
    test_ok(cel_genotype_parse(
        "Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1), "
        "('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1)], normal_concat=range(2, "
        "6), "
        "reduce=[('skip_connect', 0), ('max_pool_3x3', 1), ('skip_connect', 0), ('max_pool_3x3', 1), ('skip_connect', "
        "0), "
        "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))",
        &g));
    assert_int_equal(cel_watch_skips(&g), 3);
}

static void judges(void **state) {
    (void)state;
    char text[CEL_WATCH_TEXT];
    cel_watch_past past = {.n = 0};
    cel_watch_conf conf = {
        .max_skips = 2, .min_entropy = 0.5, .max_eigenvalue = 10, .max_growth = 4.0 / 3, .window = 2};
    cel_watch_judge(&conf, &past, 2, 0.5, 10, text);
    assert_string_equal(text, "");
    cel_watch_judge(&conf, &past, 3, 0.4, 9, text);
    assert_non_null(strstr(text, "3 skip connections in a cell, more than watch.max_skips = 2"));
    cel_watch_judge(&conf, &past, 2, 0.4, 9, text);
    assert_non_null(strstr(text, "entropy is 0.4, less than watch.min_entropy"));
    cel_watch_judge(&conf, &past, 2, 0.5, 10.5, text);
    assert_non_null(strstr(text, "is 10.5, more than watch.max_eigenvalue"));
    /* 2, 2, then growth: the mean of two after the mean of the two before them, at 4/3 */
    past.n = 0;
    static const double eigenvalue[] = {2, 2, 2, 3.333, 2, 3.34};
    for (int i = 0; i < 6; i++) {
        cel_watch_judge(&conf, &past, 0, 1, eigenvalue[i], text);
        assert_string_equal(text, "");
    }
    cel_watch_judge(&conf, &past, 0, 1, 3.8, text); /* 3.57 after 2.67: 1.339 */
    assert_non_null(strstr(text, "grew from 2.667 to 3.57 (means of 2 looks)"));
    /* nothing is asked for */
    cel_watch_conf none = {.window = 2};
    for (int i = 0; i < 200; i++) {
        cel_watch_judge(&none, &past, 6, 0, 1e9 * i, text);
        assert_string_equal(text, "");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(eigenvalue_is_right), cmocka_unit_test(leaves_no_trace),
                                       cmocka_unit_test(counts_skips), cmocka_unit_test(judges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
