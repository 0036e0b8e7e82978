/* What the golden checks of networks share: settings from text, a network on a backend with the file's numbers in it, comparison. */
#ifndef CEL_TEST_GOLDEN_NET_H
#define CEL_TEST_GOLDEN_NET_H
#include "base/conf/opt.h"
#include "engine/exec/exec.h"
#include "nas/space/space.h"
#include "support/golden_check.h"

/* A struct filled from a line of YAML ("{c: 4, n: 1}"); cel_free. */
void *golden_settings(const cel_opt *opts, size_t size, const char *yaml);
/* A number of the file's metadata; fails the test when it is missing. */
double golden_meta_number(const test_golden *golden, const char *key);
cel_net_shape golden_shape(const test_golden *golden, const test_tensor *x);
/* Each backend that can run here, or only the one that golden_only_backend names. */
extern const char *golden_only_backend;
bool golden_backend_wanted(const cel_backend *backend);

/* Runs a check; when it is out of tolerance, again with every weight moved by a rounding or none, then by up to two, and so on, until it
 * is within, at most GOLDEN_NUDGES times. A ReLU whose input is within rounding of 0 may go either way in float arithmetic, and one
 * that goes the other way than the reference moves a gradient by up to a percent of it. An implementation that is right lands on
 * the reference's side under some of these nudges (and the check says which it needed), one that is wrong under none. */
enum { GOLDEN_NUDGES = 64 };
double golden_without_kinks(double (*run)(const test_golden *, const cel_backend *, bool), const test_golden *golden,
                            const cel_backend *backend, bool fused);
/* Moves the parameters as the present nudge says. */
void golden_nudge(cel_exec *e);

/* Writes (or compares) every parameter or state of `slots` with the tensor PREFIX.NAME. */
void golden_write_slots(cel_exec *e, const cel_slot *slots, int n, const test_golden *golden, const char *prefix);
double golden_compare_slots(const cel_slot *slots, int n, const float *block, const test_golden *golden,
                            const char *prefix, double relative, double absolute);
/* L2 norm of all tensors whose name begins with `prefix`. */
double golden_total_norm(const test_golden *golden, const char *prefix);
void golden_write(cel_exec *e, cel_val v, const test_tensor *t);

double golden_nb201_super(const char *path);
double golden_nb201_masked(const char *path);
double golden_nb201_gdas(const char *path);
double golden_nb201_wider(const char *path);
double golden_nb201_discrete(const char *path);
double golden_trace(const char *path);
#endif
