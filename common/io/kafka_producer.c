/* The producer: acknowledged by every in-sync replica, or told why not.
 *
 * Cost: a publish is one producev on a cached topic handle (looking topics up by name takes the
 * library's lock), headers in the library's own list (it takes them), and a context from a free
 * list that carries the callback. Delivery reports come as events on the main queue, one event for
 * a whole batch.
 *
 * Ceilings: librdkafka counts unserved reports too and refuses at queue.buffering.max.messages; we
 * refuse at 70 % of it, so that the last room is never fought for inside the library.
 *
 * Truth: a report with an error says by its status whether the record may be in the log. Only
 * "never sent, or refused by the broker" becomes ERR_UNAVAILABLE and the like; everything else is
 * ERR_TIMEOUT, "may have landed".
 *
 * A fatal error (sequence numbers out of step) ends the handle: open records are answered
 * ERR_TIMEOUT at once, the handle is thrown away and a new one made. Open contexts are in a list,
 * so the old handle's late reports are not needed.
 *
 * Callbacks may publish or close; `depth` keeps the memory until the last one returned. */
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/io/kafka_priv.h"
#include <assert.h>

enum {
    PRODUCER_TOPICS_MAX = 1024,
    PRODUCER_EVENTS_TURN_MAX = 64,
    PRODUCER_FREE_MAX = 65536,
    PRODUCER_REBUILD_MS = 1000
};

struct kafka_record {
    struct list_link link; /* in open */
    struct kafka_record *next_free;
    publish_fn *done;
    void *arg;
};

struct kafka_producer {
    struct loop *loop;
    struct log *log;
    struct kafka_options common;
    struct kafka_setting *settings; /* our copy, for rebuilding */
    char linger[24], timeout[24], messages[24], kbytes[24];
    struct kafka_core *core; /* NULL: being rebuilt */
    struct map *topics;      /* name -> rd_kafka_topic_t of this core */
    struct list open;
    struct kafka_record *free_records;
    size_t free_count;
    size_t outstanding_max;
    struct timer timer; /* rebuild; or the end of the flush */
    void (*on_closed)(void *arg);
    void *closed_arg;
    unsigned depth;
    bool is_closing; /* refuses; waits for reports */
    bool is_over;    /* nothing left but the memory */
    bool is_broken;  /* fatal: to be rebuilt when the stack is unwound */
};

static void producer_wake(void *arg);

/* --- the handle --------------------------------------------------------------------------- */

static struct kafka_core *producer_core(struct kafka_producer *p, struct err *err)
{
    const struct kafka_default ours[] = {
        {"enable.idempotence", "true", false},
        {"acks", "all", false},
        {"compression.type", "lz4", false},
        {"linger.ms", p->linger, false},
        {"message.timeout.ms", p->timeout, false},
        {"message.max.bytes", "1000000", false},
        {"queue.buffering.max.messages", p->messages, false},
        {"queue.buffering.max.kbytes", p->kbytes, false},
        {"allow.auto.create.topics", "false", false},
        {"partitioner", "murmur2_random", false},
    };
    rd_kafka_conf_t *conf = kafka_conf_new(&p->common, ours, sizeof ours / sizeof ours[0], err);
    if (!conf) return NULL;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
    struct kafka_core *k =
        kafka_core_new(p->loop, p->log, "producer", RD_KAFKA_PRODUCER, conf, err);
    if (!k) return NULL;
    k->on_wake = producer_wake;
    k->arg = p;
    return k;
}

static void producer_forget_topics(struct kafka_producer *p)
{
    size_t cursor = 0;
    struct view name;
    void *topic;
    while (map_each(p->topics, &cursor, &name, &topic)) rd_kafka_topic_destroy(topic);
    map_free(p->topics);
    p->topics = NULL;
}

static void producer_enter(struct kafka_producer *p)
{
    p->depth++;
}

static void producer_free_memory(struct kafka_producer *p)
{
    while (p->free_records) {
        struct kafka_record *r = p->free_records;
        p->free_records = r->next_free;
        free(r);
    }
    for (size_t i = 0; i < p->common.setting_count; i++) {
        free((void *)(uintptr_t)p->settings[i].name);
        free((void *)(uintptr_t)p->settings[i].value);
    }
    free(p->settings);
    free((void *)(uintptr_t)p->common.brokers);
    free((void *)(uintptr_t)p->common.client_id);
    if (p->topics) producer_forget_topics(p);
    free(p);
}

