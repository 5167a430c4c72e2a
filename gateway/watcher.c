/* One client's place in the stream of a job: the bytes it has still to be sent, in order
 *
 *      lead (retry line, heartbeat) -> pages of history -> live frames -> farewell
 *
 * and what becomes of it when it is slow. Nothing is copied for a live watcher: it points at the
 * first frame it has not taken whole. One that falls behind by more than watcher_bytes_max gives up
 * its place (the half-sent frame goes with it) and reads history again at its own pace; if it then
 * takes nothing for TAIL_CUT_MS it is cut: its client resumes by id.
 *
 *      WAITING --subscribed--> PAGING <--behind / joined--> LIVE
 *                                 '-------- terminal -------'--> ENDED */
#include "gateway/tail_priv.h"

#include <assert.h>

static const char watcher_sse_beat[] = ": still here\n\n";
static const char watcher_ndjson_beat[] = " "; /* white space before the next line's JSON */

static int64_t watcher_now(const struct watcher *w)
{
    return w->tail->tails->o.clock->mono_ms;
}

/* --- taking --- */

static size_t watcher_take_text(const char **text, char *dst, size_t size)
{
    size_t len = *text ? strlen(*text) : 0;
    if (len > size) len = size;
    if (len > 0) memcpy(dst, *text, len);
    if (*text && *(*text += len) == '\0') *text = NULL;
    return len;
}

static size_t watcher_take_pages(struct watcher *w, char *dst, size_t size)
{
    size_t n = 0;
    while (w->pager && n < size) {
        struct view bytes = pager_bytes(w);
        if (bytes.len == 0) break;
        if (bytes.len > size - n) bytes.len = size - n;
        memcpy(dst + n, bytes.ptr, bytes.len);
        n += bytes.len;
        pager_took(w, bytes.len);
    }
    return n;
}

static void watcher_step(struct watcher *w)
{
    struct frame *f = w->next;
    w->cursor = f->id;
    w->offset = 0;
    f->readers--;
    w->next = f->next;
    if (w->next) w->next->readers++;
    w->tail->tails->counts.events_sent++;
    if (event_type_is_terminal(f->type)) watcher_end(w, f->type);
}

static size_t watcher_take_frames(struct watcher *w, char *dst, size_t size)
{
    size_t n = 0;
    struct tail *l = w->tail;
    if (!w->next || (w->pager && pager_bytes(w).len > 0)) return 0;
    while (w->next && n < size) {
        struct view form = w->next->form[w->format];
        size_t len = form.len - w->offset;
        if (len > size - n) len = size - n;
        memcpy(dst + n, form.ptr + w->offset, len);
        n += len;
        w->offset += (uint32_t)len;
        if (w->offset == form.len) watcher_step(w);
    }
    frames_trim(l);
    return n;
}

ssize_t watcher_pull(struct watcher *w, char *dst, size_t size)
{
    assert(size > 0 && w->format != WATCH_END);
    size_t n = watcher_take_text(&w->lead, dst, size);
    if (n < size) n += watcher_take_pages(w, dst + n, size - n);
    if (n < size) n += watcher_take_frames(w, dst + n, size - n);
    if (n < size && w->state == WATCHER_ENDED)
        n += watcher_take_text(&w->farewell, dst + n, size - n);
    if (n > 0) {
        w->mark = w->tail->bytes_total;
        w->sent_ms = watcher_now(w);
        return (ssize_t)n;
    }
    if (w->state == WATCHER_ENDED) return WATCH_OVER;
    w->is_parked = true;
    return 0;
}

bool watcher_is_idle(const struct watcher *w)
{
    return !w->lead && !w->next && !(w->pager && pager_bytes(w).len > 0);
}

struct event_id watcher_cursor(const struct watcher *w)
{
    return w->cursor;
}

/* --- being told --- */

void watcher_wake(struct watcher *w)
{
    if (!w->is_parked) return;
    w->is_parked = false;
    w->sent_ms = watcher_now(w);
    w->sink->wake(w->arg);
}

void watcher_cut(struct watcher *w)
{
    w->tail->tails->counts.cuts++;
    w->sink->cut(w->arg);
}

void watcher_end(struct watcher *w, enum event_type type)
{
    if (w->state == WATCHER_LIVE) tail_leave(w->tail, w);
    w->state = WATCHER_ENDED;
    if (w->pager) pager_stop(w);
    if (w->format == WATCH_END) w->sink->ended(w->arg, type);
}

