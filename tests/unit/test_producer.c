/* The publishing library: where records go, what is told of them, and how quickly a silent Kafka is
 * noticed. */
#include "producer/producer.h"
#include "producer/route_key.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
#include "tests/unit/kafka_rig.h"
/* clang-format on */

enum { HOMES = 8 };

struct heard {
    int count;
    enum err_code code;
    int64_t offset;
    enum topic topic;
    int32_t partition;
};

static void hear(void *arg, const struct producer_report *r)
{
    struct heard *h = arg;
    h->count++;
    h->code = r->e ? r->e->code : ERR_OK;
    h->offset = r->offset;
    h->topic = r->topic;
    h->partition = r->partition;
}

static struct topics topics;
static struct kafka_rig kafka;

static struct producer *make(size_t outstanding_max)
{
    memset(&kafka, 0, sizeof kafka);
    assert_true(topics_init(&topics, "t."));
    const struct producer_options o = {.port = kafka_rig_port(&kafka),
                                       .topics = &topics,
                                       .partitions = HOMES,
                                       .outstanding_max = outstanding_max};
    struct producer *p = producer_new(&o);
    assert_non_null(p);
    return p;
}

static struct job_head head_in(uint32_t home)
{
    struct job_head h = {
        .cls = CLASS_INTERACTIVE, .created_ms = 1000, .since = -1, .tenant = "acme"};
    h.id = id_new_derived(VIEW_LIT("x"), VIEW_LIT(""), home);
    return h;
}

static enum err_code submit(struct producer *p, const struct job_head *head, struct heard *h)
{
    struct err err;
    const struct producer_done done = {hear, h};
    return producer_submit(p, head, VIEW_LIT("{}"), 1000, &done, &err);
}

static void records_go_to_their_topic_and_home(void **state)
{
    (void)state;
    static const struct {
        enum job_class cls;
        int64_t due_ms;
        const char *topic;
    } cases[] = {
        {CLASS_INTERACTIVE, 0, "t.jobs.interactive"},    {CLASS_BULK, 0, "t.jobs.bulk"},
        {CLASS_INTERACTIVE, 1000, "t.jobs.interactive"}, {CLASS_BULK, 5999, "t.jobs.bulk"},
        {CLASS_INTERACTIVE, 6000, "t.delay.5s"},         {CLASS_BULK, 31000, "t.delay.30s"},
        {CLASS_BULK, 1000 + 24 * 3600000, "t.delay.6h"}};
    struct producer *p = make(100);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct heard h = {0};
        struct job_head head = head_in((uint32_t)i);
        head.cls = cases[i].cls;
        head.due_ms = cases[i].due_ms;
        assert_int_equal(submit(p, &head, &h), ERR_OK);
        assert_string_equal(kafka.last_topic, cases[i].topic);
        assert_int_equal(kafka.last_partition, i);
        assert_string_equal(kafka.last_id, head.id.text);
        assert_int_equal(h.count, 0); /* never from inside the call */
        kafka_report(&kafka, ERR_OK);
        assert_int_equal(h.count, 1);
        assert_int_equal(h.code, ERR_OK);
        assert_int_equal(h.offset, i);
        assert_int_equal(h.partition, i);
        assert_string_equal(topics.names[h.topic], cases[i].topic);
    }
    producer_free(p);
}

static void state_records_go_to_state(void **state)
{
    (void)state;
    struct producer *p = make(100);
    struct heard h = {0};
    struct err err;
    struct state_record s = {
        .kind = STATE_CANCEL, .head = head_in(3), .item = -1, .value = VIEW_LIT("{}")};
    const struct producer_done done = {hear, &h};
    assert_int_equal(producer_state(p, &s, &done, &err), ERR_OK);
    assert_string_equal(kafka.last_topic, "t.state");
    assert_int_equal(kafka.last_partition, 3);
    kafka_report(&kafka, ERR_OK);
    assert_int_equal(h.topic, TOPIC_STATE);
    producer_free(p);
}

static void the_ceiling_is_told_at_once(void **state)
{
    (void)state;
    struct producer *p = make(2);
    struct heard h = {0};
    struct job_head head = head_in(1);
    assert_int_equal(submit(p, &head, &h), ERR_OK);
    assert_int_equal(submit(p, &head, &h), ERR_OK);
    assert_int_equal(submit(p, &head, &h), ERR_FULL);
    assert_int_equal(producer_outstanding(p), 2);
    assert_int_equal(kafka.published, 2);
    kafka_report(&kafka, ERR_OK);
    assert_int_equal(submit(p, &head, &h), ERR_OK);
    kafka.refuses = ERR_FULL;
    kafka_report(&kafka, ERR_OK);
    assert_int_equal(submit(p, &head, &h), ERR_FULL); /* librdkafka's own queue */
    assert_int_equal(producer_outstanding(p), 1);
    assert_int_equal(producer_counts(p).refused, 2);
    producer_free(p); /* one is still out: told to nobody, and not leaked */
    assert_int_equal(h.count, 2);
    kafka_rig_drop(&kafka);
}

