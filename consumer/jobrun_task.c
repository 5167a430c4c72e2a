/* Performs what the task asks for, and feeds it what comes back. The loop of jobrun_pump is the
 * only place where effects are taken; it stops when the run has left RUNNING, because then the rest
 * concerns nobody. */
#include "consumer/jobrun.h"

#include <assert.h>

enum {
    JOBRUN_PARK_MS = 60000,
    JOBRUN_PARK_PACED_MS = 5000, /* shorter waits for a turn are not worth the way */
    JOBRUN_PARKED_MAX_MS = 300000,
    JOBRUN_PARKED_TENANT_MS = 3600000,
    JOBRUN_SURE_MS = 500,
    JOBRUN_MOVED_MS = 5000
};

struct jobrun_record { /* a checkpoint on its way */
    struct list_link link;
    struct jobrun *r;
    struct outbox_entry out;
    uint32_t run;
    size_t len;
    char value[];
};

struct jobrun_eval { /* an expression out for evaluation */
    struct list_link link;
    struct jobrun *r;
    uint32_t run;
    size_t len;
    char source[];
};

static int64_t jobrun_now(const struct jobrun *r)
{
    return r->w->ports.clock->mono_ms;
}

static bool jobrun_restore(struct jobrun *r, const struct ledger_job *ledger, bool is_inherited,
                           struct err *err)
{
    const struct ledger_checkpoint *c;
    size_t cursor = 0;
    while ((c = ledger_checkpoint_each(ledger, &cursor)) != NULL) {
        if (!c->value.len || (is_inherited && !jobrun_is_completed(c->value))) continue;
        if (task_restore(r->task, view_of(c->step), c->item, c->value, err) != ERR_OK) return false;
    }
    return true;
}

bool jobrun_task_new(struct jobrun *r, const struct workflow *wf, struct view input,
                     struct err *err)
{
    struct task_options o = {.workflow = wf,
                             .head = r->job.head,
                             .input = input,
                             .starts = r->starts,
                             .step_output_max = WORKER_STEP_OUTPUT_MAX,
                             .job_output_max = WORKER_JOB_OUTPUT_MAX};
    const struct known_job *k = jobrun_known(r);
    if (task_new(&o, &r->task, err) != ERR_OK) return false;
    /* its own come first: the first one of a step wins */
    bool ok = !k || !k->ledger || jobrun_restore(r, k->ledger, false, err);
    ok = ok && (!r->inherited || jobrun_restore(r, r->inherited, true, err));
    if (ok) {
        jobrun_inherit_stop(r);
    } else {
        task_free(r->task);
        r->task = NULL;
    }
    return ok;
}

/* --- expressions ----------------------------------------------------------------------------- */
static void jobrun_on_eval(void *arg, const struct err *e, struct view value)
{
    struct jobrun_eval *op = arg;
    struct jobrun *r = op->r;
    list_remove(&r->evals, &op->link);
    r->ops--;
    if (r->state == JOBRUN_RUNNING) {
        task_evaluated(r->task, op->run, view_make(op->source, op->len), value, e, jobrun_now(r));
        jobrun_pump(r);
    }
    free(op);
}

static void jobrun_do_eval(struct jobrun *r, const struct task_effect *e)
{
    struct jobrun_eval *op = malloc(sizeof *op + e->source.len);
    if (!op) {
        struct err err;
        (void)err_set(&err, ERR_NOMEM, "no memory for an expression");
        task_evaluated(r->task, e->run, e->source, VIEW_NONE, &err, jobrun_now(r));
        return;
    }
    memset(op, 0, sizeof *op);
    op->r = r;
    op->run = e->run;
    op->len = e->source.len;
    memcpy(op->source, e->source.ptr, e->source.len);
    list_push(&r->evals, &op->link);
    r->ops++;
    r->w->ports.eval.eval(r->w->ports.eval.self, e->source, e->root, jobrun_on_eval, op);
}

