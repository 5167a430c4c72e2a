/* One struct holds both ends of a request: the server's (what the room sees as httpd_request) and the client's. Each end knows only
 * what an envelope brought it: the room is called from envelopes of its process, the client from envelopes of the world. The
 * struct lives until both ends let go and no envelope is on its way. */
#include "tests/sim/model_http.h"

#include "common/base/list.h"
#include <assert.h>

enum { PULL_MIN = 2 << 10, PULL_MAX = 32 << 10, HEADERS_MAX = 8, LEAVE_NOTICED_MS = 2000 };

struct model_web {
    struct proc *proc;
    void (*on_request)(void *arg, struct httpd_request *r);
    void *arg;
    struct list open;
    bool is_gone;
    size_t refs;
};

struct httpd_request {
    struct list_link link; /* in web->open while the room has it */
    struct world *world;
    struct model_web *web; /* NULL: nobody listened */
    size_t refs;
    /* the request */
    char method[8], path[512];
    size_t path_len; /* before the query */
    struct {
        const char *name;
        char *value;
    } headers[HEADERS_MAX];
    size_t header_count;
    struct view body; /* owned */
    /* the server's end */
    enum { WEB_ARRIVING, WEB_ROOM, WEB_STREAM, WEB_OVER } state;
    void (*gone)(void *arg, bool completed);
    void *gone_arg, *user, *pull_arg;
    httpd_pull_fn *pull;
    bool is_parked, is_pulling, is_aborted;
    /* the client's end */
    const struct model_client_sink *sink;
    void *arg;
    bool has_left;
    size_t window, under_way;
    int64_t read_ms, at_ms; /* at_ms: earliest arrival at the client: order */
};
struct model_request {
    struct httpd_request r;
};

/* --- life ---------------------------------------------------------------------------------------------------------- */
static void web_unref(struct model_web *s)
{
    if (s && --s->refs == 0) free(s);
}

static void request_unref(struct httpd_request *r)
{
    assert(r->refs > 0);
    if (--r->refs > 0) return;
    for (size_t i = 0; i < r->header_count; i++) free(r->headers[i].value);
    free((char *)(uintptr_t)r->body.ptr);
    web_unref(r->web);
    free(r);
}

static void request_drop(void *arg)
{
    request_unref(arg);
}

static int64_t chance(const struct httpd_request *r, uint64_t below)
{
    return (int64_t)rng_below(world_rng(r->world), below);
}

static void to_server(struct httpd_request *r, int64_t delay_ms, sim_fn *fn)
{
    r->refs++;
    proc_post(r->web->proc, delay_ms, fn, request_drop, r);
}

/* --- to the client ---------------------------------------------------------------------------------------------------- */
struct parcel {
    struct httpd_request *r;
    enum { PARCEL_HEAD, PARCEL_BODY, PARCEL_END } what;
    struct model_answer head;
    char location[64];
    bool is_whole;
    size_t len;
    char bytes[];
};

static void parcel_drop(void *arg)
{
    struct parcel *g = arg;

    request_unref(g->r);
    free(g);
}

static void web_pull(void *arg);

/* A slow client has read one piece: there is room in its window again. */
static void parcel_read(void *arg)
{
    struct httpd_request *r = arg;

    if (r->state == WEB_STREAM && !r->is_parked && !r->is_pulling) {
        r->is_pulling = true;
        to_server(r, 0, web_pull);
    }
    request_unref(r);
}

static void parcel_arrive(void *arg)
{
    struct parcel *g = arg;
    struct httpd_request *r = g->r;

    r->under_way -= g->len;
    if (!r->has_left) {
        if (g->what == PARCEL_HEAD) r->sink->on_head(r->arg, &g->head);
        if (g->what == PARCEL_BODY) r->sink->on_body(r->arg, view_make(g->bytes, g->len));
        if (g->what == PARCEL_END) {
            r->has_left = true;
            r->sink->on_end(r->arg, g->is_whole);
            request_unref(r); /* the client's handle */
        }
    }
    if (r->window && g->what == PARCEL_BODY) {
        r->refs++;
        world_after(r->world, 0, parcel_read, request_drop, r);
    }
    parcel_drop(g);
}

static struct parcel *parcel_new(struct httpd_request *r, int what, struct view bytes)
{
    struct parcel *g = calloc(1, sizeof *g + bytes.len);

    assert(g);
    g->r = r;
    g->what = what;
    g->len = bytes.len;
    if (bytes.len) memcpy(g->bytes, bytes.ptr, bytes.len);
    return g;
}

