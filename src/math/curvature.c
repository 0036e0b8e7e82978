#include "math/curvature.h"

#include <math.h>

/* hv = H v. */
static cel_status product(const cel_curvature *c, double *x, const double *v, double *hv, double *point,
                          cel_gradient_fn *gradient, void *ctx) {
    double *g = c->work + 3 * (ptrdiff_t)c->n;
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < c->n; i++) point[i] = x[i] + (side ? -c->step : c->step) * v[i];
        CEL_TRY(gradient(ctx, point, g));
        for (int i = 0; i < c->n; i++) {
            if (!isfinite(g[i]))
                return CEL_FAIL(CEL_DIVERGED, "curvature: element %d of a gradient is %g, expected a finite number", i,
                                g[i]);
            hv[i] = side ? (hv[i] - g[i]) / (2 * c->step) : g[i];
        }
    }
    return CEL_OK;
}

static double normalise(double *v, int n) {
    double squares = 0;
    for (int i = 0; i < n; i++) squares += v[i] * v[i];
    for (int i = 0; i < n && squares > 0; i++) v[i] /= sqrt(squares);
    return sqrt(squares);
}

/* The eigenvalue of H - shift of the largest size. */
static cel_status dominant(const cel_curvature *c, double *x, double shift, cel_gradient_fn *gradient, void *ctx,
                           cel_rng rng, double *eigenvalue) {
    double *v = c->work, *hv = v + c->n, *point = hv + c->n, before = NAN;
    for (int i = 0; i < c->n; i++) v[i] = cel_rng_normal(&rng);
    normalise(v, c->n);
    for (int k = 0; k < c->iterations; k++) {
        CEL_TRY(product(c, x, v, hv, point, gradient, ctx));
        double rayleigh = 0;
        for (int i = 0; i < c->n; i++) {
            hv[i] -= shift * v[i];
            rayleigh += v[i] * hv[i];
        }
        *eigenvalue = rayleigh;
        if (fabs(rayleigh - before) <= c->tolerance * fabs(rayleigh)) break;
        before = rayleigh;
        for (int i = 0; i < c->n; i++) v[i] = hv[i];
        if (normalise(v, c->n) == 0) break; /* flat */
    }
    return CEL_OK;
}

cel_status cel_curvature_top(const cel_curvature *c, double *x, cel_gradient_fn *gradient, void *ctx, cel_rng rng,
                             double *eigenvalue) {
    CEL_TRY(dominant(c, x, 0, gradient, ctx, rng, eigenvalue));
    if (*eigenvalue >= 0) return CEL_OK;
    double most_negative = *eigenvalue;
    CEL_TRY(dominant(c, x, most_negative, gradient, ctx, rng, eigenvalue));
    *eigenvalue += most_negative;
    return CEL_OK;
}
