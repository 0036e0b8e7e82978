#define _GNU_SOURCE
#include "data/fileset.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/mem.h"

struct cel_fileset {
    cel_arena arena;
    cel_data_file *file;
    size_t n_files;
    bool mapped; /* else blocks */
};

/* No public data set comes near; an archive that unpacks to more is a trap. */
static const int64_t MAX_UNPACKED = (int64_t)8 << 30;

static cel_status add(cel_fileset *set, const char *name, const uint8_t *data, size_t n, char *shown) {
    char *kept = cel_arena_strdup(&set->arena, name);
    if (!kept || !shown) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", name);
    set->file[set->n_files++] = (cel_data_file){.name = kept, .shown = shown, .data = data, .n = n};
    return CEL_OK;
}

static cel_status too_large(const char *shown, uint64_t found, size_t expected) {
    return CEL_FAIL(CEL_FORMAT, "%s: %llu bytes, expected at most %zu; is it the file of another data set?", shown,
                    (unsigned long long)found, expected);
}

/* A file of the directory, when it is there. */
static cel_status map_file(cel_fileset *set, const char *dir, const cel_file_want *want) {
    char *shown =
        cel_arena_printf(&set->arena, "%s%s%s", dir, *dir && dir[strlen(dir) - 1] == '/' ? "" : "/", want->name);
    if (!shown) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", want->name);
    int fd = open(shown, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) return CEL_OK;
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        cel_status status = CEL_FAIL(CEL_IO, "%s: cannot open: %s; check its permissions", shown, strerror(errno));
        if (fd >= 0) close(fd);
        return status;
    }
    cel_status status = CEL_OK;
    if (!S_ISREG(st.st_mode)) {
        /* a directory of images, say, that only has the name of a batch */
    } else if ((uint64_t)st.st_size > want->max_bytes) {
        status = too_large(shown, (uint64_t)st.st_size, want->max_bytes);
    } else {
        void *data = st.st_size ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
        if (data == MAP_FAILED)
            status = CEL_FAIL(CEL_IO, "%s: cannot map %lld bytes: %s", shown, (long long)st.st_size, strerror(errno));
        else if ((status = add(set, want->name, data, (size_t)st.st_size, shown)) != CEL_OK && data)
            munmap(data, (size_t)st.st_size);
    }
    close(fd);
    return status;
}

/* What libarchive reads from: zlib's reader, which passes other bytes through. libarchive's own gzip filter does not check the
 * sum at the end, and a changed pixel would go unnoticed. */
typedef struct {
    gzFile file;
    char buffer[1 << 16];
    const char *why; /* what zlib found wrong */
} input;

static la_ssize_t read_input(struct archive *a, void *ctx, const void **data) {
    (void)a;
    input *in = ctx;
    int got = gzread(in->file, in->buffer, sizeof in->buffer), error = Z_OK;
    const char *why = gzerror(in->file, &error);
    if (got < 0 || (error != Z_OK && error != Z_STREAM_END)) {
        in->why = why;
        return ARCHIVE_FATAL;
    }
    *data = in->buffer;
    return got;
}

static cel_status damaged(struct archive *a, const input *in, const char *path) {
    const char *why = in->why ? in->why : archive_error_string(a);
    return CEL_FAIL(CEL_FORMAT,
                    "%s: cannot read it as a tar archive: %s (at byte %lld); expected a directory or a whole .tar.gz: "
                    "fetch it again",
                    path, why ? why : "damaged", (long long)gzoffset(in->file));
}

static cel_status read_entry(cel_fileset *set, struct archive *a, const input *in, struct archive_entry *entry,
                             const char *path, const cel_file_want *want) {
    char *shown = cel_arena_printf(&set->arena, "%s: %s", path, want->name);
    if (!shown) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", path);
    if (cel_fileset_find(set, want->name))
        return CEL_FAIL(CEL_FORMAT, "%s: twice in the archive; expected once", shown);
    int64_t size = archive_entry_size(entry);
    if (size < 0 || (uint64_t)size > want->max_bytes) return too_large(shown, (uint64_t)size, want->max_bytes);
    uint8_t *block = size ? cel_block_alloc((size_t)size) : NULL;
    if (size && !block) return CEL_FAIL(CEL_NOMEM, "%s: out of memory for %lld bytes", shown, (long long)size);
    cel_status status = CEL_OK;
    for (int64_t done = 0; done < size;) {
        la_ssize_t got = archive_read_data(a, block + done, (size_t)(size - done));
        if (got <= 0) {
            status = got < 0 ? damaged(a, in, path)
                             : CEL_FAIL(CEL_FORMAT, "%s: %lld bytes, expected %lld; fetch it again", shown,
                                        (long long)done, (long long)size);
            break;
        }
        done += got;
    }
    if (status == CEL_OK) status = add(set, want->name, block, (size_t)size, shown);
    if (status != CEL_OK && block) cel_block_free(block, (size_t)size);
    return status;
}

