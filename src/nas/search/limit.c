/* Best-first search over the products of choices; see limit.h. A cell is a rank in each choice's candidates, sorted by share; its
 * successors lower one rank, at or after the choice that was lowered last, so that each cell comes up once (Lawler 1972). */
#include "nas/search/limit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "nas/space/space.h"

enum { MOST_CELLS = 2000000, MOST_CHOICES = 64 };

typedef struct cell {
    double value; /* log of the product */
    uint8_t rank[MOST_CHOICES];
    uint8_t last;
} cell;

typedef struct queue {
    const cel_choices *choices;
    double share[MOST_CHOICES][CEL_MAX_CANDIDATES]; /* logarithms, largest first */
    uint8_t order[MOST_CHOICES][CEL_MAX_CANDIDATES];
    uint8_t n[MOST_CHOICES];
    cell *heap;
    int size, room;
} queue;

/* Is `a` to be tried before `b`? */
static bool before(const queue *q, const cell *a, const cell *b) {
    if (a->value != b->value) return a->value > b->value;
    return memcmp(a->rank, b->rank, (size_t)q->choices->n) < 0;
}

static cel_status push(queue *q, const cell *new) {
    if (q->size == q->room) {
        int room = q->room ? 2 * q->room : 256;
        cell *heap = cel_alloc((size_t)room, sizeof *heap);
        if (!heap) return CEL_FAIL(CEL_NOMEM, "out of memory: %d cells to try", room);
        if (q->size) memcpy(heap, q->heap, (size_t)q->size * sizeof *heap);
        cel_free(q->heap);
        q->heap = heap;
        q->room = room;
    }
    int at = q->size++;
    for (; at > 0 && before(q, new, &q->heap[(at - 1) / 2]); at = (at - 1) / 2) q->heap[at] = q->heap[(at - 1) / 2];
    q->heap[at] = *new;
    return CEL_OK;
}

static cell pop(queue *q) {
    cell top = q->heap[0], last = q->heap[--q->size];
    int at = 0;
    for (int child; (child = 2 * at + 1) < q->size; at = child) {
        if (child + 1 < q->size && before(q, &q->heap[child + 1], &q->heap[child])) child++;
        if (!before(q, &q->heap[child], &last)) break;
        q->heap[at] = q->heap[child];
    }
    if (q->size) q->heap[at] = last;
    return top;
}

/* Sorts each choice's live candidates by share. */
static cel_status sort_choices(queue *q, const double *scores, const uint8_t *live) {
    const double least = 1e-300; /* of a share that has underflowed */
    for (int c = 0; c < q->choices->n; c++) {
        const cel_choice *choice = &q->choices->choice[c];
        double sum = 0;
        for (int i = 0; i < choice->n; i++) {
            double score = scores[choice->first + i];
            if (live && !live[choice->first + i]) continue;
            if (!(score >= 0) || !isfinite(score))
                return CEL_FAIL(CEL_DIVERGED, "edge %s: the score of %s is %g, expected a number that is not negative",
                                choice->name, choice->candidates[i], score);
            sum += score;
            int at = q->n[c]++;
            for (; at > 0 && score > scores[choice->first + q->order[c][at - 1]]; at--)
                q->order[c][at] = q->order[c][at - 1];
            q->order[c][at] = (uint8_t)i;
        }
        if (!q->n[c]) return CEL_FAIL(CEL_CONFIG, "edge %s has no live operation", choice->name);
        for (int k = 0; k < q->n[c]; k++)
            q->share[c][k] = log(fmax(scores[choice->first + q->order[c][k]] / fmax(sum, least), least));
    }
    return CEL_OK;
}

static double value_of(const queue *q, const uint8_t *rank) {
    double sum = 0;
    for (int c = 0; c < q->choices->n; c++) sum += q->share[c][rank[c]];
    return sum;
}

