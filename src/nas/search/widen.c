/* From the network of one stage to that of the next; see cel_supernet_carry in supernet.h. */
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

static cel_status carry_one(carry *c, const cel_slot *old, const cel_slot *new, const float *const *from,
                            float *const *to, int n_blocks) {
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

static cel_status carry_slots(carry *c, const cel_slot *old, int n_old, const cel_slot *new, int n_new,
                              const float *const *from, float *const *to, int n_blocks) {
    for (int i = 0; i < n_new; i++) {
        int k = 0;
        while (k < n_old && strcmp(old[k].name, new[i].name)) k++;
        if (k == n_old) return CEL_FAIL(CEL_INTERNAL, "%s is new: a stage may only drop operations", new[i].name);
        CEL_TRY(carry_one(c, &old[k], &new[i], from, to, n_blocks));
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

cel_status cel_supernet_carry(const cel_supernet *from, cel_supernet *to, cel_widen_draw *draw, void *ctx) {
    int n_old, n_new, n_old_states, n_new_states;
    const cel_slot *old = cel_exec_param_slots(from->exec, &n_old), *new = cel_exec_param_slots(to->exec, &n_new);
    const cel_slot *old_states = cel_exec_state_slots(from->exec, &n_old_states);
    const cel_slot *new_states = cel_exec_state_slots(to->exec, &n_new_states);
    int room = widest(new, n_new), more = widest(new_states, n_new_states);
    carry c = {.to = to, .draw = draw, .ctx = ctx, .room = room > more ? room : more};
    c.index[0] = cel_alloc((size_t)c.room, sizeof(int32_t));
    c.index[1] = cel_alloc((size_t)c.room, sizeof(int32_t));
    cel_status status = CEL_OK;
    if (!c.index[0] || !c.index[1]) status = CEL_FAIL(CEL_NOMEM, "out of memory: %d channels to copy", c.room);
    size_t size;
    const float *params[] = {cel_exec_params(from->exec, &size), from->momentum};
    float *new_params[] = {cel_exec_params(to->exec, &size), to->momentum};
    if (status == CEL_OK) status = carry_slots(&c, old, n_old, new, n_new, params, new_params, 2);
    const float *states[] = {cel_exec_states(from->exec, &size)};
    float *const new_state[] = {cel_exec_states(to->exec, &size)};
    if (status == CEL_OK)
        status = carry_slots(&c, old_states, n_old_states, new_states, n_new_states, states, new_state, 1);
    cel_free(c.index[0]);
    cel_free(c.index[1]);
    return status;
}
