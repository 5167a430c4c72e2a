/* What is hard: the sequence must have no holes and no repeats whatever Redis does, while the job
 * runs on and memory stays bounded. Chosen: the numbers are given here and never taken back; events
 * wait in one buffer until the append that carried them was answered, and every call may be
 * repeated. When the stream in Redis cannot be continued (lost, a hole, or more waiting than the
 * bound) the waiting events are dropped and the view of the job, into which all of them were
 * folded, is put there as a job.snapshot under the last number given: the watcher is told "reset",
 * and nothing is missing after it. */
#include "consumer/mirror.h"

#include <assert.h>

enum {
    MIRROR_HOLD_MS = 200,
    MIRROR_SNAPSHOT_MAX = 8 << 20,
    MIRROR_KEEP_BYTES = 16 << 10,
    MIRROR_BUFFER_MAX = 16 << 20
};

/* --- all of a worker ------------------------------------------------------------------------- */
static void mirror_on_again(void *arg)
{
    struct mirror_env *env = arg;
    env->kick(env->kick_arg);
}

void mirror_env_init(struct mirror_env *env)
{
    list_init(&env->dirty);
}

void mirror_env_fini(struct mirror_env *env)
{
    timerq_cancel(env->timers, &env->again);
}

static void mirror_hold(struct mirror_env *env)
{
    env->hold_until_ms = env->clock->mono_ms + MIRROR_HOLD_MS;
    (void)timerq_set(env->timers, &env->again, env->hold_until_ms, mirror_on_again, env);
}

/* --- one ------------------------------------------------------------------------------------- */
void mirror_init(struct mirror *m, struct mirror_env *env, const struct fn_job *job,
                 mirror_news_fn *news, void *arg)
{
    memset(m, 0, sizeof *m);
    m->env = env;
    m->job = *job;
    m->news = news;
    m->arg = arg;
    m->status = JOB_QUEUED;
    buf_init(&m->pending, MIRROR_BUFFER_MAX);
}

void mirror_fini(struct mirror *m)
{
    if (list_linked(&m->dirty)) list_remove(&m->env->dirty, &m->dirty);
    jobview_free(m->view);
    buf_fini(&m->pending);
    free(m->events);
}

void mirror_close(struct mirror *m)
{
    m->is_closed = true;
    if (list_linked(&m->dirty)) list_remove(&m->env->dirty, &m->dirty);
}

static void mirror_touch(struct mirror *m)
{
    if (!m->is_closed && !list_linked(&m->dirty)) list_push(&m->env->dirty, &m->dirty);
}

static void mirror_tell(struct mirror *m, enum mirror_news news)
{
    if (!m->is_closed) m->news(m->arg, news);
}

bool mirror_is_clean(const struct mirror *m)
{
    return m->calls == 0 && m->count == 0 && !m->is_broken && !m->is_status_due &&
           !m->is_compaction_due;
}

/* --- events ---------------------------------------------------------------------------------- */
static void mirror_drop_pending(struct mirror *m)
{
    m->first = m->count = m->flight = 0;
    m->from = 0;
    buf_reset(&m->pending);
}

static void mirror_break(struct mirror *m)
{
    mirror_drop_pending(m);
    m->is_broken = true;
    if (m->is_probing) m->is_probe_due = true;
    m->is_probing = false;
    mirror_touch(m);
}

/* Moves what is left to the front, but only when that is less than what went: the cost stays
 * linear. */
static void mirror_squeeze(struct mirror *m)
{
    if (m->first < m->count) return;
    buf_consume(&m->pending, m->from);
    memmove(m->events, m->events + m->first, m->count * sizeof *m->events);
    for (size_t i = 0; i < m->count; i++) m->events[i].end -= (uint32_t)m->from;
    m->first = m->from = 0;
    if (m->count == 0 && m->pending.cap > MIRROR_KEEP_BYTES) {
        buf_fini(&m->pending);
        buf_init(&m->pending, MIRROR_BUFFER_MAX);
    }
}

static void mirror_drop_sent(struct mirror *m, size_t count)
{
    if (count == 0) return;
    m->first += count;
    m->count -= count;
    m->bytes += (int64_t)(m->events[m->first - 1].end - m->from);
    m->from = m->events[m->first - 1].end;
    mirror_squeeze(m);
}

