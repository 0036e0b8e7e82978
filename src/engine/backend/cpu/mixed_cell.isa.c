/* mixed_cell, fused (op_mixed_cell.c has the meaning in plain C, mixed_cell_core.h the passes).
 *
 * Node by node: (1) a node is one pass over its terms, each a plane times a number, or for 1x1 convolutions a few planes: batch norm is
 * folded into scale and shift, pooling is linear so that it runs once on the weighted sum of its inputs; and the moments that the
 * statistics of its 1x1 convolutions follow from are taken; (2) its ReLU is padded in scratch, a band and the rows on either side, for
 * the 3x3 convolutions of all its outgoing edges; their statistics are taken while their output is in cache. Between the two, statistics
 * of the tasks are merged, in order.
 *
 * With running statistics, and where no gradient follows, an edge's convolutions are one linear map of one ReLU: a 1x1 convolution
 * joins the middle of the 3x3 one, batch norm and edge weight scale them, and a node's convolutions add up in scratch. So nothing is
 * stored but the nodes, in one phase each.
 *
 * The channels that pass by are never copied from node to node: a channel of the last one is the sum of the planes of x and of
 * mixed channels that the shuffles lead there. */
#include "engine/backend/cpu/mixed_cell_core.h"

typedef struct {
    cell q;
    cel_mode mode;
    bool batch_stats;
    bool joined;                    /* edges with a 3x3 convolution are one convolution, whose output is not kept */
    planes seen[CEL_MIX_MAX_NODES]; /* the first ca channels of nodes 0 .. last-1 */
    float *inner[CEL_MIX_MAX_NODES], *rest[CEL_MIX_MAX_NODES],
        *y; /* inner: what `seen` reads; rest: mixed channels n_own .. */
    const float *w[CEL_MIX_MAX_CONVS];
    void *z[CEL_MIX_MAX_CONVS]; /* outputs, floats or bfloat16; NULL: 1x1 */
    float *stats;               /* [m][2][ca] */
    node_sum sum;
    float *matrix, *tiles, *scale, *shift; /* of `sum`: [last][ca][ca], as tiles, [MAX_DIAGONAL][ca], [ca] */
    double *moments;                       /* [tasks][m][ca][3], of 3x3 convolutions */
    double *cross;                         /* [tasks][ca + ca*ca]: mean and products of deviations of the node's ReLU */
    double *covariance;                    /* [ca + ca*ca + ca]: mean, covariance, a row of W times it */
    float *u;                              /* transformed weights, or tiles */
    float *scratch; /* by worker: of sum_band, of take_moments, or padded rows (or pairs) and what convolutions need */
    size_t worker_floats;
    int at; /* the node of this phase */
    cel_stage_clock *clock;
} forward;

/* Of a band with a border, or of the pairs of one. */
static size_t padded_floats(const cell *q) {
    return q->amx ? cel_amx_pair_floats(q->ca, (size_t)(q->band_rows + 2) * (size_t)(q->x.w + 2))
                  : (size_t)q->ca * band_plane(q);
}
static size_t cross_count(const cell *q) { return (size_t)q->ca * (size_t)(q->ca + 1); }

/* ---- (1) The node ---- */

/* The 3x3 convolution that convolution i is part of; -1: it stands alone. */
static int joins(const forward *f, int i) {
    const cell *q = &f->q;
    for (int j = 0; f->joined && j < q->m; j++)
        if (q->conv[j].row == q->conv[i].row && q->conv[j].kernel == 3 && q->conv_on[j]) return j;
    return -1;
}

