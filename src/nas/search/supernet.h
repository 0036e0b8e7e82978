/* The supernet of one progressive stage, ready to step: its graph, executor and programs, the weights' momentum, and the half-steps
 * of bilevel search (DARTS, arXiv:1806.09055, first and second order; DrNAS, arXiv:2006.10355) or the one step of single-level search
 * (SNAS, arXiv:1812.09926).
 *
 * Each half-step computes only what it uses: the architecture's the gradient by the edge weights and none by the network's, the weights'
 * the other way round (but for clip_arch and single-level steps). Nothing is allocated after creation. */
#ifndef CEL_NAS_SUPERNET_H
#define CEL_NAS_SUPERNET_H
#include "engine/exec/exec.h"
#include "nas/search/policy.h"
#include "nas/space/space.h"
#include "train/optim.h"

typedef struct cel_supernet_conf {
    const cel_space *space;
    const void *space_conf;
    cel_net_shape shape;
    cel_supernet_form form; /* live: NULL = all */
    const cel_backend *backend;
    cel_pool *pool;
    uint64_t seed;
    bool clip_arch;    /* the weight half-step computes the architecture's gradient too, for the clipped norm */
    bool single_level; /* there is cel_supernet_single_step */
    bool second_order; /* there is cel_supernet_unrolled_step */
} cel_supernet_conf;

typedef struct cel_supernet {
    const cel_space *space;
    cel_graph *graph;
    cel_exec *exec;
    cel_pool *pool;
    cel_net net;
    int n_entries, batch;
    bool clip_arch;
    uint64_t seed;
    int arch_program, weight_program, both_program, valid_program; /* both: -1 unless something needs it */
    cel_val dweights[CEL_NET_MAX_GROUPS];
    cel_pieces pieces;
    float *momentum; /* laid out like the parameters */
    size_t n_floats;
    struct {
        float *params, *states; /* second order: what the network had before it was unrolled */
        double *dweights;       /* entries */
        size_t n_states;
    } kept;
    double *weights, *dweights_now, *grad, *mean, *mean2; /* entries, entries, n_grad */
    float *group;
    uint8_t *gates;
} cel_supernet;

/* n_grad: cel_policy_n_grad. */
cel_status cel_supernet_create(const cel_supernet_conf *conf, int n_grad, cel_supernet **out);
void cel_supernet_destroy(cel_supernet *net);
/* Lists "weights.NAME", "momentum.NAME" and "statistics.NAME". */
cel_status cel_supernet_save(cel_supernet *net, cel_state *state);

typedef struct cel_half_step {
    double loss;         /* cross entropy, mean over the batch (and the draws) */
    double correct;      /* hits (mean over the draws) */
    double norm;         /* weight half-step: norm that was clipped */
    double norm_weights; /* the same without the architecture's part */
} cel_half_step;
/* One batch: images batch x channels x height x width, labels batch. */
typedef struct cel_supernet_batch {
    const float *images;
    const int32_t *labels;
} cel_supernet_batch;

/* Half-steps give CEL_DIVERGED when a loss, norm or gradient is not finite: nothing has moved then but the running statistics. */
cel_status cel_supernet_arch_step(cel_supernet *net, cel_policy *policy, const cel_at *at, const float *images,
                                  const int32_t *labels, cel_half_step *out);
cel_status cel_supernet_weight_step(cel_supernet *net, cel_policy *policy, const cel_at *at, const cel_sgd *sgd,
                                    double clip, const float *images, const int32_t *labels, cel_half_step *out);
/* The architecture half-step of second order (DARTS, eqs. 7 and 8): the gradient of the validation loss after one step of the weights,
 * w' = w - xi (momentum * buffer + g + weight_decay * w), g = d L_train(w) / d w, as of the next weight half-step on `train`, without
 * clipping and without Nesterov's look ahead. With v = d L_valid(w') / d w' and R = 0.01 / |v|,
 *
 *   d / d weights = d L_valid(w', weights) - xi (d L_train(w + R v, weights) - d L_train(w - R v, weights)) / (2 R),
 *
 * all at one draw, and the method's own gradient follows by the chain rule. Parameters that a draw does not use do not move.
 * Weights and running statistics are afterwards what they were, bit by bit: none of the four passes leaves a trace in them. */
cel_status cel_supernet_unrolled_step(cel_supernet *net, cel_policy *policy, const cel_at *at, const cel_sgd *sgd,
                                      double xi, const cel_supernet_batch *train, const cel_supernet_batch *valid,
                                      cel_half_step *out);
/* Single level: one draw (CEL_PHASE_ARCH) and one pass give the gradients of both; then the weights move, then the distribution. */
cel_status cel_supernet_single_step(cel_supernet *net, cel_policy *policy, const cel_at *at, const cel_sgd *sgd,
                                    double clip, const float *images, const int32_t *labels, cel_half_step *out);
/* A forward pass in evaluation mode with the mean architecture weights. */
cel_status cel_supernet_validate(cel_supernet *net, cel_policy *policy, const cel_at *at, const float *images,
                                 const int32_t *labels, cel_half_step *out);
/* The same with given weights (n_entries), one architecture's for example: 1 for what it takes, 0 elsewhere. What has weight 0 is
 * not computed. */
cel_status cel_supernet_evaluate(cel_supernet *net, const double *weights, const cel_at *at, const float *images,
                                 const int32_t *labels, cel_half_step *out);
/* A pass of cel_method.rollouts: draws, evaluates, and hands loss and accuracy to the method. */
cel_status cel_supernet_rollout(cel_supernet *net, cel_policy *policy, const cel_at *at, const float *images,
                                const int32_t *labels, cel_half_step *out);
/* d loss / d weights (n_entries) in training mode at given weights; the running statistics move. */
cel_status cel_supernet_weights_gradient(cel_supernet *net, const double *weights, const cel_at *at,
                                         const float *images, const int32_t *labels, double *dweights,
                                         cel_half_step *out);

/* Fills index[0..n-1] with channels 0 .. have-1 of `layer`, along its outputs or its inputs. */
typedef void cel_widen_draw(void *ctx, const char *layer, bool in, int have, int32_t *index, int n);
/* What goes from one stage to the next: a copy of weights, momentum and statistics with their names. So the old network, whose
 * activations are most of a search's memory, can be destroyed before the new one is made. */
typedef struct cel_luggage cel_luggage;
cel_status cel_supernet_pack(const cel_supernet *net, cel_luggage **out);
void cel_luggage_destroy(cel_luggage *luggage);
/* Copies them by name into the next stage's network; what has grown copies channels, those of the draw, along the inputs, then along
 * the outputs (Net2WiderNet, Chen et al., arXiv:1511.05641, without its division by the number of copies, as in DrNAS). */
cel_status cel_supernet_carry(const cel_luggage *from, cel_supernet *to, cel_widen_draw *draw, void *ctx);
/* The draw of a search; ctx: a cel_widen_seed. */
typedef struct cel_widen_seed {
    uint64_t seed;
    int stage;
} cel_widen_seed;
cel_widen_draw cel_widen_draw_random;
#endif
