/* The cpu backend's face: sizes, packing, the choice of a CPU level, kernel look-up. Layout and rules are in cpu.h. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "engine/backend/cpu/cpu.h"
#include "engine/op/mixed_cell.h"

#define LEVEL_NAMES "base, avx2, avx512 or amx"
#define LEVELS(X) X(base, true)
#if defined(CEL_HAVE_ISA_AVX2)
#undef LEVELS
#define LEVELS(X)                                                                                                      \
    X(base, true)                                                                                                      \
    X(avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))                                           \
    X(avx512, HAS_AVX512)                                                                                              \
    X(amx, HAS_AVX512 &&has_amx())
#define HAS_AVX512                                                                                                     \
    (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&  \
     __builtin_cpu_supports("avx512vl"))
#endif

#if defined(CEL_HAVE_ISA_AVX512) && defined(SYS_arch_prctl)
/* Tiles are 8 KB a thread, which Linux (5.16) keeps for processes that ask. GCC 12 and Clang 14 do not both know these CPU features by
 * name. */
static bool has_amx(void) {
    enum { BF16 = 1 << 22, TILE = 1 << 24, ASK = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    static _Atomic int known;                                              /* 1: no, 2: yes */
    if (!atomic_load(&known)) {
        unsigned a, b, c, d = 0;
        bool has = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & BF16) && (d & TILE) &&
                   __builtin_cpu_supports("avx512bf16") && syscall(SYS_arch_prctl, ASK, TILE_DATA) == 0;
        atomic_store(&known, has ? 2 : 1);
    }
    return atomic_load(&known) == 2;
}
#elif defined(CEL_HAVE_ISA_AVX512)
static bool has_amx(void) { return false; }
#endif

#define X(name, supported) extern const cel_cpu_isa cel_cpu_isa_##name;
LEVELS(X)
#undef X

enum {
    ISA_COUNT = 0
#define X(name, supported) +1
    LEVELS(X)
#undef X
};

/* Worst first; NULL where the machine cannot run it. */
static const cel_cpu_isa *level(int i) {
    int k = 0; /* asks the machine for this one only: a process that has asked for AMX keeps it */
#define X(name, supported)                                                                                             \
    if (k++ == i) return (supported) ? &cel_cpu_isa_##name : NULL;
    LEVELS(X)
#undef X
    return NULL;
}

static const char *const level_names[] = {
#define X(name, supported) #name,
    LEVELS(X)
#undef X
};

static int level_of(const char *name) {
    for (int i = 0; i < ISA_COUNT; i++)
        if (strcmp(name, level_names[i]) == 0) return i;
    return -1;
}

static _Atomic(const cel_cpu_isa *) active;

static const cel_cpu_isa *best(void) {
    const cel_cpu_isa *isa = NULL;
    for (int i = ISA_COUNT - 1; i >= 0 && !isa; i--) isa = level(i);
    return isa;
}

/* CELLAR_ISA's level; NULL when the variable is not set or (see unavailable) cannot be followed. */
static const cel_cpu_isa *wished(void) {
    const char *name = getenv("CELLAR_ISA");
    int i = name ? level_of(name) : -1;
    return i < 0 ? NULL : level(i);
}

const cel_cpu_isa *cel_cpu_isa_active(void) {
    const cel_cpu_isa *isa = atomic_load(&active);
    if (!isa) {
        isa = wished();
        if (!isa) isa = best();
        atomic_store(&active, isa);
    }
    return isa;
}

cel_status cel_cpu_isa_force(const char *name) {
    int i = level_of(name);
    if (i < 0) return CEL_FAIL(CEL_CONFIG, "CPU level: expected " LEVEL_NAMES ", found \"%s\"", name);
    if (!level(i)) return CEL_FAIL(CEL_UNSUPPORTED, "CPU level %s: this machine lacks it; try base", name);
    atomic_store(&active, level(i));
    return CEL_OK;
}

