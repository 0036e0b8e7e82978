/* The supernet of one stage and its half-steps; see supernet.h. */
#include "nas/search/supernet.h"

#include <math.h>
#include <string.h>

static const char *const phase_names[] = {"architecture step", "weight step", "validation", "controller's pass"};

/* The graph, its gradient and the programs. */
static cel_status build(cel_supernet *net, const cel_supernet_conf *conf) {
    cel_graph *g = net->graph;
    CEL_TRY(conf->space->supernet(g, conf->space_conf, &conf->shape, &conf->form, &net->net));
    int n = 0;
    cel_val *wrt, *grads;
    CEL_ALLOC(wrt, (size_t)g->n_values + CEL_NET_MAX_GROUPS);
    grads = cel_alloc((size_t)g->n_values + 2 + CEL_NET_MAX_GROUPS, sizeof *grads);
    cel_status status = CEL_OK;
    if (!grads) {
        cel_free(wrt);
        return CEL_FAIL(CEL_NOMEM, "out of memory: the supernet's gradient");
    }
    for (int v = 0; v < g->n_values; v++)
        if (g->value[v].role == CEL_PARAM) wrt[n++] = v;
    for (int i = 0; i < net->net.n_groups; i++) wrt[n + i] = net->net.group[i].weights;
    if (status == CEL_OK) status = cel_graph_grad(g, net->net.loss, wrt, n + net->net.n_groups, grads);
    if (status == CEL_OK) status = cel_graph_seal(g);
    if (status == CEL_OK) status = cel_exec_create(g, conf->backend, conf->pool, &net->exec);
    if (status == CEL_OK) {
        memcpy(net->dweights, grads + n, (size_t)net->net.n_groups * sizeof *grads);
        cel_val arch[2 + CEL_NET_MAX_GROUPS] = {net->net.loss, net->net.correct};
        memcpy(arch + 2, net->dweights, (size_t)net->net.n_groups * sizeof *arch);
        status = cel_exec_add_program(net->exec, CEL_MODE_TRAIN, arch, 2 + net->net.n_groups, &net->arch_program);
    }
    bool both = conf->clip_arch || conf->single_level || conf->second_order;
    grads[n + net->net.n_groups] = net->net.loss;
    grads[n + net->net.n_groups + 1] = net->net.correct;
    if (status == CEL_OK && both)
        status = cel_exec_add_program(net->exec, CEL_MODE_TRAIN, grads, n + net->net.n_groups + 2, &net->both_program);
    net->weight_program = net->both_program;
    if (status == CEL_OK && !conf->clip_arch) {
        grads[n] = net->net.loss;
        grads[n + 1] = net->net.correct;
        status = cel_exec_add_program(net->exec, CEL_MODE_TRAIN, grads, n + 2, &net->weight_program);
    }
    if (status == CEL_OK)
        status = cel_exec_add_program(net->exec, CEL_MODE_EVAL, (cel_val[]){net->net.loss, net->net.correct}, 2,
                                      &net->valid_program);
    cel_free(wrt);
    cel_free(grads);
    return status;
}

static cel_status create(cel_supernet *net, const cel_supernet_conf *conf, int n_grad) {
    CEL_TRY(cel_graph_create(&net->graph));
    CEL_TRY(build(net, conf));
    CEL_TRY(cel_exec_prepare(net->exec, conf->seed));
    int n_slots;
    const cel_slot *slots = cel_exec_param_slots(net->exec, &n_slots);
    cel_exec_params(net->exec, &net->n_floats);
    CEL_TRY(cel_pieces_init(&net->pieces, slots, n_slots));
    net->momentum = cel_block_alloc(net->n_floats * sizeof(float) + 1);
    if (!net->momentum)
        return CEL_FAIL(CEL_NOMEM, "out of memory: %zu bytes of momentum", net->n_floats * sizeof(float));
    size_t n = (size_t)net->n_entries, m = (size_t)(n_grad > 0 ? n_grad : 1);
    CEL_ALLOC(net->weights, n);
    CEL_ALLOC(net->dweights_now, n);
    CEL_ALLOC(net->group, n);
    CEL_ALLOC(net->gates, n);
    CEL_ALLOC(net->grad, m);
    CEL_ALLOC(net->mean, m);
    CEL_ALLOC(net->mean2, m);
    if (!conf->second_order) return CEL_OK;
    cel_exec_states(net->exec, &net->kept.n_states);
    net->kept.params = cel_block_alloc(net->n_floats * sizeof(float) + 1);
    net->kept.states = cel_block_alloc(net->kept.n_states * sizeof(float) + 1);
    if (!net->kept.params || !net->kept.states)
        return CEL_FAIL(CEL_NOMEM, "out of memory: %zu bytes of weights to unroll", net->n_floats * sizeof(float));
    CEL_ALLOC(net->kept.dweights, n);
    return CEL_OK;
}

