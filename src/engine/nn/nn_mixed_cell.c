/* cel_nn_mixed_cell: the parameters of a cell of mixed edges, and the cell as one operation or as plain ones; see nn.h.
 *
 * In the plain cell a candidate's first operation is built under the candidate's gate, so a sum can tell that it is
 * off: SKIP is a product with 1, and NONE (built only for straight-through weights, where its weight has a gradient
 * while it is off) one with 0. */
#include "engine/nn/nn.h"

#include "engine/op/mixed_cell.h"

/* What is known while the cell is being built: everything about it, and the convolution that comes next. */
typedef struct cell {
    cel_graph *g;
    const cel_mixed_cell_attr *attr;
    const char *const *op_name;
    cel_val weights;
    int channels; /* of the part that the candidates see */
    cel_val conv[CEL_MIX_MAX_ROWS * CEL_MIX_MAX_COLS], stats[2 * CEL_MIX_MAX_ROWS * CEL_MIX_MAX_COLS];
    int n_convs;
} cell;

static bool is_conv(cel_mix_kind kind) { return kind == CEL_MIX_CONV1 || kind == CEL_MIX_CONV3; }

/* Declares a convolution's parameters and states; returns its batch-normed output on x, or CEL_NONE if x is. */
static cel_val convolution(cell *c, int col, cel_val x) {
    cel_graph *g = c->g;
    int kernel = c->attr->kind[col] == CEL_MIX_CONV1 ? 1 : 3, i = c->n_convs++;
    cel_shape channels = CEL_SHAPE(c->channels);
    cel_graph_push(g, "conv");
    c->conv[i] = cel_graph_param(g, "weight", CEL_SHAPE(c->channels, c->channels, kernel, kernel), CEL_INIT_UNIFORM);
    if (x != CEL_NONE)
        x = cel_conv2d(g, cel_relu(g, x), c->conv[i],
                       (cel_conv2d_attr){.stride = 1, .pad = kernel / 2, .dilation = 1, .groups = 1});
    cel_graph_pop(g);
    cel_graph_push(g, "bn");
    c->stats[2 * i] = cel_graph_state(g, "running_mean", channels, CEL_INIT_ZERO);
    c->stats[2 * i + 1] = cel_graph_state(g, "running_var", channels, CEL_INIT_ONE);
    if (x != CEL_NONE) x = cel_batch_norm(g, x, CEL_NONE, CEL_NONE, c->stats[2 * i], c->stats[2 * i + 1], c->attr->bn);
    cel_graph_pop(g);
    return x;
}

/* One candidate of an edge on x under its gate. x CEL_NONE: only what it declares. */
static cel_val candidate(cell *c, int row, int col, cel_val x) {
    cel_graph *g = c->g;
    cel_val y = CEL_NONE;
    int gate = cel_graph_gate(g, row * c->attr->n_cols + col);
    cel_graph_push(g, "%s", c->op_name[col]);
    if (is_conv(c->attr->kind[col]))
        y = convolution(c, col, x);
    else if (x != CEL_NONE && c->attr->kind[col] == CEL_MIX_POOL)
        y = cel_avg_pool(g, x, (cel_pool2d_attr){.kernel = 3, .stride = 1, .pad = 1});
    else if (x != CEL_NONE)
        y = cel_scale(g, x, c->attr->kind[col] == CEL_MIX_SKIP ? 1 : 0);
    cel_graph_pop(g);
    cel_graph_gate(g, gate);
    return y;
}

/* The weighted sum of an edge's live candidates on x; x itself times 0 if there is none. */
static cel_val edge(cell *c, int row, cel_val x) {
    cel_weighted_sum_attr sum = {.straight_through = c->attr->straight_through};
    cel_val y[CEL_MIX_MAX_COLS];
    for (int col = 0; col < c->attr->n_cols; col++) {
        if (!c->attr->live[row][col] || (c->attr->kind[col] == CEL_MIX_NONE && !sum.straight_through)) continue;
        y[sum.n] = candidate(c, row, col, x);
        sum.row[sum.n] = row;
        sum.col[sum.n++] = col;
    }
    return sum.n ? cel_weighted_sum(c->g, c->weights, y, sum) : cel_scale(c->g, x, 0);
}

