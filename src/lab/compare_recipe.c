/* The file of a comparison: its settings, and a recipe for each method on each data set.
 *
 * A recipe is laid together in this order: the method's recipe file, the settings common to all, those of the data set,
 * the method's own, the seed. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/conf/tree.h"
#include "base/file.h"
#include "cellar/text.h"
#include "lab/compare.h"

static const cel_opt method_opts[] = {
    CEL_TEXT(cel_compare_method, name, "", "its name in tables and directories: letters, digits, - _ ."),
    CEL_TEXT(cel_compare_method, label, "", "what tables call it; empty: the name"),
    CEL_TEXT(cel_compare_method, recipe, "",
             "recipe to start from: a name of `cellar list recipes`, or a file beside the comparison; empty: every "
             "setting's default"),
    CEL_TEXT(cel_compare_method, searcher, "", "instead of a recipe: a searcher that only asks the benchmark table"),
    CEL_INT(cel_compare_method, budget, 100, 1, 1000000, "of a searcher: queries"),
    CEL_TREE("settings", "laid over the recipe; of a searcher: its settings"),
    CEL_TREE("expect", "the published figure, as in a recipe"),
    CEL_OPTS_END};

static const cel_opt dataset_opts[] = {
    CEL_TEXT(cel_compare_dataset, name, "", "its name in tables and directories"),
    CEL_TREE("settings", "laid over every recipe on this data set: {data: {source: cifar10}}"), CEL_OPTS_END};

static const cel_opt top_opts[] = {
    CEL_TEXT(cel_compare_conf, title, "", "what is compared, in a line"),
    CEL_TEXT(cel_compare_conf, note, "", "what there is to know about it"),
    CEL_INT(cel_compare_conf, seeds, 3, 1, CEL_COMPARE_SEEDS, "searches of each method on each data set"),
    CEL_LONG(cel_compare_conf, first_seed, 1, 0, INT64_MAX / 2, "seed of the first; the others count on"),
    CEL_TEXT(cel_compare_conf, reference, "", "the method that the others are tested against; empty: the first"),
    CEL_REAL(cel_compare_conf, level, 0.05, 1e-6, 0.5, "significance level; intervals cover 1 - level"),
    CEL_LIST(cel_compare_conf, datasets, n_datasets, dataset_opts, "data sets to search on"),
    CEL_LIST(cel_compare_conf, methods, n_methods, method_opts, "what is compared"),
    CEL_TREE("common", "laid over every recipe"),
    CEL_OPTS_END};

const char *cel_compare_label(const cel_comparison *c, int method) {
    const cel_compare_method *m = &c->conf.methods[method];
    return *m->label ? m->label : m->name;
}

/* ---- one recipe ---- */

/* A recipe file's place: names stay, paths are seen from the comparison's directory. NULL: memory is out. */
static char *recipe_place(const cel_comparison *c, const char *name) {
    size_t n = strlen(name);
    const char *slash = strrchr(c->path, '/');
    bool path = strchr(name, '/') || (n > 5 && !strcmp(name + n - 5, ".yaml"));
    return path && *name != '/' && slash ? cel_asprintf("%.*s/%s", (int)(slash - c->path), c->path, name)
                                         : cel_strdup(name);
}

static cel_status start_tree(const cel_comparison *c, int method, cel_conf **out) {
    const char *name = c->conf.methods[method].recipe;
    if (!*name) return cel_conf_create(out);
    char *place = recipe_place(c, name);
    cel_status status = place ? cel_recipe_tree(place, out) : CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_free(place);
    return status;
}

static cel_status lay(cel_conf *tree, const cel_comparison *c, const char *list, int i, const char *section) {
    char path[64];
    snprintf(path, sizeof path, "%s.%d.%s", list, i, section);
    return cel_conf_lay(tree, c->tree, path);
}

static cel_status lay_together(const cel_comparison *c, int method, int dataset, int64_t seed, cel_conf *tree) {
    char assignment[64];
    CEL_TRY(cel_conf_lay(tree, c->tree, "common"));
    CEL_TRY(lay(tree, c, "datasets", dataset, "settings"));
    CEL_TRY(lay(tree, c, "methods", method, "settings"));
    snprintf(assignment, sizeof assignment, "search.seed=%lld", (long long)seed);
    return cel_conf_set(tree, assignment);
}

