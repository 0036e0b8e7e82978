/* Runs a libFuzzer harness without libFuzzer: on every seed of a directory, whole, cut short, and damaged.
 *
 * usage: replay_NAME DIRECTORY. The damage is a pure function of the seed's bytes, so a failure repeats. Fails when there
 * is no seed: a harness that nothing feeds tests nothing. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_SEED = 1 << 20, CUTS = 200, DAMAGES = 400 };

/* A copy of exactly n bytes, so that a sanitizer sees a read behind them. */
static bool feed(const char *bytes, size_t n, cel_rng *damage) {
    uint8_t *copy = cel_alloc(n, 1);
    if (!copy) return false;
    memcpy(copy, bytes, n);
    if (damage && n) {
        static const uint8_t nasty[] = {0, 1, 0x7f, 0x80, 0xff, '\n', '"', '{', '|', '-', '9', '.'};
        for (uint32_t i = 0, hits = 1 + cel_rng_below(damage, 4); i < hits; i++) {
            uint8_t *at = &copy[cel_rng_below(damage, (uint32_t)n)];
            *at = cel_rng_below(damage, 2) ? nasty[cel_rng_below(damage, sizeof nasty)]
                                           : *at ^ (uint8_t)(1u << cel_rng_below(damage, 8));
        }
    }
    LLVMFuzzerTestOneInput(copy, n);
    cel_free(copy);
    return true;
}

static bool replay(const char *path) {
    char *bytes;
    size_t n;
    if (cel_file_read(path, MAX_SEED, &bytes, &n) != CEL_OK) {
        fprintf(stderr, "%s\n", cel_status_message());
        return false;
    }
    bool ok = feed(bytes, n, NULL);
    size_t stride = n / CUTS + 1;
    for (size_t cut = 0; ok && cut < n; cut += stride) ok = feed(bytes, cut, NULL);
    for (uint64_t i = 0; ok && i < DAMAGES; i++) {
        cel_rng damage = cel_rng_at(n, "damage", i, 0);
        ok = feed(bytes, n, &damage);
    }
    cel_free(bytes);
    return ok;
}

int main(int argc, char **argv) {
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    if (!dir) {
        fprintf(stderr, "usage: %s DIRECTORY of seeds\n", argv[0]);
        return 2;
    }
    int seeds = 0;
    bool ok = true;
    for (struct dirent *entry; ok && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        char *path = cel_path_join(argv[1], entry->d_name);
        ok = path && replay(path);
        cel_free(path);
        seeds++;
    }
    closedir(dir);
    if (!seeds) fprintf(stderr, "%s: no seeds\n", argv[1]);
    printf("%d seeds\n", seeds);
    return ok && seeds ? 0 : 1;
}
