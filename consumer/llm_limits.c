/* Headers of limits: OpenAI's, Azure's, Anthropic's, the RateLimit draft's, Retry-After.
 *
 * Hard: they are written by many hands and decide whether a whole fleet stands still. What is
 * believed, field by field: counts are decimal integers from 0 to 10^12 (Azure says -1 for "do not
 * know"); a limit of 0 or less beside a request that was just served is no limit, and nothing
 * else of it is believed either; remaining above its limit contradicts it, unless by less than the
 * thousand that Anthropic rounds to. A reset is a Go duration, seconds, a time of day (RFC 3339) or
 * an epoch; a time gone by up to a minute ago is "now" (clocks differ), one longer ago is nonsense.
 *
 * How long a reset is believed: token limits are sold by the minute, and every reset seen in the
 * wild is below that, so 10 minutes leave room and hold a fleet up by no more than that when the
 * number is a lie. Requests are sold by the day, too, in the same header: 24 hours. Longer ones are
 * capped. A Retry-After over 24 hours is not believed at all: the caller's own back-off then finds
 * out with a probe, which costs less than a day of silence.
 *
 * Two headers may speak of one limit (tokens and project-tokens): of each field the more careful
 * value holds, which is also right when one and the same header comes twice. */
#include "consumer/llm_limits.h"

#include "common/base/clock.h"
#include <stdio.h>

enum { LIMITS_ROUNDING = 1000, LIMITS_CLOCKS_MS = 60000 };
#define LIMITS_COUNT_MAX INT64_C(1000000000000)

static struct llm_limit limits_none(void)
{
    return (struct llm_limit){.limit = -1, .remaining = -1, .reset_ms = -1};
}

void llm_limits_init(struct llm_limits *l)
{
    *l = (struct llm_limits){.requests = limits_none(),
                             .tokens = limits_none(),
                             .input = limits_none(),
                             .output = limits_none(),
                             .retry_after_ms = -1};
}

/* --- values ----------------------------------------------------------------------------------- */

static bool limits_count(struct view v, int64_t *ret)
{
    uint64_t n;
    if (!view_u64(view_trim(v), &n) || n > (uint64_t)LIMITS_COUNT_MAX) return false;
    *ret = (int64_t)n;
    return true;
}

/* Plain decimal with a fraction or without, times scale, rounded up: no signs, no exponents, at
 * most nine digits before the point (epochs are read elsewhere). */
static bool limits_decimal(struct view v, int64_t scale, int64_t *ret)
{
    struct view whole = v, part = VIEW_NONE;
    uint64_t n = 0, fraction = 0;
    int64_t unit = 1;
    if (view_cut(v, '.', &whole, &part) && part.len == 0) return false;
    if (whole.len > 9 || part.len > 9 || whole.len + part.len == 0) return false;
    if (whole.len && !view_u64(whole, &n)) return false;
    if (part.len && !view_u64(part, &fraction)) return false;
    for (size_t i = 0; i < part.len; i++) unit *= 10;
    int64_t below = (int64_t)fraction * scale; /* below 10^12 */
    *ret = (int64_t)n * scale + below / unit + (below % unit != 0);
    return true;
}

static bool limits_month(struct view name, unsigned *ret)
{
    static const char *const names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    for (unsigned i = 0; i < 12; i++)
        if (view_eq_str(name, names[i])) {
            *ret = i + 1;
            return true;
        }
    return false;
}

bool llm_limits_date(struct view text, int64_t *ret_wall_ms)
{
    static const char shape[] = "Sun, 06 Nov 1994 08:49:37 GMT";
    char rfc3339[32];
    unsigned month;
    struct view v = view_trim(text);
    if (v.len != sizeof shape - 1 || v.ptr[3] != ',' || v.ptr[4] != ' ' || v.ptr[7] != ' ' ||
        v.ptr[11] != ' ' || v.ptr[16] != ' ' || !view_eq_str(view_make(v.ptr + 25, 4), " GMT") ||
        !limits_month(view_make(v.ptr + 8, 3), &month))
        return false;
    snprintf(rfc3339, sizeof rfc3339, "%.4s-%02u-%.2sT%.8sZ", v.ptr + 12, month, v.ptr + 5,
             v.ptr + 17);
    return clock_parse(view_of(rfc3339), ret_wall_ms);
}

/* From now until a time of day; false when it is long gone. */
static bool limits_until(int64_t at_ms, int64_t wall_ms, int64_t *ret_ms)
{
    if (at_ms < wall_ms - LIMITS_CLOCKS_MS) return false;
    *ret_ms = at_ms > wall_ms ? at_ms - wall_ms : 0;
    return true;
}

static bool limits_reset(struct view v, int64_t wall_ms, int64_t *ret_ms)
{
    int64_t at;
    uint64_t n;
    v = view_trim(v);
    if (limits_decimal(v, 1000, ret_ms)) return true;
    if (clock_parse(v, &at)) return limits_until(at, wall_ms, ret_ms);
    if (view_u64(v, &n) && n >= 1000000000 && n < 100000000000)
        return limits_until((int64_t)n * 1000, wall_ms, ret_ms);
    if (view_u64(v, &n) && n >= 1000000000000 && n < 100000000000000)
        return limits_until((int64_t)n, wall_ms, ret_ms);
    return v.len > 0 && clock_go_duration(v, ret_ms) && *ret_ms >= 0;
}

