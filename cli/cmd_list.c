/* cellar list: methods, searchers, spaces, data sets, recipes and comparisons, from the library's own registries. */
#include <string.h>

#include "cellar/compare.h"
#include "cellar/score.h"
#include "cellar/searcher.h"
#include "cellar/text.h"
#include "cli.h"

static void put_row(const char *name, const char *text, const char *more) {
    printf("%s%-36s%s %s%s%s%s\n", cli_style(stdout, "\033[1m"), name, cli_style(stdout, "\033[0m"), text,
           *more ? " (" : "", more, *more ? ")" : "");
}

static void put_json_field(const char *key, const char *value, const char *before) {
    printf("%s\"%s\":", before, key);
    cli_json_text(stdout, value);
}

/* A method or a space: name, title, paper, and with `settings` its settings. */
static cel_status put_entry(int i, const char *name, const char *title, const char *paper, const char *settings) {
    if (cli.json) {
        put_json_field("name", name, i ? ",{" : "{");
        put_json_field("title", title, ",");
        put_json_field("paper", paper, ",");
        if (settings) put_json_field("settings", settings, ",");
        printf("}");
    } else {
        put_row(name, title, paper);
        if (settings) printf("%s%s", settings, *settings ? "\n" : "");
    }
    return CEL_OK;
}

static cel_status list_methods(bool settings) {
    const cel_method *method;
    for (int i = 0; (method = cel_search_method(i)); i++) {
        char *text = NULL;
        if (settings) CEL_TRY(cel_method_settings(method, &text));
        cel_status status = put_entry(i, method->name, method->title, method->paper, text);
        cel_free(text);
        CEL_TRY(status);
    }
    return CEL_OK;
}

static cel_status list_searchers(bool settings) {
    for (int i = 0; i < cel_searcher_count(); i++) {
        cel_searcher_info s = cel_searcher_get(i);
        char *text = NULL;
        if (settings) CEL_TRY(cel_searcher_settings(s.name, &text));
        cel_status status = put_entry(i, s.name, s.title, s.paper, text);
        cel_free(text);
        CEL_TRY(status);
    }
    return CEL_OK;
}

static cel_status list_spaces(bool settings) {
    const cel_space *space;
    for (int i = 0; (space = cel_search_space(i)); i++) {
        char *text = NULL;
        if (settings) CEL_TRY(cel_space_settings(space, &text));
        cel_status status = put_entry(i, space->name, space->title, space->paper, text);
        cel_free(text);
        CEL_TRY(status);
    }
    return CEL_OK;
}

static cel_status list_datasets(bool settings) {
    (void)settings;
    for (int i = 0; i < cel_source_count(); i++) {
        cel_source_info s = cel_source_get(i);
        if (cli.json) {
            put_json_field("name", s.name, i ? ",{" : "{");
            put_json_field("about", s.about, ",");
            printf(",\"needs_path\":%s}", s.needs_path ? "true" : "false");
        } else {
            put_row(s.name, s.about, s.needs_path ? "needs data.path" : "");
        }
    }
    return CEL_OK;
}

static cel_status list_proxies(bool settings) {
    (void)settings;
    for (int i = 0; i < cel_proxy_count(); i++) {
        cel_proxy_info p = cel_proxy_get(i);
        if (cli.json) {
            put_json_field("name", p.name, i ? ",{" : "{");
            put_json_field("title", p.title, ",");
            put_json_field("paper", p.paper, ",");
            printf(",\"higher_is_better\":%s,\"needs_images\":%s,\"needs_gradient\":%s}",
                   p.higher_is_better ? "true" : "false", p.needs_images ? "true" : "false",
                   p.needs_gradient ? "true" : "false");
        } else {
            put_row(p.name, p.title, p.paper);
        }
    }
    return CEL_OK;
}

static cel_status put_recipe(void *ctx, const char *name, const char *path) {
    int *n = ctx;
    cel_recipe *recipe;
    CEL_TRY(cel_recipe_open(path, NULL, 0, &recipe));
    cel_recipe_info info = cel_recipe_get_info(recipe);
    if (cli.json) {
        put_json_field("name", name, (*n)++ ? ",{" : "{");
        put_json_field("path", path, ",");
        put_json_field("title", info.title, ",");
        put_json_field("method", info.method, ",");
        put_json_field("space", info.space, ",");
        put_json_field("dataset", info.dataset, ",");
        printf(",\"epochs\":%d", info.n_epochs);
        if (info.expect_test > 0) {
            put_json_field("dataset", info.expect_dataset, ",\"expect\":{");
            printf(",\"test\":%.17g,\"std\":%.17g", info.expect_test, info.expect_std);
            put_json_field("source", info.expect_source, ",");
            printf("}");
        }
        printf("}");
    } else {
        char expected[160] = "";
        if (info.expect_test > 0)
            snprintf(expected, sizeof expected, "published: %.2f %% on %s", info.expect_test, info.expect_dataset);
        put_row(name, info.title, expected);
    }
    cel_recipe_destroy(recipe);
    return CEL_OK;
}

static cel_status list_recipes(bool settings) {
    int n = 0;
    (void)settings;
    return cel_recipe_each(put_recipe, &n);
}

static cel_status put_comparison(void *ctx, const char *name, const char *path) {
    int *n = ctx;
    cel_comparison *c;
    CEL_TRY(cel_comparison_open(path, NULL, 0, &c));
    cel_comparison_info info = cel_comparison_get_info(c);
    if (cli.json) {
        put_json_field("name", name, (*n)++ ? ",{" : "{");
        put_json_field("path", path, ",");
        put_json_field("title", info.title, ",");
        printf(",\"methods\":%d,\"datasets\":%d,\"seeds\":%d}", info.n_methods, info.n_datasets, info.n_seeds);
    } else {
        char searches[64];
        snprintf(searches, sizeof searches, "%d searches", info.n_searches);
        put_row(name, info.title, searches);
    }
    cel_comparison_destroy(c);
    return CEL_OK;
}

static cel_status list_comparisons(bool settings) {
    int n = 0;
    (void)settings;
    return cel_comparison_each(put_comparison, &n);
}

static const struct {
    const char *name;
    cel_status (*run)(bool settings);
} lists[] = {{"methods", list_methods},        {"searchers", list_searchers}, {"spaces", list_spaces},
             {"datasets", list_datasets},      {"proxies", list_proxies},     {"recipes", list_recipes},
             {"comparisons", list_comparisons}};
enum { N_LISTS = sizeof lists / sizeof lists[0] };

cel_status cmd_list(int argc, char **argv) {
    bool settings = false;
    const cli_flag flags[] = {
        CLI_SWITCH("settings", &settings, "methods, searchers, spaces: with all settings, defaults and ranges"),
        CLI_END};
    cli_args args;
    CEL_TRY(cli_parse(argc, argv, "methods|searchers|spaces|datasets|recipes|comparisons",
                      "Lists what there is, with papers and published figures.", flags, 1, 1, &args));
    if (args.done) return CEL_OK;
    const char *names[N_LISTS];
    for (int i = 0; i < N_LISTS; i++) {
        names[i] = lists[i].name;
        if (strcmp(args.item[0], names[i])) continue;
        if (cli.json) printf("[");
        CEL_TRY(lists[i].run(settings));
        if (cli.json) printf("]\n");
        return CEL_OK;
    }
    const char *near = cel_text_nearest(args.item[0], names, N_LISTS);
    return CEL_FAIL(
        CEL_USAGE, "list: expected methods, searchers, spaces, datasets, recipes or comparisons, found \"%.60s\"%s%s%s",
        args.item[0], near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}
