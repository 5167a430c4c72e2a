/* Virtual time. Hard: callbacks must never come from inside the call that asked for them, in an order that depends on the seed alone. Chosen: one
 * queue of envelopes by time and order of posting; processes are visited by index. */
#include "tests/sim/world.h"
#include "common/base/list.h"
#include <assert.h>
#include <stdarg.h>

struct envelope {
    struct timer timer;
    struct list_link link; /* in proc.waiting, while that is paused */
    struct world *world;
    struct proc *to; /* NULL: the world itself */
    uint32_t life;
    sim_fn *fn, *drop;
    void *arg;
};

struct proc {
    struct world *world;
    char name[32];
    bool alive, paused, touched;
    uint32_t life, index;
    struct clock clock;
    struct timerq *timers;
    struct rng rng;
    sim_fn *turn;
    void *arg;
    struct list waiting;
};

struct world {
    int64_t now_ms, wall_base_ms;
    bool trace, ending;
    uint64_t hash;
    struct rng rng;
    struct timerq *queue;
    struct proc *procs[PROCS_MAX];
    size_t proc_count;
};

enum { QUEUE_MAX = 1 << 20, TIMERS_MAX = 1 << 16 };

void must(bool what)
{
    if (!what) abort();
}

struct world *world_new(uint64_t seed, bool trace)
{
    struct world *w = calloc(1, sizeof *w);

    assert(w);
    rng_seed(&w->rng, seed);
    w->trace = trace;
    w->wall_base_ms = 1790000000000LL;
    w->queue = timerq_new(QUEUE_MAX);
    assert(w->queue);
    return w;
}

static void envelope_drop(struct envelope *e)
{
    if (e->drop) e->drop(e->arg);
    free(e);
}

static void drop_waiting(struct proc *p)
{
    struct list_link *k;

    while ((k = list_first(&p->waiting)) != NULL) {
        list_remove(&p->waiting, k);
        envelope_drop(LIST_ITEM(k, struct envelope, link));
    }
}


void world_free(struct world *w)
{
    w->ending = true;
    for (size_t i = 0; i < w->proc_count; i++) {
        w->procs[i]->alive = false;
        w->procs[i]->life++;
    }
    while (timerq_next_ms(w->queue) != INT64_MAX) timerq_run(w->queue, INT64_MAX - 1, 1000);
    for (size_t i = 0; i < w->proc_count; i++) {
        drop_waiting(w->procs[i]);
        timerq_free(w->procs[i]->timers);
        free(w->procs[i]);
    }
    timerq_free(w->queue);
    free(w);
}

int64_t world_now_ms(const struct world *w)
{
    return w->now_ms;
}

int64_t world_wall_ms(const struct world *w)
{
    return w->wall_base_ms + w->now_ms;
}

void world_step_clock(struct world *w, int64_t by_ms)
{
    w->wall_base_ms += by_ms;
}

struct rng *world_rng(struct world *w)
{
    return &w->rng;
}

bool world_chance(struct world *w, unsigned percent)
{
    return rng_below(&w->rng, 100) < percent;
}

