#ifndef TESTS_REDIS_SERVER_H
#define TESTS_REDIS_SERVER_H
/* A real redis-server of a test's own (unix socket in a temporary folder, nothing saved) and a small blocking client that
 * is a redis_port: calls are queued, rs_pump sends them in one write and hands out the answers. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/port.h"
#include "schemas/embed.h"

enum { RS_CALLS_MAX = 8192, RS_ITEMS_MAX = 8192 };

struct rs_call {
    redis_reply_fn *fn;
    void *arg;
};

struct rs {
    char dir[64], path[96];
    pid_t pid;
    int fd;
    struct buf out, in;
    size_t at; /* read position in `in` */
    struct rs_call calls[RS_CALLS_MAX];
    size_t first, count; /* ring */
    struct reply items[RS_ITEMS_MAX];
    size_t item_count;
    bool is_cut; /* answers of the port are ERR_UNAVAILABLE */
};

static inline void rs_die(const char *what)
{
    fprintf(stderr, "redis_server.h: %s: %s\n", what, strerror(errno));
    exit(1);
}

static inline bool rs_connect(struct rs *r)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", r->path);
    r->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (r->fd < 0) rs_die("socket");
    if (connect(r->fd, (struct sockaddr *)&a, sizeof a) == 0) return true;
    close(r->fd);
    r->fd = -1;
    return false;
}

static inline void rs_start(struct rs *r)
{
    memset(r, 0, sizeof *r);
    snprintf(r->dir, sizeof r->dir, "/tmp/sluice-unit-XXXXXX");
    if (!mkdtemp(r->dir)) rs_die("mkdtemp");
    snprintf(r->path, sizeof r->path, "%s/s", r->dir);
    buf_init(&r->out, 64 << 20);
    buf_init(&r->in, 64 << 20);
    r->pid = fork();
    if (r->pid == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL)) _exit(1); /* a test that fails or dies leaves no server behind */
        if (!freopen("/dev/null", "w", stdout)) _exit(1);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", r->path, "--save", "", "--dir", r->dir,
               "--stream-node-max-bytes", "1024", (char *)NULL);
        _exit(127);
    }
    if (r->pid < 0) rs_die("fork");
    for (int i = 0; !rs_connect(r); i++) {
        int status;
        if (i > 500 || waitpid(r->pid, &status, WNOHANG) == r->pid) rs_die("redis-server does not start");
        poll(NULL, 0, 20); /* the only way to learn that a socket listens is to try again */
    }
}

static inline void rs_stop(struct rs *r)
{
    int status;
    close(r->fd);
    kill(r->pid, SIGKILL);
    waitpid(r->pid, &status, 0);
    unlink(r->path);
    rmdir(r->dir);
    buf_fini(&r->out);
    buf_fini(&r->in);
}

static inline void rs_call(void *self, const struct view *argv, size_t argc, redis_reply_fn *fn, void *arg)
{
    struct rs *r = self;
    if (r->count == RS_CALLS_MAX) rs_die("too many calls");
    r->calls[(r->first + r->count++) % RS_CALLS_MAX] = (struct rs_call){fn, arg};
    buf_printf(&r->out, "*%zu\r\n", argc);
    for (size_t i = 0; i < argc; i++) {
        buf_printf(&r->out, "$%zu\r\n", argv[i].len);
        buf_put_view(&r->out, argv[i]);
        buf_put_str(&r->out, "\r\n");
    }
}

static inline bool rs_is_up(void *self)
{
    return !((struct rs *)self)->is_cut;
}

static inline struct redis_port rs_port(struct rs *r)
{
    return (struct redis_port){.self = r, .call = rs_call, .is_up = rs_is_up};
}

static inline void rs_flush(struct rs *r)
{
    for (size_t done = 0; done < r->out.len;) {
        ssize_t n = send(r->fd, r->out.data + done, r->out.len - done, MSG_NOSIGNAL);
        if (n <= 0) rs_die("send");
        done += (size_t)n;
    }
    buf_reset(&r->out);
}

static inline void rs_fill(struct rs *r)
{
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    if (poll(&p, 1, 10000) != 1) rs_die("no answer in 10 s");
    if (!buf_reserve(&r->in, 65536)) rs_die("answer too long");
    ssize_t n = recv(r->fd, r->in.data + r->in.len, 65536, 0);
    if (n <= 0) rs_die("recv");
    r->in.len += (size_t)n;
}

/* A line without its end; false: not all there. */
static inline bool rs_line(struct rs *r, struct view *ret)
{
    struct view rest = view_make(r->in.data + r->at, r->in.len - r->at);
    const char *end = rest.len ? memchr(rest.ptr, '\n', rest.len) : NULL;
    if (!end) return false;
    *ret = view_make(rest.ptr, (size_t)(end - rest.ptr) - 1);
    r->at += (size_t)(end - rest.ptr) + 1;
    return true;
}

