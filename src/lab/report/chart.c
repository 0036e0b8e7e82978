#include "lab/report/chart.h"

#include <math.h>
#include <string.h>

#include "lab/report/axis.h"

/* Sizes in pixels of the wide and of the narrow form. */
enum {
    FONT = CEL_CHART_FONT,
    LINE = CEL_CHART_LINE,
    WIDE = CEL_CHART_WIDE,
    WIDE_HEIGHT = 380,
    NARROW = CEL_CHART_NARROW,
    NARROW_HEIGHT = 300,
    TICK_GAP = 38
};

static void widen(double *low, double *high, double v) {
    if (v < *low) *low = v;
    if (v > *high) *high = v;
}

/* The axis of all values, rounded outwards by a little. */
static cel_axis y_axis(const cel_chart *c) {
    cel_axis a = {.scale = c->scale, .target = c->target, .low = INFINITY, .high = -INFINITY};
    for (int s = 0; s < c->n_series; s++)
        for (int i = 0; i < c->n; i++) {
            widen(&a.low, &a.high, c->series[s].y[i]); /* NAN compares false */
            if (c->series[s].low) widen(&a.low, &a.high, c->series[s].low[i]);
        }
    for (int l = 0; l < c->n_levels; l++) widen(&a.low, &a.high, c->level[l].y);
    if (c->from_zero) widen(&a.low, &a.high, 0);
    if (c->y_min != 0 || c->y_max != 0) {
        widen(&a.low, &a.high, c->y_min);
        widen(&a.low, &a.high, c->y_max);
    }
    if (!(a.low <= a.high)) a.low = 0, a.high = 1;
    if (a.scale == CEL_SCALE_TOWARDS) {
        a.high = a.target;
        a.low = a.low < a.target - 4 ? floor(a.low) : a.target - 4;
        return a;
    }
    double room = (a.high - a.low) * 0.04;
    if (a.high - a.low <= 1e-12 * fabs(a.high)) room = a.high != 0 ? fabs(a.high) * 0.1 : 0.5;
    if (!(c->from_zero && a.low == 0)) a.low -= room;
    a.high += room;
    return a;
}

/* ---- the parts of a chart ---- */

typedef struct frame {
    cel_page *page;
    const cel_chart *chart;
    cel_axis x, y;
    double left, right, top, bottom; /* of the plot */
    bool wide;
} frame;

static const char *px(const frame *f, double v) { return cel_page_coord(f->page, v); }

static double x_at(const frame *f, int i) { return cel_axis_place(&f->x, f->chart->x[i]); }

static void put_text(const frame *f, const char *style, double x, double y, const char *anchor, const char *text) {
    cel_page_put(f->page, "<text class=\"%s\" x=\"%s\" y=\"%s\" text-anchor=\"%s\">%s</text>", style, px(f, x),
                 px(f, y), anchor, cel_page_escape(f->page, text));
}

/* A stretched axis has whole ticks and halves side by side. */
static const char *tick_text(const frame *f, double v, int digits) {
    return cel_page_real(f->page, v, f->y.scale == CEL_SCALE_LINEAR ? digits : v != floor(v));
}

