#ifndef CONSUMER_MIRROR_H
#define CONSUMER_MIRROR_H
#include "common/base/list.h"
#include "common/base/timerq.h"
#include "schemas/fn.h"
#include "schemas/jobview.h"

/* One job's progress on its way into Redis: numbers the events (seq), folds each into the job's
 * view, and appends them in order, one call in flight, at most one a turn. Nothing here decides
 * anything about the job; the truth went to Kafka before.
 *
 *   LIVE --GONE, GAP, too much waiting--> BROKEN --snapshot--> LIVE --mirror_finish--> the end */
enum {
    MIRROR_PENDING_EVENTS = 50000,
    MIRROR_PENDING_BYTES = 8 << 20, /* waiting while Redis answers */
    MIRROR_AWAY_BYTES = 256 << 10,  /* waiting while it does not */
    MIRROR_ENTRIES = 4000           /* compaction: past this and MIRROR_STREAM_BYTES */
};
#define MIRROR_STREAM_BYTES ((int64_t)64 << 20)

enum mirror_news {
    MIRROR_CANCEL,  /* the cancel flag is set */
    MIRROR_FENCED,  /* another holds the job: drop it */
    MIRROR_ENDED,   /* it ended already */
    MIRROR_GONE,    /* its entry is gone: Redis may have been wiped (it is being put back) */
    MIRROR_CLEAN,   /* all that was put is in Redis */
    MIRROR_HELD,    /* answer to mirror_probe: the job is still ours */
    MIRROR_FINISHED /* mirror_finish is done */
};
typedef void mirror_news_fn(void *arg, enum mirror_news news);

/* Shared by all mirrors of a worker. */
struct mirror_env {
    struct fn *fn;
    const struct clock *clock;
    struct timerq *timers;
    struct view incarnation;
    int64_t results_ms, events_ms; /* retention */
    void (*kick)(void *arg);
    void *kick_arg;
    struct list dirty;  /* mirrors with something to send */
    struct timer again; /* Redis is away: not before */
    int64_t hold_until_ms;
};
void mirror_env_init(struct mirror_env *env); /* the public members are set already */
void mirror_env_fini(struct mirror_env *env);
/* End of turn: sends what is pending. */
void mirror_flush(struct mirror_env *env);

struct mirror_event {
    uint32_t end; /* of its data in pending */
    enum event_type type;
};

struct mirror_end {
    struct event_id id;
    enum job_status status;
    struct view data, view; /* borrowed until FINISHED or FENCED */
    int64_t ended_ms;
};

struct mirror { /* embed; init/fini */
    struct mirror_env *env;
    struct fn_job job; /* head borrowed */
    mirror_news_fn *news;
    void *arg;
    struct jobview *view; /* owned */
    struct list_link dirty;
    struct buf pending;
    struct mirror_event *events;
    size_t first, count, cap; /* events[first, first + count) wait */
    size_t from;              /* of the first waiting event's data in pending */
    size_t flight;            /* of them, those in the call under way */
    uint64_t seq;             /* last one given */
    int64_t epoch, attempt, started_ms;
    enum job_status status;
    const struct mirror_end *end;
    int64_t sent_ms, held_ms; /* the last call; the last one that Redis answered as to the owner */
    int64_t defer_ms;         /* not before, unless the end comes */
    int64_t bytes;            /* appended since the last snapshot */
    unsigned calls, unfolded;
    bool is_appending, is_restoring, is_ending;
    bool is_broken, is_status_due, is_compaction_due, is_snapshot_due;
    bool is_probe_due, is_probing;
    bool is_closed;
};
void mirror_init(struct mirror *m, struct mirror_env *env, const struct fn_job *job,
                 mirror_news_fn *news, void *arg);
/* No news and no calls from now on; m must live until `calls` is 0. */
void mirror_close(struct mirror *m);
void mirror_fini(struct mirror *m); /* no calls out, or its fn port is gone */
/* Takes view. The first event gets seq + 1. */
void mirror_begin(struct mirror *m, struct jobview *take_view, int64_t epoch, uint64_t seq,
                  int64_t attempt, int64_t started_ms);

/* step NULL: of the job. members: ",\"k\":v" or VIEW_NONE. */
struct mirror_note {
    enum event_type type;
    const char *step;
    int64_t item, attempt;
    struct view members;
};
void mirror_put(struct mirror *m, const struct mirror_note *note);
/* The whole view as one event: what an earlier owner wrote to the log may never have been told. */
void mirror_put_view(struct mirror *m);
/* Redis may have lost it, or another may hold it: ask. What is missing is put back as a snapshot and
 * asked about again, for who puts a job back is always believed; HELD or FENCED comes. */
void mirror_probe(struct mirror *m);
/* Writes the end behind all events. FINISHED, or FENCED, or nothing until Redis answers. end must
 * live until then. */
void mirror_finish(struct mirror *m, const struct mirror_end *end);
/* The end is near: what waits may go with it in one call, but not later than this (monotonic). */
void mirror_defer(struct mirror *m, int64_t until_ms);
/* Nothing waits and nothing is in flight. */
bool mirror_is_clean(const struct mirror *m);

#endif
