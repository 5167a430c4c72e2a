/* From a body to a 202.
 *
 * What is hard:
 * - The answer may not come before Kafka's acknowledgement, and not much later than it: the view in
 * Redis is filled in parallel with the client's patience, for SUBMIT_ADMIT_MS.
 * - A keyed submission asks Redis first, so that two payloads under one key are told apart before
 * either is a record. One that finds its id only reserved (an earlier try died between Redis and
 * Kafka) publishes again: the same id, the same payload, at most a record too many, which its home
 * completes without running it.
 * - With an Idempotency-Key and a routing key the id must lie in the routing key's home, and yet a
 * retry with another routing key must be seen: so the id of the Idempotency-Key alone is reserved
 * first, which never becomes a job and is forgotten after a while.
 * - The client may be gone at any moment; a record that was sent goes its way all the same. So a
 * submission belongs to this file, not to its request, and is only told to forget whom to answer.
 * - Most submissions never wait before they are published: then the value is built in one scratch
 * buffer and nothing of the body is kept but its metadata. */
#include "gateway/submit.h"

#include "common/base/json.h"
#include "common/base/list.h"
#include "producer/route_key.h"
#include <assert.h>

enum { SUBMIT_KEY_MAX = 4096 }; /* of the body's routing key; job_request_read bounds it further */

enum { SUBMIT_ADMIT_AGAIN_MS = 250, SUBMIT_ADMIT_FOR_MS = 30000 };

enum submission_state {
    SUBMISSION_CLAIMING, /* with both keys: the Idempotency-Key for this payload */
    SUBMISSION_QUOTA,
    SUBMISSION_RESERVING,
    SUBMISSION_PUBLISHING,
    SUBMISSION_ADMITTING
};

struct submission {
    struct list_link link;
    struct submit *submit;
    enum submission_state state;
    bool is_keyed, is_replay, is_answered, is_settled;
    int64_t max_queued, reported_ms;
    submit_answer_fn *fn;
    void *arg;
    char *value; /* kept while it has to wait; NULL on the way out */
    size_t value_len;
    char *metadata;
    struct timer patience;
    struct job_head head;
};

struct submit {
    struct submit_options o;
    const struct workflows *workflows;
    struct list all;
    struct buf scratch;
    bool is_stopped;
};

struct submit *submit_new(const struct submit_options *o, const struct workflows *ws)
{
    struct submit *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->o = *o;
    s->workflows = ws;
    list_init(&s->all);
    buf_init(&s->scratch, o->value_max);
    return s;
}

static void submission_end(struct submission *n)
{
    timerq_cancel(n->submit->o.timers, &n->patience);
    list_remove(&n->submit->all, &n->link);
    free(n->value);
    free(n->metadata);
    free(n);
}

void submit_free(struct submit *s)
{
    struct list_link *k;
    if (!s) return;
    while ((k = list_first(&s->all)) != NULL) submission_end(LIST_ITEM(k, struct submission, link));
    buf_fini(&s->scratch);
    free(s);
}

void submit_set_workflows(struct submit *s, const struct workflows *ws)
{
    s->workflows = ws;
}

void submit_stop(struct submit *s)
{
    s->is_stopped = true;
}

size_t submit_under_way(const struct submit *s)
{
    return s->all.count;
}

void submission_forget(struct submission *n)
{
    n->fn = NULL;
}

/* --- answers --- */

static void submission_answer(struct submission *n, const struct submit_answer *a)
{
    if (n->is_answered) return;
    n->is_answered = true;
    timerq_cancel(n->submit->o.timers, &n->patience);
    if (n->fn) n->fn(n->arg, a);
}

static void submission_refuse(struct submission *n, enum problem problem, const char *detail)
{
    bool may_have_landed = n->state == SUBMISSION_PUBLISHING && problem == PROBLEM_UNAVAILABLE;
    bool is_passing = problem == PROBLEM_UNAVAILABLE || problem == PROBLEM_QUOTA_EXCEEDED;
    const struct submit_answer a = {.problem = problem,
                                    .detail = detail,
                                    .head = may_have_landed ? &n->head : NULL,
                                    .retry_after_s = is_passing ? 1 : 0};
    submission_answer(n, &a);
    submission_end(n);
}

static void submission_accept(struct submission *n, enum job_status status)
{
    const struct submit_answer a = {
        .is_accepted = true, .is_replay = n->is_replay, .head = &n->head, .status = status};
    submission_answer(n, &a);
}