static void put_axes(const frame *f) {
    double ticks[CEL_TICKS];
    int digits = 0, n;
    double height = f->bottom - f->top;
    n = f->y.scale == CEL_SCALE_TOWARDS
            ? cel_axis_ticks(&f->y, LINE + 3, ticks)
            : cel_chart_ticks(f->y.low, f->y.high, 1 + (int)(height / TICK_GAP), false, ticks, &digits);
    for (int i = 0; i < n; i++) {
        double y = cel_axis_place(&f->y, ticks[i]);
        cel_page_put(f->page, "<path class=\"grid\" d=\"M%s %sH%s\"/>", px(f, f->left), px(f, y), px(f, f->right));
        put_text(f, "tick", f->left - 8, y + FONT * 0.36, "end", tick_text(f, ticks[i], digits));
    }
    n = cel_chart_ticks(f->x.low, f->x.high, 1 + (int)((f->right - f->left) / (TICK_GAP + 22)), true, ticks, &digits);
    for (int i = 0; i < n; i++) {
        double x = cel_axis_place(&f->x, ticks[i]);
        cel_page_put(f->page, "<path class=\"axis\" d=\"M%s %sv4\"/>", px(f, x), px(f, f->bottom));
        put_text(f, "tick", x, f->bottom + LINE + 2, "middle", cel_page_real(f->page, ticks[i], 0));
    }
    cel_page_put(f->page, "<path class=\"axis\" d=\"M%s %sH%s\"/>", px(f, f->left), px(f, f->bottom), px(f, f->right));
    if (f->chart->x_title) put_text(f, "title", f->right, f->bottom + 2 * LINE + 4, "end", f->chart->x_title);
    if (f->chart->y_title) put_text(f, "title", 0, FONT, "start", f->chart->y_title);
}

static void put_spans(const frame *f) {
    const cel_chart *c = f->chart;
    for (int s = 0; s < c->n_spans; s++) {
        double x = cel_axis_place(&f->x, c->span[s].x);
        double end = s + 1 < c->n_spans ? cel_axis_place(&f->x, c->span[s + 1].x) : f->right;
        if (s)
            cel_page_put(f->page, "<path class=\"span\" d=\"M%s %sV%s\"/>", px(f, x), px(f, f->top - 4),
                         px(f, f->bottom));
        for (size_t l = 0; l < CEL_COUNT(c->span[s].labels) && c->span[s].labels[l]; l++) {
            if (cel_text_width(c->span[s].labels[l]) > end - x - 12) continue;
            put_text(f, "stage", x + 6, f->top - 8, "start", c->span[s].labels[l]);
            break;
        }
    }
}

/* A line with its gaps; steps hold each value until the next. A value alone becomes a dot (a round cap). */
static void put_line(const frame *f, const cel_series *s) {
    bool pen = false;
    cel_page_put(f->page, "<path class=\"line %s\" d=\"", s->style);
    for (int i = 0; i < f->chart->n; i++) {
        if (isnan(s->y[i])) {
            pen = false;
            continue;
        }
        double x = x_at(f, i), y = cel_axis_place(&f->y, s->y[i]);
        if (!pen)
            cel_page_put(f->page, "M%s %sh0", px(f, x), px(f, y));
        else if (s->kind == CEL_SERIES_STEPS)
            cel_page_put(f->page, "H%sV%s", px(f, x), px(f, y));
        else
            cel_page_put(f->page, "L%s %s", px(f, x), px(f, y));
        pen = true;
    }
    cel_page_put(f->page, "\"/>");
}

static void put_band(const frame *f, const cel_series *s) {
    for (int from = 0, to; from < f->chart->n; from = to + 1) {
        for (to = from; to < f->chart->n && !isnan(s->y[to]) && !isnan(s->low[to]); to++) continue;
        if (to == from) continue;
        cel_page_put(f->page, "<path class=\"band %s\" d=\"", s->style);
        for (int i = from; i < to; i++)
            cel_page_put(f->page, "%s%s %s", i == from ? "M" : "L", px(f, x_at(f, i)),
                         px(f, cel_axis_place(&f->y, s->y[i])));
        for (int i = to - 1; i >= from; i--)
            cel_page_put(f->page, "L%s %s", px(f, x_at(f, i)), px(f, cel_axis_place(&f->y, s->low[i])));
        cel_page_put(f->page, "Z\"/>");
    }
}

/* ---- labels at the right ---- */

typedef struct end_label {
    double at, y; /* where it belongs, where it goes */
    const char *text, *style;
} end_label;

enum { ENDS = CEL_CHART_SERIES + CEL_CHART_LEVELS };

static int last_value(const cel_chart *c, const cel_series *s) {
    int i = c->n - 1;
    while (i >= 0 && isnan(s->y[i])) i--;
    return i;
}

