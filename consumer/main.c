/* consumer: one worker process of Sluice. See consumer/README.md. */
#include "consumer/jq_helper.h"
#include "consumer/shell.h"

#include <stdio.h>
#include <string.h>

extern char **environ;

enum { MAIN_FLAGS_MAX = 256, MAIN_TEXT_MAX = 1 << 20 };

struct main_args {
    const char *config;
    bool wants_check, wants_print, wants_help, wants_version;
    char *flags[MAIN_FLAGS_MAX];
    size_t flag_count;
};

static const char main_usage[] = "usage: consumer [--config FILE] [--check | --print-config] [--SECTION.KEY=VALUE ...]\n"
                                 "\n"
                                 "Runs workflow jobs from Kafka, pacing their LLM calls, and mirrors their progress into Redis.\n"
                                 "\n"
                                 "  --config FILE    configuration (else SLUICE_CONFIG, else defaults)\n"
                                 "  --check          say what is wrong with the configuration, and exit\n"
                                 "  --print-config   show the effective configuration, secrets masked, and exit\n"
                                 "  --version        print the version and exit\n"
                                 "  --help           this text\n"
                                 "\n"
                                 "SIGTERM drains: running calls finish, the rest is handed to other workers. A second one ends at once.\n"
                                 "The admin port has /healthz /readyz /metrics /status and POST /drain, POST /undrain.\n"
                                 "\n"
                                 "Any key of the configuration can be given as a flag, or by environment (SLUICE_CONSUMER_BUILD):\n\n";

static bool main_parse(int argc, char **argv, struct main_args *ret)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
            ret->wants_help = true;
        } else if (strcmp(a, "--version") == 0) {
            ret->wants_version = true;
        } else if (strcmp(a, "--check") == 0) {
            ret->wants_check = true;
        } else if (strcmp(a, "--print-config") == 0) {
            ret->wants_print = true;
        } else if (strcmp(a, "--config") == 0 && i + 1 < argc) {
            ret->config = argv[++i];
        } else if (strncmp(a, "--config=", 9) == 0) {
            ret->config = a + 9;
        } else if (strncmp(a, "--", 2) == 0 && strchr(a, '.') && ret->flag_count < MAIN_FLAGS_MAX) {
            ret->flags[ret->flag_count++] = argv[i];
        } else {
            fprintf(stderr, "consumer: %s: no such flag; see consumer --help\n", a);
            return false;
        }
    }
    return true;
}

static int main_put(bool ok, struct buf *b)
{
    if (b->len) fwrite(b->data, 1, b->len, stdout);
    buf_fini(b);
    return ok ? 0 : 1;
}

static int main_help(void)
{
    struct buf out;
    buf_init(&out, MAIN_TEXT_MAX);
    fputs(main_usage, stdout);
    return main_put(config_print_keys(&out, false), &out);
}

static int main_print_config(const struct config *c)
{
    struct buf out;
    buf_init(&out, MAIN_TEXT_MAX);
    return main_put(config_print(c, &out), &out);
}

/* NULL: told what is wrong. */
static struct config *main_load(const struct main_args *a)
{
    struct config *c = NULL;
    struct err err = {.code = ERR_OK};
    struct buf errors;
    buf_init(&errors, MAIN_TEXT_MAX);
    if (config_load(a->config, environ, a->flags, a->flag_count, &c, &errors, &err) != ERR_OK) {
        if (errors.len) fwrite(errors.data, 1, errors.len, stderr);
        if (!errors.len) fprintf(stderr, "consumer: %s\n", err.text);
    }
    buf_fini(&errors);
    return c;
}

int main(int argc, char **argv)
{
    struct main_args a = {.config = NULL};
    struct err err = {.code = ERR_OK};
    if (argc == 2 && strcmp(argv[1], "--jq-helper") == 0) return jq_helper_main();
    if (!main_parse(argc, argv, &a)) return 2;
    if (a.wants_help) return main_help();
    if (a.wants_version) {
        puts("consumer " CONSUMER_VERSION);
        return 0;
    }
    struct config *c = main_load(&a);
    if (!c) return 2;
    if (a.wants_check || a.wants_print) {
        int status = a.wants_print ? main_print_config(c) : shell_check(c);
        config_free(c);
        return status;
    }
    const struct shell_options o = {.program = "/proc/self/exe"};
    if (shell_run(c, &o, &err) == ERR_OK) return 0;
    fprintf(stderr, "consumer: %s%s%s\n", err.text, err.where[0] ? " at " : "", err.where);
    return 1;
}
