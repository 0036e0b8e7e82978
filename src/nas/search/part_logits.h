/* What methods share whose distribution is one number an entry, alpha, with the softmax over a choice's live entries as its mean: DARTS,
 * PC-DARTS, SNAS. The functions of a cel_method, for a state that begins with a cel_part_logits and settings that begin with a
 * cel_part_logits_conf. */
#ifndef CEL_NAS_PART_LOGITS_H
#define CEL_NAS_PART_LOGITS_H
#include "base/rng.h"
#include "nas/search/part_adam.h"

typedef struct cel_part_logits_conf {
    cel_part_adam_conf adam;
    double init_mean, init_scale, kl_scale, beta_scale;
} cel_part_logits_conf;
#define CEL_PART_LOGITS_OPTS(lr_, decay_, init_mean_, init_scale_)                                                     \
    CEL_PART_ADAM_OPTS(lr_, decay_),                                                                                   \
        CEL_REAL(cel_part_logits_conf, init_mean, init_mean_, -100, 100, "mean of the parameters at the start"),       \
        CEL_REAL(cel_part_logits_conf, init_scale, init_scale_, 0, 10, "spread of the parameters at the start"),       \
        CEL_REAL(cel_part_logits_conf, kl_scale, 0, 0, 1e3,                                                            \
                 "strength of the anchor KL(softmax to uniform), summed over the choices"),                            \
        CEL_REAL(cel_part_logits_conf, beta_scale, 0, 0, 1e6,                                                          \
                 "beta-DARTS' regulariser, mean ln sum exp(alpha): its weight after the last epoch, rising from 0 "    \
                 "(theirs: 50)")

typedef struct cel_part_logits {
    double *alpha; /* saved */
    cel_part_adam adam;
    double *weights; /* of the last draw: the softmax of what `logits` was */
    double *ramp;    /* of the last step */
} cel_part_logits;

/* alpha = init_mean + init_scale N(0, 1), from the stream "METHOD.init". */
cel_status cel_part_logits_init(cel_policy *policy);
/* softmax(alpha), every live entry on, no randomness. A replayed draw is the weights themselves. */
void cel_part_logits_sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates);
void cel_part_logits_gradient(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad);
/* Adam on the gradient and the regularisers'. */
void cel_part_logits_step(cel_policy *policy, const cel_at *at, const double *grad, const double *grad2);
double cel_part_logits_penalty(const cel_policy *policy);
double cel_part_logits_lr(const cel_policy *policy);
void cel_part_logits_mean(const cel_policy *policy, double *mean);
/* One operation a choice, with the probabilities of the mean (Gumbel-max). */
void cel_part_logits_draw(const cel_policy *policy, struct cel_rng *rng, double *weights);
cel_status cel_part_logits_prune(cel_policy *policy, int keep);

/* For one choice: softmax over what is live, 0 elsewhere, from n_entries logarithms; and its product with a gradient. */
void cel_part_softmax(const cel_policy *policy, const cel_choice *choice, const double *log_x, double *weights);
#endif
