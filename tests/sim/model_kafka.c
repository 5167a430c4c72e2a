/* The model Kafka: logs, producers and replays. The group is in model_group.c. */
#include "tests/sim/model_kafka_priv.h"

struct model_kafka *model_kafka_new(struct world *w, const struct topics *topics, int32_t partitions)
{
    struct model_kafka *k = calloc(1, sizeof *k);

    assert(k && partitions > 0 && partitions <= MODEL_PARTITIONS_MAX);
    k->world = w;
    k->topics = topics;
    k->partitions = partitions;
    k->message_timeout_ms = 5000;
    k->session_ms = 6000;
    k->waiting_end = &k->waiting;
    for (int32_t p = 0; p < partitions; p++) k->owner[p] = -1;
    return k;
}

void model_kafka_set_timeouts(struct model_kafka *k, int64_t message_ms, int64_t session_ms)
{
    k->message_timeout_ms = message_ms;
    k->session_ms = session_ms;
}

static void record_free(struct model_record *r)
{
    free(r->bytes);
    free(r);
}

void model_kafka_on_commit(struct model_kafka *k, model_commit_fn *fn, void *arg)
{
    k->on_commit = fn;
    k->on_commit_arg = arg;
}

int32_t model_kafka_partitions(const struct model_kafka *k)
{
    return k->partitions;
}

bool model_kafka_waits(struct model_kafka *k, sim_fn *fn, sim_fn *drop, void *arg)
{
    struct model_waiting *w;

    if (!k->paused) return false;
    w = calloc(1, sizeof *w);
    assert(w);
    *w = (struct model_waiting){.fn = fn, .drop = drop, .arg = arg};
    *k->waiting_end = w;
    k->waiting_end = &w->next;
    return true;
}

/* Takes the requests out; fn or drop is called for each. */
static void waiting_end(struct model_kafka *k, bool drop)
{
    struct model_waiting *w = k->waiting, *next;

    k->waiting = NULL;
    k->waiting_end = &k->waiting;
    for (; w; w = next) {
        next = w->next;
        if (!drop) world_after(k->world, 0, w->fn, w->drop, w->arg); /* equal times keep their order */
        if (drop) w->drop(w->arg);
        free(w);
    }
}

void model_kafka_free(struct model_kafka *k)
{
    waiting_end(k, true);
    model_group_free(k);
    for (int t = 0; t < TOPIC_COUNT; t++)
        for (int p = 0; p < MODEL_PARTITIONS_MAX; p++) {
            struct model_log *l = &k->logs[t][p];

            for (size_t i = 0; i < l->count; i++) record_free(l->records[i]);
            free(l->records);
            free(k->committed[t][p].metadata);
        }
    free(k);
}

/* --- records ------------------------------------------------------------------------------------------------------------- */
static struct view keep(char **at, struct view v)
{
    struct view out = view_make(*at, v.len);

    if (!v.ptr) return VIEW_NONE;
    memcpy(*at, v.ptr, v.len);
    *at += v.len;
    return out;
}

static struct model_record *record_new(const struct model_kafka *k, const struct record_out *o, enum topic *ret_topic)
{
    struct model_record *r = calloc(1, sizeof *r);
    size_t bytes = o->key.len + o->value.len + 1;
    char *at;

    assert(r);
    must(topics_parse(k->topics, view_of(o->topic), ret_topic));
    for (size_t i = 0; i < o->header_count; i++) bytes += o->headers[i].name.len + o->headers[i].value.len;
    at = r->bytes = malloc(bytes);
    assert(at);
    r->rec.topic = k->topics->names[*ret_topic];
    r->rec.partition = o->partition;
    r->rec.key = keep(&at, o->key);
    r->rec.value = keep(&at, o->value);
    for (size_t i = 0; i < o->header_count; i++) {
        r->rec.headers[i].name = keep(&at, o->headers[i].name);
        r->rec.headers[i].value = keep(&at, o->headers[i].value);
    }
    r->rec.header_count = o->header_count;
    return r;
}

