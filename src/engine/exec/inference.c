/* Folding a network for inference and running it; see inference.h. */
#include "engine/exec/inference.h"

#include <assert.h>
#include <math.h>

#include "engine/op/attr.h"

/* A value that is copied as it is, or a convolution with the batch norm behind it (-1: none). */
typedef struct leaf {
    cel_val from, to;
} leaf;
typedef struct fold {
    cel_val w, filter, bias; /* filter, bias: of the folded graph */
    int norm;
} fold;

struct cel_inference {
    const cel_graph *source;
    cel_graph *g;
    cel_pool *pool;
    cel_val x, y; /* of g */
    size_t x_count, y_count;
    int program, n_views, n_leaves, n_folds;
    leaf *leaf;
    fold *fold;
    cel_exec *whole, **view; /* all threads at one image; a thread each */
};

/* ---- The folded graph ---- */

typedef struct builder {
    cel_inference *f;
    const cel_graph *from;
    bool *needed;
    int *uses, *user;     /* by value: how many of the needed operations read it, and one of them */
    cel_val *to;          /* by value: its copy; NONE: not made yet */
    cel_val *relu, *pool; /* by value of the copy: its ReLU, or what its average pooling gave, by `pooled` */
    const cel_op **pooled;
    int *waiting; /* by value: the convolution that its sum will make, -1 none */
    int room;
} builder;

static cel_status refuse(const cel_op *op, const char *why) {
    return CEL_FAIL(CEL_UNSUPPORTED, "%s: %s cannot be made ready for inference: %s", op->scope, op->def->name, why);
}

/* Dropout and drop-path give their first input in evaluation. */
static bool drops(const cel_graph *g, const cel_op *op) {
    if (op->def == &cel_op_dropout) return true;
    if (op->def != &cel_op_scale_samples) return false;
    int mask = g->value[op->in[1]].op;
    return mask >= 0 && g->op[mask].def == &cel_op_drop_mask;
}

static cel_status find_needed(builder *b, cel_val y) {
    const cel_graph *g = b->from;
    b->needed[y] = true;
    b->uses[y]++; /* the caller */
    b->user[y] = -1;
    for (int i = g->n_ops - 1; i >= 0; i--) {
        const cel_op *op = &g->op[i];
        bool wanted = false;
        for (int k = 0; k < op->n_out; k++) wanted |= b->needed[op->out[k]];
        if (!wanted) continue;
        if (op->gate >= 0) return refuse(op, "it is under a gate; take the network of a genotype");
        for (int k = 0; k < (drops(g, op) ? 1 : op->n_in); k++) {
            if (op->in[k] == CEL_NONE) continue;
            b->needed[op->in[k]] = true;
            b->uses[op->in[k]]++;
            b->user[op->in[k]] = i;
        }
    }
    return CEL_OK;
}

/* The only operation that reads v, NULL: none or several. */
static const cel_op *only_user(const builder *b, cel_val v) {
    return b->uses[v] == 1 && b->user[v] >= 0 ? &b->from->op[b->user[v]] : NULL;
}

/* One group, or one for each channel. */
static bool foldable(const builder *b, const cel_op *op) {
    if (op->def != &cel_op_conv2d) return false;
    int groups = ((const cel_conv2d_attr *)op->attr)->groups;
    cel_shape w = b->from->value[op->in[1]].shape;
    return groups == 1 || (w.dim[0] == groups && w.dim[1] == 1);
}

static bool norm_folds(const cel_op *norm) {
    return norm && norm->def == &cel_op_batch_norm && !((const cel_batch_norm_attr *)norm->attr)->use_batch;
}

/* The copy of an input, parameter or state; op reads it. */
static cel_status copy_leaf(builder *b, cel_val v, const cel_op *op) {
    cel_inference *f = b->f;
    const cel_value *value = &b->from->value[v];
    if (b->to[v] != CEL_NONE) return CEL_OK;
    if (value->role == CEL_INPUT) return refuse(op, "it reads an input beside the images");
    b->to[v] = value->role == CEL_PARAM ? cel_graph_param(f->g, value->name, value->shape, CEL_INIT_ZERO)
                                        : cel_graph_state(f->g, value->name, value->shape, CEL_INIT_ZERO);
    f->leaf[f->n_leaves++] = (leaf){v, b->to[v]};
    return CEL_OK;
}

