/* Operations that treat each image by itself at random or by a factor: dropout, drop-path's mask, scaling of samples.
 *
 * A draw depends on (seed, scope, step, image, element) only (cel_op_stream), so the numbers are those of `ref`:
 * dropout runs Philox for the 16 images of a group side by side. */
#include "engine/backend/cpu/kernels.h"
#include "engine/op/attr.h"

typedef struct {
    const cel_kernel_args *a;
    cel_cpu_dims d;
    cel_blocks blocks;
    uint64_t limit; /* a draw below it drops */
    float keep;
    int nth;
} sample_args;

static sample_args args_of(const cel_kernel_args *a, cel_shape shape) {
    sample_args s = {.a = a, .d = cel_cpu_dims_of(shape)};
    s.blocks = cel_blocks_of(s.d.groups, s.d.c, s.d.plane);
    return s;
}

/* Least 64-bit word w for which cel_rng_uniform, ((w >> 12) + 0.5) / 2^52 is not below p in [0, 1): exact in double. */
static uint64_t limit_of(float p) { return p > 0 ? (uint64_t)ceil((double)p * 0x1p52 - 0.5) << 12 : 0; }

typedef uint32_t vu __attribute__((vector_size(CEL_VL * 4)));
typedef uint64_t vl __attribute__((vector_size(CEL_VL * 4)));

/* Streams of CEL_VL images. */
typedef struct {
    vu key[2], counter[3];
} streams;

/* High and low words of the products of each lane of `a` with m. */
static inline void multiply(vu a, uint32_t m, vu *high, vu *low) {
    vl one = ((vl)a & 0xffffffffu) * (uint64_t)m, other = ((vl)a >> 32) * (uint64_t)m;
    *high = (vu)((one >> 32) | (other & 0xffffffff00000000u));
    *low = (vu)((one & 0xffffffffu) | (other << 32));
}

