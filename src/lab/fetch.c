/* Downloads over HTTP with libcurl: resumed by Range, hashed as they come, named only when whole. */
#define _GNU_SOURCE
#include "cellar/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"

/* The authors' page gives MD5 sums only; the SHA-256 sums are those that several frameworks check the same files against. */
static const cel_download downloads[] = {
    {"cifar10", "CIFAR-10, 60,000 images in 10 classes, binary version", "cifar-10-binary.tar.gz",
     "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", 170052171,
     "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    {"cifar10-python", "CIFAR-10, python batches", "cifar-10-python.tar.gz",
     "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", 170498071,
     "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"},
    {"cifar100", "CIFAR-100, 60,000 images in 100 classes, binary version", "cifar-100-binary.tar.gz",
     "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", 168513733,
     "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"},
    {"cifar100-python", "CIFAR-100, python batches", "cifar-100-python.tar.gz",
     "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", 169001437,
     "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"},
};

int cel_download_count(void) { return (int)CEL_COUNT(downloads); }
const cel_download *cel_download_get(int i) { return &downloads[i]; }

const cel_download *cel_download_find(const char *name) {
    for (size_t i = 0; i < CEL_COUNT(downloads); i++)
        if (!strcmp(downloads[i].name, name)) return &downloads[i];
    return NULL;
}

/* One transfer into the open .part file: `have` bytes of it are written and in the hash. */
typedef struct {
    const cel_download *what;
    const cel_fetch_options *options;
    const char *part;
    int fd;
    uint64_t have, resumed_at;
    cel_sha256 sha;
    CURL *curl;
    bool body_begun, ranged;
    uint64_t range_start; /* of the answer's Content-Range, when `ranged` */
    cel_status status;    /* why the body was refused */
} transfer;

static cel_status disk_fail(const transfer *t, const char *doing) {
    int e = errno;
    return CEL_FAIL(CEL_IO, "%s: cannot %s: %s%s", t->part, doing, strerror(e),
                    e == ENOSPC || e == EDQUOT || e == EFBIG
                        ? "; free some space or choose another directory, then fetch again: it goes on from here"
                        : "");
}

static cel_status start_over(transfer *t) {
    if (ftruncate(t->fd, 0) != 0) return disk_fail(t, "empty the file");
    t->have = t->resumed_at = 0;
    cel_sha256_init(&t->sha);
    return CEL_OK;
}

static bool go_on(const transfer *t) {
    return !t->options->progress || t->options->progress(t->options->ctx, t->have, t->what->bytes);
}

/* Takes in what an earlier call left in the .part file. */
static cel_status take_in(transfer *t) {
    struct stat st;
    if (fstat(t->fd, &st) != 0) return disk_fail(t, "look at the file");
    CEL_TRY(((uint64_t)st.st_size > t->what->bytes ? start_over(t) : CEL_OK));
    cel_sha256_init(&t->sha);
    char block[1 << 16];
    for (t->have = 0;;) {
        ssize_t got = pread(t->fd, block, sizeof block, (off_t)t->have);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return disk_fail(t, "read the file");
        if (got == 0) break;
        cel_sha256_add(&t->sha, block, (size_t)got);
        t->have += (uint64_t)got;
    }
    t->resumed_at = t->have;
    return CEL_OK;
}

static size_t on_header(char *text, size_t size, size_t n, void *ctx) {
    transfer *t = ctx;
    char line[128];
    snprintf(line, sizeof line, "%.*s", (int)(size * n < sizeof line ? size * n : sizeof line - 1), text);
    if (!strncmp(line, "HTTP/", 5)) t->ranged = false; /* the headers of a new answer, after a redirection */
    if (!strncasecmp(line, "content-range:", 14))
        t->ranged = sscanf(line + 14, " bytes %" SCNu64 "-", &t->range_start) == 1;
    return size * n;
}

