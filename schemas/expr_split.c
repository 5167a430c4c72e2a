/* Where an expression starts and ends in a text, and what kind it is.
 *
 * Hard: jq has strings with interpolation, comments and brackets of three kinds, so the `}` that
 * ends `${` is not the next one. One scanner with a stack of awaited closers walks over it; an
 * expression whose brackets do not match is refused here, before anybody runs it. Whatever has only
 * members and indexes is a plain path (evaluated without jq); a superset of jq 1.6 is read
 * (`.a.[0]`, as in 1.7).
 */
#include "schemas/expr_priv.h"
#include <assert.h>

/* --- brackets --------------------------------------------------------------------------------- */

struct expr_scan {
    struct view text;
    size_t at;
    size_t depth;
    char closers[EXPR_NEST_MAX]; /* '}' ']' ')' awaited; '"' = a ')' that goes back into a string */
};

static bool expr_push(struct expr_scan *s, char closer)
{
    if (s->depth == EXPR_NEST_MAX) return false;
    s->closers[s->depth++] = closer;
    return true;
}

/* From inside a string to behind its end, or into an interpolation. */
static bool expr_scan_string(struct expr_scan *s)
{
    while (s->at < s->text.len) {
        char c = s->text.ptr[s->at++];
        if (c == '"') return true;
        if (c != '\\') continue;
        if (s->at == s->text.len) return false;
        if (s->text.ptr[s->at++] == '(') return expr_push(s, '"');
    }
    return false;
}

static bool expr_close(struct expr_scan *s, char c)
{
    if (s->depth == 0) return false;
    char want = s->closers[--s->depth];
    if (want == '"') return c == ')' && expr_scan_string(s);
    return want == c;
}

/* One character, or a whole string or comment. False: it does not fit. */
static bool expr_scan_token(struct expr_scan *s)
{
    char c = s->text.ptr[s->at++];
    if (c == '"') return expr_scan_string(s);
    if (c == '{') return expr_push(s, '}');
    if (c == '[') return expr_push(s, ']');
    if (c == '(') return expr_push(s, ')');
    if (c == '}' || c == ']' || c == ')') return expr_close(s, c);
    while (c == '#' && s->at < s->text.len && s->text.ptr[s->at] != '\n') s->at++;
    return true;
}

/* Reads on to behind the `}` that closes the expression the scan stands in. False: it never does,
 * or brackets do not match. */
static bool expr_scan_end(struct expr_scan *s)
{
    bool ok = expr_push(s, '}');
    while (ok && s->depth > 0) ok = s->at < s->text.len && expr_scan_token(s);
    return ok;
}

/* --- splitting -------------------------------------------------------------------------------- */

/* The next `${` or `$${` from at on. */
static bool expr_find(struct view text, size_t at, size_t *ret, bool *ret_is_escape)
{
    for (; at + 1 < text.len; at++) {
        if (text.ptr[at] != '$') continue;
        bool is_escape = text.ptr[at + 1] == '$' && at + 2 < text.len && text.ptr[at + 2] == '{';
        if (!is_escape && text.ptr[at + 1] != '{') continue;
        *ret = at;
        *ret_is_escape = is_escape;
        return true;
    }
    return false;
}

bool expr_has(struct view text)
{
    bool is_escape;
    for (size_t at = 0; expr_find(text, at, &at, &is_escape); at += 3)
        if (!is_escape) return true;
    return false;
}

struct expr_segments {
    struct expr_segment *list;
    size_t max, count;
};

static enum err_code expr_add(struct expr_segments *s, enum expr_kind kind, struct view text,
                              struct err *err)
{
    if (kind == EXPR_LITERAL && text.len == 0) return ERR_OK;
    if (s->count == s->max)
        return err_set(err, ERR_TOO_LARGE, "a text has more than %zu parts; make it shorter",
                       s->max);
    s->list[s->count++] = (struct expr_segment){kind, text};
    return ERR_OK;
}

static struct view expr_cut(struct view text, size_t from, size_t to)
{
    return view_make(text.ptr + from, to - from);
}

/* The expression whose `${` stands at start; *at goes behind its `}`. */
static enum err_code expr_take(struct expr_segments *s, struct view text, size_t start, size_t *at,
                               struct err *err)
{
    struct expr_scan scan = {.text = text, .at = start + 2};
    if (!expr_scan_end(&scan))
        return err_set(
            err, ERR_INVALID,
            "the expression at character %zu is not closed, or its brackets do not match; "
            "write $${ for a plain ${",
            start + 1);
    struct view source = view_trim(expr_cut(text, start + 2, scan.at - 1));
    if (source.len == 0)
        return err_set(err, ERR_INVALID,
                       "the expression at character %zu is empty; write $${ for a plain ${",
                       start + 1);
    *at = scan.at;
    return expr_add(s, expr_is_path(source) ? EXPR_PATH : EXPR_JQ, source, err);
}

