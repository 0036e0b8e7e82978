/* Optimisers. Weights are the contiguous float blocks of an executor, worked on piece by piece; architecture parameters are a
 * few doubles.
 *
 * SGD with momentum and L2 decay, Adam (Kingma and Ba, arXiv:1412.6980) with L2 decay added to the gradient, Vadam (Khan et al.,
 * arXiv:1806.04854): the arithmetic is PyTorch's, and of Vadam its authors' package. A parameter that did not run in a step
 * keeps weight and momentum: no decay. */
#ifndef CEL_TRAIN_OPTIM_H
#define CEL_TRAIN_OPTIM_H
#include "engine/exec/exec.h"

/* The parameters of an executor cut into pieces of a fixed size, so that sums over them have one order on any number of threads. */
typedef struct cel_pieces {
    struct cel_piece *all;
    int *active; /* the pieces whose parameters run */
    double *sum;
    int n, n_active;
} cel_pieces;
/* All pieces are active at first. */
cel_status cel_pieces_init(cel_pieces *pieces, const cel_slot *slots, int n_slots);
void cel_pieces_fini(cel_pieces *pieces);
/* Leaves only the parameters whose gate is on (one byte a gate) or that have none. */
void cel_pieces_select(cel_pieces *pieces, const uint8_t *gates);
/* Sum of squares of the active pieces of a block, in double. */
double cel_pieces_squares(cel_pieces *pieces, const float *block, cel_pool *pool);

/* min(1, max_norm / (norm + 1e-6)); 1 when max_norm is 0. */
double cel_clip_factor(double norm, double max_norm);

typedef struct cel_sgd {
    double lr, momentum, weight_decay;
    bool nesterov;
} cel_sgd;
/* With g = factor * grad + weight_decay * param and the buffer b = `buffer`: b <- momentum * b + g, then param <- param - lr * b
 * (nesterov: lr * (g + momentum * b)), over the active pieces. b starts at zero. */
void cel_sgd_step(const cel_sgd *sgd, const cel_pieces *pieces, double factor, float *param, const float *grad,
                  float *buffer, cel_pool *pool);

/* One step looked ahead, the momentum staying as it is: param <- param - xi * (momentum * buffer + grad + weight_decay * param)
 * over the active pieces (DARTS, arXiv:1806.09055, eq. 7 with the optimiser's momentum and decay, as in its authors' code: no Nesterov). */
void cel_pieces_unroll(const cel_pieces *pieces, const cel_sgd *sgd, double xi, float *param, const float *grad,
                       const float *buffer, cel_pool *pool);
/* to = from + by * direction over the active pieces. */
void cel_pieces_shift(const cel_pieces *pieces, const float *from, float by, const float *direction, float *to,
                      cel_pool *pool);

typedef struct cel_adam {
    double beta1, beta2, eps, weight_decay;
} cel_adam;
/* Step t = 1, 2, ... on n parameters; m and v start at 0. Entries with live[i] = 0 are left alone (live NULL: all move). */
void cel_adam_step(const cel_adam *adam, double lr, int64_t t, int n, const uint8_t *live, double *x,
                   const double *grad, double *m, double *v);

/* Vadam: q = N(mu, sigma^2), sigma = 1/sqrt(n_data * s + prior_prec). */
typedef struct cel_vadam {
    double beta1, beta2, prior_prec, n_data;
} cel_vadam;
/* s at the start, from the initial precision 1/sigma^2. */
double cel_vadam_start(const cel_vadam *vadam, double prec_init);
double cel_vadam_sigma(const cel_vadam *vadam, double s);
/* Step t = 1, 2, ...; grad and grad2: means over the draws of g and of g squared. */
void cel_vadam_step(const cel_vadam *vadam, double lr, int64_t t, int n, double *mu, double *m, double *s,
                    const double *grad, const double *grad2);
#endif
