/* The calls of a worker about a job: acquire, append, restore, finish, release, rebuild. Arguments
 * stand in the order that the comment above each function of sluice_v1.lua gives. */
#include "schemas/fn_priv.h"

#include "common/base/json.h"

#include <assert.h>

static void fn_decode_lease(const struct fn_call *c, const struct err *e, const struct reply *r)
{
    struct err own;
    struct fn_lease l = {.kind = FN_LEASE_UNBUILT};
    int64_t kind = -1, takeover = 0, cancel = 0;
    bool ok = !e && fn_read_int(r, 0, &kind);
    if (ok && kind == FN_LEASE_OK) {
        ok = fn_read_int(r, 1, &l.epoch) && fn_read_int(r, 2, &l.seq) &&
             fn_read_int(r, 3, &takeover) && fn_read_int(r, 4, &cancel) && l.epoch > 0;
    } else if (ok && kind == FN_LEASE_BUSY) {
        l.owner = reply_str(reply_at(r, 1));
        ok = l.owner.len > 0;
    } else if (ok && kind == FN_LEASE_ENDED) {
        ok = job_status_parse(reply_str(reply_at(r, 1)), &l.status) &&
             job_status_is_terminal(l.status);
    } else {
        ok = ok && kind == FN_LEASE_UNBUILT;
    }
    if (!e && !fn_expect(ok, "acquire", &own)) e = &own;
    l.kind = ok ? (enum fn_lease_kind)kind : l.kind;
    l.takeover = takeover == 1;
    l.cancel = cancel == 1;
    c->cb.lease(c->arg, e, e ? NULL : &l);
}

void fn_acquire(struct fn *f, const struct fn_lease_ask *ask, fn_lease_cb *cb, void *arg)
{
    struct fn_args a;
    fn_args_function(&a, "sluice_v1_acquire", "5");
    fn_arg_job_keys(&a, ask->job->head, true);
    fn_arg_home(&a, id_partition(&ask->job->head->id));
    fn_arg(&a, ask->incarnation);
    fn_arg(&a, ask->boot);
    fn_arg_int(&a, ask->epoch_floor);
    fn_arg_int(&a, ask->seq_floor);
    fn_arg_int(&a, ask->attempt);
    fn_arg_entry(&a, ask->job);
    fn_arg(&a, fn_queued_data(f, ask->job));
    fn_arg(&a, fn_pack_fields(f, ask->job));
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_lease, .cb = {.lease = cb}, .arg = arg});
}

static void fn_decode_append(const struct fn_call *c, const struct err *e, const struct reply *r)
{
    struct err own;
    struct fn_appended a = {.kind = FN_APPEND_OK};
    int64_t kind = -1, cancel = 0;
    bool ok = !e && fn_read_int(r, 0, &kind) && kind >= FN_APPEND_OK && kind <= FN_APPEND_ENDED &&
              fn_read_int(r, 1, &cancel) && fn_read_int(r, 2, &a.seq) &&
              fn_read_int(r, 3, &a.entries);
    if (!e && !fn_expect(ok, "append", &own)) e = &own;
    a.kind = ok ? (enum fn_append_kind)kind : a.kind;
    a.cancel = cancel == 1;
    c->cb.append(c->arg, e, e ? NULL : &a);
}

void fn_append(struct fn *f, const struct fn_append *p, fn_append_cb *cb, void *arg)
{
    struct fn_args a;
    struct view id = view_make(p->id.text, JOB_ID_LEN);
    assert(p->count <= FN_EVENTS_MAX);
    assert(p->count == 0 || p->first_seq > 0);
    fn_args_function(&a, "sluice_v1_append", "2");
    fn_arg_key(&a, FN_KEY_META, id);
    fn_arg_key(&a, FN_KEY_EVENTS, id);
    fn_arg_int(&a, p->epoch);
    fn_arg_int(&a, (int64_t)p->first_seq);
    fn_arg(&a, view_of(p->status));
    fn_arg_int(&a, p->attempt);
    for (size_t i = 0; i < p->count; i++) {
        fn_arg(&a, view_of(event_type_name(p->events[i].type)));
        fn_arg(&a, p->events[i].data);
    }
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_append, .cb = {.append = cb}, .arg = arg});
}

void fn_restore(struct fn *f, const struct fn_restore *p, fn_append_cb *cb, void *arg)
{
    struct fn_args a;
    fn_args_function(&a, "sluice_v1_restore", "4");
    fn_arg_job_keys(&a, p->job->head, true);
    fn_arg(&a, p->incarnation);
    fn_arg_int(&a, p->epoch);
    fn_arg_int(&a, (int64_t)p->seq);
    fn_arg(&a, view_of(p->status));
    fn_arg_int(&a, p->attempt);
    fn_arg_int(&a, p->started_ms);
    fn_arg(&a, p->trim ? VIEW_LIT("1") : VIEW_LIT("0"));
    fn_arg(&a, p->snapshot);
    fn_arg_entry(&a, p->job);
    fn_arg(&a, VIEW_LIT("")); /* no job.queued: the snapshot covers it */
    fn_arg(&a, fn_pack_fields(f, p->job));
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_append, .cb = {.append = cb}, .arg = arg});
}

