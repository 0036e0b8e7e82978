/* mixed_cell, mixed_cell_grad: a whole cell of mixed edges as one operation (include/cellar/graph.h gives its meaning).
 *
 * The mixed edge is that of DARTS (Liu et al. 2019, eq. 2), with the partial channels of PC-DARTS (Xu et al. 2020, eq. 2) and
 * the operations of NAS-Bench-201 (Dong and Yang 2020). One operation, because what is shared between edges (the ReLU and the padding of
 * a source node, the sums of a batch norm that are also the gradient of its edge weight, the permutation of a node) is only seen from
 * the whole cell. Not differentiable twice: second derivatives take the plain graph.
 *
 * Beside the last node it leaves what its gradient needs and nothing more (in a program without it a kernel may leave that out): the channels of the inner nodes that candidates see, and the
 * outputs of the 3x3 convolutions. Those of the 1x1 ones follow from their inputs, and their statistics from the inputs' moments.
 *
 * mixed_cell       in: x, weights, W of each live convolution, (running mean, running var) of each
 *                  out: last node; the first ca = c/k channels of nodes 1..n-2; [m,2,ca] mean and 1/sqrt(var+eps) used by each of m
 *                  convolutions; [n-1,1+ca,ca] mean and covariance over the batch of max(x,0) of the first ca channels of nodes 0..n-2
 *                  (where 1x1 convolutions are normalised with batch statistics; else of no meaning); outputs of the 3x3 convolutions
 * mixed_cell_grad  in: dy, x, weights, W.., all but the first output of mixed_cell    out: dx, dweights, dW.. */
#include "engine/op/check.h"
#include "engine/op/mixed_cell.h"

#include <math.h>
#include <string.h>

int cel_mixed_convs(const cel_mixed_cell_attr *a, cel_mixed_conv *conv) {
    int n = 0;
    for (int dest = 1, row = 0; dest < a->n_nodes; dest++)
        for (int src = 0; src < dest; src++, row++)
            for (int col = 0; col < a->n_cols; col++)
                if (a->live[row][col] && (a->kind[col] == CEL_MIX_CONV1 || a->kind[col] == CEL_MIX_CONV3)) {
                    if (conv)
                        conv[n] = (cel_mixed_conv){
                            src, dest, row, col, a->kind[col] == CEL_MIX_CONV1 ? 1 : 3, row * a->n_cols + col};
                    n++;
                }
    return n;
}

/* What the gradient takes of the forward pass: outputs 1 and up. */
static int kept_outputs(const cel_mixed_cell_attr *a, const cel_mixed_conv *conv) {
    int n = a->n_nodes - 2 + 2;
    for (int i = 0, m = cel_mixed_convs(a, NULL); i < m; i++) n += conv[i].kernel == 3;
    return n;
}

/* What the stack arrays of this file and of the kernels hold. */
static cel_status check_size(const cel_mixed_cell_attr *a) {
    if (a->n_nodes < 2 || a->n_nodes > CEL_MIX_MAX_NODES)
        return CEL_FAIL(CEL_SHAPE, "mixed_cell: expected 2 to %d nodes, found %d", CEL_MIX_MAX_NODES, a->n_nodes);
    if (a->n_cols < 1 || a->n_cols > CEL_MIX_MAX_COLS)
        return CEL_FAIL(CEL_SHAPE, "mixed_cell: expected 1 to %d candidates, found %d", CEL_MIX_MAX_COLS, a->n_cols);
    if (cel_mixed_convs(a, NULL) > CEL_MIX_MAX_CONVS)
        return CEL_FAIL(CEL_SHAPE, "mixed_cell: expected at most %d convolutions, found %d; build the cell plain",
                        CEL_MIX_MAX_CONVS, cel_mixed_convs(a, NULL));
    return CEL_OK;
}

