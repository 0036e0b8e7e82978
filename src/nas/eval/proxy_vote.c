/* vote (Abdelfattah et al., ICLR 2021, arXiv:2101.08134, section 3): of two cells the one that most of synflow,
 * jacob_cov and snip prefer. Over a set, a cell's worth is the number of cells that it beats. */
#include "nas/eval/proxy.h"

const cel_proxy cel_proxy_vote = {.name = "vote",
                                  .title = "majority of synflow, jacob_cov and snip",
                                  .paper = "arXiv:2101.08134",
                                  .higher_is_better = true,
                                  .of_names = {"synflow", "jacob_cov", "snip"},
                                  .combine = cel_proxy_majority};
