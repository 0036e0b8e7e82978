/* Counting equal bits; see agree.h. */
#include "nas/eval/agree.h"

#include "engine/backend/cpu/lanes.h"

enum { BLOCK = 512 }; /* words of all rows stay in the cache: 64 rows are 256 KiB */

void CEL_ISA_FN(cel_agreement)(const uint64_t *bits, int n, size_t words, size_t units, int times, double *kernel) {
    for (int i = 0; i < n * n; i++) kernel[i] += (double)times * (double)units;
    for (size_t first = 0; first < words; first += BLOCK) {
        size_t last = first + BLOCK < words ? first + BLOCK : words;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < i; j++) {
                const uint64_t *x = bits + (size_t)i * words, *y = bits + (size_t)j * words;
                uint64_t different = 0;
                for (size_t k = first; k < last; k++) different += (uint64_t)__builtin_popcountll(x[k] ^ y[k]);
                kernel[i * n + j] -= (double)times * (double)different;
                kernel[j * n + i] -= (double)times * (double)different;
            }
    }
}
