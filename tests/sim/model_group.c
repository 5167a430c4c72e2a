/* The consumer group of the model Kafka.
 *
 * Hard: what the group believes and what a member believes differ for a while, and that while is where the bugs are. Chosen: the group's
 * truth is owner[]; a member has its own list of followed partitions that changes only when an envelope reaches it. Heartbeats are modelled by their
 * absence: a member that is dead or paused for longer than the session time-out is put out; one that wakes learns it by an envelope. */
#include "tests/sim/model_kafka_priv.h"

void model_consumer_unref(struct model_consumer *c)
{
    if (--c->refs == 0) free(c);
}

static void consumer_drop(void *arg)
{
    model_consumer_unref(arg);
}

int64_t model_kafka_soon(struct model_kafka *k, uint64_t below)
{
    return (int64_t)rng_below(world_rng(k->world), below);
}

static int member_index(const struct model_kafka *k, const struct model_consumer *c)
{
    for (int i = 0; i < MODEL_MEMBERS_MAX; i++)
        if (k->members[i] == c) return i;
    return -1;
}

/* --- telling a member ------------------------------------------------------------------------------------------------------- */
struct tell {
    struct model_consumer *to;
    int32_t partitions[MODEL_PARTITIONS_MAX];
    size_t count;
    enum { TELL_ASSIGNED, TELL_REVOKED, TELL_LOST } what;
};

static void tell_drop(void *arg)
{
    struct tell *t = arg;

    model_consumer_unref(t->to);
    free(t);
}

static void unfollow(struct model_consumer *c, int32_t p)
{
    c->mine[p] = false;
    for (int topic = 0; topic < TOPIC_COUNT; topic++) c->followed[topic][p].on = false;
}

static void tell_deliver(void *arg)
{
    struct tell *t = arg;
    struct model_consumer *c = t->to;

    if (t->what == TELL_LOST) c->lost_told++;
    if (!c->gone && t->count > 0) {
        for (size_t i = 0; i < t->count; i++) {
            if (t->what == TELL_ASSIGNED)
                c->mine[t->partitions[i]] = true;
            else
                unfollow(c, t->partitions[i]);
        }
        if (t->what == TELL_ASSIGNED)
            c->events->on_assigned(c->arg, t->partitions, t->count);
        else
            c->events->on_revoked(c->arg, t->partitions, t->count, t->what == TELL_LOST);
    }
    tell_drop(t);
}

static void tell(struct model_consumer *c, int what, const int32_t *partitions, size_t count)
{
    struct tell *t = calloc(1, sizeof *t);
    int64_t at;

    assert(t && count <= MODEL_PARTITIONS_MAX);
    t->to = c;
    t->what = what;
    t->count = count;
    memcpy(t->partitions, partitions, count * sizeof *partitions);
    c->refs++;
    at = world_now_ms(c->kafka->world) + 1 + model_kafka_soon(c->kafka, 20);
    if (at < c->tell_ms) at = c->tell_ms;
    c->tell_ms = at;
    proc_post(c->proc, at - world_now_ms(c->kafka->world), tell_deliver, tell_drop, t);
}

/* --- the coordinator ---------------------------------------------------------------------------------------------------------- */
static bool is_well(const struct model_consumer *c)
{
    return proc_is_alive(c->proc) && !proc_is_paused(c->proc) && !c->gone;
}

static size_t owned(const struct model_kafka *k, int member)
{
    size_t n = 0;

    for (int32_t p = 0; p < k->partitions; p++) n += k->owner[p] == member;
    return n;
}

static void give(struct model_kafka *k, int32_t p)
{
    int best = -1;

    for (int i = 0; i < MODEL_MEMBERS_MAX; i++)
        if (k->members[i] && !k->members[i]->leaving && (best < 0 || owned(k, i) < owned(k, best))) best = i;
    if (best < 0) return;
    k->owner[p] = best;
    tell(k->members[best], TELL_ASSIGNED, &p, 1);
}

/* Moves at most one partition from the fullest to the emptiest; it is given away in the next round, as cooperative groups do. */
static void level(struct model_kafka *k)
{
    int most = -1, least = -1;

    for (int i = 0; i < MODEL_MEMBERS_MAX; i++) {
        if (!k->members[i] || k->members[i]->leaving) continue;
        if (most < 0 || owned(k, i) > owned(k, most)) most = i;
        if (least < 0 || owned(k, i) < owned(k, least)) least = i;
    }
    if (most < 0 || owned(k, most) < owned(k, least) + 2) return;
    for (int32_t p = 0; p < k->partitions; p++)
        if (k->owner[p] == most) {
            k->owner[p] = -1;
            tell(k->members[most], TELL_REVOKED, &p, 1);
            break;
        }
}

