/* YAML events to a settings tree, over libyaml. Anchors, aliases, tags and several documents are refused: a recipe needs
 * none of them, and without them a small text cannot describe a large tree. */
#include <string.h>
#include <yaml.h>

#include "base/conf/tree.h"

typedef struct {
    yaml_parser_t yaml;
    cel_conf *conf;
    const char *origin;
} reader;

#define FAIL_AT(r, mark, ...) fail_at((r), (mark), cel_asprintf(__VA_ARGS__))

static cel_status fail_at(const reader *r, yaml_mark_t mark, char *what) {
    cel_status status =
        CEL_FAIL(CEL_CONFIG, "%s:%zu:%zu: %s", r->origin, mark.line + 1, mark.column + 1, what ? what : "malformed");
    cel_free(what);
    return status;
}

static cel_status next_event(reader *r, yaml_event_t *event) {
    if (yaml_parser_parse(&r->yaml, event)) return CEL_OK;
    if (r->yaml.error == YAML_MEMORY_ERROR) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", r->origin);
    if (r->yaml.error == YAML_READER_ERROR)
        return CEL_FAIL(CEL_CONFIG, "%s: byte %zu: %s; expected UTF-8 text", r->origin, r->yaml.problem_offset,
                        r->yaml.problem ? r->yaml.problem : "unreadable");
    return FAIL_AT(r, r->yaml.problem_mark, "not YAML: %s%s%s", r->yaml.problem ? r->yaml.problem : "malformed",
                   r->yaml.context ? ", " : "", r->yaml.context ? r->yaml.context : "");
}

static cel_status copy_scalar(reader *r, const yaml_event_t *event, const char **out) {
    const char *value = (const char *)event->data.scalar.value;
    if (memchr(value, 0, event->data.scalar.length))
        return FAIL_AT(r, event->start_mark, "a text with a zero byte in it");
    *out = cel_arena_strdup(&r->conf->arena, value);
    return *out ? CEL_OK : CEL_FAIL(CEL_NOMEM, "%s: out of memory", r->origin);
}

static cel_status read_node(reader *r, yaml_event_t *event, int depth, cel_node **out);

/* The key of the next entry of a mapping. */
static cel_status read_key(reader *r, const yaml_event_t *event, const char **key) {
    if (event->type != YAML_SCALAR_EVENT)
        return FAIL_AT(r, event->start_mark, "expected the name of a setting, found a list or a section");
    if (event->data.scalar.anchor || event->data.scalar.tag)
        return FAIL_AT(r, event->start_mark, "a setting's name with an anchor or a tag; expected a plain name");
    CEL_TRY(copy_scalar(r, event, key));
    if (!**key) return FAIL_AT(r, event->start_mark, "expected the name of a setting, found nothing");
    return CEL_OK;
}

static cel_status read_children(reader *r, cel_node *parent, int depth) {
    cel_node **tail = &parent->child;
    for (;;) {
        yaml_event_t event;
        CEL_TRY(next_event(r, &event));
        if (event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return CEL_OK;
        }
        const char *key = NULL;
        yaml_mark_t key_mark = event.start_mark;
        cel_status status = CEL_OK;
        if (parent->kind == CEL_NODE_MAP) {
            status = read_key(r, &event, &key);
            if (status == CEL_OK) {
                cel_node *same = cel_node_find(parent, key, strlen(key));
                if (same)
                    status =
                        FAIL_AT(r, key_mark, "\"%s\" a second time; it is already on line %d", key, same->key_line);
            }
            yaml_event_delete(&event);
            if (status == CEL_OK) status = next_event(r, &event);
            if (status != CEL_OK) return cel_status_pass(status, __FILE__, __LINE__);
        }
        cel_node *node = NULL;
        status = read_node(r, &event, depth + 1, &node);
        yaml_event_delete(&event);
        if (status != CEL_OK) return cel_status_pass(status, __FILE__, __LINE__);
        node->key = key;
        node->key_line = (int)key_mark.line + 1;
        node->key_column = (int)key_mark.column + 1;
        *tail = node;
        tail = &node->next;
    }
}

