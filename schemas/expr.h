#ifndef SCHEMAS_EXPR_H
#define SCHEMAS_EXPR_H
#include "common/base/buf.h"
#include "common/base/err.h"
struct json_t;

/* `${ jq }` in workflow values. A template is a JSON value whose strings may hold expressions. A string that is exactly one `${ ... }` keeps the
 * value's type; inside longer text the value is put in as text. `$${` writes a literal `${`.
 * Plain paths (.a.b[0]["x y"], any length) are evaluated here; everything else is jq and goes to the helper. */
enum expr_kind { EXPR_LITERAL, EXPR_PATH, EXPR_JQ };

/* One segment of a string: literal text or an expression's source. Views into the string given. */
struct expr_segment {
    enum expr_kind kind;
    struct view text;
};
/* Splits a string. ERR_INVALID: unclosed or empty expression. Nested braces, quotes and jq strings inside are honoured. */
MUST_CHECK enum err_code expr_split(struct view text, struct expr_segment *ret, size_t max, size_t *ret_count, struct err *err);
bool expr_has(struct view text); /* holds at least one expression */
/* Evaluates a plain path over root (borrowed). A missing member is null, as in jq; a wrong container is ERR_INVALID. *ret is borrowed from root (or the json null singleton). */
MUST_CHECK enum err_code expr_path(struct view path, const struct json_t *root, struct json_t **ret, struct err *err);

/* A walk over a whole template: collects every distinct jq expression in it, so that the caller evaluates them (helper), then fills the template. */
struct expr_value { /* result of one expression */
    struct view source;
    struct json_t *value; /* owned by the caller */
};
/* Appends sources of EXPR_JQ expressions found in tmpl to ret (views into tmpl's strings). */
MUST_CHECK enum err_code expr_collect(const struct json_t *tmpl, struct expr_value *ret, size_t max, size_t *ret_count, struct err *err);
/* tmpl with every expression replaced: new reference. root for plain paths, values for the jq ones. */
MUST_CHECK enum err_code expr_fill(const struct json_t *tmpl, const struct json_t *root, const struct expr_value *values, size_t count,
                                   struct json_t **ret, struct err *err);

#endif
