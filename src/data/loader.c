#define _GNU_SOURCE
#include "data/loader.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

enum { MAX_NAME = 40, MAX_DEPTH = 64, USUAL_DEPTH = 4, MAX_BATCH = 1 << 20, MAX_CHANNELS = 4 };

typedef struct slot {
    float *images;
    int32_t *labels, *index;
    int n;
    int64_t epoch, batch;
} slot;

struct cel_loader {
    /* fixed after create */
    const cel_dataset *data;
    cel_part part;
    cel_order order;
    cel_augment augment;
    uint64_t seed;
    char order_stream[MAX_NAME + 16], augment_stream[MAX_NAME + 16];
    int channels, height, width;
    float scale[MAX_CHANNELS], shift[MAX_CHANNELS];
    int n_images, batch, n_batches, depth;
    slot *slot;
    float *pixels; /* of all slots */
    size_t pixel_bytes;
    int32_t *numbers;    /* labels and indices of all slots, then `list`, `shuffled` */
    const int32_t *list; /* the images, as given */

    /* the thread's own; handed over by `filling` in a seek */
    int32_t *shuffled;      /* SHUFFLE: this epoch's order. FRESH: `list`, restored after each batch */
    int32_t *swapped;       /* FRESH: which places a batch exchanged */
    int64_t shuffled_epoch; /* -1 = none */

    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t made, freed;
    int64_t n_made, n_taken;        /* batches made and handed out since the last seek; slot = number % depth */
    bool holding;                   /* the caller holds batch n_taken - 1 */
    bool filling, stop, stay;       /* stay: a seek waits for the thread to hold still */
    int64_t epoch, batch_at;        /* what the thread makes next */
    int64_t next_epoch, next_batch; /* what the caller gets next */
    double waited_s;
    pthread_t thread;
};

/* Puts the images of batch `b` of epoch `e` at the head of the returned list. */
static const int32_t *order_batch(cel_loader *l, int64_t e, int64_t b, int n) {
    if (l->order == CEL_ORDER_FIXED) return l->list + b * l->batch;
    if (l->order == CEL_ORDER_SHUFFLE) {
        if (l->shuffled_epoch != e) {
            cel_rng rng = cel_rng_at(l->seed, l->order_stream, (uint64_t)e, 0);
            memcpy(l->shuffled, l->list, (size_t)l->n_images * sizeof *l->list);
            cel_rng_shuffle(&rng, l->shuffled, (size_t)l->n_images);
            l->shuffled_epoch = e;
        }
        return l->shuffled + b * l->batch;
    }
    /* The first n steps of a Fisher-Yates shuffle from the front: n draws without replacement, whatever the size of the list. */
    cel_rng rng = cel_rng_at(l->seed, l->order_stream, (uint64_t)e, (uint64_t)b);
    for (int i = 0; i < n; i++) {
        int j = i + (int)cel_rng_below(&rng, (uint32_t)(l->n_images - i));
        int32_t t = l->shuffled[i];
        l->shuffled[i] = l->shuffled[j];
        l->shuffled[j] = t;
        l->swapped[i] = j;
    }
    return l->shuffled;
}

static void undo_fresh(cel_loader *l, int n) {
    for (int i = n - 1; i >= 0; i--) {
        int j = l->swapped[i];
        int32_t t = l->shuffled[i];
        l->shuffled[i] = l->shuffled[j];
        l->shuffled[j] = t;
    }
}

static void fill(cel_loader *l, slot *s, int64_t e, int64_t b) {
    int64_t first = b * l->batch, left = l->n_images - first;
    int n = l->order != CEL_ORDER_FRESH && left < l->batch ? (int)left : l->batch;
    const int32_t *from = order_batch(l, e, b, n);
    size_t image = (size_t)l->channels * (size_t)l->height * (size_t)l->width;
    for (int i = 0; i < n; i++) {
        cel_rng rng = cel_rng_at(l->seed, l->augment_stream, (uint64_t)e, (uint64_t)(first + i));
        cel_augment_draw draw = cel_augment_sample(&l->augment, l->height, l->width, &rng);
        cel_augment_apply(&l->augment, &draw, l->channels, l->height, l->width, l->scale, l->shift,
                          cel_dataset_image(l->data, l->part, from[i]), s->images + (size_t)i * image);
        s->index[i] = from[i];
        s->labels[i] = cel_dataset_label(l->data, l->part, from[i]);
    }
    if (l->order == CEL_ORDER_FRESH) undo_fresh(l, n);
    s->n = n;
    s->epoch = e;
    s->batch = b;
}

