/* The passes that proxies share; see probe.h. One forward pass gives the loss' gradient, the layers' products, the
 * input's gradient and the ReLUs' signs together; the Hessian's product is a second program of the same graph,
 * gradients of gradients. Branches that reach nothing are not computed, except what a ReLU of theirs reads. */
#include "nas/eval/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/op/attr.h"
#include "math/matrix.h"

enum {
    FORWARD = CEL_READ_OUTPUT_GRADIENT | CEL_READ_GRADIENT | CEL_READ_HESSIAN | CEL_READ_FISHER |
              CEL_READ_INPUT_GRADIENT | CEL_READ_CODES
};
enum { BY_WEIGHT = CEL_READ_GRADIENT | CEL_READ_HESSIAN | CEL_READ_FISHER };

void cel_probe_room_fini(cel_probe_room *room) {
    if (room->lender.memory) cel_block_free(room->lender.memory, room->lender.bytes);
    *room = (cel_probe_room){0};
}

void cel_probe_close(cel_probe *p) {
    if (!p) return;
    for (int i = 0; p->layer && i < p->n_layers; i++) cel_free(p->layer[i].dots);
    for (int i = 0; p->code && i < p->n_codes; i++) cel_free(p->code[i].bits);
    for (int i = 0; p->gradient && !p->borrowed && i < p->conf->n_batches; i++) cel_free(p->gradient[i]);
    cel_exec_destroy(p->exec);
    cel_graph_destroy(p->graph);
    cel_free(p->layer);
    cel_free(p->code);
    cel_free(p->loss);
    cel_free(p->gradient);
    cel_free(p->hessian);
    cel_free(p->dinput);
    cel_free(p->ntk_value);
    cel_free(p);
}

/* ---- building ---- */

/* What leaves a node that nothing leads to is zero at the start, where batch norm shifts by nothing, and has no
 * gradient: `none` instead says the same and costs nothing. Only the signs of its ReLUs' inputs would be missed. */
static void drop_empty(cel_genotype *g) {
    const cel_topology *t = cel_topology_get(g->space);
    int none = 0;
    while (none < t->n_ops && strcmp(t->op_names[none], "none") != 0) none++;
    if (none == t->n_ops) return;
    for (int node = t->n_inputs; node < t->n_nodes; node++)
        for (int cell = 0; cell < t->n_cells; cell++) {
            bool fed = false;
            for (int i = 0; i < g->n; i++)
                fed |= g->edge[i].cell == cell && g->edge[i].to == node && g->edge[i].op != none;
            for (int i = 0; i < g->n && !fed; i++)
                if (g->edge[i].cell == cell && g->edge[i].from == node) g->edge[i].op = (uint8_t)none;
        }
}

static cel_status build_net(cel_probe *p) {
    const cel_probe_conf *c = p->conf;
    CEL_TRY(cel_graph_create(&p->graph));
    if (c->build) return c->build(c->ctx, p->graph, &c->shape, p->genotype, &p->net);
    if (c->cell_bias) /* whole: batch norm takes a bias behind nothing away again, but fisher and synflow see it */
        return c->space->biased(p->graph, c->space_conf, &c->shape, p->genotype, &p->net);
    cel_genotype g = *p->genotype;
    if (!c->fill && !(p->reads & (CEL_READ_CODES | CEL_READ_REGIONS))) drop_empty(&g);
    return c->space->discrete(p->graph, c->space_conf, &c->shape, &g, &p->net);
}

/* A layer's output: a bias that nothing else comes before is part of it. */
static cel_val with_bias(const cel_graph *g, int op) {
    cel_val y = g->op[op].out[0];
    for (int i = op + 1; i < g->n_ops; i++)
        if (g->op[i].def == &cel_op_channel_bias && g->op[i].in[0] == y) return g->op[i].out[0];
    return y;
}

static cel_status find_layers(cel_probe *p) {
    const cel_graph *g = p->graph;
    CEL_ALLOC(p->layer, (size_t)g->n_ops);
    for (int i = 0; i < g->n_ops; i++) {
        const cel_op *op = &g->op[i];
        if ((op->def != &cel_op_conv2d && op->def != &cel_op_linear) || g->value[op->in[1]].role != CEL_PARAM) continue;
        cel_shape y = g->value[op->out[0]].shape;
        cel_val out = with_bias(g, i);
        p->layer[p->n_layers++] =
            (cel_probe_layer){.weight = op->in[1], .y = out, .channels = y.dim[1], .dot = CEL_NONE};
    }
    return CEL_OK;
}

