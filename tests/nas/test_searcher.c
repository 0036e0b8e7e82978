/* The searchers, each of the list: budgets are kept and counted, equal runs are equal, the whole space's optimum is found by the whole
 * space's budget, and a search beats chance; and each one's own rule. */
#include "nas/search/searcher.h"

#include <time.h>

#include "math/rank_stats.h"
#include "support/test.h"

static cel_table *table;

static int setup(void **state) {
    (void)state;
    test_ok(cel_table_open(NULL, &table));
    return 0;
}
static int teardown(void **state) {
    (void)state;
    cel_table_close(table);
    return 0;
}

static cel_searcher_run a_run(int i, int budget, uint64_t seed) {
    return (cel_searcher_run){
        .searcher = cel_searcher_get(i).name, .dataset = "cifar10", .budget = budget, .seed = seed};
}

static void counts_and_repeats(void **state) {
    (void)state;
    for (int i = 0; i < cel_searcher_count(); i++) {
        cel_searcher_run run = a_run(i, 150, 3);
        cel_searcher_found one, two;
        test_ok(cel_searcher_search(table, &run, &one));
        test_ok(cel_searcher_search(table, &run, &two));
        assert_int_equal(one.n_queries, 150);
        assert_string_equal(cel_table_metric(table, one.metric)->name, "cifar10_valid_12");
        assert_memory_equal(one.row, two.row, 150 * sizeof *one.row);
        assert_int_equal(one.best, two.best);
        assert_int_equal(one.n_repeats, two.n_repeats);
        double best = 0;
        for (int q = 0; q < 150; q++) {
            for (int before = 0; before < q; before++) assert_int_not_equal(one.row[q], one.row[before]);
            assert_true(one.valid[q] == cel_table_value(table, one.metric, one.row[q]));
            best = fmax(best, one.valid[q]);
        }
        assert_true(cel_table_value(table, one.metric, one.best) == best);
        cel_searcher_found_fini(&two);
        run.seed = 4;
        test_ok(cel_searcher_search(table, &run, &two));
        assert_memory_not_equal(one.row, two.row, 150 * sizeof *one.row);
        cel_searcher_found_fini(&one);
        cel_searcher_found_fini(&two);
    }
}

static void whole_space(void **state) {
    (void)state;
    static const char *const datasets[] = {"cifar10", "cifar100", "imagenet16"};
    for (int i = 0; i < cel_searcher_count(); i++)
        for (size_t d = 0; d < sizeof datasets / sizeof *datasets; d++) {
            cel_searcher_run run = a_run(i, CEL_NB201_COUNT, 1);
            cel_searcher_found found;
            run.dataset = datasets[d];
            test_ok(cel_searcher_search(table, &run, &found));
            assert_int_equal(cel_table_rank(table, found.metric, found.best), 1);
            assert_int_equal(cel_table_metric(table, found.metric)->epochs, 12);
            assert_string_equal(cel_table_metric(table, found.metric)->split, "valid");
            cel_searcher_found_fini(&found);
        }
}

/* With 200 queries the mean over 40 seeds of what is found lies above that of the best of 200 random ones, for those that
 * learn from answers; and random search's lies where order statistics say: a uniform draw's rank, so its mean rank is
 * (N + 1) / 201. */
