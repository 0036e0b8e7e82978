/* Dense 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3): thirty-six products give a tile of 4x4 outputs, nine for each four where
 * F(2x2, 3x3) (winograd.h) takes sixteen and the direct loops thirty-six.
 *
 * The usual points 0, 1, -1, 2, -2 cost about ten times the rounding error of the direct loops. With 0, +-1/sqrt 2, +-sqrt 2 the entries
 * of the three transforms stay near one (Barabasz, Anderson, Soodhalter and Gregg, "Error analysis and improving the accuracy of Winograd
 * convolution for deep neural networks", arXiv:1803.10986, on the choice of points), and it is two to three times, 3e-7 to 6e-7 of the
 * result's size for 8 to 64 channels. A pair +-p shares its even and odd part, so a transform of six values is twelve multiply-adds. */
#ifndef CEL_ENGINE_WINOGRAD4_H
#define CEL_ENGINE_WINOGRAD4_H
#include "engine/backend/cpu/winograd.h"

#if defined(CEL_ISA_AVX512)
enum { CEL_WINO4_Q = 8 };
#else
enum { CEL_WINO4_Q = 4 };
#endif
enum {
    CEL_WINO4_TILES = 2, /* of a block: neighbours in a row */
    CEL_WINO4_SIZE = 6,  /* of a tile's input */
    CEL_WINO4_PRODUCTS = CEL_WINO4_SIZE * CEL_WINO4_SIZE
};

/* Are these loops faster than those of F(2x2), and do the sizes fit? */
static inline bool cel_wino4_pays(int n_ci, int n_co, int rows, int cols) {
    return n_ci >= 16 && n_co >= 16 && n_ci % 4 == 0 && n_co % 8 == 0 && rows % 4 == 0 && cols % 4 == 0;
}

static inline size_t cel_wino4_weight_floats(int n_ci, int n_co) {
    return CEL_WINO4_PRODUCTS * (size_t)n_ci * (size_t)n_co;
}
static inline size_t cel_wino4_scratch_floats(int n_ci) {
    return CEL_WINO4_PRODUCTS *
           (size_t)(cel_wino_stride(n_ci, CEL_WINO4_TILES) + cel_wino_stride(CEL_WINO4_Q, CEL_WINO4_TILES));
}

#define CEL_WINO4_A 0.70710678118654752f /* the points */
#define CEL_WINO4_B 1.41421356237309505f

/* G g: three to six. */
CEL_INLINE void cel_wino4_filter(const cel_vf g[3], cel_vf t[6]) {
    cel_vf a = (-2.0f / 3) * g[0] + (-1.0f / 3) * g[2], b = (1.0f / 6) * g[0] + (1.0f / 3) * g[2],
           a_odd = (-2.0f / 3 * CEL_WINO4_A) * g[1], b_odd = (1.0f / 6 * CEL_WINO4_B) * g[1];
    t[0] = g[0];
    t[1] = a + a_odd;
    t[2] = a - a_odd;
    t[3] = b + b_odd;
    t[4] = b - b_odd;
    t[5] = g[2];
}

/* Output channels co .. co+Q-1, Q = CEL_TILE_Q, of G g G^T, as [36][n_co/CEL_WINO4_Q][n_ci][CEL_WINO4_Q]. */
static inline void cel_wino4_weights(const cel_conv_job *j, const float *w, int co, float *u) {
    enum { Q = CEL_TILE_Q, WIDTH = CEL_WINO4_Q };
    size_t matrix = (size_t)j->n_ci * (size_t)j->n_co;
    for (int ci = 0; ci < j->n_ci; ci += CEL_VL / Q) {
        cel_vf g[9], t[6][3];
        cel_wino_gather(j, w, co, ci, g);
        for (int c = 0; c < 3; c++) {
            cel_vf column[3] = {g[c], g[3 + c], g[6 + c]}, six[6];
            cel_wino4_filter(column, six);
            for (int r = 0; r < 6; r++) t[r][c] = six[r];
        }
        float *out = u + (size_t)(co - co % WIDTH) * (size_t)j->n_ci + (size_t)(ci * WIDTH + co % WIDTH);
        for (int r = 0; r < 6; r++) {
            cel_vf six[6];
            cel_wino4_filter(t[r], six);
            for (int c = 0; c < 6; c++, out += matrix) cel_wino_weights_store(out, WIDTH, six[c]);
        }
    }
}

/* B^T d: six to six. */
CEL_INLINE void cel_wino4_input_line(const cel_vf d[6], cel_vf v[6]) {
    cel_vf even = d[4] - 2.0f * d[2], odd = d[3] - 2.0f * d[1];
    v[0] = d[0] + (d[4] - 2.5f * d[2]);
    v[1] = even + CEL_WINO4_A * odd;
    v[2] = even - CEL_WINO4_A * odd;
    even = d[4] - 0.5f * d[2];
    odd = d[3] - 0.5f * d[1];
    v[3] = even + CEL_WINO4_B * odd;
    v[4] = even - CEL_WINO4_B * odd;
    v[5] = d[1] + (d[5] - 2.5f * d[3]);
}

