/* Any bytes as a comparison's record of ends (results.jsonl), or as settings laid over a recipe: the first byte chooses. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lab/compare.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What was read must be usable without further checks. */
static void check(const cel_comparison *c, const cel_compare_end *ends, int n) {
    for (int i = 0; i < n; i++) {
        if (ends[i].method < 0 || ends[i].method >= c->conf.n_methods || ends[i].dataset < 0 ||
            ends[i].dataset >= c->conf.n_datasets || ends[i].seed < 0 || ends[i].seed >= c->conf.seeds)
            abort();
        if (!isfinite(ends[i].seconds) || !ends[i].genotype == !ends[i].failure) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static cel_comparison *c; /* reachable to the end, so no leak */
    if (!c && cel_comparison_open("compare-demo", NULL, 0, &c) != CEL_OK) abort();
    if (!n) return 0;
    const char *text = (const char *)data + 1;
    cel_arena arena = {0};
    if (data[0] == 'e') {
        cel_compare_end *ends;
        int n_ends;
        if (cel_compare_ends(c, "results.jsonl", text, n - 1, &arena, &ends, &n_ends) == CEL_OK) check(c, ends, n_ends);
    } else {
        cel_conf *over, *tree;
        cel_recipe *recipe;
        if (cel_conf_parse("settings", text, n - 1, &over) == CEL_OK) {
            if (cel_conf_create(&tree) != CEL_OK) abort();
            if (cel_conf_lay(tree, over, "methods.0.settings") == CEL_OK &&
                cel_conf_lay(tree, over, "common") == CEL_OK) {
                if (cel_recipe_take(tree, &recipe) == CEL_OK) cel_recipe_destroy(recipe);
            } else {
                cel_conf_destroy(tree);
            }
            cel_conf_destroy(over);
        }
    }
    cel_arena_fini(&arena);
    return 0;
}
