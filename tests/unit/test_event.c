/* Events: ids at their edges, the order rule against an oracle, and the ways out read back as a client would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "schemas/jobview.h"
#include "tests/unit/golden_record.h"

static void test_names(void **state)
{
    (void)state;
    unsigned terminals = 0;
    for (unsigned i = 0; i < EVENT_TYPE_COUNT; i++) {
        enum event_type got = EVENT_TYPE_COUNT, t = (enum event_type)i;
        assert_true(event_type_parse(view_of(event_type_name(t)), &got));
        assert_int_equal(got, t);
        terminals += event_type_is_terminal(t);
    }
    assert_int_equal(terminals, 4);
    for (unsigned s = JOB_SUCCEEDED; s < JOB_STATUS_COUNT; s++) {
        enum event_type t = event_type_of_status((enum job_status)s);
        assert_true(event_type_is_terminal(t));
        assert_string_equal(event_type_name(t) + 4, job_status_name((enum job_status)s));
    }
    enum event_type none;
    assert_false(event_type_parse(VIEW_LIT("job.finished"), &none));
}

static void test_ids(void **state)
{
    (void)state;
    static const struct event_id ids[] = {{0, 1}, {1795554000123, 42}, {9999999999999999, 9999999999}};
    static const char *const outside[] = {"0000000000000000-0000000001", "0001795554000123-0000000042", "9999999999999999-9999999999"};
    static const char *const inside[] = {"0-1", "1795554000123-42", "9999999999999999-9999999999"};
    for (size_t i = 0; i < 3; i++) {
        char text[EVENT_ID_TEXT], redis[EVENT_ID_REDIS];
        struct event_id got;
        event_id_format(ids[i], text);
        event_id_format_redis(ids[i], redis);
        assert_string_equal(text, outside[i]);
        assert_string_equal(redis, inside[i]);
        assert_true(event_id_parse(view_of(text), &got));
        assert_memory_equal(&got, &ids[i], sizeof got);
        assert_true(event_id_parse_redis(view_of(redis), &got));
        assert_memory_equal(&got, &ids[i], sizeof got);
    }
    static const char *const bad[] = {"", "-", "0-1", "0000000000000000-000000001", "0000000000000000-00000000001",
        "000000000000000-00000000001", "0000000000000000 0000000001", "000000000000000x-0000000001",
        "0000000000000000-000000000x", "+000000000000000-0000000001", "0000000000000000--000000001", " 000000000000000-0000000001"};
    static const char *const bad_redis[] = {"", "-", "5", "5-", "-5", "5-5-5", "a-1", "1-a", "18446744073709551616-0",
                                            "10000000000000000-1", "1-10000000000", "1- 1", "+1-1"};
    struct event_id got = {7, 7};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(event_id_parse(view_of(bad[i]), &got));
    for (size_t i = 0; i < sizeof bad_redis / sizeof *bad_redis; i++)
        assert_false(event_id_parse_redis(view_of(bad_redis[i]), &got));
    assert_true(got.epoch == 7 && got.seq == 7);
}

static void test_outside_ids_sort_as_text(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    for (int i = 0; i < 2000; i++) {
        struct event_id a = {rng_below(&rng, 2000), rng_below(&rng, 30)}, b = {rng_below(&rng, 2000), rng_below(&rng, 30)};
        char x[EVENT_ID_TEXT], y[EVENT_ID_TEXT];
        event_id_format(a, x);
        event_id_format(b, y);
        int by_number = a.epoch != b.epoch ? (a.epoch < b.epoch ? -1 : 1) : (a.seq > b.seq) - (a.seq < b.seq);
        int by_text = strcmp(x, y);
        assert_int_equal(by_number, (by_text > 0) - (by_text < 0));
    }
}

/* What each answer promises: NEXT only what follows without a hole, DUPLICATE only what stands at or before the cursor. */
static void test_order(void **state)
{
    (void)state;
    for (uint64_t e = 0; e < 4; e++)
        for (uint64_t s = 0; s < 5; s++)
            for (uint64_t f = 0; f < 4; f++)
                for (uint64_t t = 0; t < 7; t++) {
                    enum event_order o = event_order((struct event_id){e, s}, (struct event_id){f, t});
                    bool is_past = f < e || (f == e && t <= s);
                    if (o == EVENT_NEXT) assert_true(t == s + 1 && f >= e);
                    if (o == EVENT_DUPLICATE) assert_true(is_past && t <= s);
                    if (t == s + 1 && f >= e) assert_int_equal(o, EVENT_NEXT);
                    if (f == e && t <= s) assert_int_equal(o, EVENT_DUPLICATE);
                }
    assert_int_equal(event_order((struct event_id){0, 0}, (struct event_id){0, 1}), EVENT_NEXT);
    assert_int_equal(event_order((struct event_id){5, 10}, (struct event_id){6, 11}), EVENT_NEXT); /* a takeover */
    assert_int_equal(event_order((struct event_id){5, 10}, (struct event_id){6, 8}), EVENT_GAP);   /* a lost tail */
    assert_int_equal(event_order((struct event_id){5, 10}, (struct event_id){4, 12}), EVENT_GAP);
    assert_int_equal(event_order((struct event_id){5, 10}, (struct event_id){5, 12}), EVENT_GAP);
}

