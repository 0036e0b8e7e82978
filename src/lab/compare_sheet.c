/* The tables of a comparison, as texts: which numbers stand where, and what must be said about them. */
#include <math.h>
#include <string.h>

#include "lab/compare.h"
#include "lab/report/page.h"
#include "math/paired_test.h"

const char *cel_compare_dataset_label(cel_page *page, const cel_result *r, int d) {
    const char *label = cel_history_dataset_label[r->c->worth[d]], *name = r->c->conf.datasets[d].name;
    return strcmp(name, cel_history_dataset[r->c->worth[d]]) ? cel_page_text(page, "%s (%s)", label, name) : label;
}

static cel_sheet make_sheet(cel_page *page, const char *title, const char *const *head, int n_cols, int n_rows,
                            int n_texts) {
    cel_sheet s = {.title = title, .n_cols = n_cols, .n_rows = n_rows, .n_texts = n_texts};
    size_t n = (size_t)(n_rows + 1) * (size_t)n_cols;
    s.cell = cel_arena_alloc(&page->arena, n, sizeof *s.cell);
    if (!s.cell) {
        page->failed = true;
        s.n_rows = s.n_cols = 0;
        return s;
    }
    for (size_t i = 0; i < n; i++) s.cell[i] = "–";
    for (int i = 0; i < n_cols; i++) s.cell[i] = head[i];
    return s;
}

static const char **row_of(const cel_sheet *s, int row) { return s->cell + (row + 1) * s->n_cols; }

static const char *number(cel_page *page, double v, int digits) { return cel_page_real(page, v, digits); }

static const char *spread(cel_page *page, double mean, double deviation) {
    if (isnan(mean)) return "–";
    if (isnan(deviation)) return number(page, mean, 2);
    return cel_page_text(page, "%s ± %s", number(page, mean, 2), number(page, deviation, 2));
}

/* "3", "2 of 3", "2 of 3, 1 failed": searches that found a cell. */
static const char *searches(cel_page *page, const cel_result *r, const cel_summary *s) {
    int all = r->c->conf.seeds;
    if (s->n == all) return cel_page_text(page, "%d", all);
    if (s->n_failed) return cel_page_text(page, "%d of %d, %d failed", s->n, all, s->n_failed);
    return cel_page_text(page, "%d of %d", s->n, all);
}

static const char *published(cel_page *page, const cel_result *r, int m, int d) {
    const cel_recipe_expect *e = &r->c->plan[m][d].expect;
    if (!(e->test > 0) || strcmp(e->dataset, cel_history_dataset[r->c->worth[d]])) return "–";
    return spread(page, e->test, e->std > 0 ? e->std : NAN);
}

/* The mean of the found cells' validation accuracy after the long schedule, which only an imported table may have. */
static const char *validation(cel_page *page, const cel_result *r, int m, int d) {
    int metric, n = 0;
    double sum = 0;
    const char *worth = cel_history_dataset[r->c->worth[d]];
    const char *name = !strcmp(worth, "cifar10") ? "cifar10-valid" : worth;
    if (cel_table_find_accuracy(r->table, name, "valid", 200, &metric) != CEL_OK) return "not in table";
    for (int s = 0; s < r->c->conf.seeds; s++) {
        const cel_outcome *o = cel_outcome_of(r, m, d, s);
        if (!o->found) continue;
        sum += cel_table_value(r->table, metric, o->row);
        n++;
    }
    return n ? number(page, sum / n, 2) : "–";
}

static cel_sheet accuracy_sheet(cel_page *page, const cel_result *r, int d) {
    const cel_compare_conf *conf = &r->c->conf;
    const char *const head[] = {"method",
                                "searches",
                                cel_history_dataset_label[0],
                                cel_history_dataset_label[1],
                                cel_history_dataset_label[2],
                                "validation",
                                "params",
                                "published"};
    cel_sheet sheet = make_sheet(page,
                                 cel_page_text(page,
                                               "Search on %s: test accuracy of the found cells after 200 epochs of "
                                               "training, %%, mean ± standard deviation over searches",
                                               cel_compare_dataset_label(page, r, d)),
                                 head, 8, conf->n_methods + CEL_BASELINES, 1);
    if (!sheet.n_rows) return sheet;
    sheet.rule = conf->n_methods;
    for (int m = 0; m < conf->n_methods; m++) {
        const cel_summary *s = &r->summary[m][d];
        const char **cell = row_of(&sheet, m);
        cell[0] = cel_compare_label(r->c, m);
        cell[1] = searches(page, r, s);
        for (int k = 0; k < CEL_HISTORY_DATASETS; k++) cell[2 + k] = spread(page, s->mean[k], s->deviation[k]);
        cell[5] = validation(page, r, m, d);
        cell[6] = isnan(s->params) ? "–" : cel_page_amount(page, s->params);
        cell[7] = published(page, r, m, d);
    }
    for (int b = 0; b < CEL_BASELINES; b++) {
        const char **cell = row_of(&sheet, conf->n_methods + b);
        cell[0] = r->baseline[d][b].label;
        for (int k = 0; k < CEL_HISTORY_DATASETS; k++) cell[2 + k] = number(page, r->baseline[d][b].test[k], 2);
        cell[6] = cel_page_amount(page, r->baseline[d][b].params);
    }
    return sheet;
}

