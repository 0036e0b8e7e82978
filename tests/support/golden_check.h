/* Golden files by kind: each check reads one file, of the names and formats that tests/golden/README.md lists, and answers how
 * far cellar is from it: the largest error in units of the tolerance that is granted there, so 1 is just passed. A malformed file
 * fails the test. `make golden` (tests/golden_runner.c) runs them over any directory, the tests over tests/golden. */
#ifndef CEL_TEST_GOLDEN_CHECK_H
#define CEL_TEST_GOLDEN_CHECK_H
#include "support/golden.h"

typedef struct golden_kind {
    const char *pattern; /* of the file's name: shell wildcards */
    double (*check)(const char *path);
} golden_kind;
/* The first kind whose pattern fits wins; ends with a NULL pattern. */
extern const golden_kind golden_kinds[];
/* NULL for a file of no known kind. `path` may have directories before the name. */
const golden_kind *golden_kind_find(const char *path);
/* Runs the check of a file and fails the test unless the error is within the tolerance. */
void golden_check_file(const char *path);

/* |got - want| / (relative |want| + absolute); huge when got is not finite. */
double golden_error(double got, double want, double relative, double absolute);
/* The L2 norm of got - want over relative * |want| + absolute. */
double golden_norm_error(const double *got, const double *want, size_t n, double relative, double absolute);
static inline double golden_max(double a, double b) { return a > b ? a : b; }
/* A file beside `path`, as a new string; NULL when there is none. */
char *golden_sibling(const char *path, const char *name);

double golden_optim_sgd(const char *path);
double golden_optim_adam(const char *path);
double golden_optim_quadratic(const char *path);
double golden_optim_clip(const char *path);
double golden_optim_cosine(const char *path);
double golden_optim_vadam(const char *path);
double golden_progressive_lr(const char *path);
double golden_dirichlet_grad(const char *path);
double golden_dirichlet_coord(const char *path);
double golden_dirichlet_stats(const char *path);
double golden_beta_pathwise(const char *path);
double golden_special_functions(const char *path);
double golden_elu_concentration(const char *path);
double golden_reparam(const char *path);
double golden_cutout(const char *path);
double golden_ops(const char *path);
double golden_nb201_genotype(const char *path);
double golden_darts_genotype(const char *path);
double golden_nb201_prune(const char *path);
double golden_nb201_discrete_cost(const char *path);
double golden_nb201_super_params(const char *path);
double golden_zcp(const char *path);
double golden_zcp_kernels(const char *path);
#endif
