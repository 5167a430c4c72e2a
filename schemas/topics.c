/* The names and policies of the topics.
 *
 * One table says for every topic its name after the prefix, its delay, its clean-up and how long it
 * keeps records. The order of the enum carries meaning (0 .. TOPIC_STATE are followed together by
 * the owner of a home), so the table is indexed by it and a static assertion holds the two
 * together. */
#include "schemas/topics.h"
#include <assert.h>

enum { TOPIC_SECOND_MS = 1000, TOPIC_MINUTE_MS = 60 * 1000 };
static const int64_t topic_day_ms = INT64_C(24) * 60 * TOPIC_MINUTE_MS;

struct topic_row {
    const char *suffix;
    int64_t delay_ms;
    int keep_days; /* 0: compacted, kept for ever */
    bool one_partition;
};

static const struct topic_row topic_rows[] = {
    [TOPIC_JOBS_INTERACTIVE] = {"jobs.interactive", 0, 14, false},
    [TOPIC_JOBS_BULK] = {"jobs.bulk", 0, 14, false},
    [TOPIC_CONT] = {"cont", 0, 14, false},
    [TOPIC_DELAY_5S] = {"delay.5s", 5 * TOPIC_SECOND_MS, 30, false},
    [TOPIC_DELAY_30S] = {"delay.30s", 30 * TOPIC_SECOND_MS, 30, false},
    [TOPIC_DELAY_2M] = {"delay.2m", 2 * TOPIC_MINUTE_MS, 30, false},
    [TOPIC_DELAY_10M] = {"delay.10m", 10 * TOPIC_MINUTE_MS, 30, false},
    [TOPIC_DELAY_1H] = {"delay.1h", 60 * TOPIC_MINUTE_MS, 30, false},
    [TOPIC_DELAY_6H] = {"delay.6h", 360 * TOPIC_MINUTE_MS, 30, false},
    [TOPIC_SPILL_INTERACTIVE] = {"spill.interactive", 0, 14, false},
    [TOPIC_SPILL_BULK] = {"spill.bulk", 0, 14, false},
    [TOPIC_STATE] = {"state", 0, 30, false},
    [TOPIC_DLQ] = {"dlq", 0, 30, false},
    [TOPIC_CONTROL] = {"control", 0, 0, true},
};
_Static_assert(sizeof topic_rows / sizeof topic_rows[0] == TOPIC_COUNT, "a topic without a row");

static bool topic_char_ok(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool topics_init(struct topics *t, const char *prefix)
{
    assert(t && prefix);
    for (const char *p = prefix; *p; p++)
        if (!topic_char_ok(*p)) return false;
    for (size_t i = 0; i < TOPIC_COUNT; i++) {
        int len = snprintf(t->names[i], TOPIC_NAME_MAX, "%s%s", prefix, topic_rows[i].suffix);
        if (len < 0 || len >= TOPIC_NAME_MAX) return false;
    }
    return true;
}

bool topics_parse(const struct topics *t, struct view name, enum topic *ret)
{
    for (int i = 0; i < TOPIC_COUNT; i++)
        if (view_eq_str(name, t->names[i])) {
            *ret = (enum topic)i;
            return true;
        }
    return false;
}

int64_t topic_delay_ms(enum topic t)
{
    assert(t < TOPIC_COUNT);
    return topic_rows[t].delay_ms;
}

enum topic topic_delay_tier(int64_t remaining_ms)
{
    for (int i = TOPIC_DELAY_6H; i >= TOPIC_DELAY_5S; i--)
        if (topic_rows[i].delay_ms <= remaining_ms) return (enum topic)i;
    return TOPIC_COUNT;
}

struct topic_policy topic_policy(enum topic t)
{
    assert(t < TOPIC_COUNT);
    const struct topic_row *row = &topic_rows[t];
    return (struct topic_policy){
        .cleanup = row->keep_days ? "delete" : "compact",
        .retention_ms = row->keep_days ? row->keep_days * topic_day_ms : -1,
        .one_partition = row->one_partition,
    };
}
