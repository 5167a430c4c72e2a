/* What the owner of a home may conclude from its log: which record of a job is the live one, from
 * where the log must be read again, whose cancel counts, and what is let go of. */
#include "consumer/known.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct job_id id_of(unsigned n)
{
    struct job_id id;
    snprintf(id.text, sizeof id.text, "01900000-0000-7003-8000-%012x", n);
    return id;
}

struct log {
    struct known *k;
    int64_t next;
    enum ledger_verdict verdict;
};

/* A record of job n; seq is its own. */
static struct known_job *fold(struct log *l, unsigned n, enum state_kind kind, int64_t epoch,
                              int64_t seq)
{
    struct state_record s = {.kind = kind, .item = -1};
    s.head.id = id_of(n);
    s.head.epoch = epoch;
    s.head.seq = seq;
    snprintf(s.head.tenant, sizeof s.head.tenant, "acme");
    snprintf(s.step, sizeof s.step, "a");
    int64_t offset = l->next++;
    return known_fold(l->k, &s, offset, 1000 + offset, &l->verdict);
}

static int begin(void **state)
{
    struct log *l = calloc(1, sizeof *l);
    l->k = known_new(100, 4);
    l->next = 10;
    *state = l;
    return 0;
}

static int end(void **state)
{
    struct log *l = *state;
    known_free(l->k);
    free(l);
    return 0;
}

static struct known_job *job(struct log *l, unsigned n)
{
    struct job_id id = id_of(n);
    return known_find(l->k, &id);
}

static void the_live_record_is_the_latest_handoff(void **state)
{
    struct log *l = *state;
    struct known_job *j = fold(l, 1, STATE_STARTED, 100, 1);
    assert_int_equal(known_judge(j, 0, 0),
                     KNOWN_TAKE); /* the first: whoever started it may be dead */
    assert_int_equal(known_judge(j, 100, 7), KNOWN_HOLD); /* a copy whose `yielded` has not come */
    fold(l, 1, STATE_YIELDED, 100, 7);
    assert_int_equal(known_judge(j, 0, 0), KNOWN_DONE);
    assert_int_equal(known_judge(j, 100, 7), KNOWN_TAKE);
    assert_true(j->is_expected);
    fold(l, 1, STATE_STARTED, 200, 8);
    assert_false(j->is_expected);
    fold(l, 1, STATE_PARKED, 100, 9); /* a zombie's: void */
    assert_int_equal(l->verdict, LEDGER_VOID);
    assert_int_equal(known_judge(j, 100, 9), KNOWN_DONE); /* it can never become the live one */
    assert_int_equal(known_judge(j, 200, 9), KNOWN_HOLD);
    fold(l, 1, STATE_PARKED, 200, 9);
    assert_int_equal(known_judge(j, 100, 7), KNOWN_DONE);
    assert_int_equal(known_judge(j, 200, 9), KNOWN_TAKE);
}

static void an_ended_job_is_taken_until_redis_knows(void **state)
{
    struct log *l = *state;
    struct known_job *j = fold(l, 1, STATE_STARTED, 100, 1);
    struct list_link item = {0};
    list_push(&j->items, &item); /* its record is in memory */
    fold(l, 1, STATE_SUCCEEDED, 100, 5);
    assert_int_equal(known_judge(j, 0, 0), KNOWN_TAKE);
    assert_int_equal(known_floor(l->k), 10);
    j->is_settled = true;
    assert_int_equal(known_judge(j, 0, 0), KNOWN_DONE);
    list_remove(&j->items, &item);
    known_settle(l->k, j);
    assert_int_equal(known_floor(l->k), INT64_MAX);
    fold(l, 1, STATE_FAILED, 100, 6); /* nothing counts behind the end */
    assert_int_equal(l->verdict, LEDGER_DUPLICATE);
    assert_int_equal(known_floor(l->k), INT64_MAX);
}

static void the_floor_is_the_first_record_of_the_oldest_open_job(void **state)
{
    struct log *l = *state;
    fold(l, 1, STATE_STARTED, 100, 1);
    fold(l, 2, STATE_STARTED, 101, 1);
    fold(l, 3, STATE_STARTED, 102, 1);
    fold(l, 1, STATE_YIELDED, 100, 2);
    assert_int_equal(known_floor(l->k), 10);
    fold(l, 2, STATE_SUCCEEDED, 101, 2); /* no record of it in memory, none to come */
    assert_int_equal(known_floor(l->k), 10);
    fold(l, 1, STATE_STARTED, 200, 3);
    fold(l, 1, STATE_FAILED, 200, 4);
    assert_int_equal(known_floor(l->k), 12);
    assert_int_equal(known_open(l->k), 1);
    known_reopen(l->k, job(l, 1)); /* its record came again */
    assert_int_equal(known_floor(l->k), 10);
}

