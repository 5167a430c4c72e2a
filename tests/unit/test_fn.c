/* The Redis functions against a real redis-server: every transition, and every race that two processes can have over one
 * job. The order of calls is the race: Redis runs one function at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "redis_server.h"
#include "schemas/embed.h"
#include "schemas/fn.h"

#define BOOT VIEW_LIT("boot-1")
#define FP_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define FP_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
static const char id_text[] = "01900000-0000-7003-8000-0000000000a0"; /* home 3; its index is trimmed */

struct world {
    struct rs rs;
    struct fn *fn;
    struct buf text, view; /* answers of rs_ask; bytes of the last meta view */
    struct job_head head;
    struct fn_job job;
    int answers;
    enum err_code code;
    struct fn_admitted admitted;
    struct fn_lease lease;
    struct fn_appended appended;
    struct fn_canceled canceled;
    struct fn_meta meta;
    char verdict[64], owner[64];
};

/* --- callbacks ------------------------------------------------------------------------------- */

static void note(struct world *w, const struct err *e)
{
    w->answers++;
    w->code = e ? e->code : ERR_OK;
}

static void on_admit(void *arg, const struct err *e, const struct fn_admitted *a)
{
    note(arg, e);
    if (a) ((struct world *)arg)->admitted = *a;
}

static void on_lease(void *arg, const struct err *e, const struct fn_lease *l)
{
    struct world *w = arg;
    note(w, e);
    if (!l) return;
    w->lease = *l;
    view_copy(l->owner, w->owner, sizeof w->owner);
}

static void on_append(void *arg, const struct err *e, const struct fn_appended *a)
{
    note(arg, e);
    if (a) ((struct world *)arg)->appended = *a;
}

static void on_cancel(void *arg, const struct err *e, const struct fn_canceled *a)
{
    note(arg, e);
    if (a) ((struct world *)arg)->canceled = *a;
}

static void on_done(void *arg, const struct err *e, struct view verdict)
{
    struct world *w = arg;
    note(w, e);
    view_copy(verdict, w->verdict, sizeof w->verdict);
}

static void on_meta(void *arg, const struct err *e, const struct fn_meta *m)
{
    struct world *w = arg;
    note(w, e);
    if (!m) return;
    w->meta = *m;
    buf_reset(&w->view);
    buf_printf(&w->view, "tn=%.*s ow=%.*s wf=%.*s cl=%.*s md=%.*s vw=%.*s ro=%.*s ra=%.*s og=%.*s", (int)m->tenant.len,
               m->tenant.len ? m->tenant.ptr : "", (int)m->owner.len, m->owner.len ? m->owner.ptr : "",
               (int)m->workflow.len, m->workflow.len ? m->workflow.ptr : "", (int)m->cls.len,
               m->cls.len ? m->cls.ptr : "", (int)m->metadata.len, m->metadata.len ? m->metadata.ptr : "",
               (int)m->view.len, m->view.len ? m->view.ptr : "", (int)m->retry_of.len,
               m->retry_of.len ? m->retry_of.ptr : "", (int)m->retried_as.len,
               m->retried_as.len ? m->retried_as.ptr : "", (int)m->origin.len, m->origin.len ? m->origin.ptr : "");
    buf_put_char(&w->view, '\0');
}

/* --- the world ------------------------------------------------------------------------------- */

static const char *ask(struct world *w, const char *words)
{
    return rs_ask(&w->rs, &w->text, words);
}

/* The job's stream: "0-1=job.queued 5-2=job.started". */
static const char *stream(struct world *w)
{
    return ask(w, "XRANGE j:{01900000-0000-7003-8000-0000000000a0}:e - +");
}

static const char *field(struct world *w, const char *name)
{
    char words[128];
    snprintf(words, sizeof words, "HGET j:{%s}:m %s", id_text, name);
    return ask(w, words);
}

static const char *count(struct world *w)
{
    return ask(w, "GET q:{acme}");
}

static int start(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    rs_start(&w->rs);
    buf_init(&w->text, 1 << 20);
    buf_init(&w->view, 1 << 20);
    w->fn = fn_new(rs_port(&w->rs));
    *state = w;
    return w->fn ? 0 : -1;
}

static int stop(void **state)
{
    struct world *w = *state;
    fn_free(w->fn);
    rs_stop(&w->rs);
    buf_fini(&w->text);
    buf_fini(&w->view);
    free(w);
    return 0;
}

static int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A wiped server that has a built home and two living workers; one job's head. */
static int fresh(void **state)
{
    struct world *w = *state;
    ask(w, "FLUSHALL");
    ask(w, "SET built:{3} boot-1");
    ask(w, "SET w:w1:aa {}");
    ask(w, "SET w:w2:bb {}");
    w->head = (struct job_head){.tenant = "acme", .fp = FP_A, .workflow = "hello", .version = 2, .since = -1,
                                .created_ms = wall_ms(), .origin = "sluice.jobs.interactive/3/7"};
    if (!id_parse(view_of(id_text), &w->head.id)) return -1;
    w->job = (struct fn_job){.head = &w->head, .queued_ts_ms = w->head.created_ms, .index_ms = 7 * 86400000LL};
    w->answers = 0;
    return 0;
}

/* One call, one answer, no error. */
static void done(struct world *w)
{
    int before = w->answers;
    rs_pump(&w->rs);
    assert_int_equal(w->answers, before + 1);
    assert_int_equal(w->code, ERR_OK);
}

static enum fn_admit_kind admit(struct world *w)
{
    fn_admit(w->fn, &w->job, on_admit, w);
    done(w);
    return w->admitted.kind;
}

static enum fn_admit_kind reserve(struct world *w)
{
    fn_reserve(w->fn, &w->head, BOOT, on_admit, w);
    done(w);
    return w->admitted.kind;
}

static enum fn_lease_kind acquire_from(struct world *w, const char *who, int64_t epoch_floor, int64_t seq_floor)
{
    const struct fn_lease_ask a = {.job = &w->job, .incarnation = view_of(who), .boot = BOOT,
                                   .epoch_floor = epoch_floor, .seq_floor = seq_floor, .attempt = 1};
    fn_acquire(w->fn, &a, on_lease, w);
    done(w);
    return w->lease.kind;
}

static enum fn_lease_kind acquire(struct world *w, const char *who)
{
    return acquire_from(w, who, 0, 0);
}

static enum fn_append_kind append_n(struct world *w, int64_t epoch, uint64_t first, size_t n, const char *status)
{
    struct fn_event events[FN_EVENTS_MAX];
    struct fn_append a = {.id = w->head.id, .epoch = epoch, .first_seq = first, .events = events, .count = n,
                          .status = status};
    for (size_t i = 0; i < n; i++) events[i] = (struct fn_event){EVENT_STEP_DELTA, VIEW_LIT("{\"text\":\"x\"}")};
    fn_append(w->fn, &a, on_append, w);
    done(w);
    return w->appended.kind;
}

