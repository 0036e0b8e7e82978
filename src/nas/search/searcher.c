/* The driver of the searchers: proposals, the counting oracle, and the end of stubbornness.
 *
 * A searcher that proposes PATIENCE architectures in a row whose answers it knows is given one that it does not know,
 * drawn uniformly; so every run spends its whole budget, and a budget of the whole space sees the whole space. (The
 * benchmark's own scripts count a repeated question as a new training; here it is free, as it is for anybody who writes
 * answers down.) */
#include "nas/search/searcher.h"

#include <string.h>

#include "base/conf/conf.h"
#include "cellar/text.h"

enum { PATIENCE = 100 };

static const cel_searcher *const searchers[] = {
#define CEL_SEARCHER(name) &cel_searcher_##name,
#include "nas/search/searchers.def"
#undef CEL_SEARCHER
};

int cel_searcher_count(void) { return (int)CEL_COUNT(searchers); }

cel_searcher_info cel_searcher_get(int i) {
    const cel_searcher *s = searchers[i];
    return (cel_searcher_info){s->name, s->title, s->paper};
}

static cel_status find(const char *name, const cel_searcher **out) {
    const char *names[CEL_COUNT(searchers)];
    for (size_t i = 0; i < CEL_COUNT(searchers); i++) {
        names[i] = searchers[i]->name;
        *out = searchers[i];
        if (!strcmp(name, names[i])) return CEL_OK;
    }
    const char *near = cel_text_nearest(name, names, CEL_COUNT(names));
    return CEL_FAIL(CEL_CONFIG, "searcher: there is no \"%.60s\"%s%s%s; `cellar list searchers` shows all", name,
                    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static cel_section section_of(const cel_searcher *searcher, void *conf) {
    static const cel_opt none[] = {CEL_OPTS_END};
    return (cel_section){"", searcher->opts ? searcher->opts : none, conf};
}

cel_status cel_searcher_settings(const char *name, char **out) {
    const cel_searcher *searcher;
    CEL_TRY(find(name, &searcher));
    void *conf = cel_alloc(1, searcher->conf_size + 1);
    if (!conf) return CEL_FAIL(CEL_NOMEM, "out of memory: settings");
    cel_section section = section_of(searcher, conf);
    cel_opt_defaults(section.opts, conf);
    cel_status status = cel_conf_dump(&section, 1, CEL_CONF_YAML_HELP, out);
    cel_free(conf);
    return status;
}

/* ---- a run ---- */

typedef struct drive {
    const cel_searcher *searcher;
    cel_seeker seeker;
    const cel_table *table;
    int metric, budget;
    int n_rows;
    uint8_t *seen;   /* by row */
    int32_t *unseen; /* a random order of all rows; those before `at_unseen` are seen */
    int at_unseen;
    cel_searcher_found *out;
} drive;

void cel_seeker_draw(cel_seeker *s, uint8_t *ops) {
    for (int e = 0; e < s->n_edges; e++) ops[e] = (uint8_t)cel_rng_below(&s->rng, (uint32_t)s->n_ops);
}

static cel_status row_of(const drive *d, const uint8_t *ops, int *row) {
    cel_genotype g;
    CEL_TRY(cel_nb201_from_ops(ops, &g));
    return cel_table_find(d->table, &g, row);
}

/* The next row of the random order that was not asked for. There is one while the budget is not spent. */
static int draw_unseen(drive *d, uint8_t *ops) {
    while (d->seen[d->unseen[d->at_unseen]]) d->at_unseen++;
    int row = d->unseen[d->at_unseen];
    cel_genotype g;
    cel_table_genotype(d->table, row, &g);
    for (int e = 0; e < g.n; e++) ops[e] = g.edge[e].op;
    return row;
}

static void record(drive *d, int row, double valid) {
    cel_searcher_found *out = d->out;
    d->seen[row] = 1;
    if (!out->n_queries || valid > cel_table_value(d->table, d->metric, out->best)) out->best = row;
    out->row[out->n_queries] = row;
    out->valid[out->n_queries++] = valid;
}

static cel_status drive_on(drive *d) {
    uint8_t ops[CEL_SEEKER_EDGES];
    int row, known = 0;
    while (d->out->n_queries < d->budget) {
        d->searcher->propose(&d->seeker, ops);
        CEL_TRY(row_of(d, ops, &row));
        if (d->seen[row] && ++known > PATIENCE) row = draw_unseen(d, ops);
        double valid = cel_table_value(d->table, d->metric, row);
        if (d->seen[row]) {
            d->out->n_repeats++;
        } else {
            known = 0;
            record(d, row, valid);
        }
        if (d->searcher->observe) d->searcher->observe(&d->seeker, ops, valid);
    }
    return CEL_OK;
}

static cel_status read_settings(const cel_searcher_run *run, const cel_searcher *searcher, void *settings,
                                cel_conf **tree) {
    cel_section section = section_of(searcher, settings);
    CEL_TRY(cel_conf_parse(searcher->name, "{}", 2, tree));
    for (int i = 0; i < run->n_set; i++) CEL_TRY(cel_conf_set(*tree, run->set[i]));
    return cel_conf_read(*tree, &section, 1);
}

static cel_status prepare(drive *d, const cel_searcher_run *run) {
    /* The benchmark's networks of CIFAR-10 that leave the validation images out have a name of their own. */
    bool cifar10 = !strcmp(run->dataset, "cifar10");
    CEL_TRY(cel_table_find_accuracy(d->table, cifar10 ? "cifar10-valid" : run->dataset, "valid", 12, &d->metric));
    d->n_rows = cel_table_count(d->table);
    if (run->budget < 1 || run->budget > d->n_rows)
        return CEL_FAIL(CEL_CONFIG,
                        "searcher %s: a budget of %d queries; expected 1 to %d, the architectures there are",
                        d->searcher->name, run->budget, d->n_rows);
    const cel_topology *topology = cel_topology_get(CEL_ARCH_NB201);
    d->seeker.n_edges = topology->n_edges;
    d->seeker.n_ops = topology->n_ops;
    d->seeker.rng = cel_rng_at(run->seed, d->searcher->name, 0, 0);
    d->budget = run->budget;
    d->out->metric = d->metric;
    CEL_ALLOC(d->seen, (size_t)d->n_rows);
    CEL_ALLOC(d->unseen, (size_t)d->n_rows);
    CEL_ALLOC(d->out->row, (size_t)run->budget);
    CEL_ALLOC(d->out->valid, (size_t)run->budget);
    for (int i = 0; i < d->n_rows; i++) d->unseen[i] = i;
    cel_rng order = cel_rng_at(run->seed, "searcher.unseen", 0, 0);
    cel_rng_shuffle(&order, d->unseen, (size_t)d->n_rows);
    return d->searcher->init ? d->searcher->init(&d->seeker) : CEL_OK;
}

cel_status cel_searcher_search(const cel_table *table, const cel_searcher_run *run, cel_searcher_found *out) {
    drive d = {.table = table, .out = out};
    cel_conf *tree = NULL;
    *out = (cel_searcher_found){0};
    CEL_TRY(find(run->searcher, &d.searcher));
    void *conf = cel_alloc(1, d.searcher->conf_size + 1);
    d.seeker.conf = conf;
    d.seeker.state = cel_alloc(1, d.searcher->state_size + 1);
    cel_status status = conf && d.seeker.state ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory: a searcher");
    if (status == CEL_OK) status = read_settings(run, d.searcher, conf, &tree);
    if (status == CEL_OK) status = prepare(&d, run);
    if (status == CEL_OK) status = drive_on(&d);
    cel_conf_destroy(tree);
    cel_arena_fini(&d.seeker.arena);
    cel_free(d.seeker.state);
    cel_free(conf);
    cel_free(d.seen);
    cel_free(d.unseen);
    if (status == CEL_OK) return CEL_OK;
    cel_searcher_found_fini(out);
    return cel_status_pass(status, __FILE__, __LINE__);
}

void cel_searcher_found_fini(cel_searcher_found *found) {
    cel_free(found->row);
    cel_free(found->valid);
    *found = (cel_searcher_found){0};
}
