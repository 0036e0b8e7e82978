#define _GNU_SOURCE
#include "support/test.h"

#include <ftw.h>

#include "base/file.h"
#include "base/mem.h"

char *test_temp_dir(void) {
    const char *base = getenv("TMPDIR");
    char *dir = cel_asprintf("%s/cellar-test-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(dir));
    return dir;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)kind, (void)at;
    return remove(path);
}

void test_temp_dir_remove(char *dir) {
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    cel_free(dir);
}

const char *test_path(const char *relative) {
    static char path[4][1024];
    static int turn;
    if (relative[0] == '/') return relative;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", CEL_TEST_DATA, relative);
    return path[turn];
}

test_csv *test_csv_open(const char *relative) {
    test_csv *csv = cel_alloc(1, sizeof *csv);
    size_t n;
    assert_non_null(csv);
    test_ok(cel_file_read(test_path(relative), 64 << 20, &csv->text, &n));
    int lines = 0;
    for (char *p = csv->text; *p; p++) lines += *p == '\n';
    csv->n_cols = 1;
    for (char *p = csv->text; *p && *p != '\n'; p++) csv->n_cols += *p == ',';
    csv->cell = cel_alloc((size_t)(lines + 1) * (size_t)csv->n_cols, sizeof *csv->cell);
    assert_non_null(csv->cell);
    int row = 0, col = 0;
    for (char *p = csv->text; *p; row++) {
        for (col = 0;; col++) {
            size_t length = strcspn(p, ",\n");
            char end = p[length];
            if (col < csv->n_cols) csv->cell[row * csv->n_cols + col] = p;
            if (length && p[length - 1] == '\r') p[length - 1] = 0;
            p[length] = 0;
            p += length + (end != 0);
            if (end != ',') break;
        }
        assert_int_equal(col + 1, csv->n_cols);
    }
    csv->n_rows = row - 1;
    assert_true(csv->n_rows > 0);
    return csv;
}

void test_csv_close(test_csv *csv) {
    cel_free(csv->cell);
    cel_free(csv->text);
    cel_free(csv);
}

const char *test_csv_text(const test_csv *csv, int row, const char *column) {
    for (int c = 0; c < csv->n_cols; c++)
        if (!strcmp(csv->cell[c], column)) return csv->cell[(row + 1) * csv->n_cols + c];
    fail_msg("no column named %s", column);
    return "";
}

double test_csv_number(const test_csv *csv, int row, const char *column) {
    const char *text = test_csv_text(csv, row, column);
    return *text ? strtod(text, NULL) : NAN;
}

void test_close_at(double got, double want, double relative, double absolute, const char *what, const char *file,
                   int line) {
    if (fabs(got - want) <= relative * fabs(want) + absolute) return;
    print_error("%s: got %.17g, want %.17g, relative error %.3g\n", what, got, want, fabs(got - want) / fabs(want));
    _fail(file, line);
}

void test_ok_at(cel_status status, const char *call, const char *file, int line) {
    if (status == CEL_OK) return;
    print_error("%s: %s: %s\n%s", call, cel_status_name(status), cel_status_message(), cel_status_trace());
    _fail(file, line);
}

void test_fails_at(cel_status status, cel_status code, const char *part, const char *call, const char *file, int line) {
    if (status == code && strstr(cel_status_message(), part)) return;
    print_error("%s: want %s with \"%s\", got %s: %s\n", call, cel_status_name(code), part, cel_status_name(status),
                status ? cel_status_message() : "");
    _fail(file, line);
}
