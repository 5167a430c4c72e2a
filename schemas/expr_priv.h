#ifndef SCHEMAS_EXPR_PRIV_H
#define SCHEMAS_EXPR_PRIV_H
#include "schemas/expr.h"

/* Inside of expressions, shared with the checks of workflows. */
enum { EXPR_SEGMENTS_MAX = 128, EXPR_NEST_MAX = 64 };
enum { EXPR_TEXT_MAX = 4 << 20, EXPR_FILL_BYTES_MAX = 16 << 20, EXPR_FILL_NODES_MAX = 1000000 };

/* One part of a plain path: a member's name or an index. */
struct expr_part {
    bool is_index;
    struct view name; /* without quotes; a name with a backslash is no plain path */
    int64_t index;
};
/* Walks a path: *rest starts as the whole path (VIEW_LIT(".a.b")). Returns 1 and a part, 0 at the
 * end, -1 where it is no plain path. "." has no parts. */
int expr_path_next(struct view path, struct view *rest, struct expr_part *ret);
bool expr_is_path(struct view source);

/* The steps an expression names: every `.steps` that is the document's member, and the plain name
 * after it (VIEW_NONE where none follows, as in
 * `.steps | keys`). Strings and comments are passed over, interpolations are not. Stops at max. A
 * guess for jq, which can reach the document in other ways too (`. as $d | $d.steps.a`); exact for
 * plain paths. */
size_t expr_steps(struct view source, struct view *ret, size_t max);

#endif
