/* Optimisers; see optim.h. The loops over weights are plain and contiguous: the compiler vectorises them. */
#include "train/optim.h"

#include <math.h>

enum { PIECE = 8192, PIECES_A_TASK = 8, LANES = 8 };

typedef struct cel_piece {
    size_t first, count;
    int gate;
} cel_piece;

cel_status cel_pieces_init(cel_pieces *pieces, const cel_slot *slots, int n_slots) {
    *pieces = (cel_pieces){0};
    size_t n = 0;
    for (int i = 0; i < n_slots; i++) n += (slots[i].count + PIECE - 1) / PIECE;
    pieces->all = cel_alloc(n, sizeof *pieces->all);
    pieces->active = cel_alloc(n, sizeof *pieces->active);
    pieces->sum = cel_alloc(n, sizeof *pieces->sum);
    if (!pieces->all || !pieces->active || !pieces->sum) {
        cel_pieces_fini(pieces);
        return CEL_FAIL(CEL_NOMEM, "out of memory: %zu pieces of the parameters", n);
    }
    for (int i = 0; i < n_slots; i++) {
        for (size_t at = 0; at < slots[i].count; at += PIECE) {
            size_t rest = slots[i].count - at;
            pieces->active[pieces->n] = pieces->n;
            pieces->all[pieces->n++] =
                (cel_piece){slots[i].offset + at, rest < PIECE ? rest : (size_t)PIECE, slots[i].gate};
        }
    }
    pieces->n_active = pieces->n;
    return CEL_OK;
}

void cel_pieces_fini(cel_pieces *pieces) {
    cel_free(pieces->all);
    cel_free(pieces->active);
    cel_free(pieces->sum);
    *pieces = (cel_pieces){0};
}

void cel_pieces_select(cel_pieces *pieces, const uint8_t *gates) {
    pieces->n_active = 0;
    for (int i = 0; i < pieces->n; i++) {
        int gate = pieces->all[i].gate;
        if (gate < 0 || gates[gate]) pieces->active[pieces->n_active++] = i;
    }
}

typedef struct task {
    const cel_pieces *pieces;
    const cel_sgd *sgd;
    float factor;
    float *param, *buffer;
    const float *grad, *from;
} task;

