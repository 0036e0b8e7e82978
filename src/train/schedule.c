/* Schedules; see schedule.h. */
#include "train/schedule.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

double cel_schedule_cosine(double at, double total, double high, double low, double restart) {
    return low + (high - low) * (1 + cos(pi * at / total)) / (1 + cos(pi * restart / total));
}

double cel_schedule_linear(double at, double total, double first, double last) {
    return total > 1 ? first + (last - first) * at / (total - 1) : first;
}