static void put_out(struct model_kafka *k, int member)
{
    struct model_consumer *c = k->members[member];
    int32_t lost[MODEL_PARTITIONS_MAX];
    size_t n = 0;

    for (int32_t p = 0; p < k->partitions; p++)
        if (k->owner[p] == member) {
            k->owner[p] = -1;
            lost[n++] = p;
        }
    k->members[member] = NULL;
    c->in_group = false;
    if (!c->gone && !c->leaving) {
        c->lost++;
        tell(c, TELL_LOST, lost, n);
    }
    model_consumer_unref(c);
}

void model_group_free(struct model_kafka *k)
{
    for (int i = 0; i < MODEL_MEMBERS_MAX; i++)
        if (k->members[i]) model_consumer_unref(k->members[i]);
}

void model_group_evict(struct model_kafka *k)
{
    for (int i = 0; i < MODEL_MEMBERS_MAX; i++)
        if (k->members[i]) put_out(k, i);
}

static void join(struct model_consumer *c)
{
    for (int i = 0; i < MODEL_MEMBERS_MAX && !c->in_group; i++)
        if (!c->kafka->members[i]) {
            c->kafka->members[i] = c;
            c->in_group = true;
            c->silent_since = -1;
            c->refs++;
        }
}

static void beat(void *arg)
{
    struct model_consumer *c = arg;
    struct model_kafka *k = c->kafka;
    int i = member_index(k, c);

    if (c->gone && i < 0) {
        model_consumer_unref(c);
        return;
    }
    if (is_well(c) && !c->leaving) {
        c->silent_since = -1;
        if (i < 0) join(c); /* put out while it slept */
    } else if (c->silent_since < 0) {
        c->silent_since = world_now_ms(k->world);
    } else if (i >= 0 && world_now_ms(k->world) - c->silent_since >= k->session_ms) {
        put_out(k, i);
    }
    if (!k->paused) {
        for (int32_t p = 0; p < k->partitions; p++)
            if (k->owner[p] < 0 && world_chance(k->world, 80)) give(k, p);
        level(k);
    }
    world_after(k->world, 200 + model_kafka_soon(k, 200), beat, consumer_drop, c);
}

/* --- reading -------------------------------------------------------------------------------------------------------------------- */
/* A fetch that came back. A process that slept finds its socket closed, and fetches once more. */
struct fetch {
    struct model_consumer *to;
    enum topic topic; /* TOPIC_COUNT: of all that is followed */
    int32_t partition;
    int64_t upto, sent_ms;
};

enum { FETCH_STALE_MS = 500, FETCH_AGAIN_MS = 30 };

static void fetch_drop(void *arg)
{
    struct fetch *f = arg;

    model_consumer_unref(f->to);
    free(f);
}

static void fetch_all(struct model_consumer *c)
{
    for (int t = 0; t < TOPIC_COUNT; t++)
        for (int32_t p = 0; p < c->kafka->partitions; p++) c->followed[t][p].fetched = (int64_t)c->kafka->logs[t][p].count;
}

static void fetch_deliver(void *arg)
{
    struct fetch *f = arg;
    struct model_consumer *c = f->to;
    int64_t now = world_now_ms(c->kafka->world);

    if (!c->gone && now - f->sent_ms > FETCH_STALE_MS) {
        f->sent_ms = now;
        proc_post(c->proc, 1 + model_kafka_soon(c->kafka, FETCH_AGAIN_MS), fetch_deliver, fetch_drop, f);
        return;
    }
    if (!c->gone) {
        if (f->topic == TOPIC_COUNT)
            fetch_all(c);
        else if (f->upto > c->followed[f->topic][f->partition].fetched)
            c->followed[f->topic][f->partition].fetched = f->upto;
        c->events->on_readable(c->arg);
    }
    fetch_drop(f);
}

static void post_fetch(struct model_consumer *c, enum topic topic, int32_t partition, int64_t delay_ms)
{
    struct fetch *f = calloc(1, sizeof *f);

    assert(f);
    *f = (struct fetch){.to = c, .topic = topic, .partition = partition, .sent_ms = world_now_ms(c->kafka->world) + delay_ms};
    if (topic != TOPIC_COUNT) f->upto = (int64_t)c->kafka->logs[topic][partition].count;
    c->refs++;
    proc_post(c->proc, delay_ms, fetch_deliver, fetch_drop, f);
}

