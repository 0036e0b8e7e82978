/* Downloads, against a small HTTP server on loopback that misbehaves on request. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "cellar/fetch.h"
#include "support/test.h"

enum { SIZE = 300000, HALF = 123456 };
static uint8_t content[SIZE];

/* The first letter of the path chooses what the server does. */
typedef struct {
    int fd, port;
    pthread_t thread;
    atomic_long range_asked; /* first byte of the last request's Range, -1 without one */
    atomic_int requests;
} server;

static void send_all(int fd, const void *data, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t put = send(fd, (const char *)data + done, n - done, MSG_NOSIGNAL);
        if (put <= 0) return; /* the client hung up, as it may */
        done += (size_t)put;
    }
}

static void answer(server *s, int fd) {
    char request[4096];
    size_t used = 0;
    while (used < sizeof request - 1) {
        ssize_t got = recv(fd, request + used, sizeof request - 1 - used, 0);
        if (got <= 0) return;
        used += (size_t)got;
        request[used] = 0;
        if (strstr(request, "\r\n\r\n")) break;
    }
    char what = request[5], head[256];
    const char *range = strcasestr(request, "\r\nRange: bytes=");
    long from = range ? strtol(range + 15, NULL, 10) : 0;
    atomic_store(&s->range_asked, range ? from : -1);
    atomic_fetch_add(&s->requests, 1);
    if (from > SIZE) from = SIZE;
    if (what == '4' || what == '5') {
        snprintf(head, sizeof head, "HTTP/1.1 %c%s\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsorry", what,
                 what == '4' ? "04 Not Found" : "03 Service Unavailable");
        send_all(fd, head, strlen(head));
    } else if (what == 'r') {
        snprintf(head, sizeof head,
                 "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/good\r\nContent-Length: 3\r\n"
                 "Connection: close\r\n\r\nxyz",
                 s->port);
        send_all(fd, head, strlen(head));
    } else if (what == 'u' && range) {
        const char *no = "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
        send_all(fd, no, strlen(no));
    } else if (what == 'w') { /* as long, but other bytes */
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", SIZE);
        send_all(fd, head, strlen(head));
        send_all(fd, content + 1, SIZE - 1);
        send_all(fd, "!", 1);
    } else if (what == 'l') { /* longer */
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        send_all(fd, head, strlen(head));
        send_all(fd, content, SIZE);
        send_all(fd, content, SIZE);
    } else if (what == 'b' && range) { /* a range nobody asked for */
        snprintf(head, sizeof head,
                 "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 7-%d/%d\r\nContent-Length: %d\r\n"
                 "Connection: close\r\n\r\n",
                 SIZE - 1, SIZE, SIZE - 7);
        send_all(fd, head, strlen(head));
        send_all(fd, content + 7, SIZE - 7);
    } else {
        bool partial = range && what != 'n';
        if (!partial) from = 0;
        size_t body = (size_t)(SIZE - from);
        if (partial)
            snprintf(head, sizeof head,
                     "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %ld-%d/%d\r\nContent-Length: %zu\r\n"
                     "Connection: close\r\n\r\n",
                     from, SIZE - 1, SIZE, body);
        else if (what == 'e') /* without a length an early end looks like the end */
            snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        else
            snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", body);
        send_all(fd, head, strlen(head));
        bool early = (what == 'c' || what == 'e' || what == 's') && !range;
        send_all(fd, content + from, early ? HALF : body);
        char wait;
        if (what == 's') (void)!recv(fd, &wait, 1, 0); /* until the client has had enough */
    }
}

static void *serve(void *ctx) {
    server *s = ctx;
    for (int fd; (fd = accept(s->fd, NULL, NULL)) >= 0;) {
        answer(s, fd);
        shutdown(fd, SHUT_WR);
        close(fd);
    }
    return NULL;
}

typedef struct {
    server server;
    char *dir, *path, *part, url[64], sha[65];
    cel_download what;
    cel_fetch_options options;
    int calls;
    uint64_t stop_at, last;
} fixture;

static bool watch(void *ctx, uint64_t done, uint64_t total) {
    fixture *f = ctx;
    assert_int_equal(total, SIZE);
    f->calls++;
    f->last = done;
    return !f->stop_at || done < f->stop_at;
}