/* The folded form of convolution `conv` with its norm, plus the terms; y takes the place of what it made. */
static cel_val emit_fold(builder *b, int conv, const cel_val *terms, int n_terms) {
    cel_inference *f = b->f;
    const cel_op *op = &b->from->op[conv];
    const cel_op *norm = only_user(b, op->out[0]);
    const cel_value *w = &b->from->value[op->in[1]];
    fold *fd = &f->fold[f->n_folds++];
    cel_graph_push(f->g, "%s", w->name);
    *fd = (fold){.w = op->in[1],
                 .filter = cel_graph_filter(f->g, "folded", w->shape),
                 .bias = cel_graph_param(f->g, "bias", CEL_SHAPE(w->shape.dim[0]), CEL_INIT_ZERO),
                 .norm = norm_folds(norm) ? (int)(norm - b->from->op) : -1};
    cel_folded y = cel_conv2d_folded(f->g, b->to[op->in[0]], fd->filter, fd->bias, terms, n_terms,
                                     *(const cel_conv2d_attr *)op->attr);
    cel_graph_pop(f->g);
    if (y.y != CEL_NONE) b->relu[y.y] = y.relu;
    return y.y;
}

static cel_status copy_sum(builder *b, const cel_op *op) {
    cel_val term[CEL_FOLDED_MAX_TERMS];
    int n = 0, n_waiting = 0;
    if (op->n_in > CEL_FOLDED_MAX_TERMS) return refuse(op, "it has too many terms");
    for (int k = 0; k < op->n_in; k++) {
        if (b->waiting[op->in[k]] >= 0)
            n_waiting++;
        else
            term[n++] = b->to[op->in[k]];
    }
    if (!n_waiting) {
        b->to[op->out[0]] = n == 1 ? term[0] : cel_add(b->f->g, term, n);
        return CEL_OK;
    }
    for (int k = 0; k < op->n_in; k++) {
        if (b->waiting[op->in[k]] < 0) continue;
        term[0] = emit_fold(b, b->waiting[op->in[k]], term, n);
        n = 1;
    }
    b->to[op->out[0]] = term[0];
    return CEL_OK;
}

/* Any other operation, as it is. Attributes stay those of the source, which outlives the copy. */
static cel_status copy_op(builder *b, const cel_op *op) {
    cel_val in[CEL_FOLDED_MAX_TERMS];
    if (op->n_in > CEL_FOLDED_MAX_TERMS) return refuse(op, "it has too many inputs");
    if (op->def == &cel_op_batch_norm && ((const cel_batch_norm_attr *)op->attr)->use_batch)
        return refuse(op, "it normalises with the batch's statistics, so an image has no answer of its own");
    for (int k = 0; k < op->n_in; k++) {
        in[k] = CEL_NONE;
        if (op->in[k] == CEL_NONE) continue;
        if (b->from->value[op->in[k]].role != CEL_TEMP) CEL_TRY(copy_leaf(b, op->in[k], op));
        in[k] = b->to[op->in[k]];
    }
    int made = cel_graph_add(b->f->g, op->def, in, op->n_in, op->attr, 0);
    if (made < 0) return CEL_OK; /* sealing tells */
    b->f->g->op[made].attr = op->attr;
    b->f->g->op[made].scope = op->scope;
    for (int k = 0; k < op->n_out; k++) b->to[op->out[k]] = b->f->g->op[made].out[k];
    return CEL_OK;
}

static bool same_pool(const cel_op *a, const cel_op *b) {
    const cel_pool2d_attr *p = a->attr, *q = b->attr;
    return p->kernel == q->kernel && p->stride == q->stride && p->pad == q->pad;
}

static cel_status copy_one(builder *b, int index) {
    const cel_op *op = &b->from->op[index];
    cel_val x = op->n_in && op->in[0] != CEL_NONE ? b->to[op->in[0]] : CEL_NONE, y = op->out[0];
    if (foldable(b, op)) {
        const cel_op *norm = only_user(b, y), *sum;
        cel_val made = norm_folds(norm) ? norm->out[0] : y; /* what the folded form stands for */
        sum = only_user(b, made);
        if (sum && sum->def == &cel_op_add)
            b->waiting[made] = index;
        else
            b->to[made] = emit_fold(b, index, NULL, 0);
        return CEL_OK;
    }
    if (norm_folds(op) && b->from->value[op->in[0]].op >= 0) {
        const cel_op *conv = &b->from->op[b->from->value[op->in[0]].op];
        if (foldable(b, conv) && only_user(b, conv->out[0]) == op) return CEL_OK; /* folded already */
    }
    if (op->def == &cel_op_add) return copy_sum(b, op);
    if (drops(b->from, op)) {
        b->to[y] = x;
        return CEL_OK;
    }
    if (x == CEL_NONE || (op->def != &cel_op_relu && op->def != &cel_op_avg_pool)) return copy_op(b, op);
    if (op->def == &cel_op_relu && b->relu[x] != CEL_NONE) {
        b->to[y] = b->relu[x];
        return CEL_OK;
    }
    if (op->def == &cel_op_avg_pool && b->pooled[x] && same_pool(b->pooled[x], op)) {
        b->to[y] = b->pool[x];
        return CEL_OK;
    }
    CEL_TRY(copy_op(b, op));
    if (op->def == &cel_op_relu) {
        b->relu[x] = b->to[y];
    } else {
        b->pool[x] = b->to[y];
        b->pooled[x] = op;
    }
    return CEL_OK;
}