/* What node `dest` is the sum of, but for joined convolutions. */
static void prepare_sum(forward *f, int dest) {
    const cell *q = &f->q;
    const int ca = q->ca;
    node_sum *s = &f->sum;
    double shift = 0;
    if (q->attr->straight_through)
        for (int src = 0; src < dest; src++)
            for (int col = 0, row = row_of(src, dest); col < q->attr->n_cols; col++)
                if (q->attr->live[row][col] && !is_on(q, row, col)) shift += q->weights[row * q->attr->n_cols + col];
    for (int c = 0; c < ca; c++) f->shift[c] = (float)shift;
    s->n_full = s->n_diagonal = s->n_pool = 0;
    s->shift = f->shift;
    for (int src = 0; src < dest; src++) {
        int row = row_of(src, dest);
        if (row_has(q, row, CEL_MIX_SKIP)) {
            float *scale = f->scale + s->n_diagonal * ca, weight = row_weight(q, row, CEL_MIX_SKIP);
            for (int c = 0; c < ca; c++) scale[c] = weight;
            s->diagonal[s->n_diagonal].x = f->seen[src];
            s->diagonal[s->n_diagonal].half = NULL;
            s->diagonal[s->n_diagonal++].scale = scale;
        }
        if (row_has(q, row, CEL_MIX_POOL)) {
            s->pool[s->n_pool].x = f->seen[src];
            s->pool[s->n_pool++].scale = row_weight(q, row, CEL_MIX_POOL);
        }
        if (row_has(q, row, CEL_MIX_CONV1) && !(f->joined && row_has(q, row, CEL_MIX_CONV3))) {
            float *m = f->matrix + (size_t)s->n_full * (size_t)(ca * ca);
            memset(m, 0, (size_t)(ca * ca) * sizeof *m);
            s->full[s->n_full].x = f->seen[src];
            s->full[s->n_full].relu = true;
            s->full[s->n_full++].m = m;
        }
    }
    for (int i = 0, full = -1, row = -1; i < q->m; i++) {
        if (q->conv[i].dest != dest || !q->conv_on[i]) continue;
        const float *mean = f->stats + 2 * i * ca, *rstd = mean + ca;
        float weight = q->weights[q->conv[i].gate];
        for (int c = 0; c < ca; c++) f->shift[c] -= weight * rstd[c] * mean[c];
        if (joins(f, i) >= 0) continue;
        if (q->conv[i].kernel == 1) {
            if (q->conv[i].row != row) full++;
            row = q->conv[i].row;
            float *m = f->matrix + (size_t)full * (size_t)(ca * ca);
            for (int o = 0; o < ca; o++)
                for (int c = 0; c < ca; c++) m[c * ca + o] += weight * rstd[o] * f->w[i][o * ca + c];
        } else {
            float *scale = f->scale + s->n_diagonal * ca;
            for (int c = 0; c < ca; c++) scale[c] = weight * rstd[c];
            s->diagonal[s->n_diagonal].x =
                (planes){q->attr->bf16 ? NULL : f->z[i], q->x.plane, (size_t)ca * q->x.plane};
            s->diagonal[s->n_diagonal].half = q->attr->bf16 ? f->z[i] : NULL;
            s->diagonal[s->n_diagonal++].scale = scale;
        }
    }
}

static float *mixed_plane(const forward *f, int node, int group, int b) {
    const cell *q = &f->q;
    if (node == q->last) return f->y + (size_t)group * q->x.group + (size_t)(b * q->k) * q->x.plane;
    if (b < q->n_own) return f->inner[node] + (size_t)(group * q->ca + b * q->k) * q->x.plane;
    return f->rest[node] + (size_t)(group * (q->ca - q->n_own) + b - q->n_own) * q->x.plane;
}

static float *sum_plane(const void *ctx, int group, int b) {
    const forward *f = ctx;
    return mixed_plane(f, f->at, group, b);
}

/* Adds the planes that channel `channel` of a node is the sum of, at the band's first pixel. */
static int add_value(const forward *f, const band *r, int node, int channel, const float **x, int n) {
    const cell *q = &f->q;
    if (node == 0 || channel < q->ca) {
        x[n++] = plane_of(&f->seen[node], r->group, channel) + r->at;
    } else if (channel % q->k == 0) {
        x[n++] = mixed_plane(f, node, r->group, channel / q->k) + r->at;
    } else {
        for (int src = 0; src < node; src++) n = add_value(f, r, src, shuffled_from(q, channel), x, n);
    }
    return n;
}

static void pass_by(const forward *f, const band *r) {
    const cell *q = &f->q;
    int channels = f->at == q->last ? q->x.c : q->ca;
    size_t group = (size_t)r->group * q->x.plane * (size_t)channels;
    float *out = (f->at == q->last ? f->y : f->inner[f->at]) + group + r->at;
    for (int p = 0; p < channels; p++) {
        const float *x[MAX_TERMS];
        int n = 0;
        if (p % q->k == 0) continue;
        for (int src = 0; src < f->at; src++) n = add_value(f, r, src, shuffled_from(q, p), x, n);
        add_planes(x, n, out + (size_t)p * q->x.plane, r->floats);
    }
}

