/* Times one whole search step of the NAS-Bench-201 supernet (C=16, N=5, batch 64, two threads): fresh augmented batches from
 * the loader, a Dirichlet draw, the architecture half-step with Adam, the weight half-step with clipping and SGD.
 *
 *   bench_step [--peer] [--best] [--case NAME] [--steps N] [--threads N]    a JSON line a case, a table on stderr
 *   bench_step --profile --case NAME                                        where the time goes, kernel by kernel
 *   bench_step --serve --case NAME                                          a step a line of stdin, as bench/peer/peer_step.py does
 *
 * Each program that is measured runs in a process of its own and they take turns step by step, so that a machine that drifts
 * drifts for both; figures are medians. --peer runs PyTorch beside it with the Python that PEER_PYTHON names, eager; --best also
 * PyTorch at its best (compiled; starts for minutes). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "data/loader.h"
#include "engine/backend/cpu/cpu.h"
#include "nas/search/settings.h"
#include "nas/search/supernet.h"

enum { BATCH = 64, ENTRIES = 30, MOST_STEPS = 1000 };

typedef struct bench_case {
    const char *name, *peer;
    int k;
    bool keep3; /* the three operations that the peer keeps on each edge */
} bench_case;
static const bench_case cases[] = {
    {"nb201_k4", "k4", 4, false}, {"nb201_k2_keep3", "k2_keep3", 2, true}, {"nb201_k1", "k1", 1, false}};
static const uint8_t kept[6][5] = {{0, 1, 1, 1, 0}, {1, 1, 1, 0, 0}, {0, 0, 1, 1, 1},
                                   {0, 1, 1, 1, 0}, {1, 1, 0, 0, 1}, {0, 0, 1, 1, 1}};

typedef struct options {
    bool peer, best, profile, serve;
    const char *only;
    int steps, threads;
} options;

static void must(cel_status status, const char *what) {
    if (status == CEL_OK) return;
    fprintf(stderr, "bench_step: %s: %s\n", what, cel_status_message());
    exit(cel_status_exit_code(status));
}

/* ---- the search that is measured ---- */

typedef struct rig {
    cel_pool *pool;
    cel_dataset *data;
    cel_loader *loader[2];
    cel_conf *tree;
    cel_settings settings;
    cel_policy *policy;
    cel_supernet *net;
    int64_t step;
} rig;

static void rig_init(rig *r, const bench_case *c, int threads) {
    char text[128];
    snprintf(text, sizeof text, "search:\n  stages:\n    - {k: %d}\n", c->k);
    must(cel_pool_create(threads, &r->pool), "threads");
    must(cel_dataset_open("cifar10-mini", NULL, &r->data), "data");
    must(cel_conf_parse("bench", text, strlen(text), &r->tree), "settings");
    must(cel_settings_init(&r->settings, r->tree, NULL, 0), "settings");
    must(cel_policy_create(r->settings.method, r->settings.space->choices(), r->settings.method_conf, 1, &r->policy),
         "method");
    for (int e = 0; e < ENTRIES; e++) r->policy->live[e] = c->keep3 ? kept[e / 5][e % 5] : 1;
    for (int i = 0; i < 2; i++) {
        cel_loader_conf conf = {.name = i ? "arch" : "weights",
                                .seed = 1,
                                .data = r->data,
                                .part = CEL_PART_TRAIN,
                                .batch = BATCH,
                                .order = i ? CEL_ORDER_FRESH : CEL_ORDER_SHUFFLE,
                                .drop_last = true,
                                .augment = {.pad = 4, .flip = true}};
        must(cel_loader_create(&conf, &r->loader[i]), "loader");
    }
    cel_supernet_conf conf = {.space = r->settings.space,
                              .space_conf = r->settings.space_conf,
                              .shape = {BATCH, 3, 32, 32, 10},
                              .form = {.k = c->k, .live = r->policy->live, .fused = true},
                              .backend = &cel_backend_cpu,
                              .pool = r->pool,
                              .seed = 1};
    must(cel_supernet_create(&conf, r->policy->n_params, &r->net), "supernet");
}

static void rig_fini(rig *r) {
    cel_supernet_destroy(r->net);
    for (int i = 0; i < 2; i++) cel_loader_destroy(r->loader[i]);
    cel_policy_destroy(r->policy);
    cel_settings_fini(&r->settings);
    cel_conf_destroy(r->tree);
    cel_dataset_destroy(r->data);
    cel_pool_destroy(r->pool);
}

