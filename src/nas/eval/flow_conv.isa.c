/* The inner loop of synflow's convolutions: four output channels by a tile of pixels in registers, in double. */
#include "engine/backend/cpu/lanes.h"
#include "nas/eval/flow.h"

enum { VD = CEL_VL / 2, PARTS = CEL_VL == 16 ? 5 : CEL_VL == 8 ? 2 : 2, STEP = VD * PARTS };
typedef double vd __attribute__((vector_size(VD * 8)));
typedef double vd_any __attribute__((vector_size(VD * 8), aligned(8)));
_Static_assert(CEL_FLOW_TILE % STEP == 0, "a tile is whole steps");

static inline void tile(const cel_flow_conv_args *a, const double *w, size_t first, double *y) {
    vd sum[CEL_FLOW_OUT][PARTS] = {{{0}}};
    for (int i = 0; i < a->in; i++) {
        const double *x = a->x + (size_t)i * a->x_plane + first;
        for (int t = 0; t < a->taps; t++, w += CEL_FLOW_OUT) {
            const double *p = x + a->shift[t];
            vd v[PARTS];
            for (int k = 0; k < PARTS; k++) v[k] = *(const vd_any *)(const void *)(p + k * VD);
            for (int o = 0; o < CEL_FLOW_OUT; o++)
                for (int k = 0; k < PARTS; k++) sum[o][k] += v[k] * w[o];
        }
    }
    for (int o = 0; o < CEL_FLOW_OUT; o++)
        for (int k = 0; k < PARTS; k++) *(vd_any *)(void *)(y + (size_t)o * a->y_plane + first + k * VD) = sum[o][k];
}

void CEL_ISA_FN(cel_flow_conv)(const cel_flow_conv_args *a) {
    size_t block = (size_t)a->in * (size_t)a->taps * CEL_FLOW_OUT;
    for (int o = 0; o < a->out; o += CEL_FLOW_OUT)
        for (size_t first = 0; first < a->n_pixels; first += STEP)
            tile(a, a->w + (size_t)(o / CEL_FLOW_OUT) * block, first, a->y + (size_t)o * a->y_plane);
}
