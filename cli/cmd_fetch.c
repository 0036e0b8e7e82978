/* cellar fetch: brings a public data set here. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "cellar/fetch.h"
#include "cellar/text.h"
#include "cli.h"

static volatile sig_atomic_t stopped;
static void on_signal(int number) {
    (void)number;
    stopped = 1;
}

static bool show(void *ctx, uint64_t done, uint64_t total) {
    const cel_download *what = ctx;
    cli_progress_update(total ? (double)done / (double)total : 0, "%s  %.1f of %.1f MB", what->file,
                        (double)done * 1e-6, (double)total * 1e-6);
    return !stopped;
}

enum { MAX_NAMES = 64 };

static cel_status unknown(const char *name) {
    const char *names[MAX_NAMES];
    int n = cel_download_count();
    if (n > MAX_NAMES) n = MAX_NAMES;
    for (int i = 0; i < n; i++) names[i] = cel_download_get(i)->name;
    if (!strcmp(name, "cifar10-mini"))
        return CEL_FAIL(CEL_USAGE, "fetch: cifar10-mini comes with cellar, there is nothing to download");
    const char *near = cel_text_nearest(name, names, (size_t)n);
    return CEL_FAIL(CEL_USAGE, "fetch: no download is called \"%.60s\"%s%s%s; `cellar fetch --help` lists them", name,
                    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

cel_status cmd_fetch(int argc, char **argv) {
    const char *dir = ".", *url = NULL;
    const cli_flag flags[] = {
        CLI_TEXT("dir", &dir, "DIR", "where to put it; made when missing (the working directory)"),
        CLI_TEXT("url", &url, "URL", "fetch it from here; the bytes must be the official ones"),
        CLI_END,
    };
    char about[2048];
    int used =
        snprintf(about, sizeof about,
                 "Downloads a public data set and checks its SHA-256; one that broke off is resumed. The archive is\n"
                 "used as it is: name it, or the directory that holds it, in a recipe.\n");
    for (int i = 0; i < cel_download_count() && used < (int)sizeof about; i++) {
        const cel_download *d = cel_download_get(i);
        used += snprintf(about + used, sizeof about - (size_t)used, "\n  %-16s %s (%.0f MB)", d->name, d->about,
                         (double)d->bytes * 1e-6);
    }
    char names[512] = "";
    for (int i = 0; i < cel_download_count(); i++) {
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", i ? "|" : "", cel_download_get(i)->name);
    }
    cli_args args;
    CEL_TRY(cli_parse(argc, argv, names, about, flags, 1, 1, &args));
    if (args.done) return CEL_OK;
    const cel_download *what = cel_download_find(args.item[0]);
    if (!what) return unknown(args.item[0]);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    cel_fetch_options options = {.dir = dir, .url = url, .progress = show, .ctx = (void *)what};
    cel_status status = cel_fetch(what, &options);
    cli_progress_end();
    CEL_TRY(status);
    const char *slash = *dir && dir[strlen(dir) - 1] == '/' ? "" : "/";
    if (cli.json) {
        char path[4096];
        snprintf(path, sizeof path, "%s%s%s", dir, slash, what->file);
        printf("{\"name\": \"%s\", \"path\": ", what->name);
        cli_json_text(stdout, path);
        printf(", \"bytes\": %" PRIu64 ", \"sha256\": \"%s\"}\n", what->bytes, what->sha256);
    } else {
        printf("%s%s%s\n", dir, slash, what->file);
    }
    return CEL_OK;
}
