/* Training-free proxies: what an untrained network says of how well it would train (zero-cost proxies, Abdelfattah et
 * al., ICLR 2021, arXiv:2101.08134, and others). Each cell gets its network, with weights drawn from a seed, and at
 * most a few passes over a few batches of training images. Nothing is trained.
 *
 * A proxy's worth is how it ranks: look at it beside params and flops, which cost nothing (cel_correlate does). */
#ifndef CELLAR_SCORE_H
#define CELLAR_SCORE_H
#include "cellar/arch.h"
#include "cellar/data.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cel_proxy_info {
    const char *name, *title, *paper; /* "synflow"; paper: "arXiv:2006.05467", "" for none */
    bool higher_is_better;
    bool needs_images, needs_gradient;
    const char *const
        *of; /* made of these proxies (NULL at the end) over a set of cells: only an order. Empty for most */
} cel_proxy_info;
int cel_proxy_count(void);
/* i = 0 .. cel_proxy_count()-1. */
cel_proxy_info cel_proxy_get(int i);
/* By name; CEL_CONFIG names the nearest. */
cel_status cel_proxy_find(const char *name, int *out);

typedef struct cel_scorer cel_scorer;

typedef struct cel_scorer_options {
    const char *proxies;     /* names with commas between */
    const char *const *sets; /* n_sets settings "section.key=value" over the defaults (cel_scorer_settings) */
    int n_sets;
    int threads; /* cells side by side; 0: as for the machine */
} cel_scorer_options;
/* Opens the images too, if a proxy needs them. CEL_CONFIG names a wrong setting and the nearest. */
cel_status cel_scorer_create(const cel_scorer_options *options, cel_scorer **out);
void cel_scorer_destroy(cel_scorer *scorer);
/* All settings with their meaning, as YAML. Caller: cel_free. A NULL scorer has the defaults. */
cel_status cel_scorer_settings(const cel_scorer *scorer, bool help, char **out);

/* What a cell is scored by: a column for each proxy, in the order in which they were asked for, those that another
 * one is made of behind. Names are borrowed. */
int cel_scorer_columns(const cel_scorer *scorer);
cel_proxy_info cel_scorer_column(const cel_scorer *scorer, int column);

/* Scores n cells: values[i * columns + c]. A cell whose output does not depend on its input has no score by what
 * looks at its network (NaN; params and flops it has). Equal settings, cells and instruction set give equal numbers,
 * on any number of threads. A proxy made of others is about these n cells together. `done`, called from the calling
 * thread now and then, asks to stop by true: CEL_INTERRUPTED. */
typedef bool cel_scorer_progress(void *ctx, int done, int n);
cel_status cel_scorer_run(cel_scorer *scorer, const cel_genotype *cells, int n, double *values,
                          cel_scorer_progress *progress, void *ctx);
/* Fills the columns of proxies that are made of others anew, over these n cells together. */
cel_status cel_scorer_combine(const cel_scorer *scorer, int n, double *values);
/* The data set's sha256, NULL where no images are looked at. Borrowed. */
const char *cel_scorer_images(const cel_scorer *scorer);

#ifdef __cplusplus
}
#endif
#endif
