/* What the two programs of simulations (main.c, pace_main.c) say and read alike. */
#include "tests/sim/sim_options.h"

#include "common/base/view.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool sim_read_number(const char *text, uint64_t *ret)
{
    return text && view_u64(view_of(text), ret);
}

bool sim_options_read(int argc, char **argv, bool has_plays, struct sim_options *ret)
{
    struct sim_options o = {.seeds = 200, .from = 1};

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seeds") == 0 && sim_read_number(argv[i + 1], &o.seeds)) {
            i++;
        } else if (strcmp(argv[i], "--from") == 0 && sim_read_number(argv[i + 1], &o.from)) {
            i++;
        } else if (strcmp(argv[i], "--seed") == 0 && sim_read_number(argv[i + 1], &o.seed)) {
            o.has_seed = true;
            i++;
        } else if (has_plays && strcmp(argv[i], "--play") == 0 && argv[i + 1]) {
            o.play = argv[++i];
        } else if (strcmp(argv[i], "--trace") == 0) {
            o.trace = true;
        } else if (strcmp(argv[i], "--no-named") == 0) {
            o.seeds_only = true;
        } else if (strcmp(argv[i], "--named") == 0) {
            o.named_only = true;
            if (argv[i + 1] && argv[i + 1][0] != '-') o.name = argv[++i];
        } else {
            return false;
        }
    }
    *ret = o;
    return true;
}

double sim_seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int sim_end(size_t passed, size_t failed)
{
    printf("%zu passed, %zu failed\n", passed, failed);
    return failed || passed == 0 ? 1 : 0;
}
