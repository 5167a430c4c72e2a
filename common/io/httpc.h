#ifndef IO_HTTPC_H
#define IO_HTTPC_H
#include "common/base/port.h"
#include "common/io/loop.h"

/* HTTP calls out (libcurl in socket mode on the loop). HTTP/1.1 with a pool of kept connections,
 * HTTP/2 over TLS where the server speaks it; no redirects, no proxies from the environment, http
 * and https only; small receive buffers (4 KB) so that thousands of slow streams are cheap.
 *
 * The port: start and cancel may be called from anywhere, inside the sink's callbacks too; start
 * never calls back itself. A time limit of 0 means none. A reply's head may hold 64 fields and 16
 * KB. Errors are ERR_TIMEOUT, ERR_TOO_LARGE, ERR_UNAVAILABLE (no connection, or closed in the
 * middle), ERR_PROTOCOL, ERR_INVALID (the URL); their text never holds the URL. */
struct httpc;
struct httpc_options {
    size_t calls_max;       /* in flight; more are refused ERR_FULL */
    size_t connections_max; /* kept alive */
    const char *user_agent;
    const char
        *ca_file; /* PEM certificates to trust instead of the system's; NULL = the system's */
};
struct httpc *httpc_new(struct loop *l, const struct httpc_options *o, struct err *err);
void httpc_free(struct httpc *c); /* cancels what is in flight */
struct http_port httpc_port(struct httpc *c);
size_t httpc_in_flight(const struct httpc *c);

#endif
