/* data/pickle: the files in fuzz/corpus/pickle (written by numpy 2.4 under Python 3.11 with every protocol, and one in the form in
 * which Python 2 wrote the official batches) all hold the same batch; everything else is one clear error. */
#include "base/file.h"
#include "base/mem.h"
#include "data/pickle.h"
#include "support/test.h"

static char *corpus(const char *name, size_t *n) {
    char *path = cel_asprintf("%s/fuzz/corpus/pickle/%s", CEL_SOURCE_DIR, name), *data;
    test_ok(cel_file_read(path, 1 << 20, &data, n));
    cel_free(path);
    return data;
}

static void check_batch(const cel_pickle_value *root) {
    const cel_pickle_value *labels = cel_pickle_find(root, "labels"), *data = cel_pickle_find(root, "data");
    assert_non_null(labels);
    assert_int_equal(cel_pickle_numbers(labels), 2);
    int64_t a, b;
    assert_true(cel_pickle_number(labels, 0, &a) && cel_pickle_number(labels, 1, &b));
    assert_int_equal(a, 3);
    assert_int_equal(b, 7);
    const uint8_t *bytes = data->kind == CEL_PICKLE_BYTES ? data->bytes.data : data->array.data;
    if (data->kind == CEL_PICKLE_ARRAY) {
        assert_int_equal(data->array.n_dims, 2);
        assert_int_equal(data->array.dim[0], 2);
        assert_int_equal(data->array.dim[1], 12);
        assert_int_equal(data->array.dtype->dtype.code, 'u');
        assert_int_equal(data->array.dtype->dtype.item_bytes, 1);
    } else {
        assert_int_equal(data->kind, CEL_PICKLE_BYTES);
        assert_int_equal(data->bytes.n, 24);
    }
    for (int i = 0; i < 24; i++) assert_int_equal(bytes[i], i ? i : 200);
    assert_null(cel_pickle_find(root, "absent"));
    assert_null(cel_pickle_find(labels, "labels"));
}

static void every_protocol_gives_the_same(void **state) {
    (void)state;
    static const char *const names[] = {"numpy2_protocol0.pkl", "numpy2_protocol1.pkl", "numpy2_protocol2.pkl",
                                        "numpy2_protocol3.pkl", "numpy2_protocol4.pkl", "python2.pkl",
                                        "array_labels.pkl",     "scalar_labels.pkl",    "bytes_data.pkl"};
    for (size_t i = 0; i < CEL_COUNT(names); i++) {
        size_t n;
        char *data = corpus(names[i], &n);
        cel_pickle *pickle;
        test_ok(cel_pickle_read(names[i], data, n, &pickle));
        check_batch(cel_pickle_root(pickle));
        cel_pickle_destroy(pickle);
        cel_free(data);
    }
}

static void plain_values(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        size_t n;
        char *data = corpus(k ? "names0.pkl" : "names.pkl", &n);
        cel_pickle *pickle;
        test_ok(cel_pickle_read("names", data, n, &pickle));
        const cel_pickle_value *root = cel_pickle_root(pickle), *names = cel_pickle_find(root, "label_names");
        assert_int_equal(names->list.n, 2);
        assert_int_equal(names->list.item[0]->bytes.n, 3);
        assert_memory_equal(names->list.item[0]->bytes.data, "x\xc3\xa9", 3);
        assert_int_equal(names->list.item[1]->bytes.n, 4);
        assert_memory_equal(names->list.item[1]->bytes.data, "y\xe4\xb8\xad", 4);
        assert_true(cel_pickle_find(root, "n")->integer == INT64_C(1) << 40);
        assert_true(cel_pickle_find(root, "m")->integer == -(INT64_C(1) << 33));
        const cel_pickle_value *t = cel_pickle_find(root, "t");
        assert_int_equal(t->kind, CEL_PICKLE_TUPLE);
        assert_int_equal(t->list.n, 6);
        assert_true(t->list.item[1]->real == 2.5);
        assert_int_equal(t->list.item[2]->kind, CEL_PICKLE_BOOL);
        assert_int_equal(t->list.item[3]->integer, 0);
        assert_int_equal(t->list.item[4]->kind, CEL_PICKLE_NONE);
        assert_int_equal(t->list.item[5]->list.n, 0);
        cel_pickle_destroy(pickle);
        cel_free(data);
    }
}

