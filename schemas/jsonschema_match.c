/* Does a pattern match somewhere in a text? Thompson's simulation: all threads of the program side
 * by side, one character at a time.
 *
 * A thread is an instruction; each is there at most once a position, so the work is at most text
 * times program, whatever the pattern. It is charged to the steps of the check it belongs to. */
#include "schemas/jsonschema_regex.h"

enum { REGEX_COST_PER_STEP = 32 };

struct regex_threads {
    uint16_t list[REGEX_CODE_MAX];
    size_t count;
};

struct regex_run {
    const struct jsonschema_regex *r;
    uint32_t
        seen[REGEX_CODE_MAX]; /* the position (from 1) at which an instruction was added last */
    uint32_t position;
    int32_t before, after; /* characters on both sides of the position */
    bool has_matched;
};

static bool regex_in_ranges(const struct regex_range *list, size_t count, int32_t c)
{
    for (size_t i = 0; i < count; i++)
        if (c >= list[i].low && c <= list[i].high) return true;
    return false;
}

static bool regex_is_edge(const struct regex_run *x)
{
    return regex_in_ranges(regex_words, REGEX_WORD_RANGES, x->before) !=
           regex_in_ranges(regex_words, REGEX_WORD_RANGES, x->after);
}

/* Does an instruction that takes no character let a thread through? */
static bool regex_holds(const struct regex_run *x, enum regex_op op)
{
    if (op == OP_START) return x->before == REGEX_NO_CHAR;
    if (op == OP_END) return x->after == REGEX_NO_CHAR;
    return regex_is_edge(x) == (op == OP_EDGE);
}

/* Follows from pc everything that takes no character; threads that wait for one are listed. */
static void regex_spread(struct regex_run *x, struct regex_threads *t, uint16_t pc)
{
    uint16_t stack[REGEX_CODE_MAX + 1];
    size_t depth = 0;
    stack[depth++] = pc;
    while (depth > 0) {
        pc = stack[--depth];
        const struct regex_code *c = &x->r->code[pc];
        if (x->seen[pc] == x->position) continue;
        x->seen[pc] = x->position;
        if (c->op == OP_CHAR || c->op == OP_SET)
            t->list[t->count++] = pc;
        else if (c->op == OP_MATCH)
            x->has_matched = true;
        else if (c->op == OP_JUMP)
            stack[depth++] = c->x;
        else if (c->op != OP_SPLIT && regex_holds(x, c->op))
            stack[depth++] = (uint16_t)(pc + 1);
        if (c->op != OP_SPLIT) continue;
        if (x->seen[c->y] != x->position) stack[depth++] = c->y;
        if (x->seen[c->x] != x->position) stack[depth++] = c->x;
    }
}

static bool regex_accepts(const struct regex_run *x, const struct regex_code *c, int32_t given)
{
    if (c->op == OP_CHAR) return c->c == given;
    return regex_in_ranges(&x->r->ranges[c->x], c->y, given) != c->is_negated;
}

bool jsonschema_regex_match(const struct jsonschema_regex *r, struct view text, int64_t *steps)
{
    struct regex_run x = {.r = r, .before = REGEX_NO_CHAR};
    struct regex_threads a = {.count = 0}, b = {.count = 0}, *now = &a, *next = &b;
    size_t at = 0;
    int64_t cost = 0;
    for (x.position = 1; *steps >= 0; x.position++) {
        x.after = regex_next(text, &at);
        /* The threads that took the last character stand in `now` as instructions; one more starts
         * here. */
        next->count = 0;
        for (size_t i = 0; i < now->count; i++) regex_spread(&x, next, now->list[i]);
        regex_spread(&x, next, 0);
        if (x.has_matched || x.after == REGEX_NO_CHAR) break;
        now->count = 0;
        for (size_t i = 0; i < next->count; i++)
            if (regex_accepts(&x, &r->code[next->list[i]], x.after))
                now->list[now->count++] = (uint16_t)(next->list[i] + 1);
        x.before = x.after;
        cost += (int64_t)next->count + 1;
        *steps -= cost / REGEX_COST_PER_STEP;
        cost %= REGEX_COST_PER_STEP;
    }
    return x.has_matched && *steps >= 0;
}
