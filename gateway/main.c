/* gateway: the HTTP side of Sluice. See gateway/README.md. */
#include "gateway/gateway.h"
#include "producer/program.h"

extern char **environ;

static const char main_what[] =
    "Serves Sluice's HTTP API: takes jobs, streams their events. SIGTERM stops it, SIGHUP reloads\n"
    "tenants, models and workflows. The admin port has /healthz /readyz /metrics.";

static int main_run(const struct program *p)
{
    const struct gateway_options o = {.config_path = p->config_path,
                                      .env = p->env,
                                      .flags = p->flags,
                                      .flag_count = p->flag_count};
    struct err err = {.code = ERR_OK};

    if (gateway_run(p->config, &o, &err) == ERR_OK) return 0;
    fprintf(stderr, "gateway: %s%s%s\n", err.text, err.where[0] ? " at " : "", err.where);
    return 1;
}

int main(int argc, char **argv)
{
    struct program p = {.name = "gateway", .what = main_what, .env = environ};
    int status;

    switch (program_begin(&p, argc, argv)) {
    case PROGRAM_EXIT_OK:
        return 0;
    case PROGRAM_EXIT_BAD:
        return 2;
    case PROGRAM_CHECK:
        status = gateway_check(p.config);
        config_free(p.config);
        return status;
    case PROGRAM_RUN:
        break;
    }
    return main_run(&p);
}