/* Inputs `first` (x) and first + 1 (edge weights), and the attributes. */
static cel_status check(const cel_graph *g, const cel_mixed_cell_attr *a, const cel_val *in, int first) {
    const cel_value *x;
    CEL_TRY(check_size(a));
    for (int col = 0; col < a->n_cols; col++)
        if ((int)a->kind[col] < CEL_MIX_NONE || a->kind[col] > CEL_MIX_POOL)
            return CEL_FAIL(CEL_SHAPE, "mixed_cell: candidate %d is of no known kind: %d", col, (int)a->kind[col]);
    if (!(a->bn.eps > 0) || !(a->bn.momentum >= 0 && a->bn.momentum <= 1))
        return CEL_FAIL(CEL_SHAPE, "eps %g, momentum %g: expected eps > 0 and momentum in 0 .. 1", (double)a->bn.eps,
                        (double)a->bn.momentum);
    CEL_TRY(cel_check_image(g, in, first, "x", &x));
    CEL_TRY(cel_check_shape(g, in, first + 1, "the edge weights", CEL_DENSE,
                            CEL_SHAPE(a->n_nodes * (a->n_nodes - 1) / 2, a->n_cols)));
    if (a->k < 1 || x->shape.dim[1] % a->k)
        return CEL_FAIL(CEL_SHAPE, "mixed_cell: %d channels cannot be split into k = %d equal parts", x->shape.dim[1],
                        a->k);
    return CEL_OK;
}

static cel_value like(const cel_value *v, cel_layout layout, cel_shape shape) {
    cel_value out = *v;
    out.layout = layout;
    out.shape = shape;
    return out;
}

static cel_status infer(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out) {
    const cel_mixed_cell_attr *a = attr;
    cel_mixed_conv conv[CEL_MIX_MAX_CONVS];
    CEL_TRY(check_size(a));
    int m = cel_mixed_convs(a, conv), inner = a->n_nodes - 2;
    CEL_TRY(cel_check_inputs(n_in, 2 + 3 * m, 2 + 3 * m));
    CEL_TRY(check(g, a, in, 0));
    const cel_value *x = &g->value[in[0]];
    int ca = x->shape.dim[1] / a->k;
    for (int i = 0; i < m; i++) {
        CEL_TRY(cel_check_shape(g, in, 2 + i, "a convolution's weight", CEL_DENSE,
                                CEL_SHAPE(ca, ca, conv[i].kernel, conv[i].kernel)));
        for (int s = 2 + m + 2 * i; s < 4 + m + 2 * i; s++) {
            CEL_TRY(cel_check_shape(g, in, s, "a running statistic", CEL_DENSE, CEL_SHAPE(ca)));
            if (g->value[in[s]].role != CEL_STATE)
                return CEL_FAIL(CEL_SHAPE, "input %d: a running statistic is no state", s);
        }
    }
    cel_shape seen = x->shape;
    seen.dim[1] = ca;
    *n_out = kept_outputs(a, conv) + 1;
    out[0] = like(x, CEL_BATCH, x->shape);
    for (int i = 1; i < *n_out; i++) {
        out[i] = like(x, CEL_BATCH, seen);
        if (a->bf16 && i > inner) out[i].dtype = CEL_BF16;
    }
    out[1 + inner] = like(x, CEL_DENSE, CEL_SHAPE(m ? m : 1, 2, ca));
    out[2 + inner] = like(x, CEL_DENSE, CEL_SHAPE(a->n_nodes - 1, 1 + ca, ca));
    return CEL_OK;
}

static cel_status grad(cel_graph *g, int index, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op op = g->op[index];
    for (int i = 1; i < op.n_out; i++)
        if (dout[i] != CEL_NONE)
            return CEL_FAIL(CEL_UNSUPPORTED, "mixed_cell: no second derivative; build the cell plain instead of fused");
    int m = (op.n_in - 2) / 3, n = 0;
    cel_val in[3 + 3 * CEL_MIX_MAX_CONVS + CEL_MIX_MAX_NODES];
    in[n++] = dout[0];
    for (int i = 0; i < 2 + m; i++) in[n++] = op.in[i];
    for (int i = 1; i < op.n_out; i++) in[n++] = op.out[i];
    int back = cel_graph_add(g, &cel_op_mixed_cell_grad, in, n, op.attr, sizeof(cel_mixed_cell_attr));
    if (back < 0) return g->status;
    for (int i = 0; i < 2 + m; i++)
        if (need[i]) din[i] = g->op[back].out[i];
    return CEL_OK;
}

