/* Finding members in JSON bytes without a tree. The bytes were accepted by json_check, so this
 * only has to skip well; on bytes that were not, it finds nothing or nonsense but never reads
 * past the end. */
#include "common/base/json_text.h"
#include "common/base/utf8.h"

static const char *raw_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    return p;
}

/* p at the opening quote; returns what follows the closing one. */
static const char *raw_skip_string(const char *p, const char *end)
{
    for (p++; p < end; p++) {
        p = utf8_skip_plain(p, end);
        if (p == end) break;
        if (*p == '"') return p + 1;
        if (*p == '\\' && end - p > 1) p++;
    }
    return end;
}

static const char *raw_skip_container(const char *p, const char *end)
{
    size_t depth = 0;
    while (p < end) {
        switch (*p) {
        case '"':
            p = raw_skip_string(p, end);
            continue;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (depth <= 1) return p + 1;
            depth--;
            break;
        default:
            break;
        }
        p++;
    }
    return end;
}

static const char *raw_skip_value(const char *p, const char *end)
{
    if (p == end) return end;
    if (*p == '"') return raw_skip_string(p, end);
    if (*p == '{' || *p == '[') return raw_skip_container(p, end);
    while (p < end && *p != ',' && *p != ']' && *p != '}' && *p != ' ' && *p != '\n' &&
           *p != '\r' && *p != '\t')
        p++;
    return p;
}

bool json_raw_each(struct view container, size_t *cursor, struct view *ret_key,
                   struct view *ret_value)
{
    if (!container.len || *cursor > container.len) return false;
    const char *end = container.ptr + container.len, *open = raw_space(container.ptr, end);
    if (open == end || (*open != '{' && *open != '[')) return false;
    const char *p = raw_space(*cursor ? container.ptr + *cursor : open + 1, end);
    if (*cursor && p < end && *p == ',') p = raw_space(p + 1, end);
    if (p == end || *p == '}' || *p == ']') return false;
    struct view key = VIEW_NONE;
    if (*open == '{') {
        const char *after = raw_skip_string(p, end);
        if (*p != '"' || after - p < 2) return false;
        key = (struct view){p + 1, (size_t)(after - p) - 2};
        p = raw_space(after, end);
        if (p == end || *p != ':') return false;
        p = raw_space(p + 1, end);
    }
    const char *after = raw_skip_value(p, end);
    if (after == p) return false;
    *cursor = (size_t)(after - container.ptr);
    if (ret_key) *ret_key = key;
    if (ret_value) *ret_value = (struct view){p, (size_t)(after - p)};
    return true;
}

/* Is the escaped text between the quotes the same as the decoded key? */
static bool raw_key_is(struct view inner, struct view key)
{
    const char *p = inner.ptr, *end = p + inner.len, *k = key.ptr, *key_end = k + key.len;
    if (inner.len < key.len) return false; /* escapes only make longer */
    if (!inner.len || !memchr(p, '\\', inner.len)) return view_eq(inner, key);
    while (p < end) {
        char bytes[4] = {*p};
        unsigned len = 1;
        size_t step = 1;
        if (*p == '\\') {
            uint32_t c = 0;
            const char *why;
            if (!(step = json_escape_read(p, end, &c, &why))) return false;
            len = utf8_encode(c, bytes);
        }
        if ((size_t)(key_end - k) < len || memcmp(k, bytes, len) != 0) return false;
        p += step;
        k += len;
    }
    return k == key_end;
}

bool json_raw_member(struct view object, struct view key, struct view *ret)
{
    struct view name, value;
    size_t cursor = 0;
    if (json_raw_kind(object) != JSON_RAW_OBJECT) return false;
    if (!key.ptr) key = VIEW_LIT("");
    while (json_raw_each(object, &cursor, &name, &value)) {
        if (!raw_key_is(name, key)) continue;
        *ret = value;
        return true;
    }
    return false;
}

bool json_raw_element(struct view array, size_t index, struct view *ret)
{
    struct view value;
    size_t cursor = 0;
    if (json_raw_kind(array) != JSON_RAW_ARRAY) return false;
    for (size_t i = 0; json_raw_each(array, &cursor, NULL, &value); i++) {
        if (i < index) continue;
        *ret = value;
        return true;
    }
    return false;
}

size_t json_raw_count(struct view container)
{
    size_t count = 0, cursor = 0;
    while (json_raw_each(container, &cursor, NULL, NULL)) count++;
    return count;
}

bool json_raw_string(struct view literal, struct buf *out)
{
    struct view v = view_trim(literal);
    if (v.len < 2 || v.ptr[0] != '"' || v.ptr[v.len - 1] != '"') return false;
    if (!buf_reserve(out, v.len - 2)) return false; /* decoding never makes longer */
    size_t len = json_text_decode((struct view){v.ptr + 1, v.len - 2}, out->data + out->len);
    if (len == SIZE_MAX) return false;
    out->len += len;
    return true;
}

enum json_kind json_raw_kind(struct view value)
{
    if (!value.len) return JSON_RAW_NONE; /* absent ones too */
    const char *end = value.ptr + value.len, *p = raw_space(value.ptr, end);
    if (p == end) return JSON_RAW_NONE;
    switch (*p) {
    case '{':
        return JSON_RAW_OBJECT;
    case '[':
        return JSON_RAW_ARRAY;
    case '"':
        return JSON_RAW_STRING;
    case 't':
        return JSON_RAW_TRUE;
    case 'f':
        return JSON_RAW_FALSE;
    case 'n':
        return JSON_RAW_NULL;
    default:
        return *p == '-' || (*p >= '0' && *p <= '9') ? JSON_RAW_NUMBER : JSON_RAW_NONE;
    }
}
