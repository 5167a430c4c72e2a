/* One member of one group, subscribed to one topic, reading many more.
 *
 * What is hard: the group must never wait for us. librdkafka pauses every partition from the moment
 * a rebalance event is queued until it is answered, so the answer is given in the same turn: an
 * assignment is answered with an incremental assign of nothing, which completes the rebalance
 * (ownership is kept apart from what is fetched); where to start is found out afterwards and added
 * by kafka_consumer_follow. A revocation is answered with an incremental unassign of everything
 * followed for the partitions that go. Measured with 2.0.2 against Kafka 4.3.1.
 *
 * Only the consumer queue is polled here: rebalances, commit results, errors, log lines. A timer
 * polls it too, because a queue that stays empty never wakes the descriptor and the member would be
 * thrown out after max.poll.interval.ms.
 *
 * Leaving: rd_kafka_consumer_close_queue sends the last revocation to a queue of ours and goes on
 * by itself; it is over when rd_kafka_consumer_closed says so. A broker that does not answer is
 * given LEAVE_MS; then the group throws us out by the session time-out, and that is as good.
 *
 * A fetch names every partition it asks for, and the broker walks them all (3 ms for 96). What
 * seldom has records is therefore fetched by a second handle, which is in no group and is only told
 * what to read; it waits longer for its answers.
 *
 * A member that was told to join but not yet what it gets must not be destroyed: librdkafka before
 * 2.3 then ends the process with an assertion (the cooperative assignor's state, its issue 4312).
 * Who joined cannot be seen from outside, who was given something (or nothing) can: until then the
 * handle is left standing. A process frees its consumer when it ends. */
#include "common/io/kafka_priv.h"
#include <assert.h>

enum {
    CONSUMER_BEAT_MS = 300,
    CONSUMER_POLL_MS = 500,
    CONSUMER_LEAVE_POLL_MS = 10,
    CONSUMER_FETCH_WAIT_MS = 100,
    CONSUMER_LEAVE_MS = 10000,
    CONSUMER_EVENTS_TURN_MAX = 64,
    CONSUMER_SOUND_VERSION = 0x02030000
};

static void consumer_wake(void *arg);
static void consumer_tick(void *arg);

static void consumer_enter(struct kafka_consumer *c)
{
    c->depth++;
}

static void consumer_free_memory(struct kafka_consumer *c)
{
    map_free(c->followed);
    free(c->owned);
    free(c->scratch);
    free(c->subscribe);
    free(c);
}

/* After this c may be gone. */
static void consumer_leave_call(struct kafka_consumer *c)
{
    assert(c->depth > 0);
    if (--c->depth == 0 && c->is_freed) consumer_free_memory(c);
}

static void consumer_set_timer(struct kafka_consumer *c, int64_t in_ms)
{
    timerq_set(loop_timers(c->loop), &c->poll, loop_clock(c->loop)->mono_ms + in_ms, consumer_tick,
               c);
}

static void consumer_say_error(struct kafka_consumer *c, const struct err *e)
{
    if (c->events.on_error) c->events.on_error(c->arg, e);
}

/* --- rebalances --------------------------------------------------------------------------- */

static void consumer_answer(struct kafka_consumer *c, bool is_assign,
                            rd_kafka_topic_partition_list_t *list)
{
    struct err e;
    rd_kafka_error_t *error = is_assign ? rd_kafka_incremental_assign(c->core->rk, list)
                                        : rd_kafka_incremental_unassign(c->core->rk, list);
    if (kafka_err_take(&e, error,
                       is_assign ? "answer to an assignment" : "answer to a revocation") != ERR_OK)
        consumer_say_error(c, &e);
}

static size_t consumer_partitions(struct kafka_consumer *c,
                                  const rd_kafka_topic_partition_list_t *from)
{
    size_t count = 0;
    for (int i = 0; i < from->cnt && count < KAFKA_PARTITIONS_MAX; i++) {
        int32_t partition = from->elems[i].partition;
        bool is_ours = strcmp(from->elems[i].topic, c->subscribe) == 0;
        if (is_ours && partition >= 0 && partition < KAFKA_PARTITIONS_MAX)
            c->scratch[count++] = partition;
    }
    return count;
}