static void better_than_chance(void **state) {
    (void)state;
    enum { SEEDS = 40, BUDGET = 200 };
    double mean[16];
    for (int i = 0; i < cel_searcher_count(); i++) {
        double valid[SEEDS], rank[SEEDS];
        clock_t start = clock();
        for (int seed = 0; seed < SEEDS; seed++) {
            cel_searcher_run run = a_run(i, BUDGET, (uint64_t)seed);
            cel_searcher_found found;
            test_ok(cel_searcher_search(table, &run, &found));
            valid[seed] = cel_table_value(table, found.metric, found.best);
            rank[seed] = cel_table_rank(table, found.metric, found.best);
            cel_searcher_found_fini(&found);
        }
        mean[i] = cel_stats_mean(valid, SEEDS);
        print_message("%-14s valid %.3f, mean rank %.0f, %.2f ms a run\n", cel_searcher_get(i).name, mean[i],
                      cel_stats_mean(rank, SEEDS), 1e3 * (double)(clock() - start) / CLOCKS_PER_SEC / SEEDS);
        if (strcmp(cel_searcher_get(i).name, "random_search")) continue;
        double expected = (CEL_NB201_COUNT + 1.0) / (BUDGET + 1);
        test_close(cel_stats_mean(rank, SEEDS), expected, 0, 4 * expected / sqrt(SEEDS),
                   "mean rank of the best of 200");
    }
    for (int i = 1; i < cel_searcher_count(); i++)
        if (strcmp(cel_searcher_get(i).name, "reinforce")) assert_true(mean[i] > mean[0]);
}

static cel_seeker a_seeker(const cel_searcher *searcher, void *conf) {
    cel_seeker s = {.n_edges = 6, .n_ops = 5, .conf = conf, .rng = cel_rng_at(7, "test", 0, 0)};
    cel_opt_defaults(searcher->opts, conf);
    s.state = cel_alloc(1, searcher->state_size);
    return s;
}
static void fini_seeker(cel_seeker *s) {
    cel_arena_fini(&s->arena);
    cel_free(s->state);
}

static int differing(const uint8_t *a, const uint8_t *b) {
    int n = 0;
    for (int e = 0; e < 6; e++) n += a[e] != b[e];
    return n;
}

static double toy(const uint8_t *ops) {
    double sum = 0;
    for (int e = 0; e < 6; e++) sum += ops[e] == (3 * e + 1) % 5 ? 10 : ops[e];
    return sum;
}

/* The neighbours of a start are all 24, then it goes to the best; on a function without local optima it climbs to the top. */
static void local_search_climbs(void **state) {
    (void)state;
    uint8_t conf[64], here[6], ops[6], best[6] = {0};
    cel_seeker s = a_seeker(&cel_searcher_local_search, conf);
    test_ok(cel_searcher_local_search.init(&s));
    cel_searcher_local_search.propose(&s, here);
    cel_searcher_local_search.observe(&s, here, toy(here));
    double top = -1;
    uint8_t seen[24][6];
    for (int i = 0; i < 24; i++) {
        cel_searcher_local_search.propose(&s, ops);
        assert_int_equal(differing(here, ops), 1);
        for (int k = 0; k < i; k++) assert_int_not_equal(differing(seen[k], ops), 0);
        memcpy(seen[i], ops, 6);
        if (toy(ops) > top) {
            top = toy(ops);
            memcpy(best, ops, 6);
        }
        cel_searcher_local_search.observe(&s, ops, toy(ops));
    }
    cel_searcher_local_search.propose(&s, ops);
    assert_int_equal(differing(best, ops), 1);
    cel_searcher_local_search.observe(&s, ops, toy(ops));
    for (int i = 0; i < 24 * 8; i++) {
        cel_searcher_local_search.propose(&s, ops);
        cel_searcher_local_search.observe(&s, ops, toy(ops));
        top = fmax(top, toy(ops));
    }
    assert_true(top == 60);
    fini_seeker(&s);
}

/* The first ten are drawn; then each child differs in one edge from a member, and none of the members is older than ten. */
static void evolution_forgets_the_old(void **state) {
    (void)state;
    uint8_t conf[64], born[200][6];
    cel_seeker s = a_seeker(&cel_searcher_rea, conf);
    test_ok(cel_searcher_rea.init(&s));
    for (int i = 0; i < 200; i++) {
        cel_searcher_rea.propose(&s, born[i]);
        bool child = false;
        for (int k = i < 10 ? 0 : i - 10; k < i; k++) child = child || differing(born[k], born[i]) == 1;
        assert_true(i < 10 || child);
        /* the earlier, the better: with elders kept, children of the first would go on for ever */
        cel_searcher_rea.observe(&s, born[i], 100 - i);
    }
    fini_seeker(&s);
}

