/* Replays: [from, to) of one partition, outside any group.
 *
 * A handle of librdkafka is four threads and a connection, and a rebuild replays dozens of
 * partitions; so the replays of a process share a reader handle that hangs from the loop, is made
 * by the first and thrown away when there was none for a while. Two replays of one partition cannot
 * share one (a partition is assigned once): then another reader is made.
 *
 *   WAITING (offsets are asked for on the pool) -> READING (assigned) -> over: done, freed
 *
 * All records wait in un-forwarded queues on one descriptor. A wake-up hands over a few records of
 * each replay in turn, and wakes itself when there are more, so that a long replay does not hold
 * the loop.
 *
 * 2.0.2 stops fetching a partition whose queue is full and looks again only when its broker thread
 * wakes for another reason, at worst after a second. A seek wakes it: a replay without progress is
 * nudged by a seek to where it is, at 100 ms and then at doubling distances, so that a slow network
 * is not asked the same thing over and over. */
#include "common/io/kafka_priv.h"
#include <assert.h>

enum {
    REPLAY_ASK_MS = 10000,
    REPLAY_STALL_MS = 30000,
    REPLAY_NUDGE_MS = 100,
    REPLAY_TURN_MAX = 512, /* records of all replays in one turn */
    REPLAY_SHARE = 64,
    READER_IDLE_MS = 10000,
    READERS_MAX = 8
};

struct kafka_readers {
    struct loop *loop;
    struct list list;
};

struct kafka_reader {
    struct list_link link;
    struct kafka_readers *all;
    struct kafka_core *core;
    char *brokers;
    struct list replays;
    struct timer idle;
};

struct kafka_replay {
    struct list_link link;
    struct loop *loop;
    struct log *log;
    struct kafka_reader *reader;
    char *topic;
    int32_t partition;
    int64_t from, to, from_ms, next;
    bool headers_only;
    kafka_record_fn *handle;
    void (*done)(void *arg, const struct err *e, int64_t next_offset);
    void *arg;
    rd_kafka_queue_t *queue;   /* NULL until READING */
    struct kafka_core *asking; /* while the pool works; NULL otherwise */
    struct timer timer;
    int64_t moved_ms, nudge_ms, nudged_ms;
    struct err err;
    unsigned depth;
    bool is_canceled;
    bool is_over; /* taken off the reader; freed when the stack is unwound */
};

static void reader_wake(void *arg);
static void replay_tick(void *arg);

/* --- readers ------------------------------------------------------------------------------ */

static void reader_free(struct kafka_reader *r)
{
    assert(r->replays.count == 0);
    timerq_cancel(loop_timers(r->all->loop), &r->idle);
    list_remove(&r->all->list, &r->link);
    if (r->core) kafka_core_retire(r->core, NULL, NULL);
    free(r->brokers);
    free(r);
}

static void reader_idle(void *arg)
{
    reader_free(arg);
}

static void readers_fini(void *thing)
{
    struct kafka_readers *all = thing;
    struct list_link *k;
    while ((k = list_first(&all->list)) != NULL) {
        struct kafka_reader *r = LIST_ITEM(k, struct kafka_reader, link);
        while ((k = list_first(&r->replays)) != NULL)
            kafka_replay_cancel(LIST_ITEM(k, struct kafka_replay, link));
        reader_free(r);
    }
    free(all);
}

static struct kafka_readers *readers_of(struct loop *l)
{
    struct kafka_readers *all = loop_shared(l, "kafka_readers");
    if (all) return all;
    all = calloc(1, sizeof *all);
    if (!all) return NULL;
    list_init(&all->list);
    all->loop = l;
    if (loop_share(l, "kafka_readers", all, readers_fini)) return all;
    free(all);
    return NULL;
}

static bool reader_suits(const struct kafka_reader *r, const struct kafka_replay_options *o)
{
    if (strcmp(r->brokers, o->common.brokers) != 0) return false;
    for (struct list_link *k = list_first(&r->replays); k; k = list_next(&r->replays, k)) {
        const struct kafka_replay *p = LIST_ITEM(k, struct kafka_replay, link);
        if (p->partition == o->partition && strcmp(p->topic, o->topic) == 0) return false;
    }
    return true;
}