cel_status cel_supernet_create(const cel_supernet_conf *conf, int n_grad, cel_supernet **out) {
    cel_supernet *net;
    CEL_ALLOC(net, 1);
    net->space = conf->space;
    net->n_entries = conf->space->choices()->n_entries;
    net->batch = conf->shape.batch;
    net->pool = conf->pool;
    net->clip_arch = conf->clip_arch;
    net->seed = conf->seed;
    net->both_program = -1;
    cel_status status = create(net, conf, n_grad);
    if (status != CEL_OK) {
        cel_supernet_destroy(net);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = net;
    return CEL_OK;
}

void cel_supernet_destroy(cel_supernet *net) {
    if (!net) return;
    cel_pieces_fini(&net->pieces);
    if (net->momentum) cel_block_free(net->momentum, net->n_floats * sizeof(float) + 1);
    if (net->kept.params) cel_block_free(net->kept.params, net->n_floats * sizeof(float) + 1);
    if (net->kept.states) cel_block_free(net->kept.states, net->kept.n_states * sizeof(float) + 1);
    cel_free(net->kept.dweights);
    cel_exec_destroy(net->exec);
    cel_graph_destroy(net->graph);
    cel_free(net->weights);
    cel_free(net->dweights_now);
    cel_free(net->group);
    cel_free(net->gates);
    cel_free(net->grad);
    cel_free(net->mean);
    cel_free(net->mean2);
    cel_free(net);
}

static cel_status save_slots(cel_state *state, const char *kind, const cel_slot *slots, int n, float *block) {
    for (int i = 0; i < n; i++) {
        int64_t dims[4] = {0};
        for (int d = 0; d < slots[i].shape.rank; d++) dims[d] = slots[i].shape.dim[d];
        CEL_TRY(cel_state_add(state, CEL_STATE_F32, block + slots[i].offset, slots[i].shape.rank, dims, "%s.%s", kind,
                              slots[i].name));
    }
    return CEL_OK;
}

cel_status cel_supernet_save(cel_supernet *net, cel_state *state) {
    size_t size;
    int n;
    const cel_slot *slots = cel_exec_param_slots(net->exec, &n);
    CEL_TRY(save_slots(state, "weights", slots, n, cel_exec_params(net->exec, &size)));
    CEL_TRY(save_slots(state, "momentum", slots, n, net->momentum));
    slots = cel_exec_state_slots(net->exec, &n);
    return save_slots(state, "statistics", slots, n, cel_exec_states(net->exec, &size));
}

/* The architecture's inputs and gates of the next run: an entry of weight 0 is off. */
static void set_weights(cel_supernet *net, const double *weights, const uint8_t *gates) {
    for (int i = 0; i < net->n_entries; i++) {
        net->group[i] = gates[i] ? (float)weights[i] : 0;
        net->gates[i] = net->group[i] != 0;
    }
    for (int i = 0; i < net->net.n_groups; i++)
        cel_exec_write(net->exec, net->net.group[i].weights, net->group + net->net.group[i].first);
    cel_exec_set_gates(net->exec, net->gates, net->n_entries);
}

/* Runs a program on one draw of the policy; loss and hits. */
static cel_status run(cel_supernet *net, const cel_at *at, int program, double *loss, double *correct) {
    cel_exec_run(net->exec, program);
    *loss = cel_exec_scalar(net->exec, net->net.loss);
    *correct = cel_exec_scalar(net->exec, net->net.correct);
    if (isfinite(*loss)) return CEL_OK;
    return CEL_FAIL(CEL_DIVERGED,
                    "the loss is %g in the %s of epoch %d, step %lld, stage %d; nothing was written since the last "
                    "checkpoint. Try a smaller train.lr or train.clip",
                    *loss, phase_names[at->phase], at->epoch, (long long)at->step, at->stage);
}

/* A loss may be finite where its gradient is not. */
static cel_status check_gradient(const cel_supernet *net, const cel_at *at, int n) {
    for (int i = 0; i < n; i++)
        if (!isfinite(net->mean[i]))
            return CEL_FAIL(CEL_DIVERGED,
                            "the architecture's gradient is %g in epoch %d, step %lld, stage %d; nothing was written "
                            "since the last checkpoint. Try a smaller train.lr or the method's lr",
                            net->mean[i], at->epoch, (long long)at->step, at->stage);
    return CEL_OK;
}

static void feed(cel_supernet *net, const cel_at *at, const float *images, const int32_t *labels) {
    cel_exec_write(net->exec, net->net.x, images);
    cel_exec_write(net->exec, net->net.labels, labels);
    cel_rng rng = cel_rng_at(net->seed, phase_names[at->phase], (uint64_t)at->epoch, (uint64_t)at->step);
    cel_exec_set_step(net->exec, cel_rng_u64(&rng), (uint64_t)at->draw);
}

/* The gradient by the edge weights of the pass that was just run, n_entries numbers. */
static void read_dweights(cel_supernet *net, double *dweights) {
    memset(dweights, 0, (size_t)net->n_entries * sizeof *dweights);
    for (int i = 0; i < net->net.n_groups; i++) {
        int first = net->net.group[i].first;
        if (net->dweights[i] == CEL_NONE) continue;
        cel_exec_read(net->exec, net->dweights[i], net->group);
        for (int e = 0; e < net->net.group[i].n; e++) dweights[first + e] = net->group[e];
    }
}

static void draw(cel_supernet *net, cel_policy *policy, const cel_at *at) {
    cel_policy_sample(policy, at, net->weights, net->gates);
    set_weights(net, net->weights, net->gates);
}

/* From net->dweights_now to the gradient by what the policy learns, net->grad. */
static void arch_gradient(cel_supernet *net, cel_policy *policy, const cel_at *at, double loss, double correct) {
    cel_feedback feedback = {.dweights = net->dweights_now, .loss = loss, .accuracy = correct / net->batch};
    cel_policy_gradient(policy, at, &feedback, net->grad);
}

/* ---- second order ---- */

typedef struct unroll {
    const cel_sgd *sgd;
    double xi;
    const cel_supernet_batch *train;
} unroll;

/* The weights as they were plus `by` times the gradient block, where a weight runs. */
static void shift_weights(cel_supernet *net, double by) {
    size_t size;
    float *params = cel_exec_params(net->exec, &size);
    cel_pieces_shift(&net->pieces, net->kept.params, (float)by, cel_exec_grads(net->exec, &size), params, net->pool);
}

/* The implicit term: the difference of the training loss' gradients at w + R v and w - R v, v being the gradient block;
 * xi / (2 R) times it is taken from net->dweights_now. */
static cel_status implicit(cel_supernet *net, const cel_at *at, const unroll *u, const cel_supernet_batch *train) {
    size_t size;
    const float *v = cel_exec_grads(net->exec, &size);
    double norm = sqrt(cel_pieces_squares(&net->pieces, v, net->pool)), loss, correct;
    if (norm == 0) return CEL_OK;
    const double r = 0.01 / norm;
    feed(net, at, train->images, train->labels);
    for (int side = 1; side >= -1; side -= 2) {
        shift_weights(net, side * r);
        CEL_TRY(run(net, at, net->arch_program, &loss, &correct));
        read_dweights(net, net->kept.dweights);
        for (int i = 0; i < net->n_entries; i++) net->dweights_now[i] -= side * u->xi / (2 * r) * net->kept.dweights[i];
    }
    return CEL_OK;
}

/* One draw's gradient by the edge weights after a step of the weights, into net->dweights_now. */
static cel_status unrolled_gradient(cel_supernet *net, const cel_at *at, const unroll *u,
                                    const cel_supernet_batch *valid, double *loss, double *correct) {
    size_t size;
    float *params = cel_exec_params(net->exec, &size);
    const float *grads = cel_exec_grads(net->exec, &size);
    feed(net, at, u->train->images, u->train->labels);
    CEL_TRY(run(net, at, net->weight_program, loss, correct));
    cel_pieces_unroll(&net->pieces, u->sgd, u->xi, params, grads, net->momentum, net->pool);
    feed(net, at, valid->images, valid->labels);
    CEL_TRY(run(net, at, net->both_program, loss, correct));
    read_dweights(net, net->dweights_now);
    return implicit(net, at, u, u->train);
}

static cel_status unrolled_draw(cel_supernet *net, const cel_at *at, const unroll *u, const cel_supernet_batch *valid,
                                double *loss, double *correct) {
    size_t size;
    float *params = cel_exec_params(net->exec, &size), *states = cel_exec_states(net->exec, &size);
    memcpy(net->kept.params, params, net->n_floats * sizeof *params);
    memcpy(net->kept.states, states, net->kept.n_states * sizeof *states);
    cel_pieces_select(&net->pieces, net->gates);
    cel_status status = unrolled_gradient(net, at, u, valid, loss, correct);
    memcpy(params, net->kept.params, net->n_floats * sizeof *params);
    memcpy(states, net->kept.states, net->kept.n_states * sizeof *states);
    return status;
}

/* ---- half-steps ---- */

/* u: NULL for first order. */
static cel_status arch_step(cel_supernet *net, cel_policy *policy, const cel_at *where, const unroll *u,
                            const cel_supernet_batch *valid, cel_half_step *out) {
    cel_at at = *where;
    int n = cel_policy_n_grad(policy), draws = cel_policy_draws(policy);
    *out = (cel_half_step){.loss = 0};
    memset(net->mean, 0, (size_t)n * sizeof *net->mean);
    memset(net->mean2, 0, (size_t)n * sizeof *net->mean2);
    for (at.draw = 0; at.draw < draws; at.draw++) {
        double loss, correct;
        draw(net, policy, &at);
        if (u) {
            CEL_TRY(unrolled_draw(net, &at, u, valid, &loss, &correct));
        } else {
            feed(net, &at, valid->images, valid->labels);
            CEL_TRY(run(net, &at, net->arch_program, &loss, &correct));
            read_dweights(net, net->dweights_now);
        }
        arch_gradient(net, policy, &at, loss, correct);
        for (int i = 0; i < n; i++) {
            net->mean[i] += net->grad[i] / draws;
            net->mean2[i] += net->grad[i] * net->grad[i] / draws;
        }
        out->loss += loss / draws;
        out->correct += correct / draws;
    }
    CEL_TRY(check_gradient(net, &at, n));
    cel_policy_step(policy, &at, net->mean, net->mean2);
    return CEL_OK;
}

cel_status cel_supernet_arch_step(cel_supernet *net, cel_policy *policy, const cel_at *at, const float *images,
                                  const int32_t *labels, cel_half_step *out) {
    return arch_step(net, policy, at, NULL, &(cel_supernet_batch){images, labels}, out);
}

cel_status cel_supernet_unrolled_step(cel_supernet *net, cel_policy *policy, const cel_at *at, const cel_sgd *sgd,
                                      double xi, const cel_supernet_batch *train, const cel_supernet_batch *valid,
                                      cel_half_step *out) {
    return arch_step(net, policy, at, &(unroll){sgd, xi, train}, valid, out);
}

/* Clips and moves the weights by the gradients of the pass that was just run; the architecture's gradient, if it counts in the
 * norm, is in net->grad. */
static cel_status move_weights(cel_supernet *net, cel_policy *policy, const cel_at *at, const cel_sgd *sgd, double clip,
                               cel_half_step *out) {
    size_t size;
    const float *grads = cel_exec_grads(net->exec, &size);
    cel_pieces_select(&net->pieces, net->gates);
    double squares = cel_pieces_squares(&net->pieces, grads, net->pool), arch = 0;
    if (net->clip_arch && policy->method->gradient)
        for (int i = 0; i < cel_policy_n_grad(policy); i++) arch += net->grad[i] * net->grad[i];
    out->norm_weights = sqrt(squares);
    out->norm = sqrt(squares + arch);
    if (!isfinite(out->norm))
        return CEL_FAIL(CEL_DIVERGED,
                        "the gradient's norm is %g in the weight step of epoch %d, step %lld, stage %d; nothing was "
                        "written since the last checkpoint. Try a smaller train.lr",
                        out->norm, at->epoch, (long long)at->step, at->stage);
    cel_sgd_step(sgd, &net->pieces, cel_clip_factor(out->norm, clip), cel_exec_params(net->exec, &size), grads,
                 net->momentum, net->pool);
    return CEL_OK;
}

cel_status cel_supernet_weight_step(cel_supernet *net, cel_policy *policy, const cel_at *at, const cel_sgd *sgd,
                                    double clip, const float *images, const int32_t *labels, cel_half_step *out) {
    *out = (cel_half_step){.loss = 0};
    feed(net, at, images, labels);
    draw(net, policy, at);
    CEL_TRY(run(net, at, net->weight_program, &out->loss, &out->correct));
    if (net->clip_arch && policy->method->gradient) {
        read_dweights(net, net->dweights_now);
        arch_gradient(net, policy, at, out->loss, out->correct);
    }
    return move_weights(net, policy, at, sgd, clip, out);
}

cel_status cel_supernet_single_step(cel_supernet *net, cel_policy *policy, const cel_at *at, const cel_sgd *sgd,
                                    double clip, const float *images, const int32_t *labels, cel_half_step *out) {
    int n = cel_policy_n_grad(policy);
    *out = (cel_half_step){.loss = 0};
    feed(net, at, images, labels);
    draw(net, policy, at);
    CEL_TRY(run(net, at, net->both_program, &out->loss, &out->correct));
    read_dweights(net, net->dweights_now);
    arch_gradient(net, policy, at, out->loss, out->correct);
    memcpy(net->mean, net->grad, (size_t)n * sizeof *net->grad);
    CEL_TRY(check_gradient(net, at, n));
    CEL_TRY(move_weights(net, policy, at, sgd, clip, out));
    for (int i = 0; i < n; i++) net->mean2[i] = net->mean[i] * net->mean[i];
    cel_policy_step(policy, at, net->mean, net->mean2);
    return CEL_OK;
}

/* ---- passes that move nothing ---- */

static cel_status evaluate(cel_supernet *net, const cel_at *at, const float *images, const int32_t *labels,
                           cel_half_step *out) {
    *out = (cel_half_step){.loss = 0};
    feed(net, at, images, labels);
    return run(net, at, net->valid_program, &out->loss, &out->correct);
}

static void set_given(cel_supernet *net, const double *weights) {
    memset(net->gates, 1, (size_t)net->n_entries);
    set_weights(net, weights, net->gates);
}

cel_status cel_supernet_evaluate(cel_supernet *net, const double *weights, const cel_at *at, const float *images,
                                 const int32_t *labels, cel_half_step *out) {
    set_given(net, weights);
    return evaluate(net, at, images, labels, out);
}

cel_status cel_supernet_validate(cel_supernet *net, cel_policy *policy, const cel_at *at, const float *images,
                                 const int32_t *labels, cel_half_step *out) {
    cel_policy_mean(policy, net->weights);
    return cel_supernet_evaluate(net, net->weights, at, images, labels, out);
}

cel_status cel_supernet_rollout(cel_supernet *net, cel_policy *policy, const cel_at *at, const float *images,
                                const int32_t *labels, cel_half_step *out) {
    draw(net, policy, at);
    CEL_TRY(evaluate(net, at, images, labels, out));
    cel_feedback feedback = {.loss = out->loss, .accuracy = out->correct / net->batch};
    policy->method->reward(policy, at, &feedback);
    return CEL_OK;
}

cel_status cel_supernet_weights_gradient(cel_supernet *net, const double *weights, const cel_at *at,
                                         const float *images, const int32_t *labels, double *dweights,
                                         cel_half_step *out) {
    *out = (cel_half_step){.loss = 0};
    set_given(net, weights);
    feed(net, at, images, labels);
    CEL_TRY(run(net, at, net->arch_program, &out->loss, &out->correct));
    read_dweights(net, dweights);
    return CEL_OK;
}
