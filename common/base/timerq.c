/* Binary heap of embedded timers, ordered by (when, order of setting).
 *
 * What is hard: callbacks set, move, cancel and free timers, their own too, while the queue is
 * firing; and a callback that always sets itself for "now" must not hold the loop. A timer
 * leaves the heap before its callback runs. A time at or before the running `now` is taken as
 * `now`: with its new order number it then stands behind everything that was due when the run
 * began, so the run stops at the first timer younger than itself. */
#include "common/base/timerq.h"

#include "common/base/view.h"
#include <assert.h>

enum { TIMERQ_FIRST = 64 };

struct timerq {
    struct timer **heap; /* heap[0] is the earliest; slot = index + 1 */
    size_t count, cap, max;
    uint64_t order;
    bool is_running;
    int64_t running_ms;
};

struct timerq *timerq_new(size_t max_timers)
{
    struct timerq *q = calloc(1, sizeof *q);
    if (q) q->max = max_timers;
    return q;
}

void timerq_free(struct timerq *q)
{
    if (!q) return;
    for (size_t i = 0; i < q->count; i++) q->heap[i]->slot = 0;
    free(q->heap);
    free(q);
}

static bool timerq_before(const struct timer *a, const struct timer *b)
{
    return a->when_ms != b->when_ms ? a->when_ms < b->when_ms : a->order < b->order;
}

static void timerq_place(struct timerq *q, size_t at, struct timer *t)
{
    q->heap[at] = t;
    t->slot = at + 1;
}

static void timerq_up(struct timerq *q, size_t at, struct timer *t)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!timerq_before(t, q->heap[parent])) break;
        timerq_place(q, at, q->heap[parent]);
        at = parent;
    }
    timerq_place(q, at, t);
}

static void timerq_down(struct timerq *q, size_t at, struct timer *t)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= q->count) break;
        if (child + 1 < q->count && timerq_before(q->heap[child + 1], q->heap[child])) child++;
        if (!timerq_before(q->heap[child], t)) break;
        timerq_place(q, at, q->heap[child]);
        at = child;
    }
    timerq_place(q, at, t);
}

static void timerq_sift(struct timerq *q, size_t at, struct timer *t)
{
    if (at > 0 && timerq_before(t, q->heap[(at - 1) / 2]))
        timerq_up(q, at, t);
    else
        timerq_down(q, at, t);
}

static bool timerq_make_room(struct timerq *q)
{
    if (q->count >= q->max) return false;
    if (q->count < q->cap) return true;
    size_t cap = q->cap ? q->cap * 2 : TIMERQ_FIRST;
    if (cap > q->max) cap = q->max;
    struct timer **heap = realloc(q->heap, cap * sizeof(struct timer *));
    if (!heap) return false;
    q->heap = heap;
    q->cap = cap;
    return true;
}

bool timerq_set(struct timerq *q, struct timer *t, int64_t when_ms, timer_fn *fire, void *arg)
{
    assert(fire);
    assert(t->slot <= q->count);
    assert(t->slot == 0 || q->heap[t->slot - 1] == t);
    if (!t->slot && !timerq_make_room(q)) return false;
    if (q->is_running && when_ms < q->running_ms) when_ms = q->running_ms;
    t->when_ms = when_ms;
    t->order = q->order++;
    t->fire = fire;
    t->arg = arg;
    if (t->slot)
        timerq_sift(q, t->slot - 1, t);
    else
        timerq_up(q, q->count++, t);
    return true;
}

void timerq_cancel(struct timerq *q, struct timer *t)
{
    if (!t->slot) return;
    assert(t->slot <= q->count && q->heap[t->slot - 1] == t);
    size_t at = t->slot - 1;
    struct timer *last = q->heap[--q->count];
    t->slot = 0;
    if (last != t) timerq_sift(q, at, last);
}

bool timerq_pending(const struct timer *t)
{
    return t->slot != 0;
}

int64_t timerq_next_ms(const struct timerq *q)
{
    return q->count ? q->heap[0]->when_ms : INT64_MAX;
}

size_t timerq_run(struct timerq *q, int64_t now_ms, size_t max)
{
    assert(!q->is_running);
    uint64_t begin = q->order;
    size_t fired = 0;
    q->is_running = true;
    q->running_ms = now_ms;
    while (fired < max && q->count && q->heap[0]->when_ms <= now_ms && q->heap[0]->order < begin) {
        struct timer *t = q->heap[0];
        timer_fn *fire = t->fire;
        void *arg = t->arg;
        timerq_cancel(q, t);
        fired++;
        fire(arg);
    }
    q->is_running = false;
    return fired;
}
