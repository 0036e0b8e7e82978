/* Where the files that come with cellar lie: benchmark tables, cifar10-mini, split lists, recipes.
 *
 * A file is named relative to the data directory ("splits/cifar-split.txt") and looked for, first hit wins, in
 *   1. $CELLAR_DATA, when it is set,
 *   2. ../share/cellar of the directory of the shared library or program that holds this code, and of the program,
 *   3. data/ of the build tree (files that the build makes), then data/ and the root of the source tree it was built from,
 *   4. share/cellar of the install prefix chosen at build time. */
#ifndef CEL_BASE_DATADIR_H
#define CEL_BASE_DATADIR_H
#include "cellar/status.h"

/* The path of a shipped file or directory as a new string (cel_free). CEL_NOTFOUND names every place that was tried. */
cel_status cel_data_find(const char *relative, char **path);
#endif
