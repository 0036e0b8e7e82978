/* The registered methods and what every one of them needs around it; see policy.h. */
#include "nas/search/policy.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "cellar/text.h"
#include "train/optim.h"

const cel_method *const cel_methods[] = {
#define CEL_METHOD(name) &cel_method_##name,
#include "nas/search/methods.def"
#undef CEL_METHOD
    NULL};

cel_status cel_method_find(const char *name, const cel_method **out) {
    const char *names[CEL_COUNT(cel_methods)];
    for (size_t i = 0; i + 1 < CEL_COUNT(cel_methods); i++) {
        names[i] = cel_methods[i]->name;
        if (!strcmp(name, names[i])) {
            *out = cel_methods[i];
            return CEL_OK;
        }
    }
    const char *nearest = cel_text_nearest(name, names, CEL_COUNT(cel_methods) - 1);
    return CEL_FAIL(CEL_CONFIG, "search method: there is no \"%s\"%s%s%s; `cellar list methods` shows all", name,
                    nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

/* What tensors a policy has: a list in the policy's arena. */
typedef struct tensor {
    const char *name; /* NULL: scratch */
    double *data;
    int n;
    struct tensor *next;
} tensor;

struct cel_policy_store {
    cel_arena arena;
    tensor *first, *last;
    double *mean, *shares; /* scratch: n_entries, choices */
    struct edges {
        bool on;
        cel_edge_conf conf;
        double *beta, *m, *v, *t; /* saved */
        double *share, *drawn,
            *dweights; /* of the last draw: shares, the method's own weights; the gradient by these */
    } edges;
};

static cel_status add_tensor(cel_policy *policy, const char *name, int n, double **out) {
    struct cel_policy_store *store = policy->store;
    tensor *t = cel_arena_alloc(&store->arena, 1, sizeof *t);
    double *data = t ? cel_arena_alloc(&store->arena, n > 0 ? (size_t)n : 1, sizeof *data) : NULL;
    if (!data) return CEL_FAIL(CEL_NOMEM, "out of memory: %d numbers of %s", n, policy->method->name);
    *t = (tensor){.name = name, .data = data, .n = n};
    if (store->last) {
        store->last->next = t;
    } else {
        store->first = t;
    }
    store->last = t;
    *out = data;
    return CEL_OK;
}

cel_status cel_policy_tensor(cel_policy *policy, const char *name, int n, double **out) {
    return add_tensor(policy, name, n, out);
}

cel_status cel_policy_scratch(cel_policy *policy, int n, double **out) { return add_tensor(policy, NULL, n, out); }

cel_status cel_policy_create(const cel_method *method, const cel_choices *choices, const void *conf, uint64_t seed,
                             cel_policy **out) {
    cel_policy *policy = cel_alloc(1, sizeof *policy);
    if (policy) policy->store = cel_alloc(1, sizeof *policy->store);
    if (!policy || !policy->store) {
        cel_free(policy);
        return CEL_FAIL(CEL_NOMEM, "out of memory: a policy");
    }
    policy->method = method;
    policy->choices = choices;
    policy->conf = conf;
    policy->seed = seed;
    policy->n_params = choices->n_entries;
    policy->n_images = 25000;
    cel_status status = CEL_OK;
    policy->live = cel_arena_alloc(&policy->store->arena, (size_t)choices->n_entries, 1);
    policy->state = cel_arena_alloc(&policy->store->arena, 1, method->state_size ? method->state_size : 1);
    if (!policy->live || !policy->state) {
        status = CEL_FAIL(CEL_NOMEM, "out of memory: a policy");
    } else {
        memset(policy->live, 1, (size_t)choices->n_entries);
        status = cel_policy_scratch(policy, choices->n_entries, &policy->store->mean);
    }
    if (status == CEL_OK) status = cel_policy_scratch(policy, choices->n, &policy->store->shares);
    if (status == CEL_OK) status = method->init(policy);
    if (status != CEL_OK) {
        cel_policy_destroy(policy);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = policy;
    return CEL_OK;
}

void cel_policy_destroy(cel_policy *policy) {
    if (!policy) return;
    cel_arena_fini(&policy->store->arena);
    cel_free(policy->store);
    cel_free(policy);
}

cel_status cel_policy_save(cel_policy *policy, cel_state *state) {
    CEL_TRY(
        cel_state_add(state, CEL_STATE_U8, policy->live, 1, (int64_t[]){policy->choices->n_entries}, "policy.live"));
    for (const tensor *t = policy->store->first; t; t = t->next)
        if (t->name) CEL_TRY(cel_state_add(state, CEL_STATE_F64, t->data, 1, (int64_t[]){t->n}, "policy.%s", t->name));
    return CEL_OK;
}

cel_status cel_policy_keep(cel_policy *policy, int keep, double *values) {
    for (int c = 0; c < policy->choices->n; c++) {
        const cel_choice *choice = &policy->choices->choice[c];
        CEL_TRY(cel_choice_prune(1, choice->n, keep, values + choice->first, policy->live + choice->first));
    }
    return CEL_OK;
}

void cel_policy_rng(const cel_policy *policy, const cel_at *at, cel_rng *rng) {
    static const char *const streams[] = {"policy.arch", "policy.weight", "policy.valid", "policy.reward"};
    enum { MOST_DRAWS = 1 << 16 };
    *rng = cel_rng_at(policy->seed, streams[at->phase], (uint64_t)at->epoch,
                      (uint64_t)at->step * MOST_DRAWS + (uint64_t)at->draw);
}

/* ---- edge normalisation ---- */

cel_status cel_policy_normalise_edges(cel_policy *policy, const cel_edge_conf *conf) {
    struct edges *e = &policy->store->edges;
    int n = policy->choices->n, entries = policy->choices->n_entries;
    e->conf = *conf;
    CEL_TRY(cel_policy_tensor(policy, "edges.beta", n, &e->beta));
    CEL_TRY(cel_policy_tensor(policy, "edges.m", n, &e->m));
    CEL_TRY(cel_policy_tensor(policy, "edges.v", n, &e->v));
    CEL_TRY(cel_policy_tensor(policy, "edges.t", 1, &e->t));
    CEL_TRY(cel_policy_scratch(policy, n, &e->share));
    CEL_TRY(cel_policy_scratch(policy, entries, &e->drawn));
    CEL_TRY(cel_policy_scratch(policy, entries, &e->dweights));
    cel_rng rng = cel_rng_at(policy->seed, "edges.init", 0, 0);
    for (int c = 0; c < n; c++) e->beta[c] = 1e-3 * cel_rng_normal(&rng);
    e->on = true;
    return CEL_OK;
}

bool cel_choice_same_node(const cel_choice *a, const cel_choice *b) { return a->cell == b->cell && a->to == b->to; }

void cel_policy_shares(const cel_policy *policy, double *shares) {
    const struct edges *e = &policy->store->edges;
    const cel_choice *choice = policy->choices->choice;
    for (int c = 0; c < policy->choices->n; c++) {
        double sum = 0;
        shares[c] = 1;
        if (!e->on) continue;
        for (int d = 0; d < policy->choices->n; d++)
            if (cel_choice_same_node(&choice[c], &choice[d])) sum += exp(e->beta[d] - e->beta[c]);
        shares[c] = 1 / sum;
    }
}

static void multiply_by_shares(const cel_policy *policy, const double *share, double *weights) {
    for (int c = 0; c < policy->choices->n; c++) {
        const cel_choice *choice = &policy->choices->choice[c];
        for (int i = choice->first; i < choice->first + choice->n; i++) weights[i] *= share[c];
    }
}

/* The gradient by the edges' parameters, from that by the network's weights. */
static void edge_gradient(const cel_policy *policy, const double *dweights, double *grad) {
    const struct edges *e = &policy->store->edges;
    const cel_choice *choice = policy->choices->choice;
    int n = policy->choices->n;
    for (int c = 0; c < n; c++) {
        double dshare = 0;
        for (int i = choice[c].first; i < choice[c].first + choice[c].n; i++) dshare += dweights[i] * e->drawn[i];
        for (int d = 0; d < n; d++)
            if (cel_choice_same_node(&choice[c], &choice[d]))
                grad[d] += dshare * e->share[c] * ((c == d) - e->share[d]);
    }
}

/* ---- draws and steps ---- */

int cel_policy_n_grad(const cel_policy *policy) {
    return policy->n_params + (policy->store->edges.on ? policy->choices->n : 0);
}

void cel_policy_sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates) {
    size_t n = (size_t)policy->choices->n_entries;
    struct edges *e = &policy->store->edges;
    memset(weights, 0, n * sizeof *weights);
    memcpy(gates, policy->live, n);
    policy->method->sample(policy, at, weights, gates);
    if (!e->on) return;
    memcpy(e->drawn, weights, n * sizeof *weights);
    cel_policy_shares(policy, e->share);
    multiply_by_shares(policy, e->share, weights);
}

void cel_policy_gradient(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad) {
    struct edges *e = &policy->store->edges;
    cel_feedback own = *feedback;
    memset(grad, 0, (size_t)cel_policy_n_grad(policy) * sizeof *grad);
    if (e->on) {
        memcpy(e->dweights, feedback->dweights, (size_t)policy->choices->n_entries * sizeof *e->dweights);
        multiply_by_shares(policy, e->share, e->dweights);
        own.dweights = e->dweights;
        edge_gradient(policy, feedback->dweights, grad + policy->n_params);
    }
    policy->method->gradient(policy, at, &own, grad);
}

void cel_policy_step(cel_policy *policy, const cel_at *at, const double *grad, const double *grad2) {
    struct edges *e = &policy->store->edges;
    policy->method->step(policy, at, grad, grad2);
    if (!e->on) return;
    cel_adam adam = {.beta1 = 0.5, .beta2 = 0.999, .eps = 1e-8, .weight_decay = e->conf.weight_decay};
    e->t[0] += 1;
    cel_adam_step(&adam, e->conf.lr, (int64_t)e->t[0], policy->choices->n, NULL, e->beta, grad + policy->n_params, e->m,
                  e->v);
}

void cel_policy_mean(const cel_policy *policy, double *weights) {
    double *shares = policy->store->shares;
    policy->method->mean(policy, weights);
    cel_policy_shares(policy, shares);
    multiply_by_shares(policy, shares, weights);
}

int cel_policy_rollouts(const cel_policy *policy) {
    return policy->method->rollouts ? policy->method->rollouts(policy) : 0;
}

double cel_policy_penalty(const cel_policy *policy) {
    return policy->method->penalty ? policy->method->penalty(policy) : 0;
}

int cel_policy_draws(const cel_policy *policy) { return policy->method->draws ? policy->method->draws(policy) : 1; }

void cel_policy_scores(const cel_policy *policy, double *scores) {
    (policy->method->scores ? policy->method->scores : policy->method->mean)(policy, scores);
    cel_policy_shares(policy, policy->store->shares);
    multiply_by_shares(policy, policy->store->shares, scores);
}

void cel_policy_report(const cel_policy *policy, double *values) {
    (policy->method->report ? policy->method->report : policy->method->mean)(policy, values);
}

double cel_policy_entropy(const cel_policy *policy) {
    double *mean = policy->store->mean, sum = 0;
    policy->method->mean(policy, mean);
    for (int i = 0; i < policy->choices->n_entries; i++)
        if (mean[i] > 0) sum -= mean[i] * log(mean[i]);
    return sum / policy->choices->n;
}
