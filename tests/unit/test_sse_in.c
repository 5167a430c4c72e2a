/* The SSE reader: every sample is fed at every split, with equal result. */
#include "common/base/sse_in.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void collect(struct sse_in *s, struct view bytes, struct buf *out)
{
    struct sse_frame f;
    enum sse_verdict v;

    while ((v = sse_in_feed(s, &bytes, &f)) == SSE_FRAME) {
        buf_printf(out, "[%.*s|%.*s", (int)f.event.len, f.event.ptr, (int)f.data.len, f.data.ptr);
        if (f.id.ptr) buf_printf(out, "|%.*s", (int)f.id.len, f.id.ptr);
        buf_put_char(out, ']');
    }
    if (v == SSE_BAD) buf_put_str(out, "BAD");
}

static void expect_at_every_split(struct view sample, const char *expected)
{
    for (size_t step = 1; step <= sample.len; step++) {
        for (size_t first = 0; first <= (step == 1 ? sample.len : 0); first++) {
            struct sse_in s;
            struct buf out;

            sse_in_init(&s, 4096);
            buf_init(&out, 1 << 16);
            collect(&s, view_make(sample.ptr, first), &out);
            for (size_t at = first; at < sample.len; at += step)
                collect(&s,
                        view_make(sample.ptr + at, sample.len - at < step ? sample.len - at : step),
                        &out);
            assert_true(view_eq_str(buf_view(&out), expected));
            buf_fini(&out);
            sse_in_fini(&s);
        }
    }
}

static void test_frames(void **state)
{
    (void)state;
    expect_at_every_split(VIEW_LIT("data: a\n\ndata: b\n\n"), "[|a][|b]");
    expect_at_every_split(VIEW_LIT("event: x\r\ndata: a\r\n\r\nevent: y\rdata:b\r\r"),
                          "[x|a][y|b]");
    expect_at_every_split(VIEW_LIT("\xef\xbb\xbf"
                                   "data: one\ndata: two\n\n: comment\n\ndata:  three\n\n"),
                          "[|one\ntwo][| three]");
    expect_at_every_split(
        VIEW_LIT("event: only\n\ndata\n\nid: 7\nretry: 10\nunknown: z\ndata: q\n\ndata: lost"),
        "[|][|q|7]");
}

static void test_ids(void **state)
{
    (void)state;
    expect_at_every_split(
        VIEW_LIT(
            "id: 0-1\nevent: a\ndata: 1\n\ndata: 2\n\nid:x\ndata: 3\nid: y\n\nid\ndata: 4\n\n"),
        "[a|1|0-1][|2][|3|y][|4|]");
    /* A NUL, or an id longer than any of ours, is no id. */
    expect_at_every_split(VIEW_LIT("id: a\0b\ndata: 1\n\n"), "[|1]");
    expect_at_every_split(
        VIEW_LIT(
            "id: 0123456789012345678901234567890123456789012345678901234567890123\ndata: 1\n\n"),
        "[|1]");
}

static void test_retry(void **state)
{
    struct sse_in s;
    struct buf out;

    (void)state;
    sse_in_init(&s, 4096);
    buf_init(&out, 1 << 10);
    assert_int_equal(s.retry_ms, -1);
    collect(&s, VIEW_LIT("retry: 1500\n\n"), &out);
    assert_int_equal(s.retry_ms, 1500);
    collect(&s, VIEW_LIT("retry: soon\nretry: -1\nretry: 99999999999999999999\nretry:\n\n"), &out);
    assert_int_equal(s.retry_ms, 1500);
    buf_fini(&out);
    sse_in_fini(&s);
}

static void test_ceiling(void **state)
{
    struct sse_in s;
    struct buf out;

    (void)state;
    sse_in_init(&s, 16);
    buf_init(&out, 1 << 10);
    collect(&s, VIEW_LIT("data: 0123456789abcdefghij"), &out);
    assert_true(view_eq_str(buf_view(&out), "BAD"));
    buf_fini(&out);
    sse_in_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_frames), cmocka_unit_test(test_ids),
                                       cmocka_unit_test(test_retry),
                                       cmocka_unit_test(test_ceiling)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
