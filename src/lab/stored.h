/* What a directory was begun with, and whether it is still the same. */
#ifndef CEL_LAB_STORED_H
#define CEL_LAB_STORED_H
#include "cellar/status.h"

/* CEL_OK when `file` holds exactly `text` (settings as YAML); CEL_CONFIG names the first setting that differs, with its
 * section, as it was and as it is. `place` is the directory in the message, `what` is kept there ("run"). */
cel_status cel_stored_same(const char *file, const char *text, const char *place, const char *what);
#endif
