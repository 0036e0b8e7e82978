/* The best cell that fits: against all 15,625 of NAS-Bench-201, and what fits nothing. */
#include "nas/search/limit.h"

#include "base/mem.h"
#include "base/rng.h"
#include "nas/space/space.h"
#include "support/test.h"

enum { N = 30, OPS = 5 };
static const cel_nb201_net net = {.c = 16, .n = 5, .classes = 10, .image = 32};

static cel_status cost(void *ctx, const cel_genotype *g, cel_arch_cost *out) {
    int *calls = ctx;
    ++*calls;
    return cel_nb201_cost(g, &net, out);
}

static double log_product(const cel_genotype *g, const double *scores) {
    double value = 0;
    for (int e = 0; e < CEL_NB201_EDGES; e++) {
        double sum = 0;
        for (int o = 0; o < OPS; o++) sum += scores[e * OPS + o];
        value += log(scores[e * OPS + g->edge[e].op] / sum);
    }
    return value;
}

/* By looking at every cell. */
static double best_of_all(const double *scores, const uint8_t *live, const cel_limit *limit, bool *any) {
    double best = -HUGE_VAL;
    *any = false;
    for (int i = 0; i < CEL_NB201_COUNT; i++) {
        cel_genotype g;
        cel_arch_cost price;
        bool alive = true;
        test_ok(cel_nb201_from_index(i, &g));
        for (int e = 0; e < CEL_NB201_EDGES; e++) alive = alive && live[e * OPS + g.edge[e].op];
        if (!alive) continue;
        test_ok(cel_nb201_cost(&g, &net, &price));
        if (!cel_limit_fits(limit, &price)) continue;
        *any = true;
        best = fmax(best, log_product(&g, scores));
    }
    return best;
}

static void is_exact(void **state) {
    (void)state;
    cel_rng rng = cel_rng_at(1, "test", 0, 0);
    for (int round = 0; round < 12; round++) {
        double scores[N];
        uint8_t live[N];
        for (int i = 0; i < N; i++) {
            scores[i] = exp(2 * cel_rng_normal(&rng));
            live[i] = round < 6 || i % OPS == round % OPS || cel_rng_uniform(&rng) < 0.6;
        }
        cel_limit limit = {.params = round % 3 == 1 ? 0 : 100000 + 40000 * round,
                           .flops = round % 3 == 0 ? 0 : 15000000 + 8000000 * round};
        int calls = 0;
        bool any;
        cel_genotype g;
        cel_arch_cost price;
        for (int e = 0; e < N; e += OPS) /* dead ones have no share */
            for (int i = e; i < e + OPS; i++)
                if (!live[i]) scores[i] = 1e-300;
        double want = best_of_all(scores, live, &limit, &any);
        if (!any) {
            test_fails(cel_limit_derive(&limit, &cel_space_nb201, scores, live, cost, &calls, &g), CEL_CONFIG,
                       "no cell");
            continue;
        }
        test_ok(cel_limit_derive(&limit, &cel_space_nb201, scores, live, cost, &calls, &g));
        test_ok(cel_nb201_cost(&g, &net, &price));
        assert_true(cel_limit_fits(&limit, &price));
        test_close(log_product(&g, scores), want, 1e-12, 0, "the best product");
        assert_true(calls <= CEL_NB201_COUNT);
    }
}

/* What the strongest operations make, when that fits; ties go to the first. */
static void without_a_limit(void **state) {
    (void)state;
    double scores[N];
    cel_genotype g, want;
    int calls = 0;
    cel_rng rng = cel_rng_at(2, "test", 0, 0);
    for (int i = 0; i < N; i++) scores[i] = cel_rng_uniform(&rng);
    cel_limit limit = {0, 0};
    test_ok(cel_limit_derive(&limit, &cel_space_nb201, scores, NULL, cost, &calls, &g));
    test_ok(cel_space_derive(&cel_space_nb201, scores, NULL, &want));
    assert_true(cel_genotype_equal(&g, &want) && calls == 1);
    for (int i = 0; i < N; i++) scores[i] = 0.2;
    test_ok(cel_limit_derive(&limit, &cel_space_nb201, scores, NULL, cost, &calls, &g));
    for (int e = 0; e < g.n; e++) assert_int_equal(g.edge[e].op, 0);
}

static void nothing_fits(void **state) {
    (void)state;
    double scores[N];
    cel_genotype g;
    cel_arch_cost price;
    int calls = 0;
    for (int i = 0; i < N; i++) scores[i] = 1 + i;
    test_ok(cel_nb201_from_index(0, &g));
    const cel_limit small = {.params = 1000}, slow = {.flops = 1000};
    char part[64];
    int64_t least = INT64_MAX;
    for (int i = 0; i < CEL_NB201_COUNT; i++) {
        test_ok(cel_nb201_from_index(i, &g));
        test_ok(cel_nb201_cost(&g, &net, &price));
        if (price.params < least) least = price.params;
    }
    snprintf(part, sizeof part, "the smallest has %lld; raise search.max_params", (long long)least);
    test_fails(cel_limit_derive(&small, &cel_space_nb201, scores, NULL, cost, &calls, &g), CEL_CONFIG, part);
    assert_int_equal(calls, CEL_NB201_COUNT); /* each cell once */
    test_fails(cel_limit_derive(&slow, &cel_space_nb201, scores, NULL, cost, &calls, &g), CEL_CONFIG, "max_flops");
    scores[3] = NAN;
    test_fails(cel_limit_derive(&small, &cel_space_nb201, scores, NULL, cost, &calls, &g), CEL_DIVERGED,
               "nor_conv_3x3");
}

static void without_memory(void **state) {
    (void)state;
    double scores[N];
    cel_genotype g;
    int calls = 0;
    const cel_limit limit = {.params = 80000};
    for (int i = 0; i < N; i++) scores[i] = 1 + i % 7;
    for (uint64_t n = 1;; n++) {
        cel_mem_fail_at(n);
        cel_status status = cel_limit_derive(&limit, &cel_space_nb201, scores, NULL, cost, &calls, &g);
        cel_mem_fail_at(0);
        if (status == CEL_OK) break;
        assert_int_equal(status, CEL_NOMEM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_exact), cmocka_unit_test(without_a_limit),
                                       cmocka_unit_test(nothing_fits), cmocka_unit_test(without_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
