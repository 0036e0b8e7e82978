/* base: status, memory, arena, random streams, thread pool, files. */
#include "base/file.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/rng.h"
#include "support/test.h"

static cel_status inner(void) { return CEL_FAIL(CEL_FORMAT, "row %d: expected %d, found %d", 3, 10, 9); }
static cel_status outer(void) {
    CEL_TRY(inner());
    return CEL_OK;
}

static void status_keeps_message_and_trace(void **state) {
    (void)state;
    assert_int_equal(outer(), CEL_FORMAT);
    assert_string_equal(cel_status_message(), "row 3: expected 10, found 9");
    assert_non_null(strstr(cel_status_trace(), "test_base.c"));
    cel_status_prefix(CEL_FORMAT, "file %s", "a.bin");
    assert_string_equal(cel_status_message(), "file a.bin: row 3: expected 10, found 9");
    assert_string_equal(cel_status_name((cel_status)999), "UNKNOWN");
}

static void nth_allocation_fails(void **state) {
    (void)state;
    cel_mem_fail_at(2);
    void *a = cel_alloc(1, 8), *b = cel_alloc(1, 8), *c = cel_alloc(1, 8);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    cel_free(a);
    cel_free(c);
    assert_null(cel_alloc(SIZE_MAX, 8));
}

static void arena_keeps_everything_apart(void **state) {
    (void)state;
    cel_arena arena = {0};
    char *text[500];
    for (int i = 0; i < 500; i++) assert_non_null(text[i] = cel_arena_printf(&arena, "%d:%0*d", i, i, 0));
    for (int i = 0; i < 500; i++) assert_int_equal(strtol(text[i], NULL, 10), i);
    assert_null(cel_arena_alloc(&arena, SIZE_MAX, 2));
    cel_arena_fini(&arena);
}

/* Random123's known answers for philox4x32-10: counter 0 key 0, and all bits set. */
static void philox_known_answers(void **state) {
    (void)state;
    cel_rng r = {{0, 0}, {0, 0, 0, 0}, {0}, 4};
    const uint32_t zero[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    for (int i = 0; i < 4; i++) assert_int_equal(cel_rng_u32(&r), zero[i]);
    cel_rng f = {{~0u, ~0u}, {~0u, ~0u, ~0u, ~0u}, {0}, 4};
    const uint32_t ones[4] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    for (int i = 0; i < 4; i++) assert_int_equal(cel_rng_u32(&f), ones[i]);
}

static void streams_differ_and_repeat(void **state) {
    (void)state;
    cel_rng a = cel_rng_at(1, "augment", 0, 5), b = cel_rng_at(1, "augment", 0, 5), c = cel_rng_at(1, "augment", 0, 6),
            d = cel_rng_at(1, "arch", 0, 5);
    uint64_t x = cel_rng_u64(&a);
    assert_true(x == cel_rng_u64(&b));
    assert_true(x != cel_rng_u64(&c));
    assert_true(x != cel_rng_u64(&d));
}

static void draws_have_their_moments(void **state) {
    (void)state;
    cel_rng r = cel_rng_at(7, "moments", 0, 0);
    enum { N = 200000 };
    double u = 0, g = 0, g2 = 0;
    int count[7] = {0};
    for (int i = 0; i < N; i++) {
        double v = cel_rng_uniform(&r), z = cel_rng_normal(&r);
        assert_true(v > 0 && v < 1);
        u += v, g += z, g2 += z * z;
        count[cel_rng_below(&r, 7)]++;
    }
    assert_true(fabs(u / N - 0.5) < 0.003);
    assert_true(fabs(g / N) < 0.01);
    assert_true(fabs(g2 / N - 1) < 0.015);
    for (int i = 0; i < 7; i++) assert_true(fabs(count[i] - N / 7.0) < 700);
}

typedef struct {
    int hits[1000];
    int round;
} loop;
static void hit(void *ctx, int task, int worker) {
    (void)worker;
    ((loop *)ctx)->hits[task] += 1;
}

static void pool_runs_each_task_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        cel_pool *pool;
        assert_int_equal(cel_pool_create(threads, &pool), CEL_OK);
        loop l = {{0}, 0};
        for (int round = 0; round < 300; round++) cel_pool_run(pool, 1 + (round * 37) % 1000, hit, &l);
        int want[1000] = {0};
        for (int round = 0; round < 300; round++)
            for (int i = 0; i < 1 + (round * 37) % 1000; i++) want[i]++;
        assert_memory_equal(l.hits, want, sizeof want);
        cel_pool_destroy(pool);
    }
    cel_pool *pool;
    assert_int_equal(cel_pool_create(-1, &pool), CEL_CONFIG);
}

static void files_are_whole_or_not_there(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    char *path = cel_path_join(dir, "x/y/z.txt");
    char *parent = cel_path_join(dir, "x/y");
    assert_int_equal(cel_file_write_atomic(path, "abc", 3), CEL_NOTFOUND);
    assert_int_equal(cel_dir_make(parent), CEL_OK);
    assert_int_equal(cel_file_write_atomic(path, "abc", 3), CEL_OK);
    char *data;
    size_t n;
    assert_int_equal(cel_file_read(path, 3, &data, &n), CEL_OK);
    assert_int_equal(n, 3);
    assert_string_equal(data, "abc");
    cel_free(data);
    assert_int_equal(cel_file_read(path, 2, &data, &n), CEL_FORMAT);
    assert_int_equal(cel_file_read(parent, 100, &data, &n), CEL_IO);
    int a, b;
    char *lock = cel_path_join(dir, "lock");
    assert_int_equal(cel_file_lock(lock, &a), CEL_OK);
    assert_int_equal(cel_file_lock(lock, &b), CEL_BUSY);
    close(a);
    cel_free(lock);
    cel_free(path);
    cel_free(parent);
    test_temp_dir_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_keeps_message_and_trace), cmocka_unit_test(nth_allocation_fails),
        cmocka_unit_test(arena_keeps_everything_apart),   cmocka_unit_test(philox_known_answers),
        cmocka_unit_test(streams_differ_and_repeat),      cmocka_unit_test(draws_have_their_moments),
        cmocka_unit_test(pool_runs_each_task_once),       cmocka_unit_test(files_are_whole_or_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
