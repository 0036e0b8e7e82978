/* Every registered proxy: the same bytes on any number of threads, finite or not defined, and what each must do by
 * its own definition. */
#include "base/mem.h"
#include "cellar/score.h"
#include "math/matrix.h"
#include "nas/eval/flow.h"
#include "nas/eval/scorer.h"
#include "support/test.h"

static const char *const small[] = {"space.c=4",         "space.n=1",           "score.batch=16",
                                    "score.ntk_batch=4", "score.ntk_repeats=2", "score.regions_samples=60"};
enum { SETS = sizeof small / sizeof *small };

static const char *all_proxies(void) {
    static char list[512];
    size_t used = 0;
    for (int i = 0; i < cel_proxy_count(); i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? "," : "", cel_proxy_get(i).name);
    assert_true(used < sizeof list);
    return list;
}

static cel_scorer *scorer(const char *proxies, int threads, const char *more) {
    const char *sets[SETS + 1];
    cel_scorer *s;
    memcpy(sets, small, sizeof small);
    sets[SETS] = more;
    test_ok(cel_scorer_create(&(cel_scorer_options){proxies, sets, SETS + (more != NULL), threads}, &s));
    return s;
}

/* Some cells; the first has no path from its input to its output, the second only one through pools. */
static int some_cells(cel_genotype *cells) {
    static const char *const texts[] = {
        "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|nor_conv_1x1~1|none~2|",
        "|none~0|+|none~0|none~1|+|avg_pool_3x3~0|nor_conv_3x3~1|none~2|",
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|",
        "|nor_conv_1x1~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"};
    int n = 0;
    for (; n < (int)CEL_COUNT(texts); n++) test_ok(cel_genotype_parse(texts[n], &cells[n]));
    return n;
}

static void same_on_any_number_of_threads(void **state) {
    (void)state;
    cel_genotype cells[8];
    int n = some_cells(cells);
    cel_scorer *one = scorer(all_proxies(), 1, NULL);
    int columns = cel_scorer_columns(one);
    assert_int_equal(columns, cel_proxy_count());
    double *want = test_calloc((size_t)(n * columns), sizeof *want),
           *got = test_calloc((size_t)(n * columns), sizeof *got);
    test_ok(cel_scorer_run(one, cells, n, want, NULL, NULL));
    for (int threads = 2; threads <= 5; threads += 3) {
        cel_scorer *more = scorer(all_proxies(), threads, NULL);
        test_ok(cel_scorer_run(more, cells, n, got, NULL, NULL));
        assert_memory_equal(got, want, (size_t)(n * columns) * sizeof *got);
        test_ok(cel_scorer_run(more, cells, n, got, NULL, NULL)); /* nothing is left of the time before */
        assert_memory_equal(got, want, (size_t)(n * columns) * sizeof *got);
        cel_scorer_destroy(more);
    }
    for (int c = 0; c < columns; c++) {
        cel_proxy_info p = cel_scorer_column(one, c);
        bool cost = !strcmp(p.name, "params") || !strcmp(p.name, "flops");
        if (isnan(want[c]) == (cost || p.of[0])) fail_msg("%s: %g for a cell that leads nowhere", p.name, want[c]);
        for (int i = 1; i < n; i++)
            if (!isfinite(want[i * columns + c])) fail_msg("%s: %g for cell %d", p.name, want[i * columns + c], i);
        if (p.of[0])
            for (int i = 1; i < n; i++) assert_true(want[c] < want[i * columns + c]); /* no score ranks last */
    }
    cel_scorer_destroy(one);
    test_free(want);
    test_free(got);
}

/* A bank of cells together gives what each gives alone. */
static void cells_do_not_disturb_each_other(void **state) {
    (void)state;
    cel_genotype cells[8];
    int n = some_cells(cells);
    cel_scorer *s = scorer("grad_norm,grasp,naswot,synflow", 1, NULL), *again;
    double together[8 * 4], alone[4];
    test_ok(cel_scorer_run(s, cells, n, together, NULL, NULL));
    for (int i = 1; i < n; i++) {
        again = scorer("grad_norm,grasp,naswot,synflow", 1, NULL);
        test_ok(cel_scorer_run(again, &cells[i], 1, alone, NULL, NULL));
        assert_memory_equal(alone, together + 4 * i, sizeof alone);
        cel_scorer_destroy(again);
    }
    cel_scorer_destroy(s);
}

/* With draws of its own a cell's score depends on the seed and on the cell's text only; a cell that computes the same
 * has another. */
