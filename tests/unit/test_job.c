/* Job records and submissions: what is written is read again, and everything strange is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "schemas/job.h"
#include "tests/unit/golden_record.h"

#define FP "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define NOW 1795554000000 /* 2026-11-24T21:00:00Z */

static struct record_in as_read(const struct record_out *out)
{
    struct record_in in = {.topic = out->topic, .partition = out->partition, .key = out->key, .value = out->value,
                           .header_count = out->header_count};
    memcpy(in.headers, out->headers, sizeof in.headers);
    return in;
}

static struct job_head full_head(void)
{
    struct job_head h = {.tenant = "acme", .cls = CLASS_BULK, .fp = FP, .workflow = "on-board.v_2", .version = 12,
                         .key = "site:a b/~", .boost = -5,
                         .attempt = 2, .max_attempts = 3, .epoch = 1795554000123, .seq = 77, .created_ms = NOW,
                         .due_ms = NOW + 5, .deadline_ms = NOW + 10, .since = 0, .pin = "build-7", .min_build = "v2",
                         .traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                         .origin = "sluice.jobs.bulk/3/99", .err_code = "poison", .err_msg = "what happened"};
    assert_true(id_parse(VIEW_LIT("01900000-0000-7003-8000-0000000000a0"), &h.id));
    memcpy(h.redrive_of, h.id.text, sizeof h.id.text);
    return h;
}

static void test_head_round_trip(void **state)
{
    (void)state;
    struct job_head h = full_head(), got;
    struct record_out out = {.topic = "t"};
    struct job_scratch scratch;
    struct err err;
    job_head_write(&h, &out, &scratch);
    assert_int_equal(out.partition, 3);
    assert_true(view_eq_str(out.key, h.id.text));
    assert_true(view_eq_str(out.headers[0].name, "v"));
    struct record_in in = as_read(&out);
    assert_int_equal(job_head_read(&in, &got, &err), ERR_OK);
    assert_memory_equal(&got, &h, sizeof h);
    job_head_write(&h, &out, &scratch); /* a used scratch and record serve again */
    assert_int_equal(out.header_count, in.header_count);
}

static void test_absent_headers_have_their_zero(void **state)
{
    (void)state;
    struct job_head h = {.tenant = "t", .since = -1}, got;
    struct record_out out = {.topic = "t"};
    struct job_scratch scratch;
    struct err err;
    assert_true(id_parse(VIEW_LIT("01900000-0000-7003-8000-0000000000a0"), &h.id));
    job_head_write(&h, &out, &scratch);
    assert_int_equal(out.header_count, 4); /* v, job-id, tenant, class */
    assert_int_equal(JOB_PRIORITY_DEFAULT + h.boost, 5);
    struct record_in in = as_read(&out);
    assert_int_equal(job_head_read(&in, &got, &err), ERR_OK);
    assert_memory_equal(&got, &h, sizeof h);
    in.header_count = 3;
    assert_int_equal(job_head_read(&in, &got, &err), ERR_OK);
    assert_int_equal(got.cls, CLASS_INTERACTIVE);
}

static void test_order_of_headers_does_not_matter(void **state)
{
    (void)state;
    struct job_head h = full_head(), got;
    struct record_out out = {.topic = "t"};
    struct job_scratch scratch;
    struct err err;
    job_head_write(&h, &out, &scratch);
    struct record_in in = as_read(&out);
    for (size_t i = 0; i < in.header_count / 2; i++) {
        struct header swap = in.headers[i];
        in.headers[i] = in.headers[in.header_count - 1 - i];
        in.headers[in.header_count - 1 - i] = swap;
    }
    assert_int_equal(job_head_read(&in, &got, &err), ERR_OK);
    assert_memory_equal(&got, &h, sizeof h);
}

