/* Recipes and runs: a YAML file with the settings of a search, and the run directory that the search leaves behind
 * (docs/formats.md describes both). */
#ifndef CELLAR_RUN_H
#define CELLAR_RUN_H
#include "cellar/search.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cel_recipe cel_recipe;

/* Opens a recipe: a file (a name with a slash or ending in .yaml) or one that ships with cellar ("demo"), and lays n_sets settings
 * "section.key=value" over it. Everything is checked but what depends on the images. CEL_CONFIG names file, line, setting, what is legal
 * and the nearest name; CEL_NOTFOUND. */
cel_status cel_recipe_open(const char *name, const char *const *sets, int n_sets, cel_recipe **out);
void cel_recipe_destroy(cel_recipe *recipe);
/* All settings, spelt out; the YAML reads back to the same bits. The caller releases the text with cel_free. */
typedef enum cel_recipe_form {
    CEL_RECIPE_YAML,
    CEL_RECIPE_YAML_HELP, /* each setting with its range and meaning beside it */
    CEL_RECIPE_JSON
} cel_recipe_form;
cel_status cel_recipe_text(const cel_recipe *recipe, cel_recipe_form form, char **out);
/* The settings of a method or space with their defaults, as YAML with help; "" when it has none. Caller: cel_free. */
cel_status cel_method_settings(const cel_method *method, char **out);
cel_status cel_space_settings(const cel_space *space, char **out);

/* Texts belong to the recipe; "" where it says nothing. */
typedef struct cel_recipe_info {
    const char *title, *note;
    const char *method, *space, *dataset, *data_path;
    int n_epochs;
    int64_t seed;
    const char *expect_dataset, *expect_source; /* the published figure */
    double expect_test, expect_std;             /* percent; 0 = none */
} cel_recipe_info;
cel_recipe_info cel_recipe_get_info(const cel_recipe *recipe);

/* Calls fn for each recipe that ships with cellar, by name, until it does not answer CEL_OK. */
typedef cel_status cel_recipe_fn(void *ctx, const char *name, const char *path);
cel_status cel_recipe_each(cel_recipe_fn *fn, void *ctx);

typedef struct cel_run_options {
    const char *dir;   /* the run directory, made if it is not there */
    bool resume;       /* go on with the run in it */
    bool stay_stopped; /* with resume: a run that its watch has stopped ends like that again, and is not gone on with */
    int threads;       /* 0: as for the machine */
    const char *command; /* the line that repeats the run, for its record; NULL: none */
    /* All optional. `begin`: everything is ready, epochs_done epochs of it done before. `step`: true asks to write a
     * checkpoint and stop. `epoch`: after its record is written. `end`: the run is complete, also when it was before;
     * see cel_search_found. */
    void *ctx;
    void (*begin)(void *ctx, const cel_search_info *info, const cel_dataset_info *data);
    bool (*step)(void *ctx, const cel_search_progress *progress);
    void (*epoch)(void *ctx, const cel_search_epoch *epoch);
    void (*end)(void *ctx, const cel_search_epoch *found);
} cel_run_options;

/* Searches, and keeps the run directory; *found (may be NULL) is the cell. Without the benchmark table of the space it
 * warns and goes without the table's numbers. CEL_CONFIG (the directory has a run already, or of another recipe or
 * images), CEL_BUSY, CEL_IO, CEL_INTERRUPTED (a checkpoint is written), CEL_COLLAPSED (likewise, by the recipe's
 * watch; `end` was told of the cell of that moment), CEL_DIVERGED (the last checkpoint stays), what
 * opening the data answers. */
cel_status cel_run_search(const cel_recipe *recipe, const cel_run_options *options, cel_genotype *found);

/* The cell that a run recorded after `epoch` (genotypes.jsonl), -1 for the last. CEL_NOTFOUND: no such epoch, or no
 * file; CEL_FORMAT. */
cel_status cel_run_recorded(const char *dir, int epoch, cel_genotype *out);
/* The cell that a finished run selected among drawn ones (selection.json). CEL_NOTFOUND: it did not; CEL_FORMAT. */
cel_status cel_run_selected(const char *dir, cel_genotype *out);

#ifdef __cplusplus
}
#endif
#endif
