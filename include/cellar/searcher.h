/* Searchers: searches that train nothing. They ask a benchmark table for validation accuracies, and a run takes
 * milliseconds.
 *
 * A searcher sees one column, the validation accuracy after the short schedule of 12 epochs, through an oracle that
 * counts: its budget is in queries, a query being an architecture that it has not asked for before (an answer that it
 * has already is free). What it found is the best by that column; what that is worth is looked up once, afterwards, by
 * whoever reads the answer. */
#ifndef CELLAR_SEARCHER_H
#define CELLAR_SEARCHER_H
#include "cellar/table.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A registered searcher; owned by the library. */
typedef struct cel_searcher_info {
    const char *name, *title, *paper; /* "rea", "regularised evolution", "arXiv:1802.01548" */
} cel_searcher_info;
int cel_searcher_count(void);
/* i = 0 .. cel_searcher_count()-1. */
cel_searcher_info cel_searcher_get(int i);
/* Its settings with their defaults, as YAML with help; "" when it has none. Caller: cel_free. CEL_CONFIG names the
 * nearest. */
cel_status cel_searcher_settings(const char *name, char **out);

typedef struct cel_searcher_run {
    const char *searcher;   /* its name */
    const char *const *set; /* settings, "population=20"; borrowed */
    int n_set;
    const char *dataset; /* of the table: "cifar10", "cifar100", "imagenet16" */
    int budget;          /* queries, 1 .. the table's rows */
    uint64_t seed;
} cel_searcher_run;

/* What a run asked, in order, and what it was answered: equal runs give equal answers. */
typedef struct cel_searcher_found {
    int best;      /* row of the table: the best by the answers, the first of equals */
    int n_queries; /* = the budget */
    int n_repeats; /* questions that it had asked before */
    int metric;    /* the column that was asked */
    int *row;      /* n_queries */
    double *valid; /* n_queries, percent */
} cel_searcher_found;

/* CEL_CONFIG: no such searcher or setting, a budget out of range. CEL_NOTFOUND: the table has no such column, and the
 * message lists what it has (times of training are in no table that cellar has, so there are no budgets in seconds). */
cel_status cel_searcher_search(const cel_table *table, const cel_searcher_run *run, cel_searcher_found *out);
/* Accepts a zeroed one. */
void cel_searcher_found_fini(cel_searcher_found *found);

#ifdef __cplusplus
}
#endif
#endif
