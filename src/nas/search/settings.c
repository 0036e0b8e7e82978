/* The settings of a search; see settings.h. */
#include "nas/search/settings.h"

#include <string.h>

#include "base/mem.h"

static const cel_opt stage_opts[] = {
    CEL_INT(cel_search_stage, k, 1, 1, 1024, "1/k of the channels goes through the mixed operations"),
    CEL_INT(cel_search_stage, ops, 0, 0, 64,
            "operations kept on each edge when the stage begins; 0: as many as before, at first all"),
    CEL_INT(cel_search_stage, epochs, 50, 1, 100000, "epochs of the stage"),
    CEL_INT(cel_search_stage, warmup, 0, 0, 100000, "first epochs of the stage in which the architecture rests"),
    CEL_OPTS_END};

static const char *const levels_names[] = {"method", "bilevel", "single", NULL};
static const char *const order_names[] = {"first", "second", NULL};
static const char *const edge_norm_names[] = {"method", "off", "on", NULL};

static const char *const precision_names[] = {"fp32", "bf16", NULL};

const cel_opt cel_search_opts[] = {
    CEL_TEXT(cel_search_conf, method, "drnas", "search method"),
    CEL_TEXT(cel_search_conf, space, "nb201", "search space"),
    CEL_LONG(cel_search_conf, seed, 1, 0, INT64_MAX, "seed of everything random"),
    CEL_LIST(cel_search_conf, stages, n_stages, stage_opts,
             "progressive stages, one after another; channels widen (k falls) and operations are pruned between them"),
    CEL_ENUM(cel_search_conf, levels, CEL_SEARCH_LEVELS_METHOD, levels_names,
             "bilevel: the architecture and the weights step on images of their own; single: one pass on the weights' "
             "images "
             "moves both; method: as the method's paper has it"),
    CEL_ENUM(cel_search_conf, order, CEL_SEARCH_FIRST, order_names,
             "second: the architecture's gradient looks through one step of the weights (DARTS, eq. 7), at about five "
             "passes "
             "instead of two a step"),
    CEL_REAL(cel_search_conf, xi, 0, 0, 100, "second order: length of that step; 0: the present learning rate"),
    CEL_ENUM(
        cel_search_conf, edge_norm, CEL_SEARCH_EDGES_METHOD, edge_norm_names,
        "edge normalisation (PC-DARTS): the edges into a node share one softmax, which multiplies their operations' "
        "weights; method: as the method's paper has it"),
    CEL_REAL(cel_search_conf, edge_lr, 0, 0, 10,
             "learning rate of the edges' parameters (Adam, betas 0.5 and 0.999); 0: the method's"),
    CEL_REAL(cel_search_conf, edge_weight_decay, 1e-3, 0, 10, "L2 decay of the edges' parameters"),
    CEL_INT(cel_search_conf, sampled, 100, 0, 100000,
            "architectures drawn from the distribution each epoch, to record their accuracies in the benchmark table"),
    CEL_BOOL(cel_search_conf, validate, false,
             "measure valid_loss and valid_acc after each epoch by a forward pass over the architecture's images (but "
             "those after the last whole batch) with the mean architecture weights, where the authors draw them; else "
             "they are those met in the architecture steps"),
    CEL_TEXT(cel_search_conf, backend, "cpu", "what computes: cpu or ref (slow and plain)"),
    CEL_BOOL(cel_search_conf, fused, true, "compute a cell in one operation"),
    CEL_ENUM(
        cel_search_conf, precision, CEL_PRECISION_FP32, precision_names,
        "of the products of 3x3 convolutions in the mixed cells and of what they keep: bf16 is faster and smaller on "
        "CPUs with AMX, where 1x1 convolutions are in it too, or AVX512-BF16, and its numbers are off by about 0.4 "
        "percent"),
    CEL_REAL(cel_search_conf, checkpoint_s, 60, 0, 1e6,
             "seconds between checkpoints inside an epoch (one is written after each epoch anyway); 0: none inside"),
    CEL_LONG(cel_search_conf, max_params, 0, 0, INT64_MAX,
             "parameters that the network of the cell may have: the best cell within it is derived; 0: any number"),
    CEL_LONG(cel_search_conf, max_flops, 0, 0, INT64_MAX, "the same of its multiply-adds"),
    CEL_OPTS_END};

