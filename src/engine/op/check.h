/* What operation files share: building, checks of inputs with clear messages, shapes of reference kernels. */
#ifndef CEL_ENGINE_CHECK_H
#define CEL_ENGINE_CHECK_H
#include "engine/op/attr.h"

/* cel_graph_add, then output 0; CEL_NONE after an error. */
cel_val cel_op_emit(cel_graph *g, const cel_op_def *def, const cel_val *in, int n_in, const void *attr,
                    size_t attr_bytes);
/* A value of `value` everywhere, DENSE. */
cel_val cel_op_constant_emit(cel_graph *g, float value, cel_shape shape);

/* All fail with CEL_SHAPE and name the input. */
cel_status cel_check_inputs(int n_in, int least, int most);
/* Input i is there and holds floats. */
cel_status cel_check_input(const cel_graph *g, const cel_val *in, int i, const char *name, const cel_value **out);
/* ... and is [n,c,h,w] BATCH. */
cel_status cel_check_image(const cel_graph *g, const cel_val *in, int i, const char *name, const cel_value **out);
/* ... and has exactly this layout and shape. */
cel_status cel_check_shape(const cel_graph *g, const cel_val *in, int i, const char *name, cel_layout layout,
                           cel_shape shape);

/* The output's shape of a convolution; CEL_SHAPE when x, w [out, c/groups, kh, kw] and attr do not fit. */
cel_status cel_conv2d_shape(cel_shape x, cel_shape w, const cel_conv2d_attr *attr, cel_shape *y);

/* n, c, h, w with ones where the rank is lower. */
typedef struct cel_dims {
    int n, c, h, w;
} cel_dims;
cel_dims cel_dims_of(cel_shape shape);
/* Plain C order. */
static inline size_t cel_at(cel_dims d, int n, int c, int y, int x) {
    return (((size_t)n * (size_t)d.c + (size_t)c) * (size_t)d.h + (size_t)y) * (size_t)d.w + (size_t)x;
}
#endif
