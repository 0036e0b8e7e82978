/* winograd.h with products in bfloat16: transformed inputs, gradients and weights are rounded to 8 significant bits, multiplied in
 * pairs by the dot product instruction and summed in float. Twice the products an instruction, half the bytes of the sixteen matrices;
 * a convolution is off by about 4e-3 of its size. Only where the CPU has AVX512-BF16: each function here is compiled for it, whatever
 * its file is compiled for, and nothing but these functions may be. */
#ifndef CEL_ENGINE_WINOGRAD_BF16_H
#define CEL_ENGINE_WINOGRAD_BF16_H
#include "engine/backend/cpu/winograd.h"

#if defined(CEL_ISA_AVX512)
#include <immintrin.h>
#define CEL_BF16 __attribute__((target("avx512bf16")))
#define CEL_BF16_INLINE static inline __attribute__((always_inline, target("avx512bf16")))

/* Lane by lane a, b: what the dot product sums. */
CEL_BF16_INLINE __m512i cel_bf16_pairs(cel_vf a, cel_vf b) {
    static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i packed = (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a);
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(order), packed);
}

/* ---- Weights, as [16][n_co/Q][n_ci/2][Q] pairs of input channels ---- */

/* From cel_wino_weights' `u` of the same output channels, of width Q. */
CEL_BF16 static inline void cel_wino_bf16_weights(const cel_conv_job *j, const float *u, int co, void *to) {
    uint32_t *out = to;
    enum { Q = CEL_TILE_Q };
    size_t matrix = (size_t)j->n_ci * (size_t)j->n_co, at = (size_t)co * (size_t)j->n_ci;
    for (int k = 0; k < 16; k++)
        for (int ci = 0; ci < j->n_ci; ci += 2) {
            const float *from = u + (size_t)k * matrix + at + (size_t)ci * Q;
            __m128i even = (__m128i)_mm_cvtneps_pbh(_mm_load_ps(from)),
                    odd = (__m128i)_mm_cvtneps_pbh(_mm_load_ps(from + Q));
            _mm_store_si128((__m128i *)(out + ((size_t)k * matrix + at + (size_t)ci * Q) / 2),
                            _mm_unpacklo_epi16(even, odd));
        }
}

/* ---- Forward and data gradient ---- */

/* B^T d for one column of one channel. */
CEL_BF16_INLINE void cel_wino_column(const float *x, ptrdiff_t row, cel_vf c[4]) {
    cel_vf d0 = cel_load(x), d1 = cel_load(x + row), d2 = cel_load(x + 2 * row), d3 = cel_load(x + 3 * row);
    c[0] = d0 - d2;
    c[1] = d1 + d2;
    c[2] = d2 - d1;
    c[3] = d1 - d3;
}

/* Two channels of T tiles. */
CEL_BF16_INLINE void cel_wino_bf16_input(const cel_conv_job *j, const float *x, float *v, ptrdiff_t next, const int T) {
    for (int t = 0; t < T; t++, x += 2 * CEL_LANES, v += CEL_VL) {
        cel_vf a[4][4], b[4][4];
        CEL_UNROLL for (int i = 0; i < 4; i++) cel_wino_column(x + i * CEL_LANES, j->x_row, a[i]);
        CEL_UNROLL for (int i = 0; i < 4; i++) cel_wino_column(x + j->x_ci + i * CEL_LANES, j->x_row, b[i]);
        CEL_UNROLL for (int r = 0; r < 4; r++) {
            float *to = v + 4 * r * next;
            _mm512_store_si512(to, cel_bf16_pairs(a[0][r] - a[2][r], b[0][r] - b[2][r]));
            _mm512_store_si512(to + next, cel_bf16_pairs(a[1][r] + a[2][r], b[1][r] + b[2][r]));
            _mm512_store_si512(to + 2 * next, cel_bf16_pairs(a[2][r] - a[1][r], b[2][r] - b[1][r]));
            _mm512_store_si512(to + 3 * next, cel_bf16_pairs(a[1][r] - a[3][r], b[1][r] - b[3][r]));
        }
    }
}

CEL_BF16_INLINE void cel_wino_bf16_product(const float *v, const uint32_t *u, float *m, int pairs, const int T) {
    enum { Q = CEL_TILE_Q };
    __m512 acc[Q][CEL_WINO_TILES];
    CEL_UNROLL for (int q = 0; q < Q; q++) CEL_UNROLL for (int t = 0; t < T; t++) acc[q][t] = _mm512_setzero_ps();
    for (int p = 0; p < pairs; p++, v += T * CEL_VL, u += Q) {
        __m512i xv[CEL_WINO_TILES];
        CEL_UNROLL for (int t = 0; t < T; t++) xv[t] = _mm512_load_si512(v + t * CEL_VL);
        CEL_UNROLL for (int q = 0; q < Q; q++) {
            __m512i w = _mm512_set1_epi32((int)u[q]);
            CEL_UNROLL for (int t = 0; t < T; t++) acc[q][t] =
                _mm512_dpbf16_ps(acc[q][t], (__m512bh)xv[t], (__m512bh)w);
        }
    }
    CEL_UNROLL for (int q = 0; q < Q; q++) CEL_UNROLL for (int t = 0; t < T; t++)
        _mm512_store_ps(m + (q * T + t) * CEL_VL, acc[q][t]);
}