enum err_code expr_split(struct view text, struct expr_segment *ret, size_t max, size_t *ret_count,
                         struct err *err)
{
    struct expr_segments s = {.list = ret, .max = max};
    size_t literal = 0, at = 0, found;
    bool is_escape;
    enum err_code code = ERR_OK;
    assert(ret && ret_count);
    while (code == ERR_OK && expr_find(text, at, &found, &is_escape)) {
        code = expr_add(&s, EXPR_LITERAL, expr_cut(text, literal, found), err);
        if (code == ERR_OK && !is_escape) code = expr_take(&s, text, found, &at, err);
        literal = at;
        if (!is_escape) continue;
        literal = found + 1; /* the escape's second $ starts the text that follows */
        at = found + 3;
    }
    if (code == ERR_OK && text.len > literal)
        code = expr_add(&s, EXPR_LITERAL, expr_cut(text, literal, text.len), err);
    if (code == ERR_OK) *ret_count = s.count;
    return code;
}

/* --- plain paths ------------------------------------------------------------------------------ */

static bool expr_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool expr_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t expr_name_len(struct view v)
{
    size_t n = 0;
    while (n < v.len && (expr_is_letter(v.ptr[n]) || (n > 0 && expr_is_digit(v.ptr[n])))) n++;
    return n;
}

/* v starts with a quote: the length up to and with the closing one, 0 where it is not plain. */
static size_t expr_quoted_len(struct view v)
{
    for (size_t n = 1; n < v.len; n++) {
        if (v.ptr[n] == '\\') return 0;
        if (v.ptr[n] == '"') return n + 1;
    }
    return 0;
}

/* v starts behind `[`; gives the length up to and with `]`. */
static size_t expr_index_len(struct view v, struct expr_part *ret)
{
    if (v.len > 0 && v.ptr[0] == '"') {
        size_t n = expr_quoted_len(v);
        if (n == 0 || n == v.len || v.ptr[n] != ']') return 0;
        *ret = (struct expr_part){.name = expr_cut(v, 1, n - 1)};
        return n + 1;
    }
    size_t n = v.len > 0 && v.ptr[0] == '-';
    while (n < v.len && n < 18 && expr_is_digit(v.ptr[n])) n++;
    *ret = (struct expr_part){.is_index = true};
    if (n == v.len || v.ptr[n] != ']' || !view_i64(expr_cut(v, 0, n), &ret->index)) return 0;
    return n + 1;
}

int expr_path_next(struct view path, struct view *rest, struct expr_part *ret)
{
    bool is_first = rest->ptr == path.ptr;
    struct view v = *rest;
    size_t used;
    if (v.len == 0) return is_first ? -1 : 0;
    bool has_dot = v.ptr[0] == '.';
    if (has_dot) v = expr_cut(v, 1, v.len);
    if (is_first && !has_dot) return -1;
    if (v.len == 0) { /* "." alone is the document */
        *rest = v;
        return is_first ? 0 : -1;
    }
    if (v.ptr[0] == '[') {
        used = expr_index_len(expr_cut(v, 1, v.len), ret);
        if (used) used++;
    } else if (!has_dot) {
        return -1;
    } else if (v.ptr[0] == '"') {
        used = expr_quoted_len(v);
        if (used) *ret = (struct expr_part){.name = expr_cut(v, 1, used - 1)};
    } else {
        used = expr_name_len(v);
        *ret = (struct expr_part){.name = expr_cut(v, 0, used)};
    }
    if (used == 0) return -1;
    *rest = expr_cut(v, used, v.len);
    return 1;
}

bool expr_is_path(struct view source)
{
    struct view rest = source;
    struct expr_part part;
    int more;
    while ((more = expr_path_next(source, &rest, &part)) > 0) {
    }
    return more == 0;
}

/* --- steps in jq ------------------------------------------------------------------------------ */

static bool expr_is_name_char(char c)
{
    return expr_is_letter(c) || expr_is_digit(c);
}

/* Is the `.` at this place the start of a path over the document (not the middle of another path)?
 */
static bool expr_starts_path(struct view source, size_t at)
{
    if (at == 0) return true;
    char before = source.ptr[at - 1];
    return !expr_is_name_char(before) && before != '.' && before != ']' && before != '"' &&
           before != ')' && before != '?';
}

static bool expr_step_at(struct view source, size_t at, struct view *ret_name, size_t *ret_end)
{
    static const char *const starts[] = {".steps", ".\"steps\"", ".[\"steps\"]"};
    struct view here = expr_cut(source, at, source.len);
    size_t used = 0;
    for (size_t i = 0; i < 3 && used == 0; i++)
        if (view_starts(here, starts[i])) used = strlen(starts[i]);
    if (used == 0 || (used < here.len && expr_is_name_char(here.ptr[used]))) return false;
    struct view rest = expr_cut(here, used, here.len);
    struct expr_part part;
    bool is_name = rest.len > 0 && expr_path_next(here, &rest, &part) > 0 && !part.is_index;
    *ret_name = is_name ? part.name : VIEW_NONE;
    *ret_end = at + used;
    return true;
}

size_t expr_steps(struct view source, struct view *ret, size_t max)
{
    struct expr_scan scan = {.text = source};
    size_t count = 0, end;
    bool ok = true;
    while (ok && scan.at < source.len && count < max) {
        bool is_found = source.ptr[scan.at] == '.' && expr_starts_path(source, scan.at) &&
                        expr_step_at(source, scan.at, &ret[count], &end);
        if (is_found) {
            scan.at = end;
            count++;
        } else {
            ok = expr_scan_token(&scan);
        }
    }
    return count;
}
