#ifndef CONSUMER_WORKER_H
#define CONSUMER_WORKER_H
#include "consumer/ports.h"

/* A worker over its ports: everything between "partitions were assigned" and "the job ended". No
 * thread, no clock, no socket. The shell turns the loop: it refreshes the clock, delivers
 * callbacks, runs due timers and then calls worker_turn once.
 *
 * A worker that is freed says nothing more: worker_free calls only cancel functions of its ports
 * (timers, http, replays). Ports that may still answer (publish, fn, positions, eval, doorbell)
 * must be dead or drop those answers. */
struct worker;
/* Copies ports (its pointers are borrowed for the worker's life). NULL: no memory. */
struct worker *worker_new(const struct worker_ports *ports, struct err *err);
void worker_free(struct worker *w);

/* End of a turn: reads what is readable, starts what may start, sends what is pending. Asks for
 * another turn (kick) when work is left. */
void worker_turn(struct worker *w);

/* From the consumer group. */
void worker_on_assigned(struct worker *w, const int32_t *partitions, size_t count);
void worker_on_revoked(struct worker *w, const int32_t *partitions, size_t count, bool lost);
void worker_on_readable(struct worker *w);
/* e NULL: the commit of this offset stands. */
void worker_on_commit(struct worker *w, enum topic topic, int32_t partition, int64_t offset,
                      const struct err *e);

/* Not ready -> stop admitting -> commit -> leave the group -> running calls finish, the rest is
 * handed over. Repeated calls do nothing. */
void worker_drain(struct worker *w);
/* Takes it back: the shell joins the group again first. */
void worker_undrain(struct worker *w);
/* Nothing of ours runs any more and the heartbeat is gone: exit. */
bool worker_is_drained(const struct worker *w);
/* True = takes work; else a short reason is appended. */
bool worker_is_ready(const struct worker *w, struct buf *reason);

enum worker_state { WORKER_ACTIVE, WORKER_QUIESCING, WORKER_DRAINING, WORKER_DRAINED };
struct worker_stats {
    enum worker_state state;
    size_t homes, homes_ready, running, queued, keyed, foreign, sleeping, calls, calls_waiting,
        item_bytes;
    uint64_t started, ended, handed, dropped;
    bool is_fenced;
};
void worker_stats(const struct worker *w, struct worker_stats *ret);
const char *worker_state_name(enum worker_state s);
/* Sets the gauges; before a scrape. */
void worker_refresh_metrics(struct worker *w);

#endif
