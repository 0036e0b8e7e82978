/* Cases at work: batches from the loader, draws, half-steps, as a search does them. */
#include "lab/bench/bench.h"

#include <string.h>

#include "base/file.h"
#include "cellar/text.h"
#include "engine/backend/cpu/cpu.h"

enum { BATCH = 64, WEIGHTS = 0, ARCH = 1, WARM_UP = 2 };

/* The operations that stay where a case prunes: a random choice, the same as the peer's in bench/peer. None, skip, 1x1, 3x3 and pool
 * are live on 2, 4, 5, 4 and 3 of the six edges. */
static const uint8_t kept[CEL_NB201_EDGES * CEL_NB201_OPS] = {0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1,
                                                              0, 1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 1, 1, 1};

/* ---- opening ---- */

/* What the backward pass reads of what the forward pass made. */
static double saved_bytes(const cel_graph *g) {
    double sum = 0;
    for (cel_val v = 0; v < g->n_values; v++) {
        const cel_value *value = &g->value[v];
        bool read = false;
        if (value->op < 0 || g->op[value->op].gradient) continue;
        for (int i = 0; i < g->n_ops && !read; i++)
            for (int k = 0; g->op[i].gradient && k < g->op[i].n_in; k++) read |= g->op[i].in[k] == v;
        if (read) sum += (double)cel_backend_cpu.bytes(value);
    }
    return sum;
}

static cel_status open_loaders(cel_bench *b) {
    CEL_TRY(cel_dataset_open("cifar10-mini", NULL, &b->data));
    for (int i = 0; i < 2; i++) {
        cel_loader_conf conf = {.name = i == ARCH ? "arch" : "weights",
                                .seed = 1,
                                .data = b->data,
                                .part = CEL_PART_TRAIN,
                                .batch = BATCH,
                                .order = i == ARCH ? CEL_ORDER_FRESH : CEL_ORDER_SHUFFLE,
                                .drop_last = true,
                                .augment = {.pad = 4, .flip = true}};
        CEL_TRY(cel_loader_create(&conf, &b->loader[i]));
    }
    return CEL_OK;
}

static cel_status open_settings(cel_bench *b) {
    CEL_TRY(cel_conf_parse("the case's recipe", b->setup->recipe, strlen(b->setup->recipe), &b->tree));
    CEL_TRY(cel_settings_init(&b->settings, b->tree, NULL, 0));
    b->has_settings = true;
    return CEL_OK;
}

static cel_status open_supernet(cel_bench *b) {
    const cel_settings *s = &b->settings;
    CEL_TRY(cel_policy_create(s->method, s->space->choices(), s->method_conf, 1, &b->policy));
    if (b->setup->prune) memcpy(b->policy->live, kept, sizeof kept);
    cel_dataset_info images = cel_dataset_get_info(b->data);
    cel_supernet_conf conf = {.space = s->space,
                              .space_conf = s->space_conf,
                              .shape = {BATCH, images.channels, images.height, images.width, images.n_classes},
                              .form = {.k = s->search.stages[0].k,
                                       .live = b->policy->live,
                                       .fused = s->search.fused,
                                       .bf16 = s->search.precision == CEL_PRECISION_BF16,
                                       .straight_through = s->method->straight_through},
                              .backend = &cel_backend_cpu,
                              .pool = b->pool,
                              .seed = 1,
                              .second_order = s->search.order == CEL_SEARCH_SECOND};
    return cel_supernet_create(&conf, cel_policy_n_grad(b->policy), &b->net);
}

/* The network that a search of the first stage's settings might find, to be asked. Its weights are those of the start, its images noise:
 * neither changes the time. */
static cel_status open_inference(cel_bench *b) {
    static const char cell[] =
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|";
    cel_dataset_info images = cel_dataset_get_info(b->data);
    cel_net_shape shape = {1, images.channels, images.height, images.width, images.n_classes};
    size_t pixels = (size_t)shape.channels * (size_t)shape.height * (size_t)shape.width,
           batch = (size_t)b->setup->batch;
    cel_genotype genotype;
    cel_net net;
    cel_exec *exec;
    int program;
    CEL_TRY(cel_genotype_parse(cell, &genotype));
    CEL_TRY(cel_graph_create(&b->graph));
    CEL_TRY(b->settings.space->discrete(b->graph, b->settings.space_conf, &shape, &genotype, &net));
    CEL_TRY(cel_graph_seal(b->graph));
    CEL_TRY(cel_inference_create(b->graph, net.x, net.logits, &cel_backend_cpu, b->pool, &b->inference));
    CEL_TRY(cel_exec_create(b->graph, &cel_backend_cpu, b->pool, &exec));
    cel_status status = cel_exec_add_program(exec, CEL_MODE_EVAL, &net.logits, 1, &program);
    if (status == CEL_OK) status = cel_exec_prepare(exec, 1);
    if (status == CEL_OK) status = cel_inference_load(b->inference, exec);
    cel_exec_destroy(exec);
    CEL_TRY(status);
    CEL_ALLOC(b->images, batch * pixels);
    CEL_ALLOC(b->logits, batch * (size_t)shape.classes);
    cel_rng rng = cel_rng_at(1, "bench", 0, 0);
    for (size_t i = 0; i < batch * pixels; i++) b->images[i] = (float)cel_rng_normal(&rng);
    return CEL_OK;
}