static double rig_step(rig *r, double *loss) {
    static const cel_sgd sgd = {.lr = 0.025, .momentum = 0.9, .weight_decay = 3e-4};
    double began = cel_clock_s();
    cel_half_step out;
    for (int i = 1; i >= 0; i--) {
        cel_batch batch;
        cel_at at = {.phase = i ? CEL_PHASE_ARCH : CEL_PHASE_WEIGHT, .n_epochs = 1, .step = r->step};
        cel_loader_next(r->loader[i], &batch);
        if (i)
            must(cel_supernet_arch_step(r->net, r->policy, &at, batch.images, batch.labels, &out), "step");
        else
            must(cel_supernet_weight_step(r->net, r->policy, &at, &sgd, 5, batch.images, batch.labels, &out), "step");
    }
    r->step++;
    *loss = out.loss;
    return 1e3 * (cel_clock_s() - began);
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

/* Twice the forward for the architecture's half (forward, data gradient), thrice for the weights' (and weight gradient). */
static double step_flops(const rig *r) { return 5 * cel_graph_flops(r->net->graph, NULL); }

static void serve(const bench_case *c, const options *o) {
    rig r = {0};
    double loss = 0, ms[MOST_STEPS];
    int n = 0;
    char line[64];
    rig_init(&r, c, o->threads);
    for (int i = 0; i < 2; i++) rig_step(&r, &loss);
    printf("{\"ready\": true}\n");
    fflush(stdout);
    while (n < MOST_STEPS && fgets(line, sizeof line, stdin)) {
        ms[n] = rig_step(&r, &loss);
        printf("{\"ms\": %.4f}\n", ms[n++]);
        fflush(stdout);
    }
    if (n == 0) ms[n++] = rig_step(&r, &loss);
    double waited = cel_loader_waited_s(r.loader[0]) + cel_loader_waited_s(r.loader[1]);
    printf("{\"peak_mb\": %.1f, \"gflop\": %.4f, \"loss\": %.4f, \"loader_waited_ms\": %.3f, \"isa\": \"%s\"}\n",
           (double)cel_mem_peak_bytes() / (1 << 20), 1e-9 * step_flops(&r), loss, 1e3 * waited / (double)r.step,
           cel_cpu_isa_active()->name);
    rig_fini(&r);
}

static int by_seconds(const void *a, const void *b) {
    double x = ((const cel_profile_row *)a)->seconds, y = ((const cel_profile_row *)b)->seconds;
    return (x < y) - (x > y);
}

static void profile(const bench_case *c, const options *o) {
    rig r = {0};
    double loss, total = 0;
    rig_init(&r, c, o->threads);
    for (int i = 0; i < 2; i++) rig_step(&r, &loss);
    cel_exec_profile(r.net->exec, true);
    for (int i = 0; i < o->steps; i++) total += rig_step(&r, &loss);
    int n;
    const cel_profile_row *rows = cel_exec_profile_rows(r.net->exec, &n);
    cel_profile_row *sorted = cel_alloc((size_t)n, sizeof *sorted);
    double kernels = 0;
    for (int i = 0; sorted && i < n; i++) {
        sorted[i] = rows[i];
        kernels += 1e3 * rows[i].seconds;
    }
    if (sorted) qsort(sorted, (size_t)n, sizeof *sorted, by_seconds);
    printf("%s: %.2f ms a step, %.2f in kernels\n", c->name, total / o->steps, kernels / o->steps);
    printf("%8s %6s %8s %7s %6s  kernel\n", "ms", "share", "GFLOP/s", "GB/s", "calls");
    for (int i = 0; sorted && i < n && sorted[i].seconds > 0; i++) {
        double s = sorted[i].seconds;
        printf("%8.3f %5.1f%% %8.1f %7.1f %6llu  %s  %s\n", 1e3 * s / o->steps, 1e5 * s / total,
               1e-9 * sorted[i].flops / s, 1e-9 * sorted[i].bytes / s,
               (unsigned long long)(sorted[i].calls / (uint64_t)o->steps), sorted[i].op, sorted[i].scope);
    }
    cel_free(sorted);
    rig_fini(&r);
}

/* ---- taking turns with the peer ---- */

typedef struct runner {
    pid_t pid;
    FILE *to, *from;
    double ms[MOST_STEPS];
    json_t *last;
} runner;

static json_t *answer(runner *r, const char *who) {
    char line[4096];
    json_error_t error;
    json_t *value = fgets(line, sizeof line, r->from) ? json_loads(line, 0, &error) : NULL;
    if (!value) {
        fprintf(stderr, "bench_step: %s ended without an answer\n", who);
        exit(1);
    }
    return value;
}

static void start(runner *r, char *const argv[]) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) must(CEL_FAIL(CEL_IO, "no pipe"), "start");
    r->pid = fork();
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
    json_decref(answer(r, argv[0])); /* ready */
}

static void ask(runner *r, int i, const char *who) {
    fputs("\n", r->to);
    fflush(r->to);
    json_t *value = answer(r, who);
    r->ms[i] = json_number_value(json_object_get(value, "ms"));
    json_decref(value);
}

static void finish(runner *r, const char *who) {
    fclose(r->to);
    r->last = answer(r, who);
    fclose(r->from);
    waitpid(r->pid, NULL, 0);
}

static double number(const runner *r, const char *key) { return json_number_value(json_object_get(r->last, key)); }

static void set(json_t *line, const char *key, double value, double unit) {
    char text[64];
    snprintf(text, sizeof text, "%.*f", unit < 1 ? 2 : 1, value);
    json_object_set_new(line, key, json_real(strtod(text, NULL)));
}

