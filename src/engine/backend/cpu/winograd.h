/* Dense 3x3 convolution of stride 1 and its weight gradient by Winograd's minimal filtering over lanes of images: Lavin and Gray, "Fast
 * Algorithms for Convolutional Neural Networks" (arXiv:1509.09308), F(2x2, 3x3). Sixteen products instead of thirty-six give a
 * tile of 2x2 outputs, at the price of additions: y = A^T [(G g G^T) . (B^T d B)] A, where the dot is a sum over channels, so each of
 * the sixteen positions is a small matrix product with the lanes beside it. Only additions and halves are involved: rounding errors
 * are about twice those of the direct loops. winograd4.h has the larger tile, conv3x3.h the choice between them.
 *
 * Offsets between the sixteen matrices carry a few floats more than needed: powers of two would meet in one set of the cache. */
#ifndef CEL_ENGINE_WINOGRAD_H
#define CEL_ENGINE_WINOGRAD_H
#include "engine/backend/cpu/conv_core.h"

enum {
    CEL_WINO_FEW = 16,      /* input channels of a block of one tile */
    CEL_WINO_AHEAD = 4,     /* tiles */
    CEL_WINO_DW_TILES = 16, /* of a weight-gradient block */
    CEL_WINO_GAP = 16
};
/* What stays in registers: CEL_TILE_Q channels of neighbouring tiles of a forward block, and of a weight gradient output channels by
 * four input channels. */
#if defined(CEL_ISA_AVX512)
enum { CEL_WINO_TILES = 4, CEL_WINO_DW_Q = 4 };
#else
enum { CEL_WINO_TILES = 2, CEL_WINO_DW_Q = 2 };
#endif

/* Are these loops faster than the direct ones, and do the sizes fit? */
static inline bool cel_wino_pays(int n_ci, int n_co, int rows, int cols) {
    return n_ci >= 8 && n_co >= 8 && n_ci % 4 == 0 && n_co % 4 == 0 && rows % 2 == 0 && cols % 2 == 0;
}
static inline bool cel_wino_dw_pays(int n_ci, int n_co, int rows, int cols) {
    return n_ci >= 16 && n_co >= 16 && cel_wino_pays(n_ci, n_co, rows, cols) && cols <= 2 * CEL_WINO_DW_TILES;
}

/* Output channels that a product keeps in registers. Few input channels: one tile at a time, so that its sixteen matrices stay in a
 * first-level cache, and twice the channels. Many: several tiles, which load less for a multiply-add. */
static inline int cel_wino_width(int n_ci, int n_co) { return n_ci <= CEL_WINO_FEW && n_co % 8 == 0 ? 8 : CEL_TILE_Q; }

/* ---- Weights: G g G^T, as [16][n_co/width][n_ci][width] ---- */

static inline size_t cel_wino_weight_floats(int n_ci, int n_co) { return 16 * (size_t)n_ci * (size_t)n_co; }

/* Where the window of the first output begins. */
static inline ptrdiff_t cel_wino_first(const cel_conv_job *j) {
    ptrdiff_t first = j->tap[0].x;
    for (int t = 1; t < 9; t++)
        if (j->tap[t].x < first) first = j->tap[t].x;
    return first;
}

/* Input channels of one output channel after the other, Q a vector, `width` floats apart. */
CEL_INLINE void cel_wino_weights_store(float *to, int width, cel_vf v) {
    enum { Q = CEL_TILE_Q };
    if (width == Q) {
        cel_store(to, v);
        return;
    }
    float part[CEL_VL];
    memcpy(part, &v, sizeof part);
    for (int i = 0; i < CEL_VL / Q; i++) memcpy(to + i * width, part + i * Q, Q * sizeof *to);
}

/* The nine weights, row by row, of output channels co .. co+Q-1 and the input channels from `ci` on that fill a vector. The job's taps
 * lie on three rows of three pixels, in any order. */
static inline void cel_wino_gather(const cel_conv_job *j, const float *w, int co, int ci, cel_vf g[9]) {
    enum { Q = CEL_TILE_Q };
    ptrdiff_t first = cel_wino_first(j);
    for (int t = 0; t < 9; t++) {
        ptrdiff_t d = j->tap[t].x - first;
        _Alignas(64) float gathered[CEL_VL];
        for (int e = 0; e < CEL_VL; e++) gathered[e] = w[(co + e % Q) * j->w_co + (ci + e / Q) * j->w_ci + j->tap[t].w];
        g[d / j->x_row * 3 + d % j->x_row / CEL_LANES] = cel_load(gathered);
    }
}

