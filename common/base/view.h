#ifndef BASE_VIEW_H
#define BASE_VIEW_H
#include "common/base/banned.h"
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes: not NUL-terminated. An absent view has ptr NULL; an empty one has len 0. */
struct view {
    const char *ptr;
    size_t len;
};

#define VIEW_LIT(s) ((struct view){.ptr = (s), .len = sizeof(s) - 1})
#define VIEW_NONE   ((struct view){.ptr = NULL, .len = 0})

/* In the header because they are everywhere, mostly on literals, whose length then costs nothing.
 */
static inline struct view view_of(const char *s) /* NULL gives VIEW_NONE */
{
    return s ? (struct view){.ptr = s, .len = strlen(s)} : VIEW_NONE;
}

static inline struct view view_make(const void *ptr, size_t len)
{
    assert(ptr || len == 0);
    return (struct view){.ptr = (const char *)ptr, .len = len};
}

static inline bool view_eq(struct view a, struct view b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool view_eq_str(struct view a, const char *s)
{
    return view_eq(a, view_of(s));
}

bool view_ieq_str(struct view a, const char *s); /* ASCII case-insensitive */
bool view_starts(struct view a, const char *prefix);
int view_cmp(struct view a, struct view b);
struct view view_trim(struct view v); /* spaces, tabs, CR, LF at both ends */
/* Cuts v at the first c: *ret_head is before it, *ret_tail after it. False (nothing written)
 * when c is not there. */
bool view_cut(struct view v, char c, struct view *ret_head, struct view *ret_tail);
/* Strict decimal: digits only, whole view, fits. False otherwise, nothing written. */
bool view_u64(struct view v, uint64_t *ret);
bool view_i64(struct view v, int64_t *ret); /* optional leading minus */
/* Copies into dst (size bytes, always NUL-terminated). False when it did not fit (dst is then
 * empty). */
bool view_copy(struct view v, char *dst, size_t size);
char *view_dup(struct view v); /* NUL-terminated heap copy, NULL when out of memory; caller frees */

#endif
