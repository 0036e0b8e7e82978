/* The two seams of a search, as tables of functions. Unstable: they change with the library.
 *
 * A space builds networks and emits choices; a method is a distribution over every choice and a rule that moves it. They meet in
 * a small vector: each half-step the method fills one weight for each entry (a candidate of a choice), the network runs, and the
 * method gets the loss' gradient by these weights. So a method knows no network, and S spaces and M methods are S + M files.
 *
 * To add one: a file method_NAME.c (space_NAME.c) with the table, and a line in methods.def (spaces.def); docs/add-method.md. */
#ifndef CELLAR_PLUGIN_H
#define CELLAR_PLUGIN_H
#include "cellar/arch.h"
#include "cellar/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cel_opt; /* a table of settings, base/conf/opt.h */
struct cel_rng; /* a random stream, base/rng.h */

/* ---- choices ---- */

enum { CEL_MAX_CANDIDATES = 64 };
/* One choice: entries first .. first+n-1 are its candidates, exactly one of which a genotype takes. */
typedef struct cel_choice {
    const char *name;              /* "1<-0" */
    int first, n;                  /* n <= CEL_MAX_CANDIDATES */
    int cell, from, to;            /* the edge it sits on: kind of cell and nodes */
    const char *const *candidates; /* n names */
} cel_choice;

typedef struct cel_choices {
    const cel_choice *choice;
    int n, n_entries;
} cel_choices;

/* ---- methods ---- */

typedef enum cel_phase {
    CEL_PHASE_ARCH, /* architecture half-step: the gradient moves the distribution. In a single-level search: the one pass of a step */
    CEL_PHASE_WEIGHT, /* weight half-step */
    CEL_PHASE_VALID,  /* a forward pass for validation */
    CEL_PHASE_REWARD /* after an epoch of weight steps: a forward pass of a draw, on a fresh batch of the architecture's images */
} cel_phase;

/* Where the search is. Epochs and stages count from 0. */
typedef struct cel_at {
    cel_phase phase;
    int epoch, n_epochs, stage;
    int64_t step;         /* in this epoch; CEL_PHASE_REWARD: number of the pass */
    int draw;             /* of a half-step that averages several draws, 0 .. draws-1 */
    const double *replay; /* n_entries: take this draw instead of drawing (tests, repetition); NULL otherwise */
} cel_at;

typedef struct cel_method cel_method;

/* A method at work on the choices of a space. `state` is the method's own struct (state_size bytes, zeroed before init). */
typedef struct cel_policy {
    const cel_method *method;
    const cel_choices *choices;
    const void *conf; /* the method's settings */
    void *state;
    uint64_t seed;
    int n_images; /* that architecture steps draw their batches from; 25000, half of CIFAR's, until the driver says */
    /* n_entries: 1 while an entry is a candidate; part of the saved state. `step` and `epoch` may clear entries (an edge is fixed
     * early), at least one a choice stays; `sample` leaves out the others from then on. */
    uint8_t *live;
    int n_params; /* length of a gradient; n_entries unless init sets it */
    struct cel_policy_store *store;
} cel_policy;

/* Called in init: an array of n zeros that lives as long as the policy and is part of every checkpoint. */
cel_status cel_policy_tensor(cel_policy *policy, const char *name, int n, double **out);
/* The same, but not saved: what a step computes anew. */
cel_status cel_policy_scratch(cel_policy *policy, int n, double **out);
/* The stream of this half-step and draw: the same after a resume. */
void cel_policy_rng(const cel_policy *policy, const cel_at *at, struct cel_rng *rng);

/* What a half-step found out. dweights[i]: d loss / d weights[i], 0 where an entry was off. */
typedef struct cel_feedback {
    const double *dweights;
    double loss, accuracy; /* of the batch; accuracy 0..1 */
} cel_feedback;

/* bilevel: a step is an architecture half-step on one batch and a weight half-step on another. single: one pass on one batch gives
 * both gradients, at the same draw; then both move. */
typedef enum cel_levels { CEL_LEVELS_BILEVEL, CEL_LEVELS_SINGLE } cel_levels;

