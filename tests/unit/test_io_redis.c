/* Redis connections. Against a real server (REDIS_URL; skipped without): every kind of reply, big
 * replies, order, ceilings, CLIENT KILL, subscriptions over a reconnect. Against a scripted server
 * inside the test: answers in dribbles, silence, garbage, a greeting that is refused. */
#include "common/io/redis.h"
#include "common/io/redis_priv.h"
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

enum { GUARD_MS = 20000, MANY = 5000, BIG = 1 << 20 };

struct rig {
    struct loop *l;
    struct log *log;
    struct redis_conn *c, *killer;
    struct redis_port port;
    struct timer guard, step;
    size_t log_lines;
    size_t ups, downs;
    size_t answers, errors, target;
    enum err_code code; /* of the last error */
    int64_t num;
    size_t messages, resets, readies;
    char last[128];
    const char *script; /* what dribble says */
    /* the scripted server */
    int listener, peer;
    struct loop_watch *accepting, *reading;
    char url[64];
    char heard[8192];
    size_t heard_len;
    void (*on_heard)(struct rig *r);
    size_t accepts;
};

static void rig_late(void *arg)
{
    (void)arg;
    fail_msg("not there in time");
}

static void rig_log(void *arg, struct view line)
{
    (void)line;
    ((struct rig *)arg)->log_lines++;
}

static int rig_setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    r->l = loop_new(NULL);
    r->log = log_new("test", LOG_DEBUG, loop_clock(r->l), rig_log, r);
    r->listener = r->peer = -1;
    timerq_set(loop_timers(r->l), &r->guard, loop_clock(r->l)->mono_ms + GUARD_MS, rig_late, NULL);
    *state = r;
    return 0;
}

static int rig_teardown(void **state)
{
    struct rig *r = *state;
    redis_conn_free(r->c);
    redis_conn_free(r->killer);
    loop_watch_free(r->accepting);
    loop_watch_free(r->reading);
    if (r->listener >= 0) close(r->listener);
    if (r->peer >= 0) close(r->peer);
    loop_free(r->l);
    log_free(r->log);
    free(r);
    return 0;
}

static const char *server_url(void)
{
    const char *url = getenv("REDIS_URL");
    if (!url || !url[0]) skip();
    return url;
}

static void call(struct rig *r, redis_reply_fn *fn, const char *words)
{
    struct view argv[16], rest = view_of(words), word;
    size_t argc = 0;
    while (view_cut(rest, ' ', &word, &rest)) argv[argc++] = word;
    argv[argc++] = rest;
    r->port.call(r->port.self, argv, argc, fn, r);
}

static void on_state(void *arg, bool up)
{
    struct rig *r = arg;
    if (up) r->ups++;
    if (!up) r->downs++;
    if (r->port.call) assert_int_equal(r->port.is_up(r->port.self), up);
}

/* Connects and runs the loop until up; later steps run it again. */
static void on_state_stop(void *arg, bool up)
{
    struct rig *r = arg;
    on_state(arg, up);
    if (up) loop_stop(r->l);
}

static struct redis_options options(struct rig *r, const char *url)
{
    return (struct redis_options){.url = url,
                                  .name = "test",
                                  .timeout_ms = 2000,
                                  .pending_max = 10000,
                                  .output_max = 8 << 20,
                                  .on_state = on_state_stop,
                                  .arg = r};
}

static void dial(struct rig *r, const struct redis_options *o)
{
    r->c = redis_conn_new(r->l, r->log, o, NULL);
    assert_non_null(r->c);
    r->port = redis_conn_port(r->c);
    loop_run(r->l);
    assert_int_equal(r->ups, 1);
}

static void dial_server(struct rig *r)
{
    struct redis_options o = options(r, server_url());
    dial(r, &o);
}

static void count(struct rig *r)
{
    if (++r->answers == r->target) loop_stop(r->l);
}

static void on_any(void *arg, const struct reply *r, const struct err *e)
{
    struct rig *g = arg;
    assert_true(!r != !e);
    if (e) g->errors++;
    if (e) g->code = e->code;
    count(g);
}

