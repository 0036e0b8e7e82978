/* What every test includes: cmocka, the C library, and helpers for temporary directories, golden files and comparisons. */
#ifndef CEL_TEST_H
#define CEL_TEST_H
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cellar/status.h"

/* A fresh directory (caller removes it, with all that is in it, by test_temp_dir_remove). */
char *test_temp_dir(void);
void test_temp_dir_remove(char *dir);

/* A golden or data file of the checkout: test_path("golden/x.csv") is tests/golden/x.csv; a full path stays as it is. Valid until
 * four calls later. */
const char *test_path(const char *relative);

/* A CSV file with a header row, whole in memory; fails the test when it cannot be read. Empty fields are "". */
typedef struct test_csv {
    int n_rows, n_cols;
    char **cell; /* (1 + n_rows) * n_cols, header first */
    char *text;
} test_csv;
test_csv *test_csv_open(const char *relative);
void test_csv_close(test_csv *csv);
const char *test_csv_text(const test_csv *csv, int row, const char *column);
double test_csv_number(const test_csv *csv, int row, const char *column); /* NAN for an empty field */

/* |got - want| <= relative * |want| + absolute, or the test fails with both values and `what`. */
#define test_close(got, want, relative, absolute, what)                                                                \
    test_close_at(got, want, relative, absolute, what, __FILE__, __LINE__)
void test_close_at(double got, double want, double relative, double absolute, const char *what, const char *file,
                   int line);

/* A call that must succeed; prints the status message otherwise. */
#define test_ok(call) test_ok_at((call), #call, __FILE__, __LINE__)
void test_ok_at(cel_status status, const char *call, const char *file, int line);
/* A call that must fail with `code` and a message that contains `part`. */
#define test_fails(call, code, part) test_fails_at((call), (code), (part), #call, __FILE__, __LINE__)
void test_fails_at(cel_status status, cel_status code, const char *part, const char *call, const char *file, int line);
#endif