static void consumer_assigned(struct kafka_consumer *c, const rd_kafka_topic_partition_list_t *list)
{
    size_t count = consumer_partitions(c, list);
    c->has_been_assigned = true;
    rd_kafka_topic_partition_list_t *nothing = rd_kafka_topic_partition_list_new(1);
    for (size_t i = 0; i < count; i++) c->owned[c->scratch[i]] = true;
    consumer_answer(c, true, nothing);
    rd_kafka_topic_partition_list_destroy(nothing);
    log_event(c->log, LOG_INFO, VIEW_NONE, "kafka_assigned", LOG_N("partitions", count));
    if (count > 0 && !c->is_freed) c->events.on_assigned(c->arg, c->scratch, count);
}

static void consumer_revoke(struct kafka_consumer *c, size_t count, bool is_lost, bool must_answer)
{
    rd_kafka_topic_partition_list_t *gone = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < count; i++) {
        c->owned[c->scratch[i]] = false;
        kafka_follow_forget(c, c->scratch[i], gone);
    }
    if (must_answer) consumer_answer(c, false, gone);
    rd_kafka_topic_partition_list_destroy(gone);
    log_event(c->log, LOG_INFO, VIEW_NONE, "kafka_revoked", LOG_N("partitions", count),
              LOG_N("lost", is_lost));
    if (count > 0 && !c->is_freed) c->events.on_revoked(c->arg, c->scratch, count, is_lost);
}

/* What is still ours when the group is given up without a revocation. */
static void consumer_revoke_rest(struct kafka_consumer *c)
{
    size_t count = 0;
    for (int32_t p = 0; p < KAFKA_PARTITIONS_MAX; p++)
        if (c->owned[p]) c->scratch[count++] = p;
    if (count > 0) consumer_revoke(c, count, true, false);
}

static void consumer_rebalance(struct kafka_consumer *c, rd_kafka_event_t *ev)
{
    struct err e;
    rd_kafka_resp_err_t code = rd_kafka_event_error(ev);
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_event_topic_partition_list(ev); /* the event's */
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        consumer_assigned(c, list);
    } else if (code == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
        bool is_lost =
            rd_kafka_assignment_lost(c->core->rk); /* asked before the answer, which clears it */
        consumer_revoke(c, consumer_partitions(c, list), is_lost, true);
    } else {
        kafka_err_set(&e, code, "rebalance");
        consumer_say_error(c, &e);
    }
}

/* --- events ------------------------------------------------------------------------------- */

static void consumer_committed(struct kafka_consumer *c, rd_kafka_event_t *ev)
{
    rd_kafka_resp_err_t whole = rd_kafka_event_error(ev);
    rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(ev);
    for (int i = 0; list && i < list->cnt && !c->is_freed; i++) {
        const rd_kafka_topic_partition_t *tp = &list->elems[i];
        rd_kafka_resp_err_t code = tp->err != RD_KAFKA_RESP_ERR_NO_ERROR ? tp->err : whole;
        struct err e;
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) kafka_err_set(&e, code, "commit");
        c->events.on_commit(c->arg, tp->topic, tp->partition, tp->offset,
                            code == RD_KAFKA_RESP_ERR_NO_ERROR ? NULL : &e);
    }
}

static void consumer_error(struct kafka_consumer *c, rd_kafka_event_t *ev)
{
    struct err e;
    rd_kafka_resp_err_t code = rd_kafka_event_error(ev);
    kafka_err_set(&e, code, "consumer");
    log_event(c->log, LOG_WARN, VIEW_NONE, "kafka_consumer_error",
              LOG_S("error", rd_kafka_err2name(code)),
              LOG_S("text", rd_kafka_event_error_string(ev)));
    consumer_say_error(c, &e);
}

static void consumer_event(struct kafka_consumer *c, rd_kafka_event_t *ev)
{
    rd_kafka_event_type_t type = rd_kafka_event_type(ev);
    if (type == RD_KAFKA_EVENT_REBALANCE)
        consumer_rebalance(c, ev);
    else if (type == RD_KAFKA_EVENT_OFFSET_COMMIT)
        consumer_committed(c, ev);
    else if (type == RD_KAFKA_EVENT_ERROR)
        consumer_error(c, ev);
    else if (type == RD_KAFKA_EVENT_LOG)
        kafka_core_log(c->core, ev);
}

