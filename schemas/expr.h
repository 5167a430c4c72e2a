#ifndef SCHEMAS_EXPR_H
#define SCHEMAS_EXPR_H
#include "common/base/buf.h"
#include "common/base/err.h"
struct json_t;

/* `${ jq }` in workflow values. A template is a JSON value whose strings may hold expressions. A
 * string that is exactly one `${ ... }` keeps the value's type; inside longer text the value is put
 * in as text. `$${` writes a literal `${`. Plain paths (. .a.b[0]["x y"]."z"[-1], any length) are
 * evaluated here; everything else is jq and goes to the helper. */
enum expr_kind { EXPR_LITERAL, EXPR_PATH, EXPR_JQ };

/* One segment of a string: literal text or an expression's source. Views into the string given. */
struct expr_segment {
    enum expr_kind kind;
    struct view text;
};
/* Splits a string (an empty one has no segments; a literal may come in several, an escape starts a
 * new one). ERR_INVALID: unclosed or empty expression. Nested braces, quotes and jq strings inside
 * are honoured. */
MUST_CHECK enum err_code expr_split(struct view text, struct expr_segment *ret, size_t max,
                                    size_t *ret_count, struct err *err);
bool expr_has(struct view text); /* holds at least one expression */
/* Evaluates a plain path over root (borrowed). A missing member or element is null, as in jq, and
 * so is a member of null; a negative index counts from the end; a wrong container is ERR_INVALID.
 * *ret is borrowed from root (or the json null singleton). */
MUST_CHECK enum err_code expr_path(struct view path, const struct json_t *root, struct json_t **ret,
                                   struct err *err);

/* A walk over a whole template: collects every distinct jq expression in it, so that the caller
 * evaluates them (helper), then fills the template. */
struct expr_value { /* result of one expression */
    struct view source;
    struct json_t *value; /* owned by the caller */
};
/* Appends the sources of EXPR_JQ expressions found in tmpl, each once, behind the *ret_count that
 * are there (views into tmpl's strings; value NULL). On error nothing is promised of ret and
 * *ret_count stays. */
MUST_CHECK enum err_code expr_collect(const struct json_t *tmpl, struct expr_value *ret, size_t max,
                                      size_t *ret_count, struct err *err);
/* tmpl with every expression replaced: new reference. root for plain paths, values for the jq ones.
 * What comes out may share nodes with tmpl, root and values (change only a copy of its top), but
 * never the root itself or a direct member of it: these may go on growing. ERR_INVALID: a wrong
 * container. ERR_TOO_LARGE: more than 4 MiB in one text, 16 MiB or a million copied nodes in all.
 */
MUST_CHECK enum err_code expr_fill(const struct json_t *tmpl, const struct json_t *root,
                                   const struct expr_value *values, size_t count,
                                   struct json_t **ret, struct err *err);

#endif
