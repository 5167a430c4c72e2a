/* A stream of any bytes, cut anywhere, shown by the tool: what comes out never steers a terminal,
 * and the picture has the lines it says it has and fits. */
#include "common/base/sse_in.h"
#include "producer/cli_lines.h"
#include "producer/cli_screen.h"
#include "producer/cli_text.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FRAME_MAX = 1 << 16, OUT_MAX = 1 << 22 };

static void judge_clean(struct view text)
{
    for (const char *at = text.ptr, *end = at + text.len; at < end;) {
        uint32_t c = cli_text_next(&at, end);
        assert(c == '\n' || !cli_text_is_unsafe(c));
    }
}

static void judge_picture(struct buf *out, const struct cli_job *j, unsigned columns, unsigned rows)
{
    const struct cli_screen s = {
        .columns = columns, .rows = rows, .now_ms = 1767312000000, .note = "not connected"};
    struct view line, rest;
    unsigned lines = 0;

    buf_reset(out);
    unsigned said = cli_screen_put(out, j, &s);
    judge_clean(buf_view(out));
    for (rest = buf_view(out); view_cut(rest, '\n', &line, &rest); lines++)
        assert(cli_text_width(line) < columns);
    assert(rest.len == 0 && lines == said && lines < rows);
}

static void show(struct cli_job *plain, struct cli_job *picture, const struct sse_frame *f,
                 struct buf *out)
{
    struct cli_event e;
    struct err err;

    if (cli_event_read(f->event, f->id, f->data, &e, &err) != ERR_OK) return;
    buf_reset(out);
    if (cli_lines_put(out, plain, &e)) judge_clean(buf_view(out));
    (void)cli_job_fold(picture, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cli_job *plain = cli_job_new("0190a1b2-c3d4-7001-8000-0123456789ab");
    struct cli_job *picture = cli_job_new("0190a1b2-c3d4-7001-8000-0123456789ab");
    size_t step = size > 0 ? data[0] % 64u + 1 : 1;
    struct sse_frame frame;
    struct sse_in sse;
    struct buf out;

    assert(plain && picture);
    sse_in_init(&sse, FRAME_MAX);
    buf_init(&out, OUT_MAX);
    for (size_t at = 1; at < size; at += step) {
        struct view bytes = view_make(data + at, size - at < step ? size - at : step);
        enum sse_verdict v;

        while ((v = sse_in_feed(&sse, &bytes, &frame)) == SSE_FRAME)
            show(plain, picture, &frame, &out);
        if (v == SSE_BAD) break;
    }
    judge_picture(&out, picture, 20 + (unsigned)step, 4 + (unsigned)size % 30);
    buf_fini(&out);
    sse_in_fini(&sse);
    cli_job_free(plain);
    cli_job_free(picture);
    return 0;
}
