/* The Redis functions as C calls: sending, loading, repeating.
 *
 * What is hard is the library that is not there: a fresh or wiped server answers "Function not
 * found" to every call in flight. The first such answer sends FUNCTION LOAD of its function's
 * library; calls that met it wait in `again`, calls made meanwhile in `waiting`, and when the load
 * is answered both go out, first those that were first, so that two appends of one job keep their
 * order. A call of a second library that is missing, too, meets that again and loads it then, so a
 * library that cannot be loaded stops no other for long. Another process may load at the same time:
 * "already exists" is success. A call is copied when it starts, because only then can it be
 * repeated; lists are bounded, and past their bound a call is sent at once (it stands behind the
 * load in the same connection) or answered ERR_UNAVAILABLE.
 *
 * fn_free may come while calls fly, even from inside a callback: a call outlives it without its fn
 * and is freed when the port answers. */
#include "schemas/fn_priv.h"

#include "common/base/json.h"
#include "schemas/embed.h"
#include <assert.h>

enum {
    FN_WAITING_MAX = 4096,
    FN_TRIES_MAX = 5, /* a call may wait for every library in turn */
    FN_TEXT_MAX = 4096,
    FN_PACK_MAX = JOB_METADATA_MAX + 4096
};

struct fn {
    struct redis_port port;
    struct list flying, again, waiting;
    struct buf queued, packed; /* scratch of the call being made */
    bool is_loading;
    bool is_calling, is_freed; /* a loop that calls out is running; fn_free came meanwhile */
};

struct fn *fn_new(struct redis_port port)
{
    struct fn *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    f->port = port;
    list_init(&f->flying);
    list_init(&f->again);
    list_init(&f->waiting);
    buf_init(&f->queued, FN_TEXT_MAX);
    buf_init(&f->packed, FN_PACK_MAX);
    return f;
}

static struct fn_call *fn_pop(struct list *l)
{
    struct list_link *k = list_first(l);
    if (!k) return NULL;
    list_remove(l, k);
    return LIST_ITEM(k, struct fn_call, link);
}

void fn_free(struct fn *f)
{
    struct fn_call *c;
    if (!f) return;
    while ((c = fn_pop(&f->flying))) c->fn = NULL; /* the port still holds it */
    while ((c = fn_pop(&f->again))) free(c);
    while ((c = fn_pop(&f->waiting))) free(c);
    buf_fini(&f->queued);
    buf_fini(&f->packed);
    if (f->is_calling)
        f->is_freed = true;
    else
        free(f);
}

struct redis_port *fn_port(struct fn *f)
{
    return &f->port;
}

struct view fn_key(enum fn_key kind, struct view name, char ret[FN_KEY_MAX])
{
    static const char *const around[][2] = {
        [FN_KEY_META] = {"j:{", "}:m"},    [FN_KEY_EVENTS] = {"j:{", "}:e"},
        [FN_KEY_CHANNEL] = {"j:{", "}"},   [FN_KEY_BEAT] = {"w:", ""},
        [FN_KEY_INDEX] = {"ix:{", "}"},    [FN_KEY_COUNT] = {"q:{", "}"},
        [FN_KEY_BUILT] = {"built:{", "}"}, [FN_KEY_TOLD] = {"told:{", "}"},
        [FN_KEY_BUDGET] = {"rl:{", "}"},
    };
    enum { NAME_MAX_LEN = FN_KEY_MAX - 12 };
    const char *before = around[kind][0], *after = around[kind][1];
    size_t a = strlen(before), n = name.len < NAME_MAX_LEN ? name.len : NAME_MAX_LEN,
           b = strlen(after);
    memcpy(ret, before, a);
    if (n) memcpy(ret + a, name.ptr, n);
    memcpy(ret + a + n, after, b + 1);
    return view_make(ret, a + n + b);
}

/* --- gathering arguments --------------------------------------------------------------------- */

