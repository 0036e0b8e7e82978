/* mixed_cell_grad, fused (op_mixed_cell.c has the meaning in plain C, mixed_cell_core.h the passes).
 *
 * Node by node from the last: (1) the sums over d, the gradient of its mixed channels, that batch norm needs, which are also the
 * gradient of the edge weights; (2) the gradient of the node before it: each outgoing 3x3 convolution's dz = A d + B z + C is made
 * in scratch, and data gradient (summed over edges in place; by the matrix unit a term of the node's sum) and weight gradient are taken
 * from there, so that dz never reaches memory; 1x1 convolutions, skips and pools join in the pass that writes the gradient. Between the two, sums of the tasks are added, in
 * order.
 *
 * Only what a program wants is computed: no weight gradients of 3x3 convolutions in an architecture step, no sums over skips and
 * pools in a weight step. */
#include "engine/backend/cpu/mixed_cell_core.h"

typedef struct {
    cell q;
    bool batch_stats, want_dweights, want_dw3;
    planes seen[CEL_MIX_MAX_NODES];  /* forward values of nodes 0 .. last-1 */
    planes mixed[CEL_MIX_MAX_NODES]; /* gradient of the mixed channels of nodes 1 .. last */
    float *d_mixed[CEL_MIX_MAX_NODES],
        *d_other[CEL_MIX_MAX_NODES]; /* [groups][ca] planes of inner nodes: what `mixed` reads;
                                                                       channels that are seen and not mixed */
    const float *dy;
    float *dx; /* NULL: not wanted */
    const float *w[CEL_MIX_MAX_CONVS];
    const void *z[CEL_MIX_MAX_CONVS];    /* floats or bfloat16 */
    float *dw[CEL_MIX_MAX_CONVS];        /* NULL: not wanted */
    size_t dw_at[CEL_MIX_MAX_CONVS + 1]; /* of 3x3 convolutions in a part */
    const float *stats, *cross;          /* [m][2][ca]; [last][1+ca][ca]: mean and covariance of the nodes' ReLU */
    float *dweights;                     /* NULL: not wanted */
    float *u, *tiles;                    /* transformed weights of the data gradient; matrices of `sum` as tiles */
    float *part;                         /* [tasks][weights of all 3x3 convolutions] */
    float *coef;                         /* [m][3][ca]: A, B, C of dz = A d + B z + C */
    float *to_d, *to_x, *shift, *skip,
        *zero;    /* [rows][ca][ca], [last][ca][ca], [last][ca]: what 1x1 convolutions send back, by d, by
                                                 max(x, 0) and constant; [rows][ca] skip weights; [ca] */
    double *sums; /* [tasks][sum_count]: sum d [ca], sum d (z - mean) [m][ca], skips [rows], pools [rows],
                     sum d (max(x, 0) - mean)' [last][ca][ca] */
    double *work; /* [last][2][ca] */
    size_t sum_count;
    node_sum sum;
    float *inverse, *scratch;
    size_t worker_floats, band_plane; /* of padded rows of a band, in scratch */
    int at;
    cel_stage_clock *clock;
} backward;

static size_t dots_at(const cell *q, int conv) { return (size_t)q->ca * (size_t)(1 + conv); }
static size_t skips_at(const cell *q) { return dots_at(q, q->m); }
static size_t pools_at(const cell *q) { return skips_at(q) + CEL_MIX_MAX_ROWS; }
static size_t products_at(const cell *q, int src) {
    return pools_at(q) + CEL_MIX_MAX_ROWS + (size_t)src * (size_t)q->ca * (size_t)q->ca;
}

/* Of a worker: padded dz, padded max(x, 0), the data gradient, that of sum_band, what Winograd's filtering needs. For the matrix unit
 * pairs of dz, by convolution, max(x, 0) as pairs of lanes and dz in bfloat16 (both where weights' gradients are wanted), that of sum_band;
 * before, for the sums, in the same place d in bfloat16, max(x, 0) of 16 channels as pairs of lanes, and five tiles. */
