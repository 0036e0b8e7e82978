/* Axes of charts: where a value lies, and where ticks go. */
#ifndef CEL_LAB_AXIS_H
#define CEL_LAB_AXIS_H
#include "lab/report/chart.h"

/* Pixels: the style sheet's letters and lines, and the two forms of a figure. */
enum { CEL_CHART_FONT = 13, CEL_CHART_LINE = 17, CEL_CHART_WIDE = 900, CEL_CHART_NARROW = 420 };

typedef struct cel_axis {
    cel_chart_scale scale;
    double target, low, high, from, to; /* pixels at low and high */
} cel_axis;

double cel_axis_place(const cel_axis *axis, double value);
/* Ticks of a stretched axis: the roundest numbers first, each only where there is room, and only where the next of its
 * kind is not far closer than that. Returns how many. */
int cel_axis_ticks(const cel_axis *axis, double gap, double ticks[CEL_TICKS]);
/* How wide a text is drawn, on the safe side. */
double cel_text_width(const char *text);
#endif