/* --- one limit -------------------------------------------------------------------------------- */

/* A number of pieces and where it goes. */
struct limits_slot {
    struct llm_limit *limit;
    unsigned bit;
    int64_t reset_max_ms;
};

static bool limits_slot(struct llm_limits *l, struct view name, struct limits_slot *ret)
{
    const struct {
        const char *name;
        struct llm_limit *limit;
        unsigned bit;
    } slots[] = {
        {"requests", &l->requests, 1},     {"tokens", &l->tokens, 2},
        {"project-tokens", &l->tokens, 2}, {"input-tokens", &l->input, 4},
        {"output-tokens", &l->output, 8},
    };
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        if (!view_ieq_str(name, slots[i].name)) continue;
        *ret = (struct limits_slot){slots[i].limit, slots[i].bit,
                                    slots[i].bit == 1 ? LLM_RESET_REQUESTS_MAX_MS
                                                      : LLM_RESET_TOKENS_MAX_MS};
        return true;
    }
    return false;
}

static void limits_void(struct llm_limits *l, const struct limits_slot *s)
{
    *s->limit = limits_none();
    l->is_void = (unsigned char)(l->is_void | s->bit);
}

/* remaining above limit by what rounding explains is limit; above that it is not believed. */
static void limits_agree(struct llm_limit *m)
{
    if (m->limit < 0 || m->remaining <= m->limit) return;
    m->remaining = m->remaining - m->limit < LIMITS_ROUNDING ? m->limit : -1;
}

static void limits_set_limit(const struct limits_slot *s, int64_t n)
{
    if (s->limit->limit < 0 || n < s->limit->limit) s->limit->limit = n;
    limits_agree(s->limit);
}

static void limits_set_remaining(const struct limits_slot *s, int64_t n)
{
    struct llm_limit one = *s->limit;
    one.remaining = n;
    limits_agree(&one);
    if (one.remaining >= 0 && (s->limit->remaining < 0 || one.remaining < s->limit->remaining))
        s->limit->remaining = one.remaining;
}

static void limits_set_reset(const struct limits_slot *s, int64_t ms)
{
    if (ms > s->reset_max_ms) ms = s->reset_max_ms;
    if (ms > s->limit->reset_ms) s->limit->reset_ms = ms;
}

static void limits_note(struct llm_limits *l)
{
    const struct llm_limit *all[] = {&l->requests, &l->tokens, &l->input, &l->output};
    l->is_any = false;
    for (size_t i = 0; i < 4; i++)
        if (all[i]->limit >= 0 || all[i]->remaining >= 0 || all[i]->reset_ms >= 0) l->is_any = true;
}

/* --- families of headers ---------------------------------------------------------------------- */

static bool limits_cut_prefix(struct view *v, const char *prefix)
{
    size_t len = strlen(prefix);
    if (v->len <= len || !view_ieq_str(view_make(v->ptr, len), prefix)) return false;
    *v = view_make(v->ptr + len, v->len - len);
    return true;
}

/* x-ratelimit-FIELD-SLOT */
static void limits_openai(struct llm_limits *l, struct view name, struct view value,
                          int64_t wall_ms)
{
    struct limits_slot s;
    int64_t n;
    enum { LIMIT, REMAINING, RESET } field;
    if (limits_cut_prefix(&name, "limit-"))
        field = LIMIT;
    else if (limits_cut_prefix(&name, "remaining-"))
        field = REMAINING;
    else if (limits_cut_prefix(&name, "reset-"))
        field = RESET;
    else
        return;
    if (!limits_slot(l, name, &s)) return;
    if (field == LIMIT && view_i64(view_trim(value), &n) && n <= 0) limits_void(l, &s);
    if (l->is_void & s.bit) return;
    if (field == RESET ? !limits_reset(value, wall_ms, &n) : !limits_count(value, &n)) return;
    if (field == LIMIT) limits_set_limit(&s, n);
    if (field == REMAINING) limits_set_remaining(&s, n);
    if (field == RESET) limits_set_reset(&s, n);
}

/* anthropic-ratelimit-SLOT-FIELD: the same with the ends changed over. */
static void limits_anthropic(struct llm_limits *l, struct view name, struct view value,
                             int64_t wall_ms)
{
    char turned[64];
    size_t dash = name.len;
    while (dash > 0 && name.ptr[dash - 1] != '-') dash--;
    if (dash < 2 || name.len + 2 > sizeof turned) return;
    int len = snprintf(turned, sizeof turned, "%.*s-%.*s", (int)(name.len - dash), name.ptr + dash,
                       (int)(dash - 1), name.ptr);
    limits_openai(l, view_make(turned, (size_t)len), value, wall_ms);
}

