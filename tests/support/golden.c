#include "support/golden.h"

#include <jansson.h>

#include "base/file.h"
#include "base/mem.h"

static size_t dtype_bytes(const char *dtype) {
    if (!strcmp(dtype, "F64") || !strcmp(dtype, "I64")) return 8;
    if (!strcmp(dtype, "F32") || !strcmp(dtype, "I32")) return 4;
    if (!strcmp(dtype, "U8") || !strcmp(dtype, "BOOL")) return 1;
    fail_msg("dtype %s is not known", dtype);
    return 0;
}

static double element(const char *dtype, const char *at) {
    if (!strcmp(dtype, "F64")) {
        double v;
        memcpy(&v, at, sizeof v);
        return v;
    }
    if (!strcmp(dtype, "F32")) {
        float v;
        memcpy(&v, at, sizeof v);
        return (double)v;
    }
    if (!strcmp(dtype, "I64")) {
        int64_t v;
        memcpy(&v, at, sizeof v);
        return (double)v;
    }
    if (!strcmp(dtype, "I32")) {
        int32_t v;
        memcpy(&v, at, sizeof v);
        return v;
    }
    return (unsigned char)*at;
}

static void read_tensor(test_tensor *t, const char *name, const json_t *entry, const char *raw, size_t raw_bytes) {
    const json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets");
    t->name = name;
    t->dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!t->dtype || !json_is_array(shape) || json_array_size(offsets) != 2)
        fail_msg("tensor %s: malformed entry", name);
    t->rank = (int)json_array_size(shape);
    assert_true(t->rank <= TEST_TENSOR_MAX_RANK);
    t->n = 1;
    for (int d = 0; d < TEST_TENSOR_MAX_RANK; d++) {
        t->shape[d] = d < t->rank ? (int)json_integer_value(json_array_get(shape, (size_t)d)) : 1;
        t->n *= (size_t)t->shape[d];
    }
    size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
    size_t end = (size_t)json_integer_value(json_array_get(offsets, 1)), size = dtype_bytes(t->dtype);
    if (begin > end || end > raw_bytes || end - begin != t->n * size) fail_msg("tensor %s: wrong data offsets", name);
    t->data = cel_alloc(t->n, sizeof *t->data);
    assert_non_null(t->data);
    for (size_t i = 0; i < t->n; i++) t->data[i] = element(t->dtype, raw + begin + i * size);
}

test_golden *test_golden_open(const char *path) {
    char *bytes;
    size_t n;
    test_ok(cel_file_read(path, (size_t)1 << 30, &bytes, &n));
    uint64_t length = 0;
    if (n >= 8)
        for (int i = 7; i >= 0; i--) length = length << 8 | (unsigned char)bytes[i];
    if (n < 8 || length > n - 8) fail_msg("%s: not a safetensors file", path);
    json_error_t error;
    json_t *header = json_loadb(bytes + 8, (size_t)length, 0, &error);
    if (!header) fail_msg("%s: header: %s", path, error.text);
    test_golden *golden = cel_alloc(1, sizeof *golden);
    assert_non_null(golden);
    golden->header = header;
    golden->tensors = cel_alloc(json_object_size(header), sizeof *golden->tensors);
    assert_non_null(golden->tensors);
    const char *name;
    json_t *entry;
    json_object_foreach(header, name, entry) if (strcmp(name, "__metadata__"))
        read_tensor(&golden->tensors[golden->n_tensors++], name, entry, bytes + 8 + length, n - 8 - (size_t)length);
    cel_free(bytes);
    return golden;
}

void test_golden_close(test_golden *golden) {
    if (!golden) return;
    for (int i = 0; i < golden->n_tensors; i++) cel_free(golden->tensors[i].data);
    cel_free(golden->tensors);
    json_decref(golden->header);
    cel_free(golden);
}

static const test_tensor *find(const test_golden *golden, const char *name) {
    for (int i = 0; i < golden->n_tensors; i++)
        if (!strcmp(golden->tensors[i].name, name)) return &golden->tensors[i];
    return NULL;
}

const test_tensor *test_golden_find(const test_golden *golden, const char *fmt, ...) {
    char name[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return find(golden, name);
}

const test_tensor *test_golden_get(const test_golden *golden, const char *fmt, ...) {
    char name[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    const test_tensor *tensor = find(golden, name);
    if (!tensor) fail_msg("no tensor named %s", name);
    return tensor;
}

const char *test_golden_meta(const test_golden *golden, const char *key) {
    return json_string_value(json_object_get(json_object_get(golden->header, "__metadata__"), key));
}

void test_golden_close_to_at(const test_tensor *want, const double *got, double relative, double absolute,
                             const char *file, int line) {
    char what[300];
    for (size_t i = 0; i < want->n; i++) {
        snprintf(what, sizeof what, "%s[%zu]", want->name, i);
        test_close_at(got[i], want->data[i], relative, absolute, what, file, line);
    }
}
