#define _GNU_SOURCE /* memmem */
/* The model provider. Every call is one small program decided at its start by the seed: how long to the first byte, how many tokens, and how it
 * ends. The text says who asked, so that a mix-up shows: "w0 w1 ... " of the identity's hash. */
#include "tests/sim/model_provider.h"
#include "common/base/hash.h"
#include <assert.h>

enum { CALLS_MAX = 20000 };

enum plan { PLAN_WHOLE, PLAN_THROTTLE, PLAN_ERROR, PLAN_OUTAGE, PLAN_CUT, PLAN_GARBAGE, PLAN_STALL, PLAN_REFUSE };

struct model_provider {
    struct world *world;
    struct provider_faults faults;
    int64_t first_ms_max, token_ms_max, tokens_max;
    bool is_fixed; /* exactly these, not at most */
    struct call_entry *entries;
    size_t count, max;
    void (*on_call)(void *arg, const struct call_entry *e);
    void *on_call_arg;
};

struct model_client {
    struct model_provider *provider;
    struct proc *proc;
    struct http_call *first; /* those the provider has not ended */
    size_t refs;
    bool gone;
};

struct http_call {
    struct http_call *next, **at; /* in client->first; at NULL: not there */
    struct model_client *client;
    size_t entry;
    enum plan plan;
    bool stream, canceled, headed;
    int64_t tokens, sent, idle_timeout_ms, first_timeout_ms;
    struct http_sink sink;
    void *arg;
    size_t refs;
};

struct model_provider *model_provider_new(struct world *w)
{
    struct model_provider *m = calloc(1, sizeof *m);

    assert(m);
    *m = (struct model_provider){.world = w, .first_ms_max = 100, .token_ms_max = 20, .tokens_max = 12};
    return m;
}

void model_provider_free(struct model_provider *m)
{
    free(m->entries);
    free(m);
}

void model_provider_set(struct model_provider *m, const struct provider_faults *f)
{
    m->faults = *f;
}

void model_provider_speed(struct model_provider *m, int64_t first_ms_max, int64_t token_ms_max, int64_t tokens_max)
{
    m->first_ms_max = first_ms_max;
    m->token_ms_max = token_ms_max;
    m->tokens_max = tokens_max;
    m->is_fixed = false;
}

void model_provider_fix(struct model_provider *m, int64_t first_ms, int64_t token_ms, int64_t tokens)
{
    model_provider_speed(m, first_ms, token_ms, tokens);
    m->is_fixed = true;
}

static int64_t pace(struct model_provider *m, int64_t max)
{
    return m->is_fixed ? max : 1 + (int64_t)rng_below(world_rng(m->world), (uint64_t)max);
}

struct model_client *model_client_new(struct model_provider *m, struct proc *p)
{
    struct model_client *c = calloc(1, sizeof *c);

    assert(c);
    *c = (struct model_client){.provider = m, .proc = p, .refs = 1};
    return c;
}

static void client_unref(struct model_client *c)
{
    if (--c->refs == 0) free(c);
}

static struct call_entry *entry_of(struct http_call *h)
{
    return &h->client->provider->entries[h->entry];
}

static void end_entry(struct http_call *h, enum call_outcome outcome)
{
    struct call_entry *e = entry_of(h);

    if (!h->at) return;
    *h->at = h->next;
    if (h->next) h->next->at = h->at;
    h->at = NULL;
    e->outcome = outcome;
    e->ended_ms = world_now_ms(h->client->provider->world);
    world_trace(h->client->provider->world, "the call %s of %s ends: %s", e->identity, e->client,
                (const char *[]){"open", "whole", "refused", "broken", "client gone"}[outcome]);
}

void model_client_free(struct model_client *c)
{
    if (!c) return;
    c->gone = true;
    while (c->first) end_entry(c->first, CALL_CLIENT_GONE);
    client_unref(c);
}

/* Two kinds of holders: every envelope on its way, and the caller's handle until the end was told or it cancelled. */
static void call_unref(struct http_call *h)
{
    if (--h->refs > 0) return;
    client_unref(h->client);
    free(h);
}

/* An envelope that found nobody: the process died, and its handle with it. */
static void call_drop(void *arg)
{
    struct http_call *h = arg;

    if (h->at) end_entry(h, CALL_CLIENT_GONE);
    if (!h->canceled) h->refs--; /* the caller's */
    h->canceled = true;
    call_unref(h);
}

static void finish(struct http_call *h, enum call_outcome outcome, enum err_code code, const char *text)
{
    struct err e = {.code = code};

    snprintf(e.text, sizeof e.text, "%s", text);
    end_entry(h, outcome);
    h->canceled = true; /* the handle dies here */
    h->sink.on_end(h->arg, code == ERR_OK ? NULL : &e);
    call_unref(h);
}

