#define _POSIX_C_SOURCE 200809L
#include "lab/append.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

cel_status cel_append_fail(const char *path, const char *doing) {
    int e = errno;
    const char *hint = e == ENOSPC   ? "; free some space, then go on with --resume"
                       : e == EACCES ? "; check the permissions of the file and of its directories"
                                     : "";
    return CEL_FAIL(CEL_IO, "%s: cannot %s: %s%s", path, doing, strerror(e), hint);
}

cel_status cel_append_open(const char *path, int *fd, int64_t *bytes) {
    struct stat st;
    *fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (*fd < 0) return cel_append_fail(path, "open");
    if (fstat(*fd, &st) != 0) {
        cel_status status = cel_append_fail(path, "look at");
        close(*fd);
        *fd = -1;
        return status;
    }
    *bytes = st.st_size;
    return CEL_OK;
}

cel_status cel_append_cut(int fd, const char *path, int64_t bytes) {
    return ftruncate(fd, (off_t)bytes) == 0 ? CEL_OK : cel_append_fail(path, "cut back");
}

cel_status cel_append_sync(int fd, const char *path) { return fsync(fd) == 0 ? CEL_OK : cel_append_fail(path, "sync"); }

cel_status cel_append(int fd, const char *path, int64_t at, const void *data, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t put = write(fd, (const char *)data + done, n - done);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            cel_status status = cel_append_fail(path, "write");
            if (ftruncate(fd, (off_t)at) != 0) cel_log(CEL_LOG_WARN, "%s: a torn record is left at its end", path);
            return status;
        }
        done += (size_t)put;
    }
    return CEL_OK;
}
