/* The driver: the bilevel loop over epochs and stages, and everything it must remember; see include/cellar/search.h.
 *
 * The order within a step (architecture, then weights), both running statistics moving in both, and the architecture
 * batch drawn afresh each step are those of DrNAS' code (arXiv:2006.10355).
 *
 * Where it differs from that code: all batches are whole. An epoch ends before the weights' last, smaller batch (of
 * 25,000 images in batches of 64: 390 steps, the code has 391); each epoch shuffles anew, so no image is left out for
 * good. And search.validate looks at the mean of the distribution, where the code draws an architecture, and leaves
 * out the images after the last whole batch. */
#include "cellar/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "data/loader.h"
#include "nas/search/limit.h"
#include "nas/search/settings.h"
#include "nas/search/supernet.h"
#include "train/meter.h"
#include "train/schedule.h"

enum { WEIGHTS, ARCH };
enum { SELECTED = 1 + (int)sizeof((cel_genotype *)0)->edge };

struct cel_search {
    const cel_settings *settings;
    const cel_dataset *data;
    const cel_table *table;
    cel_pool *pool;
    const cel_backend *backend;
    cel_net_shape shape;
    cel_split split;
    cel_loader *loader[2], *valid_loader;
    cel_policy *policy;
    cel_supernet *net;
    int64_t n_steps, n_rollouts; /* an epoch's; its position counts on from one to the other */
    int n_epochs;

    /* Saved. */
    int64_t epoch, step, stage; /* what comes next; stage is that of `net` */
    uint8_t *built;             /* n_entries: what `net` has, which is what was live when it was made */
    int64_t stream[2][2];       /* the loaders' next (epoch, batch) */
    cel_meter train, valid;
    double norm_sum;
    cel_watch_past watch;
    uint8_t selected[SELECTED]; /* number of edges, then their bytes; 0: the mean's genotype */

    double *concentration, *sampled, *scores;
    struct {
        float *images; /* one batch, NULL without a watch */
        int32_t *labels;
    } watched;
    char warning[CEL_WATCH_TEXT];
    double saved_at_s;
};

const cel_method *cel_search_method(int i) {
    int n = 0;
    while (cel_methods[n]) n++;
    return i >= 0 && i < n ? cel_methods[i] : NULL;
}

const cel_space *cel_search_space(int i) {
    int n = 0;
    while (cel_spaces[n]) n++;
    return i >= 0 && i < n ? cel_spaces[i] : NULL;
}

static const cel_search_stage *stage_of(const cel_search *s) { return &s->settings->search.stages[s->stage]; }

static cel_status make_net(cel_search *s, cel_supernet **out) {
    const cel_settings *settings = s->settings;
    cel_supernet_conf conf = {.space = settings->space,
                              .space_conf = settings->space_conf,
                              .shape = s->shape,
                              .form = {.k = stage_of(s)->k,
                                       .live = s->built,
                                       .fused = settings->search.fused,
                                       .bf16 = settings->search.precision == CEL_PRECISION_BF16,
                                       .straight_through = settings->method->straight_through},
                              .backend = s->backend,
                              .pool = s->pool,
                              .seed = (uint64_t)settings->search.seed,
                              .clip_arch = settings->train.clip_arch,
                              .single_level = cel_settings_levels(settings) == CEL_LEVELS_SINGLE,
                              .second_order = settings->search.order == CEL_SEARCH_SECOND};
    return cel_supernet_create(&conf, cel_policy_n_grad(s->policy), out);
}

/* Prunes, and puts the next network in the place of this one, with everything carried over. */
static cel_status next_stage(cel_search *s, int stage) {
    cel_luggage *luggage;
    int keep = cel_settings_ops(s->settings, stage);
    s->stage = stage;
    s->watch.n = 0; /* another network's Hessian */
    if (keep < cel_settings_ops(s->settings, stage - 1)) CEL_TRY(s->policy->method->prune(s->policy, keep));
    memcpy(s->built, s->policy->live, (size_t)s->policy->choices->n_entries);
    CEL_TRY(cel_supernet_pack(s->net, &luggage));
    cel_supernet_destroy(s->net);
    s->net = NULL;
    cel_widen_seed seed = {.seed = (uint64_t)s->settings->search.seed, .stage = stage};
    cel_status status = make_net(s, &s->net);
    if (status == CEL_OK) status = cel_supernet_carry(luggage, s->net, cel_widen_draw_random, &seed);
    cel_luggage_destroy(luggage);
    return status == CEL_OK ? CEL_OK : cel_status_pass(status, __FILE__, __LINE__);
}

static cel_status open_loader(const cel_search *s, const char *name, int part, cel_order order,
                              const cel_augment *augment, cel_loader **out) {
    cel_loader_conf conf = {.name = name,
                            .seed = (uint64_t)s->settings->search.seed,
                            .data = s->data,
                            .part = s->split.part,
                            .index = s->split.index[part],
                            .n_index = s->split.n[part],
                            .batch = s->settings->train.batch,
                            .order = order,
                            .drop_last = true,
                            .augment = *augment};
    return cel_loader_create(&conf, out);
}

