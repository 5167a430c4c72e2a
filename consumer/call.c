/* What is hard: a call ends in many ways (whole, refused, cut in the middle, silent, unwanted), and
 * each must give its budget back once, tell its owner once, and leave the connection usable when it
 * can. Chosen: call_over is the only way out of a try; everything before it only decides what is
 * told. The request's bytes live until text came: till then the same call may go out again, to
 * another provider in another dialect, so what is sent is made from them at each grant. */
#include "consumer/call.h"

#include "common/base/clock.h"
#include "consumer/llm_count.h"
#include <assert.h>

enum {
    CALL_CONNECT_MS = 10000,
    CALL_FIRST_BYTE_MS = 120000,
    CALL_IDLE_MS = 60000,
    CALL_LINGER_MS = 2000,
    CALL_SEND_MS = 2000, /* a request that is not out by then is granted anew */
    CALL_BODY_MAX = 16 << 20,
    CALL_IDENTITY_MAX = 256
};

struct call {
    struct list_link link; /* in owner */
    struct list *owner;
    struct list_link queued; /* in texts or lingering */
    struct call_env *env;
    const struct call_sink *sink;
    void *arg;
    struct pacer_wait wait;
    struct http_call *http;
    struct llm_reply *reply;
    struct pacer_grant grant;
    struct buf request; /* until text came */
    struct buf text;
    struct task_usage usage;
    int64_t cached;
    int64_t timeout_ms, due_ms, out_ms;
    struct call_wait told; /* of its wait */
    struct call_place place;
    uint32_t run;
    bool stream, has_text, is_lingering;
    bool has_spoken;     /* text came: it will not be tried again in here */
    bool is_input_known; /* and told */
    bool is_sent;        /* this try */
    bool is_held;        /* granted, but the owner has to be sure of its job first */
    char identity[CALL_IDENTITY_MAX];
};

static void call_on_grant(void *arg, const struct pacer_grant *g);
static void call_on_wait(void *arg, int64_t until_wall_ms, const char *reason);
static void call_on_skip(void *arg, const struct config_route *route);

/* --- shared ---------------------------------------------------------------------------------- */
void call_env_init(struct call_env *env)
{
    list_init(&env->texts);
    list_init(&env->lingering);
}

static void call_free(struct call *c)
{
    llm_reply_free(c->reply);
    buf_fini(&c->request);
    buf_fini(&c->text);
    free(c);
}

static void call_unqueue(struct call *c)
{
    if (list_linked(&c->queued))
        list_remove(c->is_lingering ? &c->env->lingering : &c->env->texts, &c->queued);
}

void call_env_fini(struct call_env *env)
{
    struct list_link *k;
    while ((k = list_first(&env->lingering)) != NULL) {
        struct call *c = LIST_ITEM(k, struct call, queued);
        call_unqueue(c);
        if (c->http) env->http->cancel(env->http->self, c->http);
        call_free(c);
    }
    timerq_cancel(env->timers, &env->text_timer);
    timerq_cancel(env->timers, &env->linger_timer);
}

static void call_count(struct call *c, const char *outcome)
{
    const char *labels[] = {c->grant.route->provider, c->grant.route->model, outcome};
    metric_add(metric_series(c->env->meters.requests, labels), 1);
}

/* --- in and out ------------------------------------------------------------------------------ */
static struct call *call_make(struct call_env *env, const struct call_ask *ask)
{
    static const struct pacer_sink pacer_sink = {
        .on_grant = call_on_grant, .on_wait = call_on_wait, .on_skip = call_on_skip};
    struct call *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->env = env;
    c->run = ask->run;
    c->place = ask->place;
    c->stream = ask->stream;
    c->timeout_ms = ask->timeout_ms;
    c->usage = (struct task_usage){-1, -1};
    buf_init(&c->request, ask->request.len + 1);
    buf_init(&c->text, CALL_BODY_MAX);
    (void)buf_put_view(&c->request, ask->request);
    (void)view_copy(ask->identity, c->identity, sizeof c->identity);
    c->wait.sink = &pacer_sink;
    c->wait.arg = c;
    if (!c->request.failed) return c;
    call_free(c);
    return NULL;
}