static void own_draws_are_the_cells(void **state) {
    (void)state;
    static const char *const texts[] = {
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|",
        "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|",
        "|nor_conv_1x1~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"};
    enum { N = CEL_COUNT(texts), COLUMNS = 4 };
    static const char list[] = "grad_norm,jacob_cov,ntk,linear_regions";
    cel_genotype cells[N];
    double shared[N * COLUMNS], own[N * COLUMNS], again[N * COLUMNS];
    for (int i = 0; i < N; i++) test_ok(cel_genotype_parse(texts[i], &cells[i]));
    cel_scorer *s = scorer(list, 1, NULL);
    test_ok(cel_scorer_run(s, cells, N, shared, NULL, NULL));
    cel_scorer_destroy(s);
    s = scorer(list, 1, "score.own_draws=true");
    test_ok(cel_scorer_run(s, cells, N, own, NULL, NULL));
    for (int i = N - 1; i >= 0; i--) {
        test_ok(cel_scorer_run(s, &cells[i], 1, again, NULL, NULL));
        assert_memory_equal(again, own + i * COLUMNS, COLUMNS * sizeof *own);
    }
    cel_scorer_destroy(s);
    s = scorer(list, 3, "score.own_draws=true");
    test_ok(cel_scorer_run(s, cells, N, again, NULL, NULL));
    assert_memory_equal(again, own, sizeof own);
    cel_scorer_destroy(s);
    for (int c = 0; c < COLUMNS - 1; c++) {
        for (int i = 0; i < N; i++) assert_true(own[i * COLUMNS + c] != shared[i * COLUMNS + c]);
        assert_true(own[c] != own[COLUMNS + c]);
    }
}

static double one_score(const char *proxy, const char *cell, const char *more) {
    cel_genotype g;
    double value;
    cel_scorer *s = scorer(proxy, 1, more);
    test_ok(cel_genotype_parse(cell, &g));
    test_ok(cel_scorer_run(s, &g, 1, &value, NULL, NULL));
    cel_scorer_destroy(s);
    return value;
}

static void augmented_images_are_others(void **state) {
    (void)state;
    static const char cell[] = "|nor_conv_1x1~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|";
    static const char *const proxies[] = {"grad_norm", "jacob_cov", "naswot"};
    for (size_t i = 0; i < CEL_COUNT(proxies); i++)
        assert_true(one_score(proxies[i], cell, "score.augment=true") != one_score(proxies[i], cell, NULL));
    assert_true(one_score("synflow", cell, "score.augment=true") == one_score("synflow", cell, NULL));
}

/* Node 1 gets nothing, so only a bias of the convolution behind it can be seen, by fisher and synflow. */
static void a_bias_behind_nothing_is_seen(void **state) {
    (void)state;
    static const char dead[] = "|none~0|+|none~0|none~1|+|avg_pool_3x3~0|nor_conv_3x3~1|none~2|",
                      less[] = "|none~0|+|none~0|none~1|+|avg_pool_3x3~0|none~1|none~2|";
    static const char *const proxies[] = {"fisher", "synflow", "jacob_cov", "grad_norm"};
    for (size_t i = 0; i < CEL_COUNT(proxies); i++) {
        double plain = one_score(proxies[i], less, NULL), biased = one_score(proxies[i], less, "score.cell_bias=true"),
               seen = one_score(proxies[i], dead, "score.cell_bias=true");
        assert_true(one_score(proxies[i], dead, NULL) == plain);
        assert_true(biased == plain); /* it has no convolution left */
        if (i < 2)
            assert_true(seen > 1.01 * biased);
        else
            test_close(seen, biased, 1e-3, 0, proxies[i]);
    }
}

/* The forward flow is the sum over the weights of |w dR/dw|, R's parts being positive: doubling all weights of one
 * layer of a chain doubles R and the score. The network of skips has one path; its score is R's part through weights
 * times the weight layers on it. */
