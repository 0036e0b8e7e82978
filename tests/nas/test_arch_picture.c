/* Pictures of cells: one exact drawing, and properties that hold for every cell of both spaces. */
#include "support/test.h"

#include "base/mem.h"
#include "base/rng.h"
#include "cellar/arch.h"

static int count(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) n++;
    return n;
}

static void an_exact_drawing(void **state) {
    (void)state;
    cel_genotype g;
    char *text;
    test_ok(cel_genotype_parse(
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|", &g));
    test_ok(cel_arch_draw(&g, 0, &text));
    assert_string_equal(text, "   ╭───────────────────────── skip ──────────────────────────╮\n"
                              "   ├───────────── conv 1×1 ──────────────╮                   │\n"
                              "   │                                     ▼                   ▼\n"
                              " (0)─── conv 3×3 ───▶(1)─ avg pool 3×3 ─▶(2)─── conv 3×3 ───▶(3)\n"
                              "                       ╎                                     ╎\n"
                              "                       ╰╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ none ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╯\n");
    cel_free(text);
    test_ok(cel_arch_draw(&g, CEL_DRAW_ASCII, &text));
    assert_string_equal(text, "   +------------------------- skip --------------------------+\n"
                              "   +------------- conv 1x1 --------------+                   |\n"
                              "   |                                     v                   v\n"
                              " (0)--- conv 3x3 --->(1)- avg pool 3x3 ->(2)--- conv 3x3 --->(3)\n"
                              "                       :                                     :\n"
                              "                       ................ none .................\n");
    cel_free(text);
    test_ok(cel_arch_draw(&g, CEL_DRAW_COLOR, &text));
    assert_non_null(strstr(text, "\033[94m"));
    assert_non_null(strstr(text, "\033[0m"));
    cel_free(text);
}

static cel_genotype random_darts(uint64_t seed) {
    cel_rng rng = cel_rng_at(seed, "test-picture", 0, 0);
    double weights[196];
    cel_genotype g;
    for (int i = 0; i < 196; i++) weights[i] = cel_rng_uniform(&rng);
    test_ok(cel_genotype_derive(CEL_ARCH_DARTS, weights, NULL, &g));
    return g;
}

/* Each operation is named as often as it stands in the cell. */
static void check_labels(const cel_genotype *g, const char *text, const char *before, const char *after) {
    const cel_topology *t = cel_topology_get(g->space);
    for (int op = 0; op < t->n_ops; op++) {
        int want = 0;
        for (int e = 0; e < g->n; e++) want += g->edge[e].op == op;
        char label[32];
        snprintf(label, sizeof label, "%s%s%s", before, cel_arch_op_label(g->space, op), after);
        assert_int_equal(count(text, label), want);
    }
}

static void check_draw(const cel_genotype *g) {
    char *text;
    test_ok(cel_arch_draw(g, CEL_DRAW_ASCII, &text));
    for (const char *p = text; *p; p++) assert_true((*p >= ' ' && *p <= '~') || *p == '\n');
    check_labels(g, text, " ", " ");
    cel_free(text);
}

/* Well-formed: every tag closed in order, quotes paired. */
static void check_tags(const char *svg) {
    char open[16][16];
    int depth = 0;
    for (const char *p = strchr(svg, '<'); p; p = strchr(p + 1, '<')) {
        const char *end = strchr(p, '>');
        char name[16] = "";
        assert_non_null(end);
        memcpy(name, p + 1 + (p[1] == '/'), strcspn(p + 1 + (p[1] == '/'), " />"));
        if (p[1] == '/') {
            assert_true(depth > 0);
            assert_string_equal(open[--depth], name);
        } else if (end[-1] != '/') {
            assert_true(depth < 16);
            memcpy(open[depth++], name, sizeof name);
        }
    }
    assert_int_equal(depth, 0);
    assert_int_equal(count(svg, "\"") % 2, 0);
}

static void check_svg(const cel_genotype *g) {
    const cel_topology *t = cel_topology_get(g->space);
    char *svg, *plain, *to;
    int solid = 0;
    test_ok(cel_arch_svg(g, &svg));
    check_tags(svg);
    for (int e = 0; e < g->n; e++) solid += g->space != CEL_ARCH_NB201 || g->edge[e].op != CEL_NB201_NONE;
    assert_int_equal(count(svg, "<path "), g->n + solid); /* a line each, a head where something flows */
    assert_int_equal(count(svg, "<rect "), solid);
    assert_int_equal(count(svg, "<circle "), t->n_cells * t->n_nodes);
    assert_int_equal(count(svg, "http"), 1); /* the namespace */
    assert_null(strstr(svg, " id="));
    plain = to = cel_strdup(strstr(svg, "</title>"));
    for (const char *p = plain; *p;) {
        bool sign = !strncmp(p, "×", 2);
        *to++ = sign ? 'x' : *p;
        p += sign ? 2 : 1;
    }
    *to = 0;
    check_labels(g, plain, ">", "<");
    cel_free(plain);
    cel_free(svg);
}

static void every_cell_has_its_pictures(void **state) {
    (void)state;
    for (int i = 0; i < CEL_NB201_COUNT; i += 7) {
        cel_genotype g;
        test_ok(cel_nb201_from_index(i, &g));
        check_draw(&g);
        check_svg(&g);
    }
    for (uint64_t seed = 0; seed < 300; seed++) {
        cel_genotype g = random_darts(seed);
        check_draw(&g);
        check_svg(&g);
    }
}

static void failures(void **state) {
    (void)state;
    cel_genotype g = random_darts(1), bad = g;
    char *text;
    bad.n--;
    test_fails(cel_arch_svg(&bad, &text), CEL_FORMAT, "15 edges");
    test_fails(cel_arch_draw(&bad, 0, &text), CEL_FORMAT, "15 edges");
    for (uint64_t at = 1; at <= 2; at++) {
        cel_mem_fail_at(at);
        test_fails(cel_arch_svg(&g, &text), CEL_NOMEM, "out of memory");
    }
    for (uint64_t at = 1; at <= 5; at++) {
        cel_mem_fail_at(at);
        test_fails(cel_arch_draw(&g, 0, &text), CEL_NOMEM, "out of memory");
    }
    cel_mem_fail_at(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exact_drawing),
        cmocka_unit_test(every_cell_has_its_pictures),
        cmocka_unit_test(failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
