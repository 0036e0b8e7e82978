/* First values of parameters, drawn once for all the cells of a scorer: they depend on the seed, the parameter's name
 * and its shape only, and cells share most names. Thread-safe. */
#ifndef CEL_NAS_WEIGHTS_H
#define CEL_NAS_WEIGHTS_H
#include "engine/exec/exec.h"

typedef struct cel_weights cel_weights;
cel_status cel_weights_create(cel_weights **out);
void cel_weights_destroy(cel_weights *weights);
/* Parameter `slot` of e as cel_exec_start gives it; or, with kaiming, He et al.'s normal over the inputs
 * (arXiv:1502.01852) for what has rank 2 or more. NULL weights: drawn anew. */
cel_status cel_weights_get(cel_weights *weights, const cel_exec *e, int slot, bool kaiming, uint64_t seed,
                           float *values);
#endif