/* Decides, at the first byte of a body, whether it is the file, and where its bytes belong. */
static cel_status begin_body(transfer *t) {
    long code = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
    t->body_begun = true;
    if (code == 206 && t->ranged && t->range_start == t->have) return CEL_OK;
    if (code == 206)
        return CEL_FAIL(CEL_IO, "the server answers with another range than the bytes from %" PRIu64 " on", t->have);
    if (code != 200) return CEL_IO; /* an error page, which check_answer reports by its code */
    return start_over(t);           /* the server sends everything, whatever range it was asked for */
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx) {
    transfer *t = ctx;
    size_t bytes = size * n;
    if (!t->body_begun) t->status = begin_body(t);
    if (t->status != CEL_OK) return 0;
    if (bytes > t->what->bytes - t->have) {
        t->status = CEL_FAIL(CEL_FORMAT, "expected %" PRIu64 " bytes, the server sends more", t->what->bytes);
        return 0;
    }
    for (size_t done = 0; done < bytes;) {
        ssize_t put = pwrite(t->fd, data + done, bytes - done, (off_t)(t->have + done));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            t->status = disk_fail(t, "write");
            return 0;
        }
        done += (size_t)put;
    }
    cel_sha256_add(&t->sha, data, bytes);
    t->have += bytes;
    return bytes;
}

static int on_progress(void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now) {
    (void)total, (void)now, (void)up_total, (void)up_now;
    return go_on(ctx) ? 0 : 1;
}

/* What came of a request: *again when the .part was useless and the file has to be asked for from its start. */
static cel_status check_answer(transfer *t, CURLcode code, const char *detail, bool *again) {
    const char *url = t->options->url ? t->options->url : t->what->url;
    long http = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &http);
    *again = false;
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return CEL_FAIL(CEL_INTERRUPTED, "%s: stopped after %" PRIu64 " of %" PRIu64 " bytes; fetch again to go on",
                        url, t->have, t->what->bytes);
    if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT)
        return CEL_FAIL(CEL_CONFIG, "%s: expected an address that starts with http:// or https://: %s", url, detail);
    if (http == 416 && t->resumed_at) {
        *again = true;
        return start_over(t);
    }
    if (http == 404 || http == 410)
        return CEL_FAIL(CEL_NOTFOUND, "%s: the server has no such file (HTTP %ld); name another place with --url", url,
                        http);
    if (http && http != 200 && http != 206)
        return CEL_FAIL(CEL_IO, "%s: the server answers HTTP %ld, expected 200; try later, or another place with --url",
                        url, http);
    if (t->status != CEL_OK) return cel_status_prefix(t->status, "%s", url);
    if (code == CURLE_OUT_OF_MEMORY) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", url);
    if (code != CURLE_OK && code != CURLE_PARTIAL_FILE)
        return CEL_FAIL(CEL_IO,
                        "%s: %s (%" PRIu64 " of %" PRIu64
                        " bytes are here); check the network, then fetch again: it goes "
                        "on from there",
                        url, detail, t->have, t->what->bytes);
    if (t->have < t->what->bytes)
        return CEL_FAIL(
            CEL_IO, "%s: the server stopped after %" PRIu64 " of %" PRIu64 " bytes; fetch again: it goes on from there",
            url, t->have, t->what->bytes);
    return CEL_OK;
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready = CURLE_FAILED_INIT;
static void curl_start(void) { curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT); }

static cel_status ask(transfer *t, bool *again) {
    char detail[CURL_ERROR_SIZE] = "", range[32];
    pthread_once(&curl_once, curl_start);
    t->curl = curl_ready == CURLE_OK ? curl_easy_init() : NULL;
    if (!t->curl) return CEL_FAIL(CEL_NOMEM, "cannot start libcurl: out of memory?");
    t->body_begun = t->ranged = false;
    t->status = CEL_OK;
    CURL *c = t->curl;
    CURLcode set = CURLE_OK;
#define SET(option, value) set = set != CURLE_OK ? set : curl_easy_setopt(c, option, value)
    SET(CURLOPT_ERRORBUFFER, detail);
    SET(CURLOPT_URL, t->options->url ? t->options->url : t->what->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 1L);
    SET(CURLOPT_MAXREDIRS, 5L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_USERAGENT, "cellar/" CEL_VERSION_TEXT);
    SET(CURLOPT_CONNECTTIMEOUT, 30L);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, (long)(t->options->stall_s > 0 ? t->options->stall_s : 60));
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, t);
    if (t->have) {
        snprintf(range, sizeof range, "%" PRIu64 "-", t->have);
        SET(CURLOPT_RANGE, range);
    }
