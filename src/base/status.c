#include "cellar/status.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *text;
    int exit_code;
} table[] = {
#define X(name, exit, text) {#name, text, exit},
    CEL_STATUS_LIST(X)
#undef X
};

static _Thread_local char message[2048];
static _Thread_local char trace[1024];

static bool known(cel_status s) { return (unsigned)s < CEL_STATUS_COUNT; }
const char *cel_status_name(cel_status s) { return known(s) ? table[s].name : "UNKNOWN"; }
const char *cel_status_text(cel_status s) { return known(s) ? table[s].text : "unknown status"; }
int cel_status_exit_code(cel_status s) { return known(s) ? table[s].exit_code : 1; }
const char *cel_status_message(void) { return message; }
const char *cel_status_trace(void) { return trace; }

cel_status cel_status_pass(cel_status s, const char *file, int line) {
    size_t used = strlen(trace);
    snprintf(trace + used, sizeof trace - used, "%s:%d\n", file, line);
    return s;
}

cel_status cel_status_fail(cel_status s, const char *file, int line, const char *fmt, ...) {
    char text[sizeof message]; /* the arguments may point into the old message */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    memcpy(message, text, sizeof message);
    trace[0] = 0;
    return cel_status_pass(s, file, line);
}

cel_status cel_status_prefix(cel_status s, const char *fmt, ...) {
    char text[512], old[sizeof message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    memcpy(old, message, sizeof old);
    int room = (int)(sizeof message - strlen(text) - 3);
    snprintf(message, sizeof message, "%s: %.*s", text, room, old);
    return s;
}

static cel_log_fn *sink;
static void *sink_ctx;

void cel_log_sink(cel_log_fn *fn, void *ctx) {
    sink = fn;
    sink_ctx = ctx;
}

void cel_log(cel_log_level level, const char *fmt, ...) {
    if (!sink) return;
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sink(sink_ctx, level, text);
}