static bool full(const cel_loader *l) { return l->n_made - l->n_taken + l->holding >= l->depth; }

static void *make_batches(void *arg) {
    cel_loader *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && (l->stay || full(l))) pthread_cond_wait(&l->freed, &l->lock);
        if (l->stop) break;
        slot *s = &l->slot[l->n_made % l->depth];
        int64_t e = l->epoch, b = l->batch_at;
        l->filling = true;
        pthread_mutex_unlock(&l->lock);
        fill(l, s, e, b);
        pthread_mutex_lock(&l->lock);
        l->filling = false;
        l->n_made++;
        if (++l->batch_at == l->n_batches) l->batch_at = 0, l->epoch++;
        pthread_cond_signal(&l->made);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static cel_status check(const cel_loader_conf *c, int n_images, int part_images) {
    const struct {
        const char *name;
        int value, least, most;
    } ranges[] = {
        {"batch", c->batch, 1, MAX_BATCH},      {"depth", c->depth, 0, MAX_DEPTH},  {"pad", c->augment.pad, 0, 512},
        {"cutout", c->augment.cutout, 0, 1024}, {"images", n_images, 1, INT32_MAX},
    };
    if (strlen(c->name) > MAX_NAME)
        return CEL_FAIL(CEL_CONFIG, "stream %s: expected a name of at most %d bytes", c->name, MAX_NAME);
    for (size_t i = 0; i < CEL_COUNT(ranges); i++)
        if (ranges[i].value < ranges[i].least || ranges[i].value > ranges[i].most)
            return CEL_FAIL(CEL_CONFIG, "stream %s: %s: expected %d to %d, found %d", c->name, ranges[i].name,
                            ranges[i].least, ranges[i].most, ranges[i].value);
    for (int i = 0; c->index && i < n_images; i++)
        if (c->index[i] < 0 || c->index[i] >= part_images)
            return CEL_FAIL(CEL_CONFIG, "stream %s: index %d: expected 0 to %d, found %d", c->name, i, part_images - 1,
                            c->index[i]);
    if (n_images < c->batch && (c->drop_last || c->order == CEL_ORDER_FRESH))
        return CEL_FAIL(CEL_CONFIG,
                        "stream %s: %d images are less than one batch of %d; take a smaller batch or more images",
                        c->name, n_images, c->batch);
    return CEL_OK;
}

/* Slots, lists and streams; what was made is freed by cel_loader_destroy. */
static cel_status prepare(cel_loader *l, const cel_loader_conf *c, int n_images) {
    cel_dataset_info info = cel_dataset_get_info(c->data);
    l->data = c->data, l->part = c->part, l->order = c->order, l->augment = c->augment, l->seed = c->seed;
    l->channels = info.channels, l->height = info.height, l->width = info.width;
    for (int k = 0; k < info.channels; k++) {
        l->scale[k] = (float)(1 / (255 * info.std[k]));
        l->shift[k] = (float)(-info.mean[k] / info.std[k]);
    }
    snprintf(l->order_stream, sizeof l->order_stream, "order/%s", c->name);
    snprintf(l->augment_stream, sizeof l->augment_stream, "augment/%s", c->name);
    l->n_images = n_images;
    l->batch = c->batch;
    bool drop = c->drop_last || c->order == CEL_ORDER_FRESH;
    l->n_batches = n_images / c->batch + (!drop && n_images % c->batch != 0);
    l->depth = c->depth ? c->depth : USUAL_DEPTH;
    l->shuffled_epoch = -1;
    size_t batch = (size_t)c->batch, depth = (size_t)l->depth, n = (size_t)n_images;
    size_t image = (size_t)l->channels * (size_t)l->height * (size_t)l->width;
    l->pixel_bytes = depth * batch * image * sizeof *l->pixels;
    l->slot = cel_alloc(depth, sizeof *l->slot);
    l->numbers = cel_alloc(2 * depth * batch + 2 * n + batch, sizeof *l->numbers);
    l->pixels = l->slot && l->numbers ? cel_block_alloc(l->pixel_bytes) : NULL;
    if (!l->pixels)
        return CEL_FAIL(CEL_NOMEM,
                        "stream %s: out of memory for %d batches of %d images (%zu bytes); take a smaller batch",
                        c->name, l->depth, c->batch, l->pixel_bytes);
    for (size_t i = 0; i < depth; i++) {
        l->slot[i].images = l->pixels + i * batch * image;
        l->slot[i].labels = l->numbers + 2 * i * batch;
        l->slot[i].index = l->numbers + (2 * i + 1) * batch;
    }
    int32_t *list = l->numbers + 2 * depth * batch;
    for (size_t i = 0; i < n; i++) list[i] = c->index ? c->index[i] : (int32_t)i;
    l->list = list;
    l->shuffled = list + n;
    l->swapped = list + 2 * n;
    memcpy(l->shuffled, list, n * sizeof *list);
    return CEL_OK;
}

