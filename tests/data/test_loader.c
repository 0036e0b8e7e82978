/* data/loader: what a batch holds, every image once an epoch, exact resume from any place, two streams side by side, no allocation after the
 * start, an end in the middle. */
#define _GNU_SOURCE
#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "data/loader.h"
#include "support/test.h"

static cel_dataset *images(int n) {
    cel_dataset *d;
    cel_synthetic what = {
        .seed = 1, .n_train = n, .n_test = 30, .n_classes = 5, .channels = 3, .height = 12, .width = 10};
    test_ok(cel_dataset_synthetic(&what, &d));
    return d;
}

static void hash_batch(const cel_batch *b, size_t image, char hex[65]) {
    cel_sha256 sha;
    cel_sha256_init(&sha);
    cel_sha256_add(&sha, b->images, (size_t)b->n * image * sizeof *b->images);
    cel_sha256_add(&sha, b->labels, (size_t)b->n * sizeof *b->labels);
    cel_sha256_add(&sha, b->index, (size_t)b->n * sizeof *b->index);
    cel_sha256_hex(&sha, hex);
}

static cel_loader_conf usual(const cel_dataset *d) {
    return (cel_loader_conf){.name = "weights",
                             .seed = 7,
                             .data = d,
                             .batch = 16,
                             .order = CEL_ORDER_SHUFFLE,
                             .augment = {.pad = 2, .flip = true, .cutout = 4}};
}

static void a_batch_is_what_augment_makes(void **state) {
    (void)state;
    cel_dataset *d = images(50);
    cel_dataset_info info = cel_dataset_get_info(d);
    cel_loader_conf c = usual(d);
    cel_loader *l;
    test_ok(cel_loader_create(&c, &l));
    float scale[3], shift[3], *want = cel_alloc(3 * 12 * 10, sizeof *want);
    for (int k = 0; k < 3; k++)
        scale[k] = (float)(1 / (255 * info.std[k])), shift[k] = (float)(-info.mean[k] / info.std[k]);
    for (int step = 0; step < 9; step++) {
        cel_batch b;
        cel_loader_next(l, &b);
        assert_int_equal(b.epoch, step / 4);
        assert_int_equal(b.batch, step % 4);
        assert_int_equal(b.n, step % 4 == 3 ? 2 : 16);
        for (int i = 0; i < b.n; i++) {
            cel_rng rng = cel_rng_at(7, "augment/weights", (uint64_t)b.epoch, (uint64_t)(b.batch * 16 + i));
            cel_augment_draw draw = cel_augment_sample(&c.augment, 12, 10, &rng);
            cel_augment_apply(&c.augment, &draw, 3, 12, 10, scale, shift,
                              cel_dataset_image(d, CEL_PART_TRAIN, b.index[i]), want);
            assert_memory_equal(b.images + i * 360, want, 360 * sizeof *want);
            assert_int_equal(b.labels[i], cel_dataset_label(d, CEL_PART_TRAIN, b.index[i]));
        }
    }
    cel_loader_destroy(l);
    cel_free(want);
    cel_dataset_destroy(d);
}

static void each_image_once_an_epoch(void **state) {
    (void)state;
    cel_dataset *d = images(200);
    int32_t half[77];
    for (int i = 0; i < 77; i++) half[i] = 2 * i + 1;
    for (int drop = 0; drop < 2; drop++) {
        cel_loader_conf c = usual(d);
        c.index = half, c.n_index = 77, c.drop_last = drop;
        cel_loader *l;
        test_ok(cel_loader_create(&c, &l));
        assert_int_equal(cel_loader_batches(l), drop ? 4 : 5);
        int32_t order[3][80];
        for (int epoch = 0; epoch < 3; epoch++) {
            int seen[200] = {0}, n = 0;
            for (int k = 0; k < cel_loader_batches(l); k++) {
                cel_batch b;
                cel_loader_next(l, &b);
                assert_int_equal(b.epoch, epoch);
                for (int i = 0; i < b.n; i++) seen[b.index[i]]++, order[epoch][n++] = b.index[i];
            }
            assert_int_equal(n, drop ? 64 : 77);
            int found = 0;
            for (int i = 0; i < 77; i++) assert_true(seen[half[i]] <= 1), found += seen[half[i]];
            assert_int_equal(found, n);
        }
        assert_memory_not_equal(order[0], order[1], 64 * sizeof(int32_t));
        cel_loader_destroy(l);
    }
    cel_loader_conf c = usual(d);
    c.order = CEL_ORDER_FIXED, c.part = CEL_PART_TEST, c.augment = (cel_augment){0};
    cel_loader *l;
    test_ok(cel_loader_create(&c, &l));
    for (int k = 0; k < 4; k++) {
        cel_batch b;
        cel_loader_next(l, &b);
        assert_int_equal(b.n, k % 2 ? 14 : 16);
        for (int i = 0; i < b.n; i++) assert_int_equal(b.index[i], k % 2 * 16 + i);
    }
    cel_loader_destroy(l);
    cel_dataset_destroy(d);
}

