/* What the searches of a comparison came to: read back, looked up, summed up, tested.
 *
 * A deviation here is over searches: each cell counts with its accuracy in the table, which is a mean over the table's
 * own trainings. A test pairs the searches of equal seed, which had the same images in the same split. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "lab/compare.h"
#include "math/paired_test.h"
#include "math/rank_stats.h"

static cel_outcome *outcome_at(const cel_result *r, int method, int dataset, int seed) {
    const cel_compare_conf *conf = &r->c->conf;
    return &r->outcome[(method * conf->n_datasets + dataset) * conf->seeds + seed];
}

const cel_outcome *cel_outcome_of(const cel_result *r, int method, int dataset, int seed) {
    return outcome_at(r, method, dataset, seed);
}

/* ---- the searches ---- */

static cel_status look_up(cel_result *r, int dataset, cel_outcome *o) {
    cel_nb201_net net;
    cel_arch_cost cost;
    char text[CEL_GENOTYPE_TEXT];
    CEL_TRY(cel_table_find(r->table, &o->genotype, &o->row));
    CEL_TRY(cel_nb201_net_find(cel_history_dataset[r->c->worth[dataset]], &net));
    CEL_TRY(cel_nb201_cost(&o->genotype, &net, &cost));
    for (int d = 0; d < CEL_HISTORY_DATASETS; d++) o->test[d] = cel_table_value(r->table, r->test_metric[d], o->row);
    o->params = (double)cost.params;
    o->flops = (double)cost.flops;
    cel_genotype_format(&o->genotype, text);
    o->text = cel_arena_strdup(&r->arena, text);
    o->found = o->text != NULL;
    return o->text ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory");
}

static void note_machine(cel_result *r, const cel_manifest *m) {
    int threads = (int)m->threads;
    if (!r->cpu) {
        r->cpu = m->cpu;
        r->version = m->version;
        r->isa = m->isa;
        r->threads = threads;
    } else if (r->threads != threads) {
        r->threads = 0;
    }
}

static cel_status read_run(cel_result *r, const char *dir, const cel_compare_end *end) {
    cel_outcome *o = outcome_at(r, end->method, end->dataset, end->seed);
    cel_history *history = cel_arena_alloc(&r->arena, 1, sizeof *history);
    char *run = cel_compare_run_dir(r->c, dir, end->method, end->dataset, r->c->conf.first_seed + end->seed);
    o->ended = true;
    o->seconds = end->seconds;
    cel_status status = history && run ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory");
    if (end->failure) {
        r->n_failed++;
        o->failure = cel_arena_strdup(&r->arena, end->failure);
        if (status == CEL_OK && !o->failure) status = CEL_FAIL(CEL_NOMEM, "out of memory");
        /* One that fails in its first epoch leaves no history. */
        if (status == CEL_OK && cel_history_read(run, history) == CEL_OK) o->history = history;
        cel_free(run);
        return status;
    }
    if (status == CEL_OK) status = cel_history_read(run, history);
    if (status == CEL_OK) {
        o->history = history;
        note_machine(r, &history->manifest);
        status = cel_genotype_parse(end->genotype, &o->genotype);
        if (status != CEL_OK) cel_status_prefix(status, "%s/results.jsonl: genotype", dir);
    }
    if (status == CEL_OK) status = look_up(r, end->dataset, o);
    cel_free(run);
    return status;
}

static cel_status read_runs(cel_result *r, const char *dir) {
    cel_compare_end *ends;
    int n;
    CEL_TRY(cel_compare_ends_read(r->c, dir, &r->arena, &ends, &n));
    for (int i = 0; i < n; i++) CEL_TRY(read_run(r, dir, &ends[i]));
    r->n_ended = n;
    return CEL_OK;
}