/* One update by hand: Adam's first step is lr * sign of the gradient, up where the reward lies above the baseline. */
static void reinforce_moves_up_what_pays(void **state) {
    (void)state;
    uint8_t conf[64], ops[6] = {0, 1, 2, 3, 4, 0};
    cel_seeker s = a_seeker(&cel_searcher_reinforce, conf);
    test_ok(cel_searcher_reinforce.init(&s));
    struct {
        double *theta, *p, *grad, *m, *v, baseline;
        int64_t t;
    } *st = s.state;
    uint8_t any[6];
    cel_searcher_reinforce.propose(&s, any);
    double p[30];
    for (int e = 0; e < 6; e++) {
        double sum = 0;
        for (int o = 0; o < 5; o++) sum += p[5 * e + o] = exp(st->theta[5 * e + o]);
        for (int o = 0; o < 5; o++) p[5 * e + o] /= sum;
    }
    cel_searcher_reinforce.observe(&s, ops, 50); /* the baseline starts here: no gradient */
    for (int i = 0; i < 30; i++) assert_true(st->grad[i] == 0);
    cel_searcher_reinforce.observe(&s, ops, 90);
    test_close(st->baseline, 0.9 * 0.5 + 0.1 * 0.9, 1e-15, 0, "baseline");
    for (int e = 0; e < 6; e++)
        for (int o = 0; o < 5; o++)
            test_close(st->grad[5 * e + o], (0.9 - 0.54) * (p[5 * e + o] - (ops[e] == o)), 1e-12, 1e-15, "gradient");
    for (int i = 0; i < 2000; i++) { /* and it learns the toy's top */
        cel_searcher_reinforce.propose(&s, any);
        cel_searcher_reinforce.observe(&s, any, toy(any));
    }
    cel_searcher_reinforce.propose(&s, any);
    assert_true(toy(any) > 45);
    fini_seeker(&s);
}

static void bad_input(void **state) {
    (void)state;
    cel_searcher_run run = a_run(0, 0, 1);
    cel_searcher_found found;
    char *text;
    test_fails(cel_searcher_search(table, &run, &found), CEL_CONFIG, "expected 1 to 15625");
    run.budget = CEL_NB201_COUNT + 1;
    test_fails(cel_searcher_search(table, &run, &found), CEL_CONFIG, "expected 1 to 15625");
    run.budget = 10;
    run.dataset = "mnist";
    test_fails(cel_searcher_search(table, &run, &found), CEL_NOTFOUND, "no data set \"mnist\"");
    run.dataset = "cifar10";
    run.searcher = "randm_search";
    test_fails(cel_searcher_search(table, &run, &found), CEL_CONFIG, "did you mean \"random_search\"");
    run.searcher = "rea";
    run.n_set = 1;
    run.set = (const char *const[]){"population=0"};
    test_fails(cel_searcher_search(table, &run, &found), CEL_CONFIG, "population");
    run.set = (const char *const[]){"popluation=5"};
    test_fails(cel_searcher_search(table, &run, &found), CEL_CONFIG, "did you mean \"population\"");
    test_fails(cel_searcher_settings("nothing", &text), CEL_CONFIG, "there is no");
    test_ok(cel_searcher_settings("rea", &text));
    assert_non_null(strstr(text, "population: 10"));
    cel_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_and_repeats),
        cmocka_unit_test(whole_space),
        cmocka_unit_test(better_than_chance),
        cmocka_unit_test(local_search_climbs),
        cmocka_unit_test(evolution_forgets_the_old),
        cmocka_unit_test(reinforce_moves_up_what_pays),
        cmocka_unit_test(bad_input),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
