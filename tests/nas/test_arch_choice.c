/* Choice matrices: golden derivations and prunings, ties, masks, hostile matrices and their texts. */
#include "support/golden_check.h"
#include "support/test.h"

#include "base/file.h"
#include "base/mem.h"
#include "cellar/arch.h"

static void golden(void **state) {
    (void)state;
    golden_check_file(test_path("golden/nb201_genotype.csv"));
    golden_check_file(test_path("golden/darts_genotype.csv"));
    golden_check_file(test_path("golden/nb201_prune.csv"));
}

static void ties_go_to_the_first(void **state) {
    (void)state;
    double alpha[30] = {0}, weights[196];
    uint8_t live[30];
    cel_genotype g;
    memset(live, 1, sizeof live);
    test_ok(cel_choice_prune(6, 5, 2, alpha, live));
    for (int i = 0; i < 30; i++) assert_int_equal(live[i], i % 5 < 2);
    test_ok(cel_genotype_derive(CEL_ARCH_NB201, alpha, NULL, &g));
    for (int e = 0; e < 6; e++) assert_int_equal(g.edge[e].op, CEL_NB201_NONE);
    for (int i = 0; i < 196; i++) weights[i] = 1.0 / 7;
    test_ok(cel_genotype_derive(CEL_ARCH_DARTS, weights, NULL, &g));
    for (int e = 0; e < 16; e++) assert_int_equal(g.edge[e].from, e % 2);
}

static void hostile_matrices(void **state) {
    (void)state;
    double alpha[30] = {0};
    uint8_t live[30] = {0};
    cel_genotype g;
    test_fails(cel_choice_prune(6, 5, 2, alpha, live), CEL_CONFIG, "row 0 has no live operation");
    test_fails(cel_choice_softmax(alpha, live, 6, 5, alpha), CEL_CONFIG, "row 0 has no live operation");
    memset(live, 1, sizeof live);
    test_fails(cel_choice_prune(6, 5, 0, alpha, live), CEL_CONFIG, "keep 0 operations");
    alpha[7] = NAN;
    test_fails(cel_genotype_derive(CEL_ARCH_NB201, alpha, live, &g), CEL_DIVERGED, "row 1, column 2 is");
    live[7] = 0; /* a pruned entry may hold anything */
    test_ok(cel_genotype_derive(CEL_ARCH_NB201, alpha, live, &g));
    alpha[7] = INFINITY;
    test_fails(cel_choice_softmax(alpha, NULL, 6, 5, alpha), CEL_DIVERGED, "row 1");
    test_fails(cel_genotype_derive((cel_arch_space)9, alpha, NULL, &g), CEL_CONFIG, "unknown space 9");
    double large[5] = {1e308, -1e308, 1e308, 0, 0};
    test_ok(cel_choice_softmax(large, NULL, 1, 5, large));
    assert_true(large[0] == 0.5 && large[1] == 0 && large[2] == 0.5);
}

