/* What append-only files share: whole writes that are undone when they fail, and named errors. */
#ifndef CEL_LAB_APPEND_H
#define CEL_LAB_APPEND_H
#include "cellar/status.h"

/* CEL_IO with errno's text and a hint. */
cel_status cel_append_fail(const char *path, const char *doing);
/* Writes n bytes behind `at`; a failed write is cut off again. */
cel_status cel_append(int fd, const char *path, int64_t at, const void *data, size_t n);
/* Opens for appending and creates; *bytes is the length. */
cel_status cel_append_open(const char *path, int *fd, int64_t *bytes);
cel_status cel_append_cut(int fd, const char *path, int64_t bytes);
cel_status cel_append_sync(int fd, const char *path);
#endif
