/* The settings tree itself, shared by its reader (conf_yaml.c), its editor (conf.c) and the tables (conf_table.c). */
#ifndef CEL_BASE_CONF_TREE_H
#define CEL_BASE_CONF_TREE_H
#include "base/conf/conf.h"
#include "base/mem.h"

typedef enum cel_node_kind { CEL_NODE_TEXT, CEL_NODE_MAP, CEL_NODE_LIST } cel_node_kind;

/* Nodes live in the tree's arena. Children are a list in the order of the text. */
typedef struct cel_node {
    cel_node_kind kind;
    bool plain;         /* TEXT: written without quotes, so it may be a number or a truth value */
    const char *text;   /* TEXT */
    const char *key;    /* in a MAP */
    const char *origin; /* file, or the --set it came from */
    int line, column;   /* of the value, from 1; 0 where the origin has none */
    int key_line, key_column;
    struct cel_node *child, *next;
} cel_node;

struct cel_conf {
    cel_arena arena;
    cel_node *root; /* a MAP */
    int n_nodes;
};

/* Reads one YAML document of any kind into `conf`'s arena. */
cel_status cel_conf_yaml(cel_conf *conf, const char *origin, const char *text, size_t n, cel_node **out);
cel_node *cel_node_find(const cel_node *map, const char *key, size_t key_bytes);
const char *cel_node_kind_text(const cel_node *node);

/* "file:3:7" of a value or of its key, into a buffer that is returned. */
typedef char cel_node_place[320];
const char *cel_node_at(const cel_node *node, bool key, cel_node_place out);
#endif