struct call *call_new(struct call_env *env, const struct call_ask *ask,
                      const struct call_sink *sink, void *arg, struct err *err)
{
    struct pacer_ask pace = ask->pace;
    struct call *c = call_make(env, ask);
    if (!c) {
        (void)err_set(err, ERR_NOMEM, "no memory for a call");
        return NULL;
    }
    c->sink = sink;
    c->arg = arg;
    pace.counted = llm_count_tokens(ask->request);
    if (pacer_ask(env->pacer, &c->wait, &pace, err) != ERR_OK) {
        call_free(c);
        return NULL;
    }
    c->owner = ask->owner;
    list_push(c->owner, &c->link);
    return c;
}

uint32_t call_run(const struct call *c)
{
    return c->run;
}

bool call_is_out(const struct call *c)
{
    return c->wait.state == PACER_GRANTED;
}

bool call_wait(const struct call *c, struct call_wait *ret)
{
    if (call_is_out(c) || !c->told.reason) return false;
    *ret = c->told;
    return true;
}

struct call *call_of_link(struct list_link *k)
{
    return LIST_ITEM(k, struct call, link);
}

/* --- text ------------------------------------------------------------------------------------ */
static void call_tell_text(struct call *c)
{
    if (c->has_text) call_unqueue(c);
    c->has_text = false;
    if (c->text.len == 0) return;
    c->sink->on_text(c->arg, c->run, buf_view(&c->text));
    buf_reset(&c->text);
}

static void call_on_text_timer(void *arg)
{
    struct call_env *env = arg;
    struct list_link *k;
    while ((k = list_first(&env->texts)) != NULL) {
        struct call *c = LIST_ITEM(k, struct call, queued);
        if (c->due_ms > env->clock->mono_ms) {
            (void)timerq_set(env->timers, &env->text_timer, c->due_ms, call_on_text_timer, env);
            return;
        }
        call_tell_text(c);
    }
}

static void call_forget_request(struct call *c)
{
    buf_fini(&c->request);
    buf_init(&c->request, 1);
}

static void call_gather(struct call *c, struct view text)
{
    if (text.len == 0) return;
    if (!c->has_spoken) call_forget_request(c);
    c->has_spoken = true;
    if (!c->text.len && !c->has_text && c->out_ms >= 0) {
        const char *labels[] = {c->grant.route->provider, c->grant.route->model};
        metric_observe(metric_series(c->env->meters.first_token_seconds, labels),
                       (double)(c->env->clock->mono_ms - c->out_ms) / 1000);
        c->out_ms = -1;
    }
    (void)buf_put_view(&c->text, text);
    if (c->text.len >= CALL_TEXT_BYTES) {
        call_tell_text(c);
    } else if (!c->has_text) {
        c->has_text = true;
        c->due_ms = c->env->clock->mono_ms + CALL_TEXT_MS;
        list_push(&c->env->texts, &c->queued);
        if (!timerq_pending(&c->env->text_timer))
            (void)timerq_set(c->env->timers, &c->env->text_timer, c->due_ms, call_on_text_timer,
                             c->env);
    }
}

/* --- the ways out ---------------------------------------------------------------------------- */
static void call_on_linger_timer(void *arg)
{
    struct call_env *env = arg;
    struct list_link *k;
    while ((k = list_first(&env->lingering)) != NULL) {
        struct call *c = LIST_ITEM(k, struct call, queued);
        if (c->due_ms > env->clock->mono_ms) {
            (void)timerq_set(env->timers, &env->linger_timer, c->due_ms, call_on_linger_timer, env);
            return;
        }
        call_unqueue(c);
        env->http->cancel(env->http->self, c->http);
        call_free(c);
    }
}

/* The reply is whole but the transport is not through: waits a little, for the connection's sake.
 */
static void call_linger(struct call *c)
{
    c->is_lingering = true;
    c->due_ms = c->env->clock->mono_ms + CALL_LINGER_MS;
    list_push(&c->env->lingering, &c->queued);
    if (!timerq_pending(&c->env->linger_timer))
        (void)timerq_set(c->env->timers, &c->env->linger_timer, c->due_ms, call_on_linger_timer,
                         c->env);
}

