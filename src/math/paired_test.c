/* Wilcoxon, Biometrics 1945; Holm, Scand. J. Statistics 1979; Friedman, JASA 1937; Nemenyi 1963 by Demsar, JMLR 2006. */
#include "math/paired_test.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "math/rank_stats.h"
#include "math/student.h"

enum { MOST_EXACT = 50 };

double cel_mean_interval(const double *x, size_t n, double level) {
    if (n < 2) return NAN;
    return cel_student_quantile(0.5 + 0.5 * level, (double)(n - 1)) * cel_stats_deviation(x, n) / sqrt((double)n);
}

cel_status cel_paired_t(const double *x, const double *y, size_t n, double *t, double *p) {
    double *d;
    *t = *p = NAN;
    if (n < 2) return CEL_OK;
    CEL_ALLOC(d, n);
    bool equal = true;
    for (size_t i = 0; i < n; i++) {
        d[i] = x[i] - y[i];
        equal = equal && d[i] == d[0];
    }
    if (!equal) {
        *t = cel_stats_mean(d, n) / (cel_stats_deviation(d, n) / sqrt((double)n));
        *p = cel_student_two_sided(*t, (double)(n - 1));
    } else if (d[0] == 0) {
        *t = 0;
        *p = 1;
    }
    cel_free(d);
    return CEL_OK;
}

/* P(W <= w) and P(W >= w) when each of the doubled ranks is in the sum with probability 1/2. */
static cel_status exact_tails(const double *ranks, size_t n, double w, double *below, double *above) {
    double *share;
    size_t most = n * (n + 1), reach = 0;
    CEL_ALLOC(share, most + 1);
    share[0] = 1;
    for (size_t i = 0; i < n; i++) {
        size_t r = (size_t)llround(2 * ranks[i]);
        reach += r;
        for (size_t s = reach + 1; s-- > 0;) share[s] = 0.5 * (share[s] + (s >= r ? share[s - r] : 0));
    }
    size_t at = (size_t)llround(2 * w);
    *below = *above = 0;
    for (size_t s = 0; s <= reach; s++) {
        if (s <= at) *below += share[s];
        if (s >= at) *above += share[s];
    }
    cel_free(share);
    return CEL_OK;
}

/* With the variance of the ranks as they are, ties and all: sum r^2 / 4; and half a step of continuity. */
static double normal_p(const double *ranks, size_t n, double w) {
    double square = 0, mean = (double)n * (double)(n + 1) / 4;
    for (size_t i = 0; i < n; i++) square += ranks[i] * ranks[i];
    double far = fmax(0, fabs(w - mean) - 0.5);
    return fmin(1, 2 * cel_normal_cdf(-far / sqrt(square / 4)));
}

static cel_status rank_differences(const double *d, size_t n, double *size, double *ranks, cel_signed_rank *out) {
    for (size_t i = 0; i < n; i++) size[i] = fabs(d[i]);
    CEL_TRY(cel_stats_ranks(size, n, ranks));
    for (size_t i = 0; i < n; i++) out->w_plus += d[i] > 0 ? ranks[i] : 0;
    out->exact = n <= MOST_EXACT;
    if (!out->exact) {
        out->p = normal_p(ranks, n, out->w_plus);
        return CEL_OK;
    }
    double below, above;
    CEL_TRY(exact_tails(ranks, n, out->w_plus, &below, &above));
    out->p = fmin(1, 2 * fmin(below, above));
    return CEL_OK;
}

cel_status cel_signed_rank_test(const double *x, const double *y, size_t n, cel_signed_rank *out) {
    double *room;
    size_t used = 0;
    *out = (cel_signed_rank){.exact = true, .p = 1};
    CEL_ALLOC(room, 3 * n + 1);
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i]) room[used++] = x[i] - y[i];
    out->n = used;
    cel_status status = used ? rank_differences(room, used, room + n, room + 2 * n, out) : CEL_OK;
    cel_free(room);
    return status;
}

double cel_signed_rank_smallest(size_t n) { return ldexp(1, 1 - (int)n); }

typedef struct ordered {
    double p;
    size_t index;
} ordered;

static int by_p(const void *a, const void *b) {
    const ordered *x = a, *y = b;
    if (x->p != y->p) return x->p < y->p ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

cel_status cel_holm(const double *p, size_t n, double *adjusted) {
    ordered *order;
    size_t used = 0;
    CEL_ALLOC(order, n + 1);
    for (size_t i = 0; i < n; i++)
        if (isnan(p[i]))
            adjusted[i] = NAN;
        else
            order[used++] = (ordered){p[i], i};
    qsort(order, used, sizeof *order, by_p);
    double largest = 0;
    for (size_t i = 0; i < used; i++) {
        largest = fmax(largest, fmin(1, (double)(used - i) * order[i].p));
        adjusted[order[i].index] = largest;
    }
    cel_free(order);
    return CEL_OK;
}

cel_status cel_average_ranks(const double *values, size_t blocks, size_t k, double *average) {
    double *room;
    cel_status status = CEL_OK;
    CEL_ALLOC(room, 2 * k + 1);
    for (size_t i = 0; i < k; i++) average[i] = 0;
    for (size_t b = 0; b < blocks && status == CEL_OK; b++) {
        for (size_t i = 0; i < k; i++) room[i] = -values[b * k + i];
        status = cel_stats_ranks(room, k, room + k);
        for (size_t i = 0; i < k; i++) average[i] += room[k + i] / (double)blocks;
    }
    cel_free(room);
    return status;
}

double cel_critical_difference(size_t k, size_t blocks, double alpha) {
    double q = cel_normal_range_quantile(1 - alpha, (int)k) / sqrt(2);
    return q * sqrt((double)k * (double)(k + 1) / (6 * (double)blocks));
}