/* Each batch of a fresh stream is a draw without replacement from all images: no repeats inside it, every image equally often, and every place of
 * the batch alike. */
static void fresh_batches_are_fair(void **state) {
    (void)state;
    cel_dataset *d = images(40);
    cel_loader_conf c = usual(d);
    c.order = CEL_ORDER_FRESH, c.batch = 8, c.augment = (cel_augment){0};
    cel_loader *l;
    test_ok(cel_loader_create(&c, &l));
    assert_int_equal(cel_loader_batches(l), 5);
    enum { STEPS = 8000 };
    int count[40] = {0}, first[40] = {0}, crossing = 0;
    for (int step = 0; step < STEPS; step++) {
        cel_batch b;
        cel_loader_next(l, &b);
        assert_int_equal(b.n, 8);
        uint64_t seen = 0;
        for (int i = 0; i < 8; i++) {
            assert_false(seen >> b.index[i] & 1);
            seen |= UINT64_C(1) << b.index[i];
            count[b.index[i]]++;
        }
        first[b.index[0]]++;
        static uint64_t before;
        if (step % 5) crossing += (before & seen) != 0; /* an epoch's batches overlap, unlike a shuffled stream's */
        before = seen;
    }
    for (int i = 0; i < 40; i++) {
        assert_true(abs(count[i] - STEPS / 5) < 5 * 36); /* sqrt(8000 * 0.2 * 0.8) = 36 */
        assert_true(abs(first[i] - STEPS / 40) < 5 * 14);
    }
    assert_true(crossing > STEPS / 2);
    cel_loader_destroy(l);
    cel_dataset_destroy(d);
}

/* From any (epoch, batch), with any depth, in any order of visits, the same bytes. */
static void resume_is_exact(void **state) {
    (void)state;
    cel_dataset *d = images(70);
    for (int order = CEL_ORDER_FIXED; order <= CEL_ORDER_FRESH; order++) {
        cel_loader_conf c = usual(d);
        c.order = (cel_order)order;
        cel_loader *l;
        test_ok(cel_loader_create(&c, &l));
        char want[20][65];
        int64_t at[20][2];
        for (int i = 0; i < 20; i++) {
            cel_batch b;
            cel_loader_tell(l, &at[i][0], &at[i][1]);
            cel_loader_next(l, &b);
            assert_int_equal(b.epoch, at[i][0]);
            assert_int_equal(b.batch, at[i][1]);
            hash_batch(&b, 360, want[i]);
            for (int k = 0; k < i; k++) assert_string_not_equal(want[i], want[k]);
        }
        for (int round = 0; round < 60; round++) {
            int i = round * 13 % 20;
            if (round % 7 == 0) { /* another process would have a loader of its own */
                cel_loader_destroy(l);
                c.depth = 1 + round % 5;
                test_ok(cel_loader_create(&c, &l));
            }
            test_ok(cel_loader_seek(l, at[i][0], at[i][1]));
            int64_t epoch, batch;
            cel_loader_tell(l, &epoch, &batch);
            assert_true(epoch == at[i][0] && batch == at[i][1]);
            for (int k = i; k < 20 && k < i + 1 + round % 4; k++) {
                cel_batch b;
                char got[65];
                cel_loader_next(l, &b);
                hash_batch(&b, 360, got);
                assert_string_equal(got, want[k]);
            }
        }
        test_fails(cel_loader_seek(l, 0, cel_loader_batches(l)), CEL_CONFIG, "batch of 0 to");
        test_fails(cel_loader_seek(l, -1, 0), CEL_CONFIG, "epoch");
        cel_loader_destroy(l);
    }
    cel_dataset_destroy(d);
}

static void streams_differ_by_name_and_seed(void **state) {
    (void)state;
    cel_dataset *d = images(64);
    char hex[4][65];
    for (int k = 0; k < 4; k++) {
        cel_loader_conf c = usual(d);
        if (k == 1) c.name = "arch";
        if (k == 2) c.seed = 8;
        cel_loader *l;
        cel_batch b;
        test_ok(cel_loader_create(&c, &l));
        cel_loader_next(l, &b);
        hash_batch(&b, 360, hex[k]);
        cel_loader_destroy(l);
    }
    assert_string_not_equal(hex[0], hex[1]);
    assert_string_not_equal(hex[0], hex[2]);
    assert_string_equal(hex[0], hex[3]);
    cel_dataset_destroy(d);
}

