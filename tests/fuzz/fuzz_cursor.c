/* Any bytes as cursors (of streams, of lists), idempotency keys, preferences and traces: nothing
 * wild is taken, and what is taken has one spelling. */
#include "gateway/fields.h"
#include "gateway/page.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_event_cursor(struct view text)
{
    struct event_id id;
    char again[EVENT_ID_TEXT];
    if (fields_cursor(text, VIEW_NONE, &id) != FIELD_GOOD) return;
    event_id_format(id, again);
    assert(view_eq_str(view_trim(text), again));
}

static void fuzz_list_cursor(struct view text)
{
    struct page_position p;
    struct buf again;
    if (!page_position_read(text, &p)) return;
    assert(p.has && p.score >= 0);
    buf_init(&again, 4096);
    assert(page_position_put(&again, &p));
    struct page_position same;
    assert(page_position_read(buf_view(&again), &same) && same.score == p.score);
    assert(!page_is_after(&p, p.score, view_of(p.id.text)));
    buf_fini(&again);
}

static void fuzz_key(struct view text)
{
    char key[IDEMPOTENCY_KEY_MAX + 1];
    if (fields_idempotency_key(text, key) != FIELD_GOOD) return;
    assert(key[0] && strlen(key) <= IDEMPOTENCY_KEY_MAX);
    for (const char *c = key; *c; c++) assert(*c >= ' ' && *c <= '~');
}

static void fuzz_wishes(struct view text)
{
    int64_t wait = -1;
    char trace[TRACEPARENT_LEN + 1], id[REQUEST_ID_MAX + 1];
    struct rng rng;
    rng_seed(&rng, 1);
    if (fields_prefer_wait(text, &wait)) assert(wait >= 0 && wait <= WAIT_MAX_S);
    if (fields_traceparent(text, trace)) assert(strlen(trace) == TRACEPARENT_LEN);
    fields_request_id(text, &rng, id);
    assert(id[0] && !strpbrk(id, " \r\n\t\"<>"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view text = view_make(size ? data : (const uint8_t *)"", size);
    fuzz_event_cursor(text);
    fuzz_list_cursor(text);
    fuzz_key(text);
    fuzz_wishes(text);
    return 0;
}
