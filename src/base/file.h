/* Files: whole reads with a limit, writes that are either complete or not there, directories, locks. */
#ifndef CEL_BASE_FILE_H
#define CEL_BASE_FILE_H
#include "cellar/status.h"

/* Reads a whole file of at most max_bytes into a new block with a zero byte behind it (caller frees with cel_free). */
cel_status cel_file_read(const char *path, size_t max_bytes, char **data, size_t *n);
/* Writes `path`.tmp, syncs it, renames it over `path`, syncs the directory. On failure `path` is as it was (only where the
 * directory's own sync fails it may be the new file, whole). */
cel_status cel_file_write_atomic(const char *path, const void *data, size_t n);
/* The same for a path that a user names: a link's file is replaced, not the link. CEL_IO, and nothing changes, when
 * something other than a file is there: a device, a pipe, a directory, a link to nothing. */
cel_status cel_file_write_named(const char *path, const void *data, size_t n);
/* Creates the directory and its missing parents. */
cel_status cel_dir_make(const char *path);
bool cel_path_exists(const char *path);
bool cel_path_is_dir(const char *path);
/* "a/b" as a new string, NULL when memory is out. */
char *cel_path_join(const char *a, const char *b);
/* fsync of a directory, so that a rename in it survives a power cut. */
cel_status cel_dir_sync(const char *path);
/* Takes an exclusive lock on `path` (created if missing) for as long as *fd is open; CEL_BUSY when another process has it. */
cel_status cel_file_lock(const char *path, int *fd);
/* Monotonic seconds. */
double cel_clock_s(void);
/* Resident memory of this process in bytes, now and at its highest; 0 where the system does not tell. */
uint64_t cel_mem_rss_bytes(void);
uint64_t cel_mem_peak_bytes(void);
#endif
