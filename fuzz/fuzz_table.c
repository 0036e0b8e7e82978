/* Any bytes as a benchmark table: its header and columns are read, behind them a table's worth of zeros. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"
#include "nas/eval/table_file.h"

enum { COLUMNS_MAX = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static uint64_t space[(sizeof(cel_table_header) + COLUMNS_MAX * (sizeof(cel_table_column) + CEL_NB201_COUNT * 8) +
                           CEL_NB201_COUNT * 8) /
                          8];
    uint8_t *bytes = (uint8_t *)space;
    cel_table_header *h = (cel_table_header *)space;
    cel_table *t;
    if (n > sizeof space) n = sizeof space;
    memset(space, 0, sizeof space);
    if (n) memcpy(bytes, data, n);
    if (cel_table_from_memory(space, n, &t) == CEL_OK) cel_table_close(t);
    /* The same with the size and the sum made right, so that the columns are reached. */
    size_t columns = h->n_columns >= 1 && h->n_columns <= COLUMNS_MAX ? h->n_columns : 1;
    h->n_columns = (uint32_t)columns;
    size_t size = sizeof *h + columns * (sizeof(cel_table_column) + CEL_NB201_COUNT * 8) + CEL_NB201_COUNT * 8;
    h->checksum = (uint32_t)crc32_z(0, bytes + sizeof *h, size - sizeof *h);
    if (cel_table_from_memory(space, size, &t) != CEL_OK) return 0;
    int m;
    for (int i = 0; i < cel_table_n_metrics(t); i++) {
        const cel_metric *metric = cel_table_metric(t, i);
        if (cel_table_find_metric(t, metric->name, &m) != CEL_OK || m != i) abort();
        if (cel_table_rank(t, i, 7) < 1 || cel_table_find_latency(t, metric->device, &m) == CEL_INTERNAL) abort();
    }
    cel_table_close(t);
    return 0;
}
