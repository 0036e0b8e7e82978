/* conv2d_folded over lanes of channels: any kernel, stride, padding and dilation; one group, or a group for each channel.
 *
 * A tile of Q vectors of output channels by P pixels of a row stays in registers; each step multiplies Q vectors of
 * weights by one number of each pixel. Three taps side by side at stride 1 share what they read: P + 2 numbers and 3 Q
 * vectors for 3 Q P multiply-adds. Where each channel is a group of its own, pixels are multiplied lane by lane. */
#include "engine/backend/cpu/inference_layout.h"
#include "engine/op/attr.h"

#if defined(CEL_ISA_AVX512)
enum { TILE_Q = 2, TILE_P = 8, LONG_P = 16 }; /* LONG_P: of a single vector */
#else
enum { TILE_Q = 2, TILE_P = 4, LONG_P = 4 };
#endif

typedef struct {
    const cel_kernel_args *a;
    cel_planes x, y;
    int kh, kw, stride, pad, dilation, gi; /* gi: input channels of a group */
    bool depthwise;
    ptrdiff_t x_row, x_plane, x_image, x_first; /* of the input as it is read, with the border that the kernel wants */
    const float *in;
    int vectors, pairs; /* of output channels; a pair is TILE_Q vectors */
    cel_strips strips;  /* a task: a strip of a pair's plane */
} conv;

static conv conv_of(cel_shape x, cel_shape w, cel_shape y, const cel_conv2d_attr *a) {
    conv c = {.x = cel_planes_of(x),
              .y = cel_planes_of(y),
              .kh = w.dim[2],
              .kw = w.dim[3],
              .stride = a->stride,
              .pad = a->pad,
              .dilation = a->dilation,
              .gi = w.dim[1],
              .depthwise = a->groups > 1};
    c.x_row = c.x.row;
    c.x_plane = c.x.plane;
    c.x_image = c.x.image;
    c.x_first = c.x.first;
    c.vectors = c.y.blocks * CEL_PARTS;
    c.pairs = (c.vectors + TILE_Q - 1) / TILE_Q;
    return c;
}

/* The border that the kernel reads. */
static int border_of(const conv *c) {
    int below = (c->y.h - 1) * c->stride + (c->kh - 1) * c->dilation - c->pad - (c->x.h - 1);
    int right = (c->y.w - 1) * c->stride + (c->kw - 1) * c->dilation - c->pad - (c->x.w - 1);
    int most = c->pad > below ? c->pad : below;
    return most > right ? most : right;
}

CEL_INLINE void finish(const conv *c, cel_vf sum, ptrdiff_t at) {
    const cel_kernel_args *a = c->a;
    for (int k = 3; k < a->n_in; k++) sum += cel_load((const float *)a->in[k].data + at);
    if (a->out[0].data) cel_store((float *)a->out[0].data + at, sum);
    if (a->out[1].data) cel_store((float *)a->out[1].data + at, cel_relu_v(sum));
}

/* x: what tap (0, 0) of the first pixel reads; w, at: where each vector's weights and results are. */
CEL_INLINE void tile(const conv *c, const float *x, const float *const *w, const cel_vf *bias, const ptrdiff_t *at,
                     const bool three, const int stride, const int Q, const int P) {
    cel_vf acc[TILE_Q][LONG_P];
    const ptrdiff_t step = (ptrdiff_t)stride * CEL_LANES, side = (ptrdiff_t)c->dilation * CEL_LANES;
    ptrdiff_t tap = 0;
    CEL_UNROLL for (int q = 0; q < Q; q++) CEL_UNROLL for (int p = 0; p < P; p++) acc[q][p] = bias[q];
    for (int ci = 0; ci < c->x.c; ci++) {
        const float *xt = x + ci / CEL_LANES * c->x_plane + ci % CEL_LANES;
        for (int u = 0; u < c->kh; u++, xt += c->dilation * c->x_row) {
            if (three) {
                cel_vf wv[3][TILE_Q];
                CEL_UNROLL for (int t = 0; t < 3; t++) CEL_UNROLL for (int q = 0; q < Q; q++) wv[t][q] =
                    cel_load(w[q] + tap + t * CEL_LANES);
                tap += (ptrdiff_t)3 * CEL_LANES;
                CEL_UNROLL for (int p = 0; p < P + 2; p++) {
                    cel_vf xv = cel_splat(xt[p * CEL_LANES]);
                    CEL_UNROLL for (int t = 2; t >= 0; t--) if (p >= t && p - t < P)
                        CEL_UNROLL for (int q = 0; q < Q; q++) acc[q][p - t] += wv[t][q] * xv;
                }
                continue;
            }
            for (int v = 0; v < c->kw; v++, tap += CEL_LANES) {
                cel_vf wv[TILE_Q];
                CEL_UNROLL for (int q = 0; q < Q; q++) wv[q] = cel_load(w[q] + tap);
                CEL_UNROLL for (int p = 0; p < P; p++) {
                    cel_vf xv = cel_splat(xt[v * side + p * step]);
                    CEL_UNROLL for (int q = 0; q < Q; q++) acc[q][p] += wv[q] * xv;
                }
            }
        }
    }
    CEL_UNROLL for (int q = 0; q < Q; q++) CEL_UNROLL for (int p = 0; p < P; p++)
        finish(c, acc[q][p], at[q] + p * CEL_LANES);
}

