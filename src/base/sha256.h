/* SHA-256 (FIPS 180-4), for naming content: data sets, downloads, checkpoints. */
#ifndef CEL_BASE_SHA256_H
#define CEL_BASE_SHA256_H
#include "cellar/status.h"

typedef struct cel_sha256 {
    uint32_t state[8];
    uint64_t n_bytes;
    uint8_t block[64];
} cel_sha256;

void cel_sha256_init(cel_sha256 *sha);
void cel_sha256_add(cel_sha256 *sha, const void *data, size_t n);
/* 64 lower-case hexadecimal digits and a zero byte. */
void cel_sha256_hex(cel_sha256 *sha, char hex[65]);
#endif