void mirror_begin(struct mirror *m, struct jobview *take_view, int64_t epoch, uint64_t seq,
                  int64_t attempt, int64_t started_ms)
{
    mirror_drop_pending(m);
    m->is_broken = false;
    m->view = take_view;
    m->epoch = epoch;
    m->seq = seq;
    m->attempt = attempt;
    m->started_ms = started_ms;
}

static bool mirror_push_event(struct mirror *m, enum event_type type)
{
    if (m->first + m->count == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 8;
        struct mirror_event *events = realloc(m->events, cap * sizeof *events);
        if (!events) return false;
        m->events = events;
        m->cap = cap;
    }
    m->events[m->first + m->count++] =
        (struct mirror_event){.end = (uint32_t)m->pending.len, .type = type};
    return true;
}

static void mirror_note_status(struct mirror *m, enum event_type type)
{
    enum job_status status = m->status;
    if (type == EVENT_JOB_STARTED || type == EVENT_JOB_RESUMED) status = JOB_RUNNING;
    if (type == EVENT_JOB_WAITING) status = JOB_WAITING;
    if (status == m->status) return;
    m->status = status;
    m->is_status_due = true;
}

static bool mirror_is_over(const struct mirror *m)
{
    bool is_away = m->env->clock->mono_ms < m->env->hold_until_ms;
    size_t bytes = m->pending.len - m->from;
    return m->count > MIRROR_PENDING_EVENTS ||
           bytes > (is_away ? MIRROR_AWAY_BYTES : MIRROR_PENDING_BYTES);
}

/* The event whose data stands at `from` in pending is complete. */
static void mirror_keep(struct mirror *m, enum event_type type, size_t from)
{
    bool is_kept = !m->pending.failed && mirror_push_event(m, type);
    if (is_kept && type != EVENT_JOB_SNAPSHOT) {
        struct view data = view_make(m->pending.data + from, m->pending.len - from);
        enum err_code code = jobview_fold(m->view, type, data, NULL);
        m->unfolded += code != ERR_OK; /* out of memory: it is missing in the view alone */
    }
    if (!is_kept || mirror_is_over(m)) {
        mirror_break(m);
    } else if (m->is_broken) {
        mirror_drop_pending(m); /* the snapshot to come covers it */
    }
    mirror_touch(m);
}

void mirror_put(struct mirror *m, const struct mirror_note *note)
{
    struct jw w;
    const struct job_id *id = &m->job.head->id;
    size_t from = m->pending.len;
    assert(m->view && !m->end);
    m->seq++;
    if (note->step) {
        event_begin_step(&w, &m->pending, note->type, id, m->seq, m->env->clock->wall_ms,
                         note->step, note->item, note->attempt);
    } else {
        event_begin(&w, &m->pending, note->type, id, m->seq, m->env->clock->wall_ms);
    }
    (void)buf_put_view(&m->pending, note->members);
    event_end(&w);
    mirror_note_status(m, note->type);
    mirror_keep(m, note->type, from);
}

void mirror_put_view(struct mirror *m)
{
    size_t from = m->pending.len;
    m->seq++;
    if (jobview_put_snapshot(m->view, &m->pending, m->seq, m->env->clock->wall_ms))
        mirror_keep(m, EVENT_JOB_SNAPSHOT, from);
    else
        mirror_break(m); /* too large for the line: goes by itself */
}

void mirror_probe(struct mirror *m)
{
    if (!m->view) return;
    m->is_status_due = m->is_probe_due = true;
    mirror_touch(m);
}

void mirror_defer(struct mirror *m, int64_t until_ms)
{
    m->defer_ms = until_ms;
}

void mirror_finish(struct mirror *m, const struct mirror_end *end)
{
    m->end = end;
    mirror_touch(m);
}

/* --- answers --------------------------------------------------------------------------------- */
/* Books one answer; false: nobody cares any more, or Redis is away and it is tried again. */
static bool mirror_answered(struct mirror *m, const struct err *e)
{
    assert(m->calls > 0);
    m->calls--;
    if (m->is_closed) return false;
    mirror_touch(m);
    if (e && m->is_probing) m->is_status_due = m->is_probe_due = true;
    if (e) m->is_probing = false;
    if (!e) return true;
    mirror_hold(m->env);
    return false;
}

