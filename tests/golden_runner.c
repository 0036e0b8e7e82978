/* golden_runner [--backend NAME | --level NAME] DIR|FILE...: checks every golden file it knows on every backend, or on one, or on
 * the cpu backend at one CPU level, a line a file with the largest error in units of the tolerance; files of kinds it does not know are
 * named as unknown. Each check runs in a process of its own, so that a crash is one failure. Ends in "N passed, N failed"; exit
 * status 1 if one failed, 2 for wrong use, 77 where the machine lacks the level. */
#define _GNU_SOURCE
#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/mem.h"
#include "engine/backend/cpu/cpu.h"
#include "support/golden_check.h"
#include "support/golden_net.h"

enum { SKIPPED = 77 }; /* for ctest */
static int passed, failed, unknown;

/* The child's test: its result goes through a pipe. */
static const char *current;
static int result_pipe;

static void check_current(void **state) {
    (void)state;
    double worst = golden_kind_find(current)->check(current);
    assert_int_equal(write(result_pipe, &worst, sizeof worst), sizeof worst);
}

static void check(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (!golden_kind_find(path)) {
        printf("unknown  %s\n", name);
        unknown++;
        return;
    }
    int ends[2];
    double worst = HUGE_VAL, start = cel_clock_s();
    fflush(NULL);
    FILE *said = tmpfile(); /* what the check says */
    if (!said || pipe(ends)) exit(2);
    pid_t child = fork();
    if (child < 0) exit(2);
    if (child == 0) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(check_current)};
        close(ends[0]);
        current = path;
        result_pipe = ends[1];
        if (!freopen("/dev/null", "w", stdout) || dup2(fileno(said), STDERR_FILENO) < 0) exit(2);
        exit(cmocka_run_group_tests(tests, NULL, NULL));
    }
    close(ends[1]);
    int status;
    bool whole = read(ends[0], &worst, sizeof worst) == sizeof worst;
    close(ends[0]);
    waitpid(child, &status, 0);
    bool good = whole && WIFEXITED(status) && WEXITSTATUS(status) == 0 && worst <= 1;
    if (!whole) {
        printf("FAILED   %-42s no result\n", name);
    } else {
        printf("%s   %-42s largest error %.3g of the tolerance, %.1f s\n", good ? "passed" : "FAILED", name, worst,
               cel_clock_s() - start);
    }
    char line[512];
    rewind(said);
    while (fgets(line, sizeof line, said))
        if (!strstr(line, "PASSED")) printf("         %s", line);
    fclose(said);
    fflush(stdout);
    if (good) {
        passed++;
    } else {
        failed++;
    }
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static bool is_data(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".csv") || !strcmp(dot, ".safetensors")) && strcmp(name, "tolerances.csv") != 0;
}

static void check_dir(const char *dir) {
    struct dirent **entry;
    int n = scandir(dir, &entry, NULL, by_name);
    for (int i = 0; i < n; i++) {
        char *path = cel_path_join(dir, entry[i]->d_name);
        if (!path) exit(2);
        if (is_data(entry[i]->d_name)) check(path);
        cel_free(path);
        free(entry[i]);
    }
    if (n >= 0) free(entry);
}

int main(int argc, char **argv) {
    int first = 1;
    if (argc > 2 && !strcmp(argv[1], "--backend")) {
        golden_only_backend = argv[2];
        first = 3;
    } else if (argc > 2 && !strcmp(argv[1], "--level")) {
        cel_status status = cel_cpu_isa_force(argv[2]);
        if (status != CEL_OK) {
            fprintf(stderr, "golden_runner: %s\n", cel_status_message());
            return status == CEL_UNSUPPORTED ? SKIPPED : 2;
        }
        golden_only_backend = "cpu";
        first = 3;
    }
    if (first >= argc) {
        fprintf(stderr, "usage: golden_runner [--backend NAME | --level NAME] DIR|FILE...\n");
        return 2;
    }
    for (int i = first; i < argc; i++) {
        char *path = realpath(argv[i], NULL);
        if (!path) {
            fprintf(stderr, "golden_runner: %s: there is no such file or directory\n", argv[i]);
            return 2;
        }
        if (cel_path_is_dir(path)) {
            check_dir(path);
        } else {
            check(path);
        }
        free(path);
    }
    if (unknown) printf("%d unknown\n", unknown);
    if (!passed && !failed) {
        fprintf(stderr, "golden_runner: no golden file of a known kind there\n");
        return 2;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}
