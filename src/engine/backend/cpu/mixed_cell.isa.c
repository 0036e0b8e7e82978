/* mixed_cell and its gradient, fused (op_mixed_cell.c has the meaning in plain C).
 *
 * Forward, node by node, a task a group of 16 images: (1) the node is one pass over its terms, each a plane times a number: batch norm
 * is folded into scale and shift, pooling is linear so that it runs once on the weighted sum of its inputs, the channels that pass by
 * and the shuffle are index arithmetic; (2) the node's ReLU is padded once into the worker's scratch and all convolutions of its outgoing
 * edges read it; their statistics are taken while the planes are in cache. Between nodes the statistics of the groups are merged, in order.
 *
 * Backward, node by node from the last: (1) sum(d) and sum(d z) of each incoming convolution: the sums that batch norm needs, which are also
 * the gradient of the edge weights; (2) for the source before it, each outgoing convolution's dz = A d + B z + C is made in scratch,
 * and data gradient (summed over edges in place) and weight gradient are taken from there. dz never reaches memory.
 *
 * Only what a program wants is computed: no weight gradients in an architecture step, no sums over skips and pools in a weight step. */
#include "engine/op/mixed_cell.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/winograd.h"

enum { MAX_TERMS = CEL_MIX_MAX_ROWS * CEL_MIX_MAX_COLS };

typedef struct {
    const cel_mixed_cell_attr *attr;
    cel_cpu_dims x;
    int k, ca, m, last, wp;
    ptrdiff_t padded_plane; /* floats of (h+2) x (w+2) x 16 */
    cel_mixed_conv conv[CEL_MIX_MAX_CONVS];
    bool conv_on[CEL_MIX_MAX_CONVS];
    const float *weights; /* [rows, n_cols] */
    const uint8_t *gates;
    cel_tap tap1[1], tap3[9], flip3[9];
} cell;

static void cell_init(cell *q, const cel_mixed_cell_attr *attr, cel_shape x) {
    memset(q, 0, sizeof *q);
    q->attr = attr;
    q->x = cel_cpu_dims_of(x);
    q->k = attr->k;
    q->ca = q->x.c / attr->k;
    q->last = attr->n_nodes - 1;
    q->m = cel_mixed_convs(attr, q->conv);
    q->wp = q->x.w + 2;
    q->padded_plane = (ptrdiff_t)(q->x.h + 2) * q->wp * CEL_LANES;
    for (int t = 0; t < 9; t++) {
        q->tap3[t] = (cel_tap){(t / 3 * q->wp + t % 3) * CEL_LANES, t};
        q->flip3[t] = (cel_tap){((2 - t / 3) * q->wp + 2 - t % 3) * CEL_LANES, t};
    }
    q->tap1[0] = (cel_tap){(q->wp + 1) * CEL_LANES, 0};
}

static void cell_bind(cell *q, const cel_kernel_args *a, const float *weights) {
    q->weights = weights;
    q->gates = a->gates;
    for (int i = 0; i < q->m; i++) q->conv_on[i] = a->gates[q->conv[i].gate];
}

static bool is_on(const cell *q, int row, int col) {
    return q->attr->live[row][col] && q->gates[row * q->attr->n_cols + col];
}
/* Sum of the weights of a row's candidates of one kind that are on. */
static float row_weight(const cell *q, int row, cel_mix_kind kind) {
    float sum = 0;
    for (int col = 0; col < q->attr->n_cols; col++)
        if (q->attr->kind[col] == kind && is_on(q, row, col)) sum += q->weights[row * q->attr->n_cols + col];
    return sum;
}
static bool row_has(const cell *q, int row, cel_mix_kind kind) {
    for (int col = 0; col < q->attr->n_cols; col++)
        if (q->attr->kind[col] == kind && is_on(q, row, col)) return true;
    return false;
}
static int row_of(int src, int dest) { return dest * (dest - 1) / 2 + src; }
static int taps_of(const cel_mixed_conv *c) { return c->kernel * c->kernel; }

/* ---- Convolutions of the active channels ---- */

/* 3x3 convolutions go through Winograd's filtering where it is faster. */
static bool wino(const cell *q) { return cel_wino_pays(q->ca, q->ca, q->x.h, q->x.w); }
static bool wino_dw(const cell *q) { return cel_wino_dw_pays(q->ca, q->ca, q->x.h, q->x.w); }

/* From padded planes to planes; flip: the data gradient. */
static cel_conv_job conv_job(const cell *q, int taps, bool flip) {
    ptrdiff_t own = taps, other = (ptrdiff_t)q->ca * taps;
    return (cel_conv_job){.n_ci = q->ca,
                          .n_co = q->ca,
                          .n_taps = taps,
                          .rows = q->x.h,
                          .cols = q->x.w,
                          .tap = taps == 1 ? q->tap1
                                 : flip    ? q->flip3
                                           : q->tap3,
                          .x_ci = q->padded_plane,
                          .x_row = q->wp * CEL_LANES,
                          .x_px = CEL_LANES,
                          .w_co = flip ? own : other,
                          .w_ci = flip ? other : own,
                          .o_co = (ptrdiff_t)q->x.plane,
                          .o_row = (ptrdiff_t)q->x.w * CEL_LANES,
                          .o_px = CEL_LANES};
}

