/* One sample case of an operation, built with all its gradients and run on a backend: what the contract tests
 * compare. */
#ifndef CEL_TEST_OP_RUN_H
#define CEL_TEST_OP_RUN_H
#include "engine/exec/exec.h"

enum { OP_RUN_MOST = 64 };

/* The graph of a case: its output y, an input "cotangent" of y's shape, and the gradient of sum(y * cotangent) by each
 * float input and parameter (CEL_NONE where it is zero, or where the operation has none). */
typedef struct op_sample {
    const cel_op_def *def;
    const cel_op_case *op_case;
    cel_graph *g;
    cel_val y, cotangent;
    cel_val wrt[OP_RUN_MOST], grad[OP_RUN_MOST];
    int n_wrt;
    bool differentiable;
} op_sample;

/* A sample on a backend. */
typedef struct op_run {
    const op_sample *sample;
    cel_exec *e;
    int forward, both; /* programs: y alone; y and all gradients */
} op_run;

/* Every case of every operation in turn: true and the built case, false at the end. Start with *op = *which = 0. */
bool op_sample_next(int *op, int *which, op_sample *out);
void op_sample_fini(op_sample *s);

void op_run_init(op_run *r, const op_sample *s, const cel_backend *backend, cel_pool *pool, cel_mode mode);
void op_run_fini(op_run *r);
/* Fills every input, parameter and state: floats of inputs and parameters in random order 0.05 or more apart and 0.025
 * or more from 0, so that no maximum is a near-tie; scalars, and states, positive; integers 0, 1 or 2. The same for the
 * same seed. */
void op_run_fill(op_run *r, uint64_t seed);
/* The states alone: a run in training mode moves them. */
void op_run_fill_states(op_run *r, uint64_t seed);
/* A value in plain order as a new array (cel_free). */
float *op_run_read(op_run *r, cel_val v);
/* |a - b| and |b| as L2 norms of n floats. */
double op_distance(const float *a, const float *b, size_t n);
double op_norm(const float *a, size_t n);
#endif