static void test_data(void **state)
{
    (void)state;
    struct job_id id;
    struct jw w;
    struct buf b;
    buf_init(&b, 4096);
    assert_true(id_parse(VIEW_LIT("01900000-0000-7003-8000-0000000000a0"), &id));
    event_begin(&w, &b, EVENT_JOB_STARTED, &id, 2, 1795554000001);
    jw_kint(&w, "attempt", 1);
    event_end(&w);
    assert_true(view_eq_str(buf_view(&b), "{\"type\":\"job.started\",\"job_id\":\"01900000-0000-7003-8000-0000000000a0\",\"seq\":2,"
                                          "\"ts\":\"2026-11-24T21:00:00.001Z\",\"attempt\":1}"));
    buf_reset(&b);
    event_begin_step(&w, &b, EVENT_STEP_DELTA, &id, 3, 1795554000001, "sum", 0, 2);
    jw_kcstr(&w, "text", "a\nb");
    event_end(&w);
    assert_true(view_eq_str(buf_view(&b), "{\"type\":\"step.delta\",\"job_id\":\"01900000-0000-7003-8000-0000000000a0\",\"seq\":3,"
                                          "\"ts\":\"2026-11-24T21:00:00.001Z\",\"step\":\"sum\",\"item\":0,\"attempt\":2,\"text\":\"a\\nb\"}"));
    buf_reset(&b);
    event_begin_step(&w, &b, EVENT_STEP_STARTED, &id, 3, 1795554000001, "sum", -1, 1);
    event_end(&w);
    buf_put_char(&b, 0);
    assert_null(strstr(b.data, "item"));
    buf_fini(&b);
}

static void put(struct buf *b, const char *id, const char *type, const char *data)
{
    buf_reset(b);
    assert_true(event_put_sse(b, view_of(id), view_of(type), view_of(data)));
    assert_true(buf_put_char(b, '\0'));
}

