/* cellar query: what an architecture is worth in the benchmark table. */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cellar/arch.h"
#include "cellar/table.h"
#include "cellar/text.h"
#include "cli.h"

enum { SHOWN = 20, DEVICES_MAX = CLI_LIST_MAX };

typedef struct query {
    const cel_table *table;
    int by, n_devices; /* metrics */
    int device[DEVICES_MAX];
    int *row, n_rows, room; /* the answer */
} query;

static cel_status add_row(query *q, int index) {
    if (q->n_rows == q->room) {
        int room = q->room ? 2 * q->room : 64;
        int *more = realloc(q->row, (size_t)room * sizeof *more);
        if (!more) return CEL_FAIL(CEL_NOMEM, "out of memory: %d architectures", room);
        q->row = more;
        q->room = room;
    }
    q->row[q->n_rows++] = index;
    return CEL_OK;
}

static cel_status add_genotype(query *q, const cel_genotype *g) {
    int index;
    CEL_TRY(cel_table_find(q->table, g, &index));
    return add_row(q, index);
}

static cel_status add_file(query *q, const char *path) {
    cel_genotype *list;
    size_t n;
    cel_status status = cel_genotype_list_read(path, &list, &n);
    if (status == CEL_NOTFOUND)
        return CEL_FAIL(CEL_NOTFOUND,
                        "query: \"%.80s\" is no architecture (|op~0|+...), no index (0 .. %d), no hash (16 hexadecimal "
                        "digits) and no file",
                        path, cel_table_count(q->table) - 1);
    CEL_TRY(status);
    for (size_t i = 0; i < n && status == CEL_OK; i++) status = add_genotype(q, &list[i]);
    cel_free(list);
    return status;
}

static bool is_hash(const char *text) { return strlen(text) == 16 && strspn(text, "0123456789abcdef") == 16; }

static cel_status add_item(query *q, const char *item) {
    int64_t index;
    if (*item == '|' || !strncmp(item, "Genotype", 8)) {
        cel_genotype g;
        CEL_TRY(cel_genotype_parse(item, &g));
        return add_genotype(q, &g);
    }
    if (is_hash(item)) {
        int row = cel_table_find_hash(q->table, strtoull(item, NULL, 16), 0);
        if (row < 0) return CEL_FAIL(CEL_NOTFOUND, "query: no architecture of the table has the hash %s", item);
        return add_row(q, row);
    }
    if (cel_text_to_int(item, &index)) {
        if (index < 0 || index >= cel_table_count(q->table))
            return CEL_FAIL(CEL_NOTFOUND, "query: no architecture %s: indices are 0 .. %d", item,
                            cel_table_count(q->table) - 1);
        return add_row(q, (int)index);
    }
    return add_file(q, item);
}

/* --- one architecture --- */

static void print_accuracies(const query *q, int row) {
    printf("\n%s%-46s %9s %7s %11s %8s  %s%s\n", cli_style(stdout, "\033[1m"), "accuracy", "percent", "rank",
           "percentile", "regret", "trained on, seeds", cli_style(stdout, "\033[0m"));
    for (int m = 0; m < cel_table_n_metrics(q->table); m++) {
        const cel_metric *what = cel_table_metric(q->table, m);
        char seeds[48];
        if (what->kind != CEL_METRIC_ACCURACY) continue;
        if (what->seeds_min == what->seeds_max)
            snprintf(seeds, sizeof seeds, "%s, %s%d", what->trained_on, what->seeds_min > 1 ? "mean of " : "",
                     what->seeds_min);
        else
            snprintf(seeds, sizeof seeds, "%s, mean of %d to %d", what->trained_on, what->seeds_min, what->seeds_max);
        printf("  %-44s %9.3f %7d %11.2f %8.3f  %s%s%s\n", what->label, cel_table_value(q->table, m, row),
               cel_table_rank(q->table, m, row), cel_table_percentile(q->table, m, row),
               cel_table_regret(q->table, m, row), cli_style(stdout, "\033[2m"), seeds, cli_style(stdout, "\033[0m"));
    }
}

