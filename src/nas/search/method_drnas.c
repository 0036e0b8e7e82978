/* DrNAS: the weights of each choice are a draw from a Dirichlet distribution whose concentrations are learned.
 *
 * Chen et al., "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021 (arXiv:2006.10355), sections 3.1 (objective: E_q[L_val] +
 * lambda d(beta, 1), beta = ELU(eta) + 1), 3.2 (pathwise gradient) and 3.4 (progressive stages).
 *
 * Like the authors' code: eta starts at 1e-3 N(0, 1); one draw a half-step, shared by all cells of a kind, in weight steps too; Adam with
 * betas (0.5, 0.999); the distance d is either L2 on eta (Adam's decay; beta = 1 is eta = 0) or the divergence from Dir(1); after
 * pruning the whole row is drawn, then masked and scaled to sum 1; the genotype is the largest softmax(eta).
 * Unlike it: the pathwise gradient is exact (theirs is PyTorch's rational approximation, off by up to 8e-4), draws are made in log
 * space, and a pruned eta rests at 0 (theirs is moved by rounding noise and what is left of its momentum; it has no effect on the
 * distribution of those that are kept). */
#include <math.h>

#include "base/conf/opt.h"
#include "math/dirichlet.h"
#include "math/softmax.h"
#include "math/special.h"
#include "nas/search/part_logits.h"
#include "nas/search/part_regulariser.h"

enum { MOST = CEL_MAX_CANDIDATES };
typedef enum reg { REG_L2, REG_KL, REG_NONE } reg;

typedef struct conf {
    cel_part_adam_conf adam; /* but for weight_decay, which is reg's */
    double reg_scale, init_scale, beta_scale;
    int reg, draws;
} conf;

static const char *const reg_names[] = {"l2", "kl", "none", NULL};
static const cel_opt opts[] = {
    CEL_REAL(cel_part_adam_conf, lr, 3e-4, 0, 10, "learning rate of the concentrations"),
    CEL_REAL(cel_part_adam_conf, beta1, 0.5, 0, 0.999999, "Adam's memory of the gradient"),
    CEL_REAL(cel_part_adam_conf, beta2, 0.999, 0, 0.999999999, "Adam's memory of its square"),
    CEL_REAL(cel_part_adam_conf, eps, 1e-8, 1e-300, 1, "Adam's epsilon"),
    CEL_ENUM(conf, reg, REG_L2, reg_names, "what keeps the concentrations near 1"),
    CEL_REAL(conf, reg_scale, 1e-3, 0, 1e3, "its strength (kl wants another than l2)"),
    CEL_REAL(
        conf, beta_scale, 0, 0, 1e6,
        "beta-DARTS' regulariser, mean ln sum exp of the parameters: its weight after the last epoch, rising from 0"),
    CEL_REAL(conf, init_scale, 1e-3, 0, 10, "spread of the parameters at the start"),
    CEL_REAL(cel_part_adam_conf, clip, 0, 0, 1e9, "largest norm of the concentrations' gradient; 0: no clipping"),
    CEL_INT(conf, draws, 1, 1, 1000, "draws that an architecture step averages"),
    CEL_OPTS_END};

typedef struct state {
    double *eta; /* saved */
    cel_part_adam adam;
    double *conc, *log_draw, *weights; /* of the last draw */
    double *ramp;                      /* of the last step */
} state;

static cel_status init(cel_policy *policy) {
    const conf *c = policy->conf;
    state *s = policy->state;
    int n = policy->n_params;
    CEL_TRY(cel_policy_tensor(policy, "eta", n, &s->eta));
    CEL_TRY(cel_part_adam_init(policy, &s->adam));
    CEL_TRY(cel_policy_scratch(policy, n, &s->conc));
    CEL_TRY(cel_policy_scratch(policy, n, &s->log_draw));
    CEL_TRY(cel_policy_scratch(policy, n, &s->weights));
    CEL_TRY(cel_policy_scratch(policy, 1, &s->ramp));
    cel_rng rng = cel_rng_at(policy->seed, "drnas.init", 0, 0);
    for (int i = 0; i < n; i++) s->eta[i] = c->init_scale * cel_rng_normal(&rng);
    return CEL_OK;
}

static void concentrate(const cel_policy *policy, double *conc) {
    const state *s = policy->state;
    for (int i = 0; i < policy->n_params; i++) conc[i] = cel_elu_concentration(s->eta[i]);
}

