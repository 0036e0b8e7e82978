/* The cpu backend: vectorised along the batch.
 *
 * A BATCH value lies in memory as [ceil(n/16)][c][h][w][16]: groups of 16 images, the lane of an image innermost.
 * So each convolution, pooling or normalisation is plain vector arithmetic for any channel count, width, stride,
 * dilation and number of groups; slices, concatenations and shuffles move whole channel planes; nothing is padded to
 * 8 or 16 channels, which is where libraries built on channel blocks lose on the 4 and 8 channels of partial-channel
 * supernets. Rank 2 [n,c] and rank 1 [n] are the same with h = w = 1 (and c = 1). DENSE values are plain C order.
 *
 * Lanes beyond n in the last group hold finite numbers of no meaning in forward values and are ZERO in every
 * gradient: each gradient kernel that is not linear in dy through zero (batch norm, cross-entropy) masks them, and
 * every sum over the batch of forward values masks them (cel_cpu_lane_mask). A limit: second derivatives take
 * forward values as upstream gradients, whose missing lanes are not zero; they need n to be a multiple of 16 here
 * (any n on `ref`).
 *
 * Work is split into tasks by group, or by group and channel (never by number of threads), and partial sums are
 * added in task order: the same bytes on any number of threads. Kernels are written once in NAME.isa.c with the
 * native vector type of lanes.h and compiled for each CPU level; the backend picks the best the machine has, or the
 * one that CELLAR_ISA=base|avx2|avx512|amx names. The level amx is avx512 in single precision; in bfloat16 its products go through
 * the matrix unit (amx.h), avx512's through dot products (winograd_bf16.h). */
#ifndef CEL_ENGINE_CPU_H
#define CEL_ENGINE_CPU_H
#include "engine/backend/backend.h"
#include "engine/backend/cpu/roof.h"

enum { CEL_LANES = 16 };

static inline int cel_cpu_groups(int n) { return (n + CEL_LANES - 1) / CEL_LANES; }

/* Shape of a BATCH value as n, c, h, w with ones where the rank is lower, and its groups; floats of one channel plane of
 * a group and of one group. */
typedef struct cel_cpu_dims {
    int n, c, h, w, groups;
    size_t plane, group;
} cel_cpu_dims;
static inline cel_cpu_dims cel_cpu_dims_of(cel_shape s) {
    cel_cpu_dims d = {s.dim[0], s.rank > 1 ? s.dim[1] : 1, s.rank > 2 ? s.dim[2] : 1, s.rank > 3 ? s.dim[3] : 1, 0, 0,
                      0};
    d.groups = cel_cpu_groups(d.n);
    d.plane = (size_t)d.h * (size_t)d.w * CEL_LANES;
    d.group = d.plane * (size_t)d.c;
    return d;
}

/* Which levels there are: name, table of kernels, and the loops that measure the level's ceilings; index 0 is `base`. */
typedef struct cel_cpu_isa {
    const char *name, *fp32; /* fp32: the first level that gives the same bytes in single precision */
    const cel_kernel *kernels;
    int n_kernels;
    const cel_kernel *inference; /* for the layout of inference_layout.h */
    int n_inference;
    cel_roof_fma_fn *fma, *bf16;
    cel_roof_triad_fn *triad;
} cel_cpu_isa;
/* The level in use (decided at first use from the machine and CELLAR_ISA). */
const cel_cpu_isa *cel_cpu_isa_active(void);
/* The name of the level that decides the bytes, with cells in bfloat16 or without any. */
static inline const char *cel_cpu_isa_of(bool bf16) {
    return bf16 ? cel_cpu_isa_active()->name : cel_cpu_isa_active()->fp32;
}
/* Tests and benchmarks: use that level from now on; CEL_UNSUPPORTED if the machine or the build lacks it, CEL_CONFIG for an unknown
 * name. */
cel_status cel_cpu_isa_force(const char *name);
/* NULL or the reason why CELLAR_ISA cannot be followed. */
const char *cel_cpu_isa_unavailable(void);
/* The kernel for def of a table, NULL: none. */
const cel_kernel *cel_cpu_kernel_find(const cel_kernel *table, int n, const cel_op_def *def);

/* The layout for inference; not registered, cel_backend_cpu names it. */
extern const cel_backend cel_backend_cpu_inference;
#endif