static void matrix_texts(void **state) {
    (void)state;
    static const char *const good[] = {
        "# six rows\n1 2 3 4 5\n1,2,3,5,4\n5;4;3;2;1\n1\t1 1  1 2\r\n 0 0 1 0 0 # last\n-1 -2 -3 -4 -0.5\n\n",
        "[[1,2,3,4,5],[1,2,3,5,4],[5,4,3,2,1],[1,1,1,1,2],[0,0,1,0,0],[-1,-2,-3,-4,-0.5]]",
        "{\"epoch\":1,\"concentration\":[[1,2,3,4,5],[1,2,3,5,4],[5,4,3,2,1],[1,1,1,1,2],[0,0,1,0,0],[-1,-2,-3,-4,-5e-"
        "1]]}",
    };
    double *m;
    uint8_t *live;
    cel_arch_space space;
    cel_genotype g;
    char text[CEL_GENOTYPE_TEXT];
    for (size_t i = 0; i < CEL_COUNT(good); i++) {
        test_ok(cel_choice_parse(good[i], &space, &m, &live));
        assert_int_equal(space, CEL_ARCH_NB201);
        test_ok(cel_genotype_derive(space, m, live, &g));
        cel_genotype_format(&g, text);
        assert_string_equal(text,
                            "|avg_pool_3x3~0|+|nor_conv_3x3~0|none~1|+|avg_pool_3x3~0|nor_conv_1x1~1|avg_pool_3x3~2|");
        cel_free(m);
        cel_free(live);
    }
    test_ok(
        cel_choice_parse("{\"concentration\":[[1,2,3,4,5],[1,2,3,4,5],[1,2,3,4,5],[1,2,3,4,5],[1,2,3,4,5],[1,2,3,4,5]],"
                         "\"live\":[[1,1,1,1,0],[1,1,1,1,1],[1,0,0,0,0],[1,1,1,1,1],[1,1,1,1,1],[1,1,1,1,1]]}",
                         &space, &m, &live));
    test_ok(cel_genotype_derive(space, m, live, &g));
    assert_int_equal(g.edge[0].op, CEL_NB201_CONV_3X3);
    assert_int_equal(g.edge[2].op, CEL_NB201_NONE);
    cel_free(m);
    cel_free(live);
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "0 rows of 0 numbers (0 in all) fit no space"},
        {"1 2 3 4 5\n1 2 3\n", "row 2 has 3 numbers, expected 5"},
        {"1 2 x 4 5\n", "line 1, character 5: expected a number, found \"x\""},
        {"1 2 nan 4 5\n", "expected a number, found \"nan\""},
        {"1 2 1e999 4 5\n", "expected a number"},
        {"1 2 3\n", "1 rows of 3 numbers (3 in all) fit no space"},
        {"[1,2", "choice matrix: line 1"},
        {"[1,2]", "row 1 is no array"},
        {"[[1,\"a\"]]", "entry 2 is no number"},
        {"{\"epoch\": 3}", "\"concentration\" is missing"},
        {"{\"concentration\":[[1,2,3,4,5],[1,2,3,4,5],[1,2,3,4,5],[1,2,3,4,5],[1,2,3,4,5],[1,2,3,4,5]],\"live\":[[1]]}",
         "\"live\" has 1 entries, expected 30"},
    };
    for (size_t i = 0; i < CEL_COUNT(bad); i++) {
        test_fails(cel_choice_parse(bad[i].text, &space, &m, &live), CEL_FORMAT, bad[i].message);
        assert_null(m);
        assert_null(live);
    }
    for (uint64_t at = 1; at <= 3; at++) {
        cel_mem_fail_at(at);
        test_fails(cel_choice_parse(good[0], &space, &m, &live), CEL_NOMEM, "out of memory");
        cel_mem_fail_at(0);
    }
}

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(text, 1, strlen(text), f);
    fclose(f);
}

static void runs_and_files(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *path = cel_path_join(dir, "metrics.jsonl");
#define ROWS(a) "[1,2,3,4,5],[1,2,3,4,5],[1,2,3,4,5],[1,2,3,4,5],[1,2,3,4,5],[" a ",0,0,0,0]"
    const char *lines = "{\"epoch\":0,\"concentration\":[" ROWS("1") "]}\n{\"epoch\":1,\"concentration\":[" ROWS(
        "-1") "]}\n"
              "{\"epoch\":2,\"concen";
    double *m;
    uint8_t *live;
    cel_arch_space space;
    test_fails(cel_choice_read(dir, -1, &space, &m, &live), CEL_NOTFOUND, "metrics.jsonl");
    write_text(path, lines);
    test_ok(cel_choice_read(dir, -1, &space, &m, &live)); /* the torn line does not count */
    assert_true(m[25] == -1);
    cel_free(m);
    cel_free(live);
    test_ok(cel_choice_read(dir, 0, &space, &m, &live));
    assert_true(m[25] == 1);
    cel_free(m);
    cel_free(live);
    test_fails(cel_choice_read(dir, 2, &space, &m, &live), CEL_NOTFOUND, "no epoch 2");
    write_text(path, "{\"epoch\":0");
    test_fails(cel_choice_read(dir, -1, &space, &m, &live), CEL_FORMAT, "no epoch is finished");
    write_text(path, "1 2 3 4 5\n1 2 3 4 5\n1 2 3 4 5\n1 2 3 4 5\n1 2 3 4 5\n7 2 3 4 5\n");
    test_ok(cel_choice_read(path, -1, &space, &m, &live));
    assert_true(m[25] == 7);
    cel_free(m);
    cel_free(live);
    cel_free(path);
    test_temp_dir_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),       cmocka_unit_test(ties_go_to_the_first), cmocka_unit_test(hostile_matrices),
        cmocka_unit_test(matrix_texts), cmocka_unit_test(runs_and_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
