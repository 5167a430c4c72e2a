/* One client's way through history: pages of XRANGE, each encoded when it comes, asked for when the
 * client has drained the one before the last: two pages at most are held, one being sent and one
 * ahead.
 *
 * What is hard:
 * - Constant memory over entries of any size. XRANGE counts entries, not bytes, so the count
 * follows the mean size seen, growing at most fourfold a page, and a page stops being encoded at
 * its limit, the rest is read again. The limit shrinks with the number of watchers that read
 * history.
 * - A hole may never pass silently. Every entry is held against the cursor; where one is missing
 * the client is told `reset` and gets the job so far as a snapshot: the stream's own when that is
 * what stands there, else one folded here.
 * - A cursor that the stream never reached (a wiped or restarted Redis, a client's fantasy) is
 * found by asking for the newest entry first. So is a stream whose time ran out between two pages:
 * nothing behind the cursor may mean that all was read, or that all is gone.
 *
 *   TOP --cursor is known--> PAGES --read to the end--> STOPPED (joins the live watchers)
 *    '---it is not--> FOLDING <--hole--'
 *   any --nothing there, or Redis away--> HOLDING --doorbell, timer--> TOP */
#include "gateway/tail_priv.h"

#include <assert.h>

enum pager_state { PAGER_TOP, PAGER_PAGES, PAGER_FOLDING, PAGER_HOLDING, PAGER_STOPPED };

struct pager {
    struct tails *tails;
    struct watcher *watcher; /* NULL: closed while a read is under way */
    enum pager_state state;
    bool is_asking;
    bool is_at_top; /* the newest entry was the cursor's, and nothing came since */
    struct fold *fold;
    struct buf page[2];
    unsigned at;   /* the page being sent */
    size_t offset; /* into it */
    size_t entries, asked;
};

enum pager_verdict { PAGER_TOOK, PAGER_FULL, PAGER_HOLE, PAGER_END };

static void pager_page(void *arg, const struct reply *r, const struct err *e);
static void pager_fold(struct pager *p);

/* --- pages --- */

/* The page to fill: NULL when both hold something. */
static struct buf *pager_room(struct pager *p)
{
    if (p->page[p->at].len == 0) return &p->page[p->at];
    return p->page[!p->at].len == 0 ? &p->page[!p->at] : NULL;
}

static size_t pager_target(const struct pager *p)
{
    size_t share = p->tails->o.history_bytes_max / (2 * p->tails->pager_count);
    if (share < PAGE_BYTES_MIN) return PAGE_BYTES_MIN;
    return share > PAGE_BYTES_MAX ? PAGE_BYTES_MAX : share;
}

static void pager_adapt(struct pager *p, size_t bytes, size_t entries)
{
    size_t mean = entries ? bytes / entries + 1 : 1, fitting = pager_target(p) / mean;
    if (fitting > p->entries * 4) fitting = p->entries * 4;
    if (fitting > PAGE_ENTRIES_MAX) fitting = PAGE_ENTRIES_MAX;
    p->entries = fitting < PAGE_ENTRIES_MIN ? PAGE_ENTRIES_MIN : fitting;
}

static void pager_page_init(struct buf *b)
{
    buf_init(b, PAGE_BYTES_HARD);
}

static void pager_page_clear(struct buf *b)
{
    if (b->cap <= 2 * PAGE_BYTES_MAX) {
        buf_reset(b);
        return;
    }
    buf_fini(b); /* an outsize entry: do not keep its room */
    pager_page_init(b);
}

struct view pager_bytes(const struct watcher *w)
{
    const struct pager *p = w->pager;
    const struct buf *b = &p->page[p->at];
    return b->len ? view_make(b->data + p->offset, b->len - p->offset) : VIEW_NONE;
}

/* The page that ends what is held. */
static struct buf *pager_behind(struct pager *p)
{
    return p->page[!p->at].len ? &p->page[!p->at] : &p->page[p->at];
}

bool pager_put(struct watcher *w, struct view bytes)
{
    return buf_put_view(pager_behind(w->pager), bytes);
}

/* --- asking --- */

static void pager_ask(struct pager *p)
{
    struct watcher *w = p->watcher;
    if (p->is_asking || (p->state != PAGER_TOP && p->state != PAGER_PAGES) || !pager_room(p))
        return;
    p->is_asking = true;
    p->asked = p->entries;
    if (p->state == PAGER_TOP)
        entries_ask_newest(p->tails->o.reads, &w->tail->job, pager_page, p);
    else
        entries_ask(p->tails->o.reads, &w->tail->job, w->cursor, p->asked, pager_page, p);
}

