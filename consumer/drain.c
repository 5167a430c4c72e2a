/* Leaving quietly.
 *
 *   ACTIVE --drain--> QUIESCING: not ready, nothing is admitted, windows committed,
 *                         |      the group left within 2 s
 *                         | left: homes are others' now, runs live on by lease
 *                         v
 *                     DRAINING: calls in hand finish; between calls a run hands itself over
 *                         | none left; or the time is over: calls are cut (their text stays),
 *                         | then what is left is left to the log
 *                         v
 *                     DRAINED: the heartbeat is taken away, so nobody waits for it to run out */
#include "consumer/home.h"

enum { DRAIN_COMMIT_MS = 300, DRAIN_CUT_MS = 5000, DRAIN_END_MS = 1000 };

static void drain_over(void *arg)
{
    struct worker *w = arg;
    timerq_cancel(w->ports.timers, &w->drain_timer);
    w->state = WORKER_DRAINED;
}

static void drain_on_unbeat(void *arg, const struct err *e, struct view verdict)
{
    (void)e;
    (void)verdict;
    drain_over(arg);
}

static void drain_end(struct worker *w)
{
    if (w->is_over) return;
    w->is_over = true;
    log_event(w->ports.log, LOG_INFO, VIEW_NONE, "drained",
              LOG_N("left_running", w->run_list.count));
    (void)timerq_set(w->ports.timers, &w->drain_timer, w->ports.clock->mono_ms + DRAIN_END_MS,
                     drain_over, w);
    lease_end(w->lease, drain_on_unbeat, w);
}

static void drain_on_told(void *arg)
{
    struct worker *w = arg;
    w->has_told = true;
    drain_check(w);
}

/* What was used is told before the name it is told under goes; not for ever. */
void drain_check(struct worker *w)
{
    if (w->state != WORKER_DRAINING || w->run_list.count > 0 || w->is_over) return;
    if (w->has_told || usage_is_empty(w->usage)) {
        timerq_cancel(w->ports.timers, &w->leave_timer);
        drain_end(w);
        return;
    }
    usage_flush(w->usage);
    if (!timerq_pending(&w->leave_timer)) /* it was for leaving the group: that is over */
        (void)timerq_set(w->ports.timers, &w->leave_timer, w->ports.clock->mono_ms + DRAIN_END_MS,
                         drain_on_told, w);
}

static void drain_on_late(void *arg)
{
    drain_end(arg);
}

static void drain_on_timeout(void *arg)
{
    struct worker *w = arg;
    log_event(w->ports.log, LOG_WARN, VIEW_NONE, "drain_timeout",
              LOG_N("running", w->run_list.count));
    (void)timerq_set(w->ports.timers, &w->drain_timer, w->ports.clock->mono_ms + DRAIN_CUT_MS,
                     drain_on_late, w);
    for (struct list_link *k = list_first(&w->run_list), *next; k; k = next) {
        next = list_next(&w->run_list, k);
        jobrun_cut(LIST_ITEM(k, struct jobrun, link));
    }
}

static void drain_on_left(void *arg)
{
    struct worker *w = arg;
    struct list_link *k;
    w->has_left = true;
    while ((k = list_first(&w->home_list)) != NULL) home_lose(LIST_ITEM(k, struct home, link));
    if (w->state == WORKER_QUIESCING) w->state = WORKER_DRAINING;
    log_event(w->ports.log, LOG_INFO, VIEW_NONE, "group_left", LOG_N("running", w->run_list.count));
    drain_check(w);
}

static void drain_leave(void *arg)
{
    struct worker *w = arg;
    if (w->is_leaving) return;
    w->is_leaving = true;
    timerq_cancel(w->ports.timers, &w->leave_timer);
    w->ports.intake.leave(w->ports.intake.self, drain_on_left, w);
}

void drain_committed(struct worker *w)
{
    if (w->state != WORKER_QUIESCING || w->is_leaving) return;
    for (struct list_link *k = list_first(&w->home_list); k; k = list_next(&w->home_list, k))
        if (LIST_ITEM(k, struct home, link)->commits_out) return;
    drain_leave(w);
}

void worker_drain(struct worker *w)
{
    const struct clock *clock = w->ports.clock;
    if (w->state != WORKER_ACTIVE) return;
    w->state = WORKER_QUIESCING;
    log_event(w->ports.log, LOG_INFO, VIEW_NONE, "draining", LOG_N("running", w->run_list.count));
    (void)timerq_set(w->ports.timers, &w->drain_timer,
                     clock->mono_ms + w->ports.config->consumer.drain_timeout_ms, drain_on_timeout,
                     w);
    (void)timerq_set(w->ports.timers, &w->leave_timer, clock->mono_ms + DRAIN_COMMIT_MS,
                     drain_leave, w);
    for (struct list_link *k = list_first(&w->home_list); k; k = list_next(&w->home_list, k))
        home_commit(LIST_ITEM(k, struct home, link));
    for (struct list_link *k = list_first(&w->run_list), *next; k; k = next) {
        next = list_next(&w->run_list, k);
        jobrun_drain(LIST_ITEM(k, struct jobrun, link));
    }
    lease_hurry(w->lease); /* the registry says so at once */
    drain_committed(w);
}

void worker_undrain(struct worker *w)
{
    if (w->state == WORKER_ACTIVE || w->is_over || (w->is_leaving && !w->has_left)) return;
    timerq_cancel(w->ports.timers, &w->drain_timer);
    timerq_cancel(w->ports.timers, &w->leave_timer);
    w->state = WORKER_ACTIVE;
    w->is_leaving = w->has_left = w->has_told = false;
    for (struct list_link *k = list_first(&w->run_list), *next; k; k = next) {
        next = list_next(&w->run_list, k);
        jobrun_undrain(LIST_ITEM(k, struct jobrun, link));
    }
    lease_hurry(w->lease);
}

bool worker_is_drained(const struct worker *w)
{
    return w->state == WORKER_DRAINED;
}
