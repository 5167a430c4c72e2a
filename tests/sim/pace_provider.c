/* A provider's limits, exactly. Hard: what the fleet may do is judged by what happens here, so nothing may be rounded in
 * its favour. Chosen: every entry of the last minute is kept; the algorithms are the four that providers are known to have. */
#include "tests/sim/pace_provider.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MINUTE = 60000, STRANGER_MS = 500 };

struct entry {
    int64_t at_ms, n;
    bool is_own;
};

struct dim {
    int64_t limit, sum, own, used, peak_permille;
    double level;
    int64_t level_ms, window, in_window;
    struct entry *log; /* a ring */
    size_t first, count, room;
};

struct exact {
    struct world *world;
    enum exact_algorithm algorithm;
    enum exact_headers headers;
    int64_t quantum_ms, changed_ms, mark_ms;
    double strangers;
    bool is_visited; /* strangers come again by themselves */
    struct dim dims[PACE_DIM_COUNT];
};

struct exact *exact_new(struct world *w, const struct exact_options *o)
{
    struct exact *x = calloc(1, sizeof *x);

    must(x);
    x->world = w;
    x->algorithm = o->algorithm;
    x->headers = o->headers;
    x->quantum_ms = o->quantum_ms > 0 ? o->quantum_ms : 1000;
    x->changed_ms = world_now_ms(w) - MINUTE - 1;
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) {
        x->dims[d].limit = o->limits[d];
        x->dims[d].level = (double)o->limits[d];
    }
    exact_mark(x);
    return x;
}

void exact_free(struct exact *x)
{
    if (!x) return;
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) free(x->dims[d].log);
    free(x);
}

/* --- counting ------------------------------------------------------------------------------------------------------ */
static void forget(const struct exact *x, struct dim *d)
{
    while (d->count && d->log[d->first].at_ms <= world_now_ms(x->world) - MINUTE) {
        d->sum -= d->log[d->first].n;
        if (d->log[d->first].is_own) d->own -= d->log[d->first].n;
        d->first = (d->first + 1) % d->room;
        d->count--;
    }
}

static void make_room(struct dim *d)
{
    size_t room = d->room ? 2 * d->room : 1024;
    struct entry *log = calloc(room, sizeof *log);

    must(log && room <= 1 << 20);
    for (size_t i = 0; i < d->count; i++) log[i] = d->log[(d->first + i) % d->room];
    free(d->log);
    d->log = log;
    d->room = room;
    d->first = 0;
}

static void count(struct exact *x, struct dim *d, int64_t n, bool is_own)
{
    int64_t now = world_now_ms(x->world), window = now / MINUTE, permille;

    forget(x, d);
    if (d->count == d->room) make_room(d);
    d->log[(d->first + d->count++) % d->room] = (struct entry){now, n, is_own};
    d->sum += n;
    d->in_window = (d->window == window ? d->in_window : 0) + n;
    d->window = window;
    d->level -= (double)n;
    if (!is_own) return;
    d->own += n;
    d->used += n;
    if (d->limit <= 0 || now - x->changed_ms <= MINUTE) return;
    permille = (d->own * 1000 + d->limit - 1) / d->limit;
    if (permille > 1000)
        world_trace(x->world, "over: %lld of %lld, dimension %d", (long long)d->own, (long long)d->limit, (int)(d - x->dims));
    if (permille > d->peak_permille) d->peak_permille = permille;
}

static double depth(const struct exact *x, const struct dim *d)
{
    double deep = (double)d->limit;

    if (x->algorithm == EXACT_QUANTUM) deep = deep * (double)x->quantum_ms / MINUTE;
    return deep < 1 ? 1 : deep;
}

static double left(struct exact *x, struct dim *d)
{
    int64_t now = world_now_ms(x->world);

    forget(x, d);
    d->level += (double)(now - d->level_ms) * (double)d->limit / MINUTE;
    d->level_ms = now;
    if (d->level > depth(x, d)) d->level = depth(x, d);
    if (x->algorithm == EXACT_SLIDING) return (double)(d->limit - d->sum);
    if (x->algorithm == EXACT_FIXED) return (double)(d->limit - (d->window == now / MINUTE ? d->in_window : 0));
    return d->level;
}