/* Floats of all convolutions' transformed weights, and of a worker's scratch for one. */
static size_t wino_weight_floats(const cell *q) {
    return wino(q) ? (size_t)q->m * cel_wino_weight_floats(q->ca, q->ca) : 0;
}
static size_t wino_scratch_floats(const cell *q) { return wino(q) ? cel_wino_scratch_floats(q->ca, q->ca) : 0; }

typedef struct {
    const cell *q;
    const float *const *w;
    float *u;
    bool flip;
} transform;

static float *transformed(const cell *q, float *u, int i) {
    return u + (size_t)i * cel_wino_weight_floats(q->ca, q->ca);
}

static void transform_task(void *ctx, int i, int worker) {
    const transform *t = ctx;
    const cell *q = t->q;
    (void)worker;
    if (taps_of(&q->conv[i]) != 9 || !q->conv_on[i]) return;
    cel_conv_job job = conv_job(q, 9, t->flip);
    for (int co = 0; co < q->ca; co += CEL_TILE_Q) cel_wino_weights(&job, t->w[i], co, transformed(q, t->u, i));
}

static void transform_weights(const cell *q, cel_pool *pool, const float *const *w, bool flip, float *u) {
    transform t = {q, w, u, flip};
    if (wino(q)) cel_pool_run(pool, q->m, transform_task, &t);
}

/* Convolution i; u: the transformed weights of all. */
static void convolve_one(const cell *q, int i, bool flip, bool accumulate, const float *padded, const float *w,
                         float *u, float *out, float *scratch) {
    cel_conv_job job = conv_job(q, taps_of(&q->conv[i]), flip);
    job.accumulate = accumulate;
    if (job.n_taps == 9 && wino(q))
        cel_wino_run(&job, padded, &(cel_wino_out){transformed(q, u, i), out}, 1, scratch);
    else
        cel_conv_run(&job, padded, w, out);
}
/* What a convolution of a group takes, forward or by one of its gradients; bytes of so many of a group's mixed planes. */
static double conv_flops(const cell *q, int taps) { return 2.0 * q->ca * q->ca * taps * (double)q->x.plane; }
static double plane_bytes(const cell *q, int channels) { return (double)channels * (double)q->x.plane * sizeof(float); }

/* ---- Passes over planes ---- */

typedef struct {
    const float *p;
    float scale;
} term;

/* out = shift + sum of terms, over n floats. */
static void linear_combination(const term *t, int n_terms, float shift, float *out, size_t n) {
    size_t i = 0;
    for (; i + 4 * CEL_VL <= n; i += 4 * CEL_VL) {
        cel_vf acc[4];
        CEL_UNROLL for (int u = 0; u < 4; u++) acc[u] = cel_splat(shift);
        for (int k = 0; k < n_terms; k++) {
            const float *p = t[k].p + i;
            cel_vf s = cel_splat(t[k].scale);
            CEL_UNROLL for (int u = 0; u < 4; u++) acc[u] += s * cel_load(p + u * CEL_VL);
        }
        CEL_UNROLL for (int u = 0; u < 4; u++) cel_store(out + i + u * CEL_VL, acc[u]);
    }
    for (; i < n; i += CEL_VL) {
        cel_vf acc = cel_splat(shift);
        for (int k = 0; k < n_terms; k++) acc += cel_splat(t[k].scale) * cel_load(t[k].p + i);
        cel_store(out + i, acc);
    }
}

static int reach(int i, int n) { return 1 + (i > 0) + (i < n - 1); }

/* out += 3x3 box sum of t; average: divided by the number of cells inside the image. `line` holds one row. */
static void box_add(const float *t, int h, int w, bool average, float *line, float *out) {
    size_t row = (size_t)w * CEL_LANES;
    for (int y = 0; y < h; y++, t += row, out += row) {
        const float *up = y > 0 ? t - row : NULL, *down = y < h - 1 ? t + row : NULL;
        for (size_t i = 0; i < row; i += CEL_VL) {
            cel_vf s = cel_load(t + i);
            if (up) s += cel_load(up + i);
            if (down) s += cel_load(down + i);
            cel_store(line + i, s);
        }
        for (int x = 0; x < w; x++) {
            cel_vf scale = cel_splat(average ? 1.0f / (float)(reach(y, h) * reach(x, w)) : 1.0f);
            for (int l = 0; l < CEL_LANES; l += CEL_VL) {
                const float *at = line + x * CEL_LANES + l;
                cel_vf s = cel_load(at);
                if (x > 0) s += cel_load(at - CEL_LANES);
                if (x < w - 1) s += cel_load(at + CEL_LANES);
                float *o = out + x * CEL_LANES + l;
                cel_store(o, cel_load(o) + scale * s);
            }
        }
    }
}

/* t /= number of cells inside the image around each pixel: what average pooling's transpose spreads. */
static void divide_by_reach(float *t, int h, int w) {
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++, t += CEL_LANES) {
            cel_vf scale = cel_splat(1.0f / (float)(reach(y, h) * reach(x, w)));
            for (int l = 0; l < CEL_LANES; l += CEL_VL) cel_store(t + l, scale * cel_load(t + l));
        }
}

