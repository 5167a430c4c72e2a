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
    int64_t paused_ms, fetch_lag_ms[TOPIC_COUNT];
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

struct follow {
    bool on;
    int64_t next, fetched; /* fetched: as far as the client has records in its own memory */
};

struct model_consumer {
    struct model_kafka *kafka;
    struct proc *proc;
    const struct model_consumer_events *events;
    void *arg;
    struct follow followed[TOPIC_COUNT][MODEL_PARTITIONS_MAX];
    bool mine[MODEL_PARTITIONS_MAX]; /* as this member believes */
    int64_t silent_since;            /* paused or dead since; -1 = well */
    int64_t tell_ms;                 /* earliest arrival of the next news: order */
    unsigned lost, lost_told;        /* times it was thrown out, and times it knows of */
    bool in_group, leaving, gone;
    size_t refs;
};

enum { MODEL_ASK_MS = 10000 }; /* what the client gives a question */

/* model_group.c */
void model_consumer_unref(struct model_consumer *c);
int64_t model_kafka_soon(struct model_kafka *k, uint64_t below);
void model_group_free(struct model_kafka *k);
void model_group_evict(struct model_kafka *k); /* every session ran out */
void model_group_appended(struct model_kafka *k, enum topic t, int32_t partition, int64_t delay_ms); /* a fetch has it then */
void model_group_wake(struct model_kafka *k);

#endif
