/* The calls of the gateway: admit, reserve, meta, cancel, link_retry. Answers are read strictly: what is not in
 * shape came from another library of the same name and is ERR_PROTOCOL, never a guess. */
#include "schemas/fn_priv.h"

static void fn_decode_admit(const struct fn_call *c, const struct err *e, const struct reply *r)
{
    struct err own;
    struct fn_admitted a = {.kind = FN_ADMIT_CREATED};
    int64_t kind = 0, reserved = 0;
    bool ok = !e && fn_read_int(r, 0, &kind) && kind >= FN_ADMIT_CREATED &&
              kind <= FN_ADMIT_UNBUILT &&
              job_status_parse(reply_str(reply_at(r, 1)), &a.status) &&
              fn_read_int(r, 2, &a.queued) && fn_read_int(r, 3, &reserved);
    if (!e && !fn_expect(ok, "admit", &own)) e = &own;
    a.kind = (enum fn_admit_kind)kind;
    a.reserved = reserved == 1;
    c->cb.admit(c->arg, e, e ? NULL : &a);
}

void fn_admit(struct fn *f, const struct fn_job *job, fn_admit_cb *cb, void *arg)
{
    struct fn_args a;
    struct fn_fields fields;
    fn_args_function(&a, "sluice_v1_admit", "4");
    fn_arg_job_keys(&a, job->head, true);
    fn_arg_entry(&a, job);
    fn_arg(&a, fn_queued_data(f, job));
    fn_arg(&a, view_of(job->head->fp));
    fn_arg(&a, job->metadata);
    fn_arg_fields(&a, &fields, job);
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_admit, .cb = {.admit = cb}, .arg = arg});
}

void fn_reserve(struct fn *f, const struct job_head *head, struct view boot, fn_admit_cb *cb,
                void *arg)
{
    struct fn_args a;
    fn_args_function(&a, "sluice_v1_reserve", "3");
    fn_arg_key(&a, FN_KEY_META, view_make(head->id.text, JOB_ID_LEN));
    fn_arg_key(&a, FN_KEY_COUNT, view_of(head->tenant));
    fn_arg_home(&a, id_partition(&head->id));
    fn_arg(&a, view_of(head->fp));
    fn_arg(&a, view_of(head->tenant));
    fn_arg(&a, boot);
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_admit, .cb = {.admit = cb}, .arg = arg});
}

/* --- meta ------------------------------------------------------------------------------------- */

enum fn_meta_kind { META_STATUS, META_NUMBER, META_FLAG, META_TEXT };
static const struct {
    const char *name;
    enum fn_meta_kind kind;
    size_t offset;
} fn_meta_fields[] = {
    {"st", META_STATUS, offsetof(struct fn_meta, status)},
    {"ep", META_NUMBER, offsetof(struct fn_meta, epoch)},
    {"sq", META_NUMBER, offsetof(struct fn_meta, seq)},
    {"at", META_NUMBER, offsetof(struct fn_meta, attempt)},
    {"cr", META_NUMBER, offsetof(struct fn_meta, created_ms)},
    {"sa", META_NUMBER, offsetof(struct fn_meta, started_ms)},
    {"en", META_NUMBER, offsetof(struct fn_meta, ended_ms)},
    {"dl", META_NUMBER, offsetof(struct fn_meta, deadline_ms)},
    {"cx", META_FLAG, offsetof(struct fn_meta, cancel)},
    {"rs", META_FLAG, offsetof(struct fn_meta, reserved)},
    {"tn", META_TEXT, offsetof(struct fn_meta, tenant)},
    {"ow", META_TEXT, offsetof(struct fn_meta, owner)},
    {"fp", META_TEXT, offsetof(struct fn_meta, fp)},
    {"wf", META_TEXT, offsetof(struct fn_meta, workflow)},
    {"cl", META_TEXT, offsetof(struct fn_meta, cls)},
    {"md", META_TEXT, offsetof(struct fn_meta, metadata)},
    {"vw", META_TEXT, offsetof(struct fn_meta, view)},
    {"og", META_TEXT, offsetof(struct fn_meta, origin)},
    {"ro", META_TEXT, offsetof(struct fn_meta, retry_of)},
    {"ra", META_TEXT, offsetof(struct fn_meta, retried_as)},
};
enum { META_COUNT = sizeof fn_meta_fields / sizeof *fn_meta_fields };

