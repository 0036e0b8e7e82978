/* The ceilings over every kernel, measured on this machine: arithmetic out of registers, and a triad a = b + c / 2 over
 * vectors that fit one level of the memory or another (Williams, Waterman and Patterson 2009, "Roofline"). */
#ifndef CEL_ENGINE_ROOF_H
#define CEL_ENGINE_ROOF_H
#include "base/pool.h"

enum { CEL_ROOF_SIZES = 3 };
typedef struct cel_roof {
    double flops;      /* float32 multiply-adds, operations a second */
    double bf16_flops; /* bf16 dot products; 0 where there are none */
    struct {
        double bytes, bytes_per_s; /* all threads together; ascending, the last is main memory */
    } size[CEL_ROOF_SIZES];
} cel_roof;

/* With the CPU level in use, on all threads of `pool`; takes about a tenth of a second and, for a moment, 96 MB. */
cel_status cel_roof_measure(cel_pool *pool, cel_roof *out);
/* Bytes a second of what touches so many bytes. */
double cel_roof_bandwidth(const cel_roof *roof, double bytes);

/* Of a CPU level: n rounds; the operations done (0: the machine cannot). keep: two factors, and the result. */
typedef double cel_roof_fma_fn(long n, float keep[3]);
/* n: a multiple of 16; 64-byte aligned. */
typedef void cel_roof_triad_fn(float *a, const float *b, const float *c, size_t n);
#endif