static cel_status infer_grad(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                             int *n_out) {
    const cel_mixed_cell_attr *a = attr;
    CEL_TRY(check_size(a));
    cel_mixed_conv conv[CEL_MIX_MAX_CONVS];
    int m = cel_mixed_convs(a, conv), want = 3 + m + kept_outputs(a, conv);
    if (n_in != want) return CEL_FAIL(CEL_SHAPE, "mixed_cell_grad: expected %d inputs, found %d", want, n_in);
    CEL_TRY(check(g, a, in, 1));
    CEL_TRY(cel_check_shape(g, in, 0, "dy", CEL_BATCH, g->value[in[1]].shape));
    *n_out = 2 + m;
    out[0] = like(&g->value[in[1]], CEL_BATCH, g->value[in[1]].shape);
    out[1] = like(&g->value[in[2]], CEL_DENSE, g->value[in[2]].shape);
    for (int i = 0; i < m; i++) out[2 + i] = like(&g->value[in[3 + i]], CEL_DENSE, g->value[in[3 + i]].shape);
    return CEL_OK;
}

static double conv_flops(const cel_graph *g, const cel_op *op, cel_val x, const uint8_t *active) {
    const cel_mixed_cell_attr *a = op->attr;
    cel_mixed_conv conv[CEL_MIX_MAX_CONVS];
    cel_shape s = g->value[x].shape;
    double ca = s.dim[1] / a->k, pixels = (double)s.dim[0] * s.dim[2] * s.dim[3], sum = 0;
    for (int i = 0, m = cel_mixed_convs(a, conv); i < m; i++)
        if (!active || active[conv[i].gate]) sum += 2 * pixels * ca * ca * conv[i].kernel * conv[i].kernel;
    return sum;
}
static double flops(const cel_graph *g, const cel_op *op, const uint8_t *active) {
    return conv_flops(g, op, op->in[0], active);
}
/* With respect to the data always, to the convolution weights where a program wants them: counted as both. */
static double flops_grad(const cel_graph *g, const cel_op *op, const uint8_t *active) {
    return 2 * conv_flops(g, op, op->in[1], active);
}

/* ---- The plain kernels. ---- */

typedef struct {
    const cel_mixed_cell_attr *attr;
    int n, c, h, w, k, ca, m, pixels;
    cel_mixed_conv conv[CEL_MIX_MAX_CONVS];
    int place
        [CEL_MIX_MAX_CONVS]; /* of a 3x3 convolution's output among them; -1: 1x1, its output is made anew where it is needed */
} geometry;

/* Where plane `channel` of image i lies in a tensor of `channels` channels. */
static size_t plane_at(const geometry *q, int channels, int i, int channel) {
    return ((size_t)i * (size_t)channels + (size_t)channel) * (size_t)q->pixels;
}

static geometry geometry_of(const void *attr, cel_shape x) {
    geometry q = {.attr = attr, .n = x.dim[0], .c = x.dim[1], .h = x.dim[2], .w = x.dim[3]};
    q.k = q.attr->k;
    q.ca = q.c / q.k;
    q.pixels = q.h * q.w;
    q.m = cel_mixed_convs(attr, q.conv);
    for (int i = 0, n = 0; i < q.m; i++) q.place[i] = q.conv[i].kernel == 3 ? n++ : -1;
    return q;
}

static bool on(const cel_kernel_args *a, int row, int col) {
    const cel_mixed_cell_attr *m = a->op->attr;
    return m->live[row][col] && a->gates[row * m->n_cols + col];
}

