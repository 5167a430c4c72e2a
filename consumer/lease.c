/* What is hard: a process that was stopped for a minute must not believe on waking that it still
 * holds anything. So nothing here waits for a timer to notice: lease_is_held compares the clock of
 * this turn with the time the last good beat was *sent*, and lease_held_since looks for a gap
 * between two good beats, which stays known after the lease was won back. */
#include "consumer/lease.h"

#include "common/base/clock.h"
#include "common/base/timerq.h"
#include <assert.h>

enum { LEASE_BOOT_MAX = 64, LEASE_INFO_MAX = 4096, LEASE_AGAIN_MS = 250 };

struct lease {
    struct lease_options o;
    struct timer timer;
    char boot[LEASE_BOOT_MAX], heard_boot[LEASE_BOOT_MAX];
    uint32_t *homes; /* asked in the beat under way */
    size_t home_count;
    int64_t sent_ms;     /* of the beat under way */
    int64_t good_ms;     /* of the last good beat; -1 = none yet */
    int64_t unbroken_ms; /* the chain of good beats without a gap began here */
    bool is_asking, is_hurried, has_heard_boot, is_over;
};

struct lease *lease_new(const struct lease_options *o)
{
    struct lease *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->o = *o;
    l->good_ms = -1;
    l->homes = calloc(JOB_ID_PARTITIONS_MAX, sizeof *l->homes);
    if (!l->homes) {
        free(l);
        return NULL;
    }
    return l;
}

void lease_free(struct lease *l)
{
    if (!l) return;
    timerq_cancel(l->o.timers, &l->timer);
    free(l->homes);
    free(l);
}

static int64_t lease_reach(const struct lease *l)
{
    return l->o.ttl_ms * 7 / 10;
}

bool lease_is_held(const struct lease *l)
{
    return l->good_ms >= 0 && !l->is_over && l->o.clock->mono_ms < l->good_ms + lease_reach(l);
}

int64_t lease_until_ms(const struct lease *l)
{
    return lease_is_held(l) ? l->good_ms + lease_reach(l) : 0;
}

bool lease_held_since(const struct lease *l, int64_t mono_ms)
{
    return lease_is_held(l) && l->unbroken_ms <= mono_ms;
}

int64_t lease_unbroken_ms(const struct lease *l)
{
    return l->unbroken_ms;
}

struct view lease_boot(const struct lease *l)
{
    return l->boot[0] ? view_of(l->boot) : VIEW_NONE;
}

/* --- beats ----------------------------------------------------------------------------------- */
static void lease_on_timer(void *arg);

static void lease_next(struct lease *l, int64_t in_ms)
{
    if (l->is_over) return;
    (void)timerq_set(l->o.timers, &l->timer, l->o.clock->mono_ms + in_ms, lease_on_timer, l);
}

static void lease_on_boot(void *arg, const struct err *e, struct view verdict)
{
    struct lease *l = arg;
    l->has_heard_boot =
        !e && verdict.len && view_copy(verdict, l->heard_boot, sizeof l->heard_boot);
}

static void lease_good(struct lease *l)
{
    bool has_gap = l->good_ms < 0 || l->sent_ms >= l->good_ms + lease_reach(l);
    if (has_gap) l->unbroken_ms = l->sent_ms;
    l->good_ms = l->sent_ms;
}

static void lease_on_beat(void *arg, const struct err *e, const struct view *built, size_t count)
{
    struct lease *l = arg;
    l->is_asking = false;
    if (l->is_over) return;
    if (e || !l->has_heard_boot) {
        lease_next(l, l->is_hurried                      ? 0
                      : LEASE_AGAIN_MS < l->o.ttl_ms / 3 ? LEASE_AGAIN_MS
                                                         : l->o.ttl_ms / 3);
        l->is_hurried = false;
        return;
    }
    bool changed = strcmp(l->boot, l->heard_boot) != 0;
    memcpy(l->boot, l->heard_boot, sizeof l->boot);
    lease_good(l);
    lease_next(l, l->is_hurried ? 0 : l->o.ttl_ms / 3);
    l->is_hurried = false;
    for (size_t i = 0; i < count && i < l->home_count; i++)
        l->o.on_home(l->o.arg, l->homes[i], view_eq_str(built[i], l->boot));
    l->o.on_beat(l->o.arg, changed);
}

static void lease_on_timer(void *arg)
{
    struct lease *l = arg;
    struct buf info;
    if (l->is_asking) return; /* its answer comes: every call has a deadline */
    buf_init(&info, LEASE_INFO_MAX);
    l->o.info(l->o.arg, &info);
    l->home_count = l->o.homes(l->o.arg, l->homes, JOB_ID_PARTITIONS_MAX);
    l->is_asking = true;
    l->has_heard_boot = false;
    l->sent_ms = l->o.clock->mono_ms;
    struct fn_beat beat = {.incarnation = l->o.incarnation,
                           .info = buf_view(&info),
                           .ttl_ms = l->o.ttl_ms,
                           .homes = l->homes,
                           .home_count = l->home_count};
    fn_boot(l->o.fn, lease_on_boot, l); /* answered before the beat: same connection */
    fn_beat(l->o.fn, &beat, lease_on_beat, l);
    buf_fini(&info);
}

void lease_start(struct lease *l)
{
    lease_next(l, 0);
}

void lease_hurry(struct lease *l)
{
    if (l->is_asking) {
        l->is_hurried = true;
    } else if (l->timer.when_ms > l->o.clock->mono_ms || !timerq_pending(&l->timer)) {
        lease_next(l, 0);
    }
}

void lease_end(struct lease *l, fn_done_cb *done, void *arg)
{
    l->is_over = true;
    timerq_cancel(l->o.timers, &l->timer);
    fn_unbeat(l->o.fn, l->o.incarnation, done, arg);
}