cel_status cel_compare_recipe(const cel_comparison *c, int method, int dataset, int64_t seed, cel_recipe **out) {
    cel_conf *tree;
    CEL_TRY(start_tree(c, method, &tree));
    cel_status status = lay_together(c, method, dataset, seed, tree);
    if (status == CEL_OK && !cel_conf_has(tree, "search.method"))
        status = CEL_FAIL(CEL_CONFIG, "neither a recipe nor settings: {search: {method: ...}} say what searches");
    if (status == CEL_OK) return cel_recipe_take(tree, out);
    cel_conf_destroy(tree);
    return status;
}

cel_status cel_compare_searcher(const cel_comparison *c, int method, int dataset, int64_t seed, const cel_table *table,
                                cel_searcher_found *out) {
    const cel_compare_plan *plan = &c->plan[method][dataset];
    const cel_searcher_run run = {.searcher = c->conf.methods[method].searcher,
                                  .set = plan->set,
                                  .n_set = plan->n_set,
                                  .dataset = cel_history_dataset[c->worth[dataset]],
                                  .budget = c->conf.methods[method].budget,
                                  .seed = (uint64_t)seed};
    return cel_searcher_search(table, &run, out);
}

char *cel_compare_run_dir(const cel_comparison *c, const char *dir, int method, int dataset, int64_t seed) {
    return cel_asprintf("%s/runs/%s/%s/seed-%lld", dir, c->conf.methods[method].name, c->conf.datasets[dataset].name,
                        (long long)seed);
}

/* ---- plans ---- */

static char *keep(cel_comparison *c, const char *text) { return cel_arena_strdup(&c->arena, text); }

static cel_status keep_expect(cel_comparison *c, const cel_recipe_expect *from, cel_recipe_expect *to) {
    *to = *from;
    to->dataset = keep(c, from->dataset);
    to->source = keep(c, from->source);
    return to->dataset && to->source ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory");
}

/* The entry's own published figure, if it has one. */
static cel_status read_expect(cel_comparison *c, int method, cel_recipe_expect *out) {
    char path[64];
    cel_conf *tree;
    cel_recipe_expect expect;
    const cel_section section = {"", cel_recipe_expect_opts, &expect};
    snprintf(path, sizeof path, "methods.%d.expect", method);
    if (!cel_conf_has(c->tree, path)) return CEL_OK;
    CEL_TRY(cel_conf_create(&tree));
    cel_status status = cel_conf_lay(tree, c->tree, path);
    if (status == CEL_OK) status = cel_conf_read(tree, &section, 1);
    if (status == CEL_OK) status = keep_expect(c, &expect, out);
    cel_conf_destroy(tree);
    return status;
}

static cel_status plan_recipe(cel_comparison *c, int method, int dataset, cel_compare_plan *plan) {
    cel_recipe *recipe;
    char *text = NULL;
    CEL_TRY(cel_compare_recipe(c, method, dataset, c->conf.first_seed, &recipe));
    cel_status status = cel_recipe_text(recipe, CEL_RECIPE_YAML, &text);
    if (status == CEL_OK && recipe->settings.space->arch != CEL_ARCH_NB201)
        status = CEL_FAIL(CEL_UNSUPPORTED, "search.space: %s; cells of nb201 alone can be looked up in a table",
                          recipe->settings.space->name);
    if (status == CEL_OK) {
        plan->settings = keep(c, text);
        plan->method = keep(c, recipe->settings.method->name);
        plan->n_epochs = cel_settings_epochs(&recipe->settings);
        if (!plan->settings || !plan->method) status = CEL_FAIL(CEL_NOMEM, "out of memory");
    }
    if (status == CEL_OK && strcmp(recipe->settings.data.source, c->source[dataset]))
        status =
            CEL_FAIL(CEL_CONFIG, "data.source: %s, but the data set %s has images of %s: only a data set says which",
                     recipe->settings.data.source, c->conf.datasets[dataset].name, c->source[dataset]);
    if (status == CEL_OK) status = keep_expect(c, &recipe->expect, &plan->expect);
    cel_free(text);
    cel_recipe_destroy(recipe);
    return status;
}

