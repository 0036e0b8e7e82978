/* The run directory: who may have it, what a kill leaves and a resume cuts off, full disks, TensorBoard events read back by a
 * decoder of the test's own. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "lab/events.h"
#include "lab/lines.h"
#include "lab/rundir.h"
#include "support/test.h"

static const char RECIPE[] = "search:\n  seed: 1\n  epochs: 3\n";

static char *read_all(const char *dir, const char *name, size_t *n) {
    char *path = cel_path_join(dir, name), *data;
    test_ok(cel_file_read(path, 1 << 20, &data, n));
    cel_free(path);
    return data;
}

static char *events_path(const char *dir) {
    DIR *d = opendir(dir);
    char *path = NULL;
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (!strncmp(e->d_name, "events.out.tfevents.", 20)) path = cel_path_join(dir, e->d_name), n++;
    closedir(d);
    assert_int_equal(n, 1);
    return path;
}

/* ---- an independent decoder: bitwise CRC, plain protobuf ---- */

static uint32_t slow_crc(const uint8_t *p, size_t n) {
    uint32_t crc = 0xFFFFFFFF;
    while (n--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++) crc = (crc & 1) ? (crc >> 1) ^ 0x82F63B78 : crc >> 1;
    }
    return crc ^ 0xFFFFFFFF;
}
static uint32_t unmask(uint32_t v) {
    v -= 0xa282ead8;
    return (v << 15) | (v >> 17);
}
static uint64_t le(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v += (uint64_t)p[i] << (8 * i);
    return v;
}
static uint64_t varint(const uint8_t **p) {
    uint64_t v = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t b = *(*p)++;
        v |= (uint64_t)(b & 127) << shift;
        if (b < 128) return v;
    }
}

typedef struct {
    int64_t step;
    int n;
    char tag[16][64];
    float value[16];
    char version[32];
} event;

static event decode(const uint8_t *p, size_t n) {
    event e = {0};
    const uint8_t *end = p + n;
    while (p < end) {
        uint64_t key = varint(&p);
        if (key == (1 << 3 | 1)) {
            double t;
            memcpy(&t, p, 8);
            assert_true(t > 1.6e9 && t < 1e11);
            p += 8;
        } else if (key == (2 << 3 | 0)) {
            e.step = (int64_t)varint(&p);
        } else if (key == (3 << 3 | 2)) {
            size_t m = varint(&p);
            memcpy(e.version, p, m);
            p += m;
        } else {
            assert_int_equal(key, 5 << 3 | 2);
            size_t m = varint(&p);
            const uint8_t *stop = p + m;
            while (p < stop) {
                assert_int_equal(varint(&p), 1 << 3 | 2);
                size_t value_bytes = varint(&p);
                const uint8_t *value_end = p + value_bytes;
                assert_int_equal(varint(&p), 1 << 3 | 2);
                size_t length = varint(&p);
                memcpy(e.tag[e.n], p, length);
                p += length;
                assert_int_equal(varint(&p), 2 << 3 | 5);
                memcpy(&e.value[e.n], p, 4);
                p += 4;
                assert_ptr_equal(p, value_end);
                e.n++;
            }
            assert_ptr_equal(p, stop);
        }
    }
    assert_ptr_equal(p, end);
    return e;
}

/* All events of the directory; fails on any torn or damaged frame. */
static int decode_all(const char *dir, event *out) {
    char *path = events_path(dir), *data;
    size_t n;
    int count = 0;
    test_ok(cel_file_read(path, 1 << 20, &data, &n));
    const uint8_t *p = (const uint8_t *)data, *end = p + n;
    while (p < end) {
        assert_true(end - p >= 16);
        uint64_t length = le(p, 8);
        assert_int_equal(unmask((uint32_t)le(p + 8, 4)), slow_crc(p, 8));
        assert_true((uint64_t)(end - p) >= length + 16);
        assert_int_equal(unmask((uint32_t)le(p + 12 + length, 4)), slow_crc(p + 12, length));
        out[count++] = decode(p + 12, length);
        p += length + 16;
    }
    cel_free(data);
    cel_free(path);
    return count;
}

/* ---- runs ---- */

static cel_status epoch(cel_rundir *run, int64_t e) {
    char metrics[400], genotype[100];
    snprintf(metrics, sizeof metrics,
             "{\"epoch\":%d,\"train_loss\":%.17g,\"arch_active\":true,\"genotype\":\"|x~%d|\",\"table\":{\"cifar10\":{"
             "\"test\":"
             "94.36,\"rank\":%d}},\"live\":[[1,0]]}",
             (int)e, 1.0 / (double)(e + 3), (int)e, (int)e + 1);
    snprintf(genotype, sizeof genotype, "{\"epoch\":%d,\"genotype\":\"|x~%d|\"}", (int)e, (int)e);
    return cel_rundir_epoch(run, e, metrics, genotype);
}

