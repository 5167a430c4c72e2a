/* A look at a cluster: against a real broker (KAFKA_BROKERS; skipped without) what is not there is
 * said to be missing and stays missing; against nobody the answer comes in time and says why. */
#include "common/io/kafka_look.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

struct looked {
    struct loop *loop;
    size_t answers;
    struct err err;
    struct kafka_look look;
    int partitions[2];
    char state[64], reason[160];
};

static void on_look(void *arg, const struct err *e, const struct kafka_look *look)
{
    struct looked *l = arg;

    l->answers++;
    if (e) l->err = *e;
    l->look = *look;
    for (size_t i = 0; i < 2; i++) l->partitions[i] = look->topics[i].partitions;
    snprintf(l->state, sizeof l->state, "%s", look->state);
    snprintf(l->reason, sizeof l->reason, "%s", look->reason);
    loop_stop(l->loop);
}

static void look(struct looked *l, const char *brokers, const char *const topics[2], int look_ms)
{
    const struct kafka_options common = {.brokers = brokers, .client_id = "test"};
    const struct kafka_look_ask ask = {.common = &common,
                                       .topics = topics,
                                       .topic_count = 2,
                                       .group = "nobody-is-in-here",
                                       .look_ms = look_ms,
                                       .done = on_look,
                                       .arg = l};
    struct err err;

    *l = (struct looked){.loop = loop_new(&err)};
    assert_non_null(l->loop);
    assert_int_equal(kafka_look_start(l->loop, &ask, &err), ERR_OK);
    assert_int_equal(l->answers, 0);
    loop_run(l->loop);
    loop_free(l->loop);
    assert_int_equal(l->answers, 1);
}

static void test_nobody_there(void **state)
{
    const char *const topics[2] = {"a", "b"};
    struct looked l;

    (void)state;
    look(&l, "127.0.0.1:1", topics, 500);
    assert_int_equal(l.err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(l.err.text, "refused"));
}

static void test_bad_settings(void **state)
{
    const struct kafka_setting setting = {"security.protocol", "carrier-pigeon"};
    const struct kafka_options common = {
        .brokers = "127.0.0.1:1", .settings = &setting, .setting_count = 1};
    const char *const topics[2] = {"a", "b"};
    struct looked l = {0};
    const struct kafka_look_ask ask = {.common = &common,
                                       .topics = topics,
                                       .topic_count = 2,
                                       .group = "g",
                                       .look_ms = 500,
                                       .done = on_look,
                                       .arg = &l};
    struct err err;

    (void)state;
    l.loop = loop_new(&err);
    assert_non_null(l.loop);
    assert_int_equal(kafka_look_start(l.loop, &ask, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "security.protocol"));
    loop_free(l.loop);
    assert_int_equal(l.answers, 0);
}

static void test_a_broker(void **state)
{
    const char *brokers = getenv("KAFKA_BROKERS");
    char missing[64];
    const char *const topics[2] = {missing, "__consumer_offsets"};
    struct looked l;

    (void)state;
    if (!brokers || !brokers[0]) skip();
    snprintf(missing, sizeof missing, "look-at-nothing-%ld", (long)getpid());
    for (int i = 0; i < 2; i++) { /* the first look made nothing */
        look(&l, brokers, topics, 10000);
        assert_int_equal(l.err.code, ERR_OK);
        assert_in_range(l.look.brokers, 1, 100);
        assert_int_equal(l.partitions[0], 0);
        if (!l.look.is_known) fail_msg("the group: %s", l.reason);
        assert_int_equal(l.look.members, 0);
        assert_int_equal(l.look.owned, 0);
    }
    assert_true(l.partitions[1] > 0); /* made by the question for a group */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nobody_there),
                                       cmocka_unit_test(test_bad_settings),
                                       cmocka_unit_test(test_a_broker)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