static void a_job_that_waits_for_its_record_holds_the_floor(void **state)
{
    struct log *l = *state;
    struct known_job *j = fold(l, 1, STATE_STARTED, 100, 1);
    fold(l, 1, STATE_PARKED, 100, 2);
    fold(l, 1, STATE_CANCELED, 100, 3);
    assert_true(j->is_expected); /* the delay record will be read one day */
    assert_int_equal(known_floor(l->k), 10);
}

static void what_does_not_fit_holds_the_floor_for_ever(void **state)
{
    struct log *l = *state;
    for (unsigned n = 0; n < 100; n++) assert_non_null(fold(l, n, STATE_STARTED, 100, 1));
    assert_null(fold(l, 100, STATE_STARTED, 100, 1));
    assert_true(known_has_forgotten(l->k));
    for (unsigned n = 0; n < 100; n++) fold(l, n, STATE_SUCCEEDED, 100, 2);
    assert_int_equal(known_floor(l->k), 110); /* the record that was not kept */
}

static void only_its_own_tenant_cancels_a_job(void **state)
{
    struct log *l = *state;
    struct known_job *j = fold(l, 1, STATE_CANCEL, 0, 0);
    assert_true(known_has_cancel(j));
    assert_true(known_is_canceled(j, "acme"));
    assert_false(known_is_canceled(j, "bolt"));
    assert_int_equal(known_phase(j), LEDGER_NEW);
    assert_int_equal(known_floor(l->k), 10); /* the job may still come */
    known_drop(l->k, j);                     /* it never was one */
    assert_null(job(l, 1));
    assert_int_equal(known_floor(l->k), INT64_MAX);
}

static void a_cancel_of_a_job_that_began_is_not_dropped(void **state)
{
    struct log *l = *state;
    struct known_job *j = fold(l, 1, STATE_STARTED, 100, 1);
    fold(l, 1, STATE_CANCEL, 0, 0);
    known_drop(l->k, j);
    known_expire(l->k, INT64_MAX);
    assert_ptr_equal(job(l, 1), j);
}

static void ended_jobs_are_remembered_up_to_a_bound(void **state)
{
    struct log *l = *state;
    for (unsigned n = 0; n < 5; n++) {
        assert_false(known_has_forgotten(l->k));
        fold(l, n, STATE_STARTED, 100, 1);
        fold(l, n, STATE_SUCCEEDED, 100, 2);
    }
    assert_true(known_has_forgotten(l->k));
    assert_null(job(l, 0));
    assert_non_null(job(l, 4));
}

static void a_handoff_of_ones_own_is_known_before_the_tail_is_read(void **state)
{
    struct log *l = *state;
    struct known_job *j = fold(l, 1, STATE_STARTED, 100, 1);
    known_hand_off(l->k, j, 100, 7);
    assert_int_equal(known_judge(j, 0, 0), KNOWN_DONE);
    assert_int_equal(known_judge(j, 100, 7), KNOWN_TAKE);
    known_hand_off(l->k, j, 100, 3); /* older: nothing */
    assert_int_equal(known_judge(j, 100, 7), KNOWN_TAKE);
    fold(l, 1, STATE_YIELDED, 100, 7); /* the tail says the same */
    assert_int_equal(known_judge(j, 100, 7), KNOWN_TAKE);
    assert_int_equal(known_phase(j), LEDGER_YIELDED);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_live_record_is_the_latest_handoff),
        T(an_ended_job_is_taken_until_redis_knows),
        T(the_floor_is_the_first_record_of_the_oldest_open_job),
        T(a_job_that_waits_for_its_record_holds_the_floor),
        T(what_does_not_fit_holds_the_floor_for_ever),
        T(only_its_own_tenant_cancels_a_job),
        T(a_cancel_of_a_job_that_began_is_not_dropped),
        T(ended_jobs_are_remembered_up_to_a_bound),
        T(a_handoff_of_ones_own_is_known_before_the_tail_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
