/* Records of the state log: every kind there and back, and what each kind cannot do without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "schemas/state.h"
#include "tests/unit/golden_record.h"

static struct state_record make(enum state_kind k)
{
    struct state_record s = {.kind = k, .item = -1, .head = {.tenant = "acme", .workflow = "hello", .version = 1, .since = -1}};
    assert_true(id_parse(VIEW_LIT("01900000-0000-7003-8000-0000000000a0"), &s.head.id));
    return s;
}

static struct record_in written(const struct state_record *s, struct state_scratch *scratch)
{
    struct record_out out = {.topic = "state"};
    struct record_in in = {.topic = "state"};
    state_record_write(s, &out, scratch);
    in.key = out.key;
    in.value = out.value;
    in.header_count = out.header_count;
    memcpy(in.headers, out.headers, sizeof in.headers);
    return in;
}

static void test_every_kind_round_trip(void **state)
{
    (void)state;
    for (unsigned k = 0; k < STATE_KIND_COUNT; k++) {
        struct state_record s = make((enum state_kind)k), got;
        struct state_scratch scratch;
        struct err err;
        s.head.epoch = 1795554000001;
        s.head.seq = 9;
        s.value = VIEW_LIT("{\"status\":\"completed\"}");
        snprintf(s.step, sizeof s.step, "crawl");
        snprintf(s.worker, sizeof s.worker, "w1:0123abcd");
        if (k == STATE_CHECKPOINT) s.item = 0;
        struct record_in in = written(&s, &scratch);
        assert_int_equal(state_record_read(&in, &got, &err), ERR_OK);
        assert_int_equal(got.kind, k);
        assert_int_equal(got.item, s.item);
        assert_string_equal(got.step, s.step);
        assert_string_equal(got.worker, s.worker);
        assert_true(view_eq(got.value, s.value));
        assert_memory_equal(&got.head, &s.head, sizeof s.head);
    }
}

static void test_what_a_kind_needs(void **state)
{
    (void)state;
    for (unsigned k = 0; k < STATE_KIND_COUNT; k++) {
        struct state_record s = make((enum state_kind)k), got;
        struct state_scratch scratch;
        struct err err;
        bool is_free = k == STATE_CANCEL || k == STATE_SIGNAL;
        snprintf(s.step, sizeof s.step, "x");
        s.head.seq = 3;
        struct record_in in = written(&s, &scratch);
        assert_int_equal(state_record_read(&in, &got, &err), is_free ? ERR_OK : ERR_INVALID);
        s.head.epoch = 5;
        s.head.seq = 0;
        in = written(&s, &scratch);
        assert_int_equal(state_record_read(&in, &got, &err),
                         state_kind_is_terminal((enum state_kind)k) ? ERR_INVALID : ERR_OK);
        s.head.seq = 3;
        s.step[0] = '\0';
        in = written(&s, &scratch);
        assert_int_equal(state_record_read(&in, &got, &err),
                         k == STATE_CHECKPOINT || k == STATE_SIGNAL ? ERR_INVALID : ERR_OK);
    }
}

static enum err_code read_with(const char *name, const char *value)
{
    struct state_record s = make(STATE_CHECKPOINT), got;
    struct state_scratch scratch;
    struct err err = {0};
    snprintf(s.step, sizeof s.step, "x");
    s.head.epoch = 5;
    s.item = 2;
    struct record_in in = written(&s, &scratch);
    size_t at = 0;
    while (at < in.header_count && !view_eq_str(in.headers[at].name, name)) at++;
    if (at == in.header_count) in.header_count++;
    in.headers[at] = (struct header){view_of(name), view_of(value)};
    enum err_code code = state_record_read(&in, &got, &err);
    if (code == ERR_INVALID) assert_non_null(strstr(err.text, name));
    return code;
}

static void test_poison(void **state)
{
    (void)state;
    assert_int_equal(read_with("kind", "finished"), ERR_INVALID);
    assert_int_equal(read_with("kind", ""), ERR_INVALID);
    assert_int_equal(read_with("item", "-1"), ERR_INVALID);
    assert_int_equal(read_with("item", "x"), ERR_INVALID);
    assert_int_equal(read_with("item", "99999999999999999999"), ERR_INVALID);
    assert_int_equal(read_with("step", "a\tb"), ERR_INVALID);
    assert_int_equal(read_with("step", "0123456789012345678901234567890123456789012345678901234567890123"), ERR_INVALID);
    assert_int_equal(read_with("worker", "\x80"), ERR_INVALID);
    assert_int_equal(read_with("epoch", "-5"), ERR_INVALID);
    assert_int_equal(read_with("v", "2"), ERR_CONFLICT);
    assert_int_equal(read_with("shade", "green"), ERR_OK);
    struct record_in none = {.header_count = 3, .headers = {{VIEW_LIT("v"), VIEW_LIT("1")}, {VIEW_LIT("tenant"), VIEW_LIT("t")},
        {VIEW_LIT("job-id"), VIEW_LIT("01900000-0000-7003-8000-0000000000a0")}}};
    struct state_record got;
    struct err err;
    assert_int_equal(state_record_read(&none, &got, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "kind"));
}

static void test_kinds_and_statuses(void **state)
{
    (void)state;
    unsigned terminals = 0;
    for (unsigned k = 0; k < STATE_KIND_COUNT; k++) {
        if (!state_kind_is_terminal((enum state_kind)k)) continue;
        terminals++;
        enum job_status s = state_kind_status((enum state_kind)k);
        assert_true(job_status_is_terminal(s));
        assert_string_equal(job_status_name(s), state_kind_name((enum state_kind)k));
        assert_int_equal(state_kind_of_status(s), k);
    }
    assert_int_equal(terminals, 4);
}

static void golden_case(const char *dir, bool is_valid)
{
    struct golden_record rec;
    struct state_record s;
    struct err err = {0};
    struct buf got;
    GOLDEN_PATH(expect, "%s/expect", dir);
    golden_record_read(dir, &rec);
    buf_init(&got, 1 << 20);
    enum err_code code = state_record_read(&rec.in, &s, &err);
    if ((code == ERR_OK) != is_valid) fail_msg("%s: %s", dir, err.text);
    if (is_valid) {
        struct record_out out = {.topic = "t"};
        struct state_scratch scratch;
        state_record_write(&s, &out, &scratch);
        golden_put_headers(&got, &out);
        buf_put_char(&got, '\n');
        buf_put_view(&got, out.value);
        if (s.value.len && s.kind != STATE_SIGNAL) golden_schema_must_take("state_value", s.value);
    } else {
        buf_printf(&got, "%s: %s\n", err_name(code), err.text);
    }
    golden_check(expect, buf_view(&got));
    buf_fini(&got);
    golden_record_done(&rec);
}

static void golden_valid(const char *dir)
{
    golden_case(dir, true);
}

static void golden_invalid(const char *dir)
{
    golden_case(dir, false);
}

static void test_golden(void **state)
{
    (void)state;
    golden_each("tests/golden/state/valid", NULL, golden_valid);
    golden_each("tests/golden/state/invalid", NULL, golden_invalid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_round_trip), cmocka_unit_test(test_what_a_kind_needs),
        cmocka_unit_test(test_poison), cmocka_unit_test(test_kinds_and_statuses), cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
