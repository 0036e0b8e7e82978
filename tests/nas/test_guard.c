/* What guards a search: a limit on the derived cell's cost, and the collapse watch, which sees, warns, stops, and changes nothing else. */
#include "base/mem.h"
#include "base/state.h"
#include "cellar/search.h"
#include "nas/search/settings.h"
#include "support/test.h"

static const char recipe[] = "search: {seed: 5, method: darts, checkpoint_s: 0, stages: [{k: 1, epochs: 4}]}\n"
                             "space: {c: 4, n: 1}\n"
                             "method: {lr: 0.05}\n"
                             "train: {batch: 8}\n"
                             "data: {pad: 1}\n";

enum { MOST = 8, ITEMS = 512 };
typedef struct guarded {
    cel_conf *conf;
    cel_settings settings;
    cel_dataset *data;
    cel_search *search;
    /* what the observer was told */
    cel_search_epoch epoch[MOST];
    double concentration[MOST][30];
    char warning[MOST][CEL_WATCH_TEXT];
    int epochs;
    struct {
        char *name;
        void *data;
        size_t bytes;
    } item[ITEMS];
    int n_items;
    int64_t serial;
    bool epoch_end;
} guarded;

static cel_status on_epoch(void *ctx, const cel_search_epoch *e) {
    guarded *g = ctx;
    assert_int_equal(e->epoch, g->epochs);
    g->epoch[g->epochs] = *e;
    memcpy(g->concentration[g->epochs], e->concentration, sizeof g->concentration[0]);
    snprintf(g->warning[g->epochs], CEL_WATCH_TEXT, "%s", e->watch.warning ? e->watch.warning : "");
    g->epochs++;
    return CEL_OK;
}

static void drop(guarded *g) {
    for (int i = 0; i < g->n_items; i++) {
        cel_free(g->item[i].name);
        cel_free(g->item[i].data);
    }
    g->n_items = 0;
}

static cel_status on_save(void *ctx, int64_t serial, bool epoch_end, cel_state *state) {
    guarded *g = ctx;
    drop(g);
    for (int i = 0; i < state->n; i++) {
        assert_true(i < ITEMS);
        g->item[i].name = cel_strdup(state->items[i].name);
        g->item[i].bytes = state->items[i].bytes;
        g->item[i].data = cel_alloc(state->items[i].bytes + 1, 1);
        memcpy(g->item[i].data, state->items[i].data, state->items[i].bytes);
        g->n_items++;
    }
    g->serial = serial;
    g->epoch_end = epoch_end;
    return CEL_OK;
}

static cel_status fill(void *ctx, const cel_state *state, bool whole) {
    guarded *g = ctx;
    (void)whole;
    for (int i = 0; i < state->n; i++) {
        int k = 0;
        while (k < g->n_items && strcmp(g->item[k].name, state->items[i].name)) k++;
        assert_true(k < g->n_items && g->item[k].bytes == state->items[i].bytes);
        memcpy(state->items[i].data, g->item[k].data, g->item[k].bytes);
    }
    return CEL_OK;
}

static cel_status begin_with(guarded *g, const char *const *sets, int n_sets, int threads) {
    cel_synthetic what = {
        .seed = 3, .n_train = 56, .n_test = 8, .n_classes = 4, .channels = 3, .height = 8, .width = 8};
    test_ok(cel_conf_parse("recipe", recipe, strlen(recipe), &g->conf));
    for (int i = 0; i < n_sets; i++) test_ok(cel_conf_set(g->conf, sets[i]));
    test_ok(cel_settings_init(&g->settings, g->conf, NULL, 0));
    test_ok(cel_dataset_synthetic(&what, &g->data));
    return cel_search_create(&g->settings, g->data, NULL, threads, &g->search);
}

static cel_status begin(guarded *g, const char *set, int threads) { return begin_with(g, &set, set != NULL, threads); }

