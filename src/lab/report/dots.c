#include "lab/report/dots.h"

#include <math.h>

#include "lab/report/axis.h"

enum { ROW = 38, LABEL_ROW = 20, RADIUS = 4, LANE = 6 };

static const char *px(cel_page *page, double v) { return cel_page_coord(page, v); }

static cel_axis axis_of(const cel_dots *d) {
    cel_axis x = {.scale = CEL_SCALE_TOWARDS, .target = d->target, .low = d->target - 4, .high = d->target};
    for (int r = 0; r < d->n_rows; r++)
        for (int i = 0; i < d->row[r].n; i++) x.low = fmin(x.low, floor(d->row[r].value[i]));
    for (int l = 0; l < d->n_levels; l++) x.low = fmin(x.low, floor(d->level[l].y));
    return x;
}

static void put_axis(cel_page *page, const cel_dots *d, const cel_axis *x, double top, double bottom) {
    double ticks[CEL_TICKS];
    int n = cel_axis_ticks(x, 46, ticks);
    for (int i = 0; i < n; i++) {
        double at = cel_axis_place(x, ticks[i]);
        cel_page_put(page, "<path class=\"grid\" d=\"M%s %sV%s\"/>", px(page, at), px(page, top), px(page, bottom));
        cel_page_put(page, "<text class=\"tick\" x=\"%s\" y=\"%s\" text-anchor=\"middle\">%s</text>", px(page, at),
                     px(page, bottom + CEL_CHART_LINE), cel_page_real(page, ticks[i], ticks[i] != floor(ticks[i])));
    }
    for (int l = 0; l < d->n_levels; l++)
        cel_page_put(page, "<path class=\"level %s\" d=\"M%s %sV%s\"/>", d->level[l].style,
                     px(page, cel_axis_place(x, d->level[l].y)), px(page, top), px(page, bottom));
    cel_page_put(page, "<text class=\"title\" x=\"%s\" y=\"%s\" text-anchor=\"end\">%s</text>", px(page, x->to),
                 px(page, bottom + 2 * CEL_CHART_LINE), cel_page_escape(page, d->x_title));
}

/* Measurements have lanes of their own, so that equal ones are seen. */
static void put_row(cel_page *page, const cel_axis *x, const cel_dots_row *row, double y) {
    double lane = row->n > 1 ? fmin(LANE, (ROW - 14.0) / (row->n - 1)) : 0;
    if (!isnan(row->mean) && !isnan(row->half)) {
        double low = cel_axis_place(x, fmax(x->low, row->mean - row->half)),
               high = cel_axis_place(x, fmin(x->high, row->mean + row->half));
        cel_page_put(page, "<rect class=\"band train\" x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" rx=\"3\"/>",
                     px(page, low), px(page, y - 11), px(page, fmax(high - low, 1)), px(page, 22));
    }
    if (!isnan(row->mean))
        cel_page_put(page, "<path class=\"line train\" d=\"M%s %sv22\"/>", px(page, cel_axis_place(x, row->mean)),
                     px(page, y - 11));
    for (int i = 0; i < row->n; i++)
        cel_page_put(page, "<circle class=\"bar found\" cx=\"%s\" cy=\"%s\" r=\"%d\"/>",
                     px(page, cel_axis_place(x, row->value[i])), px(page, y + (i - (row->n - 1) * 0.5) * lane), RADIUS);
}

static void put_form(cel_page *page, const cel_dots *d, const char *form, int width) {
    bool wide = width >= CEL_CHART_WIDE;
    double room = 0, row_height = wide ? ROW : ROW + LABEL_ROW, top = 6;
    for (int r = 0; r < d->n_rows; r++) room = fmax(room, cel_text_width(d->row[r].label));
    double bottom = top + d->n_rows * row_height + 4;
    cel_axis x = axis_of(d);
    x.from = wide ? fmin(room, 260) + 16 : 10;
    x.to = width - 20;
    cel_page_put(page, "<svg class=\"chart %s\" role=\"img\" viewBox=\"0 0 %d %d\" aria-label=\"%s\"><title>%s</title>",
                 form, width, (int)bottom + 2 * CEL_CHART_LINE + 8, cel_page_escape(page, d->title),
                 cel_page_escape(page, d->title));
    put_axis(page, d, &x, top, bottom);
    for (int r = 0; r < d->n_rows; r++) {
        double y = top + r * row_height + row_height - ROW * 0.5;
        cel_page_put(page, "<text class=\"name\" x=\"%s\" y=\"%s\" text-anchor=\"%s\">%s</text>",
                     wide ? px(page, x.from - 12) : "2", px(page, wide ? y + 5 : y - ROW * 0.5 - 3),
                     wide ? "end" : "start", cel_page_escape(page, d->row[r].label));
        put_row(page, &x, &d->row[r], y);
    }
    cel_page_put(page, "</svg>\n");
}

static void put_key(cel_page *page, const char *mark, const char *label) {
    cel_page_put(page, "<li><svg class=\"key\" viewBox=\"0 0 26 12\" aria-hidden=\"true\">%s</svg>%s</li>", mark,
                 label);
}

void cel_dots_figure(cel_page *page, const cel_dots *d) {
    cel_page_put(page, "<ul class=\"legend\">");
    put_key(page, "<circle class=\"bar found\" cx=\"13\" cy=\"6\" r=\"4\"/>", "a search");
    put_key(page, "<rect class=\"band train\" width=\"26\" height=\"12\"/><path class=\"line train\" d=\"M13 0v12\"/>",
            "mean and its interval");
    for (int l = 0; l < d->n_levels; l++)
        put_key(page, cel_page_text(page, "<path class=\"level %s\" d=\"M1 6H25\"/>", d->level[l].style),
                cel_page_text(page, "%s <b>%s %%</b>", cel_page_escape(page, d->level[l].label),
                              cel_page_real(page, d->level[l].y, 2)));
    cel_page_put(page, "</ul>\n");
    put_form(page, d, "wide", CEL_CHART_WIDE);
    put_form(page, d, "narrow", CEL_CHART_NARROW);
}
