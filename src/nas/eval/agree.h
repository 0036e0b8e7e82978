/* How many bits two rows share. */
#ifndef CEL_NAS_AGREE_H
#define CEL_NAS_AGREE_H
#include "nas/eval/level.h"

/* kernel[i][j] += times * (the number of the first `units` bits in which rows i and j agree), n x n; bits[n][words],
 * zero behind the last unit. */
typedef void cel_agreement_fn(const uint64_t *bits, int n, size_t words, size_t units, int times, double *kernel);
cel_agreement_fn cel_agreement_base, cel_agreement_avx2, cel_agreement_avx512;
#endif
