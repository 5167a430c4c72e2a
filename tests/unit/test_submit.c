/* The path of a submission: what must have happened before a 202, and every other way it can end.
 */
#include "tests/unit/gateway_rig.h"
#include "tests/unit/kafka_rig.h"

#include "gateway/submit.h"

struct world {
    struct rig *rig;
    struct kafka_rig kafka;
    struct topics topics;
    struct rng rng;
    struct fn *fn;
    struct quota *quota;
    struct producer *producer;
    struct workflows *workflows;
    struct submit *submit;
};

struct client {
    int answers;
    bool is_accepted, is_replay, has_head;
    struct job_head head;
    enum job_status status;
    enum problem problem;
    int64_t retry_after_s;
    char pointer[64];
};

static void hear(void *arg, const struct submit_answer *a)
{
    struct client *c = arg;
    c->answers++;
    c->is_accepted = a->is_accepted;
    c->is_replay = a->is_replay;
    c->has_head = a->head != NULL;
    if (a->head) c->head = *a->head;
    c->status = a->status;
    c->problem = a->problem;
    c->retry_after_s = a->retry_after_s;
    c->pointer[0] = '\0';
    if (a->pointer) snprintf(c->pointer, sizeof c->pointer, "%s", a->pointer);
}

static void make(struct world *x)
{
    struct workflow *w = NULL;
    memset(x, 0, sizeof *x);
    x->rig = rig_new();
    rng_seed(&x->rng, 7);
    assert_true(topics_init(&x->topics, "t."));
    const struct producer_options po = {.port = kafka_rig_port(&x->kafka),
                                        .topics = &x->topics,
                                        .partitions = 8,
                                        .outstanding_max = 100};
    x->producer = producer_new(&po);
    x->fn = fn_new(rig_port(x->rig));
    x->quota = quota_new(rig_port(x->rig), &x->rig->clock);
    x->workflows = workflows_new();
    assert_int_equal(
        workflow_parse(
            VIEW_LIT("name: noop\nversion: 1\nsteps:\n  - id: e\n    transform: \"${ .input }\"\n"),
            "noop.yaml", &w, NULL),
        ERR_OK);
    assert_int_equal(workflows_add(x->workflows, w, NULL), ERR_OK);
    const struct submit_options so = {.producer = x->producer,
                                      .boot = "boot",
                                      .topics = &x->topics,
                                      .fn = x->fn,
                                      .quota = x->quota,
                                      .clock = &x->rig->clock,
                                      .timers = x->rig->timers,
                                      .rng = &x->rng,
                                      .space = {8, 4},
                                      .results_ms = 1000,
                                      .value_max = 1 << 20,
                                      .under_way_max = 3};
    x->submit = submit_new(&so, x->workflows);
    assert_non_null(x->submit);
}

static void drop(struct world *x)
{
    rig_run(x->rig);
    assert_int_equal(submit_under_way(x->submit), 0);
    submit_free(x->submit);
    producer_free(x->producer);
    quota_free(x->quota);
    fn_free(x->fn);
    workflows_free(x->workflows);
    kafka_rig_drop(&x->kafka);
    assert_int_equal(timerq_next_ms(x->rig->timers), INT64_MAX);
    rig_free(x->rig);
}

static const char body[] = "{\"workflow\":\"noop\",\"input\":{\"a\":1},\"metadata\":{\"m\":1}}";

static struct submission *post_body(struct world *x, struct client *c, const char *key,
                                    const char *text)
{
    const struct submit_request r = {.tenant = VIEW_LIT("acme"),
                                     .body = view_of(text),
                                     .idempotency = view_of(key),
                                     .traceparent = VIEW_NONE};
    *c = (struct client){0};
    return submit_start(x->submit, &r, hear, c);
}

static struct submission *post(struct world *x, struct client *c, const char *key,
                               int64_t max_queued)
{
    const struct submit_request r = {.tenant = VIEW_LIT("acme"),
                                     .max_queued = max_queued,
                                     .body = view_of(body),
                                     .idempotency = view_of(key),
                                     .traceparent = VIEW_NONE};
    *c = (struct client){0};
    return submit_start(x->submit, &r, hear, c);
}

/* --- keyless --- */

