/* Times steps of the cases of `cellar bench`, beside PyTorch: JSON lines on standard output, and a table.
 *
 *   bench_step [--peer] [--case NAME] [--steps N] [--threads N]
 *   bench_step --serve --case NAME      a step for each line of standard input, as bench/peer/peer_step.py does
 *
 * Each program that is measured runs in a process of its own and they take turns step by step, so that a machine that drifts drifts for
 * all; figures are medians, and of ratios too. Beside a case run: the same case on one thread; with --peer PyTorch, by the Python that
 * PEER_PYTHON names: eager, as search code is usually written, and at its best (bench/peer/peer_step.py; it compiles for minutes
 * before the first step). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cellar/bench.h"
#include "cellar/text.h"

enum { MOST_STEPS = 1000, MOST_CASES = 64 };

typedef struct options {
    bool peer, serve;
    const char *only;
    int steps, threads;
} options;

static void must(cel_status status, const char *what) {
    if (status == CEL_OK) return;
    fprintf(stderr, "bench_step: %s: %s\n", what, cel_status_message());
    exit(cel_status_exit_code(status));
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(const double *v, int n) {
    double sorted[MOST_STEPS];
    memcpy(sorted, v, (size_t)n * sizeof *v);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* ---- one side of the comparison ---- */

static void serve(const char *name, int threads) {
    cel_bench *bench;
    cel_bench_facts facts;
    cel_bench_machine machine;
    double ms;
    char line[64];
    must(cel_bench_open(name, threads, &bench), name);
    printf("{\"ready\": true}\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        must(cel_bench_step(bench, &ms), name);
        printf("{\"ms\": %.4f}\n", ms);
        fflush(stdout);
    }
    cel_bench_get_facts(bench, &facts);
    cel_bench_close(bench);
    must(cel_bench_measure(threads, &machine), "the machine's peak");
    printf("{\"peak_mb\": %.1f, \"gflop\": %.4f, \"floor_ms\": %.3f, \"loss\": %.4f, \"loader_stall_ms\": %.3f, "
           "\"isa\": \"%s\", \"machine_gflops\": %.1f, \"machine_bf16_gflops\": %.1f, \"machine_gb_s\": %.1f}\n",
           (double)facts.peak_bytes / (1 << 20), 1e-9 * facts.flops, cel_bench_floor_ms(&facts, &machine), facts.loss,
           facts.stall_ms, facts.isa, 1e-9 * machine.flops, 1e-9 * machine.bf16_flops, 1e-9 * machine.bytes);
}

/* ---- taking turns ---- */

typedef struct runner {
    const char *name;
    pid_t pid;  /* 0: does not take part */
    int images; /* that a time is for */
    FILE *to, *from;
    double ms[MOST_STEPS];
    json_t *last;
} runner;

static json_t *answer(runner *r) {
    char line[4096];
    json_error_t error;
    json_t *value = fgets(line, sizeof line, r->from) ? json_loads(line, 0, &error) : NULL;
    if (value) return value;
    fprintf(stderr, "bench_step: %s ended without an answer\n", r->name);
    exit(1);
}

static void start(runner *r, char *const argv[]) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) must(CEL_FAIL(CEL_IO, "no pipe"), r->name);
    r->pid = fork();
    if (r->pid < 0) must(CEL_FAIL(CEL_IO, "no process"), r->name);
    if (r->pid == 0) {
        signal(SIGPIPE, SIG_DFL);
        dup2(in[0], 0);
        dup2(out[1], 1);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    r->to = fdopen(in[1], "w");
    r->from = fdopen(out[0], "r");
    json_decref(answer(r)); /* ready */
}

/* One step, when the threads of the program before it, which may wait spinning, have given the cores back. */
static void ask(runner *r, int i) {
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    fputs("\n", r->to);
    fflush(r->to);
    json_t *value = answer(r);
    r->ms[i] = json_number_value(json_object_get(value, "ms"));
    json_decref(value);
}

static void finish(runner *r) {
    fclose(r->to);
    r->last = answer(r);
    fclose(r->from);
    waitpid(r->pid, NULL, 0);
}

static double number(const runner *r, const char *key) { return json_number_value(json_object_get(r->last, key)); }

enum { OURS, SINGLE, EAGER, BEST, SIDES };

/* What does the same in PyTorch: a script of bench/peer and its flags, and the images that one of its times is for. Other cases
 * have no peer. */
static const struct peer {
    const char *name, *script, *flags[4];
    int images;
    const char *best; /* at its best it takes this flag too */
} peers[] = {{"nb201_k4", "peer_step.py", {"--case", "k4"}, 128, NULL},
             {"nb201_k2_keep3", "peer_step.py", {"--case", "k2_keep3"}, 128, NULL},
             {"nb201_k1", "peer_step.py", {"--case", "k1"}, 128, NULL},
             {"nb201_k1_bf16", "peer_step.py", {"--case", "k1"}, 128, NULL},
             {"nb201_path", "peer_step.py", {"--case", "path"}, 128, NULL},
             {"nb201_k4_valid", "peer_step.py", {"--case", "k4", "--valid"}, 64, NULL},
             {"nb201_k2_keep3_valid", "peer_step.py", {"--case", "k2_keep3", "--valid"}, 64, NULL},
             {"nb201_k1_valid", "peer_step.py", {"--case", "k1", "--valid"}, 64, NULL},
             {"nb201_discrete_b1", "peer_infer.py", {"--batch", "1", "--repeat", "20"}, 1, "--freeze"},
             {"nb201_discrete_b256", "peer_infer.py", {"--batch", "256"}, 256, "--freeze"}};