/* Mean and products of deviations of the ReLU, about one of its values, so that a large mean costs no digits; what deviates goes to
 * `room`. */
static void take_moments(const forward *f, const band *r, float *room, double *out) {
    const cell *q = &f->q;
    const int ca = q->ca;
    const planes *x = &f->seen[f->at];
    double *mean = out, *product = out + ca;
    int lanes = q->x.n - r->group * CEL_LANES < CEL_LANES ? q->x.n - r->group * CEL_LANES : CEL_LANES;
    double count = (double)lanes * (double)(r->floats / CEL_LANES);
    for (int c = 0; c < ca; c++) {
        const float *from = plane_of(x, r->group, c) + r->at;
        float *to = room + (size_t)c * r->floats, shift = from[0] <= 0 ? 0 : from[0];
        for (size_t i = 0; i < r->floats; i += CEL_VL) {
            cel_vf v = cel_relu_v(cel_load(from + i)) - shift;
            if (lanes < CEL_LANES) v = cel_masked(v, cel_cpu_lane_mask(q->x.n, r->group, (int)(i % CEL_LANES)));
            cel_store(to + i, v);
        }
    }
    for (int i0 = 0; i0 < ca; i0 += CROSS_A) {
        const float *a[CROSS_A];
        double a_sum[CROSS_A] = {0};
        for (int i = 0; i < CROSS_A; i++) a[i] = room + (size_t)(i0 + i < ca ? i0 + i : ca - 1) * r->floats;
        for (int j0 = i0 / CROSS_B * CROSS_B; j0 < ca; j0 += CROSS_B) {
            const float *b[CROSS_B];
            double sum[CROSS_A][CROSS_B];
            for (int j = 0; j < CROSS_B; j++) b[j] = room + (size_t)(j0 + j < ca ? j0 + j : ca - 1) * r->floats;
            cross_block(a, b, r->floats, sum, a_sum);
            for (int i = 0; i < CROSS_A && i0 + i < ca; i++)
                for (int j = 0; j < CROSS_B && j0 + j < ca; j++) product[(i0 + i) * ca + j0 + j] = sum[i][j];
        }
        for (int i = 0; i < CROSS_A && i0 + i < ca; i++) mean[i0 + i] = a_sum[i];
    }
    for (int i = 0; i < ca; i++)
        for (int j = i; j < ca; j++) product[i * ca + j] -= mean[i] * mean[j] / count;
    for (int i = 0; i < ca; i++) {
        float shift = plane_of(x, r->group, i)[r->at];
        mean[i] = (shift <= 0 ? 0 : (double)shift) + mean[i] / count;
    }
}

static void end_sum(const forward *f, const band *r, int worker) {
    const cell *q = &f->q;
    const node_sum *s = &f->sum;
    int read = (s->n_full + s->n_diagonal + s->n_pool) * q->ca, write = f->at == q->last ? q->x.c : q->ca;
    cel_stage_end(f->clock, worker, CEL_STAGE_NODE_SUM,
                  2.0 * (read + s->n_full * q->ca * (q->ca - 1)) * (double)r->floats, band_bytes(r, read + 2 * write));
}

static void node_task(void *ctx, int task, int worker) {
    const forward *f = ctx;
    const cell *q = &f->q;
    band r = band_of(q, task);
    cel_stage_begin(f->clock, worker);
    if (f->at > 0) {
        float *room = f->scratch + (size_t)worker * f->worker_floats;
        if (q->amx)
            sum_band_amx(q, &f->sum, &r, NULL, 0, room);
        else
            sum_band(q, &f->sum, &r, NULL, 0, room);
        pass_by(f, &r);
        end_sum(f, &r, worker);
    }
    if (f->at == q->last) return;
    if (f->batch_stats && source_has(q, f->at, 1)) {
        take_moments(f, &r, f->scratch + (size_t)worker * f->worker_floats, f->cross + (size_t)task * cross_count(q));
        cel_stage_end(f->clock, worker, CEL_STAGE_STATISTICS, (double)q->ca * q->ca * (double)r.floats,
                      band_bytes(&r, q->ca));
    }
}

