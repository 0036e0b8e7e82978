/* How fast this machine searches: cases that are timed step by step, where their time goes kernel by kernel, and how far
 * they are from what the machine can do.
 *
 *   cel_bench *bench;  double ms;
 *   CEL_TRY(cel_bench_open("nb201_k1", 2, &bench));
 *   for (int i = 0; i < 15; i++) CEL_TRY(cel_bench_step(bench, &ms));
 *   cel_bench_close(bench); */
#ifndef CELLAR_BENCH_H
#define CELLAR_BENCH_H
#include "cellar/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cel_bench_case {
    const char *name, *about; /* "nb201_k4", one line */
    int images;               /* that go through the network, or out of the loader, in a step */
} cel_bench_case;
/* In order; NULL past the end. Owned by the library. */
const cel_bench_case *cel_bench_case_get(int i);

typedef struct cel_bench cel_bench;
/* Makes a case ready and takes two steps that are not timed. threads >= 1. CEL_NOTFOUND (names the nearest case),
 * CEL_UNSUPPORTED (this machine lacks what the case is about). */
cel_status cel_bench_open(const char *name, int threads, cel_bench **out);
void cel_bench_close(cel_bench *bench);
/* One step; milliseconds. */
cel_status cel_bench_step(cel_bench *bench, double *ms);

/* What the steps so far were. */
typedef struct cel_bench_facts {
    const cel_bench_case *of;
    const char *isa; /* CPU level of the kernels: "avx512", and "amx" in bf16 where the CPU has it */
    int threads;
    double
        flops; /* floating-point operations that a step needs, mean: its convolutions and linear layers, forward and gradients */
    double bytes;        /* that a step cannot help moving through main memory */
    bool bf16;           /* it computes in bf16, whose ceiling is higher */
    double loss;         /* of the last step; 0 where there is none */
    double stall_ms;     /* a step that waited for images, mean */
    uint64_t peak_bytes; /* resident memory of the process at its highest */
} cel_bench_facts;
void cel_bench_get_facts(const cel_bench *bench, cel_bench_facts *out);

/* What this machine can do with so many threads, measured in about a tenth of a second: operations a second in float32 and
 * with bf16 dot products (0: none), bytes a second through main memory. Needs 96 MB for a moment. */
typedef struct cel_bench_machine {
    double flops, bf16_flops, bytes;
} cel_bench_machine;
cel_status cel_bench_measure(int threads, cel_bench_machine *out);
/* Milliseconds that a step takes at least: its operations at the machine's peak and its bytes at the machine's bandwidth, the longer of
 * the two. */
double cel_bench_floor_ms(const cel_bench_facts *facts, const cel_bench_machine *machine);

/* Where the time of steps went. A tree, parents before children: step, half-step, shape of the images, operation, stage of an
 * operation that does many things. */
enum { CEL_BENCH_LABEL = 64 };
typedef struct cel_bench_node {
    int depth; /* 0: the step */
    char label[CEL_BENCH_LABEL];
    double calls, ms, flops, bytes; /* a step; bytes that it reads and writes, wherever they are */
    double roof_ms; /* what the machine would need: each kernel's operations or bytes, whichever take longer */
} cel_bench_node;
/* `steps` more steps, timed kernel by kernel, which makes them a little slower; then measures the machine. The caller releases
 * *nodes with cel_free. CEL_UNSUPPORTED: the case runs no kernels. */
cel_status cel_bench_profile(cel_bench *bench, int steps, cel_bench_node **nodes, int *n);

#ifdef __cplusplus
}
#endif
#endif
