/* From the network of one stage to that of the next; see cel_supernet_pack in supernet.h. */
#include <stdio.h>
#include <string.h>

#include "nas/search/supernet.h"

void cel_widen_draw_random(void *ctx, const char *layer, bool in, int have, int32_t *index, int n) {
    const cel_widen_seed *from = ctx;
    char name[300];
    snprintf(name, sizeof name, "widen.%s:%s", in ? "in" : "out", layer);
    cel_rng rng = cel_rng_at(from->seed, name, (uint64_t)from->stage, 0);
    for (int i = 0; i < n; i++) index[i] = (int32_t)cel_rng_below(&rng, (uint32_t)have);
}

/* Slots of one kind, and their numbers one block after another. */
typedef struct pile {
    cel_slot *slot; /* names in the luggage's arena */
    int n, n_blocks;
    size_t n_floats; /* of a block */
    float *block[2];
} pile;

struct cel_luggage {
    cel_arena names;
    pile params, states; /* weights and momentum; statistics */
};

static cel_status pack(cel_luggage *luggage, pile *p, const cel_slot *slots, int n, size_t n_floats,
                       const float *const *blocks, int n_blocks) {
    p->n_floats = n_floats;
    CEL_ALLOC(p->slot, (size_t)n);
    for (p->n = 0; p->n < n; p->n++) {
        p->slot[p->n] = slots[p->n];
        p->slot[p->n].name = cel_arena_strdup(&luggage->names, slots[p->n].name);
        if (!p->slot[p->n].name) return CEL_FAIL(CEL_NOMEM, "out of memory: names of weights");
    }
    for (; p->n_blocks < n_blocks; p->n_blocks++) {
        float *copy = cel_block_alloc(n_floats * sizeof *copy + 1);
        if (!copy) return CEL_FAIL(CEL_NOMEM, "out of memory: %zu bytes of weights", n_floats * sizeof *copy);
        memcpy(copy, blocks[p->n_blocks], n_floats * sizeof *copy);
        p->block[p->n_blocks] = copy;
    }
    return CEL_OK;
}

static void pile_fini(pile *p) {
    for (int b = 0; b < p->n_blocks; b++) cel_block_free(p->block[b], p->n_floats * sizeof(float) + 1);
    cel_free(p->slot);
}

