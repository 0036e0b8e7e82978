/* synflow without a backward pass (Tanaka et al., "Pruning neural networks without any data by iteratively conserving
 * synaptic flow", 2020, arXiv:2006.05467, as zero-cost-nas scores whole networks by it).
 *
 * In the network of absolute values nothing is negative, so |w dR/dw| = w dR/dw, and the sum over all weights is the
 * derivative of R as all weights are scaled by s, at s = 1: sum_w w dR/dw = d/ds R(s w). It is carried forwards as
 * the second half of a pair (v, u), u = dv/ds: a layer gives (W v + b, W u + W v). Two forward passes of one image
 * instead of a forward, a backward and a weights' pass, in double: products of fifteen cells leave the range of a
 * float. */
#include "nas/eval/flow.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "engine/op/attr.h"

/* A value of the graph: v in the first `count` numbers, u in the next, both [c][h][w] of one image. */
typedef struct {
    double *pair;
    int readers; /* operations that have still to read it */
    cel_val same_as;
} node;

typedef struct {
    const cel_probe *probe;
    const cel_graph *g;
    node *node;
    bool *needed;
    double **spare;
    int n_spare;
    size_t most; /* numbers of the largest pair */
    double *padded, *grid, *weights;
    size_t padded_room, grid_room, weights_room;
    int *shift;
    cel_flow_conv_fn *conv;
} flow;

typedef struct {
    int c, h, w;
} dims;

static size_t at(dims d, int c, int y, int x) {
    return ((size_t)c * (size_t)d.h + (size_t)y) * (size_t)d.w + (size_t)x;
}

static dims dims_of(const flow *f, cel_val v) {
    cel_shape s = f->g->value[v].shape;
    return (dims){s.rank > 1 ? s.dim[1] : 1, s.rank > 2 ? s.dim[2] : 1, s.rank > 3 ? s.dim[3] : 1};
}
static size_t count_of(const flow *f, cel_val v) {
    dims d = dims_of(f, v);
    return (size_t)d.c * (size_t)d.h * (size_t)d.w;
}

static cel_val root(const flow *f, cel_val v) {
    while (f->node[v].same_as != CEL_NONE) v = f->node[v].same_as;
    return v;
}
static const double *pair_of(const flow *f, cel_val v) { return f->node[root(f, v)].pair; }

static cel_status make(flow *f, cel_val v, double **out) {
    if (f->n_spare) {
        *out = f->spare[--f->n_spare];
    } else {
        CEL_ALLOC(*out, f->most);
    }
    f->node[v].pair = *out;
    return CEL_OK;
}

static cel_status room_for(double **p, size_t *room, size_t need) {
    if (*room >= need) return CEL_OK;
    cel_free(*p);
    *room = 0;
    CEL_ALLOC(*p, need);
    *room = need;
    return CEL_OK;
}

/* The absolute weights of channels first .. first+out-1, in the order of cel_flow_conv_args. */
static cel_status order_weights(flow *f, const float *w, int first, int out, int in, int taps) {
    int rounded = (out + CEL_FLOW_OUT - 1) / CEL_FLOW_OUT * CEL_FLOW_OUT;
    size_t block = (size_t)in * (size_t)taps;
    CEL_TRY(room_for(&f->weights, &f->weights_room, (size_t)rounded * block));
    memset(f->weights, 0, (size_t)rounded * block * sizeof *f->weights);
    for (int o = 0; o < out; o++)
        for (size_t k = 0; k < block; k++)
            f->weights[((size_t)(o / CEL_FLOW_OUT) * block + k) * CEL_FLOW_OUT + (size_t)(o % CEL_FLOW_OUT)] =
                fabs((double)w[(size_t)(first + o) * block + k]);
    return CEL_OK;
}

/* Channels first .. first+n-1 of v (u: v + u) on planes with `pad` zeros around. */
static void pad_planes(flow *f, const double *pair, dims d, size_t count, int first, int n, int pad, int pitch,
                       size_t plane, bool u) {
    memset(f->padded, 0, ((size_t)n * plane + CEL_FLOW_TILE) * sizeof *f->padded);
    for (int c = 0; c < n; c++)
        for (int y = 0; y < d.h; y++) {
            const double *from = pair + at(d, first + c, y, 0);
            double *to = f->padded + (size_t)c * plane + (size_t)(y + pad) * (size_t)pitch + (size_t)pad;
            if (u)
                for (int x = 0; x < d.w; x++) to[x] = from[x] + from[count + (size_t)x];
            else
                memcpy(to, from, (size_t)d.w * sizeof *to);
        }
}

