/* The collapse watch; see watch.h. */
#include "nas/search/watch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "math/curvature.h"
#include "math/softmax.h"

static const char *const action_names[] = {"warn", "stop", NULL};
const cel_opt cel_watch_opts[] = {
    CEL_INT(cel_watch_conf, interval, 0, 0, 100000, "epochs between looks for signs of collapse; 0: none"),
    CEL_ENUM(cel_watch_conf, action, CEL_WATCH_WARN, action_names,
             "what a sign leads to: a warning, or the search stops with a checkpoint (not after the last epoch)"),
    CEL_INT(cel_watch_conf, max_skips, 0, 0, 100, "skip connections that a cell may have; 0: any number"),
    CEL_REAL(cel_watch_conf, min_entropy, 0, 0, 10,
             "least entropy of the mean distribution, mean over the edges, nats; 0: any"),
    CEL_REAL(cel_watch_conf, max_eigenvalue, 0, 0, 1e9,
             "largest eigenvalue of the Hessian by the architecture that is well; 0: any"),
    CEL_REAL(cel_watch_conf, max_growth, 1.3333333333333333, 0, 1e9,
             "by how much the mean of the eigenvalue over a window may exceed that of the window before; 0: any"),
    CEL_INT(cel_watch_conf, window, 5, 1, CEL_WATCH_MAX_WINDOW, "looks in a window"),
    CEL_INT(cel_watch_conf, iterations, 20, 1, 10000,
            "of the power iteration, at most: each costs two gradients of one batch"),
    CEL_REAL(
        cel_watch_conf, step, 0.3, 1e-6, 100,
        "of its differences, in the norm of all logits: a ReLU network's gradient is rough, and a larger step sees "
        "less of that"),
    CEL_OPTS_END};

int cel_watch_skips(const cel_genotype *genotype) {
    const cel_topology *topology = cel_topology_get(genotype->space);
    int skips[2] = {0};
    for (int i = 0; i < genotype->n; i++)
        skips[genotype->edge[i].cell] += !strcmp(topology->op_names[genotype->edge[i].op], "skip_connect");
    return skips[0] > skips[1] ? skips[0] : skips[1];
}

/* ---- the eigenvalue ---- */

/* The variables are the logarithms of the mean weights that are not 0. */
typedef struct point {
    cel_supernet *net;
    const cel_policy *policy;
    const float *images;
    const int32_t *labels;
    int n;                                        /* variables */
    int *entry;                                   /* of each variable */
    double *weights, *shares, *dweights, *logits; /* entries, choices, entries, entries */
} point;

/* The softmax of each choice's variables. */
static void weights_at(const point *p, const double *x) {
    for (int i = 0; i < p->policy->choices->n_entries; i++) p->logits[i] = -INFINITY;
    for (int i = 0; i < p->n; i++) p->logits[p->entry[i]] = x[i];
    for (int c = 0; c < p->policy->choices->n; c++) {
        const cel_choice *choice = &p->policy->choices->choice[c];
        cel_softmax(p->logits + choice->first, choice->n, p->weights + choice->first);
    }
}

static cel_status gradient_at(void *ctx, const double *x, double *gradient) {
    point *p = ctx;
    cel_half_step half;
    cel_at at = {.phase = CEL_PHASE_VALID, .n_epochs = 1};
    weights_at(p, x);
    for (int c = 0; c < p->policy->choices->n; c++) {
        const cel_choice *choice = &p->policy->choices->choice[c];
        for (int i = choice->first; i < choice->first + choice->n; i++) p->logits[i] = p->weights[i] * p->shares[c];
    }
    CEL_TRY(cel_supernet_weights_gradient(p->net, p->logits, &at, p->images, p->labels, p->dweights, &half));
    for (int c = 0; c < p->policy->choices->n; c++) {
        const cel_choice *choice = &p->policy->choices->choice[c];
        double *dw = p->dweights + choice->first;
        for (int i = 0; i < choice->n; i++) dw[i] *= p->shares[c];
        cel_softmax_vjp(p->weights + choice->first, choice->n, dw, dw);
    }
    for (int i = 0; i < p->n; i++) gradient[i] = p->dweights[p->entry[i]];
    return CEL_OK;
}

