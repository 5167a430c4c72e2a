/* Growable bytes with a ceiling.
 *
 * What is hard: callers put a hundred small things and want to check once. A failed put
 * therefore changes nothing but `failed`, and everything after it is refused, so a reader never
 * sees a text with a hole in the middle. Growth doubles (amortised constant) and the last step
 * stops exactly at the ceiling. */
#include "common/base/buf.h"

#include <assert.h>

enum { BUF_FIRST = 256 };

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf){.max = b->max};
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

static bool buf_grow(struct buf *b, size_t extra)
{
    if (extra > b->max || b->len > b->max - extra) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + extra, cap = b->cap ? b->cap : BUF_FIRST;
    while (cap < need) cap = cap > b->max / 2 ? b->max : cap * 2;
    if (cap > b->max) cap = b->max;
    char *data = realloc(b->data, cap ? cap : 1);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

bool buf_reserve(struct buf *b, size_t extra)
{
    if (b->failed) return false;
    if (b->data && extra <= b->cap - b->len) return true;
    return buf_grow(b, extra);
}

bool buf_put(struct buf *b, const void *ptr, size_t len)
{
    if (!buf_reserve(b, len)) return false;
    if (len) memcpy(b->data + b->len, ptr, len);
    b->len += len;
    return true;
}

bool buf_put_view(struct buf *b, struct view v)
{
    return buf_put(b, v.ptr, v.len);
}

bool buf_put_str(struct buf *b, const char *s)
{
    return buf_put(b, s, strlen(s));
}

bool buf_put_char(struct buf *b, char c)
{
    if (!buf_reserve(b, 1)) return false;
    b->data[b->len++] = c;
    return true;
}

static size_t buf_digits(uint64_t n, char ret[BUF_DECIMAL])
{
    char digits[BUF_DECIMAL];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    memcpy(ret, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

size_t buf_decimal(int64_t n, char ret[BUF_DECIMAL])
{
    if (n >= 0) return buf_digits((uint64_t)n, ret);
    char digits[BUF_DECIMAL];
    size_t len = buf_digits(0 - (uint64_t)n, digits); /* at most 19 of them */
    ret[0] = '-';
    memcpy(ret + 1, digits, len);
    return len + 1;
}

bool buf_put_u64(struct buf *b, uint64_t n)
{
    char digits[BUF_DECIMAL];
    return buf_put(b, digits, buf_digits(n, digits));
}

bool buf_put_i64(struct buf *b, int64_t n)
{
    char digits[BUF_DECIMAL];
    return buf_put(b, digits, buf_decimal(n, digits));
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
    if (b->failed) return false;
    va_list ap;
    size_t room = b->cap - b->len;
    va_start(ap, fmt);
    int n = vsnprintf(room ? b->data + b->len : NULL, room, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
        return false;
    }
    if ((size_t)n < room) {
        b->len += (size_t)n;
        return true;
    }
    /* vsnprintf wants a place for its NUL: a text that ends exactly at the ceiling takes the way
     * round. */
    char *text = malloc((size_t)n + 1);
    if (!text) {
        b->failed = true;
        return false;
    }
    va_start(ap, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, ap);
    va_end(ap);
    bool ok = buf_put(b, text, (size_t)n);
    free(text);
    return ok;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    b->len -= n;
    if (n && b->len) memmove(b->data, b->data + n, b->len);
}

struct view buf_view(const struct buf *b)
{
    return (struct view){.ptr = b->data ? b->data : "", .len = b->len};
}

char *buf_detach(struct buf *b, size_t *ret_len)
{
    if (b->failed) return NULL;
    char *data = realloc(b->data, b->len + 1);
    if (!data) {
        b->failed = true;
        return NULL;
    }
    data[b->len] = '\0';
    if (ret_len) *ret_len = b->len;
    *b = (struct buf){.max = b->max};
    return data;
}
