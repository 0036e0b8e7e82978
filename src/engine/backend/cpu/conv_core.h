/* The inner loops of convolution over lanes of images, shared by conv.isa.c and the mixed cell.
 *
 * Everything is a list of taps: one input and one weight offset each. So one loop serves every kernel size, stride, dilation, group and
 * the data gradient (flipped taps; one list a phase of the stride). Inputs are padded beforehand, so no loop has a border. A tile of
 * CEL_TILE_Q output channels by CEL_TILE_P pixels stays in registers: Q*P multiply-adds for P loads and Q broadcasts. Of sixteen
 * registers that is twelve sums, three pixels and a weight; of thirty-two sixteen, four and one. */
#ifndef CEL_ENGINE_CONV_CORE_H
#define CEL_ENGINE_CONV_CORE_H
#include "engine/backend/cpu/lanes.h"

#define CEL_INLINE static inline __attribute__((always_inline))
#define CEL_UNROLL _Pragma("GCC unroll 16")

/* Offsets in floats. */
typedef struct cel_tap {
    ptrdiff_t x, w;
} cel_tap;

typedef struct cel_conv_job {
    int n_ci, n_co, n_taps, rows, cols;
    const cel_tap *tap;
    ptrdiff_t x_ci, x_row, x_px; /* input: channel plane, output row, output pixel */
    ptrdiff_t w_co, w_ci;
    ptrdiff_t o_co, o_row, o_px;
    bool accumulate;
    bool far; /* the output is in no near cache: Winograd's loops in float32 ask for its lines ahead */
} cel_conv_job;

CEL_INLINE void cel_conv_tile(const cel_conv_job *j, const float *x, const float *w, float *o, const int Q,
                              const int P) {
    cel_vf acc[8][8];
    CEL_UNROLL for (int q = 0; q < Q; q++) CEL_UNROLL for (int p = 0; p < P; p++) acc[q][p] =
        j->accumulate ? cel_load(o + q * j->o_co + p * j->o_px) : (cel_vf){0};
    const ptrdiff_t x_px = j->x_px, w_co = j->w_co;
    for (int ci = 0; ci < j->n_ci; ci++, x += j->x_ci, w += j->w_ci)
        for (int t = 0; t < j->n_taps; t++) {
            const float *xt = x + j->tap[t].x, *wt = w + j->tap[t].w;
            cel_vf xv[8];
            CEL_UNROLL for (int p = 0; p < P; p++) xv[p] = cel_load(xt + p * x_px);
            CEL_UNROLL for (int q = 0; q < Q; q++) {
                cel_vf wv = cel_splat(wt[q * w_co]);
                CEL_UNROLL for (int p = 0; p < P; p++) acc[q][p] += wv * xv[p];
            }
        }
    CEL_UNROLL for (int q = 0; q < Q; q++) CEL_UNROLL for (int p = 0; p < P; p++)
        cel_store(o + q * j->o_co + p * j->o_px, acc[q][p]);
}

#if defined(CEL_ISA_AVX512)
enum { CEL_TILE_Q = 4, CEL_TILE_P = 4 };
#else
enum { CEL_TILE_Q = 4, CEL_TILE_P = 3 };
#endif
/* Pixels of a tile of one channel, where there are fewer than Q, as in a depthwise convolution. */
enum { CEL_TILE_ALONE = 8 };

#define CEL_CONV_TILE(name, q, p)                                                                                      \
    static __attribute__((noinline, unused)) void name(const cel_conv_job *j, const float *x, const float *w,          \
                                                       float *o) {                                                     \
        cel_conv_tile(j, x, w, o, q, p);                                                                               \
    }
CEL_CONV_TILE(cel_conv_tile_full, CEL_TILE_Q, CEL_TILE_P)
CEL_CONV_TILE(cel_conv_tile_pair, CEL_TILE_Q, 2)
CEL_CONV_TILE(cel_conv_tile_narrow, CEL_TILE_Q, 1)
CEL_CONV_TILE(cel_conv_tile_alone, 1, CEL_TILE_ALONE)
CEL_CONV_TILE(cel_conv_tile_one, 1, CEL_TILE_P)
CEL_CONV_TILE(cel_conv_tile_last, 1, 1)

