#define _GNU_SOURCE
#include "support/golden_check.h"

#include <fnmatch.h>

#include "base/file.h"
#include "base/mem.h"
#include "support/golden_net.h"

const golden_kind golden_kinds[] = {
    {"nb201_super_masked_*.safetensors", golden_nb201_masked},
    {"nb201_super_c*_k*.safetensors", golden_nb201_super},
    {"nb201_gdas_*.safetensors", golden_nb201_gdas},
    {"nb201_wider_*.safetensors", golden_nb201_wider},
    {"nb201_discrete_c*.safetensors", golden_nb201_discrete},
    {"trace_*.safetensors", golden_trace},
    {"optim_sgd*.csv", golden_optim_sgd},
    {"optim_adam*.csv", golden_optim_adam},
    {"optim_quadratic*.safetensors", golden_optim_quadratic},
    {"optim_clip*.csv", golden_optim_clip},
    {"optim_cosine*.csv", golden_optim_cosine},
    {"optim_vadam*.csv", golden_optim_vadam},
    {"drnas_progressive_lr*.csv", golden_progressive_lr},
    {"dirichlet_grad*.csv", golden_dirichlet_grad},
    {"dirichlet_coord*.csv", golden_dirichlet_coord},
    {"dirichlet_stats*.csv", golden_dirichlet_stats},
    {"beta_pathwise*.csv", golden_beta_pathwise},
    {"special_functions*.csv", golden_special_functions},
    {"elu_concentration*.csv", golden_elu_concentration},
    {"reparam*.safetensors", golden_reparam},
    {"cutout*.csv", golden_cutout},
    {"ops.csv", golden_ops},
    {"ops.safetensors", golden_ops},
    {"nb201_genotype*.csv", golden_nb201_genotype},
    {"darts_genotype*.csv", golden_darts_genotype},
    {"nb201_prune*.csv", golden_nb201_prune},
    {"nb201_discrete_cost*.csv", golden_nb201_discrete_cost},
    {"nb201_super_params*.csv", golden_nb201_super_params},
    {"zcp*.csv", golden_zcp},
    {"zcp*.safetensors", golden_zcp_kernels},
    {NULL, NULL},
};

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

const golden_kind *golden_kind_find(const char *path) {
    for (const golden_kind *kind = golden_kinds; kind->pattern; kind++)
        if (!fnmatch(kind->pattern, base_name(path), 0)) return kind;
    return NULL;
}

void golden_check_file(const char *path) {
    const golden_kind *kind = golden_kind_find(path);
    assert_non_null(kind);
    double error = kind->check(path);
    if (!(error <= 1)) fail_msg("%s: %g times the tolerance", path, error);
}

double golden_error(double got, double want, double relative, double absolute) {
    double error = fabs(got - want);
    if (!isfinite(got)) return HUGE_VAL;
    return error == 0 ? 0 : error / (relative * fabs(want) + absolute);
}

double golden_norm_error(const double *got, const double *want, size_t n, double relative, double absolute) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(got[i])) return HUGE_VAL;
        difference += (got[i] - want[i]) * (got[i] - want[i]);
        norm += want[i] * want[i];
    }
    return difference == 0 ? 0 : sqrt(difference) / (relative * sqrt(norm) + absolute);
}

char *golden_sibling(const char *path, const char *name) {
    char *dir = cel_strndup(path, (size_t)(base_name(path) - path));
    assert_non_null(dir);
    char *sibling = cel_asprintf("%s%s", dir, name);
    assert_non_null(sibling);
    cel_free(dir);
    if (cel_path_exists(sibling)) return sibling;
    cel_free(sibling);
    return NULL;
}
