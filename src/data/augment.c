#include "data/augment.h"

cel_augment_draw cel_augment_sample(const cel_augment *a, int height, int width, cel_rng *rng) {
    cel_augment_draw d = {.dy = a->pad, .dx = a->pad};
    uint32_t side = 2 * (uint32_t)a->pad + 1;
    uint32_t dy = cel_rng_below(rng, side), dx = cel_rng_below(rng, side), flip = cel_rng_below(rng, 2);
    uint32_t cy = cel_rng_below(rng, (uint32_t)height), cx = cel_rng_below(rng, (uint32_t)width);
    if (a->pad) d.dy = (int)dy, d.dx = (int)dx;
    d.flip = a->flip && flip;
    if (a->cutout) {
        int box[4];
        cel_augment_box(height, width, a->cutout, (int)cy, (int)cx, box);
        d.y1 = box[0], d.y2 = box[1], d.x1 = box[2], d.x2 = box[3];
    }
    return d;
}

static int clamp(int v, int most) { return v < 0 ? 0 : v > most ? most : v; }

void cel_augment_box(int height, int width, int length, int cy, int cx, int box[4]) {
    int half = length / 2;
    box[0] = clamp(cy - half, height), box[1] = clamp(cy + half, height);
    box[2] = clamp(cx - half, width), box[3] = clamp(cx + half, width);
}

/* One row: `n` pixels of the image from column x0 on, black beside them. The plain loops vectorise. */
static void row_forward(float *restrict out, const uint8_t *restrict in, int x0, int n, int width, float scale,
                        float shift) {
    for (int x = 0; x < x0; x++) out[x] = shift;
    for (int x = 0; x < n; x++) out[x0 + x] = (float)in[x] * scale + shift;
    for (int x = x0 + n; x < width; x++) out[x] = shift;
}

static void row_mirrored(float *restrict out, const uint8_t *restrict in, int x0, int n, int width, float scale,
                         float shift) {
    float *last = out + width - 1 - x0;
    for (int x = 0; x < x0; x++) out[width - 1 - x] = shift;
    for (int x = 0; x < n; x++) last[-x] = (float)in[x] * scale + shift;
    for (int x = x0 + n; x < width; x++) out[width - 1 - x] = shift;
}

void cel_augment_apply(const cel_augment *a, const cel_augment_draw *d, int channels, int height, int width,
                       const float *scale, const float *shift, const uint8_t *image, float *out) {
    int up = d->dy - a->pad, left = d->dx - a->pad; /* out(y, x) = image(y + up, x + left) */
    int x0 = left < 0 ? clamp(-left, width) : 0;
    int n = width - (left < 0 ? -left : left);
    if (n < 0) n = 0;
    for (int c = 0; c < channels; c++) {
        const uint8_t *plane = image + (size_t)c * (size_t)height * (size_t)width;
        float *to = out + (size_t)c * (size_t)height * (size_t)width;
        for (int y = 0; y < height; y++, to += width) {
            int from = y + up;
            bool inside = from >= 0 && from < height && n > 0;
            const uint8_t *in = inside ? plane + (size_t)from * (size_t)width + (left > 0 ? left : 0) : plane;
            (d->flip ? row_mirrored : row_forward)(to, in, inside ? x0 : width, inside ? n : 0, width, scale[c],
                                                   shift[c]);
        }
        for (int y = d->y1; y < d->y2; y++)
            for (int x = d->x1; x < d->x2; x++) to[(y - height) * width + x] = 0;
    }
}
