/* The command line of a daemon. Hard: nothing; chosen: one place, so that every program answers the
 * same flags with the same words. */
#include "producer/program.h"
#include <assert.h>

enum { TEXT_MAX = 1 << 20 };

struct wants {
    bool check, print, help, version;
};

static bool parse_one(struct program *p, struct wants *w, int argc, char **argv, int *i)
{
    char *a = argv[*i];

    if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0)
        w->help = true;
    else if (strcmp(a, "--version") == 0)
        w->version = true;
    else if (strcmp(a, "--check") == 0)
        w->check = true;
    else if (strcmp(a, "--print-config") == 0)
        w->print = true;
    else if (strcmp(a, "--config") == 0 && *i + 1 < argc)
        p->config_path = argv[++*i];
    else if (strncmp(a, "--config=", 9) == 0)
        p->config_path = a + 9;
    else if (strncmp(a, "--", 2) == 0 && strchr(a, '.') && p->flag_count < PROGRAM_FLAGS_MAX)
        p->flags[p->flag_count++] = a;
    else
        return false;
    return true;
}

static void put(const struct buf *b, FILE *to)
{
    if (b->len) fwrite(b->data, 1, b->len, to);
}

static enum program_verdict help(const struct program *p)
{
    struct buf out;

    buf_init(&out, TEXT_MAX);
    printf(
        "usage: %s [--config FILE] [--check | --print-config] [--SECTION.KEY=VALUE ...]\n\n%s\n\n"
        "  --config FILE    configuration (else SLUICE_CONFIG, else defaults)\n"
        "  --check          say what is wrong with the configuration, and exit\n"
        "  --print-config   show the effective configuration, secrets masked, and exit\n"
        "  --version        print the version and exit\n"
        "  --help           this text\n%s\n"
        "Any key of the configuration can be given as a flag, or by environment "
        "(SLUICE_GATEWAY_LISTEN):\n\n",
        p->name, p->what, p->more_usage ? p->more_usage : "");
    (void)config_print_keys(&out, false);
    put(&out, stdout);
    buf_fini(&out);
    return PROGRAM_EXIT_OK;
}

static bool load(struct program *p)
{
    struct err err = {.code = ERR_OK};
    struct buf errors;

    buf_init(&errors, TEXT_MAX);
    if (config_load(p->config_path, p->env, p->flags, p->flag_count, &p->config, &errors, &err) !=
        ERR_OK) {
        put(&errors, stderr);
        if (!errors.len) fprintf(stderr, "%s: %s\n", p->name, err.text);
        p->config = NULL;
    }
    buf_fini(&errors);
    return p->config != NULL;
}

static enum program_verdict print_config(struct program *p)
{
    struct buf out;
    bool ok;

    buf_init(&out, TEXT_MAX);
    ok = config_print(p->config, &out);
    put(&out, stdout);
    buf_fini(&out);
    config_free(p->config);
    p->config = NULL;
    return ok ? PROGRAM_EXIT_OK : PROGRAM_EXIT_BAD;
}

enum program_verdict program_begin(struct program *p, int argc, char **argv)
{
    struct wants w = {false, false, false, false};

    for (int i = 1; i < argc; i++)
        if (!parse_one(p, &w, argc, argv, &i)) {
            fprintf(stderr, "%s: %s: no such flag; see %s --help\n", p->name, argv[i], p->name);
            return PROGRAM_EXIT_BAD;
        }
    if (w.help) return help(p);
    if (w.version) {
        printf("%s %s\n", p->name, SLUICE_VERSION);
        return PROGRAM_EXIT_OK;
    }
    if (!load(p)) return PROGRAM_EXIT_BAD;
    if (w.print) return print_config(p);
    return w.check ? PROGRAM_CHECK : PROGRAM_RUN;
}
