/* The loop.
 *
 * libuv's turn is: timers, idle, prepare, poll (all fd callbacks), check, closed handles. Ours
 * hangs from it so:
 *
 *   prepare   arm one uv_timer for the earliest of our own timers (its callback does nothing: it
 * only ends the poll) poll      fd callbacks; the first one of a turn reads the wall clock
 * (loop_enter), the others reuse it check     read the time once more, run due timers, then the
 * after-turn hooks, in this order
 *
 * So timers fire after the bytes of the same turn were seen, and whatever both of them put into
 * output buffers leaves in the hooks: one write a turn. There is no place in libuv between "poll
 * returned" and "first callback", hence loop_enter in every callback instead of one refresh.
 *
 * A kick is an idle handle kept active until the next check: an active idle handle makes the poll
 * return at once. It is stopped in check, not in its own callback, because the poll time-out is
 * worked out after idle callbacks ran.
 *
 * Frees: libuv closes handles at the end of the turn and calls back; everything here is freed in
 * that callback, so a watch may be freed inside its own callback. After loop_watch_free no callback
 * comes even for events already fetched. */
#include "common/io/loop_priv.h"
#include <assert.h>
#include <signal.h>
#include <sys/random.h>

int64_t loop_now_ms(void)
{
    return (int64_t)(uv_hrtime() / 1000000);
}

static void loop_read_clock(struct loop *l)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    l->clock.mono_ms = (int64_t)uv_now(&l->uv);
    l->clock.wall_ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void loop_enter(struct loop *l)
{
    l->has_worked = true;
    if (l->is_fresh) return;
    loop_read_clock(l);
    l->is_fresh = true;
}

static void loop_timer_due(uv_timer_t *h)
{
    struct loop *l = h->data;
    l->armed_ms = INT64_MAX;
}

static void loop_idle(uv_idle_t *h)
{
    (void)h;
}

static void loop_prepare(uv_prepare_t *h)
{
    struct loop *l = h->data;
    int64_t next = timerq_next_ms(l->timers);
    if (next == l->armed_ms) return;
    if (next == INT64_MAX) {
        uv_timer_stop(&l->timer);
    } else {
        int64_t now = (int64_t)uv_now(&l->uv);
        uv_timer_start(&l->timer, loop_timer_due, next > now ? (uint64_t)(next - now) : 0, 0);
    }
    l->armed_ms = next;
}

static void loop_run_hooks(struct loop *l)
{
    size_t kept = 0;
    l->is_in_hooks = true;
    for (size_t i = 0; i < l->hook_count; i++)
        if (l->hooks[i].fn) l->hooks[i].fn(l->hooks[i].arg);
    l->is_in_hooks = false;
    for (size_t i = 0; i < l->hook_count; i++)
        if (l->hooks[i].fn) l->hooks[kept++] = l->hooks[i]; /* without those removed meanwhile */
    l->hook_count = kept;
}

static void loop_check(uv_check_t *h)
{
    struct loop *l = h->data;
    uv_update_time(&l->uv);
    loop_read_clock(l);
    bool has_worked = l->has_worked || l->is_kicked;
    if (l->is_kicked) uv_idle_stop(&l->idle);
    l->is_kicked = false;
    l->is_fresh = true;
    if (timerq_run(l->timers, l->clock.mono_ms, LOOP_TIMERS_TURN_MAX) > 0) has_worked = true;
    if (has_worked) loop_run_hooks(l);
    l->has_worked = false;
    l->is_fresh = false;
}

static void loop_seed(struct loop *l)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) seed = uv_hrtime();
    rng_seed(&l->rng, seed);
}

static void loop_ignore_sigpipe(void)
{
    struct sigaction sa = {.sa_handler = SIG_IGN};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGPIPE, &sa, NULL);
}