/* ---- (2) Its 3x3 convolutions ---- */

/* Number, mean and squared deviations of the existing lanes of a band; shifted by one of its values, so that a large mean costs no
 * digits. */
static void band_moments(const float *z, size_t floats, int n, int group, double out[3]) {
    cel_vf a[4] = {{0}}, b[4] = {{0}}, pivot = cel_splat(z[0]);
    cel_vi mask[CEL_PARTS];
    int lanes = n - group * CEL_LANES < CEL_LANES ? n - group * CEL_LANES : CEL_LANES;
    size_t i = 0;
    for (int v = 0; v < CEL_PARTS; v++) mask[v] = cel_cpu_lane_mask(n, group, v * CEL_VL);
    for (; i + 4 * CEL_VL <= floats; i += 4 * CEL_VL) CEL_UNROLL for (int u = 0; u < 4; u++) {
            cel_vf v = cel_load(z + i + u * CEL_VL) - pivot;
            a[u] += v;
            b[u] += v * v;
        }
    for (int u = 0; i < floats; i += CEL_VL, u++) {
        cel_vf v = cel_load(z + i) - pivot;
        a[u] += v;
        b[u] += v * v;
    }
    double s1 = 0, s2 = 0, count = (double)lanes * (double)(floats / CEL_LANES);
    for (int u = 0; u < 4; u++) {
        s1 += (double)cel_lane_sum_f(cel_masked(a[u], mask[u % CEL_PARTS]));
        s2 += (double)cel_lane_sum_f(cel_masked(b[u], mask[u % CEL_PARTS]));
    }
    out[0] = count;
    out[1] = z[0] + s1 / count;
    out[2] = s2 - s1 * s1 / count;
}

/* Keeps z in bfloat16, and rounds it to what is kept. */
static void narrow(float *z, size_t floats, uint16_t *out) {
    for (size_t i = 0; i < floats; i += CEL_VL) cel_store(z + i, cel_store_bf16(out + i, cel_load(z + i)));
}

/* The convolutions of a band by the matrix unit, a few pixels at a time through cache: to bfloat16, with statistics of what it is rounded from. */
static void convolve_amx(const forward *f, const band *r, const int *which, int n, double *moments, const float *x,
                         float *room) {
    const cell *q = &f->q;
    const int blocks = q->ca / CEL_AMX_TILE, all = n * q->ca;
    enum { PIXEL = CEL_AMX_TILE * CEL_LANES };
    float *tiles = room, *pivot = tiles + CEL_AMX_PIXELS * PIXEL, *sums = pivot + all;
    memset(sums, 0, (size_t)(2 * all * CEL_LANES) * sizeof *sums);
    cel_amx_begin();
    for (int y = r->first; y < r->last; y++)
        for (int col = 0; col < q->x.w; col += CEL_AMX_PIXELS)
            for (int unit = 0; unit < n * blocks; unit++) {
                int i = which[unit / blocks], c = unit % blocks * CEL_AMX_TILE;
                cel_amx_term term = conv_term(q, x + (size_t)(y - r->first) * pair_row(q) + (size_t)col * pair_pixel(q),
                                              f->u, i, unit % blocks);
                cel_amx_block(&term, 1, tiles, PIXEL, CEL_LANES);
                float *own = pivot + unit * CEL_AMX_TILE;
                if (y == r->first && col == 0)
                    for (int k = 0; k < CEL_AMX_TILE; k++) own[k] = tiles[k * CEL_LANES];
                uint16_t *z = (uint16_t *)f->z[i] + (size_t)(r->group * q->ca + c) * q->x.plane + (size_t)y * q->row +
                              (size_t)col * CEL_LANES;
                cel_amx_keep(tiles, z, q->x.plane, own, f->batch_stats ? sums + 2 * unit * PIXEL : NULL);
            }
    cel_amx_end();
    if (!f->batch_stats) return;
    cel_vi mask = cel_cpu_lane_mask(q->x.n, r->group, 0);
    int lanes = q->x.n - r->group * CEL_LANES < CEL_LANES ? q->x.n - r->group * CEL_LANES : CEL_LANES;
    double count = (double)lanes * (double)(r->floats / CEL_LANES);
    for (int c = 0; c < all; c++, sums += 2 * CEL_LANES) {
        double s1 = (double)cel_lane_sum_f(cel_masked(cel_load(sums), mask)),
               s2 = (double)cel_lane_sum_f(cel_masked(cel_load(sums + CEL_LANES), mask)),
               *out = moments + 3 * (which[c / q->ca] * q->ca + c % q->ca);
        out[0] = count;
        out[1] = (double)pivot[c] + s1 / count;
        out[2] = s2 - s1 * s1 / count;
    }
}

