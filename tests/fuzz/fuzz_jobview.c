/* Views and event data of anybody. A view that is read is written as text that reads to the same text; lines behind it are
 * folded as events (first byte: the type), after each of which the same holds, and a refused one changed nothing. */
#include "schemas/jobview.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_put(const struct jobview *v, struct buf *out)
{
    buf_reset(out);
    assert(jobview_put(v, out, true));
}

static void fuzz_read_again(const struct jobview *v, struct buf *text, struct buf *again)
{
    struct jobview *copy;
    struct err err;
    fuzz_put(v, text);
    if (jobview_read(buf_view(text), &copy, &err) != ERR_OK) __builtin_trap();
    fuzz_put(copy, again);
    assert(view_eq(buf_view(text), buf_view(again)));
    jobview_free(copy);
}

static struct jobview *fuzz_begin(struct view line)
{
    struct jobview_seed seed = {.workflow = "hello", .version = 1, .created_ms = 1795554000000};
    struct jobview *v;
    struct err err;
    if (jobview_read(line, &v, &err) == ERR_OK) return v;
    assert(err.code == ERR_INVALID && err.text[0]);
    if (!id_parse(VIEW_LIT("01900000-0000-7003-8000-0000000000a0"), &seed.id)) __builtin_trap();
    return jobview_new(&seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view line, rest = view_make(size ? data : (const uint8_t *)"", size);
    struct buf before, after;
    struct err err;
    buf_init(&before, 64 << 20);
    buf_init(&after, 64 << 20);
    if (!view_cut(rest, '\n', &line, &rest)) line = rest, rest = VIEW_NONE;
    struct jobview *v = fuzz_begin(line);
    fuzz_read_again(v, &before, &after);
    while (view_cut(rest, '\n', &line, &rest)) {
        if (!line.len) continue;
        enum event_type type = (enum event_type)((unsigned char)line.ptr[0] % EVENT_TYPE_COUNT);
        fuzz_put(v, &before);
        enum err_code code = jobview_fold(v, type, view_make(line.ptr + 1, line.len - 1), &err);
        fuzz_put(v, &after);
        if (code != ERR_OK) assert(code == ERR_INVALID && view_eq(buf_view(&before), buf_view(&after)));
        fuzz_read_again(v, &before, &after);
    }
    jobview_free(v);
    buf_fini(&before);
    buf_fini(&after);
    return 0;
}