void model_group_appended(struct model_kafka *k, enum topic t, int32_t partition, int64_t delay_ms)
{
    for (int i = 0; i < MODEL_MEMBERS_MAX; i++)
        if (k->members[i] && k->members[i]->followed[t][partition].on) post_fetch(k->members[i], t, partition, delay_ms);
}

void model_group_wake(struct model_kafka *k)
{
    for (int i = 0; i < MODEL_MEMBERS_MAX; i++)
        if (k->members[i]) post_fetch(k->members[i], TOPIC_COUNT, 0, 1);
}

static bool port_read(void *self, enum topic topic, int32_t partition, intake_record_fn *handle, void *arg)
{
    struct model_consumer *c = self;
    struct follow *f = &c->followed[topic][partition];
    const struct model_log *l = &c->kafka->logs[topic][partition];
    struct record_in rec;

    if (!f->on || f->next >= f->fetched || f->next >= (int64_t)l->count) return false;
    rec = l->records[f->next++]->rec;
    handle(arg, &rec);
    return true;
}

static enum err_code port_follow(void *self, const struct intake_tp *tps, size_t count, struct err *err)
{
    struct model_consumer *c = self;

    (void)err;
    for (size_t i = 0; i < count; i++) {
        if (!c->mine[tps[i].partition]) continue;
        c->followed[tps[i].topic][tps[i].partition] = (struct follow){.on = true, .next = tps[i].offset < 0 ? 0 : tps[i].offset};
    }
    post_fetch(c, TOPIC_COUNT, 0, 1 + model_kafka_soon(c->kafka, 5));
    return ERR_OK;
}

/* --- positions and commits -------------------------------------------------------------------------------------------------------- */
struct positions {
    struct model_consumer *to;
    struct intake_position list[TOPIC_COUNT * MODEL_PARTITIONS_MAX];
    char *metadata[TOPIC_COUNT * MODEL_PARTITIONS_MAX];
    size_t count;
    int64_t asked_ms;
    bool is_late;
    intake_positions_fn *done;
    void *arg;
};

static void positions_drop(void *arg)
{
    struct positions *q = arg;

    for (size_t i = 0; i < q->count; i++) free(q->metadata[i]);
    model_consumer_unref(q->to);
    free(q);
}

static void positions_deliver(void *arg)
{
    struct positions *q = arg;
    const struct err late = {.code = ERR_TIMEOUT, .text = "kafka: no answer in time"};

    if (!q->to->gone) q->done(q->arg, q->is_late ? &late : NULL, q->is_late ? NULL : q->list, q->is_late ? 0 : q->count);
    positions_drop(q);
}

static void positions_answer(void *arg)
{
    struct positions *q = arg;
    struct model_kafka *k = q->to->kafka;

    if (model_kafka_waits(k, positions_answer, positions_drop, q)) return;
    q->is_late = world_now_ms(k->world) - q->asked_ms > MODEL_ASK_MS;
    for (size_t i = 0; i < q->count; i++) {
        struct intake_position *p = &q->list[i];
        const struct model_commit *m = &k->committed[p->topic][p->partition];

        p->committed = m->is_set ? m->offset : -1;
        q->metadata[i] = strdup(m->metadata ? m->metadata : "");
        p->metadata = view_of(q->metadata[i]);
        p->low = 0;
        p->high = (int64_t)k->logs[p->topic][p->partition].count;
    }
    proc_post(q->to->proc, 1 + model_kafka_soon(k, 10), positions_deliver, positions_drop, q);
}

static void port_positions(void *self, const struct intake_tp *tps, size_t count, intake_positions_fn *done, void *arg)
{
    struct model_consumer *c = self;
    struct positions *q = calloc(1, sizeof *q);

    assert(q && count <= TOPIC_COUNT * MODEL_PARTITIONS_MAX);
    q->to = c;
    q->asked_ms = world_now_ms(c->kafka->world);
    q->count = count;
    q->done = done;
    q->arg = arg;
    for (size_t i = 0; i < count; i++) q->list[i] = (struct intake_position){.topic = tps[i].topic, .partition = tps[i].partition};
    c->refs++;
    world_after(c->kafka->world, 1 + model_kafka_soon(c->kafka, 10), positions_answer, positions_drop, q);
}

struct commit {
    struct model_consumer *from;
    enum topic topic;
    int32_t partition;
    int64_t offset;
    char *metadata;
    unsigned lost; /* what the member knew when it committed */
    struct err err;
};

static void commit_drop(void *arg)
{
    struct commit *q = arg;

    model_consumer_unref(q->from);
    free(q->metadata);
    free(q);
}

