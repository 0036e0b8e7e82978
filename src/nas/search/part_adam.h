/* Adam on a method's parameters, as a part: its settings, its saved moments, its step.
 *
 * A method whose settings begin with a cel_part_adam_conf lists them by CEL_PART_ADAM_OPTS: the tables' offsets then hold. */
#ifndef CEL_NAS_PART_ADAM_H
#define CEL_NAS_PART_ADAM_H
#include "base/conf/opt.h"
#include "nas/search/policy.h"

typedef struct cel_part_adam_conf {
    double lr, beta1, beta2, eps, weight_decay, clip;
} cel_part_adam_conf;
#define CEL_PART_ADAM_OPTS(lr_, decay_)                                                                                \
    CEL_REAL(cel_part_adam_conf, lr, lr_, 0, 10, "learning rate of the architecture's parameters"),                    \
        CEL_REAL(cel_part_adam_conf, beta1, 0.5, 0, 0.999999, "Adam's memory of the gradient"),                        \
        CEL_REAL(cel_part_adam_conf, beta2, 0.999, 0, 0.999999999, "Adam's memory of its square"),                     \
        CEL_REAL(cel_part_adam_conf, eps, 1e-8, 1e-300, 1, "Adam's epsilon"),                                          \
        CEL_REAL(cel_part_adam_conf, weight_decay, decay_, 0, 1e3, "L2 decay of the architecture's parameters"),       \
        CEL_REAL(cel_part_adam_conf, clip, 0, 0, 1e9, "largest norm of their gradient; 0: no clipping")

typedef struct cel_part_adam {
    double *m, *v, *t; /* saved as adam.m, adam.v, adam.t */
    double *grad;      /* n_params: what cel_part_adam_step goes by; to be filled before it */
} cel_part_adam;
/* In a method's init. */
cel_status cel_part_adam_init(cel_policy *policy, cel_part_adam *adam);
/* Clips adam->grad and moves the live ones of the n_entries parameters x. */
void cel_part_adam_step(cel_policy *policy, const cel_part_adam_conf *conf, cel_part_adam *adam, double *x);
#endif
