/* The official index of a NAS-Bench-201 architecture.
 *
 * The benchmark lists the 5^6 cells with the last edge turning fastest and shuffles that list once with Python's
 * random.shuffle under seed 88. So the order is a computation and needs no table: the Mersenne Twister MT19937
 * (Matsumoto and Nishimura, 1998) seeded as Python seeds it, a Fisher-Yates pass from the end, and draws below n by
 * rejection from the fewest bits that hold n. Not a source of random numbers for anything else: see base/rng.h. */
#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "cellar/arch.h"

enum { WORDS = 624, MIDDLE = 397 };
typedef struct twister {
    uint32_t word[WORDS];
    int next;
} twister;

static void twister_seed(twister *t, uint32_t seed) {
    uint32_t *w = t->word;
    w[0] = 19650218u;
    for (uint32_t i = 1; i < WORDS; i++) w[i] = 1812433253u * (w[i - 1] ^ (w[i - 1] >> 30)) + i;
    uint32_t at = 1;
    for (int round = 0; round < WORDS; round++) {
        w[at] = (w[at] ^ ((w[at - 1] ^ (w[at - 1] >> 30)) * 1664525u)) + seed;
        if (++at == WORDS) w[0] = w[WORDS - 1], at = 1;
    }
    for (int round = 1; round < WORDS; round++) {
        w[at] = (w[at] ^ ((w[at - 1] ^ (w[at - 1] >> 30)) * 1566083941u)) - at;
        if (++at == WORDS) w[0] = w[WORDS - 1], at = 1;
    }
    w[0] = 0x80000000u;
    t->next = WORDS;
}

static uint32_t twister_u32(twister *t) {
    uint32_t *w = t->word;
    if (t->next == WORDS) {
        for (int i = 0; i < WORDS; i++) {
            uint32_t y = (w[i] & 0x80000000u) | (w[(i + 1) % WORDS] & 0x7fffffffu);
            w[i] = w[(i + MIDDLE) % WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        t->next = 0;
    }
    uint32_t y = w[t->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

static uint32_t twister_below(twister *t, uint32_t n) {
    int bits = 32 - __builtin_clz(n);
    uint32_t r;
    do r = twister_u32(t) >> (32 - bits);
    while (r >= n);
    return r;
}

static uint16_t code_at[CEL_NB201_COUNT]; /* official index -> the six operations as digits of a number in base 5 */
static uint16_t index_of[CEL_NB201_COUNT];
static pthread_once_t order_once = PTHREAD_ONCE_INIT;

static void make_order(void) {
    twister t;
    twister_seed(&t, 88);
    for (int i = 0; i < CEL_NB201_COUNT; i++) code_at[i] = (uint16_t)i;
    for (uint32_t i = CEL_NB201_COUNT - 1; i > 0; i--) {
        uint32_t j = twister_below(&t, i + 1);
        uint16_t swap = code_at[i];
        code_at[i] = code_at[j], code_at[j] = swap;
    }
    for (int i = 0; i < CEL_NB201_COUNT; i++) index_of[code_at[i]] = (uint16_t)i;
}

cel_status cel_nb201_from_index(int index, cel_genotype *out) {
    if (index < 0 || index >= CEL_NB201_COUNT)
        return CEL_FAIL(CEL_NOTFOUND, "NAS-Bench-201 has no architecture %d: indices are 0 .. %d", index,
                        CEL_NB201_COUNT - 1);
    pthread_once(&order_once, make_order);
    uint8_t ops[CEL_NB201_EDGES];
    for (int e = CEL_NB201_EDGES - 1, code = code_at[index]; e >= 0; e--, code /= CEL_NB201_OPS)
        ops[e] = (uint8_t)(code % CEL_NB201_OPS);
    return cel_nb201_from_ops(ops, out);
}

cel_status cel_nb201_index(const cel_genotype *g, int *out) {
    if (g->space != CEL_ARCH_NB201)
        return CEL_FAIL(CEL_UNSUPPORTED, "a genotype of the %s space has no NAS-Bench-201 index",
                        cel_topology_get(g->space)->label);
    pthread_once(&order_once, make_order);
    int code = 0;
    for (int e = 0; e < CEL_NB201_EDGES; e++) code = code * CEL_NB201_OPS + g->edge[e].op;
    assert(code < CEL_NB201_COUNT);
    *out = index_of[code];
    return CEL_OK;
}