typedef struct {
    float *dz, *x, *dr, *sum, *filter, *lanes, *tiles;
    uint16_t *kept, *d;
} scratch;
static size_t dz_floats(const cell *q) {
    return cel_amx_pair_floats(q->ca, (size_t)((q->band_rows + 2) * (q->x.w + 2)));
}
/* A line more than a power of two: else rows of a tile would meet in one set of the cache. */
static size_t kept_plane(const cell *q) { return (size_t)q->band_rows * q->row + 2 * CEL_LANES; }
static size_t kept_floats(const cell *q) { return (size_t)q->ca * kept_plane(q) / 2; }
static size_t lane_floats(int rows, int cols) { return (size_t)(rows * cols) * CEL_LANES / 2; }
/* Of the first parts for the matrix unit. */
static size_t amx_floats(const cell *q, bool want_dw3) {
    size_t most = 0, sums = kept_floats(q) + CEL_AMX_TILE * (lane_floats(q->band_rows, q->x.w) + 5 * CEL_LANES);
    for (int src = 0; src < q->last; src++) {
        size_t n = 0;
        for (int i = 0; i < q->m; i++) n += q->conv[i].src == src && q->conv[i].kernel == 3;
        if (n > most) most = n;
    }
    most *= dz_floats(q);
    if (want_dw3) most += (size_t)q->ca * lane_floats(q->band_rows + 2, q->x.w + 2) + kept_floats(q);
    return most > sums ? most : sums;
}
static scratch scratch_of(const backward *f, int worker) {
    const cell *q = &f->q;
    scratch s = {.dz = f->scratch + (size_t)worker * f->worker_floats};
    if (q->amx) {
        s.sum = s.dz + amx_floats(q, f->want_dw3);
        if (f->want_dw3) {
            s.x = s.sum - (size_t)q->ca * lane_floats(q->band_rows + 2, q->x.w + 2);
            s.kept = (uint16_t *)(s.x - kept_floats(q));
        }
        s.d = (uint16_t *)s.dz;
        s.lanes = s.dz + kept_floats(q);
        s.tiles = s.lanes + CEL_AMX_TILE * lane_floats(q->band_rows, q->x.w);
        return s;
    }
    s.x = s.dz + (size_t)q->ca * f->band_plane;
    s.dr = s.x + (f->want_dw3 ? (size_t)q->ca * f->band_plane : 0);
    s.sum = s.dr + (size_t)(q->ca * q->band_rows) * q->row;
    s.filter = s.sum + sum_floats(q);
    return s;
}
static size_t worker_floats(const cell *q, bool want_dw3) {
    size_t data = filter_floats(q),
           weights = want_dw3 && (wino_dw(q) || q->attr->bf16) ? cel_wino_dw_scratch_floats(q->ca, q->ca) : 0;
    if (q->amx) return amx_floats(q, want_dw3) + sum_floats(q);
    return (size_t)q->ca * ((want_dw3 ? 2 : 1) * band_plane(q) + (size_t)q->band_rows * q->row) + sum_floats(q) +
           round16(data > weights ? data : weights);
}

/* ---- (1) Sums of node f->at ---- */

static void take_sums(const backward *f, const band *r, double *sums, const scratch *s) {
    const cell *q = &f->q;
    int dest = f->at;
    double *skip = sums + skips_at(q), *pool = sums + pools_at(q);
    for (int i = 0; i < CEL_MIX_MAX_ROWS; i++) skip[i] = pool[i] = 0;
    for (int b = 0; b < q->ca; b++) {
        const float *d = plane_of(&f->mixed[dest], r->group, b) + r->at;
        const void *x[MAX_DIAGONAL];
        float shift[MAX_DIAGONAL];
        double dot[MAX_DIAGONAL], *to[MAX_DIAGONAL], unused;
        int n = 0, n_convs;
        for (int i = 0; i < q->m; i++) {
            if (q->conv[i].dest != dest || q->conv[i].kernel != 3 || !q->conv_on[i]) continue;
            size_t at = (size_t)(r->group * q->ca + b) * q->x.plane + r->at;
            shift[n] = f->stats[2 * i * q->ca + b];
            to[n] = &sums[dots_at(q, i) + (size_t)b];
            x[n++] = q->attr->bf16 ? (const void *)((const uint16_t *)f->z[i] + at) : (const float *)f->z[i] + at;
        }
        if (q->attr->bf16) {
            dots_half(d, x, shift, n, r->floats, &sums[b], dot);
            for (int i = 0; i < n; i++) *to[i] = dot[i];
            n = 0;
        }
        n_convs = n;
        for (int src = 0; f->want_dweights && src < dest; src++) {
            if (!row_has(q, row_of(src, dest), CEL_MIX_SKIP)) continue;
            shift[n] = 0;
            to[n] = &skip[row_of(src, dest)];
            x[n++] = plane_of(&f->seen[src], r->group, b) + r->at;
        }
        if (n || !q->attr->bf16) dots(d, x, shift, n, r->floats, &sums[b], dot);
        for (int i = 0; i < n; i++) *to[i] = i < n_convs ? dot[i] : *to[i] + dot[i];
        n = 0;
        for (int src = 0; f->want_dweights && src < dest; src++) {
            if (!row_has(q, row_of(src, dest), CEL_MIX_POOL)) continue;
            shift[n] = 0;
            to[n] = &pool[row_of(src, dest)];
            x[n++] = plane_of(&f->seen[src], r->group, b) + r->at;
        }
        if (!n) continue;
        node_sum back = {.n_pool = 1, .transposed = true, .inverse = f->inverse}; /* sum d pool(x) = sum pool'(d) x */
        back.pool[0].x = f->mixed[dest];
        back.pool[0].scale = 1;
        pool_band(q, &back, r, b, s->sum, s->sum + 3 * q->row);
        dots(s->sum + 3 * q->row, x, shift, n, r->floats, &unused, dot);
        for (int i = 0; i < n; i++) *to[i] += dot[i];
    }
}

/* max(x, 0) - mean of the band goes to `room`: every channel of d meets it. */
static void take_products(const backward *f, const band *r, int src, float *room, double *out) {
    const cell *q = &f->q;
    const int ca = q->ca;
    const float *mean = f->batch_stats ? f->cross + (size_t)src * (size_t)(ca * (ca + 1)) : f->zero;
    for (int c = 0; c < ca; c++) {
        const float *x = plane_of(&f->seen[src], r->group, c) + r->at;
        float *to = room + (size_t)c * r->floats;
        for (size_t i = 0; i < r->floats; i += CEL_VL) cel_store(to + i, cel_relu_v(cel_load(x + i)) - mean[c]);
    }
    for (int i0 = 0; i0 < ca; i0 += CROSS_A) {
        const float *a[CROSS_A];
        for (int i = 0; i < CROSS_A; i++)
            a[i] = plane_of(&f->mixed[f->at], r->group, i0 + i < ca ? i0 + i : ca - 1) + r->at;
        for (int j0 = 0; j0 < ca; j0 += CROSS_B) {
            const float *b[CROSS_B];
            double sum[CROSS_A][CROSS_B];
            for (int j = 0; j < CROSS_B; j++) b[j] = room + (size_t)(j0 + j < ca ? j0 + j : ca - 1) * r->floats;
            cross_block(a, b, r->floats, sum, NULL);
            for (int i = 0; i < CROSS_A && i0 + i < ca; i++)
                for (int j = 0; j < CROSS_B && j0 + j < ca; j++) out[(i0 + i) * ca + j0 + j] = sum[i][j];
        }
    }
}