/* Number, mean and squared deviations of the existing lanes of a plane; shifted by one of its values, so that a large mean costs no digits. */
static void plane_moments(const float *z, const cel_cpu_dims *d, int group, double out[3]) {
    float pivot = z[0];
    double s1 = 0, s2 = 0;
    int lanes = d->n - group * CEL_LANES < CEL_LANES ? d->n - group * CEL_LANES : CEL_LANES;
    for (int l = 0; l < CEL_LANES; l += CEL_VL) {
        cel_vf a[4] = {{0}}, b[4] = {{0}}, shift = cel_splat(pivot);
        int pixels = d->h * d->w, p = 0;
        for (; p + 4 <= pixels; p += 4) CEL_UNROLL for (int u = 0; u < 4; u++) {
                cel_vf v = cel_load(z + (p + u) * CEL_LANES + l) - shift;
                a[u] += v;
                b[u] += v * v;
            }
        for (; p < pixels; p++) {
            cel_vf v = cel_load(z + p * CEL_LANES + l) - shift;
            a[0] += v;
            b[0] += v * v;
        }
        cel_vi mask = cel_cpu_lane_mask(d->n, group, l);
        s1 += cel_lane_sum(cel_masked((a[0] + a[1]) + (a[2] + a[3]), mask));
        s2 += cel_lane_sum(cel_masked((b[0] + b[1]) + (b[2] + b[3]), mask));
    }
    double count = (double)lanes * d->h * d->w;
    out[0] = count;
    out[1] = pivot + s1 / count;
    out[2] = s2 - s1 * s1 / count;
}

static double plane_sum(const float *d, size_t n) {
    cel_vf s[4] = {{0}};
    size_t i = 0;
    for (; i + 4 * CEL_VL <= n; i += 4 * CEL_VL)
        CEL_UNROLL for (int u = 0; u < 4; u++) s[u] += cel_load(d + i + u * CEL_VL);
    for (; i < n; i += CEL_VL) s[0] += cel_load(d + i);
    return cel_lane_sum((s[0] + s[1]) + (s[2] + s[3]));
}

/* sum d * (z - mean). */
static double plane_dot(const float *d, const float *z, float mean, size_t n) {
    cel_vf s[4] = {{0}}, shift = cel_splat(mean);
    size_t i = 0;
    for (; i + 4 * CEL_VL <= n; i += 4 * CEL_VL)
        CEL_UNROLL for (int u = 0; u < 4; u++) s[u] +=
            cel_load(d + i + u * CEL_VL) * (cel_load(z + i + u * CEL_VL) - shift);
    for (; i < n; i += CEL_VL) s[0] += cel_load(d + i) * (cel_load(z + i) - shift);
    return cel_lane_sum((s[0] + s[1]) + (s[2] + s[3]));
}

/* ---- Forward ---- */

typedef struct {
    cell q;
    cel_mode mode;
    const float *node_in[CEL_MIX_MAX_NODES];
    float *node[CEL_MIX_MAX_NODES]; /* node[0] unused */
    const float *w[CEL_MIX_MAX_CONVS];
    float *z[CEL_MIX_MAX_CONVS];
    float *u;        /* transformed weights */
    float *coef;     /* [m][2][ca]: scale, shift of each convolution's output */
    double *moments; /* [groups][m][ca][3] */
    float *scratch;
    size_t worker_floats;
    int at; /* the node of this phase */
    cel_stage_clock *clock;
} forward;

static void combine(const forward *f, int group, int worker, float *temp, float *line) {
    const cell *q = &f->q;
    int dest = f->at;
    size_t plane = q->x.plane, base = (size_t)group * q->x.group, zbase = (size_t)group * plane * (size_t)q->ca;
    float *y = f->node[dest] + base;
    float through = 0;
    int read = 0;
    if (q->attr->straight_through)
        for (int src = 0; src < dest; src++)
            for (int col = 0, row = row_of(src, dest); col < q->attr->n_cols; col++)
                if (q->attr->live[row][col] && !is_on(q, row, col)) through += q->weights[row * q->attr->n_cols + col];
    for (int b = 0; b < q->ca; b++) {
        term t[MAX_TERMS], pool[CEL_MIX_MAX_NODES];
        int n = 0, n_pool = 0;
        float shift = through;
        for (int src = 0; src < dest; src++) {
            int row = row_of(src, dest);
            const float *x = f->node_in[src] + base + (size_t)b * plane;
            if (row_has(q, row, CEL_MIX_SKIP)) t[n++] = (term){x, row_weight(q, row, CEL_MIX_SKIP)};
            if (row_has(q, row, CEL_MIX_POOL)) pool[n_pool++] = (term){x, row_weight(q, row, CEL_MIX_POOL)};
        }
        for (int i = 0; i < q->m; i++)
            if (q->conv[i].dest == dest && q->conv_on[i]) {
                t[n++] = (term){f->z[i] + zbase + (size_t)b * plane, f->coef[2 * i * q->ca + b]};
                shift += f->coef[(2 * i + 1) * q->ca + b];
            }
        read += n + n_pool + (q->k - 1) * dest;
        float *out = y + (size_t)(b * q->k) * plane;
        linear_combination(t, n, shift, out, plane);
        if (n_pool) {
            linear_combination(pool, n_pool, 0, temp, plane);
            box_add(temp, q->x.h, q->x.w, true, line, out);
        }
        for (int g = 1; g < q->k; g++) {
            term pass[CEL_MIX_MAX_NODES];
            for (int src = 0; src < dest; src++)
                pass[src] = (term){f->node_in[src] + base + (size_t)(g * q->ca + b) * plane, 1};
            linear_combination(pass, dest, 0, y + (size_t)(b * q->k + g) * plane, plane);
        }
    }
    cel_stage_end(f->clock, worker, CEL_STAGE_NODE_SUM, 2.0 * read * (double)plane, plane_bytes(q, read + q->x.c));
}

