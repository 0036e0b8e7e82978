/* The native vector type of the CPU level a *.isa.c file is compiled for. A group's 16 lanes are 16/CEL_VL vectors. */
#ifndef CEL_ENGINE_LANES_H
#define CEL_ENGINE_LANES_H
#include <math.h>
#include <string.h>

#include "engine/backend/cpu/cpu.h"

#if defined(CEL_ISA_AVX512)
enum { CEL_VL = 16 };
#elif defined(CEL_ISA_AVX2)
enum { CEL_VL = 8 };
#else
enum { CEL_VL = 4 };
#endif
typedef float cel_vf __attribute__((vector_size(CEL_VL * 4)));
typedef int32_t cel_vi __attribute__((vector_size(CEL_VL * 4)));

#define CEL_ISA_PASTE2(a, b) a##_##b
#define CEL_ISA_PASTE(a, b) CEL_ISA_PASTE2(a, b)
#define CEL_ISA_FN(name) CEL_ISA_PASTE(name, CEL_ISA)

static inline cel_vf cel_load(const float *p) { /* 64-byte aligned data only */
    return *(const cel_vf *)__builtin_assume_aligned(p, sizeof(cel_vf));
}
static inline void cel_store(float *p, cel_vf v) { *(cel_vf *)__builtin_assume_aligned(p, sizeof(cel_vf)) = v; }
static inline cel_vf cel_splat(float x) { return x - (cel_vf){0}; }
/* NaN stays NaN, so that it reaches the loss and the search stops there. */
static inline cel_vf cel_relu_v(cel_vf x) { return (cel_vf)((cel_vi)x & ~(x <= 0)); }
/* x where y > 0, else 0. */
static inline cel_vf cel_where_positive(cel_vf y, cel_vf x) { return (cel_vf)((cel_vi)x & (y > 0)); }
/* bfloat16: the upper half of a float. */
typedef uint16_t cel_vh __attribute__((vector_size(CEL_VL * 2)));
typedef uint32_t cel_vu __attribute__((vector_size(CEL_VL * 4)));
static inline cel_vf cel_load_bf16(const uint16_t *p) {
    cel_vh h = *(const cel_vh *)__builtin_assume_aligned(p, sizeof(cel_vh));
    return (cel_vf)(__builtin_convertvector(h, cel_vu) << 16);
}
/* Rounds to the nearest, ties to even; NaN stays NaN. Returns what was stored. */
static inline cel_vf cel_store_bf16(uint16_t *p, cel_vf v) {
    cel_vu u = (cel_vu)v, rounded = u + 0x7fff + (u >> 16 & 1), nan = (cel_vu)(v != v);
    u = ((rounded & ~nan) | ((u | 0x400000) & nan)) & 0xffff0000;
    *(cel_vh *)__builtin_assume_aligned(p, sizeof(cel_vh)) = __builtin_convertvector(u >> 16, cel_vh);
    return (cel_vf)u;
}
/* Lane sum in a fixed order, in double. */
static inline double cel_lane_sum(cel_vf v) {
    double s = 0;
    for (int i = 0; i < CEL_VL; i++) s += v[i];
    return s;
}
/* All bits set for lanes of images that exist: lane first..first+CEL_VL-1 of group `g` of a batch of n. */
static inline cel_vi cel_cpu_lane_mask(int n, int g, int first) {
    cel_vi m;
    for (int i = 0; i < CEL_VL; i++) m[i] = g * CEL_LANES + first + i < n ? -1 : 0;
    return m;
}
static inline cel_vf cel_masked(cel_vf v, cel_vi m) { return (cel_vf)((cel_vi)v & m); }
#endif
