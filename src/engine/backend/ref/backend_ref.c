/* The reference backend: plain C order, each operation's own `ref` kernel, one thread. It judges the others. */
#include <string.h>

#include "engine/backend/backend.h"
#include "engine/op/mixed_cell.h"

static const char *unavailable(void) { return NULL; }

static size_t bytes(const cel_value *v) { return cel_shape_count(v->shape) * 4; /* CEL_F32 and CEL_I32 alike */ }

static void pack(const cel_value *v, const void *plain, void *data, cel_pool *pool) {
    (void)pool;
    memcpy(data, plain, bytes(v));
}

static void unpack(const cel_value *v, const void *data, void *plain, cel_pool *pool) {
    (void)pool;
    memcpy(plain, data, bytes(v));
}

static void run(const cel_kernel_args *a) { a->op->def->ref(a); }

static size_t work_bytes(const cel_graph *g, const cel_op *op, int n_threads) {
    (void)n_threads;
    return op->def->ref_work_bytes ? op->def->ref_work_bytes(g, op) : 0;
}

static const cel_kernel *kernel(const cel_op_def *def) {
    static const cel_kernel any = {.run = run, .work_bytes = work_bytes};
    return def->ref ? &any : NULL;
}

static const char *refuses(const cel_graph *g, const cel_op *op) {
    (void)g;
    return cel_mixed_cell_is_bf16(op) ? "it computes in single precision: search.precision fp32" : NULL;
}

const cel_backend cel_backend_ref = {"ref", unavailable, bytes, pack, unpack, kernel, NULL, refuses};