static double squares(const float *x, size_t n) {
    double lane[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += (double)x[i + l] * x[i + l];
    for (; i < n; i++) sum += (double)x[i] * x[i];
    for (int l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

static void squares_task(void *ctx, int number, int worker) {
    const task *t = ctx;
    (void)worker;
    int end = (number + 1) * PIECES_A_TASK;
    for (int i = number * PIECES_A_TASK; i < end && i < t->pieces->n_active; i++) {
        const cel_piece *piece = &t->pieces->all[t->pieces->active[i]];
        t->pieces->sum[i] = squares(t->grad + piece->first, piece->count);
    }
}

static int n_tasks(const cel_pieces *pieces) { return (pieces->n_active + PIECES_A_TASK - 1) / PIECES_A_TASK; }

double cel_pieces_squares(cel_pieces *pieces, const float *block, cel_pool *pool) {
    task t = {.pieces = pieces, .grad = block};
    cel_pool_run(pool, n_tasks(pieces), squares_task, &t);
    double sum = 0;
    for (int i = 0; i < pieces->n_active; i++) sum += pieces->sum[i];
    return sum;
}

double cel_clip_factor(double norm, double max_norm) {
    if (max_norm == 0) return 1;
    double factor = max_norm / (norm + 1e-6);
    return factor < 1 ? factor : 1;
}

static void sgd_task(void *ctx, int number, int worker) {
    const task *t = ctx;
    (void)worker;
    const float lr = (float)t->sgd->lr, mu = (float)t->sgd->momentum, decay = (float)t->sgd->weight_decay;
    const float factor = t->factor;
    int end = (number + 1) * PIECES_A_TASK;
    for (int i = number * PIECES_A_TASK; i < end && i < t->pieces->n_active; i++) {
        const cel_piece *piece = &t->pieces->all[t->pieces->active[i]];
        float *restrict x = t->param + piece->first, *restrict b = t->buffer + piece->first;
        const float *restrict grad = t->grad + piece->first;
        for (size_t k = 0; k < piece->count; k++) {
            float g = factor * grad[k] + decay * x[k];
            b[k] = mu * b[k] + g;
            x[k] -= lr * (t->sgd->nesterov ? g + mu * b[k] : b[k]);
        }
    }
}

void cel_sgd_step(const cel_sgd *sgd, const cel_pieces *pieces, double factor, float *param, const float *grad,
                  float *buffer, cel_pool *pool) {
    task t = {.pieces = pieces, .sgd = sgd, .factor = (float)factor, .param = param, .grad = grad, .buffer = buffer};
    cel_pool_run(pool, n_tasks(pieces), sgd_task, &t);
}

static void unroll_task(void *ctx, int number, int worker) {
    const task *t = ctx;
    (void)worker;
    const float mu = (float)t->sgd->momentum, decay = (float)t->sgd->weight_decay, xi = t->factor;
    int end = (number + 1) * PIECES_A_TASK;
    for (int i = number * PIECES_A_TASK; i < end && i < t->pieces->n_active; i++) {
        const cel_piece *piece = &t->pieces->all[t->pieces->active[i]];
        float *restrict x = t->param + piece->first;
        const float *restrict b = t->from + piece->first, *restrict grad = t->grad + piece->first;
        for (size_t k = 0; k < piece->count; k++) x[k] -= xi * (mu * b[k] + grad[k] + decay * x[k]);
    }
}

void cel_pieces_unroll(const cel_pieces *pieces, const cel_sgd *sgd, double xi, float *param, const float *grad,
                       const float *buffer, cel_pool *pool) {
    task t = {.pieces = pieces, .sgd = sgd, .factor = (float)xi, .param = param, .grad = grad, .from = buffer};
    cel_pool_run(pool, n_tasks(pieces), unroll_task, &t);
}

static void shift_task(void *ctx, int number, int worker) {
    const task *t = ctx;
    (void)worker;
    int end = (number + 1) * PIECES_A_TASK;
    for (int i = number * PIECES_A_TASK; i < end && i < t->pieces->n_active; i++) {
        const cel_piece *piece = &t->pieces->all[t->pieces->active[i]];
        float *restrict to = t->param + piece->first;
        const float *restrict from = t->from + piece->first, *restrict direction = t->grad + piece->first;
        for (size_t k = 0; k < piece->count; k++) to[k] = from[k] + t->factor * direction[k];
    }
}

void cel_pieces_shift(const cel_pieces *pieces, const float *from, float by, const float *direction, float *to,
                      cel_pool *pool) {
    task t = {.pieces = pieces, .factor = by, .param = to, .grad = direction, .from = from};
    cel_pool_run(pool, n_tasks(pieces), shift_task, &t);
}

void cel_adam_step(const cel_adam *adam, double lr, int64_t t, int n, const uint8_t *live, double *x,
                   const double *grad, double *m, double *v) {
    double correct1 = 1 - pow(adam->beta1, (double)t), correct2 = sqrt(1 - pow(adam->beta2, (double)t));
    for (int i = 0; i < n; i++) {
        if (live && !live[i]) continue;
        double g = grad[i] + adam->weight_decay * x[i];
        m[i] = adam->beta1 * m[i] + (1 - adam->beta1) * g;
        v[i] = adam->beta2 * v[i] + (1 - adam->beta2) * g * g;
        x[i] -= lr / correct1 * m[i] / (sqrt(v[i]) / correct2 + adam->eps);
    }
}

double cel_vadam_start(const cel_vadam *vadam, double prec_init) {
    return (prec_init - vadam->prior_prec) / vadam->n_data;
}

double cel_vadam_sigma(const cel_vadam *vadam, double s) { return 1 / sqrt(vadam->n_data * s + vadam->prior_prec); }

void cel_vadam_step(const cel_vadam *vadam, double lr, int64_t t, int n, double *mu, double *m, double *s,
                    const double *grad, const double *grad2) {
    double pull = vadam->prior_prec / vadam->n_data;
    double correct1 = 1 - pow(vadam->beta1, (double)t), correct2 = 1 - pow(vadam->beta2, (double)t);
    for (int i = 0; i < n; i++) {
        m[i] = vadam->beta1 * m[i] + (1 - vadam->beta1) * (grad[i] + pull * mu[i]);
        s[i] = vadam->beta2 * s[i] + (1 - vadam->beta2) * grad2[i];
        mu[i] -= lr * (m[i] / correct1) / (sqrt(s[i] / correct2) + pull);
    }
}
