/* Option tables and the settings tree: YAML in, checked structs out, the resolved dump, and every way to be wrong. */
#include <jansson.h>

#include "base/conf/conf.h"
#include "base/file.h"
#include "base/mem.h"
#include "cellar/text.h"
#include "support/test.h"

typedef enum { REG_NONE, REG_L2, REG_KL } regulariser;
typedef struct {
    int k, epochs;
    double share;
} stage;
typedef struct {
    int64_t seed;
    const char *note;
} top_conf;
typedef struct {
    double lr;
    int warmup, n_stages;
    bool unrolled;
    const char *name;
    regulariser reg;
    stage stages[3];
} method_conf;
typedef struct {
    double wd;
} extra_conf;

static const char *const reg_names[] = {"none", "l2", "kl", NULL};
static const cel_opt stage_opts[] = {CEL_INT(stage, k, 1, 1, 64, "1/K of the channels"),
                                     CEL_INT(stage, epochs, 10, 1, 100000, "epochs of the stage"),
                                     CEL_REAL(stage, share, 0.5, 0, 1, "share"), CEL_OPTS_END};
static const cel_opt top_opts[] = {CEL_LONG(top_conf, seed, 1, 0, INT64_MAX, "seed of every random stream"),
                                   CEL_TEXT(top_conf, note, "", "free text"), CEL_OPTS_END};
static const cel_opt method_opts[] = {CEL_REAL(method_conf, lr, 3e-4, 0, 1, "learning rate of the concentration"),
                                      CEL_INT(method_conf, warmup, 0, 0, 1000, "epochs before the architecture moves"),
                                      CEL_BOOL(method_conf, unrolled, false, "second order"),
                                      CEL_TEXT(method_conf, name, "drnas", "method"),
                                      CEL_ENUM(method_conf, reg, REG_L2, reg_names, "regulariser"),
                                      CEL_LIST(method_conf, stages, n_stages, stage_opts, "progressive stages"),
                                      CEL_OPTS_END};
static const cel_opt extra_opts[] = {CEL_REAL(extra_conf, wd, 3e-4, 0, 1, "weight decay"), CEL_OPTS_END};

typedef struct {
    top_conf top;
    method_conf method;
    extra_conf extra;
    cel_section sections[3];
    cel_conf *tree;
} recipe;

static void bind(recipe *r) {
    memset(r, 0x5a, sizeof *r);
    r->tree = NULL;
    r->sections[0] = (cel_section){"", top_opts, &r->top};
    r->sections[1] = (cel_section){"method", method_opts, &r->method};
    r->sections[2] = (cel_section){"method", extra_opts, &r->extra};
}

/* Parses and reads; the caller destroys r->tree. */
static cel_status read_text(recipe *r, const char *text) {
    bind(r);
    CEL_TRY(cel_conf_parse("r.yaml", text, strlen(text), &r->tree));
    return cel_conf_read(r->tree, r->sections, 3);
}

static void refused(const char *text, const char *part) {
    recipe r;
    test_fails(read_text(&r, text), CEL_CONFIG, part);
    cel_conf_destroy(r.tree);
}

static void defaults_and_values(void **state) {
    (void)state;
    recipe r;
    test_ok(read_text(&r, "{}"));
    assert_true(r.top.seed == 1 && r.method.lr == 3e-4 && r.method.reg == REG_L2 && r.method.n_stages == 0);
    assert_true(!r.method.unrolled && r.extra.wd == 3e-4);
    assert_string_equal(r.method.name, "drnas");
    cel_conf_destroy(r.tree);
    test_ok(read_text(&r, "# a recipe\nseed: 9223372036854775807\nnote: \"a: b # c\"\nmethod:\n  lr: .1e-1\n  reg: kl\n"
                          "  wd: 0\n  unrolled: true\n  stages:\n    - {k: 4, epochs: 50}\n    - k: 2\n"));
    assert_true(r.top.seed == INT64_MAX && r.method.lr == 0.01 && r.method.reg == REG_KL && r.extra.wd == 0);
    assert_true(r.method.unrolled && r.method.n_stages == 2);
    assert_int_equal(r.method.stages[0].epochs, 50);
    assert_int_equal(r.method.stages[1].k, 2);
    assert_int_equal(r.method.stages[1].epochs, 10);
    assert_string_equal(r.top.note, "a: b # c");
    assert_true(cel_conf_has(r.tree, "method.lr") && !cel_conf_has(r.tree, "method.warmup"));
    cel_conf_destroy(r.tree);
}

