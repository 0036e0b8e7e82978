/* Local search, or hill climbing: from a random architecture go to a better one that differs in one edge, until there
 * is none; then start anew (White et al., "Exploring the loss landscape in neural architecture search",
 * arXiv:2005.02960). */
#include <string.h>

#include "nas/search/searcher.h"

enum { MOVE_BEST, MOVE_FIRST };
static const char *const move_names[] = {"best", "first", NULL};

typedef struct conf {
    int move;
} conf;
static const cel_opt opts[] = {
    CEL_ENUM(conf, move, MOVE_BEST, move_names,
             "where to go: to the best of all neighbours, or to the first better one, in random order"),
    CEL_OPTS_END};

typedef struct state {
    bool placed; /* false: the next proposal is a start */
    uint8_t here[CEL_SEEKER_EDGES], best[CEL_SEEKER_EDGES], asked[CEL_SEEKER_EDGES];
    double here_valid, best_valid;
    int32_t *neighbour; /* edge * (n_ops - 1) + how many operations further on, less 1; in random order */
    int n, at;
} state;

static cel_status init(cel_seeker *s) {
    state *st = s->state;
    st->n = s->n_edges * (s->n_ops - 1);
    st->neighbour = cel_arena_alloc(&s->arena, (size_t)st->n, sizeof *st->neighbour);
    return st->neighbour ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory: neighbours");
}

static void propose(cel_seeker *s, uint8_t *ops) {
    state *st = s->state;
    if (st->placed) {
        int which = st->neighbour[st->at], edge = which / (s->n_ops - 1), further = 1 + which % (s->n_ops - 1);
        memcpy(ops, st->here, (size_t)s->n_edges);
        ops[edge] = (uint8_t)((ops[edge] + further) % s->n_ops);
    } else {
        cel_seeker_draw(s, ops);
    }
    memcpy(st->asked, ops, (size_t)s->n_edges);
}

static void stand_at(cel_seeker *s, const uint8_t *ops, double valid) {
    state *st = s->state;
    memmove(st->here, ops, (size_t)s->n_edges);
    st->here_valid = st->best_valid = valid;
    st->placed = true;
    st->at = 0;
    for (int i = 0; i < st->n; i++) st->neighbour[i] = i;
    cel_rng_shuffle(&s->rng, st->neighbour, (size_t)st->n);
}

static void observe(cel_seeker *s, const uint8_t *ops, double valid) {
    state *st = s->state;
    const conf *c = s->conf;
    bool own = !memcmp(ops, st->asked, (size_t)s->n_edges);
    if (!st->placed || !own || (c->move == MOVE_FIRST && valid > st->here_valid)) {
        stand_at(s, ops, valid);
        return;
    }
    if (valid > st->best_valid) {
        memcpy(st->best, ops, (size_t)s->n_edges);
        st->best_valid = valid;
    }
    if (++st->at < st->n) return;
    if (st->best_valid > st->here_valid)
        stand_at(s, st->best, st->best_valid);
    else
        st->placed = false;
}

const cel_searcher cel_searcher_local_search = {.name = "local_search",
                                                .title = "local search",
                                                .paper = "arXiv:2005.02960",
                                                .opts = opts,
                                                .conf_size = sizeof(conf),
                                                .state_size = sizeof(state),
                                                .init = init,
                                                .propose = propose,
                                                .observe = observe};
