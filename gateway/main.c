/* gateway: the HTTP side of Sluice. See gateway/README.md. */
#include "gateway/gateway.h"

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

static const char main_usage[] =
    "usage: gateway [--config FILE] [--check | --print-config] [--SECTION.KEY=VALUE ...]\n"
    "\n"
    "Serves Sluice's HTTP API: takes jobs, streams their events.\n"
    "\n"
    "  --config FILE    configuration (else SLUICE_CONFIG, else defaults)\n"
    "  --check          say what is wrong with the configuration, and exit\n"
    "  --print-config   show the effective configuration, secrets masked, and exit\n"
    "  --version        print the version and exit\n"
    "  --help           this text\n"
    "\n"
    "Any key of the configuration can be given as a flag, or by environment "
    "(SLUICE_GATEWAY_LISTEN):\n\n";

static bool main_parse(int argc, char **argv, struct main_args *ret)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0)
            ret->wants_help = true;
        else if (strcmp(a, "--version") == 0)
            ret->wants_version = true;
        else if (strcmp(a, "--check") == 0)
            ret->wants_check = true;
        else if (strcmp(a, "--print-config") == 0)
            ret->wants_print = true;
        else if (strcmp(a, "--config") == 0 && i + 1 < argc)
            ret->config = argv[++i];
        else if (strncmp(a, "--config=", 9) == 0)
            ret->config = a + 9;
        else if (strncmp(a, "--", 2) == 0 && strchr(a, '.') && ret->flag_count < MAIN_FLAGS_MAX)
            ret->flags[ret->flag_count++] = argv[i];
        else {
            fprintf(stderr, "gateway: %s: no such flag; see gateway --help\n", a);
            return false;
        }
    }
    return true;
}

static void main_put(const struct buf *b, FILE *to)
{
    if (b->len) fwrite(b->data, 1, b->len, to);
}

static int main_print_config(const struct config *c)
{
    struct buf out;
    buf_init(&out, MAIN_TEXT_MAX);
    bool is_printed = config_print(c, &out);
    main_put(&out, stdout);
    buf_fini(&out);
    return is_printed ? 0 : 1;
}

static int main_help(void)
{
    struct buf out;
    buf_init(&out, MAIN_TEXT_MAX);
    fputs(main_usage, stdout);
    (void)config_print_keys(&out, false);
    main_put(&out, stdout);
    buf_fini(&out);
    return 0;
}

/* NULL: told what is wrong. */
static struct config *main_load(const struct main_args *a)
{
    struct config *c = NULL;
    struct err err = {.code = ERR_OK};
    struct buf errors;
    buf_init(&errors, MAIN_TEXT_MAX);
    if (config_load(a->config, environ, a->flags, a->flag_count, &c, &errors, &err) != ERR_OK) {
        main_put(&errors, stderr);
        if (!errors.len) fprintf(stderr, "gateway: %s\n", err.text);
    }
    buf_fini(&errors);
    return c;
}

int main(int argc, char **argv)
{
    struct main_args a = {.config = NULL};
    struct err err = {.code = ERR_OK};
    if (!main_parse(argc, argv, &a)) return 2;
    if (a.wants_help) return main_help();
    if (a.wants_version) {
        puts("gateway " GATEWAY_VERSION);
        return 0;
    }
    struct config *c = main_load(&a);
    if (!c) return 2;
    if (a.wants_check || a.wants_print) {
        int status = a.wants_print ? main_print_config(c) : gateway_check(c);
        config_free(c);
        return status;
    }
    const struct gateway_options o = {
        .config_path = a.config, .env = environ, .flags = a.flags, .flag_count = a.flag_count};
    if (gateway_run(c, &o, &err) == ERR_OK) return 0;
    fprintf(stderr, "gateway: %s%s%s\n", err.text, err.where[0] ? " at " : "", err.where);
    return 1;
}
