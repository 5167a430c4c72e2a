/* A child process with pipes on stdin and stdout.
 *
 * Three handles, three ends: the process may be gone while bytes of its last words are still in the
 * pipe, so on_exit waits for the end of stdout too (at most a second: a grandchild may hold the
 * pipe). Freeing a living child kills it and keeps the process handle until it was reaped, else it
 * would stay a zombie. */
#include "common/io/loop_priv.h"
#include <assert.h>
#include <signal.h>

enum { CHILD_PENDING_MAX = 16 << 20, CHILD_READ_BYTES = 64 << 10, CHILD_EOF_WAIT_MS = 1000 };

struct loop_child {
    uv_process_t process;
    uv_pipe_t in, out;
    struct loop *loop;
    void (*on_bytes)(void *arg, struct view b);
    void (*on_exit)(void *arg, int64_t status, int term_signal);
    void *arg;
    struct timer late;
    int64_t status;
    int term_signal;
    unsigned open_count; /* handles whose close callback is still to come */
    bool has_exited, has_ended, was_told, is_freed;
    char bytes[CHILD_READ_BYTES];
};

struct child_write {
    uv_write_t req;
    size_t len;
    char bytes[];
};

static void child_closed(uv_handle_t *h)
{
    struct loop_child *c = h->data;
    assert(c->open_count > 0);
    if (--c->open_count == 0 && c->is_freed) free(c);
}

static void child_close(uv_handle_t *h)
{
    if (!uv_is_closing(h)) uv_close(h, child_closed);
}

static void child_tell(void *arg)
{
    struct loop_child *c = arg;
    if (c->was_told) return;
    c->was_told = true;
    timerq_cancel(c->loop->timers, &c->late);
    child_close((uv_handle_t *)&c->in);
    child_close((uv_handle_t *)&c->out);
    if (!c->is_freed) c->on_exit(c->arg, c->status, c->term_signal);
}

static void child_exited(uv_process_t *p, int64_t status, int term_signal)
{
    struct loop_child *c = p->data;
    loop_enter(c->loop);
    c->has_exited = true;
    c->status = status;
    c->term_signal = term_signal;
    child_close((uv_handle_t *)p);
    int64_t late_ms = c->loop->clock.mono_ms + CHILD_EOF_WAIT_MS;
    if (c->has_ended || c->is_freed ||
        !timerq_set(c->loop->timers, &c->late, late_ms, child_tell, c))
        child_tell(c);
}

static void child_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct loop_child *c = h->data;
    (void)suggested;
    *ret = uv_buf_init(c->bytes, sizeof c->bytes);
}

static void child_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct loop_child *c = s->data;
    loop_enter(c->loop);
    if (n > 0 && !c->is_freed) c->on_bytes(c->arg, view_make(b->base, (size_t)n));
    if (n >= 0) return;
    c->has_ended = true;
    uv_read_stop(s);
    if (c->has_exited) child_tell(c);
}

static int child_spawn(struct loop_child *c, const char *const *argv)
{
    size_t argc = 0;
    while (argv[argc]) argc++;
    char **copy = calloc(argc + 1, sizeof *copy);
    if (!copy) return UV_ENOMEM;
    int rc = 0;
    for (size_t i = 0; i < argc && rc == 0; i++) {
        copy[i] = view_dup(view_of(argv[i]));
        if (!copy[i]) rc = UV_ENOMEM;
    }
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&c->in},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&c->out},
        {.flags = UV_INHERIT_FD, .data.fd = 2},
    };
    uv_process_options_t o = {
        .exit_cb = child_exited, .file = copy[0], .args = copy, .stdio_count = 3, .stdio = stdio};
    if (rc == 0) rc = uv_spawn(&c->loop->uv, &c->process, &o);
    for (size_t i = 0; i < argc; i++) free(copy[i]);
    free(copy);
    return rc;
}

struct loop_child *loop_child_new(struct loop *l, const struct loop_child_options *o,
                                  struct err *err)
{
    assert(o->argv && o->argv[0] && o->on_bytes && o->on_exit);
    struct loop_child *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(err, ERR_NOMEM, "child: no memory");
        return NULL;
    }
    c->loop = l;
    c->on_bytes = o->on_bytes;
    c->on_exit = o->on_exit;
    c->arg = o->arg;
    uv_pipe_init(&l->uv, &c->in, 0);
    uv_pipe_init(&l->uv, &c->out, 0);
    c->process.data = c->in.data = c->out.data = c;
    c->open_count = 3;
    int rc = child_spawn(c, o->argv);
    if (rc == 0) rc = uv_read_start((uv_stream_t *)&c->out, child_alloc, child_read);
    if (rc == 0) return c;
    err_set(err, ERR_UNAVAILABLE, "start %s: %s", o->argv[0], uv_strerror(rc));
    c->has_exited = uv_process_get_pid(&c->process) ==
                    0; /* uv_spawn initialises the handle even when it fails */
    loop_child_free(c);
    return NULL;
}

static void child_written(uv_write_t *req, int status)
{
    (void)status; /* a broken pipe is told by on_exit */
    free(req->data);
}

bool loop_child_write(struct loop_child *c, struct view bytes)
{
    if (uv_is_closing((uv_handle_t *)&c->in)) return false;
    size_t queued = uv_stream_get_write_queue_size((uv_stream_t *)&c->in);
    if (queued + bytes.len > CHILD_PENDING_MAX) return false;
    if (bytes.len == 0) return true;
    struct child_write *w = malloc(sizeof *w + bytes.len);
    if (!w) return false;
    memcpy(w->bytes, bytes.ptr, bytes.len);
    w->req.data = w;
    uv_buf_t b = uv_buf_init(w->bytes, (unsigned)bytes.len);
    if (uv_write(&w->req, (uv_stream_t *)&c->in, &b, 1, child_written) == 0) return true;
    free(w);
    return false;
}

void loop_child_kill(struct loop_child *c)
{
    if (!c->has_exited) uv_process_kill(&c->process, SIGKILL);
}

void loop_child_free(struct loop_child *c)
{
    if (!c) return;
    assert(!c->is_freed);
    c->is_freed = true;
    timerq_cancel(c->loop->timers, &c->late);
    if (c->open_count == 0) {
        free(c);
        return;
    }
    child_close((uv_handle_t *)&c->in);
    child_close((uv_handle_t *)&c->out);
    if (c->has_exited)
        child_close((uv_handle_t *)&c->process);
    else
        uv_process_kill(&c->process, SIGKILL); /* closed when reaped */
}

void loop_child_abandon(uv_process_t *process)
{
    struct loop_child *c = process->data;
    if (!c->is_freed) loop_child_free(c);
}
