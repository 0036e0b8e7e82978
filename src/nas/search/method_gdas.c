/* GDAS: each choice draws one operation, and only that one is computed; the gradient passes the draw straight through to its softmax.
 *
 * Dong and Yang, "Searching for A Robust Neural Architecture in Four GPU Hours", CVPR 2019 (arXiv:1910.04465), eq. 4 to 7: with
 * Gumbel noise o, h = one-hot(argmax(log softmax(alpha) + o)) forward, and backward h = softmax((log softmax(alpha) + o) / tau). The
 * temperature falls linearly over the epochs. The operations that were not drawn take part as their weight, 0, added to the node, so
 * that their parameters get a gradient without their being computed (straight_through of the network's cells).
 *
 * Like the authors' code: alpha starts at 1e-3 N(0, 1), a draw of its own for each half-step, shared by all cells; Adam (0.5, 0.999) with
 * decay 1e-3; tau from 10 to 0.1 (tau_min: 1 for the GDAS of DrNAS' comparison); the genotype is the largest alpha.
 * Unlike it: one-hot is written as such, where theirs leaves the rounding of 1 - p + p; and draws need no repetition, as neither
 * noise nor softmax can come out infinite here. */
#include "math/gumbel.h"
#include "nas/search/part_logits.h"
#include "train/schedule.h"

typedef struct conf {
    cel_part_logits_conf logits;
    double tau, tau_min;
} conf;

static const cel_opt opts[] = {
    CEL_PART_LOGITS_OPTS(3e-4, 1e-3, 0, 1e-3), CEL_REAL(conf, tau, 10, 1e-6, 1e6, "temperature of the first epoch"),
    CEL_REAL(conf, tau_min, 0.1, 1e-6, 1e6, "temperature of the last epoch; linear between"), CEL_OPTS_END};

static double temperature(const cel_policy *policy, const cel_at *at) {
    const conf *c = policy->conf;
    return cel_schedule_linear(at->epoch, at->n_epochs, c->tau, c->tau_min);
}

/* A replayed draw is its Gumbel noise. */
static void sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates) {
    const cel_part_logits *s = policy->state;
    double tau = temperature(policy, at);
    cel_rng rng;
    cel_policy_rng(policy, at, &rng);
    for (int c = 0; c < policy->choices->n; c++) {
        const cel_choice *choice = &policy->choices->choice[c];
        int first = choice->first, drawn = -1;
        double noise[CEL_MAX_CANDIDATES], *soft = s->weights;
        cel_gumbel_noise(&rng, choice->n, noise);
        for (int i = 0; i < choice->n; i++) {
            soft[first + i] = (s->alpha[first + i] + (at->replay ? at->replay[first + i] : noise[i])) / tau;
            gates[first + i] = 0;
            if (policy->live[first + i] && (drawn < 0 || soft[first + i] > soft[first + drawn])) drawn = i;
        }
        weights[first + drawn] = gates[first + drawn] = 1;
        cel_part_softmax(policy, choice, soft, soft);
    }
}

static void gradient(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad) {
    double tau = temperature(policy, at);
    cel_part_logits_gradient(policy, at, feedback, grad); /* through the soft rows of the draw */
    for (int i = 0; i < policy->n_params; i++) grad[i] /= tau;
}

const cel_method cel_method_gdas = {.name = "gdas",
                                    .title = "GDAS",
                                    .paper = "arXiv:1910.04465",
                                    .opts = opts,
                                    .conf_size = sizeof(conf),
                                    .state_size = sizeof(cel_part_logits),
                                    .straight_through = true,
                                    .init = cel_part_logits_init,
                                    .sample = sample,
                                    .gradient = gradient,
                                    .step = cel_part_logits_step,
                                    .penalty = cel_part_logits_penalty,
                                    .lr = cel_part_logits_lr,
                                    .mean = cel_part_logits_mean,
                                    .draw = cel_part_logits_draw,
                                    .prune = cel_part_logits_prune};
