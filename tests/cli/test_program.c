/* The program from outside: exit codes, messages, what goes to which stream, help, JSON, completion, the documentation. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pty.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/mem.h"
#include "cellar/text.h"
#include "support/test.h"

static const char PROGRAM[] = CEL_BUILD_DIR "/cellar";

typedef struct {
    int code;
    char out[1 << 16], err[1 << 14];
} result;

static void read_all(int fd, char *text, size_t room) {
    size_t n = 0;
    for (ssize_t got; n + 1 < room && (got = read(fd, text + n, room - 1 - n)) > 0;) n += (size_t)got;
    text[n] = 0;
    close(fd);
}

/* Runs PROGRAM with the words of `line` (no quoting); `out_path`: where its standard output goes instead of into the result. */
static const result *run_to(const char *out_path, const char *line) {
    static result r;
    char words[8192], *argv[32] = {(char *)(uintptr_t)PROGRAM};
    int n = 1, err[2], out[2];
    snprintf(words, sizeof words, "%s", line);
    for (char *p = words, *end; *p && n < 31; p = end) {
        p += strspn(p, " ");
        end = p + strcspn(p, " ");
        if (*end) *end++ = 0;
        if (*p) argv[n++] = p;
    }
    assert_true(pipe(err) == 0 && pipe(out) == 0);
    pid_t child = fork();
    if (child == 0) {
        int to = out_path ? open(out_path, O_WRONLY) : out[1];
        dup2(to, 1);
        dup2(err[1], 2);
        close(out[0]), close(err[0]);
        execv(PROGRAM, argv);
        _exit(127);
    }
    close(out[1]), close(err[1]);
    read_all(out[0], r.out, sizeof r.out);
    read_all(err[0], r.err, sizeof r.err);
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    r.code = WEXITSTATUS(how);
    return &r;
}
static const result *run(const char *line) { return run_to(NULL, line); }

#define says(text, part)                                                                                               \
    do {                                                                                                               \
        if (!strstr((text), (part))) fail_msg("expected \"%s\" in:\n%s", (part), (text));                              \
    } while (0)

/* The line fails with `code`, one line of error that has `part`, and nothing on standard output. */
static void refuses(const char *line, int code, const char *part) {
    const result *r = run(line);
    says(r->err, part);
    assert_int_equal(r->code, code);
    assert_string_equal(r->out, "");
    assert_int_equal(strncmp(r->err, "cellar: ", 8), 0);
    assert_ptr_equal(strchr(r->err, '\n'), r->err + strlen(r->err) - 1);
}

static void wrong_lines_are_one_error(void **state) {
    (void)state;
    refuses("", 2, "expected a command, found none");
    refuses("serch", 2, "no command is called \"serch\"");
    refuses("lst", 2, "did you mean \"list\"?");
    refuses("--jsno list", 2, "did you mean \"--json\"?");
    refuses("list --jsno methods", 2, "did you mean \"--json\"?");
    refuses("list", 2, "found 0 arguments");
    refuses("list methods spaces", 2, "found 2 arguments");
    refuses("list metods", 2, "did you mean \"methods\"?");
    refuses("list methods --settings=1", 2, "--settings takes no value");
    refuses("config show", 2, "found 1 argument");
    refuses("config shw demo", 2, "expected show or check");
    refuses("config check demo --set", 2, "--set: expected KEY=VALUE after it, found nothing");
    refuses("config check demo --set x", 2, "expected section.key=value");
    refuses("config check nothere", 8, "no recipe is called \"nothere\"");
    refuses("config check dmo", 8, "did you mean \"demo\"?");
    refuses("config check no/where.yaml", 8, "no/where.yaml");
    refuses("config check demo --set space.c=6", 3, "take k = 1, 2, 3, 6");
    refuses("config check demo --set train.lr=2000", 3, "train.lr: expected a number from 0 to 100, found \"2000\"");
    refuses("config check demo --set method.lrr=1", 3, "did you mean \"method.lr\"?");
    refuses("config check demo -x", 2, "no flag is called \"--x\"");
    refuses("bench --case nb201_k5", 8, "did you mean \"nb201_k");
    refuses("bench --steps 0", 2, "--steps: expected a whole number from 1 to 1000, found \"0\"");
    refuses("bench nb201_k4", 2, "found 1 argument");
}

static void streams_and_exit_codes(void **state) {
    (void)state;
    const result *r = run("--version");
    assert_int_equal(r->code, 0);
    assert_string_equal(r->out, "cellar " CEL_VERSION_TEXT "\n");
    assert_string_equal(r->err, "");
    r = run("config check demo");
    assert_int_equal(r->code, 0);
    says(r->err, "demo: good: drnas on nb201");
    assert_string_equal(r->out, "");
    r = run("--quiet config check demo");
    assert_string_equal(r->err, "");
    assert_null(strchr(run("list methods")->out, '\033')); /* no colours into a pipe */
    r = run_to("/dev/full", "list recipes");
    assert_int_equal(r->code, 5);
    says(r->err, "standard output: cannot write");
    setenv("CELLAR_TRACE", "1", 1);
    r = run("config check dmo");
    unsetenv("CELLAR_TRACE");
    says(r->err, "recipe.c:");
}

