#ifndef GATEWAY_TAIL_H
#define GATEWAY_TAIL_H
#include "gateway/fold.h"
#include <sys/types.h>

/* Watching jobs: one reader a job, shared by all its watchers. Against ports, so the simulation
 * runs it.
 *
 * A watcher gets every event once, in order, from its cursor on: first subscribe, then page the
 * stream, then follow the doorbells. Where history is gone it gets a `reset` and a job.snapshot,
 * never a silent hole. It ends after the terminal event. Memory: history is paged as the watcher
 * drains it; live frames are encoded once and shared; a watcher that falls behind by more than
 * watcher_bytes_max loses its place among the live ones and pages again, and one that moreover
 * takes nothing for a while is cut. */
struct tails;
struct watcher;

struct tails_options {       /* borrowed for life */
    struct redis_port reads; /* XRANGE */
    struct redis_sub_port doorbells;
    struct folds *folds;
    const struct clock *clock;
    struct timerq *timers;
    int64_t heartbeat_ms; /* comment on a quiet stream; four unread ones cut the watcher */
    int64_t retry_ms;     /* what an SSE stream tells its client to wait before it comes back */
    size_t watcher_bytes_max;
    size_t watchers_max;
    size_t history_bytes_max; /* of all pages held for watchers that read history */
};
struct tails *tails_new(const struct tails_options *o); /* listens on doorbells */
void tails_free(struct tails *t); /* all watchers closed before; ports call nothing afterwards */

enum watch_format {
    WATCH_SSE,
    WATCH_NDJSON,
    WATCH_END /* no bytes: only wants to know the end */,
    WATCH_FORMATS
};

/* How a watcher reaches its client. Called from callbacks of the ports and timers, never from
 * inside watcher_pull. */
struct watch_sink {
    void (*wake)(void *arg); /* watcher_pull has something again; once for each time it said 0 */
    void (*cut)(void *arg);  /* drop the client; call watcher_close */
    void (*ended)(void *arg, enum event_type end); /* WATCH_END: the terminal event came */
};

struct watch_ask {
    struct job_id job;
    struct event_id cursor; /* last event the client has; {0, 0} = from the start */
    enum watch_format format;
    const struct watch_sink *sink; /* borrowed for ever */
    void *arg;
};
/* NULL: too many watchers, or no memory. The caller has checked that the job is there and the
 * client may see it. */
struct watcher *tails_watch(struct tails *t, const struct watch_ask *ask);
/* Copies at most size bytes; 0 = nothing now (sink.wake follows), WATCH_OVER = the stream is
 * complete. */
#define WATCH_OVER ((ssize_t)-1)
ssize_t watcher_pull(struct watcher *w, char *dst, size_t size);
struct event_id
watcher_cursor(const struct watcher *w); /* the last event handed over, or about to be */
void watcher_close(struct watcher *w);
/* Ends every stream soon, at the end of an event, without a terminal event: SSE clients are told
 * `retry:` and come back. */
void tails_wind_up(struct tails *t);

struct tails_counts {
    size_t watchers, tails;
    uint64_t events_sent; /* to clients, all in all */
    uint64_t resets, cuts;
    uint64_t resumes; /* watchers that came with a cursor */
};
struct tails_counts tails_counts(const struct tails *t);

#endif