static enum fn_append_kind restore_as(struct world *w, const char *who, int64_t epoch, uint64_t seq, bool trim)
{
    const struct fn_restore r = {.job = &w->job, .incarnation = view_of(who), .epoch = epoch, .attempt = 1,
                                 .started_ms = w->head.created_ms + 5, .seq = seq, .status = "running",
                                 .snapshot = VIEW_LIT("{\"job\":{}}"), .trim = trim};
    fn_restore(w->fn, &r, on_append, w);
    done(w);
    return w->appended.kind;
}

static enum fn_append_kind finish_as(struct world *w, int64_t lease, int64_t epoch, uint64_t seq, enum job_status s,
                                     bool with_snapshot)
{
    const struct fn_finish r = {.job = &w->job, .lease_epoch = lease, .id = {(uint64_t)epoch, seq}, .status = s,
                                .data = VIEW_LIT("{\"end\":1}"), .view = VIEW_LIT("{\"view\":1}"),
                                .snapshot = with_snapshot ? VIEW_LIT("{\"job\":{}}") : VIEW_NONE, .started_ms = 5,
                                .ended_ms = w->head.created_ms + 100, .attempt = 1, .results_ms = 7 * 86400000LL,
                                .events_ms = 86400000};
    fn_finish(w->fn, &r, on_append, w);
    done(w);
    return w->appended.kind;
}

static const char *release(struct world *w, int64_t epoch, const char *status)
{
    fn_release(w->fn, &w->head.id, epoch, status, on_done, w);
    done(w);
    return w->verdict;
}

static const char *disclaim(struct world *w, struct view incarnation)
{
    fn_disclaim(w->fn, &w->head.id, incarnation, on_done, w);
    done(w);
    return w->verdict;
}

static const char *rebuild(struct world *w, int64_t floor)
{
    fn_rebuild(w->fn, &w->job, floor, "queued", on_done, w);
    done(w);
    return w->verdict;
}

static void read_meta(struct world *w)
{
    fn_meta(w->fn, &w->head.id, BOOT, on_meta, w);
    done(w);
}

/* --- loading --------------------------------------------------------------------------------- */

static void test_library_is_loaded_when_missing_and_order_is_kept(void **state)
{
    struct world *w = *state;
    ask(w, "FUNCTION FLUSH");
    assert_int_equal(acquire(w, "w1:aa"), FN_LEASE_OK);
    int64_t epoch = w->lease.epoch;
    ask(w, "FUNCTION FLUSH");
    struct fn_event ev = {EVENT_STEP_DELTA, VIEW_LIT("{}")};
    for (uint64_t s = 2; s < 40; s++) { /* all of them meet a server without the library; out of order they would say GAP */
        struct fn_append a = {.id = w->head.id, .epoch = epoch, .first_seq = s, .events = &ev, .count = 1};
        fn_append(w->fn, &a, on_append, w);
    }
    w->answers = 0;
    rs_pump(&w->rs);
    assert_int_equal(w->answers, 38);
    assert_int_equal(w->appended.kind, FN_APPEND_OK);
    assert_int_equal(w->appended.seq, 39);
    assert_string_equal(field(w, "sq"), "39");
}

static void test_two_processes_load_at_once(void **state)
{
    struct world *w = *state;
    struct fn *other = fn_new(rs_port(&w->rs));
    ask(w, "FUNCTION FLUSH");
    fn_alive(w->fn, VIEW_LIT("nobody"), on_done, w);
    fn_admit(w->fn, &w->job, on_admit, w);
    fn_admit(other, &w->job, on_admit, w);
    w->answers = 0;
    rs_pump(&w->rs);
    assert_int_equal(w->answers, 3);
    assert_int_equal(w->code, ERR_OK);
    assert_string_equal(count(w), "1");
    fn_free(other);
}

static void test_errors_of_port_and_server(void **state)
{
    struct world *w = *state;
    w->rs.is_cut = true;
    fn_admit(w->fn, &w->job, on_admit, w);
    rs_pump(&w->rs);
    assert_int_equal(w->code, ERR_UNAVAILABLE);
    w->rs.is_cut = false;
    ask(w, "SET j:{01900000-0000-7003-8000-0000000000a0}:m text"); /* another type: Redis says WRONGTYPE */
    fn_admit(w->fn, &w->job, on_admit, w);
    rs_pump(&w->rs);
    assert_int_equal(w->code, ERR_PROTOCOL);
    assert_int_equal(w->answers, 2);
}

static void test_free_drops_what_flies(void **state)
{
    struct world *w = *state;
    struct fn *other = fn_new(rs_port(&w->rs));
    fn_admit(other, &w->job, on_admit, w);
    fn_free(other);
    rs_pump(&w->rs);
    assert_int_equal(w->answers, 0);
    assert_string_equal(count(w), "1"); /* it had been sent */
}

/* The library cannot be loaded; the first who is told frees everything. */
static void on_admit_free(void *arg, const struct err *e, const struct fn_admitted *a)
{
    struct world *w = arg;
    (void)a;
    note(w, e);
    fn_free(w->fn);
    w->fn = NULL;
}

static void refuse_load(void *self, const struct view *argv, size_t argc, redis_reply_fn *fn, void *arg)
{
    static const struct view lie[] = {VIEW_LIT("GET"), VIEW_LIT("text")};
    bool is_load = view_eq_str(argv[0], "FUNCTION");
    rs_call(self, is_load ? lie + 1 : argv, is_load ? 1 : argc, fn, arg); /* "text" is no command: an error */
}

static void test_load_fails_and_the_callback_frees(void **state)
{
    struct world *w = *state;
    struct redis_port port = rs_port(&w->rs);
    fn_free(w->fn);
    port.call = refuse_load;
    w->fn = fn_new(port);
    ask(w, "FUNCTION FLUSH");
    fn_admit(w->fn, &w->job, on_admit_free, w);
    fn_admit(w->fn, &w->job, on_admit, w);
    fn_admit(w->fn, &w->job, on_admit, w);
    w->answers = 0;
    rs_pump(&w->rs);
    assert_int_equal(w->answers, 1); /* what was pending is dropped */
    assert_int_equal(w->code, ERR_UNAVAILABLE);
    w->fn = fn_new(rs_port(&w->rs));
    assert_string_equal(ask(w, "EXISTS q:{acme}"), "0");
}

/* --- admit and reserve ----------------------------------------------------------------------- */

static void test_admit_makes_the_entry(void **state)
{
    struct world *w = *state;
    w->job.metadata = VIEW_LIT("{\"a\":1}");
    assert_int_equal(admit(w), FN_ADMIT_CREATED);
    assert_int_equal(w->admitted.queued, 1);
    assert_int_equal(w->admitted.status, JOB_QUEUED);
    assert_string_equal(stream(w), "0-1=job.queued");
    assert_string_equal(ask(w, "ZRANGE ix:{acme} 0 -1"), id_text);
    assert_string_equal(ask(w, "TTL j:{01900000-0000-7003-8000-0000000000a0}:m"), "-1");
    read_meta(w);
    assert_true(w->meta.found && w->meta.built && !w->meta.reserved && !w->meta.cancel);
    assert_int_equal(w->meta.created_ms, w->head.created_ms);
    assert_int_equal(w->meta.seq, 1);
    assert_string_equal(w->view.data, "tn=acme ow= wf=hello@2 cl=interactive md={\"a\":1} vw= ro= ra= "
                                      "og=sluice.jobs.interactive/3/7");
}

