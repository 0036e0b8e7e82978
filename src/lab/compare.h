/* A comparison as the lab sees it: what is compared (compare_recipe.c), the searches (compare_run.c), what they came to
 * (compare_result.c), and its forms (compare_text.c, compare_data.c, report/section_compare.c). */
#ifndef CEL_LAB_COMPARE_H
#define CEL_LAB_COMPARE_H
#include "cellar/compare.h"
#include "cellar/searcher.h"
#include "lab/recipe.h"
#include "lab/report/history.h"

enum { CEL_COMPARE_METHODS = 32, CEL_COMPARE_DATASETS = 8, CEL_COMPARE_SEEDS = 10000 };

typedef struct cel_compare_method {
    const char *name, *label, *recipe, *searcher;
    int budget;
} cel_compare_method;

typedef struct cel_compare_dataset {
    const char *name;
} cel_compare_dataset;

typedef struct cel_compare_conf {
    const char *title, *note, *reference;
    int seeds;
    int64_t first_seed;
    double level;
    cel_compare_method methods[CEL_COMPARE_METHODS];
    cel_compare_dataset datasets[CEL_COMPARE_DATASETS];
    int n_methods, n_datasets;
} cel_compare_conf;

/* A method on a data set. */
typedef struct cel_compare_plan {
    const char *settings; /* its recipe with the first seed, or the searcher's settings: what must stay the same */
    const char *method;   /* of the recipe: "drnas"; the searcher's name */
    cel_recipe_expect expect;
    const char **set;    /* of a searcher */
    int n_set, n_epochs; /* n_epochs: 0 of a searcher */
} cel_compare_plan;

struct cel_comparison {
    cel_conf *tree;
    cel_arena arena;
    const char *path, *name, *settings; /* settings: its own, without the recipes */
    cel_compare_conf conf;
    int reference;                            /* index of a method */
    int worth[CEL_COMPARE_DATASETS];          /* the data set of the benchmark table, by cel_history_dataset */
    const char *source[CEL_COMPARE_DATASETS]; /* of the images */
    cel_compare_plan plan[CEL_COMPARE_METHODS][CEL_COMPARE_DATASETS];
};

/* "DrNAS": the label, or the name where there is none. */
const char *cel_compare_label(const cel_comparison *c, int method);
/* The recipe of one search. */
cel_status cel_compare_recipe(const cel_comparison *c, int method, int dataset, int64_t seed, cel_recipe **out);
/* What a searcher's run found: milliseconds, so it is never kept. */
cel_status cel_compare_searcher(const cel_comparison *c, int method, int dataset, int64_t seed, const cel_table *table,
                                cel_searcher_found *out);
/* "DIR/runs/drnas/cifar10/seed-1" as a new string; NULL when memory is out. */
char *cel_compare_run_dir(const cel_comparison *c, const char *dir, int method, int dataset, int64_t seed);

/* ---- the record of ends: results.jsonl ---- */

typedef struct cel_compare_end {
    int method, dataset, seed; /* seed: counted from 0 */
    const char *genotype;      /* NULL: failed */
    const char *failure;
    double seconds;
} cel_compare_end;

/* Reads the lines of results.jsonl; a last one without its line feed is what a kill left, and passed over. The ends are
 * in `arena`; *n_lines are the whole lines. CEL_FORMAT names line and field. */
cel_status cel_compare_ends(const cel_comparison *c, const char *name, const char *text, size_t n, cel_arena *arena,
                            cel_compare_end **ends, int *n_lines);
/* The same from the directory; no file is no ends. */
cel_status cel_compare_ends_read(const cel_comparison *c, const char *dir, cel_arena *arena, cel_compare_end **ends,
                                 int *n_lines);
/* Is `dir` this comparison's? CEL_NOTFOUND when it holds none, CEL_CONFIG says what is different. */
cel_status cel_compare_check_dir(const cel_comparison *c, const char *dir);

/* ---- what came out ---- */

