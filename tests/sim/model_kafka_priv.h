#ifndef SIM_MODEL_KAFKA_PRIV_H
#define SIM_MODEL_KAFKA_PRIV_H
#include "tests/sim/model_kafka.h"
#include <assert.h>

enum { MODEL_PARTITIONS_MAX = 16, MODEL_MEMBERS_MAX = 32 };

struct model_record {
    struct record_in rec;
    int64_t appended_ms;
    char *bytes;
};

struct model_log {
    struct model_record **records;
    size_t count, max;
};

struct model_commit {
    bool is_set;
    int64_t offset;
    char *metadata;
};

struct model_waiting { /* a request that reached a paused broker */
    struct model_waiting *next;
    sim_fn *fn, *drop;
    void *arg;
};

struct model_kafka {
    struct world *world;
    const struct topics *topics;
    int32_t partitions;
    int64_t message_timeout_ms, session_ms;
    bool paused;
    int64_t paused_ms, fetch_lag_ms;
    struct model_waiting *waiting, **waiting_end;
    model_commit_fn *on_commit;
    void *on_commit_arg;
    struct model_log logs[TOPIC_COUNT][MODEL_PARTITIONS_MAX];
    struct model_commit committed[TOPIC_COUNT][MODEL_PARTITIONS_MAX];
    struct model_consumer *members[MODEL_MEMBERS_MAX]; /* in the group now */
    int owner[MODEL_PARTITIONS_MAX];                   /* index of a member, -1 */
};

/* True: the broker is paused; fn(arg) comes when it goes on, in order. */
bool model_kafka_waits(struct model_kafka *k, sim_fn *fn, sim_fn *drop, void *arg);

/* model_group.c */
void model_group_free(struct model_kafka *k);
void model_group_evict(struct model_kafka *k); /* every session ran out */
void model_group_appended(struct model_kafka *k, enum topic t, int32_t partition, int64_t delay_ms); /* a fetch has it then */
void model_group_wake(struct model_kafka *k);

#endif