const char *cel_cpu_isa_unavailable(void) {
    const char *name = getenv("CELLAR_ISA");
    if (!name || wished()) return NULL;
    return level_of(name) < 0 ? "CELLAR_ISA names no CPU level of this build: expected " LEVEL_NAMES
                              : "CELLAR_ISA names a CPU level that this machine lacks: unset it or take base";
}

static size_t pixels(const cel_value *v) { /* elements of one image */
    cel_cpu_dims d = cel_cpu_dims_of(v->shape);
    return (size_t)d.c * (size_t)d.h * (size_t)d.w;
}

static size_t bytes(const cel_value *v) {
    if (v->layout != CEL_BATCH) return cel_shape_count(v->shape) * sizeof(float);
    cel_cpu_dims d = cel_cpu_dims_of(v->shape);
    return (size_t)d.groups * d.group * (v->dtype == CEL_BF16 ? sizeof(uint16_t) : sizeof(float));
}

/* Packing transposes 16 images by `CHUNK` elements a task, in blocks of 4 by 4. Both element types are four bytes wide
 * and are only moved, so one vector type serves. */
enum { CHUNK = 1024 };
typedef int32_t quad __attribute__((vector_size(16), aligned(4), may_alias));
static const int32_t zeros[CHUNK];

typedef struct {
    const cel_value *v;
    const int32_t *from;
    int32_t *to;
    size_t pixels;
    int chunks;
} move;