CEL_BF16_INLINE void cel_wino_bf16_block(const cel_conv_job *j, const float *x, const cel_wino_out *out, int n_out,
                                         ptrdiff_t at, float *scratch, const int T) {
    ptrdiff_t next_v = cel_wino_stride(j->n_ci / 2, T), next_m = cel_wino_stride(j->n_co, T);
    size_t matrix = (size_t)j->n_ci * (size_t)j->n_co / 2;
    float *v = scratch, *m = v + 16 * next_v;
    for (int ci = 0; ci < j->n_ci; ci += 2)
        cel_wino_bf16_input(j, x + ci * j->x_ci, v + ci / 2 * T * CEL_VL, next_v, T);
    for (int n = 0; n < n_out; n++) {
        const uint32_t *u = out[n].u;
        for (int k = 0; k < 16; k++)
            for (int co = 0; co < j->n_co; co += CEL_TILE_Q)
                cel_wino_bf16_product(v + k * next_v, u + (size_t)k * matrix + (size_t)co * (size_t)j->n_ci / 2,
                                      m + k * next_m + co * T * CEL_VL, j->n_ci / 2, T);
        for (int co = 0; co < j->n_co; co++)
            cel_wino_output(m + co * T * CEL_VL, next_m, out[n].o + at + co * j->o_co, j->o_row, j->accumulate, T);
    }
}
CEL_BF16 static __attribute__((noinline, unused)) void cel_wino_bf16_block_full(const cel_conv_job *j, const float *x,
                                                                                const cel_wino_out *out, int n_out,
                                                                                ptrdiff_t at, float *scratch) {
    cel_wino_bf16_block(j, x, out, n_out, at, scratch, CEL_WINO_TILES);
}
CEL_BF16 static __attribute__((noinline, unused)) void cel_wino_bf16_block_one(const cel_conv_job *j, const float *x,
                                                                               const cel_wino_out *out, int n_out,
                                                                               ptrdiff_t at, float *scratch) {
    cel_wino_bf16_block(j, x, out, n_out, at, scratch, 1);
}

/* As cel_wino_run. */
static inline void cel_wino_bf16_run(const cel_conv_job *j, const float *x, const cel_wino_out *out, int n_out,
                                     float *scratch) {
    cel_wino_run_with(cel_wino_bf16_block_full, cel_wino_bf16_block_one, 2, CEL_WINO_TILES, j, x, out, n_out, scratch);
}

/* ---- Weight gradient: a vector holds two neighbouring tiles ---- */

CEL_BF16_INLINE void cel_wino_bf16_input_row(const int i, const float *x, ptrdiff_t row, float *v, ptrdiff_t next,
                                             int n) {
    const float *a = x + (i == 0 ? 0 : i == 2 ? 2 : 1) * row, *b = x + (i == 3 ? 3 : i == 2 ? 1 : 2) * row;
    const ptrdiff_t step = CEL_LANES;
    for (int t = 0; t < n; t += 2, v += CEL_VL, a += 4 * step, b += 4 * step) {
        cel_vf c[6];
        CEL_UNROLL for (int k = 0; k < 6; k++) {
            cel_vf p = cel_load(a + k * step), q = cel_load(b + k * step);
            c[k] = i == 1 ? p + q : p - q;
        }
        _mm512_store_si512(v, (__m512i)_mm512_cvtne2ps_pbh((__m512)(c[2] - c[4]), (__m512)(c[0] - c[2])));
        _mm512_store_si512(v + next, (__m512i)_mm512_cvtne2ps_pbh((__m512)(c[3] + c[4]), (__m512)(c[1] + c[2])));
        _mm512_store_si512(v + 2 * next, (__m512i)_mm512_cvtne2ps_pbh((__m512)(c[4] - c[3]), (__m512)(c[2] - c[1])));
        _mm512_store_si512(v + 3 * next, (__m512i)_mm512_cvtne2ps_pbh((__m512)(c[3] - c[5]), (__m512)(c[1] - c[3])));
    }
}

