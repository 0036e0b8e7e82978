/* Checkpoints: exact arrays back, two generations, damage of every kind, full disk, no permission, failing allocations. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "lab/checkpoint.h"
#include "lab/safetensors.h"
#include "support/golden.h"
#include "support/test.h"

typedef struct {
    float w[3][5];
    double m[7];
    int32_t labels[4];
    int64_t step;
    uint8_t mask[3];
} values;

static void list_values(values *v, cel_state *state) {
    test_ok(cel_state_add(state, CEL_STATE_U8, v->mask, 1, (int64_t[]){3}, "mask"));
    test_ok(cel_state_add(state, CEL_STATE_F32, v->w, 2, (int64_t[]){3, 5}, "cell%d.w", 0));
    test_ok(cel_state_add(state, CEL_STATE_I64, &v->step, 0, NULL, "step"));
    test_ok(cel_state_add(state, CEL_STATE_F64, v->m, 1, (int64_t[]){7}, "m"));
    test_ok(cel_state_add(state, CEL_STATE_I32, v->labels, 1, (int64_t[]){4}, "labels"));
    test_ok(cel_state_add(state, CEL_STATE_F32, NULL, 2, (int64_t[]){0, 5}, "empty"));
}

static values some_values(int seed) {
    values v;
    memset(&v, 0, sizeof v);
    for (int i = 0; i < 15; i++) v.w[i / 5][i % 5] = 0.1f * (float)(i + seed);
    for (int i = 0; i < 7; i++) v.m[i] = 1.0 / (i + seed + 3);
    for (int i = 0; i < 4; i++) v.labels[i] = i - seed;
    v.step = (int64_t)1 << 60 | seed;
    v.mask[1] = (uint8_t)(seed + 1);
    v.m[0] = -0.0;
    return v;
}

static cel_status save(const char *dir, int seed, int64_t serial, bool epoch_end) {
    values v = some_values(seed);
    cel_state state = {0};
    list_values(&v, &state);
    const cel_count counts[] = {{"metrics", serial / 10}, {"events", serial}};
    cel_status status = cel_checkpoint_save(dir, serial, epoch_end, counts, 2, &state);
    cel_state_fini(&state);
    return status;
}

/* The newest good generation holds the values of `seed` and is `serial`. */
static void expect_newest(const char *dir, int seed, int64_t serial) {
    cel_checkpoint *c;
    test_ok(cel_checkpoint_open(dir, &c));
    assert_int_equal(cel_checkpoint_serial(c), serial);
    assert_int_equal(cel_checkpoint_count(c, "metrics"), serial / 10);
    assert_int_equal(cel_checkpoint_count(c, "events"), serial);
    assert_int_equal(cel_checkpoint_count(c, "absent"), -1);
    values want = some_values(seed), got;
    memset(&got, 0, sizeof got);
    cel_state state = {0};
    list_values(&got, &state);
    test_ok(cel_checkpoint_fill(c, &state, true));
    assert_memory_equal(&want, &got, sizeof want);
    cel_state_fini(&state);
    cel_checkpoint_destroy(c);
}

static int count_files(const char *dir) {
    DIR *d = opendir(dir);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* The path of the one file in `dir` whose name begins with `serial` and ends in `end`. */
static char *find_file(const char *dir, int64_t serial, const char *end) {
    char begin[16], *path = NULL;
    snprintf(begin, sizeof begin, "%012lld", (long long)serial);
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        size_t n = strlen(e->d_name), m = strlen(end);
        if (!strncmp(e->d_name, begin, 12) && n > m && !strcmp(e->d_name + n - m, end))
            path = cel_path_join(dir, e->d_name);
    }
    closedir(d);
    assert_non_null(path);
    return path;
}

