/* The page of a comparison: the tables, and a figure for each claim that they make: how the searches spread, how they
 * came there (regret over epochs or queries), and what the distribution held on the way (trajectories with the band of
 * sampled cells). */
#include <math.h>
#include <string.h>

#include "lab/compare.h"
#include "lab/report/dots.h"
#include "lab/report/section.h"

enum { MOST_POINTS = 300, MOST_LINES = 10 };

/* ---- tables ---- */

static void put_sheet(cel_page *page, const cel_sheet *s) {
    cel_page_put(page, "<div class=\"scroll\"><table><caption>%s</caption><thead><tr>",
                 cel_page_escape(page, s->title));
    for (int c = 0; c < s->n_cols; c++)
        cel_page_put(page, "<th scope=\"col\"%s>%s</th>", c < s->n_texts ? " class=\"text\"" : "",
                     cel_page_escape(page, s->cell[c]));
    cel_page_put(page, "</tr></thead><tbody>");
    for (int row = 1; row <= s->n_rows; row++) {
        cel_page_put(page, "<tr%s>", s->rule && row > s->rule ? " class=\"base\"" : "");
        for (int c = 0; c < s->n_cols; c++) {
            const char *text = cel_page_escape(page, s->cell[row * s->n_cols + c]);
            cel_page_put(page, c ? "<td>%s</td>" : "<th scope=\"row\" class=\"text\">%s</th>", text);
        }
        cel_page_put(page, "</tr>");
    }
    cel_page_put(page, "</tbody></table></div>\n");
}

/* ---- spread ---- */

static double *numbers(cel_page *page, int n) {
    double *out = cel_arena_alloc(&page->arena, (size_t)n + 1, sizeof *out);
    if (!out) page->failed = true;
    return out;
}

static double optimum_of(const cel_result *r, int d) {
    return r->baseline[d][CEL_BASELINE_OPTIMUM].test[r->c->worth[d]];
}

static void put_spread(cel_page *page, const cel_result *r, int d) {
    static const char *const styles[CEL_BASELINES] = {"best", "paper", "mean", "skip"};
    const cel_compare_conf *conf = &r->c->conf;
    int worth = r->c->worth[d];
    cel_dots_row row[CEL_COMPARE_METHODS];
    cel_dots dots = {
        .title = cel_page_text(page, "%s test accuracy of every search, by method", cel_history_dataset_label[worth]),
        .x_title = cel_page_text(page, "%s test accuracy after 200 epochs, %%", cel_history_dataset_label[worth]),
        .row = row,
        .n_rows = conf->n_methods,
        .target = optimum_of(r, d)};
    for (int m = 0; m < conf->n_methods; m++) {
        const cel_summary *s = &r->summary[m][d];
        double *value = numbers(page, conf->seeds);
        int n = 0;
        if (!value) return;
        for (int i = 0; i < conf->seeds; i++)
            if (cel_outcome_of(r, m, d, i)->found) value[n++] = cel_outcome_of(r, m, d, i)->test[worth];
        row[m] = (cel_dots_row){cel_compare_label(r->c, m), value, n, s->mean[worth], s->interval[worth]};
    }
    for (int b = 0; b < CEL_BASELINES; b++)
        dots.level[dots.n_levels++] = (cel_level){r->baseline[d][b].test[worth], r->baseline[d][b].label, styles[b]};
    cel_page_put(
        page,
        "<figure><h3>How the searches spread</h3><figcaption>A dot is a search. The bar is the %s %% interval of "
        "the mean; the axis widens towards the optimum and ends at the worst search or baseline, where wider "
        "intervals are cut.</figcaption>",
        cel_page_real(page, 100 * (1 - conf->level), 0));
    cel_dots_figure(page, &dots);
    cel_page_put(page, "</figure>\n");
}

/* ---- over time ---- */

/* The points of a figure: epochs of runs, or queries of searchers. */
typedef struct timeline {
    int n, most, stride;
    bool queries;
    double *x;
} timeline;

static bool belongs(const cel_result *r, int m, bool queries) { return !*r->c->conf.methods[m].searcher == !queries; }

