/* The settings tree: whole recipes, a recipe on its base, and single settings from the command line. */
#include "base/conf/conf.h"

#include <stdio.h>
#include <string.h>

#include "base/conf/tree.h"
#include "base/file.h"
#include "cellar/text.h"

cel_node *cel_node_find(const cel_node *map, const char *key, size_t key_bytes) {
    for (cel_node *c = map->child; c; c = c->next)
        if (c->key && strlen(c->key) == key_bytes && !memcmp(c->key, key, key_bytes)) return c;
    return NULL;
}

const char *cel_node_kind_text(const cel_node *node) {
    return node->kind == CEL_NODE_MAP    ? "a section"
           : node->kind == CEL_NODE_LIST ? "a list"
           : *node->text || !node->plain ? "a text"
                                         : "nothing";
}

const char *cel_node_at(const cel_node *node, bool key, cel_node_place out) {
    int line = key ? node->key_line : node->line, column = key ? node->key_column : node->column;
    if (line)
        snprintf(out, sizeof(cel_node_place), "%.280s:%d:%d", node->origin, line, column);
    else
        snprintf(out, sizeof(cel_node_place), "%.310s", node->origin);
    return out;
}

void cel_conf_destroy(cel_conf *conf) {
    if (!conf) return;
    cel_arena_fini(&conf->arena);
    cel_free(conf);
}

cel_status cel_conf_parse(const char *origin, const char *text, size_t n, cel_conf **out) {
    cel_conf *conf;
    CEL_ALLOC(conf, 1);
    cel_status status = cel_conf_yaml(conf, origin, text, n, &conf->root);
    cel_node_place at;
    if (status == CEL_OK && conf->root->kind != CEL_NODE_MAP)
        status = CEL_FAIL(CEL_CONFIG, "%s: expected settings (\"name: value\"), found %s",
                          cel_node_at(conf->root, false, at), cel_node_kind_text(conf->root));
    if (status != CEL_OK) {
        cel_conf_destroy(conf);
        return cel_status_pass(status, __FILE__, __LINE__);
    }
    *out = conf;
    return CEL_OK;
}

static void unlink_child(cel_node *parent, const cel_node *child) {
    for (cel_node **p = &parent->child; *p; p = &(*p)->next)
        if (*p == child) {
            *p = child->next;
            return;
        }
}

static void append_child(cel_node *parent, cel_node *child) {
    cel_node **tail = &parent->child;
    while (*tail) tail = &(*tail)->next;
    child->next = NULL;
    *tail = child;
}

/* A copy of `from` in `arena`; NULL when memory is out. Depth is bounded by the reader. */
static cel_node *copy_node(cel_arena *arena, const cel_node *from) {
    cel_node *to = cel_arena_alloc(arena, 1, sizeof *to);
    if (!to) return NULL;
    *to = *from;
    to->child = to->next = NULL;
    if (!(to->origin = cel_arena_strdup(arena, from->origin))) return NULL;
    if (from->key && !(to->key = cel_arena_strdup(arena, from->key))) return NULL;
    if (from->text && !(to->text = cel_arena_strdup(arena, from->text))) return NULL;
    cel_node **tail = &to->child;
    for (const cel_node *c = from->child; c; c = c->next, tail = &(*tail)->next)
        if (!(*tail = copy_node(arena, c))) return NULL;
    return to;
}

/* Lays `over` on `under`: sections merge, everything else is replaced. */
static cel_status overlay(cel_arena *arena, cel_node *under, const cel_node *over) {
    for (const cel_node *c = over->child; c; c = c->next) {
        cel_node *old = cel_node_find(under, c->key, strlen(c->key));
        if (old && old->kind == CEL_NODE_MAP && c->kind == CEL_NODE_MAP) {
            CEL_TRY(overlay(arena, old, c));
            continue;
        }
        cel_node *copy = copy_node(arena, c);
        if (!copy) return CEL_FAIL(CEL_NOMEM, "out of memory");
        if (old) unlink_child(under, old);
        append_child(under, copy);
    }
    return CEL_OK;
}

