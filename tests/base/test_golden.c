/* The golden reader itself, on a file written here: every dtype, unaligned data, scalars, metadata. */
#include "base/file.h"
#include "base/mem.h"
#include "support/golden.h"

static void reads_what_was_written(void **state) {
    (void)state;
    static const char header[] = "{\"__metadata__\":{\"C\":\"4\"},"
                                 "\"mask\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                                 "\"a.x\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[3,11]},"
                                 "\"s\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[11,19]},"
                                 "\"i\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[19,23]}} ";
    char bytes[8 + sizeof header - 1 + 23] = {(char)(sizeof header - 1), (char)((sizeof header - 1) >> 8)};
    const float x[2] = {0.5f, -3};
    const double s = 0.1;
    const int32_t i = -7;
    char *raw = bytes + 8 + sizeof header - 1;
    memcpy(bytes + 8, header, sizeof header - 1);
    memcpy(raw, "\1\0\2", 3);
    memcpy(raw + 3, x, 8);
    memcpy(raw + 11, &s, 8);
    memcpy(raw + 19, &i, 4);
    char *dir = test_temp_dir(), *path = cel_path_join(dir, "x.safetensors");
    test_ok(cel_file_write_atomic(path, bytes, sizeof bytes));
    test_golden *golden = test_golden_open(path);
    assert_int_equal(golden->n_tensors, 4);
    assert_string_equal(test_golden_meta(golden, "C"), "4");
    assert_null(test_golden_meta(golden, "k"));
    const test_tensor *t = test_golden_get(golden, "%s.%c", "a", 'x');
    assert_int_equal(t->rank, 2);
    assert_int_equal(t->shape[1], 2);
    assert_true(t->data[0] == 0.5 && t->data[1] == -3);
    assert_true(test_golden_get(golden, "mask")->data[2] == 2);
    assert_true(test_golden_get(golden, "s")->data[0] == 0.1 && test_golden_get(golden, "s")->rank == 0);
    assert_true(test_golden_get(golden, "i")->data[0] == -7);
    assert_null(test_golden_find(golden, "none"));
    test_golden_close(golden);
    cel_free(path);
    test_temp_dir_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_what_was_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
