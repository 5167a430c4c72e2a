/* Events as bytes for clients. A live event is encoded once a format and shared by all watchers of
 * its job; each frame counts the watchers that stand at it, and the list is freed from its head as
 * far as nobody stands there. What is not wanted by any live watcher is never encoded. */
#include "gateway/tail_priv.h"

#include <assert.h>

bool frame_put_event(struct buf *out, enum watch_format format, const struct event_id *id,
                     enum event_type type, struct view data)
{
    char text[EVENT_ID_TEXT];
    struct view shown = VIEW_NONE;
    if (id) {
        event_id_format(*id, text);
        shown = view_make(text, EVENT_ID_TEXT - 1);
    }
    if (format == WATCH_NDJSON) return event_put_ndjson(out, shown, data);
    return event_put_sse(out, shown, view_of(event_type_name(type)), data);
}

bool frame_put(struct buf *out, enum watch_format format, const struct entry *e)
{
    char text[EVENT_ID_TEXT];
    event_id_format(e->id, text);
    struct view id = view_make(text, EVENT_ID_TEXT - 1);
    return format == WATCH_NDJSON ? event_put_ndjson(out, id, e->data)
                                  : event_put_sse(out, id, e->name, e->data);
}

struct frame *frame_new(struct tails *t, const struct entry *e, const bool wanted[2])
{
    size_t at[3] = {0};
    buf_reset(&t->scratch);
    for (unsigned i = 0; i < 2; i++) {
        if (wanted[i] && !frame_put(&t->scratch, (enum watch_format)i, e)) return NULL;
        at[i + 1] = t->scratch.len;
    }
    struct frame *f = malloc(sizeof *f + t->scratch.len);
    if (!f) return NULL;
    *f = (struct frame){.id = e->id, .type = e->type};
    if (t->scratch.len) memcpy(f->bytes, t->scratch.data, t->scratch.len);
    for (unsigned i = 0; i < 2; i++) {
        if (wanted[i]) f->form[i] = view_make(f->bytes + at[i], at[i + 1] - at[i]);
        if (f->form[i].len > f->cost) f->cost = (uint32_t)f->form[i].len;
    }
    return f;
}

void frames_append(struct tail *l, struct frame *take)
{
    assert(!take->next);
    take->start = l->bytes_total;
    l->bytes_total += take->cost;
    l->tails->frame_bytes += take->cost;
    if (l->last)
        l->last->next = take;
    else
        l->head = take;
    l->last = take;
}

void frames_trim(struct tail *l)
{
    while (l->head && l->head->readers == 0) {
        struct frame *f = l->head;
        l->head = f->next;
        if (!l->head) l->last = NULL;
        l->tails->frame_bytes -= f->cost;
        free(f);
    }
}
