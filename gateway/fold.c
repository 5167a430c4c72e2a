/* Reading a job whole.
 *
 * What is hard: the parts change while they are read. Meta comes first, so that what the stream
 * adds can only be newer; the fold goes on until a page is not full, which is the end at some
 * moment after the question. A stream that is not there is either past its retention (meta then
 * keeps the finished view, asked for a second time because it may be large and is rarely wanted) or
 * not there yet. A long history is folded in pages, a page a turn, and only a few folds run at
 * once: the views they build are the one thing here that may grow to megabytes.
 *
 *   WAITING -> META -> PAGES ... -> done
 *                        '- no stream, ended -> VIEW -> done */
#include "gateway/fold.h"

#include "common/base/list.h"
#include "gateway/entries.h"
#include <assert.h>

enum { FOLD_PAGE = 256, FOLD_END_MAX = 2 << 20 };

struct fold {
    struct list_link link;
    struct folds *folds;
    fold_fn *fn;
    void *arg;
    struct job_id job, retried_as; /* retried_as "": not retried */
    char tenant[TENANT_MAX];
    bool is_active, without_end, is_ended_in_meta;
    struct jobview *view;
    struct buf end; /* copy of the terminal event's data */
    struct fold_result result;
};

struct folds {
    struct folds_options o;
    struct list active, waiting;
};

struct folds *folds_new(const struct folds_options *o)
{
    struct folds *fs = calloc(1, sizeof *fs);
    if (!fs) return NULL;
    fs->o = *o;
    list_init(&fs->active);
    list_init(&fs->waiting);
    return fs;
}

static void fold_free(struct fold *f)
{
    list_remove(f->is_active ? &f->folds->active : &f->folds->waiting, &f->link);
    jobview_free(f->view);
    buf_fini(&f->end);
    free(f);
}

void folds_free(struct folds *fs)
{
    struct list_link *k;
    if (!fs) return;
    while ((k = list_first(&fs->active)) != NULL) fold_free(LIST_ITEM(k, struct fold, link));
    while ((k = list_first(&fs->waiting)) != NULL) fold_free(LIST_ITEM(k, struct fold, link));
    free(fs);
}

static void fold_meta(void *arg, const struct err *e, const struct fn_meta *m);

static void fold_next(struct folds *fs)
{
    struct list_link *k;
    while (fs->active.count < fs->o.active_max && (k = list_first(&fs->waiting)) != NULL) {
        struct fold *f = LIST_ITEM(k, struct fold, link);
        list_remove(&fs->waiting, k);
        list_push(&fs->active, k);
        f->is_active = true;
        fn_meta(fs->o.fn, &f->job, view_of(fs->o.boot), fold_meta, f);
    }
}

static void fold_done(struct fold *f, const struct err *e)
{
    struct folds *fs = f->folds;
    f->result.view = f->view;
    if (f->view && f->retried_as.text[0]) jobview_set_retried_as(f->view, &f->retried_as);
    if (f->fn) f->fn(f->arg, e, e ? NULL : &f->result);
    fold_free(f);
    fold_next(fs);
}

static void fold_fail(struct fold *f, enum err_code code, const char *text)
{
    struct err err;
    (void)err_set(&err, code, "%s", text);
    fold_done(f, &err);
}

/* --- the stream --- */

static void fold_page(void *arg, const struct reply *r, const struct err *e);
static void fold_kept_view(void *arg, const struct err *e, const struct fn_meta *m);

static void fold_ask_page(struct fold *f)
{
    entries_ask(f->folds->o.reads, &f->job, f->result.last, FOLD_PAGE, fold_page, f);
}

static bool fold_keep_end(struct fold *f, const struct entry *e)
{
    f->result.has_end = true;
    f->result.end_id = e->id;
    f->result.end_type = e->type;
    buf_reset(&f->end);
    if (!buf_put_view(&f->end, e->data)) return false;
    f->result.end_data = buf_view(&f->end);
    return true;
}

/* False: no memory. Malformed data is left out, as the fold's contract says. */
static bool fold_entry(struct fold *f, const struct entry *e)
{
    bool is_end = event_type_is_terminal(e->type);
    f->result.has_stream = true;
    if (is_end && !fold_keep_end(f, e)) return false;
    if (is_end && f->without_end) return true;
    if (!is_end) f->result.last = e->id;
    if (e->type == EVENT_TYPE_COUNT) return true;
    return jobview_fold(f->view, e->type, e->data, NULL) != ERR_NOMEM;
}

