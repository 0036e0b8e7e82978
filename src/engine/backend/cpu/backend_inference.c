/* The cpu backend's layout for inference: sizes and packing; see inference_layout.h. */
#include <string.h>

#include "engine/backend/cpu/inference_layout.h"

static size_t filter_inner(const cel_value *v) { return cel_shape_count(v->shape) / (size_t)v->shape.dim[0]; }

static size_t bytes(const cel_value *v) {
    if (v->layout == CEL_FILTER) {
        size_t o = (size_t)cel_cpu_groups(v->shape.dim[0]) * CEL_LANES, inner = filter_inner(v);
        return (inner + (cel_winograd_wants(v->shape) ? 16 * (size_t)v->shape.dim[1] : 0)) * o * sizeof(float);
    }
    if (v->layout == CEL_DENSE || v->shape.rank < 2) return cel_shape_count(v->shape) * sizeof(float);
    return cel_planes_floats(cel_planes_of(v->shape)) * sizeof(float);
}

/* Calls move(plain element, element in memory) for every element of v. */
typedef void move_fn(int32_t *plain, int32_t *data);
static inline __attribute__((always_inline)) void each(const cel_value *v, int32_t *plain, int32_t *data,
                                                       move_fn *move) {
    const int *dim = v->shape.dim;
    if (v->layout == CEL_FILTER) {
        size_t inner = filter_inner(v);
        for (int o = 0; o < dim[0]; o++, plain += inner) {
            int32_t *to = data + (size_t)(o / CEL_LANES) * inner * CEL_LANES + o % CEL_LANES;
            for (size_t i = 0; i < inner; i++) move(plain + i, to + i * CEL_LANES);
        }
        return;
    }
    cel_planes p = cel_planes_of(v->shape);
    for (int n = 0; n < p.n; n++)
        for (int c = 0; c < p.c; c++)
            for (int y = 0; y < p.h; y++, plain += p.w) {
                int32_t *to = data + n * p.image + c / CEL_LANES * p.plane + p.first + y * p.row + c % CEL_LANES;
                for (int x = 0; x < p.w; x++) move(plain + x, to + x * CEL_LANES);
            }
}

static void in(int32_t *plain, int32_t *data) { *data = *plain; }
static void out(int32_t *plain, int32_t *data) { *plain = *data; }

static bool is_plain(const cel_value *v) {
    return v->layout == CEL_DENSE || (v->layout == CEL_BATCH && v->shape.rank < 2);
}

/* G g G^T of every pair of channels. */
static void transform_filter(const cel_value *v, const float *plain, float *data) {
    static const double G[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
    int o_count = v->shape.dim[0], c_count = v->shape.dim[1];
    float *u = data + cel_cpu_groups(o_count) * CEL_LANES * c_count * 9;
    for (int o = 0; o < o_count; o++)
        for (int c = 0; c < c_count; c++, plain += 9)
            for (int p = 0; p < 16; p++) {
                double sum = 0;
                for (int i = 0; i < 3; i++)
                    for (int j = 0; j < 3; j++) sum += G[p / 4][i] * plain[3 * i + j] * G[p % 4][j];
                u[((ptrdiff_t)(o / CEL_LANES * 16 + p) * c_count + c) * CEL_LANES + o % CEL_LANES] = (float)sum;
            }
}

static void pack(const cel_value *v, const void *plain, void *data, cel_pool *pool) {
    (void)pool;
    if (is_plain(v)) {
        memcpy(data, plain, bytes(v));
        return;
    }
    memset(data, 0, bytes(v));
    each(v, (int32_t *)(uintptr_t)plain, data, in);
    if (v->layout == CEL_FILTER && cel_winograd_wants(v->shape)) transform_filter(v, plain, data);
}

static void unpack(const cel_value *v, const void *data, void *plain, cel_pool *pool) {
    (void)pool;
    if (is_plain(v))
        memcpy(plain, data, bytes(v));
    else
        each(v, plain, (int32_t *)(uintptr_t)data, out);
}

static const cel_kernel *kernel(const cel_op_def *def) {
    const cel_cpu_isa *isa = cel_cpu_isa_active();
    return cel_cpu_kernel_find(isa->inference, isa->n_inference, def);
}

const cel_backend cel_backend_cpu_inference = {
    "cpu (inference)", cel_cpu_isa_unavailable, bytes, pack, unpack, kernel, NULL, NULL};
