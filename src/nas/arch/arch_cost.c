/* Parameters and multiply-adds of NAS-Bench-201's networks, counted as the benchmark counts them. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "cellar/arch.h"
#include "cellar/text.h"

cel_status cel_nb201_net_find(const char *dataset, cel_nb201_net *out) {
    static const char *const names[] = {"cifar10", "cifar100", "imagenet16", "imagenet16-120"};
    static const cel_nb201_net nets[] = {{16, 5, 10, 32}, {16, 5, 100, 32}, {16, 5, 120, 16}, {16, 5, 120, 16}};
    for (size_t i = 0; i < CEL_COUNT(names); i++)
        if (!strcasecmp(dataset, names[i])) {
            *out = nets[i];
            return CEL_OK;
        }
    const char *near = cel_text_nearest(dataset, names, CEL_COUNT(names));
    return CEL_FAIL(CEL_NOTFOUND,
                    "NAS-Bench-201 has no network for data set \"%.40s\": there are cifar10, cifar100 and "
                    "imagenet16%s%s%s",
                    dataset, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static cel_status check_net(const cel_nb201_net *net) {
    if (net->c < 1 || net->c > 1024)
        return CEL_FAIL(CEL_CONFIG, "NAS-Bench-201 network: C = %d, expected 1 .. 1024 channels", net->c);
    if (net->n < 1 || net->n > 1000)
        return CEL_FAIL(CEL_CONFIG, "NAS-Bench-201 network: N = %d, expected 1 .. 1000 cells a stage", net->n);
    if (net->classes < 1 || net->classes > 1000000)
        return CEL_FAIL(CEL_CONFIG, "NAS-Bench-201 network: %d classes, expected 1 .. 1000000", net->classes);
    if (net->image < 4 || net->image > 4096 || net->image % 4)
        return CEL_FAIL(CEL_CONFIG,
                        "NAS-Bench-201 network: images of %d x %d, expected a multiple of 4 up to 4096: two reductions "
                        "halve them",
                        net->image, net->image);
    return CEL_OK;
}

static void add_conv(cel_arch_cost *cost, int64_t in, int64_t out, int64_t kernel, int64_t side) {
    int64_t weights = in * out * kernel * kernel;
    cost->params += weights;
    cost->flops += weights * side * side;
}

/* Everything but the searched cells. */
static cel_arch_cost frame_cost(const cel_nb201_net *net) {
    cel_arch_cost cost = {0, 0};
    int64_t c = net->c, side = net->image;
    add_conv(&cost, 3, c, 3, side);
    cost.params += 2 * c;
    for (int stage = 1; stage < 3; stage++) {
        c *= 2, side /= 2;
        add_conv(&cost, c / 2, c, 3, side);
        add_conv(&cost, c, c, 3, side);
        add_conv(&cost, c / 2, c, 1, side);
        cost.params += 4 * c;
    }
    cost.params += 2 * c + c * net->classes + net->classes;
    cost.flops += c * net->classes + net->classes;
    return cost;
}

cel_status cel_nb201_cost(const cel_genotype *g, const cel_nb201_net *net, cel_arch_cost *out) {
    CEL_TRY(cel_genotype_check(g));
    if (g->space != CEL_ARCH_NB201)
        return CEL_FAIL(CEL_UNSUPPORTED, "cost: a %s genotype does not fit NAS-Bench-201's network",
                        cel_topology_get(g->space)->label);
    CEL_TRY(check_net(net));
    cel_arch_cost cost = frame_cost(net);
    for (int stage = 0; stage < 3; stage++) {
        int64_t c = (int64_t)net->c << stage;
        cel_arch_cost cell = {0, 0};
        for (int e = 0; e < g->n; e++) {
            int kernel = g->edge[e].op == CEL_NB201_CONV_3X3 ? 3 : g->edge[e].op == CEL_NB201_CONV_1X1 ? 1 : 0;
            if (!kernel) continue;
            add_conv(&cell, c, c, kernel, net->image >> stage);
            cell.params += 2 * c;
        }
        cost.params += net->n * cell.params;
        cost.flops += net->n * cell.flops;
    }
    *out = cost;
    return CEL_OK;
}

cel_status cel_nb201_super_params(const cel_nb201_net *net, int k, int64_t *out) {
    CEL_TRY(check_net(net));
    if (k < 1 || net->c % k) {
        char fits[160] = "";
        size_t n = 0;
        for (int d = 1; d <= net->c && n + 8 < sizeof fits; d++)
            if (net->c % d == 0) n += (size_t)snprintf(fits + n, sizeof fits - n, "%s%d", d > 1 ? ", " : "", d);
        return CEL_FAIL(CEL_CONFIG, "partial channels: C = %d is not divisible by K = %d; with this C, K can be %s",
                        net->c, k, fits);
    }
    int64_t params = frame_cost(net).params;
    for (int stage = 0; stage < 3; stage++) {
        int64_t c = ((int64_t)net->c << stage) / k;
        params += net->n * CEL_NB201_EDGES * c * c * (1 + 9);
    }
    *out = params;
    return CEL_OK;
}