/* Output channels co .. co+Q-1 of the transformed weights. */
static inline void cel_wino_weights(const cel_conv_job *j, const float *w, int co, int width, float *u) {
    enum { Q = CEL_TILE_Q, PER = CEL_VL / CEL_TILE_Q };
    size_t matrix = (size_t)j->n_ci * (size_t)j->n_co;
    cel_vf half = cel_splat(0.5f);
    for (int ci = 0; ci < j->n_ci; ci += PER) {
        cel_vf g[9], t[4][3];
        cel_wino_gather(j, w, co, ci, g);
        for (int c = 0; c < 3; c++) {
            cel_vf ends = g[c] + g[6 + c];
            t[0][c] = g[c];
            t[1][c] = half * (ends + g[3 + c]);
            t[2][c] = half * (ends - g[3 + c]);
            t[3][c] = g[6 + c];
        }
        float *out = u + (size_t)(co - co % width) * (size_t)j->n_ci + (size_t)(ci * width + co % width);
        for (int r = 0; r < 4; r++, out += 4 * matrix) {
            cel_vf ends = t[r][0] + t[r][2];
            cel_wino_weights_store(out, width, t[r][0]);
            cel_wino_weights_store(out + matrix, width, half * (ends + t[r][1]));
            cel_wino_weights_store(out + 2 * matrix, width, half * (ends - t[r][1]));
            cel_wino_weights_store(out + 3 * matrix, width, t[r][2]);
        }
    }
}

/* ---- Forward (and the data gradient, which is a forward with flipped taps) ---- */

static inline ptrdiff_t cel_wino_stride(int channels, int tiles) {
    return (ptrdiff_t)channels * tiles * CEL_VL + CEL_WINO_GAP;
}
static inline size_t cel_wino_scratch_floats(int n_ci, int n_co) {
    return 16 * (size_t)(cel_wino_stride(n_ci, CEL_WINO_TILES) + cel_wino_stride(n_co, CEL_WINO_TILES));
}

/* B^T d B of T neighbouring tiles of one channel, to v[16 positions][T]. */
CEL_INLINE void cel_wino_input(const float *x, ptrdiff_t row, float *v, ptrdiff_t next, const int T) {
    cel_vf c[4][4];
    CEL_UNROLL for (int t = 0; t < T; t++, x += 2 * CEL_LANES, v += CEL_VL) {
        CEL_UNROLL for (int i = 0; i < 4; i++) {
            if (i < 2 && t) { /* the tile before has them */
                CEL_UNROLL for (int r = 0; r < 4; r++) c[r][i] = c[r][i + 2];
                continue;
            }
            const float *at = x + i * CEL_LANES;
            cel_vf d0 = cel_load(at), d1 = cel_load(at + row), d2 = cel_load(at + 2 * row), d3 = cel_load(at + 3 * row);
            c[0][i] = d0 - d2;
            c[1][i] = d1 + d2;
            c[2][i] = d2 - d1;
            c[3][i] = d1 - d3;
        }
        CEL_UNROLL for (int r = 0; r < 4; r++) {
            float *to = v + 4 * r * next;
            cel_store(to, c[r][0] - c[r][2]);
            cel_store(to + next, c[r][1] + c[r][2]);
            cel_store(to + 2 * next, c[r][2] - c[r][1]);
            cel_store(to + 3 * next, c[r][1] - c[r][3]);
        }
    }
}

/* One position: Q output channels of T tiles. */
CEL_INLINE void cel_wino_product(const float *v, const float *u, float *m, int n_ci, const int Q, const int T) {
    cel_vf acc[8][CEL_WINO_TILES];
    CEL_UNROLL for (int q = 0; q < Q; q++) CEL_UNROLL for (int t = 0; t < T; t++) acc[q][t] = (cel_vf){0};
    for (int ci = 0; ci < n_ci; ci++, v += T * CEL_VL, u += Q) {
        cel_vf xv[CEL_WINO_TILES];
        CEL_UNROLL for (int t = 0; t < T; t++) xv[t] = cel_load(v + t * CEL_VL);
        CEL_UNROLL for (int q = 0; q < Q; q++) {
            cel_vf wv = cel_splat(u[q]);
            CEL_UNROLL for (int t = 0; t < T; t++) acc[q][t] += wv * xv[t];
        }
    }
    CEL_UNROLL for (int q = 0; q < Q; q++) CEL_UNROLL for (int t = 0; t < T; t++)
        cel_store(m + (q * T + t) * CEL_VL, acc[q][t]);
}

