/* Discrete networks of NAS-Bench-201 made ready for inference, at the benchmark's widths and image size: on every CPU level
 * they give what the network gives in evaluation, and the same bytes on any number of threads, alone or among others. */
#include "base/conf/opt.h"
#include "base/mem.h"
#include "engine/backend/cpu/cpu.h"
#include "engine/exec/inference.h"
#include "nas/space/space.h"
#include "support/test.h"

enum { N = 9, CLASSES = 10, PIXELS = 3 * 32 * 32 };

static const char *const cells[] = {
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|",
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|",
    "|nor_conv_1x1~0|+|nor_conv_3x3~0|none~1|+|nor_conv_1x1~0|avg_pool_3x3~1|skip_connect~2|"};

typedef struct network {
    void *conf;
    cel_graph *g;
    cel_net net;
    cel_exec *e;
    int program;
} network;

/* One cell of each resolution; statistics and affine parameters away from their first values. */
static void network_init(network *n, const char *cell) {
    cel_net_shape shape = {N, 3, 32, 32, CLASSES};
    cel_genotype genotype;
    int c = 16, one = 1;
    n->conf = cel_alloc(1, cel_space_nb201.conf_size);
    assert_non_null(n->conf);
    cel_opt_defaults(cel_space_nb201.opts, n->conf);
    for (const cel_opt *o = cel_space_nb201.opts; o->kind != CEL_OPT_END; o++) {
        if (!strcmp(o->name, "c")) memcpy((char *)n->conf + o->offset, &c, sizeof c);
        if (!strcmp(o->name, "n")) memcpy((char *)n->conf + o->offset, &one, sizeof one);
    }
    test_ok(cel_genotype_parse(cell, &genotype));
    test_ok(cel_graph_create(&n->g));
    test_ok(cel_space_nb201.discrete(n->g, n->conf, &shape, &genotype, &n->net));
    test_ok(cel_graph_seal(n->g));
    test_ok(cel_exec_create(n->g, &cel_backend_cpu, NULL, &n->e));
    test_ok(cel_exec_add_program(n->e, CEL_MODE_EVAL, &n->net.logits, 1, &n->program));
    test_ok(cel_exec_prepare(n->e, 3));
    for (int v = 0; v < n->g->n_values; v++) {
        const cel_value *value = &n->g->value[v];
        if (value->shape.rank != 1 || (value->role != CEL_PARAM && value->role != CEL_STATE)) continue;
        float *x = cel_alloc((size_t)value->shape.dim[0], sizeof *x);
        assert_non_null(x);
        cel_rng rng = cel_rng_at(7, value->name, 0, 0);
        for (int i = 0; i < value->shape.dim[0]; i++)
            x[i] = (float)(value->init == CEL_INIT_ONE ? 0.5 + cel_rng_uniform(&rng) : 0.2 * cel_rng_normal(&rng));
        cel_exec_write(n->e, v, x);
        cel_free(x);
    }
}

static void network_fini(network *n) {
    cel_exec_destroy(n->e);
    cel_graph_destroy(n->g);
    cel_free(n->conf);
}

static void check_threads(const network *n, const float *images, const float *want, const char *what) {
    float first[N * CLASSES];
    for (int t = 0; t < 3; t++) {
        cel_pool *pool;
        cel_inference *f;
        float got[N * CLASSES], single[CLASSES];
        double off = 0, size = 0;
        test_ok(cel_pool_create((int[]){1, 2, 8}[t], &pool));
        test_ok(cel_inference_create(n->g, n->net.x, n->net.logits, &cel_backend_cpu, pool, &f));
        test_ok(cel_inference_load(f, n->e));
        cel_inference_run(f, images, N, got);
        for (int i = 0; i < N * CLASSES; i++) {
            off += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
            size += (double)want[i] * want[i];
        }
        if (!(sqrt(off) <= 5e-6 * sqrt(size))) fail_msg("%s: off by %.3g of %.3g", what, sqrt(off), sqrt(size));
        if (t) assert_memory_equal(got, first, sizeof got);
        memcpy(first, got, sizeof got);
        for (int i = 0; i < 3; i++) {
            cel_inference_run(f, images + i * PIXELS, 1, single);
            assert_memory_equal(single, got + i * CLASSES, sizeof single);
        }
        cel_inference_destroy(f);
        cel_pool_destroy(pool);
    }
}

static void networks(void **state) {
    (void)state;
    static const char *const levels[] = {"base", "avx2", "avx512"};
    const char *before = cel_cpu_isa_active()->name;
    float *images = cel_alloc(N, PIXELS * sizeof *images), want[N * CLASSES];
    assert_non_null(images);
    cel_rng rng = cel_rng_at(2, "images", 0, 0);
    for (int i = 0; i < N * PIXELS; i++) images[i] = (float)cel_rng_normal(&rng);
    for (size_t k = 0; k < CEL_COUNT(levels); k++) {
        cel_status status = cel_cpu_isa_force(levels[k]);
        if (status == CEL_UNSUPPORTED) continue;
        test_ok(status);
        for (size_t i = 0; i < CEL_COUNT(cells); i++) {
            network n;
            char what[160];
            snprintf(what, sizeof what, "%s: %s", levels[k], cells[i]);
            network_init(&n, cells[i]);
            cel_exec_write(n.e, n.net.x, images);
            cel_exec_run(n.e, n.program);
            cel_exec_read(n.e, n.net.logits, want);
            check_threads(&n, images, want, what);
            network_fini(&n);
        }
    }
    test_ok(cel_cpu_isa_force(before));
    cel_free(images);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(networks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