static timeline make_timeline(cel_page *page, const cel_result *r, int d, bool queries) {
    timeline t = {.queries = queries};
    for (int m = 0; m < r->c->conf.n_methods; m++) {
        if (!belongs(r, m, queries)) continue;
        int n = queries ? r->c->conf.methods[m].budget : r->c->plan[m][d].n_epochs;
        if (n > t.most) t.most = n;
    }
    t.stride = (t.most + MOST_POINTS - 1) / MOST_POINTS;
    if (!t.most || !(t.x = numbers(page, t.most / t.stride + 1))) return t;
    for (int i = 0; i < t.most; i += t.stride) t.x[t.n++] = i + queries;
    if ((t.most - 1) % t.stride) t.x[t.n++] = t.most - 1 + queries;
    return t;
}

/* What the search would have answered then: the cell of an epoch, the best of so many queries. NAN when it was over. */
static double answer_at(const cel_result *r, const cel_outcome *o, int d, int at, int *best) {
    int worth = r->c->worth[d];
    if (o->history && at < o->history->n)
        return o->history->record[at].has_table ? o->history->record[at].test[worth] : NAN;
    if (!o->queries || at >= o->queries->n_queries) return NAN;
    const cel_searcher_found *q = o->queries;
    for (int i = best[1]; i <= at; i++)
        if (q->valid[i] > q->valid[best[0]]) best[0] = i;
    best[1] = at + 1;
    return cel_table_value(r->table, r->test_metric[worth], q->row[best[0]]);
}

/* The accuracies of one search at the points of the timeline. */
static double *accuracies(cel_page *page, const cel_result *r, const timeline *t, int m, int d, int seed) {
    const cel_outcome *o = cel_outcome_of(r, m, d, seed);
    double *out = numbers(page, t->n);
    int best[2] = {0, 0};
    for (int i = 0; out && i < t->n; i++) out[i] = o->found ? answer_at(r, o, d, (int)t->x[i] - t->queries, best) : NAN;
    return out;
}

/* Over the seeds: the mean regret, and its range. */
typedef struct regrets {
    double *mean, *low, *high;
} regrets;

static regrets regrets_of(cel_page *page, const cel_result *r, const timeline *t, int m, int d) {
    regrets g = {numbers(page, t->n), numbers(page, t->n), numbers(page, t->n)};
    double optimum = optimum_of(r, d);
    int *count = cel_arena_alloc(&page->arena, (size_t)t->n + 1, sizeof *count);
    if (!g.mean || !g.low || !g.high || !count) {
        page->failed = true;
        return (regrets){0};
    }
    for (int i = 0; i < t->n; i++) g.low[i] = INFINITY, g.high[i] = -INFINITY;
    for (int s = 0; s < r->c->conf.seeds; s++) {
        const double *accuracy = accuracies(page, r, t, m, d, s);
        for (int i = 0; accuracy && i < t->n; i++) {
            if (isnan(accuracy[i])) continue;
            double regret = optimum - accuracy[i];
            g.mean[i] += regret;
            g.low[i] = fmin(g.low[i], regret);
            g.high[i] = fmax(g.high[i], regret);
            count[i]++;
        }
    }
    for (int i = 0; i < t->n; i++)
        if (count[i])
            g.mean[i] /= count[i];
        else
            g.mean[i] = g.low[i] = g.high[i] = NAN;
    return g;
}

static cel_series line(const char *label, const char *style, const double *y, bool end) {
    return (cel_series){.kind = CEL_SERIES_LINE, .label = label, .style = style, .y = y, .end_label = end};
}