/* Mean of the 3x3 neighbourhood inside the image. */
static double pooled(const float *plane, int h, int w, int y, int x) {
    double sum = 0;
    int count = 0;
    for (int v = y - 1; v <= y + 1; v++)
        for (int u = x - 1; u <= x + 1; u++)
            if (v >= 0 && v < h && u >= 0 && u < w) {
                sum += plane[v * w + u];
                count++;
            }
    return sum / count;
}

static int inside_count(int h, int w, int y, int x) {
    return ((y > 0) + 1 + (y < h - 1)) * ((x > 0) + 1 + (x < w - 1));
}

static void convolve(const geometry *q, const cel_mixed_conv *conv, const float *x, int channels, const float *weight,
                     float *z) {
    int r = conv->kernel / 2, taps = conv->kernel * conv->kernel;
    for (int i = 0; i < q->n; i++)
        for (int o = 0; o < q->ca; o++)
            for (int p = 0; p < q->pixels; p++) {
                double sum = 0;
                for (int c = 0; c < q->ca; c++)
                    for (int t = 0; t < taps; t++) {
                        int y = p / q->w + t / conv->kernel - r, u = p % q->w + t % conv->kernel - r;
                        if (y < 0 || y >= q->h || u < 0 || u >= q->w) continue;
                        float v = x[plane_at(q, channels, i, c) + (size_t)(y * q->w + u)];
                        if (!(v <= 0)) sum += (double)v * weight[(o * q->ca + c) * taps + t];
                    }
                z[plane_at(q, q->ca, i, o) + (size_t)p] = (float)sum;
            }
}

static void normalisation(const geometry *q, const cel_kernel_args *a, const float *z, float *running_mean,
                          float *running_var, float *stat) {
    const cel_batch_norm_attr *bn = &q->attr->bn;
    double count = (double)q->n * q->pixels;
    for (int c = 0; c < q->ca; c++) {
        double mean = running_mean[c], var = running_var[c];
        if (a->mode == CEL_MODE_TRAIN || bn->use_batch) {
            mean = var = 0;
            for (int i = 0; i < q->n; i++)
                for (int p = 0; p < q->pixels; p++) mean += z[plane_at(q, q->ca, i, c) + (size_t)p];
            mean /= count;
            for (int i = 0; i < q->n; i++)
                for (int p = 0; p < q->pixels; p++) {
                    double d = z[plane_at(q, q->ca, i, c) + (size_t)p] - mean;
                    var += d * d;
                }
            var /= count;
        }
        if (a->mode == CEL_MODE_TRAIN) {
            double unbiased = count > 1 ? var * count / (count - 1) : var;
            running_mean[c] = (float)((1 - (double)bn->momentum) * running_mean[c] + (double)bn->momentum * mean);
            running_var[c] = (float)((1 - (double)bn->momentum) * running_var[c] + (double)bn->momentum * unbiased);
        }
        stat[c] = (float)mean;
        stat[q->ca + c] = (float)(1 / sqrt(var + (double)bn->eps));
    }
}

/* Mean and covariance of max(x, 0) of the first ca channels of a node. */
static void moments(const geometry *q, const float *x, float *out) {
    double count = (double)q->n * q->pixels;
    for (int c = 0; c < q->ca; c++) {
        double sum = 0;
        for (int i = 0; i < q->n; i++)
            for (int p = 0; p < q->pixels; p++) {
                float v = x[plane_at(q, q->c, i, c) + (size_t)p];
                sum += v <= 0 ? 0 : (double)v;
            }
        out[c] = (float)(sum / count);
    }
    for (int c = 0; c < q->ca; c++)
        for (int d = 0; d < q->ca; d++) {
            double sum = 0;
            for (int i = 0; i < q->n; i++)
                for (int p = 0; p < q->pixels; p++) {
                    float v = x[plane_at(q, q->c, i, c) + (size_t)p], u = x[plane_at(q, q->c, i, d) + (size_t)p];
                    sum += ((v <= 0 ? 0 : (double)v) - out[c]) * ((u <= 0 ? 0 : (double)u) - out[d]);
                }
            out[(1 + c) * q->ca + d] = (float)(sum / count);
        }
}

