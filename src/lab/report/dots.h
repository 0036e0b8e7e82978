/* Measurements of several things side by side: a row for each, a dot for each measurement, the mean and its interval,
 * on one horizontal axis that spreads towards the best value there is. */
#ifndef CEL_LAB_DOTS_H
#define CEL_LAB_DOTS_H
#include "lab/report/chart.h"

typedef struct cel_dots_row {
    const char *label;
    const double *value; /* n */
    int n;
    double mean, half; /* half the interval's width; NAN: none */
} cel_dots_row;

typedef struct cel_dots {
    const char *title; /* for screen readers */
    const char *x_title;
    const cel_dots_row *row;
    int n_rows;
    double target; /* no value lies above */
    cel_level level[CEL_CHART_LEVELS];
    int n_levels;
} cel_dots;

/* Legend, wide and narrow form. What of an interval lies beyond the axis is cut off there. */
void cel_dots_figure(cel_page *page, const cel_dots *dots);
#endif
