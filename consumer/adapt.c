/* Between the worker, which knows topics by number, and io/kafka, which knows them by name. No
 * decisions here. */
#include "consumer/adapt.h"

#include <assert.h>

enum { ADAPT_TPS_MAX = 64, ADAPT_PREFETCH = 500, ADAPT_GROUP_MAX = 160, ADAPT_RARE_WAIT_MS = 1000 };

/* --- intake ---------------------------------------------------------------------------------- */
struct adapt_positions {
    struct adapt *a;
    intake_positions_fn *done;
    void *arg;
};

static void adapt_on_positions(void *arg, const struct err *e, const struct kafka_committed *list,
                               size_t count)
{
    struct adapt_positions *op = arg;
    struct intake_position found[ADAPT_TPS_MAX];
    size_t n = 0;
    for (size_t i = 0; !e && i < count && n < ADAPT_TPS_MAX; i++) {
        enum topic t;
        if (!topics_parse(op->a->topics, view_of(list[i].topic), &t)) continue;
        found[n++] = (struct intake_position){.topic = t,
                                              .partition = list[i].partition,
                                              .committed = list[i].offset,
                                              .metadata = list[i].metadata,
                                              .low = list[i].low,
                                              .high = list[i].high};
    }
    op->done(op->arg, e, found, n);
    free(op);
}

/* Two thirds of the partitions; empty while all goes well. */
static bool adapt_is_rare(enum topic t)
{
    return topic_delay_ms(t) > 0 || t == TOPIC_SPILL_INTERACTIVE || t == TOPIC_SPILL_BULK;
}

static size_t adapt_tps(const struct adapt *a, const struct intake_tp *tps, size_t count,
                        struct kafka_tp *ret)
{
    assert(count <= ADAPT_TPS_MAX);
    for (size_t i = 0; i < count; i++)
        ret[i] = (struct kafka_tp){.topic = a->topics->names[tps[i].topic],
                                   .partition = tps[i].partition,
                                   .offset = tps[i].offset,
                                   .is_rare = adapt_is_rare(tps[i].topic)};
    return count;
}

static void adapt_positions(void *self, const struct intake_tp *tps, size_t count,
                            intake_positions_fn *done, void *arg)
{
    struct adapt *a = self;
    struct kafka_tp list[ADAPT_TPS_MAX];
    struct adapt_positions *op = malloc(sizeof *op);
    if (!op || !a->consumer) {
        log_event(a->log, LOG_ERROR, VIEW_NONE,
                  "positions_not_asked"); /* the process is ending, or has no memory left */
        free(op);
        return;
    }
    *op = (struct adapt_positions){.a = a, .done = done, .arg = arg};
    kafka_consumer_positions(a->consumer, list, adapt_tps(a, tps, count, list), adapt_on_positions,
                             op);
}

static enum err_code adapt_follow(void *self, const struct intake_tp *tps, size_t count,
                                  struct err *err)
{
    struct adapt *a = self;
    struct kafka_tp list[ADAPT_TPS_MAX];
    if (!a->consumer) return err_set(err, ERR_CLOSED, "not in the group");
    return kafka_consumer_follow(a->consumer, list, adapt_tps(a, tps, count, list), err);
}

static bool adapt_read(void *self, enum topic topic, int32_t partition, intake_record_fn *handle,
                       void *arg)
{
    struct adapt *a = self;
    return a->consumer &&
           kafka_consumer_read(a->consumer, a->topics->names[topic], partition, handle, arg);
}

static enum err_code adapt_commit(void *self, enum topic topic, int32_t partition, int64_t offset,
                                  struct view metadata, struct err *err)
{
    struct adapt *a = self;
    if (!a->consumer) return err_set(err, ERR_CLOSED, "not in the group");
    return kafka_consumer_commit(a->consumer, a->topics->names[topic], partition, offset, metadata,
                                 err);
}

struct adapt_leaving {
    struct adapt *a;
    void (*left)(void *arg);
    void *arg;
};

static void adapt_on_left(void *arg)
{
    struct adapt_leaving *l = arg;
    kafka_consumer_free(l->a->consumer);
    l->a->consumer = NULL;
    l->left(l->arg);
    free(l);
}

