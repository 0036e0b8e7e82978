/* PC-DARTS: DARTS on a part of the channels, with edges that are weighed against each other.
 *
 * Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", ICLR 2020 (arXiv:1907.05737), eqs. 2
 * and 3. The distribution is DARTS'; edge normalisation is the driver's (search.edge_norm, on here unless the recipe says
 * otherwise), partial channels are the stage's k (theirs: 4), the first epochs in which only the weights move its warmup (theirs: 15 of 50).
 *
 * Like the authors' code: all parameters start at 1e-3 N(0, 1) and move by Adam with lr 6e-4, betas (0.5, 0.999), decay 1e-3. An edge's
 * operation is the largest softmax; times the edge's share where edges compete, which in NAS-Bench-201 they do not. */
#include "nas/search/part_logits.h"

static const cel_opt opts[] = {CEL_PART_LOGITS_OPTS(6e-4, 1e-3, 0, 1e-3), CEL_OPTS_END};

const cel_method cel_method_pcdarts = {.name = "pcdarts",
                                       .title = "PC-DARTS",
                                       .paper = "arXiv:1907.05737",
                                       .opts = opts,
                                       .edge_norm = true,
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
