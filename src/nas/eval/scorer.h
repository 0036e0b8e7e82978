/* Proxies of many cells: the settings, the images, one cell a thread. cellar/score.h is the face for programs; a
 * search brings its own space and images. */
#ifndef CEL_NAS_SCORER_H
#define CEL_NAS_SCORER_H
#include "base/conf/conf.h"
#include "cellar/score.h"
#include "nas/eval/proxy.h"

enum { CEL_SCORER_COLUMNS = 32 };

/* Section `score`. */
typedef struct cel_score_conf {
    const char *space, *backend;
    int64_t seed;
    bool augment, own_draws, cell_bias;
    int batch, init, image, channels, classes, zico_batches, ntk_batch, ntk_repeats, regions_samples, regions_c;
} cel_score_conf;
extern const cel_opt cel_score_opts[];

/* What a scorer looks at. Everything is borrowed for its life. */
typedef struct cel_scorer_view {
    const cel_space *space;
    const void *space_conf;
    const cel_dataset *data; /* NULL: no images; conf's sizes */
    const int32_t *index;    /* n_index images of the training part; NULL: all */
    int n_index;
    int threads;
} cel_scorer_view;
cel_status cel_scorer_open(const cel_score_conf *conf, const char *proxies, const cel_scorer_view *view,
                           cel_scorer **out);
/* The first so many columns are what was asked for. */
int cel_scorer_asked(const cel_scorer *scorer);
/* Does a list of names with commas between hold proxies only? images: does one of them need images? May be NULL. */
cel_status cel_scorer_check(const char *proxies, bool *images);
#endif