static const float *values_of(const flow *f, cel_val param) {
    int n;
    const cel_slot *slots = cel_exec_param_slots(f->probe->exec, &n);
    for (int i = 0; i < n; i++)
        if (slots[i].value == param) return f->probe->weights + slots[i].offset;
    return NULL;
}

/* Computed at every pixel; a stride takes some of them. */
static cel_status conv2d(flow *f, const cel_op *op) {
    const cel_conv2d_attr *a = op->attr;
    cel_shape ws = f->g->value[op->in[1]].shape;
    dims x = dims_of(f, op->in[0]), y = dims_of(f, op->out[0]);
    const float *w = values_of(f, op->in[1]);
    const double *from = pair_of(f, op->in[0]);
    int taps = ws.dim[2] * ws.dim[3], in = x.c / a->groups, out = y.c / a->groups, pitch = x.w + 2 * a->pad;
    int rows = (y.h - 1) * a->stride + 1, rounded = (out + CEL_FLOW_OUT - 1) / CEL_FLOW_OUT * CEL_FLOW_OUT;
    size_t plane = (size_t)(x.h + 2 * a->pad) * (size_t)pitch, pixels = (size_t)rows * (size_t)pitch;
    size_t grid_plane = (pixels + CEL_FLOW_TILE - 1) / CEL_FLOW_TILE * CEL_FLOW_TILE;
    double *to;
    if (!w) return CEL_FAIL(CEL_UNSUPPORTED, "synflow: a convolution whose weight is no parameter");
    CEL_TRY(make(f, op->out[0], &to));
    CEL_TRY(
        room_for(&f->padded, &f->padded_room, (size_t)in * plane + (size_t)taps * (size_t)pitch + 2 * CEL_FLOW_TILE));
    CEL_TRY(room_for(&f->grid, &f->grid_room, (size_t)rounded * grid_plane));
    for (int t = 0; t < taps; t++) f->shift[t] = (t / ws.dim[3] * pitch + t % ws.dim[3]) * a->dilation;
    for (int group = 0; group < a->groups; group++) {
        CEL_TRY(order_weights(f, w, group * out, out, in, taps));
        for (size_t part = 0; part < 2; part++) {
            pad_planes(f, from, x, count_of(f, op->in[0]), group * in, in, a->pad, pitch, plane, part);
            f->conv(&(cel_flow_conv_args){f->padded, f->weights, f->grid, plane, grid_plane, pixels, in, rounded, taps,
                                          f->shift});
            for (int o = 0; o < out; o++)
                for (int r = 0; r < y.h; r++) {
                    double *row = to + part * count_of(f, op->out[0]) + at(y, group * out + o, r, 0);
                    const double *line = f->grid + (size_t)o * grid_plane + (size_t)(r * a->stride * pitch);
                    for (int c = 0; c < y.w; c++) row[c] = line[c * a->stride];
                }
        }
    }
    return CEL_OK;
}

static cel_status linear(flow *f, const cel_op *op) {
    size_t in = count_of(f, op->in[0]), out = count_of(f, op->out[0]);
    const float *w = values_of(f, op->in[1]), *b = op->in[2] == CEL_NONE ? NULL : values_of(f, op->in[2]);
    const double *v = pair_of(f, op->in[0]);
    double *to;
    if (!w) return CEL_FAIL(CEL_UNSUPPORTED, "synflow: a linear layer whose weight is no parameter");
    CEL_TRY(make(f, op->out[0], &to));
    for (size_t o = 0; o < out; o++) {
        double first = 0, second = 0;
        for (size_t i = 0; i < in; i++) {
            double weight = fabs((double)w[o * in + i]);
            first += weight * v[i];
            second += weight * (v[i] + v[in + i]);
        }
        to[o] = first + (b ? fabs((double)b[o]) : 0);
        to[out + o] = second;
    }
    return CEL_OK;
}

static cel_status sum(flow *f, const cel_op *op) {
    size_t n = 2 * count_of(f, op->out[0]);
    double *to;
    CEL_TRY(make(f, op->out[0], &to));
    memset(to, 0, n * sizeof *to);
    for (int k = 0; k < op->n_in; k++) {
        const double *x = pair_of(f, op->in[k]);
        for (size_t i = 0; i < n; i++) to[i] += x[i];
    }
    return CEL_OK;
}

static cel_status scale(flow *f, const cel_op *op) {
    double factor = fabs((double)((const cel_scale_attr *)op->attr)->factor);
    const double *x = pair_of(f, op->in[0]);
    double *to;
    CEL_TRY(make(f, op->out[0], &to));
    for (size_t i = 0; i < 2 * count_of(f, op->out[0]); i++) to[i] = factor * x[i];
    return CEL_OK;
}

