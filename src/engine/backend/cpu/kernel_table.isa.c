/* The tables of kernels of one CPU level, from kernels.def and inference.def. */
#include "engine/backend/cpu/inference_layout.h"
#include "engine/backend/cpu/kernels.h"

#define CEL_CPU_KERNEL(op) {&cel_op_##op, CEL_ISA_FN(cel_cpu_##op), NULL},
#define CEL_CPU_KERNEL_WORK(op) {&cel_op_##op, CEL_ISA_FN(cel_cpu_##op), CEL_ISA_FN(cel_cpu_##op##_work)},
static const cel_kernel table[] = {
#define CEL_CPU_KERNEL_AMX(op) CEL_CPU_KERNEL_WORK(op)
#include "engine/backend/cpu/kernels.def"
#undef CEL_CPU_KERNEL_AMX
};
#if defined(CEL_ISA_AVX512)
static const cel_kernel amx_table[] = {
#define CEL_CPU_KERNEL_AMX(op) {&cel_op_##op, CEL_ISA_FN(cel_cpu_##op##_amx), CEL_ISA_FN(cel_cpu_##op##_amx_work)},
#include "engine/backend/cpu/kernels.def"
#undef CEL_CPU_KERNEL_AMX
};
#endif

static const cel_kernel inference[] = {
#define CEL_INFERENCE_KERNEL(op) {&cel_op_##op, CEL_ISA_FN(cel_inference_##op), NULL},
#define CEL_INFERENCE_KERNEL_WORK(op)                                                                                  \
    {&cel_op_##op, CEL_ISA_FN(cel_inference_##op), CEL_ISA_FN(cel_inference_##op##_work)},
#include "engine/backend/cpu/inference.def"
#undef CEL_INFERENCE_KERNEL
#undef CEL_INFERENCE_KERNEL_WORK
};

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)
cel_roof_fma_fn CEL_ISA_FN(cel_cpu_roof_fma), CEL_ISA_FN(cel_cpu_roof_bf16), CEL_ISA_FN(cel_cpu_roof_amx);
cel_roof_triad_fn CEL_ISA_FN(cel_cpu_roof_triad);
#define LEVEL(own_name, own_table, own_bf16)                                                                           \
    {                                                                                                                  \
        .name = (own_name), .fp32 = TEXT(CEL_ISA), .kernels = (own_table),                                             \
        .n_kernels = (int)(sizeof table / sizeof *table), .inference = inference,                                      \
        .n_inference = (int)(sizeof inference / sizeof *inference), .fma = CEL_ISA_FN(cel_cpu_roof_fma),               \
        .bf16 = (own_bf16), .triad = CEL_ISA_FN(cel_cpu_roof_triad)                                                    \
    }
extern const cel_cpu_isa CEL_ISA_FN(cel_cpu_isa);
const cel_cpu_isa CEL_ISA_FN(cel_cpu_isa) = LEVEL(TEXT(CEL_ISA), table, CEL_ISA_FN(cel_cpu_roof_bf16));
#if defined(CEL_ISA_AVX512)
extern const cel_cpu_isa cel_cpu_isa_amx;
const cel_cpu_isa cel_cpu_isa_amx = LEVEL("amx", amx_table, CEL_ISA_FN(cel_cpu_roof_amx));
#endif