static cel_status find_codes(cel_probe *p) {
    cel_graph *g = p->graph;
    int n_ops = g->n_ops;
    CEL_ALLOC(p->code, (size_t)n_ops);
    for (int i = 0; i < n_ops; i++) {
        if (g->op[i].def != &cel_op_relu) continue;
        cel_val x = g->op[i].in[0];
        int at = 0;
        while (at < p->n_codes && p->code[at].value != x) at++;
        if (at == p->n_codes) p->code[p->n_codes++].value = x;
        p->code[at].times++;
    }
    for (int i = 0; i < p->n_codes; i++) {
        cel_probe_code *c = &p->code[i];
        cel_shape x = cel_graph_shape(g, c->value);
        c->code = cel_sign_code(g, c->value);
        c->units = cel_shape_count(x) / (size_t)x.dim[0];
        c->words = (c->units + 63) / 64;
    }
    return CEL_OK;
}

/* The programs' targets; room for all values of the graph. */
typedef struct {
    cel_val *wrt, *grad, *target, *y;
    int n_targets, n_y;
} builder;

static cel_status build_gradients(cel_probe *p, builder *b) {
    cel_graph *g = p->graph;
    int n = p->n_layers, fisher = p->reads & CEL_READ_FISHER ? n : 0;
    for (int i = 0; i < n; i++) {
        b->wrt[i] = p->layer[i].weight;
        b->wrt[n + i] = p->layer[i].y;
    }
    CEL_TRY(cel_graph_grad(g, p->net.loss, b->wrt, n + fisher, b->grad));
    for (int i = 0; i < n; i++)
        if (b->grad[i] != CEL_NONE) b->y[b->n_y++] = b->grad[i];
    for (int i = 0; i < fisher; i++)
        if (b->grad[n + i] != CEL_NONE) p->layer[i].dot = cel_channel_dot(g, p->layer[i].y, b->grad[n + i]);
    b->target[b->n_targets++] = p->net.loss;
    if (p->reads & (CEL_READ_GRADIENT | CEL_READ_HESSIAN)) {
        memcpy(b->target + b->n_targets, b->y, (size_t)b->n_y * sizeof *b->y);
        b->n_targets += b->n_y;
    }
    if (p->reads & CEL_READ_HESSIAN) CEL_TRY(cel_graph_grad_from_all(g, b->y, b->y, b->n_y, b->wrt, n, b->grad));
    return CEL_OK;
}

/* Every parameter that PyTorch calls "weight": TE-NAS counts batch norm's too. */
static int all_weights(const cel_graph *g, cel_val *out) {
    int n = 0;
    for (int v = 0; v < g->n_values; v++) {
        size_t length = strlen(g->value[v].name);
        if (g->value[v].role == CEL_PARAM && length > 7 && !strcmp(g->value[v].name + length - 7, ".weight"))
            out[n++] = v;
    }
    return n;
}

static cel_status build_programs(cel_probe *p, builder *b) {
    cel_graph *g = p->graph;
    const cel_shape logits = cel_graph_shape(g, p->net.logits);
    int n_single = 0;
    CEL_TRY(find_layers(p));
    if (p->reads & (CEL_READ_CODES | CEL_READ_REGIONS)) CEL_TRY(find_codes(p));
    if (p->reads & CEL_READ_INPUT_GRADIENT) {
        p->ones = cel_graph_input(g, "ones", CEL_F32, CEL_BATCH, logits);
        CEL_TRY(cel_graph_grad_from(g, p->net.logits, p->ones, &p->net.x, 1, &p->dx));
        b->target[b->n_targets++] = p->dx;
    }
    if (p->reads & CEL_READ_OUTPUT_GRADIENT) {
        p->ones = cel_graph_input(g, "ones", CEL_F32, CEL_BATCH, logits);
        for (int i = 0; i < p->n_layers; i++) b->wrt[i] = p->layer[i].weight;
        CEL_TRY(cel_graph_grad_from(g, p->net.logits, p->ones, b->wrt, p->n_layers, b->target + b->n_targets));
        b->n_targets += p->n_layers;
    }
    if (p->reads & CEL_READ_NTK) {
        n_single = all_weights(g, b->wrt);
        p->pick = cel_graph_input(g, "pick", CEL_F32, CEL_BATCH, logits);
        CEL_TRY(cel_graph_grad_from(g, p->net.logits, p->pick, b->wrt, n_single, b->grad));
    } else if (p->reads & BY_WEIGHT) {
        CEL_TRY(build_gradients(p, b));
    }
    for (int i = 0; i < p->n_layers; i++) b->target[b->n_targets++] = p->layer[i].dot;
    for (int i = 0; i < p->n_codes; i++) b->target[b->n_targets++] = p->code[i].code;
    CEL_TRY(cel_graph_seal(g));
    CEL_TRY(cel_exec_create(g, p->conf->backend, p->conf->pool, &p->exec));
    cel_exec_lend(p->exec, &p->room->lender);
    if (p->reads & (FORWARD | CEL_READ_REGIONS))
        CEL_TRY(cel_exec_add_program(p->exec, CEL_MODE_TRAIN, b->target, b->n_targets, &p->forward));
    if (p->reads & CEL_READ_HESSIAN)
        CEL_TRY(cel_exec_add_program(p->exec, CEL_MODE_TRAIN, b->grad, p->n_layers, &p->second));
    if (p->reads & CEL_READ_NTK) CEL_TRY(cel_exec_add_program(p->exec, CEL_MODE_TRAIN, b->grad, n_single, &p->single));
    return CEL_OK;
}