void pager_took(struct watcher *w, size_t len)
{
    struct pager *p = w->pager;
    p->offset += len;
    if (p->offset < p->page[p->at].len) return;
    pager_page_clear(&p->page[p->at]);
    p->offset = 0;
    if (p->page[!p->at].len > 0) p->at = !p->at;
    if (p->state == PAGER_STOPPED && p->page[p->at].len == 0)
        pager_close(w);
    else
        pager_ask(p);
}

/* Nothing to read for now. */
static void pager_hold(struct pager *p, int64_t look_ms)
{
    struct tail *l = p->watcher->tail;
    p->state = PAGER_HOLDING;
    l->holding_count++;
    tail_retry_later(l, look_ms);
}

void pager_resume(struct watcher *w)
{
    if (!w->pager || w->pager->state != PAGER_HOLDING) return;
    w->tail->holding_count--;
    w->pager->state = PAGER_STOPPED;
    pager_restart(w, w->cursor.epoch || w->cursor.seq);
}

void pager_restart(struct watcher *w, bool probes)
{
    struct pager *p = w->pager;
    assert(p->state == PAGER_STOPPED && !p->fold);
    p->state = probes ? PAGER_TOP : PAGER_PAGES;
    p->is_at_top = false;
    pager_ask(p);
}

/* --- entries --- */

static bool pager_put_reset(struct pager *p, struct buf *out)
{
    struct watcher *w = p->watcher;
    struct buf data;
    struct jw jw;
    buf_init(&data, 512);
    jw_init(&jw, &data);
    jw_object(&jw);
    jw_kcstr(&jw, "type", event_type_name(EVENT_RESET));
    jw_kcstr(&jw, "job_id", w->tail->job.text);
    jw_ktime(&jw, "ts", p->tails->o.clock->wall_ms);
    jw_end_object(&jw);
    bool is_put = !data.failed && frame_put_event(out, (enum watch_format)w->format, NULL,
                                                  EVENT_RESET, buf_view(&data));
    buf_fini(&data);
    p->tails->counts.resets++;
    return is_put;
}

static enum pager_verdict pager_take(struct pager *p, struct buf *out, const struct entry *e)
{
    struct watcher *w = p->watcher;
    size_t was = out->len;
    enum event_order order = event_order(w->cursor, e->id);
    bool has_bytes = w->format != WATCH_END, is_snapshot = e->type == EVENT_JOB_SNAPSHOT;
    if (order == EVENT_DUPLICATE) return PAGER_TOOK;
    if (order == EVENT_GAP && !is_snapshot && has_bytes) return PAGER_HOLE;
    bool is_put = !has_bytes || ((order == EVENT_NEXT || pager_put_reset(p, out)) &&
                                 frame_put(out, (enum watch_format)w->format, e));
    if (!is_put) {
        out->len = was;
        return PAGER_FULL;
    }
    w->cursor = e->id;
    p->tails->counts.events_sent += has_bytes;
    return event_type_is_terminal(e->type) ? PAGER_END : PAGER_TOOK;
}

static void pager_end(struct pager *p, enum event_type type)
{
    struct watcher *w = p->watcher;
    bool is_silent = w->format == WATCH_END;
    if (!is_silent) watcher_wake(w); /* WATCH_END: w may be gone after it was told */
    watcher_end(w, type);
}

/* Read to the end of what is there. */
static void pager_arrived(struct pager *p, size_t count)
{
    struct watcher *w = p->watcher;
    if (count == 0 && w->cursor.epoch == 0 && w->cursor.seq == 0) {
        pager_fold(p); /* no stream: ended long ago, or not there yet */
    } else if (count == 0 && !p->is_at_top) {
        p->state = PAGER_TOP;
        pager_ask(p);
    } else if (tail_join(w->tail, w)) {
        pager_stop(w);
    } else if (count == 0) {
        pager_hold(p, TAIL_LOOK_MS);
    } else {
        pager_ask(p);
    }
}

static void pager_take_page(struct pager *p, const struct reply *r)
{
    struct watcher *w = p->watcher;
    struct buf *out = pager_room(p);
    struct entry e;
    size_t i = 0, limit = 2 * pager_target(p);
    enum pager_verdict verdict = PAGER_TOOK;
    assert(out);
    for (; i < r->count && verdict == PAGER_TOOK; i++) {
        if (out->len >= limit) break;
        if (entry_read(r, i, &e)) verdict = pager_take(p, out, &e);
    }
    if (verdict == PAGER_FULL &&
        out->len == 0) { /* no memory, or an event that can never be sent */
        watcher_cut(w);
        return;
    }
    out->failed = false;
    if (i > 0) p->is_at_top = false;
    pager_adapt(p, out->len, i);
    if (verdict == PAGER_END) {
        pager_end(p, e.type);
        return;
    }
    if (out->len > 0) watcher_wake(w);
    if (verdict == PAGER_HOLE)
        pager_fold(p);
    else if (verdict == PAGER_TOOK && i == r->count && r->count < p->asked)
        pager_arrived(p, r->count);
    else
        pager_ask(p);
}