/* One search. */
typedef struct cel_outcome {
    bool ended, found;
    const char *failure;
    const char *text; /* of the cell */
    cel_genotype genotype;
    int row; /* of the table */
    double test[CEL_HISTORY_DATASETS];
    double params, flops; /* of the benchmark's network for the data set */
    double seconds;
    cel_history *history;        /* a run's, NULL of a searcher */
    cel_searcher_found *queries; /* a searcher's */
} cel_outcome;

/* A method on a data set, over its seeds. Numbers are NAN where there are too few searches; intervals also
 * where all found one cell. */
typedef struct cel_summary {
    int n, n_failed, n_missing;
    double mean[CEL_HISTORY_DATASETS], deviation[CEL_HISTORY_DATASETS], interval[CEL_HISTORY_DATASETS];
    double best, worst, regret; /* on the data set itself; regret: mean */
    double params, flops, seconds;
    double rank; /* mean over the seeds that every method has; NAN without one */
    int cells;   /* different ones */
    /* Against the reference, over the seeds that both have; pairs < MOST_FEW: no test. */
    int pairs;
    double difference, t_p, t_holm, rank_p, rank_holm;
} cel_summary;

typedef struct cel_baseline {
    const char *label;
    double test[CEL_HISTORY_DATASETS], params;
} cel_baseline;
enum { CEL_BASELINE_OPTIMUM, CEL_BASELINE_PARAMS, CEL_BASELINE_RANDOM, CEL_BASELINE_SKIP, CEL_BASELINES };

/* Fewer pairs than this can give no two-sided signed-rank p below 0.05 (2^(1 - 5) = 0.0625), so they are not tested. */
enum { CEL_COMPARE_PAIRS = 6 };

typedef struct cel_result {
    const cel_comparison *c;
    cel_arena arena;
    cel_table *table;
    cel_outcome *outcome; /* method, data set, seed: see cel_outcome_of */
    cel_summary summary[CEL_COMPARE_METHODS][CEL_COMPARE_DATASETS];
    cel_baseline baseline[CEL_COMPARE_DATASETS][CEL_BASELINES];
    int rank_blocks[CEL_COMPARE_DATASETS]; /* seeds that every method has */
    double critical[CEL_COMPARE_DATASETS]; /* critical difference of the ranks at the level; NAN: too few */
    int test_metric[CEL_HISTORY_DATASETS]; /* columns of the table */
    int n_ended, n_failed, threads;        /* threads: of the runs; 0: they differ, or there is none */
    const char *cpu, *version, *isa;       /* of the first run; NULL: there is none */
} cel_result;

cel_status cel_result_read(const cel_comparison *c, const char *dir, cel_result *out);
void cel_result_fini(cel_result *result);
const cel_outcome *cel_outcome_of(const cel_result *r, int method, int dataset, int seed);

/* ---- forms ---- */

struct cel_page;
/* A table of texts, told apart from what it is written as. */
typedef struct cel_sheet {
    const char *title;
    int n_rows, n_cols, n_texts; /* the first n_texts columns are words, the others numbers */
    int rule;                    /* a line before this row; 0: none */
    const char **cell;           /* (1 + n_rows) x n_cols, the head first */
} cel_sheet;
/* Notes: nine of the comparison, and the source of each published figure. */
enum { CEL_SHEETS = 3, CEL_NOTES = 9 + CEL_COMPARE_METHODS * CEL_COMPARE_DATASETS };
/* The tables of a data set, and the remarks that belong to all of them; everything lives as long as the page. */
int cel_compare_sheets(struct cel_page *page, const cel_result *r, int dataset, cel_sheet sheets[CEL_SHEETS]);
int cel_compare_notes(struct cel_page *page, const cel_result *r, const char *notes[CEL_NOTES]);
/* "CIFAR-10", or "CIFAR-10 (small)" where the comparison calls it otherwise. */
const char *cel_compare_dataset_label(struct cel_page *page, const cel_result *r, int dataset);

void cel_compare_text(struct cel_page *page, const cel_result *r, cel_comparison_form form);
void cel_compare_csv(struct cel_page *page, const cel_result *r);
void cel_compare_json(struct cel_page *page, const cel_result *r);
void cel_compare_html(struct cel_page *page, const cel_result *r);
#endif
