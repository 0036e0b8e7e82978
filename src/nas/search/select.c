/* Selection of drawn cells; see select.h. */
#include "nas/search/select.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "nas/eval/scorer.h"
#include "nas/space/space.h"

static const char *const combine_names[] = {"rank_sum", "vote", NULL};

const cel_opt cel_select_opts[] = {
    CEL_TEXT(cel_select_conf, by, "mean",
             "what picks the cell: mean (the genotype of the distribution's mean); or, among cells drawn from the "
             "distribution, one_shot (accuracy with the supernet's weights) or proxies with commas between "
             "(`cellar list proxies`)"),
    CEL_INT(cel_select_conf, samples, 100, 1, 100000, "cells to draw; those drawn twice count once"),
    CEL_ENUM(cel_select_conf, combine, CEL_SELECT_RANK_SUM, combine_names,
             "several proxies: add up the ranks, or let each pair of cells be decided by the majority"),
    CEL_INT(cel_select_conf, batch, 64, 2, 65536, "images that a proxy looks at"),
    CEL_INT(cel_select_conf, batches, 1, 1, 1000000, "one_shot: validation batches of a cell, each of its own"),
    CEL_INT(cel_select_conf, finalists, 0, 0, 100000,
            "one_shot: so many of the best are measured again, on all validation images; 0: none"),
    CEL_LONG(cel_select_conf, seed, -1, -1, INT64_MAX, "seed of the draws and of the proxies; -1: the search's"),
    CEL_OPTS_END};

static double count_cells(const cel_choices *choices, int keep) {
    double n = 1;
    for (int c = 0; c < choices->n; c++) n *= choices->choice[c].n < keep ? choices->choice[c].n : keep;
    return n;
}

cel_status cel_select_check(const cel_select_conf *conf, const cel_choices *choices, int keep) {
    if (conf->finalists && !cel_select_is(conf, "one_shot"))
        return CEL_FAIL(CEL_CONFIG,
                        "select.finalists: %d, but only what select.by: one_shot picks is measured again, and it is "
                        "\"%.80s\": leave finalists out",
                        conf->finalists, conf->by);
    if (cel_select_is(conf, "mean")) return CEL_OK;
    double n = count_cells(choices, keep);
    if (conf->samples > n)
        return CEL_FAIL(CEL_CONFIG,
                        "select.samples: %d, but the space has only %.0f cells in the end: take at most that",
                        conf->samples, n);
    if (cel_select_is(conf, "one_shot")) return CEL_OK;
    cel_status status = cel_scorer_check(conf->by, NULL);
    if (status != CEL_OK) return cel_status_prefix(status, "select.by: expected mean, one_shot or proxies");
    return CEL_OK;
}

void cel_selection_fini(cel_selection *selection) {
    cel_free(selection->candidate);
    *selection = (cel_selection){0};
}

cel_status cel_select_draw(const cel_select_conf *conf, const cel_policy *policy, const cel_space *space, uint64_t seed,
                           cel_selection *out) {
    double *weights;
    *out = (cel_selection){.samples = conf->samples};
    cel_rng rng = cel_rng_at(conf->seed >= 0 ? (uint64_t)conf->seed : seed, "select.draw", 0, 0);
    CEL_ALLOC(out->candidate, (size_t)conf->samples);
    cel_status status = CEL_OK;
    weights = cel_alloc((size_t)policy->choices->n_entries, sizeof *weights);
    if (!weights) status = CEL_FAIL(CEL_NOMEM, "out of memory: a drawn cell");
    for (int i = 0; i < conf->samples && status == CEL_OK; i++) {
        cel_genotype g;
        int at = 0;
        policy->method->draw(policy, &rng, weights);
        status = cel_space_derive(space, weights, policy->live, &g);
        if (status != CEL_OK) break;
        while (at < out->n && !cel_genotype_equal(&out->candidate[at].genotype, &g)) at++;
        if (at == out->n) out->candidate[out->n++].genotype = g;
        out->candidate[at].times++;
    }
    cel_free(weights);
    if (status != CEL_OK) cel_selection_fini(out);
    return status == CEL_OK ? CEL_OK : cel_status_pass(status, __FILE__, __LINE__);
}

static cel_status new_part(cel_selection *s, const char *name, bool higher, int *part) {
    if (s->n_parts == CEL_SELECT_PARTS) return CEL_FAIL(CEL_CONFIG, "select.by: more than %d scores", CEL_SELECT_PARTS);
    *part = s->n_parts++;
    s->part[*part] = name;
    s->higher_is_better[*part] = higher;
    return CEL_OK;
}