static cel_status save(cel_rundir *run, int64_t step, bool epoch_end) {
    double w[3] = {(double)step, 0.5, 2};
    cel_state state = {0};
    test_ok(cel_state_add(&state, CEL_STATE_F64, w, 1, (int64_t[]){3}, "w"));
    cel_status status = cel_rundir_save(run, step, epoch_end, &state);
    cel_state_fini(&state);
    return status;
}

static const cel_run_facts facts = {.backend = "ref",
                                    .isa = "base",
                                    .method = "drnas",
                                    .space = "nb201",
                                    .command = "cellar search \"x\"",
                                    .threads = 2,
                                    .seed = 7,
                                    .dataset = "cifar10-mini",
                                    .dataset_sha256 = "00ff",
                                    .images = {500, 400},
                                    .params = 12,
                                    .step_flops = 34,
                                    .memory_bytes = 5000000};

static void an_undisturbed_run(void **state) {
    (void)state;
    char *top = test_temp_dir(), *dir = cel_path_join(top, "runs/a");
    cel_rundir *run;
    test_ok(cel_rundir_open(dir, false, RECIPE, &run));
    assert_null(cel_rundir_checkpoint(run));
    test_ok(cel_rundir_manifest(run, &facts));
    for (int64_t e = 0; e < 3; e++) {
        test_ok(epoch(run, e));
        test_ok(save(run, (e + 1) * 10, true));
        test_ok(cel_rundir_spent(run, e == 2));
    }
    cel_rundir_close(run);
    size_t n;
    char *text = read_all(dir, "recipe.yaml", &n);
    assert_string_equal(text, RECIPE);
    cel_free(text);
    text = read_all(dir, "metrics.jsonl", &n);
    int lines = 0;
    for (char *p = text, *end; *p; p = end + 1, lines++) {
        end = strchr(p, '\n');
        *end = 0;
        json_t *line = json_loads(p, 0, NULL);
        assert_int_equal(json_integer_value(json_object_get(line, "epoch")), lines);
        assert_true(json_real_value(json_object_get(line, "train_loss")) == 1.0 / (lines + 3));
        json_decref(line);
    }
    assert_int_equal(lines, 3);
    cel_free(text);
    event events[16];
    assert_int_equal(decode_all(dir, events), 4);
    assert_string_equal(events[0].version, "brain.Event:2");
    for (int i = 1; i < 4; i++) {
        assert_int_equal(events[i].step, i - 1);
        assert_int_equal(events[i].n, 4);
        assert_string_equal(events[i].tag[1], "train_loss");
        assert_true(events[i].value[1] == (float)(1.0 / (i + 2)));
        assert_string_equal(events[i].tag[2], "table/cifar10/test");
        assert_true(events[i].value[2] == 94.36f);
        assert_string_equal(events[i].tag[3], "table/cifar10/rank");
    }
    text = read_all(dir, "manifest.json", &n);
    json_t *manifest = json_loads(text, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(manifest, "seed")), 7);
    assert_true(json_is_string(json_object_get(manifest, "finished")));
    assert_int_equal(json_array_size(json_object_get(manifest, "resumed")), 0);
    assert_true(json_real_value(json_object_get(manifest, "peak_mb")) > 1);
    assert_true(json_real_value(json_object_get(json_object_get(manifest, "plan"), "memory_mb")) == 5);
    json_decref(manifest);
    cel_free(text);
    cel_free(dir);
    test_temp_dir_remove(top);
}

