/* What the mixed cell's two kernels share: the geometry of a cell and its passes over planes.
 *
 * A task is a band of rows of a group of 16 images: the same number of tasks on any number of threads, small enough for a core's own
 * cache. Planes of a node are named by a base and two strides, so the channels that the shuffle sends elsewhere are read and written
 * where they are.
 *
 * A 1x1 convolution and the batch norm after it never store their output: with r = max(x, 0), mean m and covariance S of r over the
 * batch, z = W r has mean W m and variance diag(W S W'), so the node sums take W r straight from x; and with G = sum d (r - m)' the
 * backward pass has sum d (z - mean) = diag(W G'), and dW and dz from G, S and W alone. */
#ifndef CEL_ENGINE_MIXED_CELL_CORE_H
#define CEL_ENGINE_MIXED_CELL_CORE_H
#include "engine/backend/cpu/amx.h"
#include "engine/backend/cpu/conv3x3.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/op/mixed_cell.h"

enum {
    MAX_SRC = CEL_MIX_MAX_NODES - 1,
    MAX_TERMS = 1 << (CEL_MIX_MAX_NODES - 2), /* planes that a channel which passes by adds up */
    MAX_DIAGONAL = CEL_MIX_MAX_CONVS + MAX_SRC,
    LEAST_ROWS = 8, /* of a band */
    MOST_BANDS = 4
};

typedef struct {
    const cel_mixed_cell_attr *attr;
    cel_cpu_dims x;
    int k, ca, m, last;
    int n_own; /* mixed channel b is the node's channel b*k: those before n_own are among the first ca, which candidates see */
    int band_rows, bands, tasks;
    size_t row, padded_row; /* floats of a row, and of one with a border pixel on either side */
    cel_mixed_conv conv[CEL_MIX_MAX_CONVS];
    bool conv_on[CEL_MIX_MAX_CONVS];
    const float *weights; /* [rows, n_cols] */
    const uint8_t *gates;
    cel_tap tap3[9], flip3[9];
    bool amx; /* products in bfloat16 by the matrix unit, not by Winograd's filtering */
} cell;

/* amx: if it is in bfloat16 and its channels fill tiles. */
static inline void cell_init(cell *q, const cel_mixed_cell_attr *attr, cel_shape x, bool amx) {
    memset(q, 0, sizeof *q);
    q->attr = attr;
    q->x = cel_cpu_dims_of(x);
    q->k = attr->k;
    q->ca = q->x.c / attr->k;
    q->n_own = (q->ca + q->k - 1) / q->k;
    q->last = attr->n_nodes - 1;
    q->m = cel_mixed_convs(attr, q->conv);
    q->band_rows = (q->x.h + MOST_BANDS - 1) / MOST_BANDS;
    q->band_rows = (q->band_rows + 3) / 4 * 4; /* Winograd's tiles are two or four rows high */
    if (q->band_rows < LEAST_ROWS) q->band_rows = LEAST_ROWS;
    if (q->band_rows > q->x.h) q->band_rows = q->x.h;
    q->bands = (q->x.h + q->band_rows - 1) / q->band_rows;
    q->tasks = q->x.groups * q->bands;
    q->row = (size_t)q->x.w * CEL_LANES;
    q->padded_row = q->row + 2 * (size_t)CEL_LANES;
    q->amx = amx && attr->bf16 && q->ca % CEL_AMX_TILE == 0;
    for (int t = 0; t < 9; t++) {
        ptrdiff_t at = (ptrdiff_t)q->padded_row * (t / 3) + t % 3 * CEL_LANES;
        q->tap3[t] = (cel_tap){at, t};
        q->flip3[8 - t] = (cel_tap){at, 8 - t};
    }
}

static inline void cell_bind(cell *q, const cel_kernel_args *a, const float *weights) {
    q->weights = weights;
    q->gates = a->gates;
    for (int i = 0; i < q->m; i++) q->conv_on[i] = a->gates[q->conv[i].gate];
}

/* Rows first .. last-1 of images `group`. */
typedef struct {
    int group, first, last;
    size_t at, floats; /* where the band begins in a plane, and its size there */
} band;
static inline band band_of(const cell *q, int task) {
    band r = {task / q->bands, task % q->bands * q->band_rows, 0, 0, 0};
    r.last = r.first + q->band_rows < q->x.h ? r.first + q->band_rows : q->x.h;
    r.at = (size_t)r.first * q->row;
    r.floats = (size_t)(r.last - r.first) * q->row;
    return r;
}

/* Of a band with a border pixel all around. */
static inline size_t band_plane(const cell *q) { return (size_t)(q->band_rows + 2) * q->padded_row; }