/* The inner nodes, and the output of a 1x1 convolution. */
static size_t ref_work(const cel_graph *g, const cel_op *op) {
    const cel_mixed_cell_attr *attr = op->attr;
    return sizeof(float) * (size_t)(attr->n_nodes - 1) * cel_shape_count(g->value[op->in[0]].shape);
}

static void ref(const cel_kernel_args *a) {
    geometry q = geometry_of(a->op->attr, a->in[0].shape);
    const cel_mixed_cell_attr *attr = q.attr;
    const float *weights = a->in[1].data;
    int last = attr->n_nodes - 1;
    size_t size = (size_t)q.n * (size_t)q.c * (size_t)q.pixels;
    const float *node[CEL_MIX_MAX_NODES] = {a->in[0].data};
    float *inner = a->work, *z1 = inner + (size_t)(last - 1) * size, *stats = a->out[last].data,
          *cross = a->out[last + 1].data;
    for (int dest = 1, row0 = 0; dest <= last; row0 += dest++) {
        float *y = dest == last ? a->out[0].data : inner + (size_t)(dest - 1) * size;
        node[dest] = y;
        memset(y, 0, sizeof *y * size);
        moments(&q, node[dest - 1], cross + (dest - 1) * (1 + q.ca) * q.ca);
        for (int src = 0; src < dest; src++) {
            int row = row0 + src;
            const float *x = node[src];
            for (int i = 0; i < q.n; i++)
                for (int c = q.ca; c < q.c; c++) { /* the channels that pass by */
                    int to = c % q.ca * q.k + c / q.ca;
                    for (int p = 0; p < q.pixels; p++)
                        y[plane_at(&q, q.c, i, to) + (size_t)p] += x[plane_at(&q, q.c, i, c) + (size_t)p];
                }
            for (int col = 0, conv = 0; col < attr->n_cols; col++) {
                while (conv < q.m && (q.conv[conv].row < row || (q.conv[conv].row == row && q.conv[conv].col < col)))
                    conv++;
                float weight = weights[row * attr->n_cols + col];
                if (!on(a, row, col)) {
                    if (!attr->straight_through || !attr->live[row][col]) continue;
                    for (int i = 0; i < q.n; i++)
                        for (int c = 0; c < q.ca; c++)
                            for (int p = 0; p < q.pixels; p++) y[plane_at(&q, q.c, i, c * q.k) + (size_t)p] += weight;
                    continue;
                }
                const float *z = NULL, *stat = NULL;
                cel_mix_kind kind = attr->kind[col];
                if (kind == CEL_MIX_NONE) continue;
                if (kind == CEL_MIX_CONV1 || kind == CEL_MIX_CONV3) {
                    float *made = q.place[conv] < 0 ? z1 : a->out[last + 2 + q.place[conv]].data;
                    convolve(&q, &q.conv[conv], x, q.c, a->in[2 + conv].data, made);
                    normalisation(&q, a, made, a->in[2 + q.m + 2 * conv].data, a->in[2 + q.m + 2 * conv + 1].data,
                                  stats + 2 * conv * q.ca);
                    z = made;
                    stat = stats + 2 * conv * q.ca;
                }
                for (int i = 0; i < q.n; i++)
                    for (int c = 0; c < q.ca; c++)
                        for (int p = 0; p < q.pixels; p++) {
                            const float *plane = x + plane_at(&q, q.c, i, c);
                            double v =
                                kind == CEL_MIX_SKIP ? plane[p]
                                : kind == CEL_MIX_POOL
                                    ? pooled(plane, q.h, q.w, p / q.w, p % q.w)
                                    : ((double)z[plane_at(&q, q.ca, i, c) + (size_t)p] - stat[c]) * stat[q.ca + c];
                            y[plane_at(&q, q.c, i, c * q.k) + (size_t)p] += (float)(weight * v);
                        }
            }
        }
        for (int i = 0; dest < last && i < q.n; i++)
            memcpy((float *)a->out[dest].data + plane_at(&q, q.ca, i, 0), y + plane_at(&q, q.c, i, 0),
                   sizeof *y * (size_t)q.ca * (size_t)q.pixels);
    }
}

