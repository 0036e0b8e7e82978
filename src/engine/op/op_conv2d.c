/* conv2d and its gradients: cross-correlation without bias, any kernel, stride, zero padding, dilation and number of
 * groups.
 *   y[n,o,i,j] = sum over c,u,v of x[n, g C/G + c, i s + u d - p, j s + v d - p] w[o,c,u,v],  g = o / (O/G)
 * All three are linear in each input, so each one's gradient is made of the other two. */
#include "engine/op/check.h"

static int out_size(int in, int kernel, const cel_conv2d_attr *a) {
    int64_t room = (int64_t)in + 2 * (int64_t)a->pad - (int64_t)a->dilation * (kernel - 1) - 1;
    return room < 0 ? 0 : (int)(room / a->stride + 1);
}

static cel_status check_attr(const cel_conv2d_attr *a) {
    if (a->stride < 1 || a->pad < 0 || a->dilation < 1 || a->groups < 1 || a->stride > 1 << 15 || a->pad > 1 << 15 ||
        a->dilation > 1 << 15)
        return CEL_FAIL(CEL_SHAPE, "stride %d, pad %d, dilation %d, groups %d: expected at least 1, 0, 1, 1", a->stride,
                        a->pad, a->dilation, a->groups);
    return CEL_OK;
}

cel_status cel_conv2d_shape(cel_shape x, cel_shape w, const cel_conv2d_attr *a, cel_shape *y) {
    CEL_TRY(check_attr(a));
    if (w.rank != 4) return CEL_FAIL(CEL_SHAPE, "the weight has rank %d, expected [out, c/groups, kh, kw]", w.rank);
    if ((int64_t)w.dim[2] * w.dim[3] > CEL_CONV2D_MAX_TAPS)
        return CEL_FAIL(CEL_UNSUPPORTED, "a %dx%d kernel has more than the %d taps that a convolution may have",
                        w.dim[2], w.dim[3], CEL_CONV2D_MAX_TAPS);
    if (x.dim[1] % a->groups || w.dim[0] % a->groups)
        return CEL_FAIL(CEL_SHAPE, "%d input and %d output channels cannot be cut into %d groups", x.dim[1], w.dim[0],
                        a->groups);
    if (w.dim[1] != x.dim[1] / a->groups)
        return CEL_FAIL(CEL_SHAPE, "the weight takes %d channels a group, x has %d", w.dim[1], x.dim[1] / a->groups);
    *y = CEL_SHAPE(x.dim[0], w.dim[0], out_size(x.dim[2], w.dim[2], a), out_size(x.dim[3], w.dim[3], a));
    if (!y->dim[2] || !y->dim[3])
        return CEL_FAIL(CEL_SHAPE, "a %dx%d kernel with pad %d and dilation %d does not fit into %dx%d pixels",
                        w.dim[2], w.dim[3], a->pad, a->dilation, x.dim[2], x.dim[3]);
    return CEL_OK;
}

static cel_status infer(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out, int *n_out) {
    const cel_value *x, *w;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 2));
    CEL_TRY(cel_check_image(g, in, 0, "x", &x));
    CEL_TRY(cel_check_input(g, in, 1, "the weight", &w));
    CEL_TRY(cel_check_shape(g, in, 1, "the weight", CEL_DENSE, w->shape));
    out->layout = CEL_BATCH;
    return cel_conv2d_shape(x->shape, w->shape, attr, &out->shape);
}

static cel_status infer_dx(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                           int *n_out) {
    const cel_conv2d_grad_attr *a = attr;
    const cel_value *w;
    cel_shape y;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 2));
    CEL_TRY(cel_check_input(g, in, 1, "the weight", &w));
    CEL_TRY(cel_check_shape(g, in, 1, "the weight", CEL_DENSE, w->shape));
    CEL_TRY(cel_conv2d_shape(a->shape, w->shape, &a->conv, &y));
    CEL_TRY(cel_check_shape(g, in, 0, "dy", CEL_BATCH, y));
    out->layout = CEL_BATCH;
    out->shape = a->shape;
    return CEL_OK;
}

