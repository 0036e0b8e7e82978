#include "base/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} types[CEL_STATE_TYPE_COUNT] = {[CEL_STATE_F32] = {"F32", 4},
                                 [CEL_STATE_F64] = {"F64", 8},
                                 [CEL_STATE_I32] = {"I32", 4},
                                 [CEL_STATE_I64] = {"I64", 8},
                                 [CEL_STATE_U8] = {"U8", 1}};

size_t cel_state_type_bytes(cel_state_type type) { return types[type].bytes; }
const char *cel_state_type_name(cel_state_type type) { return types[type].name; }

static cel_status make_room(cel_state *state) {
    if (state->n < state->room) return CEL_OK;
    int room = state->room ? 2 * state->room : 64;
    cel_state_item *bigger = cel_realloc(state->items, (size_t)state->room, (size_t)room, sizeof *bigger);
    if (!bigger) return CEL_FAIL(CEL_NOMEM, "out of memory for %d arrays", room);
    state->items = bigger;
    state->room = room;
    return CEL_OK;
}

cel_status cel_state_add(cel_state *state, cel_state_type type, void *data, int rank, const int64_t *dims,
                         const char *fmt, ...) {
    char name[512];
    va_list ap;
    va_start(ap, fmt);
    int length = vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    if (length < 0 || (size_t)length >= sizeof name || rank < 0 || rank > CEL_STATE_MAX_RANK)
        return CEL_FAIL(CEL_INTERNAL, "state %.80s: a name of %d bytes, rank %d", name, length, rank);
    if (cel_state_find(state, name)) return CEL_FAIL(CEL_INTERNAL, "state %s: added a second time", name);
    CEL_TRY(make_room(state));
    cel_state_item item = {.type = type, .rank = rank, .data = data, .bytes = types[type].bytes};
    for (int i = 0; i < rank; i++) {
        item.dims[i] = dims[i];
        if (dims[i] < 0 || __builtin_mul_overflow(item.bytes, (size_t)dims[i], &item.bytes))
            return CEL_FAIL(CEL_INTERNAL, "state %s: dimension %d is %lld", name, i, (long long)dims[i]);
    }
    item.name = cel_arena_strdup(&state->names, name);
    if (!item.name) return CEL_FAIL(CEL_NOMEM, "out of memory");
    state->items[state->n++] = item;
    return CEL_OK;
}

void cel_state_fini(cel_state *state) {
    cel_free(state->items);
    cel_arena_fini(&state->names);
    *state = (cel_state){0};
}

const cel_state_item *cel_state_find(const cel_state *state, const char *name) {
    for (int i = 0; i < state->n; i++)
        if (!strcmp(state->items[i].name, name)) return &state->items[i];
    return NULL;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const cel_state_item *)a)->name, ((const cel_state_item *)b)->name);
}

void cel_state_sort(cel_state *state) {
    if (state->n > 1) qsort(state->items, (size_t)state->n, sizeof *state->items, by_name);
}