/* The same by the matrix unit; d is what keep_d left. */
static void take_products_amx(const backward *f, const band *r, int src, const scratch *s, double *out) {
    const cell *q = &f->q;
    const int ca = q->ca, pixels = (int)(r->floats / CEL_LANES);
    enum { TILE = CEL_AMX_TILE * CEL_AMX_TILE };
    const float *mean = f->batch_stats ? f->cross + (size_t)src * (size_t)(ca * (ca + 1)) : f->zero;
    float *tile = s->tiles;
    for (int ci = 0; ci < ca; ci += CEL_AMX_TILE) {
        cel_amx_relu_lanes(plane_of(&f->seen[src], r->group, ci) + r->at, f->seen[src].channel, mean + ci, pixels,
                           s->lanes);
        for (int co = 0; co < ca; co += CEL_AMX_TILE) {
            cel_amx_dots(s->d + (size_t)co * kept_plane(q), kept_plane(q), s->lanes, pixels, tile, tile + TILE);
            for (int i = 0; i < TILE; i++) out[(co + i / CEL_AMX_TILE) * ca + ci + i % CEL_AMX_TILE] = (double)tile[i];
        }
    }
}

/* d of the band in bfloat16. */
static void keep_d(const backward *f, const band *r, const scratch *s) {
    const cell *q = &f->q;
    for (int c = 0; c < q->ca; c++)
        cel_amx_narrow(plane_of(&f->mixed[f->at], r->group, c) + r->at, (int)(r->floats / CEL_LANES),
                       s->d + (size_t)c * kept_plane(q));
}

static void sums_task(void *ctx, int task, int worker) {
    const backward *f = ctx;
    const cell *q = &f->q;
    band r = band_of(q, task);
    double *sums = f->sums + (size_t)task * f->sum_count;
    scratch s = scratch_of(f, worker);
    cel_stage_begin(f->clock, worker);
    take_sums(f, &r, sums, &s);
    int read = q->ca;
    double products = 0;
    if (q->amx) cel_amx_begin();
    for (int src = 0; src < f->at; src++)
        if (row_has(q, row_of(src, f->at), CEL_MIX_CONV1)) {
            if (q->amx && !products) keep_d(f, &r, &s);
            if (q->amx)
                take_products_amx(f, &r, src, &s, sums + products_at(q, src));
            else
                take_products(f, &r, src, s.dr, sums + products_at(q, src));
            products += 2.0 * q->ca * q->ca * (double)r.floats;
            read += q->ca;
        }
    if (q->amx) cel_amx_end();
    for (int src = 0; src < f->at; src++) {
        int row = row_of(src, f->at);
        read += q->ca * (row_has(q, row, CEL_MIX_CONV3) + (f->want_dweights && row_has(q, row, CEL_MIX_SKIP)) +
                         (f->want_dweights && row_has(q, row, CEL_MIX_POOL)));
    }
    cel_stage_end(f->clock, worker, CEL_STAGE_GRAD_SUMS, products + 2.0 * read * (double)r.floats,
                  band_bytes(&r, read));
}

static double total(const backward *f, size_t index) {
    double sum = 0;
    for (int t = 0; t < f->q.tasks; t++) sum += f->sums[(size_t)t * f->sum_count + index];
    return sum;
}

/* dz = A d + B z + C of a 3x3 convolution; returns sum d (z - mean) / deviation, its edge weight's gradient. */
static double settle_conv3(const backward *f, int i) {
    const cell *q = &f->q;
    const size_t ca = (size_t)q->ca;
    double weight = q->weights[q->conv[i].gate], count = (double)q->x.n * q->x.h * q->x.w, dot = 0;
    for (size_t c = 0; c < ca; c++) {
        double mean = f->stats[2 * (size_t)i * ca + c], rstd = f->stats[(2 * (size_t)i + 1) * ca + c], s1 = total(f, c),
               s2 = rstd * total(f, dots_at(q, i) + c), A = weight * rstd;
        dot += s2;
        if (!f->batch_stats) s1 = s2 = 0;
        float *coef = f->coef + 3 * (size_t)i * ca + c;
        coef[0] = (float)A;
        coef[ca] = (float)(-A * rstd * s2 / count);
        coef[2 * ca] = (float)(A * (rstd * mean * s2 - s1) / count);
    }
    return dot;
}

