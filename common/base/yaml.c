/* YAML as configuration: libyaml's events become a jansson tree and, beside it, a tree of lines.
 *
 * What is hard: YAML is a language of surprises, and the files come from people, some of them
 * tenants. So the surprises are refused (aliases that blow up, tags, merge of documents, keys
 * that are no scalars) and the core schema decides what a plain scalar is (`no` is a string,
 * `0x1f` a number). Depth, bytes and nodes have ceilings.
 *
 * The line tree mirrors the JSON tree (first child, next sibling, key or place) because pointers
 * written out for every node would cost depth times size. A member's line is its key's: that is
 * where a person looks. */
#include <jansson.h>
#include <yaml.h>

#include "common/base/utf8.h"
#include "common/base/yaml.h"
#include <assert.h>
#include <math.h>

enum {
    YAML_DEPTH_MAX = 64,
    YAML_BYTES_MAX = 4 << 20,
    YAML_NODES_MAX = 200000,
    YAML_NAME_MAX = 100
};

struct yaml_node {
    struct yaml_node *next, *first, *last;
    char *key; /* of a member; NULL for elements and the root */
    unsigned line;
};

struct yaml_doc {
    json_t *root;
    struct yaml_node lines; /* of the root */
    char name[YAML_NAME_MAX];
};

/* An open container. */
struct yaml_frame {
    json_t *value; /* borrowed from its parent */
    struct yaml_node *node;
    char *key; /* of the member whose value comes next */
    unsigned key_line;
};

struct yaml_build {
    yaml_parser_t parser;
    struct yaml_doc *doc;
    struct err *err;
    size_t nodes;
    unsigned depth;
    struct yaml_frame frames[YAML_DEPTH_MAX];
};

static enum err_code yaml_fail(struct yaml_build *b, enum err_code code, unsigned line,
                               const char *why)
{
    char where[YAML_NAME_MAX + 16];
    snprintf(where, sizeof where, "%s:%u", b->doc->name, line);
    return err_set_at(b->err, code, where, "%s", why);
}

static unsigned yaml_event_line(const yaml_event_t *e)
{
    return (unsigned)e->start_mark.line + 1;
}

/* --- scalars --------------------------------------------------------------------------------- */

static bool yaml_is_any(struct view v, const char *const *names)
{
    for (; *names; names++) {
        if (view_eq_str(v, *names)) return true;
    }
    return false;
}