static cel_status read_entries(cel_fileset *set, struct archive *a, input *in, const char *path,
                               const cel_file_want *want, size_t n_want) {
    archive_read_support_filter_xz(a);
    archive_read_support_format_tar(a);
    if (archive_read_open(a, in, NULL, read_input, NULL) != ARCHIVE_OK) return damaged(a, in, path);
    for (;;) {
        struct archive_entry *entry;
        int got = archive_read_next_header(a, &entry);
        if (got == ARCHIVE_EOF) break;
        if (got != ARCHIVE_OK && got != ARCHIVE_WARN) return damaged(a, in, path);
        if (archive_filter_bytes(a, 0) > MAX_UNPACKED)
            return CEL_FAIL(CEL_FORMAT, "%s: unpacks to more than %lld bytes; expected a data set", path,
                            (long long)MAX_UNPACKED);
        const char *name = archive_entry_pathname(entry), *slash = name ? strrchr(name, '/') : NULL;
        if (slash) name = slash + 1;
        for (size_t i = 0; name && archive_entry_filetype(entry) == AE_IFREG && i < n_want; i++)
            if (!strcmp(name, want[i].name)) CEL_TRY(read_entry(set, a, in, entry, path, &want[i]));
    }
    const void *rest;
    la_ssize_t n;
    while ((n = read_input(a, in, &rest)) > 0) {} /* to the sum at the very end */
    return n < 0 ? damaged(a, in, path) : CEL_OK;
}

static cel_status read_archive(cel_fileset *set, const char *path, const cel_file_want *want, size_t n_want) {
    input *in;
    CEL_ALLOC(in, 1);
    errno = 0;
    in->file = gzopen(path, "rbe");
    if (!in->file) {
        cel_status status = errno
                                ? CEL_FAIL(CEL_IO, "%s: cannot open: %s; check its permissions", path, strerror(errno))
                                : CEL_FAIL(CEL_NOMEM, "%s: out of memory", path);
        cel_free(in);
        return status;
    }
    struct archive *a = archive_read_new();
    cel_status status =
        a ? read_entries(set, a, in, path, want, n_want) : CEL_FAIL(CEL_NOMEM, "%s: out of memory", path);
    if (a) archive_read_free(a);
    gzclose(in->file);
    cel_free(in);
    return status;
}

cel_status cel_fileset_open(const char *path, const cel_file_want *want, size_t n_want, cel_fileset **out) {
    cel_fileset *set;
    CEL_ALLOC(set, 1);
    set->mapped = cel_path_is_dir(path);
    set->file = cel_arena_alloc(&set->arena, n_want, sizeof *set->file);
    cel_status status = set->file ? CEL_OK : CEL_FAIL(CEL_NOMEM, "%s: out of memory", path);
    if (status == CEL_OK && !set->mapped) status = read_archive(set, path, want, n_want);
    for (size_t i = 0; status == CEL_OK && set->mapped && i < n_want; i++) status = map_file(set, path, &want[i]);
    if (status == CEL_OK)
        *out = set;
    else
        cel_fileset_close(set);
    return status;
}

void cel_fileset_close(cel_fileset *set) {
    if (!set) return;
    for (size_t i = 0; i < set->n_files; i++) {
        void *data = (void *)(uintptr_t)set->file[i].data;
        if (data && set->mapped) munmap(data, set->file[i].n);
        if (data && !set->mapped) cel_block_free(data, set->file[i].n);
    }
    cel_arena_fini(&set->arena);
    cel_free(set);
}

const cel_data_file *cel_fileset_find(const cel_fileset *set, const char *name) {
    for (size_t i = 0; i < set->n_files; i++)
        if (!strcmp(set->file[i].name, name)) return &set->file[i];
    return NULL;
}

bool cel_fileset_holds(const cel_fileset *set, const void *p) {
    uintptr_t at = (uintptr_t)p;
    for (size_t i = 0; i < set->n_files; i++)
        if (at >= (uintptr_t)set->file[i].data && at - (uintptr_t)set->file[i].data < set->file[i].n) return true;
    return false;
}