/* Pixels of the next tile of a row with `left` of them. Where a tile has three, two pairs do better than three and one. */
static inline int cel_conv_tile_width(const cel_conv_job *j, int left) {
    bool few = j->n_co < CEL_TILE_Q;
    if (few && left >= CEL_TILE_ALONE) return CEL_TILE_ALONE;
    if (left >= CEL_TILE_P && (few || CEL_TILE_P > 3 || left != 4)) return CEL_TILE_P;
    return left >= 2 && !few ? 2 : 1;
}

/* o[co][row][col] (+)= sum over ci and taps, of one group of images. */
static inline void cel_conv_run(const cel_conv_job *j, const float *x, const float *w, float *o) {
    for (int row = 0; row < j->rows; row++)
        for (int col = 0, width; col < j->cols; col += width) {
            const float *xt = x + row * j->x_row + col * j->x_px;
            float *ot = o + row * j->o_row + col * j->o_px;
            width = cel_conv_tile_width(j, j->cols - col);
            for (int co = 0; co < j->n_co;) {
                bool many = co + CEL_TILE_Q <= j->n_co;
                for (int lane = 0; lane < CEL_LANES; lane += CEL_VL) {
                    const float *wt = w + co * j->w_co;
                    float *oc = ot + co * j->o_co + lane;
                    if (many && width == CEL_TILE_P)
                        cel_conv_tile_full(j, xt + lane, wt, oc);
                    else if (many && width == 2)
                        cel_conv_tile_pair(j, xt + lane, wt, oc);
                    else if (many)
                        cel_conv_tile_narrow(j, xt + lane, wt, oc);
                    else if (width == CEL_TILE_ALONE)
                        cel_conv_tile_alone(j, xt + lane, wt, oc);
                    else if (width == CEL_TILE_P)
                        cel_conv_tile_one(j, xt + lane, wt, oc);
                    else
                        for (int p = 0; p < width; p++)
                            cel_conv_tile_last(j, xt + p * j->x_px + lane, wt, oc + p * j->o_px);
                }
                co += many ? CEL_TILE_Q : 1;
            }
        }
}

/* A pointwise convolution; pixels of x, and of o, follow each other. Planes of most images are a power of two apart, so that the channels of a
 * pixel share few lines of a cache; where a vector register holds half of the lanes or less, and each line is asked for twice as often,
 * it pays to copy a strip of pixels before. strip: cel_pointwise_floats(j->n_ci). */
#if defined(CEL_ISA_AVX512)
enum { CEL_STRIP_VECTORS = 0 };
#else
enum { CEL_STRIP_VECTORS = 256 }; /* of all lanes: half of a first-level cache */
#endif
static inline int cel_pointwise_strip(int n_ci) {
    int px = CEL_STRIP_VECTORS / n_ci / CEL_TILE_P * CEL_TILE_P;
    return px < CEL_TILE_P ? CEL_TILE_P : px;
}
static inline size_t cel_pointwise_floats(int n_ci) {
    return CEL_STRIP_VECTORS ? (size_t)n_ci * (size_t)cel_pointwise_strip(n_ci) * CEL_LANES : 0;
}
static inline void cel_pointwise_run(const cel_conv_job *j, const float *x, const float *w, float *o, float *strip) {
    if (!CEL_STRIP_VECTORS) {
        cel_conv_run(j, x, w, o);
        return;
    }
    cel_conv_job part = *j;
    int px = cel_pointwise_strip(j->n_ci), pixels = j->rows * j->cols;
    part.x_ci = (ptrdiff_t)px * CEL_LANES;
    part.rows = 1;
    for (int at = 0; at < pixels; at += px, x += part.x_ci, o += part.x_ci) {
        part.cols = pixels - at < px ? pixels - at : px;
        for (int ci = 0; ci < j->n_ci; ci++)
            memcpy(strip + ci * part.x_ci, x + ci * j->x_ci, (size_t)part.cols * CEL_LANES * sizeof *x);
        cel_conv_run(&part, strip, w, o);
    }
}

