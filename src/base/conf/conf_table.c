/* Option tables at work: defaults, checks, help, reading a settings tree into structs, and the resolved dump. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/conf/tree.h"
#include "cellar/text.h"

enum { MAX_CANDIDATES = 256 };

static void *member(const cel_opt *opt, void *conf) { return (char *)conf + opt->offset; }
static const void *member_of(const cel_opt *opt, const void *conf) { return (const char *)conf + opt->offset; }

static void set_integer(const cel_opt *opt, void *conf, int64_t value) {
    void *at = member(opt, conf);
    if (opt->kind == CEL_OPT_LONG)
        *(int64_t *)at = value;
    else if (opt->kind == CEL_OPT_BOOL)
        *(bool *)at = value != 0;
    else
        *(int *)at = (int)value;
}

static int64_t get_integer(const cel_opt *opt, const void *conf) {
    const void *at = member_of(opt, conf);
    return opt->kind == CEL_OPT_LONG   ? *(const int64_t *)at
           : opt->kind == CEL_OPT_BOOL ? *(const bool *)at
                                       : *(const int *)at;
}

void cel_opt_defaults(const cel_opt *opts, void *conf) {
    for (const cel_opt *o = opts; o->kind != CEL_OPT_END; o++) {
        if (o->kind == CEL_OPT_REAL)
            *(double *)member(o, conf) = o->real;
        else if (o->kind == CEL_OPT_TEXT)
            *(const char **)member(o, conf) = o->text;
        else if (o->kind == CEL_OPT_LIST)
            *(int *)((char *)conf + o->count_offset) = 0;
        else if (o->kind != CEL_OPT_TREE)
            set_integer(o, conf, o->integer);
    }
}

static int count_names(const cel_opt *opt) {
    int n = 0;
    while (opt->names[n]) n++;
    return n;
}

static void list_names(const cel_opt *opt, char *out, size_t n) {
    out[0] = 0;
    for (int i = 0; opt->names[i]; i++) {
        size_t used = strlen(out);
        snprintf(out + used, n - used, "%s%s", i ? ", " : "", opt->names[i]);
    }
}

/* "0 to 1", "at least 0", "true or false", "l2, kl or none". */
static void describe_range(const cel_opt *o, char *out, size_t n) {
    char lo[CEL_REAL_TEXT], hi[CEL_REAL_TEXT];
    switch (o->kind) {
    case CEL_OPT_REAL:
        snprintf(lo, sizeof lo, "%.6g", o->real_min);
        snprintf(hi, sizeof hi, "%.6g", o->real_max);
        if (o->real_max >= DBL_MAX && o->real_min <= -DBL_MAX)
            snprintf(out, n, "a number");
        else if (o->real_max >= DBL_MAX)
            snprintf(out, n, "a number, at least %s", lo);
        else
            snprintf(out, n, "a number from %s to %s", lo, hi);
        break;
    case CEL_OPT_INT:
    case CEL_OPT_LONG:
        if (o->integer_max >= (o->kind == CEL_OPT_LONG ? INT64_MAX : INT32_MAX))
            snprintf(out, n, "a whole number, at least %lld", (long long)o->integer_min);
        else
            snprintf(out, n, "a whole number from %lld to %lld", (long long)o->integer_min, (long long)o->integer_max);
        break;
    case CEL_OPT_BOOL:
        snprintf(out, n, "true or false");
        break;
    case CEL_OPT_ENUM: {
        char names[512];
        list_names(o, names, sizeof names);
        snprintf(out, n, "one of %s", names);
        break;
    }
    case CEL_OPT_LIST:
        snprintf(out, n, "a list of at most %zu sections", o->capacity);
        break;
    case CEL_OPT_TREE:
        snprintf(out, n, "a section of settings");
        break;
    default:
        snprintf(out, n, "a text");
    }
}

