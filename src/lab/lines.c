#define _POSIX_C_SOURCE 200809L
#include "lab/lines.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "lab/append.h"

/* Where the first `keep` lines end. */
static cel_status find_end(const cel_lines *lines, int64_t keep, int64_t *end) {
    char block[1 << 14];
    int64_t at = 0, found = 0;
    for (;;) {
        ssize_t got = pread(lines->fd, block, sizeof block, (off_t)at);
        if (got < 0) return cel_append_fail(lines->path, "read");
        if (got == 0)
            return CEL_FAIL(CEL_FORMAT,
                            "%s: expected %lld whole lines, as the checkpoint says, found %lld; it was cut or "
                            "changed, so the run cannot go on",
                            lines->path, (long long)keep, (long long)found);
        for (ssize_t i = 0; i < got; i++)
            if (block[i] == '\n' && ++found == keep) {
                *end = at + i + 1;
                return CEL_OK;
            }
        at += got;
    }
}

cel_status cel_lines_count(const char *path, int64_t *n) {
    char block[1 << 14];
    size_t got;
    *n = 0;
    FILE *f = fopen(path, "rb");
    if (!f && errno == ENOENT) return CEL_OK;
    if (!f) return cel_append_fail(path, "open");
    while ((got = fread(block, 1, sizeof block, f)) > 0)
        for (size_t i = 0; i < got; i++) *n += block[i] == '\n';
    cel_status status = ferror(f) ? cel_append_fail(path, "read") : CEL_OK;
    fclose(f);
    return status;
}

static cel_status open_at(cel_lines *lines, int64_t keep) {
    int64_t length, end = 0;
    CEL_TRY(cel_append_open(lines->path, &lines->fd, &length));
    if (keep) CEL_TRY(find_end(lines, keep, &end));
    if (end != length) CEL_TRY(cel_append_cut(lines->fd, lines->path, end));
    lines->n = keep;
    lines->bytes = end;
    return CEL_OK;
}

cel_status cel_lines_open(cel_lines *lines, const char *path, int64_t keep) {
    *lines = (cel_lines){.fd = -1, .path = cel_strdup(path)};
    if (!lines->path) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", path);
    cel_status status = open_at(lines, keep);
    if (status != CEL_OK) cel_lines_close(lines);
    return status;
}

cel_status cel_lines_append(cel_lines *lines, const char *text) {
    size_t n = strlen(text) + 1;
    char *line = cel_asprintf("%s\n", text);
    if (!line) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", lines->path);
    cel_status status = memchr(line, '\n', n) == line + n - 1
                            ? cel_append(lines->fd, lines->path, lines->bytes, line, n)
                            : CEL_FAIL(CEL_INTERNAL, "%s: a record with a line break in it", lines->path);
    cel_free(line);
    CEL_TRY(status);
    lines->n++;
    lines->bytes += (int64_t)n;
    return CEL_OK;
}

cel_status cel_lines_sync(cel_lines *lines) { return cel_append_sync(lines->fd, lines->path); }

void cel_lines_close(cel_lines *lines) {
    if (lines->fd >= 0) close(lines->fd);
    cel_free(lines->path);
    *lines = (cel_lines){.fd = -1};
}