static void synflow_counts_the_layers_of_a_path(void **state) {
    (void)state;
    cel_genotype g;
    cel_probe *p;
    cel_probe_room room = {0};
    cel_scorer *s = scorer("synflow", 1, "score.classes=2");
    double values[2];
    test_ok(cel_genotype_parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|", &g));
    test_ok(cel_scorer_run(s, &g, 1, values, NULL, NULL));
    cel_scorer_destroy(s);
    assert_true(values[0] > 0);
    /* stem, (conv_a conv_b or downsample) twice, classifier: between 4 and 6 layers a path, so 4 R <= score <= 6 R. */
    void *conf = cel_alloc(1, cel_space_nb201.conf_size);
    cel_opt_defaults(cel_space_nb201.opts, conf);
    for (const cel_opt *o = cel_space_nb201.opts; o->kind != CEL_OPT_END; o++) {
        int value = !strcmp(o->name, "c") ? 4 : 1;
        if (!strcmp(o->name, "c") || !strcmp(o->name, "n")) memcpy((char *)conf + o->offset, &value, sizeof value);
    }
    cel_probe_conf probe = {.space = &cel_space_nb201,
                            .space_conf = conf,
                            .shape = {16, 3, 32, 32, 2},
                            .backend = &cel_backend_ref,
                            .seed = 1,
                            .n_batches = 1};
    double r, score;
    test_ok(cel_probe_open(&probe, &g, CEL_READ_FLOW, &room, &p));
    test_ok(cel_flow_run(p, &r, &score));
    test_close(score, values[0], 1e-12, 0, "score");
    assert_true(score > 4 * (r - 1) && score < 6 * r);
    cel_probe_close(p);
    cel_probe_room_fini(&room);
    cel_free(conf);
}

static void flow_is_finite_where_floats_are_not(void **state) {
    (void)state;
    cel_genotype g;
    cel_scorer *s;
    double value;
    test_ok(cel_genotype_parse(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|", &g));
    test_ok(cel_scorer_create(&(cel_scorer_options){"synflow", NULL, 0, 1}, &s));
    test_ok(cel_scorer_run(s, &g, 1, &value, NULL, NULL));
    assert_true(isfinite(value) && value > 1e39);
    cel_scorer_destroy(s);
}

static void orders_of_a_set(void **state) {
    (void)state;
    double a[] = {1, 2, 3, NAN}, b[] = {1, 3, 2, 9}, c[] = {5, 1, 1, 0}, out[4];
    const double *of[] = {a, b, c};
    test_ok(cel_proxy_majority(of, 3, 4, out));
    /* 0 loses to 1 and 2 (a, b), beats 3 (a, c); 1 and 2: a against b, c even, half each. */
    assert_true(out[0] == 1 && out[1] == 2.5 && out[2] == 2.5 && out[3] == 0);
    test_ok(cel_proxy_rank_sum(of, 2, 4, out));
    assert_true(out[0] == 2 + 1 && out[1] == 3 + 3 && out[2] == 4 + 2 && out[3] == 1 + 4);
}

static void wrong_settings(void **state) {
    (void)state;
    cel_scorer *s;
    const char *bad[] = {"score.bach=3"}, *zero[] = {"score.batch=0"}, *few[] = {"score.batch=6000"};
    test_fails(cel_scorer_create(&(cel_scorer_options){"sinflow", NULL, 0, 1}, &s), CEL_CONFIG,
               "did you mean \"synflow\"");
    test_fails(cel_scorer_create(&(cel_scorer_options){"", NULL, 0, 1}, &s), CEL_CONFIG, "there is no \"\"");
    test_fails(cel_scorer_create(&(cel_scorer_options){"synflow,", NULL, 0, 1}, &s), CEL_CONFIG, "there is no \"\"");
    test_fails(cel_scorer_create(&(cel_scorer_options){"snip", bad, 1, 1}, &s), CEL_CONFIG, "batch");
    test_fails(cel_scorer_create(&(cel_scorer_options){"snip", zero, 1, 1}, &s), CEL_CONFIG, "batch");
    test_fails(cel_scorer_create(&(cel_scorer_options){"snip", few, 1, 1}, &s), CEL_CONFIG, "6000 images");
    cel_genotype g = {.space = CEL_ARCH_NB201};
    s = scorer("params", 1, NULL);
    double value;
    assert_true(cel_scorer_run(s, &g, 1, &value, NULL, NULL) != CEL_OK);
    cel_scorer_destroy(s);
}

static void memory_runs_out(void **state) {
    (void)state;
    cel_genotype cells[8];
    double values[64];
    const char *sets[SETS + 1];
    some_cells(cells);
    memcpy(sets, small, sizeof small);
    sets[SETS] = "score.own_draws=true";
    for (uint64_t n = 1;; n += 1 + n / 8) {
        cel_scorer *s = NULL;
        cel_mem_fail_at(n);
        cel_status status =
            cel_scorer_create(&(cel_scorer_options){"synflow,naswot,fisher,grasp", sets, SETS + 1, 1}, &s);
        if (status == CEL_OK) status = cel_scorer_run(s, cells + 2, 1, values, NULL, NULL);
        cel_mem_fail_at(0);
        cel_scorer_destroy(s);
        if (status == CEL_OK) break;
        assert_int_equal(status, CEL_NOMEM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_on_any_number_of_threads),
                                       cmocka_unit_test(cells_do_not_disturb_each_other),
                                       cmocka_unit_test(own_draws_are_the_cells),
                                       cmocka_unit_test(augmented_images_are_others),
                                       cmocka_unit_test(a_bias_behind_nothing_is_seen),
                                       cmocka_unit_test(synflow_counts_the_layers_of_a_path),
                                       cmocka_unit_test(flow_is_finite_where_floats_are_not),
                                       cmocka_unit_test(orders_of_a_set),
                                       cmocka_unit_test(wrong_settings),
                                       cmocka_unit_test(memory_runs_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
