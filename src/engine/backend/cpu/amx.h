/* Convolutions in bfloat16 by Intel's matrix unit (AMX): one instruction multiplies 16 rows by 16 columns over 32 bfloat16 and adds to
 * float sums, sixteen times what the dot products of winograd_bf16.h do in the same time, so nothing is filtered here.
 *
 * A product's columns are the 16 images of a group, or the channels of one operand:
 *
 *   outputs    [16 channels][16 lanes]  = weights [16 channels][k]    * pairs [k/2][16 lanes][2], k the taps of one row and channels
 *   dweights   [16 channels][16 channels] = gradient [16 channels][k] * pairs [k/2][16 channels][2], k two pixels and their lanes
 *
 * so an image is written as pairs of channels, pixel by pixel: the taps of a row of three are one stretch of memory, of which tiles are
 * read wherever they begin. Only where the CPU has AMX and Linux grants it (cel_cpu_isa.amx); each function here is compiled for it,
 * whatever its file is compiled for, and nothing but these functions may be. */
#ifndef CEL_ENGINE_AMX_H
#define CEL_ENGINE_AMX_H
#include "engine/backend/cpu/winograd_bf16.h"

enum {
    CEL_AMX_TILE = 16, /* rows, and columns of floats */
    CEL_AMX_K = 32,    /* bfloat16 of a row */
    CEL_AMX_PIXELS = 4 /* of a block of outputs */
};

/* Floats of an image of rows*cols pixels as pairs; a tile may read past its end. */
static inline size_t cel_amx_pair_floats(int channels, size_t pixels) {
    return ((size_t)channels / 2 * pixels + CEL_AMX_TILE) * CEL_LANES;
}
/* Tiles that cover a row of `taps` taps, and floats of the weights of a convolution of as many rows. */
static inline int cel_amx_tiles(int channels, int taps) { return (taps * channels + CEL_AMX_K - 1) / CEL_AMX_K; }
static inline size_t cel_amx_weight_floats(int n_ci, int n_co, int taps) {
    return (size_t)(n_co / CEL_AMX_TILE * taps * cel_amx_tiles(n_ci, taps)) * CEL_AMX_TILE * CEL_LANES;
}

/* A factor of blocks of outputs: `rows` rows of `tiles` tiles at each of CEL_AMX_PIXELS pixels; strides in bytes. */
typedef struct cel_amx_term {
    const char *x, *w; /* w: [rows][tiles] tiles */
    ptrdiff_t pixel, row;
    int rows, tiles;
} cel_amx_term;

/* z: the gradient in bfloat16, [channels][rows][cols][16], an even number of columns; x: [rows + 2][cols + 2] pixels as pairs of lanes of
 * 16 channels. Strides in bytes. */
typedef struct cel_amx_dw {
    const char *z, *x;
    ptrdiff_t z_channel, z_row, x_row;
    int rows, cols;
} cel_amx_dw;

#if defined(CEL_ISA_AVX512)
#define CEL_AMX __attribute__((target("avx512bf16,amx-tile,amx-bf16")))
#define CEL_AMX_FN CEL_AMX static __attribute__((noinline, unused))
#define CEL_AMX_INLINE static inline __attribute__((always_inline, target("avx512bf16,amx-tile,amx-bf16")))

/* Not the compiler's: its loads of tiles (GCC 12) may move before the stores that they read. */
#define CEL_TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t ::)
#define CEL_TILE_LOAD(t, from, stride)                                                                                 \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(from), "r"((ptrdiff_t)(stride)) : "memory")
#define CEL_TILE_STORE(t, to, stride)                                                                                  \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(to), "r"((ptrdiff_t)(stride)) : "memory")
#define CEL_TILE_DOT(sum, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #sum ::)

enum { CEL_TILE_BYTES = 1024, CEL_TILE_ROW = 64 };