/* A good record with one header put behind or in place. */
static enum err_code read_with(const char *name, struct view value, struct job_head *got, struct err *err)
{
    struct job_head h = full_head();
    struct record_out out = {.topic = "t"};
    struct job_scratch scratch;
    job_head_write(&h, &out, &scratch);
    struct record_in in = as_read(&out);
    size_t at = 0;
    while (at < in.header_count && !view_eq_str(in.headers[at].name, name)) at++;
    if (at == in.header_count) in.header_count++;
    in.headers[at] = (struct header){view_of(name), value};
    return job_head_read(&in, got, err);
}

static void test_poison_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
    } bad[] = {
        {"v", "0"}, {"v", ""}, {"v", "1x"}, {"v", "-1"},
        {"job-id", ""}, {"job-id", "01900000-0000-7003-8000-0000000000A0"}, {"job-id", "nonsense"},
        {"tenant", ""}, {"tenant", "a\nb"}, {"tenant", "caf\xc3\xa9"},
        {"tenant", "0123456789012345678901234567890123456789012345678901234567890123"},
        {"class", "batch"}, {"class", ""}, {"fp", "abc"}, {"fp", "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"},
        {"workflow", "noversion"}, {"workflow", "@1"}, {"workflow", "a b@1"}, {"workflow", "a@"}, {"workflow", "a@-1"},
        {"workflow", "-a@1"}, {"key", "a\x01"}, {"key", "caf\xc3\xa9"}, {"priority", "10"}, {"priority", "-1"},
        {"priority", ""}, {"priority", "high"}, {"attempt", "-1"}, {"attempt", "one"}, {"attempt", ""}, {"attempt", " 1"},
        {"epoch", "9223372036854775808"}, {"epoch", "9007199254740993"}, {"seq", "10000000000"}, {"created-ms", "1e3"}, {"since", "-1"},
        {"pin", "0123456789012345678901234567890123456789"}, {"err-code", "\x7f"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct job_head got = {.seq = 4242};
        struct err err = {0};
        assert_int_equal(read_with(bad[i].name, view_of(bad[i].value), &got, &err), ERR_INVALID);
        assert_non_null(strstr(err.text, bad[i].name));
        assert_int_equal(got.seq, 4242); /* written only on success */
    }
}

/* A key travels as it is while a header can hold it, else as its hash. */
static void test_key_in_the_head(void **state)
{
    (void)state;
    char got[JOB_KEY_HEAD + 1], text[JOB_KEY_HEAD + 2];
    memset(text, 'k', sizeof text);
    job_key_head(view_make(text, JOB_KEY_HEAD), got);
    assert_memory_equal(got, text, JOB_KEY_HEAD);
    assert_int_equal(got[JOB_KEY_HEAD], 0);
    job_key_head(view_make(text, JOB_KEY_HEAD + 1), got);
    assert_memory_equal(got, "sha256:", 7);
    assert_int_equal(strlen(got), 7 + 64);
    job_key_head(VIEW_LIT("caf\xc3\xa9"), got);
    assert_string_equal(got, "sha256:850f7dc43910ff890f8879c0ed26fe697c93a067ad93a7d50f466a7028a9bf4e");
    job_key_head(VIEW_LIT("site:a"), got);
    assert_string_equal(got, "site:a");
}

static void test_twice_the_same_header_is_poison(void **state)
{
    (void)state;
    struct job_head h = full_head(), got;
    struct record_out out = {.topic = "t"};
    struct job_scratch scratch;
    struct err err;
    job_head_write(&h, &out, &scratch);
    record_put(&out, "epoch", VIEW_LIT("5"));
    struct record_in in = as_read(&out);
    assert_int_equal(job_head_read(&in, &got, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "epoch"));
}

