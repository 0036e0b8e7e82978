/* Which of the functions that an *.isa.c file of this folder is compiled to suits the machine: the CPU level of the
 * cpu backend. */
#ifndef CEL_NAS_LEVEL_H
#define CEL_NAS_LEVEL_H
#include <string.h>

#include "engine/backend/cpu/cpu.h"

#if defined(__x86_64__)
#define CEL_EVAL_KERNEL(fn)                                                                                            \
    (!strcmp(cel_cpu_isa_active()->fp32, "avx512") ? fn##_avx512                                                       \
     : !strcmp(cel_cpu_isa_active()->fp32, "avx2") ? fn##_avx2                                                         \
                                                   : fn##_base)
#else
#define CEL_EVAL_KERNEL(fn) fn##_base
#endif
#endif