void fn_arg(struct fn_args *a, struct view v)
{
    assert(a->count < FN_ARGV_MAX);
    a->argv[a->count++] = v.ptr ? v : VIEW_LIT("");
}

void fn_arg_int(struct fn_args *a, int64_t n)
{
    assert(a->number_count < FN_NUMBERS_MAX);
    char *text = a->numbers[a->number_count++];
    fn_arg(a, view_make(text, buf_decimal(n, text)));
}

void fn_arg_key(struct fn_args *a, enum fn_key kind, struct view name)
{
    assert(a->key_count < FN_KEYS_MAX);
    fn_arg(a, fn_key(kind, name, a->keys[a->key_count++]));
}

void fn_arg_home(struct fn_args *a, uint32_t home)
{
    char digits[BUF_DECIMAL];
    fn_arg_key(a, FN_KEY_BUILT, view_make(digits, buf_decimal(home, digits)));
}

void fn_arg_job_keys(struct fn_args *a, const struct job_head *head, bool all)
{
    struct view id = view_make(head->id.text, JOB_ID_LEN);
    fn_arg_key(a, FN_KEY_META, id);
    fn_arg_key(a, FN_KEY_EVENTS, id);
    if (!all) return;
    fn_arg_key(a, FN_KEY_INDEX, view_of(head->tenant));
    fn_arg_key(a, FN_KEY_COUNT, view_of(head->tenant));
}

void fn_args_function(struct fn_args *a, const char *name, const char *key_count)
{
    a->count = a->number_count = a->key_count = 0; /* the rest needs no value */
    fn_arg(a, VIEW_LIT("FCALL"));
    fn_arg(a, view_of(name));
    fn_arg(a, view_of(key_count));
}

void fn_arg_entry(struct fn_args *a, const struct fn_job *job)
{
    fn_arg(a, view_make(job->head->id.text, JOB_ID_LEN));
    fn_arg_int(a, job->head->created_ms);
    fn_arg_int(a, job->head->created_ms - job->index_ms);
}

/* --- the fields of an entry --------------------------------------------------------------------
 */

static void fn_field(struct fn_fields *s, const char *name, struct view value)
{
    if (!value.len) return;
    s->name[s->count] = view_of(name);
    s->value[s->count++] = value;
}

static void fn_fields_of(struct fn_fields *s, const struct job_head *h)
{
    s->count = 0;
    fn_field(s, "tn", view_of(h->tenant));
    fn_field(s, "cl", view_of(job_class_name(h->cls)));
    fn_field(s, "fp", view_of(h->fp));
    fn_field(s, "wf", job_workflow_ref(h, s->workflow));
    fn_field(s, "cr", view_make(s->created, buf_decimal(h->created_ms, s->created)));
    fn_field(s, "og", view_of(h->origin));
    if (h->deadline_ms > 0)
        fn_field(s, "dl", view_make(s->deadline, buf_decimal(h->deadline_ms, s->deadline)));
    fn_field(s, "ro", view_of(h->redrive_of));
}

void fn_arg_fields(struct fn_args *a, struct fn_fields *s, const struct fn_job *job)
{
    fn_fields_of(s, job->head);
    for (size_t i = 0; i < s->count; i++) {
        fn_arg(a, s->name[i]);
        fn_arg(a, s->value[i]);
    }
}

struct view fn_pack_fields(struct fn *f, const struct fn_job *job)
{
    struct fn_fields s;
    fn_fields_of(&s, job->head);
    fn_field(&s, "md", job->metadata);
    buf_reset(&f->packed);
    for (size_t i = 0; i < s.count; i++) {
        if (i) buf_put_char(&f->packed, '\x1f');
        buf_put_view(&f->packed, s.name[i]);
        buf_put_char(&f->packed, '\x1f');
        buf_put_view(&f->packed, s.value[i]);
    }
    return buf_view(&f->packed);
}