static void conv_task(void *ctx, int task, int worker) {
    const forward *f = ctx;
    const cell *q = &f->q;
    band r = band_of(q, task);
    const size_t plane = band_plane(q);
    const int rows = r.last - r.first;
    float *x = f->scratch + (size_t)worker * f->worker_floats, *filter = x + padded_floats(q);
    cel_stage_begin(f->clock, worker);
    if (q->amx) {
        pad_pairs(q, &f->seen[f->at], r.group, r.first - 1, rows + 2, x);
        memset(x + (size_t)(rows + 2) * pair_row(q), 0,
               CEL_AMX_TILE * CEL_LANES * sizeof *x); /* what the last tile reads */
    } else {
        pad_rows(q, &f->seen[f->at], r.group, r.first - 1, rows + 2, x, plane);
    }
    cel_stage_end(f->clock, worker, CEL_STAGE_PAD, 0, band_bytes(&r, 2 * q->ca));
    int which[CEL_MIX_MAX_CONVS], n = 0;
    float *z[CEL_MIX_MAX_CONVS];
    size_t at = (size_t)r.group * q->x.plane * (size_t)q->ca + r.at, channel = q->attr->bf16 ? r.floats : q->x.plane;
    for (int i = 0; i < q->m; i++) {
        if (q->conv[i].src != f->at || q->conv[i].kernel != 3 || !q->conv_on[i]) continue;
        z[n] = q->attr->bf16 ? filter + filter_floats(q) + (size_t)(n * q->ca) * r.floats : (float *)f->z[i] + at;
        which[n++] = i;
    }
    double *moments = f->moments + 3 * (size_t)task * (size_t)(q->m * q->ca);
    if (q->amx) {
        convolve_amx(f, &r, which, n, moments, x, filter);
        cel_stage_end(f->clock, worker, CEL_STAGE_CONV3, n * conv_flops(q, &r, 9), band_bytes(&r, (n + 1) * q->ca));
        return;
    }
    cel_conv_job job = conv_job(q, rows, plane, channel, false);
    job.far = !q->attr->bf16;
    convolve(q, &job, which, n, x, f->w, f->u, z, filter);
    for (int k = 0; q->attr->bf16 && k < n; k++)
        for (int c = 0; c < q->ca; c++)
            narrow(z[k] + (size_t)c * channel, r.floats, (uint16_t *)f->z[which[k]] + at + (size_t)c * q->x.plane);
    cel_stage_end(f->clock, worker, CEL_STAGE_CONV3, n * conv_flops(q, &r, 9), band_bytes(&r, (n + 1) * q->ca));
    if (!f->batch_stats) return;
    for (int k = 0; k < n; k++)
        for (int c = 0; c < q->ca; c++)
            band_moments(z[k] + (size_t)c * channel, r.floats, q->x.n, r.group, moments + 3 * (which[k] * q->ca + c));
    cel_stage_end(f->clock, worker, CEL_STAGE_STATISTICS, 3.0 * n * q->ca * (double)r.floats,
                  band_bytes(&r, n * q->ca));
}

/* ---- Both at once, where edges are joined ---- */

