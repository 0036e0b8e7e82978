/* Optimisers and schedules against golden values, and their promises. */
#include "support/golden_check.h"
#include "train/meter.h"
#include "train/optim.h"
#include "train/schedule.h"

static void golden(void **state) {
    (void)state;
    static const char *const files[] = {"optim_sgd.csv",           "optim_adam.csv",   "optim_quadratic.safetensors",
                                        "optim_clip.csv",          "optim_cosine.csv", "optim_vadam.csv",
                                        "drnas_progressive_lr.csv"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[128];
        snprintf(name, sizeof name, "golden/%s", files[i]);
        golden_check_file(test_path(name));
    }
}

enum { N = 60001 };
static float param[2][N], grad[N], buffer[2][N];

static void fill(void) {
    cel_rng rng = cel_rng_at(1, "test", 0, 0);
    for (int i = 0; i < N; i++) {
        param[0][i] = param[1][i] = (float)cel_rng_normal(&rng);
        grad[i] = (float)cel_rng_normal(&rng);
        buffer[0][i] = buffer[1][i] = (float)cel_rng_normal(&rng);
    }
}

/* The same bytes on any number of threads. */
static void threads(void **state) {
    (void)state;
    fill();
    cel_slot slots[] = {{.count = 20000, .gate = -1}, {.offset = 20000, .count = 40001, .gate = 2}};
    cel_pieces pieces;
    cel_pool *pool;
    test_ok(cel_pieces_init(&pieces, slots, 2));
    test_ok(cel_pool_create(3, &pool));
    double alone = cel_pieces_squares(&pieces, grad, NULL), together = cel_pieces_squares(&pieces, grad, pool),
           plain = 0;
    assert_memory_equal(&alone, &together, sizeof alone);
    for (int i = 0; i < N; i++) plain += (double)grad[i] * grad[i];
    test_close(alone, plain, 1e-12, 0, "sum of squares");
    cel_sgd sgd = {.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-3, .nesterov = true};
    cel_sgd_step(&sgd, &pieces, 0.5, param[0], grad, buffer[0], NULL);
    cel_sgd_step(&sgd, &pieces, 0.5, param[1], grad, buffer[1], pool);
    assert_memory_equal(param[0], param[1], sizeof param[0]);
    assert_memory_equal(buffer[0], buffer[1], sizeof buffer[0]);
    cel_pool_destroy(pool);
    cel_pieces_fini(&pieces);
}

/* Nesterov's step in closed form, and a parameter that did not run. */
static void gates(void **state) {
    (void)state;
    fill();
    cel_slot slots[] = {{.count = 100, .gate = -1}, {.offset = 112, .count = 9000, .gate = 1}};
    cel_pieces pieces;
    test_ok(cel_pieces_init(&pieces, slots, 2));
    uint8_t on[] = {1, 0};
    cel_pieces_select(&pieces, on);
    double want = 0;
    for (int i = 0; i < 100; i++) want += (double)grad[i] * grad[i];
    test_close(cel_pieces_squares(&pieces, grad, NULL), want, 1e-12, 0, "squares of the running ones");
    cel_sgd sgd = {.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-3, .nesterov = true};
    cel_sgd_step(&sgd, &pieces, 0.5, param[0], grad, buffer[0], NULL);
    for (int i = 0; i < 100; i++) {
        double g = 0.5 * grad[i] + 1e-3 * param[1][i], b = 0.9 * buffer[1][i] + g;
        test_close(buffer[0][i], b, 1e-6, 1e-6, "buffer");
        test_close(param[0][i], param[1][i] - 0.1 * (g + 0.9 * b), 1e-6, 1e-6, "parameter");
    }
    assert_memory_equal(param[0] + 100, param[1] + 100, sizeof(float) * (N - 100));
    assert_memory_equal(buffer[0] + 100, buffer[1] + 100, sizeof(float) * (N - 100));
    on[1] = 1;
    cel_pieces_select(&pieces, on);
    cel_sgd_step(&sgd, &pieces, 0.5, param[0], grad, buffer[0], NULL);
    assert_true(param[0][112] != param[1][112]);
    cel_pieces_fini(&pieces);
}

static void small(void **state) {
    (void)state;
    double x[] = {1, 2}, g[] = {1, 1}, m[2] = {0}, v[2] = {0};
    uint8_t live[] = {0, 1};
    cel_adam adam = {.beta1 = 0.5, .beta2 = 0.999, .eps = 1e-8};
    cel_adam_step(&adam, 0.25, 1, 2, live, x, g, m, v);
    test_close(x[0], 1, 0, 0, "a dead entry");
    test_close(x[1], 1.75, 1e-7, 0, "Adam's first step is lr");
    test_close(cel_clip_factor(10, 5), 0.5, 1e-6, 0, "clipped");
    test_close(cel_clip_factor(10, 0), 1, 0, 0, "no limit");
    test_close(cel_schedule_linear(0, 10, 10, 1), 10, 0, 0, "first");
    test_close(cel_schedule_linear(9, 10, 10, 1), 1, 1e-15, 0, "last");
    test_close(cel_schedule_linear(0, 1, 10, 1), 10, 0, 0, "only one");
    cel_meter meter = {0};
    test_close(cel_meter_accuracy(&meter), 0, 0, 0, "empty");
    cel_meter_add(&meter, 2, 3, 4);
    cel_meter_add(&meter, 1, 2, 1);
    test_close(cel_meter_loss(&meter), 1.8, 1e-15, 0, "loss");
    test_close(cel_meter_accuracy(&meter), 100, 1e-15, 0, "accuracy");
}

static void memory(void **state) {
    (void)state;
    cel_slot slot = {.count = 10, .gate = -1};
    for (uint64_t n = 1; n <= 3; n++) {
        cel_pieces pieces;
        cel_mem_fail_at(n);
        test_fails(cel_pieces_init(&pieces, &slot, 1), CEL_NOMEM, "pieces");
        cel_mem_fail_at(0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden), cmocka_unit_test(threads), cmocka_unit_test(gates),
                                       cmocka_unit_test(small), cmocka_unit_test(memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