static void sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates) {
    state *s = policy->state;
    cel_rng rng;
    (void)gates;
    cel_policy_rng(policy, at, &rng);
    concentrate(policy, s->conc);
    for (int c = 0; c < policy->choices->n; c++) {
        const cel_choice *choice = &policy->choices->choice[c];
        double *log_draw = s->log_draw + choice->first;
        if (at->replay) {
            for (int i = 0; i < choice->n; i++) log_draw[i] = log(fmax(at->replay[choice->first + i], 1e-300));
        } else {
            cel_dirichlet_sample_log(&rng, s->conc + choice->first, choice->n, log_draw);
        }
        cel_part_softmax(policy, choice, s->log_draw, weights);
        for (int i = choice->first; i < choice->first + choice->n; i++) s->weights[i] = weights[i];
    }
}

static void gradient(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad) {
    const state *s = policy->state;
    (void)at;
    for (int c = 0; c < policy->choices->n; c++) {
        int first = policy->choices->choice[c].first, n = policy->choices->choice[c].n;
        double dlog[MOST];
        cel_simplex_mask_vjp(s->weights + first, n, feedback->dweights + first, dlog);
        cel_dirichlet_pathwise_log(s->conc + first, s->log_draw + first, n, dlog, grad + first);
        for (int i = first; i < first + n; i++)
            grad[i] = policy->live[i] ? grad[i] * cel_elu_concentration_slope(s->eta[i]) : 0;
    }
}

static void step(cel_policy *policy, const cel_at *at, const double *grad, const double *grad2) {
    const conf *c = policy->conf;
    state *s = policy->state;
    (void)grad2;
    cel_part_adam_conf adam = c->adam;
    adam.weight_decay = c->reg == REG_L2 ? c->reg_scale : 0;
    s->ramp[0] = cel_part_ramp(at);
    for (int i = 0; i < policy->n_params; i++) s->adam.grad[i] = grad[i];
    if (c->reg == REG_KL) cel_part_kl_dirichlet(policy, s->eta, c->reg_scale, s->adam.grad);
    if (c->beta_scale > 0) cel_part_log_sum_exp(policy, s->eta, c->beta_scale * s->ramp[0], s->adam.grad);
    cel_part_adam_step(policy, &adam, &s->adam, s->eta);
}

static double penalty(const cel_policy *policy) {
    const conf *c = policy->conf;
    const state *s = policy->state;
    double value = c->reg == REG_KL ? c->reg_scale * cel_part_kl_dirichlet(policy, s->eta, 0, NULL) : 0;
    if (c->beta_scale > 0) value += c->beta_scale * s->ramp[0] * cel_part_log_sum_exp(policy, s->eta, 0, NULL);
    return value;
}

static double rate(const cel_policy *policy) { return ((const conf *)policy->conf)->adam.lr; }

static int draws(const cel_policy *policy) { return ((const conf *)policy->conf)->draws; }

static void report(const cel_policy *policy, double *values) {
    concentrate(policy, values);
    for (int i = 0; i < policy->n_params; i++)
        if (!policy->live[i]) values[i] = 0;
}

static void mean(const cel_policy *policy, double *values) {
    report(policy, values);
    for (int c = 0; c < policy->choices->n; c++) {
        double *row = values + policy->choices->choice[c].first, sum = 0;
        for (int i = 0; i < policy->choices->choice[c].n; i++) sum += row[i];
        for (int i = 0; i < policy->choices->choice[c].n; i++) row[i] /= sum;
    }
}

static void scores(const cel_policy *policy, double *values) {
    const state *s = policy->state;
    for (int c = 0; c < policy->choices->n; c++) cel_part_softmax(policy, &policy->choices->choice[c], s->eta, values);
}

static void draw(const cel_policy *policy, cel_rng *rng, double *weights) {
    for (int c = 0; c < policy->choices->n; c++) {
        const cel_choice *choice = &policy->choices->choice[c];
        const state *s = policy->state;
        double conc[MOST], log_draw[MOST];
        bool mask[MOST];
        for (int i = 0; i < choice->n; i++) {
            conc[i] = cel_elu_concentration(s->eta[choice->first + i]);
            mask[i] = policy->live[choice->first + i];
        }
        cel_dirichlet_sample_log(rng, conc, choice->n, log_draw);
        cel_simplex_mask(log_draw, mask, choice->n, weights + choice->first);
    }
}

static cel_status prune(cel_policy *policy, int keep) {
    state *s = policy->state;
    CEL_TRY(cel_policy_keep(policy, keep, s->eta));
    return CEL_OK;
}

const cel_method cel_method_drnas = {.name = "drnas",
                                     .title = "DrNAS",
                                     .paper = "arXiv:2006.10355",
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
                                     .scores = scores,
                                     .report = report,
                                     .draw = draw,
                                     .prune = prune};
