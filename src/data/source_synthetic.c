/* Images computed from a seed. A class is a sum of a few plane waves per channel; an image is its class' pattern, moved by up to a quarter of a
 * wave, with pixel noise on top. */
#include <math.h>

#include "base/rng.h"
#include "data/source.h"

enum { WAVES = 3 };
static const double TAU = 6.283185307179586476925;

/* One image of a class: the waves' directions belong to the class, the shift and the noise to the image. */
static void draw(const cel_synthetic *w, int label, int part, int i, uint8_t *out) {
    cel_rng own = cel_rng_at(w->seed, "synthetic/image", (uint64_t)part, (uint64_t)i);
    double shift = 0.25 * TAU * cel_rng_uniform(&own);
    for (int c = 0; c < w->channels; c++) {
        cel_rng rng = cel_rng_at(w->seed, "synthetic/class", (uint64_t)label, (uint64_t)c);
        double ky[WAVES], kx[WAVES], phase[WAVES];
        for (int k = 0; k < WAVES; k++) {
            ky[k] = TAU * (cel_rng_uniform(&rng) * 6 - 3) / w->height;
            kx[k] = TAU * (cel_rng_uniform(&rng) * 6 - 3) / w->width;
            phase[k] = TAU * cel_rng_uniform(&rng) + shift;
        }
        for (int y = 0; y < w->height; y++)
            for (int x = 0; x < w->width; x++) {
                double v = 128 + 60 * (cel_rng_uniform(&own) - 0.5);
                for (int k = 0; k < WAVES; k++) v += 30 * sin(ky[k] * y + kx[k] * x + phase[k]);
                *out++ = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
    }
}

static cel_status fill(const cel_synthetic *w, cel_dataset *d) {
    int n[CEL_PART_COUNT] = {w->n_train, w->n_test};
    size_t bytes = cel_dataset_image_bytes(d);
    d->form = "synthetic";
    d->block_bytes = bytes * ((size_t)n[0] + (size_t)n[1]);
    d->block = cel_block_alloc(d->block_bytes);
    if (!d->block) return CEL_FAIL(CEL_NOMEM, "out of memory for %zu bytes of synthetic images", d->block_bytes);
    uint8_t *at = d->block;
    for (int part = 0; part < CEL_PART_COUNT; part++) {
        CEL_TRY(cel_dataset_reserve(d, (cel_part)part, n[part]));
        for (int i = 0; i < n[part]; i++, at += bytes) {
            draw(w, i % w->n_classes, part, i, at);
            cel_dataset_add(d, (cel_part)part, at, i % w->n_classes);
        }
    }
    return CEL_OK;
}

static const cel_synthetic usual = {
    .seed = 0, .n_train = 1000, .n_test = 200, .n_classes = 10, .channels = 3, .height = 32, .width = 32};

static cel_status open_usual(const cel_source *s, const char *path, cel_dataset *d) {
    (void)s, (void)path;
    return fill(&usual, d);
}

const cel_source cel_source_synthetic = {
    .name = "synthetic",
    .about = "1,000 + 200 computed images of 32 x 32, 10 classes, for trials",
    .channels = 3,
    .height = 32,
    .width = 32,
    .n_classes = 10,
    .computed = true,
    .open = open_usual,
};

cel_status cel_dataset_synthetic(const cel_synthetic *w, cel_dataset **out) {
    const struct {
        const char *name;
        int value, least, most;
    } checks[] = {{"n_train", w->n_train, 1, 1 << 20},  {"n_test", w->n_test, 1, 1 << 20},
                  {"n_classes", w->n_classes, 2, 1000}, {"channels", w->channels, 1, 4},
                  {"height", w->height, 1, 512},        {"width", w->width, 1, 512}};
    for (size_t i = 0; i < CEL_COUNT(checks); i++)
        if (checks[i].value < checks[i].least || checks[i].value > checks[i].most)
            return CEL_FAIL(CEL_CONFIG, "synthetic images: %s: expected %d to %d, found %d", checks[i].name,
                            checks[i].least, checks[i].most, checks[i].value);
    cel_source shape = cel_source_synthetic;
    shape.channels = w->channels, shape.height = w->height, shape.width = w->width, shape.n_classes = w->n_classes;
    cel_dataset *d = NULL;
    CEL_TRY(cel_dataset_begin(&shape, "", &d));
    cel_status status = fill(w, d);
    if (status == CEL_OK) status = cel_dataset_finish(d);
    if (status == CEL_OK)
        *out = d;
    else
        cel_dataset_destroy(d);
    return status;
}
