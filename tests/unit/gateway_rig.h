#ifndef TESTS_UNIT_GATEWAY_RIG_H
#define TESTS_UNIT_GATEWAY_RIG_H
/* A world for the gateway's deciding parts: virtual time, one job's stream and meta in a pretended
 * Redis, doorbells, and Kafka's answers by hand. Nothing is answered from inside a call; rig_run
 * lets everything due happen. */
#include "common/base/list.h"
#include "schemas/fn.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

enum { RIG_ARGS = 48, RIG_ENTRIES = 4096, RIG_FIELDS = 24, RIG_STEPS = 100000 };

struct rig_entry {
    struct event_id id;
    const char *type; /* static */
    char *data;
};

struct rig_call {
    struct list_link link;
    char *argv[RIG_ARGS];
    size_t argc;
    redis_reply_fn *fn;
    void *arg;
    bool is_executed; /* slow answers: what it saw is fixed, its answer is on its way */
    size_t seen;      /* entries there were */
};

struct rig {
    struct clock clock;
    struct timerq *timers;
    struct job_id job;
    struct rig_entry entries[RIG_ENTRIES];
    size_t entry_count;
    struct {
        const char *name; /* static */
        char *value;
    } fields[RIG_FIELDS];
    size_t field_count;
    bool is_built, is_redis_down, is_sub_down;
    bool is_slow;  /* an answer tells what stood there one step before it comes */
    int64_t count; /* q:{tenant} */
    struct list calls, subscribes;
    size_t ranges, metas, counts; /* commands seen */
    size_t subscribed, unsubscribed;
    bool is_subscribed;
    redis_message_fn *on_message;
    void (*on_reset)(void *arg);
    void *listen_arg;
    /* what admit and reserve answer */
    int64_t admit_kind, reserve_kind, reserve_reserved;
    bool is_admit_held; /* admit is not answered */
    size_t admits, reserves;
};

static inline void rig_call_free(struct rig_call *c)
{
    for (size_t i = 0; i < c->argc; i++) free(c->argv[i]);
    free(c);
}

static inline void rig_call(void *self, const struct view *argv, size_t argc, redis_reply_fn *fn,
                            void *arg)
{
    struct rig *r = self;
    struct rig_call *c = calloc(1, sizeof *c);
    assert_non_null(c);
    assert_true(argc <= RIG_ARGS);
    for (size_t i = 0; i < argc; i++) c->argv[i] = view_dup(argv[i]);
    c->argc = argc;
    c->fn = fn;
    c->arg = arg;
    list_push(&r->calls, &c->link);
}

static inline bool rig_is_up(void *self)
{
    return !((struct rig *)self)->is_redis_down;
}

static inline struct redis_port rig_port(struct rig *r)
{
    return (struct redis_port){.self = r, .call = rig_call, .is_up = rig_is_up};
}

/* --- doorbells --- */

static inline void rig_subscribe(void *self, struct view channel, redis_reply_fn *fn, void *arg)
{
    struct rig *r = self;
    struct rig_call *c = calloc(1, sizeof *c);
    assert_non_null(c);
    assert_false(r->is_subscribed);
    r->is_subscribed = true;
    c->argv[c->argc++] = view_dup(channel);
    c->fn = fn;
    c->arg = arg;
    list_push(&r->subscribes, &c->link);
    r->subscribed++;
}

static inline void rig_unsubscribe(void *self, struct view channel)
{
    struct rig *r = self;
    (void)channel;
    assert_true(r->is_subscribed);
    r->is_subscribed = false;
    r->unsubscribed++;
}

static inline void rig_listen(void *self, redis_message_fn *on_message, void (*on_reset)(void *arg),
                              void *arg)
{
    struct rig *r = self;
    r->on_message = on_message;
    r->on_reset = on_reset;
    r->listen_arg = arg;
}

static inline struct redis_sub_port rig_sub_port(struct rig *r)
{
    return (struct redis_sub_port){.self = r,
                                   .subscribe = rig_subscribe,
                                   .unsubscribe = rig_unsubscribe,
                                   .listen = rig_listen};
}

static inline void rig_ring(struct rig *r, struct event_id id)
{
    char channel[FN_KEY_MAX], payload[EVENT_ID_REDIS];
    event_id_format_redis(id, payload);
    if (!r->is_subscribed || r->is_sub_down) return;
    r->on_message(r->listen_arg, fn_key(FN_KEY_CHANNEL, view_of(r->job.text), channel),
                  view_of(payload));
}

/* --- the job --- */

static inline void rig_set(struct rig *r, const char *name, const char *value)
{
    for (size_t i = 0; i < r->field_count; i++) {
        if (strcmp(r->fields[i].name, name) != 0) continue;
        free(r->fields[i].value);
        r->fields[i].value = view_dup(view_of(value));
        return;
    }
    assert_true(r->field_count < RIG_FIELDS);
    r->fields[r->field_count].name = name;
    r->fields[r->field_count++].value = view_dup(view_of(value));
}

