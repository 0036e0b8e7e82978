#define _GNU_SOURCE
#include "cellar/text.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers are written with a point whatever the caller's locale; a thread's locale is set for the one call. */
static locale_t enter_c_locale(locale_t *c) {
    *c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return *c ? uselocale(*c) : (locale_t)0;
}

static void leave_c_locale(locale_t c, locale_t old) {
    if (!c) return;
    uselocale(old);
    freelocale(c);
}

static size_t digits(const char *p) {
    size_t n = 0;
    while (p[n] >= '0' && p[n] <= '9') n++;
    return n;
}

bool cel_text_to_int(const char *text, int64_t *out) {
    const char *p = text + (*text == '-' || *text == '+');
    size_t n = digits(p);
    if (!n || p[n]) return false;
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    if (errno) return false;
    *out = value;
    return true;
}

bool cel_text_to_real(const char *text, double *out) {
    const char *p = text + (*text == '-' || *text == '+');
    size_t whole = digits(p), part = 0;
    p += whole;
    if (*p == '.') part = digits(++p), p += part;
    if (whole + part == 0) return false;
    if (*p == 'e' || *p == 'E') {
        p += 1 + (p[1] == '-' || p[1] == '+');
        size_t n = digits(p);
        if (!n) return false;
        p += n;
    }
    if (*p) return false;
    locale_t c, old = enter_c_locale(&c);
    double value = strtod(text, NULL);
    leave_c_locale(c, old);
    if (!isfinite(value)) return false;
    *out = value;
    return true;
}

void cel_text_from_real(double value, char out[CEL_REAL_TEXT]) {
    locale_t c, old = enter_c_locale(&c);
    bool whole = fabs(value) < 1e15 && value == floor(value);
    if (whole) snprintf(out, CEL_REAL_TEXT, "%.0f", value);
    for (int precision = 1; !whole && precision <= 17; precision++) {
        snprintf(out, CEL_REAL_TEXT, "%.*g", precision, value);
        if (strtod(out, NULL) == value) break;
    }
    leave_c_locale(c, old);
    if (!strpbrk(out, ".en")) memcpy(out + strlen(out), ".0", 3);
}

enum { LONGEST = 64 };

static size_t distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b), row[3][LONGEST + 1];
    for (size_t j = 0; j <= m; j++) row[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = row[i % 3], *before = row[(i + 2) % 3], *two = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            size_t best = before[j - 1] + !same;
            if (before[j] + 1 < best) best = before[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && two[j - 2] + 1 < best)
                best = two[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

const char *cel_text_nearest(const char *word, const char *const *candidates, size_t n) {
    const char *nearest = NULL;
    size_t length = strlen(word), best = length / 3 > 1 ? length / 3 : 1;
    if (!length || length > LONGEST) return NULL;
    for (size_t i = 0; i < n; i++) {
        if (!candidates[i] || !*candidates[i] || strlen(candidates[i]) > LONGEST) continue;
        size_t d = distance(word, candidates[i]);
        if (d < best || (d == best && !nearest)) best = d, nearest = candidates[i];
    }
    return nearest;
}
