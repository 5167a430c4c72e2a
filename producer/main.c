/* The `sluice` tool: parse, run one command, leave with its status. */
#include "producer/cli_app.h"
#include "producer/cli_help.h"
#include "producer/cli_term.h"

static enum cli_exit main_run(struct cli_app *app)
{
    switch (app->args->command) {
    case CLI_SUBMIT:
        return cli_submit(app);
    case CLI_WATCH:
        return cli_follow(app, app->args->operand, app->args->option[CLI_OPT_AFTER], false);
    case CLI_GET:
        return cli_get(app);
    case CLI_LIST:
        return cli_list(app);
    case CLI_CANCEL:
        return cli_cancel(app);
    case CLI_RETRY:
        return cli_retry(app);
    case CLI_DOCTOR:
        return cli_doctor(app);
    case CLI_LIMITS:
        return cli_limits(app);
    case CLI_USAGE:
        return cli_usage(app);
    case CLI_KEY_NEW:
    case CLI_HELP:
    case CLI_COMMAND_COUNT:
        break;
    }
    return CLI_EXIT_USAGE;
}

static enum cli_exit main_with_server(const struct cli_args *args)
{
    struct cli_app app;
    struct err err = {.code = ERR_OK};
    enum cli_exit code = CLI_EXIT_USAGE;

    if (cli_app_init(&app, args, &err) == ERR_OK)
        code = main_run(&app);
    else
        cli_term_say("%s", err.text);
    cli_app_fini(&app);
    return code;
}

static enum cli_exit main_tell_usage(const struct cli_args *args, const struct err *err,
                                     bool is_bare)
{
    if (is_bare) { /* `sluice` alone: the page, where errors go */
        (void)cli_term_write(CLI_STDERR, view_of(cli_help(CLI_HELP)));
        return CLI_EXIT_USAGE;
    }
    cli_term_say("%s", err->text);
    if (args->command == CLI_HELP)
        cli_term_say("sluice --help lists the commands");
    else
        cli_term_say("sluice %s --help says more", cli_command_name(args->command));
    return CLI_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct cli_args args;
    struct err err;
    size_t count = argc > 0 ? (size_t)argc - 1 : 0;

    if (cli_args_parse(argv + 1, count, &args, &err) != ERR_OK)
        return (int)main_tell_usage(&args, &err, count == 0);
    if (args.command == CLI_HELP)
        return cli_term_write(CLI_STDOUT, view_of(cli_help(args.topic))) ? CLI_EXIT_OK
                                                                         : CLI_EXIT_FAILED;
    if (args.command == CLI_KEY_NEW) return (int)cli_key_new(&args);
    return (int)main_with_server(&args);
}