static inline bool is_on(const cell *q, int row, int col) {
    return q->attr->live[row][col] && q->gates[row * q->attr->n_cols + col];
}
/* Sum of the weights of a row's candidates of one kind that are on. */
static inline float row_weight(const cell *q, int row, cel_mix_kind kind) {
    float sum = 0;
    for (int col = 0; col < q->attr->n_cols; col++)
        if (q->attr->kind[col] == kind && is_on(q, row, col)) sum += q->weights[row * q->attr->n_cols + col];
    return sum;
}
static inline bool row_has(const cell *q, int row, cel_mix_kind kind) {
    for (int col = 0; col < q->attr->n_cols; col++)
        if (q->attr->kind[col] == kind && is_on(q, row, col)) return true;
    return false;
}
static inline int row_of(int src, int dest) { return dest * (dest - 1) / 2 + src; }
static inline bool source_has(const cell *q, int src, int kernel) {
    for (int i = 0; i < q->m; i++)
        if (q->conv[i].src == src && q->conv[i].kernel == kernel && q->conv_on[i]) return true;
    return false;
}
/* Where the shuffle puts channel c >= ca of a node in the next one, and where channel p of a node, p % k > 0, comes from. */
static inline int shuffled(const cell *q, int c) { return c % q->ca * q->k + c / q->ca; }
static inline int shuffled_from(const cell *q, int p) { return p % q->k * q->ca + p / q->k; }

static inline size_t round16(size_t n) { return (n + 15) / 16 * 16; }
/* What a convolution of a band takes, forward or by one of its gradients; bytes of so many planes of it. */
static inline double conv_flops(const cell *q, const band *r, int taps) {
    return 2.0 * q->ca * q->ca * taps * (double)r->floats;
}
static inline double band_bytes(const band *r, int planes) {
    return (double)planes * (double)r->floats * sizeof(float);
}

/* ---- 3x3 convolutions, by Winograd's filtering where that is faster ---- */

static inline int filter_tile(const cell *q) {
    return q->attr->bf16 ? 2 : cel_conv3x3_tile(q->ca, q->ca, q->x.h, q->x.w);
}
static inline bool wino_dw(const cell *q) { return cel_wino_dw_pays(q->ca, q->ca, q->x.h, q->x.w); }

/* Of padded rows to rows; flip: the data gradient. The strides between channels are those of the caller's planes. */
static inline cel_conv_job conv_job(const cell *q, int rows, size_t x_ci, size_t o_co, bool flip) {
    ptrdiff_t own = 9, other = (ptrdiff_t)q->ca * 9;
    return (cel_conv_job){.n_ci = q->ca,
                          .n_co = q->ca,
                          .n_taps = 9,
                          .rows = rows,
                          .cols = q->x.w,
                          .tap = flip ? q->flip3 : q->tap3,
                          .x_ci = (ptrdiff_t)x_ci,
                          .x_row = (ptrdiff_t)q->padded_row,
                          .x_px = CEL_LANES,
                          .w_co = flip ? own : other,
                          .w_ci = flip ? other : own,
                          .o_co = (ptrdiff_t)o_co,
                          .o_row = (ptrdiff_t)q->row,
                          .o_px = CEL_LANES};
}

/* Floats of one convolution's transformed weights (and of their pairs in bfloat16), or of plain ones where nothing is transformed, and
 * of a worker's scratch for one. */
static inline size_t weight_floats_of_one(const cell *q) {
    if (!filter_tile(q)) return round16(9 * (size_t)q->ca * (size_t)q->ca);
    return cel_conv3x3_weight_floats(filter_tile(q), q->ca, q->ca) +
           (q->attr->bf16 ? cel_wino_weight_floats(q->ca, q->ca) / 2 : 0);
}
static inline size_t filter_floats(const cell *q) { return cel_conv3x3_scratch_floats(filter_tile(q), q->ca, q->ca); }
static inline float *transformed(const cell *q, float *u, int i) { return u + (size_t)i * weight_floats_of_one(q); }

static inline void transform_one(const cell *q, const float *w, bool flip, float *u) {
    cel_conv_job job = conv_job(q, q->x.h, 0, 0, flip);
    for (int co = 0; co < q->ca; co += CEL_TILE_Q) {
        if (!q->attr->bf16) {
            cel_conv3x3_weights(filter_tile(q), &job, w, co, u);
            continue;
        }
        cel_wino_weights(&job, w, co, CEL_TILE_Q, u);
        cel_wino_bf16_weights(&job, u, co, u + cel_wino_weight_floats(q->ca, q->ca));
    }
}

typedef struct {
    const cell *q;
    const float *const *w;
    float *u;
    bool flip;
} transform;

static void transform_task(void *ctx, int i, int worker) {
    const transform *t = ctx;
    (void)worker;
    if (t->q->conv[i].kernel == 3 && t->q->conv_on[i])
        transform_one(t->q, t->w[i], t->flip, transformed(t->q, t->u, i));
}

