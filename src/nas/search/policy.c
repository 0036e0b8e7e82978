/* The registered methods and what every one of them needs around it; see policy.h. */
#include "nas/search/policy.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "cellar/text.h"

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
    double *mean; /* n_entries of scratch */
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
    cel_status status = CEL_OK;
    policy->live = cel_arena_alloc(&policy->store->arena, (size_t)choices->n_entries, 1);
    policy->state = cel_arena_alloc(&policy->store->arena, 1, method->state_size ? method->state_size : 1);
    if (!policy->live || !policy->state) {
        status = CEL_FAIL(CEL_NOMEM, "out of memory: a policy");
    } else {
        memset(policy->live, 1, (size_t)choices->n_entries);
        status = cel_policy_scratch(policy, choices->n_entries, &policy->store->mean);
    }
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
    static const char *const streams[] = {"policy.arch", "policy.weight", "policy.valid"};
    enum { MOST_DRAWS = 1 << 16 };
    *rng = cel_rng_at(policy->seed, streams[at->phase], (uint64_t)at->epoch,
                      (uint64_t)at->step * MOST_DRAWS + (uint64_t)at->draw);
}

void cel_policy_sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates) {
    size_t n = (size_t)policy->choices->n_entries;
    memset(weights, 0, n * sizeof *weights);
    memcpy(gates, policy->live, n);
    policy->method->sample(policy, at, weights, gates);
}

void cel_policy_gradient(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad) {
    memset(grad, 0, (size_t)policy->n_params * sizeof *grad);
    policy->method->gradient(policy, at, feedback, grad);
}

double cel_policy_penalty(const cel_policy *policy) {
    return policy->method->penalty ? policy->method->penalty(policy) : 0;
}

int cel_policy_draws(const cel_policy *policy) { return policy->method->draws ? policy->method->draws(policy) : 1; }

void cel_policy_scores(const cel_policy *policy, double *scores) {
    (policy->method->scores ? policy->method->scores : policy->method->mean)(policy, scores);
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