static void commit_deliver(void *arg)
{
    struct commit *q = arg;

    if (!q->from->gone) q->from->events->on_commit(q->from->arg, q->topic, q->partition, q->offset, q->err.code ? &q->err : NULL);
    commit_drop(q);
}

/* As the real coordinator: any member of the group may commit any partition; who is not in it, or commits with what it had before it
 * was thrown out, may not. */
static void commit_arrive(void *arg)
{
    struct commit *q = arg;
    struct model_kafka *k = q->from->kafka;

    if (model_kafka_waits(k, commit_arrive, commit_drop, q)) return;
    if (member_index(k, q->from) < 0 || q->lost != q->from->lost || strlen(q->metadata) > 4096) {
        (void)err_set(&q->err, ERR_CONFLICT, "kafka: unknown member id");
    } else {
        struct model_commit *m = &k->committed[q->topic][q->partition];

        free(m->metadata);
        *m = (struct model_commit){.is_set = true, .offset = q->offset, .metadata = strdup(q->metadata)};
        world_mix(k->world, &q->offset, sizeof q->offset);
        if (k->on_commit) k->on_commit(k->on_commit_arg, q->topic, q->partition, q->offset, q->metadata);
    }
    proc_post(q->from->proc, 1 + model_kafka_soon(k, 5), commit_deliver, commit_drop, q);
}

static enum err_code port_commit(void *self, enum topic topic, int32_t partition, int64_t offset, struct view metadata, struct err *err)
{
    struct model_consumer *c = self;
    struct commit *q = calloc(1, sizeof *q);

    (void)err;
    assert(q);
    *q = (struct commit){.from = c, .topic = topic, .partition = partition, .offset = offset, .lost = c->lost_told};
    q->metadata = metadata.len ? view_dup(metadata) : strdup("");
    c->refs++;
    world_after(c->kafka->world, 1 + model_kafka_soon(c->kafka, 5), commit_arrive, commit_drop, q);
    return ERR_OK;
}

struct leave {
    struct model_consumer *who;
    void (*left)(void *arg);
    void *arg;
};

static void leave_drop(void *arg)
{
    struct leave *q = arg;

    model_consumer_unref(q->who);
    free(q);
}

static void leave_deliver(void *arg)
{
    struct leave *q = arg;

    if (!q->who->gone && q->left) q->left(q->arg);
    leave_drop(q);
}

static void leave_arrive(void *arg)
{
    struct leave *q = arg;
    struct model_kafka *k = q->who->kafka;
    int i = member_index(k, q->who);

    if (model_kafka_waits(k, leave_arrive, leave_drop, q)) return;
    if (i >= 0) put_out(k, i);
    proc_post(q->who->proc, 1 + model_kafka_soon(k, 20), leave_deliver, leave_drop, q);
}

static void port_leave(void *self, void (*left)(void *arg), void *arg)
{
    struct model_consumer *c = self;
    struct leave *q = calloc(1, sizeof *q);
    int32_t gone[MODEL_PARTITIONS_MAX];
    size_t n = 0;

    assert(q);
    *q = (struct leave){.who = c, .left = left, .arg = arg};
    c->leaving = true;
    for (int32_t p = 0; p < c->kafka->partitions; p++)
        if (c->mine[p]) gone[n++] = p;
    if (n > 0) tell(c, TELL_REVOKED, gone, n);
    c->refs++;
    world_after(c->kafka->world, 30 + model_kafka_soon(c->kafka, 20), leave_arrive, leave_drop, q);
}

struct model_consumer *model_consumer_new(struct model_kafka *k, struct proc *p, const struct model_consumer_events *events, void *arg)
{
    struct model_consumer *c = calloc(1, sizeof *c);

    assert(c);
    *c = (struct model_consumer){.kafka = k, .proc = p, .events = events, .arg = arg, .silent_since = -1, .refs = 2};
    join(c);
    world_after(k->world, 1 + model_kafka_soon(k, 50), beat, consumer_drop, c);
    return c;
}

void model_consumer_free(struct model_consumer *c)
{
    if (!c) return;
    c->gone = true;
    model_consumer_unref(c);
}

const char *model_kafka_owner(const struct model_kafka *k, int32_t partition)
{
    const struct model_consumer *c = k->owner[partition] < 0 ? NULL : k->members[k->owner[partition]];

    return c && !c->gone ? proc_name(c->proc) : NULL;
}

struct intake_port model_consumer_port(struct model_consumer *c)
{
    return (struct intake_port){.self = c,
                                .positions = port_positions,
                                .follow = port_follow,
                                .read = port_read,
                                .commit = port_commit,
                                .leave = port_leave};
}
