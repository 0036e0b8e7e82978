/* The end of the page: time and memory, how to repeat the run, and all numbers as tables. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lab/report/section.h"

#define SERIES(member) cel_section_series(page, r, offsetof(cel_record, member))

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(cel_page *page, const double *values, int n) {
    double *sorted = cel_arena_alloc(&page->arena, (size_t)n, sizeof *sorted);
    if (!sorted || !values) {
        page->failed = true;
        return 0;
    }
    memcpy(sorted, values, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_size);
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

static void put_tile(cel_page *page, const char *name, const char *value, const char *small) {
    cel_page_put(page, "<div><dt>%s</dt><dd>%s<small>%s</small></dd></div>", name, value, small);
}

static void put_chart(cel_page *page, const cel_report *r, const char *heading, const char *title, int digits,
                      const cel_series *series, int n) {
    cel_chart chart = cel_section_chart(page, r, title, NULL);
    chart.from_zero = true;
    chart.digits = digits;
    for (int i = 0; i < n; i++) chart.series[chart.n_series++] = series[i];
    if (page->failed) return;
    cel_page_put(page, "<figure><h3>%s</h3>", heading);
    cel_chart_legend(page, &chart);
    cel_chart_put(page, &chart, "half", 440, 250);
    cel_page_put(page, "</figure>");
}

static void put_fact(cel_page *page, const char *name, const char *value) {
    if (*value) cel_page_put(page, "<dt>%s</dt><dd>%s</dd>", name, cel_page_escape(page, value));
}

void cel_section_cost(cel_page *page, const cel_report *r) {
    const cel_manifest *m = &r->history->manifest;
    const cel_series seconds[] = {{CEL_SERIES_LINE, "seconds an epoch", "plain", SERIES(seconds), NULL, true}};
    const cel_series memory[] = {{CEL_SERIES_LINE, "resident, MB", "train", SERIES(rss_mb), NULL, true},
                                 {CEL_SERIES_LINE, "peak so far, MB", "valid", SERIES(peak_mb), NULL, true}};
    cel_page_put(page, "<section><h2>Time and memory</h2><dl class=\"tiles four\">");
    put_tile(page, "Time in all", cel_page_duration(page, m->seconds_total),
             m->resumed > 0 ? cel_page_text(page, "resumed %s time%s", cel_page_count(page, (int64_t)m->resumed),
                                            m->resumed == 1 ? "" : "s")
                            : "in one go");
    put_tile(page, "An epoch", cel_page_duration(page, median(page, seconds[0].y, r->n_shown)), "median");
    put_tile(page, "Images a second", cel_page_amount(page, median(page, SERIES(images_per_s), r->n_shown)), "median");
    put_tile(page, "Memory at its peak", cel_page_text(page, "%sB", cel_page_amount(page, m->peak_mb * 1e6)),
             cel_page_text(page, "the plan: %sB", cel_page_amount(page, m->plan_mb * 1e6)));
    cel_page_put(page, "</dl><div class=\"two\">");
    put_chart(page, r, "Time", "Seconds that each epoch took", 1, seconds, 1);
    put_chart(page, r, "Memory", "Memory of the process after each epoch, in megabytes", 0, memory, 2);
    cel_page_put(page, "</div></section>\n");
}

void cel_section_repeat(cel_page *page, const cel_report *r) {
    const cel_history *h = r->history;
    const cel_manifest *m = &h->manifest;
    cel_page_put(
        page, "<section><h2>How to repeat it</h2><p>The same recipe, seed, backend and instruction set give the same "
              "bytes, on any number of threads, interrupted or not.</p>");
    if (*m->command) cel_page_put(page, "<pre class=\"wrap\">%s</pre>", cel_page_escape(page, m->command));
    cel_page_put(page, "<dl class=\"facts\">");
    put_fact(page, "Seed", cel_page_text(page, "%lld", (long long)m->seed));
    put_fact(page, "Images",
             cel_page_text(page, "%s, %s for the weights and %s for the architecture", m->dataset,
                           cel_page_count(page, (int64_t)m->images[0]), cel_page_count(page, (int64_t)m->images[1])));
    put_fact(page, "SHA-256 of the data", m->sha256);
    put_fact(page, "Backend",
             cel_page_text(page, "%s, instruction set %s, %s threads", m->backend, m->isa,
                           cel_page_count(page, (int64_t)m->threads)));
    put_fact(page, "Machine", m->cpu);
    put_fact(page, "cellar", m->version);
    put_fact(page, "Compiler", cel_page_text(page, "%s, %s", m->compiler, m->flags));
    put_fact(page, "Supernet at the start",
             cel_page_text(page, "%s weights, %sFLOP a step", cel_page_amount(page, m->plan_params),
                           cel_page_amount(page, m->plan_flops)));
    put_fact(page, "Started", m->started);
    put_fact(page, "Finished", m->finished ? m->finished : "not yet");
    cel_page_put(
        page, "</dl><details><summary>The recipe, every setting spelt out</summary><pre>%s</pre></details></section>\n",
        cel_page_escape(page, h->recipe));
}

/* ---- tables ---- */