static inline void transform_weights(const cell *q, cel_pool *pool, const float *const *w, bool flip, float *u) {
    transform t = {q, w, u, flip};
    if (filter_tile(q)) cel_pool_run(pool, q->m, transform_task, &t);
}

/* Convolutions which[0 .. n-1] of one input; w, u: the weights of all, plain and transformed. */
static inline void convolve(const cell *q, const cel_conv_job *job, const int *which, int n, const float *padded,
                            const float *const *w, float *u, float *const *out, float *scratch) {
    cel_wino_out to[CEL_MIX_MAX_CONVS];
    for (int k = 0; k < n; k++) {
        const float *own = filter_tile(q) ? transformed(q, u, which[k]) : w[which[k]];
        to[k] = (cel_wino_out){q->attr->bf16 ? own + cel_wino_weight_floats(q->ca, q->ca) : own, out[k]};
    }
    if (q->attr->bf16)
        cel_wino_bf16_run(job, padded, to, n, scratch);
    else
        cel_conv3x3_run(filter_tile(q), job, padded, to, n, scratch);
}

/* ---- Planes ---- */

typedef struct {
    const float *p;
    size_t channel, group; /* strides */
} planes;
static inline const float *plane_of(const planes *s, int group, int c) {
    return s->p + (size_t)group * s->group + (size_t)c * s->channel;
}

/* out = sum of n planes. */
static inline void add_planes(const float *const *x, int n, float *out, size_t floats) {
    for (size_t i = 0; i < floats; i += CEL_VL) {
        cel_vf sum = cel_load(x[0] + i);
        for (int k = 1; k < n; k++) sum += cel_load(x[k] + i);
        cel_store(out + i, sum);
    }
}

/* The ReLU of `rows` rows of ca planes, the first of them row `first` of the image, with a border pixel on either side and zeros beyond
 * the image. `plane` floats lie between the planes of out. */
static inline void pad_rows(const cell *q, const planes *x, int group, int first, int rows, float *out, size_t plane) {
    for (int c = 0; c < q->ca; c++) {
        const float *in = plane_of(x, group, c);
        float *to = out + (size_t)c * plane;
        for (int y = first; y < first + rows; y++, to += q->padded_row) {
            if (y < 0 || y >= q->x.h) {
                memset(to, 0, q->padded_row * sizeof *to);
                continue;
            }
            const float *from = in + (size_t)y * q->row;
            memset(to, 0, CEL_LANES * sizeof *to);
            for (size_t i = 0; i < q->row; i += CEL_VL) cel_store(to + CEL_LANES + i, cel_relu_v(cel_load(from + i)));
            memset(to + CEL_LANES + q->row, 0, CEL_LANES * sizeof *to);
        }
    }
}

/* ---- 3x3 convolutions by the matrix unit ---- */

/* Floats of a pixel of pairs, of a padded row of them, and of one convolution's weights. */
static inline size_t pair_pixel(const cell *q) { return (size_t)q->ca / 2 * CEL_LANES; }
static inline size_t pair_row(const cell *q) { return (size_t)(q->x.w + 2) * pair_pixel(q); }
static inline size_t amx_floats_of_one(const cell *q) { return cel_amx_weight_floats(q->ca, q->ca, 3); }

static void tile_task(void *ctx, int task, int worker) {
    const transform *t = ctx;
    const cell *q = t->q;
    const int blocks = q->ca / CEL_AMX_TILE, i = task / blocks, block = task % blocks;
    const ptrdiff_t own = 9, other = (ptrdiff_t)q->ca * 9, w_m = t->flip ? own : other;
    (void)worker;
    if (q->conv[i].kernel != 3 || !q->conv_on[i]) return;
    cel_amx_weights(t->w[i] + block * CEL_AMX_TILE * w_m, w_m, t->flip ? other : own, q->ca, t->flip,
                    t->u + (size_t)i * amx_floats_of_one(q) + (size_t)block * amx_floats_of_one(q) / (size_t)blocks);
}

/* As transform_weights, to tiles. */
static inline void tile_weights(const cell *q, cel_pool *pool, const float *const *w, bool flip, float *u) {
    transform t = {q, w, u, flip};
    cel_pool_run(pool, q->m * (q->ca / CEL_AMX_TILE), tile_task, &t);
}

/* Of all convolutions, for either. */
static inline size_t weight_floats(const cell *q) {
    return (size_t)q->m * (q->amx ? amx_floats_of_one(q) : weight_floats_of_one(q));
}

/* 16 output channels of convolution i from block `block` on, of padded pairs that begin with the block's first window. */
static inline cel_amx_term conv_term(const cell *q, const float *pairs, const float *u, int i, int block) {
    size_t blocks = (size_t)q->ca / CEL_AMX_TILE;
    return (cel_amx_term){(const char *)pairs,
                          (const char *)(u + ((size_t)i * blocks + (size_t)block) * (amx_floats_of_one(q) / blocks)),
                          (ptrdiff_t)(pair_pixel(q) * sizeof *u),
                          (ptrdiff_t)(pair_row(q) * sizeof *u),
                          3,
                          cel_amx_tiles(q->ca, 3)};
}