static void each_refusal_names_its_place(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        cel_status code;
        const char *part;
    } cases[] = {
#define P(text) text, sizeof(text) - 1
        {P(""), CEL_FORMAT, "byte 0"},
        {P("\x80\x05]."), CEL_UNSUPPORTED, "protocol 5"},
        {P("cposix\nsystem\n(S'echo owned'\ntR."), CEL_UNSUPPORTED, "posix.system"},
        {P("\x80\x04\x8c\x02os\x8c\x06system\x93."), CEL_UNSUPPORTED, "byte 14 names os.system"},
        {P("(S'x'\nios\nsystem\n."), CEL_UNSUPPORTED, "'i' at byte 6"},
        {P("]P1\n."), CEL_UNSUPPORTED, "'P' at byte 1"},
        {P("\x80\x02\x82\x01."), CEL_UNSUPPORTED, "0x82"},
        {P("]K\x01K"), CEL_FORMAT, "cut off"},
        {P("B\xff\xff\xff\xff."), CEL_FORMAT, "cut off"},
        {P("\x8e\xff\xff\xff\xff\xff\xff\xff\xff."), CEL_FORMAT, "cut off"},
        {P("]"), CEL_FORMAT, "cut off"},
        {P("."), CEL_FORMAT, "found none"},
        {P("]]."), CEL_FORMAT, "found several"},
        {P("].]"), CEL_FORMAT, "1 bytes behind"},
        {P("K\x01K\x02"
           "a."),
         CEL_FORMAT, "expected a list, found a number"},
        {P("K\x01(K\x02"
           "e."),
         CEL_FORMAT, "expected a list"},
        {P("(e."), CEL_FORMAT, "under the mark"},
        {P("e."), CEL_FORMAT, "a mark"},
        {P("}(K\x01u."), CEL_FORMAT, "odd"},
        {P("(K\x01"
           "d."),
         CEL_FORMAT, "odd"},
        {P("h\x05."), CEL_FORMAT, "memo"},
        {P("g-1\n."), CEL_FORMAT, "memo"},
        {P("]r\xff\xff\xff\xff."), CEL_FORMAT, "memo"},
        {P("I12x\n."), CEL_FORMAT, "whole number"},
        {P("L99999999999999999999L\n."), CEL_FORMAT, "64 bits"},
        {P("\x8a\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09."), CEL_FORMAT, "64 bits"},
        {P("F1.5z\n."), CEL_FORMAT, "a number"},
        {P("S'abc\n."), CEL_FORMAT, "quotes"},
        {P("S'\\q'\n."), CEL_FORMAT, "escape"},
        {P("V\\u12\n."), CEL_FORMAT, "hexadecimal"},
        {P("cnumpy\nndarray\n)R."), CEL_UNSUPPORTED, "numpy.ndarray"},
        {P("K\x01)R."), CEL_FORMAT, "known names"},
        {P("cnumpy\ndtype\n(S'O8'\ntR."), CEL_UNSUPPORTED, "numpy type"},
        {P("c_codecs\nencode\n(Vx\nVrot13\ntR."), CEL_UNSUPPORTED, "latin1"},
        {P("]Nb."), CEL_UNSUPPORTED, "array or type"},
        {P("\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00]."), CEL_FORMAT, "frame"},
#undef P
    };
    for (size_t i = 0; i < CEL_COUNT(cases); i++) {
        char *copy = cel_alloc(cases[i].n, 1); /* so that a read past the end is caught */
        memcpy(copy, cases[i].bytes, cases[i].n);
        cel_pickle *pickle;
        test_fails(cel_pickle_read("case", copy, cases[i].n, &pickle), cases[i].code, cases[i].part);
        cel_free(copy);
    }
    static const struct {
        const char *file, *part;
    } files[] = {{"evil.pkl", "posix.system"},
                 {"evil4.pkl", "posix.system"},
                 {"fortran.pkl", "Fortran"},
                 {"protocol5.pkl", "protocol=4"}};
    for (size_t i = 0; i < CEL_COUNT(files); i++) {
        size_t n;
        char *data = corpus(files[i].file, &n);
        cel_pickle *pickle;
        test_fails(cel_pickle_read(files[i].file, data, n, &pickle), CEL_UNSUPPORTED, files[i].part);
        cel_free(data);
    }
}

