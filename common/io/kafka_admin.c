/* Topics: made by us, counted, and known to the producer before the first record.
 *
 * Producing must never create a topic (it would get the broker's defaults: one partition, no
 * min.insync.replicas), so they are made here and their partition counts compared. Creation is
 * asynchronous in the broker: a topic is there when the metadata shows all partitions with leaders.
 * Several processes start at once: "already exists" is fine.
 *
 * A record for a topic the producer's handle has no metadata of waits for a scan that runs once a
 * second. So the handle is given the topics and its metadata is refreshed here, off the loop.
 *
 * Everything runs in one job on the thread pool with one deadline, on a handle of its own. */
#include "common/io/kafka_priv.h"
#include <assert.h>

enum { TOPICS_BUDGET_MS = 9000, TOPICS_ASK_MS = 3000, TOPICS_WARM_MS = 2000 };

struct topics_item {
    char *name;
    int partitions, replication;
    struct kafka_setting *settings;
    size_t setting_count;
    bool is_missing;
};

struct topics_job {
    rd_kafka_conf_t *conf; /* until the work took it */
    struct topics_item *items;
    size_t count;
    const char **names;
    struct kafka_core *warm; /* the producer's handle; may be NULL */
    struct err err;
    int64_t by_ms;
    struct loop *loop;
    struct timer refusal;
    void (*done)(void *arg, const struct err *e);
    void *arg;
};

static const struct rd_kafka_metadata_topic *topics_find(const struct rd_kafka_metadata *md,
                                                         const char *name)
{
    for (int i = 0; i < md->topic_cnt; i++)
        if (strcmp(md->topics[i].topic, name) == 0) return &md->topics[i];
    return NULL;
}

static bool topics_has_leaders(const struct rd_kafka_metadata_topic *t)
{
    for (int i = 0; i < t->partition_cnt; i++)
        if (t->partitions[i].leader < 0) return false;
    return true;
}

/* *ret_missing: how many are not there; *ret_waiting: not there, or without all leaders. */
static enum err_code topics_look(struct topics_job *j, rd_kafka_t *rk, size_t *ret_missing,
                                 size_t *ret_waiting)
{
    const struct rd_kafka_metadata *md = NULL;
    rd_kafka_resp_err_t code =
        rd_kafka_metadata(rk, 1, NULL, &md, kafka_pool_left_ms(j->by_ms, TOPICS_ASK_MS));
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_set(&j->err, ERR_UNAVAILABLE, "topics: metadata: %s", rd_kafka_err2str(code));
    enum err_code rc = ERR_OK;
    size_t missing = 0, waiting = 0;
    for (size_t i = 0; i < j->count && rc == ERR_OK; i++) {
        struct topics_item *it = &j->items[i];
        const struct rd_kafka_metadata_topic *t = topics_find(md, it->name);
        it->is_missing = !t || t->partition_cnt == 0;
        missing += it->is_missing;
        waiting += it->is_missing || !topics_has_leaders(t);
        if (!it->is_missing && t->partition_cnt != it->partitions)
            rc = err_set(&j->err, ERR_CONFLICT, "topic %s has %d partitions, not %d", it->name,
                         t->partition_cnt, it->partitions);
    }
    rd_kafka_metadata_destroy(md);
    *ret_missing = missing;
    *ret_waiting = waiting;
    return rc;
}

static rd_kafka_NewTopic_t *topics_new(struct topics_job *j, const struct topics_item *it)
{
    char text[200];
    rd_kafka_NewTopic_t *t =
        rd_kafka_NewTopic_new(it->name, it->partitions, it->replication, text, sizeof text);
    if (!t) {
        err_set(&j->err, ERR_INVALID, "topic %s: %s", it->name, text);
        return NULL;
    }
    for (size_t i = 0; i < it->setting_count; i++)
        rd_kafka_NewTopic_set_config(t, it->settings[i].name, it->settings[i].value);
    return t;
}

static enum err_code topics_created(struct topics_job *j, rd_kafka_event_t *ev)
{
    size_t count = 0;
    rd_kafka_resp_err_t code = ev ? rd_kafka_event_error(ev) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_err_set(&j->err, code, "create topics");
        return j->err.code = j->err.code == ERR_TIMEOUT ? ERR_UNAVAILABLE : j->err.code;
    }
    const rd_kafka_CreateTopics_result_t *res = rd_kafka_event_CreateTopics_result(ev);
    const rd_kafka_topic_result_t **topics = rd_kafka_CreateTopics_result_topics(res, &count);
    for (size_t i = 0; i < count; i++) {
        code = rd_kafka_topic_result_error(topics[i]);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            continue;
        kafka_err_set(&j->err, code, "create topic");
        const char *text = rd_kafka_topic_result_error_string(topics[i]);
        return err_set(&j->err, j->err.code, "create topic %s: %s",
                       rd_kafka_topic_result_name(topics[i]), text ? text : rd_kafka_err2str(code));
    }
    return ERR_OK;
}