static void fold_page(void *arg, const struct reply *r, const struct err *e)
{
    struct fold *f = arg;
    struct entry entry;
    if (!f->fn) {
        fold_done(f, NULL);
        return;
    }
    if (!entries_are(r, e)) {
        fold_fail(f, ERR_UNAVAILABLE, "Redis is away");
        return;
    }
    for (size_t i = 0; i < r->count && !f->result.has_end; i++) {
        if (!entry_read(r, i, &entry) || fold_entry(f, &entry)) continue;
        fold_fail(f, ERR_NOMEM, "out of memory");
        return;
    }
    if (!f->result.has_end && r->count == FOLD_PAGE)
        fold_ask_page(f);
    else if (!f->result.has_stream && f->is_ended_in_meta)
        fn_meta(f->folds->o.fn, &f->job, view_of(f->folds->o.boot), fold_kept_view, f);
    else
        fold_done(f, NULL);
}

/* --- meta --- */

static bool fold_seed(struct fold *f, const struct fn_meta *m)
{
    char name[WORKFLOW_NAME_MAX] = "", retry_of[JOB_ID_LEN + 1] = "";
    struct view head, version;
    struct jobview_seed seed = {
        .id = f->job, .created_ms = m->created_ms, .metadata = m->metadata, .workflow = name};
    if (view_cut(m->workflow, '@', &head, &version)) {
        if (!view_copy(head, name, sizeof name)) name[0] = '\0';
        if (!view_i64(version, &seed.version)) seed.version = 0;
    }
    if (!job_class_parse(m->cls, &seed.cls)) seed.cls = CLASS_INTERACTIVE;
    if (m->retry_of.len && view_copy(m->retry_of, retry_of, sizeof retry_of))
        seed.retry_of = retry_of;
    if (!id_parse(m->retried_as, &f->retried_as)) f->retried_as.text[0] = '\0';
    f->view = jobview_new(&seed);
    return f->view != NULL;
}

static void fold_meta(void *arg, const struct err *e, const struct fn_meta *m)
{
    struct fold *f = arg;
    if (!f->fn || e) {
        fold_done(f, e);
        return;
    }
    f->result.built = m->built;
    if (!m->found || m->reserved || (f->tenant[0] && !view_eq_str(m->tenant, f->tenant))) {
        fold_done(f, NULL);
        return;
    }
    f->result.found = true;
    f->is_ended_in_meta = job_status_is_terminal(m->status);
    if (fold_seed(f, m))
        fold_ask_page(f);
    else
        fold_fail(f, ERR_NOMEM, "out of memory");
}

/* The stream is past its retention: the view that meta keeps, and the end made of it. */
static void fold_kept_view(void *arg, const struct err *e, const struct fn_meta *m)
{
    struct fold *f = arg;
    struct jobview *kept = NULL;
    if (!f->fn || e) {
        fold_done(f, e);
        return;
    }
    f->result.found = m->found;
    f->result.built = m->built; /* a wipe may have come between the two questions */
    if (m->found && job_status_is_terminal(m->status) &&
        jobview_read(m->view, &kept, NULL) == ERR_OK) {
        jobview_free(f->view);
        f->view = kept;
        f->result.has_end = true;
        f->result.end_id = (struct event_id){(uint64_t)m->epoch, (uint64_t)m->seq};
        f->result.end_type = event_type_of_status(m->status);
        buf_reset(&f->end);
        if (!jobview_put_terminal(kept, &f->end, (uint64_t)m->seq)) {
            fold_fail(f, ERR_NOMEM, "out of memory");
            return;
        }
        f->result.end_data = buf_view(&f->end);
    }
    fold_done(f, NULL);
}

/* --- beginning --- */

struct fold *fold_start(struct folds *fs, const struct fold_ask *ask, fold_fn *fn, void *arg)
{
    struct fold *f = fs->waiting.count < fs->o.waiting_max ? calloc(1, sizeof *f) : NULL;
    if (!f) return NULL;
    f->folds = fs;
    f->fn = fn;
    f->arg = arg;
    f->job = ask->job;
    f->without_end = ask->without_end;
    buf_init(&f->end, FOLD_END_MAX);
    if (ask->tenant.ptr && !view_copy(ask->tenant, f->tenant, sizeof f->tenant)) {
        free(f);
        return NULL;
    }
    list_push(&fs->waiting, &f->link);
    fold_next(fs);
    return f;
}

void fold_forget(struct fold *f)
{
    f->fn = NULL;
    if (!f->is_active) fold_free(f); /* else the answer it waits for finds it forgotten */
}
