#ifndef SCHEMAS_TOPICS_H
#define SCHEMAS_TOPICS_H
#include "common/base/view.h"

/* The topics of design section 3. The followed ones of a home p are those with TOPIC_FOLLOWED. */
enum topic {
    TOPIC_JOBS_INTERACTIVE, /* the one that is subscribed */
    TOPIC_JOBS_BULK,
    TOPIC_CONT,
    TOPIC_DELAY_5S, TOPIC_DELAY_30S, TOPIC_DELAY_2M, TOPIC_DELAY_10M, TOPIC_DELAY_1H, TOPIC_DELAY_6H,
    TOPIC_SPILL_INTERACTIVE, TOPIC_SPILL_BULK,
    TOPIC_STATE,
    TOPIC_DLQ,
    TOPIC_CONTROL,
    TOPIC_COUNT
};
enum { TOPIC_FOLLOWED = TOPIC_DLQ }; /* 0 .. TOPIC_STATE are equal in partition count and followed by a home's owner */
enum { TOPIC_NAME_MAX = 128 };

/* Names of one installation ("sluice." prefix and so on), made once. */
struct topics {
    char names[TOPIC_COUNT][TOPIC_NAME_MAX];
};
bool topics_init(struct topics *t, const char *prefix); /* false: prefix too long or not a topic name */
bool topics_parse(const struct topics *t, struct view name, enum topic *ret);
int64_t topic_delay_ms(enum topic t); /* 0: not a delay tier */
/* Largest tier <= remaining; TOPIC_COUNT when remaining is below the smallest tier. */
enum topic topic_delay_tier(int64_t remaining_ms);
struct topic_policy {
    const char *cleanup;     /* delete | compact */
    int64_t retention_ms;    /* -1: by compaction */
    bool one_partition;
};
struct topic_policy topic_policy(enum topic t);

#endif
