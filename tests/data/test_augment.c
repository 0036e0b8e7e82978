/* data/augment: cutout boxes against golden numbers, the pipeline against a slow copy of its definition, the draws' distribution. */
#include "base/mem.h"
#include "data/augment.h"
#include "support/test.h"

static void cutout_boxes_are_golden(void **state) {
    (void)state;
    test_csv *csv = test_csv_open("golden/cutout.csv");
    for (int r = 0; r < csv->n_rows; r++) {
        int box[4];
        cel_augment_box((int)test_csv_number(csv, r, "height"), (int)test_csv_number(csv, r, "width"),
                        (int)test_csv_number(csv, r, "length"), (int)test_csv_number(csv, r, "cy"),
                        (int)test_csv_number(csv, r, "cx"), box);
        assert_int_equal(box[0], (int)test_csv_number(csv, r, "y1"));
        assert_int_equal(box[1], (int)test_csv_number(csv, r, "y2_exclusive"));
        assert_int_equal(box[2], (int)test_csv_number(csv, r, "x1"));
        assert_int_equal(box[3], (int)test_csv_number(csv, r, "x2_exclusive"));
    }
    test_csv_close(csv);
}

/* Pad with black, crop, mirror, to [0, 1], normalise, blank: one pixel at a time, in double. */
static double slow(const cel_augment *a, const cel_augment_draw *d, int h, int w, double mean, double std,
                   const uint8_t *plane, int y, int x) {
    if (y >= d->y1 && y < d->y2 && x >= d->x1 && x < d->x2) return 0;
    int cropped_x = d->flip ? w - 1 - x : x;
    int from_y = y + d->dy - a->pad, from_x = cropped_x + d->dx - a->pad;
    double v = from_y < 0 || from_y >= h || from_x < 0 || from_x >= w ? 0 : plane[from_y * w + from_x];
    return (v / 255 - mean) / std;
}

static void every_pixel_is_where_it_belongs(void **state) {
    (void)state;
    static const int sizes[][2] = {{32, 32}, {16, 16}, {5, 7}, {1, 1}, {3, 20}};
    static const double mean[3] = {0.4914, 0.4822, 0.4465}, std[3] = {0.2470, 0.2435, 0.2616};
    float scale[3], shift[3];
    for (int c = 0; c < 3; c++) scale[c] = (float)(1 / (255 * std[c])), shift[c] = (float)(-mean[c] / std[c]);
    for (size_t s = 0; s < CEL_COUNT(sizes); s++) {
        int h = sizes[s][0], w = sizes[s][1];
        size_t n = (size_t)(3 * h * w);
        uint8_t *image = cel_alloc(n, 1); /* exactly as long as it is, for the sanitizer */
        float *out = cel_alloc(n, sizeof *out);
        cel_rng noise = cel_rng_at(1, "image", s, 0);
        for (size_t i = 0; i < n; i++) image[i] = (uint8_t)cel_rng_u32(&noise);
        for (int round = 0; round < 300; round++) {
            cel_augment a = {.pad = round % 4 * 3, .flip = round % 3 != 0, .cutout = round % 5 * 3};
            cel_rng rng = cel_rng_at(9, "draw", s, (uint64_t)round);
            cel_augment_draw d = cel_augment_sample(&a, h, w, &rng);
            cel_augment_apply(&a, &d, 3, h, w, scale, shift, image, out);
            for (int c = 0; c < 3; c++)
                for (int y = 0; y < h; y++)
                    for (int x = 0; x < w; x++)
                        test_close(out[(c * h + y) * w + x],
                                   slow(&a, &d, h, w, mean[c], std[c], image + c * h * w, y, x), 2e-6, 2e-6, "pixel");
        }
        cel_free(image);
        cel_free(out);
    }
}

static void draws_have_their_distribution(void **state) {
    (void)state;
    cel_augment a = {.pad = 4, .flip = true, .cutout = 16};
    enum { N = 40000 };
    int dy[9] = {0}, dx[9] = {0}, flips = 0, whole = 0;
    for (int i = 0; i < N; i++) {
        cel_rng rng = cel_rng_at(5, "augment", 0, (uint64_t)i);
        cel_augment_draw d = cel_augment_sample(&a, 32, 32, &rng);
        assert_in_range(d.dy, 0, 8);
        assert_in_range(d.dx, 0, 8);
        dy[d.dy]++, dx[d.dx]++;
        flips += d.flip;
        whole += d.y2 - d.y1 == 16 && d.x2 - d.x1 == 16;
    }
    for (int k = 0; k < 9; k++)
        assert_true(fabs(dy[k] - N / 9.0) < 330 && fabs(dx[k] - N / 9.0) < 330); /* five deviations */
    assert_true(fabs(flips - N / 2.0) < 500);
    test_close((double)whole / N, 17.0 / 32 * 17 / 32, 0, 0.0125, "share of whole boxes");
}

static void switched_off_is_the_image(void **state) {
    (void)state;
    cel_augment none = {0};
    for (int i = 0; i < 100; i++) {
        cel_rng rng = cel_rng_at(5, "augment", 0, (uint64_t)i);
        cel_augment_draw d = cel_augment_sample(&none, 8, 8, &rng);
        assert_true(d.dy == 0 && d.dx == 0 && !d.flip && d.y1 == d.y2);
    }
    /* what is on does not change the others' draws */
    for (int i = 0; i < 100; i++) {
        cel_augment one = {.pad = 4, .flip = true}, two = {.pad = 4, .flip = true, .cutout = 8};
        cel_rng r1 = cel_rng_at(5, "augment", 0, (uint64_t)i), r2 = r1;
        cel_augment_draw d1 = cel_augment_sample(&one, 32, 32, &r1), d2 = cel_augment_sample(&two, 32, 32, &r2);
        assert_true(d1.dy == d2.dy && d1.dx == d2.dx && d1.flip == d2.flip);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cutout_boxes_are_golden),
        cmocka_unit_test(every_pixel_is_where_it_belongs),
        cmocka_unit_test(draws_have_their_distribution),
        cmocka_unit_test(switched_off_is_the_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
