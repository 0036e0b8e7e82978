/* The example of docs/add-op.md, as it stands there, built into a graph and run. */
#include "support/test.h"

#include "engine/exec/exec.h"

cel_val cel_leaky_relu(cel_graph *g, cel_val x, float slope);

static void values_and_gradient(void **state) {
    (void)state;
    cel_graph *g;
    cel_exec *e;
    cel_val dx;
    int program;
    test_ok(cel_graph_create(&g));
    cel_val x = cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(2, 2));
    cel_val dy = cel_graph_input(g, "dy", CEL_F32, CEL_BATCH, CEL_SHAPE(2, 2));
    cel_val y = cel_leaky_relu(g, x, 0.25f);
    test_ok(cel_graph_grad_from(g, y, dy, &x, 1, &dx));
    test_ok(cel_graph_seal(g));
    test_ok(cel_exec_create(g, &cel_backend_ref, NULL, &e));
    test_ok(cel_exec_add_program(e, CEL_MODE_TRAIN, (cel_val[]){y, dx}, 2, &program));
    test_ok(cel_exec_prepare(e, 1));
    cel_exec_write(e, x, (float[]){-2, 3, 0, -0.5f});
    cel_exec_write(e, dy, (float[]){1, 2, 4, 8});
    cel_exec_run(e, program);
    float got[4];
    cel_exec_read(e, y, got);
    assert_memory_equal(got, ((float[]){-0.5f, 3, 0, -0.125f}), sizeof got);
    cel_exec_read(e, dx, got);
    assert_memory_equal(got, ((float[]){0.25f, 2, 1, 2}), sizeof got);
    cel_exec_destroy(e);
    cel_graph_destroy(g);
}

static void a_backend_without_it_says_so(void **state) {
    (void)state;
    cel_graph *g;
    cel_exec *e;
    int program;
    test_ok(cel_graph_create(&g));
    cel_val y = cel_leaky_relu(g, cel_graph_input(g, "x", CEL_F32, CEL_BATCH, CEL_SHAPE(2, 2)), 0.25f);
    test_ok(cel_graph_seal(g));
    test_ok(cel_exec_create(g, &cel_backend_cpu, NULL, &e));
    test_fails(cel_exec_add_program(e, CEL_MODE_TRAIN, &y, 1, &program), CEL_UNSUPPORTED, "leaky_relu");
    cel_exec_destroy(e);
    cel_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_and_gradient),
                                       cmocka_unit_test(a_backend_without_it_says_so)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
