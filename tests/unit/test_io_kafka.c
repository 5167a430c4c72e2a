/* Kafka against a real broker (KAFKA_BROKERS; skipped without): topics are made and counted,
 * records are acknowledged or refused for a reason, a group's members get and lose partitions while
 * nothing is lost or repeated, commits carry their metadata, replays read exactly their range.
 * Against nobody: what comes when the broker is away. */
#include "common/io/kafka.h"
#include "common/io/kafka_priv.h"
#include <inttypes.h>
#include <librdkafka/rdkafka_mock.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

enum { GUARD_MS = 60000, PARTITIONS = 4, RECORDS_MAX = 8192, MEMBERS = 2 };

struct member {
    struct rig *rig;
    struct kafka_consumer *c;
    bool owns[PARTITIONS];
    bool is_following[PARTITIONS];
    size_t assigned, revoked, readables, commits;
    bool is_lost, has_left;
    enum err_code commit_code;
    int64_t next[2][PARTITIONS]; /* of the jobs and of the state topic: what comes next */
    size_t records;
    int64_t committed_offset;
    char metadata[8192];
    bool is_lazy;   /* reads nothing by itself */
    bool is_manual; /* follows nothing by itself */
};

struct rig {
    struct loop *l;
    struct log *log;
    struct timer guard, step;
    bool (*is_there)(struct rig *r);
    char jobs[64], state[64], group[64];
    struct kafka_producer *p;
    struct publish_port port;
    size_t acks, errors, sent;
    enum err_code code;
    int64_t offsets[RECORDS_MAX];
    bool is_ensured, is_closed, is_stepped;
    struct err ensured;
    struct member m[MEMBERS];
    size_t replayed, replays_done;
    int64_t replay_first, replay_next;
    enum err_code replay_code;
    bool has_values;
    struct kafka_replay *cancel_me;
};

/* --- rig ---------------------------------------------------------------------------------- */

static void rig_late(void *arg)
{
    (void)arg;
    fail_msg("not there in time");
}

static void rig_log(void *arg, struct view line)
{
    (void)arg;
    if (getenv("TEST_VERBOSE")) (void)fwrite(line.ptr, 1, line.len, stderr);
}

static void rig_turn(void *arg)
{
    struct rig *r = arg;
    if (r->is_there && r->is_there(r)) loop_stop(r->l);
}

static void until(struct rig *r, bool (*is_there)(struct rig *r))
{
    r->is_there = is_there;
    loop_run(r->l);
    r->is_there = NULL;
}

static int rig_setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    static unsigned serial; /* names differ from test to test */
    r->l = loop_new(NULL);
    r->log = log_new("test", LOG_DEBUG, loop_clock(r->l), rig_log, NULL);
    timerq_set(loop_timers(r->l), &r->guard, loop_clock(r->l)->mono_ms + GUARD_MS, rig_late, NULL);
    loop_after_turn(r->l, rig_turn, r);
    serial++;
    unsigned long long stamp = (unsigned long long)loop_clock(r->l)->wall_ms;
    snprintf(r->jobs, sizeof r->jobs, "t%llu.%d.%u.jobs", stamp, (int)getpid(), serial);
    snprintf(r->state, sizeof r->state, "t%llu.%d.%u.state", stamp, (int)getpid(), serial);
    snprintf(r->group, sizeof r->group, "t%llu.%d.%u.group", stamp, (int)getpid(), serial);
    for (int i = 0; i < MEMBERS; i++) r->m[i].rig = r;
    *state = r;
    return 0;
}

static bool members_left(struct rig *r)
{
    for (int i = 0; i < MEMBERS; i++)
        if (r->m[i].c && !r->m[i].has_left) return false;
    return true;
}

static void on_left(void *arg)
{
    struct member *m = arg;
    m->has_left = true;
}

static int rig_teardown(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < MEMBERS; i++)
        if (r->m[i].c && !r->m[i].has_left) kafka_consumer_leave(r->m[i].c, on_left, &r->m[i]);
    until(r, members_left);
    for (int i = 0; i < MEMBERS; i++) kafka_consumer_free(r->m[i].c);
    kafka_producer_close(r->p, 0, NULL, NULL);
    loop_free(r->l);
    log_free(r->log);
    free(r);
    return 0;
}