static void print_costs(const query *q, int row) {
    static const char *const sets[][2] = {
        {"cifar10", "CIFAR-10"}, {"cifar100", "CIFAR-100"}, {"imagenet16", "ImageNet16-120"}};
    cel_genotype g;
    cel_table_genotype(q->table, row, &g);
    printf("\n%s%-46s %9s %9s%s\n", cli_style(stdout, "\033[1m"), "cost of the network", "params", "FLOPs",
           cli_style(stdout, "\033[0m"));
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        cel_nb201_net net;
        cel_arch_cost cost;
        if (cel_nb201_net_find(sets[s][0], &net) != CEL_OK || cel_nb201_cost(&g, &net, &cost) != CEL_OK) continue;
        printf("  %-44s %7.3f M %7.2f M\n", sets[s][1], (double)cost.params * 1e-6, (double)cost.flops * 1e-6);
    }
}

static void print_latencies(const query *q, int row) {
    printf("\n%s%-30s %8s %7s", cli_style(stdout, "\033[1m"), "latency", "ms", "rank");
    if (q->n_devices > 1) printf("   %-30s %8s %7s", "", "ms", "rank");
    printf("%s\n", cli_style(stdout, "\033[0m"));
    int half = (q->n_devices + 1) / 2;
    for (int i = 0; i < half; i++)
        for (int k = i; k < q->n_devices; k += half)
            printf("  %-28s %8.3f %7d%s", cel_table_metric(q->table, q->device[k])->label,
                   cel_table_value(q->table, q->device[k], row), cel_table_rank(q->table, q->device[k], row),
                   k + half < q->n_devices ? " " : "\n");
}

static cel_status print_one(const query *q, int row) {
    cel_genotype g;
    char text[CEL_GENOTYPE_TEXT], *picture;
    cel_table_genotype(q->table, row, &g);
    cel_genotype_format(&g, text);
    uint64_t hash = cel_table_hash(q->table, row);
    printf("%s%s architecture %d%s\n%s\nhash %016" PRIx64, cli_style(stdout, "\033[1m"),
           cel_topology_get(g.space)->label, row, cli_style(stdout, "\033[0m"), text, hash);
    int same = 0;
    for (int i = cel_table_find_hash(q->table, hash, 0); i >= 0; i = cel_table_find_hash(q->table, hash, i + 1))
        if (i != row && same++ < 8) printf("%s%d", same == 1 ? "; computes the same as " : ", ", i);
    printf("%s\n\n", same > 8 ? ", ..." : "");
    CEL_TRY(cel_arch_draw(&g, (cli_utf8() ? 0 : CEL_DRAW_ASCII) | (cli.color_out ? CEL_DRAW_COLOR : 0), &picture));
    fputs(picture, stdout);
    cel_free(picture);
    print_accuracies(q, row);
    print_costs(q, row);
    print_latencies(q, row);
    return CEL_OK;
}

/* --- many --- */

typedef struct column {
    int metric, digits;
    double scale;
    const char *head, *unit;
} column;

static cel_status choose_columns(const query *q, column *columns, int *n) {
    static const column usual[] = {{0, 2, 1, "cifar10_test_200", "%"},
                                   {0, 2, 1, "cifar100_test_200", "%"},
                                   {0, 2, 1, "imagenet16_test_200", "%"},
                                   {0, 3, 1e-6, "params_cifar10", "M"},
                                   {0, 2, 1e-6, "flops_cifar10", "M"}};
    bool has_by = false;
    *n = 0;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        column c = usual[i];
        CEL_TRY(cel_table_find_metric(q->table, c.head, &c.metric));
        has_by = has_by || c.metric == q->by;
        columns[(*n)++] = c;
    }
    for (int i = -1; i < q->n_devices; i++) {
        int m = i < 0 ? q->by : q->device[i];
        const cel_metric *what = cel_table_metric(q->table, m);
        bool large = what->kind == CEL_METRIC_PARAMS || what->kind == CEL_METRIC_FLOPS;
        if (i < 0 && has_by) continue;
        columns[(*n)++] = (column){m, 3, large ? 1e-6 : 1, what->name, large ? "M" : what->unit};
    }
    return CEL_OK;
}

