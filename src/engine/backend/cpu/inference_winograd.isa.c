/* conv2d_folded of 3x3 at stride 1 by Winograd's minimal filtering over lanes of channels: Lavin and Gray, "Fast Algorithms for
 * Convolutional Neural Networks" (arXiv:1509.09308), F(2x2, 3x3):
 *   y = A^T [sum over input channels of (G g G^T) . (B^T d B)] A
 * Sixteen products instead of thirty-six make 2x2 outputs of a channel. G g G^T is made when the weights are packed.
 *
 * A task takes 16 such tiles at a time: it transforms their inputs, then for each pair of vectors of output channels makes the
 * sixteen products, each a small matrix product, and transforms them back. */
#include "engine/backend/cpu/inference_layout.h"

enum {
    TILES = CEL_LANES, /* of a chunk */
    POSITIONS = 16,
    TILE_Q = 2,
    TILE_T = CEL_VL == 16 ? 8 : 4, /* tiles of a product of TILE_Q vectors */
    LONG_T = CEL_VL == 16 ? 16 : 4 /* and of one vector */
};

typedef struct {
    const cel_kernel_args *a;
    cel_planes x, y;
    int n_tiles, across, chunks; /* of one image; across: tiles of a row */
    int vectors, pairs;          /* of output channels */
    int chunk_tasks, pair_tasks;
    ptrdiff_t v_position; /* between the 16 transformed inputs, [blocks][TILES][16] each */
    float *scratch;
    size_t scratch_floats;
} winograd;

static winograd winograd_of(cel_shape x, cel_shape y) {
    winograd s = {.x = cel_planes_of(x), .y = cel_planes_of(y)};
    s.across = s.y.w / 2;
    s.n_tiles = s.across * (s.y.h / 2);
    s.chunks = (s.n_tiles + TILES - 1) / TILES;
    s.vectors = s.y.blocks * CEL_PARTS;
    s.pairs = (s.vectors + TILE_Q - 1) / TILE_Q;
    /* 16 more, or the same set of a cache would hold all positions of a tile */
    s.v_position = (ptrdiff_t)s.x.blocks * TILES * CEL_LANES + CEL_LANES;
    s.scratch_floats = POSITIONS * ((size_t)s.v_position + (size_t)TILE_Q * TILES * CEL_VL);
    return s;
}

/* B^T d B of tile `tile`: v[position * v_position + ...]. */
static void transform_input(const winograd *s, const float *x, int tile, float *v) {
    const float *in =
        x + s->x.first + (2 * (tile / s->across) - 1) * s->x.row + (ptrdiff_t)(2 * (tile % s->across) - 1) * CEL_LANES;
    for (int block = 0; block < s->x.blocks; block++, in += s->x.plane, v += TILES * CEL_LANES)
        for (int lane = 0; lane < CEL_LANES; lane += CEL_VL) {
            cel_vf t[4][4];
            CEL_UNROLL for (int c = 0; c < 4; c++) {
                const float *d = in + c * CEL_LANES + lane;
                cel_vf d0 = cel_load(d), d1 = cel_load(d + s->x.row), d2 = cel_load(d + 2 * s->x.row),
                       d3 = cel_load(d + 3 * s->x.row);
                t[0][c] = d0 - d2;
                t[1][c] = d1 + d2;
                t[2][c] = d2 - d1;
                t[3][c] = d1 - d3;
            }
            float *out = v + lane;
            CEL_UNROLL for (int r = 0; r < 4; r++, out += 4 * s->v_position) {
                cel_store(out, t[r][0] - t[r][2]);
                cel_store(out + s->v_position, t[r][1] + t[r][2]);
                cel_store(out + 2 * s->v_position, t[r][2] - t[r][1]);
                cel_store(out + 3 * s->v_position, t[r][1] - t[r][3]);
            }
        }
}

