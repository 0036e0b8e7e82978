/* From a choice matrix to a genotype: softmax over what is still alive, pruning (progressive learning of DrNAS,
 * arXiv:2006.10355: the strongest operations of each edge stay), and discretisation (DARTS, arXiv:1806.09055, sec. 2.4: two
 * edges a node, each with its strongest operation). Differs from DARTS in that all ties go to the first candidate, whatever
 * the rounding of a sort. */
#include <math.h>

#include "cellar/arch.h"

static cel_status check_rows(const double *m, const uint8_t *live, int rows, int cols) {
    for (int r = 0; r < rows; r++) {
        int n = 0;
        for (int c = 0; c < cols; c++) {
            if (live && !live[r * cols + c]) continue;
            n++;
            if (!isfinite(m[r * cols + c]))
                return CEL_FAIL(CEL_DIVERGED, "choice matrix: row %d, column %d is %g: expected a finite number", r, c,
                                m[r * cols + c]);
        }
        if (!n) return CEL_FAIL(CEL_CONFIG, "choice matrix: row %d has no live operation, expected at least one", r);
    }
    return CEL_OK;
}

/* The column of a row's largest live entry. */
static int strongest(const double *row, const uint8_t *live, int cols) {
    int best = -1;
    for (int c = 0; c < cols; c++)
        if ((!live || live[c]) && (best < 0 || row[c] > row[best])) best = c;
    return best;
}

cel_status cel_choice_softmax(const double *alpha, const uint8_t *live, int rows, int cols, double *weights) {
    CEL_TRY(check_rows(alpha, live, rows, cols));
    for (int r = 0; r < rows; r++) {
        const double *a = alpha + r * cols;
        const uint8_t *on = live ? live + r * cols : NULL;
        double *w = weights + r * cols, top = a[strongest(a, on, cols)], sum = 0;
        for (int c = 0; c < cols; c++) sum += w[c] = !on || on[c] ? exp(a[c] - top) : 0;
        for (int c = 0; c < cols; c++) w[c] /= sum;
    }
    return CEL_OK;
}

cel_status cel_choice_prune(int rows, int cols, int keep, double *alpha, uint8_t *live) {
    CEL_TRY(check_rows(alpha, live, rows, cols));
    if (keep < 1) return CEL_FAIL(CEL_CONFIG, "prune: keep %d operations an edge, expected 1 .. %d", keep, cols);
    for (int r = 0; r < rows; r++) {
        uint8_t *on = live + r * cols;
        int n = 0;
        for (int c = 0; c < cols; c++) n += on[c] != 0;
        /* Dropping the weakest again and again leaves, of equals, the first. */
        for (; n > keep; n--) {
            int weakest = -1;
            for (int c = 0; c < cols; c++)
                if (on[c] && (weakest < 0 || alpha[r * cols + c] <= alpha[r * cols + weakest])) weakest = c;
            on[weakest] = 0;
        }
        for (int c = 0; c < cols; c++)
            if (!on[c]) alpha[r * cols + c] = 0;
    }
    return CEL_OK;
}

cel_status cel_genotype_derive(cel_arch_space space, const double *weights, const uint8_t *live, cel_genotype *out) {
    if ((unsigned)space >= CEL_ARCH_SPACE_COUNT) return CEL_FAIL(CEL_CONFIG, "derive: unknown space %d", (int)space);
    const cel_topology *t = cel_topology_get(space);
    CEL_TRY(check_rows(weights, live, t->n_cells * t->n_edges, t->n_ops));
    cel_genotype g = {.space = space};
    for (int cell = 0; cell < t->n_cells; cell++)
        for (int first = 0, next; first < t->n_edges; first = next) {
            bool taken[CEL_GENOTYPE_EDGES] = {false};
            for (next = first; next < t->n_edges && t->edges[next].to == t->edges[first].to;) next++;
            int degree = t->keep ? t->keep : next - first;
            for (int k = 0; k < degree; k++) {
                int best = -1, best_op = 0;
                double best_weight = 0;
                for (int e = first; e < next; e++) {
                    int row = (cell * t->n_edges + e) * t->n_ops;
                    int op = strongest(weights + row, live ? live + row : NULL, t->n_ops);
                    if (taken[e] || (best >= 0 && (!t->keep || weights[row + op] <= best_weight))) continue;
                    best = e, best_op = op, best_weight = weights[row + op];
                }
                taken[best] = true;
                g.edge[g.n++] =
                    (struct cel_genotype_edge){(uint8_t)cell, t->edges[best].from, t->edges[best].to, (uint8_t)best_op};
            }
        }
    *out = g;
    return CEL_OK;
}