static const char *brokers(void)
{
    const char *b = getenv("KAFKA_BROKERS");
    if (!b || !b[0]) skip();
    return b;
}

static void on_step(void *arg)
{
    ((struct rig *)arg)->is_stepped = true;
}

static bool stepped(struct rig *r)
{
    return r->is_stepped;
}

static void run_for(struct rig *r, int64_t ms)
{
    r->is_stepped = false;
    timerq_set(loop_timers(r->l), &r->step, loop_clock(r->l)->mono_ms + ms, on_step, r);
    until(r, stepped);
}

/* --- producing ---------------------------------------------------------------------------- */

static struct kafka_producer_options producer_options(const char *at)
{
    return (struct kafka_producer_options){.common = {.brokers = at, .client_id = "test"},
                                           .linger_ms = 1,
                                           .message_timeout_ms = 10000,
                                           .queue_messages_max = 10000,
                                           .queue_kbytes_max = 65536};
}

static void open_producer(struct rig *r, const struct kafka_producer_options *o)
{
    r->p = kafka_producer_new(r->l, r->log, o, NULL);
    assert_non_null(r->p);
    r->port = kafka_producer_port(r->p);
}

static void on_ensured(void *arg, const struct err *e)
{
    struct rig *r = arg;
    r->is_ensured = true;
    r->ensured = e ? *e : (struct err){.code = ERR_OK};
}

static bool ensured(struct rig *r)
{
    return r->is_ensured;
}

static enum err_code ensure(struct rig *r, const char *at, int partitions)
{
    const struct kafka_setting keep[] = {{"retention.ms", "86400000"},
                                         {"min.insync.replicas", "1"}};
    const struct kafka_topic_spec specs[] = {
        {.name = r->jobs,
         .partitions = partitions,
         .replication = 1,
         .settings = keep,
         .setting_count = 2},
        {.name = r->state, .partitions = PARTITIONS, .replication = 1},
    };
    struct kafka_options o = {.brokers = at, .client_id = "test"};
    r->is_ensured = false;
    kafka_topics_ensure(r->l, &o, specs, 2, r->p, on_ensured, r);
    assert_false(r->is_ensured);
    until(r, ensured);
    return r->ensured.code;
}

/* Topics, and a producer that knows them. */
static void begin(struct rig *r)
{
    struct kafka_producer_options o = producer_options(brokers());
    open_producer(r, &o);
    assert_int_equal(ensure(r, o.common.brokers, PARTITIONS), ERR_OK);
}

static void on_report(void *arg, const struct err *e, int64_t offset)
{
    struct rig *r = arg;
    if (e) {
        r->errors++;
        r->code = e->code;
    } else {
        if (r->acks < RECORDS_MAX) r->offsets[r->acks] = offset;
        r->acks++;
    }
}

static enum err_code publish(struct rig *r, const char *topic, int32_t partition, const char *value)
{
    struct record_out rec = {
        .topic = topic, .partition = partition, .key = VIEW_LIT("key"), .value = view_of(value)};
    rec.headers[rec.header_count++] = (struct header){VIEW_LIT("job-id"), VIEW_LIT("0190")};
    rec.headers[rec.header_count++] = (struct header){VIEW_LIT("empty"), VIEW_LIT("")};
    enum err_code code = r->port.publish(r->port.self, &rec, on_report, r, NULL);
    if (code == ERR_OK) r->sent++;
    return code;
}

static bool reported(struct rig *r)
{
    return r->acks + r->errors == r->sent;
}

/* count records in each partition of a topic, numbered by their values. */
static void fill(struct rig *r, const char *topic, int count)
{
    char value[32];
    for (int i = 0; i < count; i++)
        for (int32_t p = 0; p < PARTITIONS; p++) {
            snprintf(value, sizeof value, "%d", i);
            assert_int_equal(publish(r, topic, p, value), ERR_OK);
        }
    until(r, reported);
    assert_int_equal(r->errors, 0);
}