static void convolve(const forward *f, int group, int worker, float *padded, float *scratch) {
    const cell *q = &f->q;
    int src = f->at;
    bool any = false;
    for (int i = 0; i < q->m; i++) any |= q->conv[i].src == src && q->conv_on[i];
    if (!any) return;
    cel_pad_planes(f->node_in[src] + (size_t)group * q->x.group, (ptrdiff_t)q->x.plane, q->ca, q->x.h, q->x.w, 1, 1, 1,
                   1, true, padded);
    cel_stage_end(f->clock, worker, CEL_STAGE_PAD, 0, plane_bytes(q, 2 * q->ca));
    for (int i = 0; i < q->m; i++) {
        if (q->conv[i].src != src || !q->conv_on[i]) continue;
        int taps = taps_of(&q->conv[i]);
        float *z = f->z[i] + (size_t)group * q->x.plane * (size_t)q->ca;
        convolve_one(q, i, false, false, padded, f->w[i], f->u, z, scratch);
        cel_stage_end(f->clock, worker, taps == 9 ? CEL_STAGE_CONV3 : CEL_STAGE_CONV1, conv_flops(q, taps),
                      plane_bytes(q, 2 * q->ca));
        if (f->mode == CEL_MODE_TRAIN || q->attr->bn.use_batch)
            for (int c = 0; c < q->ca; c++)
                plane_moments(z + (size_t)c * q->x.plane, &q->x, group,
                              f->moments +
                                  3 * (((size_t)group * (size_t)q->m + (size_t)i) * (size_t)q->ca + (size_t)c));
        cel_stage_end(f->clock, worker, CEL_STAGE_STATISTICS, 3.0 * q->ca * (double)q->x.plane, plane_bytes(q, q->ca));
    }
}

static void forward_task(void *ctx, int group, int worker) {
    const forward *f = ctx;
    float *scratch = f->scratch + (size_t)worker * f->worker_floats;
    float *temp = scratch + (size_t)f->q.ca * (size_t)f->q.padded_plane, *line = temp + f->q.x.plane;
    cel_stage_begin(f->clock, worker);
    if (f->at > 0) combine(f, group, worker, temp, line);
    if (f->at < f->q.last) convolve(f, group, worker, scratch, line + f->q.x.w * CEL_LANES);
}

/* Statistics of the convolutions of one source node: merged over the groups in order (Chan, Golub and LeVeque 1983). */
static void normalise(const forward *f, const cel_kernel_args *a) {
    const cell *q = &f->q;
    const cel_batch_norm_attr *bn = &q->attr->bn;
    for (int i = 0; i < q->m; i++) {
        if (q->conv[i].src != f->at || !q->conv_on[i]) continue;
        float *running_mean = a->in[2 + q->m + 2 * i].data, *running_var = a->in[2 + q->m + 2 * i + 1].data;
        float *stat = a->out[1 + q->last - 1 + q->m + i].data;
        float weight = q->weights[q->conv[i].row * q->attr->n_cols + q->conv[i].col];
        for (int c = 0; c < q->ca; c++) {
            double mean = running_mean[c], var = running_var[c];
            if (f->mode == CEL_MODE_TRAIN || bn->use_batch) {
                double n = 0, m2 = 0;
                mean = 0;
                for (int g = 0; g < q->x.groups; g++) {
                    const double *m =
                        f->moments + 3 * (((size_t)g * (size_t)q->m + (size_t)i) * (size_t)q->ca + (size_t)c);
                    double delta = m[1] - mean, total = n + m[0];
                    m2 += m[2] + delta * delta * n * m[0] / total;
                    mean += delta * m[0] / total;
                    n = total;
                }
                var = m2 > 0 ? m2 / n : 0;
                if (f->mode == CEL_MODE_TRAIN) {
                    double unbiased = n > 1 ? var * n / (n - 1) : var, keep = 1 - (double)bn->momentum;
                    running_mean[c] = (float)(keep * running_mean[c] + (double)bn->momentum * mean);
                    running_var[c] = (float)(keep * running_var[c] + (double)bn->momentum * unbiased);
                }
            }
            double rstd = 1 / sqrt(var + (double)bn->eps);
            stat[c] = (float)mean;
            stat[q->ca + c] = (float)rstd;
            f->coef[2 * i * q->ca + c] = (float)(weight * rstd);
            f->coef[(2 * i + 1) * q->ca + c] = (float)(-weight * rstd * mean);
        }
    }
}

