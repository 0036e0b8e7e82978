/* CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 images of 32 x 32 in 10 classes. The official binary and python versions, as directories or
 * archives; and records in two files, train.bin and test.bin, as subsets are kept. */
#include "data/source.h"

static const char *const bin_train[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                        "data_batch_4.bin", "data_batch_5.bin", NULL};
static const char *const bin_test[] = {"test_batch.bin", NULL};
static const char *const py_train[] = {"data_batch_1", "data_batch_2", "data_batch_3",
                                       "data_batch_4", "data_batch_5", NULL};
static const char *const py_test[] = {"test_batch", NULL};
static const char *const records_train[] = {"train.bin", NULL};
static const char *const records_test[] = {"test.bin", NULL};

static const cel_layout layouts[] = {
    {.form = "binary",
     .files = {bin_train, bin_test},
     .max_images = {10000, 10000},
     .equal_files = true,
     .label_bytes = 1,
     .last_label = 9,
     .names_file = "batches.meta.txt"},
    {.form = "records",
     .files = {records_train, records_test},
     .max_images = {50000, 10000},
     .label_bytes = 1,
     .last_label = 9,
     .names_file = "batches.meta.txt"},
    {.form = "python",
     .files = {py_train, py_test},
     .max_images = {10000, 10000},
     .equal_files = true,
     .label_key = "labels",
     .last_label = 9,
     .names_file = "batches.meta",
     .names_key = "label_names"},
};
static const char *const subdirs[] = {"cifar-10-batches-bin", "cifar-10-batches-py", NULL};
static const char *const archives[] = {"cifar-10-binary.tar.gz", "cifar-10-python.tar.gz", NULL};

const cel_source cel_source_cifar10 = {
    .name = "cifar10",
    .about = "CIFAR-10: 50,000 + 10,000 images of 32 x 32, 10 classes",
    .channels = 3,
    .height = 32,
    .width = 32,
    .n_classes = 10,
    .complete = {50000, 10000},
    .layouts = layouts,
    .n_layouts = CEL_COUNT(layouts),
    .subdirs = subdirs,
    .archives = archives,
    .open = cel_layout_open,
};