static void on_ok(void *arg, const struct reply *r, const struct err *e)
{
    assert_null(e);
    assert_int_equal(r->kind, REPLY_STATUS);
    assert_true(view_eq_str(r->str, "OK"));
    count(arg);
}

static void run_for(struct rig *r, size_t answers)
{
    r->answers = 0;
    r->target = answers;
    loop_run(r->l);
    assert_int_equal(r->answers, answers);
}

/* --- a real server ------------------------------------------------------------------------ */

static void on_kinds(void *arg, const struct reply *r, const struct err *e)
{
    assert_null(e);
    assert_int_equal(r->kind, REPLY_ARRAY);
    assert_int_equal(r->count, 5);
    assert_int_equal(reply_at(r, 0)->kind, REPLY_INT);
    assert_int_equal(reply_int(reply_at(r, 0), 0), -7);
    assert_true(view_eq_str(reply_str(reply_at(r, 1)), "text"));
    assert_int_equal(reply_at(r, 2)->kind, REPLY_ARRAY);
    assert_int_equal(reply_at(reply_at(r, 2), 1)->count, 0);
    assert_int_equal(reply_at(reply_at(r, 2), 1)->kind, REPLY_ARRAY);
    assert_int_equal(reply_at(r, 3)->kind, REPLY_NIL);
    assert_int_equal(reply_at(r, 4)->kind, REPLY_ERROR);
    assert_true(view_eq_str(reply_at(r, 4)->str, "MINE it is"));
    count(arg);
}

static void on_server_error(void *arg, const struct reply *r, const struct err *e)
{
    assert_null(e);
    assert_int_equal(r->kind, REPLY_ERROR);
    assert_true(view_starts(r->str, "ERR"));
    count(arg);
}

static void every_kind_of_reply(void **state)
{
    struct rig *r = *state;
    dial_server(r);
    struct view argv[] = {VIEW_LIT("EVAL"),
                          VIEW_LIT("return {-7, 'text', {1, {}}, false, {err='MINE it is'}}"),
                          VIEW_LIT("0")};
    r->port.call(r->port.self, argv, 3, on_kinds, r);
    call(r, on_server_error, "NOSUCHCOMMAND x");
    call(r, NULL, "PING"); /* nobody asked */
    call(r, on_ok, "SET io:k v");
    run_for(r, 3);
}

static void on_number(void *arg, const struct reply *r, const struct err *e)
{
    struct rig *g = arg;
    assert_null(e);
    assert_int_equal(reply_int(r, -1), ++g->num);
    count(g);
}

static void replies_come_in_order(void **state)
{
    struct rig *r = *state;
    dial_server(r);
    call(r, on_any, "DEL io:n");
    for (int i = 0; i < MANY; i++) call(r, on_number, "INCR io:n");
    run_for(r, MANY + 1);
    assert_int_equal(r->num, MANY);
}

static void on_big(void *arg, const struct reply *r, const struct err *e)
{
    assert_null(e);
    assert_int_equal(r->kind, REPLY_STR);
    assert_int_equal(r->str.len, BIG);
    for (size_t i = 0; i < BIG; i += 4093) assert_int_equal((unsigned char)r->str.ptr[i], i % 251);
    count(arg);
}

static void on_page(void *arg, const struct reply *r, const struct err *e)
{
    assert_null(e);
    assert_int_equal(r->count, 1000);
    for (size_t i = 0; i < r->count; i++) {
        const struct reply *fields = reply_at(reply_at(r, i), 1);
        assert_int_equal(fields->count, 4);
        assert_true(view_eq_str(reply_str(reply_at(fields, 2)), "d"));
    }
    count(arg);
}

