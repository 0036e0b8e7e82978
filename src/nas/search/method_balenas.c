/* BaLeNAS: a Gaussian over the architecture's parameters, moved by natural-gradient variational inference.
 *
 * Zhang et al., "BaLeNAS: Differentiable Architecture Search via the Bayesian Learning Rule", CVPR 2022 (arXiv:2111.13204). Each half-step
 * draws alpha = mu + sigma eps, once for the whole batch, and the weights of a choice are its softmax; q = N(mu, sigma^2) moves
 * by Vadam (Khan et al., ICML 2018, arXiv:1806.04854), whose arithmetic train/optim.h has: Adam with weight noise, the prior's pull
 * in place of decay, and the second moment as the precision, 1/sigma^2 = n_data s + prior_prec. The genotype is that of the mean.
 *
 * The paper does not say everything; what is chosen here, each a setting: Vadam's constants are those of the first author's later code
 * (lr 3e-4, betas 0.5 and 0.999, prior_prec and prec_init 1, one draw), n_data is the number of images that architecture steps draw
 * from, and the weights are trained at the mean (weight_draw: false), as that code restores it after each architecture step. `temper`
 * is the temperature of the posterior: the divergence from the prior counts temper times, which is n_data / temper images. No L2
 * decay: the prior does that. Of second order with search.order: second; cells drawn from q and ranked (BaLeNAS-TF) are section `select`. */
#include "math/softmax.h"
#include "nas/search/part_logits.h"
#include "nas/search/part_regulariser.h"
#include "train/optim.h"

typedef struct conf {
    double lr, beta1, beta2, prior_prec, prec_init, temper, init_scale, beta_scale;
    int64_t n_data;
    int draws;
    bool weight_draw;
} conf;

static const cel_opt opts[] = {
    CEL_REAL(conf, lr, 3e-4, 0, 10, "learning rate of the mean"),
    CEL_REAL(conf, beta1, 0.5, 0, 0.999999, "memory of the gradient"),
    CEL_REAL(conf, beta2, 0.999, 0, 0.999999999, "memory of its square, which is the precision"),
    CEL_REAL(conf, prior_prec, 1, 1e-12, 1e12, "precision of the prior N(0, 1/prior_prec)"),
    CEL_REAL(conf, prec_init, 1, 1e-12, 1e12, "precision at the start; not below the prior's"),
    CEL_LONG(conf, n_data, 0, 0, 1000000000,
             "images that the likelihood counts; 0: as many as architecture steps draw from"),
    CEL_REAL(conf, temper, 1, 1e-12, 1e12, "weight of the divergence from the prior"),
    CEL_INT(conf, draws, 1, 1, 1000, "draws that an architecture step averages"),
    CEL_BOOL(conf, weight_draw, false, "weight steps see a draw; else the mean"),
    CEL_REAL(conf, beta_scale, 0, 0, 1e6,
             "beta-DARTS' regulariser, mean ln sum exp of the mean: its weight after the last epoch, rising from 0"),
    CEL_REAL(conf, init_scale, 1e-3, 0, 10, "spread of the mean at the start"),
    CEL_OPTS_END};

typedef struct state {
    double *mu, *m, *s, *t;       /* saved; s is zero before the first step and means the start then */
    double *alpha, *weights;      /* of the last draw */
    double *grad, *grad2, *sigma; /* of a step */
    double *ramp;
} state;

static cel_vadam vadam_of(const cel_policy *policy) {
    const conf *c = policy->conf;
    double n_data = c->n_data ? (double)c->n_data : policy->n_images;
    return (cel_vadam){c->beta1, c->beta2, c->prior_prec, n_data / c->temper};
}

static cel_status init(cel_policy *policy) {
    const conf *c = policy->conf;
    state *s = policy->state;
    int n = policy->n_params;
    if (c->prec_init < c->prior_prec)
        return CEL_FAIL(CEL_CONFIG,
                        "method.prec_init: %g is below method.prior_prec, %g: no data make q wider than its prior",
                        c->prec_init, c->prior_prec);
    CEL_TRY(cel_policy_tensor(policy, "mu", n, &s->mu));
    CEL_TRY(cel_policy_tensor(policy, "vadam.m", n, &s->m));
    CEL_TRY(cel_policy_tensor(policy, "vadam.s", n, &s->s));
    CEL_TRY(cel_policy_tensor(policy, "vadam.t", 1, &s->t));
    CEL_TRY(cel_policy_scratch(policy, n, &s->alpha));
    CEL_TRY(cel_policy_scratch(policy, n, &s->weights));
    CEL_TRY(cel_policy_scratch(policy, n, &s->grad));
    CEL_TRY(cel_policy_scratch(policy, n, &s->grad2));
    CEL_TRY(cel_policy_scratch(policy, n, &s->sigma));
    CEL_TRY(cel_policy_scratch(policy, 1, &s->ramp));
    cel_rng rng = cel_rng_at(policy->seed, "balenas.init", 0, 0);
    for (int i = 0; i < n; i++) s->mu[i] = c->init_scale * cel_rng_normal(&rng);
    return CEL_OK;
}

