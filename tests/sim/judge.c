#define _GNU_SOURCE /* memmem */
/* The judgement when all is over: promises A to E, each from at least two sides. */
#include "tests/sim/judge_priv.h"

#include "common/base/hash.h"
#include <assert.h>

enum { CANCEL_CALM_MS = 1500, CANCEL_MS = 40000 };

struct verdict {
    struct judge *j;
    struct crowd *crowd;
    const struct judge_expect *expect;
};

static const char *end_name(const struct judged *d)
{
    return d->has_end ? job_status_name(d->end) : "nothing";
}

static struct view member(struct view object, const char *name)
{
    struct view v = VIEW_NONE;

    if (!json_raw_member(object, view_of(name), &v)) return VIEW_NONE;
    return v;
}

static bool text_is(struct view raw, const char *text)
{
    return raw.len == strlen(text) + 2 && memcmp(raw.ptr + 1, text, strlen(text)) == 0;
}

/* --- A: one end, the same for everybody --------------------------------------------------------------------------------------- */
static bool has_burning_call(const struct verdict *v, const struct judged *d)
{
    for (size_t i = 0; i < model_provider_calls(v->j->plant->provider); i++) {
        const struct call_entry *e = model_provider_call(v->j->plant->provider, i);

        if (strncmp(e->identity, d->id, JOB_ID_LEN) == 0 && (e->burns || e->outcome == CALL_BROKEN)) return true;
    }
    return false;
}

static void judge_cancel(const struct verdict *v, const struct judged *d, const struct crowd_job *c);

static void judge_reason(const struct verdict *v, const struct judged *d)
{
    struct plant *p = v->j->plant;
    bool is_wished = false;

    for (size_t i = 0; i < crowd_count(v->crowd); i++) {
        const struct crowd_job *other = crowd_job(v->crowd, i);

        is_wished = is_wished || (strcmp(other->id, d->id) == 0 && other->has_asked_cancel);
    }
    if (d->end == JOB_CANCELED && !is_wished) plant_blame(p, "A: job %s was canceled, and nobody who may had asked for it", d->id);
    if (d->end == JOB_EXPIRED && !(d->deadline_ms > 0)) plant_blame(p, "A: job %s expired without a deadline", d->id);
    if (d->end != JOB_FAILED) return;
    if (strcmp(d->error, "attempts_exhausted") == 0) {
        if (judged_lost_starts(d) < 3) plant_blame(p, "A: job %s: its attempts are used up after %zu", d->id, judged_lost_starts(d));
        if (d->dead_letters == 0) plant_blame(p, "A: job %s: its attempts are used up, and the DLQ has no letter", d->id);
    } else if (!has_burning_call(v, d)) {
        plant_blame(p, "A: job %s failed with %s, and no call of it did", d->id, d->error);
    }
}

static void judge_get(const struct verdict *v, const struct judged *d, const struct crowd_job *c)
{
    /* metadata, the last, is not in the end of a job that nobody ran to its end: its value is not looked at */
    static const char *const members[] = {"status", "workflow", "class", "output", "error", "ended_at", "usage", "cost", "metadata"};
    struct plant *p = v->j->plant;
    struct view shown;

    if (!c->final || !c->final->is_done) return;
    shown = buf_view(&c->final->body);
    if (c->final->status != 200) {
        plant_blame(p, "A: job %s ended %s, and its GET answers %d", d->id, end_name(d), c->final->status);
        return;
    }
    for (size_t i = 0; i < sizeof members / sizeof *members - (d->end == JOB_SUCCEEDED ? 0 : 1); i++)
        if (!view_eq(member(shown, members[i]), member(d->end_value, members[i])))
            plant_blame(p, "A: job %s ended %s in the log; its GET shows another %s: %.*s", d->id, end_name(d), members[i],
                        (int)member(shown, members[i]).len, member(shown, members[i]).ptr);
}

/* A job that succeeded has no step that is still under way. */
static void judge_steps(const struct verdict *v, const struct judged *d, const struct crowd_job *c)
{
    struct view steps = member(buf_view(&c->final->body), "steps"), step;

    for (size_t i = 0; d->end == JOB_SUCCEEDED && json_raw_element(steps, i, &step); i++) {
        struct view status = member(step, "status");

        if (text_is(status, "completed") || text_is(status, "skipped") || text_is(status, "failed")) continue;
        plant_blame(v->j->plant, "A: job %s succeeded, and its GET shows a step %.*s: %.*s", d->id, (int)status.len, status.ptr,
                    (int)member(step, "id").len, member(step, "id").ptr);
    }
}

