/* The table of kernels of one CPU level, from kernels.def. */
#include "engine/backend/cpu/kernels.h"

static const cel_kernel table[] = {
#define CEL_CPU_KERNEL(op) {&cel_op_##op, CEL_ISA_FN(cel_cpu_##op), NULL},
#define CEL_CPU_KERNEL_WORK(op) {&cel_op_##op, CEL_ISA_FN(cel_cpu_##op), CEL_ISA_FN(cel_cpu_##op##_work)},
#include "engine/backend/cpu/kernels.def"
#undef CEL_CPU_KERNEL
#undef CEL_CPU_KERNEL_WORK
};

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)
extern const cel_cpu_isa CEL_ISA_FN(cel_cpu_isa);
const cel_cpu_isa CEL_ISA_FN(cel_cpu_isa) = {TEXT(CEL_ISA), table, (int)(sizeof table / sizeof *table)};