static void wrong_settings_are_named(void **state) {
    (void)state;
    refused("method:\n  lr: 2\n", "r.yaml:2:7: method.lr: expected a number from 0 to 1, found \"2\"");
    refused("method:\n  lr: 0x1p-3\n", "expected a number from 0 to 1");
    refused("method:\n  lr: nan\n", "expected a number");
    refused("method:\n  lr: .inf\n", "expected a number");
    refused("method:\n  lr: 1e999\n", "expected a number");
    refused("method:\n  lr: \"0.1\"\n", "expected a number");
    refused("method:\n  lr:\n", "found nothing");
    refused("method:\n  lr: [1]\n", "found a list");
    refused("method:\n  warmup: 1.5\n", "r.yaml:2:11: method.warmup: expected a whole number from 0 to 1000");
    refused("method:\n  warmup: 99999999999999999999\n", "expected a whole number");
    refused("method:\n  warmup: 4294967297\n", "expected a whole number");
    refused("method:\n  warmup: -1\n", "expected a whole number");
    refused("method:\n  unrolled: yes\n", "expected true or false, found \"yes\"");
    refused("method:\n  reg: l3\n", "expected one of none, l2, kl, found \"l3\"; did you mean \"l2\"?");
    refused("method:\n  warmpu: 3\n",
            "r.yaml:2:3: no setting is called \"method.warmpu\"; did you mean \"method.warmup\"?");
    refused("methdo:\n  lr: 3\n", "r.yaml:1:1: no setting is called \"methdo\"; did you mean \"method\"?");
    refused("warmup: 3\n", "did you mean \"method.warmup\"?");
    refused("zzzzzzzz: 3\n", "no setting is called \"zzzzzzzz\"");
    refused("method: 3\n", "expected a section of settings, found a text");
    refused("seed: {a: 1}\n", "found a section");
    refused("method: {stages: 3}\n", "expected a list");
    refused("method: {stages: [3]}\n", "method.stages.0: expected settings");
    refused("method: {stages: [{k: 1}, {k: 0}]}\n",
            "method.stages.1.k: expected a whole number from 1 to 64, found \"0\"");
    refused("method: {stages: [{epoch: 1}]}\n",
            "method.stages.0: no setting is called \"epoch\"; did you mean \"epochs\"?");
    refused("method: {stages: [{}, {}, {}, {}]}\n", "at most 3 items");
}

static void malformed_yaml_is_placed(void **state) {
    (void)state;
    refused("", "empty");
    refused("# only a comment\n", "empty");
    refused("just text\n", "expected settings");
    refused("- a\n- b\n", "expected settings (\"name: value\"), found a list");
    refused("seed: 1\nseed: 2\n", "r.yaml:2:1: \"seed\" a second time; it is already on line 1");
    refused("method:\n  lr: 1\n  lr: 1\n", "r.yaml:3:3: \"lr\" a second time");
    refused("method:\n\tlr: 1\n", "r.yaml:2:");
    refused("method: {lr: 1\n", "not YAML");
    refused("note: \"abc\n", "not YAML");
    refused("a: &x 1\nb: *x\n", "anchors are not supported");
    refused("a: *x\n", "aliases are not supported");
    refused("seed: !!int 3\n", "tags are not supported");
    refused("? [a, b]\n: 3\n", "expected the name of a setting");
    refused("\"\": 3\n", "expected the name of a setting");
    refused("seed: 1\n---\nseed: 2\n", "a second document");
    refused("note: \"a\\0b\"\n", "zero byte");
    refused("note: \xff\xfe\n", "expected UTF-8");
    refused("a: [[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]\n", "nested deeper than 16 levels");
    size_t n = CEL_CONF_MAX_NODES * 2 + 100;
    char *big = cel_alloc(n, 1);
    memcpy(big, "a: [", 4);
    for (int i = 0; i < CEL_CONF_MAX_NODES + 1; i++) memcpy(big + 4 + 2 * i, "1,", 2);
    refused(big, "more than 10000 values");
    cel_free(big);
    char *huge = cel_alloc(CEL_CONF_MAX_BYTES + 2, 1);
    memset(huge, '#', CEL_CONF_MAX_BYTES + 1);
    cel_conf *tree;
    test_fails(cel_conf_parse("h.yaml", huge, CEL_CONF_MAX_BYTES + 1, &tree), CEL_CONFIG, "expected at most");
    cel_free(huge);
}