/* The first record of an id is the job; who was told 202 for another payload was lied to. */
static void judge_payload(const struct verdict *v, const struct judged *d, const struct crowd_job *c)
{
    unsigned char sum[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];

    if (c->repeat_of) return;
    hash_sha256(view_of(c->body), sum);
    hash_hex(sum, sizeof sum, hex);
    for (size_t i = 0; i < d->record_count; i++)
        if (d->records[i].epoch == 0 && strcmp(d->records[i].fp, hex) == 0) return;
    plant_blame(v->j->plant, "A: job %s of client %zu was accepted, and no record has its payload", d->id, c->index);
}

static void judge_key(const struct verdict *v, const struct crowd_job *c)
{
    for (size_t i = 0; i < c->index; i++) {
        const struct crowd_job *other = crowd_job(v->crowd, i);

        if (!c->key[0] || other->tenant != c->tenant || strcmp(other->key, c->key) != 0) continue;
        if (c->is_accepted && other->is_accepted && strcmp(c->id, other->id) != 0)
            plant_blame(v->j->plant, "A: one key, two jobs: %s and %s", c->id, other->id);
        if (c->is_accepted && other->is_accepted && strcmp(c->body, other->body) != 0)
            plant_blame(v->j->plant, "A: job %s: two payloads under one key were both accepted", c->id);
        if (c->is_mismatch && other->is_accepted && strcmp(c->body, other->body) == 0)
            plant_blame(v->j->plant, "A: job %s: the same payload under the same key was called another", other->id);
    }
}

static void judge_accepted(const struct verdict *v, const struct crowd_job *c)
{
    const struct judged *d = map_get(v->j->by_id, view_of(c->id));
    struct view status;

    if (!d || d->record_count == 0) {
        plant_blame(v->j->plant, "A: job %s was accepted, and no log has it", c->id);
        return;
    }
    judge_payload(v, d, c);
    judge_key(v, c);
    if (!d->has_end) return; /* blamed for all jobs of the log */
    judge_get(v, d, c);
    if (c->final && c->final->is_done) judge_steps(v, d, c);
    judge_cancel(v, d, c);
    status = member(buf_view(&c->answer), "status");
    if (c->mode == CROWD_WAIT && c->status == 200 && !text_is(status, end_name(d)))
        plant_blame(v->j->plant, "A: job %s ended %s, and who waited for it was told %.*s", d->id, end_name(d), (int)status.len, status.ptr);
}

static void judge_redis(const struct verdict *v, const struct judged *d)
{
    char key[80];
    const char *const argv[] = {"HMGET", key, "st", "ow", "rs"};
    const struct reply *r;
    struct view st;

    snprintf(key, sizeof key, "j:{%s}:m", d->id);
    r = model_redis_ask(v->j->plant->redis, argv, 5);
    st = reply_str(reply_at(r, 0));
    if (!view_eq_str(st, end_name(d)))
        plant_blame(v->j->plant, "A: job %s ended %s, and Redis says %.*s", d->id, end_name(d), (int)st.len, st.ptr ? st.ptr : "");
    if (reply_str(reply_at(r, 1)).len > 0) plant_blame(v->j->plant, "E: job %s ended, and somebody still holds its lease", d->id);
}

/* --- D: lists show all that is one's own, and nothing else ----------------------------------------------------------------------- */
static void judge_lists(const struct verdict *v)
{
    for (size_t i = 0; i < crowd_count(v->crowd); i++) {
        const struct crowd_job *c = crowd_job(v->crowd, i);

        for (size_t t = 0; t < PLANT_TENANTS && c->is_accepted; t++) {
            const struct crowd_get *list = crowd_list(v->crowd, t);
            bool is_there = list->body.len > 0 && memmem(list->body.data, list->body.len, c->id, strlen(c->id));

            if (is_there && t != c->tenant) plant_blame(v->j->plant, "D: job %s stands in the list of %s", c->id, plant_tenants[t]);
            if (!is_there && t == c->tenant) plant_blame(v->j->plant, "A: job %s is not in its tenant's list (%d)", c->id, list->status);
        }
    }
}

