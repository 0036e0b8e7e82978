/* Architectures of NAS-Bench-201 against the benchmark's own list (all 15,625), and the texts of both spaces. */
#include "support/golden_check.h"
#include "support/test.h"

#include "base/mem.h"
#include "base/rng.h"
#include "cellar/arch.h"

static test_csv *bench;
static int open_bench(void **state) {
    (void)state;
    bench = test_csv_open("../data/nb201/nasbench201.csv");
    return 0;
}
static int close_bench(void **state) {
    (void)state;
    test_csv_close(bench);
    return 0;
}

static void index_ops_and_text_round_trip(void **state) {
    (void)state;
    assert_int_equal(bench->n_rows, CEL_NB201_COUNT);
    for (int i = 0; i < CEL_NB201_COUNT; i++) {
        cel_genotype g, parsed, again;
        char text[CEL_GENOTYPE_TEXT];
        uint8_t ops[CEL_NB201_EDGES];
        int index;
        const char *want = test_csv_text(bench, i, "arch"), *digits = test_csv_text(bench, i, "ops");
        test_ok(cel_nb201_from_index(i, &g));
        test_ok(cel_genotype_check(&g));
        cel_genotype_format(&g, text);
        assert_string_equal(text, want);
        test_ok(cel_genotype_parse(want, &parsed));
        assert_true(cel_genotype_equal(&g, &parsed));
        for (int e = 0; e < CEL_NB201_EDGES; e++) ops[e] = (uint8_t)(digits[e] - '0');
        test_ok(cel_nb201_from_ops(ops, &again));
        assert_true(cel_genotype_equal(&g, &again));
        test_ok(cel_nb201_index(&parsed, &index));
        assert_int_equal(index, i);
    }
    cel_genotype g;
    test_fails(cel_nb201_from_index(-1, &g), CEL_NOTFOUND, "0 .. 15624");
    test_fails(cel_nb201_from_index(CEL_NB201_COUNT, &g), CEL_NOTFOUND, "0 .. 15624");
    test_fails(cel_nb201_from_ops((const uint8_t[]){0, 0, 0, 5, 0, 0}, &g), CEL_FORMAT, "edge 3<-0");
}

/* unique_id numbers the classes in the order in which they are first seen, so equality of the numbers is equality of the
 * partitions. */
static void hash_has_the_benchmarks_classes(void **state) {
    (void)state;
    static uint64_t seen[CEL_NB201_COUNT];
    int classes = 0;
    for (int i = 0; i < CEL_NB201_COUNT; i++) {
        cel_genotype g;
        test_ok(cel_nb201_from_index(i, &g));
        uint64_t hash = cel_genotype_hash(&g);
        int at = 0;
        while (at < classes && seen[at] != hash) at++;
        if (at == classes) seen[classes++] = hash;
        assert_int_equal(at, (int)test_csv_number(bench, i, "unique_id"));
    }
    assert_int_equal(classes, 6466);
}

static void hash_is_the_same_on_every_machine(void **state) {
    (void)state;
    cel_genotype g;
    char text[CEL_GENOTYPE_TEXT];
    test_ok(cel_genotype_parse("|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|avg_pool_3x3~1|none~2|", &g));
    cel_genotype_canonical(&g, text);
    assert_string_equal(text, "#+((0)@nor_conv_1x1)@avg_pool_3x3+0");
    /* FNV-1a 64 of "nb201:" and that text, computed independently. */
    assert_int_equal(cel_genotype_hash(&g), 0xb03c1ddd41f1e50cu);
}

static void costs_equal_the_benchmark(void **state) {
    (void)state;
    static const char *const sets[] = {"cifar10", "cifar100", "imagenet16"};
    for (size_t s = 0; s < 3; s++) {
        cel_nb201_net net;
        char params[32], flops[32];
        snprintf(params, sizeof params, "params_%s", sets[s]);
        snprintf(flops, sizeof flops, "flops_%s", sets[s]);
        test_ok(cel_nb201_net_find(sets[s], &net));
        for (int i = 0; i < CEL_NB201_COUNT; i++) {
            cel_genotype g;
            cel_arch_cost cost;
            test_ok(cel_nb201_from_index(i, &g));
            test_ok(cel_nb201_cost(&g, &net, &cost));
            assert_int_equal(cost.params, (int64_t)test_csv_number(bench, i, params));
            assert_int_equal(cost.flops, (int64_t)test_csv_number(bench, i, flops));
        }
    }
}

