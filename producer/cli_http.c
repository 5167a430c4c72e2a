/* Calls to the gateway.
 *
 * What is hard: a connection that breaks says nothing about whether the request was taken. A
 * submission carries an Idempotency-Key, so sending it again is the same job; a cancel or a retry
 * twice is one. Therefore every call of this tool may be repeated, and is: a few times, with
 * growing pauses, and not sooner than the server asked. */
#include "producer/cli_http.h"

#include "common/base/rng.h"
#include "producer/cli_problem.h"
#include <assert.h>

enum {
    PAUSE_FIRST_MS = 250,
    PAUSE_MAX_MS = 4000,
    CONNECT_MS = 5000,
    FIRST_BYTE_MS = 30000,
    IDLE_MS = 30000,
    TOTAL_MS = 120000,
    ANSWER_MAX = 64 << 20,
    URL_MAX = 8192,
    WHY_MAX = sizeof((struct err){.code = ERR_OK}.text),
};

struct cli_call {
    struct cli_call_options o;
    struct buf path, body, idempotency; /* copies */
    struct http_call *call;             /* NULL: between tries, or over */
    struct timer pause;
    unsigned failures;
    int status;
    int64_t retry_after_s;
    struct buf answer;
};

int64_t cli_pause_ms(int64_t first_ms, int64_t max_ms, unsigned failures, int64_t retry_after_ms,
                     struct rng *rng)
{
    int64_t ms = first_ms > 0 ? first_ms : 1;

    assert(failures >= 1);
    for (unsigned i = 1; i < failures && ms < max_ms; i++) ms *= 2;
    if (ms > max_ms) ms = max_ms;
    ms = ms - ms / 4 + (int64_t)rng_below(rng, (uint64_t)(ms / 2 + 1));
    return ms > retry_after_ms ? ms : retry_after_ms;
}

struct view cli_header(const struct http_header *headers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (view_ieq_str(headers[i].name, name)) return headers[i].value;
    return VIEW_NONE;
}

int64_t cli_retry_after_s(const struct http_header *headers, size_t count)
{
    uint64_t s;

    if (!view_u64(view_trim(cli_header(headers, count, "retry-after")), &s)) return 0;
    return s > INT32_MAX ? INT32_MAX : (int64_t)s;
}

/* --- heads --- */

bool cli_head_init(struct cli_head *h, const struct cli_server *s, struct view path)
{
    *h = (struct cli_head){.count = 0};
    buf_init(&h->url, URL_MAX);
    buf_init(&h->authorization, URL_MAX);
    buf_put_str(&h->url, s->base);
    buf_put_view(&h->url, path);
    if (s->key) {
        buf_put_str(&h->authorization, "Bearer ");
        buf_put_str(&h->authorization, s->key);
        cli_head_add(h, "Authorization", buf_view(&h->authorization));
    }
    return !h->url.failed && !h->authorization.failed;
}

void cli_head_add(struct cli_head *h, const char *name, struct view value)
{
    if (!value.ptr) return;
    assert(h->count < CLI_HEADERS_MAX);
    h->headers[h->count++] = (struct http_header){view_of(name), value};
}

void cli_head_fini(struct cli_head *h)
{
    if (h->authorization.data) explicit_bzero(h->authorization.data, h->authorization.len);
    buf_fini(&h->authorization);
    buf_fini(&h->url);
}

/* --- one try --- */

static void call_try(void *arg);

static void call_tell(struct cli_call *c, const struct err *away)
{
    const struct cli_answer a = {.away = away,
                                 .status = c->status,
                                 .body = buf_view(&c->answer),
                                 .retry_after_s = c->retry_after_s};

    c->o.on_answer(c->o.arg, &a);
}

static bool call_may_pass(const struct cli_call *c, const struct err *e)
{
    if (c->retry_after_s > CLI_RETRY_AFTER_MAX_S) return false;
    if (e) return e->code == ERR_UNAVAILABLE || e->code == ERR_TIMEOUT;
    return cli_problem_is_passing(c->status);
}

