/* A device: memory, layouts, kernels. `ref` is always built and judges the others. Register in backends.def. */
#ifndef CEL_ENGINE_BACKEND_H
#define CEL_ENGINE_BACKEND_H
#include "engine/op/op.h"

/* A kernel of a backend for one operation type. */
typedef struct cel_kernel {
    const cel_op_def *def;
    cel_kernel_fn *run;
    size_t (*work_bytes)(const cel_graph *g, const cel_op *op, int n_threads); /* NULL: none */
} cel_kernel;

typedef struct cel_backend {
    const char *name;
    /* NULL or the reason why this machine cannot run it. */
    const char *(*unavailable)(void);
    /* Bytes a value takes (before rounding up to 64). */
    size_t (*bytes)(const cel_value *v);
    /* Between a plain C-order array and the backend's layout of a value. */
    void (*pack)(const cel_value *v, const void *plain, void *data, cel_pool *pool);
    void (*unpack)(const cel_value *v, const void *data, void *plain, cel_pool *pool);
    /* The kernel of an operation type, NULL if there is none: an executor then refuses the graph, naming the
     * operation. */
    const cel_kernel *(*kernel)(const cel_op_def *def);
    /* The layouts and kernels that suit inference on this device, forward operations only; NULL: its own. */
    const struct cel_backend *inference;
    /* NULL, or why this operation of a graph cannot run here although there is a kernel. Optional. */
    const char *(*refuses)(const cel_graph *g, const cel_op *op);
} cel_backend;

#define CEL_BACKEND(name) extern const cel_backend cel_backend_##name;
#include "engine/backend/backends.def"
#undef CEL_BACKEND
extern const cel_backend *const cel_backends[];        /* NULL at the end */
const cel_backend *cel_backend_find(const char *name); /* may be NULL */
#endif
