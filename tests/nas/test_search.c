/* The driver: a small search with a warm start, a pruning and a widening. The same bytes on any number of threads and after a stop at
 * any step; what it does when it is stopped, when the loss is not finite, when memory is out, when a checkpoint is foreign. */
#include "base/file.h"
#include "cellar/search.h"
#include "nas/search/part_logits.h"
#include "nas/search/settings.h"
#include "support/test.h"

static const char recipe[] = "search:\n"
                             "  seed: 5\n"
                             "  sampled: 20\n"
                             "  checkpoint_s: 0\n"
                             "  stages: [{k: 2, epochs: 2, warmup: 1}, {k: 1, ops: 3, epochs: 2, warmup: 1}]\n"
                             "space: {c: 4, n: 1}\n"
                             "method: {lr: 0.05}\n"
                             "train: {batch: 8, clip_arch: true, lr_restart: true}\n"
                             "data: {pad: 1}\n";

typedef struct fixture {
    cel_conf *conf;
    cel_settings settings;
    cel_dataset *data;
} fixture;

static void open_with(fixture *f, const char *const *sets) {
    cel_synthetic what = {
        .seed = 3, .n_train = 56, .n_test = 8, .n_classes = 4, .channels = 3, .height = 8, .width = 8};
    test_ok(cel_conf_parse("recipe", recipe, strlen(recipe), &f->conf));
    for (; sets && *sets; sets++) test_ok(cel_conf_set(f->conf, *sets));
    test_ok(cel_settings_init(&f->settings, f->conf, NULL, 0));
    test_ok(cel_dataset_synthetic(&what, &f->data));
}

static void close_fixture(fixture *f) {
    cel_dataset_destroy(f->data);
    cel_settings_fini(&f->settings);
    cel_conf_destroy(f->conf);
}

/* ---- an observer that keeps everything in memory ---- */

typedef struct kept {
    char *name;
    void *data;
    size_t bytes;
} kept;
enum { MOST_ITEMS = 512, MOST_EPOCHS = 16 };
typedef struct notes {
    kept item[MOST_ITEMS]; /* the newest checkpoint */
    int n;
    int64_t serial;
    bool epoch_end;
    int saves, epochs, steps, stop_at; /* stop when so many steps were made; 0: never */
    cel_search_epoch epoch[MOST_EPOCHS];
    double concentration[MOST_EPOCHS][30];
    uint8_t live[MOST_EPOCHS][30];
    cel_status fail;
} notes;

static void drop(notes *l) {
    for (int i = 0; i < l->n; i++) {
        cel_free(l->item[i].name);
        cel_free(l->item[i].data);
    }
    l->n = 0;
}

static bool on_step(void *ctx, const cel_search_progress *p) {
    notes *l = ctx;
    assert_true(p->done > 0 && p->done <= 1 && p->step >= 1 && p->step <= p->n_steps && p->loss > 0);
    return ++l->steps == l->stop_at;
}

static cel_status on_epoch(void *ctx, const cel_search_epoch *e) {
    notes *l = ctx;
    assert_true(e->epoch < MOST_EPOCHS && e->epoch < e->n_epochs);
    l->epoch[e->epoch] = *e;
    memcpy(l->concentration[e->epoch], e->concentration, sizeof l->concentration[0]);
    memcpy(l->live[e->epoch], e->live, sizeof l->live[0]);
    l->epochs++;
    return l->fail ? CEL_FAIL(l->fail, "the observer's own") : CEL_OK;
}

static cel_status on_save(void *ctx, int64_t serial, bool epoch_end, struct cel_state *state) {
    notes *l = ctx;
    drop(l);
    cel_state_sort(state);
    assert_true(state->n < MOST_ITEMS);
    for (int i = 0; i < state->n; i++) {
        const cel_state_item *item = &state->items[i];
        kept *k = &l->item[l->n++];
        *k = (kept){cel_strdup(item->name), cel_alloc(item->bytes, 1), item->bytes};
        assert_true(k->name && k->data);
        memcpy(k->data, item->data, item->bytes);
    }
    l->serial = serial;
    l->epoch_end = epoch_end;
    l->saves++;
    return CEL_OK;
}

static cel_status fill(void *ctx, const struct cel_state *state, bool whole) {
    const notes *l = ctx;
    if (whole && state->n != l->n) return CEL_FAIL(CEL_FORMAT, "%d arrays, expected %d", l->n, state->n);
    for (int i = 0; i < state->n; i++) {
        int k = 0;
        while (k < l->n && strcmp(l->item[k].name, state->items[i].name)) k++;
        if (k == l->n || l->item[k].bytes != state->items[i].bytes)
            return CEL_FAIL(CEL_FORMAT, "no array %s of %zu bytes", state->items[i].name, state->items[i].bytes);
        memcpy(state->items[i].data, l->item[k].data, l->item[k].bytes);
    }
    return CEL_OK;
}