/* As pad_rows, to pairs. */
static inline void pad_pairs(const cell *q, const planes *x, int group, int first, int rows, float *out) {
    const size_t pixel = pair_pixel(q), row = pair_row(q);
    for (int y = first; y < first + rows; y++, out += row) {
        if (y < 0 || y >= q->x.h) {
            memset(out, 0, row * sizeof *out);
            continue;
        }
        memset(out, 0, pixel * sizeof *out);
        for (int c = 0; c < q->ca; c += 2)
            cel_amx_pairs(plane_of(x, group, c) + (size_t)y * q->row, plane_of(x, group, c + 1) + (size_t)y * q->row,
                          q->x.w, true, out + pixel + c / 2 * CEL_LANES, pixel);
        memset(out + row - pixel, 0, pixel * sizeof *out);
    }
}

/* ---- The sum of a node, or of its gradient ----
 *
 * Two passes over a band: the terms that need one plane, in long streams, then those that need all of them, which find the
 * band in cache.
 *
 * out[c] = [mask[c] > 0] (shift[c] + base[c] + sum over full terms of sum over i of m[i][c] f(x[i])), f the ReLU or nothing,
 *          + sum over diagonal terms of scale[c] x[c] + the 3x3 average (or its transpose) of sum over pool terms of scale x[c]. */

typedef struct {
    int n_full, n_diagonal, n_pool;
    struct {
        planes x;
        const float *m; /* [ca][ca] */
        bool relu;
    } full[MAX_SRC + 1];
    struct {
        planes x; /* p NULL: half instead, at the same strides */
        const uint16_t *half;
        const float *scale; /* [ca] */
    } diagonal[MAX_DIAGONAL];
    struct {
        planes x;
        float scale;
    } pool[MAX_SRC];
    bool transposed;      /* of the average */
    const float *inverse; /* [4][w]: 1 / pixels around (x, y) inside the image, by the rows around (1 .. 3); ones */
    const float *shift;   /* [ca] or NULL */
    planes mask;          /* p NULL: none */
    const float *tiles;   /* of the matrix unit: the full terms' m */
    float *(*out)(const void *ctx, int group, int channel); /* the plane that a channel is written to */
    const void *ctx;
} node_sum;

enum { PAIRED = 16 }; /* pixels at a time of sum_band_amx */

/* Of a worker: three lines of pooling, a pooled band, what `gather` keeps (or gather_pairs, and a block of outputs). */
static inline size_t sum_floats(const cell *q) {
    if (q->amx)
        return (size_t)(3 + q->band_rows) * q->row + cel_amx_pair_floats((MAX_SRC + 1) * q->ca, PAIRED) +
               CEL_AMX_PIXELS * CEL_AMX_TILE * CEL_LANES;
    return (size_t)(3 + q->band_rows) * q->row + (MAX_SRC + 1) * (size_t)q->ca * CEL_TILE_P * CEL_LANES;
}

static inline int reach(int i, int n) { return 1 + (i > 0) + (i < n - 1); }

static inline void fill_inverse(const cell *q, float *inverse) {
    for (int x = 0; x < q->x.w; x++) {
        for (int r = 1; r <= 3; r++) inverse[(r - 1) * q->x.w + x] = 1.0f / (float)(r * reach(x, q->x.w));
        inverse[3 * q->x.w + x] = 1;
    }
}

/* Row y of the pool terms of one channel, each pixel summed with its two neighbours. */
static inline void pool_line(const cell *q, const node_sum *s, int group, int channel, int y, float *out) {
    const float *x[MAX_SRC], *inverse = s->inverse + (s->transposed ? reach(y, q->x.h) - 1 : 3) * q->x.w;
    for (int k = 0; k < s->n_pool; k++) x[k] = plane_of(&s->pool[k].x, group, channel) + (size_t)y * q->row;
    for (int lane = 0; lane < CEL_LANES; lane += CEL_VL) {
        cel_vf before = {0}, here = {0};
        for (int i = 0; i <= q->x.w; i++) {
            cel_vf next = {0};
            if (i < q->x.w) {
                for (int k = 0; k < s->n_pool; k++) next += s->pool[k].scale * cel_load(x[k] + i * CEL_LANES + lane);
                next *= inverse[i];
            }
            if (i) cel_store(out + (i - 1) * CEL_LANES + lane, before + here + next);
            before = here;
            here = next;
        }
    }
}