static void two_streams_without_an_allocation(void **state) {
    (void)state;
    cel_dataset *d = images(300);
    cel_loader_conf cw = usual(d), ca = usual(d);
    ca.name = "arch", ca.order = CEL_ORDER_FRESH;
    cel_loader *w, *a;
    test_ok(cel_loader_create(&cw, &w));
    test_ok(cel_loader_create(&ca, &a));
    uint64_t before = cel_mem_count();
    double sum = 0;
    for (int step = 0; step < 300; step++) {
        cel_batch bw, ba;
        cel_loader_next(w, &bw);
        cel_loader_next(a, &ba);
        for (int i = 0; i < ba.n * 360; i++) sum += ba.images[i];
        for (int i = 0; i < bw.n * 360; i++) sum += bw.images[i];
        if (step % 50 == 0) test_ok(cel_loader_seek(a, step, 3));
    }
    assert_true(isfinite(sum));
    assert_int_equal(cel_mem_count(), before);
    assert_true(cel_loader_waited_s(w) >= 0);
    cel_loader_destroy(w);
    cel_loader_destroy(a);
    cel_dataset_destroy(d);
}

static void ends_at_any_time(void **state) {
    (void)state;
    cel_dataset *d = images(100);
    for (int round = 0; round < 200; round++) {
        cel_loader_conf c = usual(d);
        c.depth = round % 6;
        cel_loader *l;
        test_ok(cel_loader_create(&c, &l));
        for (int k = 0; k < round % 9; k++) {
            cel_batch b;
            cel_loader_next(l, &b);
        }
        if (round % 3 == 0) test_ok(cel_loader_seek(l, round, 1));
        cel_loader_destroy(l);
    }
    cel_loader_destroy(NULL);
    cel_dataset_destroy(d);
}

static void wrong_settings(void **state) {
    (void)state;
    cel_dataset *d = images(50);
    cel_loader *l;
    cel_loader_conf c = usual(d);
    c.batch = 0;
    test_fails(cel_loader_create(&c, &l), CEL_CONFIG, "batch: expected 1");
    c = usual(d), c.depth = 65;
    test_fails(cel_loader_create(&c, &l), CEL_CONFIG, "depth");
    c = usual(d), c.augment.pad = -1;
    test_fails(cel_loader_create(&c, &l), CEL_CONFIG, "pad");
    c = usual(d), c.augment.cutout = -1;
    test_fails(cel_loader_create(&c, &l), CEL_CONFIG, "cutout");
    c = usual(d), c.name = "a name that is longer than any stream should have";
    test_fails(cel_loader_create(&c, &l), CEL_CONFIG, "at most 40");
    int32_t index[2] = {3, 50};
    c = usual(d), c.index = index, c.n_index = 2;
    test_fails(cel_loader_create(&c, &l), CEL_CONFIG, "index 1: expected 0 to 49, found 50");
    c.n_index = 0;
    test_fails(cel_loader_create(&c, &l), CEL_CONFIG, "images");
    c = usual(d), c.batch = 51, c.drop_last = true;
    test_fails(cel_loader_create(&c, &l), CEL_CONFIG, "less than one batch");
    c = usual(d), c.batch = 51, c.order = CEL_ORDER_FRESH;
    test_fails(cel_loader_create(&c, &l), CEL_CONFIG, "less than one batch");
    cel_dataset_destroy(d);
}

static void memory_may_run_out(void **state) {
    (void)state;
    cel_dataset *d = images(50);
    cel_loader_conf c = usual(d);
    cel_loader *l;
    cel_status status = CEL_NOMEM;
    int tries = 0;
    while (status == CEL_NOMEM) {
        assert_true(++tries < 30);
        cel_mem_fail_at((uint64_t)tries);
        status = cel_loader_create(&c, &l);
    }
    cel_mem_fail_at(0);
    test_ok(status);
    assert_true(tries > 3);
    cel_loader_destroy(l);
    cel_dataset_destroy(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_what_augment_makes),
        cmocka_unit_test(each_image_once_an_epoch),
        cmocka_unit_test(fresh_batches_are_fair),
        cmocka_unit_test(resume_is_exact),
        cmocka_unit_test(streams_differ_by_name_and_seed),
        cmocka_unit_test(two_streams_without_an_allocation),
        cmocka_unit_test(ends_at_any_time),
        cmocka_unit_test(wrong_settings),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