static cel_status build(builder *b, cel_val x, cel_val y) {
    const cel_graph *g = b->from;
    cel_inference *f = b->f;
    size_t n = (size_t)g->n_values;
    b->room = 2 * g->n_values + 2 * g->n_ops + 16; /* values that the copy can have */
    CEL_ALLOC(b->needed, n);
    CEL_ALLOC(b->uses, n);
    CEL_ALLOC(b->user, n);
    CEL_ALLOC(b->to, n);
    CEL_ALLOC(b->waiting, n);
    CEL_ALLOC(b->relu, (size_t)b->room);
    CEL_ALLOC(b->pool, (size_t)b->room);
    CEL_ALLOC(b->pooled, (size_t)b->room);
    CEL_ALLOC(f->leaf, n);
    CEL_ALLOC(f->fold, (size_t)g->n_ops);
    for (size_t i = 0; i < n; i++) b->to[i] = b->waiting[i] = CEL_NONE;
    for (int i = 0; i < b->room; i++) b->relu[i] = b->pool[i] = CEL_NONE;
    CEL_TRY(find_needed(b, y));
    cel_shape shape = g->value[x].shape;
    shape.dim[0] = 1;
    b->to[x] = f->x = cel_graph_input(f->g, g->value[x].name, CEL_F32, CEL_BATCH, shape);
    for (int i = 0; i < g->n_ops; i++) {
        bool wanted = false;
        for (int k = 0; k < g->op[i].n_out; k++) wanted |= b->needed[g->op[i].out[k]];
        if (wanted) CEL_TRY(copy_one(b, i));
    }
    f->y = b->to[y];
    CEL_TRY(cel_graph_seal(f->g));
    f->x_count = cel_shape_count(cel_graph_shape(f->g, f->x));
    f->y_count = cel_shape_count(cel_graph_shape(f->g, f->y));
    return CEL_OK;
}

static cel_status fold_graph(cel_inference *f, cel_val x, cel_val y) {
    builder b = {.f = f, .from = f->source};
    cel_status status = build(&b, x, y);
    cel_free(b.needed);
    cel_free(b.uses);
    cel_free(b.user);
    cel_free(b.to);
    cel_free(b.waiting);
    cel_free(b.relu);
    cel_free(b.pool);
    cel_free(b.pooled);
    return status;
}

/* ---- Its executors ---- */

static cel_status make_execs(cel_inference *f, const cel_backend *backend) {
    f->n_views = cel_pool_threads(f->pool) > 1 ? cel_pool_threads(f->pool) : 0;
    CEL_TRY(cel_exec_create(f->g, backend, f->pool, &f->whole));
    CEL_TRY(cel_exec_add_program(f->whole, CEL_MODE_EVAL, &f->y, 1, &f->program));
    CEL_TRY(cel_exec_prepare(f->whole, 0));
    CEL_ALLOC(f->view, (size_t)f->n_views);
    for (int i = 0; i < f->n_views; i++) {
        int program;
        CEL_TRY(cel_exec_create_view(f->whole, NULL, &f->view[i]));
        CEL_TRY(cel_exec_add_program(f->view[i], CEL_MODE_EVAL, &f->y, 1, &program));
        assert(program == f->program);
        CEL_TRY(cel_exec_prepare(f->view[i], 0));
    }
    return CEL_OK;
}

