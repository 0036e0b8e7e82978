/* zcp.csv and zcp.safetensors: every proxy that has golden values, on every backend. Variant A is the space's own
 * discrete network; variant B is that of zero-cost-nas, whose cells' convolutions have a bias and whose cells' batch
 * norm has no affine part: the space's "biased". The csv is checked together with the tensors beside it, whose name
 * ends in .safetensors instead. */
#include <math.h>

#include "base/mem.h"
#include "engine/nn/nn.h"
#include "math/matrix.h"
#include "nas/eval/agree.h"
#include "nas/eval/flow.h"
#include "nas/eval/proxy.h"
#include "support/golden_net.h"

/* The norms that synflow leaves in, of variant B; all where `norms` is ALL. */
typedef enum { NONE, REDUCTIONS, ALL } zcp_norms;

typedef struct {
    const test_golden *golden;
    int c, n;
    bool zero_cost, absolute;
    zcp_norms norms;
} zcp_net;

static cel_val norm(const zcp_net *z, cel_graph *g, cel_val x, bool cell) {
    if (z->norms == NONE || (z->norms == REDUCTIONS && cell)) return x;
    return cel_nn_batch_norm(g, "bn", x, CEL_NN_NORM(!cell || !z->zero_cost));
}

static cel_val conv(const zcp_net *z, cel_graph *g, cel_val x, int out, int kernel, int stride, bool cell) {
    cel_conv2d_attr attr = {.stride = stride, .pad = kernel / 2, .dilation = 1, .groups = 1};
    cel_val y = cel_nn_conv(g, "conv", x, out, kernel, attr);
    if (!cell || !z->zero_cost) return y;
    cel_graph_push(g, "conv");
    y = cel_channel_bias(g, y, cel_graph_param(g, "bias", CEL_SHAPE(out), CEL_INIT_BIAS));
    cel_graph_pop(g);
    return y;
}

static cel_val relu_conv_bn(const zcp_net *z, cel_graph *g, cel_val x, int out, int kernel, int stride, bool cell) {
    return norm(z, g, conv(z, g, cel_relu(g, x), out, kernel, stride, cell), cell);
}

static cel_val reduction(const zcp_net *z, cel_graph *g, cel_val x, int c) {
    bool reductions_keep = z->norms != NONE;
    zcp_net own = *z;
    if (reductions_keep) own.norms = ALL;
    cel_graph_push(g, "conv_a");
    cel_val y = relu_conv_bn(&own, g, x, c, 3, 2, false);
    cel_graph_pop(g);
    cel_graph_push(g, "conv_b");
    y = relu_conv_bn(&own, g, y, c, 3, 1, false);
    cel_graph_pop(g);
    cel_graph_push(g, "downsample");
    cel_val side = cel_avg_pool(g, x, (cel_pool2d_attr){.kernel = 2, .stride = 2});
    side = cel_nn_conv(g, "conv", side, c, 1, (cel_conv2d_attr){.stride = 1, .dilation = 1, .groups = 1});
    cel_graph_pop(g);
    return cel_add(g, (cel_val[]){side, y}, 2);
}

static cel_val cell(const zcp_net *z, cel_graph *g, const cel_genotype *genotype, cel_val x, int c) {
    cel_val node[4] = {x};
    for (int to = 1; to < 4; to++) {
        cel_val in[4];
        int n = 0;
        for (int i = 0; i < genotype->n; i++) {
            int from = genotype->edge[i].from, op = genotype->edge[i].op;
            if (genotype->edge[i].to != to || op == CEL_NB201_NONE) continue;
            cel_graph_push(g, "edge%d<-%d", to, from);
            cel_graph_push(g, "%s", cel_topology_get(CEL_ARCH_NB201)->op_names[op]);
            in[n++] = op == CEL_NB201_SKIP ? node[from]
                      : op == CEL_NB201_AVG_POOL_3X3
                          ? cel_avg_pool(g, node[from], (cel_pool2d_attr){.kernel = 3, .stride = 1, .pad = 1})
                          : relu_conv_bn(z, g, node[from], c, op == CEL_NB201_CONV_1X1 ? 1 : 3, 1, true);
            cel_graph_pop(g);
            cel_graph_pop(g);
        }
        node[to] = n ? cel_add(g, in, n) : cel_scale(g, x, 0);
    }
    return node[3];
}

