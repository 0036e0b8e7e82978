/* The cases: supernets of the paper's size (C = 16, N = 5) as a search steps through them, and what surrounds a step. */
#include <string.h>

#include "lab/bench/bench.h"

#define STAGE(k) "search: {stages: [{k: " #k "}]}"

static const cel_bench_setup setups[] = {
    {{"nb201_k4", "DrNAS on NAS-Bench-201, K = 4, five operations on each edge", 128},
     CEL_BENCH_SEARCH,
     STAGE(4),
     false},
    {{"nb201_k2_keep3", "the same, K = 2, three operations kept on each edge", 128}, CEL_BENCH_SEARCH, STAGE(2), true},
    {{"nb201_k1", "the same, K = 1, five operations", 128}, CEL_BENCH_SEARCH, STAGE(1), false},
    {{"nb201_k4_second", "K = 4, second order: the architecture's gradient through a step of the weights", 128},
     CEL_BENCH_SEARCH,
     "search: {stages: [{k: 4}], order: second}",
     false},
    {{"nb201_k1_valid", "validation of the K = 1 supernet: forward only, five operations on each edge", 64},
     CEL_BENCH_VALIDATE,
     STAGE(1),
     false},
    {{"loader", "the batches of fifty steps, shuffled, cropped, mirrored and normalised, and nothing else", 50 * 128},
     CEL_BENCH_LOADER,
     STAGE(4),
     false},
};

const cel_bench_setup *cel_bench_setup_find(const char *name, int i) {
    for (int k = 0; name && k < (int)CEL_COUNT(setups); k++)
        if (!strcmp(name, setups[k].shown.name)) return &setups[k];
    return !name && i >= 0 && i < (int)CEL_COUNT(setups) ? &setups[i] : NULL;
}

const cel_bench_case *cel_bench_case_get(int i) {
    const cel_bench_setup *setup = cel_bench_setup_find(NULL, i);
    return setup ? &setup->shown : NULL;
}