/* A thread's tiles, each of 16 rows of 64 bytes, from here to cel_amx_end. */
CEL_AMX_FN void cel_amx_begin(void) {
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1, .bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    __asm__ volatile("ldtilecfg %0" ::"m"(shape));
}
CEL_AMX_FN void cel_amx_end(void) {
    __asm__ volatile("tilerelease" ::);
    _mm_sfence();
}

/* Elements 0, step, ..., 15 step. */
CEL_AMX_INLINE __m512 cel_amx_gather(const float *from, ptrdiff_t step) {
    __m512i at = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                    _mm512_set1_epi32((int)step));
    return _mm512_i32gather_ps(at, from, sizeof *from);
}

/* Weights w[m*w_m + k*w_k + tap] of outputs m = 0 .. 15, for inputs k = 0 .. n_k - 1 (n_k a multiple of 16) and the nine taps, as
 * tiles [3][tiles]. flip: the last tap first. */
CEL_AMX_FN void cel_amx_weights(const float *w, ptrdiff_t w_m, ptrdiff_t w_k, int n_k, bool flip, float *to) {
    char *out = (char *)to;
    for (int r = 0; r < 3; r++)
        for (int k = 0; k < 3 * n_k; k += CEL_AMX_K)
            for (int m = 0; m < CEL_AMX_TILE; m++, out += CEL_TILE_ROW) {
                __m512 half[2];
                for (int h = 0; h < 2; h++) {
                    int from = k + h * CEL_AMX_TILE, tap = r * 3 + from / n_k;
                    half[h] = _mm512_setzero_ps();
                    if (from < 3 * n_k)
                        half[h] = cel_amx_gather(w + m * w_m + from % n_k * w_k + (flip ? 8 - tap : tap), w_k);
                }
                _mm512_store_si512(out, (__m512i)_mm512_cvtne2ps_pbh(half[1], half[0]));
            }
}

/* Outputs first .. first+15 of n matrices [n_k inputs][n_k outputs] side by side, as tiles; n_k a multiple of 16. */
CEL_AMX_FN void cel_amx_matrices(const float *const *matrix, int n, int n_k, int first, float *to) {
    char *out = (char *)to;
    for (int k = 0; k < n * n_k; k += CEL_AMX_K)
        for (int m = 0; m < CEL_AMX_TILE; m++, out += CEL_TILE_ROW) {
            __m512 half[2];
            for (int h = 0; h < 2; h++) {
                int from = k + h * CEL_AMX_TILE;
                half[h] = _mm512_setzero_ps();
                if (from < n * n_k) half[h] = cel_amx_gather(matrix[from / n_k] + from % n_k * n_k + first + m, n_k);
            }
            _mm512_store_si512(out, (__m512i)_mm512_cvtne2ps_pbh(half[1], half[0]));
        }
}

/* sums 0 .. 3 += the term's products at four neighbouring pixels. */
CEL_AMX_INLINE void cel_amx_add(const cel_amx_term *t) {
    const char *w = t->w, *row = t->x;
    const ptrdiff_t pixel = t->pixel;
    for (int r = 0; r < t->rows; r++, row += t->row) {
        const char *x = row;
        for (int k = 0; k < t->tiles; k++, x += CEL_TILE_BYTES, w += CEL_TILE_BYTES) {
            CEL_TILE_LOAD(4, w, CEL_TILE_ROW);
            CEL_TILE_LOAD(5, x, CEL_TILE_ROW);
            CEL_TILE_DOT(0, 4, 5);
            CEL_TILE_LOAD(6, x + pixel, CEL_TILE_ROW);
            CEL_TILE_DOT(1, 4, 6);
            CEL_TILE_LOAD(7, x + 2 * pixel, CEL_TILE_ROW);
            CEL_TILE_DOT(2, 4, 7);
            CEL_TILE_LOAD(5, x + 3 * pixel, CEL_TILE_ROW);
            CEL_TILE_DOT(3, 4, 5);
        }
    }
}