static cel_search_observer observer_of(notes *l) {
    return (cel_search_observer){.ctx = l, .step = on_step, .epoch = on_epoch, .save = on_save};
}

static void assert_same_state(const notes *a, const notes *b) {
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->serial, b->serial);
    for (int i = 0; i < a->n; i++) {
        assert_string_equal(a->item[i].name, b->item[i].name);
        assert_int_equal(a->item[i].bytes, b->item[i].bytes);
        assert_memory_equal(a->item[i].data, b->item[i].data, a->item[i].bytes);
    }
}

static void assert_same_epoch(const cel_search_epoch *a, const cel_search_epoch *b) {
    assert_true(a->train_loss == b->train_loss && a->train_acc == b->train_acc && a->valid_loss == b->valid_loss);
    assert_true(a->valid_acc == b->valid_acc && a->grad_norm == b->grad_norm && a->entropy == b->entropy &&
                a->lr == b->lr);
    assert_string_equal(a->text, b->text);
    assert_true(a->sampled.mean == b->sampled.mean && a->sampled.min == b->sampled.min && a->index == b->index);
}

static void run_to_end(fixture *f, const cel_table *table, int threads, notes *l) {
    cel_search *search;
    cel_search_observer observer = observer_of(l);
    test_ok(cel_search_create(&f->settings, f->data, table, threads, &search));
    test_ok(cel_search_run(search, &observer));
    cel_search_destroy(search);
}

static void whole(void **state) {
    (void)state;
    fixture f;
    notes one = {0}, three = {0};
    cel_table *table;
    open_with(&f, NULL);
    test_ok(cel_table_open(NULL, &table));
    run_to_end(&f, table, 1, &one);
    run_to_end(&f, table, 3, &three);
    assert_same_state(&one, &three);
    assert_int_equal(one.epochs, 4);
    assert_int_equal(one.saves, 4);
    assert_int_equal(one.steps, 4 * 3);
    assert_int_equal(one.serial, 4 * 3);
    assert_true(one.epoch_end);
    for (int e = 0; e < 4; e++) {
        const cel_search_epoch *r = &one.epoch[e];
        assert_same_epoch(r, &three.epoch[e]);
        assert_int_equal(r->epoch, e);
        assert_int_equal(r->stage, e / 2);
        assert_int_equal(r->k, e < 2 ? 2 : 1);
        assert_int_equal(r->ops_kept, e < 2 ? 5 : 3);
        assert_int_equal(r->arch_active, e % 2);
        assert_int_equal(r->has_valid, e % 2);
        assert_true(r->train_loss > 0 && r->train_acc >= 0 && r->train_acc <= 100 && r->grad_norm > 0);
        assert_true(r->entropy > 0.5 && r->entropy <= log(r->ops_kept) + 1e-9);
        assert_true(r->cost.params > 0 && r->cost.flops > 0 && r->index >= 0 && r->index < 15625);
        assert_int_equal(r->n_tables, 3);
        for (int t = 0; t < 3; t++)
            assert_true(r->table[t].test > 0 && r->table[t].test < 100 && r->table[t].rank >= 1);
        assert_int_equal(r->sampled.n, 20);
        assert_string_equal(r->sampled.dataset, "cifar10");
        assert_true(r->sampled.min <= r->sampled.q25 && r->sampled.q25 <= r->sampled.q75 &&
                    r->sampled.q75 <= r->sampled.max);
        assert_true(r->sampled.min <= r->sampled.mean && r->sampled.mean <= r->sampled.max);
        int live = 0;
        for (int i = 0; i < 30; i++) {
            live += one.live[e][i];
            assert_true((one.concentration[e][i] > 0) == one.live[e][i]);
        }
        assert_int_equal(live, 6 * r->ops_kept);
    }
    /* the authors' restart: the second stage begins at the top again */
    test_close(one.epoch[0].lr, 0.025, 0, 1e-15, "lr");
    test_close(one.epoch[2].lr, 0.025, 0, 1e-15, "lr after the restart");
    test_close(one.epoch[3].lr, 0.001 + 0.024 * (1 + cos(0.75 * acos(-1))), 1e-12, 0, "lr after that");
    drop(&one);
    drop(&three);
    cel_table_close(table);
    close_fixture(&f);
}

