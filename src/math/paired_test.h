/* Comparing paired measurements: intervals, the paired t test, Wilcoxon's signed-rank test, Holm's correction for many
 * tests, Friedman's average ranks. All tests are two-sided. Values must be finite. */
#ifndef CEL_MATH_PAIRED_TEST_H
#define CEL_MATH_PAIRED_TEST_H
#include "cellar/status.h"

/* Half the width of the t interval of the mean that covers it with probability `level`; NAN for n < 2. */
double cel_mean_interval(const double *x, size_t n, double level);

/* Is the mean of x - y zero? *p is 1 when all differences are 0, and NAN when they are all equal but not 0 (nothing tells how
 * they would vary) or n < 2. CEL_NOMEM. */
cel_status cel_paired_t(const double *x, const double *y, size_t n, double *t, double *p);

typedef struct cel_signed_rank {
    size_t n;      /* pairs that differ; the others are left out, as Wilcoxon did */
    double w_plus; /* sum of the ranks of positive differences; equal sizes share the mean of their ranks */
    bool exact;    /* from the exact distribution of these ranks (n <= 50); else the normal one, corrected for ties */
    double p;      /* 1 when no pair differs */
} cel_signed_rank;
/* Is x - y symmetric around zero? CEL_NOMEM. */
cel_status cel_signed_rank_test(const double *x, const double *y, size_t n, cel_signed_rank *out);
/* The smallest p that the exact test can give for n pairs: 2^(1 - n). */
double cel_signed_rank_smallest(size_t n);

/* Holm's step-down adjustment of n p-values; `adjusted` may be `p`. NAN stays NAN and is counted as no test. */
cel_status cel_holm(const double *p, size_t n, double *adjusted);

/* Mean rank of each of k treatments over the blocks (values: blocks x k, row-major); rank 1 is the largest value, equal
 * values share. */
cel_status cel_average_ranks(const double *values, size_t blocks, size_t k, double *average);
/* Nemenyi's critical difference: average ranks of k >= 2 treatments over so many blocks that lie further apart differ at level
 * `alpha` (Demsar, JMLR 2006). */
double cel_critical_difference(size_t k, size_t blocks, double alpha);
#endif