/* A^T m A of one channel. */
CEL_INLINE void cel_wino_output(const float *m, ptrdiff_t next, float *o, ptrdiff_t row, bool accumulate, const int T) {
    CEL_UNROLL for (int t = 0; t < T; t++, m += CEL_VL, o += 2 * CEL_LANES) {
        cel_vf a[2][4];
        CEL_UNROLL for (int c = 0; c < 4; c++) {
            const float *at = m + c * next;
            cel_vf m0 = cel_load(at), m1 = cel_load(at + 4 * next), m2 = cel_load(at + 8 * next),
                   m3 = cel_load(at + 12 * next);
            a[0][c] = m0 + (m1 + m2);
            a[1][c] = (m1 - m2) - m3;
        }
        CEL_UNROLL for (int r = 0; r < 2; r++) {
            cel_vf left = a[r][0] + (a[r][1] + a[r][2]), right = (a[r][1] - a[r][2]) - a[r][3];
            float *to = o + r * row;
            if (accumulate) {
                left += cel_load(to);
                right += cel_load(to + CEL_LANES);
            }
            cel_store(to, left);
            cel_store(to + CEL_LANES, right);
        }
    }
}

/* One of several convolutions of one input: transformed weights and output. */
typedef struct cel_wino_out {
    const void *u;
    float *o;
} cel_wino_out;

/* The lines of the output that a later block will write: a store that misses waits for a line that it replaces whole. */
CEL_INLINE void cel_wino_ask(const cel_conv_job *j, float *o, const int rows, const int cols) {
    for (int co = 0; co < j->n_co; co++, o += j->o_co)
        CEL_UNROLL for (int r = 0; r < rows; r++) CEL_UNROLL for (int i = 0; i < cols; i++)
            __builtin_prefetch(o + r * j->o_row + i * CEL_LANES, 1);
}

/* Products of Q output channels at once; those of `at_once` are transformed back together. */
CEL_INLINE void cel_wino_block(const cel_conv_job *j, const float *x, const cel_wino_out *out, int n_out, ptrdiff_t at,
                               float *scratch, int at_once, const int Q, const int T) {
    ptrdiff_t next_v = cel_wino_stride(j->n_ci, T), next_m = cel_wino_stride(at_once, T);
    size_t matrix = (size_t)j->n_ci * (size_t)j->n_co;
    float *v = scratch, *m = v + 16 * next_v;
    for (int ci = 0; ci < j->n_ci; ci++) cel_wino_input(x + ci * j->x_ci, j->x_row, v + ci * T * CEL_VL, next_v, T);
    for (int n = 0; n < n_out; n++) {
        const float *u = out[n].u;
        if (j->far) cel_wino_ask(j, out[n].o + at + 2 * CEL_WINO_AHEAD * CEL_LANES, 2, 2 * T);
        for (int c0 = 0; c0 < j->n_co; c0 += at_once) {
            for (int k = 0; k < 16; k++)
                for (int co = 0; co < at_once; co += Q)
                    cel_wino_product(v + k * next_v, u + (size_t)k * matrix + (size_t)(c0 + co) * (size_t)j->n_ci,
                                     m + k * next_m + co * T * CEL_VL, j->n_ci, Q, T);
            for (int co = 0; co < at_once; co++)
                cel_wino_output(m + co * T * CEL_VL, next_m, out[n].o + at + (c0 + co) * j->o_co, j->o_row,
                                j->accumulate, T);
        }
    }
}
static __attribute__((noinline, unused)) void cel_wino_block_full(const cel_conv_job *j, const float *x,
                                                                  const cel_wino_out *out, int n_out, ptrdiff_t at,
                                                                  float *scratch) {
    cel_wino_block(j, x, out, n_out, at, scratch, j->n_co, CEL_TILE_Q, CEL_WINO_TILES);
}
static __attribute__((noinline, unused)) void cel_wino_block_one(const cel_conv_job *j, const float *x,
                                                                 const cel_wino_out *out, int n_out, ptrdiff_t at,
                                                                 float *scratch) {
    cel_wino_block(j, x, out, n_out, at, scratch, j->n_co, CEL_TILE_Q, 1);
}
static __attribute__((noinline, unused)) void cel_wino_block_few(const cel_conv_job *j, const float *x,
                                                                 const cel_wino_out *out, int n_out, ptrdiff_t at,
                                                                 float *scratch) {
    cel_wino_block(j, x, out, n_out, at, scratch, 8, 8, 1);
}