/* A row of small charts, one for each method, the others in grey behind it. */
static void put_regrets(cel_page *page, const cel_result *r, int d, bool queries) {
    const cel_compare_conf *conf = &r->c->conf;
    timeline t = make_timeline(page, r, d, queries);
    regrets all[CEL_COMPARE_METHODS] = {{0}};
    double most = 0;
    if (t.n < 2) return;
    for (int m = 0; m < conf->n_methods; m++) {
        if (!belongs(r, m, queries)) continue;
        all[m] = regrets_of(page, r, &t, m, d);
        for (int i = 0; !page->failed && i < t.n; i++) most = fmax(most, all[m].high[i]);
    }
    if (page->failed) return;
    cel_page_put(
        page,
        "<figure><h3>Regret over %s</h3><figcaption>%s, in points of %s test accuracy below the optimum: mean over "
        "the seeds (line) and their range (band); the other methods’ means in grey. The number is that of the cell "
        "which was returned (a last "
        "selection may have changed it). The search itself saw none of "
        "these numbers.</figcaption><div class=\"three\">",
        queries ? "queries" : "epochs",
        queries ? "What the best cell by the answers so far is worth"
                : "What the cell that would be derived after each epoch is worth",
        cel_history_dataset_label[r->c->worth[d]]);
    for (int m = 0; m < conf->n_methods; m++) {
        if (!belongs(r, m, queries)) continue;
        cel_chart chart = {.title = cel_page_text(page, "%s: regret over %s, mean %s points at the end",
                                                  cel_compare_label(r->c, m), queries ? "queries" : "epochs",
                                                  cel_page_real(page, r->summary[m][d].regret, 2)),
                           .x_title = queries ? "queries" : "epoch",
                           .n = t.n,
                           .x = t.x,
                           .x_min = t.x[0],
                           .x_max = t.x[t.n - 1],
                           .from_zero = true,
                           .y_max = most,
                           .digits = 2};
        chart.series[chart.n_series++] = (cel_series){
            .kind = CEL_SERIES_BAND, .label = "range", .style = "range", .y = all[m].high, .low = all[m].low};
        for (int o = 0; o < conf->n_methods; o++)
            if (o != m && belongs(r, o, queries))
                chart.series[chart.n_series++] = line("", "passed", all[o].mean, false);
        chart.series[chart.n_series++] = line("mean", "found", all[m].mean, false);
        cel_page_put(page, "<figure><p class=\"edge\">%s<span class=\"found\">%s</span></p>",
                     cel_page_escape(page, cel_compare_label(r->c, m)),
                     cel_page_real(page, r->summary[m][d].regret, 2));
        cel_chart_put(page, &chart, "small", 320, 200);
        cel_page_put(page, "</figure>");
    }
    cel_page_put(page, "</div></figure>\n");
}
_Static_assert((int)CEL_CHART_SERIES >= CEL_COMPARE_METHODS + 2, "a line for each method");

/* ---- trajectories ---- */

/* Of what was drawn from the distributions of all seeds after each epoch: extremes, and the mean quartiles. */
typedef struct band {
    double *min, *q25, *q75, *max;
    bool any;
} band;

static band band_of(cel_page *page, const cel_result *r, const timeline *t, int m, int d) {
    band b = {numbers(page, t->n), numbers(page, t->n), numbers(page, t->n), numbers(page, t->n), false};
    if (page->failed) return b;
    for (int i = 0; i < t->n; i++) {
        int n = 0;
        b.min[i] = INFINITY;
        b.max[i] = -INFINITY;
        for (int s = 0; s < r->c->conf.seeds; s++) {
            const cel_outcome *o = cel_outcome_of(r, m, d, s);
            int epoch = (int)t->x[i];
            if (!o->found || !o->history || epoch >= o->history->n) continue;
            const cel_record *e = &o->history->record[epoch];
            if (!e->has_sampled || e->sampled.dataset != r->c->worth[d]) continue;
            b.min[i] = fmin(b.min[i], e->sampled.min);
            b.max[i] = fmax(b.max[i], e->sampled.max);
            b.q25[i] += e->sampled.q25;
            b.q75[i] += e->sampled.q75;
            n++;
        }
        b.any = b.any || n;
        b.q25[i] /= n; /* 0 / 0 is the gap that is meant */
        b.q75[i] /= n;
        if (!n) b.min[i] = b.max[i] = NAN;
    }
    return b;
}

