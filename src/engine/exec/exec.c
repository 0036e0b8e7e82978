/* Programs, their memory, and running them; see exec.h. */
#include "engine/exec/exec.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/exec/plan.h"

enum { ALIGN = 64, SLOT_FLOATS = 16 };

typedef struct block {
    char *data;
    size_t bytes;
} block;

/* A gradient in the gradient block that a program writes: zeroed when one of its gates is off. */
typedef struct target_grad {
    size_t offset, count;
    int gate, param_gate;
} target_grad;

typedef struct program {
    cel_mode mode;
    int n_ops, n_buffers, n_tensors, n_grads;
    int *op;            /* the graph's operations, in order */
    int32_t *buffer_of; /* by value: its buffer, -1 none */
    bool *target;       /* by value */
    cel_exec_buffer *buffer;
    int *by_end; /* buffers by their last operation */
    target_grad *grad;
    size_t temp_bytes, work_bytes;
    /* made by prepare */
    cel_kernel_args *args; /* by operation */
    const cel_kernel **kernel;
    cel_tensor *tensor;
    int *tensor_gate;
} program;

struct cel_exec {
    const cel_graph *g;
    const cel_backend *backend;
    cel_pool *pool;
    const cel_exec *owner; /* of the parameters and states; NULL: this one */
    size_t *offset;        /* of inputs, parameters and states in their blocks, in bytes, by value */
    cel_slot *param, *state;
    int n_params, n_states;
    block params, grads, states, inputs, temp, work;
    program *program;
    int n_programs, last; /* the program that ran last, -1: none */
    uint8_t *gates;
    uint64_t seed, step;
    cel_exec_lender *lender;
    bool begun, prepared, poison, profiling;
    cel_profile_row *row;
    int n_rows, *row_of;    /* by operation */
    cel_stage_clock *clock; /* by worker */
};

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

static size_t value_bytes(const cel_exec *e, cel_val v) { return round_up(e->backend->bytes(&e->g->value[v]), ALIGN); }

/* ---- Construction ---- */

static cel_slot slot_of(const cel_graph *g, cel_val v, size_t offset) {
    const cel_value *value = &g->value[v];
    return (cel_slot){v, value->name, value->shape, offset, cel_shape_count(value->shape), value->gate};
}

static cel_status lay_out_blocks(cel_exec *e) {
    const cel_graph *g = e->g;
    CEL_ALLOC(e->offset, (size_t)g->n_values);
    for (int v = 0; v < g->n_values; v++) {
        e->n_params += g->value[v].role == CEL_PARAM;
        e->n_states += g->value[v].role == CEL_STATE;
    }
    CEL_ALLOC(e->param, (size_t)e->n_params);
    CEL_ALLOC(e->state, (size_t)e->n_states);
    e->n_params = e->n_states = 0;
    for (int v = 0; v < g->n_values; v++) {
        size_t slot_bytes = g->value[v].layout == CEL_FILTER
                                ? value_bytes(e, v)
                                : round_up(cel_shape_count(g->value[v].shape), SLOT_FLOATS) * sizeof(float);
        switch (g->value[v].role) {
        case CEL_PARAM:
            e->offset[v] = e->params.bytes;
            e->param[e->n_params++] = slot_of(g, v, e->params.bytes / sizeof(float));
            e->params.bytes += slot_bytes;
            break;
        case CEL_STATE:
            e->offset[v] = e->states.bytes;
            e->state[e->n_states++] = slot_of(g, v, e->states.bytes / sizeof(float));
            e->states.bytes += slot_bytes;
            break;
        case CEL_INPUT:
            e->offset[v] = e->inputs.bytes;
            e->inputs.bytes += value_bytes(e, v);
            break;
        case CEL_TEMP:
            break;
        }
    }
    return CEL_OK;
}