static cel_status open_valid_loader(cel_search *s) {
    return open_loader(s, "valid", ARCH, CEL_ORDER_FIXED, &(cel_augment){0}, &s->valid_loader);
}

static cel_status open_loaders(cel_search *s) {
    const cel_settings *settings = s->settings;
    cel_augment augment = {.pad = settings->data.pad, .flip = settings->data.flip, .cutout = settings->data.cutout};
    CEL_TRY(open_loader(s, "weights", WEIGHTS, CEL_ORDER_SHUFFLE, &augment, &s->loader[WEIGHTS]));
    CEL_TRY(open_loader(s, "arch", ARCH, CEL_ORDER_FRESH, &augment, &s->loader[ARCH]));
    s->n_steps = cel_loader_batches(s->loader[WEIGHTS]);
    return settings->search.validate ? open_valid_loader(s) : CEL_OK;
}

static cel_status create_policy(cel_search *s) {
    const cel_settings *settings = s->settings;
    CEL_TRY(cel_policy_create(settings->method, settings->space->choices(), settings->method_conf,
                              (uint64_t)settings->search.seed, &s->policy));
    s->policy->n_images = s->split.n[cel_settings_levels(settings) == CEL_LEVELS_SINGLE ? WEIGHTS : ARCH];
    if (cel_settings_levels(settings) == CEL_LEVELS_SINGLE && cel_policy_draws(s->policy) != 1)
        return CEL_FAIL(CEL_CONFIG, "method.draws: %d, but a single-level search has one draw a step: take 1",
                        cel_policy_draws(s->policy));
    if (cel_settings_edge_norm(settings)) {
        double lr = settings->search.edge_lr;
        if (lr == 0 && settings->method->lr) lr = settings->method->lr(s->policy);
        if (lr == 0)
            return CEL_FAIL(CEL_CONFIG, "search.edge_lr: 0, and %s has no learning rate to take over: give one",
                            settings->method->name);
        CEL_TRY(cel_policy_normalise_edges(s->policy, &(cel_edge_conf){lr, settings->search.edge_weight_decay}));
    }
    s->n_rollouts = cel_policy_rollouts(s->policy);
    return CEL_OK;
}

/* What the collapse watch looks at, always the same. Shuffled, as images may lie in the order of their classes. */
static cel_status keep_a_batch(cel_search *s) {
    size_t image = (size_t)s->shape.channels * (size_t)s->shape.height * (size_t)s->shape.width;
    cel_loader *loader;
    cel_batch batch;
    CEL_ALLOC(s->watched.images, image * (size_t)s->shape.batch);
    CEL_ALLOC(s->watched.labels, (size_t)s->shape.batch);
    CEL_TRY(open_loader(s, "watch", ARCH, CEL_ORDER_SHUFFLE, &(cel_augment){0}, &loader));
    cel_loader_next(loader, &batch);
    memcpy(s->watched.images, batch.images, image * (size_t)s->shape.batch * sizeof(float));
    memcpy(s->watched.labels, batch.labels, (size_t)s->shape.batch * sizeof(int32_t));
    cel_loader_destroy(loader);
    return CEL_OK;
}

static cel_status create(cel_search *s, int threads) {
    const cel_settings *settings = s->settings;
    cel_dataset_info info = cel_dataset_get_info(s->data);
    s->shape = (cel_net_shape){settings->train.batch, info.channels, info.height, info.width, info.n_classes};
    CEL_TRY(cel_settings_check(settings, &s->shape));
    s->backend = cel_backend_find(settings->search.backend);
    if (!s->backend)
        return CEL_FAIL(CEL_CONFIG, "search.backend: there is no \"%s\"; cpu and ref are there",
                        settings->search.backend);
    const char *reason = s->backend->unavailable ? s->backend->unavailable() : NULL;
    if (reason)
        return CEL_FAIL(CEL_UNSUPPORTED, "search.backend: %s cannot run here: %s; ref always can", s->backend->name,
                        reason);
    CEL_TRY(cel_pool_create(threads, &s->pool));
    cel_split_conf split = {.kind = (cel_split_kind)settings->data.split,
                            .seed = (uint64_t)settings->search.seed,
                            .limit = settings->data.limit,
                            .limit_per_class = settings->data.limit_per_class};
    CEL_TRY(cel_split_init(s->data, &split, &s->split));
    for (int i = 0; i < 2; i++)
        if (s->split.n[i] < settings->train.batch)
            return CEL_FAIL(CEL_CONFIG, "train.batch: %d, but the %s' split has only %d images", settings->train.batch,
                            i == WEIGHTS ? "weights" : "architecture", s->split.n[i]);
    CEL_TRY(open_loaders(s));
    CEL_TRY(create_policy(s));
    size_t n = (size_t)s->policy->choices->n_entries;
    CEL_ALLOC(s->concentration, n);
    CEL_ALLOC(s->scores, n);
    CEL_ALLOC(s->sampled, (size_t)settings->search.sampled + 1);
    CEL_ALLOC(s->built, n);
    memcpy(s->built, s->policy->live, n);
    if (settings->watch.interval) CEL_TRY(keep_a_batch(s));
    cel_genotype start;
    CEL_TRY(cel_search_genotype(s, &start)); /* a limit that no cell meets is told before the search, not after it */
    return make_net(s, &s->net);
}

