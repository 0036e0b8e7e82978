#include "lab/report/axis.h"

#include <math.h>
#include <string.h>

static const double TOWARDS_SOFT = 0.4; /* the distance to the target at which the axis is as good as there */

double cel_text_width(const char *text) {
    double w = 0;
    for (const char *p = text; *p; p++)
        if (((unsigned char)*p & 0xC0) != 0x80)
            w += strchr("ilj.,:;|'!1tfI ()", *p) ? 0.42 : strchr("mwMW%", *p) ? 1.05 : 0.7;
    return w * CEL_CHART_FONT;
}

int cel_chart_ticks(double low, double high, int most, bool whole, double ticks[CEL_TICKS], int *digits) {
    static const double steps[] = {1, 2, 5};
    *digits = 0;
    if (most > CEL_TICKS) most = CEL_TICKS;
    if (!(high > low) || most < 2) {
        ticks[0] = low;
        return 1;
    }
    double power = pow(10, floor(log10((high - low) / most)));
    if (whole && power < 1) power = 1;
    double step = power;
    for (int i = 0; i < 9; i++) {
        step = power * steps[i % 3] * pow(10, i / 3);
        if (floor(high / step + 1e-9) - ceil(low / step - 1e-9) + 1 <= most) break;
    }
    int n = 0;
    double first = ceil(low / step - 1e-9);
    for (; n < most && (first + n) * step <= high + 1e-9 * step; n++) ticks[n] = (first + n) * step;
    while (*digits < 9 && fabs(step * pow(10, *digits) - round(step * pow(10, *digits))) > 1e-6) ++*digits;
    return n;
}

static double stretched(const cel_axis *a, double v) {
    if (a->scale == CEL_SCALE_LINEAR) return v;
    return -log((v < a->target ? a->target - v : 0) + TOWARDS_SOFT);
}

double cel_axis_place(const cel_axis *a, double v) {
    double low = stretched(a, a->low), high = stretched(a, a->high);
    return a->from + (a->to - a->from) * (stretched(a, v) - low) / (high - low);
}

int cel_axis_ticks(const cel_axis *a, double gap, double ticks[CEL_TICKS]) {
    static const double steps[] = {50, 20, 10, 5, 2, 1, 0.5};
    int n = 0;
    for (size_t s = 0; s < CEL_COUNT(steps); s++)
        for (double v = floor(a->high / steps[s]) * steps[s]; v >= a->low && n < CEL_TICKS; v -= steps[s]) {
            bool room = fabs(cel_axis_place(a, v + steps[s]) - cel_axis_place(a, v)) >= gap / 2;
            for (int i = 0; i < n; i++) room = room && fabs(cel_axis_place(a, v) - cel_axis_place(a, ticks[i])) >= gap;
            if (room) ticks[n++] = v;
        }
    return n;
}