/* --- after the record: the view --- */

static void submission_settle(const struct submission *n, int64_t queued)
{
    quota_settle(n->submit->o.quota, view_of(n->head.tenant), queued);
}

static void submission_admit(struct submission *n);

static void submission_admit_again(void *arg)
{
    submission_admit(arg);
}

/* Accepted it is; until it stands in the view too its id would be unknown, so the admit is tried
 * again for a while. After that the worker that takes the job makes the entry. False: not any more.
 */
static bool submission_admit_later(struct submission *n)
{
    const struct submit *s = n->submit;
    bool is_worth_it = s->o.clock->mono_ms < n->reported_ms + SUBMIT_ADMIT_FOR_MS &&
                       s->all.count < s->o.under_way_max / 2;
    return is_worth_it &&
           timerq_set(s->o.timers, &n->patience, s->o.clock->mono_ms + SUBMIT_ADMIT_AGAIN_MS,
                      submission_admit_again, n);
}

static void submission_lacks_view(const struct submission *n)
{
    const struct submit_options *o = &n->submit->o;
    if (o->on_trouble) o->on_trouble(o->arg);
}

static void submission_admitted(void *arg, const struct err *e, const struct fn_admitted *a)
{
    struct submission *n = arg;
    if (!n->is_settled) submission_settle(n, e ? -1 : a->queued);
    n->is_settled = true;
    if (!e && a->kind == FN_ADMIT_OTHER_PAYLOAD && n->is_keyed) {
        submission_refuse(n, PROBLEM_IDEMPOTENCY_MISMATCH,
                          "another payload came first under this Idempotency-Key");
        return;
    }
    if (e) submission_lacks_view(n);
    submission_accept(n, e ? JOB_QUEUED : a->status);
    if (!e || !submission_admit_later(n)) submission_end(n);
}

static void submission_impatient(void *arg)
{
    submission_lacks_view(arg);
    submission_accept(arg, JOB_QUEUED); /* the view follows; submission_admitted ends it */
}

static void submission_admit(struct submission *n)
{
    struct submit *s = n->submit;
    const struct fn_job job = {.head = &n->head,
                               .metadata = view_of(n->metadata),
                               .queued_ts_ms = n->head.created_ms,
                               .index_ms = s->o.results_ms};
    fn_admit(s->o.fn, &job, submission_admitted, n);
}

static void submission_reported(void *arg, const struct producer_report *r)
{
    struct submission *n = arg;
    struct submit *s = n->submit;
    if (r->e) {
        submission_settle(n, -1);
        bool is_large = r->e->code == ERR_TOO_LARGE;
        submission_refuse(
            n, is_large ? PROBLEM_TOO_LARGE : PROBLEM_UNAVAILABLE,
            is_large
                ? "the record is over Kafka's message limit"
                : "Kafka did not acknowledge the record in time; it may have landed all the same: "
                  "try again with the same Idempotency-Key, or look for job_id");
        return;
    }
    n->state = SUBMISSION_ADMITTING;
    n->reported_ms = s->o.clock->mono_ms;
    snprintf(n->head.origin, sizeof n->head.origin, "%s/%d/%lld", s->o.topics->names[r->topic],
             (int)r->partition, (long long)r->offset);
    timerq_set(s->o.timers, &n->patience, s->o.clock->mono_ms + SUBMIT_ADMIT_MS,
               submission_impatient, n);
    submission_admit(n);
}

/* --- the record --- */

static enum problem submission_problem_of(enum err_code code)
{
    if (code == ERR_TOO_LARGE) return PROBLEM_TOO_LARGE;
    return code == ERR_FULL || code == ERR_UNAVAILABLE || code == ERR_NOMEM ? PROBLEM_UNAVAILABLE
                                                                            : PROBLEM_INTERNAL;
}

static bool submission_publish(struct submission *n, struct view value)
{
    struct submit *s = n->submit;
    struct err err = {.code = ERR_OK};
    const struct producer_done done = {submission_reported, n};
    enum err_code code =
        producer_submit(s->o.producer, &n->head, value, s->o.clock->wall_ms, &done, &err);
    if (code != ERR_OK) {
        submission_settle(n, -1);
        submission_refuse(n, submission_problem_of(code),
                          err.text); /* nothing was sent: no job_id */
        return false;
    }
    n->state = SUBMISSION_PUBLISHING;
    free(n->value);
    n->value = NULL;
    return true;
}

