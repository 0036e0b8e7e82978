/* Any bytes as a pickle of images: read, then looked at as the readers of batches do. */
#include <stdlib.h>

#include "data/pickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    cel_pickle *pickle;
    if (cel_pickle_read("fuzz", data, n, &pickle) != CEL_OK) return 0;
    const cel_pickle_value *root = cel_pickle_root(pickle), *labels = cel_pickle_find(root, "labels"),
                           *image = cel_pickle_find(root, "data");
    int64_t sum = 0;
    for (int64_t i = 0, count = labels ? cel_pickle_numbers(labels) : 0; i < count; i++) {
        int64_t number;
        if (cel_pickle_number(labels, (size_t)i, &number)) sum ^= number;
    }
    if (image && image->kind == CEL_PICKLE_BYTES)
        for (size_t i = 0; i < image->bytes.n; i++) sum += image->bytes.data[i];
    if (image && image->kind == CEL_PICKLE_ARRAY && image->array.dtype) {
        size_t bytes = image->array.dtype->dtype.item_bytes;
        for (int k = 0; k < image->array.n_dims; k++) bytes *= image->array.dim[k];
        for (size_t i = 0; i < bytes; i++) sum += image->array.data[i];
    }
    volatile int64_t sink = sum; /* the bytes are read, so that a wrong length shows */
    (void)sink;
    cel_pickle_destroy(pickle);
    return 0;
}
