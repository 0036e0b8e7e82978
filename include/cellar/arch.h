/* Architectures as pure data: what a search space lets one choose, what was chosen, its texts, its cost, its picture.
 *
 * A space has a topology: cells of nodes, edges between nodes, one operation to choose on each edge. A choice matrix has
 * one row for each edge of each kind of cell (row = cell * n_edges + edge) and one column for each operation. A genotype
 * is the list of edges that were kept, each with its operation. The same types carry other spaces: the DARTS space keeps
 * two edges a node; a space whose operations sit on nodes gives each edge into a node that node's operation.
 *
 * Everything here is a pure function of its arguments and safe to call from any thread. */
#ifndef CELLAR_ARCH_H
#define CELLAR_ARCH_H
#include "cellar/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cel_arch_space { CEL_ARCH_NB201, CEL_ARCH_DARTS, CEL_ARCH_SPACE_COUNT } cel_arch_space;

typedef struct cel_topology {
    const char *name;  /* "nb201" */
    const char *label; /* "NAS-Bench-201" */
    int n_cells;       /* kinds of cell */
    const char *cell_names[2];
    int n_inputs; /* nodes 0 .. n_inputs-1 are what a cell is given */
    int n_nodes;
    int n_ops;
    const char *const *op_names;                                  /* n_ops, in column order */
    int n_edges;                                                  /* of one cell */
    const struct cel_topology_edge { uint8_t from, to; } * edges; /* in row order */
    int keep;       /* how many edges into each node a genotype keeps; 0 = all */
    int n_genotype; /* edges of a genotype */
} cel_topology;

/* Borrowed, never NULL for a space of the enum. */
const cel_topology *cel_topology_get(cel_arch_space space);
/* By name ("nb201", "darts"); CEL_NOTFOUND names the nearest. */
cel_status cel_topology_find(const char *name, cel_arch_space *out);

/* Operations of NAS-Bench-201, in column order. */
typedef enum cel_nb201_op {
    CEL_NB201_NONE,
    CEL_NB201_SKIP,
    CEL_NB201_CONV_1X1,
    CEL_NB201_CONV_3X3,
    CEL_NB201_AVG_POOL_3X3,
    CEL_NB201_OPS
} cel_nb201_op;
enum { CEL_NB201_EDGES = 6, CEL_NB201_COUNT = 15625 }; /* edges 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2 */

enum { CEL_GENOTYPE_EDGES = 32 };
typedef struct cel_genotype {
    cel_arch_space space;
    int n; /* edges in use; cell by cell, node by node; inside a node as kept, the strongest first */
    struct cel_genotype_edge {
        uint8_t cell, from, to, op;
    } edge[CEL_GENOTYPE_EDGES];
} cel_genotype;

/* CEL_FORMAT unless `g` is a complete architecture of its space. Calls below that take a genotype without returning a
 * status want one that passes this; every call here that makes a genotype makes one that does. */
cel_status cel_genotype_check(const cel_genotype *g);
bool cel_genotype_equal(const cel_genotype *a, const cel_genotype *b);
/* Does each kind of cell lead from an input to its output? Else the network answers the same for every image. */
bool cel_genotype_connected(const cel_genotype *g);

/* Text. NAS-Bench-201: |op~0|+|op~0|op~1|+|op~0|op~1|op~2|. DARTS: Genotype(normal=[('op', 0), ...],
 * normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6)), blanks as in Python.
 * The space is seen from the text. CEL_FORMAT says at which character, what was expected and what was found. */
cel_status cel_genotype_parse(const char *text, cel_genotype *out);
enum { CEL_GENOTYPE_TEXT = 640 };
void cel_genotype_format(const cel_genotype *g, char text[CEL_GENOTYPE_TEXT]);

/* The text of the class of architectures that compute the same: for NAS-Bench-201 the benchmark's own isomorphism string
 * (6,466 classes), for DARTS the edges of each node in order of their source. */
void cel_genotype_canonical(const cel_genotype *g, char text[CEL_GENOTYPE_TEXT]);
/* 64 bits of that text (FNV-1a over "space:text"); the same on every machine and in every version. */
uint64_t cel_genotype_hash(const cel_genotype *g);

/* NAS-Bench-201 by its six operations in edge order, and by its official index 0 .. 15624 (the order of the benchmark). */
cel_status cel_nb201_from_ops(const uint8_t ops[CEL_NB201_EDGES], cel_genotype *out);
cel_status cel_nb201_from_index(int index, cel_genotype *out);
/* CEL_UNSUPPORTED for another space. */
cel_status cel_nb201_index(const cel_genotype *g, int *out);

