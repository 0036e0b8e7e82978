/* The head of the page: what the run was, what its cell is worth, and where that stands among all cells. */
#include <math.h>
#include <string.h>

#include "lab/report/section.h"

enum { SKIP_COLLAPSE = 4 };

static const char *percent(cel_page *page, double value) {
    return cel_page_text(page, "%s&nbsp;%%", cel_page_real(page, value, 2));
}

/* "2026-01-31 12:00 UTC" for what the manifest writes. */
static const char *date(cel_page *page, const char *iso) {
    bool known = strlen(iso) == 20 && iso[10] == 'T' && iso[19] == 'Z';
    return cel_page_escape(page, known ? cel_page_text(page, "%.10s %.5s UTC", iso, iso + 11) : iso);
}

static void put_head(cel_page *page, const cel_report *r) {
    const cel_history *h = r->history;
    const cel_manifest *m = &h->manifest;
    const char *title = *h->title ? h->title : cel_page_text(page, "%s on %s", m->method, h->topology->label);
    cel_page_put(page, "<header><p><span class=\"state%s\">%s</span></p><h1>%s</h1>", r->finished ? "" : " open",
                 r->finished ? "finished" : "not finished", cel_page_escape(page, title));
    cel_page_put(
        page, "<p>%s on %s, images of %s &middot; seed %lld &middot; %d of %d epochs &middot; %s on %s thread%s",
        cel_page_escape(page, m->method), cel_page_escape(page, h->topology->label), cel_page_escape(page, m->dataset),
        (long long)m->seed, h->n, h->n_epochs, cel_page_duration(page, m->seconds_total),
        cel_page_count(page, (int64_t)m->threads), m->threads == 1 ? "" : "s");
    cel_page_put(page, " &middot; %s</p></header>\n", date(page, m->started));
}

static int count_op(const cel_report *r, const char *name) {
    int n = 0;
    for (int i = 0; i < r->last->genotype.n; i++)
        n += !strcmp(r->history->topology->op_names[r->last->genotype.edge[i].op], name);
    return n;
}

/* One honest sentence. */
static void put_sentence(cel_page *page, const cel_report *r) {
    const cel_standing *s = &r->standing[r->worth];
    const char *where = cel_history_dataset_label[r->worth];
    cel_page_put(page, "<p class=\"verdict\">");
    if (s->rank == 1)
        cel_page_put(page, "The best of all %s cells on <span class=\"nw\">%s</span>: %s test accuracy",
                     cel_page_count(page, s->count), where, percent(page, s->test));
    else
        cel_page_put(
            page, "Better than %s of all %s cells on <span class=\"nw\">%s</span>; %s points below the optimum of %s",
            percent(page, s->better_than), cel_page_count(page, s->count), where,
            cel_page_real(page, s->best - s->test, 2), percent(page, s->best));
    if (s->test < s->mean)
        cel_page_put(page, ", and worse than a random cell, which reaches %s on average", percent(page, s->mean));
    cel_page_put(page, ".</p>\n");
    if (count_op(r, "skip_connect") >= SKIP_COLLAPSE)
        cel_page_put(page,
                     "<p class=\"notice\">%d of the cell’s %d edges are skip connections: the search went the way of a "
                     "collapse.</p>\n",
                     count_op(r, "skip_connect"), r->last->genotype.n);
}

static void put_notices(cel_page *page, const cel_report *r) {
    const cel_history *h = r->history;
    if (!r->finished)
        cel_page_put(
            page,
            "<p class=\"notice\">This run is not finished: %d of %d epochs are done. Everything below is about "
            "what it has found so far.</p>\n",
            h->n, h->n_epochs);
    if (r->last && !r->has_standing)
        cel_page_put(page, "<p class=\"notice\">What this cell is worth is not known: %s</p>\n",
                     cel_page_escape(page, r->why_not));
}

static void put_tile(cel_page *page, const char *style, const char *name, const char *value, const char *small) {
    cel_page_put(page, "<div%s><dt>%s</dt><dd>%s<small>%s</small></dd></div>", style, name, value, small);
}

static const char *signed_points(cel_page *page, double v) {
    return cel_page_text(page, "%s%s", v < 0 ? "−" : "+", cel_page_real(page, fabs(v), 2));
}

static void put_tiles(cel_page *page, const cel_report *r) {
    const cel_standing *s = &r->standing[r->worth];
    cel_page_put(page, "<dl class=\"tiles\">");
    if (r->has_standing) {
        put_tile(page, " class=\"main found\"",
                 cel_page_text(page, "%s test accuracy", cel_history_dataset_label[r->worth]),
                 cel_page_text(page, "<b>%s</b>", percent(page, s->test)),
                 "after 200 epochs of training, by the NAS-Bench-201 table");
        put_tile(page, "", "Rank", cel_page_count(page, s->rank),
                 cel_page_text(page, "of %s cells", cel_page_count(page, s->count)));
        put_tile(page, "", "To the optimum", cel_page_real(page, s->best - s->test, 2), "points of accuracy");
        put_tile(page, "", "To a random cell", signed_points(page, s->test - s->mean),
                 cel_page_text(page, "points; the mean cell has %s", percent(page, s->mean)));
        put_tile(page, "", "Size", cel_page_amount(page, s->params),
                 cel_page_text(page, "parameters; %sFLOPs an image", cel_page_amount(page, s->flops)));
    } else if (!isnan(r->last->params)) {
        put_tile(page, "", "Parameters", cel_page_amount(page, r->last->params), "of the network to train");
        put_tile(page, "", "FLOPs", cel_page_amount(page, r->last->flops), "multiply-adds an image");
    }
    cel_page_put(page, "</dl>");
}