static void json_is_json(void **state) {
    (void)state;
    const char *lines[] = {"list methods --json", "list spaces --json",  "--json list datasets",
                           "list recipes --json", "bench --list --json", "list methods --settings --json"};
    for (size_t i = 0; i < CEL_COUNT(lines); i++) {
        json_t *all = json_loads(run(lines[i])->out, JSON_REJECT_DUPLICATES, NULL);
        assert_true(json_array_size(all) > 0);
        for (size_t k = 0; k < json_array_size(all); k++)
            assert_true(json_string_length(json_object_get(json_array_get(all, k), "name")) > 0);
        json_decref(all);
    }
    json_t *demo = json_loads(run("config show demo --json --set search.seed=77")->out, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(demo, "search"), "seed")), 77);
    json_decref(demo);
}

static void bench_tells_where_the_time_goes(void **state) {
    (void)state;
    const result *r = run("bench --case nb201_k4 --case loader --steps 1 --threads 1 --profile --json");
    assert_int_equal(r->code, 0);
    json_error_t error;
    json_t *net = json_loads(r->out, JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, &error);
    json_t *loader = json_loads(r->out + error.position, JSON_REJECT_DUPLICATES, NULL);
    assert_string_equal(json_string_value(json_object_get(net, "case")), "nb201_k4");
    assert_string_equal(json_string_value(json_object_get(loader, "case")), "loader");
    double share = json_number_value(json_object_get(net, "floor_share"));
    assert_true(share > 0 && share < 2);
    json_t *profile = json_object_get(net, "profile"), *root = json_array_get(profile, 0);
    assert_true(json_array_size(profile) > 20 && json_number_value(json_object_get(root, "ms")) > 0);
    assert_true(!json_object_get(loader, "profile") && !json_object_get(loader, "gflops"));
    json_decref(net);
    json_decref(loader);
    r = run("bench --case nb201_k4 --steps 1 --profile");
    assert_int_equal(r->code, 0);
    says(r->out, "images/s");
    says(r->out, "\n  weight half");
    says(r->out, "weight gradient 3x3");
    assert_string_equal(r->err, "");
}

static void config_show_is_a_recipe(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *path = cel_path_join(dir, "shown.yaml"), line[600];
    for (int bare = 0; bare < 2; bare++) {
        const result *r = run(bare ? "config show demo --bare" : "config show demo");
        assert_int_equal(r->code, 0);
        assert_int_equal(strstr(r->out, "  # ") == NULL, bare);
        char *first = cel_strdup(r->out);
        test_ok(cel_file_write_atomic(path, first, strlen(first)));
        snprintf(line, sizeof line, "config show %s %s", path, bare ? "--bare" : "");
        assert_string_equal(run(line)->out, first);
        cel_free(first);
    }
    cel_free(path);
    test_temp_dir_remove(dir);
}

/* What the program writes to a terminal on standard error while it searches. */
static char *watch_search(const char *dir, const char *no_color) {
    int terminal;
    size_t n = 0, room = 1 << 20;
    char *text = cel_alloc(room, 1);
    assert_non_null(text);
    pid_t child = forkpty(&terminal, NULL, NULL, NULL);
    assert_true(child >= 0);
    if (child == 0) {
        int out = open("/dev/null", O_WRONLY);
        dup2(out, 1);
        setenv("TERM", "xterm", 1);
        setenv("NO_COLOR", no_color, 1);
        execl(PROGRAM, PROGRAM, "search", "demo", "--run", dir, "--set", "data={source: synthetic, limit: 64}", "--set",
              "space={c: 4, n: 1}", "--set", "train.batch=8", "--set", "search.stages=[{k: 1, epochs: 2}]",
              (char *)NULL);
        _exit(127);
    }
    for (ssize_t got; n + 1 < room && (got = read(terminal, text + n, room - 1 - n)) > 0;) n += (size_t)got;
    close(terminal);
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    if (!WIFEXITED(how) || WEXITSTATUS(how)) fail_msg("the search failed:\n%s", text);
    return text;
}

