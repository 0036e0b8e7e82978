/* params and flops: what every proxy must be better than. Of the network that one would train. */
#include <math.h>

#include "nas/eval/proxy.h"

static cel_status cost(const cel_probe *p, cel_arch_cost *out) {
    return p->conf->space->cost(p->conf->space_conf, &p->conf->shape, p->genotype, out);
}

static cel_status params(const cel_probe *p, double *out) {
    cel_arch_cost c;
    CEL_TRY(cost(p, &c));
    *out = (double)c.params;
    return CEL_OK;
}

static cel_status flops(const cel_probe *p, double *out) {
    cel_arch_cost c;
    CEL_TRY(cost(p, &c));
    *out = (double)c.flops;
    return CEL_OK;
}

const cel_proxy cel_proxy_params = {
    .name = "params", .title = "number of parameters", .paper = "", .higher_is_better = true, .score = params};
const cel_proxy cel_proxy_flops = {
    .name = "flops", .title = "multiply-adds of one image", .paper = "", .higher_is_better = true, .score = flops};
