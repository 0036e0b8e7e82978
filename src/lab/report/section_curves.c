/* What happened over the epochs: the trajectory with its band of drawn architectures (the figure of DrNAS' README), losses and
 * accuracies of the supernet, learning rates, and the distribution itself, edge by edge. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lab/report/section.h"

/* ---- what all charts share ---- */

static void add_spans(cel_page *page, const cel_report *r, cel_chart *chart) {
    const cel_history *h = r->history;
    for (int i = 0; i < h->n && chart->n_spans < CEL_CHART_SPANS; i++) {
        const cel_record *e = &h->record[i];
        if (i && e->stage == h->record[i - 1].stage) continue;
        chart->span[chart->n_spans++] =
            (cel_span){i ? i - 0.5 : 0,
                       {cel_page_text(page, "stage %d: 1/%d of the channels, %d operations an edge", e->stage + 1, e->k,
                                      e->ops_kept),
                        cel_page_text(page, "stage %d: K = %d, %d ops", e->stage + 1, e->k, e->ops_kept),
                        cel_page_text(page, "stage %d", e->stage + 1)}};
    }
}

cel_chart cel_section_chart(cel_page *page, const cel_report *r, const char *title, const char *y_title) {
    cel_chart chart = {.title = title, .x_title = "epoch", .y_title = y_title, .n = r->n_shown, .x = r->x};
    chart.x_max = r->history->n_epochs - 1;
    add_spans(page, r, &chart);
    return chart;
}

static double *numbers(cel_page *page, const cel_report *r) {
    double *out = cel_arena_alloc(&page->arena, (size_t)r->n_shown, sizeof *out);
    if (!out) page->failed = true;
    return out;
}

const double *cel_section_series(cel_page *page, const cel_report *r, size_t offset) {
    double *out = numbers(page, r);
    for (int i = 0; out && i < r->n_shown; i++)
        memcpy(&out[i], (const char *)&r->history->record[r->shown[i]] + offset, sizeof *out);
    return out;
}

static void add_line(cel_chart *chart, const char *label, const char *style, const double *y) {
    chart->series[chart->n_series++] =
        (cel_series){.kind = CEL_SERIES_LINE, .label = label, .style = style, .y = y, .end_label = true};
}

static void put_half(cel_page *page, const cel_chart *chart, const char *heading) {
    if (page->failed) return;
    cel_page_put(page, "<figure><h3>%s</h3>", heading);
    cel_chart_legend(page, chart);
    cel_chart_put(page, chart, "half", 440, 250);
    cel_page_put(page, "</figure>");
}

/* ---- the trajectory ---- */

static const double *test_series(cel_page *page, const cel_report *r) {
    double *out = numbers(page, r);
    for (int i = 0; out && i < r->n_shown; i++) {
        const cel_record *e = &r->history->record[r->shown[i]];
        out[i] = e->has_table ? e->test[r->worth] : NAN;
    }
    return out;
}

/* One of the sampled numbers; NAN where an epoch drew none. */
static const double *sampled_series(cel_page *page, const cel_report *r, size_t offset) {
    double *out = numbers(page, r);
    for (int i = 0; out && i < r->n_shown; i++) {
        const cel_record *e = &r->history->record[r->shown[i]];
        out[i] = NAN;
        if (e->has_sampled && e->sampled.dataset == r->worth) memcpy(&out[i], (const char *)e + offset, sizeof *out);
    }
    return out;
}

#define SAMPLED(member) sampled_series(page, r, offsetof(cel_record, sampled.member))

/* Of the distribution's own spread, in words. */
static void put_spread(cel_page *page, const cel_report *r) {
    const cel_record *first = &r->history->record[0], *last = r->last;
    if (!first->has_sampled || !last->has_sampled || r->history->n < 2) return;
    cel_page_put(
        page,
        " The %d architectures that were drawn from the distribution span %s points in the first epoch and %s in "
        "the last; they are only looked up, nothing flows back into the search.",
        last->sampled.n, cel_page_real(page, first->sampled.max - first->sampled.min, 1),
        cel_page_real(page, last->sampled.max - last->sampled.min, 1));
}

const char *cel_section_test(cel_page *page, const cel_report *r, const cel_record *e) {
    return e->has_table && r->on_benchmark ? cel_page_real(page, e->test[r->worth], 2) : "–";
}