static cel_status start(void *ctx, const cel_exec *e, int slot, uint64_t seed, float *values) {
    const cel_probe *p = ctx;
    if (p->conf->fill) return p->conf->fill(p->conf->ctx, e, slot, values);
    return cel_weights_get(p->room->weights, e, slot, p->conf->start == CEL_START_KAIMING, seed, values);
}

static cel_status prepare(cel_probe *p) {
    int n;
    p->room->lender.start = start;
    p->room->lender.ctx = p;
    CEL_TRY(cel_exec_prepare(p->exec, p->conf->seed));
    p->weights = cel_exec_params(p->exec, &p->n_floats);
    const cel_slot *slots = cel_exec_param_slots(p->exec, &n);
    for (int i = 0; i < p->n_layers; i++)
        for (int s = 0; s < n; s++)
            if (slots[s].value == p->layer[i].weight) {
                p->layer[i].param = s;
                p->layer[i].offset = slots[s].offset;
                p->layer[i].count = slots[s].count;
            }
    return CEL_OK;
}

/* ---- running ---- */

static size_t image_floats(const cel_net_shape *s) {
    return (size_t)s->channels * (size_t)s->height * (size_t)s->width;
}

static void feed(cel_probe *p, int batch) {
    const cel_probe_conf *c = p->conf;
    size_t n = (size_t)c->shape.batch;
    cel_exec_write(p->exec, p->net.x, c->images + (size_t)batch * n * image_floats(&c->shape));
    if (c->labels) cel_exec_write(p->exec, p->net.labels, c->labels + (size_t)batch * n);
}

static cel_status keep_block(cel_probe *p, float **out) {
    size_t n;
    float *grads = cel_exec_grads(p->exec, &n);
    p->borrowed = n && p->conf->n_batches == 1 && !(p->reads & CEL_READ_HESSIAN); /* nothing runs after it */
    if (p->borrowed) {
        *out = grads;
        return CEL_OK;
    }
    CEL_ALLOC(*out, p->n_floats);
    if (n) memcpy(*out, grads, n * sizeof *grads);
    return CEL_OK;
}

static cel_status read_dots(cel_probe *p) {
    for (int i = 0; i < p->n_layers; i++) {
        cel_probe_layer *l = &p->layer[i];
        CEL_ALLOC(l->dots, (size_t)p->conf->shape.batch * (size_t)l->channels);
        if (l->dot != CEL_NONE) cel_exec_read(p->exec, l->dot, l->dots);
    }
    return CEL_OK;
}

/* From 24 bits a float to 64 bits a word. */
static void pack(const float *code, size_t n_codes, uint64_t *bits, size_t words) {
    memset(bits, 0, words * sizeof *bits);
    for (size_t i = 0; i < n_codes; i++) {
        size_t at = i * CEL_SIGN_CODE_BITS, word = at / 64, shift = at % 64;
        uint64_t value = (uint64_t)(uint32_t)(int32_t)code[i];
        bits[word] |= value << shift;
        if (shift + CEL_SIGN_CODE_BITS > 64 && word + 1 < words) bits[word + 1] |= value >> (64 - shift);
    }
}

static cel_status read_codes(cel_probe *p) {
    size_t n = (size_t)p->conf->shape.batch;
    for (int i = 0; i < p->n_codes; i++) {
        cel_probe_code *c = &p->code[i];
        size_t codes = (size_t)cel_graph_shape(p->graph, c->code).dim[1];
        float *plain;
        CEL_ALLOC(plain, n * codes);
        if (!c->bits) c->bits = cel_alloc(n * c->words, sizeof *c->bits);
        if (!c->bits) {
            cel_free(plain);
            return CEL_FAIL(CEL_NOMEM, "out of memory: signs of %zu units", c->units);
        }
        cel_exec_read(p->exec, c->code, plain);
        for (size_t k = 0; k < n; k++) pack(plain + k * codes, codes, c->bits + k * c->words, c->words);
        cel_free(plain);
    }
    return CEL_OK;
}

