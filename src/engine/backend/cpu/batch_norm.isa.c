/* Batch normalisation (Ioffe & Szegedy 2015, algorithm 1 and the gradient of section 3).
 *
 * A task takes whole channels, so that the second sweep (normalise; dx) finds them in the cache. Statistics come from
 * one sweep: each lane sums x - p and (x - p)^2 about a pivot p, its image's first pixel of a chunk, in float; means
 * and sums of squares of lanes and chunks are then merged in double by the pairwise rule of Chan, Golub & LeVeque
 * (1983) in a fixed order. Neither a large mean nor a large image loses digits. */
#include "engine/backend/cpu/kernels.h"
#include "engine/op/attr.h"

enum { CHUNK = 1024, SUMS = 4 }; /* pixels summed in float; independent sums, a multiple of CEL_PARTS */

typedef struct {
    const cel_kernel_args *a;
    cel_cpu_dims d;
    int size;   /* channels of a task */
    bool batch; /* normalise with the batch's own statistics */
} norm_args;

static void run(const cel_kernel_args *a, const cel_tensor *x, cel_task_fn *task) {
    const cel_batch_norm_attr *attr = a->op->attr;
    norm_args s = {a, cel_cpu_dims_of(x->shape), 1, a->mode == CEL_MODE_TRAIN || attr->use_batch};
    size_t channel = (size_t)s.d.groups * s.d.plane;
    if (channel < CEL_SPAN) s.size = (int)(CEL_SPAN / channel);
    cel_pool_run(a->pool, (s.d.c + s.size - 1) / s.size, task, &s);
}

static const float *optional(const cel_tensor *t) { return t->data; }

/* Mean and mean square deviation of channel c over the images that exist. */
static void statistics(const norm_args *s, int c, double *mean, double *var) {
    const float *x = s->a->in[0].data;
    size_t pixels = s->d.plane / CEL_LANES;
    double count = 0, m = 0, m2 = 0;
    for (int g = 0; g < s->d.groups; g++) {
        int lanes = s->d.n - g * CEL_LANES < CEL_LANES ? s->d.n - g * CEL_LANES : CEL_LANES;
        const float *plane = x + (size_t)g * s->d.group + (size_t)c * s->d.plane;
        for (size_t first = 0; first < pixels; first += CHUNK) {
            size_t size = pixels - first < CHUNK ? pixels - first : CHUNK, n = size * CEL_PARTS, i = 0;
            const float *p = plane + first * CEL_LANES;
            cel_vf pivot[SUMS], s1[SUMS] = {{0}}, s2[SUMS] = {{0}};
            for (int k = 0; k < SUMS; k++) pivot[k] = cel_load(p + k % CEL_PARTS * CEL_VL);
            for (; i + SUMS <= n; i += SUMS)
                for (int k = 0; k < SUMS; k++) {
                    cel_vf d = cel_load(p + (i + (size_t)k) * CEL_VL) - pivot[k];
                    s1[k] += d;
                    s2[k] += d * d;
                }
            for (int k = 0; k < SUMS; k++)
                if (i + (size_t)k < n) {
                    cel_vf d = cel_load(p + (i + (size_t)k) * CEL_VL) - pivot[k];
                    s1[k] += d;
                    s2[k] += d * d;
                }

            float sum1[SUMS * CEL_VL], sum2[SUMS * CEL_VL]; /* several times the 16 lanes */
            memcpy(sum1, s1, sizeof sum1);
            memcpy(sum2, s2, sizeof sum2);
            double lane_mean[CEL_LANES], lane_m2[CEL_LANES], sum[CEL_LANES], inverse = 1 / (double)size;
            for (int l = 0; l < CEL_LANES; l++) {
                double a = 0, b = 0;
                for (int k = 0; k < SUMS * CEL_VL; k += CEL_LANES) {
                    a += sum1[k + l];
                    b += sum2[k + l];
                }
                lane_mean[l] = p[l] + a * inverse;
                lane_m2[l] = b - a * a * inverse;
                sum[l] = l < lanes ? lane_mean[l] : 0;
            }
            double here = cel_sum16(sum) / lanes;
            for (int l = 0; l < CEL_LANES; l++)
                sum[l] = l < lanes ? lane_m2[l] + (double)size * (lane_mean[l] - here) * (lane_mean[l] - here) : 0;
            double count_here = (double)size * lanes, delta = here - m, total = count + count_here;
            m2 += cel_sum16(sum) + delta * delta * count * count_here / total;
            m += delta * count_here / total;
            count = total;
        }
    }
    *mean = m;
    *var = m2 > 0 ? m2 / count : 0;
}