static void producer_rebuild(void *arg);

/* After this p may be gone. */
static void producer_leave(struct kafka_producer *p)
{
    assert(p->depth > 0);
    if (--p->depth > 0) return;
    if (p->is_over)
        producer_free_memory(p);
    else if (p->is_broken && !p->is_closing)
        producer_rebuild(p);
}

/* --- records ------------------------------------------------------------------------------ */

static struct kafka_record *producer_record_new(struct kafka_producer *p, publish_fn *done,
                                                void *arg)
{
    struct kafka_record *r = p->free_records;
    if (r) {
        p->free_records = r->next_free;
        p->free_count--;
    } else {
        r = calloc(1, sizeof *r);
        if (!r) return NULL;
    }
    r->done = done;
    r->arg = arg;
    return r;
}

static void producer_record_free(struct kafka_producer *p, struct kafka_record *r)
{
    if (p->free_count >= PRODUCER_FREE_MAX) {
        free(r);
        return;
    }
    r->next_free = p->free_records;
    p->free_records = r;
    p->free_count++;
}

static void producer_answer(struct kafka_producer *p, struct kafka_record *r, const struct err *e,
                            int64_t offset)
{
    publish_fn *done = r->done;
    void *arg = r->arg;
    list_remove(&p->open, &r->link);
    producer_record_free(p, r);
    if (done) done(arg, e, offset);
}

static void producer_answer_all(struct kafka_producer *p, enum err_code code, const char *text)
{
    struct list_link *k;
    struct err e;
    err_set(&e, code, "publish: %s", text);
    while ((k = list_first(&p->open)) != NULL)
        producer_answer(p, LIST_ITEM(k, struct kafka_record, link), &e, -1);
}

/* --- life --------------------------------------------------------------------------------- */

static void producer_drop_core(struct kafka_producer *p, void (*on_destroyed)(void *arg), void *arg)
{
    producer_forget_topics(p);
    kafka_core_retire(p->core, on_destroyed, arg);
    p->core = NULL;
}

/* The handle is unusable: answer what is open and make another. */
static void producer_rebuild(void *arg)
{
    struct kafka_producer *p = arg;
    struct err e;
    producer_enter(p);
    p->is_broken = false;
    if (p->core) producer_drop_core(p, NULL, NULL);
    producer_answer_all(p, ERR_TIMEOUT,
                        "the producer broke and was rebuilt; the record may have landed");
    if (!p->is_closing && !p->core) {
        p->topics = map_new(PRODUCER_TOPICS_MAX);
        p->core = p->topics ? producer_core(p, &e) : NULL;
        if (!p->core) {
            map_free(p->topics);
            p->topics = NULL;
            timerq_set(loop_timers(p->loop), &p->timer,
                       loop_clock(p->loop)->mono_ms + PRODUCER_REBUILD_MS, producer_rebuild, p);
        }
    }
    producer_leave(p);
}

static void producer_finish(void *arg)
{
    struct kafka_producer *p = arg;
    if (p->is_over) return;
    producer_enter(p);
    p->is_over = true;
    timerq_cancel(loop_timers(p->loop), &p->timer);
    producer_answer_all(p, p->on_closed ? ERR_TIMEOUT : ERR_CLOSED,
                        "closed before the report came");
    if (p->core)
        producer_drop_core(p, p->on_closed, p->closed_arg);
    else if (p->on_closed)
        p->on_closed(p->closed_arg);
    producer_leave(p);
}

void kafka_producer_close(struct kafka_producer *p, int64_t flush_ms, void (*done)(void *arg),
                          void *arg)
{
    if (!p) return;
    assert(!p->is_closing);
    p->is_closing = true;
    p->on_closed = done;
    p->closed_arg = arg;
    timerq_cancel(loop_timers(p->loop), &p->timer);
    if (!done)
        producer_finish(p);
    else if (p->open.count == 0) /* not from inside this call */
        timerq_set(loop_timers(p->loop), &p->timer, loop_clock(p->loop)->mono_ms, producer_finish,
                   p);
    else
        timerq_set(loop_timers(p->loop), &p->timer, loop_clock(p->loop)->mono_ms + flush_ms,
                   producer_finish, p);
}

