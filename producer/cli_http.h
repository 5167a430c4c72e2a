#ifndef PRODUCER_CLI_HTTP_H
#define PRODUCER_CLI_HTTP_H
#include "common/base/buf.h"
#include "common/base/port.h"

/* Calls to the gateway. Written against http_port: no sockets here. */
struct cli_server { /* everything borrowed */
    struct http_port http;
    const struct clock *clock;
    struct timerq *timers;
    struct rng *rng;
    const char *base; /* as cli_url_check gives it */
    const char *key;  /* NULL = none */
};

enum { CLI_TRIES = 6, CLI_TRIES_TO_READ = 3, CLI_RETRY_AFTER_MAX_S = 60 };

/* Pause before the next try after so many failures (>= 1): first_ms doubled each time up to max_ms,
 * a quarter up or down, and never shorter than what the server asked for (0 = nothing). */
int64_t cli_pause_ms(int64_t first_ms, int64_t max_ms, unsigned failures, int64_t retry_after_ms,
                     struct rng *rng);
/* Seconds of a Retry-After field; 0: absent, or a date. */
int64_t cli_retry_after_s(const struct http_header *headers, size_t count);
struct view cli_header(const struct http_header *headers, size_t count,
                       const char *name); /* VIEW_NONE: absent */

/* One exchange, repeated after a pause where the connection failed or the server answered 502, 503
 * or 504. Whoever repeats a POST gives it an Idempotency-Key, or knows that it may be repeated. */
struct cli_call;
struct cli_answer {         /* valid for the callback */
    const struct err *away; /* no answer came, and why; NULL: the rest holds */
    int status;
    struct view body;
    int64_t retry_after_s;
};
struct cli_call_options {
    const struct cli_server *server;
    const char *method;
    struct view path;        /* from the first slash; copied */
    struct view body;        /* JSON, copied; VIEW_NONE = none */
    struct view idempotency; /* the field's value, copied; VIEW_NONE = none */
    unsigned tries;          /* 1 = only once */
    /* A try failed and another one follows; may be NULL. why lives for the call. */
    void (*on_again)(void *arg, const char *why, int64_t pause_ms);
    void (*on_answer)(void *arg, const struct cli_answer *a); /* once */
    void *arg;
};
/* NULL: refused (err), no callback follows. */
struct cli_call *cli_call_new(const struct cli_call_options *o, struct err *err);
/* Not from inside its own callbacks. No callback after it. */
void cli_call_free(struct cli_call *c);

/* For those who start a stream themselves: URL and headers of a request. */
enum { CLI_HEADERS_MAX = 6 };
struct cli_head {
    struct buf url, authorization;
    struct http_header headers[CLI_HEADERS_MAX];
    size_t count;
};
/* False: no memory. Free with cli_head_fini in any case. */
bool cli_head_init(struct cli_head *h, const struct cli_server *s, struct view path);
void cli_head_add(struct cli_head *h, const char *name,
                  struct view value);   /* borrowed; absent values add nothing */
void cli_head_fini(struct cli_head *h); /* the key is wiped */

#endif