CEL_BF16_INLINE void cel_wino_bf16_grad_row(const int i, const float *z, ptrdiff_t row, float *v, ptrdiff_t next,
                                            int n) {
    for (int t = 0; t < n; t += 2, z += 4 * CEL_LANES, v += CEL_VL) {
        cel_vf c[4];
        CEL_UNROLL for (int k = 0; k < 4; k++) {
            const float *at = z + k * CEL_LANES;
            c[k] = i == 0   ? cel_load(at)
                   : i == 1 ? cel_load(at) + cel_load(at + row)
                   : i == 2 ? cel_load(at) - cel_load(at + row)
                            : -cel_load(at + row);
        }
        _mm512_store_si512(v, (__m512i)_mm512_cvtne2ps_pbh((__m512)c[2], (__m512)c[0]));
        _mm512_store_si512(v + next, (__m512i)_mm512_cvtne2ps_pbh((__m512)(c[2] + c[3]), (__m512)(c[0] + c[1])));
        _mm512_store_si512(v + 2 * next, (__m512i)_mm512_cvtne2ps_pbh((__m512)(c[2] - c[3]), (__m512)(c[0] - c[1])));
        _mm512_store_si512(v + 3 * next, (__m512i)_mm512_cvtne2ps_pbh((__m512)-c[3], (__m512)-c[1]));
    }
}

#define CEL_WINO_BF16_BY_ROW(fn)                                                                                       \
    CEL_BF16 static __attribute__((noinline, unused)) void fn##_of(int i, const float *p, ptrdiff_t row, float *v,     \
                                                                   ptrdiff_t next, int n) {                            \
        if (i == 0) fn(0, p, row, v, next, n);                                                                         \
        if (i == 1) fn(1, p, row, v, next, n);                                                                         \
        if (i == 2) fn(2, p, row, v, next, n);                                                                         \
        if (i == 3) fn(3, p, row, v, next, n);                                                                         \
    }
CEL_WINO_BF16_BY_ROW(cel_wino_bf16_input_row)
CEL_WINO_BF16_BY_ROW(cel_wino_bf16_grad_row)

CEL_BF16 static __attribute__((noinline, unused)) void cel_wino_bf16_dw_block(const float *v, const float *z,
                                                                              float *acc, float *out, ptrdiff_t out_co,
                                                                              int tiles, bool begin, bool end) {
    enum { N = CEL_WINO_DW_TILES / 2 * CEL_VL };
    cel_vf s[16];
    CEL_UNROLL for (int i = 0; i < 16; i++) s[i] = begin ? (cel_vf){0} : cel_load(acc + i * CEL_VL);
    for (int t = 0; t < tiles / 2; t++) {
        __m512i xv[4];
        CEL_UNROLL for (int r = 0; r < 4; r++) xv[r] = _mm512_load_si512(v + r * N + t * CEL_VL);
        CEL_UNROLL for (int q = 0; q < 4; q++) {
            __m512i zv = _mm512_load_si512(z + q * N + t * CEL_VL);
            CEL_UNROLL for (int r = 0; r < 4; r++) s[q * 4 + r] =
                (cel_vf)_mm512_dpbf16_ps((__m512)s[q * 4 + r], (__m512bh)zv, (__m512bh)xv[r]);
        }
    }
    if (end) {
        float total[16];
        cel_lane_sums(s, total);
        for (int q = 0; q < 4; q++)
            for (int r = 0; r < 4; r++) out[q * out_co + r] += total[q * 4 + r];
    } else {
        CEL_UNROLL for (int i = 0; i < 16; i++) cel_store(acc + i * CEL_VL, s[i]);
    }
}

/* As cel_wino_dw_run. */
static inline void cel_wino_bf16_dw_run(const cel_dw_job *j, const float *x, const float *z, float *dw,
                                        float *scratch) {
    static const cel_wino_dw_loops loops = {cel_wino_bf16_input_row_of, cel_wino_bf16_grad_row_of,
                                            cel_wino_bf16_dw_block, 2};
    cel_wino_dw_with(&loops, j, x, z, dw, scratch);
}
#else
/* Other levels refuse graphs that ask for bfloat16 (backend_cpu.c), so nothing comes here. */
static inline void cel_wino_bf16_weights(const cel_conv_job *j, const float *u, int co, void *to) {
    (void)j, (void)u, (void)co, (void)to;
    __builtin_trap();
}
static inline void cel_wino_bf16_run(const cel_conv_job *j, const float *x, const cel_wino_out *out, int n_out,
                                     float *scratch) {
    (void)j, (void)x, (void)out, (void)n_out, (void)scratch;
    __builtin_trap();
}
static inline void cel_wino_bf16_dw_run(const cel_dw_job *j, const float *x, const float *z, float *dw,
                                        float *scratch) {
    (void)j, (void)x, (void)z, (void)dw, (void)scratch;
    __builtin_trap();
}
#endif
#endif
