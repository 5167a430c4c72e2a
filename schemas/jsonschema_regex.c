/* Regular expressions of ECMA-262 (u flag), matched in time linear in the text.
 *
 * POSIX's are another language (`\d`, `(?:`, `$` at a line's end), and every backtracking engine
 * can be made to hang by a tenant's pattern. So: a recursive parser makes a small tree, the tree
 * becomes a program of at most REGEX_CODE_MAX instructions, and Thompson's simulation runs all its
 * threads side by side. Counted repeats are written out, which the ceiling bounds. What a
 * simulation cannot do (look-around, back references) and what needs Unicode's tables (\p, case) is
 * refused when the schema is compiled. */
#include "schemas/jsonschema_regex.h"

enum { REGEX_NODES_MAX = 1000, REGEX_NEST_MAX = 50, REGEX_REPEAT_MAX = 1000 };

enum regex_kind {
    REGEX_EMPTY,
    REGEX_CHAR,
    REGEX_SET,
    REGEX_START,
    REGEX_END,
    REGEX_EDGE,
    REGEX_NO_EDGE,
    REGEX_BOTH,
    REGEX_EITHER,
    REGEX_REPEAT
};

struct regex_node {
    enum regex_kind kind;
    int32_t c;            /* CHAR */
    size_t ranges, count; /* SET */
    bool is_negated;
    size_t a, b;  /* children */
    int min, max; /* REPEAT; max -1: no end */
};

struct regex_parse {
    struct view text;
    size_t at;
    unsigned depth;
    struct regex_node nodes[REGEX_NODES_MAX];
    size_t node_count;
    struct regex_code code[REGEX_CODE_MAX];
    struct regex_range ranges[REGEX_RANGES_MAX];
    size_t code_count, range_count;
    const char *fault; /* the first one */
};

/* --- characters ------------------------------------------------------------------------------- */

static int32_t regex_peek(const struct regex_parse *p)
{
    size_t at = p->at;
    return regex_next(p->text, &at);
}

static bool regex_take(struct regex_parse *p, char c)
{
    if (p->at >= p->text.len || p->text.ptr[p->at] != c) return false;
    p->at++;
    return true;
}

static size_t regex_fail(struct regex_parse *p, const char *fault)
{
    if (!p->fault) p->fault = fault;
    return 0;
}

static size_t regex_node(struct regex_parse *p, struct regex_node n)
{
    if (p->node_count == REGEX_NODES_MAX) return regex_fail(p, "the pattern is too long");
    p->nodes[p->node_count] = n;
    return p->node_count++;
}