static cel_status build(void *ctx, cel_graph *g, const cel_net_shape *shape, const cel_genotype *genotype,
                        cel_net *net) {
    const zcp_net *z = ctx;
    *net = (cel_net){.n_groups = 0};
    net->x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH,
                             CEL_SHAPE(shape->batch, shape->channels, shape->height, shape->width));
    net->labels = cel_graph_input(g, "labels", CEL_I32, CEL_BATCH, CEL_SHAPE(shape->batch));
    cel_graph_push(g, "stem");
    cel_val y = norm(z, g, conv(z, g, net->x, z->c, 3, 1, false), z->norms == REDUCTIONS);
    cel_graph_pop(g);
    for (int level = 0, number = 0; level < 3; level++)
        for (int i = level ? -1 : 0; i < z->n; i++, number++) {
            cel_graph_push(g, "cell%d", number);
            y = i < 0 ? reduction(z, g, y, z->c << level) : cell(z, g, genotype, y, z->c << level);
            cel_graph_pop(g);
        }
    cel_graph_push(g, "last");
    y = norm(z, g, y, z->norms == REDUCTIONS);
    cel_graph_pop(g);
    net->features = cel_global_pool(g, cel_relu(g, y));
    net->logits = cel_nn_linear(g, "classifier", net->features, shape->classes, true);
    cel_cross_entropy out = cel_softmax_cross_entropy(g, net->logits, net->labels, 0);
    net->loss = out.loss;
    net->correct = out.correct;
    return CEL_OK;
}

/* Affine parts of the cells' batch norms are in the file for both variants. */
static cel_status fill(void *ctx, const cel_exec *e, int slot, float *values) {
    const zcp_net *z = ctx;
    int n;
    const cel_slot *s = &cel_exec_param_slots(e, &n)[slot];
    const test_tensor *t = test_golden_get(z->golden, "param.%s", s->name);
    assert_int_equal(t->n, s->count);
    for (size_t i = 0; i < t->n; i++) values[i] = (float)(z->absolute ? fabs(t->data[i]) : t->data[i]);
    return CEL_OK;
}

typedef struct {
    zcp_net net;
    void *settings;
    cel_probe_conf conf;
    float *images;
    int32_t *labels;
} rig;

static void rig_open(rig *r, const test_golden *golden, const cel_backend *backend, bool zero_cost) {
    const test_tensor *x = test_golden_get(golden, "in.x"), *y = test_golden_get(golden, "in.y");
    char yaml[100];
    *r = (rig){.net = {.golden = golden,
                       .c = (int)golden_meta_number(golden, "C"),
                       .n = (int)golden_meta_number(golden, "N"),
                       .zero_cost = zero_cost,
                       .norms = ALL}};
    snprintf(yaml, sizeof yaml, "{c: %d, n: %d}", r->net.c, r->net.n);
    r->settings = golden_settings(cel_space_nb201.opts, cel_space_nb201.conf_size, yaml);
    r->images = test_calloc(x->n, sizeof *r->images);
    r->labels = test_calloc(y->n, sizeof *r->labels);
    for (size_t i = 0; i < x->n; i++) r->images[i] = (float)x->data[i];
    for (size_t i = 0; i < y->n; i++) r->labels[i] = (int32_t)y->data[i];
    r->conf = (cel_probe_conf){.space = &cel_space_nb201,
                               .space_conf = r->settings,
                               .cell_bias = zero_cost,
                               .fill = fill,
                               .ctx = &r->net,
                               .shape = golden_shape(golden, x),
                               .backend = backend,
                               .n_batches = 1,
                               .images = r->images,
                               .labels = r->labels};
}

