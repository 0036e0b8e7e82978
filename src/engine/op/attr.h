/* Attribute structs of operations whose builders take plain arguments, and of gradient operations (the rest are in
 * cellar/graph.h). */
#ifndef CEL_ENGINE_ATTR_H
#define CEL_ENGINE_ATTR_H
#include "engine/op/op.h"

/* Elements to a number of sign_code: all of a float that are exact. */
enum { CEL_SIGN_CODE_BITS = 24 };

typedef struct cel_constant_attr {
    float value;
    cel_shape shape;
} cel_constant_attr;

/* Largest number of taps (kernel height times width) of a convolution: 11 x 11 fits. */
enum { CEL_CONV2D_MAX_TAPS = 128 };

typedef struct cel_conv2d_grad_attr {
    cel_conv2d_attr conv;
    cel_shape shape; /* of the result: x's for conv2d_dx, w's for conv2d_dw */
} cel_conv2d_grad_attr;

enum { CEL_FOLDED_MAX_TERMS = 64 };
typedef struct cel_folded {
    cel_val y, relu; /* max(y, 0) */
} cel_folded;
/* A filter is a PARAM in layout CEL_FILTER; it starts as zeros and is written by cel_exec_write. */
cel_val cel_graph_filter(cel_graph *g, const char *leaf, cel_shape shape);
/* conv2d(x, w) + b + sum of the terms; w a filter, b [o]. Not differentiable. */
cel_folded cel_conv2d_folded(cel_graph *g, cel_val x, cel_val w, cel_val b, const cel_val *terms, int n_terms,
                             cel_conv2d_attr attr);

typedef struct cel_avg_pool_grad_attr {
    cel_pool2d_attr pool;
    int h, w; /* of dx */
} cel_avg_pool_grad_attr;

typedef struct cel_global_pool_grad_attr {
    int h, w; /* of dx */
} cel_global_pool_grad_attr;

typedef struct cel_scale_attr {
    float factor;
} cel_scale_attr;

typedef struct cel_slice_attr {
    int first, count;
} cel_slice_attr;

typedef struct cel_slice_grad_attr {
    int first, channels; /* dx has `channels`, dy lies at `first`, zero elsewhere */
} cel_slice_grad_attr;

typedef struct cel_crop_attr {
    int top, left;
} cel_crop_attr;

typedef struct cel_shuffle_attr {
    int groups;
} cel_shuffle_attr;

typedef struct cel_weighted_sum_dx_attr {
    int row, col;
} cel_weighted_sum_dx_attr;

typedef struct cel_weighted_sum_dw_attr {
    cel_weighted_sum_attr sum;
    int rows, cols;
} cel_weighted_sum_dw_attr;

/* `nth` tells random operations of one scope apart; a gradient has its operation's. */
typedef struct cel_dropout_attr {
    float p;
    int nth;
} cel_dropout_attr;

typedef struct cel_drop_mask_attr {
    int n, nth;
} cel_drop_mask_attr;

typedef struct cel_cross_entropy_attr {
    float smoothing;
} cel_cross_entropy_attr;

/* The random stream of sample `i` of a random operation: element e of the sample, in plain C order of [c,h,w], takes
 * the e-th cel_rng_uniform of it. */
static inline cel_rng cel_op_stream(const cel_kernel_args *a, int nth, int i) {
    return cel_rng_at(a->seed, a->op->scope, a->step, (uint64_t)nth << 32 | (uint32_t)i);
}
#endif