struct loop *loop_new(struct err *err)
{
    setenv("UV_THREADPOOL_SIZE", "8",
           0); /* read by libuv at its first job; 4 is too few for blocking Kafka calls */
    struct loop *l = calloc(1, sizeof *l);
    if (l) l->timers = timerq_new(LOOP_TIMERS_MAX);
    if (!l || !l->timers) {
        free(l);
        err_set(err, ERR_NOMEM, "event loop: no memory");
        return NULL;
    }
    int rc = uv_loop_init(&l->uv);
    if (rc != 0) {
        err_set(err, ERR_INTERNAL, "event loop: %s", uv_strerror(rc));
        timerq_free(l->timers);
        free(l);
        return NULL;
    }
    uv_prepare_init(&l->uv, &l->prepare);
    uv_check_init(&l->uv, &l->check);
    uv_idle_init(&l->uv, &l->idle);
    uv_timer_init(&l->uv, &l->timer);
    l->prepare.data = l->check.data = l->idle.data = l->timer.data = l;
    uv_prepare_start(&l->prepare, loop_prepare);
    uv_check_start(&l->check, loop_check);
    l->armed_ms = INT64_MAX;
    loop_ignore_sigpipe();
    loop_seed(l);
    loop_read_clock(l);
    return l;
}

static void loop_heap_closed(uv_handle_t *h)
{
    free(h->data); /* the struct the handle is embedded in */
}

static void loop_close_left(uv_handle_t *h, void *arg)
{
    struct loop *l = arg;
    if (uv_is_closing(h)) return;
    uv_handle_type type = uv_handle_get_type(h);
    if (h->data == l) {
        uv_close(h, NULL); /* our own four */
    } else if (type == UV_PROCESS) {
        loop_child_abandon((uv_process_t *)h);
    } else if (type == UV_POLL || type == UV_SIGNAL) {
        uv_close(h, loop_heap_closed);
    }
}

/* Work on the pool cannot be taken back: its done callbacks still run here, so that what they own
 * is freed. */
void loop_free(struct loop *l)
{
    if (!l) return;
    for (size_t i = 0; i < l->shared_count; i++) l->shared[i].fini(l->shared[i].thing);
    l->is_closing = true;
    uv_walk(&l->uv, loop_close_left, l);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    uv_walk(&l->uv, loop_close_left, l); /* what those callbacks opened */
    uv_run(&l->uv, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&l->uv);
    assert(rc == 0);
    (void)rc;
    timerq_free(l->timers);
    free(l);
}

void loop_run(struct loop *l)
{
    uv_update_time(&l->uv);
    loop_read_clock(l);
    loop_kick(l); /* what was queued before the first turn leaves in it */
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *l)
{
    uv_stop(&l->uv);
}

const struct clock *loop_clock(const struct loop *l)
{
    return &l->clock;
}

struct timerq *loop_timers(struct loop *l)
{
    return l->timers;
}

struct rng *loop_rng(struct loop *l)
{
    return &l->rng;
}

void *loop_shared(const struct loop *l, const char *kind)
{
    for (size_t i = 0; i < l->shared_count; i++)
        if (strcmp(l->shared[i].kind, kind) == 0) return l->shared[i].thing;
    return NULL;
}

bool loop_share(struct loop *l, const char *kind, void *thing, void (*fini)(void *thing))
{
    assert(!loop_shared(l, kind));
    if (l->shared_count == LOOP_SHARED_MAX) return false;
    l->shared[l->shared_count++] = (struct loop_thing){.kind = kind, .thing = thing, .fini = fini};
    return true;
}

/* --- descriptors -------------------------------------------------------------------------- */

struct loop_watch {
    uv_poll_t poll;
    struct loop *loop;
    loop_fd_fn *fn;
    void *arg;
};

static void loop_watch_ready(uv_poll_t *h, int status, int events)
{
    struct loop_watch *w = h->data;
    loop_enter(w->loop);
    int ready = (events & UV_READABLE ? LOOP_READ : 0) | (events & UV_WRITABLE ? LOOP_WRITE : 0);
    /* An error on the descriptor: the owner's next read or write tells which (libuv has stopped the
     * watch). */
    if (status < 0) ready = LOOP_READ | LOOP_WRITE;
    w->fn(w->arg, ready);
}

struct loop_watch *loop_watch_new(struct loop *l, int fd, int events, loop_fd_fn *fn, void *arg)
{
    assert(fd >= 0 && fn);
    struct loop_watch *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    if (uv_poll_init(&l->uv, &w->poll, fd) != 0) {
        free(w);
        return NULL;
    }
    w->poll.data = w;
    w->loop = l;
    w->fn = fn;
    w->arg = arg;
    loop_watch_set(w, events);
    return w;
}

