/* Beta distribution function and exact implicit reparameterisation gradient.
 *
 * Figurnov, Mohamed & Mnih 2018 (arXiv:1805.08498); Jankowiak & Obermeyer 2018 (arXiv:1806.01851).
 * PyTorch patches series and a rational fit together (errors up to 8e-4). Here one integral serves the whole range:
 * with f the density and m = E[ln t] = psi(a) - psi(a + b),
 *
 *     dx/da = 1/f(x) * integral over (0, x) of f(t) (m - ln t) dt
 *           = 1/f(x) * integral over (x, 1) of f(t) (ln t - m) dt.
 *
 * If ln x <= m the first integrand is positive throughout, else the second is: nothing cancels. In log odds y =
 * ln(t/(1-t)) the integrand is a log-concave exp(a ln t + b ln(1-t)) times a slowly varying factor, so that a march
 * of Gauss-Legendre panels away from x, their widths set by slope and curvature, gives close to full precision in 40
 * to 400 evaluations. */
#include "math/beta.h"

#include <math.h>

#include "math/gauss_legendre.h"
#include "math/special.h"

/* A start point, given by both logarithms, and the shapes, turned so that the march goes towards x = 0. */
typedef struct {
    double a, b, x, xc, log_x, log_xc;
} start;

/* The point whose log odds lie v >= 0 below: shrink = ln(t/x) <= 0, grow = ln((1-t)/(1-x)) >= 0, each to full
 * precision. */
static void move(const start *s, double v, double *shrink, double *grow) {
    double odds = s->log_xc + v, fall = -s->x * expm1(-v);
    if (odds > 700)
        *shrink = -odds;
    else
        *shrink = -log1p(v < 1 ? s->xc * expm1(v) : exp(odds) - s->xc);
    *grow = fall < 0.5 ? -log1p(-fall) : v + *shrink;
}

/* Slope and curvature of a ln t + b ln(1-t) at distance v, both as they count for a panel's width. */
static double slope(const start *s, double v, double *curvature) {
    double shrink, grow;
    move(s, v, &shrink, &grow);
    double t = exp(s->log_x + shrink), tc = exp(s->log_xc + grow);
    *curvature = (s->a + s->b) * t * tc;
    return s->b * t - s->a * tc;
}

/* Integrals over v = 0 .. infinity of e(v) = (t/x)^a ((1-t)/(1-x))^b: mass of e; drift of e * (gap + |ln t - ln x|),
 * or, turned (the march goes from 1 - x to 0), of e * (gap + ln((1-t)/(1-x))). gap >= 0. */
static void march(const start *s, double gap, int turned, double *mass, double *drift) {
    enum { MAX_PANELS = 4000 };
    const double step = 8, core = 1 + log(1 + s->a + s->b);
    const double y0 = s->log_x - s->log_xc;
    double v = 0, curvature, end_curvature, here = slope(s, 0, &curvature);
    *mass = *drift = 0;
    for (int panel = 0; panel < MAX_PANELS; panel++) {
        /* Within |y| < core the integrand has structure of size 1; outside it is an exponential and panels may grow. */
        double y = y0 - v, outside = fabs(y) - core;
        double w = 2 + (outside > 0 ? (y < 0 ? outside : outside / 2) : 0);
        w = fmin(w, fmin(step / fabs(here), 4 / sqrt(curvature)));
        double next = slope(s, v + w, &end_curvature);
        for (; w * fabs(next) > step; next = slope(s, v + w, &end_curvature)) w /= 2;
        double panel_mass = 0, panel_drift = 0;
        for (int i = 0; i < 2 * CEL_GAUSS_HALF; i++) {
            double node = i < CEL_GAUSS_HALF ? -cel_gauss_node[i] : cel_gauss_node[i - CEL_GAUSS_HALF], shrink, grow;
            move(s, v + w / 2 * (1 + node), &shrink, &grow);
            double e = cel_gauss_weight[i % CEL_GAUSS_HALF] * exp(s->a * shrink + s->b * grow);
            panel_mass += e;
            panel_drift += e * (gap + (turned ? grow : -shrink));
        }
        *mass += w / 2 * panel_mass;
        *drift += w / 2 * panel_drift;
        v += w;
        here = next;
        curvature = end_curvature;
        if (here < 0 && w * panel_drift <= 1e-18 * *drift && w * panel_mass <= 1e-18 * *mass) break;
    }
}

/* Marches to the side on which nothing cancels; *low tells whether that was the one below x. */
static void integrate(double a, double b, double log_x, double log_xc, double *mass, double *drift, int *low) {
    double x = exp(log_x), xc = exp(log_xc);
    if (x < 0.5)
        xc = 1 - x;
    else
        x = 1 - xc;
    double gap = -cel_digamma_diff(a, b) - log_x; /* E[ln t] - ln x */
    *low = gap >= 0;
    if (*low)
        march(&(start){a, b, x, xc, log_x, log_xc}, gap, 0, mass, drift);
    else
        march(&(start){b, a, xc, x, log_xc, log_x}, -gap, 1, mass, drift);
}

static double log_of(double x, double xc) { return x < 0.5 ? log(x) : log1p(-xc); }

double cel_beta_logit_da(double a, double b, double log_x, double log_xc) {
    double mass, drift;
    int low;
    integrate(a, b, log_x, log_xc, &mass, &drift, &low);
    return drift;
}

double cel_beta_dxda(double a, double b, double x, double xc) {
    if (!(x > 0 && xc > 0)) return 0;
    return x * xc * cel_beta_logit_da(a, b, log_of(x, xc), log_of(xc, x));
}

static double log_density_logit(double a, double b, double log_x, double log_xc) {
    return a * log_x + b * log_xc - cel_lbeta(a, b);
}

double cel_beta_cdf_log(double a, double b, double log_x, double log_xc) {
    double mass, drift;
    int low;
    integrate(a, b, log_x, log_xc, &mass, &drift, &low);
    double p = exp(log_density_logit(a, b, log_x, log_xc)) * mass;
    return low ? p : 1 - p;
}

double cel_beta_cdf(double a, double b, double x, double xc) {
    if (!(x > 0)) return 0;
    if (!(xc > 0)) return 1;
    return cel_beta_cdf_log(a, b, log_of(x, xc), log_of(xc, x));
}

double cel_beta_cdf_da(double a, double b, double x, double xc) {
    if (!(x > 0 && xc > 0)) return 0;
    double log_x = log_of(x, xc), log_xc = log_of(xc, x);
    return -exp(log_density_logit(a, b, log_x, log_xc)) * cel_beta_logit_da(a, b, log_x, log_xc);
}
