#ifndef IO_LIFE_H
#define IO_LIFE_H
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/io/httpd.h"
#include "common/io/loop.h"

/* What every daemon has: stderr log sink, signals, and the admin port with /healthz (the loop turns), /readyz (can take
 * work; says why not), /metrics, and further paths of the room (POST /drain). */
struct life;
struct life_options {
    const char *admin_listen;
    struct metrics *metrics;
    /* True = ready; else writes a short reason. */
    bool (*is_ready)(void *arg, struct buf *reason);
    void (*before_metrics)(void *arg); /* refresh gauges; may be NULL */
    /* Other paths; false = not known (404). */
    bool (*on_request)(void *arg, struct httpd_request *r);
    void *arg;
};
struct life *life_new(struct loop *l, struct log *log, const struct life_options *o, struct err *err);
void life_free(struct life *f);
int life_port(const struct life *f);
/* A log sink that writes to stderr. */
void life_log_sink(void *arg, struct view line);

#endif