static void comes_back_exactly(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *a = cel_path_join(dir, "a/checkpoint"), *b = cel_path_join(dir, "b");
    test_ok(save(a, 5, 120, true));
    expect_newest(a, 5, 120);
    test_ok(save(b, 5, 120, true));
    const char *ends[] = {".json", ".safetensors"};
    for (int i = 0; i < 2; i++) { /* equal states, equal bytes and names */
        char *x = find_file(a, 120, ends[i]), *y = find_file(b, 120, ends[i]), *p, *q;
        size_t n, m;
        assert_string_equal(strrchr(x, '/'), strrchr(y, '/'));
        test_ok(cel_file_read(x, 1 << 20, &p, &n));
        test_ok(cel_file_read(y, 1 << 20, &q, &m));
        assert_int_equal(n, m);
        assert_memory_equal(p, q, n);
        cel_free(x), cel_free(y), cel_free(p), cel_free(q);
    }
    cel_free(a), cel_free(b);
    test_temp_dir_remove(dir);
}

static void the_independent_reader_agrees(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    test_ok(save(dir, 2, 1, false));
    char *path = find_file(dir, 1, ".safetensors");
    test_golden *file = test_golden_open(path);
    values v = some_values(2);
    assert_int_equal(file->n_tensors, 6);
    const test_tensor *w = test_golden_get(file, "cell0.w");
    assert_int_equal(w->shape[0], 3);
    for (int i = 0; i < 15; i++) assert_true(w->data[i] == (double)v.w[i / 5][i % 5]);
    const test_tensor *m = test_golden_get(file, "m");
    for (int i = 0; i < 7; i++) assert_true(m->data[i] == v.m[i]);
    assert_string_equal(test_golden_meta(file, "format"), "cellar checkpoint");
    test_golden_close(file);
    cel_free(path);
    test_temp_dir_remove(dir);
}

static void two_generations_stay(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    test_ok(save(dir, 0, 10, true));
    test_ok(save(dir, 1, 14, false));
    assert_int_equal(count_files(dir), 4);
    test_ok(save(dir, 2, 17, false)); /* the epoch's end at 10 is kept, not the middle at 14 */
    assert_int_equal(count_files(dir), 4);
    cel_free(find_file(dir, 10, ".json"));
    test_ok(save(dir, 3, 20, true));
    cel_free(find_file(dir, 10, ".json"));
    test_ok(save(dir, 4, 30, true));
    cel_free(find_file(dir, 20, ".json"));
    assert_int_equal(count_files(dir), 4);
    expect_newest(dir, 4, 30);
    test_ok(save(dir, 5, 30, true)); /* the same place again, with other values */
    expect_newest(dir, 5, 30);
    assert_int_equal(count_files(dir), 4);
    test_temp_dir_remove(dir);
}

static char log_text[4096];
static void keep_log(void *ctx, cel_log_level level, const char *text) {
    (void)ctx, (void)level;
    snprintf(log_text, sizeof log_text, "%s", text);
}

static void overwrite(const char *path, size_t keep, size_t flip, const char *tail) {
    char *data;
    size_t n;
    test_ok(cel_file_read(path, 1 << 20, &data, &n));
    if (flip < n) data[flip] ^= 1;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(data, 1, keep < n ? keep : n, f);
    fputs(tail, f);
    fclose(f);
    cel_free(data);
}

static void damage_falls_back_or_is_one_error(void **state) {
    (void)state;
    const size_t ALL = 1 << 20;
    const struct {
        const char *end;
        size_t keep, flip;
        const char *tail, *said;
    } damage[] = {
        {".json", 0, ALL, "", "not a checkpoint"},
        {".json", 50, ALL, "", "not a checkpoint"},
        {".json", 0, ALL, "{}", "not of a checkpoint"},
        {".json", 0, ALL, "[1]", "not of a checkpoint"},
        {".json", 0, ALL, "\xff\xfe\x00", "not a checkpoint"},
        {".safetensors", 0, ALL, "", "damaged: expected"},
        {".safetensors", 100, ALL, "", "damaged: expected"},
        {".safetensors", ALL, 400, "", "damaged: expected SHA-256"},
        {".safetensors", ALL, ALL, "x", "damaged: expected"},
    };
    cel_log_sink(keep_log, NULL);
    for (size_t i = 0; i < CEL_COUNT(damage); i++) {
        char *dir = test_temp_dir();
        test_ok(save(dir, 1, 10, true));
        test_ok(save(dir, 2, 20, true));
        char *path = find_file(dir, 20, damage[i].end);
        overwrite(path, damage[i].keep, damage[i].flip, damage[i].tail);
        log_text[0] = 0;
        expect_newest(dir, 1, 10);
        assert_non_null(strstr(log_text, damage[i].said));
        assert_non_null(strstr(log_text, "older checkpoint 10"));
        char *older = find_file(dir, 10, damage[i].end);
        overwrite(older, damage[i].keep, damage[i].flip, damage[i].tail);
        cel_checkpoint *c;
        test_fails(cel_checkpoint_open(dir, &c), CEL_FORMAT, damage[i].said);
        test_fails(cel_checkpoint_open(dir, &c), CEL_FORMAT, "no older checkpoint is good either");
        test_ok(save(dir, 3, 30, true)); /* a new one sweeps the ruins away */
        assert_int_equal(count_files(dir), 2 + (strcmp(damage[i].end, ".json") ? 2 : 0));
        cel_free(path);
        cel_free(older);
        test_temp_dir_remove(dir);
    }
    cel_log_sink(NULL, NULL);
}