static void body(struct http_call *h, const char *text)
{
    struct view rest = view_of(text);
    struct rng *rng = world_rng(h->client->provider->world);

    while (rest.len > 0 && !h->canceled) { /* in pieces, to meet every split */
        size_t n = 1 + (size_t)rng_below(rng, rest.len);

        h->sink.on_body(h->arg, view_make(rest.ptr, n));
        rest = view_make(rest.ptr + n, rest.len - n);
    }
}

static void head(struct http_call *h, int status, const char *retry_after)
{
    const struct http_header headers[] = {{VIEW_LIT("Content-Type"), VIEW_LIT("text/event-stream")},
                                          {VIEW_LIT("Retry-After"), view_of(retry_after ? retry_after : "")}};

    h->headed = true;
    h->sink.on_head(h->arg, status, headers, retry_after ? 2 : 1);
}

static void refusal(struct http_call *h)
{
    static const struct {
        int status;
        const char *code;
    } answers[] = {[PLAN_THROTTLE] = {429, "rate_limit_exceeded"}, [PLAN_ERROR] = {500, "server_error"},
                   [PLAN_OUTAGE] = {503, "server_is_overloaded"}};
    char text[160];

    bool is_long = h->plan == PLAN_THROTTLE && world_chance(h->client->provider->world, h->client->provider->faults.long_wait);

    head(h, answers[h->plan].status, is_long ? "75" : h->plan == PLAN_THROTTLE ? "1" : NULL);
    snprintf(text, sizeof text, "{\"error\":{\"message\":\"no\",\"type\":\"t\",\"param\":null,\"code\":\"%s\"}}", answers[h->plan].code);
    if (!h->canceled) body(h, text);
    if (!h->canceled) finish(h, CALL_REFUSED, ERR_OK, "");
}

static void next_piece(void *arg);

static void piece_later(struct http_call *h)
{
    struct model_provider *m = h->client->provider;

    h->refs++;
    proc_post(h->client->proc, pace(m, m->token_ms_max), next_piece, call_drop, h);
}

static void late(void *arg)
{
    struct http_call *h = arg;

    if (h->client->gone) {
        call_drop(h);
        return;
    }
    if (!h->canceled) finish(h, CALL_BROKEN, ERR_TIMEOUT, "no byte in time");
    call_unref(h);
}

static void stall(struct http_call *h)
{
    h->refs++;
    proc_post(h->client->proc, h->idle_timeout_ms, late, call_drop, h);
}

static void put_token(const struct call_entry *e, int64_t index, char ret[32])
{
    unsigned mark = 0;

    for (const char *p = e->identity; *p; p++) mark = mark * 31 + (unsigned char)*p;
    snprintf(ret, 32, "w%lld.%04x ", (long long)index, mark & 0xffff);
}

void model_provider_text(const struct call_entry *e, struct buf *out)
{
    char token[32];

    for (int64_t i = 0; i < e->tokens; i++) {
        put_token(e, i, token);
        buf_put_str(out, token);
    }
}

void model_provider_on_call(struct model_provider *m, void (*fn)(void *arg, const struct call_entry *e), void *arg)
{
    m->on_call = fn;
    m->on_call_arg = arg;
}

static void last_piece(struct http_call *h)
{
    char text[1600];
    struct buf whole;
    int n = 0;

    buf_init(&whole, 1024);
    model_provider_text(entry_of(h), &whole);
    if (h->stream)
        n = snprintf(text, sizeof text,
                     "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
                     "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":%lld}}\n\ndata: [DONE]\n\n",
                     (long long)h->tokens);
    else
        n = snprintf(text, sizeof text,
                     "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%.*s\"},\"finish_reason\":\"stop\"}],"
                     "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":%lld}}",
                     (int)whole.len, whole.data, (long long)h->tokens);
    buf_fini(&whole);
    assert(n > 0 && (size_t)n < sizeof text);
    end_entry(h, CALL_WHOLE);
    body(h, text);
    if (!h->canceled) finish(h, CALL_WHOLE, ERR_OK, "");
}

static void send_token(struct http_call *h)
{
    char text[200], token[32];

    put_token(entry_of(h), h->sent++, token);
    snprintf(text, sizeof text, "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":null}]}\n\n",
             token);
    body(h, text);
    if (!h->canceled) piece_later(h);
}

