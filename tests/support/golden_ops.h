/* Runs the golden layers of a directory (ops.csv, ops.safetensors: one layer with its inputs, output and gradients a
 * case) on a backend. Attributes come from ops.csv, so other cases than those of tests/golden can be run. */
#ifndef CEL_TEST_GOLDEN_OPS_H
#define CEL_TEST_GOLDEN_OPS_H
#include "engine/backend/backend.h"

/* Returns the number of cases that failed, a kind of layer that is not known among them, each named on stderr; fails
 * the test when the files cannot be read. *worst (may be NULL): the largest error, as a share of what is allowed.
 * Allowed is |got - want| <= 1e-5 |want| for outputs and running statistics, 2e-4 |want| + 2e-6 G for gradients (L2
 * norms; G: of all gradients of the case and its cotangent). */
int golden_ops_run(const char *dir, const cel_backend *backend, double *worst);
#endif
