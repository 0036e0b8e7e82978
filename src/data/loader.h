/* A reproducible stream of batches, made ahead of time by a thread of its own.
 *
 * Batch b of epoch e is a pure function of (seed, name, e, b) and the data: nothing depends on timing, threads or on what was
 * read before. So the whole state of a stream is the pair (epoch, batch) that comes next; cel_loader_tell gives it and
 * cel_loader_seek goes there. After cel_loader_create nothing is allocated.
 *
 * DrNAS (arXiv:2006.10355) runs two of them side by side: the weights' (CEL_ORDER_SHUFFLE) and the architecture's, which in the
 * authors' code takes the first batch of a newly shuffled iterator at each step (CEL_ORDER_FRESH: the same distribution, without
 * shuffling what is thrown away). */
#ifndef CEL_DATA_LOADER_H
#define CEL_DATA_LOADER_H
#include "data/augment.h"

typedef enum cel_order {
    CEL_ORDER_FIXED,   /* as the index list says */
    CEL_ORDER_SHUFFLE, /* a new permutation each epoch */
    CEL_ORDER_FRESH    /* each batch is drawn without replacement from all images, whatever came before */
} cel_order;

typedef struct cel_loader_conf {
    const char *name; /* names the random streams ("weights", "arch"); at most 40 bytes */
    uint64_t seed;
    const cel_dataset *data; /* borrowed for the loader's life */
    cel_part part;
    const int32_t *index; /* n_index images of the part, copied; NULL = all of the part */
    int n_index;
    int batch; /* images a batch */
    cel_order order;
    bool drop_last; /* leave out a last, smaller batch (CEL_ORDER_FRESH always does) */
    cel_augment augment;
    int depth; /* batches made ahead, 1 .. 64; 0 = 4 */
} cel_loader_conf;

/* Valid until the next call of next, seek or destroy. */
typedef struct cel_batch {
    const float *images;   /* n x channels x height x width, normalised by the data set's mean and standard deviation */
    const int32_t *labels; /* n */
    const int32_t *index;  /* n: which images of the part they are */
    int n;
    int64_t epoch, batch; /* which batch this is */
} cel_batch;

typedef struct cel_loader cel_loader;
/* CEL_CONFIG when a setting is out of range, when an index is, or when an epoch would have no batch. */
cel_status cel_loader_create(const cel_loader_conf *conf, cel_loader **out);
/* Stops the thread, also in the middle of an epoch. */
void cel_loader_destroy(cel_loader *loader);
/* Batches an epoch. */
int cel_loader_batches(const cel_loader *loader);
/* The next batch; the one after an epoch's last is the first of the next epoch. Never fails; blocks until it is made. One caller
 * at a time. */
void cel_loader_next(cel_loader *loader, cel_batch *batch);
/* What next will give. */
void cel_loader_tell(const cel_loader *loader, int64_t *epoch, int64_t *batch);
/* CEL_CONFIG unless epoch >= 0 and 0 <= batch < cel_loader_batches. */
cel_status cel_loader_seek(cel_loader *loader, int64_t epoch, int64_t batch);
/* Seconds that next has spent waiting for the thread since the start: 0 means the step never stalls. */
double cel_loader_waited_s(const cel_loader *loader);
#endif
