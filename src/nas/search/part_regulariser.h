/* What is added to a search's loss, as parts: functions of the parameters alone, value and gradient.
 *
 * Each returns its value and adds `scale` times its gradient to grad (n_entries) unless that is NULL. Only live entries count, and only
 * theirs get a gradient. L2 is Adam's decay (part_adam.h). */
#ifndef CEL_NAS_PART_REGULARISER_H
#define CEL_NAS_PART_REGULARISER_H
#include "nas/search/policy.h"

/* beta-DARTS (Ye et al., CVPR 2022, arXiv:2203.01665): the mean over the choices of ln sum exp(alpha). */
double cel_part_log_sum_exp(const cel_policy *policy, const double *alpha, double scale, double *grad);
/* Sum over the choices of KL(softmax(alpha) to the uniform distribution). */
double cel_part_kl_uniform(const cel_policy *policy, const double *alpha, double scale, double *grad);
/* Sum over the choices of KL(Dir(ELU(eta) + 1) to Dir(1)) (DrNAS, arXiv:2006.10355), of whole rows: a pruned eta counts as what it is,
 * 0, where the concentration is 1. */
double cel_part_kl_dirichlet(const cel_policy *policy, const double *eta, double scale, double *grad);
/* Sum over the entries of KL(N(mu, sigma^2) to N(0, 1/precision)) (BaLeNAS). dmu is added to grad. */
double cel_part_kl_gaussian(const cel_policy *policy, const double *mu, const double *sigma, double precision,
                            double scale, double *grad);

/* 0 in the first epoch, rising linearly towards 1 after the last: beta-DARTS' weight. */
double cel_part_ramp(const cel_at *at);
#endif
