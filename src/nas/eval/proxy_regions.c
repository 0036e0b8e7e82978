/* TE-NAS' two scores (Chen et al., "Neural architecture search on ImageNet in four GPU hours", ICLR 2021,
 * arXiv:2102.11535), and their rank sum.
 *
 * ntk: the condition number of G_ij = <df_i/dw, df_j/dw>, f the sum of an image's logits, over all that PyTorch calls
 * "weight", batch norm in training mode, so that each image's gradient goes through all images; weights He-normal;
 * the mean over networks. Lower is better.
 *
 * linear_regions: the number of different sign patterns of all ReLUs among small random crops, in a thin network;
 * more is better. The authors take 3x3 crops of one channel; this engine's networks reduce twice and get 4x4 crops of
 * the images' channels.
 *
 * te_nas: cells ranked by both, ranks added. The authors rank operations of a supernet while they prune it; this
 * ranks given cells. */
#include <math.h>

#include "nas/eval/proxy.h"

static cel_status ntk(const cel_probe *p, double *out) {
    *out = 0;
    for (int i = 0; i < p->conf->ntk->ntk_repeats; i++) *out += p->ntk_value[i] / p->conf->ntk->ntk_repeats;
    return CEL_OK;
}

static cel_status linear_regions(const cel_probe *p, double *out) {
    *out = p->regions;
    return CEL_OK;
}

const cel_proxy cel_proxy_ntk = {.name = "ntk",
                                 .title = "condition number of the neural tangent kernel",
                                 .paper = "arXiv:2102.11535",
                                 .reads = CEL_READ_IMAGES | CEL_READ_NTK,
                                 .score = ntk};
const cel_proxy cel_proxy_linear_regions = {.name = "linear_regions",
                                            .title = "number of linear regions",
                                            .paper = "arXiv:2102.11535",
                                            .higher_is_better = true,
                                            .reads = CEL_READ_IMAGES | CEL_READ_REGIONS,
                                            .score = linear_regions};
const cel_proxy cel_proxy_te_nas = {.name = "te_nas",
                                    .title = "TE-NAS: ranks by ntk and linear_regions, added",
                                    .paper = "arXiv:2102.11535",
                                    .higher_is_better = true,
                                    .of_names = {"ntk", "linear_regions"},
                                    .combine = cel_proxy_rank_sum};