/* What every kind of call may hear. True: go on. */
static bool mirror_heard(struct mirror *m, const struct fn_appended *a)
{
    switch (a->kind) {
    case FN_APPEND_OK:
        m->held_ms = m->sent_ms;
        if (m->is_probing) mirror_tell(m, MIRROR_HELD);
        m->is_probing = false;
        if (m->is_closed) return false;
        if (a->cancel) mirror_tell(m, MIRROR_CANCEL);
        return !m->is_closed;
    case FN_APPEND_FENCED:
        mirror_tell(m, MIRROR_FENCED);
        return false;
    case FN_APPEND_ENDED:
        mirror_tell(m, m->end ? MIRROR_FINISHED : MIRROR_ENDED);
        return false;
    case FN_APPEND_GONE:
        mirror_break(m);
        mirror_tell(m, MIRROR_GONE);
        return false;
    case FN_APPEND_GAP:
        mirror_break(m);
        return false;
    }
    return false;
}

static void mirror_on_append(void *arg, const struct err *e, const struct fn_appended *a)
{
    struct mirror *m = arg;
    size_t flight = m->flight;
    m->is_appending = false;
    m->flight = 0;
    if (e) m->is_status_due = true;
    if (!mirror_answered(m, e)) return;
    if (a->kind == FN_APPEND_OK) mirror_drop_sent(m, flight);
    if (a->kind == FN_APPEND_OK && a->entries >= MIRROR_ENTRIES && m->bytes >= MIRROR_STREAM_BYTES)
        m->is_compaction_due = true;
    if (mirror_heard(m, a) && mirror_is_clean(m)) mirror_tell(m, MIRROR_CLEAN);
}

static void mirror_on_restore(void *arg, const struct err *e, const struct fn_appended *a)
{
    struct mirror *m = arg;
    m->is_restoring = false;
    if (e) m->is_broken = true;
    if (!mirror_answered(m, e)) return;
    if (a->kind == FN_APPEND_OK) m->bytes = 0;
    if (m->is_probing) { /* who puts a job back is believed by a Redis that knows nothing of others
                          */
        m->is_probing = false;
        m->is_status_due = m->is_probe_due = true;
    }
    if (mirror_heard(m, a) && mirror_is_clean(m)) mirror_tell(m, MIRROR_CLEAN);
}

static void mirror_on_finish(void *arg, const struct err *e, const struct fn_appended *a)
{
    struct mirror *m = arg;
    m->is_ending = false;
    if (!mirror_answered(m, e)) return;
    if (a->kind == FN_APPEND_GAP || a->kind == FN_APPEND_GONE) {
        m->is_snapshot_due = true; /* sent again with it */
        return;
    }
    if (mirror_heard(m, a)) mirror_tell(m, MIRROR_FINISHED);
}

/* --- calls ----------------------------------------------------------------------------------- */
/* The call about to go answers the probe that was asked for before it. */
static void mirror_ask_probe(struct mirror *m)
{
    m->sent_ms = m->env->clock->mono_ms;
    m->is_probing = m->is_probe_due;
    m->is_probe_due = false;
}

static size_t mirror_events(const struct mirror *m, struct fn_event ret[FN_EVENTS_MAX])
{
    size_t count = m->count < FN_EVENTS_MAX ? m->count : FN_EVENTS_MAX, from = m->from;
    for (size_t i = 0; i < count; i++) {
        const struct mirror_event *ev = &m->events[m->first + i];
        ret[i] = (struct fn_event){.type = ev->type,
                                   .data = view_make(m->pending.data + from, ev->end - from)};
        from = ev->end;
    }
    return count;
}

static void mirror_append(struct mirror *m)
{
    struct fn_event events[FN_EVENTS_MAX];
    size_t count = mirror_events(m, events);
    struct fn_append a = {.id = m->job.head->id,
                          .epoch = m->epoch,
                          .first_seq = m->seq - m->count + 1,
                          .events = events,
                          .count = count,
                          .status = m->is_status_due ? job_status_name(m->status) : NULL,
                          .attempt = m->is_status_due ? m->attempt : 0};
    m->is_status_due = false;
    mirror_ask_probe(m);
    m->is_appending = true;
    m->flight = count;
    m->calls++;
    fn_append(m->env->fn, &a, mirror_on_append, m);
}