static void release(cel_loader *l) {
    cel_free(l->slot);
    cel_free(l->numbers);
    if (l->pixels) cel_block_free(l->pixels, l->pixel_bytes);
    cel_free(l);
}

cel_status cel_loader_create(const cel_loader_conf *c, cel_loader **out) {
    int part_images = cel_dataset_get_info(c->data).n_images[c->part];
    int n_images = c->index ? c->n_index : part_images;
    CEL_TRY(check(c, n_images, part_images));
    cel_loader *l;
    CEL_ALLOC(l, 1);
    cel_status status = prepare(l, c, n_images);
    if (status != CEL_OK) {
        release(l);
        return status;
    }
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->made, NULL);
    pthread_cond_init(&l->freed, NULL);
    int error = pthread_create(&l->thread, NULL, make_batches, l);
    if (error) {
        release(l);
        return CEL_FAIL(CEL_NOMEM, "stream %s: cannot start its thread: %s", c->name, strerror(error));
    }
    *out = l;
    return CEL_OK;
}

void cel_loader_destroy(cel_loader *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->freed);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->made);
    pthread_cond_destroy(&l->freed);
    release(l);
}

int cel_loader_batches(const cel_loader *l) { return l->n_batches; }

void cel_loader_next(cel_loader *l, cel_batch *batch) {
    pthread_mutex_lock(&l->lock);
    if (l->holding) {
        l->holding = false;
        pthread_cond_signal(&l->freed);
    }
    if (l->n_made == l->n_taken) {
        double begin = cel_clock_s();
        while (l->n_made == l->n_taken) pthread_cond_wait(&l->made, &l->lock);
        l->waited_s += cel_clock_s() - begin;
    }
    const slot *s = &l->slot[l->n_taken % l->depth];
    l->n_taken++;
    l->holding = true;
    *batch = (cel_batch){s->images, s->labels, s->index, s->n, s->epoch, s->batch};
    l->next_epoch = s->epoch + (s->batch + 1 == l->n_batches);
    l->next_batch = (s->batch + 1) % l->n_batches;
    pthread_mutex_unlock(&l->lock);
}

void cel_loader_tell(const cel_loader *l, int64_t *epoch, int64_t *batch) {
    *epoch = l->next_epoch; /* only the caller's own thread changes them */
    *batch = l->next_batch;
}

cel_status cel_loader_seek(cel_loader *l, int64_t epoch, int64_t batch) {
    if (epoch < 0 || batch < 0 || batch >= l->n_batches)
        return CEL_FAIL(CEL_CONFIG,
                        "batch stream: expected an epoch from 0 on and a batch of 0 to %d, found epoch %lld, batch "
                        "%lld; is the checkpoint of another recipe?",
                        l->n_batches - 1, (long long)epoch, (long long)batch);
    if (epoch == l->next_epoch && batch == l->next_batch) return CEL_OK; /* keep what is made already */
    pthread_mutex_lock(&l->lock);
    l->stay = true;
    while (l->filling) pthread_cond_wait(&l->made, &l->lock);
    l->n_made = l->n_taken = 0;
    l->holding = false;
    l->epoch = l->next_epoch = epoch;
    l->batch_at = l->next_batch = batch;
    l->stay = false;
    pthread_cond_signal(&l->freed);
    pthread_mutex_unlock(&l->lock);
    return CEL_OK;
}

double cel_loader_waited_s(const cel_loader *l) { return l->waited_s; }
