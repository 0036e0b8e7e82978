/* Regularised evolution: a population in which the oldest dies. Each cycle the best of a few members, drawn at random,
 * gets a child that differs in one edge; the child joins, the oldest member leaves (Real et al., "Regularized evolution
 * for image classifier architecture search", arXiv:1802.01548, algorithm 1). The members are drawn with replacement. */
#include <string.h>

#include "nas/search/searcher.h"

typedef struct conf {
    int population, sample;
} conf;
static const cel_opt opts[] = {CEL_INT(conf, population, 10, 1, 100000, "members"),
                               CEL_INT(conf, sample, 3, 1, 100000, "members that are drawn to find a parent"),
                               CEL_OPTS_END};

typedef struct member {
    uint8_t ops[CEL_SEEKER_EDGES];
    double valid;
} member;

typedef struct state {
    member *ring; /* the oldest is at n_born % population once the ring is full */
    int64_t n_born;
} state;

static cel_status init(cel_seeker *s) {
    state *st = s->state;
    const conf *c = s->conf;
    st->ring = cel_arena_alloc(&s->arena, (size_t)c->population, sizeof *st->ring);
    return st->ring ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory: a population of %d", c->population);
}

static void propose(cel_seeker *s, uint8_t *ops) {
    const state *st = s->state;
    const conf *c = s->conf;
    if (st->n_born < c->population) {
        cel_seeker_draw(s, ops);
        return;
    }
    const member *parent = NULL;
    for (int i = 0; i < c->sample; i++) {
        const member *m = &st->ring[cel_rng_below(&s->rng, (uint32_t)c->population)];
        if (!parent || m->valid > parent->valid) parent = m;
    }
    memcpy(ops, parent->ops, (size_t)s->n_edges);
    uint32_t edge = cel_rng_below(&s->rng, (uint32_t)s->n_edges),
             further = 1 + cel_rng_below(&s->rng, (uint32_t)s->n_ops - 1);
    ops[edge] = (uint8_t)((ops[edge] + further) % (uint32_t)s->n_ops);
}

static void observe(cel_seeker *s, const uint8_t *ops, double valid) {
    state *st = s->state;
    const conf *c = s->conf;
    member *m = &st->ring[st->n_born++ % c->population];
    memcpy(m->ops, ops, (size_t)s->n_edges);
    m->valid = valid;
}

const cel_searcher cel_searcher_rea = {.name = "rea",
                                       .title = "regularised evolution",
                                       .paper = "arXiv:1802.01548",
                                       .opts = opts,
                                       .conf_size = sizeof(conf),
                                       .state_size = sizeof(state),
                                       .init = init,
                                       .propose = propose,
                                       .observe = observe};
