/* The simulation of pacing: named plays, then as many seeds as asked for.
 *
 *   pacesim [--seeds N] [--from K]     named plays and N worlds (default 200); --no-named: the worlds alone
 *   pacesim --seed S [--trace]         one world, told in full
 *   pacesim --named [NAME] [--trace]   the named plays alone, or one of them
 *   pacesim --play NAME                seeds of one play alone
 *
 * Run from the top of the checkout. Ends with `N passed, M failed`. */
#include "tests/sim/pace_play.h"
#include "tests/sim/sim_options.h"

#include <time.h>

enum { ROWS_MAX = 400 };

struct row { /* a figure over all seeds */
    const char *play, *name;
    double least, most, sum;
    size_t count;
};

struct totals {
    size_t passed, failed;
    uint64_t calls;
    int64_t virtual_ms;
    uint64_t hash;
    struct row rows[ROWS_MAX];
    size_t row_count;
};

static struct row *find_row(struct totals *t, const char *play, const char *name)
{
    struct row *r;

    for (size_t i = 0; i < t->row_count; i++)
        if (strcmp(t->rows[i].play, play) == 0 && strcmp(t->rows[i].name, name) == 0) return &t->rows[i];
    must(t->row_count < ROWS_MAX);
    r = &t->rows[t->row_count++];
    *r = (struct row){.play = play, .name = name, .least = 1e300, .most = -1e300};
    return r;
}

static void count(struct totals *t, const char *play, const char *name, double value)
{
    struct row *r = find_row(t, play, name);

    r->least = value < r->least ? value : r->least;
    r->most = value > r->most ? value : r->most;
    r->sum += value;
    r->count++;
}

static void note(struct totals *t, const struct play_result *r, bool is_good)
{
    t->passed += is_good;
    t->failed += !is_good;
    t->calls += r->calls;
    t->virtual_ms += r->virtual_ms;
    t->hash = t->hash * 31 + r->hash;
}

static void tell_blames(const struct play_result *r)
{
    for (size_t i = 0; i < r->blames.count && i < PACE_BLAMES_MAX; i++) printf("    %s\n", r->blames.text[i]);
    if (r->blames.count > PACE_BLAMES_MAX) printf("    and %zu more\n", r->blames.count - PACE_BLAMES_MAX);
}

static void run_seed(uint64_t seed, const struct play *play, const struct sim_options *o, struct totals *t)
{
    struct play_result r;
    clock_t began = clock();
    bool is_good = pace_play(play, seed, false, o->trace, &r);

    count(t, play->name, "seconds of our own", (double)(clock() - began) / CLOCKS_PER_SEC);
    note(t, &r, is_good);
    for (size_t i = 0; i < r.figure_count; i++) count(t, play->name, r.figures[i].name, r.figures[i].value);
    count(t, play->name, "us of the pacer a call", r.cpu_us);
    if (o->has_seed) printf("%s: world %016llx\n", play->name, (unsigned long long)r.hash);
    if (is_good) return;
    printf("seed %llu (%s) failed; again with: pacesim --seed %llu --play %s --trace\n", (unsigned long long)seed, play->name,
           (unsigned long long)seed, play->name);
    tell_blames(&r);
    fflush(stdout);
}

static void run_named(const struct sim_options *o, struct totals *t)
{
    for (size_t i = 0; i < pace_play_count(); i++) {
        const struct play *play = pace_plays[i];
        struct play_result r;
        bool is_good;

        if (o->name && strcmp(o->name, play->name) != 0) continue;
        is_good = pace_play(play, 1, true, o->trace, &r);
        note(t, &r, is_good);
        printf("%s %s", is_good ? "ok  " : "FAIL", play->name);
        for (size_t k = 0; k < r.figure_count; k++) printf("%s %s %.4g", k ? "," : ":", r.figures[k].name, r.figures[k].value);
        printf(" (%zu calls in %lld s, %.1f us a call)\n", r.calls, (long long)(r.virtual_ms / 1000), r.cpu_us);
        if (!is_good) tell_blames(&r);
        fflush(stdout);
    }
}

/* The same seed twice is the same world. */
static void run_twice(uint64_t seed, struct totals *t)
{
    const struct play *play = pace_play_of_seed(seed);
    struct play_result a, b;
    bool is_same;

    (void)pace_play(play, seed, false, false, &a);
    (void)pace_play(play, seed, false, false, &b);
    is_same = a.hash == b.hash && a.virtual_ms == b.virtual_ms && a.calls == b.calls;
    t->passed += is_same;
    t->failed += !is_same;
    if (!is_same) printf("seed %llu is not the same world twice\n", (unsigned long long)seed);
}

static void run_seeds(const struct sim_options *o, struct totals *t)
{
    for (uint64_t i = 0; i < o->seeds; i++) {
        const struct play *play = pace_play_of_seed(o->from + i);

        for (size_t k = 0; o->play && k < pace_play_count(); k++)
            if (strcmp(o->play, pace_plays[k]->name) == 0) play = pace_plays[k];
        run_seed(o->from + i, play, o, t);
    }
}

static void tell_rows(const struct totals *t)
{
    for (size_t i = 0; i < t->row_count; i++) {
        const struct row *r = &t->rows[i];

        printf("%-16s %-34s least %9.4g, mean %9.4g, most %9.4g of %zu\n", r->play, r->name, r->least,
               r->sum / (double)r->count, r->most, r->count);
    }
}

int main(int argc, char **argv)
{
    static struct totals t; /* large */
    struct sim_options o;
    double began = sim_seconds_now();

    if (!sim_options_read(argc, argv, true, &o)) {
        fprintf(stderr, "usage: pacesim [--seeds N] [--from K] [--no-named] [--play NAME] | --seed S [--trace] | --named [NAME] [--trace]\n");
        return 2;
    }
    if (o.has_seed) {
        o.from = o.seed;
        o.seeds = 1;
        run_seeds(&o, &t);
    } else {
        if (!o.seeds_only) run_named(&o, &t);
        if (!o.named_only && !o.seeds_only) run_twice(o.from, &t);
        if (!o.named_only) run_seeds(&o, &t);
        tell_rows(&t);
    }
    printf("%llu calls in %lld h of virtual time, %.1f s; all worlds %016llx\n", (unsigned long long)t.calls,
           (long long)(t.virtual_ms / 3600000), sim_seconds_now() - began, (unsigned long long)t.hash);
    return sim_end(t.passed, t.failed);
}