cel_status cel_conf_create(cel_conf **out) { return cel_conf_parse("", "{}", 2, out); }

/* The node at a dotted path; a number is a position in a list. NULL: there is none. */
static const cel_node *node_at(const cel_node *at, const char *path) {
    while (at && *path) {
        size_t n = strcspn(path, ".");
        char part[32];
        int64_t i = -1;
        snprintf(part, sizeof part, "%.*s", n < sizeof part ? (int)n : 0, path);
        if (at->kind == CEL_NODE_LIST && cel_text_to_int(part, &i) && i >= 0) {
            at = at->child;
            while (at && i-- > 0) at = at->next;
        } else {
            at = at->kind == CEL_NODE_MAP ? cel_node_find(at, path, n) : NULL;
        }
        path += n + (path[n] == '.');
    }
    return at;
}

cel_status cel_conf_lay(cel_conf *under, const cel_conf *over, const char *path) {
    const cel_node *section = node_at(over->root, path);
    cel_node_place at;
    if (!section) return CEL_OK;
    if (section->kind != CEL_NODE_MAP)
        return CEL_FAIL(CEL_CONFIG, "%s: %s: expected a section of settings, found %s", cel_node_at(section, false, at),
                        path, cel_node_kind_text(section));
    return overlay(&under->arena, under->root, section);
}

static cel_status load_one(const char *path, cel_conf **out) {
    char *text;
    size_t n;
    CEL_TRY(cel_file_read(path, CEL_CONF_MAX_BYTES, &text, &n));
    cel_status status = cel_conf_parse(path, text, n, out);
    cel_free(text);
    return status;
}

/* Where `name` is: beside `path`, else in `dir`. */
static cel_status find_base(const char *path, const char *name, const char *dir, char **out) {
    const char *slash = strrchr(path, '/');
    char *found = *name == '/' || !slash ? cel_strdup(name) : cel_asprintf("%.*s/%s", (int)(slash - path), path, name);
    if (found && !cel_path_exists(found) && dir && *name != '/') {
        cel_free(found);
        found = cel_path_join(dir, name);
    }
    if (!found) return CEL_FAIL(CEL_NOMEM, "out of memory");
    *out = found;
    return CEL_OK;
}

static cel_status load_with_base(const char *path, const char *base_dir, cel_conf *child, const cel_node *base,
                                 cel_conf **out) {
    cel_node_place at;
    if (base->kind != CEL_NODE_TEXT || !*base->text)
        return CEL_FAIL(CEL_CONFIG, "%s: base: expected a file, found %s", cel_node_at(base, false, at),
                        cel_node_kind_text(base));
    char *base_path = NULL;
    CEL_TRY(find_base(path, base->text, base_dir, &base_path));
    cel_conf *conf = NULL;
    cel_status status = load_one(base_path, &conf);
    cel_free(base_path);
    if (status != CEL_OK) return cel_status_prefix(status, "%s: base", cel_node_at(base, false, at));
    const cel_node *second = cel_node_find(conf->root, "base", 4);
    if (second)
        status =
            CEL_FAIL(CEL_CONFIG, "%s: a base that has a base itself; one level is allowed, so write its settings out",
                     cel_node_at(second, true, at));
    if (status == CEL_OK) {
        unlink_child(child->root, base);
        status = overlay(&conf->arena, conf->root, child->root);
    }
    if (status != CEL_OK) {
        cel_conf_destroy(conf);
        return status;
    }
    *out = conf;
    return CEL_OK;
}

cel_status cel_conf_load(const char *path, const char *base_dir, cel_conf **out) {
    cel_conf *conf;
    CEL_TRY(load_one(path, &conf));
    const cel_node *base = cel_node_find(conf->root, "base", 4);
    if (!base) {
        *out = conf;
        return CEL_OK;
    }
    cel_status status = load_with_base(path, base_dir, conf, base, out);
    cel_conf_destroy(conf);
    if (status != CEL_OK) return cel_status_pass(status, __FILE__, __LINE__);
    return CEL_OK;
}

