/* The golden layers (made by PyTorch in float64, tests/golden/README.md) on every backend this machine can run. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "support/golden_ops.h"
#include "support/test.h"

static void every_backend(void **state) {
    (void)state;
    int ran = 0;
    char *dir = cel_strdup(test_path("golden"));
    for (const cel_backend *const *b = cel_backends; *b; b++) {
        const char *reason = (*b)->unavailable();
        double worst;
        if (reason) {
            print_message("skipped: %s: %s\n", (*b)->name, reason);
            continue;
        }
        assert_int_equal(golden_ops_run(dir, *b, &worst), 0);
        print_message("%s: largest error %.3g of what is allowed\n", (*b)->name, worst);
        ran++;
    }
    cel_free(dir);
    assert_true(ran > 0);
}

/* A case whose numbers are wrong, and a kind that is not known, are failures: one changed digit in ops.csv each. */
static void wrong_case_fails(void **state) {
    (void)state;
    char *dir = test_temp_dir(), command[2][1024];
    const char *const csv = "name,kind,in_shape,out_shape,attributes\n"
                            "conv04,conv2d,,,k=3 stride=2 pad=1 dil=1 groups=1\n"
                            "conv02,conv2d,,,k=3 stride=1 pad=1 dil=2 groups=1\n"
                            "conv03,conv3d,,,k=3 stride=1 pad=1 dil=1 groups=1\n"
                            "shuffle4,channel_shuffle,,,\"groups=2: a, \"\"quoted\"\" text\"\n"
                            "gap,global_avg_pool,,,\n";
    snprintf(command[0], sizeof command[0], "%s/ops.csv", dir);
    snprintf(command[1], sizeof command[1], "%s/ops.safetensors", dir);
    FILE *f = fopen(command[0], "w");
    assert_non_null(f);
    fputs(csv, f);
    fclose(f);
    assert_int_equal(symlink(test_path("golden/ops.safetensors"), command[1]), 0);
    double worst;
    assert_int_equal(golden_ops_run(dir, &cel_backend_ref, &worst), 3);
    assert_true(worst > 1);
    test_temp_dir_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_backend), cmocka_unit_test(wrong_case_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
