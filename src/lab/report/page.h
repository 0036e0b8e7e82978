/* A page in the making: text that grows, escaped text, numbers for people. A failed allocation sticks and is told by
 * cel_page_check at the end, so that the code of a page reads like the page. */
#ifndef CEL_LAB_PAGE_H
#define CEL_LAB_PAGE_H
#include "base/mem.h"

/* Zero-initialised is empty. */
typedef struct cel_page {
    char *text;
    size_t n, room;
    bool failed;
    cel_arena arena; /* what the functions below hand out lives as long as the page */
} cel_page;

void cel_page_fini(cel_page *page);
cel_status cel_page_check(const cel_page *page);

/* Adds as it is: markup, or what one of the functions below made. */
void cel_page_put(cel_page *page, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* printf into the arena; "" when memory is out. */
const char *cel_page_text(cel_page *page, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Anybody's text, harmless in HTML and in quoted attributes. Control characters become U+FFFD. */
const char *cel_page_escape(cel_page *page, const char *text);
/* "-1.50": `digits` (0 .. 9) behind the point in any locale, a real minus sign; "–" for NaN. */
const char *cel_page_real(cel_page *page, double value, int digits);
/* The same for coordinates: an ASCII minus, at most two digits, no zeros at the end. */
const char *cel_page_coord(cel_page *page, double value);
/* "15,625" */
const char *cel_page_count(cel_page *page, int64_t value);
/* Three significant digits and a prefix: "1.07 M", "153 M", "42". */
const char *cel_page_amount(cel_page *page, double value);
/* "1 h 02 min", "3 min 20 s", "4.1 s" */
const char *cel_page_duration(cel_page *page, double seconds);
#endif