static const char *cost(cel_page *page, double seconds) {
    if (isnan(seconds)) return "–";
    return seconds < 0.1 ? cel_page_text(page, "%s ms", number(page, 1e3 * seconds, 2))
                         : cel_page_duration(page, seconds);
}

static cel_sheet spread_sheet(cel_page *page, const cel_result *r, int d) {
    const cel_compare_conf *conf = &r->c->conf;
    const char *const head[] = {"method",
                                cel_page_text(page, "%s %% interval", number(page, 100 * (1 - conf->level), 0)),
                                "best",
                                "worst",
                                "mean regret",
                                "mean rank",
                                "different cells",
                                "search time",
                                "epochs",
                                "queries"};
    cel_sheet sheet = make_sheet(
        page,
        cel_page_text(page, "Search on %s: spread over searches (%s test accuracy, %%) and cost of one search",
                      cel_compare_dataset_label(page, r, d), cel_history_dataset_label[r->c->worth[d]]),
        head, 10, conf->n_methods, 1);
    if (!sheet.n_rows) return sheet;
    for (int m = 0; m < conf->n_methods; m++) {
        const cel_summary *s = &r->summary[m][d];
        const cel_compare_plan *plan = &r->c->plan[m][d];
        const char **cell = row_of(&sheet, m);
        double mean = s->mean[r->c->worth[d]], half = s->interval[r->c->worth[d]];
        cell[0] = cel_compare_label(r->c, m);
        if (!isnan(half))
            cell[1] = cel_page_text(page, "%s to %s", number(page, fmax(0, mean - half), 2),
                                    number(page, fmin(100, mean + half), 2)); /* an accuracy is within */
        cell[2] = number(page, s->best, 2);
        cell[3] = number(page, s->worst, 2);
        cell[4] = number(page, s->regret, 2);
        cell[5] = number(page, s->rank, 2);
        if (s->n) cell[6] = cel_page_text(page, "%d", s->cells);
        cell[7] = cost(page, s->seconds);
        if (plan->n_epochs) cell[8] = cel_page_text(page, "%d", plan->n_epochs);
        if (*conf->methods[m].searcher) cell[9] = cel_page_text(page, "%d", conf->methods[m].budget);
    }
    return sheet;
}

static const char *p_text(cel_page *page, double p) {
    return isnan(p) ? "–" : p < 0.0005 ? "< 0.001" : number(page, p, 3);
}

static cel_sheet test_sheet(cel_page *page, const cel_result *r, int d) {
    const cel_compare_conf *conf = &r->c->conf;
    static const char *const head[] = {"method", "pairs",          "difference", "paired t: p",
                                       "Holm",   "signed rank: p", "Holm"};
    cel_sheet sheet =
        make_sheet(page,
                   cel_page_text(page, "Search on %s: against %s, paired by seed (%s test accuracy, points)",
                                 cel_compare_dataset_label(page, r, d), cel_compare_label(r->c, r->c->reference),
                                 cel_history_dataset_label[r->c->worth[d]]),
                   head, 7, conf->n_methods - 1, 1);
    for (int m = 0, row = 0; m < conf->n_methods && sheet.n_rows; m++) {
        const cel_summary *s = &r->summary[m][d];
        if (m == r->c->reference) continue;
        const char **cell = row_of(&sheet, row++);
        cell[0] = cel_compare_label(r->c, m);
        cell[1] = cel_page_text(page, "%d", s->pairs);
        cell[2] = number(page, s->difference, 2);
        cell[3] = s->pairs < CEL_COMPARE_PAIRS ? "too few" : p_text(page, s->t_p);
        cell[4] = p_text(page, s->t_holm);
        cell[5] = s->pairs < CEL_COMPARE_PAIRS ? "too few" : p_text(page, s->rank_p);
        cell[6] = p_text(page, s->rank_holm);
    }
    return sheet;
}

int cel_compare_sheets(cel_page *page, const cel_result *r, int d, cel_sheet sheets[CEL_SHEETS]) {
    sheets[0] = accuracy_sheet(page, r, d);
    sheets[1] = spread_sheet(page, r, d);
    if (r->c->conf.n_methods < 2) return 2;
    sheets[2] = test_sheet(page, r, d);
    return 3;
}

/* ---- remarks ---- */

static const char *trainings(cel_page *page, const cel_result *r) {
    int low = 1 << 30, high = 0;
    for (int d = 0; d < r->c->conf.n_datasets; d++) {
        const cel_metric *m = cel_table_metric(r->table, r->test_metric[r->c->worth[d]]);
        if (m->seeds_min < low) low = m->seeds_min;
        if (m->seeds_max > high) high = m->seeds_max;
    }
    return cel_page_text(
        page,
        "Deviations and intervals are over searches alone: search variance. A cell's accuracy is the "
        "table's mean over %d to %d trainings of that cell; the spread of these trainings, the training "
        "variance, is not in the table and is in no number here.",
        low, high);
}

