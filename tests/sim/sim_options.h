#ifndef SIM_SIM_OPTIONS_H
#define SIM_SIM_OPTIONS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The command line of a simulation's program, and how it ends. Both programs take the same words; `--play` only one that has plays. */
struct sim_options {
    uint64_t seeds, from, seed;
    bool has_seed, trace, named_only, seeds_only;
    const char *name, *play; /* borrowed of argv; NULL: all */
};

/* ret: 200 seeds from 1 where nothing else is said. False: a word that nobody knows, or one without its number. */
bool sim_options_read(int argc, char **argv, bool has_plays, struct sim_options *ret);
double sim_seconds_now(void); /* our own, not the world's */
/* Says `N passed, M failed`. The program's exit status: 1 where one failed or nothing was judged. */
int sim_end(size_t passed, size_t failed);

#endif
