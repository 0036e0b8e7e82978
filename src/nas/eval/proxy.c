/* The registered proxies, and how several become one order. */
#include "nas/eval/proxy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cellar/text.h"
#include "math/rank_stats.h"

const cel_proxy *const cel_proxies[] = {
#define CEL_PROXY(name) &cel_proxy_##name,
#include "nas/eval/proxies.def"
#undef CEL_PROXY
    NULL};

int cel_proxy_count(void) { return (int)CEL_COUNT(cel_proxies) - 1; }

cel_proxy_info cel_proxy_get(int i) {
    const unsigned no_gradient = CEL_READ_IMAGES | CEL_READ_CODES | CEL_READ_REGIONS | CEL_READ_FLOW;
    const cel_proxy *p = cel_proxies[i];
    bool set = p->combine;
    return (cel_proxy_info){.name = p->name,
                            .title = p->title,
                            .paper = p->paper,
                            .higher_is_better = p->higher_is_better,
                            .needs_images = set || p->reads & CEL_READ_IMAGES,
                            .needs_gradient = set || p->reads & ~no_gradient,
                            .of = p->of_names};
}

cel_status cel_proxy_find(const char *name, int *out) {
    const char *names[CEL_COUNT(cel_proxies)];
    for (int i = 0; i < cel_proxy_count(); i++) {
        names[i] = cel_proxies[i]->name;
        if (strcmp(name, names[i])) continue;
        *out = i;
        return CEL_OK;
    }
    const char *nearest = cel_text_nearest(name, names, CEL_COUNT(cel_proxies) - 1);
    return CEL_FAIL(CEL_CONFIG, "proxy: there is no \"%.80s\"%s%s%s; `cellar list proxies` shows all", name,
                    nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

/* 1: x is better, -1: y is. */
static int compare(double x, double y) {
    if (isnan(x) || isnan(y)) return isnan(y) - isnan(x);
    return (x > y) - (x < y);
}

cel_status cel_proxy_majority(const double *const *of, int n_of, int n, double *out) {
    for (int i = 0; i < n; i++) out[i] = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) {
            int votes = 0;
            for (int k = 0; k < n_of; k++) votes += compare(of[k][i], of[k][j]);
            out[i] += votes > 0 ? 1 : votes == 0 ? 0.5 : 0;
            out[j] += votes < 0 ? 1 : votes == 0 ? 0.5 : 0;
        }
    return CEL_OK;
}

cel_status cel_proxy_rank_sum(const double *const *of, int n_of, int n, double *out) {
    double *x, *ranks;
    CEL_ALLOC(x, 2 * (size_t)n + 1);
    ranks = x + n;
    cel_status status = CEL_OK;
    for (int i = 0; i < n; i++) out[i] = 0;
    for (int k = 0; k < n_of && status == CEL_OK && n; k++) {
        for (int i = 0; i < n; i++) x[i] = isnan(of[k][i]) ? -HUGE_VAL : of[k][i];
        status = cel_stats_ranks(x, (size_t)n, ranks);
        for (int i = 0; i < n; i++) out[i] += ranks[i];
    }
    cel_free(x);
    return status;
}
