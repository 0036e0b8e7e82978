/* SNAS: the weights of each choice are a draw from the Concrete distribution, a softmax of learned numbers and Gumbel noise that a
 * falling temperature drives to one operation.
 *
 * Xie et al., "SNAS: Stochastic Neural Architecture Search", ICLR 2019 (arXiv:1812.09926), section 2.2: Z = softmax((log alpha + G) / tau);
 * weights and architecture share one loss on one batch (search.levels: single unless the recipe says otherwise).
 *
 * Like the authors' code: log alpha starts at N(1, 0.01^2); Adam with lr 3e-4, betas (0.5, 0.999), decay 1e-3; tau falls linearly
 * from 1 towards 0.03, which it would reach after the last of 150 epochs (tau_epochs: 150). Without their resource constraint. The SNAS of
 * DrNAS' comparison on NAS-Bench-201 is levels: bilevel, tau 10 to 1 over all epochs. */
#include "math/gumbel.h"
#include "nas/search/part_logits.h"
#include "train/schedule.h"

typedef struct conf {
    cel_part_logits_conf logits;
    double tau, tau_min;
    int tau_epochs;
} conf;

static const cel_opt opts[] = {
    CEL_PART_LOGITS_OPTS(3e-4, 1e-3, 1, 0.01), CEL_REAL(conf, tau, 1, 1e-6, 1e6, "temperature of the first epoch"),
    CEL_REAL(conf, tau_min, 0.03, 1e-6, 1e6, "temperature at the end of its fall, which is linear"),
    CEL_INT(conf, tau_epochs, 0, 0, 100000, "epochs after which it is there, to stay; 0: the last epoch has it"),
    CEL_OPTS_END};

typedef struct state {
    cel_part_logits logits;
} state;

static double temperature(const conf *c, const cel_at *at) {
    if (c->tau_epochs == 0) return cel_schedule_linear(at->epoch, at->n_epochs, c->tau, c->tau_min);
    if (at->epoch >= c->tau_epochs) return c->tau_min;
    return cel_schedule_linear(at->epoch, c->tau_epochs + 1, c->tau, c->tau_min);
}

/* A replayed draw is its Gumbel noise. */
static void sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates) {
    const state *s = policy->state;
    double tau = temperature(policy->conf, at);
    cel_rng rng;
    cel_policy_rng(policy, at, &rng);
    for (int c = 0; c < policy->choices->n; c++) {
        const cel_choice *choice = &policy->choices->choice[c];
        double *row = weights + choice->first;
        cel_gumbel_noise(&rng, choice->n, row);
        for (int i = 0; i < choice->n; i++) {
            if (at->replay) row[i] = at->replay[choice->first + i];
            row[i] = (s->logits.alpha[choice->first + i] + row[i]) / tau;
        }
        cel_part_softmax(policy, choice, weights, weights);
    }
    for (int i = 0; i < policy->n_params; i++) {
        s->logits.weights[i] = weights[i];
        if (weights[i] == 0) gates[i] = 0; /* underflowed at a low temperature */
    }
}

static void gradient(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad) {
    double tau = temperature(policy->conf, at);
    cel_part_logits_gradient(policy, at, feedback, grad);
    for (int i = 0; i < policy->n_params; i++) grad[i] /= tau;
}

const cel_method cel_method_snas = {.name = "snas",
                                    .title = "SNAS",
                                    .paper = "arXiv:1812.09926",
                                    .opts = opts,
                                    .conf_size = sizeof(conf),
                                    .levels = CEL_LEVELS_SINGLE,
                                    .state_size = sizeof(state),
                                    .init = cel_part_logits_init,
                                    .sample = sample,
                                    .gradient = gradient,
                                    .step = cel_part_logits_step,
                                    .penalty = cel_part_logits_penalty,
                                    .lr = cel_part_logits_lr,
                                    .mean = cel_part_logits_mean,
                                    .draw = cel_part_logits_draw,
                                    .prune = cel_part_logits_prune};
