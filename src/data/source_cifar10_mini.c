/* cifar10-mini, which comes with cellar: the first 500 + 100 images of each class of CIFAR-10, in the canonical order. */
#include "data/source.h"

static const char *const train[] = {"train.bin", NULL};
static const char *const test[] = {"test.bin", NULL};
static const char *const none[] = {NULL};

static const cel_layout layouts[] = {
    {.form = "records",
     .files = {train, test},
     .max_images = {5000, 1000},
     .label_bytes = 1,
     .last_label = 9,
     .names_file = "batches.meta.txt"},
};

const cel_source cel_source_cifar10_mini = {
    .name = "cifar10-mini",
    .about = "5,000 + 1,000 images of CIFAR-10 that come with cellar",
    .channels = 3,
    .height = 32,
    .width = 32,
    .n_classes = 10,
    .complete = {5000, 1000},
    .layouts = layouts,
    .n_layouts = CEL_COUNT(layouts),
    .subdirs = none,
    .archives = none,
    .shipped = "cifar10-mini",
    .open = cel_layout_open,
};