static void end(guarded *g) {
    drop(g);
    cel_search_destroy(g->search);
    cel_dataset_destroy(g->data);
    cel_settings_fini(&g->settings);
    cel_conf_destroy(g->conf);
}

static cel_status go(guarded *g) {
    cel_search_observer observer = {.ctx = g, .epoch = on_epoch, .save = on_save};
    return cel_search_run(g->search, &observer);
}

/* A watched search is the search that it would have been, on any number of threads. */
static void watching_changes_nothing(void **state) {
    (void)state;
    static guarded g[3];
    static const char set[] = "watch={interval: 2, max_growth: 0, iterations: 5}";
    memset(g, 0, sizeof g);
    for (int i = 0; i < 3; i++) {
        test_ok(begin(&g[i], i ? set : NULL, i == 2 ? 3 : 1));
        test_ok(go(&g[i]));
        assert_int_equal(g[i].epochs, 4);
    }
    for (int i = 1; i < 3; i++)
        for (int e = 0; e < 4; e++) {
            const cel_search_epoch *a = &g[0].epoch[e], *b = &g[i].epoch[e];
            assert_true(a->train_loss == b->train_loss && a->valid_loss == b->valid_loss && a->entropy == b->entropy);
            assert_memory_equal(g[0].concentration[e], g[i].concentration[e], sizeof g[0].concentration[e]);
            assert_true(!a->watch.looked && a->watch.eigenvalue == 0 && a->watch.skips == b->watch.skips);
            assert_true(a->watch.skips >= 0 && a->watch.skips <= 6);
            assert_true(b->watch.looked == (e % 2 == 1) && isfinite(b->watch.eigenvalue));
            assert_true(b->watch.eigenvalue == g[1].epoch[e].watch.eigenvalue);
            if (e % 2) assert_true(b->watch.eigenvalue != 0);
            assert_string_equal(g[i].warning[e], "");
        }
    for (int i = 0; i < 3; i++) end(&g[i]);
}

static void warns(void **state) {
    (void)state;
    static guarded g;
    memset(&g, 0, sizeof g);
    test_ok(begin(&g, "watch={interval: 2, min_entropy: 10, iterations: 1}", 1));
    test_ok(go(&g));
    assert_int_equal(g.epochs, 4);
    assert_string_equal(g.warning[0], "");
    assert_non_null(strstr(g.warning[1], "watch.min_entropy = 10"));
    assert_string_equal(g.warning[2], "");
    assert_non_null(strstr(g.warning[3], "watch.min_entropy = 10"));
    end(&g);
}

/* It stops after its record and its checkpoint; going on from there makes the epochs up to the next look. */
static void stops(void **state) {
    (void)state;
    static guarded g;
    memset(&g, 0, sizeof g);
    test_ok(begin(&g, "watch={interval: 2, min_entropy: 10, action: stop, iterations: 1}", 1));
    test_fails(go(&g), CEL_COLLAPSED, "collapsing in epoch 1: the entropy is");
    assert_non_null(strstr(cel_status_message(), "--resume"));
    assert_int_equal(g.epochs, 2);
    assert_int_equal(g.serial, 2 * 3);
    assert_true(g.epoch_end);
    cel_search_destroy(g.search);
    test_ok(cel_search_create(&g.settings, g.data, NULL, 2, &g.search));
    test_ok(cel_search_restore(g.search, fill, &g));
    test_ok(go(&g)); /* the last epoch is the end anyway */
    assert_int_equal(g.epochs, 4);
    assert_non_null(strstr(g.warning[3], "entropy"));
    end(&g);
}