/* Gradients of the inner nodes and of node 0, and one dz, in double; the output of a 1x1 convolution. */
static size_t ref_grad_work(const cel_graph *g, const cel_op *op) {
    const cel_mixed_cell_attr *attr = op->attr;
    size_t size = cel_shape_count(g->value[op->in[1]].shape);
    return sizeof(double) * (size_t)attr->n_nodes * size + sizeof(float) * size;
}

static double upstream_at(const geometry *q, const double *inner, const float *dy, int image, int channel, int pixel) {
    size_t at = plane_at(q, q->c, image, channel) + (size_t)pixel;
    return inner ? inner[at] : (double)dy[at];
}

static void ref_grad(const cel_kernel_args *a) {
    geometry q = geometry_of(a->op->attr, a->in[1].shape);
    const cel_mixed_cell_attr *attr = q.attr;
    int last = attr->n_nodes - 1, inner = attr->n_nodes - 2;
    size_t size = (size_t)q.n * (size_t)q.c * (size_t)q.pixels;
    double *d = a->work, *dz = d + (size_t)last * size; /* d[node] for nodes 0 .. last-1 */
    float *z1 = (float *)(dz + size);
    const float *stats = a->in[3 + q.m + inner].data;
    memset(d, 0, sizeof *d * (size_t)last * size);
    const float *dy = a->in[0].data, *weights = a->in[2].data;
    float *dweights = a->out[1].data;
    if (dweights) memset(dweights, 0, sizeof *dweights * cel_shape_count(a->out[1].shape));
    double count = (double)q.n * q.pixels;
    for (int i = 0; i < q.m; i++)
        if (a->out[2 + i].data) memset(a->out[2 + i].data, 0, sizeof(float) * cel_shape_count(a->out[2 + i].shape));

    for (int dest = last, row0 = last * (last - 1) / 2; dest > 0; row0 -= --dest)
        for (int src = 0; src < dest; src++) {
            int row = row0 + src;
            const float *x = src ? a->in[3 + q.m + src - 1].data : a->in[1].data;
            int channels = src ? q.ca : q.c; /* of x */
            double *dx = d + (size_t)src * size, *dd = dest < last ? d + (size_t)dest * size : NULL;
            for (int i = 0; i < q.n; i++)
                for (int c = q.ca; c < q.c; c++)
                    for (int p = 0; p < q.pixels; p++)
                        dx[plane_at(&q, q.c, i, c) + (size_t)p] +=
                            upstream_at(&q, dd, dy, i, c % q.ca * q.k + c / q.ca, p);
            for (int col = 0, conv = 0; col < attr->n_cols; col++) {
                while (conv < q.m && (q.conv[conv].row < row || (q.conv[conv].row == row && q.conv[conv].col < col)))
                    conv++;
                cel_mix_kind kind = attr->kind[col];
                double weight = weights[row * attr->n_cols + col], dot = 0;
                bool live = on(a, row, col);
                if (!live && (!attr->straight_through || !attr->live[row][col])) continue;
                if (live && kind == CEL_MIX_NONE) continue;
                if (!live || kind == CEL_MIX_SKIP || kind == CEL_MIX_POOL) {
                    for (int i = 0; i < q.n; i++)
                        for (int c = 0; c < q.ca; c++) {
                            const float *plane = x + plane_at(&q, channels, i, c);
                            double *dplane = dx + plane_at(&q, q.c, i, c);
                            for (int p = 0; p < q.pixels; p++) {
                                int y = p / q.w, u = p % q.w;
                                double g = upstream_at(&q, dd, dy, i, c * q.k, p);
                                if (!live) {
                                    dot += g;
                                } else if (kind == CEL_MIX_SKIP) {
                                    dot += g * plane[p];
                                    dplane[p] += weight * g;
                                } else {
                                    dot += g * pooled(plane, q.h, q.w, y, u);
                                    double part = weight * g / inside_count(q.h, q.w, y, u);
                                    for (int v = y > 0 ? y - 1 : 0; v <= y + 1 && v < q.h; v++)
                                        for (int s = u > 0 ? u - 1 : 0; s <= u + 1 && s < q.w; s++)
                                            dplane[v * q.w + s] += part;
                                }
                            }
                        }
                } else {
                    const float *stat = stats + 2 * conv * q.ca, *z = z1;
                    if (q.place[conv] < 0)
                        convolve(&q, &q.conv[conv], x, channels, a->in[3 + conv].data, z1);
                    else
                        z = a->in[5 + q.m + inner + q.place[conv]].data;
                    bool batch = a->mode == CEL_MODE_TRAIN || attr->bn.use_batch;
                    for (int c = 0; c < q.ca; c++) {
                        double mean = stat[c], rstd = stat[q.ca + c], s1 = 0, s2 = 0;
                        for (int i = 0; i < q.n; i++)
                            for (int p = 0; p < q.pixels; p++) {
                                double g = upstream_at(&q, dd, dy, i, c * q.k, p),
                                       zn = (z[plane_at(&q, q.ca, i, c) + (size_t)p] - mean) * rstd;
                                s1 += g;
                                s2 += g * zn;
                            }
                        dot += s2;
                        if (!batch) s1 = s2 = 0;
                        for (int i = 0; i < q.n; i++)
                            for (int p = 0; p < q.pixels; p++) {
                                size_t at = plane_at(&q, q.ca, i, c) + (size_t)p;
                                double zn = (z[at] - mean) * rstd;
                                dz[at] = weight * rstd *
                                         (upstream_at(&q, dd, dy, i, c * q.k, p) - s1 / count - zn * s2 / count);
                            }
                    }
                    int kernel = q.conv[conv].kernel, r = kernel / 2, taps = kernel * kernel;
                    const float *w = a->in[3 + conv].data;
                    float *dw = a->out[2 + conv].data;
                    for (int o = 0; o < q.ca; o++)
                        for (int c = 0; c < q.ca; c++)
                            for (int t = 0; t < taps; t++) {
                                double sum = 0;
                                for (int i = 0; i < q.n; i++)
                                    for (int p = 0; p < q.pixels; p++) {
                                        int y = p / q.w + t / kernel - r, u = p % q.w + t % kernel - r;
                                        if (y < 0 || y >= q.h || u < 0 || u >= q.w) continue;
                                        size_t pixel = (size_t)(y * q.w + u);
                                        float v = x[plane_at(&q, channels, i, c) + pixel];
                                        if (!(v > 0)) continue;
                                        double g = dz[plane_at(&q, q.ca, i, o) + (size_t)p];
                                        sum += g * v;
                                        dx[plane_at(&q, q.c, i, c) + pixel] += g * w[(o * q.ca + c) * taps + t];
                                    }
                                if (dw) dw[(o * q.ca + c) * taps + t] = (float)sum;
                            }
                }
                if (dweights) dweights[row * attr->n_cols + col] = (float)dot;
            }
        }
    if (a->out[0].data)
        for (size_t i = 0; i < size; i++) ((float *)a->out[0].data)[i] = (float)d[i];
}