static enum err_code topics_create(struct topics_job *j, rd_kafka_t *rk)
{
    char text[200];
    size_t count = 0;
    enum err_code rc = ERR_OK;
    rd_kafka_event_t *ev = NULL;
    rd_kafka_NewTopic_t **list = calloc(j->count, sizeof *list);
    rd_kafka_AdminOptions_t *o = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    if (!list || !o) rc = err_set(&j->err, ERR_NOMEM, "create topics: no memory");
    for (size_t i = 0; i < j->count && rc == ERR_OK; i++) {
        if (!j->items[i].is_missing) continue;
        list[count] = topics_new(j, &j->items[i]);
        if (!list[count])
            rc = j->err.code;
        else
            count++;
    }
    if (rc == ERR_OK) {
        int ms = kafka_pool_left_ms(j->by_ms, TOPICS_BUDGET_MS);
        rd_kafka_AdminOptions_set_request_timeout(o, ms, text, sizeof text);
        rd_kafka_AdminOptions_set_operation_timeout(o, ms, text, sizeof text);
        rd_kafka_CreateTopics(rk, list, count, o, q);
        ev = rd_kafka_queue_poll(q, ms + 100);
        rc = topics_created(j, ev);
    }
    if (ev) rd_kafka_event_destroy(ev);
    if (count > 0) rd_kafka_NewTopic_destroy_array(list, count);
    rd_kafka_queue_destroy(q);
    if (o) rd_kafka_AdminOptions_destroy(o);
    free(list);
    return rc;
}

static void topics_warm(struct topics_job *j)
{
    const struct rd_kafka_metadata *md = NULL;
    int ms = kafka_pool_left_ms(j->by_ms, TOPICS_WARM_MS);
    /* Only the topics the handle knows; a failure costs the first record a second, no more. */
    if (rd_kafka_metadata(j->warm->rk, 0, NULL, &md, ms) == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(md);
}

static enum err_code topics_run(struct topics_job *j, rd_kafka_t *rk)
{
    size_t missing = 0, waiting = 0;
    enum err_code rc = topics_look(j, rk, &missing, &waiting);
    if (rc == ERR_OK && missing > 0) rc = topics_create(j, rk);
    if (rc == ERR_OK && missing > 0) rc = topics_look(j, rk, &missing, &waiting);
    while (rc == ERR_OK && waiting > 0) {
        if (kafka_pool_now_ms() >= j->by_ms)
            return err_set(&j->err, ERR_UNAVAILABLE, "topics: %zu are not there yet", waiting);
        kafka_pool_nap();
        rc = topics_look(j, rk, &missing, &waiting);
    }
    if (rc == ERR_OK && j->warm) topics_warm(j);
    return rc;
}

static void topics_work(void *arg)
{
    struct topics_job *j = arg;
    j->by_ms = kafka_pool_now_ms() + TOPICS_BUDGET_MS;
    rd_kafka_t *rk = kafka_plain_new(RD_KAFKA_PRODUCER, j->conf, &j->err);
    j->conf = NULL;
    if (!rk) return;
    topics_run(j, rk);
    rd_kafka_destroy(rk);
}

static void topics_free(struct topics_job *j)
{
    for (size_t i = 0; j->items && i < j->count; i++) {
        struct topics_item *it = &j->items[i];
        for (size_t k = 0; it->settings && k < it->setting_count; k++) {
            free((void *)(uintptr_t)it->settings[k].name);
            free((void *)(uintptr_t)it->settings[k].value);
        }
        free(it->settings);
        free(it->name);
    }
    free(j->items);
    free(j->names);
    if (j->conf) rd_kafka_conf_destroy(j->conf);
    if (j->warm) kafka_core_unref(j->warm);
    free(j);
}

static void topics_done(void *arg)
{
    struct topics_job *j = arg;
    j->done(j->arg, j->err.code == ERR_OK ? NULL : &j->err);
    topics_free(j);
}

static bool topics_copy(struct topics_job *j, const struct kafka_topic_spec *specs, size_t count)
{
    j->count = count;
    j->items = calloc(count, sizeof *j->items);
    j->names = calloc(count, sizeof *j->names);
    for (size_t i = 0; j->items && j->names && i < count; i++) {
        struct topics_item *it = &j->items[i];
        const struct kafka_topic_spec *s = &specs[i];
        it->name = view_dup(view_of(s->name));
        it->partitions = s->partitions;
        it->replication = s->replication;
        it->settings = calloc(s->setting_count + 1, sizeof *it->settings);
        if (!it->name || !it->settings) return false;
        j->names[i] = it->name;
        it->setting_count = s->setting_count;
        for (size_t k = 0; k < s->setting_count; k++) {
            it->settings[k].name = view_dup(view_of(s->settings[k].name));
            it->settings[k].value = view_dup(view_of(s->settings[k].value));
            if (!it->settings[k].name || !it->settings[k].value) return false;
        }
    }
    return j->items && j->names;
}

void kafka_topics_ensure(struct loop *l, const struct kafka_options *o,
                         const struct kafka_topic_spec *specs, size_t count,
                         struct kafka_producer *p, void (*done)(void *arg, const struct err *e),
                         void *arg)
{
    assert(count > 0);
    const struct kafka_default ours[] = {{"socket.connection.setup.timeout.ms", "3000", false}};
    struct topics_job *j = calloc(1, sizeof *j);
    assert(j); /* at start-up, and nobody to tell without it */
    j->loop = l;
    j->done = done;
    j->arg = arg;
    if (!topics_copy(j, specs, count)) {
        err_set(&j->err, ERR_NOMEM, "topics: no memory");
    } else {
        j->conf = kafka_conf_new(o, ours, sizeof ours / sizeof ours[0], &j->err);
        if (j->conf && p) j->warm = kafka_producer_open_topics(p, j->names, count);
        if (j->warm) kafka_core_ref(j->warm);
        if (j->conf && loop_offload(l, topics_work, topics_done, j, &j->err) == ERR_OK) return;
    }
    timerq_set(loop_timers(l), &j->refusal, loop_clock(l)->mono_ms, topics_done, j);
}
