/* Errors as values: a code to decide by, a sentence for people, a place.
 *
 * What is hard: errors are made where memory may just have run out, and texts are put together
 * from parts of unknown length. So nothing here allocates, every text is cut to its field, and a
 * cut never leaves half a UTF-8 character. */
#include "common/base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Removes an incomplete UTF-8 character that a cut may have left at the end. */
static void err_trim(char *text)
{
    size_t len = strlen(text), back = 0;
    while (back < len && back < 3 && ((unsigned char)text[len - 1 - back] & 0xC0) == 0x80) back++;
    if (back == len) return;
    unsigned char lead = (unsigned char)text[len - 1 - back];
    size_t want = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    if (want > back) text[len - 1 - back] = '\0';
}

static void err_format(char *dst, size_t size, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
static void err_format(char *dst, size_t size, const char *fmt, va_list ap)
{
    int n = vsnprintf(dst, size, fmt, ap);
    if (n < 0) dst[0] = '\0';
    if (n >= 0 && (size_t)n >= size) err_trim(dst);
}

enum err_code err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    if (!err) return code;
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    err->where[0] = '\0';
    err_format(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return code;
}

enum err_code err_set_at(struct err *err, enum err_code code, const char *where, const char *fmt,
                         ...)
{
    if (!err) return code;
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    size_t len = where ? strlen(where) : 0, room = sizeof err->where - 1;
    if (len) memmove(err->where, where, len < room ? len : room);
    err->where[len < room ? len : room] = '\0';
    if (len > room) err_trim(err->where);
    err_format(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return code;
}

enum err_code err_wrap(struct err *err, const char *fmt, ...)
{
    if (!err) return ERR_INTERNAL;
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    err_format(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    size_t len = strlen(err->text);
    int n = snprintf(err->text + len, sizeof err->text - len, ": %s", old);
    if (n >= 0 && (size_t)n >= sizeof err->text - len) err_trim(err->text);
    return err->code;
}

enum err_class err_class_of(enum err_code code)
{
    switch (code) {
    case ERR_OK:
    case ERR_INVALID:
    case ERR_TOO_LARGE:
    case ERR_NOT_FOUND:
    case ERR_CONFLICT:
        return ERR_CLASS_CALLER;
    case ERR_NOMEM:
    case ERR_FULL:
    case ERR_TIMEOUT:
    case ERR_UNAVAILABLE:
    case ERR_PROTOCOL:
    case ERR_CLOSED:
        return ERR_CLASS_TEMPORARY;
    case ERR_DENIED:
        return ERR_CLASS_PERMANENT;
    case ERR_INTERNAL:
        return ERR_CLASS_INTERNAL;
    }
    assert(false && "err_code");
    return ERR_CLASS_INTERNAL;
}

const char *err_name(enum err_code code)
{
    static const char *const names[] = {
        [ERR_OK] = "ok",
        [ERR_NOMEM] = "nomem",
        [ERR_INVALID] = "invalid",
        [ERR_TOO_LARGE] = "too_large",
        [ERR_NOT_FOUND] = "not_found",
        [ERR_CONFLICT] = "conflict",
        [ERR_FULL] = "full",
        [ERR_TIMEOUT] = "timeout",
        [ERR_UNAVAILABLE] = "unavailable",
        [ERR_DENIED] = "denied",
        [ERR_PROTOCOL] = "protocol",
        [ERR_CLOSED] = "closed",
        [ERR_INTERNAL] = "internal",
    };
    assert((size_t)code < sizeof names / sizeof names[0]);
    return names[code];
}
