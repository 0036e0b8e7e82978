#include "math/lstm.h"

#include <math.h>
#include <stddef.h>

enum { GATES = 4 };

static int inputs_of(const cel_lstm *lstm, int layer) { return layer ? lstm->hidden : lstm->inputs; }

static int params_of(const cel_lstm *lstm, int layer) {
    return GATES * lstm->hidden * (inputs_of(lstm, layer) + lstm->hidden + 1);
}

int cel_lstm_params(const cel_lstm *lstm) {
    int n = 0;
    for (int layer = 0; layer < lstm->layers; layer++) n += params_of(lstm, layer);
    return n;
}

int cel_lstm_state(const cel_lstm *lstm) { return 2 * lstm->hidden * lstm->layers; }

/* Of each layer the four gates, tanh(c') and room for the gradient by z. */
static int tape_of(const cel_lstm *lstm) { return (2 * GATES + 1) * lstm->hidden; }

int cel_lstm_tape(const cel_lstm *lstm) { return tape_of(lstm) * lstm->layers; }

int cel_lstm_output(const cel_lstm *lstm) { return 2 * lstm->hidden * (lstm->layers - 1); }

static double sigmoid(double z) { return 1 / (1 + exp(-z)); }

void cel_lstm_forward(const cel_lstm *lstm, const double *params, const double *x, const double *state, double *next,
                      double *tape) {
    int n = lstm->hidden;
    for (int layer = 0; layer < lstm->layers; layer++) {
        int m = inputs_of(lstm, layer);
        const double *h = state, *c = state + n, *bias = params + (ptrdiff_t)GATES * n * (m + n);
        double *gate = tape, *squashed = tape + GATES * n;
        for (int r = 0; r < GATES * n; r++) {
            const double *row = params + (ptrdiff_t)r * (m + n);
            double z = bias[r];
            for (int k = 0; k < m; k++) z += row[k] * x[k];
            for (int k = 0; k < n; k++) z += row[m + k] * h[k];
            gate[r] = r / n == 2 ? tanh(z) : sigmoid(z);
        }
        for (int k = 0; k < n; k++) {
            next[n + k] = gate[n + k] * c[k] + gate[k] * gate[2 * n + k];
            squashed[k] = tanh(next[n + k]);
            next[k] = gate[3 * n + k] * squashed[k];
        }
        x = next;
        params += params_of(lstm, layer);
        state += 2 * n;
        next += 2 * n;
        tape += tape_of(lstm);
    }
}

void cel_lstm_backward(const cel_lstm *lstm, const double *params, const double *x, const double *state,
                       const double *next, double *tape, double *dstate, double *dx, double *dparams) {
    int n = lstm->hidden, at = cel_lstm_params(lstm);
    for (int layer = lstm->layers - 1; layer >= 0; layer--) {
        int m = inputs_of(lstm, layer);
        at -= params_of(lstm, layer);
        const double *w = params + at;
        double *gate = tape + (ptrdiff_t)layer * tape_of(lstm), *squashed = gate + GATES * n, *dz = squashed + n;
        const double *h = state + (ptrdiff_t)layer * 2 * n, *c = h + n;
        const double *in = layer ? next + (ptrdiff_t)(layer - 1) * 2 * n : x;
        double *dw = dparams + at, *dbias = dw + (ptrdiff_t)GATES * n * (m + n);
        double *dh = dstate + (ptrdiff_t)layer * 2 * n, *dc = dh + n, *below = layer ? dh - 2 * n : dx;
        for (int k = 0; k < n; k++) {
            double i = gate[k], f = gate[n + k], g = gate[2 * n + k], o = gate[3 * n + k], t = squashed[k];
            double by_c = dc[k] + dh[k] * o * (1 - t * t);
            dz[k] = by_c * g * i * (1 - i);
            dz[n + k] = by_c * c[k] * f * (1 - f);
            dz[2 * n + k] = by_c * i * (1 - g * g);
            dz[3 * n + k] = dh[k] * t * o * (1 - o);
            dc[k] = by_c * f;
        }
        for (int k = 0; k < n; k++) dh[k] = 0;
        for (int k = 0; !layer && below && k < m; k++) below[k] = 0;
        for (int r = 0; r < GATES * n; r++) {
            ptrdiff_t row = (ptrdiff_t)r * (m + n);
            dbias[r] += dz[r];
            for (int k = 0; k < m; k++) dw[row + k] += dz[r] * in[k];
            for (int k = 0; k < n; k++) dw[row + m + k] += dz[r] * h[k];
            for (int k = 0; below && k < m; k++) below[k] += dz[r] * w[row + k];
            for (int k = 0; k < n; k++) dh[k] += dz[r] * w[row + m + k];
        }
    }
}
