/* cellar's convolutions beside oneDNN's, on one thread, at the shapes of supernets: a JSON line a shape and direction.
 *
 * oneDNN chooses its own layouts and its weights lie ready in them, so only its kernels are timed; cellar's times include
 * padding and the sum over the groups of images. Built where oneDNN is installed (Debian: libdnnl-dev). Set
 * OMP_NUM_THREADS=1. */
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "engine/exec/exec.h"

enum { BATCH = 64, REPEATS = 15 };
static const int shapes[][4] = {
    {4, 4, 32, 3},   {8, 8, 16, 3},  {16, 16, 8, 3},  {8, 8, 32, 3}, {16, 16, 32, 3},
    {32, 32, 16, 3}, {64, 64, 8, 3}, {16, 16, 32, 1}, {64, 64, 8, 1}}; /* in, out, side, kernel */
enum { FORWARD, DATA, WEIGHTS, WAYS };
static const char *const ways[] = {"forward", "data gradient", "weight gradient"};

static void must(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "bench_conv: %s: %s\n", what, cel_status_message());
    exit(1);
}

static void cellar_times(const int *s, double best[WAYS]) {
    cel_graph *g;
    must(cel_graph_create(&g) == CEL_OK, "graph");
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(BATCH, s[0], s[2], s[2]));
    cel_val dy = cel_graph_input(g, "dy", CEL_F32, CEL_BATCH, CEL_SHAPE(BATCH, s[1], s[2], s[2]));
    cel_val w = cel_graph_param(g, "w", CEL_SHAPE(s[1], s[0], s[3], s[3]), CEL_INIT_UNIFORM);
    cel_val y = cel_conv2d(g, x, w, (cel_conv2d_attr){1, s[3] / 2, 1, 1}), d[2];
    must(cel_graph_grad_from(g, y, dy, (cel_val[]){x, w}, 2, d) == CEL_OK, "gradient");
    must(cel_graph_seal(g) == CEL_OK, "seal");
    cel_exec *e;
    must(cel_exec_create(g, &cel_backend_cpu, NULL, &e) == CEL_OK, "executor");
    int program[WAYS];
    for (int i = 0; i < WAYS; i++)
        must(cel_exec_add_program(e, CEL_MODE_TRAIN, i == FORWARD ? &y : &d[i - DATA], 1, &program[i]) == CEL_OK,
             "program");
    must(cel_exec_prepare(e, 1) == CEL_OK, "memory");
    for (int i = 0; i < WAYS; i++) {
        best[i] = 1e9;
        for (int r = 0; r < REPEATS; r++) {
            double began = cel_clock_s();
            for (int k = 0; k < 4; k++) cel_exec_run(e, program[i]);
            double time = (cel_clock_s() - began) / 4;
            if (time < best[i]) best[i] = time;
        }
    }
    cel_exec_destroy(e);
    cel_graph_destroy(g);
}

static dnnl_memory_t memory(const dnnl_primitive_desc_t pd, dnnl_query_t what, dnnl_engine_t engine) {
    dnnl_memory_t m;
    must(dnnl_memory_create(&m, dnnl_primitive_desc_query_md(pd, what, 0), engine, DNNL_MEMORY_ALLOCATE) ==
             dnnl_success,
         "oneDNN memory");
    void *data;
    dnnl_memory_get_data_handle(m, &data);
    size_t n = dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(pd, what, 0)) / sizeof(float);
    for (size_t i = 0; i < n; i++) ((float *)data)[i] = (float)(i % 7) * 0.1f;
    return m;
}

static void onednn_times(const int *s, double best[WAYS]) {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    must(dnnl_engine_create(&engine, dnnl_cpu, 0) == dnnl_success, "oneDNN");
    must(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) == dnnl_success, "oneDNN");
    dnnl_dims_t dx = {BATCH, s[0], s[2], s[2]}, dw = {s[1], s[0], s[3], s[3]}, dy = {BATCH, s[1], s[2], s[2]},
                one = {1, 1}, pad = {s[3] / 2, s[3] / 2};
    dnnl_memory_desc_t x, w, y;
    dnnl_memory_desc_init_by_tag(&x, 4, dx, dnnl_f32, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&w, 4, dw, dnnl_f32, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&y, 4, dy, dnnl_f32, dnnl_format_tag_any);
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t hint, pd;
    dnnl_convolution_forward_desc_init(&desc, dnnl_forward_training, dnnl_convolution_direct, &x, &w, NULL, &y, one,
                                       pad, pad);
    must(dnnl_primitive_desc_create(&hint, &desc, NULL, engine, NULL) == dnnl_success, "oneDNN");
    for (int i = 0; i < WAYS; i++) {
        if (i == DATA)
            dnnl_convolution_backward_data_desc_init(&desc, dnnl_convolution_direct, &x, &w, &y, one, pad, pad);
        if (i == WEIGHTS)
            dnnl_convolution_backward_weights_desc_init(&desc, dnnl_convolution_direct, &x, &w, NULL, &y, one, pad,
                                                        pad);
        must(dnnl_primitive_desc_create(&pd, &desc, NULL, engine, i ? hint : NULL) == dnnl_success, "oneDNN");
        dnnl_primitive_t primitive;
        must(dnnl_primitive_create(&primitive, pd) == dnnl_success, "oneDNN");
        static const dnnl_query_t query[WAYS][3] = {
            {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md},
            {dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md},
            {dnnl_query_src_md, dnnl_query_diff_weights_md, dnnl_query_diff_dst_md}};
        static const int name[WAYS][3] = {{DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
                                          {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
                                          {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST}};
        dnnl_exec_arg_t args[3];
        for (int k = 0; k < 3; k++) args[k] = (dnnl_exec_arg_t){name[i][k], memory(pd, query[i][k], engine)};
        best[i] = 1e9;
        for (int r = 0; r < REPEATS; r++) {
            double began = cel_clock_s();
            for (int k = 0; k < 4; k++) dnnl_primitive_execute(primitive, stream, 3, args);
            dnnl_stream_wait(stream);
            double time = (cel_clock_s() - began) / 4;
            if (time < best[i]) best[i] = time;
        }
        for (int k = 0; k < 3; k++) dnnl_memory_destroy(args[k].memory);
        dnnl_primitive_destroy(primitive);
        dnnl_primitive_desc_destroy(pd);
    }
    dnnl_primitive_desc_destroy(hint);
    dnnl_stream_destroy(stream);
    dnnl_engine_destroy(engine);
}

int main(void) {
    for (size_t i = 0; i < CEL_COUNT(shapes); i++) {
        const int *s = shapes[i];
        double ours[WAYS], theirs[WAYS], gflop = 2e-9 * BATCH * s[0] * s[1] * s[2] * s[2] * s[3] * s[3];
        cellar_times(s, ours);
        onednn_times(s, theirs);
        for (int way = 0; way < WAYS; way++)
            printf("{\"case\": \"%d,%d,%d %dx%d %s\", \"ms\": %.4f, \"gflops\": %.0f, \"onednn_ms\": %.4f, "
                   "\"onednn_gflops\": "
                   "%.0f, \"ratio\": %.2f}\n",
                   s[0], s[1], s[2], s[3], s[3], ways[way], 1e3 * ours[way], gflop / ours[way], 1e3 * theirs[way],
                   gflop / theirs[way], theirs[way] / ours[way]);
    }
    return 0;
}