static inline void rig_wipe_stream(struct rig *r)
{
    for (struct list_link *k = list_first(&r->calls); k; k = list_next(&r->calls, k))
        LIST_ITEM(k, struct rig_call, link)->seen = 0;
    for (size_t i = 0; i < r->entry_count; i++) free(r->entries[i].data);
    r->entry_count = 0;
}

static inline void rig_wipe_meta(struct rig *r)
{
    for (size_t i = 0; i < r->field_count; i++) free(r->fields[i].value);
    r->field_count = 0;
}

/* Adds without ringing. more: further members, each with its comma in front, or "". */
static inline void rig_put(struct rig *r, uint64_t epoch, uint64_t seq, const char *type,
                           const char *more)
{
    size_t size = strlen(more) + 256;
    char *data = malloc(size);
    assert_non_null(data);
    assert_true(r->entry_count < RIG_ENTRIES);
    snprintf(
        data, size,
        "{\"type\":\"%s\",\"job_id\":\"%s\",\"seq\":%llu,\"ts\":\"2026-11-24T20:55:43.123Z\"%s}",
        type, r->job.text, (unsigned long long)seq, more);
    r->entries[r->entry_count++] =
        (struct rig_entry){.id = {epoch, seq}, .type = type, .data = data};
}

static inline void rig_append(struct rig *r, uint64_t epoch, uint64_t seq, const char *type,
                              const char *more)
{
    rig_put(r, epoch, seq, type, more);
    rig_ring(r, (struct event_id){epoch, seq});
}

static inline void rig_live_job(struct rig *r)
{
    rig_set(r, "st", "running");
    rig_set(r, "tn", "acme");
    rig_set(r, "wf", "noop@1");
    rig_set(r, "cl", "interactive");
    rig_set(r, "cr", "1795553743123");
}

/* --- answers --- */

static inline bool rig_is_past(struct event_id id, struct event_id from)
{
    return id.epoch > from.epoch || (id.epoch == from.epoch && id.seq > from.seq);
}

static inline void rig_answer_range(struct rig *r, struct rig_call *c, bool is_newest)
{
    struct event_id from = {0};
    size_t max = (size_t)strtoul(c->argv[5], NULL, 10), count = 0;
    struct reply *items = calloc(max + 1, sizeof *items);
    struct reply(*parts)[6] = calloc(max + 1, sizeof *parts);
    char(*ids)[EVENT_ID_REDIS] = calloc(max + 1, sizeof *ids);
    assert_non_null(items);
    assert_non_null(parts);
    assert_non_null(ids);
    r->ranges++;
    if (!is_newest) assert_true(event_id_parse_redis(view_of(c->argv[2] + 1), &from));
    size_t there = c->is_executed && c->seen < r->entry_count ? c->seen : r->entry_count;
    size_t i = is_newest && there ? there - 1 : 0;
    for (; i < there && count < max; i++) {
        const struct rig_entry *e = &r->entries[i];
        if (!rig_is_past(e->id, from)) continue;
        struct reply *p = parts[count];
        event_id_format_redis(e->id, ids[count]);
        p[2] = (struct reply){.kind = REPLY_STR, .str = VIEW_LIT("t")};
        p[3] = (struct reply){.kind = REPLY_STR, .str = view_of(e->type)};
        p[4] = (struct reply){.kind = REPLY_STR, .str = VIEW_LIT("d")};
        p[5] = (struct reply){.kind = REPLY_STR, .str = view_of(e->data)};
        p[0] = (struct reply){.kind = REPLY_STR, .str = view_of(ids[count])};
        p[1] = (struct reply){.kind = REPLY_ARRAY, .items = p + 2, .count = 4};
        items[count++] = (struct reply){.kind = REPLY_ARRAY, .items = p, .count = 2};
    }
    const struct reply answer = {.kind = REPLY_ARRAY, .items = items, .count = count};
    c->fn(c->arg, &answer, NULL);
    free(items);
    free(parts);
    free(ids);
}

static inline void rig_answer_meta(struct rig *r, struct rig_call *c)
{
    size_t first = 6, count = c->argc - first; /* FCALL name 2 meta built boot field ... */
    struct reply fields[RIG_ARGS] = {{.kind = REPLY_NIL}}, both[2];
    r->metas++;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < r->field_count; k++)
            if (strcmp(c->argv[first + i], r->fields[k].name) == 0)
                fields[i] = (struct reply){.kind = REPLY_STR, .str = view_of(r->fields[k].value)};
    both[0] = (struct reply){.kind = REPLY_INT, .num = r->is_built ? 1 : 0};
    both[1] = (struct reply){.kind = REPLY_ARRAY, .items = fields, .count = count};
    const struct reply answer = {.kind = REPLY_ARRAY, .items = both, .count = 2};
    c->fn(c->arg, &answer, NULL);
}