static cel_status run_searcher(cel_result *r, int method, int dataset, int seed) {
    cel_outcome *o = outcome_at(r, method, dataset, seed);
    cel_searcher_found *found = cel_arena_alloc(&r->arena, 1, sizeof *found);
    if (!found) return CEL_FAIL(CEL_NOMEM, "out of memory");
    double start = cel_clock_s();
    CEL_TRY(cel_compare_searcher(r->c, method, dataset, r->c->conf.first_seed + seed, r->table, found));
    o->queries = found;
    o->seconds = cel_clock_s() - start;
    o->ended = true;
    r->n_ended++;
    cel_table_genotype(r->table, found->best, &o->genotype);
    return look_up(r, dataset, o);
}

static cel_status run_searchers(cel_result *r) {
    const cel_compare_conf *conf = &r->c->conf;
    for (int m = 0; m < conf->n_methods; m++)
        for (int d = 0; d < conf->n_datasets && *conf->methods[m].searcher; d++)
            for (int s = 0; s < conf->seeds; s++) CEL_TRY(run_searcher(r, m, d, s));
    return CEL_OK;
}

/* ---- numbers over the seeds ---- */

static bool pair_of(const cel_result *r, int m, int d, int s, double *own, double *other) {
    const cel_outcome *a = cel_outcome_of(r, m, d, s), *b = cel_outcome_of(r, r->c->reference, d, s);
    *own = a->test[r->c->worth[d]];
    *other = b->test[r->c->worth[d]];
    return a->found && b->found;
}

/* `room` holds three numbers a seed. */
static cel_status test_method(const cel_result *r, int m, int d, double *room, cel_summary *out) {
    double *own = room, *other = room + r->c->conf.seeds, t;
    cel_signed_rank rank;
    out->difference = out->t_p = out->rank_p = NAN;
    if (m == r->c->reference) return CEL_OK;
    for (int s = 0; s < r->c->conf.seeds; s++) out->pairs += pair_of(r, m, d, s, &own[out->pairs], &other[out->pairs]);
    size_t n = (size_t)out->pairs;
    if (n) out->difference = cel_stats_mean(own, n) - cel_stats_mean(other, n);
    if (n < CEL_COMPARE_PAIRS) return CEL_OK;
    CEL_TRY(cel_paired_t(own, other, n, &t, &out->t_p));
    CEL_TRY(cel_signed_rank_test(own, other, n, &rank));
    out->rank_p = rank.p;
    return CEL_OK;
}

static bool seen_before(const cel_result *r, int m, int d, int seed) {
    const cel_outcome *o = cel_outcome_of(r, m, d, seed);
    for (int s = 0; s < seed; s++) {
        const cel_outcome *before = cel_outcome_of(r, m, d, s);
        if (before->found && before->row == o->row) return true;
    }
    return false;
}

/* Adds up one method's searches; `value` holds a number a seed. */
static void sum_up(const cel_result *r, int m, int d, double *value, cel_summary *out) {
    int worth = r->c->worth[d], metric = r->test_metric[worth];
    double optimum = cel_table_value(r->table, metric, cel_table_best(r->table, metric));
    double params = 0, flops = 0, seconds = 0;
    out->best = -INFINITY;
    out->worst = INFINITY;
    for (int s = 0; s < r->c->conf.seeds; s++) {
        const cel_outcome *o = cel_outcome_of(r, m, d, s);
        out->n += o->found;
        out->n_failed += o->failure != NULL;
        out->n_missing += !o->ended;
        if (!o->found) continue;
        out->cells += !seen_before(r, m, d, s);
        out->best = fmax(out->best, o->test[worth]);
        out->worst = fmin(out->worst, o->test[worth]);
        params += o->params;
        flops += o->flops;
        seconds += o->seconds;
    }
    size_t n = (size_t)out->n;
    for (int k = 0; k < CEL_HISTORY_DATASETS; k++) {
        int at = 0;
        for (int s = 0; s < r->c->conf.seeds; s++) {
            const cel_outcome *o = cel_outcome_of(r, m, d, s);
            if (o->found) value[at++] = o->test[k];
        }
        out->mean[k] = n ? cel_stats_mean(value, n) : NAN;
        out->deviation[k] = n > 1 ? cel_stats_deviation(value, n) : NAN;
        /* One cell, found again and again, has no spread to judge the mean by: no interval, rather than none of width. */
        out->interval[k] = out->cells > 1 ? cel_mean_interval(value, n, 1 - r->c->conf.level) : NAN;
    }
    if (!n) out->best = out->worst = NAN;
    out->regret = n ? optimum - out->mean[worth] : NAN;
    out->params = n ? params / (double)n : NAN;
    out->flops = n ? flops / (double)n : NAN;
    out->seconds = n ? seconds / (double)n : NAN;
}

