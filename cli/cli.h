/* The program's frame. A subcommand is one file cmd_NAME.c with `cel_status cmd_NAME(int argc, char **argv)` and one line
 * in commands.def; argv[0] is its name. It declares its flags in a table, calls cli_parse, and returns a status: main
 * prints the message and turns it into the exit code. People read stderr (cli_say), programs read stdout.
 *
 *     cel_status cmd_list(int argc, char **argv) {
 *         int top = 0;
 *         const cli_flag flags[] = {CLI_INT("top", &top, 1, 100, "N", "show the first N"), CLI_END};
 *         cli_args args;
 *         CEL_TRY(cli_parse(argc, argv, "methods|spaces", "Lists what there is.", flags, 1, 1, &args));
 *         if (args.done) return CEL_OK;
 *
 * --help, --json, --quiet and --no-color are understood everywhere. */
#ifndef CLI_H
#define CLI_H
#include <stdio.h>

#include "cellar/status.h"

#define CLI_COMMAND(name, function, summary) cel_status function(int argc, char **argv);
#include "commands.def"
#undef CLI_COMMAND

/* The global flags, set before a subcommand's work begins. */
typedef struct cli_globals {
    bool json;      /* one JSON document (or one a line) on stdout instead of text */
    bool quiet;     /* no progress, no remarks; errors stay */
    bool color_out; /* stdout may be coloured: a terminal, no --no-color, NO_COLOR unset, TERM not dumb */
    bool color_err;
} cli_globals;
extern cli_globals cli;

typedef enum cli_kind {
    CLI_KIND_END,
    CLI_KIND_SWITCH,
    CLI_KIND_TEXT,
    CLI_KIND_INT,
    CLI_KIND_REAL,
    CLI_KIND_LIST
} cli_kind;

enum { CLI_LIST_MAX = 64 };
/* A flag that may be given many times, in the order given. */
typedef struct cli_list {
    const char *item[CLI_LIST_MAX];
    int n;
} cli_list;

typedef struct cli_flag {
    cli_kind kind;
    const char *name; /* without the dashes */
    bool *on;
    const char **text;
    int *integer;
    double *real;
    cli_list *list;
    double min, max;
    const char *value, *help;
} cli_flag;

#define CLI_SWITCH(name_, on_, help_)                                                                                  \
    { .kind = CLI_KIND_SWITCH, .name = (name_), .on = (on_), .help = (help_) }
#define CLI_TEXT(name_, text_, value_, help_)                                                                          \
    { .kind = CLI_KIND_TEXT, .name = (name_), .text = (text_), .value = (value_), .help = (help_) }
#define CLI_INT(name_, integer_, min_, max_, value_, help_)                                                            \
    {                                                                                                                  \
        .kind = CLI_KIND_INT, .name = (name_), .integer = (integer_), .min = (min_), .max = (max_), .value = (value_), \
        .help = (help_)                                                                                                \
    }
#define CLI_REAL(name_, real_, min_, max_, value_, help_)                                                              \
    {                                                                                                                  \
        .kind = CLI_KIND_REAL, .name = (name_), .real = (real_), .min = (min_), .max = (max_), .value = (value_),      \
        .help = (help_)                                                                                                \
    }
#define CLI_LIST(name_, list_, value_, help_)                                                                          \
    { .kind = CLI_KIND_LIST, .name = (name_), .list = (list_), .value = (value_), .help = (help_) }
#define CLI_END                                                                                                        \
    { .kind = CLI_KIND_END }

typedef struct cli_args {
    int n;
    char **item; /* the arguments that are not flags, in order; they are argv's */
    bool done;   /* --help was given and answered: return CEL_OK */
} cli_args;

/* Reads flags ("--name value", "--name=value") and arguments in any order; "--" ends the flags. `usage` is what follows
 * the subcommand's name, `about` some sentences for --help. CEL_USAGE for an unknown flag (names the nearest), a missing
 * or wrong value, and a number of arguments outside min_args .. max_args (-1: any). Flags that are not given keep what
 * their variables hold. */
cel_status cli_parse(int argc, char **argv, const char *usage, const char *about, const cli_flag *flags, int min_args,
                     int max_args, cli_args *out);

/* A remark for people, a line on stderr; nothing under --quiet. */
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* An escape sequence ("\033[1m") where that stream is coloured, else "". */
const char *cli_style(FILE *stream, const char *escape);
/* The locale's characters are UTF-8. */
bool cli_utf8(void);
/* `text` as a JSON string with its quotes. */
void cli_json_text(FILE *stream, const char *text);
/* On stdout `, "key": value`, the value reading back to the same bits, null for what is no finite number; without a key
 * the value alone. */
void cli_json_real(const char *key, double value);

/* One progress bar at a time, on stderr: a line that redraws itself on a terminal, elsewhere a plain line now and then,
 * nothing under --quiet. `done` runs from 0 to 1; the time left is judged from the first call on. */
void cli_progress_update(double done, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A whole line that stays, above the bar. */
void cli_progress_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Removes the bar; the next update starts a new one. */
void cli_progress_end(void);
/* From now on the first SIGINT or SIGTERM only asks to stop; the second kills. */
void cli_catch_signals(void);
bool cli_stop_asked(void);
#endif