struct view fn_queued_data(struct fn *f, const struct fn_job *job)
{
    struct jw w;
    buf_reset(&f->queued);
    event_begin(&w, &f->queued, EVENT_JOB_QUEUED, &job->head->id, 1, job->queued_ts_ms);
    jw_kcstr(&w, "class", job_class_name(job->head->cls));
    jw_kcstr(&w, "workflow", job->head->workflow);
    event_end(&w);
    return buf_view(&f->queued);
}

/* --- calls ------------------------------------------------------------------------------------ */

static void fn_on_reply(void *arg, const struct reply *r, const struct err *e);

static void fn_send(struct fn *f, struct fn_call *c)
{
    list_push(&f->flying, &c->link);
    f->port.call(f->port.self, c->argv, c->argc, fn_on_reply, c);
}

static struct fn_call *fn_call_new(const struct view *argv, size_t argc)
{
    size_t bytes = 0;
    for (size_t i = 0; i < argc; i++) bytes += argv[i].len;
    struct fn_call *c = malloc(sizeof *c + argc * sizeof *c->argv + bytes);
    if (!c) return NULL;
    *c = (struct fn_call){.argc = argc};
    char *at = (char *)(c->argv + argc);
    for (size_t i = 0; i < argc; i++) {
        c->argv[i] = view_make(at, argv[i].len);
        if (argv[i].len) memcpy(at, argv[i].ptr, argv[i].len);
        at += argv[i].len;
    }
    return c;
}

void fn_start(struct fn *f, const struct view *argv, size_t argc, const struct fn_ask *ask)
{
    bool scratch_failed = f->packed.failed || f->queued.failed;
    struct fn_call *c = scratch_failed ? NULL : fn_call_new(argv, argc);
    if (!c) {
        const struct fn_call none = {
            .fn = f, .decode = ask->decode, .cb = ask->cb, .arg = ask->arg};
        struct err e;
        buf_reset(&f->packed);
        buf_reset(&f->queued);
        err_set(&e, ERR_NOMEM, "redis function: out of memory");
        ask->decode(&none, &e, NULL);
        return;
    }
    c->fn = f;
    c->decode = ask->decode;
    c->cb = ask->cb;
    c->arg = ask->arg;
    c->items = ask->items;
    if (f->is_loading && f->waiting.count < FN_WAITING_MAX)
        list_push(&f->waiting, &c->link);
    else
        fn_send(f, c);
}

void fn_start_args(struct fn *f, const struct fn_args *a, const struct fn_ask *ask)
{
    fn_start(f, a->argv, a->count, ask);
}

static void fn_fail(struct fn_call *c, enum err_code code, struct view why)
{
    struct err e;
    size_t len = why.len < 200 ? why.len : 200;
    err_set(&e, code, "redis: %.*s", (int)len, len ? why.ptr : "");
    c->decode(c, &e, NULL);
    free(c);
}

/* --- the library ------------------------------------------------------------------------------ */

static void fn_fail_all(struct fn *f, struct view why)
{
    struct fn_call *c;
    f->is_calling = true;
    while ((c = fn_pop(&f->again)) || (c = fn_pop(&f->waiting))) fn_fail(c, ERR_UNAVAILABLE, why);
    f->is_calling = false;
    if (f->is_freed) free(f);
}

static void fn_loaded(const struct fn_call *load, const struct err *e, const struct reply *r)
{
    struct fn *f = load->fn;
    struct fn_call *c;
    f->is_loading = false;
    if (e) {
        fn_fail_all(f, view_of(e->text));
        return;
    }
    (void)r;
    while ((c = fn_pop(&f->again)) || (c = fn_pop(&f->waiting))) fn_send(f, c);
}