/* The pool terms of one channel; lines: room for three. */
static inline void pool_band(const cell *q, const node_sum *s, const band *r, int channel, float *lines, float *out) {
    for (int y = r->first ? r->first - 1 : 0; y <= r->first && y < q->x.h; y++)
        pool_line(q, s, r->group, channel, y, lines + (size_t)(y % 3) * q->row);
    for (int y = r->first; y < r->last; y++, out += q->row) {
        const float *inverse = s->inverse + (s->transposed ? 3 : reach(y, q->x.h) - 1) * q->x.w;
        float *line = lines + (size_t)(y % 3) * q->row, *up = y > 0 ? lines + (size_t)((y - 1) % 3) * q->row : NULL,
              *down = y < q->x.h - 1 ? lines + (size_t)((y + 1) % 3) * q->row : NULL;
        if (down) pool_line(q, s, r->group, channel, y + 1, down);
        for (int x = 0; x < q->x.w; x++)
            for (int i = x * CEL_LANES; i < (x + 1) * CEL_LANES; i += CEL_VL) {
                cel_vf v = cel_load(line + i);
                if (up) v += cel_load(up + i);
                if (down) v += cel_load(down + i);
                cel_store(out + i, v * inverse[x]);
            }
    }
}

/* The first pass, of one channel; onto: what is there stays in the sum; base: a band that joins it, or NULL. */
static inline void sum_planes(const cell *q, const node_sum *s, const band *r, int c, bool onto, const float *base,
                              float *scratch) {
    const float *x[MAX_DIAGONAL + 2];
    const uint16_t *half[MAX_DIAGONAL];
    float scale[MAX_DIAGONAL + 2], half_scale[MAX_DIAGONAL], *out = s->out(s->ctx, r->group, c) + r->at;
    int n = 0, n_half = 0;
    for (int k = 0; k < s->n_diagonal; k++) {
        const planes *from = &s->diagonal[k].x;
        if (s->diagonal[k].half) {
            half[n_half] = s->diagonal[k].half + (size_t)r->group * from->group + (size_t)c * from->channel + r->at;
            half_scale[n_half++] = s->diagonal[k].scale[c];
        } else {
            x[n] = plane_of(from, r->group, c) + r->at;
            scale[n++] = s->diagonal[k].scale[c];
        }
    }
    if (base) {
        x[n] = base;
        scale[n++] = 1;
    }
    if (s->n_pool) {
        x[n] = scratch + 3 * q->row;
        scale[n++] = 1;
        pool_band(q, s, r, c, scratch, scratch + 3 * q->row);
    }
    cel_vf start = cel_splat(s->shift && !s->mask.p ? s->shift[c] : 0);
    size_t i = 0;
    for (; i + 4 * CEL_VL <= r->floats; i += 4 * CEL_VL) {
        cel_vf acc[4];
        CEL_UNROLL for (int u = 0; u < 4; u++) acc[u] = onto ? start + cel_load(out + i + u * CEL_VL) : start;
        for (int k = 0; k < n; k++)
            CEL_UNROLL for (int u = 0; u < 4; u++) acc[u] += scale[k] * cel_load(x[k] + i + u * CEL_VL);
        for (int k = 0; k < n_half; k++)
            CEL_UNROLL for (int u = 0; u < 4; u++) acc[u] += half_scale[k] * cel_load_bf16(half[k] + i + u * CEL_VL);
        CEL_UNROLL for (int u = 0; u < 4; u++) cel_store(out + i + u * CEL_VL, acc[u]);
    }
    for (; i < r->floats; i += CEL_VL) {
        cel_vf acc = onto ? start + cel_load(out + i) : start;
        for (int k = 0; k < n; k++) acc += scale[k] * cel_load(x[k] + i);
        for (int k = 0; k < n_half; k++) acc += half_scale[k] * cel_load_bf16(half[k] + i);
        cel_store(out + i, acc);
    }
}

/* The full terms' inputs at n pixels, one after the other: all channels of the sum read them, and planes that lie a power of two
 * apart would meet in one set of the cache. */
static inline void gather(const cell *q, const node_sum *s, int group, size_t at, int n, float *to) {
    for (int k = 0; k < s->n_full; k++)
        for (int i = 0; i < q->ca; i++, to += CEL_TILE_P * CEL_LANES) {
            const float *x = plane_of(&s->full[k].x, group, i) + at;
            if (s->full[k].relu)
                for (int l = 0; l < n * CEL_LANES; l += CEL_VL) cel_store(to + l, cel_relu_v(cel_load(x + l)));
            else
                for (int l = 0; l < n * CEL_LANES; l += CEL_VL) cel_store(to + l, cel_load(x + l));
        }
}

