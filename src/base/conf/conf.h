/* Settings: a tree read from YAML, read through option tables into structs, and written back resolved.
 *
 * The accepted YAML is small on purpose: one document; mappings, lists, scalars; no anchors, aliases or tags; no key twice.
 * At most CEL_CONF_MAX_BYTES, CEL_CONF_MAX_DEPTH levels and CEL_CONF_MAX_NODES values. Every error names file, line and
 * column. A key that no table knows is an error that names the nearest one. */
#ifndef CEL_BASE_CONF_H
#define CEL_BASE_CONF_H
#include "base/conf/opt.h"

enum { CEL_CONF_MAX_BYTES = 1 << 20, CEL_CONF_MAX_DEPTH = 16, CEL_CONF_MAX_NODES = 10000 };

typedef struct cel_conf cel_conf;

/* One table's place in a recipe: settings `name`.key, or top-level keys when name is "". Several entries may share a
 * name: their tables are then one section. */
typedef struct cel_section {
    const char *name;
    const cel_opt *opts;
    void *conf;
} cel_section;

/* `n` bytes of YAML; `origin` is the file's name in messages. CEL_CONFIG for what is wrong in it. */
cel_status cel_conf_parse(const char *origin, const char *text, size_t n, cel_conf **out);
/* A YAML file. `base: other.yaml` at its top level is read first, from the file's own directory, else from `base_dir`
 * (NULL: none), and the file's settings are laid over it: sections merge, everything else is replaced. One level only. */
cel_status cel_conf_load(const char *path, const char *base_dir, cel_conf **out);
void cel_conf_destroy(cel_conf *conf);

/* "section.key=value", the value in YAML ("[{k: 4, epochs: 2}]" is a list; "stages.0.epochs" reaches into one). */
cel_status cel_conf_set(cel_conf *conf, const char *assignment);

/* An empty tree, for cel_conf_lay and cel_conf_set. */
cel_status cel_conf_create(cel_conf **out);
/* Lays the section at `path` of `over` ("methods.0.settings"; "" is all of it) over `under`: sections merge, everything else is
 * replaced; places in messages stay those of `over`. Nothing at `path`: nothing happens. CEL_CONFIG when it is no section. */
cel_status cel_conf_lay(cel_conf *under, const cel_conf *over, const char *path);

/* Fills the structs: defaults, then what the tree says. cel_conf_read refuses keys that no section knows;
 * cel_conf_peek passes over them, for a first look at what decides which tables apply. */
cel_status cel_conf_read(const cel_conf *conf, const cel_section *sections, size_t n);
cel_status cel_conf_peek(const cel_conf *conf, const cel_section *sections, size_t n);
/* Does the tree have `path` ("search.stages")? Defaults do not count. */
bool cel_conf_has(const cel_conf *conf, const char *path);

/* The structs as text, every setting spelt out. Reading the YAML again gives the same bits; with help each line has its range and
 * meaning as a comment. Caller frees with cel_free. */
typedef enum cel_conf_form { CEL_CONF_YAML, CEL_CONF_YAML_HELP, CEL_CONF_JSON } cel_conf_form;
cel_status cel_conf_dump(const cel_section *sections, size_t n, cel_conf_form form, char **out);
#endif