/* The weight gradient of one group: dw[co*dw_co + ci*dw_ci + t] = sum over pixels and lanes of dz[co] * x[ci] shifted by tap t. */
typedef struct cel_dw_job {
    int n_ci, n_co, n_taps, rows, cols;
    const cel_tap *tap; /* x only */
    ptrdiff_t x_ci, x_row, x_px;
    ptrdiff_t z_co, z_row; /* pixels of dz follow each other */
    ptrdiff_t dw_co, dw_ci;
} cel_dw_job;

/* Sum over the lanes by halves: fixed order. */
CEL_INLINE float cel_lane_sum_f(cel_vf v) {
    typedef float f4 __attribute__((vector_size(16)));
#if defined(CEL_ISA_AVX512)
    typedef float f8 __attribute__((vector_size(32)));
    f8 e = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
           __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    f4 q = __builtin_shufflevector(e, e, 0, 1, 2, 3) + __builtin_shufflevector(e, e, 4, 5, 6, 7);
#elif defined(CEL_ISA_AVX2)
    f4 q = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
    f4 q = v;
#endif
    return (q[0] + q[2]) + (q[1] + q[3]);
}

#if defined(CEL_ISA_AVX512)
enum { CEL_DW_Q9 = 2, CEL_DW_Q = 4, CEL_DW_R = 4 };
#else
enum { CEL_DW_Q9 = 1, CEL_DW_Q = 2, CEL_DW_R = 4 };
#endif

/* Q output channels by the nine taps of a dense 3x3 kernel of one input channel. */
CEL_INLINE void cel_dw_3x3(const cel_dw_job *j, const float *x, const float *z, float *dw, const int Q) {
    float sum[2][9] = {{0}};
    for (int lane = 0; lane < CEL_LANES; lane += CEL_VL) {
        cel_vf acc[2][9];
        CEL_UNROLL for (int q = 0; q < Q; q++) CEL_UNROLL for (int t = 0; t < 9; t++) acc[q][t] = (cel_vf){0};
        for (int row = 0; row < j->rows; row++) {
            const float *x0 = x + lane + row * j->x_row + j->tap[0].x, *x1 = x0 + j->tap[3].x - j->tap[0].x,
                        *x2 = x0 + j->tap[6].x - j->tap[0].x, *zr = z + lane + row * j->z_row;
            const ptrdiff_t x_px = j->x_px, z_co = j->z_co;
            for (int col = 0; col < j->cols; col++, x0 += x_px, x1 += x_px, x2 += x_px, zr += CEL_LANES) {
                cel_vf zv[2];
                CEL_UNROLL for (int q = 0; q < Q; q++) zv[q] = cel_load(zr + q * z_co);
                CEL_UNROLL for (int t = 0; t < 3; t++) {
                    cel_vf a = cel_load(x0 + t * CEL_LANES), b = cel_load(x1 + t * CEL_LANES),
                           c = cel_load(x2 + t * CEL_LANES);
                    CEL_UNROLL for (int q = 0; q < Q; q++) {
                        acc[q][t] += zv[q] * a;
                        acc[q][t + 3] += zv[q] * b;
                        acc[q][t + 6] += zv[q] * c;
                    }
                }
            }
        }
        for (int q = 0; q < Q; q++)
            for (int t = 0; t < 9; t++) sum[q][t] += cel_lane_sum_f(acc[q][t]);
    }
    for (int q = 0; q < Q; q++)
        for (int t = 0; t < 9; t++) dw[q * j->dw_co + t] = sum[q][t];
}