/* m[q][position][tile] = sum over input channels of u[q] v, for T tiles of one position. */
CEL_INLINE void product(const winograd *s, const float *const *u, const float *v, float *m, const int Q, const int T) {
    cel_vf acc[TILE_Q][LONG_T];
    ptrdiff_t at = 0;
    CEL_UNROLL for (int q = 0; q < Q; q++) CEL_UNROLL for (int t = 0; t < T; t++) acc[q][t] = (cel_vf){0};
    for (int left = s->x.c; left > 0; left -= CEL_LANES, v += TILES * CEL_LANES)
        for (int i = 0; i < CEL_LANES && i < left; i++, at += CEL_LANES) {
            cel_vf uv[TILE_Q];
            CEL_UNROLL for (int q = 0; q < Q; q++) uv[q] = cel_load(u[q] + at);
            CEL_UNROLL for (int t = 0; t < T; t++) {
                cel_vf xv = cel_splat(v[t * CEL_LANES + i]);
                CEL_UNROLL for (int q = 0; q < Q; q++) acc[q][t] += uv[q] * xv;
            }
        }
    CEL_UNROLL for (int q = 0; q < Q; q++) CEL_UNROLL for (int t = 0; t < T; t++)
        cel_store(m + (q * POSITIONS * TILES + t) * CEL_VL, acc[q][t]);
}
static __attribute__((noinline)) void product_pair(const winograd *s, const float *const *u, const float *v, float *m) {
    product(s, u, v, m, TILE_Q, TILE_T);
}
static __attribute__((noinline)) void product_one(const winograd *s, const float *const *u, const float *v, float *m) {
    product(s, u, v, m, 1, LONG_T);
}

static void finish(const winograd *s, cel_vf sum, ptrdiff_t at) {
    const cel_kernel_args *a = s->a;
    for (int k = 3; k < a->n_in; k++) sum += cel_load((const float *)a->in[k].data + at);
    if (a->out[0].data) cel_store((float *)a->out[0].data + at, sum);
    if (a->out[1].data) cel_store((float *)a->out[1].data + at, cel_relu_v(sum));
}

/* A^T m A and what follows, of one tile; at: its first pixel. */
static void transform_output(const winograd *s, const float *m, cel_vf bias, ptrdiff_t at) {
    cel_vf t[2][4];
    CEL_UNROLL for (int c = 0; c < 4; c++) {
        const float *mc = m + c * TILES * CEL_VL;
        cel_vf m0 = cel_load(mc), m1 = cel_load(mc + 4 * TILES * CEL_VL), m2 = cel_load(mc + 8 * TILES * CEL_VL),
               m3 = cel_load(mc + 12 * TILES * CEL_VL);
        t[0][c] = m0 + m1 + m2;
        t[1][c] = m1 - m2 - m3;
    }
    CEL_UNROLL for (int r = 0; r < 2; r++, at += s->y.row) {
        finish(s, t[r][0] + t[r][1] + t[r][2] + bias, at);
        finish(s, t[r][1] - t[r][2] - t[r][3] + bias, at + CEL_LANES);
    }
}

