/* The judge's own reader. The rule it reads by, in its own words: a record of epoch e counts unless a `started` of a higher epoch stands
 * before it; of several ends the first that counts; of several checkpoints of a step and item the first that counts; behind the
 * end nothing counts. */
#include "tests/sim/judge_priv.h"

#include <assert.h>

bool judge_is_intake(enum topic t)
{
    return t < TOPIC_STATE;
}

static struct judged *judged_of(struct judge *j, struct view id)
{
    struct judged *d = map_get(j->by_id, id);

    if (d) return d;
    d = calloc(1, sizeof *d);
    assert(d && j->count < JUDGE_JOBS_MAX);
    must(view_copy(id, d->id, sizeof d->id) && map_put(j->by_id, id, d));
    d->first_state = -1;
    d->end = JOB_STATUS_COUNT;
    j->jobs[j->count++] = d;
    return d;
}

static int64_t number(const struct record_in *rec, const char *name, int64_t absent)
{
    int64_t n;

    return view_i64(record_header(rec, name), &n) ? n : absent;
}

static void *grown(void *list, size_t count, size_t size)
{
    if (count & (count - 1)) return list; /* room up to the next power of two */
    list = realloc(list, (count ? count * 2 : 1) * size);
    assert(list && count < JUDGE_LIST_MAX);
    return list;
}

static void read_intake(struct judge *j, enum topic t, const struct record_in *rec)
{
    struct judged *d = judged_of(j, record_header(rec, "job-id"));
    struct judged_record r = {.topic = t, .offset = rec->offset, .epoch = number(rec, "epoch", 0), .seq = number(rec, "seq", 0)};
    size_t *max = &j->by_offset_max[t][rec->partition];

    d->home = rec->partition;
    (void)view_copy(record_header(rec, "fp"), r.fp, sizeof r.fp);
    if (!d->deadline_ms) d->deadline_ms = number(rec, "deadline-ms", 0);
    if (!d->tenant[0]) (void)view_copy(record_header(rec, "tenant"), d->tenant, sizeof d->tenant);
    if (!d->key[0]) (void)view_copy(record_header(rec, "key"), d->key, sizeof d->key);
    d->records = grown(d->records, d->record_count, sizeof *d->records);
    d->records[d->record_count++] = r;
    if ((size_t)rec->offset >= *max) {
        *max = *max ? *max * 2 : 64;
        j->by_offset[t][rec->partition] = realloc(j->by_offset[t][rec->partition], *max * sizeof(struct judged *));
        assert(j->by_offset[t][rec->partition]);
    }
    j->by_offset[t][rec->partition][rec->offset] = d;
}

static void read_started(struct judged *d, const struct record_in *rec, int64_t epoch, int64_t at_ms)
{
    if (epoch <= d->epoch) {
        d->void_count++;
        return;
    }
    d->epoch = epoch;
    if (d->has_end) return;
    d->starts = grown(d->starts, d->start_count, sizeof *d->starts);
    d->starts[d->start_count] = (struct judged_start){.epoch = epoch, .offset = rec->offset, .at_ms = at_ms};
    (void)view_copy(record_header(rec, "worker"), d->starts[d->start_count].worker, sizeof d->starts[0].worker);
    d->start_count++;
}

static void read_checkpoint(struct judged *d, const struct record_in *rec, int64_t at_ms)
{
    struct judged_checkpoint c = {.item = number(rec, "item", -1), .at_ms = at_ms, .value = rec->value};

    must(view_copy(record_header(rec, "step"), c.step, sizeof c.step));
    for (size_t i = 0; i < d->checkpoint_count; i++)
        if (d->checkpoints[i].item == c.item && strcmp(d->checkpoints[i].step, c.step) == 0) return;
    d->checkpoints = grown(d->checkpoints, d->checkpoint_count, sizeof *d->checkpoints);
    d->checkpoints[d->checkpoint_count++] = c;
}

static void read_end(struct judged *d, const struct record_in *rec, enum job_status status, int64_t epoch)
{
    struct view error, code;
    struct buf text;

    d->has_end = true;
    d->end = status;
    d->end_id = (struct event_id){(uint64_t)epoch, (uint64_t)number(rec, "seq", 0)};
    d->end_offset = rec->offset;
    d->end_wall_ms = rec->timestamp_ms;
    d->end_value = rec->value;
    buf_init(&text, sizeof d->error);
    if (json_raw_member(rec->value, VIEW_LIT("error"), &error) && json_raw_kind(error) == JSON_RAW_OBJECT &&
        json_raw_member(error, VIEW_LIT("code"), &code) && json_raw_string(code, &text))
        (void)view_copy(buf_view(&text), d->error, sizeof d->error);
    buf_fini(&text);
}

static void read_handoff(struct judged *d, int64_t epoch)
{
    for (size_t i = 0; i < d->start_count; i++)
        if (d->starts[i].epoch == epoch && !d->starts[i].is_handed) {
            d->starts[i].is_handed = true;
            d->handoffs++;
        }
}

