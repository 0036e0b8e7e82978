/* A loss' Hessian times a vector: gradients of gradients through convolution, batch norm, pooling and cross entropy,
 * against differences of the gradient, and every backend against the reference. There is no ReLU in it, so that the
 * differences see a smooth function. */
#include "base/mem.h"
#include "engine/exec/exec.h"
#include "engine/nn/nn.h"
#include "support/test.h"

enum { N = 16, MOST = 16 };

typedef struct {
    cel_graph *g;
    cel_exec *e;
    int gradient, product;
    cel_val wrt[MOST], grad[MOST], hv[MOST], v[MOST];
    int n;
    size_t floats;
} rig;

static cel_val layer(cel_graph *g, const char *name, cel_val x, int out, bool affine) {
    cel_graph_push(g, "%s", name);
    cel_val y = cel_nn_conv_bn(g, x, out, 3, 1, 1, CEL_NN_NORM(affine));
    cel_graph_pop(g);
    return y;
}

static void rig_open(rig *r, const cel_backend *backend) {
    test_ok(cel_graph_create(&r->g));
    cel_graph *g = r->g;
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(N, 3, 6, 6));
    cel_val labels = cel_graph_input(g, "labels", CEL_I32, CEL_BATCH, CEL_SHAPE(N));
    cel_val y = layer(g, "b", layer(g, "a", x, 4, true), 4, false);
    y = cel_avg_pool(g, cel_add(g, (cel_val[]){y, layer(g, "c", y, 4, true)}, 2), (cel_pool2d_attr){3, 1, 1});
    y = cel_nn_linear(g, "out", cel_global_pool(g, layer(g, "d", y, 5, true)), 3, true);
    cel_val loss = cel_softmax_cross_entropy(g, y, labels, 0.1f).loss;
    r->n = 0;
    for (int v = 0; v < g->n_values; v++)
        if (g->value[v].role == CEL_PARAM && g->value[v].shape.rank > 1) r->wrt[r->n++] = v;
    test_ok(cel_graph_grad(g, loss, r->wrt, r->n, r->grad));
    char name[32];
    for (int i = 0; i < r->n; i++) {
        snprintf(name, sizeof name, "v%d", i);
        r->v[i] = cel_graph_input(g, name, CEL_F32, CEL_DENSE, cel_graph_shape(g, r->wrt[i]));
    }
    test_ok(cel_graph_grad_from_all(g, r->grad, r->v, r->n, r->wrt, r->n, r->hv));
    test_ok(cel_graph_seal(g));
    test_ok(cel_exec_create(g, backend, NULL, &r->e));
    test_ok(cel_exec_add_program(r->e, CEL_MODE_TRAIN, r->grad, r->n, &r->gradient));
    test_ok(cel_exec_add_program(r->e, CEL_MODE_TRAIN, r->hv, r->n, &r->product));
    test_ok(cel_exec_prepare(r->e, 7));
    float images[N * 3 * 36];
    int32_t which[N];
    cel_rng rng = cel_rng_at(1, "second", 0, 0);
    for (int i = 0; i < N * 3 * 36; i++) images[i] = (float)cel_rng_normal(&rng);
    for (int i = 0; i < N; i++) which[i] = (int32_t)cel_rng_below(&rng, 3);
    cel_exec_write(r->e, x, images);
    cel_exec_write(r->e, labels, which);
    for (int i = 0; i < r->n; i++) {
        float v[512];
        size_t n = cel_shape_count(cel_graph_shape(g, r->wrt[i]));
        assert_true(n <= 512);
        for (size_t k = 0; k < n; k++) v[k] = (float)cel_rng_normal(&rng);
        cel_exec_write(r->e, r->v[i], v);
    }
    cel_exec_params(r->e, &r->floats);
}

static void rig_close(rig *r) {
    cel_exec_destroy(r->e);
    cel_graph_destroy(r->g);
}

