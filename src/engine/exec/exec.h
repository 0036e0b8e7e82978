/* An executor: a sealed graph on a backend, its memory, and programs to run.
 *
 * A program is the part of the graph that some targets need, in order. All programs of an executor share inputs,
 * parameters, states and the gradient block; their temporaries are laid out by lifetime in one common block, as large
 * as the largest program needs. Running allocates nothing.
 *
 * Parameters lie in one contiguous block in order of declaration, each start rounded up to 16 floats; gradients
 * in a second block of the same layout (there only if some program has a parameter's gradient among its targets);
 * states in a third. Only a target lies in the gradient block: a gradient that is a step on the way to another one is a
 * temporary. A program zeroes the gradients it does not write because of a gate.
 *
 * With CELLAR_POISON=1 in the environment of cel_exec_prepare every run fills with NaN what must not be read:
 * temporaries before they are written and after their last use, scratch, gradients before they are written. */
#ifndef CEL_ENGINE_EXEC_H
#define CEL_ENGINE_EXEC_H
#include "engine/backend/backend.h"

typedef struct cel_exec cel_exec;

/* A parameter or state: where it lies in its block (floats). */
typedef struct cel_slot {
    cel_val value;
    const char *name;
    cel_shape shape;
    size_t offset, count;
    int gate;
} cel_slot;

/* graph and pool are borrowed and must outlive the executor. */
cel_status cel_exec_create(const cel_graph *g, const cel_backend *backend, cel_pool *pool, cel_exec **out);
/* One more executor of the same graph on the same backend that reads and writes the parameters and states of `owner`, which
 * must be prepared before it and outlive it. Programs, inputs and temporaries are its own. */
cel_status cel_exec_create_view(const cel_exec *owner, cel_pool *pool, cel_exec **out);
void cel_exec_destroy(cel_exec *e);
const cel_graph *cel_exec_graph(const cel_exec *e);
/* Adds a program that computes `targets` (CEL_NONE entries are ignored; targets stay readable until the next run).
 * Its number comes out by *program. Fails with CEL_UNSUPPORTED when the backend lacks a kernel, naming the operation. */
cel_status cel_exec_add_program(cel_exec *e, cel_mode mode, const cel_val *targets, int n, int *program);
/* Allocates what the programs were planned to need; then they can run and values be read and written. Parameters and states start as declared,
 * from `seed`. */
cel_status cel_exec_prepare(cel_exec *e, uint64_t seed);
/* For many executors one after another, each of which would fill fresh memory and draw the same first values: temporaries and scratch
 * lie in `memory` instead, which is made larger where it must and stays the lender's (cel_block_free), and `start`, if there is one,
 * gives the first values of parameter slots[i] instead of cel_exec_start. Before prepare. */
typedef struct cel_exec_lender {
    void *memory;
    size_t bytes;
    cel_status (*start)(void *ctx, const cel_exec *e, int slot, uint64_t seed, float *values);
    void *ctx;
} cel_exec_lender;
void cel_exec_lend(cel_exec *e, cel_exec_lender *lender);
/* The first values of parameter slots[slot], as declared. */
cel_status cel_exec_start(const cel_exec *e, int slot, uint64_t seed, float *values);
/* What prepare would allocate: readable after the programs are added, before and after prepare. */
typedef struct cel_exec_memory {
    size_t param_bytes, grad_bytes, state_bytes, input_bytes, temp_bytes, work_bytes;
} cel_exec_memory;
cel_status cel_exec_plan(cel_exec *e, cel_exec_memory *out);

/* From and to plain C order. Inputs, parameters and states can be written; those and the last run's targets read (a
 * target under a gate that is off reads as zeros). */
void cel_exec_write(cel_exec *e, cel_val v, const void *plain);
void cel_exec_read(cel_exec *e, cel_val v, void *plain);
float cel_exec_scalar(cel_exec *e, cel_val v);
/* One byte a gate; all gates are on at first. n: at most the graph's gates; the others stay. */
void cel_exec_set_gates(cel_exec *e, const uint8_t *active, int n);
/* Where random layers are in their stream. */
void cel_exec_set_step(cel_exec *e, uint64_t seed, uint64_t step);
void cel_exec_run(cel_exec *e, int program);

/* What lies where in a program's temporaries, for tests: buffer i takes bytes at offset from operation `first` to
 * `last` of the program (the number of operations for targets). */
typedef struct cel_exec_buffer {
    size_t offset, bytes;
    int first, last;
} cel_exec_buffer;
const cel_exec_buffer *cel_exec_buffers(const cel_exec *e, int program, int *n);

float *cel_exec_params(cel_exec *e, size_t *n);
float *cel_exec_grads(cel_exec *e, size_t *n);
float *cel_exec_states(cel_exec *e, size_t *n);
const cel_slot *cel_exec_param_slots(const cel_exec *e, int *n);
const cel_slot *cel_exec_state_slots(const cel_exec *e, int *n);

/* Time, bytes and FLOPs by operation since it was last switched on (costs two clock reads an operation and one a stage of a
 * kernel that has stages); a row for each operation of any program, with 0 calls for those that did not run. Bytes are
 * those of its inputs and outputs. Of a kernel with stages the FLOPs are what its stages did. */
typedef struct cel_profile_row {
    const cel_op *op;
    uint64_t calls;
    double seconds, flops, bytes;
    cel_stage_time stage[CEL_STAGE_COUNT]; /* seconds of all threads together */
} cel_profile_row;
void cel_exec_profile(cel_exec *e, bool on);
const cel_profile_row *cel_exec_profile_rows(const cel_exec *e, int *n);
#endif