const char *cel_section_rank(cel_page *page, const cel_report *r, const cel_record *e) {
    return e->has_table && r->on_benchmark ? cel_page_count(page, e->rank[r->worth]) : "–";
}

static void put_changes(cel_page *page, const cel_report *r) {
    const cel_history *h = r->history;
    cel_page_put(page, "<details><summary>Every change of the cell</summary><div class=\"scroll\"><table><thead><tr>"
                       "<th scope=\"col\">from epoch</th><th scope=\"col\" class=\"text\">cell</th>"
                       "<th scope=\"col\">accuracy</th><th scope=\"col\">rank</th></tr></thead><tbody>");
    for (int i = 0; i < h->n; i++) {
        const cel_record *e = &h->record[i];
        if (i && cel_genotype_equal(&e->genotype, &h->record[i - 1].genotype)) continue;
        cel_page_put(page, "<tr><td>%d</td><td class=\"text\"><code>%s</code></td><td>%s</td><td>%s</td></tr>",
                     e->epoch, cel_page_escape(page, e->text), cel_section_test(page, r, e),
                     cel_section_rank(page, r, e));
    }
    cel_page_put(page, "</tbody></table></div></details>\n");
}

void cel_section_trajectory(cel_page *page, const cel_report *r) {
    const char *where = cel_history_dataset_label[r->worth];
    cel_page_put(page, "<section><h2>The way there</h2>");
    if (!r->has_standing || !r->last->has_table) {
        cel_page_put(page, "<p>Without accuracies of a benchmark table there is no trajectory to draw.</p>");
        put_changes(page, r);
        cel_page_put(page, "</section>\n");
        return;
    }
    const cel_standing *s = &r->standing[r->worth];
    cel_chart chart = cel_section_chart(
        page, r,
        cel_page_text(page,
                      "%s test accuracy of the cell over %d epochs, ending at %s %%, with the range of the drawn "
                      "architectures",
                      where, r->history->n, cel_page_real(page, s->test, 2)),
        cel_page_text(page, "%s test accuracy after 200 epochs, %%", where));
    chart.scale = CEL_SCALE_TOWARDS;
    chart.target = s->best;
    chart.digits = 2;
    chart.unit = " %";
    if (r->last->has_sampled) {
        chart.series[chart.n_series++] = (cel_series){.kind = CEL_SERIES_BAND,
                                                      .label = "drawn architectures, all",
                                                      .style = "range",
                                                      .y = SAMPLED(max),
                                                      .low = SAMPLED(min)};
        chart.series[chart.n_series++] = (cel_series){.kind = CEL_SERIES_BAND,
                                                      .label = "their middle half",
                                                      .style = "middle",
                                                      .y = SAMPLED(q75),
                                                      .low = SAMPLED(q25)};
    }
    add_line(&chart, "cell", "found", test_series(page, r));
    chart.level[chart.n_levels++] = (cel_level){s->best, "optimum", "best"};
    chart.level[chart.n_levels++] = (cel_level){s->mean, "mean cell", "mean"};
    cel_page_put(page,
                 "<figure><figcaption>What the cell of the distribution’s mean would reach, epoch by epoch. The scale "
                 "widens towards the optimum.");
    put_spread(page, r);
    cel_page_put(page, "</figcaption>");
    if (!page->failed) cel_chart_figure(page, &chart);
    cel_page_put(page, "</figure>");
    put_changes(page, r);
    cel_page_put(page, "</section>\n");
}

/* ---- the supernet ---- */

#define SERIES(member) cel_section_series(page, r, offsetof(cel_record, member))