static bool key_shaped(const char *key, size_t n) {
    bool fresh = true;
    for (size_t i = 0; i < n; i++) {
        char c = key[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        if (!word && (c != '.' || fresh)) return false;
        fresh = c == '.';
    }
    return !fresh;
}

/* The child of `parent` that a part of a dotted key names; *out NULL where a section has no such key yet. */
static cel_status step_into(const cel_node *parent, const char *part, size_t n, const char *assignment,
                            cel_node **out) {
    if (parent->kind == CEL_NODE_MAP) {
        *out = cel_node_find(parent, part, n);
        return CEL_OK;
    }
    if (parent->kind == CEL_NODE_TEXT)
        return CEL_FAIL(CEL_CONFIG, "--set %s: \"%.*s\" is inside a single value; expected a section or a list",
                        assignment, (int)n, part);
    char digits[16];
    int64_t index = -1;
    snprintf(digits, sizeof digits, "%.*s", (int)(n < 15 ? n : 15), part);
    int64_t length = 0;
    for (const cel_node *c = parent->child; c; c = c->next) length++;
    if (!cel_text_to_int(digits, &index) || index < 0 || index >= length)
        return CEL_FAIL(CEL_CONFIG, "--set %s: expected a position from 0 to %lld in the list, found \"%.*s\"",
                        assignment, (long long)length - 1, (int)n, part);
    cel_node *c = parent->child;
    while (index--) c = c->next;
    *out = c;
    return CEL_OK;
}

static cel_status set_node(cel_conf *conf, const char *assignment, size_t key_bytes, const cel_node *value) {
    cel_node *at = conf->root;
    int depth = 1;
    for (const char *part = assignment, *end = assignment + key_bytes; part < end; depth++) {
        size_t n = strcspn(part, ".=");
        bool last = part + n == end;
        cel_node *child = NULL;
        CEL_TRY(step_into(at, part, n, assignment, &child));
        if (depth >= CEL_CONF_MAX_DEPTH)
            return CEL_FAIL(CEL_CONFIG, "--set %s: nested deeper than %d levels", assignment, CEL_CONF_MAX_DEPTH);
        if (!child) {
            child = cel_arena_alloc(&conf->arena, 1, sizeof *child);
            if (!child || !(child->key = cel_arena_printf(&conf->arena, "%.*s", (int)n, part)))
                return CEL_FAIL(CEL_NOMEM, "out of memory");
            child->kind = CEL_NODE_MAP;
            child->origin = value->origin;
            append_child(at, child);
        }
        if (last) { /* the node keeps its place among its siblings */
            cel_node *next = child->next;
            const char *key = child->key;
            *child = *value;
            child->next = next;
            child->key = key;
            child->line = child->key_line = 0;
        }
        at = child;
        part += n + 1;
    }
    return CEL_OK;
}

cel_status cel_conf_set(cel_conf *conf, const char *assignment) {
    const char *equals = strchr(assignment, '=');
    if (!equals || !key_shaped(assignment, (size_t)(equals - assignment)))
        return CEL_FAIL(CEL_USAGE, "--set %s: expected section.key=value", assignment);
    char *origin = cel_asprintf("--set %s", assignment);
    if (!origin) return CEL_FAIL(CEL_NOMEM, "out of memory");
    cel_node *value = NULL;
    cel_status status = *(equals + 1 + strspn(equals + 1, " "))
                            ? cel_conf_yaml(conf, origin, equals + 1, strlen(equals + 1), &value)
                            : CEL_FAIL(CEL_USAGE, "%s: no value after \"=\" (\"\" is the empty text)", origin);
    cel_free(origin);
    if (status != CEL_OK) return cel_status_pass(status, __FILE__, __LINE__);
    CEL_TRY(set_node(conf, assignment, (size_t)(equals - assignment), value));
    return CEL_OK;
}

bool cel_conf_has(const cel_conf *conf, const char *path) { return node_at(conf->root, path) != NULL; }
