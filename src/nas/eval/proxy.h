/* A proxy: one table in a proxy_*.c and one line in proxies.def. It says what must be read from the network (probe.h)
 * and makes a number of it; the passes are shared by all proxies of a cell. A proxy of a set says which others it is
 * made of. */
#ifndef CEL_NAS_PROXY_H
#define CEL_NAS_PROXY_H
#include "cellar/score.h"
#include "nas/eval/probe.h"

enum { CEL_PROXY_OF = 4 };

typedef struct cel_proxy {
    const char *name, *title, *paper;
    bool higher_is_better;
    unsigned reads; /* CEL_READ_*, of a probe */
    /* May fail with CEL_DIVERGED; NaN: not defined for this network. */
    cel_status (*score)(const cel_probe *probe, double *out);
    /* Instead: of[k][i] is cell i's value of proxy of_names[k], higher is better; NaN where there is none. All n of
     * out get a number. */
    const char *of_names[CEL_PROXY_OF + 1]; /* NULL at the end */
    cel_status (*combine)(const double *const *of, int n_of, int n, double *out);
} cel_proxy;

#define CEL_PROXY(name) extern const cel_proxy cel_proxy_##name;
#include "nas/eval/proxies.def"
#undef CEL_PROXY
/* NULL at the end. */
extern const cel_proxy *const cel_proxies[];

/* Cell i's worth is the number of cells that it beats, counting half for a draw: i beats j if more of the of[k] put i
 * before j than j before i. NaN is worse than any number. */
cel_status cel_proxy_majority(const double *const *of, int n_of, int n, double *out);
/* The sum of the ranks, the more the better; NaN ranks last. */
cel_status cel_proxy_rank_sum(const double *const *of, int n_of, int n, double *out);
#endif
