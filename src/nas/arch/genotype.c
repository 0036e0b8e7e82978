/* Topologies, genotypes, the isomorphism text of NAS-Bench-201 (Dong and Yang, 2020, arXiv:2001.00326) and its hash.
 *
 * The benchmark's text writes each node as the sorted sum of its inputs: `none`, and anything fed by a node that is
 * written as zero, is zero; a skip is its source; the others wrap it. A sum of zeros is not folded into a zero: folding
 * would be better mathematics but give other classes than the 6,466 that the benchmark's users know. */
#include "cellar/arch.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cellar/text.h"

static const char *const nb201_ops[] = {"none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"};
static const char *const darts_ops[] = {"max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3",
                                        "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"};
static const struct cel_topology_edge nb201_edges[] = {{0, 1}, {0, 2}, {1, 2}, {0, 3}, {1, 3}, {2, 3}};
static const struct cel_topology_edge darts_edges[] = {{0, 2}, {1, 2}, {0, 3}, {1, 3}, {2, 3}, {0, 4}, {1, 4},
                                                       {2, 4}, {3, 4}, {0, 5}, {1, 5}, {2, 5}, {3, 5}, {4, 5}};

static const cel_topology topologies[] = {
    [CEL_ARCH_NB201] = {.name = "nb201",
                        .label = "NAS-Bench-201",
                        .n_cells = 1,
                        .cell_names = {"cell"},
                        .n_inputs = 1,
                        .n_nodes = 4,
                        .n_ops = CEL_COUNT(nb201_ops),
                        .op_names = nb201_ops,
                        .n_edges = CEL_COUNT(nb201_edges),
                        .edges = nb201_edges,
                        .keep = 0,
                        .n_genotype = CEL_NB201_EDGES},
    [CEL_ARCH_DARTS] = {.name = "darts",
                        .label = "DARTS",
                        .n_cells = 2,
                        .cell_names = {"normal", "reduce"},
                        .n_inputs = 2,
                        .n_nodes = 6,
                        .n_ops = CEL_COUNT(darts_ops),
                        .op_names = darts_ops,
                        .n_edges = CEL_COUNT(darts_edges),
                        .edges = darts_edges,
                        .keep = 2,
                        .n_genotype = 16},
};

const cel_topology *cel_topology_get(cel_arch_space space) {
    assert((unsigned)space < CEL_ARCH_SPACE_COUNT);
    return &topologies[space];
}

