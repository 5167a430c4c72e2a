#ifndef IO_LOOP_PRIV_H
#define IO_LOOP_PRIV_H
#include "common/io/loop.h"
#include <uv.h>

/* Shared by loop.c and loop_child.c alone: libuv never shows in loop.h. */

enum {
    LOOP_HOOKS_MAX = 64,
    LOOP_SIGNALS_MAX = 16,
    LOOP_TIMERS_MAX = 1 << 20,
    LOOP_TIMERS_TURN_MAX = 4096,
    LOOP_OFFLOADS_MAX = 1024,
    LOOP_SHARED_MAX = 8
};

struct loop_hook {
    void (*fn)(void *arg);
    void *arg;
};

struct loop_thing {
    const char *kind;
    void *thing;
    void (*fini)(void *thing);
};

struct loop {
    uv_loop_t uv;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t timer;
    struct clock clock;
    struct rng rng;
    struct timerq *timers;
    int64_t armed_ms; /* what the uv timer waits for; INT64_MAX = nothing */
    struct loop_hook hooks[LOOP_HOOKS_MAX];
    size_t hook_count;
    struct loop_thing shared[LOOP_SHARED_MAX];
    size_t shared_count;
    size_t signal_count;
    size_t offload_count;
    bool is_fresh;   /* the clock was read in this turn */
    bool has_worked; /* a callback ran in this turn */
    bool is_kicked;
    bool is_in_hooks;
    bool is_closing;
};

/* First thing in every callback that libuv makes: the time of this turn. */
void loop_enter(struct loop *l);
/* loop_free found a child whose owner did not free it. */
void loop_child_abandon(uv_process_t *process);

#endif