static void consumer_drain(struct kafka_consumer *c, rd_kafka_queue_t *queue)
{
    rd_kafka_event_t *ev = NULL;
    int taken = 0;
    while (!c->is_freed && taken < CONSUMER_EVENTS_TURN_MAX &&
           (ev = rd_kafka_queue_poll(queue, 0)) != NULL) {
        consumer_event(c, ev);
        rd_kafka_event_destroy(ev);
        taken++;
    }
    if (!c->is_freed && taken == CONSUMER_EVENTS_TURN_MAX) kafka_core_wake(c->core);
}

static void consumer_has_left(struct kafka_consumer *c)
{
    c->has_left = true;
    if (c->close_queue) {
        kafka_core_unwatch(c->close_queue);
        rd_kafka_queue_destroy(c->close_queue);
        c->close_queue = NULL;
    }
    timerq_cancel(loop_timers(c->loop), &c->poll);
    consumer_revoke_rest(c);
    kafka_follow_forget(c, -1, NULL);
    if (!c->is_freed && c->on_left) c->on_left(c->left_arg);
}

static void consumer_serve(struct kafka_consumer *c)
{
    struct kafka_core *k = c->core, *rare = c->rare; /* events live no longer than their handle */
    consumer_enter(c);
    kafka_core_ref(k);
    if (rare) kafka_core_ref(rare);
    consumer_drain(c, k->queue);
    if (!c->is_freed && rare) consumer_drain(c, rare->queue);
    if (!c->is_freed && c->close_queue) consumer_drain(c, c->close_queue);
    if (!c->is_freed && c->is_leaving && !c->has_left &&
        (!c->close_queue || rd_kafka_consumer_closed(k->rk) ||
         loop_clock(c->loop)->mono_ms >= c->leave_by_ms))
        consumer_has_left(c);
    if (!c->is_freed && c->followed_list.count > 0) c->events.on_readable(c->arg);
    if (rare) kafka_core_unref(rare);
    kafka_core_unref(k);
    consumer_leave_call(c);
}

static void consumer_wake(void *arg)
{
    consumer_serve(arg);
}

static void consumer_tick(void *arg)
{
    struct kafka_consumer *c = arg;
    consumer_set_timer(c, c->is_leaving ? CONSUMER_LEAVE_POLL_MS : CONSUMER_POLL_MS);
    kafka_follow_tick(c);
    consumer_serve(c);
}

/* --- life --------------------------------------------------------------------------------- */

static struct kafka_core *consumer_core(struct kafka_consumer *c,
                                        const struct kafka_consumer_options *o, int64_t wait_ms,
                                        struct err *err)
{
    char session[24], heartbeat[24], queued[24], wait[24];
    /* Members hear of a rebalance by their next heartbeat: this is how long a round takes, not how
     * soon we are missed. */
    int64_t beat_ms =
        o->session_timeout_ms / 4 < CONSUMER_BEAT_MS ? o->session_timeout_ms / 4 : CONSUMER_BEAT_MS;
    snprintf(session, sizeof session, "%lld", (long long)o->session_timeout_ms);
    snprintf(heartbeat, sizeof heartbeat, "%lld", (long long)beat_ms);
    snprintf(wait, sizeof wait, "%lld", (long long)wait_ms);
    snprintf(queued, sizeof queued, "%zu", o->queued_messages_min);
    const struct kafka_default ours[] = {
        {"group.id", o->group, false},
        {"partition.assignment.strategy", "cooperative-sticky", false},
        {"session.timeout.ms", session, false},
        {"heartbeat.interval.ms", heartbeat, false},
        {"max.poll.interval.ms", "120000", false},
        {"enable.auto.commit", "false", false},
        {"enable.auto.offset.store", "false", false},
        {"auto.offset.reset", "earliest", false},
        {"allow.auto.create.topics", "false", false},
        {"queued.min.messages", queued, false},
        {"queued.max.messages.kbytes", "2048",
         false}, /* counted per partition, because queues are not forwarded */
        {"fetch.max.bytes", "8388608", false},
        /* One fetch is under way per broker: a partition that becomes readable again waits for it.
         */
        {"fetch.wait.max.ms", wait, false},
        {"fetch.error.backoff.ms", "100", false},
        {"fetch.queue.backoff.ms", "20", true}, /* since 2.2: 1000 by default */
    };
    rd_kafka_conf_t *conf = kafka_conf_new(&o->common, ours, sizeof ours / sizeof ours[0], err);
    if (!conf) return NULL;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OFFSET_COMMIT |
                                       RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
    return kafka_core_new(c->loop, c->log, "consumer", RD_KAFKA_CONSUMER, conf, err);
}