/* to[pixel][channel][lane] = sum over n terms, of 4 pixels and 16 channels; strides in floats. */
CEL_AMX_FN void cel_amx_block(const cel_amx_term *terms, int n, float *to, ptrdiff_t pixel, ptrdiff_t channel) {
    CEL_TILE_ZERO(0);
    CEL_TILE_ZERO(1);
    CEL_TILE_ZERO(2);
    CEL_TILE_ZERO(3);
    for (int i = 0; i < n; i++) cel_amx_add(&terms[i]);
    const ptrdiff_t stride = channel * (ptrdiff_t)sizeof *to;
    CEL_TILE_STORE(0, to, stride);
    CEL_TILE_STORE(1, to + pixel, stride);
    CEL_TILE_STORE(2, to + 2 * pixel, stride);
    CEL_TILE_STORE(3, to + 3 * pixel, stride);
}

/* ---- Images as pairs ---- */

/* Two channels, or max(x, 0) of them, of n pixels; `pixel` floats from one to the next of `to`. */
CEL_AMX_FN void cel_amx_pairs(const float *a, const float *b, int n, bool relu, float *to, size_t pixel) {
    if (relu)
        for (int i = 0; i < n; i++, a += CEL_LANES, b += CEL_LANES, to += pixel)
            _mm512_store_si512(to, cel_bf16_pairs(cel_relu_v(cel_load(a)), cel_relu_v(cel_load(b))));
    else
        for (int i = 0; i < n; i++, a += CEL_LANES, b += CEL_LANES, to += pixel)
            _mm512_store_si512(to, cel_bf16_pairs(cel_load(a), cel_load(b)));
}

/* [channel][n pixels][16], n even, in bfloat16. */
CEL_AMX_FN void cel_amx_narrow(const float *x, int n, uint16_t *to) {
    for (int i = 0; i < n * CEL_LANES; i += 2 * CEL_LANES)
        _mm512_store_si512(to + i,
                           (__m512i)_mm512_cvtne2ps_pbh((__m512)cel_load(x + i + CEL_LANES), (__m512)cel_load(x + i)));
}

/* max(x, 0) - about of 16 channels (`channel` floats apart) of n pixels, an even number, as pairs of lanes: to[n][8][16 channels][2]. */
CEL_AMX_FN void cel_amx_relu_lanes(const float *x, size_t channel, const float *about, int n, float *to) {
    for (int p = 0; p < n; p += 2, x += 2 * CEL_LANES, to += CEL_TILE_BYTES / sizeof *to) {
        __m512i a[16], b[16];
        CEL_UNROLL for (int c = 0; c < 16; c++) {
            const float *from = x + (size_t)c * channel;
            a[c] = (__m512i)_mm512_cvtne2ps_pbh((__m512)(cel_relu_v(cel_load(from + CEL_LANES)) - about[c]),
                                                (__m512)(cel_relu_v(cel_load(from)) - about[c]));
        }
        CEL_UNROLL for (int c = 0; c < 16; c += 2) {
            b[c] = _mm512_unpacklo_epi32(a[c], a[c + 1]);
            b[c + 1] = _mm512_unpackhi_epi32(a[c], a[c + 1]);
        }
        CEL_UNROLL for (int c = 0; c < 16; c += 4) { /* a[c + i]: quarters' element i of channels c .. c+3 */
            a[c] = _mm512_unpacklo_epi64(b[c], b[c + 2]);
            a[c + 1] = _mm512_unpackhi_epi64(b[c], b[c + 2]);
            a[c + 2] = _mm512_unpacklo_epi64(b[c + 1], b[c + 3]);
            a[c + 3] = _mm512_unpackhi_epi64(b[c + 1], b[c + 3]);
        }
        CEL_UNROLL for (int i = 0; i < 4; i++) {
            __m512i low0 = _mm512_shuffle_i32x4(a[i], a[4 + i], 0x44),
                    high0 = _mm512_shuffle_i32x4(a[i], a[4 + i], 0xee),
                    low1 = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0x44),
                    high1 = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0xee);
            _mm512_store_si512(to + i * CEL_LANES, _mm512_shuffle_i32x4(low0, low1, 0x88));
            _mm512_store_si512(to + (4 + i) * CEL_LANES, _mm512_shuffle_i32x4(low0, low1, 0xdd));
            _mm512_store_si512(to + (8 + i) * CEL_LANES, _mm512_shuffle_i32x4(high0, high1, 0x88));
            _mm512_store_si512(to + (12 + i) * CEL_LANES, _mm512_shuffle_i32x4(high0, high1, 0xdd));
        }
    }
}

