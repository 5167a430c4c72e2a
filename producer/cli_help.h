#ifndef PRODUCER_CLI_HELP_H
#define PRODUCER_CLI_HELP_H
#include "producer/cli_args.h"

/* What --help prints; CLI_HELP gives the page of the tool. Static text. */
const char *cli_help(enum cli_command topic);

#endif
