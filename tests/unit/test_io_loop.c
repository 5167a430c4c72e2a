/* The loop: order inside a turn, timers, hooks, watches that free themselves, pool, signals,
 * children. */
#include "common/io/loop.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

enum { GUARD_MS = 20000, PAYLOAD = 1 << 20 };

struct rig {
    struct loop *l;
    struct timer guard, timers[4];
    char order[64];
    size_t order_len;
    size_t hook_calls;
    int pipe[2];
    struct loop_watch *watches[2];
    struct loop_child *child;
    size_t bytes;
    int64_t status;
    int term_signal, signum;
    size_t exits, works, dones;
    pthread_t worker;
};

static void rig_late(void *arg)
{
    (void)arg;
    fail_msg("the loop did not get there in time");
}

static int rig_setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    r->l = loop_new(NULL);
    assert_non_null(r->l);
    int64_t late = loop_clock(r->l)->mono_ms + GUARD_MS;
    assert_true(timerq_set(loop_timers(r->l), &r->guard, late, rig_late, NULL));
    *state = r;
    return 0;
}

static int rig_teardown(void **state)
{
    struct rig *r = *state;
    loop_free(r->l);
    free(r);
    return 0;
}

static void note(struct rig *r, char c)
{
    assert_true(r->order_len < sizeof r->order - 1);
    r->order[r->order_len++] = c;
}

static void on_a(void *arg)
{
    note(arg, 'a');
}

static void on_b(void *arg)
{
    note(arg, 'b');
}

static void on_stop(void *arg)
{
    struct rig *r = arg;
    note(r, 's');
    loop_stop(r->l);
}

static void timers_fire_in_order_and_not_early(void **state)
{
    struct rig *r = *state;
    int64_t start = loop_clock(r->l)->mono_ms;
    timerq_set(loop_timers(r->l), &r->timers[0], start + 30, on_stop, r);
    timerq_set(loop_timers(r->l), &r->timers[1], start + 20, on_b, r);
    timerq_set(loop_timers(r->l), &r->timers[2], start + 10, on_a, r);
    timerq_set(loop_timers(r->l), &r->timers[3], start + 15, on_a, r);
    timerq_cancel(loop_timers(r->l), &r->timers[3]);
    loop_run(r->l);
    assert_string_equal(r->order, "abs");
    int64_t took = loop_clock(r->l)->mono_ms - start;
    assert_true(took >= 30 && took < 1000);
}

static void clock_is_wall_time(void **state)
{
    struct rig *r = *state;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    int64_t now = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
    assert_in_range(loop_clock(r->l)->wall_ms, now - 1000, now);
    assert_int_not_equal(rng_next(loop_rng(r->l)), rng_next(loop_rng(r->l)));
}

static void hook_one(void *arg)
{
    note(arg, '1');
}

static void hook_two(void *arg)
{
    struct rig *r = arg;
    assert_true(loop_is_ending_turn(r->l));
    note(r, '2');
    if (++r->hook_calls == 1)
        loop_kick(r->l); /* one more turn though nothing happens */
    else
        loop_stop(r->l);
}

static void hooks_run_in_order_once_a_turn_and_kick_makes_another(void **state)
{
    struct rig *r = *state;
    loop_after_turn(r->l, hook_one, r);
    loop_after_turn(r->l, on_b, r);
    loop_after_turn(r->l, hook_two, r);
    loop_after_turn_remove(r->l, on_b, r);
    assert_false(loop_is_ending_turn(r->l));
    loop_run(r->l);
    assert_string_equal(r->order, "1212");
}

static void hook_removes_itself(void *arg)
{
    struct rig *r = arg;
    note(r, 'x');
    loop_after_turn_remove(r->l, hook_removes_itself, r);
}

static void a_hook_may_remove_itself_while_hooks_run(void **state)
{
    struct rig *r = *state;
    loop_after_turn(r->l, hook_removes_itself, r);
    loop_after_turn(r->l, hook_two, r);
    loop_run(r->l);
    assert_string_equal(r->order, "x22");
}

static void idle_turn_hook(void *arg)
{
    ((struct rig *)arg)->hook_calls++;
}

static void an_idle_loop_does_not_turn(void **state)
{
    struct rig *r = *state;
    loop_after_turn(r->l, idle_turn_hook, r);
    timerq_set(loop_timers(r->l), &r->timers[0], loop_clock(r->l)->mono_ms + 100, on_stop, r);
    loop_run(r->l);
    assert_in_range(r->hook_calls, 2, 3); /* the first turn, and the timer's */
}

static void on_hook_after_bytes(void *arg)
{
    struct rig *r = arg;
    if (r->order_len && r->order[r->order_len - 1] == 't') {
        note(r, 'h');
        loop_stop(r->l);
    }
}

