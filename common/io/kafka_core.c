/* What every Kafka handle of ours needs.
 *
 * librdkafka has threads of its own and wants to be polled. Its queues write one 8-byte word to a
 * descriptor when they become non-empty, once until the next poll; so the reader must read the
 * descriptor first and then poll to NULL, or wake itself (kafka_core_wake) when it stops early for
 * fairness.
 *
 * Destroying a handle joins its threads and may take seconds (2.0.2, coordinator loading: 2 s
 * measured), and jobs on the thread pool may still use it: hence the reference count and the
 * destruction on the pool. The eventfd is closed after the handle, because librdkafka's threads
 * write to it until the end.
 *
 * Its log lines go to a queue and so into our log from the loop's thread; handles that live only
 * inside a pool job are silent, their errors are returned. */
#include "common/io/kafka_priv.h"
#include <assert.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static bool kafka_conf_put(rd_kafka_conf_t *conf, const char *name, const char *value,
                           bool is_optional, struct err *err)
{
    char text[160];
    rd_kafka_conf_res_t res = rd_kafka_conf_set(conf, name, value, text, sizeof text);
    if (res == RD_KAFKA_CONF_OK || (res == RD_KAFKA_CONF_UNKNOWN && is_optional)) return true;
    err_set(err, ERR_INVALID, "kafka setting %s: %s", name,
            res == RD_KAFKA_CONF_UNKNOWN ? "unknown to librdkafka"
                                         : "not a value librdkafka takes");
    return false;
}

rd_kafka_conf_t *kafka_conf_new(const struct kafka_options *o, const struct kafka_default *ours,
                                size_t count, struct err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    bool is_good = true;
    for (size_t i = 0; i < o->setting_count && is_good;
         i++) /* theirs first: ours are not up for change */
        is_good = kafka_conf_put(conf, o->settings[i].name, o->settings[i].value, false, err);
    is_good =
        is_good && kafka_conf_put(conf, "bootstrap.servers", o->brokers, false, err) &&
        kafka_conf_put(conf, "client.id", o->client_id ? o->client_id : "sluice", false, err) &&
        kafka_conf_put(conf, "socket.nagle.disable", "true", false, err) &&
        kafka_conf_put(conf, "socket.keepalive.enable", "true", false, err) &&
        kafka_conf_put(conf, "log.connection.close", "false", false, err) &&
        kafka_conf_put(conf, "reconnect.backoff.max.ms", "2000", false, err);
    for (size_t i = 0; i < count && is_good; i++)
        is_good = kafka_conf_put(conf, ours[i].name, ours[i].value, ours[i].is_optional, err);
    if (is_good) return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

static void kafka_core_ready(void *arg, int events)
{
    struct kafka_core *k = arg;
    uint64_t n;
    (void)events;
    while (read(k->fd, &n, sizeof n) < 0 && errno == EINTR) continue;
    if (k->on_wake) k->on_wake(k->arg);
}

void kafka_core_watch(struct kafka_core *k, rd_kafka_queue_t *queue)
{
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(queue, k->fd, &one, sizeof one); /* copied by the library */
}

void kafka_core_unwatch(rd_kafka_queue_t *queue)
{
    rd_kafka_queue_io_event_enable(queue, -1, NULL, 0);
}

rd_kafka_queue_t *kafka_core_partition(struct kafka_core *k, const char *topic, int32_t partition)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_get_partition(k->rk, topic, partition);
    rd_kafka_message_t *stale;
    rd_kafka_queue_forward(queue, NULL); /* before it is assigned, or the library forwards it */
    for (int i = 0; i < KAFKA_STALE_MAX && (stale = rd_kafka_consume_queue(queue, 0)) != NULL; i++)
        rd_kafka_message_destroy(stale);
    kafka_core_watch(k, queue);
    return queue;
}

void kafka_core_wake(struct kafka_core *k)
{
    uint64_t one = 1;
    while (write(k->fd, &one, sizeof one) < 0 && errno == EINTR) continue;
}

static bool kafka_core_open(struct kafka_core *k, rd_kafka_type_t type, rd_kafka_conf_t *conf,
                            struct err *err)
{
    char text[160];
    k->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    k->watch = k->fd >= 0 ? loop_watch_new(k->loop, k->fd, LOOP_READ, kafka_core_ready, k) : NULL;
    if (!k->watch) {
        err_set(err, ERR_INTERNAL, "kafka %s: eventfd: %s", k->name, strerror(errno));
        rd_kafka_conf_destroy(conf);
        return false;
    }
    k->rk = rd_kafka_new(type, conf, text, sizeof text);
    if (!k->rk) {
        err_set(err, ERR_INVALID, "kafka %s: %s", k->name, text);
        rd_kafka_conf_destroy(conf);
        return false;
    }
    if (type == RD_KAFKA_CONSUMER) rd_kafka_poll_set_consumer(k->rk);
    k->queue = type == RD_KAFKA_CONSUMER ? rd_kafka_queue_get_consumer(k->rk)
                                         : rd_kafka_queue_get_main(k->rk);
    rd_kafka_set_log_queue(k->rk, k->queue);
    kafka_core_watch(k, k->queue);
    kafka_core_wake(k); /* a queue that held something already never says so */
    return true;
}

