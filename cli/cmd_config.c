#include "cli.h"

cel_status cmd_config(int argc, char **argv) {
    cli_args args;
    const cli_flag flags[] = {CLI_END};
    CEL_TRY(cli_parse(argc, argv, "methods|spaces|datasets|recipes", "Lists what there is.", flags, 1, 1, &args));
    return CEL_OK;
}
