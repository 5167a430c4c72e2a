/* Writing JSON straight into a buffer. What it writes, json_check accepts: bytes that are no
 * UTF-8, and NUL, become U+FFFD; numbers that JSON cannot hold become null. Misuse (a value
 * without its key, an end too many) is a bug of ours and trips an assert; a full buffer is told
 * once, by buf->failed. */
#include "common/base/json.h"

#include "common/base/clock.h"
#include "common/base/utf8.h"
#include <assert.h>
#include <math.h>

enum { JW_DEPTH_MAX = 31, JW_REAL = 32 };

void jw_init(struct jw *w, struct buf *out)
{
    *w = (struct jw){.out = out};
}

/* A value begins: the comma before it, where one is due. */
static void jw_value(struct jw *w)
{
    uint32_t bit = (uint32_t)1 << w->depth;
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    assert(!(w->in_object & bit));
    assert(w->depth > 0 || !(w->started & 1));
    if (w->started & bit) buf_put_char(w->out, ',');
    w->started |= bit;
}

static void jw_open(struct jw *w, char c, uint32_t is_object)
{
    jw_value(w);
    assert(w->depth < JW_DEPTH_MAX);
    w->depth++;
    w->started &= ~((uint32_t)1 << w->depth);
    w->in_object &= ~((uint32_t)1 << w->depth);
    w->in_object |= is_object << w->depth;
    buf_put_char(w->out, c);
}

static void jw_close(struct jw *w, char c, uint32_t is_object)
{
    assert(w->depth > 0);
    assert(!w->after_key);
    assert((w->in_object >> w->depth & 1) == is_object);
    w->depth--;
    buf_put_char(w->out, c);
}

void jw_object(struct jw *w)
{
    jw_open(w, '{', 1);
}

void jw_array(struct jw *w)
{
    jw_open(w, '[', 0);
}

void jw_end_object(struct jw *w)
{
    jw_close(w, '}', 1);
}

void jw_end_array(struct jw *w)
{
    jw_close(w, ']', 0);
}

static void jw_escape(struct buf *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *n = names; *n; n += 2) {
        if ((unsigned char)*n != c) continue;
        const char two[] = {'\\', n[1]};
        buf_put(out, two, 2);
        return;
    }
    const char six[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    buf_put(out, six, 6);
}

/* The common case, in one piece: nothing in it needs escaping. */
static bool jw_quote_plain(struct buf *out, struct view text)
{
    const char *end = text.ptr + text.len;
    if (!text.len || utf8_skip_plain(text.ptr, end) != end) return false;
    if (!buf_reserve(out, text.len + 2)) return false;
    char *at = out->data + out->len;
    *at++ = '"';
    memcpy(at, text.ptr, text.len);
    at[text.len] = '"';
    out->len += text.len + 2;
    return true;
}

static void jw_quote(struct buf *out, struct view text)
{
    if (jw_quote_plain(out, text)) return;
    const char *p = text.len ? text.ptr : "", *end = p + text.len;
    buf_put_char(out, '"');
    while (p < end) {
        const char *run = p;
        unsigned n = 0;
        for (;;) { /* everything that stands for itself, in one put */
            p = utf8_skip_plain(p, end);
            if (p == end || (unsigned char)*p < 0x80 || !(n = utf8_length(p, end))) break;
            p += n;
        }
        if (p > run) buf_put(out, run, (size_t)(p - run));
        if (p == end) break;
        if ((unsigned char)*p >= 0x80 || *p == '\0')
            buf_put(out, "\xEF\xBF\xBD", 3);
        else
            jw_escape(out, (unsigned char)*p);
        p++;
    }
    buf_put_char(out, '"');
}

void jw_key_view(struct jw *w, struct view key)
{
    uint32_t bit = (uint32_t)1 << w->depth;
    assert(w->in_object & bit);
    assert(!w->after_key);
    if (w->started & bit) buf_put_char(w->out, ',');
    w->started |= bit;
    w->after_key = true;
    jw_quote(w->out, key);
    buf_put_char(w->out, ':');
}

void jw_key(struct jw *w, const char *key)
{
    jw_key_view(w, view_of(key));
}

void jw_str(struct jw *w, struct view text)
{
    if (!text.ptr) {
        jw_null(w);
        return;
    }
    jw_value(w);
    jw_quote(w->out, text);
}

void jw_cstr(struct jw *w, const char *text)
{
    jw_str(w, view_of(text));
}

void jw_int(struct jw *w, int64_t n)
{
    jw_value(w);
    buf_put_i64(w->out, n);
}

void jw_real(struct jw *w, double x)
{
    char text[JW_REAL];
    if (!isfinite(x)) {
        jw_null(w);
        return;
    }
    jw_value(w);
    if (x == 0 && !signbit(x)) { /* the cost of every job that calls nobody */
        buf_put_str(w->out, "0.0");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    buf_put_str(w->out, text);
    if (!strpbrk(text, ".e")) buf_put_str(w->out, ".0"); /* a real stays a real when read again */
}

void jw_bool(struct jw *w, bool b)
{
    jw_value(w);
    buf_put_str(w->out, b ? "true" : "false");
}

void jw_null(struct jw *w)
{
    jw_value(w);
    buf_put_str(w->out, "null");
}

void jw_raw(struct jw *w, struct view json)
{
    if (!json.ptr) {
        jw_null(w);
        return;
    }
    assert(json.len > 0);
    jw_value(w);
    buf_put_view(w->out, json);
}

void jw_kstr(struct jw *w, const char *key, struct view text)
{
    jw_key(w, key);
    jw_str(w, text);
}

void jw_kcstr(struct jw *w, const char *key, const char *text)
{
    jw_key(w, key);
    jw_cstr(w, text);
}

void jw_kint(struct jw *w, const char *key, int64_t n)
{
    jw_key(w, key);
    jw_int(w, n);
}

void jw_kbool(struct jw *w, const char *key, bool b)
{
    jw_key(w, key);
    jw_bool(w, b);
}

void jw_kraw(struct jw *w, const char *key, struct view json)
{
    jw_key(w, key);
    jw_raw(w, json);
}

void jw_ktime(struct jw *w, const char *key, int64_t wall_ms)
{
    char text[CLOCK_TEXT];
    jw_key(w, key);
    if (wall_ms < 0) {
        jw_null(w);
        return;
    }
    clock_format(wall_ms, text);
    jw_cstr(w, text);
}