/* Every prefix, and every byte changed in three ways: an answer, never a crash. */
static void no_bytes_crash(void **state) {
    (void)state;
    static const char *const names[] = {"numpy2_protocol0.pkl", "numpy2_protocol4.pkl", "python2.pkl",
                                        "scalar_labels.pkl"};
    for (size_t f = 0; f < CEL_COUNT(names); f++) {
        size_t n;
        char *data = corpus(names[f], &n);
        cel_pickle *pickle;
        for (size_t cut = 0; cut < n; cut++) {
            char *copy = cel_alloc(cut, 1);
            memcpy(copy, data, cut);
            assert_int_not_equal(cel_pickle_read("cut", copy, cut, &pickle), CEL_OK);
            cel_free(copy);
        }
        for (size_t i = 0; i < n; i++)
            for (int k = 0; k < 3; k++) {
                char old = data[i];
                data[i] = (char)(k == 0 ? old ^ 0x80 : k == 1 ? 0xff : old + 1);
                if (cel_pickle_read("changed", data, n, &pickle) == CEL_OK) cel_pickle_destroy(pickle);
                data[i] = old;
            }
        cel_free(data);
    }
}

/* Programs that would take far more memory than they are long. */
static void memory_is_bounded(void **state) {
    (void)state;
    enum { N = 6 << 20 };
    char *bomb = cel_alloc(N, 1);
    cel_pickle *pickle;
    memset(bomb, ']', N);
    test_fails(cel_pickle_read("lists", bomb, N, &pickle), CEL_FORMAT, "more than");
    memset(bomb + 1, '2', N - 1);
    test_fails(cel_pickle_read("copies", bomb, N, &pickle), CEL_FORMAT, "more than");
    memset(bomb, '(', N);
    test_fails(cel_pickle_read("marks", bomb, N, &pickle), CEL_FORMAT, "open brackets");
    cel_free(bomb);
    /* one long text encoded again and again */
    cel_arena arena = {0};
    char *program = cel_arena_printf(&arena, "c_codecs\nencode\np0\n0V%01000d\np1\n0", 0);
    for (int i = 0; i < 40; i++) program = cel_arena_printf(&arena, "%sg0\n(g1\ntR0", program);
    test_fails(cel_pickle_read("encodes", program, strlen(program), &pickle), CEL_FORMAT, "once");
    cel_arena_fini(&arena);
}

static void memory_may_run_out(void **state) {
    (void)state;
    size_t n;
    char *data = corpus("python2.pkl", &n);
    cel_pickle *pickle;
    cel_status status = CEL_NOMEM;
    int tries = 0;
    while (status == CEL_NOMEM) {
        assert_true(++tries < 100);
        cel_mem_fail_at((uint64_t)tries);
        status = cel_pickle_read("python2", data, n, &pickle);
    }
    cel_mem_fail_at(0);
    test_ok(status);
    assert_true(tries > 3);
    cel_pickle_destroy(pickle);
    cel_free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_protocol_gives_the_same),
        cmocka_unit_test(plain_values),
        cmocka_unit_test(each_refusal_names_its_place),
        cmocka_unit_test(no_bytes_crash),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