const cel_opt cel_train_opts[] = {
    CEL_INT(cel_train_conf, batch, 64, 2, 65536, "images of a half-step; an epoch ends before a smaller last batch"),
    CEL_REAL(cel_train_conf, lr, 0.025, 0, 100, "learning rate of the weights at the start"),
    CEL_REAL(cel_train_conf, lr_min, 0.001, 0, 100, "learning rate at the end of the cosine"),
    CEL_BOOL(cel_train_conf, lr_per_step, false, "move the learning rate each step instead of each epoch"),
    CEL_BOOL(
        cel_train_conf, lr_restart, false,
        "as in the authors' progressive script under PyTorch 1.1 and later: each stage starts again at lr and falls as "
        "if the cosine were larger, about twice the plain one"),
    CEL_REAL(cel_train_conf, momentum, 0.9, 0, 1, "momentum of SGD"),
    CEL_BOOL(cel_train_conf, nesterov, false, "Nesterov's momentum"),
    CEL_REAL(cel_train_conf, weight_decay, 3e-4, 0, 10, "L2 decay of the weights"),
    CEL_REAL(cel_train_conf, clip, 5, 0, 1e9, "largest norm of the weights' gradient; 0: no clipping"),
    CEL_BOOL(
        cel_train_conf, clip_arch, false,
        "as in the authors' code: the architecture's gradient counts in the norm that clips the weights' gradient"),
    CEL_OPTS_END};

/* The kinds over the training images: a search never sees the others. */
static const char *const split_names[] = {"halves", "nb201", "random", NULL};
_Static_assert(CEL_COUNT(split_names) == CEL_SPLIT_NB201_TEST + 1,
               "a name for each kind of split of the training images");

const cel_opt cel_data_opts[] = {
    CEL_TEXT(cel_data_conf, source, "cifar10-mini", "data set"),
    CEL_TEXT(cel_data_conf, path, "", "its directory or archive; empty where it comes with cellar"),
    CEL_ENUM(cel_data_conf, split, CEL_SPLIT_HALVES, split_names,
             "which images train the weights, which the architecture"),
    CEL_INT(cel_data_conf, limit, 0, 0, 100000000, "use only the first so many images; 0: all"),
    CEL_INT(cel_data_conf, limit_per_class, 0, 0, 100000000, "use only the first so many images of each class; 0: all"),
    CEL_INT(cel_data_conf, pad, 4, 0, 256, "random crop of the image padded by so many pixels (2 for 16x16 images)"),
    CEL_BOOL(cel_data_conf, flip, true, "mirror at random"),
    CEL_INT(cel_data_conf, cutout, 0, 0, 1024, "side of a square to blank; 0: none"),
    CEL_OPTS_END};

void cel_settings_sections(cel_settings *settings, cel_section sections[CEL_SETTINGS_SECTIONS]) {
    static const cel_opt none[] = {CEL_OPTS_END};
    const cel_opt *space = settings->space->opts, *method = settings->method->opts;
    sections[0] = (cel_section){"search", cel_search_opts, &settings->search};
    sections[1] = (cel_section){"space", space ? space : none, settings->space_conf};
    sections[2] = (cel_section){"method", method ? method : none, settings->method_conf};
    sections[3] = (cel_section){"train", cel_train_opts, &settings->train};
    sections[4] = (cel_section){"data", cel_data_opts, &settings->data};
    sections[5] = (cel_section){"select", cel_select_opts, &settings->select};
    sections[6] = (cel_section){"watch", cel_watch_opts, &settings->watch};
}