/* The table changes nothing but what is recorded of it. */
static void table_does_not_steer(void **state) {
    (void)state;
    fixture f;
    notes with = {0}, without = {0};
    cel_table *table;
    open_with(&f, NULL);
    test_ok(cel_table_open(NULL, &table));
    run_to_end(&f, table, 1, &with);
    run_to_end(&f, NULL, 1, &without);
    assert_same_state(&with, &without);
    assert_int_equal(without.epoch[3].n_tables, 0);
    assert_int_equal(without.epoch[3].sampled.n, 0);
    assert_int_equal(without.epoch[3].index, -1);
    drop(&with);
    drop(&without);
    cel_table_close(table);
    close_fixture(&f);
}

/* The largest numbers of an epoch's record mean its genotype, whatever the method. */
static void says_how_its_cell_came(const notes *l, int e) {
    cel_genotype g;
    test_ok(cel_genotype_derive(CEL_ARCH_NB201, l->concentration[e], l->live[e], &g));
    assert_true(cel_genotype_equal(&g, &l->epoch[e].genotype));
}

/* Stopped after each possible step, resumed in a fresh search on another number of threads: the same bytes in the end. */
static void resumes(void **state) {
    (void)state;
    static const char *const sets[][3] = {
        {NULL}, {"search.method=random", "method=", NULL}, {"search.validate=true", NULL}};
    for (int variant = 0; variant < 3; variant++) {
        fixture f;
        notes want = {0};
        if (variant == 1) {
            cel_synthetic what = {
                .seed = 3, .n_train = 56, .n_test = 8, .n_classes = 4, .channels = 3, .height = 8, .width = 8};
            static const char text[] =
                "search: {method: random, checkpoint_s: 0, stages: [{k: 2, epochs: 2}, {k: 1, epochs: 1}]}\n"
                "space: {c: 4, n: 1}\ntrain: {batch: 8}\ndata: {pad: 1}\n";
            test_ok(cel_conf_parse("recipe", text, sizeof text - 1, &f.conf));
            test_ok(cel_settings_init(&f.settings, f.conf, NULL, 0));
            test_ok(cel_dataset_synthetic(&what, &f.data));
        } else {
            open_with(&f, sets[variant]);
        }
        run_to_end(&f, NULL, 2, &want);
        for (int e = 0; e < want.epochs; e++) says_how_its_cell_came(&want, e);
        for (int stop = 1; stop < want.steps; stop += variant ? 4 : 1) {
            notes l = {.stop_at = stop};
            cel_search *search;
            cel_search_observer observer = observer_of(&l);
            test_ok(cel_search_create(&f.settings, f.data, NULL, 1, &search));
            test_fails(cel_search_run(search, &observer), CEL_INTERRUPTED, "--resume");
            cel_search_destroy(search);
            assert_int_equal(l.serial, stop);
            test_ok(cel_search_create(&f.settings, f.data, NULL, 1 + stop % 3, &search));
            test_ok(cel_search_restore(search, fill, &l));
            test_ok(cel_search_run(search, &observer));
            cel_search_destroy(search);
            assert_same_state(&want, &l);
            for (int e = 0; e < want.epochs; e++) assert_same_epoch(&want.epoch[e], &l.epoch[e]);
            assert_int_equal(l.epochs, want.epochs);
            /* what the resumed process computed of that epoch, which its seconds are for */
            const cel_search_epoch *part = &l.epoch[stop / 3];
            assert_int_equal(part->images, (3 - stop % 3) * 8 * (part->arch_active ? 2 : 1) + (variant == 2 ? 24 : 0));
            drop(&l);
        }
        drop(&want);
        close_fixture(&f);
    }
}

static void open_text(fixture *f, const char *text) {
    cel_synthetic what = {
        .seed = 3, .n_train = 56, .n_test = 8, .n_classes = 4, .channels = 3, .height = 8, .width = 8};
    test_ok(cel_conf_parse("recipe", text, strlen(text), &f->conf));
    test_ok(cel_settings_init(&f->settings, f->conf, NULL, 0));
    test_ok(cel_dataset_synthetic(&what, &f->data));
}

/* Runs, stops at every `by`-th step and goes on elsewhere: the same bytes in the end. */
static void same_after_stops(fixture *f, int by, notes *want) {
    run_to_end(f, NULL, 2, want);
    for (int e = 0; e < want->epochs; e++) says_how_its_cell_came(want, e);
    for (int stop = 1; stop < want->steps; stop += by) {
        notes l = {.stop_at = stop};
        cel_search *search;
        cel_search_observer observer = observer_of(&l);
        test_ok(cel_search_create(&f->settings, f->data, NULL, 1, &search));
        test_fails(cel_search_run(search, &observer), CEL_INTERRUPTED, "--resume");
        cel_search_destroy(search);
        test_ok(cel_search_create(&f->settings, f->data, NULL, 1 + stop % 3, &search));
        test_ok(cel_search_restore(search, fill, &l));
        test_ok(cel_search_run(search, &observer));
        cel_search_destroy(search);
        assert_same_state(want, &l);
        for (int e = 0; e < want->epochs; e++) assert_same_epoch(&want->epoch[e], &l.epoch[e]);
        drop(&l);
    }
}