/* The weights of all that is part of 3x3 convolution i, transformed. */
static void join_task(void *ctx, int i, int worker) {
    const forward *f = ctx;
    const cell *q = &f->q;
    const size_t ca = (size_t)q->ca;
    float *u = transformed(q, f->u, i), *w = filter_tile(q) ? f->scratch + (size_t)worker * f->worker_floats : u;
    if (!q->conv_on[i] || joins(f, i) != i) return;
    memset(w, 0, 9 * ca * ca * sizeof *w);
    for (int j = 0; j < q->m; j++) {
        if (!q->conv_on[j] || joins(f, j) != i) continue;
        const int taps = q->conv[j].kernel * q->conv[j].kernel, middle = q->conv[j].kernel == 1 ? 4 : 0;
        const float *rstd = f->stats + (2 * (size_t)j + 1) * ca, weight = q->weights[q->conv[j].gate];
        for (size_t o = 0; o < ca; o++)
            for (size_t c = 0; c < ca; c++)
                for (int t = 0; t < taps; t++)
                    w[(o * ca + c) * 9 + (size_t)(middle + t)] +=
                        weight * rstd[o] * f->w[j][(o * ca + c) * (size_t)taps + (size_t)t];
    }
    if (filter_tile(q)) transform_one(q, w, false, u);
}

static void joined_task(void *ctx, int task, int worker) {
    const forward *f = ctx;
    const cell *q = &f->q;
    band r = band_of(q, task);
    const size_t plane = band_plane(q);
    float *x = f->scratch + (size_t)worker * f->worker_floats, *own = x + padded_floats(q),
          *room = own + (size_t)q->ca * (size_t)q->band_rows * q->row;
    cel_conv_job job = conv_job(q, r.last - r.first, plane, r.floats, false);
    cel_stage_begin(f->clock, worker);
    for (int i = 0; i < q->m; i++) {
        if (q->conv[i].dest != f->at || !q->conv_on[i] || joins(f, i) != i) continue;
        pad_rows(q, &f->seen[q->conv[i].src], r.group, r.first - 1, job.rows + 2, x, plane);
        cel_stage_end(f->clock, worker, CEL_STAGE_PAD, 0, band_bytes(&r, 2 * q->ca));
        cel_wino_out to = {transformed(q, f->u, i), own};
        cel_conv3x3_run(filter_tile(q), &job, x, &to, 1, room);
        cel_stage_end(f->clock, worker, CEL_STAGE_CONV3, conv_flops(q, &r, 9), band_bytes(&r, 2 * q->ca));
        job.accumulate = true;
    }
    sum_band(q, &f->sum, &r, job.accumulate ? own : NULL, r.floats, room);
    pass_by(f, &r);
    end_sum(f, &r, worker);
}

/* ---- Between the phases ---- */

static double images_of(const cell *q, int task) {
    band r = band_of(q, task);
    int lanes = q->x.n - r.group * CEL_LANES < CEL_LANES ? q->x.n - r.group * CEL_LANES : CEL_LANES;
    return (double)lanes * (double)(r.floats / CEL_LANES);
}

/* Mean and covariance of the node's ReLU: those of the tasks merged in order (Chan, Golub and LeVeque 1983). */
static void merge_cross(const forward *f, float *out) {
    const cell *q = &f->q;
    const int ca = q->ca;
    double *mean = f->covariance, *product = mean + ca, count = 0;
    memset(mean, 0, cross_count(q) * sizeof *mean);
    for (int t = 0; t < q->tasks; t++) {
        const double *m = f->cross + (size_t)t * cross_count(q), *p = m + ca;
        double n = images_of(q, t), share = count * n / (count + n);
        for (int i = 0; i < ca; i++)
            for (int j = i; j < ca; j++)
                product[i * ca + j] += p[i * ca + j] + share * (m[i] - mean[i]) * (m[j] - mean[j]);
        for (int i = 0; i < ca; i++) mean[i] += (m[i] - mean[i]) * n / (count + n);
        count += n;
    }
    for (int i = 0; i < ca; i++)
        for (int j = i; j < ca; j++) product[i * ca + j] = product[j * ca + i] = product[i * ca + j] / count;
    for (size_t i = 0; i < cross_count(q); i++) out[i] = (float)mean[i];
}

/* W m and diag(W S W') of a 1x1 convolution's output channel. */
static void follow_cross(const forward *f, const float *w, double *mean, double *var) {
    const int ca = f->q.ca;
    const double *m = f->covariance, *s = m + ca;
    double *row = f->covariance + cross_count(&f->q);
    memset(row, 0, (size_t)ca * sizeof *row);
    *mean = *var = 0;
    for (int i = 0; i < ca; i++)
        for (int j = 0; j < ca; j++) row[j] += (double)w[i] * s[i * ca + j];
    for (int i = 0; i < ca; i++) {
        *mean += (double)w[i] * m[i];
        *var += row[i] * (double)w[i];
    }
    if (*var < 0) *var = 0; /* by rounding only */
}

