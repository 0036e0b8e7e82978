/* Statistics of samples: moments, quantiles, ranks, rank correlations. All values must be finite; lists have n >= 1. */
#ifndef CEL_MATH_RANK_STATS_H
#define CEL_MATH_RANK_STATS_H
#include "cellar/status.h"

double cel_stats_mean(const double *x, size_t n);
/* The sample standard deviation, divisor n - 1; 0 for n = 1. */
double cel_stats_deviation(const double *x, size_t n);
/* The q-quantile, 0 <= q <= 1, interpolated linearly between order statistics (Hyndman & Fan 1996, type 7). */
cel_status cel_stats_quantile(const double *x, size_t n, double q, double *out);
/* Rank 1 for the smallest; equal values share the mean of their ranks. */
cel_status cel_stats_ranks(const double *x, size_t n, double *ranks);
/* Correlations in -1 .. 1; 0 when one of the lists is constant (or n = 1), where none is defined. */
double cel_stats_pearson(const double *x, const double *y, size_t n);
cel_status cel_stats_spearman(const double *x, const double *y, size_t n, double *rho);
/* Tau-b, in O(n log n). */
cel_status cel_stats_kendall(const double *x, const double *y, size_t n, double *tau);
#endif