static void no_202_before_kafka_and_the_view(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    assert_non_null(post(&x, &c, NULL, 0));
    rig_run(x.rig);
    assert_int_equal(x.kafka.published, 1);
    assert_string_equal(x.kafka.last_topic, "t.jobs.interactive");
    assert_int_equal(x.rig->admits, 0); /* the view never runs ahead of the log */
    assert_int_equal(c.answers, 0);
    kafka_report(&x.kafka, ERR_OK);
    assert_int_equal(c.answers, 0);
    rig_run(x.rig);
    assert_int_equal(x.rig->admits, 1);
    assert_int_equal(c.answers, 1);
    assert_true(c.is_accepted);
    assert_false(c.is_replay);
    assert_int_equal(c.status, JOB_QUEUED);
    assert_string_equal(c.head.id.text, x.kafka.last_id);
    char origin[64];
    snprintf(origin, sizeof origin, "t.jobs.interactive/%d/0", (int)x.kafka.last_partition);
    assert_string_equal(c.head.origin, origin);
    assert_non_null(strstr(x.kafka.last_value, "\"input\":{\"a\":1}"));
    assert_non_null(strstr(x.kafka.last_value, "\"metadata\":{\"m\":1}"));
    drop(&x);
}

static void the_202_waits_50_ms_for_the_view_and_no_longer(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    x.rig->is_admit_held = true;
    post(&x, &c, NULL, 0);
    kafka_report(&x.kafka, ERR_OK);
    rig_pass(x.rig, SUBMIT_ADMIT_MS - 1);
    assert_int_equal(c.answers, 0);
    rig_pass(x.rig, 1);
    assert_int_equal(c.answers, 1);
    assert_true(c.is_accepted);
    assert_int_equal(submit_under_way(x.submit), 1);
    x.rig->is_admit_held = false;
    rig_run(x.rig);
    assert_int_equal(c.answers, 1);
    drop(&x);
}

static void without_redis_it_is_accepted_all_the_same(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    x.rig->is_redis_down = true;
    post(&x, &c, NULL, 0);
    kafka_report(&x.kafka, ERR_OK);
    rig_run(x.rig);
    assert_int_equal(c.answers, 1);
    assert_true(c.is_accepted);
    assert_int_equal(c.status, JOB_QUEUED);
    drop(&x);
}

static void what_kafka_does_not_acknowledge_is_a_503_with_its_id(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    post(&x, &c, NULL, 0);
    kafka_report(&x.kafka, ERR_TIMEOUT);
    assert_int_equal(c.answers, 1);
    assert_false(c.is_accepted);
    assert_int_equal(c.problem, PROBLEM_UNAVAILABLE);
    assert_int_equal(c.retry_after_s, 1);
    assert_true(c.has_head); /* it may have landed */
    assert_string_equal(c.head.id.text, x.kafka.last_id);
    rig_run(x.rig);
    assert_int_equal(x.rig->admits, 0);
    drop(&x);
}