static cel_status bias(flow *f, const cel_op *op) {
    dims d = dims_of(f, op->out[0]);
    size_t n = count_of(f, op->out[0]), plane = n / (size_t)d.c;
    const double *x = pair_of(f, op->in[0]);
    const float *b = values_of(f, op->in[1]);
    double *to;
    if (!b) return CEL_FAIL(CEL_UNSUPPORTED, "synflow: a bias that is no parameter");
    CEL_TRY(make(f, op->out[0], &to));
    for (size_t i = 0; i < n; i++) to[i] = x[i] + fabs((double)b[i / plane]);
    memcpy(to + n, x + n, n * sizeof *to);
    return CEL_OK;
}

/* Average or maximum over what lies in the image; where the maximum is, u goes too. */
static cel_status pool(flow *f, const cel_op *op, bool most) {
    const cel_pool2d_attr *a = op->attr;
    dims x = dims_of(f, op->in[0]), y = dims_of(f, op->out[0]);
    size_t nx = count_of(f, op->in[0]), ny = count_of(f, op->out[0]);
    const double *from = pair_of(f, op->in[0]);
    double *to;
    CEL_TRY(make(f, op->out[0], &to));
    for (int c = 0; c < y.c; c++)
        for (int r = 0; r < y.h; r++)
            for (int q = 0; q < y.w; q++) {
                int top = r * a->stride - a->pad, left = q * a->stride - a->pad, n = 0;
                double v = most ? -1 : 0, u = 0;
                for (int i = top < 0 ? 0 : top; i < top + a->kernel && i < x.h; i++)
                    for (int j = left < 0 ? 0 : left; j < left + a->kernel && j < x.w; j++, n++) {
                        size_t from_at = at(x, c, i, j);
                        if (most && from[from_at] > v) {
                            v = from[from_at];
                            u = from[nx + from_at];
                        } else if (!most) {
                            v += from[from_at];
                            u += from[nx + from_at];
                        }
                    }
                size_t to_at = at(y, c, r, q);
                to[to_at] = most ? v : v / n;
                to[ny + to_at] = most ? u : u / n;
            }
    return CEL_OK;
}

static cel_status global_pool(flow *f, const cel_op *op) {
    size_t n = count_of(f, op->out[0]), plane = count_of(f, op->in[0]) / n;
    const double *x = pair_of(f, op->in[0]);
    double *to;
    CEL_TRY(make(f, op->out[0], &to));
    for (size_t i = 0; i < 2 * n; i++) {
        to[i] = 0;
        for (size_t k = 0; k < plane; k++) to[i] += x[i * plane + k];
        to[i] /= (double)plane;
    }
    return CEL_OK;
}

/* Whole planes, or parts of them, from one place to another. */
static cel_status move(flow *f, const cel_op *op) {
    dims y = dims_of(f, op->out[0]);
    size_t ny = count_of(f, op->out[0]);
    double *to;
    CEL_TRY(make(f, op->out[0], &to));
    for (int c = 0, start = 0, k = 0; c < y.c; c++) {
        while (op->def == &cel_op_concat && c - start >= dims_of(f, op->in[k]).c) start += dims_of(f, op->in[k++]).c;
        dims x = dims_of(f, op->in[k]);
        const double *from = pair_of(f, op->in[k]);
        int source = c - start, top = 0, left = 0;
        if (op->def == &cel_op_slice) source = c + ((const cel_slice_attr *)op->attr)->first;
        if (op->def == &cel_op_channel_shuffle) {
            int groups = ((const cel_shuffle_attr *)op->attr)->groups;
            source = c % groups * (y.c / groups) + c / groups;
        }
        if (op->def == &cel_op_crop) {
            top = ((const cel_crop_attr *)op->attr)->top;
            left = ((const cel_crop_attr *)op->attr)->left;
        }
        for (size_t part = 0; part < 2; part++)
            for (int r = 0; r < y.h; r++)
                memcpy(to + part * ny + at(y, c, r, 0),
                       from + part * count_of(f, op->in[k]) + at(x, source, r + top, left), (size_t)y.w * sizeof *to);
    }
    return CEL_OK;
}

static cel_status one(flow *f, const cel_op *op) {
    const cel_op_def *d = op->def;
    if (d == &cel_op_relu || d == &cel_op_batch_norm) {
        f->node[op->out[0]].same_as = op->in[0];
        return CEL_OK;
    }
    if (d == &cel_op_conv2d) return conv2d(f, op);
    if (d == &cel_op_linear) return linear(f, op);
    if (d == &cel_op_channel_bias) return bias(f, op);
    if (d == &cel_op_add) return sum(f, op);
    if (d == &cel_op_scale) return scale(f, op);
    if (d == &cel_op_avg_pool || d == &cel_op_max_pool) return pool(f, op, d == &cel_op_max_pool);
    if (d == &cel_op_global_pool) return global_pool(f, op);
    if (d == &cel_op_concat || d == &cel_op_slice || d == &cel_op_channel_shuffle || d == &cel_op_crop)
        return move(f, op);
    return CEL_FAIL(CEL_UNSUPPORTED, "synflow: %s: %s is not defined in a network without signs", op->scope, d->name);
}