static void merge_moments(const forward *f, int conv, int c, double *mean, double *var) {
    const cell *q = &f->q;
    double n = 0, m2 = 0;
    *mean = 0;
    for (int t = 0; t < q->tasks; t++) {
        const double *m = f->moments + 3 * (((size_t)t * (size_t)q->m + (size_t)conv) * (size_t)q->ca + (size_t)c);
        double delta = m[1] - *mean, total = n + m[0];
        m2 += m[2] + delta * delta * n * m[0] / total;
        *mean += delta * m[0] / total;
        n = total;
    }
    *var = m2 < 0 ? 0 : m2 / n;
}

/* Statistics of the convolutions of one source node. */
static void normalise(const forward *f, const cel_kernel_args *a, int kernel) {
    const cell *q = &f->q;
    const cel_batch_norm_attr *bn = &q->attr->bn;
    double n = (double)q->x.n * q->x.h * q->x.w, keep = 1 - (double)bn->momentum;
    for (int i = 0; i < q->m; i++) {
        if (q->conv[i].src != f->at || q->conv[i].kernel != kernel || !q->conv_on[i]) continue;
        float *running_mean = a->in[2 + q->m + 2 * i].data, *running_var = a->in[2 + q->m + 2 * i + 1].data;
        float *stat = f->stats + 2 * i * q->ca;
        for (int c = 0; c < q->ca; c++) {
            double mean = running_mean[c], var = running_var[c];
            if (f->batch_stats) {
                if (kernel == 1)
                    follow_cross(f, f->w[i] + c * q->ca, &mean, &var);
                else
                    merge_moments(f, i, c, &mean, &var);
            }
            if (f->mode == CEL_MODE_TRAIN) {
                double unbiased = n > 1 ? var * n / (n - 1) : var;
                running_mean[c] = (float)(keep * running_mean[c] + (double)bn->momentum * mean);
                running_var[c] = (float)(keep * running_var[c] + (double)bn->momentum * unbiased);
            }
            stat[c] = (float)mean;
            stat[q->ca + c] = (float)(1 / sqrt(var + (double)bn->eps));
        }
    }
}

/* ---- The kernel ---- */

typedef struct {
    size_t moments, cross, covariance, matrix, tiles, scale, shift, inverse, rest, weights, worker;
} forward_store;

/* The first three in doubles, then floats. */
static forward_store forward_store_of(const cell *q) {
    size_t ca = (size_t)q->ca, tasks = (size_t)q->tasks, sums = sum_floats(q),
           filter = filter_floats(q) + (q->attr->bf16 ? (size_t)q->m * ca * (size_t)q->band_rows * q->row : 0);
    if (q->amx) filter = CEL_AMX_PIXELS * CEL_AMX_TILE * CEL_LANES + (size_t)q->m * ca * (1 + 2 * CEL_LANES);
    filter += padded_floats(q);
    size_t moments = ca * (size_t)q->band_rows * q->row, most = sums > filter ? sums : filter;
    if (moments > most) most = moments;
    if (!q->attr->bf16) { /* a worker's when it joins weights, and edges */
        size_t weights = 9 * ca * ca,
               joined = padded_floats(q) + moments + (sums > filter_floats(q) ? sums : filter_floats(q));
        if (weights > most) most = weights;
        if (joined > most) most = joined;
    }
    return (forward_store){round16(3 * tasks * (size_t)q->m * ca),
                           round16(tasks * cross_count(q)),
                           round16(cross_count(q) + ca),
                           round16((size_t)q->last * ca * ca),
                           q->amx ? full_tile_floats(q, q->last) : 0,
                           round16(MAX_DIAGONAL * ca),
                           round16(ca),
                           round16(4 * (size_t)q->x.w),
                           (size_t)q->x.groups * (ca - (size_t)q->n_own) * q->x.plane,
                           weight_floats(q),
                           round16(most)};
}

