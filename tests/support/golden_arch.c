/* nb201_genotype, darts_genotype, nb201_prune, nb201_discrete_cost, nb201_super_params: texts and whole numbers, so the
 * error is 0 or the test fails. */
#include "base/mem.h"
#include "cellar/arch.h"
#include "support/golden_check.h"

enum { NB201 = 30, DARTS = 196 };

static void numbers(const char *text, double *out, int want) {
    int n = 0;
    for (char *end; *text && n < want; text = end + (*end == ';')) out[n++] = strtod(text, &end);
    assert_int_equal(n, want);
    assert_int_equal(*text, 0);
}

/* Digits 0 and 1; an empty mask leaves all live. */
static void mask_of(const char *text, uint8_t *live, int want) {
    assert_true(!*text || (int)strlen(text) == want);
    for (int i = 0; i < want; i++) live[i] = !*text || text[i] == '1';
}

static void check_nb201(const double *weights, const uint8_t *live, const char *want) {
    char text[CEL_GENOTYPE_TEXT];
    cel_genotype g;
    test_ok(cel_genotype_derive(CEL_ARCH_NB201, weights, live, &g));
    cel_genotype_format(&g, text);
    assert_string_equal(text, want);
}

double golden_nb201_genotype(const char *path) {
    test_csv *csv = test_csv_open(path);
    for (int i = 0; i < csv->n_rows; i++) {
        double alpha[NB201], weights[NB201];
        uint8_t live[NB201];
        numbers(test_csv_text(csv, i, "alpha_row_major"), alpha, NB201);
        mask_of(test_csv_text(csv, i, "mask_row_major"), live, NB201);
        check_nb201(alpha, NULL, test_csv_text(csv, i, "arch_unmasked"));
        test_ok(cel_choice_softmax(alpha, live, 6, 5, weights));
        check_nb201(weights, live, test_csv_text(csv, i, "arch_masked"));
    }
    test_csv_close(csv);
    return 0;
}

/* "op:input op:input ..." of one cell. */
static void check_darts_cell(const cel_genotype *g, int cell, const char *want) {
    char text[CEL_GENOTYPE_TEXT];
    size_t n = 0;
    for (int e = 0; e < g->n; e++)
        if (g->edge[e].cell == cell)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s:%d", n ? " " : "",
                                  cel_topology_get(g->space)->op_names[g->edge[e].op], g->edge[e].from);
    assert_string_equal(text, want);
}

double golden_darts_genotype(const char *path) {
    test_csv *csv = test_csv_open(path);
    for (int i = 0; i < csv->n_rows; i++) {
        double alpha[DARTS], weights[DARTS];
        uint8_t live[DARTS];
        cel_genotype g;
        numbers(test_csv_text(csv, i, "alpha_normal_row_major"), alpha, DARTS / 2);
        numbers(test_csv_text(csv, i, "alpha_reduce_row_major"), alpha + DARTS / 2, DARTS / 2);
        mask_of(test_csv_text(csv, i, "mask_normal"), live, DARTS / 2);
        mask_of(test_csv_text(csv, i, "mask_reduce"), live + DARTS / 2, DARTS / 2);
        test_ok(cel_choice_softmax(alpha, live, 28, 7, weights));
        test_ok(cel_genotype_derive(CEL_ARCH_DARTS, weights, live, &g));
        test_ok(cel_genotype_check(&g));
        check_darts_cell(&g, 0, test_csv_text(csv, i, "normal"));
        check_darts_cell(&g, 1, test_csv_text(csv, i, "reduce"));
    }
    test_csv_close(csv);
    return 0;
}

/* Thirty rows a stage; what a stage leaves alive is where the next stage of its case begins. */
double golden_nb201_prune(const char *path) {
    test_csv *csv = test_csv_open(path);
    uint8_t live[NB201];
    assert_int_equal(csv->n_rows % NB201, 0);
    for (int first = 0; first < csv->n_rows; first += NB201) {
        double alpha[NB201];
        if (!first || strcmp(test_csv_text(csv, first, "case"), test_csv_text(csv, first - 1, "case")))
            memset(live, 1, sizeof live);
        for (int i = 0; i < NB201; i++) alpha[i] = test_csv_number(csv, first + i, "alpha_before");
        test_ok(cel_choice_prune(6, 5, (int)test_csv_number(csv, first, "keep"), alpha, live));
        for (int i = 0; i < NB201; i++) {
            assert_int_equal(live[i], (int)test_csv_number(csv, first + i, "mask"));
            assert_true(alpha[i] == test_csv_number(csv, first + i, "alpha_after"));
        }
    }
    test_csv_close(csv);
    return 0;
}

double golden_nb201_discrete_cost(const char *path) {
    test_csv *csv = test_csv_open(path);
    for (int i = 0; i < csv->n_rows; i++) {
        cel_genotype g;
        cel_arch_cost cost;
        cel_nb201_net net = {(int)test_csv_number(csv, i, "C"), (int)test_csv_number(csv, i, "N"),
                             (int)test_csv_number(csv, i, "classes"), (int)test_csv_number(csv, i, "image")};
        test_ok(cel_genotype_parse(test_csv_text(csv, i, "arch"), &g));
        test_ok(cel_nb201_cost(&g, &net, &cost));
        assert_int_equal(cost.params, (int64_t)test_csv_number(csv, i, "params"));
        assert_int_equal(cost.flops, (int64_t)test_csv_number(csv, i, "flops"));
    }
    test_csv_close(csv);
    return 0;
}

double golden_nb201_super_params(const char *path) {
    test_csv *csv = test_csv_open(path);
    for (int i = 0; i < csv->n_rows; i++) {
        int64_t params;
        cel_nb201_net net = {(int)test_csv_number(csv, i, "C"), (int)test_csv_number(csv, i, "N"),
                             (int)test_csv_number(csv, i, "classes"), 32};
        test_ok(cel_nb201_super_params(&net, (int)test_csv_number(csv, i, "k"), &params));
        assert_int_equal(params, (int64_t)test_csv_number(csv, i, "weight_params"));
        const cel_topology *t = cel_topology_get(CEL_ARCH_NB201);
        assert_int_equal(t->n_edges * t->n_ops, (int)test_csv_number(csv, i, "arch_params"));
    }
    test_csv_close(csv);
    return 0;
}