/* Mean ranks over the seeds that every method has found a cell with. */
static cel_status rank_methods(cel_result *r, int d) {
    const cel_compare_conf *conf = &r->c->conf;
    size_t k = (size_t)conf->n_methods, blocks = 0;
    double *values, average[CEL_COMPARE_METHODS];
    CEL_ALLOC(values, k * (size_t)conf->seeds + 1);
    for (int s = 0; s < conf->seeds; s++) {
        bool all = true;
        for (int m = 0; m < conf->n_methods; m++) {
            const cel_outcome *o = cel_outcome_of(r, m, d, s);
            all = all && o->found;
            values[blocks * k + (size_t)m] = o->test[r->c->worth[d]];
        }
        blocks += all;
    }
    cel_status status = blocks ? cel_average_ranks(values, blocks, k, average) : CEL_OK;
    for (size_t m = 0; m < k; m++) r->summary[m][d].rank = blocks ? average[m] : NAN;
    r->rank_blocks[d] = (int)blocks;
    r->critical[d] = blocks >= CEL_COMPARE_PAIRS && k > 1 ? cel_critical_difference(k, blocks, conf->level) : NAN;
    cel_free(values);
    return status;
}

/* Holm's correction over every test of a kind in the comparison. */
static cel_status correct(cel_result *r) {
    enum { MOST = CEL_COMPARE_METHODS * CEL_COMPARE_DATASETS };
    double t[MOST], rank[MOST];
    const cel_compare_conf *conf = &r->c->conf;
    size_t n = 0;
    for (int m = 0; m < conf->n_methods; m++)
        for (int d = 0; d < conf->n_datasets; d++) {
            t[n] = r->summary[m][d].t_p;
            rank[n++] = r->summary[m][d].rank_p;
        }
    CEL_TRY(cel_holm(t, n, t));
    CEL_TRY(cel_holm(rank, n, rank));
    n = 0;
    for (int m = 0; m < conf->n_methods; m++)
        for (int d = 0; d < conf->n_datasets; d++) {
            r->summary[m][d].t_holm = t[n];
            r->summary[m][d].rank_holm = rank[n++];
        }
    return CEL_OK;
}

static cel_status sum_up_all(cel_result *r) {
    const cel_compare_conf *conf = &r->c->conf;
    double *room;
    cel_status status = CEL_OK;
    CEL_ALLOC(room, 3 * (size_t)conf->seeds);
    for (int d = 0; d < conf->n_datasets && status == CEL_OK; d++) {
        for (int m = 0; m < conf->n_methods && status == CEL_OK; m++) {
            sum_up(r, m, d, room, &r->summary[m][d]);
            status = test_method(r, m, d, room, &r->summary[m][d]);
        }
        if (status == CEL_OK) status = rank_methods(r, d);
    }
    cel_free(room);
    CEL_TRY(status);
    return correct(r);
}

/* ---- baselines ---- */

static void baseline_row(const cel_result *r, int params_metric, int row, cel_baseline *out) {
    for (int k = 0; k < CEL_HISTORY_DATASETS; k++) out->test[k] = cel_table_value(r->table, r->test_metric[k], row);
    out->params = cel_table_value(r->table, params_metric, row);
}

