/* The LSTM: a step against the formula written out, and the gradient of three steps of two layers against differences. */
#include "math/lstm.h"

#include "base/rng.h"
#include "support/test.h"

enum {
    STEPS = 3,
    INPUTS = 3,
    HIDDEN = 4,
    LAYERS = 2,
    STATE = 2 * HIDDEN * LAYERS,
    PARAMS = 16 * 8 + 16 * 9,
    TAPE = 72
};
static const cel_lstm lstm = {LAYERS, INPUTS, HIDDEN};

typedef struct run {
    double params[PARAMS], x[STEPS][INPUTS], state[STEPS + 1][STATE], tape[STEPS][TAPE], weight[STEPS][HIDDEN];
} run;

static void start(run *r) {
    cel_rng rng = cel_rng_at(3, "lstm", 0, 0);
    assert_int_equal(cel_lstm_params(&lstm), PARAMS);
    assert_int_equal(cel_lstm_state(&lstm), STATE);
    assert_int_equal(cel_lstm_tape(&lstm), TAPE);
    for (int i = 0; i < PARAMS; i++) r->params[i] = 0.5 * cel_rng_normal(&rng);
    for (int i = 0; i < STATE; i++) r->state[0][i] = 0.5 * cel_rng_normal(&rng);
    for (int t = 0; t < STEPS; t++) {
        for (int i = 0; i < INPUTS; i++) r->x[t][i] = cel_rng_normal(&rng);
        for (int i = 0; i < HIDDEN; i++) r->weight[t][i] = cel_rng_normal(&rng);
    }
}

/* Sum over the steps of <weight, output>. */
static double value(run *r) {
    double sum = 0;
    for (int t = 0; t < STEPS; t++) {
        cel_lstm_forward(&lstm, r->params, r->x[t], r->state[t], r->state[t + 1], r->tape[t]);
        const double *out = r->state[t + 1] + cel_lstm_output(&lstm);
        for (int i = 0; i < HIDDEN; i++) sum += r->weight[t][i] * out[i];
    }
    return sum;
}

static double sigmoid(double z) { return 1 / (1 + exp(-z)); }

static void follows_the_formula(void **state) {
    (void)state;
    static run r;
    start(&r);
    value(&r);
    const double *w = r.params, *b = w + 16 * 7, *h = r.state[0], *c = h + HIDDEN;
    for (int k = 0; k < HIDDEN; k++) {
        double z[4];
        for (int gate = 0; gate < 4; gate++) {
            int row = gate * HIDDEN + k;
            z[gate] = b[row];
            for (int i = 0; i < INPUTS; i++) z[gate] += w[row * 7 + i] * r.x[0][i];
            for (int i = 0; i < HIDDEN; i++) z[gate] += w[row * 7 + INPUTS + i] * h[i];
        }
        double cell = sigmoid(z[1]) * c[k] + sigmoid(z[0]) * tanh(z[2]);
        test_close(r.state[1][HIDDEN + k], cell, 1e-14, 1e-15, "c");
        test_close(r.state[1][k], sigmoid(z[3]) * tanh(cell), 1e-14, 1e-15, "h");
    }
}

static double slope(run *r, double *at) {
    const double x = *at, step = 1e-3;
    double f[4];
    for (int k = 0; k < 4; k++) {
        *at = x + (k < 2 ? k - 2 : k - 1) * step;
        f[k] = value(r);
    }
    *at = x;
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step);
}

static void gradient_matches_differences(void **state) {
    (void)state;
    static run r;
    double dparams[PARAMS] = {0}, dx[STEPS][INPUTS], dstate[STATE] = {0};
    start(&r);
    value(&r);
    for (int t = STEPS - 1; t >= 0; t--) {
        for (int i = 0; i < HIDDEN; i++) dstate[cel_lstm_output(&lstm) + i] += r.weight[t][i];
        cel_lstm_backward(&lstm, r.params, r.x[t], r.state[t], r.state[t + 1], r.tape[t], dstate, t ? dx[t] : NULL,
                          dparams);
    }
    for (int i = 0; i < PARAMS; i++) test_close(dparams[i], slope(&r, &r.params[i]), 1e-8, 1e-10, "by a parameter");
    for (int i = 0; i < STATE; i++) test_close(dstate[i], slope(&r, &r.state[0][i]), 1e-8, 1e-10, "by the first state");
    for (int t = 1; t < STEPS; t++)
        for (int i = 0; i < INPUTS; i++) test_close(dx[t][i], slope(&r, &r.x[t][i]), 1e-8, 1e-10, "by an input");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(follows_the_formula),
                                       cmocka_unit_test(gradient_matches_differences)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