static void a_terminal_gets_a_bar(void **state) {
    (void)state;
    int ends[2];
    if (openpty(&ends[0], &ends[1], NULL, NULL, NULL) != 0) { /* a chroot without /dev/pts */
        print_message("skipped: no pseudo-terminal here: %s\n", strerror(errno));
        skip();
    }
    close(ends[0]);
    close(ends[1]);
    char *dir = test_temp_dir();
    for (int no_color = 0; no_color < 2; no_color++) {
        char *run_dir = cel_path_join(dir, no_color ? "plain" : "colour");
        char *text = watch_search(run_dir, no_color ? "1" : "");
        says(text, "\r\033[K[");
        says(text, " %");
        assert_int_equal(strstr(text, "\033[36m") != NULL, !no_color);
        char *last = text, *erased = text;
        for (char *p = text; (p = strstr(p, "[")); p++)
            if (!strncmp(p, "[>", 2) || !strncmp(p, "[=", 2)) last = p;
        for (char *p = text; (p = strstr(p, "\r\033[K")); p++) erased = p;
        assert_true(erased > last); /* the bar is gone at the end */
        cel_free(text);
        cel_free(run_dir);
    }
    test_temp_dir_remove(dir);
}

static void without_a_terminal_plain_lines(void **state) {
    (void)state;
    char *dir = test_temp_dir(), line[700];
    snprintf(
        line, sizeof line,
        "search demo --run %s/a --set data.source=synthetic --set data.limit=64 --set space.c=4 --set train.batch=8 "
        "--set search.stages.0.epochs=1 --set search.stages.0.warmup=0 --set search.stages.1.epochs=1 --set "
        "search.stages.1.warmup=0",
        dir);
    const result *r = run(line);
    assert_int_equal(r->code, 0);
    says(r->err, "epoch");
    assert_null(strchr(r->err, '\r'));
    assert_null(strchr(r->err, '\033'));
    assert_true(r->out[0] == '|'); /* the cell, for programs */
    refuses(line, 3, "holds a run already; --resume goes on with it");
    /* a complete run tells again what it has found */
    snprintf(line + strlen(line), sizeof line - strlen(line), " --resume --json");
    r = run(line);
    assert_int_equal(r->code, 0);
    says(r->out, "\"params\": ");
    says(r->out, "\"table\": {\"cifar10\"");
    test_temp_dir_remove(dir);
}

/* A line that does not fit the record is left out of it: half of it would repeat another run. */
static void a_recorded_line_is_whole(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *text;
    size_t n;
    for (int width = 10; width <= 5000; width += 4990) {
        char *line = cel_asprintf(
            "search demo --run %s/%d --set data.source=synthetic --set data.limit=16 --set space.c=4 --set "
            "train.batch=8 --set search.stages.0.epochs=1 --set search.stages.0.warmup=0 --set "
            "search.stages.1.epochs=1 --set search.stages.1.warmup=0 --set title=x%0*d",
            dir, width, width, 0);
        char *path = cel_asprintf("%s/%d/manifest.json", dir, width);
        assert_int_equal(run(line)->code, 0);
        test_ok(cel_file_read(path, 1 << 20, &text, &n));
        says(text, width == 10 ? "title=x0000000000\"" : "\"command\": \"\"");
        cel_free(text), cel_free(path), cel_free(line);
    }
    test_temp_dir_remove(dir);
}

/* Every line of `--complete` is a command, whose own flags are in its help. */
static void help_and_completion_cover_everything(void **state) {
    (void)state;
    char *commands = cel_strdup(run("--complete")->out), *help = cel_strdup(run("--help")->out);
    int n = 0;
    for (char *name = commands, *end; *name; name = end + 1, n++) {
        *(end = strchr(name, '\n')) = 0;
        char line[128], *flags;
        says(help, name);
        snprintf(line, sizeof line, "%s --complete", name);
        flags = cel_strdup(run(line)->out);
        snprintf(line, sizeof line, "%s --help", name);
        const result *r = run(line);
        assert_int_equal(r->code, 0);
        says(r->out, "usage: cellar ");
        for (char *flag = flags, *stop; *flag; flag = stop + 1) {
            *(stop = strchr(flag, '\n')) = 0;
            says(r->out, flag);
        }
        says(flags, "--");
        cel_free(flags);
    }
    assert_true(n >= 5);
    cel_free(commands);
    cel_free(help);
}

/* docs/cli.md is what scripts/docs.sh makes of the program. */
static void the_documentation_is_current(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", CEL_SOURCE_DIR "/scripts/docs.sh", "--check", PROGRAM, (char *)NULL);
        _exit(127);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    if (!WIFEXITED(how) || WEXITSTATUS(how)) fail_msg("docs/cli.md is out of date: run scripts/docs.sh %s", PROGRAM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_lines_are_one_error),
        cmocka_unit_test(streams_and_exit_codes),
        cmocka_unit_test(json_is_json),
        cmocka_unit_test(bench_tells_where_the_time_goes),
        cmocka_unit_test(config_show_is_a_recipe),
        cmocka_unit_test(a_terminal_gets_a_bar),
        cmocka_unit_test(without_a_terminal_plain_lines),
        cmocka_unit_test(a_recorded_line_is_whole),
        cmocka_unit_test(help_and_completion_cover_everything),
        cmocka_unit_test(the_documentation_is_current),
    };
    if (!cel_path_exists(PROGRAM)) {
        print_error("%s is not built\n", PROGRAM);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