static size_t round16(size_t n) { return (n + 15) / 16 * 16; }

static size_t forward_worker_floats(const cell *q) {
    return (size_t)q->ca * (size_t)q->padded_plane + q->x.plane + (size_t)q->x.w * CEL_LANES + wino_scratch_floats(q);
}
static size_t moment_count(const cell *q) { return 3 * (size_t)q->x.groups * (size_t)q->m * (size_t)q->ca; }

size_t CEL_ISA_FN(cel_cpu_mixed_cell_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    cell q;
    cell_init(&q, op->attr, g->value[op->in[0]].shape);
    return sizeof(double) * round16(moment_count(&q)) +
           sizeof(float) * (round16(2 * (size_t)q.m * (size_t)q.ca) + wino_weight_floats(&q) +
                            forward_worker_floats(&q) * (size_t)n_threads);
}

void CEL_ISA_FN(cel_cpu_mixed_cell)(const cel_kernel_args *a) {
    forward f = {.mode = a->mode, .clock = a->clock};
    cell *q = &f.q;
    cell_init(q, a->op->attr, a->in[0].shape);
    cell_bind(q, a, a->in[1].data);
    f.node_in[0] = a->in[0].data;
    for (int j = 1; j <= q->last; j++) f.node_in[j] = f.node[j] = a->out[j == q->last ? 0 : j].data;
    for (int i = 0; i < q->m; i++) {
        f.w[i] = a->in[2 + i].data;
        f.z[i] = a->out[1 + q->last - 1 + i].data;
    }
    f.moments = a->work;
    f.coef = (float *)(f.moments + round16(moment_count(q)));
    f.u = f.coef + round16(2 * (size_t)q->m * (size_t)q->ca);
    f.scratch = f.u + wino_weight_floats(q);
    f.worker_floats = forward_worker_floats(q);
    transform_weights(q, a->pool, f.w, false, f.u);
    for (f.at = 0; f.at <= q->last; f.at++) {
        cel_pool_run(a->pool, q->x.groups, forward_task, &f);
        normalise(&f, a);
    }
}

/* ---- Backward ---- */

typedef struct {
    cell q;
    bool batch_stats, want_dweights, want_dw;
    const float *node[CEL_MIX_MAX_NODES]; /* forward values of nodes 0 .. last-1 */
    const float *d_in[CEL_MIX_MAX_NODES]; /* gradients, last = dy */
    float *d[CEL_MIX_MAX_NODES];
    const float *w[CEL_MIX_MAX_CONVS], *z[CEL_MIX_MAX_CONVS], *stat[CEL_MIX_MAX_CONVS];
    float *dw[CEL_MIX_MAX_CONVS]; /* NULL: not wanted */
    size_t dw_at[CEL_MIX_MAX_CONVS + 1];
    float *part; /* [groups][all weights] */
    float *u;    /* transformed weights of the data gradient */
    float *coef; /* [m][3][ca]: A, B, C of dz = A d + B z + C */
    double *
        sums; /* [groups][sum_count]: of the node being reduced: sum d [ca], sum d (z-mean) [m][ca], skip dots [rows], pool dots [rows] */
    size_t sum_count;
    float *scratch;
    size_t worker_floats;
    int at;
    cel_stage_clock *clock;
} backward;

/* (1) the sums of node `dest`. */
static void reduce(const backward *f, int dest, int group, int worker, float *temp, float *line) {
    const cell *q = &f->q;
    size_t plane = q->x.plane, base = (size_t)group * q->x.group, zbase = (size_t)group * plane * (size_t)q->ca;
    double *s = f->sums + (size_t)group * f->sum_count, *dots = s + q->ca, *skip = dots + q->m * q->ca,
           *pool = skip + CEL_MIX_MAX_ROWS;
    bool any_pool = false;
    int read = q->ca;
    for (int src = 0; src < dest; src++) {
        int row = row_of(src, dest);
        skip[row] = pool[row] = 0;
        any_pool |= row_has(q, row, CEL_MIX_POOL);
    }
    for (int b = 0; b < q->ca; b++) {
        const float *d = f->d_in[dest] + base + (size_t)(b * q->k) * plane;
        s[b] = plane_sum(d, plane);
        for (int i = 0; i < q->m; i++)
            if (q->conv[i].dest == dest && q->conv_on[i]) {
                dots[i * q->ca + b] = plane_dot(d, f->z[i] + zbase + (size_t)b * plane, f->stat[i][b], plane);
                read++;
            }
        if (!f->want_dweights) continue;
        if (any_pool) { /* sum d pool(x) = sum pool^T(d) x */
            float *spread = temp + plane;
            memcpy(spread, d, plane * sizeof *d);
            divide_by_reach(spread, q->x.h, q->x.w);
            memset(temp, 0, plane * sizeof *temp);
            box_add(spread, q->x.h, q->x.w, false, line, temp);
        }
        for (int src = 0; src < dest; src++) {
            int row = row_of(src, dest);
            const float *x = f->node[src] + base + (size_t)b * plane;
            if (row_has(q, row, CEL_MIX_SKIP)) skip[row] += plane_dot(d, x, 0, plane);
            if (row_has(q, row, CEL_MIX_POOL)) pool[row] += plane_dot(temp, x, 0, plane);
            read += row_has(q, row, CEL_MIX_SKIP) || row_has(q, row, CEL_MIX_POOL);
        }
    }
    cel_stage_end(f->clock, worker, CEL_STAGE_GRAD_SUMS, 2.0 * read * (double)plane, plane_bytes(q, read));
}

