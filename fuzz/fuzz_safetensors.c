/* Any bytes as a safetensors file, and what is good of them written and read again. */
#include <stdlib.h>
#include <string.h>

#include "lab/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    cel_safetensors *file, *again;
    if (cel_safetensors_parse("fuzz", data, n, &file) != CEL_OK) return 0;
    const cel_state *items = cel_safetensors_items(file);
    char *bytes;
    size_t length;
    if (cel_safetensors_encode(items, NULL, 0, &bytes, &length) != CEL_OK ||
        cel_safetensors_parse("again", bytes, length, &again) != CEL_OK)
        abort();
    const cel_state *same = cel_safetensors_items(again);
    if (same->n != items->n) abort();
    for (int i = 0; i < items->n; i++) {
        const cel_state_item *a = &items->items[i], *b = cel_state_find(same, a->name);
        if (!b || b->bytes != a->bytes || (a->bytes && memcmp(a->data, b->data, a->bytes))) abort();
    }
    cel_safetensors_destroy(again);
    cel_free(bytes);
    cel_safetensors_destroy(file);
    return 0;
}
