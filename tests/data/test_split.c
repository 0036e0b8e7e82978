/* data/split: halves, the official lists, random halves, limits; malformed lists. */
#include "base/mem.h"
#include "data/dataset.h"
#include "data/source.h"
#include "data/split.h"
#include "support/test.h"

/* A data set of the right size with the name of another, whose images are all the same few. */
static cel_dataset *fake(const char *name, int n_train, int n_test, int classes) {
    cel_source source = {.name = name, .channels = 1, .height = 2, .width = 2, .n_classes = classes};
    cel_dataset *d;
    static const uint8_t pixels[2][4] = {{0, 1, 2, 3}, {9, 200, 7, 6}};
    test_ok(cel_dataset_begin(&source, "", &d));
    test_ok(cel_dataset_reserve(d, CEL_PART_TRAIN, n_train));
    test_ok(cel_dataset_reserve(d, CEL_PART_TEST, n_test));
    for (int i = 0; i < n_train; i++) cel_dataset_add(d, CEL_PART_TRAIN, pixels[i % 2], i * 7 % classes);
    for (int i = 0; i < n_test; i++) cel_dataset_add(d, CEL_PART_TEST, pixels[i % 2], i % classes);
    test_ok(cel_dataset_finish(d));
    return d;
}

static void check_disjoint(const cel_split *s, int n_all) {
    uint8_t *seen = cel_alloc((size_t)n_all, 1);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < s->n[k]; i++) {
            assert_in_range(s->index[k][i], 0, n_all - 1);
            assert_int_equal(seen[s->index[k][i]]++, 0);
            if (i) assert_true(s->index[k][i] > s->index[k][i - 1]);
        }
    cel_free(seen);
}

static void halves_in_index_order(void **state) {
    (void)state;
    cel_dataset *d = fake("cifar10", 101, 10, 10);
    cel_split s;
    test_ok(cel_split_init(d, &(cel_split_conf){.kind = CEL_SPLIT_HALVES}, &s));
    assert_int_equal(s.part, CEL_PART_TRAIN);
    assert_int_equal(s.n[0], 50);
    assert_int_equal(s.n[1], 51);
    for (int i = 0; i < 101; i++) assert_int_equal(i < 50 ? s.index[0][i] : s.index[1][i - 50], i);
    cel_split_fini(&s);
    test_ok(cel_split_init(d, &(cel_split_conf){.kind = CEL_SPLIT_HALVES, .limit = 20}, &s));
    assert_int_equal(s.n[0] + s.n[1], 20);
    assert_int_equal(s.index[1][9], 19);
    cel_split_fini(&s);
    test_ok(cel_split_init(d, &(cel_split_conf){.kind = CEL_SPLIT_HALVES, .limit_per_class = 3}, &s));
    assert_int_equal(s.n[0] + s.n[1], 30);
    int per_class[10] = {0};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < s.n[k]; i++) per_class[cel_dataset_label(d, CEL_PART_TRAIN, s.index[k][i])]++;
    for (int c = 0; c < 10; c++) assert_int_equal(per_class[c], 3);
    check_disjoint(&s, 101);
    cel_split_fini(&s);
    cel_dataset_destroy(d);
}

static void random_halves_repeat(void **state) {
    (void)state;
    cel_dataset *d = fake("anything", 1000, 10, 10);
    cel_split a, b, c;
    test_ok(cel_split_init(d, &(cel_split_conf){.kind = CEL_SPLIT_RANDOM, .seed = 1}, &a));
    test_ok(cel_split_init(d, &(cel_split_conf){.kind = CEL_SPLIT_RANDOM, .seed = 1}, &b));
    test_ok(cel_split_init(d, &(cel_split_conf){.kind = CEL_SPLIT_RANDOM, .seed = 2}, &c));
    assert_int_equal(a.n[0], 500);
    assert_int_equal(a.n[1], 500);
    check_disjoint(&a, 1000);
    assert_memory_equal(a.index[0], b.index[0], 500 * sizeof(int32_t));
    assert_memory_not_equal(a.index[0], c.index[0], 500 * sizeof(int32_t));
    int low = 0;
    for (int i = 0; i < 500; i++) low += a.index[0][i] < 500;
    assert_in_range(low, 200, 300); /* 250, deviation 8 */
    cel_split_fini(&a);
    cel_split_fini(&b);
    cel_split_fini(&c);
    cel_dataset_destroy(d);
}