void watcher_demote(struct watcher *w, bool probes)
{
    struct view rest = VIEW_NONE;
    assert(w->state == WATCHER_LIVE);
    struct frame *f = w->next;
    bool is_over = false, is_kept = w->pager || pager_open(w);
    if (f && w->offset > 0) {
        rest = view_make(f->form[w->format].ptr + w->offset, f->form[w->format].len - w->offset);
        w->cursor = f->id;
        is_over = event_type_is_terminal(f->type);
        is_kept = is_kept && pager_put(w, rest);
    }
    if (is_over) {
        watcher_end(w, f->type);
    } else {
        tail_leave(w->tail, w);
        w->state = WATCHER_PAGING;
    }
    if (!is_kept)
        watcher_cut(w);
    else if (!is_over)
        pager_restart(w, probes);
}

/* --- time --- */

static void watcher_beat(void *arg);

static void watcher_beat_at(struct watcher *w, int64_t when_ms)
{
    (void)timerq_set(w->tail->tails->o.timers, &w->beat, when_ms, watcher_beat, w);
}

void watcher_hurry(struct watcher *w)
{
    w->is_late = true;
    watcher_beat_at(w, watcher_now(w) + TAIL_CUT_MS);
}

static void watcher_beat(void *arg)
{
    struct watcher *w = arg;
    struct tail *l = w->tail;
    int64_t now = watcher_now(w), quiet = now - w->sent_ms, beat = l->tails->o.heartbeat_ms;
    bool is_idle = watcher_is_idle(w);
    if (!is_idle && w->is_late && quiet >= TAIL_CUT_MS) {
        watcher_cut(w);
        return;
    }
    if (!is_idle && quiet >= beat * WATCH_BEATS_UNREAD_MAX) {
        watcher_cut(w);
        return;
    }
    watcher_beat_at(w, w->is_late     ? now + TAIL_CUT_MS
                       : quiet < beat ? w->sent_ms + beat
                                      : now + beat);
    if (!is_idle || quiet < beat || w->state == WATCHER_ENDED) return;
    w->lead = w->format == WATCH_SSE ? watcher_sse_beat : watcher_ndjson_beat;
    watcher_wake(w);
    if (w->state == WATCHER_LIVE && now - l->read_ms >= beat) tail_mark_dirty(l, true);
}

/* --- beginning and end --- */

bool watcher_start(struct watcher *w)
{
    assert(w->state == WATCHER_WAITING);
    bool has_cursor = w->cursor.epoch || w->cursor.seq;
    if (!pager_open(w)) return false;
    w->state = WATCHER_PAGING;
    pager_restart(w, has_cursor);
    return true;
}

struct watcher *watcher_new(struct tail *l, const struct watch_ask *ask)
{
    struct watcher *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->tail = l;
    w->sink = ask->sink;
    w->arg = ask->arg;
    w->format = (unsigned char)ask->format;
    w->cursor = ask->cursor;
    w->state = WATCHER_WAITING;
    w->mark = l->bytes_total;
    w->sent_ms = l->tails->o.clock->mono_ms;
    if (w->format == WATCH_SSE) w->lead = l->tails->retry_text;
    if (w->format != WATCH_END) watcher_beat_at(w, w->sent_ms + l->tails->o.heartbeat_ms);
    list_push(&l->watchers, &w->link);
    l->tails->counts.watchers++;
    return w;
}

void watcher_close(struct watcher *w)
{
    struct tail *l = w->tail;
    timerq_cancel(l->tails->o.timers, &w->beat);
    if (w->state == WATCHER_LIVE) tail_leave(l, w);
    if (w->pager) pager_close(w);
    list_remove(&l->watchers, &w->link);
    l->tails->counts.watchers--;
    free(w);
    tail_release(l);
}

void watcher_wind_up(struct watcher *w)
{
    if (w->state == WATCHER_ENDED) return;
    if (w->format == WATCH_END) {
        w->sink->cut(w->arg);
        return;
    }
    if (w->next && w->offset > 0) {
        struct view form = w->next->form[w->format];
        bool is_kept = (w->pager || pager_open(w)) &&
                       pager_put(w, view_make(form.ptr + w->offset, form.len - w->offset));
        if (!is_kept) {
            w->sink->cut(w->arg);
            return;
        }
    }
    if (w->state == WATCHER_LIVE) tail_leave(w->tail, w);
    w->state = WATCHER_ENDED;
    if (w->pager) pager_stop(w);
    if (w->format == WATCH_SSE) w->farewell = w->tail->tails->retry_text;
    watcher_wake(w);
}