void world_trace(struct world *w, const char *fmt, ...)
{
    va_list ap;

    if (!w->trace) return;
    printf("%9.3f  ", (double)w->now_ms / 1000);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

bool world_is_traced(const struct world *w)
{
    return w->trace;
}

static void mix_word(struct world *w, uint64_t word)
{
    w->hash = (w->hash ^ word) * 0x9E3779B97F4A7C15ull;
    w->hash ^= w->hash >> 29;
}

void world_mix(struct world *w, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    uint64_t word;

    for (; len >= sizeof word; len -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        mix_word(w, word);
    }
    word = len;
    for (; len > 0; len--) word = word << 8 | *at++;
    mix_word(w, word);
}

uint64_t world_hash(const struct world *w)
{
    return w->hash;
}

static void fire(void *arg)
{
    struct envelope *e = arg;

    mix_word(e->world, (uint64_t)e->world->now_ms << 8 | (e->to ? (uint64_t)e->to->index + 1 : 0));

    if (!e->to && e->world->ending) {
        envelope_drop(e);
        return;
    }
    if (!e->to) {
        e->fn(e->arg);
        free(e);
        return;
    }
    if (!e->to->alive || e->life != e->to->life) {
        envelope_drop(e);
        return;
    }
    if (e->to->paused) {
        list_push(&e->to->waiting, &e->link);
        return;
    }
    e->to->touched = true;
    e->to->clock = (struct clock){.mono_ms = e->world->now_ms, .wall_ms = world_wall_ms(e->world)};
    e->fn(e->arg);
    free(e);
}

static void post(struct world *w, struct proc *p, int64_t delay_ms, sim_fn *fn, sim_fn *drop, void *arg)
{
    struct envelope *e;

    if (w->ending) {
        if (drop) drop(arg);
        return;
    }
    e = calloc(1, sizeof *e);
    assert(e && delay_ms >= 0);
    *e = (struct envelope){.world = w, .to = p, .life = p ? p->life : 0, .fn = fn, .drop = drop, .arg = arg};
    if (!timerq_set(w->queue, &e->timer, w->now_ms + delay_ms, fire, e)) assert(!"the world's queue is full");
}

void world_after(struct world *w, int64_t delay_ms, sim_fn *fn, sim_fn *drop, void *arg)
{
    post(w, NULL, delay_ms, fn, drop, arg);
}

void proc_post(struct proc *p, int64_t delay_ms, sim_fn *fn, sim_fn *drop, void *arg)
{
    post(p->world, p, delay_ms, fn, drop, arg);
}

static void nothing(void *arg)
{
    (void)arg;
}

void proc_kick(struct proc *p)
{
    proc_post(p, 0, nothing, NULL, p);
}

static int64_t next_ms(const struct world *w)
{
    int64_t next = timerq_next_ms(w->queue);

    for (size_t i = 0; i < w->proc_count; i++) {
        const struct proc *p = w->procs[i];

        if (p->alive && !p->paused && timerq_next_ms(p->timers) < next) next = timerq_next_ms(p->timers);
    }
    return next;
}

static void visit(struct proc *p)
{
    p->clock = (struct clock){.mono_ms = p->world->now_ms, .wall_ms = world_wall_ms(p->world)};
    if (timerq_run(p->timers, p->world->now_ms, 1000) > 0) p->touched = true;
    if (!p->touched) return;
    p->touched = false;
    if (p->turn) p->turn(p->arg);
}

bool world_step(struct world *w, int64_t until_ms)
{
    int64_t next = next_ms(w);

    if (next > until_ms) {
        w->now_ms = until_ms;
        return false;
    }
    if (next > w->now_ms) w->now_ms = next;
    timerq_run(w->queue, w->now_ms, 1);
    for (size_t i = 0; i < w->proc_count; i++)
        if (w->procs[i]->alive && !w->procs[i]->paused) visit(w->procs[i]);
    return true;
}

bool world_run(struct world *w, int64_t until_ms, bool (*is_done)(void *arg), void *arg)
{
    while (!is_done(arg))
        if (!world_step(w, until_ms)) return is_done(arg);
    return true;
}

struct proc *proc_new(struct world *w, const char *name, sim_fn *turn, void *arg)
{
    struct proc *p = calloc(1, sizeof *p);

    assert(p && w->proc_count < PROCS_MAX);
    p->world = w;
    snprintf(p->name, sizeof p->name, "%s", name);
    p->alive = true;
    p->turn = turn;
    p->arg = arg;
    p->timers = timerq_new(TIMERS_MAX);
    rng_seed(&p->rng, rng_next(&w->rng));
    list_init(&p->waiting);
    p->clock = (struct clock){.mono_ms = w->now_ms, .wall_ms = world_wall_ms(w)};
    p->index = (uint32_t)w->proc_count;
    w->procs[w->proc_count++] = p;
    return p;
}

void proc_set_turn(struct proc *p, sim_fn *turn, void *arg)
{
    p->turn = turn;
    p->arg = arg;
}

void proc_kill(struct proc *p)
{
    p->alive = p->paused = p->touched = false;
    p->life++;
    drop_waiting(p);
}

/* The owner of its timers must have cancelled or forgotten them: the queue starts empty. */
void proc_revive(struct proc *p)
{
    assert(!p->alive);
    timerq_free(p->timers);
    p->timers = timerq_new(TIMERS_MAX);
    p->alive = true;
    p->life++;
    p->clock = (struct clock){.mono_ms = p->world->now_ms, .wall_ms = world_wall_ms(p->world)};
}

void proc_pause(struct proc *p)
{
    p->paused = true;
}

void proc_resume(struct proc *p)
{
    struct list_link *k;

    bool timers_first = world_chance(p->world, 50);

    if (!p->paused) return;
    p->paused = false;
    if (timers_first) proc_kick(p);
    while ((k = list_first(&p->waiting)) != NULL) {
        struct envelope *e = LIST_ITEM(k, struct envelope, link);

        list_remove(&p->waiting, k);
        post(p->world, p, 0, e->fn, e->drop, e->arg);
        free(e);
    }
    proc_kick(p);
}

bool proc_is_alive(const struct proc *p)
{
    return p->alive;
}

bool proc_is_paused(const struct proc *p)
{
    return p->paused;
}

const char *proc_name(const struct proc *p)
{
    return p->name;
}

struct clock *proc_clock(struct proc *p)
{
    return &p->clock;
}

struct timerq *proc_timers(struct proc *p)
{
    return p->timers;
}

struct rng *proc_rng(struct proc *p)
{
    return &p->rng;
}

struct world *proc_world(struct proc *p)
{
    return p->world;
}