static void costs_of_other_sizes(void **state) {
    (void)state;
    golden_check_file(test_path("golden/nb201_discrete_cost.csv"));
    golden_check_file(test_path("golden/nb201_super_params.csv"));
}

static void wrong_networks_are_refused(void **state) {
    (void)state;
    cel_genotype g, darts = {.space = CEL_ARCH_DARTS};
    cel_nb201_net net;
    cel_arch_cost cost;
    int64_t params;
    int index;
    test_ok(cel_nb201_from_index(0, &g));
    test_fails(cel_nb201_net_find("cifar1000", &net), CEL_NOTFOUND, "did you mean cifar100?");
    test_ok(cel_nb201_net_find("ImageNet16-120", &net));
    assert_int_equal(net.classes, 120);
    test_fails(cel_nb201_cost(&g, &(cel_nb201_net){0, 5, 10, 32}, &cost), CEL_CONFIG, "C = 0");
    test_fails(cel_nb201_cost(&g, &(cel_nb201_net){16, 0, 10, 32}, &cost), CEL_CONFIG, "N = 0");
    test_fails(cel_nb201_cost(&g, &(cel_nb201_net){16, 5, 0, 32}, &cost), CEL_CONFIG, "0 classes");
    test_fails(cel_nb201_cost(&g, &(cel_nb201_net){16, 5, 10, 30}, &cost), CEL_CONFIG, "multiple of 4");
    test_fails(cel_nb201_super_params(&(cel_nb201_net){20, 5, 10, 32}, 3, &params), CEL_CONFIG, "1, 2, 4, 5, 10, 20");
    test_fails(cel_nb201_super_params(&(cel_nb201_net){16, 5, 10, 32}, 0, &params), CEL_CONFIG, "K = 0");
    test_fails(cel_nb201_cost(&darts, &net, &cost), CEL_FORMAT, "0 edges");
    test_fails(cel_nb201_index(&darts, &index), CEL_UNSUPPORTED, "DARTS");
    g.edge[2].op = 9;
    test_fails(cel_genotype_check(&g), CEL_FORMAT, "edge 2");
}

static const char *const darts_text =
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 0), ('dil_conv_5x5', 2), "
    "('max_pool_3x3', 1), ('avg_pool_3x3', 3), ('sep_conv_5x5', 4), ('dil_conv_3x3', 0)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3x3', 1), ('max_pool_3x3', 0), ('sep_conv_5x5', 2), ('skip_connect', 0), ('dil_conv_3x3', 3), "
    "('sep_conv_3x3', 1), ('avg_pool_3x3', 0), ('dil_conv_5x5', 4)], reduce_concat=range(2, 6))";

static void darts_text_round_trips(void **state) {
    (void)state;
    cel_genotype g, loose;
    char text[CEL_GENOTYPE_TEXT];
    test_ok(cel_genotype_parse(darts_text, &g));
    test_ok(cel_genotype_check(&g));
    cel_genotype_format(&g, text);
    assert_string_equal(text, darts_text);
    test_ok(cel_genotype_parse("  Genotype( normal = [ (\"sep_conv_3x3\",0),('sep_conv_3x3',1),('skip_connect',0),\n"
                               "('dil_conv_5x5',2),('max_pool_3x3',1),('avg_pool_3x3',3),('sep_conv_5x5',4),"
                               "('dil_conv_3x3',0)],normal_concat=[2,3, 4,5],reduce=[('max_pool_3x3',1),"
                               "('max_pool_3x3',0),('sep_conv_5x5',2),('skip_connect',0),('dil_conv_3x3',3),"
                               "('sep_conv_3x3',1),('avg_pool_3x3',0),('dil_conv_5x5',4)],reduce_concat=range(2,6) )\n",
                               &loose));
    assert_true(cel_genotype_equal(&g, &loose));
}

