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
#endif