/* An acknowledged cancel is heard: within seconds when nothing is done to the world, before long in any case. */
static void judge_cancel(const struct verdict *v, const struct judged *d, const struct crowd_job *c)
{
    int64_t late_ms = v->expect->is_calm ? CANCEL_CALM_MS : CANCEL_MS;

    if (c->canceled_ms < 0) return;
    if (d->has_end && d->end != JOB_CANCELED && d->end_ms > c->canceled_ms + late_ms)
        plant_blame(v->j->plant, "A: job %s: its cancel was acknowledged, and %lld ms later it ended %s", d->id,
                    (long long)(d->end_ms - c->canceled_ms), end_name(d));
    for (size_t i = 0; v->expect->is_calm && i < model_provider_calls(v->j->plant->provider); i++) {
        const struct call_entry *e = model_provider_call(v->j->plant->provider, i);

        if (strncmp(e->identity, d->id, JOB_ID_LEN) == 0 && e->ended_ms > c->canceled_ms + late_ms)
            plant_blame(v->j->plant, "C: the call %s goes on %lld ms after its job's cancel", e->identity,
                        (long long)(e->ended_ms - c->canceled_ms));
    }
}

/* --- B: the same stream for everybody ------------------------------------------------------------------------------------------ */
static void judge_two(const struct verdict *v, const struct crowd_watch *a, const struct crowd_watch *b)
{
    for (size_t i = 0, k = 0; i < a->seen_count && k < b->seen_count;) {
        const struct crowd_seen *x = &a->seen[i], *y = &b->seen[k];
        bool is_own = x->type == EVENT_RESET || y->type == EVENT_RESET || x->type == EVENT_JOB_SNAPSHOT || y->type == EVENT_JOB_SNAPSHOT;
        /* Two records of one key have two times of creation; which one the view has may change with a wipe. */
        is_own = is_own || (x->type == EVENT_JOB_QUEUED && a->job->key[0]);
        bool is_same = x->id.epoch == y->id.epoch && x->id.seq == y->id.seq;

        if (is_same && !is_own && (x->type != y->type || !view_eq(view_make(x->data, x->len), view_make(y->data, y->len))))
            if (a->is_ndjson == b->is_ndjson) {
                plant_blame(v->j->plant, "B: job %s: two watchers saw two events under %llu-%llu", a->job->id,
                            (unsigned long long)x->id.epoch, (unsigned long long)x->id.seq);
                return;
            }
        if (is_same) {
            i++;
            k++;
        } else if (x->id.seq < y->id.seq || (x->id.seq == y->id.seq && x->id.epoch < y->id.epoch)) {
            i++;
        } else {
            k++;
        }
    }
}

static void judge_watch(const struct verdict *v, const struct judged *d, const struct crowd_watch *w)
{
    const struct crowd_seen *last = w->seen_count ? &w->seen[w->seen_count - 1] : NULL;

    if (!w->has_end || !last) return; /* the world did not end: blamed there */
    if (last->id.epoch != d->end_id.epoch || last->id.seq != d->end_id.seq || last->type != event_type_of_status(d->end))
        plant_blame(v->j->plant, "B: job %s ended %s under %llu-%llu in the log; a watcher saw %s under %llu-%llu", d->id, end_name(d),
                    (unsigned long long)d->end_id.epoch, (unsigned long long)d->end_id.seq, event_type_name(last->type),
                    (unsigned long long)last->id.epoch, (unsigned long long)last->id.seq);
    else if (!view_eq(member(view_make(last->data, last->len), "output"), member(d->end_value, "output")))
        plant_blame(v->j->plant, "B: job %s: the end that a watcher saw has another output than the log", d->id);
    if (v->expect->is_calm && w->resets > 0 && !v->expect->are_streams_short) plant_blame(v->j->plant, "B: job %s: a reset, and nothing was lost", d->id);
}

static void judge_watches(const struct verdict *v, const struct crowd_job *c)
{
    const struct judged *d = map_get(v->j->by_id, view_of(c->id));

    if (!d || !d->has_end) return;
    for (const struct crowd_watch *w = c->first_watch; w; w = w->next) {
        judge_watch(v, d, w);
        for (const struct crowd_watch *other = w->next; other; other = other->next) judge_two(v, w, other);
    }
}

/* --- C: paid once -------------------------------------------------------------------------------------------------------------------- */
struct identity {
    char id[40], step[STEP_ID_MAX];
    int64_t item, attempt;
};