static void fn_arg_number_field(struct fn_args *a, const char *name, int64_t n)
{
    if (n <= 0) return;
    fn_arg(a, view_of(name));
    fn_arg_int(a, n);
}

/* A member of the finished view as a field of its own: lists show it without reading the view. */
static void fn_arg_view_member(struct fn_args *a, struct view job, const char *member,
                               const char *field)
{
    struct view value;
    if (!job.len || !json_raw_member(job, view_of(member), &value)) return;
    fn_arg(a, view_of(field));
    fn_arg(a, value);
}

void fn_finish(struct fn *f, const struct fn_finish *p, fn_append_cb *cb, void *arg)
{
    struct fn_args a;
    assert(job_status_is_terminal(p->status));
    assert(p->id.seq > p->event_count && p->event_count <= FN_EVENTS_MAX);
    fn_args_function(&a, "sluice_v1_finish", "4");
    fn_arg_job_keys(&a, p->job->head, true);
    fn_arg_int(&a, p->lease_epoch);
    fn_arg_int(&a, (int64_t)p->id.epoch);
    fn_arg_int(&a, (int64_t)p->id.seq);
    fn_arg(&a, view_of(job_status_name(p->status)));
    fn_arg(&a, p->data);
    fn_arg(&a, p->snapshot);
    fn_arg_int(&a, p->ended_ms);
    fn_arg_int(&a, p->results_ms);
    fn_arg_int(&a, p->events_ms);
    fn_arg_entry(&a, p->job);
    fn_arg(&a, fn_pack_fields(f, p->job));
    fn_arg_int(&a, (int64_t)p->event_count);
    for (size_t i = 0; i < p->event_count; i++) {
        fn_arg(&a, view_of(event_type_name(p->events[i].type)));
        fn_arg(&a, p->events[i].data);
    }
    fn_arg(&a, VIEW_LIT("vw"));
    fn_arg(&a, p->view);
    fn_arg_view_member(&a, p->view, "usage", "us");
    fn_arg_view_member(&a, p->view, "cost", "co");
    fn_arg_number_field(&a, "at", p->attempt);
    fn_arg_number_field(&a, "sa", p->started_ms);
    if (p->job->metadata.len) { /* acquire could not know it, and admit may never have come */
        fn_arg(&a, VIEW_LIT("md"));
        fn_arg(&a, p->job->metadata);
    }
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_append, .cb = {.append = cb}, .arg = arg});
}

void fn_release(struct fn *f, const struct job_id *id, int64_t epoch, const char *status,
                fn_done_cb *cb, void *arg)
{
    struct fn_args a;
    fn_args_function(&a, "sluice_v1_release", "1");
    fn_arg_key(&a, FN_KEY_META, view_make(id->text, JOB_ID_LEN));
    fn_arg_int(&a, epoch);
    fn_arg(&a, view_of(status));
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_done, .cb = {.done = cb}, .arg = arg});
}

void fn_disclaim(struct fn *f, const struct job_id *id, struct view incarnation, fn_done_cb *cb,
                 void *arg)
{
    struct fn_args a;
    fn_args_function(&a, "sluice_v1_disclaim", "1");
    fn_arg_key(&a, FN_KEY_META, view_make(id->text, JOB_ID_LEN));
    fn_arg(&a, incarnation);
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_done, .cb = {.done = cb}, .arg = arg});
}

void fn_note(struct fn *f, const struct job_id *id, enum event_type type, struct view data,
             fn_done_cb *cb, void *arg)
{
    static const char mark[] = "\"seq\":0";
    struct fn_args a;
    size_t at = 0;
    while (at + sizeof mark <= data.len && memcmp(data.ptr + at, mark, sizeof mark - 1) != 0) at++;
    assert(at + sizeof mark <= data.len);
    at += sizeof mark - 2; /* behind the colon */
    fn_args_function(&a, "sluice_v1_note", "2");
    fn_arg_key(&a, FN_KEY_META, view_make(id->text, JOB_ID_LEN));
    fn_arg_key(&a, FN_KEY_EVENTS, view_make(id->text, JOB_ID_LEN));
    fn_arg(&a, view_of(event_type_name(type)));
    fn_arg(&a, view_make(data.ptr, at));
    fn_arg(&a, view_make(data.ptr + at + 1, data.len - at - 1));
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_done, .cb = {.done = cb}, .arg = arg});
}

void fn_rebuild(struct fn *f, const struct fn_job *job, int64_t epoch_floor, const char *status,
                fn_done_cb *cb, void *arg)
{
    struct fn_args a;
    fn_args_function(&a, "sluice_v1_rebuild", "4");
    fn_arg_job_keys(&a, job->head, true);
    fn_arg_int(&a, epoch_floor);
    fn_arg(&a, view_of(status));
    fn_arg_entry(&a, job);
    fn_arg(&a, fn_queued_data(f, job));
    fn_arg(&a, fn_pack_fields(f, job));
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_done, .cb = {.done = cb}, .arg = arg});
}