static size_t yaml_digits(struct view v, size_t at)
{
    size_t n = 0;
    while (at + n < v.len && v.ptr[at + n] >= '0' && v.ptr[at + n] <= '9') n++;
    return n;
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?; *ret_int: no point, no
 * exponent. */
static bool yaml_is_number(struct view v, bool *ret_int)
{
    size_t at = v.len && (v.ptr[0] == '-' || v.ptr[0] == '+');
    size_t whole = yaml_digits(v, at), fraction = 0;
    *ret_int = true;
    at += whole;
    if (at < v.len && v.ptr[at] == '.') {
        *ret_int = false;
        fraction = yaml_digits(v, ++at);
        at += fraction;
    }
    if (!whole && !fraction) return false;
    if (at < v.len && (v.ptr[at] == 'e' || v.ptr[at] == 'E')) {
        *ret_int = false;
        at++;
        at += at < v.len && (v.ptr[at] == '-' || v.ptr[at] == '+');
        size_t digits = yaml_digits(v, at);
        if (!digits) return false;
        at += digits;
    }
    return at == v.len;
}

/* 0x1f and 0o17. False: neither; *ret_fits: within 64 bits, and then *ret. */
static bool yaml_is_radix(struct view v, int64_t *ret, bool *ret_fits)
{
    static const char digits[] = "0123456789abcdef";
    int64_t base = view_starts(v, "0x") ? 16 : 8, n = 0;
    if (v.len < 3 || (base == 8 && !view_starts(v, "0o"))) return false;
    *ret_fits = true;
    for (size_t i = 2; i < v.len; i++) {
        int c = v.ptr[i] >= 'A' && v.ptr[i] <= 'F' ? v.ptr[i] | 0x20 : v.ptr[i];
        const char *at = c ? memchr(digits, c, (size_t)base) : NULL;
        if (!at) return false;
        if (__builtin_mul_overflow(n, base, &n) || __builtin_add_overflow(n, at - digits, &n))
            *ret_fits = false;
    }
    *ret = n;
    return true;
}

/* NULL with *ret_why set: beyond a double; without: no memory. */
static json_t *yaml_number(struct view v, bool is_int, const char **ret_why)
{
    int64_t n;
    struct view plain = v.ptr[0] == '+' ? (struct view){v.ptr + 1, v.len - 1} : v;
    if (is_int && view_i64(plain, &n)) return json_integer(n);
    char *text = view_dup(v); /* libyaml ends its scalars with NUL, but does not say so */
    if (!text) return NULL;
    double x = strtod(text, NULL);
    free(text);
    if (isfinite(x)) return json_real(x);
    *ret_why = "a number is too large (quote the text to have a string)";
    return NULL;
}

/* A plain scalar by the core schema. NULL with *ret_why set: refused; without: no memory. */
static json_t *yaml_plain(struct view v, const char **ret_why)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    static const char *const unreal[] = {".inf",  ".Inf",  ".INF",  "+.inf", "+.Inf",
                                         "+.INF", "-.inf", "-.Inf", "-.INF", ".nan",
                                         ".NaN",  ".NAN",  NULL};
    bool is_int, fits;
    int64_t n;
    if (yaml_is_any(v, nulls)) return json_null();
    if (yaml_is_any(v, trues)) return json_true();
    if (yaml_is_any(v, falses)) return json_false();
    if (yaml_is_any(v, unreal)) {
        *ret_why = "infinity and NaN are not values here (quote the text to have a string)";
        return NULL;
    }
    if (!yaml_is_radix(v, &n, &fits)) {
        bool is_number = yaml_is_number(v, &is_int);
        return is_number ? yaml_number(v, is_int, ret_why) : json_stringn(v.ptr, v.len);
    }
    if (fits) return json_integer(n);
    *ret_why = "a number is too large (quote the text to have a string)";
    return NULL;
}

static enum err_code yaml_text_check(struct yaml_build *b, const yaml_event_t *e, const char *what)
{
    const char *text = (const char *)e->data.scalar.value, *end = text + e->data.scalar.length;
    if (memchr(text, '\0', e->data.scalar.length))
        return yaml_fail(b, ERR_INVALID, yaml_event_line(e), "NUL is not allowed");
    for (unsigned n; text < end; text += n) {
        if (!(n = utf8_length(text, end)))
            return yaml_fail(b, ERR_INVALID, yaml_event_line(e), what);
    }
    return ERR_OK;
}

/* --- the tree -------------------------------------------------------------------------------- */

static struct yaml_node *yaml_node_new(struct yaml_node *parent, char *key, unsigned line)
{
    struct yaml_node *n = calloc(1, sizeof *n);
    if (!n) return NULL;
    n->key = key;
    n->line = line;
    if (parent->last)
        parent->last->next = n;
    else
        parent->first = n;
    parent->last = n;
    return n;
}

static void yaml_nodes_free(struct yaml_node *first) /* depth is bounded by YAML_DEPTH_MAX */
{
    for (struct yaml_node *n = first, *next; n; n = next) {
        next = n->next;
        yaml_nodes_free(n->first);
        free(n->key);
        free(n);
    }
}

/* Puts a value (taken) where the build stands; *ret_node gets its line node. */
static enum err_code yaml_add(struct yaml_build *b, json_t *value, unsigned line,
                              struct yaml_node **ret_node)
{
    if (!value) return yaml_fail(b, ERR_NOMEM, line, "out of memory");
    if (++b->nodes > YAML_NODES_MAX) {
        json_decref(value);
        return yaml_fail(b, ERR_TOO_LARGE, line, "too many values");
    }
    if (!b->depth) {
        b->doc->root = value;
        b->doc->lines.line = line;
        *ret_node = &b->doc->lines;
        return ERR_OK;
    }
    struct yaml_frame *f = &b->frames[b->depth - 1];
    bool ok = f->key ? json_object_set_new(f->value, f->key, value) == 0
                     : json_array_append_new(f->value, value) == 0;
    struct yaml_node *node =
        ok ? yaml_node_new(f->node, f->key, f->key ? f->key_line : line) : NULL;
    if (!node) return yaml_fail(b, ERR_NOMEM, line, "out of memory");
    f->key = NULL;
    *ret_node = node;
    return ERR_OK;
}