static cel_status print_many(const query *q) {
    column columns[DEVICES_MAX + 8];
    int n;
    CEL_TRY(choose_columns(q, columns, &n));
    printf("%s%6s %6s", cli_style(stdout, "\033[1m"), "rank", "index");
    for (int c = 0; c < n; c++) printf("  %*s", (int)strlen(columns[c].head) + 2, columns[c].head);
    printf("  architecture%s\n", cli_style(stdout, "\033[0m"));
    for (int i = 0; i < q->n_rows; i++) {
        cel_genotype g;
        char text[CEL_GENOTYPE_TEXT];
        cel_table_genotype(q->table, q->row[i], &g);
        cel_genotype_format(&g, text);
        printf("%6d %6d", cel_table_rank(q->table, q->by, q->row[i]), q->row[i]);
        for (int c = 0; c < n; c++)
            printf("  %*.*f %s", (int)strlen(columns[c].head) + 1 - (int)strlen(columns[c].unit), columns[c].digits,
                   cel_table_value(q->table, columns[c].metric, q->row[i]) * columns[c].scale, columns[c].unit);
        printf("  %s\n", text);
    }
    cli_say("rank: by %s", cel_table_metric(q->table, q->by)->label);
    return CEL_OK;
}

/* --- JSON --- */

/* The values of one kind, under the names that `key` picks, in braces. */
static void json_values(const query *q, int row, cel_metric_kind kind) {
    bool first = true;
    printf("{");
    for (int m = 0; m < cel_table_n_metrics(q->table); m++) {
        const cel_metric *what = cel_table_metric(q->table, m);
        if (what->kind != kind) continue;
        printf("%s\"%s\": %.0f", first ? "" : ", ", what->dataset, cel_table_value(q->table, m, row));
        first = false;
    }
    printf("}");
}

static void json_one(const query *q, int row) {
    cel_genotype g;
    char text[CEL_GENOTYPE_TEXT];
    bool first = true;
    uint64_t hash = cel_table_hash(q->table, row);
    cel_table_genotype(q->table, row, &g);
    cel_genotype_format(&g, text);
    printf("{\"space\": \"%s\", \"index\": %d, \"architecture\": \"%s\", \"hash\": \"%016" PRIx64 "\", \"same\": [",
           cel_topology_get(g.space)->name, row, text, hash);
    for (int i = cel_table_find_hash(q->table, hash, 0); i >= 0; i = cel_table_find_hash(q->table, hash, i + 1)) {
        if (i == row) continue;
        printf("%s%d", first ? "" : ", ", i);
        first = false;
    }
    printf("],\n  \"accuracy\": {");
    first = true;
    for (int m = 0; m < cel_table_n_metrics(q->table); m++) {
        const cel_metric *what = cel_table_metric(q->table, m);
        if (what->kind != CEL_METRIC_ACCURACY) continue;
        printf("%s\n    \"%s\": {\"dataset\": \"%s\", \"split\": \"%s\", \"epochs\": %d, \"trained_on\": \"%s\", "
               "\"seeds_min\": %d, \"seeds_max\": %d",
               first ? "" : ",", what->name, what->dataset, what->split, what->epochs, what->trained_on,
               what->seeds_min, what->seeds_max);
        cli_json_real("value", cel_table_value(q->table, m, row));
        printf(", \"rank\": %d", cel_table_rank(q->table, m, row));
        cli_json_real("percentile", cel_table_percentile(q->table, m, row));
        cli_json_real("regret", cel_table_regret(q->table, m, row));
        printf("}");
        first = false;
    }
    printf("},\n  \"params\": ");
    json_values(q, row, CEL_METRIC_PARAMS);
    printf(", \"flops\": ");
    json_values(q, row, CEL_METRIC_FLOPS);
    printf(",\n  \"latency_ms\": {");
    for (int i = 0; i < q->n_devices; i++) {
        printf("%s\"%s\": ", i ? ", " : "", cel_table_metric(q->table, q->device[i])->device);
        cli_json_real(NULL, cel_table_value(q->table, q->device[i], row));
    }
    printf("}}");
}

/* --- the command --- */

static cel_status choose_devices(query *q, const cli_list *devices) {
    for (int i = 0; i < devices->n; i++) {
        CEL_TRY(cel_table_find_latency(q->table, devices->item[i], &q->device[i]));
        q->n_devices++;
    }
    return CEL_OK;
}

static void all_devices(query *q) {
    for (int m = 0; m < cel_table_n_metrics(q->table) && q->n_devices < DEVICES_MAX; m++)
        if (cel_table_metric(q->table, m)->kind == CEL_METRIC_LATENCY) q->device[q->n_devices++] = m;
}

