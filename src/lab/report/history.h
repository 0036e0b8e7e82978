/* What a run left behind, read back and checked: recipe.yaml, manifest.json, metrics.jsonl, genotypes.jsonl
 * (docs/formats.md). The bytes are anybody's; what these calls hand out is finite, in range and fits together. */
#ifndef CEL_LAB_HISTORY_H
#define CEL_LAB_HISTORY_H
#include "base/mem.h"
#include "cellar/arch.h"

enum { CEL_HISTORY_DATASETS = 3 };
/* The data sets of the benchmark table by its own names, and as people call them. */
extern const char *const cel_history_dataset[CEL_HISTORY_DATASETS];
extern const char *const cel_history_dataset_label[CEL_HISTORY_DATASETS];

/* One epoch. Accuracies in percent; NAN where the run measured none. */
typedef struct cel_record {
    int epoch, stage, k, ops_kept;
    bool arch_active, has_table, has_sampled;
    double train_loss, train_acc, valid_loss, valid_acc, lr, arch_lr, grad_norm, entropy;
    double skips, eigenvalue; /* of the collapse watch; NAN where it did not look */
    const char *warning;      /* its; NULL: none */
    const char *text;         /* of the genotype */
    cel_genotype genotype;
    double test[CEL_HISTORY_DATASETS]; /* after 200 epochs of training, by the table */
    int rank[CEL_HISTORY_DATASETS];
    struct {
        int n, dataset; /* architectures drawn; index of their data set */
        double min, max, mean, q25, q75;
    } sampled;
    const double *concentration; /* rows x cols; 0 where not live */
    const uint8_t *live;
    double seconds, images_per_s, rss_mb, peak_mb;
    double params, flops; /* of the network that one would train; NAN in a last record whose second line is missing */
} cel_record;

typedef struct cel_manifest {
    const char *version, *compiler, *flags, *cpu, *isa, *backend, *method, *space, *command;
    const char *dataset, *sha256;
    const char *started, *finished; /* ISO 8601; finished is NULL while the run is not */
    double threads, resumed;        /* counts */
    double images[2];               /* for the weights, for the architecture */
    int64_t seed;
    double seconds_total, peak_mb, plan_params, plan_flops, plan_mb;
} cel_manifest;

/* The best of the cells that were drawn after the last epoch (section `select`). */
enum { CEL_HISTORY_CANDIDATES = 10, CEL_HISTORY_PARTS = 16 };
typedef struct cel_selected {
    int samples, n, n_parts, n_shown; /* drawn, different ones, scores, candidates below */
    const char *part[CEL_HISTORY_PARTS];
    struct {
        const char *text;
        int times, rank;
        double part[CEL_HISTORY_PARTS]; /* NAN: none */
    } candidate[CEL_HISTORY_CANDIDATES];
} cel_selected;

typedef struct cel_history {
    cel_arena arena; /* holds everything below */
    cel_manifest manifest;
    const char *title, *note, *recipe;          /* the recipe's; "" where it says nothing; its whole text */
    const char *expect_dataset, *expect_source; /* the published figure */
    double expect_test;                         /* 0 = none */
    int n_epochs;                               /* that the recipe wants */
    int dataset;                                /* whose images these are, as index; -1: none of them */
    cel_arch_space space;
    const cel_topology *topology;
    int rows, cols; /* of a choice matrix */
    cel_record *record;
    int n;
    bool has_selection;
    cel_selected selection;
    cel_record found; /* of a run that selected: its last record with the selected cell in it */
} cel_history;

/* Reads a run directory. CEL_NOTFOUND, CEL_IO, CEL_CONFIG (recipe.yaml), CEL_FORMAT with file, line and field. A last line
 * without its line feed is what a killed process leaves, and passed over. */
cel_status cel_history_read(const char *run_dir, cel_history *out);
void cel_history_fini(cel_history *history);

/* The parts, from memory; `name` is the file's in messages. Metrics come before genotypes. */
cel_status cel_history_manifest(cel_history *h, const char *name, const char *text, size_t n);
cel_status cel_history_metrics(cel_history *h, const char *name, const char *text, size_t n);
cel_status cel_history_genotypes(cel_history *h, const char *name, const char *text, size_t n);
/* selection.json, which not every run has; last. */
cel_status cel_history_selection(cel_history *h, const char *name, const char *text, size_t n);
#endif
