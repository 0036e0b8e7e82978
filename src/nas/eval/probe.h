/* A network at its start, and what a few passes over a few images say of it: everything that proxies read.
 *
 * All passes are in training mode: batch norm normalises with the batch. Sums over weights are over those of
 * convolutions and linear layers, without biases and batch norm (zero-cost-nas' convention). */
#ifndef CEL_NAS_PROBE_H
#define CEL_NAS_PROBE_H
#include "engine/exec/exec.h"
#include "nas/eval/weights.h"
#include "nas/space/space.h"

enum {
    CEL_READ_IMAGES = 1,
    CEL_READ_GRADIENT = 2,          /* of the loss by the weights, on each batch */
    CEL_READ_HESSIAN = 4,           /* the loss' Hessian by the weights times that gradient */
    CEL_READ_FISHER = 8,            /* outputs of the layers times their gradients */
    CEL_READ_INPUT_GRADIENT = 16,   /* of the sum of logits by the image */
    CEL_READ_CODES = 32,            /* signs of the inputs of all ReLUs */
    CEL_READ_NTK = 64,              /* gradients of single images' sums of logits by the weights */
    CEL_READ_REGIONS = 128,         /* signs at the outputs of ReLUs of a thin network on small crops */
    CEL_READ_FLOW = 256,            /* nothing of a pass: the graph and the weights */
    CEL_READ_BATCHES = 512,         /* the gradient on several batches, not one */
    CEL_READ_OUTPUT_GRADIENT = 1024 /* instead of the loss' gradient that of the sum of logits, by the weights */
};

typedef enum cel_probe_start { CEL_START_DEFAULT, CEL_START_KAIMING } cel_probe_start;

typedef struct cel_probe_conf {
    const cel_space *space;
    const void *space_conf;
    bool cell_bias; /* space->biased, which has to be there, instead of space->discrete */
    /* Tests: builds another network than the space's for a genotype; NULL: space->discrete. */
    cel_status (*build)(void *ctx, cel_graph *g, const cel_net_shape *shape, const cel_genotype *genotype,
                        cel_net *net);
    /* First values of parameters, instead of those drawn from the seed; NULL: drawn. */
    cel_status (*fill)(void *ctx, const cel_exec *e, int slot, float *values);
    void *ctx;           /* of build and fill */
    cel_net_shape shape; /* with the batch */
    const cel_backend *backend;
    cel_pool *pool;
    uint64_t seed; /* of the weights */
    cel_probe_start start;
    int n_batches;
    const float *images;   /* n_batches x batch x channels x height x width; NULL where nothing looks at them */
    const int32_t *labels; /* n_batches x batch */
    int ntk_repeats;       /* networks whose condition numbers are averaged */
    const struct cel_probe_conf *ntk, *regions; /* theirs: NULL where they are not wanted */
} cel_probe_conf;

/* What one thread uses again from cell to cell. Zero-initialised is empty. */
typedef struct cel_probe_room {
    cel_exec_lender lender;
    cel_weights *weights; /* borrowed; NULL: drawn each time */
} cel_probe_room;
void cel_probe_room_fini(cel_probe_room *room);

/* A convolution or a linear layer. */
typedef struct cel_probe_layer {
    cel_val weight, y; /* y: its output */
    int param;         /* slot of the weight */
    size_t offset, count;
    int channels; /* of its output */
    cel_val dot;
    float *dots; /* [n][channels]: sum over the pixels of y dL/dy, all zero where nothing reaches the loss */
} cel_probe_layer;

/* The input of a number of ReLUs. */
typedef struct cel_probe_code {
    cel_val value, code;
    int times; /* ReLUs that read it */
    size_t units, words;
    uint64_t *bits; /* [n][words], zero behind the last unit */
} cel_probe_code;

typedef struct cel_probe {
    const cel_probe_conf *conf;
    const cel_genotype *genotype;
    cel_probe_room *room;
    unsigned reads;
    cel_graph *graph;
    cel_exec *exec;
    cel_net net;
    int n_layers, n_codes;
    cel_probe_layer *layer;
    cel_probe_code *code;
    const float *weights; /* the parameters' block: layers' at their offsets */
    size_t n_floats;
    double *loss;      /* n_batches */
    float **gradient;  /* n_batches blocks laid out like the parameters; zero where nothing reaches the loss */
    bool borrowed;     /* the only one is the executor's */
    float *hessian;    /* the same */
    float *dinput;     /* batch x channels x height x width */
    double *ntk_value; /* ntk_repeats condition numbers */
    double regions;    /* distinct patterns */
    cel_val ones, dx, pick;
    int forward, second, single; /* programs */
} cel_probe;

/* Builds the network, and runs what `reads` asks for. conf, genotype and room are borrowed for the probe's life. */
cel_status cel_probe_open(const cel_probe_conf *conf, const cel_genotype *genotype, unsigned reads,
                          cel_probe_room *room, cel_probe **out);
void cel_probe_close(cel_probe *probe);
#endif