/* Q output channels by R columns, a column being an input channel and a tap. */
CEL_INLINE void cel_dw_block(const cel_dw_job *j, const float *x, const ptrdiff_t *offset, const float *z, float *dw,
                             const ptrdiff_t *to, const int Q, const int R) {
    float sum[4][4] = {{0}};
    for (int lane = 0; lane < CEL_LANES; lane += CEL_VL) {
        cel_vf acc[4][4];
        CEL_UNROLL for (int q = 0; q < Q; q++) CEL_UNROLL for (int r = 0; r < R; r++) acc[q][r] = (cel_vf){0};
        for (int row = 0; row < j->rows; row++) {
            const float *xr[4], *zr = z + lane + row * j->z_row;
            CEL_UNROLL for (int r = 0; r < R; r++) xr[r] = x + lane + row * j->x_row + offset[r];
            for (int col = 0; col < j->cols; col++, zr += CEL_LANES) {
                cel_vf zv[4];
                CEL_UNROLL for (int q = 0; q < Q; q++) zv[q] = cel_load(zr + q * j->z_co);
                CEL_UNROLL for (int r = 0; r < R; r++) {
                    cel_vf xv = cel_load(xr[r] + col * j->x_px);
                    CEL_UNROLL for (int q = 0; q < Q; q++) acc[q][r] += zv[q] * xv;
                }
            }
        }
        CEL_UNROLL for (int q = 0; q < Q; q++) CEL_UNROLL for (int r = 0; r < R; r++) sum[q][r] +=
            cel_lane_sum_f(acc[q][r]);
    }
    for (int q = 0; q < Q; q++)
        for (int r = 0; r < R; r++) dw[q * j->dw_co + to[r]] = sum[q][r];
}

static inline void cel_dw_run(const cel_dw_job *j, const float *x, const float *z, float *dw) {
    bool dense = j->n_taps == 9;
    for (int t = 0; dense && t < 9; t++) dense = j->tap[t].x == j->tap[t - t % 3].x + t % 3 * CEL_LANES;
    if (dense) {
        for (int co = 0; co < j->n_co;) {
            bool many = co + CEL_DW_Q9 <= j->n_co;
            for (int ci = 0; ci < j->n_ci; ci++) {
                const float *xc = x + ci * j->x_ci, *zc = z + co * j->z_co;
                float *d = dw + co * j->dw_co + ci * j->dw_ci;
                if (many)
                    cel_dw_3x3(j, xc, zc, d, CEL_DW_Q9);
                else
                    cel_dw_3x3(j, xc, zc, d, 1);
            }
            co += many ? CEL_DW_Q9 : 1;
        }
        return;
    }
    int n_cols = j->n_ci * j->n_taps;
    for (int co = 0; co < j->n_co;) {
        bool many = co + CEL_DW_Q <= j->n_co;
        for (int c = 0; c < n_cols;) {
            ptrdiff_t offset[CEL_DW_R], to[CEL_DW_R];
            int r = 0;
            for (; r < CEL_DW_R && c + r < n_cols; r++) {
                int ci = (c + r) / j->n_taps, t = (c + r) % j->n_taps;
                offset[r] = ci * j->x_ci + j->tap[t].x;
                to[r] = ci * j->dw_ci + t;
            }
            const float *zc = z + co * j->z_co;
            float *d = dw + co * j->dw_co;
            if (many && r == CEL_DW_R) {
                cel_dw_block(j, x, offset, zc, d, to, CEL_DW_Q, CEL_DW_R);
                c += r;
            } else if (r == CEL_DW_R) {
                cel_dw_block(j, x, offset, zc, d, to, 1, CEL_DW_R);
                c += r;
            } else if (many) {
                cel_dw_block(j, x, offset, zc, d, to, CEL_DW_Q, 1);
                c += 1;
            } else {
                cel_dw_block(j, x, offset, zc, d, to, 1, 1);
                c += 1;
            }
        }
        co += many ? CEL_DW_Q : 1;
    }
}

/* Copies planes into a padded buffer [n][h+top+bottom][w+left+right][16], zero outside. `stride` floats lie between source planes. */
static inline void cel_pad_planes(const float *x, ptrdiff_t stride, int n, int h, int w, int top, int bottom, int left,
                                  int right, float *out) {
    size_t row = (size_t)(w + left + right) * CEL_LANES, line = (size_t)w * CEL_LANES;
    for (int c = 0; c < n; c++, x += stride) {
        memset(out, 0, (size_t)top * row * sizeof *out);
        out += (size_t)top * row;
        const float *in = x;
        for (int y = 0; y < h; y++, in += line, out += row) {
            memset(out, 0, (size_t)left * CEL_LANES * sizeof *out);
            float *to = out + (size_t)left * CEL_LANES;
            memcpy(to, in, line * sizeof *to);
            memset(to + line, 0, (size_t)right * CEL_LANES * sizeof *out);
        }
        memset(out, 0, (size_t)bottom * row * sizeof *out);
        out += (size_t)bottom * row;
    }
}
#endif