static cel_status infer_dw(const cel_graph *g, const cel_val *in, int n_in, const void *attr, cel_value *out,
                           int *n_out) {
    const cel_conv2d_grad_attr *a = attr;
    const cel_value *x;
    cel_shape y;
    (void)n_out;
    CEL_TRY(cel_check_inputs(n_in, 2, 2));
    CEL_TRY(cel_check_image(g, in, 0, "x", &x));
    CEL_TRY(cel_conv2d_shape(x->shape, a->shape, &a->conv, &y));
    CEL_TRY(cel_check_shape(g, in, 1, "dy", CEL_BATCH, y));
    out->layout = CEL_DENSE;
    out->shape = a->shape;
    return CEL_OK;
}

static cel_val emit_dx(cel_graph *g, cel_val dy, cel_val w, cel_conv2d_attr conv, cel_shape x) {
    return cel_op_emit(g, &cel_op_conv2d_dx, (cel_val[]){dy, w}, 2, &(cel_conv2d_grad_attr){conv, x},
                       sizeof(cel_conv2d_grad_attr));
}

static cel_val emit_dw(cel_graph *g, cel_val x, cel_val dy, cel_conv2d_attr conv, cel_shape w) {
    return cel_op_emit(g, &cel_op_conv2d_dw, (cel_val[]){x, dy}, 2, &(cel_conv2d_grad_attr){conv, w},
                       sizeof(cel_conv2d_grad_attr));
}

static cel_status grad(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    const cel_conv2d_attr conv = *(const cel_conv2d_attr *)o.attr;
    if (dout[0] == CEL_NONE) return CEL_OK;
    if (need[0]) din[0] = emit_dx(g, dout[0], o.in[1], conv, cel_graph_shape(g, o.in[0]));
    if (need[1]) din[1] = emit_dw(g, o.in[0], dout[0], conv, cel_graph_shape(g, o.in[1]));
    return CEL_OK;
}

static cel_status grad_dx(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    const cel_conv2d_attr conv = ((const cel_conv2d_grad_attr *)o.attr)->conv;
    if (dout[0] == CEL_NONE) return CEL_OK;
    if (need[0]) din[0] = cel_conv2d(g, dout[0], o.in[1], conv);
    if (need[1]) din[1] = emit_dw(g, dout[0], o.in[0], conv, cel_graph_shape(g, o.in[1]));
    return CEL_OK;
}

static cel_status grad_dw(cel_graph *g, int op, const cel_val *dout, const bool *need, cel_val *din) {
    const cel_op o = g->op[op];
    const cel_conv2d_attr conv = ((const cel_conv2d_grad_attr *)o.attr)->conv;
    if (dout[0] == CEL_NONE) return CEL_OK;
    if (need[0]) din[0] = emit_dx(g, o.in[1], dout[0], conv, cel_graph_shape(g, o.in[0]));
    if (need[1]) din[1] = cel_conv2d(g, o.in[0], dout[0], conv);
    return CEL_OK;
}

/* The window of outputs (or of a row of kernel taps) is clipped once, so the loops below need no test for the
 * border. */
typedef struct conv {
    cel_dims x, w, y;
    cel_conv2d_attr a;
    int c_group, o_group; /* channels of a group */
} conv;

static conv conv_of(cel_shape x, cel_shape w, cel_shape y, cel_conv2d_attr a) {
    conv k = {cel_dims_of(x), cel_dims_of(w), cel_dims_of(y), a, 0, 0};
    k.c_group = k.x.c / a.groups;
    k.o_group = k.y.c / a.groups;
    return k;
}

/* Outputs first .. end-1 of a row of `size` whose input at tap `t` lies inside `in` pixels. */
static void clip(const conv *k, int t, int in, int size, int *first, int *end) {
    int at = t * k->a.dilation - k->a.pad, s = k->a.stride;
    *first = at < 0 ? (-at + s - 1) / s : 0;
    int last = in - 1 - at < 0 ? -1 : (in - 1 - at) / s;
    *end = last + 1 < size ? last + 1 : size;
    if (*first > *end) *first = *end;
}