static void big_strings_and_long_pages(void **state)
{
    struct rig *r = *state;
    dial_server(r);
    char *big = malloc(BIG);
    for (size_t i = 0; i < BIG; i++) big[i] = (char)(i % 251);
    struct view set[] = {VIEW_LIT("SET"), VIEW_LIT("io:big"), view_make(big, BIG)};
    r->port.call(r->port.self, set, 3, on_ok, r);
    free(big); /* it was copied */
    for (int i = 0; i < 3; i++) call(r, on_big, "GET io:big");
    call(r, on_any, "DEL io:s io:big2");
    for (int i = 0; i < 1000; i++)
        call(r, on_any, "XADD io:s * t step.delta d {\"some\":\"json\"}");
    call(r, on_page, "XRANGE io:s - + COUNT 1000");
    call(r, on_page, "XRANGE io:s - + COUNT 1000");
    run_for(r, 1 + 3 + 1 + 1000 + 2);
    call(r, on_any, "DEL io:s io:big io:n io:k");
    run_for(r, 1);
    assert_int_equal(r->errors, 0);
}

static void ceilings_are_answered_not_met(void **state)
{
    struct rig *r = *state;
    struct redis_options o = options(r, server_url());
    o.pending_max = 10;
    o.output_max = 4096;
    dial(r, &o);
    for (int i = 0; i < 15; i++) call(r, on_any, "PING");
    assert_int_equal(r->answers, 0); /* never from inside the call */
    run_for(r, 15);
    assert_int_equal(r->errors, 5);
    assert_int_equal(r->code, ERR_FULL);
    char big[5000] = {0};
    struct view argv[] = {VIEW_LIT("SET"), VIEW_LIT("io:k"), view_make(big, sizeof big)};
    r->port.call(r->port.self, argv, 3, on_any, r);
    run_for(r, 1);
    assert_int_equal(r->code, ERR_TOO_LARGE);
    for (int i = 0; i < 3; i++) {
        argv[2] = view_make(big, 1900);
        r->port.call(r->port.self, argv, 3, on_any, r);
    }
    r->errors = 0;
    run_for(r, 3);
    assert_int_equal(r->errors, 1);
    assert_int_equal(r->code, ERR_FULL);
    call(r, on_ok, "SET io:k v"); /* and it goes on */
    run_for(r, 1);
}

static void kill_all(struct rig *r)
{
    struct redis_options o = options(r, server_url());
    o.on_state = NULL;
    if (!r->killer) r->killer = redis_conn_new(r->l, r->log, &o, NULL);
}

/* Kills r->c's connection, and no other of the server. */
static void on_killer_turn(void *arg)
{
    struct rig *r = arg;
    struct redis_port k = redis_conn_port(r->killer);
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    char ip[INET_ADDRSTRLEN], addr[64];
    if (!k.is_up(k.self)) {
        timerq_set(loop_timers(r->l), &r->step, loop_clock(r->l)->mono_ms + 5, on_killer_turn, r);
        return;
    }
    assert_int_equal(getsockname(r->c->fd, (struct sockaddr *)&a, &len), 0);
    assert_int_equal(a.sin_family, AF_INET);
    inet_ntop(AF_INET, &a.sin_addr, ip, sizeof ip);
    snprintf(addr, sizeof addr, "%s:%d", ip, ntohs(a.sin_port));
    struct view argv[] = {VIEW_LIT("CLIENT"), VIEW_LIT("KILL"), VIEW_LIT("ADDR"), view_of(addr)};
    k.call(k.self, argv, 4, NULL, NULL);
}

static void a_killed_connection_comes_back(void **state)
{
    struct rig *r = *state;
    dial_server(r);
    kill_all(r);
    timerq_set(loop_timers(r->l), &r->step, loop_clock(r->l)->mono_ms, on_killer_turn, r);
    call(r, on_any, "BLPOP io:never 0");
    run_for(r, 1);
    assert_int_equal(r->code, ERR_UNAVAILABLE);
    assert_int_equal(r->errors, 1);
    call(r, on_any, "PING"); /* down: answered, not queued */
    run_for(r, 1);
    assert_int_equal(r->errors, 2);
    loop_run(r->l);
    assert_int_equal(r->ups, 2);
    assert_int_equal(r->downs, 1);
    call(r, on_ok, "SET io:k v");
    run_for(r, 1);
    assert_true(r->log_lines >= 3); /* up, down, up */
}

static void on_free(void *arg, const struct reply *r, const struct err *e)
{
    struct rig *g = arg;
    assert_non_null(r);
    assert_null(e);
    redis_conn_free(g->c);
    g->c = NULL;
    assert_int_equal(g->errors, 2);
    assert_int_equal(g->code, ERR_CLOSED);
    loop_stop(g->l);
}