/* dz of convolution i into the padded scratch (its border is zero already). */
static void make_dz(const backward *f, int i, int group, float *padded) {
    const cell *q = &f->q;
    size_t plane = q->x.plane, line = (size_t)q->x.w * CEL_LANES;
    bool whole = (group + 1) * CEL_LANES <= q->x.n;
    for (int c = 0; c < q->ca; c++) {
        const float *d = f->d_in[q->conv[i].dest] + (size_t)group * q->x.group + (size_t)(c * q->k) * plane;
        const float *z = f->z[i] + ((size_t)group * (size_t)q->ca + (size_t)c) * plane;
        cel_vf A = cel_splat(f->coef[3 * i * q->ca + c]), B = cel_splat(f->coef[(3 * i + 1) * q->ca + c]),
               C = cel_splat(f->coef[(3 * i + 2) * q->ca + c]);
        for (int y = 0; y < q->x.h; y++, d += line, z += line) {
            float *out = padded + (size_t)c * (size_t)q->padded_plane + (size_t)((y + 1) * q->wp + 1) * CEL_LANES;
            if (whole) {
                for (size_t p = 0; p < line; p += CEL_VL)
                    cel_store(out + p, A * cel_load(d + p) + (B * cel_load(z + p) + C));
            } else {
                for (size_t p = 0; p < line; p += CEL_VL)
                    cel_store(out + p, cel_masked(A * cel_load(d + p) + (B * cel_load(z + p) + C),
                                                  cel_cpu_lane_mask(q->x.n, group, (int)(p % CEL_LANES))));
            }
        }
    }
}

static void clear_border(const cell *q, float *padded) {
    size_t row = (size_t)q->wp * CEL_LANES;
    for (int c = 0; c < q->ca; c++, padded += q->padded_plane) {
        memset(padded, 0, row * sizeof *padded);
        for (int y = 1; y <= q->x.h; y++) {
            memset(padded + (size_t)y * row, 0, CEL_LANES * sizeof *padded);
            memset(padded + (size_t)(y + 1) * row - CEL_LANES, 0, CEL_LANES * sizeof *padded);
        }
        memset(padded + (size_t)(q->x.h + 1) * row, 0, row * sizeof *padded);
    }
}