static void call_on_end(void *arg, const struct err *e)
{
    struct cli_call *c = arg;
    const struct cli_server *s = c->o.server;
    char why[WHY_MAX];

    c->call = NULL;
    c->failures++;
    if (!call_may_pass(c, e) || c->failures >= c->o.tries) {
        call_tell(c, e);
        return;
    }
    int64_t pause_ms =
        cli_pause_ms(PAUSE_FIRST_MS, PAUSE_MAX_MS, c->failures, c->retry_after_s * 1000, s->rng);
    if (!timerq_set(s->timers, &c->pause, s->clock->mono_ms + pause_ms, call_try, c)) {
        call_tell(c, e);
        return;
    }
    if (e)
        snprintf(why, sizeof why, "%s", e->text);
    else
        snprintf(why, sizeof why, "the server answered %d", c->status);
    if (c->o.on_again) c->o.on_again(c->o.arg, why, pause_ms);
}

static void call_on_head(void *arg, int status, const struct http_header *headers, size_t count)
{
    struct cli_call *c = arg;

    c->status = status;
    c->retry_after_s = cli_retry_after_s(headers, count);
}

static void call_on_body(void *arg, struct view bytes)
{
    buf_put_view(&((struct cli_call *)arg)->answer, bytes);
}

static bool call_start(struct cli_call *c, struct err *err)
{
    static const struct http_sink sink = {
        .on_head = call_on_head, .on_body = call_on_body, .on_end = call_on_end};
    const struct cli_server *s = c->o.server;
    struct cli_head head;

    buf_reset(&c->answer);
    c->status = 0;
    c->retry_after_s = 0;
    bool ok = cli_head_init(&head, s, buf_view(&c->path));
    cli_head_add(&head, "Accept", VIEW_LIT("application/json"));
    if (c->o.body.ptr) cli_head_add(&head, "Content-Type", VIEW_LIT("application/json"));
    if (c->o.idempotency.ptr) cli_head_add(&head, "Idempotency-Key", buf_view(&c->idempotency));
    const struct http_request_out req = {.method = c->o.method,
                                         .url = buf_view(&head.url),
                                         .headers = head.headers,
                                         .header_count = head.count,
                                         .body = c->o.body.ptr ? buf_view(&c->body) : VIEW_NONE,
                                         .connect_timeout_ms = CONNECT_MS,
                                         .first_byte_timeout_ms = FIRST_BYTE_MS,
                                         .idle_timeout_ms = IDLE_MS,
                                         .total_timeout_ms = TOTAL_MS,
                                         .body_max = ANSWER_MAX};
    if (ok)
        c->call = s->http.start(s->http.self, &req, &sink, c, err);
    else
        (void)err_set(err, ERR_NOMEM, "no memory for a request");
    cli_head_fini(&head);
    return c->call != NULL;
}

static void call_try(void *arg)
{
    struct cli_call *c = arg;
    struct err err;

    if (!call_start(c, &err)) call_tell(c, &err);
}

/* --- life --- */

struct cli_call *cli_call_new(const struct cli_call_options *o, struct err *err)
{
    struct cli_call *c = calloc(1, sizeof *c);

    if (!c) {
        (void)err_set(err, ERR_NOMEM, "no memory for a call");
        return NULL;
    }
    c->o = *o;
    buf_init(&c->path, URL_MAX);
    buf_init(&c->body, ANSWER_MAX);
    buf_init(&c->idempotency, URL_MAX);
    buf_init(&c->answer, ANSWER_MAX);
    bool copied = buf_put_view(&c->path, o->path) && buf_put_view(&c->body, o->body) &&
                  buf_put_view(&c->idempotency, o->idempotency);
    if (!copied) (void)err_set(err, ERR_NOMEM, "no memory for a call");
    if (copied && call_start(c, err)) return c;
    cli_call_free(c);
    return NULL;
}

void cli_call_free(struct cli_call *c)
{
    if (!c) return;
    if (c->call) c->o.server->http.cancel(c->o.server->http.self, c->call);
    timerq_cancel(c->o.server->timers, &c->pause);
    buf_fini(&c->path);
    buf_fini(&c->body);
    buf_fini(&c->idempotency);
    buf_fini(&c->answer);
    free(c);
}
