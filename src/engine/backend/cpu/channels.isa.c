/* Operations that only move data: concat, slice, crop, channel shuffle. Whole channel planes are copied. */
#include "engine/backend/cpu/kernels.h"
#include "engine/op/attr.h"

typedef struct {
    const cel_kernel_args *a;
    cel_cpu_dims from, to; /* of input 0 and output 0 */
    cel_blocks blocks;     /* of the output */
    int shift, groups;
} move_args;

static void copy(float *to, const float *from, size_t floats) { memcpy(to, from, floats * sizeof *to); }
static void clear(float *to, size_t floats) { memset(to, 0, floats * sizeof *to); }

static void run(const cel_kernel_args *a, int shift, int groups, cel_task_fn *task) {
    if (!a->out[0].data) return;
    move_args m = {a, cel_cpu_dims_of(a->in[0].shape), cel_cpu_dims_of(a->out[0].shape), {0}, shift, groups};
    m.blocks = cel_blocks_of(m.to.groups, m.to.c, m.to.plane);
    cel_pool_run(a->pool, m.blocks.tasks, task, &m);
}

static float *to_plane(const move_args *m, int g, int c) {
    return (float *)m->a->out[0].data + (size_t)g * m->to.group + (size_t)c * m->to.plane;
}
static const float *from_plane(const move_args *m, int g, int c) {
    return (const float *)m->a->in[0].data + (size_t)g * m->from.group + (size_t)c * m->from.plane;
}

static void concat_task(void *ctx, int task, int worker) {
    (void)worker;
    const move_args *m = ctx;
    cel_block b = cel_block_of(&m->blocks, task);
    int start = 0; /* first channel of input i in the output */
    for (int i = 0; i < m->a->n_in && start < b.last; i++) {
        const cel_tensor *x = &m->a->in[i];
        int c = x->shape.dim[1], first = b.first > start ? b.first : start,
            last = b.last < start + c ? b.last : start + c;
        if (first < last)
            copy(to_plane(m, b.g, first),
                 (const float *)x->data + ((size_t)b.g * (size_t)c + (size_t)(first - start)) * m->to.plane,
                 (size_t)(last - first) * m->to.plane);
        start += c;
    }
}

void CEL_ISA_FN(cel_cpu_concat)(const cel_kernel_args *a) { run(a, 0, 0, concat_task); }

static void slice_task(void *ctx, int task, int worker) {
    (void)worker;
    const move_args *m = ctx;
    cel_block b = cel_block_of(&m->blocks, task);
    copy(to_plane(m, b.g, b.first), from_plane(m, b.g, m->shift + b.first), (size_t)(b.last - b.first) * m->to.plane);
}

void CEL_ISA_FN(cel_cpu_slice)(const cel_kernel_args *a) {
    const cel_slice_attr *attr = a->op->attr;
    run(a, attr->first, 0, slice_task);
}

static void slice_grad_task(void *ctx, int task, int worker) {
    (void)worker;
    const move_args *m = ctx;
    cel_block b = cel_block_of(&m->blocks, task);
    for (int c = b.first; c < b.last; c++) {
        int from = c - m->shift;
        if (from >= 0 && from < m->from.c)
            copy(to_plane(m, b.g, c), from_plane(m, b.g, from), m->to.plane);
        else
            clear(to_plane(m, b.g, c), m->to.plane);
    }
}

void CEL_ISA_FN(cel_cpu_slice_grad)(const cel_kernel_args *a) {
    const cel_slice_grad_attr *attr = a->op->attr;
    run(a, attr->first, 0, slice_grad_task);
}

static void shuffle_task(void *ctx, int task, int worker) {
    (void)worker;
    const move_args *m = ctx;
    cel_block b = cel_block_of(&m->blocks, task);
    int size = m->to.c / m->groups; /* channels of a shuffle group */
    for (int c = b.first; c < b.last; c++)
        copy(to_plane(m, b.g, c), from_plane(m, b.g, c % m->groups * size + c / m->groups), m->to.plane);
}

void CEL_ISA_FN(cel_cpu_channel_shuffle)(const cel_kernel_args *a) {
    const cel_shuffle_attr *attr = a->op->attr;
    run(a, 0, attr->groups, shuffle_task);
}

static void crop_task(void *ctx, int task, int worker) {
    (void)worker;
    const move_args *m = ctx;
    const cel_crop_attr *attr = m->a->op->attr;
    cel_block b = cel_block_of(&m->blocks, task);
    size_t row = (size_t)m->to.w * CEL_LANES;
    for (int c = b.first; c < b.last; c++)
        for (int y = 0; y < m->to.h; y++)
            copy(to_plane(m, b.g, c) + (size_t)y * row,
                 from_plane(m, b.g, c) + ((size_t)(y + attr->top) * (size_t)m->from.w + (size_t)attr->left) * CEL_LANES,
                 row);
}

void CEL_ISA_FN(cel_cpu_crop)(const cel_kernel_args *a) { run(a, 0, 0, crop_task); }

static void crop_grad_task(void *ctx, int task, int worker) {
    (void)worker;
    const move_args *m = ctx;
    const cel_crop_attr *attr = m->a->op->attr;
    cel_block b = cel_block_of(&m->blocks, task);
    size_t row = (size_t)m->from.w * CEL_LANES, left = (size_t)attr->left * CEL_LANES;
    for (int c = b.first; c < b.last; c++) {
        float *to = to_plane(m, b.g, c);
        const float *from = from_plane(m, b.g, c);
        clear(to, (size_t)attr->top * (left + row));
        to += (size_t)attr->top * (left + row);
        for (int y = 0; y < m->from.h; y++, to += left + row) {
            clear(to, left);
            copy(to + left, from + (size_t)y * row, row);
        }
    }
}

void CEL_ISA_FN(cel_cpu_crop_grad)(const cel_kernel_args *a) { run(a, 0, 0, crop_grad_task); }
