/* Where to start: committed offsets with their metadata and both watermarks, or offsets by time.
 *
 * These calls of librdkafka block, so they run on the thread pool, in bulk: one OffsetFetch for all
 * partitions and one ListOffsets per leader for each watermark. They also bring the topics'
 * metadata into the handle's cache, so that a follow right after does not wait for the library's
 * once-a-second topic scan.
 *
 * The job holds a reference of the handle. A consumer that is freed meanwhile answers its jobs
 * ERR_CLOSED at once; the work then ends for nobody. */
#include "common/io/kafka_priv.h"
#include <assert.h>

enum { POSITIONS_MS = 9500 };

struct kafka_job {
    struct list_link link;
    struct loop *loop;
    struct kafka_consumer *consumer; /* NULL: abandoned */
    struct kafka_core *core;
    rd_kafka_topic_partition_list_t *list; /* the answer of committed or offsets_for_times */
    struct kafka_committed *answer;
    int64_t *low, *high;
    size_t count;
    bool is_by_time;
    rd_kafka_resp_err_t code;
    char topic[64]; /* of the entry that failed */
    struct err refused;
    struct timer refusal;
    kafka_positions_fn *done;
    void *arg;
};

static void positions_free(struct kafka_job *j)
{
    if (j->list) rd_kafka_topic_partition_list_destroy(j->list);
    free(j->answer);
    free(j->low);
    free(j->high);
    if (j->core) kafka_core_unref(j->core);
    free(j);
}

static rd_kafka_resp_err_t positions_committed_once(struct kafka_job *j, int timeout_ms)
{
    rd_kafka_resp_err_t code = rd_kafka_committed(j->core->rk, j->list, timeout_ms);
    for (int i = 0; i < j->list->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        code = j->list->elems[i].err;
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            snprintf(j->topic, sizeof j->topic, " %s", j->list->elems[i].topic);
    }
    return code;
}

static void positions_work(void *arg)
{
    struct kafka_job *j = arg;
    int64_t by_ms = kafka_pool_now_ms() + POSITIONS_MS;
    if (j->is_by_time) {
        j->code = kafka_list_offsets(j->core->rk, j->list, KAFKA_BY_TIME, by_ms, j->low);
        return;
    }
    j->code = positions_committed_once(j, POSITIONS_MS / 2);
    while (kafka_passes(j->code) && kafka_pool_now_ms() < by_ms - POSITIONS_MS / 2) {
        kafka_pool_nap();
        j->code = positions_committed_once(j, POSITIONS_MS / 2);
    }
    if (j->code == RD_KAFKA_RESP_ERR_NO_ERROR)
        j->code = kafka_watermarks(j->core->rk, j->list, by_ms, j->low, j->high);
}

static void positions_fill(struct kafka_job *j)
{
    for (size_t i = 0; i < j->count; i++) {
        const rd_kafka_topic_partition_t *tp = &j->list->elems[i];
        struct kafka_committed *a = &j->answer[i];
        a->topic = tp->topic;
        a->partition = tp->partition;
        a->offset = j->is_by_time ? j->low[i] : tp->offset;
        if (a->offset < 0) a->offset = -1;
        /* 2.0.2 hands out what lies behind a NUL, too */
        a->metadata =
            view_make(tp->metadata, tp->metadata ? strnlen(tp->metadata, tp->metadata_size) : 0);
        a->low = j->is_by_time ? -1 : j->low[i];
        a->high = j->is_by_time ? -1 : j->high[i];
    }
}

static void positions_done(void *arg)
{
    struct kafka_job *j = arg;
    struct err e;
    if (j->consumer) {
        char what[96];
        list_remove(&j->consumer->jobs, &j->link);
        snprintf(what, sizeof what, "positions%s", j->topic);
        if (j->code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            positions_fill(j);
            j->done(j->arg, NULL, j->answer, j->count);
        } else {
            kafka_err_set(&e, j->code, what);
            j->done(j->arg, &e, NULL, 0);
        }
    }
    positions_free(j);
}

static void positions_refused(void *arg)
{
    struct kafka_job *j = arg;
    list_remove(&j->consumer->jobs, &j->link);
    j->done(j->arg, &j->refused, NULL, 0);
    positions_free(j);
}

static void positions_start(struct kafka_consumer *c, const struct kafka_tp *tps, size_t count,
                            bool is_by_time, kafka_positions_fn *done, void *arg)
{
    assert(count > 0 && count <= KAFKA_FOLLOWED_MAX);
    struct kafka_job *j = calloc(1, sizeof *j);
    assert(j); /* the one allocation without which there is nobody to tell */
    *j = (struct kafka_job){
        .loop = c->loop, .consumer = c, .count = count, .is_by_time = is_by_time};
    j->done = done;
    j->arg = arg;
    list_push(&c->jobs, &j->link);
    j->answer = calloc(count, sizeof *j->answer);
    j->low = calloc(count, sizeof *j->low);
    j->high = calloc(count, sizeof *j->high);
    j->list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++)
        rd_kafka_topic_partition_list_add(j->list, tps[i].topic, tps[i].partition)->offset =
            is_by_time ? tps[i].offset : RD_KAFKA_OFFSET_INVALID;
    kafka_core_ref(c->core);
    j->core = c->core;
    err_set(&j->refused, ERR_NOMEM, "positions: no memory");
    if (j->answer && j->low && j->high &&
        loop_offload(c->loop, positions_work, positions_done, j, &j->refused) == ERR_OK)
        return;
    timerq_set(loop_timers(c->loop), &j->refusal, loop_clock(c->loop)->mono_ms, positions_refused,
               j);
}

void kafka_consumer_positions(struct kafka_consumer *c, const struct kafka_tp *tps, size_t count,
                              kafka_positions_fn *done, void *arg)
{
    positions_start(c, tps, count, false, done, arg);
}

void kafka_consumer_offsets_for_times(struct kafka_consumer *c, const struct kafka_tp *tps,
                                      size_t count, kafka_positions_fn *done, void *arg)
{
    positions_start(c, tps, count, true, done, arg);
}

void kafka_positions_abandon(struct kafka_consumer *c)
{
    struct list_link *k;
    struct err e;
    err_set(&e, ERR_CLOSED, "positions: the consumer was closed");
    while ((k = list_first(&c->jobs)) != NULL) {
        struct kafka_job *j = LIST_ITEM(k, struct kafka_job, link);
        list_remove(&c->jobs, k);
        j->consumer = NULL;
        j->done(j->arg, &e, NULL, 0);
        if (!timerq_pending(&j->refusal)) continue; /* the pool has it */
        timerq_cancel(loop_timers(j->loop), &j->refusal);
        positions_free(j);
    }
}
