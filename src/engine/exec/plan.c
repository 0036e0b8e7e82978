/* Greedy packing of buffers; see plan.h. */
#include "engine/exec/plan.h"

#include <stdlib.h>
#include <string.h>

static int larger_first(const void *a, const void *b) {
    const cel_exec_buffer *x = *(const cel_exec_buffer *const *)a, *y = *(const cel_exec_buffer *const *)b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return (x > y) - (x < y); /* the order they were made in: the plan is the same on every machine */
}

/* The smallest gap between the placed buffers (by offset) that are alive together with b, or the end of the last
 * one. */
static size_t place(cel_exec_buffer *const *placed, int n, const cel_exec_buffer *b) {
    size_t low = 0, best = SIZE_MAX, best_gap = SIZE_MAX;
    for (int i = 0; i < n; i++) {
        const cel_exec_buffer *p = placed[i];
        if (p->last < b->first || b->last < p->first) continue;
        if (p->offset >= low && p->offset - low >= b->bytes && p->offset - low < best_gap) {
            best = low;
            best_gap = p->offset - low;
        }
        if (p->offset + p->bytes > low) low = p->offset + p->bytes;
    }
    return best == SIZE_MAX ? low : best;
}

cel_status cel_plan_pack(cel_exec_buffer *buffer, int n, size_t *total) {
    cel_exec_buffer **order, **placed;
    *total = 0;
    CEL_ALLOC(order, 2 * (size_t)n);
    placed = order + n;
    for (int i = 0; i < n; i++) order[i] = &buffer[i];
    qsort(order, (size_t)n, sizeof *order, larger_first);
    for (int i = 0; i < n; i++) {
        cel_exec_buffer *b = order[i];
        b->offset = place(placed, i, b);
        if (b->offset + b->bytes > *total) *total = b->offset + b->bytes;
        int at = i;
        while (at > 0 && placed[at - 1]->offset > b->offset) at--;
        memmove(placed + at + 1, placed + at, (size_t)(i - at) * sizeof *placed);
        placed[at] = b;
    }
    cel_free(order);
    return CEL_OK;
}