static void rig_close(rig *r) {
    cel_free(r->settings);
    test_free(r->images);
    test_free(r->labels);
}

/* sum |w dR/dw|, R the sum of logits of one image of ones, by a backward pass. */
static double flow_by_gradient(rig *r, const cel_genotype *g, zcp_norms norms) {
    cel_probe_room room = {0};
    cel_probe *p;
    cel_probe_conf conf = r->conf;
    size_t n = (size_t)conf.shape.channels * (size_t)conf.shape.height * (size_t)conf.shape.width;
    float *ones = test_calloc(n, sizeof *ones);
    zcp_net net = r->net;
    double sum = 0;
    for (size_t i = 0; i < n; i++) ones[i] = 1;
    net.absolute = true;
    net.norms = norms;
    conf.build = build;
    conf.ctx = &net;
    conf.shape.batch = 1;
    conf.images = ones;
    conf.labels = NULL;
    test_ok(cel_probe_open(&conf, g, CEL_READ_OUTPUT_GRADIENT, &room, &p));
    for (int i = 0; i < p->n_layers; i++)
        for (size_t k = p->layer[i].offset; k < p->layer[i].offset + p->layer[i].count; k++)
            sum += fabs((double)p->weights[k] * p->gradient[0][k]);
    cel_probe_close(p);
    cel_probe_room_fini(&room);
    test_free(ones);
    return sum;
}

static double plain(const cel_probe *p) {
    double sum = 0;
    for (int i = 0; i < p->n_layers; i++)
        for (size_t k = p->layer[i].offset; k < p->layer[i].offset + p->layer[i].count; k++)
            sum += (double)p->weights[k] * p->gradient[0][k];
    return sum;
}

static double tolerance_of(const char *measure) {
    return !strcmp(measure, "grasp") || !strcmp(measure, "plain") ? 5e-4 : 1e-5;
}

static double value_of(rig *r, const cel_probe *p, const cel_genotype *g, const char *measure) {
    double value;
    int found;
    if (!strcmp(measure, "loss")) return p->loss[0];
    if (!strcmp(measure, "plain")) return plain(p);
    if (!strcmp(measure, "synflow_bn")) return flow_by_gradient(r, g, ALL);
    if (!strcmp(measure, "synflow") && r->net.zero_cost) return flow_by_gradient(r, g, REDUCTIONS);
    test_ok(cel_proxy_find(measure, &found));
    test_ok(cel_proxies[found]->score(p, &value));
    return value;
}

enum { EVERYTHING = CEL_READ_GRADIENT | CEL_READ_HESSIAN | CEL_READ_FISHER | CEL_READ_INPUT_GRADIENT | CEL_READ_CODES };

/* Rows first .. last-1 are about one architecture in one variant. */
static double check_one(const test_csv *csv, int first, int last, const test_golden *golden,
                        const cel_backend *backend) {
    rig r;
    cel_genotype g;
    cel_probe *p;
    cel_probe_room room = {0};
    double worst = 0;
    test_ok(cel_genotype_parse(test_csv_text(csv, first, "arch"), &g));
    rig_open(&r, golden, backend, !strcmp(test_csv_text(csv, first, "variant"), "B"));
    test_ok(cel_probe_open(&r.conf, &g, EVERYTHING, &room, &p));
    for (int i = first; i < last; i++) {
        const char *measure = test_csv_text(csv, i, "measure");
        if (!*test_csv_text(csv, i, "value_f64")) continue; /* not defined there */
        /* On one image of ones many planes are all but constant, and batch norm makes much of the rounding: only for
         * sums in double. */
        if (!strcmp(measure, "synflow_bn") && backend != &cel_backend_ref) continue;
        double want = test_csv_number(csv, i, "value_f64"), got = value_of(&r, p, &g, measure);
        double error = golden_error(got, want, tolerance_of(measure), 1e-12);
        if (error > 1)
            print_error("%s: variant %s, architecture %s, %s: %.9g, expected %.9g\n", backend->name,
                        test_csv_text(csv, i, "variant"), test_csv_text(csv, i, "arch_id"), measure, got, want);
        worst = golden_max(worst, error);
    }
    cel_probe_close(p);
    cel_probe_room_fini(&room);
    rig_close(&r);
    return worst;
}

