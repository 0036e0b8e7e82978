/* The cases: supernets of the paper's size (C = 16, N = 5) as a search steps through them, and what surrounds a step. */
#include <string.h>

#include "lab/bench/bench.h"

#define STAGE(k) "search: {stages: [{k: " #k "}]}"

static const cel_bench_setup setups[] = {
    {.shown = {"nb201_k4", "DrNAS on NAS-Bench-201, K = 4, five operations on each edge", 128},
     .kind = CEL_BENCH_SEARCH,
     .recipe = STAGE(4)},
    {.shown = {"nb201_k2_keep3", "the same, K = 2, three operations kept on each edge", 128},
     .kind = CEL_BENCH_SEARCH,
     .recipe = STAGE(2),
     .prune = true},
    {.shown = {"nb201_k1", "the same, K = 1, five operations", 128}, .kind = CEL_BENCH_SEARCH, .recipe = STAGE(1)},
    {.shown = {"nb201_k1_bf16", "K = 1, five operations, 3x3 convolutions and what they keep in bf16", 128},
     .kind = CEL_BENCH_SEARCH,
     .recipe = "search: {precision: bf16, stages: [{k: 1}]}"},
    {.shown = {"nb201_path", "GDAS, K = 1: one operation an edge is computed, another one in each half-step", 128},
     .kind = CEL_BENCH_SEARCH,
     .recipe = "search: {method: gdas, stages: [{k: 1}]}"},
    {.shown = {"nb201_k4_second", "K = 4, second order: the architecture's gradient through a step of the weights",
               128},
     .kind = CEL_BENCH_SEARCH,
     .recipe = "search: {stages: [{k: 4}], order: second}"},
    {.shown = {"nb201_k1_valid", "validation of the K = 1 supernet: forward only, five operations on each edge", 64},
     .kind = CEL_BENCH_VALIDATE,
     .recipe = STAGE(1)},
    {.shown = {"nb201_k2_keep3_valid", "the same, K = 2, three operations kept on each edge", 64},
     .kind = CEL_BENCH_VALIDATE,
     .recipe = STAGE(2),
     .prune = true},
    {.shown = {"nb201_k4_valid", "the same, K = 4, five operations", 64},
     .kind = CEL_BENCH_VALIDATE,
     .recipe = STAGE(4)},
    {.shown = {"nb201_discrete_b1", "a found network asked for fifty images, one after another", 50},
     .kind = CEL_BENCH_INFER,
     .recipe = STAGE(1),
     .batch = 1},
    {.shown = {"nb201_discrete_b256", "a found network asked for 256 images at once", 256},
     .kind = CEL_BENCH_INFER,
     .recipe = STAGE(1),
     .batch = 256},
    {.shown = {"loader", "the batches of fifty steps, shuffled, cropped, mirrored and normalised, and nothing else",
               50 * 128},
     .kind = CEL_BENCH_LOADER,
     .recipe = STAGE(4)},
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