static void on_t(void *arg)
{
    note(arg, 't');
}

static void on_pipe_then_timer(void *arg, int events)
{
    struct rig *r = arg;
    char c;
    assert_int_equal(events, LOOP_READ);
    assert_int_equal(read(r->pipe[0], &c, 1), 1);
    note(r, 'r');
    timerq_set(loop_timers(r->l), &r->timers[0], loop_clock(r->l)->mono_ms, on_t, r);
}

static void one_turn_is_bytes_then_timers_then_hooks(void **state)
{
    struct rig *r = *state;
    assert_int_equal(pipe(r->pipe), 0);
    r->watches[0] = loop_watch_new(r->l, r->pipe[0], LOOP_READ, on_pipe_then_timer, r);
    loop_after_turn(r->l, on_hook_after_bytes, r);
    assert_int_equal(write(r->pipe[1], "x", 1), 1);
    loop_run(r->l);
    assert_string_equal(r->order, "rth");
    loop_watch_free(r->watches[0]);
    close(r->pipe[0]);
    close(r->pipe[1]);
}

/* Two descriptors are ready in one turn; whoever comes first frees both. */
static void on_both_free(void *arg, int events)
{
    struct rig *r = arg;
    (void)events;
    note(r, 'f');
    loop_watch_free(r->watches[0]);
    loop_watch_free(r->watches[1]);
    timerq_set(loop_timers(r->l), &r->timers[0], loop_clock(r->l)->mono_ms + 20, on_stop, r);
}

static void a_watch_may_be_freed_in_any_callback(void **state)
{
    struct rig *r = *state;
    int a = eventfd(1, EFD_NONBLOCK), b = eventfd(1, EFD_NONBLOCK);
    r->watches[0] = loop_watch_new(r->l, a, LOOP_READ, on_both_free, r);
    r->watches[1] = loop_watch_new(r->l, b, LOOP_READ, on_both_free, r);
    loop_run(r->l);
    assert_string_equal(r->order, "fs");
    close(a);
    close(b);
}

static void on_writable(void *arg, int events)
{
    struct rig *r = arg;
    assert_true(events & LOOP_WRITE);
    note(r, 'w');
    loop_watch_set(r->watches[0], 0);
    timerq_set(loop_timers(r->l), &r->timers[0], loop_clock(r->l)->mono_ms + 20, on_stop, r);
}

static void a_watch_can_be_silenced(void **state)
{
    struct rig *r = *state;
    int fd = eventfd(0, EFD_NONBLOCK);
    r->watches[0] = loop_watch_new(r->l, fd, LOOP_WRITE, on_writable, r);
    loop_run(r->l);
    assert_string_equal(r->order, "ws");
    close(fd); /* the watch is left to loop_free */
}

static void work_elsewhere(void *arg)
{
    struct rig *r = arg;
    __atomic_add_fetch(&r->works, 1, __ATOMIC_SEQ_CST);
    r->worker = pthread_self();
}

static void work_done(void *arg)
{
    struct rig *r = arg;
    r->dones++;
    if (r->dones == r->works) loop_stop(r->l);
}

static void work_runs_elsewhere_and_is_told_here(void **state)
{
    struct rig *r = *state;
    assert_int_equal(loop_offload(r->l, work_elsewhere, work_done, r, NULL), ERR_OK);
    loop_run(r->l);
    assert_int_equal(r->dones, 1);
    assert_false(pthread_equal(r->worker, pthread_self()));
}

static void work_nothing(void *arg)
{
    (void)arg;
}

static void work_count(void *arg)
{
    ((struct rig *)arg)->dones++;
}

static void the_pool_has_a_ceiling_and_free_waits_for_it(void **state)
{
    struct rig *r = *state;
    struct loop *l = loop_new(NULL);
    struct err e = {.code = ERR_OK};
    size_t taken = 0;
    while (loop_offload(l, work_nothing, work_count, r, &e) == ERR_OK) taken++;
    assert_int_equal(e.code, ERR_FULL);
    assert_int_equal(taken, 1024);
    loop_free(l); /* never ran: every done comes all the same */
    assert_int_equal(r->dones, taken);
}

static void on_signal(void *arg, int signum)
{
    struct rig *r = arg;
    r->signum = signum;
    loop_stop(r->l);
}

static void raise_hup(void *arg)
{
    (void)arg;
    kill(getpid(), SIGHUP);
}

static void signals_come_as_callbacks(void **state)
{
    struct rig *r = *state;
    loop_on_signal(r->l, SIGHUP, on_signal, r);
    timerq_set(loop_timers(r->l), &r->timers[0], loop_clock(r->l)->mono_ms, raise_hup, r);
    loop_run(r->l);
    assert_int_equal(r->signum, SIGHUP);
}