/* Never joined: there is nothing to leave; told on the next turn, as always. */
static void adapt_nothing(void *arg)
{
    (void)arg;
}

static void adapt_leave(void *self, void (*left)(void *arg), void *arg)
{
    struct adapt *a = self;
    struct adapt_leaving *l = malloc(sizeof *l);
    if (!l) return;
    *l = (struct adapt_leaving){.a = a, .left = left, .arg = arg};
    if (a->consumer) {
        kafka_consumer_leave(a->consumer, adapt_on_left, l);
    } else if (loop_offload(a->loop, adapt_nothing, adapt_on_left, l, NULL) != ERR_OK) {
        free(l);
    }
}

struct intake_port adapt_intake_port(struct adapt *a)
{
    return (struct intake_port){.self = a,
                                .positions = adapt_positions,
                                .follow = adapt_follow,
                                .read = adapt_read,
                                .commit = adapt_commit,
                                .leave = adapt_leave};
}

/* --- from the group -------------------------------------------------------------------------- */
static void adapt_on_assigned(void *arg, const int32_t *partitions, size_t count)
{
    struct adapt *a = arg;
    a->was_assigned = true;
    worker_on_assigned(a->worker, partitions, count);
}

static void adapt_on_revoked(void *arg, const int32_t *partitions, size_t count, bool lost)
{
    worker_on_revoked(((struct adapt *)arg)->worker, partitions, count, lost);
}

static void adapt_on_readable(void *arg)
{
    worker_on_readable(((struct adapt *)arg)->worker);
}

static void adapt_on_commit(void *arg, const char *topic, int32_t partition, int64_t offset,
                            const struct err *e)
{
    struct adapt *a = arg;
    enum topic t;
    if (topics_parse(a->topics, view_of(topic), &t))
        worker_on_commit(a->worker, t, partition, offset, e);
}

static void adapt_on_error(void *arg, const struct err *e)
{
    log_event(((struct adapt *)arg)->log, LOG_WARN, VIEW_NONE, "kafka_error",
              LOG_S("error", e->text));
}

enum err_code adapt_join(struct adapt *a, const struct config *config, struct err *err)
{
    static const struct kafka_consumer_events events = {.on_assigned = adapt_on_assigned,
                                                        .on_revoked = adapt_on_revoked,
                                                        .on_readable = adapt_on_readable,
                                                        .on_commit = adapt_on_commit,
                                                        .on_error = adapt_on_error};
    char group[ADAPT_GROUP_MAX];
    snprintf(group, sizeof group, "%sworkers", config->kafka.topic_prefix);
    const struct kafka_consumer_options o = {.common = a->kafka,
                                             .group = group,
                                             .subscribe = a->topics->names[TOPIC_JOBS_INTERACTIVE],
                                             .session_timeout_ms = config->kafka.session_timeout_ms,
                                             .queued_messages_min = ADAPT_PREFETCH,
                                             .rare_wait_ms = ADAPT_RARE_WAIT_MS,
                                             .events = &events,
                                             .arg = a};
    a->was_assigned = false;
    a->joined_ms = loop_clock(a->loop)->mono_ms;
    a->consumer = kafka_consumer_new(a->loop, a->log, &o, err);
    return a->consumer ? ERR_OK : err->code;
}

/* --- replays --------------------------------------------------------------------------------- */
static void *adapt_replay_start(void *self, const struct replay_ask *ask, struct err *err)
{
    struct adapt *a = self;
    const struct kafka_replay_options o = {.common = a->kafka,
                                           .topic = a->topics->names[ask->topic],
                                           .partition = ask->partition,
                                           .from = ask->from,
                                           .to = ask->to,
                                           .from_ms = ask->from_ms,
                                           .handle = ask->handle,
                                           .done = ask->done,
                                           .arg = ask->arg};
    return kafka_replay_new(a->loop, a->log, &o, err);
}

static void adapt_replay_cancel(void *self, void *replay)
{
    (void)self;
    kafka_replay_cancel(replay);
}

struct replay_port adapt_replay_port(struct adapt *a)
{
    return (struct replay_port){
        .self = a, .start = adapt_replay_start, .cancel = adapt_replay_cancel};
}