static void tell_record(const struct model_kafka *k, const struct record_in *r)
{
    static const char *const told[] = {"kind", "job-id", "epoch", "seq", "step", "item", "attempt", "due-ms", "tenant", "worker"};
    char line[400];
    size_t n = 0;

    if (!world_is_traced(k->world)) return;
    for (size_t i = 0; i < sizeof told / sizeof *told && n < sizeof line - 1; i++) {
        struct view v = record_header(r, told[i]);

        if (v.len) n += (size_t)snprintf(line + n, sizeof line - n, " %s=%.*s", told[i], (int)v.len, v.ptr);
    }
    world_trace(k->world, "log %s[%d]@%lld%s", r->topic, (int)r->partition, (long long)r->offset, line);
}

static int64_t append(struct model_kafka *k, enum topic t, struct model_record *take)
{
    struct model_log *l = &k->logs[t][take->rec.partition];

    if (l->count == l->max) {
        l->max = l->max ? l->max * 2 : 64;
        l->records = realloc(l->records, l->max * sizeof *l->records);
        assert(l->records);
    }
    take->rec.offset = (int64_t)l->count;
    take->rec.timestamp_ms = world_wall_ms(k->world);
    take->appended_ms = world_now_ms(k->world);
    l->records[l->count++] = take;
    world_mix(k->world, take->rec.value.ptr, take->rec.value.len);
    tell_record(k, &take->rec);
    model_group_appended(k, t, take->rec.partition, (int64_t)rng_below(world_rng(k->world), 3 + (uint64_t)k->fetch_lag_ms[t]));
    return take->rec.offset;
}

/* --- producers ------------------------------------------------------------------------------------------------------------ */
struct model_producer {
    struct model_kafka *kafka;
    struct proc *proc;
    int64_t arrive_ms; /* order */
    size_t refs, under_way;
    bool gone, flushed, cut; /* cut: of a dead process, nothing lands behind the first that did not */
    bool is_holding;
    struct produce *held, **held_end;
};

struct produce {
    struct produce *next; /* in from->held */
    struct model_producer *from;
    struct model_record *record;
    enum topic topic;
    publish_fn *done;
    void *arg;
    int64_t offset, sent_ms;
    bool answered; /* timed out already */
    size_t refs;
};

static void producer_unref(struct model_producer *p)
{
    if (--p->refs == 0 && p->gone) free(p);
}

static void produce_unref(void *arg)
{
    struct produce *q = arg;

    if (--q->refs > 0) return;
    if (q->record) record_free(q->record);
    producer_unref(q->from);
    free(q);
}

static void produce_answer(struct produce *q, bool is_late)
{
    struct err e = {.code = ERR_TIMEOUT, .text = "kafka: message timed out"};

    if (q->answered) return;
    q->answered = true;
    q->from->under_way--;
    if (!q->from->gone) q->done(q->arg, is_late ? &e : NULL, is_late ? -1 : q->offset);
}

/* A process that slept through the time-out may look at its clock before it looks at its socket. */
static void produce_report(void *arg)
{
    struct produce *q = arg;
    struct model_kafka *k = q->from->kafka;
    bool is_overdue = world_now_ms(k->world) - q->sent_ms > k->message_timeout_ms;

    produce_answer(q, is_overdue && world_chance(k->world, 50));
    produce_unref(q);
}

static void produce_late(void *arg)
{
    struct produce *q = arg;

    produce_answer(q, true);
    produce_unref(q);
}

/* At the broker. A paused broker takes it up when it goes on; a record whose producer gave it up lands half of the time. */
static void produce_arrive(void *arg)
{
    struct produce *q = arg;
    struct model_kafka *k = q->from->kafka;

    if (q->from->is_holding) {
        *q->from->held_end = q;
        q->from->held_end = &q->next;
        return;
    }
    if (model_kafka_waits(k, produce_arrive, produce_unref, q)) return;
    if (!q->from->flushed && (q->from->cut || ((q->answered || q->from->gone) && world_chance(k->world, 50)))) {
        q->from->cut = q->from->gone;
        produce_unref(q);
        return;
    }
    q->offset = append(k, q->topic, q->record);
    q->record = NULL;
    if (q->from->gone) {
        produce_unref(q);
        return;
    }
    proc_post(q->from->proc, (int64_t)rng_below(world_rng(k->world), 3), produce_report, produce_unref, q);
}

static void produce_send(struct produce *q)
{
    struct model_producer *p = q->from;
    struct world *w = p->kafka->world;
    int64_t at = world_now_ms(w) + 1 + (int64_t)rng_below(world_rng(w), 3);

    if (at < p->arrive_ms) at = p->arrive_ms;
    p->arrive_ms = at;
    world_after(w, at - world_now_ms(w), produce_arrive, produce_unref, q);
}