static const char *end_text(cel_page *page, const cel_chart *c, const char *label, double value) {
    return cel_page_text(page, "%s %s", label, cel_page_real(page, value, c->digits));
}

static int collect_ends(cel_page *page, const cel_chart *c, end_label ends[ENDS], double values[ENDS]) {
    int n = 0;
    for (int s = 0; s < c->n_series; s++) {
        int i = c->series[s].end_label ? last_value(c, &c->series[s]) : -1;
        if (i < 0) continue;
        values[n] = c->series[s].y[i];
        ends[n++] =
            (end_label){.text = end_text(page, c, c->series[s].label, c->series[s].y[i]), .style = c->series[s].style};
    }
    for (int l = 0; l < c->n_levels; l++) {
        values[n] = c->level[l].y;
        ends[n++] =
            (end_label){.text = end_text(page, c, c->level[l].label, c->level[l].y), .style = c->level[l].style};
    }
    return n;
}

/* Sorts by place and pushes neighbours apart: down first, then up from the lowest place there is. */
static void spread(end_label *ends, int n, double top, double bottom) {
    for (int i = 1; i < n; i++)
        for (int k = i; k > 0 && ends[k].at < ends[k - 1].at; k--) {
            end_label swap = ends[k];
            ends[k] = ends[k - 1];
            ends[k - 1] = swap;
        }
    for (int i = 0; i < n; i++)
        ends[i].y = i && ends[i].at < ends[i - 1].y + LINE ? ends[i - 1].y + LINE : fmax(ends[i].at, top);
    for (int i = n - 1; i >= 0; i--) {
        double lowest = i == n - 1 ? bottom : ends[i + 1].y - LINE;
        if (ends[i].y > lowest) ends[i].y = lowest;
    }
}

static void put_ends(const frame *f, end_label *ends, const double *values, int n) {
    for (int i = 0; i < n; i++) ends[i].at = cel_axis_place(&f->y, values[i]);
    spread(ends, n, f->top, f->bottom);
    for (int i = 0; i < n; i++) {
        cel_page_put(f->page, "<path class=\"leader\" d=\"M%s %sL%s %s\"/>", px(f, f->right + 2), px(f, ends[i].at),
                     px(f, f->right + 12), px(f, ends[i].y));
        put_text(f, cel_page_text(f->page, "end %s", ends[i].style), f->right + 15, ends[i].y + FONT * 0.36, "start",
                 ends[i].text);
    }
}

/* ---- a chart ---- */

static double tick_room(const frame *f) {
    double widest = 0, low = f->y.low, high = f->y.high, ticks[CEL_TICKS];
    int digits = 1, n = 0;
    if (f->y.scale == CEL_SCALE_LINEAR)
        n = cel_chart_ticks(low, high, 1 + (int)((f->bottom - f->top) / TICK_GAP), false, ticks, &digits);
    else
        ticks[n++] = high;
    for (int i = 0; i < n; i++) widest = fmax(widest, cel_text_width(cel_page_real(f->page, ticks[i], digits)));
    return widest + 10;
}

