#ifndef BASE_JSON_H
#define BASE_JSON_H
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/view.h"
struct json_t;

/* Reading JSON from strangers, and writing it without trees.
 * jansson 2.14 rewrites numbers (0.1 -> 0.10000000000000001), refuses integers above 2^63 and
 * \u0000: so a user's JSON travels as its raw bytes, and only a copy is parsed to decide by. The
 * scanner below finds members in validated bytes. */
struct json_limits {
    size_t bytes_max;
    /* containers inside one another, 0 = scalars only; above JSON_DEPTH_MAX counts as that */
    unsigned depth_max;
    size_t nodes_max; /* values in all: containers too, keys not */
};
enum { JSON_DEPTH_MAX = 256 };

/* Checks the whole text by one pass of our own scanner (depth, duplicate keys, lone surrogates,
 * NUL, UTF-8, trailing bytes, numbers; integers beyond 64 bits are kept as reals) and then
 * parses it. err->where is the JSON pointer of the fault, "" = root, cut when long. The tree is
 * the caller's (json_decref). ERR_INVALID (also a number beyond a double), ERR_TOO_LARGE (a
 * limit), ERR_NOMEM. */
MUST_CHECK enum err_code json_load(struct view text, const struct json_limits *limits,
                                   struct json_t **ret, struct err *err);
/* The check alone. No allocation for objects of up to 16 keys whose nesting holds up to 64 keys
 * at a time. */
MUST_CHECK enum err_code json_check(struct view text, const struct json_limits *limits,
                                    struct err *err);

/* Over text that json_check accepted: the raw bytes of one member of an object, of one element
 * of an array. False when absent or not that kind of container. */
bool json_raw_member(struct view object, struct view key, struct view *ret);
bool json_raw_element(struct view array, size_t index, struct view *ret);
size_t json_raw_count(struct view container);
/* Walks an object or array: *cursor starts at 0; key is VIEW_NONE for arrays (raw, still
 * escaped, without quotes). */
bool json_raw_each(struct view container, size_t *cursor, struct view *ret_key,
                   struct view *ret_value);
/* Decodes a raw string literal with its quotes into UTF-8 bytes appended to out. */
bool json_raw_string(struct view literal, struct buf *out);
enum json_kind {
    JSON_RAW_NONE,
    JSON_RAW_OBJECT,
    JSON_RAW_ARRAY,
    JSON_RAW_STRING,
    JSON_RAW_NUMBER,
    JSON_RAW_TRUE,
    JSON_RAW_FALSE,
    JSON_RAW_NULL
};
enum json_kind json_raw_kind(struct view value);

/* Compact dump of a tree, appended. Numbers: integers exact, reals as in jw_real. False:
 * the buffer is full. */
bool json_put(struct buf *out, const struct json_t *value);
/* Tree helpers; absent or wrong type give the fallback. */
const char *json_str(const struct json_t *object, const char *key, const char *fallback);
int64_t json_int(const struct json_t *object, const char *key, int64_t fallback);
bool json_bool(const struct json_t *object, const char *key, bool fallback);

/* Writer: commas and quotes by itself. The depth ceiling is 31; a misuse trips an assert. */
struct jw {
    struct buf *out;
    unsigned depth;
    uint32_t started;   /* bit per depth: a value was written */
    uint32_t in_object; /* bit per depth: keys are due */
    bool after_key;
};

void jw_init(struct jw *w, struct buf *out);
void jw_object(struct jw *w);
void jw_array(struct jw *w);
void jw_end_object(struct jw *w);
void jw_end_array(struct jw *w);
void jw_key(struct jw *w, const char *key);
void jw_key_view(struct jw *w, struct view key);
/* Invalid UTF-8 and NUL become U+FFFD; VIEW_NONE writes null. */
void jw_str(struct jw *w, struct view text);
void jw_cstr(struct jw *w, const char *text);
void jw_int(struct jw *w, int64_t n);
/* The fewest digits from 15 on that read back the same; NaN and infinities write null. */
void jw_real(struct jw *w, double x);
void jw_bool(struct jw *w, bool b);
void jw_null(struct jw *w);
void jw_raw(struct jw *w, struct view json); /* trusted JSON bytes; VIEW_NONE writes null */
/* Shorthands: key and value. */
void jw_kstr(struct jw *w, const char *key, struct view text);
void jw_kcstr(struct jw *w, const char *key, const char *text);
void jw_kint(struct jw *w, const char *key, int64_t n);
void jw_kbool(struct jw *w, const char *key, bool b);
void jw_kraw(struct jw *w, const char *key, struct view json);
void jw_ktime(struct jw *w, const char *key, int64_t wall_ms); /* RFC 3339 text; < 0 writes null */

#endif
