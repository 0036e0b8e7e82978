/* An append-only text file, a record a line. A kill may leave a torn last line, or lines that the checkpoint does not know of:
 * opening cuts the file back to the lines that count. */
#ifndef CEL_LAB_LINES_H
#define CEL_LAB_LINES_H
#include "cellar/status.h"

typedef struct cel_lines {
    int fd; /* -1: closed */
    char *path;
    int64_t n, bytes;
} cel_lines;

/* Creates the file when keep is 0, else cuts it back to its first `keep` lines; CEL_FORMAT when it has fewer. */
cel_status cel_lines_open(cel_lines *lines, const char *path, int64_t keep);
/* Whole lines in the file; 0 when there is no file. */
cel_status cel_lines_count(const char *path, int64_t *n);
/* Adds `text`, which has no line break, and one. On failure (CEL_IO) the file is as it was. */
cel_status cel_lines_append(cel_lines *lines, const char *text);
/* Everything so far survives a power cut. */
cel_status cel_lines_sync(cel_lines *lines);
/* A zero-initialised struct with fd -1, or one that failed to open, is fine. */
void cel_lines_close(cel_lines *lines);
#endif
