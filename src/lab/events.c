#define _POSIX_C_SOURCE 200809L
#include "lab/events.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "lab/append.h"

static const char PREFIX[] = "events.out.tfevents.";
enum { MAX_RECORD = 16 << 20, HEAD = 12, TAIL = 4 };

/* CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), a nibble at a time. */
static uint32_t crc32c(const void *data, size_t n) {
    static const uint32_t table[16] = {0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1, 0x417B1DBC, 0x5125DAD3,
                                       0x61C69362, 0x7198540D, 0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9,
                                       0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75};
    uint32_t crc = ~0u;
    for (const uint8_t *p = data; n--; p++) {
        crc ^= *p;
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static uint32_t masked(const void *data, size_t n) {
    uint32_t crc = crc32c(data, n);
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

/* A protobuf message being written; with data NULL it only counts. */
typedef struct {
    uint8_t *data;
    size_t n;
} message;

static void put_byte(message *m, uint8_t byte) {
    if (m->data) m->data[m->n] = byte;
    m->n++;
}

static void put_varint(message *m, uint64_t v) {
    for (; v >= 128; v >>= 7) put_byte(m, (uint8_t)(v | 128));
    put_byte(m, (uint8_t)v);
}

static void put_fixed(message *m, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) put_byte(m, (uint8_t)(v >> (8 * i)));
}

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };
static void put_key(message *m, int field, int wire) { put_varint(m, (uint64_t)(field << 3 | wire)); }

static void put_text(message *m, int field, const char *text) {
    put_key(m, field, LENGTH);
    put_varint(m, strlen(text));
    while (*text) put_byte(m, (uint8_t)*text++);
}

/* Summary.Value: tag = 1, simple_value = 2. */
static void put_value(message *m, const cel_scalar *scalar) {
    float value = (float)scalar->value;
    uint32_t bits;
    memcpy(&bits, &value, 4);
    put_text(m, 1, scalar->tag);
    put_key(m, 2, FIXED32);
    put_fixed(m, bits, 4);
}

static void put_summary(message *m, const cel_scalar *scalars, int n) {
    for (int i = 0; i < n; i++) {
        message length = {0};
        put_value(&length, &scalars[i]);
        put_key(m, 1, LENGTH);
        put_varint(m, length.n);
        put_value(m, &scalars[i]);
    }
}

/* Event: wall_time = 1, step = 2, file_version = 3, summary = 5. */
static void put_event(message *m, double time_s, int64_t step, const char *version, const cel_scalar *scalars, int n) {
    uint64_t bits;
    memcpy(&bits, &time_s, 8);
    put_key(m, 1, FIXED64);
    put_fixed(m, bits, 8);
    if (version) {
        put_text(m, 3, version);
        return;
    }
    put_key(m, 2, VARINT);
    put_varint(m, (uint64_t)step);
    message length = {0};
    put_summary(&length, scalars, n);
    put_key(m, 5, LENGTH);
    put_varint(m, length.n);
    put_summary(m, scalars, n);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static cel_status append(cel_events *events, int64_t step, const char *version, const cel_scalar *scalars, int n) {
    double time_s = now_s();
    message length = {0};
    put_event(&length, time_s, step, version, scalars, n);
    size_t total = HEAD + length.n + TAIL;
    uint8_t *frame = cel_alloc(total, 1);
    if (!frame) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", events->path);
    message head = {frame, 0}, body = {frame + HEAD, 0}, tail = {frame + HEAD + length.n, 0};
    put_fixed(&head, length.n, 8);
    put_fixed(&head, masked(frame, 8), 4);
    put_event(&body, time_s, step, version, scalars, n);
    put_fixed(&tail, masked(body.data, body.n), 4);
    cel_status status = cel_append(events->fd, events->path, events->bytes, frame, total);
    cel_free(frame);
    CEL_TRY(status);
    events->n++;
    events->bytes += (int64_t)total;
    return CEL_OK;
}

cel_status cel_events_append(cel_events *events, int64_t step, const cel_scalar *scalars, int n) {
    return append(events, step, NULL, scalars, n);
}

/* Calls out for each event file; with `remove` deletes it. *path is the last one (caller frees), NULL if none. */
static cel_status visit(const char *dir, bool remove, char **path, int *n) {
    *path = NULL;
    *n = 0;
    DIR *d = opendir(dir);
    if (!d) return cel_append_fail(dir, "list it");
    cel_status status = CEL_OK;
    for (struct dirent *e; status == CEL_OK && (e = readdir(d));) {
        if (strncmp(e->d_name, PREFIX, sizeof PREFIX - 1)) continue;
        cel_free(*path);
        *path = cel_path_join(dir, e->d_name);
        ++*n;
        if (!*path)
            status = CEL_FAIL(CEL_NOMEM, "%s: out of memory", dir);
        else if (remove && unlink(*path) != 0)
            status = cel_append_fail(*path, "remove");
    }
    closedir(d);
    return status;
}

static uint64_t little_endian(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    while (bytes--) v = v << 8 | p[bytes];
    return v;
}

/* Checks the frame at `at`; *bytes is its length, 0 when there is no whole one. */
static cel_status check_frame(const cel_events *events, int64_t at, int64_t *bytes) {
    uint8_t head[HEAD];
    *bytes = 0;
    if (pread(events->fd, head, HEAD, (off_t)at) != HEAD || little_endian(head + 8, 4) != masked(head, 8))
        return CEL_OK;
    uint64_t n = little_endian(head, 8);
    if (n > MAX_RECORD) return CEL_OK;
    uint8_t *body = cel_alloc((size_t)n + TAIL, 1);
    if (!body) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", events->path);
    ssize_t got = pread(events->fd, body, (size_t)n + TAIL, (off_t)(at + HEAD));
    if (got == (ssize_t)(n + TAIL) && little_endian(body + n, 4) == masked(body, (size_t)n))
        *bytes = (int64_t)n + HEAD + TAIL;
    cel_free(body);
    return CEL_OK;
}

static cel_status go_on(cel_events *events, int64_t keep) {
    int64_t length, end = 0, bytes;
    CEL_TRY(cel_append_open(events->path, &events->fd, &length));
    for (int64_t i = 0; i < keep; i++) {
        CEL_TRY(check_frame(events, end, &bytes));
        if (!bytes)
            return CEL_FAIL(CEL_FORMAT,
                            "%s: expected %lld whole records, as the checkpoint says, found %lld; it was cut or "
                            "changed, so the run cannot go on",
                            events->path, (long long)keep, (long long)i);
        end += bytes;
    }
    if (end != length) CEL_TRY(cel_append_cut(events->fd, events->path, end));
    events->n = keep;
    events->bytes = end;
    return CEL_OK;
}

static cel_status begin(cel_events *events, const char *dir) {
    int64_t length;
    events->path = cel_asprintf("%s/%s%lld.cellar", dir, PREFIX, (long long)now_s());
    if (!events->path) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", dir);
    CEL_TRY(cel_append_open(events->path, &events->fd, &length));
    return append(events, 0, "brain.Event:2", NULL, 0);
}

cel_status cel_events_open(cel_events *events, const char *dir, int64_t keep) {
    char *path;
    int n;
    *events = (cel_events){.fd = -1};
    cel_status status = visit(dir, keep == 0, &path, &n);
    if (status == CEL_OK && keep && n != 1)
        status = CEL_FAIL(CEL_FORMAT, "%s: expected one file %s*, found %d; the run cannot go on", dir, PREFIX, n);
    if (status == CEL_OK && keep) {
        events->path = path;
        path = NULL;
        status = go_on(events, keep);
    } else if (status == CEL_OK) {
        status = begin(events, dir);
    }
    cel_free(path);
    if (status != CEL_OK) cel_events_close(events);
    return status;
}

cel_status cel_events_sync(cel_events *events) { return cel_append_sync(events->fd, events->path); }

void cel_events_close(cel_events *events) {
    if (events->fd >= 0) close(events->fd);
    cel_free(events->path);
    *events = (cel_events){.fd = -1};
}
