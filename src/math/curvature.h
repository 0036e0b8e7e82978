/* The largest eigenvalue of a function's Hessian, from gradients alone: power iteration on H v = (g(x + h v) - g(x - h v)) / (2 h).
 * What R-DARTS (Zela et al., "Understanding and robustifying differentiable architecture search", ICLR 2020, arXiv:1909.09656)
 * watches, who build the whole Hessian instead. */
#ifndef CEL_MATH_CURVATURE_H
#define CEL_MATH_CURVATURE_H
#include "base/rng.h"

/* The gradient at x, n numbers; a failure ends the iteration with it. */
typedef cel_status cel_gradient_fn(void *ctx, const double *x, double *gradient);

typedef struct cel_curvature {
    int n;            /* of variables, at least 1 */
    double step;      /* h, for |v| = 1 */
    int iterations;   /* at most so many products H v, at least 1... */
    double tolerance; /* ... and until the eigenvalue changes by less than this part of itself */
    double *work;     /* 4 n numbers */
} cel_curvature;

/* *eigenvalue: the largest, not the largest in size. Power iteration finds that of the largest size; is it negative, the iteration goes
 * on with H minus it, whose largest in size is H's largest. The start is a draw of `rng`. CEL_DIVERGED when a gradient is not
 * finite. x is left as it was. */
cel_status cel_curvature_top(const cel_curvature *c, double *x, cel_gradient_fn *gradient, void *ctx, cel_rng rng,
                             double *eigenvalue);
#endif