static enum err_code consumer_subscribe(struct kafka_consumer *c, struct err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, c->subscribe, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(c->core->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? ERR_OK : kafka_err_set(err, code, "subscribe");
}

struct kafka_consumer *kafka_consumer_new(struct loop *l, struct log *log,
                                          const struct kafka_consumer_options *o, struct err *err)
{
    const struct kafka_consumer_events *events = o->events;
    assert(events->on_assigned && events->on_revoked && events->on_readable && events->on_commit);
    assert(o->session_timeout_ms > 0 && o->queued_messages_min > 0);
    struct kafka_consumer *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(err, ERR_NOMEM, "kafka consumer: no memory");
        return NULL;
    }
    c->loop = l;
    c->log = log;
    c->events = *events;
    c->arg = o->arg;
    c->subscribe = view_dup(view_of(o->subscribe));
    c->owned = calloc(KAFKA_PARTITIONS_MAX, sizeof *c->owned);
    c->scratch = calloc(KAFKA_PARTITIONS_MAX, sizeof *c->scratch);
    c->followed = map_new(KAFKA_FOLLOWED_MAX);
    list_init(&c->followed_list);
    list_init(&c->jobs);
    err_set(err, ERR_NOMEM, "kafka consumer: no memory");
    if (c->subscribe && c->owned && c->scratch && c->followed)
        c->core = consumer_core(c, o, CONSUMER_FETCH_WAIT_MS, err);
    if (c->core && o->rare_wait_ms > 0) c->rare = consumer_core(c, o, o->rare_wait_ms, err);
    bool has_cores = c->core && (c->rare || o->rare_wait_ms <= 0);
    if (has_cores && consumer_subscribe(c, err) == ERR_OK) {
        c->core->on_wake = consumer_wake;
        c->core->arg = c;
        if (c->rare) {
            c->rare->on_wake = consumer_wake;
            c->rare->arg = c;
        }
        consumer_set_timer(c, CONSUMER_POLL_MS);
        return c;
    }
    if (c->core) kafka_core_retire(c->core, NULL, NULL);
    if (c->rare) kafka_core_retire(c->rare, NULL, NULL);
    consumer_free_memory(c);
    return NULL;
}

void kafka_consumer_leave(struct kafka_consumer *c, void (*left)(void *arg), void *arg)
{
    assert(!c->is_leaving);
    struct err e;
    c->is_leaving = true;
    c->on_left = left;
    c->left_arg = arg;
    c->leave_by_ms = loop_clock(c->loop)->mono_ms + CONSUMER_LEAVE_MS;
    c->close_queue = rd_kafka_queue_new(c->core->rk);
    kafka_core_watch(c->core, c->close_queue);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(c->core->rk, c->close_queue);
    if (kafka_err_take(&e, error, "leave the group") != ERR_OK) {
        kafka_core_unwatch(c->close_queue); /* nothing to wait for: told in the next turn */
        rd_kafka_queue_destroy(c->close_queue);
        c->close_queue = NULL;
    }
    consumer_set_timer(c, 0);
}

void kafka_consumer_free(struct kafka_consumer *c)
{
    if (!c) return;
    assert(!c->is_freed);
    consumer_enter(c);
    c->is_freed = true;
    timerq_cancel(loop_timers(c->loop), &c->poll);
    if (c->close_queue) {
        kafka_core_unwatch(c->close_queue);
        rd_kafka_queue_destroy(c->close_queue);
        c->close_queue = NULL;
    }
    kafka_positions_abandon(c);
    kafka_follow_forget(c, -1, NULL);
    c->core->is_fragile = !c->has_been_assigned && rd_kafka_version() < CONSUMER_SOUND_VERSION;
    kafka_core_retire(c->core, NULL, NULL);
    if (c->rare) kafka_core_retire(c->rare, NULL, NULL);
    consumer_leave_call(c);
}
