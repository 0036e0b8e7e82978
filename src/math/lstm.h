/* A stack of LSTM layers, one time step at a time, in double, with its gradient (Hochreiter and Schmidhuber 1997, with forget gates).
 * For each layer, with z = W [x; h] + b cut into four parts of `hidden` rows, in PyTorch's order:
 *     i = sigmoid(z0), f = sigmoid(z1), g = tanh(z2), o = sigmoid(z3);   c' = f c + i g;   h' = o tanh(c')
 * h' is the input of the next layer. There is one bias (PyTorch has two that are only ever added).
 *
 * A state holds h, then c, of each layer. A tape holds what a step keeps for its gradient. Nothing is allocated. */
#ifndef CEL_MATH_LSTM_H
#define CEL_MATH_LSTM_H

typedef struct cel_lstm {
    int layers, inputs, hidden; /* each at least 1; inputs: of the first layer */
} cel_lstm;

/* Numbers of the parameters (for each layer W, row by row, then b), of a state, and of a tape. */
int cel_lstm_params(const cel_lstm *lstm);
int cel_lstm_state(const cel_lstm *lstm);
int cel_lstm_tape(const cel_lstm *lstm);
/* Where the output, h of the last layer, lies in a state. */
int cel_lstm_output(const cel_lstm *lstm);

/* One step: next and tape from x and state; next must not be state. */
void cel_lstm_forward(const cel_lstm *lstm, const double *params, const double *x, const double *state, double *next,
                      double *tape);
/* The step's gradient, with the arguments it had: dstate holds the gradient by `next` before and the one by `state` after; dx (NULL:
 * not wanted) gets the gradient by x; that by the parameters is added to dparams.
 * The tape is worked on and good for one call only. */
void cel_lstm_backward(const cel_lstm *lstm, const double *params, const double *x, const double *state,
                       const double *next, double *tape, double *dstate, double *dx, double *dparams);
#endif