static void parcel_send(struct parcel *take)
{
    struct httpd_request *r = take->r;
    int64_t at = world_now_ms(r->world) + chance(r, 3);

    if (at < r->at_ms) at = r->at_ms;
    if (r->window && take->what == PARCEL_BODY) at += r->read_ms;
    r->at_ms = at;
    r->under_way += take->len;
    r->refs++;
    world_after(r->world, at - world_now_ms(r->world), parcel_arrive, parcel_drop, take);
}

static void send_head(struct httpd_request *r, const struct httpd_answer *a)
{
    struct parcel *g = parcel_new(r, PARCEL_HEAD, VIEW_NONE);

    g->head.status = a->status;
    for (size_t i = 0; i < a->header_count; i++) {
        const struct httpd_header_out *h = &a->headers[i];
        struct view value = view_of(h->value);

        if (strcmp(h->name, "Location") == 0 && view_copy(value, g->location, sizeof g->location)) g->head.location = g->location;
        if (strcmp(h->name, "Retry-After") == 0) (void)view_i64(value, &g->head.retry_after_s);
        if (strcmp(h->name, "Idempotent-Replayed") == 0) g->head.is_replay = true;
    }
    parcel_send(g);
}

static void send_end(struct httpd_request *r, bool is_whole)
{
    struct parcel *g = parcel_new(r, PARCEL_END, VIEW_NONE);

    g->is_whole = is_whole;
    parcel_send(g);
}

static void send_broken(struct httpd_request *r, bool has_head)
{
    if (!has_head) parcel_send(parcel_new(r, PARCEL_HEAD, VIEW_NONE)); /* status 0 */
    send_end(r, false);
}

/* --- the server's end --------------------------------------------------------------------------------------------------- */
/* The room is done with it, or it with the room. */
static void web_close(struct httpd_request *r)
{
    if (r->state == WEB_OVER) return;
    r->state = WEB_OVER;
    list_remove(&r->web->open, &r->link);
    request_unref(r); /* the server's handle */
}

static void web_tell_gone(struct httpd_request *r, bool completed)
{
    void (*gone)(void *arg, bool completed) = r->gone;

    r->gone = NULL;
    if (gone) gone(r->gone_arg, completed);
}

static void web_gone(void *arg)
{
    struct httpd_request *r = arg;

    if (r->state != WEB_OVER) {
        web_tell_gone(r, false);
        web_close(r);
    }
    request_unref(r);
}

static void web_arrive(void *arg)
{
    struct httpd_request *r = arg;

    if (!r->web->is_gone && r->state == WEB_ARRIVING) {
        r->state = WEB_ROOM;
        r->web->on_request(r->web->arg, r);
    }
    request_unref(r);
}

static void web_pull(void *arg)
{
    struct httpd_request *r = arg;
    char bytes[PULL_MAX];
    ssize_t n = 1;

    while (r->state == WEB_STREAM && !r->is_aborted && !r->has_left && n > 0 && (!r->window || r->under_way < r->window)) {
        size_t size = PULL_MIN + (size_t)chance(r, PULL_MAX - PULL_MIN + 1);

        n = r->pull(r->pull_arg, bytes, size);
        if (n > 0) parcel_send(parcel_new(r, PARCEL_BODY, view_make(bytes, (size_t)n)));
    }
    r->is_parked = n == 0;
    r->is_pulling = false;
    if (n == HTTPD_STREAM_END && r->state == WEB_STREAM) {
        send_end(r, true);
        web_tell_gone(r, true);
        web_close(r);
    }
    request_unref(r);
}

void httpd_on_gone(struct httpd_request *r, void (*fn)(void *arg, bool completed), void *arg)
{
    r->gone = fn;
    r->gone_arg = arg;
}

void httpd_reply(struct httpd_request *r, const struct httpd_answer *a)
{
    assert(r->state == WEB_ROOM && !r->gone);
    send_head(r, a);
    if (a->body.len) parcel_send(parcel_new(r, PARCEL_BODY, a->body));
    send_end(r, true);
    web_close(r);
}

void httpd_stream(struct httpd_request *r, const struct httpd_answer *head, httpd_pull_fn *pull, void *arg)
{
    assert(r->state == WEB_ROOM);
    r->state = WEB_STREAM;
    r->pull = pull;
    r->pull_arg = arg;
    r->is_pulling = true;
    send_head(r, head);
    to_server(r, 0, web_pull);
}

void httpd_stream_wake(struct httpd_request *r)
{
    r->is_parked = false;
    if (r->state != WEB_STREAM || r->is_pulling || (r->window && r->under_way >= r->window)) return;
    r->is_pulling = true;
    to_server(r, 0, web_pull);
}

void httpd_abort(struct httpd_request *r)
{
    if (r->is_aborted) return;
    r->is_aborted = true;
    send_broken(r, r->state == WEB_STREAM);
    to_server(r, 0, web_gone);
}