cel_status cel_search_create(const struct cel_settings *settings, const cel_dataset *data, const cel_table *table,
                             int threads, cel_search **out) {
    cel_search *s;
    CEL_ALLOC(s, 1);
    s->settings = settings;
    s->data = data;
    s->table = table;
    s->n_epochs = cel_settings_epochs(settings);
    cel_status status = create(s, threads);
    if (status != CEL_OK) {
        cel_search_destroy(s);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = s;
    return CEL_OK;
}

void cel_search_destroy(cel_search *s) {
    if (!s) return;
    cel_loader_destroy(s->loader[WEIGHTS]);
    cel_loader_destroy(s->loader[ARCH]);
    cel_loader_destroy(s->valid_loader);
    cel_supernet_destroy(s->net);
    cel_policy_destroy(s->policy);
    cel_split_fini(&s->split);
    cel_pool_destroy(s->pool);
    cel_free(s->concentration);
    cel_free(s->scores);
    cel_free(s->sampled);
    cel_free(s->built);
    cel_free(s->watched.images);
    cel_free(s->watched.labels);
    cel_free(s);
}

/* ---- what is remembered ---- */

/* Everything whose shape does not depend on the stage. */
static cel_status list_fixed(cel_search *s, cel_state *state) {
    CEL_TRY(cel_state_add(state, CEL_STATE_I64, &s->epoch, 0, NULL, "search.epoch"));
    CEL_TRY(cel_state_add(state, CEL_STATE_I64, &s->step, 0, NULL, "search.step"));
    CEL_TRY(cel_state_add(state, CEL_STATE_I64, &s->stage, 0, NULL, "search.stage"));
    CEL_TRY(cel_state_add(state, CEL_STATE_I64, s->stream, 2, (int64_t[]){2, 2}, "search.streams"));
    CEL_TRY(cel_state_add(state, CEL_STATE_F64, &s->train, 1, (int64_t[]){3}, "search.train_meter"));
    CEL_TRY(cel_state_add(state, CEL_STATE_F64, &s->valid, 1, (int64_t[]){3}, "search.valid_meter"));
    CEL_TRY(cel_state_add(state, CEL_STATE_F64, &s->norm_sum, 0, NULL, "search.norm_sum"));
    CEL_TRY(cel_state_add(state, CEL_STATE_F64, s->watch.eigenvalue, 1, (int64_t[]){CEL_WATCH_REMEMBERS},
                          "search.eigenvalues"));
    CEL_TRY(cel_state_add(state, CEL_STATE_I64, &s->watch.n, 0, NULL, "search.looks"));
    CEL_TRY(cel_state_add(state, CEL_STATE_U8, s->selected, 1, (int64_t[]){SELECTED}, "search.selected"));
    CEL_TRY(
        cel_state_add(state, CEL_STATE_U8, s->built, 1, (int64_t[]){s->policy->choices->n_entries}, "search.built"));
    return cel_policy_save(s->policy, state);
}
_Static_assert(sizeof(cel_meter) == 3 * sizeof(double), "a meter is saved as three numbers");

/* Steps of an epoch: those of the weights, then the method's passes. */
static int64_t epoch_steps(const cel_search *s) { return s->n_steps + s->n_rollouts; }

static cel_status save(cel_search *s, const cel_search_observer *observer, bool epoch_end) {
    if (!observer->save) return CEL_OK;
    cel_state state = {0};
    for (int i = 0; i < 2; i++) cel_loader_tell(s->loader[i], &s->stream[i][0], &s->stream[i][1]);
    cel_status status = list_fixed(s, &state);
    if (status == CEL_OK) status = cel_supernet_save(s->net, &state);
    if (status == CEL_OK)
        status = observer->save(observer->ctx, s->epoch * epoch_steps(s) + s->step + (s->selected[0] != 0), epoch_end,
                                &state);
    cel_state_fini(&state);
    s->saved_at_s = cel_clock_s();
    return status;
}

static cel_status check_position(const cel_search *s) {
    if (s->epoch < 0 || s->epoch > s->n_epochs || s->step < 0 || s->step >= epoch_steps(s) || s->stage < 0 ||
        s->stage >= s->settings->search.n_stages)
        return CEL_FAIL(
            CEL_FORMAT,
            "checkpoint: epoch %lld, step %lld, stage %lld do not fit a search of %d epochs of %lld steps in %d "
            "stages: it was written with another recipe or other data",
            (long long)s->epoch, (long long)s->step, (long long)s->stage, s->n_epochs, (long long)epoch_steps(s),
            s->settings->search.n_stages);
    cel_genotype selected = {.n = 0};
    if (s->watch.n < 0) return CEL_FAIL(CEL_FORMAT, "checkpoint: search.looks is %lld", (long long)s->watch.n);
    if (s->selected[0] > CEL_GENOTYPE_EDGES)
        return CEL_FAIL(CEL_FORMAT, "checkpoint: search.selected has %d edges", s->selected[0]);
    if (s->selected[0]) {
        CEL_TRY(cel_search_genotype(s, &selected));
        CEL_TRY(cel_genotype_check(&selected));
    }
    const cel_choices *choices = s->policy->choices;
    for (int c = 0; c < choices->n; c++) {
        int live = 0;
        for (int i = choices->choice[c].first; i < choices->choice[c].first + choices->choice[c].n; i++) {
            uint8_t on = s->policy->live[i];
            if (on > 1) return CEL_FAIL(CEL_FORMAT, "checkpoint: policy.live holds %d, expected 0 or 1", on);
            if (s->built[i] > 1 || on > s->built[i])
                return CEL_FAIL(CEL_FORMAT, "checkpoint: search.built holds %d where policy.live holds %d", s->built[i],
                                on);
            live += on;
        }
        if (!live)
            return CEL_FAIL(CEL_FORMAT, "checkpoint: policy.live leaves no operation on edge %s",
                            choices->choice[c].name);
    }
    return CEL_OK;
}

cel_status cel_search_restore(cel_search *s, cel_search_fill *fill, void *ctx) {
    cel_state state = {0};
    cel_status status = list_fixed(s, &state);
    if (status == CEL_OK) status = fill(ctx, &state, false);
    if (status == CEL_OK) status = check_position(s);
    if (status == CEL_OK) {
        cel_supernet_destroy(s->net);
        s->net = NULL;
        status = make_net(s, &s->net);
    }
    if (status == CEL_OK) status = cel_supernet_save(s->net, &state);
    if (status == CEL_OK) status = fill(ctx, &state, true);
    cel_state_fini(&state);
    for (int i = 0; i < 2 && status == CEL_OK; i++)
        status = cel_loader_seek(s->loader[i], s->stream[i][0], s->stream[i][1]);
    return status == CEL_OK ? CEL_OK : cel_status_pass(status, __FILE__, __LINE__);
}

/* ---- an epoch's record ---- */

static double learning_rate(const cel_search *s, int first) {
    const cel_train_conf *train = &s->settings->train;
    double at = (double)s->epoch + (train->lr_per_step ? (double)s->step / (double)s->n_steps : 0);
    return cel_schedule_cosine(at, s->n_epochs, train->lr, train->lr_min, train->lr_restart ? first : 0);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of a sorted list, between neighbours. */
static double quantile(const double *sorted, int n, double q) {
    double at = q * (n - 1);
    int low = (int)at;
    return low + 1 < n ? sorted[low] + (at - low) * (sorted[low + 1] - sorted[low]) : sorted[low];
}

/* The figure of DrNAS' README: what architectures drawn from the distribution are worth. A stream of its own, so that watching does
 * not change the search. */
static cel_status sample_band(cel_search *s, cel_search_epoch *record) {
    int n = s->settings->search.sampled, metric;
    if (!n) return CEL_OK;
    record->sampled.dataset = cel_table_dataset_of(cel_dataset_get_info(s->data).name);
    if (!record->sampled.dataset) record->sampled.dataset = "cifar10";
    CEL_TRY(cel_table_find_accuracy(s->table, record->sampled.dataset, "test", 200, &metric));
    cel_rng rng = cel_rng_at((uint64_t)s->settings->search.seed, "search.sampled", (uint64_t)s->epoch, 0);
    double sum = 0;
    for (int i = 0; i < n; i++) {
        cel_genotype genotype;
        int index;
        s->policy->method->draw(s->policy, &rng, s->scores);
        CEL_TRY(cel_space_derive(s->settings->space, s->scores, s->policy->live, &genotype));
        CEL_TRY(cel_table_find(s->table, &genotype, &index));
        s->sampled[i] = cel_table_value(s->table, metric, index);
        sum += s->sampled[i];
    }
    qsort(s->sampled, (size_t)n, sizeof *s->sampled, compare);
    record->sampled.n = n;
    record->sampled.min = s->sampled[0];
    record->sampled.max = s->sampled[n - 1];
    record->sampled.mean = sum / n;
    record->sampled.q25 = quantile(s->sampled, n, 0.25);
    record->sampled.q75 = quantile(s->sampled, n, 0.75);
    return CEL_OK;
}

static cel_status look_up(const cel_search *s, cel_search_epoch *record) {
    static const char *const datasets[CEL_SEARCH_TABLES] = {"cifar10", "cifar100", "imagenet16"};
    if (!s->table) return CEL_OK;
    CEL_TRY(cel_table_find(s->table, &record->genotype, &record->index));
    for (int i = 0; i < CEL_SEARCH_TABLES; i++) {
        int metric;
        CEL_TRY(cel_table_find_accuracy(s->table, datasets[i], "test", 200, &metric));
        record->table[i].dataset = datasets[i];
        record->table[i].test = cel_table_value(s->table, metric, record->index);
        record->table[i].rank = cel_table_rank(s->table, metric, record->index);
    }
    record->n_tables = CEL_SEARCH_TABLES;
    return CEL_OK;
}

static cel_status describe(const cel_search *s, cel_search_epoch *record) {
    const cel_settings *settings = s->settings;
    record->index = -1;
    CEL_TRY(cel_search_genotype(s, &record->genotype));
    cel_genotype_format(&record->genotype, record->text);
    record->hash = cel_genotype_hash(&record->genotype);
    CEL_TRY(settings->space->cost(settings->space_conf, &s->shape, &record->genotype, &record->cost));
    return look_up(s, record);
}

cel_status cel_search_found(const cel_search *s, cel_search_epoch *out) {
    *out = (cel_search_epoch){0};
    return describe(s, out);
}

static bool arch_active(const cel_search *s, int first) {
    const cel_method *method = s->settings->method;
    return (method->gradient || method->reward) && s->epoch - first >= stage_of(s)->warmup;
}

/* Does a weight step come with an architecture half-step on images of its own? */
static bool has_arch_step(const cel_search *s, bool active) {
    return active && s->settings->method->gradient && cel_settings_levels(s->settings) == CEL_LEVELS_BILEVEL;
}

/* Images that went through the network since step `from` of the epoch, which is at its end. */
static int64_t images_since(const cel_search *s, int64_t from, bool active) {
    int64_t passes_a_draw = s->settings->search.order == CEL_SEARCH_SECOND ? 4 : 1;
    int64_t passes_a_step = 1 + (has_arch_step(s, active) ? passes_a_draw * cel_policy_draws(s->policy) : 0);
    int64_t passes = from < s->n_steps ? (s->n_steps - from) * passes_a_step : 0;
    if (active) passes += from < s->n_steps ? s->n_rollouts : epoch_steps(s) - from;
    if (s->settings->search.validate) passes += cel_loader_batches(s->valid_loader);
    return passes * s->settings->train.batch;
}

static cel_status look_for_collapse(cel_search *s, bool active, cel_search_epoch *r) {
    const cel_watch_conf *conf = &s->settings->watch;
    r->watch.skips = cel_watch_skips(&r->genotype);
    s->warning[0] = 0;
    if (!conf->interval || !active || (s->epoch + 1) % conf->interval) return CEL_OK;
    cel_rng rng = cel_rng_at((uint64_t)s->settings->search.seed, "search.watch", (uint64_t)s->epoch, 0);
    CEL_TRY(
        cel_watch_eigenvalue(conf, s->net, s->policy, s->watched.images, s->watched.labels, rng, &r->watch.eigenvalue));
    cel_watch_judge(conf, &s->watch, r->watch.skips, r->entropy, r->watch.eigenvalue, s->warning);
    r->watch.looked = true;
    if (s->warning[0]) r->watch.warning = s->warning;
    return CEL_OK;
}

static cel_status record(cel_search *s, const cel_search_observer *observer, int first, int64_t from, double seconds) {
    const cel_settings *settings = s->settings;
    bool active = arch_active(s, first);
    cel_search_epoch r = {.epoch = (int)s->epoch,
                          .n_epochs = s->n_epochs,
                          .stage = (int)s->stage,
                          .n_stages = settings->search.n_stages,
                          .k = stage_of(s)->k,
                          .ops_kept = cel_settings_ops(settings, (int)s->stage),
                          .train_loss = cel_meter_loss(&s->train),
                          .train_acc = cel_meter_accuracy(&s->train),
                          .has_valid = s->valid.images > 0,
                          .valid_loss = cel_meter_loss(&s->valid),
                          .valid_acc = cel_meter_accuracy(&s->valid),
                          .lr = learning_rate(s, first),
                          .arch_active = active,
                          .grad_norm = s->norm_sum / (double)s->n_steps,
                          .entropy = cel_policy_entropy(s->policy),
                          .choices = s->policy->choices,
                          .concentration = s->concentration,
                          .live = s->policy->live,
                          .images = images_since(s, from, active),
                          .seconds = seconds};
    if (active && s->policy->method->lr) r.arch_lr = s->policy->method->lr(s->policy);
    CEL_TRY(describe(s, &r));
    if (s->table) CEL_TRY(sample_band(s, &r));
    cel_policy_report(s->policy, s->concentration);
    CEL_TRY(look_for_collapse(s, active, &r));
    return observer->epoch ? observer->epoch(observer->ctx, &r) : CEL_OK;
}

static cel_limit limit_of(const cel_search *s) {
    return (cel_limit){s->settings->search.max_params, s->settings->search.max_flops};
}

static cel_status cost_of(void *ctx, const cel_genotype *genotype, cel_arch_cost *out) {
    const cel_search *s = ctx;
    return s->settings->space->cost(s->settings->space_conf, &s->shape, genotype, out);
}

cel_status cel_search_genotype(const cel_search *s, cel_genotype *out) {
    if (s->selected[0]) {
        *out = (cel_genotype){.space = s->settings->space->arch, .n = s->selected[0]};
        memcpy(out->edge, s->selected + 1, (size_t)out->n * sizeof out->edge[0]);
        return CEL_OK;
    }
    cel_limit limit = limit_of(s);
    if (limit.params || limit.flops) {
        /* What is pruned scores 0 and comes last, but comes: a limit that some cell meets is then met at all times. */
        cel_policy_report(s->policy, s->scores);
        return cel_limit_derive(&limit, s->settings->space, s->scores, NULL, cost_of, (void *)(uintptr_t)s, out);
    }
    cel_policy_scores(s->policy, s->scores);
    return cel_space_derive(s->settings->space, s->scores, s->policy->live, out);
}

/* ---- the loop ---- */

/* The architecture's half; `train`: the batch of the weights' half that follows. */
static cel_status arch_step(cel_search *s, cel_at at, const cel_sgd *sgd, const cel_batch *train) {
    const cel_search_conf *search = &s->settings->search;
    cel_half_step half;
    cel_batch batch;
    at.phase = CEL_PHASE_ARCH;
    cel_loader_next(s->loader[ARCH], &batch);
    if (search->order == CEL_SEARCH_SECOND) {
        cel_supernet_batch of_weights = {train->images, train->labels}, own = {batch.images, batch.labels};
        double xi = search->xi > 0 ? search->xi : sgd->lr;
        CEL_TRY(cel_supernet_unrolled_step(s->net, s->policy, &at, sgd, xi, &of_weights, &own, &half));
    } else {
        CEL_TRY(cel_supernet_arch_step(s->net, s->policy, &at, batch.images, batch.labels, &half));
    }
    if (!search->validate) cel_meter_add(&s->valid, half.loss, half.correct, batch.n);
    return CEL_OK;
}

static cel_status one_step(cel_search *s, int first) {
    const cel_train_conf *train = &s->settings->train;
    cel_at at = {.epoch = (int)s->epoch, .n_epochs = s->n_epochs, .stage = (int)s->stage, .step = s->step};
    cel_sgd sgd = {learning_rate(s, first), train->momentum, train->weight_decay, train->nesterov};
    bool active = arch_active(s, first) && s->settings->method->gradient;
    cel_half_step half;
    cel_batch batch;
    cel_loader_next(s->loader[WEIGHTS], &batch);
    if (has_arch_step(s, active)) CEL_TRY(arch_step(s, at, &sgd, &batch));
    if (active && cel_settings_levels(s->settings) == CEL_LEVELS_SINGLE) {
        at.phase = CEL_PHASE_ARCH;
        CEL_TRY(cel_supernet_single_step(s->net, s->policy, &at, &sgd, train->clip, batch.images, batch.labels, &half));
    } else {
        at.phase = CEL_PHASE_WEIGHT;
        CEL_TRY(cel_supernet_weight_step(s->net, s->policy, &at, &sgd, train->clip, batch.images, batch.labels, &half));
    }
    cel_meter_add(&s->train, half.loss, half.correct, batch.n);
    s->norm_sum += half.norm;
    return CEL_OK;
}

/* A pass after the weights' steps, from whose reward the method learns. */
static cel_status one_rollout(cel_search *s) {
    cel_at at = {.phase = CEL_PHASE_REWARD,
                 .epoch = (int)s->epoch,
                 .n_epochs = s->n_epochs,
                 .stage = (int)s->stage,
                 .step = s->step - s->n_steps};
    cel_half_step half;
    cel_batch batch;
    cel_loader_next(s->loader[ARCH], &batch);
    CEL_TRY(cel_supernet_rollout(s->net, s->policy, &at, batch.images, batch.labels, &half));
    if (!s->settings->search.validate) cel_meter_add(&s->valid, half.loss, half.correct, batch.n);
    return CEL_OK;
}

static cel_status validate(cel_search *s) {
    cel_at at = {.phase = CEL_PHASE_VALID, .epoch = (int)s->epoch, .n_epochs = s->n_epochs, .stage = (int)s->stage};
    s->valid = (cel_meter){0};
    CEL_TRY(cel_loader_seek(s->valid_loader, 0, 0));
    for (int n = cel_loader_batches(s->valid_loader); at.step < n; at.step++) {
        cel_half_step half;
        cel_batch batch;
        cel_loader_next(s->valid_loader, &batch);
        CEL_TRY(cel_supernet_validate(s->net, s->policy, &at, batch.images, batch.labels, &half));
        cel_meter_add(&s->valid, half.loss, half.correct, batch.n);
    }
    return CEL_OK;
}

cel_status cel_search_one_shot(cel_search *s, const double *weights, int first, int n, double *loss, double *accuracy) {
    cel_at at = {.phase = CEL_PHASE_VALID, .epoch = (int)s->epoch, .n_epochs = s->n_epochs, .stage = (int)s->stage};
    cel_meter meter = {0};
    if (!s->valid_loader) CEL_TRY(open_valid_loader(s));
    int all = cel_loader_batches(s->valid_loader);
    if (first < 0 || n < 1 || n > all)
        return CEL_FAIL(CEL_CONFIG, "%d validation batches from number %d on, but there are %d", n, first, all);
    for (int i = 0; i < n; i++) {
        cel_half_step half;
        cel_batch batch;
        at.step = (first + i) % all;
        CEL_TRY(cel_loader_seek(s->valid_loader, 0, at.step));
        cel_loader_next(s->valid_loader, &batch);
        CEL_TRY(cel_supernet_evaluate(s->net, weights, &at, batch.images, batch.labels, &half));
        cel_meter_add(&meter, half.loss, half.correct, batch.n);
    }
    *loss = cel_meter_loss(&meter);
    *accuracy = cel_meter_accuracy(&meter);
    return CEL_OK;
}

static bool stop_asked(cel_search *s, const cel_search_observer *observer, bool active) {
    if (!observer->step) return false;
    double steps = (double)epoch_steps(s);
    cel_search_progress p = {.epoch = (int)s->epoch,
                             .n_epochs = s->n_epochs,
                             .stage = (int)s->stage,
                             .n_stages = s->settings->search.n_stages,
                             .step = s->step,
                             .n_steps = epoch_steps(s),
                             .done = ((double)s->epoch + (double)s->step / steps) / s->n_epochs,
                             .loss = cel_meter_loss(&s->train),
                             .accuracy = cel_meter_accuracy(&s->train),
                             .arch_active = active};
    return observer->step(observer->ctx, &p);
}

static cel_status interrupted(const cel_search *s) {
    return CEL_FAIL(CEL_INTERRUPTED,
                    "interrupted in epoch %lld at step %lld of %lld; the checkpoint is written, go on with --resume",
                    (long long)s->epoch, (long long)s->step, (long long)epoch_steps(s));
}

/* ---- selection among drawn cells ---- */

typedef struct {
    cel_search *s;
    const cel_search_observer *observer;
    int batches; /* of a cell, each cell others; 0: all, the same for each */
} one_shot;

static bool stop_selecting(void *ctx) {
    const one_shot *o = ctx;
    return stop_asked(o->s, o->observer, false);
}

/* The entries that a cell takes, as weights. */
static cel_status weights_of(const cel_search *s, const cel_genotype *g, double *weights) {
    const cel_choices *choices = s->policy->choices;
    if (g->n != choices->n)
        return CEL_FAIL(CEL_UNSUPPORTED, "select.by: one_shot needs a space whose cells keep every edge; take proxies");
    for (int i = 0; i < choices->n_entries; i++) weights[i] = 0;
    for (int c = 0; c < choices->n; c++)
        for (int e = 0; e < g->n; e++) {
            const cel_choice *choice = &choices->choice[c];
            if (g->edge[e].cell == choice->cell && g->edge[e].from == choice->from && g->edge[e].to == choice->to)
                weights[choice->first + g->edge[e].op] = 1;
        }
    return CEL_OK;
}

static cel_status score_one_shot(void *ctx, const cel_genotype *cells, int n, double *scores) {
    one_shot *o = ctx;
    cel_search *s = o->s;
    if (!s->valid_loader) CEL_TRY(open_valid_loader(s));
    int all = cel_loader_batches(s->valid_loader), batches = o->batches && o->batches < all ? o->batches : all;
    for (int i = 0; i < n; i++) {
        double loss;
        int first = (int)((int64_t)i * batches % all);
        CEL_TRY(weights_of(s, &cells[i], s->scores));
        CEL_TRY(cel_search_one_shot(s, s->scores, batches < all ? first : 0, batches, &loss, &scores[i]));
        if (stop_selecting(o))
            return CEL_FAIL(CEL_INTERRUPTED, "interrupted while drawn cells were measured; go on with --resume");
    }
    return CEL_OK;
}

static cel_status score_candidates(cel_search *s, const cel_search_observer *observer, cel_selection *selection) {
    const cel_select_conf *conf = &s->settings->select;
    one_shot o = {s, observer, conf->batches};
    if (!cel_select_is(conf, "one_shot")) {
        const cel_select_net net = {.space = s->settings->space,
                                    .space_conf = s->settings->space_conf,
                                    .data = s->data,
                                    .index = s->split.index[ARCH],
                                    .n_index = s->split.n[ARCH],
                                    .threads = cel_pool_threads(s->pool),
                                    .backend = s->backend->name,
                                    .seed = (uint64_t)s->settings->search.seed};
        CEL_TRY(cel_select_proxies(conf, &net, stop_selecting, &o, selection));
        return cel_select_rank(conf, selection);
    }
    CEL_TRY(cel_select_score(selection, "one_shot", -1, score_one_shot, &o));
    CEL_TRY(cel_select_rank(conf, selection));
    if (!conf->finalists) return CEL_OK;
    o.batches = 0;
    CEL_TRY(cel_select_score(selection, "one_shot_all", conf->finalists, score_one_shot, &o));
    return cel_select_rank(conf, selection);
}

/* Of the drawn cells only those within the limit are candidates. */
static cel_status drop_what_exceeds(cel_search *s, cel_selection *selection) {
    cel_limit limit = limit_of(s);
    int n = 0;
    for (int i = 0; i < selection->n; i++) {
        cel_arch_cost cost;
        CEL_TRY(cost_of(s, &selection->candidate[i].genotype, &cost));
        if (cel_limit_fits(&limit, &cost)) selection->candidate[n++] = selection->candidate[i];
    }
    if (!n)
        return CEL_FAIL(CEL_CONFIG,
                        "none of the %d cells that were drawn is within search.max_params and search.max_flops: raise "
                        "them, or select.samples, or take select.by: mean",
                        selection->n);
    selection->n = n;
    return CEL_OK;
}

static cel_status select_cell(cel_search *s, const cel_search_observer *observer) {
    const cel_select_conf *conf = &s->settings->select;
    cel_selection selection;
    cel_search_epoch found;
    if (cel_select_is(conf, "mean") || s->selected[0]) return CEL_OK;
    CEL_TRY(cel_select_draw(conf, s->policy, s->settings->space, (uint64_t)s->settings->search.seed, &selection));
    cel_status status = drop_what_exceeds(s, &selection);
    if (status == CEL_OK) status = score_candidates(s, observer, &selection);
    if (status == CEL_OK) {
        const cel_genotype *best = &selection.candidate[0].genotype;
        s->selected[0] = (uint8_t)best->n;
        memcpy(s->selected + 1, best->edge, (size_t)best->n * sizeof best->edge[0]);
        status = cel_search_found(s, &found);
    }
    if (status == CEL_OK && observer->select) status = observer->select(observer->ctx, &selection, &found);
    if (status != CEL_OK) s->selected[0] = 0;
    cel_selection_fini(&selection);
    CEL_TRY(status);
    return save(s, observer, true);
}

static cel_status one_epoch(cel_search *s, const cel_search_observer *observer, bool *stop) {
    const cel_settings *settings = s->settings;
    int first, stage = cel_settings_stage(settings, (int)s->epoch, &first);
    double start = cel_clock_s(), every = settings->search.checkpoint_s;
    int64_t from = s->step;
    if (stage != s->stage) CEL_TRY(next_stage(s, stage));
    bool active = arch_active(s, first);
    int64_t n = active ? epoch_steps(s) : s->n_steps;
    while (s->step < n) {
        CEL_TRY(s->step < s->n_steps ? one_step(s, first) : one_rollout(s));
        s->step++;
        *stop = stop_asked(s, observer, active) || *stop;
        if (s->step == n) break;
        if (*stop) {
            CEL_TRY(save(s, observer, false));
            return interrupted(s);
        }
        if (every > 0 && cel_clock_s() - s->saved_at_s >= every) CEL_TRY(save(s, observer, false));
    }
    if (settings->search.validate) CEL_TRY(validate(s));
    if (active && s->policy->method->epoch) {
        cel_at at = {.epoch = (int)s->epoch, .n_epochs = s->n_epochs, .stage = (int)s->stage};
        s->policy->method->epoch(s->policy, &at);
    }
    s->step = 0;
    CEL_TRY(record(s, observer, first, from, cel_clock_s() - start));
    s->train = s->valid = (cel_meter){0};
    s->norm_sum = 0;
    s->epoch++;
    CEL_TRY(save(s, observer, true));
    if (!s->warning[0] || settings->watch.action != CEL_WATCH_STOP || s->epoch == s->n_epochs) return CEL_OK;
    return CEL_FAIL(
        CEL_COLLAPSED,
        "the architecture is collapsing in epoch %lld: %s; watch.action is stop; the checkpoint is written, "
        "--resume goes on until the next look",
        (long long)s->epoch - 1, s->warning);
}

cel_status cel_search_run(cel_search *s, const cel_search_observer *observer) {
    bool stop = false;
    s->saved_at_s = cel_clock_s();
    while (s->epoch < s->n_epochs) {
        CEL_TRY(one_epoch(s, observer, &stop));
        if (stop && s->epoch < s->n_epochs) return interrupted(s);
    }
    return select_cell(s, observer);
}

cel_status cel_search_get_info(const cel_search *s, cel_search_info *out) {
    cel_exec_memory memory;
    int n_slots;
    if (!s->net) return CEL_FAIL(CEL_INTERNAL, "the search has no network: an error ended it");
    const cel_slot *slots = cel_exec_param_slots(s->net->exec, &n_slots);
    CEL_TRY(cel_exec_plan(s->net->exec, &memory));
    *out = (cel_search_info){.method = s->settings->method->name,
                             .space = s->settings->space->name,
                             .backend = s->backend->name,
                             .threads = cel_pool_threads(s->pool),
                             .stage = (int)s->stage,
                             .n_epochs = s->n_epochs,
                             .epochs_done = (int)s->epoch,
                             .n_steps = s->n_steps,
                             .flops_forward = cel_graph_flops(s->net->graph, NULL),
                             .n_images = {s->split.n[WEIGHTS], s->split.n[ARCH]}};
    for (int i = 0; i < n_slots; i++) out->params += (int64_t)slots[i].count;
    out->memory_bytes = 2 * memory.param_bytes + memory.grad_bytes + memory.state_bytes + memory.input_bytes +
                        memory.temp_bytes + memory.work_bytes;
    return CEL_OK;
}
