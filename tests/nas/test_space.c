/* The contract of every registered space, and NAS-Bench-201's networks: they build in every shape that they accept, count the
 * parameters that they should, and refuse the rest with a reason. */
#include "base/conf/opt.h"
#include "engine/exec/exec.h"
#include "nas/search/supernet.h"
#include "nas/space/space.h"
#include "support/test.h"

enum { ENTRIES = 30 };

static void choices(void **state) {
    (void)state;
    for (int i = 0; cel_spaces[i]; i++) {
        const cel_choices *c = cel_spaces[i]->choices();
        const cel_topology *t = cel_topology_get(cel_spaces[i]->arch);
        int entries = 0;
        assert_int_equal(c->n, t->n_cells * t->n_edges);
        for (int r = 0; r < c->n; r++) {
            assert_int_equal(c->choice[r].first, entries);
            assert_true(c->choice[r].n >= 2 && c->choice[r].n <= CEL_MAX_CANDIDATES);
            assert_int_equal(c->choice[r].from, t->edges[r % t->n_edges].from);
            assert_int_equal(c->choice[r].to, t->edges[r % t->n_edges].to);
            for (int o = 0; o < c->choice[r].n; o++) assert_string_equal(c->choice[r].candidates[o], t->op_names[o]);
            entries += c->choice[r].n;
        }
        assert_int_equal(entries, c->n_entries);
        const cel_space *found;
        test_ok(cel_space_find(cel_spaces[i]->name, &found));
        assert_ptr_equal(found, cel_spaces[i]);
    }
    const cel_space *found;
    test_fails(cel_space_find("nb2001", &found), CEL_CONFIG, "did you mean \"nb201\"");
}

/* Text to network and back, for architectures all over the space. */
static void derives(void **state) {
    (void)state;
    for (int index = 0; index < CEL_NB201_COUNT; index += 97) {
        cel_genotype g, back;
        double scores[ENTRIES] = {0};
        char text[CEL_GENOTYPE_TEXT];
        test_ok(cel_nb201_from_index(index, &g));
        cel_genotype_format(&g, text);
        test_ok(cel_genotype_parse(text, &back));
        for (int e = 0; e < 6; e++) scores[e * 5 + back.edge[e].op] = 1;
        test_ok(cel_space_derive(&cel_space_nb201, scores, NULL, &back));
        assert_true(cel_genotype_equal(&g, &back));
    }
}

static void *settings_of(const cel_space *space, int c, int n) {
    int *conf = cel_alloc(1, space->conf_size);
    assert_non_null(conf);
    cel_opt_defaults(space->opts, conf);
    for (const cel_opt *o = space->opts; o->kind != CEL_OPT_END; o++) {
        if (!strcmp(o->name, "c")) memcpy((char *)conf + o->offset, &c, sizeof c);
        if (!strcmp(o->name, "n")) memcpy((char *)conf + o->offset, &n, sizeof n);
    }
    return conf;
}

static int64_t count_params(const cel_exec *e) {
    int n;
    int64_t sum = 0;
    const cel_slot *slots = cel_exec_param_slots(e, &n);
    for (int i = 0; i < n; i++) sum += (int64_t)slots[i].count;
    return sum;
}

/* Every form of the supernet: channels, masks, image sizes; the parameters that arch counts. */
static void supernets(void **state) {
    (void)state;
    static const struct {
        int c, n, k, image, classes;
    } shapes[] = {{4, 1, 1, 8, 10}, {4, 1, 2, 8, 10}, {8, 2, 4, 16, 3}, {6, 1, 3, 12, 120}, {16, 5, 4, 16, 100}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int fused = 0; fused < 2; fused++) {
            void *conf = settings_of(&cel_space_nb201, shapes[i].c, shapes[i].n);
            cel_supernet_conf super = {.space = &cel_space_nb201,
                                       .space_conf = conf,
                                       .shape = {4, 3, shapes[i].image, shapes[i].image, shapes[i].classes},
                                       .form = {.k = shapes[i].k, .fused = fused},
                                       .backend = cel_backend_find("ref"),
                                       .seed = 1};
            cel_supernet *net;
            cel_nb201_net count = {shapes[i].c, shapes[i].n, shapes[i].classes, shapes[i].image};
            int64_t want;
            test_ok(cel_supernet_create(&super, ENTRIES, &net));
            test_ok(cel_nb201_super_params(&count, shapes[i].k, &want));
            assert_int_equal(count_params(net->exec), want);
            cel_supernet_destroy(net);
            cel_free(conf);
        }
}