typedef struct column {
    const char *name;
    size_t offset; /* of a double in cel_record */
    int digits;
} column;

static const column columns[] = {
    {"loss, weights", offsetof(cel_record, train_loss), 4}, {"accuracy, weights", offsetof(cel_record, train_acc), 2},
    {"loss, arch.", offsetof(cel_record, valid_loss), 4},   {"accuracy, arch.", offsetof(cel_record, valid_acc), 2},
    {"learning rate", offsetof(cel_record, lr), 5},         {"gradient norm", offsetof(cel_record, grad_norm), 3},
    {"entropy", offsetof(cel_record, entropy), 4},          {"seconds", offsetof(cel_record, seconds), 2},
    {"images/s", offsetof(cel_record, images_per_s), 0},    {"peak MB", offsetof(cel_record, peak_mb), 0}};

static void put_sampled_cells(cel_page *page, const cel_record *e) {
    const double values[] = {e->sampled.min, e->sampled.q25, e->sampled.mean, e->sampled.q75, e->sampled.max};
    for (size_t i = 0; i < CEL_COUNT(values); i++)
        cel_page_put(page, "<td>%s</td>", e->has_sampled ? cel_page_real(page, values[i], 2) : "–");
}

static void put_epochs(cel_page *page, const cel_report *r) {
    cel_page_put(
        page, "<details><summary>Epochs</summary><div class=\"scroll\"><table><thead><tr><th scope=\"col\">epoch</th>"
              "<th scope=\"col\">stage</th><th scope=\"col\">cell’s accuracy</th><th scope=\"col\">rank</th>"
              "<th scope=\"col\">drawn: min</th><th scope=\"col\">quarter</th><th scope=\"col\">mean</th>"
              "<th scope=\"col\">three quarters</th><th scope=\"col\">max</th>");
    for (size_t c = 0; c < CEL_COUNT(columns); c++) cel_page_put(page, "<th scope=\"col\">%s</th>", columns[c].name);
    cel_page_put(page, "</tr></thead><tbody>");
    for (int i = 0; i < r->n_shown; i++) {
        const cel_record *e = &r->history->record[r->shown[i]];
        cel_page_put(page, "<tr><td>%d</td><td>%d</td><td>%s</td><td>%s</td>", e->epoch, e->stage + 1,
                     cel_section_test(page, r, e), cel_section_rank(page, r, e));
        put_sampled_cells(page, e);
        for (size_t c = 0; c < CEL_COUNT(columns); c++) {
            double v;
            memcpy(&v, (const char *)e + columns[c].offset, sizeof v);
            cel_page_put(page, "<td>%s</td>", cel_page_real(page, v, columns[c].digits));
        }
        cel_page_put(page, "</tr>");
    }
    cel_page_put(page, "</tbody></table></div></details>\n");
}

static void put_matrices(cel_page *page, const cel_report *r) {
    const cel_history *h = r->history;
    const cel_topology *t = h->topology;
    cel_page_put(page, "<details><summary>Concentrations</summary><div class=\"scroll\"><table><thead><tr>"
                       "<th scope=\"col\">epoch</th><th scope=\"col\">edge</th>");
    for (int op = 0; op < h->cols; op++) cel_page_put(page, "<th scope=\"col\">%s</th>", cel_section_op(page, r, op));
    cel_page_put(page, "</tr></thead><tbody>");
    for (int i = 0; i < r->n_shown; i++)
        for (int row = 0; row < h->rows; row++) {
            const cel_record *e = &h->record[r->shown[i]];
            cel_page_put(page, "<tr><td>%d</td><td>%s %d ← %d</td>", e->epoch,
                         t->n_cells > 1 ? t->cell_names[row / t->n_edges] : "", t->edges[row % t->n_edges].to,
                         t->edges[row % t->n_edges].from);
            for (int op = 0; op < h->cols; op++)
                cel_page_put(page, "<td>%s</td>",
                             e->live[row * h->cols + op] ? cel_page_real(page, e->concentration[row * h->cols + op], 4)
                                                         : "–");
            cel_page_put(page, "</tr>");
        }
    cel_page_put(page, "</tbody></table></div></details>\n");
}

void cel_section_numbers(cel_page *page, const cel_report *r) {
    cel_page_put(
        page,
        "<section><h2>All numbers</h2><p class=\"soft\">As in <code>metrics.jsonl</code>, which has every digit%s. "
        "Epochs count from 0.</p>",
        r->stride > 1 ? cel_page_text(page, " and every epoch; charts and tables here show one epoch in %d", r->stride)
                      : "");
    put_epochs(page, r);
    put_matrices(page, r);
    cel_page_put(page, "</section>\n");
}
