/* What the *.isa.c files share: the kernels' declarations and the two ways to cut work into tasks.
 *
 * Tasks depend on the shapes only. Elementwise kernels cut the floats of a value into spans; kernels that know planes
 * take blocks of whole channels of one group. */
#ifndef CEL_ENGINE_KERNELS_H
#define CEL_ENGINE_KERNELS_H
#include "engine/backend/cpu/lanes.h"

#define CEL_CPU_KERNEL(op) cel_kernel_fn CEL_ISA_FN(cel_cpu_##op);
#define CEL_CPU_KERNEL_WORK(op)                                                                                        \
    cel_kernel_fn CEL_ISA_FN(cel_cpu_##op);                                                                            \
    size_t CEL_ISA_FN(cel_cpu_##op##_work)(const cel_graph *g, const cel_op *op, int n_threads);
#define CEL_CPU_KERNEL_AMX(op)                                                                                         \
    CEL_CPU_KERNEL_WORK(op)                                                                                            \
    CEL_CPU_KERNEL_WORK(op##_amx)
#include "engine/backend/cpu/kernels.def"
#undef CEL_CPU_KERNEL
#undef CEL_CPU_KERNEL_WORK
#undef CEL_CPU_KERNEL_AMX

enum {
    CEL_PARTS = CEL_LANES / CEL_VL, /* vectors of one pixel of a group */
    CEL_SPAN = 8192 /* floats of a task: large against the cost of taking a task, small against a cache */
};

/* Floats a value takes in memory: of a BATCH value always whole groups. */
static inline size_t cel_floats(cel_layout layout, cel_shape shape) {
    if (layout == CEL_DENSE) return cel_shape_count(shape);
    cel_cpu_dims d = cel_cpu_dims_of(shape);
    return (size_t)d.groups * d.group;
}

static inline int cel_span_count(size_t floats) { return (int)((floats + CEL_SPAN - 1) / CEL_SPAN); }
static inline size_t cel_span_end(size_t floats, int task) {
    size_t end = ((size_t)task + 1) * CEL_SPAN;
    return end < floats ? end : floats;
}
/* The vector at p[i], of which only the floats before p[end] exist: a DENSE value may end inside it. */
static inline cel_vf cel_get(const float *p, size_t i, size_t end) {
    if (i + CEL_VL <= end) return cel_load(p + i);
    cel_vf v = {0};
    memcpy(&v, p + i, (end - i) * sizeof(float));
    return v;
}
static inline void cel_put(float *p, size_t i, size_t end, cel_vf v) {
    if (i + CEL_VL <= end)
        cel_store(p + i, v);
    else
        memcpy(p + i, &v, (end - i) * sizeof(float));
}

/* Channel blocks: task t is channels first .. last-1 of group g. */
typedef struct cel_blocks {
    int c, size, per_group, tasks;
} cel_blocks;
typedef struct cel_block {
    int g, first, last;
} cel_block;
static inline cel_blocks cel_blocks_of(int groups, int c, size_t plane) {
    cel_blocks b = {c, plane < CEL_SPAN ? (int)(CEL_SPAN / plane) : 1, 0, 0};
    b.per_group = (c + b.size - 1) / b.size;
    b.tasks = groups * b.per_group;
    return b;
}
static inline cel_block cel_block_of(const cel_blocks *b, int task) {
    cel_block r = {task / b->per_group, task % b->per_group * b->size, 0};
    r.last = r.first + b->size < b->c ? r.first + b->size : b->c;
    return r;
}

/* The larger one; a NaN wins, so that it is seen. */
static inline cel_vf cel_max_v(cel_vf a, cel_vf b) {
    cel_vi take = (a > b) | (a != a);
    return (cel_vf)(((cel_vi)a & take) | ((cel_vi)b & ~take));
}
/* Adds the 16 lanes pairwise, in place: the sum is s[0]. */
static inline double cel_sum16(double s[CEL_LANES]) {
    for (int half = CEL_LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) s[i] += s[i + half];
    return s[0];
}
#endif