cel_val cel_mixed_cell(cel_graph *g, cel_val x, cel_val weights, const cel_val *conv_w, const cel_val *stats,
                       const cel_mixed_cell_attr *attr) {
    if (x == CEL_NONE || weights == CEL_NONE) return CEL_NONE;
    cel_status status = check_size(attr);
    if (status != CEL_OK) return cel_graph_error(g, status, "%s", cel_status_message());
    int m = cel_mixed_convs(attr, NULL);
    cel_val in[2 + 3 * CEL_MIX_MAX_CONVS];
    in[0] = x;
    in[1] = weights;
    for (int i = 0; i < m; i++) in[2 + i] = conv_w[i];
    for (int i = 0; i < 2 * m; i++) in[2 + m + i] = stats[i];
    int rows = attr->n_nodes * (attr->n_nodes - 1) / 2;
    if (g->n_gates < rows * attr->n_cols) g->n_gates = rows * attr->n_cols;
    int op = cel_graph_add(g, &cel_op_mixed_cell, in, 2 + 3 * m, attr, sizeof *attr);
    return op < 0 ? CEL_NONE : g->op[op].out[0];
}

/* ---- Sample cases. ---- */

static cel_val sample(cel_graph *g, int n, int c, int size, int k, bool keep3) {
    cel_mixed_cell_attr attr = {.n_nodes = 4,
                                .k = k,
                                .n_cols = 5,
                                .kind = {CEL_MIX_NONE, CEL_MIX_SKIP, CEL_MIX_CONV1, CEL_MIX_CONV3, CEL_MIX_POOL},
                                .bn = {.eps = 1e-5f, .momentum = 0.1f}};
    for (int r = 0; r < 6; r++)
        for (int o = 0; o < 5; o++) attr.live[r][o] = !keep3 || (r + o) % 5 < 3;
    cel_mixed_conv conv[CEL_MIX_MAX_CONVS];
    cel_val w[CEL_MIX_MAX_CONVS], s[2 * CEL_MIX_MAX_CONVS];
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, c, size, size + 1));
    cel_val ew = cel_graph_input(g, "weights", CEL_F32, CEL_DENSE, CEL_SHAPE(6, 5));
    int m = cel_mixed_convs(&attr, conv);
    for (int i = 0; i < m; i++) {
        cel_graph_push(g, "conv%d", i);
        w[i] = cel_graph_param(g, "weight", CEL_SHAPE(c / k, c / k, conv[i].kernel, conv[i].kernel), CEL_INIT_KAIMING);
        s[2 * i] = cel_graph_state(g, "running_mean", CEL_SHAPE(c / k), CEL_INIT_ZERO);
        s[2 * i + 1] = cel_graph_state(g, "running_var", CEL_SHAPE(c / k), CEL_INIT_ONE);
        cel_graph_pop(g);
    }
    return cel_mixed_cell(g, x, ew, w, s, &attr);
}
static cel_val whole(cel_graph *g) { return sample(g, 2, 4, 5, 1, false); }
static cel_val partial(cel_graph *g) { return sample(g, 3, 8, 4, 4, false); }
static cel_val kept(cel_graph *g) { return sample(g, 2, 6, 4, 2, true); }
static cel_val full_groups(cel_graph *g) { return sample(g, 32, 8, 6, 2, false); }
static const cel_op_case cases[] = {
    {"k1", whole}, {"k4", partial}, {"k2_keep3", kept}, {"two_groups", full_groups}, {0}};

const cel_op_def cel_op_mixed_cell = {.name = "mixed_cell",
                                      .n_out = 1,
                                      .infer = infer,
                                      .grad = grad,
                                      .ref = ref,
                                      .ref_work_bytes = ref_work,
                                      .flops = flops,
                                      .all_outputs = true,
                                      .cases = cases};
const cel_op_def cel_op_mixed_cell_grad = {.name = "mixed_cell_grad",
                                           .n_out = 2,
                                           .infer = infer_grad,
                                           .ref = ref_grad,
                                           .ref_work_bytes = ref_grad_work,
                                           .flops = flops_grad};

bool cel_mixed_cell_is_bf16(const cel_op *op) {
    bool mixed = op->def == &cel_op_mixed_cell || op->def == &cel_op_mixed_cell_grad;
    return mixed && ((const cel_mixed_cell_attr *)op->attr)->bf16;
}