/* The second pass, of Q channels at P pixels, `at` in their planes. */
CEL_INLINE void sum_tile(const cell *q, const node_sum *s, int group, size_t at, int c0, const float *gathered,
                         const float *base, size_t base_channel, const int Q, const int P) {
    const size_t ca = (size_t)q->ca;
    float *out[CEL_TILE_Q];
    CEL_UNROLL for (int c = 0; c < Q; c++) out[c] = s->out(s->ctx, group, c0 + c) + at;
    for (int lane = 0; lane < CEL_LANES; lane += CEL_VL) {
        cel_vf acc[CEL_TILE_Q][CEL_TILE_P];
        CEL_UNROLL for (int c = 0; c < Q; c++) {
            cel_vf shift = cel_splat(s->shift && s->mask.p ? s->shift[c0 + c] : 0);
            CEL_UNROLL for (int p = 0; p < P; p++) acc[c][p] = shift;
        }
        if (base)
            CEL_UNROLL for (int c = 0; c < Q; c++) CEL_UNROLL for (int p = 0; p < P; p++) acc[c][p] +=
                cel_load(base + (size_t)(c0 + c) * base_channel + p * CEL_LANES + lane);
        const float *x = gathered + lane;
        for (int k = 0; k < s->n_full; k++) {
            const float *m = s->full[k].m + c0;
            for (int i = 0; i < q->ca; i++, x += CEL_TILE_P * CEL_LANES, m += ca) {
                cel_vf v[CEL_TILE_P];
                CEL_UNROLL for (int p = 0; p < P; p++) v[p] = cel_load(x + p * CEL_LANES);
                CEL_UNROLL for (int c = 0; c < Q; c++) {
                    cel_vf w = cel_splat(m[c]);
                    CEL_UNROLL for (int p = 0; p < P; p++) acc[c][p] += w * v[p];
                }
            }
        }
        if (s->mask.p) {
            cel_vi exists = cel_cpu_lane_mask(q->x.n, group, lane);
            CEL_UNROLL for (int c = 0; c < Q; c++) {
                const float *mask = plane_of(&s->mask, group, c0 + c) + at + lane;
                CEL_UNROLL for (int p = 0; p < P; p++) acc[c][p] =
                    cel_masked(cel_where_positive(cel_load(mask + p * CEL_LANES), acc[c][p]), exists);
            }
        }
        CEL_UNROLL for (int c = 0; c < Q; c++) CEL_UNROLL for (int p = 0; p < P; p++) {
            float *to = out[c] + p * CEL_LANES + lane;
            cel_store(to, cel_load(to) + acc[c][p]);
        }
    }
}

typedef void sum_tile_fn(const cell *q, const node_sum *s, int group, size_t at, int c0, const float *gathered,
                         const float *base, size_t base_channel);
#define SUM_TILE(name, Q, P)                                                                                           \
    static __attribute__((noinline)) void name(const cell *q, const node_sum *s, int group, size_t at, int c0,         \
                                               const float *gathered, const float *base, size_t base_channel) {        \
        sum_tile(q, s, group, at, c0, gathered, base, base_channel, Q, P);                                             \
    }
SUM_TILE(sum_tile_full, CEL_TILE_Q, CEL_TILE_P)
SUM_TILE(sum_tile_narrow, CEL_TILE_Q, 1)
SUM_TILE(sum_tile_wide, 1, CEL_TILE_P)
SUM_TILE(sum_tile_one, 1, 1)

/* base: the band of channel 0, NULL: none; scratch: sum_floats. */
static inline void sum_band(const cell *q, const node_sum *s, const band *r, const float *base, size_t base_channel,
                            float *scratch) {
    const bool second = s->n_full || (base && s->mask.p);
    for (int c = 0; c < q->ca; c++)
        sum_planes(q, s, r, c, false, base && !second ? base + (size_t)c * base_channel : NULL, scratch);
    if (!second) return;
    float *gathered = scratch + (size_t)(3 + q->band_rows) * q->row;
    int pixels = (int)(r->floats / CEL_LANES);
    for (int px = 0; px < pixels;) {
        bool wide = px + CEL_TILE_P <= pixels;
        size_t at = r->at + (size_t)px * CEL_LANES;
        gather(q, s, r->group, at, wide ? CEL_TILE_P : 1, gathered);
        for (int c = 0; c < q->ca;) {
            bool many = c + CEL_TILE_Q <= q->ca;
            sum_tile_fn *tile = many ? wide ? sum_tile_full : sum_tile_narrow : wide ? sum_tile_wide : sum_tile_one;
            tile(q, s, r->group, at, c, gathered, base ? base + (size_t)px * CEL_LANES : NULL, base_channel);
            c += many ? CEL_TILE_Q : 1;
        }
        px += wide ? CEL_TILE_P : 1;
    }
}

/* ---- The same by the matrix unit, the 3x3 convolutions of a gradient with it ---- */

static inline size_t full_tile_floats(const cell *q, int n_full) {
    return (size_t)(q->ca / CEL_AMX_TILE * cel_amx_tiles(n_full * q->ca, 1)) * CEL_AMX_TILE * CEL_LANES;
}