/* --- calls ----------------------------------------------------------------------------------- */
void jobrun_tell_waiting(struct jobrun *r)
{
    const struct call_wait *w = &r->wait;
    struct buf b;
    buf_init(&b, 512);
    (void)buf_printf(&b, ",\"reason\":\"%s\",\"until\":%lld", w->reason,
                     (long long)w->until_wall_ms);
    if (w->on) (void)buf_printf(&b, ",\"on\":\"%s/%s\"", w->on->provider, w->on->model);
    r->is_paced = true;
    jobrun_event(r, EVENT_JOB_WAITING, buf_view(&b));
    buf_fini(&b);
}

static void jobrun_resume(struct jobrun *r)
{
    if (!r->is_paced) return;
    r->is_paced = false;
    r->wait.reason = NULL;
    if (list_linked(&r->paced)) list_remove(&r->w->paced, &r->paced);
    jobrun_event(r, EVENT_JOB_RESUMED, VIEW_NONE);
}

/* The wait that ends first, of a job whose calls all wait. False: one is out, or none was told. */
static bool jobrun_first_wait(const struct jobrun *r, struct call_wait *ret)
{
    bool is_found = false;
    for (struct list_link *k = list_first(&r->calls); k; k = list_next(&r->calls, k)) {
        struct call_wait w;
        if (call_is_out(call_of_link(k))) return false;
        if (!call_wait(call_of_link(k), &w)) continue;
        if (!is_found || w.until_wall_ms < ret->until_wall_ms) *ret = w;
        is_found = true;
    }
    return is_found;
}

static bool jobrun_is_news(const struct jobrun *r, const struct call_wait *w)
{
    int64_t moved = w->until_wall_ms - r->wait.until_wall_ms;
    int64_t left = w->until_wall_ms - r->w->ports.clock->wall_ms;
    if (!r->is_paced || w->reason != r->wait.reason || w->on != r->wait.on) return true;
    if (moved < 0) moved = -moved;
    return moved > JOBRUN_MOVED_MS && moved * 5 > left;
}

/* A job waits when all its calls do. */
static void jobrun_judge_wait(struct jobrun *r)
{
    struct call_wait w = {.reason = NULL};
    if (r->state != JOBRUN_RUNNING || !jobrun_first_wait(r, &w) || !jobrun_is_news(r, &w)) return;
    r->wait = w;
    jobrun_tell_waiting(r);
    if (!list_linked(&r->paced)) list_push(&r->w->paced, &r->paced);
}

/* Whoever waited for long may have lost the job without noticing (a clock that stepped under the
 * lease): Redis is asked before anything is paid for. */
static bool jobrun_may_call(void *arg)
{
    struct jobrun *r = arg;
    if (!r->is_unsure && jobrun_now(r) - r->mirror.held_ms <= JOBRUN_SURE_MS) return true;
    jobrun_doubt(r, false);
    return false;
}

static void jobrun_on_call_started(void *arg, uint32_t run)
{
    struct jobrun *r = arg;
    jobrun_resume(r);
    task_call_started(r->task, run, jobrun_now(r));
    jobrun_pump(r);
}

static void jobrun_on_call_text(void *arg, uint32_t run, struct view text)
{
    struct jobrun *r = arg;
    if (r->state != JOBRUN_RUNNING) return;
    task_call_text(r->task, run, text, jobrun_now(r));
    jobrun_pump(r);
}

static void jobrun_on_call_done(void *arg, uint32_t run, struct view finish_reason,
                                struct task_usage usage, int64_t microusd)
{
    struct jobrun *r = arg;
    r->charge_microusd = microusd;
    task_call_done(r->task, run, finish_reason, usage, jobrun_now(r));
    jobrun_pump(r);
    jobrun_judge_wait(r);
}

static void jobrun_on_call_failed(void *arg, uint32_t run, const struct llm_out *out)
{
    struct jobrun *r = arg;
    jobrun_resume(r);
    task_call_failed(r->task, run, out->fault, &out->err, view_of(out->code), out->retry_after_ms,
                     jobrun_now(r), r->w->ports.rng);
    jobrun_pump(r);
    jobrun_judge_wait(r);
}

static void jobrun_on_call_again(void *arg, uint32_t run)
{
    struct jobrun *r = arg;
    task_call_waits(r->task, run, jobrun_now(r));
    jobrun_pump(r);
    jobrun_judge_wait(r);
}

