/* Text helpers that the library and the program share: exact numbers in any locale, and the nearest name. */
#ifndef CELLAR_TEXT_H
#define CELLAR_TEXT_H
#include "cellar/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The whole of `text` as a decimal number; false for anything else: spaces, hexadecimal, infinity, NaN, out of range. */
bool cel_text_to_real(const char *text, double *out);
bool cel_text_to_int(const char *text, int64_t *out);
/* The shortest decimal text that reads back as exactly `value` (finite), always with a point or an exponent. */
enum { CEL_REAL_TEXT = 32 };
void cel_text_from_real(double value, char out[CEL_REAL_TEXT]);

/* The candidate nearest to `word` by edit distance (a swap of neighbours counts once); NULL when none is near: more
 * than a third of the letters differ, but one always may. Ties go to the first. NULL candidates are passed over. */
const char *cel_text_nearest(const char *word, const char *const *candidates, size_t n);

#ifdef __cplusplus
}
#endif
#endif
