#ifndef GATEWAY_TAIL_PRIV_H
#define GATEWAY_TAIL_PRIV_H
#include "common/base/list.h"
#include "common/base/map.h"
#include "gateway/entries.h"
#include "gateway/tail.h"

/* Shared by tail.c (jobs: subscription, doorbells, live reading), frame.c (events encoded once),
 * watcher.c (one client: what it has still to send) and pager.c (one client's way through history).
 */

enum {
    TAIL_LIVE_PAGE = 64, /* entries of one live read */
    TAIL_RETRY_MS = 250, /* after a failed read */
    TAIL_CUT_MS = 2000,  /* a watcher that is behind is cut when it takes nothing for this long */
    TAIL_LOOK_MS = 5000, /* a watcher that holds for a job that is not there yet looks again */
    WATCH_BEATS_UNREAD_MAX = 4,
    PAGE_BYTES_MIN = 8 << 10,
    PAGE_BYTES_MAX = 256 << 10,
    PAGE_BYTES_HARD = 16 << 20, /* one event larger than this cannot be sent */
    PAGE_ENTRIES_FIRST = 64,
    PAGE_ENTRIES_MIN = 16,
    PAGE_ENTRIES_MAX = 512
};

struct frame { /* one event, encoded for the formats that were wanted */
    struct frame *next;
    struct event_id id;
    enum event_type type;
    uint32_t readers; /* watchers that stand here */
    uint64_t start;   /* bytes of the tail's frames before it */
    uint32_t cost;    /* its own bytes, of the larger form */
    struct view form[2];
    char bytes[];
};

enum tail_state { TAIL_SUBSCRIBING, TAIL_AWAY, TAIL_READY };

struct tail {
    struct tails *tails;
    struct job_id job;
    enum tail_state state;
    unsigned pending; /* callbacks on their way that point here */
    bool is_reading, must_read;
    struct event_id newest, top; /* by doorbells; of the live frames */
    struct event_id asked;       /* newest when the read under way was sent */
    int64_t read_ms;
    struct list watchers;
    uint32_t live_count, format_count[2]; /* live watchers, and by format */
    uint32_t holding_count;
    struct frame *head, *last;
    uint64_t bytes_total;
    struct list_link dirty;
    struct timer retry;
};

enum watcher_state { WATCHER_WAITING, WATCHER_PAGING, WATCHER_LIVE, WATCHER_ENDED };

struct pager;
struct watcher {
    struct list_link link;
    struct tail *tail;
    const struct watch_sink *sink;
    void *arg;
    unsigned char state, format;
    bool is_parked, is_late;
    uint32_t offset;        /* into next */
    struct event_id cursor; /* last event put into the pages or taken whole from the frames */
    struct frame *next;     /* live: the first frame not sent whole; NULL = none */
    struct pager *pager;    /* NULL: no history held */
    const char *lead;       /* static text sent first, or NULL */
    const char *farewell;   /* static text sent last, or NULL */
    uint64_t mark;          /* tail's bytes_total when it last took something */
    int64_t sent_ms;
    struct timer beat;
};

struct tails {
    struct tails_options o;
    struct map *by_channel;
    struct list dirty;
    struct timer flush;
    struct buf scratch;
    uint64_t frame_bytes; /* of all tails */
    size_t pager_count;
    bool is_winding_up;
    char retry_text[48];
    struct tails_counts counts;
};

/* frame.c */
struct frame *frame_new(struct tails *t, const struct entry *e,
                        const bool wanted[2]); /* NULL: no memory */
void frames_append(struct tail *l, struct frame *take);
void frames_trim(struct tail *l); /* frees what nobody stands at or before */
bool frame_put(struct buf *out, enum watch_format format, const struct entry *e);
/* The same for an event without an entry: id NULL = not durable. */
bool frame_put_event(struct buf *out, enum watch_format format, const struct event_id *id,
                     enum event_type type, struct view data);

/* tail.c */
void tail_mark_dirty(struct tail *l, bool must_read); /* looked at once more in this turn */
void tail_retry_later(struct tail *l, int64_t delay_ms);
/* Joins the live watchers when nothing lies between the watcher's cursor and what the tail reads.
 * False: page on. */
bool tail_join(struct tail *l, struct watcher *w);
void tail_leave(struct tail *l, struct watcher *w); /* no longer live; keeps its cursor */
void tail_release(struct tail *l); /* frees it when nobody watches and nothing is on its way */

/* watcher.c */
struct watcher *watcher_new(struct tail *l, const struct watch_ask *ask);
MUST_CHECK bool watcher_start(struct watcher *w); /* the tail is subscribed; false: no memory */
void watcher_wake(struct watcher *w);
void watcher_cut(struct watcher *w); /* w is gone afterwards */
void watcher_end(struct watcher *w,
                 enum event_type type); /* its terminal event was queued (or seen: WATCH_END) */
/* Live: back to history from its cursor; w may be gone afterwards. probes: is the cursor still in
 * the stream? */
void watcher_demote(struct watcher *w, bool probes);
void watcher_hurry(
    struct watcher *w); /* it is behind: cut it when it takes nothing for TAIL_CUT_MS */
void watcher_wind_up(struct watcher *w);       /* w may be gone afterwards */
bool watcher_is_idle(const struct watcher *w); /* nothing to send */

/* pager.c */
MUST_CHECK bool pager_open(struct watcher *w); /* false: no memory */
void pager_close(struct watcher *w);           /* also while a read is under way */
/* Reads on from the watcher's cursor; probes: first asks whether the stream reaches that far. */
void pager_restart(struct watcher *w, bool probes);
void pager_resume(struct watcher *w); /* a doorbell or a timer: try again if it holds */
void pager_stop(struct watcher *w);   /* nothing more will be read; what is there is drained */
struct view pager_bytes(const struct watcher *w); /* the unsent bytes at hand */
void pager_took(struct watcher *w, size_t len);
bool pager_put(struct watcher *w, struct view bytes); /* behind what is there; false: no memory */

#endif
