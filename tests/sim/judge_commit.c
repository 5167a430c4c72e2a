/* Promise E while the world runs: at no moment may what is committed let go of a job that has not ended. A restart begins from what is
 * committed; so for every unended job at least one of its records must still be incomplete there, and state[p] must be read
 * from its first record or before. */
#include "tests/sim/judge_priv.h"

#include "common/base/hash.h"
#include <assert.h>

struct marks { /* which offsets a commit calls complete */
    int64_t base, top; /* below base: complete; above top: not read */
    int64_t open[4096];
    size_t open_count;
};

static bool varint(struct view *rest, int64_t *ret)
{
    uint64_t n = 0;

    for (unsigned shift = 0; rest->len > 0 && shift < 63; shift += 7) {
        unsigned char c = (unsigned char)*rest->ptr;

        *rest = view_make(rest->ptr + 1, rest->len - 1);
        n |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) {
            *ret = (int64_t)n;
            return true;
        }
    }
    return false;
}

static bool decode(int64_t offset, const char *metadata, struct marks *m)
{
    struct buf bytes;
    struct view rest;
    int64_t span, gap, at = offset;
    bool is_good = strncmp(metadata, "v1.", 3) == 0;

    m->base = offset;
    m->top = offset - 1;
    m->open_count = 0;
    if (!metadata[0]) return true;
    buf_init(&bytes, 8192);
    is_good = is_good && base64url_decode(view_of(metadata + 3), &bytes) && bytes.len > 3;
    rest = is_good ? view_make(bytes.data + 3, bytes.len - 3) : VIEW_NONE;
    is_good = is_good && varint(&rest, &span);
    if (is_good) {
        m->top = offset + span;
        m->open[m->open_count++] = offset;
        while (rest.len > 0 && is_good && m->open_count < 4096) {
            is_good = varint(&rest, &gap) && gap > 0;
            m->open[m->open_count++] = at += gap;
        }
    }
    buf_fini(&bytes);
    return is_good;
}

static bool is_complete(const struct marks *m, int64_t offset)
{
    if (offset < m->base) return true;
    if (offset > m->top) return false;
    for (size_t i = 0; i < m->open_count; i++)
        if (m->open[i] == offset) return false;
    return true;
}

static struct judged_record *record_of(struct judged *d, enum topic t, int64_t offset)
{
    for (size_t i = 0; i < d->record_count; i++)
        if (d->records[i].topic == t && d->records[i].offset == offset) return &d->records[i];
    return NULL;
}

static bool holds_on(const struct judged *d)
{
    for (size_t i = 0; i < d->record_count; i++)
        if (!d->records[i].is_complete) return true;
    return false;
}

static void on_intake(struct judge *j, enum topic t, int32_t p, const struct marks *m)
{
    for (int64_t at = 0; at < j->next[t][p]; at++) {
        struct judged *d = j->by_offset[t][p][at];
        struct judged_record *r = record_of(d, t, at);
        bool was_complete;

        if (!r) continue;
        was_complete = r->is_complete;
        r->is_complete = is_complete(m, at);
        if (r->is_complete && !was_complete && !d->has_end && !holds_on(d))
            plant_blame(j->plant, "E: job %s has not ended, and the commit of %s[%d] lets go of its last record %lld", d->id,
                        j->plant->topics.names[t], (int)p, (long long)at);
    }
}

static void on_state(struct judge *j, int32_t p, int64_t offset)
{
    for (size_t i = 0; i < j->count; i++) {
        const struct judged *d = j->jobs[i];

        if (d->home == p && !d->has_end && d->record_count > 0 && d->first_state >= 0 && d->first_state < offset)
            plant_blame(j->plant, "E: job %s has not ended, and state[%d] is committed at %lld, past its first record %lld", d->id, (int)p,
                        (long long)offset, (long long)d->first_state);
    }
}

/* A tenant's counter is what its quota hangs on: at every moment it says how many of its entries have no end. */
static void on_counts(struct judge *j)
{
    for (size_t i = 0; i < PLANT_TENANTS; i++) {
        char key[40];
        const char *const argv[] = {"GET", key};
        int64_t open = model_redis_open_jobs(j->plant->redis, plant_tenants[i]), says;

        snprintf(key, sizeof key, "q:{%s}", plant_tenants[i]);
        says = reply_int(model_redis_ask(j->plant->redis, argv, 2), 0);
        if (says != open)
            plant_blame(j->plant, "E: %s has %lld jobs without an end in Redis, and its counter says %lld", plant_tenants[i], (long long)open,
                        (long long)says);
    }
}

/* What a gateway pages through may have no hole, whatever is told to whoever meets one. */
static void on_streams(struct judge *j)
{
    char hole[96];

    model_redis_hole(j->plant->redis, hole);
    if (hole[0]) plant_blame(j->plant, "B: the stream %s has a hole", hole);
}

void judge_on_commit(void *judge, enum topic topic, int32_t partition, int64_t offset, const char *metadata)
{
    struct judge *j = judge;
    struct marks m;

    judge_read(j);
    on_counts(j);
    on_streams(j);
    world_trace(j->plant->world, "committed %s[%d] at %lld %s", j->plant->topics.names[topic], (int)partition, (long long)offset, metadata);
    if (offset > model_kafka_end(j->plant->kafka, topic, partition))
        plant_blame(j->plant, "E: %s[%d] is committed past its end", j->plant->topics.names[topic], (int)partition);
    if (!decode(offset, metadata, &m)) {
        plant_blame(j->plant, "E: the metadata of a commit of %s[%d] cannot be read", j->plant->topics.names[topic], (int)partition);
    } else if (judge_is_intake(topic)) {
        on_intake(j, topic, partition, &m);
    } else if (topic == TOPIC_STATE) {
        on_state(j, partition, offset);
    }
}

bool judge_all_ended(struct judge *j)
{
    judge_read(j);
    for (size_t i = 0; i < j->count; i++)
        if (!j->jobs[i]->has_end && j->jobs[i]->record_count > 0) return false;
    return true;
}

bool judge_all_committed(struct judge *j)
{
    for (enum topic t = 0; t <= TOPIC_STATE; t++)
        for (int32_t p = 0; p < model_kafka_partitions(j->plant->kafka); p++) {
            int64_t end = model_kafka_end(j->plant->kafka, t, p);

            if (end > 0 && model_kafka_committed(j->plant->kafka, t, p) != end) return false;
        }
    return true;
}