static struct kafka_core *reader_core(struct loop *l, struct log *log,
                                      const struct kafka_options *o, struct err *err)
{
    static const struct kafka_default ours[] = {
        {"group.id", "sluice.reader", false}, /* asked for by incremental_assign; never subscribed,
                                                 nothing committed */
        {"enable.auto.commit", "false", false},
        {"enable.auto.offset.store", "false", false},
        {"auto.offset.reset", "earliest", false},
        {"allow.auto.create.topics", "false", false},
        {"enable.partition.eof", "true", false},
        {"queued.min.messages", "1000000", false},
        {"queued.max.messages.kbytes", "16384", false}, /* of each partition */
        {"fetch.max.bytes", "16777216", false},
        {"fetch.wait.max.ms", "20", false},
        {"fetch.error.backoff.ms", "100", false},
        {"fetch.queue.backoff.ms", "20", true},
    };
    rd_kafka_conf_t *conf = kafka_conf_new(o, ours, sizeof ours / sizeof ours[0], err);
    if (!conf) return NULL;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
    return kafka_core_new(l, log, "reader", RD_KAFKA_CONSUMER, conf, err);
}

static struct kafka_reader *reader_new(struct kafka_readers *all, struct log *log,
                                       const struct kafka_options *o, struct err *err)
{
    struct kafka_reader *r = all->list.count < READERS_MAX ? calloc(1, sizeof *r) : NULL;
    if (!r) {
        err_set(err, ERR_FULL, "replay: no room for another reader");
        return NULL;
    }
    r->all = all;
    list_init(&r->replays);
    list_push(&all->list, &r->link);
    r->brokers = view_dup(view_of(o->brokers));
    r->core = r->brokers ? reader_core(all->loop, log, o, err) : NULL;
    if (!r->core) {
        if (!r->brokers) err_set(err, ERR_NOMEM, "replay: no memory");
        reader_free(r);
        return NULL;
    }
    r->core->on_wake = reader_wake;
    r->core->arg = r;
    return r;
}

static struct kafka_reader *reader_for(struct loop *l, struct log *log,
                                       const struct kafka_replay_options *o, struct err *err)
{
    struct kafka_readers *all = readers_of(l);
    if (!all) {
        err_set(err, ERR_NOMEM, "replay: no memory");
        return NULL;
    }
    for (struct list_link *k = list_first(&all->list); k; k = list_next(&all->list, k)) {
        struct kafka_reader *r = LIST_ITEM(k, struct kafka_reader, link);
        if (reader_suits(r, o)) return r;
    }
    return reader_new(all, log, &o->common, err);
}

/* --- one replay --------------------------------------------------------------------------- */

static void replay_free_memory(struct kafka_replay *p)
{
    free(p->topic);
    free(p);
}

/* Takes it off the reader. The memory stays while the pool or a callback is at work. */
static void replay_detach(struct kafka_replay *p)
{
    struct kafka_reader *r = p->reader;
    assert(!p->is_over);
    p->is_over = true;
    timerq_cancel(loop_timers(p->loop), &p->timer);
    if (p->queue) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(list, p->topic, p->partition);
        rd_kafka_error_t *error = rd_kafka_incremental_unassign(r->core->rk, list);
        if (error) rd_kafka_error_destroy(error); /* not assigned: so much the better */
        rd_kafka_topic_partition_list_destroy(list);
        kafka_core_unwatch(p->queue);
        rd_kafka_queue_destroy(p->queue);
        p->queue = NULL;
    }
    list_remove(&r->replays, &p->link);
    if (r->replays.count == 0)
        timerq_set(loop_timers(p->loop), &r->idle, loop_clock(p->loop)->mono_ms + READER_IDLE_MS,
                   reader_idle, r);
}

static void replay_leave(struct kafka_replay *p)
{
    assert(p->depth > 0);
    if (--p->depth == 0 && p->is_over && !p->asking) replay_free_memory(p);
}

static void replay_finish(struct kafka_replay *p, const struct err *e)
{
    p->depth++;
    replay_detach(p);
    if (!p->is_canceled) p->done(p->arg, e, p->next);
    replay_leave(p);
}

