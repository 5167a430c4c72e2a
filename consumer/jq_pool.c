/* The parent's side of the jq helpers.
 *
 * Hard: a helper may be killed in the middle of anything: by our clock, by its own limits, by a
 * crash in libjq. Chosen: a helper has at most one expression; whatever ends the helper ends that
 * expression with an error, and the next expression starts a new one. Helpers are started when
 * first needed. */
#include "consumer/jq_pool.h"
#include "common/base/list.h"
#include "consumer/jq_helper.h"
#include <assert.h>

struct ask {
    struct list_link link;
    struct buf frame;
    eval_fn *done;
    void *arg;
    enum err_code refusal; /* ERR_OK, or why it is answered without being tried */
};

struct helper {
    struct jq_pool *pool;
    struct loop_child *child; /* NULL: not running */
    struct ask *ask;          /* what it works on */
    struct buf in;
    struct timer deadline;
    bool is_late;
};

struct jq_pool {
    struct loop *loop;
    struct jq_pool_options options;
    struct list waiting;
    struct helper *helpers;
    struct timer kick;
};

static void feed(struct jq_pool *p);

static void feed_later(void *arg)
{
    feed(arg);
}

/* Never from inside the caller's own call: the next turn starts the helper. */
static void schedule(struct jq_pool *p)
{
    const struct clock *c = loop_clock(p->loop);

    timerq_set(loop_timers(p->loop), &p->kick, c->mono_ms, feed_later, p);
    loop_kick(p->loop);
}

static void settle(struct helper *h, const struct err *e, struct view value)
{
    struct ask *a = h->ask;

    h->ask = NULL;
    timerq_cancel(loop_timers(h->pool->loop), &h->deadline);
    schedule(h->pool);
    if (!a) return;
    a->done(a->arg, e, value);
    buf_fini(&a->frame);
    free(a);
}

static void helper_on_bytes(void *arg, struct view bytes)
{
    struct helper *h = arg;
    uint32_t head[2];
    struct view body;
    struct err e = {0};

    buf_put_view(&h->in, bytes);
    if (h->in.len < sizeof head) return;
    memcpy(head, h->in.data, sizeof head);
    if (h->in.failed || head[1] > JQ_VALUE_MAX) {
        loop_child_kill(h->child);
        return;
    }
    if (h->in.len < sizeof head + head[1]) return;
    body = view_make(h->in.data + sizeof head, head[1]);
    if (head[0] == JQ_VALUE) {
        settle(h, NULL, body);
    } else {
        (void)err_set(&e, head[0] == JQ_TOO_LARGE ? ERR_TOO_LARGE : ERR_INVALID, "%.*s",
                      (int)body.len, body.ptr);
        settle(h, &e, VIEW_NONE);
    }
    buf_reset(&h->in);
}

static void helper_on_exit(void *arg, int64_t status, int term_signal)
{
    struct helper *h = arg;
    struct err e = {0};

    (void)status;
    (void)term_signal;
    loop_child_free(h->child);
    h->child = NULL;
    buf_reset(&h->in);
    if (h->is_late)
        (void)err_set(&e, ERR_TIMEOUT, "jq: the expression took longer than %lld ms",
                      (long long)h->pool->options.timeout_ms);
    else
        (void)err_set(&e, ERR_TIMEOUT, "jq: the expression used more memory or time than it may");
    h->is_late = false;
    settle(h, &e, VIEW_NONE);
}

static void helper_on_deadline(void *arg)
{
    struct helper *h = arg;

    if (!h->child) return;
    h->is_late = true;
    loop_child_kill(h->child);
}

static bool start(struct helper *h)
{
    const char *argv[] = {h->pool->options.program, "--jq-helper", NULL};
    const struct loop_child_options o = {
        .argv = argv, .on_bytes = helper_on_bytes, .on_exit = helper_on_exit, .arg = h};

    if (!h->child) h->child = loop_child_new(h->pool->loop, &o, NULL);
    return h->child != NULL;
}