static inline bool rs_parse(struct rs *r, struct reply *ret)
{
    struct view line;
    if (!rs_line(r, &line)) return false;
    struct view rest = view_make(line.ptr + 1, line.len - 1);
    int64_t n = 0;
    *ret = (struct reply){.kind = REPLY_NIL, .str = rest};
    if (line.ptr[0] == '+' || line.ptr[0] == '-') {
        ret->kind = line.ptr[0] == '+' ? REPLY_STATUS : REPLY_ERROR;
        return true;
    }
    if (!view_i64(rest, &n)) rs_die("not RESP");
    ret->str = VIEW_NONE;
    if (line.ptr[0] == ':') {
        ret->kind = REPLY_INT;
        ret->num = n;
    } else if (line.ptr[0] == '$' && n >= 0) {
        if (r->in.len - r->at < (size_t)n + 2) return false;
        ret->kind = REPLY_STR;
        ret->str = view_make(r->in.data + r->at, (size_t)n);
        r->at += (size_t)n + 2;
    } else if (line.ptr[0] == '*' && n >= 0) {
        struct reply *items = r->items + r->item_count;
        if (r->item_count + (size_t)n > RS_ITEMS_MAX) rs_die("answer too long");
        r->item_count += (size_t)n;
        for (int64_t i = 0; i < n; i++)
            if (!rs_parse(r, items + i)) return false;
        ret->kind = REPLY_ARRAY;
        ret->items = items;
        ret->count = (size_t)n;
    }
    return true;
}

/* Sends what waits and hands out answers until nothing is under way, calls made by callbacks included. */
static inline void rs_pump(struct rs *r)
{
    while (r->count) {
        struct reply reply;
        struct err e;
        err_set(&e, ERR_UNAVAILABLE, "cut");
        if (r->is_cut) {
            struct rs_call c = r->calls[r->first];
            r->first = (r->first + 1) % RS_CALLS_MAX;
            r->count--;
            buf_reset(&r->out);
            c.fn(c.arg, NULL, &e);
            continue;
        }
        rs_flush(r);
        r->at = 0;
        r->item_count = 0;
        if (!rs_parse(r, &reply)) {
            rs_fill(r);
            continue;
        }
        struct rs_call c = r->calls[r->first];
        size_t used = r->at;
        r->first = (r->first + 1) % RS_CALLS_MAX;
        r->count--;
        c.fn(c.arg, &reply, NULL);
        buf_consume(&r->in, used);
    }
}

static inline void rs_copy_reply(void *arg, const struct reply *r, const struct err *e)
{
    struct buf *b = arg;
    buf_reset(b);
    if (e) rs_die(e->text);
    if (r->kind == REPLY_INT) buf_put_i64(b, r->num);
    if (r->kind == REPLY_STR || r->kind == REPLY_STATUS || r->kind == REPLY_ERROR) buf_put_view(b, r->str);
    if (r->kind == REPLY_NIL) buf_put_str(b, "(nil)");
    for (size_t i = 0; r->kind == REPLY_ARRAY && i < r->count; i++) {
        if (i) buf_put_char(b, ' ');
        if (r->items[i].kind == REPLY_ARRAY) { /* an entry of XRANGE: id and type */
            buf_put_view(b, reply_str(reply_at(&r->items[i], 0)));
            buf_put_char(b, '=');
            buf_put_view(b, reply_str(reply_at(reply_at(&r->items[i], 1), 1)));
        } else if (r->items[i].kind == REPLY_INT) {
            buf_put_i64(b, r->items[i].num);
        } else {
            buf_put_view(b, reply_str(&r->items[i]));
        }
    }
}

/* One command, words separated by spaces; its answer as text (arrays joined by spaces, XRANGE as id=type). */
static inline const char *rs_ask(struct rs *r, struct buf *answer, const char *words)
{
    struct view argv[32], rest = view_of(words);
    size_t argc = 0;
    while (argc < 31 && view_cut(rest, ' ', &argv[argc], &rest)) argc++;
    argv[argc++] = rest;
    rs_call(r, argv, argc, rs_copy_reply, answer);
    rs_pump(r);
    if (!buf_put_char(answer, '\0')) rs_die("answer too long");
    answer->len--;
    return answer->data;
}

/* Loads a function library of the product whose clock is what rs_set_clock says. text: for the answer. */
static inline void rs_load_library(struct rs *r, struct buf *text, const char *name)
{
    static const char from[] = "call('TIME')", to[] = "call('MGET', 'clock:s', 'clock:us')";
    char path[96];
    snprintf(path, sizeof path, "schemas/redis/%s.lua", name);
    const struct embed_file *lua = embed_find(path);
    if (!lua) rs_die(path);
    struct buf code;
    const char *rest = (const char *)lua->data, *at;
    size_t clocks = 0;
    buf_init(&code, 1 << 20);
    for (; (at = strstr(rest, from)) != NULL; rest = at + strlen(from), clocks++) {
        buf_put(&code, rest, (size_t)(at - rest));
        buf_put_str(&code, to);
    }
    buf_put_str(&code, rest);
    if (!clocks) rs_die("a library that asks for no time");
    const struct view load[] = {VIEW_LIT("FUNCTION"), VIEW_LIT("LOAD"), VIEW_LIT("REPLACE"), buf_view(&code)};
    rs_call(r, load, 4, rs_copy_reply, text);
    rs_pump(r);
    buf_fini(&code);
    if (!view_eq_str(buf_view(text), name)) rs_die("the library is not loaded");
}

/* Sent with the next pump. text: for the answer. */
static inline void rs_set_clock(struct rs *r, struct buf *text, int64_t wall_ms)
{
    char s[32], us[32];
    snprintf(s, sizeof s, "%lld", (long long)(wall_ms / 1000));
    snprintf(us, sizeof us, "%lld", (long long)(wall_ms % 1000 * 1000));
    const struct view argv[] = {VIEW_LIT("MSET"), VIEW_LIT("clock:s"), view_of(s), VIEW_LIT("clock:us"), view_of(us)};
    rs_call(r, argv, 5, rs_copy_reply, text);
}

#endif