static void ref(const cel_kernel_args *args) {
    conv k =
        conv_of(args->in[0].shape, args->in[1].shape, args->out[0].shape, *(const cel_conv2d_attr *)args->op->attr);
    const float *x = args->in[0].data, *w = args->in[1].data;
    float *y = args->out[0].data;
    double *sum = args->work; /* one output plane */
    size_t plane = (size_t)k.y.h * (size_t)k.y.w;
    for (int n = 0; n < k.y.n; n++) {
        for (int o = 0; o < k.y.c; o++) {
            for (size_t i = 0; i < plane; i++) sum[i] = 0;
            for (int c = 0; c < k.c_group; c++) {
                const float *xc = x + cel_at(k.x, n, o / k.o_group * k.c_group + c, 0, 0);
                for (int u = 0; u < k.w.h; u++) {
                    for (int v = 0; v < k.w.w; v++) {
                        double tap = w[cel_at(k.w, o, c, u, v)];
                        int i0, i1, j0, j1;
                        clip(&k, u, k.x.h, k.y.h, &i0, &i1);
                        clip(&k, v, k.x.w, k.y.w, &j0, &j1);
                        for (int i = i0; i < i1; i++) {
                            int row = i * k.a.stride + u * k.a.dilation - k.a.pad;
                            for (int j = j0; j < j1; j++)
                                sum[i * k.y.w + j] +=
                                    tap * xc[row * k.x.w + j * k.a.stride + v * k.a.dilation - k.a.pad];
                        }
                    }
                }
            }
            float *yo = y + cel_at(k.y, n, o, 0, 0);
            for (size_t i = 0; i < plane; i++) yo[i] = (float)sum[i];
        }
    }
}

static void ref_dx(const cel_kernel_args *args) {
    conv k = conv_of(args->out[0].shape, args->in[1].shape, args->in[0].shape,
                     ((const cel_conv2d_grad_attr *)args->op->attr)->conv);
    const float *dy = args->in[0].data, *w = args->in[1].data;
    float *dx = args->out[0].data;
    double *sum = args->work; /* one input plane */
    size_t plane = (size_t)k.x.h * (size_t)k.x.w;
    for (int n = 0; n < k.x.n; n++) {
        for (int c = 0; c < k.x.c; c++) {
            for (size_t i = 0; i < plane; i++) sum[i] = 0;
            int first = c / k.c_group * k.o_group;
            for (int o = first; o < first + k.o_group; o++) {
                const float *dyo = dy + cel_at(k.y, n, o, 0, 0);
                for (int u = 0; u < k.w.h; u++) {
                    for (int v = 0; v < k.w.w; v++) {
                        double tap = w[cel_at(k.w, o, c % k.c_group, u, v)];
                        int i0, i1, j0, j1;
                        clip(&k, u, k.x.h, k.y.h, &i0, &i1);
                        clip(&k, v, k.x.w, k.y.w, &j0, &j1);
                        for (int i = i0; i < i1; i++) {
                            int row = i * k.a.stride + u * k.a.dilation - k.a.pad;
                            for (int j = j0; j < j1; j++)
                                sum[row * k.x.w + j * k.a.stride + v * k.a.dilation - k.a.pad] +=
                                    tap * dyo[i * k.y.w + j];
                        }
                    }
                }
            }
            float *dxc = dx + cel_at(k.x, n, c, 0, 0);
            for (size_t i = 0; i < plane; i++) dxc[i] = (float)sum[i];
        }
    }
}