static cel_status genotype_of(const queue *q, const cel_space *space, const cell *x, double *one_hot,
                              cel_genotype *out) {
    memset(one_hot, 0, (size_t)q->choices->n_entries * sizeof *one_hot);
    for (int c = 0; c < q->choices->n; c++) one_hot[q->choices->choice[c].first + q->order[c][x->rank[c]]] = 1;
    return cel_space_derive(space, one_hot, NULL, out);
}

static cel_status nothing_fits(const cel_limit *limit, const cel_arch_cost *least) {
    if (limit->params && least->params > limit->params)
        return CEL_FAIL(CEL_CONFIG,
                        "no cell has at most %lld parameters: the smallest has %lld; raise search.max_params",
                        (long long)limit->params, (long long)least->params);
    if (limit->flops && least->flops > limit->flops)
        return CEL_FAIL(CEL_CONFIG, "no cell needs at most %lld FLOPs: the cheapest needs %lld; raise search.max_flops",
                        (long long)limit->flops, (long long)least->flops);
    return CEL_FAIL(CEL_CONFIG,
                    "no cell has at most %lld parameters and at most %lld FLOPs, each of which some have: raise "
                    "search.max_params or search.max_flops",
                    (long long)limit->params, (long long)limit->flops);
}

static cel_status best_first(queue *q, const cel_limit *limit, const cel_space *space, cel_limit_cost_fn *cost,
                             void *ctx, double *one_hot, cel_genotype *out) {
    cel_arch_cost least = {INT64_MAX, INT64_MAX};
    cell x = {.last = 0};
    x.value = value_of(q, x.rank);
    CEL_TRY(push(q, &x));
    for (int tried = 0; q->size; tried++) {
        cel_arch_cost price;
        if (tried == MOST_CELLS)
            return CEL_FAIL(CEL_UNSUPPORTED,
                            "the %d best cells exceed search.max_params or search.max_flops: raise them, or prune "
                            "operations by search.stages",
                            tried);
        x = pop(q);
        CEL_TRY(genotype_of(q, space, &x, one_hot, out));
        CEL_TRY(cost(ctx, out, &price));
        if (cel_limit_fits(limit, &price)) return CEL_OK;
        if (price.params < least.params) least.params = price.params;
        if (price.flops < least.flops) least.flops = price.flops;
        for (int c = x.last; c < q->choices->n; c++) {
            if (x.rank[c] + 1 == q->n[c]) continue;
            cell next = x;
            next.rank[c]++;
            next.last = (uint8_t)c;
            next.value = value_of(q, next.rank);
            CEL_TRY(push(q, &next));
        }
    }
    return nothing_fits(limit, &least);
}

cel_status cel_limit_derive(const cel_limit *limit, const cel_space *space, const double *scores, const uint8_t *live,
                            cel_limit_cost_fn *cost, void *ctx, cel_genotype *out) {
    queue *q;
    double *one_hot;
    if (cel_topology_get(space->arch)->keep)
        return CEL_FAIL(CEL_UNSUPPORTED,
                        "search.max_params, search.max_flops: genotypes of %s leave edges out; their "
                        "limits cannot be searched exactly: leave them 0",
                        space->title);
    CEL_ALLOC(q, 1);
    q->choices = space->choices();
    cel_status status = q->choices->n <= MOST_CHOICES
                            ? CEL_OK
                            : CEL_FAIL(CEL_UNSUPPORTED, "%d choices, at most %d", q->choices->n, MOST_CHOICES);
    one_hot = cel_alloc((size_t)q->choices->n_entries, sizeof *one_hot);
    if (!one_hot) status = CEL_FAIL(CEL_NOMEM, "out of memory: a cell");
    if (status == CEL_OK) status = sort_choices(q, scores, live);
    if (status == CEL_OK) status = best_first(q, limit, space, cost, ctx, one_hot, out);
    cel_free(one_hot);
    cel_free(q->heap);
    cel_free(q);
    return status == CEL_OK ? CEL_OK : cel_status_pass(status, __FILE__, __LINE__);
}
