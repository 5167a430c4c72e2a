/* The simulation's program: named cases, then seeds that once failed, then as many new seeds as asked for.
 *
 *   sim [--seeds N] [--from K]     the lot (default 200 seeds); --no-named: the seeds alone
 *   sim --seed S [--trace]         one seed, told in full
 *   sim --named [NAME] [--trace]   the named cases alone, or one of them
 *
 * Run from the top of the checkout. Ends with `N passed, M failed`. */
#include "tests/sim/named.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_options.h"

struct totals {
    size_t passed, failed;
    uint64_t jobs, calls, resets;
    int64_t virtual_ms;
};

static void tell_faults(const char faults[PLANT_FAULTS_MAX][240], size_t count)
{
    for (size_t i = 0; i < count && i < PLANT_FAULTS_MAX; i++) printf("    %s\n", faults[i]);
    if (count > PLANT_FAULTS_MAX) printf("    and %zu more\n", count - PLANT_FAULTS_MAX);
}

static void run_seed(uint64_t seed, const struct sim_options *o, const struct workflows *ws, struct totals *t)
{
    struct scenario_result r;
    bool is_good = scenario_run(seed, o->trace, ws, &r);

    t->passed += is_good;
    t->failed += !is_good;
    t->jobs += r.jobs;
    t->calls += r.calls;
    t->resets += r.resets;
    t->virtual_ms += r.virtual_ms;
    if (o->has_seed) printf("world %016llx\n", (unsigned long long)r.hash);
    if (is_good) return;
    printf("seed %llu failed; again with: make sim SEED=%llu\n", (unsigned long long)seed, (unsigned long long)seed);
    tell_faults(r.faults, r.fault_count);
    fflush(stdout);
}

static void run_named(const struct sim_options *o, const struct workflows *ws, struct totals *t)
{
    for (size_t i = 0; i < named_count(); i++) {
        struct plant p;
        bool is_good;

        if (o->name && strcmp(o->name, named_name(i)) != 0) continue;
        is_good = named_run(i, o->trace, ws, &p);
        t->passed += is_good;
        t->failed += !is_good;
        printf("%s %s\n", is_good ? "ok  " : "FAIL", named_name(i));
        if (!is_good) tell_faults(p.faults, p.fault_count);
        fflush(stdout);
    }
}

/* One number a line; what follows it is a remark. */
static void run_regressions(const struct sim_options *o, const struct workflows *ws, struct totals *t)
{
    char line[256];
    FILE *f = fopen("tests/sim/regressions.txt", "r");

    while (f && fgets(line, sizeof line, f)) {
        struct view text = view_trim(view_of(line)), number, rest;
        uint64_t seed;

        if (!view_cut(text, ' ', &number, &rest)) number = text;
        if (view_u64(number, &seed)) run_seed(seed, o, ws, t);
    }
    if (f) fclose(f);
}

/* The same seed twice is the same world. */
static void run_twice(const struct workflows *ws, uint64_t seed, struct totals *t)
{
    struct scenario_result a, b;

    (void)scenario_run(seed, false, ws, &a);
    (void)scenario_run(seed, false, ws, &b);
    if (a.hash == b.hash && a.virtual_ms == b.virtual_ms) {
        t->passed++;
        return;
    }
    t->failed++;
    printf("seed %llu is not the same world twice\n", (unsigned long long)seed);
}

int main(int argc, char **argv)
{
    struct sim_options o;
    struct totals t = {0};
    struct workflows *ws;
    double began = sim_seconds_now(), took;

    if (!sim_options_read(argc, argv, false, &o)) {
        fprintf(stderr, "usage: sim [--seeds N] [--from K] [--no-named] | --seed S [--trace] | --named [NAME] [--trace]\n");
        return 2;
    }
    ws = plant_read_workflows();
    if (o.has_seed) {
        run_seed(o.seed, &o, ws, &t);
    } else {
        if (!o.seeds_only) run_named(&o, ws, &t);
        if (!o.named_only && !o.seeds_only) run_regressions(&o, ws, &t);
        if (!o.named_only && !o.seeds_only) run_twice(ws, o.from, &t);
        for (uint64_t i = 0; !o.named_only && i < o.seeds; i++) run_seed(o.from + i, &o, ws, &t);
    }
    workflows_free(ws);
    took = sim_seconds_now() - began;
    printf("%llu jobs, %llu calls, %llu resets in %lld h of virtual time, %.1f s\n", (unsigned long long)t.jobs, (unsigned long long)t.calls,
           (unsigned long long)t.resets, (long long)(t.virtual_ms / 3600000), took);
    return sim_end(t.passed, t.failed);
}