static bool yaml_wants_key(const struct yaml_build *b)
{
    return b->depth && json_is_object(b->frames[b->depth - 1].value) &&
           !b->frames[b->depth - 1].key;
}

static enum err_code yaml_on_key(struct yaml_build *b, const yaml_event_t *e)
{
    struct yaml_frame *f = &b->frames[b->depth - 1];
    unsigned line = yaml_event_line(e);
    enum err_code code = yaml_text_check(b, e, "a key is not valid UTF-8");
    if (code) return code;
    char *key = view_dup(view_make(e->data.scalar.value, e->data.scalar.length));
    if (!key) return yaml_fail(b, ERR_NOMEM, line, "out of memory");
    if (json_object_get(f->value, key)) {
        free(key);
        return yaml_fail(b, ERR_INVALID, line, "this key stands twice in the same mapping");
    }
    f->key = key;
    f->key_line = line;
    return ERR_OK;
}

static enum err_code yaml_on_scalar(struct yaml_build *b, const yaml_event_t *e)
{
    if (e->data.scalar.anchor)
        return yaml_fail(b, ERR_INVALID, yaml_event_line(e), "anchors are not supported");
    if (e->data.scalar.tag)
        return yaml_fail(b, ERR_INVALID, yaml_event_line(e), "tags are not supported");
    if (yaml_wants_key(b)) return yaml_on_key(b, e);
    struct view v = view_make(e->data.scalar.value, e->data.scalar.length);
    const char *why = NULL;
    struct yaml_node *node;
    enum err_code code = yaml_text_check(b, e, "a string is not valid UTF-8");
    if (code) return code;
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    json_t *value = plain ? yaml_plain(v, &why) : json_stringn(v.ptr, v.len);
    if (why) return yaml_fail(b, ERR_INVALID, yaml_event_line(e), why);
    return yaml_add(b, value, yaml_event_line(e), &node);
}

static enum err_code yaml_on_open(struct yaml_build *b, const yaml_event_t *e)
{
    bool is_map = e->type == YAML_MAPPING_START_EVENT;
    unsigned line = yaml_event_line(e);
    if (is_map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor)
        return yaml_fail(b, ERR_INVALID, line, "anchors are not supported");
    if (is_map ? e->data.mapping_start.tag : e->data.sequence_start.tag)
        return yaml_fail(b, ERR_INVALID, line, "tags are not supported");
    if (yaml_wants_key(b)) return yaml_fail(b, ERR_INVALID, line, "a key must be a scalar");
    if (b->depth == YAML_DEPTH_MAX) return yaml_fail(b, ERR_TOO_LARGE, line, "nested too deeply");
    json_t *value = is_map ? json_object() : json_array();
    struct yaml_node *node;
    enum err_code code = yaml_add(b, value, line, &node);
    if (code) return code;
    b->frames[b->depth++] = (struct yaml_frame){.value = value, .node = node};
    return ERR_OK;
}

static enum err_code yaml_on_event(struct yaml_build *b, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return yaml_on_scalar(b, e);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return yaml_on_open(b, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        assert(b->depth > 0);
        b->depth--;
        return ERR_OK;
    case YAML_ALIAS_EVENT:
        return yaml_fail(b, ERR_INVALID, yaml_event_line(e), "aliases are not supported");
    case YAML_DOCUMENT_START_EVENT:
        if (b->doc->root)
            return yaml_fail(b, ERR_INVALID, yaml_event_line(e), "one document a file");
        if (e->data.document_start.tag_directives.start !=
            e->data.document_start.tag_directives.end)
            return yaml_fail(b, ERR_INVALID, yaml_event_line(e), "tags are not supported");
        return ERR_OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return ERR_OK;
    }
    assert(false && "yaml event");
    return ERR_INTERNAL;
}

