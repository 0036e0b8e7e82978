/* NAS-Bench-201 (Dong and Yang, ICLR 2020, arXiv:2001.00326): a cell of four nodes, one of five operations on each of its six edges.
 *
 * The network: a 3x3 stem, n cells of c channels, a residual reduction, n cells of 2c, a reduction, n cells of 4c, batch norm,
 * global pooling, classifier. In the supernet every cell shares one matrix of edge weights, batch norm in search cells has
 * no affine parameters, and with k > 1 only the first 1/k of a node's channels goes through the operations (partial channels, PC-DARTS,
 * arXiv:1907.05737, as DrNAS uses them). Names of parameters are those of tests/golden/README.md.
 *
 * Unlike the authors' code: the batch norm layers can normalise with running statistics in evaluation, or, with batch_stats, with
 * those of the batch, which is what the paper's own one-shot experiments do. */
#include <stdio.h>
#include <string.h>

#include "base/conf/opt.h"
#include "engine/nn/nn.h"
#include "nas/space/space.h"

enum { NODES = 4, EDGES = CEL_NB201_EDGES, OPS = CEL_NB201_OPS, LEVELS = 3 };

typedef struct conf {
    int c, n;
    bool batch_stats;
    bool cell_bias; /* no setting: `biased` asks for it */
} conf;

static const cel_opt opts[] = {
    CEL_INT(conf, c, 16, 1, 1024, "channels of the first cells"),
    CEL_INT(conf, n, 5, 1, 1000, "cells of each resolution"),
    CEL_BOOL(conf, batch_stats, false, "batch norm uses the batch's statistics in evaluation too"), CEL_OPTS_END};

static const char *const op_names[OPS] = {"none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"};
static const cel_choice edges[EDGES] = {
    {"1<-0", 0 * OPS, OPS, 0, 0, 1, op_names}, {"2<-0", 1 * OPS, OPS, 0, 0, 2, op_names},
    {"2<-1", 2 * OPS, OPS, 0, 1, 2, op_names}, {"3<-0", 3 * OPS, OPS, 0, 0, 3, op_names},
    {"3<-1", 4 * OPS, OPS, 0, 1, 3, op_names}, {"3<-2", 5 * OPS, OPS, 0, 2, 3, op_names}};
static const cel_choices all_choices = {edges, EDGES, EDGES *OPS};

static const cel_choices *choices(void) { return &all_choices; }

static cel_status check(const void *settings, const cel_net_shape *shape, int k) {
    const conf *s = settings;
    if (s->c % k) {
        char fit[256] = "";
        for (int i = 1; i <= s->c; i++) {
            size_t used = strlen(fit);
            if (s->c % i == 0 && used + 16 < sizeof fit)
                snprintf(fit + used, sizeof fit - used, "%s%d", used ? ", " : "", i);
        }
        return CEL_FAIL(CEL_CONFIG,
                        "k = %d does not divide the %d channels of space.c: take k = %s, or another space.c", k, s->c,
                        fit);
    }
    if (shape && (shape->height < 4 || shape->width < 4))
        return CEL_FAIL(CEL_CONFIG, "images of %dx%d are too small for two reductions: at least 4x4", shape->height,
                        shape->width);
    return CEL_OK;
}

static cel_nn_norm norm_of(const conf *s) {
    cel_nn_norm norm = CEL_NN_NORM(true);
    norm.attr.use_batch = s->batch_stats;
    return norm;
}

/* A residual block of stride 2. */
static cel_val reduction(cel_graph *g, const conf *s, cel_val x, int c) {
    cel_graph_push(g, "conv_a");
    cel_val y = cel_nn_relu_conv_bn(g, x, c, 3, 2, 1, norm_of(s));
    cel_graph_pop(g);
    cel_graph_push(g, "conv_b");
    y = cel_nn_relu_conv_bn(g, y, c, 3, 1, 1, norm_of(s));
    cel_graph_pop(g);
    cel_graph_push(g, "downsample");
    cel_val side = cel_avg_pool(g, x, (cel_pool2d_attr){.kernel = 2, .stride = 2, .pad = 0});
    side = cel_nn_conv(g, "conv", side, c, 1, (cel_conv2d_attr){.stride = 1, .dilation = 1, .groups = 1});
    cel_graph_pop(g);
    return cel_add(g, (cel_val[]){side, y}, 2);
}

