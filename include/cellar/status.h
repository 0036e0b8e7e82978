/* What every call of cellar answers, and where its messages go.
 *
 * A call that can fail returns a cel_status and hands its result out by its last pointer. On failure the calling
 * thread's message (cel_status_message) says what failed, where, what was expected, what was found and what to try;
 * cel_status_trace lists the calls it passed through. The library never prints and never exits: it logs through the
 * sink it was given. */
#ifndef CELLAR_STATUS_H
#define CELLAR_STATUS_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One list: name, exit code of the program, text. */
#define CEL_STATUS_LIST(X)                                                                                             \
    X(OK, 0, "success")                                                                                                \
    X(INTERNAL, 1, "internal error")                                                                                   \
    X(USAGE, 2, "wrong use of the command line")                                                                       \
    X(CONFIG, 3, "wrong setting or recipe")                                                                            \
    X(FORMAT, 4, "malformed data")                                                                                     \
    X(IO, 5, "input or output failed")                                                                                 \
    X(NOMEM, 6, "out of memory")                                                                                       \
    X(UNSUPPORTED, 7, "not supported")                                                                                 \
    X(NOTFOUND, 8, "not found")                                                                                        \
    X(BUSY, 9, "in use")                                                                                               \
    X(VERSION, 10, "written by another version")                                                                       \
    X(DIVERGED, 11, "the numbers diverged")                                                                            \
    X(SHAPE, 12, "shapes do not fit")                                                                                  \
    X(COLLAPSED, 13, "the architecture collapsed")                                                                     \
    X(INTERRUPTED, 130, "interrupted")

typedef enum cel_status {
#define X(name, exit, text) CEL_##name,
    CEL_STATUS_LIST(X)
#undef X
        CEL_STATUS_COUNT
} cel_status;

/* "FORMAT", "malformed data", 4: for any value, also one out of range. Never NULL. */
const char *cel_status_name(cel_status status);
const char *cel_status_text(cel_status status);
int cel_status_exit_code(cel_status status);

/* The calling thread's last failure; "" if there was none. Valid until that thread's next failure. */
const char *cel_status_message(void);
/* The calls it passed through, innermost first, one "file:line" a line. */
const char *cel_status_trace(void);

/* Sets the message and returns `status`; use through CEL_FAIL. */
cel_status cel_status_fail(cel_status status, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Adds a line to the trace and returns `status`; use through CEL_TRY. */
cel_status cel_status_pass(cel_status status, const char *file, int line);
/* Puts "text: " before the message of a failure that is being passed on (a file's name, a scope); returns `status`. */
cel_status cel_status_prefix(cel_status status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Its value is `code` itself, so that a compiler sees that it is no success. */
#define CEL_FAIL(code, ...) (cel_status_fail((code), __FILE__, __LINE__, __VA_ARGS__), (code))
#define CEL_TRY(call)                                                                                                  \
    do {                                                                                                               \
        cel_status cel_try_ = (call);                                                                                  \
        if (cel_try_ != CEL_OK) {                                                                                      \
            cel_status_pass(cel_try_, __FILE__, __LINE__);                                                             \
            return cel_try_;                                                                                           \
        }                                                                                                              \
    } while (0)
/* The same for functions with something to release: sets `status` and jumps. */
#define CEL_TRY_GOTO(status, label, call)                                                                              \
    do {                                                                                                               \
        (status) = (call);                                                                                             \
        if ((status) != CEL_OK) {                                                                                      \
            cel_status_pass((status), __FILE__, __LINE__);                                                             \
            goto label;                                                                                                \
        }                                                                                                              \
    } while (0)

/* Releases what a call handed out to be released with it (strings, lists). Accepts NULL. */
void cel_free(void *p);

typedef enum cel_log_level { CEL_LOG_DEBUG, CEL_LOG_INFO, CEL_LOG_WARN } cel_log_level;
typedef void cel_log_fn(void *ctx, cel_log_level level, const char *text);
/* The process' log sink; NULL (the default) drops everything. Set it before other threads run. */
void cel_log_sink(cel_log_fn *fn, void *ctx);
void cel_log(cel_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif
#endif
