#ifndef BASE_UTF8_H
#define BASE_UTF8_H
#include "common/base/view.h"

/* Length (1 .. 4) of the well-formed UTF-8 character at p, 0 when there is none before end.
 * Refuses overlong forms, surrogates and everything above U+10FFFF (Unicode table 3-7). */
static inline unsigned utf8_length(const char *ptr, const char *end)
{
    const unsigned char *p = (const unsigned char *)ptr;
    size_t left = (size_t)(end - ptr);
    if (!left) return 0;
    if (p[0] < 0x80) return 1;
    if (p[0] < 0xC2 || left < 2 || (p[1] & 0xC0) != 0x80) return 0;
    if (p[0] < 0xE0) return 2;
    if (left < 3 || (p[2] & 0xC0) != 0x80) return 0;
    if (p[0] < 0xF0) {
        if (p[0] == 0xE0 && p[1] < 0xA0) return 0;
        return p[0] == 0xED && p[1] > 0x9F ? 0 : 3;
    }
    if (p[0] > 0xF4 || left < 4 || (p[3] & 0xC0) != 0x80) return 0;
    if (p[0] == 0xF0 && p[1] < 0x90) return 0;
    return p[0] == 0xF4 && p[1] > 0x8F ? 0 : 4;
}

/* Skips bytes that stand for themselves in a JSON string: printable ASCII but quote and
 * backslash. Eight at a time: a byte of `odd` has its high bit set where one does not. Borrows
 * run upwards only, so the lowest set bit is exact. */
static inline const char *utf8_skip_plain(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    while (end - p >= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
        uint64_t odd = w | (w - ones * 0x20) | (quote - ones) | (slash - ones);
        odd &= high;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        if (odd) return p + __builtin_ctzll(odd) / 8;
#else
        if (odd) break;
#endif
        p += 8;
    }
    while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' &&
           *p != '\\')
        p++;
    return p;
}

/* Writes a code point (a scalar value) and returns its length. */
static inline unsigned utf8_encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

#endif
