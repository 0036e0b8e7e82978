/* cellar report: the page of a run. */
#define _POSIX_C_SOURCE 200809L
#include <limits.h>
#include <string.h>

#include "cellar/report.h"
#include "cli.h"

cel_status cmd_report(int argc, char **argv) {
    const char *out = NULL;
    const cli_flag flags[] = {CLI_TEXT("out", &out, "FILE", "write the page there (RUN/report.html)"), CLI_END};
    cli_args args;
    CEL_TRY(cli_parse(
        argc, argv, "RUN",
        "Writes one self-contained HTML page about a run: what its cell is worth, how the search came to it,\n"
        "what it cost, how to repeat it. A run that is not finished is reported as far as it is.",
        flags, 1, 1, &args));
    if (args.done) return CEL_OK;
    const char *run = args.item[0];
    char path[PATH_MAX];
    size_t n = strlen(run);
    snprintf(path, sizeof path, "%s%sreport.html", run, n && run[n - 1] == '/' ? "" : "/");
    CEL_TRY(cel_report_write(run, out));
    if (cli.json) {
        printf("{\"report\": ");
        cli_json_text(stdout, out ? out : path);
        printf("}\n");
    } else {
        printf("%s\n", out ? out : path);
    }
    return CEL_OK;
}
