/* Random cell: the baseline that any search must beat. Each weight step trains one path, drawn uniformly, the architecture never
 * moves, and the genotype is one uniform draw, made before the search began.
 *
 * (Li and Talwalkar, "Random search and reproducibility for NAS", arXiv:1902.07638, go on to rank many such cells by the shared
 * weights; here the cell is not ranked.) */
#include "base/rng.h"
#include "nas/search/policy.h"

typedef struct state {
    double *score; /* one uniform number an entry: the largest of each choice is the genotype */
} state;

static void draw(const cel_policy *policy, cel_rng *rng, double *weights) {
    (void)policy;
    for (int i = 0; i < policy->choices->n_entries; i++) weights[i] = cel_rng_uniform(rng);
}

static cel_status init(cel_policy *policy) {
    state *s = policy->state;
    CEL_TRY(cel_policy_tensor(policy, "score", policy->choices->n_entries, &s->score));
    cel_rng rng = cel_rng_at(policy->seed, "random.genotype", 0, 0);
    draw(policy, &rng, s->score);
    return CEL_OK;
}

static void sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates) {
    cel_rng rng;
    cel_policy_rng(policy, at, &rng);
    for (int c = 0; c < policy->choices->n; c++) {
        const cel_choice *choice = &policy->choices->choice[c];
        int chosen = choice->first + (int)cel_rng_below(&rng, (uint32_t)choice->n);
        for (int i = choice->first; i < choice->first + choice->n; i++) gates[i] = i == chosen;
        weights[chosen] = 1;
    }
}

static void mean(const cel_policy *policy, double *values) {
    for (int c = 0; c < policy->choices->n; c++) {
        const cel_choice *choice = &policy->choices->choice[c];
        for (int i = choice->first; i < choice->first + choice->n; i++) values[i] = 1.0 / choice->n;
    }
}

static void scores(const cel_policy *policy, double *values) {
    const state *s = policy->state;
    for (int i = 0; i < policy->choices->n_entries; i++) values[i] = s->score[i];
}

const cel_method cel_method_random = {.name = "random",
                                      .title = "random cell",
                                      .paper = "arXiv:1902.07638",
                                      .state_size = sizeof(state),
                                      .init = init,
                                      .sample = sample,
                                      .mean = mean,
                                      .scores = scores,
                                      .report = scores,
                                      .draw = draw};