typedef void cel_wino_block_loop(const cel_conv_job *j, const float *x, const cel_wino_out *out, int n_out,
                                 ptrdiff_t at, float *scratch);

/* Tiles of size x size outputs. full: NULL, or for `tiles` neighbours where they fit; one: for one. */
static inline void cel_wino_run_with(cel_wino_block_loop *full, cel_wino_block_loop *one, const int size,
                                     const int tiles, const cel_conv_job *j, const float *x, const cel_wino_out *out,
                                     int n_out, float *scratch) {
    const int wide = size * tiles;
    x += cel_wino_first(j);
    for (int lane = 0; lane < CEL_LANES; lane += CEL_VL)
        for (int row = 0; row < j->rows; row += size)
            for (int col = 0; col < j->cols;) {
                bool whole = full && col + wide <= j->cols;
                (whole ? full : one)(j, x + lane + row * j->x_row + col * CEL_LANES, out, n_out,
                                     lane + row * j->o_row + col * CEL_LANES, scratch);
                col += whole ? wide : size;
            }
}

/* As cel_conv_run, with the weights transformed to cel_wino_width, for jobs that cel_wino_pays says yes to; of n_out convolutions,
 * which share the input's transform. */
static inline void cel_wino_run(const cel_conv_job *j, const float *x, const cel_wino_out *out, int n_out,
                                float *scratch) {
    bool few = cel_wino_width(j->n_ci, j->n_co) == 8;
    cel_wino_run_with(few ? NULL : cel_wino_block_full, few ? cel_wino_block_few : cel_wino_block_one, 2,
                      CEL_WINO_TILES, j, x, out, n_out, scratch);
}

/* ---- Weight gradient: G^T [sum over tiles and lanes of (A dz A^T) . (B^T d B)] G ---- */

static inline size_t cel_wino_dw_scratch_floats(int n_ci, int n_co) {
    size_t pairs = (size_t)n_ci * (size_t)n_co;
    return 4 * (size_t)(cel_wino_stride(n_ci, CEL_WINO_DW_TILES) + cel_wino_stride(n_co, CEL_WINO_DW_TILES)) +
           4 * pairs * CEL_VL + 16 * pairs;
}

/* Row `i` of B^T d B: four positions of n neighbouring tiles of one channel. */
CEL_INLINE void cel_wino_input_row(const int i, const float *x, ptrdiff_t row, float *v, ptrdiff_t next, int n) {
    const float *a = x + (i == 0 ? 0 : i == 2 ? 2 : 1) * row, *b = x + (i == 3 ? 3 : i == 2 ? 1 : 2) * row;
    const ptrdiff_t step = CEL_LANES;
    cel_vf c[4];
    CEL_UNROLL for (int k = 2; k < 4; k++) {
        cel_vf p = cel_load(a + (k - 2) * step), q = cel_load(b + (k - 2) * step);
        c[k] = i == 1 ? p + q : p - q;
    }
    for (int t = 0; t < n; t++, v += CEL_VL) {
        a += 2 * step;
        b += 2 * step;
        c[0] = c[2];
        c[1] = c[3];
        CEL_UNROLL for (int k = 0; k < 2; k++) {
            cel_vf p = cel_load(a + k * step), q = cel_load(b + k * step);
            c[2 + k] = i == 1 ? p + q : p - q;
        }
        cel_store(v, c[0] - c[2]);
        cel_store(v + next, c[1] + c[2]);
        cel_store(v + 2 * next, c[2] - c[1]);
        cel_store(v + 3 * next, c[1] - c[3]);
    }
}

