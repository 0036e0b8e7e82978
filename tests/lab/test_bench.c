/* cel_bench: the cases run and repeat, their counts are right, and a profile adds up. */
#include "support/test.h"

#include "base/mem.h"
#include "cellar/bench.h"

static void cases_have_names(void **state) {
    (void)state;
    const cel_bench_case *c, *other;
    int n = 0;
    for (; (c = cel_bench_case_get(n)); n++) {
        assert_true(c->images > 0 && *c->about);
        for (int k = 0; k < n; k++) {
            other = cel_bench_case_get(k);
            assert_string_not_equal(c->name, other->name);
        }
    }
    assert_true(n >= 5);
    assert_null(cel_bench_case_get(-1));
    cel_bench *bench;
    assert_int_equal(cel_bench_open("nb201_k5", 1, &bench), CEL_NOTFOUND);
    assert_non_null(strstr(cel_status_message(), "did you mean \"nb201_k"));
    assert_int_equal(cel_bench_open("loader", 0, &bench), CEL_CONFIG);
}

/* 2.88 GFLOP forward, five times that a step; two equal benchmarks on different numbers of threads lose the same. */
static void a_step_is_counted_and_repeats(void **state) {
    (void)state;
    double loss[2];
    for (int i = 0; i < 2; i++) {
        cel_bench *bench;
        cel_bench_facts facts;
        double ms;
        test_ok(cel_bench_open("nb201_k4", 1 + i, &bench));
        test_ok(cel_bench_step(bench, &ms));
        assert_true(ms > 0);
        cel_bench_get_facts(bench, &facts);
        assert_int_equal(facts.threads, 1 + i);
        assert_true(fabs(facts.flops / 5 / 2.88e9 - 1) < 0.01);
        assert_true(facts.bytes > 4 * 100e6 && facts.bytes < 4 * 400e6); /* 220 MB are saved, twice, there and back */
        assert_true(facts.peak_bytes > 50e6);
        loss[i] = facts.loss;
        cel_bench_close(bench);
    }
    assert_true(loss[0] > 1 && loss[0] < 10 && loss[0] == loss[1]);
}

static void the_floor_is_the_longer_of_two(void **state) {
    (void)state;
    cel_bench_machine machine;
    test_ok(cel_bench_measure(1, &machine));
    assert_true(machine.flops > 1e8 && machine.bf16_flops >= 0 && machine.bytes > 1e7);
    machine = (cel_bench_machine){2e9, 4e9, 1e9};
    cel_bench_facts facts = {.flops = 6e9, .bytes = 1e9};
    assert_true(fabs(cel_bench_floor_ms(&facts, &machine) - 3000) < 1e-6);
    facts.bytes = 5e9;
    assert_true(fabs(cel_bench_floor_ms(&facts, &machine) - 5000) < 1e-6);
    facts = (cel_bench_facts){.flops = 6e9, .bf16 = true};
    assert_true(fabs(cel_bench_floor_ms(&facts, &machine) - 1500) < 1e-6);
}

/* Sum of the floating-point operations of the nodes called `label` below the half-step number `half`. */
static double flops_below(const cel_bench_node *node, int n, int half, const char *label) {
    double sum = 0;
    for (int i = 0, at = -1; i < n; i++) {
        at += node[i].depth == 1;
        if (at == half && !strcmp(node[i].label, label)) sum += node[i].flops;
    }
    return sum;
}

static void a_profile_adds_up(void **state) {
    (void)state;
    cel_bench *bench;
    cel_bench_node *node;
    int n;
    test_ok(cel_bench_open("nb201_k4", 2, &bench));
    test_ok(cel_bench_profile(bench, 1, &node, &n));
    assert_true(n > 20 && node[0].depth == 0);
    assert_string_equal(node[0].label, "nb201_k4");
    for (int i = 0; i < n; i++) {
        double ms = 0;
        int children = 0;
        for (int k = i + 1; k < n && node[k].depth > node[i].depth; k++) {
            assert_true(node[k].depth <= node[k - 1].depth + 1);
            if (node[k].depth == node[i].depth + 1) ms += node[k].ms, children++;
        }
        if (children) assert_true(fabs(ms - node[i].ms) < 1e-6 * node[0].ms);
        assert_true(node[i].roof_ms >= 0 && isfinite(node[i].roof_ms));
    }
    /* The architecture's half makes no gradient of a weight; in the weights' every convolution has both gradients. */
    enum { ARCH, WEIGHT };
    double conv3 = flops_below(node, n, ARCH, "convolution 3x3");
    assert_true(conv3 > 1e8);
    assert_true(flops_below(node, n, WEIGHT, "convolution 3x3") == conv3);
    double data3 = flops_below(node, n, ARCH, "data gradient 3x3"); /* but not the one by the first cell's input */
    assert_true(data3 > 0.9 * conv3 && data3 < conv3);
    assert_true(flops_below(node, n, WEIGHT, "data gradient 3x3") == conv3);
    assert_true(flops_below(node, n, WEIGHT, "weight gradient 3x3") == conv3);
    assert_true(flops_below(node, n, ARCH, "weight gradient 3x3") == 0);
    assert_true(flops_below(node, n, ARCH, "conv2d_dw") == 0 && flops_below(node, n, WEIGHT, "conv2d_dw") > 1e8);
    cel_free(node);
    assert_int_equal(cel_bench_profile(bench, 0, &node, &n), CEL_CONFIG);
    cel_bench_close(bench);
    test_ok(cel_bench_open("loader", 1, &bench));
    assert_int_equal(cel_bench_profile(bench, 1, &node, &n), CEL_UNSUPPORTED);
    cel_bench_close(bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_have_names), cmocka_unit_test(a_step_is_counted_and_repeats),
        cmocka_unit_test(the_floor_is_the_longer_of_two), cmocka_unit_test(a_profile_adds_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
