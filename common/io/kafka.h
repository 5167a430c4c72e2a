#ifndef IO_KAFKA_H
#define IO_KAFKA_H
#include "common/base/log.h"
#include "common/base/port.h"
#include "common/io/loop.h"

/* librdkafka on the loop: wake-ups by fd, nothing blocks. Three handles: a producer, a consumer of
 * one group with followed partitions, and an admin. Blocking calls (committed, watermarks, offsets
 * for times, close) run on the thread pool. */

struct kafka_options {
    const char *brokers;
    const char *client_id;
    const struct kafka_setting *settings; /* security.* and the like, passed through by name */
    size_t setting_count;
};
struct kafka_setting {
    const char *name, *value;
};

/* --- producer: idempotent, acks=all, lz4 -------------------------------------------------- */
struct kafka_producer;
struct kafka_producer_options {
    struct kafka_options common;
    double linger_ms;
    int64_t message_timeout_ms;
    size_t queue_messages_max; /* our own outstanding ceiling is 70 % of it */
    size_t queue_kbytes_max;
};
struct kafka_producer *kafka_producer_new(struct loop *l, struct log *log,
                                          const struct kafka_producer_options *o, struct err *err);
/* Refuses new records, waits at most flush_ms for the reports of those in flight, then frees; done
 * is told last, when the handle is gone. done NULL: frees at once, open records are answered
 * ERR_CLOSED here and may be lost. Safe in any callback of the producer. */
void kafka_producer_close(struct kafka_producer *p, int64_t flush_ms, void (*done)(void *arg),
                          void *arg);
struct publish_port kafka_producer_port(struct kafka_producer *p);
size_t kafka_producer_outstanding(const struct kafka_producer *p);
/* Reports: ERR_TIMEOUT = may have landed; any other error = is not in the log. A fatal idempotence
 * error ends the handle inside; it is rebuilt in place, open records are answered ERR_TIMEOUT.
 * Topics known by kafka_topics_ensure do not wait for metadata; others' first record may take a
 * second. */

/* --- topics ------------------------------------------------------------------------------- */
struct kafka_topic_spec {
    const char *name;
    int partitions;
    int replication;
    const struct kafka_setting
        *settings; /* cleanup.policy, retention.ms, min.insync.replicas ... */
    size_t setting_count;
};
/* Creates the missing ones and verifies the partition count of all (a mismatch is ERR_CONFLICT,
 * text names topic and both counts), on the thread pool. done: e NULL = all there. Also warms the
 * producer's metadata when p is not NULL. */
void kafka_topics_ensure(struct loop *l, const struct kafka_options *o,
                         const struct kafka_topic_spec *specs, size_t count,
                         struct kafka_producer *p, void (*done)(void *arg, const struct err *e),
                         void *arg);

/* --- consumer: one group, one subscribed topic, followed partitions ----------------------- */
struct kafka_consumer;
struct kafka_committed {
    const char *topic;
    int32_t partition;
    int64_t offset;       /* committed, or -1 when none */
    struct view metadata; /* borrowed for the callback */
    int64_t low, high;    /* watermarks at the time of asking */
};
struct kafka_consumer_events {
    /* Partitions of the subscribed topic were given to us: find out where to start
     * (kafka_consumer_positions), then kafka_consumer_follow. The group's rebalance itself has
     * already been answered (assign of nothing yet): it never waits for us. In a second member's
     * join each round takes 0.3 - 1 s. */
    void (*on_assigned)(void *arg, const int32_t *partitions, size_t count);
    /* They are gone (lost: no commit will be accepted). Everything followed for them was unassigned
     * before this call. */
    void (*on_revoked)(void *arg, const int32_t *partitions, size_t count, bool lost);
    /* Something may be readable in some followed queue: read with kafka_consumer_read until it says
     * none. A queue that is not read to its end does not tell again: read it when there is room.
     * (Called twice a second in any case.) */
    void (*on_readable)(void *arg);
    /* e->code: ERR_TOO_LARGE = metadata; ERR_CONFLICT = we may no longer own it; ERR_UNAVAILABLE =
     * try again. */
    void (*on_commit)(void *arg, const char *topic, int32_t partition, int64_t offset,
                      const struct err *e);
    void (*on_error)(void *arg, const struct err *e); /* told, not acted on */
};
struct kafka_consumer_options {
    struct kafka_options common;
    const char *group;
    const char *subscribe; /* the one topic */
    int64_t session_timeout_ms;
    size_t queued_messages_min; /* prefetch per partition */
    /* > 0: what is followed as rare has a handle of its own that waits so long for records. They
     * come as soon as ever; what is saved is to name those partitions in every fetch. */
    int64_t rare_wait_ms;
    const struct kafka_consumer_events *events;
    void *arg;
};
struct kafka_consumer *kafka_consumer_new(struct loop *l, struct log *log,
                                          const struct kafka_consumer_options *o, struct err *err);