/* Every method that learns from gradients or not at all, with every part that it goes with, through a pruning and a widening. */
static void every_method_resumes(void **state) {
    (void)state;
    static const char *const parts[] = {"", "order: second, ", "edge_norm: on, ", "levels: single, ",
                                        "order: second, edge_norm: on, levels: bilevel, "};
    for (int m = 0; cel_search_method(m); m++) {
        const cel_method *method = cel_search_method(m);
        if (method->rollouts) continue; /* theirs are many */
        int ran = 0;
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
            char text[512];
            snprintf(text, sizeof text,
                     "search: {method: %s, %scheckpoint_s: 0, stages: [{k: 2, epochs: 1}, {k: 1, %sepochs: 1}]}\n"
                     "space: {c: 4, n: 1}\ntrain: {batch: 8, clip_arch: %s}\ndata: {pad: 1}\n",
                     method->name, parts[p], method->prune ? "ops: 3, " : "", p % 2 ? "true" : "false");
            fixture f;
            cel_conf *conf;
            notes want = {0};
            test_ok(cel_conf_parse("recipe", text, strlen(text), &conf));
            cel_status status = cel_settings_init(&f.settings, conf, NULL, 0);
            if (status != CEL_OK) { /* refused, for a reason that the method gives */
                bool second = strstr(parts[p], "second") != NULL;
                assert_int_equal(status, CEL_CONFIG);
                assert_true(p > 0);
                assert_true(!method->gradient || (second && (method->score_function || method->levels)));
                cel_conf_destroy(conf);
                continue;
            }
            cel_settings_fini(&f.settings);
            cel_conf_destroy(conf);
            open_text(&f, text);
            same_after_stops(&f, 2, &want);
            drop(&want);
            close_fixture(&f);
            ran++;
        }
        assert_true(ran >= (method->gradient ? 3 : 1));
    }
}

/* ---- a method that uses every optional part of the seam ---- */

enum { PASSES = 2 };
typedef struct eager {
    double *alpha, *rewards, *weights;
} eager;

static cel_status eager_init(cel_policy *policy) {
    eager *s = policy->state;
    CEL_TRY(cel_policy_tensor(policy, "alpha", policy->n_params, &s->alpha));
    CEL_TRY(cel_policy_tensor(policy, "rewards", 3, &s->rewards));
    CEL_TRY(cel_policy_scratch(policy, policy->n_params, &s->weights));
    for (int i = 0; i < policy->n_params; i++) s->alpha[i] = 0.01 * (i % 7);
    return CEL_OK;
}
static void eager_mean(const cel_policy *policy, double *mean) {
    const eager *s = policy->state;
    for (int c = 0; c < policy->choices->n; c++) cel_part_softmax(policy, &policy->choices->choice[c], s->alpha, mean);
}
static void eager_sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates) {
    eager *s = policy->state;
    (void)gates, (void)at;
    eager_mean(policy, weights);
    memcpy(s->weights, weights, (size_t)policy->n_params * sizeof *weights);
}
static void eager_gradient(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad) {
    const eager *s = policy->state;
    (void)at;
    for (int i = 0; i < policy->n_params; i++) grad[i] = feedback->dweights[i] * s->weights[i];
}
static void eager_step(cel_policy *policy, const cel_at *at, const double *grad, const double *grad2) {
    const eager *s = policy->state;
    (void)grad2;
    for (int i = 0; i < policy->n_params; i++) s->alpha[i] -= grad[i];
    if (at->epoch == 0 && at->step == 1) /* fixes an edge in the middle of an epoch */
        for (int i = 6; i < 10; i++) policy->live[i] = 0;
}
static int eager_rollouts(const cel_policy *policy) {
    (void)policy;
    return PASSES;
}
static void eager_reward(cel_policy *policy, const cel_at *at, const cel_feedback *feedback) {
    const eager *s = policy->state;
    assert_true(at->phase == CEL_PHASE_REWARD && at->step >= 0 && at->step < PASSES && !feedback->dweights);
    assert_true(feedback->loss > 0 && feedback->accuracy >= 0 && feedback->accuracy <= 1);
    s->rewards[0] += 1;
    s->rewards[1] += feedback->loss * (double)(1 + at->step);
    s->alpha[3] += 0.01 * feedback->loss;
}
static void eager_epoch(cel_policy *policy, const cel_at *at) {
    const eager *s = policy->state;
    assert_true(s->rewards[0] == PASSES * (at->epoch + 1));
    s->rewards[2] += 1;
    if (at->epoch == 1) /* and another one at an epoch's end */
        for (int i = 26; i < 30; i++) policy->live[i] = 0;
}
static void eager_draw(const cel_policy *policy, cel_rng *rng, double *weights) {
    for (int i = 0; i < policy->n_params; i++) weights[i] = cel_rng_uniform(rng);
}
static const cel_method eager_method = {.name = "eager",
                                        .state_size = sizeof(eager),
                                        .init = eager_init,
                                        .sample = eager_sample,
                                        .gradient = eager_gradient,
                                        .step = eager_step,
                                        .rollouts = eager_rollouts,
                                        .reward = eager_reward,
                                        .epoch = eager_epoch,
                                        .mean = eager_mean,
                                        .draw = eager_draw};