void kafka_replay_cancel(struct kafka_replay *p)
{
    if (!p || p->is_over) return;
    p->is_canceled = true;
    replay_finish(p, NULL);
}

static void replay_ask_work(void *arg)
{
    struct kafka_replay *p = arg;
    rd_kafka_t *rk = p->asking->rk;
    int64_t low = -1, high = -1, by_ms = kafka_pool_now_ms() + REPLAY_ASK_MS;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *tp =
        rd_kafka_topic_partition_list_add(list, p->topic, p->partition);
    rd_kafka_resp_err_t code = kafka_watermarks(rk, list, by_ms, &low, &high);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && p->from < 0 && p->from_ms > 0) {
        tp->offset = p->from_ms;
        code = kafka_list_offsets(rk, list, KAFKA_BY_TIME, by_ms, &p->from);
        if (p->from < 0) p->from = high; /* END: nothing that young */
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_err_set(&p->err, code, "replay");
        return;
    }
    if (p->from < low) p->from = low;
    if (p->to < 0) p->to = high;
}

static enum err_code replay_assign(struct kafka_replay *p)
{
    struct kafka_core *k = p->reader->core;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = p->from;
    p->queue = kafka_core_partition(k, p->topic, p->partition);
    enum err_code rc = kafka_err_take(&p->err, rd_kafka_incremental_assign(k->rk, list), "replay");
    rd_kafka_topic_partition_list_destroy(list);
    p->moved_ms = p->nudged_ms = loop_clock(p->loop)->mono_ms;
    p->nudge_ms = REPLAY_NUDGE_MS;
    timerq_set(loop_timers(p->loop), &p->timer, p->moved_ms + REPLAY_NUDGE_MS, replay_tick, p);
    return rc;
}

static void replay_asked(void *arg)
{
    struct kafka_replay *p = arg;
    kafka_core_unref(p->asking);
    p->asking = NULL;
    if (p->is_over) {
        replay_free_memory(p); /* canceled meanwhile */
        return;
    }
    p->next = p->from;
    if (p->err.code != ERR_OK)
        replay_finish(p, &p->err);
    else if (p->from >= p->to)
        replay_finish(p, NULL);
    else if (replay_assign(p) != ERR_OK)
        replay_finish(p, &p->err);
}

static void replay_refused(void *arg)
{
    struct kafka_replay *p = arg;
    replay_finish(p, &p->err);
}

static void replay_nudge(struct kafka_replay *p, int64_t now)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = p->next;
    rd_kafka_error_t *error = rd_kafka_seek_partitions(p->reader->core->rk, list, 0);
    if (error) rd_kafka_error_destroy(error);
    rd_kafka_topic_partition_list_destroy(list);
    kafka_core_wake(p->reader->core); /* in case a stale entry keeps the queue from telling */
    p->nudged_ms = now;
    p->nudge_ms *= 2;
}

static void replay_tick(void *arg)
{
    struct kafka_replay *p = arg;
    int64_t now = loop_clock(p->loop)->mono_ms;
    if (now - p->moved_ms >= REPLAY_STALL_MS) {
        err_set(&p->err, ERR_TIMEOUT, "replay of %s/%d: nothing came for %d ms", p->topic,
                (int)p->partition, REPLAY_STALL_MS);
        replay_finish(p, &p->err);
        return;
    }
    int64_t since = p->moved_ms > p->nudged_ms ? p->moved_ms : p->nudged_ms;
    if (now - since >= p->nudge_ms) replay_nudge(p, now);
    timerq_set(loop_timers(p->loop), &p->timer, now + REPLAY_NUDGE_MS, replay_tick, p);
}

