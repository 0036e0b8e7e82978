/* REINFORCE (Williams, Machine Learning 8, 1992): an independent categorical distribution on each edge, moved by Adam
 * along (reward - baseline) * d log p, the baseline being a moving mean of the rewards; as in NAS-Bench-201
 * (arXiv:2001.00326). The reward is the validation accuracy, 0 .. 1; the authors take percent, which Adam does not tell
 * apart. */
#include "math/softmax.h"
#include "nas/search/searcher.h"
#include "train/optim.h"

typedef struct conf {
    double lr, momentum;
} conf;
static const cel_opt opts[] = {CEL_REAL(conf, lr, 0.01, 0, 100, "learning rate of Adam"),
                               CEL_REAL(conf, momentum, 0.9, 0, 1, "of the baseline: how much of the last one stays"),
                               CEL_OPTS_END};

typedef struct state {
    double *theta, *p, *grad, *m, *v; /* n_edges x n_ops */
    double baseline;
    int64_t t;
} state;

static cel_status init(cel_seeker *s) {
    state *st = s->state;
    size_t n = (size_t)(s->n_edges * s->n_ops);
    double **const all[] = {&st->theta, &st->p, &st->grad, &st->m, &st->v};
    for (size_t i = 0; i < CEL_COUNT(all); i++)
        if (!(*all[i] = cel_arena_alloc(&s->arena, n, sizeof **all[i])))
            return CEL_FAIL(CEL_NOMEM, "out of memory: a distribution");
    for (size_t i = 0; i < n; i++) st->theta[i] = 1e-3 * cel_rng_normal(&s->rng);
    return CEL_OK;
}

static void propose(cel_seeker *s, uint8_t *ops) {
    const state *st = s->state;
    for (int e = 0; e < s->n_edges; e++) {
        double *p = st->p + e * s->n_ops, left = cel_rng_uniform(&s->rng);
        cel_softmax(st->theta + e * s->n_ops, s->n_ops, p);
        int op = 0;
        while (op < s->n_ops - 1 && (left -= p[op]) > 0) op++;
        ops[e] = (uint8_t)op;
    }
}

static void observe(cel_seeker *s, const uint8_t *ops, double valid) {
    state *st = s->state;
    const conf *c = s->conf;
    static const cel_adam adam = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    double reward = valid / 100;
    st->baseline = st->t ? c->momentum * st->baseline + (1 - c->momentum) * reward : reward;
    for (int e = 0; e < s->n_edges; e++)
        for (int o = 0; o < s->n_ops; o++) {
            int i = e * s->n_ops + o;
            st->grad[i] = (reward - st->baseline) * (st->p[i] - (ops[e] == o));
        }
    cel_adam_step(&adam, c->lr, ++st->t, s->n_edges * s->n_ops, NULL, st->theta, st->grad, st->m, st->v);
}

const cel_searcher cel_searcher_reinforce = {.name = "reinforce",
                                             .title = "REINFORCE",
                                             .paper = "Williams 1992",
                                             .opts = opts,
                                             .conf_size = sizeof(conf),
                                             .state_size = sizeof(state),
                                             .init = init,
                                             .propose = propose,
                                             .observe = observe};
