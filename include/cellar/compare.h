/* Comparisons: methods x data sets x seeds, each search an ordinary run; then tables, tests and one HTML page.
 * docs/formats.md describes the file of a comparison and its directory.
 *
 * What a found cell is worth is looked up in the benchmark table: test accuracy after 200 epochs. Two kinds of variance
 * are kept apart: every deviation and interval here is over searches (seeds); the table's own trainings are averaged in
 * it, and their spread is not in the table. */
#ifndef CELLAR_COMPARE_H
#define CELLAR_COMPARE_H
#include "cellar/run.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cel_comparison cel_comparison;

/* Opens a comparison: a file (a name with a slash or ending in .yaml) or one that ships with cellar ("compare-demo"),
 * and lays n_sets settings over its own ("seeds=5"). Every recipe in it is checked. CEL_CONFIG, CEL_NOTFOUND as for
 * cel_recipe_open. */
cel_status cel_comparison_open(const char *name, const char *const *sets, int n_sets, cel_comparison **out);
void cel_comparison_destroy(cel_comparison *comparison);

typedef struct cel_comparison_info {
    const char *name, *title, *note; /* name: of the file, without directory and ".yaml" */
    int n_methods, n_datasets, n_seeds, n_searches;
} cel_comparison_info;
cel_comparison_info cel_comparison_get_info(const cel_comparison *comparison);

/* Calls fn for each comparison that ships with cellar. */
cel_status cel_comparison_each(cel_recipe_fn *fn, void *ctx);

/* One search of it. Texts are valid during the call. */
typedef struct cel_comparison_search {
    const char *method, *dataset; /* the names in the comparison */
    int64_t seed;
    int done, n;          /* searches that have ended, of how many */
    const char *genotype; /* NULL: the search failed */
    const char *failure;  /* why */
    double test;          /* percent, after 200 epochs on the data set's test images; NAN when it failed */
    double seconds;
} cel_comparison_search;

typedef struct cel_comparison_options {
    const char *dir; /* the directory of the comparison, made if it is not there */
    bool resume;     /* go on with what is in it */
    int jobs;        /* searches side by side; 0: one */
    int threads;     /* of each search; 0: the machine's, shared among the jobs */
    /* All optional; one call at a time, from any thread. `progress`: done (0 .. 1) of everything, `running` searches at
     * work, one of which is `method`; true asks every search to write a checkpoint and stop. `ended`: a search has
     * ended. */
    void *ctx;
    bool (*progress)(void *ctx, double done, int running, const char *method);
    void (*ended)(void *ctx, const cel_comparison_search *search);
} cel_comparison_options;

/* Runs the searches that have not ended yet, in the order of the seeds, and records each end in the directory. A search
 * whose numbers diverge has failed, and the others go on; one that its collapse watch stops counts with the cell it
 * had. CEL_CONFIG: the directory holds a comparison already, or another one (what is different), CEL_BUSY,
 * CEL_INTERRUPTED (everything is kept), what the searches answer. */
cel_status cel_comparison_search_all(const cel_comparison *comparison, const cel_comparison_options *options);

typedef enum cel_comparison_form {
    CEL_COMPARISON_TEXT,
    CEL_COMPARISON_MARKDOWN,
    CEL_COMPARISON_LATEX, /* tables for booktabs */
    CEL_COMPARISON_CSV,   /* a row a search */
    CEL_COMPARISON_JSON,  /* everything */
    CEL_COMPARISON_HTML,  /* one page that stands alone */
    CEL_COMPARISON_FORMS
} cel_comparison_form;
/* "text", "markdown", ...; and the file of that form in the directory, "results.txt", "results.md", ... NULL out of
 * range. */
const char *cel_comparison_form_name(int form);
const char *cel_comparison_form_file(int form);

/* What the searches in `dir` came to, as far as they have ended, as a new text (cel_free). CEL_NOTFOUND (no comparison
 * there, no benchmark table), CEL_CONFIG (another comparison's), CEL_FORMAT (what is malformed). */
cel_status cel_comparison_text(const cel_comparison *comparison, const char *dir, cel_comparison_form form, char **out);
/* Every form into its file in `dir`. */
cel_status cel_comparison_write(const cel_comparison *comparison, const char *dir);

#ifdef __cplusplus
}
#endif
#endif
