/* The convolutions of a mixed cell, in the order in which its operation takes their weights. */
#ifndef CEL_ENGINE_MIXED_CELL_H
#define CEL_ENGINE_MIXED_CELL_H
#include "engine/op/op.h"

/* What the arrays of cel_mixed_cell hold. */
enum { CEL_MIX_MAX_CONVS = 28 };

typedef struct cel_mixed_conv {
    int src, dest, row, col, kernel, gate;
} cel_mixed_conv;

/* Lists the live convolutions row-major by (row, column); conv may be NULL to count them. */
int cel_mixed_convs(const cel_mixed_cell_attr *attr, cel_mixed_conv *conv);
/* Is it a mixed_cell or its gradient, with attr.bf16? */
bool cel_mixed_cell_is_bf16(const cel_op *op);
#endif