static void set_from_the_command_line(void **state) {
    (void)state;
    recipe r;
    bind(&r);
    const char *text = "method:\n  lr: 0.5\n  stages: [{k: 4}, {k: 2}]\n";
    test_ok(cel_conf_parse("r.yaml", text, strlen(text), &r.tree));
    test_ok(cel_conf_set(r.tree, "method.lr=0.25"));
    test_ok(cel_conf_set(r.tree, "seed=7"));
    test_ok(cel_conf_set(r.tree, "method.stages.1.epochs=3"));
    test_ok(cel_conf_set(r.tree, "note=\"\""));
    test_ok(cel_conf_read(r.tree, r.sections, 3));
    assert_true(r.method.lr == 0.25 && r.top.seed == 7 && r.method.stages[1].epochs == 3 && r.method.stages[1].k == 2);
    test_ok(cel_conf_set(r.tree, "method.stages=[{k: 8, epochs: 1}]"));
    test_ok(cel_conf_read(r.tree, r.sections, 3));
    assert_int_equal(r.method.n_stages, 1);
    assert_int_equal(r.method.stages[0].k, 8);
    test_fails(cel_conf_set(r.tree, "method.stages.1.k=3"), CEL_CONFIG, "expected a position from 0 to 0");
    test_fails(cel_conf_set(r.tree, "seed.x=3"), CEL_CONFIG, "inside a single value");
    test_fails(cel_conf_set(r.tree, "seed"), CEL_USAGE, "expected section.key=value");
    test_fails(cel_conf_set(r.tree, "=3"), CEL_USAGE, "expected section.key=value");
    test_fails(cel_conf_set(r.tree, "a..b=3"), CEL_USAGE, "expected section.key=value");
    test_fails(cel_conf_set(r.tree, "seed="), CEL_USAGE, "no value");
    test_fails(cel_conf_set(r.tree, "seed=[1"), CEL_CONFIG, "not YAML");
    test_ok(cel_conf_set(r.tree, "method.lrr=0.1"));
    test_fails(cel_conf_read(r.tree, r.sections, 3), CEL_CONFIG,
               "--set method.lrr=0.1: no setting is called \"method.lrr\"; did you mean \"method.lr\"?");
    cel_conf_destroy(r.tree);
}

static void write_file(const char *dir, const char *name, const char *text) {
    char *path = cel_path_join(dir, name);
    test_ok(cel_file_write_atomic(path, text, strlen(text)));
    cel_free(path);
}

static cel_status load(recipe *r, const char *dir, const char *name, const char *base_dir) {
    bind(r);
    char *path = cel_path_join(dir, name);
    cel_status status = cel_conf_load(path, base_dir, &r->tree);
    cel_free(path);
    CEL_TRY(status);
    return cel_conf_read(r->tree, r->sections, 3);
}