static void test_version_rule(void **state)
{
    (void)state;
    struct job_head got;
    struct err err;
    assert_int_equal(read_with("colour", VIEW_LIT("blue"), &got, &err), ERR_OK); /* a newer writer's extra header */
    assert_int_equal(read_with("kind", VIEW_LIT("anything"), &got, &err), ERR_OK);
    assert_int_equal(read_with("v", VIEW_LIT("2"), &got, &err), ERR_CONFLICT); /* not poison: a newer worker reads it */
    struct record_in in = {.header_count = 2, .headers = {{VIEW_LIT("tenant"), VIEW_LIT("\1 v2 may say anything")},
                                                          {VIEW_LIT("v"), VIEW_LIT("2")}}};
    assert_int_equal(job_head_read(&in, &got, &err), ERR_CONFLICT);
    in.header_count = 1;
    assert_int_equal(job_head_read(&in, &got, &err), ERR_INVALID);
}

static void test_message_is_made_printable_and_cut(void **state)
{
    (void)state;
    struct job_head got;
    struct err err;
    char text[400];
    memset(text, 'x', sizeof text);
    assert_int_equal(read_with("err-msg", view_make(text, sizeof text), &got, &err), ERR_OK);
    assert_int_equal(strlen(got.err_msg), sizeof got.err_msg - 1);
    assert_int_equal(read_with("err-msg", VIEW_LIT("a\n\xc3\xa9"), &got, &err), ERR_OK);
    assert_string_equal(got.err_msg, "a???");
}

static void test_body_round_trip_keeps_every_byte(void **state)
{
    (void)state;
    struct job_body b = {.workflow = VIEW_LIT("hello"), .version = 3,
                         .input = VIEW_LIT("{ \"x\" : 0.1, \"big\":123456789012345678901234567890,\t\"e\":\"\\u00e9\" }"),
                         .metadata = VIEW_LIT("{\"a\":1}"), .webhook = VIEW_LIT("\"https://a.example/h\""),
                         .key = VIEW_LIT("\"k\\\"1\"")},
                    got;
    struct buf out;
    struct err err;
    buf_init(&out, 1 << 20);
    assert_true(job_body_put(&out, &b));
    assert_int_equal(job_body_read(buf_view(&out), &got, &err), ERR_OK);
    assert_true(view_eq(got.workflow, b.workflow) && got.version == 3 && view_eq(got.input, b.input));
    assert_true(view_eq(got.metadata, b.metadata) && view_eq(got.webhook, b.webhook) && view_eq(got.key, b.key));
    buf_fini(&out);
    buf_init(&out, 10);
    assert_false(job_body_put(&out, &b));
    buf_fini(&out);
}