/* The next parameter of an item, ";r=50": its name and its bare value. */
static bool limits_param(struct view *rest, struct view *ret_key, struct view *ret_value)
{
    struct view head, tail;
    *rest = view_trim(*rest);
    if (rest->len == 0 || rest->ptr[0] != ';') return false;
    *rest = view_make(rest->ptr + 1, rest->len - 1);
    size_t n = 0;
    while (n < rest->len && rest->ptr[n] != ';') n++;
    struct view one = view_make(rest->ptr, n);
    *rest = view_make(rest->ptr + n, rest->len - n);
    if (!view_cut(one, '=', &head, &tail)) return false;
    *ret_key = view_trim(head);
    *ret_value = view_trim(tail);
    return true;
}

static bool limits_has(struct view v, const char *word)
{
    size_t len = strlen(word);
    for (size_t at = 0; at + len <= v.len; at++)
        if (view_ieq_str(view_make(v.ptr + at, len), word)) return true;
    return false;
}

/* One item of RateLimit or RateLimit-Policy: "name";r=50;t=30 or "name";q=100;w=60. The unit of
 * tokens is not in the draft, so the policy's name tells it; requests are the default. Only a
 * policy by the minute is a limit here; of several items the one with least left holds, with its
 * own time. */
static void limits_draft_item(struct llm_limits *l, struct view item, bool is_policy)
{
    struct view name = item, rest = VIEW_NONE, key, value;
    int64_t q = -1, w = -1, r = -1, t = -1, n;
    bool is_other = false;
    struct limits_slot s;
    for (size_t i = 1; i < item.len; i++)
        if (item.ptr[i] == '"') {
            name = view_make(item.ptr, i);
            rest = view_make(item.ptr + i + 1, item.len - i - 1);
            break;
        }
    while (limits_param(&rest, &key, &value)) {
        if (view_eq_str(key, "qu")) is_other = !view_eq_str(value, "\"requests\"");
        if (!limits_count(value, &n)) continue;
        if (view_eq_str(key, "q")) q = n;
        if (view_eq_str(key, "w")) w = n;
        if (view_eq_str(key, "r")) r = n;
        if (view_eq_str(key, "t") && n <= INT32_MAX) t = n * 1000;
    }
    struct view slot = VIEW_LIT("requests");
    if (limits_has(name, "token"))
        slot = limits_has(name, "input")    ? VIEW_LIT("input-tokens")
               : limits_has(name, "output") ? VIEW_LIT("output-tokens")
                                            : VIEW_LIT("tokens");
    else if (is_other)
        return;
    if (!limits_slot(l, slot, &s) || (l->is_void & s.bit)) return;
    if (is_policy && q > 0 && w == 60) limits_set_limit(&s, q);
    if (is_policy || r < 0 || (s.limit->remaining >= 0 && s.limit->remaining <= r)) return;
    s.limit->remaining = r;
    s.limit->reset_ms = -1;
    limits_agree(s.limit);
    if (t >= 0) limits_set_reset(&s, t);
}

static void limits_draft(struct llm_limits *l, struct view list, bool is_policy)
{
    bool in_string = false;
    size_t start = 0;
    for (size_t i = 0; i <= list.len; i++) {
        if (i < list.len && list.ptr[i] == '"') in_string = !in_string;
        if (i < list.len && (list.ptr[i] != ',' || in_string)) continue;
        struct view item = view_trim(view_make(list.ptr + start, i - start));
        if (item.len > 2 && item.ptr[0] == '"') limits_draft_item(l, item, is_policy);
        start = i + 1;
    }
}

/* retry-after-ms wins over retry-after, as in the providers' own clients. */
static void limits_retry(struct llm_limits *l, struct view value, bool is_ms, int64_t wall_ms)
{
    struct view v = view_trim(value);
    int64_t ms, at;
    bool ok = limits_decimal(v, is_ms ? 1 : 1000, &ms);
    if (!ok && !is_ms && llm_limits_date(v, &at)) ok = limits_until(at, wall_ms, &ms);
    if (!ok || ms > LLM_RETRY_AFTER_MAX_MS || (l->has_retry_ms && !is_ms)) return;
    l->retry_after_ms = ms;
    l->has_retry_ms = is_ms;
}

void llm_limits_header(struct llm_limits *l, struct view name, struct view value, int64_t wall_ms)
{
    if (view_ieq_str(name, "retry-after-ms"))
        limits_retry(l, value, true, wall_ms);
    else if (view_ieq_str(name, "retry-after"))
        limits_retry(l, value, false, wall_ms);
    else if (view_ieq_str(name, "ratelimit"))
        limits_draft(l, value, false);
    else if (view_ieq_str(name, "ratelimit-policy"))
        limits_draft(l, value, true);
    else if (limits_cut_prefix(&name, "x-ratelimit-"))
        limits_openai(l, name, value, wall_ms);
    else if (limits_cut_prefix(&name, "anthropic-ratelimit-"))
        limits_anthropic(l, name, value, wall_ms);
    else
        return;
    limits_note(l);
}