static void test_sse(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    put(&b, "7-1", "job.queued", "{\"a\":1}");
    assert_string_equal(b.data, "id: 7-1\nevent: job.queued\ndata: {\"a\":1}\n\n");
    put(&b, NULL, "reset", "{}");
    assert_string_equal(b.data, "event: reset\ndata: {}\n\n");
    put(&b, "7-1", "x", "{\n\"a\":\r\n1\r}");
    assert_string_equal(b.data, "id: 7-1\nevent: x\ndata: {\ndata: \"a\":\ndata: 1\ndata: }\n\n");
    put(&b, NULL, "x", "\n\r\r\n");
    assert_string_equal(b.data, "event: x\ndata: \ndata: \ndata: \ndata: \n\n");
    put(&b, NULL, "x", "");
    assert_string_equal(b.data, "event: x\ndata: \n\n");
    buf_fini(&b);
    buf_init(&b, 20);
    assert_false(event_put_sse(&b, VIEW_LIT("1-1"), VIEW_LIT("x"), VIEW_LIT("{\"long\":true}")));
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

/* A reader of the SSE format: what it gives back is the data with its line ends made \n, whatever the bytes. */
static void test_sse_is_read_back(void **state)
{
    (void)state;
    struct rng rng;
    struct buf b;
    rng_seed(&rng, 11);
    buf_init(&b, 65536);
    for (int round = 0; round < 3000; round++) {
        char data[24], want[24], got[24];
        size_t n = rng_below(&rng, sizeof data), wanted = 0, have = 0;
        for (size_t i = 0; i < n; i++) data[i] = "a\n\r:"[rng_below(&rng, 4)];
        for (size_t i = 0; i < n; i++) {
            if (data[i] == '\r' && i + 1 < n && data[i + 1] == '\n') continue;
            want[wanted++] = data[i] == '\r' ? '\n' : data[i];
        }
        buf_reset(&b);
        assert_true(event_put_sse(&b, VIEW_NONE, VIEW_LIT("x"), view_make(data, n)));
        struct view rest = buf_view(&b), line;
        bool first = true;
        while (view_cut(rest, '\n', &line, &rest) && line.len) {
            if (!view_starts(line, "data: ")) continue;
            if (!first) got[have++] = '\n';
            first = false;
            for (size_t i = 6; i < line.len; i++) got[have++] = line.ptr[i];
        }
        assert_int_equal(rest.len, 0);
        assert_int_equal(have, wanted);
        assert_memory_equal(got, want, have);
    }
    buf_fini(&b);
}

static void test_ndjson(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    assert_true(event_put_ndjson(&b, VIEW_LIT("7-1"), VIEW_LIT("{\"type\":\"x\"}")));
    assert_true(event_put_ndjson(&b, VIEW_LIT("7-2"), VIEW_LIT("{}")));
    assert_true(event_put_ndjson(&b, VIEW_NONE, VIEW_LIT("{\"type\":\"reset\"}")));
    assert_true(event_put_ndjson(&b, VIEW_LIT("7-3"), VIEW_LIT(" {\r\n \"a\": 1\n}\n")));
    assert_true(view_eq_str(buf_view(&b), "{\"id\":\"7-1\",\"type\":\"x\"}\n{\"id\":\"7-2\"}\n{\"type\":\"reset\"}\n"
                                          "{\"id\":\"7-3\",\"a\": 1 }\n"));
    buf_fini(&b);
}

/* --- golden folders: a history, and how it leaves the house ------------------------------------------- */

static enum event_type type_of(struct view data)
{
    enum event_type t = EVENT_JOB_STARTED;
    struct view type;
    if (json_raw_member(data, VIEW_LIT("type"), &type) && type.len > 2)
        (void)event_type_parse(view_make(type.ptr + 1, type.len - 2), &t);
    return t;
}

struct history {
    struct buf text, sse, ndjson, view;
    struct jobview *job;
    size_t bad; /* first line that the view refuses, from 1; 0: none */
    struct err err;
};

static void history_read(const char *dir, struct history *h)
{
    struct jobview_seed seed = {.workflow = "hello", .version = 2, .created_ms = 1795554000000};
    struct view line, rest;
    size_t n = 0;
    GOLDEN_PATH(events, "%s/events", dir);
    *h = (struct history){.bad = 0};
    assert_true(id_parse(VIEW_LIT("01900000-0000-7003-8000-0000000000a0"), &seed.id));
    assert_true(golden_read(events, &h->text));
    buf_init(&h->sse, 1 << 20);
    buf_init(&h->ndjson, 1 << 20);
    buf_init(&h->view, 1 << 20);
    h->job = jobview_new(&seed);
    for (rest = buf_view(&h->text); view_cut(rest, '\n', &line, &rest) && !h->bad;) {
        char id[EVENT_ID_TEXT];
        enum event_type t = type_of(line);
        n++;
        if (jobview_fold(h->job, t, line, &h->err) != ERR_OK) {
            h->bad = n;
            continue;
        }
        golden_schema_must_take("event", line);
        event_id_format((struct event_id){n == 1 ? 0 : 1795554000123, n}, id);
        assert_true(event_put_sse(&h->sse, view_of(id), view_of(event_type_name(t)), line));
        assert_true(event_put_ndjson(&h->ndjson, view_of(id), line));
    }
}

static void history_done(struct history *h)
{
    buf_fini(&h->text);
    buf_fini(&h->sse);
    buf_fini(&h->ndjson);
    buf_fini(&h->view);
    jobview_free(h->job);
}

static void golden_valid(const char *dir)
{
    struct history h;
    GOLDEN_PATH(sse, "%s/sse", dir);
    GOLDEN_PATH(ndjson, "%s/ndjson", dir);
    GOLDEN_PATH(view, "%s/view.json", dir);
    history_read(dir, &h);
    if (h.bad) fail_msg("%s: line %zu: %s", dir, h.bad, h.err.text);
    assert_true(jobview_put(h.job, &h.view, true));
    golden_schema_must_take("job", buf_view(&h.view));
    buf_put_char(&h.view, '\n');
    golden_check(sse, buf_view(&h.sse));
    golden_check(ndjson, buf_view(&h.ndjson));
    golden_check(view, buf_view(&h.view));
    history_done(&h);
}

static void golden_invalid(const char *dir)
{
    struct history h;
    struct buf got;
    GOLDEN_PATH(expect, "%s/expect", dir);
    history_read(dir, &h);
    if (!h.bad) fail_msg("%s was accepted", dir);
    buf_init(&got, 4096);
    buf_printf(&got, "line %zu: %s\n", h.bad, h.err.text);
    golden_check(expect, buf_view(&got));
    buf_fini(&got);
    history_done(&h);
}

static void test_golden(void **state)
{
    (void)state;
    golden_each("tests/golden/event/valid", NULL, golden_valid);
    golden_each("tests/golden/event/invalid", NULL, golden_invalid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_ids), cmocka_unit_test(test_outside_ids_sort_as_text),
        cmocka_unit_test(test_order), cmocka_unit_test(test_data), cmocka_unit_test(test_sse),
        cmocka_unit_test(test_sse_is_read_back), cmocka_unit_test(test_ndjson), cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