static void test_double_admit_counts_once(void **state)
{
    struct world *w = *state;
    admit(w);
    assert_int_equal(admit(w), FN_ADMIT_EXISTS);
    assert_int_equal(w->admitted.queued, 1);
    assert_string_equal(count(w), "1");
    assert_string_equal(stream(w), "0-1=job.queued");
    memcpy(w->head.fp, FP_B, sizeof w->head.fp);
    assert_int_equal(admit(w), FN_ADMIT_OTHER_PAYLOAD);
    assert_string_equal(field(w, "fp"), FP_A);
    assert_string_equal(count(w), "1");
}

static void test_reserve_then_admit(void **state)
{
    struct world *w = *state;
    ask(w, "SET built:{3} boot-0"); /* another life of Redis: the key may have been used in it */
    assert_int_equal(reserve(w), FN_ADMIT_UNBUILT);
    assert_string_equal(ask(w, "EXISTS j:{01900000-0000-7003-8000-0000000000a0}:m"), "0");
    ask(w, "SET built:{3} boot-1");
    assert_int_equal(reserve(w), FN_ADMIT_CREATED);
    assert_string_equal(ask(w, "EXISTS q:{acme} ix:{acme}"), "0"); /* not a job yet */
    int64_t ttl = 0;
    view_i64(view_of(ask(w, "PTTL j:{01900000-0000-7003-8000-0000000000a0}:m")), &ttl);
    assert_in_range(ttl, 50000, 60000);
    assert_int_equal(reserve(w), FN_ADMIT_EXISTS);
    assert_true(w->admitted.reserved);
    read_meta(w);
    assert_true(w->meta.found && w->meta.reserved);
    assert_int_equal(admit(w), FN_ADMIT_CREATED);
    assert_string_equal(ask(w, "TTL j:{01900000-0000-7003-8000-0000000000a0}:m"), "-1");
    assert_string_equal(field(w, "rs"), "(nil)");
    assert_string_equal(count(w), "1");
    assert_int_equal(reserve(w), FN_ADMIT_EXISTS);
    assert_false(w->admitted.reserved);
    assert_string_equal(ask(w, "TTL j:{01900000-0000-7003-8000-0000000000a0}:m"), "-1");
}

static void test_same_key_other_payload_at_once(void **state)
{
    struct world *w = *state;
    reserve(w);
    memcpy(w->head.fp, FP_B, sizeof w->head.fp);
    assert_int_equal(reserve(w), FN_ADMIT_OTHER_PAYLOAD);
    assert_int_equal(admit(w), FN_ADMIT_OTHER_PAYLOAD);
    assert_string_equal(ask(w, "EXISTS q:{acme}"), "0");
    memcpy(w->head.fp, FP_A, sizeof w->head.fp);
    assert_int_equal(admit(w), FN_ADMIT_CREATED);
}

static void test_index_is_trimmed_a_few_at_a_time(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 100; i++) {
        char words[64];
        snprintf(words, sizeof words, "ZADD ix:{acme} %d old-%d", 1000 + i, i);
        ask(w, words);
    }
    admit(w);
    assert_string_equal(ask(w, "ZCARD ix:{acme}"), "37"); /* 64 old ones went */
    assert_string_equal(ask(w, "ZRANGE ix:{acme} 0 0"), "old-64");
}

/* --- leases ----------------------------------------------------------------------------------- */

static void test_worker_first_gateway_second_is_the_same_entry(void **state)
{
    struct world *w = *state;
    char first[512], second[512];
    admit(w);
    snprintf(first, sizeof first, "%s", ask(w, "XRANGE j:{01900000-0000-7003-8000-0000000000a0}:e 0-1 0-1"));
    acquire(w, "w1:aa");
    snprintf(second, sizeof second, "%s", field(w, "tn"));
    fresh(state);
    assert_int_equal(acquire(w, "w1:aa"), FN_LEASE_OK);
    assert_false(w->lease.takeover);
    assert_int_equal(w->lease.seq, 1);
    assert_string_equal(stream(w), first);
    w->job.metadata = VIEW_LIT("{\"m\":true}"); /* which a worker does not know when it acquires */
    assert_int_equal(admit(w), FN_ADMIT_EXISTS);
    assert_string_equal(field(w, "md"), "{\"m\":true}");
    assert_string_equal(field(w, "tn"), second);
    assert_string_equal(field(w, "ow"), "w1:aa");
    assert_string_equal(count(w), "1");
    assert_string_equal(stream(w), "0-1=job.queued");
    assert_string_equal(ask(w, "ZCARD ix:{acme}"), "1");
}

static void test_acquire_over_reservations(void **state)
{
    struct world *w = *state;
    memcpy(w->head.fp, FP_B, sizeof w->head.fp);
    reserve(w); /* another payload holds the id, but the record in the log is A's */
    memcpy(w->head.fp, FP_A, sizeof w->head.fp);
    assert_int_equal(acquire(w, "w1:aa"), FN_LEASE_OK);
    assert_string_equal(field(w, "fp"), FP_A);
    assert_string_equal(field(w, "rs"), "(nil)");
    assert_string_equal(ask(w, "TTL j:{01900000-0000-7003-8000-0000000000a0}:m"), "-1");
    assert_string_equal(count(w), "1");
    assert_int_equal(admit(w), FN_ADMIT_EXISTS);
    memcpy(w->head.fp, FP_B, sizeof w->head.fp);
    assert_int_equal(admit(w), FN_ADMIT_OTHER_PAYLOAD);
}

static void test_acquire_corrects_what_the_loser_admitted(void **state)
{
    struct world *w = *state;
    w->job.metadata = VIEW_LIT("{\"of\":\"b\"}");
    memcpy(w->head.fp, FP_B, sizeof w->head.fp);
    admit(w); /* B's record is the second of the id in the log */
    w->job.metadata = VIEW_NONE;
    memcpy(w->head.fp, FP_A, sizeof w->head.fp);
    assert_int_equal(acquire(w, "w1:aa"), FN_LEASE_OK);
    assert_string_equal(field(w, "fp"), FP_A);
    assert_string_equal(field(w, "md"), "(nil)");
    assert_string_equal(count(w), "1");
    memcpy(w->head.fp, FP_B, sizeof w->head.fp); /* once leased, nobody rewrites */
    release(w, w->lease.epoch, "waiting");
    acquire(w, "w2:bb");
    assert_string_equal(field(w, "fp"), FP_A);
}

static void test_one_holder(void **state)
{
    struct world *w = *state;
    admit(w);
    acquire(w, "w1:aa");
    int64_t epoch = w->lease.epoch;
    assert_true(epoch >= w->head.created_ms);
    assert_int_equal(acquire(w, "w2:bb"), FN_LEASE_BUSY);
    assert_string_equal(w->owner, "w1:aa");
    ask(w, "DEL w:w1:aa");
    assert_int_equal(acquire(w, "w2:bb"), FN_LEASE_OK);
    assert_true(w->lease.takeover);
    assert_true(w->lease.epoch > epoch);
    assert_int_equal(append_n(w, epoch, 2, 1, NULL), FN_APPEND_FENCED); /* the zombie */
    assert_string_equal(release(w, epoch, "queued"), "fenced");
    assert_int_equal(restore_as(w, "w1:aa", epoch, 9, false), FN_APPEND_FENCED);
    assert_int_equal(finish_as(w, epoch, epoch, 2, JOB_FAILED, true), FN_APPEND_FENCED);
    assert_string_equal(stream(w), "0-1=job.queued");
    assert_string_equal(field(w, "ow"), "w2:bb");
    assert_string_equal(count(w), "1");
}

