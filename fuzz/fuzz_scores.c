/* Any bytes as a file of scores that a run goes on from. */
#include <stdlib.h>

#include "base/mem.h"
#include "lab/score_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const char head[] = "# cellar: scores of cells\n# sample: 3\nindex,architecture,synflow,params\n";
    const int index[] = {0, 5, 9930};
    double values[3 * 2];
    int done = -1;
    cel_status status = cel_score_file_parse("scores.csv", (const char *)data, n, head, index, 3, 2, values, &done);
    if (status == CEL_OK && (done < 0 || done > 3)) abort();
    for (int i = 0; status == CEL_OK && i < done; i++) { /* what was read can be written and read again */
        cel_genotype g;
        char *line;
        if (cel_nb201_from_index(index[i], &g) != CEL_OK) abort();
        if (cel_score_file_line(index[i], &g, values + 2 * i, 2, &line) == CEL_OK) cel_free(line);
    }
    return 0;
}