static void put_standings(cel_page *page, const cel_report *r) {
    cel_page_put(page, "<div class=\"scroll standing\"><table><thead><tr><th scope=\"col\">test, 200 epochs</th>"
                       "<th scope=\"col\">this cell</th><th scope=\"col\">rank</th><th scope=\"col\">better than</th>"
                       "<th scope=\"col\">optimum</th><th scope=\"col\">distance</th><th scope=\"col\">mean cell</th>"
                       "<th scope=\"col\">all-skip</th><th scope=\"col\">published</th></tr></thead><tbody>");
    for (int d = 0; d < CEL_HISTORY_DATASETS; d++) {
        const cel_standing *s = &r->standing[d];
        cel_page_put(page, "<tr%s><th scope=\"row\">%s%s</th><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td>",
                     d == r->worth ? " class=\"here\"" : "", cel_history_dataset_label[d],
                     d == r->worth ? " <small>(searched)</small>" : "", percent(page, s->test),
                     cel_page_count(page, s->rank), percent(page, s->better_than), percent(page, s->best),
                     cel_page_real(page, s->best - s->test, 2));
        cel_page_put(page, "<td>%s</td><td>%s</td><td>%s</td></tr>", percent(page, s->mean), percent(page, s->skip),
                     isnan(s->paper) ? "–" : percent(page, s->paper));
    }
    cel_page_put(page, "</tbody></table></div>\n");
    if (!isnan(r->standing[r->worth].paper))
        cel_page_put(page, "<p class=\"soft\">Published: %s.</p>\n", cel_page_escape(page, r->history->expect_source));
}

static void put_field(cel_page *page, const cel_report *r) {
    const cel_standing *s = &r->standing[r->worth];
    const char *where = cel_history_dataset_label[r->worth];
    cel_histogram h = {.title = cel_page_text(page,
                                              "How many of the %s cells have which test accuracy on %s; this cell has "
                                              "%s %%, the optimum %s %%, the mean cell %s %%",
                                              cel_page_count(page, s->count), where, cel_page_real(page, s->test, 2),
                                              cel_page_real(page, s->best, 2), cel_page_real(page, s->mean, 2)),
                       .x_title = cel_page_text(page, "%s test accuracy, %%", where),
                       .value = r->test,
                       .n = s->count,
                       .target = s->best,
                       .split = s->test};
    const cel_marker markers[] = {
        {s->test, cel_page_text(page, "this cell %s", cel_page_real(page, s->test, 2)), "found"},
        {s->best, cel_page_text(page, "optimum %s", cel_page_real(page, s->best, 2)), "best"},
        {s->paper, cel_page_text(page, "published %s", cel_page_real(page, s->paper, 2)), "paper"},
        {s->mean, cel_page_text(page, "mean cell %s", cel_page_real(page, s->mean, 2)), "mean"},
        {s->skip, cel_page_text(page, "all-skip %s", cel_page_real(page, s->skip, 2)), "skip"}};
    for (size_t i = 0; i < CEL_COUNT(markers); i++)
        if (!isnan(markers[i].x)) h.marker[h.n_markers++] = markers[i];
    cel_page_put(page,
                 "<section><h2>Among all cells</h2><figure><figcaption>How many of the %s cells of %s have which "
                 "accuracy. Those in green beat the found one. The scale widens towards the optimum.</figcaption>",
                 cel_page_count(page, s->count), r->history->topology->label);
    cel_histogram_figure(page, &h);
    cel_page_put(page, "</figure></section>\n");
}

void cel_section_verdict(cel_page *page, const cel_report *r) {
    char *picture = NULL;
    put_head(page, r);
    cel_page_put(page, "<section aria-label=\"Verdict\">");
    put_notices(page, r);
    if (r->has_standing) put_sentence(page, r);
    if (!r->last) {
        cel_page_put(page, "<p class=\"verdict\">No epoch is finished yet, so there is no cell.</p></section>\n");
        return;
    }
    if (cel_arch_svg(&r->last->genotype, &picture) != CEL_OK) page->failed = true;
    cel_page_put(page, "<div class=\"top\"><figure class=\"cell\">%s</figure>", picture ? picture : "");
    cel_free(picture);
    put_tiles(page, r);
    cel_page_put(page, "</div><code class=\"string\">%s</code>", cel_page_escape(page, r->last->text));
    if (r->has_standing) put_standings(page, r);
    if (*r->history->note) cel_page_put(page, "<p class=\"soft\">%s</p>", cel_page_escape(page, r->history->note));
    cel_page_put(page, "</section>\n");
    if (r->has_standing) put_field(page, r);
}
