/* base/datadir: shipped files are found, $CELLAR_DATA comes first, a missing file names the places. */
#define _GNU_SOURCE
#include "base/datadir.h"
#include "base/file.h"
#include "base/mem.h"
#include "support/test.h"

static void shipped_files_are_found(void **state) {
    (void)state;
    char *path;
    unsetenv("CELLAR_DATA");
    test_ok(cel_data_find("splits/cifar-split.txt", &path));
    assert_true(cel_path_exists(path));
    cel_free(path);
}

static void the_environment_comes_first(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *sub = cel_path_join(dir, "splits"), *file = cel_path_join(sub, "cifar-split.txt"),
         *path;
    test_ok(cel_dir_make(sub));
    test_ok(cel_file_write_atomic(file, "x", 1));
    setenv("CELLAR_DATA", dir, 1);
    test_ok(cel_data_find("splits/cifar-split.txt", &path));
    assert_string_equal(path, file);
    cel_free(path);
    test_ok(cel_data_find("cifar10-mini/train.bin", &path)); /* not in it: the other places still count */
    cel_free(path);
    test_fails(cel_data_find("splits/absent.txt", &path), CEL_NOTFOUND, dir);
    unsetenv("CELLAR_DATA");
    cel_free(sub);
    cel_free(file);
    test_temp_dir_remove(dir);
}

static void memory_may_run_out(void **state) {
    (void)state;
    char *path;
    cel_status status = CEL_NOMEM;
    int n = 0;
    while (status == CEL_NOMEM && n < 100) {
        cel_mem_fail_at((uint64_t)++n);
        status = cel_data_find("splits/cifar-split.txt", &path);
    }
    cel_mem_fail_at(0);
    test_ok(status);
    assert_true(n > 2);
    cel_free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shipped_files_are_found),
        cmocka_unit_test(the_environment_comes_first),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