static enum limiter_end call_end_of(enum task_fault fault)
{
    switch (fault) {
    case TASK_FAULT_THROTTLE:
        return LIMITER_REFUSED;
    case TASK_FAULT_OUTAGE:
    case TASK_FAULT_OVERLOAD:
        return LIMITER_FAILED;
    case TASK_FAULT_EXHAUSTED:
        return LIMITER_EXHAUSTED;
    case TASK_FAULT_FATAL:
    case TASK_FAULT_BROKEN:
        break;
    }
    return LIMITER_BROKEN;
}

/* Gives the budget back. Returns what it cost, micro-dollars. */
static int64_t call_settle(struct call *c, const struct llm_out *out, enum limiter_end end)
{
    const struct pacer_outcome o = {.end = end,
                                    .input = out->usage.input_tokens,
                                    .cached = out->cached_input_tokens,
                                    .output = out->usage.output_tokens,
                                    .retry_after_ms = out->retry_after_ms,
                                    .is_whole = end == LIMITER_OK};
    int64_t cost = pacer_cost(&c->wait, &o);
    pacer_done(&c->wait, &o);
    return cost > 0 ? cost : 0;
}

static void call_count_tokens(struct call *c)
{
    const char *in[] = {c->grant.route->provider, c->grant.route->model, "input"};
    const char *out[] = {c->grant.route->provider, c->grant.route->model, "output"};
    if (c->usage.input_tokens > 0)
        metric_add(metric_series(c->env->meters.tokens, in), (double)c->usage.input_tokens);
    if (c->usage.output_tokens > 0)
        metric_add(metric_series(c->env->meters.tokens, out), (double)c->usage.output_tokens);
}

static const char *call_outcome(enum task_fault fault)
{
    switch (fault) {
    case TASK_FAULT_THROTTLE:
        return "throttled";
    case TASK_FAULT_OUTAGE:
        return "outage";
    case TASK_FAULT_OVERLOAD:
        return "overload";
    case TASK_FAULT_EXHAUSTED:
        return "exhausted";
    case TASK_FAULT_FATAL:
        return "refused";
    case TASK_FAULT_BROKEN:
        return "broken";
    }
    return "other";
}

/* The transport and what belongs to one try of it. */
static void call_drop_try(struct call *c, bool is_ended)
{
    if (c->http && !is_ended) c->env->http->cancel(c->env->http->self, c->http);
    c->http = NULL;
    llm_reply_free(c->reply);
    c->reply = NULL;
    c->is_input_known = c->is_sent = false;
    c->usage = (struct task_usage){-1, -1};
    c->cached = 0;
}

static bool call_waits_again(struct call *c, const struct llm_out *out)
{
    switch (out->fault) {
    case TASK_FAULT_THROTTLE:
    case TASK_FAULT_OUTAGE:
    case TASK_FAULT_EXHAUSTED: /* not sent: no fault of the route's */
        return pacer_again(&c->wait, c->is_sent ? out->fault : TASK_FAULT_BROKEN);
    case TASK_FAULT_OVERLOAD:
        return pacer_again_elsewhere(&c->wait, out->fault);
    case TASK_FAULT_FATAL:
        return out->context_too_long && pacer_again_longer(&c->wait);
    case TASK_FAULT_BROKEN:
        break;
    }
    return false;
}

/* True: it waits again, and the owner was told; it may be gone by now. */
static bool call_again(struct call *c, const struct llm_out *out, bool is_ended)
{
    if (c->has_spoken || !call_waits_again(c, out)) return false;
    call_drop_try(c, is_ended);
    c->told.reason = NULL;
    c->sink->on_again(c->arg, c->run);
    return true;
}

static void call_release(struct call *c, bool is_ended, bool is_done)
{
    list_remove(c->owner, &c->link);
    if (is_done && !is_ended) {
        call_linger(c);
        return;
    }
    call_drop_try(c, is_ended);
    call_free(c);
}

/* A try is over. is_ended: the transport is through (or never was). The owner is told last: it may
 * start the next call. */
