/* Any bytes as a checkpoint's JSON. */
#include "lab/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    cel_checkpoint_check_json("fuzz", (const char *)data, n);
    return 0;
}