static void jobrun_on_call_wait(void *arg, uint32_t run)
{
    (void)run;
    jobrun_judge_wait(arg);
}

static void jobrun_on_call_skip(void *arg, const struct call_place *place,
                                const struct config_route *route)
{
    struct jobrun *r = arg;
    char members[400];
    int len = snprintf(members, sizeof members,
                       ",\"note\":\"route_skipped\",\"reason\":\"context_tokens\","
                       "\"context_tokens\":%lld,\"on\":\"%s/%s\"",
                       (long long)route->context_tokens, route->provider, route->model);
    struct mirror_note note = {.type = EVENT_STEP_PROGRESS,
                               .step = place->step,
                               .item = place->item,
                               .attempt = place->attempt,
                               .members = view_make(members, (size_t)len)};
    log_event(r->w->ports.log, LOG_INFO, view_of(r->id.text), "route_skipped",
              LOG_S("provider", route->provider), LOG_S("model", route->model),
              LOG_N("context_tokens", route->context_tokens));
    if (r->state == JOBRUN_RUNNING) mirror_put(&r->mirror, &note);
}

/* The workflow's name, without its version. */
static struct view jobrun_workflow(const struct jobrun *r)
{
    struct view text = view_of(r->job.head->workflow), name, version;
    return view_cut(text, '@', &name, &version) ? name : text;
}

static void jobrun_leave_group(struct jobrun *r)
{
    pacer_over(r->w->pacer, r->group);
    r->group = PACER_NO_GROUP;
}

static void jobrun_do_call(struct jobrun *r, const struct task_effect *e)
{
    static const struct call_sink sink = {.may_go = jobrun_may_call,
                                          .on_started = jobrun_on_call_started,
                                          .on_text = jobrun_on_call_text,
                                          .on_done = jobrun_on_call_done,
                                          .on_failed = jobrun_on_call_failed,
                                          .on_again = jobrun_on_call_again,
                                          .on_wait = jobrun_on_call_wait,
                                          .on_skip = jobrun_on_call_skip};
    const struct job_head *head = r->job.head;
    char identity[JOB_ID_LEN + STEP_ID_MAX + 64], item[24] = "-";
    struct err err;
    jobrun_leave_group(r); /* from now on it stands in a line itself */
    if (e->item >= 0) snprintf(item, sizeof item, "%lld", (long long)e->item);
    int len = snprintf(identity, sizeof identity, "%s/%s/%s/%lld", r->id.text, e->step, item,
                       (long long)e->attempt);
    struct call_ask ask = {.owner = &r->calls,
                           .run = e->run,
                           .request = e->request,
                           .identity = view_make(identity, (size_t)len),
                           .stream = e->stream,
                           .place = {.step = e->step, .item = e->item, .attempt = e->attempt},
                           .timeout_ms = e->timeout_ms,
                           .pace = {.model = view_of(e->model),
                                    .tenant = view_of(head->tenant),
                                    .workflow = jobrun_workflow(r),
                                    .step = view_of(e->step),
                                    .cls = head->cls,
                                    .priority = head->boost,
                                    .age_ms = head->created_ms,
                                    .max_tokens = e->max_tokens}};
    if (call_new(&r->w->calls, &ask, &sink, r, &err)) {
        worker_kick(r->w);
        return;
    }
    bool is_short = err.code == ERR_NOMEM || err.code == ERR_FULL;
    enum task_fault fault = is_short ? TASK_FAULT_OUTAGE : TASK_FAULT_FATAL;
    task_call_failed(r->task, e->run, fault, &err, VIEW_NONE, -1, jobrun_now(r), r->w->ports.rng);
}

static void jobrun_cut_call(struct jobrun *r, uint32_t run)
{
    for (struct list_link *k = list_first(&r->calls); k; k = list_next(&r->calls, k)) {
        struct call *c = call_of_link(k);
        if (call_run(c) != run) continue;
        call_cut(c, false);
        return;
    }
}

void jobrun_cut_calls(struct jobrun *r, bool tell_text)
{
    struct list_link *k;
    while ((k = list_first(&r->calls)) != NULL) call_cut(call_of_link(k), tell_text);
}