struct view httpd_method(const struct httpd_request *r)
{
    return view_of(r->method);
}

struct view httpd_path(const struct httpd_request *r)
{
    return view_make(r->path, r->path_len);
}

struct view httpd_body(const struct httpd_request *r)
{
    return r->body;
}

struct view httpd_header(const struct httpd_request *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (view_ieq_str(view_of(name), r->headers[i].name)) return view_of(r->headers[i].value);
    return VIEW_NONE;
}

bool httpd_query_each(const struct httpd_request *r, size_t *cursor, struct view *ret_name, struct view *ret_value)
{
    struct view all = view_of(r->path), rest, pair, tail;
    size_t from = r->path_len + 1 + *cursor;

    if (from >= all.len) return false;
    rest = view_make(all.ptr + from, all.len - from);
    if (!view_cut(rest, '&', &pair, &tail)) pair = rest;
    *cursor += pair.len + 1;
    if (view_cut(pair, '=', ret_name, ret_value)) return true;
    *ret_name = pair;
    *ret_value = VIEW_LIT("");
    return true;
}

/* What the simulation's clients send needs no decoding. */
bool httpd_query(const struct httpd_request *r, const char *name, char *dst, size_t size)
{
    size_t cursor = 0;
    struct view key, value;

    while (httpd_query_each(r, &cursor, &key, &value))
        if (view_eq_str(key, name)) return view_copy(value, dst, size);
    return false;
}

struct model_web *model_web_new(struct proc *p, void (*on_request)(void *arg, struct httpd_request *r), void *arg)
{
    struct model_web *s = calloc(1, sizeof *s);

    assert(s);
    *s = (struct model_web){.proc = p, .on_request = on_request, .arg = arg, .refs = 1};
    list_init(&s->open);
    return s;
}

void model_web_free(struct model_web *s)
{
    struct list_link *k;

    if (!s) return;
    s->is_gone = true;
    while ((k = list_first(&s->open)) != NULL) {
        struct httpd_request *r = LIST_ITEM(k, struct httpd_request, link);

        web_tell_gone(r, false);
        if (!r->is_aborted) send_broken(r, r->state == WEB_STREAM);
        web_close(r);
    }
    web_unref(s);
}

/* --- the client's end ------------------------------------------------------------------------------------------------------ */
static void put_header(struct httpd_request *r, const char *name, const char *prefix, const char *value)
{
    size_t len = value ? strlen(prefix) + strlen(value) + 1 : 0;

    if (!value) return;
    assert(r->header_count < HEADERS_MAX);
    r->headers[r->header_count].name = name;
    r->headers[r->header_count].value = malloc(len);
    assert(r->headers[r->header_count].value);
    snprintf(r->headers[r->header_count++].value, len, "%s%s", prefix, value);
}

static void fill(struct httpd_request *r, const struct model_ask *ask)
{
    const char *query = strchr(ask->path, '?');

    snprintf(r->method, sizeof r->method, "%s", ask->method);
    snprintf(r->path, sizeof r->path, "%s", ask->path);
    r->path_len = query ? (size_t)(query - ask->path) : strlen(ask->path);
    put_header(r, "Authorization", "Bearer ", ask->key);
    put_header(r, "Idempotency-Key", "", ask->idempotency);
    put_header(r, "Last-Event-ID", "", ask->last_event_id);
    put_header(r, "Prefer", "", ask->prefer);
    if (ask->body.len) r->body = view_make(view_dup(ask->body), ask->body.len);
    r->window = ask->window;
    r->read_ms = ask->read_ms;
}

struct model_request *model_request_new(struct world *w, struct model_web *s, const struct model_ask *ask,
                                        const struct model_client_sink *sink, void *arg)
{
    struct model_request *c = calloc(1, sizeof *c);
    struct httpd_request *r = &c->r;

    assert(c);
    r->world = w;
    r->sink = sink;
    r->arg = arg;
    r->refs = 1;
    fill(r, ask);
    world_mix(w, r->path, strlen(r->path));
    if (!s || s->is_gone) {
        r->state = WEB_OVER;
        send_broken(r, false);
        return c;
    }
    r->web = s;
    s->refs++;
    r->refs++;
    list_push(&s->open, &r->link);
    to_server(r, chance(r, 3), web_arrive);
    return c;
}

void model_request_leave(struct model_request *c)
{
    struct httpd_request *r = &c->r;

    if (r->has_left) return;
    r->has_left = true;
    if (r->state != WEB_OVER && r->web) to_server(r, r->state == WEB_STREAM ? chance(r, 5) : chance(r, LEAVE_NOTICED_MS), web_gone);
    request_unref(r);
}