static double sigma_of(const cel_policy *policy, int i) {
    const conf *c = policy->conf;
    const state *s = policy->state;
    cel_vadam vadam = vadam_of(policy);
    return cel_vadam_sigma(&vadam, s->t[0] == 0 ? cel_vadam_start(&vadam, c->prec_init) : s->s[i]);
}

/* The mean alone where nothing is drawn. A replayed draw is its standard normal noise. */
static void sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates) {
    const conf *c = policy->conf;
    state *s = policy->state;
    cel_rng rng;
    (void)gates;
    cel_policy_rng(policy, at, &rng);
    bool still = at->phase == CEL_PHASE_WEIGHT && !c->weight_draw;
    for (int i = 0; i < policy->n_params; i++) {
        double eps = at->replay ? at->replay[i] : cel_rng_normal(&rng);
        s->alpha[i] = still ? s->mu[i] : s->mu[i] + sigma_of(policy, i) * eps;
    }
    for (int k = 0; k < policy->choices->n; k++)
        cel_part_softmax(policy, &policy->choices->choice[k], s->alpha, weights);
    for (int i = 0; i < policy->n_params; i++) s->weights[i] = weights[i];
}

static void gradient(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad) {
    const state *s = policy->state;
    (void)at;
    for (int k = 0; k < policy->choices->n; k++) {
        int first = policy->choices->choice[k].first, n = policy->choices->choice[k].n;
        cel_simplex_mask_vjp(s->weights + first, n, feedback->dweights + first, grad + first);
    }
}

static void step(cel_policy *policy, const cel_at *at, const double *grad, const double *grad2) {
    const conf *c = policy->conf;
    state *s = policy->state;
    cel_vadam vadam = vadam_of(policy);
    int n = policy->n_params;
    if (s->t[0] == 0)
        for (int i = 0; i < n; i++) s->s[i] = cel_vadam_start(&vadam, c->prec_init);
    s->ramp[0] = cel_part_ramp(at);
    for (int i = 0; i < n; i++) s->grad[i] = grad[i];
    if (c->beta_scale > 0) cel_part_log_sum_exp(policy, s->mu, c->beta_scale * s->ramp[0], s->grad);
    s->t[0] += 1;
    for (int i = 0; i < n; i++)
        if (policy->live[i])
            cel_vadam_step(&vadam, c->lr, (int64_t)s->t[0], 1, &s->mu[i], &s->m[i], &s->s[i], &s->grad[i], &grad2[i]);
}

/* The divergence from the prior, as it stands beside the mean loss of an image. Vadam takes its gradient by mu as the pull, and
 * that by sigma as the prior's part of the precision. */
static double penalty(const cel_policy *policy) {
    const conf *c = policy->conf;
    const state *s = policy->state;
    for (int i = 0; i < policy->n_params; i++) s->sigma[i] = sigma_of(policy, i);
    double value = cel_part_kl_gaussian(policy, s->mu, s->sigma, c->prior_prec, 0, NULL) / vadam_of(policy).n_data;
    if (c->beta_scale > 0) value += c->beta_scale * s->ramp[0] * cel_part_log_sum_exp(policy, s->mu, 0, NULL);
    return value;
}

static double rate(const cel_policy *policy) { return ((const conf *)policy->conf)->lr; }

static int draws(const cel_policy *policy) { return ((const conf *)policy->conf)->draws; }

static void mean(const cel_policy *policy, double *values) {
    const state *s = policy->state;
    for (int k = 0; k < policy->choices->n; k++) cel_part_softmax(policy, &policy->choices->choice[k], s->mu, values);
}

static void draw(const cel_policy *policy, cel_rng *rng, double *weights) {
    const state *s = policy->state;
    for (int i = 0; i < policy->n_params; i++) weights[i] = s->mu[i] + sigma_of(policy, i) * cel_rng_normal(rng);
}

/* What is pruned rests at the prior. */
static cel_status prune(cel_policy *policy, int keep) {
    state *s = policy->state;
    CEL_TRY(cel_policy_keep(policy, keep, s->mu));
    for (int i = 0; i < policy->n_params; i++)
        if (!policy->live[i]) s->m[i] = s->s[i] = 0;
    return CEL_OK;
}

const cel_method cel_method_balenas = {.name = "balenas",
                                       .title = "BaLeNAS",
                                       .paper = "arXiv:2111.13204",
                                       .opts = opts,
                                       .conf_size = sizeof(conf),
                                       .state_size = sizeof(state),
                                       .init = init,
                                       .sample = sample,
                                       .gradient = gradient,
                                       .step = step,
                                       .penalty = penalty,
                                       .lr = rate,
                                       .draws = draws,
                                       .mean = mean,
                                       .draw = draw,
                                       .prune = prune};
