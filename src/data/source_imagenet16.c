/* ImageNet16-120 (Dong and Yang 2020, arXiv:2001.00326): the first 120 of the 1,000 classes of ImageNet scaled to 16 x 16 (Chrabaszcz et al. 2017,
 * arXiv:1707.08819), 151,700 + 6,000 images. The Python batches hold all 1,000 classes and count them from 1; the others are left out here.
 * Also records (label byte counted from 0, 768 bytes of pixels) in train.bin and test.bin, as stand-in sets of that shape are kept. */
#include "data/source.h"

static const char *const py_train[] = {"train_data_batch_1",
                                       "train_data_batch_2",
                                       "train_data_batch_3",
                                       "train_data_batch_4",
                                       "train_data_batch_5",
                                       "train_data_batch_6",
                                       "train_data_batch_7",
                                       "train_data_batch_8",
                                       "train_data_batch_9",
                                       "train_data_batch_10",
                                       NULL};
static const char *const py_test[] = {"val_data", NULL};
static const char *const records_train[] = {"train.bin", NULL};
static const char *const records_test[] = {"test.bin", NULL};

static const cel_layout layouts[] = {
    {.form = "python",
     .files = {py_train, py_test},
     .max_images = {140000, 50000},
     .label_key = "labels",
     .first_label = 1,
     .last_label = 1000},
    {.form = "records",
     .files = {records_train, records_test},
     .max_images = {151700, 6000},
     .label_bytes = 1,
     .last_label = 119,
     .names_file = "classes.txt"},
};
static const char *const subdirs[] = {"ImageNet16", NULL};
static const char *const archives[] = {"ImageNet16.tar.gz", "ImageNet16.tar", NULL};

const cel_source cel_source_imagenet16 = {
    .name = "imagenet16-120",
    .about = "ImageNet16-120: 151,700 + 6,000 images of 16 x 16, 120 classes",
    .channels = 3,
    .height = 16,
    .width = 16,
    .n_classes = 120,
    .complete = {151700, 6000},
    .layouts = layouts,
    .n_layouts = CEL_COUNT(layouts),
    .subdirs = subdirs,
    .archives = archives,
    .open = cel_layout_open,
};