static void child_bytes(void *arg, struct view b)
{
    struct rig *r = arg;
    for (size_t i = 0; i < b.len; i++) assert_int_equal(b.ptr[i], 'x');
    r->bytes += b.len;
    if (r->bytes == PAYLOAD && r->child) loop_child_kill(r->child);
}

static void child_gone(void *arg, int64_t status, int term_signal)
{
    struct rig *r = arg;
    r->exits++;
    r->status = status;
    r->term_signal = term_signal;
    loop_stop(r->l);
}

static struct loop_child *start(struct rig *r, const char *const *argv, struct err *err)
{
    struct loop_child_options o = {
        .argv = argv, .on_bytes = child_bytes, .on_exit = child_gone, .arg = r};
    return loop_child_new(r->l, &o, err);
}

static void a_child_echoes_and_is_killed(void **state)
{
    struct rig *r = *state;
    const char *argv[] = {"/bin/cat", NULL};
    r->child = start(r, argv, NULL);
    assert_non_null(r->child);
    char *big = malloc(PAYLOAD);
    memset(big, 'x', PAYLOAD);
    assert_true(loop_child_write(r->child, view_make(big, PAYLOAD / 2)));
    assert_true(loop_child_write(r->child, view_make(big, PAYLOAD / 2)));
    free(big);
    loop_run(r->l);
    assert_int_equal(r->bytes, PAYLOAD);
    assert_int_equal(r->term_signal, SIGKILL);
    assert_false(loop_child_write(r->child, VIEW_LIT("x"))); /* its pipe is closed */
    loop_child_free(r->child);
}

static void the_last_words_of_a_child_come_before_its_exit(void **state)
{
    struct rig *r = *state;
    const char *argv[] = {"/bin/sh", "-c", "printf xxxxx; exit 7", NULL};
    r->child = start(r, argv, NULL);
    loop_run(r->l);
    assert_int_equal(r->bytes, 5);
    assert_int_equal(r->status, 7);
    assert_int_equal(r->term_signal, 0);
    loop_child_free(r->child);
}

static void a_missing_program_is_an_error(void **state)
{
    struct rig *r = *state;
    struct err e;
    const char *argv[] = {"/no/such/program", NULL};
    assert_null(start(r, argv, &e));
    assert_int_equal(e.code, ERR_UNAVAILABLE);
}

static void a_freed_child_is_killed_and_reaped(void **state)
{
    struct rig *r = *state;
    const char *argv[] = {"/bin/sleep", "1000", NULL};
    loop_child_free(start(r, argv, NULL));
    struct loop_child *left = start(r, argv, NULL); /* to loop_free */
    assert_non_null(left);
    timerq_set(loop_timers(r->l), &r->timers[0], loop_clock(r->l)->mono_ms + 100, on_stop, r);
    loop_run(r->l);
    assert_int_equal(r->exits, 0);
}

static void a_child_that_does_not_read_meets_the_ceiling(void **state)
{
    struct rig *r = *state;
    const char *argv[] = {"/bin/sleep", "1000", NULL};
    struct loop_child *c = start(r, argv, NULL);
    char *big = calloc(1, PAYLOAD);
    size_t written = 0;
    while (written < 64 && loop_child_write(c, view_make(big, PAYLOAD))) written++;
    assert_in_range(written, 16, 17); /* 16 MB, and what the kernel took */
    free(big);
    loop_child_free(c);
}

static void thing_fini(void *thing)
{
    ++*(int *)thing;
}

static void shared_things_end_with_the_loop(void **state)
{
    struct loop *l = loop_new(NULL);
    int thing = 0;
    (void)state;
    assert_null(loop_shared(l, "thing"));
    assert_true(loop_share(l, "thing", &thing, thing_fini));
    assert_ptr_equal(loop_shared(l, "thing"), &thing);
    assert_null(loop_shared(l, "other"));
    loop_free(l);
    assert_int_equal(thing, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(timers_fire_in_order_and_not_early),
        T(clock_is_wall_time),
        T(hooks_run_in_order_once_a_turn_and_kick_makes_another),
        T(a_hook_may_remove_itself_while_hooks_run),
        T(an_idle_loop_does_not_turn),
        T(one_turn_is_bytes_then_timers_then_hooks),
        T(a_watch_may_be_freed_in_any_callback),
        T(a_watch_can_be_silenced),
        T(work_runs_elsewhere_and_is_told_here),
        T(the_pool_has_a_ceiling_and_free_waits_for_it),
        T(shared_things_end_with_the_loop),
        T(signals_come_as_callbacks),
        T(a_child_echoes_and_is_killed),
        T(the_last_words_of_a_child_come_before_its_exit),
        T(a_missing_program_is_an_error),
        T(a_freed_child_is_killed_and_reaped),
        T(a_child_that_does_not_read_meets_the_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
