/* First values by name; see weights.h. */
#include "nas/eval/weights.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"

enum { BUCKETS = 4096 };

typedef struct entry {
    struct entry *next;
    const char *name;
    uint64_t seed;
    bool kaiming;
    cel_shape shape;
    float *values;
} entry;

struct cel_weights {
    pthread_mutex_t lock;
    cel_arena arena;
    entry *bucket[BUCKETS];
};

cel_status cel_weights_create(cel_weights **out) {
    CEL_ALLOC(*out, 1);
    pthread_mutex_init(&(*out)->lock, NULL);
    return CEL_OK;
}

void cel_weights_destroy(cel_weights *weights) {
    if (!weights) return;
    cel_arena_fini(&weights->arena);
    pthread_mutex_destroy(&weights->lock);
    cel_free(weights);
}

static cel_status draw(const cel_exec *e, int slot, bool kaiming, uint64_t seed, float *values) {
    int n;
    const cel_slot *s = &cel_exec_param_slots(e, &n)[slot];
    if (!kaiming || s->shape.rank < 2) return cel_exec_start(e, slot, seed, values);
    double fan = s->shape.dim[1];
    for (int i = 2; i < s->shape.rank; i++) fan *= s->shape.dim[i];
    cel_rng rng = cel_rng_at(seed, s->name, 0, 0);
    for (size_t i = 0; i < s->count; i++) values[i] = (float)(sqrt(2 / fan) * cel_rng_normal(&rng));
    return CEL_OK;
}

static uint32_t bucket_of(const char *name, uint64_t seed, bool kaiming) {
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed ^ (uint64_t)kaiming << 63;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return (uint32_t)(h >> 32) % BUCKETS;
}

static cel_status find(cel_weights *w, const cel_exec *e, int slot, bool kaiming, uint64_t seed, const entry **out) {
    int n;
    const cel_slot *s = &cel_exec_param_slots(e, &n)[slot];
    uint32_t b = bucket_of(s->name, seed, kaiming);
    for (entry *at = w->bucket[b]; at; at = at->next)
        if (at->seed == seed && at->kaiming == kaiming && !strcmp(at->name, s->name) &&
            cel_shape_equal(at->shape, s->shape)) {
            *out = at;
            return CEL_OK;
        }
    entry *new = cel_arena_alloc(&w->arena, 1, sizeof *new);
    if (new) *new = (entry){w->bucket[b], cel_arena_strdup(&w->arena, s->name), seed, kaiming, s->shape, NULL};
    if (new) new->values = cel_arena_alloc(&w->arena, s->count, sizeof *new->values);
    if (!new || !new->name || !new->values) return CEL_FAIL(CEL_NOMEM, "out of memory: first values of %s", s->name);
    CEL_TRY(draw(e, slot, kaiming, seed, new->values));
    w->bucket[b] = new;
    *out = new;
    return CEL_OK;
}

cel_status cel_weights_get(cel_weights *w, const cel_exec *e, int slot, bool kaiming, uint64_t seed, float *values) {
    int n;
    const entry *found = NULL;
    if (!w) return draw(e, slot, kaiming, seed, values);
    pthread_mutex_lock(&w->lock);
    cel_status status = find(w, e, slot, kaiming, seed, &found);
    pthread_mutex_unlock(&w->lock);
    CEL_TRY(status);
    memcpy(values, found->values, cel_exec_param_slots(e, &n)[slot].count * sizeof *values);
    return CEL_OK;
}
