/* Gamma family: upward recurrence to x >= 10, then the asymptotic (Stirling) series.
 *
 * Abramowitz & Stegun 6.1.41, 6.3.18, 6.4.12. lgamma itself is the C library's lgamma_r, which, unlike lgamma,
 * touches no global sign. Differences that cancel (psi(a + d) - psi(a), the log-beta of large arguments) are taken
 * inside the series. */
#define _DEFAULT_SOURCE
#include "math/special.h"

#include <math.h>

#include "math/gauss_legendre.h"

static const double LARGE = 10;
static const double HALF_LN_2PI = 0.91893853320467274178;

double cel_lgamma(double x) {
    int sign;
    return lgamma_r(x, &sign);
}

/* lgamma(x) - ((x - 1/2) ln x - x + ln(2 pi) / 2), for x >= LARGE. */
static double stirling_rest(double x) {
    double r = 1 / x, q = r * r;
    return r *
           (1.0 / 12 -
            q * (1.0 / 360 - q * (1.0 / 1260 - q * (1.0 / 1680 - q * (1.0 / 1188 - q * (691.0 / 360360 - q / 156))))));
}

/* B_2k / 2k, k = 1 .. : psi(x) = ln x - 1/(2x) - sum of these over x^2k. */
static const double psi_series[] = {1.0 / 12,  -1.0 / 120,      1.0 / 252, -1.0 / 240,
                                    1.0 / 132, -691.0 / 32760., 1.0 / 12,  -3617.0 / 8160};
enum { N_PSI = sizeof psi_series / sizeof *psi_series };

double cel_digamma(double x) {
    double shift = 0, sum = 0;
    for (; x < LARGE; x += 1) shift += 1 / x;
    double q = 1 / (x * x);
    for (int k = N_PSI - 1; k >= 0; k--) sum = q * (psi_series[k] + sum);
    return log(x) - 0.5 / x - sum - shift;
}

double cel_trigamma(double x) {
    double shift = 0;
    for (; x < LARGE; x += 1) shift += 1 / (x * x);
    double r = 1 / x, q = r * r;
    double series =
        1.0 / 6 -
        q * (1.0 / 30 -
             q * (1.0 / 42 - q * (1.0 / 30 - q * (5.0 / 66 - q * (691.0 / 2730 - q * (7.0 / 6 - q * 3617.0 / 510))))));
    return shift + r * (1 + r * (0.5 + r * series));
}

double cel_digamma_diff(double a, double d) {
    double sum = 0;
    for (; a < LARGE; a += 1) sum += d / (a * (a + d));
    double p = 1 / (a * a), u = 1 / (a + d), q = u * u;
    double gap = d / a * u * (2 * a + d) / a * u; /* p - q */
    double power = 0, q_power = 1, tail = 0;      /* power = (p^k - q^k) / (p - q) */
    for (int k = 0; k < N_PSI; k++) {
        power = p * power + q_power;
        q_power *= q;
        tail += psi_series[k] * power;
    }
    return sum + log1p(d / a) + 0.5 * d / a * u + gap * tail;
}

/* The large arguments' leading Stirling terms and those of their sum are combined by hand: with B the whole sum and
 * S the sum of the small arguments, lgamma(B) - sum over large = sum a ln(B/a) + S ln B - S - ln(B)/2 + sum ln(a)/2
 * + ... */
double cel_lbeta_row(const double *a, int n) {
    double total = 0, small = 0, result = 0;
    int n_large = 0;
    for (int i = 0; i < n; i++) total += a[i];
    if (total < LARGE) {
        for (int i = 0; i < n; i++) result += cel_lgamma(a[i]);
        return result - cel_lgamma(total);
    }
    for (int i = 0; i < n; i++) {
        if (a[i] < LARGE) {
            result += cel_lgamma(a[i]);
            small += a[i];
            continue;
        }
        double others = 0;
        for (int j = 0; j < n; j++) others += j == i ? 0 : a[j];
        result += stirling_rest(a[i]) - a[i] * log1p(others / a[i]) - 0.5 * log(a[i]);
        n_large++;
    }
    return result - stirling_rest(total) - small * (log(total) - 1) + 0.5 * log(total) + (n_large - 1) * HALF_LN_2PI;
}

double cel_lbeta(double a, double b) { return cel_lbeta_row((double[]){a, b}, 2); }

double cel_trigamma_moment(double base, double end, double d) {
    if (fabs(d) > 0.5) return d * cel_digamma(end) - cel_lgamma(end) + cel_lgamma(base);
    double sum = 0, half = d / 2;
    for (int i = 0; i < CEL_GAUSS_HALF; i++) {
        double low = half * (1 - cel_gauss_node[i]), high = half * (1 + cel_gauss_node[i]);
        sum += cel_gauss_weight[i] * (low * cel_trigamma(base + low) + high * cel_trigamma(base + high));
    }
    return half * sum;
}

double cel_elu_concentration(double alpha) { return alpha < 0 ? exp(alpha) : alpha + 1; }
double cel_elu_concentration_slope(double alpha) { return alpha < 0 ? exp(alpha) : 1; }
