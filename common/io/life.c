/* The admin port: small answers about this process, from a server of its own so that strangers'
 * connections cannot crowd out probes.
 *
 * /healthz says one thing, that the loop turns: whoever gets an answer has seen it turn. A probe
 * that looked at Redis or Kafka would have the process killed for the fault of another; that
 * belongs in /readyz. */
#include "common/io/life.h"
#include "common/base/json.h"
#include <errno.h>
#include <poll.h>
#include <unistd.h>

enum {
    LIFE_CONNECTIONS_MAX = 64,
    LIFE_HEAD_MAX = 6144,
    LIFE_BODY_MAX = 65536,
    LIFE_TIMEOUT_MS = 10000,
    LIFE_IDLE_MS = 75000,
    LIFE_REASON_MAX = 1024,
    LIFE_METRICS_MAX = 8 << 20
};

struct life {
    struct life_options o;
    struct httpd *httpd;
    struct buf text; /* the last /metrics; kept for the next */
};

static void life_answer(struct httpd_request *r, int status, const char *content_type,
                        struct view body)
{
    struct httpd_answer a = {.status = status, .content_type = content_type, .body = body};
    a.headers[a.header_count++] =
        (struct httpd_header_out){.name = "Cache-Control", .value = "no-store"};
    if (status == 405)
        a.headers[a.header_count++] =
            (struct httpd_header_out){.name = "Allow", .value = "GET, HEAD"};
    httpd_reply(r, &a);
}

static void life_health(struct life *f, struct httpd_request *r)
{
    (void)f;
    life_answer(r, 200, "application/json", VIEW_LIT("{\"status\":\"ok\"}\n"));
}

static void life_ready(struct life *f, struct httpd_request *r)
{
    struct buf reason, body;
    buf_init(&reason, LIFE_REASON_MAX);
    buf_init(&body, 8 * LIFE_REASON_MAX);
    bool is_ready = !f->o.is_ready || f->o.is_ready(f->o.arg, &reason);
    struct jw w;
    jw_init(&w, &body);
    jw_object(&w);
    jw_kcstr(&w, "status", is_ready ? "ready" : "unready");
    if (!is_ready) jw_kstr(&w, "reason", buf_view(&reason));
    jw_end_object(&w);
    buf_put_char(&body, '\n');
    life_answer(r, is_ready ? 200 : 503, "application/json", buf_view(&body));
    buf_fini(&reason);
    buf_fini(&body);
}

static void life_metrics(struct life *f, struct httpd_request *r)
{
    buf_reset(&f->text);
    if (f->o.before_metrics) f->o.before_metrics(f->o.arg);
    bool ok = !f->o.metrics || metrics_put(f->o.metrics, &f->text);
    if (ok && !f->text.failed)
        life_answer(r, 200, "text/plain; version=0.0.4; charset=utf-8", buf_view(&f->text));
    else
        life_answer(r, 500, "text/plain", VIEW_LIT("metrics too large\n"));
}

static const struct {
    const char *path;
    void (*answer)(struct life *f, struct httpd_request *r);
} LIFE_PAGES[] = {{"/healthz", life_health}, {"/readyz", life_ready}, {"/metrics", life_metrics}};

static void life_on_request(void *arg, struct httpd_request *r)
{
    struct life *f = arg;
    struct view method = httpd_method(r), path = httpd_path(r);
    for (size_t i = 0; i < sizeof LIFE_PAGES / sizeof LIFE_PAGES[0]; i++) {
        if (!view_eq_str(path, LIFE_PAGES[i].path)) continue;
        if (view_eq_str(method, "GET") || view_eq_str(method, "HEAD"))
            LIFE_PAGES[i].answer(f, r);
        else
            life_answer(r, 405, "text/plain", VIEW_LIT("method not allowed\n"));
        return;
    }
    if (f->o.on_request && f->o.on_request(f->o.arg, r)) return;
    life_answer(r, 404, "text/plain", VIEW_LIT("not found\n"));
}

struct life *life_new(struct loop *l, struct log *log, const struct life_options *o,
                      struct err *err)
{
    struct life *f = calloc(1, sizeof *f);
    if (!f) {
        err_set(err, ERR_NOMEM, "admin port: no memory");
        return NULL;
    }
    f->o = *o;
    f->o.admin_listen = NULL;
    buf_init(&f->text, LIFE_METRICS_MAX);
    struct httpd_options server = {.listen = o->admin_listen,
                                   .connections_max = LIFE_CONNECTIONS_MAX};
    server.head_max = LIFE_HEAD_MAX;
    server.body_max = LIFE_BODY_MAX;
    server.body_total_max = (size_t)LIFE_BODY_MAX * 8;
    server.head_timeout_ms = server.body_timeout_ms = LIFE_TIMEOUT_MS;
    server.idle_timeout_ms = LIFE_IDLE_MS;
    server.on_request = life_on_request;
    server.arg = f;
    f->httpd = httpd_new(l, log, &server, err);
    if (f->httpd) return f;
    err_wrap(err, "admin port");
    life_free(f);
    return NULL;
}

void life_free(struct life *f)
{
    if (!f) return;
    httpd_free(f->httpd);
    buf_fini(&f->text);
    free(f);
}

int life_port(const struct life *f)
{
    return httpd_port(f->httpd);
}

void life_log_sink(void *arg, struct view line)
{
    /* a pipe that is ready takes at least PIPE_BUF bytes whole, and a line is no longer than that
     */
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    bool ok = poll(&out, 1, 0) == 1 && (out.revents & POLLOUT);
    if (ok) {
        ssize_t n;
        do n = write(STDERR_FILENO, line.ptr, line.len);
        while (n < 0 && errno == EINTR);
        ok = n == (ssize_t)line.len;
    }
    uint64_t *dropped = arg;
    if (!ok && dropped) ++*dropped;
}