static void put_trajectories(cel_page *page, const cel_result *r, int d) {
    const cel_compare_conf *conf = &r->c->conf;
    timeline t = make_timeline(page, r, d, false);
    if (t.n < 2) return;
    cel_page_put(
        page,
        "<figure><h3>The way there</h3><figcaption>The cell of each search, epoch by epoch (a line a seed, at most "
        "%d), and the cells drawn from the distribution: all of them (light) and their middle half (dark). A method "
        "whose band does not narrow has not decided. The scale widens towards the optimum.</figcaption>"
        "<div class=\"three\">",
        MOST_LINES);
    for (int m = 0; m < conf->n_methods && !page->failed; m++) {
        if (!belongs(r, m, false)) continue;
        band b = band_of(page, r, &t, m, d);
        cel_chart chart = {.title = cel_page_text(
                               page,
                               "%s: %s test accuracy of the cell over the epochs, with the range of the drawn cells",
                               cel_compare_label(r->c, m), cel_history_dataset_label[r->c->worth[d]]),
                           .x_title = "epoch",
                           .n = t.n,
                           .x = t.x,
                           .x_min = t.x[0],
                           .x_max = t.x[t.n - 1],
                           .scale = CEL_SCALE_TOWARDS,
                           .target = optimum_of(r, d),
                           .y_min = r->baseline[d][CEL_BASELINE_RANDOM].test[r->c->worth[d]],
                           .y_max = optimum_of(r, d),
                           .digits = 2};
        if (page->failed) return;
        if (b.any) {
            chart.series[chart.n_series++] =
                (cel_series){.kind = CEL_SERIES_BAND, .label = "drawn", .style = "range", .y = b.max, .low = b.min};
            chart.series[chart.n_series++] =
                (cel_series){.kind = CEL_SERIES_BAND, .label = "half", .style = "middle", .y = b.q75, .low = b.q25};
        }
        for (int s = 0; s < conf->seeds && s < MOST_LINES; s++)
            chart.series[chart.n_series++] = line("seed", "thin found", accuracies(page, r, &t, m, d, s), false);
        if (page->failed) return;
        cel_page_put(page, "<figure><p class=\"edge\">%s</p>", cel_page_escape(page, cel_compare_label(r->c, m)));
        cel_chart_put(page, &chart, "small", 320, 220);
        cel_page_put(page, "</figure>");
    }
    cel_page_put(page, "</div></figure>\n");
}

/* ---- the page ---- */

/* One honest sentence. */
static void put_verdict(cel_page *page, const cel_result *r, int d) {
    const cel_compare_conf *conf = &r->c->conf;
    int worth = r->c->worth[d], best = -1, tested = 0, apart = 0, below = 0;
    for (int m = 0; m < conf->n_methods; m++) {
        const cel_summary *s = &r->summary[m][d];
        if (isnan(s->mean[worth])) continue;
        if (best < 0 || s->mean[worth] > r->summary[best][d].mean[worth]) best = m;
        below += s->mean[worth] < r->baseline[d][CEL_BASELINE_RANDOM].test[worth];
        tested += s->pairs >= CEL_COMPARE_PAIRS;
        /* Two tests are two chances, so the smaller p counts twice. */
        apart += 2 * fmin(isnan(s->t_holm) ? 1 : s->t_holm, isnan(s->rank_holm) ? 1 : s->rank_holm) < conf->level;
    }
    if (best < 0) {
        cel_page_put(page, "<p class=\"verdict\">No search has ended yet.</p>\n");
        return;
    }
    cel_page_put(page, "<p class=\"verdict\">%s has the highest mean on %s, %s&nbsp;%% over %d search%s; ",
                 cel_page_escape(page, cel_compare_label(r->c, best)), cel_history_dataset_label[worth],
                 cel_page_real(page, r->summary[best][d].mean[worth], 2), r->summary[best][d].n,
                 r->summary[best][d].n == 1 ? "" : "es");
    if (!tested)
        cel_page_put(page, "too few to say that this is more than chance.");
    else
        cel_page_put(page, "%d of %d methods can be told from %s by a test.", apart, tested,
                     cel_page_escape(page, cel_compare_label(r->c, r->c->reference)));
    cel_page_put(page, "</p>\n");
    if (below)
        cel_page_put(
            page,
            "<p class=\"notice\">%d method%s worse than a random cell, which is worth %s&nbsp;%% on average.</p>\n",
            below, below == 1 ? " is" : "s are",
            cel_page_real(page, r->baseline[d][CEL_BASELINE_RANDOM].test[worth], 2));
}

static void put_dataset(cel_page *page, const cel_result *r, int d) {
    cel_sheet sheets[CEL_SHEETS];
    int n = cel_compare_sheets(page, r, d, sheets);
    cel_page_put(page, "<section><h2>Search on %s</h2>", cel_page_escape(page, cel_compare_dataset_label(page, r, d)));
    put_verdict(page, r, d);
    put_sheet(page, &sheets[0]);
    put_spread(page, r, d);
    for (int i = 1; i < n; i++) put_sheet(page, &sheets[i]);
    cel_page_put(page, "</section><section>");
    put_regrets(page, r, d, false);
    put_regrets(page, r, d, true);
    put_trajectories(page, r, d);
    cel_page_put(page, "</section>\n");
}

