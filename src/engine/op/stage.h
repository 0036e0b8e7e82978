/* Where the time of a kernel goes that does many things in one: between the stages of a task, its worker tells the clock
 * what it has just done. */
#ifndef CEL_ENGINE_STAGE_H
#define CEL_ENGINE_STAGE_H
#include "base/file.h"

/* Name, text, and whether its operands were made just before, in the caches of the core. */
#define CEL_STAGES(X)                                                                                                  \
    X(NODE_SUM, "sum of a node's terms", false)                                                                        \
    X(PAD, "ReLU and padding", false)                                                                                  \
    X(CONV3, "convolution 3x3", true)                                                                                  \
    X(STATISTICS, "batch norm statistics", true)                                                                       \
    X(GRAD_SUMS, "sums of batch norm and edge weights", false)                                                         \
    X(GRAD_CONV, "gradient of a convolution's output", false)                                                          \
    X(DATA3, "data gradient 3x3", true)                                                                                \
    X(WEIGHT3, "weight gradient 3x3", true)                                                                            \
    X(NODE_GRAD, "sum of a node's gradient", false)

typedef enum cel_stage {
#define X(name, text, near) CEL_STAGE_##name,
    CEL_STAGES(X)
#undef X
        CEL_STAGE_COUNT
} cel_stage;

typedef struct cel_stage_time {
    double seconds, flops, bytes; /* of all workers together */
} cel_stage_time;

/* One a worker, so that none waits for another's cache line. */
typedef struct cel_stage_clock {
    double since;
    cel_stage_time stage[CEL_STAGE_COUNT];
    char apart[64];
} cel_stage_clock;

/* `clock` is cel_kernel_args' (an array by worker); NULL, the usual, costs a test. A task begins with cel_stage_begin and ends
 * each stage with cel_stage_end: floating-point operations it did, and bytes it read and wrote, wherever they were. */
static inline void cel_stage_begin(cel_stage_clock *clock, int worker) {
    if (clock) clock[worker].since = cel_clock_s();
}
static inline void cel_stage_end(cel_stage_clock *clock, int worker, cel_stage stage, double flops, double bytes) {
    if (!clock) return;
    cel_stage_clock *c = &clock[worker];
    double now = cel_clock_s();
    c->stage[stage].seconds += now - c->since;
    c->stage[stage].flops += flops;
    c->stage[stage].bytes += bytes;
    c->since = now;
}
#endif
