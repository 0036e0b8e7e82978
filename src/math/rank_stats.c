/* Rank statistics; Kendall's tau-b by Knight 1966, "A computer method for calculating Kendall's tau with ungrouped
 * data". */
#include "math/rank_stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

typedef struct {
    double x, y;
    size_t index;
} pair;

static int order(double a, double b) { return (a > b) - (a < b); }
static int by_value(const void *a, const void *b) { return order(*(const double *)a, *(const double *)b); }
static int by_x_then_y(const void *a, const void *b) {
    const pair *p = a, *q = b;
    int first = order(p->x, q->x);
    return first ? first : order(p->y, q->y);
}

double cel_stats_mean(const double *x, size_t n) {
    double sum = 0, rest = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    sum /= (double)n;
    for (size_t i = 0; i < n; i++) rest += x[i] - sum; /* second pass: removes the first one's rounding */
    return sum + rest / (double)n;
}

double cel_stats_deviation(const double *x, size_t n) {
    double mean = cel_stats_mean(x, n), sum = 0;
    for (size_t i = 0; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
    return n > 1 ? sqrt(sum / (double)(n - 1)) : 0;
}

cel_status cel_stats_quantile(const double *x, size_t n, double q, double *out) {
    double *sorted;
    CEL_ALLOC(sorted, n);
    memcpy(sorted, x, n * sizeof *x);
    qsort(sorted, n, sizeof *sorted, by_value);
    double at = q * (double)(n - 1);
    size_t low = (size_t)at, high = low + 1 < n ? low + 1 : low;
    *out = sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
    cel_free(sorted);
    return CEL_OK;
}

cel_status cel_stats_ranks(const double *x, size_t n, double *ranks) {
    pair *list;
    CEL_ALLOC(list, n);
    for (size_t i = 0; i < n; i++) list[i] = (pair){x[i], 0, i};
    qsort(list, n, sizeof *list, by_x_then_y);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && list[end].x == list[i].x;) end++;
        for (size_t k = i; k < end; k++) ranks[list[k].index] = 0.5 * (double)(i + 1 + end);
    }
    cel_free(list);
    return CEL_OK;
}

double cel_stats_pearson(const double *x, const double *y, size_t n) {
    double mean_x = cel_stats_mean(x, n), mean_y = cel_stats_mean(y, n), xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        double u = x[i] - mean_x, v = y[i] - mean_y;
        xx += u * u;
        yy += v * v;
        xy += u * v;
    }
    if (!(xx > 0 && yy > 0)) return 0;
    return fmax(-1, fmin(1, xy / xx * sqrt(xx / yy)));
}

cel_status cel_stats_spearman(const double *x, const double *y, size_t n, double *rho) {
    double *ranks;
    CEL_ALLOC(ranks, 2 * n);
    cel_status status = cel_stats_ranks(x, n, ranks);
    if (status == CEL_OK) status = cel_stats_ranks(y, n, ranks + n);
    if (status == CEL_OK) *rho = cel_stats_pearson(ranks, ranks + n, n);
    cel_free(ranks);
    return status;
}

/* Sorts y and counts the exchanges a bubble sort would make, that is the discordant pairs. */
static double merge_count(double *y, double *spare, size_t n) {
    if (n < 2) return 0;
    size_t half = n / 2, i = 0, j = half, k = 0;
    double count = merge_count(y, spare, half) + merge_count(y + half, spare, n - half);
    while (i < half && j < n) {
        if (y[j] < y[i]) {
            count += (double)(half - i);
            spare[k++] = y[j++];
        } else
            spare[k++] = y[i++];
    }
    while (i < half) spare[k++] = y[i++];
    memcpy(y, spare, k * sizeof *y);
    return count;
}

static double n_pairs(size_t n) { return 0.5 * (double)n * (double)(n - 1); }

cel_status cel_stats_kendall(const double *x, const double *y, size_t n, double *tau) {
    pair *list;
    double *sorted, tied_x = 0, tied_y = 0, tied_both = 0;
    CEL_ALLOC(list, n);
    sorted = cel_alloc(2 * n, sizeof *sorted);
    if (!sorted) {
        cel_free(list);
        return CEL_FAIL(CEL_NOMEM, "out of memory: rank correlation of %zu values", n);
    }
    for (size_t i = 0; i < n; i++) list[i] = (pair){x[i], y[i], i};
    qsort(list, n, sizeof *list, by_x_then_y);
    for (size_t i = 0; i < n; i++) sorted[i] = list[i].y;
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && list[end].x == list[i].x;) end++;
        tied_x += n_pairs(end - i);
        for (size_t k = i, stop; k < end; k = stop) {
            for (stop = k + 1; stop < end && list[stop].y == list[k].y;) stop++;
            tied_both += n_pairs(stop - k);
        }
    }
    double discordant = merge_count(sorted, sorted + n, n);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && sorted[end] == sorted[i];) end++;
        tied_y += n_pairs(end - i);
    }
    cel_free(sorted);
    cel_free(list);
    double all = n_pairs(n), free_x = all - tied_x, free_y = all - tied_y;
    double difference = all - tied_x - tied_y + tied_both - 2 * discordant;
    *tau = free_x > 0 && free_y > 0 ? difference / free_x * sqrt(free_x / free_y) : 0;
    return CEL_OK;
}
