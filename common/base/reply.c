/* Checked reading of a Redis reply: a script that answers in another shape than expected reads
 * as nil, and the caller's ordinary handling of nil deals with it. */
#include "common/base/reply.h"

const struct reply *reply_at(const struct reply *r, size_t index)
{
    static const struct reply nil = {.kind = REPLY_NIL};
    if (!r || r->kind != REPLY_ARRAY || index >= r->count) return &nil;
    return &r->items[index];
}

struct view reply_str(const struct reply *r)
{
    return r && (r->kind == REPLY_STR || r->kind == REPLY_STATUS) ? r->str : VIEW_NONE;
}

int64_t reply_int(const struct reply *r, int64_t fallback)
{
    int64_t n = fallback;
    if (!r) return fallback;
    if (r->kind == REPLY_INT) return r->num;
    if (r->kind == REPLY_STR && view_i64(r->str, &n)) return n;
    return fallback;
}