static struct produce *take_held(struct model_producer *p)
{
    struct produce *q = p->held;

    p->held = NULL;
    p->held_end = &p->held;
    return q;
}

void model_producer_hold(struct model_producer *p, bool on)
{
    struct produce *next, *q = on ? NULL : take_held(p);

    p->is_holding = on;
    for (; q; q = next) {
        next = q->next;
        q->next = NULL;
        produce_send(q);
    }
}

static enum err_code port_publish(void *self, const struct record_out *rec, publish_fn *done, void *arg, struct err *err)
{
    struct model_producer *p = self;
    struct produce *q;

    assert(rec->partition >= 0 && rec->partition < p->kafka->partitions);
    if (p->under_way >= MODEL_QUEUE_MAX) return err_set(err, ERR_FULL, "kafka: the queue is full");
    if (rec->value.len > 1000000) return err_set(err, ERR_TOO_LARGE, "kafka: the record is over 1 MB");
    q = calloc(1, sizeof *q);
    assert(q);
    *q = (struct produce){.from = p, .done = done, .arg = arg, .offset = -1, .sent_ms = world_now_ms(p->kafka->world), .refs = 2};
    q->record = record_new(p->kafka, rec, &q->topic);
    p->refs++;
    p->under_way++;
    produce_send(q);
    proc_post(p->proc, p->kafka->message_timeout_ms, produce_late, produce_unref, q);
    return ERR_OK;
}

struct model_producer *model_producer_new(struct model_kafka *k, struct proc *p)
{
    struct model_producer *m = calloc(1, sizeof *m);

    assert(m);
    *m = (struct model_producer){.kafka = k, .proc = p, .refs = 1};
    m->held_end = &m->held;
    return m;
}

void model_producer_free(struct model_producer *p)
{
    struct produce *next, *q;

    if (!p) return;
    for (q = take_held(p); q; q = next) {
        next = q->next;
        produce_unref(q);
    }
    p->is_holding = false;
    p->gone = true;
    producer_unref(p);
}

void model_producer_flush(struct model_producer *p)
{
    p->flushed = true;
}

struct publish_port model_producer_port(struct model_producer *p)
{
    return (struct publish_port){.self = p, .publish = port_publish};
}

/* --- faults and looking ---------------------------------------------------------------------------------------------------- */
void model_kafka_pause(struct model_kafka *k)
{
    k->paused = true;
    k->paused_ms = world_now_ms(k->world);
}

void model_kafka_resume(struct model_kafka *k)
{
    bool is_long = world_now_ms(k->world) - k->paused_ms >= k->session_ms;

    if (!k->paused) return;
    k->paused = false;
    if (is_long && world_chance(k->world, 50)) model_group_evict(k); /* it looks at its clock before its sockets */
    waiting_end(k, false);
    model_group_wake(k);
}

void model_kafka_slow_fetch(struct model_kafka *k, enum topic t, int64_t up_to_ms)
{
    for (int i = 0; i < TOPIC_COUNT; i++)
        if (t == TOPIC_COUNT || t == (enum topic)i) k->fetch_lag_ms[i] = up_to_ms;
}

bool model_kafka_is_paused(const struct model_kafka *k)
{
    return k->paused;
}

int64_t model_kafka_end(const struct model_kafka *k, enum topic topic, int32_t partition)
{
    return (int64_t)k->logs[topic][partition].count;
}

bool model_kafka_record(const struct model_kafka *k, enum topic topic, int32_t partition, int64_t offset, struct record_in *ret)
{
    const struct model_log *l = &k->logs[topic][partition];

    if (offset < 0 || offset >= (int64_t)l->count) return false;
    *ret = l->records[offset]->rec;
    return true;
}

int64_t model_kafka_appended_ms(const struct model_kafka *k, enum topic topic, int32_t partition, int64_t offset)
{
    return k->logs[topic][partition].records[offset]->appended_ms;
}

int64_t model_kafka_committed(const struct model_kafka *k, enum topic topic, int32_t partition)
{
    const struct model_commit *c = &k->committed[topic][partition];

    return c->is_set ? c->offset : -1;
}