static int most_pairs(const cel_result *r) {
    int most = 0;
    for (int m = 0; m < r->c->conf.n_methods; m++)
        for (int d = 0; d < r->c->conf.n_datasets; d++)
            if (m != r->c->reference && r->summary[m][d].pairs > most) most = r->summary[m][d].pairs;
    return most;
}

static const char *about_tests(cel_page *page, const cel_result *r) {
    int most = most_pairs(r), n_tests = (r->c->conf.n_methods - 1) * r->c->conf.n_datasets;
    if (most < CEL_COMPARE_PAIRS)
        return cel_page_text(
            page,
            "Too few seeds for tests: %d pairs at most, and with fewer than %d no outcome of a two-sided "
            "signed-rank test is below 0.05. No p-value is given, and no difference here is shown to be "
            "more than chance.",
            most, CEL_COMPARE_PAIRS);
    double smallest = n_tests * cel_signed_rank_smallest((size_t)most);
    return cel_page_text(
        page,
        "Tests are two-sided and paired by seed; Holm's correction is over all %d of a kind. The paired t "
        "test takes differences for normal, the signed-rank test for symmetric.%s A dash: differences "
        "without any spread.",
        n_tests,
        smallest > r->c->conf.level
            ? cel_page_text(page,
                            " With %d pairs and %d tests the smallest corrected signed-rank p there can "
                            "be is %s, so that test cannot reach %s.",
                            most, n_tests, number(page, fmin(1, smallest), 3), number(page, r->c->conf.level, 2))
            : "");
}

static const char *about_ranks(cel_page *page, const cel_result *r) {
    const char *text =
        "Mean rank: of the methods' accuracies within a seed, 1 is best, equals share; over the seeds with which every "
        "method found a cell:";
    for (int d = 0; d < r->c->conf.n_datasets; d++) {
        text = cel_page_text(page, "%s%s %d on %s", text, d ? "," : "", r->rank_blocks[d],
                             cel_compare_dataset_label(page, r, d));
        if (!isnan(r->critical[d]))
            text =
                cel_page_text(page, "%s (critical difference after Nemenyi %s)", text, number(page, r->critical[d], 2));
    }
    return cel_page_text(page, "%s.", text);
}

static const char *about_cost(cel_page *page, const cel_result *r) {
    if (!r->cpu) return "Times of searchers are those of this machine; they train nothing.";
    const char *threads = r->threads ? cel_page_text(page, "%d thread%s each", r->threads, r->threads == 1 ? "" : "s")
                                     : "different numbers of threads";
    return cel_page_text(
        page,
        "Search time is wall-clock time on this machine (%s, %s), with %s and whatever else ran beside; "
        "it is not converted into days of any GPU. Searchers only look up the table.",
        r->cpu, r->isa, threads);
}

static bool any_searcher(const cel_result *r) {
    for (int m = 0; m < r->c->conf.n_methods; m++)
        if (*r->c->conf.methods[m].searcher) return true;
    return false;
}

static bool any_one_cell(const cel_result *r) {
    for (int m = 0; m < r->c->conf.n_methods; m++)
        for (int d = 0; d < r->c->conf.n_datasets; d++)
            if (r->summary[m][d].n > 1 && r->summary[m][d].cells == 1) return true;
    return false;
}

static int n_due(const cel_result *r) {
    const cel_compare_conf *conf = &r->c->conf;
    return conf->n_methods * conf->n_datasets * conf->seeds;
}

int cel_compare_notes(cel_page *page, const cel_result *r, const char *notes[CEL_NOTES]) {
    const cel_compare_conf *conf = &r->c->conf;
    int n = 0;
    if (r->n_ended < n_due(r))
        notes[n++] = cel_page_text(page, "Not finished: %d of %d searches have ended.", r->n_ended, n_due(r));
    if (*conf->note) notes[n++] = conf->note;
    notes[n++] = trainings(page, r);
    if (any_one_cell(r))
        notes[n++] =
            "One cell: where all searches of a method found the same one there is no interval; that they agree does "
            "not make its accuracy certain.";
    if (conf->n_methods > 1) notes[n++] = about_tests(page, r);
    notes[n++] = about_ranks(page, r);
    notes[n++] = about_cost(page, r);
    if (any_searcher(r))
        notes[n++] =
            "Searchers see the validation accuracy of the table's 12-epoch schedule and nothing else; a query is an "
            "architecture that was not asked for before. Their cell is scored once, after the search.";
    notes[n++] =
        "Parameters are those of the benchmark's network for the data set (16 channels, 5 cells a stage). Baselines: "
        "the best cell of the table, the cell with the most parameters, the mean over all cells (what a random "
        "choice is worth), the cell with a skip connection on every edge.";
    for (int m = 0; m < conf->n_methods; m++)
        for (int d = 0; d < conf->n_datasets; d++) {
            const cel_recipe_expect *e = &r->c->plan[m][d].expect;
            if (!strcmp(published(page, r, m, d), "–") || !*e->source) continue;
            notes[n++] = cel_page_text(page, "Published, %s: %s.", cel_compare_label(r->c, m), e->source);
        }
    return n;
}
