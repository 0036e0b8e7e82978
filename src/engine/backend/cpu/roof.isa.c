/* Loops that do nothing but what limits a kernel: multiply-adds in registers, dot products of bf16 pairs, tiles of them, and a triad. */
#include "engine/backend/cpu/roof.h"
#if defined(CEL_ISA_AVX512)
#include <immintrin.h>
#endif
#include "engine/backend/cpu/amx.h"
#include "engine/backend/cpu/lanes.h"

/* Enough independent sums to hide the latency, few enough for the registers of every level. */
enum { SUMS = 12 };

cel_roof_fma_fn CEL_ISA_FN(cel_cpu_roof_fma);
double CEL_ISA_FN(cel_cpu_roof_fma)(long n, float *keep) {
    cel_vf sum[SUMS], factor = cel_splat(keep[0]), term = cel_splat(keep[1]);
    for (int i = 0; i < SUMS; i++) sum[i] = cel_splat((float)i);
    for (long k = 0; k < n; k++)
        _Pragma("GCC unroll 12") for (int i = 0; i < SUMS; i++) sum[i] = sum[i] * factor + term;
    for (int i = 1; i < SUMS; i++) sum[0] += sum[i];
    keep[2] = (float)cel_lane_sum(sum[0]);
    return 2.0 * SUMS * CEL_VL * (double)n;
}

cel_roof_fma_fn CEL_ISA_FN(cel_cpu_roof_bf16);
#if defined(CEL_ISA_AVX512)
__attribute__((target("avx512bf16"))) static double dot_bf16(long n, float *keep) {
    __m512 sum[SUMS];
    __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(keep[0]), _mm512_set1_ps(keep[0]));
    __m512bh b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(keep[1]), _mm512_set1_ps(keep[1]));
    for (int i = 0; i < SUMS; i++) sum[i] = _mm512_set1_ps((float)i);
    for (long k = 0; k < n; k++)
        _Pragma("GCC unroll 12") for (int i = 0; i < SUMS; i++) sum[i] = _mm512_dpbf16_ps(sum[i], a, b);
    for (int i = 1; i < SUMS; i++) sum[0] = _mm512_add_ps(sum[0], sum[i]);
    keep[2] = _mm512_reduce_add_ps(sum[0]);
    return 4.0 * SUMS * 16 * (double)n;
}
double CEL_ISA_FN(cel_cpu_roof_bf16)(long n, float *keep) {
    return __builtin_cpu_supports("avx512bf16") ? dot_bf16(n, keep) : 0;
}

/* Of zeros, which take as long as other numbers. The unit is busy for 16 cycles with a product, so a round of it is an eighth of one. */
cel_roof_fma_fn CEL_ISA_FN(cel_cpu_roof_amx);
CEL_AMX double CEL_ISA_FN(cel_cpu_roof_amx)(long n, float *keep) {
    (void)keep;
    cel_amx_begin();
    CEL_TILE_ZERO(6);
    CEL_TILE_ZERO(7);
    n /= 8;
    for (long k = 0; k < n; k++) {
        CEL_TILE_DOT(0, 6, 7);
        CEL_TILE_DOT(1, 6, 7);
        CEL_TILE_DOT(2, 6, 7);
        CEL_TILE_DOT(3, 6, 7);
        CEL_TILE_DOT(4, 6, 7);
        CEL_TILE_DOT(5, 6, 7);
    }
    cel_amx_end();
    return 2.0 * 6 * CEL_AMX_TILE * CEL_LANES * CEL_AMX_K * (double)n;
}
#else
double CEL_ISA_FN(cel_cpu_roof_bf16)(long n, float *keep) { return (void)n, (void)keep, 0; }
#endif

cel_roof_triad_fn CEL_ISA_FN(cel_cpu_roof_triad);
void CEL_ISA_FN(cel_cpu_roof_triad)(float *a, const float *b, const float *c, size_t n) {
    cel_vf half = cel_splat(0.5f);
    for (size_t i = 0; i < n; i += CEL_VL) cel_store(a + i, cel_load(b + i) + half * cel_load(c + i));
}