static void every_flipped_bit_of_the_json_is_noticed(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *text;
    size_t n;
    test_ok(save(dir, 1, 10, true));
    char *path = find_file(dir, 10, ".json");
    test_ok(cel_file_read(path, 1 << 20, &text, &n));
    test_ok(cel_checkpoint_check_json("x", text, n));
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            if (strchr(" \n", text[i])) continue; /* space between values says nothing */
            text[i] = (char)(text[i] ^ (1 << bit));
            cel_status status = cel_checkpoint_check_json("x", text, n);
            assert_true(status == CEL_FORMAT || status == CEL_VERSION);
            text[i] = (char)(text[i] ^ (1 << bit));
        }
    cel_free(text);
    cel_free(path);
    test_temp_dir_remove(dir);
}

static void newer_and_absent(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *text;
    size_t n;
    cel_checkpoint *c;
    test_fails(cel_checkpoint_open(dir, &c), CEL_NOTFOUND, "no checkpoint in it");
    test_fails(cel_checkpoint_open("/nonexistent/x", &c), CEL_NOTFOUND, "no checkpoint in it");
    test_ok(save(dir, 1, 10, true));
    char *path = find_file(dir, 10, ".json");
    test_ok(cel_file_read(path, 1 << 20, &text, &n));
    char *version = strstr(text, "\"version\": 1");
    assert_non_null(version);
    version[11] = '2';
    test_ok(cel_file_write_atomic(path, text, n));
    test_fails(cel_checkpoint_open(dir, &c), CEL_VERSION, "checkpoint format 2; this cellar");
    cel_free(text);
    cel_free(path);
    test_temp_dir_remove(dir);
}

/* The arrays' file is gone: damage, never "no checkpoint". */
static void lost_arrays_are_damage(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    cel_checkpoint *c;
    test_ok(save(dir, 1, 10, true));
    test_ok(save(dir, 2, 20, true));
    char *newest = find_file(dir, 20, ".safetensors"), *older = find_file(dir, 10, ".safetensors");
    assert_int_equal(unlink(newest), 0);
    cel_log_sink(keep_log, NULL);
    log_text[0] = 0;
    expect_newest(dir, 1, 10);
    cel_log_sink(NULL, NULL);
    assert_non_null(strstr(log_text, "older checkpoint 10"));
    assert_int_equal(unlink(older), 0);
    test_fails(cel_checkpoint_open(dir, &c), CEL_FORMAT, "no older checkpoint is good either");
    cel_free(newest);
    cel_free(older);
    test_temp_dir_remove(dir);
}