typedef cel_val cell_fn(cel_graph *g, const conf *s, cel_val x, int c, void *ctx);

static cel_status network(cel_graph *g, const conf *s, const cel_net_shape *shape, cell_fn *cell, void *ctx,
                          cel_net *net) {
    net->x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH,
                             CEL_SHAPE(shape->batch, shape->channels, shape->height, shape->width));
    net->labels = cel_graph_input(g, "labels", CEL_I32, CEL_BATCH, CEL_SHAPE(shape->batch));
    cel_graph_push(g, "stem");
    cel_val y = cel_nn_conv_bn(g, net->x, s->c, 3, 1, 1, norm_of(s));
    cel_graph_pop(g);
    for (int level = 0, number = 0; level < LEVELS; level++) {
        int c = s->c << level;
        for (int i = level ? -1 : 0; i < s->n; i++, number++) {
            cel_graph_push(g, "cell%d", number);
            y = i < 0 ? reduction(g, s, y, c) : cell(g, s, y, c, ctx);
            cel_graph_pop(g);
        }
    }
    cel_graph_push(g, "last");
    y = cel_nn_batch_norm(g, "bn", y, norm_of(s));
    cel_graph_pop(g);
    net->features = cel_global_pool(g, cel_relu(g, y));
    net->logits = cel_nn_linear(g, "classifier", net->features, shape->classes, true);
    cel_cross_entropy out = cel_softmax_cross_entropy(g, net->logits, net->labels, 0);
    net->loss = out.loss;
    net->correct = out.correct;
    return CEL_OK;
}

typedef struct mixed {
    cel_mixed_cell_attr attr;
    cel_val weights;
    bool fused;
} mixed;

static cel_val search_cell(cel_graph *g, const conf *s, cel_val x, int c, void *ctx) {
    const mixed *m = ctx;
    (void)s, (void)c;
    return cel_nn_mixed_cell(g, x, m->weights, &m->attr, op_names, m->fused);
}

static cel_status supernet(cel_graph *g, const void *settings, const cel_net_shape *shape,
                           const cel_supernet_form *form, cel_net *net) {
    const conf *s = settings;
    CEL_TRY(check(s, shape, form->k));
    *net = (cel_net){.n_groups = 1};
    mixed m = {.attr = {.n_nodes = NODES,
                        .k = form->k,
                        .n_cols = OPS,
                        .kind = {CEL_MIX_NONE, CEL_MIX_SKIP, CEL_MIX_CONV1, CEL_MIX_CONV3, CEL_MIX_POOL},
                        .straight_through = form->straight_through,
                        .bf16 = form->bf16,
                        .bn = norm_of(s).attr},
               .fused = form->fused};
    for (int e = 0; e < EDGES; e++)
        for (int o = 0; o < OPS; o++) m.attr.live[e][o] = form->live ? form->live[e * OPS + o] : 1;
    cel_graph_gate(g, cel_graph_gate(g, EDGES * OPS - 1)); /* a gate for every entry, whatever is built */
    m.weights = cel_graph_input(g, "edge_weights", CEL_F32, CEL_DENSE, CEL_SHAPE(EDGES, OPS));
    net->group[0].weights = m.weights;
    net->group[0].n = EDGES * OPS;
    return network(g, s, shape, search_cell, &m, net);
}

static cel_val cell_conv(cel_graph *g, const conf *s, cel_val x, int c, int kernel) {
    int pad = kernel / 2;
    cel_nn_norm norm = norm_of(s);
    if (!s->cell_bias) return cel_nn_relu_conv_bn(g, x, c, kernel, 1, pad, norm);
    norm.affine = false;
    x = cel_nn_conv(g, "conv", cel_relu(g, x), c, kernel, (cel_conv2d_attr){1, pad, 1, 1});
    cel_graph_push(g, "conv");
    x = cel_channel_bias(g, x, cel_graph_param(g, "bias", CEL_SHAPE(c), CEL_INIT_BIAS));
    cel_graph_pop(g);
    return cel_nn_batch_norm(g, "bn", x, norm);
}

