#define _GNU_SOURCE
#include "support/program.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/mem.h"
#include "support/test.h"

static void read_back(const char *path, char **text) {
    size_t n;
    if (text) test_ok(cel_file_read(path, 256 << 20, text, &n));
}

int test_program(const char *const *argv, char **out, char **err) {
    char *dir = test_temp_dir(), *out_path = cel_path_join(dir, "out"), *err_path = cel_path_join(dir, "err");
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        int to_out = open(out_path, O_CREAT | O_WRONLY, 0600), to_err = open(err_path, O_CREAT | O_WRONLY, 0600);
        int from = open("/dev/null", O_RDONLY);
        if (to_out < 0 || to_err < 0 || from < 0 || dup2(from, 0) < 0 || dup2(to_out, 1) < 0 || dup2(to_err, 2) < 0)
            _exit(126);
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    read_back(out_path, out);
    read_back(err_path, err);
    if (WIFEXITED(status) && WEXITSTATUS(status) >= 126) fail_msg("%s cannot be run: is it built?", argv[0]);
    cel_free(out_path);
    cel_free(err_path);
    test_temp_dir_remove(dir);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

char *test_run_argv(const char *const *argv) {
    char *out, *err;
    int code = test_program(argv, &out, &err);
    if (code) fail_msg("%s %s: exit code %d: %s", argv[1], argv[2] ? argv[2] : "", code, err);
    cel_free(err);
    return out;
}

void test_refused_argv(cel_status want, const char *part, const char *const *argv) {
    char *out, *err;
    int code = test_program(argv, &out, &err);
    if (code != cel_status_exit_code(want) || !strstr(err, part))
        fail_msg("%s %s: want exit code %d with \"%s\", got %d: %s", argv[1], argv[2] ? argv[2] : "",
                 cel_status_exit_code(want), part, code, err);
    assert_string_equal(out, "");
    cel_free(out);
    cel_free(err);
}

json_t *test_parsed(char *text) {
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!json) fail_msg("JSON, line %d: %s", error.line, error.text);
    cel_free(text);
    return json;
}