/* The same of a 1x1 convolution, without d and z at hand: adds what it sends back, W' dz with z = W max(x, 0); writes dW. */
static double settle_conv1(const backward *f, int i) {
    const cell *q = &f->q;
    const size_t ca = (size_t)q->ca;
    const int src = q->conv[i].src;
    const float *w = f->w[i], *covariance = f->cross + (size_t)src * ca * (ca + 1) + ca;
    float *to_d = f->to_d + (size_t)q->conv[i].row * ca * ca, *to_x = f->to_x + (size_t)src * ca * ca,
          *shift = f->shift + (size_t)src * ca;
    double weight = q->weights[q->conv[i].gate], count = (double)q->x.n * q->x.h * q->x.w, dot = 0;
    double *products = f->work + 2 * (size_t)src * ca, *expected = products + ca; /* rows of G and of W S */
    for (size_t b = 0; b < ca; b++, w += ca) {
        double mean = f->stats[2 * (size_t)i * ca + b], rstd = f->stats[(2 * (size_t)i + 1) * ca + b], s1 = total(f, b),
               s2 = 0, A = weight * rstd;
        memset(products, 0, 2 * ca * sizeof *products);
        for (int t = 0; t < q->tasks; t++) {
            const double *part = f->sums + (size_t)t * f->sum_count + products_at(q, src) + b * ca;
            for (size_t c = 0; c < ca; c++) products[c] += part[c];
        }
        for (size_t c = 0; c < ca; c++) s2 += (double)w[c] * products[c];
        s2 = rstd * (f->batch_stats ? s2 : s2 - s1 * mean);
        dot += s2;
        if (!f->batch_stats) s1 = s2 = 0;
        for (size_t c = 0; c < ca && f->batch_stats && f->dw[i]; c++)
            for (size_t j = 0; j < ca; j++) expected[j] += (double)w[c] * covariance[c * ca + j];
        if (f->dw[i])
            for (size_t c = 0; c < ca; c++) f->dw[i][b * ca + c] = (float)(A * (products[c] - s2 * rstd * expected[c]));
        for (size_t c = 0; c < ca; c++) to_d[b * ca + c] += w[c] * (float)A;
        if (!f->batch_stats) continue;
        float B = (float)(-A * rstd * s2 / count), C = (float)(A * (rstd * mean * s2 - s1) / count);
        for (size_t c = 0; c < ca; c++) {
            float v = B * w[c];
            for (size_t j = 0; j < ca; j++) to_x[c * ca + j] += v * w[j];
            shift[c] += C * w[c];
        }
    }
    return dot;
}

/* What the sums of node f->at say of the edge from `src`. */
static void settle_task(void *ctx, int src, int worker) {
    (void)worker;
    const backward *f = ctx;
    const cell *q = &f->q;
    const size_t ca = (size_t)q->ca;
    int row = row_of(src, f->at);
    memset(f->to_d + (size_t)row * ca * ca, 0, ca * ca * sizeof *f->to_d);
    for (int i = 0; i < q->m; i++) {
        if (q->conv[i].row != row || !q->conv_on[i]) continue;
        double dot = q->conv[i].kernel == 3 ? settle_conv3(f, i) : settle_conv1(f, i);
        if (f->dweights) f->dweights[q->conv[i].gate] = (float)dot;
    }
    for (int col = 0; f->dweights && col < q->attr->n_cols; col++) {
        float *out = &f->dweights[row * q->attr->n_cols + col];
        cel_mix_kind kind = q->attr->kind[col];
        double all = 0;
        if (!is_on(q, row, col)) {
            for (size_t c = 0; q->attr->straight_through && q->attr->live[row][col] && c < ca; c++) all += total(f, c);
            *out = (float)all;
        } else if (kind == CEL_MIX_SKIP || kind == CEL_MIX_POOL) {
            *out = (float)total(f, (kind == CEL_MIX_SKIP ? skips_at(q) : pools_at(q)) + (size_t)row);
        } else if (kind == CEL_MIX_NONE) {
            *out = 0;
        }
    }
}

/* ---- (2) The gradient of node f->at ---- */

/* Where the gradient of a channel that candidates see is written. */
static float *gradient_plane(const void *ctx, int group, int channel) {
    const backward *f = ctx;
    const cell *q = &f->q;
    if (f->at == 0) return f->dx + (size_t)group * q->x.group + (size_t)channel * q->x.plane;
    if (channel % q->k == 0) return f->d_mixed[f->at] + (size_t)(group * q->ca + channel / q->k) * q->x.plane;
    return f->d_other[f->at] + (size_t)(group * q->ca + channel) * q->x.plane;
}

static void prepare_sum(backward *f, int src) {
    const cell *q = &f->q;
    const size_t ca = (size_t)q->ca;
    node_sum *s = &f->sum;
    *s = (node_sum){.transposed = true, .inverse = f->inverse, .out = gradient_plane, .ctx = f};
    for (int dest = src + 1; dest <= q->last; dest++) {
        int row = row_of(src, dest);
        if (row_has(q, row, CEL_MIX_CONV1)) {
            s->full[s->n_full].x = f->mixed[dest];
            s->full[s->n_full++].m = f->to_d + (size_t)row * ca * ca;
        }
        if (row_has(q, row, CEL_MIX_SKIP)) {
            float *scale = f->skip + (size_t)row * ca, weight = row_weight(q, row, CEL_MIX_SKIP);
            for (size_t c = 0; c < ca; c++) scale[c] = weight;
            s->diagonal[s->n_diagonal].x = f->mixed[dest];
            s->diagonal[s->n_diagonal++].scale = scale;
        }
        if (row_has(q, row, CEL_MIX_POOL)) {
            s->pool[s->n_pool].x = f->mixed[dest];
            s->pool[s->n_pool++].scale = row_weight(q, row, CEL_MIX_POOL);
        }
    }
    if (s->n_full && f->batch_stats) {
        s->full[s->n_full].x = f->seen[src];
        s->full[s->n_full].relu = true;
        s->full[s->n_full++].m = f->to_x + (size_t)src * ca * ca;
        s->shift = f->shift + (size_t)src * ca;
    }
    if (s->n_full || source_has(q, src, 3)) s->mask = f->seen[src];
}