static void it_may_be_freed_in_its_own_callback(void **state)
{
    struct rig *r = *state;
    dial_server(r);
    call(r, on_free, "PING");
    call(r, on_any, "PING");
    call(r, on_any, "PING");
    loop_run(r->l);
    assert_int_equal(r->answers, 2);
}

static void two_more(void *arg, const struct reply *r, const struct err *e)
{
    struct rig *g = arg;
    on_any(arg, r, e);
    if (g->answers >= 1000) return;
    call(g, two_more, "PING");
    call(g, two_more, "PING");
}

static void calls_from_callbacks(void **state)
{
    struct rig *r = *state;
    dial_server(r);
    call(r, two_more, "PING");
    r->target = 1000;
    loop_run(r->l);
    assert_true(r->answers >= 1000);
    assert_int_equal(r->errors, 0);
}

/* --- subscriptions ------------------------------------------------------------------------ */

static void on_message(void *arg, struct view channel, struct view payload)
{
    struct rig *r = arg;
    r->messages++;
    snprintf(r->last, sizeof r->last, "%.*s=%.*s", (int)channel.len, channel.ptr, (int)payload.len,
             payload.ptr);
    loop_stop(r->l);
}

static void on_reset(void *arg)
{
    struct rig *r = arg;
    r->resets++;
    loop_stop(r->l);
}

static void on_subscribed(void *arg, const struct reply *r, const struct err *e)
{
    struct rig *g = arg;
    assert_null(e);
    assert_true(view_eq_str(reply_str(reply_at(r, 0)), "subscribe"));
    g->readies++;
    count(g);
}

static void publish(struct rig *r, const char *channel, const char *text)
{
    struct redis_port k = redis_conn_port(r->killer);
    struct view argv[] = {VIEW_LIT("PUBLISH"), view_of(channel), view_of(text)};
    k.call(k.self, argv, 3, NULL, NULL);
}

/* r->c subscribes, r->killer publishes. */
static struct redis_sub_port dial_sub(struct rig *r)
{
    struct redis_options o = options(r, server_url());
    r->killer = redis_conn_new(r->l, r->log, &o, NULL);
    loop_run(r->l);
    r->c = redis_conn_new(r->l, r->log, &o, NULL);
    struct redis_sub_port s = redis_conn_sub_port(r->c);
    s.listen(s.self, on_message, on_reset, r);
    loop_run(r->l);
    assert_int_equal(r->ups, 2);
    return s;
}

static void on_ready_or_closed(void *arg, const struct reply *r, const struct err *e)
{
    struct rig *g = arg;
    if (e) g->code = e->code;
    if (r) g->readies++;
    count(g);
}

static void subscribe_and_leave(void **state)
{
    struct rig *r = *state;
    struct redis_sub_port s = dial_sub(r);
    s.subscribe(s.self, VIEW_LIT("io:1"), on_subscribed, r);
    s.subscribe(s.self, VIEW_LIT("io:2"), on_ready_or_closed, r);
    s.unsubscribe(s.self, VIEW_LIT("io:2")); /* its command never went */
    run_for(r, 2);
    assert_int_equal(r->code, ERR_CLOSED);
    assert_int_equal(r->readies, 1);
    publish(r, "io:2", "no");
    publish(r, "io:1", "yes");
    r->target = 0;
    loop_run(r->l);
    assert_string_equal(r->last, "io:1=yes");
    assert_int_equal(r->messages, 1);
    s.unsubscribe(s.self, VIEW_LIT("io:1"));
    s.subscribe(s.self, VIEW_LIT("io:1"), on_subscribed, r); /* again, in the same turn */
    s.subscribe(s.self, VIEW_LIT("io:3"), on_subscribed, r);
    run_for(r, 2);
    s.unsubscribe(s.self, VIEW_LIT("io:1"));
    s.subscribe(s.self, VIEW_LIT("io:4"), on_subscribed, r);
    run_for(r, 1); /* confirmed after the leaving */
    publish(r, "io:1", "no");
    publish(r, "io:3", "3");
    r->target = 0;
    loop_run(r->l);
    assert_string_equal(r->last, "io:3=3");
    assert_int_equal(r->resets, 0);
}