cel_status cel_inference_create(const cel_graph *g, cel_val x, cel_val y, const cel_backend *backend, cel_pool *pool,
                                cel_inference **out) {
    assert(g->sealed && g->value[x].role == CEL_INPUT && g->value[x].shape.rank == 4);
    assert(g->value[y].role == CEL_TEMP && g->value[y].layout == CEL_BATCH && g->value[y].dtype == CEL_F32);
    const char *reason = backend->unavailable();
    if (reason) return CEL_FAIL(CEL_UNSUPPORTED, "backend %s: %s", backend->name, reason);
    cel_inference *f;
    CEL_ALLOC(f, 1);
    f->source = g;
    f->pool = pool;
    cel_status status = cel_graph_create(&f->g);
    if (status == CEL_OK) status = fold_graph(f, x, y);
    if (status == CEL_OK) status = make_execs(f, backend->inference ? backend->inference : backend);
    if (status != CEL_OK) {
        cel_inference_destroy(f);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = f;
    return CEL_OK;
}

void cel_inference_destroy(cel_inference *f) {
    if (!f) return;
    for (int i = 0; i < f->n_views && f->view; i++) cel_exec_destroy(f->view[i]);
    cel_exec_destroy(f->whole);
    cel_graph_destroy(f->g);
    cel_free(f->view);
    cel_free(f->leaf);
    cel_free(f->fold);
    cel_free(f);
}

/* ---- Numbers ---- */

/* scale and shift of the norm over c channels, ones and zeros without one. */
static void norm_line(cel_exec *e, const cel_op *norm, int c, float *read, double *scale, double *shift) {
    enum { GAMMA = 1, BETA, MEAN, VAR };
    const cel_batch_norm_attr *attr = norm ? norm->attr : NULL;
    for (int i = 0; i < c; i++) scale[i] = 1, shift[i] = 0;
    if (!norm) return;
    cel_exec_read(e, norm->in[VAR], read);
    for (int i = 0; i < c; i++) scale[i] = 1 / sqrt((double)read[i] + attr->eps);
    if (norm->in[GAMMA] != CEL_NONE) {
        cel_exec_read(e, norm->in[GAMMA], read);
        for (int i = 0; i < c; i++) scale[i] *= read[i];
    }
    cel_exec_read(e, norm->in[MEAN], read);
    for (int i = 0; i < c; i++) shift[i] = -scale[i] * read[i];
    if (norm->in[BETA] != CEL_NONE) {
        cel_exec_read(e, norm->in[BETA], read);
        for (int i = 0; i < c; i++) shift[i] += read[i];
    }
}

static void load_fold(cel_inference *f, cel_exec *e, const fold *fd, float *weight, float *read, double *line) {
    cel_shape shape = f->source->value[fd->w].shape;
    int c = shape.dim[0];
    size_t each = cel_shape_count(shape) / (size_t)c;
    double *scale = line, *shift = line + c;
    norm_line(e, fd->norm < 0 ? NULL : &f->source->op[fd->norm], c, read, scale, shift);
    cel_exec_read(e, fd->w, weight);
    for (int o = 0; o < c; o++) {
        for (size_t i = 0; i < each; i++)
            weight[(size_t)o * each + i] = (float)(scale[o] * weight[(size_t)o * each + i]);
        read[o] = (float)shift[o];
    }
    cel_exec_write(f->whole, fd->filter, weight);
    cel_exec_write(f->whole, fd->bias, read);
}

cel_status cel_inference_load(cel_inference *f, cel_exec *e) {
    size_t most = 1, channels = 1;
    for (int i = 0; i < f->n_leaves; i++) {
        size_t count = cel_shape_count(f->source->value[f->leaf[i].from].shape);
        if (count > most) most = count;
    }
    for (int i = 0; i < f->n_folds; i++) {
        cel_shape shape = f->source->value[f->fold[i].w].shape;
        if (cel_shape_count(shape) > most) most = cel_shape_count(shape);
        if ((size_t)shape.dim[0] > channels) channels = (size_t)shape.dim[0];
    }
    float *plain = cel_alloc(most, sizeof *plain), *read = cel_alloc(channels, sizeof *read);
    double *line = cel_alloc(2 * channels, sizeof *line);
    bool room = plain && read && line;
    for (int i = 0; room && i < f->n_leaves; i++) {
        cel_exec_read(e, f->leaf[i].from, plain);
        cel_exec_write(f->whole, f->leaf[i].to, plain);
    }
    for (int i = 0; room && i < f->n_folds; i++) load_fold(f, e, &f->fold[i], plain, read, line);
    cel_free(plain);
    cel_free(read);
    cel_free(line);
    return room ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory: a weight of %zu floats", most);
}

/* ---- Running ---- */

typedef struct images {
    cel_inference *f;
    const float *x;
    float *y;
} images;

static void ask(const images *all, cel_exec *e, int i) {
    const cel_inference *f = all->f;
    cel_exec_write(e, f->x, all->x + (size_t)i * f->x_count);
    cel_exec_run(e, f->program);
    cel_exec_read(e, f->y, all->y + (size_t)i * f->y_count);
}

static void ask_alone(void *ctx, int image, int worker) {
    const images *all = ctx;
    ask(all, all->f->view[worker], image);
}

void cel_inference_run(cel_inference *f, const float *x, int n, float *y) {
    images all = {f, x, y};
    if (f->n_views && n >= f->n_views) {
        cel_pool_run(f->pool, n, ask_alone, &all);
        return;
    }
    for (int i = 0; i < n; i++) ask(&all, f->whole, i);
}

size_t cel_inference_bytes(const cel_inference *f) {
    size_t total = 0;
    for (int i = -1; i < f->n_views; i++) {
        cel_exec_memory m;
        if (cel_exec_plan(i < 0 ? f->whole : f->view[i], &m) != CEL_OK) continue;
        total += m.input_bytes + m.temp_bytes + m.work_bytes + (i < 0 ? m.param_bytes + m.state_bytes : 0);
    }
    return total;
}

cel_exec *cel_inference_exec(cel_inference *f, int *program) {
    *program = f->program;
    return f->whole;
}