void loop_watch_set(struct loop_watch *w, int events)
{
    assert(!uv_is_closing((uv_handle_t *)&w->poll));
    int want = (events & LOOP_READ ? UV_READABLE : 0) | (events & LOOP_WRITE ? UV_WRITABLE : 0);
    if (want)
        uv_poll_start(&w->poll, want, loop_watch_ready);
    else
        uv_poll_stop(&w->poll);
}

void loop_watch_free(struct loop_watch *w)
{
    if (w) uv_close((uv_handle_t *)&w->poll, loop_heap_closed);
}

/* --- end of turn -------------------------------------------------------------------------- */

void loop_after_turn(struct loop *l, void (*fn)(void *arg), void *arg)
{
    assert(fn && l->hook_count < LOOP_HOOKS_MAX);
    l->hooks[l->hook_count++] = (struct loop_hook){.fn = fn, .arg = arg};
}

void loop_after_turn_remove(struct loop *l, void (*fn)(void *arg), void *arg)
{
    size_t i = 0;
    while (i < l->hook_count && (l->hooks[i].fn != fn || l->hooks[i].arg != arg)) i++;
    if (i == l->hook_count) return;
    if (l->is_in_hooks) { /* do not move what is being walked */
        l->hooks[i].fn = NULL;
        return;
    }
    memmove(&l->hooks[i], &l->hooks[i + 1], (l->hook_count - i - 1) * sizeof l->hooks[0]);
    l->hook_count--;
}

bool loop_is_ending_turn(const struct loop *l)
{
    return l->is_in_hooks;
}

void loop_kick(struct loop *l)
{
    if (l->is_kicked || l->is_closing) return;
    l->is_kicked = true;
    uv_idle_start(&l->idle, loop_idle);
}

/* --- signals ------------------------------------------------------------------------------ */

struct loop_signal {
    uv_signal_t handle;
    struct loop *loop;
    void (*fn)(void *arg, int signum);
    void *arg;
};

static void loop_signal_came(uv_signal_t *h, int signum)
{
    struct loop_signal *s = h->data;
    loop_enter(s->loop);
    s->fn(s->arg, signum);
}

void loop_on_signal(struct loop *l, int signum, void (*fn)(void *arg, int signum), void *arg)
{
    assert(l->signal_count < LOOP_SIGNALS_MAX);
    struct loop_signal *s = calloc(1, sizeof *s);
    assert(s); /* at start-up only */
    s->loop = l;
    s->fn = fn;
    s->arg = arg;
    s->handle.data = s;
    uv_signal_init(&l->uv, &s->handle);
    int rc = uv_signal_start(&s->handle, loop_signal_came, signum);
    assert(rc == 0);
    (void)rc;
    l->signal_count++;
}

/* --- thread pool -------------------------------------------------------------------------- */

struct loop_job {
    uv_work_t req;
    struct loop *loop;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

static void loop_job_work(uv_work_t *req)
{
    struct loop_job *j = req->data;
    j->work(j->arg);
}

static void loop_job_done(uv_work_t *req, int status)
{
    struct loop_job *j = req->data;
    (void)status; /* never cancelled */
    loop_enter(j->loop);
    j->loop->offload_count--;
    j->done(j->arg);
    free(j);
}

enum err_code loop_offload(struct loop *l, void (*work)(void *arg), void (*done)(void *arg),
                           void *arg, struct err *err)
{
    if (l->offload_count >= LOOP_OFFLOADS_MAX)
        return err_set(err, ERR_FULL, "thread pool: %d jobs wait already", LOOP_OFFLOADS_MAX);
    struct loop_job *j = calloc(1, sizeof *j);
    if (!j) return err_set(err, ERR_NOMEM, "thread pool: no memory");
    *j = (struct loop_job){.loop = l, .work = work, .done = done, .arg = arg};
    j->req.data = j;
    int rc = uv_queue_work(&l->uv, &j->req, loop_job_work, loop_job_done);
    if (rc != 0) {
        free(j);
        return err_set(err, ERR_INTERNAL, "thread pool: %s", uv_strerror(rc));
    }
    l->offload_count++;
    return ERR_OK;
}
