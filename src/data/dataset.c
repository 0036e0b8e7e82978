#include "data/dataset.h"

#include <math.h>
#include <stdio.h>

#include "base/sha256.h"
#include "data/fileset.h"

size_t cel_dataset_image_bytes(const cel_dataset *d) {
    return (size_t)d->channels * (size_t)d->height * (size_t)d->width;
}

cel_status cel_dataset_reserve(cel_dataset *d, cel_part part, int n) {
    cel_images *p = &d->part[part];
    int need;
    if (__builtin_add_overflow(p->n, n, &need)) return CEL_FAIL(CEL_FORMAT, "%s: more than 2147483647 images", d->path);
    if (need <= p->room) return CEL_OK;
    size_t old = (size_t)p->room, now = (size_t)need;
    const uint8_t **pixels = cel_realloc(p->pixels, old, now, sizeof *pixels);
    if (pixels) p->pixels = pixels;
    int32_t *label = pixels ? cel_realloc(p->label, old, now, sizeof *label) : NULL;
    if (!label) return CEL_FAIL(CEL_NOMEM, "%s: out of memory for %d images", d->path, need);
    p->label = label;
    p->room = need;
    return CEL_OK;
}

void cel_dataset_add(cel_dataset *d, cel_part part, const uint8_t *pixels, int label) {
    cel_images *p = &d->part[part];
    p->pixels[p->n] = pixels;
    p->label[p->n++] = label;
}

/* In whole numbers, so that no order of summation shows. */
static cel_status measure(cel_dataset *d) {
    const cel_images *train = &d->part[CEL_PART_TRAIN];
    size_t plane = (size_t)d->height * (size_t)d->width;
    for (int c = 0; c < d->channels; c++) {
        uint64_t sum = 0, squares = 0;
        for (int i = 0; i < train->n; i++) {
            const uint8_t *p = train->pixels[i] + (size_t)c * plane;
            uint32_t s = 0;
            uint64_t q = 0;
            for (size_t k = 0; k < plane; k++) s += p[k]; /* sides up to 512: far from overflow */
            for (size_t k = 0; k < plane; k++) q += (uint32_t)p[k] * p[k];
            sum += s;
            squares += q;
        }
        double n = (double)plane * train->n, mean = (double)sum / n;
        double variance = (double)squares / n - mean * mean;
        if (variance < 1e-6)
            return CEL_FAIL(CEL_FORMAT, "%s: channel %d has one value in all %d training images: expected pictures",
                            d->path, c, train->n);
        d->mean[c] = mean / 255;
        d->std[c] = sqrt(variance) / 255;
    }
    return CEL_OK;
}

static void hash(cel_dataset *d) {
    cel_sha256 sha;
    char head[160];
    cel_sha256_init(&sha);
    int n = snprintf(head, sizeof head, "cellar images 1: %d x %d x %d, %d classes, %d + %d\n", d->channels, d->height,
                     d->width, d->n_classes, d->part[0].n, d->part[1].n);
    cel_sha256_add(&sha, head, (size_t)n);
    for (int part = 0; part < CEL_PART_COUNT; part++)
        for (int i = 0; i < d->part[part].n; i++) {
            int label = d->part[part].label[i];
            cel_sha256_add(&sha, (uint8_t[2]){(uint8_t)label, (uint8_t)(label >> 8)}, 2);
            cel_sha256_add(&sha, d->part[part].pixels[i], cel_dataset_image_bytes(d));
        }
    cel_sha256_hex(&sha, d->sha256);
}

cel_status cel_dataset_finish(cel_dataset *d) {
    for (int part = 0; part < CEL_PART_COUNT; part++)
        if (d->part[part].n == 0)
            return CEL_FAIL(CEL_FORMAT, "%s: no %s images; expected at least one: fetch the data set again", d->path,
                            part == CEL_PART_TRAIN ? "training" : "test");
    if (!d->class_name) {
        d->class_name = cel_arena_alloc(&d->arena, (size_t)d->n_classes, sizeof *d->class_name);
        bool whole = d->class_name;
        for (int i = 0; whole && i < d->n_classes; i++) {
            d->class_name[i] = cel_arena_printf(&d->arena, "%d", i);
            whole = d->class_name[i];
        }
        if (!whole) return CEL_FAIL(CEL_NOMEM, "out of memory for %d class names", d->n_classes);
    }
    CEL_TRY(measure(d));
    hash(d);
    return CEL_OK;
}

void cel_dataset_destroy(cel_dataset *d) {
    if (!d) return;
    for (int part = 0; part < CEL_PART_COUNT; part++) {
        cel_free(d->part[part].pixels);
        cel_free(d->part[part].label);
    }
    cel_fileset_close(d->files);
    if (d->block) cel_block_free(d->block, d->block_bytes);
    cel_arena_fini(&d->arena);
    cel_free(d);
}

cel_dataset_info cel_dataset_get_info(const cel_dataset *d) {
    return (cel_dataset_info){
        .name = d->name,
        .path = d->path,
        .form = d->form,
        .n_images = {d->part[CEL_PART_TRAIN].n, d->part[CEL_PART_TEST].n},
        .channels = d->channels,
        .height = d->height,
        .width = d->width,
        .n_classes = d->n_classes,
        .class_names = d->class_name,
        .mean = d->mean,
        .std = d->std,
        .sha256 = d->sha256,
    };
}

const uint8_t *cel_dataset_image(const cel_dataset *d, cel_part part, int i) { return d->part[part].pixels[i]; }
int cel_dataset_label(const cel_dataset *d, cel_part part, int i) { return d->part[part].label[i]; }