cel_status cel_topology_find(const char *name, cel_arch_space *out) {
    const char *names[CEL_ARCH_SPACE_COUNT];
    for (int s = 0; s < CEL_ARCH_SPACE_COUNT; s++) {
        names[s] = topologies[s].name;
        if (strcmp(name, names[s])) continue;
        *out = (cel_arch_space)s;
        return CEL_OK;
    }
    const char *near = cel_text_nearest(name, names, CEL_COUNT(names));
    return CEL_FAIL(CEL_NOTFOUND, "no space named \"%.40s\": there are nb201 and darts%s%s%s", name,
                    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static bool in_topology(const cel_topology *t, const struct cel_genotype_edge *e) {
    if (e->cell >= t->n_cells || e->op >= t->n_ops) return false;
    for (int i = 0; i < t->n_edges; i++)
        if (t->edges[i].from == e->from && t->edges[i].to == e->to) return true;
    return false;
}

cel_status cel_genotype_check(const cel_genotype *g) {
    if ((unsigned)g->space >= CEL_ARCH_SPACE_COUNT)
        return CEL_FAIL(CEL_FORMAT, "genotype: unknown space %d", (int)g->space);
    const cel_topology *t = &topologies[g->space];
    if (g->n != t->n_genotype)
        return CEL_FAIL(CEL_FORMAT, "genotype: %d edges, a %s genotype has %d", g->n, t->label, t->n_genotype);
    int i = 0;
    for (int cell = 0; cell < t->n_cells; cell++)
        for (int node = t->n_inputs; node < t->n_nodes; node++) {
            int degree = t->keep ? t->keep : node;
            for (int k = 0; k < degree; k++, i++) {
                const struct cel_genotype_edge *e = &g->edge[i];
                bool fits = in_topology(t, e) && e->cell == cell && e->to == node && (t->keep || e->from == k);
                for (int before = 1; before <= k; before++) fits = fits && e->from != g->edge[i - before].from;
                if (!fits)
                    return CEL_FAIL(CEL_FORMAT,
                                    "genotype: edge %d (cell %d, %d<-%d, operation %d) does not belong there: expected "
                                    "%s %d of node %d of the %s cell",
                                    i, e->cell, e->to, e->from, e->op, t->keep ? "another input" : "input", k, node,
                                    t->cell_names[cell]);
            }
        }
    return CEL_OK;
}

bool cel_genotype_equal(const cel_genotype *a, const cel_genotype *b) {
    return a->space == b->space && a->n == b->n && !memcmp(a->edge, b->edge, (size_t)a->n * sizeof a->edge[0]);
}

/* Edges go from lower to higher nodes, but a genotype may list them otherwise. In DARTS' cells, which have no `none`, the output takes all
 * nodes. */
bool cel_genotype_connected(const cel_genotype *g) {
    const cel_topology *t = cel_topology_get(g->space);
    for (int cell = 0; cell < t->n_cells; cell++) {
        bool reached[CEL_GENOTYPE_EDGES] = {false};
        for (int node = 0; node < t->n_inputs; node++) reached[node] = true;
        for (int node = t->n_inputs; node < t->n_nodes; node++)
            for (int i = 0; i < g->n; i++)
                if (g->edge[i].cell == cell && g->edge[i].to == node && reached[g->edge[i].from] &&
                    strcmp(t->op_names[g->edge[i].op], "none") != 0)
                    reached[node] = true;
        if (!reached[t->n_nodes - 1]) return false;
    }
    return true;
}

cel_status cel_nb201_from_ops(const uint8_t ops[CEL_NB201_EDGES], cel_genotype *out) {
    *out = (cel_genotype){.space = CEL_ARCH_NB201, .n = CEL_NB201_EDGES};
    for (int e = 0; e < CEL_NB201_EDGES; e++) {
        if (ops[e] >= CEL_NB201_OPS)
            return CEL_FAIL(CEL_FORMAT, "NAS-Bench-201: operation %d on edge %d<-%d: expected 0 .. 4", ops[e],
                            nb201_edges[e].to, nb201_edges[e].from);
        out->edge[e] = (struct cel_genotype_edge){0, nb201_edges[e].from, nb201_edges[e].to, ops[e]};
    }
    return CEL_OK;
}

/* The text of a node of a full NAS-Bench-201 cell is at most 112 characters. */
enum { NODE_TEXT = 128 };

static void nb201_canonical(const cel_genotype *g, char *text) {
    char node[4][NODE_TEXT] = {"0"}, term[3][NODE_TEXT + 32];
    for (int to = 1, e = 0; to < 4; to++) {
        for (int from = 0; from < to; from++, e++) {
            int op = g->edge[e].op, at = from;
            char now[NODE_TEXT + 32];
            if (op == CEL_NB201_NONE || !strcmp(node[from], "#"))
                snprintf(now, sizeof now, "#");
            else if (op == CEL_NB201_SKIP)
                snprintf(now, sizeof now, "%s", node[from]);
            else
                snprintf(now, sizeof now, "(%s)@%s", node[from], nb201_ops[op]);
            for (; at > 0 && strcmp(term[at - 1], now) > 0; at--) memcpy(term[at], term[at - 1], sizeof term[at]);
            memcpy(term[at], now, sizeof now);
        }
        size_t n = 0;
        for (int i = 0; i < to; i++) n += (size_t)snprintf(node[to] + n, NODE_TEXT - n, "%s%s", i ? "+" : "", term[i]);
        assert(n < NODE_TEXT);
    }
    memcpy(text, node[3], NODE_TEXT);
}

void cel_genotype_canonical(const cel_genotype *g, char text[CEL_GENOTYPE_TEXT]) {
    if (g->space == CEL_ARCH_NB201) {
        nb201_canonical(g, text);
        return;
    }
    cel_genotype sorted = *g;
    for (int i = 1; i < sorted.n; i++)
        for (int k = i; k > 0; k--) {
            struct cel_genotype_edge *a = &sorted.edge[k - 1], *b = &sorted.edge[k], swap = *a;
            if (a->cell != b->cell || a->to != b->to || a->from <= b->from) break;
            *a = *b, *b = swap;
        }
    cel_genotype_format(&sorted, text);
}

uint64_t cel_genotype_hash(const cel_genotype *g) {
    char text[CEL_GENOTYPE_TEXT];
    cel_genotype_canonical(g, text);
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *p = topologies[g->space].name; *p; p++) hash = (hash ^ (uint8_t)*p) * 0x100000001b3u;
    hash = (hash ^ (uint8_t)':') * 0x100000001b3u;
    for (const char *p = text; *p; p++) hash = (hash ^ (uint8_t)*p) * 0x100000001b3u;
    return hash;
}