#define TILE(name, Q, P)                                                                                               \
    static __attribute__((noinline)) void name(const conv *c, const float *x, const float *const *w,                   \
                                               const cel_vf *bias, const ptrdiff_t *at) {                              \
        if (c->stride == 1 && c->dilation == 1 && c->kw == 3)                                                          \
            tile(c, x, w, bias, at, true, 1, Q, P);                                                                    \
        else if (c->stride == 1)                                                                                       \
            tile(c, x, w, bias, at, false, 1, Q, P);                                                                   \
        else                                                                                                           \
            tile(c, x, w, bias, at, false, c->stride, Q, P);                                                           \
    }
TILE(tile_full, TILE_Q, TILE_P)
TILE(tile_narrow, TILE_Q, 1)
TILE(tile_long, 1, LONG_P)
TILE(tile_last, 1, 1)

/* P pixels of a vector of channels that are groups of their own. */
CEL_INLINE void depthwise(const conv *c, const float *x, const float *w, cel_vf bias, ptrdiff_t at, const int P) {
    cel_vf acc[TILE_P];
    CEL_UNROLL for (int p = 0; p < P; p++) acc[p] = bias;
    for (int u = 0; u < c->kh; u++)
        for (int v = 0; v < c->kw; v++, w += CEL_LANES) {
            const float *xt = x + u * c->dilation * c->x_row + (ptrdiff_t)v * c->dilation * CEL_LANES;
            cel_vf wv = cel_load(w);
            CEL_UNROLL for (int p = 0; p < P; p++) acc[p] += wv * cel_load(xt + (ptrdiff_t)p * c->stride * CEL_LANES);
        }
    CEL_UNROLL for (int p = 0; p < P; p++) finish(c, acc[p], at + p * CEL_LANES);
}

