/* The collapse watch: is the search about to give up on everything but skip connections?
 *
 * After every `interval` epochs it looks at three signs: skip connections in the derived cell (DARTS+, Liang et al., arXiv:1909.06035,
 * stops at two in a cell of the DARTS space), the entropy of the distribution, and the largest eigenvalue of the validation loss'
 * Hessian by the architecture (R-DARTS, Zela et al., ICLR 2020, arXiv:1909.09656, stops when its mean over five epochs
 * has grown by a third within five epochs). It says so in the epoch's record, and stops the search if it is told to.
 *
 * The Hessian is that by the logarithms of the mean weights, for DARTS its alpha, on one fixed batch of the architecture's images,
 * not augmented, with batch statistics. It has no negative largest eigenvalue: nothing changes when all of a choice's
 * logits rise together. Looking leaves no trace in weights, statistics or distribution, so a watched search is the same search. */
#ifndef CEL_NAS_WATCH_H
#define CEL_NAS_WATCH_H
#include "base/conf/opt.h"
#include "nas/search/supernet.h"

typedef enum cel_watch_action { CEL_WATCH_WARN, CEL_WATCH_STOP } cel_watch_action;

/* Section `watch` of a recipe. */
typedef struct cel_watch_conf {
    int interval, action, max_skips, window, iterations;
    double min_entropy, max_eigenvalue, max_growth, step;
} cel_watch_conf;
extern const cel_opt cel_watch_opts[];

/* What was seen, and what is remembered of it. */
enum { CEL_WATCH_MAX_WINDOW = 64, CEL_WATCH_REMEMBERS = 2 * CEL_WATCH_MAX_WINDOW };
typedef struct cel_watch_past {
    double eigenvalue[CEL_WATCH_REMEMBERS]; /* of the last looks, look i at i % CEL_WATCH_REMEMBERS */
    int64_t n;                              /* looks so far */
} cel_watch_past;

/* Most skip connections in a kind of cell. */
int cel_watch_skips(const cel_genotype *genotype);
/* The eigenvalue. images, labels: one batch. `rng` starts the power iteration. */
cel_status cel_watch_eigenvalue(const cel_watch_conf *conf, cel_supernet *net, const cel_policy *policy,
                                const float *images, const int32_t *labels, cel_rng rng, double *eigenvalue);
/* Adds a look to the past. `warning` says what is wrong, with numbers and the setting that draws the line; "" when nothing is. */
enum { CEL_WATCH_TEXT = 256 };
void cel_watch_judge(const cel_watch_conf *conf, cel_watch_past *past, int skips, double entropy, double eigenvalue,
                     char warning[CEL_WATCH_TEXT]);
#endif
