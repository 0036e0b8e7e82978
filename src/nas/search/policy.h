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

/* Do both choices lead into the same node of the same kind of cell? */
bool cel_choice_same_node(const cel_choice *a, const cel_choice *b);

/* Edge normalisation (PC-DARTS, arXiv:1907.05737, eq. 3), beside any method: the weights of a choice are the method's times the choice's
 * share, the softmax of one parameter a choice over the choices that lead into the same node of the same cell. These
 * parameters start at 1e-3 N(0, 1) and move by Adam in every architecture step; they follow the method's in gradients. To be called once
 * before the first draw. */
typedef struct cel_edge_conf {
    double lr, weight_decay;
} cel_edge_conf;
cel_status cel_policy_normalise_edges(cel_policy *policy, const cel_edge_conf *conf);
/* The shares, one a choice; 1 without edge normalisation. */
void cel_policy_shares(const cel_policy *policy, double *shares);

/* Length of a gradient: the method's n_params and the edges'. */
int cel_policy_n_grad(const cel_policy *policy);
/* One draw of a half-step: weights and gates (n_entries each). */
void cel_policy_sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates);
/* The gradient of the last draw by the parameters, cel_policy_n_grad numbers. */
void cel_policy_gradient(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad);
/* Moves everything: cel_policy_n_grad numbers each, see cel_method.step. */
void cel_policy_step(cel_policy *policy, const cel_at *at, const double *grad, const double *grad2);
/* The mean weights of the network, shares included. */
void cel_policy_mean(const cel_policy *policy, double *weights);
/* Passes after an epoch, see cel_method.rollouts; 0 of most methods. */
int cel_policy_rollouts(const cel_policy *policy);
double cel_policy_penalty(const cel_policy *policy);
int cel_policy_draws(const cel_policy *policy);
void cel_policy_scores(const cel_policy *policy, double *scores);
void cel_policy_report(const cel_policy *policy, double *values);
/* Mean over the choices of the entropy of the mean, in nats. */
double cel_policy_entropy(const cel_policy *policy);
#endif