CEL_INLINE void dz_row(const float *d, const float *z, const uint16_t *half, const float *coef, size_t ca, size_t n,
                       float *out, const bool bf16) {
    cel_vf A = cel_splat(coef[0]), B = cel_splat(coef[ca]), C = cel_splat(coef[2 * ca]);
    for (size_t p = 0; p < n; p += CEL_VL)
        cel_store(out + p, A * cel_load(d + p) + (B * (bf16 ? cel_load_bf16(half + p) : cel_load(z + p)) + C));
}

/* dz of convolution i, padded, for the band and the rows on either side of it. */
static void make_dz(const backward *f, int i, const band *r, float *out) {
    const cell *q = &f->q;
    const size_t ca = (size_t)q->ca;
    bool whole = (r->group + 1) * CEL_LANES <= q->x.n;
    for (size_t c = 0; c < ca; c++, out += f->band_plane) {
        const float *d = plane_of(&f->mixed[q->conv[i].dest], r->group, (int)c),
                    *coef = f->coef + 3 * (size_t)i * ca + c;
        const size_t z = ((size_t)r->group * ca + c) * q->x.plane;
        float *to = out;
        for (int y = r->first - 1; y <= r->last; y++, to += q->padded_row) {
            if (y < 0 || y >= q->x.h) {
                memset(to, 0, q->padded_row * sizeof *to);
                continue;
            }
            const size_t row = (size_t)y * q->row;
            float *at = to + CEL_LANES;
            memset(to, 0, CEL_LANES * sizeof *to);
            if (q->attr->bf16)
                dz_row(d + row, NULL, (const uint16_t *)f->z[i] + z + row, coef, ca, q->row, at, true);
            else
                dz_row(d + row, (const float *)f->z[i] + z + row, NULL, coef, ca, q->row, at, false);
            for (size_t p = 0; !whole && p < q->row; p += CEL_VL)
                cel_store(at + p,
                          cel_masked(cel_load(at + p), cel_cpu_lane_mask(q->x.n, r->group, (int)(p % CEL_LANES))));
            memset(at + q->row, 0, CEL_LANES * sizeof *to);
        }
    }
}

/* The same as pairs, and what is inside the band in bfloat16. */
static void make_dz_pairs(const backward *f, int i, const band *r, float *out, uint16_t *kept) {
    const cell *q = &f->q;
    const size_t ca = (size_t)q->ca, pixel = pair_pixel(q), row = pair_row(q);
    const cel_vi exists = cel_cpu_lane_mask(q->x.n, r->group, 0);
    for (int y = r->first - 1; y <= r->last; y++, out += row) {
        if (y < 0 || y >= q->x.h) {
            memset(out, 0, row * sizeof *out);
            continue;
        }
        bool inside = y >= r->first && y < r->last;
        memset(out, 0, pixel * sizeof *out);
        for (size_t c = 0; c < ca; c += 2) {
            const float *d[2];
            const uint16_t *z[2];
            for (size_t k = 0; k < 2; k++) {
                d[k] = plane_of(&f->mixed[q->conv[i].dest], r->group, (int)(c + k)) + (size_t)y * q->row;
                z[k] = (const uint16_t *)f->z[i] + ((size_t)r->group * ca + c + k) * q->x.plane + (size_t)y * q->row;
            }
            cel_amx_dz_pairs(
                d, z, f->coef + 3 * (size_t)i * ca + c, ca, exists, q->x.w, out + pixel + c / 2 * CEL_LANES, pixel,
                kept && inside ? kept + c * kept_plane(q) + (size_t)(y - r->first) * q->row : NULL, kept_plane(q));
        }
        memset(out + row - pixel, 0, pixel * sizeof *out);
    }
    memset(out, 0, sizeof *out * CEL_AMX_TILE * CEL_LANES); /* what the last tile reads */
}

/* max(x, 0) of the band and the rows on either side of it as pairs of lanes, [ca/16][rows + 2][w + 2][8][16][2]. */
static void pad_lanes(const backward *f, const band *r, float *out) {
    const cell *q = &f->q;
    const planes *x = &f->seen[f->at];
    enum { PIXEL = CEL_AMX_TILE * CEL_LANES / 2 };
    const size_t row = (size_t)(q->x.w + 2) * PIXEL;
    for (int c = 0; c < q->ca; c += CEL_AMX_TILE)
        for (int y = r->first - 1; y <= r->last; y++, out += row) {
            if (y < 0 || y >= q->x.h) {
                memset(out, 0, row * sizeof *out);
                continue;
            }
            memset(out, 0, PIXEL * sizeof *out);
            cel_amx_relu_lanes(plane_of(x, r->group, c) + (size_t)y * q->row, x->channel, f->zero, q->x.w, out + PIXEL);
            memset(out + row - PIXEL, 0, PIXEL * sizeof *out);
        }
}