static void conv_task(void *ctx, int task, int worker) {
    (void)worker;
    const conv *c = ctx;
    int n = task / (c->pairs * c->strips.n), pair = task / c->strips.n % c->pairs, first = pair * TILE_Q;
    int row = task % c->strips.n * c->strips.rows, last = cel_strip_end(&c->strips, row);
    int Q = c->vectors - first < TILE_Q ? c->vectors - first : TILE_Q, P = Q == TILE_Q ? TILE_P : LONG_P;
    const float *w[TILE_Q], *b = c->a->in[2].data;
    cel_vf bias[TILE_Q];
    ptrdiff_t plane[TILE_Q];
    for (int q = 0; q < Q; q++) {
        int block = (first + q) / CEL_PARTS, lane = (first + q) % CEL_PARTS * CEL_VL;
        w[q] = (const float *)c->a->in[1].data + (ptrdiff_t)block * c->gi * c->kh * c->kw * CEL_LANES + lane;
        for (int i = 0; i < CEL_VL; i++) {
            int o = block * CEL_LANES + lane + i;
            bias[q][i] = o < c->y.c ? b[o] : 0;
        }
        plane[q] = n * c->y.image + block * c->y.plane + lane;
        for (int k = 0; k < 2 && !lane; k++)
            if (c->a->out[k].data) cel_clear_border(&c->y, (float *)c->a->out[k].data + plane[q], row, last);
    }
    for (; row < last; row++) {
        const float *x = c->in + n * c->x_image + c->x_first + (row * c->stride - c->pad) * c->x_row;
        for (int col = 0; col < c->y.w;) {
            const float *xt = x + (ptrdiff_t)(col * c->stride - c->pad) * CEL_LANES;
            ptrdiff_t at[TILE_Q];
            for (int q = 0; q < Q; q++) at[q] = plane[q] + c->y.first + row * c->y.row + col * CEL_LANES;
            if (c->depthwise) {
                bool all = col + TILE_P <= c->y.w;
                for (int q = 0; q < Q; q++) {
                    const float *xq = xt + (first + q) / CEL_PARTS * c->x_plane + (first + q) % CEL_PARTS * CEL_VL;
                    if (all)
                        depthwise(c, xq, w[q], bias[q], at[q], TILE_P);
                    else
                        depthwise(c, xq, w[q], bias[q], at[q], 1);
                }
                col += all ? TILE_P : 1;
                continue;
            }
            bool many = col + P <= c->y.w;
            if (many)
                (Q == TILE_Q ? tile_full : tile_long)(c, xt, w, bias, at);
            else
                (Q == TILE_Q ? tile_narrow : tile_last)(c, xt, w, bias, at);
            col += many ? P : 1;
        }
    }
}

static bool by_winograd(cel_shape x, cel_shape w, const cel_conv2d_attr *a) {
    int h = x.dim[2], width = x.dim[3];
    return cel_winograd_wants(w) && a->groups == 1 && a->stride == 1 && a->pad == 1 && a->dilation == 1 && h % 2 == 0 &&
           width % 2 == 0 && h * width >= 32;
}

size_t CEL_ISA_FN(cel_inference_conv2d_folded_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    cel_shape x = g->value[op->in[0]].shape, w = g->value[op->in[1]].shape, y = g->value[op->out[0]].shape;
    if (by_winograd(x, w, op->attr)) return CEL_ISA_FN(cel_inference_winograd_work)(x, y, n_threads);
    conv c = conv_of(x, w, y, op->attr);
    int border = border_of(&c);
    if (border <= 1) return 0;
    return sizeof(float) * (size_t)c.x.n * (size_t)c.x.blocks * (size_t)(c.x.h + 2 * border) *
           (size_t)(c.x.w + 2 * border) * CEL_LANES;
}

/* The input with a wider border than it has. */
static void widen(conv *c, const float *x, int border, float *to) {
    c->in = to;
    c->x_row = (ptrdiff_t)(c->x.w + 2 * border) * CEL_LANES;
    c->x_plane = (c->x.h + 2 * border) * c->x_row;
    c->x_image = c->x.blocks * c->x_plane;
    c->x_first = border * c->x_row + border * CEL_LANES;
    memset(to, 0, (size_t)c->x.n * (size_t)c->x_image * sizeof *to);
    for (int p = 0; p < c->x.n * c->x.blocks; p++)
        for (int r = 0; r < c->x.h; r++)
            memcpy(to + p * c->x_plane + c->x_first + r * c->x_row, x + p * c->x.plane + c->x.first + r * c->x.row,
                   (size_t)c->x.w * CEL_LANES * sizeof *to);
}

void CEL_ISA_FN(cel_inference_conv2d_folded)(const cel_kernel_args *a) {
    if (by_winograd(a->in[0].shape, a->in[1].shape, a->op->attr)) {
        CEL_ISA_FN(cel_inference_winograd)(a);
        return;
    }
    conv c = conv_of(a->in[0].shape, a->in[1].shape, a->out[0].shape, a->op->attr);
    int border = border_of(&c);
    c.a = a;
    c.in = a->in[0].data;
    if (border > 1) widen(&c, a->in[0].data, border, a->work);
    size_t work = (size_t)c.y.n * (size_t)c.vectors * (size_t)c.y.h * (size_t)c.y.w * (size_t)(c.gi * c.kh * c.kw);
    c.strips = cel_strips_of(c.y.h, c.y.n * c.pairs, work, a->pool);
    cel_pool_run(c.strips.pool, c.y.n * c.pairs * c.strips.n, conv_task, &c);
}
