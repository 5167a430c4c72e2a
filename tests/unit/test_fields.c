/* Request fields: what is good, what is bad, what is dropped. */
#include "gateway/fields.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

static void idempotency_keys(void **state)
{
    (void)state;
    static const struct {
        const char *field, *key; /* key NULL: bad */
    } cases[] = {
        {"\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", "8e03978e-40d5-43dd-bc93-6894a57f9324"},
        {"8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"},
        {"  abc ", "abc"},
        {"\"with a space\"", "with a space"},
        {"\"a\\\"b\\\\c\"", "a\"b\\c"},
        {"", NULL},
        {"\"\"", NULL},
        {"\"", NULL},
        {"\"open", NULL},
        {"close\"", NULL},
        {"a\"b", NULL},
        {"\"a\"b\"", NULL},
        {"\"a\\\"", NULL},
        {"\"a\\n\"", NULL},
        {"two words", NULL},
        {"a, b", NULL},
        {"\"tab\there\"", NULL},
        {"\xc3\xa9", NULL},
    };
    char key[IDEMPOTENCY_KEY_MAX + 1];
    assert_int_equal(fields_idempotency_key(VIEW_NONE, key), FIELD_ABSENT);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum field_verdict v = fields_idempotency_key(view_of(cases[i].field), key);
        assert_int_equal(v, cases[i].key ? FIELD_GOOD : FIELD_BAD);
        if (cases[i].key) assert_string_equal(key, cases[i].key);
    }
    char longest[IDEMPOTENCY_KEY_MAX + 2];
    memset(longest, 'k', sizeof longest);
    assert_int_equal(fields_idempotency_key(view_make(longest, IDEMPOTENCY_KEY_MAX), key),
                     FIELD_GOOD);
    assert_int_equal(fields_idempotency_key(view_make(longest, IDEMPOTENCY_KEY_MAX + 1), key),
                     FIELD_BAD);
}

static void preferences(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        int64_t wait; /* -1: none */
    } cases[] = {
        {"wait=30", 30},
        {"respond-async, wait=5", 5},
        {"Wait = 7", 7},
        {"wait=\"9\"", 9},
        {"wait=3; foo=bar", 3},
        {"wait=0", 0},
        {"wait=99999999", WAIT_MAX_S},
        {"handling=lenient", -1},
        {"wait", -1},
        {"wait=", -1},
        {"wait=-1", -1},
        {"wait=abc", -1},
        {"", -1},
        {"wait=1.5", -1},
        {"await=5", -1},
        {",,wait=2,", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t wait = -1;
        bool has = fields_prefer_wait(view_of(cases[i].field), &wait);
        assert_int_equal(has, cases[i].wait >= 0);
        assert_int_equal(wait, cases[i].wait);
    }
    int64_t wait;
    assert_false(fields_prefer_wait(VIEW_NONE, &wait));
}

static void trace_contexts(void **state)
{
    (void)state;
    static const char good[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    char got[TRACEPARENT_LEN + 1];
    assert_true(fields_traceparent(view_of(good), got));
    assert_string_equal(got, good);
    assert_true(fields_traceparent(
        VIEW_LIT("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"), got));
    assert_string_equal(got, good); /* read by its 00 prefix */
    static const char *const bad[] = {
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(fields_traceparent(view_of(bad[i]), got));
    assert_false(fields_traceparent(VIEW_NONE, got));
}

static void request_ids(void **state)
{
    (void)state;
    struct rng rng;
    char a[REQUEST_ID_MAX + 1], b[REQUEST_ID_MAX + 1];
    rng_seed(&rng, 1);
    fields_request_id(VIEW_LIT("client-7.A_b"), &rng, a);
    assert_string_equal(a, "client-7.A_b");
    static const char *const wild[] = {"", "a b", "a\r\nx: y", "<script>", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
        fields_request_id(view_of(wild[i]), &rng, a);
        fields_request_id(VIEW_NONE, &rng, b);
        assert_int_equal(strlen(a), 20);
        assert_memory_equal(a, "req_", 4);
        assert_string_not_equal(a, b);
    }
    char longest[REQUEST_ID_MAX + 1];
    memset(longest, 'i', sizeof longest);
    fields_request_id(view_make(longest, REQUEST_ID_MAX), &rng, a);
    assert_int_equal(a[0], 'i');
    fields_request_id(view_make(longest, REQUEST_ID_MAX + 1), &rng, a);
    assert_int_equal(a[0], 'r');
}

static void cursors(void **state)
{
    (void)state;
    struct event_id id;
    struct view good = VIEW_LIT("0000000000000005-0000000007");
    assert_int_equal(fields_cursor(VIEW_NONE, VIEW_NONE, &id), FIELD_ABSENT);
    assert_int_equal(fields_cursor(VIEW_LIT(""), VIEW_LIT(" "), &id), FIELD_ABSENT);
    assert_int_equal(id.epoch + id.seq, 0);
    assert_int_equal(fields_cursor(good, VIEW_NONE, &id), FIELD_GOOD);
    assert_int_equal(id.epoch, 5);
    assert_int_equal(id.seq, 7);
    assert_int_equal(fields_cursor(VIEW_NONE, good, &id), FIELD_GOOD);
    assert_int_equal(fields_cursor(good, VIEW_LIT("xx"), &id),
                     FIELD_GOOD); /* the field is newer than the URL */
    static const char *const bad[] = {"5-7",
                                      "x",
                                      "0000000000000005-000000000",
                                      "0000000000000005-00000000070",
                                      "000000000000000a-0000000007",
                                      "0000000000000005_0000000007"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(fields_cursor(view_of(bad[i]), VIEW_NONE, &id), FIELD_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idempotency_keys), cmocka_unit_test(preferences),
        cmocka_unit_test(trace_contexts),   cmocka_unit_test(request_ids),
        cmocka_unit_test(cursors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
