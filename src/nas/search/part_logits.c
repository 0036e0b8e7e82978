/* Softmax over learned numbers; see part_logits.h. */
#include "nas/search/part_logits.h"

#include <stdio.h>

#include "math/gumbel.h"
#include "math/softmax.h"
#include "nas/search/part_regulariser.h"

enum { MOST = CEL_MAX_CANDIDATES };

cel_status cel_part_logits_init(cel_policy *policy) {
    const cel_part_logits_conf *c = policy->conf;
    cel_part_logits *s = policy->state;
    CEL_TRY(cel_policy_tensor(policy, "alpha", policy->n_params, &s->alpha));
    CEL_TRY(cel_part_adam_init(policy, &s->adam));
    CEL_TRY(cel_policy_scratch(policy, policy->n_params, &s->weights));
    CEL_TRY(cel_policy_scratch(policy, 1, &s->ramp));
    char stream[64];
    snprintf(stream, sizeof stream, "%s.init", policy->method->name);
    cel_rng rng = cel_rng_at(policy->seed, stream, 0, 0);
    for (int i = 0; i < policy->n_params; i++) s->alpha[i] = c->init_mean + c->init_scale * cel_rng_normal(&rng);
    return CEL_OK;
}

void cel_part_softmax(const cel_policy *policy, const cel_choice *choice, const double *log_x, double *weights) {
    bool mask[MOST];
    for (int i = 0; i < choice->n; i++) mask[i] = policy->live[choice->first + i];
    cel_simplex_mask(log_x + choice->first, mask, choice->n, weights + choice->first);
}

void cel_part_logits_mean(const cel_policy *policy, double *mean) {
    const cel_part_logits *s = policy->state;
    for (int c = 0; c < policy->choices->n; c++) cel_part_softmax(policy, &policy->choices->choice[c], s->alpha, mean);
}

void cel_part_logits_sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates) {
    cel_part_logits *s = policy->state;
    (void)gates;
    cel_part_logits_mean(policy, weights);
    for (int i = 0; at->replay && i < policy->n_params; i++) weights[i] = at->replay[i];
    for (int i = 0; i < policy->n_params; i++) s->weights[i] = weights[i];
}

void cel_part_logits_gradient(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad) {
    const cel_part_logits *s = policy->state;
    (void)at;
    for (int c = 0; c < policy->choices->n; c++) {
        int first = policy->choices->choice[c].first, n = policy->choices->choice[c].n;
        cel_simplex_mask_vjp(s->weights + first, n, feedback->dweights + first, grad + first);
    }
}

void cel_part_logits_step(cel_policy *policy, const cel_at *at, const double *grad, const double *grad2) {
    const cel_part_logits_conf *c = policy->conf;
    cel_part_logits *s = policy->state;
    (void)grad2;
    s->ramp[0] = cel_part_ramp(at);
    for (int i = 0; i < policy->n_params; i++) s->adam.grad[i] = grad[i];
    if (c->kl_scale > 0) cel_part_kl_uniform(policy, s->alpha, c->kl_scale, s->adam.grad);
    if (c->beta_scale > 0) cel_part_log_sum_exp(policy, s->alpha, c->beta_scale * s->ramp[0], s->adam.grad);
    cel_part_adam_step(policy, &c->adam, &s->adam, s->alpha);
}

double cel_part_logits_penalty(const cel_policy *policy) {
    const cel_part_logits_conf *c = policy->conf;
    const cel_part_logits *s = policy->state;
    double value = 0;
    if (c->kl_scale > 0) value += c->kl_scale * cel_part_kl_uniform(policy, s->alpha, 0, NULL);
    if (c->beta_scale > 0) value += c->beta_scale * s->ramp[0] * cel_part_log_sum_exp(policy, s->alpha, 0, NULL);
    return value;
}

double cel_part_logits_lr(const cel_policy *policy) { return ((const cel_part_logits_conf *)policy->conf)->adam.lr; }

void cel_part_logits_draw(const cel_policy *policy, cel_rng *rng, double *weights) {
    const cel_part_logits *s = policy->state;
    for (int c = 0; c < policy->choices->n; c++) {
        const cel_choice *choice = &policy->choices->choice[c];
        cel_gumbel_noise(rng, choice->n, weights + choice->first);
        for (int i = choice->first; i < choice->first + choice->n; i++) weights[i] += s->alpha[i];
    }
}

cel_status cel_part_logits_prune(cel_policy *policy, int keep) {
    cel_part_logits *s = policy->state;
    return cel_policy_keep(policy, keep, s->alpha);
}
