/* An operation type: one file, one entry in ops.def.
 *
 * The `ref` kernel is the operation's meaning, in plain C over plain C-order tensors, accumulating in double; every
 * backend is judged by it. `grad` adds operations. The sample cases drive the correctness, gradient and speed checks of
 * all backends. */
#ifndef CEL_ENGINE_OP_H
#define CEL_ENGINE_OP_H
#include "base/pool.h"
#include "base/rng.h"
#include "engine/graph/graph.h"
#include "engine/op/stage.h"

typedef enum cel_mode { CEL_MODE_TRAIN, CEL_MODE_EVAL } cel_mode;

/* A value's memory as a kernel sees it. */
typedef struct cel_tensor {
    void *data; /* NULL: an output nobody needs, or an optional input that is not there */
    cel_shape shape;
    cel_dtype dtype;
    cel_layout layout;
    bool active; /* false: made under a gate that is off; its data must not be read */
    bool wanted; /* of an output: false where nobody reads it after the kernel, which then may leave anything in it */
} cel_tensor;

typedef struct cel_kernel_args {
    const cel_op *op;
    const cel_tensor *in;
    cel_tensor *out; /* kernels may write only data */
    int n_in, n_out;
    const uint8_t *gates; /* one byte a gate, 1 = on; never NULL when the graph has gates */
    cel_mode mode;
    uint64_t seed, step; /* dropout: cel_rng_at(seed, op->scope, step, ...) */
    cel_pool *pool;
    void *work;             /* work_bytes of scratch, 64-byte aligned, undefined content */
    cel_stage_clock *clock; /* by worker; NULL: nobody wants to know the stages */
} cel_kernel_args;

typedef void cel_kernel_fn(const cel_kernel_args *a);

/* One sample for tests and benchmarks: builds the op on inputs it declares itself. The harness fills inputs at random,
 * runs ref and backends, and compares outputs and (from random upstream gradients) all gradients. */
typedef struct cel_op_case {
    const char *name;
    cel_val (*build)(cel_graph *g); /* returns the output to look at; CEL_NONE ends the list */
} cel_op_case;

typedef struct cel_op_def {
    const char *name;
    int n_out;
    /* Checks the inputs and sets shape/dtype/layout of out[0..n_outputs-1] (name, role, op are set by the graph).
     * *n_out starts as def->n_out; an operation with a variable number of outputs changes it (at most 64). */
    cel_status (*infer)(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out);
    /* dout[i] CEL_NONE: no gradient flows in there. For each input i with need[i]: set din[i] to the value with its
     * gradient (CEL_NONE if zero). NULL: not differentiable. */
    cel_status (*grad)(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din);
    cel_kernel_fn *ref;
    size_t (*ref_work_bytes)(const cel_graph *g, const cel_op *op);               /* NULL: none */
    double (*flops)(const cel_graph *g, const cel_op *op, const uint8_t *active); /* NULL: counts as none */
    bool gated_inputs; /* leaves inactive inputs out; other operations may read a gated TEMP only under the same gate */
    bool in_place;     /* out[0] may share memory with in[0] if their shapes agree and nobody reads in[0] later */
    bool all_outputs;  /* outputs that nobody needs get memory too: they are the kernel's store between its phases */
    bool inference;    /* made by cel_inference only: a backend that trains needs no kernel for it */
    const cel_op_case *cases;
} cel_op_def;

#define CEL_OP(name) extern const cel_op_def cel_op_##name;
#include "engine/op/ops.def"
#undef CEL_OP
/* All registered operations, NULL at the end. */
extern const cel_op_def *const cel_ops[];
#endif