/* The full terms' matrices, to full_tile_floats of `to`. */
static inline void tile_matrices(const cell *q, node_sum *s, float *to) {
    const float *m[MAX_SRC + 1];
    for (int k = 0; k < s->n_full; k++) m[k] = s->full[k].m;
    s->tiles = to;
    for (int c = 0; c < q->ca; c += CEL_AMX_TILE)
        cel_amx_matrices(m, s->n_full, q->ca, c,
                         to + (size_t)(c / CEL_AMX_TILE * cel_amx_tiles(s->n_full * q->ca, 1)) * CEL_AMX_TILE *
                                  CEL_LANES);
}

/* As gather: the terms side by side. */
static inline void gather_pairs(const cell *q, const node_sum *s, int group, size_t at, int n, float *to) {
    const size_t pixel = (size_t)s->n_full * pair_pixel(q);
    for (int k = 0; k < s->n_full; k++)
        for (int c = 0; c < q->ca; c += 2, to += CEL_LANES)
            cel_amx_pairs(plane_of(&s->full[k].x, group, c) + at, plane_of(&s->full[k].x, group, c + 1) + at, n,
                          s->full[k].relu, to, pixel);
}

/* Begins the sum with a block of products. */
static inline void begin_block(const cell *q, const node_sum *s, int group, size_t at, int c0, const float *block) {
    enum { PIXEL = CEL_AMX_TILE * CEL_LANES };
    for (int c = c0; c < c0 + CEL_AMX_TILE; c++)
        for (int lane = 0; lane < CEL_LANES; lane += CEL_VL, block += CEL_VL) {
            float *out = s->out(s->ctx, group, c) + at + lane;
            const float *mask = s->mask.p ? plane_of(&s->mask, group, c) + at + lane : NULL;
            const cel_vf shift = cel_splat(s->shift && mask ? s->shift[c] : 0);
            const cel_vi exists = cel_cpu_lane_mask(q->x.n, group, lane);
            CEL_UNROLL for (int p = 0; p < CEL_AMX_PIXELS; p++) {
                cel_vf v = cel_load(block + p * PIXEL) + shift;
                if (mask) v = cel_masked(cel_where_positive(cel_load(mask + p * CEL_LANES), v), exists);
                cel_store(out + p * CEL_LANES, v);
            }
        }
}

/* convs: of the first 16 channels of the gradient at the band's first pixel. */
static inline void begin_band(const cell *q, const node_sum *s, const band *r, const cel_amx_term *convs, int n,
                              float *scratch) {
    const int full_tiles = cel_amx_tiles(s->n_full * q->ca, 1);
    const size_t pixel = (size_t)s->n_full * pair_pixel(q),
                 conv_tiles = amx_floats_of_one(q) / (size_t)(q->ca / CEL_AMX_TILE);
    float *gathered = scratch + (size_t)(3 + q->band_rows) * q->row,
          *block = gathered + cel_amx_pair_floats((MAX_SRC + 1) * q->ca, PAIRED);
    cel_amx_begin();
    for (int px = 0, pixels = (int)(r->floats / CEL_LANES), paired = 0; px < pixels; px += CEL_AMX_PIXELS) {
        size_t at = r->at + (size_t)px * CEL_LANES;
        if (px == paired && s->n_full) {
            int some = pixels - px < PAIRED ? pixels - px : PAIRED;
            gather_pairs(q, s, r->group, at, some, gathered);
            memset(gathered + (size_t)some * pixel, 0,
                   CEL_AMX_TILE * CEL_LANES * sizeof *gathered); /* the last tile's */
            paired += some;
        }
        cel_amx_term term[CEL_MIX_MAX_CONVS + 1];
        for (int k = 0; k < n; k++) {
            term[k] = convs[k];
            term[k].x += px / q->x.w * convs[k].row + px % q->x.w * convs[k].pixel;
        }
        if (s->n_full)
            term[n] = (cel_amx_term){(const char *)(gathered + (size_t)(px % PAIRED) * pixel),
                                     (const char *)s->tiles,
                                     (ptrdiff_t)(pixel * sizeof *gathered),
                                     0,
                                     1,
                                     full_tiles};
        for (int c = 0; c < q->ca; c += CEL_AMX_TILE) {
            cel_amx_block(term, n + (s->n_full > 0), block, CEL_AMX_TILE * CEL_LANES, CEL_LANES);
            begin_block(q, s, r->group, at, c, block);
            for (int k = 0; k < n; k++) term[k].w += conv_tiles * sizeof *block;
            if (s->n_full) term[n].w += (size_t)(full_tiles * CEL_AMX_TILE * CEL_LANES) * sizeof *block;
        }
    }
    cel_amx_end();
}

/* The passes in the other order: what the products take was just written, and is in cache still. */
static inline void sum_band_amx(const cell *q, const node_sum *s, const band *r, const cel_amx_term *convs, int n,
                                float *scratch) {
    bool any = n || s->n_full;
    if (any) begin_band(q, s, r, convs, n, scratch);
    for (int c = 0; c < q->ca; c++) sum_planes(q, s, r, c, any, NULL, scratch);
}