static cel_status iterate(const cel_watch_conf *conf, point *p, cel_rng rng, double *eigenvalue) {
    cel_curvature c = {.n = p->n, .step = conf->step, .iterations = conf->iterations, .tolerance = 1e-3};
    double *x;
    CEL_ALLOC(x, 5 * (size_t)p->n);
    c.work = x + p->n;
    for (int i = 0; i < p->n; i++) x[i] = log(p->weights[p->entry[i]]);
    cel_status status = cel_curvature_top(&c, x, gradient_at, p, rng, eigenvalue);
    cel_free(x);
    return status;
}

/* Around it the running statistics are kept. */
static cel_status look(const cel_watch_conf *conf, point *p, cel_rng rng, double *eigenvalue) {
    size_t n;
    float *states = cel_exec_states(p->net->exec, &n), *kept;
    CEL_ALLOC(kept, n + 1);
    memcpy(kept, states, n * sizeof *kept);
    cel_status status = iterate(conf, p, rng, eigenvalue);
    memcpy(states, kept, n * sizeof *kept);
    cel_free(kept);
    return status;
}

cel_status cel_watch_eigenvalue(const cel_watch_conf *conf, cel_supernet *net, const cel_policy *policy,
                                const float *images, const int32_t *labels, cel_rng rng, double *eigenvalue) {
    point p = {.net = net, .policy = policy, .images = images, .labels = labels};
    size_t n = (size_t)policy->choices->n_entries;
    p.entry = cel_alloc(n, sizeof *p.entry);
    p.weights = cel_alloc(3 * n + (size_t)policy->choices->n, sizeof *p.weights);
    cel_status status = CEL_OK;
    if (!p.entry || !p.weights) {
        status = CEL_FAIL(CEL_NOMEM, "out of memory: the collapse watch");
    } else {
        p.dweights = p.weights + n;
        p.logits = p.dweights + n;
        p.shares = p.logits + n;
        cel_policy_shares(policy, p.shares);
        policy->method->mean(policy, p.weights);
        for (size_t i = 0; i < n; i++)
            if (policy->live[i] && p.weights[i] > 0) p.entry[p.n++] = (int)i;
        status = look(conf, &p, rng, eigenvalue);
    }
    cel_free(p.entry);
    cel_free(p.weights);
    return status;
}

/* ---- judgement ---- */

/* Mean of `window` looks, the last of which lies `back` before the newest. */
static double mean_of(const cel_watch_past *past, int window, int back) {
    double sum = 0;
    for (int i = 0; i < window; i++) sum += past->eigenvalue[(past->n - 1 - back - i) % CEL_WATCH_REMEMBERS];
    return sum / window;
}

void cel_watch_judge(const cel_watch_conf *conf, cel_watch_past *past, int skips, double entropy, double eigenvalue,
                     char warning[CEL_WATCH_TEXT]) {
    past->eigenvalue[past->n++ % CEL_WATCH_REMEMBERS] = eigenvalue;
    warning[0] = 0;
    if (conf->max_skips && skips > conf->max_skips) {
        snprintf(warning, CEL_WATCH_TEXT, "%d skip connections in a cell, more than watch.max_skips = %d", skips,
                 conf->max_skips);
    } else if (entropy < conf->min_entropy) {
        snprintf(warning, CEL_WATCH_TEXT, "the entropy is %.4g, less than watch.min_entropy = %g", entropy,
                 conf->min_entropy);
    } else if (conf->max_eigenvalue > 0 && eigenvalue > conf->max_eigenvalue) {
        snprintf(warning, CEL_WATCH_TEXT,
                 "the largest eigenvalue of the architecture's Hessian is %.4g, more than watch.max_eigenvalue = %g",
                 eigenvalue, conf->max_eigenvalue);
    } else if (conf->max_growth > 0 && past->n >= 2 * conf->window) {
        double now = mean_of(past, conf->window, 0), before = mean_of(past, conf->window, conf->window);
        if (now > conf->max_growth * before)
            snprintf(
                warning, CEL_WATCH_TEXT,
                "the largest eigenvalue of the architecture's Hessian grew from %.4g to %.4g (means of %d looks), by "
                "more than watch.max_growth = %g",
                before, now, conf->window, conf->max_growth);
    }
}
