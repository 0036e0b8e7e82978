/* Running means over the images of an epoch. All fields are state: a checkpoint in the middle of an epoch saves them. */
#ifndef CEL_TRAIN_METER_H
#define CEL_TRAIN_METER_H
#include <stdint.h>

typedef struct cel_meter {
    double loss, correct, images; /* sums: loss times images, hits, images */
} cel_meter;
static inline void cel_meter_add(cel_meter *meter, double mean_loss, double correct, int images) {
    meter->loss += mean_loss * images;
    meter->correct += correct;
    meter->images += images;
}
/* 0 of no images. */
static inline double cel_meter_loss(const cel_meter *meter) { return meter->images ? meter->loss / meter->images : 0; }
/* Percent; 0 of no images. */
static inline double cel_meter_accuracy(const cel_meter *meter) {
    return meter->images ? 100 * meter->correct / meter->images : 0;
}
#endif