static void topics_are_made_once_and_counted(void **state)
{
    struct rig *r = *state;
    const char *at = brokers();
    assert_int_equal(ensure(r, at, PARTITIONS), ERR_OK);
    assert_int_equal(ensure(r, at, PARTITIONS), ERR_OK);
    assert_int_equal(ensure(r, at, PARTITIONS + 1), ERR_CONFLICT);
    assert_non_null(strstr(r->ensured.text, r->jobs));
    assert_non_null(strstr(r->ensured.text, "4 partitions, not 5"));
}

static void a_broker_that_is_away_is_unavailable(void **state)
{
    struct rig *r = *state;
    int64_t start = loop_clock(r->l)->mono_ms;
    assert_int_equal(ensure(r, "127.0.0.1:1", PARTITIONS), ERR_UNAVAILABLE);
    assert_in_range(loop_clock(r->l)->mono_ms - start, 0, 10000);
}

static void unknown_settings_are_refused(void **state)
{
    struct rig *r = *state;
    const struct kafka_setting bad[] = {{"no.such.setting", "secret"}};
    struct kafka_producer_options o = producer_options("127.0.0.1:1");
    struct err e;
    o.common.settings = bad;
    o.common.setting_count = 1;
    assert_null(kafka_producer_new(r->l, r->log, &o, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_non_null(strstr(e.text, "no.such.setting"));
    assert_null(strstr(e.text, "secret"));
}

static void records_are_acknowledged_in_order(void **state)
{
    struct rig *r = *state;
    begin(r);
    int64_t start = loop_clock(r->l)->mono_ms;
    for (int i = 0; i < 1000; i++) assert_int_equal(publish(r, r->jobs, 1, "value"), ERR_OK);
    assert_int_equal(kafka_producer_outstanding(r->p), 1000);
    assert_int_equal(r->acks, 0); /* never from inside the call */
    until(r, reported);
    assert_int_equal(r->acks, 1000);
    for (int i = 0; i < 1000; i++) assert_int_equal(r->offsets[i], i);
    assert_true(loop_clock(r->l)->mono_ms - start <
                900); /* warm: no second of waiting for metadata */
}

static void refusals_have_their_reason(void **state)
{
    struct rig *r = *state;
    begin(r);
    char *big = malloc(1100001);
    memset(big, 'x', 1100000);
    big[1100000] = '\0';
    assert_int_equal(publish(r, r->jobs, 0, big), ERR_TOO_LARGE);
    free(big);
    assert_int_equal(publish(r, r->jobs, 99, "x"),
                     ERR_NOT_FOUND); /* the metadata is known: told at once */
    size_t taken = 0;
    while (publish(r, r->jobs, 0, "x") == ERR_OK) taken++;
    assert_int_equal(taken, 7000);
    until(r, reported);
    assert_int_equal(r->acks, 7000);
    assert_int_equal(publish(r, r->jobs, 0, "x"), ERR_OK);
    until(r, reported);
}

static void a_record_that_never_left_is_unavailable(void **state)
{
    struct rig *r = *state;
    struct kafka_producer_options o = producer_options("127.0.0.1:1");
    o.message_timeout_ms = 500;
    open_producer(r, &o);
    assert_int_equal(publish(r, "nowhere", 0, "x"), ERR_OK);
    until(r, reported);
    assert_int_equal(r->errors, 1);
    assert_int_equal(r->code, ERR_UNAVAILABLE);
}

/* librdkafka's mock cluster: the record is sent, the answer does not come in time. */
static void a_record_without_an_answer_may_have_landed(void **state)
{
    struct rig *r = *state;
    const struct kafka_setting mock[] = {{"test.mock.num.brokers", "1"}};
    struct kafka_producer_options o = producer_options("127.0.0.1:1");
    o.message_timeout_ms = 3000;
    o.common.settings = mock;
    o.common.setting_count = 1;
    open_producer(r, &o);
    rd_kafka_mock_cluster_t *cluster = rd_kafka_handle_mock_cluster(kafka_producer_core(r->p)->rk);
    assert_non_null(cluster);
    rd_kafka_mock_topic_create(cluster, "jobs", 1, 1);
    assert_int_equal(publish(r, "jobs", 0, "x"), ERR_OK);
    until(r, reported);
    assert_int_equal(r->acks, 1);
    rd_kafka_mock_broker_set_rtt(cluster, 1, 6000);
    assert_int_equal(publish(r, "jobs", 0, "y"), ERR_OK);
    until(r, reported);
    assert_int_equal(r->errors, 1);
    assert_int_equal(r->code, ERR_TIMEOUT);
}

static void on_closed(void *arg)
{
    ((struct rig *)arg)->is_closed = true;
}

static bool closed(struct rig *r)
{
    return r->is_closed;
}

static void closing_waits_for_the_reports(void **state)
{
    struct rig *r = *state;
    begin(r);
    for (int i = 0; i < 500; i++) assert_int_equal(publish(r, r->jobs, 0, "x"), ERR_OK);
    kafka_producer_close(r->p, 5000, on_closed, r);
    assert_int_equal(publish(r, r->jobs, 0, "x"), ERR_CLOSED);
    r->p = NULL;
    until(r, closed);
    assert_int_equal(r->acks, 500);
}

static void closing_without_waiting_answers_all(void **state)
{
    struct rig *r = *state;
    struct kafka_producer_options o = producer_options("127.0.0.1:1");
    open_producer(r, &o);
    for (int i = 0; i < 10; i++) assert_int_equal(publish(r, "nowhere", 0, "x"), ERR_OK);
    kafka_producer_close(r->p, 0, NULL, NULL);
    r->p = NULL;
    assert_int_equal(r->errors, 10);
    assert_int_equal(r->code, ERR_CLOSED);
}

static void closing_gives_up_at_its_time(void **state)
{
    struct rig *r = *state;
    struct kafka_producer_options o = producer_options("127.0.0.1:1");
    open_producer(r, &o);
    assert_int_equal(publish(r, "nowhere", 0, "x"), ERR_OK);
    kafka_producer_close(r->p, 200, on_closed, r);
    r->p = NULL;
    until(r, closed);
    assert_int_equal(r->errors, 1);
    assert_int_equal(r->code, ERR_TIMEOUT);
}

static void a_broken_producer_is_rebuilt(void **state)
{
    struct rig *r = *state;
    begin(r);
    assert_int_equal(publish(r, r->jobs, 0, "x"), ERR_OK);
    rd_kafka_test_fatal_error(kafka_producer_core(r->p)->rk,
                              RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "test");
    until(r, reported);
    size_t settled = r->acks + r->errors; /* whichever was quicker */
    assert_int_equal(settled, 1);
    for (int tries = 0; tries < 100 && publish(r, r->jobs, 0, "y") != ERR_OK; tries++)
        run_for(r, 20);
    until(r, reported);
    assert_int_equal(r->sent, 2);
    assert_true(r->acks >= 1);
    assert_int_equal(kafka_producer_outstanding(r->p), 0);
}

/* --- a group ------------------------------------------------------------------------------ */

static void on_record(void *arg, const struct record_in *rec)
{
    struct member *m = arg;
    int which = strcmp(rec->topic, m->rig->jobs) == 0 ? 0 : 1;
    if (which) assert_string_equal(rec->topic, m->rig->state);
    assert_true(m->owns[rec->partition]);
    assert_int_equal(rec->offset, m->next[which][rec->partition]);
    char value[32];
    snprintf(value, sizeof value, "%" PRId64, rec->offset);
    assert_true(view_eq_str(rec->value, value));
    assert_true(view_eq_str(rec->key, "key"));
    assert_int_equal(rec->header_count, 2);
    assert_true(view_eq_str(record_header(rec, "job-id"), "0190"));
    assert_int_equal(record_header(rec, "empty").len, 0);
    assert_true(rec->timestamp_ms > 1600000000000);
    m->next[which][rec->partition]++;
    m->records++;
}

static void on_positions(void *arg, const struct err *e, const struct kafka_committed *list,
                         size_t count)
{
    struct member *m = arg;
    struct kafka_tp tps[2 * PARTITIONS];
    size_t n = 0;
    if (e && e->code == ERR_CLOSED) return;
    assert_null(e);
    for (size_t i = 0; i < count; i++) {
        const struct kafka_committed *k = &list[i];
        int which = strcmp(k->topic, m->rig->jobs) == 0 ? 0 : 1;
        if (!m->owns[k->partition]) continue;
        int64_t start = k->offset >= 0 ? k->offset : k->low;
        assert_true(k->low >= 0 && k->high >= k->low);
        if (which == 0) {
            m->committed_offset = k->offset;
            view_copy(k->metadata, m->metadata, sizeof m->metadata);
        }
        m->next[which][k->partition] = start;
        m->is_following[k->partition] = true;
        tps[n++] = (struct kafka_tp){
            .topic = k->topic, .partition = k->partition, .offset = start, .is_rare = which == 1};
    }
    if (n > 0) assert_int_equal(kafka_consumer_follow(m->c, tps, n, NULL), ERR_OK);
    if (n > 0)
        assert_int_equal(kafka_consumer_follow(m->c, tps, n, NULL), ERR_OK); /* twice is once */
}

static void on_assigned(void *arg, const int32_t *partitions, size_t count)
{
    struct member *m = arg;
    struct kafka_tp tps[2 * PARTITIONS];
    for (size_t i = 0; i < count; i++) {
        assert_false(m->owns[partitions[i]]);
        m->owns[partitions[i]] = true;
        tps[2 * i] = (struct kafka_tp){.topic = m->rig->jobs, .partition = partitions[i]};
        tps[2 * i + 1] = (struct kafka_tp){.topic = m->rig->state, .partition = partitions[i]};
    }
    m->assigned += count;
    if (!m->is_manual) kafka_consumer_positions(m->c, tps, 2 * count, on_positions, m);
}

static void on_revoked(void *arg, const int32_t *partitions, size_t count, bool is_lost)
{
    struct member *m = arg;
    for (size_t i = 0; i < count; i++) {
        assert_true(m->owns[partitions[i]]);
        m->owns[partitions[i]] = m->is_following[partitions[i]] = false;
        assert_false(kafka_consumer_read(m->c, m->rig->jobs, partitions[i], on_record, m));
    }
    m->revoked += count;
    m->is_lost = is_lost;
}

static void read_all(struct member *m)
{
    for (int32_t p = 0; p < PARTITIONS; p++) {
        while (kafka_consumer_read(m->c, m->rig->jobs, p, on_record, m)) continue;
        while (kafka_consumer_read(m->c, m->rig->state, p, on_record, m)) continue;
    }
}

static void on_readable(void *arg)
{
    struct member *m = arg;
    m->readables++;
    if (!m->is_lazy) read_all(m);
}

static void on_commit(void *arg, const char *topic, int32_t partition, int64_t offset,
                      const struct err *e)
{
    struct member *m = arg;
    assert_string_equal(topic, m->rig->jobs);
    assert_true(partition >= 0 && offset >= 0);
    m->commits++;
    m->commit_code = e ? e->code : ERR_OK;
}

static void join(struct rig *r, int i)
{
    static const struct kafka_consumer_events events = {.on_assigned = on_assigned,
                                                        .on_revoked = on_revoked,
                                                        .on_readable = on_readable,
                                                        .on_commit = on_commit};
    struct kafka_consumer_options o = {.common = {.brokers = brokers(), .client_id = "test"},
                                       .group = r->group,
                                       .subscribe = r->jobs,
                                       .session_timeout_ms = 6000,
                                       .queued_messages_min = 100,
                                       .rare_wait_ms = 1000,
                                       .events = &events,
                                       .arg = &r->m[i]};
    r->m[i].c = kafka_consumer_new(r->l, r->log, &o, NULL);
    assert_non_null(r->m[i].c);
}

static size_t owned(const struct member *m)
{
    size_t n = 0;
    for (int p = 0; p < PARTITIONS; p++) n += m->owns[p];
    return n;
}

static size_t following(const struct member *m)
{
    size_t n = 0;
    for (int p = 0; p < PARTITIONS; p++) n += m->is_following[p];
    return n;
}

static bool first_follows_all(struct rig *r)
{
    return following(&r->m[0]) == PARTITIONS;
}

static bool both_follow_half(struct rig *r)
{
    return following(&r->m[0]) == PARTITIONS / 2 && following(&r->m[1]) == PARTITIONS / 2;
}

static bool all_read(struct rig *r)
{
    return r->m[0].records + r->m[1].records >= r->acks;
}

static bool committed(struct rig *r)
{
    return r->m[0].commits > 0;
}

static void a_member_reads_its_homes(void **state)
{
    struct rig *r = *state;
    begin(r);
    fill(r, r->jobs, 200);
    fill(r, r->state, 100);
    join(r, 0);
    until(r, all_read);
    assert_int_equal(r->m[0].records, 300 * PARTITIONS);
    assert_int_equal(r->m[0].committed_offset, -1);
    assert_string_equal(r->m[0].metadata, "");
}

static void commits_carry_metadata_to_the_next_owner(void **state)
{
    struct rig *r = *state;
    char metadata[4097];
    begin(r);
    fill(r, r->jobs, 100);
    join(r, 0);
    until(r, first_follows_all);
    memset(metadata, 'm', sizeof metadata);
    for (int32_t p = 0; p < PARTITIONS; p++) {
        struct view text = view_make(metadata, 4000);
        assert_int_equal(kafka_consumer_commit(r->m[0].c, r->jobs, p, 40, text, NULL), ERR_OK);
    }
    until(r, committed);
    assert_int_equal(r->m[0].commit_code, ERR_OK);
    kafka_consumer_leave(r->m[0].c, on_left, &r->m[0]);
    until(r, members_left);
    assert_int_equal(owned(&r->m[0]), 0);
    kafka_consumer_free(r->m[0].c);
    r->m[0] = (struct member){.rig = r, .is_lazy = true};
    join(r, 0);
    until(r, first_follows_all);
    assert_int_equal(r->m[0].committed_offset, 40);
    assert_int_equal(strlen(r->m[0].metadata), 4000);
    assert_int_equal(r->m[0].metadata[3999], 'm');
    for (int i = 0; i < 60; i++)
        while (!kafka_consumer_read(r->m[0].c, r->jobs, 0, on_record, &r->m[0])) run_for(r, 5);
    assert_int_equal(r->m[0].next[0][0], 100); /* from 40 on: on_record checks each */
}

static void too_much_metadata_is_refused(void **state)
{
    struct rig *r = *state;
    char metadata[5000];
    begin(r);
    join(r, 0);
    until(r, first_follows_all);
    memset(metadata, 'm', sizeof metadata);
    assert_int_equal(
        kafka_consumer_commit(r->m[0].c, r->jobs, 0, 0, view_make(metadata, sizeof metadata), NULL),
        ERR_OK);
    until(r, committed);
    assert_int_equal(r->m[0].commit_code, ERR_TOO_LARGE);
}

static bool second_read_some(struct rig *r)
{
    return r->m[1].records > 0;
}

/* The newcomer takes half; the first had fetched everything and read nothing: not one record of
 * what it keeps may be missing or come twice. */
static void nothing_is_lost_when_a_rebalance_finds_unread_records(void **state)
{
    struct rig *r = *state;
    begin(r);
    fill(r, r->jobs, 300);
    r->m[0].is_lazy = true;
    join(r, 0);
    until(r, first_follows_all);
    run_for(r, 500); /* fetched, not read */
    join(r, 1);
    until(r, both_follow_half);
    assert_int_equal(r->m[0].revoked, PARTITIONS / 2);
    assert_false(r->m[0].is_lost);
    until(r, second_read_some);
    r->m[0].is_lazy = false;
    until(r, all_read);
    run_for(r, 200);
    assert_int_equal(r->m[0].records + r->m[1].records, 300 * PARTITIONS);
    kafka_consumer_leave(r->m[1].c, on_left, &r->m[1]);
    until(r, first_follows_all);
    assert_true(r->m[1].has_left || r->m[1].revoked == PARTITIONS / 2);
}

static void part_read(struct member *m, int count)
{
    for (int i = 0; i < count; i++)
        for (int32_t p = 0; p < PARTITIONS; p++)
            while (!kafka_consumer_read(m->c, m->rig->jobs, p, on_record, m)) run_for(m->rig, 5);
}

static void nothing_is_lost_when_some_were_read(void **state)
{
    struct rig *r = *state;
    begin(r);
    fill(r, r->jobs, 300);
    r->m[0].is_lazy = true;
    join(r, 0);
    until(r, first_follows_all);
    part_read(&r->m[0], 10);
    r->m[1].is_lazy = true;
    join(r, 1);
    until(r, both_follow_half);
    size_t kept = 0;
    r->m[0].is_lazy = false;
    for (int32_t p = 0; p < PARTITIONS; p++)
        if (r->m[0].owns[p]) kept++;
    for (int i = 0; i < 400 && r->m[0].records < 10 * PARTITIONS + 290 * kept; i++) run_for(r, 10);
    assert_int_equal(r->m[0].records, 10 * PARTITIONS + 290 * kept);
}

static void a_member_may_be_freed_while_positions_are_asked_for(void **state)
{
    struct rig *r = *state;
    begin(r);
    join(r, 0);
    until(r, first_follows_all);
    struct kafka_tp tp = {.topic = r->jobs, .partition = 0};
    kafka_consumer_positions(r->m[0].c, &tp, 1, on_positions, &r->m[0]);
    kafka_consumer_free(r->m[0].c); /* without leaving, too */
    r->m[0].c = NULL;
}

static void on_by_time(void *arg, const struct err *e, const struct kafka_committed *list,
                       size_t count)
{
    struct rig *r = arg;
    assert_null(e);
    assert_int_equal(count, 2);
    assert_int_equal(list[0].offset, 0);
    assert_int_equal(list[1].offset, -1);
    r->is_stepped = true;
}

static void offsets_are_found_by_time(void **state)
{
    struct rig *r = *state;
    begin(r);
    fill(r, r->jobs, 10);
    join(r, 0);
    until(r, first_follows_all);
    int64_t now = loop_clock(r->l)->wall_ms;
    struct kafka_tp tps[] = {{.topic = r->jobs, .partition = 0, .offset = now - 60000},
                             {.topic = r->jobs, .partition = 1, .offset = now + 60000}};
    r->is_stepped = false;
    kafka_consumer_offsets_for_times(r->m[0].c, tps, 2, on_by_time, r);
    until(r, stepped);
}

/* --- replays ------------------------------------------------------------------------------ */

static void on_replayed(void *arg, const struct record_in *rec)
{
    struct rig *r = arg;
    if (r->replayed == 0) r->replay_first = rec->offset;
    if (rec->value.ptr) r->has_values = true;
    r->replayed++;
    if (r->cancel_me) {
        kafka_replay_cancel(r->cancel_me);
        r->cancel_me = NULL;
        r->is_stepped = true;
    }
}

static void on_replay_done(void *arg, const struct err *e, int64_t next)
{
    struct rig *r = arg;
    r->replays_done++;
    r->replay_code = e ? e->code : ERR_OK;
    if (e) print_message("replay: %s (next %" PRId64 ")\n", e->text, next);
    r->replay_next = next;
}

static bool one_replay_done(struct rig *r)
{
    return r->replays_done >= 1;
}

static bool three_replays_done(struct rig *r)
{
    return r->replays_done >= 3;
}

static struct kafka_replay_options replay_options(struct rig *r)
{
    return (struct kafka_replay_options){.common = {.brokers = brokers(), .client_id = "test"},
                                         .topic = r->state,
                                         .partition = 2,
                                         .from = -1,
                                         .to = -1,
                                         .handle = on_replayed,
                                         .done = on_replay_done,
                                         .arg = r};
}

static void replay(struct rig *r, const struct kafka_replay_options *o)
{
    r->replayed = r->replays_done = 0;
    assert_non_null(kafka_replay_new(r->l, r->log, o, NULL));
    until(r, one_replay_done);
    assert_int_equal(r->replay_code, ERR_OK);
}

static void replays_read_their_range(void **state)
{
    struct rig *r = *state;
    begin(r);
    struct kafka_replay_options o = replay_options(r);
    replay(r, &o); /* empty */
    assert_int_equal(r->replayed, 0);
    assert_int_equal(r->replay_next, 0);
    fill(r, r->state, 1500);
    replay(r, &o);
    assert_int_equal(r->replayed, 1500);
    assert_int_equal(r->replay_next, 1500);
    assert_true(r->has_values);
    r->has_values = false;
    o.from = 700;
    o.to = 900;
    o.headers_only = true;
    replay(r, &o);
    assert_int_equal(r->replay_first, 700);
    assert_int_equal(r->replayed, 200);
    assert_false(r->has_values);
    o = replay_options(r);
    o.from_ms = loop_clock(r->l)->wall_ms + 100000;
    replay(r, &o);
    assert_int_equal(r->replayed, 0);
    o.from_ms = loop_clock(r->l)->wall_ms - 100000;
    replay(r, &o);
    assert_int_equal(r->replayed, 1500);
}

static void replays_of_one_partition_do_not_disturb_one_another(void **state)
{
    struct rig *r = *state;
    begin(r);
    fill(r, r->state, 500);
    struct kafka_replay_options o = replay_options(r);
    for (int i = 0; i < 3; i++) {
        o.partition = i < 2 ? 1 : 3;
        assert_non_null(kafka_replay_new(r->l, r->log, &o, NULL));
    }
    until(r, three_replays_done);
    assert_int_equal(r->replayed, 1500);
}

static void a_replay_is_canceled_at_any_time(void **state)
{
    struct rig *r = *state;
    begin(r);
    fill(r, r->state, 300);
    struct kafka_replay_options o = replay_options(r);
    kafka_replay_cancel(kafka_replay_new(r->l, r->log, &o, NULL)); /* before anything */
    r->cancel_me = kafka_replay_new(r->l, r->log, &o, NULL);
    r->is_stepped = false;
    until(r, stepped);
    run_for(r, 100);
    assert_int_equal(r->replayed, 1);
    assert_int_equal(r->replays_done, 0);
    assert_non_null(kafka_replay_new(r->l, r->log, &o, NULL)); /* left to loop_free */
}

static void a_replay_waits_for_records_to_come(void **state)
{
    struct rig *r = *state;
    begin(r);
    fill(r, r->state, 10);
    struct kafka_replay_options o = replay_options(r);
    o.to = 20;
    assert_non_null(kafka_replay_new(r->l, r->log, &o, NULL));
    run_for(r, 300);
    assert_int_equal(r->replayed, 10);
    fill(r, r->state, 15);
    until(r, one_replay_done);
    assert_int_equal(r->replayed, 20);
    assert_int_equal(r->replay_next, 20);
}

static void a_replay_of_nothing_fails(void **state)
{
    struct rig *r = *state;
    struct kafka_replay_options o = replay_options(r);
    o.topic = "no-such-topic-here";
    assert_non_null(kafka_replay_new(r->l, r->log, &o, NULL));
    until(r, one_replay_done);
    assert_int_not_equal(r->replay_code, ERR_OK);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_broker_that_is_away_is_unavailable),
        T(unknown_settings_are_refused),
        T(a_record_that_never_left_is_unavailable),
        T(a_record_without_an_answer_may_have_landed),
        T(closing_without_waiting_answers_all),
        T(closing_gives_up_at_its_time),
        T(topics_are_made_once_and_counted),
        T(records_are_acknowledged_in_order),
        T(refusals_have_their_reason),
        T(closing_waits_for_the_reports),
        T(a_broken_producer_is_rebuilt),
        T(a_member_reads_its_homes),
        T(commits_carry_metadata_to_the_next_owner),
        T(too_much_metadata_is_refused),
        T(nothing_is_lost_when_a_rebalance_finds_unread_records),
        T(nothing_is_lost_when_some_were_read),
        T(a_member_may_be_freed_while_positions_are_asked_for),
        T(offsets_are_found_by_time),
        T(replays_read_their_range),
        T(replays_of_one_partition_do_not_disturb_one_another),
        T(a_replay_is_canceled_at_any_time),
        T(a_replay_waits_for_records_to_come),
        T(a_replay_of_nothing_fails),
    };
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
