/* The check that every JSON text of a stranger passes: one pass, no recursion, no allocation for
 * ordinary bodies.
 *
 * What is hard: everything at once in bounded time. Places: `frames` holds the open containers,
 * `keys` the keys of all open objects in one stack (an object's keys are those above its
 * key_base, and go with it), so the JSON pointer of a fault is read off these two. Duplicates:
 * the first KEYS_FEW keys of an object are compared pairwise as they come; an object with more
 * is checked at its end through a hash table (keyed hash: strangers choose the keys). Keys are
 * compared decoded; the few that hold an escape are decoded into an arena. Numbers: what would
 * overflow a double is refused, because the tree could not hold it; integers beyond 64 bits are
 * counted for json_load. */
#include "common/base/arena.h"
#include "common/base/json_text.h"
#include "common/base/mix.h"
#include "common/base/utf8.h"
#include <assert.h>

enum { KEYS_FEW = 16, KEYS_FIXED = 64 };

struct json_key {
    const char *ptr; /* decoded */
    uint32_t len;
    uint32_t at;   /* of its quote in the text */
    uint64_t hash; /* only when the object has more than KEYS_FEW */
};

struct json_frame {
    uint32_t key_base;
    uint32_t index; /* of an array's current element */
    bool is_object;
};

struct json_scan {
    const char *begin, *p, *end;
    const struct json_limits *limits;
    struct err *err;
    enum err_code code; /* of the fault, when one was met */
    size_t nodes;
    unsigned depth;
    size_t key_count, key_cap;
    struct json_key *keys;
    struct arena *names;
    struct json_frame frames[JSON_DEPTH_MAX];
    struct json_key fixed[KEYS_FIXED];
};

enum json_step { STEP_VALUE, STEP_AFTER, STEP_DONE, STEP_FAIL };

/* --- where the fault is ---------------------------------------------------------------------- */

struct json_place {
    size_t len;
    char text[256]; /* longer than err->where, which cuts it */
};

static void json_place_put(struct json_place *place, char c)
{
    if (place->len + 1 < sizeof place->text) place->text[place->len++] = c;
}

static void json_place_token(struct json_place *place, const struct json_key *key)
{
    json_place_put(place, '/');
    for (size_t i = 0; i < key->len && i < sizeof place->text; i++) {
        char c = key->ptr[i];
        json_place_put(place, c == '/' ? '~' : c);
        if (c == '~' || c == '/') json_place_put(place, c == '~' ? '0' : '1');
    }
}

static void json_place_index(struct json_place *place, uint32_t index)
{
    char digits[12];
    int n = snprintf(digits, sizeof digits, "/%u", (unsigned)index);
    for (int i = 0; i < n; i++) json_place_put(place, digits[i]);
}

/* The pointer of the value being read (inside), or of the container that holds it. */
static void json_place(const struct json_scan *s, bool inside, struct json_place *place)
{
    place->len = 0;
    for (unsigned i = 0; i + !inside < s->depth; i++) {
        const struct json_frame *f = &s->frames[i];
        size_t top = i + 1 < s->depth ? s->frames[i + 1].key_base : s->key_count;
        if (!f->is_object)
            json_place_index(place, f->index);
        else if (top > f->key_base)
            json_place_token(place, &s->keys[top - 1]);
    }
    place->text[place->len] = '\0';
}

static enum json_step json_fail(struct json_scan *s, bool inside, enum err_code code,
                                const char *why)
{
    struct json_place place;
    json_place(s, inside, &place);
    s->code = err_set_at(s->err, code, place.text, "%s (byte %zu)", why, (size_t)(s->p - s->begin));
    return STEP_FAIL;
}

static enum json_step json_bad(struct json_scan *s, const char *why)
{
    return json_fail(s, true, ERR_INVALID, s->p == s->end ? "the text ends too early" : why);
}

static enum json_step json_bad_outside(struct json_scan *s, const char *why)
{
    return json_fail(s, false, ERR_INVALID, s->p == s->end ? "the text ends too early" : why);
}

/* --- strings --------------------------------------------------------------------------------- */

static int json_hex4(const char *p)
{
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int c = (unsigned char)p[i], low = c | 0x20;
        if (c >= '0' && c <= '9')
            value = value << 4 | (c - '0');
        else if (low >= 'a' && low <= 'f')
            value = value << 4 | (low - 'a' + 10);
        else
            return -1;
    }
    return value;
}

