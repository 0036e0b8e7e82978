/* Any bytes as an architecture, a list's line and a choice matrix: refused, or written back to the same architecture. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cellar/arch.h"

static void check(const cel_genotype *g) {
    char text[CEL_GENOTYPE_TEXT], *picture;
    cel_genotype back;
    cel_genotype_format(g, text);
    if (cel_genotype_check(g) != CEL_OK || cel_genotype_parse(text, &back) != CEL_OK || !cel_genotype_equal(g, &back))
        abort();
    cel_genotype_canonical(g, text);
    if (cel_arch_svg(g, &picture) == CEL_OK) cel_free(picture);
    if (cel_arch_draw(g, 0, &picture) == CEL_OK) cel_free(picture);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    char *text = cel_strndup((const char *)data, n);
    cel_genotype g;
    cel_arch_space space;
    double *matrix;
    uint8_t *live;
    if (!text) return 0;
    if (cel_genotype_parse(text, &g) == CEL_OK) check(&g);
    if (cel_choice_parse(text, &space, &matrix, &live) == CEL_OK) {
        if (cel_genotype_derive(space, matrix, live, &g) == CEL_OK) check(&g);
        cel_free(matrix);
        cel_free(live);
    }
    cel_free(text);
    return 0;
}