/* (2) the gradient of source node `src` and of the weights of its convolutions. */
static void spread(const backward *f, int src, int group, int worker, float *scratch) {
    const cell *q = &f->q;
    size_t plane = q->x.plane, base = (size_t)group * q->x.group, padded = (size_t)q->ca * (size_t)q->padded_plane;
    float *dz = scratch, *x_padded = dz + padded, *dr = x_padded + (f->want_dw ? padded : 0),
          *temp = dr + (size_t)q->ca * plane, *line = temp + 2 * plane, *wino_scratch = line + q->x.w * CEL_LANES;
    bool dx = f->d[src] != NULL, first = true, x_ready = false;
    int passed = 0;
    for (int i = 0; i < q->m; i++) {
        if (q->conv[i].src != src || !q->conv_on[i] || (!dx && !f->dw[i])) continue;
        int taps = taps_of(&q->conv[i]);
        if (first) clear_border(q, dz);
        make_dz(f, i, group, dz);
        cel_stage_end(f->clock, worker, CEL_STAGE_GRAD_CONV, 4.0 * q->ca * (double)plane, plane_bytes(q, 3 * q->ca));
        if (dx) {
            convolve_one(q, i, true, !first, dz, f->w[i], f->u, dr, wino_scratch);
            cel_stage_end(f->clock, worker, taps == 9 ? CEL_STAGE_DATA3 : CEL_STAGE_DATA1, conv_flops(q, taps),
                          plane_bytes(q, 2 * q->ca));
        }
        if (f->dw[i]) {
            if (!x_ready)
                cel_pad_planes(f->node[src] + base, (ptrdiff_t)plane, q->ca, q->x.h, q->x.w, 1, 1, 1, 1, true,
                               x_padded);
            if (!x_ready) cel_stage_end(f->clock, worker, CEL_STAGE_PAD, 0, plane_bytes(q, 2 * q->ca));
            x_ready = true;
            cel_dw_job job = {q->ca,
                              q->ca,
                              taps,
                              q->x.h,
                              q->x.w,
                              taps == 9 ? q->tap3 : q->tap1,
                              q->padded_plane,
                              q->wp * CEL_LANES,
                              CEL_LANES,
                              q->padded_plane,
                              q->wp * CEL_LANES,
                              (ptrdiff_t)q->ca * taps,
                              taps};
            const float *inner = dz + (q->wp + 1) * CEL_LANES;
            float *part = f->part + (size_t)group * f->dw_at[q->m] + f->dw_at[i];
            if (taps == 9 && wino_dw(q))
                cel_wino_dw_run(&job, x_padded, inner, part, wino_scratch);
            else
                cel_dw_run(&job, x_padded, inner, part);
            cel_stage_end(f->clock, worker, taps == 9 ? CEL_STAGE_WEIGHT3 : CEL_STAGE_WEIGHT1, conv_flops(q, taps),
                          plane_bytes(q, 2 * q->ca));
        }
        first = false;
    }
    if (!dx) return;
    for (int b = 0; b < q->ca; b++) {
        term t[CEL_MIX_MAX_NODES], pool[CEL_MIX_MAX_NODES];
        int n = 0, n_pool = 0;
        for (int dest = src + 1; dest <= q->last; dest++) {
            int row = row_of(src, dest);
            const float *d = f->d_in[dest] + base + (size_t)(b * q->k) * plane;
            if (row_has(q, row, CEL_MIX_SKIP)) t[n++] = (term){d, row_weight(q, row, CEL_MIX_SKIP)};
            if (row_has(q, row, CEL_MIX_POOL)) pool[n_pool++] = (term){d, row_weight(q, row, CEL_MIX_POOL)};
        }
        passed += n + n_pool + (q->k - 1) * (q->last - src) + (first ? 0 : 2);
        float *out = f->d[src] + base + (size_t)b * plane;
        linear_combination(t, n, 0, out, plane);
        if (n_pool) {
            linear_combination(pool, n_pool, 0, temp, plane);
            divide_by_reach(temp, q->x.h, q->x.w);
            box_add(temp, q->x.h, q->x.w, false, line, out);
        }
        if (!first) {
            const float *x = f->node[src] + base + (size_t)b * plane, *r = dr + (size_t)b * plane;
            for (size_t p = 0; p < plane; p += CEL_VL)
                cel_store(out + p, cel_load(out + p) + cel_where_positive(cel_load(x + p), cel_load(r + p)));
        }
        for (int g = 1; g < q->k; g++) {
            for (int dest = src + 1; dest <= q->last; dest++)
                t[dest - src - 1] = (term){f->d_in[dest] + base + (size_t)(b * q->k + g) * plane, 1};
            linear_combination(t, q->last - src, 0, f->d[src] + base + (size_t)(g * q->ca + b) * plane, plane);
        }
    }
    cel_stage_end(f->clock, worker, CEL_STAGE_NODE_GRAD, 2.0 * passed * (double)plane, plane_bytes(q, passed + q->x.c));
}

static void backward_task(void *ctx, int group, int worker) {
    const backward *f = ctx;
    float *scratch = f->scratch + (size_t)worker * f->worker_floats;
    float *temp = scratch + (size_t)f->q.ca * ((f->want_dw ? 2 : 1) * (size_t)f->q.padded_plane + f->q.x.plane);
    cel_stage_begin(f->clock, worker);
    if (f->at < f->q.last) spread(f, f->at, group, worker, scratch);
    if (f->at > 0) reduce(f, f->at, group, worker, temp, temp + 2 * f->q.x.plane);
}

static double total(const backward *f, size_t index) {
    double sum = 0;
    for (int g = 0; g < f->q.x.groups; g++) sum += f->sums[(size_t)g * f->sum_count + index];
    return sum;
}

/* Turns the sums of node `at` into dz coefficients and edge-weight gradients. */
static void settle(const backward *f, float *dweights) {
    const cell *q = &f->q;
    int dest = f->at;
    size_t ca = (size_t)q->ca, skip = ca + (size_t)q->m * ca, pool = skip + CEL_MIX_MAX_ROWS;
    double count = (double)q->x.n * q->x.h * q->x.w, all = 0;
    for (size_t c = 0; c < ca; c++) all += total(f, c);
    for (int i = 0; i < q->m; i++) {
        if (q->conv[i].dest != dest || !q->conv_on[i]) continue;
        int at = q->conv[i].row * q->attr->n_cols + q->conv[i].col;
        double weight = q->weights[at], dot = 0;
        for (size_t c = 0; c < ca; c++) {
            double mean = f->stat[i][c], rstd = f->stat[i][ca + c], s1 = total(f, c),
                   s2 = rstd * total(f, ca + (size_t)i * ca + c), A = weight * rstd;
            dot += s2;
            if (!f->batch_stats) s1 = s2 = 0;
            float *coef = f->coef + 3 * (size_t)i * ca + c;
            coef[0] = (float)A;
            coef[ca] = (float)(-A * rstd * s2 / count);
            coef[2 * ca] = (float)(A * (rstd * mean * s2 - s1) / count);
        }
        if (dweights) dweights[at] = (float)dot;
    }
    if (!dweights) return;
    for (int src = 0; src < dest; src++) {
        int row = row_of(src, dest);
        for (int col = 0; col < q->attr->n_cols; col++) {
            float *out = &dweights[row * q->attr->n_cols + col];
            cel_mix_kind kind = q->attr->kind[col];
            if (!is_on(q, row, col))
                *out = q->attr->straight_through && q->attr->live[row][col] ? (float)all : 0;
            else if (kind == CEL_MIX_SKIP || kind == CEL_MIX_POOL)
                *out = (float)total(f, (kind == CEL_MIX_SKIP ? skip : pool) + (size_t)row);
            else if (kind == CEL_MIX_NONE)
                *out = 0;
        }
    }
}