/* Functions marked optional may be NULL. */
struct cel_method {
    const char *name, *title, *paper; /* "drnas", "DrNAS", "arXiv:2006.10355" */
    const struct cel_opt *opts;       /* settings; optional */
    size_t conf_size, state_size;
    bool straight_through; /* the network adds the zero weights of entries that are off, so that they get a gradient */
    bool score_function;   /* `gradient` is not the chain rule through the weights: no second order */
    bool edge_norm;        /* search.edge_norm unless the recipe says otherwise: weights times their edge's share */
    cel_levels levels;     /* search.levels unless the recipe says otherwise */
    /* Declares tensors and starts the distribution. */
    cel_status (*init)(cel_policy *policy);
    /* One draw: weights (zeroed before) for every live entry. gates comes equal to live; an entry whose gate is set to 0 is not computed
     * at all. An entry of weight 0 must be off. */
    void (*sample)(cel_policy *policy, const cel_at *at, double *weights, uint8_t *gates);
    /* d loss / d parameters of the last draw (n_params numbers, zeroed before). Optional: a method without it never has an architecture
     * half-step. */
    void (*gradient)(cel_policy *policy, const cel_at *at, const cel_feedback *feedback, double *grad);
    /* Moves the distribution (with `gradient` or not at all): grad and grad2 are the means over the half-step's draws of the gradient
     * and of its square. What does not depend on a batch (regularisers) belongs here. */
    void (*step)(cel_policy *policy, const cel_at *at, const double *grad, const double *grad2);
    /* Methods that learn from rewards, after each epoch of weight steps and forward only (a controller). rollouts: passes an epoch; each
     * asks `sample` for a draw (CEL_PHASE_REWARD, at->step = 0 .. rollouts-1), runs it in evaluation mode on a fresh batch of the
     * architecture's images, and hands loss and accuracy to `reward` (dweights is NULL). The method adds up and moves itself when it
     * likes: what it holds between two passes is declared state. Both or neither; optional. They rest while the stage warms up. */
    int (*rollouts)(const cel_policy *policy);
    void (*reward)(cel_policy *policy, const cel_at *at, const cel_feedback *feedback);
    /* The end of an epoch in which the architecture was not at rest, before the epoch is recorded (at->phase means nothing). Optional. */
    void (*epoch)(cel_policy *policy, const cel_at *at);
    /* The regulariser's present value, for tests of its gradient: a search records the loss without it. Optional: 0. */
    double (*penalty)(const cel_policy *policy);
    /* The present learning rate, for the record. Optional. */
    double (*lr)(const cel_policy *policy);
    /* Draws an architecture half-step averages. Optional: 1. */
    int (*draws)(const cel_policy *policy);
    /* The mean of the distribution: each choice's live entries sum to 1, others are 0. */
    void (*mean)(const cel_policy *policy, double *mean);
    /* What the genotype is derived from (largest live entry of each choice); not negative. Optional: the mean. */
    void (*scores)(const cel_policy *policy, double *scores);
    /* Parameters to report, positive for live entries ("concentration"), the largest live one of each choice being the
     * genotype's: the record of an epoch must say how its cell came to be. Optional: the mean. */
    void (*report)(const cel_policy *policy, double *values);
    /* One architecture of the distribution, as weights whose largest live entry of each choice counts. */
    void (*draw)(const cel_policy *policy, struct cel_rng *rng, double *weights);
    /* A progressive stage begins: keep the best `keep` live entries of each choice, clear the others in policy->live and forget
     * them. Optional: the method then refuses stages that prune. */
    cel_status (*prune)(cel_policy *policy, int keep);
};

/* ---- spaces ---- */

/* The images a network takes. */
typedef struct cel_net_shape {
    int batch, channels, height, width, classes;
} cel_net_shape;

/* How a supernet is built. */
typedef struct cel_supernet_form {
    int k;                 /* 1/k of the channels goes through the mixed operations */
    const uint8_t *live;   /* n_entries; others do not exist */
    bool fused;            /* one operation a cell; else many small ones, with equal results */
    bool straight_through; /* see cel_method */
    bool bf16;             /* see cel_mixed_cell_attr; fused cells only */
} cel_supernet_form;

enum { CEL_NET_MAX_GROUPS = 4 };
typedef struct cel_net {
    cel_val x, labels;                       /* inputs: images, I32 labels */
    cel_val features, logits, loss, correct; /* [n,f], [n,classes], scalar mean, number of hits */
    int n_groups;                            /* inputs that hold the edge weights, 0 in a discrete net */
    struct {
        cel_val weights;
        int first, n;
    } group[CEL_NET_MAX_GROUPS]; /* entries first .. first+n-1, in order */
} cel_net;

typedef struct cel_space {
    const char *name, *title, *paper;
    cel_arch_space arch;
    const struct cel_opt *opts; /* settings of its networks; optional */
    size_t conf_size;
    const cel_choices *(*choices)(void);
    /* CEL_CONFIG when these networks cannot be built: what is wrong and what would work. */
    cel_status (*check)(const void *conf, const cel_net_shape *shape, int k);
    /* Entry i belongs to gate i. */
    cel_status (*supernet)(cel_graph *g, const void *conf, const cel_net_shape *shape, const cel_supernet_form *form,
                           cel_net *net);
    cel_status (*discrete)(cel_graph *g, const void *conf, const cel_net_shape *shape, const cel_genotype *genotype,
                           cel_net *net);
    /* Optional, for proxies: the same as zero-cost-nas builds it (arXiv:2101.08134). The cells' convolutions have a
     * bias, "conv.bias", and their batch norms nothing to learn. */
    cel_status (*biased)(cel_graph *g, const void *conf, const cel_net_shape *shape, const cel_genotype *genotype,
                         cel_net *net);
    /* The layers whose channels are copied when parameter or state `name` grows from one stage to the next: along its first dimension
     * (out) and its second (in); "" where that dimension does not draw. Tensors that name the same layer share its draw. */
    void (*widened)(const char *name, char out[256], char in[256]);
    /* Parameters and multiply-adds of the network that one would train, with these settings. */
    cel_status (*cost)(const void *conf, const cel_net_shape *shape, const cel_genotype *genotype, cel_arch_cost *cost);
} cel_space;

#ifdef __cplusplus
}
#endif
#endif
