/* The seam of the searchers: each proposes one architecture after another and observes what the oracle answers. An
 * architecture is one operation for each edge. The loop, the oracle, the budget and the memory of answers are the
 * driver's (searcher.c). */
#ifndef CEL_NAS_SEARCHER_H
#define CEL_NAS_SEARCHER_H
#include "base/conf/opt.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cellar/arch.h"
#include "cellar/searcher.h"

enum { CEL_SEEKER_EDGES = CEL_GENOTYPE_EDGES };

/* A searcher at work. */
typedef struct cel_seeker {
    int n_edges, n_ops; /* of the space */
    const void *conf;   /* the searcher's settings */
    void *state;        /* its own struct, zeroed before init */
    cel_arena arena;    /* for what state points to */
    cel_rng rng;        /* everything random is drawn from it */
} cel_seeker;

typedef struct cel_searcher {
    const char *name, *title, *paper;
    const cel_opt *opts; /* optional */
    size_t conf_size, state_size;
    /* Optional. */
    cel_status (*init)(cel_seeker *s);
    /* Fills n_edges operations. */
    void (*propose)(cel_seeker *s, uint8_t *ops);
    /* The validation accuracy in percent of an architecture: the last proposal or, when a searcher has proposed nothing
     * new for long, one that the driver drew in its place. Optional. */
    void (*observe)(cel_seeker *s, const uint8_t *ops, double valid);
} cel_searcher;

#define CEL_SEARCHER(name) extern const cel_searcher cel_searcher_##name;
#include "nas/search/searchers.def"
#undef CEL_SEARCHER

/* One architecture, uniformly. */
void cel_seeker_draw(cel_seeker *s, uint8_t *ops);
#endif
