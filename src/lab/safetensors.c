#include "lab/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are written as they lie in memory");

static const char META[] = "__metadata__";

static json_t *describe(const cel_state_item *item, size_t at) {
    json_t *shape = json_array();
    for (int i = 0; i < item->rank; i++) json_array_append_new(shape, json_integer(item->dims[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", cel_state_type_name(item->type), "shape", shape, "data_offsets",
                     (json_int_t)at, (json_int_t)(at + item->bytes));
}

/* Calls fn for each item, wide types first. */
static void each_by_width(const cel_state *state, void (*fn)(void *ctx, const cel_state_item *item), void *ctx) {
    for (size_t width = 8; width; width /= 2)
        for (int i = 0; i < state->n; i++)
            if (cel_state_type_bytes(state->items[i].type) == width) fn(ctx, &state->items[i]);
}

typedef struct {
    json_t *header;
    size_t bytes;
    bool failed;
} layout;

static void lay_out(void *ctx, const cel_state_item *item) {
    layout *l = ctx;
    l->failed |= json_object_set_new(l->header, item->name, describe(item, l->bytes)) != 0;
    l->bytes += item->bytes;
}

static void append(void *ctx, const cel_state_item *item) {
    char **at = ctx;
    if (item->bytes) memcpy(*at, item->data, item->bytes);
    *at += item->bytes;
}

cel_status cel_safetensors_encode(const cel_state *state, const char *const *meta, int n_meta, char **bytes,
                                  size_t *n) {
    layout l = {.header = json_object()};
    json_t *texts = json_object();
    for (int i = 0; i < n_meta; i++)
        l.failed |= json_object_set_new(texts, meta[2 * i], json_string(meta[2 * i + 1])) != 0;
    if (n_meta)
        l.failed |= json_object_set_new(l.header, META, texts) != 0;
    else
        json_decref(texts);
    each_by_width(state, lay_out, &l);
    char *header = l.failed ? NULL : json_dumps(l.header, JSON_COMPACT);
    json_decref(l.header);
    if (!header)
        return CEL_FAIL(CEL_NOMEM, "out of memory, or a name that is not UTF-8, in the header of %d arrays", state->n);
    size_t length = strlen(header), padded = (length + 7) / 8 * 8;
    char *file = cel_alloc(8 + padded + l.bytes, 1);
    if (file) {
        for (int i = 0; i < 8; i++) file[i] = (char)(padded >> (8 * i));
        memset(file + 8, ' ', padded);
        memcpy(file + 8, header, length);
        char *at = file + 8 + padded;
        each_by_width(state, append, &at);
        *bytes = file;
        *n = 8 + padded + l.bytes;
    }
    free(header);
    return file ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory for %zu bytes of arrays", l.bytes);
}

struct cel_safetensors {
    cel_state items;
    json_t *header;
};

typedef struct {
    const char *origin;
    const char *data;
    size_t n; /* bytes of data */
} source;

static cel_status read_type(const source *s, const char *name, json_t *value, cel_state_type *type) {
    const char *text = json_string_value(value);
    if (!text) return CEL_FAIL(CEL_FORMAT, "%s: %.80s: expected a dtype, found none", s->origin, name);
    for (int i = 0; i < CEL_STATE_TYPE_COUNT; i++)
        if (!strcmp(text, cel_state_type_name((cel_state_type)i))) {
            *type = (cel_state_type)i;
            return CEL_OK;
        }
    return CEL_FAIL(CEL_UNSUPPORTED, "%s: %.80s: dtype %.16s; F32, F64, I32, I64 and U8 are supported", s->origin, name,
                    text);
}

static cel_status read_shape(const source *s, const char *name, json_t *value, int *rank, int64_t *dims) {
    if (!json_is_array(value) || json_array_size(value) > CEL_STATE_MAX_RANK)
        return CEL_FAIL(CEL_FORMAT, "%s: %.80s: expected a shape of at most %d dimensions", s->origin, name,
                        CEL_STATE_MAX_RANK);
    *rank = (int)json_array_size(value);
    for (int i = 0; i < *rank; i++) {
        json_t *d = json_array_get(value, (size_t)i);
        dims[i] = json_integer_value(d);
        if (!json_is_integer(d) || dims[i] < 0)
            return CEL_FAIL(CEL_FORMAT, "%s: %.80s: dimension %d is not a size", s->origin, name, i);
    }
    return CEL_OK;
}

static cel_status read_item(const source *s, const char *name, json_t *entry, cel_state *items) {
    cel_state_type type = CEL_STATE_U8;
    int rank = 0;
    int64_t dims[CEL_STATE_MAX_RANK];
    if (!json_is_object(entry) || json_object_size(entry) != 3)
        return CEL_FAIL(CEL_FORMAT, "%s: %.80s: expected dtype, shape and data_offsets", s->origin, name);
    CEL_TRY(read_type(s, name, json_object_get(entry, "dtype"), &type));
    CEL_TRY(read_shape(s, name, json_object_get(entry, "shape"), &rank, dims));
    size_t bytes = cel_state_type_bytes(type);
    for (int i = 0; i < rank; i++)
        if (__builtin_mul_overflow(bytes, (size_t)dims[i], &bytes))
            return CEL_FAIL(CEL_FORMAT, "%s: %.80s: a shape of more bytes than there can be", s->origin, name);
    json_t *offsets = json_object_get(entry, "data_offsets");
    json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(from) || !json_is_integer(to))
        return CEL_FAIL(CEL_FORMAT, "%s: %.80s: expected two data_offsets", s->origin, name);
    json_int_t a = json_integer_value(from), b = json_integer_value(to);
    if (a < 0 || b < a || (uint64_t)b > s->n || (uint64_t)(b - a) != bytes)
        return CEL_FAIL(CEL_FORMAT, "%s: %.80s: bytes %lld to %lld of %zu, expected %zu bytes for its shape", s->origin,
                        name, (long long)a, (long long)b, s->n, bytes);
    return cel_state_add(items, type, (char *)(uintptr_t)(s->data + a), rank, dims, "%s", name);
}

static int by_place(const void *a, const void *b) {
    const cel_state_item *x = *(const cel_state_item *const *)a, *y = *(const cel_state_item *const *)b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    return p != q ? (p < q ? -1 : 1) : x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* The arrays fill the data exactly: no gap, no overlap, nothing behind them. */
static cel_status check_cover(const source *s, const cel_state *items) {
    const cel_state_item **order;
    CEL_ALLOC(order, (size_t)items->n);
    for (int i = 0; i < items->n; i++) order[i] = &items->items[i];
    if (items->n > 1) qsort(order, (size_t)items->n, sizeof(const cel_state_item *), by_place);
    size_t at = 0;
    cel_status status = CEL_OK;
    for (int i = 0; i < items->n && status == CEL_OK; i++) {
        if ((const char *)order[i]->data != s->data + at)
            status = CEL_FAIL(CEL_FORMAT, "%s: %.80s: expected its data at byte %zu, found it at %zu", s->origin,
                              order[i]->name, at, (size_t)((const char *)order[i]->data - s->data));
        at += order[i]->bytes;
    }
    cel_free(order);
    if (status == CEL_OK && at != s->n)
        status = CEL_FAIL(CEL_FORMAT, "%s: expected %zu bytes of arrays, found %zu", s->origin, at, s->n);
    return status;
}

static cel_status read_header(const source *s, const char *text, size_t n, cel_safetensors *file) {
    json_error_t error;
    file->header = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (!file->header)
        return CEL_FAIL(CEL_FORMAT, "%s: the header is not JSON: %s, at its byte %d", s->origin, error.text,
                        error.position);
    if (!json_is_object(file->header)) return CEL_FAIL(CEL_FORMAT, "%s: the header is not a JSON object", s->origin);
    if (json_object_size(file->header) > 100000)
        return CEL_FAIL(CEL_FORMAT, "%s: %zu arrays, expected at most 100000", s->origin,
                        json_object_size(file->header));
    const char *name;
    json_t *entry;
    json_object_foreach(file->header, name, entry) {
        if (strcmp(name, META)) {
            CEL_TRY(read_item(s, name, entry, &file->items));
            continue;
        }
        const char *key;
        json_t *text_value;
        if (!json_is_object(entry)) return CEL_FAIL(CEL_FORMAT, "%s: %s is not an object", s->origin, META);
        json_object_foreach(entry, key, text_value) {
            if (!json_is_string(text_value))
                return CEL_FAIL(CEL_FORMAT, "%s: %s: %.80s is not a text", s->origin, META, key);
        }
    }
    return check_cover(s, &file->items);
}

cel_status cel_safetensors_parse(const char *origin, const void *bytes, size_t n, cel_safetensors **out) {
    const unsigned char *head = bytes;
    if (n < 8) return CEL_FAIL(CEL_FORMAT, "%s: %zu bytes; expected a safetensors file", origin, n);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--) length = length << 8 | head[i];
    if (length > CEL_SAFETENSORS_MAX_HEADER || length > n - 8)
        return CEL_FAIL(CEL_FORMAT, "%s: a header of %llu bytes in a file of %zu; not safetensors, or cut short",
                        origin, (unsigned long long)length, n);
    cel_safetensors *file;
    CEL_ALLOC(file, 1);
    source s = {origin, (const char *)bytes + 8 + length, n - 8 - (size_t)length};
    cel_status status = read_header(&s, (const char *)bytes + 8, (size_t)length, file);
    if (status != CEL_OK) {
        cel_safetensors_destroy(file);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = file;
    return CEL_OK;
}

void cel_safetensors_destroy(cel_safetensors *file) {
    if (!file) return;
    cel_state_fini(&file->items);
    json_decref(file->header);
    cel_free(file);
}

const cel_state *cel_safetensors_items(const cel_safetensors *file) { return &file->items; }