static void a_silent_home_is_probed_by_one_record(void **state)
{
    (void)state;
    struct producer *p = make(100);
    struct heard h = {0}, other = {0};
    struct job_head silent = head_in(1), well = head_in(2);
    assert_true(producer_is_well(p));
    assert_int_equal(submit(p, &silent, &h), ERR_OK);
    kafka_report(&kafka, ERR_TIMEOUT);
    assert_int_equal(h.code, ERR_TIMEOUT);
    assert_false(producer_is_well(p));
    assert_int_equal(submit(p, &silent, &h), ERR_OK);          /* the probe */
    assert_int_equal(submit(p, &silent, &h), ERR_UNAVAILABLE); /* all others at once */
    assert_int_equal(submit(p, &well, &other), ERR_OK);        /* other homes go on */
    kafka_report(&kafka, ERR_UNAVAILABLE);
    assert_int_equal(submit(p, &silent, &h), ERR_OK);
    assert_int_equal(submit(p, &silent, &h), ERR_UNAVAILABLE);
    kafka_report(&kafka, ERR_OK); /* of the other home */
    assert_int_equal(submit(p, &silent, &h), ERR_UNAVAILABLE);
    kafka_report(&kafka, ERR_OK); /* of the probe */
    assert_true(producer_is_well(p));
    assert_int_equal(submit(p, &silent, &h), ERR_OK);
    assert_int_equal(submit(p, &silent, &h), ERR_OK);
    kafka_report(&kafka, ERR_TOO_LARGE); /* of the record, not of Kafka */
    assert_true(producer_is_well(p));
    kafka_report(&kafka, ERR_TIMEOUT);
    assert_false(producer_is_well(p));
    producer_trust(p);
    assert_true(producer_is_well(p));
    assert_int_equal(producer_counts(p).failed, 4);
    producer_free(p);
}

static void a_foreign_home_is_refused(void **state)
{
    (void)state;
    struct producer *p = make(100);
    struct heard h = {0};
    struct job_head head = head_in(HOMES);
    assert_int_equal(submit(p, &head, &h), ERR_INVALID);
    assert_int_equal(kafka.published, 0);
    producer_free(p);
}

/* --- names and homes of new jobs --- */

static void an_idempotency_key_names_the_job_and_a_routing_key_its_home(void **state)
{
    (void)state;
    const struct id_space space = {HOMES, 4};
    struct rng a, b;
    rng_seed(&a, 1);
    rng_seed(&b, 2);
    struct route_key k = {.tenant = VIEW_LIT("acme"), .idempotency = VIEW_LIT("k1")}, routed = k,
                     other = k;
    routed.routing = VIEW_LIT("elsewhere");
    other.tenant = VIEW_LIT("beta");
    struct job_id one = route_key_id(space, &k, 1000, &a),
                  two = route_key_id(space, &routed, 9000, &b),
                  foreign = route_key_id(space, &other, 1000, &a);
    assert_int_equal(id_partition(&two), id_home(space, k.tenant, routed.routing));
    memcpy(two.text + 14, one.text + 14, 4); /* version and home apart: the same */
    assert_string_equal(one.text, two.text);
    assert_string_not_equal(one.text, foreign.text);
    assert_int_equal(one.text[14], '8');
}

static void a_routing_key_alone_chooses_the_home(void **state)
{
    (void)state;
    const struct id_space space = {64, 16};
    struct rng rng;
    rng_seed(&rng, 1);
    struct route_key k = {.tenant = VIEW_LIT("acme"), .routing = VIEW_LIT("customer-7")},
                     free_choice = k;
    free_choice.routing = VIEW_NONE;
    uint32_t home = id_home(space, k.tenant, k.routing), seen = 0;
    struct job_id last = {""};
    for (int i = 0; i < 50; i++) {
        struct job_id id = route_key_id(space, &k, 1000, &rng), same,
                      any = route_key_id(space, &free_choice, 1000, &rng);
        assert_true(id_parse(view_of(id.text), &same));
        assert_int_equal(id.text[14], '7');
        assert_int_equal(id_partition(&id), home);
        assert_int_equal(id_wall_ms(&id), 1000);
        assert_string_not_equal(id.text, last.text);
        if (id_partition(&any) != home) seen++;
        last = id;
    }
    assert_true(seen > 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_go_to_their_topic_and_home),
        cmocka_unit_test(state_records_go_to_state),
        cmocka_unit_test(the_ceiling_is_told_at_once),
        cmocka_unit_test(a_silent_home_is_probed_by_one_record),
        cmocka_unit_test(a_foreign_home_is_refused),
        cmocka_unit_test(an_idempotency_key_names_the_job_and_a_routing_key_its_home),
        cmocka_unit_test(a_routing_key_alone_chooses_the_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
