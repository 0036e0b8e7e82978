/* A recipe as the lab sees it: the tree it was read from and the structs that its tables fill. */
#ifndef CEL_LAB_RECIPE_H
#define CEL_LAB_RECIPE_H
#include "cellar/run.h"
#include "nas/search/settings.h"

typedef struct cel_recipe_top {
    const char *title, *note;
} cel_recipe_top;
typedef struct cel_recipe_expect {
    const char *dataset, *source;
    double test, std;
} cel_recipe_expect;

struct cel_recipe {
    cel_conf *tree;
    cel_recipe_top top;
    cel_recipe_expect expect;
    cel_settings settings;
};

extern const cel_opt cel_recipe_expect_opts[];

/* A recipe's tree, not yet checked: see cel_recipe_open for the name. */
cel_status cel_recipe_tree(const char *name, cel_conf **out);
/* Makes a recipe of a tree, which it takes, also on failure. */
cel_status cel_recipe_take(cel_conf *tree, cel_recipe **out);
/* The file of a comparison: a path as it is, or the name of one that ships with cellar ("compare-demo"). *path: cel_free. */
cel_status cel_recipe_comparison(const char *name, char **path);
#endif
