/* Measuring the ceilings; see roof.h. The best of many short repetitions: other programs may share the machine. */
#include "engine/backend/cpu/roof.h"

#include "base/file.h"
#include "base/mem.h"
#include "engine/backend/cpu/cpu.h"

enum { REPEATS = 60, TRIAD_REPEATS = 12, LINE = 16 };
static const long ROUNDS = 1 << 19;

typedef struct arithmetic {
    cel_roof_fma_fn *loop;
    double *done;
} arithmetic;

static void arithmetic_task(void *ctx, int task, int worker) {
    (void)worker;
    const arithmetic *a = ctx;
    float keep[3] = {0.9999f, 0.0001f, 0};
    a->done[task * LINE] = a->loop(ROUNDS, keep);
}

static double operations_per_s(cel_pool *pool, cel_roof_fma_fn *loop, double *done) {
    int n = cel_pool_threads(pool);
    arithmetic a = {loop, done};
    double best = 0;
    for (int r = 0; r < REPEATS; r++) {
        double start = cel_clock_s(), sum = 0;
        cel_pool_run(pool, n, arithmetic_task, &a);
        double seconds = cel_clock_s() - start;
        for (int i = 0; i < n; i++) sum += done[i * LINE];
        if (sum / seconds > best) best = sum / seconds;
    }
    return best;
}

typedef struct triad {
    cel_roof_triad_fn *run;
    float *data;
    size_t part; /* floats of one vector of one task */
    int times;
} triad;

/* Each thread works in memory of its own, so that a level's caches are used as kernels use them. */
static void triad_task(void *ctx, int task, int worker) {
    (void)worker;
    const triad *t = ctx;
    float *a = t->data + 3 * t->part * (size_t)task;
    for (int i = 0; i < t->times; i++) t->run(a, a + t->part, a + 2 * t->part, t->part);
}

static double triad_bytes_per_s(cel_pool *pool, triad t) {
    int n = cel_pool_threads(pool);
    double bytes = 3.0 * (double)t.part * sizeof(float) * n * t.times, best = 0;
    cel_pool_run(pool, n, triad_task, &t);
    for (int r = 0; r < TRIAD_REPEATS; r++) {
        double start = cel_clock_s();
        cel_pool_run(pool, n, triad_task, &t);
        double speed = bytes / (cel_clock_s() - start);
        if (speed > best) best = speed;
    }
    return best;
}

cel_status cel_roof_measure(cel_pool *pool, cel_roof *out) {
    static const size_t mb[CEL_ROOF_SIZES] = {0, 8,
                                              96}; /* 0: half a megabyte a thread, as a second-level cache has it */
    const cel_cpu_isa *isa = cel_cpu_isa_active();
    size_t n = (size_t)cel_pool_threads(pool), room = mb[CEL_ROOF_SIZES - 1] << 20;
    if (room < n << 21) room = n << 21;
    double *done = cel_alloc(n * LINE, sizeof *done);
    float *data = cel_block_alloc(room);
    if (done && data) {
        for (size_t i = 0; i < room / sizeof(float); i++) data[i] = 1; /* else all reads are of one page of zeros */
        *out = (cel_roof){.flops = operations_per_s(pool, isa->fma, done),
                          .bf16_flops = operations_per_s(pool, isa->bf16, done)};
        for (int i = 0; i < CEL_ROOF_SIZES; i++) {
            size_t bytes = i == CEL_ROOF_SIZES - 1 ? room : mb[i] << 20;
            if (bytes < n << 19) bytes = n << 19;
            triad t = {isa->triad, data, bytes / n / 3 / sizeof(float) / CEL_LANES * CEL_LANES, (int)(room / bytes)};
            out->size[i].bytes = 3.0 * (double)(t.part * n * sizeof(float));
            out->size[i].bytes_per_s = triad_bytes_per_s(pool, t);
        }
    }
    bool good = done && data;
    cel_free(done);
    if (data) cel_block_free(data, room);
    return good ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory: %zu bytes to measure the machine with", room);
}

double cel_roof_bandwidth(const cel_roof *roof, double bytes) {
    for (int i = 0; i < CEL_ROOF_SIZES - 1; i++)
        if (bytes <= roof->size[i].bytes) return roof->size[i].bytes_per_s;
    return roof->size[CEL_ROOF_SIZES - 1].bytes_per_s;
}