/* True: the end was reached (or the replay failed) and p is over. */
static bool replay_take(struct kafka_replay *p, const rd_kafka_message_t *m)
{
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (m->offset > p->next) p->next = m->offset; /* holes up to the end */
    } else if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        enum err_code code = kafka_err_set(&p->err, m->err, "replay");
        if (code != ERR_NOT_FOUND && code != ERR_DENIED)
            return false; /* it may pass; the stall timer watches */
        replay_finish(p, &p->err);
        return true;
    } else if (m->offset < p->to && m->offset >= p->next) {
        struct record_in rec;
        kafka_record_of(m, p->topic, p->headers_only, &rec);
        p->next = m->offset + 1;
        p->moved_ms = loop_clock(p->loop)->mono_ms;
        p->nudge_ms = REPLAY_NUDGE_MS;
        p->handle(p->arg, &rec);
        if (p->is_over) return true;
    } else if (m->offset >= p->to) {
        p->next = p->to; /* the rest up to it has gone */
    }
    if (p->next < p->to) return false;
    replay_finish(p, NULL);
    return true;
}

/* Hands over at most max records; false: none are left for now, or it is over. */
static bool replay_page(struct kafka_replay *p, size_t max, size_t *ret_taken)
{
    size_t taken = 0;
    bool is_over = p->queue == NULL;
    p->depth++;
    while (!is_over && taken < max) {
        rd_kafka_message_t *m = rd_kafka_consume_queue(p->queue, 0);
        if (!m) break;
        is_over = replay_take(p, m);
        rd_kafka_message_destroy(m);
        taken++;
    }
    *ret_taken = taken;
    replay_leave(p);
    return !is_over && taken == max;
}

static void reader_events(struct kafka_reader *r)
{
    rd_kafka_event_t *ev;
    for (int i = 0; i < 64 && (ev = rd_kafka_queue_poll(r->core->queue, 0)) != NULL; i++) {
        if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_LOG) kafka_core_log(r->core, ev);
        rd_kafka_event_destroy(ev); /* errors: the stall timer judges */
    }
}

static void reader_wake(void *arg)
{
    struct kafka_reader *r = arg;
    struct kafka_core *k = r->core;
    size_t left = REPLAY_TURN_MAX;
    bool has_more = false;
    kafka_core_ref(k);
    reader_events(r);
    for (size_t n = r->replays.count; n > 0 && left > 0; n--) {
        struct list_link *first = list_first(&r->replays);
        if (!first) break; /* a callback canceled the others */
        struct kafka_replay *p = LIST_ITEM(first, struct kafka_replay, link);
        size_t taken = 0, share = left < REPLAY_SHARE ? left : REPLAY_SHARE;
        list_remove(&r->replays, first); /* to the end: the next turn begins with the others */
        list_push(&r->replays, first);
        if (replay_page(p, share, &taken)) has_more = true;
        left -= taken;
    }
    if (has_more || left == 0) kafka_core_wake(k);
    kafka_core_unref(k);
}

struct kafka_replay *kafka_replay_new(struct loop *l, struct log *log,
                                      const struct kafka_replay_options *o, struct err *err)
{
    assert(o->handle && o->done && o->partition >= 0);
    struct kafka_reader *r = reader_for(l, log, o, err);
    if (!r) return NULL;
    struct kafka_replay *p = calloc(1, sizeof *p);
    if (p) p->topic = view_dup(view_of(o->topic));
    if (!p || !p->topic) {
        free(p);
        err_set(err, ERR_NOMEM, "replay: no memory");
        if (r->replays.count == 0)
            timerq_set(loop_timers(l), &r->idle, loop_clock(l)->mono_ms + READER_IDLE_MS,
                       reader_idle, r);
        return NULL;
    }
    p->loop = l;
    p->log = log;
    p->reader = r;
    p->partition = o->partition;
    p->from = o->from;
    p->to = o->to;
    p->from_ms = o->from_ms;
    p->next = o->from;
    p->headers_only = o->headers_only;
    p->handle = o->handle;
    p->done = o->done;
    p->arg = o->arg;
    list_push(&r->replays, &p->link);
    timerq_cancel(loop_timers(l), &r->idle);
    kafka_core_ref(r->core);
    p->asking = r->core;
    if (loop_offload(l, replay_ask_work, replay_asked, p, &p->err) == ERR_OK) return p;
    kafka_core_unref(r->core);
    p->asking = NULL;
    timerq_set(loop_timers(l), &p->timer, loop_clock(l)->mono_ms, replay_refused, p);
    return p;
}
