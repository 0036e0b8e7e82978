/* ENAS: an LSTM draws the cell, one choice after another, and learns from the accuracies that its cells reach with the shared weights.
 *
 * Pham et al., "Efficient Neural Architecture Search via Parameters Sharing", ICML 2018 (arXiv:1802.03268), sections 2.2 and 2.3. The
 * controller reads the operation it chose last (an embedding; at first a learnt start) and its state, and its logits for the next
 * choice are c tanh(z / T), z linear in its output. Each weight step trains one drawn cell. After each epoch it trains itself:
 * `steps` times it draws `samples` cells, has each of them measured by one batch of validation images, and follows the mean of
 *     - grad log p(cell) (R - b),   R = accuracy + entropy_weight * entropy,   b = prev - (1 - decay) (prev - R),
 * clipped, by Adam. Its cell in the end is to be chosen among many that it draws, by one batch each (select: {by: one_shot}).
 *
 * The numbers are NAS-Bench-201's (arXiv:2001.00326, appendix): two layers of 32, T = 5, c = 2.5, 50 steps of 20 cells, decay 0.99, Adam with
 * rate 1e-3, betas (0, 0.999), eps 1e-3, clip 5; prev is the previous epoch's mean of b, and the accuracy itself in the first. The
 * entropy counts as a part of the reward and is not differentiated.
 * Unlike the authors' code: every parameter starts uniform within init_scale, the LSTM has one bias a gate instead of two that
 * are added, and the genotype recorded in each epoch is the controller's most probable operation, choice by choice. */
#include <math.h>
#include <string.h>

#include "base/conf/opt.h"
#include "math/gumbel.h"
#include "math/lstm.h"
#include "math/softmax.h"
#include "nas/search/policy.h"
#include "train/optim.h"

enum { MOST = CEL_MAX_CANDIDATES };

typedef struct conf {
    double lr, beta1, beta2, eps, weight_decay, clip, init_scale, temperature, tanh_constant, entropy_weight, decay;
    int layers, hidden, steps, samples;
} conf;

static const cel_opt opts[] = {
    CEL_REAL(conf, lr, 1e-3, 0, 10, "learning rate of the controller"),
    CEL_REAL(conf, beta1, 0, 0, 0.999999, "Adam's memory of the gradient"),
    CEL_REAL(conf, beta2, 0.999, 0, 0.999999999, "Adam's memory of its square"),
    CEL_REAL(conf, eps, 1e-3, 1e-300, 1, "Adam's epsilon"),
    CEL_REAL(conf, weight_decay, 0, 0, 1e3, "L2 decay of the controller"),
    CEL_REAL(conf, clip, 5, 0, 1e9, "largest norm of the controller's gradient; 0: no clipping"),
    CEL_REAL(conf, init_scale, 0.1, 0, 10, "its parameters start uniform between minus and plus this"),
    CEL_REAL(conf, temperature, 5, 1e-6, 1e6, "T of the logits, c tanh(z / T)"),
    CEL_REAL(conf, tanh_constant, 2.5, 1e-6, 1e6, "c of the logits: they stay within minus and plus this"),
    CEL_REAL(conf, entropy_weight, 1e-4, 0, 1e3, "what the entropy of a draw adds to its reward"),
    CEL_REAL(conf, decay, 0.99, 0, 1, "of the baseline: how much of the previous epoch's it keeps"),
    CEL_INT(conf, layers, 2, 1, 8, "layers of the LSTM"),
    CEL_INT(conf, hidden, 32, 1, 1024, "width of the LSTM and of the embedding"),
    CEL_INT(conf, steps, 50, 0, 100000, "steps of the controller after each epoch"),
    CEL_INT(conf, samples, 20, 1, 10000, "cells that a step averages"),
    CEL_OPTS_END};

/* One pass of the controller over all choices. */
typedef struct pass {
    double *state; /* of the LSTM, before each choice and after the last */
    double *tape;  /* for each choice */
    double *z;     /* entries: tanh(z / T) */
    double *p;     /* entries: probabilities, given what was chosen before */
    double *chosen;
} pass;

