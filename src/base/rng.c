#include "base/rng.h"

#include <math.h>

static uint64_t mix64(uint64_t z) { /* the finaliser of splitmix64: spreads the seed and the name over the key */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

cel_rng cel_rng_at(uint64_t seed, const char *name, uint64_t a, uint64_t b) {
    uint64_t h = mix64(seed + UINT64_C(0x9e3779b97f4a7c15));
    for (; *name; name++) h = mix64((h ^ (unsigned char)*name) * UINT64_C(0x100000001b3));
    /* a fills two counter words, b one; its high half goes into the key, so that word 3 is free to count blocks */
    uint64_t k = mix64(h ^ mix64(b >> 32));
    return (cel_rng){{(uint32_t)k, (uint32_t)(k >> 32)}, {(uint32_t)a, (uint32_t)(a >> 32), (uint32_t)b, 0}, {0}, 4};
}

static void philox(cel_rng *r) {
    uint32_t c0 = r->counter[0], c1 = r->counter[1], c2 = r->counter[2], c3 = r->counter[3];
    uint32_t k0 = r->key[0], k1 = r->key[1];
    for (int i = 0; i < 10; i++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    r->block[0] = c0, r->block[1] = c1, r->block[2] = c2, r->block[3] = c3;
    r->counter[3]++;
    r->used = 0;
}

uint32_t cel_rng_u32(cel_rng *r) {
    if (r->used == 4) philox(r);
    return r->block[r->used++];
}

uint64_t cel_rng_u64(cel_rng *r) {
    uint64_t low = cel_rng_u32(r);
    return low | (uint64_t)cel_rng_u32(r) << 32;
}

double cel_rng_uniform(cel_rng *r) { return ((double)(cel_rng_u64(r) >> 12) + 0.5) * 0x1p-52; }

uint32_t cel_rng_below(cel_rng *r, uint32_t n) {
    uint64_t m = (uint64_t)cel_rng_u32(r) * n; /* Lemire's method: reject the few values that would bias the rest */
    if ((uint32_t)m < n)
        for (uint32_t least = -n % n; (uint32_t)m < least;) m = (uint64_t)cel_rng_u32(r) * n;
    return (uint32_t)(m >> 32);
}

double cel_rng_normal(cel_rng *r) {
    double u = cel_rng_uniform(r), v = cel_rng_uniform(r);
    return sqrt(-2 * log(u)) * cos(6.283185307179586476925 * v);
}

void cel_rng_shuffle(cel_rng *r, int32_t *list, size_t n) {
    for (size_t i = n; i > 1; i--) {
        size_t j = cel_rng_below(r, (uint32_t)i);
        int32_t t = list[i - 1];
        list[i - 1] = list[j];
        list[j] = t;
    }
}