static int setup(void **state) {
    fixture *f = cel_alloc(1, sizeof *f);
    assert_non_null(f);
    for (int i = 0; i < SIZE; i++) content[i] = (uint8_t)(i * 2654435761u >> 13);
    cel_sha256 sha;
    cel_sha256_init(&sha);
    cel_sha256_add(&sha, content, SIZE);
    cel_sha256_hex(&sha, f->sha);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    assert_true((f->server.fd = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
    assert_int_equal(bind(f->server.fd, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(f->server.fd, 8), 0);
    assert_int_equal(getsockname(f->server.fd, (struct sockaddr *)&at, &n), 0);
    f->server.port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&f->server.thread, NULL, serve, &f->server), 0);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    f->dir = test_temp_dir();
    f->path = cel_path_join(f->dir, "deep/file.bin");
    f->part = cel_path_join(f->dir, "deep/file.bin.part");
    f->what = (cel_download){"thing", "a thing", "file.bin", "http://127.0.0.1:1/never", SIZE, f->sha};
    char *deep = cel_path_join(f->dir, "deep");
    f->options = (cel_fetch_options){.dir = deep, .url = f->url, .stall_s = 2, .progress = watch, .ctx = f};
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    shutdown(f->server.fd, SHUT_RDWR);
    pthread_join(f->server.thread, NULL);
    close(f->server.fd);
    test_temp_dir_remove(f->dir);
    cel_free((char *)f->options.dir);
    cel_free(f->path);
    cel_free(f->part);
    cel_free(f);
    return 0;
}

static cel_status fetch(fixture *f, const char *page) {
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d/%s", f->server.port, page);
    return cel_fetch(&f->what, &f->options);
}

static void assert_whole(fixture *f) {
    char *data;
    size_t n;
    test_ok(cel_file_read(f->path, 2 * SIZE, &data, &n));
    assert_int_equal(n, SIZE);
    assert_memory_equal(data, content, SIZE);
    cel_free(data);
    assert_false(cel_path_exists(f->part));
}

static void assert_part(fixture *f, size_t want) {
    char *data;
    size_t n;
    test_ok(cel_file_read(f->part, 2 * SIZE, &data, &n));
    assert_int_equal(n, want);
    assert_memory_equal(data, content, n);
    cel_free(data);
    assert_false(cel_path_exists(f->path));
}

static void put(const char *path, const void *data, size_t n) { test_ok(cel_file_write_atomic(path, data, n)); }

static void whole_file_comes_and_stays(void **state) {
    fixture *f = *state;
    test_ok(fetch(f, "good"));
    assert_whole(f);
    assert_int_equal(f->server.range_asked, -1);
    assert_true(f->calls > 0 && f->last == SIZE);
    int requests = f->server.requests;
    test_ok(fetch(f, "good"));
    assert_int_equal(f->server.requests, requests);
}

static void redirection_is_followed(void **state) {
    fixture *f = *state;
    test_ok(fetch(f, "redirect"));
    assert_whole(f);
}

static void early_close_is_resumed(void **state) {
    fixture *f = *state;
    const char *pages[] = {"close", "early"};
    for (int i = 0; i < 2; i++) {
        test_fails(fetch(f, pages[i]), CEL_IO, "123456 of 300000 bytes");
        assert_part(f, HALF);
        test_ok(fetch(f, pages[i]));
        assert_int_equal(f->server.range_asked, HALF);
        assert_whole(f);
        unlink(f->path);
    }
}

static void stall_ends_with_an_error(void **state) {
    fixture *f = *state;
    test_fails(fetch(f, "stall"), CEL_IO, "123456 of 300000 bytes are here");
    assert_part(f, HALF);
}

static void server_without_ranges_starts_over(void **state) {
    fixture *f = *state;
    const char *pages[] = {"norange", "unsatisfiable"};
    for (int i = 0; i < 2; i++) {
        test_ok(cel_dir_make(f->options.dir));
        put(f->part, content, HALF);
        test_ok(fetch(f, pages[i]));
        assert_whole(f);
        unlink(f->path);
    }
    put(f->part, content, HALF);
    test_fails(fetch(f, "badrange"), CEL_IO, "another range");
    assert_part(f, HALF);
}

static void part_of_another_file_is_given_up(void **state) {
    fixture *f = *state;
    uint8_t *other = cel_alloc(2 * SIZE, 1);
    assert_non_null(other);
    test_ok(cel_dir_make(f->options.dir));
    const size_t lengths[] = {HALF, SIZE, 2 * SIZE};
    for (int i = 0; i < 3; i++) {
        put(f->part, other, lengths[i]);
        test_ok(fetch(f, "good"));
        assert_whole(f);
        unlink(f->path);
    }
    cel_free(other);
    put(f->part, content, SIZE); /* killed between the last byte and the new name */
    int requests = f->server.requests;
    test_ok(fetch(f, "good"));
    assert_whole(f);
    assert_int_equal(f->server.requests, requests);
}

static void wrong_bytes_leave_nothing(void **state) {
    fixture *f = *state;
    test_fails(fetch(f, "wrong"), CEL_FORMAT, f->sha);
    assert_false(cel_path_exists(f->path) || cel_path_exists(f->part));
    test_fails(fetch(f, "longer"), CEL_FORMAT, "expected 300000 bytes");
    assert_false(cel_path_exists(f->path));
}

static void a_foreign_file_is_not_overwritten(void **state) {
    fixture *f = *state;
    test_ok(cel_dir_make(f->options.dir));
    put(f->path, "mine", 4);
    test_fails(fetch(f, "good"), CEL_FORMAT, "move it away");
    char *data;
    size_t n;
    test_ok(cel_file_read(f->path, 10, &data, &n));
    assert_string_equal(data, "mine");
    cel_free(data);
}

static void servers_that_refuse(void **state) {
    fixture *f = *state;
    test_fails(fetch(f, "404"), CEL_NOTFOUND, "HTTP 404");
    test_fails(fetch(f, "503"), CEL_IO, "HTTP 503");
    f->options.url = NULL; /* the address of the table: nobody listens there */
    test_fails(cel_fetch(&f->what, &f->options), CEL_IO, "check the network");
    f->options.url = "ftp://127.0.0.1/x";
    test_fails(cel_fetch(&f->what, &f->options), CEL_CONFIG, "http://");
    f->options.url = "file:///etc/passwd";
    test_fails(cel_fetch(&f->what, &f->options), CEL_CONFIG, "http://");
    assert_false(cel_path_exists(f->path) || cel_path_exists(f->part));
}

static void stop_keeps_what_came(void **state) {
    fixture *f = *state;
    test_ok(cel_dir_make(f->options.dir));
    put(f->part, content, HALF);
    f->stop_at = 1;
    test_fails(fetch(f, "good"), CEL_INTERRUPTED, "fetch again");
    f->stop_at = 0;
    test_ok(fetch(f, "good"));
    assert_whole(f);
}

static void one_fetches_at_a_time(void **state) {
    fixture *f = *state;
    test_ok(cel_dir_make(f->options.dir));
    int held;
    test_ok(cel_file_lock(f->part, &held));
    test_fails(fetch(f, "good"), CEL_BUSY, "in use");
    close(held);
    test_ok(fetch(f, "good"));
    assert_whole(f);
}

static void full_disk_is_told_and_resumed(void **state) {
    fixture *f = *state;
    struct rlimit limit, old;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){HALF, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cel_status status = fetch(f, "good");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    test_fails(status, CEL_IO, "free some space");
    assert_part(f, HALF);
    test_ok(fetch(f, "good"));
    assert_int_equal(f->server.range_asked, HALF);
    assert_whole(f);
}

static void every_allocation_may_fail(void **state) {
    fixture *f = *state;
    bool done = false;
    for (uint64_t n = 1; n < 50 && !done; n++) {
        cel_mem_fail_at(n);
        cel_status status = fetch(f, "good");
        cel_mem_fail_at(0);
        assert_true(status == CEL_OK || status == CEL_NOMEM);
        done = status == CEL_OK;
    }
    assert_true(done);
    assert_whole(f);
}

static void the_table_is_sound(void **state) {
    (void)state;
    assert_true(cel_download_count() >= 4);
    for (int i = 0; i < cel_download_count(); i++) {
        const cel_download *d = cel_download_get(i);
        assert_ptr_equal(cel_download_find(d->name), d);
        assert_int_equal(strlen(d->sha256), 64);
        assert_int_equal(strspn(d->sha256, "0123456789abcdef"), 64);
        assert_non_null(strstr(d->url, d->file));
        assert_true(d->bytes > 160000000);
    }
    assert_null(cel_download_find("cifar11"));
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(whole_file_comes_and_stays),
        CASE(redirection_is_followed),
        CASE(early_close_is_resumed),
        CASE(stall_ends_with_an_error),
        CASE(server_without_ranges_starts_over),
        CASE(part_of_another_file_is_given_up),
        CASE(wrong_bytes_leave_nothing),
        CASE(a_foreign_file_is_not_overwritten),
        CASE(servers_that_refuse),
        CASE(stop_keeps_what_came),
        CASE(one_fetches_at_a_time),
        CASE(full_disk_is_told_and_resumed),
        CASE(every_allocation_may_fail),
        cmocka_unit_test(the_table_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