static const struct regex_range regex_digits[] = {{'0', '9'}};
static const struct regex_range regex_blanks[] = {
    {9, 13},          {32, 32},         {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
    {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
static const struct regex_range regex_line_ends[] = {{10, 10}, {13, 13}, {0x2028, 0x2029}};

static void regex_add(struct regex_parse *p, int32_t low, int32_t high)
{
    if (p->range_count == REGEX_RANGES_MAX)
        regex_fail(p, "the pattern is too long");
    else
        p->ranges[p->range_count++] = (struct regex_range){low, high};
}

/* The ranges (in order), or all that is not in them. */
static void regex_add_all(struct regex_parse *p, const struct regex_range *list, size_t count,
                          bool is_negated)
{
    int32_t from = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_negated)
            regex_add(p, list[i].low, list[i].high);
        else if (list[i].low > from)
            regex_add(p, from, list[i].low - 1);
        from = list[i].high + 1;
    }
    if (is_negated) regex_add(p, from, REGEX_LAST_CHAR);
}

/* \d \D \w \W \s \S: adds it and says yes. */
static bool regex_add_named(struct regex_parse *p, int32_t c)
{
    if (c == 'd' || c == 'D')
        regex_add_all(p, regex_digits, 1, c == 'D');
    else if (c == 'w' || c == 'W')
        regex_add_all(p, regex_words, REGEX_WORD_RANGES, c == 'W');
    else if (c == 's' || c == 'S')
        regex_add_all(p, regex_blanks, sizeof regex_blanks / sizeof regex_blanks[0], c == 'S');
    else
        return false;
    return true;
}

/* --- escapes ---------------------------------------------------------------------------------- */

static int regex_hex_digit(int32_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* min to max hex digits. */
static int32_t regex_hex(struct regex_parse *p, int min, int max)
{
    int32_t value = 0;
    int n = 0;
    for (; n < max; n++) {
        int digit = regex_hex_digit(regex_peek(p));
        if (digit < 0) break;
        value = value * 16 + digit;
        p->at++;
    }
    if (n >= min && value <= REGEX_LAST_CHAR) return value;
    regex_fail(p, "an escape lacks its hex digits");
    return 0;
}

/* \uXXXX, \u{X...}, or a pair of surrogates. */
static int32_t regex_unicode(struct regex_parse *p)
{
    if (regex_take(p, '{')) {
        int32_t c = regex_hex(p, 1, 6);
        if (!regex_take(p, '}')) regex_fail(p, "\\u{ is not closed");
        return c;
    }
    int32_t high = regex_hex(p, 4, 4);
    size_t before = p->at;
    if (high < 0xd800 || high > 0xdbff || !regex_take(p, '\\') || !regex_take(p, 'u') || p->fault) {
        p->at = before;
        return high;
    }
    int32_t low = regex_hex(p, 4, 4);
    if (low >= 0xdc00 && low <= 0xdfff) return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    p->at = before;
    return high;
}

/* An escape that stands for one character; the backslash and c were taken. */
static int32_t regex_escape(struct regex_parse *p, int32_t c)
{
    static const char names[] = "fnrtv0", values[] = "\f\n\r\t\v";
    const char *found = c > 0 && c < 128 ? strchr(names, (char)c) : NULL;
    if (c == '0' && regex_peek(p) >= '0' && regex_peek(p) <= '9')
        regex_fail(p, "octal escapes are not supported");
    if (found) return values[found - names];
    if (c == 'x') return regex_hex(p, 2, 2);
    if (c == 'u') return regex_unicode(p);
    if (c == 'c') {
        int32_t letter = regex_next(p->text, &p->at);
        bool ok = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
        if (!ok) regex_fail(p, "\\c needs a letter");
        return letter & 31;
    }
    bool is_name =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (c == 'p' || c == 'P') regex_fail(p, "\\p is not supported");
    if (c >= '1' && c <= '9') regex_fail(p, "back references are not supported");
    if (is_name || c == REGEX_NO_CHAR || c > 127)
        regex_fail(p, "this escape is not one of ECMA-262");
    return c;
}

/* --- parsing ---------------------------------------------------------------------------------- */

static size_t regex_read_either(struct regex_parse *p);

/* One end of a range within [ ]; *ret_is_set where it was \d or the like, which is then in. */
static int32_t regex_read_member(struct regex_parse *p, bool *ret_is_set)
{
    int32_t c = regex_next(p->text, &p->at);
    *ret_is_set = false;
    if (c == REGEX_NO_CHAR) regex_fail(p, "[ is not closed");
    if (c != '\\') return c;
    c = regex_next(p->text, &p->at);
    if (c == 'b') return '\b';
    if (c == '-') return c;
    *ret_is_set = regex_add_named(p, c);
    return *ret_is_set ? 0 : regex_escape(p, c);
}

static size_t regex_read_set(struct regex_parse *p)
{
    struct regex_node n = {.kind = REGEX_SET, .ranges = p->range_count};
    n.is_negated = regex_take(p, '^');
    while (!p->fault && !regex_take(p, ']')) {
        bool is_set, is_other_set = false;
        int32_t low = regex_read_member(p, &is_set), high = low;
        bool is_range =
            p->at + 1 < p->text.len && p->text.ptr[p->at] == '-' && p->text.ptr[p->at + 1] != ']';
        if (is_range) {
            p->at++;
            high = regex_read_member(p, &is_other_set);
        }
        if (is_range && (is_set || is_other_set))
            regex_fail(p, "a range cannot end in a class such as \\d");
        if (high < low) regex_fail(p, "a range is out of order");
        if (!is_set) regex_add(p, low, high);
    }
    n.count = p->range_count - n.ranges;
    return regex_node(p, n);
}

static size_t regex_read_group(struct regex_parse *p)
{
    if (regex_take(p, '?') && !regex_take(p, ':')) {
        bool is_named = regex_take(p, '<') && regex_peek(p) != '=' && regex_peek(p) != '!';
        if (!is_named) return regex_fail(p, "look-around is not supported");
        while (!regex_take(p, '>'))
            if (regex_next(p->text, &p->at) == REGEX_NO_CHAR)
                return regex_fail(p, "(?< is not closed");
    }
    if (p->depth == REGEX_NEST_MAX) return regex_fail(p, "the pattern is nested too deeply");
    p->depth++;
    size_t inner = regex_read_either(p);
    p->depth--;
    return regex_take(p, ')') ? inner : regex_fail(p, "( is not closed");
}

static size_t regex_read_any(struct regex_parse *p)
{
    struct regex_node n = {.kind = REGEX_SET, .ranges = p->range_count, .is_negated = true};
    regex_add_all(p, regex_line_ends, 3, false);
    n.count = p->range_count - n.ranges;
    return regex_node(p, n);
}

static size_t regex_read_atom(struct regex_parse *p)
{
    int32_t c = regex_next(p->text, &p->at);
    if (c == '(') return regex_read_group(p);
    if (c == '[') return regex_read_set(p);
    if (c == '.') return regex_read_any(p);
    if (c == '^') return regex_node(p, (struct regex_node){.kind = REGEX_START});
    if (c == '$') return regex_node(p, (struct regex_node){.kind = REGEX_END});
    if (c == '*' || c == '+' || c == '?') return regex_fail(p, "a repeat has nothing to repeat");
    if (c != '\\') return regex_node(p, (struct regex_node){.kind = REGEX_CHAR, .c = c});
    c = regex_next(p->text, &p->at);
    if (c == 'b') return regex_node(p, (struct regex_node){.kind = REGEX_EDGE});
    if (c == 'B') return regex_node(p, (struct regex_node){.kind = REGEX_NO_EDGE});
    struct regex_node set = {.kind = REGEX_SET, .ranges = p->range_count};
    if (!regex_add_named(p, c))
        return regex_node(p, (struct regex_node){.kind = REGEX_CHAR, .c = regex_escape(p, c)});
    set.count = p->range_count - set.ranges;
    return regex_node(p, set);
}

static bool regex_read_count(struct regex_parse *p, int *ret)
{
    size_t start = p->at;
    int n = 0;
    while (p->at < p->text.len && p->text.ptr[p->at] >= '0' && p->text.ptr[p->at] <= '9') {
        n = n > REGEX_REPEAT_MAX ? n : n * 10 + (p->text.ptr[p->at] - '0');
        p->at++;
    }
    *ret = n;
    return p->at > start;
}

/* {n} {n,} {n,m}; anything else after `{` is plain text and nothing is taken. */
static bool regex_read_braces(struct regex_parse *p, int *min, int *max)
{
    size_t before = p->at;
    bool ok = regex_take(p, '{') && regex_read_count(p, min);
    *max = *min;
    if (ok && regex_take(p, ',') && !regex_read_count(p, max)) *max = -1;
    if (ok && regex_take(p, '}')) return true;
    p->at = before;
    return false;
}

static size_t regex_read_repeat(struct regex_parse *p)
{
    size_t inner = regex_read_atom(p);
    int min = 0, max = -1;
    bool is_repeat = regex_take(p, '*');
    if (!is_repeat && regex_take(p, '+')) is_repeat = true, min = 1;
    if (!is_repeat && regex_take(p, '?')) is_repeat = true, max = 1;
    if (!is_repeat) is_repeat = regex_read_braces(p, &min, &max);
    if (!is_repeat || p->fault) return inner;
    regex_take(p, '?'); /* lazy or greedy is the same to a yes or no */
    enum regex_kind kind = p->nodes[inner].kind;
    if (kind == REGEX_START || kind == REGEX_END || kind == REGEX_EDGE || kind == REGEX_NO_EDGE)
        return regex_fail(p, "a repeat has nothing to repeat");
    if (min > REGEX_REPEAT_MAX || max > REGEX_REPEAT_MAX)
        return regex_fail(p, "a repeat is above 1000");
    if (max >= 0 && max < min) return regex_fail(p, "a repeat is out of order");
    return regex_node(
        p, (struct regex_node){.kind = REGEX_REPEAT, .a = inner, .min = min, .max = max});
}

static size_t regex_read_both(struct regex_parse *p)
{
    size_t all = regex_node(p, (struct regex_node){.kind = REGEX_EMPTY});
    while (!p->fault && p->at < p->text.len && p->text.ptr[p->at] != '|' &&
           p->text.ptr[p->at] != ')') {
        size_t one = regex_read_repeat(p);
        all = regex_node(p, (struct regex_node){.kind = REGEX_BOTH, .a = all, .b = one});
    }
    return all;
}

static size_t regex_read_either(struct regex_parse *p)
{
    size_t all = regex_read_both(p);
    while (!p->fault && regex_take(p, '|')) {
        size_t other = regex_read_both(p);
        all = regex_node(p, (struct regex_node){.kind = REGEX_EITHER, .a = all, .b = other});
    }
    return all;
}

/* --- the program ------------------------------------------------------------------------------ */

static size_t regex_emit(struct regex_parse *p, struct regex_code c)
{
    if (p->code_count == REGEX_CODE_MAX) {
        regex_fail(p, "the pattern is too long when its repeats are written out");
        return 0;
    }
    p->code[p->code_count] = c;
    return p->code_count++;
}

static void regex_emit_node(struct regex_parse *p, size_t at);

static uint16_t regex_here(const struct regex_parse *p)
{
    return (uint16_t)p->code_count;
}

static void regex_emit_repeat(struct regex_parse *p, const struct regex_node *n)
{
    for (int i = 0; i < n->min && !p->fault; i++) regex_emit_node(p, n->a);
    if (n->max < 0) {
        size_t split = regex_emit(p, (struct regex_code){.op = OP_SPLIT});
        p->code[split].x = regex_here(p);
        regex_emit_node(p, n->a);
        regex_emit(p, (struct regex_code){.op = OP_JUMP, .x = (uint16_t)split});
        p->code[split].y = regex_here(p);
        return;
    }
    size_t first = p->code_count, count = 0;
    for (int i = n->min; i < n->max && !p->fault; i++, count++) {
        size_t split = regex_emit(p, (struct regex_code){.op = OP_SPLIT, .y = UINT16_MAX});
        p->code[split].x = regex_here(p);
        regex_emit_node(p, n->a);
    }
    for (size_t i = first; count && i < p->code_count; i++)
        if (p->code[i].op == OP_SPLIT && p->code[i].y == UINT16_MAX) p->code[i].y = regex_here(p);
}

static void regex_emit_either(struct regex_parse *p, const struct regex_node *n)
{
    size_t split = regex_emit(p, (struct regex_code){.op = OP_SPLIT});
    p->code[split].x = regex_here(p);
    regex_emit_node(p, n->a);
    size_t jump = regex_emit(p, (struct regex_code){.op = OP_JUMP});
    p->code[split].y = regex_here(p);
    regex_emit_node(p, n->b);
    p->code[jump].x = regex_here(p);
}

static void regex_emit_node(struct regex_parse *p, size_t at)
{
    const struct regex_node *n = &p->nodes[at];
    if (p->fault) return;
    switch (n->kind) {
    case REGEX_EMPTY:
        break;
    case REGEX_CHAR:
        regex_emit(p, (struct regex_code){.op = OP_CHAR, .c = n->c});
        break;
    case REGEX_SET:
        regex_emit(p, (struct regex_code){.op = OP_SET,
                                          .x = (uint16_t)n->ranges,
                                          .y = (uint16_t)n->count,
                                          .is_negated = n->is_negated});
        break;
    case REGEX_START:
        regex_emit(p, (struct regex_code){.op = OP_START});
        break;
    case REGEX_END:
        regex_emit(p, (struct regex_code){.op = OP_END});
        break;
    case REGEX_EDGE:
        regex_emit(p, (struct regex_code){.op = OP_EDGE});
        break;
    case REGEX_NO_EDGE:
        regex_emit(p, (struct regex_code){.op = OP_NO_EDGE});
        break;
    case REGEX_BOTH:
        regex_emit_node(p, n->a);
        regex_emit_node(p, n->b);
        break;
    case REGEX_EITHER:
        regex_emit_either(p, n);
        break;
    case REGEX_REPEAT:
        regex_emit_repeat(p, n);
        break;
    }
}

/* The program at its own size. */
static struct jsonschema_regex *regex_pack(const struct regex_parse *p)
{
    size_t code_bytes = p->code_count * sizeof p->code[0];
    size_t range_bytes = p->range_count * sizeof p->ranges[0];
    struct jsonschema_regex *r = malloc(sizeof *r + code_bytes + range_bytes);
    if (!r) return NULL;
    r->code_count = p->code_count;
    memcpy(r->code, p->code, code_bytes);
    memcpy(r->code + p->code_count, p->ranges, range_bytes);
    r->ranges = (const struct regex_range *)(const void *)(r->code + p->code_count);
    return r;
}

enum err_code jsonschema_regex_new(struct view source, struct jsonschema_regex **ret,
                                   struct err *err)
{
    struct regex_parse *p = calloc(1, sizeof *p);
    if (!p) return err_set(err, ERR_NOMEM, "out of memory");
    p->text = source;
    size_t root = regex_read_either(p);
    if (!p->fault && p->at < source.len) regex_fail(p, ") without (");
    regex_emit_node(p, root);
    regex_emit(p, (struct regex_code){.op = OP_MATCH});
    enum err_code code = ERR_OK;
    struct jsonschema_regex *r = p->fault ? NULL : regex_pack(p);
    if (p->fault)
        code = err_set(err, ERR_INVALID, "%s (character %zu of the pattern)", p->fault, p->at);
    else if (!r)
        code = err_set(err, ERR_NOMEM, "out of memory");
    else
        *ret = r;
    free(p);
    return code;
}

void jsonschema_regex_free(struct jsonschema_regex *r)
{
    free(r);
}