/* A call larger than all that there ever is goes where everything is there; of output something must be left. */
static double least(const struct exact *x, const struct dim *d, enum pace_dim which, int64_t need)
{
    if (which == PACE_OUTPUT) return 1;
    return fmin((double)need, depth(x, d)) - 1e-6;
}

bool exact_take(struct exact *x, const int64_t need[PACE_DIM_COUNT])
{
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++)
        if (x->dims[d].limit > 0 && left(x, &x->dims[d]) < least(x, &x->dims[d], d, need[d])) return false;
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++)
        if (d != PACE_OUTPUT) count(x, &x->dims[d], need[d], true);
    return true;
}

void exact_output(struct exact *x, int64_t n)
{
    (void)left(x, &x->dims[PACE_OUTPUT]);
    count(x, &x->dims[PACE_OUTPUT], n, true);
}

static void strangers_come(void *arg)
{
    struct exact *x = arg;

    x->is_visited = x->strangers > 0;
    if (!x->is_visited) return;
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) {
        struct dim *k = &x->dims[d];
        double share = x->strangers * (double)k->limit * STRANGER_MS / MINUTE;
        int64_t n = (int64_t)(share + rng_unit(world_rng(x->world)));

        if (k->limit > 0 && n > 0 && left(x, k) >= (double)n) count(x, k, n, false);
    }
    world_after(x->world, STRANGER_MS, strangers_come, NULL, x);
}

/* --- what is told -------------------------------------------------------------------------------------------------- */
static int64_t reset_ms(const struct exact *x, const struct dim *d, double remaining)
{
    int64_t now = world_now_ms(x->world);

    if (x->algorithm == EXACT_FIXED) return MINUTE - now % MINUTE;
    return (int64_t)(((double)d->limit - remaining) * MINUTE / (double)d->limit);
}

static void tell_truly(struct exact *x, struct llm_limits *ret)
{
    struct llm_limit *const to[PACE_DIM_COUNT] = {
        [PACE_REQUESTS] = &ret->requests, [PACE_INPUT] = &ret->input, [PACE_OUTPUT] = &ret->output, [PACE_TOKENS] = &ret->tokens};

    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) {
        struct dim *k = &x->dims[d];
        double remaining = k->limit > 0 ? floor(fmax(0, left(x, k))) : 0;

        if (k->limit <= 0) continue;
        *to[d] = (struct llm_limit){k->limit, (int64_t)remaining, reset_ms(x, k, remaining)};
        ret->is_any = true;
    }
}

static void tell_text(struct llm_limits *ret, const char *name, const char *value)
{
    llm_limits_header(ret, view_of(name), view_of(value), 1790000000000);
}

static void tell_malformed(const struct exact *x, struct llm_limits *ret)
{
    static const char *const names[] = {"x-ratelimit-limit-requests",           "x-ratelimit-remaining-requests",
                                        "x-ratelimit-reset-requests",           "x-ratelimit-limit-tokens",
                                        "x-ratelimit-remaining-tokens",         "x-ratelimit-reset-tokens",
                                        "anthropic-ratelimit-requests-limit",   "anthropic-ratelimit-requests-remaining",
                                        "anthropic-ratelimit-input-tokens-reset", "retry-after"};
    static const char *const values[] = {"-1",   "",     "0",         "NaN",  "1e999", "99999999999999999999",
                                         "12ms", "soon", "-5s", "1d2h", "\xff\xfe", "2026-13-45T99:00:00Z",
                                         "+7",   "0x10", "9223372036854775807"};
    struct rng *rng = world_rng(x->world);

    for (uint64_t i = rng_below(rng, 8); i > 0; i--)
        tell_text(ret, names[rng_below(rng, sizeof names / sizeof *names)],
                  values[rng_below(rng, sizeof values / sizeof *values)]);
}

static void tell_lies(const struct exact *x, struct llm_limits *ret)
{
    struct rng *rng = world_rng(x->world);
    struct llm_limit *const to[] = {&ret->requests, &ret->input, &ret->output, &ret->tokens};

    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) {
        uint64_t limit = (uint64_t)x->dims[d].limit;

        if (!limit || rng_below(rng, 3) == 0) continue;
        *to[d] = (struct llm_limit){(int64_t)(limit + rng_below(rng, 9 * limit)), (int64_t)rng_below(rng, 10 * limit),
                                    (int64_t)rng_below(rng, 120000)};
        ret->is_any = true;
    }
}