/* ---- Outputs ---- */

/* Keeps a block [4 pixels][16 channels][16 lanes] in bfloat16, as out[channel][4 pixels][lane], past the caches: what is kept is
 * read much later, and fetching the lines first takes longer than the products (cel_amx_end orders the writes). sums: NULL, or of each
 * channel and lane the deviations from the channel's pivot, and their squares, [16][2][16], to be added to. */
CEL_AMX_FN void cel_amx_keep(const float *block, uint16_t *out, size_t channel, const float *pivot, float *sums) {
    enum { PIXEL = CEL_AMX_TILE * CEL_LANES };
    for (int c = 0; c < CEL_AMX_TILE; c++, block += CEL_LANES, out += channel) {
        cel_vf v[CEL_AMX_PIXELS];
        CEL_UNROLL for (int p = 0; p < CEL_AMX_PIXELS; p++) v[p] = cel_load(block + p * PIXEL);
        CEL_UNROLL for (int p = 0; p < CEL_AMX_PIXELS; p += 2) _mm512_stream_si512(
            (void *)(out + p * CEL_LANES), (__m512i)_mm512_cvtne2ps_pbh((__m512)v[p + 1], (__m512)v[p]));
        if (!sums) continue;
        cel_vf s1 = cel_load(sums), s2 = cel_load(sums + CEL_LANES), about = cel_splat(pivot[c]);
        CEL_UNROLL for (int p = 0; p < CEL_AMX_PIXELS; p++) v[p] -= about;
        cel_store(sums, s1 + ((v[0] + v[1]) + (v[2] + v[3])));
        cel_store(sums + CEL_LANES, s2 + ((v[0] * v[0] + v[1] * v[1]) + (v[2] * v[2] + v[3] * v[3])));
        sums += 2 * CEL_LANES;
    }
}

/* ---- Weight gradient ---- */

/* Taps of one row of three: of the 16 channels of z, or of 32. */
CEL_AMX_INLINE void cel_amx_dw_taps(const cel_amx_dw *j, const char *x, float *to, float *to2, const bool two) {
    enum { PAIR = CEL_LANES * 2 * 2, PIXEL = CEL_TILE_BYTES / 2 };
    const ptrdiff_t channel = j->z_channel, half = CEL_AMX_TILE * channel;
    CEL_TILE_ZERO(0);
    CEL_TILE_ZERO(1);
    CEL_TILE_ZERO(2);
    if (two) {
        CEL_TILE_ZERO(3);
        CEL_TILE_ZERO(4);
        CEL_TILE_ZERO(5);
    }
    for (int row = 0; row < j->rows; row++, x += j->x_row) {
        const char *z = j->z + row * j->z_row, *xt = x;
        for (int col = 0; col < j->cols; col += 2, z += PAIR, xt += 2 * PIXEL) {
            CEL_TILE_LOAD(6, z, channel);
            CEL_TILE_LOAD(7, xt, CEL_TILE_ROW);
            CEL_TILE_DOT(0, 6, 7);
            CEL_TILE_LOAD(7, xt + PIXEL, CEL_TILE_ROW);
            CEL_TILE_DOT(1, 6, 7);
            CEL_TILE_LOAD(7, xt + 2 * PIXEL, CEL_TILE_ROW);
            CEL_TILE_DOT(2, 6, 7);
            if (!two) continue;
            CEL_TILE_LOAD(6, z + half, channel);
            CEL_TILE_DOT(5, 6, 7);
            CEL_TILE_LOAD(7, xt, CEL_TILE_ROW);
            CEL_TILE_DOT(3, 6, 7);
            CEL_TILE_LOAD(7, xt + PIXEL, CEL_TILE_ROW);
            CEL_TILE_DOT(4, 6, 7);
        }
    }
    enum { TILE = CEL_TILE_BYTES / 4 };
    CEL_TILE_STORE(0, to, CEL_TILE_ROW);
    CEL_TILE_STORE(1, to + TILE, CEL_TILE_ROW);
    CEL_TILE_STORE(2, to + 2 * TILE, CEL_TILE_ROW);
    if (!two) return;
    CEL_TILE_STORE(3, to2, CEL_TILE_ROW);
    CEL_TILE_STORE(4, to2 + TILE, CEL_TILE_ROW);
    CEL_TILE_STORE(5, to2 + 2 * TILE, CEL_TILE_ROW);
}
/* to, to2: [9 taps][16 output][16 input channels]; to2 NULL: z has 16 channels only. */
CEL_AMX_FN void cel_amx_dw_run(const cel_amx_dw *j, float *to, float *to2) {
    enum { ROW = 3 * CEL_TILE_BYTES / 4 };
    for (int tap = 0; tap < 3; tap++) {
        const char *x = j->x + tap * j->x_row;
        if (to2)
            cel_amx_dw_taps(j, x, to + tap * ROW, to2 + tap * ROW, true);
        else
            cel_amx_dw_taps(j, x, to + tap * ROW, NULL, false);
    }
}

