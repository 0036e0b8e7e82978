/* Times every operation of the engine and its gradients, kernel by kernel, at the shapes of a NAS-Bench-201 supernet
 * (batch 64; all, half and a quarter of the channels) on a warm cache, and prints one JSON line each: microseconds
 * (median and best), bytes and FLOPs per second, and the bytes per second as a share of a plain triad's over vectors of
 * the same size and over vectors in main memory.
 *
 *   bench_ops [--threads N] [--backend NAME] [--op NAME]        (CELLAR_ISA=base|avx2|avx512|amx picks the CPU level) */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "support/op_runner.h"

enum { BATCH = 64, CLASSES = 10, REPEATS = 41 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of fn(ctx): the median and the best. Speeds are those of the best: other programs may share the machine. */
typedef struct {
    double median, best;
} timing;

static timing measure(void (*fn)(void *ctx), void *ctx) {
    double t[REPEATS];
    fn(ctx);
    for (int i = 0; i < REPEATS; i++) {
        double start = now();
        fn(ctx);
        t[i] = now() - start;
    }
    qsort(t, REPEATS, sizeof *t, by_value);
    return (timing){t[REPEATS / 2], t[0]};
}

typedef struct {
    float *a, *b, *c;
    size_t n;
    cel_pool *pool;
} triad;

enum { TRIAD_TASK = 8192, STREAM = 16 << 20 };

static void triad_task(void *ctx, int task, int worker) {
    (void)worker;
    triad *t = ctx;
    size_t end = ((size_t)task + 1) * TRIAD_TASK < t->n ? ((size_t)task + 1) * TRIAD_TASK : t->n;
    for (size_t i = (size_t)task * TRIAD_TASK; i < end; i++) t->a[i] = t->b[i] + 0.5f * t->c[i];
}

static void triad_run(void *ctx) {
    triad *t = ctx;
    cel_pool_run(t->pool, (int)((t->n + TRIAD_TASK - 1) / TRIAD_TASK), triad_task, t);
}

/* Bytes per second of a = b + k c over vectors of n floats; 0 when memory is out. */
static double triad_speed(size_t n, cel_pool *pool) {
    size_t bytes = n * sizeof(float);
    triad t = {cel_block_alloc(bytes), cel_block_alloc(bytes), cel_block_alloc(bytes), n, pool};
    double speed = 0;
    if (t.a && t.b && t.c) {
        for (size_t i = 0; i < n; i++) t.b[i] = t.c[i] = 1; /* else all reads are of one page of zeros */
        speed = 3 * (double)bytes / measure(triad_run, &t).best;
    }
    if (t.a) cel_block_free(t.a, bytes);
    if (t.b) cel_block_free(t.b, bytes);
    if (t.c) cel_block_free(t.c, bytes);
    return speed;
}

/* Bytes per second: of a triad over vectors as large as the image, and far larger than any cache. */
typedef struct {
    double triad, stream;
} speeds;

static cel_val image(cel_graph *g, const char *name, int c, int s) {
    return cel_graph_input(g, name, CEL_F32, CEL_BATCH, CEL_SHAPE(BATCH, c, s, s));
}

static cel_val conv(cel_graph *g, int c, int s, int kernel, int groups) {
    return cel_conv2d(g, image(g, "x", c, s),
                      cel_graph_param(g, "weight", CEL_SHAPE(c, c / groups, kernel, kernel), CEL_INIT_KAIMING),
                      (cel_conv2d_attr){1, kernel / 2, 1, groups});
}
static cel_val conv3(cel_graph *g, int c, int s) { return conv(g, c, s, 3, 1); }
static cel_val conv1(cel_graph *g, int c, int s) { return conv(g, c, s, 1, 1); }
static cel_val depthwise3(cel_graph *g, int c, int s) { return conv(g, c, s, 3, c); }
static cel_val depthwise5(cel_graph *g, int c, int s) { return conv(g, c, s, 5, c); }
static cel_val batch_norm(cel_graph *g, int c, int s) {
    return cel_batch_norm(g, image(g, "x", c, s), cel_graph_param(g, "gamma", CEL_SHAPE(c), CEL_INIT_ONE),
                          cel_graph_param(g, "beta", CEL_SHAPE(c), CEL_INIT_ZERO),
                          cel_graph_state(g, "mean", CEL_SHAPE(c), CEL_INIT_ZERO),
                          cel_graph_state(g, "var", CEL_SHAPE(c), CEL_INIT_ONE),
                          (cel_batch_norm_attr){1e-5f, 0.1f, false});
}
static cel_val relu(cel_graph *g, int c, int s) { return cel_relu(g, image(g, "x", c, s)); }
static cel_val max_pool(cel_graph *g, int c, int s) {
    return cel_max_pool(g, image(g, "x", c, s), (cel_pool2d_attr){3, 1, 1});
}
static cel_val avg_pool(cel_graph *g, int c, int s) {
    return cel_avg_pool(g, image(g, "x", c, s), (cel_pool2d_attr){3, 1, 1});
}
static cel_val avg_half(cel_graph *g, int c, int s) {
    return cel_avg_pool(g, image(g, "x", c, s), (cel_pool2d_attr){2, 2, 0});
}
static cel_val global_pool(cel_graph *g, int c, int s) { return cel_global_pool(g, image(g, "x", c, s)); }
static cel_val linear(cel_graph *g, int c, int s) {
    (void)s;
    return cel_linear(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(BATCH, c)),
                      cel_graph_param(g, "weight", CEL_SHAPE(CLASSES, c), CEL_INIT_UNIFORM),
                      cel_graph_param(g, "bias", CEL_SHAPE(CLASSES), CEL_INIT_BIAS));
}
static cel_val add(cel_graph *g, int c, int s) {
    return cel_add(g, (cel_val[]){image(g, "a", c, s), image(g, "b", c, s), image(g, "c", c, s)}, 3);
}
static cel_val scale(cel_graph *g, int c, int s) { return cel_scale(g, image(g, "x", c, s), 0.5f); }
static cel_val concat(cel_graph *g, int c, int s) {
    return cel_concat(g, (cel_val[]){image(g, "a", c, s), image(g, "b", c, s)}, 2);
}
static cel_val slice(cel_graph *g, int c, int s) { return cel_slice(g, image(g, "x", 2 * c, s), 0, c); }
static cel_val crop(cel_graph *g, int c, int s) { return cel_crop(g, image(g, "x", c, s), 1, 1); }
static cel_val shuffle(cel_graph *g, int c, int s) {
    return cel_channel_shuffle(g, image(g, "x", c, s), c >= 4 ? 4 : 1);
}
static cel_val weighted_sum(cel_graph *g, int c, int s) {
    cel_val x[4] = {image(g, "a", c, s), image(g, "b", c, s), image(g, "c", c, s), image(g, "d", c, s)};
    return cel_weighted_sum(g, cel_graph_input(g, "weights", CEL_F32, CEL_DENSE, CEL_SHAPE(6, 5)), x,
                            (cel_weighted_sum_attr){4, {0, 0, 0, 0}, {1, 2, 3, 4}, false});
}
static cel_val dropout(cel_graph *g, int c, int s) { return cel_dropout(g, image(g, "x", c, s), 0.3f); }
static cel_val scale_samples(cel_graph *g, int c, int s) {
    cel_val rate = cel_graph_input(g, "rate", CEL_F32, CEL_DENSE, CEL_SCALAR);
    cel_val m = cel_graph_input(g, "m", CEL_F32, CEL_BATCH, CEL_SHAPE(BATCH)), drop = cel_drop_mask(g, rate, BATCH);
    return cel_scale_samples(g, cel_scale_samples(g, image(g, "x", c, s), m), drop);
}
static cel_val cross_entropy(cel_graph *g, int c, int s) {
    (void)c, (void)s;
    return cel_softmax_cross_entropy(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(BATCH, CLASSES)),
                                     cel_graph_input(g, "labels", CEL_I32, CEL_BATCH, CEL_SHAPE(BATCH)), 0.1f)
        .loss;
}

