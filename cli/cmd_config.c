/* cellar config: a recipe with every setting spelt out, or its check. */
#include <string.h>

#include "cellar/run.h"
#include "cellar/text.h"
#include "cli.h"

static cel_status show(const cel_recipe *recipe, bool bare) {
    char *text;
    CEL_TRY(cel_recipe_text(recipe, cli.json ? CEL_RECIPE_JSON : bare ? CEL_RECIPE_YAML : CEL_RECIPE_YAML_HELP, &text));
    printf("%s%s", text, cli.json ? "\n" : "");
    cel_free(text);
    return CEL_OK;
}

static void say_good(const cel_recipe *recipe, const char *name) {
    cel_recipe_info info = cel_recipe_get_info(recipe);
    cli_say("%s: good: %s on %s, %d epochs of %s, seed %lld", name, info.method, info.space, info.n_epochs,
            info.dataset, (long long)info.seed);
    if (cli.json) printf("{\"good\":true,\"epochs\":%d}\n", info.n_epochs);
}

cel_status cmd_config(int argc, char **argv) {
    cli_list sets = {.n = 0};
    bool bare = false;
    const cli_flag flags[] = {
        CLI_LIST("set", &sets, "KEY=VALUE", "change a setting, e.g. --set search.seed=2; may be repeated"),
        CLI_SWITCH("bare", &bare, "show: without the comments"), CLI_END};
    cli_args args;
    CEL_TRY(cli_parse(
        argc, argv, "show|check RECIPE",
        "show prints the recipe as it would run: every setting with its value, range and meaning.\n"
        "check says whether it is right, and if not, where. RECIPE is a file or a name of `cellar list recipes`.",
        flags, 2, 2, &args));
    if (args.done) return CEL_OK;
    bool shows = !strcmp(args.item[0], "show");
    if (!shows && strcmp(args.item[0], "check"))
        return CEL_FAIL(CEL_USAGE, "config: expected show or check, found \"%.60s\"", args.item[0]);
    cel_recipe *recipe;
    CEL_TRY(cel_recipe_open(args.item[1], sets.item, sets.n, &recipe));
    cel_status status = CEL_OK;
    if (shows)
        status = show(recipe, bare);
    else
        say_good(recipe, args.item[1]);
    cel_recipe_destroy(recipe);
    return status;
}
