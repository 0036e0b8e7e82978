/* The build's tool that makes the benchmark table: make_table CSV_DIRECTORY TABLE. */
#include <stdio.h>

#include "nas/eval/table_file.h"

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: make_table CSV_DIRECTORY TABLE\n");
        return cel_status_exit_code(CEL_USAGE);
    }
    cel_status status = cel_table_write(argv[1], argv[2]);
    if (status != CEL_OK) fprintf(stderr, "make_table: %s\n", cel_status_message());
    return cel_status_exit_code(status);
}
