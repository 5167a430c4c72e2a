/* A cursor of a stranger: what is accepted has one spelling; and the bytes behind it as data on their way out: SSE read back
 * gives the same lines, NDJSON is one line. */
#include "schemas/event.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_cursor(struct view text)
{
    struct event_id id;
    if (event_id_parse(text, &id)) {
        char again[EVENT_ID_TEXT];
        event_id_format(id, again);
        assert(view_eq_str(text, again));
        assert(event_order(id, id) == EVENT_DUPLICATE);
    }
    if (event_id_parse_redis(text, &id)) {
        char again[EVENT_ID_REDIS], outside[EVENT_ID_TEXT];
        struct event_id got;
        event_id_format_redis(id, again);
        event_id_format(id, outside);
        assert(event_id_parse_redis(view_of(again), &got) && got.epoch == id.epoch && got.seq == id.seq);
        assert(event_id_parse(view_of(outside), &got) && got.epoch == id.epoch && got.seq == id.seq);
    }
}

static void fuzz_sse(struct view data)
{
    struct buf out;
    size_t ends = 0, lines = 0;
    buf_init(&out, 16 << 20);
    assert(event_put_sse(&out, VIEW_LIT("1-1"), VIEW_LIT("x"), data));
    for (size_t i = 0; i < data.len; i++)
        ends += data.ptr[i] == '\r' || (data.ptr[i] == '\n' && (i == 0 || data.ptr[i - 1] != '\r'));
    struct view line, rest = buf_view(&out);
    while (view_cut(rest, '\n', &line, &rest)) {
        assert(!line.len || !memchr(line.ptr, '\r', line.len));
        lines += view_starts(line, "data: ");
    }
    assert(lines == ends + 1 && rest.len == 0);
    buf_fini(&out);
}

static void fuzz_ndjson(struct view data)
{
    struct buf out;
    struct view text = view_trim(data);
    static const struct json_limits limits = {.bytes_max = 1 << 20, .depth_max = 32, .nodes_max = 10000};
    if (json_raw_kind(text) != JSON_RAW_OBJECT || json_check(text, &limits, NULL) != ERR_OK) return;
    buf_init(&out, 16 << 20);
    assert(event_put_ndjson(&out, VIEW_LIT("1-1"), data));
    assert(memchr(out.data, '\n', out.len) == out.data + out.len - 1);
    struct view id;
    assert(json_raw_member(buf_view(&out), VIEW_LIT("id"), &id) && view_eq_str(id, "\"1-1\""));
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view text = view_make(size ? data : (const uint8_t *)"", size);
    fuzz_cursor(text);
    fuzz_sse(text);
    fuzz_ndjson(text);
    return 0;
}