/* How many of the inputs are values; parameters and states come behind. */
static int data_inputs(const cel_op *op) {
    const cel_op_def *d = op->def;
    return d == &cel_op_conv2d || d == &cel_op_linear || d == &cel_op_batch_norm || d == &cel_op_channel_bias
               ? 1
               : op->n_in;
}

/* What the logits need; how often each value is read, those that stand for it included. */
static void look_through(flow *f) {
    const cel_graph *g = f->g;
    f->needed[f->probe->net.logits] = true;
    f->node[f->probe->net.logits].readers++;
    for (int i = g->n_ops - 1; i >= 0; i--) {
        const cel_op *op = &g->op[i];
        if (!f->needed[op->out[0]]) continue;
        int data = data_inputs(op);
        for (int k = 0; k < data; k++) {
            f->needed[op->in[k]] = true;
            f->node[op->in[k]].readers++;
        }
    }
    for (int v = 0; v < g->n_values; v++) {
        size_t pair = 2 * count_of(f, v);
        if (f->needed[v] && pair > f->most) f->most = pair;
    }
}

/* A value that stands for another one hands its readers on: the other is free when all of them have read. */
static void have_read(flow *f, cel_val v) {
    while (--f->node[v].readers == 0) {
        if (f->node[v].pair) f->spare[f->n_spare++] = f->node[v].pair;
        f->node[v].pair = NULL;
        v = f->node[v].same_as;
        if (v == CEL_NONE) return;
    }
}

static cel_status run(flow *f, double *r, double *score) {
    const cel_graph *g = f->g;
    double *x;
    int taps = 1;
    for (int v = 0; v < g->n_values; v++) f->node[v].same_as = CEL_NONE;
    look_through(f);
    for (int i = 0; i < g->n_ops; i++)
        if (g->op[i].def == &cel_op_conv2d) {
            cel_shape w = g->value[g->op[i].in[1]].shape;
            if (w.dim[2] * w.dim[3] > taps) taps = w.dim[2] * w.dim[3];
        }
    CEL_ALLOC(f->shift, (size_t)taps);
    if (f->needed[f->probe->net.x]) {
        size_t n = count_of(f, f->probe->net.x);
        CEL_TRY(make(f, f->probe->net.x, &x));
        for (size_t i = 0; i < 2 * n; i++) x[i] = i < n;
    }
    for (int i = 0; i < g->n_ops; i++) {
        const cel_op *op = &g->op[i];
        if (!f->needed[op->out[0]]) continue;
        CEL_TRY(one(f, op));
        if (f->node[op->out[0]].same_as != CEL_NONE) continue; /* reads when it is read */
        int data = data_inputs(op);
        for (int k = 0; k < data; k++) have_read(f, op->in[k]);
    }
    size_t n = count_of(f, f->probe->net.logits);
    const double *out = pair_of(f, f->probe->net.logits);
    *r = *score = 0;
    for (size_t i = 0; i < n; i++) {
        *r += out[i];
        *score += out[n + i];
    }
    if (!isfinite(*r) || !isfinite(*score))
        return CEL_FAIL(CEL_DIVERGED,
                        "synflow: the network's flow is beyond the range of a double: take fewer cells or "
                        "channels");
    return CEL_OK;
}

cel_status cel_flow_run(const cel_probe *probe, double *r, double *score) {
    size_t n = (size_t)probe->graph->n_values;
    flow f = {.probe = probe, .g = probe->graph, .conv = CEL_EVAL_KERNEL(cel_flow_conv)};
    f.node = cel_alloc(n, sizeof *f.node);
    f.needed = cel_alloc(n, sizeof *f.needed);
    f.spare = cel_alloc(n, sizeof *f.spare);
    cel_status status =
        f.node && f.needed && f.spare ? run(&f, r, score) : CEL_FAIL(CEL_NOMEM, "out of memory: synflow");
    for (size_t v = 0; f.node && v < n; v++) cel_free(f.node[v].pair);
    for (int i = 0; i < f.n_spare; i++) cel_free(f.spare[i]);
    cel_free(f.node);
    cel_free(f.needed);
    cel_free(f.spare);
    cel_free(f.padded);
    cel_free(f.grid);
    cel_free(f.weights);
    cel_free(f.shift);
    return status;
}
