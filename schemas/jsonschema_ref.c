/* References within a schema.
 *
 * They are resolved when all nodes stand, against the nodes themselves: one that leads to something
 * that is no schema is refused. So is one that comes back to itself without going into the value,
 * since checking it would never end. */
#include "schemas/jsonschema_priv.h"

static int jsonschema_hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One token of a reference: %41 and ~0 ~1 decoded. False: it does not fit or is not well formed. */
static bool jsonschema_token(struct view raw, char *ret, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];
        if (c == '%') {
            if (i + 2 >= raw.len) return false;
            int high = jsonschema_hex(raw.ptr[i + 1]), low = jsonschema_hex(raw.ptr[i + 2]);
            if (high < 0 || low < 0 || (high == 0 && low == 0)) return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        bool is_escape =
            c == '~' && i + 1 < raw.len && (raw.ptr[i + 1] == '0' || raw.ptr[i + 1] == '1');
        if (is_escape) c = raw.ptr[++i] == '0' ? '~' : '/';
        if (n + 1 >= size) return false;
        ret[n++] = c;
    }
    ret[n] = '\0';
    return true;
}

static const json_t *jsonschema_follow(const json_t *root, const char *pointer)
{
    struct view rest = view_of(pointer), token;
    const json_t *at = root;
    char key[256];
    while (at && rest.len > 0) {
        rest = view_make(rest.ptr + 1, rest.len - 1); /* its slash */
        const char *slash = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
        token = view_make(rest.ptr, slash ? (size_t)(slash - rest.ptr) : rest.len);
        rest = view_make(rest.ptr + token.len, rest.len - token.len);
        uint64_t index;
        if (!jsonschema_token(token, key, sizeof key)) return NULL;
        if (json_is_array(at))
            at = view_u64(view_of(key), &index) ? json_array_get(at, (size_t)index) : NULL;
        else
            at = json_object_get(at, key);
    }
    return at;
}

static enum err_code jsonschema_resolve(struct jsonschema_build *b)
{
    for (struct jsonschema_node *n = b->s->nodes; n; n = n->next) {
        if (!n->ref_at) continue;
        const char *text = json_string_value(json_object_get(n->source, "$ref"));
        const json_t *target = jsonschema_follow(b->s->source, text + 1);
        n->ref = target ? map_get(b->by_source, jsonschema_source_key(&target)) : NULL;
        if (!n->ref)
            return err_set_at(b->err, ERR_INVALID, n->ref_at, "%.100s does not lead to a schema",
                              text);
    }
    return ERR_OK;
}

/* --- circles ---------------------------------------------------------------------------------- */

/* The nodes that look at the same value as n. */
static struct jsonschema_node *jsonschema_beside(const struct jsonschema_node *n, size_t i)
{
    struct jsonschema_node *const single[] = {n->ref, n->not_node, n->if_node, n->then_node,
                                              n->else_node};
    const struct jsonschema_list *const lists[] = {&n->all_of, &n->any_of, &n->one_of};
    for (size_t k = 0; k < 5; k++)
        if (single[k] && i-- == 0) return single[k];
    for (size_t k = 0; k < 3; k++) {
        if (i < lists[k]->count) return lists[k]->nodes[i];
        i -= lists[k]->count;
    }
    return NULL;
}

enum { MARK_NEW, MARK_OPEN, MARK_DONE };

/* Depth first with a stack of its own: a chain of references may be as long as there are nodes.
 * Gives a node with a $ref on a circle, or NULL. */
static const struct jsonschema_node *jsonschema_circle(struct jsonschema_node *start,
                                                       struct jsonschema_node **stack, size_t *next)
{
    size_t depth = 0;
    if (start->mark != MARK_NEW) return NULL;
    stack[0] = start;
    next[0] = 0;
    start->mark = MARK_OPEN;
    for (;;) {
        struct jsonschema_node *other = jsonschema_beside(stack[depth], next[depth]++);
        if (!other) {
            stack[depth]->mark = MARK_DONE;
            if (depth-- == 0) return NULL;
        } else if (other->mark == MARK_OPEN) {
            while (!stack[depth]->ref_at) depth--; /* without a $ref there is no circle */
            return stack[depth];
        } else if (other->mark == MARK_NEW) {
            other->mark = MARK_OPEN;
            stack[++depth] = other;
            next[depth] = 0;
        }
    }
}

static enum err_code jsonschema_check_circles(struct jsonschema_build *b)
{
    struct jsonschema_node **stack = calloc(b->node_count + 1, sizeof(struct jsonschema_node *));
    size_t *next = calloc(b->node_count + 1, sizeof *next);
    enum err_code code = stack && next ? ERR_OK : jsonschema_nomem(b);
    const struct jsonschema_node *bad = NULL;
    for (struct jsonschema_node *n = b->s->nodes; n && code == ERR_OK && !bad; n = n->next)
        if ((bad = jsonschema_circle(n, stack, next)) != NULL)
            code = err_set_at(b->err, ERR_INVALID, bad->ref_at,
                              "a $ref comes back to itself without going into the value");
    free(next);
    free(stack);
    return code;
}

enum err_code jsonschema_link(struct jsonschema_build *b)
{
    enum err_code code = jsonschema_resolve(b);
    return code == ERR_OK ? jsonschema_check_circles(b) : code;
}
