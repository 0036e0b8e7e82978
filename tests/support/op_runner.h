/* Runs the operations of a sealed graph one by one on a backend, without an executor: every value keeps memory of its
 * own, so that a test sees it raw and a benchmark can time one operation. */
#ifndef OP_RUNNER_H
#define OP_RUNNER_H
#include "engine/backend/backend.h"

typedef struct op_runner {
    const cel_graph *g;
    const cel_backend *backend;
    cel_pool *pool;
    void **data;    /* by value, 64-byte aligned */
    size_t *bytes;  /* by value, in the backend's layout */
    uint8_t *gates; /* by gate, all on at first */
    void *work;
    size_t work_bytes;
    cel_tensor *tensor; /* inputs and outputs of one operation */
    int tensor_room;
    cel_mode mode;
    bool first_only; /* of an operation's outputs only the first is wanted, as in a program without gradients */
} op_runner;

/* CEL_UNSUPPORTED, naming the operation, when the backend lacks a kernel. Borrows all it is given. */
cel_status op_runner_create(const cel_graph *g, const cel_backend *backend, cel_pool *pool, op_runner **out);
void op_runner_destroy(op_runner *r);
/* Fills inputs, parameters and states with normal numbers (|x| + 0.5 for states that start as one; 0..classes-1 for
 * I32), the same for every backend, and the memory of all other values with NaN. */
cel_status op_runner_fill(op_runner *r, uint64_t seed, int classes);
void op_runner_run_op(op_runner *r, int op);
void op_runner_run(op_runner *r);
bool op_runner_active(const op_runner *r, cel_val v);
#endif
