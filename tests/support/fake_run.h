/* Writes run directories as a search would leave them, with made-up learning curves but true genotypes and accuracies. */
#ifndef CEL_TEST_FAKE_RUN_H
#define CEL_TEST_FAKE_RUN_H
#include "cellar/table.h"
#include "support/test.h"

typedef struct fake_run {
    const cel_table *table; /* NULL: a run without table accuracies */
    int n_epochs, n_stages; /* of the recipe, equal stages; operations are pruned to 3 in the second */
    int n_done;             /* epochs in the files */
    bool no_valid;          /* without the architecture half's loss and accuracy */
    const char *title, *note, *command, *source; /* texts of recipe and manifest; NULL: ordinary ones */
} fake_run;

/* Writes recipe.yaml, manifest.json, metrics.jsonl and genotypes.jsonl into `dir`. */
void fake_run_write(const fake_run *run, const char *dir);
/* One file of it anew. */
void fake_file_write(const char *dir, const char *name, const char *text);
/* A whole file; the caller releases it with cel_free. */
char *fake_file_read(const char *dir, const char *name);
#endif
