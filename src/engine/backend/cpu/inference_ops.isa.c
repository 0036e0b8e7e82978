/* The other operations over lanes of channels: pooling, sums, ReLU, batch norm in evaluation, the linear layer.
 *
 * A task is a strip of rows of a plane. */
#include "engine/backend/cpu/inference_layout.h"
#include "engine/op/attr.h"

typedef struct {
    const cel_kernel_args *a;
    cel_planes x, y;
    cel_strips strips; /* of y */
} image_args;

typedef void row_fn(const image_args *s, int plane, int row);

typedef struct {
    image_args s;
    row_fn *fn;
} rows_args;

static void rows_task(void *ctx, int task, int worker) {
    (void)worker;
    const rows_args *r = ctx;
    const image_args *s = &r->s;
    int plane = task / s->strips.n, row = task % s->strips.n * s->strips.rows, last = cel_strip_end(&s->strips, row);
    cel_clear_border(&s->y, (float *)s->a->out[0].data + plane * s->y.plane, row, last);
    for (; row < last; row++) r->fn(s, plane, row);
}

static void run(const cel_kernel_args *a, row_fn *fn) {
    rows_args r = {{a, cel_planes_of(a->in[0].shape), cel_planes_of(a->out[0].shape), {0}}, fn};
    int planes = r.s.y.n * r.s.y.blocks;
    r.s.strips = cel_strips_of(r.s.y.h, planes, cel_planes_floats(r.s.y) / CEL_VL, a->pool);
    cel_pool_run(r.s.strips.pool, planes * r.s.strips.n, rows_task, &r);
}

static ptrdiff_t row_at(const cel_planes *p, int plane, int row) { return plane * p->plane + p->first + row * p->row; }

/* ---- elementwise ---- */

static void relu_row(const image_args *s, int plane, int row) {
    ptrdiff_t at = row_at(&s->y, plane, row);
    const float *x = (const float *)s->a->in[0].data + at;
    float *y = (float *)s->a->out[0].data + at;
    for (int i = 0; i < s->y.w * CEL_LANES; i += CEL_VL) cel_store(y + i, cel_relu_v(cel_load(x + i)));
}
void CEL_ISA_FN(cel_inference_relu)(const cel_kernel_args *a) { run(a, relu_row); }

static void scale_row(const image_args *s, int plane, int row) {
    ptrdiff_t at = row_at(&s->y, plane, row);
    float factor = ((const cel_scale_attr *)s->a->op->attr)->factor;
    const float *x = (const float *)s->a->in[0].data + at;
    float *y = (float *)s->a->out[0].data + at;
    for (int i = 0; i < s->y.w * CEL_LANES; i += CEL_VL) cel_store(y + i, cel_load(x + i) * factor);
}
void CEL_ISA_FN(cel_inference_scale)(const cel_kernel_args *a) { run(a, scale_row); }

static void add_row(const image_args *s, int plane, int row) {
    ptrdiff_t at = row_at(&s->y, plane, row);
    float *y = (float *)s->a->out[0].data + at;
    for (int i = 0; i < s->y.w * CEL_LANES; i += CEL_VL) {
        cel_vf sum = {0};
        for (int k = 0; k < s->a->n_in; k++)
            if (s->a->in[k].active) sum += cel_load((const float *)s->a->in[k].data + at + i);
        cel_store(y + i, sum);
    }
}
void CEL_ISA_FN(cel_inference_add)(const cel_kernel_args *a) { run(a, add_row); }

/* Scale and shift of 16 channels, zero beyond the last; as the reference forms them. */
static void norm_row(const image_args *s, int plane, int row) {
    enum { X, GAMMA, BETA, MEAN, VAR };
    const cel_tensor *in = s->a->in;
    const float *gamma = in[GAMMA].data, *beta = in[BETA].data, *mean = in[MEAN].data, *var = in[VAR].data;
    float eps = ((const cel_batch_norm_attr *)s->a->op->attr)->eps;
    _Alignas(64) float scale[CEL_LANES] = {0}, shift[CEL_LANES] = {0};
    int first = plane % s->y.blocks * CEL_LANES;
    for (int i = 0; i < CEL_LANES && first + i < s->y.c; i++) {
        int c = first + i;
        double rstd = 1 / sqrt((double)var[c] + eps), factor = gamma ? gamma[c] * rstd : rstd;
        scale[i] = (float)factor;
        shift[i] = (float)((beta ? beta[c] : 0) - factor * mean[c]);
    }
    ptrdiff_t at = row_at(&s->y, plane, row);
    const float *x = (const float *)in[X].data + at;
    float *y = (float *)s->a->out[0].data + at;
    for (int i = 0; i < s->y.w * CEL_LANES; i += CEL_VL)
        cel_store(y + i, cel_load(x + i) * cel_load(scale + i % CEL_LANES) + cel_load(shift + i % CEL_LANES));
}
/* In evaluation with running statistics: cel_inference_create lets nothing else through. */
void CEL_ISA_FN(cel_inference_batch_norm)(const cel_kernel_args *a) {
    if (a->out[0].data) run(a, norm_row);
}

