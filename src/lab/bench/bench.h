/* The inside of a benchmark: a case, and what it needs to take a step. */
#ifndef CEL_LAB_BENCH_H
#define CEL_LAB_BENCH_H
#include "cellar/bench.h"
#include "data/loader.h"
#include "engine/exec/inference.h"
#include "nas/search/settings.h"
#include "nas/search/supernet.h"

typedef enum cel_bench_kind { CEL_BENCH_SEARCH, CEL_BENCH_VALIDATE, CEL_BENCH_INFER, CEL_BENCH_LOADER } cel_bench_kind;

typedef struct cel_bench_setup {
    cel_bench_case shown;
    cel_bench_kind kind;
    const char *recipe; /* what a search of its kind would say; batch 64, images of cifar10-mini */
    bool prune;         /* three fixed operations stay on each edge */
    int batch;          /* INFER: images of a pass; a step takes shown.images in passes, one after another */
} cel_bench_setup;
/* By name, or NULL: the case i. */
const cel_bench_setup *cel_bench_setup_find(const char *name, int i);

/* Hears of each part of a step that runs kernels: the executor, whose profile is of this part alone, and how long the part took
 * in all. */
typedef struct cel_bench_listener {
    void (*part)(struct cel_bench_listener *listener, const char *name, cel_exec *exec, double seconds);
} cel_bench_listener;

struct cel_bench {
    const cel_bench_setup *setup;
    cel_pool *pool;
    cel_dataset *data;
    cel_loader *loader[2];
    cel_conf *tree;
    cel_settings settings;
    bool has_settings;
    cel_policy *policy;
    cel_supernet *net;
    cel_graph *graph; /* of the network to be asked */
    cel_inference *inference;
    float *images, *logits;       /* of a pass */
    cel_bench_listener *listener; /* NULL: nobody */
    cel_batch train;              /* the weights' images of this step */
    int64_t step;
    double flops, loss; /* of all steps; of the last */
    double warm_up_waited_s;
};
/* What runs its kernels; NULL: it runs none. */
cel_exec *cel_bench_exec(const cel_bench *bench);
#endif
