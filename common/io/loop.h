#ifndef IO_LOOP_H
#define IO_LOOP_H
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/rng.h"
#include "common/base/timerq.h"

/* The one loop of a process (libuv inside). A turn: refresh the clock; poll; callbacks turn bytes
 * into inputs; run due timers of the loop's timerq; run the after-turn hooks in the order they were
 * added; reap what was parked. */
struct loop;

struct loop *loop_new(struct err *err);
void loop_free(struct loop *l);
/* Runs until loop_stop. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);
const struct clock *loop_clock(const struct loop *l); /* borrowed; refreshed every turn */
int64_t loop_now_ms(void); /* the same monotonic clock this very moment: for what a pause in mid-turn must not fool */
struct timerq *
loop_timers(struct loop *l); /* borrowed; set timers freely, the loop watches the next one */
struct rng *loop_rng(struct loop *l); /* seeded from the kernel */

/* Watches a file descriptor. events: LOOP_READ | LOOP_WRITE; change with loop_watch_set (0 = none).
 */
enum { LOOP_READ = 1, LOOP_WRITE = 2 };
struct loop_watch;
typedef void loop_fd_fn(void *arg, int events);
struct loop_watch *loop_watch_new(struct loop *l, int fd, int events, loop_fd_fn *fn, void *arg);
void loop_watch_set(struct loop_watch *w, int events);
void loop_watch_free(
    struct loop_watch *w); /* safe inside its own callback; the fd stays the caller's */

/* Called once at the end of every turn in which anything happened: flush points, batched wakes. */
void loop_after_turn(struct loop *l, void (*fn)(void *arg), void *arg);
void loop_after_turn_remove(struct loop *l, void (*fn)(void *arg),
                            void *arg); /* safe inside a hook */
/* True while the hooks run: what is queued now for a hook that ran already needs a loop_kick. */
bool loop_is_ending_turn(const struct loop *l);
/* Makes another turn follow at once (work left over for fairness). */
void loop_kick(struct loop *l);

/* SIGTERM/SIGINT/SIGHUP and friends as callbacks in the loop. SIGPIPE is ignored by loop_new. */
void loop_on_signal(struct loop *l, int signum, void (*fn)(void *arg, int signum), void *arg);

/* Work on the thread pool: work runs off the loop and must touch nothing of it; done runs in the
 * loop. */
MUST_CHECK enum err_code loop_offload(struct loop *l, void (*work)(void *arg),
                                      void (*done)(void *arg), void *arg, struct err *err);

/* Something that belongs to the loop rather than to one user of it (the reader handle that all
 * replays share): at most 8 kinds. fini runs first thing in loop_free. */
void *loop_shared(const struct loop *l, const char *kind); /* NULL: not there */
MUST_CHECK bool loop_share(struct loop *l, const char *kind, void *thing,
                           void (*fini)(void *thing));

/* A child process with pipes on its stdin and stdout (stderr inherited): the jq helper. */
struct loop_child;
struct loop_child_options {
    const char *const *argv;                    /* argv[0] is a path; NULL-terminated */
    void (*on_bytes)(void *arg, struct view b); /* from its stdout */
    void (*on_exit)(void *arg, int64_t status, int term_signal);
    void *arg;
};
struct loop_child *loop_child_new(struct loop *l, const struct loop_child_options *o,
                                  struct err *err);
bool loop_child_write(struct loop_child *c,
                      struct view bytes);   /* copied; false when its pipe holds > 16 MB */
void loop_child_kill(struct loop_child *c); /* SIGKILL; on_exit still comes */
void loop_child_free(struct loop_child *c); /* kills if alive; no callback after */

#endif
