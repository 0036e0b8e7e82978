/* Downloads of public data sets: named, with official address, size and hash.
 *
 * A download goes to FILE.part, is hashed as it comes, and gets its name only when size and hash are right, so a file
 * under its final name is whole. One that breaks off leaves the .part behind; the next call goes on from there. */
#ifndef CELLAR_FETCH_H
#define CELLAR_FETCH_H
#include "cellar/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cel_download {
    const char *name;   /* "cifar10": what the command line says */
    const char *about;  /* one line */
    const char *file;   /* its name on disk; `cel_dataset_open` reads it as it is */
    const char *url;    /* http or https */
    uint64_t bytes;     /* exact size */
    const char *sha256; /* 64 lower-case hexadecimal digits */
} cel_download;

/* The known ones, owned by the library; i = 0 .. cel_download_count()-1. */
int cel_download_count(void);
const cel_download *cel_download_get(int i);
/* NULL when there is none of that name. */
const cel_download *cel_download_find(const char *name);

typedef struct cel_fetch_options {
    const char *dir; /* made when missing; NULL: the working directory */
    const char *url; /* another place that has the same bytes; NULL: the official one */
    int stall_s;     /* give up when nothing arrives for so many seconds; 0: 60 */
    /* Called from time to time with the bytes that are here, of how many; false stops with CEL_INTERRUPTED. May be NULL. */
    bool (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
} cel_fetch_options;

/* Brings `what` into the directory, as `dir`/`what->file`. One that is already there and whole is left alone. Fails with CEL_FORMAT (wrong size or hash: a fresh download is removed, a file that was already
 * under the final name is not), CEL_NOTFOUND (the server does not have it), CEL_IO (network, server, disk), CEL_BUSY (another
 * process is fetching it), CEL_CONFIG (an address that is neither http nor https), CEL_INTERRUPTED, CEL_NOMEM. */
cel_status cel_fetch(const cel_download *what, const cel_fetch_options *options);

#ifdef __cplusplus
}
#endif
#endif
