#ifndef CONSUMER_HOME_H
#define CONSUMER_HOME_H
#include "consumer/item.h"
#include "consumer/jobrun.h"
#include "consumer/window.h"
#include "consumer/worker_priv.h"

/* One home p that this worker owns: all topics' partition p.
 *
 *   ASKING --positions--> REPLAYING --state[p] read to its end--> READY --revoked--> GONE
 *                                                                 intake             */
enum home_state { HOME_ASKING, HOME_REPLAYING, HOME_READY, HOME_GONE };
struct rebuild;

enum { HOME_DELAYS = TOPIC_DELAY_6H - TOPIC_DELAY_5S + 1, HOME_ASIDE_MAX = 64 };

struct home {
    struct list_link link;
    struct worker *w;
    uint32_t partition;
    enum home_state state;
    struct window *windows[TOPIC_STATE]; /* of the intake topics */
    int64_t next[TOPIC_STATE];           /* to be read next */
    int64_t high[TOPIC_STATE];           /* ends at the time of asking */
    int64_t empty_ms[TOPIC_STATE];       /* nothing was left to read then; monotonic */
    struct known *known;
    int64_t tail, tail_target; /* state[p]: to be read next; the end at the time of asking */
    int64_t state_low;         /* and the beginning */
    struct item
        *heads[HOME_DELAYS]; /* of the delay tiers: waits for its time, the tier is not read on */
    struct list
        aside[CLASS_COUNT]; /* of the spill topics: wait for their tenant's line, likewise */
    struct keyed *keyed;    /* NULL while ASKING */
    struct list awaiting;   /* runs that wait for the tail */
    struct list blocked;    /* items that wait for the view to be built */
    struct list held;       /* items the log has to say something about */
    struct list closing;    /* jobs with is_closing that nobody is closing right now */
    struct list askings;    /* questions about one job that are out */
    struct list untold;     /* items of new jobs, by age: Redis may not have heard of them */
    struct timer timer;     /* asking again; then heads, held items, jobs to close */
    unsigned ops;           /* answers awaited */
    bool is_built, has_caught_up;
    struct rebuild *rebuild;
    /* commits */
    int64_t floor, floor_committed;
    unsigned commits_out;
    bool has_commit_failed;
    int64_t round_ms;
    int64_t ready_ms; /* READY since; monotonic */
    int64_t tell_ms;  /* home_tell_waiting: again then; monotonic */
};

struct home *home_new(struct worker *w, uint32_t partition); /* NULL: no memory */
void home_start(struct home *h);
/* Lost: hands nothing on; runs live on without it. Freed at once, or when its answers are in. */
void home_lose(struct home *h);
void home_free(struct home *h); /* worker_free */
/* A question to Redis about one job, counted in ops. NULL: no memory. */
struct home_asking {
    struct list_link link; /* in h->askings */
    struct home *h;
    struct job_id id;
};
struct home_asking *home_asking_new(struct home *h, const struct job_id *id);
/* First thing in its answer: frees it. NULL: the home is lost. */
struct home *home_asking_take(struct home_asking *a, struct job_id *ret_id);

/* --- the log --------------------------------------------------------------------------------- */
struct known_job *home_known(const struct home *h, const struct job_id *id);
void home_await(struct home *h, struct jobrun *r);
void home_unawait(struct jobrun *r);

/* --- turns. budget: records at most; returns how many were read ------------------------------ */
size_t home_read_tail(struct home *h, size_t budget);
size_t home_read_intake(struct home *h, size_t budget);
/* Every record that was in an intake topic at this time (monotonic) has been read. */
bool home_has_read_since(const struct home *h, int64_t mono_ms);
void home_wake_at(struct home *h, int64_t mono_ms); /* another look then, or earlier */
void home_tick(void *home);

/* --- commits --------------------------------------------------------------------------------- */
void home_commit(struct home *h);
void home_commit_last(struct home *h); /* revoked, leaving: windows only */
void home_on_commit(struct home *h, enum topic topic, const struct err *e);

/* --- items (home_items.c) -------------------------------------------------------------------- */
/* Takes the item in. False: it cannot be known (full): its offset stays open. */
bool home_place(struct home *h, struct item *it);
void home_judge_all(struct home *h, struct known_job *j);
void home_line_up(struct home *h, struct item *it);
void home_complete_item(struct home *h, struct item *it); /* its job's entry is not looked at */
/* A copy goes into another topic under the same identity; the offset is complete when that is
 * acknowledged. False: no memory, nothing is done. */
bool home_move(struct home *h, struct item *it, enum topic to);
void home_complete(struct home *h, struct item *it);
void item_unwait(struct worker *w, struct item *it); /* out of every line, still in memory */
/* Its one timer. Whoever waits by it counts as sleeping; fire begins with item_woke. */
void item_sleep(struct worker *w, struct item *it, int64_t mono_ms, timer_fn *fire);
void item_sleep_to_deadline(struct worker *w, struct item *it, timer_fn *fire); /* if it has one */
void item_stop_sleep(struct worker *w, struct item *it); /* tolerates those awake */
void item_woke(struct item *it);
void home_run_over(struct jobrun *r, enum jobrun_outcome outcome);
void home_ended_elsewhere(struct home *h, const struct job_id *id); /* Redis says so */
void home_unbuilt(struct home *h);
void home_set_built(struct home *h, bool is_built);
void home_unblock(struct home *h);
/* home_tell.c: once a second, while the view is whole and the lease held, new jobs that wait here
 * are told to Redis, should their gateway not have done it; and up to when it lacks none. */
void home_tell_waiting(struct home *h);
void item_told(struct item *it); /* Redis knows of it */
/* home_line.c: what comes before the scheduler */
void home_queue(struct home *h, struct item *it);
void home_take(struct item *it); /* it is started */
void item_leave_line(struct worker *w, struct item *it);
void home_wake_aside(struct home *h);
void home_spilled(struct home *h, struct item *it);
void home_key_turn(struct home *h);
void home_key_sync(struct home *h, struct known_job *j); /* its run or its phase changed */
void home_key_note(struct home *h, struct known_job *j, const struct state_record *s,
                   int64_t stamp_ms); /* a counted record of the log */
void home_key_forget(void *home, struct known_job *j);
/* home_tell.c */
void home_tell_now(struct home *h, struct item *it);
/* home_close.c: canceled jobs that nobody runs */
void home_canceled(struct home *h, struct known_job *j);
void home_close_pending(struct home *h);
void home_close_over(struct home *h, struct known_job *j); /* it is closed, or not ours to close */
/* A record whose head cannot be read: a dead letter, and a failed job where its id is known. */
void home_poison(struct home *h, enum topic t, const struct record_in *rec, const struct err *why);
void home_drop_parkings(struct worker *w); /* worker_free */
void home_drop_letters(struct worker *w);
void item_free_of(struct worker *w, struct item *it); /* unlinks and frees */

#endif
