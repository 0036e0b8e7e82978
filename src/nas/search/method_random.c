/* Random cells with shared weights: each weight step trains one path, drawn uniformly, and no distribution learns anything.
 *
 * Li and Talwalkar, "Random search and reproducibility for NAS", UAI 2019 (arXiv:1902.07638), section 3: when the weights are
 * trained, many random cells are measured with them and the best is taken (select: {by: one_shot}). Without that the genotype is one
 * uniform cell, drawn before the search began: the mean random cell, which any search must beat.
 *
 * A path in which some node gets nothing but `none` is drawn again, as in NAS-Bench-201's code (arXiv:2001.00326). The nodes are
 * independent, so the mean has a closed form. */
#include <string.h>

#include "base/rng.h"
#include "math/softmax.h"
#include "nas/search/policy.h"

typedef struct state {
    double *score; /* one uniform number an entry: the largest of each choice is the genotype */
} state;

/* The candidate that passes nothing on, or -1. */
static int none_of(const cel_choice *choice) {
    for (int i = 0; i < choice->n; i++)
        if (!strcmp(choice->candidates[i], "none")) return i;
    return -1;
}

/* Does a node get nothing? */
static bool is_cut(const cel_choices *choices, const double *weights) {
    for (int a = 0; a < choices->n; a++) {
        bool reached = false;
        for (int b = 0; b < choices->n && !reached; b++) {
            const cel_choice *into = &choices->choice[b];
            if (cel_choice_same_node(&choices->choice[a], into))
                reached = cel_argmax(weights + into->first, into->n) != none_of(into);
        }
        if (!reached) return true;
    }
    return false;
}

static void draw(const cel_policy *policy, cel_rng *rng, double *weights) {
    do
        for (int i = 0; i < policy->choices->n_entries; i++) weights[i] = cel_rng_uniform(rng);
    while (is_cut(policy->choices, weights));
}

/* The probability that every choice into this one's node is `none`, when each is drawn alone. */
static double cut_probability(const cel_choices *choices, const cel_choice *choice) {
    double p = 1;
    for (int c = 0; c < choices->n; c++)
        if (cel_choice_same_node(&choices->choice[c], choice))
            p *= none_of(&choices->choice[c]) >= 0 ? 1.0 / choices->choice[c].n : 0;
    return p;
}

static cel_status init(cel_policy *policy) {
    state *s = policy->state;
    for (int c = 0; c < policy->choices->n; c++)
        if (cut_probability(policy->choices, &policy->choices->choice[c]) == 1)
            return CEL_FAIL(CEL_CONFIG, "random: nothing but none leads into node %d: there is no path to draw",
                            policy->choices->choice[c].to);
    CEL_TRY(cel_policy_tensor(policy, "score", policy->choices->n_entries, &s->score));
    cel_rng rng = cel_rng_at(policy->seed, "random.genotype", 0, 0);
    draw(policy, &rng, s->score);
    return CEL_OK;
}

/* A replayed draw is one-hot. */
static void sample(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates) {
    cel_rng rng;
    cel_policy_rng(policy, at, &rng);
    do
        for (int c = 0; c < policy->choices->n; c++) {
            const cel_choice *choice = &policy->choices->choice[c];
            int chosen = at->replay ? cel_argmax(at->replay + choice->first, choice->n)
                                    : (int)cel_rng_below(&rng, (uint32_t)choice->n);
            for (int i = 0; i < choice->n; i++) gates[choice->first + i] = weights[choice->first + i] = i == chosen;
        }
    while (!at->replay && is_cut(policy->choices, weights));
}

static void mean(const cel_policy *policy, double *values) {
    for (int c = 0; c < policy->choices->n; c++) {
        const cel_choice *choice = &policy->choices->choice[c];
        double cut = cut_probability(policy->choices, choice), each = 1.0 / choice->n;
        int none = none_of(choice);
        for (int i = 0; i < choice->n; i++) values[choice->first + i] = (each - (i == none ? cut : 0)) / (1 - cut);
    }
}

static void scores(const cel_policy *policy, double *values) {
    const state *s = policy->state;
    for (int i = 0; i < policy->choices->n_entries; i++) values[i] = s->score[i];
}

const cel_method cel_method_random = {.name = "random",
                                      .title = "random cells, shared weights",
                                      .paper = "arXiv:1902.07638",
                                      .state_size = sizeof(state),
                                      .init = init,
                                      .sample = sample,
                                      .mean = mean,
                                      .scores = scores,
                                      .report = scores,
                                      .draw = draw};
