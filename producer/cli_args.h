#ifndef PRODUCER_CLI_ARGS_H
#define PRODUCER_CLI_ARGS_H
#include "common/base/err.h"
#include "common/base/view.h"

/* The command line of `sluice` as plain values. Pure: neither the environment nor a file is read
 * here. */
enum cli_exit {
    CLI_EXIT_OK = 0,       /* a watched job succeeded; another call did what was asked */
    CLI_EXIT_FAILED = 1,   /* the job failed; the server refused; doctor found a fault */
    CLI_EXIT_USAGE = 2,    /* the command line is wrong: nothing was sent */
    CLI_EXIT_STOPPED = 3,  /* the job was canceled or expired */
    CLI_EXIT_AWAY = 4,     /* the server could not be reached, or could not take it now */
    CLI_EXIT_SIGNAL = 130, /* Ctrl-C */
};

enum cli_command {
    CLI_HELP,
    CLI_SUBMIT,
    CLI_WATCH,
    CLI_GET,
    CLI_LIST,
    CLI_CANCEL,
    CLI_RETRY,
    CLI_KEY_NEW,
    CLI_DOCTOR,
    CLI_LIMITS,
    CLI_USAGE,
    CLI_COMMAND_COUNT
};

enum cli_option {
    CLI_OPT_URL,
    CLI_OPT_KEY_FILE,
    CLI_OPT_JSON,
    CLI_OPT_INPUT,
    CLI_OPT_VERSION,
    CLI_OPT_CLASS,
    CLI_OPT_KEY,
    CLI_OPT_PRIORITY,
    CLI_OPT_IDEMPOTENCY_KEY,
    CLI_OPT_DEADLINE,
    CLI_OPT_RUN_AT,
    CLI_OPT_METADATA,
    CLI_OPT_WATCH,
    CLI_OPT_AFTER,
    CLI_OPT_STATUS,
    CLI_OPT_WORKFLOW,
    CLI_OPT_LIMIT,
    CLI_OPT_TENANT,
    CLI_OPT_SCOPES,
    CLI_OPT_CONFIG,
    CLI_OPT_BY,
    CLI_OPT_FROM,
    CLI_OPT_TO,
    CLI_OPT_MODEL,
    CLI_OPT_ONCE,
    CLI_OPTION_COUNT
};

struct cli_args {
    enum cli_command command;
    enum cli_command topic; /* CLI_HELP: of which command; CLI_HELP = of the tool */
    const char
        *operand; /* workflow, "-" or job id; NULL = none. Borrowed from argv, as are the options */
    const char *option[CLI_OPTION_COUNT]; /* NULL = not given; "" for a given flag */
};

/* argv without the program's name. ERR_INVALID: text says what is wrong; ret->command says whose
 * --help would tell more. */
MUST_CHECK enum err_code cli_args_parse(char *const *argv, size_t argc, struct cli_args *ret,
                                        struct err *err);
const char *cli_command_name(enum cli_command c); /* "key new" */

#endif