/* The parameters: the start, an embedding of each operation, the LSTM, W and b of the output. */
typedef struct state {
    double *params, *m, *v, *t;       /* saved */
    double *sum, *n_sum;              /* saved: gradients of the present step so far, and how many */
    double *prev, *baseline, *n_seen; /* saved: NAN before there is one; this epoch's sum and count */
    double *grad, *dstate, *dx, *row; /* scratch */
    pass last, other;                 /* of the last draw; of everything that only looks */
    cel_lstm lstm;
    int n_ops, embedding, cell, out, bias; /* most candidates of a choice; where the parts begin */
} state;

static cel_status init_pass(cel_policy *policy, const state *s, pass *p) {
    int n = policy->choices->n;
    CEL_TRY(cel_policy_scratch(policy, (n + 1) * cel_lstm_state(&s->lstm), &p->state));
    CEL_TRY(cel_policy_scratch(policy, n * cel_lstm_tape(&s->lstm), &p->tape));
    CEL_TRY(cel_policy_scratch(policy, policy->choices->n_entries, &p->z));
    CEL_TRY(cel_policy_scratch(policy, policy->choices->n_entries, &p->p));
    return cel_policy_scratch(policy, n, &p->chosen);
}

static cel_status init(cel_policy *policy) {
    const conf *c = policy->conf;
    state *s = policy->state;
    for (int k = 0; k < policy->choices->n; k++)
        if (policy->choices->choice[k].n > s->n_ops) s->n_ops = policy->choices->choice[k].n;
    s->lstm = (cel_lstm){c->layers, c->hidden, c->hidden};
    s->embedding = c->hidden;
    s->cell = s->embedding + s->n_ops * c->hidden;
    s->out = s->cell + cel_lstm_params(&s->lstm);
    s->bias = s->out + s->n_ops * c->hidden;
    int n = policy->n_params = s->bias + s->n_ops;
    CEL_TRY(cel_policy_tensor(policy, "params", n, &s->params));
    CEL_TRY(cel_policy_tensor(policy, "adam.m", n, &s->m));
    CEL_TRY(cel_policy_tensor(policy, "adam.v", n, &s->v));
    CEL_TRY(cel_policy_tensor(policy, "adam.t", 1, &s->t));
    CEL_TRY(cel_policy_tensor(policy, "sum", n, &s->sum));
    CEL_TRY(cel_policy_tensor(policy, "n_sum", 1, &s->n_sum));
    CEL_TRY(cel_policy_tensor(policy, "baseline.previous", 1, &s->prev));
    CEL_TRY(cel_policy_tensor(policy, "baseline.sum", 1, &s->baseline));
    CEL_TRY(cel_policy_tensor(policy, "baseline.n", 1, &s->n_seen));
    CEL_TRY(cel_policy_scratch(policy, n, &s->grad));
    CEL_TRY(cel_policy_scratch(policy, cel_lstm_state(&s->lstm), &s->dstate));
    CEL_TRY(cel_policy_scratch(policy, c->hidden, &s->dx));
    CEL_TRY(cel_policy_scratch(policy, policy->choices->n_entries, &s->row));
    CEL_TRY(init_pass(policy, s, &s->last));
    CEL_TRY(init_pass(policy, s, &s->other));
    s->prev[0] = NAN;
    cel_rng rng = cel_rng_at(policy->seed, "enas.init", 0, 0);
    for (int i = 0; i < n; i++) s->params[i] = c->init_scale * (2 * cel_rng_uniform(&rng) - 1);
    return CEL_OK;
}

/* What the controller reads before a choice: where it lies in the parameters. */
static int input_of(const cel_policy *policy, const pass *p, int choice) {
    const state *s = policy->state;
    const conf *c = policy->conf;
    return choice ? s->embedding + (int)p->chosen[choice - 1] * c->hidden : 0;
}

