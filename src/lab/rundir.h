/* The run directory: everything that a search leaves behind, and what it needs to go on. docs/formats.md describes the files.
 *
 * A run exists when its recipe.yaml does. One process at a time has it (lock). Each epoch is written in this order: a line of
 * metrics.jsonl and of genotypes.jsonl, an event, then the checkpoint with the counts of all three; so whatever lies beyond the
 * counts after a kill is cut off when the run goes on, and no line or event is torn or there twice. */
#ifndef CEL_LAB_RUNDIR_H
#define CEL_LAB_RUNDIR_H
#include "lab/checkpoint.h"

typedef struct cel_rundir cel_rundir;

/* What manifest.json says about a run; all borrowed for the call. */
typedef struct cel_run_facts {
    const char *backend, *isa, *method, *space, *command;
    int threads;
    int64_t seed;
    const char *dataset, *dataset_sha256;
    int64_t images[2];                        /* for the weights, for the architecture */
    int64_t params, step_flops, memory_bytes; /* the plan */
} cel_run_facts;

/* Opens or makes the directory of a run whose resolved recipe is `recipe`.
 *
 * Without `resume` the directory must be new or empty. With it, the stored recipe must be the same, and the run goes
 * on from its newest good checkpoint; a directory that has no run yet, or a run no checkpoint, starts from the
 * beginning. CEL_BUSY when another process has it; CEL_CONFIG when a run is there, or another one than `recipe`'s;
 * CEL_FORMAT when no checkpoint is good, or none is there beside several epochs; what cel_checkpoint_open answers. A
 * directory that is refused is left as it was. */
cel_status cel_rundir_open(const char *path, bool resume, const char *recipe, cel_rundir **out);
void cel_rundir_close(cel_rundir *run);
/* The checkpoint to go on from, NULL at the beginning. Lives until cel_rundir_close or cel_rundir_forget. */
const cel_checkpoint *cel_rundir_checkpoint(const cel_rundir *run);
/* Releases the checkpoint's memory once it has been filled in. */
void cel_rundir_forget(cel_rundir *run);

/* Was the run complete when it was opened? Until cel_rundir_forget. */
bool cel_rundir_finished(const cel_rundir *run);
/* Writes manifest.json: a new one, or, when the run goes on, the old one's start and plan with this time added to
 * "resumed". CEL_CONFIG when it began on other images; the log warns when it began with another backend or instruction
 * set. */
cel_status cel_rundir_manifest(cel_rundir *run, const cel_run_facts *facts);
/* One epoch: two JSON objects without line breaks. Every number in `metrics`, also inside objects, becomes a TensorBoard scalar
 * ("table/cifar10/test") at step `epoch`; lists do not. CEL_INTERNAL when one is not JSON. */
cel_status cel_rundir_epoch(cel_rundir *run, int64_t epoch, const char *metrics, const char *genotype);
/* Writes a checkpoint, after syncing what it counts; see cel_checkpoint_save. */
cel_status cel_rundir_save(cel_rundir *run, int64_t serial, bool epoch_end, cel_state *state);
/* Another file of the run, whole or not at all. */
cel_status cel_rundir_write(cel_rundir *run, const char *name, const char *text);
/* Writes the time and memory spent so far into the manifest; `finished`: the search is complete. */
cel_status cel_rundir_spent(cel_rundir *run, bool finished);
#endif