cel_status cel_settings_init(cel_settings *settings, const cel_conf *tree, const cel_section *more, size_t n_more) {
    *settings = (cel_settings){0};
    enum { MOST_MORE = 16 };
    cel_section sections[CEL_SETTINGS_SECTIONS + MOST_MORE] = {{"search", cel_search_opts, &settings->search}};
    if (n_more > MOST_MORE) return CEL_FAIL(CEL_INTERNAL, "%zu extra sections, at most %d", n_more, MOST_MORE);
    CEL_TRY(cel_conf_peek(tree, sections, 1));
    CEL_TRY(cel_space_find(settings->search.space, &settings->space));
    CEL_TRY(cel_method_find(settings->search.method, &settings->method));
    settings->space_conf = cel_alloc(1, settings->space->conf_size + 1);
    settings->method_conf = cel_alloc(1, settings->method->conf_size + 1);
    cel_status status = CEL_OK;
    if (!settings->space_conf || !settings->method_conf) status = CEL_FAIL(CEL_NOMEM, "out of memory: settings");
    if (status == CEL_OK) {
        cel_settings_sections(settings, sections);
        for (size_t i = 0; i < n_more; i++) sections[CEL_SETTINGS_SECTIONS + i] = more[i];
        status = cel_conf_read(tree, sections, CEL_SETTINGS_SECTIONS + n_more);
    }
    if (status == CEL_OK) status = cel_settings_check(settings, NULL);
    if (status != CEL_OK) {
        cel_settings_fini(settings);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    return CEL_OK;
}

void cel_settings_fini(cel_settings *settings) {
    cel_free(settings->space_conf);
    cel_free(settings->method_conf);
    settings->space_conf = settings->method_conf = NULL;
}

int cel_settings_epochs(const cel_settings *settings) {
    int n = 0;
    for (int s = 0; s < settings->search.n_stages; s++) n += settings->search.stages[s].epochs;
    return n;
}

int cel_settings_stage(const cel_settings *settings, int epoch, int *first) {
    int s = 0, start = 0;
    while (s + 1 < settings->search.n_stages && epoch >= start + settings->search.stages[s].epochs)
        start += settings->search.stages[s++].epochs;
    *first = start;
    return s;
}

static int most_candidates(const cel_choices *choices) {
    int most = 0;
    for (int c = 0; c < choices->n; c++)
        if (choices->choice[c].n > most) most = choices->choice[c].n;
    return most;
}

int cel_settings_ops(const cel_settings *settings, int stage) {
    int most = most_candidates(settings->space->choices()), ops = most;
    for (int s = 0; s <= stage; s++)
        if (settings->search.stages[s].ops) ops = settings->search.stages[s].ops;
    return ops < most ? ops : most;
}

cel_levels cel_settings_levels(const cel_settings *settings) {
    if (settings->search.levels == CEL_SEARCH_LEVELS_METHOD) return settings->method->levels;
    return settings->search.levels == CEL_SEARCH_SINGLE ? CEL_LEVELS_SINGLE : CEL_LEVELS_BILEVEL;
}

bool cel_settings_edge_norm(const cel_settings *settings) {
    if (settings->search.edge_norm == CEL_SEARCH_EDGES_METHOD) return settings->method->edge_norm;
    return settings->search.edge_norm == CEL_SEARCH_EDGES_ON;
}

/* Which parts go with which methods. */
static cel_status check_parts(const cel_settings *settings) {
    const cel_search_conf *search = &settings->search;
    const cel_method *method = settings->method;
    bool single = cel_settings_levels(settings) == CEL_LEVELS_SINGLE, second = search->order == CEL_SEARCH_SECOND;
    if (single && !method->gradient)
        return CEL_FAIL(CEL_CONFIG, "search.levels: single, but %s takes no gradient by the architecture: leave it out",
                        method->name);
    if (cel_settings_edge_norm(settings) && !method->gradient)
        return CEL_FAIL(CEL_CONFIG, "search.edge_norm: on, but %s takes no gradient by the architecture: leave it out",
                        method->name);
    if (second && !method->gradient)
        return CEL_FAIL(CEL_CONFIG, "search.order: second, but %s takes no gradient by the architecture: leave it out",
                        method->name);
    if (second && method->score_function)
        return CEL_FAIL(
            CEL_CONFIG,
            "search.order: second, but the gradient of %s is a score function's, not one through the weights "
            "of the operations: take first",
            method->name);
    if (second && single)
        return CEL_FAIL(
            CEL_CONFIG,
            "search.order: second looks from the weights' images at the architecture's, but search.levels is "
            "single%s: take order: first or levels: bilevel",
            search->levels == CEL_SEARCH_LEVELS_METHOD ? " (the method's own)" : "");
    if (search->xi > 0 && !second)
        return CEL_FAIL(CEL_CONFIG, "search.xi: %g, but search.order is first: take order: second or leave xi out",
                        search->xi);
    if (search->edge_lr > 0 && !cel_settings_edge_norm(settings))
        return CEL_FAIL(CEL_CONFIG,
                        "search.edge_lr: %g, but search.edge_norm is off: take edge_norm: on or leave edge_lr out",
                        search->edge_lr);
    if (settings->watch.interval && !method->gradient && !method->reward)
        return CEL_FAIL(CEL_CONFIG,
                        "watch.interval: %d, but %s learns no distribution that could collapse: leave watch out",
                        settings->watch.interval, method->name);
    return CEL_OK;
}

cel_status cel_settings_check(const cel_settings *settings, const cel_net_shape *shape) {
    const cel_search_conf *search = &settings->search;
    if (search->n_stages < 1)
        return CEL_FAIL(CEL_CONFIG, "search.stages is empty: give at least one, for example [{k: 1, epochs: 100}]");
    int before = most_candidates(settings->space->choices());
    int64_t epochs = 0;
    for (int s = 0; s < search->n_stages; s++) {
        const cel_search_stage *stage = &search->stages[s];
        if (stage->ops > before)
            return CEL_FAIL(CEL_CONFIG,
                            "search.stages.%d.ops: %d, but only %d operations are left on an edge: give 1 to %d", s,
                            stage->ops, before, before);
        if (stage->ops && stage->ops < before && !settings->method->prune)
            return CEL_FAIL(CEL_CONFIG, "search.stages.%d.ops: %s cannot prune operations: leave ops out", s,
                            settings->method->name);
        if (!s && stage->ops && stage->ops < before)
            return CEL_FAIL(CEL_CONFIG,
                            "search.stages.0.ops: %d of %d; the first stage has learnt nothing to prune by: leave ops "
                            "out, and prune in a later stage",
                            stage->ops, before);
        if (stage->ops) before = stage->ops;
        if (s && stage->k > search->stages[s - 1].k)
            return CEL_FAIL(CEL_CONFIG, "search.stages.%d.k: %d after %d; from stage to stage k may only fall", s,
                            stage->k, search->stages[s - 1].k);
        if (stage->warmup > stage->epochs)
            return CEL_FAIL(CEL_CONFIG, "search.stages.%d.warmup: %d of only %d epochs", s, stage->warmup,
                            stage->epochs);
        cel_status status = settings->space->check(settings->space_conf, shape, stage->k);
        if (status != CEL_OK) return cel_status_prefix(status, "search.stages.%d", s);
        epochs += stage->epochs;
    }
    CEL_TRY(check_parts(settings));
    if (epochs > 100000)
        return CEL_FAIL(CEL_CONFIG, "search.stages: %lld epochs in all, at most 100000", (long long)epochs);
    CEL_TRY(cel_select_check(&settings->select, settings->space->choices(),
                             cel_settings_ops(settings, search->n_stages - 1)));
    if (search->precision == CEL_PRECISION_BF16 && !search->fused)
        return CEL_FAIL(CEL_CONFIG, "search.precision: bf16 goes with search.fused: true only");
    if (settings->train.lr_min > settings->train.lr)
        return CEL_FAIL(CEL_CONFIG, "train.lr_min: %g is more than train.lr, %g", settings->train.lr_min,
                        settings->train.lr);
    if (settings->data.limit && settings->data.limit_per_class)
        return CEL_FAIL(CEL_CONFIG, "data.limit and data.limit_per_class: give only one of them");
    return CEL_OK;
}