/* The gradient at w + step v. */
static void gradient_at(rig *r, double step, double *out) {
    size_t n, at = 0;
    int n_slots;
    const cel_slot *slots = cel_exec_param_slots(r->e, &n_slots);
    float *params = cel_exec_params(r->e, &n), *kept = test_calloc(n, sizeof *kept);
    memcpy(kept, params, n * sizeof *kept);
    for (int i = 0; i < r->n; i++) {
        float v[512];
        cel_exec_read(r->e, r->v[i], v);
        for (int s = 0; s < n_slots; s++)
            for (size_t k = 0; slots[s].value == r->wrt[i] && k < slots[s].count; k++)
                params[slots[s].offset + k] += (float)step * v[k];
    }
    cel_exec_run(r->e, r->gradient);
    for (int i = 0; i < r->n; i++) {
        float g[512];
        cel_exec_read(r->e, r->grad[i], g);
        for (size_t k = 0; k < cel_shape_count(cel_graph_shape(r->g, r->wrt[i])); k++) out[at++] = g[k];
    }
    memcpy(params, kept, n * sizeof *kept);
    test_free(kept);
}

static size_t product(rig *r, double *out) {
    size_t at = 0;
    cel_exec_run(r->e, r->product);
    for (int i = 0; i < r->n; i++) {
        float g[512];
        cel_exec_read(r->e, r->hv[i], g);
        for (size_t k = 0; k < cel_shape_count(cel_graph_shape(r->g, r->wrt[i])); k++) out[at++] = g[k];
    }
    return at;
}

static void is_the_gradients_slope(void **state) {
    (void)state;
    static const double at[] = {-2, -1, 1, 2}, weight[] = {1, -8, 8, -1};
    rig r;
    double hv[2048], g[2048], slope[2048] = {0}, off = 0, size = 0, h = 2e-3;
    rig_open(&r, &cel_backend_ref);
    size_t n = product(&r, hv);
    for (int p = 0; p < 4; p++) {
        gradient_at(&r, at[p] * h, g);
        for (size_t i = 0; i < n; i++) slope[i] += weight[p] * g[i] / (12 * h);
    }
    for (size_t i = 0; i < n; i++) {
        off += (hv[i] - slope[i]) * (hv[i] - slope[i]);
        size += hv[i] * hv[i];
    }
    assert_true(size > 1e-4);
    if (!(off <= 1e-6 * size)) fail_msg("off by %g of %g", sqrt(off), sqrt(size));
    rig_close(&r);
}

static void backends_agree(void **state) {
    (void)state;
    rig want, got;
    double a[2048], b[2048];
    rig_open(&want, &cel_backend_ref);
    size_t n = product(&want, a);
    for (const cel_backend *const *backend = cel_backends; *backend; backend++) {
        double off = 0, size = 0;
        if (*backend == &cel_backend_ref || ((*backend)->unavailable && (*backend)->unavailable())) continue;
        rig_open(&got, *backend);
        product(&got, b);
        for (size_t i = 0; i < n; i++) {
            off += (b[i] - a[i]) * (b[i] - a[i]);
            size += a[i] * a[i];
        }
        if (!(off <= 1e-9 * size)) fail_msg("%s: off by %g of %g", (*backend)->name, sqrt(off), sqrt(size));
        rig_close(&got);
    }
    rig_close(&want);
}

/* What cannot be differentiated again says so. */
static void refuses_the_rest(void **state) {
    (void)state;
    cel_graph *g;
    cel_val dw, dgamma[2], again;
    test_ok(cel_graph_create(&g));
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(N, 3, 6, 6));
    cel_val y = layer(g, "a", x, 4, true), dy = cel_graph_input(g, "dy", CEL_F32, CEL_BATCH, cel_graph_shape(g, y));
    cel_val gamma = cel_graph_find(g, "a.bn.weight"), w = cel_graph_find(g, "a.conv.weight");
    test_ok(cel_graph_grad_from(g, y, dy, (cel_val[]){gamma, w}, 2, dgamma));
    dw = cel_graph_input(g, "v", CEL_F32, CEL_DENSE, cel_graph_shape(g, gamma));
    test_fails(cel_graph_grad_from(g, dgamma[0], dw, &w, 1, &again), CEL_UNSUPPORTED, "differentiated again");
    cel_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_the_gradients_slope), cmocka_unit_test(backends_agree),
                                       cmocka_unit_test(refuses_the_rest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
