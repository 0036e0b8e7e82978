/* A search: from images to a cell.
 *
 * The driver owns the bilevel loop: each step an architecture half-step on one batch and a weight half-step on another, in
 * progressive stages. It writes nothing itself: an observer is told what happens and keeps what must be kept (src/lab writes the run
 * directory). Equal settings, data, backend and instruction set give equal numbers, on any number of threads, interrupted or not.
 * The benchmark table only scores what is found, epoch by epoch; nothing of it flows back. */
#ifndef CELLAR_SEARCH_H
#define CELLAR_SEARCH_H
#include "cellar/arch.h"
#include "cellar/data.h"
#include "cellar/plugin.h"
#include "cellar/table.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cel_settings;  /* nas/search/settings.h */
struct cel_state;     /* base/state.h */
struct cel_selection; /* nas/search/select.h */
typedef struct cel_search cel_search;

/* The registered methods and spaces, in order; NULL when i is out of range. */
const cel_method *cel_search_method(int i);
const cel_space *cel_search_space(int i);

enum { CEL_SEARCH_TABLES = 3 };

/* What an epoch came to. Accuracies in percent. Pointers are valid during the call. */
typedef struct cel_search_epoch {
    int epoch, n_epochs, stage, n_stages, k, ops_kept;
    double train_loss, train_acc;
    bool has_valid; /* false: the architecture met no images of its own and search.validate is off */
    double valid_loss, valid_acc;
    double lr, arch_lr; /* at the epoch's start */
    bool arch_active;
    double grad_norm; /* of the weight steps, before clipping, mean */
    double entropy;   /* of the mean distribution, mean over the choices, nats */
    cel_genotype genotype;
    char text[CEL_GENOTYPE_TEXT];
    uint64_t hash;
    cel_arch_cost cost; /* of the network that one would train, with the recipe's space and data set */
    int index;          /* in the benchmark table; -1 without */
    int n_tables;       /* 0 without a table */
    struct {
        const char *dataset;
        double test;
        int rank;
    } table[CEL_SEARCH_TABLES]; /* after 200 epochs of training */
    struct {
        int n;               /* architectures drawn from the distribution; 0 without a table */
        const char *dataset; /* cel_table_dataset_of; "cifar10" for images that the table does not know */
        double min, max, mean, q25, q75;
    } sampled;
    struct {
        int skips;   /* most skip connections in a kind of cell of the genotype */
        bool looked; /* a look of the collapse watch (section watch of a recipe); else what follows is 0 and NULL */
        double eigenvalue;   /* the largest of the validation loss' Hessian by the architecture */
        const char *warning; /* NULL: nothing to say */
    } watch;
    const cel_choices *choices;
    const double *concentration; /* n_entries; 0 = pruned */
    const uint8_t *live;         /* n_entries */
    /* Of this process' part of the epoch, if it was resumed inside: what the time fields are made of, the only ones
     * that two equal runs may differ in. images: through the network, forwards with and without a gradient. */
    int64_t images;
    double seconds;
} cel_search_epoch;

typedef struct cel_search_progress {
    int epoch, n_epochs, stage, n_stages;
    int64_t step, n_steps; /* of the epoch, done and in all: the weights' and then the method's own passes */
    double done;           /* of the whole search, 0..1 */
    double loss, accuracy; /* of the weight steps of this epoch so far */
    bool arch_active;
} cel_search_progress;

/* Any function may be NULL. A status other than CEL_OK ends the search with it. */
typedef struct cel_search_observer {
    void *ctx;
    /* After each step. true: write a checkpoint and stop with CEL_INTERRUPTED. */
    bool (*step)(void *ctx, const cel_search_progress *progress);
    /* After each epoch, before its checkpoint. */
    cel_status (*epoch)(void *ctx, const cel_search_epoch *epoch);
    /* After the last epoch and before its checkpoint, where the cell is selected among drawn ones (section `select`): all of them, and what
     * there is to say of the best (cel_search_found). */
    cel_status (*select)(void *ctx, const struct cel_selection *selection, const cel_search_epoch *found);
    /* Keep `state` as the newest checkpoint. serial: steps done so far, later is newer; epoch_end: after `epoch` and before the next
     * step. Equal serials have equal states. The arrays are borrowed and may be sorted. */
    cel_status (*save)(void *ctx, int64_t serial, bool epoch_end, struct cel_state *state);
} cel_search_observer;

/* Copies the saved values into the arrays of `state` by name. whole: these are all that was saved. */
typedef cel_status cel_search_fill(void *ctx, const struct cel_state *state, bool whole);

/* `settings`, `data` and `table` (may be NULL) are borrowed for the search's life. threads: as for the machine when 0. */
cel_status cel_search_create(const struct cel_settings *settings, const cel_dataset *data, const cel_table *table,
                             int threads, cel_search **out);
void cel_search_destroy(cel_search *search);
/* Goes to where a checkpoint was written. On failure the search can only be destroyed. */
cel_status cel_search_restore(cel_search *search, cel_search_fill *fill, void *ctx);
/* Runs to the end. CEL_INTERRUPTED after a stop that was asked for, CEL_COLLAPSED when the recipe's watch
 * says so (after the epoch's record and checkpoint), CEL_DIVERGED when a loss or a gradient is not
 * finite (the message says where; no checkpoint is written then). May be called again after an interruption. */
cel_status cel_search_run(cel_search *search, const cel_search_observer *observer);
/* The genotype of the present distribution; after the end the one that was selected. */
cel_status cel_search_genotype(const cel_search *search, cel_genotype *out);
/* What there is to say of that genotype: of *out genotype, text, hash, cost, index, n_tables and table are set, the
 * rest is 0. */
cel_status cel_search_found(const cel_search *search, cel_search_epoch *out);

/* What the shared weights say of one architecture, or of any weights of the operations (n_entries): loss and accuracy (percent) over n
 * batches of the architecture's images, in index order from batch `first` on (counted around), not augmented, in evaluation mode.
 * Nothing of the search moves. CEL_CONFIG when there are fewer than n batches. */
cel_status cel_search_one_shot(cel_search *search, const double *weights, int first, int n, double *loss,
                               double *accuracy);

/* Of the present stage. */
typedef struct cel_search_info {
    const char *method, *space, *backend;
    int threads, stage, n_epochs, epochs_done;
    int64_t n_steps;       /* an epoch */
    int64_t params;        /* numbers in the supernet's weights */
    double flops_forward;  /* multiply-adds times two, of one batch */
    uint64_t memory_bytes; /* weights, gradients, momentum, statistics and the plan's blocks */
    int n_images[2];       /* of the weights' and the architecture's split */
} cel_search_info;
cel_status cel_search_get_info(const cel_search *search, cel_search_info *out);

#ifdef __cplusplus
}
#endif
#endif
