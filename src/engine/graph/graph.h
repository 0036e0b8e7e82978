/* The inside of a graph (include/cellar/graph.h is its face): what operations, passes, backends and the executor
 * read. */
#ifndef CEL_ENGINE_GRAPH_H
#define CEL_ENGINE_GRAPH_H
#include "base/mem.h"
#include "cellar/graph.h"

struct cel_op_def;

typedef struct cel_value {
    const char *name; /* full name, "" for unnamed temporaries */
    cel_role role;
    cel_dtype dtype;
    cel_layout layout;
    cel_shape shape;
    cel_init init;
    int32_t op, out; /* the operation that makes it and its place among the outputs; -1 for the rest */
    cel_val grad_of; /* the PARAM whose gradient this is, or CEL_NONE: it then lives in the executor's gradient block */
    int gate;        /* the gate it is made under, -1: always */
} cel_value;

typedef struct cel_op {
    const struct cel_op_def *def;
    const char *scope;
    const void *attr; /* the operation's own attribute struct, owned by the graph; NULL if it has none */
    int n_in, n_out;
    cel_val *in, *out; /* an optional input that is not there is CEL_NONE */
    int gate;
    bool gradient; /* added by cel_graph_grad */
} cel_op;

enum { CEL_GRAPH_MAX_DEPTH = 32, CEL_GRAPH_MAX_GATES = 1 << 20, CEL_GRAPH_MAX_OUT = 64 };

struct cel_graph {
    cel_arena arena;
    cel_value *value;
    cel_op *op;
    int n_values, n_ops, value_room, op_room;
    const char *scope, *outer[CEL_GRAPH_MAX_DEPTH]; /* the present scope and those around it */
    int depth;
    int gate, n_gates; /* n_gates: highest gate + 1 */
    bool sealed, in_gradient;
    cel_status status; /* first builder error and its text */
    char error[1024];
};

/* Adds a value (everything but op, out, grad_of and gate is taken from *v; the name is `leaf` in the present scope,
 * NULL for none). */
cel_val cel_graph_new_value(cel_graph *g, const cel_value *v, const char *leaf);
/* Adds an operation: copies attr (attr_bytes), infers the outputs' shapes, returns the op's index, or -1 after
 * recording the error (also when a required input is CEL_NONE). Outputs are graph->op[index].out[...]. */
int cel_graph_add(cel_graph *g, const struct cel_op_def *def, const cel_val *in, int n_in, const void *attr,
                  size_t attr_bytes);
/* Records a builder error with the present scope (only the first is kept); returns CEL_NONE. */
cel_val cel_graph_error(cel_graph *g, cel_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#endif
