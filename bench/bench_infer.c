/* Times the inference of a discrete NAS-Bench-201 network (C=16, N=5, 32x32, 10 classes) whose images lie ready in memory.
 *
 *   bench_infer [--batch N] [--threads N] [--steps N]    a JSON line a case: nb201_discrete_b1, nb201_discrete_b256
 *   bench_infer --profile --batch N                      where the time of one image goes, all threads at it
 *   bench_infer --serve --batch N                        a timing a line of stdin, as bench/peer/peer_infer.py does */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf/opt.h"
#include "base/file.h"
#include "engine/backend/cpu/cpu.h"
#include "engine/exec/inference.h"
#include "nas/space/space.h"

enum { MOST_STEPS = 1000, CLASSES = 10, PIXELS = 3 * 32 * 32 };

static const char *const cell =
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|";

typedef struct options {
    int batch, threads, steps;
    bool serve, profile;
    const char *cell;
} options;

static void must(cel_status status, const char *what) {
    if (status == CEL_OK) return;
    fprintf(stderr, "bench_infer: %s: %s\n", what, cel_status_message());
    exit(cel_status_exit_code(status));
}

typedef struct rig {
    cel_pool *pool;
    cel_graph *graph;
    cel_inference *net;
    float *images, *logits;
    int batch, repeat;
} rig;

static void rig_init(rig *r, const options *o) {
    cel_genotype genotype;
    cel_net net;
    cel_exec *exec;
    int program;
    cel_net_shape shape = {1, 3, 32, 32, CLASSES};
    void *conf = cel_alloc(1, cel_space_nb201.conf_size);
    if (!conf) must(CEL_FAIL(CEL_NOMEM, "out of memory"), "settings");
    cel_opt_defaults(cel_space_nb201.opts, conf);
    must(cel_pool_create(o->threads, &r->pool), "threads");
    must(cel_genotype_parse(o->cell, &genotype), "cell");
    must(cel_graph_create(&r->graph), "network");
    must(cel_space_nb201.discrete(r->graph, conf, &shape, &genotype, &net), "network");
    must(cel_graph_seal(r->graph), "network");
    must(cel_exec_create(r->graph, &cel_backend_ref, NULL, &exec), "network");
    must(cel_exec_add_program(exec, CEL_MODE_EVAL, &net.logits, 1, &program), "network");
    must(cel_exec_prepare(exec, 1), "network");
    must(cel_inference_create(r->graph, net.x, net.logits, &cel_backend_cpu, r->pool, &r->net), "network");
    must(cel_inference_load(r->net, exec), "network");
    cel_exec_destroy(exec);
    cel_free(conf);
    r->batch = o->batch;
    r->repeat = o->batch < 16 ? 20 : 1;
    r->images = cel_alloc((size_t)o->batch, PIXELS * sizeof(float));
    r->logits = cel_alloc((size_t)o->batch, CLASSES * sizeof(float));
    if (!r->images || !r->logits) must(CEL_FAIL(CEL_NOMEM, "out of memory"), "images");
    cel_rng rng = cel_rng_at(1, "bench", 0, 0);
    for (size_t i = 0; i < (size_t)o->batch * PIXELS; i++) r->images[i] = (float)cel_rng_normal(&rng);
}

static void rig_fini(rig *r) {
    cel_inference_destroy(r->net);
    cel_graph_destroy(r->graph);
    cel_pool_destroy(r->pool);
    cel_free(r->images);
    cel_free(r->logits);
}

