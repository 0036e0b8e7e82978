/* Any bytes as a file of two index lists; what is accepted covers 0 .. n-1. */
#include <stdlib.h>

#include "data/split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    cel_split split;
    if (cel_split_parse("fuzz", (const char *)data, n, &split) != CEL_OK) return 0;
    int64_t sum = 0, all = split.n[0] + split.n[1];
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < split.n[k]; i++) sum += split.index[k][i];
    if (sum != all * (all - 1) / 2) abort();
    cel_split_fini(&split);
    return 0;
}
