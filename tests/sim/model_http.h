#ifndef SIM_MODEL_HTTP_H
#define SIM_MODEL_HTTP_H
#include "common/io/httpd.h"
#include "tests/sim/world.h"

/* The model of an HTTP server and of the clients that talk to it: it stands in the place of common/io/httpd.c (the same calls), so
 * that the whole gateway room runs in the simulation, from the route to the last byte of a stream.
 *
 * Bytes and answers take a random moment both ways and keep their order. A client may leave at any moment, may be slow (then
 * the server's pulls stop when its window is full), and sees the connection break when the server's process dies. */
struct model_web; /* the server of one gateway process */
struct model_web *model_web_new(struct proc *p, void (*on_request)(void *arg, struct httpd_request *r), void *arg);
/* As the process ends: every request that is still with its room is told that it is gone, every client that the connection broke. */
void model_web_free(struct model_web *s);

/* --- clients ------------------------------------------------------------------------------------------------------- */
struct model_ask {
    const char *method, *path; /* with the query */
    const char *key;           /* bearer; NULL = none */
    const char *idempotency, *last_event_id, *prefer; /* NULL = not sent */
    struct view body;
    size_t window; /* bytes on their way to a slow client; 0 = no bound */
    int64_t read_ms; /* a slow client takes one piece in so long */
};
struct model_answer {
    int status;
    const char *location; /* NULL = none */
    int64_t retry_after_s;
    bool is_replay; /* Idempotent-Replayed */
};
struct model_client_sink {
    void (*on_head)(void *arg, const struct model_answer *a); /* status 0: no answer, the connection broke */
    void (*on_body)(void *arg, struct view bytes);
    void (*on_end)(void *arg, bool is_whole); /* once, the last */
};
struct model_request; /* a client's handle: until on_end, or model_request_leave */
/* s NULL: nobody listens there; the client hears so. */
struct model_request *model_request_new(struct world *w, struct model_web *s, const struct model_ask *ask,
                                        const struct model_client_sink *sink, void *arg);
void model_request_leave(struct model_request *c);

#endif