static void test_clean_release_is_no_takeover(void **state)
{
    struct world *w = *state;
    acquire(w, "w1:aa");
    int64_t epoch = w->lease.epoch;
    assert_string_equal(release(w, epoch, "waiting"), "ok");
    assert_string_equal(field(w, "st"), "waiting");
    assert_int_equal(append_n(w, epoch, 2, 1, NULL), FN_APPEND_FENCED); /* given back is given back */
    assert_int_equal(restore_as(w, "w1:aa", epoch, 2, false), FN_APPEND_FENCED);
    assert_int_equal(acquire(w, "w2:bb"), FN_LEASE_OK);
    assert_false(w->lease.takeover);
    assert_true(w->lease.epoch > epoch);
    assert_string_equal(release(w, epoch, "waiting"), "fenced");
    assert_int_equal(acquire(w, "w2:bb"), FN_LEASE_OK); /* an answer that was lost: asked again by the same */
    assert_true(w->lease.takeover);
}

static void test_who_gives_up_is_taken_over(void **state)
{
    struct world *w = *state;
    acquire(w, "w1:aa");
    assert_string_equal(release(w, w->lease.epoch, "running"), "ok"); /* records of it may still be on their way */
    assert_int_equal(acquire(w, "w2:bb"), FN_LEASE_OK);
    assert_true(w->lease.takeover);
}

static void test_owner_that_does_not_run_it_disclaims(void **state)
{
    struct world *w = *state;
    assert_string_equal(disclaim(w, VIEW_LIT("w1:aa")), "gone");
    acquire(w, "w1:aa");
    assert_int_equal(acquire(w, "w2:bb"), FN_LEASE_BUSY);
    assert_string_equal(disclaim(w, VIEW_LIT("w2:bb")), "fenced"); /* it is not its to disclaim */
    assert_int_equal(acquire(w, "w2:bb"), FN_LEASE_BUSY);
    assert_string_equal(disclaim(w, VIEW_LIT("w1:aa")), "ok");
    assert_int_equal(acquire(w, "w2:bb"), FN_LEASE_OK);
    assert_true(w->lease.takeover);
    assert_string_equal(disclaim(w, VIEW_LIT("w1:aa")), "fenced");
    assert_string_equal(field(w, "ow"), "w2:bb");
}

static const char *note_wait(struct world *w)
{
    fn_note(w->fn, &w->head.id, EVENT_JOB_WAITING, VIEW_LIT("{\"job_id\":\"x\",\"seq\":0,\"reason\":\"key\"}"), on_done, w);
    done(w);
    return w->verdict;
}

/* A job that nobody runs hears something; who runs it goes on behind that. */
static void test_note_of_a_waiting_job(void **state)
{
    struct world *w = *state;
    assert_string_equal(note_wait(w), "gone");
    admit(w);
    assert_string_equal(note_wait(w), "ok");
    assert_string_equal(field(w, "sq"), "2");
    assert_string_equal(field(w, "st"), "waiting");
    assert_string_equal(note_wait(w), "ok");
    assert_int_equal(acquire(w, "w1:aa"), FN_LEASE_OK);
    assert_int_equal(w->lease.seq, 3);
    assert_false(w->lease.takeover);
    assert_string_equal(note_wait(w), "held");
    assert_string_equal(release(w, w->lease.epoch, "queued"), "ok");
    assert_string_equal(note_wait(w), "ok"); /* under the last epoch */
    assert_string_equal(field(w, "sq"), "4");
    assert_int_equal(acquire(w, "w1:aa"), FN_LEASE_OK);
    assert_int_equal(w->lease.seq, 4);
    assert_int_equal(finish_as(w, w->lease.epoch, w->lease.epoch, 5, JOB_FAILED, false), FN_APPEND_OK);
    assert_string_equal(note_wait(w), "ended");
}

static int64_t told_ms(struct world *w, uint32_t home)
{
    int64_t age = -1;
    fn_told(w->fn, home, on_done, w);
    done(w);
    return view_i64(view_of(w->verdict), &age) ? age : -1;
}

static void test_what_an_owner_says_of_its_home_ages(void **state)
{
    struct world *w = *state;
    assert_int_equal(told_ms(w, 3), -1);
    assert_string_equal(w->verdict, "never");
    fn_tell(w->fn, 3, 1000, on_done, w);
    done(w);
    int64_t age = told_ms(w, 3);
    assert_true(age >= 1000 && age < 30000);
    assert_int_equal(told_ms(w, 4), -1);
    ask(w, "FLUSHALL");
    assert_int_equal(told_ms(w, 3), -1);
}

static void test_epoch_is_above_stored_time_and_log(void **state)
{
    struct world *w = *state;
    int64_t far = wall_ms() + 3600000; /* the clock that wrote it was an hour ahead */
    acquire_from(w, "w1:aa", far, 30);
    assert_int_equal(w->lease.epoch, far + 1);
    assert_true(w->lease.takeover); /* the log knows of somebody */
    assert_int_equal(w->lease.seq, 30);
    assert_int_equal(append_n(w, far + 1, 31, 1, NULL), FN_APPEND_GAP); /* the stream misses 2 .. 30: a snapshot first */
    release(w, far + 1, "queued");
    acquire(w, "w2:bb");
    assert_int_equal(w->lease.epoch, far + 2);
    assert_int_equal(w->lease.seq, 1);
}

static void test_acquire_when_ended_or_unbuilt(void **state)
{
    struct world *w = *state;
    acquire(w, "w1:aa");
    finish_as(w, w->lease.epoch, w->lease.epoch, 2, JOB_CANCELED, false);
    assert_int_equal(acquire(w, "w2:bb"), FN_LEASE_ENDED);
    assert_int_equal(w->lease.status, JOB_CANCELED);
    ask(w, "SET built:{3} boot-0");
    assert_int_equal(acquire(w, "w2:bb"), FN_LEASE_UNBUILT);
    ask(w, "DEL built:{3}");
    assert_int_equal(acquire(w, "w2:bb"), FN_LEASE_UNBUILT);
    assert_string_equal(count(w), "(nil)");
}

/* --- append ------------------------------------------------------------------------------------ */

