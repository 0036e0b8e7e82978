/* cellar bench: how fast this machine searches, and where the time goes. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>

#include "cellar/bench.h"
#include "cellar/text.h"
#include "cli.h"

enum { MOST_STEPS = 1000, BAR = 24 };

/* Starts the count of the process' highest memory anew, so that each case has its own; the system may not allow it. */
static bool forget_peak(void) {
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f) return false;
    bool good = fputs("5", f) >= 0;
    return fclose(f) == 0 && good;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct result {
    cel_bench_facts facts;
    cel_bench_machine machine;
    double median_ms, min_ms;
    bool own_peak;
    cel_bench_node *node;
    int n_nodes, steps;
} result;

static cel_status take_steps(cel_bench *bench, int steps, bool profile, result *r) {
    double ms[MOST_STEPS];
    for (int i = 0; i < steps; i++) {
        CEL_TRY(cel_bench_step(bench, &ms[i]));
        cli_progress_update((i + 1.0) / steps, "%s", r->facts.of->name);
    }
    cli_progress_end();
    qsort(ms, (size_t)steps, sizeof *ms, by_value);
    r->min_ms = ms[0];
    r->median_ms = steps % 2 ? ms[steps / 2] : (ms[steps / 2 - 1] + ms[steps / 2]) / 2;
    cel_bench_get_facts(bench, &r->facts);
    CEL_TRY(cel_bench_measure(r->facts.threads, &r->machine));
    if (!profile) return CEL_OK;
    if (r->facts.flops > 0) return cel_bench_profile(bench, steps, &r->node, &r->n_nodes);
    cli_say("%s runs no kernels: no profile", r->facts.of->name);
    return CEL_OK;
}

static cel_status run_case(const cel_bench_case *c, int threads, int steps, bool profile, bool first, result *r) {
    cel_bench *bench;
    *r = (result){.facts.of = c, .steps = steps};
    r->own_peak = forget_peak() || first;
    CEL_TRY(cel_bench_open(c->name, threads, &bench));
    cel_status status = take_steps(bench, steps, profile, r);
    cel_bench_close(bench);
    return status;
}

/* ---- text ---- */

static void print_head(void) {
    printf("%s%-18s %9s %10s %9s %9s %9s %9s%s\n", cli_style(stdout, "\033[1m"), "case", "ms a step", "images/s",
           "GFLOP/s", "floor ms", "of floor", "peak MB", cli_style(stdout, "\033[0m"));
}

static void print_result(const result *r) {
    double floor_ms = cel_bench_floor_ms(&r->facts, &r->machine);
    printf("%-18s %9.2f %10.0f", r->facts.of->name, r->median_ms, 1e3 * r->facts.of->images / r->median_ms);
    if (r->facts.flops > 0)
        printf(" %9.1f %9.2f %8.0f%%", 1e-6 * r->facts.flops / r->median_ms, floor_ms, 100 * floor_ms / r->median_ms);
    else
        printf(" %9s %9s %9s", "-", "-", "-");
    if (r->own_peak)
        printf(" %9.0f\n", (double)r->facts.peak_bytes / (1 << 20));
    else
        printf(" %9s\n", "-");
}

/* A flame graph lying on its side: a line's bar is as long as its share of the step. */
static void print_profile(const result *r) {
    const char *block = cli_utf8() ? "\xe2\x96\x88" : "#";
    double all = r->node[0].ms;
    printf("\n%s%-46s %-*s %8s %6s %6s %8s %7s %7s%s\n", cli_style(stdout, "\033[1m"), r->facts.of->name, BAR, "", "ms",
           "share", "calls", "GFLOP/s", "GB/s", "of roof", cli_style(stdout, "\033[0m"));
    for (int i = 0; i < r->n_nodes; i++) {
        const cel_bench_node *n = &r->node[i];
        int bar = (int)(BAR * n->ms / all + 0.5);
        if (n->ms < 0.003 * all) continue; /* JSON has them all */
        printf("%*s%-*.*s ", 2 * n->depth, "", 46 - 2 * n->depth, 46 - 2 * n->depth, n->label);
        for (int k = 0; k < bar; k++) fputs(block, stdout);
        printf("%*s %8.3f %5.1f%%", BAR - bar, "", n->ms, 100 * n->ms / all);
        if (n->calls > 0)
            printf(" %6.0f", n->calls);
        else
            printf(" %6s", "");
        if (n->roof_ms > 0)
            printf(" %8.1f %7.1f %6.0f%%", 1e-6 * n->flops / n->ms, 1e-6 * n->bytes / n->ms, 100 * n->roof_ms / n->ms);
        printf("\n");
    }
    printf("\n");
}

/* ---- JSON ---- */

static void json_profile(const result *r) {
    printf(", \"profile\": [");
    for (int i = 0; i < r->n_nodes; i++) {
        const cel_bench_node *n = &r->node[i];
        printf("%s{\"depth\": %d, \"label\": ", i ? ", " : "", n->depth);
        cli_json_text(stdout, n->label);
        cli_json_real("calls", n->calls);
        cli_json_real("ms", n->ms);
        cli_json_real("flops", n->flops);
        cli_json_real("bytes", n->bytes);
        cli_json_real("roof_ms", n->roof_ms);
        printf("}");
    }
    printf("]");
}