static cel_status find_baselines(cel_result *r, int d) {
    static const uint8_t skips[CEL_NB201_EDGES] = {CEL_NB201_SKIP, CEL_NB201_SKIP, CEL_NB201_SKIP,
                                                   CEL_NB201_SKIP, CEL_NB201_SKIP, CEL_NB201_SKIP};
    const char *worth = cel_history_dataset[r->c->worth[d]];
    cel_baseline *b = r->baseline[d];
    cel_genotype all_skip;
    char name[64];
    int params, row, most = 0;
    snprintf(name, sizeof name, "params_%s", worth);
    CEL_TRY(cel_table_find_metric(r->table, name, &params));
    CEL_TRY(cel_nb201_from_ops(skips, &all_skip));
    CEL_TRY(cel_table_find(r->table, &all_skip, &row));
    b[CEL_BASELINE_SKIP].label = "all skip connections";
    baseline_row(r, params, row, &b[CEL_BASELINE_SKIP]);
    b[CEL_BASELINE_OPTIMUM].label = "optimum";
    baseline_row(r, params, cel_table_best(r->table, r->test_metric[r->c->worth[d]]), &b[CEL_BASELINE_OPTIMUM]);
    for (int i = 1; i < cel_table_count(r->table); i++)
        if (cel_table_value(r->table, params, i) > cel_table_value(r->table, params, most)) most = i;
    b[CEL_BASELINE_PARAMS].label = "most parameters";
    baseline_row(r, params, most, &b[CEL_BASELINE_PARAMS]);
    b[CEL_BASELINE_RANDOM].label = "mean of all cells";
    for (int k = 0; k < CEL_HISTORY_DATASETS; k++)
        b[CEL_BASELINE_RANDOM].test[k] = cel_table_mean(r->table, r->test_metric[k]);
    b[CEL_BASELINE_RANDOM].params = cel_table_mean(r->table, params);
    return CEL_OK;
}

/* ---- the whole ---- */

static cel_status read_all(cel_result *r, const char *dir) {
    const cel_compare_conf *conf = &r->c->conf;
    CEL_TRY(cel_compare_check_dir(r->c, dir));
    CEL_TRY(cel_table_open(NULL, &r->table));
    for (int k = 0; k < CEL_HISTORY_DATASETS; k++)
        CEL_TRY(cel_table_find_accuracy(r->table, cel_history_dataset[k], "test", 200, &r->test_metric[k]));
    size_t n = (size_t)conf->n_methods * (size_t)conf->n_datasets * (size_t)conf->seeds;
    r->outcome = cel_arena_alloc(&r->arena, n, sizeof *r->outcome);
    if (!r->outcome) return CEL_FAIL(CEL_NOMEM, "out of memory: %zu searches", n);
    CEL_TRY(read_runs(r, dir));
    CEL_TRY(run_searchers(r));
    CEL_TRY(sum_up_all(r));
    for (int d = 0; d < conf->n_datasets; d++) CEL_TRY(find_baselines(r, d));
    return CEL_OK;
}

cel_status cel_result_read(const cel_comparison *c, const char *dir, cel_result *out) {
    *out = (cel_result){.c = c};
    cel_status status = read_all(out, dir);
    if (status == CEL_OK) return CEL_OK;
    cel_result_fini(out);
    return cel_status_pass(status, __FILE__, __LINE__);
}

void cel_result_fini(cel_result *r) {
    const cel_compare_conf *conf = &r->c->conf;
    int n = r->outcome ? conf->n_methods * conf->n_datasets * conf->seeds : 0;
    for (int i = 0; i < n; i++) {
        if (r->outcome[i].history) cel_history_fini(r->outcome[i].history);
        if (r->outcome[i].queries) cel_searcher_found_fini(r->outcome[i].queries);
    }
    cel_table_close(r->table);
    cel_arena_fini(&r->arena);
}
