/* Why: a burst of a hundred thousand jobs for a budget of sixty calls a minute would otherwise be
 * leased, recorded as started and held in memory, only to wait, and jobs for other models would
 * find the worker full. Hard: fairness and priorities must hold for what is kept back too, and a
 * record that is kept must still be closed when it is canceled or its deadline passes.
 *
 * Chosen: each model group has a scheduler of its own here, with the same rules as the worker's. A
 * record goes through the worker's first; if the line it would join is long, it goes on into the
 * group's and comes out of there as the line gets shorter. A line is long when it holds more than
 * was granted in the last five seconds (at least 64), counting the jobs that are on their way into
 * it, so a fast budget is never starved by this. A tenant of which hardly anything runs passes all
 * the same: in the line itself it goes first, and must not wait here for the turns of others. */
#include "consumer/gate.h"

#include "consumer/home.h"
#include <assert.h>

enum { GATE_OWN = 4 }; /* jobs of a tenant that run, up to which it passes a long line */

struct gate {
    struct worker *w;
    struct scheduler **lines; /* by group; NULL: nothing was ever kept there */
    size_t count;
    size_t next; /* who is looked at first */
};

struct gate *gate_new(struct worker *w)
{
    struct gate *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->w = w;
    g->count = pacer_groups(w->pacer);
    g->lines = calloc(g->count + 1, sizeof(struct scheduler *));
    if (g->lines) return g;
    free(g);
    return NULL;
}

void gate_free(struct gate *g)
{
    if (!g) return;
    for (size_t i = 0; i < g->count; i++) scheduler_free(g->lines[i]);
    free(g->lines);
    free(g);
}

/* --- which line ------------------------------------------------------------------------------ */
/* The first long one of its models; *ret_first is the group of the first it calls. */
static size_t gate_long_group(const struct gate *g, const struct item *it, size_t *ret_first)
{
    const struct workflow *wf =
        workflows_find(g->w->ports.workflows, view_of(it->head.workflow), it->head.version);
    size_t first = PACER_NO_GROUP, found = PACER_NO_GROUP;
    for (size_t i = 0; wf && i < wf->step_count && found == PACER_NO_GROUP; i++) {
        if (wf->steps[i].kind != STEP_LLM) continue;
        size_t group = pacer_group_of(g->w->pacer, view_of(wf->steps[i].model));
        if (group == PACER_NO_GROUP) continue;
        if (first == PACER_NO_GROUP) first = group;
        if (pacer_is_long(g->w->pacer, group)) found = group;
    }
    *ret_first = first;
    return found;
}

/* It will only be closed: that waits for nobody. */
static bool gate_is_over(const struct gate *g, const struct item *it)
{
    return it->is_poison || known_phase(it->job) == LEDGER_ENDED ||
           item_is_over(it, g->w->ports.clock->wall_ms);
}

/* --- keeping --------------------------------------------------------------------------------- */
static struct scheduler *gate_line(struct gate *g, size_t group)
{
    const struct config *c = g->w->ports.config;
    const struct scheduler_options o = {.items_max = WORKER_QUEUE_MAX,
                                        .interactive_weight = c->consumer.interactive_weight,
                                        .bulk_weight = c->consumer.bulk_weight};
    if (!g->lines[group]) g->lines[group] = scheduler_new(&o);
    return g->lines[group];
}

bool gate_put(struct worker *w, struct scheduler *line, struct item *it)
{
    const struct sched_entry entry = {.lane = item_lane(it),
                                      .tenant = view_of(it->head.tenant),
                                      .weight = worker_weight(w, it->head.tenant),
                                      .cost = 1,
                                      .rank = item_rank(it)};
    return scheduler_put(line, &it->sched, &entry);
}

/* It goes on as one that expires. With no room in the scheduler it stays, and is closed when its
 * turn comes. */