/* A part holds a convolution's weights as [output / 16][input / 16][9][16][16]. */
static void weights_back_amx(const backward *f, const band *r, int i, int task, const scratch *s) {
    const cell *q = &f->q;
    const int rows = r->last - r->first, blocks = q->ca / CEL_AMX_TILE;
    enum { PIXEL = CEL_AMX_TILE * CEL_LANES / 2, BLOCK = 9 * CEL_AMX_TILE * CEL_AMX_TILE };
    const size_t x_row = (size_t)(q->x.w + 2) * PIXEL;
    float *part = f->part + (size_t)task * f->dw_at[q->m] + f->dw_at[i];
    for (int co = 0; co < blocks; co += 2)
        for (int ci = 0; ci < blocks; ci++) {
            cel_amx_dw job = {(const char *)(s->kept + (size_t)(co * CEL_AMX_TILE) * kept_plane(q)),
                              (const char *)(s->x + (size_t)(ci * (rows + 2)) * x_row),
                              (ptrdiff_t)(kept_plane(q) * sizeof *s->kept),
                              (ptrdiff_t)(q->row * sizeof *s->kept),
                              (ptrdiff_t)(x_row * sizeof *s->x),
                              rows,
                              q->x.w};
            float *to = part + (co * blocks + ci) * BLOCK;
            cel_amx_dw_run(&job, to, co + 1 < blocks ? to + blocks * BLOCK : NULL);
        }
}

/* conv_back by the matrix unit: the data gradients are left to the sum, as its terms. */
static void conv_back_amx(const backward *f, const band *r, int task, int worker, const scratch *s, cel_amx_term *term,
                          int *n_terms) {
    const cell *q = &f->q;
    const bool wanted = f->at > 0 || f->dx;
    int which[CEL_MIX_MAX_CONVS], n = 0;
    bool x_ready = false;
    cel_amx_begin();
    for (int i = 0; i < q->m; i++) {
        if (q->conv[i].src != f->at || q->conv[i].kernel != 3 || !q->conv_on[i] || (!wanted && !f->dw[i])) continue;
        make_dz_pairs(f, i, r, s->dz + (size_t)n * dz_floats(q), f->dw[i] ? s->kept : NULL);
        which[n++] = i;
        cel_stage_end(f->clock, worker, CEL_STAGE_GRAD_CONV, 4.0 * q->ca * (double)r->floats, band_bytes(r, 3 * q->ca));
        if (!f->dw[i]) continue;
        if (!x_ready) {
            pad_lanes(f, r, s->x);
            cel_stage_end(f->clock, worker, CEL_STAGE_PAD, 0, band_bytes(r, 2 * q->ca));
        }
        x_ready = true;
        weights_back_amx(f, r, i, task, s);
        cel_stage_end(f->clock, worker, CEL_STAGE_WEIGHT3, conv_flops(q, r, 9), band_bytes(r, 2 * q->ca));
    }
    cel_amx_end();
    *n_terms = wanted ? n : 0;
    for (int k = 0; k < *n_terms; k++) term[k] = conv_term(q, s->dz + (size_t)k * dz_floats(q), f->u, which[k], 0);
}

/* The 3x3 convolutions' share: dr, and their weights' gradients. Whether there is any. */
static bool conv_back(const backward *f, const band *r, int task, int worker, const scratch *s) {
    const cell *q = &f->q;
    const int rows = r->last - r->first;
    bool wanted = f->at > 0 || f->dx, any = false, x_ready = false;
    for (int i = 0; i < q->m; i++) {
        if (q->conv[i].src != f->at || q->conv[i].kernel != 3 || !q->conv_on[i] || (!wanted && !f->dw[i])) continue;
        make_dz(f, i, r, s->dz);
        cel_stage_end(f->clock, worker, CEL_STAGE_GRAD_CONV, 4.0 * q->ca * (double)r->floats, band_bytes(r, 3 * q->ca));
        if (wanted) {
            cel_conv_job job = conv_job(q, rows, f->band_plane, r->floats, true);
            job.accumulate = any;
            convolve(q, &job, &i, 1, s->dz, f->w, f->u, &s->dr, s->filter);
            any = true;
            cel_stage_end(f->clock, worker, CEL_STAGE_DATA3, conv_flops(q, r, 9), band_bytes(r, 2 * q->ca));
        }
        if (!f->dw[i]) continue;
        if (!x_ready) {
            pad_rows(q, &f->seen[f->at], r->group, r->first - 1, rows + 2, s->x, f->band_plane);
            cel_stage_end(f->clock, worker, CEL_STAGE_PAD, 0, band_bytes(r, 2 * q->ca));
        }
        x_ready = true;
        cel_dw_job job = {q->ca,
                          q->ca,
                          9,
                          rows,
                          q->x.w,
                          q->tap3,
                          (ptrdiff_t)f->band_plane,
                          (ptrdiff_t)q->padded_row,
                          CEL_LANES,
                          (ptrdiff_t)f->band_plane,
                          (ptrdiff_t)q->padded_row,
                          (ptrdiff_t)q->ca * 9,
                          9};
        const float *inner = s->dz + q->padded_row + CEL_LANES;
        float *part = f->part + (size_t)task * f->dw_at[q->m] + f->dw_at[i];
        if (q->attr->bf16)
            cel_wino_bf16_dw_run(&job, s->x, inner, part, s->filter);
        else if (wino_dw(q))
            cel_wino_dw_run(&job, s->x, inner, part, s->filter);
        else
            cel_dw_run(&job, s->x, inner, part);
        cel_stage_end(f->clock, worker, CEL_STAGE_WEIGHT3, conv_flops(q, r, 9), band_bytes(r, 2 * q->ca));
    }
    return any;
}