static size_t json_escape_unicode(const char *p, const char *end, uint32_t *ret_char,
                                  const char **ret_why)
{
    *ret_why = "\\u needs four hexadecimal digits";
    int high = end - p >= 6 ? json_hex4(p + 2) : -1;
    if (high < 0) return 0;
    *ret_char = (uint32_t)high;
    *ret_why = "\\u0000 is not allowed";
    if (high == 0) return 0;
    if (high < 0xD800 || high > 0xDFFF) return 6;
    *ret_why = "a lone surrogate is not a character";
    if (high > 0xDBFF || end - p < 12 || p[6] != '\\' || p[7] != 'u') return 0;
    int low = json_hex4(p + 8);
    if (low < 0xDC00 || low > 0xDFFF) return 0;
    *ret_char = 0x10000 + ((uint32_t)(high - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
    return 12;
}

size_t json_escape_read(const char *p, const char *end, uint32_t *ret_char, const char **ret_why)
{
    static const char names[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    *ret_why = "unknown escape in a string";
    if (end - p < 2) return 0;
    if (p[1] == 'u') return json_escape_unicode(p, end, ret_char, ret_why);
    for (const char *n = names; *n; n += 2) {
        if (*n != p[1]) continue;
        *ret_char = (unsigned char)n[1];
        return 2;
    }
    return 0;
}

size_t json_text_decode(struct view inner, char *out)
{
    const char *p = inner.len ? inner.ptr : "", *end = p + inner.len;
    size_t len = 0;
    while (p < end) {
        const char *why, *slash = memchr(p, '\\', (size_t)(end - p));
        size_t run = (size_t)((slash ? slash : end) - p), n;
        uint32_t c = 0;
        memcpy(out + len, p, run);
        len += run;
        p += run;
        if (!slash) break;
        if (!(n = json_escape_read(p, end, &c, &why))) return SIZE_MAX;
        len += utf8_encode(c, out + len);
        p += n;
    }
    return len;
}

/* Reads a string at its quote. inside: the string is a value (else a key), for the pointer. */
static bool json_quoted(struct json_scan *s, bool inside, bool *ret_escaped)
{
    const char *why = "not valid UTF-8";
    uint32_t c;
    size_t n;
    for (s->p++;;) {
        s->p = utf8_skip_plain(s->p, s->end);
        if (s->p == s->end)
            return json_fail(s, inside, ERR_INVALID, "a string does not end"), false;
        if (*s->p == '"') break;
        if (*s->p == '\\') {
            *ret_escaped = true;
            n = json_escape_read(s->p, s->end, &c, &why);
        } else if ((unsigned char)*s->p < 0x20) {
            why = "a control character in a string must be escaped";
            n = 0;
        } else {
            n = utf8_length(s->p, s->end);
        }
        if (!n) return json_fail(s, inside, ERR_INVALID, why), false;
        for (s->p += n; s->p < s->end && (unsigned char)*s->p >= 0x80; s->p += n) {
            if (!(n = utf8_length(s->p, s->end))) break;
        }
        why = "not valid UTF-8";
    }
    s->p++;
    return true;
}

/* --- keys ------------------------------------------------------------------------------------ */

static bool json_key_same(const struct json_key *a, const struct json_key *b)
{
    return a->len == b->len && memcmp(a->ptr, b->ptr, a->len) == 0;
}

static bool json_keys_grow(struct json_scan *s)
{
    size_t cap = s->key_cap * 2;
    struct json_key *old = s->keys == s->fixed ? NULL : s->keys;
    struct json_key *keys = realloc(old, cap * sizeof *keys);
    if (!keys) return false;
    if (!old) memcpy(keys, s->fixed, s->key_count * sizeof *keys);
    s->keys = keys;
    s->key_cap = cap;
    return true;
}

/* The decoded form of a key that holds an escape. */
static bool json_key_decode(struct json_scan *s, struct json_key *key)
{
    if (!s->names && !(s->names = arena_new(SIZE_MAX / 2))) return false; /* bounded by the text */
    char *out = arena_alloc(s->names, key->len);
    if (!out) return false;
    key->len = (uint32_t)json_text_decode((struct view){key->ptr, key->len}, out);
    key->ptr = out;
    return true;
}

static enum json_step json_duplicate(struct json_scan *s, size_t key)
{
    s->key_count = key + 1; /* so that the pointer names it */
    s->p = s->begin + s->keys[key].at;
    return json_fail(s, true, ERR_INVALID, "duplicate key");
}

static enum json_step json_key_push(struct json_scan *s, struct json_key key, bool escaped)
{
    if ((escaped && !json_key_decode(s, &key)) ||
        (s->key_count == s->key_cap && !json_keys_grow(s)))
        return json_fail(s, false, ERR_NOMEM, "out of memory");
    size_t base = s->frames[s->depth - 1].key_base, count = s->key_count - base;
    s->keys[s->key_count++] = key;
    if (count >= KEYS_FEW) return STEP_VALUE; /* json_keys_check will see it */
    for (size_t i = base; i < base + count; i++) {
        if (json_key_same(&s->keys[i], &key)) return json_duplicate(s, base + count);
    }
    return STEP_VALUE;
}

/* The end of an object with more than KEYS_FEW keys: all into a hash table. */
static enum json_step json_keys_check(struct json_scan *s, size_t base)
{
    size_t count = s->key_count - base, cap = 64;
    uint64_t seed = mix_seed(s);
    while (cap < count * 2) cap *= 2;
    uint32_t *table = calloc(cap, sizeof *table);
    if (!table) return json_fail(s, false, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        struct json_key *key = &s->keys[base + i];
        key->hash = mix_hash((struct view){key->ptr, key->len}, seed);
        size_t at = key->hash & (cap - 1);
        for (; table[at]; at = (at + 1) & (cap - 1)) {
            const struct json_key *other = &s->keys[base + table[at] - 1];
            if (other->hash != key->hash || !json_key_same(other, key)) continue;
            free(table);
            return json_duplicate(s, base + i);
        }
        table[at] = (uint32_t)(i + 1);
    }
    free(table);
    return STEP_AFTER;
}

/* --- numbers --------------------------------------------------------------------------------- */

struct json_number {
    const char *whole, *whole_end;       /* digits before the point */
    const char *fraction, *fraction_end; /* digits after it */
    int64_t exponent;
    bool is_real;
};

static const char *json_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9') p++;
    return p;
}

/* Would strtod give infinity? Only the decimal magnitude is looked at, and at the edge the first
 * twenty digits. */
static bool json_overflows(const struct json_number *n)
{
    static const char edge[] = "17976931348623158078"; /* DBL_MAX and a half step, rounded down */
    char digits[sizeof edge];
    const char *p = n->whole;
    while (p < n->whole_end && *p == '0') p++;
    int64_t magnitude = n->whole_end - p - 1 + n->exponent;
    if (p == n->whole_end) {
        p = n->fraction;
        while (p < n->fraction_end && *p == '0') p++;
        magnitude = n->fraction - p - 1 + n->exponent;
        if (p == n->fraction_end) return false; /* zero */
    }
    if (magnitude != 308) return magnitude > 308;
    for (size_t i = 0; i < sizeof digits - 1; i++) {
        if (p == n->whole_end) p = n->fraction;
        bool more = p != n->fraction_end;
        digits[i] = more ? *p : '0';
        if (more) p++;
    }
    return memcmp(digits, edge, sizeof digits - 1) > 0;
}

static bool json_exponent(const char **p, const char *end, int64_t *ret)
{
    bool negative = *p < end && **p == '-';
    int64_t value = 0;
    if (*p < end && (**p == '-' || **p == '+')) (*p)++;
    const char *first = *p;
    for (; *p < end && **p >= '0' && **p <= '9'; (*p)++) {
        if (value < INT64_MAX / 100) value = value * 10 + (**p - '0');
    }
    *ret = negative ? -value : value;
    return *p > first;
}

static enum json_step json_number_end(struct json_scan *s, const struct json_number *n,
                                      const char *start)
{
    size_t digits = (size_t)(n->whole_end - n->whole);
    if (!n->is_real && digits < 19) return STEP_AFTER;
    if (json_overflows(n)) {
        s->p = start;
        return json_bad(s, "a number is too large");
    }
    return STEP_AFTER;
}

static enum json_step json_number(struct json_scan *s)
{
    struct json_number n = {.exponent = 0};
    const char *start = s->p;
    if (*s->p == '-') s->p++;
    n.whole = s->p;
    n.whole_end = s->p = json_digits(s->p, s->end);
    n.fraction = n.fraction_end = n.whole_end;
    if (n.whole == n.whole_end) return json_bad(s, "expected a value");
    if (*n.whole == '0' && n.whole_end - n.whole > 1) {
        s->p = start;
        return json_bad(s, "a number must not begin with 0");
    }
    if (s->p < s->end && *s->p == '.') {
        n.is_real = true;
        n.fraction = ++s->p;
        n.fraction_end = s->p = json_digits(s->p, s->end);
        if (n.fraction == n.fraction_end) return json_bad(s, "expected a digit");
    }
    if (s->p < s->end && (*s->p | 0x20) == 'e') {
        n.is_real = true;
        s->p++;
        if (!json_exponent(&s->p, s->end, &n.exponent)) return json_bad(s, "expected a digit");
    }
    return json_number_end(s, &n, start);
}

/* --- the walk -------------------------------------------------------------------------------- */

static void json_space(struct json_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
}

static enum json_step json_member(struct json_scan *s)
{
    bool escaped = false;
    json_space(s);
    if (s->p == s->end || *s->p != '"') return json_bad_outside(s, "expected a key in quotes");
    struct json_key key = {.ptr = s->p + 1, .at = (uint32_t)(s->p - s->begin)};
    if (!json_quoted(s, false, &escaped)) return STEP_FAIL;
    key.len = (uint32_t)(s->p - 1 - key.ptr);
    json_space(s);
    if (s->p == s->end || *s->p != ':') return json_bad_outside(s, "expected ':'");
    s->p++;
    return json_key_push(s, key, escaped);
}

static enum json_step json_open(struct json_scan *s, bool is_object)
{
    unsigned max = s->limits->depth_max < JSON_DEPTH_MAX ? s->limits->depth_max : JSON_DEPTH_MAX;
    if (s->depth >= max) return json_fail(s, true, ERR_TOO_LARGE, "nested too deeply");
    s->frames[s->depth++] = (struct json_frame){(uint32_t)s->key_count, 0, is_object};
    s->p++;
    json_space(s);
    if (s->p < s->end && *s->p == (is_object ? '}' : ']')) {
        s->p++;
        s->depth--;
        return STEP_AFTER;
    }
    return is_object ? json_member(s) : STEP_VALUE;
}

static enum json_step json_literal(struct json_scan *s, const char *name)
{
    size_t len = strlen(name);
    if ((size_t)(s->end - s->p) < len || memcmp(s->p, name, len) != 0)
        return json_bad(s, "expected a value");
    s->p += len;
    return STEP_AFTER;
}

static enum json_step json_value(struct json_scan *s)
{
    bool escaped;
    json_space(s);
    if (s->p == s->end) return json_bad(s, "");
    if (++s->nodes > s->limits->nodes_max)
        return json_fail(s, true, ERR_TOO_LARGE, "too many values");
    switch (*s->p) {
    case '{':
        return json_open(s, true);
    case '[':
        return json_open(s, false);
    case '"':
        return json_quoted(s, true, &escaped) ? STEP_AFTER : STEP_FAIL;
    case 't':
        return json_literal(s, "true");
    case 'f':
        return json_literal(s, "false");
    case 'n':
        return json_literal(s, "null");
    default:
        return json_number(s);
    }
}

static enum json_step json_after(struct json_scan *s)
{
    json_space(s);
    if (s->depth == 0) {
        if (s->p == s->end) return STEP_DONE;
        return json_bad(s, "unexpected bytes after the value");
    }
    struct json_frame *f = &s->frames[s->depth - 1];
    char c = s->p < s->end ? *s->p : '\0';
    if (c == ',') {
        s->p++;
        if (f->is_object) return json_member(s);
        f->index++;
        return STEP_VALUE;
    }
    if (c != (f->is_object ? '}' : ']'))
        return json_bad_outside(s, f->is_object ? "expected ',' or '}'" : "expected ',' or ']'");
    s->p++;
    if (s->key_count - f->key_base > KEYS_FEW && json_keys_check(s, f->key_base) == STEP_FAIL)
        return STEP_FAIL;
    s->key_count = f->key_base;
    s->depth--;
    return STEP_AFTER;
}

enum err_code json_check(struct view text, const struct json_limits *limits, struct err *err)
{
    if (text.len > limits->bytes_max || text.len > UINT32_MAX)
        return err_set(err, ERR_TOO_LARGE, "more than %zu bytes of JSON", limits->bytes_max);
    struct json_scan s;
    s.begin = s.p = text.len ? text.ptr : "";
    s.end = s.p + text.len;
    s.limits = limits;
    s.err = err;
    s.code = ERR_OK;
    s.nodes = s.key_count = 0;
    s.depth = 0;
    s.keys = s.fixed;
    s.key_cap = KEYS_FIXED;
    s.names = NULL;
    enum json_step step = STEP_VALUE;
    while (step < STEP_DONE) step = step == STEP_VALUE ? json_value(&s) : json_after(&s);
    if (s.keys != s.fixed) free(s.keys);
    arena_free(s.names);
    return step == STEP_FAIL ? s.code : ERR_OK;
}