static bool producer_copy_options(struct kafka_producer *p, const struct kafka_producer_options *o)
{
    p->common.brokers = view_dup(view_of(o->common.brokers));
    p->common.client_id = view_dup(view_of(o->common.client_id ? o->common.client_id : "sluice"));
    p->settings = calloc(o->common.setting_count + 1, sizeof *p->settings);
    if (!p->common.brokers || !p->common.client_id || !p->settings) return false;
    p->common.settings = p->settings;
    for (size_t i = 0; i < o->common.setting_count; i++) {
        p->settings[i].name = view_dup(view_of(o->common.settings[i].name));
        p->settings[i].value = view_dup(view_of(o->common.settings[i].value));
        p->common.setting_count = i + 1;
        if (!p->settings[i].name || !p->settings[i].value) return false;
    }
    snprintf(p->linger, sizeof p->linger, "%.3f", o->linger_ms);
    snprintf(p->timeout, sizeof p->timeout, "%lld", (long long)o->message_timeout_ms);
    snprintf(p->messages, sizeof p->messages, "%zu", o->queue_messages_max);
    snprintf(p->kbytes, sizeof p->kbytes, "%zu", o->queue_kbytes_max);
    p->outstanding_max = o->queue_messages_max * 7 / 10;
    return true;
}

struct kafka_producer *kafka_producer_new(struct loop *l, struct log *log,
                                          const struct kafka_producer_options *o, struct err *err)
{
    assert(o->queue_messages_max > 1 && o->queue_kbytes_max > 0 && o->message_timeout_ms > 0);
    struct kafka_producer *p = calloc(1, sizeof *p);
    if (p) {
        list_init(&p->open);
        p->loop = l;
        p->log = log;
        p->topics = map_new(PRODUCER_TOPICS_MAX);
    }
    if (!p || !p->topics || !producer_copy_options(p, o)) {
        err_set(err, ERR_NOMEM, "kafka producer: no memory");
        if (p) producer_free_memory(p);
        return NULL;
    }
    p->core = producer_core(p, err);
    if (p->core) return p;
    producer_free_memory(p);
    return NULL;
}

size_t kafka_producer_outstanding(const struct kafka_producer *p)
{
    return p->open.count;
}

struct kafka_core *kafka_producer_core(struct kafka_producer *p)
{
    return p->is_closing ? NULL : p->core;
}

/* --- reports ------------------------------------------------------------------------------ */

static void producer_report(struct kafka_producer *p, const rd_kafka_message_t *m)
{
    struct err e;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        producer_answer(p, m->_private, NULL, m->offset);
        return;
    }
    kafka_err_set(&e, m->err, "publish");
    bool may_have_landed = rd_kafka_message_status(m) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
    if (may_have_landed)
        e.code = ERR_TIMEOUT;
    else if (e.code == ERR_TIMEOUT)
        e.code = ERR_UNAVAILABLE; /* it never left this process */
    producer_answer(p, m->_private, &e, -1);
}

static void producer_error(struct kafka_producer *p, rd_kafka_event_t *ev)
{
    char text[200];
    /* 2.0.2 gives the event the underlying code, not ERR__FATAL: ask the handle */
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(p->core->rk, text, sizeof text);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        log_event(p->log, LOG_ERROR, VIEW_NONE, "kafka_producer_fatal",
                  LOG_S("error", rd_kafka_err2name(code)), LOG_S("text", text));
        p->is_broken = true;
        return;
    }
    log_event(p->log, LOG_WARN, VIEW_NONE, "kafka_producer_error",
              LOG_S("error", rd_kafka_err2name(rd_kafka_event_error(ev))),
              LOG_S("text", rd_kafka_event_error_string(ev)));
}

static void producer_event(struct kafka_producer *p, rd_kafka_event_t *ev)
{
    const rd_kafka_message_t *m;
    rd_kafka_event_type_t type = rd_kafka_event_type(ev);
    if (type == RD_KAFKA_EVENT_DR) {
        while (!p->is_over && (m = rd_kafka_event_message_next(ev)) != NULL) producer_report(p, m);
    } else if (type == RD_KAFKA_EVENT_LOG) {
        kafka_core_log(p->core, ev);
    } else if (type == RD_KAFKA_EVENT_ERROR) {
        producer_error(p, ev);
    }
}