static void call_over(struct call *c, enum llm_verdict verdict, const struct llm_out *out,
                      bool is_ended)
{
    const struct call_sink *sink = c->sink;
    void *arg = c->arg;
    uint32_t run = c->run;
    char reason[32] = "";
    bool is_done = verdict == LLM_DONE;
    bool is_unsent = !is_done && !c->is_sent;
    struct task_usage usage = c->usage = out->usage;
    call_tell_text(c);
    call_count(c, is_done ? "ok" : is_unsent ? "unsent" : call_outcome(out->fault));
    call_count_tokens(c);
    (void)view_copy(out->finish_reason, reason, sizeof reason);
    struct llm_out copy = *out; /* its views may point into the reply */
    copy.text = VIEW_NONE;
    copy.finish_reason = view_of(reason);
    int64_t cost = call_settle(c, out,
                               is_done     ? LIMITER_OK
                               : is_unsent ? LIMITER_UNSENT
                                           : call_end_of(out->fault));
    if (!is_done && call_again(c, &copy, is_ended)) return;
    call_release(c, is_ended, is_done);
    if (is_done) {
        sink->on_done(arg, run, view_of(reason), usage, cost);
    } else {
        sink->on_failed(arg, run, &copy);
    }
}

void call_cut(struct call *c, bool tell_text)
{
    const struct llm_out out = {.usage = c->usage, .cached_input_tokens = c->cached};
    if (tell_text) call_tell_text(c);
    call_unqueue(c);
    list_remove(c->owner, &c->link);
    if (call_is_out(c)) {
        if (!c->is_held) call_count(c, "cut");
        /* held: it never went out. Else what was asked may well be billed: the estimate stands */
        (void)call_settle(c, &out, c->is_held ? LIMITER_UNSENT : LIMITER_BROKEN);
    } else {
        pacer_cancel(&c->wait);
    }
    call_drop_try(c, false);
    call_free(c);
}

/* --- the reply ------------------------------------------------------------------------------- */
static void call_on_head(void *arg, int status, const struct http_header *headers, size_t count)
{
    struct call *c = arg;
    if (c->is_lingering) return;
    llm_reply_head(c->reply, status, headers, count, c->env->clock->wall_ms);
    pacer_told(&c->wait, llm_reply_limits(c->reply), status / 100 == 2);
}

static void call_note_usage(struct call *c, const struct llm_out *out)
{
    c->usage.input_tokens = out->usage.input_tokens;
    c->cached = out->cached_input_tokens;
    if (c->is_input_known || out->usage.input_tokens < 0) return;
    c->is_input_known = true;
    pacer_input_known(&c->wait, out->usage.input_tokens);
}

static void call_on_body(void *arg, struct view bytes)
{
    struct call *c = arg;
    struct llm_out out = {.retry_after_ms = -1, .usage = {-1, -1}};
    if (c->is_lingering) return;
    enum llm_verdict verdict = llm_reply_feed(c->reply, bytes, &out);
    call_gather(c, out.text);
    if (verdict == LLM_MORE) {
        call_note_usage(c, &out);
    } else {
        call_over(c, verdict, &out, false);
    }
}

static void call_on_end(void *arg, const struct err *e)
{
    struct call *c = arg;
    struct llm_out out = {.retry_after_ms = -1, .usage = {-1, -1}};
    c->http = NULL;
    if (c->is_lingering) {
        call_unqueue(c);
        call_free(c);
        return;
    }
    enum llm_verdict verdict = llm_reply_end(c->reply, e, &out);
    assert(verdict != LLM_MORE);
    if (e && e->code == ERR_CLOSED) c->is_sent = false; /* it was too late for that */
    call_gather(c, out.text);
    call_over(c, verdict, &out, true);
}

