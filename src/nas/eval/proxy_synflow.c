/* synflow: the flow through the network of absolute weights (Tanaka et al., 2020); see flow.c. Raw, up to some 1e50
 * for NAS-Bench-201's largest cells; others print its logarithm. */
#include "nas/eval/flow.h"
#include "nas/eval/proxy.h"

static cel_status synflow(const cel_probe *p, double *out) {
    double r;
    return cel_flow_run(p, &r, out);
}

const cel_proxy cel_proxy_synflow = {.name = "synflow",
                                     .title = "SynFlow: flow through the absolute weights",
                                     .paper = "arXiv:2006.05467",
                                     .higher_is_better = true,
                                     .reads = CEL_READ_FLOW,
                                     .score = synflow};
