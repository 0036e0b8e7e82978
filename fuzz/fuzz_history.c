/* Any bytes as the files of a run that a report reads: the first byte chooses the file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lab/report/history.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char manifest[] =
    "{\"cellar\":\"1\",\"build\":{\"compiler\":\"c\",\"flags\":\"f\"},\"cpu\":\"c\",\"isa\":\"i\",\"backend\":\"b\","
    "\"threads\":1,"
    "\"seed\":1,\"method\":\"m\",\"space\":\"nb201\",\"dataset\":{\"name\":\"cifar10\",\"images\":{\"weights\":1,"
    "\"architecture\":1},\"sha256\":\"s\"},"
    "\"started\":\"s\",\"resumed\":[],\"finished\":null,\"seconds_total\":1,\"peak_mb\":1,\"command\":\"c\",\"plan\":{"
    "\"params\":1,"
    "\"flops_step\":1,\"memory_mb\":1}}";

/* What was read must be usable without further checks. */
static void check(const cel_history *h) {
    for (int i = 0; i < h->n; i++) {
        const cel_record *r = &h->record[i];
        if (r->epoch != i || !isfinite(r->train_loss) || cel_genotype_check(&r->genotype) != CEL_OK) abort();
        if (r->has_sampled && (r->sampled.dataset < 0 || r->sampled.dataset >= CEL_HISTORY_DATASETS)) abort();
        for (int e = 0; e < h->rows * h->cols; e++)
            if (!isfinite(r->concentration[e]) || r->live[e] > 1) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    cel_history h = {.n_epochs = 3};
    if (!n) return 0;
    const char *text = (const char *)data + 1;
    if (data[0] == 'm') {
        if (cel_history_manifest(&h, "manifest.json", text, n - 1) == CEL_OK && !h.topology) abort();
    } else if (cel_history_manifest(&h, "manifest.json", manifest, sizeof manifest - 1) == CEL_OK) {
        /* Metrics up to a zero byte, genotypes behind it. */
        const char *zero = memchr(text, 0, n - 1);
        size_t first = zero ? (size_t)(zero - text) : n - 1;
        if (cel_history_metrics(&h, "metrics.jsonl", text, first) == CEL_OK) {
            check(&h);
            if (zero && cel_history_genotypes(&h, "genotypes.jsonl", zero + 1, n - 2 - first) == CEL_OK) check(&h);
            if (zero && cel_history_selection(&h, "selection.json", zero + 1, n - 2 - first) == CEL_OK &&
                cel_genotype_check(&h.found.genotype) != CEL_OK)
                abort();
        }
    } else {
        abort();
    }
    cel_history_fini(&h);
    return 0;
}
