/* The contract of every recipe that ships with cellar: it reads, its settings go together for the images that it names, what it says
 * is published has a source, and on a small network with computed images it makes its first steps. */
#include "cellar/search.h"
#include "lab/recipe.h"
#include "support/test.h"

static cel_status check_settings(void *ctx, const char *name, const char *path) {
    static const struct {
        const char *source, *table;
        int side, classes;
    } data[] = {{"cifar10", "cifar10", 32, 10},
                {"cifar10-mini", "cifar10", 32, 10},
                {"cifar100", "cifar100", 32, 100},
                {"imagenet16-120", "imagenet16", 16, 120}};
    cel_conf *tree;
    cel_recipe *recipe;
    (void)name;
    test_ok(cel_recipe_tree(path, &tree));
    test_ok(cel_recipe_take(tree, &recipe));
    const cel_settings *s = &recipe->settings;
    size_t d = 0;
    while (d < sizeof data / sizeof *data && strcmp(s->data.source, data[d].source)) d++;
    assert_true(d < sizeof data / sizeof *data);
    cel_net_shape shape = {s->train.batch, 3, data[d].side, data[d].side, data[d].classes};
    test_ok(cel_settings_check(s, &shape));
    assert_true(strlen(recipe->top.title) > 10);
    assert_string_equal(recipe->expect.dataset, data[d].table);
    assert_true(strlen(recipe->expect.source) > 3);
    cel_recipe_destroy(recipe);
    *(int *)ctx += 1;
    return CEL_OK;
}

static bool stop_at_two(void *ctx, const cel_search_progress *p) {
    *(int *)ctx += 1;
    assert_true(isfinite(p->loss) && p->loss > 0);
    return *(int *)ctx == 2;
}

static cel_status check_steps(void *ctx, const char *name, const char *path) {
    static const char *const sets[] = {
        "space.c=4",         "space.n=1",  "train.batch=8",        "data.source=synthetic",
        "data.split=halves", "data.pad=1", "search.checkpoint_s=0"};
    cel_synthetic what = {
        .seed = 3, .n_train = 56, .n_test = 8, .n_classes = 4, .channels = 3, .height = 8, .width = 8};
    cel_conf *tree;
    cel_recipe *recipe;
    (void)name;
    cel_dataset *data;
    cel_search *search;
    int steps = 0;
    test_ok(cel_recipe_tree(path, &tree));
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) test_ok(cel_conf_set(tree, sets[i]));
    test_ok(cel_recipe_take(tree, &recipe));
    recipe->settings.search.stages[0].warmup = 0;
    test_ok(cel_dataset_synthetic(&what, &data));
    test_ok(cel_search_create(&recipe->settings, data, NULL, 1, &search));
    cel_search_observer observer = {.ctx = &steps, .step = stop_at_two};
    test_fails(cel_search_run(search, &observer), CEL_INTERRUPTED, "epoch 0 at step 2");
    cel_search_destroy(search);
    cel_dataset_destroy(data);
    cel_recipe_destroy(recipe);
    *(int *)ctx += 1;
    return CEL_OK;
}

static void settings(void **state) {
    (void)state;
    int n = 0;
    test_ok(cel_recipe_each(check_settings, &n));
    assert_true(n >= 15);
}

static void steps(void **state) {
    (void)state;
    int n = 0;
    test_ok(cel_recipe_each(check_steps, &n));
    assert_true(n >= 15);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(settings), cmocka_unit_test(steps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