static void one_level_of_base(void **state) {
    (void)state;
    char *dir = test_temp_dir(), *elsewhere = test_temp_dir();
    write_file(dir, "base.yaml", "seed: 3\nmethod:\n  lr: 0.5\n  wd: 0.25\n  stages: [{k: 4}, {k: 2}]\n");
    write_file(dir, "child.yaml", "base: base.yaml\nmethod:\n  lr: 0.125\n  stages: [{k: 1}]\n");
    write_file(elsewhere, "far.yaml", "base: base.yaml\nseed: 4\n");
    write_file(dir, "grand.yaml", "base: child.yaml\n");
    write_file(dir, "lost.yaml", "base: nowhere.yaml\n");
    write_file(dir, "list.yaml", "base: [a]\n");
    write_file(dir, "bad.yaml", "base: base.yaml\nmethod:\n  lrr: 1\n");
    recipe r;
    test_ok(load(&r, dir, "child.yaml", NULL));
    assert_true(r.top.seed == 3 && r.method.lr == 0.125 && r.extra.wd == 0.25 && r.method.n_stages == 1);
    cel_conf_destroy(r.tree);
    test_ok(load(&r, elsewhere, "far.yaml", dir));
    assert_true(r.top.seed == 4 && r.method.lr == 0.5);
    cel_conf_destroy(r.tree);
    test_fails(load(&r, elsewhere, "far.yaml", NULL), CEL_NOTFOUND, "base.yaml");
    test_fails(load(&r, dir, "grand.yaml", NULL), CEL_CONFIG, "one level is allowed");
    test_fails(load(&r, dir, "lost.yaml", NULL), CEL_NOTFOUND, "lost.yaml:1:7: base: ");
    test_fails(load(&r, dir, "list.yaml", NULL), CEL_CONFIG, "expected a file, found a list");
    test_fails(load(&r, dir, "absent.yaml", NULL), CEL_NOTFOUND, "absent.yaml");
    test_fails(load(&r, dir, "bad.yaml", NULL), CEL_CONFIG, "bad.yaml:3:3: no setting is called \"method.lrr\"");
    cel_conf_destroy(r.tree);
    test_temp_dir_remove(dir);
    test_temp_dir_remove(elsewhere);
}

static void dump_reads_back_to_the_same_bits(void **state) {
    (void)state;
    const double values[] = {0.1,  1.0 / 3, 5e-324, 1, 0, 0.30000000000000004, 2.2250738585072014e-308,
                             1e-5, 0.025,   -0.0};
    const char *notes[] = {
        "",        "true", "1e3", "a \"b\" \\ c\n\t\x01", "\xc3\xbc\xe2\x80\xa8\xc2\x85\xef\xbb\xbf\xef\xbf\xbf z",
        " - x: #", "~"};
    for (size_t i = 0; i < CEL_COUNT(values); i++) {
        recipe a, b;
        test_ok(read_text(&a, "method: {stages: [{k: 4, share: 0.1}, {k: 3}]}"));
        a.method.lr = values[i];
        a.method.stages[1].share = values[(i + 1) % CEL_COUNT(values)];
        a.top.note = notes[i % CEL_COUNT(notes)];
        a.top.seed = INT64_MAX - 1;
        for (int form = 0; form < CEL_CONF_JSON + 1; form++) { /* JSON is YAML, too */
            char *text, *again;
            test_ok(cel_conf_dump(a.sections, 3, (cel_conf_form)form, &text));
            test_ok(read_text(&b, text));
            assert_memory_equal(&a.method.lr, &b.method.lr, sizeof(double));
            assert_memory_equal(&a.method.stages[1], &b.method.stages[1], sizeof(stage));
            assert_string_equal(a.top.note, b.top.note);
            assert_true(a.top.seed == b.top.seed && b.method.n_stages == 2);
            test_ok(cel_conf_dump(b.sections, 3, (cel_conf_form)form, &again));
            assert_string_equal(text, again);
            json_t *json = form == CEL_CONF_JSON ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
            if (form == CEL_CONF_JSON)
                assert_string_equal(json_string_value(json_object_get(json, "note")), a.top.note);
            json_decref(json);
            cel_free(text);
            cel_free(again);
            cel_conf_destroy(b.tree);
        }
        a.method.lr = 7;
        char *text;
        test_fails(cel_conf_dump(a.sections, 3, CEL_CONF_YAML, &text), CEL_CONFIG,
                   "method.lr: expected a number from 0 to 1, found 7");
        cel_conf_destroy(a.tree);
    }
}

