/* Thin: names to enums and back. Whatever is asked before the consumer exists is refused; the worker asks only for what it was assigned. */
#include "consumer/adapt_kafka.h"
#include <assert.h>

enum { TPS_MAX = TOPIC_FOLLOWED * 64 };

static size_t to_tps(const struct adapt_kafka *a, const struct intake_tp *tps, size_t count, struct kafka_tp *ret)
{
    assert(count <= TPS_MAX);
    for (size_t i = 0; i < count; i++)
        ret[i] = (struct kafka_tp){a->topics->names[tps[i].topic], tps[i].partition, tps[i].offset};
    return count;
}

struct positions {
    struct adapt_kafka *owner;
    intake_positions_fn *done;
    void *arg;
};

static void positions_done(void *arg, const struct err *e, const struct kafka_committed *list, size_t count)
{
    struct positions *q = arg;
    struct intake_position out[TPS_MAX];
    size_t n = 0;

    for (size_t i = 0; i < count && n < TPS_MAX; i++) {
        enum topic t;

        if (!topics_parse(q->owner->topics, view_of(list[i].topic), &t)) continue;
        out[n++] = (struct intake_position){.topic = t,
                                            .partition = list[i].partition,
                                            .committed = list[i].offset,
                                            .metadata = list[i].metadata,
                                            .low = list[i].low,
                                            .high = list[i].high};
    }
    q->done(q->arg, e, out, n);
    free(q);
}

static void positions(void *self, const struct intake_tp *tps, size_t count, intake_positions_fn *done, void *arg)
{
    struct adapt_kafka *a = self;
    struct positions *q = calloc(1, sizeof *q);
    struct kafka_tp list[TPS_MAX];

    assert(q && a->consumer);
    *q = (struct positions){.owner = a, .done = done, .arg = arg};
    kafka_consumer_positions(a->consumer, list, to_tps(a, tps, count, list), positions_done, q);
}

static enum err_code follow(void *self, const struct intake_tp *tps, size_t count, struct err *err)
{
    struct adapt_kafka *a = self;
    struct kafka_tp list[TPS_MAX];

    return kafka_consumer_follow(a->consumer, list, to_tps(a, tps, count, list), err);
}

static bool read_one(void *self, enum topic topic, int32_t partition, intake_record_fn *handle, void *arg)
{
    struct adapt_kafka *a = self;

    return a->consumer && kafka_consumer_read(a->consumer, a->topics->names[topic], partition, handle, arg);
}

static enum err_code commit(void *self, enum topic topic, int32_t partition, int64_t offset, struct view metadata, struct err *err)
{
    struct adapt_kafka *a = self;

    if (!a->consumer) return err_set(err, ERR_UNAVAILABLE, "kafka: not in the group");
    return kafka_consumer_commit(a->consumer, a->topics->names[topic], partition, offset, metadata, err);
}

static void leave(void *self, void (*left)(void *arg), void *arg)
{
    struct adapt_kafka *a = self;

    if (a->consumer)
        kafka_consumer_leave(a->consumer, left, arg);
    else
        left(arg);
}

struct intake_port adapt_kafka_intake(struct adapt_kafka *a)
{
    return (struct intake_port){
        .self = a, .positions = positions, .follow = follow, .read = read_one, .commit = commit, .leave = leave};
}

static void *replay_start(void *self, const struct replay_ask *ask, struct err *err)
{
    struct adapt_kafka *a = self;
    const struct kafka_replay_options o = {.common = a->options,
                                           .topic = a->topics->names[ask->topic],
                                           .partition = ask->partition,
                                           .from = ask->from,
                                           .to = ask->to,
                                           .from_ms = ask->from_ms,
                                           .headers_only = ask->topic != TOPIC_STATE,
                                           .handle = ask->handle,
                                           .done = ask->done,
                                           .arg = ask->arg};

    return kafka_replay_new(a->loop, a->log, &o, err);
}

static void replay_cancel(void *self, void *replay)
{
    (void)self;
    kafka_replay_cancel(replay);
}

struct replay_port adapt_kafka_replay(struct adapt_kafka *a)
{
    return (struct replay_port){.self = a, .start = replay_start, .cancel = replay_cancel};
}