/* Adds the planes that the gradient of a node's channel, one that candidates do not see, is the sum of, at the band's first pixel. */
static int add_gradient(const backward *f, const band *r, int node, int channel, const float **x, int n) {
    const cell *q = &f->q;
    for (int dest = node + 1; dest <= q->last; dest++) {
        int c = shuffled(q, channel);
        if (dest == q->last)
            x[n++] = f->dy + (size_t)r->group * q->x.group + (size_t)c * q->x.plane + r->at;
        else if (c < q->ca)
            x[n++] = f->d_other[dest] + (size_t)(r->group * q->ca + c) * q->x.plane + r->at;
        else
            n = add_gradient(f, r, dest, c, x, n);
    }
    return n;
}

static void pass_back(const backward *f, const band *r) {
    const cell *q = &f->q;
    for (int c = q->ca; c < q->x.c; c++) {
        const float *x[MAX_TERMS];
        float *out;
        if (f->at == 0)
            out = f->dx + (size_t)r->group * q->x.group + (size_t)c * q->x.plane;
        else if (c % q->k == 0)
            out = f->d_mixed[f->at] + (size_t)(r->group * q->ca + c / q->k) * q->x.plane;
        else
            continue;
        int n = add_gradient(f, r, f->at, c, x, 0);
        add_planes(x, n, out + r->at, r->floats);
    }
}

static void gradient_task(void *ctx, int task, int worker) {
    const backward *f = ctx;
    const cell *q = &f->q;
    band r = band_of(q, task);
    scratch s = scratch_of(f, worker);
    cel_stage_begin(f->clock, worker);
    cel_amx_term term[CEL_MIX_MAX_CONVS];
    int n_terms = 0;
    bool any = false;
    if (q->amx)
        conv_back_amx(f, &r, task, worker, &s, term, &n_terms);
    else
        any = conv_back(f, &r, task, worker, &s);
    if (f->at == 0 && !f->dx) return;
    if (q->amx)
        sum_band_amx(q, &f->sum, &r, term, n_terms, s.sum);
    else
        sum_band(q, &f->sum, &r, any ? s.dr : NULL, r.floats, s.sum);
    pass_back(f, &r);
    const node_sum *n = &f->sum;
    int read = (n->n_full + n->n_diagonal + n->n_pool + any) * q->ca, write = f->at ? q->ca : q->x.c;
    cel_stage_end(f->clock, worker, CEL_STAGE_NODE_GRAD,
                  2.0 * (read + n->n_full * q->ca * (q->ca - 1)) * (double)r.floats + n_terms * conv_flops(q, &r, 9),
                  band_bytes(&r, read + 2 * write));
}

/* ---- The kernel ---- */

enum { PART_FLOATS = 2048 }; /* of a task that adds the tasks' weight gradients */

/* Where an element of a part of tiles (see weights_back_amx) is in the weights. */
static size_t tiled(const cell *q, size_t at) {
    const size_t t = CEL_AMX_TILE, ca = (size_t)q->ca, block = at / (9 * t * t), tap = at / (t * t) % 9;
    return ((block / (ca / t) * t + at / t % t) * ca + block % (ca / t) * t + at % t) * 9 + tap;
}

static void add_parts_task(void *ctx, int task, int worker) {
    (void)worker;
    const backward *f = ctx;
    const cell *q = &f->q;
    size_t all = f->dw_at[q->m], first = (size_t)task * PART_FLOATS, last = first + PART_FLOATS;
    for (int i = 0; i < q->m; i++) {
        size_t from = f->dw_at[i] > first ? f->dw_at[i] : first, to = f->dw_at[i + 1] < last ? f->dw_at[i + 1] : last;
        if (!f->dw[i] || !q->conv_on[i] || from >= to) continue;
        float sum[PART_FLOATS], *out = q->amx ? sum : f->dw[i] + (from - f->dw_at[i]);
        memcpy(out, f->part + from, (to - from) * sizeof *out);
        for (int t = 1; t < q->tasks; t++) {
            const float *part = f->part + (size_t)t * all + from;
            for (size_t k = 0; k < to - from; k++) out[k] += part[k];
        }
        for (size_t k = 0; q->amx && k < to - from; k++) f->dw[i][tiled(q, from - f->dw_at[i] + k)] = sum[k];
    }
}

typedef struct {
    size_t sum_count, sums, work, coef, to_d, to_x, tiles, shift, skip, zero, inverse, inner, parts;
} backward_store;

/* The sums and work in doubles, then floats. */
static backward_store backward_store_of(const cell *q) {
    size_t ca = (size_t)q->ca, parts = 0;
    for (int i = 0; i < q->m; i++) parts += q->conv[i].kernel == 3 ? ca * ca * 9 : 0;
    backward_store s = {.sum_count = products_at(q, q->last),
                        .work = round16(2 * (size_t)q->last * ca),
                        .coef = round16(3 * (size_t)q->m * ca),
                        .to_d = round16(CEL_MIX_MAX_ROWS * ca * ca),
                        .to_x = round16((size_t)q->last * ca * ca),
                        .tiles = q->amx ? full_tile_floats(q, q->last + 1) : 0,
                        .shift = round16((size_t)q->last * ca),
                        .skip = round16(CEL_MIX_MAX_ROWS * ca),
                        .zero = round16(ca),
                        .inverse = round16(4 * (size_t)q->x.w),
                        .inner = (size_t)q->x.groups * ca * q->x.plane,
                        .parts = round16(parts * (size_t)q->tasks)};
    s.sums = round16(s.sum_count * (size_t)q->tasks);
    return s;
}

