/* The formats that are checked: uri, email, date, date-time, uuid.
 *
 * All by hand and by their grammar (RFC 3986, 5321, 3339, 4122): a format that half checks gives
 * false comfort. Texts beyond ASCII are refused by all of them. */
#include "schemas/jsonschema_priv.h"

static const char *const jsonschema_formats[] = {
    [JSONSCHEMA_URI] = "uri",   [JSONSCHEMA_EMAIL] = "email",
    [JSONSCHEMA_DATE] = "date", [JSONSCHEMA_DATE_TIME] = "date-time",
    [JSONSCHEMA_UUID] = "uuid",
};
enum { JSONSCHEMA_FORMAT_COUNT = sizeof jsonschema_formats / sizeof jsonschema_formats[0] };

bool jsonschema_format_parse(const char *name, enum jsonschema_format *ret)
{
    for (int i = 1; i < JSONSCHEMA_FORMAT_COUNT; i++)
        if (strcmp(name, jsonschema_formats[i]) == 0) {
            *ret = (enum jsonschema_format)i;
            return true;
        }
    return false;
}

const char *jsonschema_format_name(enum jsonschema_format f)
{
    return jsonschema_formats[f];
}

/* --- characters ------------------------------------------------------------------------------- */

static bool format_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool format_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool format_is_hex(char c)
{
    return format_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool format_is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

static struct view format_cut(struct view v, size_t from, size_t to)
{
    return view_make(v.ptr + from, to - from);
}

static size_t format_find(struct view v, char c)
{
    const char *p = v.len ? memchr(v.ptr, c, v.len) : NULL;
    return p ? (size_t)(p - v.ptr) : v.len;
}

/* --- dates ------------------------------------------------------------------------------------ */

/* Exactly n digits at the front of v, which are taken off it. */
static bool format_take_digits(struct view *v, size_t n, int *ret)
{
    int x = 0;
    if (v->len < n) return false;
    for (size_t i = 0; i < n; i++) {
        if (!format_is_digit(v->ptr[i])) return false;
        x = x * 10 + (v->ptr[i] - '0');
    }
    *v = format_cut(*v, n, v->len);
    *ret = x;
    return true;
}

static bool format_take_char(struct view *v, const char *set)
{
    if (v->len == 0 || !format_is_one_of(v->ptr[0], set)) return false;
    *v = format_cut(*v, 1, v->len);
    return true;
}

static bool format_take_date(struct view *v)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;
    bool ok = format_take_digits(v, 4, &year) && format_take_char(v, "-") &&
              format_take_digits(v, 2, &month) && format_take_char(v, "-") &&
              format_take_digits(v, 2, &day);
    if (!ok || month < 1 || month > 12 || day < 1) return false;
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= days[month - 1] + (month == 2 && is_leap);
}

