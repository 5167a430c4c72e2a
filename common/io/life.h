#ifndef IO_LIFE_H
#define IO_LIFE_H
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/io/httpd.h"
#include "common/io/loop.h"

/* What every daemon has beside its work: log lines on stderr, and the admin port with
 *   /healthz   200 while the loop turns
 *   /readyz    200, or 503 with a reason: {"status":"unready","reason":"..."}
 *   /metrics   Prometheus text
 * and further paths of the room (POST /drain). Signals: loop_on_signal. */
struct life;
struct life_options {
    const char *admin_listen;
    struct metrics *metrics;
    /* True = ready; else writes a short reason. */
    bool (*is_ready)(void *arg, struct buf *reason);
    void (*before_metrics)(void *arg); /* refresh gauges; may be NULL */
    /* Other paths; must answer or keep r, or return false = not known (404). May be NULL. */
    bool (*on_request)(void *arg, struct httpd_request *r);
    void *arg;
};
struct life *life_new(struct loop *l, struct log *log, const struct life_options *o,
                      struct err *err);
void life_free(struct life *f);
int life_port(const struct life *f);
/* A log sink that writes to stderr and never blocks: a line that a full pipe does not take is
 * dropped. arg: NULL, or a uint64_t that counts the lines dropped. */
void life_log_sink(void *arg, struct view line);

#endif