static void numbers_in_text(void **state) {
    (void)state;
    double real;
    int64_t whole;
    const char *bad[] = {"", "-", ".", "e5", "1e", "1 ", " 1", "0x10", "inf", "nan", "1e309", "1,5", "--1", "1e+"};
    for (size_t i = 0; i < CEL_COUNT(bad); i++) assert_false(cel_text_to_real(bad[i], &real));
    assert_true(cel_text_to_real("-1.5E-3", &real) && real == -1.5e-3);
    const char *bad_int[] = {"", "+", "1.0", "1e3", "9223372036854775808", "0x1", "1 "};
    for (size_t i = 0; i < CEL_COUNT(bad_int); i++) assert_false(cel_text_to_int(bad_int[i], &whole));
    assert_true(cel_text_to_int("-9223372036854775808", &whole) && whole == INT64_MIN);
    char text[CEL_REAL_TEXT];
    cel_text_from_real(1, text);
    assert_string_equal(text, "1.0");
    cel_text_from_real(-60, text);
    assert_string_equal(text, "-60.0");
    cel_text_from_real(-0.0, text);
    assert_string_equal(text, "-0.0");
    cel_text_from_real(3e-4, text);
    assert_string_equal(text, "0.0003");
    cel_text_from_real(1e22, text);
    assert_string_equal(text, "1e+22");
}

static void nearest_names(void **state) {
    (void)state;
    const char *names[] = {"search", "report", "query", NULL, "list"};
    assert_string_equal(cel_text_nearest("serach", names, 5), "search");
    assert_string_equal(cel_text_nearest("Lis", names, 5), "list");
    assert_string_equal(cel_text_nearest("reprot", names, 5), "report");
    assert_null(cel_text_nearest("xyz", names, 5));
    assert_null(cel_text_nearest("", names, 5));
    char word[200];
    memset(word, 'a', sizeof word - 1);
    word[sizeof word - 1] = 0;
    assert_null(cel_text_nearest(word, names, 5));
}

static void each_failing_allocation_is_clean(void **state) {
    (void)state;
    const char *text = "note: hello\nmethod: {lr: 0.5, stages: [{k: 4}, {k: 2}]}\n";
    int failures = 0;
    for (uint64_t n = 1; n < 100; n++) {
        recipe r;
        bind(&r);
        char *dump = NULL;
        cel_mem_fail_at(n);
        cel_status status = cel_conf_parse("r.yaml", text, strlen(text), &r.tree);
        if (status == CEL_OK) status = cel_conf_set(r.tree, "method.warmup=3");
        if (status == CEL_OK) status = cel_conf_read(r.tree, r.sections, 3);
        if (status == CEL_OK) status = cel_conf_dump(r.sections, 3, CEL_CONF_YAML_HELP, &dump);
        cel_mem_fail_at(0);
        assert_true(status == CEL_OK || status == CEL_NOMEM);
        failures += status == CEL_NOMEM;
        cel_free(dump);
        cel_conf_destroy(r.tree);
        if (status == CEL_OK) break;
    }
    assert_true(failures > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_and_values),
        cmocka_unit_test(wrong_settings_are_named),
        cmocka_unit_test(malformed_yaml_is_placed),
        cmocka_unit_test(set_from_the_command_line),
        cmocka_unit_test(one_level_of_base),
        cmocka_unit_test(dump_reads_back_to_the_same_bits),
        cmocka_unit_test(numbers_in_text),
        cmocka_unit_test(nearest_names),
        cmocka_unit_test(each_failing_allocation_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