/* The settings of a searcher as assignments. */
static cel_status list_assignments(cel_comparison *c, const cel_conf *tree, cel_compare_plan *plan) {
    size_t n = 0;
    for (const cel_node *node = tree->root->child; node; node = node->next) n++;
    plan->set = cel_arena_alloc(&c->arena, n + 1, sizeof *plan->set);
    if (!plan->set) return CEL_FAIL(CEL_NOMEM, "out of memory");
    for (const cel_node *node = tree->root->child; node; node = node->next) {
        cel_node_place at;
        if (node->kind != CEL_NODE_TEXT)
            return CEL_FAIL(CEL_CONFIG, "%s: %s: expected a single value, found %s", cel_node_at(node, false, at),
                            node->key, cel_node_kind_text(node));
        char *text = cel_arena_printf(&c->arena, "%s=%s", node->key, node->text);
        if (!text) return CEL_FAIL(CEL_NOMEM, "out of memory");
        plan->set[plan->n_set++] = text;
    }
    return CEL_OK;
}

/* Settings and budget are checked by the run itself, and searchers run before all else. */
static cel_status plan_searcher(cel_comparison *c, int method, cel_compare_plan *plan) {
    const cel_compare_method *m = &c->conf.methods[method];
    cel_conf *tree;
    CEL_TRY(cel_conf_create(&tree));
    cel_status status = lay(tree, c, "methods", method, "settings");
    if (status == CEL_OK) status = list_assignments(c, tree, plan);
    cel_conf_destroy(tree);
    CEL_TRY(status);
    char *defaults;
    CEL_TRY(cel_searcher_settings(m->searcher, &defaults));
    cel_free(defaults);
    const char *text = cel_arena_printf(&c->arena, "searcher: %s\nbudget: %d\n", m->searcher, m->budget);
    for (int i = 0; text && i < plan->n_set; i++) text = cel_arena_printf(&c->arena, "%s%s\n", text, plan->set[i]);
    plan->settings = text;
    plan->method = m->searcher;
    plan->expect = (cel_recipe_expect){.dataset = "", .source = ""};
    return text ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory");
}

static cel_status make_plan(cel_comparison *c, int method, int dataset) {
    const cel_compare_method *m = &c->conf.methods[method];
    cel_compare_plan *plan = &c->plan[method][dataset];
    cel_status status = *m->searcher ? plan_searcher(c, method, plan) : plan_recipe(c, method, dataset, plan);
    if (status == CEL_OK) status = read_expect(c, method, &plan->expect);
    return status == CEL_OK
               ? CEL_OK
               : cel_status_prefix(status, "%s: method %s on %s", c->path, m->name, c->conf.datasets[dataset].name);
}

/* ---- the whole ---- */

static bool is_name(const char *text) {
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_' && (*p != '.' || p == text)) return false;
    return *text && strlen(text) <= 64;
}

static cel_status check_name(const cel_comparison *c, const char *list, int i, const char *name, const char *before) {
    if (!is_name(name))
        return CEL_FAIL(CEL_CONFIG,
                        "%s: %s.%d.name: expected 1 to 64 letters, digits, - _ . (not first), found \"%.80s\"", c->path,
                        list, i, name);
    if (before) return CEL_FAIL(CEL_CONFIG, "%s: %s.%d.name: \"%s\" is there twice", c->path, list, i, name);
    return CEL_OK;
}