static cel_val plain(cell *c, cel_val x) {
    cel_graph *g = c->g;
    int k = c->attr->k, all = cel_graph_shape(g, x).dim[1];
    cel_val node[CEL_MIX_MAX_NODES] = {x}, seen[CEL_MIX_MAX_NODES], rest[CEL_MIX_MAX_NODES];
    for (int i = 1, row = 0; i < c->attr->n_nodes; i++) {
        cel_val term[CEL_MIX_MAX_NODES];
        seen[i - 1] = k == 1 ? node[i - 1] : cel_slice(g, node[i - 1], 0, c->channels);
        rest[i - 1] = k == 1 ? CEL_NONE : cel_slice(g, node[i - 1], c->channels, all - c->channels);
        for (int j = 0; j < i; j++, row++) {
            cel_graph_push(g, "edge%d<-%d", i, j);
            term[j] = edge(c, row, seen[j]);
            if (k > 1) term[j] = cel_channel_shuffle(g, cel_concat(g, (cel_val[]){term[j], rest[j]}, 2), k);
            cel_graph_pop(g);
        }
        node[i] = cel_add(g, term, i);
    }
    return node[c->attr->n_nodes - 1];
}

static cel_val fused_cell(cell *c, cel_val x) {
    for (int i = 1, row = 0; i < c->attr->n_nodes; i++)
        for (int j = 0; j < i; j++, row++) {
            cel_graph_push(c->g, "edge%d<-%d", i, j);
            for (int col = 0; col < c->attr->n_cols; col++)
                if (c->attr->live[row][col] && is_conv(c->attr->kind[col])) candidate(c, row, col, CEL_NONE);
            cel_graph_pop(c->g);
        }
    return cel_mixed_cell(c->g, x, c->weights, c->conv, c->stats, c->attr);
}

cel_val cel_nn_mixed_cell(cel_graph *g, cel_val x, cel_val weights, const cel_mixed_cell_attr *attr,
                          const char *const *op_name, bool fused) {
    cell c = {.g = g, .attr = attr, .op_name = op_name, .weights = weights};
    if (x == CEL_NONE || weights == CEL_NONE) return CEL_NONE;
    int channels = cel_graph_shape(g, x).dim[1];
    if (g->gate >= 0)
        return cel_graph_error(g, CEL_SHAPE, "mixed cell: it has gates of its own, found gate %d around it", g->gate);
    if (cel_graph_shape(g, x).rank != 4 || attr->n_nodes < 2 || attr->n_nodes > CEL_MIX_MAX_NODES || attr->n_cols < 1 ||
        attr->n_cols > CEL_MIX_MAX_COLS || attr->k < 1 || channels % attr->k)
        return cel_graph_error(g, CEL_SHAPE,
                               "mixed cell: %d nodes, %d candidates, %d channels by k = %d: expected images, 2 .. %d "
                               "nodes, 1 .. %d candidates, channels divisible by k",
                               attr->n_nodes, attr->n_cols, channels, attr->k, CEL_MIX_MAX_NODES, CEL_MIX_MAX_COLS);
    if (fused && cel_mixed_convs(attr, NULL) > CEL_MIX_MAX_CONVS)
        return cel_graph_error(g, CEL_SHAPE,
                               "mixed cell: %d convolutions, expected at most %d in a fused cell; build it plain",
                               cel_mixed_convs(attr, NULL), CEL_MIX_MAX_CONVS);
    c.channels = channels / attr->k;
    int gates = attr->n_nodes * (attr->n_nodes - 1) / 2 * attr->n_cols; /* those of candidates not live exist too */
    if (g->n_gates < gates) g->n_gates = gates;
    return fused ? fused_cell(&c, x) : plain(&c, x);
}