cel_status cel_supernet_pack(const cel_supernet *net, cel_luggage **out) {
    cel_luggage *luggage;
    CEL_ALLOC(luggage, 1);
    int n, n_states;
    size_t size, states_size;
    const cel_slot *slots = cel_exec_param_slots(net->exec, &n), *states = cel_exec_state_slots(net->exec, &n_states);
    const float *params[] = {cel_exec_params(net->exec, &size), net->momentum};
    const float *statistics[] = {cel_exec_states(net->exec, &states_size)};
    cel_status status = pack(luggage, &luggage->params, slots, n, size, params, 2);
    if (status == CEL_OK) status = pack(luggage, &luggage->states, states, n_states, states_size, statistics, 1);
    if (status != CEL_OK) {
        cel_luggage_destroy(luggage);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = luggage;
    return CEL_OK;
}

void cel_luggage_destroy(cel_luggage *luggage) {
    if (!luggage) return;
    pile_fini(&luggage->params);
    pile_fini(&luggage->states);
    cel_arena_fini(&luggage->names);
    cel_free(luggage);
}

typedef struct carry {
    const cel_supernet *to;
    cel_widen_draw *draw;
    void *ctx;
    int32_t *index[2]; /* source channel of each new one, along outputs and inputs */
    int room;
} carry;

/* index: 0 .. have-1, then the drawn ones. */
static cel_status channels(carry *c, const char *name, const char *layer, bool in, int have, int want) {
    int32_t *index = c->index[in];
    for (int i = 0; i < have && i < want; i++) index[i] = i;
    if (want == have) return CEL_OK;
    if (want < have || !layer[0])
        return CEL_FAIL(CEL_INTERNAL, "%s: %d channels become %d, which the space does not widen", name, have, want);
    c->draw(c->ctx, layer, in, have, index + have, want - have);
    for (int i = have; i < want; i++)
        if (index[i] < 0 || index[i] >= have)
            return CEL_FAIL(CEL_SHAPE, "%s: channel %d to copy, expected 0 to %d", name, index[i], have - 1);
    return CEL_OK;
}

static cel_status carry_one(carry *c, const cel_slot *old, const cel_slot *new, float *const *from, float *const *to,
                            int n_blocks) {
    char out_layer[256] = "", in_layer[256] = "";
    int rank = new->shape.rank;
    if (old->shape.rank != rank) return CEL_FAIL(CEL_INTERNAL, "%s: its rank changes", new->name);
    for (int d = 2; d < rank; d++)
        if (old->shape.dim[d] != new->shape.dim[d])
            return CEL_FAIL(CEL_INTERNAL, "%s: dimension %d changes from %d to %d", new->name, d, old->shape.dim[d],
                            new->shape.dim[d]);
    int out = rank > 0 ? new->shape.dim[0] : 1, in = rank > 1 ? new->shape.dim[1] : 1;
    int old_out = rank > 0 ? old->shape.dim[0] : 1, old_in = rank > 1 ? old->shape.dim[1] : 1;
    if (out != old_out || in != old_in) c->to->space->widened(new->name, out_layer, in_layer);
    CEL_TRY(channels(c, new->name, in_layer, true, old_in, in));
    CEL_TRY(channels(c, new->name, out_layer, false, old_out, out));
    size_t inner = new->count / ((size_t)out * (size_t)in);
    for (int b = 0; b < n_blocks; b++)
        for (int o = 0; o < out; o++)
            for (int i = 0; i < in; i++) {
                size_t source = (size_t)c->index[0][o] * (size_t)old_in + (size_t)c->index[1][i];
                memcpy(to[b] + new->offset + ((size_t)o * (size_t)in + (size_t)i) * inner,
                       from[b] + old->offset + source * inner, inner * sizeof(float));
            }
    return CEL_OK;
}

static cel_status carry_slots(carry *c, const pile *old, const cel_slot *new, int n_new, float *const *to) {
    for (int i = 0; i < n_new; i++) {
        int k = 0;
        while (k < old->n && strcmp(old->slot[k].name, new[i].name)) k++;
        if (k == old->n) return CEL_FAIL(CEL_INTERNAL, "%s is new: a stage may only drop operations", new[i].name);
        CEL_TRY(carry_one(c, &old->slot[k], &new[i], old->block, to, old->n_blocks));
    }
    return CEL_OK;
}

static int widest(const cel_slot *slots, int n) {
    int most = 1;
    for (int i = 0; i < n; i++)
        for (int d = 0; d < slots[i].shape.rank && d < 2; d++)
            if (slots[i].shape.dim[d] > most) most = slots[i].shape.dim[d];
    return most;
}

cel_status cel_supernet_carry(const cel_luggage *from, cel_supernet *to, cel_widen_draw *draw, void *ctx) {
    int n, n_states;
    size_t size;
    const cel_slot *params = cel_exec_param_slots(to->exec, &n), *states = cel_exec_state_slots(to->exec, &n_states);
    int room = widest(params, n), more = widest(states, n_states);
    carry c = {.to = to, .draw = draw, .ctx = ctx, .room = room > more ? room : more};
    c.index[0] = cel_alloc((size_t)c.room, sizeof(int32_t));
    c.index[1] = cel_alloc((size_t)c.room, sizeof(int32_t));
    cel_status status = CEL_OK;
    if (!c.index[0] || !c.index[1]) status = CEL_FAIL(CEL_NOMEM, "out of memory: %d channels to copy", c.room);
    float *const weights[] = {cel_exec_params(to->exec, &size), to->momentum};
    float *const statistics[] = {cel_exec_states(to->exec, &size)};
    if (status == CEL_OK) status = carry_slots(&c, &from->params, params, n, weights);
    if (status == CEL_OK) status = carry_slots(&c, &from->states, states, n_states, statistics);
    cel_free(c.index[0]);
    cel_free(c.index[1]);
    return status;
}
