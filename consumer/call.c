/* What is hard: a call ends in many ways (whole, refused, cut in the middle, silent, unwanted), and
 * each must give its budget back once, tell its owner once, and leave the connection usable when it
 * can. Chosen: call_leave is the only way out; everything before it only decides what is told. The
 * request's bytes live until the call went out: a streaming call then holds its parser and half a
 * kilobyte of text. */
#include "consumer/call.h"

#include "common/base/clock.h"
#include <assert.h>

enum {
    CALL_CONNECT_MS = 10000,
    CALL_FIRST_BYTE_MS = 120000,
    CALL_IDLE_MS = 60000,
    CALL_LINGER_MS = 2000,
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
    struct budget_wait wait;
    struct http_call *http;
    struct llm_reply *reply;
    const struct config_provider *provider;
    const struct config_route *route;
    struct buf request; /* until it went out */
    struct buf text;
    struct task_usage usage;
    int64_t timeout_ms, due_ms, out_ms;
    uint32_t run;
    bool stream, has_text, is_lingering;
    bool is_held; /* granted, but the owner has to be sure of its job first */
    char identity[CALL_IDENTITY_MAX];
};

static void call_on_grant(void *arg);
static void call_on_wait(void *arg, int64_t until_wall_ms);

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
    const char *labels[] = {c->route->provider, c->route->model, outcome};
    metric_add(metric_series(c->env->meters.requests, labels), 1);
}

/* --- in and out ------------------------------------------------------------------------------ */
struct call *call_new(struct call_env *env, const struct call_ask *ask,
                      const struct call_sink *sink, void *arg, struct err *err)
{
    const struct config_model *model = config_model_find(env->config, ask->model);
    if (!model || model->route_count == 0) {
        (void)err_set(err, ERR_NOT_FOUND, "model %.*s is not configured on this worker",
                      (int)ask->model.len, ask->model.ptr);
        return NULL;
    }
    struct call *c = calloc(1, sizeof *c);
    if (!c) {
        (void)err_set(err, ERR_NOMEM, "no memory for a call");
        return NULL;
    }
    c->env = env;
    c->sink = sink;
    c->arg = arg;
    c->run = ask->run;
    c->stream = ask->stream;
    c->timeout_ms = ask->timeout_ms;
    c->usage = (struct task_usage){-1, -1};
    c->route = &model->routes[0];
    c->provider = config_provider_find(env->config, view_of(c->route->provider));
    buf_init(&c->request, ask->request.len + 1);
    buf_init(&c->text, CALL_BODY_MAX);
    (void)buf_put_view(&c->request, ask->request);
    (void)view_copy(ask->identity, c->identity, sizeof c->identity);
    c->wait.on_grant = call_on_grant;
    c->wait.on_wait = call_on_wait;
    c->wait.arg = c;
    if (c->provider && !c->request.failed &&
        budget_ask(env->budget, &c->wait, ask->model, ask->tokens)) {
        c->owner = ask->owner;
        list_push(c->owner, &c->link);
        return c;
    }
    (void)err_set(err, c->provider ? ERR_NOMEM : ERR_NOT_FOUND, "provider %s is not configured",
                  c->route->provider);
    call_free(c);
    return NULL;
}

uint32_t call_run(const struct call *c)
{
    return c->run;
}