/* Puts the view as a snapshot: in place of what was lost, or of all that came before (is_trim,
 * under a number of its own). */
static void mirror_restore(struct mirror *m, bool is_trim)
{
    struct buf snapshot;
    buf_init(&snapshot, MIRROR_SNAPSHOT_MAX);
    m->is_broken = m->is_compaction_due = false;
    if (is_trim) m->seq++;
    if (jobview_put_snapshot(m->view, &snapshot, m->seq, m->env->clock->wall_ms)) {
        struct fn_restore r = {.job = &m->job,
                               .incarnation = m->env->incarnation,
                               .epoch = m->epoch,
                               .attempt = m->attempt,
                               .started_ms = m->started_ms,
                               .seq = m->seq,
                               .status = job_status_name(m->status),
                               .snapshot = buf_view(&snapshot),
                               .trim = is_trim};
        mirror_ask_probe(m);
        m->is_restoring = true;
        m->calls++;
        fn_restore(m->env->fn, &r, mirror_on_restore, m);
    } else {
        m->is_broken = true; /* no memory now */
        mirror_hold(m->env);
        mirror_touch(m);
    }
    buf_fini(&snapshot);
}

static void mirror_send_end(struct mirror *m)
{
    struct buf snapshot;
    struct fn_event events[FN_EVENTS_MAX];
    const struct mirror_end *end = m->end;
    buf_init(&snapshot, MIRROR_SNAPSHOT_MAX);
    if (m->is_snapshot_due)
        (void)jobview_put_snapshot(m->view, &snapshot, end->id.seq - 1, end->ended_ms);
    struct fn_finish f = {.job = &m->job,
                          .lease_epoch = m->epoch,
                          .id = end->id,
                          .status = end->status,
                          .data = end->data,
                          .view = end->view,
                          .snapshot = m->is_snapshot_due && !snapshot.failed ? buf_view(&snapshot)
                                                                             : VIEW_NONE,
                          .events = events,
                          .event_count = mirror_events(m, events),
                          .started_ms = m->started_ms,
                          .ended_ms = end->ended_ms,
                          .attempt = m->attempt,
                          .results_ms = m->env->results_ms,
                          .events_ms = m->env->events_ms};
    m->is_ending = true;
    m->calls++;
    fn_finish(m->env->fn, &f, mirror_on_finish, m);
    buf_fini(&snapshot);
}

static void mirror_send(struct mirror *m)
{
    if (m->is_appending || m->is_restoring || m->is_ending) return; /* its answer comes back here */
    if (m->end && (m->is_broken || m->is_snapshot_due)) {
        mirror_drop_pending(m); /* the snapshot under the end covers them */
        m->is_broken = false;
        m->is_snapshot_due = true;
        mirror_send_end(m);
        return;
    }
    if (m->is_broken || (m->is_compaction_due && m->count == 0)) {
        mirror_restore(m, !m->is_broken);
        return;
    }
    if (m->end && m->count <= FN_EVENTS_MAX) {
        mirror_send_end(m); /* takes what waits with it */
    } else if (m->count || m->is_status_due) {
        mirror_append(m);
    }
}

/* Waits for its end to come along: stays in the line. */
static bool mirror_is_deferred(struct mirror *m)
{
    if (m->end || m->defer_ms <= m->env->clock->mono_ms) return false;
    list_push(&m->env->dirty, &m->dirty);
    if (!timerq_pending(&m->env->again))
        (void)timerq_set(m->env->timers, &m->env->again, m->defer_ms, mirror_on_again, m->env);
    return true;
}

void mirror_flush(struct mirror_env *env)
{
    if (env->clock->mono_ms < env->hold_until_ms) return;
    for (size_t left = env->dirty.count; left && env->dirty.count; left--) {
        struct mirror *m = LIST_ITEM(list_first(&env->dirty), struct mirror, dirty);
        list_remove(&env->dirty, &m->dirty);
        if (!mirror_is_deferred(m)) mirror_send(m);
    }
}