/* A function is named <library>_<verb>. */
static const struct embed_file *fn_library(struct view function)
{
    static const char *const files[][2] = {
        {"sluice_v1_", "schemas/redis/sluice_v1.lua"},
        {"sluice_pace_v1_", "schemas/redis/sluice_pace_v1.lua"},
        {"sluice_usage_v1_", "schemas/redis/sluice_usage_v1.lua"}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (view_starts(function, files[i][0])) return embed_find(files[i][1]);
    return NULL;
}

static bool fn_load(struct fn *f, struct view function)
{
    const struct embed_file *lua = fn_library(function);
    assert(lua);
    const struct view argv[] = {VIEW_LIT("FUNCTION"), VIEW_LIT("LOAD"),
                                view_make(lua->data, lua->len)};
    struct fn_call *c = fn_call_new(argv, 3);
    if (!c) return false;
    c->fn = f;
    c->decode = fn_loaded;
    f->is_loading = true;
    fn_send(f, c);
    return true;
}

static void fn_repeat(struct fn *f, struct fn_call *c)
{
    if (++c->tries >= FN_TRIES_MAX) {
        fn_fail(c, ERR_PROTOCOL, VIEW_LIT("the function library does not stay loaded"));
    } else if (f->again.count >= FN_WAITING_MAX || (!f->is_loading && !fn_load(f, c->argv[1]))) {
        fn_fail(c, ERR_UNAVAILABLE, VIEW_LIT("the function library is being loaded"));
    } else {
        list_push(&f->again, &c->link);
    }
}

/* --- answers ---------------------------------------------------------------------------------- */

/* What the server says of itself, not of the call. */
static bool fn_is_temporary(struct view text)
{
    static const char *const codes[] = {"LOADING",
                                        "BUSY",
                                        "OOM",
                                        "READONLY",
                                        "MASTERDOWN",
                                        "NOREPLICAS",
                                        "MISCONF",
                                        "CLUSTERDOWN",
                                        "TRYAGAIN",
                                        "UNBLOCKED",
                                        "ERR max number of clients"};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (view_starts(text, codes[i])) return true;
    return false;
}

static bool fn_holds(struct view text, const char *part)
{
    size_t len = strlen(part);
    for (size_t i = 0; i + len <= text.len; i++)
        if (memcmp(text.ptr + i, part, len) == 0) return true;
    return false;
}

static void fn_on_error(struct fn *f, struct fn_call *c, struct view text)
{
    if (c->decode == fn_loaded && fn_holds(text, "already exists")) {
        fn_loaded(c, NULL, NULL);
        free(c);
    } else if (c->decode != fn_loaded && view_starts(text, "ERR Function not found")) {
        fn_repeat(f, c);
    } else {
        fn_fail(c, fn_is_temporary(text) ? ERR_UNAVAILABLE : ERR_PROTOCOL, text);
    }
}

static void fn_on_reply(void *arg, const struct reply *r, const struct err *e)
{
    struct fn_call *c = arg;
    struct fn *f = c->fn;
    if (!f) {
        free(c);
        return;
    }
    list_remove(&f->flying, &c->link);
    if (!e && r->kind == REPLY_ERROR) {
        fn_on_error(f, c, r->str);
        return;
    }
    c->decode(c, e, r);
    free(c);
}

bool fn_expect(bool ok, const char *what, struct err *e)
{
    if (!ok) err_set(e, ERR_PROTOCOL, "redis: the answer to %s has not its shape", what);
    return ok;
}

bool fn_read_int(const struct reply *r, size_t index, int64_t *ret)
{
    const struct reply *item = reply_at(r, index);
    if (item->kind != REPLY_INT) return false;
    *ret = item->num;
    return true;
}

/* A verdict: one word. */
void fn_decode_done(const struct fn_call *c, const struct err *e, const struct reply *r)
{
    struct err own;
    struct view word = e ? VIEW_NONE : reply_str(r);
    if (!e && !fn_expect(word.len > 0, "a call", &own)) e = &own;
    c->cb.done(c->arg, e, e ? VIEW_NONE : word);
}