static const struct peer *peer_of(const char *name) {
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++)
        if (!strcmp(name, peers[i].name)) return &peers[i];
    return NULL;
}

static void start_peer(runner *r, const struct peer *peer, const char *threads, bool best) {
    char *python = getenv("PEER_PYTHON"), script[4096];
    char *argv[12] = {python, script, (char *)(uintptr_t) "--serve", (char *)(uintptr_t) "--threads",
                      (char *)(uintptr_t)threads};
    int n = 5;
    if (!python) must(CEL_FAIL(CEL_USAGE, "set PEER_PYTHON to a Python that has PyTorch"), "peer");
    snprintf(script, sizeof script, "%s/bench/peer/%s", CEL_SOURCE_DIR, peer->script);
    for (int i = 0; i < 4 && peer->flags[i]; i++) argv[n++] = (char *)(uintptr_t)peer->flags[i];
    if (best) {
        argv[n++] = (char *)(uintptr_t) "--best";
        argv[n++] = (char *)(uintptr_t)peer->best; /* may be NULL: the end */
    }
    r->images = peer->images;
    start(r, argv);
}

/* Steps in turns; `side` comes zeroed. */
static void run_case(const cel_bench_case *c, const options *o, runner side[SIDES]) {
    static const char *const names[SIDES] = {"cellar", "one thread", "eager", "best"};
    bool kernels = strcmp(c->name, "loader") != 0;
    char threads[16];
    snprintf(threads, sizeof threads, "%d", o->threads);
    const struct peer *peer = o->peer ? peer_of(c->name) : NULL;
    for (int i = 0; i < SIDES; i++) side[i].name = names[i], side[i].images = c->images;
    char *self[] = {"/proc/self/exe", "--serve", "--case", (char *)(uintptr_t)c->name, "--threads", threads, NULL};
    start(&side[OURS], self);
    if (kernels && o->threads > 1) {
        self[5] = "1";
        start(&side[SINGLE], self);
    }
    for (int i = EAGER; peer && i < SIDES; i++) start_peer(&side[i], peer, threads, i == BEST);
    fprintf(stderr, "%s: all are ready\n", c->name);
    for (int step = 0; step < o->steps; step++)
        for (int i = 0; i < SIDES; i++)
            if (side[i].pid) ask(&side[i], step);
    for (int i = 0; i < SIDES; i++)
        if (side[i].pid) finish(&side[i]);
}

/* ---- the record of a case ---- */

static void set(json_t *line, const char *key, double value, double unit) {
    char text[64];
    snprintf(text, sizeof text, "%.*f", unit < 0.01 ? 3 : unit < 0.1 ? 2 : 1, value);
    json_object_set_new(line, key, json_real(strtod(text, NULL)));
}

/* Median of how many times slower a side was than cellar, turn by turn. */
static double ratio(const runner *side, const runner *ours, int steps) {
    double each[MOST_STEPS];
    for (int i = 0; i < steps; i++) each[i] = side->ms[i] / side->images / (ours->ms[i] / ours->images);
    return median(each, steps);
}

static json_t *record(const cel_bench_case *c, const options *o, const runner side[SIDES]) {
    const runner *ours = &side[OURS];
    double ms = median(ours->ms, o->steps), images = 1e3 * c->images;
    json_t *line = json_object();
    json_object_set_new(line, "case", json_string(c->name));
    set(line, "ms", ms, 0.001);
    set(line, "images_per_s", images / ms, 0.1);
    set(line, "peak_mb", number(ours, "peak_mb"), 0.1);
    if (number(ours, "gflop") > 0) {
        set(line, "gflops", 1e3 * number(ours, "gflop") / ms, 0.1);
        set(line, "floor_ms", number(ours, "floor_ms"), 0.01);
        set(line, "floor_share", number(ours, "floor_ms") / ms, 0.001);
    }
    if (side[SINGLE].pid) {
        set(line, "one_thread_ms", median(side[SINGLE].ms, o->steps), 0.01);
        set(line, "thread_gain", ratio(&side[SINGLE], ours, o->steps), 0.01);
    }
    for (int i = EAGER; i < SIDES; i++) {
        const char *name = side[i].name;
        char key[32];
        if (!side[i].pid) continue;
        double peer_ms = median(side[i].ms, o->steps);
        snprintf(key, sizeof key, "%s_ms", name);
        set(line, key, peer_ms, 0.01);
        snprintf(key, sizeof key, "%s_images_per_s", name);
        set(line, key, 1e3 * side[i].images / peer_ms, 0.1);
        snprintf(key, sizeof key, "%s_peak_mb", name);
        set(line, key, number(&side[i], "peak_mb"), 0.1);
        snprintf(key, sizeof key, "%s_ratio", name);
        set(line, key, ratio(&side[i], ours, o->steps), 0.01);
    }
    if (side[EAGER].pid) {
        json_object_set_new(line, "torch", json_incref(json_object_get(side[EAGER].last, "torch")));
        json_object_set_new(line, "allocator", json_incref(json_object_get(side[EAGER].last, "allocator")));
    }
    set(line, "loader_stall_ms", number(ours, "loader_stall_ms"), 0.01);
    json_object_set_new(line, "threads", json_integer(o->threads));
    json_object_set_new(line, "steps", json_integer(o->steps));
    json_object_set_new(line, "isa", json_incref(json_object_get(ours->last, "isa")));
    static const char *const machine[] = {"machine_gflops", "machine_bf16_gflops", "machine_gb_s"};
    for (int i = 0; i < 3; i++)
        json_object_set_new(line, machine[i], json_incref(json_object_get(ours->last, machine[i])));
    return line;
}

