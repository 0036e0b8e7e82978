/* What people see on stderr while something runs. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cellar/text.h"
#include "cli.h"

static const double REDRAW_S = 0.1, PLAIN_S = 30;

static struct {
    bool running, drawn;
    double start_s, start_done, last_s;
    char text[256];
    double done;
} bar;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const char *cli_style(FILE *stream, const char *escape) {
    return (stream == stderr ? cli.color_err : cli.color_out) ? escape : "";
}

bool cli_utf8(void) {
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) return strstr(value, "UTF-8") || strstr(value, "utf8");
    }
    return false;
}

/* "1 h 02 min", "3 min 20 s", "4.1 s". */
static const char *duration(double seconds, char *out, size_t n) {
    long s = (long)(seconds + 0.5);
    if (seconds < 9.95)
        snprintf(out, n, "%.1f s", seconds);
    else if (s < 60)
        snprintf(out, n, "%ld s", s);
    else if (s < 3600)
        snprintf(out, n, "%ld min %02ld s", s / 60, s % 60);
    else
        snprintf(out, n, "%ld h %02ld min", s / 3600, s % 3600 / 60);
    return out;
}

static int columns(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

static void erase(void) {
    if (bar.drawn) fprintf(stderr, "\r\033[K");
    bar.drawn = false;
}

static void describe(double t, char *out, size_t n) {
    char left[80] = "";
    double moved = bar.done - bar.start_done, spent = t - bar.start_s;
    if (moved > 0 && spent > 1 && bar.done < 1) {
        char time[64];
        snprintf(left, sizeof left, ", %s left", duration(spent / moved * (1 - bar.done), time, sizeof time));
    }
    snprintf(out, n, "%3d %%%s  %s", (int)(100 * bar.done), left, bar.text);
}

static void draw(double t) {
    enum { CELLS = 24 };
    char line[400], cells[CELLS + 1];
    describe(t, line, sizeof line);
    int full = (int)(bar.done * CELLS + 0.5), room = columns() - CELLS - 4;
    for (int i = 0; i < CELLS; i++) cells[i] = i < full ? '=' : i == full ? '>' : ' ';
    cells[CELLS] = 0;
    if (room < 0) room = 0;
    fprintf(stderr, "\r\033[K[%s%s%s] %.*s", cli_style(stderr, "\033[36m"), cells, cli_style(stderr, "\033[0m"), room,
            line);
    fflush(stderr);
    bar.drawn = true;
}

void cli_progress_update(double done, const char *fmt, ...) {
    if (cli.quiet) return;
    double t = now_s();
    done = done < 0 ? 0 : done > 1 ? 1 : done;
    if (!bar.running) {
        memset(&bar, 0, sizeof bar);
        bar.running = true;
        bar.start_s = bar.last_s = t;
        bar.start_done = done;
    }
    bar.done = done;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(bar.text, sizeof bar.text, fmt, ap);
    va_end(ap);
    bool terminal = isatty(STDERR_FILENO);
    if (t - bar.last_s < (terminal ? REDRAW_S : PLAIN_S) && !(terminal && !bar.drawn)) return;
    bar.last_s = t;
    if (terminal) {
        draw(t);
        return;
    }
    char line[400];
    describe(t, line, sizeof line);
    fprintf(stderr, "%s\n", line);
}

static void say(const char *fmt, va_list ap) {
    bool again = bar.drawn;
    erase();
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    if (again) draw(now_s());
}

void cli_progress_line(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
}

void cli_say(const char *fmt, ...) {
    if (cli.quiet) return;
    va_list ap;
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
}

void cli_progress_end(void) {
    erase();
    bar.running = false;
}

void cli_json_text(FILE *stream, const char *text) {
    fputc('"', stream);
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\')
            fprintf(stream, "\\%c", *p);
        else if (*p < 0x20)
            fprintf(stream, "\\u%04x", *p);
        else
            fputc(*p, stream);
    }
    fputc('"', stream);
}

void cli_json_real(const char *key, double value) {
    char number[CEL_REAL_TEXT] = "null";
    if (isfinite(value)) cel_text_from_real(value, number);
    if (key) printf(", \"%s\": ", key);
    fputs(number, stdout);
}