static void transpose4(quad *a, quad *b, quad *c, quad *d) {
    quad ab_low = __builtin_shufflevector(*a, *b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(*a, *b, 2, 6, 3, 7);
    quad cd_low = __builtin_shufflevector(*c, *d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(*c, *d, 2, 6, 3, 7);
    *a = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    *b = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    *c = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    *d = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

static void pack_task(void *ctx, int task, int worker) {
    (void)worker;
    const move *m = ctx;
    int n = m->v->shape.dim[0], g = task / m->chunks;
    size_t first = (size_t)(task % m->chunks) * CHUNK, last = first + CHUNK < m->pixels ? first + CHUNK : m->pixels;
    const int32_t *row[CEL_LANES]; /* row[lane] + 0 is element `first` of that image, or of nothing */
    for (int i = 0; i < CEL_LANES; i++) {
        size_t image = (size_t)g * CEL_LANES + (size_t)i;
        row[i] = image < (size_t)n ? m->from + image * m->pixels + first : zeros;
    }
    int32_t *to = m->to + ((size_t)g * m->pixels + first) * CEL_LANES;
    size_t count = last - first, p = 0;
    for (; p + 4 <= count; p += 4)
        for (int i = 0; i < CEL_LANES; i += 4) {
            quad a = *(const quad *)(row[i] + p), b = *(const quad *)(row[i + 1] + p);
            quad c = *(const quad *)(row[i + 2] + p), d = *(const quad *)(row[i + 3] + p);
            transpose4(&a, &b, &c, &d);
            int32_t *out = to + p * CEL_LANES + i;
            *(quad *)out = a;
            *(quad *)(out + CEL_LANES) = b;
            *(quad *)(out + 2 * CEL_LANES) = c;
            *(quad *)(out + 3 * CEL_LANES) = d;
        }
    for (; p < count; p++)
        for (int i = 0; i < CEL_LANES; i++) to[p * CEL_LANES + (size_t)i] = row[i][p];
}

static void unpack_task(void *ctx, int task, int worker) {
    (void)worker;
    const move *m = ctx;
    int n = m->v->shape.dim[0], g = task / m->chunks;
    size_t first = (size_t)(task % m->chunks) * CHUNK, last = first + CHUNK < m->pixels ? first + CHUNK : m->pixels;
    int lanes = n - g * CEL_LANES < CEL_LANES ? n - g * CEL_LANES : CEL_LANES;
    int32_t *row = m->to + (size_t)g * CEL_LANES * m->pixels + first;
    const int32_t *from = m->from + ((size_t)g * m->pixels + first) * CEL_LANES;
    size_t count = last - first, p = 0;
    for (; p + 4 <= count; p += 4) {
        int i = 0;
        for (; i + 4 <= lanes; i += 4) {
            const int32_t *in = from + p * CEL_LANES + i;
            quad a = *(const quad *)in, b = *(const quad *)(in + CEL_LANES);
            quad c = *(const quad *)(in + 2 * CEL_LANES), d = *(const quad *)(in + 3 * CEL_LANES);
            transpose4(&a, &b, &c, &d);
            int32_t *out = row + (size_t)i * m->pixels + p;
            *(quad *)out = a;
            *(quad *)(out + m->pixels) = b;
            *(quad *)(out + 2 * m->pixels) = c;
            *(quad *)(out + 3 * m->pixels) = d;
        }
        for (; i < lanes; i++)
            for (size_t q = p; q < p + 4; q++) row[(size_t)i * m->pixels + q] = from[q * CEL_LANES + (size_t)i];
    }
    for (; p < count; p++)
        for (int i = 0; i < lanes; i++) row[(size_t)i * m->pixels + p] = from[p * CEL_LANES + (size_t)i];
}

static void transpose(const cel_value *v, const void *from, void *to, cel_pool *pool, cel_task_fn *task) {
    if (v->layout != CEL_BATCH) {
        memcpy(to, from, cel_shape_count(v->shape) * sizeof(float));
        return;
    }
    move m = {v, from, to, pixels(v), 0};
    m.chunks = (int)((m.pixels + CHUNK - 1) / CHUNK);
    cel_pool_run(pool, cel_cpu_groups(v->shape.dim[0]) * m.chunks, task, &m);
}

static void pack(const cel_value *v, const void *plain, void *data, cel_pool *pool) {
    transpose(v, plain, data, pool, pack_task);
}

static void unpack(const cel_value *v, const void *data, void *plain, cel_pool *pool) {
    transpose(v, data, plain, pool, unpack_task);
}

const cel_kernel *cel_cpu_kernel_find(const cel_kernel *table, int n, const cel_op_def *def) {
    for (int i = 0; i < n; i++)
        if (table[i].def == def) return &table[i];
    return NULL;
}

static const cel_kernel *kernel(const cel_op_def *def) {
    const cel_cpu_isa *isa = cel_cpu_isa_active();
    return cel_cpu_kernel_find(isa->kernels, isa->n_kernels, def);
}

/* What the kernels of mixed cells take in bfloat16 (amx.h, winograd_bf16.h). */
static const char *refuses(const cel_graph *g, const cel_op *op) {
    if (!cel_mixed_cell_is_bf16(op)) return NULL;
    bool grad = op->def == &cel_op_mixed_cell_grad;
    cel_shape x = cel_graph_shape(g, op->in[grad ? 1 : 0]);
    int ca = x.dim[1] / ((const cel_mixed_cell_attr *)op->attr)->k;
#if defined(CEL_HAVE_ISA_AVX512)
    bool able = __builtin_cpu_supports("avx512bf16") && strcmp(cel_cpu_isa_active()->fp32, "avx512") == 0;
#else
    bool able = false;
#endif
    if (!able) return "bfloat16 needs a CPU with AVX512-BF16 (and CELLAR_ISA not below avx512): search.precision fp32";
    if (ca < 8 || ca % 4 || x.dim[2] % 2 || x.dim[3] % 4 || x.dim[3] > 32)
        return "bfloat16 takes 8 channels or more, in fours, through a cell's operations, images of even height, and "
               "widths of 4, 8 and so on up to 32 pixels: search.precision fp32";
    return NULL;
}

const cel_backend cel_backend_cpu = {"cpu",  cel_cpu_isa_unavailable,    bytes,  pack, unpack,
                                     kernel, &cel_backend_cpu_inference, refuses};
