/* Flags of a subcommand: one table gives the reading, the checks, the help and the shell completion. */
#include <string.h>

#include "cellar/text.h"
#include "cli.h"

enum { MAX_FLAGS = 64 };

static bool no_color;
static const cli_flag everywhere[] = {CLI_SWITCH("json", &cli.json, "JSON on standard output, for programs"),
                                      CLI_SWITCH("quiet", &cli.quiet, "no progress and no remarks"),
                                      CLI_SWITCH("no-color", &no_color, "no colours"), CLI_END};

static void print_flags(const cli_flag *flags) {
    for (const cli_flag *f = flags; f->kind != CLI_KIND_END; f++) {
        int used = printf("  --%s%s%s", f->name, f->value ? " " : "", f->value ? f->value : "");
        printf("%*s%s\n", used < 24 ? 24 - used : 1, "", f->help);
    }
}

static void print_names(const cli_flag *flags) {
    for (const cli_flag *f = flags; f->kind != CLI_KIND_END; f++) printf("--%s\n", f->name);
}

static const cli_flag *find(const cli_flag *flags, const char *name, size_t n) {
    for (const cli_flag *f = flags; f->kind != CLI_KIND_END; f++)
        if (strlen(f->name) == n && !memcmp(f->name, name, n)) return f;
    return NULL;
}

static cel_status unknown(const char *command, const char *name, size_t n, const cli_flag *flags) {
    const char *names[MAX_FLAGS];
    char word[80];
    size_t count = 0;
    for (const cli_flag *f = flags; f->kind != CLI_KIND_END && count < MAX_FLAGS; f++) names[count++] = f->name;
    for (const cli_flag *f = everywhere; f->kind != CLI_KIND_END && count < MAX_FLAGS; f++) names[count++] = f->name;
    snprintf(word, sizeof word, "%.*s", (int)(n < 79 ? n : 79), name);
    const char *near = cel_text_nearest(word, names, count);
    return CEL_FAIL(CEL_USAGE, "%s: no flag is called \"--%s\"%s%s%s; `cellar %s --help` lists them", command, word,
                    near ? "; did you mean \"--" : "", near ? near : "", near ? "\"?" : "", command);
}

static cel_status take(const char *command, const cli_flag *f, const char *value) {
    int64_t integer = 0;
    double real = 0;
    bool good = true;
    switch (f->kind) {
    case CLI_KIND_INT:
        good = cel_text_to_int(value, &integer) && (double)integer >= f->min && (double)integer <= f->max;
        if (good) *f->integer = (int)integer;
        break;
    case CLI_KIND_REAL:
        good = cel_text_to_real(value, &real) && real >= f->min && real <= f->max;
        if (good) *f->real = real;
        break;
    case CLI_KIND_LIST:
        if (f->list->n == CLI_LIST_MAX)
            return CEL_FAIL(CEL_USAGE, "%s: --%s: given more than %d times", command, f->name, CLI_LIST_MAX);
        f->list->item[f->list->n++] = value;
        break;
    default:
        *f->text = value;
    }
    if (good) return CEL_OK;
    return CEL_FAIL(CEL_USAGE, "%s: --%s: expected a %snumber from %.15g to %.15g, found \"%.60s\"", command, f->name,
                    f->kind == CLI_KIND_INT ? "whole " : "", f->min, f->max, value);
}

static void print_help(const char *command, const char *usage, const char *about, const cli_flag *flags) {
    printf("usage: cellar %s%s%s\n\n%s\n\n", command, *usage ? " " : "", usage, about);
    print_flags(flags);
    if (flags->kind != CLI_KIND_END) printf("\n");
    print_flags(everywhere);
}

/* One flag at argv[*at]; moves *at past its value. */
static cel_status read_flag(int argc, char **argv, int *at, const cli_flag *flags) {
    bool dashes = argv[*at][1] == '-';
    const char *name = argv[*at] + (dashes ? 2 : 1);
    size_t n = strcspn(name, "=");
    const char *value = name[n] ? name + n + 1 : NULL;
    const cli_flag *f = dashes ? find(flags, name, n) : NULL;
    if (!f && dashes) f = find(everywhere, name, n);
    if (!f) return unknown(argv[0], name, n, flags);
    if (f->kind == CLI_KIND_SWITCH) {
        if (value) return CEL_FAIL(CEL_USAGE, "%s: --%s takes no value, found \"%.60s\"", argv[0], f->name, value);
        *f->on = true;
        return CEL_OK;
    }
    if (!value && *at + 1 == argc)
        return CEL_FAIL(CEL_USAGE, "%s: --%s: expected %s after it, found nothing", argv[0], f->name, f->value);
    if (!value) value = argv[++*at];
    return take(argv[0], f, value);
}

cel_status cli_parse(int argc, char **argv, const char *usage, const char *about, const cli_flag *flags, int min_args,
                     int max_args, cli_args *out) {
    *out = (cli_args){.item = argv + 1};
    bool literal = false;
    for (int at = 1; at < argc; at++) {
        char *word = argv[at];
        if (literal || word[0] != '-' || !word[1]) {
            out->item[out->n++] = word; /* never ahead of `at`: the list is packed in place */
        } else if (!strcmp(word, "--")) {
            literal = true;
        } else if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            print_help(argv[0], usage, about, flags);
            out->done = true;
            return CEL_OK;
        } else if (!strcmp(word, "--complete")) { /* for the shell: the flags, one a line */
            print_names(flags);
            print_names(everywhere);
            out->done = true;
            return CEL_OK;
        } else {
            CEL_TRY(read_flag(argc, argv, &at, flags));
        }
    }
    if (no_color) cli.color_out = cli.color_err = false;
    if (out->n < min_args || (max_args >= 0 && out->n > max_args))
        return CEL_FAIL(CEL_USAGE, "%s: expected %s%s%s, found %d argument%s", argv[0], *usage ? "\"" : "no argument",
                        usage, *usage ? "\"" : "", out->n, out->n == 1 ? "" : "s");
    return CEL_OK;
}
