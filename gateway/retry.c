/* POST /v1/jobs/{id}/retry: an ended job once more, as a new job.
 *
 * What is hard: a double click must be one job. The new id is derived from the old one, so two
 * retries write two records of one id, of which the home runs the first; and one that comes later
 * finds the new job and gets it. The input is not in Redis: it is read back from the record that
 * meta's origin names, as long as that is retained. The record goes to the old home, where the old
 * job's checkpoints are at hand. */
#include "common/io/kafka.h"
#include "gateway/exchange.h"

struct retry {
    struct job_id old_id, new_id;
    char topic[TOPIC_NAME_MAX];
    int32_t partition;
    int64_t offset;
    bool is_read;
};

static bool retry_read_origin(struct view origin, struct retry *t)
{
    struct view topic, rest, partition, offset;
    int64_t n;
    if (!view_cut(origin, '/', &topic, &rest) || !view_cut(rest, '/', &partition, &offset))
        return false;
    if (!view_copy(topic, t->topic, sizeof t->topic) || !view_i64(partition, &n)) return false;
    t->partition = (int32_t)n;
    return n >= 0 && n < JOB_ID_PARTITIONS_MAX && view_i64(offset, &t->offset) && t->offset >= 0;
}

static void retry_expired(struct exchange *x)
{
    exchange_refuse(x, PROBLEM_INPUT_EXPIRED, "the record with the job's input is no longer there");
}

/* The head of the new job from that of the old one's record. */
static void retry_head(const struct exchange *x, const struct job_head *was, struct job_head *ret)
{
    const struct retry *t = x->own;
    int64_t now = x->s->clock->wall_ms;
    *ret = *was;
    ret->id = t->new_id;
    ret->created_ms = now;
    ret->attempt = ret->max_attempts = ret->epoch = ret->seq = ret->due_ms = 0;
    ret->since = -1;
    if (ret->deadline_ms <= now) ret->deadline_ms = 0;
    ret->origin[0] = ret->err_code[0] = ret->err_msg[0] = ret->traceparent[0] = '\0';
    memcpy(ret->redrive_of, t->old_id.text, sizeof t->old_id.text);
}

static void retry_record(void *arg, const struct record_in *rec)
{
    struct exchange *x = arg;
    struct retry *t = x->own;
    struct job_head was, head;
    struct job_body body;
    if (!x->r || t->is_read || rec->offset != t->offset) return;
    if (job_head_read(rec, &was, NULL) != ERR_OK ||
        job_body_read(rec->value, &body, NULL) != ERR_OK)
        return;
    if (strcmp(was.id.text, t->old_id.text) != 0 || strcmp(was.tenant, x->who.tenant) != 0) return;
    t->is_read = true;
    retry_head(x, &was, &head);
    struct submission *n =
        submit_record(x->s->submit, &head, &body, x->who.max_queued, jobs_answered, x);
    if (x->r) x->submission = n;
}

static void retry_replayed(void *arg, const struct err *e, int64_t next_offset)
{
    struct exchange *x = arg;
    const struct retry *t = x->own;
    (void)next_offset;
    if (!exchange_held(x) || t->is_read) return;
    if (e && e->code != ERR_NOT_FOUND)
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "the job's record could not be read from Kafka");
    else
        retry_expired(x);
}

static void retry_read_back(struct exchange *x)
{
    struct retry *t = x->own;
    struct err err;
    const struct kafka_replay_options o = {.common = *x->s->kafka,
                                           .topic = t->topic,
                                           .partition = t->partition,
                                           .from = t->offset,
                                           .to = t->offset + 1,
                                           .handle = retry_record,
                                           .done = retry_replayed,
                                           .arg = x};
    exchange_hold(x);
    if (!kafka_replay_new(x->s->loop, x->s->log, &o, &err) && exchange_held(x))
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "the job's record could not be read from Kafka");
}

/* Is it there already? */
static void retry_found_new(void *arg, const struct err *e, const struct fn_meta *m)
{
    struct exchange *x = arg;
    const struct retry *t = x->own;
    if (!exchange_held(x)) return;
    if (e) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "Redis is away");
    } else if (m->found && !m->reserved) {
        x->job = t->new_id;
        snprintf(x->location, sizeof x->location, "/v1/jobs/%s", t->new_id.text);
        get_answer(x, 202);
    } else if (!x->s->is_kafka_ready) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "Kafka is away");
    } else {
        retry_read_back(x);
    }
}

static void retry_found_old(void *arg, const struct err *e, const struct fn_meta *m)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    struct retry *t = calloc(1, sizeof *t);
    x->own = t;
    x->own_free = free;
    if (e || !t) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "Redis is away");
    } else if (!exchange_may_see(x, m)) {
        exchange_unknown(x, m->built);
    } else if (!job_status_is_terminal(m->status) && !m->built) {
        exchange_unknown(x, false); /* the view may be older than its end */
    } else if (!job_status_is_terminal(m->status)) {
        exchange_refuse(x, PROBLEM_CONFLICT, "the job has not ended; cancel it first");
    } else if (!retry_read_origin(m->origin, t)) {
        retry_expired(x);
    } else {
        t->old_id = x->job;
        t->new_id = id_new_derived(view_of(x->job.text), VIEW_LIT(""), id_partition(&x->job));
        exchange_hold(x);
        fn_meta(x->s->fn, &t->new_id, VIEW_NONE, retry_found_new, x);
    }
}

static void retry_linked(void *arg, const struct err *e, struct view verdict)
{
    struct exchange *x = arg;
    (void)e; /* the link is a convenience: the new job names the old one in any case */
    (void)verdict;
    if (exchange_held(x)) get_answer(x, 202);
}

void retry_accepted(struct exchange *x)
{
    const struct retry *t = x->own;
    exchange_hold(x);
    fn_link_retry(x->s->fn, &t->old_id, &t->new_id, retry_linked, x);
}

void retry_job(struct exchange *x)
{
    exchange_hold(x);
    fn_meta(x->s->fn, &x->job, view_of(x->s->boot), retry_found_old, x);
}
