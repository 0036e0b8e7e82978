/* cellar search: runs a recipe into a run directory. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <string.h>

#include "cellar/run.h"
#include "cli.h"

/* What was found. */
typedef struct watch {
    int index, n_tables;
    cel_arch_cost cost;
    struct {
        const char *dataset;
        double test;
        int rank;
    } table[CEL_SEARCH_TABLES];
} watch;

static void begin(void *ctx, const cel_search_info *info, const cel_dataset_info *data) {
    (void)ctx;
    cli_say("%s in %s on %s: %d images for the weights, %d for the architecture, %d epochs of %" PRId64 " steps",
            info->method, info->space, data->name, info->n_images[0], info->n_images[1], info->n_epochs, info->n_steps);
    cli_say("supernet: %" PRId64 " weights, %.2f GFLOP forward a batch, %.0f MB; backend %s, %d threads", info->params,
            info->flops_forward / 1e9, (double)info->memory_bytes / 1e6, info->backend, info->threads);
    if (info->epochs_done) cli_say("going on after epoch %d", info->epochs_done - 1);
}

static bool step(void *ctx, const cel_search_progress *p) {
    (void)ctx;
    cli_progress_update(p->done,
                        "epoch %d (%d of %d), stage %d of %d, step %" PRId64 " of %" PRId64 ", loss %.3f, %.1f %%%s",
                        p->epoch, p->epoch + 1, p->n_epochs, p->stage + 1, p->n_stages, p->step, p->n_steps, p->loss,
                        p->accuracy, p->arch_active ? "" : ", architecture rests");
    return cli_stop_asked();
}

static void epoch(void *ctx, const cel_search_epoch *e) {
    (void)ctx;
    char valid[64] = "valid  rests       ", table[160] = "", sampled[80] = "";
    if (e->has_valid) snprintf(valid, sizeof valid, "valid %.3f %5.2f %%", e->valid_loss, e->valid_acc);
    for (int i = 0; i < e->n_tables; i++) {
        size_t used = strlen(table);
        snprintf(table + used, sizeof table - used, "%s%.2f", i ? " / " : "  ", e->table[i].test);
    }
    if (e->sampled.n) snprintf(sampled, sizeof sampled, "  sampled %.1f to %.1f", e->sampled.min, e->sampled.max);
    if (!cli.quiet)
        cli_progress_line("epoch %*d  K=%d  train %.3f %5.2f %%  %s  entropy %.3f  %s%s%s", e->n_epochs > 100 ? 3 : 2,
                          e->epoch, e->k, e->train_loss, e->train_acc, valid, e->entropy, e->text, table, sampled);
}

static void end(void *ctx, const cel_search_epoch *e) {
    watch *w = ctx;
    w->index = e->index;
    w->cost = e->cost;
    w->n_tables = e->n_tables;
    for (int i = 0; i < e->n_tables; i++) {
        w->table[i].dataset = e->table[i].dataset;
        w->table[i].test = e->table[i].test;
        w->table[i].rank = e->table[i].rank;
    }
}

/* Adds `text` to a line so that a shell reads it as one word. false: it does not fit. */
static bool put_word(char *line, size_t room, const char *text) {
    size_t used = strlen(line);
    bool plain = *text && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,+@%") ==
                              strlen(text);
    if (used && used + 1 < room) line[used++] = ' ';
    if (!plain && used + 1 < room) line[used++] = '\'';
    for (; *text && used + 5 < room; text++) {
        if (*text == '\'') {
            memcpy(line + used, "'\\''", 4);
            used += 4;
        } else {
            line[used++] = *text;
        }
    }
    if (!plain && used + 1 < room) line[used++] = '\'';
    line[used] = 0;
    return !*text && used + 1 < room;
}

static void put_result(const watch *w, const char *dir, const char *text) {
    if (!cli.json) {
        printf("%s\n", text);
        for (int i = 0; i < w->n_tables; i++)
            printf("%-11s %.2f %% on the test images after 200 epochs, rank %d of 15625\n", w->table[i].dataset,
                   w->table[i].test, w->table[i].rank);
        return;
    }
    printf("{\"run\": ");
    cli_json_text(stdout, dir);
    printf(", \"genotype\": ");
    cli_json_text(stdout, text);
    printf(", \"params\": %" PRId64 ", \"flops\": %" PRId64, w->cost.params, w->cost.flops);
    if (w->index >= 0) printf(", \"index\": %d", w->index);
    if (w->n_tables) {
        printf(", \"table\": {");
        for (int i = 0; i < w->n_tables; i++)
            printf("%s\"%s\": {\"test\": %.17g, \"rank\": %d}", i ? ", " : "", w->table[i].dataset, w->table[i].test,
                   w->table[i].rank);
        printf("}");
    }
    printf("}\n");
}

cel_status cmd_search(int argc, char **argv) {
    const char *dir = NULL;
    bool resume = false;
    int threads = 0;
    cli_list sets = {.n = 0};
    const cli_flag flags[] = {
        CLI_TEXT("run", &dir, "DIR", "the run directory, made if it is not there (required)"),
        CLI_SWITCH("resume", &resume, "go on with the run in that directory"),
        CLI_INT("threads", &threads, 1, 1024, "N", "threads (as many as the machine has)"),
        CLI_LIST("set", &sets, "KEY=VALUE", "another value for a setting, for example train.lr=0.05"),
        CLI_END,
    };
    char command[4096] = "cellar";
    bool fits = true; /* half a line would repeat another run */
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--resume") != 0) fits = fits && put_word(command, sizeof command, argv[i]);
    cli_args args;
    CEL_TRY(
        cli_parse(argc, argv, "RECIPE --run DIR",
                  "Searches for a cell. RECIPE is a file or the name of a recipe that ships with cellar (`cellar list\n"
                  "recipes`). The run directory gets the metrics, the genotype of each epoch, TensorBoard events and\n"
                  "checkpoints; `cellar report DIR` makes a page of them.\n\n"
                  "Ctrl-C, or SIGTERM, writes a checkpoint and stops; --resume goes on from there, or from the last\n"
                  "checkpoint after a crash, on any number of threads, to the same result.",
                  flags, 1, 1, &args));
    if (args.done) return CEL_OK;
    if (!dir) return CEL_FAIL(CEL_USAGE, "search: --run DIR is missing: where should the run be written?");
    cel_recipe *recipe;
    CEL_TRY(cel_recipe_open(args.item[0], sets.item, sets.n, &recipe));
    cli_catch_signals();
    watch w = {.index = -1};
    const cel_run_options options = {.dir = dir,
                                     .resume = resume,
                                     .threads = threads,
                                     .command = fits ? command : NULL,
                                     .ctx = &w,
                                     .begin = begin,
                                     .step = step,
                                     .epoch = epoch,
                                     .end = end};
    cel_genotype found;
    cel_status status = cel_run_search(recipe, &options, &found);
    cli_progress_end();
    if (status == CEL_OK) {
        char text[CEL_GENOTYPE_TEXT];
        cel_genotype_format(&found, text);
        put_result(&w, dir, text);
    }
    cel_recipe_destroy(recipe);
    return status;
}