/* Block `block` of Philox4x32-10, of which base/rng.c is the definition: words 0, 1 and words 2, 3 are a draw each. */
static inline void philox(const streams *s, uint32_t block, vu c[4]) {
    vu k0 = s->key[0], k1 = s->key[1];
    for (int i = 0; i < 3; i++) c[i] = s->counter[i];
    c[3] = block - (vu){0};
    for (int round = 0; round < 10; round++) {
        vu high0, low0, high1, low1;
        multiply(c[0], 0xD2511F53u, &high0, &low0);
        multiply(c[2], 0xCD9E8D57u, &high1, &low1);
        c[0] = high1 ^ c[1] ^ k0;
        c[2] = high0 ^ c[3] ^ k1;
        c[1] = low1;
        c[3] = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

static void dropout_task(void *ctx, int task, int worker) {
    (void)worker;
    const sample_args *s = ctx;
    cel_block b = cel_block_of(&s->blocks, task);
    size_t pixels = s->d.plane / CEL_LANES, first = (size_t)b.first * pixels, last = (size_t)b.last * pixels;
    uint32_t limit_low = (uint32_t)s->limit, limit_high = (uint32_t)(s->limit >> 32);
    for (int v = 0; v < CEL_PARTS; v++) {
        streams stream;
        for (int l = 0; l < CEL_VL; l++) {
            cel_rng r = cel_op_stream(s->a, s->nth, b.g * CEL_LANES + v * CEL_VL + l);
            for (int i = 0; i < 2; i++) stream.key[i][l] = r.key[i];
            for (int i = 0; i < 3; i++) stream.counter[i][l] = r.counter[i];
        }
        const float *x = (const float *)s->a->in[0].data + (size_t)b.g * s->d.group + (size_t)v * CEL_VL;
        float *y = (float *)s->a->out[0].data + (size_t)b.g * s->d.group + (size_t)v * CEL_VL;
        for (size_t block = first / 2; block < (last + 1) / 2; block++) {
            vu word[4];
            philox(&stream, (uint32_t)block, word);
            for (size_t i = 0; i < 2; i++) {
                size_t e = 2 * block + i;
                if (e < first || e >= last) continue;
                vu low = word[2 * i], high = word[2 * i + 1];
                cel_vi dropped =
                    (cel_vi)(high < limit_high) | ((cel_vi)(high == limit_high) & (cel_vi)(low < limit_low));
                cel_store(y + e * CEL_LANES, cel_masked(cel_load(x + e * CEL_LANES) * s->keep, ~dropped));
            }
        }
    }
}

static void dropout(const cel_kernel_args *a) {
    if (!a->out[0].data) return;
    const cel_dropout_attr *attr = a->op->attr;
    sample_args s = args_of(a, a->out[0].shape);
    if (a->mode == CEL_MODE_TRAIN) {
        s.limit = limit_of(attr->p);
        s.keep = (float)(1 / (1 - (double)attr->p));
        s.nth = attr->nth;
        cel_pool_run(a->pool, s.blocks.tasks, dropout_task, &s);
    } else if (a->out[0].data != a->in[0].data) {
        memcpy(a->out[0].data, a->in[0].data, cel_floats(CEL_BATCH, a->out[0].shape) * sizeof(float));
    }
}

void CEL_ISA_FN(cel_cpu_dropout)(const cel_kernel_args *a) { dropout(a); }
void CEL_ISA_FN(cel_cpu_dropout_grad)(const cel_kernel_args *a) { dropout(a); }

void CEL_ISA_FN(cel_cpu_drop_mask)(const cel_kernel_args *a) {
    float *m = a->out[0].data;
    if (!m) return;
    const cel_drop_mask_attr *attr = a->op->attr;
    double rate = *(const float *)a->in[0].data;
    for (int i = 0; i < cel_cpu_groups(attr->n) * CEL_LANES; i++) {
        cel_rng r = cel_op_stream(a, attr->nth, i);
        if (a->mode == CEL_MODE_EVAL)
            m[i] = 1;
        else
            m[i] = cel_rng_uniform(&r) < rate ? 0 : (float)(1 / (1 - rate));
    }
}

static void scale_task(void *ctx, int task, int worker) {
    (void)worker;
    const sample_args *s = ctx;
    cel_block b = cel_block_of(&s->blocks, task);
    const float *x = s->a->in[0].data, *m = (const float *)s->a->in[1].data + b.g * CEL_LANES;
    float *y = s->a->out[0].data;
    cel_vf factor[CEL_PARTS];
    for (int v = 0; v < CEL_PARTS; v++) factor[v] = cel_load(m + v * CEL_VL);
    size_t start = (size_t)b.g * s->d.group + (size_t)b.first * s->d.plane;
    size_t end = start + (size_t)(b.last - b.first) * s->d.plane;
    for (size_t i = start; i < end; i += CEL_LANES)
        for (int v = 0; v < CEL_PARTS; v++)
            cel_store(y + i + (size_t)v * CEL_VL, cel_load(x + i + (size_t)v * CEL_VL) * factor[v]);
}

void CEL_ISA_FN(cel_cpu_scale_samples)(const cel_kernel_args *a) {
    if (!a->out[0].data) return;
    sample_args s = args_of(a, a->out[0].shape);
    cel_pool_run(a->pool, s.blocks.tasks, scale_task, &s);
}

static void dm_task(void *ctx, int task, int worker) {
    (void)worker;
    const sample_args *s = ctx;
    cel_block b = cel_block_of(&s->blocks, task);
    const float *dy = s->a->in[0].data, *x = s->a->in[1].data;
    float *partial = (float *)s->a->work + (size_t)task * CEL_LANES;
    size_t start = (size_t)b.g * s->d.group + (size_t)b.first * s->d.plane;
    size_t end = start + (size_t)(b.last - b.first) * s->d.plane;
    cel_vf sum[CEL_PARTS] = {{0}};
    for (size_t i = start; i < end; i += CEL_LANES)
        for (int v = 0; v < CEL_PARTS; v++)
            sum[v] += cel_load(dy + i + (size_t)v * CEL_VL) * cel_load(x + i + (size_t)v * CEL_VL);
    for (int v = 0; v < CEL_PARTS; v++) cel_store(partial + v * CEL_VL, sum[v]);
}

size_t CEL_ISA_FN(cel_cpu_scale_samples_dm_work)(const cel_graph *g, const cel_op *op, int n_threads) {
    (void)n_threads;
    cel_cpu_dims d = cel_cpu_dims_of(g->value[op->in[0]].shape);
    return (size_t)cel_blocks_of(d.groups, d.c, d.plane).tasks * CEL_LANES * sizeof(float);
}

void CEL_ISA_FN(cel_cpu_scale_samples_dm)(const cel_kernel_args *a) {
    float *dm = a->out[0].data;
    if (!dm) return;
    sample_args s = args_of(a, a->in[0].shape);
    cel_pool_run(a->pool, s.blocks.tasks, dm_task, &s);
    const float *partial = a->work;
    for (int g = 0; g < s.d.groups; g++)
        for (int l = 0; l < CEL_LANES; l++) {
            double sum = 0;
            for (int t = 0; t < s.blocks.per_group; t++) sum += partial[(g * s.blocks.per_group + t) * CEL_LANES + l];
            dm[g * CEL_LANES + l] = (float)sum;
        }
}
