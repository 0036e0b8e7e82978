/* Counter-based, named random streams: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
 *
 * A stream is (seed, name, a, b), for example cel_rng_at(seed, "augment", epoch, index). Equal keys give equal numbers on
 * any machine and in any order of use; there is no global generator. A stream is a value: copy it to repeat it. */
#ifndef CEL_BASE_RNG_H
#define CEL_BASE_RNG_H
#include "cellar/status.h"

typedef struct cel_rng {
    uint32_t key[2], counter[4], block[4];
    int used; /* words of block already given out; 4 = empty */
} cel_rng;

cel_rng cel_rng_at(uint64_t seed, const char *name, uint64_t a, uint64_t b);
uint32_t cel_rng_u32(cel_rng *rng);
uint64_t cel_rng_u64(cel_rng *rng);
/* Uniform in the open interval (0, 1), 52 bits. */
double cel_rng_uniform(cel_rng *rng);
/* Uniform in 0 .. n-1 without bias; n >= 1. */
uint32_t cel_rng_below(cel_rng *rng, uint32_t n);
/* Standard normal (Box-Muller, one draw of a pair: the stream's position never depends on the values). */
double cel_rng_normal(cel_rng *rng);
/* Fisher-Yates over an index list. */
void cel_rng_shuffle(cel_rng *rng, int32_t *list, size_t n);
#endif