/* ---- Sums over planes ---- */

#if defined(CEL_ISA_AVX512)
enum { CROSS_A = 4, CROSS_B = 4 };
#else
enum { CROSS_A = 2, CROSS_B = 4 };
#endif

/* sum[i][j] = sum of a[i] b[j], a_sum[i] of a[i] alone (NULL: not wanted). */
CEL_INLINE void cross_block(const float *const *a, const float *const *b, size_t floats, double sum[CROSS_A][CROSS_B],
                            double *a_sum) {
    cel_vf acc[CROSS_A][CROSS_B], own[CROSS_A];
    CEL_UNROLL for (int i = 0; i < CROSS_A; i++) {
        own[i] = (cel_vf){0};
        CEL_UNROLL for (int j = 0; j < CROSS_B; j++) acc[i][j] = (cel_vf){0};
    }
    for (size_t at = 0; at < floats; at += CEL_VL) {
        cel_vf u[CROSS_A], v[CROSS_B];
        CEL_UNROLL for (int i = 0; i < CROSS_A; i++) {
            u[i] = cel_load(a[i] + at);
            if (a_sum) own[i] += u[i];
        }
        CEL_UNROLL for (int j = 0; j < CROSS_B; j++) v[j] = cel_load(b[j] + at);
        CEL_UNROLL for (int i = 0; i < CROSS_A; i++) CEL_UNROLL for (int j = 0; j < CROSS_B; j++) acc[i][j] +=
            u[i] * v[j];
    }
    CEL_UNROLL for (int i = 0; i < CROSS_A; i++) {
        if (a_sum) a_sum[i] = (double)cel_lane_sum_f(own[i]);
        CEL_UNROLL for (int j = 0; j < CROSS_B; j++) sum[i][j] = (double)cel_lane_sum_f(acc[i][j]);
    }
}

/* sum d and sums of d (x[i] - shift[i]), x floats or bfloat16, at most DOTS at once. */
enum { DOTS = 4 };
CEL_INLINE cel_vf dots_load(const void *x, size_t i, const bool half) {
    return half ? cel_load_bf16((const uint16_t *)x + i) : cel_load((const float *)x + i);
}
CEL_INLINE void dots_of(const float *d, const void *const *x, const float *shift, size_t floats, double *sum,
                        double *dot, const bool half, const int N) {
    cel_vf own[2] = {{0}}, acc[DOTS][2];
    CEL_UNROLL for (int k = 0; k < N; k++) acc[k][0] = acc[k][1] = (cel_vf){0};
    size_t i = 0;
    for (; i + 2 * CEL_VL <= floats; i += 2 * CEL_VL) CEL_UNROLL for (int u = 0; u < 2; u++) {
            cel_vf v = cel_load(d + i + u * CEL_VL);
            own[u] += v;
            CEL_UNROLL for (int k = 0; k < N; k++) acc[k][u] += v * (dots_load(x[k], i + u * CEL_VL, half) - shift[k]);
        }
    if (i < floats) {
        cel_vf v = cel_load(d + i);
        own[0] += v;
        CEL_UNROLL for (int k = 0; k < N; k++) acc[k][0] += v * (dots_load(x[k], i, half) - shift[k]);
    }
    *sum = (double)cel_lane_sum_f(own[0] + own[1]);
    CEL_UNROLL for (int k = 0; k < N; k++) dot[k] = (double)cel_lane_sum_f(acc[k][0] + acc[k][1]);
}

CEL_INLINE void dots_at_once(const float *d, const void *const *x, const float *shift, int n, size_t floats,
                             double *sum, double *dot, const bool half) {
    do {
        int some = n < DOTS ? n : DOTS;
        switch (some) {
        case 0:
            dots_of(d, x, shift, floats, sum, dot, half, 0);
            break;
        case 1:
            dots_of(d, x, shift, floats, sum, dot, half, 1);
            break;
        case 2:
            dots_of(d, x, shift, floats, sum, dot, half, 2);
            break;
        case 3:
            dots_of(d, x, shift, floats, sum, dot, half, 3);
            break;
        default:
            dots_of(d, x, shift, floats, sum, dot, half, DOTS);
        }
        n -= some;
        x += some;
        shift += some;
        dot += some;
    } while (n > 0);
}
static inline void dots(const float *d, const void *const *x, const float *shift, int n, size_t floats, double *sum,
                        double *dot) {
    dots_at_once(d, x, shift, n, floats, sum, dot, false);
}
static inline void dots_half(const float *d, const void *const *x, const float *shift, int n, size_t floats,
                             double *sum, double *dot) {
    dots_at_once(d, x, shift, n, floats, sum, dot, true);
}
#endif
