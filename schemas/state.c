/* Records of state[p]. The head is read by job.c; what is added here are the four headers that only state records
 * carry and what each kind must have: a record that lacks its epoch could not be arbitrated, so it never enters a
 * ledger. */
#include "schemas/state.h"

#include <assert.h>

static const char *const state_kinds[] = {
    [STATE_STARTED] = "started",     [STATE_CHECKPOINT] = "checkpoint",
    [STATE_PARKED] = "parked",       [STATE_YIELDED] = "yielded",
    [STATE_CANCEL] = "cancel",       [STATE_SIGNAL] = "signal",
    [STATE_SUCCEEDED] = "succeeded", [STATE_FAILED] = "failed",
    [STATE_CANCELED] = "canceled",   [STATE_EXPIRED] = "expired",
};

const char *state_kind_name(enum state_kind k)
{
    assert(k < STATE_KIND_COUNT);
    return state_kinds[k];
}

bool state_kind_is_terminal(enum state_kind k)
{
    return k >= STATE_SUCCEEDED && k <= STATE_EXPIRED;
}

enum job_status state_kind_status(enum state_kind terminal)
{
    assert(state_kind_is_terminal(terminal));
    return (enum job_status)(JOB_SUCCEEDED + (terminal - STATE_SUCCEEDED));
}

enum state_kind state_kind_of_status(enum job_status terminal)
{
    assert(job_status_is_terminal(terminal));
    return (enum state_kind)(STATE_SUCCEEDED + (terminal - JOB_SUCCEEDED));
}

static bool state_kind_parse(struct view name, enum state_kind *ret)
{
    for (unsigned i = 0; i < STATE_KIND_COUNT; i++) {
        if (!view_eq_str(name, state_kinds[i])) continue;
        *ret = (enum state_kind)i;
        return true;
    }
    return false;
}

void state_record_write(const struct state_record *s, struct record_out *rec,
                        struct state_scratch *scratch)
{
    job_head_write(&s->head, rec, &scratch->job);
    record_put(rec, "kind", view_of(state_kinds[s->kind]));
    record_put(rec, "step", view_of(s->step));
    if (s->item >= 0 && s->kind == STATE_CHECKPOINT) {
        snprintf(scratch->item, sizeof scratch->item, "%lld", (long long)s->item);
        record_put(rec, "item", view_of(scratch->item));
    }
    record_put(rec, "worker", view_of(s->worker));
    rec->value = s->value;
}

static bool state_text(struct view v, char *dst, size_t size)
{
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] < 0x20 || v.ptr[i] > 0x7e) return false;
    return view_copy(v, dst, size);
}

static bool state_header_read(const struct header *h, struct state_record *s, bool *has_kind,
                              struct err *err)
{
    bool ok = true;
    if (view_eq_str(h->name, "kind"))
        ok = *has_kind = state_kind_parse(h->value, &s->kind);
    else if (view_eq_str(h->name, "step"))
        ok = state_text(h->value, s->step, sizeof s->step);
    else if (view_eq_str(h->name, "item"))
        ok = view_i64(h->value, &s->item) && s->item >= 0;
    else if (view_eq_str(h->name, "worker"))
        ok = state_text(h->value, s->worker, sizeof s->worker);
    if (!ok)
        err_set(err, ERR_INVALID, "record header %.*s: unacceptable value", (int)h->name.len,
                h->name.ptr);
    return ok;
}

static enum err_code state_check(const struct state_record *s, struct err *err)
{
    const char *kind = state_kinds[s->kind];
    bool is_free = s->kind == STATE_CANCEL || s->kind == STATE_SIGNAL; /* of nobody's lease */
    if (!is_free && s->head.epoch == 0)
        return err_set(err, ERR_INVALID, "%s record: no epoch", kind);
    if (state_kind_is_terminal(s->kind) && s->head.seq == 0)
        return err_set(err, ERR_INVALID, "%s record: no seq", kind);
    if ((s->kind == STATE_CHECKPOINT || s->kind == STATE_SIGNAL) && !s->step[0])
        return err_set(err, ERR_INVALID, "%s record: no step", kind);
    return ERR_OK;
}

enum err_code state_record_read(const struct record_in *rec, struct state_record *ret,
                                struct err *err)
{
    struct state_record s = {.item = -1};
    bool has_kind = false;
    enum err_code code = job_head_read(rec, &s.head, err);
    if (code) return code;
    for (size_t i = 0; i < rec->header_count; i++)
        if (!state_header_read(&rec->headers[i], &s, &has_kind, err)) return ERR_INVALID;
    if (!has_kind) return err_set(err, ERR_INVALID, "record header kind: missing");
    code = state_check(&s, err);
    if (code) return code;
    s.value = rec->value;
    *ret = s;
    return ERR_OK;
}