struct kafka_core *kafka_core_new(struct loop *l, struct log *log, const char *name,
                                  rd_kafka_type_t type, rd_kafka_conf_t *conf, struct err *err)
{
    struct kafka_core *k = calloc(1, sizeof *k);
    if (!k || !kafka_conf_put(conf, "log.queue", "true", false, err)) {
        if (!k) err_set(err, ERR_NOMEM, "kafka %s: no memory", name);
        rd_kafka_conf_destroy(conf);
        free(k);
        return NULL;
    }
    k->loop = l;
    k->log = log;
    k->refs = 1;
    snprintf(k->name, sizeof k->name, "%s", name);
    if (kafka_core_open(k, type, conf, err)) return k;
    loop_watch_free(k->watch);
    if (k->fd >= 0) close(k->fd);
    free(k);
    return NULL;
}

static void kafka_core_destroy(void *arg)
{
    struct kafka_core *k = arg;
    if (k->is_fragile) return;
    rd_kafka_destroy_flags(
        k->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE); /* a group was left before, or is not left */
}

static void kafka_core_destroyed(void *arg)
{
    struct kafka_core *k = arg;
    if (!k->is_fragile) close(k->fd); /* else its threads may still write there */
    if (k->on_destroyed) k->on_destroyed(k->destroyed_arg);
    free(k);
}

void kafka_core_ref(struct kafka_core *k)
{
    assert(k->refs > 0);
    k->refs++;
}

void kafka_core_unref(struct kafka_core *k)
{
    assert(k->refs > 0);
    if (--k->refs > 0) return;
    struct err e;
    if (loop_offload(k->loop, kafka_core_destroy, kafka_core_destroyed, k, &e) == ERR_OK) return;
    kafka_core_destroy(k); /* no room on the pool: better late than leaking */
    kafka_core_destroyed(k);
}

void kafka_core_retire(struct kafka_core *k, void (*on_destroyed)(void *arg), void *arg)
{
    k->on_wake = NULL;
    k->on_destroyed = on_destroyed;
    k->destroyed_arg = arg;
    loop_watch_free(k->watch);
    k->watch = NULL;
    kafka_core_unwatch(k->queue);
    rd_kafka_queue_destroy(k->queue);
    k->queue = NULL;
    kafka_core_unref(k);
}

void kafka_core_log(struct kafka_core *k, rd_kafka_event_t *ev)
{
    const char *fac = NULL, *text = NULL;
    int level = 0;
    if (!k->log || rd_kafka_event_log(ev, &fac, &text, &level) != 0) return;
    enum log_level ours = level <= 3   ? LOG_ERROR
                          : level == 4 ? LOG_WARN
                          : level <= 6 ? LOG_INFO
                                       : LOG_DEBUG;
    log_event(k->log, ours, VIEW_NONE, "kafka_log", LOG_S("handle", k->name),
              LOG_S("facility", fac), LOG_S("text", text));
}

static void kafka_log_nothing(const rd_kafka_t *rk, int level, const char *fac, const char *text)
{
    (void)rk;
    (void)level;
    (void)fac;
    (void)text;
}

rd_kafka_t *kafka_plain_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct err *err)
{
    char text[160];
    rd_kafka_conf_set_log_cb(conf, kafka_log_nothing);
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof text);
    if (rk) return rk;
    err_set(err, ERR_INVALID, "kafka: %s", text);
    rd_kafka_conf_destroy(conf);
    return NULL;
}

static enum err_code kafka_code_of(rd_kafka_resp_err_t code)
{
    if (code == RD_KAFKA_RESP_ERR__TIMED_OUT || code == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT)
        return ERR_TIMEOUT;
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) return ERR_FULL;
    if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
        code == RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE ||
        code == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE)
        return ERR_TOO_LARGE;
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
        code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
        return ERR_NOT_FOUND;
    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
        code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
        code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED ||
        code == RD_KAFKA_RESP_ERR__AUTHENTICATION)
        return ERR_DENIED;
    if (code == RD_KAFKA_RESP_ERR__INVALID_ARG || code == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION)
        return ERR_INVALID;
    if (code == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION ||
        code == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID || code == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID)
        return ERR_CONFLICT;
    if (code == RD_KAFKA_RESP_ERR__DESTROY) return ERR_CLOSED;
    return ERR_UNAVAILABLE;
}

