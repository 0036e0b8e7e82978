/* A source: one kind of data set. A source file holds a const table and, where it is not files of a known layout, the function that
 * makes the images; its line in sources.def is its whole registration. */
#ifndef CEL_DATA_SOURCE_H
#define CEL_DATA_SOURCE_H
#include "data/dataset.h"

/* One way in which a data set's files are laid out. */
typedef struct cel_layout {
    const char *form;                         /* "binary", "records", "python" */
    const char *const *files[CEL_PART_COUNT]; /* names, NULL at the end */
    int max_images[CEL_PART_COUNT];           /* of one file */
    bool equal_files;                         /* the files of a part hold equally many images */
    int label_bytes, label_at;                /* records: bytes before the pixels, and which of them is the label */
    const char *label_key;                    /* python: the labels' key; NULL for records */
    int first_label;                          /* what the files call class 0 */
    int last_label;                     /* largest label in the files: above n_classes - 1 + first_label = left out */
    const char *names_file, *names_key; /* class names: a line each, or a list in a pickle; NULL = none */
} cel_layout;

typedef struct cel_source cel_source;
struct cel_source {
    const char *name, *about;
    int channels, height, width, n_classes;
    int complete[CEL_PART_COUNT]; /* images of the complete data set; fewer are a warning in the log */
    const cel_layout *layouts;    /* tried in this order */
    int n_layouts;
    const char *const *subdirs;  /* also looked into below the given directory, NULL at the end */
    const char *const *archives; /* likewise, tar archives */
    const char *shipped;         /* where it comes with cellar (cel_data_find); NULL = the caller gives a path */
    bool computed;               /* needs no path at all */
    /* Fills `data`, whose name and shape are set; images only, cel_dataset_finish follows. */
    cel_status (*open)(const cel_source *source, const char *path, cel_dataset *data);
};

/* `open` of every source that is made of files: finds the files by the layouts and reads them. */
cel_status cel_layout_open(const cel_source *source, const char *path, cel_dataset *data);
/* One line that names what cel_layout_open looks for, as a new string (NULL when memory is out). */
char *cel_layout_describe(const cel_source *source);

/* Empty data set with the source's name and shape. */
cel_status cel_dataset_begin(const cel_source *source, const char *path, cel_dataset **out);
#endif
