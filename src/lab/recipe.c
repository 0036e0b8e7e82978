#define _POSIX_C_SOURCE 200809L
#include "lab/recipe.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/datadir.h"
#include "base/file.h"
#include "cellar/compare.h"
#include "cellar/text.h"

static const cel_opt top_opts[] = {CEL_TEXT(cel_recipe_top, title, "", "what the recipe is, in a line"),
                                   CEL_TEXT(cel_recipe_top, note, "", "what there is to know about it"), CEL_OPTS_END};
const cel_opt cel_recipe_expect_opts[] = {
    CEL_TEXT(cel_recipe_expect, dataset, "", "the published figure: data set of the accuracy"),
    CEL_REAL(cel_recipe_expect, test, 0, 0, 100, "test accuracy of the found cell in percent; 0: none published"),
    CEL_REAL(cel_recipe_expect, std, 0, 0, 100, "its standard deviation over seeds"),
    CEL_TEXT(cel_recipe_expect, source, "", "where it is published"), CEL_OPTS_END};

enum { MAX_RECIPES = 256, SECTIONS = CEL_SETTINGS_SECTIONS + 2 };

static bool is_path(const char *name) {
    size_t n = strlen(name);
    return strchr(name, '/') || (n > 5 && !strcmp(name + n - 5, ".yaml"));
}

/* Comparisons lie beside the recipes; their names say what they are. */
static const char COMPARISON[] = "compare-";
static bool is_comparison(const char *name) { return !strncmp(name, COMPARISON, sizeof COMPARISON - 1); }

/* The names of the shipped recipes, or of the comparisons, sorted, without ".yaml". */
typedef struct {
    cel_arena arena;
    bool comparisons;
    const char *dir;
    const char *name[MAX_RECIPES];
    size_t n;
} recipe_list;

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static cel_status list_recipes(bool comparisons, recipe_list *out) {
    char *found;
    *out = (recipe_list){.comparisons = comparisons};
    CEL_TRY(cel_data_find("recipes", &found));
    out->dir = cel_arena_strdup(&out->arena, found);
    cel_free(found);
    if (!out->dir) return CEL_FAIL(CEL_NOMEM, "out of memory");
    DIR *d = opendir(out->dir);
    if (!d) return CEL_FAIL(CEL_IO, "%s: cannot list it: %s", out->dir, strerror(errno));
    bool failed = false;
    for (struct dirent *e; (e = readdir(d)) && out->n < MAX_RECIPES && !failed;) {
        size_t n = strlen(e->d_name);
        if (e->d_name[0] == '.' || n <= 5 || strcmp(e->d_name + n - 5, ".yaml") ||
            is_comparison(e->d_name) != comparisons)
            continue;
        out->name[out->n++] = cel_arena_printf(&out->arena, "%.*s", (int)(n - 5), e->d_name);
        failed = !out->name[out->n - 1];
    }
    closedir(d);
    if (failed) return CEL_FAIL(CEL_NOMEM, "out of memory");
    if (out->n > 1) qsort(out->name, out->n, sizeof out->name[0], by_text);
    return CEL_OK;
}

static cel_status each(bool comparisons, cel_recipe_fn *fn, void *ctx) {
    recipe_list list;
    cel_status status = list_recipes(comparisons, &list);
    for (size_t i = 0; i < list.n && status == CEL_OK; i++) {
        char *path = cel_asprintf("%s/%s.yaml", list.dir, list.name[i]);
        status = path ? fn(ctx, list.name[i], path) : CEL_FAIL(CEL_NOMEM, "out of memory");
        cel_free(path);
    }
    cel_arena_fini(&list.arena);
    return status;
}

cel_status cel_recipe_each(cel_recipe_fn *fn, void *ctx) { return each(false, fn, ctx); }
cel_status cel_comparison_each(cel_recipe_fn *fn, void *ctx) { return each(true, fn, ctx); }

/* The file of a recipe (or comparison) and the directory of the shipped ones (NULL when there is none), in `list`'s arena. */
static cel_status find_recipe(const char *name, bool comparison, recipe_list *list, const char **path) {
    cel_status status = list_recipes(comparison, list);
    *path = name;
    if (is_path(name)) return status == CEL_NOMEM ? status : CEL_OK;
    CEL_TRY(status);
    const char *near = cel_text_nearest(name, list->name, list->n);
    *path = cel_arena_printf(&list->arena, "%s/%s.yaml", list->dir, name);
    if (!*path) return CEL_FAIL(CEL_NOMEM, "out of memory");
    if (!*name || is_comparison(name) != comparison || !cel_path_exists(*path))
        return CEL_FAIL(CEL_NOTFOUND,
                        "no %s is called \"%.80s\"%s%s%s; `cellar list %ss` lists them, a file's name ends in .yaml",
                        comparison ? "comparison" : "recipe", name, near ? "; did you mean \"" : "", near ? near : "",
                        near ? "\"?" : "", comparison ? "comparison" : "recipe");
    return CEL_OK;
}