/* Z or an offset, in minutes. */
static bool format_take_zone(struct view *v, int *ret_minutes)
{
    int hours, minutes;
    *ret_minutes = 0;
    if (format_take_char(v, "Zz")) return true;
    bool is_minus = v->len > 0 && v->ptr[0] == '-';
    bool ok = format_take_char(v, "+-") && format_take_digits(v, 2, &hours) &&
              format_take_char(v, ":") && format_take_digits(v, 2, &minutes);
    if (!ok || hours > 23 || minutes > 59) return false;
    *ret_minutes = (is_minus ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

static bool format_take_time(struct view *v)
{
    int hour, minute, second, zone, ignored;
    bool ok = format_take_digits(v, 2, &hour) && format_take_char(v, ":") &&
              format_take_digits(v, 2, &minute) && format_take_char(v, ":") &&
              format_take_digits(v, 2, &second);
    if (!ok || hour > 23 || minute > 59 || second > 60) return false;
    if (format_take_char(v, ".")) {
        if (!format_take_digits(v, 1, &ignored)) return false;
        while (format_take_digits(v, 1, &ignored)) {
        }
    }
    if (!format_take_zone(v, &zone)) return false;
    int utc = (hour * 60 + minute - zone + 2 * 1440) % 1440;
    return second < 60 || utc == 1439; /* a leap second ends a day of UTC */
}

static bool format_date(struct view v)
{
    return format_take_date(&v) && v.len == 0;
}

static bool format_date_time(struct view v)
{
    return format_take_date(&v) && format_take_char(&v, "Tt") && format_take_time(&v) && v.len == 0;
}

static bool format_uuid(struct view v)
{
    if (v.len != 36) return false;
    for (size_t i = 0; i < 36; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_dash ? v.ptr[i] != '-' : !format_is_hex(v.ptr[i])) return false;
    }
    return true;
}

/* --- addresses -------------------------------------------------------------------------------- */

static bool format_ipv4(struct view v)
{
    struct view head, tail = v;
    for (int i = 0; i < 4; i++) {
        uint64_t n;
        size_t dot = format_find(tail, '.');
        head = format_cut(tail, 0, dot);
        bool is_plain = head.len >= 1 && head.len <= 3 && (head.len == 1 || head.ptr[0] != '0');
        if (!is_plain || !view_u64(head, &n) || n > 255) return false;
        if ((i < 3) != (dot < tail.len)) return false;
        tail = format_cut(tail, dot < tail.len ? dot + 1 : dot, tail.len);
    }
    return true;
}

static bool format_ipv6(struct view v)
{
    size_t groups = 0, i = 0;
    bool has_gap = false;
    if (v.len >= 2 && v.ptr[0] == ':' && v.ptr[1] == ':') has_gap = true, i = 2;
    while (i < v.len) {
        size_t start = i;
        while (i < v.len && format_is_hex(v.ptr[i])) i++;
        if (i < v.len && v.ptr[i] == '.') {
            groups += 2;
            return format_ipv4(format_cut(v, start, v.len)) && (has_gap ? groups < 8 : groups == 8);
        }
        if (i == start || i - start > 4) return false;
        groups++;
        if (i == v.len) break;
        if (v.ptr[i++] != ':' || i == v.len) return false;
        if (v.ptr[i] != ':') continue;
        if (has_gap) return false;
        has_gap = true;
        i++;
    }
    return has_gap ? groups < 8 : groups == 8;
}

/* --- email ------------------------------------------------------------------------------------ */

static bool format_atom(char c)
{
    return format_is_letter(c) || format_is_digit(c) || format_is_one_of(c, "!#$%&'*+-/=?^_`{|}~");
}

static bool format_dot_atom(struct view v)
{
    bool after_dot = true;
    for (size_t i = 0; i < v.len; i++) {
        bool is_dot = v.ptr[i] == '.';
        if (is_dot ? after_dot : !format_atom(v.ptr[i])) return false;
        after_dot = is_dot;
    }
    return !after_dot;
}

/* v starts with a quote: the length of the quoted text with both quotes; 0 = it is none. */
static size_t format_quoted_len(struct view v)
{
    for (size_t i = 1; i < v.len; i++) {
        if (v.ptr[i] == '"') return i + 1;
        if (v.ptr[i] == '\\') i++;
        if (i >= v.len || v.ptr[i] < ' ' || v.ptr[i] > '~') return 0;
    }
    return 0;
}

static bool format_hostname(struct view v)
{
    size_t label = 0;
    if (v.len == 0 || v.len > 253) return false;
    for (size_t i = 0; i < v.len; i++) {
        char c = v.ptr[i];
        bool is_edge = label == 0 || i + 1 == v.len || v.ptr[i + 1] == '.';
        if (c == '.') {
            if (label == 0 || i + 1 == v.len) return false;
            label = 0;
            continue;
        }
        if (!format_is_letter(c) && !format_is_digit(c) && (c != '-' || is_edge)) return false;
        if (++label > 63) return false;
    }
    return true;
}

static bool format_email(struct view v)
{
    size_t local = v.len > 0 && v.ptr[0] == '"' ? format_quoted_len(v) : format_find(v, '@');
    if (local == 0 || local > 64 || local >= v.len || v.ptr[local] != '@') return false;
    struct view domain = format_cut(v, local + 1, v.len);
    if (v.ptr[0] != '"' && !format_dot_atom(format_cut(v, 0, local))) return false;
    if (domain.len < 2 || domain.ptr[0] != '[') return format_hostname(domain);
    if (domain.ptr[domain.len - 1] != ']') return false;
    domain = format_cut(domain, 1, domain.len - 1);
    if (view_starts(domain, "IPv6:")) return format_ipv6(format_cut(domain, 5, domain.len));
    return format_ipv4(domain);
}

/* --- uri -------------------------------------------------------------------------------------- */

/* Only unreserved, sub-delims, %XX and what is in more. */
static bool format_uri_chars(struct view v, const char *more)
{
    for (size_t i = 0; i < v.len; i++) {
        char c = v.ptr[i];
        if (c == '%') {
            if (i + 2 >= v.len || !format_is_hex(v.ptr[i + 1]) || !format_is_hex(v.ptr[i + 2]))
                return false;
            i += 2;
            continue;
        }
        bool ok = format_is_letter(c) || format_is_digit(c) ||
                  format_is_one_of(c, "-._~!$&'()*+,;=") || format_is_one_of(c, more);
        if (!ok) return false;
    }
    return true;
}

static bool format_is_port(struct view v)
{
    for (size_t i = 0; i < v.len; i++)
        if (!format_is_digit(v.ptr[i])) return false;
    return true;
}

static bool format_authority(struct view v)
{
    size_t at = format_find(v, '@');
    if (at < v.len) {
        if (!format_uri_chars(format_cut(v, 0, at), ":")) return false;
        v = format_cut(v, at + 1, v.len);
    }
    if (v.len > 0 && v.ptr[0] == '[') {
        size_t end = format_find(v, ']');
        if (end == v.len || !format_ipv6(format_cut(v, 1, end))) return false;
        v = format_cut(v, end + 1, v.len);
        return v.len == 0 || (v.ptr[0] == ':' && format_is_port(format_cut(v, 1, v.len)));
    }
    size_t colon = format_find(v, ':');
    return format_uri_chars(format_cut(v, 0, colon), "") &&
           (colon == v.len || format_is_port(format_cut(v, colon + 1, v.len)));
}

static bool format_scheme(struct view v)
{
    if (v.len == 0 || !format_is_letter(v.ptr[0])) return false;
    for (size_t i = 1; i < v.len; i++)
        if (!format_is_letter(v.ptr[i]) && !format_is_digit(v.ptr[i]) &&
            !format_is_one_of(v.ptr[i], "+-."))
            return false;
    return true;
}

static bool format_uri(struct view v)
{
    size_t colon = format_find(v, ':');
    if (colon == v.len || !format_scheme(format_cut(v, 0, colon))) return false;
    v = format_cut(v, colon + 1, v.len);
    size_t hash = format_find(v, '#');
    if (hash < v.len && !format_uri_chars(format_cut(v, hash + 1, v.len), ":@/?")) return false;
    v = format_cut(v, 0, hash);
    size_t query = format_find(v, '?');
    if (query < v.len && !format_uri_chars(format_cut(v, query + 1, v.len), ":@/?")) return false;
    v = format_cut(v, 0, query);
    if (view_starts(v, "//")) {
        v = format_cut(v, 2, v.len);
        size_t slash = format_find(v, '/');
        if (!format_authority(format_cut(v, 0, slash))) return false;
        v = format_cut(v, slash, v.len);
    }
    return format_uri_chars(v, ":@/");
}

bool jsonschema_format_ok(enum jsonschema_format f, struct view text)
{
    switch (f) {
    case JSONSCHEMA_NO_FORMAT:
        return true;
    case JSONSCHEMA_URI:
        return format_uri(text);
    case JSONSCHEMA_EMAIL:
        return format_email(text);
    case JSONSCHEMA_DATE:
        return format_date(text);
    case JSONSCHEMA_DATE_TIME:
        return format_date_time(text);
    case JSONSCHEMA_UUID:
        return format_uuid(text);
    }
    return false;
}