static double rig_step(rig *r) {
    double began = cel_clock_s();
    for (int i = 0; i < r->repeat; i++) cel_inference_run(r->net, r->images, r->batch, r->logits);
    return 1e3 * (cel_clock_s() - began) / r->repeat;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const rig *r, const options *o, double *ms, int n) {
    qsort(ms, (size_t)n, sizeof *ms, by_value);
    double median = n % 2 ? ms[n / 2] : (ms[n / 2 - 1] + ms[n / 2]) / 2;
    double gflop = 1e-9 * cel_graph_flops(r->graph, NULL) * o->batch;
    printf(
        "{\"case\": \"nb201_discrete_b%d\", \"ms\": %.4f, \"images_per_s\": %.1f, \"gflops\": %.1f, \"peak_mb\": %.1f, "
        "\"threads\": %d, \"isa\": \"%s\"}\n",
        o->batch, median, 1e3 * o->batch / median, 1e3 * gflop / median, (double)cel_mem_peak_bytes() / (1 << 20),
        o->threads, cel_cpu_isa_active()->name);
    fflush(stdout);
}

static void measure(const options *o) {
    rig r = {0};
    double ms[MOST_STEPS];
    char line[64];
    int n = 0;
    rig_init(&r, o);
    for (int i = 0; i < 3; i++) rig_step(&r);
    if (o->serve) {
        printf("{\"ready\": true}\n");
        fflush(stdout);
        while (n < MOST_STEPS && fgets(line, sizeof line, stdin)) {
            ms[n] = rig_step(&r);
            printf("{\"ms\": %.4f}\n", ms[n++]);
            fflush(stdout);
        }
        if (!n) ms[n++] = rig_step(&r);
    } else {
        while (n < o->steps) ms[n++] = rig_step(&r);
    }
    report(&r, o, ms, n);
    rig_fini(&r);
}

static void profile(const options *o) {
    rig r = {0};
    int n, program;
    double total = 0;
    rig_init(&r, o);
    cel_exec *e = cel_inference_exec(r.net, &program);
    for (int i = 0; i < 20; i++) cel_exec_run(e, program);
    cel_exec_profile(e, true);
    for (int i = 0; i < o->steps; i++) cel_exec_run(e, program);
    const cel_profile_row *row = cel_exec_profile_rows(e, &n);
    for (int i = 0; i < n; i++) total += row[i].seconds;
    printf("%.1f us an image in kernels\n%8s %6s %8s  kernel\n", 1e6 * total / o->steps, "us", "share", "GFLOP/s");
    for (int i = 0; i < n; i++)
        printf("%8.2f %5.1f%% %8.1f  %s  %s\n", 1e6 * row[i].seconds / o->steps, 100 * row[i].seconds / total,
               1e-9 * row[i].flops / row[i].seconds, row[i].op->def->name, row[i].op->scope);
    rig_fini(&r);
}

static int whole(const char *flag, const char *text, int most) {
    char *end;
    long n = strtol(text, &end, 10);
    if (end == text || *end || n < 1 || n > most)
        must(CEL_FAIL(CEL_USAGE, "%s: expected 1 to %d, found \"%s\"", flag, most, text), "usage");
    return (int)n;
}

int main(int argc, char **argv) {
    options o = {.threads = 2, .steps = 15, .cell = cell};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--serve"))
            o.serve = true;
        else if (!strcmp(argv[i], "--profile"))
            o.profile = true;
        else if (!strcmp(argv[i], "--batch"))
            o.batch = whole(argv[i], value, 1 << 16), i++;
        else if (!strcmp(argv[i], "--threads"))
            o.threads = whole(argv[i], value, 1024), i++;
        else if (!strcmp(argv[i], "--steps"))
            o.steps = whole(argv[i], value, MOST_STEPS), i++;
        else if (!strcmp(argv[i], "--cell"))
            o.cell = value, i++;
        else
            must(CEL_FAIL(CEL_USAGE, "unknown flag %s", argv[i]), "usage");
    }
    static const int batches[] = {1, 256};
    if ((o.serve || o.profile) && !o.batch) must(CEL_FAIL(CEL_USAGE, "--serve and --profile need --batch"), "usage");
    for (int i = 0; i < 2; i++) {
        options each = o;
        each.batch = o.batch ? o.batch : batches[i];
        if (o.profile)
            profile(&each);
        else
            measure(&each);
        if (o.batch) break;
    }
    return 0;
}
