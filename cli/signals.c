/* Stopping what takes long: the first SIGINT or SIGTERM asks, so that everything is kept; the second kills. */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>

#include "cli.h"

static volatile sig_atomic_t asked;

static void on_signal(int number) {
    asked = 1;
    signal(number, SIG_DFL);
}

void cli_catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool cli_stop_asked(void) { return asked != 0; }
