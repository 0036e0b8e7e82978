/* Any bytes as a condition over the shipped table. */
#include <stdlib.h>

#include "base/mem.h"
#include "cellar/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static cel_table *table;
    cel_where *where;
    if (!table && cel_table_open(NULL, &table) != CEL_OK) abort();
    char *text = cel_strndup((const char *)data, n);
    if (text && cel_where_parse(table, text, &where) == CEL_OK) {
        for (int i = 0; i < cel_table_count(table); i += 997) cel_where_test(where, i);
        cel_where_destroy(where);
    }
    cel_free(text);
    return 0;
}