void exact_tell(struct exact *x, struct llm_limits *ret)
{
    llm_limits_init(ret);
    switch (x->headers) {
    case EXACT_TRUE:
        tell_truly(x, ret);
        break;
    case EXACT_MALFORMED:
        tell_malformed(x, ret);
        break;
    case EXACT_LYING:
        tell_lies(x, ret);
        break;
    case EXACT_YEAR:
        tell_text(ret, "x-ratelimit-remaining-requests", "0");
        tell_text(ret, "x-ratelimit-reset-requests", "31536000s");
        break;
    case EXACT_SILENT:
    case EXACT_HEADERS:
        break;
    }
}

/* Until so much of the last minute will be forgotten. */
static double forgotten_in(const struct exact *x, const struct dim *d, double lacks)
{
    for (size_t i = 0; i < d->count; i++) {
        const struct entry *e = &d->log[(d->first + i) % d->room];

        lacks -= (double)e->n;
        if (lacks <= 0) return (double)(e->at_ms + MINUTE - world_now_ms(x->world));
    }
    return MINUTE;
}

int64_t exact_retry_after(struct exact *x, const int64_t need[PACE_DIM_COUNT])
{
    double most = 0;

    if (x->headers == EXACT_YEAR) return LLM_RETRY_AFTER_MAX_MS;
    if (x->headers != EXACT_TRUE) return -1;
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) {
        struct dim *k = &x->dims[d];
        double lacks = k->limit > 0 ? least(x, k, d, need[d]) - left(x, k) : 0;
        double wait = lacks > 0 ? lacks * MINUTE / (double)k->limit : 0;

        if (lacks > 0 && x->algorithm == EXACT_SLIDING) wait = forgotten_in(x, k, lacks);
        if (lacks > 0 && x->algorithm == EXACT_FIXED) wait = (double)reset_ms(x, k, 0);
        if (wait > most) most = wait;
    }
    return (int64_t)ceil(most / 1000) * 1000;
}

/* --- changes ------------------------------------------------------------------------------------------------------- */
void exact_scale(struct exact *x, double factor)
{
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) {
        struct dim *k = &x->dims[d];

        (void)left(x, k);
        k->limit = (int64_t)((double)k->limit * factor);
        if (k->level > depth(x, k)) k->level = depth(x, k);
    }
    x->changed_ms = world_now_ms(x->world);
}

void exact_set_headers(struct exact *x, enum exact_headers h)
{
    x->headers = h;
}

void exact_set_strangers(struct exact *x, double share)
{
    x->strangers = share;
    x->changed_ms = world_now_ms(x->world);
    if (!x->is_visited) strangers_come(x);
}

/* --- to see -------------------------------------------------------------------------------------------------------- */
int64_t exact_limit(const struct exact *x, enum pace_dim d)
{
    return x->dims[d].limit;
}

int64_t exact_changed_ms(const struct exact *x)
{
    return x->changed_ms;
}

int64_t exact_peak(const struct exact *x)
{
    int64_t most = 0;

    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++)
        if (x->dims[d].peak_permille > most) most = x->dims[d].peak_permille;
    return most;
}

void exact_mark(struct exact *x)
{
    x->mark_ms = world_now_ms(x->world);
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) x->dims[d].used = x->dims[d].peak_permille = 0;
}

int64_t exact_used(const struct exact *x, enum pace_dim d)
{
    return x->dims[d].used;
}

static double part(const struct exact *x, enum pace_dim d)
{
    double minutes = (double)(world_now_ms(x->world) - x->mark_ms) / MINUTE;

    if (x->dims[d].limit <= 0 || minutes <= 0) return 0;
    return (double)x->dims[d].used / minutes / (double)x->dims[d].limit;
}

enum pace_dim exact_binding(const struct exact *x)
{
    enum pace_dim best = PACE_REQUESTS;

    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++)
        if (part(x, d) > part(x, best)) best = d;
    return best;
}

double exact_share(struct exact *x, enum pace_dim d)
{
    forget(x, &x->dims[d]);
    return x->dims[d].limit > 0 ? (double)x->dims[d].own / (double)x->dims[d].limit : 0;
}

double exact_use(const struct exact *x)
{
    return part(x, exact_binding(x));
}
