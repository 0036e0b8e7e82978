#include "lab/stored.h"

#include <string.h>

#include "base/file.h"
#include "base/mem.h"

enum { MAX_STORED = 4 << 20, SHOWN = 120 };

/* A line without its end, cut for a message. */
typedef struct {
    const char *text;
    int n;
} line;

static line line_at(const char *text) {
    size_t n = strcspn(text, "\n");
    return (line){text, n < SHOWN ? (int)n : SHOWN};
}

static cel_status differ(const char *place, const char *what, const char *old, const char *new) {
    int number = 1;
    const char *a = old, *b = new, *section = "";
    for (size_t i = 0; old[i] && old[i] == new[i]; i++) {
        if (i == 0 || old[i - 1] == '\n')
            if (old[i] != ' ') section = old + i;
        if (old[i] == '\n') a = old + i + 1, b = new + i + 1, number++;
    }
    bool inside = *a == ' ' && *section;
    line was = line_at(a), is = line_at(b), head = line_at(section);
    return CEL_FAIL(
        CEL_CONFIG,
        "%s: the %s has another recipe; at line %d of it%s%.*s expected \"%.*s\", found \"%.*s\": go on with "
        "the %s's own settings, or choose another directory",
        place, what, number, inside ? ", " : "", inside ? head.n : 0, head.text, was.n, was.text, is.n, is.text, what);
}

cel_status cel_stored_same(const char *file, const char *text, const char *place, const char *what) {
    char *old;
    size_t n;
    CEL_TRY(cel_file_read(file, MAX_STORED, &old, &n));
    cel_status status = strcmp(old, text) ? differ(place, what, old, text) : CEL_OK;
    cel_free(old);
    return status;
}
