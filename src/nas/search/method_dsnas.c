/* DSNAS: weights and architecture learn from the same pass over one drawn path; the architecture by the score function, with a reward of
 * its own for each choice.
 *
 * Hu et al., "DSNAS: Direct Neural Architecture Search without Parameter Retraining", CVPR 2020 (arXiv:2002.09128), eq. 7 to 9: a
 * one-hot Z is drawn from softmax(alpha), the network runs that path alone, and alpha of an edge moves along grad log p(Z) R,
 * R = sum_o dL/dZ_o = dL/dZ of the operation that ran. That is the limit tau -> 0 of the Gumbel softmax' gradient.
 *
 * Like the authors' code: alpha, their log alpha, starts at N(1, 0.01^2), Adam with rate 1e-3, betas (0.5, 0.999) and no decay, one level,
 * and an edge whose best operation is more probable than the next by 0.3 is fixed to it for good.
 * Unlike it: that is looked at after each step of the architecture (method.fix; 0: never). */
#include <math.h>

#include "math/gumbel.h"
#include "math/softmax.h"
#include "nas/search/part_logits.h"

typedef struct conf {
    cel_part_logits_conf logits;
    double fix;
} conf;

static const cel_opt opts[] = {
    CEL_PART_LOGITS_OPTS(1e-3, 0, 1, 0.01),
    CEL_REAL(conf, fix, 0.3, 0, 1,
             "an edge is fixed once its best operation is more probable than the next by so much; 0: never"),
    CEL_OPTS_END};

/* A choice's alpha, with no chance for what is not live. */
static void logits(const cel_policy *policy, const cel_choice *choice, double logit[CEL_MAX_CANDIDATES]) {
    const cel_part_logits *s = policy->state;
    for (int i = 0; i < choice->n; i++)
        logit[i] = policy->live[choice->first + i] ? s->alpha[choice->first + i] : -INFINITY;
}

/* A replayed draw is one-hot. */
static void sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates) {
    cel_part_logits *s = policy->state;
    cel_rng rng;
    cel_policy_rng(policy, at, &rng);
    for (int c = 0; c < policy->choices->n; c++) {
        const cel_choice *choice = &policy->choices->choice[c];
        double logit[CEL_MAX_CANDIDATES];
        logits(policy, choice, logit);
        int drawn = at->replay ? cel_argmax(at->replay + choice->first, choice->n)
                               : cel_categorical_sample(&rng, logit, choice->n);
        for (int i = 0; i < choice->n; i++)
            s->weights[choice->first + i] = weights[choice->first + i] = gates[choice->first + i] = i == drawn;
    }
}

static void gradient(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad) {
    const cel_part_logits *s = policy->state;
    (void)at;
    for (int c = 0; c < policy->choices->n; c++) {
        const cel_choice *choice = &policy->choices->choice[c];
        double logit[CEL_MAX_CANDIDATES], score[CEL_MAX_CANDIDATES];
        int drawn = cel_argmax(s->weights + choice->first, choice->n);
        logits(policy, choice, logit);
        cel_categorical_log_prob(logit, choice->n, drawn, score);
        for (int i = 0; i < choice->n; i++)
            grad[choice->first + i] = score[i] * feedback->dweights[choice->first + drawn];
    }
}

/* Fixes a choice that is as good as made. */
static void fix(cel_policy *policy, const cel_choice *choice) {
    const conf *c = policy->conf;
    cel_part_logits *s = policy->state;
    double p[CEL_MAX_CANDIDATES], next = 0;
    logits(policy, choice, p);
    cel_softmax(p, choice->n, p);
    int best = cel_argmax(p, choice->n);
    for (int i = 0; i < choice->n; i++)
        if (i != best) next = fmax(next, p[i]);
    if (p[best] - next < c->fix) return;
    for (int i = 0; i < choice->n; i++)
        if (i != best) policy->live[choice->first + i] = 0, s->alpha[choice->first + i] = 0;
}

static void step(cel_policy *policy, const cel_at *at, const double *grad, const double *grad2) {
    const conf *c = policy->conf;
    cel_part_logits_step(policy, at, grad, grad2);
    for (int k = 0; c->fix > 0 && k < policy->choices->n; k++) fix(policy, &policy->choices->choice[k]);
}

const cel_method cel_method_dsnas = {.name = "dsnas",
                                     .title = "DSNAS",
                                     .paper = "arXiv:2002.09128",
                                     .opts = opts,
                                     .conf_size = sizeof(conf),
                                     .state_size = sizeof(cel_part_logits),
                                     .score_function = true,
                                     .levels = CEL_LEVELS_SINGLE,
                                     .init = cel_part_logits_init,
                                     .sample = sample,
                                     .gradient = gradient,
                                     .step = step,
                                     .penalty = cel_part_logits_penalty,
                                     .lr = cel_part_logits_lr,
                                     .mean = cel_part_logits_mean,
                                     .draw = cel_part_logits_draw,
                                     .prune = cel_part_logits_prune};