static void test_append_and_its_repeat(void **state)
{
    struct world *w = *state;
    acquire(w, "w1:aa");
    int64_t e = w->lease.epoch;
    ask(w, "SET probe 1");
    assert_int_equal(append_n(w, e, 2, 3, "running"), FN_APPEND_OK);
    assert_int_equal(w->appended.seq, 4);
    assert_int_equal(w->appended.entries, 4);
    assert_string_equal(field(w, "st"), "running");
    assert_int_equal(append_n(w, e, 2, 3, NULL), FN_APPEND_OK); /* the answer was lost */
    assert_int_equal(w->appended.seq, 4);
    assert_int_equal(append_n(w, e, 3, 4, NULL), FN_APPEND_OK); /* half of it was there */
    assert_int_equal(w->appended.seq, 6);
    assert_int_equal(append_n(w, e, 8, 1, NULL), FN_APPEND_GAP);
    assert_int_equal(w->appended.seq, 6);
    assert_string_equal(ask(w, "XLEN j:{01900000-0000-7003-8000-0000000000a0}:e"), "6");
    assert_int_equal(append_n(w, e, 7, FN_EVENTS_MAX, NULL), FN_APPEND_OK);
    assert_int_equal(w->appended.seq, 6 + FN_EVENTS_MAX);
    assert_int_equal(append_n(w, e, 0, 0, "waiting"), FN_APPEND_OK); /* only asks, and says its status */
    assert_string_equal(field(w, "st"), "waiting");
    assert_string_equal(field(w, "sq"), "70");
}

static void test_append_where_nothing_is(void **state)
{
    struct world *w = *state;
    assert_int_equal(append_n(w, 5, 2, 1, NULL), FN_APPEND_GONE);
    reserve(w);
    assert_int_equal(append_n(w, 5, 2, 1, NULL), FN_APPEND_GONE);
    admit(w);
    assert_int_equal(append_n(w, 5, 2, 1, NULL), FN_APPEND_GONE); /* nobody leased it here */
    acquire(w, "w1:aa");
    int64_t e = w->lease.epoch;
    assert_int_equal(append_n(w, e + 7, 2, 1, NULL), FN_APPEND_GAP); /* our lease was in the lost tail */
    ask(w, "DEL j:{01900000-0000-7003-8000-0000000000a0}:e");
    assert_int_equal(append_n(w, e, 2, 2, "running"), FN_APPEND_GAP);
    assert_string_equal(field(w, "sq"), "1"); /* refused whole */
    assert_string_equal(field(w, "st"), "queued");
}

static void test_cancel_reaches_the_owner(void **state)
{
    struct world *w = *state;
    fn_cancel(w->fn, &w->head.id, on_cancel, w);
    done(w);
    assert_false(w->canceled.found);
    reserve(w);
    fn_cancel(w->fn, &w->head.id, on_cancel, w);
    done(w);
    assert_false(w->canceled.found); /* not a job yet */
    admit(w);
    fn_cancel(w->fn, &w->head.id, on_cancel, w);
    done(w);
    assert_true(w->canceled.found && !w->canceled.ended);
    assert_int_equal(w->canceled.status, JOB_QUEUED);
    acquire(w, "w1:aa");
    assert_true(w->lease.cancel);
    append_n(w, w->lease.epoch, 2, 1, "running");
    assert_true(w->appended.cancel);
    finish_as(w, w->lease.epoch, w->lease.epoch, 3, JOB_SUCCEEDED, false);
    fn_cancel(w->fn, &w->head.id, on_cancel, w);
    done(w);
    assert_true(w->canceled.found && w->canceled.ended);
    assert_int_equal(w->canceled.status, JOB_SUCCEEDED);
}

/* --- restore ------------------------------------------------------------------------------------ */

static void test_wipe_then_the_owner_restores(void **state)
{
    struct world *w = *state;
    acquire(w, "w1:aa");
    int64_t e = w->lease.epoch;
    append_n(w, e, 2, 5, "running");
    fresh(state); /* FLUSHALL */
    assert_int_equal(append_n(w, e, 7, 1, NULL), FN_APPEND_GONE);
    assert_int_equal(restore_as(w, "w1:aa", e, 6, false), FN_APPEND_OK);
    assert_string_equal(count(w), "1");
    assert_string_equal(ask(w, "ZCARD ix:{acme}"), "1");
    assert_string_equal(field(w, "ow"), "w1:aa");
    assert_string_equal(field(w, "tn"), "acme");
    assert_int_equal(restore_as(w, "w1:aa", e, 6, false), FN_APPEND_OK); /* repeated */
    assert_string_equal(count(w), "1");
    assert_string_equal(ask(w, "XLEN j:{01900000-0000-7003-8000-0000000000a0}:e"), "1");
    assert_int_equal(append_n(w, e, 7, 1, NULL), FN_APPEND_OK);
    assert_int_equal(acquire(w, "w2:bb"), FN_LEASE_BUSY);
    assert_int_equal(finish_as(w, e, e, 8, JOB_SUCCEEDED, false), FN_APPEND_OK);
    assert_string_equal(count(w), "(nil)");
}

static void test_rebuild_races_with_its_live_owner(void **state)
{
    struct world *w = *state;
    acquire(w, "w1:aa");
    int64_t e = w->lease.epoch;
    fresh(state);
    assert_string_equal(rebuild(w, e), "ok"); /* the owner of p knows the epoch, not the runner */
    assert_string_equal(count(w), "1");
    assert_string_equal(stream(w), "0-1=job.queued");
    assert_int_equal(append_n(w, e, 2, 1, NULL), FN_APPEND_GONE); /* seq fits by chance, yet nobody owns it: restore */
    assert_int_equal(restore_as(w, "w1:aa", e, 1, false), FN_APPEND_OK);
    assert_string_equal(field(w, "tk"), "(nil)");
    assert_int_equal(append_n(w, e, 2, 1, NULL), FN_APPEND_OK);
    assert_string_equal(count(w), "1");
    assert_string_equal(rebuild(w, e), "ok"); /* once more, late: owner, seq and status stand */
    assert_string_equal(field(w, "ow"), "w1:aa");
    assert_string_equal(field(w, "sq"), "2");
    assert_int_equal(append_n(w, e, 3, 1, NULL), FN_APPEND_OK);
    assert_string_equal(count(w), "1");
}

static void test_rebuilt_job_is_taken_over(void **state)
{
    struct world *w = *state;
    assert_string_equal(rebuild(w, 0), "ok"); /* queued: nobody wrote `started` */
    assert_int_equal(acquire(w, "w2:bb"), FN_LEASE_OK);
    assert_true(w->lease.takeover); /* a zombie may still write one */
    int64_t e = w->lease.epoch;
    assert_string_equal(release(w, e, "queued"), "ok");
    rebuild(w, e); /* a lost tail may hide another lease: the clean release proves nothing any more */
    assert_int_equal(acquire(w, "w1:aa"), FN_LEASE_OK);
    assert_true(w->lease.takeover);
    release(w, w->lease.epoch, "queued");
    acquire(w, "w1:aa");
    assert_false(w->lease.takeover);
    finish_as(w, w->lease.epoch, w->lease.epoch, 2, JOB_FAILED, false);
    assert_string_equal(rebuild(w, 0), "ended");
    assert_string_equal(count(w), "(nil)");
}