static cel_status check_names(cel_comparison *c) {
    const cel_compare_conf *conf = &c->conf;
    if (!conf->n_methods || !conf->n_datasets)
        return CEL_FAIL(CEL_CONFIG, "%s: expected at least one entry below methods and one below datasets", c->path);
    for (int i = 0; i < conf->n_methods; i++) {
        const cel_compare_method *m = &conf->methods[i];
        const char *before = NULL;
        for (int k = 0; k < i; k++)
            if (!strcmp(conf->methods[k].name, m->name)) before = m->name;
        CEL_TRY(check_name(c, "methods", i, m->name, before));
        if (*m->searcher && *m->recipe)
            return CEL_FAIL(CEL_CONFIG, "%s: method %s: a recipe and a searcher; give only one of them", c->path,
                            m->name);
        if (!strcmp(conf->reference, m->name)) c->reference = i;
    }
    for (int i = 0; i < conf->n_datasets; i++) {
        const char *before = NULL;
        for (int k = 0; k < i; k++)
            if (!strcmp(conf->datasets[k].name, conf->datasets[i].name)) before = conf->datasets[i].name;
        CEL_TRY(check_name(c, "datasets", i, conf->datasets[i].name, before));
    }
    if (!*conf->reference || c->reference >= 0) {
        if (c->reference < 0) c->reference = 0;
        return CEL_OK;
    }
    const char *names[CEL_COMPARE_METHODS];
    for (int i = 0; i < conf->n_methods; i++) names[i] = conf->methods[i].name;
    const char *near = cel_text_nearest(conf->reference, names, (size_t)conf->n_methods);
    return CEL_FAIL(CEL_CONFIG, "%s: reference: no method is called \"%.60s\"%s%s%s", c->path, conf->reference,
                    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* Which images a data set has, and so which column of the table they are worth. */
static cel_status find_worth(cel_comparison *c, int dataset) {
    cel_conf *tree;
    cel_data_conf data;
    const cel_section section = {"data", cel_data_opts, &data};
    CEL_TRY(cel_conf_create(&tree));
    cel_status status = cel_conf_lay(tree, c->tree, "common");
    if (status == CEL_OK) status = lay(tree, c, "datasets", dataset, "settings");
    if (status == CEL_OK) status = cel_conf_peek(tree, &section, 1);
    if (status == CEL_OK && !(c->source[dataset] = keep(c, data.source))) status = CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_conf_destroy(tree);
    CEL_TRY(status);
    const char *worth = cel_table_dataset_of(c->source[dataset]);
    for (int i = 0; worth && i < CEL_HISTORY_DATASETS; i++)
        if (!strcmp(worth, cel_history_dataset[i])) {
            c->worth[dataset] = i;
            return CEL_OK;
        }
    return CEL_FAIL(
        CEL_CONFIG,
        "%s: data set %s: no benchmark table has accuracies on images of %s, so there is nothing to compare "
        "by; expected cifar10, cifar10-mini, cifar100 or imagenet16",
        c->path, c->conf.datasets[dataset].name, c->source[dataset]);
}

static cel_status read_all(cel_comparison *c) {
    const cel_section section = {"", top_opts, &c->conf};
    char *text;
    CEL_TRY(cel_conf_read(c->tree, &section, 1));
    CEL_TRY(check_names(c));
    for (int d = 0; d < c->conf.n_datasets; d++) CEL_TRY(find_worth(c, d));
    for (int m = 0; m < c->conf.n_methods; m++)
        for (int d = 0; d < c->conf.n_datasets; d++) CEL_TRY(make_plan(c, m, d));
    CEL_TRY(cel_conf_dump(&section, 1, CEL_CONF_YAML, &text));
    c->settings = keep(c, text);
    cel_free(text);
    return c->settings ? CEL_OK : CEL_FAIL(CEL_NOMEM, "out of memory");
}

static cel_status open_file(cel_comparison *c, const char *name, const char *const *sets, int n_sets) {
    char *path;
    CEL_TRY(cel_recipe_comparison(name, &path));
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    size_t n = strlen(file);
    if (n > 5 && !strcmp(file + n - 5, ".yaml")) n -= 5;
    c->path = keep(c, path);
    c->name = cel_arena_printf(&c->arena, "%.*s", (int)n, file);
    cel_free(path);
    if (!c->path || !c->name) return CEL_FAIL(CEL_NOMEM, "out of memory");
    CEL_TRY(cel_conf_load(c->path, NULL, &c->tree));
    for (int i = 0; i < n_sets; i++) CEL_TRY(cel_conf_set(c->tree, sets[i]));
    return read_all(c);
}

cel_status cel_comparison_open(const char *name, const char *const *sets, int n_sets, cel_comparison **out) {
    cel_comparison *c;
    CEL_ALLOC(c, 1);
    c->reference = -1;
    cel_status status = open_file(c, name, sets, n_sets);
    if (status != CEL_OK) {
        cel_comparison_destroy(c);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = c;
    return CEL_OK;
}

void cel_comparison_destroy(cel_comparison *c) {
    if (!c) return;
    cel_conf_destroy(c->tree);
    cel_arena_fini(&c->arena);
    cel_free(c);
}

cel_comparison_info cel_comparison_get_info(const cel_comparison *c) {
    const cel_compare_conf *conf = &c->conf;
    return (cel_comparison_info){.name = c->name,
                                 .title = conf->title,
                                 .note = conf->note,
                                 .n_methods = conf->n_methods,
                                 .n_datasets = conf->n_datasets,
                                 .n_seeds = conf->seeds,
                                 .n_searches = conf->n_methods * conf->n_datasets * conf->seeds};
}