static cel_val one_operation(cel_graph *g, const conf *s, cel_val x, int c, int op) {
    switch (op) {
    case CEL_NB201_SKIP:
        return x;
    case CEL_NB201_AVG_POOL_3X3:
        return cel_avg_pool(g, x, (cel_pool2d_attr){.kernel = 3, .stride = 1, .pad = 1});
    case CEL_NB201_CONV_1X1:
        return cell_conv(g, s, x, c, 1);
    default:
        return cell_conv(g, s, x, c, 3);
    }
}

/* Nodes that nothing leads to are a zero image. */
static cel_val discrete_cell(cel_graph *g, const conf *s, cel_val x, int c, void *ctx) {
    const cel_genotype *genotype = ctx;
    cel_val node[NODES] = {x};
    for (int to = 1; to < NODES; to++) {
        cel_val in[NODES];
        int n = 0;
        for (int i = 0; i < genotype->n; i++) {
            int from = genotype->edge[i].from, op = genotype->edge[i].op;
            if (genotype->edge[i].to != to || op == CEL_NB201_NONE) continue;
            cel_graph_push(g, "edge%d<-%d", to, from);
            cel_graph_push(g, "%s", op_names[op]);
            in[n++] = one_operation(g, s, node[from], c, op);
            cel_graph_pop(g);
            cel_graph_pop(g);
        }
        node[to] = n > 1 ? cel_add(g, in, n) : n ? in[0] : cel_scale(g, x, 0);
    }
    return node[NODES - 1];
}

static cel_status discrete(cel_graph *g, const void *settings, const cel_net_shape *shape, const cel_genotype *genotype,
                           cel_net *net) {
    CEL_TRY(check(settings, shape, 1));
    CEL_TRY(cel_genotype_check(genotype));
    if (genotype->space != CEL_ARCH_NB201)
        return CEL_FAIL(CEL_CONFIG, "a NAS-Bench-201 network needs a genotype of that space");
    *net = (cel_net){.n_groups = 0};
    cel_genotype copy = *genotype;
    return network(g, settings, shape, discrete_cell, &copy, net);
}

static cel_status biased(cel_graph *g, const void *settings, const cel_net_shape *shape, const cel_genotype *genotype,
                         cel_net *net) {
    conf s = *(const conf *)settings;
    s.cell_bias = true;
    return discrete(g, &s, shape, genotype, net);
}

/* "cell0.edge1<-0.nor_conv_1x1.conv.weight" and its batch norm's statistics belong to layer "cell0.edge1<-0.nor_conv_1x1". */
static void widened(const char *name, char out[256], char in[256]) {
    static const char *const leaves[] = {".conv.weight", ".bn.running_mean", ".bn.running_var"};
    out[0] = in[0] = 0;
    if (!strstr(name, ".edge")) return;
    for (int i = 0; i < 3; i++) {
        const char *leaf = strstr(name, leaves[i]);
        if (!leaf || strcmp(leaf, leaves[i])) continue;
        snprintf(out, 256, "%.*s", (int)(leaf - name), name);
        if (i == 0) snprintf(in, 256, "%s", out);
    }
}

static cel_status cost(const void *settings, const cel_net_shape *shape, const cel_genotype *genotype,
                       cel_arch_cost *out) {
    const conf *s = settings;
    cel_nb201_net net = {.c = s->c, .n = s->n, .classes = shape->classes, .image = shape->height};
    return cel_nb201_cost(genotype, &net, out);
}

const cel_space cel_space_nb201 = {.name = "nb201",
                                   .title = "NAS-Bench-201",
                                   .paper = "arXiv:2001.00326",
                                   .arch = CEL_ARCH_NB201,
                                   .opts = opts,
                                   .conf_size = sizeof(conf),
                                   .choices = choices,
                                   .check = check,
                                   .supernet = supernet,
                                   .discrete = discrete,
                                   .biased = biased,
                                   .widened = widened,
                                   .cost = cost};
