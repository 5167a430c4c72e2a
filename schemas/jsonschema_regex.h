#ifndef SCHEMAS_JSONSCHEMA_REGEX_H
#define SCHEMAS_JSONSCHEMA_REGEX_H
#include "schemas/jsonschema_priv.h"

/* The program of a regular expression: made by jsonschema_regex.c, run by jsonschema_match.c. */
enum {
    REGEX_RANGES_MAX = 2000,
    REGEX_CODE_MAX = 2000,
    REGEX_NO_CHAR = -1,
    REGEX_LAST_CHAR = 0x10ffff
};

struct regex_range {
    int32_t low, high;
};

enum regex_op {
    OP_CHAR,
    OP_SET,
    OP_START,
    OP_END,
    OP_EDGE,
    OP_NO_EDGE,
    OP_SPLIT,
    OP_JUMP,
    OP_MATCH
};

struct regex_code {
    enum regex_op op;
    int32_t c;
    uint16_t x, y; /* SPLIT, JUMP: targets; SET: first range, count */
    bool is_negated;
};

struct jsonschema_regex {
    size_t code_count;
    const struct regex_range *ranges; /* behind the code */
    struct regex_code code[];
};

enum { REGEX_WORD_RANGES = 4 };
static const struct regex_range regex_words[REGEX_WORD_RANGES] = {
    {'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};

/* The code point at *at, which moves behind it; REGEX_NO_CHAR at the end. The text is UTF-8 that
 * was checked; a broken byte stands for itself. */
static inline int32_t regex_next(struct view v, size_t *at)
{
    if (*at >= v.len) return REGEX_NO_CHAR;
    unsigned char first = (unsigned char)v.ptr[(*at)++];
    unsigned more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
    int32_t c = more == 0 ? first : first & (0x3f >> more);
    for (; more > 0 && *at < v.len && ((unsigned char)v.ptr[*at] & 0xc0) == 0x80; more--)
        c = c << 6 | ((unsigned char)v.ptr[(*at)++] & 0x3f);
    return c;
}

#endif