/* Puts the rows in order of `by`; rows that were asked for twice stay twice. */
static cel_status sort_rows(query *q) {
    int n = cel_table_count(q->table), at = 0;
    int *order = calloc((size_t)n, sizeof *order), *times = calloc((size_t)n, sizeof *times);
    cel_status status = order && times ? cel_table_sort(q->table, q->by, order)
                                       : CEL_FAIL(CEL_NOMEM, "out of memory: the order of %d architectures", n);
    for (int i = 0; status == CEL_OK && i < q->n_rows; i++) times[q->row[i]]++;
    for (int i = 0; status == CEL_OK && i < n; i++)
        for (; times[order[i]] > 0; times[order[i]]--) q->row[at++] = order[i];
    free(order);
    free(times);
    return status;
}

static cel_status keep_where(query *q, const char *condition) {
    cel_where *where;
    int kept = 0;
    CEL_TRY(cel_where_parse(q->table, condition, &where));
    for (int i = 0; i < q->n_rows; i++)
        if (cel_where_test(where, q->row[i])) q->row[kept++] = q->row[i];
    q->n_rows = kept;
    cel_where_destroy(where);
    return CEL_OK;
}

static cel_status answer(query *q, const cli_args *args, int top, const char *by, const char *where) {
    bool sorted = top || where || by;
    CEL_TRY(cel_table_find_metric(q->table, by ? by : "cifar10_test_200", &q->by));
    for (int i = 0; i < args->n; i++) CEL_TRY(add_item(q, args->item[i]));
    for (int i = 0; !args->n && i < cel_table_count(q->table); i++) CEL_TRY(add_row(q, i));
    if (where) CEL_TRY(keep_where(q, where));
    if (sorted) CEL_TRY(sort_rows(q));
    int matched = q->n_rows, most = top ? top : args->n ? matched : SHOWN;
    if (q->n_rows > most) q->n_rows = most;
    if (where) cli_say("%d of %d architectures match", matched, args->n ? matched : cel_table_count(q->table));
    if (!top && q->n_rows < matched) cli_say("the best %d; --top N shows more", q->n_rows);
    if (cli.json) {
        if (!q->n_devices) all_devices(q);
        printf("[");
        for (int i = 0; i < q->n_rows; i++) {
            printf("%s", i ? ",\n " : "");
            json_one(q, q->row[i]);
        }
        printf("]\n");
        return CEL_OK;
    }
    if (q->n_rows != 1) return q->n_rows ? print_many(q) : CEL_OK;
    if (!q->n_devices) all_devices(q);
    return print_one(q, q->row[0]);
}

cel_status cmd_query(int argc, char **argv) {
    int top = 0;
    const char *by = NULL, *where = NULL, *path = NULL;
    cli_list devices = {.n = 0};
    const cli_flag flags[] = {
        CLI_INT("top", &top, 1, CEL_NB201_COUNT, "N", "the best N, of all or of those named"),
        CLI_TEXT("by", &by, "METRIC", "what best means (cifar10_test_200)"),
        CLI_TEXT("where", &where, "CONDITION", "only those for which it holds"),
        CLI_LIST("latency", &devices, "DEVICE", "only this device's latency; may be given again"),
        CLI_TEXT("table", &path, "FILE", "another table than the one that comes with cellar"),
        CLI_END,
    };
    cli_args args;
    CEL_TRY(
        cli_parse(argc, argv, "ARCHITECTURE|INDEX|HASH|FILE ...",
                  "Tells what an architecture of NAS-Bench-201 is worth: accuracies, ranks, regret, cost, latency.\n"
                  "FILE has one architecture a line, or is a run's genotypes.jsonl.\n\n"
                  "METRIC is DATASET_SPLIT_EPOCHS as in cifar100_test_200, params_DATASET, flops_DATASET or\n"
                  "latency_DEVICE. CONDITION compares metrics, as in\n"
                  "  --where 'params < 0.5M and cifar10_test_200 > 93'\n"
                  "with and, or, not, + - * /, rank(METRIC), percentile(METRIC), regret(METRIC), count(OPERATION).",
                  flags, 0, -1, &args));
    if (args.done) return CEL_OK;
    if (!args.n && !top && !where)
        return CEL_FAIL(CEL_USAGE, "query: nothing asked; name an architecture, an index or a file, or give --top or "
                                   "--where; `cellar query --help` tells more");
    cel_table *table;
    CEL_TRY(cel_table_open(path, &table));
    query q = {.table = table};
    cel_status status = choose_devices(&q, &devices);
    if (status == CEL_OK) status = answer(&q, &args, top, by, where);
    free(q.row);
    cel_table_close(table);
    return status;
}
