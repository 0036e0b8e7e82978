/* The report of a run: one HTML page that stands alone. */
#ifndef CELLAR_REPORT_H
#define CELLAR_REPORT_H
#include "cellar/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reads the run directory `run_dir` (a finished run or one under way) and the benchmark table that ships with cellar,
 * and writes the page to `out_path`, whole or not at all (over a file, or through a link to one); NULL: report.html in
 * the directory. The page loads nothing and runs nothing, and says so where the run is not finished or its cell is in
 * no table. CEL_NOTFOUND (no run there), CEL_CONFIG (recipe.yaml), CEL_FORMAT (file, line and field of what is
 * malformed), CEL_IO (also when `out_path` is a device, a pipe or a directory, which stays as it is). */
cel_status cel_report_write(const char *run_dir, const char *out_path);

#ifdef __cplusplus
}
#endif
#endif