static void rewards_and_fixed_edges(void **state) {
    (void)state;
    static const char text[] = "search: {checkpoint_s: 0, stages: [{k: 2, epochs: 2}, {k: 1, epochs: 1}]}\n"
                               "space: {c: 4, n: 1}\ntrain: {batch: 8}\ndata: {pad: 1}\n";
    fixture f;
    notes want = {0};
    open_text(&f, text);
    const cel_method *of_recipe = f.settings.method;
    f.settings.method = &eager_method;
    same_after_stops(&f, 1, &want);
    assert_int_equal(want.steps, 3 * (3 + PASSES));
    assert_int_equal(want.epoch[0].images, 8 * (3 * 2 + PASSES));
    for (int e = 0; e < 3; e++) {
        int live = 0;
        for (int i = 0; i < 30; i++) live += want.live[e][i];
        assert_int_equal(live, e == 0 ? 26 : 22);
    }
    drop(&want);
    /* it rests while the stage warms up */
    f.settings.search.stages[0].warmup = 2;
    cel_search *search;
    cel_search_observer observer = observer_of(&want);
    want = (notes){.fail = CEL_OK};
    f.settings.search.n_stages = 1;
    test_ok(cel_search_create(&f.settings, f.data, NULL, 1, &search));
    test_ok(cel_search_run(search, &observer));
    assert_int_equal(want.steps, 2 * 3);
    assert_true(!want.epoch[1].has_valid && !want.epoch[1].arch_active);
    cel_search_destroy(search);
    drop(&want);
    f.settings.method = of_recipe;
    close_fixture(&f);
}

/* What the shared weights say of one architecture: any batch, again and again the same; too many batches are refused. */
static void one_shot(void **state) {
    (void)state;
    fixture f;
    cel_search *search;
    double weights[30] = {0}, loss[3], accuracy[3];
    for (int e = 0; e < 6; e++) weights[e * 5 + 1 + e % 4] = 1;
    open_with(&f, NULL);
    test_ok(cel_search_create(&f.settings, f.data, NULL, 1, &search));
    test_ok(cel_search_one_shot(search, weights, 0, 3, &loss[0], &accuracy[0]));
    test_ok(cel_search_one_shot(search, weights, 1, 1, &loss[1], &accuracy[1]));
    test_ok(cel_search_one_shot(search, weights, 4, 3, &loss[2], &accuracy[2]));
    assert_true(loss[0] > 0 && accuracy[0] >= 0 && accuracy[0] <= 100 && loss[1] != loss[0]);
    test_close(loss[2], loss[0], 1e-12, 0, "the same batches in another order");
    assert_true(accuracy[2] == accuracy[0]);
    test_fails(cel_search_one_shot(search, weights, 0, 4, &loss[0], &accuracy[0]), CEL_CONFIG, "there are 3");
    cel_search_destroy(search);
    close_fixture(&f);
}

/* Fused and plain cells, cpu and ref: the same search up to rounding. */
static void backends(void **state) {
    (void)state;
    static const char *const sets[][3] = {{"search.backend=ref", NULL},
                                          {"search.backend=ref", "search.fused=false", NULL},
                                          {"search.fused=false", NULL},
                                          {NULL}};
    notes l[4];
    for (int v = 0; v < 4; v++) {
        fixture f;
        l[v] = (notes){0};
        open_with(&f, sets[v]);
        run_to_end(&f, NULL, 1, &l[v]);
        close_fixture(&f);
        for (int e = 0; e < 4; e++) {
            test_close(l[v].epoch[e].train_loss, l[0].epoch[e].train_loss, 2e-3, 0, "loss");
            test_close(l[v].epoch[e].entropy, l[0].epoch[e].entropy, 2e-3, 0, "entropy");
        }
        drop(&l[v]);
    }
}

