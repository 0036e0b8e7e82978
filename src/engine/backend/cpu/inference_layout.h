/* The cpu backend's layout for inference: vectorised along the channels, so that one image fills the vectors.
 *
 * A BATCH value [n,c,h,w] lies in memory as [n][ceil(c/16)][h+2][w+2][16]: blocks of 16 channels, the lane of a channel
 * innermost, around each plane a border of one pixel of zeros, which is what 3x3 kernels read. Who makes a value writes
 * its border too. [n,c] lies as [n][ceil(c/16)][16]. Lanes beyond c are zero. A FILTER [o,c,kh,kw] lies as
 * [ceil(o/16)][c][kh][kw][16], lanes beyond o zero. DENSE values are plain C order.
 *
 * A convolution multiplies a vector of 16 output channels' weights by one number of the input. Each output is added up in
 * one order by one task, so that neither threads nor the cut into tasks change a byte. */
#ifndef CEL_ENGINE_INFERENCE_LAYOUT_H
#define CEL_ENGINE_INFERENCE_LAYOUT_H
#include "engine/backend/cpu/kernels.h"

#define CEL_INLINE static inline __attribute__((always_inline))
#define CEL_UNROLL _Pragma("GCC unroll 32")

/* Offsets in floats; `first`: pixel (0, 0) of a plane. */
typedef struct cel_planes {
    int n, c, h, w, blocks;
    ptrdiff_t row, plane, image, first;
} cel_planes;
static inline cel_planes cel_planes_of(cel_shape s) {
    cel_planes p = {.n = s.dim[0], .c = s.dim[1], .h = 1, .w = 1, .row = CEL_LANES, .plane = CEL_LANES};
    if (s.rank == 4) {
        p.h = s.dim[2];
        p.w = s.dim[3];
        p.row = (ptrdiff_t)(p.w + 2) * CEL_LANES;
        p.plane = (p.h + 2) * p.row;
        p.first = p.row + CEL_LANES;
    }
    p.blocks = (p.c + CEL_LANES - 1) / CEL_LANES;
    p.image = p.blocks * p.plane;
    return p;
}
static inline size_t cel_planes_floats(cel_planes p) { return (size_t)p.n * (size_t)p.image; }

/* Zeros left and right of rows first .. last-1 of a plane, above it if first is 0, below it if last is its height. */
static inline void cel_clear_border(const cel_planes *p, float *plane, int first, int last) {
    if (!p->first) return;
    if (first == 0) memset(plane, 0, (size_t)p->row * sizeof *plane);
    for (int r = first; r < last; r++) {
        float *row = plane + (r + 1) * p->row;
        memset(row, 0, CEL_LANES * sizeof *row);
        memset(row + p->row - CEL_LANES, 0, CEL_LANES * sizeof *row);
    }
    if (last == p->h) memset(plane + (p->h + 1) * p->row, 0, (size_t)p->row * sizeof *plane);
}

/* Planes of `rows` rows cut into n strips, so that each thread has a task: it finds in its cache most of what it made
 * before. `work`, vector operations of all planes: what takes two microseconds is not worth sharing. */
enum { CEL_STRIP_WORK = 16384 };
typedef struct cel_strips {
    int all, rows, n;
    cel_pool *pool; /* who runs them; NULL: the calling thread */
} cel_strips;
static inline cel_strips cel_strips_of(int rows, int planes, size_t work, cel_pool *pool) {
    size_t threads = (size_t)cel_pool_threads(pool), most = work / CEL_STRIP_WORK;
    if (threads > most) threads = most;
    if (threads < 2) return (cel_strips){rows, rows, 1, NULL};
    int n = ((int)threads + planes - 1) / planes;
    cel_strips s = {.all = rows, .rows = (rows + n - 1) / n, .pool = pool};
    s.n = (rows + s.rows - 1) / s.rows;
    return s;
}
static inline int cel_strip_end(const cel_strips *s, int first) {
    return first + s->rows < s->all ? first + s->rows : s->all;
}

/* Filters of 3x3 are followed by their form for inference_winograd.isa.c, [ceil(o/16)][16][c][16], where that pays: 16 channels
 * or more on both sides. */
static inline bool cel_winograd_wants(cel_shape w) {
    return w.dim[2] == 3 && w.dim[3] == 3 && w.dim[0] >= CEL_LANES && w.dim[1] >= CEL_LANES;
}
static inline const float *cel_winograd_filter(const float *w, int blocks, int c) {
    return w + (ptrdiff_t)blocks * c * 9 * CEL_LANES;
}

#define CEL_INFERENCE_KERNEL(op) cel_kernel_fn CEL_ISA_FN(cel_inference_##op);
#define CEL_INFERENCE_KERNEL_WORK(op)                                                                                  \
    cel_kernel_fn CEL_ISA_FN(cel_inference_##op);                                                                      \
    size_t CEL_ISA_FN(cel_inference_##op##_work)(const cel_graph *g, const cel_op *op, int n_threads);
#if defined(CEL_ISA)
#include "engine/backend/cpu/inference.def"
cel_kernel_fn CEL_ISA_FN(cel_inference_winograd);
size_t CEL_ISA_FN(cel_inference_winograd_work)(cel_shape x, cel_shape y, int n_threads);
#endif
#undef CEL_INFERENCE_KERNEL
#undef CEL_INFERENCE_KERNEL_WORK
#endif