static cel_status run_forward(cel_probe *p) {
    const cel_probe_conf *c = p->conf;
    size_t logits = cel_shape_count(cel_graph_shape(p->graph, p->net.logits));
    CEL_ALLOC(p->loss, (size_t)c->n_batches);
    CEL_ALLOC(p->gradient, (size_t)c->n_batches);
    if (p->ones != CEL_NONE) {
        float *ones;
        CEL_ALLOC(ones, logits);
        for (size_t i = 0; i < logits; i++) ones[i] = 1;
        cel_exec_write(p->exec, p->ones, ones);
        cel_free(ones);
    }
    if (p->reads & CEL_READ_INPUT_GRADIENT) {
        CEL_ALLOC(p->dinput, (size_t)c->shape.batch * image_floats(&c->shape));
    }
    for (int b = 0; b < c->n_batches; b++) {
        feed(p, b);
        cel_exec_run(p->exec, p->forward);
        if (p->reads & BY_WEIGHT) p->loss[b] = (double)cel_exec_scalar(p->exec, p->net.loss);
        if (p->reads & (CEL_READ_OUTPUT_GRADIENT | CEL_READ_GRADIENT | CEL_READ_HESSIAN))
            CEL_TRY(keep_block(p, &p->gradient[b]));
        if (b) continue;
        if (p->dinput && p->dx != CEL_NONE) cel_exec_read(p->exec, p->dx, p->dinput);
        if (p->reads & CEL_READ_FISHER) CEL_TRY(read_dots(p));
        if (p->reads & CEL_READ_CODES) CEL_TRY(read_codes(p));
        if (p->reads & CEL_READ_HESSIAN) {
            cel_exec_run(p->exec, p->second);
            CEL_TRY(keep_block(p, &p->hessian));
        }
        if (!(p->reads & CEL_READ_GRADIENT)) break;
    }
    return CEL_OK;
}

/* Condition number of the Gram matrix of the images' gradients: batch norm couples the images, so each needs a
 * backward pass of its own through all of them. */
static cel_status condition(cel_probe *p, float *rows, double *gram, float *pick, double *out) {
    size_t n = (size_t)p->conf->shape.batch, classes = (size_t)p->conf->shape.classes, size;
    for (size_t i = 0; i < n; i++) {
        memset(pick, 0, n * classes * sizeof *pick);
        for (size_t k = 0; k < classes; k++) pick[i * classes + k] = 1;
        cel_exec_write(p->exec, p->pick, pick);
        cel_exec_run(p->exec, p->single);
        const float *grads = cel_exec_grads(p->exec, &size);
        memset(rows + i * p->n_floats, 0, p->n_floats * sizeof *rows);
        memcpy(rows + i * p->n_floats, grads, size * sizeof *rows);
    }
    cel_matrix_gram(rows, (int)n, p->n_floats, gram);
    CEL_TRY(cel_matrix_eigenvalues(gram, (int)n));
    *out = gram[0] > 0 ? gram[n - 1] / gram[0] : NAN;
    return CEL_OK;
}

static cel_status run_single(cel_probe *p) {
    const cel_probe_conf *c = p->conf;
    size_t n = (size_t)c->shape.batch, size;
    int n_slots;
    const cel_slot *slots = cel_exec_param_slots(p->exec, &n_slots);
    float *params = cel_exec_params(p->exec, &size);
    float *rows = cel_alloc(n * p->n_floats, sizeof *rows);
    float *pick = cel_alloc(n * (size_t)c->shape.classes, sizeof *pick);
    double *gram = cel_alloc(n * n, sizeof *gram);
    p->ntk_value = cel_alloc((size_t)c->ntk_repeats, sizeof *p->ntk_value);
    cel_status status = CEL_OK;
    if (!rows || !pick || !gram || !p->ntk_value)
        status =
            CEL_FAIL(CEL_NOMEM, "out of memory: the gradients of %zu images; a smaller score.ntk_batch needs less", n);
    for (int r = 0; r < c->ntk_repeats && status == CEL_OK; r++) {
        feed(p, r % c->n_batches);
        for (int s = 0; s < n_slots && r && status == CEL_OK; s++)
            status = start(p, p->exec, s, c->seed + (uint64_t)r, params + slots[s].offset);
        if (status == CEL_OK) status = condition(p, rows, gram, pick, &p->ntk_value[r]);
    }
    cel_free(rows);
    cel_free(pick);
    cel_free(gram);
    return status;
}