void cel_chart_put(cel_page *page, const cel_chart *chart, const char *form, int width, int height) {
    end_label ends[ENDS];
    double values[ENDS], room = 0;
    frame f = {.page = page, .chart = chart, .y = y_axis(chart), .wide = width >= WIDE};
    int n_ends = f.wide ? collect_ends(page, chart, ends, values) : 0;
    for (int i = 0; i < n_ends; i++) room = fmax(room, cel_text_width(ends[i].text) + 18);
    f.top = (chart->y_title ? LINE + 6 : 8) + (chart->n_spans > 1 && chart->span[0].labels[0] ? LINE + 6 : 0);
    f.bottom = height - (chart->x_title ? 2 * LINE + 10 : LINE + 8);
    f.y.from = f.bottom;
    f.y.to = f.top;
    f.left = tick_room(&f);
    f.right = width - fmax(room, 12);
    bool point = !(chart->x_max > chart->x_min);
    f.x = (cel_axis){.low = chart->x_min - point, .high = chart->x_max + point, .from = f.left, .to = f.right};
    cel_page_put(page, "<svg class=\"chart %s\" role=\"img\" viewBox=\"0 0 %d %d\" aria-label=\"%s\"><title>%s</title>",
                 form, width, height, cel_page_escape(page, chart->title), cel_page_escape(page, chart->title));
    for (int s = 0; s < chart->n_series; s++)
        if (chart->series[s].kind == CEL_SERIES_BAND) put_band(&f, &chart->series[s]);
    put_axes(&f);
    put_spans(&f);
    for (int l = 0; l < chart->n_levels; l++)
        cel_page_put(page, "<path class=\"level %s\" d=\"M%s %sH%s\"/>", chart->level[l].style, px(&f, f.left),
                     px(&f, cel_axis_place(&f.y, chart->level[l].y)), px(&f, f.right));
    for (int s = 0; s < chart->n_series; s++)
        if (chart->series[s].kind != CEL_SERIES_BAND) put_line(&f, &chart->series[s]);
    put_ends(&f, ends, values, n_ends);
    cel_page_put(page, "</svg>\n");
}

static void put_key(cel_page *page, const char *mark, const char *style, const char *label, const char *value) {
    cel_page_put(
        page, "<li><svg class=\"key\" viewBox=\"0 0 26 12\" aria-hidden=\"true\">%s class=\"%s %s\"%s</svg>%s%s</li>",
        !strcmp(mark, "band") ? "<rect width=\"26\" height=\"12\"" : "<path d=\"M1 6H25\"", mark, style, "/>",
        cel_page_escape(page, label), value);
}

void cel_chart_legend(cel_page *page, const cel_chart *c) {
    cel_page_put(page, "<ul class=\"legend\">");
    for (int s = 0; s < c->n_series; s++) {
        int i = c->series[s].end_label ? last_value(c, &c->series[s]) : -1;
        const char *value = i < 0
                                ? ""
                                : cel_page_text(page, " <b>%s%s</b>", cel_page_real(page, c->series[s].y[i], c->digits),
                                                c->unit ? c->unit : "");
        put_key(page, c->series[s].kind == CEL_SERIES_BAND ? "band" : "line", c->series[s].style, c->series[s].label,
                value);
    }
    for (int l = 0; l < c->n_levels; l++)
        put_key(
            page, "level", c->level[l].style, c->level[l].label,
            cel_page_text(page, " <b>%s%s</b>", cel_page_real(page, c->level[l].y, c->digits), c->unit ? c->unit : ""));
    cel_page_put(page, "</ul>\n");
}

void cel_chart_figure(cel_page *page, const cel_chart *chart) {
    cel_chart_legend(page, chart);
    cel_chart_put(page, chart, "wide", WIDE, WIDE_HEIGHT);
    cel_chart_put(page, chart, "narrow", NARROW, NARROW_HEIGHT);
}

/* ---- histograms ---- */

enum { BINS = 96, HISTOGRAM_HEIGHT = 150 };

typedef struct bins {
    int passed[BINS], ahead[BINS], most;
} bins;

static bins count(const cel_histogram *h, const cel_axis *x, int n_bins) {
    bins b = {.most = 1};
    for (int i = 0; i < h->n; i++) {
        int bin = (int)floor(cel_axis_place(x, h->value[i]) * n_bins);
        bin = bin < 0 ? 0 : bin >= n_bins ? n_bins - 1 : bin;
        ++*(h->value[i] <= h->split ? &b.passed[bin] : &b.ahead[bin]);
        if (b.passed[bin] + b.ahead[bin] > b.most) b.most = b.passed[bin] + b.ahead[bin];
    }
    return b;
}

/* The lowest row in which a label touches no other; its text stays inside the picture. */
static int marker_row(double left[], double right[], int row[], int i, double x, double width, double text) {
    double from = fmin(fmax(x - text / 2, 2), width - text - 2);
    left[i] = from;
    right[i] = from + text;
    for (int r = 0;; r++) { /* the i-th row is free at the latest */
        bool free = true;
        for (int k = 0; k < i; k++) free = free && (row[k] != r || left[i] > right[k] + 8 || right[i] < left[k] - 8);
        if (free) return r;
    }
}