static void norm_task(void *ctx, int task, int worker) {
    (void)worker;
    const norm_args *s = ctx;
    const cel_kernel_args *a = s->a;
    const cel_batch_norm_attr *attr = a->op->attr;
    const float *x = a->in[0].data, *gamma = optional(&a->in[1]), *beta = optional(&a->in[2]);
    float *running_mean = a->in[3].data, *running_var = a->in[4].data;
    float *y = a->out[0].data, *saved_mean = a->out[1].data, *saved_rstd = a->out[2].data;
    int last = (task + 1) * s->size < s->d.c ? (task + 1) * s->size : s->d.c;
    for (int c = task * s->size; c < last; c++) {
        double mean, var;
        if (s->batch) {
            statistics(s, c, &mean, &var);
        } else {
            mean = running_mean[c];
            var = running_var[c];
        }
        double rstd = 1 / sqrt(var + (double)attr->eps);
        if (saved_mean) saved_mean[c] = (float)mean;
        if (saved_rstd) saved_rstd[c] = (float)rstd;
        if (a->mode == CEL_MODE_TRAIN) {
            double count = (double)s->d.n * s->d.h * s->d.w, unbiased = count > 1 ? var * count / (count - 1) : var;
            double momentum = attr->momentum;
            running_mean[c] = (float)((1 - momentum) * running_mean[c] + momentum * mean);
            running_var[c] = (float)((1 - momentum) * running_var[c] + momentum * unbiased);
        }
        if (!y) continue;
        /* x - mean first, with the rest of the mean's digits in the shift: no cancellation under a large mean */
        double factor = rstd * (gamma ? gamma[c] : 1);
        cel_vf centre = cel_splat((float)mean), scale = cel_splat((float)factor);
        cel_vf shift = cel_splat((float)((beta ? beta[c] : 0) - (mean - (float)mean) * factor));
        for (int g = 0; g < s->d.groups; g++) {
            size_t start = (size_t)g * s->d.group + (size_t)c * s->d.plane;
            for (size_t i = start; i < start + s->d.plane; i += CEL_VL)
                cel_store(y + i, (cel_load(x + i) - centre) * scale + shift);
        }
    }
}

void CEL_ISA_FN(cel_cpu_batch_norm)(const cel_kernel_args *a) { run(a, &a->in[0], norm_task); }

/* Sums of dy and of dy (x - mean) over channel c; dy is zero in the lanes that do not exist. */
static void gradient_sums(const norm_args *s, int c, float mean, double *sum_dy, double *sum_dy_x) {
    const float *dy = s->a->in[0].data, *x = s->a->in[1].data;
    size_t vectors = s->d.plane / CEL_VL;
    *sum_dy = *sum_dy_x = 0;
    for (int g = 0; g < s->d.groups; g++) {
        size_t start = (size_t)g * s->d.group + (size_t)c * s->d.plane;
        for (size_t first = 0; first < vectors; first += CHUNK * CEL_PARTS) {
            size_t n = vectors - first < CHUNK * CEL_PARTS ? vectors - first : CHUNK * CEL_PARTS, i = 0;
            const float *p = dy + start + first * CEL_VL, *q = x + start + first * CEL_VL;
            cel_vf s1[SUMS] = {{0}}, s2[SUMS] = {{0}};
            for (; i + SUMS <= n; i += SUMS)
                for (int k = 0; k < SUMS; k++) {
                    cel_vf d = cel_load(p + (i + (size_t)k) * CEL_VL);
                    s1[k] += d;
                    s2[k] += d * (cel_load(q + (i + (size_t)k) * CEL_VL) - mean);
                }
            for (int k = 0; k < SUMS; k++)
                if (i + (size_t)k < n) {
                    cel_vf d = cel_load(p + (i + (size_t)k) * CEL_VL);
                    s1[k] += d;
                    s2[k] += d * (cel_load(q + (i + (size_t)k) * CEL_VL) - mean);
                }
            *sum_dy += cel_lane_sum((s1[0] + s1[1]) + (s1[2] + s1[3]));
            *sum_dy_x += cel_lane_sum((s2[0] + s2[1]) + (s2[2] + s2[3]));
        }
    }
}

static void grad_task(void *ctx, int task, int worker) {
    (void)worker;
    const norm_args *s = ctx;
    const cel_kernel_args *a = s->a;
    const float *dy = a->in[0].data, *x = a->in[1].data, *gamma = optional(&a->in[2]);
    const float *mean = a->in[3].data, *rstd = a->in[4].data;
    float *dx = a->out[0].data, *dgamma = a->out[1].data, *dbeta = a->out[2].data;
    bool sums = s->batch || dgamma || dbeta;
    double count = (double)s->d.n * s->d.h * s->d.w;
    int last = (task + 1) * s->size < s->d.c ? (task + 1) * s->size : s->d.c;
    for (int c = task * s->size; c < last; c++) {
        double sum_dy = 0, sum_dy_x = 0, r = rstd[c], factor = r * (gamma ? gamma[c] : 1);
        if (sums) gradient_sums(s, c, mean[c], &sum_dy, &sum_dy_x);
        if (dgamma) dgamma[c] = (float)(sum_dy_x * r);
        if (dbeta) dbeta[c] = (float)sum_dy;
        if (!dx) continue;
        cel_vf scale = cel_splat((float)factor), slope = {0}, shift = {0}, centre = cel_splat(mean[c]);
        if (s->batch) {
            slope = cel_splat((float)(-factor * r * r * sum_dy_x / count));
            shift = cel_splat((float)(-factor * sum_dy / count));
        }
        for (int g = 0; g < s->d.groups; g++) {
            size_t start = (size_t)g * s->d.group + (size_t)c * s->d.plane;
            cel_vi mask[CEL_PARTS];
            for (int v = 0; v < CEL_PARTS; v++) mask[v] = cel_cpu_lane_mask(s->d.n, g, v * CEL_VL);
            for (size_t i = start; i < start + s->d.plane; i += CEL_LANES)
                for (int v = 0; v < CEL_PARTS; v++) {
                    size_t at = i + (size_t)v * CEL_VL;
                    cel_vf d = cel_load(dy + at) * scale + ((cel_load(x + at) - centre) * slope + shift);
                    cel_store(dx + at, cel_masked(d, mask[v]));
                }
        }
    }
}

void CEL_ISA_FN(cel_cpu_batch_norm_grad)(const cel_kernel_args *a) { run(a, &a->in[0], grad_task); }
