/* DARTS: the weights of each choice are the softmax of learned numbers.
 *
 * Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019 (arXiv:1806.09055), eqs. 2 to 8. Of second order with
 * search.order: second (supernet.h says how).
 *
 * Like the authors' code: alpha starts at 1e-3 N(0, 1); Adam with betas (0.5, 0.999), decay 1e-3; the genotype is the largest softmax of
 * each edge. Unlike it, on NAS-Bench-201 `none` is a legal choice, as in that benchmark's own DARTS. With method.beta_scale it is
 * beta-DARTS (Ye et al., CVPR 2022, arXiv:2203.01665). */
#include "nas/search/part_logits.h"

static const cel_opt opts[] = {CEL_PART_LOGITS_OPTS(3e-4, 1e-3, 0, 1e-3), CEL_OPTS_END};

const cel_method cel_method_darts = {.name = "darts",
                                     .title = "DARTS",
                                     .paper = "arXiv:1806.09055",
                                     .opts = opts,
                                     .conf_size = sizeof(cel_part_logits_conf),
                                     .state_size = sizeof(cel_part_logits),
                                     .init = cel_part_logits_init,
                                     .sample = cel_part_logits_sample,
                                     .gradient = cel_part_logits_gradient,
                                     .step = cel_part_logits_step,
                                     .penalty = cel_part_logits_penalty,
                                     .lr = cel_part_logits_lr,
                                     .mean = cel_part_logits_mean,
                                     .draw = cel_part_logits_draw,
                                     .prune = cel_part_logits_prune};
