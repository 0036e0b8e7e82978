/* Which loops a dense 3x3 convolution of stride 1 takes, forward or for its data gradient, by its sizes: a tile of 4 is Winograd's
 * F(4x4, 3x3), of 2 F(2x2, 3x3), of 0 the direct loops, which take the weights as they are. */
#ifndef CEL_ENGINE_CONV3X3_H
#define CEL_ENGINE_CONV3X3_H
#include "engine/backend/cpu/winograd4.h"

static inline int cel_conv3x3_tile(int n_ci, int n_co, int rows, int cols) {
    return cel_wino4_pays(n_ci, n_co, rows, cols) ? 4 : cel_wino_pays(n_ci, n_co, rows, cols) ? 2 : 0;
}
static inline size_t cel_conv3x3_weight_floats(int tile, int n_ci, int n_co) {
    return tile == 4 ? cel_wino4_weight_floats(n_ci, n_co) : tile == 2 ? cel_wino_weight_floats(n_ci, n_co) : 0;
}
static inline size_t cel_conv3x3_scratch_floats(int tile, int n_ci, int n_co) {
    return tile == 4 ? cel_wino4_scratch_floats(n_ci) : tile == 2 ? cel_wino_scratch_floats(n_ci, n_co) : 0;
}
/* Output channels co .. co+CEL_TILE_Q-1 of the transformed weights. */
static inline void cel_conv3x3_weights(int tile, const cel_conv_job *j, const float *w, int co, float *u) {
    if (tile == 4)
        cel_wino4_weights(j, w, co, u);
    else
        cel_wino_weights(j, w, co, cel_wino_width(j->n_ci, j->n_co), u);
}
/* n_out convolutions of one input; u: weights, transformed if there is a tile. */
static inline void cel_conv3x3_run(int tile, const cel_conv_job *j, const float *x, const cel_wino_out *out, int n_out,
                                   float *scratch) {
    if (tile == 4)
        cel_wino4_run(j, x, out, n_out, scratch);
    else if (tile == 2)
        cel_wino_run(j, x, out, n_out, scratch);
    else
        for (int n = 0; n < n_out; n++) cel_conv_run(j, x, out[n].u, out[n].o);
}
#endif
