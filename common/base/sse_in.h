#ifndef BASE_SSE_IN_H
#define BASE_SSE_IN_H
#include "common/base/buf.h"

/* Server-sent events out of bytes (WHATWG HTML 9.2): lines end in CRLF, LF or CR, one optional BOM, data lines joined by LF, a frame
 * without data is no event. Eats bytes, keeps its place, does no I/O. id and retry are of no use to a worker and are skipped. */
enum { SSE_EVENT_MAX = 64 };

struct sse_in {
    struct buf line, data;
    char event[SSE_EVENT_MAX];
    bool skip_lf, past_bom, has_data;
    bool handed_out; /* the frame in data was given away: the next call starts afresh */
};

struct sse_frame {
    struct view event; /* empty = "message" */
    struct view data;  /* both borrowed until the next call */
};

enum sse_verdict { SSE_MORE, SSE_FRAME, SSE_BAD /* a line or a frame over frame_max */ };

void sse_in_init(struct sse_in *s, size_t frame_max);
void sse_in_fini(struct sse_in *s);
/* Takes bytes off the front of *bytes up to the end of one frame. SSE_MORE: all were taken. */
enum sse_verdict sse_in_feed(struct sse_in *s, struct view *bytes, struct sse_frame *ret);

#endif
