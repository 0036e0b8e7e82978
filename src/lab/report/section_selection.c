/* The cells that were drawn from the learned distribution after the search, and what they were ranked by. */
#include <math.h>

#include "lab/report/section.h"

static const char *number(cel_page *page, double v) {
    if (isnan(v)) return "–";
    return cel_page_text(page, fabs(v) >= 1e6 || (v != 0 && fabs(v) < 1e-3) ? "%.3e" : "%.4g", v);
}

void cel_section_selection(cel_page *page, const cel_report *r) {
    const cel_selected *s = &r->history->selection;
    cel_page_put(
        page,
        "<section><h2>Selected among drawn cells</h2><p>%s cells were drawn from the learned distribution, %s of "
        "them different; the best is the cell above. The search itself ended in <code>%s</code>, the "
        "distribution’s mean.</p>\n",
        cel_page_count(page, s->samples), cel_page_count(page, s->n),
        cel_page_escape(page, r->history->record[r->history->n - 1].text));
    cel_page_put(page, "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">rank</th><th scope=\"col\">cell</th>"
                       "<th scope=\"col\">drawn</th>");
    for (int k = 0; k < s->n_parts; k++)
        cel_page_put(page, "<th scope=\"col\">%s</th>", cel_page_escape(page, s->part[k]));
    cel_page_put(page, "</tr></thead><tbody>");
    for (int i = 0; i < s->n_shown; i++) {
        cel_page_put(page, "<tr%s><th scope=\"row\">%s</th><td><code>%s</code></td><td>%s</td>",
                     i ? "" : " class=\"here\"", cel_page_count(page, s->candidate[i].rank),
                     cel_page_escape(page, s->candidate[i].text), cel_page_count(page, s->candidate[i].times));
        for (int k = 0; k < s->n_parts; k++) cel_page_put(page, "<td>%s</td>", number(page, s->candidate[i].part[k]));
        cel_page_put(page, "</tr>");
    }
    cel_page_put(page, "</tbody></table></div>\n");
    if (s->n > s->n_shown)
        cel_page_put(page, "<p class=\"soft\">The best %d; all of them are in selection.json.</p>\n", s->n_shown);
    cel_page_put(page, "</section>\n");
}