static void diverges(void **state) {
    (void)state;
    static const char *const sets[] = {"train.lr=100",
                                       "train.lr_min=100",
                                       "train.clip=0",
                                       "train.weight_decay=10",
                                       "search.stages=[{k: 1, epochs: 200}]",
                                       NULL};
    fixture f;
    notes l = {0};
    cel_search *search;
    cel_search_observer observer = observer_of(&l);
    open_with(&f, sets);
    observer.epoch = NULL;
    test_ok(cel_search_create(&f.settings, f.data, NULL, 1, &search));
    test_fails(cel_search_run(search, &observer), CEL_DIVERGED, "epoch");
    assert_non_null(strstr(cel_status_message(), "step"));
    /* the last checkpoint is of before */
    for (int i = 0; i < l.n; i++)
        if (!strncmp(l.item[i].name, "policy.eta", 10))
            for (size_t k = 0; k < l.item[i].bytes / sizeof(double); k++)
                assert_true(isfinite(((double *)l.item[i].data)[k]));
    cel_search_destroy(search);
    drop(&l);
    close_fixture(&f);
}

static void no_number(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad) {
    (void)feedback;
    if (at->epoch == 2) grad[policy->n_params - 1] = NAN;
}

/* The loss is finite, the architecture's gradient is not: nothing of it reaches the distribution. */
static void architecture_diverges(void **state) {
    (void)state;
    static const char *const sets[] = {"search.stages=[{k: 1, epochs: 5}]", "train.clip_arch=false", NULL};
    fixture f;
    notes l = {0};
    cel_search *search;
    cel_search_observer observer = observer_of(&l);
    open_with(&f, sets);
    cel_method broken = *f.settings.method;
    broken.gradient = no_number;
    f.settings.method = &broken;
    test_ok(cel_search_create(&f.settings, f.data, NULL, 1, &search));
    test_fails(cel_search_run(search, &observer), CEL_DIVERGED,
               "the architecture's gradient is nan in epoch 2, step 0");
    assert_int_equal(l.epochs, 2);
    assert_int_equal(l.serial, 6);
    cel_search_destroy(search);
    drop(&l);
    close_fixture(&f);
}

/* What a finished search says of its cell is what its last epoch said. */
static void tells_what_was_found(void **state) {
    (void)state;
    static const char *const sets[] = {"search.stages=[{k: 1, epochs: 2}]", NULL};
    fixture f;
    notes l = {0};
    cel_table *table;
    cel_search *search;
    cel_search_epoch found;
    cel_search_observer observer = observer_of(&l);
    open_with(&f, sets);
    test_ok(cel_table_open(NULL, &table));
    test_ok(cel_search_create(&f.settings, f.data, table, 1, &search));
    test_ok(cel_search_run(search, &observer));
    test_ok(cel_search_found(search, &found));
    const cel_search_epoch *last = &l.epoch[1];
    assert_string_equal(found.text, last->text);
    assert_true(found.hash == last->hash && found.index == last->index && found.index >= 0);
    assert_true(found.cost.params == last->cost.params && found.cost.flops == last->cost.flops);
    assert_int_equal(found.n_tables, 3);
    for (int i = 0; i < 3; i++)
        assert_true(found.table[i].test == last->table[i].test && found.table[i].rank == last->table[i].rank);
    assert_int_equal(found.sampled.n, 0);
    cel_search_destroy(search);
    drop(&l);
    cel_table_close(table);
    close_fixture(&f);
}

static void observer_fails(void **state) {
    (void)state;
    fixture f;
    notes l = {.fail = CEL_IO};
    cel_search *search;
    cel_search_observer observer = observer_of(&l);
    open_with(&f, NULL);
    test_ok(cel_search_create(&f.settings, f.data, NULL, 1, &search));
    test_fails(cel_search_run(search, &observer), CEL_IO, "the observer's own");
    assert_int_equal(l.saves, 0);
    cel_search_destroy(search);
    close_fixture(&f);
}

static void set_item(notes *l, const char *name, int64_t value) {
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->item[i].name, name)) memcpy(l->item[i].data, &value, sizeof value);
}