bool call_is_out(const struct call *c)
{
    return c->wait.is_granted;
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

static void call_gather(struct call *c, struct view text)
{
    if (text.len == 0) return;
    if (!c->text.len && !c->has_text && c->out_ms >= 0) {
        const char *labels[] = {c->route->provider, c->route->model};
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

static void call_settle(struct call *c, const struct llm_out *out, bool has_failed)
{
    int64_t used = -1;
    if (c->usage.input_tokens >= 0 || c->usage.output_tokens >= 0)
        used = (c->usage.input_tokens > 0 ? c->usage.input_tokens : 0) +
               (c->usage.output_tokens > 0 ? c->usage.output_tokens : 0);
    bool is_throttle = has_failed && out->fault == TASK_FAULT_THROTTLE;
    struct budget_outcome o = {
        .used_tokens = used,
        .was_refused = is_throttle,
        .closed_for_ms = is_throttle ? (out->retry_after_ms > 0 ? out->retry_after_ms : 1000) : 0};
    budget_done(c->env->budget, &c->wait, &o);
}

static void call_count_tokens(struct call *c)
{
    const char *in[] = {c->route->provider, c->route->model, "input"};
    const char *out[] = {c->route->provider, c->route->model, "output"};
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

/* Leaves the owner. is_ended: the transport is through (or never was). The owner is told last: it
 * may start the next call. */
static void call_leave(struct call *c, enum llm_verdict verdict, const struct llm_out *out,
                       bool is_ended)
{
    const struct call_sink *sink = c->sink;
    void *arg = c->arg;
    uint32_t run = c->run;
    char reason[32] = "";
    struct task_usage usage = c->usage = out->usage;
    call_tell_text(c);
    call_settle(c, out, verdict == LLM_FAILED);
    call_count(c, verdict == LLM_DONE ? "ok" : call_outcome(out->fault));
    call_count_tokens(c);
    (void)view_copy(out->finish_reason, reason, sizeof reason);
    struct llm_out copy = *out; /* its views may point into the reply */
    copy.text = VIEW_NONE;
    copy.finish_reason = view_of(reason);
    list_remove(c->owner, &c->link);
    if (is_ended || verdict == LLM_FAILED) {
        if (c->http && !is_ended) c->env->http->cancel(c->env->http->self, c->http);
        call_free(c);
    } else {
        call_linger(c);
    }
    if (verdict == LLM_DONE) {
        sink->on_done(arg, run, view_of(reason), usage);
    } else {
        sink->on_failed(arg, run, &copy);
    }
}

void call_cut(struct call *c, bool tell_text)
{
    struct budget_outcome o = {.used_tokens =
                                   -1}; /* what was asked may well be billed: the estimate stands */
    if (tell_text) call_tell_text(c);
    call_unqueue(c);
    list_remove(c->owner, &c->link);
    if (c->http) c->env->http->cancel(c->env->http->self, c->http);
    if (c->wait.is_granted) {
        if (!c->is_held) call_count(c, "cut");
        o.was_refused = c->is_held; /* it never went out: all of it back */
        budget_done(c->env->budget, &c->wait, &o);
    } else {
        budget_cancel(c->env->budget, &c->wait);
    }
    call_free(c);
}

/* --- the reply ------------------------------------------------------------------------------- */
static void call_on_head(void *arg, int status, const struct http_header *headers, size_t count)
{
    struct call *c = arg;
    if (!c->is_lingering) llm_reply_head(c->reply, status, headers, count, c->env->clock->wall_ms);
}

static void call_on_body(void *arg, struct view bytes)
{
    struct call *c = arg;
    struct llm_out out = {.retry_after_ms = -1, .usage = {-1, -1}};
    if (c->is_lingering) return;
    enum llm_verdict verdict = llm_reply_feed(c->reply, bytes, &out);
    call_gather(c, out.text);
    if (verdict != LLM_MORE) call_leave(c, verdict, &out, false);
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
    call_gather(c, out.text);
    call_leave(c, verdict, &out, true);
}

/* --- going out ------------------------------------------------------------------------------- */
static bool call_send(struct call *c, const struct llm_wire *w, struct err *err)
{
    static const struct http_sink sink = {
        .on_head = call_on_head, .on_body = call_on_body, .on_end = call_on_end};
    struct http_header headers[17];
    struct buf secret;
    size_t count = 0;
    struct view key = c->env->provider_key(c->env->provider_key_arg, c->provider, 0);
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
    struct http_request_out req = {
        .method = "POST",
        .url = buf_view(&w->url),
        .headers = headers,
        .header_count = count,
        .body = buf_view(&w->body),
        .send_by_ms = c->env->send_by_ms(c->env->send_by_arg),
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

static void call_out(struct call *c)
{
    struct llm_out out = {.retry_after_ms = -1, .usage = {-1, -1}, .fault = TASK_FAULT_FATAL};
    struct llm_wire w;
    struct llm_request q = {.provider = c->provider,
                            .model = view_of(c->route->model),
                            .request = buf_view(&c->request),
                            .stream = c->stream,
                            .identity = view_of(c->identity)};
    bool is_out = false;
    enum err_code wired = llm_wire_init(&w, &q, &out.err);
    if (wired != ERR_OK) {
        out.fault = wired == ERR_NOMEM ? TASK_FAULT_OUTAGE : TASK_FAULT_FATAL;
    } else if (!(c->reply = llm_reply_new(c->provider, c->stream))) {
        (void)err_set(&out.err, ERR_NOMEM, "no memory for a reply");
        out.fault = TASK_FAULT_OUTAGE;
    } else {
        out.fault = TASK_FAULT_OUTAGE;
        is_out = call_send(c, &w, &out.err);
    }
    llm_wire_fini(&w);
    buf_fini(&c->request);
    buf_init(&c->request, 1);
    if (is_out) {
        c->out_ms = c->env->clock->mono_ms;
        c->sink->on_started(c->arg, c->run);
    } else {
        call_leave(c, LLM_FAILED, &out, true);
    }
}

static void call_on_grant(void *arg)
{
    struct call *c = arg;
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

static void call_on_wait(void *arg, int64_t until_wall_ms)
{
    struct call *c = arg;
    c->sink->on_wait(c->arg, c->run, until_wall_ms);
}
