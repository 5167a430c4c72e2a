/* The records of followed partitions: queues that are not forwarded, read at our pace.
 *
 * What is hard: the caller's window is built on offsets that come once and in order, while
 * librdkafka pauses all partitions around every rebalance, empties their queues and fetches again
 * from the last record that was taken. A record taken in that very moment may come again; older
 * versions are known to skip some (consume with seek and rebalance, fixed in 2.1). Two guards make
 * the sequence whole whatever the version:
 *   - a record below the one expected is a repetition and is dropped;
 *   - a record above it is a hole: the partition is sought back once. If the same hole comes again
 * it is a true one (retention took the records), is logged and accepted. Our topics are never
 * compacted and know no transactions, so offsets have no holes of their own. Queues full of unread
 * records survive a rebalance (tested with 2.0.2): what was not taken is fetched again. */
#include "common/io/kafka_priv.h"
#include <assert.h>

enum { FOLLOW_SEEK_MS = 1000, FOLLOW_DROPS_MAX = 10000, FOLLOW_TOPIC_MAX = 249 };

struct follow_key {
    char bytes[FOLLOW_TOPIC_MAX + sizeof(int32_t)];
    size_t len;
};

static bool follow_key_make(const char *topic, int32_t partition, struct follow_key *ret)
{
    size_t len = strlen(topic);
    if (len == 0 || len > FOLLOW_TOPIC_MAX) return false;
    memcpy(ret->bytes, &partition, sizeof partition);
    memcpy(ret->bytes + sizeof partition, topic, len);
    ret->len = len + sizeof partition;
    return true;
}

static struct kafka_followed *follow_find(const struct kafka_consumer *c, const char *topic,
                                          int32_t partition)
{
    struct follow_key key;
    if (!follow_key_make(topic, partition, &key)) return NULL;
    return map_get(c->followed, view_make(key.bytes, key.len));
}

static void follow_remove(struct kafka_consumer *c, struct kafka_followed *f)
{
    struct follow_key key;
    if (follow_key_make(f->topic, f->partition, &key))
        map_remove(c->followed, view_make(key.bytes, key.len));
    list_remove(&c->followed_list, &f->link);
    kafka_core_unwatch(f->queue);
    rd_kafka_queue_destroy(f->queue);
    free(f->topic);
    free(f);
}

static void follow_unassign(struct kafka_core *core, const rd_kafka_topic_partition_list_t *list)
{
    if (list->cnt == 0) return;
    rd_kafka_error_t *error = rd_kafka_incremental_unassign(core->rk, list);
    if (error) rd_kafka_error_destroy(error); /* not assigned: so much the better */
}

void kafka_follow_forget(struct kafka_consumer *c, int32_t partition,
                         rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *rare = rd_kafka_topic_partition_list_new(16);
    struct list_link *k = list_first(&c->followed_list);
    while (k) {
        struct kafka_followed *f = LIST_ITEM(k, struct kafka_followed, link);
        k = list_next(&c->followed_list, k);
        if (partition >= 0 && f->partition != partition) continue;
        if (f->core == c->rare) {
            rd_kafka_topic_partition_list_add(rare, f->topic, f->partition);
        } else if (list) {
            rd_kafka_topic_partition_list_add(list, f->topic, f->partition);
        }
        follow_remove(c, f);
    }
    follow_unassign(c->rare, rare);
    rd_kafka_topic_partition_list_destroy(rare);
}

static struct kafka_followed *follow_add(struct kafka_consumer *c, const struct kafka_tp *tp)
{
    struct follow_key key;
    if (!follow_key_make(tp->topic, tp->partition, &key)) return NULL;
    struct kafka_followed *f = calloc(1, sizeof *f);
    if (f) f->topic = view_dup(view_of(tp->topic));
    if (!f || !f->topic || !map_put(c->followed, view_make(key.bytes, key.len), f)) {
        if (f) free(f->topic);
        free(f);
        return NULL;
    }
    f->partition = tp->partition;
    f->core = tp->is_rare && c->rare ? c->rare : c->core;
    f->next = tp->offset >= 0 ? tp->offset : -1;
    list_push(&c->followed_list, &f->link);
    f->queue = kafka_core_partition(f->core, tp->topic, tp->partition);
    return f;
}

static enum err_code follow_assign(struct kafka_core *core,
                                   const rd_kafka_topic_partition_list_t *list, struct err *err)
{
    if (list->cnt == 0) return ERR_OK;
    enum err_code code = kafka_err_take(err, rd_kafka_incremental_assign(core->rk, list), "follow");
    if (code == ERR_OK) kafka_core_wake(core); /* something stale may still have come in between */
    return code;
}

static void follow_undo(struct kafka_consumer *c, const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++) {
        struct kafka_followed *f = follow_find(c, list->elems[i].topic, list->elems[i].partition);
        if (f) follow_remove(c, f);
    }
}