static void gate_on_deadline(void *arg)
{
    struct item *it = arg;
    struct worker *w = it->home->w;
    struct scheduler *kept = it->line;
    item_woke(it);
    scheduler_remove(kept, &it->sched);
    it->line = gate_put(w, w->sched, it) ? NULL : kept;
    if (it->line && !gate_put(w, kept, it)) assert(!"it stood there just now");
    worker_kick(w);
}

bool gate_keeps(struct gate *g, struct item *it, size_t *ret_group)
{
    size_t group = gate_long_group(g, it, ret_group);
    struct scheduler *line;
    if (group == PACER_NO_GROUP || gate_is_over(g, it)) return false;
    if (it->place.state != SPILL_OUT && spill_running(&it->place) < GATE_OWN) return false;
    line = gate_line(g, group);
    if (!line || !gate_put(g->w, line, it)) return false; /* no memory to keep it in */
    it->line = line;
    item_sleep_to_deadline(g->w, it, gate_on_deadline);
    return true;
}

struct item *gate_peek(struct worker *w, struct scheduler *line)
{
    struct sched_item *s;
    while ((s = scheduler_peek(line)) != NULL) {
        struct item *it = LIST_ITEM(s, struct item, sched);
        if (spill_may_start(w->spill, &it->place)) return it;
        scheduler_hold(line, s);
    }
    return NULL;
}

static struct item *gate_next_of(struct gate *g, size_t group)
{
    struct scheduler *line = g->lines[group];
    if (!line || !scheduler_count(line) || pacer_is_long(g->w->pacer, group)) return NULL;
    struct item *it = gate_peek(g->w, line);
    if (!it) return NULL;
    (void)scheduler_take(line);
    it->line = NULL;
    item_stop_sleep(g->w, it);
    return it;
}

struct item *gate_next(struct gate *g, size_t *ret_group)
{
    for (size_t i = 0; i < g->count; i++) {
        size_t group = (g->next + i) % g->count;
        struct item *it = gate_next_of(g, group);
        if (!it) continue;
        g->next = group + 1;
        (void)gate_long_group(g, it, ret_group);
        return it;
    }
    return NULL;
}

bool gate_has_open(const struct gate *g)
{
    for (size_t i = 0; i < g->count; i++)
        if (g->lines[i] && scheduler_peek(g->lines[i]) && !pacer_is_long(g->w->pacer, i))
            return true;
    return false;
}

void gate_tell(struct gate *g)
{
    for (size_t i = 0; i < g->count; i++)
        if (g->lines[i]) pacer_held(g->w->pacer, i, scheduler_count(g->lines[i]));
}

void gate_leave(struct worker *w, struct item *it)
{
    if (scheduler_has(&it->sched)) scheduler_remove(it->line ? it->line : w->sched, &it->sched);
    it->line = NULL;
}

void gate_release_all(struct worker *w)
{
    scheduler_release_all(w->sched);
    for (size_t i = 0; i < w->gate->count; i++)
        if (w->gate->lines[i]) scheduler_release_all(w->gate->lines[i]);
}

/* --- counts ---------------------------------------------------------------------------------- */
size_t gate_lane_count(const struct worker *w, enum sched_lane lane)
{
    size_t n = scheduler_lane_count(w->sched, lane);
    for (size_t i = 0; i < w->gate->count; i++)
        if (w->gate->lines[i]) n += scheduler_lane_count(w->gate->lines[i], lane);
    return n;
}

size_t gate_due_count(const struct worker *w)
{
    size_t n = scheduler_due_count(w->sched);
    for (size_t i = 0; i < w->gate->count; i++)
        if (w->gate->lines[i]) n += scheduler_due_count(w->gate->lines[i]);
    return n;
}

size_t gate_count(const struct worker *w)
{
    size_t n = scheduler_count(w->sched);
    for (size_t i = 0; i < w->gate->count; i++)
        if (w->gate->lines[i]) n += scheduler_count(w->gate->lines[i]);
    return n;
}