static void append_raw(const char *path, const char *bytes, size_t n) {
    int fd = open(path, O_WRONLY | O_APPEND);
    assert_true(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
}

/* A kill after `extra` lines that no checkpoint counts, the last of them torn at every place in turn. */
static void resume_cuts_back_what_does_not_count(void **state) {
    (void)state;
    for (size_t torn = 0; torn < 60; torn += 3) {
        char *dir = test_temp_dir();
        cel_rundir *run;
        test_ok(cel_rundir_open(dir, false, RECIPE, &run));
        test_ok(cel_rundir_manifest(run, &facts));
        for (int64_t e = 0; e < 2; e++) {
            test_ok(epoch(run, e));
            test_ok(save(run, (e + 1) * 10, true));
        }
        size_t n, m;
        char *metrics = read_all(dir, "metrics.jsonl", &n), *genotypes = read_all(dir, "genotypes.jsonl", &m);
        char *events = events_path(dir), *frames;
        size_t frame_bytes;
        test_ok(cel_file_read(events, 1 << 20, &frames, &frame_bytes));
        test_ok(epoch(run, 2));
        cel_rundir_close(run);
        char *path = cel_path_join(dir, "metrics.jsonl");
        append_raw(path, metrics, torn % n);
        append_raw(events, frames, torn % frame_bytes);
        cel_free(path);

        test_ok(cel_rundir_open(dir, true, RECIPE, &run));
        assert_int_equal(cel_checkpoint_serial(cel_rundir_checkpoint(run)), 20);
        test_ok(cel_rundir_manifest(run, &facts));
        cel_rundir_forget(run);
        size_t n2;
        char *again = read_all(dir, "metrics.jsonl", &n2);
        assert_int_equal(n, n2);
        assert_memory_equal(metrics, again, n);
        cel_free(again);
        again = read_all(dir, "genotypes.jsonl", &n2);
        assert_int_equal(m, n2);
        assert_memory_equal(genotypes, again, m);
        cel_free(again);
        test_ok(epoch(run, 2));
        test_ok(save(run, 30, true));
        cel_rundir_close(run);
        event decoded[16];
        assert_int_equal(decode_all(dir, decoded), 4);
        for (int i = 1; i < 4; i++) assert_int_equal(decoded[i].step, i - 1);
        char *text = read_all(dir, "manifest.json", &n2);
        json_t *manifest = json_loads(text, 0, NULL);
        assert_int_equal(json_array_size(json_object_get(manifest, "resumed")), 1);
        json_decref(manifest);
        cel_free(text), cel_free(metrics), cel_free(genotypes), cel_free(events), cel_free(frames);
        test_temp_dir_remove(dir);
    }
}

static void a_run_is_not_overwritten(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    cel_rundir *run, *other;
    test_ok(cel_rundir_open(dir, false, RECIPE, &run));
    test_fails(cel_rundir_open(dir, true, RECIPE, &other), CEL_BUSY, "in use by another process");
    cel_rundir_close(run);
    test_fails(cel_rundir_open(dir, false, RECIPE, &run), CEL_CONFIG, "holds a run already; --resume goes on with it");
    test_fails(cel_rundir_open(dir, true, "search:\n  seed: 2\n  epochs: 3\n", &run), CEL_CONFIG,
               "at line 2 of it, search: expected \"  seed: 1\", found \"  seed: 2\"");
    test_fails(cel_rundir_open(dir, true, "search:\n  seed: 1\n", &run), CEL_CONFIG, "at line 3");
    test_ok(
        cel_rundir_open(dir, true, RECIPE, &run)); /* killed before its first checkpoint: starts from the beginning */
    assert_null(cel_rundir_checkpoint(run));
    cel_rundir_close(run);
    test_temp_dir_remove(dir);

    dir = test_temp_dir();
    char *file = cel_path_join(dir, "thesis.txt");
    test_ok(cel_file_write_atomic(file, "x", 1));
    test_fails(cel_rundir_open(dir, false, RECIPE, &run), CEL_CONFIG, "found other files in it");
    test_fails(cel_rundir_open(dir, true, RECIPE, &run), CEL_CONFIG, "found other files in it");
    char *lock = cel_path_join(dir, "lock");
    assert_false(cel_path_exists(lock)); /* what is no run's directory is left alone */
    cel_free(lock);
    test_fails(cel_rundir_open(file, false, RECIPE, &run), CEL_IO, "thesis.txt");
    cel_free(file);
    test_temp_dir_remove(dir);

    dir = test_temp_dir(); /* a kill while the recipe was written */
    file = cel_path_join(dir, "recipe.yaml.tmp");
    test_ok(cel_file_write_atomic(file, "sea", 3));
    test_ok(cel_rundir_open(dir, true, RECIPE, &run));
    cel_rundir_close(run);
    cel_free(file);
    test_temp_dir_remove(dir);
}

static void lost_lines_are_an_error(void **state) {
    (void)state;
    const char *names[] = {"metrics.jsonl", "genotypes.jsonl", NULL};
    for (int i = 0; i < 3; i++) {
        char *dir = test_temp_dir();
        cel_rundir *run;
        test_ok(cel_rundir_open(dir, false, RECIPE, &run));
        test_ok(epoch(run, 0));
        test_ok(save(run, 10, true));
        cel_rundir_close(run);
        char *path = names[i] ? cel_path_join(dir, names[i]) : events_path(dir);
        assert_int_equal(truncate(path, 20), 0);
        test_fails(cel_rundir_open(dir, true, RECIPE, &run), CEL_FORMAT, "the run cannot go on");
        assert_int_equal(unlink(path), 0);
        test_fails(cel_rundir_open(dir, true, RECIPE, &run), CEL_FORMAT, "the run cannot go on");
        cel_free(path);
        test_temp_dir_remove(dir);
    }
}

/* Nothing of a run is cut away because its checkpoints are gone. */
static void lost_checkpoints_are_an_error(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *checkpoints = cel_path_join(dir, "checkpoint");
    cel_rundir *run;
    size_t n, m;
    test_ok(cel_rundir_open(dir, false, RECIPE, &run));
    test_ok(cel_rundir_manifest(run, &facts));
    for (int64_t e = 0; e < 2; e++) {
        test_ok(epoch(run, e));
        test_ok(save(run, (e + 1) * 10, true));
    }
    cel_rundir_close(run);
    char *before = read_all(dir, "metrics.jsonl", &n), *aside = cel_asprintf("%s.aside", checkpoints);
    assert_int_equal(rename(checkpoints, aside), 0);
    test_fails(cel_rundir_open(dir, true, RECIPE, &run), CEL_FORMAT, "holds 2 epochs, but no checkpoint");
    char *after = read_all(dir, "metrics.jsonl", &m);
    assert_string_equal(before, after);
    assert_int_equal(rename(aside, checkpoints), 0);
    test_ok(cel_rundir_open(dir, true, RECIPE, &run));
    cel_rundir_close(run);
    cel_free(before), cel_free(after), cel_free(aside), cel_free(checkpoints);
    test_temp_dir_remove(dir);

    dir = test_temp_dir(); /* killed between its first epoch's record and checkpoint */
    test_ok(cel_rundir_open(dir, false, RECIPE, &run));
    test_ok(epoch(run, 0));
    cel_rundir_close(run);
    test_ok(cel_rundir_open(dir, true, RECIPE, &run));
    cel_rundir_close(run);
    test_temp_dir_remove(dir);
}

static char log_text[1000];
static void keep_log(void *ctx, cel_log_level level, const char *text) {
    (void)ctx, (void)level;
    snprintf(log_text, sizeof log_text, "%s", text);
}

static void a_resumed_manifest_keeps_its_ground(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    cel_rundir *run;
    size_t n;
    test_ok(cel_rundir_open(dir, false, RECIPE, &run));
    test_ok(cel_rundir_manifest(run, &facts));
    test_ok(epoch(run, 0));
    test_ok(save(run, 10, true));
    assert_false(cel_rundir_finished(run));
    test_ok(cel_rundir_spent(run, true));
    cel_rundir_close(run);

    cel_run_facts other = facts;
    test_ok(cel_rundir_open(dir, true, RECIPE, &run));
    assert_true(cel_rundir_finished(run));
    other.dataset_sha256 = "00fe";
    test_fails(cel_rundir_manifest(run, &other), CEL_CONFIG, "expected SHA-256 00ff, found 00fe");
    other = facts;
    other.isa = "wide";
    other.params = 99; /* of a later stage */
    log_text[0] = 0;
    cel_log_sink(keep_log, NULL);
    test_ok(cel_rundir_manifest(run, &other));
    cel_log_sink(NULL, NULL);
    assert_non_null(strstr(log_text, "instruction set base and goes on with ref and wide"));
    cel_rundir_close(run);
    char *text = read_all(dir, "manifest.json", &n);
    json_t *manifest = json_loads(text, 0, NULL), *plan = json_object_get(manifest, "plan"),
           *images = json_object_get(json_object_get(manifest, "dataset"), "images");
    assert_int_equal(json_integer_value(json_object_get(plan, "params")), 12);
    assert_string_equal(json_string_value(json_object_get(manifest, "isa")), "wide");
    assert_int_equal(json_integer_value(json_object_get(images, "weights")), 500);
    assert_int_equal(json_integer_value(json_object_get(images, "architecture")), 400);
    json_decref(manifest);
    cel_free(text);
    test_temp_dir_remove(dir);
}

static void records_are_checked(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    cel_rundir *run;
    test_ok(cel_rundir_open(dir, false, RECIPE, &run));
    test_fails(cel_rundir_epoch(run, 0, "[1]", "{}"), CEL_INTERNAL, "metrics: not a JSON object");
    test_fails(cel_rundir_epoch(run, 0, "{\"a\":nan}", "{}"), CEL_INTERNAL, "metrics: not a JSON object");
    test_fails(cel_rundir_epoch(run, 0, "{}", "{"), CEL_INTERNAL, "genotype: not a JSON object");
    test_fails(cel_rundir_epoch(run, 0, "{\n}", "{}"), CEL_INTERNAL, "line break");
    test_fails(cel_rundir_spent(run, true), CEL_INTERNAL, "no manifest");
    cel_rundir_close(run);
    test_temp_dir_remove(dir);
}

static void full_in_child(const char *dir) {
    cel_rundir *run;
    struct rlimit limit = {4000, 4000};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    if (cel_rundir_open(dir, false, RECIPE, &run) != CEL_OK) _exit(1);
    for (int64_t e = 0; e < 1000; e++) {
        cel_status status = epoch(run, e);
        if (status == CEL_OK && save(run, e + 1, true) == CEL_OK) continue;
        if (status == CEL_IO && strstr(cel_status_message(), "cannot write: File too large")) _exit(0);
        break;
    }
    fprintf(stderr, "%s\n", cel_status_message());
    _exit(1);
}

/* A disk that fills while records are written: one error, whole records before it, and the run goes on once there is room. */
static void full_disk_tears_nothing(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    pid_t child = fork();
    if (child == 0) full_in_child(dir);
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    size_t n;
    char *text = read_all(dir, "metrics.jsonl", &n);
    assert_true(n > 500 && text[n - 1] == '\n');
    cel_free(text);
    cel_rundir *run;
    test_ok(cel_rundir_open(dir, true, RECIPE, &run));
    int64_t done = cel_checkpoint_serial(cel_rundir_checkpoint(run));
    assert_true(done > 5);
    test_ok(epoch(run, done));
    test_ok(save(run, done + 1, true));
    cel_rundir_close(run);
    static event events[64];
    assert_int_equal(decode_all(dir, events), done + 2);
    test_temp_dir_remove(dir);
}

static void without_rights(const char *dir) {
    cel_rundir *run;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(1);
    char *inside = cel_path_join(dir, "new");
    bool first = cel_rundir_open(inside, false, RECIPE, &run) == CEL_IO &&
                 strstr(cel_status_message(), "Permission denied; check the permissions");
    bool second =
        cel_rundir_open(dir, false, RECIPE, &run) == CEL_IO && strstr(cel_status_message(), "Permission denied");
    cel_free(inside);
    _exit(first && second ? 0 : 1);
}

static void no_permission_is_one_error(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    assert_int_equal(chmod(dir, 0555), 0);
    pid_t child = fork();
    if (child == 0) without_rights(dir);
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    assert_int_equal(chmod(dir, 0755), 0);
    test_temp_dir_remove(dir);
}

static void each_failing_allocation_is_clean(void **state) {
    (void)state;
    int failures = 0;
    for (uint64_t n = 1; n < 400; n++) {
        char *dir = test_temp_dir();
        cel_rundir *run = NULL;
        cel_mem_fail_at(n);
        cel_status status = cel_rundir_open(dir, false, RECIPE, &run);
        if (status == CEL_OK) status = cel_rundir_manifest(run, &facts);
        if (status == CEL_OK) status = epoch(run, 0);
        if (status == CEL_OK) {
            double w = 1;
            cel_state list = {0};
            status = cel_state_add(&list, CEL_STATE_F64, &w, 0, NULL, "w");
            if (status == CEL_OK) status = cel_rundir_save(run, 10, true, &list);
            cel_state_fini(&list);
        }
        cel_mem_fail_at(0);
        assert_true(status == CEL_OK || status == CEL_NOMEM);
        cel_rundir_close(run);
        test_temp_dir_remove(dir);
        failures += status != CEL_OK;
        if (status == CEL_OK && n > 60) break;
    }
    assert_true(failures > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_undisturbed_run),
        cmocka_unit_test(resume_cuts_back_what_does_not_count),
        cmocka_unit_test(a_run_is_not_overwritten),
        cmocka_unit_test(lost_lines_are_an_error),
        cmocka_unit_test(lost_checkpoints_are_an_error),
        cmocka_unit_test(a_resumed_manifest_keeps_its_ground),
        cmocka_unit_test(records_are_checked),
        cmocka_unit_test(full_disk_tears_nothing),
        cmocka_unit_test(no_permission_is_one_error),
        cmocka_unit_test(each_failing_allocation_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
