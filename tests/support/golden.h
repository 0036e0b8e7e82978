/* Reads a golden safetensors file whole into memory: 8-byte little-endian header length, JSON header, raw data in C
 * order (the data need not be aligned). Any tensor is handed out as doubles: F64, F32, I64, I32, U8 and BOOL are
 * known. */
#ifndef CEL_TEST_GOLDEN_H
#define CEL_TEST_GOLDEN_H
#include "support/test.h"

enum { TEST_TENSOR_MAX_RANK = 8 };

typedef struct test_tensor {
    const char *name, *dtype;        /* "F64" */
    int rank;                        /* 0 for a scalar */
    int shape[TEST_TENSOR_MAX_RANK]; /* 1 behind the rank */
    size_t n;                        /* product of the shape; 1 for a scalar */
    double *data;
} test_tensor;

typedef struct test_golden {
    int n_tensors;
    test_tensor *tensors; /* in the order of the header */
    void *header;         /* the JSON that names and metadata live in */
} test_golden;

/* Opens a file by its full path (test_path("golden/x.safetensors") for one of the checkout); fails the test when it
 * cannot be read or is malformed. Everything handed out lives until test_golden_close. */
test_golden *test_golden_open(const char *path);
void test_golden_close(test_golden *golden);
/* The tensor of that printf-formatted name; find answers NULL when there is none, get fails the test. */
const test_tensor *test_golden_find(const test_golden *golden, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
const test_tensor *test_golden_get(const test_golden *golden, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A string of the file's __metadata__, NULL when it is not there. */
const char *test_golden_meta(const test_golden *golden, const char *key);
/* Every element within relative * |want| + absolute of the tensor's, or the test fails naming the tensor and the
 * element. */
#define test_golden_close_to(tensor, got, relative, absolute)                                                          \
    test_golden_close_to_at((tensor), (got), (relative), (absolute), __FILE__, __LINE__)
void test_golden_close_to_at(const test_tensor *want, const double *got, double relative, double absolute,
                             const char *file, int line);
#endif