static void channels_survive_a_reconnect(void **state)
{
    struct rig *r = *state;
    struct redis_sub_port s = dial_sub(r);
    char name[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "io:%d", i);
        s.subscribe(s.self, view_of(name), on_subscribed, r);
    }
    run_for(r, MANY);
    on_killer_turn(r);
    r->target = 0;
    while (r->ups < 3) loop_run(r->l);
    assert_int_equal(r->resets, 0);
    loop_run(r->l); /* on_reset */
    assert_int_equal(r->resets, 1);
    publish(r, "io:4999", "x");
    loop_run(r->l);
    assert_string_equal(r->last, "io:4999=x");
}

static void subscribing_while_down_is_made_good_later(void **state)
{
    struct rig *r = *state;
    struct redis_options o = options(r, server_url());
    o.on_state = NULL;
    r->c = redis_conn_new(r->l, r->log, &o, NULL);
    struct redis_sub_port s = redis_conn_sub_port(r->c);
    s.listen(s.self, on_message, on_reset, r);
    s.subscribe(s.self, VIEW_LIT("io:1"), on_any, r);
    s.subscribe(s.self, VIEW_LIT("io:2"), on_any, r);
    s.unsubscribe(s.self, VIEW_LIT("io:2"));
    assert_int_equal(r->answers, 0);
    while (r->resets == 0) loop_run(r->l);
    assert_int_equal(r->errors, 2);
    r->killer = redis_conn_new(r->l, r->log,
                               &(struct redis_options){.url = o.url,
                                                       .name = "k",
                                                       .timeout_ms = 1000,
                                                       .pending_max = 10,
                                                       .output_max = 4096,
                                                       .on_state = on_state_stop,
                                                       .arg = r},
                               NULL);
    loop_run(r->l);
    publish(r, "io:2", "no");
    publish(r, "io:1", "yes");
    loop_run(r->l);
    assert_string_equal(r->last, "io:1=yes");
}

/* --- a scripted server -------------------------------------------------------------------- */

static void say(struct rig *r, const char *text)
{
    assert_int_equal(write(r->peer, text, strlen(text)), (ssize_t)strlen(text));
}

static void peer_close(struct rig *r)
{
    loop_watch_free(r->reading);
    r->reading = NULL;
    close(r->peer);
    r->peer = -1;
}

static void on_peer_bytes(void *arg, int events)
{
    struct rig *r = arg;
    (void)events;
    ssize_t n = read(r->peer, r->heard + r->heard_len, sizeof r->heard - 1 - r->heard_len);
    if (n <= 0) {
        peer_close(r);
        return;
    }
    r->heard_len += (size_t)n;
    r->heard[r->heard_len] = '\0';
    r->on_heard(r);
}

static void on_accept(void *arg, int events)
{
    struct rig *r = arg;
    (void)events;
    if (r->peer >= 0) peer_close(r);
    r->peer = accept(r->listener, NULL, NULL);
    assert_true(r->peer >= 0);
    r->accepts++;
    r->heard_len = 0;
    r->reading = loop_watch_new(r->l, r->peer, LOOP_READ, on_peer_bytes, r);
}

static void serve(struct rig *r, void (*on_heard)(struct rig *r), const char *format)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    r->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(r->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(r->listener, 8), 0);
    assert_int_equal(getsockname(r->listener, (struct sockaddr *)&a, &len), 0);
    snprintf(r->url, sizeof r->url, "redis://%s127.0.0.1:%d%s", format[0] == '/' ? "" : format,
             ntohs(a.sin_port), format[0] == '/' ? format : "");
    r->on_heard = on_heard;
    r->accepting = loop_watch_new(r->l, r->listener, LOOP_READ, on_accept, r);
}

static const char greeting[] = "*1\r\n$4\r\nPING\r\n";

static void heard_greeting(struct rig *r)
{
    if (strstr(r->heard, greeting)) {
        say(r, "+PONG\r\n");
        r->heard_len = 0;
    }
}

