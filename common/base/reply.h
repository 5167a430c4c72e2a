#ifndef BASE_REPLY_H
#define BASE_REPLY_H
#include "common/base/view.h"

/* A Redis reply as plain values: io/redis builds it, the simulation too. Borrowed for the length
 * of the callback. */
enum reply_kind { REPLY_NIL, REPLY_INT, REPLY_STR, REPLY_STATUS, REPLY_ERROR, REPLY_ARRAY };

struct reply {
    enum reply_kind kind;
    int64_t num;
    struct view str; /* STR, STATUS, ERROR */
    const struct reply *items;
    size_t count;
};

/* Checked access: an element past the end or of another kind reads as nil / fallback, never past
 * the memory. */
const struct reply *reply_at(const struct reply *r, size_t index); /* never NULL */
struct view reply_str(const struct reply *r);               /* STR or STATUS, else VIEW_NONE */
int64_t reply_int(const struct reply *r, int64_t fallback); /* INT, or a decimal STR */

#endif