static inline void rig_answer_admit(struct rig *r, struct rig_call *c, int64_t kind,
                                    int64_t reserved)
{
    const struct reply items[4] = {{.kind = REPLY_INT, .num = kind},
                                   {.kind = REPLY_STR, .str = VIEW_LIT("queued")},
                                   {.kind = REPLY_INT, .num = r->count},
                                   {.kind = REPLY_INT, .num = reserved}};
    const struct reply answer = {.kind = REPLY_ARRAY, .items = items, .count = 4};
    c->fn(c->arg, &answer, NULL);
}

static inline void rig_answer(struct rig *r, struct rig_call *c)
{
    struct err away;
    struct reply count = {.kind = REPLY_INT, .num = r->count};
    const char *name = c->argv[0];
    if (r->is_redis_down) {
        (void)err_set(&away, ERR_UNAVAILABLE, "away");
        c->fn(c->arg, NULL, &away);
    } else if (strcmp(name, "XRANGE") == 0) {
        rig_answer_range(r, c, false);
    } else if (strcmp(name, "XREVRANGE") == 0) {
        rig_answer_range(r, c, true);
    } else if (strcmp(name, "GET") == 0) {
        r->counts++;
        c->fn(c->arg, &count, NULL);
    } else if (strcmp(c->argv[1], "sluice_v1_meta") == 0) {
        rig_answer_meta(r, c);
    } else if (strcmp(c->argv[1], "sluice_v1_admit") == 0) {
        r->admits++;
        rig_answer_admit(r, c, r->admit_kind, 0);
    } else {
        assert_string_equal(c->argv[1], "sluice_v1_reserve");
        r->reserves++;
        rig_answer_admit(r, c, r->reserve_kind, r->reserve_reserved);
    }
}

static inline bool rig_is_held(const struct rig *r, const struct rig_call *c)
{
    return r->is_admit_held && c->argc > 1 && strcmp(c->argv[1], "sluice_v1_admit") == 0;
}

static inline bool rig_step(struct rig *r)
{
    struct err away;
    const struct reply ready = {.kind = REPLY_ARRAY};
    struct list_link *k = list_first(&r->subscribes);
    if (k) {
        struct rig_call *c = LIST_ITEM(k, struct rig_call, link);
        list_remove(&r->subscribes, k);
        (void)err_set(&away, ERR_UNAVAILABLE, "away");
        c->fn(c->arg, r->is_sub_down ? NULL : &ready, r->is_sub_down ? &away : NULL);
        rig_call_free(c);
        return true;
    }
    for (k = list_first(&r->calls); k; k = list_next(&r->calls, k)) {
        struct rig_call *c = LIST_ITEM(k, struct rig_call, link);
        if (rig_is_held(r, c)) continue;
        if (r->is_slow && !c->is_executed) {
            c->is_executed = true;
            c->seen = r->entry_count;
            return true;
        }
        list_remove(&r->calls, k);
        rig_answer(r, c);
        rig_call_free(c);
        return true;
    }
    return false;
}

/* Everything that is due now happens. */
static inline void rig_run(struct rig *r)
{
    for (size_t i = 0; i < RIG_STEPS; i++) {
        bool has_stepped = rig_step(r);
        if (timerq_run(r->timers, r->clock.mono_ms, 100) == 0 && !has_stepped) return;
    }
    fail_msg("the rig does not come to rest");
}

/* Time passes, timer by timer. */
static inline void rig_pass(struct rig *r, int64_t ms)
{
    int64_t until = r->clock.mono_ms + ms;
    rig_run(r);
    while (timerq_next_ms(r->timers) <= until) {
        int64_t next = timerq_next_ms(r->timers);
        if (next > r->clock.mono_ms) {
            r->clock.wall_ms += next - r->clock.mono_ms;
            r->clock.mono_ms = next;
        }
        rig_run(r);
    }
    r->clock.wall_ms += until - r->clock.mono_ms;
    r->clock.mono_ms = until;
}

static inline struct rig *rig_new(void)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->clock = (struct clock){.mono_ms = 1000, .wall_ms = 1795553743123};
    r->timers = timerq_new(10000);
    assert_non_null(r->timers);
    assert_true(id_parse(VIEW_LIT("01a20f90-bb1d-7001-9f75-12f927ebbb5e"), &r->job));
    r->is_built = true;
    list_init(&r->calls);
    list_init(&r->subscribes);
    return r;
}

static inline void rig_free(struct rig *r)
{
    struct list_link *k;
    while ((k = list_first(&r->calls)) != NULL) {
        list_remove(&r->calls, k);
        rig_call_free(LIST_ITEM(k, struct rig_call, link));
    }
    while ((k = list_first(&r->subscribes)) != NULL) {
        list_remove(&r->subscribes, k);
        rig_call_free(LIST_ITEM(k, struct rig_call, link));
    }
    rig_wipe_stream(r);
    rig_wipe_meta(r);
    timerq_free(r->timers);
    free(r);
}

#endif
