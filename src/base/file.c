#define _GNU_SOURCE
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

static cel_status io_fail(const char *doing, const char *path) {
    int e = errno;
    const char *hint = e == ENOSPC   ? "; free some space and try again"
                       : e == EACCES ? "; check the permissions of the file and of its directories"
                       : e == ENOENT ? "; check the spelling"
                                     : "";
    return CEL_FAIL(e == ENOENT ? CEL_NOTFOUND : CEL_IO, "%s: cannot %s: %s%s", path, doing, strerror(e), hint);
}

cel_status cel_file_read(const char *path, size_t max_bytes, char **data, size_t *n) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_fail("open", path);
    struct stat st;
    cel_status status = CEL_OK;
    char *block = NULL;
    size_t used = 0, room = 0;
    if (fstat(fd, &st) != 0) {
        status = io_fail("look at", path);
        goto out;
    }
    if (S_ISDIR(st.st_mode)) {
        status = CEL_FAIL(CEL_IO, "%s: expected a file, found a directory", path);
        goto out;
    }
    room = st.st_size > 0 ? (size_t)st.st_size + 1 : 4096;
    if (room > max_bytes) room = max_bytes;
    block = cel_alloc(room + 1, 1);
    if (!block) {
        status = CEL_FAIL(CEL_NOMEM, "%s: out of memory for %zu bytes", path, room);
        goto out;
    }
    for (;;) {
        if (used == room) {
            char extra;
            ssize_t more = room < max_bytes ? 1 : read(fd, &extra, 1);
            if (more < 0 && errno == EINTR) continue;
            if (more < 0) {
                status = io_fail("read", path);
                goto out;
            }
            if (more == 0) break;
            if (room == max_bytes) {
                status = CEL_FAIL(CEL_FORMAT, "%s: expected at most %zu bytes, found more", path, max_bytes);
                goto out;
            }
            size_t grown = room > max_bytes / 2 ? max_bytes : room * 2;
            char *bigger = cel_realloc(block, room + 1, grown + 1, 1);
            if (!bigger) {
                status = CEL_FAIL(CEL_NOMEM, "%s: out of memory for %zu bytes", path, grown);
                goto out;
            }
            block = bigger;
            room = grown;
        }
        ssize_t got = read(fd, block + used, room - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            status = io_fail("read", path);
            goto out;
        }
        if (got == 0) break;
        used += (size_t)got;
    }
    block[used] = 0;
    *data = block;
    *n = used;
    block = NULL;
out:
    cel_free(block);
    close(fd);
    return status;
}

cel_status cel_dir_sync(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return io_fail("open", path);
    int bad = fsync(fd) != 0 && errno != EINVAL; /* some file systems cannot sync a directory */
    cel_status status = bad ? io_fail("sync", path) : CEL_OK;
    close(fd);
    return status;
}

/* The directory of `path`, open. */
static cel_status open_parent(const char *path, int *fd) {
    const char *slash = strrchr(path, '/');
    char *parent = slash ? cel_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : cel_strdup(".");
    if (!parent) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", path);
    *fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cel_status status = *fd < 0 ? io_fail("open", parent) : CEL_OK;
    cel_free(parent);
    return status;
}

cel_status cel_file_write_atomic(const char *path, const void *data, size_t n) {
    char *temp = cel_asprintf("%s.tmp", path);
    if (!temp) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", path);
    int directory;
    cel_status status = open_parent(path, &directory);
    if (status != CEL_OK) {
        cel_free(temp);
        return status;
    }
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        status = io_fail("create", temp);
        close(directory);
        cel_free(temp);
        return status;
    }
    for (size_t done = 0; done < n;) {
        ssize_t put = write(fd, (const char *)data + done, n - done);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            status = io_fail("write", temp);
            break;
        }
        done += (size_t)put;
    }
    if (status == CEL_OK && fsync(fd) != 0) status = io_fail("sync", temp);
    if (close(fd) != 0 && status == CEL_OK) status = io_fail("close", temp);
    if (status == CEL_OK && rename(temp, path) != 0) status = io_fail("rename into place", path);
    if (status != CEL_OK)
        unlink(temp);
    else if (fsync(directory) != 0 && errno != EINVAL) /* some file systems cannot sync a directory */
        status = io_fail("sync the directory of", path);
    close(directory);
    cel_free(temp);
    return status;
}

cel_status cel_file_write_named(const char *path, const void *data, size_t n) {
    char target[PATH_MAX];
    struct stat st;
    if (lstat(path, &st) != 0 || S_ISREG(st.st_mode)) return cel_file_write_atomic(path, data, n);
    if (S_ISLNK(st.st_mode) && realpath(path, target) && stat(target, &st) == 0 && S_ISREG(st.st_mode))
        return cel_file_write_atomic(target, data, n);
    return CEL_FAIL(CEL_IO, "%s: expected a file or nothing, found a %s; give the name of a file", path,
                    S_ISDIR(st.st_mode)   ? "directory"
                    : S_ISLNK(st.st_mode) ? "link to no file"
                                          : "device or pipe");
}

cel_status cel_dir_make(const char *path) {
    char *part = cel_strdup(path);
    if (!part) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", path);
    cel_status status = CEL_OK;
    for (char *p = part + (part[0] == '/'); status == CEL_OK; p++) {
        if (*p && *p != '/') continue;
        char kept = *p;
        *p = 0;
        if (*part && mkdir(part, 0777) != 0 && !(errno == EEXIST && cel_path_is_dir(part)))
            status = io_fail("create the directory", part);
        *p = kept;
        if (!kept) break;
    }
    cel_free(part);
    return status;
}

bool cel_path_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

bool cel_path_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *cel_path_join(const char *a, const char *b) {
    size_t n = strlen(a);
    return cel_asprintf("%s%s%s", a, n && a[n - 1] == '/' ? "" : "/", b);
}

cel_status cel_file_lock(const char *path, int *fd) {
    int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (f < 0) return io_fail("open", path);
    if (flock(f, LOCK_EX | LOCK_NB) != 0) {
        cel_status status = errno == EWOULDBLOCK
                                ? CEL_FAIL(CEL_BUSY, "%s: in use by another process; wait for it or stop it", path)
                                : io_fail("lock", path);
        close(f);
        return status;
    }
    *fd = f;
    return CEL_OK;
}

double cel_clock_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint64_t cel_mem_rss_bytes(void) {
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long size, resident;
    int got = f ? fscanf(f, "%lu %lu", &size, &resident) : 0;
    if (f) fclose(f);
    return got == 2 ? (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

uint64_t cel_mem_peak_bytes(void) {
    struct rusage use;
    return getrusage(RUSAGE_SELF, &use) == 0 ? (uint64_t)use.ru_maxrss * 1024 : 0;
}
