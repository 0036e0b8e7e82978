/* A list of named arrays: all that a run must remember. Whoever owns an array adds it under its name; a checkpoint saves the
 * list, and later fills it again. Counters are arrays of rank 0, so there is one mechanism for everything.
 *
 *     cel_state state = {0};
 *     CEL_TRY(cel_state_add(&state, CEL_STATE_F64, m, 2, (int64_t[]){6, 5}, "method.%s.m", name));
 *     CEL_TRY(cel_state_add(&state, CEL_STATE_I64, &driver->step, 0, NULL, "driver.step"));  */
#ifndef CEL_BASE_STATE_H
#define CEL_BASE_STATE_H
#include "base/mem.h"

typedef enum cel_state_type {
    CEL_STATE_F32,
    CEL_STATE_F64,
    CEL_STATE_I32,
    CEL_STATE_I64,
    CEL_STATE_U8,
    CEL_STATE_TYPE_COUNT
} cel_state_type;

enum { CEL_STATE_MAX_RANK = 8 };

typedef struct cel_state_item {
    const char *name;
    cel_state_type type;
    int rank; /* 0: one value */
    int64_t dims[CEL_STATE_MAX_RANK];
    size_t bytes;
    void *data; /* borrowed; NULL only when bytes is 0 */
} cel_state_item;

/* Zero-initialised is empty. */
typedef struct cel_state {
    cel_state_item *items;
    int n, room;
    cel_arena names;
} cel_state;

/* Borrows `data` until cel_state_fini; copies the name. A name that is already there, or a negative size, is CEL_INTERNAL. */
cel_status cel_state_add(cel_state *state, cel_state_type type, void *data, int rank, const int64_t *dims,
                         const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void cel_state_fini(cel_state *state);
/* NULL when there is none. */
const cel_state_item *cel_state_find(const cel_state *state, const char *name);
/* Sorts by name, so that the bytes of a checkpoint do not depend on the order of adding. */
void cel_state_sort(cel_state *state);

size_t cel_state_type_bytes(cel_state_type type);
/* "F32", as safetensors says it. */
const char *cel_state_type_name(cel_state_type type);
#endif