static void darts_hash_ignores_the_order_of_a_nodes_inputs(void **state) {
    (void)state;
    cel_genotype g, swapped;
    test_ok(cel_genotype_parse(darts_text, &g));
    swapped = g;
    swapped.edge[8] = g.edge[9], swapped.edge[9] = g.edge[8];
    assert_false(cel_genotype_equal(&g, &swapped));
    assert_int_equal(cel_genotype_hash(&g), cel_genotype_hash(&swapped));
    swapped.edge[0].op ^= 1;
    assert_int_not_equal(cel_genotype_hash(&g), cel_genotype_hash(&swapped));
}

static void malformed_texts(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "character 1: expected an architecture"},
        {"hello", "found \"hello\""},
        {"|", "character 2: expected an operation of NAS-Bench-201 (none, skip_connect"},
        {"|nor_conv_3x4~0|+|none~0|none~1|+|none~0|none~1|none~2|", "did you mean nor_conv_3x3?"},
        {"|none~0+|none~0|none~1|+|none~0|none~1|none~2|", "character 6: expected \"~0|\", found \"~0+"},
        {"|none~1|+|none~0|none~1|+|none~0|none~1|none~2|", "character 6: expected \"~0|\", found \"~1|"},
        {"|none~0|+|none~1|none~0|+|none~0|none~1|none~2|", "character 15: expected \"~0|\""},
        {"|none~0||none~0|none~1|+|none~0|none~1|none~2|", "character 9: expected \"+|\""},
        {"|none~0|+|none~0|none~1|", "found the end of the text"},
        {"|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+", "expected the end of the text, found \"+\""},
        {"|none~0|+|none~0|none~1|+|none~0|none~1|none~2|none~3|", "expected the end of the text"},
        {"|none~0|+|none~0|none~1|+|none~0|none~1|none~2| ", "expected the end of the text"},
        {" |none~0|+|none~0|none~1|+|none~0|none~1|none~2|", "character 1: expected an architecture"},
        {"|NONE~0|+|none~0|none~1|+|none~0|none~1|none~2|", "found \"NONE\"; did you mean none?"},
        {"|sep_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|", "expected an operation of NAS-Bench-201"},
        {"|\x01\xff~0|", "found \"??~0|\""},
        {"Genotype", "expected \"(\", found the end"},
        {"Genotype(reduce=[", "expected \"normal\""},
        {"Genotype(normal=[('none', 0)", "expected an operation of DARTS"},
        {"Genotype(normal=[('sep_conv_3x3\", 0)", "expected \"'\""},
        {"Genotype(normal=[('sep_conv_3x3', 2)", "expected an input of node 2 (0 .. 1), found \"2)\""},
        {"Genotype(normal=[('sep_conv_3x3', 10)", "expected an input of node 2"},
        {"Genotype(normal=[('sep_conv_3x3', -1)", "expected an input of node 2"},
        {"Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 0)", "takes input 0 twice"},
    };
    for (size_t i = 0; i < CEL_COUNT(bad); i++) {
        cel_genotype g;
        test_fails(cel_genotype_parse(bad[i].text, &g), CEL_FORMAT, bad[i].message);
    }
    char text[CEL_GENOTYPE_TEXT];
    cel_genotype g;
    size_t whole = strlen(darts_text);
    for (size_t n = 0; n < whole; n++) {
        memcpy(text, darts_text, n);
        text[n] = 0;
        test_fails(cel_genotype_parse(text, &g), CEL_FORMAT, "character");
    }
    snprintf(text, sizeof text, "%s", darts_text);
    strstr(text, "range(2, 6)")[9] = '5';
    test_fails(cel_genotype_parse(text, &g), CEL_FORMAT, "expected \"6\", found \"5)");
}

/* One changed byte: parsed to something that formats back to exactly that text, or refused. */
static void damaged_texts_are_refused_or_exact(void **state) {
    (void)state;
    cel_rng rng = cel_rng_at(7, "test-damage", 0, 0);
    int accepted = 0;
    for (int i = 0; i < 20000; i++) {
        cel_genotype g, other;
        char text[CEL_GENOTYPE_TEXT], back[CEL_GENOTYPE_TEXT];
        test_ok(cel_nb201_from_index((int)cel_rng_below(&rng, CEL_NB201_COUNT), &g));
        cel_genotype_format(&g, text);
        text[cel_rng_below(&rng, (uint32_t)strlen(text))] = (char)(1 + cel_rng_below(&rng, 255));
        cel_status status = cel_genotype_parse(text, &other);
        if (status == CEL_OK) {
            cel_genotype_format(&other, back);
            assert_string_equal(back, text);
            accepted++;
        } else {
            assert_int_equal(status, CEL_FORMAT);
        }
    }
    assert_in_range(accepted, 1, 2000);
}

