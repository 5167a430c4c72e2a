/* consumer: the worker of Sluice. See consumer/README.md. */
#include "consumer/jq_helper.h"
#include "consumer/shell.h"
#include "producer/program.h"

extern char **environ;

int main(int argc, char **argv)
{
    struct program p = {.name = "consumer",
                        .what = "Takes jobs off Kafka, runs them within the providers' limits and brings each to exactly one end.",
                        .env = environ};
    struct err err = {.code = ERR_OK};
    int status = 1;

    if (argc == 2 && strcmp(argv[1], "--jq-helper") == 0) return jq_helper_main();
    switch (program_begin(&p, argc, argv)) {
    case PROGRAM_EXIT_OK:
        return 0;
    case PROGRAM_EXIT_BAD:
        return 2;
    case PROGRAM_CHECK:
        status = shell_check(p.config);
        break;
    case PROGRAM_RUN:
        if (shell_run(p.config, &err) == ERR_OK)
            status = 0;
        else
            fprintf(stderr, "consumer: %s%s%s\n", err.text, err.where[0] ? " at " : "", err.where);
        break;
    }
    config_free(p.config);
    return status;
}