static void next_piece(void *arg)
{
    struct http_call *h = arg;
    bool half = h->sent >= h->tokens / 2;

    if (h->client->gone) {
        call_drop(h);
        return;
    }
    if (h->canceled) {
        call_unref(h);
        return;
    }
    if (!h->headed && (h->plan == PLAN_THROTTLE || h->plan == PLAN_ERROR || h->plan == PLAN_OUTAGE)) {
        refusal(h);
    } else {
        if (!h->headed) head(h, 200, NULL);
        if (h->canceled) {
            end_entry(h, CALL_CLIENT_GONE);
        } else if (half && h->plan == PLAN_CUT) {
            finish(h, CALL_BROKEN, ERR_UNAVAILABLE, "connection reset");
        } else if (half && h->plan == PLAN_GARBAGE) {
            end_entry(h, CALL_BROKEN);
            body(h, "data: \x01{broken\n\n");
            if (!h->canceled) stall(h);
        } else if (half && h->plan == PLAN_STALL) {
            stall(h);
        } else if (h->stream && h->sent < h->tokens) {
            send_token(h);
        } else {
            last_piece(h);
        }
    }
    call_unref(h);
}

static void refuse_connection(void *arg)
{
    struct http_call *h = arg;

    if (h->client->gone) {
        call_drop(h);
        return;
    }
    if (!h->canceled) finish(h, CALL_REFUSED, ERR_UNAVAILABLE, "connection refused");
    call_unref(h);
}

static enum plan plan_of(struct model_provider *m)
{
    const unsigned shares[] = {[PLAN_THROTTLE] = m->faults.throttle, [PLAN_ERROR] = m->faults.error,
                               [PLAN_OUTAGE] = m->faults.outage,     [PLAN_CUT] = m->faults.cut,
                               [PLAN_GARBAGE] = m->faults.garbage,   [PLAN_STALL] = m->faults.stall,
                               [PLAN_REFUSE] = m->faults.refuse};
    unsigned roll = (unsigned)rng_below(world_rng(m->world), 100);

    for (int p = PLAN_THROTTLE; p <= PLAN_REFUSE; p++) {
        if (roll < shares[p]) return (enum plan)p;
        roll -= shares[p];
    }
    return PLAN_WHOLE;
}

static struct http_call *port_start(void *self, const struct http_request_out *req, const struct http_sink *sink, void *arg, struct err *err)
{
    struct model_client *c = self;
    struct model_provider *m = c->provider;
    struct http_call *h = calloc(1, sizeof *h);
    struct call_entry *e;

    (void)err;
    assert(h && m->count < CALLS_MAX);
    if (m->count == m->max) {
        m->max = m->max ? m->max * 2 : 64;
        m->entries = realloc(m->entries, m->max * sizeof *m->entries);
        assert(m->entries);
    }
    e = &m->entries[m->count];
    memset(e, 0, sizeof *e);
    *h = (struct http_call){.client = c, .entry = m->count++, .sink = *sink, .arg = arg, .refs = 2};
    h->plan = plan_of(m);
    h->stream = req->body.len > 0 && memmem(req->body.ptr, req->body.len, "\"stream\":true", 13) != NULL;
    h->tokens = pace(m, m->tokens_max);
    h->idle_timeout_ms = req->idle_timeout_ms > 0 ? req->idle_timeout_ms : 30000;
    for (size_t i = 0; i < req->header_count; i++)
        if (view_ieq_str(req->headers[i].name, "x-client-request-id")) (void)view_copy(req->headers[i].value, e->identity, sizeof e->identity);
    e->started_ms = world_now_ms(m->world);
    e->tokens = h->tokens;
    e->stream = h->stream;
    e->burns = h->plan == PLAN_ERROR || h->plan == PLAN_CUT || h->plan == PLAN_GARBAGE || h->plan == PLAN_STALL;
    snprintf(e->client, sizeof e->client, "%s", proc_name(c->proc));
    h->next = c->first;
    if (h->next) h->next->at = &h->next;
    h->at = &c->first;
    c->first = h;
    world_mix(m->world, e->identity, strlen(e->identity));
    world_trace(m->world, "%s calls the provider: %s, plan %d", proc_name(c->proc), e->identity, (int)h->plan);
    c->refs++;
    proc_post(c->proc, pace(m, m->first_ms_max),
              h->plan == PLAN_REFUSE ? refuse_connection : next_piece, call_drop, h);
    if (m->on_call) m->on_call(m->on_call_arg, e);
    return h;
}

static void port_cancel(void *self, struct http_call *call)
{
    (void)self;
    assert(!call->canceled);
    call->canceled = true;
    end_entry(call, CALL_CLIENT_GONE);
    call_unref(call);
}

struct http_port model_client_port(struct model_client *c)
{
    return (struct http_port){.self = c, .start = port_start, .cancel = port_cancel};
}

size_t model_provider_calls(const struct model_provider *m)
{
    return m->count;
}

const struct call_entry *model_provider_call(const struct model_provider *m, size_t index)
{
    return &m->entries[index];
}
