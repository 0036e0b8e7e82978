/* The program: finds the subcommand, prints what went wrong, exits with the status' code. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cellar/text.h"
#include "cli.h"

cli_globals cli;

typedef struct {
    const char *name, *summary;
    cel_status (*run)(int argc, char **argv);
} command;

static const command commands[] = {
#define CLI_COMMAND(name, function, summary) {#name, summary, function},
#include "commands.def"
#undef CLI_COMMAND
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(void) {
    printf("cellar %s: finds cell architectures\n\nusage: cellar COMMAND ...\n\n", CEL_VERSION_TEXT);
    for (int i = 0; i < N_COMMANDS; i++) printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    printf("\nEverywhere:\n"
           "  --help      what a command does and its flags\n"
           "  --json      JSON on standard output, for programs\n"
           "  --quiet     no progress and no remarks\n"
           "  --no-color  no colours; so does the environment variable NO_COLOR\n"
           "  --version   the version\n\nExit codes:\n");
    for (int s = CEL_OK; s < CEL_STATUS_COUNT; s++)
        printf("  %-10d %s\n", cel_status_exit_code((cel_status)s), cel_status_text((cel_status)s));
}

static bool may_color(int fd) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static cel_status run_command(int argc, char **argv) {
    const char *names[N_COMMANDS];
    for (int i = 0; i < N_COMMANDS; i++) {
        names[i] = commands[i].name;
        if (!strcmp(argv[0], names[i])) return commands[i].run(argc, argv);
    }
    const char *near = cel_text_nearest(argv[0], names, N_COMMANDS);
    return CEL_FAIL(CEL_USAGE, "no command is called \"%.60s\"%s%s%s; `cellar --help` lists them", argv[0],
                    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* Flags before the command; the ones after it are cli_parse's. */
static cel_status run(int argc, char **argv) {
    static const char *const names[] = {"--help", "--version", "--json", "--quiet", "--no-color", "--complete"};
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        const char *flag = argv[at];
        if (!strcmp(flag, "--help") || !strcmp(flag, "-h")) {
            print_help();
            return CEL_OK;
        } else if (!strcmp(flag, "--version")) {
            printf("cellar %s\n", CEL_VERSION_TEXT);
            return CEL_OK;
        } else if (!strcmp(flag, "--complete")) { /* for the shell: the commands, one a line */
            for (int i = 0; i < N_COMMANDS; i++) printf("%s\n", commands[i].name);
            return CEL_OK;
        } else if (!strcmp(flag, "--json")) {
            cli.json = true;
        } else if (!strcmp(flag, "--quiet")) {
            cli.quiet = true;
        } else if (!strcmp(flag, "--no-color")) {
            cli.color_out = cli.color_err = false;
        } else {
            const char *near = cel_text_nearest(flag, names, 5);
            return CEL_FAIL(CEL_USAGE, "no flag is called \"%.60s\"%s%s%s", flag, near ? "; did you mean \"" : "",
                            near ? near : "", near ? "\"?" : "");
        }
    }
    if (at == argc) return CEL_FAIL(CEL_USAGE, "expected a command, found none; `cellar --help` lists them");
    return run_command(argc - at, argv + at);
}

static void log_to_stderr(void *ctx, cel_log_level level, const char *text) {
    (void)ctx;
    if (level == CEL_LOG_WARN)
        cli_progress_line("%swarning:%s %s", cli_style(stderr, "\033[33m"), cli_style(stderr, "\033[0m"), text);
    else if (level == CEL_LOG_INFO)
        cli_say("%s", text);
}

int main(int argc, char **argv) {
    cli.color_out = may_color(STDOUT_FILENO);
    cli.color_err = may_color(STDERR_FILENO);
    cel_log_sink(log_to_stderr, NULL);
    cel_status status = run(argc, argv);
    cli_progress_end();
    bool lost = fflush(stdout) != 0 || ferror(stdout);
    if (status == CEL_OK && lost) status = CEL_FAIL(CEL_IO, "standard output: cannot write: %s", strerror(errno));
    if (status == CEL_OK) return 0;
    fprintf(stderr, "%scellar:%s %s\n", cli_style(stderr, "\033[1;31m"), cli_style(stderr, "\033[0m"),
            *cel_status_message() ? cel_status_message() : cel_status_text(status));
    const char *trace = getenv("CELLAR_TRACE");
    if (trace && !strcmp(trace, "1")) fprintf(stderr, "%s", cel_status_trace());
    return cel_status_exit_code(status);
}