/* Answers come byte by byte, one a turn. */
static void dribble(void *arg)
{
    struct rig *r = arg;
    char c[2] = {*r->script++, '\0'};
    say(r, c);
    if (*r->script) timerq_set(loop_timers(r->l), &r->step, loop_clock(r->l)->mono_ms, dribble, r);
}

static void on_dribbled(void *arg, const struct reply *r, const struct err *e)
{
    assert_null(e);
    assert_int_equal(r->count, 3);
    assert_true(view_eq_str(reply_str(reply_at(r, 0)), "he\r\no"));
    assert_int_equal(reply_int(reply_at(r, 1), 0), 12);
    assert_int_equal(reply_at(r, 2)->kind, REPLY_NIL);
    count(arg);
}

static void answers_in_dribbles(void **state)
{
    struct rig *r = *state;
    serve(r, heard_greeting, "");
    struct redis_options o = options(r, r->url);
    dial(r, &o);
    call(r, on_dribbled, "A");
    call(r, on_ok, "B");
    r->script = "*3\r\n$5\r\nhe\r\no\r\n:12\r\n$-1\r\n+OK\r\n";
    timerq_set(loop_timers(r->l), &r->step, loop_clock(r->l)->mono_ms, dribble, r);
    run_for(r, 2);
}

static void a_late_reply_is_dropped_and_the_next_is_not_mistaken(void **state)
{
    struct rig *r = *state;
    serve(r, heard_greeting, "");
    struct redis_options o = options(r, r->url);
    o.timeout_ms = 100;
    dial(r, &o);
    call(r, on_any, "SLOW");
    run_for(r, 1);
    assert_int_equal(r->code, ERR_TIMEOUT);
    call(r, on_ok, "QUICK");
    say(r, "+LATE\r\n+OK\r\n");
    run_for(r, 1);
    assert_int_equal(r->downs, 0);
}

static void a_silent_server_is_left(void **state)
{
    struct rig *r = *state;
    serve(r, heard_greeting, "");
    struct redis_options o = options(r, r->url);
    o.timeout_ms = 100;
    dial(r, &o);
    int64_t start = loop_clock(r->l)->mono_ms;
    call(r, on_any, "SLOW");
    loop_run(r->l); /* until up again */
    assert_int_equal(r->ups, 2);
    assert_int_equal(r->downs, 1);
    assert_int_equal(r->accepts, 2);
    assert_in_range(loop_clock(r->l)->mono_ms - start, 200, 5000);
}

static void garbage_breaks_the_connection(void **state)
{
    static const char *const bad[] = {"?what\r\n", "+OK\r\n+UNASKED\r\n", "*999999999\r\n",
                                      "$-5\r\n"};
    struct rig *r = *state;
    serve(r, heard_greeting, "");
    struct redis_options o = options(r, r->url);
    dial(r, &o);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        call(r, on_any, "X");
        say(r, bad[i]);
        while (r->ups < i + 2) loop_run(r->l);
        assert_int_equal(r->downs, i + 1);
    }
}

static void heard_auth(struct rig *r)
{
    if (!strstr(r->heard, greeting)) return;
    assert_non_null(strstr(r->heard, "*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$5\r\np@s:s\r\n"));
    if (r->accepts == 1)
        say(r, "-WRONGPASS no\r\n-NOAUTH\r\n");
    else
        say(r, "+OK\r\n+PONG\r\n");
}

static void credentials_are_sent_and_refusals_retried(void **state)
{
    struct rig *r = *state;
    serve(r, heard_auth, "me:p%40s%3as@");
    struct redis_options o = options(r, r->url);
    dial(r, &o);
    assert_int_equal(r->accepts, 2);
    assert_int_equal(r->log_lines, 2); /* down once, up once */
}

static void heard_select(struct rig *r)
{
    if (!strstr(r->heard, greeting)) return;
    assert_non_null(strstr(r->heard, "*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n"));
    say(r, r->accepts == 1 ? "+OK\r\n-LOADING data\r\n" : "+OK\r\n+PONG\r\n");
}

