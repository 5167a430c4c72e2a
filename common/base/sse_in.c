/* Server-sent events from a server: a provider, or a gateway.
 *
 * Hard: a frame may be cut anywhere, also between CR and LF, so everything half-read lives in two
 * bounded buffers. Chosen: whole lines that lie inside the bytes at hand are used in place; only
 * the rest of an unfinished line is copied. */
#include "common/base/sse_in.h"

void sse_in_init(struct sse_in *s, size_t frame_max)
{
    memset(s, 0, sizeof *s);
    s->retry_ms = -1;
    buf_init(&s->line, frame_max);
    buf_init(&s->data, frame_max);
}

void sse_in_fini(struct sse_in *s)
{
    buf_fini(&s->line);
    buf_fini(&s->data);
}

static void start_frame(struct sse_in *s)
{
    buf_reset(&s->data);
    s->event[0] = '\0';
    s->has_data = false;
    s->has_id = false;
    s->handed_out = false;
}

static void take_id(struct sse_in *s, struct view value)
{
    if (value.len > 0 && memchr(value.ptr, '\0', value.len)) return;
    s->has_id = view_copy(value, s->id, sizeof s->id);
}

static void take_retry(struct sse_in *s, struct view value)
{
    uint64_t ms;

    if (view_u64(value, &ms) && ms <= INT32_MAX) s->retry_ms = (int64_t)ms;
}

static void take_field(struct sse_in *s, struct view name, struct view value)
{
    if (value.len > 0 && value.ptr[0] == ' ') value = view_make(value.ptr + 1, value.len - 1);
    if (view_eq_str(name, "data")) {
        if (s->has_data) buf_put_char(&s->data, '\n');
        buf_put_view(&s->data, value);
        s->has_data = true;
    } else if (view_eq_str(name, "event")) {
        if (!view_copy(value, s->event, sizeof s->event)) s->event[0] = '\0';
    } else if (view_eq_str(name, "id")) {
        take_id(s, value);
    } else if (view_eq_str(name, "retry")) {
        take_retry(s, value);
    }
}

static void take_line(struct sse_in *s, struct view line)
{
    struct view name, value;

    if (!s->past_bom) {
        s->past_bom = true;
        if (view_starts(line, "\xef\xbb\xbf")) line = view_make(line.ptr + 3, line.len - 3);
    }
    if (line.len == 0 || line.ptr[0] == ':') return;
    if (!view_cut(line, ':', &name, &value)) {
        name = line;
        value = view_make("", 0);
    }
    take_field(s, name, value);
}

/* One line off *bytes. False: its end is not there yet (the rest was kept). */
static bool next_line(struct sse_in *s, struct view *bytes, struct view *ret)
{
    size_t i = 0;

    if (s->skip_lf && bytes->len > 0) {
        s->skip_lf = false;
        if (bytes->ptr[0] == '\n') *bytes = view_make(bytes->ptr + 1, bytes->len - 1);
    }
    while (i < bytes->len && bytes->ptr[i] != '\n' && bytes->ptr[i] != '\r') i++;
    if (i == bytes->len) {
        buf_put_view(&s->line, *bytes);
        *bytes = view_make(bytes->ptr + i, 0);
        return false;
    }
    *ret = view_make(bytes->ptr, i);
    if (s->line.len > 0) {
        buf_put_view(&s->line, *ret);
        *ret = buf_view(&s->line);
    }
    s->skip_lf = bytes->ptr[i] == '\r';
    *bytes = view_make(bytes->ptr + i + 1, bytes->len - i - 1);
    return true;
}

enum sse_verdict sse_in_feed(struct sse_in *s, struct view *bytes, struct sse_frame *ret)
{
    struct view line;

    if (s->handed_out) start_frame(s);
    while (next_line(s, bytes, &line)) {
        bool ends = line.len == 0;

        take_line(s, line);
        buf_reset(&s->line);
        if (s->data.failed) return SSE_BAD;
        if (!ends) continue;
        if (s->has_data) {
            *ret = (struct sse_frame){.event = view_of(s->event),
                                      .id = s->has_id ? view_of(s->id) : VIEW_NONE,
                                      .data = buf_view(&s->data)};
            s->handed_out = true;
            return SSE_FRAME;
        }
        start_frame(s);
    }
    return s->line.failed ? SSE_BAD : SSE_MORE;
}
