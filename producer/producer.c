/* Records out, reports in.
 *
 * What is hard is being quick to say no. A broker that is away answers nothing until the time-out
 * of a record, and a client that waits five seconds for a 503 sends another five meanwhile. So each
 * home has a breaker: a record that was not acknowledged opens it, and while it is open one record
 * at a time goes out as a probe and all others are refused at once. The first acknowledged record
 * closes it. Nothing here waits, and what is out is counted under a ceiling.
 *
 *      CLOSED --a report fails--> OPEN --next record--> PROBING --acknowledged--> CLOSED
 *                                  ^----------fails--------'
 */
#include "producer/producer.h"

#include "common/base/list.h"
#include <assert.h>

enum breaker { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_PROBING };

struct producer_slot { /* one record that is out */
    struct list_link link;
    struct producer *owner;
    struct producer_done done;
    enum topic topic;
    int32_t partition;
};

struct producer {
    struct publish_port port;
    const struct topics *topics;
    uint32_t partitions;
    size_t outstanding_max;
    size_t unwell; /* homes whose breaker is not closed */
    struct list out, spare;
    struct producer_counts counts;
    unsigned char breakers[]; /* a home each */
};

struct producer *producer_new(const struct producer_options *o)
{
    assert(o->partitions >= 1 && o->partitions <= JOB_ID_PARTITIONS_MAX);
    assert(o->outstanding_max > 0);
    struct producer *p = calloc(1, sizeof *p + o->partitions);
    if (!p) return NULL;
    p->port = o->port;
    p->topics = o->topics;
    p->partitions = o->partitions;
    p->outstanding_max = o->outstanding_max;
    list_init(&p->out);
    list_init(&p->spare);
    return p;
}

static void producer_drop(struct list *l)
{
    struct list_link *k;
    while ((k = list_first(l)) != NULL) {
        list_remove(l, k);
        free(LIST_ITEM(k, struct producer_slot, link));
    }
}

void producer_free(struct producer *p)
{
    if (!p) return;
    producer_drop(&p->out);
    producer_drop(&p->spare);
    free(p);
}

static struct producer_slot *producer_slot_take(struct producer *p)
{
    struct list_link *k = list_first(&p->spare);
    struct producer_slot *s = k ? LIST_ITEM(k, struct producer_slot, link) : calloc(1, sizeof *s);
    if (!s) return NULL;
    if (k) list_remove(&p->spare, k);
    list_push(&p->out, &s->link);
    return s;
}

static void producer_slot_give(struct producer_slot *s)
{
    list_remove(&s->owner->out, &s->link);
    list_push(&s->owner->spare, &s->link);
}

static void producer_breaker_set(struct producer *p, int32_t home, enum breaker to)
{
    enum breaker was = (enum breaker)p->breakers[home];
    if (was == BREAKER_CLOSED && to != BREAKER_CLOSED) p->unwell++;
    if (was != BREAKER_CLOSED && to == BREAKER_CLOSED) p->unwell--;
    p->breakers[home] = (unsigned char)to;
}

static void producer_reported(void *arg, const struct err *e, int64_t offset)
{
    struct producer_slot *s = arg;
    struct producer *p = s->owner;
    struct producer_done done = s->done;
    struct producer_report r = {
        .e = e, .topic = s->topic, .partition = s->partition, .offset = offset};
    bool is_silence = e && (e->code == ERR_TIMEOUT || e->code == ERR_UNAVAILABLE);
    producer_breaker_set(p, s->partition, is_silence ? BREAKER_OPEN : BREAKER_CLOSED);
    *(e ? &p->counts.failed : &p->counts.acknowledged) += 1;
    producer_slot_give(s);
    done.fn(done.arg, &r);
}

static enum err_code producer_send_now(struct producer *p, const struct record_out *rec,
                                       enum topic topic, const struct producer_done *done,
                                       struct err *err)
{
    if (p->out.count >= p->outstanding_max)
        return err_set(err, ERR_FULL, "%zu records wait for their acknowledgement", p->out.count);
    if (p->breakers[rec->partition] == BREAKER_PROBING)
        return err_set(err, ERR_UNAVAILABLE, "Kafka does not answer for home %d",
                       (int)rec->partition);
    struct producer_slot *s = producer_slot_take(p);
    if (!s) return err_set(err, ERR_NOMEM, "no memory for a record");
    s->owner = p;
    s->done = *done;
    s->topic = topic;
    s->partition = rec->partition;
    enum err_code code = p->port.publish(p->port.self, rec, producer_reported, s, err);
    if (code != ERR_OK)
        producer_slot_give(s);
    else if (p->breakers[rec->partition] == BREAKER_OPEN)
        producer_breaker_set(p, rec->partition, BREAKER_PROBING);
    return code;
}

static enum err_code producer_send(struct producer *p, const struct record_out *rec,
                                   enum topic topic, const struct producer_done *done,
                                   struct err *err)
{
    enum err_code code = producer_send_now(p, rec, topic, done, err);
    if (code != ERR_OK) p->counts.refused++;
    return code;
}

static enum topic producer_topic_of(const struct job_head *head, int64_t wall_ms)
{
    enum topic tier = head->due_ms > 0 ? topic_delay_tier(head->due_ms - wall_ms) : TOPIC_COUNT;
    if (tier != TOPIC_COUNT) return tier;
    return head->cls == CLASS_BULK ? TOPIC_JOBS_BULK : TOPIC_JOBS_INTERACTIVE;
}

enum err_code producer_submit(struct producer *p, const struct job_head *head, struct view value,
                              int64_t wall_ms, const struct producer_done *done, struct err *err)
{
    struct job_scratch scratch;
    struct record_out rec;
    enum topic topic = producer_topic_of(head, wall_ms);
    rec.header_count = 0;
    rec.topic = p->topics->names[topic];
    rec.value = value;
    scratch.used = 0;
    job_head_write(head, &rec, &scratch);
    if (rec.partition < 0 || (uint32_t)rec.partition >= p->partitions)
        return err_set(err, ERR_INVALID, "the id names home %d of %u", (int)rec.partition,
                       (unsigned)p->partitions);
    return producer_send(p, &rec, topic, done, err);
}

enum err_code producer_state(struct producer *p, const struct state_record *s,
                             const struct producer_done *done, struct err *err)
{
    struct state_scratch scratch;
    struct record_out rec;
    rec.header_count = 0;
    rec.topic = p->topics->names[TOPIC_STATE];
    rec.value = s->value;
    scratch.job.used = 0;
    state_record_write(s, &rec, &scratch);
    if (rec.partition < 0 || (uint32_t)rec.partition >= p->partitions)
        return err_set(err, ERR_INVALID, "the id names home %d of %u", (int)rec.partition,
                       (unsigned)p->partitions);
    return producer_send(p, &rec, TOPIC_STATE, done, err);
}

size_t producer_outstanding(const struct producer *p)
{
    return p->out.count;
}

bool producer_is_well(const struct producer *p)
{
    return p->unwell == 0;
}

void producer_trust(struct producer *p)
{
    for (uint32_t home = 0; home < p->partitions && p->unwell > 0; home++)
        if (p->breakers[home] == BREAKER_OPEN)
            producer_breaker_set(p, (int32_t)home, BREAKER_CLOSED);
}

struct producer_counts producer_counts(const struct producer *p)
{
    return p->counts;
}