static void official_lists(void **state) {
    (void)state;
    static const struct {
        const char *name;
        cel_split_kind kind;
        int n_train, n_test, half, first[2];
    } cases[] = {
        {"cifar10", CEL_SPLIT_NB201, 50000, 10, 25000, {0, 1}},
        {"cifar100", CEL_SPLIT_NB201, 50000, 10, 25000, {0, 1}},
        {"imagenet16-120", CEL_SPLIT_NB201, 151700, 10, 75850, {1, 0}},
        {"cifar100", CEL_SPLIT_NB201_TEST, 10, 10000, 5000, {1, 0}},
        {"imagenet16-120", CEL_SPLIT_NB201_TEST, 10, 6000, 3000, {1, 0}},
    };
    for (size_t i = 0; i < CEL_COUNT(cases); i++) {
        cel_dataset *d = fake(cases[i].name, cases[i].n_train, cases[i].n_test, 2);
        cel_split s;
        test_ok(cel_split_init(d, &(cel_split_conf){.kind = cases[i].kind}, &s));
        assert_int_equal(s.part, cases[i].kind == CEL_SPLIT_NB201 ? CEL_PART_TRAIN : CEL_PART_TEST);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(s.n[k], cases[i].half);
            assert_int_equal(s.index[k][0], cases[i].first[k]);
        }
        check_disjoint(&s, 2 * cases[i].half);
        cel_split_fini(&s);
        test_ok(cel_split_init(d, &(cel_split_conf){.kind = cases[i].kind, .limit = 8}, &s));
        assert_int_equal(s.n[0] + s.n[1], 8);
        cel_split_fini(&s);
        cel_dataset_destroy(d);
    }
}

static void wrong_wishes(void **state) {
    (void)state;
    cel_split s;
    cel_dataset *mini = fake("cifar10-mini", 100, 100, 10), *part = fake("cifar10", 100, 100, 10);
    test_fails(cel_split_init(mini, &(cel_split_conf){.kind = CEL_SPLIT_NB201}, &s), CEL_CONFIG, "has no nb201 list");
    test_fails(cel_split_init(part, &(cel_split_conf){.kind = CEL_SPLIT_NB201_TEST}, &s), CEL_CONFIG,
               "cifar100 or imagenet16-120");
    test_fails(cel_split_init(part, &(cel_split_conf){.kind = CEL_SPLIT_NB201}, &s), CEL_SHAPE,
               "50000 training images, found 100");
    test_fails(cel_split_init(part, &(cel_split_conf){.limit = 101}, &s), CEL_CONFIG, "1 to 100");
    test_fails(cel_split_init(part, &(cel_split_conf){.limit = -1}, &s), CEL_CONFIG, "limit");
    test_fails(cel_split_init(part, &(cel_split_conf){.limit = 5, .limit_per_class = 5}, &s), CEL_CONFIG, "one limit");
    test_fails(cel_split_init(part, &(cel_split_conf){.limit_per_class = 11}, &s), CEL_CONFIG, "only 10 images");
    test_fails(cel_split_init(part, &(cel_split_conf){.limit = 1}, &s), CEL_CONFIG, "larger limit");
    test_fails(cel_split_init(part, &(cel_split_conf){.kind = CEL_SPLIT_KIND_COUNT}, &s), CEL_CONFIG,
               "expected halves");
    assert_null(cel_split_kind_name(CEL_SPLIT_KIND_COUNT));
    for (int k = 0; k < CEL_SPLIT_KIND_COUNT; k++) assert_non_null(cel_split_kind_name((cel_split_kind)k));
    cel_dataset_destroy(mini);
    cel_dataset_destroy(part);
}

static void malformed_lists(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "end of the file"},
        {"train", "expected a number"},
        {"train x", "other text"},
        {"train 2\n0 1\n", "line 3: expected the name"},
        {"train 2\n0\nvalid 1\n1\n", "line 3: expected a number"},
        {"train 2\n1 0\nvalid 1\n2\n", "ascending"},
        {"train 2\n0 0\nvalid 1\n1\n", "ascending"},
        {"train 2\n0 1\nvalid 2\n1 2\n", "image 1 is in both"},
        {"train 2\n0 1\nvalid 1\n3\n", "image 2 is in neither"},
        {"train 1\n0\nvalid 1\n1\nmore", "line 5: expected the end"},
        {"train 99999999999999999999\n0", "larger one"},
        {"train 16777216\n0", "cut off"},
        {"train 1\n-1\nvalid 1\n0", "other text"},
    };
    for (size_t i = 0; i < CEL_COUNT(cases); i++) {
        cel_split s;
        test_fails(cel_split_parse("list.txt", cases[i].text, strlen(cases[i].text), &s), CEL_FORMAT, cases[i].part);
        assert_non_null(strstr(cel_status_message(), "list.txt"));
    }
}

static void memory_may_run_out(void **state) {
    (void)state;
    for (int kind = 0; kind < CEL_SPLIT_KIND_COUNT; kind++) {
        cel_dataset *d = fake("cifar100", 50000, 10000, 10);
        cel_split s;
        cel_status status = CEL_NOMEM;
        int tries = 0;
        while (status == CEL_NOMEM) {
            assert_true(++tries < 60);
            cel_mem_fail_at((uint64_t)tries);
            status = cel_split_init(d, &(cel_split_conf){.kind = (cel_split_kind)kind}, &s);
        }
        cel_mem_fail_at(0);
        test_ok(status);
        assert_true(tries > 4);
        cel_split_fini(&s);
        cel_dataset_destroy(d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_in_index_order), cmocka_unit_test(random_halves_repeat),
        cmocka_unit_test(official_lists),        cmocka_unit_test(wrong_wishes),
        cmocka_unit_test(malformed_lists),       cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