typedef struct {
    const char *name;
    cel_val (*build)(cel_graph *g, int c, int s);
} layer;

static const layer layers[] = {{"conv3", conv3},
                               {"conv1", conv1},
                               {"depthwise3", depthwise3},
                               {"depthwise5", depthwise5},
                               {"batch_norm", batch_norm},
                               {"relu", relu},
                               {"max_pool", max_pool},
                               {"avg_pool", avg_pool},
                               {"avg_half", avg_half},
                               {"global_pool", global_pool},
                               {"linear", linear},
                               {"add", add},
                               {"scale", scale},
                               {"concat", concat},
                               {"slice", slice},
                               {"crop", crop},
                               {"channel_shuffle", shuffle},
                               {"weighted_sum", weighted_sum},
                               {"dropout", dropout},
                               {"scale_samples", scale_samples},
                               {"cross_entropy", cross_entropy}};

typedef struct {
    op_runner *r;
    int op;
} one_op;

static void run_one(void *ctx) {
    one_op *o = ctx;
    op_runner_run_op(o->r, o->op);
}

static cel_status bench_graph(const cel_graph *g, const char *name, int c, int s, const cel_backend *backend,
                              cel_pool *pool, const char *only, const speeds *speed) {
    op_runner *r;
    CEL_TRY(op_runner_create(g, backend, pool, &r));
    cel_status status = op_runner_fill(r, 1, CLASSES);
    if (status == CEL_OK) op_runner_run(r);
    for (int i = 0; status == CEL_OK && i < g->n_ops; i++) {
        const cel_op *op = &g->op[i];
        if ((only && strcmp(only, op->def->name) != 0) || strcmp(op->def->name, "constant") == 0) continue;
        double bytes = 0, flops = op->def->flops ? op->def->flops(g, op, NULL) : 0;
        for (int k = 0; k < op->n_in; k++)
            if (op->in[k] != CEL_NONE) bytes += (double)r->bytes[op->in[k]];
        for (int k = 0; k < op->n_out; k++) bytes += (double)r->bytes[op->out[k]];
        timing t = measure(run_one, &(one_op){r, i});
        printf("{\"op\": \"%s\", \"layer\": \"%s\", \"shape\": \"%dx%dx%dx%d\", \"us\": %.1f, \"best_us\": %.1f, "
               "\"gb_s\": %.1f, \"gflop_s\": %.1f, \"of_triad\": %.2f, \"of_stream\": %.2f}\n",
               op->def->name, name, BATCH, c, s, s, t.median * 1e6, t.best * 1e6, bytes / t.best * 1e-9,
               flops / t.best * 1e-9, bytes / t.best / speed->triad, bytes / t.best / speed->stream);
    }
    op_runner_destroy(r);
    return status;
}