static void what_was_never_sent_has_no_id(void **state)
{
    (void)state;
    static const struct {
        enum err_code code;
        enum problem problem;
    } cases[] = {{ERR_FULL, PROBLEM_UNAVAILABLE},
                 {ERR_UNAVAILABLE, PROBLEM_UNAVAILABLE},
                 {ERR_TOO_LARGE, PROBLEM_TOO_LARGE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world x;
        struct client c;
        make(&x);
        x.kafka.refuses = cases[i].code;
        assert_null(post(&x, &c, NULL, 0)); /* told at once */
        assert_int_equal(c.answers, 1);
        assert_int_equal(c.problem, cases[i].problem);
        assert_false(c.has_head);
        assert_int_equal(c.retry_after_s, cases[i].problem == PROBLEM_UNAVAILABLE ? 1 : 0);
        drop(&x);
    }
}

static void a_client_that_left_changes_nothing_but_the_answer(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    submission_forget(post(&x, &c, NULL, 0));
    kafka_report(&x.kafka, ERR_OK);
    rig_run(x.rig);
    assert_int_equal(x.rig->admits, 1);
    assert_int_equal(c.answers, 0);
    drop(&x);
}

static void too_many_under_way_are_refused_at_once(void **state)
{
    (void)state;
    struct world x;
    struct client c[4];
    make(&x);
    for (int i = 0; i < 3; i++) assert_non_null(post(&x, &c[i], NULL, 0));
    assert_null(post(&x, &c[3], NULL, 0));
    assert_int_equal(c[3].problem, PROBLEM_UNAVAILABLE);
    assert_int_equal(c[3].retry_after_s, 1);
    for (int i = 0; i < 3; i++) kafka_report(&x.kafka, ERR_OK);
    drop(&x);
}

static void a_bad_body_costs_nobody_anything(void **state)
{
    (void)state;
    struct world x;
    struct client c = {0};
    make(&x);
    const struct submit_request r = {.tenant = VIEW_LIT("acme"),
                                     .body = VIEW_LIT("{\"workflow\":\"noop\",\"inputs\":1}"),
                                     .idempotency = VIEW_LIT("k"),
                                     .traceparent = VIEW_NONE};
    assert_null(submit_start(x.submit, &r, hear, &c));
    assert_int_equal(c.problem, PROBLEM_UNKNOWN_FIELD);
    assert_string_equal(c.pointer, "/inputs");
    assert_int_equal(c.retry_after_s, 0);
    rig_run(x.rig);
    assert_int_equal(x.kafka.published + x.rig->reserves, 0);
    drop(&x);
}

static void after_a_stop_nothing_is_published(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    assert_non_null(post(&x, &c, "k", 0)); /* waits for its reservation */
    submit_stop(x.submit);
    rig_run(x.rig);
    assert_int_equal(c.problem, PROBLEM_UNAVAILABLE);
    assert_int_equal(x.kafka.published, 0);
    drop(&x);
}

/* --- keyed --- */

static void a_keyed_one_reserves_before_it_publishes(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    post(&x, &c, "k1", 0);
    assert_int_equal(x.kafka.published, 0);
    rig_run(x.rig);
    assert_int_equal(x.rig->reserves, 1);
    assert_int_equal(x.kafka.published, 1);
    kafka_report(&x.kafka, ERR_OK);
    rig_run(x.rig);
    assert_true(c.is_accepted);
    assert_false(c.is_replay);
    assert_int_equal(c.head.id.text[14], '8');
    drop(&x);
}

static void the_same_key_and_payload_is_the_same_job(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    x.rig->reserve_kind = FN_ADMIT_EXISTS;
    rig_live_job(x.rig); /* what meta says of it */
    post(&x, &c, "k1", 0);
    rig_run(x.rig);
    assert_int_equal(x.kafka.published, 0); /* no second record */
    assert_true(c.is_accepted);
    assert_true(c.is_replay);
    assert_int_equal(c.status, JOB_RUNNING);
    assert_int_equal(c.head.created_ms, 1795553743123);
    drop(&x);
}

static void a_replay_is_answered_though_the_quota_is_used_up(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    x.rig->reserve_kind = FN_ADMIT_EXISTS;
    x.rig->count = 100;
    rig_live_job(x.rig);
    post(&x, &c, "k1", 1);
    rig_run(x.rig);
    assert_true(c.is_accepted);
    drop(&x);
}

static void one_that_was_only_reserved_is_published_again(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    x.rig->reserve_kind = FN_ADMIT_EXISTS;
    x.rig->reserve_reserved = 1;
    post(&x, &c, "k1", 0);
    rig_run(x.rig);
    assert_int_equal(x.kafka.published, 1);
    kafka_report(&x.kafka, ERR_OK);
    rig_run(x.rig);
    assert_true(c.is_accepted);
    assert_true(c.is_replay);
    drop(&x);
}

static void the_same_key_with_another_payload_is_refused(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    x.rig->reserve_kind = FN_ADMIT_OTHER_PAYLOAD;
    post(&x, &c, "k1", 0);
    rig_run(x.rig);
    assert_int_equal(c.problem, PROBLEM_IDEMPOTENCY_MISMATCH);
    assert_int_equal(x.kafka.published, 0);
    x.rig->reserve_kind =
        FN_ADMIT_CREATED; /* and when it only shows after the record: the first one stands */
    x.rig->admit_kind = FN_ADMIT_OTHER_PAYLOAD;
    post(&x, &c, "k2", 0);
    rig_run(x.rig);
    kafka_report(&x.kafka, ERR_OK);
    rig_run(x.rig);
    assert_int_equal(c.answers, 1);
    assert_int_equal(c.problem, PROBLEM_IDEMPOTENCY_MISMATCH);
    drop(&x);
}

/* With a routing key too the job lies in its home, and the Idempotency-Key alone is claimed before.
 */
static void both_keys_claim_one_and_go_home_by_the_other(void **state)
{
    (void)state;
    static const char routed[] =
        "{\"workflow\":\"noop\",\"input\":1,\"key\":\"site:a\",\"priority\":9}";
    struct world x;
    struct client c;
    make(&x);
    post_body(&x, &c, "k1", routed);
    rig_run(x.rig);
    assert_int_equal(x.rig->reserves, 2);
    assert_int_equal(x.kafka.published, 1);
    kafka_report(&x.kafka, ERR_OK);
    rig_run(x.rig);
    assert_true(c.is_accepted);
    assert_string_equal(c.head.key, "site:a");
    assert_int_equal(c.head.boost, 4);
    struct job_id first = c.head.id;
    post_body(&x, &c, NULL, routed);
    rig_run(x.rig);
    kafka_report(&x.kafka, ERR_OK);
    rig_run(x.rig);
    assert_int_equal(id_partition(&c.head.id), id_partition(&first));
    x.rig->reserve_kind = FN_ADMIT_OTHER_PAYLOAD; /* seen at the claim */
    post_body(&x, &c, "k1", "{\"workflow\":\"noop\",\"input\":1,\"key\":\"site:b\"}");
    rig_run(x.rig);
    assert_int_equal(x.rig->reserves, 3);
    assert_int_equal(c.problem, PROBLEM_IDEMPOTENCY_MISMATCH);
    x.rig->reserve_kind = FN_ADMIT_EXISTS; /* a job of that name without a routing key */
    post_body(&x, &c, "k1", routed);
    rig_run(x.rig);
    assert_int_equal(c.problem, PROBLEM_IDEMPOTENCY_MISMATCH);
    assert_int_equal(x.kafka.published, 2);
    drop(&x);
}

static void without_redis_keyed_ones_wait_for_better_days(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    x.rig->is_redis_down = true;
    post(&x, &c, "k1", 0);
    rig_run(x.rig);
    assert_int_equal(c.problem, PROBLEM_UNAVAILABLE);
    assert_int_equal(c.retry_after_s, 1);
    assert_false(c.has_head);
    assert_int_equal(x.kafka.published, 0);
    drop(&x);
}

/* --- quota --- */

static void a_full_quota_is_asked_about_once_and_then_refused_quickly(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    x.rig->count = 2;
    post(&x, &c, NULL, 2);
    kafka_report(&x.kafka, ERR_OK);
    rig_run(x.rig);
    assert_true(c.is_accepted); /* nothing was known yet; now the count is */
    assert_null(post(&x, &c, NULL, 2));
    assert_int_equal(c.problem, PROBLEM_QUOTA_EXCEEDED);
    assert_int_equal(c.retry_after_s, 1);
    rig_pass(x.rig, QUOTA_FRESH_MS + 1);
    assert_non_null(post(&x, &c, NULL, 2)); /* an old count is asked again first */
    rig_run(x.rig);
    assert_int_equal(x.rig->counts, 1);
    assert_int_equal(c.problem, PROBLEM_QUOTA_EXCEEDED);
    rig_pass(x.rig, QUOTA_FRESH_MS + 1);
    x.rig->count = 1;
    post(&x, &c, NULL, 2);
    rig_run(x.rig);
    assert_int_equal(x.kafka.published, 2);
    assert_non_null(strstr(x.kafka.last_value, "\"input\":{\"a\":1}")); /* kept while it waited */
    kafka_report(&x.kafka, ERR_OK);
    rig_run(x.rig);
    assert_true(c.is_accepted);
    drop(&x);
}

/* --- ready records --- */

static void a_ready_record_goes_the_same_way(void **state)
{
    (void)state;
    struct world x;
    struct client c = {0};
    make(&x);
    struct job_head head = {
        .tenant = "acme", .workflow = "noop", .version = 1, .created_ms = 5, .since = -1};
    head.id = id_new_derived(VIEW_LIT("old"), VIEW_LIT(""), 3);
    snprintf(head.redrive_of, sizeof head.redrive_of, "01a20f90-bb1d-7001-9f75-12f927ebbb5e");
    const struct job_body b = {
        .workflow = VIEW_LIT("noop"), .version = 1, .input = VIEW_LIT("[1]")};
    assert_non_null(submit_record(x.submit, &head, &b, 0, hear, &c));
    assert_int_equal(x.kafka.last_partition, 3);
    assert_string_equal(x.kafka.last_redrive, head.redrive_of);
    kafka_report(&x.kafka, ERR_OK);
    rig_run(x.rig);
    assert_true(c.is_accepted);
    assert_int_equal(x.rig->reserves, 0);
    drop(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_202_before_kafka_and_the_view),
        cmocka_unit_test(the_202_waits_50_ms_for_the_view_and_no_longer),
        cmocka_unit_test(without_redis_it_is_accepted_all_the_same),
        cmocka_unit_test(what_kafka_does_not_acknowledge_is_a_503_with_its_id),
        cmocka_unit_test(what_was_never_sent_has_no_id),
        cmocka_unit_test(a_client_that_left_changes_nothing_but_the_answer),
        cmocka_unit_test(too_many_under_way_are_refused_at_once),
        cmocka_unit_test(a_bad_body_costs_nobody_anything),
        cmocka_unit_test(after_a_stop_nothing_is_published),
        cmocka_unit_test(a_keyed_one_reserves_before_it_publishes),
        cmocka_unit_test(the_same_key_and_payload_is_the_same_job),
        cmocka_unit_test(a_replay_is_answered_though_the_quota_is_used_up),
        cmocka_unit_test(one_that_was_only_reserved_is_published_again),
        cmocka_unit_test(the_same_key_with_another_payload_is_refused),
        cmocka_unit_test(both_keys_claim_one_and_go_home_by_the_other),
        cmocka_unit_test(without_redis_keyed_ones_wait_for_better_days),
        cmocka_unit_test(a_full_quota_is_asked_about_once_and_then_refused_quickly),
        cmocka_unit_test(a_ready_record_goes_the_same_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
