/* The files of a data set, from a directory (mapped, not copied) or out of a tar archive (gzip, xz or plain; read once, kept in
 * memory, never unpacked to disk). Only the wanted names are looked at. */
#ifndef CEL_DATA_FILESET_H
#define CEL_DATA_FILESET_H
#include "cellar/status.h"

typedef struct cel_data_file {
    const char *name;    /* "data_batch_1.bin" */
    const char *shown;   /* for messages: "dir/data_batch_1.bin", "x.tar.gz: data_batch_1.bin" */
    const uint8_t *data; /* NULL when the file is empty */
    size_t n;
} cel_data_file;

typedef struct cel_fileset cel_fileset;
/* A wanted file and how large it may be. */
typedef struct cel_file_want {
    const char *name;
    size_t max_bytes;
} cel_file_want;

/* Files that are wanted and not there are left out; `want` and its names outlive the call only. CEL_FORMAT for a file that is too large and for
 * a damaged archive, CEL_IO, CEL_NOMEM. */
cel_status cel_fileset_open(const char *path, const cel_file_want *want, size_t n_want, cel_fileset **out);
void cel_fileset_close(cel_fileset *set);
/* NULL when there is no such file. */
const cel_data_file *cel_fileset_find(const cel_fileset *set, const char *name);
/* Whether p lies in the memory of one of the files. */
bool cel_fileset_holds(const cel_fileset *set, const void *p);
#endif