static enum err_code yaml_syntax_error(struct yaml_build *b)
{
    const yaml_parser_t *p = &b->parser;
    if (p->error == YAML_MEMORY_ERROR) return yaml_fail(b, ERR_NOMEM, 1, "out of memory");
    const char *why =
        p->problem ? p->problem : "not YAML"; /* libyaml's own sentences: never the file's text */
    return yaml_fail(b, ERR_INVALID, (unsigned)p->problem_mark.line + 1, why);
}

static enum err_code yaml_events(struct yaml_build *b)
{
    for (bool done = false; !done;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&b->parser, &e)) return yaml_syntax_error(b);
        enum err_code code = yaml_on_event(b, &e);
        done = e.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
        if (code) return code;
    }
    if (!b->doc->root) b->doc->root = json_null(); /* an empty file */
    return ERR_OK;
}

enum err_code yaml_parse(struct view text, const char *name, struct yaml_doc **ret, struct err *err)
{
    struct yaml_build b = {.err = err, .doc = calloc(1, sizeof *b.doc)};
    if (!b.doc) return err_set(err, ERR_NOMEM, "out of memory");
    snprintf(b.doc->name, sizeof b.doc->name, "%s", name);
    b.doc->lines.line = 1;
    enum err_code code = ERR_OK;
    if (text.len > YAML_BYTES_MAX)
        code = yaml_fail(&b, ERR_TOO_LARGE, 1, "the file is larger than 4 MiB");
    else if (!yaml_parser_initialize(&b.parser))
        code = yaml_fail(&b, ERR_NOMEM, 1, "out of memory");
    if (code) goto out;
    if (view_starts(text, "\xEF\xBB\xBF")) text.ptr += 3, text.len -= 3;
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)(text.len ? text.ptr : ""),
                                 text.len);
    code = yaml_events(&b);
    yaml_parser_delete(&b.parser);
    for (unsigned i = 0; i < YAML_DEPTH_MAX; i++) free(b.frames[i].key);
out:
    if (code)
        yaml_doc_free(b.doc);
    else
        *ret = b.doc;
    return code;
}

void yaml_doc_free(struct yaml_doc *doc)
{
    if (!doc) return;
    json_decref(doc->root);
    yaml_nodes_free(doc->lines.first);
    free(doc);
}

struct json_t *yaml_root(const struct yaml_doc *doc)
{
    return doc->root;
}

const char *yaml_name(const struct yaml_doc *doc)
{
    return doc->name;
}

/* Is the pointer token (escaped) this key? */
static bool yaml_token_is(struct view token, const char *key)
{
    size_t i = 0;
    for (; i < token.len && *key; i++, key++) {
        char c = token.ptr[i];
        if (c == '~' && i + 1 < token.len) c = token.ptr[++i] == '1' ? '/' : '~';
        if (c != *key) return false;
    }
    return i == token.len && !*key;
}

static const struct yaml_node *yaml_child(const struct yaml_node *parent, struct view token)
{
    uint64_t index = 0, at = 0;
    bool is_index = view_u64(token, &index);
    for (const struct yaml_node *n = parent->first; n; n = n->next, at++) {
        if (n->key ? yaml_token_is(token, n->key) : is_index && at == index) return n;
    }
    return NULL;
}

unsigned yaml_line(const struct yaml_doc *doc, const char *pointer)
{
    const struct yaml_node *node = &doc->lines;
    struct view rest = view_of(pointer), token;
    while (rest.len && rest.ptr[0] == '/') {
        rest = (struct view){rest.ptr + 1, rest.len - 1};
        token = rest;
        const char *slash = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
        if (slash) token.len = (size_t)(slash - rest.ptr);
        const struct yaml_node *child = yaml_child(node, token);
        if (!child) break;
        node = child;
        rest = (struct view){rest.ptr + token.len, rest.len - token.len};
    }
    return node->line;
}
