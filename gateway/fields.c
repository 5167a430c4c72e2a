/* Small strict readers of request fields. The rule of this file: what steers the outcome of a call
 * (an idempotency key, a cursor) is refused when it is malformed; what is a wish (a preference, a
 * trace) is dropped when it is malformed. */
#include "gateway/fields.h"

static bool fields_is_visible(char c)
{
    return c > ' ' && c <= '~';
}

static enum field_verdict fields_put(char *ret, size_t *used, char c)
{
    if (*used >= IDEMPOTENCY_KEY_MAX) return FIELD_BAD;
    ret[(*used)++] = c;
    return FIELD_GOOD;
}

static enum field_verdict fields_quoted(struct view inside, char *ret, size_t *used)
{
    for (size_t i = 0; i < inside.len; i++) {
        char c = inside.ptr[i];
        if (c == '"' || c < ' ' || c > '~') return FIELD_BAD;
        if (c == '\\') {
            if (++i == inside.len) return FIELD_BAD;
            c = inside.ptr[i];
            if (c != '"' && c != '\\') return FIELD_BAD;
        }
        if (fields_put(ret, used, c) != FIELD_GOOD) return FIELD_BAD;
    }
    return FIELD_GOOD;
}

enum field_verdict fields_idempotency_key(struct view field, char ret[IDEMPOTENCY_KEY_MAX + 1])
{
    size_t used = 0;
    enum field_verdict verdict = FIELD_GOOD;
    if (!field.ptr) return FIELD_ABSENT;
    field = view_trim(field);
    if (field.len >= 2 && field.ptr[0] == '"' && field.ptr[field.len - 1] == '"') {
        verdict = fields_quoted(view_make(field.ptr + 1, field.len - 2), ret, &used);
    } else {
        for (size_t i = 0; i < field.len && verdict == FIELD_GOOD; i++) {
            bool is_tame =
                fields_is_visible(field.ptr[i]) && field.ptr[i] != '"' && field.ptr[i] != ',';
            verdict = is_tame ? fields_put(ret, &used, field.ptr[i]) : FIELD_BAD;
        }
    }
    if (used == 0) verdict = FIELD_BAD;
    ret[used] = '\0';
    return verdict;
}

static bool fields_wait_of(struct view preference, int64_t *ret_s)
{
    struct view name, value, parameters;
    uint64_t n;
    if (view_cut(preference, ';', &name, &parameters)) preference = name;
    if (!view_cut(preference, '=', &name, &value) || !view_ieq_str(view_trim(name), "wait"))
        return false;
    value = view_trim(value);
    if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
        value = view_make(value.ptr + 1, value.len - 2);
    if (!view_u64(value, &n)) return false;
    *ret_s = n > WAIT_MAX_S ? WAIT_MAX_S : (int64_t)n;
    return true;
}

bool fields_prefer_wait(struct view field, int64_t *ret_s)
{
    struct view head, rest = field;
    while (view_cut(rest, ',', &head, &rest))
        if (fields_wait_of(head, ret_s)) return true;
    return rest.ptr && fields_wait_of(rest, ret_s);
}

static bool fields_hex(struct view v, bool *ret_all_zero)
{
    *ret_all_zero = true;
    for (size_t i = 0; i < v.len; i++) {
        char c = v.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        if (c != '0') *ret_all_zero = false;
    }
    return true;
}

bool fields_traceparent(struct view field, char ret[TRACEPARENT_LEN + 1])
{
    static const struct {
        size_t at, len;
        bool zero_is_fine;
    } parts[] = {{0, 2, true}, {3, 32, false}, {36, 16, false}, {53, 2, true}};
    bool is_zero;
    if (field.len < TRACEPARENT_LEN) return false;
    if (field.ptr[2] != '-' || field.ptr[35] != '-' || field.ptr[52] != '-') return false;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!fields_hex(view_make(field.ptr + parts[i].at, parts[i].len), &is_zero)) return false;
        if (is_zero && !parts[i].zero_is_fine) return false;
    }
    bool is_v0 = field.ptr[0] == '0' && field.ptr[1] == '0';
    if (field.ptr[0] == 'f' && field.ptr[1] == 'f') return false;
    if (field.len > TRACEPARENT_LEN && (is_v0 || field.ptr[TRACEPARENT_LEN] != '-')) return false;
    memcpy(ret, field.ptr, TRACEPARENT_LEN);
    ret[0] = ret[1] = '0'; /* a higher version is read by its 00 prefix and goes on as such */
    ret[TRACEPARENT_LEN] = '\0';
    return true;
}

static bool fields_is_tame_id(struct view v)
{
    if (v.len == 0 || v.len > REQUEST_ID_MAX) return false;
    for (size_t i = 0; i < v.len; i++) {
        char c = v.ptr[i];
        bool is_word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_word && c != '-' && c != '_' && c != '.') return false;
    }
    return true;
}

void fields_request_id(struct view field, struct rng *rng, char ret[REQUEST_ID_MAX + 1])
{
    static const char hex[] = "0123456789abcdef";
    if (fields_is_tame_id(field) && view_copy(field, ret, REQUEST_ID_MAX + 1)) return;
    uint64_t n = rng_next(rng);
    memcpy(ret, "req_", 4);
    for (size_t i = 0; i < 16; i++, n >>= 4) ret[4 + i] = hex[n & 15];
    ret[20] = '\0';
}

enum field_verdict fields_cursor(struct view last_event_id, struct view after, struct event_id *ret)
{
    struct view text = view_trim(last_event_id);
    if (text.len == 0) text = view_trim(after);
    *ret = (struct event_id){0};
    if (text.len == 0) return FIELD_ABSENT;
    return event_id_parse(text, ret) ? FIELD_GOOD : FIELD_BAD;
}
