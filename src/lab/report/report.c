/* The report of a run: reads its files, asks the benchmark table what the cell is worth, writes the page. */
#include "cellar/report.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "lab/report/section.h"

enum { MOST_SHOWN = 400 }; /* epochs in charts and tables */

static double share_of_worse(const cel_table *table, int metric, double value) {
    int worse = 0, n = cel_table_count(table);
    for (int i = 0; i < n; i++) worse += cel_table_value(table, metric, i) < value;
    return floor(1e4 * worse / n) / 100;
}

static cel_status stand(const cel_history *h, const cel_table *table, const cel_genotype *g, int dataset,
                        cel_standing *out) {
    static const uint8_t skip_everywhere[CEL_NB201_EDGES] = {CEL_NB201_SKIP, CEL_NB201_SKIP, CEL_NB201_SKIP,
                                                             CEL_NB201_SKIP, CEL_NB201_SKIP, CEL_NB201_SKIP};
    const char *name = cel_history_dataset[dataset];
    int metric, index, skip;
    cel_genotype skips;
    cel_nb201_net net;
    cel_arch_cost cost;
    CEL_TRY(cel_table_find_accuracy(table, name, "test", 200, &metric));
    CEL_TRY(cel_table_find(table, g, &index));
    CEL_TRY(cel_nb201_from_ops(skip_everywhere, &skips));
    CEL_TRY(cel_table_find(table, &skips, &skip));
    CEL_TRY(cel_nb201_net_find(name, &net));
    CEL_TRY(cel_nb201_cost(g, &net, &cost));
    double test = cel_table_value(table, metric, index);
    bool published = h->expect_test > 0 && !strcmp(h->expect_dataset, name);
    *out = (cel_standing){.test = test,
                          .best = cel_table_value(table, metric, cel_table_best(table, metric)),
                          .mean = cel_table_mean(table, metric),
                          .skip = cel_table_value(table, metric, skip),
                          .paper = published ? h->expect_test : NAN,
                          .better_than = share_of_worse(table, metric, test),
                          .rank = cel_table_rank(table, metric, index),
                          .count = cel_table_count(table),
                          .params = (double)cost.params,
                          .flops = (double)cost.flops};
    return CEL_OK;
}

static cel_status look_up(cel_page *page, const cel_table *table, cel_report *r) {
    int metric;
    for (int d = 0; d < CEL_HISTORY_DATASETS; d++)
        CEL_TRY(stand(r->history, table, &r->last->genotype, d, &r->standing[d]));
    const cel_standing *s = &r->standing[r->worth];
    if (r->last->has_table && fabs(r->last->test[r->worth] - s->test) > 1e-9)
        return CEL_FAIL(
            CEL_FORMAT,
            "epoch %d: the run found %.17g %% in its table, the table that comes with this cellar has %.17g %%; "
            "report the run with the version that made it",
            r->last->epoch, r->last->test[r->worth], s->test);
    CEL_TRY(cel_table_find_accuracy(table, cel_history_dataset[r->worth], "test", 200, &metric));
    r->test = cel_arena_alloc(&page->arena, (size_t)s->count, sizeof *r->test);
    if (!r->test) return CEL_FAIL(CEL_NOMEM, "out of memory: the accuracies of %d cells", s->count);
    for (int i = 0; i < s->count; i++) r->test[i] = cel_table_value(table, metric, i);
    r->has_standing = true;
    return CEL_OK;
}

/* A cell that no table has is no failure of the report; it says so. */
static cel_status judge(cel_page *page, cel_report *r) {
    cel_table *table;
    if (!r->last) return CEL_OK;
    if (r->history->space != CEL_ARCH_NB201) {
        r->why_not = cel_page_text(page, "cellar has no benchmark table of the space %s.", r->history->topology->label);
        return CEL_OK;
    }
    if (!r->on_benchmark) {
        r->why_not = cel_page_text(page, "no accuracy of a benchmark table was measured on images of %s.",
                                   r->history->manifest.dataset);
        return CEL_OK;
    }
    cel_status status = cel_table_open(NULL, &table);
    if (status == CEL_NOTFOUND) {
        r->why_not = cel_page_text(page, "the benchmark table is not there (%s).", cel_status_message());
        return CEL_OK;
    }
    CEL_TRY(status);
    status = look_up(page, table, r);
    cel_table_close(table);
    return status;
}

static cel_status choose_epochs(cel_page *page, cel_report *r) {
    int n = r->history->n;
    r->stride = n > MOST_SHOWN ? (n + MOST_SHOWN - 1) / MOST_SHOWN : 1;
    int *shown = cel_arena_alloc(&page->arena, (size_t)n / (size_t)r->stride + 2, sizeof *shown);
    double *x = cel_arena_alloc(&page->arena, (size_t)n / (size_t)r->stride + 2, sizeof *x);
    if (!shown || !x) return CEL_FAIL(CEL_NOMEM, "out of memory: %d epochs", n);
    for (int i = 0; i < n; i++) {
        if (i % r->stride && i != n - 1) continue;
        x[r->n_shown] = i;
        shown[r->n_shown++] = i;
    }
    r->shown = shown;
    r->x = x;
    return CEL_OK;
}

static cel_status write_page(cel_page *page, const cel_report *r) {
    const cel_history *h = r->history;
    const char *title = *h->title ? h->title : "a run";
    cel_page_put(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        "<meta name=\"generator\" content=\"cellar\"><title>%s – cellar</title>\n",
        cel_page_escape(page, title));
    cel_section_style(page, r);
    cel_page_put(page, "</head><body><main>\n");
    cel_section_verdict(page, r);
    if (r->last) {
        if (r->history->has_selection) cel_section_selection(page, r);
        cel_section_trajectory(page, r);
        cel_section_concentration(page, r);
        cel_section_curves(page, r);
        cel_section_cost(page, r);
    }
    cel_section_repeat(page, r);
    if (r->last) cel_section_numbers(page, r);
    cel_page_put(
        page, "<footer>Written by cellar %s. This page loads nothing and runs nothing.</footer></main></body></html>\n",
        CEL_VERSION_TEXT);
    return cel_page_check(page);
}

static cel_status make_page(cel_page *page, const cel_history *h) {
    cel_report r = {.history = h, .on_benchmark = h->dataset >= 0, .worth = h->dataset >= 0 ? h->dataset : 0};
    if (h->n) r.last = h->has_selection ? &h->found : &h->record[h->n - 1];
    r.finished = h->manifest.finished && h->n == h->n_epochs;
    CEL_TRY(choose_epochs(page, &r));
    CEL_TRY(judge(page, &r));
    return write_page(page, &r);
}

cel_status cel_report_write(const char *run_dir, const char *out_path) {
    cel_history history;
    cel_page page = {0};
    CEL_TRY(cel_history_read(run_dir, &history));
    char *beside = out_path ? NULL : cel_path_join(run_dir, "report.html");
    cel_status status = out_path || beside ? make_page(&page, &history) : CEL_FAIL(CEL_NOMEM, "out of memory");
    if (status == CEL_OK) status = cel_file_write_named(out_path ? out_path : beside, page.text, page.n);
    cel_free(beside);
    cel_page_fini(&page);
    cel_history_fini(&history);
    return status == CEL_OK ? CEL_OK : cel_status_pass(status, __FILE__, __LINE__);
}
