#ifndef IO_HTTPC_H
#define IO_HTTPC_H
#include "common/base/port.h"
#include "common/io/loop.h"

/* HTTP calls out (libcurl multi_socket on the loop). HTTP/1.1 keep-alive pool; no redirects, no proxies from the environment, http and
 * https only; small receive buffers (2-4 KB) so that thousands of slow streams are cheap. */
struct httpc;
struct httpc_options {
    size_t calls_max;       /* in flight; more are refused ERR_FULL */
    size_t connections_max; /* kept alive */
    const char *user_agent;
};
struct httpc *httpc_new(struct loop *l, const struct httpc_options *o, struct err *err);
void httpc_free(struct httpc *c); /* cancels what is in flight */
struct http_port httpc_port(struct httpc *c);
size_t httpc_in_flight(const struct httpc *c);

#endif
