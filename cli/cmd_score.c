/* cellar score: training-free proxies of cells. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cellar/score.h"
#include "cellar/table.h"
#include "cellar/text.h"
#include "cli.h"

typedef struct {
    cel_genotype *cell;
    int n;
} cells;

static cel_status add_cell(cells *c, const cel_genotype *g) {
    cel_genotype *grown = realloc(c->cell, ((size_t)c->n + 1) * sizeof *grown);
    if (!grown) return CEL_FAIL(CEL_NOMEM, "out of memory: %d cells", c->n);
    c->cell = grown;
    c->cell[c->n++] = *g;
    return CEL_OK;
}

/* An architecture's text, an index of NAS-Bench-201, or a file. */
static cel_status add_item(cells *c, const char *item) {
    cel_genotype g;
    int64_t index;
    if (*item == '|' || !strncmp(item, "Genotype", 8)) {
        CEL_TRY(cel_genotype_parse(item, &g));
        return add_cell(c, &g);
    }
    if (cel_text_to_int(item, &index)) {
        if (index < 0 || index >= CEL_NB201_COUNT)
            return CEL_FAIL(CEL_USAGE, "score: index %s: expected 0 to %d", item, CEL_NB201_COUNT - 1);
        CEL_TRY(cel_nb201_from_index((int)index, &g));
        return add_cell(c, &g);
    }
    cel_genotype *list;
    size_t n;
    CEL_TRY(cel_genotype_list_read(item, &list, &n));
    cel_status status = CEL_OK;
    for (size_t i = 0; i < n && status == CEL_OK; i++) status = add_cell(c, &list[i]);
    cel_free(list);
    return status;
}

static bool progress(void *ctx, int done, int n) {
    (void)ctx;
    if (done < n) cli_progress_update((double)done / n, "%d of %d cells", done, n);
    return false;
}

static void print_text(const cel_scorer *s, const cells *c, const double *values) {
    int columns = cel_scorer_columns(s), undefined = 0;
    printf("%s", cli_style(stdout, "\033[1m"));
    for (int k = 0; k < columns; k++) printf("%14s  ", cel_scorer_column(s, k).name);
    printf("architecture%s\n", cli_style(stdout, "\033[0m"));
    for (int i = 0; i < c->n; i++) {
        char text[CEL_GENOTYPE_TEXT];
        cel_genotype_format(&c->cell[i], text);
        for (int k = 0; k < columns; k++) {
            double value = values[i * columns + k];
            undefined += isnan(value);
            if (isnan(value))
                printf("%14s  ", "-");
            else
                printf("%14.7g  ", value);
        }
        printf("%s\n", text);
    }
    if (undefined)
        cli_say("-: not defined: nothing leads from the input of such a cell to its output, or too little varies; it "
                "ranks last");
}

static void print_json(const cel_scorer *s, const cells *c, const double *values) {
    int columns = cel_scorer_columns(s);
    printf("[");
    for (int i = 0; i < c->n; i++) {
        char text[CEL_GENOTYPE_TEXT];
        cel_genotype_format(&c->cell[i], text);
        printf("%s{\"architecture\": ", i ? ",\n " : "");
        cli_json_text(stdout, text);
        printf(", \"connected\": %s, \"scores\": {", cel_genotype_connected(&c->cell[i]) ? "true" : "false");
        for (int k = 0; k < columns; k++) {
            printf("%s\"%s\": ", k ? ", " : "", cel_scorer_column(s, k).name);
            cli_json_real(NULL, values[i * columns + k]);
        }
        printf("}}");
    }
    printf("]\n");
}

static cel_status score(const cel_scorer_options *options, const cells *c) {
    cel_scorer *scorer;
    CEL_TRY(cel_scorer_create(options, &scorer));
    double *values = calloc((size_t)c->n * (size_t)cel_scorer_columns(scorer), sizeof *values);
    cel_status status = values ? cel_scorer_run(scorer, c->cell, c->n, values, progress, NULL)
                               : CEL_FAIL(CEL_NOMEM, "out of memory: scores of %d cells", c->n);
    cli_progress_end();
    if (status == CEL_OK) (cli.json ? print_json : print_text)(scorer, c, values);
    free(values);
    cel_scorer_destroy(scorer);
    return status;
}

cel_status cmd_score(int argc, char **argv) {
    const char *proxies = "synflow,naswot", *source = NULL, *path = NULL;
    int threads = 0;
    bool settings = false;
    cli_list sets = {.n = 0};
    const cli_flag flags[] = {
        CLI_TEXT("proxy", &proxies, "NAME,...", "proxies (synflow,naswot); `cellar list proxies`"),
        CLI_TEXT("data", &source, "SOURCE", "data set whose training images are looked at (cifar10-mini)"),
        CLI_TEXT("path", &path, "PATH", "its directory or archive"),
        CLI_LIST("set", &sets, "KEY=VALUE", "another value for a setting, for example score.batch=128"),
        CLI_SWITCH("settings", &settings, "print all settings with their defaults and ranges"),
        CLI_INT("threads", &threads, 1, 1024, "N", "cells side by side (as many as the machine has cores)"),
        CLI_END,
    };
    cli_args args;
    CEL_TRY(
        cli_parse(argc, argv, "ARCHITECTURE|INDEX|FILE ...",
                  "Scores cells by training-free proxies: what an untrained network says of how well it would train.\n"
                  "FILE has one architecture a line, or is a run's genotypes.jsonl. Of a cell whose output does not\n"
                  "depend on its input only params and flops are defined. A proxy made of others (te_nas, vote) ranks\n"
                  "the given cells among themselves.",
                  flags, 0, -1, &args));
    if (args.done) return CEL_OK;
    if (settings) {
        char *text;
        CEL_TRY(cel_scorer_settings(NULL, true, &text));
        fputs(text, stdout);
        cel_free(text);
        return CEL_OK;
    }
    if (!args.n) return CEL_FAIL(CEL_USAGE, "score: name an architecture, an index or a file");
    const char *all[CLI_LIST_MAX + 2];
    char text[2][1200];
    int n = 0;
    cel_status status = CEL_OK;
    const char *given[] = {source, path}, *key[] = {"data.source", "data.path"};
    for (int i = 0; i < 2; i++) {
        if (!given[i]) continue;
        if (strlen(given[i]) > 1000 || strpbrk(given[i], "\"\\"))
            return CEL_FAIL(CEL_USAGE, "score: not understood: %.80s", given[i]);
        snprintf(text[i], sizeof text[i], "%s=\"%s\"", key[i], given[i]);
        all[n++] = text[i];
    }
    for (int i = 0; i < sets.n; i++) all[n++] = sets.item[i];
    cells c = {0};
    for (int i = 0; i < args.n && status == CEL_OK; i++) status = add_item(&c, args.item[i]);
    if (status == CEL_OK && !c.n) status = CEL_FAIL(CEL_USAGE, "score: no architecture in what was named");
    if (status == CEL_OK) status = score(&(cel_scorer_options){proxies, all, n, threads}, &c);
    free(c.cell);
    return status;
}