/* Row `i` of A dz A^T. */
CEL_INLINE void cel_wino_grad_row(const int i, const float *z, ptrdiff_t row, float *v, ptrdiff_t next, int n) {
    for (int t = 0; t < n; t++, z += 2 * CEL_LANES, v += CEL_VL) {
        cel_vf c[2];
        CEL_UNROLL for (int k = 0; k < 2; k++) {
            const float *at = z + k * CEL_LANES;
            c[k] = i == 0   ? cel_load(at)
                   : i == 1 ? cel_load(at) + cel_load(at + row)
                   : i == 2 ? cel_load(at) - cel_load(at + row)
                            : -cel_load(at + row);
        }
        cel_store(v, c[0]);
        cel_store(v + next, c[0] + c[1]);
        cel_store(v + 2 * next, c[0] - c[1]);
        cel_store(v + 3 * next, -c[1]);
    }
}

#define CEL_WINO_BY_ROW(fn)                                                                                            \
    static __attribute__((noinline, unused)) void fn##_of(int i, const float *p, ptrdiff_t row, float *v,              \
                                                          ptrdiff_t next, int n) {                                     \
        if (i == 0) fn(0, p, row, v, next, n);                                                                         \
        if (i == 1) fn(1, p, row, v, next, n);                                                                         \
        if (i == 2) fn(2, p, row, v, next, n);                                                                         \
        if (i == 3) fn(3, p, row, v, next, n);                                                                         \
    }
CEL_WINO_BY_ROW(cel_wino_input_row)
CEL_WINO_BY_ROW(cel_wino_grad_row)

