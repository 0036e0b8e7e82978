/* cellar correlate: training-free proxies against the benchmark table. */
#define _POSIX_C_SOURCE 200809L
#include <string.h>

#include "cellar/correlate.h"
#include "cellar/text.h"
#include "cli.h"

static bool progress(void *ctx, int done, int n) {
    (void)ctx;
    cli_progress_update((double)done / n, "%d of %d cells", done, n);
    return cli_stop_asked();
}

static void print_text(const cel_correlate_options *o, const cel_correlations *r) {
    printf("%s%-16s %9s %18s %9s %8s %10s %10s%s\n", cli_style(stdout, "\033[1m"), "proxy", "Spearman", "95 % interval",
           "Kendall", "top", "its best", "undefined", cli_style(stdout, "\033[0m"));
    for (int i = 0; i < r->n; i++) {
        const cel_correlation *c = &r->list[i];
        char interval[40];
        snprintf(interval, sizeof interval, "%.3f to %.3f", c->low, c->high);
        printf("%-16s %9.3f %18s %9.3f %6.1f %% %10.3f %10d\n", c->proxy.name, c->spearman, interval, c->kendall,
               100 * c->top, c->best, c->undefined);
    }
    cli_say("%d cells against %s, whose best there is %.3f; top: how many of its best %d %% are among the proxy's",
            r->n_cells, r->metric, r->optimum, o->top_percent);
    if (r->n_scored)
        cli_say("%d cells scored in %.1f s, %.2f a second", r->n_scored, r->seconds, r->n_scored / r->seconds);
}

static void print_json(const cel_correlate_options *o, const cel_correlations *r) {
    printf("{\"metric\": \"%s\", \"cells\": %d, \"top_percent\": %d", r->metric, r->n_cells, o->top_percent);
    cli_json_real("optimum", r->optimum);
    printf(", \"proxies\": [");
    for (int i = 0; i < r->n; i++) {
        const cel_correlation *c = &r->list[i];
        printf("%s\n  {\"name\": \"%s\"", i ? "," : "", c->proxy.name);
        cli_json_real("spearman", c->spearman);
        cli_json_real("low", c->low);
        cli_json_real("high", c->high);
        cli_json_real("kendall", c->kendall);
        cli_json_real("top", c->top);
        cli_json_real("best", c->best);
        printf(", \"undefined\": %d}", c->undefined);
    }
    printf("]}\n");
}

static cel_status read_sample(const char *text, int *out) {
    int64_t n;
    *out = 0;
    if (!strcmp(text, "all")) return CEL_OK;
    if (!cel_text_to_int(text, &n) || n < 2 || n > CEL_NB201_COUNT)
        return CEL_FAIL(CEL_USAGE, "correlate: --sample: expected \"all\" or a number from 2 to %d, found \"%.60s\"",
                        CEL_NB201_COUNT, text);
    *out = (int)n;
    return CEL_OK;
}

cel_status cmd_correlate(int argc, char **argv) {
    const char *sample = "1000";
    int seed = 1;
    cli_list sets = {.n = 0};
    cel_correlate_options o = {
        .dataset = "cifar10-mini", .proxies = "synflow,naswot", .top_percent = 10, .progress = progress};
    const cli_flag flags[] = {
        CLI_TEXT("proxy", &o.proxies, "NAME,...", "proxies (synflow,naswot); params and flops come by themselves"),
        CLI_TEXT("dataset", &o.dataset, "SOURCE", "data set (cifar10-mini)"),
        CLI_TEXT("path", &o.path, "PATH", "its directory or archive"),
        CLI_TEXT("sample", &sample, "N|all", "cells of the table, at random (1000)"),
        CLI_INT("sample-seed", &seed, 0, 2147483647, "N", "seed of the sample (1)"),
        CLI_TEXT("metric", &o.metric, "METRIC", "of the table (the data set's test accuracy after 200 epochs)"),
        CLI_INT("top", &o.top_percent, 1, 100, "PERCENT", "of the overlap of the best (10)"),
        CLI_TEXT("out", &o.file, "FILE", "scores as they come; the same command goes on from there"),
        CLI_LIST("set", &sets, "KEY=VALUE", "another value for a setting (`cellar score --settings`)"),
        CLI_INT("threads", &o.threads, 1, 1024, "N", "cells side by side (as many as the machine has cores)"),
        CLI_END,
    };
    cli_args args;
    CEL_TRY(cli_parse(
        argc, argv, "",
        "How well training-free proxies rank the cells of NAS-Bench-201: Spearman's and Kendall's correlation\n"
        "with the table, and how many of the best they find, always beside params and flops. With --out an\n"
        "interrupted run goes on where it was; a changed setting is refused. Proxies that look at no images\n"
        "(synflow) take a data set's size only, so they run without its images.",
        flags, 0, 0, &args));
    if (args.done) return CEL_OK;
    CEL_TRY(read_sample(sample, &o.sample));
    o.sample_seed = seed;
    o.sets = sets.item;
    o.n_sets = sets.n;
    cli_catch_signals();
    cel_correlations result;
    cel_status status = cel_correlate(&o, &result);
    cli_progress_end();
    if (status == CEL_OK) (cli.json ? print_json : print_text)(&o, &result);
    return status;
}
