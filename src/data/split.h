/* Which images feed the weights and which the architecture. Paper: DrNAS (arXiv:2006.10355) section 4 takes halves of the training
 * images; the authors' code takes them in index order. NAS-Bench-201 (arXiv:2001.00326) publishes lists. */
#ifndef CEL_DATA_SPLIT_H
#define CEL_DATA_SPLIT_H
#include "cellar/data.h"

typedef enum cel_split_kind {
    CEL_SPLIT_HALVES, /* the first and the second half of the training images, in index order */
    CEL_SPLIT_NB201,  /* the official lists over the complete training images (cifar10, cifar100, imagenet16-120) */
    CEL_SPLIT_RANDOM, /* a random half by seed, each half in index order */
    CEL_SPLIT_NB201_TEST, /* the official lists over the test images: x-valid, x-test (cifar100, imagenet16-120). No search has it */
    CEL_SPLIT_KIND_COUNT
} cel_split_kind;
/* "halves", "nb201", "random", "nb201-test"; NULL when out of range. */
const char *cel_split_kind_name(cel_split_kind kind);

typedef struct cel_split_conf {
    cel_split_kind kind;
    uint64_t seed;       /* of the random kind */
    int limit;           /* use only the first so many images of the part; 0 = all */
    int limit_per_class; /* use only the first so many images of each class; 0 = all. At most one of the limits is set */
} cel_split_conf;

/* Two disjoint index lists into `part`, ascending (the official lists as published). The limits choose images first, then
 * these are split: halves of the chosen ones, or the chosen ones that a list holds. */
typedef struct cel_split {
    cel_part part;
    int n[2];
    int32_t *index[2]; /* 0: weights, 1: architecture */
} cel_split;

/* CEL_CONFIG for a limit out of range or a kind that the data set has no lists for (names those that have), CEL_SHAPE when lists
 * do not cover it. The caller calls cel_split_fini. */
cel_status cel_split_init(const cel_dataset *data, const cel_split_conf *conf, cel_split *split);
void cel_split_fini(cel_split *split);

/* Reads a list file: "NAME COUNT" and a line of COUNT indices, twice; indices ascend, the two lists are disjoint and together
 * cover 0 .. n-1. `name` stands in messages. */
cel_status cel_split_parse(const char *name, const char *text, size_t n_text, cel_split *split);
#endif
