/* The file of a benchmark table, written at build time and mapped at run time.
 *
 * Why not SQLite: the rows of a space have numbers, so a look-up is an array access and a search a scan of one column;
 * opening is a mapping and a checksum; and a condition typed by a user can never reach a database.
 *
 *   header | n_columns records | n_columns x n_rows doubles, column by column | n_rows hashes
 *
 * Numbers are in the byte order of the machine that wrote the file, which the header tells. */
#ifndef CEL_NAS_TABLE_FILE_H
#define CEL_NAS_TABLE_FILE_H
#include "cellar/table.h"

#define CEL_TABLE_MAGIC "CELTABLE"
enum { CEL_TABLE_VERSION = 1, CEL_TABLE_BYTE_ORDER = 0x01020304, CEL_TABLE_COLUMNS_MAX = 1024 };

typedef struct cel_table_header {
    char magic[8];
    uint32_t byte_order, version;
    char space[16];
    uint32_t n_rows, n_columns;
    uint32_t checksum; /* crc32 of everything behind the header */
    uint32_t zero;
} cel_table_header;

typedef struct cel_table_column {
    char name[48], label[80], dataset[24], split[16], trained_on[24], unit[8], device[32];
    int32_t kind, epochs, seeds_min, seeds_max, higher_is_better, zero;
} cel_table_column;

_Static_assert(sizeof(cel_table_header) == 48 && sizeof(cel_table_column) == 256, "the file has no padding");

/* Makes `path` from columns.csv and the files it names in `dir`. Every row is compared with the library: index, text,
 * operations, isomorphism class, params and FLOPs. */
cel_status cel_table_write(const char *dir, const char *path);
/* Reads a table from memory, which must outlive it; nothing is copied. */
cel_status cel_table_from_memory(const void *data, size_t n, cel_table **out);
#endif