static void add_parts_task(void *ctx, int i, int worker) {
    (void)worker;
    const backward *f = ctx;
    if (!f->dw[i]) return;
    size_t n = f->dw_at[i + 1] - f->dw_at[i], all = f->dw_at[f->q.m];
    if (!f->q.conv_on[i]) {
        memset(f->dw[i], 0, n * sizeof(float));
        return;
    }
    const float *part = f->part + f->dw_at[i];
    for (size_t k = 0; k < n; k++) {
        float sum = part[k];
        for (int g = 1; g < f->q.x.groups; g++) sum += part[(size_t)g * all + k];
        f->dw[i][k] = sum;
    }
}

static size_t backward_worker_floats(const cell *q, bool want_dw) {
    size_t scratch = wino_scratch_floats(q),
           scratch_dw = want_dw && wino_dw(q) ? cel_wino_dw_scratch_floats(q->ca, q->ca) : 0;
    return (size_t)q->ca * ((want_dw ? 2 : 1) * (size_t)q->padded_plane + q->x.plane) + 2 * q->x.plane +
           (size_t)q->x.w * CEL_LANES + (scratch > scratch_dw ? scratch : scratch_dw);
}

typedef struct {
    size_t sum_count, sums, coef, inner, parts;
} backward_store;

/* Doubles, then floats. */
static backward_store store_of(const cell *q) {
    backward_store s = {0};
    s.sum_count = (size_t)q->ca * (size_t)(q->m + 1) + 2 * CEL_MIX_MAX_ROWS;
    s.sums = round16(s.sum_count * (size_t)q->x.groups);
    s.coef = round16(3 * (size_t)q->m * (size_t)q->ca);
    s.inner = (size_t)q->x.groups * q->x.group;
    for (int i = 0; i < q->m; i++) s.parts += (size_t)q->ca * (size_t)q->ca * (size_t)taps_of(&q->conv[i]);
    s.parts = round16(s.parts * (size_t)q->x.groups);
    return s;
}

size_t CEL_ISA_FN(cel_cpu_mixed_cell_grad_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    cell q;
    cell_init(&q, op->attr, g->value[op->in[1]].shape);
    backward_store s = store_of(&q);
    return sizeof(double) * s.sums +
           sizeof(float) * (s.coef + s.inner * (size_t)(q.last - 1) + s.parts + wino_weight_floats(&q) +
                            backward_worker_floats(&q, true) * (size_t)n_threads);
}

void CEL_ISA_FN(cel_cpu_mixed_cell_grad)(const cel_kernel_args *a) {
    backward f = {.batch_stats = a->mode == CEL_MODE_TRAIN, .clock = a->clock};
    cell *q = &f.q;
    cell_init(q, a->op->attr, a->in[1].shape);
    cell_bind(q, a, a->in[2].data);
    f.batch_stats |= q->attr->bn.use_batch;
    backward_store s = store_of(q);
    f.sums = a->work;
    f.sum_count = s.sum_count;
    f.coef = (float *)(f.sums + s.sums);
    float *inner = f.coef + s.coef;
    f.part = inner + s.inner * (size_t)(q->last - 1);
    f.u = f.part + s.parts;
    f.scratch = f.u + wino_weight_floats(q);
    f.node[0] = a->in[1].data;
    f.d[0] = a->out[0].data;
    f.d_in[q->last] = a->in[0].data;
    for (int j = 1; j < q->last; j++) {
        f.node[j] = a->in[3 + q->m + j - 1].data;
        f.d_in[j] = f.d[j] = inner + (size_t)(j - 1) * s.inner;
    }
    for (int i = 0; i < q->m; i++) {
        f.w[i] = a->in[3 + i].data;
        f.z[i] = a->in[3 + q->m + q->last - 1 + i].data;
        f.stat[i] = a->in[3 + 2 * q->m + q->last - 1 + i].data;
        f.dw[i] = a->out[2 + i].data;
        f.want_dw |= f.dw[i] != NULL;
        f.dw_at[i + 1] = f.dw_at[i] + (size_t)q->ca * (size_t)q->ca * (size_t)taps_of(&q->conv[i]);
    }
    f.want_dweights = a->out[1].data != NULL;
    transform_weights(q, a->pool, f.w, true, f.u);
    f.worker_floats = backward_worker_floats(q, f.want_dw);
    for (f.at = q->last; f.at >= 0; f.at--) {
        if (f.at == 0 && !f.d[0] && !f.want_dw) break;
        cel_pool_run(a->pool, q->x.groups, backward_task, &f);
        if (f.at > 0) settle(&f, a->out[1].data);
    }
    if (f.want_dw) cel_pool_run(a->pool, q->m, add_parts_task, &f);
}