enum err_code kafka_err_set(struct err *err, rd_kafka_resp_err_t code, const char *what)
{
    return err_set(err, kafka_code_of(code), "%s: %s", what, rd_kafka_err2str(code));
}

enum err_code kafka_err_take(struct err *err, rd_kafka_error_t *error, const char *what)
{
    if (!error) return ERR_OK;
    enum err_code code = kafka_code_of(rd_kafka_error_code(error));
    err_set(err, code, "%s: %s", what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return code;
}

void kafka_record_of(const rd_kafka_message_t *m, const char *topic, bool headers_only,
                     struct record_in *ret)
{
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_timestamp_type_t kind;
    ret->topic = topic;
    ret->partition = m->partition;
    ret->offset = m->offset;
    ret->timestamp_ms = rd_kafka_message_timestamp(m, &kind);
    ret->key = view_make(m->key, m->key_len);
    ret->value = headers_only ? VIEW_NONE : view_make(m->payload, m->len);
    ret->header_count = 0;
    if (rd_kafka_message_headers(m, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return;
    const char *name;
    const void *value;
    size_t len;
    while (ret->header_count < RECORD_HEADERS_MAX &&
           rd_kafka_header_get_all(headers, ret->header_count, &name, &value, &len) ==
               RD_KAFKA_RESP_ERR_NO_ERROR)
        ret->headers[ret->header_count++] =
            (struct header){.name = view_of(name), .value = view_make(value, len)};
}

/* --- on the thread pool: calls that block ------------------------------------------------- */

int64_t kafka_pool_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int kafka_pool_left_ms(int64_t by_ms, int at_most)
{
    int64_t left = by_ms - kafka_pool_now_ms();
    return left < 1 ? 1 : left < at_most ? (int)left : at_most;
}

void kafka_pool_nap(void)
{
    struct timespec ts = {.tv_nsec = 50 * 1000000L};
    nanosleep(&ts, NULL);
}

static bool kafka_is_absent(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || code == RD_KAFKA_RESP_ERR__NOENT;
}

bool kafka_passes(rd_kafka_resp_err_t code)
{
    static const rd_kafka_resp_err_t passing[] = {
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RD_KAFKA_RESP_ERR__TIMED_OUT,
        RD_KAFKA_RESP_ERR__TRANSPORT,
        RD_KAFKA_RESP_ERR__WAIT_COORD,
    };
    for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++)
        if (code == passing[i]) return true;
    return kafka_is_absent(code);
}

static rd_kafka_resp_err_t kafka_list_once(rd_kafka_t *rk,
                                           const rd_kafka_topic_partition_list_t *tps,
                                           int64_t which, int timeout_ms, int64_t *ret)
{
    /* Not a copy: metadata in the entries would leak inside 2.0.2's offsets_for_times. */
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(tps->cnt);
    for (int i = 0; i < tps->cnt; i++) {
        const rd_kafka_topic_partition_t *tp = &tps->elems[i];
        rd_kafka_topic_partition_list_add(list, tp->topic, tp->partition)->offset =
            which == KAFKA_BY_TIME ? tp->offset : which;
    }
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(rk, list, timeout_ms);
    for (int i = 0; i < tps->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        const rd_kafka_topic_partition_t *found =
            rd_kafka_topic_partition_list_find(list, tps->elems[i].topic, tps->elems[i].partition);
        code = found ? found->err : RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) ret[i] = found->offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return code;
}

rd_kafka_resp_err_t kafka_list_offsets(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *tps,
                                       int64_t which, int64_t by_ms, int64_t *ret)
{
    rd_kafka_resp_err_t code =
        kafka_list_once(rk, tps, which, kafka_pool_left_ms(by_ms, KAFKA_ATTEMPT_MS), ret);
    while (kafka_passes(code) && kafka_pool_now_ms() < by_ms) {
        kafka_pool_nap();
        code = kafka_list_once(rk, tps, which, kafka_pool_left_ms(by_ms, KAFKA_ATTEMPT_MS), ret);
    }
    return code;
}

rd_kafka_resp_err_t kafka_watermarks(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *tps,
                                     int64_t by_ms, int64_t *ret_low, int64_t *ret_high)
{
    rd_kafka_resp_err_t code =
        kafka_list_offsets(rk, tps, RD_KAFKA_OFFSET_BEGINNING, by_ms, ret_low);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code = kafka_list_offsets(rk, tps, RD_KAFKA_OFFSET_END, by_ms, ret_high);
    return code;
}
