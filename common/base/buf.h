#ifndef BASE_BUF_H
#define BASE_BUF_H
#include "common/base/err.h"
#include "common/base/view.h"
#include <stdarg.h>

/* Growable bytes born with their ceiling. After a failed put (no memory or ceiling met) the
 * buffer keeps what it had, remembers the failure in `failed`, and refuses further puts: check
 * once at the end. */
struct buf {
    char *data;
    size_t len;
    size_t cap;
    size_t max;
    bool failed;
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);
void buf_reset(struct buf *b); /* len 0, failed cleared, memory kept */
bool buf_put(struct buf *b, const void *ptr, size_t len);
bool buf_put_view(struct buf *b, struct view v);
bool buf_put_str(struct buf *b, const char *s);
bool buf_put_char(struct buf *b, char c);
bool buf_put_u64(struct buf *b, uint64_t n);
bool buf_put_i64(struct buf *b, int64_t n);
bool buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool buf_reserve(struct buf *b, size_t extra);
/* Writes n in decimal, without a NUL; returns its length. What every number on a hot path goes
 * through: printf's way costs ten times as much. */
enum { BUF_DECIMAL = 20 };
size_t buf_decimal(int64_t n, char ret[BUF_DECIMAL]);
/* Drops the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);
struct view buf_view(const struct buf *b);
/* Gives the heap bytes (NUL-terminated) to the caller and leaves b empty; NULL when failed or
 * out of memory. */
char *buf_detach(struct buf *b, size_t *ret_len);

#endif