static bool submission_keep(struct submission *n, struct view value)
{
    if (n->value) return true;
    n->value = view_dup(value);
    n->value_len = value.len;
    if (n->value) return true;
    submission_refuse(n, PROBLEM_UNAVAILABLE, "out of memory");
    return false;
}

static void submission_counted(void *arg);

/* Quota, then out. False: refused and gone. */
static bool submission_go(struct submission *n, struct view value)
{
    struct submit *s = n->submit;
    struct view tenant = view_of(n->head.tenant);
    n->state = SUBMISSION_QUOTA;
    if (s->is_stopped) {
        submission_refuse(n, PROBLEM_UNAVAILABLE, "this gateway is being stopped");
        return false;
    }
    enum quota_verdict verdict = quota_take(s->o.quota, tenant, n->max_queued);
    if (verdict == QUOTA_ASK) {
        if (!submission_keep(n, value)) return false;
        if (quota_ask(s->o.quota, tenant, submission_counted, n)) return true;
        verdict = quota_take(s->o.quota, tenant, n->max_queued);
    }
    if (verdict == QUOTA_OK) return submission_publish(n, value);
    submission_refuse(n, PROBLEM_QUOTA_EXCEEDED, "the tenant has as many unended jobs as it may");
    return false;
}

static void submission_counted(void *arg)
{
    struct submission *n = arg;
    (void)submission_go(n, view_make(n->value, n->value_len));
}

/* --- keyed: Redis is asked first --- */

static void submission_go_on(struct submission *n, bool is_replay)
{
    n->is_replay = is_replay;
    (void)submission_go(n, view_make(n->value, n->value_len));
}

static void submission_found(void *arg, const struct err *e, const struct fn_meta *m)
{
    struct submission *n = arg;
    struct view name, version;
    if (e) {
        submission_refuse(n, PROBLEM_UNAVAILABLE, "Redis, which keyed submissions need, is away");
        return;
    }
    if (!m->found || m->reserved) { /* gone between the two questions */
        submission_go_on(n, m->found);
        return;
    }
    n->is_replay = true;
    n->head.created_ms = m->created_ms;
    if (view_cut(m->workflow, '@', &name, &version) &&
        view_copy(name, n->head.workflow, sizeof n->head.workflow))
        if (!view_i64(version, &n->head.version)) n->head.version = 0;
    submission_accept(n, m->status);
    submission_end(n);
}

static void submission_reserved(void *arg, const struct err *e, const struct fn_admitted *a)
{
    struct submission *n = arg;
    if (e)
        submission_refuse(n, PROBLEM_UNAVAILABLE, "Redis, which keyed submissions need, is away");
    else if (a->kind == FN_ADMIT_UNBUILT)
        submission_refuse(
            n, PROBLEM_UNAVAILABLE,
            "whether the key was used before is not known: its home is being rebuilt");
    else if (a->kind == FN_ADMIT_OTHER_PAYLOAD)
        submission_refuse(n, PROBLEM_IDEMPOTENCY_MISMATCH,
                          "the key was used with another payload before");
    else if (a->kind == FN_ADMIT_EXISTS && !a->reserved)
        fn_meta(n->submit->o.fn, &n->head.id, VIEW_NONE, submission_found, n);
    else
        submission_go_on(n, a->kind == FN_ADMIT_EXISTS);
}

static void submission_reserve(struct submission *n)
{
    n->state = SUBMISSION_RESERVING;
    fn_reserve(n->submit->o.fn, &n->head, view_of(n->submit->o.boot), submission_reserved, n);
}

static void submission_claimed(void *arg, const struct err *e, const struct fn_admitted *a)
{
    struct submission *n = arg;
    if (!e && (a->kind == FN_ADMIT_CREATED || (a->kind == FN_ADMIT_EXISTS && a->reserved)))
        submission_reserve(n);
    else if (!e && a->kind == FN_ADMIT_EXISTS) /* a job without a routing key has this name */
        submission_refuse(n, PROBLEM_IDEMPOTENCY_MISMATCH,
                          "the key was used with another payload before");
    else
        submission_reserved(n, e, a);
}

static void submission_claim(struct submission *n, const struct job_id *name)
{
    struct job_id id = n->head.id;
    n->state = SUBMISSION_CLAIMING;
    n->head.id = *name; /* for the time of the call, which copies what it needs */
    fn_reserve(n->submit->o.fn, &n->head, view_of(n->submit->o.boot), submission_claimed, n);
    n->head.id = id;
}

