#ifndef IO_REDIS_H
#define IO_REDIS_H
#include "common/base/log.h"
#include "common/base/port.h"
#include "common/io/loop.h"

/* Redis connections on the loop: own socket, hiredis' reader, commands of one turn leave in one
 * write. Reconnects by itself (100 ms doubling to 2 s, jitter) for ever and says so once per change
 * of state. Every command has a deadline. Pending commands of a broken connection are answered
 * ERR_UNAVAILABLE. URL: redis://[user:pass@]host:port[/db] or unix:///path. */
struct redis_conn;
struct redis_options {
    const char *url;
    const char *name;                     /* in logs: "commands", "doorbell" */
    int64_t timeout_ms;                   /* per command */
    size_t pending_max;                   /* commands in flight; more are answered ERR_FULL */
    size_t output_max;                    /* unsent bytes; more is ERR_FULL */
    void (*on_state)(void *arg, bool up); /* may be NULL */
    void *arg;
};

struct redis_conn *redis_conn_new(struct loop *l, struct log *log, const struct redis_options *o,
                                  struct err *err);
/* Answers all that wait ERR_CLOSED (here, synchronously). Safe inside any callback of the
 * connection. */
void redis_conn_free(struct redis_conn *c);
struct redis_port redis_conn_port(struct redis_conn *c);
/* The same kind of connection in subscriber mode: to be asked for before the loop runs; then
 * redis_conn_port must not be used. One subscribe per channel until its unsubscribe (counting users
 * is the caller's). on_ready with an error (not connected, lost before the confirmation) leaves the
 * channel wanted: it is subscribed on reconnect, and on_reset tells. on_reset also comes after the
 * first connect when channels were waiting for it. self NULL: no memory. */
struct redis_sub_port redis_conn_sub_port(struct redis_conn *c);

#endif