/* What is not damaged is not passed over, so it is not swept away either. */
static void only_damage_falls_back(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *text;
    size_t n;
    cel_checkpoint *c;
    test_ok(save(dir, 1, 10, true));
    test_ok(save(dir, 2, 20, true));
    char *path = find_file(dir, 20, ".json"), *arrays = find_file(dir, 20, ".safetensors");
    test_ok(cel_file_read(path, 1 << 20, &text, &n));
    char *kept = cel_strndup(text, n);
    strstr(text, "\"version\": 1")[11] = '2';
    test_ok(cel_file_write_atomic(path, text, n));
    test_fails(cel_checkpoint_open(dir, &c), CEL_VERSION, "checkpoint format 2; this cellar");
    test_ok(cel_file_write_atomic(path, kept, n));
    char *aside = cel_asprintf("%s.aside", arrays);
    assert_int_equal(rename(arrays, aside), 0);
    assert_int_equal(mkdir(arrays, 0777), 0); /* cannot be read as a file */
    test_fails(cel_checkpoint_open(dir, &c), CEL_IO, "found a directory");
    assert_int_equal(rmdir(arrays), 0);
    assert_int_equal(rename(aside, arrays), 0);
    expect_newest(dir, 2, 20);
    cel_free(text), cel_free(kept), cel_free(path), cel_free(arrays), cel_free(aside);
    test_temp_dir_remove(dir);
}

static void another_recipe_is_refused(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    test_ok(save(dir, 1, 10, true));
    cel_checkpoint *c;
    test_ok(cel_checkpoint_open(dir, &c));
    values v = some_values(9);
    values before = v;
    cel_state s = {0};
    test_ok(cel_state_add(&s, CEL_STATE_I64, &v.step, 0, NULL, "step"));
    test_fails(cel_checkpoint_fill(c, &s, true), CEL_FORMAT, "which this run has not");
    test_ok(cel_checkpoint_fill(c, &s, false));
    assert_true(v.step == some_values(1).step);
    v = before;
    test_ok(cel_state_add(&s, CEL_STATE_F32, v.w, 2, (int64_t[]){5, 3}, "cell0.w"));
    test_fails(cel_checkpoint_fill(c, &s, false), CEL_FORMAT, "cell0.w: expected F32 [5, 3], found F32 [3, 5]");
    cel_state_fini(&s);
    test_ok(cel_state_add(&s, CEL_STATE_I64, &v.step, 0, NULL, "step"));
    test_ok(cel_state_add(&s, CEL_STATE_I64, &v.step, 0, NULL, "steps"));
    test_fails(cel_checkpoint_fill(c, &s, false), CEL_FORMAT, "steps: expected I64 [], found nothing");
    assert_memory_equal(&v, &before, sizeof v);
    cel_state_fini(&s);
    cel_checkpoint_destroy(c);
    test_temp_dir_remove(dir);
}

/* Runs `body` in a child, so that limits and rights end with it; true when it left with 0. */
static bool in_child(void (*body)(const char *dir), const char *dir) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        body(dir);
        _exit(1);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    return WIFEXITED(how) && WEXITSTATUS(how) == 0;
}

/* A child leaves with 0 when the save fails as it should; its error goes where the test's output goes. */
static void leave_if_fails(cel_status status, const char *part) {
    if (status == CEL_IO && strstr(cel_status_message(), part) && strstr(cel_status_message(), "checkpoint: "))
        _exit(0);
    fprintf(stderr, "got %s: %s\n", cel_status_name(status), cel_status_message());
    _exit(1);
}

static void save_beyond_limit(const char *dir) {
    struct rlimit limit = {200, 200};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    leave_if_fails(save(dir, 2, 20, true), "cannot write: File too large");
}

static void save_beyond_json_limit(const char *dir) { /* the arrays fit, their JSON does not */
    values v = some_values(2);
    cel_state state = {0};
    list_values(&v, &state);
    char *bytes;
    size_t n;
    test_ok(cel_safetensors_encode(&state, NULL, 0, &bytes, &n));
    cel_count counts[8];
    char names[8][200];
    for (int i = 0; i < 8; i++) {
        memset(names[i], 'a' + i, 199);
        names[i][199] = 0;
        counts[i] = (cel_count){names[i], 1};
    }
    struct rlimit limit = {n + 100, n + 100};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    cel_status status = cel_checkpoint_save(dir, 20, true, counts, 8, &state);
    cel_state_fini(&state);
    cel_free(bytes);
    leave_if_fails(status, ".json.tmp: cannot write: File too large");
}