static size_t inner_planes(const cell *q) { return (size_t)(q->last - 1) * (q->k > 1 ? 2 : 1); }

static size_t work_bytes(const cel_graph *g, const cel_op *op, int n_threads, bool amx) {
    cell q;
    cell_init(&q, op->attr, g->value[op->in[1]].shape, amx);
    backward_store s = backward_store_of(&q);
    return sizeof(double) * (s.sums + s.work) +
           sizeof(float) *
               (s.coef + s.to_d + s.to_x + s.tiles + s.shift + s.skip + s.zero + s.inverse +
                s.inner * inner_planes(&q) + s.parts + weight_floats(&q) + worker_floats(&q, true) * (size_t)n_threads);
}

static void run(const cel_kernel_args *a, bool amx) {
    backward f = {.clock = a->clock};
    cell *q = &f.q;
    cell_init(q, a->op->attr, a->in[1].shape, amx);
    cell_bind(q, a, a->in[2].data);
    backward_store s = backward_store_of(q);
    f.batch_stats = a->mode == CEL_MODE_TRAIN || q->attr->bn.use_batch;
    f.sums = a->work;
    f.sum_count = s.sum_count;
    f.work = f.sums + s.sums;
    f.coef = (float *)(f.work + s.work);
    f.to_d = f.coef + s.coef;
    f.to_x = f.to_d + s.to_d;
    f.shift = f.to_x + s.to_x;
    f.tiles = f.shift + s.shift;
    f.skip = f.tiles + s.tiles;
    f.zero = f.skip + s.skip;
    f.inverse = f.zero + s.zero;
    float *inner = f.inverse + s.inverse;
    f.part = inner + s.inner * inner_planes(q);
    f.u = f.part + s.parts;
    f.scratch = f.u + weight_floats(q);
    f.band_plane = band_plane(q);
    memset(f.to_x, 0, (s.to_x + s.shift) * sizeof *f.to_x);
    memset(f.zero, 0, s.zero * sizeof *f.zero);
    fill_inverse(q, f.inverse);

    const size_t plane = q->x.plane, mixed = (size_t)q->ca * plane;
    f.dy = a->in[0].data;
    f.dx = a->out[0].data;
    f.dweights = a->out[1].data;
    f.want_dweights = f.dweights != NULL;
    f.seen[0] = (planes){a->in[1].data, plane, q->x.group};
    f.mixed[q->last] = (planes){f.dy, (size_t)q->k * plane, q->x.group};
    for (int j = 1; j < q->last; j++) {
        f.seen[j] = (planes){a->in[2 + q->m + j].data, plane, mixed};
        f.d_mixed[j] = inner + (size_t)(j - 1) * s.inner;
        f.d_other[j] = q->k > 1 ? inner + (size_t)(q->last - 1 + j - 1) * s.inner : NULL;
        f.mixed[j] = (planes){f.d_mixed[j], plane, mixed};
    }
    f.stats = a->in[2 + q->m + q->last].data;
    f.cross = a->in[3 + q->m + q->last].data;
    for (int i = 0, z = 4 + q->m + q->last; i < q->m; i++) {
        bool three = q->conv[i].kernel == 3;
        f.w[i] = a->in[3 + i].data;
        f.dw[i] = a->out[2 + i].data;
        if (three) f.z[i] = a->in[z++].data;
        f.want_dw3 |= three && f.dw[i];
        f.dw_at[i + 1] = f.dw_at[i] + (three ? (size_t)(q->ca * q->ca) * 9 : 0);
        if (f.dw[i] && !q->conv_on[i])
            memset(f.dw[i], 0, sizeof(float) * (size_t)(q->ca * q->ca * q->conv[i].kernel * q->conv[i].kernel));
    }
    f.worker_floats = worker_floats(q, f.want_dw3);
    (q->amx ? tile_weights : transform_weights)(q, a->pool, f.w, true, f.u);
    for (f.at = q->last; f.at >= 0; f.at--) {
        if (f.at < q->last && (f.at > 0 || f.dx || f.want_dw3)) {
            prepare_sum(&f, f.at);
            if (q->amx) tile_matrices(q, &f.sum, f.tiles);
            cel_pool_run(a->pool, q->tasks, gradient_task, &f);
        }
        if (f.at == 0) break;
        cel_pool_run(a->pool, q->tasks, sums_task, &f);
        cel_pool_run(a->pool, f.at, settle_task, &f);
    }
    if (f.want_dw3) cel_pool_run(a->pool, (int)((f.dw_at[q->m] + PART_FLOATS - 1) / PART_FLOATS), add_parts_task, &f);
}

void CEL_ISA_FN(cel_cpu_mixed_cell_grad)(const cel_kernel_args *a) { run(a, false); }
size_t CEL_ISA_FN(cel_cpu_mixed_cell_grad_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    return work_bytes(g, op, n_threads, false);
}
#if defined(CEL_ISA_AVX512)
void CEL_ISA_FN(cel_cpu_mixed_cell_grad_amx)(const cel_kernel_args *a) { run(a, true); }
size_t CEL_ISA_FN(cel_cpu_mixed_cell_grad_amx_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    return work_bytes(g, op, n_threads, true);
}
#endif