static void ref_dw(const cel_kernel_args *args) {
    conv k = conv_of(args->in[0].shape, args->out[0].shape, args->in[1].shape,
                     ((const cel_conv2d_grad_attr *)args->op->attr)->conv);
    const float *x = args->in[0].data, *dy = args->in[1].data;
    float *dw = args->out[0].data;
    for (int o = 0; o < k.w.n; o++) {
        for (int c = 0; c < k.w.c; c++) {
            for (int u = 0; u < k.w.h; u++) {
                for (int v = 0; v < k.w.w; v++) {
                    double sum = 0;
                    int i0, i1, j0, j1;
                    clip(&k, u, k.x.h, k.y.h, &i0, &i1);
                    clip(&k, v, k.x.w, k.y.w, &j0, &j1);
                    for (int n = 0; n < k.y.n; n++) {
                        const float *xc = x + cel_at(k.x, n, o / k.o_group * k.c_group + c, 0, 0);
                        const float *dyo = dy + cel_at(k.y, n, o, 0, 0);
                        for (int i = i0; i < i1; i++) {
                            int row = i * k.a.stride + u * k.a.dilation - k.a.pad;
                            for (int j = j0; j < j1; j++)
                                sum += (double)dyo[i * k.y.w + j] *
                                       xc[row * k.x.w + j * k.a.stride + v * k.a.dilation - k.a.pad];
                        }
                    }
                    dw[cel_at(k.w, o, c, u, v)] = (float)sum;
                }
            }
        }
    }
}

static size_t plane_work(const cel_graph *g, const cel_op *op) {
    cel_dims d = cel_dims_of(cel_graph_shape(g, op->out[0]));
    return (size_t)d.h * (size_t)d.w * sizeof(double);
}

/* Multiply-adds of every tap, those on the padding too (as the papers count), times two; the same for both
 * gradients. */
static double count(cel_shape y, cel_shape w) {
    return 2.0 * (double)cel_shape_count(y) * w.dim[1] * w.dim[2] * w.dim[3];
}

static double flops(const cel_graph *g, const cel_op *op, const uint8_t *active) {
    (void)active;
    return count(cel_graph_shape(g, op->out[0]), cel_graph_shape(g, op->in[1]));
}

static double flops_dx(const cel_graph *g, const cel_op *op, const uint8_t *active) {
    (void)active;
    return count(cel_graph_shape(g, op->in[0]), cel_graph_shape(g, op->in[1]));
}

static double flops_dw(const cel_graph *g, const cel_op *op, const uint8_t *active) {
    (void)active;
    return count(cel_graph_shape(g, op->in[1]), cel_graph_shape(g, op->out[0]));
}

cel_val cel_conv2d(cel_graph *g, cel_val x, cel_val w, cel_conv2d_attr attr) {
    return cel_op_emit(g, &cel_op_conv2d, (cel_val[]){x, w}, 2, &attr, sizeof attr);
}

