/* Training augmentation of one image: zero padding and random crop, random horizontal flip, normalisation, cutout
 * (DeVries and Taylor 2017, arXiv:1708.04552), in the order of torchvision's usual CIFAR pipeline: the raw image is padded
 * with black, then normalised, then cutout writes zeros (the mean colour).
 *
 * The draws of one image come from one stream, cel_rng_at(seed, name, epoch, position): the result depends on nothing else. */
#ifndef CEL_DATA_AUGMENT_H
#define CEL_DATA_AUGMENT_H
#include "base/rng.h"
#include "cellar/data.h"

typedef struct cel_augment {
    int pad;    /* crop from the image padded by so many pixels on each side; 0 = no crop */
    bool flip;  /* mirror with probability 1/2 */
    int cutout; /* side of the square that is blanked; 0 = none */
} cel_augment;

/* The geometry that was drawn. Offsets are 0 .. 2*pad (pad = the image itself). */
typedef struct cel_augment_draw {
    int dy, dx;
    bool flip;
    int y1, y2, x1, x2; /* the blanked box, ends exclusive; empty when there is none */
} cel_augment_draw;

/* Always takes the same number of words from `rng`, whatever is switched on, but for rejected ones. */
cel_augment_draw cel_augment_sample(const cel_augment *augment, int height, int width, cel_rng *rng);
/* The box of a cutout of side `length` centred at (cy, cx): y1 = max(cy - length/2, 0), y2 = min(cy + length/2, height). */
void cel_augment_box(int height, int width, int length, int cy, int cx, int box[4] /* y1 y2 x1 x2 */);
/* out[c][y][x] = (pixel / 255 - mean[c]) / std[c] of the transformed image. scale = 1/(255 std), shift = -mean/std. */
void cel_augment_apply(const cel_augment *augment, const cel_augment_draw *draw, int channels, int height, int width,
                       const float *scale, const float *shift, const uint8_t *image, float *out);
#endif
