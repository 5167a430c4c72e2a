/* consumer: one worker process of Sluice. See consumer/README.md. */
#include "consumer/jq_helper.h"
#include "consumer/shell.h"
#include "producer/program.h"

extern char **environ;

static const char main_what[] =
    "Runs workflow jobs from Kafka, pacing their LLM calls, and mirrors their progress into "
    "Redis.\n"
    "SIGTERM drains: running calls finish, the rest is handed to other workers. A second one ends "
    "at once.\n"
    "The admin port has /healthz /readyz /metrics /status and POST /drain, POST /undrain.";

static int main_run(struct config *take_config)
{
    const struct shell_options o = {.program = "/proc/self/exe"};
    struct err err = {.code = ERR_OK};

    if (shell_run(take_config, &o, &err) == ERR_OK) return 0;
    fprintf(stderr, "consumer: %s%s%s\n", err.text, err.where[0] ? " at " : "", err.where);
    return 1;
}

int main(int argc, char **argv)
{
    struct program p = {.name = "consumer", .what = main_what, .env = environ};
    int status;

    if (argc == 2 && strcmp(argv[1], "--jq-helper") == 0) return jq_helper_main();
    switch (program_begin(&p, argc, argv)) {
    case PROGRAM_EXIT_OK:
        return 0;
    case PROGRAM_EXIT_BAD:
        return 2;
    case PROGRAM_CHECK:
        status = shell_check(p.config);
        config_free(p.config);
        return status;
    case PROGRAM_RUN:
        break;
    }
    return main_run(p.config);
}
