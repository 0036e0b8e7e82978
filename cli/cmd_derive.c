/* cellar derive: the architecture that a choice matrix, or a run, means. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <sys/stat.h>

#include "cellar/arch.h"
#include "cellar/run.h"
#include "cli.h"

static bool is_directory(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

/* A run's cell is the one on record: what its numbers mean is not to be seen from them alone (a limit, for one). */
static cel_status derive(const char *path, int epoch, bool alpha, cel_genotype *out) {
    cel_arch_space space;
    double *matrix;
    uint8_t *live;
    if (epoch < 0 && !alpha) { /* a run that selected its cell among drawn ones has no other */
        cel_status status = cel_run_selected(path, out);
        if (status == CEL_OK || (status != CEL_NOTFOUND && status != CEL_IO)) return status;
    }
    if (!alpha && is_directory(path)) return cel_run_recorded(path, epoch, out);
    CEL_TRY(cel_choice_read(path, epoch, &space, &matrix, &live));
    const cel_topology *t = cel_topology_get(space);
    int rows = t->n_cells * t->n_edges;
    cel_status status = CEL_OK;
    if (status == CEL_OK && alpha) status = cel_choice_softmax(matrix, live, rows, t->n_ops, matrix);
    if (status == CEL_OK) status = cel_genotype_derive(space, matrix, live, out);
    cel_free(matrix);
    cel_free(live);
    return status;
}

cel_status cmd_derive(int argc, char **argv) {
    int epoch = -1;
    bool alpha = false;
    const char *svg = NULL;
    const cli_flag flags[] = {
        CLI_INT("epoch", &epoch, 0, 1000000, "N", "of a run: after this epoch (the last)"),
        CLI_SWITCH("alpha", &alpha, "the numbers are logits: take each row's softmax first"),
        CLI_TEXT("svg", &svg, "FILE", "write the cell's picture"),
        CLI_END,
    };
    cli_args args;
    CEL_TRY(
        cli_parse(argc, argv, "RUN|MATRIX",
                  "Prints the architecture that a run has found, or that a matrix of weights means: the strongest\n"
                  "operation of each edge and, in the DARTS space, the two strongest edges into each node.\n\n"
                  "MATRIX is a file of numbers, one row an edge, one column an operation (NAS-Bench-201 6 x 5, DARTS\n"
                  "28 x 7, the normal cell's 14 rows first), as text or as a JSON array of arrays.",
                  flags, 1, 1, &args));
    if (args.done) return CEL_OK;
    cel_genotype g;
    char text[CEL_GENOTYPE_TEXT];
    CEL_TRY(derive(args.item[0], epoch, alpha, &g));
    if (svg) CEL_TRY(cel_arch_svg_write(&g, svg));
    cel_genotype_format(&g, text);
    if (!cli.json) {
        printf("%s\n", text);
        return CEL_OK;
    }
    printf("{\"space\": \"%s\", \"architecture\": ", cel_topology_get(g.space)->name);
    cli_json_text(stdout, text);
    printf(", \"hash\": \"%016" PRIx64 "\"", cel_genotype_hash(&g));
    int index;
    if (g.space == CEL_ARCH_NB201 && cel_nb201_index(&g, &index) == CEL_OK) printf(", \"index\": %d", index);
    printf("}\n");
    return CEL_OK;
}