/* A refusal is an answer too, and answers never come from inside the asking call. */
static void refuse(struct helper *h, struct ask *a)
{
    struct err e = {0};

    h->ask = a;
    if (a->refusal == ERR_FULL)
        (void)err_set(&e, ERR_FULL, "jq: too many expressions are waiting");
    else
        (void)err_set(&e, ERR_TOO_LARGE, "jq: the values an expression sees are over %d MB",
                      JQ_ROOT_MAX >> 20);
    settle(h, &e, VIEW_NONE);
}

static void give(struct helper *h, struct ask *a)
{
    const int64_t until = loop_clock(h->pool->loop)->mono_ms + h->pool->options.timeout_ms;
    struct err e = {0};

    h->ask = a;
    if (start(h) && loop_child_write(h->child, buf_view(&a->frame))) {
        timerq_set(loop_timers(h->pool->loop), &h->deadline, until, helper_on_deadline, h);
        return;
    }
    (void)err_set(&e, ERR_UNAVAILABLE, "jq: no helper could be started");
    settle(h, &e, VIEW_NONE);
}

static void feed(struct jq_pool *p)
{
    for (size_t i = 0; i < p->options.helpers; i++) {
        struct list_link *first = list_first(&p->waiting);

        if (!first) return;
        if (p->helpers[i].ask) continue;
        list_remove(&p->waiting, first);
        if (LIST_ITEM(first, struct ask, link)->refusal != ERR_OK)
            refuse(&p->helpers[i], LIST_ITEM(first, struct ask, link));
        else
            give(&p->helpers[i], LIST_ITEM(first, struct ask, link));
    }
}

static bool put_frame(struct buf *b, struct view source, struct view root)
{
    const uint32_t head[2] = {(uint32_t)source.len, (uint32_t)root.len};

    if (source.len > JQ_SOURCE_MAX || root.len > JQ_ROOT_MAX) return false;
    return buf_put(b, head, sizeof head) && buf_put_view(b, source) && buf_put_view(b, root);
}

static void pool_eval(void *self, struct view source, struct view root, eval_fn *done, void *arg)
{
    struct jq_pool *p = self;
    struct ask *a = calloc(1, sizeof *a);

    assert(a);
    a->done = done;
    a->arg = arg;
    buf_init(&a->frame, sizeof(uint32_t) * 2 + JQ_SOURCE_MAX + JQ_ROOT_MAX);
    if (p->waiting.count >= p->options.waiting_max)
        a->refusal = ERR_FULL;
    else if (!put_frame(&a->frame, source, root))
        a->refusal = ERR_TOO_LARGE;
    list_push(&p->waiting, &a->link);
    schedule(p);
}

struct jq_pool *jq_pool_new(struct loop *l, const struct jq_pool_options *o, struct err *err)
{
    struct jq_pool *p = calloc(1, sizeof *p);

    if (p) p->helpers = calloc(o->helpers, sizeof *p->helpers);
    if (!p || !p->helpers) {
        free(p);
        (void)err_set(err, ERR_NOMEM, "no memory for jq helpers");
        return NULL;
    }
    p->loop = l;
    p->options = *o;
    list_init(&p->waiting);
    for (size_t i = 0; i < o->helpers; i++) {
        p->helpers[i].pool = p;
        buf_init(&p->helpers[i].in, sizeof(uint32_t) * 2 + JQ_VALUE_MAX);
    }
    return p;
}

void jq_pool_free(struct jq_pool *p)
{
    struct list_link *k;

    if (!p) return;
    timerq_cancel(loop_timers(p->loop), &p->kick);
    for (size_t i = 0; i < p->options.helpers; i++) {
        struct helper *h = &p->helpers[i];

        timerq_cancel(loop_timers(p->loop), &h->deadline);
        if (h->child) loop_child_free(h->child);
        if (h->ask) buf_fini(&h->ask->frame);
        free(h->ask);
        buf_fini(&h->in);
    }
    while ((k = list_first(&p->waiting)) != NULL) {
        struct ask *a = LIST_ITEM(k, struct ask, link);

        list_remove(&p->waiting, k);
        buf_fini(&a->frame);
        free(a);
    }
    free(p->helpers);
    free(p);
}

struct eval_port jq_pool_port(struct jq_pool *p)
{
    return (struct eval_port){.self = p, .eval = pool_eval};
}