/* The grace of a drain is over: what the calls brought stays in the stream, the call itself is the
 * next worker's to repeat. */
void jobrun_cut(struct jobrun *r)
{
    struct list_link *k;
    if (r->state != JOBRUN_RUNNING) return;
    while (r->state == JOBRUN_RUNNING && (k = list_first(&r->calls)) != NULL) {
        struct call *c = call_of_link(k);
        uint32_t run = call_run(c);
        struct err err;
        call_cut(c, true);
        (void)err_set(&err, ERR_CLOSED, "the worker ends");
        task_call_failed(r->task, run, TASK_FAULT_OUTAGE, &err, VIEW_NONE, -1, jobrun_now(r),
                         r->w->ports.rng);
        jobrun_pump(r);
    }
}

/* --- checkpoints ----------------------------------------------------------------------------- */
static void jobrun_on_checkpoint(void *arg, const struct err *e, int64_t offset)
{
    struct jobrun_record *c = arg;
    struct jobrun *r = c->r;
    uint32_t run = c->run;
    (void)offset;
    list_remove(&r->records, &c->link);
    free(c);
    if (r->state != JOBRUN_RUNNING && r->state != JOBRUN_INHERITING) return;
    if (e) {
        jobrun_close_as(r, JOB_FAILED, PROBLEM_OUTPUT_TOO_LARGE,
                        "a step's record is over the message limit", false);
    } else if (r->state == JOBRUN_INHERITING) {
        if (r->records.count == 0) jobrun_inherited(r);
    } else {
        task_checkpointed(r->task, run, jobrun_now(r));
        jobrun_pump(r);
    }
}

bool jobrun_checkpoint(struct jobrun *r, const struct jobrun_step *step, struct view value)
{
    struct jobrun_record *c = malloc(sizeof *c + value.len);
    if (!c) return false;
    memset(c, 0, sizeof *c);
    c->r = r;
    c->run = step->run;
    c->len = value.len;
    memcpy(c->value, value.ptr, value.len);
    list_push(&r->records, &c->link);
    struct outbox_ask ask = {.topic = TOPIC_STATE,
                             .partition = jobrun_partition(r),
                             .head = r->job.head,
                             .epoch = r->epoch,
                             .seq = (int64_t)r->mirror.seq,
                             .attempt = r->attempt,
                             .since = r->since,
                             .is_state = true,
                             .kind = STATE_CHECKPOINT,
                             .step = step->id,
                             .item = step->item,
                             .value = view_make(c->value, c->len)};
    outbox_send(r->w->outbox, &c->out, &ask, jobrun_on_checkpoint, c);
    return true;
}

void jobrun_drop_records(struct jobrun *r)
{
    struct list_link *k;
    while ((k = list_first(&r->records)) != NULL) {
        list_remove(&r->records, k);
        free(LIST_ITEM(k, struct jobrun_record, link));
    }
    while ((k = list_first(&r->evals)) != NULL) {
        list_remove(&r->evals, k);
        free(LIST_ITEM(k, struct jobrun_eval, link));
    }
}

/* The run is over: checkpoints that wait for another try are gone, the others free themselves when
 * their report comes. */
static void jobrun_cancel_records(struct jobrun *r)
{
    for (struct list_link *k = list_first(&r->records), *next; k; k = next) {
        struct jobrun_record *c = LIST_ITEM(k, struct jobrun_record, link);
        next = list_next(&r->records, k);
        if (!outbox_cancel(&c->out)) continue;
        list_remove(&r->records, k);
        free(c);
    }
}

void jobrun_drop_task(struct jobrun *r)
{
    if (list_linked(&r->paced)) list_remove(&r->w->paced, &r->paced);
    jobrun_leave_group(r);
    jobrun_cut_calls(r, false);
    jobrun_cancel_records(r);
    task_free(r->task);
    r->task = NULL;
    r->wake_ms = INT64_MAX;
}

/* --- the loop -------------------------------------------------------------------------------- */
static void jobrun_do_charge(struct jobrun *r, const struct task_effect *e)
{
    int64_t in = e->usage.input_tokens > 0 ? e->usage.input_tokens : 0;
    int64_t out = e->usage.output_tokens > 0 ? e->usage.output_tokens : 0;
    r->input_tokens += in;
    r->output_tokens += out;
    r->call_count++;
    jobview_charge(r->mirror.view, in, out, (double)r->charge_microusd / 1e6);
    r->charge_microusd = 0;
}