static void test_wipe_plus_clock_step_back(void **state)
{
    struct world *w = *state;
    int64_t zombie = wall_ms() + 500000; /* leased before the clock went back */
    rebuild(w, zombie);
    acquire_from(w, "w2:bb", zombie, 4);
    assert_int_equal(w->lease.epoch, zombie + 1);
    assert_int_equal(restore_as(w, "w1:aa", zombie, 4, false), FN_APPEND_FENCED);
    assert_int_equal(append_n(w, zombie, 2, 1, NULL), FN_APPEND_FENCED);
}

static void test_restore_is_refused(void **state)
{
    struct world *w = *state;
    acquire(w, "w1:aa");
    int64_t e = w->lease.epoch;
    finish_as(w, e, e, 2, JOB_SUCCEEDED, false);
    assert_int_equal(restore_as(w, "w1:aa", e, 5, false), FN_APPEND_ENDED);
    assert_int_equal(restore_as(w, "w1:aa", e + 50, 5, false), FN_APPEND_ENDED);
    assert_int_equal(append_n(w, e, 3, 1, NULL), FN_APPEND_ENDED);
    assert_string_equal(release(w, e, "queued"), "ended");
    assert_string_equal(field(w, "st"), "succeeded");
}

static void test_lost_tail_of_a_second(void **state)
{
    struct world *w = *state;
    char want[128];
    acquire(w, "w1:aa");
    int64_t old = w->lease.epoch;
    append_n(w, old, 2, 3, "running");
    int64_t e = old + 10; /* what was lost: w1 died, w2 took over and wrote up to 9 */
    assert_int_equal(append_n(w, e, 10, 1, NULL), FN_APPEND_GAP);
    assert_int_equal(restore_as(w, "w2:bb", e, 9, false), FN_APPEND_OK);
    snprintf(want, sizeof want, "%lld-9=job.snapshot", (long long)e);
    assert_non_null(strstr(stream(w), want));
    assert_int_equal(append_n(w, e, 10, 1, NULL), FN_APPEND_OK);
    assert_string_equal(field(w, "ow"), "w2:bb");
    assert_string_equal(count(w), "1");
}

static void test_compaction(void **state)
{
    struct world *w = *state;
    char want[160];
    acquire(w, "w1:aa");
    int64_t e = w->lease.epoch;
    append_n(w, e, 2, 60, "running");
    assert_int_equal(restore_as(w, "w1:aa", e, 62, true), FN_APPEND_OK);
    append_n(w, e, 63, 1, NULL);
    snprintf(want, sizeof want, "%lld-62=job.snapshot %lld-63=step.delta", (long long)e, (long long)e);
    assert_string_equal(stream(w), want);
    assert_int_equal(w->appended.seq, 63);
}

/* --- finish ------------------------------------------------------------------------------------- */

static void test_finish_and_its_repeat(void **state)
{
    struct world *w = *state;
    char want[160];
    int64_t ttl = 0;
    acquire(w, "w1:aa");
    int64_t e = w->lease.epoch;
    append_n(w, e, 2, 1, "running");
    assert_int_equal(finish_as(w, e, e, 3, JOB_SUCCEEDED, false), FN_APPEND_OK);
    assert_int_equal(w->appended.seq, 3);
    assert_string_equal(count(w), "(nil)");
    snprintf(want, sizeof want, "0-1=job.queued %lld-2=step.delta %lld-3=job.succeeded", (long long)e, (long long)e);
    assert_string_equal(stream(w), want);
    assert_int_equal(finish_as(w, e, e, 3, JOB_SUCCEEDED, false), FN_APPEND_OK);
    assert_int_equal(finish_as(w, e, e, 3, JOB_FAILED, true), FN_APPEND_ENDED);
    assert_int_equal(finish_as(w, e + 1, e, 9, JOB_SUCCEEDED, true), FN_APPEND_ENDED);
    assert_string_equal(stream(w), want);
    view_i64(view_of(ask(w, "PTTL j:{01900000-0000-7003-8000-0000000000a0}:m")), &ttl);
    assert_in_range(ttl, 7 * 86400000LL - 60000, 7 * 86400000LL);
    view_i64(view_of(ask(w, "PTTL j:{01900000-0000-7003-8000-0000000000a0}:e")), &ttl);
    assert_in_range(ttl, 86400000LL - 60000, 86400000LL);
    read_meta(w);
    assert_int_equal(w->meta.status, JOB_SUCCEEDED);
    assert_int_equal(w->meta.ended_ms, w->head.created_ms + 100);
    assert_non_null(strstr(w->view.data, "vw={\"view\":1}"));
    assert_int_equal(admit(w), FN_ADMIT_EXISTS); /* the slow gateway */
    assert_int_equal(w->admitted.status, JOB_SUCCEEDED);
    assert_string_equal(count(w), "(nil)");
}

static void test_finish_carries_the_last_events(void **state)
{
    struct world *w = *state;
    char want[200];
    const struct fn_event events[] = {{EVENT_STEP_STARTED, VIEW_LIT("{\"n\":3}")},
                                      {EVENT_STEP_COMPLETED, VIEW_LIT("{\"n\":4}")}};
    acquire(w, "w1:aa");
    int64_t e = w->lease.epoch;
    struct fn_finish r = {.job = &w->job, .lease_epoch = e, .id = {(uint64_t)e, 5}, .status = JOB_SUCCEEDED,
                          .data = VIEW_LIT("{\"end\":1}"),
                          .view = VIEW_LIT("{\"view\":1,\"usage\":{\"calls\":2},\"cost\":0.25}"), .events = events,
                          .event_count = 2, .started_ms = 5, .ended_ms = w->head.created_ms + 100, .attempt = 1,
                          .results_ms = 7 * 86400000LL, .events_ms = 86400000};
    fn_finish(w->fn, &r, on_append, w); /* event 2 is missing: nothing happens */
    done(w);
    assert_int_equal(w->appended.kind, FN_APPEND_GAP);
    assert_string_equal(field(w, "st"), "queued");
    append_n(w, e, 2, 1, "running");
    for (int again = 0; again < 2; again++) {
        fn_finish(w->fn, &r, on_append, w);
        done(w);
        assert_int_equal(w->appended.kind, FN_APPEND_OK);
        snprintf(want, sizeof want, "0-1=job.queued %lld-2=step.delta %lld-3=step.started %lld-4=step.completed "
                 "%lld-5=job.succeeded", (long long)e, (long long)e, (long long)e, (long long)e);
        assert_string_equal(stream(w), want);
    }
    read_meta(w);
    assert_int_equal(w->meta.seq, 5);
    assert_non_null(strstr(w->view.data, "vw={\"view\":1,"));
    assert_string_equal(field(w, "us"), "{\"calls\":2}"); /* for lists, which do not read views */
    assert_string_equal(field(w, "co"), "0.25");
}

static void test_finish_needs_a_snapshot_when_the_stream_is_behind(void **state)
{
    struct world *w = *state;
    char want[160];
    acquire(w, "w1:aa");
    int64_t e = w->lease.epoch;
    assert_int_equal(finish_as(w, e, e, 9, JOB_FAILED, false), FN_APPEND_GAP);
    assert_string_equal(field(w, "st"), "queued"); /* nothing happened */
    assert_string_equal(count(w), "1");
    assert_int_equal(finish_as(w, e, e, 9, JOB_FAILED, true), FN_APPEND_OK);
    snprintf(want, sizeof want, "0-1=job.queued %lld-8=job.snapshot %lld-9=job.failed", (long long)e, (long long)e);
    assert_string_equal(stream(w), want);
    assert_string_equal(count(w), "(nil)");
}

