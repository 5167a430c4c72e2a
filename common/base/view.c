/* Borrowed bytes. What is hard is only discipline: a view may be absent (ptr NULL) and memcmp
 * and memcpy must not see NULL, numbers must fit, and nothing is written on failure. */
#include "common/base/view.h"

#include <assert.h>

static char view_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool view_ieq_str(struct view a, const char *s)
{
    size_t i = 0;
    for (; i < a.len && s[i]; i++) {
        if (view_lower(a.ptr[i]) != view_lower(s[i])) return false;
    }
    return i == a.len && !s[i];
}

bool view_starts(struct view a, const char *prefix)
{
    size_t len = strlen(prefix);
    return len <= a.len && (len == 0 || memcmp(a.ptr, prefix, len) == 0);
}

int view_cmp(struct view a, struct view b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
    if (c) return c < 0 ? -1 : 1;
    return (a.len > b.len) - (a.len < b.len);
}

static bool view_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct view view_trim(struct view v)
{
    while (v.len && view_is_space(v.ptr[0])) v.ptr++, v.len--;
    while (v.len && view_is_space(v.ptr[v.len - 1])) v.len--;
    return v;
}

bool view_cut(struct view v, char c, struct view *ret_head, struct view *ret_tail)
{
    const char *at = v.len ? memchr(v.ptr, c, v.len) : NULL;
    if (!at) return false;
    size_t head = (size_t)(at - v.ptr);
    *ret_head = (struct view){.ptr = v.ptr, .len = head};
    *ret_tail = (struct view){.ptr = at + 1, .len = v.len - head - 1};
    return true;
}

bool view_u64(struct view v, uint64_t *ret)
{
    if (v.len == 0) return false;
    uint64_t n = 0;
    for (size_t i = 0; i < v.len; i++) {
        unsigned digit = (unsigned)((unsigned char)v.ptr[i] - '0');
        if (digit > 9) return false;
        if (__builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, digit, &n))
            return false;
    }
    *ret = n;
    return true;
}

bool view_i64(struct view v, int64_t *ret)
{
    bool negative = v.len > 0 && v.ptr[0] == '-';
    uint64_t n = 0;
    if (negative) v.ptr++, v.len--;
    if (!view_u64(v, &n)) return false;
    if (n > (uint64_t)INT64_MAX + negative) return false;
    *ret = negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}

bool view_copy(struct view v, char *dst, size_t size)
{
    assert(size > 0);
    dst[0] = '\0';
    if (v.len >= size) return false;
    if (v.len) memcpy(dst, v.ptr, v.len);
    dst[v.len] = '\0';
    return true;
}

char *view_dup(struct view v)
{
    char *copy = malloc(v.len + 1);
    if (!copy) return NULL;
    if (v.len) memcpy(copy, v.ptr, v.len);
    copy[v.len] = '\0';
    return copy;
}