/* to[16][16] = sum over n pixels, an even number, and their lanes of z[16 channels][n][16] and x, pairs of lanes of 16 channels, in four
 * parts. */
CEL_AMX_FN void cel_amx_dots(const uint16_t *z, size_t channel, const float *x, int n, float *to, float *room) {
    const char *zt = (const char *)z, *xt = (const char *)x;
    const ptrdiff_t stride = (ptrdiff_t)(channel * sizeof *z);
    enum { PAIR = CEL_LANES * 2 * 2, TILE = CEL_TILE_BYTES / 4 };
    CEL_TILE_ZERO(0);
    CEL_TILE_ZERO(1);
    CEL_TILE_ZERO(2);
    CEL_TILE_ZERO(3);
    for (; n > 0; n -= 8, zt += 4 * PAIR, xt += 4 * CEL_TILE_BYTES) {
        CEL_TILE_LOAD(4, zt, stride);
        CEL_TILE_LOAD(5, xt, CEL_TILE_ROW);
        CEL_TILE_DOT(0, 4, 5);
        if (n < 4) break;
        CEL_TILE_LOAD(6, zt + PAIR, stride);
        CEL_TILE_LOAD(7, xt + CEL_TILE_BYTES, CEL_TILE_ROW);
        CEL_TILE_DOT(1, 6, 7);
        if (n < 6) break;
        CEL_TILE_LOAD(4, zt + 2 * PAIR, stride);
        CEL_TILE_LOAD(5, xt + 2 * CEL_TILE_BYTES, CEL_TILE_ROW);
        CEL_TILE_DOT(2, 4, 5);
        if (n < 8) break;
        CEL_TILE_LOAD(6, zt + 3 * PAIR, stride);
        CEL_TILE_LOAD(7, xt + 3 * CEL_TILE_BYTES, CEL_TILE_ROW);
        CEL_TILE_DOT(3, 6, 7);
    }
    CEL_TILE_STORE(0, room, CEL_TILE_ROW);
    CEL_TILE_STORE(1, room + TILE, CEL_TILE_ROW);
    CEL_TILE_STORE(2, room + 2 * TILE, CEL_TILE_ROW);
    CEL_TILE_STORE(3, room + 3 * TILE, CEL_TILE_ROW);
    for (int i = 0; i < TILE; i += CEL_VL)
        cel_store(to + i, (cel_load(room + i) + cel_load(room + TILE + i)) +
                              (cel_load(room + 2 * TILE + i) + cel_load(room + 3 * TILE + i)));
}