/* A file of architectures, at most 64 MiB: one a line as text, or JSON lines with a "genotype" (a run's genotypes.jsonl);
 * blank lines and lines that begin with # are passed over. Errors name the line. *list: cel_free. */
cel_status cel_genotype_list_read(const char *path, cel_genotype **list, size_t *n);

/* --- cost ------------------------------------------------------------------------------------------------------------
 * NAS-Bench-201's network: a stem, n cells of c channels, a residual reduction, n cells of 2c, a reduction, n cells of
 * 4c, classifier. params counts affine batch norms. flops are multiply-adds, each counted once, of convolutions and
 * classifier, and the classifier's bias; batch norm and pooling are free. Branches that reach nothing count as well. */
typedef struct cel_nb201_net {
    int c, n, classes; /* 1 .. 1024, 1 .. 1000, 1 .. 1000000 */
    int image;         /* height = width, a multiple of 4 up to 4096 */
} cel_nb201_net;
typedef struct cel_arch_cost {
    int64_t params, flops;
} cel_arch_cost;

/* The benchmark's network (c = 16, n = 5) for "cifar10", "cifar100" or "imagenet16" (also "imagenet16-120"). */
cel_status cel_nb201_net_find(const char *dataset, cel_nb201_net *out);
cel_status cel_nb201_cost(const cel_genotype *g, const cel_nb201_net *net, cel_arch_cost *out);
/* Weights of the supernet whose cells compute on c/k channels, with all five operations on each edge (batch norm in its
 * cells has no weights). CEL_CONFIG when k does not divide c, with the values that do. */
cel_status cel_nb201_super_params(const cel_nb201_net *net, int k, int64_t *out);

/* --- choices ---------------------------------------------------------------------------------------------------------
 * Matrices are row-major doubles, rows x cols; `live` (the same size, 0 or 1, NULL = all 1) says which entries are still
 * candidates. A row without a live entry is CEL_CONFIG, a live entry that is not finite CEL_DIVERGED. Ties: the first. */

/* Each row's softmax over its live entries; 0 elsewhere. `weights` may be `alpha`. */
cel_status cel_choice_softmax(const double *alpha, const uint8_t *live, int rows, int cols, double *weights);
/* Keeps the `keep` largest live entries of each row (all where fewer are live); others become 0 in alpha and in live. */
cel_status cel_choice_prune(int rows, int cols, int keep, double *alpha, uint8_t *live);
/* The strongest live operation of each row; where the topology keeps only some edges of a node, those whose strongest
 * operation weighs most. That compares rows, so give such a space weights that are comparable (cel_choice_softmax). */
cel_status cel_genotype_derive(cel_arch_space space, const double *weights, const uint8_t *live, cel_genotype *out);

/* A matrix as text, at most 1 MiB: numbers parted by blanks, commas or semicolons, one row a line, # begins a comment; or
 * a JSON array of arrays; or a JSON line of a run's metrics ("concentration" and "live"). The number of entries must be
 * that of a space, which is thereby found. *matrix, *live: cel_free (live is all 1 where the text has none). */
cel_status cel_choice_parse(const char *text, cel_arch_space *space, double **matrix, uint8_t **live);
/* The same from a file, or from a run directory: the concentrations after `epoch`, -1 for the last that is finished. */
cel_status cel_choice_read(const char *path, int epoch, cel_arch_space *space, double **matrix, uint8_t **live);

/* --- pictures ---------------------------------------------------------------------------------------------------------*/

/* A self-contained <svg> element of the cells, no external reference and no id, so that many fit on one HTML page.
 * *svg: cel_free. */
cel_status cel_arch_svg(const cel_genotype *g, char **svg);
/* Writes it to a file, whole or not at all, over a file or through a link to one; CEL_IO. */
cel_status cel_arch_svg_write(const cel_genotype *g, const char *path);
/* The same as a few lines of text. *text: cel_free. */
enum { CEL_DRAW_ASCII = 1, CEL_DRAW_COLOR = 2 };
cel_status cel_arch_draw(const cel_genotype *g, unsigned flags, char **text);
/* A short name for a person ("conv 3x3") and the colour ("#2457a6") of an operation in these pictures. */
const char *cel_arch_op_label(cel_arch_space space, int op);
const char *cel_arch_op_color(cel_arch_space space, int op);

#ifdef __cplusplus
}
#endif
#endif
