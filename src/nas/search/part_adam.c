/* Adam on a method's parameters; see part_adam.h. */
#include "nas/search/part_adam.h"

#include <math.h>

#include "train/optim.h"

cel_status cel_part_adam_init(cel_policy *policy, cel_part_adam *adam) {
    CEL_TRY(cel_policy_tensor(policy, "adam.m", policy->n_params, &adam->m));
    CEL_TRY(cel_policy_tensor(policy, "adam.v", policy->n_params, &adam->v));
    CEL_TRY(cel_policy_tensor(policy, "adam.t", 1, &adam->t));
    return cel_policy_scratch(policy, policy->n_params, &adam->grad);
}

void cel_part_adam_step(cel_policy *policy, const cel_part_adam_conf *conf, cel_part_adam *adam, double *x) {
    double squares = 0;
    for (int i = 0; i < policy->n_params; i++) squares += adam->grad[i] * adam->grad[i];
    double factor = cel_clip_factor(sqrt(squares), conf->clip);
    for (int i = 0; i < policy->n_params; i++) adam->grad[i] *= factor;
    cel_adam step = {conf->beta1, conf->beta2, conf->eps, conf->weight_decay};
    adam->t[0] += 1;
    cel_adam_step(&step, conf->lr, (int64_t)adam->t[0], policy->n_params, policy->live, x, adam->grad, adam->m,
                  adam->v);
}