/* dz = A d + B z + C of two channels of n pixels, an even number, where `exists` (lanes); to: pairs `pixel` floats apart;
 * kept: NULL, or [2 channels][n][16], `channel` apart. coef: A, B, C `step` apart, of a channel and the next. */
CEL_AMX_FN void cel_amx_dz_pairs(const float *const d[2], const uint16_t *const z[2], const float *coef, size_t step,
                                 cel_vi exists, int n, float *to, size_t pixel, uint16_t *kept, size_t channel) {
    for (int p = 0; p < n * CEL_LANES; p += 2 * CEL_LANES) {
        cel_vf v[2][2];
        CEL_UNROLL for (int c = 0; c < 2; c++) CEL_UNROLL for (int i = 0; i < 2; i++) {
            int at = p + i * CEL_LANES;
            v[c][i] = coef[c] * cel_load(d[c] + at) + (coef[step + c] * cel_load_bf16(z[c] + at) + coef[2 * step + c]);
            v[c][i] = cel_masked(v[c][i], exists);
        }
        CEL_UNROLL for (int i = 0; i < 2; i++, to += pixel) _mm512_store_si512(to, cel_bf16_pairs(v[0][i], v[1][i]));
        if (kept)
            CEL_UNROLL for (int c = 0; c < 2; c++) _mm512_store_si512(
                kept + (size_t)c * channel + p, (__m512i)_mm512_cvtne2ps_pbh((__m512)v[c][1], (__m512)v[c][0]));
    }
}
#else
/* Other levels take no products by AMX, so nothing comes here. */
static inline void cel_amx_begin(void) { __builtin_trap(); }
static inline void cel_amx_end(void) { __builtin_trap(); }
static inline void cel_amx_weights(const float *w, ptrdiff_t w_m, ptrdiff_t w_k, int n_k, bool flip, float *to) {
    (void)w, (void)w_m, (void)w_k, (void)n_k, (void)flip, (void)to;
    __builtin_trap();
}
static inline void cel_amx_matrices(const float *const *matrix, int n, int n_k, int first, float *to) {
    (void)matrix, (void)n, (void)n_k, (void)first, (void)to;
    __builtin_trap();
}
static inline void cel_amx_narrow(const float *x, int n, uint16_t *to) {
    (void)x, (void)n, (void)to;
    __builtin_trap();
}
static inline void cel_amx_dots(const uint16_t *z, size_t channel, const float *x, int n, float *to, float *room) {
    (void)z, (void)channel, (void)x, (void)n, (void)to, (void)room;
    __builtin_trap();
}
static inline void cel_amx_block(const cel_amx_term *terms, int n, float *to, ptrdiff_t pixel, ptrdiff_t channel) {
    (void)terms, (void)n, (void)to, (void)pixel, (void)channel;
    __builtin_trap();
}
static inline void cel_amx_pairs(const float *a, const float *b, int n, bool relu, float *to, size_t pixel) {
    (void)a, (void)b, (void)n, (void)relu, (void)to, (void)pixel;
    __builtin_trap();
}
static inline void cel_amx_relu_lanes(const float *x, size_t channel, const float *about, int n, float *to) {
    (void)x, (void)channel, (void)about, (void)n, (void)to;
    __builtin_trap();
}
static inline void cel_amx_keep(const float *block, uint16_t *out, size_t channel, const float *pivot, float *sums) {
    (void)block, (void)out, (void)channel, (void)pivot, (void)sums;
    __builtin_trap();
}
static inline void cel_amx_dw_run(const cel_amx_dw *j, float *to, float *to2) {
    (void)j, (void)to, (void)to2;
    __builtin_trap();
}
static inline void cel_amx_dz_pairs(const float *const d[2], const uint16_t *const z[2], const float *coef, size_t step,
                                    cel_vi exists, int n, float *to, size_t pixel, uint16_t *kept, size_t channel) {
    (void)d, (void)z, (void)coef, (void)step, (void)exists, (void)n, (void)to, (void)pixel, (void)kept, (void)channel;
    __builtin_trap();
}
#endif
#endif
