#ifndef CONSUMER_KEYED_H
#define CONSUMER_KEYED_H
#include "common/base/list.h"
#include "common/base/timerq.h"
#include "consumer/scheduler.h"
#include "schemas/config.h"

/* Limits of the jobs of one tenant that carry one key, as the owner of their home keeps them.
 * Borrows items and holds. A job takes a place of its key when it is started for the first time
 * and keeps it to its end, parked or running elsewhere or not; starts are spread so that no 60 s
 * hold more than per_minute of them, with a burst of one in twenty.
 *
 *   enter --no room--> WAITING --keyed_pop--> LINED (in the scheduler) --keyed_take--> a hold of
 *     '------------------room---------------------^                                    the job */
enum { KEYED_TELL_MS = 1000 }; /* who waits longer is told */
enum keyed_state { KEYED_OUT, KEYED_WAITING, KEYED_LINED };

struct keyed_key;
struct keyed_item { /* embed; zeroed = out */
    struct list_link link, tell;
    struct keyed_key *key;
    enum keyed_state state;
    unsigned rank;
    int64_t since_ms;
};
struct keyed_hold { /* embed in what stands for the job; zeroed = none */
    struct keyed_key *key;
    int64_t since_ms;
};

struct keyed_options {
    struct timerq *timers;
    const struct clock *clock;
    bool is_complete; /* all starts of the last minute will be told (keyed_note_start); else the
                         buckets of this minute begin empty */
    void (*wake)(void *arg); /* keyed_pop may have something */
    void *arg;
};
struct keyed;
struct keyed *keyed_new(const struct keyed_options *o); /* NULL: no memory */
void keyed_free(struct keyed *k);                       /* items are out; holds are forgotten */

struct keyed_name {
    struct view tenant, key;
    const struct config_key_limit *limit;
};
enum keyed_verdict { KEYED_PASS, KEYED_WAIT, KEYED_FULL };
/* A record whose turn would be now. PASS: into the scheduler with it (LINED). WAIT: it is kept.
 * FULL: no memory for another key; try again later. */
enum keyed_verdict keyed_enter(struct keyed *k, struct keyed_item *it, const struct keyed_name *n,
                               unsigned rank);
/* The next one that may go into the scheduler (LINED from now on); NULL: none for now. */
struct keyed_item *keyed_pop(struct keyed *k);
/* A lined one is started: hold, which has none yet, takes its place. */
void keyed_take(struct keyed *k, struct keyed_item *it, struct keyed_hold *hold);
/* It does not want to go any more, or is done without a start. Tolerates those that are out. */
void keyed_leave(struct keyed *k, struct keyed_item *it);

/* The log says that a job was started (age_ms ago, by its stamp) which has no hold yet. */
void keyed_note_start(struct keyed *k, const struct keyed_name *n, int64_t age_ms,
                      struct keyed_hold *hold);
void keyed_release(struct keyed *k, struct keyed_hold *hold); /* tolerates none */

/* One that waits since more than a second and was not told so yet: takes it off that list. NULL:
 * none; *ret_when_ms is when to ask again (INT64_MAX: when another has entered). ret_until_ms:
 * monotonic; a guess where only ends of jobs can make room. */
struct keyed_item *keyed_tell(struct keyed *k, int64_t *ret_until_ms, int64_t *ret_when_ms);
size_t keyed_waiting(const struct keyed *k);

#endif