static bool fn_read_meta_field(size_t i, const struct reply *r, struct fn_meta *m)
{
    char *at = (char *)m + fn_meta_fields[i].offset;
    int64_t n = 0;
    bool flag;
    if (r->kind == REPLY_NIL) return true;
    if (r->kind != REPLY_STR) return false;
    switch (fn_meta_fields[i].kind) {
    case META_STATUS:
        m->found = true;
        return job_status_parse(r->str, &m->status);
    case META_NUMBER:
        if (!view_i64(r->str, &n)) return false;
        memcpy(at, &n, sizeof n);
        return true;
    case META_FLAG:
        flag = view_eq_str(r->str, "1");
        memcpy(at, &flag, sizeof flag);
        return flag;
    case META_TEXT:
        memcpy(at, &r->str, sizeof r->str);
        return true;
    }
    return false;
}

static void fn_decode_meta(const struct fn_call *c, const struct err *e, const struct reply *r)
{
    struct err own;
    struct fn_meta m = {.found = false};
    int64_t built = 0;
    if (!e) {
        const struct reply *fields = reply_at(r, 1);
        bool ok =
            fn_read_int(r, 0, &built) && fields->kind == REPLY_ARRAY && fields->count == META_COUNT;
        for (size_t i = 0; ok && i < META_COUNT; i++)
            ok = fn_read_meta_field(i, &fields->items[i], &m);
        if (!fn_expect(ok, "meta", &own)) e = &own;
        m.built = built == 1;
    }
    c->cb.meta(c->arg, e, e ? NULL : &m);
}

void fn_meta(struct fn *f, const struct job_id *id, struct view boot, fn_meta_cb *cb, void *arg)
{
    struct fn_args a;
    fn_args_function(&a, "sluice_v1_meta", "2");
    fn_arg_key(&a, FN_KEY_META, view_make(id->text, JOB_ID_LEN));
    fn_arg_home(&a, id_partition(id));
    fn_arg(&a, boot);
    for (size_t i = 0; i < META_COUNT; i++) fn_arg(&a, view_of(fn_meta_fields[i].name));
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_meta, .cb = {.meta = cb}, .arg = arg});
}

/* --- cancel, retry ---------------------------------------------------------------------------- */

static void fn_decode_cancel(const struct fn_call *c, const struct err *e, const struct reply *r)
{
    struct err own;
    struct fn_canceled a = {.found = false};
    int64_t found = 0, ended = 0;
    bool ok = !e && fn_read_int(r, 0, &found) && fn_read_int(r, 1, &ended) &&
              (!found || job_status_parse(reply_str(reply_at(r, 2)), &a.status));
    if (!e && !fn_expect(ok, "cancel", &own)) e = &own;
    a.found = found == 1;
    a.ended = ended == 1;
    c->cb.cancel(c->arg, e, e ? NULL : &a);
}

void fn_cancel(struct fn *f, const struct job_id *id, fn_cancel_cb *cb, void *arg)
{
    struct fn_args a;
    fn_args_function(&a, "sluice_v1_cancel", "1");
    fn_arg_key(&a, FN_KEY_META, view_make(id->text, JOB_ID_LEN));
    fn_arg(&a, view_make(id->text, JOB_ID_LEN));
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_cancel, .cb = {.cancel = cb}, .arg = arg});
}

void fn_link_retry(struct fn *f, const struct job_id *old_id, const struct job_id *new_id,
                   fn_done_cb *cb, void *arg)
{
    struct fn_args a;
    fn_args_function(&a, "sluice_v1_link_retry", "1");
    fn_arg_key(&a, FN_KEY_META, view_make(old_id->text, JOB_ID_LEN));
    fn_arg(&a, view_make(new_id->text, JOB_ID_LEN));
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_done, .cb = {.done = cb}, .arg = arg});
}