static void read_state(struct judge *j, const struct record_in *rec)
{
    struct judged *d = judged_of(j, record_header(rec, "job-id"));
    struct view kind = record_header(rec, "kind");
    int64_t epoch = number(rec, "epoch", 0), at_ms = model_kafka_appended_ms(j->plant->kafka, TOPIC_STATE, rec->partition, rec->offset);
    enum job_status status;
    bool is_foreign = view_eq_str(kind, "cancel") && d->tenant[0] && !view_eq_str(record_header(rec, "tenant"), d->tenant);

    d->home = rec->partition;
    if (is_foreign) return; /* a stranger's cancel is nothing */
    if (d->first_state < 0) d->first_state = rec->offset;
    if (view_eq_str(kind, "started")) {
        read_started(d, rec, epoch, at_ms);
    } else if (view_eq_str(kind, "cancel")) {
        if (!d->has_end) d->was_canceled = true;
    } else if (view_eq_str(kind, "signal")) {
        return;
    } else if (epoch < d->epoch || d->has_end) {
        d->void_count++;
    } else if (view_eq_str(kind, "checkpoint")) {
        read_checkpoint(d, rec, at_ms);
    } else if (view_eq_str(kind, "parked") || view_eq_str(kind, "yielded")) {
        read_handoff(d, epoch);
    } else if (job_status_parse(kind, &status) && job_status_is_terminal(status)) {
        read_end(d, rec, status, epoch);
        d->end_ms = at_ms;
    } else {
        plant_blame(j->plant, "A: a record of no known kind in state[%d]", (int)rec->partition);
    }
}

void judge_read(struct judge *j)
{
    struct record_in rec;

    for (enum topic t = 0; t <= TOPIC_DLQ; t++)
        for (int32_t p = 0; p < model_kafka_partitions(j->plant->kafka); p++)
            while (model_kafka_record(j->plant->kafka, t, p, j->next[t][p], &rec)) {
                j->next[t][p]++;
                if (judge_is_intake(t)) read_intake(j, t, &rec);
                if (t == TOPIC_STATE) read_state(j, &rec);
                if (t == TOPIC_DLQ) judged_of(j, record_header(&rec, "job-id"))->dead_letters++;
            }
}

struct judge *judge_new(struct plant *p)
{
    struct judge *j = calloc(1, sizeof *j);

    assert(j);
    j->plant = p;
    j->by_id = map_new(JUDGE_JOBS_MAX);
    assert(j->by_id);
    model_kafka_on_commit(p->kafka, judge_on_commit, j);
    return j;
}

void judge_free(struct judge *j)
{
    for (size_t i = 0; i < j->count; i++) {
        free(j->jobs[i]->records);
        free(j->jobs[i]->starts);
        free(j->jobs[i]->checkpoints);
        free(j->jobs[i]);
    }
    for (int t = 0; t < TOPIC_COUNT; t++)
        for (int p = 0; p < 16; p++) free(j->by_offset[t][p]);
    map_free(j->by_id);
    free(j);
}

struct judged *judge_find(struct judge *j, const char *id)
{
    judge_read(j);
    return map_get(j->by_id, view_of(id));
}

/* --- looking -------------------------------------------------------------------------------------------------------------- */
enum job_status judged_end(const struct judged *d)
{
    return d->end;
}

size_t judged_starts(const struct judged *d)
{
    return d->start_count;
}

size_t judged_lost_starts(const struct judged *d)
{
    size_t n = 0;

    for (size_t i = 0; i < d->start_count; i++) n += !d->starts[i].is_handed;
    return n;
}

size_t judged_handoffs(const struct judged *d)
{
    return d->handoffs;
}

size_t judged_void(const struct judged *d)
{
    return d->void_count;
}

bool judged_runner(const struct judged *d, char ret[32])
{
    struct view name, boot;

    return d->start_count > 0 && view_cut(view_of(d->starts[d->start_count - 1].worker), ':', &name, &boot) && view_copy(name, ret, 32);
}

size_t judged_checkpoints(const struct judged *d)
{
    return d->checkpoint_count;
}

int32_t judged_home(const struct judged *d)
{
    return d->home;
}

int64_t judged_start_epoch(const struct judged *d, size_t index)
{
    return index < d->start_count ? d->starts[index].epoch : 0;
}

size_t judged_records(const struct judged *d)
{
    return d->record_count;
}

const char *judged_error(const struct judged *d)
{
    return d->error;
}

size_t judge_dead_letters(struct judge *j, const char *id)
{
    const struct judged *d = judge_find(j, id);

    return d ? d->dead_letters : 0;
}

int64_t judged_first_start_ms(const struct judged *d)
{
    return d->start_count ? d->starts[0].at_ms : -1;
}

size_t judge_starts_between(struct judge *j, int64_t from_ms, int64_t to_ms)
{
    size_t n = 0;

    judge_read(j);
    for (size_t i = 0; i < j->count; i++) {
        int64_t at = judged_first_start_ms(j->jobs[i]);

        n += at > from_ms && at <= to_ms;
    }
    return n;
}

/* Jobs of a key lie in one home, so their order in its log is the order of what happened. */
static size_t key_at_once(const struct judge *j, const struct judged *d)
{
    size_t n = 0;

    for (size_t i = 0; i < j->count; i++) {
        const struct judged *o = j->jobs[i];

        n += o->start_count && strcmp(o->key, d->key) == 0 && strcmp(o->tenant, d->tenant) == 0 &&
             o->starts[0].offset <= d->starts[0].offset && (!o->has_end || o->end_offset > d->starts[0].offset);
    }
    return n;
}

size_t judge_key_most(struct judge *j, const char *key)
{
    size_t most = 0;

    judge_read(j);
    for (size_t i = 0; i < j->count; i++) {
        const struct judged *d = j->jobs[i];
        size_t n = d->start_count && strncmp(d->key, key, strlen(key)) == 0 ? key_at_once(j, d) : 0;

        if (n > most) most = n;
    }
    return most;
}

size_t judged_calls(const struct judged *d, struct plant *p, const char *step, enum call_outcome outcome)
{
    char prefix[160];
    size_t n = 0;

    snprintf(prefix, sizeof prefix, "%s/%s/", d->id, step);
    for (size_t i = 0; i < model_provider_calls(p->provider); i++) {
        const struct call_entry *e = model_provider_call(p->provider, i);

        n += e->outcome == outcome && strncmp(e->identity, prefix, strlen(prefix)) == 0;
    }
    return n;
}