static size_t work_bytes(const cel_graph *g, const cel_op *op, int n_threads, bool amx) {
    cell q;
    cell_init(&q, op->attr, g->value[op->in[0]].shape, amx);
    forward_store s = forward_store_of(&q);
    return sizeof(double) * (s.moments + s.cross + s.covariance) +
           sizeof(float) * (s.matrix + s.tiles + s.scale + s.shift + s.inverse + s.rest * (size_t)(q.last - 1) +
                            s.weights + s.worker * (size_t)n_threads);
}

static void run_joined(forward *f, const cel_kernel_args *a) {
    for (f->at = 0; f->at < f->q.last; f->at++) {
        normalise(f, a, 1);
        normalise(f, a, 3);
    }
    cel_pool_run(a->pool, f->q.m, join_task, f);
    for (f->at = 1; f->at <= f->q.last; f->at++) {
        prepare_sum(f, f->at);
        cel_pool_run(a->pool, f->q.tasks, joined_task, f);
    }
}

static void run(const cel_kernel_args *a, bool amx) {
    forward f = {.mode = a->mode, .clock = a->clock};
    cell *q = &f.q;
    cell_init(q, a->op->attr, a->in[0].shape, amx);
    cell_bind(q, a, a->in[1].data);
    forward_store s = forward_store_of(q);
    f.batch_stats = a->mode == CEL_MODE_TRAIN || q->attr->bn.use_batch;
    f.moments = a->work;
    f.cross = f.moments + s.moments;
    f.covariance = f.cross + s.cross;
    f.matrix = (float *)(f.covariance + s.covariance);
    f.tiles = f.matrix + s.matrix;
    f.scale = f.tiles + s.tiles;
    f.shift = f.scale + s.scale;
    float *inverse = f.shift + s.shift;
    f.u = inverse + s.inverse;
    f.scratch = f.u + s.weights;
    f.worker_floats = s.worker;
    float *rest = f.scratch + s.worker * (size_t)cel_pool_threads(a->pool);
    fill_inverse(q, inverse);
    f.sum.inverse = inverse;
    f.sum.out = sum_plane;
    f.sum.ctx = &f;

    f.y = a->out[0].data;
    f.seen[0] = (planes){a->in[0].data, q->x.plane, q->x.group};
    for (int j = 1; j < q->last; j++) {
        f.inner[j] = a->out[j].data;
        f.rest[j] = rest + (size_t)(j - 1) * s.rest;
        f.seen[j] = (planes){f.inner[j], q->x.plane, (size_t)q->ca * q->x.plane};
    }
    f.stats = a->out[q->last].data;
    float *cross = a->out[q->last + 1].data;
    for (int i = 0, z = q->last + 2; i < q->m; i++) {
        f.w[i] = a->in[2 + i].data;
        if (q->conv[i].kernel == 3) f.z[i] = a->out[z++].data;
    }
    f.joined = !f.batch_stats && !q->attr->bf16;
    for (int i = 1; i < a->n_out; i++) f.joined &= !a->out[i].wanted;
    if (f.joined) {
        run_joined(&f, a);
        return;
    }
    (q->amx ? tile_weights : transform_weights)(q, a->pool, f.w, false, f.u);
    for (f.at = 0; f.at <= q->last; f.at++) {
        if (f.at > 0) prepare_sum(&f, f.at);
        if (f.at > 0 && q->amx) tile_matrices(q, &f.sum, f.tiles);
        if (f.at > 0 || (f.batch_stats && source_has(q, 0, 1))) cel_pool_run(a->pool, q->tasks, node_task, &f);
        if (source_has(q, f.at, 1)) {
            if (f.batch_stats) merge_cross(&f, cross + (size_t)f.at * cross_count(q));
            normalise(&f, a, 1);
        }
        if (source_has(q, f.at, 3)) {
            cel_pool_run(a->pool, q->tasks, conv_task, &f);
            normalise(&f, a, 3);
        }
    }
}

void CEL_ISA_FN(cel_cpu_mixed_cell)(const cel_kernel_args *a) { run(a, false); }
size_t CEL_ISA_FN(cel_cpu_mixed_cell_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    return work_bytes(g, op, n_threads, false);
}
#if defined(CEL_ISA_AVX512)
void CEL_ISA_FN(cel_cpu_mixed_cell_amx)(const cel_kernel_args *a) { run(a, true); }
size_t CEL_ISA_FN(cel_cpu_mixed_cell_amx_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    return work_bytes(g, op, n_threads, true);
}
#endif