/* Sums over the lanes of the 4 Q vectors of a block, in an order that the level fixes. */
CEL_INLINE void cel_lane_sums(const cel_vf *a, float *out) {
#if defined(CEL_ISA_AVX512)
    cel_vf b[8], c[4], d[2]; /* halves, then quarters, pairs and single lanes of all sixteen at once */
    CEL_UNROLL for (int i = 0; i < 8; i++) b[i] =
        __builtin_shufflevector(a[i], a[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
        __builtin_shufflevector(a[i], a[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    CEL_UNROLL for (int i = 0; i < 4; i++) c[i] =
        __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
        __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    CEL_UNROLL for (int i = 0; i < 2; i++) d[i] =
        __builtin_shufflevector(c[i], c[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
        __builtin_shufflevector(c[i], c[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    cel_vf e = __builtin_shufflevector(d[0], d[1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
               __builtin_shufflevector(d[0], d[1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
    memcpy(out, &e, sizeof e);
#else
    for (int i = 0; i < 4 * CEL_WINO_DW_Q; i++) out[i] = cel_lane_sum_f(a[i]);
#endif
}

/* 4 output by 4 input channels of one position: `acc` keeps the lanes' sums from band to band, `out` gets their total after the last. */
static __attribute__((noinline, unused)) void cel_wino_dw_block(const float *v, const float *z, float *acc, float *out,
                                                                ptrdiff_t out_co, int tiles, bool begin, bool end) {
    enum { N = CEL_WINO_DW_TILES * CEL_VL, Q = CEL_WINO_DW_Q };
    for (int half = 0; half < 4; half += Q, z += Q * N) {
        cel_vf s[Q * 4];
        CEL_UNROLL for (int i = 0; i < Q * 4; i++) s[i] = begin ? (cel_vf){0} : cel_load(acc + (half * 4 + i) * CEL_VL);
        for (int t = 0; t < tiles; t++) {
            cel_vf xv[4];
            CEL_UNROLL for (int r = 0; r < 4; r++) xv[r] = cel_load(v + r * N + t * CEL_VL);
            CEL_UNROLL for (int q = 0; q < Q; q++) {
                cel_vf zv = cel_load(z + q * N + t * CEL_VL);
                CEL_UNROLL for (int r = 0; r < 4; r++) s[q * 4 + r] += zv * xv[r];
            }
        }
        if (!end) {
            CEL_UNROLL for (int i = 0; i < Q * 4; i++) cel_store(acc + (half * 4 + i) * CEL_VL, s[i]);
            continue;
        }
        float total[Q * 4];
        cel_lane_sums(s, total);
        for (int q = 0; q < Q; q++)
            for (int r = 0; r < 4; r++) out[(half + q) * out_co + r] += total[q * 4 + r];
    }
}

/* The inner loops of a precision. */
typedef struct cel_wino_dw_loops {
    void (*input_row)(int i, const float *x, ptrdiff_t row, float *v, ptrdiff_t next, int n);
    void (*grad_row)(int i, const float *z, ptrdiff_t row, float *v, ptrdiff_t next, int n);
    void (*block)(const float *v, const float *z, float *acc, float *out, ptrdiff_t out_co, int tiles, bool begin,
                  bool end);
    int tiles; /* in a vector */
} cel_wino_dw_loops;

static inline void cel_wino_dw_with(const cel_wino_dw_loops *loops, const cel_dw_job *j, const float *x, const float *z,
                                    float *dw, float *scratch) {
    const int per = loops->tiles, N = CEL_WINO_DW_TILES / per * CEL_VL, across = j->cols / 2, down = j->rows / 2;
    int at_once = CEL_WINO_DW_TILES / across; /* rows of tiles in a band */
    if (at_once > down) at_once = down;
    ptrdiff_t next_v = cel_wino_stride(j->n_ci, CEL_WINO_DW_TILES / per),
              next_z = cel_wino_stride(j->n_co, CEL_WINO_DW_TILES / per);
    size_t pairs = (size_t)j->n_ci * (size_t)j->n_co;
    float *v = scratch, *zv = v + 4 * next_v, *acc = zv + 4 * next_z, *du = acc + 4 * pairs * CEL_VL;
    memset(du, 0, 16 * pairs * sizeof *du);
    x += j->tap[0].x;
    for (int lane = 0; lane < CEL_LANES; lane += CEL_VL)
        for (int i = 0; i < 4; i++)
            for (int first = 0; first < down; first += at_once) {
                int tiles = 0, end = first + at_once < down ? first + at_once : down;
                for (int r = first; r < end; r++, tiles += across) {
                    const float *xr = x + lane + 2 * r * j->x_row, *zr = z + lane + 2 * r * j->z_row;
                    int at = tiles / per * CEL_VL;
                    for (int ci = 0; ci < j->n_ci; ci++)
                        loops->input_row(i, xr + ci * j->x_ci, j->x_row, v + ci * N + at, next_v, across);
                    for (int co = 0; co < j->n_co; co++)
                        loops->grad_row(i, zr + co * j->z_co, j->z_row, zv + co * N + at, next_z, across);
                }
                for (int k = 0; k < 4; k++)
                    for (int co = 0; co < j->n_co; co += 4)
                        for (int ci = 0; ci < j->n_ci; ci += 4)
                            loops->block(v + k * next_v + ci * N, zv + k * next_z + co * N,
                                         acc + ((size_t)k * pairs + (size_t)(co * j->n_ci + 4 * ci)) * CEL_VL,
                                         du + (size_t)(i * 4 + k) * pairs + co * j->n_ci + ci, j->n_ci, tiles,
                                         first == 0, end == down);
            }
    for (int co = 0; co < j->n_co; co++)
        for (int ci = 0; ci < j->n_ci; ci++, du++) {
            float t[3][4], *out = dw + co * j->dw_co + ci * j->dw_ci;
            for (int c = 0; c < 4; c++) {
                float a = du[(size_t)c * pairs], b = du[(size_t)(4 + c) * pairs], d = du[(size_t)(8 + c) * pairs];
                t[0][c] = a + 0.5f * (b + d);
                t[1][c] = 0.5f * (b - d);
                t[2][c] = 0.5f * (b + d) + du[(size_t)(12 + c) * pairs];
            }
            for (int r = 0; r < 3; r++) {
                out[3 * r] = t[r][0] + 0.5f * (t[r][1] + t[r][2]);
                out[3 * r + 1] = 0.5f * (t[r][1] - t[r][2]);
                out[3 * r + 2] = 0.5f * (t[r][1] + t[r][2]) + t[r][3];
            }
        }
}

/* As cel_dw_run with the nine taps of a dense 3x3 kernel, for jobs that cel_wino_dw_pays says yes to. */
static inline void cel_wino_dw_run(const cel_dw_job *j, const float *x, const float *z, float *dw, float *scratch) {
    static const cel_wino_dw_loops loops = {cel_wino_input_row_of, cel_wino_grad_row_of, cel_wino_dw_block, 1};
    cel_wino_dw_with(&loops, j, x, z, dw, scratch);
}
#endif
