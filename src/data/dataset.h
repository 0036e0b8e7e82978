/* What a data set is inside: filled by a source, then finished (checked, measured, hashed) once. */
#ifndef CEL_DATA_DATASET_H
#define CEL_DATA_DATASET_H
#include "base/mem.h"
#include "cellar/data.h"

enum { CEL_DATA_MAX_CHANNELS = 4 };

typedef struct cel_images {
    int n, room;
    const uint8_t **pixels; /* image i: channels * height * width bytes in a file or block of the data set */
    int32_t *label;
} cel_images;

struct cel_dataset {
    cel_arena arena; /* names and tables that live as long as the data set */
    const char *name, *path, *form;
    int channels, height, width, n_classes;
    const char **class_name;
    cel_images part[CEL_PART_COUNT];
    double mean[CEL_DATA_MAX_CHANNELS], std[CEL_DATA_MAX_CHANNELS];
    char sha256[65];
    struct cel_fileset *files; /* owned; NULL = none */
    uint8_t *block;            /* owned pixels that no file holds */
    size_t block_bytes;
};

/* Bytes of one image. */
size_t cel_dataset_image_bytes(const cel_dataset *data);
/* Makes room for n more images in a part. */
cel_status cel_dataset_reserve(cel_dataset *data, cel_part part, int n);
/* Adds an image that the data set's files or block hold; there is room. */
void cel_dataset_add(cel_dataset *data, cel_part part, const uint8_t *pixels, int label);
/* Names the classes that no file named, takes mean, deviation and hash. CEL_FORMAT when a part is empty or a channel constant. */
cel_status cel_dataset_finish(cel_dataset *data);
#endif