static bool read_identity(const char *text, struct identity *ret)
{
    struct view rest = view_of(text), id, step, item;

    return view_cut(rest, '/', &id, &rest) && view_cut(rest, '/', &step, &rest) && view_cut(rest, '/', &item, &rest) &&
           view_copy(id, ret->id, sizeof ret->id) && view_copy(step, ret->step, sizeof ret->step) &&
           (view_i64(item, &ret->item) || (ret->item = -1, view_eq_str(item, "-"))) && view_i64(rest, &ret->attempt);
}

static const struct judged_checkpoint *checkpoint_of(const struct judged *d, const struct identity *who)
{
    for (size_t i = 0; d && i < d->checkpoint_count; i++)
        if (d->checkpoints[i].item == who->item && strcmp(d->checkpoints[i].step, who->step) == 0) return &d->checkpoints[i];
    return NULL;
}

static int64_t step_attempts(const struct verdict *v, const struct crowd_job *c, const char *step)
{
    const struct workflow *wf = c ? workflows_find(v->j->plant->workflows, view_of(c->workflow), 1) : NULL;
    int at = wf ? workflow_step_find(wf, view_of(step)) : -1;

    return at >= 0 ? wf->steps[at].retry.max_attempts : 3;
}

static const struct judged *inherited_from(const struct verdict *v, const struct crowd_job *c)
{
    return c && c->repeat_of ? map_get(v->j->by_id, view_of(c->repeat_of->id)) : NULL;
}

static void judge_call(const struct verdict *v, size_t index)
{
    struct plant *p = v->j->plant;
    const struct call_entry *e = model_provider_call(p->provider, index);
    struct identity who;
    const struct judged_checkpoint *mine, *old;
    const struct crowd_job *c;
    const struct judged *d;

    if (!read_identity(e->identity, &who)) {
        plant_blame(p, "C: a call without an identity: %s", e->identity);
        return;
    }
    d = map_get(v->j->by_id, view_of(who.id));
    c = crowd_find(v->crowd, view_of(who.id));
    mine = checkpoint_of(d, &who);
    if (!d || d->start_count == 0) plant_blame(p, "C: the call %s of a job that was never started", e->identity);
    if (mine && e->started_ms > mine->at_ms)
        plant_blame(p, "C: the call %s by %s began %lld ms after the checkpoint of its step stood in the log", e->identity, e->client,
                    (long long)(e->started_ms - mine->at_ms));
    old = checkpoint_of(inherited_from(v, c), &who);
    if (old && text_is(member(old->value, "status"), "completed"))
        plant_blame(p, "C: the call %s, and the job it repeats had that step's output", e->identity);
    if (v->expect->is_calm && (who.attempt - 1) % step_attempts(v, c, who.step) != 0) plant_blame(p, "C: the call %s in a world without faults", e->identity);
}

/* Whole replies of one start of a job: at most one a step and item; and what the log holds is what one of them said. */
static void judge_whole(const struct verdict *v, size_t index)
{
    struct plant *p = v->j->plant;
    const struct call_entry *e = model_provider_call(p->provider, index);
    struct identity who, other;

    if (e->outcome != CALL_WHOLE || !read_identity(e->identity, &who)) return;
    int64_t max = step_attempts(v, crowd_find(v->crowd, view_of(who.id)), who.step);
    for (size_t i = 0; i < index; i++) {
        const struct call_entry *f = model_provider_call(p->provider, i);

        if (f->outcome != CALL_WHOLE || strncmp(f->identity, e->identity, JOB_ID_LEN) != 0 || !read_identity(f->identity, &other)) continue;
        if (other.item == who.item && strcmp(other.step, who.step) == 0 && (other.attempt - 1) / max == (who.attempt - 1) / max)
            plant_blame(p, "C: %s was paid for twice by one start of its job, as %s before", e->identity, f->identity);
    }
}

static bool is_said(const struct verdict *v, const struct judged *d, const struct judged_checkpoint *ck, struct view output)
{
    struct buf text;
    struct identity who;
    bool is_found = false;

    buf_init(&text, 1 << 16);
    for (size_t i = 0; i < model_provider_calls(v->j->plant->provider) && !is_found; i++) {
        const struct call_entry *e = model_provider_call(v->j->plant->provider, i);

        if (e->outcome != CALL_WHOLE || !read_identity(e->identity, &who) || strcmp(who.id, d->id) != 0) continue;
        if (strcmp(who.step, ck->step) != 0 || who.item != ck->item) continue;
        buf_reset(&text);
        model_provider_text(e, &text);
        is_found = text.len + 2 == output.len && memcmp(text.data, output.ptr + 1, text.len) == 0;
    }
    buf_fini(&text);
    return is_found;
}