static double waited_s(const cel_bench *b) {
    return cel_loader_waited_s(b->loader[WEIGHTS]) + cel_loader_waited_s(b->loader[ARCH]);
}

static cel_status open(cel_bench *b, int threads) {
    double ms;
    CEL_TRY(cel_pool_create(threads, &b->pool));
    CEL_TRY(open_loaders(b));
    CEL_TRY(open_settings(b));
    if (b->setup->kind == CEL_BENCH_INFER) CEL_TRY(open_inference(b));
    if (b->setup->kind == CEL_BENCH_SEARCH || b->setup->kind == CEL_BENCH_VALIDATE) CEL_TRY(open_supernet(b));
    for (int i = 0; i < WARM_UP; i++) CEL_TRY(cel_bench_step(b, &ms));
    b->flops = 0;
    b->step = 0;
    b->warm_up_waited_s = waited_s(b);
    return CEL_OK;
}

static cel_status unknown(const char *name) {
    enum { MOST = 64 };
    const char *names[MOST];
    size_t n = 0;
    for (const cel_bench_case *c; n < MOST && (c = cel_bench_case_get((int)n)); n++) names[n] = c->name;
    const char *near = cel_text_nearest(name, names, n);
    return CEL_FAIL(CEL_NOTFOUND, "bench: no case is called \"%.60s\"%s%s%s; `cellar bench --list` names them", name,
                    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

cel_status cel_bench_open(const char *name, int threads, cel_bench **out) {
    const cel_bench_setup *setup = cel_bench_setup_find(name, 0);
    if (!setup) return unknown(name);
    if (threads < 1) return CEL_FAIL(CEL_CONFIG, "bench: threads: expected at least 1, found %d", threads);
    cel_bench *b;
    CEL_ALLOC(b, 1);
    b->setup = setup;
    cel_status status = open(b, threads);
    if (status != CEL_OK) {
        cel_bench_close(b);
        return cel_status_prefix(status, "bench %s", name);
    }
    *out = b;
    return CEL_OK;
}

void cel_bench_close(cel_bench *b) {
    if (!b) return;
    cel_free(b->logits);
    cel_free(b->images);
    cel_inference_destroy(b->inference);
    cel_graph_destroy(b->graph);
    cel_supernet_destroy(b->net);
    cel_policy_destroy(b->policy);
    if (b->has_settings) cel_settings_fini(&b->settings);
    cel_conf_destroy(b->tree);
    for (int i = 0; i < 2; i++) cel_loader_destroy(b->loader[i]);
    cel_dataset_destroy(b->data);
    cel_pool_destroy(b->pool);
    cel_free(b);
}

/* ---- stepping ---- */

cel_exec *cel_bench_exec(const cel_bench *b) {
    int program;
    if (b->inference) return cel_inference_exec(b->inference, &program);
    return b->net ? b->net->exec : NULL;
}

/* One part of a step, which takes as many operations as so many forward passes through what its draw left on. */
static cel_status run_part(cel_bench *b, const char *name, cel_status (*run)(cel_bench *), double passes) {
    double start = cel_clock_s();
    cel_exec *exec = cel_bench_exec(b);
    bool heard = b->listener && exec;
    if (heard) cel_exec_profile(exec, true);
    CEL_TRY(run(b));
    if (heard) b->listener->part(b->listener, name, exec, cel_clock_s() - start);
    if (b->net) b->flops += passes * cel_graph_flops(b->net->graph, b->net->gates);
    if (b->graph) b->flops += passes * cel_graph_flops(b->graph, NULL);
    return CEL_OK;
}

static cel_at at_of(const cel_bench *b, cel_phase phase) {
    return (cel_at){.phase = phase, .n_epochs = 1, .step = b->step};
}

static const cel_sgd sgd = {.lr = 0.025, .momentum = 0.9, .weight_decay = 3e-4};

static cel_status arch_half(cel_bench *b) {
    cel_at at = at_of(b, CEL_PHASE_ARCH);
    cel_half_step half;
    cel_batch batch;
    cel_loader_next(b->loader[ARCH], &batch);
    return cel_supernet_arch_step(b->net, b->policy, &at, batch.images, batch.labels, &half);
}

static cel_status unrolled_half(cel_bench *b) {
    cel_at at = at_of(b, CEL_PHASE_ARCH);
    cel_half_step half;
    cel_batch batch;
    cel_loader_next(b->loader[ARCH], &batch);
    return cel_supernet_unrolled_step(b->net, b->policy, &at, &sgd, sgd.lr,
                                      &(cel_supernet_batch){b->train.images, b->train.labels},
                                      &(cel_supernet_batch){batch.images, batch.labels}, &half);
}

static cel_status weight_half(cel_bench *b) {
    cel_at at = at_of(b, CEL_PHASE_WEIGHT);
    cel_half_step half;
    CEL_TRY(cel_supernet_weight_step(b->net, b->policy, &at, &sgd, 5, b->train.images, b->train.labels, &half));
    b->loss = half.loss;
    return CEL_OK;
}

static cel_status validation(cel_bench *b) {
    cel_at at = at_of(b, CEL_PHASE_VALID);
    cel_half_step half;
    cel_batch batch;
    cel_loader_next(b->loader[ARCH], &batch);
    CEL_TRY(cel_supernet_validate(b->net, b->policy, &at, batch.images, batch.labels, &half));
    b->loss = half.loss;
    return CEL_OK;
}

static cel_status ask(cel_bench *b) {
    for (int done = 0; done < b->setup->shown.images; done += b->setup->batch)
        cel_inference_run(b->inference, b->images, b->setup->batch, b->logits);
    return CEL_OK;
}

/* For a profile: image by image, all threads at each. */
static cel_status ask_one_by_one(cel_bench *b) {
    int program;
    cel_exec *exec = cel_inference_exec(b->inference, &program);
    for (int i = 0; i < b->setup->shown.images; i++) cel_exec_run(exec, program);
    return CEL_OK;
}

static cel_status load(cel_bench *b) {
    cel_batch batch;
    int steps = b->setup->shown.images / (2 * BATCH);
    for (int i = 0; i < 2 * steps; i++) cel_loader_next(b->loader[i % 2], &batch);
    return CEL_OK;
}

/* Forward passes' worth: forward 1, data gradient 1, weight gradient 1. The unrolled half: the weights' gradient at w (3), the
 * validation's by weights and architecture (3), and the architecture's at two shifted w (2 each). */
static cel_status one_step(cel_bench *b) {
    if (b->setup->kind == CEL_BENCH_SEARCH) cel_loader_next(b->loader[WEIGHTS], &b->train);
    switch (b->setup->kind) {
    case CEL_BENCH_SEARCH:
        if (b->settings.search.order == CEL_SEARCH_SECOND)
            CEL_TRY(run_part(b, "architecture half, unrolled", unrolled_half, 10));
        else
            CEL_TRY(run_part(b, "architecture half", arch_half, 2));
        return run_part(b, "weight half", weight_half, 3);
    case CEL_BENCH_VALIDATE:
        return run_part(b, "forward", validation, 1);
    case CEL_BENCH_INFER:
        return run_part(b, "forward", b->listener ? ask_one_by_one : ask, b->setup->shown.images);
    case CEL_BENCH_LOADER:
        return run_part(b, "batches", load, 0);
    }
    return CEL_FAIL(CEL_INTERNAL, "bench: a case of no known kind");
}

cel_status cel_bench_step(cel_bench *b, double *ms) {
    double start = cel_clock_s();
    CEL_TRY(one_step(b));
    *ms = 1e3 * (cel_clock_s() - start);
    b->step++;
    return CEL_OK;
}

/* ---- what it was ---- */

/* Each of the two half-steps writes what it saves and reads it back, through memory where it is larger than the caches. Where draws
 * leave operations out, what is saved differs from step to step and is not counted. */
static double unavoidable_bytes(const cel_bench *b) {
    if (b->setup->kind != CEL_BENCH_SEARCH || b->settings.method->straight_through) return 0;
    return 4 * saved_bytes(b->net->graph);
}

void cel_bench_get_facts(const cel_bench *b, cel_bench_facts *out) {
    double steps = b->step ? (double)b->step : 1;
    *out = (cel_bench_facts){.of = &b->setup->shown,
                             .isa = cel_cpu_isa_of(b->settings.search.precision == CEL_PRECISION_BF16),
                             .threads = cel_pool_threads(b->pool),
                             .flops = b->flops / steps,
                             .bytes = unavoidable_bytes(b),
                             .bf16 = b->settings.search.precision == CEL_PRECISION_BF16,
                             .loss = b->loss,
                             .stall_ms = 1e3 * (waited_s(b) - b->warm_up_waited_s) / steps,
                             .peak_bytes = cel_mem_peak_bytes()};
}

static cel_status measure(int threads, cel_roof *roof) {
    cel_pool *pool;
    CEL_TRY(cel_pool_create(threads, &pool));
    cel_status status = cel_roof_measure(pool, roof);
    cel_pool_destroy(pool);
    return status;
}

cel_status cel_bench_measure(int threads, cel_bench_machine *out) {
    cel_roof roof;
    CEL_TRY(measure(threads, &roof));
    *out = (cel_bench_machine){roof.flops, roof.bf16_flops, roof.size[CEL_ROOF_SIZES - 1].bytes_per_s};
    return CEL_OK;
}

double cel_bench_floor_ms(const cel_bench_facts *facts, const cel_bench_machine *machine) {
    double compute = facts->flops / (facts->bf16 ? machine->bf16_flops : machine->flops),
           move = facts->bytes / machine->bytes;
    return 1e3 * (compute > move ? compute : move);
}