static void describe_default(const cel_opt *o, char *out, size_t n) {
    char number[CEL_REAL_TEXT];
    if (o->kind == CEL_OPT_REAL) cel_text_from_real(o->real, number);
    if (o->kind == CEL_OPT_REAL)
        snprintf(out, n, "%s", number);
    else if (o->kind == CEL_OPT_TEXT)
        snprintf(out, n, "\"%s\"", o->text);
    else if (o->kind == CEL_OPT_ENUM)
        snprintf(out, n, "%s", o->names[o->integer]);
    else if (o->kind == CEL_OPT_BOOL)
        snprintf(out, n, "%s", o->integer ? "true" : "false");
    else if (o->kind == CEL_OPT_LIST || o->kind == CEL_OPT_TREE)
        snprintf(out, n, "empty");
    else
        snprintf(out, n, "%lld", (long long)o->integer);
}

/* "a number from 0 to 1; default 0.0003" */
static void describe_opt(const cel_opt *opt, char *out, size_t n) {
    char range[640], fallback[256];
    describe_range(opt, range, sizeof range);
    describe_default(opt, fallback, sizeof fallback);
    snprintf(out, n, "%s; default %s", range, fallback);
}

static bool in_range(const cel_opt *o, const void *conf) {
    switch (o->kind) {
    case CEL_OPT_REAL: {
        double v = *(const double *)member_of(o, conf);
        return v >= o->real_min && v <= o->real_max;
    }
    case CEL_OPT_INT:
    case CEL_OPT_LONG: {
        int64_t v = get_integer(o, conf);
        return v >= o->integer_min && v <= o->integer_max;
    }
    case CEL_OPT_ENUM: {
        int64_t v = get_integer(o, conf);
        return v >= 0 && v < count_names(o);
    }
    case CEL_OPT_TEXT:
        return *(const char *const *)member_of(o, conf) != NULL;
    case CEL_OPT_LIST: {
        int count = *(const int *)((const char *)conf + o->count_offset);
        return count >= 0 && (size_t)count <= o->capacity;
    }
    default:
        return true;
    }
}

static void value_text(const cel_opt *o, const void *conf, char *out, size_t n) {
    if (o->kind == CEL_OPT_REAL)
        snprintf(out, n, "%.9g", *(const double *)member_of(o, conf));
    else if (o->kind == CEL_OPT_TEXT)
        snprintf(out, n, "nothing");
    else if (o->kind == CEL_OPT_LIST)
        snprintf(out, n, "%d", *(const int *)((const char *)conf + o->count_offset));
    else
        snprintf(out, n, "%lld", (long long)get_integer(o, conf));
}

/* Every member against its range: a struct may have been changed since it was read. */
static cel_status check_opts(const char *section, const cel_opt *opts, const void *conf) {
    for (const cel_opt *o = opts; o->kind != CEL_OPT_END; o++) {
        const char *dot = *section ? "." : "";
        if (!in_range(o, conf)) {
            char range[640], value[64];
            describe_range(o, range, sizeof range);
            value_text(o, conf, value, sizeof value);
            return CEL_FAIL(CEL_CONFIG, "%s%s%s: expected %s, found %s", section, dot, o->name, range, value);
        }
        if (o->kind != CEL_OPT_LIST) continue;
        int count = *(const int *)((const char *)conf + o->count_offset);
        for (int i = 0; i < count; i++) {
            char name[256];
            snprintf(name, sizeof name, "%s%s%s.%d", section, dot, o->name, i);
            CEL_TRY(check_opts(name, o->items, (const char *)member_of(o, conf) + (size_t)i * o->item_size));
        }
    }
    return CEL_OK;
}

/* One value of the tree into one member. `path` is the setting's full name. */
static cel_status read_list(const char *path, const cel_opt *o, const cel_node *node, void *conf);

