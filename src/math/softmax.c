#include "math/softmax.h"

#include <math.h>

int cel_argmax(const double *a, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (a[i] > a[best]) best = i;
    return best;
}

double cel_log_sum_exp(const double *a, int n) {
    double top = a[cel_argmax(a, n)], sum = 0;
    for (int i = 0; i < n; i++) sum += exp(a[i] - top);
    return top + log(sum);
}

void cel_softmax(const double *alpha, int n, double *w) {
    double top = alpha[cel_argmax(alpha, n)], sum = 0;
    for (int i = 0; i < n; i++) sum += w[i] = exp(alpha[i] - top);
    for (int i = 0; i < n; i++) w[i] /= sum;
}

/* w_i (dw_i - sum w_j dw_j), the sum taken of differences: a nearly one-hot w keeps its digits. */
void cel_softmax_vjp(const double *w, int n, const double *dw, double *dalpha) {
    int top = cel_argmax(w, n);
    double base = dw[top], mean = 0;
    for (int i = 0; i < n; i++) mean += w[i] * (dw[i] - base);
    for (int i = 0; i < n; i++) dalpha[i] = w[i] * (dw[i] - base - mean);
}

void cel_log_softmax(const double *alpha, int n, double *log_w) {
    double top = alpha[cel_argmax(alpha, n)], sum = 0;
    for (int i = 0; i < n; i++) sum += exp(alpha[i] - top);
    sum = log(sum);
    for (int i = 0; i < n; i++) log_w[i] = alpha[i] - top - sum;
}

void cel_log_softmax_vjp(const double *log_w, int n, const double *dlog_w, double *dalpha) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += dlog_w[i];
    for (int i = 0; i < n; i++) dalpha[i] = dlog_w[i] - exp(log_w[i]) * sum;
}

void cel_simplex_mask(const double *log_x, const bool *mask, int n, double *w) {
    double top = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        if (!mask || mask[i]) top = fmax(top, log_x[i]);
    for (int i = 0; i < n; i++) sum += w[i] = !mask || mask[i] ? exp(log_x[i] - top) : 0;
    for (int i = 0; i < n; i++) w[i] /= sum;
}

void cel_simplex_mask_vjp(const double *w, int n, const double *dw, double *dlog_x) {
    cel_softmax_vjp(w, n, dw, dlog_x);
}