static void producer_wake(void *arg)
{
    struct kafka_producer *p = arg;
    struct kafka_core *k = p->core; /* an event outlives nothing of its handle */
    rd_kafka_event_t *ev = NULL;
    int taken = 0;
    producer_enter(p);
    kafka_core_ref(k);
    while (!p->is_over && !p->is_broken && taken < PRODUCER_EVENTS_TURN_MAX &&
           (ev = rd_kafka_queue_poll(k->queue, 0)) != NULL) {
        producer_event(p, ev);
        rd_kafka_event_destroy(ev);
        taken++;
    }
    if (!p->is_over && !p->is_broken && taken == PRODUCER_EVENTS_TURN_MAX) kafka_core_wake(k);
    if (!p->is_over && p->is_closing && p->open.count == 0) producer_finish(p);
    kafka_core_unref(k);
    producer_leave(p);
}

/* --- publishing --------------------------------------------------------------------------- */

static rd_kafka_topic_t *producer_topic(struct kafka_producer *p, const char *name)
{
    struct view key = view_of(name);
    rd_kafka_topic_t *topic = map_get(p->topics, key);
    if (topic) return topic;
    topic = rd_kafka_topic_new(p->core->rk, name, NULL);
    if (topic && !map_put(p->topics, key, topic)) {
        rd_kafka_topic_destroy(topic);
        topic = NULL;
    }
    return topic;
}

struct kafka_core *kafka_producer_open_topics(struct kafka_producer *p, const char *const *names,
                                              size_t count)
{
    struct kafka_core *k = kafka_producer_core(p);
    for (size_t i = 0; k && i < count; i++) producer_topic(p, names[i]);
    return k;
}

static rd_kafka_headers_t *producer_headers(const struct record_out *rec)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(rec->header_count);
    for (size_t i = 0; i < rec->header_count; i++) {
        const struct header *h = &rec->headers[i];
        rd_kafka_header_add(headers, h->name.ptr, (ssize_t)h->name.len, h->value.ptr,
                            (ssize_t)h->value.len);
    }
    return headers;
}

static enum err_code producer_refused(struct kafka_producer *p, rd_kafka_resp_err_t code,
                                      struct err *err)
{
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        p->is_broken = true;
        kafka_core_wake(p->core); /* rebuilt when it is served */
        return err_set(err, ERR_UNAVAILABLE, "publish: the producer is being rebuilt");
    }
    return kafka_err_set(err, code, "publish");
}

static enum err_code producer_publish(void *self, const struct record_out *rec, publish_fn *done,
                                      void *arg, struct err *err)
{
    struct kafka_producer *p = self;
    assert(rec->header_count <= RECORD_HEADERS_MAX && rec->partition >= 0);
    if (p->is_closing) return err_set(err, ERR_CLOSED, "publish: the producer is closed");
    if (!p->core || p->is_broken)
        return err_set(err, ERR_UNAVAILABLE, "publish: the producer is being rebuilt");
    if (p->open.count >= p->outstanding_max)
        return err_set(err, ERR_FULL, "publish: %zu records are on their way already",
                       p->open.count);
    rd_kafka_topic_t *topic = producer_topic(p, rec->topic);
    if (!topic) return err_set(err, ERR_INVALID, "publish: topic refused");
    struct kafka_record *r = producer_record_new(p, done, arg);
    if (!r) return err_set(err, ERR_NOMEM, "publish: no memory");
    rd_kafka_headers_t *headers = producer_headers(rec);
    rd_kafka_resp_err_t code =
        rd_kafka_producev(p->core->rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(rec->partition),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_KEY((void *)(uintptr_t)rec->key.ptr, rec->key.len),
                          RD_KAFKA_V_VALUE((void *)(uintptr_t)rec->value.ptr, rec->value.len),
                          RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(r), RD_KAFKA_V_END);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        list_push(&p->open, &r->link);
        return ERR_OK;
    }
    rd_kafka_headers_destroy(headers);
    producer_record_free(p, r);
    return producer_refused(p, code, err);
}

struct publish_port kafka_producer_port(struct kafka_producer *p)
{
    return (struct publish_port){.self = p, .publish = producer_publish};
}