/* Where does the stream stand against the client's cursor? */
static void pager_take_top(struct pager *p, const struct reply *r)
{
    struct watcher *w = p->watcher;
    struct entry e;
    p->state = PAGER_PAGES;
    if (!entry_read(r, 0, &e)) {
        pager_fold(p);
        return;
    }
    int order = event_id_compare(w->cursor, e.id);
    p->is_at_top = order == 0;
    if (order == 0 && event_type_is_terminal(e.type))
        pager_end(p, e.type);
    else if (order == 0 && tail_join(w->tail, w))
        pager_stop(w);
    else if (order == 0 || (order < 0 && w->cursor.seq < e.id.seq))
        pager_ask(p);
    else
        pager_fold(p);
}

static void pager_page(void *arg, const struct reply *r, const struct err *e)
{
    struct pager *p = arg;
    p->is_asking = false;
    if (!p->watcher) {
        free(p);
        return;
    }
    if (p->state != PAGER_TOP && p->state != PAGER_PAGES) return; /* stopped meanwhile */
    if (!entries_are(r, e))
        pager_hold(p, TAIL_RETRY_MS);
    else if (p->state == PAGER_TOP)
        pager_take_top(p, r);
    else
        pager_take_page(p, r);
}

/* --- a snapshot of our own --- */

static bool pager_put_folded(struct pager *p, struct buf *out, const struct fold_result *f,
                             struct event_id at)
{
    struct buf data;
    enum watch_format format = (enum watch_format)p->watcher->format;
    buf_init(&data, PAGE_BYTES_HARD);
    bool is_put =
        pager_put_reset(p, out) &&
        jobview_put_snapshot(f->view, &data, at.seq, p->tails->o.clock->wall_ms) &&
        frame_put_event(out, format, &at, EVENT_JOB_SNAPSHOT, buf_view(&data)) &&
        (!f->has_end || frame_put_event(out, format, &f->end_id, f->end_type, f->end_data));
    buf_fini(&data);
    return is_put;
}

static void pager_folded(void *arg, const struct err *e, const struct fold_result *f)
{
    struct pager *p = arg;
    struct watcher *w = p->watcher;
    p->fold = NULL;
    if (e || !f->found || (!f->has_stream && !f->has_end)) {
        pager_hold(p, e ? TAIL_RETRY_MS : TAIL_LOOK_MS);
        return;
    }
    struct event_id at = f->last;
    if (at.seq == 0) at = (struct event_id){f->end_id.epoch, f->end_id.seq ? f->end_id.seq - 1 : 0};
    if (w->format != WATCH_END && !pager_put_folded(p, pager_behind(p), f, at)) {
        watcher_cut(w);
        return;
    }
    w->cursor = f->has_end ? f->end_id : at;
    p->state = PAGER_PAGES;
    if (f->has_end) {
        pager_end(p, f->end_type);
        return;
    }
    watcher_wake(w);
    pager_ask(p);
}

static void pager_fold(struct pager *p)
{
    const struct fold_ask ask = {
        .job = p->watcher->tail->job, .tenant = VIEW_NONE, .without_end = true};
    p->state = PAGER_FOLDING;
    p->fold = fold_start(p->tails->o.folds, &ask, pager_folded, p);
    if (!p->fold) pager_hold(p, TAIL_RETRY_MS);
}

/* --- beginning and end --- */

bool pager_open(struct watcher *w)
{
    struct pager *p = calloc(1, sizeof *p);
    if (!p) return false;
    p->tails = w->tail->tails;
    p->watcher = w;
    p->state = PAGER_STOPPED;
    p->entries = PAGE_ENTRIES_FIRST;
    pager_page_init(&p->page[0]);
    pager_page_init(&p->page[1]);
    p->tails->pager_count++;
    w->pager = p;
    return true;
}

void pager_stop(struct watcher *w)
{
    struct pager *p = w->pager;
    if (p->state == PAGER_HOLDING) w->tail->holding_count--;
    if (p->fold) fold_forget(p->fold);
    p->fold = NULL;
    p->state = PAGER_STOPPED;
    if (p->page[p->at].len == 0 && !p->is_asking) pager_close(w);
}

void pager_close(struct watcher *w)
{
    struct pager *p = w->pager;
    w->pager = NULL;
    if (p->state == PAGER_HOLDING) w->tail->holding_count--;
    if (p->fold) fold_forget(p->fold);
    p->tails->pager_count--;
    p->watcher = NULL;
    buf_fini(&p->page[0]);
    buf_fini(&p->page[1]);
    if (!p->is_asking) free(p);
}