/* --- going out ------------------------------------------------------------------------------- */
static bool call_send(struct call *c, const struct llm_wire *w, struct err *err)
{
    static const struct http_sink sink = {
        .on_head = call_on_head, .on_body = call_on_body, .on_end = call_on_end};
    struct http_header headers[17];
    struct buf secret;
    size_t count = 0;
    struct view key =
        c->env->provider_key(c->env->provider_key_arg, c->grant.provider, c->grant.key_index);
    for (; count < w->header_count; count++)
        headers[count] = (struct http_header){
            .name = view_of(w->headers[count].name),
            .value = view_make(w->header_bytes.data + w->headers[count].at, w->headers[count].len)};
    buf_init(&secret, 8192);
    if (w->key_header && key.len) {
        if (w->key_prefix) (void)buf_put_str(&secret, w->key_prefix);
        (void)buf_put_view(&secret, key);
        headers[count++] =
            (struct http_header){.name = view_of(w->key_header), .value = buf_view(&secret)};
    }
    int64_t total = c->timeout_ms;
    int64_t send_by = c->env->send_by_ms(c->env->send_by_arg);
    int64_t late = c->env->clock->mono_ms + CALL_SEND_MS; /* the grant is for now */
    struct http_request_out req = {
        .method = "POST",
        .url = buf_view(&w->url),
        .headers = headers,
        .header_count = count,
        .body = buf_view(&w->body),
        .send_by_ms = send_by < late ? send_by : late,
        .connect_timeout_ms = CALL_CONNECT_MS,
        .first_byte_timeout_ms =
            total < CALL_FIRST_BYTE_MS || !c->stream ? total : CALL_FIRST_BYTE_MS,
        .idle_timeout_ms = total < CALL_IDLE_MS || !c->stream ? total : CALL_IDLE_MS,
        .total_timeout_ms = total,
        .body_max = CALL_BODY_MAX};
    c->http = c->env->http->start(c->env->http->self, &req, &sink, c, err);
    if (secret.data) memset(secret.data, 0, secret.len);
    buf_fini(&secret);
    return c->http != NULL;
}

static bool call_try(struct call *c, struct llm_out *out)
{
    struct llm_request q = {.provider = c->grant.provider,
                            .model = view_of(c->grant.route->model),
                            .request = buf_view(&c->request),
                            .stream = c->stream,
                            .identity = view_of(c->identity)};
    struct llm_wire w;
    bool is_out = false;
    enum err_code wired = llm_wire_init(&w, &q, &out->err);
    if (wired != ERR_OK) {
        out->fault = wired == ERR_NOMEM ? TASK_FAULT_OUTAGE : TASK_FAULT_FATAL;
    } else if (!(c->reply = llm_reply_new(c->grant.provider, c->stream))) {
        (void)err_set(&out->err, ERR_NOMEM, "no memory for a reply");
    } else {
        is_out = call_send(c, &w, &out->err);
    }
    llm_wire_fini(&w);
    return is_out;
}

/* What fails in here fails before anything was sent: the provider has no part in it. */
static void call_out(struct call *c)
{
    struct llm_out out = {.retry_after_ms = -1, .usage = {-1, -1}, .fault = TASK_FAULT_OUTAGE};
    c->is_sent = call_try(c, &out);
    if (c->is_sent) {
        c->out_ms = c->env->clock->mono_ms;
        c->sink->on_started(c->arg, c->run);
        return;
    }
    call_over(c, LLM_FAILED, &out, true);
}

static void call_on_grant(void *arg, const struct pacer_grant *g)
{
    struct call *c = arg;
    c->grant = *g;
    c->told.reason = NULL;
    c->is_held = !c->sink->may_go(c->arg);
    if (!c->is_held) call_out(c);
}

struct call *call_first_held(const struct list *owner)
{
    for (struct list_link *k = list_first(owner); k; k = list_next(owner, k))
        if (call_of_link(k)->is_held) return call_of_link(k);
    return NULL;
}

void call_go(struct call *c)
{
    assert(c->is_held);
    c->is_held = false;
    call_out(c);
}

static void call_on_wait(void *arg, int64_t until_wall_ms, const char *reason)
{
    struct call *c = arg;
    c->told = (struct call_wait){
        .reason = reason, .until_wall_ms = until_wall_ms, .on = pacer_waits_on(&c->wait)};
    c->sink->on_wait(c->arg, c->run);
}

static void call_on_skip(void *arg, const struct config_route *route)
{
    struct call *c = arg;
    c->sink->on_skip(c->arg, &c->place, route);
}