/* Borrows the event; the caller deletes it. */
static cel_status read_node(reader *r, yaml_event_t *event, int depth, cel_node **out) {
    if (event->type == YAML_ALIAS_EVENT)
        return FAIL_AT(r, event->start_mark, "an alias (*name); aliases are not supported, write the value out");
    bool scalar = event->type == YAML_SCALAR_EVENT, map = event->type == YAML_MAPPING_START_EVENT;
    const void *anchor = scalar ? event->data.scalar.anchor
                         : map  ? event->data.mapping_start.anchor
                                : event->data.sequence_start.anchor;
    const void *tag = scalar ? event->data.scalar.tag
                      : map  ? event->data.mapping_start.tag
                             : event->data.sequence_start.tag;
    if (anchor) return FAIL_AT(r, event->start_mark, "an anchor (&name); anchors are not supported");
    if (tag) return FAIL_AT(r, event->start_mark, "a tag (!name); tags are not supported");
    if (depth > CEL_CONF_MAX_DEPTH)
        return FAIL_AT(r, event->start_mark, "nested deeper than %d levels", CEL_CONF_MAX_DEPTH);
    if (++r->conf->n_nodes > CEL_CONF_MAX_NODES)
        return FAIL_AT(r, event->start_mark, "more than %d values", CEL_CONF_MAX_NODES);
    cel_node *node = cel_arena_alloc(&r->conf->arena, 1, sizeof *node);
    if (!node) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", r->origin);
    node->kind = scalar ? CEL_NODE_TEXT : map ? CEL_NODE_MAP : CEL_NODE_LIST;
    node->origin = r->origin;
    node->line = (int)event->start_mark.line + 1;
    node->column = (int)event->start_mark.column + 1;
    if (scalar) {
        node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        CEL_TRY(copy_scalar(r, event, &node->text));
    } else {
        CEL_TRY(read_children(r, node, depth));
    }
    *out = node;
    return CEL_OK;
}

static cel_status read_document(reader *r, cel_node **out) {
    yaml_event_t event;
    for (;;) { /* stream start, document start, then the document's one node */
        CEL_TRY(next_event(r, &event));
        bool opening = event.type == YAML_STREAM_START_EVENT || event.type == YAML_DOCUMENT_START_EVENT;
        if (!opening) break;
        yaml_event_delete(&event);
    }
    if (event.type == YAML_STREAM_END_EVENT) {
        yaml_event_delete(&event);
        return CEL_FAIL(CEL_CONFIG, "%s: empty; expected settings", r->origin);
    }
    cel_status status = read_node(r, &event, 1, out);
    yaml_event_delete(&event);
    if (status != CEL_OK) return cel_status_pass(status, __FILE__, __LINE__);
    for (;;) { /* document end, stream end */
        CEL_TRY(next_event(r, &event));
        yaml_event_type_t type = event.type;
        yaml_mark_t mark = event.start_mark;
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT) return CEL_OK;
        if (type != YAML_DOCUMENT_END_EVENT) return FAIL_AT(r, mark, "a second document; expected one");
    }
}

cel_status cel_conf_yaml(cel_conf *conf, const char *origin, const char *text, size_t n, cel_node **out) {
    if (n > CEL_CONF_MAX_BYTES)
        return CEL_FAIL(CEL_CONFIG, "%s: %zu bytes; expected at most %d", origin, n, CEL_CONF_MAX_BYTES);
    reader r = {.conf = conf, .origin = cel_arena_strdup(&conf->arena, origin)};
    if (!r.origin || !yaml_parser_initialize(&r.yaml)) return CEL_FAIL(CEL_NOMEM, "%s: out of memory", origin);
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)text, n);
    cel_status status = read_document(&r, out);
    yaml_parser_delete(&r.yaml);
    if (status != CEL_OK) return cel_status_pass(status, __FILE__, __LINE__);
    return CEL_OK;
}
