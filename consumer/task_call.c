/* What a call's outcome means for the run that asked for it: text told as it comes, the reply as
 * the step's value, another try or the end of the run.
 *
 * Hard: what was told of a reply that broke off is void only by an attempt of a higher number, so a
 * fault that burns none otherwise burns one as soon as there is text. */
#include "consumer/backoff.h"
#include "consumer/task_priv.h"

void task_call_started(struct task *t, uint32_t run, int64_t now_ms)
{
    struct run *r = task_run_find(t, run);

    (void)now_ms;
    if (!r || r->state != RUN_READY) return;
    r->state = RUN_CALLING;
    if (!r->has_started) task_emit_event(t, EVENT_STEP_STARTED, r, VIEW_NONE);
    r->has_started = true;
}

void task_call_waits(struct task *t, uint32_t run, int64_t now_ms)
{
    struct run *r = task_run_find(t, run);

    (void)now_ms;
    if (!r || r->state != RUN_CALLING) return;
    r->state = RUN_READY;
    if (!t->draining) return;
    task_run_hold(t, r); /* the next worker's, as all that has not gone out */
    task_tell_paused(t);
}

void task_call_text(struct task *t, uint32_t run, struct view text, int64_t now_ms)
{
    struct run *r = task_run_find(t, run);
    struct buf b;
    struct jw w;

    (void)now_ms;
    if (!r || (r->state != RUN_CALLING && r->state != RUN_STREAMING) || text.len == 0) return;
    r->state = RUN_STREAMING;
    if (!buf_put_view(&r->text, text)) return; /* told when the call ends: output_too_large */
    buf_init(&b, text.len * 6 + 64);
    buf_put_str(&b, ",\"text\":");
    jw_init(&w, &b);
    jw_str(&w, text);
    task_emit_event(t, EVENT_STEP_DELTA, r, buf_view(&b));
    buf_fini(&b);
}

/* The reply's text as the step's value: as it is, or parsed and checked. NULL: err says why. */
static struct json_t *task_call_value(struct task *t, struct run *r, struct err *err)
{
    static const struct json_limits limits = {
        .bytes_max = 1 << 20, .depth_max = 64, .nodes_max = 200000};
    const struct workflow_step *s = &t->workflow->steps[r->step];
    struct json_t *value = NULL;

    if (!s->response_schema) {
        value = json_stringn(r->text.len ? r->text.data : "", r->text.len);
        if (!value) (void)err_set(err, ERR_PROTOCOL, "the reply of step %s is not UTF-8", s->id);
        return value;
    }
    if (json_load(view_trim(buf_view(&r->text)), &limits, &value, err) != ERR_OK) {
        (void)err_set(err, ERR_PROTOCOL, "the reply of step %s is not JSON", s->id);
        return NULL;
    }
    if (jsonschema_check(s->response_schema, value, "/output", err) == ERR_OK) return value;
    json_decref(value);
    return NULL;
}

static void task_call_charge(struct task *t, const struct run *r)
{
    const struct task_effect e = {.kind = TASK_CHARGE,
                                  .run = r->id,
                                  .step = t->workflow->steps[r->step].id,
                                  .item = r->item,
                                  .model = t->workflow->steps[r->step].model,
                                  .usage = r->usage};

    task_emit(t, &e);
}

static void task_call_retry(struct task *t, struct run *r, int64_t delay_ms, const char *code,
                            int64_t now_ms)
{
    const struct task_effect wake = {.kind = TASK_WAKE, .item = -1, .when_ms = now_ms + delay_ms};
    char members[160];
    int n = snprintf(members, sizeof members, ",\"delay_ms\":%lld,\"error\":{\"code\":\"%s\"}",
                     (long long)delay_ms, code);

    r->state = RUN_RETRYING;
    r->wake_ms = now_ms + delay_ms;
    task_emit_event(t, EVENT_STEP_RETRYING, r, view_make(members, (size_t)n));
    if (t->draining) { /* the other try is the next worker's */
        task_run_hold(t, r);
        task_tell_paused(t);
        return;
    }
    task_emit(t, &wake);
}

/* A try that counts: another one after a back-off, or the run fails. */
static void task_call_count(struct task *t, struct run *r, const char *code, const struct err *e,
                            int64_t hint_ms, int64_t now_ms, struct rng *rng)
{
    const struct workflow_retry *p = &t->workflow->steps[r->step].retry;
    int64_t delay;

    if (r->attempt >= p->max_attempts) {
        task_run_fail(t, r, code, e, true);
        task_advance(t);
        return;
    }
    delay = backoff_delay_ms(p->initial_ms, p->max_ms, p->exponential, r->attempt, rng);
    r->attempt++;
    task_call_retry(t, r, hint_ms > delay ? hint_ms : delay, code, now_ms);
}

void task_call_done(struct task *t, uint32_t run, struct view finish_reason,
                    struct task_usage usage, int64_t now_ms)
{
    struct run *r = task_run_find(t, run);
    struct err err = {0};
    struct json_t *value;
    struct rng rng;

    if (!r || (r->state != RUN_CALLING && r->state != RUN_STREAMING)) return;
    r->state = RUN_RECORDING; /* nothing is in hand any more */
    r->usage = usage;
    (void)view_copy(finish_reason, r->finish, sizeof r->finish);
    task_call_charge(t, r);
    if (r->text.failed) {
        (void)err_set(&err, ERR_TOO_LARGE, "the output of step %s is over %zu KB",
                      t->workflow->steps[r->step].id, t->step_output_max >> 10);
        task_run_fail(t, r, "output_too_large", &err, false);
    } else if ((value = task_call_value(t, r, &err)) != NULL) {
        task_run_complete(t, r, value);
    } else {
        rng_seed(&rng, (uint64_t)now_ms ^ r->id);
        task_call_count(t, r, "schema_mismatch", &err, 0, now_ms, &rng);
        return;
    }
    task_advance(t);
}

void task_call_failed(struct task *t, uint32_t run, enum task_fault fault, const struct err *e,
                      struct view provider_code, int64_t retry_after_ms, int64_t now_ms,
                      struct rng *rng)
{
    struct run *r = task_run_find(t, run);

    (void)provider_code; /* e's text names it already */
    if (!r || (r->state != RUN_READY && r->state != RUN_CALLING && r->state != RUN_STREAMING))
        return;
    r->state = RUN_RECORDING; /* nothing is in hand any more */
    switch (fault) {
    case TASK_FAULT_THROTTLE:
    case TASK_FAULT_EXHAUSTED:
    case TASK_FAULT_OUTAGE: {
        if (r->text.len > 0 && !t->draining) { /* what was told is void only by another attempt */
            task_call_count(t, r, "provider_unavailable", e, retry_after_ms, now_ms, rng);
            return;
        }
        int64_t delay = backoff_delay_ms(500, fault == TASK_FAULT_EXHAUSTED ? 300000 : 30000, true,
                                         ++r->waits, rng);

        task_call_retry(t, r, retry_after_ms > delay ? retry_after_ms : delay,
                        "provider_unavailable", now_ms);
        return;
    }
    case TASK_FAULT_OVERLOAD:
    case TASK_FAULT_BROKEN:
        task_call_count(t, r, e->code == ERR_TIMEOUT ? "timeout" : "provider_unavailable", e,
                        retry_after_ms, now_ms, rng);
        return;
    case TASK_FAULT_FATAL:
        task_run_fail(t, r, "provider_error", e, false);
        task_advance(t);
        return;
    }
    assert(!"unknown fault");
}