static void put_histogram(cel_page *page, const cel_histogram *h, const char *form, int width) {
    double low = h->target - 4, left[CEL_CHART_MARKERS], right[CEL_CHART_MARKERS], ticks[CEL_TICKS];
    int row[CEL_CHART_MARKERS], rows = 0, n_bins = width >= WIDE ? BINS : BINS / 3;
    for (int i = 0; i < h->n; i++) low = fmin(low, floor(h->value[i]));
    cel_axis unit = {CEL_SCALE_TOWARDS, h->target, low, h->target, 0, 1};
    cel_axis x = unit;
    x.from = 12;
    x.to = width - 24;
    bins b = count(h, &unit, n_bins);
    for (int i = 0; i < h->n_markers; i++) {
        row[i] = marker_row(left, right, row, i, cel_axis_place(&x, h->marker[i].x), width,
                            cel_text_width(h->marker[i].label));
        if (row[i] + 1 > rows) rows = row[i] + 1;
    }
    double top = rows * (LINE + 3) + 10, bottom = top + HISTOGRAM_HEIGHT, bar = (x.to - x.from) / n_bins;
    frame f = {.page = page};
    cel_page_put(page, "<svg class=\"chart %s\" role=\"img\" viewBox=\"0 0 %d %d\" aria-label=\"%s\"><title>%s</title>",
                 form, width, (int)bottom + 2 * LINE + 10, cel_page_escape(page, h->title),
                 cel_page_escape(page, h->title));
    for (int i = 0; i < n_bins; i++) {
        double passed = b.passed[i] * (double)HISTOGRAM_HEIGHT / b.most,
               ahead = b.ahead[i] * (double)HISTOGRAM_HEIGHT / b.most;
        double at = x.from + i * bar;
        if (passed > 0)
            cel_page_put(page, "<rect class=\"bar passed\" x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\"/>",
                         px(&f, at + 0.5), px(&f, bottom - passed), px(&f, bar - 1), px(&f, passed));
        if (ahead > 0)
            cel_page_put(page, "<rect class=\"bar ahead\" x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\"/>",
                         px(&f, at + 0.5), px(&f, bottom - passed - ahead), px(&f, bar - 1), px(&f, ahead));
    }
    cel_page_put(page, "<path class=\"axis\" d=\"M%s %sH%s\"/>", px(&f, x.from), px(&f, bottom), px(&f, x.to));
    int n = cel_axis_ticks(&x, TICK_GAP + 8, ticks);
    for (int i = 0; i < n; i++) {
        double at = cel_axis_place(&x, ticks[i]);
        cel_page_put(page, "<path class=\"axis\" d=\"M%s %sv4\"/>", px(&f, at), px(&f, bottom));
        put_text(&f, "tick", at, bottom + LINE + 2, "middle",
                 cel_page_real(page, ticks[i], ticks[i] != floor(ticks[i])));
    }
    put_text(&f, "title", x.to, bottom + 2 * LINE + 4, "end", h->x_title);
    for (int i = 0; i < h->n_markers; i++)
        cel_page_put(page, "<path class=\"level %s\" d=\"M%s %sV%s\"/>", h->marker[i].style,
                     px(&f, cel_axis_place(&x, h->marker[i].x)), px(&f, top - 4 - row[i] * (LINE + 3)), px(&f, bottom));
    for (int i = 0; i < h->n_markers; i++)
        put_text(&f, cel_page_text(page, "end %s", h->marker[i].style), left[i], top - 8 - row[i] * (LINE + 3), "start",
                 h->marker[i].label);
    cel_page_put(page, "</svg>\n");
}

void cel_histogram_figure(cel_page *page, const cel_histogram *histogram) {
    put_histogram(page, histogram, "wide", WIDE);
    put_histogram(page, histogram, "narrow", NARROW);
}
