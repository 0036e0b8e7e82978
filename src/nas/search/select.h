/* The last step of a search: which cell to return. `by: mean` takes the genotype of the distribution's mean, as DARTS
 * does; anything else draws cells from the learned distribution, drops those that were drawn before, scores each of
 * the rest and takes the best (BaLeNAS-TF, Zhang et al., CVPR 2022, for any distribution and any score).
 *
 * A score is one or several proxies, which train nothing (cellar/score.h), or a scorer that the caller brings along:
 * one_shot, the accuracy of each cell with the supernet's weights on a batch of validation images. */
#ifndef CEL_NAS_SELECT_H
#define CEL_NAS_SELECT_H
#include <string.h>

#include "base/conf/opt.h"
#include "cellar/data.h"
#include "nas/search/policy.h"

typedef enum cel_select_combine { CEL_SELECT_RANK_SUM, CEL_SELECT_VOTE } cel_select_combine;

/* Section `select` of a recipe. */
typedef struct cel_select_conf {
    const char *by; /* "mean", "one_shot", or names of proxies with commas between */
    int samples, combine, batch, batches, finalists;
    int64_t seed; /* -1: the search's */
} cel_select_conf;
extern const cel_opt cel_select_opts[];

static inline bool cel_select_is(const cel_select_conf *conf, const char *by) { return !strcmp(conf->by, by); }
/* keep: candidates that are left to each choice in the end. CEL_CONFIG: no such proxy (names the nearest), more
 * samples than there are cells. */
cel_status cel_select_check(const cel_select_conf *conf, const cel_choices *choices, int keep);

enum { CEL_SELECT_PARTS = 16 };

typedef struct cel_candidate {
    cel_genotype genotype;
    int times;                     /* drawn so often */
    double part[CEL_SELECT_PARTS]; /* by score; NaN: not defined for this cell, the worst */
    double score; /* what was decided by, higher is better: the only part, or the combination; never NaN */
    int rank;     /* 1: the best; equals share it */
} cel_candidate;

/* What came out; candidates from the best to the worst, equals in the order in which they were drawn. */
typedef struct cel_selection {
    int samples, n, n_parts;
    const char *part[CEL_SELECT_PARTS];
    bool higher_is_better[CEL_SELECT_PARTS];
    cel_candidate *candidate; /* n */
    double seconds;
} cel_selection;
void cel_selection_fini(cel_selection *selection);

/* Draws conf->samples cells and keeps each once: n and the candidates' genotype and times are set. The stream is a
 * selection's own, so that the search is the same whatever is selected by. */
cel_status cel_select_draw(const cel_select_conf *conf, const cel_policy *policy, const cel_space *space, uint64_t seed,
                           cel_selection *out);

/* Scores n cells, the i-th into scores[i], higher is better; NaN where none is defined. */
typedef cel_status cel_select_score_fn(void *ctx, const cel_genotype *cells, int n, double *scores);
/* Adds a part by a scorer of the caller's; only for the first n candidates, the others have none; n < 0: for all. */
cel_status cel_select_score(cel_selection *selection, const char *name, int n, cel_select_score_fn *fn, void *ctx);

/* The images and the network that proxies look at. */
typedef struct cel_select_net {
    const cel_space *space;
    const void *space_conf;
    const cel_dataset *data; /* its training part */
    const int32_t *index;    /* n_index images that may be looked at */
    int n_index, threads;
    const char *backend;
    uint64_t seed;
} cel_select_net;
/* Adds a part for each proxy of conf->by. stop: asked now and then, true ends it with CEL_INTERRUPTED. */
cel_status cel_select_proxies(const cel_select_conf *conf, const cel_select_net *net, bool (*stop)(void *ctx),
                              void *ctx, cel_selection *selection);
/* Ranks by the last part, or with several proxies by all, and sorts. */
cel_status cel_select_rank(const cel_select_conf *conf, cel_selection *selection);
#endif
