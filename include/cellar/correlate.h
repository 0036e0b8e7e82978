/* How well training-free proxies rank the cells of a benchmark table. */
#ifndef CELLAR_CORRELATE_H
#define CELLAR_CORRELATE_H
#include "cellar/score.h"
#include "cellar/table.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cel_correlate_options {
    const char *dataset;     /* source of images, "cifar10"; proxies that need none take its size and classes only */
    const char *path;        /* where it lies; NULL where none is needed */
    const char *proxies;     /* names with commas between; params and flops come by themselves */
    const char *const *sets; /* n_sets settings, as for a scorer */
    int n_sets;
    const char *metric; /* of the table; NULL: the data set's test accuracy after 200 epochs */
    int sample;         /* so many cells of the table at random; 0: all */
    int64_t sample_seed;
    int top_percent;  /* of the overlap */
    const char *file; /* scores go there as they come, and an interrupted run goes on from there; NULL: nowhere */
    int threads;
    void *ctx;
    cel_scorer_progress *progress; /* true: stop, everything so far is in the file; may be NULL */
} cel_correlate_options;

/* Between a proxy and the metric, over the cells of the sample. Signs are turned so that more is better. A cell
 * without a score ranks last. */
typedef struct cel_correlation {
    cel_proxy_info proxy;
    int undefined;              /* cells without a score */
    double spearman, low, high; /* 95 % interval (Bonett and Wright 2000) */
    double kendall;             /* tau-b */
    double top;                 /* share of the metric's best top_percent that are among the proxy's, 0..1 */
    double best;                /* the metric of the proxy's first choice */
} cel_correlation;

enum { CEL_CORRELATIONS = 32 };
typedef struct cel_correlations {
    int n, n_cells, n_scored; /* scored: by this call, the others were in the file */
    char metric[64];
    double seconds, optimum; /* of scoring by this call; the sample's best */
    cel_correlation list[CEL_CORRELATIONS];
} cel_correlations;

/* CEL_CONFIG: the file was written with other settings (says which); CEL_FORMAT: it is none of these files, or
 * damaged. */
cel_status cel_correlate(const cel_correlate_options *options, cel_correlations *out);

#ifdef __cplusplus
}
#endif
#endif