/* B^T d B of a tile of one channel, to v[36], `next` apart. */
static __attribute__((noinline, unused)) void cel_wino4_input(const float *x, ptrdiff_t row, float *v, ptrdiff_t next) {
    enum { S = CEL_WINO4_SIZE };
    _Alignas(64) float half[CEL_WINO4_PRODUCTS * CEL_VL];
    CEL_UNROLL for (int c = 0; c < S; c++) {
        cel_vf d[S], six[S];
        CEL_UNROLL for (int r = 0; r < S; r++) d[r] = cel_load(x + r * row + c * CEL_LANES);
        cel_wino4_input_line(d, six);
        CEL_UNROLL for (int r = 0; r < S; r++) cel_store(half + (r * S + c) * CEL_VL, six[r]);
    }
    CEL_UNROLL for (int r = 0; r < S; r++) {
        cel_vf d[S], six[S];
        CEL_UNROLL for (int c = 0; c < S; c++) d[c] = cel_load(half + (r * S + c) * CEL_VL);
        cel_wino4_input_line(d, six);
        CEL_UNROLL for (int c = 0; c < S; c++) cel_store(v + (r * S + c) * next, six[c]);
    }
}

/* A^T m: six to four. */
CEL_INLINE void cel_wino4_output_line(const cel_vf m[6], cel_vf y[4]) {
    cel_vf even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + (even_a + even_b);
    y[1] = CEL_WINO4_A * odd_a + CEL_WINO4_B * odd_b;
    y[2] = 0.5f * even_a + 2.0f * even_b;
    y[3] = (0.5f * CEL_WINO4_A) * odd_a + ((2.0f * CEL_WINO4_B) * odd_b + m[5]);
}

/* A^T m A of a tile of one channel. */
static __attribute__((noinline, unused)) void cel_wino4_output(const float *m, ptrdiff_t next, float *o, ptrdiff_t row,
                                                               bool accumulate) {
    enum { S = CEL_WINO4_SIZE };
    _Alignas(64) float half[4 * S * CEL_VL];
    CEL_UNROLL for (int c = 0; c < S; c++) {
        cel_vf d[S], y[4];
        CEL_UNROLL for (int r = 0; r < S; r++) d[r] = cel_load(m + (r * S + c) * next);
        cel_wino4_output_line(d, y);
        CEL_UNROLL for (int r = 0; r < 4; r++) cel_store(half + (r * S + c) * CEL_VL, y[r]);
    }
    CEL_UNROLL for (int r = 0; r < 4; r++) {
        cel_vf d[S], y[4];
        CEL_UNROLL for (int c = 0; c < S; c++) d[c] = cel_load(half + (r * S + c) * CEL_VL);
        cel_wino4_output_line(d, y);
        float *to = o + r * row;
        CEL_UNROLL for (int c = 0; c < 4; c++) {
            if (accumulate) y[c] += cel_load(to + c * CEL_LANES);
            cel_store(to + c * CEL_LANES, y[c]);
        }
    }
}

CEL_INLINE void cel_wino4_block(const cel_conv_job *j, const float *x, const cel_wino_out *out, int n_out, ptrdiff_t at,
                                float *scratch, const int T) {
    enum { Q = CEL_WINO4_Q };
    ptrdiff_t next_v = cel_wino_stride(j->n_ci, T), next_m = cel_wino_stride(Q, T);
    size_t matrix = (size_t)j->n_ci * (size_t)j->n_co;
    float *v = scratch, *m = v + CEL_WINO4_PRODUCTS * next_v;
    for (int ci = 0; ci < j->n_ci; ci++)
        for (int t = 0; t < T; t++)
            cel_wino4_input(x + ci * j->x_ci + 4 * t * CEL_LANES, j->x_row, v + (ci * T + t) * CEL_VL, next_v);
    for (int n = 0; n < n_out; n++) {
        const float *u = out[n].u;
        float *o = out[n].o + at;
        if (j->far) cel_wino_ask(j, o + 4 * T * CEL_LANES, 4, 4 * T);
        for (int co = 0; co < j->n_co; co += Q) {
            for (int k = 0; k < CEL_WINO4_PRODUCTS; k++)
                cel_wino_product(v + k * next_v, u + (size_t)k * matrix + (size_t)co * (size_t)j->n_ci, m + k * next_m,
                                 j->n_ci, Q, T);
            for (int q = 0; q < Q; q++)
                for (int t = 0; t < T; t++)
                    cel_wino4_output(m + (q * T + t) * CEL_VL, next_m, o + (co + q) * j->o_co + 4 * t * CEL_LANES,
                                     j->o_row, j->accumulate);
        }
    }
}
static __attribute__((noinline, unused)) void cel_wino4_block_full(const cel_conv_job *j, const float *x,
                                                                   const cel_wino_out *out, int n_out, ptrdiff_t at,
                                                                   float *scratch) {
    cel_wino4_block(j, x, out, n_out, at, scratch, CEL_WINO4_TILES);
}
static __attribute__((noinline, unused)) void cel_wino4_block_one(const cel_conv_job *j, const float *x,
                                                                  const cel_wino_out *out, int n_out, ptrdiff_t at,
                                                                  float *scratch) {
    cel_wino4_block(j, x, out, n_out, at, scratch, 1);
}

/* As cel_wino_run, for jobs that cel_wino4_pays says yes to. */
static inline void cel_wino4_run(const cel_conv_job *j, const float *x, const cel_wino_out *out, int n_out,
                                 float *scratch) {
    cel_wino_run_with(cel_wino4_block_full, cel_wino4_block_one, 4, CEL_WINO4_TILES, j, x, out, n_out, scratch);
}
#endif
