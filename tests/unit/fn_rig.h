#ifndef UNIT_FN_RIG_H
#define UNIT_FN_RIG_H
#include "common/base/clock.h"
#include "common/base/reply.h"
#include "common/base/timerq.h"
#include "schemas/fn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* A Redis that answers when the test says so: what the product sent waits here in order. */
enum { RIG_CALLS_MAX = 64, RIG_ARGS_MAX = 24 };

struct rig_call {
    struct view argv[RIG_ARGS_MAX]; /* owned */
    size_t argc;
    redis_reply_fn *on_reply;
    void *arg;
};

struct rig {
    struct clock clock;
    struct timerq *timers;
    struct fn *fn;
    struct rig_call calls[RIG_CALLS_MAX]; /* a ring of those not answered yet */
    size_t first, count;
};

static inline void rig_port_call(void *self, const struct view *argv, size_t argc,
                                 redis_reply_fn *on_reply, void *arg)
{
    struct rig *r = self;
    assert_true(r->count < RIG_CALLS_MAX);
    struct rig_call *c = &r->calls[(r->first + r->count++) % RIG_CALLS_MAX];
    *c = (struct rig_call){
        .argc = argc < RIG_ARGS_MAX ? argc : RIG_ARGS_MAX, .on_reply = on_reply, .arg = arg};
    for (size_t i = 0; i < c->argc; i++) c->argv[i] = view_make(view_dup(argv[i]), argv[i].len);
}

static inline bool rig_port_up(void *self)
{
    (void)self;
    return true;
}

static inline void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    r->clock = (struct clock){.mono_ms = 100000, .wall_ms = 1700000000000};
    r->timers = timerq_new(100);
    r->fn = fn_new((struct redis_port){.self = r, .call = rig_port_call, .is_up = rig_port_up});
    assert_non_null(r->timers);
    assert_non_null(r->fn);
}

/* Time goes by; what is due happens. */
static inline void rig_wait(struct rig *r, int64_t ms)
{
    for (; ms > 0; ms--) {
        r->clock.mono_ms++;
        r->clock.wall_ms++;
        (void)timerq_run(r->timers, r->clock.mono_ms, 100);
    }
    (void)timerq_run(r->timers, r->clock.mono_ms, 100);
}

/* The process sleeps: nothing happens, and then all that was due. */
static inline void rig_sleep(struct rig *r, int64_t ms)
{
    r->clock.mono_ms += ms;
    r->clock.wall_ms += ms;
    (void)timerq_run(r->timers, r->clock.mono_ms, 100);
}

/* The oldest call that waits; its function's verb, or the command. */
static inline struct view rig_next(const struct rig *r)
{
    if (r->count == 0) return VIEW_LIT("nothing");
    const struct rig_call *c = &r->calls[r->first];
    struct view name = view_eq_str(c->argv[0], "FCALL") ? c->argv[1] : c->argv[0],
                prefix = VIEW_LIT("sluice_v1_");
    return view_starts(name, "sluice_v1_") ? view_make(name.ptr + prefix.len, name.len - prefix.len)
                                           : name;
}

#define assert_next(r, verb) assert_true(view_eq_str(rig_next(r), (verb)))

static inline struct view rig_arg(const struct rig *r, size_t index)
{
    assert_true(r->count > 0 && index < r->calls[r->first].argc);
    return r->calls[r->first].argv[index];
}

static inline void rig_answer(struct rig *r, const struct reply *reply, const struct err *e)
{
    struct rig_call c = r->calls[r->first];
    assert_true(r->count > 0);
    r->first = (r->first + 1) % RIG_CALLS_MAX;
    r->count--;
    c.on_reply(c.arg, reply, e);
    for (size_t i = 0; i < c.argc; i++) free((char *)(uintptr_t)c.argv[i].ptr);
}

static inline void rig_break(struct rig *r)
{
    const struct err e = {.code = ERR_UNAVAILABLE, .text = "redis: away"};
    rig_answer(r, NULL, &e);
}

static inline void rig_fini(struct rig *r)
{
    fn_free(r->fn);
    while (r->count) rig_break(r); /* told to nobody any more */
    timerq_free(r->timers);
}

#endif