static void put_searches(cel_page *page, const cel_result *r) {
    const cel_compare_conf *conf = &r->c->conf;
    cel_page_put(page, "<section><h2>Every search</h2><details><summary>Cells and accuracies, seed by seed</summary>"
                       "<div class=\"scroll\"><table><thead><tr><th scope=\"col\" class=\"text\">method</th>"
                       "<th scope=\"col\" class=\"text\">searched on</th><th scope=\"col\">seed</th>"
                       "<th scope=\"col\" class=\"text\">cell</th>");
    for (int k = 0; k < CEL_HISTORY_DATASETS; k++)
        cel_page_put(page, "<th scope=\"col\">%s</th>", cel_history_dataset_label[k]);
    cel_page_put(page, "</tr></thead><tbody>");
    for (int m = 0; m < conf->n_methods; m++)
        for (int d = 0; d < conf->n_datasets; d++)
            for (int s = 0; s < conf->seeds; s++) {
                const cel_outcome *o = cel_outcome_of(r, m, d, s);
                cel_page_put(page, "<tr><td>%s</td><td class=\"text\">%s</td><td>%lld</td><td class=\"text\">",
                             cel_page_escape(page, cel_compare_label(r->c, m)),
                             cel_page_escape(page, conf->datasets[d].name), (long long)(conf->first_seed + s));
                if (o->found)
                    cel_page_put(page, "<code>%s</code>", cel_page_escape(page, o->text));
                else
                    cel_page_put(page, "%s", o->failure ? cel_page_escape(page, o->failure) : "not yet");
                cel_page_put(page, "</td>");
                for (int k = 0; k < CEL_HISTORY_DATASETS; k++)
                    cel_page_put(page, "<td>%s</td>", cel_page_real(page, o->found ? o->test[k] : NAN, 2));
                cel_page_put(page, "</tr>");
            }
    cel_page_put(page, "</tbody></table></div></details></section>\n");
}

static void put_notes(cel_page *page, const cel_result *r) {
    const char *notes[CEL_NOTES];
    int n = cel_compare_notes(page, r, notes);
    cel_page_put(page, "<section><h2>What these numbers are</h2>");
    cel_page_put(page, "<ul>");
    for (int i = 0; i < n; i++) cel_page_put(page, "<li>%s</li>", cel_page_escape(page, notes[i]));
    cel_page_put(page, "</ul></section>\n");
}

void cel_compare_html(cel_page *page, const cel_result *r) {
    const cel_compare_conf *conf = &r->c->conf;
    const cel_topology *topology = cel_topology_get(CEL_ARCH_NB201);
    const cel_history colours = {.space = CEL_ARCH_NB201, .topology = topology, .cols = topology->n_ops};
    const cel_report styled = {.history = &colours};
    const char *title = cel_page_escape(page, *conf->title ? conf->title : r->c->name);
    int due = conf->n_methods * conf->n_datasets * conf->seeds;
    cel_page_put(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        "<meta name=\"generator\" content=\"cellar\"><title>%s – cellar</title>\n",
        title);
    cel_section_style(page, &styled);
    cel_page_put(page,
                 "<style>caption{text-align:left;color:var(--soft);padding:.4em 0 .5em;font-size:.92rem}"
                 "tbody th{font-weight:600;color:var(--ink)}tr.base>*{color:var(--soft)}"
                 ".scroll{margin-top:1em}section figure{margin-top:1.6em}section figure figure{margin-top:0}"
                 ".chart .name{font-size:14px;fill:var(--ink);font-weight:600}.line.passed{stroke-width:1.2}"
                 ".line.thin{stroke-width:1.6}.edge{margin-bottom:.2em}</style>\n"
                 "</head><body><main><header><p><span class=\"state%s\">%s</span></p><h1>%s</h1>",
                 r->n_ended == due ? "" : " open", r->n_ended == due ? "finished" : "not finished", title);
    cel_page_put(page,
                 "<p>%d method%s &middot; %d data set%s &middot; %d seed%s &middot; %d of %d searches%s</p></header>\n",
                 conf->n_methods, conf->n_methods == 1 ? "" : "s", conf->n_datasets, conf->n_datasets == 1 ? "" : "s",
                 conf->seeds, conf->seeds == 1 ? "" : "s", r->n_ended, due,
                 r->n_failed ? cel_page_text(page, ", %d failed", r->n_failed) : "");
    for (int d = 0; d < conf->n_datasets; d++) put_dataset(page, r, d);
    put_searches(page, r);
    put_notes(page, r);
    cel_page_put(
        page, "<footer>Written by cellar %s. This page loads nothing and runs nothing.</footer></main></body></html>\n",
        CEL_VERSION_TEXT);
}