static void judge_outputs(const struct verdict *v, const struct judged *d)
{
    const struct crowd_job *c = crowd_find(v->crowd, view_of(d->id));

    for (size_t i = 0; i < d->checkpoint_count; i++) {
        const struct judged_checkpoint *ck = &d->checkpoints[i];
        struct view output = member(ck->value, "output");
        bool is_llm = strcmp(ck->step, "first") == 0 || strcmp(ck->step, "second") == 0 || strcmp(ck->step, "item") == 0 ||
                      strcmp(ck->step, "ask") == 0;

        if (!is_llm || !text_is(member(ck->value, "status"), "completed") || (c && c->repeat_of)) continue;
        if (!is_said(v, d, ck, output))
            plant_blame(v->j->plant, "C: job %s: the recorded output of %s is nothing that the provider said to it", d->id, ck->step);
    }
}

/* --- E: nothing left behind -------------------------------------------------------------------------------------------------------------- */
static void judge_left_over(const struct verdict *v)
{
    struct plant *p = v->j->plant;

    for (enum topic t = 0; t <= TOPIC_STATE; t++)
        for (int32_t part = 0; part < model_kafka_partitions(p->kafka); part++) {
            int64_t end = model_kafka_end(p->kafka, t, part), at = model_kafka_committed(p->kafka, t, part);

            if (end > 0 && at != end)
                plant_blame(p, "E: all is over, and %s[%d] is committed at %lld of %lld", p->topics.names[t], (int)part, (long long)at,
                            (long long)end);
        }
    for (size_t i = 0; i < PLANT_TENANTS; i++) {
        char key[40];
        const char *const argv[] = {"GET", key};
        struct view count;

        snprintf(key, sizeof key, "q:{%s}", plant_tenants[i]);
        count = reply_str(model_redis_ask(p->redis, argv, 2));
        if (count.len > 0 && !view_eq_str(count, "0"))
            plant_blame(p, "E: all is over, and %s is said to have %.*s jobs", plant_tenants[i], (int)count.len, count.ptr);
    }
}

/* --- all ---------------------------------------------------------------------------------------------------------------------------------- */
void judge_blame_unended(struct judge *j)
{
    judge_read(j);
    for (size_t i = 0; i < j->count; i++) {
        const struct judged *d = j->jobs[i];

        if (d->has_end || d->record_count == 0) continue;
        plant_blame(j->plant, "A: job %s of home %d never ended: %zu records, %zu starts, %zu handoffs, epoch %lld", d->id, (int)d->home,
                    d->record_count, d->start_count, d->handoffs, (long long)d->epoch);
    }
}

/* Limits of keys, by the log. */
static void judge_keys(const struct verdict *v)
{
    size_t one = judge_key_most(v->j, "one:"), two = judge_key_most(v->j, "two:");

    if (one > PLANT_KEY_ONE) plant_blame(v->j->plant, "F: %zu jobs of a key at once, %d may be", one, PLANT_KEY_ONE);
    if (two > PLANT_KEY_TWO) plant_blame(v->j->plant, "F: %zu jobs of a key at once, %d may be", two, PLANT_KEY_TWO);
}

void judge_all(struct judge *j, struct crowd *crowd, const struct judge_expect *expect)
{
    const struct verdict v = {.j = j, .crowd = crowd, .expect = expect};

    judge_read(j);
    for (size_t i = 0; i < crowd_count(crowd); i++) {
        const struct crowd_job *c = crowd_job(crowd, i);

        if (!c->is_accepted) continue;
        judge_accepted(&v, c);
        judge_watches(&v, c);
    }
    for (size_t i = 0; i < j->count; i++) {
        const struct judged *d = j->jobs[i];

        if (!d->has_end) continue;
        judge_reason(&v, d);
        judge_redis(&v, d);
        judge_outputs(&v, d);
        if (expect->is_calm && judged_lost_starts(d) > 1) /* a home may move while the workers come; then it is handed on */
            plant_blame(j->plant, "C: job %s was started %zu times in a world without faults", d->id, d->start_count);
    }
    for (size_t i = 0; i < model_provider_calls(j->plant->provider); i++) {
        judge_call(&v, i);
        judge_whole(&v, i);
    }
    judge_lists(&v);
    judge_left_over(&v);
    judge_keys(&v);
}
