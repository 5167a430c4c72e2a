#ifndef BASE_SSE_IN_H
#define BASE_SSE_IN_H
#include "common/base/buf.h"

/* Server-sent events out of bytes (WHATWG HTML 9.2): lines end in CRLF, LF or CR, one optional BOM,
 * data lines joined by LF, a frame without data is no event. Eats bytes, keeps its place, does no
 * I/O. An event name or an id that does not fit is taken as absent. */
enum { SSE_EVENT_MAX = 64, SSE_ID_MAX = 64 };

struct sse_in {
    struct buf line, data;
    char event[SSE_EVENT_MAX], id[SSE_ID_MAX];
    int64_t retry_ms; /* the last `retry` heard; -1 = none yet */
    bool has_id;
    bool skip_lf, past_bom, has_data;
    bool handed_out; /* the frame in data was given away: the next call starts afresh */
};

struct sse_frame {
    struct view event; /* empty = "message" */
    struct view
        id; /* VIEW_NONE: this frame has none (the one before still holds); empty: forget it */
    struct view data; /* all borrowed until the next call */
};

enum sse_verdict { SSE_MORE, SSE_FRAME, SSE_BAD /* a line or a frame over frame_max */ };

void sse_in_init(struct sse_in *s, size_t frame_max);
void sse_in_fini(struct sse_in *s);
/* Takes bytes off the front of *bytes up to the end of one frame. SSE_MORE: all were taken. */
enum sse_verdict sse_in_feed(struct sse_in *s, struct view *bytes, struct sse_frame *ret);

#endif
