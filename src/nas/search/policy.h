/* The registered methods, and a method at work: its parameters and its live entries, ready to be saved. */
#ifndef CEL_NAS_POLICY_H
#define CEL_NAS_POLICY_H
#include "base/rng.h"
#include "base/state.h"
#include "cellar/plugin.h"

#define CEL_METHOD(name) extern const cel_method cel_method_##name;
#include "nas/search/methods.def"
#undef CEL_METHOD
/* NULL at the end. */
extern const cel_method *const cel_methods[];
/* By name; CEL_CONFIG names the nearest. */
cel_status cel_method_find(const char *name, const cel_method **out);

/* `choices` and `conf` are borrowed for the policy's life. All entries are live at first. */
cel_status cel_policy_create(const cel_method *method, const cel_choices *choices, const void *conf, uint64_t seed,
                             cel_policy **out);
void cel_policy_destroy(cel_policy *policy);
/* Lists "policy.live" and "policy.NAME" of each tensor. */
cel_status cel_policy_save(cel_policy *policy, cel_state *state);
/* Clears all but the `keep` largest of each choice's live entries (ties: the first), in live and in `values`. For prune. */
cel_status cel_policy_keep(cel_policy *policy, int keep, double *values);

/* One draw of a half-step: weights and gates (n_entries each). */
void cel_policy_sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates);
/* The gradient of the last draw by the parameters, n_params numbers. */
void cel_policy_gradient(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad);
double cel_policy_penalty(const cel_policy *policy);
int cel_policy_draws(const cel_policy *policy);
void cel_policy_scores(const cel_policy *policy, double *scores);
void cel_policy_report(const cel_policy *policy, double *values);
/* Mean over the choices of the entropy of the mean, in nats. */
double cel_policy_entropy(const cel_policy *policy);
#endif