static void compare(const bench_case *c, const options *o, char *self) {
    enum { OURS, EAGER, BEST, MOST };
    static const char *const names[MOST] = {"cellar", "eager", "best"};
    static runner r[MOST];
    char threads[16];
    const char *python = getenv("PEER_PYTHON");
    snprintf(threads, sizeof threads, "%d", o->threads);
    bool on[MOST] = {true, o->peer, o->best};
    if ((o->peer || o->best) && !python)
        must(CEL_FAIL(CEL_USAGE, "set PEER_PYTHON to a Python that has PyTorch"), "peer");
    char *script = (char *)(uintptr_t)CEL_SOURCE_DIR "/bench/peer/peer_step.py", *best = (char *)(uintptr_t) "--best";
    char *python_path = (char *)(uintptr_t)(python ? python : "");
    char *peer = (char *)(uintptr_t)c->peer, *name = (char *)(uintptr_t)c->name;
    memset(r, 0, sizeof r);
    signal(SIGPIPE, SIG_IGN); /* a peer that dies is reported by answer() */
    start(&r[OURS], (char *[]){self, "--serve", "--case", name, "--threads", threads, NULL});
    for (int p = EAGER; p < MOST; p++)
        if (on[p])
            start(&r[p], (char *[]){python_path, script, "--serve", "--case", peer, "--threads", threads,
                                    p == BEST ? best : NULL, NULL});
    for (int i = 0; i < o->steps; i++)
        for (int p = 0; p < MOST; p++)
            if (on[p]) ask(&r[p], i, names[p]);
    for (int p = 0; p < MOST; p++)
        if (on[p]) finish(&r[p], names[p]);

    double ms = median(r[OURS].ms, o->steps);
    json_t *line = json_object();
    json_object_set_new(line, "case", json_string(c->name));
    set(line, "ms", ms, 0.01);
    set(line, "images_per_s", 2e3 * BATCH / ms, 1);
    set(line, "gflops", 1e3 * number(&r[OURS], "gflop") / ms, 1);
    set(line, "peak_mb", number(&r[OURS], "peak_mb"), 1);
    fprintf(stderr, "%-16s %9.2f ms %8.1f images/s %7.1f GFLOP/s %8.1f MB", c->name, ms, 2e3 * BATCH / ms,
            1e3 * number(&r[OURS], "gflop") / ms, number(&r[OURS], "peak_mb"));
    for (int p = EAGER; p < MOST; p++) {
        if (!on[p]) continue;
        char key[32];
        double ratio[MOST_STEPS], peer_ms = median(r[p].ms, o->steps);
        for (int i = 0; i < o->steps; i++) ratio[i] = r[p].ms[i] / r[OURS].ms[i];
        snprintf(key, sizeof key, "%s_ms", names[p]);
        set(line, key, peer_ms, 0.01);
        snprintf(key, sizeof key, "%s_peak_mb", names[p]);
        set(line, key, number(&r[p], "peak_mb"), 1);
        snprintf(key, sizeof key, "%s_ratio", names[p]);
        set(line, key, median(ratio, o->steps), 0.01);
        fprintf(stderr, " | %s %9.2f ms %8.1f MB: %.2f times", names[p], peer_ms, number(&r[p], "peak_mb"),
                median(ratio, o->steps));
    }
    fprintf(stderr, "\n");
    json_object_set_new(line, "threads", json_integer(o->threads));
    json_object_set_new(line, "steps", json_integer(o->steps));
    json_object_set_new(line, "isa", json_incref(json_object_get(r[OURS].last, "isa")));
    set(line, "loader_waited_ms", number(&r[OURS], "loader_waited_ms"), 0.01);
    json_dumpf(line, stdout, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(7));
    printf("\n");
    fflush(stdout);
    json_decref(line);
    for (int p = 0; p < MOST; p++) json_decref(r[p].last);
}

static int whole(const char *flag, const char *text, int most) {
    char *end;
    long n = strtol(text, &end, 10);
    if (end == text || *end || n < 1 || n > most)
        must(CEL_FAIL(CEL_USAGE, "%s: expected 1 to %d, found \"%s\"", flag, most, text), "usage");
    return (int)n;
}

int main(int argc, char **argv) {
    options o = {.steps = 15, .threads = 2};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--peer"))
            o.peer = true;
        else if (!strcmp(argv[i], "--best"))
            o.peer = o.best = true;
        else if (!strcmp(argv[i], "--profile"))
            o.profile = true;
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
    bool found = false;
    for (size_t i = 0; i < CEL_COUNT(cases); i++) {
        if (o.only && strcmp(o.only, cases[i].name) != 0) continue;
        found = true;
        if (o.serve)
            serve(&cases[i], &o);
        else if (o.profile)
            profile(&cases[i], &o);
        else
            compare(&cases[i], &o, "/proc/self/exe");
    }
    if (!found) must(CEL_FAIL(CEL_USAGE, "no case named %s", o.only ? o.only : ""), "usage");
    return 0;
}