cel_status cel_exec_create(const cel_graph *g, const cel_backend *backend, cel_pool *pool, cel_exec **out) {
    assert(g->sealed);
    const char *reason = backend->unavailable ? backend->unavailable() : NULL;
    if (reason) return CEL_FAIL(CEL_UNSUPPORTED, "backend %s: %s", backend->name, reason);
    cel_exec *e;
    CEL_ALLOC(e, 1);
    e->g = g;
    e->backend = backend;
    e->pool = pool;
    e->last = -1;
    cel_status status = lay_out_blocks(e);
    if (status == CEL_OK) {
        e->gates = cel_alloc((size_t)g->n_gates, 1);
        if (!e->gates) status = CEL_FAIL(CEL_NOMEM, "out of memory: %d gates", g->n_gates);
    }
    if (status != CEL_OK) {
        cel_exec_destroy(e);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    memset(e->gates, 1, (size_t)g->n_gates);
    *out = e;
    return CEL_OK;
}

cel_status cel_exec_create_view(const cel_exec *owner, cel_pool *pool, cel_exec **out) {
    CEL_TRY(cel_exec_create(owner->g, owner->backend, pool, out));
    (*out)->owner = owner;
    return CEL_OK;
}

static void program_fini(program *p) {
    cel_free(p->op);
    cel_free(p->buffer_of);
    cel_free(p->target);
    cel_free(p->buffer);
    cel_free(p->by_end);
    cel_free(p->grad);
    cel_free(p->args);
    cel_free(p->kernel);
    cel_free(p->tensor);
    cel_free(p->tensor_gate);
}

static bool lent(const cel_exec *e, const block *b) { return e->lender && (b == &e->temp || b == &e->work); }

void cel_exec_destroy(cel_exec *e) {
    if (!e) return;
    for (int i = 0; i < e->n_programs; i++) program_fini(&e->program[i]);
    cel_free(e->program);
    block *blocks[] = {&e->params, &e->states, &e->grads, &e->inputs, &e->temp, &e->work};
    for (size_t i = e->owner ? 2 : 0; i < CEL_COUNT(blocks); i++)
        if (blocks[i]->data && !lent(e, blocks[i])) cel_block_free(blocks[i]->data, blocks[i]->bytes);
    cel_free(e->offset);
    cel_free(e->param);
    cel_free(e->state);
    cel_free(e->gates);
    cel_free(e->row);
    cel_free(e->row_of);
    cel_free(e->clock);
    cel_free(e);
}

const cel_graph *cel_exec_graph(const cel_exec *e) { return e->g; }

/* ---- Programs ---- */

static bool in_grad_block(const cel_exec *e, const program *p, cel_val v) {
    return p->target[v] && e->g->value[v].grad_of != CEL_NONE;
}

/* The operations that the targets need, in the graph's order; *needed by value. */
static cel_status collect_ops(cel_exec *e, program *p, bool *needed) {
    const cel_graph *g = e->g;
    for (int v = 0; v < g->n_values; v++) needed[v] = p->target[v];
    CEL_ALLOC(p->op, (size_t)g->n_ops);
    int first = g->n_ops; /* filled from the end, then moved to the front */
    for (int i = g->n_ops - 1; i >= 0; i--) {
        const cel_op *op = &g->op[i];
        bool wanted = false;
        for (int k = 0; k < op->n_out; k++) wanted |= needed[op->out[k]];
        if (!wanted) continue;
        const cel_kernel *kernel = e->backend->kernel(op->def);
        if (!kernel)
            return CEL_FAIL(CEL_UNSUPPORTED, "%s: backend %s has no kernel for %s: use another backend", op->scope,
                            e->backend->name, op->def->name);
        const char *reason = e->backend->refuses ? e->backend->refuses(g, op) : NULL;
        if (reason)
            return CEL_FAIL(CEL_UNSUPPORTED, "%s: backend %s cannot run this %s: %s", op->scope, e->backend->name,
                            op->def->name, reason);
        size_t work = kernel->work_bytes ? kernel->work_bytes(g, op, cel_pool_threads(e->pool)) : 0;
        if (work > p->work_bytes) p->work_bytes = work;
        p->op[--first] = i;
        for (int k = 0; k < op->n_in; k++)
            if (op->in[k] != CEL_NONE) needed[op->in[k]] = true;
    }
    p->n_ops = g->n_ops - first;
    memmove(p->op, p->op + first, (size_t)p->n_ops * sizeof *p->op);
    return CEL_OK;
}

/* Whether op's output 0 can take over the buffer of its input 0. */
static bool runs_in_place(const cel_exec *e, const program *p, const cel_op *op, int at, const int *last_use) {
    if (!op->def->in_place || !op->n_in || op->in[0] == CEL_NONE) return false;
    const cel_value *x = &e->g->value[op->in[0]], *y = &e->g->value[op->out[0]];
    if (p->buffer_of[op->in[0]] < 0 || last_use[op->in[0]] != at) return false;
    for (int k = 1; k < op->n_in; k++)
        if (op->in[k] == op->in[0]) return false;
    return x->dtype == y->dtype && x->layout == y->layout && cel_shape_equal(x->shape, y->shape);
}

static cel_status lay_out_temporaries(cel_exec *e, program *p, const bool *needed, int *last_use) {
    const cel_graph *g = e->g;
    int room = 0;
    for (int v = 0; v < g->n_values; v++) {
        last_use[v] = p->target[v] ? p->n_ops : -1;
        p->buffer_of[v] = -1;
    }
    for (int i = 0; i < p->n_ops; i++) {
        const cel_op *op = &g->op[p->op[i]];
        room += op->n_out;
        for (int k = 0; k < op->n_in; k++)
            if (op->in[k] != CEL_NONE && last_use[op->in[k]] < i) last_use[op->in[k]] = i;
    }
    CEL_ALLOC(p->buffer, (size_t)room);
    for (int i = 0; i < p->n_ops; i++) {
        const cel_op *op = &g->op[p->op[i]];
        for (int k = 0; k < op->n_out; k++) {
            cel_val v = op->out[k];
            if ((!needed[v] && !op->def->all_outputs) || in_grad_block(e, p, v)) continue;
            if (last_use[v] < i) last_use[v] = i;
            if (k == 0 && runs_in_place(e, p, op, i, last_use)) {
                p->buffer_of[v] = p->buffer_of[op->in[0]];
                p->buffer[p->buffer_of[v]].last = last_use[v];
            } else {
                p->buffer_of[v] = p->n_buffers;
                p->buffer[p->n_buffers++] = (cel_exec_buffer){0, value_bytes(e, v), i, last_use[v]};
            }
        }
    }
    return cel_plan_pack(p->buffer, p->n_buffers, &p->temp_bytes);
}

/* Which parameters' gradients the program writes. */
static cel_status collect_grads(cel_exec *e, program *p) {
    const cel_graph *g = e->g;
    for (int v = 0; v < g->n_values; v++) p->n_grads += in_grad_block(e, p, v);
    CEL_ALLOC(p->grad, (size_t)p->n_grads);
    p->n_grads = 0;
    for (int v = 0; v < g->n_values; v++) {
        if (!in_grad_block(e, p, v)) continue;
        const cel_value *param = &g->value[g->value[v].grad_of];
        target_grad grad = {e->offset[g->value[v].grad_of] / sizeof(float), cel_shape_count(param->shape),
                            g->value[v].gate, param->gate};
        for (int i = 0; i < p->n_grads; i++)
            if (p->grad[i].offset == grad.offset)
                return CEL_FAIL(CEL_UNSUPPORTED, "two targets of one program are gradients of %s: make two programs",
                                param->name);
        p->grad[p->n_grads++] = grad;
    }
    if (p->n_grads) e->grads.bytes = e->params.bytes;
    return CEL_OK;
}

/* Buffers by their last operation (counting sort), which is the order in which poison falls. */
static cel_status sort_by_end(program *p) {
    int *start;
    CEL_ALLOC(p->by_end, (size_t)p->n_buffers);
    CEL_ALLOC(start, (size_t)p->n_ops + 2);
    for (int i = 0; i < p->n_buffers; i++) start[p->buffer[i].last + 1]++;
    for (int i = 1; i < p->n_ops + 2; i++) start[i] += start[i - 1];
    for (int i = 0; i < p->n_buffers; i++) p->by_end[start[p->buffer[i].last]++] = i;
    cel_free(start);
    return CEL_OK;
}

static cel_status build_program(cel_exec *e, program *p, const cel_val *targets, int n, bool *needed, int *last_use) {
    size_t n_values = (size_t)e->g->n_values;
    CEL_ALLOC(p->target, n_values);
    CEL_ALLOC(p->buffer_of, n_values);
    for (int i = 0; i < n; i++) {
        if (targets[i] == CEL_NONE) continue;
        assert(targets[i] >= 0 && targets[i] < e->g->n_values);
        p->target[targets[i]] = true;
    }
    CEL_TRY(collect_ops(e, p, needed));
    CEL_TRY(lay_out_temporaries(e, p, needed, last_use));
    CEL_TRY(collect_grads(e, p));
    return sort_by_end(p);
}

cel_status cel_exec_add_program(cel_exec *e, cel_mode mode, const cel_val *targets, int n, int *out) {
    if (e->begun) return CEL_FAIL(CEL_INTERNAL, "a program was added after the executor was prepared");
    program *grown = cel_realloc(e->program, (size_t)e->n_programs, (size_t)e->n_programs + 1, sizeof *grown);
    if (!grown) return CEL_FAIL(CEL_NOMEM, "out of memory: program %d", e->n_programs);
    e->program = grown;
    program p = {.mode = mode};
    bool *needed = cel_alloc((size_t)e->g->n_values, sizeof *needed);
    int *last_use = cel_alloc((size_t)e->g->n_values, sizeof *last_use);
    cel_status status = needed && last_use ? build_program(e, &p, targets, n, needed, last_use)
                                           : CEL_FAIL(CEL_NOMEM, "out of memory: a program");
    cel_free(needed);
    cel_free(last_use);
    if (status != CEL_OK) {
        program_fini(&p);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    if (p.temp_bytes > e->temp.bytes) e->temp.bytes = p.temp_bytes;
    if (p.work_bytes > e->work.bytes) e->work.bytes = p.work_bytes;
    e->program[e->n_programs] = p;
    *out = e->n_programs++;
    return CEL_OK;
}

const cel_exec_buffer *cel_exec_buffers(const cel_exec *e, int index, int *n) {
    assert(index >= 0 && index < e->n_programs);
    *n = e->program[index].n_buffers;
    return e->program[index].buffer;
}

cel_status cel_exec_plan(cel_exec *e, cel_exec_memory *out) {
    *out = (cel_exec_memory){e->params.bytes, e->grads.bytes, e->states.bytes,
                             e->inputs.bytes, e->temp.bytes,  e->work.bytes};
    return CEL_OK;
}

/* ---- Preparation ---- */

static double fan(cel_shape s, int of) { /* of: 1 inputs, 0 outputs */
    double f = s.dim[of];
    for (int i = 2; i < s.rank; i++) f *= s.dim[i];
    return f;
}

/* x comes zeroed. */
static cel_status start(const cel_exec *e, const cel_slot *slots, int at, float *x, uint64_t seed) {
    const cel_slot *slot = &slots[at];
    cel_init init = e->g->value[slot->value].init;
    cel_rng rng = cel_rng_at(seed, slot->name, 0, 0);
    if (init == CEL_INIT_ZERO) return CEL_OK;
    if (init == CEL_INIT_ONE) {
        for (size_t i = 0; i < slot->count; i++) x[i] = 1;
        return CEL_OK;
    }
    int weight = at;
    while (init == CEL_INIT_BIAS && weight >= 0 && slots[weight].shape.rank < 2) weight--;
    if (weight < 0 || slots[weight].shape.rank < 2)
        return CEL_FAIL(CEL_SHAPE, "%s: no weight to take the fan for its first values from", slot->name);
    cel_shape shape = slots[weight].shape;
    double bound = 1 / sqrt(fan(shape, 1)), deviation = sqrt(2 / fan(shape, 0));
    for (size_t i = 0; i < slot->count; i++)
        x[i] = (float)(init == CEL_INIT_KAIMING ? deviation * cel_rng_normal(&rng)
                                                : bound * (2 * cel_rng_uniform(&rng) - 1));
    return CEL_OK;
}

static void *locate(const cel_exec *e, const program *p, cel_val v) {
    const cel_value *value = &e->g->value[v];
    switch (value->role) {
    case CEL_INPUT:
        return e->inputs.data + e->offset[v];
    case CEL_PARAM:
        return e->params.data + e->offset[v];
    case CEL_STATE:
        return e->states.data + e->offset[v];
    case CEL_TEMP:
        break;
    }
    if (in_grad_block(e, p, v)) return e->grads.data + e->offset[value->grad_of];
    return p->buffer_of[v] < 0 ? NULL : e->temp.data + p->buffer[p->buffer_of[v]].offset;
}

static cel_tensor *bind_values(cel_exec *e, program *p, const cel_val *v, int n) {
    cel_tensor *first = p->tensor + p->n_tensors;
    for (int i = 0; i < n; i++, p->n_tensors++) {
        p->tensor_gate[p->n_tensors] = -1;
        if (v[i] == CEL_NONE) continue; /* no data, not active */
        const cel_value *value = &e->g->value[v[i]];
        p->tensor[p->n_tensors] =
            (cel_tensor){locate(e, p, v[i]), value->shape, value->dtype, value->layout, true, true};
        p->tensor_gate[p->n_tensors] = value->gate;
    }
    return first;
}

static cel_status bind_program(cel_exec *e, program *p) {
    const cel_graph *g = e->g;
    size_t tensors = 0;
    for (int i = 0; i < p->n_ops; i++) tensors += (size_t)(g->op[p->op[i]].n_in + g->op[p->op[i]].n_out);
    CEL_ALLOC(p->args, (size_t)p->n_ops);
    CEL_ALLOC(p->kernel, (size_t)p->n_ops);
    CEL_ALLOC(p->tensor, tensors);
    CEL_ALLOC(p->tensor_gate, tensors);
    for (int i = 0; i < p->n_ops; i++) {
        const cel_op *op = &g->op[p->op[i]];
        p->kernel[i] = e->backend->kernel(op->def);
        cel_tensor *in = bind_values(e, p, op->in, op->n_in);
        cel_tensor *out = bind_values(e, p, op->out, op->n_out);
        for (int k = 0; k < op->n_out; k++) {
            int buffer = p->buffer_of[op->out[k]];
            out[k].wanted = out[k].data && (buffer < 0 || p->buffer[buffer].last > i);
        }
        p->args[i] = (cel_kernel_args){.op = op,
                                       .in = in,
                                       .out = out,
                                       .n_in = op->n_in,
                                       .n_out = op->n_out,
                                       .gates = e->gates,
                                       .mode = p->mode,
                                       .pool = e->pool,
                                       .work = e->work.data};
    }
    return CEL_OK;
}

static cel_status make_rows(cel_exec *e) {
    CEL_ALLOC(e->row_of, (size_t)e->g->n_ops);
    CEL_ALLOC(e->row, (size_t)e->g->n_ops);
    CEL_ALLOC(e->clock, (size_t)cel_pool_threads(e->pool));
    for (int i = 0; i < e->g->n_ops; i++) e->row_of[i] = -1;
    for (int k = 0; k < e->n_programs; k++) {
        for (int i = 0; i < e->program[k].n_ops; i++) {
            int op = e->program[k].op[i];
            if (e->row_of[op] >= 0) continue;
            e->row_of[op] = e->n_rows;
            e->row[e->n_rows++] = (cel_profile_row){.op = &e->g->op[op]};
        }
    }
    return CEL_OK;
}

cel_status cel_exec_start(const cel_exec *e, int slot, uint64_t seed, float *values) {
    memset(values, 0, e->param[slot].count * sizeof *values);
    return start(e, e->param, slot, values, seed);
}

static cel_status start_param(cel_exec *e, int slot, uint64_t seed) {
    float *x = (float *)e->params.data + e->param[slot].offset;
    if (e->lender && e->lender->start) return e->lender->start(e->lender->ctx, e, slot, seed, x);
    return start(e, e->param, slot, x, seed);
}

void cel_exec_lend(cel_exec *e, cel_exec_lender *lender) {
    assert(!e->begun);
    e->lender = lender;
}

static cel_status borrow(cel_exec *e) {
    cel_exec_lender *l = e->lender;
    size_t temp = round_up(e->temp.bytes, ALIGN), bytes = temp + e->work.bytes;
    if (l->bytes < bytes) {
        size_t room = bytes > 2 * l->bytes ? bytes : 2 * l->bytes; /* what is not needed is never touched */
        cel_block_free(l->memory, l->bytes);
        l->memory = cel_block_reserve(room);
        l->bytes = l->memory ? room : 0;
        if (!l->memory)
            return CEL_FAIL(CEL_NOMEM,
                            "out of memory: %zu bytes for tensors; a smaller batch or fewer channels need less", bytes);
    }
    e->temp.data = l->memory;
    e->work.data = e->temp.data + temp;
    return CEL_OK;
}

cel_status cel_exec_prepare(cel_exec *e, uint64_t seed) {
    if (e->begun) return CEL_FAIL(CEL_INTERNAL, "the executor was prepared before");
    e->begun = true;
    block *blocks[] = {&e->params, &e->states, &e->grads, &e->inputs, &e->temp, &e->work};
    if (e->owner) {
        assert(e->owner->prepared);
        e->params = e->owner->params;
        e->states = e->owner->states;
    }
    for (size_t i = e->owner ? 2 : 0; i < CEL_COUNT(blocks); i++) {
        if (lent(e, blocks[i])) continue;
        blocks[i]->data = cel_block_alloc(blocks[i]->bytes);
        if (!blocks[i]->data)
            return CEL_FAIL(CEL_NOMEM,
                            "out of memory: %zu bytes for tensors; a smaller batch or fewer channels need less",
                            blocks[i]->bytes);
    }
    if (e->lender) CEL_TRY(borrow(e));
    for (int i = 0; i < e->n_programs; i++) CEL_TRY(bind_program(e, &e->program[i]));
    CEL_TRY(make_rows(e));
    for (int i = 0; i < e->n_params && !e->owner; i++) CEL_TRY(start_param(e, i, seed));
    for (int i = 0; i < e->n_states && !e->owner; i++)
        CEL_TRY(start(e, e->state, i, (float *)e->states.data + e->state[i].offset, seed));
    const char *poison = getenv("CELLAR_POISON");
    e->poison = poison && !strcmp(poison, "1");
    e->prepared = true;
    cel_exec_set_gates(e, e->gates, 0);
    return CEL_OK;
}

/* ---- Running ---- */

void cel_exec_write(cel_exec *e, cel_val v, const void *plain) {
    assert(e->prepared && v >= 0 && v < e->g->n_values && e->g->value[v].role != CEL_TEMP);
    e->backend->pack(&e->g->value[v], plain, locate(e, NULL, v), e->pool);
}

static bool gate_on(const cel_exec *e, int gate) { return gate < 0 || e->gates[gate]; }

void cel_exec_read(cel_exec *e, cel_val v, void *plain) {
    assert(e->prepared && v >= 0 && v < e->g->n_values);
    const cel_value *value = &e->g->value[v];
    const program *p = e->last < 0 ? NULL : &e->program[e->last];
    assert(value->role != CEL_TEMP || (p && p->target[v]));
    if (value->role == CEL_TEMP && !gate_on(e, value->gate))
        memset(plain, 0, cel_shape_count(value->shape) * 4);
    else
        e->backend->unpack(value, locate(e, p, v), plain, e->pool);
}

float cel_exec_scalar(cel_exec *e, cel_val v) {
    assert(cel_shape_count(e->g->value[v].shape) == 1 && e->g->value[v].dtype == CEL_F32);
    float x;
    cel_exec_read(e, v, &x);
    return x;
}

void cel_exec_set_gates(cel_exec *e, const uint8_t *active, int n) {
    assert(e->prepared && n >= 0 && n <= e->g->n_gates);
    for (int i = 0; i < n; i++) e->gates[i] = active[i] != 0;
    for (int k = 0; k < e->n_programs; k++) {
        program *p = &e->program[k];
        for (int i = 0; i < p->n_tensors; i++)
            if (p->tensor_gate[i] >= 0) p->tensor[i].active = e->gates[p->tensor_gate[i]];
    }
}

void cel_exec_set_step(cel_exec *e, uint64_t seed, uint64_t step) {
    e->seed = seed;
    e->step = step;
}

static void count_call(cel_exec *e, const cel_kernel_args *a, int op, double seconds) {
    cel_profile_row *row = &e->row[e->row_of[op]];
    double staged = 0;
    row->calls++;
    row->seconds += seconds;
    for (int w = 0; w < cel_pool_threads(e->pool); w++)
        for (int s = 0; s < CEL_STAGE_COUNT; s++) {
            const cel_stage_time *t = &e->clock[w].stage[s];
            row->stage[s].seconds += t->seconds;
            row->stage[s].flops += t->flops;
            row->stage[s].bytes += t->bytes;
            staged += t->flops;
        }
    if (staged > 0)
        row->flops += staged;
    else if (a->op->def->flops)
        row->flops += a->op->def->flops(e->g, a->op, e->gates);
    for (int i = 0; i < a->n_in; i++)
        if (a->in[i].active) row->bytes += (double)e->backend->bytes(&e->g->value[a->op->in[i]]);
    for (int i = 0; i < a->n_out; i++)
        if (a->out[i].data) row->bytes += (double)e->backend->bytes(&e->g->value[a->op->out[i]]);
}

static void poison(void *data, size_t bytes) { memset(data, 0xff, bytes); /* a NaN in every float */ }

static void run_op(cel_exec *e, program *p, int i) {
    cel_kernel_args *a = &p->args[i];
    a->seed = e->seed;
    a->step = e->step;
    if (e->poison) poison(e->work.data, e->work.bytes);
    double began = 0;
    a->clock = e->profiling ? e->clock : NULL;
    if (e->profiling) {
        memset(e->clock, 0, (size_t)cel_pool_threads(e->pool) * sizeof *e->clock);
        began = cel_clock_s();
    }
    p->kernel[i]->run(a);
    if (e->profiling) count_call(e, a, p->op[i], cel_clock_s() - began);
}

void cel_exec_run(cel_exec *e, int index) {
    assert(e->prepared && index >= 0 && index < e->n_programs);
    program *p = &e->program[index];
    float *grads = (float *)e->grads.data;
    int dead = 0;
    e->last = index;
    if (e->poison) {
        poison(e->temp.data, e->temp.bytes);
        for (int i = 0; i < p->n_grads; i++) poison(grads + p->grad[i].offset, p->grad[i].count * sizeof(float));
    }
    for (int i = 0; i < p->n_ops; i++) {
        if (gate_on(e, p->args[i].op->gate)) run_op(e, p, i);
        for (; e->poison && dead < p->n_buffers && p->buffer[p->by_end[dead]].last <= i; dead++) {
            const cel_exec_buffer *b = &p->buffer[p->by_end[dead]];
            poison(e->temp.data + b->offset, b->bytes);
        }
    }
    for (int i = 0; i < p->n_grads; i++)
        if (!gate_on(e, p->grad[i].gate) || !gate_on(e, p->grad[i].param_gate))
            memset(grads + p->grad[i].offset, 0, p->grad[i].count * sizeof(float));
}

float *cel_exec_params(cel_exec *e, size_t *n) {
    *n = e->params.bytes / sizeof(float);
    return (float *)e->params.data;
}

float *cel_exec_grads(cel_exec *e, size_t *n) {
    *n = e->grads.bytes / sizeof(float);
    return (float *)e->grads.data;
}

float *cel_exec_states(cel_exec *e, size_t *n) {
    *n = e->states.bytes / sizeof(float);
    return (float *)e->states.data;
}

const cel_slot *cel_exec_param_slots(const cel_exec *e, int *n) {
    *n = e->n_params;
    return e->param;
}

const cel_slot *cel_exec_state_slots(const cel_exec *e, int *n) {
    *n = e->n_states;
    return e->state;
}

void cel_exec_profile(cel_exec *e, bool on) {
    assert(e->prepared);
    for (int i = 0; on && i < e->n_rows; i++) e->row[i] = (cel_profile_row){.op = e->row[i].op};
    e->profiling = on;
}

const cel_profile_row *cel_exec_profile_rows(const cel_exec *e, int *n) {
    *n = e->n_rows;
    return e->row;
}