/* ---- moves ---- */

static void concat_row(const image_args *s, int plane, int row) {
    int n = plane / s->y.blocks, first = plane % s->y.blocks * CEL_LANES, k = 0,
        start = 0; /* input k begins at channel start */
    float *y = (float *)s->a->out[0].data + row_at(&s->y, plane, row);
    for (int lane = 0; lane < CEL_LANES;) {
        int c = first + lane, count = CEL_LANES - lane;
        if (c < s->y.c) {
            while (c >= start + s->a->in[k].shape.dim[1]) start += s->a->in[k++].shape.dim[1];
            cel_planes x = cel_planes_of(s->a->in[k].shape);
            int at = c - start, left = x.c - at; /* lanes that follow each other on both sides */
            if (count > left) count = left;
            if (count > CEL_LANES - at % CEL_LANES) count = CEL_LANES - at % CEL_LANES;
            const float *from =
                (const float *)s->a->in[k].data + row_at(&x, n * x.blocks + at / CEL_LANES, row) + at % CEL_LANES;
            if (count == CEL_LANES)
                memcpy(y, from, (size_t)x.w * CEL_LANES * sizeof *y);
            else
                for (int i = 0; i < x.w; i++)
                    for (int l = 0; l < count; l++) y[i * CEL_LANES + lane + l] = from[i * CEL_LANES + l];
        } else {
            for (int i = 0; i < s->y.w; i++) memset(y + i * CEL_LANES + lane, 0, (size_t)count * sizeof *y);
        }
        lane += count;
    }
}
void CEL_ISA_FN(cel_inference_concat)(const cel_kernel_args *a) { run(a, concat_row); }

static void crop_row(const image_args *s, int plane, int row) {
    const cel_crop_attr *crop = s->a->op->attr;
    memcpy((float *)s->a->out[0].data + row_at(&s->y, plane, row),
           (const float *)s->a->in[0].data + row_at(&s->x, plane, row + crop->top) + crop->left * CEL_LANES,
           (size_t)s->y.w * CEL_LANES * sizeof(float));
}
void CEL_ISA_FN(cel_inference_crop)(const cel_kernel_args *a) { run(a, crop_row); }

/* ---- pooling ---- */

/* Part of output o's window that lies inside `size` pixels. */
typedef struct {
    int first, last;
} range;
static range window(int o, const cel_pool2d_attr *p, int size) {
    int first = o * p->stride - p->pad, last = first + p->kernel;
    return (range){first < 0 ? 0 : first, last > size ? size : last};
}

static void avg_row(const image_args *s, int plane, int row) {
    const cel_pool2d_attr *p = s->a->op->attr;
    range v = window(row, p, s->x.h);
    const float *x = (const float *)s->a->in[0].data + row_at(&s->x, plane, 0);
    float *y = (float *)s->a->out[0].data + row_at(&s->y, plane, row);
    for (int col = 0; col < s->y.w; col++, y += CEL_LANES) {
        range u = window(col, p, s->x.w);
        float share = 1 / (float)((v.last - v.first) * (u.last - u.first));
        for (int lane = 0; lane < CEL_LANES; lane += CEL_VL) {
            cel_vf sum = {0};
            for (int r = v.first; r < v.last; r++)
                for (int q = u.first; q < u.last; q++) sum += cel_load(x + r * s->x.row + q * CEL_LANES + lane);
            cel_store(y + lane, sum * share);
        }
    }
}

