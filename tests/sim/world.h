#ifndef SIM_WORLD_H
#define SIM_WORLD_H
#include "common/base/clock.h"
#include "common/base/rng.h"
#include "common/base/timerq.h"

/* A world with virtual time: processes (gateways, workers, clients) in one thread, and a seeded order of everything that happens.
 * Whatever one process sends to another is an envelope with a delay; a dead process's envelopes are dropped, a paused one's wait for it. */
enum { PROCS_MAX = 64 };

struct world;
struct proc;

typedef void sim_fn(void *arg);

/* The simulation itself is broken: no judgement. Unlike an assert it is always asked. */
void must(bool what);

struct world *world_new(uint64_t seed, bool trace);
void world_free(struct world *w);
int64_t world_now_ms(const struct world *w);
int64_t world_wall_ms(const struct world *w);
void world_step_clock(struct world *w, int64_t by_ms); /* wall clock of everybody */
struct rng *world_rng(struct world *w);
bool world_chance(struct world *w, unsigned percent);
/* Told when tracing: one line with the time before it. */
void world_trace(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool world_is_traced(const struct world *w);
/* Everything that happens is mixed into one number: the same seed, the same number. Models add what they carry. */
void world_mix(struct world *w, const void *bytes, size_t len);
uint64_t world_hash(const struct world *w);

/* Something that happens to the world itself (a fault, a server's work). */
void world_after(struct world *w, int64_t delay_ms, sim_fn *fn, sim_fn *drop, void *arg); /* drop: instead of fn when the world ends; may be NULL */

/* Runs to the next thing that happens, at most until `until_ms`; false: nothing happens before it. */
bool world_step(struct world *w, int64_t until_ms);
/* Runs until is_done says so or `until_ms`; true: done. */
bool world_run(struct world *w, int64_t until_ms, bool (*is_done)(void *arg), void *arg);

/* A process: has a clock, timers, chance of its own. turn is called after everything that happened to it. */
struct proc *proc_new(struct world *w, const char *name, sim_fn *turn, void *arg);
void proc_set_turn(struct proc *p, sim_fn *turn, void *arg);
void proc_kill(struct proc *p); /* envelopes to it are dropped from now on; its timers are gone */
void proc_revive(struct proc *p);
void proc_pause(struct proc *p);
void proc_resume(struct proc *p);
bool proc_is_alive(const struct proc *p);
bool proc_is_paused(const struct proc *p);
const char *proc_name(const struct proc *p);
struct clock *proc_clock(struct proc *p);
struct timerq *proc_timers(struct proc *p);
struct rng *proc_rng(struct proc *p);
struct world *proc_world(struct proc *p);
/* Delivers fn(arg) to p after delay; drop(arg) is called instead when p died meanwhile (may be NULL). Equal times keep their order. */
void proc_post(struct proc *p, int64_t delay_ms, sim_fn *fn, sim_fn *drop, void *arg);
void proc_kick(struct proc *p); /* another turn at once */

#endif