static void test_body_version_rule_and_poison(void **state)
{
    (void)state;
    struct job_body got;
    struct err err;
    assert_int_equal(job_body_read(VIEW_LIT("{\"workflow\":\"a\",\"version\":1,\"input\":null,\"new\":[1]}"), &got, &err), ERR_OK);
    assert_null(got.metadata.ptr);
    assert_true(view_eq_str(got.input, "null"));
    static const char *const bad[] = {
        "", "[]", "{", "{}", "{\"workflow\":\"a\",\"version\":1}", "{\"workflow\":1,\"version\":1,\"input\":1}",
        "{\"workflow\":\"a\",\"version\":\"1\",\"input\":1}", "{\"workflow\":\"a b\",\"version\":1,\"input\":1}",
        "{\"workflow\":\"a\",\"version\":1,\"input\":1,\"metadata\":[]}",
        "{\"workflow\":\"a\",\"version\":1,\"input\":1,\"key\":5}",
        "{\"workflow\":\"a\",\"version\":1,\"input\":1,\"webhook\":{}}",
        "{\"workflow\":\"a\",\"version\":1.5,\"input\":1}", "{\"workflow\":\"a\",\"version\":1,\"input\":\"\\u0000\"}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(job_body_read(view_of(bad[i]), &got, &err), ERR_INVALID);
}

/* --- requests ---------------------------------------------------------------------------------- */

static void test_request_with_everything(void **state)
{
    (void)state;
    struct job_request r;
    enum problem p = PROBLEM_COUNT;
    struct err err;
    const char *body = " {\"workflow\":\"hel\\u006co\",\"version\":2,\"input\":{\"n\":0.10},\"class\":\"bulk\",\"metadata\":{\"a\" : 1},"
                       "\"run_at\":\"10m\",\"deadline\":\"2026-11-25T21:00:00.500+01:00\",\"webhook\":\"https://a.example/x?y\","
                       "\"\\u006bey\":\"cust-1\",\"priority\":0} ";
    assert_int_equal(job_request_read(view_of(body), NOW, &r, &p, &err), ERR_OK);
    assert_string_equal(r.workflow, "hello");
    assert_int_equal(r.version, 2);
    assert_int_equal(r.cls, CLASS_BULK);
    assert_true(view_eq_str(r.input, "{\"n\":0.10}"));
    assert_true(view_eq_str(r.metadata, "{\"a\" : 1}"));
    assert_true(view_eq_str(r.key, "\"cust-1\""));
    assert_int_equal(r.boost, -5);
    assert_true(view_eq_str(r.webhook, "\"https://a.example/x?y\""));
    assert_int_equal(r.run_at_ms, NOW + 600000);
    assert_int_equal(r.deadline_ms, NOW + 86400000 - 3600000 + 500);
}

static void test_request_with_little(void **state)
{
    (void)state;
    struct job_request r;
    enum problem p;
    assert_int_equal(job_request_read(VIEW_LIT("{\"workflow\":\"a\",\"input\":null}"), NOW, &r, &p, NULL), ERR_OK);
    assert_int_equal(r.version, 0);
    assert_int_equal(r.cls, CLASS_INTERACTIVE);
    assert_int_equal(r.boost, 0);
    assert_int_equal(r.run_at_ms, 0);
    assert_null(r.metadata.ptr);
    assert_null(r.key.ptr);
}

static void test_requests_refused(void **state)
{
    (void)state;
#define W "{\"workflow\":\"a\",\"input\":1,"
    static const struct {
        const char *body;
        enum problem problem;
        const char *where;
    } bad[] = {
        {"", PROBLEM_INVALID_JSON, ""}, {"{", PROBLEM_INVALID_JSON, ""}, {"{} x", PROBLEM_INVALID_JSON, ""},
        {W "\"metadata\":{\"a\":1,\"a\":2}}", PROBLEM_INVALID_JSON, "/metadata/a"},
        {"{\"workflow\":\"a\",\"input\":[\"\\u0000\"]}", PROBLEM_INVALID_JSON, "/input/0"},
        {"{\"workflow\":\"a\",\"input\":\"\\ud800\"}", PROBLEM_INVALID_JSON, "/input"},
        {"[]", PROBLEM_INVALID_FIELD, ""}, {"null", PROBLEM_INVALID_FIELD, ""}, {"\"x\"", PROBLEM_INVALID_FIELD, ""},
        {"{}", PROBLEM_INVALID_FIELD, "/workflow"}, {"{\"workflow\":\"a\"}", PROBLEM_INVALID_FIELD, "/input"},
        {"{\"workflow\":5,\"input\":1}", PROBLEM_INVALID_FIELD, "/workflow"},
        {"{\"workflow\":\"\",\"input\":1}", PROBLEM_INVALID_FIELD, "/workflow"},
        {"{\"workflow\":\"a/b\",\"input\":1}", PROBLEM_INVALID_FIELD, "/workflow"},
        {"{\"workflow\":\"0123456789012345678901234567890123456789012345678901234567890123\",\"input\":1}",
         PROBLEM_INVALID_FIELD, "/workflow"},
        {W "\"inputs\":1}", PROBLEM_UNKNOWN_FIELD, "/inputs"}, {W "\"a/b~\\u00e9\":1}", PROBLEM_UNKNOWN_FIELD, "/a~1b~0\xc3\xa9"},
        {W "\"\":1}", PROBLEM_UNKNOWN_FIELD, "/"},
        {W "\"version\":\"1\"}", PROBLEM_INVALID_FIELD, "/version"}, {W "\"version\":0}", PROBLEM_INVALID_FIELD, "/version"},
        {W "\"version\":1.0}", PROBLEM_INVALID_FIELD, "/version"}, {W "\"version\":99999999999999999999}", PROBLEM_INVALID_FIELD, "/version"},
        {W "\"version\":null}", PROBLEM_INVALID_FIELD, "/version"}, {W "\"class\":\"batch\"}", PROBLEM_INVALID_FIELD, "/class"},
        {W "\"class\":1}", PROBLEM_INVALID_FIELD, "/class"}, {W "\"metadata\":[]}", PROBLEM_INVALID_FIELD, "/metadata"},
        {W "\"run_at\":10}", PROBLEM_INVALID_FIELD, "/run_at"}, {W "\"run_at\":\"soon\"}", PROBLEM_INVALID_FIELD, "/run_at"},
        {W "\"run_at\":\"13d\"}", PROBLEM_INVALID_FIELD, "/run_at"},
        {W "\"run_at\":\"9223372036854775807ms\"}", PROBLEM_INVALID_FIELD, "/run_at"},
        {W "\"deadline\":\"2026-12-24T21:00:00Z\"}", PROBLEM_INVALID_FIELD, "/deadline"},
        {W "\"deadline\":\"2026-11-24 21:00:00\"}", PROBLEM_INVALID_FIELD, "/deadline"},
        {W "\"run_at\":\"2h\",\"deadline\":\"1h\"}", PROBLEM_INVALID_FIELD, "/deadline"},
        {W "\"webhook\":\"ftp://a\"}", PROBLEM_INVALID_FIELD, "/webhook"}, {W "\"webhook\":\"https://\"}", PROBLEM_INVALID_FIELD, "/webhook"},
        {W "\"webhook\":\"https://a b\"}", PROBLEM_INVALID_FIELD, "/webhook"}, {W "\"webhook\":7}", PROBLEM_INVALID_FIELD, "/webhook"},
        {W "\"priority\":10}", PROBLEM_INVALID_FIELD, "/priority"}, {W "\"priority\":-1}", PROBLEM_INVALID_FIELD, "/priority"},
        {W "\"priority\":\"5\"}", PROBLEM_INVALID_FIELD, "/priority"}, {W "\"priority\":5.0}", PROBLEM_INVALID_FIELD, "/priority"},
        {W "\"key\":\"\"}", PROBLEM_INVALID_FIELD, "/key"}, {W "\"key\":{}}", PROBLEM_INVALID_FIELD, "/key"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct job_request r = {.version = 4242};
        enum problem p = PROBLEM_COUNT;
        struct err err = {0};
        assert_int_not_equal(job_request_read(view_of(bad[i].body), NOW, &r, &p, &err), ERR_OK);
        if (p != bad[i].problem || strcmp(err.where, bad[i].where) != 0)
            fail_msg("%s: %s at %s: %s", bad[i].body, problem_code(p), err.where, err.text);
        assert_true(err.text[0] != '\0');
        assert_int_equal(r.version, 4242);
    }
}

static void test_request_bounds(void **state)
{
    (void)state;
    struct job_request r;
    enum problem p;
    struct err err;
    struct buf b;
    buf_init(&b, 4 << 20);
    const struct {
        const char *before, *after;
        size_t n;
        bool ok;
    } cases[] = {
        {W "\"key\":\"", "\"}", 256, true}, {W "\"key\":\"", "\"}", 257, false},
        {W "\"metadata\":{\"m\":\"", "\"}}", 16384 - 8, true}, {W "\"metadata\":{\"m\":\"", "\"}}", 16384 - 7, false},
        {"{\"workflow\":\"a\",\"input\":\"", "\"}", 1000000, true}, {"{\"workflow\":\"a\",\"input\":\"", "\"}", 1 << 20, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_reset(&b);
        buf_put_str(&b, cases[i].before);
        for (size_t k = 0; k < cases[i].n; k++) buf_put_char(&b, 'k');
        buf_put_str(&b, cases[i].after);
        assert_int_equal(job_request_read(buf_view(&b), NOW, &r, &p, &err) == ERR_OK, cases[i].ok);
    }
    assert_int_equal(p, PROBLEM_TOO_LARGE);
    buf_reset(&b);
    buf_put_str(&b, "{\"workflow\":\"a\",\"input\":");
    for (int k = 0; k < 100; k++) buf_put_char(&b, '[');
    assert_int_not_equal(job_request_read(buf_view(&b), NOW, &r, &p, &err), ERR_OK);
    assert_int_equal(p, PROBLEM_INVALID_JSON);
    buf_fini(&b);
}

/* A refusal tells where and what would be right, never what was sent. */
static void test_refusals_do_not_echo(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"workflow\":\"SECRET word\",\"input\":1}", W "\"class\":\"SECRET\"}", W "\"run_at\":\"SECRET\"}",
        W "\"webhook\":\"SECRET\"}", W "\"key\":[\"SECRET\"]}", W "\"metadata\":\"SECRET\"}", W "\"version\":\"SECRET\"}",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct job_request r;
        enum problem p;
        struct err err = {0};
        assert_int_equal(job_request_read(view_of(bodies[i]), NOW, &r, &p, &err), ERR_INVALID);
        assert_null(strstr(err.text, "SECRET"));
        assert_null(strstr(err.where, "SECRET"));
    }
}

static void test_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < JOB_STATUS_COUNT; i++) {
        enum job_status got = JOB_STATUS_COUNT;
        assert_true(job_status_parse(view_of(job_status_name((enum job_status)i)), &got));
        assert_int_equal(got, i);
    }
    assert_true(job_status_is_terminal(JOB_EXPIRED) && !job_status_is_terminal(JOB_WAITING));
    enum job_status s;
    enum job_class c;
    assert_false(job_status_parse(VIEW_LIT("Queued"), &s) || job_status_parse(VIEW_NONE, &s));
    assert_true(job_class_parse(VIEW_LIT("bulk"), &c) && c == CLASS_BULK);
    assert_false(job_class_parse(VIEW_LIT("bulky"), &c));
}