/* 3x3 at stride 1: the border's zeros change no sum, and sums of columns are used three times. */
static void avg3_row(const image_args *s, int plane, int row) {
    const cel_pool2d_attr *p = s->a->op->attr;
    range v = window(row, p, s->x.h);
    const float *x = (const float *)s->a->in[0].data + row_at(&s->x, plane, row - 1);
    float *y = (float *)s->a->out[0].data + row_at(&s->y, plane, row);
    float inside = 1 / (float)(3 * (v.last - v.first));
    for (int lane = 0; lane < CEL_LANES; lane += CEL_VL) {
        const float *c = x + lane;
        cel_vf before = {0}, here = cel_load(c) + cel_load(c + s->x.row) + cel_load(c + 2 * s->x.row);
        for (int col = 0; col < s->y.w; col++) {
            c += CEL_LANES;
            cel_vf after = cel_load(c) + cel_load(c + s->x.row) + cel_load(c + 2 * s->x.row);
            range u = window(col, p, s->x.w);
            int width = u.last - u.first;
            float share = width == 3 ? inside : 1 / (float)((v.last - v.first) * width);
            cel_store(y + (ptrdiff_t)col * CEL_LANES + lane, (before + here + after) * share);
            before = here;
            here = after;
        }
    }
}

void CEL_ISA_FN(cel_inference_avg_pool)(const cel_kernel_args *a) {
    const cel_pool2d_attr *p = a->op->attr;
    run(a, p->kernel == 3 && p->stride == 1 && p->pad == 1 ? avg3_row : avg_row);
}

static void max_row(const image_args *s, int plane, int row) {
    const cel_pool2d_attr *p = s->a->op->attr;
    range v = window(row, p, s->x.h);
    const float *x = (const float *)s->a->in[0].data + row_at(&s->x, plane, 0);
    float *y = (float *)s->a->out[0].data + row_at(&s->y, plane, row);
    for (int col = 0; col < s->y.w; col++, y += CEL_LANES) {
        range u = window(col, p, s->x.w);
        for (int lane = 0; lane < CEL_LANES; lane += CEL_VL) {
            cel_vf best = cel_splat(-INFINITY);
            for (int r = v.first; r < v.last; r++)
                for (int q = u.first; q < u.last; q++)
                    best = cel_max_v(cel_load(x + r * s->x.row + q * CEL_LANES + lane), best);
            cel_store(y + lane, best);
        }
    }
}
void CEL_ISA_FN(cel_inference_max_pool)(const cel_kernel_args *a) { run(a, max_row); }

static void global_row(const image_args *s, int plane, int row) {
    const float *x = (const float *)s->a->in[0].data;
    float *y = (float *)s->a->out[0].data + row_at(&s->y, plane, row), share = 1 / (float)(s->x.h * s->x.w);
    for (int lane = 0; lane < CEL_LANES; lane += CEL_VL) {
        cel_vf all = {0};
        for (int r = 0; r < s->x.h; r++) {
            cel_vf sum = {0};
            const float *at = x + row_at(&s->x, plane, r) + lane;
            for (int col = 0; col < s->x.w; col++) sum += cel_load(at + (ptrdiff_t)col * CEL_LANES);
            all += sum;
        }
        cel_store(y + lane, all * share);
    }
}
void CEL_ISA_FN(cel_inference_global_pool)(const cel_kernel_args *a) { run(a, global_row); }

/* ---- linear: a row of weights by the vectors of an image ---- */

void CEL_ISA_FN(cel_inference_linear)(const cel_kernel_args *a) {
    cel_planes x = cel_planes_of(a->in[0].shape), y = cel_planes_of(a->out[0].shape);
    const float *w = a->in[1].data, *bias = a->n_in > 2 ? a->in[2].data : NULL;
    for (int n = 0; n < x.n; n++) {
        const float *in = (const float *)a->in[0].data + n * x.image;
        float *out = (float *)a->out[0].data + n * y.image;
        memset(out, 0, (size_t)y.image * sizeof *out);
        for (int o = 0; o < y.c; o++) {
            const float *row = w + (ptrdiff_t)o * x.c;
            _Alignas(64) float lane[CEL_LANES] = {0};
            int i = 0;
            for (; i + CEL_LANES <= x.c; i += CEL_LANES)
                for (int l = 0; l < CEL_LANES; l++) lane[l] += row[i + l] * in[i + l];
            for (int l = 0; i + l < x.c; l++) lane[l] += row[i + l] * in[i + l];
            double sum = bias ? bias[o] : 0;
            for (int l = 0; l < CEL_LANES; l++) sum += lane[l];
            out[o] = (float)sum;
        }
    }
}