/* Moves on to a choice and fills its probabilities. */
static const double *advance(const cel_policy *policy, pass *p, int choice) {
    const state *s = policy->state;
    const conf *c = policy->conf;
    const cel_choice *at = &policy->choices->choice[choice];
    int size = cel_lstm_state(&s->lstm);
    double *before = p->state + (ptrdiff_t)choice * size, *after = before + size;
    cel_lstm_forward(&s->lstm, s->params + s->cell, s->params + input_of(policy, p, choice), before, after,
                     p->tape + (ptrdiff_t)choice * cel_lstm_tape(&s->lstm));
    const double *h = after + cel_lstm_output(&s->lstm);
    double logit[MOST];
    for (int i = 0; i < at->n; i++) {
        double z = s->params[s->bias + i];
        for (int k = 0; k < c->hidden; k++) z += s->params[s->out + i * c->hidden + k] * h[k];
        p->z[at->first + i] = tanh(z / c->temperature);
        logit[i] = policy->live[at->first + i] ? c->tanh_constant * p->z[at->first + i] : -INFINITY;
    }
    cel_softmax(logit, at->n, p->p + at->first);
    return p->p + at->first;
}

/* Draws a whole cell. */
static void draw_cell(const cel_policy *policy, pass *p, cel_rng *rng) {
    for (int k = 0; k < policy->choices->n; k++) {
        const double *probability = advance(policy, p, k);
        double u = cel_rng_uniform(rng);
        int last = 0, i = 0;
        for (; i < policy->choices->choice[k].n; i++) {
            if (probability[i] > 0) last = i;
            if (u < probability[i]) break;
            u -= probability[i];
        }
        p->chosen[k] = last; /* rounding may leave u above the whole sum: then the last possible */
    }
}

static void one_hot(const cel_policy *policy, const pass *p, double *weights) {
    for (int k = 0; k < policy->choices->n; k++) {
        const cel_choice *choice = &policy->choices->choice[k];
        for (int i = 0; i < choice->n; i++) weights[choice->first + i] = i == (int)p->chosen[k];
    }
}

/* A replayed draw is one-hot. */
static void sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates) {
    state *s = policy->state;
    if (at->replay) {
        for (int k = 0; k < policy->choices->n; k++) {
            const cel_choice *choice = &policy->choices->choice[k];
            advance(policy, &s->last, k);
            s->last.chosen[k] = cel_argmax(at->replay + choice->first, choice->n);
        }
    } else {
        cel_rng rng;
        cel_policy_rng(policy, at, &rng);
        draw_cell(policy, &s->last, &rng);
    }
    one_hot(policy, &s->last, weights);
    for (int i = 0; i < policy->choices->n_entries; i++) gates[i] = weights[i] > 0;
}

/* Adds scale * grad log p(the last draw) to `grad`. */
static void add_score(cel_policy *policy, double scale, double *grad) {
    state *s = policy->state;
    const conf *c = policy->conf;
    const pass *p = &s->last;
    int size = cel_lstm_state(&s->lstm), tape = cel_lstm_tape(&s->lstm);
    memset(s->dstate, 0, (size_t)size * sizeof *s->dstate);
    for (int k = policy->choices->n - 1; k >= 0; k--) {
        const cel_choice *choice = &policy->choices->choice[k];
        const double *before = p->state + (ptrdiff_t)k * size, *after = before + size;
        const double *h = after + cel_lstm_output(&s->lstm);
        double *dh = s->dstate + cel_lstm_output(&s->lstm);
        for (int i = 0; i < choice->n; i++) {
            int entry = choice->first + i;
            if (!policy->live[entry]) continue;
            double by_logit = scale * ((i == (int)p->chosen[k]) - p->p[entry]);
            double dz = by_logit * c->tanh_constant * (1 - p->z[entry] * p->z[entry]) / c->temperature;
            grad[s->bias + i] += dz;
            for (int j = 0; j < c->hidden; j++) {
                grad[s->out + i * c->hidden + j] += dz * h[j];
                dh[j] += dz * s->params[s->out + i * c->hidden + j];
            }
        }
        int input = input_of(policy, p, k);
        cel_lstm_backward(&s->lstm, s->params + s->cell, s->params + input, before, after,
                          p->tape + (ptrdiff_t)k * tape, s->dstate, s->dx, grad + s->cell);
        for (int j = 0; j < c->hidden; j++) grad[input + j] += s->dx[j];
    }
}