/* Vectors first .. first+Q-1 of output channels of image n, tiles base .. base+count-1. */
static void make_pair(const winograd *s, int n, int first, int Q, int base, int count, const float *v, float *m) {
    const float *bias = s->a->in[2].data;
    for (int p = 0; p < POSITIONS; p++) {
        const float *u[TILE_Q];
        for (int q = 0; q < Q; q++) {
            int block = (first + q) / CEL_PARTS, lane = (first + q) % CEL_PARTS * CEL_VL;
            u[q] = cel_winograd_filter(s->a->in[1].data, s->y.blocks, s->x.c) +
                   ((ptrdiff_t)block * POSITIONS + p) * s->x.c * CEL_LANES + lane;
        }
        for (int t = 0; t < count; t += Q == TILE_Q ? TILE_T : LONG_T)
            (Q == TILE_Q ? product_pair : product_one)(s, u, v + p * s->v_position + t * CEL_LANES,
                                                       m + (p * TILES + t) * CEL_VL);
    }
    for (int q = 0; q < Q; q++) {
        int block = (first + q) / CEL_PARTS, lane = (first + q) % CEL_PARTS * CEL_VL;
        ptrdiff_t plane = n * s->y.image + block * s->y.plane + s->y.first + lane;
        cel_vf b;
        for (int i = 0; i < CEL_VL; i++)
            b[i] = block * CEL_LANES + lane + i < s->y.c ? bias[block * CEL_LANES + lane + i] : 0;
        for (int t = 0; t < count; t++) {
            int tile = base + t;
            transform_output(s, m + (q * POSITIONS * TILES + t) * CEL_VL, b,
                             plane + 2 * (tile / s->across) * s->y.row +
                                 (ptrdiff_t)(2 * (tile % s->across)) * CEL_LANES);
        }
    }
}

static void winograd_task(void *ctx, int task, int worker) {
    const winograd *s = ctx;
    float *v = s->scratch + (size_t)worker * s->scratch_floats, *m = v + POSITIONS * s->v_position;
    int n = task / (s->pair_tasks * s->chunk_tasks), pt = task / s->chunk_tasks % s->pair_tasks,
        ct = task % s->chunk_tasks;
    int chunk = ct * s->chunks / s->chunk_tasks, last_chunk = (ct + 1) * s->chunks / s->chunk_tasks;
    int pair = pt * s->pairs / s->pair_tasks, last_pair = (pt + 1) * s->pairs / s->pair_tasks;
    const float *x = (const float *)s->a->in[0].data + n * s->x.image;
    for (int p = pair; p < last_pair && chunk == 0; p++)
        for (int i = p * TILE_Q; i < (p + 1) * TILE_Q && i < s->vectors; i++)
            for (int k = 0; k < 2 && i % CEL_PARTS == 0; k++)
                if (s->a->out[k].data)
                    cel_clear_border(&s->y, (float *)s->a->out[k].data + n * s->y.image + i / CEL_PARTS * s->y.plane, 0,
                                     s->y.h);
    for (; chunk < last_chunk; chunk++) {
        int base = chunk * TILES, count = s->n_tiles - base < TILES ? s->n_tiles - base : TILES;
        for (int t = 0; t < TILES; t++) /* those that are not there repeat the last */
            transform_input(s, x, base + (t < count ? t : count - 1), v + t * CEL_LANES);
        for (int p = pair; p < last_pair; p++) {
            int first = p * TILE_Q, Q = s->vectors - first < TILE_Q ? s->vectors - first : TILE_Q;
            make_pair(s, n, first, Q, base, count, v, m);
        }
    }
}

size_t CEL_ISA_FN(cel_inference_winograd_work)(cel_shape x, cel_shape y, int n_threads) {
    return sizeof(float) * winograd_of(x, y).scratch_floats * (size_t)n_threads;
}

void CEL_ISA_FN(cel_inference_winograd)(const cel_kernel_args *a) {
    winograd s = winograd_of(a->in[0].shape, a->out[0].shape);
    size_t work = (size_t)s.y.n * (size_t)s.vectors * (size_t)s.n_tiles * POSITIONS * (size_t)s.x.c;
    size_t threads = (size_t)cel_pool_threads(a->pool), most = work / CEL_STRIP_WORK;
    if (threads > most) threads = most ? most : 1;
    s.a = a;
    s.scratch = a->work;
    s.chunk_tasks = (int)threads < s.chunks ? (int)threads : s.chunks;
    s.pair_tasks = ((int)threads + s.chunk_tasks - 1) / s.chunk_tasks;
    if (s.pair_tasks > s.pairs) s.pair_tasks = s.pairs;
    cel_pool_run(threads > 1 ? a->pool : NULL, s.y.n * s.chunk_tasks * s.pair_tasks, winograd_task, &s);
}