static void spaces_by_name(void **state) {
    (void)state;
    cel_arch_space space;
    for (int s = 0; s < CEL_ARCH_SPACE_COUNT; s++) {
        test_ok(cel_topology_find(cel_topology_get((cel_arch_space)s)->name, &space));
        assert_int_equal(space, s);
    }
    test_fails(cel_topology_find("dart", &space), CEL_NOTFOUND, "did you mean darts?");
}

static char *write_file(const char *dir, const char *text) {
    char *path = cel_asprintf("%s/list", dir);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(text, 1, strlen(text), f);
    fclose(f);
    return path;
}

static void lists_of_architectures(void **state) {
    (void)state;
    char *dir = test_temp_dir();
    cel_genotype *list;
    size_t n;
    int index;
    char *path = write_file(
        dir,
        "# two\n\n|none~0|+|none~0|none~1|+|none~0|none~1|none~2|\r\n"
        "  {\"epoch\": 0, \"genotype\": \"|none~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|\", \"hash\": \"x\"}");
    test_ok(cel_genotype_list_read(path, &list, &n));
    assert_int_equal(n, 2);
    test_ok(cel_nb201_index(&list[1], &index));
    assert_int_equal(index, 867);
    cel_free(list);
    for (uint64_t at = 1; at < 8; at++) {
        cel_mem_fail_at(at);
        cel_status status = cel_genotype_list_read(path, &list, &n);
        cel_mem_fail_at(0);
        if (status == CEL_OK) {
            cel_free(list);
            assert_true(at > 2);
            break;
        }
        assert_int_equal(status, CEL_NOMEM);
    }
    cel_free(path);
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "no architecture in it"},
        {"# only\n\n", "no architecture in it"},
        {"|none~0|+|none~0|none~1|+|none~0|none~1|none~2|\n|none", "line 2: genotype, character"},
        {"{\"epoch\": 3}\n", "line 1: expected a JSON object with the text \"genotype\""},
        {"{\"genotype\": 3}\n", "line 1: expected a JSON object with the text \"genotype\""},
        {"\n{\"genotype\"", "line 2: column"},
        {"{\"genotype\": \"|none\"}\n", "line 1: genotype, character"},
    };
    for (size_t i = 0; i < CEL_COUNT(bad); i++) {
        path = write_file(dir, bad[i].text);
        test_fails(cel_genotype_list_read(path, &list, &n), CEL_FORMAT, bad[i].message);
        cel_free(path);
    }
    path = cel_asprintf("%s/zero", dir);
    FILE *f = fopen(path, "wb");
    fwrite("|no\0ne", 1, 6, f);
    fclose(f);
    test_fails(cel_genotype_list_read(path, &list, &n), CEL_FORMAT, "zero byte at offset 3");
    cel_free(path);
    path = cel_asprintf("%s/absent", dir);
    test_fails(cel_genotype_list_read(path, &list, &n), CEL_NOTFOUND, "absent");
    cel_free(path);
    test_temp_dir_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_ops_and_text_round_trip),
        cmocka_unit_test(hash_has_the_benchmarks_classes),
        cmocka_unit_test(hash_is_the_same_on_every_machine),
        cmocka_unit_test(costs_equal_the_benchmark),
        cmocka_unit_test(costs_of_other_sizes),
        cmocka_unit_test(wrong_networks_are_refused),
        cmocka_unit_test(darts_text_round_trips),
        cmocka_unit_test(darts_hash_ignores_the_order_of_a_nodes_inputs),
        cmocka_unit_test(malformed_texts),
        cmocka_unit_test(damaged_texts_are_refused_or_exact),
        cmocka_unit_test(spaces_by_name),
        cmocka_unit_test(lists_of_architectures),
    };
    return cmocka_run_group_tests(tests, open_bench, close_bench);
}
