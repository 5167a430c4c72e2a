#ifndef SIM_MODEL_REDIS_H
#define SIM_MODEL_REDIS_H
#include "common/base/port.h"
#include "tests/sim/world.h"

/* The model Redis: redis_model.lua behind the ports of a process. Replies of one connection keep their order; a command takes a
 * random moment to arrive and its answer another. */
struct model_redis;
struct model_conn; /* one connection of one process */

struct model_redis *model_redis_new(struct world *w);
void model_redis_free(struct model_redis *m);

struct model_conn *model_conn_new(struct model_redis *m, struct proc *p);
/* The process died: its connection with it. */
void model_conn_free(struct model_conn *c);
struct redis_port model_conn_port(struct model_conn *c);
struct redis_sub_port model_conn_sub_port(struct model_conn *c);

/* Faults. A connection that broke: every command without an answer is answered ERR_UNAVAILABLE (it may have been executed),
 * further ones too, until the client has connected again, a moment after it can. */
void model_redis_down(struct model_redis *m);
void model_redis_up(struct model_redis *m, bool lose_tail); /* a new run_id; lose_tail: back to the last save */
void model_redis_pause(struct model_redis *m); /* commands wait; older than five seconds they are answered ERR_TIMEOUT */
void model_redis_resume(struct model_redis *m);
void model_redis_refuse(struct model_redis *m, bool on); /* no memory: nothing may be written */
void model_redis_flush(struct model_redis *m);
void model_redis_save(struct model_redis *m);
void model_redis_step_clock(struct model_redis *m, int64_t by_ms); /* its own clock alone */
bool model_redis_is_up(const struct model_redis *m);
void model_conn_cut(struct model_conn *c);  /* this client alone does not reach it */
void model_conn_mend(struct model_conn *c);
void model_conn_slow(struct model_conn *c, int64_t by_ms); /* what it sends arrives so much later */
/* For checkers: the entries of a tenant's jobs that have no end. */
int64_t model_redis_open_jobs(struct model_redis *m, const char *tenant);
/* A stream with a hole in it and where; "": there is none. */
void model_redis_hole(struct model_redis *m, char ret[96]);
/* For checkers: runs a command at once; the reply lives until the next call. */
const struct reply *model_redis_ask(struct model_redis *m, const char *const *argv, size_t argc);

#endif