static cel_val sample(cel_graph *g, int n, int c, int h, int w, int o, int kernel, int stride, int pad, int dilation,
                      int groups) {
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(n, c, h, w));
    cel_val weight = cel_graph_param(g, "w", CEL_SHAPE(o, c / groups, kernel, kernel), CEL_INIT_UNIFORM);
    return cel_conv2d(g, x, weight, (cel_conv2d_attr){stride, pad, dilation, groups});
}
static cel_val k1(cel_graph *g) { return sample(g, 3, 4, 7, 5, 6, 1, 1, 0, 1, 1); }
static cel_val k1_one(cel_graph *g) { return sample(g, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1); }
static cel_val k1_s2(cel_graph *g) { return sample(g, 2, 3, 7, 8, 5, 1, 2, 0, 1, 1); }
static cel_val k2_valid(cel_graph *g) { return sample(g, 2, 3, 5, 4, 2, 2, 1, 0, 1, 1); }
static cel_val k3(cel_graph *g) { return sample(g, 2, 4, 8, 7, 3, 3, 1, 1, 1, 1); }
static cel_val k3_batch(cel_graph *g) { return sample(g, 17, 3, 5, 6, 4, 3, 1, 1, 1, 1); }
static cel_val k3_tiny(cel_graph *g) { return sample(g, 2, 2, 1, 2, 2, 3, 1, 1, 1, 1); }
static cel_val k3_s2(cel_graph *g) { return sample(g, 2, 4, 7, 8, 6, 3, 2, 1, 1, 1); }
static cel_val k3_groups(cel_graph *g) { return sample(g, 2, 6, 5, 7, 4, 3, 1, 1, 1, 2); }
static cel_val k3_depth(cel_graph *g) { return sample(g, 2, 5, 6, 7, 5, 3, 1, 1, 1, 5); }
static cel_val k3_depth_s2(cel_graph *g) { return sample(g, 2, 3, 7, 6, 3, 3, 2, 1, 1, 3); }
static cel_val k3_dilated(cel_graph *g) { return sample(g, 2, 3, 8, 7, 3, 3, 1, 2, 2, 3); }
static cel_val k3_dilated_s2(cel_graph *g) { return sample(g, 2, 2, 9, 8, 2, 3, 2, 2, 2, 2); }
static cel_val k5_depth(cel_graph *g) { return sample(g, 2, 3, 7, 8, 3, 5, 1, 2, 1, 3); }
static cel_val k5_dilated_s2(cel_graph *g) { return sample(g, 2, 2, 9, 8, 2, 5, 2, 4, 2, 2); }
static cel_val k5_s3(cel_graph *g) { return sample(g, 2, 2, 9, 11, 3, 5, 3, 1, 1, 1); }
static cel_val k7_depth(cel_graph *g) { return sample(g, 2, 2, 8, 7, 2, 7, 1, 3, 1, 2); }
static cel_val k3_multiplier(cel_graph *g) { return sample(g, 2, 3, 5, 5, 6, 3, 1, 1, 1, 3); }
/* Sizes for which backends have filters of their own. */
static cel_val k3_8(cel_graph *g) { return sample(g, 2, 8, 4, 6, 8, 3, 1, 1, 1, 1); }
static cel_val k3_16(cel_graph *g) { return sample(g, 2, 16, 4, 12, 16, 3, 1, 1, 1, 1); }
static cel_val k3_16_valid(cel_graph *g) { return sample(g, 1, 16, 6, 6, 24, 3, 1, 0, 1, 1); }
static cel_val k3_16_low(cel_graph *g) { return sample(g, 1, 16, 2, 8, 20, 3, 1, 1, 1, 1); }
static const cel_op_case cases[] = {{"k1", k1},
                                    {"k1_one", k1_one},
                                    {"k1_s2", k1_s2},
                                    {"k2_valid", k2_valid},
                                    {"k3", k3},
                                    {"k3_batch", k3_batch},
                                    {"k3_tiny", k3_tiny},
                                    {"k3_s2", k3_s2},
                                    {"k3_groups", k3_groups},
                                    {"k3_depth", k3_depth},
                                    {"k3_depth_s2", k3_depth_s2},
                                    {"k3_dilated", k3_dilated},
                                    {"k3_dilated_s2", k3_dilated_s2},
                                    {"k5_depth", k5_depth},
                                    {"k5_dilated_s2", k5_dilated_s2},
                                    {"k5_s3", k5_s3},
                                    {"k7_depth", k7_depth},
                                    {"k3_multiplier", k3_multiplier},
                                    {"k3_8", k3_8},
                                    {"k3_16", k3_16},
                                    {"k3_16_valid", k3_16_valid},
                                    {"k3_16_low", k3_16_low},
                                    {0}};

const cel_op_def cel_op_conv2d = {.name = "conv2d",
                                  .n_out = 1,
                                  .infer = infer,
                                  .grad = grad,
                                  .ref = ref,
                                  .ref_work_bytes = plane_work,
                                  .flops = flops,
                                  .cases = cases};
const cel_op_def cel_op_conv2d_dx = {.name = "conv2d_dx",
                                     .n_out = 1,
                                     .infer = infer_dx,
                                     .grad = grad_dx,
                                     .ref = ref_dx,
                                     .ref_work_bytes = plane_work,
                                     .flops = flops_dx};
const cel_op_def cel_op_conv2d_dw = {
    .name = "conv2d_dw", .n_out = 1, .infer = infer_dw, .grad = grad_dw, .ref = ref_dw, .flops = flops_dw};