static void file_limit_keeps_the_old_one(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    test_ok(save(dir, 1, 10, true));
    assert_true(in_child(save_beyond_limit, dir));
    expect_newest(dir, 1, 10);
    assert_int_equal(count_files(dir), 2);
    assert_true(in_child(save_beyond_json_limit, dir));
    expect_newest(dir, 1, 10);
    test_ok(save(dir, 2, 20, true));
    expect_newest(dir, 2, 20);
    assert_int_equal(count_files(dir), 4);
    test_temp_dir_remove(dir);
}

static void full_disk_keeps_the_old_one(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    if (mount("none", dir, "tmpfs", 0, "size=16k") != 0) {
        print_message("skipped: a file system of 16 kB cannot be mounted here\n");
        test_temp_dir_remove(dir);
        skip();
        return;
    }
    cel_status first = save(dir, 1, 10, true);
    char *filler = cel_path_join(dir, "filler");
    int fd = open(filler, O_WRONLY | O_CREAT, 0600);
    char block[512] = {1};
    while (write(fd, block, sizeof block) > 0) {}
    close(fd);
    cel_status full = save(dir, 2, 20, true);
    bool named = strstr(cel_status_message(), "No space left on device; free some space and try again") != NULL;
    cel_checkpoint *c = NULL;
    cel_status old = cel_checkpoint_open(dir, &c);
    int64_t serial = old == CEL_OK ? cel_checkpoint_serial(c) : -1;
    cel_checkpoint_destroy(c);
    unlink(filler);
    cel_status after = save(dir, 3, 30, true);
    cel_free(filler);
    umount(dir);
    assert_int_equal(first, CEL_OK);
    assert_int_equal(full, CEL_IO);
    assert_true(named);
    assert_int_equal(serial, 10);
    assert_int_equal(after, CEL_OK);
    test_temp_dir_remove(dir);
}

static void save_without_rights(const char *dir) {
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(1);
    leave_if_fails(save(dir, 2, 20, true), "Permission denied; check the permissions");
}

static void no_permission_keeps_the_old_one(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    test_ok(save(dir, 1, 10, true));
    assert_int_equal(chmod(dir, 0555), 0);
    assert_true(in_child(save_without_rights, dir));
    assert_int_equal(chmod(dir, 0755), 0);
    expect_newest(dir, 1, 10);
    test_temp_dir_remove(dir);
}

static void each_failing_allocation_is_clean(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    test_ok(save(dir, 1, 10, true));
    int failures = 0;
    for (uint64_t n = 1; n < 300; n++) {
        values v = some_values(2);
        cel_state list = {0};
        list_values(&v, &list);
        cel_checkpoint *c = NULL;
        cel_mem_fail_at(n);
        cel_status status = cel_checkpoint_save(dir, 20, true, NULL, 0, &list);
        cel_status saved = status;
        if (status == CEL_OK) status = cel_checkpoint_open(dir, &c);
        if (status == CEL_OK) status = cel_checkpoint_fill(c, &list, true);
        cel_mem_fail_at(0);
        assert_true(status == CEL_OK || status == CEL_NOMEM);
        assert_true(saved == CEL_NOMEM || saved == CEL_OK);
        failures += status != CEL_OK;
        cel_checkpoint_destroy(c);
        cel_state_fini(&list);
        test_ok(cel_checkpoint_open(dir, &c));
        bool untouched = status == CEL_OK && cel_checkpoint_serial(c) == 20;
        cel_checkpoint_destroy(c);
        if (untouched && cel_mem_count() && failures > 5 && n > 60) break;
    }
    assert_true(failures > 5);
    test_temp_dir_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_exactly),
        cmocka_unit_test(the_independent_reader_agrees),
        cmocka_unit_test(two_generations_stay),
        cmocka_unit_test(damage_falls_back_or_is_one_error),
        cmocka_unit_test(every_flipped_bit_of_the_json_is_noticed),
        cmocka_unit_test(newer_and_absent),
        cmocka_unit_test(lost_arrays_are_damage),
        cmocka_unit_test(only_damage_falls_back),
        cmocka_unit_test(another_recipe_is_refused),
        cmocka_unit_test(file_limit_keeps_the_old_one),
        cmocka_unit_test(full_disk_keeps_the_old_one),
        cmocka_unit_test(no_permission_keeps_the_old_one),
        cmocka_unit_test(each_failing_allocation_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
