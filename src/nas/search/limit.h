/* A limit on the cost of the derived cell: the best cell of the scores among those that fit.
 *
 * Scores are compared as what they say of a cell: the product over the choices of a candidate's share of its choice. Without a limit
 * that is the largest score of each choice, as ever; with one, cells are tried from the best product on until one fits, so the
 * answer is exact, for any measure of cost. A greedy repair (drop the costliest operation) is not. */
#ifndef CEL_NAS_LIMIT_H
#define CEL_NAS_LIMIT_H
#include "cellar/arch.h"
#include "cellar/plugin.h"

typedef struct cel_limit {
    int64_t params, flops; /* at most so many; 0: no limit */
} cel_limit;

static inline bool cel_limit_fits(const cel_limit *limit, const cel_arch_cost *cost) {
    return (!limit->params || cost->params <= limit->params) && (!limit->flops || cost->flops <= limit->flops);
}

/* The cost of a cell, for cel_limit_derive. */
typedef cel_status cel_limit_cost_fn(void *ctx, const cel_genotype *genotype, cel_arch_cost *cost);

/* The genotype of the best scores (n_entries, not negative; live may be NULL) that fits. Ties: the earlier candidate of the
 * earlier choice. CEL_CONFIG when no cell fits, with what the cheapest costs; CEL_UNSUPPORTED for a space whose genotypes leave edges
 * out, and when so many cells are too expensive that the best of the rest is not to be had. */
cel_status cel_limit_derive(const cel_limit *limit, const cel_space *space, const double *scores, const uint8_t *live,
                            cel_limit_cost_fn *cost, void *ctx, cel_genotype *out);
#endif