cel_status cel_recipe_tree(const char *name, cel_conf **out) {
    recipe_list list;
    const char *path;
    cel_status status = find_recipe(name, false, &list, &path);
    if (status == CEL_OK) status = cel_conf_load(path, list.dir, out);
    cel_arena_fini(&list.arena);
    return status == CEL_OK ? CEL_OK : cel_status_pass(status, __FILE__, __LINE__);
}

cel_status cel_recipe_comparison(const char *name, char **path) {
    recipe_list list;
    const char *found;
    cel_status status = find_recipe(name, true, &list, &found);
    if (status == CEL_OK && !(*path = cel_strdup(found))) status = CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_arena_fini(&list.arena);
    return status == CEL_OK ? CEL_OK : cel_status_pass(status, __FILE__, __LINE__);
}

static cel_status read_tree(cel_recipe *recipe) {
    const cel_section more[] = {{"", top_opts, &recipe->top}, {"expect", cel_recipe_expect_opts, &recipe->expect}};
    return cel_settings_init(&recipe->settings, recipe->tree, more, CEL_COUNT(more));
}

cel_status cel_recipe_take(cel_conf *tree, cel_recipe **out) {
    cel_recipe *recipe = cel_alloc(1, sizeof *recipe);
    if (!recipe) {
        cel_conf_destroy(tree);
        return CEL_FAIL(CEL_NOMEM, "out of memory: a recipe");
    }
    recipe->tree = tree;
    cel_status status = read_tree(recipe);
    if (status != CEL_OK) {
        cel_recipe_destroy(recipe);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = recipe;
    return CEL_OK;
}

cel_status cel_recipe_open(const char *name, const char *const *sets, int n_sets, cel_recipe **out) {
    cel_conf *tree;
    CEL_TRY(cel_recipe_tree(name, &tree));
    cel_status status = CEL_OK;
    for (int i = 0; i < n_sets && status == CEL_OK; i++) status = cel_conf_set(tree, sets[i]);
    if (status == CEL_OK) return cel_recipe_take(tree, out);
    cel_conf_destroy(tree);
    return cel_status_pass(status, __FILE__, __LINE__);
}

void cel_recipe_destroy(cel_recipe *recipe) {
    if (!recipe) return;
    cel_settings_fini(&recipe->settings);
    cel_conf_destroy(recipe->tree);
    cel_free(recipe);
}

cel_status cel_recipe_text(const cel_recipe *recipe, cel_recipe_form form, char **out) {
    cel_recipe *r = (cel_recipe *)(uintptr_t)recipe; /* the tables' structs are read only here */
    cel_section sections[SECTIONS] = {{"", top_opts, &r->top}};
    cel_settings_sections(&r->settings, sections + 1);
    sections[SECTIONS - 1] = (cel_section){"expect", cel_recipe_expect_opts, &r->expect};
    return cel_conf_dump(sections, SECTIONS, (cel_conf_form)form, out);
}
_Static_assert((int)CEL_RECIPE_YAML == CEL_CONF_YAML && (int)CEL_RECIPE_YAML_HELP == CEL_CONF_YAML_HELP &&
                   (int)CEL_RECIPE_JSON == CEL_CONF_JSON,
               "one list of forms");

static cel_status defaults_text(const char *section, const cel_opt *opts, size_t conf_size, char **out) {
    static const cel_opt none[] = {CEL_OPTS_END};
    void *conf = cel_alloc(1, conf_size + 1);
    if (!conf) return CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_section table = {section, opts ? opts : none, conf};
    cel_opt_defaults(table.opts, conf);
    cel_status status = cel_conf_dump(&table, 1, CEL_CONF_YAML_HELP, out);
    cel_free(conf);
    return status;
}

cel_status cel_method_settings(const cel_method *method, char **out) {
    return defaults_text("method", method->opts, method->conf_size, out);
}

cel_status cel_space_settings(const cel_space *space, char **out) {
    return defaults_text("space", space->opts, space->conf_size, out);
}

cel_recipe_info cel_recipe_get_info(const cel_recipe *r) {
    return (cel_recipe_info){.title = r->top.title,
                             .note = r->top.note,
                             .method = r->settings.method->name,
                             .space = r->settings.space->name,
                             .dataset = r->settings.data.source,
                             .data_path = r->settings.data.path,
                             .n_epochs = cel_settings_epochs(&r->settings),
                             .seed = r->settings.search.seed,
                             .expect_dataset = r->expect.dataset,
                             .expect_source = r->expect.source,
                             .expect_test = r->expect.test,
                             .expect_std = r->expect.std};
}
