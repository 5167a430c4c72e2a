#ifndef PRODUCER_CLI_WATCH_H
#define PRODUCER_CLI_WATCH_H
#include "common/base/sse_in.h"
#include "producer/cli_event.h"
#include "producer/cli_http.h"

/* One job's events to its end, over as many connections as it takes: each once and in order. Comes
 * back with the last id it saw after a pause that grows from the server's `retry` to 15 s, for
 * ever; but a server that was never reached is given up after CLI_TRIES. */
struct cli_watch;

enum cli_watch_end_kind {
    CLI_WATCH_TERMINAL, /* the terminal event was handed over */
    CLI_WATCH_OVER,     /* nothing comes after the given cursor: the job ended there */
    CLI_WATCH_REFUSED,  /* status and body say why */
    CLI_WATCH_AWAY,     /* never reached */
};
struct cli_watch_end { /* valid for the callback */
    enum cli_watch_end_kind kind;
    int status;             /* REFUSED */
    struct view body;       /* REFUSED */
    const struct err *away; /* AWAY */
};

struct cli_watch_options {
    const struct cli_server *server; /* borrowed */
    const char *id;                  /* job; copied */
    const char *after;               /* event id to go on after; NULL = from the start; copied */
    bool was_reached;                /* the server answered a moment ago: never give up */
    void (*on_event)(void *arg, const struct cli_event *e);
    /* lost NULL: the stream is open (again). Else why not, and how long until the next try. */
    void (*on_line)(void *arg, const char *lost, int64_t pause_ms);
    /* seq went from `last` to `next` without a reset: something is missing. */
    void (*on_hole)(void *arg, int64_t last, int64_t next);
    void (*on_end)(void *arg, const struct cli_watch_end *end); /* once, the last call */
    void *arg;
};
struct cli_watch *cli_watch_new(const struct cli_watch_options *o,
                                struct err *err); /* NULL: refused */
void cli_watch_free(struct cli_watch *w);         /* not from inside its own callbacks */
const char *
cli_watch_cursor(const struct cli_watch *w); /* id of the last event handed over; "" = none */

#endif
