/* Data sets of small labelled images, whole in memory.
 *
 * A data set has a training and a test part; image i of a part is channels x height x width bytes (R, G, B planes) and
 * a label 0 .. n_classes-1. It is read-only once open, so any number of threads may use it.
 *
 * Plain files are mapped, not copied: they must stay as they are while the data set is open. A file that another
 * process cuts short meanwhile ends this one with SIGBUS, and one that is overwritten changes the images; replace such
 * files by renaming. */
#ifndef CELLAR_DATA_H
#define CELLAR_DATA_H
#include "cellar/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A kind of data set that cellar can open. Owned by the library. */
typedef struct cel_source_info {
    const char *name;  /* "cifar10": what recipes and the command line say */
    const char *about; /* one line */
    bool needs_path;   /* false: comes with cellar or is computed */
} cel_source_info;
int cel_source_count(void);
/* i = 0 .. cel_source_count()-1. */
cel_source_info cel_source_get(int i);
/* The files that source i looks for, in one line, as a new string that the caller frees with cel_free; "" when it needs none; NULL when
 * memory is out. */
char *cel_source_files(int i);

typedef struct cel_dataset cel_dataset;
typedef enum cel_part { CEL_PART_TRAIN, CEL_PART_TEST, CEL_PART_COUNT } cel_part;

/* Opens the data set `source` from `path`: a directory (or one that holds the official directory or archive), or the
 * official .tar.gz itself, read in place. What it is, is recognised by the files in it. `path` may be NULL where none is
 * needed. Fails with CEL_CONFIG (no such source, no path), CEL_NOTFOUND (nothing there: the message lists what was looked for),
 * CEL_FORMAT (a damaged file), CEL_IO, CEL_NOMEM. The caller destroys it. */
cel_status cel_dataset_open(const char *source, const char *path, cel_dataset **out);
void cel_dataset_destroy(cel_dataset *data);

/* Pointers belong to the data set. */
typedef struct cel_dataset_info {
    const char *name; /* the source's name */
    const char *path; /* where it was found; "" for a computed one */
    const char *form; /* "binary", "python", "records", "synthetic" */
    int n_images[CEL_PART_COUNT];
    int channels, height, width, n_classes;
    const char *const *class_names; /* n_classes; "0", "1", ... when the files do not tell */
    const double *mean, *std;       /* per channel over the training part, in units of 1 = white */
    const char *sha256;             /* of shape, labels and pixels: the same whatever the files' form */
} cel_dataset_info;
cel_dataset_info cel_dataset_get_info(const cel_dataset *data);

/* Image i of a part: channels x height x width bytes, borrowed; and its label. i is in range. */
const uint8_t *cel_dataset_image(const cel_dataset *data, cel_part part, int i);
int cel_dataset_label(const cel_dataset *data, cel_part part, int i);

/* Images that are computed from a seed, for tests and trials: every class has its own smooth pattern, shifted and blurred by
 * noise, so that a small network learns it and a linear one nearly. Labels take turns: 0, 1, ... */
typedef struct cel_synthetic {
    uint64_t seed;
    int n_train, n_test, n_classes, channels, height, width;
} cel_synthetic;
/* CEL_CONFIG when a number is out of range (classes 2 .. 1000, channels 1 .. 4, sides 1 .. 512). */
cel_status cel_dataset_synthetic(const cel_synthetic *what, cel_dataset **out);

#ifdef __cplusplus
}
#endif
#endif