static void test_takeover_mirrors_a_lower_epochs_terminal(void **state)
{
    struct world *w = *state;
    char want[160];
    acquire(w, "w1:aa");
    int64_t dead = w->lease.epoch;
    append_n(w, dead, 2, 1, "running");
    ask(w, "DEL w:w1:aa"); /* its terminal record is acknowledged; then it died */
    acquire(w, "w2:bb");
    assert_int_equal(finish_as(w, w->lease.epoch, dead, 3, JOB_SUCCEEDED, true), FN_APPEND_OK);
    snprintf(want, sizeof want, "0-1=job.queued %lld-2=step.delta %lld-3=job.succeeded", (long long)dead,
             (long long)dead);
    assert_string_equal(stream(w), want);
    assert_string_equal(field(w, "ow"), "");
    assert_string_equal(count(w), "(nil)");
    assert_int_equal(finish_as(w, dead, dead, 3, JOB_SUCCEEDED, true), FN_APPEND_OK); /* the dead was only paused */
}

static void test_terminal_below_the_top_of_a_void_history(void **state)
{
    struct world *w = *state;
    char want[160];
    acquire(w, "w1:aa");
    int64_t e = w->lease.epoch;
    append_n(w, e, 2, 5, "running"); /* up to 6, all of them after the terminal that the log holds */
    assert_int_equal(finish_as(w, e + 1, e - 5, 3, JOB_SUCCEEDED, true), FN_APPEND_OK);
    snprintf(want, sizeof want, "%lld-2=job.snapshot %lld-3=job.succeeded", (long long)e - 5, (long long)e - 5);
    assert_string_equal(stream(w), want);
}

static void test_finish_makes_an_absent_entry(void **state)
{
    struct world *w = *state;
    int64_t e = wall_ms() - 10000;
    char want[160];
    assert_int_equal(finish_as(w, e, e, 7, JOB_SUCCEEDED, false), FN_APPEND_GAP);
    assert_string_equal(ask(w, "EXISTS j:{01900000-0000-7003-8000-0000000000a0}:m"), "0");
    assert_int_equal(finish_as(w, e, e, 7, JOB_SUCCEEDED, true), FN_APPEND_OK);
    assert_string_equal(ask(w, "EXISTS q:{acme}"), "0"); /* never counted up, so not counted down */
    assert_string_equal(ask(w, "ZCARD ix:{acme}"), "1");
    snprintf(want, sizeof want, "%lld-6=job.snapshot %lld-7=job.succeeded", (long long)e, (long long)e);
    assert_string_equal(stream(w), want);
    assert_int_equal(finish_as(w, e, e, 7, JOB_SUCCEEDED, true), FN_APPEND_OK);
    assert_int_equal(acquire(w, "w1:aa"), FN_LEASE_ENDED);
    fresh(state);
    reserve(w); /* a client's retry came between wipe and rebuild */
    assert_int_equal(finish_as(w, e, e, 7, JOB_SUCCEEDED, true), FN_APPEND_OK);
    assert_string_equal(field(w, "rs"), "(nil)");
    assert_string_equal(ask(w, "EXISTS q:{acme}"), "0");
    fresh(state);
    admit(w); /* and so did its admission: counted up, so counted down */
    assert_int_equal(finish_as(w, e, e, 7, JOB_SUCCEEDED, true), FN_APPEND_OK);
    assert_string_equal(ask(w, "EXISTS q:{acme}"), "0");
}

static void test_rebuilt_ends_keep_their_age(void **state)
{
    struct world *w = *state;
    int64_t ttl = 0;
    w->head.created_ms = wall_ms() - 2 * 86400000LL; /* ended two days ago: events are past their day, results not */
    assert_int_equal(finish_as(w, 5, 5, 7, JOB_SUCCEEDED, true), FN_APPEND_OK);
    assert_string_equal(stream(w), "");
    view_i64(view_of(ask(w, "PTTL j:{01900000-0000-7003-8000-0000000000a0}:m")), &ttl);
    assert_in_range(ttl, 5 * 86400000LL - 60000, 5 * 86400000LL + 1000);
}

static void test_retry_is_linked_once(void **state)
{
    struct world *w = *state;
    struct job_id next = id_new_derived(view_of(id_text), VIEW_LIT(""), 3), other = id_new_derived(view_of("x"), VIEW_LIT(""), 3);
    fn_link_retry(w->fn, &w->head.id, &next, on_done, w);
    done(w);
    assert_string_equal(w->verdict, "gone");
    acquire(w, "w1:aa");
    fn_link_retry(w->fn, &w->head.id, &next, on_done, w);
    done(w);
    assert_string_equal(w->verdict, "live");
    finish_as(w, w->lease.epoch, w->lease.epoch, 2, JOB_FAILED, false);
    fn_link_retry(w->fn, &w->head.id, &next, on_done, w);
    done(w);
    assert_string_equal(w->verdict, "ok");
    fn_link_retry(w->fn, &w->head.id, &next, on_done, w);
    done(w);
    assert_string_equal(w->verdict, "ok");
    fn_link_retry(w->fn, &w->head.id, &other, on_done, w);
    done(w);
    assert_string_equal(w->verdict, "taken");
    assert_string_equal(field(w, "ra"), next.text);
}

/* --- fleet -------------------------------------------------------------------------------------- */

struct beaten {
    struct world *w;
    char built[3][32];
    size_t count;
};

static void on_beat(void *arg, const struct err *e, const struct view *built, size_t n)
{
    struct beaten *b = arg;
    note(b->w, e);
    b->count = n;
    for (size_t i = 0; i < n && i < 3; i++)
        if (!built[i].ptr || !view_copy(built[i], b->built[i], sizeof b->built[i])) snprintf(b->built[i], 8, "(none)");
}

static void test_heartbeats(void **state)
{
    struct world *w = *state;
    const uint32_t homes[] = {2, 3, 4000};
    struct beaten b = {.w = w};
    int64_t ttl = 0;
    fn_beat(w->fn, &(struct fn_beat){.incarnation = VIEW_LIT("w9:cc"), .info = VIEW_LIT("{\"a\":1}"), .ttl_ms = 9000,
                                     .homes = homes, .home_count = 3}, on_beat, &b);
    done(w);
    assert_int_equal(b.count, 3);
    assert_string_equal(b.built[0], "(none)");
    assert_string_equal(b.built[1], "boot-1");
    assert_string_equal(b.built[2], "(none)");
    assert_string_equal(ask(w, "GET w:w9:cc"), "{\"a\":1}");
    view_i64(view_of(ask(w, "PTTL w:w9:cc")), &ttl);
    assert_in_range(ttl, 1, 9000);
    fn_alive(w->fn, VIEW_LIT("w9:cc"), on_done, w);
    done(w);
    assert_string_equal(w->verdict, "alive");
    fn_unbeat(w->fn, VIEW_LIT("w9:cc"), on_done, w);
    done(w);
    fn_alive(w->fn, VIEW_LIT("w9:cc"), on_done, w);
    done(w);
    assert_string_equal(w->verdict, "gone");
    fn_beat(w->fn, &(struct fn_beat){.incarnation = VIEW_LIT("w9:cc"), .ttl_ms = 9000}, on_beat, &b);
    done(w);
    assert_int_equal(b.count, 0);
    uint32_t *all = calloc(JOB_ID_PARTITIONS_MAX, sizeof *all);
    for (uint32_t i = 0; i < JOB_ID_PARTITIONS_MAX; i++) all[i] = i;
    fn_beat(w->fn, &(struct fn_beat){.incarnation = VIEW_LIT("w9:cc"), .ttl_ms = 9000, .homes = all,
                                     .home_count = JOB_ID_PARTITIONS_MAX}, on_beat, &b);
    done(w);
    assert_int_equal(b.count, JOB_ID_PARTITIONS_MAX);
    free(all);
}