static void json_result(const result *r) {
    double floor_ms = cel_bench_floor_ms(&r->facts, &r->machine);
    printf("{\"case\": \"%s\", \"threads\": %d, \"steps\": %d, \"isa\": \"%s\"", r->facts.of->name, r->facts.threads,
           r->steps, r->facts.isa);
    cli_json_real("ms", r->median_ms);
    cli_json_real("min_ms", r->min_ms);
    cli_json_real("images_per_s", 1e3 * r->facts.of->images / r->median_ms);
    cli_json_real("gflop", 1e-9 * r->facts.flops);
    if (r->facts.flops > 0) {
        cli_json_real("gflops", 1e-6 * r->facts.flops / r->median_ms);
        cli_json_real("floor_ms", floor_ms);
        cli_json_real("floor_share", floor_ms / r->median_ms);
    }
    if (r->own_peak) cli_json_real("peak_mb", (double)r->facts.peak_bytes / (1 << 20));
    cli_json_real("loader_stall_ms", r->facts.stall_ms);
    cli_json_real("machine_gflops", 1e-9 * r->machine.flops);
    cli_json_real("machine_bf16_gflops", 1e-9 * r->machine.bf16_flops);
    cli_json_real("machine_gb_s", 1e-9 * r->machine.bytes);
    if (r->node) json_profile(r);
    printf("}\n");
}

static void list_cases(void) {
    const cel_bench_case *c;
    if (cli.json) printf("[");
    for (int i = 0; (c = cel_bench_case_get(i)); i++) {
        if (cli.json)
            printf("%s{\"name\": \"%s\", \"about\": \"%s\", \"images\": %d}", i ? ",\n " : "", c->name, c->about,
                   c->images);
        else
            printf("%-18s %s\n", c->name, c->about);
    }
    if (cli.json) printf("]\n");
}

static cel_status find_case(const char *name, const cel_bench_case **out) {
    const char *names[CLI_LIST_MAX];
    size_t n = 0;
    for (const cel_bench_case *c; n < CLI_LIST_MAX && (c = cel_bench_case_get((int)n)); n++) {
        names[n] = c->name;
        if (strcmp(name, c->name)) continue;
        *out = c;
        return CEL_OK;
    }
    const char *near = cel_text_nearest(name, names, n);
    return CEL_FAIL(CEL_NOTFOUND, "bench: no case is called \"%.60s\"%s%s%s; `cellar bench --list` names them", name,
                    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

cel_status cmd_bench(int argc, char **argv) {
    bool list = false, profile = false;
    int steps = 15, threads = 2;
    cli_list names = {.n = 0};
    const cli_flag flags[] = {
        CLI_LIST("case", &names, "NAME", "this case; may be given again (all of them)"),
        CLI_SWITCH("list", &list, "name the cases"),
        CLI_SWITCH("profile", &profile, "where the time goes, kernel by kernel"),
        CLI_INT("steps", &steps, 1, MOST_STEPS, "N", "steps to take (15)"),
        CLI_INT("threads", &threads, 1, 1024, "N", "threads to take them on (2)"),
        CLI_END,
    };
    cli_args args;
    CEL_TRY(cli_parse(
        argc, argv, "",
        "Times one step of a search after another on images that come with cellar: an architecture half-step and a\n"
        "weight half-step on 64 images each. Figures are medians.\n\n"
        "The floor is what the step's floating-point operations take at the machine's peak, or what it cannot help\n"
        "moving takes at the bandwidth of its memory, whichever is longer; both are measured here and now. With\n"
        "--profile a line's bar is its share of the step, and its roof what the machine would need for the same\n"
        "operations or bytes. CELLAR_ISA=base|avx2|avx512|amx picks the kernels.",
        flags, 0, 0, &args));
    if (args.done) return CEL_OK;
    if (list) {
        list_cases();
        return CEL_OK;
    }
    const cel_bench_case *cases[CLI_LIST_MAX];
    int n = 0;
    for (; n < names.n; n++) CEL_TRY(find_case(names.item[n], &cases[n]));
    for (; !names.n && n < CLI_LIST_MAX && cel_bench_case_get(n); n++) cases[n] = cel_bench_case_get(n);
    for (int i = 0; i < n; i++) {
        result r;
        cel_status status = run_case(cases[i], threads, steps, profile, !i, &r);
        if (status != CEL_OK && !names.n && status == CEL_UNSUPPORTED) {
            cli_say("%s: %s", cases[i]->name, cel_status_message());
            continue;
        }
        CEL_TRY(status);
        if (cli.json) {
            json_result(&r);
        } else {
            if (!i || profile) print_head();
            print_result(&r);
            if (r.node) print_profile(&r);
        }
        fflush(stdout);
        cel_free(r.node);
    }
    return CEL_OK;
}
