#ifndef PRODUCER_PROGRAM_H
#define PRODUCER_PROGRAM_H
#include "schemas/config.h"

/* What every daemon's main does before it begins: flags, configuration, --check, --print-config,
 * --help, --version. */
#define SLUICE_VERSION "0.1.0"
enum { PROGRAM_FLAGS_MAX = 256 };

struct program {
    const char *name;        /* "gateway" */
    const char *what;        /* one line for --help */
    const char *more_usage;  /* further lines of usage, or NULL */
    const char *config_path; /* --config, or NULL */
    char *const *env;
    char *flags[PROGRAM_FLAGS_MAX]; /* --section.key=value, as given */
    size_t flag_count;
    struct config *config; /* PROGRAM_RUN: loaded; the caller frees it */
};

enum program_verdict {
    PROGRAM_RUN,   /* begin, with p->config */
    PROGRAM_CHECK, /* --check: the configuration is good in itself; check the rest, and exit */
    PROGRAM_EXIT_OK,
    PROGRAM_EXIT_BAD /* told on stderr what is wrong: exit 2 */
};

/* Reads the command line and the configuration; name, what and env are set before. */
enum program_verdict program_begin(struct program *p, int argc, char **argv);

#endif
