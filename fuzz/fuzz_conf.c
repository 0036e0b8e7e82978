/* Any bytes as a recipe: parsed, changed by --set, read through tables and, when good, dumped and read back the same. */
#include <stdlib.h>
#include <string.h>

#include "base/conf/conf.h"
#include "base/mem.h"

typedef struct {
    int k;
    double share;
} stage;
typedef struct {
    int64_t seed;
    double lr;
    bool on;
    const char *note;
    int kind, n_stages;
    stage stages[4];
} conf;
static const char *const kinds[] = {"none", "l2", NULL};
static const cel_opt stage_opts[] = {CEL_INT(stage, k, 1, 1, 64, ""), CEL_REAL(stage, share, 0.5, 0, 1, ""),
                                     CEL_OPTS_END};
static const cel_opt opts[] = {CEL_LONG(conf, seed, 1, 0, INT64_MAX, ""),
                               CEL_REAL(conf, lr, 0.1, 0, 1, ""),
                               CEL_BOOL(conf, on, false, ""),
                               CEL_TEXT(conf, note, "", ""),
                               CEL_ENUM(conf, kind, 0, kinds, ""),
                               CEL_LIST(conf, stages, n_stages, stage_opts, ""),
                               CEL_OPTS_END};

static void same_again(const cel_section *section) {
    char *first = NULL, *second = NULL;
    cel_conf *tree = NULL;
    conf values;
    cel_section again = {section->name, section->opts, &values};
    if (cel_conf_dump(section, 1, CEL_CONF_YAML, &first) != CEL_OK ||
        cel_conf_parse("dump", first, strlen(first), &tree) != CEL_OK || cel_conf_read(tree, &again, 1) != CEL_OK ||
        cel_conf_dump(&again, 1, CEL_CONF_YAML, &second) != CEL_OK || strcmp(first, second))
        abort();
    cel_free(first);
    cel_free(second);
    cel_conf_destroy(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    cel_conf *tree = NULL;
    conf values = {0};
    cel_section section = {"m", opts, &values};
    if (cel_conf_parse("fuzz", (const char *)data, n, &tree) == CEL_OK) {
        if (cel_conf_read(tree, &section, 1) == CEL_OK) same_again(&section);
    } else {
        tree = NULL;
    }
    char *assignment = cel_strndup((const char *)data, n);
    if (!tree && cel_conf_parse("empty", "{}", 2, &tree) != CEL_OK) abort();
    if (assignment && cel_conf_set(tree, assignment) == CEL_OK && cel_conf_read(tree, &section, 1) == CEL_OK)
        same_again(&section);
    cel_free(assignment);
    cel_conf_destroy(tree);
    return 0;
}
