#ifndef TESTS_UNIT_CLI_FEED_H
#define TESTS_UNIT_CLI_FEED_H
/* Events for the tests of the tool: type and members; id, seq and time are counted. */
#include "producer/cli_event.h"

#define CLI_JOB_ID "0190a1b2-c3d4-7001-8000-0123456789ab"

struct cli_feed {
    uint64_t seq;
    int64_t ts_ms;
    char data[65536], id[EVENT_ID_TEXT];
};

static inline void cli_feed_init(struct cli_feed *f)
{
    *f = (struct cli_feed){.ts_ms = 1767312000000}; /* 2026-01-02T00:00:00Z */
}

/* members: "\"a\":1" or "". Each event is 100 ms after the one before. */
static inline struct cli_event cli_feed_event(struct cli_feed *f, const char *type,
                                              const char *members)
{
    struct cli_event e;
    struct err err;
    char ts[CLOCK_TEXT];
    bool is_durable = strcmp(type, "reset") != 0;

    f->ts_ms += 100;
    if (is_durable) f->seq++;
    clock_format(f->ts_ms, ts);
    event_id_format((struct event_id){1, f->seq}, f->id);
    int n =
        snprintf(f->data, sizeof f->data,
                 "{\"type\":\"%s\",\"job_id\":\"" CLI_JOB_ID "\",\"seq\":%llu,\"ts\":\"%s\"%s%s}",
                 type, (unsigned long long)f->seq, ts, members[0] ? "," : "", members);
    assert_true(n > 0 && (size_t)n < sizeof f->data);
    if (cli_event_read(view_of(type), is_durable ? view_of(f->id) : VIEW_NONE, view_of(f->data), &e,
                       &err) != ERR_OK)
        fail_msg("%s: %s", f->data, err.text);
    return e;
}

#endif
