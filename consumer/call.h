#ifndef CONSUMER_CALL_H
#define CONSUMER_CALL_H
#include "common/base/metrics.h"
#include "common/base/rng.h"
#include "consumer/llm.h"
#include "consumer/pacer.h"

/* One LLM call of a run: waits for its budget, goes out, and tells its owner what came. Text is
 * gathered for 40 ms or 512 bytes, so that a token does not cost an event.
 *
 *   WAITING(pacer) --granted--> (HELD) --> CALLING --first text--> STREAMING --whole--> told done,
 *      ^     '------- cut -------'-----------'-------------------------'           LINGERING until
 *      |              gone at once, no callback                                    the transport
 * ends
 *      '-- the provider refused for speed, is away, or its quota is used up: another route, or
 * later; on_again. Once text came that is a failure like others. */
enum { CALL_TEXT_BYTES = 512, CALL_TEXT_MS = 40 };

struct call_place {   /* whose call it is */
    const char *step; /* lives as long as the call */
    int64_t item, attempt;
};

/* What the owner hears; arg is the owner's. After done, failed or call_cut the call is gone for the
 * owner. */
struct call_sink {
    /* Its budget is there: may it go? False: the owner says so later with call_go. */
    bool (*may_go)(void *arg);
    void (*on_started)(void *arg, uint32_t run);
    void (*on_text)(void *arg, uint32_t run, struct view text);
    void (*on_done)(void *arg, uint32_t run, struct view finish_reason, struct task_usage usage,
                    int64_t microusd);
    void (*on_failed)(void *arg, uint32_t run, const struct llm_out *out);
    /* It was out and waits again; nothing of it has to be taken back. */
    void (*on_again)(void *arg, uint32_t run);
    /* Paced for longer than a second; read call_wait of all calls. Must not touch any call. */
    void (*on_wait)(void *arg, uint32_t run);
    /* A route was left out, its model cannot hold the request. As on_wait. */
    void (*on_skip)(void *arg, const struct call_place *place, const struct config_route *route);
};

struct call_meters {
    struct metric *requests;            /* provider model outcome */
    struct metric *tokens;              /* provider model direction */
    struct metric *first_token_seconds; /* provider model */
};

struct call_env { /* shared by all calls of a worker */
    struct pacer *pacer;
    const struct http_port *http;
    const struct clock *clock;
    struct timerq *timers;
    struct view (*provider_key)(void *arg, const struct config_provider *p, size_t key_index);
    void *provider_key_arg;
    int64_t (*send_by_ms)(void *arg); /* a request that is not out by then stays (monotonic) */
    void *send_by_arg;
    struct call_meters meters;
    struct list texts;     /* calls with gathered text, oldest first */
    struct list lingering; /* told done, oldest first */
    struct timer text_timer, linger_timer;
};
void call_env_init(struct call_env *env); /* the public members are set already */
void call_env_fini(struct call_env *env); /* cancels what lingers; owners cut theirs before */

struct call_ask {
    struct list *owner; /* the call puts itself in and takes itself out */
    uint32_t run;
    struct view request; /* copied */
    struct view identity;
    bool stream;
    struct call_place place;
    int64_t timeout_ms;    /* of each try */
    struct pacer_ask pace; /* counted is filled in */
};
struct call;
/* NULL: err says why (unknown model, no memory); nothing is called back. */
struct call *call_new(struct call_env *env, const struct call_ask *ask,
                      const struct call_sink *sink, void *arg, struct err *err);
/* Stops paying at once. Gathered text is told first when tell_text is set (on_text from inside). */
void call_cut(struct call *c, bool tell_text);
uint32_t call_run(const struct call *c);
void call_go(struct call *c);                           /* one that was held back */
struct call *call_first_held(const struct list *owner); /* NULL: none is */
bool call_is_out(const struct call *c);                 /* granted: the request left */
struct call_wait {                                      /* what was said of it */
    const char *reason;
    int64_t until_wall_ms;
    const struct config_route *on; /* NULL: it is no budget that is waited for */
};
/* False: it does not wait, or nothing was said of that. */
bool call_wait(const struct call *c, struct call_wait *ret);
struct call *call_of_link(struct list_link *k); /* in the owner's list */

#endif