/* --- golden folders -------------------------------------------------------------------------------- */

static void put_member(struct buf *out, const char *name, struct view v)
{
    if (v.ptr) buf_printf(out, "%s: %.*s\n", name, (int)v.len, v.ptr);
}

static void put_request(struct buf *out, const struct job_request *r)
{
    char when[CLOCK_TEXT];
    buf_printf(out, "workflow: %s\nversion: %lld\nclass: %s\n", r->workflow, (long long)r->version, job_class_name(r->cls));
    put_member(out, "input", r->input);
    put_member(out, "metadata", r->metadata);
    put_member(out, "webhook", r->webhook);
    put_member(out, "key", r->key);
    if (r->boost) buf_printf(out, "priority: %lld\n", (long long)(JOB_PRIORITY_DEFAULT + r->boost));
    if (r->run_at_ms) clock_format(r->run_at_ms, when), buf_printf(out, "run_at: %s\n", when);
    if (r->deadline_ms) clock_format(r->deadline_ms, when), buf_printf(out, "deadline: %s\n", when);
}

/* What the schema cannot say: times against each other and against now. */
static bool is_beyond_schema(const char *dir)
{
    return strstr(dir, "run-at-far") || strstr(dir, "deadline-before");
}

static void golden_request(const char *dir, bool is_valid)
{
    struct buf body, got;
    struct job_request r;
    enum problem p = PROBLEM_COUNT;
    struct err err = {0};
    json_t *tree = NULL;
    GOLDEN_PATH(request, "%s/request", dir);
    GOLDEN_PATH(expect, "%s/expect", dir);
    assert_true(golden_read(request, &body));
    buf_init(&got, 1 << 20);
    bool ok = job_request_read(buf_view(&body), NOW, &r, &p, &err) == ERR_OK;
    if (ok != is_valid) fail_msg("%s: %s", dir, err.text);
    if (ok)
        put_request(&got, &r);
    else
        buf_printf(&got, "%d %s at \"%s\": %s\n", problem_status(p), problem_code(p), err.where, err.text);
    golden_check(expect, buf_view(&got));
    if (json_load(buf_view(&body), &golden_limits, &tree, &err) == ERR_OK && p != PROBLEM_INVALID_JSON &&
        golden_schema_takes("job_request", buf_view(&body), &err) != (is_valid || is_beyond_schema(dir)))
        fail_msg("%s: the schema and the reader differ", dir);
    json_decref(tree);
    buf_fini(&body);
    buf_fini(&got);
}