void cel_section_curves(cel_page *page, const cel_report *r) {
    cel_chart loss = cel_section_chart(page, r, "Cross-entropy of the supernet on both halves of the images", NULL);
    cel_chart accuracy = cel_section_chart(page, r, "Accuracy of the supernet on both halves of the images", NULL);
    cel_chart lr = cel_section_chart(page, r, "Learning rate of the weights", NULL);
    cel_chart norm = cel_section_chart(page, r, "Norm of the weights’ gradient before clipping", NULL);
    loss.digits = accuracy.digits = norm.digits = 2;
    lr.digits = 4;
    accuracy.unit = " %";
    lr.from_zero = norm.from_zero = true;
    add_line(&loss, "weights’ half", "train", SERIES(train_loss));
    add_line(&loss, "architecture’s half", "valid", SERIES(valid_loss));
    add_line(&accuracy, "weights’ half", "train", SERIES(train_acc));
    add_line(&accuracy, "architecture’s half", "valid", SERIES(valid_acc));
    add_line(&lr, "learning rate", "plain", SERIES(lr));
    lr.series[0].kind = CEL_SERIES_STEPS;
    add_line(&norm, "mean of the epoch", "plain", SERIES(grad_norm));
    cel_page_put(
        page, "<section><h2>The supernet</h2><p class=\"soft\">Weights learn on one half of the images, the "
              "distribution on the other. These are means over each epoch’s batches, with drawn architectures (with "
              "<code>search.validate</code> the architecture’s half is measured after the epoch, with the "
              "distribution’s mean): they say how learning went, not what the cell is worth.</p><div class=\"two\">");
    put_half(page, &loss, "Cross-entropy");
    put_half(page, &accuracy, "Accuracy");
    put_half(page, &lr, "Learning rate");
    put_half(page, &norm, "Gradient norm");
    cel_page_put(page, "</div></section>\n");
}

/* ---- the distribution ---- */

const char *cel_section_op(cel_page *page, const cel_report *r, int op) {
    const char *label = cel_arch_op_label(r->history->space, op), *x = strchr(label, 'x');
    while (x && (x == label || x[-1] < '0' || x[-1] > '9')) x = strchr(x + 1, 'x');
    return x ? cel_page_text(page, "%.*s×%s", (int)(x - label), label, x + 1) : label;
}

/* The operation that a genotype has on an edge (row of a choice matrix); -1 for an edge that it leaves out. */
static int chosen_op(const cel_report *r, int row) {
    const cel_topology *t = r->history->topology;
    for (int i = 0; i < r->last->genotype.n; i++) {
        const struct cel_genotype_edge *e = &r->last->genotype.edge[i];
        if (e->cell == row / t->n_edges && e->from == t->edges[row % t->n_edges].from &&
            e->to == t->edges[row % t->n_edges].to)
            return e->op;
    }
    return -1;
}

/* An entry over the epochs; it ends where it is pruned. */
static const double *entry_series(cel_page *page, const cel_report *r, int entry) {
    double *out = numbers(page, r);
    for (int i = 0; out && i < r->n_shown; i++) {
        const cel_record *e = &r->history->record[r->shown[i]];
        out[i] = e->live[entry] ? e->concentration[entry] : NAN;
    }
    return out;
}

static void put_edge(cel_page *page, const cel_report *r, int row, double low, double high) {
    const cel_history *h = r->history;
    const cel_topology *t = h->topology;
    const struct cel_topology_edge *edge = &t->edges[row % t->n_edges];
    int chosen = chosen_op(r, row);
    char name[64];
    snprintf(name, sizeof name, "%s%sedge %d ← %d", t->n_cells > 1 ? t->cell_names[row / t->n_edges] : "",
             t->n_cells > 1 ? ", " : "", edge->to, edge->from);
    cel_chart chart =
        cel_section_chart(page, r,
                          cel_page_text(page, "Concentration of each operation on %s; %s was chosen", name,
                                        chosen < 0 ? "no operation" : cel_section_op(page, r, chosen)),
                          NULL);
    chart.y_min = low;
    chart.y_max = high;
    for (int s = 0; s < chart.n_spans; s++) chart.span[s].labels[0] = NULL;
    for (int op = 0; op < h->cols; op++)
        chart.series[chart.n_series++] =
            (cel_series){.kind = CEL_SERIES_LINE,
                         .label = cel_section_op(page, r, op),
                         .style = cel_page_text(page, "op%d%s", op, op == chosen ? " won" : ""),
                         .y = entry_series(page, r, row * h->cols + op)};
    if (page->failed) return;
    cel_page_put(page, "<figure><p class=\"edge\">%s", name);
    if (chosen >= 0) cel_page_put(page, "<span class=\"op%d\">%s</span>", chosen, cel_section_op(page, r, chosen));
    cel_page_put(page, "</p>");
    cel_chart_put(page, &chart, "small", 320, 220);
    cel_page_put(page, "</figure>");
}

/* "0 to 3, 20 to 23": when the architecture rested. */
static const char *rests(cel_page *page, const cel_report *r) {
    const cel_history *h = r->history;
    const char *text = "";
    for (int i = 0, to; i < h->n; i = to) {
        for (to = i + 1; to < h->n && h->record[to].arch_active == h->record[i].arch_active;) to++;
        if (h->record[i].arch_active) continue;
        text = cel_page_text(page, "%s%s%d to %d", text, *text ? ", " : "", i, to - 1);
    }
    return text;
}