/* Leaves the group and unassigns everything (close queue, non-blocking): on_revoked comes for what
 * is owned, then left, once. A broker that does not answer is waited for 10 s at most. Results of
 * commits made before still come. */
void kafka_consumer_leave(struct kafka_consumer *c, void (*left)(void *arg), void *arg);
/* Frees, the handle off the loop; safe in any callback of the consumer. Open positions are answered
 * ERR_CLOSED here. Without kafka_consumer_leave before, the group notices by the session time-out
 * (a crash, for tests). */
void kafka_consumer_free(struct kafka_consumer *c);

/* Committed offsets, metadata and watermarks of topic-partitions, on the thread pool, at most 10 s;
 * three requests for any number of them. Same order as asked for. Ask before following: it also
 * brings the topics' metadata. */
struct kafka_tp {
    const char *topic;
    int32_t partition;
    int64_t offset; /* where to start (follow) */
    bool is_rare;   /* follow: seldom has records; see rare_wait_ms */
};
typedef void kafka_positions_fn(void *arg, const struct err *e, const struct kafka_committed *list,
                                size_t count);
void kafka_consumer_positions(struct kafka_consumer *c, const struct kafka_tp *tps, size_t count,
                              kafka_positions_fn *done, void *arg);
/* First offset with a timestamp >= ms for each tp (tp.offset carries the ms); -1 = past the end.
 * committed fields unused. */
void kafka_consumer_offsets_for_times(struct kafka_consumer *c, const struct kafka_tp *tps,
                                      size_t count, kafka_positions_fn *done, void *arg);
/* Adds topic-partitions (the subscribed topic's own included) in one incremental assign, queues
 * un-forwarded. Ignored for partitions no longer ours or followed already. offset < 0: from the
 * beginning. */
MUST_CHECK enum err_code kafka_consumer_follow(struct kafka_consumer *c, const struct kafka_tp *tps,
                                               size_t count, struct err *err);
/* Reads at most one record of this topic-partition: true and handle called with it (views borrowed
 * for the call). False: nothing there now. Offsets come once and in order from where it was
 * followed; a hole means the records are gone (retention), and is logged. */
typedef void kafka_record_fn(void *arg, const struct record_in *rec);
bool kafka_consumer_read(struct kafka_consumer *c, const char *topic, int32_t partition,
                         kafka_record_fn *handle, void *arg);
/* Commits explicitly (async, commit_queue); result comes as on_commit. metadata is NUL-free text.
 */
MUST_CHECK enum err_code kafka_consumer_commit(struct kafka_consumer *c, const char *topic,
                                               int32_t partition, int64_t offset,
                                               struct view metadata, struct err *err);

/* --- a reader outside any group: replays a range ------------------------------------------ */
/* Reads [from, to) of one topic-partition, page by page through the loop: handle per record, then
 * done. All replays of a loop share a reader handle (settings of the first; one more where a
 * partition is replayed twice at once, at most 8). to beyond the end waits for the records; nothing
 * for 30 s is ERR_TIMEOUT. headers_only drops values before handing over. stop by
 * kafka_replay_cancel. */
struct kafka_replay;
struct kafka_replay_options {
    struct kafka_options common;
    const char *topic;
    int32_t partition;
    int64_t from,
        to; /* from < 0: low watermark, or by from_ms when > 0; to < 0: high watermark at start */
    int64_t from_ms;
    bool headers_only;
    kafka_record_fn *handle;
    void (*done)(void *arg, const struct err *e, int64_t next_offset);
    void *arg;
};
struct kafka_replay *kafka_replay_new(struct loop *l, struct log *log,
                                      const struct kafka_replay_options *o, struct err *err);
void kafka_replay_cancel(
    struct kafka_replay *r); /* frees; no callback after. Not needed after done. */

#endif
