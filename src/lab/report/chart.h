/* Charts as inline SVG: bands, lines and reference lines over a common x axis, histograms, with axes of round numbers.
 *
 * Labels never overlap: ticks keep their distance, labels at the ends of lines are pushed apart, labels of stages and
 * markers take a shorter form or another row. Colours come from the page's style sheet by class ("found", "op3"), so
 * one chart serves light, dark and print. A figure holds each chart twice, for wide and for narrow screens; the style
 * sheet shows one of them, so that letters keep their size. */
#ifndef CEL_LAB_CHART_H
#define CEL_LAB_CHART_H
#include "lab/report/page.h"

/* The vertical axis. TOWARDS spreads the values near `target` (the optimum), the more the nearer. */
typedef enum cel_chart_scale { CEL_SCALE_LINEAR, CEL_SCALE_TOWARDS } cel_chart_scale;

typedef enum cel_series_kind { CEL_SERIES_LINE, CEL_SERIES_STEPS, CEL_SERIES_BAND } cel_series_kind;
typedef struct cel_series {
    cel_series_kind kind;
    const char *label, *style; /* style: class of the style sheet */
    const double *y, *low;     /* n numbers, NAN for a gap; low: a band's other border */
    bool end_label;            /* its last value at its end, on wide charts */
} cel_series;

/* A horizontal line with a name. */
typedef struct cel_level {
    double y;
    const char *label, *style;
} cel_level;

/* From x on, something else begins; the first label that fits is written. */
typedef struct cel_span {
    double x;
    const char *labels[3];
} cel_span;

enum { CEL_CHART_SERIES = 40, CEL_CHART_LEVELS = 4, CEL_CHART_SPANS = 16 };
typedef struct cel_chart {
    const char *title; /* for screen readers: what the picture shows */
    const char *x_title, *y_title;
    int n;               /* points */
    const double *x;     /* ascending */
    double x_min, x_max; /* the whole axis, at least the points' */
    cel_chart_scale scale;
    double target;       /* TOWARDS: no value lies above */
    bool from_zero;      /* the axis has 0 in it */
    double y_min, y_max; /* the axis has these in it; both 0: the data decide alone */
    int digits;          /* of end labels */
    const char *unit;    /* behind end labels and in the legend: " %" */
    cel_series series[CEL_CHART_SERIES];
    cel_level level[CEL_CHART_LEVELS];
    cel_span span[CEL_CHART_SPANS];
    int n_series, n_levels, n_spans;
} cel_chart;

/* Texts are escaped here. A chart of `width` x `height` pixels as one <svg class=`form`>. */
void cel_chart_put(cel_page *page, const cel_chart *chart, const char *form, int width, int height);
/* Legend, wide and narrow form. */
void cel_chart_figure(cel_page *page, const cel_chart *chart);
void cel_chart_legend(cel_page *page, const cel_chart *chart);

/* How many values lie where, on a horizontal axis that spreads towards `target`, with named markers above. */
typedef struct cel_marker {
    double x;
    const char *label, *style;
} cel_marker;
enum { CEL_CHART_MARKERS = 8 };
typedef struct cel_histogram {
    const char *title, *x_title;
    const double *value;
    int n;
    double target, split; /* values up to `split` are drawn as passed */
    cel_marker marker[CEL_CHART_MARKERS];
    int n_markers;
} cel_histogram;
void cel_histogram_figure(cel_page *page, const cel_histogram *histogram);

/* Round positions between low and high, at most `most` of them, at least 1 apart when whole; returns how many. */
enum { CEL_TICKS = 32 };
int cel_chart_ticks(double low, double high, int most, bool whole, double ticks[CEL_TICKS], int *digits);
#endif
