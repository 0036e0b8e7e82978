/* Where temporaries lie: intervals of time packed into one block. */
#ifndef CEL_ENGINE_PLAN_H
#define CEL_ENGINE_PLAN_H
#include "engine/exec/exec.h"

/* Sets the offsets (multiples of 64) of n buffers so that no two that are alive at once overlap; *total is the size of
 * the block. Largest first, each into the smallest gap it fits (Pisarchyk and Lee 2020, "Efficient memory management
 * for deep neural net inference", greedy by size). Leaves the buffers in their order. */
cel_status cel_plan_pack(cel_exec_buffer *buffer, int n, size_t *total);
#endif
