#ifndef CONSUMER_WINDOW_H
#define CONSUMER_WINDOW_H
#include "common/base/buf.h"
#include "common/base/err.h"

/* Which offsets of one topic-partition are done. Pure. The commit is the lowest incomplete offset,
 * its metadata the incomplete ones above it: "v1." + base64url(version, crc16, varint(highest
 * complete - base), varint gaps...). Undecodable metadata means replay, never skip. Limit 4096
 * characters; admission stops at 75 %. Offsets that Kafka never hands out (compaction, markers)
 * count as complete. */
struct window;
enum { WINDOW_METADATA_MAX = 4096 };

struct window *window_new(size_t incomplete_max);
void window_free(struct window *w);
/* From what was committed; base -1 = nothing committed, start at low. Returns the offset to read
 * from. */
int64_t window_restore(struct window *w, int64_t committed, struct view metadata, int64_t low);
/* A record was read: true = it must run (now tracked as incomplete); false = it was complete
 * already. Offsets must rise. */
bool window_add(
    struct window *w,
    int64_t offset); /* out of memory: false, and nothing from it on is ever committed */
void window_complete(struct window *w, int64_t offset); /* tolerates unknown ones */
bool window_is_full(const struct window *w);            /* admit no more for now */
bool window_is_open(const struct window *w,
                    int64_t offset); /* not complete: runs, waits, or was not read yet */
size_t window_incomplete(const struct window *w);
int64_t window_base(const struct window *w);  /* lowest incomplete, else next to read */
bool window_is_dirty(const struct window *w); /* changed since the last window_commit */
void window_touch(struct window *w);          /* that commit failed: dirty again */
/* What to commit now. metadata is appended to out (empty when nothing is open above base). */
int64_t window_commit(struct window *w, struct buf *out);

#endif
