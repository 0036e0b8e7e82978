#include "lab/report/page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void cel_page_fini(cel_page *page) {
    cel_free(page->text);
    cel_arena_fini(&page->arena);
    *page = (cel_page){0};
}

cel_status cel_page_check(const cel_page *page) {
    return page->failed ? CEL_FAIL(CEL_NOMEM, "out of memory: the report, %zu bytes so far", page->n) : CEL_OK;
}

static bool reserve(cel_page *page, size_t more) {
    if (page->failed) return false;
    if (page->n + more < page->room) return true;
    size_t room = 2 * page->room + more + 4096;
    char *text = cel_realloc(page->text, page->room, room, 1);
    page->failed = !text;
    if (!text) return false;
    page->text = text;
    page->room = room;
    return true;
}

void cel_page_put(cel_page *page, const char *fmt, ...) {
    for (int turn = 0; turn < 2; turn++) { /* the second when the first found too little room */
        va_list args;
        va_start(args, fmt);
        size_t room = page->room - page->n;
        int n = vsnprintf(page->text ? page->text + page->n : NULL, room, fmt, args);
        va_end(args);
        if (n >= 0 && (size_t)n < room) {
            page->n += (size_t)n;
            return;
        }
        if (n < 0 || !reserve(page, (size_t)n + 1)) break;
    }
    page->failed = true;
}

/* What a function hands out: never NULL. */
static const char *keep(cel_page *page, const char *text) {
    if (!text) page->failed = true;
    return text ? text : "";
}

const char *cel_page_text(cel_page *page, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    char *text = n < 0 ? NULL : cel_arena_alloc(&page->arena, (size_t)n + 1, 1);
    if (text) vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(args);
    return keep(page, text);
}

static const char *entity(char c) {
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return ((unsigned char)c < 32 && c != '\n' && c != '\t') || c == 127 ? "\xEF\xBF\xBD" : NULL;
    }
}

const char *cel_page_escape(cel_page *page, const char *text) {
    size_t n = 0;
    for (const char *p = text; *p; p++) n += entity(*p) ? strlen(entity(*p)) : 1;
    char *out = cel_arena_alloc(&page->arena, n + 1, 1), *to = out;
    for (const char *p = text; out && *p; p++) {
        const char *e = entity(*p);
        size_t size = e ? strlen(e) : 1;
        memcpy(to, e ? e : p, size);
        to += size;
    }
    return keep(page, out);
}

/* printf, but with a point in any locale. */
static const char *real(cel_page *page, double value, int digits, const char *minus) {
    if (isnan(value)) return "–";
    char text[400];
    int n = snprintf(text, sizeof text, "%.*f", digits, fabs(value)), whole = (int)strspn(text, "0123456789");
    const char *sign = value < 0 && strpbrk(text, "123456789") ? minus : "";
    return cel_page_text(page, "%s%.*s%s%s", sign, whole, text, digits ? "." : "", text + n - digits);
}

const char *cel_page_real(cel_page *page, double value, int digits) { return real(page, value, digits, "−"); }

const char *cel_page_coord(cel_page *page, double value) {
    double cents = round(value * 100);
    int digits = fmod(cents, 100) == 0 ? 0 : fmod(cents, 10) == 0 ? 1 : 2;
    return real(page, value, digits, "-");
}

const char *cel_page_count(cel_page *page, int64_t value) {
    if (value < 0) return cel_page_text(page, "−%s", cel_page_count(page, -value));
    if (value < 1000) return cel_page_text(page, "%d", (int)value);
    return cel_page_text(page, "%s,%03d", cel_page_count(page, value / 1000), (int)(value % 1000));
}

const char *cel_page_amount(cel_page *page, double value) {
    static const char *const prefixes[] = {"", " k", " M", " G", " T", " P"};
    size_t p = 0;
    while (fabs(value) >= 999.5 && p + 1 < CEL_COUNT(prefixes)) value /= 1000, p++;
    int digits = value == round(value) && p == 0 ? 0 : fabs(value) < 9.995 ? 2 : fabs(value) < 99.95 ? 1 : 0;
    return cel_page_text(page, "%s%s", cel_page_real(page, value, digits), prefixes[p]);
}

const char *cel_page_duration(cel_page *page, double seconds) {
    if (seconds < 59.95) return cel_page_text(page, "%s s", cel_page_real(page, seconds, seconds < 9.995 ? 2 : 1));
    int64_t s = (int64_t)llround(seconds);
    if (s < 3600) return cel_page_text(page, "%d min %02d s", (int)(s / 60), (int)(s % 60));
    return cel_page_text(page, "%s h %02d min", cel_page_count(page, s / 3600), (int)(s % 3600 / 60));
}