static void golden_record_case(const char *dir, bool is_valid)
{
    struct golden_record rec;
    struct job_head head;
    struct job_body body;
    struct err err = {0};
    struct buf got;
    GOLDEN_PATH(expect, "%s/expect", dir);
    golden_record_read(dir, &rec);
    buf_init(&got, 1 << 20);
    enum err_code code = job_head_read(&rec.in, &head, &err);
    if (code == ERR_OK) code = job_body_read(rec.in.value, &body, &err);
    if ((code == ERR_OK) != is_valid) fail_msg("%s: %s", dir, err.text);
    if (is_valid) {
        struct record_out out = {.topic = "t"};
        struct job_scratch scratch;
        job_head_write(&head, &out, &scratch);
        golden_put_headers(&got, &out);
        buf_put_char(&got, '\n');
        assert_true(job_body_put(&got, &body));
        golden_schema_must_take("job_value", rec.in.value);
    } else {
        buf_printf(&got, "%s: %s\n", err_name(code), err.text);
    }
    golden_check(expect, buf_view(&got));
    buf_fini(&got);
    golden_record_done(&rec);
}

static void golden_valid(const char *dir)
{
    if (golden_has(dir, "request"))
        golden_request(dir, true);
    else
        golden_record_case(dir, true);
}

static void golden_invalid(const char *dir)
{
    if (golden_has(dir, "request"))
        golden_request(dir, false);
    else
        golden_record_case(dir, false);
}