/* ---- the table ---- */

typedef struct column {
    const char *head, *key;
    int width, digits;
} column;
static const column columns[] = {{"img/s", "images_per_s", 8, 0},     {"eager", "eager_images_per_s", 7, 0},
                                 {"best", "best_images_per_s", 7, 0}, {"/eager", "eager_ratio", 7, 2},
                                 {"/best", "best_ratio", 7, 2},       {"GFLOP/s", "gflops", 8, 0},
                                 {"of floor", "floor_share", 9, 2},   {"MB", "peak_mb", 6, 0},
                                 {"eager", "eager_peak_mb", 6, 0},    {"best", "best_peak_mb", 6, 0},
                                 {"1 to n", "thread_gain", 7, 2}};
enum { COLUMNS = sizeof columns / sizeof *columns };

static void print_table(json_t *const *line, int n) {
    double fastest = 0, loader = 0;
    fprintf(stderr, "\n%-18s", "case");
    for (int k = 0; k < COLUMNS; k++) fprintf(stderr, "%*s", columns[k].width, columns[k].head);
    fprintf(stderr, "\n");
    for (int i = 0; i < n; i++) {
        const char *name = json_string_value(json_object_get(line[i], "case"));
        double speed = json_number_value(json_object_get(line[i], "images_per_s"));
        fprintf(stderr, "%-18s", name);
        for (int k = 0; k < COLUMNS; k++) {
            const json_t *value = json_object_get(line[i], columns[k].key);
            if (value)
                fprintf(stderr, "%*.*f", columns[k].width, columns[k].digits, json_number_value(value));
            else
                fprintf(stderr, "%*s", columns[k].width, "-");
        }
        fprintf(stderr, "\n");
        if (!strcmp(name, "loader"))
            loader = speed;
        else if (strstr(name, "nb201_k") && speed > fastest)
            fastest = speed;
    }
    if (loader > 0 && fastest > 0)
        fprintf(stderr, "The loader makes %.0f times the images that the fastest step takes.\n", loader / fastest);
}

static int whole(const char *flag, const char *text, int most) {
    int64_t n;
    if (!cel_text_to_int(text, &n) || n < 1 || n > most)
        must(CEL_FAIL(CEL_USAGE, "%s: expected 1 to %d, found \"%s\"", flag, most, text), "usage");
    return (int)n;
}

int main(int argc, char **argv) {
    options o = {.steps = 11, .threads = 2};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--peer"))
            o.peer = true;
        else if (!strcmp(argv[i], "--serve"))
            o.serve = true;
        else if (!strcmp(argv[i], "--case"))
            o.only = value, i++;
        else if (!strcmp(argv[i], "--steps"))
            o.steps = whole(argv[i], value, MOST_STEPS), i++;
        else if (!strcmp(argv[i], "--threads"))
            o.threads = whole(argv[i], value, 1024), i++;
        else
            must(CEL_FAIL(CEL_USAGE, "unknown flag %s", argv[i]), "usage");
    }
    if (o.serve) {
        serve(o.only ? o.only : "", o.threads);
        return 0;
    }
    static json_t *line[MOST_CASES];
    const cel_bench_case *c;
    int n = 0;
    signal(SIGPIPE, SIG_IGN); /* a side that dies is reported by answer() */
    for (int i = 0; (c = cel_bench_case_get(i)) && n < MOST_CASES; i++) {
        static runner side[SIDES];
        if (o.only && strcmp(o.only, c->name) != 0) continue;
        memset(side, 0, sizeof side);
        run_case(c, &o, side);
        line[n] = record(c, &o, side);
        json_dumpf(line[n++], stdout, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(7));
        printf("\n");
        fflush(stdout);
        for (int k = 0; k < SIDES; k++) json_decref(side[k].last);
    }
    if (!n) must(CEL_FAIL(CEL_USAGE, "no case is called %s", o.only ? o.only : ""), "usage");
    print_table(line, n);
    for (int i = 0; i < n; i++) json_decref(line[i]);
    return 0;
}
