/* Distribution functions by the incomplete beta function and by quadrature; quantiles by bisection, since nobody waits
 * for them. */
#include "math/student.h"

#include <math.h>

#include "math/beta.h"

double cel_normal_cdf(double z) { return 0.5 * erfc(-z * 0.70710678118654752440); }

/* P(|T| >= |t|) = I_x(df / 2, 1 / 2) at x = df / (df + t^2). */
double cel_student_two_sided(double t, double df) {
    double square = t * t;
    if (!isfinite(square)) return 0;
    return cel_beta_cdf(df / 2, 0.5, df / (df + square), square / (df + square));
}

double cel_student_cdf(double t, double df) {
    double tail = 0.5 * cel_student_two_sided(t, df);
    return t > 0 ? 1 - tail : tail;
}

double cel_student_quantile(double p, double df) {
    double two_sided = 2 * (p < 0.5 ? p : 1 - p), low = 0, high = 1;
    if (p == 0.5) return 0;
    while (cel_student_two_sided(high, df) > two_sided) high *= 2;
    for (int i = 0; i < 200 && high - low > 1e-15 * high; i++) {
        double middle = 0.5 * (low + high);
        *(cel_student_two_sided(middle, df) > two_sided ? &low : &high) = middle;
    }
    return p < 0.5 ? -high : high;
}

/* k * integral of phi(x) * (Phi(x) - Phi(x - q))^(k - 1), x being the largest: Simpson's rule. */
double cel_normal_range_cdf(double q, int k) {
    enum { STEPS = 2000 };
    const double from = -9, step = 18.0 / STEPS, phi0 = 0.39894228040143267794;
    double sum = 0;
    if (q <= 0) return 0;
    for (int i = 0; i <= STEPS; i++) {
        double x = from + i * step, weight = i == 0 || i == STEPS ? 1 : i % 2 ? 4 : 2;
        sum += weight * phi0 * exp(-0.5 * x * x) * pow(cel_normal_cdf(x) - cel_normal_cdf(x - q), k - 1);
    }
    return fmin(1, k * sum * step / 3);
}

double cel_normal_range_quantile(double p, int k) {
    double low = 0, high = 1;
    while (cel_normal_range_cdf(high, k) < p) high *= 2;
    for (int i = 0; i < 60; i++) {
        double middle = 0.5 * (low + high);
        *(cel_normal_range_cdf(middle, k) < p ? &low : &high) = middle;
    }
    return high;
}
