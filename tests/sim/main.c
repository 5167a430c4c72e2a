/* The simulation's program: named cases, then seeds that once failed, then as many new seeds as asked for.
 *
 *   sim [--seeds N] [--from K]     the lot (default 200 seeds); --no-named: the seeds alone
 *   sim --seed S [--trace]         one seed, told in full
 *   sim --named [NAME] [--trace]   the named cases alone, or one of them
 *
 * Run from the top of the checkout. Ends with `N passed, M failed`. */
#include "tests/sim/named.h"
#include "tests/sim/scenario.h"

#include <errno.h>
#include <time.h>

struct options {
    uint64_t seeds, from, seed;
    bool has_seed, trace, named_only, seeds_only;
    const char *name; /* NULL: all */
};

struct totals {
    size_t passed, failed;
    uint64_t jobs, calls, resets;
    int64_t virtual_ms;
};

static bool read_number(const char *text, uint64_t *ret)
{
    return text && view_u64(view_of(text), ret);
}

static bool read_options(int argc, char **argv, struct options *o)
{
    *o = (struct options){.seeds = 200, .from = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seeds") == 0 && read_number(argv[i + 1], &o->seeds)) {
            i++;
        } else if (strcmp(argv[i], "--from") == 0 && read_number(argv[i + 1], &o->from)) {
            i++;
        } else if (strcmp(argv[i], "--seed") == 0 && read_number(argv[i + 1], &o->seed)) {
            o->has_seed = true;
            i++;
        } else if (strcmp(argv[i], "--trace") == 0) {
            o->trace = true;
        } else if (strcmp(argv[i], "--no-named") == 0) {
            o->seeds_only = true;
        } else if (strcmp(argv[i], "--named") == 0) {
            o->named_only = true;
            if (argv[i + 1] && argv[i + 1][0] != '-') o->name = argv[++i];
        } else {
            return false;
        }
    }
    return true;
}

static void tell_faults(const char faults[PLANT_FAULTS_MAX][240], size_t count)
{
    for (size_t i = 0; i < count && i < PLANT_FAULTS_MAX; i++) printf("    %s\n", faults[i]);
    if (count > PLANT_FAULTS_MAX) printf("    and %zu more\n", count - PLANT_FAULTS_MAX);
}

static void run_seed(uint64_t seed, const struct options *o, const struct workflows *ws, struct totals *t)
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

static void run_named(const struct options *o, const struct workflows *ws, struct totals *t)
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
static void run_regressions(const struct options *o, const struct workflows *ws, struct totals *t)
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

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    struct options o;
    struct totals t = {0};
    struct workflows *ws;
    double began = seconds_now(), took;

    if (!read_options(argc, argv, &o)) {
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
    took = seconds_now() - began;
    printf("%llu jobs, %llu calls, %llu resets in %lld h of virtual time, %.1f s\n", (unsigned long long)t.jobs, (unsigned long long)t.calls,
           (unsigned long long)t.resets, (long long)(t.virtual_ms / 3600000), took);
    printf("%zu passed, %zu failed\n", t.passed, t.failed);
    return t.failed || t.passed == 0 ? 1 : 0;
}