/* --- beginning --- */

static void submit_refuse_now(submit_answer_fn *fn, void *arg, const struct admit_refusal *r,
                              int64_t retry_after_s)
{
    const struct submit_answer a = {.problem = r->problem,
                                    .detail = r->err.text[0] ? r->err.text : NULL,
                                    .pointer = r->err.where[0] ? r->err.where : NULL,
                                    .retry_after_s = retry_after_s};
    fn(arg, &a);
}

static struct submission *submission_new(struct submit *s, struct view metadata,
                                         submit_answer_fn *fn, void *arg)
{
    struct submission *n = s->all.count < s->o.under_way_max ? malloc(sizeof *n) : NULL;
    if (n) memset(n, 0, offsetof(struct submission, head)); /* the head is written whole */
    if (n && metadata.ptr) n->metadata = view_dup(metadata);
    if (!n || (metadata.ptr && !n->metadata)) {
        struct admit_refusal r = {.problem = PROBLEM_UNAVAILABLE};
        (void)err_set(&r.err, ERR_FULL, "too many submissions are under way");
        submit_refuse_now(fn, arg, &r, 1);
        free(n);
        return NULL;
    }
    n->submit = s;
    n->fn = fn;
    n->arg = arg;
    list_push(&s->all, &n->link);
    return n;
}

/* Fills the head's id and key. ret_claim: the name to claim before. */
static void submit_name(struct submit *s, const struct submit_request *r, const struct admitted *a,
                        struct job_head *head, struct job_id *ret_claim)
{
    struct buf routing;
    struct route_key key = {.tenant = r->tenant, .idempotency = r->idempotency};
    buf_init(&routing, SUBMIT_KEY_MAX);
    if (r->idempotency.ptr)
        *ret_claim = route_key_id(s->o.space, &key, s->o.clock->wall_ms, s->o.rng);
    if (a->request.key.ptr && json_raw_string(a->request.key, &routing)) {
        key.routing = buf_view(&routing);
        job_key_head(key.routing, head->key);
    }
    head->id = route_key_id(s->o.space, &key, s->o.clock->wall_ms, s->o.rng);
    buf_fini(&routing);
}

struct submission *submit_start(struct submit *s, const struct submit_request *r,
                                submit_answer_fn *fn, void *arg)
{
    struct admitted a;
    struct admit_refusal refusal;
    if (!admit_check(s->workflows, r->body, s->o.clock->wall_ms, &a, &refusal)) {
        submit_refuse_now(fn, arg, &refusal, 0);
        return NULL;
    }
    buf_reset(&s->scratch);
    if (!admit_value(&a, &s->scratch)) {
        refusal = (struct admit_refusal){.problem = PROBLEM_TOO_LARGE};
        submit_refuse_now(fn, arg, &refusal, 0);
        return NULL;
    }
    struct submission *n = submission_new(s, a.request.metadata, fn, arg);
    if (!n) return NULL;
    admit_head(&a, r->tenant, r->body, s->o.clock->wall_ms, &n->head);
    struct job_id claim = {""};
    submit_name(s, r, &a, &n->head, &claim);
    n->max_queued = r->max_queued;
    n->is_keyed = r->idempotency.ptr != NULL;
    if (r->traceparent.ptr &&
        !view_copy(r->traceparent, n->head.traceparent, sizeof n->head.traceparent))
        n->head.traceparent[0] = '\0';
    if (!n->is_keyed) return submission_go(n, buf_view(&s->scratch)) ? n : NULL;
    if (!submission_keep(n, buf_view(&s->scratch))) return NULL;
    if (strcmp(claim.text, n->head.id.text) != 0)
        submission_claim(n, &claim);
    else
        submission_reserve(n);
    return n;
}

struct submission *submit_record(struct submit *s, const struct job_head *head,
                                 const struct job_body *body, int64_t max_queued,
                                 submit_answer_fn *fn, void *arg)
{
    buf_reset(&s->scratch);
    if (!job_body_put(&s->scratch, body)) {
        const struct admit_refusal refusal = {.problem = PROBLEM_TOO_LARGE};
        submit_refuse_now(fn, arg, &refusal, 0);
        return NULL;
    }
    struct submission *n = submission_new(s, body->metadata, fn, arg);
    if (!n) return NULL;
    n->head = *head;
    n->max_queued = max_queued;
    return submission_go(n, buf_view(&s->scratch)) ? n : NULL;
}