static void test_golden(void **state)
{
    (void)state;
    golden_each("tests/golden/job/valid", NULL, golden_valid);
    golden_each("tests/golden/job/invalid", NULL, golden_invalid);
}

/* The API's description and the schema files say the same. */
static void test_openapi_carries_the_schemas(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"JobRequest", "job_request"}, {"Job", "job"}, {"Event", "event"}, {"Problem", "problem"}};
    json_t *api = golden_json("schemas/openapi.json");
    json_t *components = json_object_get(json_object_get(api, "components"), "schemas");
    assert_string_equal(json_str(api, "openapi", ""), "3.1.0");
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        GOLDEN_PATH(path, "schemas/%s.schema.json", pairs[i][1]);
        json_t *schema = golden_json(path);
        json_object_del(schema, "$schema");
        json_object_del(schema, "$id");
        if (!json_equal(schema, json_object_get(components, pairs[i][0]))) fail_msg("%s differs", pairs[i][0]);
        json_decref(schema);
    }
    json_decref(api);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_round_trip), cmocka_unit_test(test_absent_headers_have_their_zero),
        cmocka_unit_test(test_order_of_headers_does_not_matter), cmocka_unit_test(test_poison_is_named),
        cmocka_unit_test(test_key_in_the_head), cmocka_unit_test(test_twice_the_same_header_is_poison), cmocka_unit_test(test_version_rule),
        cmocka_unit_test(test_message_is_made_printable_and_cut), cmocka_unit_test(test_body_round_trip_keeps_every_byte),
        cmocka_unit_test(test_body_version_rule_and_poison), cmocka_unit_test(test_request_with_everything),
        cmocka_unit_test(test_request_with_little), cmocka_unit_test(test_requests_refused),
        cmocka_unit_test(test_request_bounds), cmocka_unit_test(test_refusals_do_not_echo), cmocka_unit_test(test_names),
        cmocka_unit_test(test_golden), cmocka_unit_test(test_openapi_carries_the_schemas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