static cel_status bench_layer(const layer *l, int c, int s, const cel_backend *backend, cel_pool *pool,
                              const char *only, const speeds *speed) {
    cel_graph *g;
    CEL_TRY(cel_graph_create(&g));
    cel_val y = l->build(g, c, s), wrt[8], grads[8];
    int n = 0;
    for (cel_val v = 0; v < g->n_values; v++)
        if ((g->value[v].role == CEL_INPUT || g->value[v].role == CEL_PARAM) && g->value[v].dtype == CEL_F32 &&
            strcmp(g->value[v].name, "rate") != 0)
            wrt[n++] = v;
    cel_status status = CEL_OK;
    if (y != CEL_NONE) {
        cel_val dy = cel_graph_input(g, "dy", CEL_F32, g->value[y].layout, cel_graph_shape(g, y));
        status = cel_graph_grad_from(g, y, dy, wrt, n, grads);
    }
    if (status == CEL_OK) status = cel_graph_seal(g);
    if (status == CEL_OK) status = bench_graph(g, l->name, c, s, backend, pool, only, speed);
    cel_graph_destroy(g);
    return status;
}

static int usage(const char *why) {
    fprintf(stderr, "bench_ops: %s\nusage: bench_ops [--threads N] [--backend NAME] [--op NAME]\n", why);
    return cel_status_exit_code(CEL_USAGE);
}

int main(int argc, char **argv) {
    const char *name = "cpu", *only = NULL;
    long threads = 2;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return usage("an option without a value");
        char *end = "";
        if (strcmp(argv[i], "--threads") == 0)
            threads = strtol(argv[i + 1], &end, 10);
        else if (strcmp(argv[i], "--backend") == 0)
            name = argv[i + 1];
        else if (strcmp(argv[i], "--op") == 0)
            only = argv[i + 1];
        else
            return usage("unknown option");
        if (*end || threads < 1 || threads > 1024) return usage("--threads: expected a number from 1 to 1024");
    }
    const cel_backend *backend = cel_backend_find(name);
    if (!backend) return usage("unknown backend");
    cel_pool *pool;
    cel_status status = cel_pool_create((int)threads, &pool);
    if (status != CEL_OK) {
        fprintf(stderr, "bench_ops: %s\n", cel_status_message());
        return cel_status_exit_code(status);
    }
    speeds speed = {0, triad_speed(STREAM, pool)};
    static const int shapes[][2] = {{16, 32}, {32, 16}, {64, 8}};
    for (size_t k = 0; k < CEL_COUNT(shapes) && status == CEL_OK; k++)
        for (int part = 1; part <= 4 && status == CEL_OK; part *= 2) {
            int c = shapes[k][0] / part, s = shapes[k][1];
            speed.triad = triad_speed((size_t)BATCH * (size_t)c * (size_t)(s * s), pool);
            printf("{\"op\": \"triad\", \"shape\": \"%dx%dx%dx%d\", \"gb_s\": %.1f, \"stream_gb_s\": %.1f}\n", BATCH, c,
                   s, s, speed.triad * 1e-9, speed.stream * 1e-9);
            for (size_t i = 0; i < CEL_COUNT(layers) && status == CEL_OK; i++) {
                status = bench_layer(&layers[i], c, s, backend, pool, only, &speed);
                if (status == CEL_UNSUPPORTED) {
                    fprintf(stderr, "bench_ops: skipped: %s\n", cel_status_message());
                    status = CEL_OK;
                }
            }
        }
    if (status != CEL_OK) fprintf(stderr, "bench_ops: %s\n", cel_status_message());
    cel_pool_destroy(pool);
    return cel_status_exit_code(status);
}