cel_status cel_select_score(cel_selection *s, const char *name, int n, cel_select_score_fn *fn, void *ctx) {
    cel_genotype *cells;
    double start = cel_clock_s(), *scores;
    int part;
    if (n < 0 || n > s->n) n = s->n;
    CEL_TRY(new_part(s, name, true, &part));
    CEL_ALLOC(cells, (size_t)s->n);
    scores = cel_alloc((size_t)s->n, sizeof *scores);
    for (int i = 0; i < s->n; i++) cells[i] = s->candidate[i].genotype;
    cel_status status = scores ? fn(ctx, cells, n, scores) : CEL_FAIL(CEL_NOMEM, "out of memory: %d scores", n);
    for (int i = 0; i < s->n && status == CEL_OK; i++) s->candidate[i].part[part] = i < n ? scores[i] : NAN;
    cel_free(cells);
    cel_free(scores);
    s->seconds += cel_clock_s() - start;
    return status;
}

typedef struct {
    bool (*stop)(void *ctx);
    void *ctx;
} asked;

static bool on_progress(void *ctx, int done, int n) {
    const asked *a = ctx;
    (void)done, (void)n;
    return a->stop && a->stop(a->ctx);
}

static cel_status run_scorer(cel_scorer *scorer, cel_selection *s, asked *ask) {
    int columns = cel_scorer_columns(scorer), part;
    cel_genotype *cells;
    CEL_ALLOC(cells, (size_t)s->n);
    double *values = cel_alloc((size_t)s->n * (size_t)columns, sizeof *values);
    for (int i = 0; i < s->n; i++) cells[i] = s->candidate[i].genotype;
    cel_status status = values ? cel_scorer_run(scorer, cells, s->n, values, on_progress, ask)
                               : CEL_FAIL(CEL_NOMEM, "out of memory: %d scores", s->n);
    for (int c = 0; c < cel_scorer_asked(scorer) && status == CEL_OK; c++) {
        cel_proxy_info proxy = cel_scorer_column(scorer, c);
        status = new_part(s, proxy.name, proxy.higher_is_better, &part);
        for (int i = 0; i < s->n && status == CEL_OK; i++) s->candidate[i].part[part] = values[i * columns + c];
    }
    cel_free(cells);
    cel_free(values);
    return status;
}

cel_status cel_select_proxies(const cel_select_conf *conf, const cel_select_net *net, bool (*stop)(void *ctx),
                              void *ctx, cel_selection *selection) {
    cel_score_conf score;
    cel_scorer *scorer;
    double start = cel_clock_s();
    cel_opt_defaults(cel_score_opts, &score);
    score.space = net->space->name;
    score.backend = net->backend;
    score.batch = conf->batch;
    score.seed = (int64_t)(conf->seed >= 0 ? (uint64_t)conf->seed : net->seed);
    const cel_scorer_view view = {net->space, net->space_conf, net->data, net->index, net->n_index, net->threads};
    CEL_TRY(cel_scorer_open(&score, conf->by, &view, &scorer));
    cel_status status = run_scorer(scorer, selection, &(asked){stop, ctx});
    cel_scorer_destroy(scorer);
    selection->seconds += cel_clock_s() - start;
    return status;
}

/* ---- ranking ---- */

typedef struct {
    cel_candidate candidate;
    int drawn;
} place;

static int by_score(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->candidate.score != y->candidate.score) return x->candidate.score < y->candidate.score ? 1 : -1;
    return x->drawn - y->drawn;
}

/* One part decides alone, NaN as the worst; several are combined. */
static cel_status decide(const cel_select_conf *conf, cel_selection *s) {
    int n = s->n, parts = cel_select_is(conf, "one_shot") ? 1 : s->n_parts, first = s->n_parts - parts;
    const double *of[CEL_SELECT_PARTS];
    double *values;
    CEL_ALLOC(values, (size_t)n * (CEL_SELECT_PARTS + 1));
    for (int k = 0; k < parts; k++) {
        double *x = values + (size_t)(k + 1) * (size_t)n, sign = s->higher_is_better[first + k] ? 1 : -1;
        for (int i = 0; i < n; i++) x[i] = sign * s->candidate[i].part[first + k];
        of[k] = x;
    }
    cel_status status = CEL_OK;
    if (parts > 1)
        status = (conf->combine == CEL_SELECT_VOTE ? cel_proxy_majority : cel_proxy_rank_sum)(of, parts, n, values);
    else
        for (int i = 0; i < n; i++) values[i] = isnan(of[0][i]) ? -HUGE_VAL : of[0][i];
    for (int i = 0; i < n; i++) s->candidate[i].score = values[i];
    cel_free(values);
    return status;
}

cel_status cel_select_rank(const cel_select_conf *conf, cel_selection *s) {
    place *places;
    CEL_TRY(decide(conf, s));
    CEL_ALLOC(places, (size_t)s->n);
    for (int i = 0; i < s->n; i++) places[i] = (place){s->candidate[i], i};
    qsort(places, (size_t)s->n, sizeof *places, by_score);
    for (int i = 0; i < s->n; i++) {
        bool equal = i && places[i].candidate.score == places[i - 1].candidate.score;
        s->candidate[i] = places[i].candidate;
        s->candidate[i].rank = equal ? s->candidate[i - 1].rank : i + 1;
    }
    cel_free(places);
    return CEL_OK;
}
