/* cellar compare: methods x data sets x seeds, then tables, tests and a page. */
#define _POSIX_C_SOURCE 200809L
#include <limits.h>
#include <string.h>

#include "cellar/compare.h"
#include "cellar/text.h"
#include "cli.h"

static bool progress(void *ctx, double done, int running, const char *method) {
    (void)ctx;
    if (running > 1)
        cli_progress_update(done, "%d searches at work, one of %s", running, method);
    else
        cli_progress_update(done, "%s", method);
    return cli_stop_asked();
}

static void ended(void *ctx, const cel_comparison_search *s) {
    (void)ctx;
    if (cli.quiet) return;
    if (s->genotype)
        cli_progress_line("%*d of %d  %-16s %-12s seed %-3lld %s  %.2f %%, %.1f s", s->n > 99 ? 3 : 2, s->done, s->n,
                          s->method, s->dataset, (long long)s->seed, s->genotype, s->test, s->seconds);
    else
        cli_progress_line("%*d of %d  %-16s %-12s seed %-3lld failed: %s", s->n > 99 ? 3 : 2, s->done, s->n, s->method,
                          s->dataset, (long long)s->seed, s->failure);
}

static cel_status find_form(const char *name, cel_comparison_form *out) {
    const char *names[CEL_COMPARISON_FORMS];
    for (int f = 0; f < CEL_COMPARISON_FORMS; f++) {
        names[f] = cel_comparison_form_name(f);
        *out = (cel_comparison_form)f;
        if (!strcmp(name, names[f])) return CEL_OK;
    }
    const char *near = cel_text_nearest(name, names, CEL_COMPARISON_FORMS);
    return CEL_FAIL(CEL_USAGE,
                    "compare: --form: expected text, markdown, latex, csv, json or html, found \"%.40s\"%s%s%s", name,
                    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static cel_status print_form(const cel_comparison *c, const char *dir, cel_comparison_form form) {
    char *text;
    CEL_TRY(cel_comparison_text(c, dir, form, &text));
    fputs(text, stdout);
    cel_free(text);
    return CEL_OK;
}

/* With `only_report` nothing is searched. */
static cel_status compare(const cel_comparison *c, const cel_comparison_options *options, bool only_report,
                          cel_comparison_form form) {
    cel_comparison_info info = cel_comparison_get_info(c);
    if (!only_report) {
        cli_say("%s: %d method%s, %d data set%s, %d seed%s", *info.title ? info.title : info.name, info.n_methods,
                info.n_methods == 1 ? "" : "s", info.n_datasets, info.n_datasets == 1 ? "" : "s", info.n_seeds,
                info.n_seeds == 1 ? "" : "s");
        cli_catch_signals();
        cel_status status = cel_comparison_search_all(c, options);
        cli_progress_end();
        CEL_TRY(status);
    }
    CEL_TRY(cel_comparison_write(c, options->dir));
    CEL_TRY(print_form(c, options->dir, form));
    cli_say("the page: %s/%s", options->dir, cel_comparison_form_file(CEL_COMPARISON_HTML));
    return CEL_OK;
}

cel_status cmd_compare(int argc, char **argv) {
    const char *dir = NULL, *form_name = NULL;
    bool resume = false, only_report = false;
    int jobs = 1, threads = 0;
    cli_list sets = {.n = 0};
    const cli_flag flags[] = {
        CLI_TEXT("run", &dir, "DIR", "the comparison's directory, made if it is not there (runs/NAME)"),
        CLI_SWITCH("resume", &resume, "go on with the comparison in that directory"),
        CLI_INT("jobs", &jobs, 1, 256, "N", "searches side by side (1)"),
        CLI_INT("threads", &threads, 1, 1024, "N", "threads of each search (the machine's, shared among the jobs)"),
        CLI_SWITCH("report", &only_report, "search nothing; write what has ended so far"),
        CLI_TEXT("form", &form_name, "FORM", "what to print: text, markdown, latex, csv, json or html (text)"),
        CLI_LIST("set", &sets, "KEY=VALUE", "another value for a setting of the comparison, for example seeds=5"),
        CLI_END,
    };
    char beside[PATH_MAX];
    cli_args args;
    CEL_TRY(cli_parse(
        argc, argv, "COMPARISON",
        "Compares search methods: each on each data set with each seed, an ordinary search each. COMPARISON is a "
        "file,\n"
        "or the name of one that ships with cellar (`cellar list comparisons`). The directory gets the runs, the "
        "tables as\n"
        "text, Markdown, LaTeX, CSV and JSON, and a page, report.html.\n\n"
        "Ctrl-C, or SIGTERM, stops; --resume goes on: searches that have ended are not repeated, one that was\n"
        "interrupted goes on from its checkpoint. A comparison whose recipes have changed is refused.",
        flags, 1, 1, &args));
    if (args.done) return CEL_OK;
    cel_comparison_form form = CEL_COMPARISON_TEXT;
    if (form_name) CEL_TRY(find_form(form_name, &form));
    if (cli.json) form = CEL_COMPARISON_JSON;
    cel_comparison *c;
    CEL_TRY(cel_comparison_open(args.item[0], sets.item, sets.n, &c));
    snprintf(beside, sizeof beside, "runs/%s", cel_comparison_get_info(c).name);
    const cel_comparison_options options = {.dir = dir ? dir : beside,
                                            .resume = resume,
                                            .jobs = jobs,
                                            .threads = threads,
                                            .progress = progress,
                                            .ended = ended};
    cel_status status = compare(c, &options, only_report, form);
    cel_comparison_destroy(c);
    return status;
}