/* The growth of the eigenvalue is remembered over an interruption: the looks are part of the state. */
static void remembers(void **state) {
    (void)state;
    static guarded g;
    memset(&g, 0, sizeof g);
    test_ok(begin(&g, "watch={interval: 1, max_growth: 0, iterations: 2}", 1));
    test_ok(go(&g));
    int found = 0;
    for (int i = 0; i < g.n_items; i++) {
        if (!strcmp(g.item[i].name, "search.looks")) {
            assert_int_equal(*(int64_t *)g.item[i].data, 4);
            found++;
        }
        if (!strcmp(g.item[i].name, "search.eigenvalues")) {
            for (int e = 0; e < 4; e++) assert_true(((double *)g.item[i].data)[e] == g.epoch[e].watch.eigenvalue);
            found++;
        }
    }
    assert_int_equal(found, 2);
    end(&g);
}

/* The derived cell fits, in every epoch, and the training is what it would have been. */
static void limits(void **state) {
    (void)state;
    static guarded free_, held;
    int held_back = 0;
    memset(&free_, 0, sizeof free_);
    memset(&held, 0, sizeof held);
    test_ok(begin(&free_, NULL, 1));
    test_ok(go(&free_));
    int64_t most = 0;
    for (int e = 0; e < 4; e++) most = free_.epoch[e].cost.params > most ? free_.epoch[e].cost.params : most;
    char set[64];
    snprintf(set, sizeof set, "search.max_params=%lld", (long long)most - 1);
    test_ok(begin(&held, set, 1));
    test_ok(go(&held));
    for (int e = 0; e < 4; e++) {
        assert_true(held.epoch[e].cost.params < most);
        assert_true(held.epoch[e].train_loss == free_.epoch[e].train_loss);
        if (free_.epoch[e].cost.params < most) assert_string_equal(held.epoch[e].text, free_.epoch[e].text);
        held_back += strcmp(held.epoch[e].text, free_.epoch[e].text) != 0;
    }
    assert_true(held_back > 0);
    end(&free_);
    end(&held);
}

/* A limit that no cell of the unpruned operations meets does not end the search: the cell then has pruned ones. */
static void limits_after_pruning(void **state) {
    (void)state;
    static const char stages[] = "search.stages=[{k: 1, epochs: 1}, {k: 1, ops: 1, epochs: 1}]";
    static guarded free_, held;
    cel_genotype nothing;
    cel_arch_cost least;
    memset(&free_, 0, sizeof free_);
    memset(&held, 0, sizeof held);
    test_ok(begin(&free_, stages, 1));
    test_ok(go(&free_));
    const cel_settings *settings = &free_.settings;
    const cel_net_shape shape = {8, 3, 8, 8, 4};
    nothing = free_.epoch[1].genotype;
    for (int e = 0; e < nothing.n; e++) nothing.edge[e].op = 0;
    test_ok(settings->space->cost(settings->space_conf, &shape, &nothing, &least));
    assert_true(free_.epoch[1].cost.params > least.params); /* the one cell that pruning left */
    char limit[64];
    snprintf(limit, sizeof limit, "search.max_params=%lld", (long long)least.params);
    test_ok(begin_with(&held, (const char *const[]){stages, limit}, 2, 1));
    test_ok(go(&held));
    assert_int_equal(held.epochs, 2);
    assert_true(held.epoch[1].cost.params == least.params);
    assert_true(held.epoch[1].train_loss == free_.epoch[1].train_loss);
    end(&free_);
    end(&held);
}

static void limits_that_nothing_meets(void **state) {
    (void)state;
    guarded *g = cel_alloc(1, sizeof *g);
    test_fails(begin(g, "search.max_params=10", 1), CEL_CONFIG, "raise search.max_params");
    end(g);
    *g = (guarded){.epochs = 0};
    test_fails(begin(g, "search.max_flops=10", 1), CEL_CONFIG, "raise search.max_flops");
    end(g);
    cel_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(watching_changes_nothing),
                                       cmocka_unit_test(warns),
                                       cmocka_unit_test(stops),
                                       cmocka_unit_test(remembers),
                                       cmocka_unit_test(limits),
                                       cmocka_unit_test(limits_after_pruning),
                                       cmocka_unit_test(limits_that_nothing_meets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