static cel_status read_value(const char *path, const cel_opt *o, const cel_node *node, void *conf) {
    cel_node_place at;
    char range[640];
    bool good = node->kind == CEL_NODE_TEXT;
    describe_range(o, range, sizeof range);
    if (o->kind == CEL_OPT_LIST) return read_list(path, o, node, conf);
    if (o->kind == CEL_OPT_TREE && node->kind == CEL_NODE_MAP) return CEL_OK;
    good = good && o->kind != CEL_OPT_TREE;
    int64_t integer = 0;
    if (good && o->kind != CEL_OPT_TEXT && o->kind != CEL_OPT_ENUM) good = node->plain;
    if (good) switch (o->kind) {
        case CEL_OPT_REAL:
            good = cel_text_to_real(node->text, member(o, conf));
            break;
        case CEL_OPT_INT:
        case CEL_OPT_LONG:
            good = cel_text_to_int(node->text, &integer) && integer >= o->integer_min && integer <= o->integer_max;
            break;
        case CEL_OPT_BOOL:
            integer = !strcmp(node->text, "true");
            good = integer || !strcmp(node->text, "false");
            break;
        case CEL_OPT_ENUM:
            while (o->names[integer] && strcmp(o->names[integer], node->text)) integer++;
            good = o->names[integer] != NULL;
            break;
        default:
            good = *node->text || !node->plain;
            *(const char **)member(o, conf) = node->text;
        }
    if (good && o->kind != CEL_OPT_REAL && o->kind != CEL_OPT_TEXT) set_integer(o, conf, integer);
    if (good) good = in_range(o, conf);
    if (good) return CEL_OK;
    const char *near = o->kind == CEL_OPT_ENUM && node->kind == CEL_NODE_TEXT
                           ? cel_text_nearest(node->text, o->names, (size_t)count_names(o))
                           : NULL;
    bool show = node->kind == CEL_NODE_TEXT && (*node->text || !node->plain);
    return CEL_FAIL(CEL_CONFIG, "%s: %s: expected %s, found %s%.60s%s%s%s%s", cel_node_at(node, false, at), path, range,
                    show ? "\"" : "", show ? node->text : cel_node_kind_text(node), show ? "\"" : "",
                    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static const cel_opt *find_opt(const cel_opt *opts, const char *key) {
    for (const cel_opt *o = opts; o->kind != CEL_OPT_END; o++)
        if (!strcmp(o->name, key)) return o;
    return NULL;
}

static cel_status unknown_item_key(const cel_node *node, const char *path, const cel_opt *opts) {
    const char *names[MAX_CANDIDATES];
    size_t n = 0;
    for (const cel_opt *o = opts; o->kind != CEL_OPT_END && n < MAX_CANDIDATES; o++) names[n++] = o->name;
    const char *near = cel_text_nearest(node->key, names, n);
    cel_node_place at;
    return CEL_FAIL(CEL_CONFIG, "%s: %s: no setting is called \"%.60s\"%s%s%s", cel_node_at(node, true, at), path,
                    node->key, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static cel_status read_list(const char *path, const cel_opt *o, const cel_node *node, void *conf) {
    cel_node_place at;
    if (node->kind != CEL_NODE_LIST)
        return CEL_FAIL(CEL_CONFIG, "%s: %s: expected a list of at most %zu sections, found %s",
                        cel_node_at(node, false, at), path, o->capacity, cel_node_kind_text(node));
    size_t i = 0;
    for (const cel_node *c = node->child; c; c = c->next, i++) {
        if (i == o->capacity)
            return CEL_FAIL(CEL_CONFIG, "%s: %s: expected at most %zu items, found more", cel_node_at(c, false, at),
                            path, o->capacity);
        if (c->kind != CEL_NODE_MAP)
            return CEL_FAIL(CEL_CONFIG, "%s: %s.%zu: expected settings (\"name: value\"), found %s",
                            cel_node_at(c, false, at), path, i, cel_node_kind_text(c));
        void *item = (char *)member(o, conf) + i * o->item_size;
        cel_opt_defaults(o->items, item);
        for (const cel_node *s = c->child; s; s = s->next) {
            char item_path[300];
            snprintf(item_path, sizeof item_path, "%.200s.%zu", path, i);
            const cel_opt *found = find_opt(o->items, s->key);
            if (!found) return unknown_item_key(s, item_path, o->items);
            snprintf(item_path, sizeof item_path, "%.200s.%zu.%s", path, i, found->name);
            CEL_TRY(read_value(item_path, found, s, item));
        }
    }
    *(int *)((char *)conf + o->count_offset) = (int)i;
    return CEL_OK;
}

/* A key that no table of its section knows: the nearest in the section, else the same name in another one. */
static cel_status unknown_key(const cel_node *node, const char *section, const cel_section *sections, size_t n) {
    const char *names[MAX_CANDIDATES];
    size_t used = 0;
    const char *elsewhere = NULL;
    for (size_t i = 0; i < n; i++) {
        bool here = !strcmp(sections[i].name, section);
        if (!*section && *sections[i].name && used < MAX_CANDIDATES) names[used++] = sections[i].name;
        for (const cel_opt *o = sections[i].opts; o->kind != CEL_OPT_END; o++) {
            if (here && used < MAX_CANDIDATES) names[used++] = o->name;
            if (!here && !elsewhere && !strcmp(o->name, node->key)) elsewhere = sections[i].name;
        }
    }
    const char *near = cel_text_nearest(node->key, names, used);
    const char *dot = *section ? "." : "";
    char hint[200] = "";
    if (near)
        snprintf(hint, sizeof hint, "; did you mean \"%s%s%s\"?", section, dot, near);
    else if (elsewhere)
        snprintf(hint, sizeof hint, "; did you mean \"%s%s%s\"?", elsewhere, *elsewhere ? "." : "", node->key);
    cel_node_place at;
    return CEL_FAIL(CEL_CONFIG, "%s: no setting is called \"%s%s%.60s\"%s", cel_node_at(node, true, at), section, dot,
                    node->key, hint);
}

static const cel_opt *find_in_sections(const cel_section *sections, size_t n, const char *section, const char *key,
                                       void **conf) {
    for (size_t i = 0; i < n; i++) {
        const cel_opt *o = strcmp(sections[i].name, section) ? NULL : find_opt(sections[i].opts, key);
        if (!o) continue;
        *conf = sections[i].conf;
        return o;
    }
    return NULL;
}

static bool is_section(const cel_section *sections, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (*name && !strcmp(sections[i].name, name)) return true;
    return false;
}

static cel_status read_map(const cel_node *map, const char *section, const cel_section *sections, size_t n,
                           bool strict) {
    for (const cel_node *c = map->child; c; c = c->next) {
        void *conf = NULL;
        const cel_opt *o = find_in_sections(sections, n, section, c->key, &conf);
        if (o) {
            char path[200];
            snprintf(path, sizeof path, "%s%s%s", section, *section ? "." : "", o->name);
            CEL_TRY(read_value(path, o, c, conf));
        } else if (!*section && is_section(sections, n, c->key)) {
            cel_node_place at;
            if (c->kind != CEL_NODE_MAP)
                return CEL_FAIL(CEL_CONFIG, "%s: %s: expected a section of settings, found %s",
                                cel_node_at(c, false, at), c->key, cel_node_kind_text(c));
            CEL_TRY(read_map(c, c->key, sections, n, strict));
        } else if (strict) {
            return unknown_key(c, section, sections, n);
        }
    }
    return CEL_OK;
}

static cel_status read_all(const cel_conf *conf, const cel_section *sections, size_t n, bool strict) {
    for (size_t i = 0; i < n; i++) cel_opt_defaults(sections[i].opts, sections[i].conf);
    CEL_TRY(read_map(conf->root, "", sections, n, strict));
    for (size_t i = 0; i < n; i++) CEL_TRY(check_opts(sections[i].name, sections[i].opts, sections[i].conf));
    return CEL_OK;
}

cel_status cel_conf_read(const cel_conf *conf, const cel_section *sections, size_t n) {
    return read_all(conf, sections, n, true);
}

cel_status cel_conf_peek(const cel_conf *conf, const cel_section *sections, size_t n) {
    return read_all(conf, sections, n, false);
}

/* The dump, into a growing text. */
typedef struct {
    char *text;
    size_t used, room;
    bool failed;
} out_text;

static void put_bytes(out_text *t, const char *bytes, size_t n) {
    if (!t->failed && t->used + n + 1 > t->room) {
        size_t room = (t->used + n + 1) * 2;
        char *bigger = cel_realloc(t->text, t->room, room, 1);
        if (bigger) t->text = bigger, t->room = room;
        t->failed = !bigger;
    }
    if (t->failed) return;
    memcpy(t->text + t->used, bytes, n);
    t->used += n;
}

static void put(out_text *t, const char *text) { put_bytes(t, text, strlen(text)); }

/* Always quoted, as JSON and as YAML; what YAML would not carry unchanged is escaped. The text is UTF-8 (it was read from YAML). */
static void put_quoted(out_text *t, const char *text) {
    put(t, "\"");
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        char escape[16];
        bool next_line = p[0] == 0xC2 && p[1] < 0xA0;
        bool separator = p[0] == 0xE2 && p[1] == 0x80 && (p[2] == 0xA8 || p[2] == 0xA9);
        bool mark = p[0] == 0xEF && p[1] == 0xBB && p[2] == 0xBF;
        bool no_character = p[0] == 0xEF && p[1] == 0xBF && p[2] >= 0xBE;
        if (*p == '"' || *p == '\\')
            snprintf(escape, sizeof escape, "\\%c", *p);
        else if (*p < 0x20 || *p == 0x7F)
            snprintf(escape, sizeof escape, "\\u%04X", (unsigned)*p);
        else if (next_line)
            snprintf(escape, sizeof escape, "\\u%04X", (unsigned)*++p);
        else if (separator)
            snprintf(escape, sizeof escape, "\\u20%02X", p[2] == 0xA8 ? 0x28 : 0x29), p += 2;
        else if (mark)
            snprintf(escape, sizeof escape, "\\uFEFF"), p += 2;
        else if (no_character)
            snprintf(escape, sizeof escape, "\\uFF%02X", p[2] == 0xBE ? 0xFE : 0xFF), p += 2;
        else
            snprintf(escape, sizeof escape, "%c", *p);
        put(t, escape);
    }
    put(t, "\"");
}

static void put_value(out_text *t, const cel_opt *o, const void *conf, bool json) {
    char number[CEL_REAL_TEXT] = "";
    if (o->kind == CEL_OPT_REAL)
        cel_text_from_real(*(const double *)member_of(o, conf), number);
    else if (o->kind == CEL_OPT_TEXT)
        put_quoted(t, *(const char *const *)member_of(o, conf));
    else if (o->kind == CEL_OPT_ENUM && json)
        put_quoted(t, o->names[get_integer(o, conf)]);
    else if (o->kind == CEL_OPT_ENUM)
        put(t, o->names[get_integer(o, conf)]);
    else if (o->kind == CEL_OPT_BOOL)
        put(t, get_integer(o, conf) ? "true" : "false");
    else
        snprintf(number, sizeof number, "%lld", (long long)get_integer(o, conf));
    put(t, number);
}

static void put_table(out_text *t, const cel_opt *opts, const void *conf, const char *indent, bool help);

static void put_list(out_text *t, const cel_opt *o, const void *conf, const char *indent) {
    int count = *(const int *)((const char *)conf + o->count_offset);
    char deeper[64];
    snprintf(deeper, sizeof deeper, "%s    ", indent);
    for (int i = 0; i < count; i++) {
        out_text item = {0};
        put_table(&item, o->items, (const char *)member_of(o, conf) + (size_t)i * o->item_size, deeper, false);
        t->failed |= item.failed || !item.used;
        if (!t->failed) { /* the first setting stands beside its dash */
            put(t, indent);
            put(t, "  - ");
            put_bytes(t, item.text + strlen(deeper), item.used - strlen(deeper));
        }
        cel_free(item.text);
    }
}

static void put_table(out_text *t, const cel_opt *opts, const void *conf, const char *indent, bool help) {
    for (const cel_opt *o = opts; o->kind != CEL_OPT_END; o++) {
        if (o->kind == CEL_OPT_TREE) continue;
        put(t, indent);
        put(t, o->name);
        bool empty = o->kind == CEL_OPT_LIST && !*(const int *)((const char *)conf + o->count_offset);
        put(t, o->kind != CEL_OPT_LIST ? ": " : empty ? ": []" : ":");
        if (o->kind != CEL_OPT_LIST) put_value(t, o, conf, false);
        if (help) {
            char range[1000];
            describe_opt(o, range, sizeof range);
            put(t, "  # ");
            put(t, o->help);
            put(t, " (");
            put(t, range);
            put(t, ")");
        }
        put(t, "\n");
        if (o->kind == CEL_OPT_LIST) put_list(t, o, conf, indent);
    }
}

static void put_json_table(out_text *t, const cel_opt *opts, const void *conf, bool *first) {
    for (const cel_opt *o = opts; o->kind != CEL_OPT_END; o++) {
        if (o->kind == CEL_OPT_TREE) continue;
        put(t, *first ? "" : ",");
        *first = false;
        put_quoted(t, o->name);
        put(t, ":");
        if (o->kind != CEL_OPT_LIST) {
            put_value(t, o, conf, true);
            continue;
        }
        int count = *(const int *)((const char *)conf + o->count_offset);
        put(t, "[");
        for (int i = 0; i < count; i++) {
            bool item_first = true;
            put(t, i ? ",{" : "{");
            put_json_table(t, o->items, (const char *)member_of(o, conf) + (size_t)i * o->item_size, &item_first);
            put(t, "}");
        }
        put(t, "]");
    }
}

static bool seen_before(const cel_section *sections, size_t i) {
    for (size_t j = 0; j < i; j++)
        if (!strcmp(sections[j].name, sections[i].name)) return true;
    return false;
}

/* Every section once, with all its tables: `from` is its first entry. */
static void put_section(out_text *t, const cel_section *sections, size_t n, size_t from, cel_conf_form form,
                        bool *first) {
    const char *name = sections[from].name;
    bool top = !*name, json = form == CEL_CONF_JSON, headed = false, fresh = true;
    for (size_t j = from; j < n; j++) {
        if (strcmp(sections[j].name, name) || sections[j].opts[0].kind == CEL_OPT_END) continue;
        if (!top && !headed) {
            put(t, json && !*first ? "," : "");
            if (json) put_quoted(t, name);
            put(t, json ? ":{" : name);
            put(t, json ? "" : ":\n");
            headed = true;
        }
        if (json)
            put_json_table(t, sections[j].opts, sections[j].conf, top ? first : &fresh);
        else
            put_table(t, sections[j].opts, sections[j].conf, top ? "" : "  ", form == CEL_CONF_YAML_HELP);
    }
    if (json && headed) put(t, "}");
    if (headed) *first = false;
}

cel_status cel_conf_dump(const cel_section *sections, size_t n, cel_conf_form form, char **out) {
    for (size_t i = 0; i < n; i++) CEL_TRY(check_opts(sections[i].name, sections[i].opts, sections[i].conf));
    out_text t = {0};
    bool first = true;
    put(&t, form == CEL_CONF_JSON ? "{" : "");
    for (int top = 1; top >= 0; top--) /* top-level settings first */
        for (size_t i = 0; i < n; i++)
            if ((*sections[i].name == 0) == top && !seen_before(sections, i))
                put_section(&t, sections, n, i, form, &first);
    put(&t, form == CEL_CONF_JSON ? "}" : "");
    put_bytes(&t, "", 1);
    if (t.failed) {
        cel_free(t.text);
        return CEL_FAIL(CEL_NOMEM, "out of memory");
    }
    *out = t.text;
    return CEL_OK;
}