static void test_boot_and_built(void **state)
{
    struct world *w = *state;
    char boot[64];
    fn_boot(w->fn, on_done, w);
    done(w);
    assert_int_equal(strlen(w->verdict), 40);
    memcpy(boot, w->verdict, sizeof boot);
    fn_meta(w->fn, &w->head.id, view_of(boot), on_meta, w);
    done(w);
    assert_false(w->meta.found || w->meta.built);
    fn_build_begin(w->fn, 3, view_of(boot), VIEW_LIT("a"), on_done, w);
    done(w);
    assert_string_equal(w->verdict, "ok");
    fn_meta(w->fn, &w->head.id, view_of(boot), on_meta, w);
    done(w);
    assert_false(w->meta.built); /* a token is no mark */
    fn_build_begin(w->fn, 3, view_of(boot), VIEW_LIT("b"), on_done, w);
    done(w);
    fn_build_end(w->fn, 3, view_of(boot), VIEW_LIT("a"), on_done, w);
    done(w);
    assert_string_equal(w->verdict, "lost"); /* another rebuild began meanwhile */
    ask(w, "FLUSHALL");
    fn_build_end(w->fn, 3, view_of(boot), VIEW_LIT("b"), on_done, w);
    done(w);
    assert_string_equal(w->verdict, "lost"); /* a wipe in its middle */
    fn_build_begin(w->fn, 3, view_of(boot), VIEW_LIT("c"), on_done, w);
    done(w);
    fn_build_end(w->fn, 3, view_of(boot), VIEW_LIT("c"), on_done, w);
    done(w);
    assert_string_equal(w->verdict, "ok");
    fn_build_end(w->fn, 3, view_of(boot), VIEW_LIT("b"), on_done, w);
    done(w);
    assert_string_equal(w->verdict, "built");
    fn_build_begin(w->fn, 3, view_of(boot), VIEW_LIT("d"), on_done, w);
    done(w);
    assert_string_equal(w->verdict, "built"); /* and stays so */
    fn_meta(w->fn, &w->head.id, view_of(boot), on_meta, w);
    done(w);
    assert_true(!w->meta.found && w->meta.built);
    fn_meta(w->fn, &w->head.id, VIEW_NONE, on_meta, w); /* who does not know the boot id cannot know */
    done(w);
    assert_false(w->meta.built);
}

/* Someone else's library of the same name answers nonsense: said, never guessed. */
static void test_answers_out_of_shape(void **state)
{
    struct world *w = *state;
    static const char *const lies[] = {"return 'ok'", "return {9,1,1,1}", "return {0}", "return {'0','queued','1',0}",
                                       "return {0,'no-status',0,0}"};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        char code[512];
        snprintf(code, sizeof code,
                 "#!lua name=sluice_v1\nlocal function f() %s end\nredis.register_function('sluice_v1_admit', f)\n"
                 "redis.register_function('sluice_v1_append', f)\nredis.register_function('sluice_v1_acquire', f)\n"
                 "redis.register_function('sluice_v1_meta', f)", lies[i]);
        const struct view load[] = {VIEW_LIT("FUNCTION"), VIEW_LIT("LOAD"), VIEW_LIT("REPLACE"), view_of(code)};
        rs_call(&w->rs, load, 4, rs_copy_reply, &w->text);
        rs_pump(&w->rs);
        fn_admit(w->fn, &w->job, on_admit, w);
        rs_pump(&w->rs);
        assert_int_equal(w->code, ERR_PROTOCOL);
        struct fn_append a = {.id = w->head.id, .epoch = 5, .first_seq = 2};
        if (i != 4) {
            fn_append(w->fn, &a, on_append, w);
            rs_pump(&w->rs);
            assert_int_equal(w->code, ERR_PROTOCOL);
        }
        fn_acquire(w->fn, &(struct fn_lease_ask){.job = &w->job, .incarnation = VIEW_LIT("w"), .boot = BOOT}, on_lease, w);
        rs_pump(&w->rs);
        assert_int_equal(w->code, ERR_PROTOCOL);
        fn_meta(w->fn, &w->head.id, BOOT, on_meta, w);
        rs_pump(&w->rs);
        assert_int_equal(w->code, ERR_PROTOCOL);
    }
    ask(w, "FUNCTION FLUSH");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, fresh)
    const struct CMUnitTest tests[] = {
        T(test_library_is_loaded_when_missing_and_order_is_kept), T(test_two_processes_load_at_once),
        T(test_errors_of_port_and_server), T(test_free_drops_what_flies), T(test_load_fails_and_the_callback_frees), T(test_admit_makes_the_entry),
        T(test_double_admit_counts_once), T(test_reserve_then_admit), T(test_same_key_other_payload_at_once),
        T(test_index_is_trimmed_a_few_at_a_time), T(test_worker_first_gateway_second_is_the_same_entry),
        T(test_acquire_over_reservations), T(test_acquire_corrects_what_the_loser_admitted), T(test_one_holder),
        T(test_clean_release_is_no_takeover), T(test_who_gives_up_is_taken_over),
        T(test_owner_that_does_not_run_it_disclaims), T(test_note_of_a_waiting_job), T(test_what_an_owner_says_of_its_home_ages),
        T(test_epoch_is_above_stored_time_and_log),
        T(test_acquire_when_ended_or_unbuilt), T(test_append_and_its_repeat), T(test_append_where_nothing_is),
        T(test_cancel_reaches_the_owner), T(test_wipe_then_the_owner_restores),
        T(test_rebuild_races_with_its_live_owner), T(test_rebuilt_job_is_taken_over),
        T(test_wipe_plus_clock_step_back), T(test_restore_is_refused), T(test_lost_tail_of_a_second),
        T(test_compaction), T(test_finish_and_its_repeat), T(test_finish_carries_the_last_events),
        T(test_finish_needs_a_snapshot_when_the_stream_is_behind),
        T(test_takeover_mirrors_a_lower_epochs_terminal), T(test_terminal_below_the_top_of_a_void_history),
        T(test_finish_makes_an_absent_entry), T(test_rebuilt_ends_keep_their_age), T(test_retry_is_linked_once),
        T(test_heartbeats), T(test_boot_and_built),
        T(test_answers_out_of_shape),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
