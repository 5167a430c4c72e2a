/* The named cases. Each is a story told step by step; then two things are asked: did the story happen at all (a case whose harm missed proves
 * nothing), and do the promises hold (the judge, and the case's own assertion). */
#include "tests/sim/named_priv.h"

#include "common/base/hash.h"
#include <assert.h>

static const struct named_case *case_at(size_t index)
{
    const struct named_case *lists[] = {named_cases_ends(), named_cases_loss(), named_cases_life(), named_cases_fair()};

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (const struct named_case *c = lists[i]; c->name; c++)
            if (index-- == 0) return c;
    return NULL;
}

size_t named_count(void)
{
    size_t n = 0;

    while (case_at(n)) n++;
    return n;
}

const char *named_name(size_t index)
{
    return case_at(index)->name;
}

bool named_run(size_t index, bool trace, const struct workflows *ws, struct plant *ret_faults)
{
    const struct named_case *c = case_at(index);
    struct stage_options o = {.plant = {.seed = hash_fnv1a(view_of(c->name)), .trace = trace, .workflows = ws}};
    struct named *n = calloc(1, sizeof *n);
    bool is_good;

    assert(n);
    o.plant.partitions = c->partitions;
    o.plant.max_jobs = 100;
    o.plant.window = c->window;
    o.plant.heartbeat_ms = 5000;
    o.workers = c->workers;
    o.gateways = c->gateways;
    stage_init(&n->s, &o);
    c->play(n);
    is_good = named_plant_of(n)->fault_count == 0;
    memcpy(ret_faults->faults, named_plant_of(n)->faults, sizeof ret_faults->faults);
    ret_faults->fault_count = named_plant_of(n)->fault_count;
    stage_fini(&n->s);
    free(n);
    return is_good;
}