static void foreign_checkpoint(void **state) {
    (void)state;
    fixture f, other;
    notes l = {.stop_at = 2};
    cel_search *search;
    cel_search_observer observer = observer_of(&l);
    open_with(&f, NULL);
    test_ok(cel_search_create(&f.settings, f.data, NULL, 1, &search));
    test_fails(cel_search_run(search, &observer), CEL_INTERRUPTED, "epoch 0 at step 2 of 3");
    cel_search_destroy(search);
    static const struct {
        const char *name;
        int64_t bad, good;
    } wrong[] = {{"search.epoch", 5, 0},
                 {"search.epoch", -1, 0},
                 {"search.step", 3, 2},
                 {"search.stage", 2, 0},
                 {"search.stage", -1, 0}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        set_item(&l, wrong[i].name, wrong[i].bad);
        test_ok(cel_search_create(&f.settings, f.data, NULL, 1, &search));
        test_fails(cel_search_restore(search, fill, &l), CEL_FORMAT, "another recipe");
        cel_search_destroy(search);
        set_item(&l, wrong[i].name, wrong[i].good);
    }
    static const char *const sets[] = {"space.c=8", NULL};
    open_with(&other, sets);
    test_ok(cel_search_create(&other.settings, other.data, NULL, 1, &search));
    test_fails(cel_search_restore(search, fill, &l), CEL_FORMAT, "no array");
    cel_search_destroy(search);
    close_fixture(&other);
    drop(&l);
    close_fixture(&f);
}

/* Nothing is allocated from step to step. */
static uint64_t allocations[64];
static int n_allocations;
static bool count_allocations(void *ctx, const cel_search_progress *p) {
    (void)ctx, (void)p;
    assert_true(n_allocations < 64);
    allocations[n_allocations++] = cel_mem_count();
    return false;
}

static void allocates_nothing(void **state) {
    (void)state;
    static const char *const sets[] = {"search.stages=[{k: 2, epochs: 1}]", NULL};
    fixture f;
    cel_search *search;
    cel_search_observer observer = {.step = count_allocations};
    open_with(&f, sets);
    test_ok(cel_search_create(&f.settings, f.data, NULL, 2, &search));
    test_ok(cel_search_run(search, &observer));
    assert_int_equal(n_allocations, 3);
    for (int i = 1; i < n_allocations; i++) assert_int_equal(allocations[i], allocations[0]);
    cel_search_destroy(search);
    close_fixture(&f);
}

static void memory(void **state) {
    (void)state;
    fixture f;
    cel_search *search;
    open_with(&f, NULL);
    uint64_t before = cel_mem_count();
    test_ok(cel_search_create(&f.settings, f.data, NULL, 1, &search));
    uint64_t all = cel_mem_count() - before;
    cel_search_destroy(search);
    for (uint64_t n = 1; n <= all; n += n < 60 ? 1 : 13) {
        search = NULL;
        cel_mem_fail_at(n);
        cel_status status = cel_search_create(&f.settings, f.data, NULL, 1, &search);
        cel_mem_fail_at(0);
        if (status != CEL_OK) assert_int_equal(status, CEL_NOMEM);
        if (status == CEL_OK) cel_search_destroy(search);
    }
    close_fixture(&f);
}

static cel_status settings_from(const char *text) {
    cel_conf *conf;
    cel_settings settings;
    cel_status status = cel_conf_parse("recipe", text, strlen(text), &conf);
    if (status != CEL_OK) return status;
    status = cel_settings_init(&settings, conf, NULL, 0);
    if (status == CEL_OK) cel_settings_fini(&settings);
    cel_conf_destroy(conf);
    return status;
}