typedef struct {
    uint64_t h[2];
} pattern;

static int by_pattern(const void *a, const void *b) {
    const pattern *x = a, *y = b;
    for (int i = 0; i < 2; i++)
        if (x->h[i] != y->h[i]) return x->h[i] < y->h[i] ? -1 : 1;
    return 0;
}

/* 128 bits stand for a pattern. */
static void add_to_pattern(pattern *p, const uint64_t *bits, size_t words) {
    for (size_t i = 0; i < words; i++) {
        p->h[0] = (p->h[0] ^ bits[i]) * UINT64_C(0x9fb21c651e98df25);
        p->h[0] ^= p->h[0] >> 29;
        p->h[1] = (p->h[1] ^ bits[i] ^ p->h[0]) * UINT64_C(0xd6e8feb86659fd93);
        p->h[1] ^= p->h[1] >> 32;
    }
}

static cel_status run_regions(cel_probe *p) {
    const cel_probe_conf *c = p->conf;
    size_t n = (size_t)c->shape.batch, total = n * (size_t)c->n_batches;
    pattern *seen;
    cel_status status = CEL_OK;
    CEL_ALLOC(seen, total);
    for (int b = 0; b < c->n_batches && status == CEL_OK; b++) {
        feed(p, b);
        cel_exec_run(p->exec, p->forward);
        status = read_codes(p);
        for (int i = 0; i < p->n_codes && status == CEL_OK; i++)
            for (size_t k = 0; k < n; k++)
                add_to_pattern(&seen[(size_t)b * n + k], p->code[i].bits + k * p->code[i].words, p->code[i].words);
    }
    qsort(seen, total, sizeof *seen, by_pattern);
    for (size_t i = 0; i < total; i++) p->regions += !i || by_pattern(&seen[i - 1], &seen[i]) != 0;
    cel_free(seen);
    return status;
}

static cel_status open_main(cel_probe *p) {
    builder b = {0};
    CEL_TRY(build_net(p));
    size_t room = 8 * (size_t)p->graph->n_values + 8;
    cel_val *list;
    CEL_ALLOC(list, room);
    b.wrt = list;
    b.grad = list + room / 4;
    b.target = list + room / 2;
    b.y = list + 3 * (room / 4);
    cel_status status = build_programs(p, &b);
    cel_free(list);
    CEL_TRY(status);
    CEL_TRY(prepare(p));
    if (p->reads & CEL_READ_REGIONS) return run_regions(p);
    if (p->reads & CEL_READ_NTK) return run_single(p);
    if (p->reads & FORWARD) return run_forward(p);
    return CEL_OK;
}

static cel_status open_one(const cel_probe_conf *conf, const cel_genotype *genotype, unsigned reads,
                           cel_probe_room *room, cel_probe **out) {
    cel_probe *p;
    CEL_ALLOC(p, 1);
    *p =
        (cel_probe){.conf = conf, .genotype = genotype, .room = room, .reads = reads, .dx = CEL_NONE, .ones = CEL_NONE};
    cel_status status = open_main(p);
    if (status != CEL_OK) {
        cel_probe_close(p);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = p;
    return CEL_OK;
}

cel_status cel_probe_open(const cel_probe_conf *conf, const cel_genotype *genotype, unsigned reads,
                          cel_probe_room *room, cel_probe **out) {
    cel_probe *p = NULL, *part = NULL;
    CEL_TRY(open_one(conf, genotype, reads & (FORWARD | CEL_READ_FLOW), room, &p));
    cel_status status = CEL_OK;
    if (reads & CEL_READ_NTK) {
        status = open_one(conf->ntk, genotype, CEL_READ_NTK, room, &part);
        if (status == CEL_OK) {
            p->ntk_value = part->ntk_value;
            part->ntk_value = NULL;
            cel_probe_close(part);
        }
    }
    if (reads & CEL_READ_REGIONS && status == CEL_OK) {
        cel_weights *weights = room->weights;
        room->weights = NULL; /* a thin network's weights go by the same names */
        status = open_one(conf->regions, genotype, CEL_READ_REGIONS, room, &part);
        room->weights = weights;
        if (status == CEL_OK) {
            p->regions = part->regions;
            cel_probe_close(part);
        }
    }
    if (status != CEL_OK) {
        cel_probe_close(p);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = p;
    return CEL_OK;
}