/* A plain line gets shorter by itself, and its jobs are few (gate.c). What is waited for otherwise
 * may take long, and a spent tenant's jobs would stand in the way of others. */
bool jobrun_may_park(const struct jobrun *r, bool is_tight)
{
    int64_t left = r->wait.until_wall_ms - r->w->ports.clock->wall_ms;
    bool is_tenant = !r->wait.on;
    if (r->state != JOBRUN_RUNNING || !r->is_paced || r->is_parking || r->records.count || r->ops)
        return false;
    if (strcmp(r->wait.reason, "budget") == 0 || strcmp(r->wait.reason, "concurrency") == 0)
        return false;
    return left >= (is_tight || is_tenant ? JOBRUN_PARK_PACED_MS : JOBRUN_PARK_MS) &&
           task_may_park(r->task);
}

/* Not for longer than it would be a pity about: the provider may be well again, or paid. */
void jobrun_park(struct jobrun *r)
{
    int64_t latest =
        r->w->ports.clock->wall_ms + (r->wait.on ? JOBRUN_PARKED_MAX_MS : JOBRUN_PARKED_TENANT_MS);
    r->is_parking = true;
    r->due_ms = r->wait.until_wall_ms < latest ? r->wait.until_wall_ms : latest;
    task_drain(r->task, jobrun_now(r));
    jobrun_pump(r);
}

/* A long wait with nothing in hand is sat out in a delay topic. The tries a step has behind it are
 * forgotten there (a step's attempts start anew above the old numbers), so only waits longer than
 * any back-off of its own go this way. */
static void jobrun_do_wake(struct jobrun *r, int64_t when_ms)
{
    int64_t wait = when_ms - jobrun_now(r);
    r->wake_ms = when_ms < r->wake_ms || r->wake_ms <= jobrun_now(r) ? when_ms : r->wake_ms;
    jobrun_arm(r);
    if (wait < JOBRUN_PARK_MS || r->calls.count || r->records.count || r->ops || r->is_parking)
        return;
    r->is_parking = true;
    r->is_paced = false;
    r->wait.reason = NULL;
    r->due_ms = r->w->ports.clock->wall_ms + wait;
    task_drain(r->task, jobrun_now(r));
}

static void jobrun_do_event(struct jobrun *r, const struct task_effect *e)
{
    struct mirror_note note = {.type = e->event,
                               .step = e->step,
                               .item = e->item,
                               .attempt = e->attempt,
                               .members = e->members};
    mirror_put(&r->mirror, &note);
}

static void jobrun_do(struct jobrun *r, const struct task_effect *e)
{
    switch (e->kind) {
    case TASK_EVAL:
        jobrun_do_eval(r, e);
        break;
    case TASK_CALL:
        jobrun_do_call(r, e);
        break;
    case TASK_CUT_CALL:
        jobrun_cut_call(r, e->run);
        break;
    case TASK_CHECKPOINT: {
        struct jobrun_step step = {.run = e->run, .id = e->step, .item = e->item};
        if (!jobrun_checkpoint(r, &step, e->value))
            jobrun_let_go(r, JOBRUN_DROPPED); /* no memory: another takes it over */
        break;
    }
    case TASK_EVENT:
        jobrun_do_event(r, e);
        break;
    case TASK_CHARGE:
        jobrun_do_charge(r, e);
        break;
    case TASK_WAKE:
        jobrun_do_wake(r, e->when_ms);
        break;
    case TASK_END: {
        struct jobrun_close c = {
            .status = e->status, .output = e->output, .error = e->error, .bury = e->dead_letter};
        jobrun_close(r, &c);
        break;
    }
    case TASK_PAUSED:
        jobrun_hand(r);
        break;
    }
}

void jobrun_pump(struct jobrun *r)
{
    struct task_effect e;
    while (r->state == JOBRUN_RUNNING && task_next(r->task, &e)) jobrun_do(r, &e);
}
