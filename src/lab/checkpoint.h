/* Checkpoints: everything a run must remember, in a directory of two generations.
 *
 * A generation is a pair: NAME.safetensors (the arrays) and NAME.json (format version, what the arrays' file is called, its length
 * and SHA-256, counts of lines and events that the run's append-only files had, and a checksum of itself). The arrays are written
 * first, the JSON is renamed into place last and is what makes a generation exist; only then are old ones removed. So a kill or a
 * full disk at any moment leaves the older generation whole. Equal states give equal bytes and equal names.
 *
 * Kept are the newest generation and, before it, the newest one at the end of an epoch. */
#ifndef CEL_LAB_CHECKPOINT_H
#define CEL_LAB_CHECKPOINT_H
#include "base/state.h"

enum { CEL_CHECKPOINT_VERSION = 1, CEL_CHECKPOINT_MAX_COUNTS = 8 };

/* A named count kept with the arrays ("metrics" 12). Names are borrowed. */
typedef struct cel_count {
    const char *name;
    int64_t n;
} cel_count;

/* Writes generation `serial` (steps done; later is newer), sorting `state` by name. On failure (CEL_IO: full disk, no permission)
 * the older generations are as they were. */
cel_status cel_checkpoint_save(const char *dir, int64_t serial, bool epoch_end, const cel_count *counts, int n_counts,
                               cel_state *state);

typedef struct cel_checkpoint cel_checkpoint;
/* Opens the newest good generation. A damaged one (cut short, changed, foreign, a file of it lost) is passed over with
 * a warning in the log when an older one is good; otherwise CEL_FORMAT. One that is whole but cannot be read here and
 * now is not passed over: CEL_VERSION, CEL_IO, CEL_NOMEM. CEL_NOTFOUND when there is no generation at all. */
cel_status cel_checkpoint_open(const char *dir, cel_checkpoint **out);
void cel_checkpoint_destroy(cel_checkpoint *checkpoint);
/* Removes what a kill left behind: unfinished files, generations that the newest good one has replaced, and the
 * damaged ones that cel_checkpoint_open passed over on the way to it. */
void cel_checkpoint_tidy(const char *dir, const cel_checkpoint *newest);
int64_t cel_checkpoint_serial(const cel_checkpoint *checkpoint);
/* -1 when it has no such count. */
int64_t cel_checkpoint_count(const cel_checkpoint *checkpoint, const char *name);
/* Copies into every array of `state`, which must be there with the same type and shape (CEL_FORMAT otherwise, nothing copied).
 * With `whole` the checkpoint must hold nothing else; without, it may: a first look at what decides the rest. */
cel_status cel_checkpoint_fill(const cel_checkpoint *checkpoint, const cel_state *state, bool whole);
/* The checks of one NAME.json's bytes, for any bytes (the fuzzer's way in). */
cel_status cel_checkpoint_check_json(const char *origin, const char *text, size_t n);
#endif