static void wrong_settings(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *part;
    } wrong[] = {
        {"search: {stages: []}", "search.stages is empty"},
        {"data: {pad: 4}", "search.stages is empty"},
        {"search: {stages: [{k: 3}]}", "k = 1, 2, 4, 8, 16"},
        {"search: {stages: [{k: 2}, {k: 4}]}", "may only fall"},
        {"search: {stages: [{k: 4}, {k: 4, ops: 3}, {k: 2, ops: 4}]}", "only 3 operations are left"},
        {"search: {stages: [{k: 4, ops: 3}]}", "the first stage has learnt nothing to prune by"},
        {"search: {stages: [{k: 4, ops: 6}]}", "only 5 operations are left"},
        {"search: {stages: [{epochs: 5, warmup: 6}]}", "of only 5 epochs"},
        {"search: {method: random, stages: [{ops: 3}]}", "cannot prune"},
        {"search: {method: drnsa, stages: [{k: 1}]}", "did you mean \"drnas\""},
        {"search: {space: nb210, stages: [{k: 1}]}", "did you mean \"nb201\""},
        {"search: {stages: [{k: 1}]}\ntrain: {lr: 0.01, lr_min: 0.02}", "train.lr_min"},
        {"search: {stages: [{k: 1}]}\ndata: {limit: 10, limit_per_class: 3}", "only one of them"},
        {"search: {stages: [{k: 1}]}\nmethod: {lrr: 1}", "lr"},
        {"search: {stages: [{k: 1}]}\ndata: {split: nb201-test}", "data.split"}, /* those are test images */
        {"search: {stages: [{k: 1}]}\ndata: {cutout: 1025}", "0 to 1024"},
        {"search: {method: random, levels: single, stages: [{k: 1}]}", "random takes no gradient"},
        {"search: {method: random, order: second, stages: [{k: 1}]}", "random takes no gradient"},
        {"search: {method: random, edge_norm: on, stages: [{k: 1}]}", "random takes no gradient"},
        {"search: {method: snas, order: second, stages: [{k: 1}]}", "the method's own"},
        {"search: {levels: single, order: second, stages: [{k: 1}]}", "levels: bilevel"},
        {"search: {levels: both, stages: [{k: 1}]}", "single"},
        {"search: {xi: 0.1, stages: [{k: 1}]}", "order: second"},
        {"search: {edge_lr: 0.1, stages: [{k: 1}]}", "edge_norm: on"},
        {"search: {method: random, stages: [{k: 1}]}\nwatch: {interval: 1}", "random learns no distribution"},
        {"search: {method: snas, stages: [{k: 1}]}\nmethod: {tau: 0}", "1e-06"},
        {"search: {method: snas, stages: [{k: 1}]}\nmethod: {tau_min: -1}", "1e-06"},
        {"search: {method: balenas, stages: [{k: 1}]}\nmethod: {prior_prec: 0}", "1e-12"},
        {"search: {method: balenas, stages: [{k: 1}]}\nmethod: {prec_init: -1}", "1e-12"},
        {"search: {method: balenas, stages: [{k: 1}]}\nmethod: {temper: 0}", "1e-12"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        test_fails(settings_from(wrong[i].text), CEL_CONFIG, wrong[i].part);
    test_ok(
        settings_from("search: {stages: [{k: 4, epochs: 50, warmup: 10}, {k: 2, ops: 3, epochs: 50, warmup: 10}]}"));
    fixture f;
    cel_search *search;
    static const char *const big[] = {"train.batch=29", NULL}, *const backend[] = {"search.backend=gpu", NULL};
    open_with(&f, big);
    test_fails(cel_search_create(&f.settings, f.data, NULL, 1, &search), CEL_CONFIG, "only 28 images");
    close_fixture(&f);
    open_with(&f, backend);
    test_fails(cel_search_create(&f.settings, f.data, NULL, 1, &search), CEL_CONFIG, "cpu and ref");
    close_fixture(&f);
    static const char *const draws[] = {"search.levels=single", "method.draws=2", NULL};
    open_with(&f, draws);
    test_fails(cel_search_create(&f.settings, f.data, NULL, 1, &search), CEL_CONFIG, "one draw a step");
    close_fixture(&f);
    static const char *const wide[] = {"search.method=balenas", "method={prior_prec: 2}", NULL};
    open_with(&f, wide);
    test_fails(cel_search_create(&f.settings, f.data, NULL, 1, &search), CEL_CONFIG, "method.prec_init: 1");
    close_fixture(&f);
}

static void info(void **state) {
    (void)state;
    fixture f;
    cel_search *search;
    cel_search_info i;
    static const char *const sets[] = {"space={c: 16, n: 5}", "search.stages=[{k: 4, epochs: 1}]", NULL};
    open_with(&f, sets);
    test_ok(cel_search_create(&f.settings, f.data, NULL, 2, &search));
    test_ok(cel_search_get_info(search, &i));
    assert_int_equal(i.params, 174106 - 64 * 6 - 6); /* the golden count of ten classes; here there are four */
    assert_int_equal(i.threads, 2);
    assert_int_equal(i.n_steps, 3);
    assert_int_equal(i.n_images[0] + i.n_images[1], 56);
    assert_true(i.memory_bytes > 1000000 && i.flops_forward > 1e6);
    assert_string_equal(i.method, "drnas");
    cel_genotype genotype;
    test_ok(cel_search_genotype(search, &genotype));
    test_ok(cel_genotype_check(&genotype));
    cel_search_destroy(search);
    close_fixture(&f);
    assert_non_null(cel_search_method(0));
    assert_null(cel_search_method(99));
    assert_null(cel_search_space(-1));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole),
                                       cmocka_unit_test(table_does_not_steer),
                                       cmocka_unit_test(resumes),
                                       cmocka_unit_test(every_method_resumes),
                                       cmocka_unit_test(rewards_and_fixed_edges),
                                       cmocka_unit_test(one_shot),
                                       cmocka_unit_test(backends),
                                       cmocka_unit_test(diverges),
                                       cmocka_unit_test(architecture_diverges),
                                       cmocka_unit_test(tells_what_was_found),
                                       cmocka_unit_test(observer_fails),
                                       cmocka_unit_test(foreign_checkpoint),
                                       cmocka_unit_test(allocates_nothing),
                                       cmocka_unit_test(memory),
                                       cmocka_unit_test(wrong_settings),
                                       cmocka_unit_test(info)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