/* Discrete networks: the parameters that the table counts, also of cells that nothing passes through, and a forward pass. */
static void discretes(void **state) {
    (void)state;
    static const char *const cells[] = {
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|",
        "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|none~2|",
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"};
    for (int i = 0; i < 4; i++) {
        void *conf = settings_of(&cel_space_nb201, 4, 1);
        cel_net_shape shape = {2, 3, 8, 8, 10};
        cel_genotype genotype;
        cel_arch_cost cost;
        cel_graph *g;
        cel_exec *e;
        cel_net net;
        int program;
        float images[2 * 3 * 8 * 8], logits[20];
        int32_t labels[2] = {3, 7};
        for (size_t k = 0; k < sizeof images / sizeof *images; k++) images[k] = (float)((int)(k * 37 % 19) - 9) / 9;
        test_ok(cel_genotype_parse(cells[i], &genotype));
        test_ok(cel_space_nb201.cost(conf, &shape, &genotype, &cost));
        test_ok(cel_graph_create(&g));
        test_ok(cel_space_nb201.discrete(g, conf, &shape, &genotype, &net));
        test_ok(cel_graph_seal(g));
        test_ok(cel_exec_create(g, cel_backend_find("ref"), NULL, &e));
        test_ok(cel_exec_add_program(e, CEL_MODE_TRAIN, (cel_val[]){net.loss, net.logits}, 2, &program));
        test_ok(cel_exec_prepare(e, 1));
        assert_int_equal(count_params(e), cost.params);
        cel_exec_write(e, net.x, images);
        cel_exec_write(e, net.labels, labels);
        cel_exec_run(e, program);
        cel_exec_read(e, net.logits, logits);
        for (int k = 0; k < 20; k++) assert_true(isfinite(logits[k]));
        assert_true(cel_exec_scalar(e, net.loss) > 0);
        cel_exec_destroy(e);
        cel_graph_destroy(g);
        cel_free(conf);
    }
}

static void refuses(void **state) {
    (void)state;
    void *conf = settings_of(&cel_space_nb201, 6, 1);
    cel_net_shape shape = {2, 3, 8, 8, 10}, small = {2, 3, 3, 8, 10};
    test_fails(cel_space_nb201.check(conf, &shape, 4), CEL_CONFIG, "k = 1, 2, 3, 6");
    test_fails(cel_space_nb201.check(conf, &small, 2), CEL_CONFIG, "too small");
    test_ok(cel_space_nb201.check(conf, NULL, 3));
    cel_graph *g;
    cel_net net;
    cel_genotype genotype = {.space = CEL_ARCH_NB201, .n = 5};
    test_ok(cel_graph_create(&g));
    assert_int_not_equal(cel_space_nb201.discrete(g, conf, &shape, &genotype, &net), CEL_OK);
    cel_graph_destroy(g);
    cel_free(conf);
}

static void widened(void **state) {
    (void)state;
    char out[256], in[256];
    cel_space_nb201.widened("cell0.edge1<-0.nor_conv_1x1.conv.weight", out, in);
    assert_string_equal(out, "cell0.edge1<-0.nor_conv_1x1");
    assert_string_equal(in, out);
    cel_space_nb201.widened("cell0.edge1<-0.nor_conv_1x1.bn.running_var", out, in);
    assert_string_equal(out, "cell0.edge1<-0.nor_conv_1x1");
    assert_string_equal(in, "");
    cel_space_nb201.widened("stem.conv.weight", out, in);
    assert_string_equal(out, "");
    assert_string_equal(in, "");
}

/* Widening keeps what it does not copy, and refuses to shrink. */
static void carries(void **state) {
    (void)state;
    void *conf = settings_of(&cel_space_nb201, 4, 1);
    cel_supernet_conf super = {.space = &cel_space_nb201,
                               .space_conf = conf,
                               .shape = {4, 3, 8, 8, 4},
                               .form = {.k = 4, .fused = true},
                               .backend = cel_backend_find("ref"),
                               .seed = 1};
    cel_supernet *narrow, *wide;
    test_ok(cel_supernet_create(&super, ENTRIES, &narrow));
    super.form.k = 1;
    super.seed = 2;
    test_ok(cel_supernet_create(&super, ENTRIES, &wide));
    cel_widen_seed seed = {.seed = 9, .stage = 1};
    cel_luggage *luggage, *larger;
    test_ok(cel_supernet_pack(narrow, &luggage));
    test_ok(cel_supernet_carry(luggage, wide, cel_widen_draw_random, &seed));
    for (uint64_t nth = 1;; nth++) { /* a lack of memory leaves nothing behind */
        cel_luggage *never = NULL;
        cel_mem_fail_at(nth);
        cel_status status = cel_supernet_pack(narrow, &never);
        cel_mem_fail_at(0);
        cel_luggage_destroy(never);
        if (status == CEL_OK) break;
        assert_int_equal(status, CEL_NOMEM);
    }
    int n, n_old;
    size_t size;
    const cel_slot *slots = cel_exec_param_slots(wide->exec, &n), *old = cel_exec_param_slots(narrow->exec, &n_old);
    const float *to = cel_exec_params(wide->exec, &size), *from = cel_exec_params(narrow->exec, &size);
    assert_int_equal(n, n_old);
    for (int i = 0; i < n; i++) {
        if (cel_shape_equal(slots[i].shape, old[i].shape)) {
            assert_memory_equal(to + slots[i].offset, from + old[i].offset, slots[i].count * sizeof(float));
            continue;
        }
        for (size_t k = 0; k < slots[i].count; k++) { /* every new number is an old one */
            bool there = false;
            for (size_t j = 0; j < old[i].count; j++) there |= to[slots[i].offset + k] == from[old[i].offset + j];
            assert_true(there);
        }
    }
    test_ok(cel_supernet_pack(wide, &larger));
    test_fails(cel_supernet_carry(larger, narrow, cel_widen_draw_random, &seed), CEL_INTERNAL, "does not widen");
    cel_luggage_destroy(luggage);
    cel_luggage_destroy(larger);
    cel_supernet_destroy(narrow);
    cel_supernet_destroy(wide);
    cel_free(conf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices), cmocka_unit_test(derives), cmocka_unit_test(supernets), cmocka_unit_test(discretes),
        cmocka_unit_test(refuses), cmocka_unit_test(widened), cmocka_unit_test(carries)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