static bool same(const test_csv *csv, int a, int b) {
    return !strcmp(test_csv_text(csv, a, "variant"), test_csv_text(csv, b, "variant")) &&
           !strcmp(test_csv_text(csv, a, "arch_id"), test_csv_text(csv, b, "arch_id"));
}

/* The file beside `path` whose name ends in `to` instead of `from`. */
static char *partner(const char *path, const char *from, const char *to) {
    size_t n = strlen(path) - strlen(from);
    char *other = cel_asprintf("%.*s%s", (int)n, path, to);
    assert_non_null(other);
    return other;
}

double golden_zcp(const char *path) {
    test_csv *csv = test_csv_open(path);
    char *tensors = partner(path, ".csv", ".safetensors");
    test_golden *golden = test_golden_open(tensors);
    double worst = 0;
    for (const cel_backend *const *b = cel_backends; *b; b++)
        for (int first = 0, last; golden_backend_wanted(*b) && first < csv->n_rows; first = last) {
            for (last = first + 1; last < csv->n_rows && same(csv, first, last);) last++;
            worst = golden_max(worst, check_one(csv, first, last, golden, *b));
        }
    test_golden_close(golden);
    cel_free(tensors);
    test_csv_close(csv);
    return worst;
}

/* Counts, which a ReLU input within rounding of 0 may change by one or two. */
static double check_kernel(const test_tensor *want, const test_golden *golden, const cel_backend *backend,
                           const char *arch, bool zero_cost) {
    rig r;
    cel_genotype g;
    cel_probe *p;
    cel_probe_room room = {0};
    int n = want->shape[0];
    double worst = 0, *kernel = test_calloc((size_t)n * (size_t)n, sizeof *kernel);
    test_ok(cel_genotype_parse(arch, &g));
    rig_open(&r, golden, backend, zero_cost);
    test_ok(cel_probe_open(&r.conf, &g, CEL_READ_CODES, &room, &p));
    for (int i = 0; i < p->n_codes; i++) CEL_EVAL_KERNEL(cel_agreement)
    (p->code[i].bits, n, p->code[i].words, p->code[i].units, p->code[i].times, kernel);
    for (size_t i = 0; i < want->n; i++) worst = golden_max(worst, golden_error(kernel[i], want->data[i], 0, 2));
    cel_probe_close(p);
    cel_probe_room_fini(&room);
    rig_close(&r);
    test_free(kernel);
    return worst;
}

double golden_zcp_kernels(const char *path) {
    char *table = partner(path, ".safetensors", ".csv");
    test_csv *csv = test_csv_open(table);
    test_golden *golden = test_golden_open(path);
    double worst = 0;
    for (const cel_backend *const *b = cel_backends; *b; b++)
        for (int i = 0; golden_backend_wanted(*b) && i < csv->n_rows; i++) {
            const char *variant = test_csv_text(csv, i, "variant");
            if (i && same(csv, i - 1, i)) continue;
            const test_tensor *want =
                test_golden_get(golden, "naswot_kernel.%s.%s", variant, test_csv_text(csv, i, "arch_id"));
            worst =
                golden_max(worst, check_kernel(want, golden, *b, test_csv_text(csv, i, "arch"), !strcmp(variant, "B")));
        }
    test_golden_close(golden);
    test_csv_close(csv);
    cel_free(table);
    return worst;
}