static double entropy_of(const cel_policy *policy, const double *p) {
    double sum = 0;
    for (int i = 0; i < policy->choices->n_entries; i++)
        if (p[i] > 0) sum -= p[i] * log(p[i]);
    return sum;
}

static void move(cel_policy *policy) {
    const conf *c = policy->conf;
    state *s = policy->state;
    double squares = 0;
    for (int i = 0; i < policy->n_params; i++) {
        s->grad[i] = s->sum[i] / s->n_sum[0];
        squares += s->grad[i] * s->grad[i];
        s->sum[i] = 0;
    }
    s->n_sum[0] = 0;
    double factor = cel_clip_factor(sqrt(squares), c->clip);
    for (int i = 0; i < policy->n_params; i++) s->grad[i] *= factor;
    cel_adam adam = {c->beta1, c->beta2, c->eps, c->weight_decay};
    s->t[0] += 1;
    cel_adam_step(&adam, c->lr, (int64_t)s->t[0], policy->n_params, NULL, s->params, s->grad, s->m, s->v);
}

static int rollouts(const cel_policy *policy) {
    const conf *c = policy->conf;
    return c->steps * c->samples;
}

static void reward(cel_policy *policy, const cel_at *at, const cel_feedback *feedback) {
    const conf *c = policy->conf;
    state *s = policy->state;
    (void)at;
    double value = feedback->accuracy + c->entropy_weight * entropy_of(policy, s->last.p);
    double baseline = isnan(s->prev[0]) ? feedback->accuracy : s->prev[0] - (1 - c->decay) * (s->prev[0] - value);
    s->baseline[0] += baseline;
    s->n_seen[0] += 1;
    add_score(policy, -(value - baseline), s->sum);
    s->n_sum[0] += 1;
    if ((int)s->n_sum[0] >= c->samples) move(policy);
}

static void epoch(cel_policy *policy, const cel_at *at) {
    state *s = policy->state;
    (void)at;
    if (s->n_seen[0] > 0) s->prev[0] = s->baseline[0] / s->n_seen[0];
    s->baseline[0] = s->n_seen[0] = 0;
}

static double rate(const cel_policy *policy) { return ((const conf *)policy->conf)->lr; }

/* Over the cells it may draw: the mean of the probabilities in a number of draws, always the same stream. */
static void mean(const cel_policy *policy, double *values) {
    enum { DRAWS = 128 };
    state *s = policy->state;
    cel_rng rng = cel_rng_at(policy->seed, "enas.mean", 0, 0);
    memset(values, 0, (size_t)policy->choices->n_entries * sizeof *values);
    for (int d = 0; d < DRAWS; d++) {
        draw_cell(policy, &s->other, &rng);
        for (int i = 0; i < policy->choices->n_entries; i++) values[i] += s->other.p[i] / DRAWS;
    }
}

/* Always its most probable operation, and the probabilities that it then has. */
static void scores(const cel_policy *policy, double *values) {
    state *s = policy->state;
    for (int k = 0; k < policy->choices->n; k++)
        s->other.chosen[k] = cel_argmax(advance(policy, &s->other, k), policy->choices->choice[k].n);
    memcpy(values, s->other.p, (size_t)policy->choices->n_entries * sizeof *values);
}

static void draw(const cel_policy *policy, cel_rng *rng, double *weights) {
    state *s = policy->state;
    draw_cell(policy, &s->other, rng);
    one_hot(policy, &s->other, weights);
}

static cel_status prune(cel_policy *policy, int keep) {
    state *s = policy->state;
    scores(policy, s->row);
    return cel_policy_keep(policy, keep, s->row);
}

const cel_method cel_method_enas = {.name = "enas",
                                    .title = "ENAS",
                                    .paper = "arXiv:1802.03268",
                                    .opts = opts,
                                    .conf_size = sizeof(conf),
                                    .state_size = sizeof(state),
                                    .init = init,
                                    .sample = sample,
                                    .rollouts = rollouts,
                                    .reward = reward,
                                    .epoch = epoch,
                                    .lr = rate,
                                    .mean = mean,
                                    .scores = scores,
                                    .report = scores,
                                    .draw = draw,
                                    .prune = prune};
