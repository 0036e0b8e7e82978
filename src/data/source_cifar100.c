/* CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 images of 32 x 32 in 100 (fine) classes. Official binary and python versions. A binary record has the
 * coarse label before the fine one. */
#include "data/source.h"

static const char *const bin_train[] = {"train.bin", NULL};
static const char *const bin_test[] = {"test.bin", NULL};
static const char *const py_train[] = {"train", NULL};
static const char *const py_test[] = {"test", NULL};

static const cel_layout layouts[] = {
    {.form = "binary",
     .files = {bin_train, bin_test},
     .max_images = {50000, 10000},
     .label_bytes = 2,
     .label_at = 1,
     .last_label = 99,
     .names_file = "fine_label_names.txt"},
    {.form = "python",
     .files = {py_train, py_test},
     .max_images = {50000, 10000},
     .label_key = "fine_labels",
     .last_label = 99,
     .names_file = "meta",
     .names_key = "fine_label_names"},
};
static const char *const subdirs[] = {"cifar-100-binary", "cifar-100-python", NULL};
static const char *const archives[] = {"cifar-100-binary.tar.gz", "cifar-100-python.tar.gz", NULL};

const cel_source cel_source_cifar100 = {
    .name = "cifar100",
    .about = "CIFAR-100: 50,000 + 10,000 images of 32 x 32, 100 classes",
    .channels = 3,
    .height = 32,
    .width = 32,
    .n_classes = 100,
    .complete = {50000, 10000},
    .layouts = layouts,
    .n_layouts = CEL_COUNT(layouts),
    .subdirs = subdirs,
    .archives = archives,
    .open = cel_layout_open,
};