static void a_loading_server_is_not_up(void **state)
{
    struct rig *r = *state;
    serve(r, heard_select, "/12");
    struct redis_options o = options(r, r->url);
    dial(r, &o);
    assert_int_equal(r->accepts, 2);
}

static void on_three_downs(void *arg)
{
    struct rig *r = arg;
    assert_false(r->port.is_up(r->port.self));
    assert_int_equal(r->log_lines, 1); /* said once, whatever the number of attempts */
    loop_stop(r->l);
}

static void nobody_listens(void **state)
{
    struct rig *r = *state;
    serve(r, heard_greeting, "");
    close(r->listener);
    loop_watch_free(r->accepting);
    r->accepting = NULL;
    r->listener = -1;
    struct redis_options o = options(r, r->url);
    r->c = redis_conn_new(r->l, r->log, &o, NULL);
    r->port = redis_conn_port(r->c);
    timerq_set(loop_timers(r->l), &r->step, loop_clock(r->l)->mono_ms + 600, on_three_downs, r);
    loop_run(r->l);
    assert_int_equal(r->ups + r->downs, 0); /* no change of state */
}

static void urls(void **state)
{
    static const char *const bad[] = {"",
                                      "http://x",
                                      "redis://",
                                      "redis://h:0",
                                      "redis://h:70000",
                                      "redis://h/x",
                                      "redis://[::1",
                                      "redis://u:%zz@h",
                                      "redis://u:%4@h",
                                      "unix://"};
    struct redis_url u;
    struct err e;
    (void)state;
    assert_int_equal(redis_url_parse(view_of("redis://h"), &u, &e), ERR_OK);
    assert_string_equal(u.port, "6379");
    assert_int_equal(redis_url_parse(view_of("redis://a:b@c@[::1]:7/3"), &u, &e), ERR_OK);
    assert_string_equal(u.user, "a");
    assert_string_equal(u.password, "b@c");
    assert_string_equal(u.host, "::1");
    assert_string_equal(u.port, "7");
    assert_int_equal(u.db, 3);
    assert_int_equal(redis_url_parse(view_of("redis://secret@h:1"), &u, &e), ERR_OK);
    assert_string_equal(u.password, "secret");
    assert_string_equal(u.user, "");
    assert_int_equal(redis_url_parse(view_of("unix:///run/r.sock"), &u, &e), ERR_OK);
    assert_true(u.is_unix);
    assert_string_equal(u.host, "/run/r.sock");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(redis_url_parse(view_of(bad[i]), &u, &e), ERR_INVALID);
}

static void on_stop(void *arg)
{
    loop_stop(((struct rig *)arg)->l);
}

static void a_name_is_looked_up(void **state)
{
    struct rig *r = *state;
    serve(r, heard_greeting, "");
    const char *port = strrchr(r->url, ':');
    char url[64];
    snprintf(url, sizeof url, "redis://localhost%s", port);
    struct redis_options o = options(r, url);
    dial(r, &o); /* ::1 refuses, 127.0.0.1 answers */
    assert_int_equal(r->downs, 0);
    redis_conn_free(r->c);
    r->c = redis_conn_new(r->l, r->log, &o, NULL); /* freed with the look-up under way */
    timerq_set(loop_timers(r->l), &r->step, loop_clock(r->l)->mono_ms, on_stop, r);
    loop_run(r->l);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls),
        T(answers_in_dribbles),
        T(a_late_reply_is_dropped_and_the_next_is_not_mistaken),
        T(a_silent_server_is_left),
        T(garbage_breaks_the_connection),
        T(credentials_are_sent_and_refusals_retried),
        T(a_loading_server_is_not_up),
        T(nobody_listens),
        T(a_name_is_looked_up),
        T(every_kind_of_reply),
        T(replies_come_in_order),
        T(big_strings_and_long_pages),
        T(ceilings_are_answered_not_met),
        T(a_killed_connection_comes_back),
        T(it_may_be_freed_in_its_own_callback),
        T(calls_from_callbacks),
        T(subscribe_and_leave),
        T(channels_survive_a_reconnect),
        T(subscribing_while_down_is_made_good_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