enum err_code kafka_consumer_follow(struct kafka_consumer *c, const struct kafka_tp *tps,
                                    size_t count, struct err *err)
{
    enum err_code code = ERR_OK;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count + 1);
    rd_kafka_topic_partition_list_t *rare = rd_kafka_topic_partition_list_new((int)count + 1);
    for (size_t i = 0; i < count && code == ERR_OK; i++) {
        const struct kafka_tp *tp = &tps[i];
        bool is_ours =
            tp->partition >= 0 && tp->partition < KAFKA_PARTITIONS_MAX && c->owned[tp->partition];
        if (!is_ours || follow_find(c, tp->topic, tp->partition)) continue;
        struct kafka_followed *f = follow_add(c, tp);
        if (!f) code = err_set(err, ERR_NOMEM, "follow %s: no room", tp->topic);
        rd_kafka_topic_partition_list_add(f && f->core == c->rare ? rare : list, tp->topic,
                                          tp->partition)
            ->offset = tp->offset >= 0 ? tp->offset : RD_KAFKA_OFFSET_BEGINNING;
    }
    if (code == ERR_OK) code = follow_assign(c->rare, rare, err);
    if (code == ERR_OK) {
        code = follow_assign(c->core, list, err);
        if (code != ERR_OK) follow_unassign(c->rare, rare);
    }
    if (code != ERR_OK) {
        follow_undo(c, rare);
        follow_undo(c, list);
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_topic_partition_list_destroy(rare);
    return code;
}

/* --- keeping the sequence whole ----------------------------------------------------------- */

static void follow_seek(struct kafka_followed *f)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, f->topic, f->partition)->offset =
        f->next >= 0 ? f->next : RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_error_t *error = rd_kafka_seek_partitions(f->core->rk, list, 0); /* 0: does not wait */
    if (error) rd_kafka_error_destroy(error); /* the tick tries again */
    rd_kafka_topic_partition_list_destroy(list);
}

void kafka_follow_tick(struct kafka_consumer *c)
{
    int64_t now = loop_clock(c->loop)->mono_ms;
    for (struct list_link *k = list_first(&c->followed_list); k;
         k = list_next(&c->followed_list, k)) {
        struct kafka_followed *f = LIST_ITEM(k, struct kafka_followed, link);
        if (!f->is_seeking || now - f->sought_ms < FOLLOW_SEEK_MS) continue;
        f->sought_ms = now;
        follow_seek(f);
    }
}

/* True: this record is the next one. */
static bool follow_accept(struct kafka_consumer *c, struct kafka_followed *f, int64_t offset)
{
    if (offset < f->next) return false; /* read before */
    if (f->next >= 0 && offset > f->next) {
        if (f->is_seeking && offset > f->gap_offset)
            return false; /* fetched before the seek took effect */
        if (!f->is_seeking) {
            f->is_seeking = true;
            f->gap_offset = offset;
            f->sought_ms = loop_clock(c->loop)->mono_ms;
            follow_seek(f);
            return false;
        }
        log_event(c->log, LOG_WARN, VIEW_NONE, "kafka_records_gone", LOG_S("topic", f->topic),
                  LOG_N("partition", f->partition), LOG_N("from", f->next), LOG_N("to", offset));
    }
    f->is_seeking = false;
    f->next = offset + 1;
    return true;
}

bool kafka_consumer_read(struct kafka_consumer *c, const char *topic, int32_t partition,
                         kafka_record_fn *handle, void *arg)
{
    struct kafka_followed *f = follow_find(c, topic, partition);
    for (int drops = 0; f && drops < FOLLOW_DROPS_MAX; drops++) {
        rd_kafka_message_t *m = rd_kafka_consume_queue(f->queue, 0);
        if (!m) return false;
        if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            struct err e;
            kafka_err_set(&e, m->err, "fetch");
            rd_kafka_message_destroy(m);
            if (c->events.on_error) c->events.on_error(c->arg, &e);
            return false; /* the callback may have freed us; the descriptor or the timer asks again
                           */
        }
        if (follow_accept(c, f, m->offset)) {
            struct record_in rec;
            struct kafka_core *k = f->core; /* the message lives no longer than its handle */
            kafka_core_ref(k);
            kafka_record_of(m, f->topic, false, &rec);
            handle(arg, &rec);
            rd_kafka_message_destroy(m); /* at once: a kept message pins the whole fetch */
            kafka_core_unref(k);
            return true;
        }
        rd_kafka_message_destroy(m);
    }
    return false;
}

enum err_code kafka_consumer_commit(struct kafka_consumer *c, const char *topic, int32_t partition,
                                    int64_t offset, struct view metadata, struct err *err)
{
    assert(offset >= 0);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *tp = rd_kafka_topic_partition_list_add(list, topic, partition);
    tp->offset = offset;
    if (metadata.len > 0) {
        tp->metadata = view_dup(metadata); /* the list frees it */
        tp->metadata_size = tp->metadata ? metadata.len : 0;
    }
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    bool is_copied = metadata.len == 0 || tp->metadata;
    if (is_copied) code = rd_kafka_commit_queue(c->core->rk, list, c->core->queue, NULL, NULL);
    rd_kafka_topic_partition_list_destroy(list);
    if (!is_copied) return err_set(err, ERR_NOMEM, "commit: no memory");
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? ERR_OK : kafka_err_set(err, code, "commit");
}