#undef SET
    CURLcode code = set == CURLE_OK ? curl_easy_perform(c) : set;
    cel_status status = check_answer(t, code, *detail ? detail : curl_easy_strerror(code), again);
    curl_easy_cleanup(c);
    t->curl = NULL;
    return status;
}

/* Asks until all bytes are in the .part file and right. A wrong hash after a resumption means that the .part was of
 * another file: one more round, from the start. */
static cel_status complete(transfer *t) {
    for (bool again = true; again;) {
        again = false;
        if (t->have < t->what->bytes) CEL_TRY(ask(t, &again));
        if (again) continue;
        char hex[65];
        cel_sha256 sha = t->sha;
        cel_sha256_hex(&sha, hex);
        if (!strcmp(hex, t->what->sha256)) break;
        if (t->resumed_at) {
            cel_log(CEL_LOG_WARN, "%s: its earlier part was of another file; fetching all of it", t->part);
            CEL_TRY(start_over(t));
            again = true;
            continue;
        }
        unlink(t->part);
        return CEL_FAIL(CEL_FORMAT, "%s: expected SHA-256 %s, found %s; the download was removed",
                        t->options->url ? t->options->url : t->what->url, t->what->sha256, hex);
    }
    return CEL_OK;
}

/* The file under its final name, which nobody else's doing must make us trust or overwrite. */
static cel_status check_present(const char *path, const cel_download *what) {
    FILE *f = fopen(path, "rb");
    if (!f) return CEL_FAIL(CEL_IO, "%s: cannot open: %s", path, strerror(errno));
    cel_sha256 sha;
    cel_sha256_init(&sha);
    char block[1 << 16], hex[65];
    for (size_t got; (got = fread(block, 1, sizeof block, f)) > 0;) cel_sha256_add(&sha, block, got);
    bool bad = ferror(f) != 0;
    fclose(f);
    if (bad) return CEL_FAIL(CEL_IO, "%s: cannot read: %s", path, strerror(errno));
    cel_sha256_hex(&sha, hex);
    if (strcmp(hex, what->sha256))
        return CEL_FAIL(CEL_FORMAT,
                        "%s: is there, but is not %s: expected SHA-256 %s, found %s; move it away and fetch again",
                        path, what->name, what->sha256, hex);
    return CEL_OK;
}

static cel_status fetch_into(const cel_download *what, const cel_fetch_options *options, const char *dir,
                             const char *path, const char *part) {
    if (cel_path_exists(path)) return check_present(path, what);
    transfer t = {.what = what, .options = options, .part = part, .fd = -1};
    CEL_TRY(cel_file_lock(part, &t.fd));
    /* The one who held the lock may have finished meanwhile; then the .part here is a new and empty one. */
    cel_status status = CEL_OK;
    if (cel_path_exists(path)) {
        unlink(part);
        close(t.fd);
        return check_present(path, what);
    }
    CEL_TRY_GOTO(status, out, take_in(&t));
    CEL_TRY_GOTO(status, out, complete(&t));
    if (fsync(t.fd) != 0) status = disk_fail(&t, "sync");
    if (status == CEL_OK && rename(part, path) != 0) status = disk_fail(&t, "rename into place");
    if (status == CEL_OK) status = cel_dir_sync(dir);
out:
    if (status != CEL_OK && t.have == 0) unlink(part); /* nothing to go on from */
    close(t.fd);
    return status;
}

cel_status cel_fetch(const cel_download *what, const cel_fetch_options *options) {
    const char *dir = options->dir ? options->dir : ".";
    CEL_TRY(cel_dir_make(dir));
    char *path = cel_path_join(dir, what->file);
    char *part = path ? cel_asprintf("%s.part", path) : NULL;
    cel_status status = part ? fetch_into(what, options, dir, path, part) : CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_free(part);
    cel_free(path);
    return status;
}