/* The last look's, where the watch did not look. */
static const double *watch_series(cel_page *page, const cel_report *r) {
    double *out = numbers(page, r), last = NAN;
    for (int i = 0, at = 0; out && i < r->n_shown; i++) {
        for (; at <= r->shown[i]; at++)
            if (isfinite(r->history->record[at].eigenvalue)) last = r->history->record[at].eigenvalue;
        out[i] = last;
    }
    return out;
}

static void put_warnings(cel_page *page, const cel_report *r) {
    const cel_history *h = r->history;
    int n = 0, last = -1;
    for (int i = 0; i < h->n; i++)
        if (h->record[i].warning) n++, last = i;
    if (!n) return;
    cel_page_put(page,
                 "<p><strong>The collapse watch warned in %d of %d epochs</strong>, the last time in epoch %d: %s.</p>",
                 n, h->n, last, cel_page_escape(page, h->record[last].warning));
}

/* What the collapse watch saw; nothing without one. */
static void put_watch(cel_page *page, const cel_report *r) {
    bool looked = false;
    for (int i = 0; i < r->history->n; i++) looked = looked || isfinite(r->history->record[i].eigenvalue);
    if (!looked) return;
    cel_chart eigenvalue = cel_section_chart(
                  page, r, "Largest eigenvalue of the validation loss’ Hessian by the architecture", NULL),
              skips = cel_section_chart(page, r, "Skip connections in the cell", NULL);
    eigenvalue.digits = 4;
    skips.from_zero = true;
    add_line(&eigenvalue, "largest eigenvalue", "plain", watch_series(page, r));
    add_line(&skips, "skip connections", "plain", SERIES(skips));
    eigenvalue.series[0].kind = skips.series[0].kind = CEL_SERIES_STEPS;
    cel_page_put(page, "<section><h2>The collapse watch</h2>");
    put_warnings(page, r);
    cel_page_put(page, "<div class=\"two\">");
    put_half(page, &eigenvalue, "Hessian’s largest eigenvalue");
    put_half(page, &skips, "Skip connections");
    cel_page_put(page, "</div></section>\n");
}

void cel_section_concentration(cel_page *page, const cel_report *r) {
    const cel_history *h = r->history;
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < h->n; i++)
        for (int e = 0; e < h->rows * h->cols; e++) {
            if (!h->record[i].live[e]) continue;
            low = fmin(low, h->record[i].concentration[e]);
            high = fmax(high, h->record[i].concentration[e]);
        }
    cel_chart legend = {0},
              entropy = cel_section_chart(page, r, "Entropy of the distribution’s mean over the epochs", NULL);
    for (int op = 0; op < h->cols && op < CEL_CHART_SERIES; op++)
        legend.series[legend.n_series++] =
            (cel_series){.label = cel_section_op(page, r, op), .style = cel_page_text(page, "op%d", op)};
    entropy.digits = 3;
    entropy.from_zero = true;
    add_line(&entropy, "mean over the edges, nats", "plain", SERIES(entropy));
    cel_chart arch_lr = cel_section_chart(page, r, "Learning rate of the architecture", NULL);
    arch_lr.digits = 4;
    arch_lr.from_zero = true;
    add_line(&arch_lr, "learning rate", "plain", SERIES(arch_lr));
    arch_lr.series[0].kind = CEL_SERIES_STEPS;
    cel_page_put(
        page,
        "<section><h2>The distribution</h2><p class=\"soft\">The concentration of each operation on each edge, "
        "after each epoch: the more of it, the more of the mixture, and the largest is chosen. A pruned "
        "operation’s line ends.%s%s%s</p>",
        *rests(page, r) ? " The architecture rested in epochs " : "", rests(page, r), *rests(page, r) ? "." : "");
    cel_chart_legend(page, &legend);
    cel_page_put(page, "<div class=\"three\">");
    for (int row = 0; row < h->rows; row++) put_edge(page, r, row, low, high);
    cel_page_put(page, "</div><div class=\"two\">");
    put_half(page, &entropy, "Entropy");
    put_half(page, &arch_lr, "Architecture’s learning rate");
    cel_page_put(page, "</div></section>\n");
    put_watch(page, r);
}
